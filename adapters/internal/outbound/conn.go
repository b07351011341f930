package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"
)

// hostKey says which calls may share connections.
type hostKey struct {
	pool     string
	settings *tls.Config
	host     string
	port     uint16
	plain    bool
}

// host has the connections of one hostKey. Client.mu guards it, but for slots.
type host struct {
	key   hostKey
	users int
	slots chan struct{} // one element for each connection in use
	idle  []*conn       // the one that was used last is last
}

// use returns the host of a key. It is forgotten when no call uses it and it has no connection.
func (c *Client) use(key hostKey) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[key]
	if h == nil {
		h = &host{key: key, slots: make(chan struct{}, c.cfg.PerHost)}
		c.hosts[key] = h
	}
	h.users++
	return h
}

func (c *Client) unuse(h *host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.users--
	c.forget(h)
}

func (c *Client) forget(h *host) {
	if h.users == 0 && len(h.idle) == 0 && c.hosts[h.key] == h {
		delete(c.hosts, h.key)
	}
}

// wait takes a slot of the host.
func (h *host) wait(ctx context.Context, deadline time.Time) *Error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return refused(Timeout, "all connections to this host were in use all the time")
	}
}

// idleOf returns a connection that was kept; nil: there is none.
func (c *Client) idleOf(h *host, now time.Time) *conn {
	for {
		c.mu.Lock()
		n := len(h.idle)
		if n == 0 {
			c.mu.Unlock()
			return nil
		}
		k := h.idle[n-1]
		h.idle[n-1] = nil
		h.idle = h.idle[:n-1]
		c.idle--
		c.mu.Unlock()
		if now.Sub(k.born) < maxAge && now.Sub(k.since) < c.cfg.Idle && k.fresh() {
			return k
		}
		k.close()
	}
}

// keep takes a connection back; false: it is to be closed.
func (c *Client) keep(h *host, k *conn) bool {
	k.since = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.idle >= maxIdle || k.since.Sub(k.born) >= maxAge {
		return false
	}
	h.idle = append(h.idle, k)
	if c.idle++; c.idle == 1 {
		if c.sweeper == nil {
			c.sweeper = time.AfterFunc(c.cfg.Idle, func() { c.sweep(false) })
		} else {
			c.sweeper.Reset(c.cfg.Idle)
		}
	}
	return true
}

// sweep closes connections that were idle for too long; all: every idle one.
func (c *Client) sweep(all bool) {
	now := time.Now()
	var old []*conn
	c.mu.Lock()
	for _, h := range c.hosts {
		n := 0 // they lie in the order in which they became idle
		for n < len(h.idle) && (all || now.Sub(h.idle[n].since) >= c.cfg.Idle) {
			n++
		}
		old = append(old, h.idle[:n]...)
		h.idle = append([]*conn(nil), h.idle[n:]...)
		c.forget(h)
	}
	if c.idle -= len(old); c.idle > 0 && !c.closed {
		c.sweeper.Reset(c.cfg.Idle/4 + time.Millisecond)
	}
	c.mu.Unlock()
	for _, k := range old {
		k.close()
	}
}

