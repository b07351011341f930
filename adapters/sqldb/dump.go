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
func (r *reader) Dump(ctx context.Context, w io.Writer) error { return r.dump(ctx, w, false) }

// Digest writes what Dump does in a shorter form, of which a digest is to be made.
func (r *reader) Digest(ctx context.Context, w io.Writer) error { return r.dump(ctx, w, true) }

func (r *reader) dump(ctx context.Context, w io.Writer, digest bool) error {
	var err error
	if r.folds != nil {
		err = r.folds.Snapshots(ctx, r.read, func(tx *sql.Tx, folds *localfolds.Snapshot) error {
			return viewrows.Dump(ctx, tx, w, false, digest, folds.Tables())
		})
	} else {
		err = r.long(ctx, func(ctx context.Context, tx *sql.Tx) error { return viewrows.Dump(ctx, tx, w, true, digest, nil) })
	}
	if err != nil {
		return fmt.Errorf("dump the views: %w", err)
	}
	return nil
}
