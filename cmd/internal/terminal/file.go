package terminal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteWhole writes a file, which only this user can read, durably as a whole or not at all. One that is there is replaced.
func WriteWhole(name string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*") // 0600
	if err != nil {
		return fmt.Errorf("the file cannot be written: %w", err)
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("the file cannot be written: %w", err)
	}
	return nil
}
