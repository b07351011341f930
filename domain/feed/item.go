// Package feed tells a tenant what became of its messages and recipients, in order and without gaps: each
// change of a status once, each inbound message, each opt-out, each review. The views keep what an event
// adds to the feed (Item, without personal data); a Reader finds the items after a cursor, and renders
// them as the records that a caller may see. It appends nothing but what the Witness records.
package feed

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Kind says what a record of the feed tells. The words are those of the API.
type Kind string

// The kinds of records.
const (
	MessageStatus  Kind = "message.status"   // a message has another status than before
	MessageInDoubt Kind = "message.in_doubt" // a carrier may have the message, and nothing proves it
	MessageInbound Kind = "message.inbound"  // a person wrote
	OptOutRecorded Kind = "opt_out.recorded" // an opt-out stands from now on
	OptOutLifted   Kind = "opt_out.lifted"   // an opt-out stands no longer
	ReviewOpened   Kind = "review.opened"    // an officer has to decide what a person meant
	ReviewResolved Kind = "review.resolved"  // nothing is left to decide there
	ExportFinished Kind = "export.finished"  // an export's file is ready, or will never be
)

// Kinds lists every kind, in the order in which one event's records stand.
func Kinds() []Kind {
	return []Kind{MessageStatus, MessageInDoubt, MessageInbound, OptOutRecorded, OptOutLifted, ReviewOpened, ReviewResolved, ExportFinished}
}

// Place is where a record is: which event made it, and which of this event's records it is, from 0. Places
// are unique within an epoch of the ledger. The events of one recipient lie in one partition, so that their records
// have one order.
type Place struct {
	event.Position
	Nth int
}

// Item is a record as the views keep it. It has no personal data. What does not apply is zero.
type Item struct {
	Place
	Kind   Kind
	Tenant string
	// Subject is the recipient's stream; zero for an export.
	Subject event.Pseudonym
	// Event is the id of the event that made the record, and At its time.
	Event event.ID
	At    time.Time
	// Program is that of the message; "" where the record is about none.
	Program string
	// Message is the message of MessageStatus and MessageInDoubt.
	Message event.ID
	// Status is the message's status from the event on, and Was the one before; "" before the first.
	Status, Was recipient.Status
	// Detail are further facts; empty: none.
	Detail Detail
}

// Detail are the facts of an Item that only some have. It is kept as JSON.
type Detail struct {
	// Of a status: who carries the message, the carrier's or the receipt's error code, and what the receipt said.
	Carrier string             `json:"carrier,omitempty"`
	Code    string             `json:"code,omitempty"`
	Receipt event.MessageState `json:"receipt,omitempty"`
	Grade   event.Grade        `json:"grade,omitempty"`
	// Of a status that a decision brought: by which rules, or by which fault and why, and until when.
	Outcome event.DecisionOutcome `json:"outcome,omitempty"`
	Rules   []string              `json:"rules,omitempty"`
	Fault   event.Fault           `json:"fault,omitempty"`
	Why     string                `json:"why,omitempty"`
	Until   time.Time             `json:"until,omitzero"`

	// Of an opt-out: the event that it is known by, whom it reaches, where it came from, and since when. Unclear: it is held until an
	// officer has read it. By is the opt-out that took the place of one that is lifted; zero: none did.
	OptOut   event.ID     `json:"opt_out,omitzero"`
	Scope    event.Scope  `json:"scope,omitempty"`
	Name     string       `json:"name,omitempty"`
	Source   event.Source `json:"source,omitempty"`
	Occurred time.Time    `json:"occurred,omitzero"`
	Unclear  bool         `json:"unclear,omitempty"`
	By       event.ID     `json:"by,omitzero"`

	// Of an inbound message and of a review: what the words ask for, and our number.
	Ask event.InboundAsk `json:"ask,omitempty"`
	To  string           `json:"to,omitempty"`
	// Of a review: the event under review, and why.
	Review event.ID             `json:"review,omitzero"`
	Kind   recipient.ReviewKind `json:"kind,omitempty"`

	// Of an export: its id, and what became of it.
	Export event.ID          `json:"export,omitzero"`
	As     event.ExportState `json:"as,omitempty"`
}
