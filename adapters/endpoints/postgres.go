package endpoints

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
	"github.com/chirograph/chirograph/migrations"
)

const (
	// timeout bounds each use of PostgreSQL, with connecting, and so each transaction.
	timeout = 5 * time.Second
	// setUpWithin times the timeout bounds the making of the schema, which waits for other nodes that make it.
	setUpWithin = 6
	// conns is how many connections a node has at most.
	conns = 4
	// probeEvery is after how long without a call PostgreSQL is asked whether it answers.
	probeEvery = 2 * time.Second
	// schemaName is the schema, and schemaLock the advisory lock under which it is made and changed ("ChWhSCHE").
	schemaName = "chirograph_webhooks"
	schemaLock = 0x43685768_53434845
)

// here is now by the database's clock, in microseconds. It is the beginning of the transaction: so a lease ends early
// rather than late.
const here = `(extract(epoch FROM now()) * 1000000)::bigint`

// OpenPostgres opens the store that the nodes of a cluster share, for the ledger with that short id, in the database at url
// (postgres://…, as libpq reads it). It makes the schema, or brings it to this version; several nodes may do so at once. What a method
// wrote is as durable as the server's synchronous_commit=on. ctx ends only this call. Each method returns within
// 5 s for each transaction: Delete and Prune may take several.
//
// The error is ErrOtherLedger where the schema is another ledger's. An error that is a ledger.ErrRefused says that PostgreSQL does
// not answer.
func OpenPostgres(ctx context.Context, url, of string) (*Store, error) {
	return openPostgres(ctx, url, of, timeout)
}

func openPostgres(ctx context.Context, url, of string, within time.Duration) (*Store, error) {
	// A node that is frozen in a transaction would keep an endpoint's row from the others.
	client, err := postgres.Open(url, options("chirograph webhooks", within, within/2))
	if err != nil {
		return nil, fmt.Errorf("webhooks: %w", err)
	}
	e := &postgresEngine{client: client, within: within, holder: newHolder()}
	made, err := e.setUp(ctx, of)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("the webhooks in PostgreSQL: %w", away(err))
	}
	return &Store{engine: e, made: made}, nil
}

func options(name string, within, idle time.Duration) postgres.Options {
	return postgres.Options{Name: name, Connect: within, Statement: within, Idle: idle, Durable: true, Conns: conns, Probe: probeEvery, Closed: errClosed,
		BeforeConnect: func(c *pgx.ConnConfig) { c.RuntimeParams["search_path"] = schemaName }}
}

// postgresEngine is the schema that the nodes of a cluster share.
type postgresEngine struct {
	client *postgres.Client
	within time.Duration
	holder []byte
}

func (e *postgresEngine) setUp(ctx context.Context, of string) (made bool, err error) {
	schema := postgres.Schema{Name: schemaName, Files: migrations.Webhooks, Lock: schemaLock}
	var v postgres.Versions
	// First ask, within the time of one call, whether there is a server.
	if err := e.client.Do(ctx, e.within, func(ctx context.Context) (err error) { v, err = e.client.Versions(ctx, schema); return err }); err != nil {
		return false, err
	}
	if err := e.client.Do(ctx, setUpWithin*e.within, func(ctx context.Context) error { return e.client.Migrate(ctx, schema) }); err != nil {
		return false, err
	}
	return v.Have == 0, e.write(ctx, func(ctx context.Context, q querier, _ bool) error {
		if err := checkVersion(ctx, q); err != nil {
			return err
		}
		// Of nodes that start together one notes the ledger; the others see it.
		if err := belong(ctx, q, of); err != nil {
			return err
		}
		return belong(ctx, q, of)
	})
}

// away makes an error that PostgreSQL does not answer a ledger.ErrRefused, under its own text.
func away(err error) error {
	if postgres.Away(err) && !errors.Is(err, ledger.ErrRefused) {
		return &refusal{err}
	}
	return err
}

// refusal is an error with its own text that is also a ledger.ErrRefused.
type refusal struct{ error }

// Unwrap is for errors.Is.
func (r *refusal) Unwrap() []error { return []error{ledger.ErrRefused, r.error} }

func (e *postgresEngine) health() (bool, time.Time, string) { return e.client.Health() }

func (e *postgresEngine) close() error { return e.client.Close() }

func (e *postgresEngine) read(ctx context.Context, f func(ctx context.Context, q querier) error) error {
	err := e.client.Do(ctx, e.within, func(ctx context.Context) error { return f(ctx, e.client.DB()) })
	if errors.Is(err, errClosed) {
		return ledger.Refused(err)
	}
	return away(err)
}

func (e *postgresEngine) write(ctx context.Context, f func(ctx context.Context, q querier, repeat bool) error) error {
	doubt := false // a commit was begun, and it is not known how it ended
	err := e.client.Do(ctx, e.within, func(ctx context.Context) error {
		tx, err := e.client.DB().BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		if err := f(ctx, tx, doubt); err != nil {
			return err
		}
		doubt = true
		return tx.Commit()
	})
	switch {
	case err == nil || doubt:
		return err
	case errors.Is(err, errClosed):
		return ledger.Refused(err)
	}
	return away(err)
}

// bytesOf are ids as PostgreSQL takes them.
func bytesOf(ids []event.ID) [][]byte {
	out := make([][]byte, len(ids))
	for i := range ids {
		out[i] = ids[i][:]
	}
	return out
}

