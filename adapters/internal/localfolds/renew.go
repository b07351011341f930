package localfolds

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/foldstore"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

var errNoStore = errors.New("the folds are being made anew from the ledger, and their store cannot be opened yet; look at the disk")

// noted passes an error of the store on. If the store is damaged, an empty one takes its place soon: each partition then finds
// that it was folded up to nothing, and folds the log anew.
func (f *Folds) noted(err error) error {
	if errors.Is(err, foldstore.ErrDamaged) && f.renewing.CompareAndSwap(false, true) {
		f.renewals.Go(f.renew)
	}
	return err
}

// renewEvery is how often it is tried to make another store.
const renewEvery = time.Second

func (f *Folds) renew() {
	defer f.renewing.Store(false)
	for {
		err := f.replace()
		if err == nil {
			slog.Error("the folds were damaged; they are made anew from the ledger", "folder", f.rows.Path+Suffix)
			return
		}
		slog.Error("the folds were damaged, and no other store can be made", "folder", f.rows.Path+Suffix, "error", err)
		select {
		case <-f.closing:
			return
		case <-time.After(renewEvery):
		}
	}
}

// replace puts an empty store in the place of the one that is damaged. It waits until that is no longer used.
func (f *Folds) replace() error {
	f.using.Lock()
	defer f.using.Unlock()
	select {
	case <-f.closing:
		return nil
	default:
	}
	if f.store != nil {
		if err := f.store.Close(); err != nil { // it is damaged: that may be why
			slog.Warn("the damaged store of the folds closes with an error", "error", err)
		}
		f.store = nil
	}
	dir := f.rows.Path + Suffix
	if err := foldstore.Remove(dir); err != nil {
		return err
	}
	store, err := foldstore.Open(dir, f.rows.options())
	if err != nil {
		return err
	}
	f.store = store
	if err = store.Clear(f.id); err == nil {
		err = (&opening{f.rows, f}).indexKeys(context.Background())
	}
	if err != nil {
		f.store = nil
		return errors.Join(err, store.Close())
	}
	// No transaction is under way: one that begins holds using.
	f.marks, f.prunedTo = map[event.Partition]ledger.Mark{}, map[event.Partition]int64{}
	return nil
}

// Close closes the store.
func (f *Folds) Close() error {
	close(f.closing)
	f.renewals.Wait()
	f.using.Lock()
	defer f.using.Unlock()
	if f.store == nil {
		return nil
	}
	return f.store.Close()
}
