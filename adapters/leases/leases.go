// Package leases is what the nodes of a cluster share in PostgreSQL beside the views
// and the vault: which idempotency key stands for which message, and how much of a
// carrier account each node may use. It has a schema of its own, chirograph_cluster.
//
// Neither is part of the ledger, and no promise rests on it but two: a key that was
// reserved stays reserved, because a reservation is durable before it is told
// (synchronous_commit=on), and what the nodes may use of an account together is
// never more than the account has, as long as their clocks run equally fast.
package leases

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/migrations"
)

const (
	// timeout bounds each use of PostgreSQL, connecting included, and so each call.
	timeout = 5 * time.Second
	// setUpWithin bounds the making of the schema, which waits for the other nodes that
	// are at it.
	setUpWithin = 30 * time.Second
	// conns is how many connections a node has at most: reservations, pruning, the
	// renewal of leases and the question whether PostgreSQL is there have one each.
	conns = 4
	// probeEvery is after how long without a call PostgreSQL is asked whether it is there.
	probeEvery = 2 * time.Second
	// idleInTransaction is when PostgreSQL ends a transaction whose node does not go on
	// with it: a node that is frozen in one would keep the accounts' rows from the others.
	idleInTransaction = 2 * time.Second
	// schemaLock is the advisory lock under which the schema is made and changed.
	schemaLock = 0x4368436C_53434845 // "ChClSCHE"
	// knownVersion is what this program knows of chirograph_cluster.version. It is not a
	// migration's number: see migrations/leases.
	knownVersion = 1
)

// Database is a node's way to what it shares with the others. It is a
// ledger.Reservations. All methods may be called from any goroutine.
type Database struct {
	client *postgres.Client
	db     *sql.DB // the client's
	timing timing

	ctx  context.Context // ends with the database
	stop context.CancelFunc
	wg   sync.WaitGroup

	queue chan *request
}

var _ ledger.Reservations = (*Database)(nil)

var errClosed = errors.New("the cluster's database is closed")

// Open opens the schema in the database at url (postgres://…, as libpq reads it), or
// makes it, or brings it to this version; nodes may do so at the same moment. A
// schema that a later version keeps from this one is refused. ctx ends this call only.
func Open(ctx context.Context, url string) (*Database, error) {
	// A renewal that finds the first host silent has time for another.
	client, err := postgres.Open(url, postgres.Options{Name: "chirograph cluster", Connect: attempt, Statement: timeout, Idle: idleInTransaction,
		Durable: true, Conns: conns, Probe: probeEvery, Closed: errClosed})
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	d := &Database{
		client: client, db: client.DB(),
		timing: timing{lease: lease, every: renewEvery, retry: retryAfter, margin: margin, attempt: attempt},
		queue:  make(chan *request, maxWaiting),
	}
	if err := d.setUp(ctx); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("cluster: %w", err)
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	d.wg.Go(d.reserver)
	d.wg.Go(d.pruner)
	return d, nil
}

// Close ends what is under way, and returns within a few seconds also where
// PostgreSQL does not answer. Who waits for a reservation is refused. Calls of
// Shares must have ended before.
func (d *Database) Close() error {
	d.stop()
	err := d.client.Close()
	d.wg.Wait()
	return err
}

// Health says whether PostgreSQL answers, since when it does or does not, and if not,
// why, in words for the operator without addresses and names. It is asked every two
// seconds at least, so this returns at once.
func (d *Database) Health() (ok bool, since time.Time, detail string) { return d.client.Health() }

// setUp makes the schema or brings it up to date, and reads whether this version may
// use it.
func (d *Database) setUp(ctx context.Context) error {
	// First of all, within the time of a call, whether there is a server.
	if err := d.client.Do(ctx, timeout, d.db.PingContext); err != nil {
		return err
	}
	if err := d.client.Do(ctx, setUpWithin, func(ctx context.Context) error {
		return d.client.Migrate(ctx, postgres.Schema{Name: "chirograph_cluster", Files: migrations.Leases, Lock: schemaLock})
	}); err != nil {
		return err
	}
	var version int
	if err := d.client.Do(ctx, timeout, func(ctx context.Context) error {
		return d.db.QueryRowContext(ctx, "SELECT version FROM chirograph_cluster.version").Scan(&version)
	}); err != nil {
		return err
	}
	if version > knownVersion {
		return fmt.Errorf("the schema chirograph_cluster was made by a later version of Chirograph (theirs is %d, this one knows %d): run that version", version, knownVersion)
	}
	return nil
}
