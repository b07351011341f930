package localfolds

import (
	"time"

	"github.com/chirograph/chirograph/adapters/internal/foldstore"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections"
)

// Tx gathers what a transaction changes in the folds. One is under way at a time. Commit it after the rows, or end it by
// Rollback.
type Tx struct {
	f     *Folds
	batch *foldstore.Batch
	// streams are those that were read, as they were before, and marks how far the folds are then.
	streams map[event.Pseudonym]beside
	marks   map[event.Partition]ledger.Mark
	// ended are the keys of reservations that have ended. They are looked for once the folds are committed.
	ended []endedKey
}

type endedKey struct {
	tenant, key string
	until       time.Time
}

// Begin begins a transaction. End it by Rollback, committed or not.
func (f *Folds) Begin() (*Tx, error) {
	f.using.RLock()
	if f.store == nil {
		f.using.RUnlock()
		return nil, errNoStore
	}
	return &Tx{f: f, batch: f.store.Batch(), streams: map[event.Pseudonym]beside{}, marks: map[event.Partition]ledger.Mark{}}, nil
}

// Mark is how far a partition's folds are committed.
func (t *Tx) Mark(p event.Partition) ledger.Mark { return t.f.marks[p] }

// PutMark writes how far a partition's folds are.
func (t *Tx) PutMark(p event.Partition, m ledger.Mark) error {
	t.marks[p] = m
	return t.batch.PutMark(p, m)
}

// Insert writes a stream that has no record yet; folded may be nil. If it has one, Insert changes nothing and returns false.
func (t *Tx) Insert(p event.Partition, subject event.Pseudonym, folded *ledger.Folded, latest event.ID) (fresh bool, err error) {
	old, there, err := t.stream(subject, folded)
	if err != nil || there {
		return false, err
	}
	return true, t.put(p, subject, folded, old, latest)
}

// Put writes a stream. Without a fold (nil) the one that it has stays, and without a latest message (zero) that.
func (t *Tx) Put(p event.Partition, subject event.Pseudonym, folded *ledger.Folded, latest event.ID) error {
	old, _, err := t.stream(subject, folded)
	if err != nil {
		return err
	}
	return t.put(p, subject, folded, old, latest)
}

// Latest is the latest message of a stream that Insert has found.
func (t *Tx) Latest(subject event.Pseudonym) event.ID { return t.streams[subject].latest }

// stream is what is kept of a stream beside its state, as it was before the transaction; false if there was no such stream.
func (t *Tx) stream(subject event.Pseudonym, folded *ledger.Folded) (old beside, there bool, err error) {
	if old, there = t.streams[subject]; there {
		return old, true, nil
	}
	if folded != nil && folded.New {
		return old, false, nil
	}
	x, there, err := t.batch.Stream(subject)
	if err != nil {
		return old, false, t.f.noted(err)
	}
	old = beside{x.Due, x.Latest}
	if there {
		t.streams[subject] = old
	}
	return old, there, nil
}

func (t *Tx) put(p event.Partition, subject event.Pseudonym, folded *ledger.Folded, old beside, latest event.ID) error {
	x := foldstore.Stream{Due: old.due, Latest: old.latest}
	if folded != nil {
		x.State, x.Due = folded.State, folded.Due.Truncate(time.Millisecond)
	} else {
		was, _, err := t.batch.Stream(subject)
		if err != nil {
			return err
		}
		x.State = was.State
	}
	if !latest.IsZero() {
		x.Latest = latest
	}
	if folded != nil {
		for i := range folded.Rows {
			if err := t.batch.PutRow(p, &folded.Rows[i]); err != nil {
				return err
			}
		}
	}
	return t.batch.PutStream(p, subject, old.due, &x)
}

// Reserve makes a message found by its idempotency key.
func (t *Tx) Reserve(m *reading.Message, r *projections.Reservation) error {
	return t.batch.Reserve(&foldstore.Reservation{Partition: m.Position.Partition, Tenant: m.Tenant, Key: viewrows.Plain(r.Key), Input: r.Input,
		Message: m.ID, Until: r.Until})
}

// Unreserve drops, some time after the commit, what a key has of reservations that ended before an instant. Who looks the
// key up leaves them out anyway.
func (t *Tx) Unreserve(tenant, key string, until time.Time) {
	t.ended = append(t.ended, endedKey{tenant, viewrows.Plain(key), until})
}

// Tail writes a tail of a partition.
func (t *Tx) Tail(p event.Partition, x *projections.Tail) error {
	return t.batch.PutTail(p, &foldstore.Tail{Day: x.Day, Account: viewrows.Plain(x.Account), Tail: x.Tail, Tenant: x.Tenant, Subject: x.Subject})
}

// PruneTails drops a partition's tails of the days before one.
func (t *Tx) PruneTails(p event.Partition, day int64) error {
	if t.f.prunedTo[p] >= day { // once a day
		return nil
	}
	t.f.prunedTo[p] = day
	return t.batch.PruneTails(p, day)
}

// Commit commits the rows by the function, and then the folds. If the process stops between the two, the folds are
// behind, and are folded once more.
func (t *Tx) Commit(rows func() error) error {
	t.f.committing.Lock()
	defer t.f.committing.Unlock()
	if err := rows(); err != nil {
		return err
	}
	if err := t.batch.Commit(); err != nil {
		return err
	}
	b := t.f.store.Batch()
	defer b.Close()
	for p, m := range t.marks {
		t.f.marks[p] = m
		if err := t.pruneRows(b, p, m.Partition.Time); err != nil {
			return err
		}
	}
	for _, x := range t.ended {
		if err := b.Unreserve(x.tenant, x.key, x.until); err != nil {
			return err
		}
	}
	return b.Commit()
}

const (
	// rowsEvery is how often, in the log's own time, a partition's rows are pruned, and rowsAtOnce how many in one commit.
	rowsEvery  = 10 * time.Minute
	rowsAtOnce = 2000
)

// pruneRows drops rows that mean nothing any more: some with each commit, so that none takes long.
func (t *Tx) pruneRows(b *foldstore.Batch, p event.Partition, now time.Time) error {
	if now.Before(t.f.rowsPruned[p].Add(rowsEvery)) {
		return nil
	}
	more, err := b.PruneRows(p, now, rowsAtOnce)
	if err == nil && !more {
		t.f.rowsPruned[p] = now
	}
	return err
}

// Rollback ends the transaction.
func (t *Tx) Rollback() {
	t.batch.Close()
	t.f.using.RUnlock()
}

// Reset drops a partition's folds. Drop them before the rows: rows may be ahead of them.
func (f *Folds) Reset(p event.Partition) error {
	f.using.RLock()
	defer f.using.RUnlock()
	if f.store == nil {
		return errNoStore
	}
	if err := f.store.Reset(p, func(x event.Pseudonym) bool { return x.Partition(f.partitions) == int(p) }); err != nil {
		return f.noted(err)
	}
	delete(f.marks, p)
	delete(f.rowsPruned, p)
	return nil
}

// beside is what is kept of a stream beside its state.
type beside struct {
	due    time.Time
	latest event.ID
}
