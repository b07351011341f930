package node

import (
	"context"
	"errors"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// rebuildBatch is how many events a rebuild gives to the views in one batch.
const rebuildBatch = 4096

// Rebuild folds a ledger into empty views, from its first event, with the same Fold as live
// reading. After an error the views keep what was folded before.
type Rebuild struct {
	log     ledger.Log
	views   ledger.Views
	control *control.Control
	folds   []*clerk.Fold
}

// NewRebuild returns a Rebuild that has folded nothing.
func NewRebuild(log ledger.Log, views ledger.Views) *Rebuild {
	r := &Rebuild{log: log, views: views, control: control.NewControl(log)}
	for p := range log.Partitions() {
		r.folds = append(r.folds, clerk.NewFold(event.Partition(p), r.control))
		r.folds[p].KeepRows(views.KeepsRows())
	}
	return r
}

// Fold continues each partition up to a bound (nil: the head that each has now), and returns how
// many events it folded. step is called with the number of events of each batch.
func (r *Rebuild) Fold(ctx context.Context, upTo map[event.Partition]int64, step func(events int)) (n int64, err error) {
	if upTo == nil { // ask before control is read, so that control has every position that they have applied
		upTo = map[event.Partition]int64{}
		for p := range r.folds {
			if _, upTo[event.Partition(p)], err = r.log.Read(ctx, event.Partition(p), 0, 0); err != nil {
				return 0, err
			}
		}
	}
	if err := r.control.CatchUp(ctx); err != nil {
		return 0, err
	}
	if err := r.control.Bad(); err != nil {
		return 0, err
	}
	for p, fold := range r.folds {
		k, err := r.partition(ctx, event.Partition(p), fold, upTo[event.Partition(p)], step)
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
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

// partition folds one partition up to an index.
func (r *Rebuild) partition(ctx context.Context, p event.Partition, fold *clerk.Fold, to int64, step func(int)) (n int64, err error) {
	if to <= fold.Next() {
		return 0, nil
	}
	err = ledger.EachBatch(ctx, r.log, p, fold.Next(), to, func(records []ledger.Record) error {
		if err := fold.Fetch(ctx, r.views, fold.Missing(records), records, fold.Load, func(int64) error { return nil }); err != nil {
			return err
		}
		if err := fold.Apply(ctx, records); err != nil {
			return err
		}
		n += int64(len(records))
		step(len(records))
		if fold.Pending() < rebuildBatch {
			return nil
		}
		return r.cut(fold)
	})
	if err == nil {
		err = r.cut(fold)
	}
	return n, err
}

// cut gives the views what was folded, and waits until they have committed it.
func (r *Rebuild) cut(fold *clerk.Fold) error {
	b, err := fold.Cut()
	if err != nil || b == nil {
		return err
	}
	written := make(chan error, 1)
	r.views.Write(b, func(err error) { written <- err })
	if err := <-written; err != nil {
		return err
	}
	fold.Committed(fold.Cuts())
	return nil
}
