package outbound

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/recent"
)

// The bounds of a call.
const (
	// MaxHead bounds the octets of an answer's status line and headers, and MaxBody those of a body that are read. A longer
	// body costs its connection.
	MaxHead = 16 << 10
	MaxBody = 4 << 10
	// drainTime bounds the wait for a body once the status is known. A body is read only so that its connection can be kept.
	drainTime = 250 * time.Millisecond
	// maxAge bounds how long a connection is kept, so that a name's new address is used.
	maxAge = 5 * time.Minute
	// maxIdle bounds the connections of all hosts that are kept without a call.
	maxIdle = 1024
)

// Config says how calls are made. The zero value of a field is its default.
type Config struct {
	// Allow are prefixes of addresses that may be called though they are not public, at any port and also by http.
	// The metadata services of clouds need their single addresses (/32, /128).
	Allow []netip.Prefix
	// Proxy is the URL of an HTTP proxy, http:// or https://, perhaps with user name and password; "": none. Its address
	// is the operator's, and not checked.
	Proxy string
	// Timeout bounds a call as a whole; 15 s by default. Connect bounds look-up, connection, proxy and TLS together; 5 s.
	Timeout, Connect time.Duration
	// Idle is how long a connection is kept without a call. The default, 4 s, is shorter than what the servers in use keep one for
	// (5 s and more), so that a request seldom meets a connection that the host is about to close.
	Idle time.Duration
	// PerHost bounds the connections of one pool to one host and port; 8 by default. A further call waits, within its Timeout.
	PerHost int
	// Resolve looks a name up; by default the system's resolver does.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Client makes calls. It may be used from many goroutines.
type Client struct {
	cfg     Config
	allow   allow
	proxy   *url.URL
	resolve func(context.Context, string) ([]netip.Addr, error)
	plain   *tls.Config // of the zero TLS

	mu       sync.Mutex
	settings recent.Map[TLS, *tls.Config]
	targets  recent.Map[string, target]
	hosts    map[hostKey]*host
	idle     int // connections without a call
	sweeper  *time.Timer
	closed   bool
}

// New returns a client. The error is one of the configuration.
func New(cfg Config) (*Client, error) {
	orElse := func(d *time.Duration, by time.Duration) {
		if *d <= 0 {
			*d = by
		}
	}
	orElse(&cfg.Timeout, 15*time.Second)
	orElse(&cfg.Connect, 5*time.Second)
	orElse(&cfg.Idle, 4*time.Second)
	if cfg.PerHost <= 0 {
		cfg.PerHost = 8
	}
	c := &Client{cfg: cfg, resolve: cfg.Resolve, settings: recent.NewMap[TLS, *tls.Config](maxSettings), targets: recent.NewMap[string, target](maxTargets), hosts: map[hostKey]*host{}}
	for _, p := range cfg.Allow {
		c.allow = append(c.allow, p.Masked())
	}
	if c.resolve == nil {
		c.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.Proxy != "" {
		u, err := url.Parse(cfg.Proxy)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return nil, refused(InvalidURL, "the proxy must be http://HOST:PORT or https://HOST:PORT")
		}
		c.proxy = u
	}
	c.plain, _ = TLS{}.config()
	return c, nil
}

// Header is one header of a request. The name is written as it is.
type Header struct{ Name, Value string }

// Request is one POST.
type Request struct {
	URL string
	// Headers are sent in their order, after Host and before Content-Length. They must be neither of the two, nor Connection,
	// Transfer-Encoding, Expect, or an idempotency key: that would let a proxy repeat the request.
	Headers []Header
	Body    []byte
	TLS     TLS
	// Pool separates connections: calls share them with calls of the same pool and the same settings of TLS only.
	Pool string
}

// Answer is what a host answered.
type Answer struct {
	Status int // 100 to 599
	Header http.Header
}

// Post makes one call, and returns within Timeout. The error is an *Error: there was no answer that is HTTP. A host's
// status counts as soon as its headers were read whole; what becomes of the body changes nothing.
func (c *Client) Post(ctx context.Context, r *Request) (Answer, error) {
	a, fault := c.post(ctx, r, time.Now())
	if fault != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			fault = refused(Stopped, "the call was given up from here; whether the host took the request is not known")
		}
		return Answer{}, fault
	}
	return a, nil
}

