//go:build !windows

package foldstore

import (
	"errors"
	"syscall"
)

// noRoom reports whether an error says that the disk, or the user's share of it, is full.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
