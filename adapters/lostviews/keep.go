package lostviews

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	_ "modernc.org/sqlite" // the driver
)

// Keep brings the write-ahead file of the views at path into their file, and gives the file the name as, in the
// same folder. There must be no file of that name, and no process may use the views. What is kept is durable
// when Keep returns. After a crash in it the file has one of the two names, and Keep can be called again
// if it is the old one.
func Keep(path, as string) error {
	if _, err := os.Lstat(as); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s exists already", as))
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=rw")
	if err != nil {
		return err
	}
	var busy, frames, moved int
	err = db.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("bring the write-ahead file into the views: %w", err)
	}
	if busy != 0 || frames != moved {
		return errors.New("bring the write-ahead file into the views: another process uses them")
	}
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		return errors.New("bring the write-ahead file into the views: it is still there")
	}
	// The folds are not kept: the rows say what they say.
	if err := os.RemoveAll(path + "-folds"); err != nil {
		return err
	}
	// The head file goes first: alone it would say of the next views of that name what these knew.
	err = datafile.RemoveHead(path)
	for _, suffix := range []string{"-wal", "-shm"} {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	err = os.Rename(path, as)
	return errors.Join(err, datafile.SyncDir(filepath.Dir(path)))
}
