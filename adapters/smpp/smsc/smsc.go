// Package smsc is a simulated message centre: an SMPP 3.4 server that takes
// submits, sends receipts and inbound messages, and misbehaves on demand. It is
// for development and tests; it stores nothing and delivers no message to a handset.
//
// Its misbehaviour is drawn from one seed. With a single connection the same
// submits in the same order have the same fate.
package smsc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/domain/sms"
)

// Config says how the centre behaves. The zero value takes every message and
// sends a receipt at once. Shares are 0 to 1. Drop, Silent, Throttle and Reject are drawn one
// after the other for each submit; the first that is drawn is its fate.
type Config struct {
	// Password is what a bind must have; with "" any is accepted. Every system_id is accepted.
	Password string

	// ReceiptDelay is how long after a submit its receipt is sent. Default 0: at once.
	ReceiptDelay time.Duration
	// NoReceipts is the share of messages that never get a receipt.
	NoReceipts float64
	// EarlyReceipts is the share whose receipt is sent before submit_sm_resp.
	EarlyReceipts float64
	// DuplicateReceipts is the share whose receipt is sent twice.
	DuplicateReceipts float64
	// TextReceipts sends receipts as text only, without optional parameters.
	TextReceipts bool
	// HexIDs writes ids in hexadecimal in submit_sm_resp and in decimal in receipts.
	HexIDs bool
	// MaskedNumbers hides the last four digits of both addresses of a receipt.
	MaskedNumbers bool
	// Undeliverable is the share of messages whose receipt says UNDELIV.
	Undeliverable float64

	// Reject is the share of submits refused for good (ESME_RSUBMITFAIL or ESME_RINVDSTADR).
	Reject float64
	// Throttle is the share of submits refused with ESME_RTHROTTLED or ESME_RMSGQFUL.
	Throttle float64
	// Silent is the share of submits that are taken and get a receipt, but are never answered.
	Silent float64
	// Drop is the share of submits at which the connection is cut without an answer;
	// half of them were taken.
	Drop float64

	// MO is the share of messages that their recipient answers, with one of MOTexts.
	MO float64
	// MOTexts are the answers. Default STOP, HELP, START and a sentence.
	MOTexts []string

	// RedeliverAfter is the wait before a deliver_sm that was not acknowledged is
	// repeated, and how long an acknowledgement may take. Default 5s.
	RedeliverAfter time.Duration
	// Redeliveries is how often a deliver_sm is repeated at most. Default 20.
	Redeliveries int
	// DeliverWindow is how many deliver_sm a connection may have unanswered. Default 256.
	DeliverWindow int

	// Seed is the seed of all random draws.
	Seed uint64
	// FirstID is the id of the first message. By default it is made from the clock, so that
	// a restarted centre does not repeat its ids.
	FirstID uint64
	// Record, when set, gets one JSON line for every PDU, both ways. Lines are
	// written within 50 ms and when Serve returns.
	Record io.Writer
	// OnMessage, when set, is called for each submit received, before it is answered,
	// from the goroutine of its connection; two connections may call it at once.
	OnMessage func(Message)
	// Log, when set, gets binds and lost connections.
	Log *slog.Logger
}

// Message is one submit_sm as the centre received it; a long message is several.
type Message struct {
	Time time.Time
	// Account is the system_id of the bind.
	Account string
	// ID is as in submit_sm_resp; "" when the message was not taken.
	ID       string
	From, To string
	// Text is the part's text; "" when it could not be read.
	Text string
	// Part is the number of the part, and Parts how many the message has: 1 of 1 for a short
	// message. Reference is the same for all parts of one message.
	Part, Parts int
	Reference   uint16
	// Fate is taken, rejected, throttled, silent or dropped.
	Fate string
}

// Server is the centre.
type Server struct {
	cfg    Config
	log    *slog.Logger
	record *recorder

	mu       sync.Mutex
	rng      *rand.Rand
	nextID   uint64
	nextRef  uint16
	conns    map[*conn]struct{}
	accounts map[string]*account
	timers   schedule
	wake     chan struct{}
	changed  chan struct{} // closed and replaced when a bind comes or goes
}

