package endpoints

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
	"github.com/chirograph/chirograph/migrations"
)

// applicationID marks the file as one of ours ("ChWh"), in the header of the SQLite file.
const applicationID = 0x43685768

// wholeCheck is up to how many bytes of a file are checked when it is opened. Of a larger one the endpoints and
// their progress are; a damaged batch is noticed when it is read.
const wholeCheck = 64 << 20

// OpenFile opens the store in the SQLite file at path, for the ledger with that short id, or makes it there. The file uses WAL with
// synchronous=FULL: what a method wrote is on the disk when it returns. No other process may have it open to write,
// and this process no other Store of it.
//
// The error is ErrOtherLedger for a file of another ledger, and ErrDamaged for one that cannot be read. The file then stays
// as it is; so does one that a later version has closed to this one.
func OpenFile(path, of string) (_ *Store, err error) {
	known, err := LookAt(path)
	made := errors.Is(err, fs.ErrNotExist)
	if err == nil {
		err = fit(known, of)
	}
	if err != nil && !made {
		return nil, err
	}
	if err := datafile.MakeFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	// Made here, so that at no moment others can read it.
	if err := datafile.MakeFile(path); err != nil {
		return nil, err
	}
	e := &sqliteEngine{holder: newHolder(), turn: make(chan struct{}, 1), ids: map[int]*sql.Stmt{}}
	e.state.ok, e.state.since = true, time.Now()
	defer func() {
		if err != nil {
			e.failed = true
			_ = e.close() // the first error says more
			err = fmt.Errorf("the webhooks in %s: %w", filepath.Base(path), err)
		}
	}()
	if err := e.open(path, of, made); err != nil {
		return nil, damage(err)
	}
	return &Store{engine: e, made: made}, nil
}

// fit refuses a store of another ledger. One of the ids may be unknown ("").
func fit(have, want string) error {
	if have != "" && want != "" && have != want {
		return fmt.Errorf("%w: to %s, and this is the ledger %s", ErrOtherLedger, have, want)
	}
	return nil
}

// damage makes an error of SQLite that says so an ErrDamaged.
func damage(err error) error {
	if isDamage(err) && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

func isDamage(err error) bool {
	var e *sqlite.Error
	return errors.Is(err, ErrDamaged) || errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB)
}

// sqliteEngine is an SQLite file, of which this process is the only writer.
type sqliteEngine struct {
	db, readers *sql.DB
	conn        *sql.Conn     // the writer's
	turn        chan struct{} // whose turn it is has it
	closed      bool          // under turn
	failed      bool          // it could not be opened: the file stays as it is
	holder      []byte

	ids                             map[int]*sql.Stmt // reads the progress of so many endpoints
	insertBatch, updateBatch, setTo *sql.Stmt
	take                            *sql.Stmt

	mu    sync.Mutex
	state struct {
		ok     bool
		since  time.Time
		detail string
	}
}

func dsn(path string, pragmas ...string) string {
	if runtime.GOOS == "darwin" {
		pragmas = append(pragmas, "fullfsync(1)", "checkpoint_fullfsync(1)")
	}
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(path)) + "?_pragma=" + strings.Join(pragmas, "&_pragma=")
}

