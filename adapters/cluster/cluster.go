// Package cluster is what the nodes of a cluster share in PostgreSQL beside the views
// and the vault: which idempotency key stands for which message, and how much of a
// carrier account each node may use. It has a schema of its own, chirograph_cluster.
//
// Neither is part of the ledger, and no promise rests on it but two: a key that was
// reserved stays reserved, because a reservation is durable before it is told
// (synchronous_commit=on), and what the nodes may use of an account together is
// never more than the account has, as long as their clocks run equally fast.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// timeout bounds each use of PostgreSQL, connecting included, and so each call.
	timeout = 5 * time.Second
	// maxConns is how many connections a node has at most. Four are in use at once; one
	// that had to be given up holds its place for up to 15 s.
	maxConns = 16
	// probeEvery is after how much silence PostgreSQL is asked whether it is there.
	probeEvery = 2 * time.Second
	// idleInTransaction is when PostgreSQL ends a transaction whose node does not go on
	// with it: a node that is frozen in one would keep the accounts' rows from the others.
	idleInTransaction = 2 * time.Second
	// schemaLock is the advisory lock under which the schema is made and changed.
	schemaLock = 0x4368436C_53434845 // "ChClSCHE"
)

// schema has the steps that lead from nothing to the schema that this version knows.
// A step that was released is never edited.
var schema = []string{`
-- Idempotency keys that were used: 16 bytes of keyed digest, and the message each
-- stands for. keep_until is milliseconds since 1970.
CREATE TABLE chirograph_cluster.reservations (
    tenant     text   NOT NULL,
    key        bytea  NOT NULL,
    message    bytea  NOT NULL,
    input      text   NOT NULL,
    keep_until bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX reservations_until ON chirograph_cluster.reservations (keep_until);

-- Carrier accounts. A row is locked while its account is divided among the nodes.
CREATE TABLE chirograph_cluster.accounts (name text PRIMARY KEY);

-- What each node holds of an account, for as long as it renews it: until is an
-- instant on this database's clock. A lease that nobody has deleted still counts.
-- Rates are thousandths of a submit a second, and no limit is 2^63-1; instants
-- are microseconds since 1970, and 0 in bound is no bind.
CREATE TABLE chirograph_cluster.leases (
    account text   NOT NULL REFERENCES chirograph_cluster.accounts,
    holder  bytea  NOT NULL, -- one run of a node
    node    text   NOT NULL, -- its name, for people
    joined  bigint NOT NULL,
    bound   bigint NOT NULL,
    rate    bigint NOT NULL, -- what it may be using now
    tps     bigint NOT NULL, -- what its configuration says
    binds   bigint NOT NULL, -- what its configuration says; 0 is any number
    until   bigint NOT NULL,
    PRIMARY KEY (account, holder)
);
`}

// Cluster is a node's way to what it shares with the others. It is a
// ledger.Reservations. All methods may be called from any goroutine.
type Cluster struct {
	pool   *pgxpool.Pool
	timing timing

	ctx  context.Context // ends with the cluster
	stop context.CancelFunc
	wg   sync.WaitGroup

	queue chan *request

	mu    sync.Mutex
	ok    bool
	since time.Time
	last  time.Time // when PostgreSQL was heard of
	why   error
}

var _ ledger.Reservations = (*Cluster)(nil)

var errClosed = errors.New("the cluster's database is closed")

// Open opens the schema in the database at url (postgres://…, as pgx reads it), or
// makes it, or brings it to this version; nodes may do so at the same moment. A
// schema of a later version is refused. ctx ends this call only.
func Open(ctx context.Context, url string) (*Cluster, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// What pgx says quotes the URL.
		return nil, errors.New("cluster: the PostgreSQL URL cannot be read: write it as postgres://user@host:5432/database")
	}
	cfg.MaxConns = maxConns
	cfg.PingTimeout = time.Second
	conn := cfg.ConnConfig
	if conn.ConnectTimeout <= 0 || conn.ConnectTimeout > timeout {
		conn.ConnectTimeout = timeout
	}
	set := func(name, value string) {
		if _, ok := conn.RuntimeParams[name]; !ok {
			conn.RuntimeParams[name] = value
		}
	}
	conn.RuntimeParams["synchronous_commit"] = "on"
	set("application_name", "chirograph cluster")
	// A statement that we have given up does not go on there.
	set("statement_timeout", strconv.FormatInt(timeout.Milliseconds(), 10))
	set("idle_in_transaction_session_timeout", strconv.FormatInt(idleInTransaction.Milliseconds(), 10))
	c := &Cluster{
		timing: timing{lease: lease, every: renewEvery, retry: retryAfter, margin: margin, attempt: attempt},
		queue:  make(chan *request, maxWaiting),
		ok:     true, since: time.Now(),
	}
	if c.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	if err := c.migrate(ctx); err != nil {
		c.stop()
		c.pool.Close()
		return nil, fmt.Errorf("cluster: %w", err)
	}
	c.wg.Go(c.reserver)
	c.wg.Go(c.prober)
	c.wg.Go(c.pruner)
	return c, nil
}

// closeWait bounds how long Close waits for connections that do not end.
const closeWait = 2 * time.Second

