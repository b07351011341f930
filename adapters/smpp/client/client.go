// Package client is a carrier account reached over SMPP 3.4: its binds, kept up for as long as Run
// runs, and the parts that are submitted over them.
//
// The account (account.go) and its sessions (session.go), one a bind, are this package's own. A part
// waits for a slot of a window and for the rate, in order; it is in a window before it is written;
// responses are matched by sequence_number, late ones too; and deliveries are acknowledged only when
// the inbox has made them durable. Each step of them is deterministic; Client is a thin layer of
// goroutines and sockets around it. gosmpp's pdu package encodes; package wire decodes.
package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Client is one account. It is a ledger.Client and a ledger.Asker.
type Client struct {
	cfg     Config
	inbox   ledger.Inbox
	log     *slog.Logger
	now     func() time.Time
	changed chan struct{}
	wakes   []chan struct{} // by session: there is something to write
	timer   *time.Timer     // the account's next step

	mu sync.Mutex
	a  *account
	// shared is closed and replaced when SetShare was called.
	shared chan struct{}
}

// New checks cfg and makes a client; nothing is connected before Run.
func New(cfg Config, inbox ledger.Inbox, log *slog.Logger) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, inbox: inbox, log: log.With("account", cfg.Account), now: time.Now,
		changed: make(chan struct{}, 1), shared: make(chan struct{}), a: newAccount(cfg)}
	for range c.a.sessions {
		c.wakes = append(c.wakes, make(chan struct{}, 1))
	}
	c.timer = time.AfterFunc(time.Hour, func() { c.step(func(*account, time.Time) {}) })
	c.timer.Stop()
	return c, nil
}

// State is how the account stands now. See ledger.Client.
func (c *Client) State() ledger.ClientState {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := ledger.ClientState{Bound: c.a.usable(), Binds: len(c.a.sessions), Submits: c.a.stats.Submits, Throttled: c.a.stats.Throttled, Late: c.a.stats.Late}
	for _, s := range c.a.sessions {
		st.Open += len(s.window)
		if s.since.After(st.Since) {
			st.Since = s.since
		}
		switch {
		case s.phase == bound:
			st.BindsUp++
		case s.err != nil:
			st.LastError = s.err.Error()
		case st.LastError == "":
			st.LastError = "not bound yet"
		}
	}
	return st
}

// Stats counts what the account did since it was made, all binds together.
type Stats struct {
	// Submits counts submit_sm that were written; the next five count how submits ended.
	Submits, Accepted, Retry, Final, Unknown, NotCalled uint64
	// TimedOut counts the submits that had no response in time. Late counts the responses that came
	// after that time, or contradicted an earlier refusal; the submit then counts as they say.
	TimedOut, Late uint64
	// Throttled counts responses that asked for a lower rate.
	Throttled uint64
	// Deliveries counts deliver_sm and data_sm that were given to the inbox; it acknowledged
	// DeliveriesAcked of them and refused DeliveriesRefused. DeliveriesOverflowed counts those
	// that were refused because too many waited for the inbox.
	Deliveries, DeliveriesAcked, DeliveriesRefused, DeliveriesOverflowed uint64
	// Malformed counts PDUs that could not be decoded, Unexpected responses without a
	// request and requests that an ESME does not take, Nacked the generic_nack received. Alerts and
	// Outbinds count alert_notification and outbind.
	Malformed, Unexpected, Nacked, Alerts, Outbinds uint64
	// Binds, BindsRefused, ConnectionsLost and EnquireLinks count what happened to the binds.
	Binds, BindsRefused, ConnectionsLost, EnquireLinks uint64

	// Waiting is how many parts wait for a slot or the rate now, Open how many submits have no
	// answer now, Unacked how many deliveries the inbox has not acknowledged now, TPS the rate
	// allowed now (0 is no limit).
	Waiting, Open, Unacked int
	TPS                    float64
}

// Stats is a snapshot of the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.a.stats
	st.Waiting, st.TPS = len(c.a.queue), c.a.rate.limit
	for _, s := range c.a.sessions {
		st.Open, st.Unacked = st.Open+len(s.window), st.Unacked+len(s.unacked)
	}
	return st
}

// SetShare says what this node may use of an account that nodes share: whether it may
// be bound, and with a bind how many submits a second it may write, in place of
// Config.TPS; 0 is no limit. Both have an immediate effect: after a change to a lower rate,
// submits of a tenth of a second at most may be saved up. Without a bind the client
// takes no more submits, waits up to DrainTimeout for open responses and for the inbox,
// unbinds, and does not connect until a bind is allowed. Before the first call the
// configuration counts. It returns at once and may be called at any time.
func (c *Client) SetShare(bind bool, tps float64) {
	c.step(func(a *account, now time.Time) { a.share(bind, tps, now.Add(c.cfg.DrainTimeout), now) })
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.shared)
	c.shared = make(chan struct{})
}

// allowed waits until this node may be bound; false when ctx is done first.
func (c *Client) allowed(ctx context.Context) bool {
	for {
		c.mu.Lock()
		withheld, shared := c.a.withheld, c.shared
		c.mu.Unlock()
		if !withheld {
			return ctx.Err() == nil
		}
		select {
		case <-shared:
		case <-ctx.Done():
			return false
		}
	}
}

// step runs a step of the account under the lock, then does what it wants done.
func (c *Client) step(f func(a *account, now time.Time)) {
	c.mu.Lock()
	now := c.now()
	f(c.a, now)
	c.a.flow(now)
	out := c.a.take()
	if !out.next.IsZero() {
		c.timer.Reset(max(out.next.Sub(now), time.Millisecond/10))
	}
	c.mu.Unlock()
	c.do(out)
}

