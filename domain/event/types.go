package event

import "time"

// Sealed is personal data under two keys: one of the tenant and recipient (whose
// destruction erases the person) and one of the tenant, retention class and
// month (whose destruction lets a class expire). Both are needed to open it. The
// additional data that it is bound to is the event's id, so a box moved to
// another event does not open.
type Sealed struct {
	// SubjectKey is the id of the person's key, ordered by time.
	SubjectKey ID `json:"subject_key"`
	// ClassKey is the retention class and month: "message/2026-11".
	ClassKey string `json:"class_key"`
	Box      []byte `json:"box"`
}

// Place is one place in which the recipient may be, as derived when the message
// was submitted: "US-FL America/New_York", "GB Europe/London".
type Place string

// MessageSubmitted (fact): a sender asked for a message to be sent. Its event id
// is the message's id. Sealed opens to Content.
type MessageSubmitted struct {
	Program  string `json:"program"`
	Purpose  string `json:"purpose"`
	Priority int    `json:"priority"`
	// From is the sender ID asked for.
	From string `json:"from"`
	// Country and Places are derived from the number: no number, but what the
	// rules need of it.
	Country  string  `json:"country,omitempty"`
	Places   []Place `json:"places,omitempty"`
	Encoding string  `json:"encoding"`
	Segments int     `json:"segments"`
	// SendAt is the earliest time to send; zero is at once. ValidUntil is the last.
	SendAt     time.Time `json:"send_at,omitzero"`
	ValidUntil time.Time `json:"valid_until"`
	// PrefersDuplicate: when an attempt is in doubt, a second is better than none.
	PrefersDuplicate bool `json:"prefers_duplicate,omitempty"`
	// Key and Input are keyed digests (128 bits, hex) of the idempotency key and of
	// the whole input. Both "" when no key was given.
	Key   string `json:"key,omitempty"`
	Input string `json:"input,omitempty"`
	// Referenced: the sealed content has a reference that searches find.
	Referenced bool `json:"referenced,omitempty"`
	// Answers is the inbound message that this one confirms or answers.
	Answers ID `json:"answers,omitzero"`
	// By is the API key's id, or "clerk".
	By     string `json:"by"`
	Sealed Sealed `json:"sealed"`
}

