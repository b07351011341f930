package clerk

import (
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Bound makes a fold keep rows of what is beyond some bounds.
func (f *Fold) Bound(b recipient.Bounds) { f.keepRows, f.bounds = true, b }

// Start is what a clerk remembers of a start that it proposed.
type Start = start

// Starts is that memory.
func (c *Clerk) Starts() map[event.ID]*Start { return c.flights.starts }

// CallOf is the call for a remembered start, however it is remembered.
func (c *Clerk) CallOf(s *Start) dispatch.Call { return call(s) }

// Idle says what a clerk still has in hand.
func (c *Clerk) Idle() (starts, grants, waiting, flights, appends int) {
	return len(c.flights.starts), len(c.windows.grants), len(c.windows.waiting), len(c.flights.all), len(c.flights.appends)
}
