//go:build linux || darwin

package datafile

import (
	"os"
	"syscall"
)

// Free returns the bytes that this user can still write on the disk that path is on, and the disk's size.
func Free(path string) (free, size int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(s.Bavail) * int64(s.Bsize), int64(s.Blocks) * int64(s.Bsize), nil //nolint:unconvert // the types differ by system
}
