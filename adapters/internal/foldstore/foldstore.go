// Package foldstore keeps on this machine what is looked up under random keys: the folds of the streams, which
// streams have something due, which message an idempotency key belongs to, and which recipients' numbers end in
// which digits. It is a log-structured store (Pebble) in a folder of its own, because the cost of a random key in a
// B-tree grows with the tree. A Bloom filter says of most keys that were never written that they are not there,
// without reading anything; it has no false negatives.
//
// A commit is whole or not there at all. A crash, of the process too, may take the last commits, and never one from the
// middle. So what is committed here must be durable elsewhere first: the views commit their rows before the folds. Each block of the files has a checksum. Everything in the store
// can be made anew from the log.
package foldstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// The first octet of a key says what it is. Numbers are big-endian, so that keys are in their order.
const (
	keyBound  = 'b' // → the id of the views that the store belongs to
	keyMark   = 'm' // partition (2) → mark
	keyStream = 's' // subject (16) → Stream
	keyDue    = 'd' // partition (2), due (8), subject (16) → nothing
	keyTail   = 't' // partition (2), day (4), tail (8), account, 0, tenant, 0, subject (16) → nothing
	keyRow    = 'x' // subject (16), kind, id (16) → row
	keyGone   = 'g' // partition (2), first millisecond at which a row means nothing (8), subject (16), kind, id (16) → nothing
	keyKey    = 'r' // digest of tenant and idempotency key (16) → Reservations
)

// Options are the options of a store.
type Options struct {
	// Size is how many bytes it takes in memory at most, about. Default DefaultSize. Three fifths are for what is not
	// written yet, and are blocks of the files while they are not needed for that.
	Size int64
}

// DefaultSize is enough for look-ups among some millions of streams.
const DefaultSize = 70_000_000

// writesAhead is how many files may be gathered in memory before a commit waits for the disk.
const writesAhead = 3

// Store is an open store. Its methods may be called from any goroutine, but one at a time makes a Batch.
type Store struct {
	db  *pebble.DB
	dir string
	fs  *patientFS

	// swap is held while a commit and its marks become visible together. The map is not changed once it is here.
	swap  sync.RWMutex
	marks map[event.Partition]ledger.Mark
	known *known
}

// ErrDamaged means that a store is not what was written: make it anew.
var ErrDamaged = errors.New("the folds are damaged")

// Open opens the store in a folder, or makes both. One process at a time may have it open. After ErrDamaged, Remove the
// folder, and open the store once more: it is then empty.
func Open(dir string, o Options) (_ *Store, err error) {
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	gathered := o.Size / 5                                                                              // before they are written as a file
	if err := os.MkdirAll(dir, 0o700); errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrExist) { // a file, or a link that leads nowhere
		return nil, fmt.Errorf("%w: %s is no folder", ErrDamaged, dir)
	} else if err != nil {
		return nil, err
	}
	files := newPatientFS()
	lock, err := pebble.LockDirectory(dir, files)
	if err != nil {
		return nil, fmt.Errorf("open the folds in %s: another process has them open: %w", dir, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // the store has its own hold on it
	if why, err := os.ReadFile(filepath.Join(dir, damagedFile)); err == nil {
		return nil, fmt.Errorf("%w: a read found it: %s", ErrDamaged, why)
	}
	options := &pebble.Options{
		// Pebble takes what is not written yet out of CacheSize: with as little as that, each look-up reads filters and indexes.
		FS: files, Lock: lock, Logger: logger{}, CacheSize: o.Size, MemTableSize: uint64(gathered),
		// Keys are random, so each merge of new files rewrites the level below: fewer merges of more cost less. But each file that
		// is not merged yet is asked by every look-up. Among a million streams, a message writes 3.5 times what it adds with these
		// figures, and 7.4 times with files of 8 MiB, four before a merge and a level of 256 MiB.
		MemTableStopWritesThreshold: writesAhead, L0CompactionThreshold: 8, L0StopWritesThreshold: 24, LBaseMaxBytes: 64 << 20,
		FormatMajorVersion: pebble.FormatNewest, MaxOpenFiles: 500,
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, 1 },
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = filters{bloom.FilterPolicy(10)}
	}
	s := &Store{dir: dir, fs: files, known: newKnown()}
	options.EventListener = &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) { s.foundDamaged(i.Path) }}
	db, err := pebble.Open(dir, options)
	if err != nil {
		if noRoom(err) || errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.EROFS) {
			return nil, fmt.Errorf("open the folds in %s: %w", dir, err)
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, dir, err)
	}
	files.isOpen.Store(true)
	s.db = db
	if s.marks, err = s.readMarks(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrDamaged, dir, err), db.Close())
	}
	return s, nil
}

