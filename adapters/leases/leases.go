// Package leases keeps what the nodes of a cluster share in PostgreSQL beside the views and the
// vault: which idempotency key belongs to which message, and how much of a carrier account each
// node may use. It has a schema of its own, chirograph_cluster. Which node serves which partition
// is not decided here: that is ledger.Placement's.
//
// Neither is part of the ledger, and only two promises depend on it. A key that was reserved
// stays reserved: a reservation is durable before the caller is told (synchronous_commit=on). And
// the nodes together never use more of an account than it has, as long as their clocks run
// equally fast.
package leases

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/migrations"
)

const (
	// timeout bounds each use of PostgreSQL, with connecting, and so each call.
	timeout = 5 * time.Second
	// setUpWithin bounds the making of the schema, which waits for other nodes that make it at
	// the same time.
	setUpWithin = 30 * time.Second
	// conns is how many connections a node has at most: one each for reservations, for pruning,
	// for the renewal of leases, and for asking whether PostgreSQL answers.
	conns = 4
	// probeEvery is after how long without a call PostgreSQL is asked whether it answers.
	probeEvery = 2 * time.Second
	// idleInTransaction is after how long PostgreSQL ends a transaction whose node does nothing
	// in it: a node that is frozen in a transaction would keep the accounts' rows from the other
	// nodes.
	idleInTransaction = 2 * time.Second
	// schemaLock is the advisory lock under which the schema is made and changed.
	schemaLock = 0x4368436C_53434845 // "ChClSCHE"
	// knownVersion is the highest chirograph_cluster.version that this program can use. It is not
	// the number of a migration: see migrations/leases.
	knownVersion = 1
)

// Database is one node's access to what the nodes share. It is a ledger.Reservations. All methods
// may be called from any goroutine.
type Database struct {
	client *postgres.Client
	db     *sql.DB // the client's
	timing timing

	ctx  context.Context // ends when the Database is closed
	stop context.CancelFunc
	wg   sync.WaitGroup

	queue chan *request

	identity string
}

var _ ledger.Reservations = (*Database)(nil)

var errClosed = errors.New("the cluster's database is closed")

// Open opens the schema in the database at url (postgres://…, as libpq reads it). It makes the
// schema, or brings it to this version, if that is needed; several nodes may do so at once. If a
// later version has closed the schema to this one, Open fails. ctx ends only this call.
func Open(ctx context.Context, url string) (*Database, error) {
	// If the first host is silent, a renewal has time to try another.
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

// Close ends what is in progress, and returns within a few seconds even if PostgreSQL does not
// answer. Callers that wait for a reservation are refused. Calls of Shares must have ended
// before.
func (d *Database) Close() error {
	d.stop()
	err := d.client.Close()
	d.wg.Wait()
	return err
}

// Health says whether PostgreSQL answers, since when that is so, and if not, why, in words for
// the operator without addresses and names. It returns at once: PostgreSQL is asked at least
// every two seconds.
func (d *Database) Health() (ok bool, since time.Time, detail string) { return d.client.Health() }

// Identity is the same for all who use this database, and another for any other database, also one into which
// a dump of this one was restored: it is made of the server's system identifier, which standbys have too, and
// the number of the database in it. It is "" where the server tells neither.
func (d *Database) Identity() string { return d.identity }

// identify reads the identity.
func (d *Database) identify(ctx context.Context) error {
	var name string
	if err := d.client.Do(ctx, timeout, func(ctx context.Context) error {
		err := d.db.QueryRowContext(ctx, `SELECT (SELECT system_identifier FROM pg_control_system()) || '-' || (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&name)
		if postgres.NotPermitted(err) {
			name, err = "", nil
		}
		return err
	}); err != nil || name == "" {
		return err
	}
	sum := sha256.Sum256([]byte(name))
	d.identity = hex.EncodeToString(sum[:8])
	return nil
}

// setUp makes the schema or brings it up to date, and checks that this version may use it.
func (d *Database) setUp(ctx context.Context) error {
	// First ask, within the time of one call, whether there is a server.
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
	return d.identify(ctx)
}
