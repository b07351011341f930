// Package endpoints keeps the endpoints of webhooks, how far each was told, and its deliveries: in an SQLite file beside
// the ledger (webhooks.db), or on a cluster in PostgreSQL, in a schema of its own (chirograph_webhooks). It is a
// notify.Store. Nothing is decided from it, and it cannot be computed from the ledger: so it is in the backup.
//
// The numbers of an endpoint's deliveries have no gap. The store holds that too: what would make a gap, or give a number
// twice, is refused.
package endpoints

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
)

var (
	// ErrOtherLedger is the error for a store that belongs to another ledger. Nothing in it was changed.
	ErrOtherLedger = errors.New("the webhooks belong to another ledger")
	// ErrDamaged is the error for a file that cannot be read, or is something else.
	ErrDamaged = errors.New("the webhooks' file is damaged")
	// ErrNumbers is the error for a write after which the numbers of an endpoint's deliveries would have a gap, or one of
	// them two deliveries. Nothing of the whole write was written.
	ErrNumbers = errors.New("the numbers of the deliveries would not be consecutive")

	errClosed = errors.New("the webhooks' store is closed")
)

const (
	// knownVersion is the highest number in the table version that this program can use.
	knownVersion = 1
	// maxBody bounds the bytes of a batch, and of an endpoint.
	maxBody = 1 << 20
	// step is how many batches one transaction removes.
	step = 256
)

// Store keeps endpoints with their progress and their deliveries. It is a notify.Store. All methods may be called from
// any goroutine. What a method returns is in memory whole: so limit bounds it, with 1 MiB for a batch at most.
//
// An error that is a ledger.ErrRefused says that nothing was written.
type Store struct {
	engine engine
	made   bool
}

var _ notify.Store = (*Store)(nil)

// querier asks, in a transaction or outside one.
type querier interface {
	sqlrows.Querier
	QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
}

// engine is SQLite or PostgreSQL.
type engine interface {
	// read runs f, which only reads, within a bound.
	read(ctx context.Context, f func(ctx context.Context, q querier) error) error
	// write runs f in a transaction, within a bound, and commits it durably. It may run f a second time, with repeat, when it is
	// not known whether the first transaction was committed.
	write(ctx context.Context, f func(ctx context.Context, q querier, repeat bool) error) error
	// standing reads, and where there are other processes locks, the progress of endpoints. What is not there is not in it.
	standing(ctx context.Context, q querier, w []notify.Write) (map[event.ID]standing, error)
	// apply writes what is planned.
	apply(ctx context.Context, q querier, p *plan) error
	// lease is Store.Lease in a transaction of write, without Until.
	lease(ctx context.Context, q querier, ids []event.ID, want int, d time.Duration) ([]notify.Lease, error)
	// release is Store.Release in a transaction of write.
	release(ctx context.Context, q querier, ids []event.ID) error
	health() (ok bool, since time.Time, detail string)
	close() error
}

// newHolder is the name of one run of a process.
func newHolder() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return b
}

// Made reports whether there was no store before it was opened.
func (s *Store) Made() bool { return s.made }

// Health says whether the store can be read and written, since when that is so, and if not, why, in words for the
// operator without personal data, addresses and names.
func (s *Store) Health() (ok bool, since time.Time, detail string) { return s.engine.health() }

// Close ends what is in progress, and the store. Calls after it fail.
func (s *Store) Close() error { return s.engine.close() }

// Changes is part of notify.Store.
func (s *Store) Changes(ctx context.Context) (n int64, err error) {
	err = s.engine.read(ctx, func(ctx context.Context, q querier) error {
		return q.QueryRowContext(ctx, `SELECT n FROM changes`).Scan(&n)
	})
	return n, err
}

// Endpoints is part of notify.Store. They are in the order of their ids.
func (s *Store) Endpoints(ctx context.Context) (all []notify.Stored, err error) {
	err = s.engine.read(ctx, func(ctx context.Context, q querier) error {
		all = nil
		return sqlrows.Query(ctx, q, `SELECT id, tenant, revision, body FROM endpoints ORDER BY id`, nil, func(scan func(...any) error) error {
			x, err := scanEndpoint(scan)
			all = append(all, x)
			return err
		})
	})
	return all, err
}

// Endpoint is part of notify.Store. The error is notify.ErrNoEndpoint if there is none.
func (s *Store) Endpoint(ctx context.Context, id event.ID) (x notify.Stored, err error) {
	err = s.engine.read(ctx, func(ctx context.Context, q querier) (err error) {
		x, err = scanEndpoint(q.QueryRowContext(ctx, `SELECT id, tenant, revision, body FROM endpoints WHERE id = $1`, id[:]).Scan)
		return err
	})
	return x, none(err)
}

// none makes the error for a row that there is not one for an endpoint.
func none(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return notify.ErrNoEndpoint
	}
	return err
}

