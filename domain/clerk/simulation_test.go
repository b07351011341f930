package clerk_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// The simulation: several nodes whose clerks all believe that they serve the one
// partition there is, over one log in which a driver lands, delays, doubles, cuts
// short and loses what they append. Everything is drawn from one seed.

const (
	tenant = "acme"
	entity = "Acme"
	number = "+15005550006" // the programs' sender

	// Another entity of the tenant, and another tenant, which send nothing here: what they are held for
	// comes through numbers that they share.
	entity2, tenant2, entity3 = "Acme Loans", "zeta", "Zeta"
	shared, unowned, number2  = "+15005550010", "+15005550009", "+15005550011"
	stranger                  = "+13055550199"
)

// accounts are those that every node serves.
var accounts = []string{"c1", "c2"}

// Marketing leaves from 8 to 21, by the one zone's clock.
const opensAt, closesAt = 8 * 60, 21 * 60

func zone(string) (*time.Location, error) { return time.UTC, nil }

// policy and vault are those of the nodes.
var (
	policy = waits{nodetest.Policy{Opens: opensAt, Closes: closesAt}}
	vault  = nodetest.Vault{}
)

// rules are the parts of the rule that a run does without.
type rules struct{ after, state, repeat, control, order, names, time, memory bool }

type world struct {
	rng     *rand.Rand
	now     time.Time // the true time
	log     *memlog.Log
	nodes   []*node
	without rules

	control  []ledger.Record // the control stream
	registry []*control.Registry
	paused   []*event.Paused

	answered map[*memlog.Pending]bool
	subjects []event.Pseudonym
	numbers  []string
	submits  map[event.ID]*event.Event // all that were made, landed or not
	order    []event.ID
	facts    []*event.Event // for copies
	pdus     []*pdu         // receipts that carriers delivered
	again    []*pdu         // those that a carrier delivers once more
	texts    []*text        // that handsets sent
	refused  []func()       // texts that were not acknowledged: their carriers deliver them once more
	said     map[event.ID]unplacedText
	officers []*officerCall
	shared   bool // nodes know of each other
	optOuts  []event.ID
	ops      []*op // at the carriers, to be answered
	writes   []write
	parts    int // concatenation references
	// what this world is like, in percent: how much of it turns against messages, and
	// how much of it fails
	stops, faults int
	looked        bool
	err           error
	// begun is how many events of control there are before a node begins; raise says that the format
	// level is raised during the run.
	begun int
	raise bool
	// bounds say what of a stream the views keep in rows; nil: nothing.
	bounds *recipient.Bounds
	// epochs says that the ledger is recovered during the run, now and then; released says that all
	// programs are released in the epoch.
	epochs   bool
	released bool
}

// write is one part that a carrier was called with.
type write struct {
	node  string
	local time.Time // by that node's clock
	true_ time.Time
	call  dispatch.Call
	h     ledger.Handoff
	id    string // under which the carrier has it, or would
	took  bool
}

type op struct {
	node  *node
	epoch int
	w     int // its write
	done  func(ledger.HandoffResult)
	r     ledger.HandoffResult
	late  bool
}

type node struct {
	w       *world
	whole   bool // it keeps no rows
	name    string
	skew    time.Duration
	log     ledger.Log
	clerk   *clerk.Clerk
	control *control.Control
	took    int // control records taken
	disp    map[string]*dispatch.Dispatcher
	carrier map[string]*carrier
	epoch   int // of the process
	frozen  bool
	dead    bool

	acks   []func(*clerk.Clerk) []dispatch.Call
	grants []dispatch.Granted
	calls  []dispatch.Call // returned, and not made yet
	retry  []*event.Event
	looked time.Time
	memory map[event.ID]*clerk.Start // of a node without the rule's memory
	desk   *desk                     // matches receipts

	views   nodetest.Snapshot
	history []nodetest.Snapshot
	queue   []*ledger.Batch
	commits uint64
	judged  map[int64]ledger.Judged
}

type carrier struct {
	n       *node
	account string
	window  int
	open    int
	bound   bool
	changed chan struct{}
	call    dispatch.Call // the one that is being made
	queue   []queuedPart
}

// queuedPart is a part that waits for a slot of the window.
type queuedPart struct {
	call dispatch.Call
	h    ledger.Handoff
	done func(ledger.HandoffResult)
}