// do does what a step wants done.
func (c *Client) do(out effects) {
	for _, i := range out.wake {
		signal(c.wakes[i])
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
// closes the connections. It returns nil after that; submits without a response were answered
// with HandoffUnknown. A refused bind is no error: it is in State, and Run tries once more
// after a wait. Run is called once.
func (c *Client) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for i := range c.a.sessions {
		wg.Go(func() { c.keep(ctx, i) })
	}
	wg.Wait()
	// Parts may have come after the last bind had ended.
	c.step(func(*account, time.Time) {})
	c.timer.Stop()
	return nil
}

// keep keeps one bind up until ctx is done. It tries the centre's addresses in order, each without
// a wait after the one before, and then waits.
func (c *Client) keep(ctx context.Context, bind int) {
	fails := 0
	for c.allowed(ctx) {
		lasted := time.Duration(0)
		for _, addr := range c.cfg.addresses() {
			if lasted = c.try(ctx, bind, addr); lasted > 0 || ctx.Err() != nil || c.shareEnded(bind) {
				break
			}
		}
		if ctx.Err() != nil {
			return
		}
		if c.shareEnded(bind) {
			fails = 0
			continue
		}
		// A bind that lasted less than the wait before it is one more failure: the carrier may end
		// each as soon as it is up.
		if lasted > 0 && lasted >= c.most(fails-1) {
			fails = 0
		}
		wait := c.backoff(fails)
		fails++
		c.log.Warn("smpp: no bind, trying again", "cause", c.cause(bind), "wait", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// try connects to one address, binds, and serves the connection until it ends. It returns how long
// the bind lasted; 0 if there was none.
func (c *Client) try(ctx context.Context, bind int, addr string) time.Duration {
	conn, err := c.dial(ctx, addr)
	if err != nil {
		c.step(func(a *account, now time.Time) { a.sessions[bind].err, a.out.changed = err, true })
		return 0
	}
	c.serve(ctx, bind, conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.a.sessions[bind].lasted
}

// shareEnded reports whether the last connection ended because this node lost its share.
func (c *Client) shareEnded(bind int) bool { return errors.Is(c.cause(bind), errWithheld) }

// cause is why a session has no bind.
func (c *Client) cause(bind int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.a.sessions[bind].err
}

// most is the longest wait after so many failures; 0 before the first.
func (c *Client) most(fails int) time.Duration {
	switch {
	case fails < 0:
		return 0
	case fails < 30 && c.cfg.ReconnectMin<<fails < c.cfg.ReconnectMax:
		return c.cfg.ReconnectMin << fails
	}
	return c.cfg.ReconnectMax
}

// backoff is how long to wait before the next bind after so many failures. Half of it is random, so
// that binds which were lost together do not come back together.
func (c *Client) backoff(fails int) time.Duration {
	d := c.most(fails)
	return d/2 + time.Duration(c.cfg.Jitter()*float64(d/2))
}

// serve runs one connection of a session from bind to close.
func (c *Client) serve(ctx context.Context, bind int, conn net.Conn) {
	step := func(f func(s *session, now time.Time)) {
		c.step(func(a *account, now time.Time) { f(a.sessions[bind], now) })
	}
	end := make(chan struct{})
	stop := sync.OnceFunc(func() {
		conn.Close()
		close(end)
	})
	step((*session).connected)
	var wg sync.WaitGroup
	wg.Go(func() {
		if c.read(conn, step) {
			stop()
		}
	})
	wg.Go(func() {
		c.write(conn, c.wakes[bind], end, step)
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
			c.step(func(a *account, now time.Time) { a.drain(now.Add(c.cfg.DrainTimeout), now) })
		case <-ticker.C:
			step((*session).tick)
		}
	}
	// Only when both goroutines have ended is it certain what was written.
	wg.Wait()
	step(func(s *session, now time.Time) { s.lost(errors.New("the connection was closed"), now) })
}

// readBatch is how many PDUs one step takes at most, when they have come together.
const readBatch = 64

// read takes PDUs until the connection ends. It reports whether the connection
// must be closed at once; it must not where a last answer has to be written first.
func (c *Client) read(conn net.Conn, step func(func(*session, time.Time))) bool {
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
		step(func(s *session, now time.Time) {
			for _, p := range batch {
				s.receive(p.pdu, p.err, now)
			}
			if errors.Is(err, wire.ErrLength) {
				s.unframed(frame, now)
			} else if err != nil {
				s.quit(readError(err, s.phase != binding, c.cfg.TLS != nil), now)
			}
		})
		if err != nil {
			return !errors.Is(err, wire.ErrLength)
		}
	}
}

// write writes what the session has queued, in one call each time.
func (c *Client) write(conn net.Conn, wake, end <-chan struct{}, step func(func(*session, time.Time))) {
	var buf []byte
	for {
		select {
		case <-end:
			return
		case <-wake:
		}
		for {
			var by time.Time
			var last bool
			step(func(s *session, now time.Time) {
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
			step(func(s *session, now time.Time) { s.wrote(n, err, now) })
			if err != nil {
				return
			}
		}
	}
}

// Query asks the carrier how a part stands (query_sm). See ledger.Asker.
func (c *Client) Query(x ledger.Asked) bool { return c.ask(data.QUERY_SM, x) }

// Cancel asks the carrier to cancel a part (cancel_sm). See ledger.Asker.
func (c *Client) Cancel(x ledger.Asked) bool { return c.ask(data.CANCEL_SM, x) }

func (c *Client) ask(command data.CommandIDType, x ledger.Asked) (done bool) {
	c.step(func(a *account, now time.Time) { done = a.ask(command, x, now) })
	return done
}
