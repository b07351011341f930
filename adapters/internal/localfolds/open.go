package localfolds

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/foldstore"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Suffix is what the name of the folder has more than that of the rows' file.
const Suffix = "-folds"

// form is what the id of a store's views ends with, for the form of what is in it: streams may have rows, and are in bytes. A program
// that does not know this form takes the store for that of other views, and makes it anew from the log. earlier are the forms
// that this program reads as well.
const form = "+bytes"

var earlier = []string{"", "+rows"}

// foldsVersion is the migration from which on programs know that the folds of an SQLite file are beside it.
const foldsVersion = 7

// Rows are the views' rows, in an SQLite file.
type Rows struct {
	Path string
	// Conn is the connection that writes, and Read are those that read.
	Conn *sql.Conn
	Read *sql.DB
	// Ledger is the ledger's short id, and Partitions how many it has.
	Ledger     string
	Partitions int
	// Marks say how far the rows are, and Contents what they must be. Open changes Contents where it moves rows out.
	Marks    map[event.Partition]ledger.Mark
	Contents map[event.Partition]viewsums.Contents
	// Memory is how many bytes of folds are kept in memory at most; 0: foldstore's default.
	Memory int64
}

func (e *Rows) options() foldstore.Options { return foldstore.Options{Size: e.Memory} }

// Open opens the folds beside some rows. Folds that are not of these rows, that cannot be read, or that are ahead of the rows
// (someone put an older file back) are dropped, and folded anew from the log. What an earlier version kept in the file is
// moved out of it.
func Open(ctx context.Context, e *Rows) (_ *Folds, err error) {
	dir, o := e.Path+Suffix, e.options()
	store, err := foldstore.Open(dir, o)
	if errors.Is(err, foldstore.ErrDamaged) {
		slog.Warn("the folds cannot be read, and are made anew from the ledger", "folder", dir, "error", err)
		if err = foldstore.Remove(dir); err == nil {
			store, err = foldstore.Open(dir, o)
		}
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, store.Close())
		}
	}()
	f := &opening{e, &Folds{rows: e, closing: make(chan struct{}), store: store, partitions: e.Partitions, marks: map[event.Partition]ledger.Mark{}, prunedTo: map[event.Partition]int64{},
		rowsPruned: map[event.Partition]time.Time{},
		damaged:    partitionSet{in: map[event.Partition]bool{}}}}
	if err := f.fit(ctx, dir); err != nil {
		return nil, err
	}
	v := store.View()
	defer v.Close()
	for p := range event.Partition(e.Partitions) {
		if m := v.Mark(p); m.Next > 0 {
			f.folds.marks[p] = m
		}
		f.folds.SetDamaged(p, e.Contents[p].Damaged)
	}
	if f.folds.id, err = store.Bound(); err != nil {
		return nil, err
	}
	return f.folds, nil
}

// Marks say how far the folds are committed. Only the writer may ask, and must not change them.
func (f *Folds) Marks() map[event.Partition]ledger.Mark { return f.marks }

// opening are folds on their way to fit their rows.
type opening struct {
	*Rows
	folds *Folds
}

// fit makes the store that of the rows.
func (e *opening) fit(ctx context.Context, dir string) error {
	store := e.folds.store
	id, err := foldsID(ctx, e.Conn)
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
		if err := store.Clear(id + form); err != nil {
			return err
		}
		if err := e.indexKeys(ctx); err != nil {
			return err
		}
	case bound != id+form:
		return store.Bind(id + form)
	}
	return nil
}

func foldsID(ctx context.Context, q sqlrows.Querier) (id string, err error) {
	err = sqlrows.Query(ctx, q, `SELECT id FROM folds`, nil, func(scan func(...any) error) error { return scan(&id) })
	return id, err
}

// unusable says why the store cannot be that of these rows; "" if it may.
func (e *opening) unusable(id, bound string) (why string) {
	if bound == "" && id != "" {
		return "they are missing"
	}
	if rest, ok := strings.CutPrefix(bound, id); !ok || rest != form && !slices.Contains(earlier, rest) {
		return "they belong to other views"
	}
	v := e.folds.store.View()
	defer v.Close()
	for p := range event.Partition(e.Partitions) {
		m := v.Mark(p)
		if rows := e.Marks[p]; m.Next > rows.Next || m.Next == rows.Next && m.Hash != rows.Hash {
			return fmt.Sprintf("they are at %d in partition %s, and the rows at %d: the views are older", m.Next, p, rows.Next)
		}
	}
	return ""
}

// moveAtOnce is how many rows are moved in one commit.
const moveAtOnce = 5000

// moveOut fills the store with what an earlier version kept in the file, and takes it out of the file. A crash before the
// end leaves the file as it was.
func (e *opening) moveOut(ctx context.Context) error {
	id := event.NewID(time.Now()).String()
	if err := e.folds.store.Clear(id + form); err != nil {
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
	for p, m := range e.Marks {
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
func (e *opening) unfitFolds(ctx context.Context) (viewsums.Findings, error) {
	found := viewsums.Findings{}
	tx, err := e.Read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
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
func (e *opening) inBatches(ctx context.Context, text string, f func(b *foldstore.Batch, scan func(...any) error) error) error {
	b, n := e.folds.store.Batch(), 0
	defer func() { b.Close() }()
	err := sqlrows.Query(ctx, e.Read, text, nil, func(scan func(...any) error) error {
		if err := f(b, scan); err != nil {
			return err
		}
		if n++; n%moveAtOnce != 0 {
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

func (e *opening) moveStreams(ctx context.Context, unfit viewsums.Findings) error {
	return e.inBatches(ctx, `SELECT subject, partition, state, due, latest FROM streams`, func(b *foldstore.Batch, scan func(...any) error) error {
		var subject, state, latest sql.RawBytes
		var p event.Partition
		var due sql.NullInt64
		if err := scan(&subject, &p, &state, &due, &latest); err != nil || unfit[p] != nil {
			return err
		}
		x := foldstore.Stream{State: state, Latest: event.ID(toID(latest))}
		if due.Valid {
			x.Due = time.UnixMilli(due.Int64).UTC()
		}
		return b.PutStream(p, event.Pseudonym(toID(subject)), time.Time{}, &x)
	})
}

func (e *opening) moveTails(ctx context.Context) error {
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
func (e *opening) indexKeys(ctx context.Context) error {
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
func (e *opening) takeOut(ctx context.Context, id string, unfit viewsums.Findings) error {
	tx, err := e.Conn.BeginTx(ctx, nil)
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
	for p, m := range e.Marks {
		x := e.Contents[p]
		x.Whole, x.Rows, x.Sums = math.MaxUint64, [viewsums.Buckets]int64{}, [viewsums.Buckets]uint64{}
		x.Damaged = x.Damaged || unfit[p] != nil
		e.Contents[p] = x
		s := x.Store(m.Next)
		s.Seal(e.Ledger, p, ledger.Head{Next: m.Next, Hash: m.Hash})
		if _, err := tx.ExecContext(ctx, `UPDATE partitions SET summed = $2, whole = $3, sums = $4 WHERE partition = $1`, int64(p), s.Summed, s.Whole, s.Sums); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func toID(b []byte) (id [16]byte) {
	copy(id[:], b)
	return id
}
