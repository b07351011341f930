// Package memlog is a ledger.Log in memory, for tests and simulations. Its driver, the test,
// orders everything that happens in it. It keeps nothing when the process ends.
package memlog

import (
	"cmp"
	"context"
	"sync"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Options are the options of a log.
type Options struct {
	// Partitions is the number of recipients' partitions; default 16.
	Partitions int
	// Manual makes an append wait in Pending until the driver says what happens to it. Without it
	// an append is in the log at once, and done is called inside Append.
	Manual bool
	// Decode makes the log decode every event from its bytes when it is read.
	Decode bool
}

// Log is a ledger.Log in memory. It starts no goroutine and reads no clock.
type Log struct {
	o Options

	mu         sync.Mutex
	partitions map[event.Partition]*rows
	pending    []*Pending
	closed     bool
}

type rows struct {
	records []ledger.Record
	wake    chan struct{} // closed when something changes
}

// New returns an empty log.
func New(o Options) *Log {
	o.Partitions = cmp.Or(o.Partitions, engine.DefaultPartitions)
	l := &Log{o: o, partitions: map[event.Partition]*rows{}}
	for p := event.AuditPartition; int(p) < o.Partitions; p++ {
		l.partitions[p] = &rows{wake: make(chan struct{})}
	}
	return l
}

// Partitions is part of ledger.Log.
func (l *Log) Partitions() int { return l.o.Partitions }

// Append is part of ledger.Log. It appends for the caller with the name "".
func (l *Log) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	caller{l, ""}.Append(p, events, done)
}

// Caller returns the same log for one caller. The appends of one caller to one partition keep
// their order, whatever the driver does. Those of different callers need not.
func (l *Log) Caller(name string) ledger.Log { return caller{l, name} }

type caller struct {
	*Log
	name string
}

func (c caller) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	l := c.Log
	refuse := func(err error) { done(ledger.Appended{Err: ledger.Refused(err)}) }
	if err := engine.CheckAppend(p, l.o.Partitions); err != nil {
		refuse(err)
		return
	}
	raws, _, err := engine.Encode(events)
	if err != nil {
		refuse(err)
		return
	}
	a := &Pending{Caller: c.name, Partition: p, Events: events, log: l, raws: raws, done: done}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		refuse(engine.ErrClosed)
		return
	}
	l.pending = append(l.pending, a)
	l.mu.Unlock()
	if !l.o.Manual {
		a.Land()
	}
}

// Pending is an append that waits for the driver. Its methods say what happens to it. Each calls
// the append's done before it returns, unless done was called already.
type Pending struct {
	Caller    string
	Partition event.Partition
	Events    []*event.Event

	log      *Log
	raws     [][]byte
	done     func(ledger.Appended)
	answered bool
}

// Pending lists the appends that may come into the log next, the oldest first: the oldest
// unanswered append of each caller and partition, and all appends that were answered.
func (l *Log) Pending() []*Pending {
	type lane struct {
		caller string
		p      event.Partition
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := map[lane]bool{} // lanes with an unanswered append
	var out []*Pending
	for _, a := range l.pending {
		at := lane{a.Caller, a.Partition}
		if a.answered || !waiting[at] {
			out = append(out, a)
		}
		if !a.answered {
			waiting[at] = true
		}
	}
	return out
}

// Land appends the events.
func (a *Pending) Land() { a.resolve(len(a.Events), false, nil) }

// Double appends the events and keeps a copy, which the driver may append later, or lose.
func (a *Pending) Double() { a.resolve(len(a.Events), true, nil) }

// Doubt answers ledger.ErrUnknown. The append stays pending: the driver may still append it
// later, out of order.
func (a *Pending) Doubt() { a.resolve(0, true, ledger.ErrUnknown) }

// Cut appends its first n events and answers ledger.ErrUnknown.
func (a *Pending) Cut(n int) { a.resolve(n, false, ledger.ErrUnknown) }

// Lose drops the append and answers ledger.ErrUnknown.
func (a *Pending) Lose() { a.resolve(0, false, ledger.ErrUnknown) }

// Refuse drops the append and answers ledger.ErrRefused. The append must not be answered yet:
// after ErrUnknown it cannot be refused.
func (a *Pending) Refuse() {
	if a.answered {
		panic("memlog: an answered append cannot be refused")
	}
	a.resolve(0, false, ledger.ErrRefused)
}

func (a *Pending) resolve(n int, keep bool, err error) {
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
		p.records = append(p.records, engine.Own(first+int64(i), a.Events[i], a.raws[i]))
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

func (p *rows) changed() {
	close(p.wake)
	p.wake = make(chan struct{})
}

// Truncate drops the events from an index on, as a restored backup would.
func (l *Log) Truncate(p event.Partition, head int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions[p].records = l.partitions[p].records[:head:head]
	l.partitions[p].changed()
}

// Close refuses the pending appends and all later ones, and ends waiting reads.
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

// Reopen makes a closed log take appends once more. decode is Options.Decode.
func (l *Log) Reopen(decode bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.o.Decode = false, decode
}

// Read is part of ledger.Log.
func (l *Log) Read(ctx context.Context, at event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if err := engine.CheckRead(at, l.o.Partitions, from, max); err != nil {
		return nil, 0, err
	}
	p := l.partitions[at]
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
			return nil, head, engine.ErrClosed
		case max == 0:
			return nil, head, nil
		case from > head:
			return nil, head, engine.Ahead(event.Position{Partition: at, Index: from}, head)
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