func (e *sqliteEngine) open(path, of string, made bool) (err error) {
	ctx := context.Background()
	if e.db, err = sql.Open("sqlite", dsn(path, "busy_timeout(10000)", "synchronous(FULL)", "cell_size_check(1)", "temp_store(MEMORY)", "cache_size(-4096)", "wal_autocheckpoint(4000)")+"&_txlock=immediate"); err != nil {
		return err
	}
	e.db.SetMaxOpenConns(1)
	e.db.SetMaxIdleConns(1)
	if e.conn, err = e.db.Conn(ctx); err != nil {
		return err
	}
	if made {
		if _, err := e.conn.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
			return err
		}
	} else if err := e.check(ctx); err != nil {
		return err
	}
	if err := e.migrate(ctx, of); err != nil {
		return err
	}
	if made {
		if err := datafile.SyncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	// Sync what a killed process left in the write-ahead file before it is used.
	if _, err := e.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)"); err != nil {
		return err
	}
	// Each reader has its own snapshot, and never waits for the writer.
	if e.readers, err = sql.Open("sqlite", dsn(path, "busy_timeout(10000)", "query_only(1)", "cell_size_check(1)", "temp_store(MEMORY)", "cache_size(-2048)")); err != nil {
		return err
	}
	e.readers.SetMaxOpenConns(4)
	e.readers.SetMaxIdleConns(4)
	for _, x := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&e.insertBatch, `INSERT INTO batches (owner, first, size, open, dead, newest, body) VALUES ($1, $2, $3, $4, $5, $6, $7)`},
		{&e.updateBatch, `UPDATE batches SET size = $4, open = $5, dead = $6, newest = $7, body = $8 WHERE owner = $1 AND first = $2 AND size = $3`},
		{&e.setTo, `UPDATE progress SET feed_cursor = $2, last = $3, failing = $4 WHERE number = $1`},
		{&e.take, `UPDATE progress SET lease = lease + 1, holder = $2 WHERE endpoint = $1 AND holder <> $2 RETURNING lease`},
	} {
		if *x.stmt, err = e.conn.PrepareContext(ctx, x.text); err != nil {
			return err
		}
	}
	return nil
}

// check refuses a file that is damaged, and one that a later program has closed to this one.
func (e *sqliteEngine) check(ctx context.Context) error {
	var pages, size int64
	if err := e.conn.QueryRowContext(ctx, "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size").Scan(&pages, &size); err != nil {
		return err
	}
	checks := []string{"PRAGMA quick_check(1)"}
	if pages*size > wholeCheck {
		checks = []string{"PRAGMA quick_check('endpoints')", "PRAGMA quick_check('progress')", "PRAGMA quick_check('changes')"}
	}
	for _, text := range checks {
		var said string
		if err := e.conn.QueryRowContext(ctx, text).Scan(&said); err != nil {
			return err
		}
		if said != "ok" {
			return fmt.Errorf("%w: %s", ErrDamaged, strings.ReplaceAll(said, "\n", " "))
		}
	}
	return checkVersion(ctx, e.conn)
}

func checkVersion(ctx context.Context, q querier) error {
	var version int
	if err := q.QueryRowContext(ctx, "SELECT version FROM version").Scan(&version); err != nil {
		return err
	}
	if version > knownVersion {
		return fmt.Errorf("the webhooks were written by a later version of Chirograph (theirs is %d, this one knows %d): run that version", version, knownVersion)
	}
	return nil
}

