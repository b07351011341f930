// Package lookups finds hand-offs and idempotency keys in the views in PostgreSQL. Calls at about the same time share
// a statement.
package lookups

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/projections"
)

// most is how many calls share a statement.
const most = 256

// Reader looks up what is committed. Its methods may be called from any goroutine, after Prepare.
type Reader struct {
	do                 func(ctx context.Context, what string, query func(ctx context.Context) error) error
	handoffs, reserved *sql.Stmt
	handoffsAsked      *postgres.Gather[handoffAsked, []handoffFound]
	reservedAsked      *postgres.Gather[reservedAsked, *ledger.Reserved]
}

// New returns a Reader. do runs a query within its time, perhaps twice, and its error says what it was for.
func New(do func(ctx context.Context, what string, query func(context.Context) error) error) *Reader {
	r := &Reader{do: do}
	r.handoffsAsked, r.reservedAsked = postgres.NewGather(most, r.askHandoffs), postgres.NewGather(most, r.askReserved)
	return r
}

// Prepare prepares the statements on the readers' connections.
func (r *Reader) Prepare(ctx context.Context, read *sql.DB) (err error) {
	if r.handoffs, err = read.PrepareContext(ctx, `SELECT a.call, a.nth, h.partition, h.tenant, h.subject, h.message, h.attempt, h.part, h.carrier_id, p.time
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS a (call, nth, key, account)
		CROSS JOIN LATERAL (SELECT * FROM handoffs WHERE key = a.key AND account = a.account
			ORDER BY message DESC, attempt DESC, part DESC LIMIT $5) h
		JOIN partitions p ON p.partition = h.partition`); err != nil {
		return err
	}
	r.reserved, err = read.PrepareContext(ctx, `SELECT a.call, r.message, r.input
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) AS a (call, hash, tenant, key)
		JOIN reserved r ON r.hash = a.hash AND r.tenant = a.tenant AND r.key = a.key
		JOIN partitions p ON p.partition = r.partition WHERE r.keep_until > p.time`)
	return err
}

// handoffAsked is one call of Handoffs.
type handoffAsked struct {
	account string
	keys    []string
}

// handoffFound is a hand-off, and which of the keys that were asked for it has.
type handoffFound struct {
	ledger.HandoffRef
	key int
}

// compare is less than 0 if f comes before g: it has an earlier key, or is newer.
func (f *handoffFound) compare(g *handoffFound) int {
	return cmp.Or(cmp.Compare(f.key, g.key), bytes.Compare(g.Message[:], f.Message[:]),
		cmp.Compare(g.Attempt, f.Attempt), cmp.Compare(g.Part, f.Part))
}

// Handoffs is part of ledger.Views.
func (r *Reader) Handoffs(ctx context.Context, account string, keys []string) ([]ledger.HandoffRef, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	var found []handoffFound
	err := r.do(ctx, "look a carrier's id up", func(ctx context.Context) (err error) {
		found, err = r.handoffsAsked.Ask(ctx, handoffAsked{account, keys})
		return err
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	out := make([]ledger.HandoffRef, len(found))
	for i := range found {
		out[i] = found[i].HandoffRef
	}
	return out, nil
}

// askHandoffs answers calls of Handoffs.
func (r *Reader) askHandoffs(ctx context.Context, all []handoffAsked) ([][]handoffFound, error) {
	var calls, nths []int64
	var keys, accounts []string
	for i, a := range all {
		for j, key := range a.keys {
			if !slices.Contains(a.keys[:j], key) {
				calls, nths = append(calls, int64(i)), append(nths, int64(j))
				keys, accounts = append(keys, viewrows.Plain(key)), append(accounts, viewrows.Plain(a.account))
			}
		}
	}
	found := make([][]handoffFound, len(all))
	err := sqlrows.Each(ctx, r.handoffs, []any{calls, nths, keys, accounts, ledger.MaxSameKey}, func(scan func(...any) error) error {
		var call, nth int64
		ref, counts, err := ScanHandoff(scan, &call, &nth)
		if err != nil || !counts {
			return err
		}
		found[call] = append(found[call], handoffFound{ref, int(nth)})
		return nil
	})
	for _, f := range found {
		slices.SortFunc(f, func(a, b handoffFound) int { return a.compare(&b) })
	}
	return found, err
}

// ScanHandoff reads the row of a hand-off: what the caller has before it, and then partition, tenant, subject, message, attempt, part,
// carrier_id and the time of the partition's mark. The hand-off no longer counts once it is as old as projections.KeepHandoff.
func ScanHandoff(scan func(...any) error, before ...any) (h ledger.HandoffRef, counts bool, err error) {
	var subject, message []byte
	var now sql.NullInt64
	if err := scan(append(before, &h.Partition, &h.Tenant, &subject, &message, &h.Attempt, &h.Part, &h.CarrierID, &now)...); err != nil {
		return h, false, err
	}
	copy(h.Subject[:], subject)
	copy(h.Message[:], message)
	var bound event.ID
	if now.Valid {
		bound = viewrows.Oldest(time.UnixMilli(now.Int64).Add(-projections.KeepHandoff))
	}
	return h, bytes.Compare(h.Message[:], bound[:]) >= 0, nil
}

// reservedAsked is one call of Reserved.
type reservedAsked struct{ tenant, key string }

// Reserved is part of ledger.Views.
func (r *Reader) Reserved(ctx context.Context, tenant, key string) (ledger.Reserved, bool, error) {
	var found *ledger.Reserved
	err := r.do(ctx, "look an idempotency key up", func(ctx context.Context) (err error) {
		found, err = r.reservedAsked.Ask(ctx, reservedAsked{tenant, key})
		return err
	})
	if err != nil || found == nil {
		return ledger.Reserved{}, false, err
	}
	return *found, true, nil
}

// askReserved answers calls of Reserved.
func (r *Reader) askReserved(ctx context.Context, all []reservedAsked) ([]*ledger.Reserved, error) {
	calls, hashes := make([]int64, len(all)), make([]int64, len(all))
	tenants, keys := make([]string, len(all)), make([]string, len(all))
	for i, a := range all {
		calls[i], hashes[i], tenants[i], keys[i] = int64(i), viewrows.ReservedHash(a.tenant, a.key), viewrows.Plain(a.tenant), viewrows.Plain(a.key)
	}
	found := make([]*ledger.Reserved, len(all))
	err := sqlrows.Each(ctx, r.reserved, []any{calls, hashes, tenants, keys}, func(scan func(...any) error) error {
		var call int64
		var id []byte
		var x ledger.Reserved
		if err := scan(&call, &id, &x.Input); err != nil {
			return err
		}
		copy(x.Message[:], id)
		if found[call] == nil || bytes.Compare(x.Message[:], found[call].Message[:]) < 0 {
			found[call] = &x
		}
		return nil
	})
	return found, err
}
