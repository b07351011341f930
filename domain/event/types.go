package event

import "time"

// Sealed is personal data, encrypted under two keys. One key belongs to the tenant and the
// recipient: when it is destroyed, the person's data is erased. The other belongs to the tenant,
// a retention class and a month: when it is destroyed, the data of that class expires. Both keys
// are needed to open the box. The box is bound to the event's id (as additional data), so it does
// not open when it is moved to another event. From version 2 on each event's box has a key of its
// own, which is derived from both.
type Sealed struct {
	// Version says how the box is made; left out: version 1. Version 2 needs format level 3. Its box
	// is described in verify.md.
	Version SealVersion `json:"version,omitempty"`
	// SubjectKey is the id of the person's key. Ids are ordered by time.
	SubjectKey ID `json:"subject_key"`
	// ClassKey is the retention class and the month: "message/2026-11".
	ClassKey string `json:"class_key"`
	// Box is the encrypted data.
	Box []byte `json:"box"`
}

// SealVersion is how the box of a Sealed is made. The zero value is version 1.
type SealVersion int

// The versions of the seal.
const (
	SealV1 SealVersion = 0
	SealV2 SealVersion = 2
)

// SealAt is the version that a ledger of a format level writes.
func SealAt(level int) SealVersion {
	if level >= 3 {
		return SealV2
	}
	return SealV1
}

// Level is the lowest format level at which a version may be written; for one that this build does not
// know it is a level that this build does not know either.
func (v SealVersion) Level() int {
	switch v {
	case SealV1:
		return 1
	case SealV2:
		return 3
	}
	return MaxLevel + 1
}

// SealedIn is the personal data of an event; nil if it has none.
func SealedIn(d Data) *Sealed {
	switch d := d.(type) {
	case *MessageSubmitted:
		return &d.Sealed
	case *ReceiptReceived:
		return &d.Sealed
	case *InboundReceived:
		return &d.Sealed
	case *InboundReceivedV2:
		return &d.Sealed
	case *OptedOut:
		return d.Sealed
	case *SuppressionLifted:
		return d.Sealed
	case *ReviewResolved:
		return d.Sealed
	}
	return nil
}

// Place is one place where the recipient may be, as derived when the message was submitted:
// "US-FL America/New_York", "GB Europe/London".
type Place string

// MessageSubmitted (fact): a sender asked for a message to be sent. The event's id is the
// message's id. Sealed opens to Content.
type MessageSubmitted struct {
	// Program is the program that the message belongs to.
	Program string `json:"program"`
	// Purpose is why the message is sent, such as otp or marketing. The program registers it.
	Purpose string `json:"purpose"`
	// Priority is 1 (last) to 9 (first).
	Priority int `json:"priority"`
	// From is the sender ID that the message goes out as.
	From string `json:"from"`
	// Country is the country of the number (ISO 3166-1 alpha-2). It is left out where it is not
	// known.
	Country string `json:"country,omitempty"`
	// Places are all places where the recipient may be. Like Country they are derived from the
	// number, which is sealed: the rules need them, and they do not tell the number.
	Places []Place `json:"places,omitempty"`
	// Encoding is how the body is written: gsm7, latin1 or ucs2.
	Encoding string `json:"encoding"`
	// Segments is how many parts the body needs in that encoding.
	Segments int `json:"segments"`
	// SendAt is the earliest time to send; left out: at once.
	SendAt time.Time `json:"send_at,omitzero"`
	// ValidUntil is the time from which the message is not sent any more.
	ValidUntil time.Time `json:"valid_until"`
	// PrefersDuplicate says that when an attempt is in doubt, the message is sent again, at most
	// three times in all: the recipient may get it more than once, which is better than not at all.
	PrefersDuplicate bool `json:"prefers_duplicate,omitempty"`
	// Key is a keyed digest (128 bits, hex) of the idempotency key; left out when no key was given.
	Key string `json:"key,omitempty"`
	// Input is a keyed digest (128 bits, hex) of the whole request; left out when no key was given.
	Input string `json:"input,omitempty"`
	// Referenced says that the sealed content has the sender's own reference, by which searches
	// find the message.
	Referenced bool `json:"referenced,omitempty"`
	// Answers is the inbound message that this message confirms or answers.
	Answers ID `json:"answers,omitzero"`
	// By is the id of the API key that submitted the message, or "clerk".
	By     string `json:"by"`
	Sealed Sealed `json:"sealed"`
}

