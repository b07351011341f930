package sqldb

import (
	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Lost reports whether the views in the file at path, whose marks these are, lack transactions that
// were committed in them: their write-ahead file was lost or cut. They must then be set aside and made
// anew from the beginning. It compares them with the file's head file, which has the marks of the last
// transaction and the machine's boot id. After a power cut, and where the system has no boot id, views
// may be older without being wrong: then Lost is false, as it is without a head file or with a damaged
// one. It writes nothing. OpenSQLite writes the head file anew: ask before.
func Lost(path string, marks map[event.Partition]int64) (bool, error) {
	return datafile.MarksLost(path, marks)
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
