package servertest

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy passes connections between a node and a server on, on loopback, and can cut them.
type Proxy struct {
	addr, server string

	mu    sync.Mutex
	conns map[net.Conn]bool
	mode  Way
	l     net.Listener
	wg    sync.WaitGroup
}

// Way says what a proxy does.
type Way int

// What a proxy can do.
const (
	// Forward: everything is passed on.
	Forward Way = iota
	// Refuse: connections are refused.
	Refuse
	// Hang: connections are accepted, and nothing passes in either direction.
	Hang
)

// Through returns a proxy before a server, and the URL that leads through it.
func Through(t testing.TB, server string) (*Proxy, string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{server: u.Host, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	p.listen(t)
	t.Cleanup(func() {
		p.Set(t, Refuse)
		p.wg.Wait()
	})
	u.Host = p.addr
	return p, u.String()
}

func (p *Proxy) listen(t testing.TB) {
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.l, p.addr = l, l.Addr().String()
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
}

// Set changes what the proxy does. It cuts every connection, unless they are to hang.
func (p *Proxy) Set(t testing.TB, mode Way) {
	p.mu.Lock()
	was := p.mode
	p.mode = mode
	if mode != Hang {
		for c := range p.conns {
			c.Close()
		}
	}
	p.mu.Unlock()
	switch {
	case mode == Refuse && was != Refuse:
		p.l.Close()
	case mode != Refuse && was == Refuse:
		p.listen(t)
	}
}

func (p *Proxy) keep(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
}

func (p *Proxy) serve(c net.Conn) {
	p.keep(c)
	defer c.Close()
	s, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	p.keep(s)
	defer s.Close()
	var wg sync.WaitGroup
	pass := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				return
			}
			p.mu.Lock()
			hangs := p.mode == Hang
			p.mu.Unlock()
			if hangs {
				_, _ = io.Copy(io.Discard, from) // until it is cut
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	wg.Go(func() { pass(c, s) })
	wg.Go(func() { pass(s, c) })
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	delete(p.conns, s)
}
