package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/chirograph/chirograph/domain/event"
)

const (
	// postgresConns is how many connections a node's vault has at most. Statements
	// wait for one within their own time-out.
	postgresConns = 4
	// probeEvery is after how much silence PostgreSQL is asked whether it is there.
	probeEvery = 2 * time.Second
	// createLock is the advisory lock under which the vault is made.
	createLock = 0x43485654_43524541 // "CHVTCREA"
)

// OpenPostgres opens the vault in schema chirograph_vault of the database at url
// (postgres://…, as pgx reads it), which the nodes of a cluster share. Each node has
// the same master key in a file of its own, as Open describes it; with Options.Create
// the node that makes the vault makes that file too, and the others are given it. Two
// nodes that make it at the same moment make one vault.
//
// PostgreSQL away is an error within Options.Timeout, from here and from each method;
// connections that broke are replaced when they are needed. A key that several nodes
// want at once is made once and used by all. ctx ends this call only.
func OpenPostgres(ctx context.Context, url, masterKeyFile string, o Options) (*Vault, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		// What pgx says quotes the URL.
		return nil, errors.New("vault: the PostgreSQL URL cannot be read: write it as postgres://user@host:5432/database")
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	if cfg.ConnectTimeout <= 0 || cfg.ConnectTimeout > o.Timeout {
		cfg.ConnectTimeout = o.Timeout
	}
	set := func(name, value string) {
		if _, ok := cfg.RuntimeParams[name]; !ok {
			cfg.RuntimeParams[name] = value
		}
	}
	cfg.RuntimeParams["synchronous_commit"] = "on"
	set("application_name", "chirograph vault")
	// A statement that we have given up does not go on there.
	set("statement_timeout", strconv.FormatInt(o.Timeout.Milliseconds(), 10))
	p := &postgres{db: stdlib.OpenDB(*cfg), timeout: o.Timeout, ok: true, since: time.Now(), probed: make(chan struct{})}
	p.db.SetMaxOpenConns(postgresConns)
	p.db.SetMaxIdleConns(postgresConns)
	p.ctx, p.stop = context.WithCancel(context.Background())
	v, err := p.open(ctx, masterKeyFile, o)
	if err != nil {
		p.stop()
		p.db.Close()
		return nil, fmt.Errorf("vault in PostgreSQL: %w", err)
	}
	v.start()
	go p.probe()
	return v, nil
}

func (p *postgres) open(ctx context.Context, masterKeyFile string, o Options) (v *Vault, err error) {
	exists, err := p.exists(ctx)
	if err != nil {
		return nil, err
	}
	if !exists && !o.Create {
		return nil, errors.New("there is no vault in this database: restore it from its backup; a new one would open nothing that was sealed before")
	}
	if !exists {
		if err := p.create(ctx, masterKeyFile, o); err != nil {
			return nil, err
		}
	}
	master, err := masterKey(masterKeyFile, o, true)
	if err != nil {
		return nil, err
	}
	defer clear(master)
	v = newVault(master)
	v.db, v.store = p.db, p
	if err := v.sameMaster(o.CopyOf); err != nil {
		return nil, err
	}
	var format int
	var check, pseudonym, digest []byte
	if err := p.do(ctx, func(ctx context.Context) error {
		return p.db.QueryRowContext(ctx, "SELECT format, key_check, pseudonym, digest FROM chirograph_vault.meta").Scan(&format, &check, &pseudonym, &digest)
	}); err != nil {
		return nil, err
	}
	if format != formatVersion {
		return nil, laterFormat(format)
	}
	return v, v.readMeta(check, pseudonym, digest, o)
}

// metaExists reads the catalogue itself: to_regclass may remember what another node
// changed meanwhile.
const metaExists = "EXISTS (SELECT FROM pg_tables WHERE schemaname = 'chirograph_vault' AND tablename = 'meta')"

func (p *postgres) exists(ctx context.Context) (exists bool, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		return p.db.QueryRowContext(ctx, "SELECT "+metaExists).Scan(&exists)
	})
	return exists, err
}

// create makes the tables, and the master key, in one transaction under a lock: of
// nodes that come together one makes the vault, and no other makes a master key that
// would not fit it. A crash leaves a new vault or none.
func (p *postgres) create(ctx context.Context, masterKeyFile string, o Options) error {
	var refused error // for a reason that is not the database's
	err := p.do(ctx, func(ctx context.Context) error {
		tx, err := p.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(createLock)); err != nil {
			return err
		}
		var schema, made bool
		if err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'chirograph_vault'), "+metaExists).Scan(&schema, &made); err != nil || made {
			return err
		}
		var master []byte
		if master, refused = masterKey(masterKeyFile, o, false); refused != nil {
			return nil
		}
		defer clear(master)
		v := newVault(master)
		if refused = v.sameMaster(o.CopyOf); refused != nil {
			return nil
		}
		if !schema { // a role that may make none is given one
			if _, err := tx.ExecContext(ctx, "CREATE SCHEMA chirograph_vault"); err != nil {
				return err
			}
		}
		for _, text := range []string{
			"CREATE TABLE chirograph_vault.meta (format integer NOT NULL, key_check bytea NOT NULL, pseudonym bytea NOT NULL, digest bytea NOT NULL)",
			"CREATE TABLE chirograph_vault.subjects (id bytea PRIMARY KEY, secret bytea NOT NULL)",
			"CREATE TABLE chirograph_vault.classes (tenant text NOT NULL, class text NOT NULL, key bytea NOT NULL, PRIMARY KEY (tenant, class))",
		} {
			if _, err := tx.ExecContext(ctx, text); err != nil {
				return err
			}
		}
		pseudonym, digest := v.newMeta(o)
		if _, err := tx.ExecContext(ctx, "INSERT INTO chirograph_vault.meta VALUES ($1, $2, $3, $4)", formatVersion, v.check, pseudonym, digest); err != nil {
			return err
		}
		return tx.Commit()
	})
	return errors.Join(err, refused)
}

