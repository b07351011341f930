package leases

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// maxWaiting is how many reservations may wait to be written. Further ones are refused.
	maxWaiting = 4096
	// maxBatch is how many reservations one statement writes.
	maxBatch = 512

	// pruneEvery is how often reservations that have ended are deleted, pruneStep how many one
	// statement deletes, and pruneSlack how long after their end, since clocks differ.
	pruneEvery = time.Minute
	pruneStep  = 2000
	pruneSlack = time.Minute
)

var (
	// errLost means that, several times in a row, a reservation existed when it was written and
	// was gone when it was read.
	errLost = errors.New("the reservations changed while they were read")
	errLate = fmt.Errorf("PostgreSQL did not answer within %v", timeout)
)

// name is the key of a reservation.
type name struct {
	tenant string
	key    [16]byte
}

func (n name) compare(m name) int {
	return cmp.Or(cmp.Compare(n.tenant, m.tenant), bytes.Compare(n.key[:], m.key[:]))
}

// request is one call of Reserve.
type request struct {
	name
	reserved ledger.Reserved
	keep     time.Time
	by       time.Time   // when the caller stops waiting
	answer   chan answer // one
}

type answer struct {
	reserved ledger.Reserved
	err      error
}

// Reserve is part of ledger.Reservations. Calls at the same time share one statement and one
// commit; calls that come meanwhile share the next. If several calls want one key, here or on
// other nodes, the first gets it and all are told. A reservation is kept for about a minute
// longer than it must be.
//
// Every error, except one for malformed input, is a ledger.ErrRefused. The reservation may have
// been made all the same: the same call may be repeated. An error comes within 5 s; or when ctx
// is done, which ends the wait but not the write; or at once, if 4,096 calls wait already.
func (d *Database) Reserve(ctx context.Context, tenant, key string, r ledger.Reserved, keep time.Time) (ledger.Reserved, error) {
	q := &request{name: name{tenant: tenant}, reserved: r, keep: keep, by: time.Now().Add(timeout), answer: make(chan answer, 1)}
	digest, err := hex.DecodeString(key)
	if err != nil || copy(q.key[:], digest) != len(digest) || len(digest) != len(q.key) {
		return ledger.Reserved{}, errors.New("an idempotency key's digest must be 16 bytes in hexadecimal")
	}
	// A text that PostgreSQL does not take would make the whole statement fail, with the other
	// calls in it.
	for _, text := range []string{tenant, r.Input} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return ledger.Reserved{}, errors.New("a reservation's tenant and input must be text")
		}
	}
	refused := func(err error) (ledger.Reserved, error) {
		return ledger.Reserved{}, ledger.Refused(fmt.Errorf("the idempotency key could not be reserved: %w", err))
	}
	if d.ctx.Err() != nil {
		return refused(errClosed)
	}
	select {
	case d.queue <- q:
	default:
		return refused(fmt.Errorf("%d wait already", maxWaiting))
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case a := <-q.answer:
		if a.err != nil {
			return refused(a.err)
		}
		return a.reserved, nil
	case <-timer.C:
		return refused(errLate)
	case <-ctx.Done():
		return refused(ctx.Err())
	case <-d.ctx.Done():
		return refused(errClosed)
	}
}

// reserver writes the queued reservations, one batch at a time.
func (d *Database) reserver() {
	batch := make([]*request, 0, maxBatch)
	for {
		select {
		case <-d.ctx.Done():
			return
		case q := <-d.queue:
			batch = append(batch[:0], q)
		}
		for more := true; more && len(batch) < maxBatch; {
			select {
			case q := <-d.queue:
				batch = append(batch, q)
			default:
				more = false
			}
		}
		d.reserve(batch)
	}
}

