package dispatch

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Want is a message that asks for slots of a carrier's window, one a part.
type Want struct {
	Partition event.Partition
	Subject   event.Pseudonym
	Message   event.ID
	Priority  int
	Slots     int
}

// Grant is slots of a carrier's window, kept for one message until Expires.
type Grant struct {
	ID      uint64
	Account string
	Slots   int
	Expires time.Time
}

// Granted is a grant on its way to the clerk that asked.
type Granted struct {
	Want  Want
	Grant Grant
}

// Call is a carrier call that has become due: its start came back effective, was
// acknowledged, and was proposed by the clerk that hands this out. The clerk has forgotten
// the start already, so nothing makes the same call again.
type Call struct {
	Grant Grant
	// Proposed is when the start was proposed, with its monotonic reading; Window is how
	// long after that it may be called.
	Proposed time.Time
	Window   time.Duration
	// Stream is where the answers go.
	Stream   ledger.Stream
	Handoffs []ledger.Handoff
}
