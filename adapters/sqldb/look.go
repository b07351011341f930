package sqldb

import (
	"io/fs"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
	"github.com/chirograph/chirograph/domain/ledger"
)

// LookAt says what the views in the SQLite file at path know of their ledger, and whether they lost what
// they had committed, because their write-ahead file is missing or was cut: their head file has the marks of the
// last transaction, and the machine's boot id. After a power cut, and where the system has no boot id, views may be
// older without being wrong: then they lost nothing. It takes no lock, writes nothing and makes nothing. The error is fs.ErrNotExist where there are no views yet; another error says
// that they cannot be read.
func LookAt(path string) (known ledger.Known, lost bool, err error) {
	if _, err := datafile.CheckViews(path, applicationID); err != nil {
		return known, false, err
	}
	image, err := sqliteimage.Open(path)
	if err != nil {
		if sqliteimage.Nothing(err) {
			err = fs.ErrNotExist
		}
		return known, false, err
	}
	defer func() { _ = image.Close() }() // it only read
	if known, err = ReadKnown(image.DB()); err != nil {
		return known, false, err
	}
	// A head file that cannot be read says nothing.
	lost, _ = datafile.MarksLost(path, known)
	return known, lost, nil
}

// ReadHead reads the head file of the views in the file at path: how far they had folded their ledger when they were
// written last, whatever became of the views themselves. Of a missing or damaged one the zero Known is returned.
func ReadHead(path string) ledger.Known {
	k, err := datafile.ReadHead(path)
	if err != nil {
		return ledger.Known{}
	}
	return k.Known
}
