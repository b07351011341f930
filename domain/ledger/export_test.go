package ledger

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Pump grants what is free to what waits.
func (d *Dispatcher) Pump(now time.Time) ([]Granted, time.Time) { return d.pump(now) }

// Held is what a dispatcher keeps in memory: messages in its queue (forgotten ones
// too), grants, and the places in them.
func (d *Dispatcher) Held() (queue, grants, places int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue), len(d.grants), d.granted
}

// Start is what a clerk remembers of a start that it proposed.
type Start = start

// Starts is that memory.
func (c *Clerk) Starts() map[event.ID]*Start { return c.starts }

// CallOf is the call for a remembered start, however it is remembered.
func (c *Clerk) CallOf(s *Start) Call { return c.call(s) }

// Tail are the n events applied last, and how they were judged.
func (c *Clerk) Tail(n int) []Judged { return c.judged[len(c.judged)-n:] }

// Idle says what a clerk still has in hand.
func (c *Clerk) Idle() (starts, grants, waiting, flying, appends int) {
	return len(c.starts), len(c.grants), len(c.waiting), len(c.flying), len(c.appends)
}

// Occupy takes a carrier's places for a message of a partition, and lets them come to it
// late, as a dispatcher does that had granted them just before the partition was given away.
func (n *Node) Occupy(account string, p event.Partition, places int, now time.Time) (come func(), ok bool) {
	w := Want{Partition: p, Message: event.NewMessageID(now, int(p)), Priority: 9, Places: places}
	g, ok := n.dispatchers[account].Want(w, now)
	return func() { n.lines[p].grant(Granted{w, g}) }, ok
}
