package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// Config is what a node is made of.
type Config struct {
	Log    Log
	Views  Views
	Vault  Vault
	Policy Policy
	Finder Finder
	// Placement says which partitions this node serves; nil: all, always. With it go
	// Reservations, since then other processes take requests too.
	Placement    Placement
	Reservations Reservations
	Clock        *Clock
	Logger       *slog.Logger
	Source       string // "/" and the ledger's short id
	Node         string // this node's name, written into events
	// Accounts are the carrier accounts, by name: how each writes text and ids.
	Accounts map[string]Account
	// AppendWithin bounds how long a request waits to be durable; then it is
	// unknown (504). Default 5 s.
	AppendWithin time.Duration
	// DrainWithin bounds how long a partition that goes to another node waits for its
	// starts to come back. Default 5 s.
	DrainWithin time.Duration
	// MaxBacklog refuses submits (503) while more streams than this wait in one
	// partition to be worked on. Default 50,000.
	MaxBacklog int
	Clerk      ClerkConfig // CallWindow, AnswerWithin and the bounds; the rest is filled in
}

// Account is how one carrier account writes.
type Account struct {
	// Alphabet is what data_coding 0 means there: sms.GSM7 or sms.Latin1.
	Alphabet sms.Encoding
	// HexIDs: submit_sm_resp and receipts write ids one in hexadecimal and the
	// other in decimal. Learned per account, never guessed per receipt: a guess can
	// match a neighbour's id.
	HexIDs bool
}

// Finder looks up what the views know of a message.
type Finder interface {
	// Find is where a tenant's message stands; false: the views know none.
	Find(ctx context.Context, tenant string, id event.ID) (Found, bool, error)
	// WaitFor returns when the views have applied the event at a position.
	WaitFor(ctx context.Context, p event.Position) error
}

// Found is where a message stands.
type Found struct {
	Position event.Position // of its submit
	Subject  event.Pseudonym
	Status   recipient.Status
}

// Node serves a ledger: its partitions' clerks, its carriers' dispatchers, the
// receipts' matcher, and the requests of senders and officers.
type Node struct {
	cfg     Config
	log     *slog.Logger
	control *Control
	lines   []*pipeline
	facts   *Recorder
	matcher *Matcher

	dispatchers map[string]*Dispatcher
	carriers    map[string]Carrier
	deliveries  chan delivered
	reservation reservations
	keys        keyCache

	mu      sync.Mutex
	notify  chan struct{} // closed and made anew when a partition moved on
	ready   atomic.Bool
	stopped atomic.Bool
	// controlLost: the last read of control failed.
	controlLost atomic.Bool
	// unplaced is why this node can serve no partition.
	unplaced atomic.Pointer[error]
	metrics  metrics
}

type metrics struct {
	submitted, refused, receipts, inbound, orphans atomic.Int64
	handoffs                                       [5]atomic.Int64 // by HandoffStatus
	effective, void                                atomic.Int64
	lost                                           atomic.Int64

	mu      sync.Mutex
	decided map[Deciding]int64
	voids   map[recipient.Why]int64
	states  map[string]int64
	doubts  int64
}

// Deciding is a decision's outcome, and the check (or the fault) that made it so; ""
// for an allow.
type Deciding struct{ Outcome, Check string }

// New assembles a node; Attach its carriers, then Run it.
func New(cfg Config) *Node {
	if cfg.AppendWithin == 0 {
		cfg.AppendWithin = 5 * time.Second
	}
	if cfg.DrainWithin == 0 {
		cfg.DrainWithin = 5 * time.Second
	}
	if cfg.MaxBacklog == 0 {
		cfg.MaxBacklog = 50_000
	}
	n := &Node{cfg: cfg, log: cfg.Logger, control: NewControl(cfg.Log), dispatchers: map[string]*Dispatcher{},
		carriers: map[string]Carrier{}, deliveries: make(chan delivered, 4096), notify: make(chan struct{})}
	n.metrics.decided, n.metrics.voids, n.metrics.states = map[Deciding]int64{}, map[recipient.Why]int64{}, map[string]int64{}
	n.facts = NewRecorder(cfg.Log, cfg.Clock.Now, func(p event.Partition, e *event.Event, err error) {
		n.metrics.lost.Add(1)
		n.log.Error("a fact could not be appended", "partition", p.String(), "type", string(e.Data.Type()), "event", e.ID.String(), "error", err)
	})
	n.control.good = func() { n.controlLost.Store(false) }
	n.matcher = newMatcher(n)
	n.reservation.init()
	n.keys.init(100_000)
	for p := range cfg.Log.Partitions() {
		n.lines = append(n.lines, newPipeline(n, event.Partition(p)))
	}
	return n
}

