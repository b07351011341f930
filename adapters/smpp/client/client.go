// Package client is a carrier account reached over SMPP 3.4: one transceiver bind,
// kept up for as long as Run runs.
//
// The session (session.go) is this package's own: a submit is in the window before it is
// written, responses are matched by sequence_number, and deliveries are acknowledged only
// when the inbox has made them durable. Each of its steps is deterministic; Client is a thin
// layer of goroutines and a socket around it. gosmpp's pdu package encodes and decodes.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Config is one account at one message centre. A field that is left zero is what Defaults
// says.
type Config struct {
	// Account names the account in the ledger. Required.
	Account string
	// Addr is the centre's host:port. Required.
	Addr string
	// TLS, when set, wraps the connection.
	TLS *tls.Config
	// SystemID, Password and SystemType go into bind_transceiver (SMPP 3.4 §4.1.5);
	// at most 15, 8 and 12 octets. SystemID is required.
	SystemID, Password, SystemType string

	// Window is how many submits may be unanswered; carriers say what they allow.
	Window int
	// TPS is how many submits a second the account allows; each part of a message is
	// one. With 0 only the carrier's throttling limits the rate.
	TPS float64
	// ResponseTimeout is how long a response may take, for submits (then
	// HandoffUnknown), the bind and enquire_link. Keep it below the
	// time between a hand-off's call_by and its answer_by. (response_timer)
	ResponseTimeout time.Duration
	// EnquireLink is the silence after which enquire_link asks whether the centre
	// still answers. It must be below every idle limit of the carrier and
	// of the firewalls on the way. (enquire_link_timer)
	EnquireLink time.Duration
	// ReconnectMin and ReconnectMax bound the wait before the next bind. It doubles at
	// each failure, and half of it is random.
	ReconnectMin, ReconnectMax time.Duration
	// Jitter draws the random half, in [0,1). Default math/rand.
	Jitter func() float64
	// DrainTimeout bounds the wait for open responses and acknowledgements when Run
	// is told to stop.
	DrainTimeout time.Duration
	// Deliveries is how many deliver_sm may wait for the inbox. Beyond it they are
	// answered with ESME_RX_T_APPN, so that the carrier delivers them again.
	Deliveries int

	// Alphabet is what data_coding 0 means at this carrier: sms.GSM7 or sms.Latin1. (SMSC default alphabet, SMPP 3.4 §5.2.19)
	Alphabet sms.Encoding
	// SniffReceipts makes an ordinary message a receipt if its text reads like one. It is
	// only for a carrier that sends receipts with esm_class 0: with others a handset could
	// forge the receipt of its own message. Default off.
	SniffReceipts bool
	// HexIDs: this carrier writes ids in hexadecimal in submit_sm_resp and in
	// decimal in receipts. Ids are not converted here; the matcher does that.
	HexIDs bool
	// RetryStatuses are additional command_status values that this carrier documents
	// as "not taken, try later", such as 8 (ESME_RSYSERR).
	RetryStatuses []uint32
}

// Defaults are the values that fields of a Config have when they are left zero: the one
// list of them, for a configuration file and its documents too.
func Defaults() Config {
	return Config{Window: 64, ResponseTimeout: 5 * time.Second, EnquireLink: 30 * time.Second, ReconnectMin: 500 * time.Millisecond,
		ReconnectMax: 30 * time.Second, DrainTimeout: 10 * time.Second, Deliveries: 512, Alphabet: sms.GSM7}
}

// check returns an error for an invalid configuration, and sets the defaults of a valid one.
func (c *Config) check() error {
	switch {
	case c.Account == "":
		return errors.New("smpp: account is missing: name the carrier account")
	case c.Addr == "":
		return errors.New("smpp: addr is missing: give the message centre's host:port")
	case c.SystemID == "" || len(c.SystemID) > 15:
		return errors.New("smpp: system_id must have 1 to 15 characters")
	case len(c.Password) > 8:
		return errors.New("smpp: password must have at most 8 characters (SMPP 3.4 §5.2.2)")
	case len(c.SystemType) > 12:
		return errors.New("smpp: system_type must have at most 12 characters")
	case c.Window < 0 || c.TPS < 0 || c.ResponseTimeout < 0 || c.EnquireLink < 0 || c.ReconnectMin < 0 ||
		c.ReconnectMax < 0 || c.DrainTimeout < 0 || c.Deliveries < 0:
		return errors.New("smpp: window, tps, time-outs and bounds must not be negative")
	case c.Alphabet != "" && c.Alphabet != sms.GSM7 && c.Alphabet != sms.Latin1:
		return fmt.Errorf("smpp: alphabet must be %s or %s", sms.GSM7, sms.Latin1)
	}
	d := Defaults()
	c.Window = cmp.Or(c.Window, d.Window)
	c.ResponseTimeout = cmp.Or(c.ResponseTimeout, d.ResponseTimeout)
	c.EnquireLink = cmp.Or(c.EnquireLink, d.EnquireLink)
	c.ReconnectMin = cmp.Or(c.ReconnectMin, d.ReconnectMin)
	c.ReconnectMax = cmp.Or(c.ReconnectMax, max(d.ReconnectMax, c.ReconnectMin))
	c.DrainTimeout = cmp.Or(c.DrainTimeout, d.DrainTimeout)
	c.Deliveries = cmp.Or(c.Deliveries, d.Deliveries)
	c.Alphabet = cmp.Or(c.Alphabet, d.Alphabet)
	if c.ReconnectMin > c.ReconnectMax {
		return errors.New("smpp: reconnect_min must not be above reconnect_max")
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	return nil
}

// Client is one account's session. It is a ledger.Carrier.
type Client struct {
	cfg     Config
	inbox   ledger.Inbox
	log     *slog.Logger
	now     func() time.Time
	changed chan struct{}
	wake    chan struct{}
	shared  chan struct{} // holds a token after SetShare

	mu sync.Mutex
	s  *session
}

// New checks cfg and makes a client; nothing is connected before Run.
func New(cfg Config, inbox ledger.Inbox, log *slog.Logger) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Window < sms.MaxSegments {
		return nil, fmt.Errorf("smpp: window must be at least %d: the parts of a message are granted together", sms.MaxSegments)
	}
	return &Client{
		cfg: cfg, inbox: inbox, log: log.With("account", cfg.Account), now: time.Now,
		changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), shared: make(chan struct{}, 1),
		s: newSession(cfg),
	}, nil
}

