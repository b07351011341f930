package sqlitelog

import (
	"errors"
	"path/filepath"

	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
)

// Image is a Reader of a ledger's files as they are, laid over one another: it takes no lock, replays no
// write-ahead file, and neither makes nor changes a file. It is for a look before anyone has decided
// whether the files belong together.
type Image struct {
	*Reader
	image *sqliteimage.Image
}

// OpenImage opens the image of the ledger's file in dir. The error is sqliteimage's, or says that the file is
// no ledger.
func OpenImage(dir string) (*Image, error) {
	image, err := sqliteimage.Open(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	r := &Reader{db: image.DB()}
	if err := r.open(nil); err != nil {
		return nil, errors.Join(err, image.Close())
	}
	return &Image{r, image}, nil
}

// Close closes the files.
func (i *Image) Close() error { return i.image.Close() }
