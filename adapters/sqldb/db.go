// Package sqldb keeps the views in an SQL database: the folds of the streams, the rows that
// queries read, and the position that both were made from, committed together. All of it can be
// dropped and made anew from the log. What a row says is not decided here, but in package
// projections.
//
// On SQLite the folds, and what else is looked up under random keys, lie in a store beside the file (localfolds), with marks of
// its own. Each commit writes the rows first, durably, and then the folds: so the rows may be ahead of the folds and
// never behind. After a crash the partition reads on from the folds' mark, and events that the rows have are left out
// of them.
//
// Batches of all partitions go through one writer, which merges what is queued into one
// transaction, and writes one row for each message and one for each stream. On SQLite there is
// only that writer. On PostgreSQL each process has one; the processes project different
// partitions, or for a while the same.
package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/desk"
	"github.com/chirograph/chirograph/adapters/internal/localfolds"
	"github.com/chirograph/chirograph/adapters/internal/progress"
	"github.com/chirograph/chirograph/adapters/internal/recent"
	"github.com/chirograph/chirograph/adapters/internal/viewmarks"
	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// ErrClosed means that the database was closed.
var ErrClosed = errors.New("the views are closed")

// Options are the options of a database.
type Options struct {
	// Ledger is the ledger's short id. Views that do not know theirs record it, and views of another ledger
	// are not opened (ErrOtherLedger). "" records and compares nothing.
	Ledger string
	// Partitions is the ledger's number of recipients' partitions. Required: the answer about a
	// recipient's opt-outs names the partitions and positions that it is true for.
	Partitions int
	// Reference returns the keyed digest of a submit's reference, which is sealed in the event.
	// It is called only for a submit that has one. An error means that the reference can no
	// longer be read (it was erased): the message is then not found by it. If Reference is nil,
	// no message is found by its reference.
	Reference func(e *event.Event) (digest string, err error)
	// Cache is how many messages the writer remembers, so that it need not read a message's row
	// for a later event. Default 8,192, about 3 KB each. More than there are messages between
	// submit and receipt is of no use.
	Cache int
	// Folds are how many bytes of an SQLite file's folds are kept in memory at most. Default 70 MB.
	Folds int64
	// Queue is how many batches may wait; Write blocks while they do. Default 64.
	Queue int
}

// DB is a ledger.Views with the queries over it. All methods may be called from any goroutine.
// Three types do its work: reader answers queries, with a folds.Loader and a desk.Reader, writer writes, and progress knows how far the
// views are.
type DB struct {
	*reader
	*desk.Reader
	loader
	*viewsums.Checker
	*writer
	*progress.Tracker
	o       Options
	began   time.Time
	watcher *watcher // nil on SQLite
}

var _ ledger.Views = (*DB)(nil)

// loader reads the folds of streams, and what they say of opt-outs: folds.Loader on PostgreSQL, localfolds.Folds on SQLite.
type loader interface {
	Streams(ctx context.Context, p event.Partition, subjects []event.Pseudonym) (folds map[event.Pseudonym]*recipient.State, asOf int64, err error)
	KeepsRows() bool
	Rows(ctx context.Context, p event.Partition, keys []recipient.RowKey) (rows map[recipient.RowKey][]byte, asOf int64, err error)
	// OptOuts returns the opt-outs in force for each of the subjects, in order, and the last position of each partition
	// that has one of the subjects: the answer is true as of exactly these positions. A partition without events has
	// none, nor has one whose rows do not fit. It reads the folds, by which messages are decided.
	OptOuts(ctx context.Context, tenant string, subjects []event.Pseudonym) (stand [][]reading.OptOut, asOf []event.Position, err error)
}

// Progress says how far the views are, and ProgressAge bounds how old it is where other processes write.
type Progress = progress.Progress

// ProgressAge is progress.Age.
const ProgressAge = progress.Age

// FoldsSuffix is what the name of the folder of an SQLite file's folds has more than that of the file. The two are moved and removed
// together.
const FoldsSuffix = localfolds.Suffix

// engine is what differs between SQLite and PostgreSQL: how the views are written.
type engine interface {
	// begin starts a transaction that may write these batches.
	begin(batches []*ledger.Batch) (tx, error)
	reset(p event.Partition) error
	// doubt marks a partition that was folded up to next or further as one whose rows do not fit.
	doubt(p event.Partition, next int64) error
	// away reports whether an error says that the database cannot be reached or takes no writes,
	// and not that something in particular cannot be written.
	away(err error) bool
	// note remembers, for Health, how a write ended.
	note(err error)
	close() error
}