// account is the deliveries that wait for one system_id, and its binds. Any of the binds takes them.
type account struct {
	name  string
	ready []*item // to be sent, in order
	binds []*conn // those that take deliveries, oldest first
	turn  int     // the bind that is tried next
}

// New makes a centre.
func New(cfg Config) *Server {
	if cfg.RedeliverAfter <= 0 {
		cfg.RedeliverAfter = 5 * time.Second
	}
	if cfg.Redeliveries <= 0 {
		cfg.Redeliveries = 20
	}
	if cfg.DeliverWindow <= 0 {
		cfg.DeliverWindow = 256
	}
	if len(cfg.MOTexts) == 0 {
		cfg.MOTexts = []string{"STOP", "HELP", "START", "Thanks, see you then."}
	}
	if cfg.FirstID == 0 {
		cfg.FirstID = uint64(time.Now().UnixMilli()) * 1000
	}
	s := &Server{
		cfg: cfg, log: cfg.Log,
		rng: rand.New(rand.NewPCG(cfg.Seed, 0x5eed)), nextID: cfg.FirstID,
		conns: make(map[*conn]struct{}), accounts: make(map[string]*account),
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Record != nil {
		s.record = &recorder{w: cfg.Record}
	}
	return s
}

// Serve takes connections from l until ctx is done, then closes them all. Scheduled
// deliveries are dropped. It returns nil after ctx is done; an error says why l takes no more
// connections, or why the record is incomplete.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.run(ctx) })
	wg.Go(func() {
		<-ctx.Done()
		l.Close()
		s.mu.Lock()
		for c := range s.conns {
			c.close()
		}
		s.mu.Unlock()
	})
	var err error
	for {
		var nc net.Conn
		if nc, err = l.Accept(); err != nil {
			break
		}
		c := newConn(s, nc)
		s.mu.Lock()
		s.conns[c] = struct{}{}
		if ctx.Err() != nil {
			c.close()
		}
		s.mu.Unlock()
		wg.Go(func() { c.serve() })
	}
	stopped := ctx.Err() != nil
	cancel()
	wg.Wait()
	if rerr := s.record.flush(); rerr != nil {
		return fmt.Errorf("smsc: the record of PDUs is incomplete: %w", rerr)
	}
	if stopped {
		return nil
	}
	return fmt.Errorf("smsc: no more connections can be taken: %w", err)
}

// run sends deliveries when they are due, and repeats those without an acknowledgement in time.
func (s *Server) run(ctx context.Context) {
	sweep := time.NewTicker(min(s.cfg.RedeliverAfter/4+time.Millisecond, 50*time.Millisecond))
	defer sweep.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		case <-sweep.C:
			s.sweep(time.Now())
			_ = s.record.flush() // Serve returns the first error of any write
		}
		now := time.Now()
		s.mu.Lock()
		for len(s.timers) > 0 && !s.timers[0].at.After(now) {
			s.enqueue(s.timers.pop())
		}
		wait := time.Hour
		if len(s.timers) > 0 {
			wait = s.timers[0].at.Sub(now)
		}
		s.mu.Unlock()
		timer.Reset(wait)
	}
}

// later schedules an item. Called with mu held.
func (s *Server) later(it *item, at time.Time) {
	it.at = at
	s.timers.push(it)
	if s.timers[0] == it {
		signal(s.wake)
	}
}

// signal puts a token into a channel that holds one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// enqueue makes an item ready and sends what can be sent. Called with mu held.
func (s *Server) enqueue(it *item) {
	it.account.ready = append(it.account.ready, it)
	s.pump(it.account)
}

// pump sends an account's ready items over its binds, in turn, as far as their
// windows allow. Called with mu held.
func (s *Server) pump(a *account) {
	for len(a.ready) > 0 {
		var c *conn
		for range a.binds {
			b := a.binds[a.turn%len(a.binds)]
			a.turn++
			if len(b.unacked) < s.cfg.DeliverWindow {
				c = b
				break
			}
		}
		if c == nil {
			return
		}
		it := a.ready[0]
		a.ready[0] = nil
		a.ready = a.ready[1:]
		c.deliver(it)
	}
}

