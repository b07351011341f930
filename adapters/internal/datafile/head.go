// Package datafile is what the stores in a data folder have in common: the head file that each writes
// beside its database.
//
// A head file says how far a database was committed. It is written after each commit, without a sync.
// So it never says more than was committed; after the end of the process, however sudden, it says
// exactly that; after a power cut it may be older. It is how a write-ahead file is noticed that was
// lost or cut after a kill: the database then opens without an error, and knows less than its head file.
package datafile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// HeadSuffix is what the name of a database's head file ends with, after the database's own name.
const HeadSuffix = "-head"

// ErrHead is the error of a head file that cannot be read: no whole copy is in it. It knows nothing;
// whoever opens the database may go on, and writes it anew.
var ErrHead = errors.New("the head file is damaged")

// A head file has two copies of what it says, each in one half of it. They are written in turn, so
// that a write that was cut short leaves the older one. The valid copy with the higher sequence
// counts. A copy, with big-endian numbers:
//
//	magic and format version, 8 bytes · sequence, 8 · length of what follows without the checksum, 4 ·
//	length of the ledger's id, 1, and the id · length of the boot id, 1, and the boot id ·
//	entries: partition, 8, next, 8, hash, 32 · CRC-32C of all before it, 4
const (
	magic     = "CHHEAD\x00\x01"
	seqAt     = len(magic)
	lengthAt  = seqAt + 8
	contentAt = lengthAt + 4
	entrySize = 8 + 8 + 32
	// maxFile bounds what is read of a head file; the largest ledger's has half of it.
	maxFile = 1 << 20
	page    = 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Known is what a head file says.
type Known struct {
	ledger.Known
	// Boot is the machine's boot id when the file was written; "" where the system has none. While the
	// machine has not started again, what a process wrote is there, whether or not it was synced.
	Boot string
}

// SameBoot reports whether the machine has run without a break since the file was written; false where
// that cannot be known.
func (k *Known) SameBoot() bool { return k.Boot != "" && k.Boot == BootID() }

// BootID is the id of the machine's current run; "" where the system has none.
func BootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	if id := strings.TrimSpace(string(raw)); len(id) < 128 {
		return id
	}
	return ""
}

// ReadHead reads the head file of the database at path. Of a missing one the zero Known is returned. It
// writes nothing and takes no lock. An error is ErrHead, or one of reading.
func ReadHead(path string) (Known, error) {
	k, _, err := readHead(path + HeadSuffix)
	return k, err
}

// readHead also returns the sequence and the offset of the copy that counts, and the file's size.
func readHead(path string) (k Known, at copies, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, at, nil
	}
	if err != nil {
		return k, at, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return k, at, err
	}
	if info.Size() > maxFile || info.Size()%2 != 0 || info.Size() == 0 {
		return k, at, fmt.Errorf("%s: %w", path, ErrHead)
	}
	raw := make([]byte, info.Size())
	if _, err := f.ReadAt(raw, 0); err != nil {
		return k, at, err
	}
	half := len(raw) / 2
	found := false
	for i := range 2 {
		seq, content, ok := parseCopy(raw[i*half : (i+1)*half])
		if !ok || found && seq <= at.seq {
			continue
		}
		if other, ok := parseContent(content); ok {
			k, found = other, true
			at = copies{seq: seq, newest: i, size: half}
		}
	}
	if !found {
		return k, at, fmt.Errorf("%s: %w", path, ErrHead)
	}
	return k, at, nil
}

// copies is where the two copies of a file are, and which of them is the newest.
type copies struct {
	seq    uint64
	newest int
	size   int // of each
}

func parseCopy(b []byte) (seq uint64, content []byte, ok bool) {
	if len(b) < contentAt+4 || string(b[:seqAt]) != magic {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint32(b[lengthAt:]))
	if n > len(b)-contentAt-4 {
		return 0, nil, false
	}
	end := contentAt + n
	if binary.BigEndian.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b[seqAt:]), b[contentAt:end], true
}

func parseContent(b []byte) (k Known, ok bool) {
	for _, s := range []*string{&k.Ledger, &k.Boot} {
		if len(b) < 1 || len(b) < 1+int(b[0]) {
			return Known{}, false
		}
		*s, b = string(b[1:1+b[0]]), b[1+b[0]:]
	}
	if len(b)%entrySize != 0 {
		return Known{}, false
	}
	k.Heads = make(map[event.Partition]ledger.Head, len(b)/entrySize)
	for ; len(b) > 0; b = b[entrySize:] {
		h := ledger.Head{Next: int64(binary.BigEndian.Uint64(b[8:]))}
		if h.Next < 0 {
			return Known{}, false
		}
		copy(h.Hash[:], b[16:])
		k.Heads[event.Partition(binary.BigEndian.Uint64(b))] = h
	}
	return k, true
}

