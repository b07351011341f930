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
	"log/slog"
	"sync"
	"time"

	"github.com/linxGnu/gosmpp/data"

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
	for i := range c.wakes {
		if out.wake&(1<<i) != 0 {
			signal(c.wakes[i])
		}
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
		wg.Go(func() { (&keeper{c, i}).keep(ctx) })
	}
	wg.Wait()
	// Parts may have come after the last bind had ended.
	c.step(func(*account, time.Time) {})
	c.timer.Stop()
	return nil
}

// Query asks the carrier how a part stands (query_sm). See ledger.Asker.
func (c *Client) Query(x ledger.Asked) bool { return c.ask(data.QUERY_SM, x) }

// Cancel asks the carrier to cancel a part (cancel_sm). See ledger.Asker.
func (c *Client) Cancel(x ledger.Asked) bool { return c.ask(data.CANCEL_SM, x) }

func (c *Client) ask(command data.CommandIDType, x ledger.Asked) (done bool) {
	c.step(func(a *account, now time.Time) { done = a.ask(command, x, now) })
	return done
}
