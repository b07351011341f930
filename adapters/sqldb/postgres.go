package sqldb

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/internal/folds"
	"github.com/chirograph/chirograph/adapters/internal/lookups"
	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/adapters/internal/recent"
	"github.com/chirograph/chirograph/adapters/internal/viewmarks"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// times bound every wait for PostgreSQL.
type times struct {
	// connect bounds the making of a connection to one host, unless the URL says connect_timeout.
	connect time.Duration
	// statement is how long the server lets one statement run, with its wait for locks, unless
	// the URL says statement_timeout.
	statement time.Duration
	// idle is how long the server keeps a transaction in which the client does nothing: for so
	// long a node that is frozen in one can hold up its partitions.
	idle time.Duration
	// read bounds a caller's query as a whole; write bounds a transaction of the writer, with
	// connecting.
	read, write time.Duration
	// hold is how long a switch may make the writers wait. It is less than statement, so that
	// their statements wait and do not fail.
	hold time.Duration
	// grace is how long after a switch the former rows stay, for readers that do not know of it
	// yet.
	grace time.Duration
}

var standard = times{connect: 5 * time.Second, statement: 10 * time.Second, idle: 5 * time.Second,
	read: 10 * time.Second, write: 20 * time.Second, hold: 8 * time.Second, grace: 5 * ProgressAge}

// readers is how many connections answer queries. A node has one more for its writer,
// and two more while it starts.
const readers = 8

// OpenPostgres opens the views in a PostgreSQL database, or makes them. The URL is libpq's
// (postgresql.org/docs/current/libpq-connect.html, §34.1), with TLS and everything else as
// described there. With several hosts it should say target_session_attrs=primary. A pooler in
// between must give out whole sessions. The database's encoding is UTF-8, and the user may create
// schemas in it, which happens the first time and for a rebuild. If several nodes start together,
// one migrates and the others wait for it.
//
// The views are in a schema of their own (chirograph_views_1 and so on), which the one row of
// chirograph.current_views names (see Rebuild). Each process may project any partition. If two
// project the same one, its rows stay right, because each leaves out what the other has
// committed.
//
// A commit waits for the disk of the primary (synchronous_commit=local, unless the URL says
// otherwise), and not for replicas. Everything can be made anew from the log, but a process must
// find what it has written and then dropped from memory, so a crash of the server should lose
// nothing that was committed. A failover may lose some. Then rows and mark are both from an
// earlier commit, the next batch does not follow the mark, and the partition is read once more
// from the mark.
//
// While PostgreSQL cannot be reached, queries and writes fail: at once if it refuses, and after
// 10 s (queries) or 20 s (writes) if it is silent. Connections are made anew when they are
// needed.
func OpenPostgres(ctx context.Context, url string, o Options) (*DB, error) {
	return openPostgres(ctx, url, o, standard)
}

func openPostgres(ctx context.Context, url string, o Options, t times) (*DB, error) {
	p, err := newPgEngine(url, t)
	if err != nil {
		return nil, err
	}
	if err := p.setUp(ctx, o.Ledger); err != nil {
		_ = p.client.Close()
		return nil, fmt.Errorf("open the views: %w", p.explain(err))
	}
	return p.open(ctx, o)
}

// pgEngine is the engine of PostgreSQL, to which several processes write.
type pgEngine struct {
	client *postgres.Client
	url    string
	times  times
	// schema is the number of the schema that is read and written. It only grows. The writer and
	// the watcher change it, and connections to another schema are then made anew.
	schema atomic.Int64
	// pinned says that the schema is being made by a rebuild, and does not change.
	pinned bool

	writer pgWriter
	// gone is since when tables of the views are missing; nil while a query found them.
	gone atomic.Pointer[time.Time]
}

func newPgEngine(url string, t times) (*pgEngine, error) {
	p := &pgEngine{url: url, times: t}
	client, err := postgres.Open(url, postgres.Options{Name: "chirograph", Connect: t.connect, Statement: t.statement, Idle: t.idle,
		Conns: readers, Closed: ErrClosed, BeforeConnect: p.intoSchema, Usable: p.inSchema})
	if err != nil {
		return nil, err
	}
	p.client = client
	return p, nil
}

// do runs a query, possibly twice, within its time. Its result is not used for Health, since the
// writer and the watcher tell more about the server.
func (p *pgEngine) do(ctx context.Context, query func(context.Context) error) error {
	err := p.client.Try(ctx, p.times.read, query)
	switch {
	case err == nil:
		p.gone.Store(nil)
	case postgres.Undefined(err):
		now := time.Now()
		p.gone.CompareAndSwap(nil, &now)
	}
	return refused(err)
}