func (c *carrier) Account() string { return c.account }
func (c *carrier) Takes(promised int, _ time.Time) (bool, time.Time) {
	return c.bound && c.open+len(c.queue)+promised < c.window, time.Time{}
}
func (c *carrier) Pace(parts int, _ time.Time) time.Duration {
	return time.Duration(len(c.queue)+parts) * time.Second
}
func (c *carrier) Changed() <-chan struct{} { return c.changed }
func (c *carrier) Submit(h ledger.Handoff, done func(ledger.HandoffResult)) {
	c.queue = append(c.queue, queuedPart{c.call, h, done})
	c.writeQueued()
}

// writeQueued gives up the parts whose time has passed, and writes the others while slots are free.
func (c *carrier) writeQueued() {
	for len(c.queue) > 0 {
		x := c.queue[0]
		late := !c.n.now().Before(x.h.CallBy)
		if !late && (!c.bound || c.open >= c.window) {
			return
		}
		c.queue = c.queue[1:]
		if late {
			x.done(ledger.HandoffResult{Status: ledger.HandoffNotCalled, Reason: "its time to be called had passed"})
		} else {
			c.write(x)
		}
	}
}

func (c *carrier) write(x queuedPart) {
	n, w, h, done := c.n, c.n.w, x.h, x.done
	w.writes = append(w.writes, write{node: n.name, local: n.now(), true_: w.now, call: x.call, h: h})
	o := &op{node: n, epoch: n.epoch, w: len(w.writes) - 1}
	c.open++
	o.done = func(r ledger.HandoffResult) {
		c.open--
		done(r)
		if r.Status == ledger.HandoffUnknown && w.rng.IntN(2) == 0 { // the answer comes after all
			answer := ledger.HandoffResult{Status: ledger.HandoffRetry, Code: "0x00000058"}
			if w.writes[o.w].took {
				answer = ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: w.writes[o.w].id}
			}
			w.ops = append(w.ops, &op{node: n, epoch: n.epoch, w: o.w, done: done, r: answer, late: true})
		}
		c.writeQueued()
	}
	w.writes[o.w].id = carrierID(c.account, o.w)
	o.r = ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: w.writes[o.w].id}
	switch k := w.rng.IntN(20); {
	case k < 10:
	case k < 13:
		o.r = ledger.HandoffResult{Status: ledger.HandoffRetry, Code: "0x00000058"}
	case k < 14:
		o.r = ledger.HandoffResult{Status: ledger.HandoffFinal, Code: "0x0000000b"}
	case k < 17:
		o.r = ledger.HandoffResult{Status: ledger.HandoffUnknown}
	default:
		o.late = true
	}
	w.writes[o.w].took = o.r.Status == ledger.HandoffTaken || o.r.Status == ledger.HandoffUnknown && w.rng.IntN(2) == 0
	if !o.late && w.rng.IntN(3) == 0 {
		o.done(o.r)
		return
	}
	w.ops = append(w.ops, o)
}

func (w *world) id() (id event.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(w.now.UnixMilli())<<16|0x7000)
	binary.BigEndian.PutUint64(id[8:], w.rng.Uint64()>>2|1<<63)
	return id
}

func (n *node) now() time.Time { return n.w.now.Add(n.skew) }

