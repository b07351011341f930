package exports

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/exportjobs"
)

func newKey() []byte {
	k := make([]byte, 32)
	rand.Read(k)
	return k
}

func write(t *testing.T, s *Store, id event.ID, key, plain []byte, piece int) {
	t.Helper()
	f, err := s.Create(id, key)
	if err != nil {
		t.Fatal(err)
	}
	for rest := plain; len(rest) > 0; {
		n := min(piece, len(rest))
		if _, err := f.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
}

func read(s *Store, id event.ID, key []byte, size int) ([]byte, error) {
	r, err := s.Open(id, key, int64(size))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// What was written is read back, whatever its length, and the files tell nothing of it and are this user's alone.
func TestFile(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "exports"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize, 3*chunkSize + 17} {
		id, key, plain := event.NewID(time.Now()), newKey(), bytes.Repeat([]byte("+14155550123 "), n/13+1)[:n]
		write(t, s, id, key, plain, 10_000)
		got, err := read(s, id, key, n)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %d, %v", n, len(got), err)
		}
		raw, err := os.ReadFile(s.path(id, ".sealed"))
		if err != nil || bytes.Contains(raw, []byte("4155550123")) {
			t.Errorf("%d bytes lie there in clear, %v", n, err)
		}
		if err := s.Delete(id); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(id, key, int64(n)); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, exportjobs.ErrDamaged) {
			t.Error(err)
		}
	}
	for _, name := range []string{".", "a"} {
		if name == "a" {
			if err := s.Record(event.ID{1}, []byte("{}")); err != nil {
				t.Fatal(err)
			}
			name = event.ID{1}.String() + ".json"
		}
		st, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

// No bit of a file can be changed, no end cut off, no chunk moved, and no other key or id opens it.
func TestAltered(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id, key := event.NewID(time.Now()), newKey()
	write(t, s, id, key, bytes.Repeat([]byte("x"), 2*chunkSize+100), chunkSize)
	whole, err := os.ReadFile(s.path(id, ".sealed"))
	if err != nil {
		t.Fatal(err)
	}
	const head, box = len(magic) + saltSize, chunkSize + tagSize
	swapped := bytes.Clone(whole)
	copy(swapped[head:], whole[head+box:head+2*box])
	copy(swapped[head+box:], whole[head:head+box])
	for name, raw := range map[string][]byte{"no magic": whole[1:], "a chunk less": whole[:head+2*box], "two chunks less": whole[:head+box], "no chunk": whole[:head],
		"a byte less": whole[:len(whole)-1], "a byte more": append(bytes.Clone(whole), 0), "swapped": swapped, "empty": nil} {
		if err := os.WriteFile(s.path(id, ".sealed"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(id, key, 2*chunkSize+100); !errors.Is(err, exportjobs.ErrDamaged) {
			t.Errorf("%s is read", name)
		}
	}
	for _, at := range []int{0, len(magic), head, head + box, len(whole) - 1} {
		raw := bytes.Clone(whole)
		raw[at] ^= 1
		if err := os.WriteFile(s.path(id, ".sealed"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(id, key, 2*chunkSize+100); !errors.Is(err, exportjobs.ErrDamaged) {
			t.Errorf("byte %d is changed, and it is read", at)
		}
	}
	if err := os.WriteFile(s.path(id, ".sealed"), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(id, key, 2*chunkSize+99); !errors.Is(err, exportjobs.ErrDamaged) {
		t.Error("a length that the record does not say is read")
	}
	if _, err := s.Open(id, newKey(), 2*chunkSize+100); !errors.Is(err, exportjobs.ErrDamaged) {
		t.Error("another key opens it")
	}
	other := event.NewID(time.Now())
	if err := os.Rename(s.path(id, ".sealed"), s.path(other, ".sealed")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(other, key, 2*chunkSize+100); !errors.Is(err, exportjobs.ErrDamaged) {
		t.Error("it opens as another export's")
	}
}

// A file that was not finished leaves the older one, and the next start removes what is left of it.
func TestUnfinished(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	id, key := event.NewID(time.Now()), newKey()
	write(t, s, id, key, []byte("old"), 10)
	f, err := s.Create(id, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Repeat([]byte("n"), 3*chunkSize)); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir); err != nil { // a new process
		t.Fatal(err)
	}
	if got, err := read(s, id, key, 3); err != nil || string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
	f, err = s.Create(id, key)
	if err != nil {
		t.Fatal(err)
	}
	f.Abort()
	if all, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestRecords(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id := event.NewID(time.Now())
	for _, text := range []string{"one", "two"} {
		if err := s.Record(id, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, s, id, newKey(), []byte("x"), 1)
	if err := os.WriteFile(filepath.Join(s.dir, "notes.json"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := s.Records()
	if err != nil || len(got) != 1 || string(got[id]) != "two" {
		t.Errorf("%q, %v", got, err)
	}
	if err := errors.Join(s.Forget(id), s.Forget(id)); err != nil {
		t.Error(err)
	}
	if got, err := s.Records(); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(s.path(id, ".json"), make([]byte, maxRecord+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Records(); err != nil || len(got) != 1 || len(got[id]) != 0 {
		t.Error("a record has no bound")
	}
}

func TestSpool(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sp, err := s.Spool()
	if err != nil {
		t.Fatal(err)
	}
	plain := bytes.Repeat([]byte("+14155550123 "), 20_000)
	if _, err := sp.Write(plain); err != nil {
		t.Fatal(err)
	}
	r, err := sp.Rewind()
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob(filepath.Join(s.dir, "*"))
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	if raw, err := os.ReadFile(all[0]); err != nil || bytes.Contains(raw, []byte("4155550123")) {
		t.Errorf("it lies there in clear, %v", err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := sp.Close(); err != nil {
		t.Error(err)
	}
	if all, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(all) != 0 {
		t.Error(all)
	}
}

// A file is a stray if it has no record and is old.
func TestStrays(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	stray, known := event.NewID(time.Now()), event.NewID(time.Now())
	write(t, s, stray, newKey(), []byte("x"), 1)
	write(t, s, known, newKey(), []byte("x"), 1)
	if err := s.Record(known, []byte("does not open")); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(s.path(stray, ".sealed"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Strays(st.ModTime()); err != nil || len(got) != 0 {
		t.Errorf("a new file is a stray: %v, %v", got, err)
	}
	if got, err := s.Strays(st.ModTime().Add(time.Hour)); err != nil || len(got) != 1 || got[0] != stray {
		t.Errorf("%v, %v", got, err)
	}
}
