package datafile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// OpenMarks opens the head file of the views at path, for the ledger with that short id and so many recipients' partitions,
// and writes marks into it. If the file cannot be written, that is logged and nil is returned: the views
// are made from the ledger, and need it only to notice that their write-ahead file was lost.
func OpenMarks(path, id string, partitions int, marks map[event.Partition]ledger.Mark) *Head {
	failed := func(err error) {
		slog.Error("the head file of the views cannot be written; look at the disk", "file", path+HeadSuffix, "error", err)
	}
	known := ledger.Known{Ledger: id, Heads: map[event.Partition]ledger.Head{}}
	for p := event.AuditPartition; p < event.Partition(partitions); p++ {
		m := marks[p]
		known.Heads[p] = ledger.Head{Next: m.Next, Hash: m.Hash}
	}
	h, err := OpenHead(path, known, failed)
	if err != nil {
		failed(err)
		return nil
	}
	return h
}

// SetMarks writes marks of committed views. A nil Head writes nothing.
func (h *Head) SetMarks(marks map[event.Partition]ledger.Mark) {
	if h == nil {
		return
	}
	for p, m := range marks {
		h.Set(p, ledger.Head{Next: m.Next, Hash: m.Hash})
	}
	h.Write()
}

// MarksLost reports whether the views at path, which have folded so much of that ledger, lack what was committed in
// them. A head file of another ledger says nothing of them.
func MarksLost(path string, views ledger.Known) (bool, error) {
	k, err := ReadHead(path)
	if errors.Is(err, ErrHead) || err == nil && !k.SameBoot() || views.Ledger != "" && k.Ledger != views.Ledger {
		return false, nil
	}
	for p, h := range k.Heads {
		if views.Heads[p].Next < h.Next {
			return true, err
		}
	}
	return false, err
}

// MakeViews is CheckViews, and makes the file, for its owner alone, if there is none.
func MakeViews(path string, applicationID uint32) (fresh bool, err error) {
	if fresh, err = CheckViews(path, applicationID); err == nil {
		err = MakeFile(path)
	}
	return fresh, err
}

// CheckViews refuses a file at path that is not one of views, which have this application id; fresh is true
// if there is none, or an empty one. It reads the SQLite header: 16 bytes of magic, and at 68 the
// application id, big-endian (sqlite.org/fileformat2.html §1.3).
func CheckViews(path string, applicationID uint32) (fresh bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("open the views: %w", err)
	}
	defer f.Close()
	var header [72]byte
	switch n, err := io.ReadFull(f, header[:]); {
	case n == 0 && errors.Is(err, io.EOF):
		return true, nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return false, fmt.Errorf("open the views: %w", err)
	case string(header[:16]) != "SQLite format 3\x00":
		return false, fmt.Errorf("%s is not a database: name another file for the views, or move this one away", path)
	case binary.BigEndian.Uint32(header[68:]) != applicationID:
		return false, fmt.Errorf("%s is a database of something else, not of Chirograph's views: name another file for the views, or move this one away", path)
	}
	return false, nil
}