func newWorld(seed uint64, without rules) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{rng: rng, log: memlog.New(memlog.Options{Partitions: 1, Manual: true, Decode: seed%4 == 0}), without: without,
		answered: map[*memlog.Pending]bool{}, submits: map[event.ID]*event.Event{}, said: map[event.ID]unplacedText{}}
	w.now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	if rng.IntN(2) == 0 { // hours close, or open, during the run
		w.now = time.Date(2026, 11, 24, 20+rng.IntN(2), 59, 20+rng.IntN(40), 0, time.UTC).Add(-time.Hour * time.Duration(13*rng.IntN(2)))
	}
	w.shared = rng.IntN(4) > 0
	w.stops, w.faults = pick(w, []int{3, 10, 30, 100}), pick(w, []int{0, 20, 50, 100})
	switch seed / 3 % 4 {
	case 1:
		w.bounds = &recipient.Bounds{} // whatever may be in a row is in one
	case 2:
		w.bounds = &recipient.Bounds{MostSettled: 2, KeptSettled: 1, MostIDs: 5, KeptIDs: 2}
	case 3:
		b := recipient.StandardBounds()
		w.bounds = &b
	}
	w.registry = []*control.Registry{{}}
	w.controlled("", &event.LedgerCreated{Ledger: "sim", Partitions: 1, NumberForms: 1})
	w.epochs = seed%5 == 0
	switch k := seed % 3; { // a ledger of level 1, one of level 2, and one that is raised on its way
	case w.epochs:
		w.controlled("", &event.LevelRaised{Level: 2, By: "x"})
		w.controlled("", &event.LevelRaised{Level: 3, By: "x"})
	case k == 0:
		w.controlled("", &event.LevelRaised{Level: 2, By: "x"})
	case k == 1:
		w.raise = true
	}
	w.controlled(tenant, &event.ProgramChanged{Name: "news", LegalEntity: entity, Purposes: []string{"marketing", "account"}, Countries: []string{"*"},
		Senders: []string{number}, Default: true, By: "x"})
	w.controlled(tenant, &event.ProgramChanged{Name: "codes", LegalEntity: entity, Purposes: []string{"otp"}, Countries: []string{"*"},
		Senders: []string{number}, PrefersDuplicate: true, StartText: "You are in.", By: "x"})
	w.controlled(tenant, &event.ProgramChanged{Name: "loans", LegalEntity: entity2, Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{number, shared, number2}, By: "x"})
	w.controlled(tenant2, &event.ProgramChanged{Name: "ads", LegalEntity: entity3, Purposes: []string{"marketing"}, Countries: []string{"*"}, Senders: []string{shared}, By: "x"})
	w.controlled("", &event.RoutesChanged{Routes: []event.Route{{Rule: "default", Carrier: "c1"}}, By: "x"})
	revision, digest := policy.Bundle()
	w.controlled("", &event.PolicyActivated{Revision: revision, Digest: digest, By: "x"})
	w.begun = len(w.control)
	for i := range 1 + rng.IntN(2) {
		to := fmt.Sprintf("+1305555012%d", i)
		w.numbers = append(w.numbers, to)
		w.subjects = append(w.subjects, vault.Pseudonym(tenant, to))
	}
	for i := range 2 + rng.IntN(3) {
		n := &node{w: w, name: fmt.Sprintf("n%d", i), skew: time.Duration(rng.IntN(1000)-500) * time.Millisecond}
		n.log = w.log.Caller(n.name)
		n.judged = map[int64]ledger.Judged{}
		n.memory = map[event.ID]*clerk.Start{}
		n.boot()
		w.nodes = append(w.nodes, n)
	}
	w.nodes[0].desk.own(true)
	return w
}

// controlled appends to the control stream.
func (w *world) controlled(tenant string, d event.Data) *event.Event {
	e := &event.Event{ID: w.id(), Source: "/sim", Time: event.Millis(w.now), Tenant: tenant, Node: "api", Data: d}
	raw, err := event.Encode(e)
	if err != nil {
		panic(err)
	}
	index := int64(len(w.control))
	w.control = append(w.control, ledger.Record{Index: index, Event: e, Raw: raw})
	next, _ := w.registry[len(w.registry)-1].Apply(index, e)
	w.registry = append(w.registry, next)
	return e
}

// boot starts the node's process: what was in memory is gone.
func (n *node) boot() {
	n.epoch++
	n.dead, n.frozen = false, false
	n.retry, n.queue = nil, nil
	n.disp, n.carrier = map[string]*dispatch.Dispatcher{}, map[string]*carrier{}
	n.w.ops = slices.DeleteFunc(n.w.ops, func(o *op) bool { return o.node == n })
	for _, a := range accounts {
		c := &carrier{n: n, account: a, window: 2 + n.w.rng.IntN(3), bound: true, changed: make(chan struct{}, 1)}
		n.carrier[a] = c
		n.disp[a] = dispatch.New(c)
	}
	n.control, n.took = control.NewControl(nil), 0
	n.desk = newDesk(n)
	n.load()
}

// load makes the clerk anew, from the views.
func (n *node) load() {
	n.acks, n.calls, n.looked = nil, nil, time.Time{}
	n.grants = nil
	n.commits = 0
	n.clerk = n.newClerk()
	n.takeControl(n.views.Mark.Partition.Control)
	n.clerk.Fold().Restore(n.views.Mark, n.control.At(n.views.Mark.Partition.Control))
}

func (n *node) keepsRows() bool { return n.w.bounds != nil && !n.whole }

// newClerk makes a clerk that keeps rows as its world does.
func (n *node) newClerk() *clerk.Clerk {
	c := clerk.New(n.config())
	if b := n.w.bounds; n.keepsRows() {
		c.Fold().Bound(*b)
	}
	return c
}