// Content is the personal data of a submitted message: what its Sealed opens to.
type Content struct {
	To        string            `json:"to"`
	Body      string            `json:"body"`
	Reference string            `json:"reference,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// CancelRequested (request): the sender no longer wants the message sent. A message that was not
// sent yet is cancelled. Of a message that was sent already, later attempts are stopped.
type CancelRequested struct {
	// By is the id of the API key that asked for it.
	By string `json:"by"`
}

// Scope says which messages an opt-out covers.
type Scope string

const (
	// ScopeSender: the messages under one sender ID.
	ScopeSender Scope = "sender"
	// ScopeProgram: the messages of one program.
	ScopeProgram Scope = "program"
	// ScopeLegalEntity: the messages of all programs of one legal entity.
	ScopeLegalEntity Scope = "legal_entity"
	// ScopeTenant: all messages of the tenant.
	ScopeTenant Scope = "tenant"
)

// Reach is what an opt-out covers: a scope, and the name of the sender ID, program or legal entity.
type Reach struct {
	Scope Scope `json:"scope"`
	// Name is left out for the scope tenant.
	Name string `json:"name,omitempty"`
}

// OptedOut (fact): the recipient does not want the messages that Reach covers.
type OptedOut struct {
	Reach Reach `json:"reach"`
	// Source says how it reached us: handset, phone, email, web, letter, import, joined, …
	Source Source `json:"source"`
	// Occurred is when the person said so. It is left out if that is the event's time, at which it
	// became known here.
	Occurred time.Time `json:"occurred,omitzero"`
	// Unclear says that the person's words were not plain. Messages are stopped until an officer
	// has read them.
	Unclear bool `json:"unclear,omitempty"`
	// Answers is the inbound part whose message, once its parts were joined, opts out.
	Answers ID `json:"answers,omitzero"`
	// Lifts are the holds of those parts. This opt-out replaces them.
	Lifts []ID `json:"lifts,omitempty"`
	// By is the id of the API key that recorded it, or "clerk".
	By string `json:"by"`
	// Sealed opens to Evidence; left out when there is none.
	Sealed *Sealed `json:"sealed,omitempty"`
}

// Evidence is the sealed evidence for an opt-out or a lift.
type Evidence struct {
	Number string `json:"number,omitempty"`
	Text   string `json:"text,omitempty"`
}

// SuppressionLifted (fact) ends exactly the opt-outs that it names. It is not a consent.
type SuppressionLifted struct {
	// Lifts are the opt-outs that end.
	Lifts []ID `json:"lifts"`
	// Reaches, from format level 3 on, are the reaches of these opt-outs that end; the others stay in force. Left out: all
	// of them end.
	Reaches []Reach `json:"reaches,omitempty"`
	// Source says how the wish to lift them reached us: handset, joined, phone, …
	Source Source `json:"source"`
	// Answers is the inbound event that it follows from: the handset's START, or the first of the
	// joined parts.
	Answers ID `json:"answers,omitzero"`
	// By is the id of the API key that recorded it, or "clerk".
	By string `json:"by"`
	// Sealed opens to Evidence; left out when there is none.
	Sealed *Sealed `json:"sealed,omitempty"`
}

// Check is the report of one required check in a decision.
type Check struct {
	// Check is the check's name, such as quiet_hours.
	Check string `json:"check"`
	// Outcome is allow, deny or defer.
	Outcome DecisionOutcome `json:"outcome"`
	// Rules are the ids of the rules that decided.
	Rules []string `json:"rules"`
	// OptOuts are the opt-outs that the check relied on.
	OptOuts []ID `json:"opt_outs,omitempty"`
	// Until is the instant at which the check lets go or gives its final answer, where it defers to
	// an instant and not to hours. (From format level 2 on.)
	Until time.Time `json:"until,omitzero"`
}

// Clock is the local time in one zone at the decision: "America/New_York 2026-11-24T08:40".
type Clock string

// MessageDecided (outcome): what the policies said of the message, or why they could not be
// asked. Every fact that the decision was made from is here, in the message's submit, or in control
// at the position that the envelope names.
type MessageDecided struct {
	// Outcome is allow, deny, defer or hold.
	Outcome DecisionOutcome `json:"outcome"`
	// Until is when an allow ends. After a defer or a hold it is when the message is decided anew.
	Until time.Time `json:"until,omitzero"`
	// Senders are the sender IDs for which an allow was made. A route under another sender ID is void.
	Senders []string `json:"senders,omitempty"`
	// Checks are the reports of all checks.
	Checks []Check `json:"checks,omitempty"`
	// Fault says why no decision could be made, so that the message is held: policy, zone_data,
	// clock, key, pause, route, …
	Fault Fault `json:"fault,omitempty"`
	// Detail describes the fault in words; for a pause it is the pause's reason.
	Detail string `json:"detail,omitempty"`
	// Clocks are the local times that the checks looked at.
	Clocks []Clock `json:"clocks,omitempty"`
	// ZoneData is the version of the zone database that the clocks were read from.
	ZoneData string `json:"zone_data,omitempty"`
	// OptOuts are all opt-outs that were in force, whatever their scope.
	OptOuts []ID `json:"opt_outs,omitempty"`
	// Revision is the name of the policies.
	Revision string `json:"revision,omitempty"`
	// Digest is the first 128 bits of the SHA-256 of the policies and their data, in hexadecimal.
	Digest string `json:"digest,omitempty"`
}

// MessageRouted (outcome): to which carrier account the message goes, and in which form.
type MessageRouted struct {
	// Rule is the route rule that matched.
	Rule string `json:"rule"`
	// Table is the control position (from 1) of the route table that has the rule.
	Table int64 `json:"table"`
	// Carrier is the carrier account.
	Carrier string `json:"carrier"`
	// From is the sender ID.
	From string `json:"from"`
	// Encoding is how the text is written for this carrier: gsm7, latin1 or ucs2.
	Encoding string `json:"encoding"`
	// Parts is how many parts the carrier gets.
	Parts int `json:"parts"`
}

// StartedPart is one part of an attempt.
type StartedPart struct {
	// Part is the part's number, from 1.
	Part int `json:"part"`
	// Digest is a keyed digest (128 bits, hex) of the part's exact octets.
	Digest string `json:"digest"`
}

// HandoffStarted (outcome): an attempt may be made now. Only the process that proposed this event
// calls the carrier, only after it has read the event back as effective, and only before CallBy. A
// part that has no answer at AnswerBy is in doubt.
type HandoffStarted struct {
	// Attempt counts the attempts of the message, from 1.
	Attempt int `json:"attempt"`
	// Parts are the parts that the carrier gets in this attempt.
	Parts []StartedPart `json:"parts"`
	// CallBy is the time from which the carrier is not called any more.
	CallBy time.Time `json:"call_by"`
	// AnswerBy is the time after which a part without an answer is in doubt.
	AnswerBy time.Time `json:"answer_by"`
	// Duplicate says that an earlier attempt is in doubt, and the message prefers a duplicate to
	// not being sent.
	Duplicate bool `json:"duplicate,omitempty"`
	// Reference is the user_message_reference of part 1; part n has Reference+n-1.
	Reference uint16 `json:"reference,omitempty"`
	// Tail (from format level 2 on) is a keyed digest (64 bits, hex) of the last seven digits of the
	// recipient's number. It is there where the carrier account delivers inbound texts, unless the stream
	// had one for that account within 15 days. An inbound text whose address can be read as no number finds by
	// it whom it may be of.
	Tail string `json:"tail,omitempty"`
	// Epoch (from format level 3 on) is the ledger's epoch, if the message is from before it. The
	// ledger had lost events before that epoch, or was restored, and a hand-off of the message may be
	// among what it lacks: the recipient may get the message twice.
	Epoch int `json:"epoch,omitempty"`
}

// HandoffAccepted (fact): the carrier accepted a part, and gave it an id, or none.
type HandoffAccepted struct {
	Attempt int `json:"attempt"`
	Part    int `json:"part"`
	// Carrier is the carrier account that answered.
	Carrier string `json:"carrier"`
	// CarrierID is the id that the carrier gave the part. It is unique only within the account. It is left out if
	// the carrier accepted the part without an id; a receipt then finds the part by its reference.
	CarrierID string `json:"carrier_id,omitempty"`
}

// HandoffRefused (fact): the carrier did not accept a part, or was not called with it.
type HandoffRefused struct {
	Attempt int `json:"attempt"`
	Part    int `json:"part"`
	// Carrier is the carrier account.
	Carrier string `json:"carrier"`
	// Retry says that the part may be sent in a later attempt.
	Retry bool `json:"retry,omitempty"`
	// NotCalled says that nothing was written to the carrier.
	NotCalled bool `json:"not_called,omitempty"`
	// Code is the carrier's error code, such as SMPP's command_status.
	Code string `json:"code,omitempty"`
	// Reason is one sentence for people.
	Reason string `json:"reason,omitempty"`
}

// HandoffInDoubt (outcome): the carrier did not answer by answer_by. It may have accepted the
// parts, or not.
type HandoffInDoubt struct {
	Attempt int `json:"attempt"`
	// Parts are the numbers of the parts without an answer.
	Parts []int `json:"parts"`
	// Why is the reason in words.
	Why string `json:"why"`
}

// Concat says which part of a longer inbound message this is.
type Concat struct {
	// Reference is the same in all parts of one message.
	Reference int `json:"reference"`
	// Part is the part's number, from 1.
	Part int `json:"part"`
	// Parts is how many parts the message has.
	Parts int `json:"parts"`
}

// InboundReceived (fact): a handset wrote to one of our numbers. If its words revoke, this event
// itself is the opt-out. If it is one part of a longer message, it stops messages (Holds) until the
// other parts have come, or are no longer waited for. Sealed opens to Inbound.
type InboundReceived struct {
	// Account is the carrier account that delivered it.
	Account string `json:"account"`
	// To is our number or short code that the handset wrote to.
	To string `json:"to"`
	// Ask is stop, unclear, start, yes, help or none; or part: the words count once the parts are
	// joined.
	Ask InboundAsk `json:"ask"`
	// Match is the keyword or phrase of our lists that the words matched.
	Match string `json:"match,omitempty"`
	// Program is the program that owns the number; left out when none is known.
	Program string  `json:"program,omitempty"`
	Concat  *Concat `json:"concat,omitempty"`
	// Revokes is what the words revoke.
	Revokes *Reach `json:"revokes,omitempty"`
	// Unclear says that the words were not plain. Messages are stopped until an officer has read them.
	Unclear bool `json:"unclear,omitempty"`
	// Holds is what a part stops until the other parts have come.
	Holds *Reach `json:"holds,omitempty"`
	// MayLift is what a START may lift: the reaches that a STOP to the same number has, or an
	// officer's opt-out for that number. It lifts nothing else, and nothing at all if the number's
	// owner is not known.
	MayLift []Reach `json:"may_lift,omitempty"`
	// Read is how many events of the partition the node had read when the message came. A START
	// lifts only opt-outs among those.
	Read   int64  `json:"read"`
	Sealed Sealed `json:"sealed"`
}

// HeldStream is a stream that an inbound message holds although it is uncertain whether the message
// is of that person, or for that tenant.
type HeldStream struct {
	Tenant  string    `json:"tenant"`
	Subject Pseudonym `json:"subject"`
	// Event is the id of the InboundHeld in that stream.
	Event ID `json:"event"`
}

// InboundReceivedV2 (fact, from format level 2 on): a handset wrote to one of our numbers. In the
// stream of a tenant and a recipient it is certain who wrote and for whom: if its words revoke, this
// event itself is the opt-out. In a stream without a tenant it is not certain: the stream belongs to
// the operator, there is one for each account and written number, and an officer places the message.
// Sealed opens to Inbound.
type InboundReceivedV2 struct {
	// Account is the carrier account that delivered it.
	Account string `json:"account"`
	// To is our number or short code that the handset wrote to.
	To string `json:"to"`
	// Ask is stop, unclear, start, yes, help or none; or part: the words count once the parts are
	// joined.
	Ask InboundAsk `json:"ask"`
	// Match is the entry of the word lists that the words matched.
	Match string `json:"match,omitempty"`
	// Language is the language of that entry, such as en.
	Language string `json:"language,omitempty"`
	// Lists is the version of the word lists.
	Lists string `json:"lists,omitempty"`
	// Programs are the tenant's programs that may send from the number, by name. The first one
	// answers.
	Programs []string `json:"programs,omitempty"`
	// Reaches are what a STOP to the number stops: every legal entity that may send from it. They
	// are stopped if the words revoke, and held if Holds says so. A START ends what was stopped
	// through the same number.
	Reaches []Reach `json:"reaches,omitempty"`
	// Holds says why the reaches are held until an officer or the other parts say more: unclear,
	// unreadable or part. It is left out if nothing is held.
	Holds  HoldReason `json:"holds,omitempty"`
	Concat *Concat    `json:"concat,omitempty"`
	// Control is the control position by which Programs and Reaches were found.
	Control int64 `json:"control,omitempty"`
	// Read is how many events of the partition the node had read when the message came. A START
	// lifts only opt-outs among those.
	Read int64 `json:"read"`
	// Unplaced says why the message is certain for no recipient and tenant: number_ambiguous,
	// number_unreadable, tenant_unknown or tenant_shared.
	Unplaced UnplacedReason `json:"unplaced,omitempty"`
	// Streams are the streams that are held because of the message.
	Streams []HeldStream `json:"streams,omitempty"`
	// Digest is a keyed digest (128 bits, hex) of the words and the number that they came to (of the
	// exact octets in older events), by which a second delivery of the same START is recognized.
	Digest string `json:"digest,omitempty"`
	// Places is the unplaced message that an officer placed here.
	Places ID     `json:"places,omitzero"`
	Sealed Sealed `json:"sealed"`
}

// InboundHeld (fact, from format level 2 on): an inbound message may be of this recipient, or for this
// tenant. Messages that it may revoke are stopped until an officer has placed it. The words are not
// here: they are in the event that Inbound names.
type InboundHeld struct {
	// Inbound is the unplaced InboundReceived.
	Inbound ID `json:"inbound"`
	// Stream is the operator's stream that has it.
	Stream Pseudonym `json:"stream"`
	// Account is the carrier account that delivered it.
	Account string `json:"account"`
	// To is our number or short code that the handset wrote to.
	To string `json:"to"`
	// Reaches are what is stopped.
	Reaches []Reach `json:"reaches"`
	// Unplaced says why the message is not certain.
	Unplaced UnplacedReason `json:"unplaced"`
	// Plain says that the words revoke plainly, and that the recipient is certain: several tenants send
	// from the number, and the words stop them all.
	Plain bool `json:"plain,omitempty"`
	// Control is the control position by which the reaches were found.
	Control int64 `json:"control,omitempty"`
}

// InboundJoined (fact, from format level 2 on): the parts of an inbound message are joined, or the
// missing ones are no longer waited for. It takes the place of what its parts held, as
// InboundReceived does for a message of one part.
type InboundJoined struct {
	// Parts are the events of the parts, in order of arrival.
	Parts []ID `json:"parts"`
	// To is our number or short code that the handset wrote to.
	To string `json:"to"`
	// Ask is what the joined words ask for: stop, unclear, start, yes, help or none.
	Ask InboundAsk `json:"ask"`
	// Match is the entry of the word lists that the words matched.
	Match string `json:"match,omitempty"`
	// Language is the language of that entry, such as en.
	Language string `json:"language,omitempty"`
	// Lists is the version of the word lists.
	Lists string `json:"lists,omitempty"`
	// Programs are the tenant's programs that may send from the number, by name.
	Programs []string `json:"programs,omitempty"`
	// Reaches are what the words stop, hold or may start, as in InboundReceived.
	Reaches []Reach `json:"reaches,omitempty"`
	// Holds says why the reaches are held: unclear, or unreadable if a part is missing.
	Holds HoldReason `json:"holds,omitempty"`
	// Read is how many events of the partition had been read when the first part came.
	Read int64 `json:"read"`
}

// ReviewResolved (fact, from format level 2 on): an officer has read what is under review, and says
// what it was. It ends the hold that the review names.
type ReviewResolved struct {
	// Review is the event that is under review.
	Review ID `json:"review"`
	// As is stop, narrow, clear or place.
	As ReviewOutcome `json:"as"`
	// Reaches are what is stopped from here on; left out for clear and place.
	Reaches []Reach `json:"reaches,omitempty"`
	// Placed is the event that has the words in the stream of the person and the tenant whose they are.
	Placed ID `json:"placed,omitzero"`
	// By is the id of the API key that resolved it.
	By string `json:"by"`
	// Sealed opens to Evidence.
	Sealed *Sealed `json:"sealed,omitempty"`
}

// ReviewRead (fact, from format level 2 on): the words that are under review were shown to somebody.
type ReviewRead struct {
	// Review is the event whose words were shown.
	Review ID `json:"review"`
	// By is the id of the API key that asked for them.
	By string `json:"by"`
}

// Inbound is the personal data of an inbound message or a receipt: what its Sealed opens to.
type Inbound struct {
	From string `json:"from,omitempty"`
	// Text is the most likely reading of the octets, Others are further possible readings.
	Text   string   `json:"text,omitempty"`
	Others []string `json:"others,omitempty"`
	// Unreadable says that the octets, or a part of them, could not be read as text.
	Unreadable bool `json:"unreadable,omitempty"`
	// Raw is the exact octets that the carrier delivered.
	Raw []byte `json:"raw,omitempty"`
	// To is the destination address, and TextID the id in the text if the receipt has another one beside
	// it, of a receipt that waits in the inbox.
	To     string `json:"to,omitempty"`
	TextID string `json:"text_id,omitempty"`
}

// ReceiptReceived (fact): a delivery receipt. In a message's stream it is matched to its message.
// In the inbox it waits until its message is known. Sealed opens to Inbound.
type ReceiptReceived struct {
	// Account is the carrier account that delivered it.
	Account string `json:"account"`
	// CarrierID is the carrier's id of the part, as the receipt writes it.
	CarrierID string `json:"carrier_id,omitempty"`
	// Reference is the user_message_reference in the receipt.
	Reference int `json:"reference,omitempty"`
	// Attempt is the attempt that the receipt is about, once it is matched.
	Attempt int `json:"attempt,omitempty"`
	// Part is the part that the receipt is about, once it is matched.
	Part int `json:"part,omitempty"`
	// State is SMPP's message_state by name: delivered, undeliverable, …
	State MessageState `json:"state"`
	// Final says that the state can no longer change.
	Final bool `json:"final,omitempty"`
	// Error is the carrier's error code.
	Error string `json:"error,omitempty"`
	// Grade is network (the carrier says so), inferred (the receipt was matched without an id), or
	// handset (the carrier vouches that the handset has the message).
	Grade Grade `json:"grade,omitempty"`
	// Match is how it was matched: id, id_zeros, id_hex or reference.
	Match Match `json:"match,omitempty"`
	// Received is when the receipt came, if it waited in the inbox. Else that is the event's time.
	Received time.Time `json:"received,omitzero"`
	Sealed   Sealed    `json:"sealed"`
}

// MessageExpired (outcome): the message's validity ended before it was sent.
type MessageExpired struct{}

// ReceiptOverdue (outcome): no final receipt came in time.
type ReceiptOverdue struct{}

// ControlApplied (fact, in every partition) puts a control position into force in the partition.
// It is effective only if the position is higher than the one in force.
type ControlApplied struct {
	// Position counts from 1: the control event's index plus one.
	Position int64 `json:"position"`
	// Event is the id of the control event at that position.
	Event ID `json:"event"`
}

// LedgerCreated (control) is the first event of a ledger.
type LedgerCreated struct {
	// Ledger is the ledger's short id.
	Ledger string `json:"ledger"`
	// Partitions is how many partitions hold recipients' streams. It never changes.
	Partitions int `json:"partitions"`
	// NumberForms is the version of the canonical forms of phone numbers.
	NumberForms int `json:"number_forms"`
}

// ProgramChanged (control): the whole registration of one program of the envelope's tenant. It
// replaces the registration before it.
type ProgramChanged struct {
	// Name is the program's name within the tenant.
	Name string `json:"name"`
	// LegalEntity is the legal entity that sends by the program.
	LegalEntity string `json:"legal_entity"`
	// Brand is the name that recipients know; left out: the legal entity.
	Brand string `json:"brand,omitempty"`
	// Purposes are the purposes that its messages may have. A message that names none gets the
	// strictest of them.
	Purposes []string `json:"purposes"`
	// Countries are the countries that it may send to (ISO 3166-1 alpha-2); "*" is every country.
	Countries []string `json:"countries"`
	// Senders are its sender IDs. The first is the default; where it is not legal in a country, the
	// next one that is legal there.
	Senders []string `json:"senders"`
	// Priority is 1 (last) to 9 (first); left out: each purpose has its own.
	Priority int `json:"priority,omitempty"`
	// PrefersDuplicate is the default for its messages: see MessageSubmitted.
	PrefersDuplicate bool `json:"prefers_duplicate,omitempty"`
	// HelpText answers HELP; left out: a standard text.
	HelpText string `json:"help_text,omitempty"`
	// StopText confirms an opt-out; left out: a standard text.
	StopText string `json:"stop_text,omitempty"`
	// StartText answers a START; left out: none is answered. (From format level 2 on.)
	StartText string `json:"start_text,omitempty"`
	// Default says that this is the tenant's program for messages that name none.
	Default bool `json:"default,omitempty"`
	// By is the id of the API key that registered it.
	By string `json:"by"`
}

// Route sends the messages that it matches to a carrier account. Of several routes that match, the
// first counts.
type Route struct {
	// Rule is the route's name.
	Rule string `json:"rule"`
	// Countries are the countries that it matches; left out: all.
	Countries []string `json:"countries,omitempty"`
	// Programs are the programs that it matches; left out: all.
	Programs []string `json:"programs,omitempty"`
	// Carrier is the carrier account.
	Carrier string `json:"carrier"`
}

// RoutesChanged (control) replaces the whole route table.
type RoutesChanged struct {
	Routes []Route `json:"routes"`
	By     string  `json:"by"`
}

// PolicyActivated (control): from here on, decisions are made under these policies.
type PolicyActivated struct {
	// Revision is the name of the policies.
	Revision string `json:"revision"`
	// Digest is the SHA-256 of the policies and their data, in hexadecimal.
	Digest string `json:"digest"`
	By     string `json:"by"`
}

// Paused (control): from here on, no message that the pause covers is handed to a carrier. A pause
// covers all messages of the envelope's tenant, or of every tenant if it names none; with a program,
// a carrier account or both, only those of that program and to that account.
type Paused struct {
	Program string `json:"program,omitempty"`
	Carrier string `json:"carrier,omitempty"`
	// Reason says why, for people.
	Reason string `json:"reason"`
	By     string `json:"by"`
}

// Resumed (control) ends the pause of exactly the same program and carrier.
type Resumed struct {
	Program string `json:"program,omitempty"`
	Carrier string `json:"carrier,omitempty"`
	// Reason says why, for people.
	Reason string `json:"reason"`
	By     string `json:"by"`
}

// RecordAccepted (control): an operator accepts exactly one record that is not an event of this
// ledger, as an opaque leaf. Folds skip it, and it proves nothing.
type RecordAccepted struct {
	// Position is the record's position, such as "07-1234".
	Position string `json:"position"`
	// Hash is the SHA-256 of the record's bytes, in hexadecimal. No other record is accepted at
	// that position.
	Hash   string `json:"hash"`
	Reason string `json:"reason"`
	By     string `json:"by"`
}

// LevelRaised (control): from here on, nodes may write what the format level allows. A node that does
// not know the level refuses to serve. A ledger begins at level 1.
type LevelRaised struct {
	// Level is the format level: it is always one more than the level before it.
	Level int    `json:"level"`
	By    string `json:"by"`
}

// VaultBound (control, from format level 3 on): the vault that the ledger belongs to. A node whose vault
// has another fingerprint refuses to serve the ledger. A ledger is bound once: a later VaultBound changes
// nothing.
type VaultBound struct {
	// Vault is the fingerprint of the vault's pseudonym key: a keyed digest of 128 bits, in hexadecimal.
	Vault string `json:"vault"`
	// Development: the ledger was made by serve --dev, which serves no other.
	Development bool `json:"development,omitempty"`
	// By is the command that bound it.
	By string `json:"by"`
}

// EpochBegan (control, from format level 3 on): the ledger goes on after a loss, or after it was restored
// from a backup. Nothing is sent of any program until an EpochReleased of the same epoch covers it.
type EpochBegan struct {
	// Epoch is one more than the epoch before it. A ledger begins in epoch 1.
	Epoch int `json:"epoch"`
	// Cause says what came before it: "recover" (the ledger had lost events) or "restore" (a backup).
	Cause EpochCause `json:"cause"`
	// Lost are the events that the vault or the views had known and that this ledger lacks, a partition
	// each; left out where none is known to be missing.
	Lost   []LostEvents `json:"lost,omitempty"`
	Reason string       `json:"reason"`
	By     string       `json:"by"`
}

// LostEvents are the events of one partition that a ledger lacks.
type LostEvents struct {
	// Partition is "07", "control", "inbox" or "audit".
	Partition string `json:"partition"`
	// From is the index of the first that is missing, and To the index after the last one that was known.
	From int64 `json:"from"`
	To   int64 `json:"to"`
	// Hash is the SHA-256 of the last one that was known, in hexadecimal; left out if it is not known.
	Hash string `json:"hash,omitempty"`
}

// EpochReleased (control, from format level 3 on): the messages of a program, or of all programs, may be
// sent again after an EpochBegan. The envelope's tenant is the program's; an event without a tenant
// covers all programs of all tenants.
type EpochReleased struct {
	// Epoch is the epoch that the release belongs to. A release of an earlier epoch changes nothing.
	Epoch int `json:"epoch"`
	// Program is the tenant's program; left out for all programs.
	Program string `json:"program,omitempty"`
	Reason  string `json:"reason"`
	By      string `json:"by"`
}

// MessageRecovered (fact, from format level 3 on): the ledger has lost events of this message, and a
// newer copy of the views knew more of it. What was lost may have been a hand-off, so the message is in
// doubt and is never sent again; its text is lost if its submit is. A message that had reached its end in
// the ledger stays as it is.
type MessageRecovered struct {
	// Epoch is the epoch in which it was recorded.
	Epoch   int    `json:"epoch"`
	Program string `json:"program,omitempty"`
	Purpose string `json:"purpose,omitempty"`
	From    string `json:"from,omitempty"`
	// Country is the country of the number (ISO 3166-1 alpha-2); left out where it is not known.
	Country string `json:"country,omitempty"`
	// Accepted is when the message was submitted, and ValidUntil the time from which it is not sent.
	Accepted   time.Time `json:"accepted,omitzero"`
	ValidUntil time.Time `json:"valid_until,omitzero"`
	// Key and Input are the digests of the idempotency key and of the request, as in the submit: the
	// key stays reserved.
	Key   string `json:"key,omitempty"`
	Input string `json:"input,omitempty"`
	// Answers is the inbound message that this message confirms or answers.
	Answers ID `json:"answers,omitzero"`
	// Status is the message's status as it was known: sent, delivered, …
	Status string `json:"status"`
	// Parts is how many parts the message was routed in; 0 if it is not known to have been routed.
	Parts int `json:"parts,omitempty"`
	// Handoffs are the parts that were handed to a carrier, as they were known. A late receipt finds
	// the message by them.
	Handoffs []KnownHandoff `json:"handoffs,omitempty"`
	// Source says who knew it: views.
	Source RecoverySource `json:"source"`
	// By says who recovered the ledger.
	By string `json:"by"`
}

// KnownHandoff is a part of a message that was handed to a carrier before the ledger lost its events.
type KnownHandoff struct {
	Attempt int    `json:"attempt"`
	Part    int    `json:"part"`
	Carrier string `json:"carrier"`
	// CarrierID is the id that the carrier gave the part; left out if no answer was known.
	CarrierID string `json:"carrier_id,omitempty"`
	// Reference is the user_message_reference of the part.
	Reference uint16 `json:"reference,omitempty"`
}

// OwnerGranted (control, from format level 2 on): an operator grants a sender ID or a legal entity to
// the envelope's tenant alone. Without a grant, the tenant that registered it first has it.
type OwnerGranted struct {
	// Sender is the sender ID; left out for a legal entity.
	Sender string `json:"sender,omitempty"`
	// LegalEntity is the legal entity; left out for a sender ID.
	LegalEntity string `json:"legal_entity,omitempty"`
	By          string `json:"by"`
}

// PersonalDataRead (audit): personal data was shown in clear to the holder of an API key, in the
// time from From to Until. Reads are recorded in batches, so that one event has many of them. The
// envelope's tenant is whose data it was; "" for the operator's.
type PersonalDataRead struct {
	// Key is the id of the API key.
	Key string `json:"key"`
	// Reason is what the caller gave as the reason; "" if nothing was given.
	Reason string    `json:"reason,omitempty"`
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	// Reads are 1 to 500 reads; fewer where they name so many events that one event of the ledger (256
	// KiB) could not hold them.
	Reads []DataRead `json:"reads"`
}

// DataRead says what one call, or several of the same kind, showed.
type DataRead struct {
	// Call is the API operation, such as getMessage.
	Call string `json:"call"`
	// Shown are the kinds of data: number, body, reference, metadata, words, evidence.
	Shown []string `json:"shown"`
	// Subject is the recipient's pseudonym; left out where a call showed data of several.
	Subject Pseudonym `json:"subject,omitzero"`
	// Events are the messages or events whose data was shown, up to 200; those that the key submitted
	// itself are left out.
	Events []ID `json:"events,omitempty"`
	// Times is how many such calls it stands for.
	Times int `json:"times"`
}

// KeyUsed (audit): an API key was used in the time from From to Until, an hour at most. The
// envelope's tenant is the key's.
type KeyUsed struct {
	Key   string     `json:"key"`
	From  time.Time  `json:"from"`
	Until time.Time  `json:"until"`
	Calls []KeyCalls `json:"calls"`
}

// KeyCalls counts the calls of a key that needed one scope.
type KeyCalls struct {
	Scope string `json:"scope"`
	// Times is how many calls there were, with those that were refused.
	Times int64 `json:"times"`
	// Refused is how many of them were refused because the key does not have the scope.
	Refused int64 `json:"refused,omitempty"`
}

// ExportAsked (audit): somebody asked for an export of the tenant's events. The event's id is the
// export's.
type ExportAsked struct {
	// By is the id of the API key.
	By     string `json:"by"`
	Reason string `json:"reason"`
	// Scope is what was asked for, as JSON without personal data: a recipient is a pseudonym, a
	// reference a keyed digest.
	Scope string `json:"scope"`
	// Clear says that personal data is in the file in clear.
	Clear bool `json:"clear,omitempty"`
	// Heads are the positions up to which the file is true, one a partition: the file has no event
	// at or after it.
	Heads []string `json:"heads"`
}

// ExportEnded (audit): the making of an export came to its end.
type ExportEnded struct {
	Export ID          `json:"export"`
	As     ExportState `json:"as"`
	// By is the id of the API key that cancelled it; "" otherwise.
	By string `json:"by,omitempty"`
	// Why says why it failed; "" otherwise.
	Why string `json:"why,omitempty"`
	// Events is how many events are in the file, Size its length in bytes, SHA256 its digest in
	// hexadecimal. They are left out if there is no file.
	Events int64  `json:"events,omitempty"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// DeleteAfter is when the file will be deleted.
	DeleteAfter time.Time `json:"delete_after,omitzero"`
}