func scanEndpoint(scan func(...any) error) (x notify.Stored, err error) {
	var id []byte
	err = scan(&id, &x.Tenant, &x.Revision, &x.Body)
	copy(x.ID[:], id)
	return x, err
}

// Put is part of notify.Store. An endpoint keeps its tenant: with another one it is not found.
func (s *Store) Put(ctx context.Context, x notify.Stored, was int64) (revision int64, err error) {
	if len(x.Body) > maxBody || x.ID.IsZero() || was < 0 {
		return 0, fmt.Errorf("an endpoint has an id, a revision from 0 on, and at most %d bytes", maxBody)
	}
	revision = was + 1
	err = s.engine.write(ctx, func(ctx context.Context, q querier, repeat bool) error {
		text, args := `UPDATE endpoints SET revision = revision + 1, body = $4 WHERE id = $1 AND tenant = $2 AND revision = $3`, []any{x.ID[:], x.Tenant, was, orEmpty(x.Body)}
		if was == 0 {
			text, args = `INSERT INTO endpoints (id, tenant, revision, body) VALUES ($1, $2, 1, $3) ON CONFLICT (id) DO NOTHING`, []any{x.ID[:], x.Tenant, orEmpty(x.Body)}
		}
		n, err := affected(q.ExecContext(ctx, text, args...))
		if err != nil {
			return err
		}
		if n == 0 {
			return unchanged(ctx, q, &x, was, repeat)
		}
		if was == 0 {
			var number int64
			if err := q.QueryRowContext(ctx, `UPDATE changes SET made = made + 1 RETURNING made`).Scan(&number); err != nil {
				return err
			}
			if _, err := q.ExecContext(ctx, `INSERT INTO progress (number, endpoint, feed_cursor, last, failing, lease, holder, lease_until) VALUES ($1, $2, $3, 0, 0, 0, $3, 0)`,
				number, x.ID[:], []byte{}); err != nil {
				return err
			}
		}
		return changed(ctx, q)
	})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// unchanged says why an endpoint was not written: nil if the transaction before this one wrote it.
func unchanged(ctx context.Context, q querier, x *notify.Stored, was int64, repeat bool) error {
	have, err := scanEndpoint(q.QueryRowContext(ctx, `SELECT id, tenant, revision, body FROM endpoints WHERE id = $1`, x.ID[:]).Scan)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && have.Tenant != x.Tenant:
		return notify.ErrNoEndpoint
	case err != nil:
		return err
	case repeat && have.Revision == was+1 && string(have.Body) == string(x.Body):
		return nil
	}
	return notify.ErrChanged
}

// changed counts a change.
func changed(ctx context.Context, q querier) error {
	_, err := q.ExecContext(ctx, `UPDATE changes SET n = n + 1`)
	return err
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Delete is part of notify.Store. The endpoint is gone when it returns nil; its deliveries are then removed in steps, and what is
// left of them when ctx ends is removed by Prune. The error is notify.ErrNoEndpoint if there is none.
func (s *Store) Delete(ctx context.Context, id event.ID) error {
	var number int64
	err := s.engine.write(ctx, func(ctx context.Context, q querier, repeat bool) error {
		// Writers of the endpoint lock this row first: so none writes for it after this.
		err := q.QueryRowContext(ctx, `DELETE FROM progress WHERE endpoint = $1 RETURNING number`, id[:]).Scan(&number)
		if errors.Is(err, sql.ErrNoRows) {
			if repeat {
				return nil
			}
			return notify.ErrNoEndpoint
		}
		if err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, `DELETE FROM endpoints WHERE id = $1`, id[:]); err != nil {
			return err
		}
		if _, err := q.ExecContext(ctx, `INSERT INTO deleted (number) VALUES ($1)`, number); err != nil {
			return err
		}
		return changed(ctx, q)
	})
	if err != nil {
		return err
	}
	// The endpoint is gone. An error of what comes now is no error of the call.
	_, _ = s.purge(ctx, number, 1<<30)
	return nil
}

// purge removes batches of a deleted endpoint, at most limit.
func (s *Store) purge(ctx context.Context, number int64, limit int) (removed int, err error) {
	for removed < limit {
		var n int64
		want := min(step, limit-removed)
		err := s.engine.write(ctx, func(ctx context.Context, q querier, _ bool) (err error) {
			if n, err = affected(q.ExecContext(ctx, `DELETE FROM batches WHERE owner = $1 AND first IN (SELECT first FROM batches WHERE owner = $1 ORDER BY first LIMIT $2)`, number, want)); err != nil || n == int64(want) {
				return err
			}
			_, err = q.ExecContext(ctx, `DELETE FROM deleted WHERE number = $1`, number)
			return err
		})
		if err != nil {
			return removed, err
		}
		if removed += int(n); n < int64(want) {
			break
		}
	}
	return removed, nil
}