func (n *node) config() clerk.Config {
	c := clerk.Config{Author: ledger.Author{Source: "/sim", Node: n.name}, Vault: vault, Control: n.control, Rule: n.w.without.rule(),
		Decider: &decision.Decider{Policy: policy, Zone: zone, ZoneData: "z1"},
		NewID:   func(time.Time) event.ID { return n.w.id() },
		Slots: func(a string) clerk.Slots {
			if d := n.disp[a]; d != nil {
				return d
			}
			return nil
		},
		Event: func(_ context.Context, i int64) (*event.Event, error) {
			r, _, err := n.w.log.Read(context.Background(), 0, i, 1)
			if err != nil || len(r) == 0 {
				return nil, fmt.Errorf("no event: %w", err)
			}
			return r[0].Event, nil
		},
		StreamMemory: 1 + int64(n.w.rng.IntN(2))*300_000,
	}
	if n.desk != nil {
		c.Unanswered = n.desk.unanswered
	}
	return c
}

func (n *node) takeControl(upTo int64) {
	if int64(n.took) < upTo {
		n.control.Take(n.w.control[n.took:upTo])
		n.took = int(upTo)
	}
}

// read applies up to max events.
func (n *node) read(max int) {
	w := n.w
	_, head, err := w.log.Read(context.Background(), 0, 0, 0)
	if err != nil {
		panic(err)
	}
	if n.clerk.Fold().Next() >= head {
		return
	}
	records, _, err := w.log.Read(context.Background(), 0, n.clerk.Fold().Next(), max)
	if err != nil {
		panic(err)
	}
	for _, r := range records {
		if d, ok := r.Event.Data.(*event.ControlApplied); ok {
			n.takeControl(d.Position)
		}
	}
	missing := n.clerk.Fold().Missing(records)
	n.clerk.Load(missing, n.views.Streams(missing))
	if err := n.views.Load(n.clerk.Fold(), records); err != nil {
		panic(err)
	}
	calls, err := n.clerk.Apply(context.Background(), records, n.now())
	if err != nil {
		panic(err)
	}
	for _, j := range n.clerk.Fold().Tail(len(records)) {
		n.judged[j.Index] = j
		n.desk.judged(&j)
		if s := n.memory[j.Event.ID]; s != nil && j.Why == "" && w.without.memory {
			n.calls = append(n.calls, n.clerk.CallOf(s))
		}
	}
	if !w.without.memory {
		n.calls = append(n.calls, calls...)
	}
}

func (n *node) act() {
	if n.looked.IsZero() || n.now().Sub(n.looked) > 5*time.Minute {
		to := n.now().Add(10 * time.Minute)
		n.clerk.Look(n.views.Due(to), to)
		n.looked = n.now()
	}
	for {
		out := n.clerk.Act(context.Background(), n.now(), "", "")
		maps.Copy(n.memory, n.clerk.Starts())
		proposer := n.clerk
		for _, p := range out.Proposals {
			if n.w.without.state {
				careless(p.Events)
			}
			n.log.Append(0, p.Events, func(a ledger.Appended) {
				if n.clerk == proposer {
					n.acks = append(n.acks, func(c *clerk.Clerk) []dispatch.Call { return c.Acked(p.ID, a.Err) })
				}
			})
		}
		n.calls = append(n.calls, out.Calls...)
		n.clerk.Load(out.Need, n.views.Streams(out.Need))
		if !out.More {
			return
		}
	}
}

// careless makes every in doubt name parts that the carrier may have answered: what a clerk would
// propose that does not look at them. The state clause is there to void it.
func careless(events []*event.Event) {
	for _, e := range events {
		if d, ok := e.Data.(*event.HandoffInDoubt); ok {
			d.Parts = []int{1, 2, 3}
		}
	}
}

func (n *node) ack() {
	acks := n.acks
	n.acks = nil
	for _, f := range acks {
		if calls := f(n.clerk); !n.w.without.memory {
			n.calls = append(n.calls, calls...)
		}
	}
}

func (n *node) grant() {
	for _, a := range accounts {
		n.carrier[a].writeQueued()
		out, _ := n.disp[a].Pump(n.now())
		n.grants = append(n.grants, out...)
	}
	for _, g := range n.grants {
		n.clerk.Granted(g)
	}
	n.grants = nil
}