// ExportDownloaded (audit): the file of an export was given out.
type ExportDownloaded struct {
	Export ID     `json:"export"`
	By     string `json:"by"`
	SHA256 string `json:"sha256"`
}

// ExportDeleted (audit): the file of an export was deleted.
type ExportDeleted struct {
	Export ID `json:"export"`
	// By is the id of the API key; "" if the file was deleted because its time was over.
	By string `json:"by,omitempty"`
}

// MasterKeyRotated (audit, format level 3): the vault has a new master key. Every key in it was wrapped once
// more, under the new one, and the old one opens none any more. Its time is when it was recorded.
type MasterKeyRotated struct {
	Began time.Time `json:"began"`
	Ended time.Time `json:"ended"`
	// Keys is how many keys the vault had at the end.
	Keys int64 `json:"keys"`
	// By is who asked for it, on the command line.
	By string `json:"by"`
}

// WebhookChanged (audit): an endpoint that is told what the feed tells was added, changed or deleted, or is told things
// or not from now on.
type WebhookChanged struct {
	// Webhook is the id of the endpoint.
	Webhook ID `json:"webhook"`
	// As says what was done: added, changed, rotated (it has another secret), paused, disabled, enabled, replayed or deleted.
	As WebhookChange `json:"as"`
	// Why says more, in words without personal data.
	Why string `json:"why,omitempty"`
	// By is the id of the API key; "" for the server itself.
	By string `json:"by,omitempty"`
}
