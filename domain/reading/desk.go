package reading

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// StreamEvent is where an event is that belongs to a recipient's stream and to no message: an opt-out, a
// lift, an inbound message, a review's end. The operator's have tenant "".
type StreamEvent struct {
	ID       event.ID
	Type     event.Type
	Time     time.Time
	Position event.Position
	Tenant   string
	Subject  event.Pseudonym
	Why      recipient.Why // why it changed nothing; "": it is effective
}

// StreamEventFilter narrows a list of a tenant's stream events. Newest first, by time and then id.
type StreamEventFilter struct {
	Types []event.Type // at least one
	// Since and Until bound the event's time, half-open; zero: no bound.
	Since, Until time.Time
	// BeforeTime, Before and BeforeIndex are the time, the id and the index of the last one of the page
	// before: a copy of an event has its time and its id.
	BeforeTime  time.Time
	Before      event.ID
	BeforeIndex int64
	Limit       int // 1 to 1000
}

// Tally counts events of one kind, in one quarter of an hour of the events' own time. What A, B and C
// name depends on the kind; "" where the kind has no such thing.
type Tally struct {
	Kind    TallyKind
	Program string
	A, B, C string
	Count   int64
	// Sum adds up the parts of the messages, for the kinds that say so.
	Sum int64
}

// TallyKind says what a Tally counts.
type TallyKind uint8

// The kinds. Only effective events are counted, but for TallyVoid.
const (
	_              TallyKind = iota
	TallySubmitted           // MessageSubmitted: A purpose, B country; Sum: parts
	TallyDecided             // MessageDecided: A outcome, B country
	TallyReason              // one for each rule of a decision that is no allow, and the fault of a hold: A outcome, B rule id or hold.<fault>, C country
	TallySent                // the event by which every part of a message was first taken: A carrier, B country; Sum: parts
	TallyPart                // HandoffAccepted, HandoffRefused of one part: A carrier, B taken, retry, final or not_called, C the carrier's code
	TallyStatus              // an event that brought a message into another status: A status, B cause (the code of a refusal or the error of a receipt), C carrier
	TallyReceipt             // ReceiptReceived: A state, B grade, C carrier
	TallyStream              // an event that belongs to no message: A the type's name, B source of an opt-out, ask of an inbound message, or result of a review, C scope of an opt-out
	TallyReview              // a review opened (A opened) or closed (A closed): B its kind
	TallyVoid                // a void event: A the type's name, B why
)

// Desk are the views that answer an officer's questions. They hold what was folded since they exist:
// Complete says since when.
type Desk interface {
	// StreamEvents returns the events of one stream that belong to no message, the oldest first, at most
	// limit, with an index above after (-1: from the first).
	StreamEvents(ctx context.Context, subject event.Pseudonym, after int64, limit int) ([]StreamEvent, error)
	// TenantEvents returns a page of a tenant's stream events, the newest first.
	TenantEvents(ctx context.Context, tenant string, f StreamEventFilter) ([]StreamEvent, error)
	// StreamEvent finds a stream event of a tenant by its id, the effective one of copies; the bool is false
	// if there is none.
	StreamEvent(ctx context.Context, tenant string, id event.ID) (StreamEvent, bool, error)
	// Messages returns those of the messages that the tenant has.
	Messages(ctx context.Context, tenant string, ids []event.ID) (map[event.ID]*Message, error)
	// Tallies calls f with what was counted for a tenant in each quarter of an hour from one to another,
	// half-open, in order of time; a quarter may come several times, once a partition. A quarter is
	// Unix time in seconds / 900. Tallies must not be kept by f.
	Tallies(ctx context.Context, tenant string, from, until int64, f func(quarter int64, all []Tally) error) error
	// Find returns a page of the messages that a Filter with a Narrower finds, the newest first, and the id
	// after which the next page begins; zero after the last page. It looks through a bounded number of messages, so a page may be short and have a next one.
	Find(ctx context.Context, tenant string, f Filter) (found []*Message, next event.ID, err error)
	// Complete is the time since which nothing is missing here, and zero if nothing is missing at all. An
	// installation that is older than these views has them from its upgrade on, until its projections are
	// rebuilt.
	Complete(ctx context.Context) (time.Time, error)
}