// call hands what became due to the carriers; their answers become facts.
func (n *node) call() {
	calls := n.calls
	n.calls = nil
	for _, c := range calls {
		n.carrier[c.Grant.Account].call = c
		n.desk.called(&c)
		clock := n.now
		if n.w.without.time {
			clock = func() time.Time { return c.Proposed }
			for i := range c.Handoffs { // whatever call_by says
				c.Handoffs[i].CallBy = c.Proposed.Add(time.Hour)
			}
		}
		n.disp[c.Grant.Account].Call(c, clock, func(h ledger.Handoff, r ledger.HandoffResult) {
			n.desk.answered(&c, &h, r)
			var d event.Data
			switch r.Status {
			case ledger.HandoffUnknown:
				return
			case ledger.HandoffTaken:
				d = &event.HandoffAccepted{Attempt: h.Attempt, Part: h.Part, Carrier: c.Grant.Account, CarrierID: r.CarrierID}
			default:
				d = &event.HandoffRefused{Attempt: h.Attempt, Part: h.Part, Carrier: c.Grant.Account,
					Retry: r.Status != ledger.HandoffFinal, NotCalled: r.Status == ledger.HandoffNotCalled}
			}
			e := n.w.event(c.Stream.Subject, d)
			e.Message, e.Node, e.Time = h.Message, n.name, event.Millis(n.now())
			n.fact(e)
		})
	}
}

func (n *node) fact(e *event.Event) {
	epoch := n.epoch
	n.w.facts = append(n.w.facts, e)
	n.log.Append(0, []*event.Event{e}, func(a ledger.Appended) {
		if a.Err != nil && n.epoch == epoch {
			n.retry = append(n.retry, e)
		}
	})
}

func (n *node) again() {
	retry := n.retry
	n.retry = nil
	for _, e := range retry {
		n.fact(e)
	}
}

func (n *node) cut() {
	b, err := n.clerk.Fold().Cut()
	if err != nil {
		panic(err)
	}
	if b != nil {
		n.queue = append(n.queue, b)
	}
}

func (n *node) commit() {
	for _, b := range n.queue {
		n.views = n.views.Write(b)
		n.history = append(n.history, n.views)
		n.commits++
		n.clerk.Fold().Committed(n.commits)
	}
	n.queue = nil
}

// rewind goes back to an older snapshot, or to none.
func (n *node) rewind() {
	i := n.w.rng.IntN(len(n.history) + 1)
	n.history = n.history[:i]
	n.views = nodetest.Snapshot{}
	if i > 0 {
		n.views = n.history[i-1]
	}
}

// step does some of what a node does, in some order.
func (n *node) step() {
	w := n.w
	for range 2 + w.rng.IntN(8) {
		switch w.rng.IntN(11) {
		case 0, 1:
			n.read(1 + w.rng.IntN(8))
		case 2, 3:
			n.act()
		case 4:
			n.ack()
		case 5:
			n.grant()
		case 6:
			n.call()
		case 7:
			n.again()
		case 8:
			n.cut()
			if w.rng.IntN(2) == 0 {
				n.commit()
			}
		case 9:
			n.desk.look()
		case 10:
			n.desk.step()
		}
	}
}

// all does everything there is to do.
func (n *node) all() {
	n.takeControl(int64(len(n.w.control)))
	n.read(1 << 20)
	n.ack()
	n.grant()
	n.act()
	n.call()
	n.again()
	n.desk.all()
}

func (w *world) event(s event.Pseudonym, d event.Data) *event.Event {
	return &event.Event{ID: w.id(), Source: "/sim", Subject: s, Time: event.Millis(w.now), Tenant: tenant, Node: "api", Data: d}
}

// put appends a fact through one of several API processes.
func (w *world) put(e *event.Event) {
	w.facts = append(w.facts, e)
	w.log.Caller(fmt.Sprintf("api%d", w.rng.IntN(3))).Append(0, []*event.Event{e}, func(ledger.Appended) {})
}

func box(v any) event.Sealed {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: raw}
}

func pick[T any](w *world, s []T) T { return s[w.rng.IntN(len(s))] }

func (w *world) submit() *event.Event {
	i := w.rng.IntN(len(w.subjects))
	body := "hello"
	if w.rng.IntN(4) == 0 {
		body = strings.Repeat("two parts. ", 16)
	}
	d := &event.MessageSubmitted{Program: "news", Purpose: pick(w, []string{"marketing", "account"}), Priority: 1 + w.rng.IntN(9), From: number, Country: "US",
		Places: []event.Place{"US-FL Etc/UTC"}, Encoding: "gsm7", Segments: 1, ValidUntil: event.Millis(w.now.Add(time.Duration(1+w.rng.IntN(40)) * time.Minute)), By: "x",
		Sealed: box(event.Content{To: w.numbers[i], Body: body})}
	if w.rng.IntN(2) == 0 {
		d.Program, d.Purpose, d.PrefersDuplicate = "codes", "otp", true
	}
	if w.rng.IntN(6) == 0 {
		d.SendAt = event.Millis(w.now.Add(time.Duration(w.rng.IntN(8000)) * time.Millisecond))
	}
	if w.rng.IntN(12) == 0 { // through the night
		d.ValidUntil = event.Millis(w.now.Add(13 * time.Hour))
	}
	e := w.event(w.subjects[i], d)
	w.submits[e.ID] = e
	w.order = append(w.order, e.ID)
	return e
}

