package event

// The words that events use for what was decided and why, and for how a receipt was matched and
// how sure its state is. Events hold these strings for ever: a word may be added, and is never
// changed.

// DecisionOutcome is the result of a decision, or of one check in it.
type DecisionOutcome string

const (
	Allow DecisionOutcome = "allow"
	Deny  DecisionOutcome = "deny"
	Defer DecisionOutcome = "defer" // a rule lets the message go later
	Hold  DecisionOutcome = "hold"  // a fault prevents a decision; no check reports it
)

// Fault is the reason why no decision could be made. The message is then held.
type Fault string

const (
	FaultPolicy   Fault = "policy"    // the policies could not answer
	FaultBundle   Fault = "bundle"    // the policies in force are not those that the node has loaded
	FaultZoneData Fault = "zone_data" // a zone does not load
	FaultClock    Fault = "clock"     // the wall clock cannot be trusted
	FaultControl  Fault = "control"   // the control stream cannot be read to its end
	FaultProgram  Fault = "program"   // the program is not registered
	FaultRoute    Fault = "route"     // no route matches the message
	FaultPause    Fault = "pause"     // an operator or the tenant has paused the program or the carrier
	FaultKey      Fault = "key"       // the message cannot be unsealed
	FaultEncoding Fault = "encoding"  // the text cannot be encoded for its carrier
	FaultRecovery Fault = "recovery"  // the ledger was recovered or restored, and the program is not released yet
)

// Source says how an opt-out or a lift reached us: one of these words, or an officer's own word
// of at most 40 characters (phone, email, web, letter, import, …).
type Source string

const (
	SourceHandset Source = "handset" // an inbound message
	SourceJoined  Source = "joined"  // an inbound message of several parts, once they were joined
	SourceReview  Source = "review"  // an officer who read an inbound message
	// SourceRecovered: the ledger had lost the opt-out, and a newer copy of the views had it.
	SourceRecovered Source = "recovered"
)

// InboundAsk is what an inbound message asks for.
type InboundAsk string

const (
	InboundStop    InboundAsk = "stop"
	InboundUnclear InboundAsk = "unclear" // perhaps a stop: an officer reads it
	InboundStart   InboundAsk = "start"
	InboundYes     InboundAsk = "yes"
	InboundHelp    InboundAsk = "help"
	InboundNone    InboundAsk = "none"
	InboundPart    InboundAsk = "part" // a part of a message; its words count once the parts are joined
)

// MessageState is what a receipt says of a message: SMPP 3.4 §5.2.28 message_state, by name.
type MessageState string

// The states that the fold distinguishes. Every other final state counts as undelivered.
const (
	StateDelivered MessageState = "delivered"
	StateRejected  MessageState = "rejected"
	StateExpired   MessageState = "expired"
)

// Grade is how sure we are of what a receipt says.
type Grade string

const (
	GradeInferred Grade = "inferred" // the receipt was matched without the carrier's id
	GradeNetwork  Grade = "network"  // the carrier says so
	GradeHandset  Grade = "handset"  // the carrier vouches that the handset has the message
)

// Match is how a receipt was matched to its message.
type Match string

const (
	// MatchID: the carrier's id, exactly.
	MatchID        Match = "id"
	MatchZeros     Match = "id_zeros"  // the id, without regard to leading zeros, case, spaces and hyphens
	MatchHex       Match = "id_hex"    // one side writes the id in hexadecimal, the other in decimal
	MatchReference Match = "reference" // the user_message_reference and the recipient's number
)

// HoldReason says why an inbound message holds what it may revoke.
type HoldReason string

const (
	HoldUnclear    HoldReason = "unclear"    // the words may be a revocation
	HoldUnreadable HoldReason = "unreadable" // the octets, or a part of the message, cannot be read
	HoldPart       HoldReason = "part"       // the other parts have not come yet
)

// UnplacedReason says why an inbound message is certain for no recipient and tenant.
type UnplacedReason string

const (
	UnplacedAmbiguous  UnplacedReason = "number_ambiguous"  // the written number may be of several persons
	UnplacedUnreadable UnplacedReason = "number_unreadable" // the written number can be read as no number
	UnplacedUnowned    UnplacedReason = "tenant_unknown"    // no program registers the number that it came to
	UnplacedShared     UnplacedReason = "tenant_shared"     // several tenants send from the number that it came to
)

// ReviewOutcome is what an officer says of an inbound message under review.
type ReviewOutcome string

const (
	ReviewStop   ReviewOutcome = "stop"   // it is a revocation, as far as it reaches
	ReviewNarrow ReviewOutcome = "narrow" // it is a revocation of less
	ReviewClear  ReviewOutcome = "clear"  // it is none
	ReviewPlace  ReviewOutcome = "place"  // it is of a certain person and for a certain tenant
)

// RecoverySource says who knew what the ledger had lost.
type RecoverySource string

const (
	RecoveredFromViews RecoverySource = "views" // a newer copy of the views
)

// EpochCause says why a ledger began another epoch.
type EpochCause string

const (
	EpochRecovered EpochCause = "recover" // the ledger had lost events
	EpochRestored  EpochCause = "restore" // it was restored from a backup
)

// ExportState says how the making of an export ended.
type ExportState string

const (
	ExportFinished  ExportState = "finished"
	ExportFailed    ExportState = "failed"
	ExportCancelled ExportState = "cancelled"
)

// The kinds of personal data that a DataRead has as Shown.
const (
	ShownNumber    = "number"    // a phone number of a recipient, or of who wrote to us
	ShownBody      = "body"      // the text of a message
	ShownReference = "reference" // the sender's own name for a message
	ShownMetadata  = "metadata"  // what the sender stored with a message
	ShownWords     = "words"     // what a person wrote to us
	ShownEvidence  = "evidence"  // on what evidence an opt-out was recorded or lifted
)

// WebhookChange says what was done to an endpoint.
type WebhookChange string

const (
	WebhookAdded    WebhookChange = "added"
	WebhookSet      WebhookChange = "changed"  // its URL, its filters or its other settings
	WebhookRotated  WebhookChange = "rotated"  // it has another secret; the one before signs on for a while
	WebhookPaused   WebhookChange = "paused"   // no attempt has succeeded for a day
	WebhookDisabled WebhookChange = "disabled" // on request, or because the endpoint answered 410
	WebhookEnabled  WebhookChange = "enabled"
	WebhookReplayed WebhookChange = "replayed" // deliveries are sent once more
	WebhookDeleted  WebhookChange = "deleted"
)
