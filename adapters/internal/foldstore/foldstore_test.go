package foldstore

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// TestModel: the store answers as a map does, after every commit and after it was opened anew; a batch that was not
// committed leaves nothing.
func TestModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	dir := filepath.Join(t.TempDir(), "folds")
	s := open(t, dir)
	defer func() { s.Close() }()
	const partitions = 3
	streams := map[event.Pseudonym]Stream{}
	marks := map[event.Partition]ledger.Mark{}
	tails := map[event.Partition]map[Tail]bool{}
	keys := map[string][]Reservation{}
	subject := func() (x event.Pseudonym) {
		x[0], x[7] = byte(rng.IntN(6)), byte(rng.IntN(8))
		return x
	}
	of := func(x event.Pseudonym) event.Partition { return event.Partition(x.Partition(partitions)) }
	check := func() {
		t.Helper()
		v := s.View()
		defer v.Close()
		got := map[event.Pseudonym]Stream{}
		var order []event.Pseudonym
		if err := v.Each(func(x event.Pseudonym, st Stream) error {
			st.State = bytes.Clone(st.State)
			got[x] = st
			order = append(order, x)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, streams) || !slices.IsSortedFunc(order, func(a, b event.Pseudonym) int { return bytes.Compare(a[:], b[:]) }) {
			t.Fatalf("streams %v, not %v", got, streams)
		}
		for p := range event.Partition(partitions) {
			if v.Mark(p) != marks[p] {
				t.Fatalf("mark of %s: %v, not %v", p, v.Mark(p), marks[p])
			}
			var want []ledger.Due
			for x, st := range streams {
				if of(x) == p && !st.Due.IsZero() && st.Due.Before(at(500)) {
					want = append(want, ledger.Due{Subject: x, At: st.Due})
				}
			}
			slices.SortFunc(want, func(a, b ledger.Due) int {
				if n := a.At.Compare(b.At); n != 0 {
					return n
				}
				return bytes.Compare(a.Subject[:], b.Subject[:])
			})
			due, err := v.Due(p, at(500))
			if err != nil || !slices.Equal(due, want) {
				t.Fatalf("due %v, not %v: %v", due, want, err)
			}
			for tail := int64(-2); tail < 3; tail++ {
				n := 0
				if err := v.Tails(p, 10, 14, &tail, func(x Tail) error {
					n++
					if !tails[p][x] || x.Tail != tail {
						t.Fatalf("tail %v", x)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				for x := range tails[p] {
					if x.Tail == tail && x.Day >= 10 && x.Day <= 14 {
						n--
					}
				}
				if n != 0 {
					t.Fatalf("%d tails more than there are", n)
				}
			}
		}
		for k := range 5 {
			key := string(rune('a' + k))
			got, err := v.Reservations("bank", key)
			if err != nil || len(got) != len(keys[key]) || len(got) > 0 && !reflect.DeepEqual(got, keys[key]) {
				t.Fatalf("key %s: %v, not %v: %v", key, got, keys[key], err)
			}
		}
	}
	for round := range 400 {
		b := s.Batch()
		drop := rng.IntN(6) == 0
		written := map[event.Pseudonym]bool{}
		for range rng.IntN(6) {
			x := subject()
			if written[x] {
				continue
			}
			written[x] = true
			old, there, err := b.Stream(x)
			if was, ok := streams[x]; err != nil || ok != there || ok && !reflect.DeepEqual(was, old) {
				t.Fatal(old, there, err)
			}
			st := Stream{State: []byte{'{', byte(round), '}'}}
			if rng.IntN(2) == 0 {
				st.Due = at(int64(rng.IntN(1000) - 100))
			}
			st.Latest[0] = byte(rng.IntN(3))
			if err := b.PutStream(of(x), x, old.Due, &st); err != nil {
				t.Fatal(err)
			}
			if !drop {
				streams[x] = st
			}
		}
		p := event.Partition(rng.IntN(partitions))
		m := ledger.Mark{Next: int64(round + 1)}
		m.Hash[3], m.Partition.Control, m.Partition.Time = byte(round), int64(round), at(int64(round))
		tail := Tail{Day: int64(8 + rng.IntN(9)), Account: "acme", Tail: int64(rng.IntN(5) - 2), Tenant: "bank", Subject: subject()}
		key := string(rune('a' + rng.IntN(5)))
		r := Reservation{Partition: p, Tenant: "bank", Key: key, Input: "x", Until: at(int64(round))}
		r.Message[0], r.Message[1] = byte(round>>8), byte(round)
		if err := errors.Join(b.PutMark(p, m), b.PutTail(p, &tail), b.Reserve(&r)); err != nil {
			t.Fatal(err)
		}
		if drop {
			b.Close()
		} else {
			if err := b.Commit(); err != nil {
				t.Fatal(err)
			}
			b.Close()
			marks[p] = m
			if tails[p] == nil {
				tails[p] = map[Tail]bool{}
			}
			tails[p][tail] = true
			keys[key] = append(keys[key], r)
		}
		switch rng.IntN(30) {
		case 0: // end old reservations, and tails
			b := s.Batch()
			until := at(int64(round - 20))
			for key, all := range keys {
				if err := b.Unreserve("bank", key, until); err != nil {
					t.Fatal(err)
				}
				keys[key] = slices.DeleteFunc(all, func(r Reservation) bool { return !r.Until.After(until) })
			}
			if err := errors.Join(b.PruneTails(p, 11), b.Commit()); err != nil {
				t.Fatal(err)
			}
			b.Close()
			for x := range tails[p] {
				if x.Day < 11 {
					delete(tails[p], x)
				}
			}
		case 1:
			if err := s.Reset(p, func(x event.Pseudonym) bool { return of(x) == p }); err != nil {
				t.Fatal(err)
			}
			delete(marks, p)
			delete(tails, p)
			for x := range streams {
				if of(x) == p {
					delete(streams, x)
				}
			}
			for key, all := range keys {
				keys[key] = slices.DeleteFunc(all, func(r Reservation) bool { return r.Partition == p })
			}
		case 2:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir)
		}
		check()
	}
	if err := s.Clear("other"); err != nil {
		t.Fatal(err)
	}
	clear(streams)
	clear(marks)
	clear(tails)
	clear(keys)
	check()
	if id, err := s.Bound(); err != nil || id != "other" {
		t.Fatal(id, err)
	}
}

// TestSnapshot: a view stays as it was, its marks too, whatever is committed later.
func TestSnapshot(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "folds"))
	defer s.Close()
	put := func(n byte) {
		b := s.Batch()
		defer b.Close()
		x := Stream{State: []byte{n}}
		if err := errors.Join(b.PutStream(0, event.Pseudonym{1}, time.Time{}, &x), b.PutMark(0, ledger.Mark{Next: int64(n)}), b.Commit()); err != nil {
			t.Fatal(err)
		}
	}
	put(1)
	v := s.View()
	defer v.Close()
	put(2)
	if x, ok, err := v.Stream(event.Pseudonym{1}); err != nil || !ok || x.State[0] != 1 || v.Mark(0).Next != 1 {
		t.Fatal(x, ok, err, v.Mark(0))
	}
}

