package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/foldstore"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// FoldsSuffix is what the name of the folder of the folds has more than that of the views' file.
const FoldsSuffix = "-folds"

// foldsVersion is the migration from which on programs know that the folds of an SQLite file are beside it.
const foldsVersion = 7

// openFolds opens the folds beside the views in the file at path. Folds that are not of these views, that cannot be read,
// or that are ahead of the rows (someone put an older file back) are dropped, and folded anew from the log. What an
// earlier version kept in the file is moved out of it.
func (d *DB) openFolds(ctx context.Context, e *sqlite, path string) (err error) {
	dir := path + FoldsSuffix
	o := foldstore.Options{Cache: d.o.Folds}
	store, err := foldstore.Open(dir, o)
	if errors.Is(err, foldstore.ErrDamaged) {
		slog.Warn("the folds cannot be read, and are made anew from the ledger", "folder", dir, "error", err)
		if err = foldstore.Remove(dir); err == nil {
			store, err = foldstore.Open(dir, o)
		}
	}
	if err != nil {
		return err
	}
	e.folds = &local{store: store, partitions: d.o.Partitions, doubt: d.doubt, damaged: map[event.Partition]bool{}}
	e.recent, e.folded, e.prunedTo = recentFolds{}, map[event.Partition]ledger.Mark{}, map[event.Partition]int64{}
	d.local, d.loader = e.folds, e.folds
	id, err := foldsID(ctx, e.conn)
	if err != nil {
		return err
	}
	bound, err := store.Bound()
	if err != nil {
		return err
	}
	switch why := e.unusable(id, bound); {
	case id == "":
		if err := e.moveOut(ctx); err != nil {
			return fmt.Errorf("move the folds out of the views: %w", err)
		}
	case why != "":
		slog.Warn("the folds are made anew from the ledger", "folder", dir, "why", why)
		if err := store.Clear(id); err != nil {
			return err
		}
		if err := e.indexKeys(ctx); err != nil {
			return err
		}
	}
	v := store.View()
	defer v.Close()
	for p := range event.Partition(d.o.Partitions) {
		if m := v.Mark(p); m.Next > 0 {
			e.folded[p] = m
		}
		e.folds.setDamaged(p, e.partitions[p].Damaged)
	}
	return nil
}

func foldsID(ctx context.Context, q sqlrows.Querier) (id string, err error) {
	err = sqlrows.Query(ctx, q, `SELECT id FROM folds`, nil, func(scan func(...any) error) error { return scan(&id) })
	return id, err
}

// unusable says why the store cannot be that of these rows; "" if it may.
func (e *sqlite) unusable(id, bound string) (why string) {
	if bound != id {
		return "they belong to other views"
	}
	v := e.folds.store.View()
	defer v.Close()
	for p := range event.Partition(e.folds.partitions) {
		m := v.Mark(p)
		if rows := e.marks[p]; m.Next > rows.Next || m.Next == rows.Next && m.Hash != rows.Hash {
			return fmt.Sprintf("they are at %d in partition %s, and the rows at %d: the views are older", m.Next, p, rows.Next)
		}
	}
	return ""
}

// moved is how many rows are moved in one commit.
const moved = 5000

// moveOut fills the store with what an earlier version kept in the file, and takes it out of the file. A crash before the
// end leaves the file as it was.
func (e *sqlite) moveOut(ctx context.Context) error {
	id := event.NewID(time.Now()).String()
	if err := e.folds.store.Clear(id); err != nil {
		return err
	}
	unfit, err := e.unfitFolds(ctx)
	if err != nil {
		return err
	}
	if err := e.moveStreams(ctx, unfit); err != nil {
		return err
	}
	if err := e.moveTails(ctx); err != nil {
		return err
	}
	if err := e.indexKeys(ctx); err != nil {
		return err
	}
	b := e.folds.store.Batch()
	defer b.Close()
	for p, m := range e.marks {
		if unfit[p] == nil && m.Next > 0 {
			if err := b.PutMark(p, m); err != nil {
				return err
			}
		}
	}
	if err := b.Commit(); err != nil {
		return err
	}
	// Durable, before the rows go.
	if err := e.folds.store.Sync(); err != nil {
		return err
	}
	return e.takeOut(ctx, id, unfit)
}