// Attach serves a carrier account on this node. Call it before Run.
func (n *Node) Attach(c Carrier) {
	n.carriers[c.Account()] = c
	n.dispatchers[c.Account()] = NewDispatcher(c, func(g Granted) { n.lines[g.Want.Partition].grant(g) })
}

// Start reads control to its end, starts every partition, and returns when each
// has read what was there. Then requests may be served. Run until ctx is done
// happens in goroutines; Stop waits for them.
func (n *Node) Start(ctx context.Context) (*Running, error) {
	_, head, err := n.cfg.Log.Read(ctx, event.ControlPartition, 0, 0)
	if err != nil {
		return nil, err
	}
	for n.control.read < head {
		records, _, err := n.cfg.Log.Read(ctx, event.ControlPartition, n.control.read, 1000)
		if err != nil {
			return nil, err
		}
		n.control.Take(records)
	}
	heads := make([]int64, len(n.lines))
	for i := range n.lines {
		if _, heads[i], err = n.cfg.Log.Read(ctx, event.Partition(i), 0, 0); err != nil {
			return nil, err
		}
	}
	// What observes (carriers' answers, deliveries) outlives what proposes, so that
	// a drain loses no answer.
	r := &Running{node: n}
	outer, stopOuter := context.WithCancel(context.WithoutCancel(ctx))
	inner, stopInner := context.WithCancel(outer)
	placed, stopPlaced := context.WithCancel(inner)
	r.stopOuter, r.stopInner, r.stopPlaced = stopOuter, stopInner, stopPlaced
	r.outer.Go(func() { n.facts.Run(outer) })
	r.outer.Go(func() { n.deliver(outer) })
	r.outer.Go(func() { n.matcher.run(outer) })
	r.outer.Go(func() { n.readControl(outer) })
	for _, d := range n.dispatchers {
		r.inner.Go(func() { d.Run(inner, n.cfg.Clock.Now) })
	}
	r.inner.Go(func() { n.controlWake(inner) })
	if n.cfg.Placement != nil {
		r.outer.Go(func() { n.hear(outer) })
		r.placed.Go(func() { n.place(placed, inner, outer) })
		n.ready.Store(true)
		return r, nil
	}
	for _, l := range n.lines {
		l.begin(inner)
	}
	for i, l := range n.lines {
		if err := n.until(ctx, func() bool { return l.applied.Load() >= heads[i] || l.stopped() != nil }); err != nil {
			return r, err
		}
	}
	if err := n.matcher.resume(ctx); err != nil {
		return r, err
	}
	n.ready.Store(true)
	return r, nil
}

// hearEvery is how often a node looks where the partitions of other nodes stand.
const hearEvery = time.Second

// hear keeps up with where the partitions stand that other nodes serve: a START from a
// handset may lift what stood there when it came, and no more.
func (n *Node) hear(ctx context.Context) {
	t := time.NewTicker(hearEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, l := range n.lines {
			if l.serving.Load() {
				continue
			}
			mark, err := n.cfg.Views.Mark(ctx, l.p)
			if err != nil {
				break // the views are away: what was heard before is still true
			}
			if !l.serving.Load() {
				l.seen.Store(mark.Next)
			}
		}
	}
}