// Head writes a head file. One goroutine at a time may use it.
type Head struct {
	file  *os.File
	at    copies
	buf   []byte // a copy, but for its sequence and checksum
	index map[event.Partition]int
	// Failed is told of the first write that fails after one that did not. The file is then older than
	// the database, never something else.
	Failed  func(error)
	failing bool
	// fault, where a test sets it, is asked before each write, and its error is the write's.
	fault func() error
}

// OpenHead opens the head file of the database at path, or makes it with mode 0600, and writes known
// into it. Only the partitions in known.Heads can be set later; one that is not known yet has Next 0.
// The caller has compared the file that is there with the database before.
func OpenHead(path string, known ledger.Known, failed func(error)) (*Head, error) {
	h := &Head{index: map[event.Partition]int{}, Failed: failed}
	boot := BootID()
	if len(known.Ledger) > 127 {
		return nil, errors.New("the ledger's id is too long")
	}
	b := append(make([]byte, contentAt), byte(len(known.Ledger)))
	b = append(append(b, known.Ledger...), byte(len(boot)))
	b = append(b, boot...)
	partitions := make([]event.Partition, 0, len(known.Heads))
	for p := range known.Heads {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	for _, p := range partitions {
		h.index[p] = len(b)
		head := known.Heads[p]
		b = binary.BigEndian.AppendUint64(b, uint64(p))
		b = binary.BigEndian.AppendUint64(b, uint64(head.Next))
		b = append(b, head.Hash[:]...)
	}
	copy(b, magic)
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-contentAt))
	h.buf = append(b, 0, 0, 0, 0)
	if err := h.open(path + HeadSuffix); err != nil {
		return nil, err
	}
	return h, nil
}

// open makes the file anew, or goes on in the one that is there. After a crash in it the former file is
// there, or the new one.
func (h *Head) open(path string) (err error) {
	size := (len(h.buf) + page - 1) / page * page
	_, at, err := readHead(path)
	if err == nil && at.size == size {
		if h.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return err
		}
		h.at = at
		// Both copies, so that neither tells of what was before.
		if err = h.write(); err == nil {
			err = h.write()
		}
		if err != nil {
			return errors.Join(err, h.file.Close())
		}
		return nil
	}
	h.at = copies{seq: at.seq, size: size, newest: 1}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if h.file, err = os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	// Both copies are written, so that a later write needs no more room on the disk.
	if _, err = h.file.WriteAt(make([]byte, 2*size), 0); err == nil {
		err = h.write()
	}
	if err == nil {
		err = h.file.Sync()
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return errors.Join(err, h.file.Close(), os.Remove(fresh))
	}
	return nil
}

// Set changes what the next Write says of a partition.
func (h *Head) Set(p event.Partition, head ledger.Head) {
	if i, ok := h.index[p]; ok {
		binary.BigEndian.PutUint64(h.buf[i+8:], uint64(head.Next))
		copy(h.buf[i+16:i+entrySize], head.Hash[:])
	}
}

// Write writes the file, without a sync. An error goes to Failed, once until a write succeeds: the file
// then stays as it was. A nil Head writes nothing.
func (h *Head) Write() {
	if h == nil {
		return
	}
	err := h.write()
	if err != nil && !h.failing && h.Failed != nil {
		h.Failed(err)
	}
	h.failing = err != nil
}

// write writes the copy that is not the newest. If that fails, that copy may be torn; the other one
// counts, and the next write is into the torn one.
func (h *Head) write() error {
	next := 1 - h.at.newest
	end := len(h.buf) - 4
	binary.BigEndian.PutUint64(h.buf[seqAt:], h.at.seq+1)
	binary.BigEndian.PutUint32(h.buf[end:], crc32.Checksum(h.buf[:end], castagnoli))
	if h.fault != nil {
		if err := h.fault(); err != nil {
			return err
		}
	}
	if _, err := h.file.WriteAt(h.buf, int64(next*h.at.size)); err != nil {
		return err
	}
	h.at.seq++
	h.at.newest = next
	return nil
}

// Close closes the file. A nil Head is closed.
func (h *Head) Close() error {
	if h == nil {
		return nil
	}
	return h.file.Close()
}

// RemoveHead removes the head file of the database at path, if there is one.
func RemoveHead(path string) error {
	for _, suffix := range []string{HeadSuffix, HeadSuffix + ".new"} {
		if err := os.Remove(filepath.Clean(path) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