// TestSecondOpening: a store that is open is neither opened nor taken for damaged by another opening.
func TestSecondOpening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "folds")
	s := open(t, dir)
	defer s.Close()
	if _, err := Open(dir, Options{}); err == nil || errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

// TestNoFolder: what stands where the folder should be, and is none, is damage: Remove takes it away, and nothing that it leads to.
func TestNoFolder(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "elsewhere")
	for name, put := range map[string]func(path string) error{
		"a file":                    func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"a link that leads nowhere": func(path string) error { return os.Symlink(target, path) },
		"a link that leads to a file": func(path string) error {
			return errors.Join(os.WriteFile(target, []byte("x"), 0o600), os.Symlink(target, path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if err := put(path); err != nil {
				t.Skip("no links here:", err)
			}
			if s, err := Open(path, Options{}); !errors.Is(err, ErrDamaged) {
				t.Fatal(s, err)
			}
			if err := Remove(path); err != nil {
				t.Fatal(err)
			}
			open(t, path).Close()
			if raw, err := os.ReadFile(target); name == "a link that leads to a file" && string(raw) != "x" {
				t.Error("what the link led to is gone:", err)
			}
			_ = os.Remove(target)
		})
	}
}

// TestModes: what the store makes is for its owner alone, whatever the umask.
func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	dir := filepath.Join(t.TempDir(), "folds")
	open(t, dir).Close()
	open(t, dir).Close()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 4 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// fullFS is a file system without room, until it has some.