// State is how the account stands now. See ledger.Client.
func (c *Client) State() ledger.ClientState {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := ledger.ClientState{Bound: c.s.phase == bound, Since: c.s.since, Open: len(c.s.window),
		Submits: c.s.stats.Submits, Throttled: c.s.stats.Throttled}
	switch {
	case st.Bound:
	case c.s.err != nil:
		st.LastError = c.s.err.Error()
	default:
		st.LastError = "not bound yet"
	}
	return st
}

// Stats counts what the session did since it was made, all binds together.
type Stats struct {
	// Submits counts submit_sm that were written; the next five count how submits ended.
	Submits, Accepted, Retry, Final, Unknown, NotCalled uint64
	// TimedOut counts those of Unknown that had no response in time; Late counts
	// responses that came after that time.
	TimedOut, Late uint64
	// Throttled counts responses that asked for a lower rate.
	Throttled uint64
	// Deliveries counts deliver_sm and data_sm that were given to the inbox; it acknowledged
	// DeliveriesAcked of them and refused DeliveriesRefused. DeliveriesOverflowed counts those
	// that were refused because too many waited for the inbox.
	Deliveries, DeliveriesAcked, DeliveriesRefused, DeliveriesOverflowed uint64
	// Malformed counts PDUs that could not be decoded, Unexpected those without a
	// request, Nacked the generic_nack received.
	Malformed, Unexpected, Nacked uint64
	// Binds, BindsRefused, ConnectionsLost and EnquireLinks count what happened to the bind.
	Binds, BindsRefused, ConnectionsLost, EnquireLinks uint64

	// Open is how many submits have no answer now, Unacked how many deliveries the
	// inbox has not acknowledged now, TPS the rate allowed now (0 is no limit).
	Open, Unacked int
	TPS           float64
}

// Stats is a snapshot of the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.s.stats
	st.Open, st.Unacked, st.TPS = len(c.s.window), len(c.s.unacked), c.s.rate.limit
	return st
}

// SetShare says what this node may use of an account that nodes share: whether it may
// be bound, and with a bind how many submits a second it may write, in place of
// Config.TPS; 0 is no limit. Both have an immediate effect: after a change to a lower rate,
// submits of a tenth of a second at most may be saved up. Without a bind Free is 0; the client
// takes no more submits, waits up to DrainTimeout for open responses and for the inbox,
// unbinds, and does not connect until a bind is allowed. Before the first call the
// configuration counts. It returns at once and may be called at any time.
func (c *Client) SetShare(bind bool, tps float64) {
	c.step(func(s *session, now time.Time) { s.share(bind, tps, now.Add(c.cfg.DrainTimeout), now) })
	signal(c.shared)
}

// allowed waits until this node may be bound; false when ctx is done first.
func (c *Client) allowed(ctx context.Context) bool {
	for {
		c.mu.Lock()
		withheld := c.s.withheld
		c.mu.Unlock()
		if !withheld {
			return ctx.Err() == nil
		}
		select {
		case <-c.shared:
		case <-ctx.Done():
			return false
		}
	}
}

// shareEnded reports whether the last connection ended because this node lost its share.
func (c *Client) shareEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Is(c.s.err, errWithheld)
}

// step runs a step of the session under the lock, then does what the step wants done.
func (c *Client) step(f func(s *session, now time.Time)) {
	c.mu.Lock()
	f(c.s, c.now())
	out := c.s.take()
	c.mu.Unlock()
	c.do(out)
}

// do does what a step wants done.
func (c *Client) do(out effects) {
	if out.flush || out.close {
		signal(c.wake)
	}
	for _, n := range out.notes {
		level := slog.LevelInfo
		if n.warn {
			level = slog.LevelWarn
		}
		c.log.Log(context.Background(), level, n.text, n.args...)
	}
	for _, r := range out.answers {
		r.done(r.result)
	}
	for _, d := range out.deliveries {
		c.deliver(d)
	}
	if out.changed {
		signal(c.changed)
	}
}