func (w *world) reach() event.Reach {
	return pick(w, []event.Reach{{Scope: event.ScopeProgram, Name: "news"}, {Scope: event.ScopeProgram, Name: "codes"}, {Scope: event.ScopeSender, Name: number},
		{Scope: event.ScopeLegalEntity, Name: entity}, {Scope: event.ScopeTenant}, {Scope: event.ScopeSender, Name: "+19998887777"}})
}

// drive draws one thing that happens.
func (w *world) drive() {
	r := w.rng
	w.now = w.now.Add(time.Duration(1+r.IntN(60)) * time.Millisecond)
	k := r.IntN(203)
	if 135 <= k && k < 149 || 155 <= k && k < 166 {
		if r.IntN(100) >= w.stops {
			k = r.IntN(128)
		}
	}
	if k >= 185 && r.IntN(100) >= w.faults {
		k = r.IntN(128)
	}
	switch {
	case k >= 200: // another node looks after the inbox, or two do for a while, or none
		n := pick(w, w.nodes)
		n.desk.own(!n.desk.owner)
	case k < 70:
		if n := pick(w, w.nodes); !n.frozen && !n.dead {
			n.step()
		}
	case k < 128:
		w.settleOne()
	case k < 135:
		w.put(w.submit())
	case k < 139:
		e := w.event(pick(w, w.subjects), &event.OptedOut{Reach: w.reach(), Source: "phone", By: "x"})
		w.optOuts = append(w.optOuts, e.ID)
		w.put(e)
	case k < 144 && len(w.optOuts) > 0: // some of what stands, or stood; late ones are held by the log
		var ids []event.ID
		for range 1 + r.IntN(2) {
			ids = append(ids, pick(w, w.optOuts))
		}
		for _, s := range w.subjects {
			w.put(w.event(s, &event.SuppressionLifted{Lifts: ids, Source: "phone", By: "x"}))
		}
	case k < 145 && len(w.refused) > 0 && r.IntN(2) == 0:
		w.deliverText()
	case k < 145:
		w.inbound(pick(w, texts), nil)
	case k < 146:
		for range 1 + r.IntN(3) {
			w.reviewed()
		}
	case k < 148:
		w.parts++
		halves := pick(w, [][2]string{{"ST", "OP"}, {"hel", "lo"}, {"", "STOP"}})
		for p := range 1 + r.IntN(2) {
			c := &sms.Concat{Reference: uint16(max(1, w.parts-r.IntN(2))), Part: p + 1, Parts: 2}
			if r.IntN(10) == 0 {
				c.Part = 9 // of two
			}
			w.inbound(halves[p], c)
		}
	case k < 155 && len(w.facts) > 0 && r.IntN(2) == 0:
		e := pick(w, w.facts)
		w.log.Caller(fmt.Sprintf("copy%d", r.IntN(2))).Append(0, []*event.Event{e}, func(ledger.Appended) {})
	case k < 160 && len(w.order) > 0: // sometimes before its submit
		var s *event.Event
		if r.IntN(3) == 0 {
			s = w.submit()
		} else {
			s = w.submits[pick(w, w.order)]
		}
		c := w.event(s.Subject, &event.CancelRequested{By: "x"})
		c.Message = s.ID
		w.put(c)
		if r.IntN(2) == 0 {
			w.put(s)
		}
	case k < 166:
		w.control_()
	case k < 175 && len(w.ops) > 0:
		i := r.IntN(len(w.ops))
		o := w.ops[i]
		if o.node.frozen || o.late && r.IntN(6) > 0 {
			return
		}
		w.ops = slices.Delete(w.ops, i, i+1)
		o.done(o.r)
	case k < 181 && len(w.writes) > 0:
		x := r.IntN(len(w.writes))
		for range 1 + r.IntN(3) {
			w.receipt(x)
		}
	case k < 185:
		w.now = w.now.Add(time.Duration(r.IntN(5000)) * time.Millisecond)
	case k < 186:
		w.now = w.now.Add(time.Duration(10+r.IntN(50)) * time.Second)
	case k < 190:
		n := pick(w, w.nodes)
		n.frozen = !n.frozen
	case k < 193: // a crash: what it had not written is gone; now and then its views go back
		n := pick(w, w.nodes)
		if r.IntN(3) == 0 {
			n.commit()
		}
		if r.IntN(2) == 0 {
			n.rewind()
		}
		n.boot()
	case k < 195: // the partition alone starts again
		n := pick(w, w.nodes)
		n.queue = nil
		if r.IntN(2) == 0 {
			n.rewind()
		}
		n.load()
	case k < 198:
		n := pick(w, w.nodes)
		for _, a := range accounts { // in order: what is drawn for one must not be drawn for another
			n.carrier[a].bound = !n.carrier[a].bound || r.IntN(2) == 0
		}
	default:
		n := pick(w, w.nodes)
		n.takeControl(int64(n.took + r.IntN(len(w.control)-n.took+1)))
	}
}

