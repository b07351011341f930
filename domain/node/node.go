// Package node runs a ledger's node: the goroutines of its partitions, carriers and inbox, the
// choice of partitions that it serves, its clock, and its readiness. It decides nothing: it runs
// the steps of the clerk, the dispatch and the receipts, and does what they ask for.
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
	"github.com/chirograph/chirograph/domain/facts"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/words"
)

// Config is what a node is made of.
type Config struct {
	Log    ledger.Log
	Views  ledger.Views
	Vault  ledger.Vault
	Policy decision.Policy
	Finder ledger.Finder
	// Placement says which partitions this node serves; nil: all of them, always. With a
	// Placement set Reservations too, because other processes take requests then.
	Placement    ledger.Placement
	Reservations ledger.Reservations
	Clock        *Clock
	Logger       *slog.Logger
	// Author is the ledger's and this node's name, which events have.
	Author ledger.Author
	// Accounts describe the carrier accounts, by name.
	Accounts map[string]ledger.Account
	// AppendWithin bounds how long a request waits until its event is durable. After that the
	// result is unknown (HTTP 504). Default 5 s.
	AppendWithin time.Duration
	// DrainWithin bounds how long a partition that goes to another node waits for its starts to
	// come back. Default 5 s.
	DrainWithin time.Duration
	// Lists are the word lists by which inbound texts are read. Default words.Standard().
	Lists *words.Lists
	// World says where the holders of numbers may be, and what time it is there. All nodes of a
	// ledger should have the same. Default places.BuiltIn().
	World *places.World
	Clerk clerk.Config // its times and bounds; New sets the rest
}

// Node serves a ledger: the clerks of its partitions, the dispatchers of its carriers, the
// matcher of receipts, and the requests of senders and officers. It is the ledger.Inbox of the
// carriers.
type Node struct {
	cfg        Config
	log        *slog.Logger
	control    *control.Control
	partitions *partitions
	facts      *facts.Recorder

	matching *matching
	asking   *asking
	texts    *texts
	inbox    *inbox
	intake   *intake.Intake
	commands *control.Commands

	dispatchers map[string]*dispatch.Dispatcher
	carriers    map[string]ledger.Carrier

	ready   atomic.Bool
	stopped atomic.Bool
	// controlUnread says that the last read of control failed.
	controlUnread atomic.Bool
	// unserved says why this node can serve no partition; nil if it can.
	unserved atomic.Pointer[error]
	metrics  metrics
}

// New makes a node. Attach its carriers, and then Start it.
func New(cfg Config) *Node {
	if cfg.DrainWithin == 0 {
		cfg.DrainWithin = 5 * time.Second
	}
	if cfg.Lists == nil {
		cfg.Lists = words.Standard()
	}
	if cfg.World == nil {
		cfg.World = places.BuiltIn()
	}
	n := &Node{cfg: cfg, log: cfg.Logger, control: control.NewControl(cfg.Log), dispatchers: map[string]*dispatch.Dispatcher{},
		carriers: map[string]ledger.Carrier{}, metrics: newMetrics()}
	n.facts = facts.New(cfg.Log, cfg.Clock.Now, n.log, func(p event.Partition, e *event.Event, err error) {
		n.metrics.lost.Add(1)
		n.log.Error("a fact could not be recorded; it is lost", "partition", p.String(), "type", string(e.Data.Type()), "event", e.ID.String(), "error", err)
	})
	n.partitions = &partitions{views: cfg.Views, now: cfg.Clock.Now, alone: cfg.Reservations == nil, progressed: make(chan struct{})}
	for p := range cfg.Log.Partitions() {
		n.partitions.all = append(n.partitions.all, newPipeline(n, event.Partition(p)))
	}
	writer := ledger.NewWriter(cfg.Author, cfg.Log, cfg.Vault, cfg.Views, cfg.Clock.Now, cfg.AppendWithin)
	n.matching = newMatching(&n.cfg, writer, n.facts, func() int { return n.Registry().Level() })
	n.asking = newAsking(n.carriers, n.dispatchers, n.matching.addressesOf)
	n.texts = newTexts(writer, n.control, cfg.Accounts, listener{&n.cfg, writer}, cfg.Log.Partitions(), n.metrics.countUnplaced)
	n.inbox = &inbox{matching: n.matching, control: n.control, node: cfg.Author.Node}
	n.intake = intake.New(intake.Config{Writer: writer, Log: cfg.Log, Vault: cfg.Vault, Views: cfg.Views, Finder: cfg.Finder, Control: n.control,
		Decider: cfg.decider(), Serving: requests{n.partitions, n}, Hear: receipts.Listen(cfg.Lists), World: cfg.World, Reservations: cfg.Reservations,
		Account: func(account string) ledger.Account { return cfg.Accounts[account] }, Now: cfg.Clock.Now})
	n.commands = control.NewCommands(n.control, writer, cfg.Log.Partitions(), n.facts, n.partitions, cfg.Policy, cfg.Clock.Now)
	return n
}

