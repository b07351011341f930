package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io"

	"github.com/chirograph/chirograph/adapters/internal/localfolds"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
)

// Dump writes every row of every table as viewrows.Dump does. Its time is not bounded: ctx ends it.
func (r *reader) Dump(ctx context.Context, w io.Writer) error {
	var err error
	if r.folds != nil {
		err = r.folds.Snapshots(ctx, r.read, func(tx *sql.Tx, folds *localfolds.Snapshot) error {
			return viewrows.Dump(ctx, tx, w, false, folds.Tables())
		})
	} else {
		err = r.long(ctx, func(ctx context.Context, tx *sql.Tx) error { return viewrows.Dump(ctx, tx, w, true, nil) })
	}
	if err != nil {
		return fmt.Errorf("dump the views: %w", err)
	}
	return nil
}
