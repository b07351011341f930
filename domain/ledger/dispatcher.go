package ledger

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// GrantTTL is how long a place that was granted and not used is kept for its
// message. A clerk's proposal that takes longer asks again.
const GrantTTL = 30 * time.Second

// Dispatcher keeps one carrier account's queue, by priority over all partitions,
// and grants its places. It never holds a body: only ids wait.
type Dispatcher struct {
	carrier Carrier
	// grant tells a partition that a place it waited for is there; it must not block.
	grant func(Granted)

	mu      sync.Mutex
	queue   wants
	queued  map[event.ID]*wanted
	grants  map[uint64]Grant
	granted int // places granted and not yet used
	seq     uint64
	wake    chan struct{}
}

type wanted struct {
	Want
	seq  uint64
	gone bool
}

// NewDispatcher serves one carrier account.
func NewDispatcher(c Carrier, grant func(Granted)) *Dispatcher {
	return &Dispatcher{carrier: c, grant: grant, queued: map[event.ID]*wanted{}, grants: map[uint64]Grant{}, wake: make(chan struct{}, 1)}
}

// Want grants places at once if nothing as urgent waits for them; else the
// message waits.
func (d *Dispatcher) Want(w Want, now time.Time) (Grant, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.queued[w.Message]; old != nil {
		old.gone = true
		delete(d.queued, w.Message)
	}
	d.trim()
	if len(d.queue) == 0 || d.queue[0].Priority < w.Priority {
		if free, _ := d.carrier.Free(now); free-d.granted >= w.Places {
			return d.take(w.Places, now), true
		}
	}
	d.seq++
	q := &wanted{Want: w, seq: d.seq}
	d.queued[w.Message] = q
	heap.Push(&d.queue, q)
	d.nudge()
	return Grant{}, false
}

func (d *Dispatcher) take(places int, now time.Time) Grant {
	d.seq++
	g := Grant{ID: d.seq, Account: d.carrier.Account(), Places: places, Expires: now.Add(GrantTTL)}
	d.grants[g.ID] = g
	d.granted += places
	return g
}

// trim drops forgotten messages from the head of the queue, and from all of it when
// they are the most of it.
func (d *Dispatcher) trim() {
	if len(d.queue) > 2*len(d.queued)+64 {
		d.queue = slices.DeleteFunc(d.queue, func(w *wanted) bool { return w.gone })
		heap.Init(&d.queue)
	}
	for len(d.queue) > 0 && d.queue[0].gone {
		heap.Pop(&d.queue)
	}
}

// Release gives an unused grant back.
func (d *Dispatcher) Release(g Grant, _ time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(g)
	d.nudge()
}

func (d *Dispatcher) end(g Grant) bool {
	if _, ok := d.grants[g.ID]; !ok {
		return false
	}
	delete(d.grants, g.ID)
	d.granted -= g.Places
	return true
}

// Forget takes a waiting message out of the queue.
func (d *Dispatcher) Forget(message event.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.queued[message]; w != nil {
		w.gone = true
		delete(d.queued, message)
	}
}

// Waiting is how many messages wait for a place.
func (d *Dispatcher) Waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queued)
}

// Call hands the parts of one start to the carrier. done is called once a part.
// What is past its call_by, by the wall clock or by the monotonic one, is not
// called.
func (d *Dispatcher) Call(c Call, clock func() time.Time, done func(Handoff, HandoffResult)) {
	d.mu.Lock()
	d.end(c.Grant)
	d.mu.Unlock()
	for _, h := range c.Handoffs {
		if now := clock(); !now.Before(h.CallBy) || now.Sub(c.Proposed) >= c.Window {
			done(h, HandoffResult{Status: HandoffNotCalled, Reason: "its time to be called had passed"})
			continue
		}
		d.carrier.Submit(h, func(r HandoffResult) { done(h, r) })
	}
	d.nudge()
}

func (d *Dispatcher) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// pump grants what is free to what waits, and says when to look again.
func (d *Dispatcher) pump(now time.Time) (out []Granted, again time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, g := range d.grants {
		if now.After(g.Expires) {
			d.end(g)
		}
	}
	for {
		d.trim()
		if len(d.queue) == 0 {
			return out, time.Time{}
		}
		free, at := d.carrier.Free(now)
		if free-d.granted < d.queue[0].Places {
			return out, at
		}
		w := heap.Pop(&d.queue).(*wanted)
		delete(d.queued, w.Message)
		out = append(out, Granted{Want: w.Want, Grant: d.take(w.Places, now)})
	}
}

// Run grants places as they become free, until ctx is done.
func (d *Dispatcher) Run(ctx context.Context, clock func() time.Time) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		out, again := d.pump(clock())
		for _, g := range out {
			d.grant(g)
		}
		wait := 5 * time.Second // expired grants are swept even when nothing else happens
		if !again.IsZero() {
			wait = min(wait, max(again.Sub(clock()), time.Millisecond))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-d.carrier.Changed():
		case <-timer.C:
		}
	}
}

// wants is a heap: the highest priority first, then in order of arrival.
type wants []*wanted

func (q wants) Len() int { return len(q) }
func (q wants) Less(i, j int) bool {
	return q[i].Priority > q[j].Priority || q[i].Priority == q[j].Priority && q[i].seq < q[j].seq
}
func (q wants) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *wants) Push(x any)   { *q = append(*q, x.(*wanted)) }
func (q *wants) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}
