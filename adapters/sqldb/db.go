// Package sqldb keeps the views in an SQL database: the folds of the streams, the
// rows that queries read, and the positions that both came from, committed
// together. All of it can be dropped and made again from the log.
//
// Batches of all partitions go through one writer, which merges what is queued
// into one transaction and writes one row a message and one a stream.
package sqldb

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/migrations"
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

// applicationID marks the file as ours ("ChVw") in the header of the SQLite file.
const applicationID = 0x43685677

// DB is a ledger.Views with the queries over it. All methods may be called from
// any goroutine.
type DB struct {
	o     Options
	write *sql.DB
	conn  *sql.Conn // the writer's one connection
	read  *sql.DB   // a few
	stmt  statements

	queue  chan op
	closed sync.RWMutex // held for reading while something is put into queue
	done   bool
	wg     sync.WaitGroup

	cache *cache // the writer's own
	// pruned is the partition time of the last pruning; the writer's own.
	pruned map[event.Partition]time.Time

	mu        sync.Mutex
	marks     map[event.Partition]ledger.Mark
	committed time.Time
	positions map[event.Partition][]positionWaiter
	changes   map[event.ID][]*changeWaiter
}

// OpenSQLite opens the views in the file at path, or makes them: WAL with
// synchronous=NORMAL, so a crash of the process loses nothing that was committed,
// and a power cut leaves the file consistent and perhaps a little behind. A file
// that is not ours, or is of a later version, is refused and left as it was.
// Other processes must not write to it.
func OpenSQLite(path string, o Options) (*DB, error) {
	if o.Partitions < 1 {
		return nil, errors.New("open the views: the number of partitions is missing")
	}
	fresh, err := checkFile(path)
	if err != nil {
		return nil, err
	}
	pragmas := []string{"busy_timeout(10000)"}
	if fresh {
		// In the header before anything else, and before WAL, so that no crash leaves a
		// file of ours without its mark.
		pragmas = append(pragmas, fmt.Sprintf("application_id(%d)", applicationID))
	}
	pragmas = append(pragmas, "journal_mode(WAL)", "synchronous(NORMAL)", "temp_store(MEMORY)", "cache_size(-65536)", "wal_autocheckpoint(8000)")
	d := &DB{
		o:         o,
		queue:     make(chan op, orDefault(o.Queue, 64)),
		cache:     newCache(orDefault(o.Cache, 16384)),
		pruned:    map[event.Partition]time.Time{},
		marks:     map[event.Partition]ledger.Mark{},
		positions: map[event.Partition][]positionWaiter{},
		changes:   map[event.ID][]*changeWaiter{},
	}
	if d.write, err = sql.Open("sqlite", dsn(path, pragmas)+"&_txlock=immediate"); err != nil {
		return nil, fmt.Errorf("open the views: %w", err)
	}
	d.write.SetMaxOpenConns(1)
	d.write.SetMaxIdleConns(1)
	if err := d.start(path); err != nil {
		d.write.Close()
		if d.read != nil {
			d.read.Close()
		}
		return nil, err
	}
	return d, nil
}

func (d *DB) start(path string) (err error) {
	ctx := context.Background()
	if err := migrate(ctx, d.write, goose.DialectSQLite3); err != nil {
		return err
	}
	// Readers share a snapshot with nobody and never wait for the writer.
	if d.read, err = sql.Open("sqlite", dsn(path, []string{"busy_timeout(10000)", "query_only(1)", "temp_store(MEMORY)", "cache_size(-16384)"})); err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	d.read.SetMaxOpenConns(4)
	d.read.SetMaxIdleConns(4)
	if d.conn, err = d.write.Conn(ctx); err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	if err := d.stmt.prepare(ctx, d.conn, d.read); err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	if err := d.loadMarks(ctx); err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	d.wg.Go(d.writer)
	return nil
}

// Close commits what is queued and closes the file. A Write that comes later is
// answered with ErrClosed.
func (d *DB) Close() error {
	d.closed.Lock()
	already := d.done
	if !already {
		d.done = true
		close(d.queue)
	}
	d.closed.Unlock()
	d.wg.Wait()
	if already {
		return nil
	}
	return errors.Join(d.read.Close(), d.conn.Close(), d.write.Close())
}

func orDefault(n, or int) int {
	if n == 0 {
		return or
	}
	return n
}

func dsn(path string, pragmas []string) string {
	q := url.Values{"_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// checkFile reads the SQLite header: 16 bytes of magic, and at 68 the application
// id, big-endian (sqlite.org/fileformat2.html §1.3).
func checkFile(path string) (fresh bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("open the views: %w", err)
	}
	defer f.Close()
	var header [72]byte
	switch n, err := io.ReadFull(f, header[:]); {
	case n == 0 && errors.Is(err, io.EOF):
		return true, nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return false, fmt.Errorf("open the views: %w", err)
	case string(header[:16]) != "SQLite format 3\x00":
		return false, fmt.Errorf("%s is not a database: name another file for the views, or move this one away", path)
	case binary.BigEndian.Uint32(header[68:]) != applicationID:
		return false, fmt.Errorf("%s is a database of something else, not of Chirograph's views: name another file for the views, or move this one away", path)
	}
	return false, nil
}

func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect) error {
	p, err := goose.NewProvider(dialect, db, migrations.FS, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("migrate the views: %w", err)
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("migrate the views: %w", err)
	}
	sources := p.ListSources()
	if known := sources[len(sources)-1].Version; have > known {
		return fmt.Errorf("the views were written by a later version of Chirograph (theirs is %d, this one knows %d): run that version, or remove the views and let this one rebuild them", have, known)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the views: %w", err)
	}
	return nil
}

func (d *DB) loadMarks(ctx context.Context) error {
	rows, err := d.conn.QueryContext(ctx, `SELECT partition, next, hash, control, control_event, time FROM partitions`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p event.Partition
		var m ledger.Mark
		var hash, control []byte
		var at sql.NullInt64
		if err := rows.Scan(&p, &m.Next, &hash, &m.Partition.Control, &control, &at); err != nil {
			return err
		}
		copy(m.Hash[:], hash)
		copy(m.Partition.ControlEvent[:], control)
		m.Partition.Time = fromMillis(at)
		d.marks[p] = m
	}
	return rows.Err()
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
