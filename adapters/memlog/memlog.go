// Package memlog is a log in memory, for tests and simulations: nothing happens
// in it that its driver did not ask for.
package memlog

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Options of a log.
type Options struct {
	// Partitions defaults to 16.
	Partitions int
	// Manual: an append waits in Pending until the driver says what becomes of it.
	// Otherwise it lands at once, and done runs inside Append.
	Manual bool
	// Decode: whatever is read has been decoded from its bytes.
	Decode bool
}

// Log is a ledger.Log. It starts no goroutine and reads no clock.
type Log struct {
	o Options

	mu         sync.Mutex
	partitions map[event.Partition]*partition
	pending    []*Pending
	closed     bool
}

type partition struct {
	records []ledger.Record
	wake    chan struct{} // closed when something changes
}

// New returns an empty log.
func New(o Options) *Log {
	if o.Partitions == 0 {
		o.Partitions = 16
	}
	l := &Log{o: o, partitions: map[event.Partition]*partition{}}
	for p := event.InboxPartition; int(p) < o.Partitions; p++ {
		l.partitions[p] = &partition{wake: make(chan struct{})}
	}
	return l
}

// Partitions is part of ledger.Log.
func (l *Log) Partitions() int { return l.o.Partitions }

// Append is part of ledger.Log; it is the caller "".
func (l *Log) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	caller{l, ""}.Append(p, events, done)
}

// Caller is the same log for one caller: its appends to one partition keep their
// order, whatever the driver does, and those of different callers need not.
func (l *Log) Caller(name string) ledger.Log { return caller{l, name} }

type caller struct {
	*Log
	name string
}

func (c caller) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	l := c.Log
	refuse := func(why string) {
		done(ledger.Appended{Err: fmt.Errorf("%w: %s", ledger.ErrRefused, why)})
	}
	if len(events) == 0 || len(events) > ledger.MaxAppend {
		refuse(fmt.Sprintf("an append has 1 to %d events, not %d", ledger.MaxAppend, len(events)))
		return
	}
	if l.partitions[p] == nil {
		refuse(fmt.Sprintf("there is no partition %d", int(p)))
		return
	}
	a := &Pending{Caller: c.name, Partition: p, Events: events, log: l, done: done}
	for _, e := range events {
		raw, err := event.Encode(e)
		if err != nil {
			refuse(err.Error())
			return
		}
		a.raws = append(a.raws, raw)
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		refuse("it is closed")
		return
	}
	l.pending = append(l.pending, a)
	l.mu.Unlock()
	if !l.o.Manual {
		a.Land()
	}
}

// Pending is an append that waits for the driver. Its methods decide what becomes
// of it; each answers the caller, inside the call, unless it was answered before.
type Pending struct {
	Caller    string
	Partition event.Partition
	Events    []*event.Event

	log      *Log
	raws     [][]byte
	done     func(ledger.Appended)
	answered bool
}

// Pending lists, oldest first, the appends that may land next: of each caller and
// partition the oldest unanswered, and every one that was answered already.
func (l *Log) Pending() []*Pending {
	type lane struct {
		caller string
		p      event.Partition
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := map[lane]bool{}
	var out []*Pending
	for _, a := range l.pending {
		at := lane{a.Caller, a.Partition}
		if a.answered || !taken[at] {
			out = append(out, a)
		}
		if !a.answered {
			taken[at] = true
		}
	}
	return out
}

// Land appends it.
func (a *Pending) Land() { a.settle(len(a.Events), false, nil) }

// Double appends it and keeps a copy, which the driver may land later or lose.
func (a *Pending) Double() { a.settle(len(a.Events), true, nil) }

// Doubt answers that nobody knows; it may still land later, out of order.
func (a *Pending) Doubt() { a.settle(0, true, ledger.ErrUnknown) }

// Cut appends its first n events and answers that nobody knows.
func (a *Pending) Cut(n int) { a.settle(n, false, ledger.ErrUnknown) }

// Lose drops it and answers that nobody knows.
func (a *Pending) Lose() { a.settle(0, false, ledger.ErrUnknown) }

// Refuse drops it and says so. It must not have been answered: a doubt is for ever.
func (a *Pending) Refuse() {
	if a.answered {
		panic("memlog: an answered append cannot be refused")
	}
	a.settle(0, false, ledger.ErrRefused)
}

func (a *Pending) settle(n int, keep bool, err error) {
	l := a.log
	l.mu.Lock()
	if !keep {
		kept := l.pending[:0]
		for _, b := range l.pending {
			if b != a {
				kept = append(kept, b)
			}
		}
		clear(l.pending[len(kept):])
		l.pending = kept
	}
	p := l.partitions[a.Partition]
	first := int64(len(p.records))
	for i := range n {
		r := ledger.Record{Index: first + int64(i), Event: a.Events[i], Raw: a.raws[i]}
		if _, ok := r.Event.Data.(*event.Opaque); ok {
			r.Event, r.Bad = nil, errors.New("it is a record that is no event")
		}
		p.records = append(p.records, r)
	}
	if n > 0 {
		p.changed()
	}
	answer := !a.answered
	a.answered = true
	l.mu.Unlock()
	if answer {
		if err != nil {
			first = 0
		}
		a.done(ledger.Appended{First: first, Err: err})
	}
}

func (p *partition) changed() {
	close(p.wake)
	p.wake = make(chan struct{})
}

// Truncate drops what stands from an index on, as a restored backup would.
func (l *Log) Truncate(p event.Partition, head int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions[p].records = l.partitions[p].records[:head:head]
	l.partitions[p].changed()
}

// Close refuses what is pending and takes no more appends; waiting reads end.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	pending := l.pending
	l.pending = nil
	for _, p := range l.partitions {
		p.changed()
	}
	l.mu.Unlock()
	for _, a := range pending {
		if !a.answered {
			a.Refuse()
		}
	}
	return nil
}

// Reopen takes appends again, with or without decoding.
func (l *Log) Reopen(decode bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.o.Decode = false, decode
}

// Read is part of ledger.Log.
func (l *Log) Read(ctx context.Context, at event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	p := l.partitions[at]
	if p == nil || from < 0 || max < 0 {
		return nil, 0, fmt.Errorf("read of partition %d from %d, at most %d: there is no such thing", int(at), from, max)
	}
	for {
		l.mu.Lock()
		head, closed, wake, decode := int64(len(p.records)), l.closed, p.wake, l.o.Decode
		var out []ledger.Record
		if from < head {
			out = append(out, p.records[from:min(head, from+int64(max))]...)
		}
		l.mu.Unlock()
		switch {
		case closed:
			return nil, head, errors.New("the ledger is closed")
		case max == 0:
			return nil, head, nil
		case from > head:
			return nil, head, fmt.Errorf("%w: %s, its head is %d", ledger.ErrAhead, event.Position{Partition: at, Index: from}, head)
		case len(out) == 0:
			select {
			case <-wake:
				continue
			case <-ctx.Done():
				return nil, head, nil
			}
		}
		for i := range out {
			if decode {
				out[i].Event, out[i].Bad = event.Decode(out[i].Raw)
			}
		}
		return out, head, nil
	}
}