// mayRepeat reports whether an item without an acknowledgement is repeated.
func (s *Server) mayRepeat(it *item) bool {
	if it.sent > s.cfg.Redeliveries {
		s.log.Warn("smsc: a delivery is given up", "account", it.account.name)
		return false
	}
	return true
}

// repeat schedules an item that was refused or lost with its bind. Called with mu held.
func (s *Server) repeat(it *item, now time.Time) {
	if s.mayRepeat(it) {
		s.later(it, now.Add(s.cfg.RedeliverAfter))
	}
}

// sweep makes items ready that were not acknowledged in time.
func (s *Server) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		room := false
		for seq, it := range c.unacked {
			if now.Sub(it.at) < s.cfg.RedeliverAfter {
				continue
			}
			delete(c.unacked, seq)
			room = true
			if s.mayRepeat(it) {
				it.account.ready = append(it.account.ready, it)
			}
		}
		if room && c.account != nil {
			s.pump(c.account)
		}
	}
}

// bind gives c its account, or returns the status of a refusal.
func (s *Server) bind(c *conn, systemID, password string, receives bool) data.CommandStatusType {
	if s.cfg.Password != "" && subtle.ConstantTimeCompare([]byte(password), []byte(s.cfg.Password)) != 1 {
		return data.ESME_RINVPASWD
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[systemID]
	if a == nil {
		a = &account{name: systemID}
		s.accounts[systemID] = a
	}
	c.account = a
	c.receives = receives
	return data.ESME_ROK
}

// ready lets a bound connection take deliveries, once its bind_resp is queued.
func (s *Server) ready(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.receives && !c.closed {
		c.account.binds = append(c.account.binds, c)
		s.pump(c.account)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// leave removes c. Its items without an acknowledgement are repeated over another bind.
func (s *Server) leave(c *conn) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	c.closed = true
	if c.account == nil {
		return
	}
	for i, b := range c.account.binds {
		if b == c {
			c.account.binds = append(c.account.binds[:i:i], c.account.binds[i+1:]...)
			break
		}
	}
	for _, it := range c.unacked {
		s.repeat(it, now)
	}
	clear(c.unacked)
	close(s.changed)
	s.changed = make(chan struct{})
}

// Bound waits until at least one bind that takes deliveries is up.
func (s *Server) Bound(ctx context.Context) error {
	for {
		s.mu.Lock()
		changed, up := s.changed, s.receiver() != nil
		s.mu.Unlock()
		if up {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// receiver is the first account, by name, with a bind that takes deliveries; nil: there is none.
// Called with mu held.
func (s *Server) receiver() *account {
	var found *account
	for _, a := range s.accounts {
		if len(a.binds) > 0 && (found == nil || a.name < found.name) {
			found = a
		}
	}
	return found
}

// ErrNoBind is the error of Inject when no bind takes deliveries.
var ErrNoBind = errors.New("smsc: nobody is bound to this message centre: start the gateway first")

// Inject sends an inbound message (MO) from a handset to one of the gateway's
// numbers, in concatenated parts if it is long. It returns when the message is
// scheduled; its parts are repeated until they are acknowledged.
func (s *Server) Inject(from, to, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.receiver()
	if a == nil {
		return ErrNoBind
	}
	return s.inbound(a, from, to, text, time.Time{})
}

// inbound schedules the parts of an MO message. Called with mu held.
func (s *Server) inbound(a *account, from, to, text string, at time.Time) error {
	s.nextRef++
	parts, err := sms.Segments(text, sms.SegmentOptions{Reference: s.nextRef})
	if err != nil {
		return err
	}
	for _, part := range parts {
		it := &item{account: a, from: strings.TrimPrefix(from, "+"), to: strings.TrimPrefix(to, "+"),
			octets: part.Octets, coding: part.DataCoding}
		if part.UDH {
			it.esm = data.SM_UDH_GSM
		}
		if at.IsZero() {
			s.enqueue(it)
		} else {
			s.later(it, at)
		}
	}
	return nil
}

// chance draws true with a probability of share. Called with mu held.
func (s *Server) chance(share float64) bool { return share > 0 && s.rng.Float64() < share }
