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
	OptOutLifted   Kind = "opt_out.lifted"   // an opt-out stands no longer, and none of its reach took its place
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
	// Detail are further facts by their names in the record's data, as JSON values; see the schemas in docs/schemas/feed.
	Detail []byte
}
