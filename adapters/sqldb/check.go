package sqldb

import (
	"context"
	"database/sql"

	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
)

// Checked says what is known of whether the rows are what was written.
type Checked = viewsums.Checked

// newChecker makes what compares the rows with the marks.
func newChecker(d *DB) *viewsums.Checker {
	return viewsums.NewChecker(d.long, func(p event.Partition, next int64) error {
		answer := make(chan error, 1)
		d.put(op{reset: p, doubt: next, done: func(err error) { answer <- err }}) // with next 0 it is a reset
		return <-answer
	})
}

// doubt marks a partition as one whose rows do not fit. next is how far it was folded when that was found. It
// does not wait.
func (d *DB) doubt(p event.Partition, next int64, why error) {
	d.Found(why)
	d.put(op{reset: p, doubt: next, done: func(error) {}})
}

// long runs a query over one snapshot. Its time is not bounded: ctx ends it.
func (r *reader) long(ctx context.Context, query func(ctx context.Context, tx *sql.Tx) error) error {
	err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if r.pg != nil {
			if _, err := tx.ExecContext(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
				return err
			}
		}
		return query(ctx, tx)
	})
	if err != nil && r.pg != nil {
		err = r.pg.explain(err)
	}
	return err
}
