//go:build unix

package datafile

import (
	"io/fs"
	"os"
	"syscall"
)

// owned reports whether a file belongs to the user that runs the process.
func owned(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}
