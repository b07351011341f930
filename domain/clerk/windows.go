package clerk

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
)

// Slots grants the slots of a carrier account; dispatch.Dispatcher does.
type Slots interface {
	// Want asks the account to take a message. That is granted at once, or later: the clerk then gets
	// the grant by Granted. A second Want for the same message replaces the first.
	Want(w dispatch.Want, now time.Time) (dispatch.Grant, bool)
	// Release ends a grant that is not used. It may have expired.
	Release(g dispatch.Grant)
	// Forget takes a waiting message out of the queue.
	Forget(message event.ID)
}

// windows are the carriers' windows as this clerk uses them: the grants of its messages, the
// messages that wait for a grant, and the streams that stay undecided because too many messages
// wait for the same carrier with the same priority.
type windows struct {
	of   func(account string) Slots
	most int // how many messages may wait in one lane

	grants  map[event.ID]dispatch.Grant // by message
	waiting map[event.ID]lane           // the messages that wait in a dispatcher's queue
	lanes   map[lane]*waitingLane
}

// lane is where a message waits: in which account's queue, and with which priority. Each has a bound of its own, so that a
// carrier which takes nothing holds up no other.
type lane struct {
	account  string
	priority int
}

type waitingLane struct {
	count int // how many messages wait
	// parked are the streams that stay undecided. There may be a million of them.
	parked parkedStreams
}

// parkedStreams is a queue of streams, 16 bytes each. A stream that left memory meanwhile may be in it twice: then it is looked
// at twice.
type parkedStreams struct {
	chunks [][]event.Pseudonym // the first is the oldest; no chunk is empty
	count  int
}

const parkedChunk = 1024

func (q *parkedStreams) push(s event.Pseudonym) {
	if n := len(q.chunks); n == 0 || len(q.chunks[n-1]) == cap(q.chunks[n-1]) {
		q.chunks = append(q.chunks, make([]event.Pseudonym, 0, parkedChunk))
	}
	last := &q.chunks[len(q.chunks)-1]
	*last = append(*last, s)
	q.count++
}

// take takes out the n oldest, or all if there are fewer.
func (q *parkedStreams) take(n int) (out []event.Pseudonym) {
	for n = min(n, q.count); len(out) < n; {
		first := &q.chunks[0]
		k := min(n-len(out), len(*first))
		out = append(out, (*first)[:k]...)
		if *first = (*first)[k:]; len(*first) == 0 {
			q.chunks = slices.Delete(q.chunks, 0, 1)
		}
	}
	q.count -= n
	return out
}

func newWindows(of func(account string) Slots, most int) windows {
	return windows{of: of, most: most, grants: map[event.ID]dispatch.Grant{}, waiting: map[event.ID]lane{}, lanes: map[lane]*waitingLane{}}
}

// release gives a grant back.
func (w *windows) release(g dispatch.Grant) {
	if slots := w.of(g.Account); slots != nil {
		slots.Release(g)
	}
}

// grant is the grant that a message has, if it is for this account, has enough slots and has not
// expired. Any other grant of the message is given back.
func (w *windows) grant(message event.ID, account string, slots int, now time.Time) (dispatch.Grant, bool) {
	g, ok := w.grants[message]
	if !ok || g.Account == account && g.Slots >= slots && g.Expires.After(now) {
		return g, ok
	}
	delete(w.grants, message)
	w.release(g)
	return dispatch.Grant{}, false
}

// want asks for slots of an account. False: the message waits for them now.
func (w *windows) want(slots Slots, account string, x dispatch.Want, now time.Time) (dispatch.Grant, bool) {
	g, ok := slots.Want(x, now)
	if ok {
		w.grants[x.Message] = g
		return g, true
	}
	in := lane{account, x.Priority}
	w.waiting[x.Message] = in
	if w.lanes[in] == nil {
		w.lanes[in] = &waitingLane{}
	}
	w.lanes[in].count++
	return g, false
}

// unparked are streams that were parked in a lane, and may be decided now.
type unparked struct {
	lane    lane
	streams []event.Pseudonym
}

// granted takes a grant for a message that waited, and returns the parked streams that may be
// decided now.
func (w *windows) granted(g dispatch.Granted) unparked {
	back := w.unwait(g.Want.Message)
	if old, ok := w.grants[g.Want.Message]; ok {
		w.release(old)
	}
	w.grants[g.Want.Message] = g.Grant
	return back
}

// letGo takes a message out of its dispatcher's queue, and gives its grant back. It returns the
// parked streams that may be decided now.
func (w *windows) letGo(message event.ID) unparked {
	if g, ok := w.grants[message]; ok {
		delete(w.grants, message)
		w.release(g)
	}
	x, ok := w.waiting[message]
	if !ok {
		return unparked{}
	}
	if slots := w.of(x.account); slots != nil {
		slots.Forget(message)
	}
	return w.unwait(message)
}

// unwait notes that a message no longer waits. When fewer than half of most wait in its lane, it returns parked
// streams to be decided.
func (w *windows) unwait(message event.ID) unparked {
	in, ok := w.waiting[message]
	if !ok {
		return unparked{}
	}
	delete(w.waiting, message)
	l := w.lanes[in]
	l.count--
	half := max(1, w.most/2)
	if l.count >= half {
		return unparked{}
	}
	if l.count == 0 { // nothing that waits will bring back the rest
		delete(w.lanes, in)
		return unparked{in, l.parked.take(l.parked.count)}
	}
	return unparked{in, l.parked.take(half)}
}

// full reports whether as many messages wait in a lane as may. If so, the stream is parked:
// it stays undecided until fewer wait.
func (w *windows) full(st *stream, in lane) bool {
	l := w.lanes[in]
	if l == nil || l.count < w.most {
		return false
	}
	if !slices.Contains(st.parked, in) {
		st.parked = append(st.parked, in)
		l.parked.push(st.subject)
	}
	return true
}

// parkedCount is how many streams are parked.
func (w *windows) parkedCount() (n int) {
	for _, l := range w.lanes {
		n += l.parked.count
	}
	return n
}

// close gives back every grant, and takes every message out of its queue.
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
