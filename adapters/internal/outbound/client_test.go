package outbound

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait in these tests; none passes or fails by a shorter time.
const patience = 30 * time.Second

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// caller is a client that may call this machine.
func caller(t testing.TB, cfg Config) *Client {
	t.Helper()
	cfg.Allow = loopback
	if cfg.Timeout == 0 {
		cfg.Timeout, cfg.Connect = patience, patience
	}
	if cfg.Idle == 0 {
		cfg.Idle = patience
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// peer is a server of octets: serve has each connection, with its number from 1.
type peer struct {
	net.Listener
	conns atomic.Int32
}

func listen(t testing.TB, serve func(n int, c net.Conn, r *bufio.Reader)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Listener: l}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(p.conns.Add(1))
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				serve(n, c, bufio.NewReader(c))
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return p
}

func (p *peer) url() string { return "http://" + p.Addr().String() + "/hook" }

// request reads one request; nil at the end.
func request(r *bufio.Reader) (*http.Request, []byte) {
	q, err := http.ReadRequest(r)
	if err != nil {
		return nil, nil
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, nil
	}
	return q, body
}

// always answers each request with the same octets.
func always(answer string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, r *bufio.Reader) {
		for q, _ := request(r); q != nil; q, _ = request(r) {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

// post makes one call, and returns the status or the words of the error.
func do(t testing.TB, c *Client, url string) (int, string) {
	t.Helper()
	a, err := c.Post(t.Context(), &Request{URL: url, Body: []byte(`{"a":1}`)})
	return a.Status, words(t, err)
}

func words(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var fault *Error
	if !errors.As(err, &fault) {
		t.Fatalf("%T: %v", err, err)
	}
	known := false
	for _, w := range Texts() {
		known = known || w == fault.Text
	}
	if !known || strings.ContainsAny(fault.Detail, "%[]") || strings.Contains(fault.Detail, "127.") {
		t.Errorf("the error is %v", err)
	}
	return fault.Text
}

// TestRequest: what goes over the wire.
func TestRequest(t *testing.T) {
	got := make(chan string, 1)
	p := listen(t, func(_ int, c net.Conn, r *bufio.Reader) {
		b := make([]byte, 1000)
		n, _ := r.Read(b)
		got <- string(b[:n])
		_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
	})
	c := caller(t, Config{})
	a, err := c.Post(t.Context(), &Request{URL: p.url() + "?a=%20", Headers: []Header{{"webhook-id", "1"}, {"User-Agent", "x"}}, Body: []byte("{}")})
	if err != nil || a.Status != 202 || a.Header.Get("Retry-After") != "7" {
		t.Fatalf("%+v, %v", a, err)
	}
	want := "POST /hook?a=%20 HTTP/1.1\r\nHost: " + p.Addr().String() + "\r\nwebhook-id: 1\r\nUser-Agent: x\r\nContent-Length: 2\r\n\r\n{}"
	if s := <-got; s != want {
		t.Errorf("sent %q, want %q", s, want)
	}
	for _, h := range []Header{{"", "a"}, {"a b", "c"}, {"a", "b\r\nc: d"}, {"a:", "b"}, {"Idempotency-Key", "1"}, {"X-Idempotency-Key", "1"}, {"host", "a"}, {"Content-length", "1"}, {"Transfer-Encoding", "chunked"}, {"é", "a"}} {
		if _, err := c.Post(t.Context(), &Request{URL: p.url(), Headers: []Header{h}}); words(t, err) != InvalidRequest {
			t.Errorf("%+v was sent: %v", h, err)
		}
	}
}

// TestAnswers: what a host writes, and what is made of it. Whether the connection is used once more shows in how many
// connections two calls need.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		status       int
		text         string
		conns        int
	}{
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", 1},
		{"a short body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "", 1},
		{"a body at the bound", "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n" + strings.Repeat("a", 4096), 200, "", 1},
		{"a body over it", "HTTP/1.1 200 OK\r\nContent-Length: 4097\r\n\r\n" + strings.Repeat("a", 4097), 200, "", 2},
		{"a huge body that never comes", "HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n", 200, "", 2},
		{"a short body that never comes", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, "", 2},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "", 1},
		{"chunks without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", 200, "", 2},
		{"chunks that are none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n", 200, "", 2},
		{"many chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\na\r\n", 5000) + "0\r\n\r\n", 200, "", 2},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 200, "", 2},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", 2},
		{"until the end of the connection", "HTTP/1.1 200 OK\r\n\r\nok", 200, "", 2},
		{"continue first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", 1},
		{"continue for ever", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 50), 0, InvalidAnswer, 2},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: Upgrade\r\n\r\n", 101, "", 2},
		{"a redirect", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, "", 1},
		{"another that keeps the method", "HTTP/1.1 307 Temporary Redirect\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", 307, "", 1},
		{"gone", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 410, "", 1},
		{"an error", "HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n", 500, "", 1},
		{"more than was asked for", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", 2},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", 0, InvalidAnswer, 2},
		{"HTTP/0.9", "hello\r\n\r\n", 0, InvalidAnswer, 2},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", 0, InvalidAnswer, 2},
		{"no status", "HTTP/1.1 OK\r\n\r\n", 0, InvalidAnswer, 2},
		{"status 0", "HTTP/1.1 000 OK\r\n\r\n", 0, InvalidAnswer, 2},
		{"status 999", "HTTP/1.1 999 OK\r\n\r\n", 0, InvalidAnswer, 2},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 0, InvalidAnswer, 2},
		{"a length below zero", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, InvalidAnswer, 2},
		{"an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 0, InvalidAnswer, 2},
		{"a header that is none", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", 0, InvalidAnswer, 2},
		{"headers at the bound", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: " + strings.Repeat("a", MaxHead-43) + "\r\n\r\n", 200, "", 1},
		{"headers over it", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: " + strings.Repeat("a", MaxHead-42) + "\r\n\r\n", 0, InvalidAnswer, 2},
		{"headers without an end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 9000), 0, InvalidAnswer, 2},
		{"many headers", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 2000) + "Content-Length: 0\r\n\r\n", 200, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := listen(t, always(tt.answer))
			c := caller(t, Config{})
			for range 2 {
				if status, text := do(t, c, p.url()); status != tt.status || text != tt.text {
					t.Errorf("%d, %q; want %d, %q", status, text, tt.status, tt.text)
				}
			}
			if n := int(p.conns.Load()); n != tt.conns {
				t.Errorf("%d connections, want %d", n, tt.conns)
			}
		})
	}
}

// TestOnce: whatever happens to the connection, a request arrives once.
func TestOnce(t *testing.T) {
	var arrived atomic.Int32
	for name, serve := range map[string]func(n int, c net.Conn, r *bufio.Reader){
		"closed before an answer": func(_ int, _ net.Conn, r *bufio.Reader) {
			if q, _ := request(r); q != nil {
				arrived.Add(1)
			}
		},
		"closed within an answer": func(_ int, c net.Conn, r *bufio.Reader) {
			if q, _ := request(r); q != nil {
				arrived.Add(1)
				_, _ = io.WriteString(c, "HTTP/1.1 2")
			}
		},
		"reset": func(_ int, c net.Conn, r *bufio.Reader) {
			if q, _ := request(r); q != nil {
				arrived.Add(1)
				_ = c.(*net.TCPConn).SetLinger(0)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			arrived.Store(0)
			p := listen(t, serve)
			_, text := do(t, caller(t, Config{}), p.url())
			if text != ConnectionClosed && text != InvalidAnswer {
				t.Errorf("the answer is %q", text)
			}
			if n, conns := arrived.Load(), p.conns.Load(); n != 1 || conns != 1 {
				t.Errorf("%d requests arrived, over %d connections", n, conns)
			}
		})
	}
	t.Run("on a connection that is kept", func(t *testing.T) {
		arrived.Store(0)
		p := listen(t, func(_ int, c net.Conn, r *bufio.Reader) {
			for q, _ := request(r); q != nil; q, _ = request(r) {
				if arrived.Add(1) == 2 {
					return // the second request is read, and the connection closed
				}
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		})
		c := caller(t, Config{})
		if status, text := do(t, c, p.url()); status != 204 {
			t.Fatal(text)
		}
		if _, text := do(t, c, p.url()); text != ConnectionClosed {
			t.Errorf("the answer is %q", text)
		}
		if n, conns := arrived.Load(), p.conns.Load(); n != 2 || conns != 1 {
			t.Errorf("%d requests arrived, over %d connections", n, conns)
		}
	})
}

// TestStale: a connection that the host closed, or on which it wrote unasked, is not used; nothing of what it wrote is logged.
func TestStale(t *testing.T) {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	t.Cleanup(func() { log.SetOutput(io.Discard) })
	answered, done := make(chan struct{}), make(chan struct{})
	p := listen(t, func(n int, c net.Conn, r *bufio.Reader) {
		if q, _ := request(r); q == nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		if n < 3 {
			<-answered
		}
		if n == 2 {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nsecret")
		}
		if n < 3 {
			_ = c.(*net.TCPConn).CloseWrite()
			done <- struct{}{}
		}
		_, _ = io.Copy(io.Discard, r)
	})
	c := caller(t, Config{})
	for i := range 3 {
		if status, text := do(t, c, p.url()); status != 204 {
			t.Fatalf("call %d: %d, %q", i, status, text)
		}
		if i < 2 {
			answered <- struct{}{}
			<-done
			until(t, "the host's octets", func() bool { return !silent(c.only(t).tcp) })
		}
	}
	if n := p.conns.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
	if logged.Len() > 0 {
		t.Errorf("logged: %s", logged.String())
	}
}

// only is the one connection that is kept.
func (c *Client) only(t testing.TB) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		if len(h.idle) == 1 {
			return h.idle[0]
		}
	}
	t.Fatal("no connection is kept")
	return nil
}