// control_ changes control, and appends it to the partition, or leaves that to the
// clerks.
func (w *world) control_() {
	if w.epochs && w.rng.IntN(2) == 0 {
		w.recover()
		return
	}
	switch k := w.rng.IntN(6); {
	case w.raise && w.rng.IntN(4) == 0:
		w.raise = false
		w.controlled("", &event.LevelRaised{Level: 2, By: "x"})
	case k < 3:
		p := pick(w, []*event.Paused{{Reason: "x", By: "x"}, {Program: "news", Reason: "x", By: "x"}, {Carrier: "c1", Reason: "x", By: "x"}, {Program: "codes", Reason: "x", By: "x"}})
		w.paused = append(w.paused, p)
		w.controlled(tenant, p)
	case k < 5 && len(w.paused) > 0:
		i := w.rng.IntN(len(w.paused))
		p := w.paused[i]
		w.paused = slices.Delete(w.paused, i, i+1)
		w.controlled(tenant, &event.Resumed{Program: p.Program, Carrier: p.Carrier, Reason: "x", By: "x"})
	default:
		w.controlled("", &event.RoutesChanged{Routes: []event.Route{{Rule: "default", Carrier: pick(w, []string{"c1", "c2"})}}, By: "x"})
	}
	if w.rng.IntN(3) > 0 {
		w.apply(w.rng.IntN(2))
	}
}

// recover begins an epoch, releases a program or all, or recovers a message, in any order: the rule must
// hold whoever appends.
func (w *world) recover() {
	epoch := w.registry[len(w.registry)-1].Epoch().Number
	switch k := w.rng.IntN(8); {
	case k < 1:
		w.controlled("", &event.EpochBegan{Epoch: epoch + 1, Cause: event.EpochRecovered, Reason: "x", By: "x"})
		w.released = false
	case k < 3 && epoch > 1:
		w.controlled(tenant, &event.EpochReleased{Epoch: epoch, Program: pick(w, []string{"news", "codes"}), Reason: "x", By: "x"})
	case k < 5 && epoch > 1:
		w.controlled("", &event.EpochReleased{Epoch: epoch, Reason: "x", By: "x"})
		w.released = true
	case len(w.order) > 0:
		w.recovered()
		return
	}
	if w.rng.IntN(3) > 0 {
		w.apply(w.rng.IntN(2))
	}
}

// recovered recovers a message, with some of its hand-offs: one that the log has, or one whose submit it
// lacks so far.
func (w *world) recovered() {
	s := w.submits[pick(w, w.order)]
	if w.rng.IntN(3) == 0 {
		s = w.submit()
	}
	sub := s.Data.(*event.MessageSubmitted)
	d := &event.MessageRecovered{Epoch: max(2, w.registry[len(w.registry)-1].Epoch().Number), Program: sub.Program, Purpose: sub.Purpose, From: sub.From, Accepted: s.Time, ValidUntil: sub.ValidUntil,
		Status: "sent", Source: event.RecoveredFromViews, By: "x"}
	for i := range w.writes {
		x := &w.writes[i]
		if x.h.Message != s.ID || w.rng.IntN(2) == 0 {
			continue
		}
		d.Parts = x.h.Parts
		h := event.KnownHandoff{Attempt: x.h.Attempt, Part: x.h.Part, Carrier: x.call.Grant.Account, Reference: x.h.Reference}
		if x.took && w.rng.IntN(2) == 0 {
			h.CarrierID = x.id
		}
		d.Handoffs = append(d.Handoffs, h)
	}
	e := w.event(s.Subject, d)
	e.ID, e.Message = event.Derive(s.ID, "recovered", fmt.Sprint(d.Epoch)), s.ID
	w.put(e)
	if w.rng.IntN(3) == 0 {
		w.put(s) // a copy that a writer still had
	}
}

