package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io"

	"github.com/chirograph/chirograph/adapters/internal/foldstore"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
)

// Dump writes every row of every table as viewrows.Dump does. Its time is not bounded: ctx ends it.
func (r *reader) Dump(ctx context.Context, w io.Writer) error {
	var err error
	if r.local != nil {
		err = r.snapshots(ctx, r.read, func(tx *sql.Tx, v *foldstore.View) error {
			return viewrows.Dump(ctx, tx, w, false, (&dumped{v, r.partitions}).tables())
		})
	} else {
		err = r.long(ctx, func(ctx context.Context, tx *sql.Tx) error { return viewrows.Dump(ctx, tx, w, true, nil) })
	}
	if err != nil {
		return fmt.Errorf("dump the views: %w", err)
	}
	return nil
}