// until polls for what gives no signal of its own.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}

// TestSlow: a host that is silent, or that writes an octet now and then, costs no more than the bound.
func TestSlow(t *testing.T) {
	trickle := func(octets string) func(int, net.Conn, *bufio.Reader) {
		return func(_ int, c net.Conn, r *bufio.Reader) {
			if q, _ := request(r); q == nil {
				return
			}
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for _, err := io.WriteString(c, octets); err == nil; _, err = io.WriteString(c, "a") {
				<-tick.C
			}
		}
	}
	const bound = 200 * time.Millisecond
	for name, tt := range map[string]struct {
		serve  func(int, net.Conn, *bufio.Reader)
		status int
		text   string
	}{
		"silence":         {func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }, 0, Timeout},
		"headers trickle": {trickle("HTTP/1.1 200 OK\r\nA: "), 0, Timeout},
		"a body trickles": {trickle("HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"), 200, ""},
		"chunks trickle":  {trickle("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := listen(t, tt.serve)
			c := caller(t, Config{Timeout: bound, Connect: bound})
			from := time.Now()
			if status, text := do(t, c, p.url()); status != tt.status || text != tt.text {
				t.Errorf("%d, %q", status, text)
			}
			if took := time.Since(from); took > patience {
				t.Errorf("it took %v", took)
			}
		})
	}
	t.Run("no handshake", func(t *testing.T) {
		p := listen(t, func(_ int, _ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
		c := caller(t, Config{Timeout: patience, Connect: bound})
		if _, text := do(t, c, "https"+strings.TrimPrefix(p.url(), "http")); text != Timeout {
			t.Errorf("%q", text)
		}
	})
	t.Run("no request is read", func(t *testing.T) {
		p := listen(t, func(_ int, c net.Conn, _ *bufio.Reader) {
			<-t.Context().Done()
		})
		_, err := caller(t, Config{Timeout: bound}).Post(t.Context(), &Request{URL: p.url(), Body: make([]byte, 20<<20)})
		if words(t, err) != Timeout {
			t.Error(err)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := listen(t, func(_ int, _ net.Conn, r *bufio.Reader) {
			cancel()
			_, _ = io.Copy(io.Discard, r)
		})
		if _, err := caller(t, Config{}).Post(ctx, &Request{URL: p.url()}); words(t, err) != Stopped {
			t.Error(err)
		}
	})
}

// TestPinned: a DNS that answers otherwise the second time changes nothing, since a name is looked up once for a connection; and a name
// with one address inside is refused whole.
func TestPinned(t *testing.T) {
	p := listen(t, always("HTTP/1.1 204 No Content\r\n\r\n"))
	_, port, _ := net.SplitHostPort(p.Addr().String())
	var lookups atomic.Int32
	answers := [][]netip.Addr{{netip.MustParseAddr("127.0.0.1")}, {netip.MustParseAddr("10.0.0.1")}}
	c := caller(t, Config{Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
		if host != "hook.example" {
			t.Errorf("%s was looked up", host)
		}
		return answers[min(int(lookups.Add(1))-1, 1)], nil
	}})
	if status, text := do(t, c, "http://hook.example:"+port+"/"); status != 204 || lookups.Load() != 1 {
		t.Errorf("%d, %s; %d look-ups", status, text, lookups.Load())
	}
	// The kept connection is to the address that was checked.
	if status, _ := do(t, c, "http://hook.example:"+port+"/"); status != 204 || lookups.Load() != 1 {
		t.Errorf("%d; %d look-ups", status, lookups.Load())
	}
	// Another pool has a connection of its own, and so a look-up.
	if _, err := c.Post(t.Context(), &Request{URL: "http://hook.example:" + port + "/", Pool: "b"}); words(t, err) != AddressNotAllowed {
		t.Error(err)
	}
	both := caller(t, Config{Resolve: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1")}, nil
	}})
	if _, text := do(t, both, "http://hook.example:"+port+"/"); text != AddressNotAllowed {
		t.Errorf("%q", text)
	}
	if n := p.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	// The next address is tried where one refuses.
	next := caller(t, Config{Resolve: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.77"), netip.MustParseAddr("::ffff:127.0.0.1")}, nil
	}})
	if status, text := do(t, next, "http://hook.example:"+port+"/"); status != 204 {
		t.Errorf("%q", text)
	}
}

