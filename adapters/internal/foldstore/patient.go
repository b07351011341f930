package foldstore

import (
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// patientFS is the file system of a store. Pebble ends the process if its files cannot be written; on a full disk
// this file system waits for room instead, as the ledger does. Meanwhile the views are behind, and the ledger, on
// the same disk, refuses what is new and says so.
type patientFS struct {
	vfs.FS
	isOpen  atomic.Bool // before that an error is the caller's to report
	once    sync.Once
	closing chan struct{}
	told    atomic.Int64 // when it was last said that the disk is full, in seconds
}

func newPatientFS() *patientFS { return &patientFS{FS: vfs.Default, closing: make(chan struct{})} }

// giveUp ends the waits: a store that closes does not wait for room.
func (p *patientFS) giveUp() { p.once.Do(func() { close(p.closing) }) }

// roomEvery is how often a full disk is tried again.
const roomEvery = 200 * time.Millisecond

// wait tries a write until the disk has room for it.
func (p *patientFS) wait(try func() error) error {
	for {
		err := try()
		if !noRoom(err) || !p.isOpen.Load() {
			return err
		}
		if now, last := time.Now().Unix(), p.told.Load(); now >= last+60 && p.told.CompareAndSwap(last, now) {
			slog.Error("the disk is full, and the folds of the streams cannot be written; the process waits until there is room",
				"error", err, "do", "make room on the disk of the data folder; the process goes on by itself")
		}
		select {
		case <-p.closing:
			return err
		case <-time.After(roomEvery):
		}
	}
}

func (p *patientFS) opened(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &patientFile{f, p}, nil
}

func (p *patientFS) Create(name string, c vfs.DiskWriteCategory) (f vfs.File, err error) {
	err = p.wait(func() (err error) { f, err = p.FS.Create(name, c); return err })
	if err == nil {
		err = private(name)
	}
	return p.opened(f, err)
}

func (p *patientFS) Lock(name string) (io.Closer, error) {
	c, err := p.FS.Lock(name)
	if err == nil {
		err = private(name)
	}
	return c, err
}

// private makes a file its owner's alone, whatever the process's umask is.
func private(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	return os.Chmod(name, 0o600)
}

func (p *patientFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return p.opened(p.FS.OpenReadWrite(name, c, o...))
}

func (p *patientFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.opened(p.FS.ReuseForWrite(old, name, c))
}

func (p *patientFS) Unwrap() vfs.FS { return p.FS }

type patientFile struct {
	vfs.File
	p *patientFS
}

func (f *patientFile) Write(b []byte) (n int, err error) {
	err = f.p.wait(func() error {
		k, err := f.File.Write(b[n:])
		n += k
		return err
	})
	return n, err
}

func (f *patientFile) Sync() error     { return f.p.wait(f.File.Sync) }
func (f *patientFile) SyncData() error { return f.p.wait(f.File.SyncData) }

func (f *patientFile) Preallocate(offset, length int64) error {
	return f.p.wait(func() error { return f.File.Preallocate(offset, length) })
}