// Prune is part of notify.Store. It first removes batches of endpoints that were deleted. The last batch of an endpoint stays, however
// old it is: the next delivery may be added to it.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	var deleted []int64
	if err := s.engine.read(ctx, func(ctx context.Context, q querier) error {
		deleted = nil
		return sqlrows.Query(ctx, q, `SELECT number FROM deleted ORDER BY number LIMIT 16`, nil, func(scan func(...any) error) error {
			var number int64
			err := scan(&number)
			deleted = append(deleted, number)
			return err
		})
	}); err != nil {
		return 0, err
	}
	for _, number := range deleted {
		n, err := s.purge(ctx, number, limit-removed)
		if removed += n; err != nil {
			return removed, err
		}
	}
	for removed < limit {
		var n int64
		want := min(step, limit-removed)
		if err := s.engine.write(ctx, func(ctx context.Context, q querier, _ bool) (err error) {
			// What is said twice holds for rows that were rewritten meanwhile.
			n, err = affected(q.ExecContext(ctx, `DELETE FROM batches WHERE open = 0 AND dead = 0 AND newest < $1 AND (owner, first) IN (
				SELECT b.owner, b.first FROM batches b WHERE b.open = 0 AND b.dead = 0 AND b.newest < $1
				AND NOT EXISTS (SELECT 1 FROM progress p WHERE p.number = b.owner AND p.last < b.first + b.size) ORDER BY b.newest LIMIT $2)`, micros(before), want))
			return err
		}); err != nil {
			return removed, err
		}
		if removed += int(n); n < int64(want) {
			break
		}
	}
	return removed, nil
}

// micros is an instant as it is stored, and instant is it again.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func instant(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// Lease is part of notify.Store. In a file every endpoint is held by the process that opened it last. A lease whose
// time is over is renewed too, with its number, if no other process took it.
func (s *Store) Lease(ctx context.Context, ids []event.ID, want int, d time.Duration) (leases []notify.Lease, err error) {
	until := time.Now().Add(d)
	err = s.engine.write(ctx, func(ctx context.Context, q querier, _ bool) (err error) {
		leases, err = s.engine.lease(ctx, q, ids, max(want, 0), d)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range leases {
		leases[i].Until = until
	}
	return leases, nil
}

// Release is part of notify.Store. Leases that this process does not hold stay as they are.
func (s *Store) Release(ctx context.Context, ids []event.ID) error {
	if len(ids) == 0 {
		return nil
	}
	return s.engine.write(ctx, func(ctx context.Context, q querier, _ bool) error { return s.engine.release(ctx, q, ids) })
}

// Progress is part of notify.Store. The error is notify.ErrNoEndpoint if there is no such endpoint. Instants have microseconds.
func (s *Store) Progress(ctx context.Context, id event.ID) (p notify.Progress, err error) {
	err = s.engine.read(ctx, func(ctx context.Context, q querier) error {
		var failing int64
		err := q.QueryRowContext(ctx, `SELECT feed_cursor, last, failing FROM progress WHERE endpoint = $1`, id[:]).Scan(&p.Cursor, &p.Last, &failing)
		if p.Failing = instant(failing); len(p.Cursor) == 0 {
			p.Cursor = nil
		}
		return err
	})
	return p, none(err)
}

// OpenBatches is part of notify.Store. A batch in which from lies is one of them.
func (s *Store) OpenBatches(ctx context.Context, id event.ID, from int64, limit int) ([]notify.Batch, error) {
	// No batch has more than notify.MaxBatch: so the index finds the first of them.
	return s.batches(ctx, `SELECT first, size, open, dead, newest, body FROM batches WHERE open > 0 AND owner = (SELECT number FROM progress WHERE endpoint = $1) AND first > $2
		AND first + size > $3 ORDER BY first LIMIT $4`, id[:], from-notify.MaxBatch, from, limit)
}

// Batches is part of notify.Store.
func (s *Store) Batches(ctx context.Context, id event.ID, before int64, limit int, dead bool) ([]notify.Batch, error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	only := ""
	if dead {
		only = "dead > 0 AND "
	}
	return s.batches(ctx, `SELECT first, size, open, dead, newest, body FROM batches WHERE `+only+`owner = (SELECT number FROM progress WHERE endpoint = $1) AND first < $2
		ORDER BY first DESC LIMIT $3`, id[:], before, limit)
}

func (s *Store) batches(ctx context.Context, text string, args ...any) (all []notify.Batch, err error) {
	err = s.engine.read(ctx, func(ctx context.Context, q querier) error {
		all = nil
		return sqlrows.Query(ctx, q, text, args, func(scan func(...any) error) error {
			var b notify.Batch
			var newest int64
			err := scan(&b.First, &b.Count, &b.Open, &b.Dead, &newest, &b.Body)
			b.Newest = instant(newest)
			all = append(all, b)
			return err
		})
	})
	return all, err
}