func (e *postgresEngine) standing(ctx context.Context, q querier, w []notify.Write) (map[event.ID]standing, error) {
	ids := make([][]byte, len(w))
	for i := range w {
		ids[i] = w[i].Endpoint[:]
	}
	// All who lock several use the same order, so that none waits for one that waits for it.
	rows, err := q.QueryContext(ctx, `SELECT endpoint, number, last, CASE WHEN holder = $2 THEN lease ELSE 0 END FROM progress WHERE endpoint = ANY ($1::bytea[]) ORDER BY endpoint FOR UPDATE`, ids, e.holder)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	have := make(map[event.ID]standing, len(w))
	for rows.Next() {
		var id []byte
		var s standing
		if err := rows.Scan(&id, &s.number, &s.last, &s.lease); err != nil {
			return nil, err
		}
		have[event.ID(id)] = s
	}
	return have, rows.Err()
}

// columns are rows of batches, a column each.
type columns struct {
	bodies                                      [][]byte
	owner, first, was, size, open, dead, newest []int64
}

func columnsOf(rows []row) (c columns) {
	for i := range rows {
		r := &rows[i]
		c.owner, c.bodies = append(c.owner, r.number), append(c.bodies, orEmpty(r.Body))
		c.first, c.was = append(c.first, r.First), append(c.was, int64(r.was))
		c.size, c.open, c.dead = append(c.size, int64(r.Count)), append(c.open, int64(r.Open)), append(c.dead, int64(r.Dead))
		c.newest = append(c.newest, micros(r.Newest))
	}
	return c
}

func (e *postgresEngine) apply(ctx context.Context, q querier, p *plan) error {
	if len(p.added) > 0 {
		c := columnsOf(p.added)
		if _, err := q.ExecContext(ctx, `INSERT INTO batches (owner, first, size, open, dead, newest, body)
			SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[])`,
			c.owner, c.first, c.size, c.open, c.dead, c.newest, c.bodies); err != nil {
			return err
		}
	}
	if len(p.rewritten) > 0 {
		c := columnsOf(p.rewritten)
		n, err := affected(q.ExecContext(ctx, `UPDATE batches b SET size = w.size, open = w.open, dead = w.dead, newest = w.newest, body = w.body
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[]) AS w (owner, first, was, size, open, dead, newest, body)
			WHERE b.owner = w.owner AND b.first = w.first AND b.size = w.was`, c.owner, c.first, c.was, c.size, c.open, c.dead, c.newest, c.bodies))
		if err != nil {
			return err
		}
		if n != int64(len(p.rewritten)) {
			return unfit(fmt.Sprintf("one of %d batches", len(p.rewritten)))
		}
	}
	if len(p.progress) == 0 {
		return nil
	}
	var cursors [][]byte
	var numbers, last, failing []int64
	for i := range p.progress {
		r := &p.progress[i]
		numbers, cursors = append(numbers, r.number), append(cursors, orEmpty(r.Cursor))
		last, failing = append(last, r.Last), append(failing, micros(r.Failing))
	}
	_, err := q.ExecContext(ctx, `UPDATE progress p SET feed_cursor = w.feed_cursor, last = w.last, failing = w.failing
		FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[]) AS w (number, feed_cursor, last, failing) WHERE p.number = w.number`, numbers, cursors, last, failing)
	return err
}

func (e *postgresEngine) lease(ctx context.Context, q querier, ids []event.ID, want int, d time.Duration) ([]notify.Lease, error) {
	held, err := keepLeases(ctx, e, q, `SELECT endpoint, lease FROM progress WHERE holder = $1 ORDER BY endpoint FOR UPDATE`, e.holder, want)
	if err != nil {
		return nil, err
	}
	if len(held) > 0 {
		// All that is left of them is kept.
		if _, err := q.ExecContext(ctx, `UPDATE progress SET lease_until = `+here+` + $2::bigint WHERE holder = $1`, e.holder, d.Microseconds()); err != nil {
			return nil, err
		}
	}
	if want == len(held) || len(ids) == 0 {
		return held, nil
	}
	// Nodes that take leases at the same time pass over each other's.
	rows, err := q.QueryContext(ctx, `UPDATE progress SET lease = lease + 1, holder = $1, lease_until = `+here+` + $2::bigint WHERE endpoint = ANY (ARRAY (
		SELECT endpoint FROM progress WHERE endpoint = ANY ($3::bytea[]) AND holder <> $1 AND (holder = '' OR lease_until <= `+here+`)
		ORDER BY endpoint LIMIT $4 FOR UPDATE SKIP LOCKED)) RETURNING endpoint, lease`, e.holder, d.Microseconds(), bytesOf(ids), want-len(held))
	if err != nil {
		return nil, err
	}
	taken, err := scanLeases(rows)
	return append(held, taken...), err
}

func (e *postgresEngine) release(ctx context.Context, q querier, ids []event.ID) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := q.ExecContext(ctx, `UPDATE progress SET holder = '', lease_until = 0 WHERE endpoint = ANY (ARRAY (
		SELECT endpoint FROM progress WHERE endpoint = ANY ($1::bytea[]) AND holder = $2 ORDER BY endpoint FOR UPDATE))`, bytesOf(ids), e.holder)
	return err
}
