package sqlitelog

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// enoughRoom is how many bytes must be free on a disk that was full before the ledger is called well without
// a commit that shows it: a node that is not ready gets no appends. It is more than one commit takes.
const enoughRoom = 4 * maxCommit

// health is what is known of the commits: how the last one ended.
type health struct {
	free func() (int64, error)

	mu      sync.Mutex
	since   time.Time // of the state
	why     string    // why the last commit failed; "" after one that did not
	stopped bool      // and none is made any more
}

// Health says whether the ledger can record, since when that is so, and if not, why and what to do, in words
// without paths. After a commit whose end is not known the log takes no more appends until it is opened again:
// only opening finds out what is durable. A full disk stops nothing: each append is tried, and refused or in
// doubt until there is room.
func (l *Log) Health() (ok bool, since time.Time, detail string) {
	h := &l.health
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.stopped:
		return false, h.since, "the ledger takes no more appends: a commit failed (" + h.why + "), and what of it is on the disk is not known. Look at the node's log and at the disk, then restart the node: its start finds out"
	case h.why == isFull:
		if free, err := h.free(); err == nil && free >= enoughRoom {
			return true, h.since, ""
		}
		return false, h.since, "the disk is full, and the ledger cannot record anything. Make room on the disk of the data folder; the node then goes on by itself"
	case h.why == isMoved:
		return false, h.since, "the ledger's file was removed or replaced while the node runs, and nothing is recorded. Stop the node, put the file back, and start it"
	case h.why != "":
		return false, h.since, "the last commit of the ledger failed (" + h.why + "), and nothing of it was recorded. Look at the node's log and at the disk"
	}
	return true, h.since, ""
}

// The reasons why a commit fails.
const (
	isFull     = "disk full"
	isReadOnly = "read-only"
	isBroken   = "I/O error"
	isMoved    = "file removed"
	isOther    = "other"
)

// errMoved is the error of a commit whose file was removed, or replaced by another, while the log has it open.
var errMoved = errors.New("ledger.db was removed or replaced while it is in use")

func reason(err error) string {
	var e *sqlite.Error
	if errors.Is(err, errMoved) {
		return isMoved
	}
	if !errors.As(err, &e) {
		return isOther
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return isFull
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return isReadOnly
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return isBroken
	}
	return isOther
}

// advice is what an operator does about a reason, for the log.
func advice(why string, stopped bool) string {
	what := map[string]string{
		isFull:     "make room on the disk of the data folder",
		isReadOnly: "find out why the data folder cannot be written to: its mount, and its owner",
		isBroken:   "look at the disk and the kernel's log",
		isMoved:    "stop the node, put the file back that it had open, and start it",
		isOther:    "read the error",
	}[why]
	switch {
	case stopped:
		return what + ", then restart the node: its start finds out what was recorded"
	case why == isMoved:
		return what
	}
	return what + "; the node goes on by itself"
}

// ended notes how a commit ended, and tells the log when that changes. stopped: no other is made.
func (h *health) ended(err error, stopped bool, log *slog.Logger) {
	h.mu.Lock()
	why := ""
	if err != nil {
		why = reason(err)
	}
	changed := why != h.why || stopped != h.stopped
	if changed {
		h.why, h.stopped, h.since = why, stopped, time.Now()
	}
	h.mu.Unlock()
	switch {
	case !changed:
	case err == nil:
		log.Warn("the ledger records again")
	case stopped:
		log.Error("a commit of the ledger failed, and the ledger takes no more appends", "error", err, "cause", why, "do", advice(why, true))
	default:
		log.Error("a commit of the ledger failed; appends are refused or in doubt while that lasts", "error", err, "cause", why, "do", advice(why, false))
	}
}

// Free returns the free bytes of the disk that a data folder is on, for this user, and the disk's size. Where the
// system does not say, its error is errors.ErrUnsupported.
func Free(dir string) (free, size int64, err error) { return datafile.Free(dir) }

// IsDamage reports whether an error says that an SQLite file is damaged, is none, or lacks tables or columns that it
// should have.
func IsDamage(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR:
		return true
	}
	return false
}
