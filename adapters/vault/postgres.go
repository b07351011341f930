package vault

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/migrations"
)

const (
	// postgresConns is how many connections the vault of a node has at most. Calls wait for a
	// free one, within their own time.
	postgresConns = 4
	// probeEvery is after how long without a call the vault asks PostgreSQL whether it answers.
	probeEvery = 2 * time.Second
	// createWithin times Options.Timeout is how long the making of a vault may take: it waits for
	// other nodes that make it at the same time.
	createWithin = 6
	// createLock is the advisory lock under which the vault is made and migrated.
	createLock = 0x43485654_43524541 // "CHVTCREA"
)

// schema is the PostgreSQL schema of the vault, with the migrations that make its tables.
var schema = postgres.Schema{Name: "chirograph_vault", Files: migrations.Vault, Lock: createLock}

// OpenPostgres opens the vault that the nodes of a cluster share, in the schema chirograph_vault
// of the database at url (postgres://…, as libpq reads it). Each node has the same master key in
// a file of its own, as described at Open. With Options.Create, the node that makes the vault
// makes its master key file too, and the other nodes must be given that file. If two nodes make
// the vault at the same moment, one vault results.
//
// If PostgreSQL cannot be reached, OpenPostgres and each method return an error within
// Options.Timeout. Broken connections, and connections to a server that has become a standby, are
// replaced when they are needed. If several nodes want the same key at once, it is made once and
// all of them use it. ctx ends only this call.
func OpenPostgres(ctx context.Context, url, masterKeyFile string, o Options) (*Vault, error) {
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	client, err := postgres.Open(url, postgres.Options{Name: "chirograph vault", Connect: o.Timeout, Statement: o.Timeout, Idle: o.Timeout,
		Durable: true, Conns: postgresConns, Probe: probeEvery, Closed: errClosed})
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	p := &shared{client: client, db: client.DB(), timeout: o.Timeout}
	p.asked = postgres.NewGather(mostSecrets, p.askSecrets)
	v, err := p.open(ctx, masterKeyFile, o)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("vault in PostgreSQL: %w", err)
	}
	v.start(o)
	return v, nil
}

// shared is the store of a vault in PostgreSQL, which the nodes of a cluster share.
type shared struct {
	client  *postgres.Client
	db      *sql.DB // the client's
	timeout time.Duration
	// asked makes the look-ups of secrets that come at about the same time share a statement.
	asked *postgres.Gather[event.ID, []byte]
}

// mostSecrets is how many look-ups of secrets share a statement.
const mostSecrets = 256

func (p *shared) open(ctx context.Context, masterKeyFile string, o Options) (v *Vault, err error) {
	format, err := p.format(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case format == 0 && !o.Create:
		return nil, tag(ErrUnmade, "there is no vault in this database: restore it from its backup; a new one would open nothing that was sealed before")
	case format == 0:
		if err := p.create(ctx, masterKeyFile, o); err != nil {
			return nil, err
		}
	case format < formatVersion || format > rotatedFormat:
		return nil, laterFormat(format)
	}
	if err := p.client.Do(ctx, createWithin*p.timeout, func(ctx context.Context) error { return p.client.Migrate(ctx, schema) }); err != nil {
		return nil, err
	}
	v = newVault(masterFiles(masterKeyFile)...)
	v.db, v.store, v.notes, v.rotation = p.db, p, sharedNotes{p}, sharedRotation{p}
	v.log.Store(o.Log)
	keys, err := readMasters(v.ring.files)
	if err != nil {
		return nil, err
	}
	if err := p.addMasters(ctx); err != nil {
		return nil, err
	}
	if err := v.readMeta(ctx, keys, o); err != nil {
		return nil, err
	}
	return v, v.loadMissing(ctx)
}

// format is the format of the vault; 0 if there is no vault: no table, or no row in any table, as
// after a crash in create.
func (p *shared) format(ctx context.Context) (format int, err error) {
	keys := false
	err = p.do(ctx, func(ctx context.Context) error {
		err := p.db.QueryRowContext(ctx, "SELECT format FROM chirograph_vault.meta").Scan(&format)
		if errors.Is(err, sql.ErrNoRows) {
			format = 0
			err = p.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM chirograph_vault.subjects)").Scan(&keys)
		}
		if postgres.Undefined(err) {
			format, err = 0, nil
		}
		return err
	})
	if keys {
		return 0, errors.New("the vault in this database has keys, and the row is missing under which they are wrapped: restore it from its backup")
	}
	return format, err
}