func (c *Config) decider() *decision.Decider {
	return &decision.Decider{Policy: c.Policy, Zone: c.World.Zone, ZoneData: c.World.Version()}
}

// Intake returns what takes the requests of senders and officers.
func (n *Node) Intake() *intake.Intake { return n.intake }

// Commands returns the commands that change control.
func (n *Node) Commands() *control.Commands { return n.commands }

// Attach gives the node a carrier account to serve. Call it before Start.
func (n *Node) Attach(c ledger.Carrier) {
	n.carriers[c.Account()] = c
	n.dispatchers[c.Account()] = dispatch.New(c)
}

// Deliver takes what a carrier delivers (see ledger.Inbox). ack is called when the event is
// durable. If too many deliveries wait, or the event cannot be made durable, ack gets an error,
// and the carrier delivers once more. A delivery that is a receipt and a person's message is
// recorded as both, and ack waits for both.
func (n *Node) Deliver(d ledger.Delivery, ack func(error)) {
	if d.Receipt != nil && d.Said() {
		ack = both(ack)
	}
	if d.Receipt != nil {
		n.metrics.receipts.Add(1)
		n.matching.deliver(d, ack)
	}
	if d.Said() {
		n.metrics.inbound.Add(1)
		n.texts.deliver(d, n.partitions.heardUpTo(), ack)
	}
}

// both returns a function that calls ack after its second call, with the errors of both.
func both(ack func(error)) func(error) {
	var mu sync.Mutex
	var calls int
	var all error
	return func(err error) {
		mu.Lock()
		calls++
		all = errors.Join(all, err)
		last, result := calls == 2, all
		mu.Unlock()
		if last {
			ack(result)
		}
	}
}

// Start reads control to its head and starts every partition. It returns when each partition has
// read up to the head that it had, or has failed and says so (it tries again, and takes no submits meanwhile); with a Placement, it does not wait for partitions. Then
// requests may be served. The node runs in goroutines until ctx is done; Stop waits for them.
func (n *Node) Start(ctx context.Context) (*Running, error) {
	if err := n.control.CatchUp(ctx); err != nil {
		return nil, err
	}
	if err := n.control.Newer(); err != nil {
		return nil, err
	}
	heads := make([]int64, len(n.partitions.all))
	for i := range heads {
		var err error
		if _, heads[i], err = n.cfg.Log.Read(ctx, event.Partition(i), 0, 0); err != nil {
			return nil, err
		}
		n.partitions.all[i].keys.need(heads[i])
	}
	// What observes (carriers' answers, deliveries) runs longer than what proposes, so that a
	// drain loses no answer.
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
	r.inner.Go(func() { n.asking.run(inner) })
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
		if err := n.partitions.until(ctx, func() bool { return l.applied.Load() >= heads[i] || l.failed.Load() != nil }); err != nil {
			return r, err
		}
	}
	if err := n.inbox.resume(ctx); err != nil {
		return r, err
	}
	n.ready.Store(true)
	return r, nil
}

// Running is a node that was started.
type Running struct {
	node                              *Node
	stopOuter, stopInner, stopServing context.CancelFunc
	outer, inner, serving             sync.WaitGroup
}

// Stop ends all proposing, waits (within ctx) until every observed fact is durable, or will never be, and returns
// when every goroutine has ended. Drain the carriers before. They may still deliver until Stop
// returns.
func (r *Running) Stop(ctx context.Context) error {
	r.Drain(ctx)
	err := r.node.facts.Drain(ctx)
	r.stopOuter()
	r.outer.Wait()
	return err
}

// Drain ends all proposing, waits (within ctx) until the starts in flight have come back and
// their carriers were called, and ends the partitions. Call it before the carriers are drained. A
// start that does not come back in time is in doubt after the next start of the node.
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

// Takes says why no requests are taken now; nil if they are.
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

var (
	errStopping  = ledger.Refused(errors.New("the node is starting or stopping"))
	errNoControl = ledger.Refused(errors.New("the control log cannot be read"))
)

// Registry is the newest registry of control that this node has read.
func (n *Node) Registry() *control.Registry {
	r, _ := n.control.Latest()
	return r
}

// RegistryAt finds the registry of exactly a control position; nil if the node has not read it, or if the
// position changes no decision.
func RegistryAt(n *Node) func(position int64) *control.Registry { return n.control.At }

// Applied says, for each partition that this node serves, how many of its events were applied.
func (n *Node) Applied() map[event.Partition]int64 {
	out := map[event.Partition]int64{}
	for _, l := range n.partitions.all {
		if l.serving.Load() {
			out[l.p] = l.applied.Load()
		}
	}
	return out
}
