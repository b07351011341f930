package datafile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Files of a data folder have mode 0600, and folders 0700.
const (
	fileMode   = 0o600
	folderMode = 0o700
)

// MakeFile makes an empty file with mode 0600, whatever the process's umask is, and leaves one that is there.
// SQLite gives its -wal and -shm the mode of the database.
func MakeFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if runtime.GOOS != "windows" {
		err = f.Chmod(fileMode)
	}
	return errors.Join(err, f.Close())
}

// MakeFolder makes a folder with mode 0700, and the folders above it; whatever the process's umask is, it can
// then be used. One that is there stays as it is.
func MakeFolder(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, folderMode); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil
	}
	return os.Chmod(path, folderMode)
}

// ours are the beginnings of the names of what the product makes in a data folder.
var ours = []string{"ledger.", "vault.", "views.", "webhooks.", "master.key", "dev-key"}

// Private gives the data folder dir mode 0700 and the product's files in it mode 0600, where their modes let
// others do more; so it does with its folders of exports and of folds. It returns the names of what it changed. What
// belongs to another user is refused: the error names the file, its mode, and the command that puts it right.
// Other files in dir stay as they are. On Windows the modes say nothing, and Private does nothing.
func Private(dir string) (changed []string, err error) {
	if runtime.GOOS == "windows" {
		return nil, nil
	}
	one := func(path string, mode fs.FileMode) error {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // SQLite has removed it meanwhile
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&^mode == 0 {
			return nil
		}
		if !owned(info) {
			return fmt.Errorf("others can use %s (mode %04o), and it belongs to another user than the one who runs this: chown it to that user, or let its owner run: chmod %04o %s", path, info.Mode().Perm(), mode, path)
		}
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("others can use %s (mode %04o), and that cannot be changed (%w): chmod %04o %s", path, info.Mode().Perm(), err, mode, path)
		}
		changed = append(changed, path)
		return nil
	}
	all := func(dir string, is func(name string) bool) error {
		if err := one(dir, folderMode); err != nil {
			return err
		}
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !is(e.Name()) {
				continue
			}
			if err := one(filepath.Join(dir, e.Name()), fileMode); err != nil {
				return err
			}
		}
		return nil
	}
	err = all(dir, func(name string) bool {
		return slices.ContainsFunc(ours, func(begin string) bool { return strings.HasPrefix(name, begin) })
	})
	for _, folder := range []string{"exports", "views.db-folds"} {
		if err == nil {
			err = all(filepath.Join(dir, folder), func(string) bool { return true })
		}
	}
	return changed, err
}