// Content is the personal part of a submit: what Sealed holds.
type Content struct {
	To        string            `json:"to"`
	Body      string            `json:"body"`
	Reference string            `json:"reference,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

// CancelRequested (request): the sender no longer wants the message sent. It
// cancels what has not left, and stops later attempts of what has.
type CancelRequested struct {
	By string `json:"by"`
}

// Scope is how far an opt-out reaches.
type Scope string

const (
	ScopeSender      Scope = "sender"
	ScopeProgram     Scope = "program"
	ScopeLegalEntity Scope = "legal_entity"
	ScopeTenant      Scope = "tenant"
)

// Reach is a scope and the name it applies to ("" for tenant).
type Reach struct {
	Scope Scope  `json:"scope"`
	Name  string `json:"name,omitempty"`
}

// OptedOut (fact): the recipient does not want these messages.
type OptedOut struct {
	Reach Reach `json:"reach"`
	// Source says where it came from: handset, phone, email, web, letter, import, joined, …
	Source Source `json:"source"`
	// Occurred is when the person said so, where it differs from when it was known
	// here (the event's time).
	Occurred time.Time `json:"occurred,omitzero"`
	// Unclear: suppressed until an officer has looked.
	Unclear bool `json:"unclear,omitempty"`
	// Answers is the inbound part whose joined text showed it; Lifts the holds of
	// those parts that it replaces.
	Answers ID     `json:"answers,omitzero"`
	Lifts   []ID   `json:"lifts,omitempty"`
	By      string `json:"by"`
	// Sealed opens to Evidence; absent when there is none.
	Sealed *Sealed `json:"sealed,omitempty"`
}

// Evidence is what an opt-out, a lift or a review rests on: sealed.
type Evidence struct {
	Number string `json:"number,omitempty"`
	Text   string `json:"text,omitempty"`
}

// SuppressionLifted (fact) undoes exactly the opt-outs that it names. It grants nothing.
type SuppressionLifted struct {
	Lifts  []ID   `json:"lifts"`
	Source Source `json:"source"`
	// Answers is the handset's START, or the joined inbound part, that it follows from.
	Answers ID      `json:"answers,omitzero"`
	By      string  `json:"by"`
	Sealed  *Sealed `json:"sealed,omitempty"`
}

// Check is one required check's report inside a decision.
type Check struct {
	Check   string          `json:"check"`
	Outcome DecisionOutcome `json:"outcome"`
	Rules   []string        `json:"rules"`
	// OptOuts are the events that the check rested on.
	OptOuts []ID `json:"opt_outs,omitempty"`
}

// Clock is the local time in one zone when it was decided: "America/New_York 2026-11-24T08:40".
type Clock string

// MessageDecided (outcome): what the policies said of the message, or why they
// could not be asked. With its submit and the control position in the envelope
// it holds every fact that the decision was made from.
type MessageDecided struct {
	// Outcome is allow, deny, defer or hold.
	Outcome DecisionOutcome `json:"outcome"`
	// Until: an allow stands until then; a deferral or a hold is decided again then.
	Until time.Time `json:"until,omitzero"`
	// Senders are the sender IDs that an allow was made for; a route to another is void.
	Senders []string `json:"senders,omitempty"`
	Checks  []Check  `json:"checks,omitempty"`
	// Fault says what kept a decision from being made (hold): policy, zone_data,
	// clock, key, pause, route, …
	Fault Fault `json:"fault,omitempty"`
	// Detail is the fault's or the pause's reason in words.
	Detail string `json:"detail,omitempty"`
	// Clocks and ZoneData are the times that were evaluated and the zone database they come from.
	Clocks   []Clock `json:"clocks,omitempty"`
	ZoneData string  `json:"zone_data,omitempty"`
	// OptOuts are all that stood, whatever their scope.
	OptOuts []ID `json:"opt_outs,omitempty"`
	// Revision and Digest name the policies (Digest: the first 128 bits of SHA-256, hex).
	Revision string `json:"revision,omitempty"`
	Digest   string `json:"digest,omitempty"`
}

// MessageRouted (outcome): which carrier it goes to, and as what.
type MessageRouted struct {
	// Rule is the route rule that matched; Table the control position (from 1) of
	// the table it stands in.
	Rule     string `json:"rule"`
	Table    int64  `json:"table"`
	Carrier  string `json:"carrier"`
	From     string `json:"from"`
	Encoding string `json:"encoding"`
	Parts    int    `json:"parts"`
}

// StartedPart is one part of an attempt.
type StartedPart struct {
	Part int `json:"part"`
	// Digest is a keyed digest (128 bits, hex) of the exact octets.
	Digest string `json:"digest"`
}

// HandoffStarted (outcome): an attempt may now be made; the carrier is called
// after this event has come back effective, by CallBy, and by nobody but the
// process that proposed it. What is unanswered at AnswerBy is in doubt.
type HandoffStarted struct {
	Attempt  int           `json:"attempt"`
	Parts    []StartedPart `json:"parts"`
	CallBy   time.Time     `json:"call_by"`
	AnswerBy time.Time     `json:"answer_by"`
	// Duplicate: an earlier attempt is in doubt, and the program prefers a second.
	Duplicate bool `json:"duplicate,omitempty"`
	// Reference is the user_message_reference of the first part; part n has Reference+n-1.
	Reference uint16 `json:"reference,omitempty"`
}

// HandoffAccepted (fact): the carrier took a part under its own id.
type HandoffAccepted struct {
	Attempt   int    `json:"attempt"`
	Part      int    `json:"part"`
	Carrier   string `json:"carrier"`
	CarrierID string `json:"carrier_id"`
}

// HandoffRefused (fact): a part was not taken. Retry: it may be offered again.
// NotCalled: the carrier never heard of it.
type HandoffRefused struct {
	Attempt   int    `json:"attempt"`
	Part      int    `json:"part"`
	Carrier   string `json:"carrier"`
	Retry     bool   `json:"retry,omitempty"`
	NotCalled bool   `json:"not_called,omitempty"`
	Code      string `json:"code,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// HandoffInDoubt (outcome): nobody answered by answer_by, and nobody can know now.
type HandoffInDoubt struct {
	Attempt int    `json:"attempt"`
	Parts   []int  `json:"parts"`
	Why     string `json:"why"`
}

// Concat is where an inbound part belongs.
type Concat struct {
	Reference int `json:"reference"`
	Part      int `json:"part"`
	Parts     int `json:"parts"`
}

// InboundReceived (fact): a handset wrote to one of our numbers. When its words
// revoke, this very event is the opt-out. A part whose siblings are missing
// holds its reach (Holds) until they are joined or given up. Sealed opens to Inbound.
type InboundReceived struct {
	Account string `json:"account"`
	// To is the number or short code that it was sent to: ours.
	To string `json:"to"`
	// Ask is stop, unclear, start, yes, help or none, or part (its words count once it
	// is joined); Match the keyword of our lists.
	Ask   InboundAsk `json:"ask"`
	Match string     `json:"match,omitempty"`
	// Program owns the number it was sent to; "" when that is not known.
	Program string  `json:"program,omitempty"`
	Concat  *Concat `json:"concat,omitempty"`
	// Revokes is what the words revoke; Unclear: until an officer has looked.
	Revokes *Reach `json:"revokes,omitempty"`
	Unclear bool   `json:"unclear,omitempty"`
	// Holds is what a part suppresses until its siblings are there.
	Holds *Reach `json:"holds,omitempty"`
	// MayLift (a START to a number whose owner is known) are the reaches that a STOP
	// to that number, or an officer for it, would have: nothing else is lifted.
	MayLift []Reach `json:"may_lift,omitempty"`
	// Read is how much of the partition its adapter had read (a count): a START
	// lifts only what stood there.
	Read   int64  `json:"read"`
	Sealed Sealed `json:"sealed"`
}

// Inbound is the personal part of an inbound message or receipt.
type Inbound struct {
	From string `json:"from,omitempty"`
	Text string `json:"text,omitempty"`
	Raw  []byte `json:"raw,omitempty"`
}

// ReceiptReceived (fact): a delivery receipt. In a message's stream it is matched;
// in the inbox it waits for its message. Sealed opens to Inbound.
type ReceiptReceived struct {
	Account string `json:"account"`
	// CarrierID is the id as the receipt writes it.
	CarrierID string `json:"carrier_id,omitempty"`
	Reference int    `json:"reference,omitempty"`
	// Attempt and Part say what it is about, once it is matched.
	Attempt int `json:"attempt,omitempty"`
	Part    int `json:"part,omitempty"`
	// State is SMPP's message_state by name (delivered, undeliverable, …); Final:
	// it can no longer change.
	State MessageState `json:"state"`
	Final bool         `json:"final,omitempty"`
	Error string       `json:"error,omitempty"`
	// Grade is network (the carrier says so) or inferred (settled without an id);
	// handset where a carrier vouches for that.
	Grade Grade `json:"grade,omitempty"`
	// Match is how it was matched: id, id_zeros, id_hex, reference.
	Match Match `json:"match,omitempty"`
	// Received is when it came, where that is not the event's time (it waited in the inbox).
	Received time.Time `json:"received,omitzero"`
	Sealed   Sealed    `json:"sealed"`
}

// MessageExpired (outcome): its validity ended before it left.
type MessageExpired struct{}

// ReceiptOverdue (outcome): no final receipt in time.
type ReceiptOverdue struct{}

// ControlApplied (fact, in every partition) brings a control position into the
// partition. Only a higher one is effective.
type ControlApplied struct {
	// Position counts from 1: the control event's index plus one.
	Position int64 `json:"position"`
	Event    ID    `json:"event"`
}

// LedgerCreated (control) is the first event of a ledger.
type LedgerCreated struct {
	Ledger     string `json:"ledger"`
	Partitions int    `json:"partitions"`
	// NumberForms is the version of the canonical number forms.
	NumberForms int `json:"number_forms"`
}

// ProgramChanged (control): the whole registration of one program of the
// envelope's tenant, replacing the former.
type ProgramChanged struct {
	Name        string   `json:"name"`
	LegalEntity string   `json:"legal_entity"`
	Brand       string   `json:"brand,omitempty"`
	Purposes    []string `json:"purposes"`
	// Countries it may reach (ISO 3166-1 alpha-2), "*" for all.
	Countries []string `json:"countries"`
	// Senders are its sender IDs, its own default first; where one is not legal in a
	// country, the first that is.
	Senders  []string `json:"senders"`
	Priority int      `json:"priority,omitempty"`
	// PrefersDuplicate: see MessageSubmitted.
	PrefersDuplicate bool   `json:"prefers_duplicate,omitempty"`
	HelpText         string `json:"help_text,omitempty"`
	StopText         string `json:"stop_text,omitempty"`
	// Default: the tenant's program when a message names none.
	Default bool   `json:"default,omitempty"`
	By      string `json:"by"`
}

// Route sends what it matches to a carrier account; the first that matches counts.
type Route struct {
	Rule string `json:"rule"`
	// Countries, Programs: empty matches all.
	Countries []string `json:"countries,omitempty"`
	Programs  []string `json:"programs,omitempty"`
	Carrier   string   `json:"carrier"`
}

// RoutesChanged (control) replaces the whole route table.
type RoutesChanged struct {
	Routes []Route `json:"routes"`
	By     string  `json:"by"`
}

// PolicyActivated (control): decisions are made under this bundle from here on.
type PolicyActivated struct {
	Revision string `json:"revision"`
	Digest   string `json:"digest"`
	By       string `json:"by"`
}

// Paused (control): nothing of the program (of the envelope's tenant), or to the
// carrier, or at all when both are empty, leaves from here on.
type Paused struct {
	Program string `json:"program,omitempty"`
	Carrier string `json:"carrier,omitempty"`
	Reason  string `json:"reason"`
	By      string `json:"by"`
}

// Resumed (control) ends the pause of exactly the same program and carrier.
type Resumed struct {
	Program string `json:"program,omitempty"`
	Carrier string `json:"carrier,omitempty"`
	Reason  string `json:"reason"`
	By      string `json:"by"`
}

// RecordAccepted (control): an operator takes exactly one record, which is no event
// of this ledger, as an opaque leaf: folds pass over it, and it proves nothing.
type RecordAccepted struct {
	// Position is where it stands, such as "07-1234".
	Position string `json:"position"`
	// Hash is SHA-256 of its bytes, in hexadecimal: no other record is accepted there.
	Hash   string `json:"hash"`
	Reason string `json:"reason"`
	By     string `json:"by"`
}
