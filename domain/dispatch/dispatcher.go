// Package dispatch keeps, for one carrier account, the queue of the messages that wait for the account
// to take them, by priority and over all partitions, and the grants that are in use. It
// decides nothing about a message and talks to no network: the ledger.Carrier does. It is a step
// under a lock: the time is an input, and node runs it.
package dispatch

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// grantTTL is how long a grant stands. A clerk whose proposal takes longer must ask for one once more.
const grantTTL = 30 * time.Second

// Dispatcher keeps the queue of one carrier account, by priority and over all partitions, and says
// which message goes next. A message goes as soon as the account can begin with it, however many parts
// it has: so a long message at the head waits no longer than a short one, and holds up no other. Dispatcher
// has ids only, never a body. Its methods may be called from any goroutine.
type Dispatcher struct {
	carrier ledger.Carrier
	wake    chan struct{}

	mu      sync.Mutex
	queue   queue
	waiting map[event.ID]*waiter
	grants  map[uint64]Grant
	granted int // the number of parts in grants
	seq     uint64
}

// waiter is a message in the queue. forgotten says that it no longer waits, and is skipped.
type waiter struct {
	Want
	seq       uint64
	forgotten bool
}

// New returns the dispatcher of one carrier account.
func New(c ledger.Carrier) *Dispatcher {
	return &Dispatcher{carrier: c, waiting: map[event.ID]*waiter{}, grants: map[uint64]Grant{}, wake: make(chan struct{}, 1)}
}

// Want grants at once if the account can begin with the message now and no message of the same or a
// higher priority waits. Else the message waits, the bool is false, and a later Pump grants. If the
// message waits already, the new Want replaces the old one, and the message goes behind the
// others of its priority.
func (d *Dispatcher) Want(w Want, now time.Time) (Grant, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(w.Message)
	d.trim()
	if len(d.queue) == 0 || d.queue[0].Priority < w.Priority {
		if ok, _ := d.carrier.Takes(d.granted, now); ok {
			return d.grant(w.Slots, now), true
		}
	}
	d.seq++
	q := &waiter{Want: w, seq: d.seq}
	d.waiting[w.Message] = q
	heap.Push(&d.queue, q)
	d.nudge()
	return Grant{}, false
}

// grant promises the account's next slots to a message. The caller holds the lock.
func (d *Dispatcher) grant(slots int, now time.Time) Grant {
	d.seq++
	d.granted += slots
	g := Grant{ID: d.seq, Account: d.carrier.Account(), Slots: slots, Pace: d.carrier.Pace(d.granted, now), Expires: now.Add(grantTTL)}
	d.grants[g.ID] = g
	return g
}

// trim drops forgotten messages at the head of the queue, or all of them when most of the queue
// is forgotten.
func (d *Dispatcher) trim() {
	if len(d.queue) > 2*len(d.waiting)+64 {
		d.queue = slices.DeleteFunc(d.queue, func(w *waiter) bool { return w.forgotten })
		heap.Init(&d.queue)
	}
	for len(d.queue) > 0 && d.queue[0].forgotten {
		heap.Pop(&d.queue)
	}
}

// Release ends a grant that is not used. A grant that has expired, or was released before,
// changes nothing.
func (d *Dispatcher) Release(g Grant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(g)
	d.nudge()
}

func (d *Dispatcher) end(g Grant) {
	if _, out := d.grants[g.ID]; out {
		delete(d.grants, g.ID)
		d.granted -= g.Slots
	}
}

// Forget takes a message out of the queue.
func (d *Dispatcher) Forget(message event.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(message)
}

func (d *Dispatcher) forget(message event.ID) {
	if w := d.waiting[message]; w != nil {
		w.forgotten = true
		delete(d.waiting, message)
	}
}

// Call hands the parts of one start to the carrier, and ends the grant. done is called for each part
// as ledger.Carrier says: once, and perhaps once more when an answer comes late; from any goroutine. A
// part is not called if its call_by has passed by the wall clock, or its Window by the monotonic
// clock; done then gets HandoffNotCalled.
func (d *Dispatcher) Call(c Call, clock func() time.Time, done func(ledger.Handoff, ledger.HandoffResult)) {
	defer func() {
		d.mu.Lock()
		d.end(c.Grant)
		d.mu.Unlock()
		d.nudge()
	}()
	for _, h := range c.Handoffs {
		if now := clock(); !now.Before(h.CallBy) || now.Sub(c.Proposed) >= c.Window {
			done(h, ledger.HandoffResult{Status: ledger.HandoffNotCalled, Reason: "its time to be called had passed"})
			continue
		}
		d.carrier.Submit(h, func(r ledger.HandoffResult) { done(h, r) })
	}
}

// Withdraw takes parts that are submitted and not written yet back from the carrier; see ledger.Withdrawer.
func (d *Dispatcher) Withdraw(fits func(ledger.Queued) bool) {
	if w, queues := d.carrier.(ledger.Withdrawer); queues {
		w.Withdraw(fits)
	}
}

func (d *Dispatcher) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Wake receives a value when Pump has something new to look at. What comes from the carrier,
// Changed tells.
func (d *Dispatcher) Wake() <-chan struct{} { return d.wake }

// Changed is the carrier's Changed: it receives a value after a bind came or went, a slot became
// free, or the rate changed.
func (d *Dispatcher) Changed() <-chan struct{} { return d.carrier.Changed() }

// Pump ends expired grants, and grants to the messages that wait, in order, for as long as the account
// takes more. next is when to call Pump once more at the latest; the zero time means: when Wake or
// Changed tells.
func (d *Dispatcher) Pump(now time.Time) (out []Granted, next time.Time) {
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
		ok, at := d.carrier.Takes(d.granted, now)
		if !ok {
			return out, at
		}
		w := heap.Pop(&d.queue).(*waiter)
		delete(d.waiting, w.Message)
		out = append(out, Granted{Want: w.Want, Grant: d.grant(w.Slots, now)})
	}
}

// Load says how much a dispatcher holds.
type Load struct {
	Waiting int // messages that wait for a grant
	Queued  int // the entries of the queue, forgotten ones included
	Grants  int // the grants that have not ended
	Slots   int // the parts in them
}

// Load says how much the dispatcher holds now.
func (d *Dispatcher) Load() Load {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Load{Waiting: len(d.waiting), Queued: len(d.queue), Grants: len(d.grants), Slots: d.granted}
}

// queue is a heap: the highest priority first, then in order of arrival.
type queue []*waiter

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].Priority > q[j].Priority || q[i].Priority == q[j].Priority && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*waiter)) }
func (q *queue) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}