// explain returns an error with a text without addresses and names.
func (p *pgEngine) explain(err error) error { return refused(p.client.Explain(err, 0)) }

// refused makes an error on the way to PostgreSQL a ledger.ErrRefused. For a reader that says
// that nothing was done. A writer reads its mark once more whatever the error is.
func refused(err error) error {
	if postgres.Away(err) && !errors.Is(err, ledger.ErrRefused) {
		return &refusal{err}
	}
	return err
}

// refusal is an error with its own text that is also a ledger.ErrRefused.
type refusal struct{ error }

// Unwrap is for errors.Is.
func (r *refusal) Unwrap() []error { return []error{ledger.ErrRefused, r.error} }

// schemaName is the name of the schema with a number.
func schemaName(n int64) string { return "chirograph_views_" + strconv.FormatInt(n, 10) }

func schemaNumber(name string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(name, "chirograph_views_"), 10, 64)
	if err != nil || schemaName(n) != name {
		return 0, fmt.Errorf("the views are said to be in the schema %.60q, which is none of Chirograph's: set chirograph.current_views right", name)
	}
	return n, nil
}

// follow changes to the schema with that name, and reports whether that is a newer one.
// Connections to the former schema finish what they are doing.
func (p *pgEngine) follow(name string) bool {
	n, err := schemaNumber(name)
	if err != nil || p.pinned {
		return false
	}
	for {
		was := p.schema.Load()
		if n <= was { // this is the schema in use, or an older one
			return false
		}
		if p.schema.CompareAndSwap(was, n) {
			return true
		}
	}
}

// lockSetUp is the advisory lock of a process that creates, migrates or switches schemas.
// lockRebuild is held as long as a rebuild lasts. ("Chirogr" and a number.)
const (
	lockSetUp   = 0x43686972_6f677201
	lockRebuild = 0x43686972_6f677202
)

// setUp makes the schemas, or brings them up to date. ledger is Options.Ledger.
func (p *pgEngine) setUp(ctx context.Context, ledger string) error {
	return p.client.Alone(ctx, lockSetUp, func(ctx context.Context, conn *pgx.Conn) error {
		var encoding string
		if err := conn.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
			return err
		}
		if encoding != "UTF8" {
			return fmt.Errorf("the database is encoded in %s, which cannot hold every text: create one with ENCODING 'UTF8'", encoding)
		}
		name, first, err := p.currentOrFirst(ctx, conn)
		if err != nil {
			return err
		}
		n, err := schemaNumber(name)
		if err != nil {
			return err
		}
		if err := p.migrate(ctx, conn, n, ledger); err != nil {
			return err
		}
		p.schema.Store(n)
		if first {
			_, err = conn.Exec(ctx, `INSERT INTO chirograph.current_views (name) VALUES ($1)`, name)
		}
		return err
	})
}

