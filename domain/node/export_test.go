package node

import (
	"time"

	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
)

// Occupy takes a carrier's slots for a message of a partition, and lets them come to it
// late, as a dispatcher does that had granted them just before the partition was given away.
func (n *Node) Occupy(account string, p event.Partition, slots int, now time.Time) (come func(), ok bool) {
	w := dispatch.Want{Partition: p, Message: event.NewMessageID(now, int(p)), Priority: 9, Slots: slots}
	g, ok := n.dispatchers[account].Want(w, now)
	return func() { n.partitions.all[p].grant(dispatch.Granted{Want: w, Grant: g}) }, ok
}
