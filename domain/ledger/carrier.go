// Package ledger defines the ports of the domain (the log, the views, the vault, the carriers,
// the placement of partitions) with their errors, and has the one writer of sealed events. It
// implements no port, and nothing in it runs.
package ledger

import (
	"context"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// Carrier is one account at one carrier, as the dispatcher sees it: a queue of parts that the account
// writes in order, as fast as its rate and its window (of submits that may be unanswered) allow. Ask
// Takes before Submit, so that the queue stays short and the most urgent message goes next.
type Carrier interface {
	// Account is the name of the carrier account. A carrier's ids are unique only within an
	// account.
	Account() string

	// Takes reports whether the account can begin with one more message now, however many parts that
	// has: its first part could be written at once, behind promised parts, which are granted to other
	// messages and not submitted yet. It is false without a bind. If only the rate is in the way, next
	// is when to ask once more. Else next is the zero time, and Changed tells when to ask.
	Takes(promised int, now time.Time) (ok bool, next time.Time)

	// Pace is how long the account is expected to take, from now, to write so many more parts than are
	// submitted already: by its rate, by its window, and by how fast the carrier answers. It is an
	// estimate, and never negative. To ask it for a message, count the parts that are promised before it too.
	Pace(parts int, now time.Time) time.Duration

	// Changed receives a value after a bind came or went, a slot became free, or the rate
	// changed. It has a capacity of 1, and the carrier never waits for its reader.
	Changed() <-chan struct{}

	// Submit queues one part. The carrier writes the parts in the order in which they were submitted,
	// each as soon as window and rate allow. It writes a part before h.CallBy, or never: then the result
	// is HandoffNotCalled. While the part is queued, the carrier checks CallBy by the wall clock and by
	// the time that has passed since Submit, so that a clock that was set back writes nothing late.
	// Submit repeats no check of the gate.
	//
	// done is called with the result, from any goroutine, possibly before Submit returns; it must not
	// block. It is called exactly once, but for this: after HandoffUnknown it may be called one more
	// time, with HandoffTaken, HandoffRetry or HandoffFinal, when the carrier's answer comes late; and
	// after a refusal with HandoffTaken, when the carrier says that it has the part after all.
	Submit(h Handoff, done func(HandoffResult))
}

// Client is a carrier account as the process runs it. A new kind of carrier implements it. What
// the carrier delivers goes to the Inbox that the Client was made with.
type Client interface {
	Carrier
	// Run keeps the account usable until ctx is done: for a carrier with binds, it keeps it
	// bound. Then it answers the parts that it has not written with HandoffNotCalled, waits, for a
	// bounded time, for the answers to open submits, and returns.
	Run(ctx context.Context) error
	// SetShare sets whether this node may use the account, and how many submits a second of the
	// account's rate are this node's share; 0 means no limit. See Sharing.
	SetShare(use bool, tps float64)
	// State describes the account on this node now.
	State() ClientState
}

// Asker is a Carrier that can be asked about a part which it accepted. The answer comes to the Inbox as a
// Delivery with a Receipt, like any receipt. Both methods return at once, with false if nothing was written:
// there is no bind, or the account does not support it.
type Asker interface {
	// Query asks what became of the part (SMPP 3.4 §4.8 query_sm).
	Query(Asked) bool
	// Cancel asks the carrier not to deliver the part (SMPP 3.4 §4.9 cancel_sm).
	Cancel(Asked) bool
}

// Withdrawer is a Carrier that queues parts before it writes them. One that writes them at once need not be one.
type Withdrawer interface {
	// Withdraw takes the parts out of the queue that fit and are not written yet, and answers them with HandoffNotCalled.
	Withdraw(fits func(Queued) bool)
}

// Queued is a part in a carrier's queue.
type Queued struct {
	Message         event.ID
	Tenant, Program string
}

// Asked is a part that a carrier is asked about.
type Asked struct {
	// CarrierID is the id as submit_sm_resp had it. See Askable.
	CarrierID string
	// From and To are the sender that the part left with, and the recipient.
	From sms.Sender
	To   sms.Number
}

// Askable reports whether a carrier can be asked about a part by this id: it is the id as the carrier wrote it. An id that
// was escaped or digested, because it is no printable ASCII or too long, says nothing to the carrier.
func Askable(carrierID string) bool {
	return carrierID != "" && !strings.Contains(carrierID, `\x`) && !strings.Contains(carrierID, "sha256:")
}

// ClientState describes an account on one node.
type ClientState struct {
	// Bound says that the account takes submits. For a carrier without binds: it answered the
	// last time.
	Bound bool
	// Binds is how many binds this process keeps for the account, and BindsUp how many of them are
	// up now. Both are 0 for a carrier without binds.
	Binds, BindsUp int
	// Since is when Bound last changed; zero before the first bind.
	Since time.Time
	// LastError says why the account, or one of its binds, is not bound, in words for the operator;
	// "" while all are.
	LastError string
	// Open is how many submits are unanswered. Since the process started, Submits counts all of them,
	// Throttled those that the carrier refused because they came too fast, and Late the answers that
	// came after the time for an answer, or contradicted an earlier one.
	Open                     int
	Submits, Throttled, Late uint64
}

// Handoff is one part that is handed to a carrier (SMPP 3.4 §4.4.1 submit_sm).
type Handoff struct {
	// Tenant and Program say who sends the message, for fields that a carrier wants for a program.
	Tenant, Program string

	Message event.ID
	Attempt int
	Part    int // the part's number, from 1
	Parts   int // how many parts the message has
	// Reference is sent as user_message_reference (TLV 0x0204). A receipt without an id may be
	// matched by it. It differs among the messages in a carrier's window, but it is no identity.
	Reference uint16

	To   sms.Number
	From sms.Sender
	// Segment has the exact octets (with their UDH) and the data coding.
	Segment  sms.Segment
	Priority int
	// ValidUntil is sent as validity_period; the zero time leaves the period to the carrier.
	ValidUntil time.Time
	CallBy     time.Time
	// AnswerBy is when the hand-off is in doubt if it was not answered. The carrier's own
	// time-out for an answer lies before it.
	AnswerBy time.Time
}

// HandoffStatus is the kind of result that a call had.
type HandoffStatus uint8

const (
	// HandoffUnknown: the part was written, or perhaps written, and not answered: the connection
	// was lost, or the time ran out, or a generic_nack came. No event records it. After AnswerBy
	// the clerk records HandoffInDoubt. An answer that comes later is a second result.
	HandoffUnknown HandoffStatus = iota
	// HandoffTaken: the carrier took the part. It answered with an id, or with a yes that has none.
	HandoffTaken
	// HandoffRetry: the carrier did not take the part, and may take it later (ESME_RTHROTTLED,
	// ESME_RMSGQFUL, and ESME_RSYSERR where the carrier documents it so).
	HandoffRetry
	// HandoffFinal: the carrier will never take the part.
	HandoffFinal
	// HandoffNotCalled: nothing was written to the carrier.
	HandoffNotCalled
)

// HandoffResult is a carrier's answer to one part.
type HandoffResult struct {
	Status HandoffStatus
	// CarrierID is the id as submit_sm_resp has it, in printable ASCII of at most 64 characters: see
	// Delivery. It is set only with HandoffTaken, and may be empty there: a carrier's yes is a yes, with
	// or without an id. A receipt finds such a part by its reference alone.
	CarrierID string
	// Code is the command_status or the aggregator's error code; "" if there is none.
	Code string
	// Reason is one plain sentence for people, without personal data.
	Reason string
}

// Delivery is one deliver_sm (or one webhook call of an aggregator): a delivery receipt, or a
// message from a handset (MO), or a part of one, or both: a person's acknowledgement with text.
//
// Every text in it is valid UTF-8 and bounded, whatever the carrier wrote, so that an event can
// always have it.
type Delivery struct {
	Account string
	// Raw is the exact body of the PDU, as evidence. It is sealed before it is stored.
	Raw []byte
	// From and To are the addresses as the carrier wrote them. Characters that are not printable
	// ASCII are escaped (`\xE9`), and an address of more than 64 characters is a digest; From has its
	// last 24 digits after that.
	From, To string
	// FromTON and ToTON are the type of number of the addresses, FromNPI and ToNPI the numbering
	// plan (SMPP 3.4 §5.2.5, §5.2.6), as the carrier wrote them.
	FromTON, FromNPI, ToTON, ToNPI byte
	Received                       time.Time
	// Receipt is set for a receipt. esm_class says that it is one; the text is never guessed
	// from, unless the account's settings say so. With texts too, or with Unreadable, the
	// delivery is an acknowledgement by a person (esm_class 0x08, 0x10) and a message as well.
	Receipt *sms.Receipt
	// Reference is user_message_reference; 0 if it is absent.
	Reference uint16
	// Texts are the readings of a message from a handset that its octets allow, the most likely
	// first: carriers write one coding and label it as another. Empty: there is no text, or none
	// that can be read.
	Texts []string
	// Unreadable says that a message from a handset, or a part of it, could not be read as text:
	// a binary body, octets that their coding does not have, a broken user data header, a field
	// that is cut. Such a message may ask for anything.
	Unreadable bool
	// Concat is set if the message is one part of a longer one.
	Concat *sms.Concat
	// Mislabelled says that the message is labelled as a receipt and says nothing that a receipt says: what revokes in it
	// counts, and nothing else.
	Mislabelled bool
}

// Text is the most likely reading; "" if there is none.
func (d *Delivery) Text() string {
	if len(d.Texts) == 0 {
		return ""
	}
	return d.Texts[0]
}

// Said reports whether the delivery has a message from a handset: it is no receipt, or the
// receipt is a person's acknowledgement with a text of its own.
func (d *Delivery) Said() bool { return d.Receipt == nil || len(d.Texts) > 0 || d.Unreadable }

// Inbox takes what a carrier delivers. Deliver returns at once. ack is called exactly once: with
// nil when the event is durable, or with an error when it could not be made durable. Then the
// carrier is answered with ESME_RX_T_APPN, and delivers once more. Before ack nothing is
// acknowledged to the carrier, so a crash loses no delivery.
type Inbox interface {
	Deliver(d Delivery, ack func(error))
}
