package sqldb

import (
	"context"
	"slices"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

type positionWaiter struct {
	index int64
	wake  chan struct{}
}

type changeWaiter struct {
	from recipient.Status
	wake chan struct{}
}

// WaitFor returns once the event at the position is applied and its rows can be
// read, or with ctx's error. Commits wake it; it does not poll. Close does not end the
// wait: ctx does.
func (d *DB) WaitFor(ctx context.Context, at event.Position) error {
	d.mu.Lock()
	if d.marks[at.Partition].Next > at.Index {
		d.mu.Unlock()
		return nil
	}
	w := positionWaiter{at.Index, make(chan struct{})}
	d.positions[at.Partition] = append(d.positions[at.Partition], w)
	d.mu.Unlock()
	select {
	case <-w.wake:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.positions[at.Partition] = slices.DeleteFunc(d.positions[at.Partition], func(x positionWaiter) bool { return x == w })
	return ctx.Err()
}

func (d *DB) wakePositions(p event.Partition, next int64) {
	d.positions[p] = slices.DeleteFunc(d.positions[p], func(w positionWaiter) bool {
		if w.index < next {
			close(w.wake)
		}
		return w.index < next
	})
}

// WaitChange returns once the message's status is another than from, at once if it
// is already, or with ctx's error; with projections.ErrNotFound if the tenant has
// no such message yet. Commits wake it; it does not poll.
func (d *DB) WaitChange(ctx context.Context, tenant string, id event.ID, from recipient.Status) error {
	w := &changeWaiter{from, make(chan struct{})}
	d.mu.Lock()
	d.changes[id] = append(d.changes[id], w)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.changes[id] = slices.DeleteFunc(d.changes[id], func(x *changeWaiter) bool { return x == w })
		if len(d.changes[id]) == 0 {
			delete(d.changes, id)
		}
	}()
	// Read after the waiter stands: a commit in between is seen by one or the other.
	m, err := d.Message(ctx, tenant, id)
	if err != nil || m.Status != from {
		return err
	}
	select {
	case <-w.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *DB) wakeChanges(id event.ID, status recipient.Status) {
	d.changes[id] = slices.DeleteFunc(d.changes[id], func(w *changeWaiter) bool {
		if w.from != status {
			close(w.wake)
		}
		return w.from != status
	})
	if len(d.changes[id]) == 0 {
		delete(d.changes, id)
	}
}
