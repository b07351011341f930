package dispatch

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Want is a message that asks a carrier account to take it. Slots is how many parts it has: one slot
// of the account's window for each.
type Want struct {
	Partition event.Partition
	Subject   event.Pseudonym
	Message   event.ID
	Priority  int
	Slots     int
}

// Grant lets one message go to a carrier account, until Expires. It is given as soon as the account can
// begin with the message; the carrier writes the parts one by one.
type Grant struct {
	ID      uint64
	Account string
	// Slots is the number of the message's parts.
	Slots int
	// Pace is how long the account is expected to take, from the grant on, until it has written all of
	// these parts, behind those that were promised or queued before.
	Pace    time.Duration
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
