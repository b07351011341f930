package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/chirograph/chirograph/migrations"
)

// migrationFiles are the migrations that this program knows; tests add to them.
var migrationFiles fs.FS = migrations.FS

// migrate brings a database up to what this program knows. One that a later program
// has brought further is used as it is, if that program left it fit for this one:
// the row in compatible says which is the oldest version that may.
func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect) error {
	err := func() error {
		p, err := provider(dialect, db)
		if err != nil {
			return err
		}
		have, err := p.GetDBVersion(ctx)
		if err != nil {
			return err
		}
		sources := p.ListSources()
		if know := sources[len(sources)-1].Version; have > know {
			return fits(ctx, db, have, know)
		}
		_, err = p.Up(ctx)
		return err
	}()
	if err != nil {
		return fmt.Errorf("migrate the views: %w", err)
	}
	return nil
}

func provider(dialect goose.Dialect, db *sql.DB) (*goose.Provider, error) {
	return goose.NewProvider(dialect, db, migrationFiles, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

func fits(ctx context.Context, db *sql.DB, have, know int64) error {
	var oldest int64
	if err := db.QueryRowContext(ctx, `SELECT max(oldest) FROM compatible`).Scan(&oldest); err != nil {
		return err
	}
	if know < oldest {
		return fmt.Errorf("they were written by a later version of Chirograph, which this one is too old to share them with (they are at %d and want at least %d; this one knows %d): run a later version, or remove the views and let this one rebuild them", have, oldest, know)
	}
	return nil
}