func (s *Store) readMarks() (map[event.Partition]ledger.Mark, error) {
	marks := map[event.Partition]ledger.Mark{}
	err := s.each(s.db, []byte{keyMark}, []byte{keyMark + 1}, func(key, value []byte) error {
		if len(key) != 3 {
			return errDamaged
		}
		m, err := readMark(value)
		marks[event.Partition(int16(binary.BigEndian.Uint16(key[1:])))] = m
		return err
	})
	return marks, err
}

// commit commits a batch, with the marks that it changes (nil ones are dropped) and the streams that it writes.
func (s *Store) commit(b *pebble.Batch, o *pebble.WriteOptions, change map[event.Partition]*ledger.Mark, written map[event.Pseudonym][]byte) error {
	s.swap.Lock()
	defer s.swap.Unlock()
	if err := b.Commit(o); err != nil {
		s.known.forget()
		return fmt.Errorf("write the folds: %w", err)
	}
	s.known.commit(written)
	if len(change) == 0 {
		return nil
	}
	s.marks = maps.Clone(s.marks)
	for p, m := range change {
		if m == nil {
			delete(s.marks, p)
		} else {
			s.marks[p] = *m
		}
	}
	return nil
}

// Close closes the store. Everything that was committed is then durable.
func (s *Store) Close() error {
	s.fs.giveUp()
	return s.db.Close()
}

// Remove removes the folder of a store that is not open; it is no error if there is none.
func Remove(dir string) error { return os.RemoveAll(dir) }

// logger passes on what Pebble cannot handle. After a fatal error the state in memory and that on the disk may
// differ, so the process ends, as after a crash.
type logger struct{}

func (logger) Infof(string, ...any) {}

func (logger) Errorf(format string, args ...any) {
	slog.Error("the store of the folds reports an error", "error", fmt.Sprintf(format, args...))
}

func (logger) Fatalf(format string, args ...any) {
	slog.Error("the store of the folds cannot go on, so the process ends; it is safe to start it again once the disk is well", "error", fmt.Sprintf(format, args...))
	os.Exit(1)
}

// damagedFile is there once a read has found the store damaged: the next Open refuses it.
const damagedFile = "damaged"

// foundDamaged makes the next opening know that something of the store is not what was written. What it is, Open says.
func (s *Store) foundDamaged(what string) {
	if err := os.WriteFile(filepath.Join(s.dir, damagedFile), []byte(what+"\n"), 0o600); err != nil {
		slog.Error("it cannot be noted that the folds are damaged", "folder", s.dir, "error", err)
	}
}

// failed says what an error of a read was for. Where a block has not the checksum that it must have, or a file is
// missing, the next opening knows it.
func (s *Store) failed(err error) error {
	if pebble.IsCorruptionError(err) || errors.Is(err, errDamaged) || errors.Is(err, fs.ErrNotExist) {
		s.foundDamaged("a record")
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("read the folds: %w", err)
}

// search returns an iterator for look-ups. Pebble's Get does not ask the filters of the last level, where most keys are; a
// look-up for a key that was never written would read a block there.
func search(r pebble.Reader) (*pebble.Iterator, error) {
	return r.NewIter(&pebble.IterOptions{UseL6Filters: true})
}

// get copies a value; nil if there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	it, err := search(s.db)
	if err != nil {
		return nil, s.failed(err)
	}
	out, err := s.find(it, key)
	if e := it.Close(); err == nil && e != nil {
		err = s.failed(e)
	}
	return out, err
}