// postgres is the store that the nodes of a cluster share.
type postgres struct {
	db      *sql.DB
	timeout time.Duration

	ctx    context.Context // ends with the vault
	stop   context.CancelFunc
	probed chan struct{} // closed when the prober has ended

	mu    sync.Mutex
	ok    bool
	since time.Time
	last  time.Time // when it was heard of
	why   error
}

// do runs what may be run twice, and again where it only met a connection that was
// broken before: after a restart of PostgreSQL, each that was idle. It returns
// within the time-out.
func (p *postgres) do(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	var err error
	for range postgresConns + 1 {
		if err = f(ctx); err == nil || !broken(err) || ctx.Err() != nil {
			break
		}
	}
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows):
		p.note(nil)
		return err
	case p.ctx.Err() != nil:
		return errClosed
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled // the caller's doing
	}
	err = explain(err, p.timeout)
	p.note(err)
	return err
}

// broken reports that a connection ended under a statement, rather than that none
// could be made or that the statement failed.
func broken(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code == "57P01" || server.Code == "57P02" // admin_shutdown, crash_shutdown
	}
	var connect *pgconn.ConnectError
	return !errors.Is(err, sql.ErrNoRows) && !errors.As(err, &connect)
}

// explain says what PostgreSQL or the way to it did, in words for the operator and
// without the connection string, which pgx quotes.
func explain(err error, timeout time.Duration) error {
	var server *pgconn.PgError
	var network *net.OpError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &server):
		return fmt.Errorf("PostgreSQL says: %s (SQLSTATE %s)", server.Message, server.Code)
	case errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err):
		return fmt.Errorf("PostgreSQL did not answer within %v", timeout)
	case errors.As(err, &network):
		return fmt.Errorf("PostgreSQL cannot be reached: %w", network)
	case errors.As(err, &connect):
		return errors.New("PostgreSQL cannot be reached: " + strings.ReplaceAll(connect.Unwrap().Error(), "\n", "; "))
	}
	return fmt.Errorf("the connection to PostgreSQL broke: %w", err)
}

func (p *postgres) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	if ok := err == nil; ok != p.ok {
		p.ok, p.since = ok, p.last
	}
	p.why = err
}

func (p *postgres) health() (ok bool, since time.Time, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why != nil {
		detail = p.why.Error()
	}
	return p.ok, p.since, detail
}

// probe asks when nobody else does: a node that is not ready gets no requests that
// would find out that it could be.
func (p *postgres) probe() {
	defer close(p.probed)
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
		}
		p.mu.Lock()
		quiet := time.Since(p.last) >= probeEvery
		p.mu.Unlock()
		if quiet {
			_ = p.do(p.ctx, func(ctx context.Context) error { return p.db.PingContext(ctx) }) // noted
		}
	}
}

func (p *postgres) close() error {
	p.stop()
	<-p.probed
	return p.db.Close()
}

func (p *postgres) secret(ctx context.Context, id event.ID) (box []byte, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		return p.db.QueryRowContext(ctx, "SELECT secret FROM chirograph_vault.subjects WHERE id = $1", id[:]).Scan(&box)
	})
	return box, err
}

// addSecrets is one statement, and so one transaction.
func (p *postgres) addSecrets(ctx context.Context, secrets []subjectSecret) error {
	ids, boxes := make([][]byte, len(secrets)), make([][]byte, len(secrets))
	for i := range secrets {
		ids[i], boxes[i] = secrets[i].id[:], secrets[i].box
	}
	return p.do(ctx, func(ctx context.Context) error {
		_, err := p.db.ExecContext(ctx, `INSERT INTO chirograph_vault.subjects (id, secret)
			SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING`, ids, boxes)
		return err
	})
}

func (p *postgres) secrets(ctx context.Context, after, upTo event.ID, max int) (out []subjectSecret, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, "SELECT id, secret FROM chirograph_vault.subjects WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3", after[:], upTo[:], max)
		if err != nil {
			return err
		}
		out, err = scanSecrets(rows)
		return err
	})
	return out, err
}

func (p *postgres) class(ctx context.Context, k classKey) (box []byte, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		return p.db.QueryRowContext(ctx, "SELECT key FROM chirograph_vault.classes WHERE tenant = $1 AND class = $2", k.tenant, k.class).Scan(&box)
	})
	return box, err
}

func (p *postgres) addClass(ctx context.Context, k classKey, box []byte) error {
	return p.do(ctx, func(ctx context.Context) error {
		_, err := p.db.ExecContext(ctx, "INSERT INTO chirograph_vault.classes (tenant, class, key) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", k.tenant, k.class, box)
		return err
	})
}

func (p *postgres) classes(ctx context.Context) (out map[classKey][]byte, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, "SELECT tenant, class, key FROM chirograph_vault.classes")
		if err != nil {
			return err
		}
		out, err = scanClasses(rows)
		return err
	})
	return out, err
}
