package dispatch

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Want is a message that asks for slots of a carrier's window: one slot for each of its parts.
type Want struct {
	Partition event.Partition
	Subject   event.Pseudonym
	Message   event.ID
	Priority  int
	Slots     int
}

// Grant is a number of slots of a carrier's window that are kept for one message until Expires.
type Grant struct {
	ID      uint64
	Account string
	Slots   int
	Expires time.Time
}

// Granted is a grant that goes to the clerk that asked for it.
type Granted struct {
	Want  Want
	Grant Grant
}

// Call is a start for which the carrier is to be called now: the start came back effective, its
// append was acknowledged, and the clerk that hands out the Call proposed it. That clerk has
// already forgotten the start, so the same call is never made twice.
type Call struct {
	Grant Grant
	// Proposed is when the start was proposed, with its monotonic reading. Window is how long
	// after that the carrier may be called.
	Proposed time.Time
	Window   time.Duration
	// Stream is the stream that the carrier's answers are written to.
	Stream   ledger.Stream
	Handoffs []ledger.Handoff
}