// place serves what Placement says, again and again: its broker may be away. The
// inbox goes with partition 0.
func (n *Node) place(ctx, inner, outer context.Context) {
	stopInbox := func() {}
	gained := func(ps []event.Partition) {
		n.unplaced.Store(nil)
		for _, p := range ps {
			n.lines[p].begin(inner)
			if p == 0 {
				follow, stop := context.WithCancel(outer)
				ended := make(chan struct{})
				go func() { defer close(ended); n.matcher.follow(follow) }()
				stopInbox = func() { stop(); <-ended }
			}
		}
	}
	lost := func(ps []event.Partition) {
		within, cancel := context.WithTimeout(inner, n.cfg.DrainWithin)
		defer cancel()
		var wg sync.WaitGroup
		for _, p := range ps {
			wg.Go(func() { n.lines[p].drain(within) })
			if p == 0 {
				stopInbox()
			}
		}
		wg.Wait()
	}
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		began := n.cfg.Clock.Now()
		if err := n.cfg.Placement.Run(ctx, gained, lost); err != nil && ctx.Err() == nil {
			n.log.Error("this node serves no partition for now", "error", err)
			n.unplaced.Store(&err)
		}
		if n.cfg.Clock.Now().Sub(began) > time.Minute {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// readControl reads control until ctx is done, again and again: a pause must be in
// force whatever happened to a read. While it fails the node is not ready.
func (n *Node) readControl(ctx context.Context) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		began := n.cfg.Clock.Now()
		err := n.control.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		n.log.Error("the control stream cannot be read", "error", err)
		n.controlLost.Store(true)
		if n.cfg.Clock.Now().Sub(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Running is a started node.
type Running struct {
	node                             *Node
	stopOuter, stopInner, stopPlaced context.CancelFunc
	outer, inner, placed             sync.WaitGroup
}

// Stop proposes nothing more, waits (within ctx) until what was observed is
// durable, and returns when every goroutine has ended. Carriers must have been
// drained before; they may still deliver until Stop returns.
func (r *Running) Stop(ctx context.Context) error {
	r.Quiet(ctx)
	err := r.node.facts.Drain(ctx)
	r.stopOuter()
	r.outer.Wait()
	return err
}

// Quiet ends all proposing, lets the starts that are out come back to be called
// (within ctx), and ends the partitions. Call it before the carriers are drained.
// What does not come back in time is in doubt after the next start.
func (r *Running) Quiet(ctx context.Context) {
	n := r.node
	if n.stopped.Swap(true) {
		return
	}
	r.stopPlaced()
	r.placed.Wait()
	var drains sync.WaitGroup
	for _, l := range n.lines {
		drains.Go(func() { l.drain(ctx) })
	}
	drains.Wait()
	r.stopInner()
	r.inner.Wait()
}

// controlWake wakes every partition when control moved on, so that clerks append
// what is missing.
func (n *Node) controlWake(ctx context.Context) {
	for {
		_, changed := n.control.Latest()
		select {
		case <-ctx.Done():
			return
		case <-changed:
			for _, l := range n.lines {
				if l.serving.Load() {
					l.do(func(*Clerk, time.Time) []Call { return nil })
				}
			}
		}
	}
}

func (n *Node) clerkConfig(l *pipeline) ClerkConfig {
	c := n.cfg.Clerk
	c.Partition, c.Source, c.Node = l.p, n.cfg.Source, n.cfg.Node
	c.Decider = &Decider{Policy: n.cfg.Policy, Zone: sms.LoadZone, ZoneData: sms.ZoneVersion()}
	c.Vault, c.Control = n.cfg.Vault, n.control
	c.Slots = func(account string) Slots {
		if d := n.dispatchers[account]; d != nil {
			return d
		}
		return nil
	}
	c.Alphabet = func(account string) sms.Encoding { return n.cfg.Accounts[account].Alphabet }
	c.Unanswered = func(s *recipient.State, m *recipient.Message) { n.matcher.left(l.p, s, m) }
	c.Event = func(ctx context.Context, index int64) (*event.Event, error) {
		ctx, cancel := context.WithTimeout(ctx, lookWithin)
		defer cancel()
		return n.Event(ctx, event.Position{Partition: l.p, Index: index})
	}
	return c
}

// lookWithin bounds how long a clerk waits for one event that it has to read again.
const lookWithin = 2 * time.Second

// Event reads the event at a position.
func (n *Node) Event(ctx context.Context, p event.Position) (*event.Event, error) {
	records, _, err := n.cfg.Log.Read(ctx, p.Partition, p.Index, 1)
	if err != nil {
		return nil, err
	}
	if len(records) == 1 && records[0].Bad != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, p, records[0].Bad)
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("no event at %s", p)
	}
	return records[0].Event, nil
}

// now is the time, and what is wrong with this node's means to decide.
func (n *Node) now() (t time.Time, fault, detail string) {
	t, ok := n.cfg.Clock.Trusted()
	if !ok {
		return t, FaultClock, "the wall clock was set; it is watched for a while before it is trusted"
	}
	if n.control.Bad() != nil {
		return t, FaultControl, "a record in control is no event of this ledger"
	}
	return t, "", ""
}

func (n *Node) newID() event.ID { return event.NewID(n.cfg.Clock.Now()) }

func (n *Node) event(id event.ID, tenant string, subject event.Pseudonym, d event.Data) *event.Event {
	return &event.Event{ID: id, Source: n.cfg.Source, Subject: subject, Time: event.Millis(n.cfg.Clock.Now()), Tenant: tenant, Node: n.cfg.Node, Data: d}
}

func (n *Node) idKeys(account, id string) []string {
	if id == "" {
		return nil
	}
	keys := sms.IDKeys(id)
	if !n.cfg.Accounts[account].HexIDs && len(keys) > 2 {
		keys = keys[:2] // exact, without leading zeros
	}
	return keys
}

// call makes the carrier calls of one start and records what comes of them.
func (n *Node) call(c *Call) {
	d := n.dispatchers[c.Grant.Account]
	for i := range c.Handoffs {
		n.matcher.called(c.Grant.Account, c, &c.Handoffs[i])
	}
	d.Call(*c, n.cfg.Clock.Now, func(h Handoff, r HandoffResult) {
		n.metrics.handoffs[r.Status].Add(1)
		n.matcher.answered(c.Grant.Account, c, &h, r)
		var data event.Data
		switch r.Status {
		case HandoffUnknown:
			return // past answer_by it is in doubt
		case HandoffTaken:
			data = &event.HandoffAccepted{Attempt: h.Attempt, Part: h.Part, Carrier: c.Grant.Account, CarrierID: r.CarrierID}
		default:
			data = &event.HandoffRefused{Attempt: h.Attempt, Part: h.Part, Carrier: c.Grant.Account,
				Retry: r.Status != HandoffFinal, NotCalled: r.Status == HandoffNotCalled, Code: r.Code, Reason: r.Reason}
		}
		e := n.event(n.newID(), c.Tenant, c.Subject, data)
		e.Message = h.Message
		n.facts.Append(event.Partition(h.Message.Partition()), e, nil)
	})
}

// observe learns from judged events what the rest of the node remembers.
func (n *Node) observe(p event.Partition, batch []Record, c *Clerk) {
	judged := c.judged[len(c.judged)-len(batch):]
	for i := range judged {
		if judged[i].Why != "" { // an opaque record among them
			n.metrics.void.Add(1)
			n.metrics.mu.Lock()
			n.metrics.voids[judged[i].Why]++
			n.metrics.mu.Unlock()
			continue
		}
		n.metrics.effective.Add(1)
		switch d := judged[i].Event.Data.(type) {
		case *event.MessageSubmitted:
			n.reservation.seen(judged[i].Event, d, event.Position{Partition: p, Index: judged[i].Index})
		case *event.MessageDecided:
			n.metrics.mu.Lock()
			n.metrics.decided[deciding(d)]++
			n.metrics.mu.Unlock()
		case *event.ReceiptReceived:
			n.metrics.mu.Lock()
			n.metrics.states[d.State]++
			n.metrics.mu.Unlock()
		case *event.HandoffInDoubt:
			n.metrics.mu.Lock()
			n.metrics.doubts++
			n.metrics.mu.Unlock()
		}
	}
}

// deciding is what made a decision what it is.
func deciding(d *event.MessageDecided) Deciding {
	out := Deciding{Outcome: d.Outcome}
	if d.Outcome == Allow {
		return out
	}
	if out.Check = d.Fault; out.Check == "" {
		for _, c := range d.Checks {
			if c.Outcome == d.Outcome {
				out.Check = c.Check
				break
			}
		}
	}
	return out
}

// Oldest is, by purpose, how long ago the oldest message was submitted that could
// leave now and has not, as far as the partitions that this node serves know within
// a time.
func (n *Node) Oldest(within time.Duration) map[string]time.Duration {
	var asked int
	answers := make(chan map[string]time.Time, len(n.lines))
	for _, l := range n.lines {
		if l.serving.Load() {
			asked++
			l.do(func(c *Clerk, _ time.Time) []Call {
				answers <- c.oldest()
				return nil
			})
		}
	}
	late := time.NewTimer(within)
	defer late.Stop()
	now := n.cfg.Clock.Now()
	out := map[string]time.Duration{}
	for ; asked > 0; asked-- {
		select {
		case <-late.C:
			return out
		case a := <-answers:
			for purpose, since := range a {
				out[purpose] = max(out[purpose], now.Sub(since))
			}
		}
	}
	return out
}

func (n *Node) changed() {
	n.mu.Lock()
	close(n.notify)
	n.notify = make(chan struct{})
	n.mu.Unlock()
}

// moved is closed when a partition moved on.
func (n *Node) moved() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.notify
}

