// Package exports keeps the files of exports at rest, in one folder that only this process's user may
// read. For each export it has
//
//	<id>.json    the job's record, without personal data, replaced as a whole
//	<id>.sealed  the file, sealed (see seal.go)
//	*.tmp        what a process that ended was writing; it is removed at the next start
//
// What Record and Commit wrote is durable when they return.
package exports

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/export"
	"github.com/chirograph/chirograph/domain/exportjobs"
)

// maxRecord bounds a job's record.
const maxRecord = 1 << 20

// Store is a folder of exports. One process has it at a time. It is an exportjobs.Files; its methods may be
// called from any goroutine, but not two of them for one export at once.
type Store struct{ dir string }

// Open opens a folder, makes it where it is missing, and removes what was half written.
func Open(dir string) (*Store, error) {
	if err := datafile.MakeFolder(dir); err != nil {
		return nil, err
	}
	// The folder may have been made by hand. On Windows the mode says nothing.
	if err := os.Chmod(dir, 0o700); err != nil && runtime.GOOS != "windows" { //nolint:gosec // a folder needs its x bit
		return nil, fmt.Errorf("the folder of exports must belong to the user that runs this: %w", err)
	}
	rests, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil {
		return nil, err
	}
	for _, rest := range rests {
		if err := os.Remove(rest); err != nil {
			return nil, err
		}
	}
	return &Store{dir}, nil
}

func (s *Store) path(id event.ID, end string) string {
	return filepath.Join(s.dir, id.String()+end)
}

// Records reads the records of all jobs. A file whose name is not one of ours is left alone, and one of more
// than 1 MiB is as if it were empty.
func (s *Store) Records() (map[event.ID][]byte, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	out := map[event.ID][]byte{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		id, err := event.ParseID(name)
		if err != nil || id.IsZero() {
			continue
		}
		f, err := os.Open(filepath.Join(s.dir, e.Name()))
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		if len(raw) > maxRecord { // none of ours; who reads it finds that it does not open
			raw = nil
		}
		out[id] = raw
	}
	return out, nil
}

// Record replaces the record of a job.
func (s *Store) Record(id event.ID, record []byte) error {
	t, err := s.temporary()
	if err != nil {
		return err
	}
	_, err = t.Write(record)
	return s.finish(t, err, s.path(id, ".json"))
}

// Forget removes the record of a job and its file. It is no error if there is neither.
func (s *Store) Forget(id event.ID) error {
	if err := s.Delete(id); err != nil {
		return err
	}
	return s.remove(s.path(id, ".json"))
}

// Delete removes the file of an export. It is no error if there is none.
func (s *Store) Delete(id event.ID) error { return s.remove(s.path(id, ".sealed")) }

func (s *Store) remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, datafile.SyncDir(s.dir))
}

// Create begins the file of an export, sealed under a key of 32 bytes. An older file of the export stays
// until Commit.
func (s *Store) Create(id event.ID, key []byte) (exportjobs.File, error) {
	t, err := s.temporary()
	if err != nil {
		return nil, err
	}
	w, err := newSealer(t, key, id)
	if err != nil {
		return nil, errors.Join(err, t.Close(), os.Remove(t.Name()))
	}
	return &file{sealer: w, store: s, f: t, path: s.path(id, ".sealed")}, nil
}

// Strays are the exports that have a file from before a time, and no record.
func (s *Store) Strays(before time.Time) ([]event.ID, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []event.ID
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".sealed")
		if !ok {
			continue
		}
		id, err := event.ParseID(name)
		if err != nil || id.IsZero() {
			continue
		}
		if _, err := os.Lstat(s.path(id, ".json")); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		st, err := e.Info()
		if err != nil {
			return nil, err
		}
		if st.ModTime().Before(before) {
			out = append(out, id)
		}
	}
	return out, nil
}

// Full reports whether an error says that the disk is full, or that this user may have no more of it.
func (s *Store) Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Open reads the file of an export, of size bytes in clear. It reads all of it before, and the error is
// exportjobs.ErrDamaged if it is missing, or is not what was written. What is altered later is an error of Read.
func (s *Store) Open(id event.ID, key []byte, size int64) (io.ReadCloser, error) {
	f, err := os.Open(s.path(id, ".sealed"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", exportjobs.ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	if err := verify(f, key, id, size); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", exportjobs.ErrDamaged, err), f.Close())
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r, err := newUnsealer(f, key, id)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// verify reads a sealed file to its end.
func verify(f io.Reader, key []byte, id event.ID, size int64) error {
	r, err := newUnsealer(f, key, id)
	if err != nil {
		return err
	}
	switch n, err := io.Copy(io.Discard, r); {
	case err != nil:
		return err
	case n != size:
		return fmt.Errorf("it has %d bytes in clear, and its record says %d", n, size)
	}
	return nil
}

// temporary makes a new file with mode 0600.
func (s *Store) temporary() (*os.File, error) { return os.CreateTemp(s.dir, "*.tmp") }

// finish makes what t has durable under its own name, or removes t.
func (s *Store) finish(t *os.File, err error, path string) error {
	if err == nil {
		err = t.Sync()
	}
	err = errors.Join(err, t.Close())
	if err == nil {
		err = os.Rename(t.Name(), path)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(t.Name())))
	}
	return datafile.SyncDir(s.dir)
}

// ignoreMissing is err, but for a file that there is not.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// file is an export that is being written.
type file struct {
	*sealer
	store *Store
	f     *os.File
	path  string
}

// Commit seals the end and makes the file durable under its name.
func (f *file) Commit() error { return f.store.finish(f.f, f.end(), f.path) }

// Abort removes what was written.
func (f *file) Abort() { f.f.Close(); os.Remove(f.f.Name()) }

// spool is a temporary file under a key that only this process has.
type spool struct {
	*sealer
	f   *os.File
	key []byte
}

// Spool makes a temporary file. What is written to it is sealed.
func (s *Store) Spool() (export.Spool, error) {
	t, err := s.temporary()
	if err != nil {
		return nil, err
	}
	sp := &spool{f: t, key: make([]byte, 32)}
	rand.Read(sp.key)
	if sp.sealer, err = newSealer(t, sp.key, event.ID{}); err != nil {
		return nil, errors.Join(err, sp.Close())
	}
	return sp, nil
}

// Rewind is part of export.Spool.
func (s *spool) Rewind() (io.Reader, error) {
	if err := s.end(); err != nil {
		return nil, err
	}
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return newUnsealer(s.f, s.key, event.ID{})
}

// Close is part of export.Spool.
func (s *spool) Close() error { return errors.Join(s.f.Close(), os.Remove(s.f.Name())) }