// reserve writes a batch and answers its calls.
func (d *Database) reserve(batch []*request) {
	now := time.Now()
	first := make(map[name]*request, len(batch))
	rows := make([]*request, 0, len(batch))
	for _, q := range batch {
		// Calls whose time is over were answered already. While PostgreSQL cannot be reached
		// there are many, and writing their reservations would make the other calls wait.
		if first[q.name] == nil && now.Before(q.by) {
			first[q.name] = q
			rows = append(rows, q)
		}
	}
	// All nodes use the same order, so that no two statements wait for each other.
	slices.SortFunc(rows, func(a, b *request) int { return a.compare(b.name) })
	var stands map[name]ledger.Reserved
	var err error
	if len(rows) > 0 {
		err = d.client.Do(d.ctx, timeout, func(ctx context.Context) (err error) {
			stands, err = d.insert(ctx, rows)
			return err
		})
	}
	for _, q := range batch {
		a := answer{err: err}
		if f := first[q.name]; f == nil {
			a.err = errLate
		} else if r, ok := stands[q.name]; ok {
			a.reserved = r
		} else {
			a.reserved = f.reserved
		}
		q.answer <- a
	}
}

// insert makes the reservations that do not exist, and returns those that existed; nil if none
// did.
func (d *Database) insert(ctx context.Context, rows []*request) (map[name]ledger.Reserved, error) {
	tenants, inputs := make([]string, len(rows)), make([]string, len(rows))
	keys, messages := make([][]byte, len(rows)), make([][]byte, len(rows))
	keeps := make([]int64, len(rows))
	for i, q := range rows {
		tenants[i], keys[i], messages[i], inputs[i], keeps[i] = q.tenant, q.key[:], q.reserved.Message[:], q.reserved.Input, q.keep.UnixMilli()
	}
	const tries = 5
	for range tries {
		done, err := d.db.ExecContext(ctx, `INSERT INTO chirograph_cluster.reservations (tenant, key, message, input, keep_until)
			SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[], $5::bigint[]) ON CONFLICT DO NOTHING`,
			tenants, keys, messages, inputs, keeps)
		if err != nil {
			return nil, err
		}
		if n, err := done.RowsAffected(); err != nil || n == int64(len(rows)) {
			return nil, err
		}
		// This must be another statement, since the one above does not see what another node
		// committed while it waited for that node.
		stands, err := d.standing(ctx, tenants, keys)
		if err != nil {
			return nil, err
		}
		if len(stands) == len(rows) {
			return stands, nil
		}
		// One was pruned in between: its key is free now.
	}
	return nil, errLost
}

// standing reads those of the named reservations that exist.
func (d *Database) standing(ctx context.Context, tenants []string, keys [][]byte) (map[name]ledger.Reserved, error) {
	rows, err := d.db.QueryContext(ctx, `SELECT tenant, key, message, input
		FROM unnest($1::text[], $2::bytea[]) AS wanted (tenant, key) JOIN chirograph_cluster.reservations USING (tenant, key)`, tenants, keys)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	stands := make(map[name]ledger.Reserved, len(keys))
	for rows.Next() {
		var n name
		var key, message []byte
		var r ledger.Reserved
		if err := rows.Scan(&n.tenant, &key, &message, &r.Input); err != nil {
			return nil, err
		}
		n.key, r.Message = [16]byte(key), event.ID(message)
		stands[n] = r
	}
	return stands, rows.Err()
}

// pruner deletes the reservations that need not be kept any longer.
func (d *Database) pruner() {
	ticker := time.NewTicker(pruneEvery)
	defer ticker.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-ticker.C:
		}
		_, _ = d.prune(d.ctx, pruneStep) // Health tells the error; the next time deletes the rest
	}
}

// prune deletes reservations that have ended, in short steps, so that no caller waits long. Nodes
// that prune at the same time share the work.
func (d *Database) prune(ctx context.Context, step int) (pruned int64, err error) {
	for n := int64(step); n == int64(step); {
		if err := d.client.Do(ctx, timeout, func(ctx context.Context) error {
			done, err := d.db.ExecContext(ctx, `DELETE FROM chirograph_cluster.reservations WHERE ctid = ANY (ARRAY (
				SELECT ctid FROM chirograph_cluster.reservations WHERE keep_until < extract(epoch FROM now()) * 1000 - $1::bigint
				ORDER BY keep_until LIMIT $2 FOR UPDATE SKIP LOCKED))`, pruneSlack.Milliseconds(), step)
			if err == nil {
				n, err = done.RowsAffected()
			}
			return err
		}); err != nil {
			return pruned, err
		}
		pruned += n
	}
	return pruned, nil
}
