package foldstore

import (
	"errors"
	"syscall"
)

// noRoom reports whether an error says that the disk is full (ERROR_HANDLE_DISK_FULL, ERROR_DISK_FULL).
func noRoom(err error) bool {
	return errors.Is(err, syscall.Errno(39)) || errors.Is(err, syscall.Errno(112))
}