// TestUnreachable: what comes of names and ports where there is nothing.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	_ = l.Close()
	c := caller(t, Config{Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
		switch host {
		case "empty.example":
			return nil, nil
		case "slow.example":
			return nil, &net.DNSError{Err: "i/o timeout", Name: host, Server: "10.0.0.53:53", IsTimeout: true}
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}})
	for url, want := range map[string]string{
		url: ConnectionRefused, "https://none.example": NameNotFound, "https://empty.example": NameNotFound, "https://slow.example": NameLookupFailed,
		"https://10.0.0.1": AddressNotAllowed, "http://8.8.8.8": PlainNotAllowed, "https://8.8.8.8:22": PortNotAllowed, "ftp://8.8.8.8": InvalidURL,
	} {
		if _, text := do(t, c, url); text != want {
			t.Errorf("%s: %q, want %q", url, text, want)
		}
	}
}

// TestPerHost: a pool has at most so many connections to a host; another pool has its own.
func TestPerHost(t *testing.T) {
	var now, most atomic.Int32
	gate := make(chan struct{})
	p := listen(t, func(_ int, c net.Conn, r *bufio.Reader) {
		for q, _ := request(r); q != nil; q, _ = request(r) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-gate
			now.Add(-1)
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	c := caller(t, Config{PerHost: 3})
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			a, err := c.Post(context.Background(), &Request{URL: p.url(), Pool: "ab"[i%2 : i%2+1]})
			if err != nil || a.Status != 204 {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	until(t, "all connections", func() bool { return now.Load() == 6 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Post(ctx, &Request{URL: p.url(), Pool: "a"}); words(t, err) != Timeout {
		t.Errorf("a call that found no connection: %v", err)
	}
	close(gate)
	all.Wait()
	if n := p.conns.Load(); n != 6 || most.Load() != 6 {
		t.Errorf("%d connections, %d at a time, want 6", n, most.Load())
	}
	c.Close()
	if c.idle != 0 || len(c.hosts) != 0 {
		t.Errorf("%d connections and %d hosts are kept after Close", c.idle, len(c.hosts))
	}
}

// TestIdle: a connection that is not used is closed.
func TestIdle(t *testing.T) {
	ended := make(chan struct{})
	p := listen(t, func(n int, c net.Conn, r *bufio.Reader) {
		always("HTTP/1.1 204 No Content\r\n\r\n")(n, c, r)
		close(ended)
	})
	c := caller(t, Config{Idle: time.Millisecond})
	if status, text := do(t, c, p.url()); status != 204 {
		t.Fatal(text)
	}
	<-ended
	until(t, "the host to be forgotten", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.hosts) == 0
	})
}

// TestUnaskedOverTLS: what a host wrote behind its answer, and TLS has read already, is no answer to the next request.
func TestUnaskedOverTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	p := listen(t, func(n int, c net.Conn, _ *bufio.Reader) {
		// Both records of the first connection go out in one write.
		corked := &cork{Conn: c}
		s := tls.Server(corked, &tls.Config{Certificates: []tls.Certificate{pair}})
		r := bufio.NewReader(s)
		for q, _ := request(r); q != nil; q, _ = request(r) {
			corked.held = n == 1
			_, _ = io.WriteString(s, "HTTP/1.1 204 No Content\r\n\r\n")
			if n == 1 {
				_, _ = io.WriteString(s, "HTTP/1.1 500 Unasked\r\nContent-Length: 0\r\n\r\n")
			}
			corked.release()
		}
	})
	c := caller(t, Config{})
	for i := range 4 {
		a, err := c.Post(t.Context(), &Request{URL: "https://" + p.Addr().String(), TLS: TLS{CA: ca.pem}})
		if err != nil || a.Status != 204 {
			t.Errorf("call %d: %d, %v", i, a.Status, err)
		}
	}
	if n := p.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// cork keeps what is written until release.
type cork struct {
	net.Conn
	held bool
	buf  bytes.Buffer
}

func (c *cork) Write(p []byte) (int, error) {
	if !c.held {
		return c.Conn.Write(p)
	}
	return c.buf.Write(p)
}

func (c *cork) release() {
	_, _ = c.buf.WriteTo(c.Conn)
	c.held = false
}

// TestAge: a connection is not kept for ever, however much it is used.
func TestAge(t *testing.T) {
	p := listen(t, always("HTTP/1.1 204 No Content\r\n\r\n"))
	c := caller(t, Config{})
	for i := range 4 {
		if status, text := do(t, c, p.url()); status != 204 {
			t.Fatal(text)
		}
		if i%2 == 1 {
			k := c.only(t)
			k.born = k.born.Add(-maxAge)
		}
	}
	if n := p.conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// authority makes certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue makes a certificate, and gives it and its key as PEM.
func (a *authority) issue(t testing.TB, name string, until time.Time) (cert, key string) {
	t.Helper()
	k := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "x"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// secure starts a server by TLS that answers 204.
func secure(t testing.TB, cfg *tls.Config, cert, key string) *httptest.Server {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 1 {
			t.Errorf("the request is %s", r.Proto)
		}
		w.WriteHeader(204)
	}))
	s.TLS, s.EnableHTTP2 = cfg, true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	soon := time.Now().Add(time.Hour)
	cert, key := ca.issue(t, "127.0.0.1", soon)
	oldCert, oldKey := ca.issue(t, "127.0.0.1", time.Now().Add(-time.Hour))
	namedCert, namedKey := ca.issue(t, "other.example", soon)
	clientCert, clientKey := other.issue(t, "client.example", soon)
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM([]byte(other.pem))

	good := secure(t, &tls.Config{}, cert, key)
	old := secure(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, cert, key)
	expired := secure(t, &tls.Config{}, oldCert, oldKey)
	named := secure(t, &tls.Config{}, namedCert, namedKey)
	mutual := secure(t, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}, cert, key)
	mutual12 := secure(t, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MaxVersion: tls.VersionTLS12}, cert, key)
	ssh := listen(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
		_, _ = r.ReadByte()
	})
	sshURL := "https://" + ssh.Addr().String()

	c := caller(t, Config{})
	for _, tt := range []struct {
		name, url string
		tls       TLS
		status    int
		text      string
	}{
		{"by its authority", good.URL, TLS{CA: ca.pem}, 204, ""},
		{"by the system's", good.URL, TLS{}, 0, CertificateNotTrusted},
		{"by another", good.URL, TLS{CA: other.pem}, 0, CertificateNotTrusted},
		{"TLS 1.1", old.URL, TLS{CA: ca.pem}, 0, TLSRefused},
		{"expired", expired.URL, TLS{CA: ca.pem}, 0, CertificateExpired},
		{"another name", named.URL, TLS{CA: ca.pem}, 0, CertificateOtherName},
		{"a client certificate is wanted", mutual.URL, TLS{CA: ca.pem}, 0, TLSRefused},
		{"and given", mutual.URL, TLS{ca.pem, clientCert, clientKey}, 204, ""},
		{"of another authority", mutual.URL, TLS{ca.pem, cert, key}, 0, TLSRefused},
		{"wanted by TLS 1.2", mutual12.URL, TLS{CA: ca.pem}, 0, TLSRefused},
		{"given by TLS 1.2", mutual12.URL, TLS{ca.pem, clientCert, clientKey}, 204, ""},
		{"no TLS", sshURL, TLS{}, 0, TLSFailed},
		{"http to https", "http" + strings.TrimPrefix(good.URL, "https"), TLS{}, 400, ""},
		{"no certificates", good.URL, TLS{CA: "x"}, 0, InvalidTLS},
		{"no key", good.URL, TLS{Certificate: clientCert}, 0, InvalidTLS},
		{"another's key", good.URL, TLS{Certificate: clientCert, Key: key}, 0, InvalidTLS},
	} {
		a, err := c.Post(t.Context(), &Request{URL: tt.url, TLS: tt.tls, Body: []byte("{}")})
		if text := words(t, err); a.Status != tt.status || text != tt.text {
			t.Errorf("%s: %d, %q; want %d, %q", tt.name, a.Status, text, tt.status, tt.text)
		}
		if (CheckTLS(tt.tls) != nil) != (tt.text == InvalidTLS) {
			t.Errorf("%s: CheckTLS says %v", tt.name, CheckTLS(tt.tls))
		}
	}
	// A connection that was made with other settings is not shared; one with the same is.
	if n := len(c.hosts); n < 3 {
		t.Errorf("%d hosts are kept", n)
	}
	k := c.hosts[hostKey{"", mustSettings(t, c, TLS{CA: ca.pem}), "127.0.0.1", uint16(good.Listener.Addr().(*net.TCPAddr).Port), false}].idle[0]
	for range 3 {
		if a, err := c.Post(t.Context(), &Request{URL: good.URL, TLS: TLS{CA: ca.pem}}); err != nil || a.Status != 204 {
			t.Fatal(err)
		}
	}
	if h := c.hosts[hostKey{"", mustSettings(t, c, TLS{CA: ca.pem}), "127.0.0.1", uint16(good.Listener.Addr().(*net.TCPAddr).Port), false}]; len(h.idle) != 1 || h.idle[0] != k {
		t.Error("the connection was not used once more")
	}
}

