package sqldb

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// times bound everything that waits for PostgreSQL.
type times struct {
	// connect bounds the making of a connection to one of the hosts, unless the URL
	// says connect_timeout.
	connect time.Duration
	// statement is how long the server lets one statement run, its wait for locks
	// included, unless the URL says statement_timeout.
	statement time.Duration
	// idle is how long the server keeps a transaction whose client says nothing: a node
	// that is frozen amid one holds its partitions up for that long and no longer.
	idle time.Duration
	// read bounds a query of a caller as a whole, and write a transaction of the
	// writer, connecting included.
	read, write time.Duration
	// hold is how long a switch may keep the writers waiting. It is less than
	// statement, so that they wait and do not fail.
	hold time.Duration
	// grace is for how long after a switch the former rows stay, for readers that have
	// not looked since.
	grace time.Duration
}

var standard = times{connect: 5 * time.Second, statement: 10 * time.Second, idle: 5 * time.Second,
	read: 10 * time.Second, write: 20 * time.Second, hold: 8 * time.Second, grace: 5 * ProgressAge}

// readers is how many connections answer queries. A node has one more for its writer,
// and two more while it starts.
const readers = 8

// OpenPostgres opens the views in a PostgreSQL database, or makes them. The URL is
// libpq's (postgresql.org/docs/current/libpq-connect.html, §34.1), with TLS and
// everything else as it says there; with several hosts it should say
// target_session_attrs=primary, and a pooler in between must give out whole
// sessions. The database is encoded in UTF-8, and the user may create schemas in it,
// the first time and for a rebuild. Nodes that start together migrate once: one does,
// and the others wait for it.
//
// The views live in a schema of their own, chirograph_views_1 and so on, which the
// one row of chirograph.current_views names (see Rebuild). Each process may project
// any partition. Where two project the same one, its rows stay right, for what one
// has committed the other leaves out.
//
// A commit waits for the disk of the primary (synchronous_commit=local, unless the
// URL says otherwise) and not for replicas. All of it can be made again from the log;
// but what a process has written and then dropped from memory it must find, so a
// crash of the server should not take back what was answered. A failover may: then
// rows and mark have gone back together, the next batch does not follow, and its
// partition is read again from the mark.
//
// While PostgreSQL is away, queries and writes fail, at once where it refuses, and
// after 10 s (queries) and 20 s (writes) where it says nothing. Connections are made
// again when they are next needed.
func OpenPostgres(ctx context.Context, url string, o Options) (*DB, error) {
	return openPostgres(ctx, url, o, standard)
}

func openPostgres(ctx context.Context, url string, o Options, t times) (*DB, error) {
	p, err := newPostgres(url, t)
	if err != nil {
		return nil, err
	}
	if err := p.setUp(ctx); err != nil {
		return nil, fmt.Errorf("open the views: %w", clean(err))
	}
	return p.open(ctx, o)
}

// postgres is the engine of a database that several processes write to.
type postgres struct {
	config *pgx.ConnConfig // without a schema
	times  times
	// schema is the number of the schema that is read and written. It only grows: the
	// writer and the watcher move it, and connections of another are made anew.
	schema atomic.Int64
	// pinned: it is a schema that is being made, and stays.
	pinned bool

	// Of the watcher.
	waiting  chan struct{}
	seen     map[event.Partition]int64
	stop     context.CancelFunc
	watching sync.WaitGroup

	writer pgWriter
}

func newPostgres(url string, t times) (*postgres, error) {
	c, err := pgx.ParseConfig(url)
	if err != nil { // its text may have the password in it
		return nil, errors.New("the address of PostgreSQL cannot be read: write it as postgres://user@host:5432/database?sslmode=verify-full, or as libpq's words")
	}
	c.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = t.connect
		// Keep-alive finds out within two minutes that a server is gone which this end
		// only listens to.
		c.DialFunc = (&net.Dialer{Timeout: t.connect}).DialContext
	}
	for _, x := range []struct{ name, value string }{
		{"application_name", "chirograph"},
		{"synchronous_commit", "local"}, // see OpenPostgres
		{"statement_timeout", milliseconds(t.statement)},
		{"idle_in_transaction_session_timeout", milliseconds(t.idle)},
		{"jit", "off"}, // compiling costs more than any query here
	} {
		if _, said := c.RuntimeParams[x.name]; !said {
			c.RuntimeParams[x.name] = x.value
		}
	}
	return &postgres{config: c, times: t, waiting: make(chan struct{}, 1)}, nil
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// schemaName is the schema of a number.
func schemaName(n int64) string { return "chirograph_views_" + strconv.FormatInt(n, 10) }

