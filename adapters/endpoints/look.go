package endpoints

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
)

// LookAt says of which ledger the store in the SQLite file at path is; "" if it does not say. It takes no lock, writes
// nothing and makes nothing. The error is fs.ErrNotExist where there is no store yet: no file, an empty one, or one without tables; it is
// ErrDamaged where the file cannot be read, or is something else. This process must not have the file open.
func LookAt(path string) (of string, err error) {
	image, err := sqliteimage.Open(path)
	switch {
	case sqliteimage.Nothing(err):
		return "", fs.ErrNotExist
	case errors.Is(err, fs.ErrPermission):
		return "", err
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer func() { _ = image.Close() }() // it only read
	return whose(context.Background(), image.DB(), path)
}

// whose reads of which ledger a file is.
func whose(ctx context.Context, db *sql.DB, path string) (of string, err error) {
	var id, tables int64
	err = db.QueryRowContext(ctx, "SELECT (SELECT application_id FROM pragma_application_id), (SELECT count(*) FROM sqlite_master)").Scan(&id, &tables)
	if err == nil && id == 0 && tables == 0 {
		return "", fs.ErrNotExist // the process that made it was killed
	}
	if err == nil && id != applicationID {
		return "", fmt.Errorf("%w: %s is a database of something else", ErrDamaged, filepath.Base(path))
	}
	if err == nil {
		if err = db.QueryRowContext(ctx, "SELECT id FROM ledger").Scan(&of); errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return of, nil
}
