// Package node runs a ledger's node: the goroutines of its partitions, carriers and inbox,
// which partitions it serves, its clock, and whether it is ready. It decides nothing.
package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Config is what a node is made of.
type Config struct {
	Log    ledger.Log
	Views  ledger.Views
	Vault  ledger.Vault
	Policy decision.Policy
	Finder ledger.Finder
	// Placement says which partitions this node serves; nil: all, always. With it go
	// Reservations, since then other processes take requests too.
	Placement    ledger.Placement
	Reservations ledger.Reservations
	Clock        *Clock
	Logger       *slog.Logger
	// Author is the ledger and this node's name, written into events.
	Author ledger.Author
	// Accounts are the carrier accounts, by name: how each writes text and ids.
	Accounts map[string]ledger.Account
	// AppendWithin bounds how long a request waits to be durable; then it is
	// unknown (504). Default 5 s.
	AppendWithin time.Duration
	// DrainWithin bounds how long a partition that goes to another node waits for its
	// starts to come back. Default 5 s.
	DrainWithin time.Duration
	// MaxBacklog refuses submits (503) while more streams than this wait in one
	// partition to be worked on. Default 50,000.
	MaxBacklog int
	Clerk      clerk.Config // CallWindow, AnswerWithin and the bounds; the rest is filled in
}

// Node serves a ledger: its partitions' clerks, its carriers' dispatchers, the receipts'
// matcher, and the requests of senders and officers. It is the carriers' ledger.Inbox.
type Node struct {
	cfg        Config
	log        *slog.Logger
	control    *control.Control
	partitions *partitions
	facts      *Recorder

	matching *matching
	texts    *texts
	inbox    *inbox
	intake   *intake.Intake
	commands *control.Commands

	dispatchers map[string]*dispatch.Dispatcher
	carriers    map[string]ledger.Carrier

	ready   atomic.Bool
	stopped atomic.Bool
	// controlUnread: the last read of control failed.
	controlUnread atomic.Bool
	// unserved is why this node can serve no partition.
	unserved atomic.Pointer[error]
	metrics  metrics
}

// New assembles a node; Attach its carriers, then Start it.
func New(cfg Config) *Node {
	if cfg.DrainWithin == 0 {
		cfg.DrainWithin = 5 * time.Second
	}
	if cfg.MaxBacklog == 0 {
		cfg.MaxBacklog = 50_000
	}
	n := &Node{cfg: cfg, log: cfg.Logger, control: control.NewControl(cfg.Log), dispatchers: map[string]*dispatch.Dispatcher{},
		carriers: map[string]ledger.Carrier{}, metrics: newMetrics()}
	n.facts = NewRecorder(cfg.Log, cfg.Clock.Now, func(p event.Partition, e *event.Event, err error) {
		n.metrics.lost.Add(1)
		n.log.Error("a fact could not be recorded; it is lost", "partition", p.String(), "type", string(e.Data.Type()), "event", e.ID.String(), "error", err)
	})
	n.partitions = &partitions{views: cfg.Views, now: cfg.Clock.Now, maxBacklog: int64(cfg.MaxBacklog), progressed: make(chan struct{})}
	for p := range cfg.Log.Partitions() {
		n.partitions.all = append(n.partitions.all, newPipeline(n, event.Partition(p)))
	}
	writer := ledger.NewWriter(cfg.Author, cfg.Log, cfg.Vault, cfg.Views, cfg.Clock.Now, cfg.AppendWithin)
	n.matching = newMatching(&n.cfg, writer, n.facts)
	n.texts = newTexts(writer, n.control, func() { n.metrics.orphans.Add(1) })
	n.inbox = &inbox{matching: n.matching, control: n.control, node: cfg.Author.Node}
	n.intake = intake.New(intake.Config{Writer: writer, Log: cfg.Log, Vault: cfg.Vault, Views: cfg.Views, Finder: cfg.Finder, Control: n.control,
		Decider: newDecider(cfg.Policy), Serving: n, Reservations: cfg.Reservations, Now: cfg.Clock.Now})
	n.commands = control.NewCommands(n.control, writer, cfg.Log.Partitions(), n.facts, n.partitions, cfg.Policy, cfg.Clock.Now)
	return n
}

func newDecider(p decision.Policy) *decision.Decider {
	return &decision.Decider{Policy: p, Zone: sms.LoadZone, ZoneData: sms.ZoneVersion()}
}

// Intake takes the requests of senders and officers.
func (n *Node) Intake() *intake.Intake { return n.intake }

// Commands change control.
func (n *Node) Commands() *control.Commands { return n.commands }

// Attach serves a carrier account on this node. Call it before Start.
func (n *Node) Attach(c ledger.Carrier) {
	n.carriers[c.Account()] = c
	n.dispatchers[c.Account()] = dispatch.New(c)
}

