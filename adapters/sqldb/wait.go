package sqldb

import (
	"context"
	"database/sql"
	"slices"
	"time"

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
// read, or with ctx's error. Commits of this process wake it at once, those of
// another, on PostgreSQL, within 20 ms or so. Close does not end the wait: ctx does.
func (d *DB) WaitFor(ctx context.Context, at event.Position) error {
	d.mu.Lock()
	if d.marks[at.Partition] > at.Index {
		d.mu.Unlock()
		return nil
	}
	w := positionWaiter{at.Index, make(chan struct{})}
	d.positions[at.Partition] = append(d.positions[at.Partition], w)
	d.mu.Unlock()
	d.waits()
	select {
	case <-w.wake:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.positions[at.Partition] = slices.DeleteFunc(d.positions[at.Partition], func(x positionWaiter) bool { return x == w })
	if len(d.positions[at.Partition]) == 0 {
		delete(d.positions, at.Partition)
	}
	return ctx.Err()
}

func (d *DB) wakePositions(p event.Partition, next int64) {
	d.positions[p] = slices.DeleteFunc(d.positions[p], func(w positionWaiter) bool {
		if w.index < next {
			close(w.wake)
		}
		return w.index < next
	})
	if len(d.positions[p]) == 0 {
		delete(d.positions, p)
	}
}

// WaitChange returns once the message's status is another than from, at once if it
// is already, or with ctx's error; with reading.ErrNotFound if the tenant has
// no such message yet. What wakes it, and how soon, is as for WaitFor.
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
	d.waits()
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

// lookEvery is how often a database that others write to is looked at while
// somebody waits; otherwise that is every ProgressAge.
const lookEvery = 20 * time.Millisecond

// waits tells the watcher that somebody waits.
func (d *DB) waits() {
	if d.pg == nil {
		return
	}
	select {
	case d.pg.waiting <- struct{}{}:
	default:
	}
}

// watch looks at what other processes have committed until ctx is done.
func (d *DB) watch(ctx context.Context) {
	var last time.Time
	for timer := time.NewTimer(0); ; {
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.pg.waiting:
			timer.Reset(max(0, lookEvery-time.Since(last)))
			continue
		case <-timer.C:
		}
		last = time.Now()
		err := d.look(ctx)
		if ctx.Err() != nil {
			return
		}
		d.noteHealth(err)
		d.mu.Lock()
		next := ProgressAge
		if err == nil && len(d.positions)+len(d.changes) > 0 {
			next = lookEvery
		}
		d.mu.Unlock()
		timer.Reset(next)
	}
}

// look reads the marks, moves over to another schema where there is one, and wakes
// who waited: for a position, and for a change in a partition that has moved.
func (d *DB) look(ctx context.Context) error {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	d.mu.Lock()
	commits := d.commits
	d.mu.Unlock()
	marks := map[event.Partition]int64{}
	var name string
	err := each(ctx, d.stmt.moved, nil, func(scan func(...any) error) error {
		var p, next sql.NullInt64
		if err := scan(&name, &p, &next); err != nil {
			return err
		}
		if p.Valid {
			marks[event.Partition(p.Int64)] = next.Int64
		}
		return nil
	})
	if undefined(err) { // the schema was dropped: this process did not run when it was left
		err = d.stmt.now.QueryRowContext(ctx).Scan(&name)
		marks = nil
	}
	if err != nil {
		return err
	}
	if d.pg.follow(name) || marks == nil {
		return nil // these marks are the former ones; the next look is at the new
	}
	changed := d.see(marks, commits)
	if len(changed) == 0 {
		d.pg.seen = marks
		return nil
	}
	err = each(ctx, d.stmt.changed, []any{ids(changed)}, func(scan func(...any) error) error {
		var id []byte
		var status string
		err := scan(&id, &status)
		if err == nil {
			d.mu.Lock()
			d.wakeChanges(toID(id), recipient.Status(status))
			d.mu.Unlock()
		}
		return err
	})
	if err == nil {
		d.pg.seen = marks
	}
	return err
}

// see takes the marks that were read when this process had made so many commits,
// and returns the messages whose change is waited for in partitions that moved
// since the last look.
func (d *DB) see(marks map[event.Partition]int64, commits int) (messages []event.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for p := range d.marks {
		if _, there := marks[p]; !there && commits == d.commits {
			delete(d.marks, p) // reset
		}
	}
	for p, next := range marks {
		if next < d.marks[p] && commits != d.commits {
			continue // older than what this process has written meanwhile
		}
		d.marks[p] = next
		d.wakePositions(p, next)
	}
	for id := range d.changes {
		if p := event.Partition(id.Partition()); marks[p] != d.pg.seen[p] {
			messages = append(messages, id)
		}
	}
	return messages
}