type fullFS struct {
	vfs.FS
	full chan struct{} // closed once there is room
}

func (f *fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	select {
	case <-f.full:
		return f.FS.Create(name, c)
	default:
		return nil, &os.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
}

// TestWaitsForRoom: where the disk is full, an open store waits for room, and one that closes or opens does not.
func TestWaitsForRoom(t *testing.T) {
	files := newPatientFS()
	full := &fullFS{vfs.NewMem(), make(chan struct{})}
	files.FS = full
	create := func() error {
		var f vfs.File
		err := files.wait(func() (err error) { f, err = files.FS.Create("a", vfs.WriteCategoryUnspecified); return err })
		if err == nil {
			err = f.Close()
		}
		return err
	}
	if err := create(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal("an opening waits: ", err)
	}
	files.isOpen.Store(true)
	done := make(chan error, 1)
	go func() { done <- create() }()
	select {
	case err := <-done:
		t.Fatal("it does not wait: ", err)
	default:
	}
	close(full.full)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	full.full = make(chan struct{})
	go func() { done <- create() }()
	files.giveUp()
	if err := <-done; !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// FuzzRecords: whatever octets are read as a record, they are refused or read, and what is read is written as the same.
func FuzzRecords(f *testing.F) {
	m := ledger.Mark{Next: 7}
	f.Add(appendMark(nil, &m))
	f.Add(appendStream(nil, &Stream{State: []byte("{}"), Due: at(5)}))
	f.Add(appendReservation(nil, &Reservation{Tenant: "bank", Key: "k", Input: "i", Until: at(9)}))
	f.Add(tailKey(2, &Tail{Day: 3, Account: "a", Tail: -1, Tenant: "t"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := readMark(bytes.Clone(b)); err == nil {
			if again, err := readMark(appendMark(nil, &m)); err != nil || again != m {
				t.Fatal(again, m, err)
			}
		}
		if x, err := readStream(b); err == nil {
			if again, err := readStream(appendStream(nil, &x)); err != nil || !reflect.DeepEqual(again, x) {
				t.Fatal(again, x, err)
			}
		}
		if all, err := readReservations(bytes.Clone(b)); err == nil {
			var out []byte
			for i := range all {
				out = appendReservation(out, &all[i])
			}
			if again, err := readReservations(out); err != nil || !reflect.DeepEqual(again, all) {
				t.Fatal(again, all, err)
			}
		}
		_, _ = readTail(b)
	})
}

func BenchmarkStream(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "folds"))
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	subject := func() (x event.Pseudonym) {
		for i := range x {
			x[i] = byte(rng.Uint32())
		}
		return x
	}
	state := bytes.Repeat([]byte("0123456789"), 90)
	var known []event.Pseudonym
	for range 100 {
		batch := s.Batch()
		for range 1000 {
			x := subject()
			known = append(known, x)
			if err := batch.PutStream(0, x, time.Time{}, &Stream{State: state}); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
		batch.Close()
	}
	for name, next := range map[string]func() event.Pseudonym{"known": func() event.Pseudonym { return known[rng.IntN(len(known))] }, "never seen": subject} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				v := s.View()
				if _, _, err := v.Stream(next()); err != nil {
					b.Fatal(err)
				}
				v.Close()
			}
		})
	}
}
