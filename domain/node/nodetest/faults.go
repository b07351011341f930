package nodetest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// maxDelay bounds how long an append is delayed on its way to the log.
	maxDelay = 30 * time.Millisecond
	// maxLate bounds how late a copy, or an append with an unknown result, comes into the log.
	maxLate = 1500 * time.Millisecond
)

// line is one node's way to the log. With faults on, it delays appends, refuses some, loses some
// or their results, and lets some come late, twice, cut short or split. It can be frozen, so that
// nothing passes in either direction. Appends that it does not lose keep their order.
type line struct {
	ledger.Log
	rng *chance

	mu     sync.Mutex
	faults bool
	thaw   chan struct{} // closed when the line is thawed; nil while it is not frozen
	lanes  map[event.Partition][]appending
	away   tally          // counts what is on its way
	met    map[string]int // how often each fault happened
}

// appending is an append on its way to the log.
type appending struct {
	events []*event.Event
	done   func(ledger.Appended)
}

func newLine(log ledger.Log, rng *chance) *line {
	return &line{Log: log, rng: rng, lanes: map[event.Partition][]appending{}, met: map[string]int{}}
}

// freeze lets nothing pass until the function that it returns is called.
func (l *line) freeze() (thaw func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	l.thaw = c
	l.met["freeze"]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(c)
		l.thaw = nil
	}
}

// running returns a channel that is closed when the line is thawed; nil while it is not frozen.
func (l *line) running() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.thaw
}

// turn turns the faults on or off.
func (l *line) turn(faults bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = faults
}

// Read reads from the log. While the line is frozen it waits, before and after reading.
func (l *line) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	if !l.pass(ctx) {
		return nil, 0, ctx.Err()
	}
	records, head, err := l.Log.Read(ctx, p, from, most)
	if !l.pass(ctx) {
		return nil, head, ctx.Err()
	}
	return records, head, err
}

// pass waits until the line is not frozen; false if ctx is done before.
func (l *line) pass(ctx context.Context) bool {
	for {
		frozen := l.running()
		if frozen == nil {
			return true
		}
		select {
		case <-frozen:
		case <-ctx.Done():
			return false
		}
	}
}

// Append queues an append behind the node's earlier ones to the partition.
func (l *line) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes[p] = append(l.lanes[p], appending{events, done})
	if len(l.lanes[p]) == 1 {
		l.away.add()
		go l.drain(p)
	}
}

func (l *line) drain(p event.Partition) {
	defer l.away.done()
	for {
		l.mu.Lock()
		a := l.lanes[p][0]
		l.mu.Unlock()
		_ = l.pass(context.Background())
		l.one(p, a)
		l.mu.Lock()
		l.lanes[p] = l.lanes[p][1:]
		last := len(l.lanes[p]) == 0
		if last {
			delete(l.lanes, p)
		}
		l.mu.Unlock()
		if last {
			return
		}
	}
}

// one brings one append to the log, with a fault or without.
func (l *line) one(p event.Partition, a appending) {
	l.mu.Lock()
	faults := l.faults
	l.mu.Unlock()
	if !faults {
		l.land(p, a.events, a.done)
		return
	}
	fail := func(err error) { l.answer(a.done, ledger.Appended{Err: err}) }
	forget := func(ledger.Appended) {}
	switch k := l.rng.n(100); {
	case k < 8:
		l.count("delayed")
		<-time.After(l.rng.upTo(maxDelay))
		l.land(p, a.events, a.done)
	case k < 11:
		l.count("refused")
		fail(ledger.ErrRefused)
	case k < 14:
		l.count("landed, answer lost")
		l.land(p, a.events, forget)
		fail(ledger.ErrUnknown)
	case k < 16:
		l.count("lost")
		fail(ledger.ErrUnknown)
	case k < 18:
		l.count("landed late, answer lost")
		l.late(p, a.events)
		fail(ledger.ErrUnknown)
	case k < 20 && p != event.ControlPartition: // a change of control is appended only once
		l.count("doubled")
		l.land(p, a.events, a.done)
		l.late(p, a.events)
	case k < 21:
		l.count("cut short")
		if n := l.rng.n(len(a.events)); n > 0 {
			l.land(p, slices.Clone(a.events[:n]), forget)
		}
		fail(ledger.ErrUnknown)
	case k < 31 && len(a.events) > 1:
		l.count("split")
		l.split(p, a.events, a.done)
	default:
		l.land(p, a.events, a.done)
	}
}

// land appends, and answers when the log does, but not while the line is frozen.
func (l *line) land(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	l.away.add()
	l.Log.Append(p, events, func(a ledger.Appended) {
		l.answer(done, a)
		l.away.done()
	})
}

func (l *line) answer(done func(ledger.Appended), a ledger.Appended) {
	if l.running() == nil {
		done(a)
		return
	}
	l.away.run(func() {
		_ = l.pass(context.Background())
		done(a)
	})
}

// split appends the events one by one, so that events of others may come between them.
func (l *line) split(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	var first ledger.Appended
	for i := range events {
		landed := make(chan ledger.Appended, 1)
		l.land(p, events[i:i+1:i+1], func(a ledger.Appended) { landed <- a })
		a := <-landed
		if i == 0 {
			first = a
		}
		if a.Err != nil {
			if i > 0 {
				a.Err = ledger.ErrUnknown
			}
			first.Err = a.Err
			break
		}
		<-time.After(l.rng.upTo(3 * time.Millisecond))
	}
	l.answer(done, first)
}

// late appends a copy some time from now, out of order.
func (l *line) late(p event.Partition, events []*event.Event) {
	l.away.run(func() {
		<-time.After(l.rng.upTo(maxLate))
		l.land(p, events, func(ledger.Appended) {})
	})
}

func (l *line) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.met[what]++
}