// currentOrFirst reads which schema the views are in. first says that there are none yet, and
// that they are to be made in this schema.
func (p *pgEngine) currentOrFirst(ctx context.Context, conn *pgx.Conn) (name string, first bool, err error) {
	var there bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass('chirograph.current_views') IS NOT NULL`).Scan(&there); err != nil {
		return "", false, err
	}
	if !there {
		for _, text := range []string{`CREATE SCHEMA IF NOT EXISTS chirograph`,
			`CREATE TABLE chirograph.current_views (name text NOT NULL, one boolean PRIMARY KEY DEFAULT true CHECK (one))`} {
			if _, err := conn.Exec(ctx, text); err != nil {
				return "", false, p.client.Permitted(err)
			}
		}
	}
	err = conn.QueryRow(ctx, `SELECT name FROM chirograph.current_views`).Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return schemaName(1), true, nil
	}
	return name, false, err
}

// storage says how PostgreSQL stores the tables. It does not change what they hold, so it is no
// migration. A row is rewritten a few times within seconds. So each page keeps some room: an
// update that changes no indexed column then stays on its page and changes no index. Folds and
// messages of a few KB stay in their row, uncompressed.
const storage = `
	ALTER TABLE partitions SET (fillfactor = 20);
	ALTER TABLE streams SET (fillfactor = 80, toast_tuple_target = 8160);
	ALTER TABLE messages SET (fillfactor = 90, toast_tuple_target = 8160);
	ALTER TABLE streams ALTER COLUMN state SET STORAGE EXTERNAL;
	ALTER TABLE messages ALTER COLUMN doc SET STORAGE EXTERNAL`

// tablesOf are the tables of the views in a schema, and their migrations.
func tablesOf(n int64) postgres.Schema {
	return postgres.Schema{Name: schemaName(n), Files: migrationFiles, Lock: lockSetUp}
}

// migrate makes a schema, or brings it up to the newest migration that this program knows. conn
// has the lock. Only ctx bounds it. Views of another ledger stay as they are.
func (p *pgEngine) migrate(ctx context.Context, conn *pgx.Conn, n int64, ledger string) error {
	var have string
	err := conn.QueryRow(ctx, `SELECT id FROM `+schemaName(n)+`.ledger`).Scan(&have)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) && !postgres.Undefined(err) {
		return err
	}
	if err := viewmarks.Fit(have, ledger); err != nil {
		return err
	}
	v, err := p.client.MigrateOn(ctx, conn, tablesOf(n))
	if err != nil {
		return fmt.Errorf("migrate the views: %w", p.explain(err))
	}
	db := p.client.OpenSchema(schemaName(n))
	defer db.Close()
	if err := fits(ctx, db, v); err != nil {
		return fmt.Errorf("migrate the views: %w", p.explain(err))
	}
	if err := viewmarks.Bind(ctx, db, ledger); err != nil {
		return p.explain(err)
	}
	var stored bool
	if err := db.QueryRowContext(ctx, `SELECT reloptions IS NOT NULL FROM pg_class WHERE oid = 'messages'::regclass`).Scan(&stored); err != nil || stored {
		return err
	}
	_, err = db.ExecContext(ctx, storage) // as one transaction
	return err
}

// schemaKey is the key under which a connection keeps the number of its schema.
const schemaKey = "chirograph.schema"

// intoSchema sets the schema of a connection that is about to be made.
func (p *pgEngine) intoSchema(c *pgx.ConnConfig) {
	c.RuntimeParams["search_path"] = schemaName(p.schema.Load())
}

// inSchema reports whether a connection is to the schema in force. A connection keeps its schema
// for as long as it exists, so that no snapshot ever sees two.
func (p *pgEngine) inSchema(c *pgx.Conn) bool {
	known := c.PgConn().CustomData()
	n, there := known[schemaKey].(int64)
	if !there {
		var err error
		if n, err = schemaNumber(c.Config().RuntimeParams["search_path"]); err != nil {
			return false
		}
		known[schemaKey] = n
	}
	return n == p.schema.Load()
}

// open starts a DB over a schema that is set up.
func (p *pgEngine) open(ctx context.Context, o Options) (_ *DB, err error) {
	defer func() {
		if err != nil {
			_ = p.client.Close()
		}
	}()
	d, err := newDB(o)
	if err != nil {
		return nil, err
	}
	d.engine, d.pg, d.read = p, p, p.client.DB()
	d.asked = lookups.New(d.do)
	p.writer = pgWriter{p: p, cache: d.cache, sums: recent.NewMap[event.Pseudonym, int64](1 << 15), desk: d.writer.desk, written: map[event.Partition]written{}}
	streams := folds.New(o.Partitions, d.do, d.view, d.doubt)
	d.loader = streams
	if err := errors.Join(d.stmt.prepare(ctx, d.read, true), streams.Prepare(ctx, d.read), d.asked.Prepare(ctx, d.read)); err != nil {
		return nil, fmt.Errorf("open the views: %w", p.explain(err))
	}
	d.Waiting = make(chan struct{}, 1)
	d.watcher = &watcher{reader: d.reader, Tracker: d.Tracker}
	if err := d.watcher.look(ctx); err != nil {
		return nil, fmt.Errorf("open the views: %w", err)
	}
	d.wg.Go(d.writer.run)
	d.watcher.start()
	if p.pinned {
		return d, nil // they are being made
	}
	if err := d.Checker.Begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the views: %w", p.explain(err)), d.Close())
	}
	return d, nil
}

func (p *pgEngine) close() error {
	if p.writer.conn != nil {
		postgres.CloseConn(p.writer.conn)
	}
	return p.client.Close()
}

func (p *pgEngine) away(err error) bool { return postgres.Away(err) }

func (p *pgEngine) note(err error) { p.client.Note(err) }
