package main

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// cutter is a listener whose connections can be cut: between the simulated centre and the node.
type cutter struct {
	net.Listener
	// watch, when set, is given every whole PDU that passes: of the ESME, or of the centre.
	watch func(c *cutConn, esme bool, frame []byte)

	mu    sync.Mutex
	conns map[*cutConn]bool
	cuts  [cutKinds]int
}

// cutKind is how a connection is cut.
type cutKind int32

const (
	// uncut: everything passes.
	uncut cutKind = iota
	// cutAtOnce: the connection is closed.
	cutAtOnce
	// cutWithin: the connection is closed in the middle of the next PDU, of either side.
	cutWithin
	// cutSilently: the connection stays, and nothing passes any more.
	cutSilently
	cutKinds
)

func (k cutKind) String() string { return [...]string{"uncut", "at once", "within a PDU", "silent"}[k] }

// Accept is the next connection of an ESME.
func (l *cutter) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &cutConn{Conn: nc, l: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = true
	return c, nil
}

// cut cuts one of the connections that are not cut yet, at random: half of them within a PDU, and one in five by
// silence. It reports whether there was one.
func (l *cutter) cut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var whole []*cutConn
	for c := range l.conns {
		if cutKind(c.kind.Load()) == uncut && c.bound.Load() {
			whole = append(whole, c)
		}
	}
	if len(whole) == 0 {
		return false
	}
	c, kind := whole[rand.IntN(len(whole))], cutAtOnce
	switch n := rand.IntN(10); {
	case n < 5:
		kind = cutWithin
	case n < 7:
		kind = cutSilently
	}
	l.cuts[kind]++
	c.kind.Store(int32(kind))
	if kind == cutAtOnce {
		c.Conn.Close()
	}
	return true
}

// cutConn is one connection, as the centre reads and writes it.
type cutConn struct {
	net.Conn
	l     *cutter
	kind  atomic.Int32
	bound atomic.Bool // the centre has written something

	in, out framer
}

// errCut is the error of a connection that was cut.
var errCut = errors.New("cut by the test")

// Read reads what the ESME writes.
func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch cutKind(c.kind.Load()) {
	case cutAtOnce:
		return 0, errCut
	case cutSilently:
		// What comes is lost, until the ESME gives up.
		_, _ = io.Copy(io.Discard, c.Conn)
		return 0, io.EOF
	case cutWithin:
		if n > 1 {
			n -= 1 + rand.IntN(min(n-1, wire.HeaderLen-1)) // no PDU is shorter than that
			c.pass(true, b[:n])
			c.Conn.Close()
			return n, nil
		}
	}
	c.pass(true, b[:n])
	return n, err
}

// Write writes what the centre sends.
func (c *cutConn) Write(b []byte) (int, error) {
	switch cutKind(c.kind.Load()) {
	case cutAtOnce:
		return 0, errCut
	case cutSilently:
		return len(b), nil
	case cutWithin:
		n := len(b) - 1 - rand.IntN(wire.HeaderLen-1)
		_, _ = c.Conn.Write(b[:max(n, 1)])
		c.Conn.Close()
		return 0, errCut
	}
	c.bound.Store(true)
	c.pass(false, b) // before it is written, so that no answer comes first
	return c.Conn.Write(b)
}

func (c *cutConn) pass(esme bool, b []byte) {
	f := &c.out
	if esme {
		f = &c.in
	}
	f.feed(b, func(frame []byte) { c.l.watch(c, esme, frame) })
}

// Close is called by the centre.
func (c *cutConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// framer cuts octets that come in pieces into PDUs. One goroutine at a time uses it.
type framer struct{ rest []byte }

func (f *framer) feed(b []byte, whole func([]byte)) {
	f.rest = append(f.rest, b...)
	at := 0
	for len(f.rest)-at >= wire.HeaderLen {
		n := int(binary.BigEndian.Uint32(f.rest[at:]))
		if n < wire.HeaderLen || len(f.rest)-at < n {
			break
		}
		whole(f.rest[at : at+n])
		at += n
	}
	f.rest = f.rest[:copy(f.rest, f.rest[at:])]
}