func newDB(o Options) (*DB, error) {
	if o.Partitions < 1 {
		return nil, errors.New("open the views: the number of partitions is missing")
	}
	g := progress.New()
	d := &DB{
		reader: &reader{},
		writer: &writer{
			progress:  g,
			reference: o.Reference,
			queue:     make(chan op, orDefault(o.Queue, 64)),
			cache:     recent.New(orDefault(o.Cache, 8192)),
			desk:      desk.NewWriter(),
			pruned:    map[event.Partition]time.Time{},
		},
		Tracker: g,
		o:       o,
		began:   time.Now(),
	}
	d.Checker = newChecker(d)
	d.Reader = desk.NewReader(func() *sql.DB { return d.read }, d.do, func() bool { return d.pg != nil }, d.latest)
	return d, nil
}

// Close commits what is queued and closes the database. A later Write is answered with ErrClosed.
func (d *DB) Close() error {
	d.Checker.End()
	if !d.writer.finish() {
		return nil
	}
	if d.watcher != nil {
		d.watcher.close()
	}
	return d.engine.close()
}

// Health says whether the database can be reached and takes writes, since when that is so, and if
// not, why, in words without addresses and secrets. It knows the result of the last attempt, and
// makes none. SQLite is always well.
func (d *DB) Health() (ok bool, since time.Time, detail string) {
	if d.pg != nil {
		if gone := d.pg.gone.Load(); gone != nil {
			return false, *gone, "tables of the views are missing: they were dropped. Restart the nodes: a start makes the views anew from the ledger"
		}
		return d.pg.client.Health()
	}
	return true, d.began, ""
}

func orDefault(n, or int) int {
	if n == 0 {
		return or
	}
	return n
}

// WaitChange returns when the message's status is not from (at once, if it is another already),
// or with ctx's error. The error is reading.ErrNotFound if the tenant has no such message yet. It
// is woken like WaitFor.
func (d *DB) WaitChange(ctx context.Context, tenant string, id event.ID, from recipient.Status) error {
	changed, forget := d.WaitForChange(id, from)
	defer forget()
	// Read the message only now that the waiter is registered: a commit in between is then seen
	// by one of the two.
	m, err := d.Message(ctx, tenant, id)
	if err != nil || m.Status != from {
		return err
	}
	d.Waits()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ErrOtherLedger means that the views are of another ledger than the one of Options.Ledger. Nothing in them
// was changed.
var ErrOtherLedger = viewmarks.ErrOtherLedger

// Known reads which ledger these views are of, and how far they have read it.
func (d *DB) Known(ctx context.Context) (k ledger.Known, err error) {
	err = d.view(ctx, "read which ledger the views are of", func(ctx context.Context, tx *sql.Tx) error {
		k, err = viewmarks.Read(ctx, tx, func(string) (bool, error) { return true, nil })
		return err
	})
	return k, err
}

// ReadKnown is DB.Known for an SQLite database of views that was opened without OpenSQLite, and perhaps
// cannot be written. Views of an older version, which did not record the ledger's id, have "". A database
// that is empty knows nothing.
func ReadKnown(db *sql.DB) (ledger.Known, error) {
	ctx := context.Background()
	k, err := viewmarks.Read(ctx, db, viewmarks.HasSQLite(ctx, db))
	if err == nil {
		err = unchanged(ctx, db, k)
	}
	if err != nil {
		return k, fmt.Errorf("read what the views know of their ledger: %w", err)
	}
	return k, nil
}

// unchanged returns an error if a mark is not what these views wrote.
func unchanged(ctx context.Context, db *sql.DB, k ledger.Known) error {
	rows, err := db.QueryContext(ctx, `SELECT partition, `+viewsums.Columns+` FROM partitions WHERE next > 0`) //nolint:gosec // the columns are ours
	if err != nil {
		return nil //nolint:nilerr // views of an older version have no such columns, and empty ones no such table
	}
	defer rows.Close()
	for rows.Next() {
		var p event.Partition
		var s viewsums.Stored
		if err := rows.Scan(append([]any{&p}, s.Into()...)...); err != nil {
			return err
		}
		if !s.Sealed(k.Ledger, p, k.Heads[p]) {
			return fmt.Errorf("the mark of partition %s was not written by these views: it was changed, or their write-ahead file is another's", p)
		}
	}
	return rows.Err()
}

func millis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// orNull returns an id's bytes; NULL for the zero ID.
func orNull(id event.ID) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

func toID(b []byte) (id event.ID) {
	copy(id[:], b)
	return id
}