// until waits until cond holds, looking whenever a partition moved on.
func (n *Node) until(ctx context.Context, cond func() bool) error {
	for {
		moved := n.moved()
		if cond() {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reads is how many events of each partition this node has heard the effect of.
func (n *Node) reads() []int64 {
	out := make([]int64, len(n.lines))
	for i, l := range n.lines {
		out[i] = l.seen.Load()
	}
	return out
}

// Stats are figures for metrics and readiness.
type Stats struct {
	Submitted, Refused, Receipts, Inbound, Orphans, Effective, Void, Lost int64
	// Handoffs by what came of them: unknown, taken, retry, final, not called.
	Handoffs [5]int64
	// Waiting messages by carrier account, and receipts in the inbox.
	Waiting map[string]int
	Parked  int
	Backlog int64
	// Decided counts effective decisions, Voids void events, States receipts by their
	// state, and Doubts hand-offs that became in doubt.
	Decided map[Deciding]int64
	Voids   map[recipient.Why]int64
	States  map[string]int64
	Doubts  int64
	// Unplaced is why this node can serve no partition; nil when it may, or stands by.
	Unplaced error
	// Served is how many partitions this node serves.
	Served int
	// Failed are the partitions that stopped, and why.
	Failed map[string]error
	Pauses []*Pause
	Ready  bool
}

// Stats reads the figures.
func (n *Node) Stats() Stats {
	m := &n.metrics
	s := Stats{Submitted: m.submitted.Load(), Refused: m.refused.Load(), Receipts: m.receipts.Load(), Inbound: m.inbound.Load(),
		Orphans: m.orphans.Load(), Effective: m.effective.Load(), Void: m.void.Load(), Lost: m.lost.Load(),
		Waiting: map[string]int{}, Parked: n.matcher.Waiting(), Failed: map[string]error{}, Ready: n.takes() == nil}
	for i := range s.Handoffs {
		s.Handoffs[i] = m.handoffs[i].Load()
	}
	m.mu.Lock()
	s.Decided, s.Voids, s.States, s.Doubts = maps.Clone(m.decided), maps.Clone(m.voids), maps.Clone(m.states), m.doubts
	m.mu.Unlock()
	for name, d := range n.dispatchers {
		s.Waiting[name] = d.Waiting()
	}
	for _, l := range n.lines {
		if !l.serving.Load() {
			continue
		}
		s.Served++
		s.Backlog += l.backlog.Load()
		if err := l.failed.Load(); err != nil {
			s.Failed[l.p.String()] = *err
		}
	}
	if err := n.unplaced.Load(); err != nil {
		s.Unplaced = *err
	}
	if err := n.control.Bad(); err != nil {
		s.Failed[event.ControlPartition.String()] = err
	}
	if err := n.matcher.failed(); err != nil {
		s.Failed[event.InboxPartition.String()] = err
	}
	reg, _ := n.control.Latest()
	s.Pauses = reg.Pauses()
	return s
}

// Applied is how many events of each partition that it serves this node has applied.
func (n *Node) Applied() map[event.Partition]int64 {
	out := map[event.Partition]int64{}
	for _, l := range n.lines {
		if l.serving.Load() {
			out[l.p] = l.applied.Load()
		}
	}
	return out
}

// Registry is control as this node has read it.
func (n *Node) Registry() *Registry {
	r, _ := n.control.Latest()
	return r
}

// takes is why requests are not taken now; nil when they are.
func (n *Node) takes() error {
	switch {
	case n.stopped.Load() || !n.ready.Load():
		return errStopping
	case n.controlLost.Load():
		return errNoControl
	}
	if err := n.control.Bad(); err != nil {
		return errors.Join(ErrRefused, err)
	}
	return nil
}

var (
	errStopping  = errors.Join(ErrRefused, errors.New("the node is starting or stopping"))
	errNoControl = errors.Join(ErrRefused, errors.New("control cannot be read"))
)