// Deliver takes what a carrier delivers; Node is the carriers' Inbox. ack follows
// durability. When too much waits, or the event cannot be made durable, ack gets
// an error and the carrier tries again.
func (n *Node) Deliver(d ledger.Delivery, ack func(error)) {
	if d.Receipt != nil {
		n.metrics.receipts.Add(1)
		n.matching.deliver(d, ack)
		return
	}
	n.metrics.inbound.Add(1)
	n.texts.deliver(text{d, ack, n.partitions.heardUpTo()})
}

// Start reads control to its end, starts every partition, and returns when each
// has read what was there. Then requests may be served. Until ctx is done the node runs
// in goroutines; Stop waits for them.
func (n *Node) Start(ctx context.Context) (*Running, error) {
	if err := n.control.CatchUp(ctx); err != nil {
		return nil, err
	}
	heads := make([]int64, len(n.partitions.all))
	for i := range heads {
		var err error
		if _, heads[i], err = n.cfg.Log.Read(ctx, event.Partition(i), 0, 0); err != nil {
			return nil, err
		}
	}
	// What observes (carriers' answers, deliveries) outlives what proposes, so that
	// a drain loses no answer.
	r := &Running{node: n}
	outer, stopOuter := context.WithCancel(context.WithoutCancel(ctx))
	inner, stopInner := context.WithCancel(outer)
	serving, stopServing := context.WithCancel(inner)
	r.stopOuter, r.stopInner, r.stopServing = stopOuter, stopInner, stopServing
	r.outer.Go(func() { n.facts.Run(outer) })
	r.outer.Go(func() { n.texts.run(outer) })
	r.outer.Go(func() { n.matching.run(outer, n.inbox.owner.Load) })
	r.outer.Go(func() { n.readControl(outer) })
	for _, d := range n.dispatchers {
		r.inner.Go(func() { n.pump(inner, d) })
	}
	r.inner.Go(func() { n.wakeByControl(inner) })
	if n.cfg.Placement != nil {
		r.outer.Go(func() { n.partitions.hear(outer) })
		r.serving.Go(func() { n.serve(serving, inner, outer) })
		n.ready.Store(true)
		return r, nil
	}
	for _, l := range n.partitions.all {
		l.begin(inner)
	}
	for i, l := range n.partitions.all {
		if err := n.partitions.until(ctx, func() bool { return l.applied.Load() >= heads[i] || l.stopped() != nil }); err != nil {
			return r, err
		}
	}
	if err := n.inbox.resume(ctx); err != nil {
		return r, err
	}
	n.ready.Store(true)
	return r, nil
}

// Running is a started node.
type Running struct {
	node                              *Node
	stopOuter, stopInner, stopServing context.CancelFunc
	outer, inner, serving             sync.WaitGroup
}

// Stop proposes nothing more, waits (within ctx) until what was observed is
// durable, and returns when every goroutine has ended. Carriers must have been
// drained before; they may still deliver until Stop returns.
func (r *Running) Stop(ctx context.Context) error {
	r.Drain(ctx)
	err := r.node.facts.Drain(ctx)
	r.stopOuter()
	r.outer.Wait()
	return err
}

// Drain ends all proposing, lets the starts that are out come back to be called
// (within ctx), and ends the partitions. Call it before the carriers are drained.
// What does not come back in time is in doubt after the next start.
func (r *Running) Drain(ctx context.Context) {
	n := r.node
	if n.stopped.Swap(true) {
		return
	}
	r.stopServing()
	r.serving.Wait()
	var drains sync.WaitGroup
	for _, l := range n.partitions.all {
		drains.Go(func() { l.drain(ctx) })
	}
	drains.Wait()
	r.stopInner()
	r.inner.Wait()
}

// Takes is why requests are not taken now; nil when they are.
func (n *Node) Takes() error {
	switch {
	case n.stopped.Load() || !n.ready.Load():
		return errStopping
	case n.controlUnread.Load():
		return errNoControl
	}
	if err := n.control.Bad(); err != nil {
		return ledger.Refused(err)
	}
	return nil
}

// TakesFor is why no submits are taken for a partition now; nil when they are.
func (n *Node) TakesFor(p event.Partition) error { return n.partitions.TakesFor(p) }

var (
	errStopping  = ledger.Refused(errors.New("the node is starting or stopping"))
	errNoControl = ledger.Refused(errors.New("the control log cannot be read"))
)

// Registry is control as this node has read it.
func (n *Node) Registry() *control.Registry {
	r, _ := n.control.Latest()
	return r
}

// Applied is how many events of each partition that it serves this node has applied.
func (n *Node) Applied() map[event.Partition]int64 {
	out := map[event.Partition]int64{}
	for _, l := range n.partitions.all {
		if l.serving.Load() {
			out[l.p] = l.applied.Load()
		}
	}
	return out
}