// unfitFolds are the partitions of which the folds in the file are not what was written, and why.
func (e *sqlite) unfitFolds(ctx context.Context) (viewsums.Findings, error) {
	found := viewsums.Findings{}
	tx, err := e.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	marks, _, err := viewsums.Marks(ctx, tx)
	if err != nil {
		return nil, err
	}
	for bucket := range viewsums.Buckets {
		if _, err := viewsums.Streams(ctx, tx, marks, bucket, math.MaxInt, func() {}, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// inBatches calls f for each row that a query finds, and commits the folds now and then.
func (e *sqlite) inBatches(ctx context.Context, text string, f func(b *foldstore.Batch, scan func(...any) error) error) error {
	b, n := e.folds.store.Batch(), 0
	defer func() { b.Close() }()
	err := sqlrows.Query(ctx, e.read, text, nil, func(scan func(...any) error) error {
		if err := f(b, scan); err != nil {
			return err
		}
		if n++; n%moved != 0 {
			return nil
		}
		if err := b.Commit(); err != nil {
			return err
		}
		b.Close()
		b = e.folds.store.Batch()
		return nil
	})
	if err != nil {
		return err
	}
	return b.Commit()
}

func (e *sqlite) moveStreams(ctx context.Context, unfit viewsums.Findings) error {
	return e.inBatches(ctx, `SELECT subject, partition, state, due, latest FROM streams`, func(b *foldstore.Batch, scan func(...any) error) error {
		var subject, state, latest sql.RawBytes
		var p event.Partition
		var due sql.NullInt64
		if err := scan(&subject, &p, &state, &due, &latest); err != nil || unfit[p] != nil {
			return err
		}
		x := foldstore.Stream{State: state, Due: fromMillis(due), Latest: toID(latest)}
		return b.PutStream(p, event.Pseudonym(toID(subject)), time.Time{}, &x)
	})
}

func (e *sqlite) moveTails(ctx context.Context) error {
	return e.inBatches(ctx, `SELECT partition, day, account, tail, tenant, subject FROM tails`, func(b *foldstore.Batch, scan func(...any) error) error {
		var p event.Partition
		var t foldstore.Tail
		var subject []byte
		if err := scan(&p, &t.Day, &t.Account, &t.Tail, &t.Tenant, &subject); err != nil {
			return err
		}
		t.Subject = event.Pseudonym(toID(subject))
		return b.PutTail(p, &t)
	})
}

// indexKeys makes the idempotency keys found whose rows are in the file.
func (e *sqlite) indexKeys(ctx context.Context) error {
	return e.inBatches(ctx, `SELECT partition, tenant, key, message, input, keep_until FROM reserved`, func(b *foldstore.Batch, scan func(...any) error) error {
		var r foldstore.Reservation
		var message []byte
		var until int64
		if err := scan(&r.Partition, &r.Tenant, &r.Key, &message, &r.Input, &until); err != nil {
			return err
		}
		r.Key, r.Message, r.Until = viewrows.Plain(r.Key), toID(message), time.UnixMilli(until).UTC()
		return b.Reserve(&r)
	})
}

// takeOut takes out of the file what the store has now, says which store that is, and closes the file to earlier
// versions. The sums of the streams are then those of none.
func (e *sqlite) takeOut(ctx context.Context, id string, unfit viewsums.Findings) error {
	tx, err := e.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, text := range []string{`DELETE FROM streams`, `DELETE FROM tails`, `DROP INDEX IF EXISTS streams_due`, `DROP INDEX IF EXISTS tails_told`, `DROP INDEX IF EXISTS reserved_hash`,
		`UPDATE compatible SET oldest = ` + strconv.Itoa(foldsVersion) + ` WHERE oldest < ` + strconv.Itoa(foldsVersion)} {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO folds (id) VALUES ($1)`, id); err != nil {
		return err
	}
	for p, m := range e.marks {
		x := e.partitions[p]
		x.Whole, x.Rows, x.Sums = math.MaxUint64, [viewsums.Buckets]int64{}, [viewsums.Buckets]uint64{}
		x.Damaged = x.Damaged || unfit[p] != nil
		e.partitions[p] = x
		s := x.Store(m.Next)
		s.Seal(e.ledger, p, ledger.Head{Next: m.Next, Hash: m.Hash})
		if _, err := tx.ExecContext(ctx, `UPDATE partitions SET summed = $2, whole = $3, sums = $4 WHERE partition = $1`, int64(p), s.Summed, s.Whole, s.Sums); err != nil {
			return err
		}
	}
	return tx.Commit()
}
