package clerk

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
)

// Slots grants slots of a carrier account's window; dispatch.Dispatcher does.
type Slots interface {
	// Want asks for slots for a message. They are granted at once, or later, which the
	// clerk hears through Granted; asking again for the same message replaces the former.
	Want(w dispatch.Want, now time.Time) (dispatch.Grant, bool)
	// Release gives an unused grant back; it may have expired.
	Release(g dispatch.Grant)
	// Forget takes a waiting message out of the queue.
	Forget(message event.ID)
}

// windows are the carriers' windows as this clerk uses them: the grants that its messages
// hold, the messages that wait for one, and, where too many of a priority wait, the streams
// that stay undecided meanwhile.
type windows struct {
	of   func(account string) Slots
	most int // messages of one priority that may wait

	grants  map[event.ID]dispatch.Grant // by message
	waiting map[event.ID]waits          // messages in a dispatcher's queue
	counts  [10]int                     // how many of those, by priority
	// parked are streams that stay undecided, by priority.
	parked   [10][]event.Pseudonym
	isParked map[park]bool
}

type park struct {
	subject  event.Pseudonym
	priority int
}

// waits says in whose queue a message is, and with which priority.
type waits struct {
	account  string
	priority int
}

func newWindows(of func(account string) Slots, most int) windows {
	return windows{of: of, most: most, grants: map[event.ID]dispatch.Grant{}, waiting: map[event.ID]waits{}, isParked: map[park]bool{}}
}

// release gives a grant back.
func (w *windows) release(g dispatch.Grant) {
	if slots := w.of(g.Account); slots != nil {
		slots.Release(g)
	}
}

// grant is the grant that a message holds, if it is for this account, of enough slots and
// not expired; one that is of no use is given back.
func (w *windows) grant(message event.ID, account string, slots int, now time.Time) (dispatch.Grant, bool) {
	g, ok := w.grants[message]
	if !ok || g.Account == account && g.Slots >= slots && g.Expires.After(now) {
		return g, ok
	}
	delete(w.grants, message)
	w.release(g)
	return dispatch.Grant{}, false
}

// want asks an account's dispatcher for slots; false: the message waits for them.
func (w *windows) want(slots Slots, account string, x dispatch.Want, now time.Time) (dispatch.Grant, bool) {
	g, ok := slots.Want(x, now)
	if ok {
		w.grants[x.Message] = g
		return g, true
	}
	w.waiting[x.Message] = waits{account, x.Priority}
	w.counts[x.Priority]++
	return g, false
}

// granted takes a grant that was waited for, and returns the parked streams that may be
// decided now.
func (w *windows) granted(g dispatch.Granted) []event.Pseudonym {
	unparked := w.unwait(g.Want.Message)
	if old, ok := w.grants[g.Want.Message]; ok {
		w.release(old)
	}
	w.grants[g.Want.Message] = g.Grant
	return unparked
}

// letGo takes a message out of its dispatcher's queue and gives its grant back. It returns
// the parked streams that may be decided now.
func (w *windows) letGo(message event.ID) []event.Pseudonym {
	if g, ok := w.grants[message]; ok {
		delete(w.grants, message)
		w.release(g)
	}
	x, ok := w.waiting[message]
	if !ok {
		return nil
	}
	if slots := w.of(x.account); slots != nil {
		slots.Forget(message)
	}
	return w.unwait(message)
}

func (w *windows) unwait(message event.ID) (unparked []event.Pseudonym) {
	x, ok := w.waiting[message]
	if !ok {
		return nil
	}
	p := x.priority
	delete(w.waiting, message)
	w.counts[p]--
	half := max(1, w.most/2)
	if w.counts[p] >= half || len(w.parked[p]) == 0 {
		return nil
	}
	n := min(half, len(w.parked[p]))
	unparked = w.parked[p][:n]
	for _, s := range unparked {
		delete(w.isParked, park{s, p})
	}
	w.parked[p] = slices.Clone(w.parked[p][n:])
	return unparked
}

// full reports whether as many messages of a priority wait as may. Then the stream is
// parked, and stays undecided until fewer do.
func (w *windows) full(s event.Pseudonym, priority int) bool {
	if w.counts[priority] < w.most {
		return false
	}
	if k := (park{s, priority}); !w.isParked[k] {
		w.isParked[k] = true
		w.parked[priority] = append(w.parked[priority], s)
	}
	return true
}

// close gives back every grant and leaves every queue.
func (w *windows) close() {
	for _, g := range w.grants {
		w.release(g)
	}
	for message, x := range w.waiting {
		if slots := w.of(x.account); slots != nil {
			slots.Forget(message)
		}
	}
}
