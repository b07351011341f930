package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
)

// resolved is a path without links, as far as it exists.
func resolved(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for rest := ""; ; {
		real, err := filepath.EvalSymlinks(abs)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(abs) == abs {
			return "", err
		}
		abs, rest = filepath.Dir(abs), filepath.Join(filepath.Base(abs), rest)
	}
}

// folder is a folder by its name in a sentence.
type folder struct{ name, path string }

// apart refuses folders of which one is inside another: a copy on the same disk, in the same folder, is lost
// together with its original, and keys beside the ledger open it.
func apart(folders ...folder) error {
	var real []string
	for _, f := range folders {
		r, err := resolved(f.path)
		if err != nil {
			return err
		}
		real = append(real, r)
	}
	inside := func(a, b string) bool {
		return a == b || strings.HasPrefix(a, strings.TrimSuffix(b, string(os.PathSeparator))+string(os.PathSeparator))
	}
	for i := range folders {
		for j := range i {
			if inside(real[i], real[j]) || inside(real[j], real[i]) {
				return fmt.Errorf("%s (%s) and %s (%s) must be apart: neither may be inside the other. Name a folder on another disk", folders[j].name, folders[j].path, folders[i].name, folders[i].path)
			}
		}
	}
	return nil
}

// checkTarget refuses a folder that is no backup and has something in it.
func checkTarget(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ours := false
	var others []string
	for _, e := range entries {
		switch name := e.Name(); {
		case slices.Contains([]string{"vault.db", "views.db", "views.db-folds", "webhooks.db", "master.key"}, name):
			return fmt.Errorf("%s has a file %s, so it is a data folder and no backup: name another folder", dir, name)
		case strings.HasPrefix(name, "ledger.") || strings.HasPrefix(name, manifestFile) || strings.HasPrefix(name, webhooksPrefix):
			ours = true
		case name != "lost+found":
			others = append(others, name)
		}
	}
	if len(others) > 0 && !ours {
		return fmt.Errorf("%s is no backup, and it is not empty (%s): name an empty folder, or one that does not exist", dir, others[0])
	}
	return nil
}

// lock takes a backup's folder for this process.
func lock(dir string) (*os.File, error) {
	f, err := sqlitelog.Lock(dir)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("the backup is in use: %w", err)
	}
	return f, err
}

// diskFull adds to an error of a full disk what to do.
func diskFull(err error, dir string, old *manifest) error {
	if err == nil || !sqlitelog.IsFull(err) && !isNoSpace(err) {
		return err
	}
	state := "There is no earlier whole backup in it"
	if old != nil {
		state = "The backup of " + instant(old.AsOf) + " in it is whole as before"
	}
	return fmt.Errorf("the disk of the backup %s, or that of the keys (--keys), is full. %s. Free some space and run the command again; it continues where it stopped: %w", dir, state, err)
}