// migrate makes the tables that the file does not have, and notes whose it is. Each migration is a transaction, and the
// first makes the file one of ours: a crash leaves a whole store, or none.
func (e *sqliteEngine) migrate(ctx context.Context, of string) error {
	var have int64
	if err := e.conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	names, err := fs.Glob(migrations.Webhooks, "*.sql") // in the order of their numbers
	if err != nil {
		return err
	}
	for _, name := range names {
		number, err := strconv.ParseInt(regexp.MustCompile(`^\d+`).FindString(name), 10, 64)
		if err != nil || number <= have {
			continue
		}
		text, err := fs.ReadFile(migrations.Webhooks, name)
		if err != nil {
			return err
		}
		if err := e.inTx(func(tx *sql.Tx) error {
			_, err := tx.Exec(fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; ", applicationID, number) + rowids(text))
			if err == nil && have == 0 && number == 1 && of != "" {
				_, err = tx.Exec("INSERT INTO ledger (id) VALUES ($1)", of)
			}
			return err
		}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return e.inTx(func(tx *sql.Tx) error { return belong(ctx, tx, of) })
}

// rowids is a migration in which the keys that are numbers are SQLite's own keys of rows, which need no index.
func rowids(text []byte) string {
	return strings.ReplaceAll(string(text), "bigint PRIMARY KEY", "integer PRIMARY KEY")
}

// belong notes whose a store is that does not say it, and refuses one of another ledger.
func belong(ctx context.Context, q querier, of string) error {
	var have string
	err := q.QueryRowContext(ctx, "SELECT id FROM ledger").Scan(&have)
	if errors.Is(err, sql.ErrNoRows) {
		if err = nil; of != "" {
			_, err = q.ExecContext(ctx, "INSERT INTO ledger (id) VALUES ($1) ON CONFLICT (one) DO NOTHING", of)
		}
		return err
	}
	if err != nil {
		return err
	}
	return fit(have, of)
}

// inTx runs f in a transaction of the writer. It has the turn, or no other can.
func (e *sqliteEngine) inTx(f func(tx *sql.Tx) error) error {
	return sqlrows.InTx(context.Background(), e.conn, f)
}

// note remembers for health how a call ended. Damage is for good; anything else ends with the next write that succeeds.
func (e *sqliteEngine) note(err error, wrote bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &e.state
	var of *sqlite.Error
	disk := false
	if errors.As(err, &of) {
		switch of.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
			disk = true
		}
	}
	switch {
	case err == nil && wrote && !s.ok && s.detail != damagedDetail:
		s.ok, s.since, s.detail = true, time.Now(), ""
	case isDamage(err) && s.detail != damagedDetail:
		s.ok, s.since, s.detail = false, time.Now(), damagedDetail
	case disk && s.ok:
		s.ok, s.since, s.detail = false, time.Now(), fmt.Sprintf("webhooks.db cannot be written or read (SQLite's code %d): look at the disk", of.Code())
	}
}

const damagedDetail = "webhooks.db is damaged: stop the node and restore the file from a backup, or move it away and add the endpoints again"

func (e *sqliteEngine) health() (ok bool, since time.Time, detail string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state.ok, e.state.since, e.state.detail
}

func (e *sqliteEngine) read(ctx context.Context, f func(ctx context.Context, q querier) error) error {
	err := f(ctx, e.readers)
	e.note(err, false)
	return refused(err)
}

// refused makes an error of SQLite a ledger.ErrRefused: what it is of did not happen.
func refused(err error) error {
	var of *sqlite.Error
	if errors.As(err, &of) || errors.Is(err, sql.ErrConnDone) {
		return ledger.Refused(damage(err))
	}
	return err
}

func (e *sqliteEngine) write(ctx context.Context, f func(ctx context.Context, q querier, repeat bool) error) error {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return ledger.Refused(ctx.Err())
	}
	defer func() { <-e.turn }()
	if e.closed {
		return ledger.Refused(errClosed)
	}
	// A statement that has another context needs a goroutine that waits for its end. They are short.
	within := context.Background()
	tx, err := e.conn.BeginTx(within, nil)
	if err == nil {
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		err = f(within, writer{e.conn}, false)
	}
	if err != nil {
		e.note(err, false)
		return refused(err)
	}
	err = tx.Commit()
	e.note(err, true)
	return err
}

// writer is the writer's connection, in a transaction.
type writer struct{ *sql.Conn }

// prepared is the statement that reads the progress of n endpoints.
func (e *sqliteEngine) prepared(ctx context.Context, n int) (*sql.Stmt, error) {
	if s := e.ids[n]; s != nil {
		return s, nil
	}
	s, err := e.conn.PrepareContext(ctx, `SELECT endpoint, number, last, CASE WHEN holder = ? THEN lease ELSE 0 END FROM progress WHERE endpoint IN (?`+strings.Repeat(", ?", n-1)+`)`) //nolint:gosec // only placeholders are added
	if err == nil {
		e.ids[n] = s
	}
	return s, err
}

// mostIDs is how many endpoints one statement asks for; a power of two.
const mostIDs = 64

func (e *sqliteEngine) standing(ctx context.Context, _ querier, w []notify.Write) (map[event.ID]standing, error) {
	have := make(map[event.ID]standing, len(w))
	for len(w) > 0 {
		// Few statements serve every number of endpoints: the last one is asked for several times.
		some := w[:min(len(w), mostIDs)]
		w = w[len(some):]
		n := 1
		for n < len(some) {
			n *= 2
		}
		stmt, err := e.prepared(ctx, n)
		if err != nil {
			return nil, err
		}
		args := make([]any, 1, n+1)
		args[0] = e.holder
		for i := range n {
			args = append(args, some[min(i, len(some)-1)].Endpoint[:])
		}
		rows, err := stmt.QueryContext(ctx, args...)
		if err != nil {
			return nil, err
		}
		for rows.Next() {
			var id sql.RawBytes
			var s standing
			if err := rows.Scan(&id, &s.number, &s.last, &s.lease); err != nil {
				_ = rows.Close()
				return nil, err
			}
			have[event.ID(id)] = s
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, err
		}
	}
	return have, nil
}

func (e *sqliteEngine) apply(ctx context.Context, _ querier, p *plan) error {
	for i := range p.added {
		r := &p.added[i]
		if _, err := e.insertBatch.ExecContext(ctx, r.number, r.First, r.Count, r.Open, r.Dead, micros(r.Newest), orEmpty(r.Body)); err != nil {
			return err
		}
	}
	for i := range p.rewritten {
		r := &p.rewritten[i]
		n, err := affected(e.updateBatch.ExecContext(ctx, r.number, r.First, r.was, r.Count, r.Open, r.Dead, micros(r.Newest), orEmpty(r.Body)))
		if err == nil && n != 1 {
			err = unfit(fmt.Sprintf("the batch from %d on", r.First))
		}
		if err != nil {
			return err
		}
	}
	for i := range p.progress {
		r := &p.progress[i]
		if _, err := e.setTo.ExecContext(ctx, r.number, orEmpty(r.Cursor), r.Last, micros(r.Failing)); err != nil {
			return err
		}
	}
	return nil
}

// orEmpty is bytes that are not NULL.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func (e *sqliteEngine) lease(ctx context.Context, q querier, ids []event.ID, want int, _ time.Duration) (held []notify.Lease, err error) {
	if held, err = keepLeases(ctx, e, q, `SELECT endpoint, lease FROM progress WHERE holder = $1 ORDER BY endpoint`, e.holder, want); err != nil {
		return nil, err
	}
	for _, id := range ids {
		if len(held) >= want {
			break
		}
		l := notify.Lease{Endpoint: id}
		switch err := e.take.QueryRowContext(ctx, id[:], e.holder).Scan(&l.Number); {
		case err == nil:
			held = append(held, l)
		case !errors.Is(err, sql.ErrNoRows): // it is held already, or is not there
			return nil, err
		}
	}
	return held, nil
}