func schemaNumber(name string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimPrefix(name, "chirograph_views_"), 10, 64)
	if err != nil || schemaName(n) != name {
		return 0, fmt.Errorf("the views are said to be in the schema %.60q, which is none of Chirograph's: set chirograph.current_views right", name)
	}
	return n, nil
}

// follow moves over to a schema, and reports whether that is another. Connections to
// the one before serve out what they began.
func (p *postgres) follow(name string) bool {
	n, err := schemaNumber(name)
	if err != nil || p.pinned {
		return false
	}
	for {
		was := p.schema.Load()
		if n <= was { // older news
			return false
		}
		if p.schema.CompareAndSwap(was, n) {
			return true
		}
	}
}

// lockSetUp is the advisory lock of whoever creates, migrates or switches schemas;
// lockRebuild is held as long as a rebuild lasts. ("Chirogr" and a number.)
const (
	lockSetUp   = 0x43686972_6f677201
	lockRebuild = 0x43686972_6f677202
)

// setUp makes the schemas, or brings them up to date.
func (p *postgres) setUp(ctx context.Context) error {
	conn, err := p.connectToWait(ctx)
	if err != nil {
		return err
	}
	defer closeConn(conn) // and the lock goes with it, whatever becomes of this process
	var encoding string
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_encoding')`).Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database is encoded in %s, which cannot hold every text: create one with ENCODING 'UTF8'", encoding)
	}
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(lockSetUp)); err != nil {
		return err
	}
	var there bool
	if err := conn.QueryRow(ctx, `SELECT to_regclass('chirograph.current_views') IS NOT NULL`).Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := conn.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS chirograph`); err != nil {
			return permitted(err)
		}
		if _, err := conn.Exec(ctx, `CREATE TABLE chirograph.current_views (name text NOT NULL, one boolean PRIMARY KEY DEFAULT true CHECK (one))`); err != nil {
			return permitted(err)
		}
	}
	var name string
	err = conn.QueryRow(ctx, `SELECT name FROM chirograph.current_views`).Scan(&name)
	first := errors.Is(err, pgx.ErrNoRows)
	switch {
	case first:
		name = schemaName(1)
		if _, err := conn.Exec(ctx, `CREATE SCHEMA IF NOT EXISTS `+name); err != nil {
			return permitted(err)
		}
	case err != nil:
		return err
	}
	n, err := schemaNumber(name)
	if err != nil {
		return err
	}
	if err := p.migrate(ctx, n); err != nil {
		return err
	}
	p.schema.Store(n)
	if first {
		_, err = conn.Exec(ctx, `INSERT INTO chirograph.current_views (name) VALUES ($1)`, name)
	}
	return err
}

func permitted(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" {
		return fmt.Errorf("the user may not create schemas in this database (GRANT CREATE ON DATABASE): %w", err)
	}
	return err
}

// storage is how the tables are stored. It says nothing about what they hold, so it
// is no migration. Rows are rewritten a few times within seconds, so a page keeps
// room for that: an update that changes no indexed column then stays on it and
// leaves the indexes alone. Folds and messages of a few KB stay in their row,
// uncompressed.
const storage = `
	ALTER TABLE partitions SET (fillfactor = 20);
	ALTER TABLE streams SET (fillfactor = 80, toast_tuple_target = 8160);
	ALTER TABLE messages SET (fillfactor = 90, toast_tuple_target = 8160);
	ALTER TABLE streams ALTER COLUMN state SET STORAGE EXTERNAL;
	ALTER TABLE messages ALTER COLUMN doc SET STORAGE EXTERNAL`

// migrate brings a schema up to what this program knows.
func (p *postgres) migrate(ctx context.Context, n int64) error {
	db := p.migrating(n)
	defer db.Close()
	if err := migrate(ctx, db, goose.DialectPostgres); err != nil {
		return err
	}
	var stored bool
	if err := db.QueryRowContext(ctx, `SELECT reloptions IS NOT NULL FROM pg_class WHERE oid = 'messages'::regclass`).Scan(&stored); err != nil || stored {
		return err
	}
	_, err := db.ExecContext(ctx, storage) // as one transaction
	return err
}

// behind reports whether a schema has migrations that this program does not know.
func (p *postgres) behind(ctx context.Context, n int64) (bool, error) {
	db := p.migrating(n)
	defer db.Close()
	g, err := provider(goose.DialectPostgres, db)
	if err != nil {
		return false, err
	}
	have, err := g.GetDBVersion(ctx)
	sources := g.ListSources()
	return have > sources[len(sources)-1].Version, err
}

// migrating is for goose: one schema, and no bound but the caller's.
func (p *postgres) migrating(n int64) *sql.DB {
	config := p.config.Copy()
	config.RuntimeParams["search_path"] = schemaName(n)
	config.RuntimeParams["statement_timeout"] = "0"
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	return stdlib.OpenDB(*config)
}

func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // what is left of it, the server ends
}

// inSchema is where a connection keeps the number of its schema.
const inSchema = "chirograph.schema"

// open starts a database over a schema that is set up.
func (p *postgres) open(ctx context.Context, o Options) (_ *DB, err error) {
	d, err := newDB(o)
	if err != nil {
		return nil, err
	}
	d.engine, d.pg = p, p
	p.writer = pgWriter{p: p, cache: d.cache, left: map[event.Partition]left{}}
	d.read = stdlib.OpenDB(*p.config,
		stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
			c.RuntimeParams = maps.Clone(c.RuntimeParams) // it is everybody's
			c.RuntimeParams["search_path"] = schemaName(p.schema.Load())
			return nil
		}),
		stdlib.OptionAfterConnect(func(_ context.Context, c *pgx.Conn) error {
			n, err := schemaNumber(c.Config().RuntimeParams["search_path"])
			c.PgConn().CustomData()[inSchema] = n
			return err
		}),
		stdlib.OptionResetSession(func(_ context.Context, c *pgx.Conn) error {
			// A connection serves one schema, so that no snapshot ever sees two.
			if c.PgConn().CustomData()[inSchema] != p.schema.Load() {
				return driver.ErrBadConn
			}
			return nil
		}))
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	d.read.SetConnMaxIdleTime(5 * time.Minute)
	if err := d.stmt.prepare(ctx, d.read, true); err != nil {
		d.read.Close()
		return nil, fmt.Errorf("open the views: %w", clean(err))
	}
	var watching context.Context
	watching, p.stop = context.WithCancel(context.Background())
	if err := d.look(ctx); err != nil {
		p.stop()
		d.read.Close()
		return nil, fmt.Errorf("open the views: %w", clean(err))
	}
	d.wg.Go(d.writer)
	p.watching.Go(func() { d.watch(watching) })
	return d, nil
}

func (p *postgres) close() error {
	if p.writer.conn != nil {
		closeConn(p.writer.conn)
	}
	return nil
}

// readOnly is the code of a server that takes no writes: a standby, or one that was
// a primary.
const readOnly = "25006"

// away: connections (08), resources (53), the operator (57), a lock (55P03), time or
// nothing at all stood in the way (PostgreSQL 15, appendix A).
func (p *postgres) away(err error) bool {
	if err == nil {
		return false
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "53") || strings.HasPrefix(pg.Code, "57") || pg.Code == "55P03" || pg.Code == readOnly
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded)
}

// undefined reports whether a table is not there (42P01), or its schema (3F000).
func undefined(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000")
}

// clean gives an error of the connection a text without addresses and names.
func clean(err error) error {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	text := "PostgreSQL does not answer"
	switch {
	case errors.As(err, &connect):
		text = "PostgreSQL cannot be reached"
	case errors.As(err, &network):
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, pgconn.ErrConnClosed):
		text = "the connection to PostgreSQL broke"
	default:
		return err
	}
	switch {
	case errors.As(err, &pg):
		text += ": " + pg.Message + " (SQLSTATE " + pg.Code + ")"
	case errors.As(err, &certificate):
		text += ": its certificate was refused"
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout():
		text += " in time"
	case network != nil:
		text += ": " + network.Err.Error()
	}
	return &quiet{text, err}
}

// quiet is an error under another text.
type quiet struct {
	text string
	err  error
}

func (e *quiet) Error() string { return e.text }

// Unwrap: whoever reads is told that nothing was done; a writer reads its mark again
// whatever the error.
func (e *quiet) Unwrap() []error { return []error{ledger.ErrRefused, e.err} }
