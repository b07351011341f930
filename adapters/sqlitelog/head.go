package sqlitelog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// ErrBehind is the error of an Open whose ledger lacks what its head file says it had: its newest
// events are lost, or it is another ledger, or an older copy. Nothing was changed.
var ErrBehind = errors.New("the ledger lacks events that its head file (ledger.db-head) says it had")

// ReadHead reads the head file of the ledger in dir: how far the ledger was committed when a process last
// wrote to it. Of a missing file the zero Known is returned. The error of a damaged one matches
// datafile.ErrHead; a start need not fail for it: the file then knows nothing, and Open writes it anew.
// ReadHead takes no lock and writes nothing.
//
// The file is written after each commit and before its callers are answered, without a sync. It never
// says more than is durable. After the end of the process, however sudden, it says everything that was
// acknowledged; after a power cut it may be older.
func ReadHead(dir string) (ledger.Known, error) {
	k, err := datafile.ReadHead(filepath.Join(dir, file))
	return k.Known, err
}

// headFile writes the head file, for the committer. Its file is nil if it cannot be written.
type headFile struct {
	file    *datafile.Head
	written []bool // by slot

	log atomic.Pointer[slog.Logger]
}

// Private gives the data folder dir mode 0700, and what the product makes in it mode 0600, where their modes
// let others do more, and returns the names of what it changed. A file of another user that others can use is
// refused, with the command that puts it right. On Windows it does nothing.
func Private(dir string) (changed []string, err error) { return datafile.Private(dir) }

// checkMissing refuses to make a new ledger where a head file knows one.
func checkMissing(dir string) error {
	if info, err := os.Stat(filepath.Join(dir, file)); err == nil && info.Size() > 0 {
		return nil
	}
	known, err := ReadHead(dir)
	if err != nil {
		return nil //nolint:nilerr // a damaged head file knows nothing
	}
	for _, h := range known.Heads {
		if h.Next > 0 {
			return fmt.Errorf("%w: the ledger %s itself is missing or empty", ErrBehind, known.Ledger)
		}
	}
	return nil
}

// open compares the ledger with its head file, which a crash may have left older, and goes on
// writing it. A partition whose last event cannot be read is left out of it.
func (f *headFile) open(l *Log) error {
	path := filepath.Join(l.dir, file)
	known, err := datafile.ReadHead(path)
	if err != nil {
		f.logger().Warn("the head file is damaged or cannot be read, and is written anew", "file", path+datafile.HeadSuffix, "error", err)
		known = datafile.Known{}
	}
	if !l.o.Restored {
		if err := compare(l, &known.Known); err != nil {
			return err
		}
	}
	now := ledger.Known{Ledger: l.id, Heads: make(map[event.Partition]ledger.Head, l.slots)}
	for slot, next := range l.heads {
		p := engine.PartitionOf(slot)
		h := ledger.Head{Next: next}
		if next > 0 {
			hash, err := hashBefore(l, p, next)
			if err != nil {
				if h = known.Heads[p]; h.Next != next { // its hash is what the event had
					h = ledger.Head{}
				}
			} else {
				h.Hash = hash
			}
		}
		now.Heads[p] = h
	}
	f.file, err = datafile.OpenHead(path, now, func(err error) {
		f.logger().Error("the head file of the ledger cannot be written; commits go on, and a write-ahead file that is lost now would not be noticed by it: look at the disk",
			"file", path+datafile.HeadSuffix, "error", err)
	})
	if err != nil {
		// A disk that takes no more bytes fails the first commit too, and that says it.
		f.logger().Error("the head file of the ledger cannot be written: look at the disk", "file", path+datafile.HeadSuffix, "error", err)
		f.file = nil
	}
	return nil
}

// compare returns ErrBehind where the ledger lacks what its head file knows.
func compare(l *Log, known *ledger.Known) error {
	if known.Ledger != "" && known.Ledger != l.id {
		for _, h := range known.Heads {
			if h.Next > 0 {
				return fmt.Errorf("%w: it belongs to the ledger %s, and this is the ledger %s", ErrBehind, known.Ledger, l.id)
			}
		}
	}
	for p, h := range known.Heads {
		slot := engine.Slot(p)
		if h.Next == 0 || slot < 0 || slot >= l.slots {
			continue
		}
		if head := l.heads[slot]; head < h.Next {
			return fmt.Errorf("%w: partition %s had %d events, and has %d", ErrBehind, p, h.Next, head)
		}
		hash, err := hashBefore(l, p, h.Next)
		if err == nil && hash != h.Hash {
			return fmt.Errorf("%w: it had another event at %s", ErrBehind, event.Position{Partition: p, Index: h.Next - 1})
		}
	}
	return nil
}

// hashBefore is the SHA-256 of the event before an index.
func hashBefore(l *Log, p event.Partition, next int64) ([32]byte, error) {
	records, err := l.tables.of(engine.Slot(p)).store.records(p, next-1, next, 1)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(records[0].Raw), nil
}

// write writes the file after a commit, which left these heads.
func (f *headFile) write(heads []int64, batch []*engine.Append) {
	if f.file == nil {
		return
	}
	f.written = append(f.written[:0], make([]bool, len(heads))...)
	// The last event of a partition's last append is the partition's last one.
	for _, a := range slices.Backward(batch) {
		if n := len(a.Raws); n > 0 && !f.written[a.Slot] {
			f.written[a.Slot] = true
			f.file.Set(engine.PartitionOf(a.Slot), ledger.Head{Next: heads[a.Slot], Hash: sha256.Sum256(a.Raws[n-1])})
		}
	}
	f.file.Write()
}

func (f *headFile) logger() *slog.Logger {
	if log := f.log.Load(); log != nil {
		return log
	}
	return slog.Default()
}