// apply brings control into the partition: the newest, or the one before.
func (w *world) apply(back int) {
	r := w.registry[len(w.registry)-1-back]
	e := r.Applied(ledger.Author{Source: "/sim", Node: "api"}, 0, w.now)
	w.log.Caller(fmt.Sprintf("op%d", w.rng.IntN(2))).Append(0, []*event.Event{e}, func(ledger.Appended) {})
}

// settleOne decides what becomes of one append that waits.
func (w *world) settleOne() {
	pending := w.log.Pending()
	if len(pending) == 0 {
		return
	}
	a := pick(w, pending)
	w.now = w.now.Add(time.Millisecond)
	k := w.rng.IntN(20)
	if w.rng.IntN(100) >= w.faults {
		k = 0
	}
	switch {
	case k < 13:
		a.Land()
	case k < 15:
		w.answered[a] = true
		a.Double()
	case k < 17:
		w.answered[a] = true
		a.Doubt()
	case k < 18:
		a.Cut(w.rng.IntN(len(a.Events) + 1))
	case k < 19:
		a.Lose()
	case !w.answered[a]:
		a.Refuse()
	}
}

// settle lets everything come to rest: appends land, carriers answer, time passes.
func (w *world) settle() {
	for _, n := range w.nodes {
		if n.dead {
			n.boot()
		}
		n.frozen = false
		for _, c := range n.carrier {
			c.bound = true
		}
		n.desk.own(n == w.nodes[0])
	}
	round := func() {
		w.now = w.now.Add(time.Millisecond)
		for range 100 {
			_, before, _ := w.log.Read(context.Background(), 0, 0, 0)
			for pending := w.log.Pending(); len(pending) > 0; pending = w.log.Pending() {
				a := pending[w.rng.IntN(len(pending))]
				a.Land()
			}
			ops := w.ops
			w.ops = nil
			for _, o := range ops {
				o.done(o.r)
			}
			for len(w.again) > 0 {
				w.deliver(0)
			}
			for _, i := range w.rng.Perm(len(w.nodes)) {
				w.nodes[i].all()
				w.now = w.now.Add(time.Millisecond)
			}
			_, after, _ := w.log.Read(context.Background(), 0, 0, 0)
			if before == after && len(w.log.Pending()) == 0 && len(w.ops) == 0 && len(w.again) == 0 {
				return
			}
		}
		w.fail("the nodes do not come to rest")
	}
	round()
	for len(w.refused) > 0 {
		w.deliverText()
		round()
	}
	for range w.rng.IntN(8) {
		w.reviewed()
	}
	w.calledAgain()
	round()
	if w.rng.IntN(2) == 0 { // operators resume; else the pauses stand and messages expire
		for _, p := range w.paused {
			w.controlled(tenant, &event.Resumed{Program: p.Program, Carrier: p.Carrier, Reason: "x", By: "x"})
		}
		w.paused = nil
		if epoch := w.registry[len(w.registry)-1].Epoch(); epoch.Began != nil && !w.released {
			w.controlled("", &event.EpochReleased{Epoch: epoch.Number, Reason: "x", By: "x"})
		}
	}
	for _, pace := range []struct {
		n    int
		step time.Duration
	}{{20, time.Second}, {14, 15 * time.Second}, {15, 5 * time.Minute}, {16, time.Hour}, {12, 8 * time.Hour}} {
		for range pace.n {
			if w.err != nil || w.rested() {
				break
			}
			w.now = w.now.Add(pace.step)
			round()
		}
	}
	w.now = w.now.Add(time.Minute) // grants that nobody uses run out
	round()
	w.nodes[0].cut()
	w.nodes[0].commit()
	w.now = w.now.Add(11 * time.Minute) // receipts that wait are looked up once more
	round()
	for _, n := range w.nodes {
		n.cut()
		n.commit()
	}
}

func (w *world) rested() bool {
	w.nodes[0].cut()
	if len(w.nodes[0].queue) == 0 && w.looked {
		return false // it was not before, and nothing has happened
	}
	w.looked = true
	w.nodes[0].commit()
	for _, st := range w.nodes[0].views.Streams(w.everyone()) {
		if len(st.Inbound) > 0 {
			return false
		}
		for _, m := range st.Messages {
			if m.Status.Open() {
				return false
			}
		}
	}
	return true
}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}
