// Package rebuild folds a ledger into views: from its first event, or on from where they stand.
package rebuild

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// rebuildBatch is how many events of a partition a rebuild gives to the views in one batch, and rebuildRead how many it
	// reads at a time.
	rebuildBatch = 1024
	rebuildRead  = 512
	// readAhead and writesAhead are how many batches may have been read and not folded, and folded and not committed.
	readAhead   = 4
	writesAhead = 6
)

// Rebuild folds a ledger into empty views, from its first event, with the same Fold as live
// reading. After an error the views keep what was folded before.
type Rebuild struct {
	log     ledger.Log
	views   ledger.Views
	control *control.Control
	folds   []*clerk.Fold
}

// New returns a Rebuild that has folded nothing.
func New(log ledger.Log, views ledger.Views) *Rebuild {
	r := &Rebuild{log: log, views: views, control: control.NewControl(log)}
	for p := range log.Partitions() {
		r.folds = append(r.folds, clerk.NewFold(event.Partition(p), r.control))
		r.folds[p].KeepRows(views.KeepsRows())
	}
	return r
}

// Fold continues each partition up to a bound (nil: the head that each has now), and returns how
// many events it folded. step is called with the number of events of each batch. A bound after a head is ErrAhead: the log
// has lost events that were there.
func (r *Rebuild) Fold(ctx context.Context, upTo map[event.Partition]int64, step func(events int)) (n int64, err error) {
	heads := map[event.Partition]int64{} // asked for before control is read, so that control has every position that they have applied
	for p := range r.folds {
		at := event.Partition(p)
		if _, heads[at], err = r.log.Read(ctx, at, 0, 0); err != nil {
			return 0, err
		}
		if upTo[at] > heads[at] {
			return 0, fmt.Errorf("partition %d has %d events, not %d: %w", at, heads[at], upTo[at], ledger.ErrAhead)
		}
	}
	if upTo == nil {
		upTo = heads
	}
	if err := r.control.CatchUp(ctx); err != nil {
		return 0, err
	}
	if err := r.control.Bad(); err != nil {
		return 0, err
	}
	return r.all(ctx, upTo, step)
}

// Continue begins each partition where its views stand, and folds it up to a bound. Use it instead of Fold, where views
// were closed before they had folded all that they were given. A partition whose rows do not fit stays as it is.
func (r *Rebuild) Continue(ctx context.Context, upTo map[event.Partition]int64) (n int64, err error) {
	if err := r.control.CatchUp(ctx); err != nil {
		return 0, err
	}
	for p, fold := range r.folds {
		m, err := r.views.Mark(ctx, event.Partition(p))
		if errors.Is(err, ledger.ErrUnfit) {
			delete(upTo, event.Partition(p))
			continue
		}
		if err != nil {
			return 0, err
		}
		reg, err := r.control.Wait(ctx, m.Partition.Control)
		if err != nil {
			return 0, err
		}
		fold.Restore(m, reg)
	}
	return r.Fold(ctx, upTo, func(int) {})
}

// read is a batch of records of a partition, or why reading ended.
type read struct {
	p       int
	records []ledger.Record
	err     error
}

// all folds the partitions up to their bounds. One goroutine reads and decodes, this one folds, and the views write meanwhile.
// The partitions take turns, since a commit of the embedded log has events of all of them.
func (r *Rebuild) all(parent context.Context, upTo map[event.Partition]int64, step func(int)) (n int64, err error) {
	ctx, cancel := context.WithCancel(parent)
	batches := make(chan read, readAhead)
	var reading sync.WaitGroup
	defer func() { cancel(); reading.Wait() }()
	var from []int64
	for _, fold := range r.folds {
		from = append(from, fold.Next())
	}
	reading.Go(func() { defer close(batches); r.read(ctx, from, upTo, batches) })
	w := &rebuildWrites{views: r.views, committed: make([]atomic.Uint64, len(r.folds)), slots: make(chan struct{}, writesAhead)}
	for b := range batches {
		if err = b.err; err != nil {
			break
		}
		if err = r.apply(ctx, &b, w); err != nil {
			break
		}
		n += int64(len(b.records))
		step(len(b.records))
	}
	for p, fold := range r.folds {
		if err == nil {
			err = w.cut(p, fold)
		}
	}
	if e := w.wait(); err == nil {
		err = e
	}
	for p, fold := range r.folds {
		fold.Committed(w.committed[p].Load())
	}
	return n, errors.Join(err, parent.Err())
}

// apply folds a batch, and gives the views what has gathered.
func (r *Rebuild) apply(ctx context.Context, b *read, w *rebuildWrites) error {
	fold := r.folds[b.p]
	if err := fold.Fetch(ctx, r.views, fold.Missing(b.records), b.records, fold.Load, func(int64) error { return nil }); err != nil {
		return err
	}
	if err := fold.Apply(ctx, b.records); err != nil {
		return err
	}
	if fold.Pending() < rebuildBatch {
		return nil
	}
	return w.cut(b.p, fold)
}

// read reads the partitions in turn, each from an index up to its bound.
func (r *Rebuild) read(ctx context.Context, from []int64, upTo map[event.Partition]int64, to chan<- read) {
	for more := true; more; {
		more = false
		for p := range from {
			left := upTo[event.Partition(p)] - from[p]
			if left <= 0 {
				continue
			}
			more = true
			records, _, err := r.log.Read(ctx, event.Partition(p), from[p], int(min(left, rebuildRead)))
			if err == nil && len(records) == 0 {
				err = ctx.Err() // a read below the head returns events, or its time is over
			}
			select {
			case to <- read{p, records, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			from[p] += int64(len(records))
		}
	}
}

// rebuildWrites are the batches that the views were given and have not committed yet.
type rebuildWrites struct {
	views     ledger.Views
	slots     chan struct{}   // one is held by each
	committed []atomic.Uint64 // by partition: how many of its batches are committed
	cuts      sync.WaitGroup
	failed    atomic.Pointer[error]
}

// cut gives the views what a partition has folded. It waits while too many batches are not committed.
func (w *rebuildWrites) cut(p int, fold *clerk.Fold) error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	fold.Committed(w.committed[p].Load())
	b, err := fold.Cut()
	if err != nil || b == nil {
		return err
	}
	w.slots <- struct{}{}
	w.cuts.Add(1)
	nth := fold.Cuts()
	w.views.Write(b, func(err error) {
		defer w.cuts.Done()
		if err != nil {
			w.failed.CompareAndSwap(nil, &err)
		} else if w.failed.Load() == nil {
			w.committed[p].Store(nth)
		}
		<-w.slots
	})
	return nil
}

// wait returns when the views have committed, or refused, all.
func (w *rebuildWrites) wait() error {
	w.cuts.Wait()
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}