// dial makes a connection to the target, within Connect and before the deadline.
func (c *Client) dial(ctx context.Context, t *target, settings *tls.Config, deadline time.Time) (*conn, *Error) {
	if d := time.Now().Add(c.cfg.Connect); d.Before(deadline) {
		deadline = d
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	addrs, fault := c.addresses(ctx, t)
	if fault != nil {
		return nil, fault
	}
	var tcp *net.TCPConn
	var rw net.Conn
	for i, a := range addrs {
		// Each of several addresses gets its share of the time.
		until := time.Now().Add(time.Until(deadline) / time.Duration(len(addrs)-i))
		at := netip.AddrPortFrom(a, t.port)
		if tcp, rw, fault = c.connect(ctx, at, until); fault == nil || ctx.Err() != nil {
			break
		}
	}
	if fault != nil {
		return nil, fault
	}
	k := &conn{tcp: tcp, rw: rw}
	if !t.plain {
		own := settings.Clone()
		own.ServerName = t.host
		k.gate = &gate{Conn: rw}
		over := tls.Client(k.gate, own)
		if err := over.HandshakeContext(ctx); err != nil {
			_ = tcp.Close()
			return nil, ofTLS(err)
		}
		k.rw = over
	}
	k.born, k.bounded = time.Now(), &boundedReader{from: k.rw}
	k.br = bufio.NewReaderSize(k.bounded, 2<<10)
	return k, nil
}

// gate lies under TLS. While it is shut, reading gives at once what a deadline that has passed would give: an error after which TLS
// goes on.
type gate struct {
	net.Conn
	shut bool
}

// Read is part of net.Conn.
func (g *gate) Read(p []byte) (int, error) {
	if g.shut {
		return 0, os.ErrDeadlineExceeded
	}
	return g.Conn.Read(p)
}

// connect makes a TCP connection to exactly this address, through the proxy if there is one. rw is what to speak over.
func (c *Client) connect(ctx context.Context, at netip.AddrPort, until time.Time) (tcp *net.TCPConn, rw net.Conn, fault *Error) {
	to := at.String()
	if c.proxy != nil {
		to = proxyAddress(c.proxy)
	}
	d := net.Dialer{Deadline: until, FallbackDelay: -1}
	made, err := d.DialContext(ctx, "tcp", to)
	tcp, ok := made.(*net.TCPConn)
	switch {
	case err != nil && c.proxy != nil:
		return nil, nil, refused(ProxyFailed, "the operator's proxy cannot be reached")
	case err != nil:
		return nil, nil, ofDial(err)
	case !ok:
		_ = made.Close()
		return nil, nil, refused(ConnectionFailed, "the connection is not TCP")
	case c.proxy == nil:
		return tcp, tcp, nil
	}
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(longAgo) })
	rw, err = throughProxy(ctx, c.proxy, tcp, at, until)
	if !stop() || err != nil {
		_ = tcp.Close()
		return nil, nil, refused(ProxyFailed, "the operator's proxy refused the connection, or could not make it")
	}
	return tcp, rw, nil
}

// proxyAddress is the proxy's host and port.
func proxyAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// throughProxy asks the proxy for a tunnel (CONNECT, RFC 9110 §9.3.6) to an address.
func throughProxy(ctx context.Context, u *url.URL, tcp *net.TCPConn, at netip.AddrPort, until time.Time) (net.Conn, error) {
	rw := net.Conn(tcp)
	if err := tcp.SetDeadline(until); err != nil {
		return nil, err
	}
	if u.Scheme == "https" {
		over := tls.Client(tcp, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}})
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		rw = over
	}
	ask := "CONNECT " + at.String() + " HTTP/1.1\r\nHost: " + at.String() + "\r\n"
	if u.User != nil {
		password, _ := u.User.Password()
		ask += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(rw, ask+"\r\n"); err != nil {
		return nil, err
	}
	bounded := &boundedReader{from: rw}
	bounded.more(MaxHead)
	br := bufio.NewReader(bounded)
	response, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect}) //nolint:bodyclose // the connection is the tunnel from here
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || br.Buffered() > 0 {
		return nil, errors.New("the proxy refused")
	}
	return rw, tcp.SetDeadline(time.Time{})
}

// errBound is the error of a boundedReader at its bound.
var errBound = errors.New("too long")

// boundedReader reads a bounded number of octets. It remembers its error, since whoever reads through it may replace that.
type boundedReader struct {
	from   io.Reader
	most   int
	octets int // since more
	err    error
}

// more sets a new bound.
func (r *boundedReader) more(most int) { r.most, r.octets, r.err = most, 0, nil }

// Read is part of io.Reader.
func (r *boundedReader) Read(p []byte) (int, error) {
	if r.octets >= r.most {
		r.err = errBound
		return 0, errBound
	}
	n, err := r.from.Read(p[:min(len(p), r.most-r.octets)])
	r.octets += n
	r.err = err
	return n, err
}