// create makes the tables, the master key, and the one row that makes them a vault. It holds a
// lock, so that of several nodes only one makes the vault, and no other node makes a master key
// that does not fit. A crash leaves a whole vault, or none: the next call takes over a master key
// or tables that are there.
func (p *shared) create(ctx context.Context, masterKeyFile string, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, createWithin*p.timeout)
	defer cancel()
	return p.client.Explain(p.client.Alone(ctx, createLock, func(ctx context.Context, conn *pgx.Conn) error {
		if format, err := p.format(ctx); err != nil || format != 0 {
			return err // another node has made it
		}
		key, err := masterKey(masterKeyFile, o)
		if key, err = masterOfCopy(masterFiles(masterKeyFile), o, key, err); err != nil {
			return err
		}
		if err := sameMaster(key, o.CopyOf); err != nil {
			return err
		}
		if _, err := p.client.MigrateOn(ctx, conn, schema); err != nil {
			return err
		}
		pseudonym, digest := newMeta(key, o)
		// One statement, so that a crash leaves no vault without its ledger.
		_, err = conn.Exec(ctx, `WITH l AS (INSERT INTO chirograph_vault.ledger (id) SELECT $5::text WHERE $5::text <> '' ON CONFLICT DO NOTHING),
			m AS (INSERT INTO chirograph_vault.masters (number, key_check, pseudonym, digest, wraps) VALUES (0, $2::bytea, $3::bytea, $4::bytea, 2)
				ON CONFLICT (number) DO UPDATE SET key_check = excluded.key_check, pseudonym = excluded.pseudonym, digest = excluded.digest, wraps = excluded.wraps)
			INSERT INTO chirograph_vault.meta (format, key_check, pseudonym, digest) VALUES ($1, $2::bytea, $3::bytea, $4::bytea)`, formatVersion, key.check, pseudonym, digest, o.Ledger)
		return err
	}), 0)
}

// do runs f, possibly twice, and returns within the time-out.
func (p *shared) do(ctx context.Context, f func(context.Context) error) error {
	return p.client.Do(ctx, p.timeout, f)
}

func (p *shared) health() (ok bool, since time.Time, detail string) { return p.client.Health() }

func (p *shared) close() error { return p.client.Close() }

func (p *shared) secret(ctx context.Context, id event.ID) (box []byte, err error) {
	err = p.do(ctx, func(ctx context.Context) (err error) {
		if box, err = p.asked.Ask(ctx, id); err == nil && box == nil {
			err = sql.ErrNoRows
		}
		return err
	})
	return box, err
}

// askSecrets answers calls of secret; nil for a secret that is missing.
func (p *shared) askSecrets(ctx context.Context, all []event.ID) ([][]byte, error) {
	ids, at := make([][]byte, len(all)), make(map[event.ID][]int, len(all))
	for i := range all {
		ids[i] = all[i][:]
		at[all[i]] = append(at[all[i]], i)
	}
	boxes := make([][]byte, len(all))
	err := sqlrows.Query(ctx, p.db, "SELECT id, secret FROM chirograph_vault.subjects WHERE id = ANY ($1)", []any{ids}, func(scan func(...any) error) error {
		var id, box []byte
		err := scan(&id, &box)
		if err == nil && len(id) == len(event.ID{}) {
			for _, i := range at[event.ID(id)] {
				boxes[i] = box
			}
		}
		return err
	})
	return boxes, err
}

// addMasters adds the master key of a vault that a program of before has made since the table is there.
func (p *shared) addMasters(ctx context.Context) error {
	return p.do(ctx, func(ctx context.Context) error {
		_, err := p.db.ExecContext(ctx, `INSERT INTO chirograph_vault.masters (number, key_check, pseudonym, digest, wraps)
			SELECT 0, key_check, pseudonym, digest, 2 FROM chirograph_vault.meta WHERE NOT EXISTS (SELECT FROM chirograph_vault.masters) ON CONFLICT DO NOTHING`)
		return err
	})
}

func (p *shared) addSecrets(ctx context.Context, secrets []subjectSecret) error {
	if len(secrets) == 0 {
		return nil
	}
	ids, boxes := make([][]byte, len(secrets)), make([][]byte, len(secrets))
	for i := range secrets {
		ids[i], boxes[i] = secrets[i].id[:], secrets[i].box
	}
	under := secrets[0].under
	return p.tx(ctx, under, len(secrets), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO chirograph_vault.subjects (id, secret, master)
			SELECT id, secret, $3::integer FROM unnest($1::bytea[], $2::bytea[]) AS new (id, secret) ON CONFLICT DO NOTHING`, ids, boxes, under)
		return err
	})
}

func (p *shared) secrets(ctx context.Context, after, upTo event.ID, max int) (out []subjectSecret, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		rows, err := p.db.QueryContext(ctx, "SELECT id, secret, master FROM chirograph_vault.subjects WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3", after[:], upTo[:], max)
		if err != nil {
			return err
		}
		out, err = scanSecrets(rows)
		return err
	})
	return out, err
}

func (p *shared) class(ctx context.Context, k classKey) (box []byte, err error) {
	err = p.do(ctx, func(ctx context.Context) error {
		return p.db.QueryRowContext(ctx, "SELECT key FROM chirograph_vault.classes WHERE tenant = $1 AND class = $2", k.tenant, k.class).Scan(&box)
	})
	return box, err
}

func (p *shared) addClass(ctx context.Context, k classKey, box wrappedKey) error {
	return p.tx(ctx, box.under, 1, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO chirograph_vault.classes (tenant, class, key, master) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", k.tenant, k.class, box.box, box.under)
		return err
	})
}

func (p *shared) classes(ctx context.Context) (out map[classKey][]byte, err error) {
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