// keepLeases reads the leases that the holder has, releases those beyond want, and returns the others.
func keepLeases(ctx context.Context, e engine, q querier, text string, holder any, want int) ([]notify.Lease, error) {
	rows, err := q.QueryContext(ctx, text, holder)
	if err != nil {
		return nil, err
	}
	held, err := scanLeases(rows)
	if err != nil {
		return nil, err
	}
	var drop []event.ID
	for len(held) > want {
		drop = append(drop, held[len(held)-1].Endpoint)
		held = held[:len(held)-1]
	}
	return held, e.release(ctx, q, drop)
}

func scanLeases(rows *sql.Rows) (out []notify.Lease, err error) {
	defer rows.Close()
	for rows.Next() {
		var id []byte
		var l notify.Lease
		if err := rows.Scan(&id, &l.Number); err != nil {
			return nil, err
		}
		l.Endpoint = event.ID(id)
		out = append(out, l)
	}
	return out, rows.Err()
}

func (e *sqliteEngine) release(ctx context.Context, q querier, ids []event.ID) error {
	for _, id := range ids {
		if _, err := q.ExecContext(ctx, `UPDATE progress SET holder = x'' WHERE endpoint = $1 AND holder = $2`, id[:], e.holder); err != nil {
			return err
		}
	}
	return nil
}

// close leaves the file whole by itself, without its -wal.
func (e *sqliteEngine) close() error {
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	if e.closed {
		return nil
	}
	e.closed = true
	var err error
	if e.readers != nil {
		err = e.readers.Close()
	}
	for _, stmt := range append(slices.Collect(maps.Values(e.ids)), e.insertBatch, e.updateBatch, e.setTo, e.take) {
		if stmt != nil {
			err = errors.Join(err, stmt.Close())
		}
	}
	if e.conn != nil {
		if !e.failed {
			_, e := e.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
			err = errors.Join(err, e)
		}
		err = errors.Join(err, e.conn.Close())
	}
	if e.db != nil {
		err = errors.Join(err, e.db.Close())
	}
	return err
}
