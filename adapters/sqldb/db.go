// Package sqldb keeps the views in an SQL database: the folds of the streams, the
// rows that queries read, and the positions that both came from, committed
// together. All of it can be dropped and made anew from the log.
//
// Batches of all partitions go through one writer, which merges what is queued
// into one transaction and writes one row a message and one a stream. On SQLite
// that is the only writer there is. On PostgreSQL each process has one, and they
// project different partitions, or for a while the same.
package sqldb

import (
	"database/sql"
	"errors"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// ErrClosed: the database was closed.
var ErrClosed = errors.New("the views are closed")

// Options of a database.
type Options struct {
	// Partitions is the ledger's number of recipients' partitions. Required: answers
	// by recipient name the partitions that they rest on.
	Partitions int
	// Reference returns the keyed digest of a submit's reference, which is sealed in
	// the event, and is asked only for a submit that has one. An error means that it
	// cannot be read any more (erased): the message is not found by it. Without
	// this, no message is found by its reference.
	Reference func(e *event.Event) (digest string, err error)
	// Cache is how many messages the writer remembers, so that a later event need not
	// read the row back. Default 16,384, about 3 KB each; more than the messages
	// between submit and receipt is of no use.
	Cache int
	// Queue is how many batches may wait; Write blocks while they do. Default 64.
	Queue int
}

// DB is a ledger.Views with the queries over it. All methods may be called from
// any goroutine. What it does is in three types: reader answers queries, writer
// writes, and progress knows how far the views are.
type DB struct {
	*reader
	*writer
	*progress
	o       Options
	began   time.Time
	watcher *watcher // nil on SQLite
}

var _ ledger.Views = (*DB)(nil)

// engine is what a database has of its own: how it is written.
type engine interface {
	// begin starts a transaction that may write these batches.
	begin(batches []*ledger.Batch) (tx, error)
	reset(p event.Partition) error
	// away: an error says that the database cannot be reached or takes nothing, and
	// not that something in particular cannot be written.
	away(err error) bool
	// note remembers for Health how a write ended.
	note(err error)
	close() error
}

func newDB(o Options) (*DB, error) {
	if o.Partitions < 1 {
		return nil, errors.New("open the views: the number of partitions is missing")
	}
	g := newProgress()
	return &DB{
		reader: &reader{partitions: o.Partitions},
		writer: &writer{
			progress:  g,
			reference: o.Reference,
			queue:     make(chan op, orDefault(o.Queue, 64)),
			cache:     newCache(orDefault(o.Cache, 16384)),
			pruned:    map[event.Partition]time.Time{},
		},
		progress: g,
		o:        o,
		began:    time.Now(),
	}, nil
}

// Close commits what is queued and closes the database. A Write that comes later is
// answered with ErrClosed.
func (d *DB) Close() error {
	if !d.writer.finish() {
		return nil
	}
	if d.watcher != nil {
		d.watcher.close()
	}
	return d.engine.close()
}

// Health says whether the database can be reached and takes what is written, since
// when that is so, and, when it is not, why, in words that name no address and no
// secret. It remembers the last attempt and makes none. SQLite is always well.
func (d *DB) Health() (ok bool, since time.Time, detail string) {
	if d.pg != nil {
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

const markColumns = `partition, next, hash, control, control_event, time, call_by`

// callByUnknown is for how long after its time a partition may still call a carrier
// whose row is from before call_by was stored. It bounds every call_by that was
// written until then: a start gives its carrier a minute at most.
const callByUnknown = time.Minute

func scanMark(scan func(...any) error) (p event.Partition, m ledger.Mark, err error) {
	var hash, control []byte
	var at, callBy sql.NullInt64
	if err := scan(&p, &m.Next, &hash, &m.Partition.Control, &control, &at, &callBy); err != nil {
		return p, m, err
	}
	copy(m.Hash[:], hash)
	copy(m.Partition.ControlEvent[:], control)
	m.Partition.Time = fromMillis(at)
	switch {
	case !callBy.Valid && at.Valid:
		m.Partition.CallBy = m.Partition.Time.Add(callByUnknown)
	case callBy.Int64 != 0:
		m.Partition.CallBy = fromMillis(callBy)
	}
	return p, m, nil
}

// callBy is stored as 0 when nothing was started yet: NULL is not known.
func callBy(p recipient.PartitionState) int64 {
	if p.CallBy.IsZero() {
		return 0
	}
	return p.CallBy.UnixMilli()
}

func millis(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMilli(), Valid: !t.IsZero()}
}

func fromMillis(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.UnixMilli(n.Int64).UTC()
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// orNull is an id's bytes, NULL for none.
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
