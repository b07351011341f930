package datafile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Make makes a file with mode 0600 that is whole and durable when it returns. It never replaces a file. A
// crash leaves the whole file, or no file of that name; what it was writing, under a name that begins with
// path and ".new-", is removed by the next Make.
func Make(path string, content []byte) (err error) {
	rests, err := filepath.Glob(quoteGlob(path) + ".new-*")
	if err != nil {
		return err
	}
	for _, rest := range rests {
		if err := os.Remove(rest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removed(f.Name())) }()
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	switch err := os.Link(f.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return err
	case err != nil: // a file system without links
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", path, errors.Join(fs.ErrExist, err))
		}
		if err := os.Rename(f.Name(), path); err != nil {
			return err
		}
	}
	return SyncDir(filepath.Dir(path))
}

func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// quoteGlob is a pattern of filepath.Glob for the path itself.
func quoteGlob(path string) string {
	var out []rune
	for _, r := range path {
		switch r {
		case '*', '?', '[':
			out = append(out, '[', r, ']')
		case '\\':
			if runtime.GOOS != "windows" {
				out = append(out, '\\')
			}
			out = append(out, r)
		default:
			out = append(out, r)
		}
	}
	return string(out)
}

// SyncDir makes the file names in a folder durable.
func SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // NTFS journals its names
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