// Close ends what is under way, and returns within a few seconds also where
// PostgreSQL does not answer. Whoever waits for a reservation is refused. Calls of
// Shares must have ended before.
func (c *Cluster) Close() error {
	c.stop()
	c.wg.Wait()
	closed := make(chan struct{})
	go func() {
		c.pool.Close()
		close(closed)
	}()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
	}
	return nil
}

// Health says whether PostgreSQL answers, since when it does or does not, and if not,
// why, in words for the operator. It is asked every two seconds at least, so this
// returns at once.
func (c *Cluster) Health() (ok bool, since time.Time, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		detail = c.why.Error()
	}
	return c.ok, c.since, detail
}

func (c *Cluster) migrate(ctx context.Context) error {
	version := func(ctx context.Context, q interface {
		QueryRow(context.Context, string, ...any) pgx.Row
	}) (n int, err error) {
		var there bool // from the catalogue itself: to_regclass may remember what another node changed meanwhile
		if err := q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'chirograph_cluster' AND tablename = 'version')").Scan(&there); err != nil || !there {
			return 0, err
		}
		err = q.QueryRow(ctx, "SELECT version FROM chirograph_cluster.version").Scan(&n)
		return n, err
	}
	have := 0
	if err := c.do(ctx, timeout, func(ctx context.Context) (err error) {
		have, err = version(ctx, c.pool)
		return err
	}); err != nil {
		return err
	}
	if have < len(schema) {
		if err := c.do(ctx, timeout, func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) (err error) {
				if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(schemaLock)); err != nil {
					return err
				}
				if have, err = version(ctx, tx); err != nil {
					return err
				}
				if have == 0 {
					if err := c.begin(ctx, tx); err != nil {
						return err
					}
				}
				for ; have < len(schema); have++ {
					if _, err := tx.Exec(ctx, schema[have]); err != nil {
						return err
					}
				}
				_, err = tx.Exec(ctx, "UPDATE chirograph_cluster.version SET version = $1 WHERE version < $1", have)
				return err
			})
		}); err != nil {
			return err
		}
	}
	if have > len(schema) {
		return fmt.Errorf("the schema chirograph_cluster was made by a later version of Chirograph (theirs is %d, this one knows %d): run that version", have, len(schema))
	}
	return nil
}

// begin makes the schema, if the role was not given it, and the table of its version.
func (c *Cluster) begin(ctx context.Context, tx pgx.Tx) error {
	var there bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'chirograph_cluster')").Scan(&there); err != nil {
		return err
	}
	if !there {
		if _, err := tx.Exec(ctx, "CREATE SCHEMA chirograph_cluster"); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, "CREATE TABLE chirograph_cluster.version (version integer NOT NULL); INSERT INTO chirograph_cluster.version VALUES (0)")
	return err
}

// do runs what may be run twice, and once more, over a new connection, where one
// broke under it. It returns within the time given.
func (c *Cluster) do(ctx context.Context, within time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	err := f(ctx)
	if err != nil && broken(err) && ctx.Err() == nil {
		c.pool.Reset() // the others are broken too, most likely
		err = f(ctx)
	}
	switch {
	case err == nil:
		c.note(nil)
		return nil
	case c.ctx.Err() != nil:
		return errClosed
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled // the caller's doing
	}
	err = explain(err, within)
	c.note(err)
	return err
}

func (c *Cluster) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = time.Now()
	if ok := err == nil; ok != c.ok {
		c.ok, c.since = ok, c.last
	}
	c.why = err
}

// prober asks when nobody else does: a node that is not ready gets no requests that
// would find out that it could be.
func (c *Cluster) prober() {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		}
		c.mu.Lock()
		quiet := time.Since(c.last) >= probeEvery
		c.mu.Unlock()
		if quiet {
			_ = c.do(c.ctx, timeout, c.pool.Ping) // noted
		}
	}
}

// broken reports that a connection ended under a statement, or leads to a server that
// is no longer the primary, rather than that none could be made or that the statement
// failed.
func broken(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.Code {
		case "57P01", "57P02", // admin_shutdown, crash_shutdown
			"25P03", // idle_in_transaction_session_timeout
			"25006": // read_only_sql_transaction
			return true
		}
		return false
	}
	var connect *pgconn.ConnectError
	return !errors.As(err, &connect) && !errors.Is(err, errLost)
}

// explain says what PostgreSQL or the way to it did, in words for the operator and
// without the connection string, which pgx quotes.
func explain(err error, within time.Duration) error {
	var server *pgconn.PgError
	var network *net.OpError
	var connect *pgconn.ConnectError
	switch {
	case errors.Is(err, errLost), errors.Is(err, errGone):
		return err
	case errors.As(err, &server):
		return fmt.Errorf("PostgreSQL says: %s (SQLSTATE %s)", server.Message, server.Code)
	case errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err):
		return fmt.Errorf("PostgreSQL did not answer within %v", within.Round(time.Millisecond))
	case errors.As(err, &network):
		return fmt.Errorf("PostgreSQL cannot be reached: %w", network)
	case errors.As(err, &connect):
		return errors.New("PostgreSQL cannot be reached: " + strings.ReplaceAll(connect.Unwrap().Error(), "\n", "; "))
	}
	return fmt.Errorf("the connection to PostgreSQL broke: %w", err)
}