// find copies a value that an iterator of search finds; nil if there is none.
func (s *Store) find(it *pebble.Iterator, key []byte) ([]byte, error) {
	if !isLookedUp(key[0]) {
		panic("foldstore: the filters do not know keys of this kind") // to find none would lose it
	}
	if !it.SeekPrefixGE(key) || !bytes.Equal(it.Key(), key) {
		if err := it.Error(); err != nil {
			return nil, s.failed(err)
		}
		return nil, nil
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return nil, s.failed(err)
	}
	return append(make([]byte, 0, len(v)), v...), nil
}

// Bound is the id of the views that the store belongs to; "" before Bind or Clear.
func (s *Store) Bound() (string, error) {
	v, err := s.get([]byte{keyBound})
	return string(v), err
}

// Bind makes the store belong to the views with that id. It is durable when Bind returns.
func (s *Store) Bind(id string) error { return s.db.Set([]byte{keyBound}, []byte(id), pebble.Sync) }

// Clear drops everything, and makes the store belong to the views with that id. It is durable when Clear returns.
func (s *Store) Clear(id string) error {
	b := s.db.NewBatch()
	defer func() { _ = b.Close() }()
	if err := b.DeleteRange([]byte{0}, []byte{0xff}, nil); err != nil {
		return err
	}
	if err := b.Set([]byte{keyBound}, []byte(id), nil); err != nil {
		return err
	}
	dropped := map[event.Partition]*ledger.Mark{}
	for p := range s.marks {
		dropped[p] = nil
	}
	defer s.known.forget()
	return s.commit(b, pebble.Sync, dropped, nil)
}

// Sync makes everything durable that was committed.
func (s *Store) Sync() error { return s.db.LogData(nil, pebble.Sync) }

// View is one snapshot of the last commit, for one goroutine. Close it.
type View struct {
	s        *Store
	snapshot *pebble.Snapshot
	marks    map[event.Partition]ledger.Mark
	commits  uint64           // how many there were
	it       *pebble.Iterator // for look-ups, once there was one
}

// View takes a snapshot.
func (s *Store) View() *View {
	s.swap.RLock()
	defer s.swap.RUnlock()
	return &View{s: s, snapshot: s.db.NewSnapshot(), marks: s.marks, commits: s.known.now()}
}

// Close ends the snapshot.
func (v *View) Close() {
	if v.it != nil {
		_ = v.it.Close() // what failed was said by the look-up
	}
	_ = v.snapshot.Close()
}

func (v *View) get(key []byte) (_ []byte, err error) {
	if v.it == nil {
		if v.it, err = search(v.snapshot); err != nil {
			return nil, v.s.failed(err)
		}
	}
	return v.s.find(v.it, key)
}

// Mark is how far a partition is folded; the zero Mark if it is not.
func (v *View) Mark(p event.Partition) ledger.Mark { return v.marks[p] }

// Stream is a stream as it is kept.
type Stream struct {
	// State is its fold, as recipient.State's JSON; empty if it has none.
	State []byte
	// Due is when the clerk has something to do for it next; zero: never. It is exact to a millisecond.
	Due time.Time
	// Latest is its latest message; zero if it has none.
	Latest event.ID
}

// Stream reads a stream; false if there is none. Its State must not be changed.
func (v *View) Stream(subject event.Pseudonym) (x Stream, ok bool, err error) {
	return v.s.stream(v.commits, v.get, subject)
}

// stream reads a stream as it is after so many commits: get looks for its record as of then.
func (s *Store) stream(commits uint64, get func(key []byte) ([]byte, error), subject event.Pseudonym) (x Stream, ok bool, err error) {
	raw, ok := s.known.get(commits, subject)
	if !ok {
		var key [17]byte
		if raw, err = get(streamKey(key[:0], subject)); err != nil {
			return x, false, err
		}
		s.known.put(commits, subject, raw)
	}
	if raw == nil {
		return x, false, nil
	}
	if x, err = readStream(raw); err != nil {
		return x, false, s.failed(err)
	}
	return x, true, nil
}

