package assemble

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	// Restoring is the folder, inside a data folder, in which chirograph restore makes what it restores.
	Restoring = "restoring"
	// RestoringMark is the file in it that is there from before the first other file until after the last one has
	// its place.
	RestoringMark = "restore.json"
)

// checkRestoring refuses a data folder in which a restore was cut short.
func checkRestoring(dir string) error {
	_, err := os.Stat(filepath.Join(dir, Restoring, RestoringMark))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("a restore into %s was cut short: run chirograph restore again, it goes on where it stopped", dir)
}
