package vault

import (
	"context"
	"errors"
	"io/fs"

	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Look is a look at a vault's file: it takes no lock, writes nothing, and makes nothing.
type Look struct {
	// Known is what the vault knows of its ledger, and Used whether data was sealed under its keys.
	Known       ledger.Known
	Used        bool
	Fingerprint string

	image *sqliteimage.Image
}

// LookAt looks at the vault in the SQLite file at path, with the master key in a file. The
// error is fs.ErrNotExist where there is no vault yet: no file, an empty one, or one without tables. Close
// the Look.
func LookAt(path string, masterKeyFile string) (*Look, error) {
	image, err := sqliteimage.Open(path)
	if err != nil {
		switch {
		case sqliteimage.Nothing(err):
			err = fs.ErrNotExist
		case errors.Is(err, sqliteimage.ErrDamaged):
			err = damaged(err)
		}
		return nil, err
	}
	l := &Look{image: image}
	if l.Known, l.Used, err = ReadKnown(image.DB()); err == nil {
		l.Fingerprint, err = ReadFingerprint(image.DB(), masterKeyFile)
	}
	if errors.Is(err, ErrUnmade) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, image.Close())
	}
	return l, nil
}

// Close ends the look.
func (l *Look) Close() error { return l.image.Close() }

// Lacks is how many of the keys the vault does not have.
func (l *Look) Lacks(ctx context.Context, of ledger.Keys) (int, error) {
	subjects, classes, err := lackingKeys(ctx, sqliteNotes{&sqlite{db: l.image.DB()}}, of)
	return len(subjects) + len(classes), err
}
