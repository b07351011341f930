package sqldb

import (
	"context"
	"io/fs"
	"testing"
	"time"
)

// OpenPostgresIn is OpenPostgres with other bounds, all of about t.
func OpenPostgresIn(ctx context.Context, url string, o Options, t time.Duration) (*DB, error) {
	return openPostgres(ctx, url, o, times{connect: t, statement: t, idle: t, read: t, write: 2 * t, hold: t, grace: 2 * ProgressAge})
}

// SetMigrations makes this program one that knows other migrations, until the test ends.
func SetMigrations(t *testing.T, f fs.FS) {
	was := migrationFiles
	migrationFiles = f
	t.Cleanup(func() { migrationFiles = was })
}
