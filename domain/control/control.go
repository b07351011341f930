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

// Control reads the control stream and keeps the registry of every position at
// which a decision could change, so that a partition finds the one that its own
// ControlApplied names. Control events are few: hundreds in a year.
type Control struct {
	log  ledger.Log
	mu   sync.Mutex
	all  map[int64]*Registry
	last *Registry
	read int64 // events read
	// waiting are those that were read and not applied: the first is no event of this
	// ledger, and none of the others accepts it.
	waiting  []ledger.Record
	accepted map[event.Position][]string
	applied  map[event.ID]bool // applied: a copy changes nothing
	changed  chan struct{}
}

// NewControl returns a control reader that has read nothing.
func NewControl(log ledger.Log) *Control {
	empty := &Registry{}
	return &Control{log: log, all: map[int64]*Registry{0: empty}, last: empty, accepted: map[event.Position][]string{}, applied: map[event.ID]bool{}, changed: make(chan struct{})}
}

// Take applies records read from the control stream, in order.
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
		// Acceptances count as soon as they are read: they may be about what they wait behind.
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

// Bad says why control cannot be read on: a record in it is no event of this ledger
// and was not accepted. Nothing may be decided then, since a pause may stand behind it.
func (c *Control) Bad() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return nil
	}
	return ledger.Damaged(event.Position{Partition: event.ControlPartition, Index: c.waiting[0].Index}, c.waiting[0].Bad)
}

// CatchUp reads the control stream to where it ends now.
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

// Run reads the control stream until ctx is done. readable is called after every read
// that succeeded once the stream's end at the start was reached.
func (c *Control) Run(ctx context.Context, readable func()) error {
	// At the head a read waits, perhaps for days: that it can be read is known before.
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

// Latest is the registry of the newest position read, and a channel that is
// closed when there is a newer one.
func (c *Control) Latest() (*Registry, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.changed
}

// At is the registry at exactly that position; nil when it was not read yet.
func (c *Control) At(position int64) *Registry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[position]
}

// Wait returns the registry at that position as soon as it was read.
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

// Applied is the event that brings this control position into a partition. Its id follows
// from the control event and the partition, so that every node that writes it writes the same fact.
func (r *Registry) Applied(author ledger.Author, p event.Partition, now time.Time) *event.Event {
	return author.Event(ledger.Stream{}, event.Derive(r.Event, "applied", p.String()), now, &event.ControlApplied{Position: r.Position, Event: r.Event})
}
