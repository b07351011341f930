// Package ledger is the ports of the domain (the log, the views, the vault, the carriers, the
// placement of partitions), their errors, and the one writer of sealed events. Nothing in it
// runs.
package ledger

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// Carrier is one account at one carrier, as the dispatcher sees it: a window of
// submits that may be unanswered, and a rate. It never queues. Whoever calls
// Submit has looked at Free first.
type Carrier interface {
	// Account names the carrier account. Carrier ids are unique only within it.
	Account() string

	// Free is how many more parts the account takes at this moment: open window
	// slots, or tokens of its rate, whichever is less; 0 without a bind. When it
	// is 0 only because of the rate, the second result says when to ask again;
	// otherwise that is the zero time and Changed is the signal.
	Free(now time.Time) (slots int, next time.Time)

	// Changed receives a value (never blocking the sender, capacity 1) after a
	// bind came or went, a slot became free or the rate changed.
	Changed() <-chan struct{}

	// Submit writes one part to the carrier. done is called exactly once, from
	// any goroutine and possibly before Submit returns; it must not block.
	// Submit checks nothing that the gate has checked, but it refuses, as
	// NotCalled, when there is no bind or no slot. Past h.CallBy it must not write.
	Submit(h Handoff, done func(HandoffResult))
}

// Client is a carrier account as the process runs it: what a new kind of carrier implements.
// What it delivers goes to the Inbox that it was made with.
type Client interface {
	Carrier
	// Run keeps the account in use until ctx is done: bound, for a carrier with binds. Then
	// it answers what is open, within its own bound, and returns.
	Run(ctx context.Context) error
	// SetShare says whether this node may use the account, and how many submits a second
	// are its share of the account's rate; 0 is no limit. See Sharing.
	SetShare(use bool, tps float64)
	// State is how the account stands now.
	State() ClientState
}

// ClientState is how an account stands on this node.
type ClientState struct {
	// Bound: submits can be taken. For a carrier without binds: its last answer was one.
	Bound bool
	// Since is when Bound last changed; zero before the first bind.
	Since time.Time
	// LastError is why it is not bound, in words for the operator; "" while it is.
	LastError string
	// Open is how many submits are unanswered. Submits and Throttled count since the start.
	Open               int
	Submits, Throttled uint64
}

// Handoff is one part on its way to a carrier (SMPP 3.4 §4.4.1 submit_sm).
type Handoff struct {
	Message event.ID
	Attempt int
	Part    int // from 1
	Parts   int // of how many
	// Reference goes out as user_message_reference (TLV 0x0204) and is how a
	// receipt without an id may be settled. Unique enough within a carrier's
	// window, not an identity.
	Reference uint16

	To   sms.Number
	From sms.Sender
	// Segment has the exact octets (UDH included) and the data coding.
	Segment  sms.Segment
	Priority int
	// ValidUntil becomes validity_period; zero leaves it to the carrier.
	ValidUntil time.Time
	CallBy     time.Time
	// AnswerBy is when an unanswered hand-off becomes in doubt. The session's own
	// response time-out lies before it.
	AnswerBy time.Time
}

// HandoffStatus sorts what came of a call.
type HandoffStatus uint8

const (
	// HandoffUnknown: written, or perhaps written, and not answered: a lost
	// connection, a time-out, a generic_nack. No fact follows; past AnswerBy the
	// clerk records HandoffInDoubt.
	HandoffUnknown HandoffStatus = iota
	// HandoffTaken: the carrier answered with an id.
	HandoffTaken
	// HandoffRetry: the carrier said it did not take it and may later
	// (ESME_RTHROTTLED, ESME_RMSGQFUL, ESME_RSYSERR where documented so).
	HandoffRetry
	// HandoffFinal: the carrier said it will not take it.
	HandoffFinal
	// HandoffNotCalled: nothing was written to the carrier.
	HandoffNotCalled
)

// HandoffResult is what a carrier said of one part.
type HandoffResult struct {
	Status HandoffStatus
	// CarrierID is the id from submit_sm_resp, as written there. Only with HandoffTaken.
	CarrierID string
	// Code is the command_status or the aggregator's error code, "" when there is none.
	Code string
	// Reason is one plain sentence for people, without personal data.
	Reason string
}

// Delivery is one deliver_sm (or an aggregator's webhook): a delivery receipt, or
// an MO message or a part of one.
type Delivery struct {
	Account string
	// Raw is the exact PDU body, evidence of what came. It is sealed before it is stored.
	Raw []byte
	// From and To are the addresses as the carrier wrote them.
	From, To string
	Received time.Time
	// Receipt is set for a receipt (by esm_class, never by sniffing the text
	// unless the connector says so).
	Receipt *sms.Receipt
	// Reference is user_message_reference, 0 when absent.
	Reference uint16
	// Text is the decoded text of an MO message; Concat says which part it is.
	Text   string
	Concat *sms.Concat
}

// Inbox takes what a carrier delivers. Deliver returns at once; ack is called
// exactly once, when the event is durable (nil) or cannot be made so (an error:
// answer ESME_RX_T_APPN, and the carrier tries again). Nothing is acknowledged
// to the carrier before ack.
type Inbox interface {
	Deliver(d Delivery, ack func(error))
}