// signal puts a token into a channel that holds one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Run keeps the account bound until ctx is done, as far as SetShare allows. Then it takes no
// more submits, waits up to DrainTimeout for open responses and for the inbox, unbinds and
// closes the connection. It returns nil after that; submits without a response were answered
// with HandoffUnknown. A refused bind is no error: it is in State, and Run tries once more
// after a wait. Run is called once.
func (c *Client) Run(ctx context.Context) error {
	var fails int
	for c.allowed(ctx) {
		conn, err := c.dial(ctx)
		if err != nil {
			c.mu.Lock()
			c.s.err = err
			c.mu.Unlock()
		} else {
			before := c.Stats().Binds
			c.serve(ctx, conn)
			if c.Stats().Binds != before {
				fails = 0
			}
		}
		if ctx.Err() != nil {
			break
		}
		if c.shareEnded() {
			fails = 0
			continue
		}
		wait := c.backoff(fails)
		fails++
		c.log.Warn("smpp: no bind, trying again", "cause", c.State().LastError, "wait", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// backoff is how long to wait before the next bind after so many failures.
func (c *Client) backoff(fails int) time.Duration {
	d := c.cfg.ReconnectMax
	if fails < 30 && c.cfg.ReconnectMin<<fails < d {
		d = c.cfg.ReconnectMin << fails
	}
	return d/2 + time.Duration(c.cfg.Jitter()*float64(d/2))
}

// dial connects to the centre.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: c.cfg.ResponseTimeout}
	if c.cfg.TLS != nil {
		return (&tls.Dialer{NetDialer: &d, Config: c.cfg.TLS}).DialContext(ctx, "tcp", c.cfg.Addr)
	}
	return d.DialContext(ctx, "tcp", c.cfg.Addr)
}

// serve runs one connection from bind to close.
func (c *Client) serve(ctx context.Context, conn net.Conn) {
	end := make(chan struct{})
	stop := sync.OnceFunc(func() {
		conn.Close()
		close(end)
	})
	c.step((*session).connected)
	var wg sync.WaitGroup
	wg.Go(func() {
		if c.read(conn) {
			stop()
		}
	})
	wg.Go(func() {
		c.write(conn, end)
		stop()
	})
	ticker := time.NewTicker(min(max(min(c.cfg.ResponseTimeout, c.cfg.EnquireLink)/20, time.Millisecond), 100*time.Millisecond))
	defer ticker.Stop()
	done := ctx.Done()
	for running := true; running; {
		select {
		case <-end:
			running = false
		case <-done:
			done = nil
			c.step(func(s *session, now time.Time) { s.drain(now.Add(c.cfg.DrainTimeout), now) })
		case <-ticker.C:
			c.step((*session).tick)
		}
	}
	// Only when both goroutines have ended is it certain what was written.
	wg.Wait()
	c.step(func(s *session, now time.Time) { s.lost(errors.New("the connection was closed"), now) })
}

// readBatch is how many PDUs one step takes at most, when they have come together.
const readBatch = 64

// read takes PDUs until the connection ends. It reports whether the connection
// must be closed at once; it must not where a last answer has to be written first.
func (c *Client) read(conn net.Conn) bool {
	type parsed struct {
		pdu wire.PDU
		err error
	}
	r := wire.NewReader(conn)
	batch := make([]parsed, 0, readBatch)
	for {
		var frame []byte
		var err error
		batch = batch[:0]
		for {
			if frame, err = r.Next(); err != nil {
				break
			}
			p, perr := wire.Parse(frame)
			batch = append(batch, parsed{p, perr})
			if len(batch) == readBatch || !r.Buffered() {
				break
			}
		}
		c.step(func(s *session, now time.Time) {
			for _, p := range batch {
				s.receive(p.pdu, p.err, now)
			}
			if errors.Is(err, wire.ErrLength) {
				s.unframed(int32(binary.BigEndian.Uint32(frame[12:])), now)
			} else if errors.Is(err, io.EOF) {
				s.quit(errors.New("the carrier closed the connection"), now)
			} else if err != nil {
				s.quit(fmt.Errorf("read: %w", err), now)
			}
		})
		if err != nil {
			return !errors.Is(err, wire.ErrLength)
		}
	}
}

// write writes what the session has queued, in one call each time.
func (c *Client) write(conn net.Conn, end <-chan struct{}) {
	var buf []byte
	for {
		select {
		case <-end:
			return
		case <-c.wake:
		}
		for {
			var by time.Time
			var last bool
			c.step(func(s *session, now time.Time) {
				buf, by = s.flush(buf[:0], now)
				last = s.phase == closing
			})
			if len(buf) == 0 {
				if last {
					return
				}
				break
			}
			_ = conn.SetWriteDeadline(by) // where this fails, Write fails too
			n, err := conn.Write(buf)
			c.step(func(s *session, now time.Time) { s.wrote(n, err, now) })
			if err != nil {
				return
			}
		}
	}
}
