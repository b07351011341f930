package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/migrations"
)

// migrationFiles are the migrations that this program knows. Tests add some.
var migrationFiles fs.FS = migrations.Views

// migrateSQLite brings a file up to the newest migration that this program knows.
func migrateSQLite(ctx context.Context, db *sql.DB) error {
	v, err := postgres.Up(ctx, db, goose.DialectSQLite3, migrationFiles)
	if err == nil {
		err = fits(ctx, db, v)
	}
	if err != nil {
		return fmt.Errorf("migrate the views: %w", err)
	}
	return nil
}

// fits returns an error if a later program has migrated the database further than this program
// may use. The row in the table compatible says which is the oldest version that may use it.
func fits(ctx context.Context, db *sql.DB, v postgres.Versions) error {
	if v.Have <= v.Know {
		return nil
	}
	var oldest int64
	if err := db.QueryRowContext(ctx, `SELECT max(oldest) FROM compatible`).Scan(&oldest); err != nil {
		return err
	}
	if v.Know < oldest {
		return fmt.Errorf("they were written by a later version of Chirograph, which this one is too old to share them with (they are at %d and want at least %d; this one knows %d): run a later version, or remove the views and let this one rebuild them", v.Have, oldest, v.Know)
	}
	return nil
}
