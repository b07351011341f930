// Package sqlrows goes through the rows of a query one by one, and runs what belongs together in a transaction.
package sqlrows

import (
	"context"
	"database/sql"
)

// Querier is a database, a connection of one, or a transaction.
type Querier interface {
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// Query runs a query, and calls f with the Scan of each of its rows. It ends with the first error of the query, of a
// row or of f.
func Query(ctx context.Context, q Querier, text string, args []any, f func(scan func(...any) error) error) error {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Each does with a prepared statement what Query does with a text.
func Each(ctx context.Context, stmt *sql.Stmt, args []any, f func(scan func(...any) error) error) error {
	return Query(ctx, prepared{stmt}, "", args, f)
}

type prepared struct{ stmt *sql.Stmt }

func (p prepared) QueryContext(ctx context.Context, _ string, args ...any) (*sql.Rows, error) {
	return p.stmt.QueryContext(ctx, args...)
}

// Beginner is a database, or a connection of one.
type Beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// InTx runs f in a transaction and commits it, unless f fails.
func InTx(ctx context.Context, db Beginner, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}
