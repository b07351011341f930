//go:build unix

package outbound

import (
	"net"
	"syscall"
)

// silent reports whether the peer has neither closed an idle connection nor written anything on it.
func silent(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) { // not Read, which heeds the deadline of the last call
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		ok = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return ok && err == nil
}
