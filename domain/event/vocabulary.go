package event

// The words that events use for what was decided, why, and how well something is known.
// Events hold them as these strings, for ever: a word is added, never changed.

// DecisionOutcome is what a decision, or one check of it, came to.
type DecisionOutcome string

const (
	Allow DecisionOutcome = "allow"
	Deny  DecisionOutcome = "deny"
	Defer DecisionOutcome = "defer" // a rule says later
	Hold  DecisionOutcome = "hold"  // a fault; a check never says so
)

// Fault is what kept a decision from being made, so that the message is held.
type Fault string

const (
	FaultPolicy   Fault = "policy"    // the policies could not answer
	FaultBundle   Fault = "bundle"    // the policies in force are not those that the node has loaded
	FaultZoneData Fault = "zone_data" // a zone does not load
	FaultClock    Fault = "clock"     // the wall clock cannot be trusted
	FaultControl  Fault = "control"   // control cannot be read to its end
	FaultProgram  Fault = "program"   // the program is not registered
	FaultRoute    Fault = "route"     // no route leads anywhere
	FaultPause    Fault = "pause"     // an operator's or a tenant's pause
	FaultKey      Fault = "key"       // the message cannot be unsealed
	FaultEncoding Fault = "encoding"  // it cannot be written for its carrier
)

// Source says where an opt-out or a lift came from: one of these, or an officer's own word
// of at most 40 characters (phone, email, web, letter, import, …).
type Source string

const (
	SourceHandset Source = "handset" // an inbound message
	SourceJoined  Source = "joined"  // the joined parts of one
)

// InboundAsk is what the words of an inbound message ask for.
type InboundAsk string

const (
	InboundStop    InboundAsk = "stop"
	InboundUnclear InboundAsk = "unclear" // perhaps a stop: an officer looks
	InboundStart   InboundAsk = "start"
	InboundYes     InboundAsk = "yes"
	InboundHelp    InboundAsk = "help"
	InboundNone    InboundAsk = "none"
	InboundPart    InboundAsk = "part" // a part of a message; its words count once it is joined
)

// MessageState is what a receipt says of a message: SMPP 3.4 §5.2.28 message_state, by name.
type MessageState string

// The states that the fold tells apart; every other final one counts as undelivered.
const (
	StateDelivered MessageState = "delivered"
	StateRejected  MessageState = "rejected"
	StateExpired   MessageState = "expired"
)

// Grade is how well a receipt's word is known.
type Grade string

const (
	GradeInferred Grade = "inferred" // matched without an id
	GradeNetwork  Grade = "network"  // the carrier says so
	GradeHandset  Grade = "handset"  // the carrier vouches for the handset
)

// Match is how a receipt was matched to its message.
type Match string

const (
	MatchID        Match = "id"
	MatchZeros     Match = "id_zeros"  // the id, but for leading zeros or the case of letters
	MatchHex       Match = "id_hex"    // one side writes the id in hexadecimal, the other in decimal
	MatchReference Match = "reference" // user_message_reference and the recipient's number
)
