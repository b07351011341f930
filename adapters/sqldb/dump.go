package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io"

	"github.com/chirograph/chirograph/adapters/internal/viewrows"
)

// Dump writes every row of every table as viewrows.Dump does. Its time is not bounded: ctx ends it.
func (r *reader) Dump(ctx context.Context, w io.Writer) error {
	err := r.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if r.pg != nil {
			if _, err := tx.ExecContext(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
				return err
			}
		}
		return viewrows.Dump(ctx, tx, w, r.pg != nil)
	})
	if err != nil {
		if r.pg != nil {
			err = r.pg.explain(err)
		}
		return fmt.Errorf("dump the views: %w", err)
	}
	return nil
}
