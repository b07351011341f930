package viewmarks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// ErrOtherLedger means that the views are of another ledger than the one that they were opened for. Nothing
// in them was changed.
var ErrOtherLedger = errors.New("these views were made from another ledger")

// Read reads what the views know of their ledger. has reports whether they have a table of that name, which
// views from an older version need not have. q should be one snapshot.
func Read(ctx context.Context, q sqlrows.Querier, has func(table string) (bool, error)) (k ledger.Known, err error) {
	k.Heads = map[event.Partition]ledger.Head{}
	there, err := has("partitions")
	if err != nil || !there {
		return k, err
	}
	if err := sqlrows.Query(ctx, q, `SELECT partition, next, hash FROM partitions WHERE next > 0`, nil, func(scan func(...any) error) error {
		var p event.Partition
		var h ledger.Head
		var hash []byte
		if err := scan(&p, &h.Next, &hash); err != nil {
			return err
		}
		copy(h.Hash[:], hash)
		k.Heads[p] = h
		return nil
	}); err != nil {
		return k, err
	}
	if there, err = has("ledger"); err != nil || !there {
		return k, err
	}
	err = sqlrows.Query(ctx, q, `SELECT id FROM ledger`, nil, func(scan func(...any) error) error { return scan(&k.Ledger) })
	return k, err
}

// HasSQLite reports, for Read, whether an SQLite database has a table.
func HasSQLite(ctx context.Context, q sqlrows.Querier) func(table string) (bool, error) {
	return func(table string) (there bool, err error) {
		err = sqlrows.Query(ctx, q, `SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1`, []any{table}, func(func(...any) error) error {
			there = true
			return nil
		})
		return there, err
	}
}

// Fit returns ErrOtherLedger if the views are of another ledger. One of the ids may be unknown ("").
func Fit(have, want string) error {
	if have != "" && want != "" && have != want {
		return fmt.Errorf("%w (they are of ledger %s, and this is ledger %s)", ErrOtherLedger, have, want)
	}
	return nil
}

// Bind records which ledger the views are of, unless they know. It returns ErrOtherLedger if they are of
// another. An empty id records nothing.
func Bind(ctx context.Context, db *sql.DB, id string) error {
	if id == "" {
		return nil
	}
	var have string
	err := db.QueryRowContext(ctx, `SELECT id FROM ledger`).Scan(&have)
	if errors.Is(err, sql.ErrNoRows) {
		// Processes that start together on PostgreSQL hold a lock here.
		_, err = db.ExecContext(ctx, `INSERT INTO ledger (id) VALUES ($1)`, id)
		return err
	}
	if err != nil {
		return err
	}
	return Fit(have, id)
}