func (c *Client) post(ctx context.Context, r *Request, now time.Time) (Answer, *Error) {
	t, fault := c.targetOf(r.URL)
	if fault != nil {
		return Answer{}, fault
	}
	deadline := now.Add(c.cfg.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	head, ok := buffers.Get().(*bytes.Buffer)
	if !ok {
		head = new(bytes.Buffer)
	}
	defer func() {
		if head.Cap() <= 64<<10 {
			buffers.Put(head)
		}
	}()
	if fault := write(head, &t, r); fault != nil {
		return Answer{}, fault
	}
	settings := c.plain
	if r.TLS != (TLS{}) {
		if settings, fault = c.settingsOf(r.TLS); fault != nil {
			return Answer{}, fault
		}
	}
	h := c.use(hostKey{r.Pool, settings, t.host, t.port, t.plain})
	defer c.unuse(h)
	if fault := h.wait(ctx, deadline); fault != nil {
		return Answer{}, fault
	}
	defer func() { <-h.slots }()
	k := c.idleOf(h, now)
	if k == nil {
		if k, fault = c.dial(ctx, &t, settings, deadline); fault != nil {
			return Answer{}, fault
		}
	}
	a, keep, fault := k.exchange(ctx, head.Bytes(), deadline)
	if !keep || !c.keep(h, k) {
		k.close()
	}
	return a, fault
}

// maxTargets bounds the URLs whose reading is kept: at most twice as many.
const maxTargets = 512

// targetOf is parse, with a memory of what was read last.
func (c *Client) targetOf(url string) (target, *Error) {
	c.mu.Lock()
	t, ok := c.targets.Get(url)
	c.mu.Unlock()
	if ok {
		return t, nil
	}
	t, fault := parse(url)
	if fault == nil {
		c.mu.Lock()
		c.targets.Put(url, t)
		c.mu.Unlock()
	}
	return t, fault
}

var buffers sync.Pool

// write makes the request as it is sent.
func write(b *bytes.Buffer, t *target, r *Request) *Error {
	b.Reset()
	b.WriteString("POST ")
	b.WriteString(t.uri)
	b.WriteString(" HTTP/1.1\r\nHost: ")
	b.WriteString(t.field)
	for _, h := range r.Headers {
		if !validHeader(h) {
			return refused(InvalidRequest, "a header cannot be sent")
		}
		b.WriteString("\r\n")
		b.WriteString(h.Name)
		b.WriteString(": ")
		b.WriteString(h.Value)
	}
	b.WriteString("\r\nContent-Length: ")
	b.Write(strconv.AppendInt(b.AvailableBuffer(), int64(len(r.Body)), 10))
	b.WriteString("\r\n\r\n")
	b.Write(r.Body)
	return nil
}

// ownHeaders are the headers that a Request must not have.
var ownHeaders = []string{"host", "content-length", "connection", "transfer-encoding", "expect", "upgrade", "te", "trailer", "idempotency-key", "x-idempotency-key"}

// validHeader reports whether a header is a token and a value without control characters (RFC 9110 §5), and not one of ownHeaders.
func validHeader(h Header) bool {
	for i := range len(h.Name) {
		c := h.Name[i]
		if c <= ' ' || c > '~' || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	for i := range len(h.Value) {
		if c := h.Value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	for _, own := range ownHeaders {
		if strings.EqualFold(h.Name, own) {
			return false
		}
	}
	return h.Name != ""
}

// CheckURL says whether a URL may be called: an *Error, or nil. A name is looked up, within Connect. A name that the DNS
// does not find now, or for which it does not answer, is accepted: each call checks the addresses that it then finds.
func (c *Client) CheckURL(ctx context.Context, raw string) error {
	t, fault := parse(raw)
	if fault != nil {
		return fault
	}
	if t.plain && len(c.allow) == 0 {
		return refused(PlainNotAllowed, "use https: http is for addresses that the operator has allowed")
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Connect)
	defer cancel()
	if _, fault := c.addresses(ctx, &t); fault != nil && fault.Text != NameNotFound && fault.Text != NameLookupFailed {
		return fault
	}
	return nil
}

// maxAddresses bounds how many of a name's addresses are tried.
const maxAddresses = 8

// addresses are those of the target, each of which may be called.
func (c *Client) addresses(ctx context.Context, t *target) ([]netip.Addr, *Error) {
	if t.addr.IsValid() {
		return []netip.Addr{t.addr}, c.allow.check(t.addr, t.port, t.plain)
	}
	found, err := c.resolve(ctx, t.host)
	if err != nil {
		return nil, ofLookup(err)
	}
	if len(found) == 0 {
		return nil, refused(NameNotFound, "the DNS has no address of the host's name")
	}
	out := make([]netip.Addr, 0, len(found))
	for _, a := range found {
		a = a.Unmap() // resolvers write IPv4 addresses in either form
		if fault := c.allow.check(a, t.port, t.plain); fault != nil {
			return nil, fault
		}
		out = append(out, a)
	}
	return out[:min(len(out), maxAddresses)], nil
}

// Close closes the connections that are idle. Calls that run end as they would, and their connections then.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	if c.sweeper != nil {
		c.sweeper.Stop()
	}
	c.mu.Unlock()
	c.sweep(true)
}

// conn is one connection. One call at a time has it.
type conn struct {
	tcp     *net.TCPConn
	rw      net.Conn // tcp, or TLS over it
	gate    *gate    // under the TLS to the host; nil: there is none
	bounded *boundedReader
	br      *bufio.Reader
	born    time.Time
	since   time.Time // of the last call's end
}

func (k *conn) close() {
	// The TCP connection itself: a TLS one would first say goodbye, and wait for that up to 5 s.
	_ = k.tcp.Close()
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// exchange sends a request and reads its answer. keep says that the connection can be used once more.
func (k *conn) exchange(ctx context.Context, request []byte, deadline time.Time) (a Answer, keep bool, fault *Error) {
	if err := k.rw.SetDeadline(deadline); err != nil {
		return Answer{}, false, ofExchange(err)
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { _ = k.tcp.SetDeadline(longAgo) })
		defer func() { keep = stop() && keep }()
	}
	if _, err := k.rw.Write(request); err != nil {
		return Answer{}, false, ofExchange(err)
	}
	k.bounded.more(MaxHead)
	for range 6 { // of which five may be 1xx (RFC 9110 §15.2)
		response, err := http.ReadResponse(k.br, post) //nolint:bodyclose // drain says why
		broken := k.bounded.err
		switch {
		case err != nil && errors.Is(broken, errBound):
			return Answer{}, false, refused(InvalidAnswer, "the answer's headers are longer than 16 KB")
		case err != nil && broken != nil && !(errors.Is(broken, io.EOF) && k.bounded.octets > 0): // half an answer is an invalid one
			return Answer{}, false, ofExchange(broken)
		case err != nil || response.StatusCode < 100 || response.StatusCode > 599 || response.ProtoMajor != 1:
			return Answer{}, false, refused(InvalidAnswer, "what the host answered is not HTTP/1.1")
		case response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols:
			return Answer{response.StatusCode, response.Header}, k.drain(response, deadline), nil
		}
	}
	return Answer{}, false, refused(InvalidAnswer, "the host sent one interim answer after the other")
}

var post = &http.Request{Method: http.MethodPost}

// drain reads a short body, and reports whether the connection is ready for another call. It never closes the body: that
// would read it to its end.
func (k *conn) drain(r *http.Response, deadline time.Time) bool {
	chunked := r.ContentLength < 0 && len(r.TransferEncoding) > 0
	if r.Close || r.StatusCode == http.StatusSwitchingProtocols || r.ContentLength > MaxBody || r.ContentLength < 0 && !chunked {
		return false
	}
	if r.ContentLength != 0 {
		if chunked || r.ContentLength > int64(k.br.Buffered()) {
			if d := time.Now().Add(drainTime); d.Before(deadline) {
				_ = k.rw.SetReadDeadline(d)
			}
		}
		k.bounded.more(2 * MaxBody) // what surrounds chunks counts
		if n, err := io.CopyN(io.Discard, r.Body, MaxBody+1); !errors.Is(err, io.EOF) || n > MaxBody {
			return false
		}
	}
	return k.br.Buffered() == 0
}

// fresh reports whether a kept connection can be used: the peer has neither closed it nor written what it was not asked for.
func (k *conn) fresh() bool {
	if k.gate != nil {
		// What the TLS connection has read but not given yet.
		k.bounded.more(1)
		k.gate.shut = true
		_, err := k.br.Peek(1)
		if k.gate.shut = false; err == nil || !timedOut(err) {
			return false
		}
	}
	return silent(k.tcp)
}
