package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Control reads the control stream, and keeps the registry of every position at which a decision
// could change. So a partition finds the registry of the position that its own ControlApplied
// names. Control events are few: hundreds in a year.
type Control struct {
	log  ledger.Log
	mu   sync.Mutex
	all  map[int64]*Registry
	last *Registry
	read int64 // how many events were read
	// waiting are the records that were read and not applied. The first of them is no event of
	// this ledger, and no record after it accepts it.
	waiting  []ledger.Record
	accepted map[event.Position][]string
	applied  map[event.ID]bool // the events that were applied: a copy changes nothing
	changed  chan struct{}
}

// NewControl returns a Control that has read nothing.
func NewControl(log ledger.Log) *Control {
	empty := &Registry{}
	return &Control{log: log, all: map[int64]*Registry{0: empty}, last: empty, accepted: map[event.Position][]string{}, applied: map[event.ID]bool{}, changed: make(chan struct{})}
}

// Read reads a ledger's control stream up to its head of this moment, and returns its registry as far as it can be read:
// what is wrong with a record of it, Control.Bad says.
func Read(ctx context.Context, log ledger.Log) (*Registry, error) {
	c := NewControl(log)
	if err := c.CatchUp(ctx); err != nil {
		return nil, err
	}
	return c.last, nil
}

// Take applies records that were read from the control stream, in order. A record that does not
// follow the last one is ignored.
func (c *Control) Take(records []ledger.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		if r.Index != c.read {
			continue
		}
		c.read++
		c.waiting = append(c.waiting, r)
		if r.Bad != nil {
			continue
		}
		// An acceptance counts as soon as it is read: it may accept the very record that it waits
		// behind.
		if d, ok := r.Event.Data.(*event.RecordAccepted); ok {
			if at, err := event.ParsePosition(d.Position); err == nil {
				c.accepted[at] = append(c.accepted[at], d.Hash)
			}
		}
	}
	for len(c.waiting) > 0 {
		r := c.waiting[0]
		if r.Bad != nil {
			if !slices.Contains(c.accepted[event.Position{Partition: event.ControlPartition, Index: r.Index}], hashOf(r.Raw)) {
				break
			}
		} else if !c.applied[r.Event.ID] {
			c.applied[r.Event.ID] = true
			if next, matters := c.last.Apply(r.Index, r.Event); matters {
				c.last = next
				c.all[next.Position] = next
			}
		}
		c.waiting = c.waiting[1:]
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func hashOf(raw []byte) string {
	h := sha256.Sum256(raw)
	return hex.EncodeToString(h[:])
}

// Accepted reports whether an operator has accepted the record with these bytes, at
// that position, as an opaque leaf.
func (c *Control) Accepted(at event.Position, raw []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	hashes := c.accepted[at]
	return len(hashes) > 0 && slices.Contains(hashes, hashOf(raw))
}

// Bad says why control cannot be read any further: a record in it is no event of this ledger and
// was not accepted, or the ledger has a format level that this build does not know; nil if there is
// no reason. Then nothing may be decided, because a pause may come
// after that record.
func (c *Control) Bad() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return c.newer()
	}
	return ledger.Damaged(event.Position{Partition: event.ControlPartition, Index: c.waiting[0].Index}, c.waiting[0].Bad)
}

// CatchUp reads the control stream up to its head of this moment.
func (c *Control) CatchUp(ctx context.Context) error {
	_, head, err := c.log.Read(ctx, event.ControlPartition, 0, 0)
	if err != nil {
		return err
	}
	for {
		c.mu.Lock()
		from := c.read
		c.mu.Unlock()
		if from >= head {
			return nil
		}
		records, _, err := c.log.Read(ctx, event.ControlPartition, from, 1000)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.Take(records)
	}
}

// Run reads the control stream until ctx is done or a read fails. readable is called after each
// read that succeeds, once the head that the stream had at the start has been reached.
func (c *Control) Run(ctx context.Context, readable func()) error {
	// At the head a read waits, perhaps for days. So ask first whether the stream can be read at
	// all.
	_, head, err := c.log.Read(ctx, event.ControlPartition, 0, 0)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		c.mu.Lock()
		from := c.read
		c.mu.Unlock()
		if from >= head {
			readable()
		}
		records, _, err := c.log.Read(ctx, event.ControlPartition, from, 1000)
		if err != nil {
			return err
		}
		if len(records) > 0 {
			c.Take(records)
		}
	}
	return nil
}

// Latest is the registry of the newest position that was read, and a channel that is closed when
// control has been read further.
func (c *Control) Latest() (*Registry, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.changed
}

// At is the registry at exactly that position; nil if the position was not read yet, or changes
// no decision.
func (c *Control) At(position int64) *Registry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[position]
}

// Wait returns the registry at that position when it has been read, or ctx's error.
func (c *Control) Wait(ctx context.Context, position int64) (*Registry, error) {
	for {
		c.mu.Lock()
		r, changed := c.all[position], c.changed
		c.mu.Unlock()
		if r != nil {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Applied makes the event that puts this control position into force in a partition. Its id is
// derived from the control event and the partition, so that all nodes that append it append the
// same fact.
func (r *Registry) Applied(author ledger.Author, p event.Partition, now time.Time) *event.Event {
	return author.Event(ledger.Stream{}, event.Derive(r.Event, "applied", p.String()), now, &event.ControlApplied{Position: r.Position, Event: r.Event})
}