// Each calls f for each stream, in the order of subjects. f must not keep State.
func (v *View) Each(f func(subject event.Pseudonym, x Stream) error) error {
	return v.s.each(v.snapshot, []byte{keyStream}, []byte{keyStream + 1}, func(key, value []byte) error {
		if len(key) != 17 {
			return errDamaged
		}
		x, err := readStream(value)
		if err != nil {
			return err
		}
		return f(event.Pseudonym(key[1:]), x)
	})
}

// Due lists the streams of a partition that have something to do before an instant, the earliest first.
func (v *View) Due(p event.Partition, before time.Time) (due []ledger.Due, err error) {
	from, to := partitionKey(nil, keyDue, p), partitionKey(nil, keyDue, p)
	to = binary.BigEndian.AppendUint64(to, sortable(before.UnixMilli()))
	err = v.s.each(v.snapshot, from, to, func(key, _ []byte) error {
		if len(key) != 3+8+16 {
			return errDamaged
		}
		at := int64(binary.BigEndian.Uint64(key[3:]) ^ 1<<63)
		due = append(due, ledger.Due{Subject: event.Pseudonym(key[11:]), At: time.UnixMilli(at).UTC()})
		return nil
	})
	return due, err
}

// Tail is a recipient whose number ends in certain digits, as a hand-off of an account told it on a day.
type Tail struct {
	Day     int64
	Account string
	Tail    int64
	Tenant  string
	Subject event.Pseudonym
}

// Tails calls f for each tail of a partition, from a day on, in order of day and tail. tail says which one; nil: all.
func (v *View) Tails(p event.Partition, from, to int64, tail *int64, f func(Tail) error) error {
	take := func(key, _ []byte) error {
		t, err := readTail(key)
		if err != nil {
			return err
		}
		return f(t)
	}
	if tail == nil {
		return v.s.each(v.snapshot, dayKey(p, from), dayKey(p, to+1), take)
	}
	for day := from; day <= to; day++ {
		first := binary.BigEndian.AppendUint64(dayKey(p, day), sortable(*tail))
		if err := v.s.each(v.snapshot, first, after(first), take); err != nil {
			return err
		}
	}
	return nil
}

// after is the first key that does not begin as a key does; the key does not end in 0xff octets alone.
func after(prefix []byte) []byte {
	out := append([]byte(nil), prefix...)
	for i := len(out) - 1; ; i-- {
		if out[i]++; out[i] != 0 {
			return out[:i+1]
		}
	}
}

// each calls f for each record between two keys. A record that f finds damaged is noted like one that cannot be read.
func (s *Store) each(r pebble.Reader, from, to []byte, f func(key, value []byte) error) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return s.failed(err)
	}
	defer func() {
		if e := it.Close(); e != nil && err == nil {
			err = s.failed(e)
		}
	}()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return s.failed(err)
		}
		if err := f(it.Key(), value); errors.Is(err, errDamaged) {
			return s.failed(err)
		} else if err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return s.failed(err)
	}
	return nil
}

// Reservation is the message that an idempotency key belongs to.
type Reservation struct {
	Partition event.Partition
	Tenant    string
	Key       string // the key's digest
	Input     string // the digest of the request
	Message   event.ID
	Until     time.Time
}

// Reservations are those of a tenant's key, the oldest message first.
func (v *View) Reservations(tenant, key string) ([]Reservation, error) {
	raw, err := v.get(reservedKey(tenant, key))
	if err != nil || raw == nil {
		return nil, err
	}
	all, err := readReservations(raw)
	if err != nil {
		return nil, v.s.failed(err)
	}
	all = slices.DeleteFunc(all, func(x Reservation) bool { return x.Tenant != tenant || x.Key != key })
	slices.SortFunc(all, func(x, y Reservation) int { return bytes.Compare(x.Message[:], y.Message[:]) })
	return all, nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

var errDamaged = errors.New("the folds have a record that was not written by this program")

func sortable(n int64) uint64 { return uint64(n) ^ 1<<63 }

func millis(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixMilli()
}

func fromMillis(n int64) time.Time {
	if n == math.MinInt64 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}