func mustSettings(t testing.TB, c *Client, s TLS) *tls.Config {
	t.Helper()
	got, fault := c.settingsOf(s)
	if fault != nil {
		t.Fatal(fault)
	}
	return got
}

// TestProxy: the operator's proxy is asked for the checked address. The environment's is not looked at.
func TestProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	ca := newAuthority(t)
	cert, key := ca.issue(t, "hook.example", time.Now().Add(time.Hour))
	s := secure(t, &tls.Config{}, cert, key)
	var asked, auth atomic.Value
	p := listen(t, func(_ int, c net.Conn, r *bufio.Reader) {
		q, _ := request(r)
		if q == nil {
			return
		}
		asked.Store(q.Method + " " + q.RequestURI + " " + q.Host)
		auth.Store(q.Header.Get("Proxy-Authorization"))
		if !strings.HasPrefix(q.RequestURI, "127.") {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!")
			return
		}
		to, err := net.Dial("tcp", q.RequestURI)
		if err != nil {
			_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, r); _ = to.Close() }()
		_, _ = io.Copy(c, to)
	})
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		return map[string][]netip.Addr{"hook.example": {netip.MustParseAddr("127.0.0.1")}, "inside.example": {netip.MustParseAddr("10.0.0.1")}, "public.example": {netip.MustParseAddr("8.8.8.8")}}[host], nil
	}
	c := caller(t, Config{Resolve: resolve, Proxy: "http://user:p%40ss@" + p.Addr().String()})
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	a, err := c.Post(t.Context(), &Request{URL: "https://hook.example:" + port, TLS: TLS{CA: ca.pem}})
	if err != nil || a.Status != 204 {
		t.Fatalf("%+v, %v", a, err)
	}
	if to := "127.0.0.1:" + port; asked.Load() != "CONNECT "+to+" "+to || auth.Load() != "Basic dXNlcjpwQHNz" {
		t.Errorf("the proxy was asked %v, %v", asked.Load(), auth.Load())
	}
	asked.Store("")
	if _, text := do(t, c, "https://inside.example"); text != AddressNotAllowed || asked.Load() != "" {
		t.Errorf("%q; the proxy was asked %v", text, asked.Load())
	}
	if _, text := do(t, c, "https://public.example"); text != ProxyFailed {
		t.Errorf("%q", text)
	}
	if _, text := do(t, c, "http://127.0.0.1:1"); text != ProxyFailed {
		t.Errorf("%q", text)
	}
	if _, text := do(t, caller(t, Config{Resolve: resolve, Proxy: "http://127.0.0.1:1"}), "https://public.example"); text != ProxyFailed {
		t.Errorf("%q", text)
	}
	for _, bad := range []string{"socks5://a:1", "a:1", "http://", "http://a/b", "http://a?b", ":"} {
		if _, err := New(Config{Proxy: bad}); err == nil {
			t.Errorf("the proxy %s was taken", bad)
		}
	}
}
