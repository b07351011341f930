// Package nodetest runs several whole nodes over one ledger. All of them serve every partition at
// the same time, with real goroutines and a real clock. Then it compares what the carriers were
// called with, what the senders were told, and the nodes' folds with the log. It is for tests
// alone, and the same for every engine.
package nodetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// MessagesEnv is the name of the environment variable that says how many messages Exercise
// submits in each mode. A minute takes some 6,000, with faults 4,000.
const MessagesEnv = "CHIROGRAPH_TEST_CLERKS"

// Options are the options of SeveralClerks. The zero value is usable.
type Options struct {
	// Nodes is how many nodes run; default 3.
	Nodes int
	// Messages is how many messages are submitted, by several senders at once; default 600. With
	// them come opt-outs, lifts, cancels and texts of handsets, about a third as many.
	Messages int
	// Recipients is how many recipients each of the two tenants has; default Messages/20, at
	// least 10 and at most 600.
	Recipients int
	// Shared says that all nodes project into one Views, as into one PostgreSQL. Else each has
	// its own.
	Shared bool
	// Faults says that faults happen between the nodes and the log: appends are delayed, refused,
	// doubled, split, cut short, lost or late, results of appends are lost, and nodes freeze for
	// longer than a carrier may be called for a start.
	Faults bool
	// Pace is how long each of sixteen senders waits between two messages, on average; default 40
	// ms.
	Pace time.Duration
	// Settle bounds how long everything may take to come to rest after the last request; default
	// 60 s.
	Settle time.Duration
	// Seed determines what is asked for, and of which node; default 1. It does not determine how
	// goroutines are scheduled.
	Seed uint64
	// Level is the ledger's format level: 1, 2, or 0 for one that is raised from 1 to 2 half-way.
	Level int
}

func (o *Options) defaults() {
	def := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&o.Nodes, 3)
	def(&o.Messages, 600)
	def(&o.Recipients, min(max(o.Messages/20, 10), 600))
	if o.Pace == 0 {
		o.Pace = 40 * time.Millisecond
	}
	if o.Settle == 0 {
		o.Settle = time.Minute
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
}

// Times of the nodes. They are short, so that what is in doubt is resolved within a test.
const (
	callWindow   = 800 * time.Millisecond
	answerWithin = 700 * time.Millisecond
	giveUp       = 1500 * time.Millisecond
	appendWithin = time.Second
	askWithin    = 4 * time.Second // bounds one request
	senders      = 16
)

// Exercise runs SeveralClerks with o in four modes at the same time, each over a ledger of its
// own: with the nodes' own views and with shared ones, without faults and with them. fresh makes
// a ledger, and returns a function that opens it. A short test submits half of the messages. A
// soak (see MessagesEnv) runs one mode after the other.
func Exercise(t *testing.T, o Options, fresh func(t *testing.T) (open func(t *testing.T, node string) ledger.Log)) {
	if testing.Short() {
		o.defaults()
		o.Messages, o.Recipients = o.Messages/2, o.Recipients/2
	}
	soak := os.Getenv(MessagesEnv)
	if soak != "" {
		n, err := strconv.Atoi(soak)
		if err != nil || n < 1 {
			t.Fatalf("%s is a number of messages, not %q", MessagesEnv, soak)
		}
		o.Messages, o.Recipients, o.Seed = n, 0, uint64(time.Now().UnixNano())
	}
	var all sync.WaitGroup // the modes wait more than they work: run all at once, even on few cores
	for _, mode := range []struct {
		name           string
		shared, faults bool
		level          int
	}{{"own views", false, false, 2}, {"own views and faults", false, true, 0}, {"shared views", true, false, 1}, {"shared views and faults", true, true, 0}} {
		one := func() {
			t.Run(mode.name, func(t *testing.T) {
				o := o
				o.Shared, o.Faults, o.Level = mode.shared, mode.faults, mode.level
				SeveralClerks(t, fresh(t), o)
			})
		}
		if soak != "" {
			one()
		} else {
			all.Go(one)
		}
	}
	all.Wait()
}

// SeveralClerks runs nodes that all serve every partition of one ledger, until a bounded amount
// of work is done and has come to rest. It stops them in order, and checks that
//
//   - the ledger verifies;
//   - every carrier call was for an effective start, came before every opt-out and cancel that
//     covers it, and outside every pause that was acknowledged;
//   - no part was sent twice, unless a start says so;
//   - every answer of a carrier is in the ledger, and nothing is open;
//   - every request that was acknowledged is in the ledger once, and none that was refused is;
//   - every text that was acknowledged is in its writer's stream, or with the operator and held wherever
//     it may be meant, and in no other stream;
//   - each node's fold is the fold of the log.
//
// open gives each node its own handle on the ledger, which must be empty, or have nothing but
// LedgerCreated. Engines of one process may give the same handle to all nodes.
func SeveralClerks(t *testing.T, open func(t *testing.T, node string) ledger.Log, o Options) {
	t.Helper()
	w := run(t, open, o)
	for i, p := range w.problems {
		if i == 20 {
			t.Errorf("and %d problems more", len(w.problems)-i)
			break
		}
		t.Error(p)
	}
	t.Log(w.sum())
	if t.Failed() {
		t.Logf("the nodes said:\n%s", w.journal.text())
	}
}

// world is one run: its nodes, and what is known from outside them.
type world struct {
	o       Options
	source  string
	rng     *chance
	log     ledger.Log // the first node's handle, without faults
	servers []*server
	centre  *centre
	journal journal

	mu       sync.Mutex
	submits  []*submit
	optOuts  []intake.OptOutRequest // the opt-outs that were asked for
	of       []string               // the tenant of each of optOuts
	facts    []fact
	pauses   []pause
	loose    map[paused]bool // pauses that a resume with an unknown result may still end
	counts   map[string]int
	problems []string
	report   *audit.Report
	reg      *control.Control // as audit has read it
	drove    time.Duration    // how long requests were made
	atRest   time.Duration    // how long it took after that until everything had stopped
	events   map[event.Type]int
}

// server is one node, with its clock, its way to the log, its views and its carriers.
type server struct {
	name       string
	clock      *node.Clock
	line       *line
	views      *Views
	node       *node.Node
	running    *node.Running
	carriers   []*carrier
	gone       atomic.Bool // it takes no more requests and deliveries
	delivering tally
}

// enter reports whether the server takes a delivery. If it does, call delivering.done afterwards.
func (s *server) enter() bool {
	s.delivering.add()
	if s.gone.Load() {
		s.delivering.done()
		return false
	}
	return true
}

// submit is a message as its sender knows it.
type submit struct {
	tenant, key string
	out         *intake.Submitted // nil if it was not acknowledged
	refused     bool              // whether it was certainly refused: then it must not be in the ledger
}

// fact is an event that was acknowledged.
type fact struct {
	what string
	id   event.ID // zero if the answer did not tell it
	at   event.Position
}

// paused is what a pause covers.
type paused struct{ tenant, program, carrier string }

// pause is a pause that was acknowledged, until a resume was asked for.
type pause struct {
	paused
	from, to time.Time // to is zero while the pause is in force
}

var programs = []event.ProgramChanged{
	{Name: "alerts", Purposes: []string{"account"}},
	{Name: "codes", Purposes: []string{"otp"}, PrefersDuplicate: true},
	{Name: "news", Purposes: []string{"marketing", "account"}, Default: true},
}

var tenants = []struct{ name, entity, sender string }{
	{"acme", "Acme", "+15005550006"}, {"globex", "Globex", "+15005550007"},
}

// shared is a number that both tenants send from, and unowned one that no program registers.
const shared, unowned = "+15005550008", "+15005550009"

var accounts = []string{"c1", "c2"}

// number is the phone number of a recipient: from the range for fiction, in six area codes.
func number(i int) string {
	return fmt.Sprintf("+1%s555%04d", []string{"212", "305", "415", "312", "206", "512"}[i/100%6], 100+i%100)
}

// run does the whole run, and collects what is wrong.
func run(t *testing.T, open func(t *testing.T, node string) ledger.Log, o Options) *world {
	t.Helper()
	o.defaults()
	w := &world{o: o, rng: newChance(o.Seed), counts: map[string]int{}, loose: map[paused]bool{}}
	w.centre = &centre{rng: newChance(o.Seed + 1), nodes: w.live}
	var shared *Views
	if o.Shared {
		shared = NewViews()
	}
	for i := range o.Nodes {
		name := fmt.Sprintf("node-%d", i)
		s := &server{name: name, views: shared}
		log := open(t, name)
		if i == 0 {
			w.log = log
			if err := w.create(); err != nil {
				t.Fatal(err)
			}
		}
		s.line = newLine(log, newChance(o.Seed+10+uint64(i)))
		if s.views == nil {
			s.views = NewViews()
		}
		skew := w.rng.upTo(800*time.Millisecond) - 400*time.Millisecond
		s.clock = node.NewClock(func() time.Time { return time.Now().Add(skew) })
		s.node = node.New(node.Config{Log: s.line, Views: s.views, Finder: s.views, Vault: Vault{}, Policy: Policy{}, Clock: s.clock,
			Logger: slog.New(slog.NewTextHandler(&w.journal, &slog.HandlerOptions{Level: slog.LevelInfo})).With("by", name),
			Author: ledger.Author{Source: w.source, Node: name}, AppendWithin: appendWithin,
			// Few streams stay in memory, so that they are loaded again and again.
			Clerk: clerk.Config{CallWindow: callWindow, AnswerWithin: answerWithin, GiveUp: giveUp, StreamMemory: 20_000}})
		for _, a := range accounts {
			c := &carrier{centre: w.centre, account: a, node: s, window: 6 + w.rng.n(6), changed: make(chan struct{}, 1)}
			s.carriers = append(s.carriers, c)
			s.node.Attach(c)
		}
		w.servers = append(w.servers, s)
	}
	for _, s := range w.servers {
		ctx, cancel := context.WithTimeout(t.Context(), o.Settle)
		running, err := s.node.Start(ctx)
		cancel()
		s.running = running
		if err != nil {
			t.Fatalf("%s does not start: %v", s.name, err)
		}
	}
	began := time.Now()
	w.drive()
	w.drove = time.Since(began)
	w.settle(t)
	w.atRest = time.Since(began) - w.drove
	w.audit()
	return w
}

// create writes the control stream, and puts it into force in every partition.
func (w *world) create() error {
	there, err := w.all(event.ControlPartition)
	if err != nil {
		return err
	}
	const name = "clerks"
	w.source = "/" + name
	var events []*event.Event
	put := func(tenant string, d event.Data) {
		now := time.Now()
		events = append(events, &event.Event{ID: event.NewID(now), Source: w.source, Time: event.Millis(now), Tenant: tenant, Node: "test", Data: d})
	}
	if len(there) > 0 {
		w.source = there[0].Event.Source
	} else {
		put("", &event.LedgerCreated{Ledger: name, Partitions: w.log.Partitions(), NumberForms: 1})
	}
	for _, t := range tenants {
		for _, p := range programs {
			p.LegalEntity, p.Countries, p.Senders, p.By = t.entity, []string{"*"}, []string{t.sender}, "test"
			put(t.name, &p)
		}
	}
	for _, t := range tenants {
		put(t.name, &event.ProgramChanged{Name: "both", LegalEntity: t.entity, Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{shared}, By: "test"})
	}
	if w.o.Level == 2 {
		put("", &event.LevelRaised{Level: 2, By: "test"})
	}
	put("", &event.RoutesChanged{Routes: routes(0), By: "test"})
	revision, digest := Policy{}.Bundle()
	put("", &event.PolicyActivated{Revision: revision, Digest: digest, By: "test"})
	if err := w.append(event.ControlPartition, events); err != nil {
		return err
	}
	records, err := w.all(event.ControlPartition)
	if err != nil {
		return err
	}
	reader := control.NewControl(nil)
	reader.Take(records)
	latest, _ := reader.Latest()
	for p := range w.log.Partitions() {
		if err := w.append(event.Partition(p), []*event.Event{latest.Applied(ledger.Author{Source: w.source, Node: "test"}, event.Partition(p), time.Now())}); err != nil {
			return err
		}
	}
	return nil
}

// routes are a route table that sends codes to one account and everything else to one. n chooses
// them.
func routes(n int) []event.Route {
	return []event.Route{{Rule: "codes", Programs: []string{"codes"}, Carrier: accounts[n%2]}, {Rule: "default", Carrier: accounts[n/2%2]}}
}

func (w *world) append(p event.Partition, events []*event.Event) error {
	done := make(chan error, 1)
	w.log.Append(p, events, func(a ledger.Appended) { done <- a.Err })
	return <-done
}

// all reads a partition to its end.
func (w *world) all(p event.Partition) ([]ledger.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, head, err := w.log.Read(ctx, p, 0, 0)
	if err != nil {
		return nil, err
	}
	var out []ledger.Record
	for next := int64(0); next < head; {
		records, _, err := w.log.Read(ctx, p, next, 2000)
		if err != nil {
			return nil, err
		}
		if len(records) == 0 {
			return nil, fmt.Errorf("%s ends at %d, its head is %d", p, next, head)
		}
		for _, r := range records {
			if r.Bad != nil {
				return nil, fmt.Errorf("%s: %w", event.Position{Partition: p, Index: r.Index}, r.Bad)
			}
			if r.Index != next {
				return nil, fmt.Errorf("%s has %d where %d should follow", p, r.Index, next)
			}
			next++
		}
		out = append(out, records...)
	}
	return out, nil
}

// live returns the servers that take requests.
func (w *world) live() []*server {
	return slices.DeleteFunc(slices.Clone(w.servers), func(s *server) bool { return s.gone.Load() })
}

func (w *world) bad(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

// drive makes all requests, and freezes nodes meanwhile.
func (w *world) drive() {
	for _, s := range w.servers {
		s.line.turn(w.o.Faults)
	}
	controls, freezes := make(chan struct{}), make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() {
		for range controls {
			w.control()
		}
	})
	beside.Go(func() {
		for range freezes {
			thaw := pick(w.rng, w.servers).line.freeze()
			<-time.After(callWindow + w.rng.upTo(callWindow))
			thaw()
		}
	})
	poke := func(c chan struct{}) { // skipped while the goroutine still does the last one
		select {
		case c <- struct{}{}:
		default:
		}
	}
	var next atomic.Int64
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for i := int(next.Add(1)); i <= w.o.Messages; i = int(next.Add(1)) {
				<-time.After(w.rng.upTo(2 * w.o.Pace))
				if i%25 == 0 {
					poke(controls)
				}
				if w.o.Faults && i%100 == 30 {
					poke(freezes)
				}
				if i == w.o.Messages/2 && w.o.Level == 0 {
					raise(w)
				}
				w.submit(i)
				w.something()
			}
		})
	}
	all.Wait()
	close(controls)
	close(freezes)
	beside.Wait()
}

func (w *world) ask() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), askWithin)
}

// came says what the result of a request is: ok; no (a refusal with one of the codes, or the
// ledger takes no appends now); or unknown.
func (w *world) came(what string, err error, codes ...string) string {
	var no *ledger.Refusal
	result := "unknown"
	switch {
	case err == nil:
		result = "ok"
	case errors.As(err, &no):
		result = "no"
		if !slices.Contains(codes, no.Code) {
			w.bad("%s is answered %v", what, err)
		}
	case errors.Is(err, ledger.ErrRefused) && !errors.Is(err, ledger.ErrUnknown):
		result = "no"
	}
	w.count(what + " " + result)
	return result
}

func (w *world) submit(i int) {
	tenant := tenants[w.rng.n(2)]
	program := pick(w.rng, programs)
	r := &intake.SubmitRequest{To: number(w.rng.n(w.o.Recipients)), Body: "hello", Program: program.Name, Purpose: pick(w.rng, program.Purposes),
		Priority: w.rng.n(10), IdempotencyKey: fmt.Sprintf("key-%d", i)}
	if w.rng.n(5) == 0 {
		r.Body = strings.Repeat("two parts. ", 16)
	}
	if w.rng.n(12) == 0 {
		r.SendAt = time.Now().Add(w.rng.upTo(3 * time.Second))
	}
	s := &submit{tenant: tenant.name, key: Vault{}.Digest(tenant.name, "idempotency", []byte(r.IdempotencyKey))}
	w.mu.Lock()
	w.submits = append(w.submits, s)
	w.mu.Unlock()
	n := pick(w.rng, w.live())
	// A sender that does not know the result asks once more, with the same key.
	for try := range 4 {
		ctx, cancel := w.ask()
		out, err := n.node.Intake().Submit(ctx, ledger.Caller{Tenant: tenant.name, Key: "key"}, r)
		cancel()
		switch came := w.came("submit", err); {
		case came == "ok":
			w.mu.Lock()
			s.out = out
			w.mu.Unlock()
			// Ask a node that lags behind for no more.
			ctx, cancel := w.ask()
			_ = n.views.WaitFor(ctx, out.Position)
			cancel()
			return
		case came == "no" && try == 0:
			s.refused = true
			return
		case came == "no":
			return
		}
	}
}

// something makes, one time in three, a request that affects messages.
func (w *world) something() {
	n := pick(w.rng, w.live()).node
	ctx, cancel := w.ask()
	defer cancel()
	switch k := w.rng.n(100); {
	case k < 8:
		t := pick(w.rng, tenants)
		r := intake.OptOutRequest{Number: number(w.rng.n(w.o.Recipients)), Program: pick(w.rng, programs).Name, Sender: t.sender, Source: "phone",
			Scope: pick(w.rng, []event.Scope{event.ScopeProgram, event.ScopeProgram, event.ScopeSender, event.ScopeLegalEntity, event.ScopeTenant})}
		out, err := n.Intake().OptOut(ctx, ledger.Caller{Tenant: t.name, Key: "key"}, &r)
		came := w.came("opt-out", err)
		w.mu.Lock()
		if came == "ok" {
			w.facts = append(w.facts, fact{"opt-out", out.Event, out.Position})
		}
		w.optOuts, w.of = append(w.optOuts, r), append(w.of, t.name)
		w.mu.Unlock()
	case k < 18:
		w.mu.Lock()
		most := len(w.optOuts)
		if most == 0 {
			w.mu.Unlock()
			return
		}
		i := w.rng.n(most)
		r, tenant := w.optOuts[i], w.of[i]
		r.Evidence = "asked for it by phone"
		w.mu.Unlock()
		out, err := n.Intake().Lift(ctx, ledger.Caller{Tenant: tenant, Key: "key"}, &r)
		if w.came("lift", err, "nothing_to_lift") == "ok" {
			w.acked("lift", out.Event, out.Position)
		}
	case k < 26:
		w.mu.Lock()
		s := w.submits[len(w.submits)-1-w.rng.n(min(len(w.submits), 20))]
		out := s.out
		w.mu.Unlock()
		if out == nil {
			return
		}
		got, err := n.Intake().Cancel(ctx, ledger.Caller{Tenant: s.tenant, Key: "key"}, out.ID)
		if w.came("cancel", err) == "ok" {
			w.acked("cancel", event.ID{}, got.Position)
		}
	case k < 34:
		sendText(w)
	}
}

// sendText sends a text from a handset: a whole one, one of two parts, one that cannot be read, from an address
// that is no number, to a number of several tenants or of none.
func sendText(w *world) {
	x := &text{number: number(w.rng.n(w.o.Recipients)), to: pick(w.rng, tenants).sender}
	x.d = ledger.Delivery{Account: pick(w.rng, accounts), From: x.number, Texts: []string{pick(w.rng, []string{"STOP", "START", "START", "START", "HELP", "thank you"})}}
	if w.rng.n(2) == 0 {
		x.d.From = x.number[1:]
	}
	switch w.rng.n(12) {
	case 0:
		x.to = shared
	case 1:
		x.to = unowned
	case 2:
		x.number, x.d.From = "", "72345"
	case 3:
		x.d.Texts, x.d.Unreadable = nil, true
	case 4, 5:
		if w.o.Level != 2 {
			break // a part that is recorded twice waits five minutes, at level 1
		}
		x.d.Texts = []string{"hello"}
		x.d.Concat = &sms.Concat{Reference: uint16(1 + w.rng.n(200)), Part: 1, Parts: 2}
		y := *x
		y.d.Concat = &sms.Concat{Reference: x.d.Concat.Reference, Part: 2, Parts: 2}
		y.d.To = y.to
		w.centre.text(&y)
	}
	x.d.To = x.to
	x.stops = x.d.Unreadable || x.d.Concat != nil || x.d.Text() == "STOP"
	w.centre.text(x)
}

// raise raises the format level, through any node. Faults may keep an answer away many times.
func raise(w *world) {
	for range 40 {
		ctx, cancel := w.ask()
		_, err := pick(w.rng, w.live()).node.Commands().RaiseLevel(ctx, "test")
		cancel()
		if w.came("raise", err) == "ok" {
			return
		}
	}
}

func (w *world) acked(what string, id event.ID, at event.Position) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.facts = append(w.facts, fact{what, id, at})
}

// control changes control through some node, and waits until that is in force.
func (w *world) control() {
	n := pick(w.rng, w.live()).node
	t := pick(w.rng, tenants)
	caller := ledger.Caller{Tenant: t.name, Key: "key"}
	ctx, cancel := w.ask()
	defer cancel()
	// Pauses are short: what they hold is decided again with every change of control.
	if pauses := n.Registry().Pauses(); len(pauses) > 0 && w.rng.n(3) > 0 {
		w.resume(ctx, n, pick(w.rng, pauses))
		return
	}
	switch k := w.rng.n(10); {
	case k < 5:
		r := pick(w.rng, []control.PauseRequest{{Program: "news"}, {Program: "codes"}, {Carrier: "c1"}, {}})
		r.Reason = "a test"
		w.pause(ctx, n, caller, r)
	case k < 7:
		at, err := n.Commands().SetRoutes(ctx, caller, routes(w.rng.n(4)))
		if w.came("routes", err) == "ok" {
			w.acked("route change", event.ID{}, at)
		}
	case k < 8:
		at, err := n.Commands().ActivatePolicy(ctx, caller)
		if w.came("policy", err) == "ok" {
			w.acked("policy", event.ID{}, at)
		}
	default:
		p := pick(w.rng, programs)
		p.LegalEntity, p.Countries, p.Senders, p.Brand = t.entity, []string{"*"}, []string{t.sender}, fmt.Sprintf("Brand %d", w.rng.n(1000))
		out, err := n.Commands().PutProgram(ctx, caller, &p)
		if w.came("program", err) == "ok" {
			w.acked("program", out.Event, out.Position)
		}
	}
}

func (w *world) pause(ctx context.Context, n *node.Node, c ledger.Caller, r control.PauseRequest) {
	out, err := n.Commands().Pause(ctx, c, &r)
	if w.came("pause", err, "unknown_carrier") != "ok" { // perhaps no route leads to that carrier now
		return
	}
	w.acked("pause", out.Event, out.Position)
	what := paused{c.Tenant, r.Program, r.Carrier}
	if r.Carrier != "" {
		what.tenant = ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.loose[what] {
		w.pauses = append(w.pauses, pause{paused: what, from: time.Now()})
	}
}

// resume asks to end a pause. From the moment of asking the pause may be over.
func (w *world) resume(ctx context.Context, n *node.Node, p *control.Pause) {
	what := paused{p.Tenant, p.Program, p.Carrier}
	w.mu.Lock()
	for i := range w.pauses {
		if q := &w.pauses[i]; q.to.IsZero() && q.paused == what {
			q.to = time.Now()
		}
	}
	w.mu.Unlock()
	out, err := n.Commands().Resume(ctx, ledger.Caller{Tenant: p.Tenant, Key: "key"}, &control.PauseRequest{Program: p.Program, Carrier: p.Carrier, Reason: "a test"})
	switch w.came("resume", err, "not_paused", "unknown_carrier") { // perhaps no route leads to that carrier any more
	case "ok":
		w.acked("resume", out.Event, out.Position)
	case "unknown": // the resume may come into the log at any time from now on, and end a later pause
		w.mu.Lock()
		w.loose[what] = true
		w.mu.Unlock()
	}
}

// settle ends the faults, stops the first node with its work open, waits until everything has
// come to rest, and stops the other nodes.
func (w *world) settle(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), w.o.Settle)
	defer cancel()
	w.centre.soothe()
	for _, s := range w.servers {
		s.line.turn(false)
	}
	for _, s := range w.servers {
		if err := s.line.away.wait(ctx); err != nil {
			w.bad("what %s appended does not land: %v", s.name, err)
		}
	}
	n := w.servers[len(w.servers)-1]
	_, err := n.node.Commands().SetRoutes(ctx, ledger.Caller{Key: "key"}, routes(1)) // to every carrier
	w.came("routes", err)
	for all := n.node.Registry().Pauses(); len(all) > 0 && ctx.Err() == nil; all = n.node.Registry().Pauses() {
		w.resume(ctx, n.node, all[0])
	}
	w.pause(ctx, n.node, ledger.Caller{Tenant: "globex", Key: "key"}, control.PauseRequest{Program: "news", Reason: "it stays"})
	w.stop(ctx, w.servers[0])
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for why := w.restless(); why != ""; why = w.restless() {
		select {
		case <-look.C:
		case <-ctx.Done():
			w.bad("it does not come to rest within %s: %s", w.o.Settle, why)
			ctx, cancel = context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			for _, s := range w.servers[1:] {
				w.stop(ctx, s)
			}
			return
		}
	}
	for _, s := range w.servers[1:] {
		w.stop(ctx, s)
	}
}

// stop stops a node in order: first its requests, then its starts, then the carriers' answers,
// then the rest.
func (w *world) stop(ctx context.Context, s *server) {
	s.gone.Store(true)
	s.running.Drain(ctx)
	for _, c := range s.carriers {
		if err := c.busy.wait(ctx); err != nil {
			w.bad("%s waits for the answers of %s in vain: %v", s.name, c.account, err)
		}
	}
	if err := s.delivering.wait(ctx); err != nil {
		w.bad("%s does not acknowledge what was delivered: %v", s.name, err)
	}
	if err := s.running.Stop(ctx); err != nil {
		w.bad("%s does not stop in order: %v", s.name, err)
	}
	if err := s.line.away.wait(ctx); err != nil {
		w.bad("what %s appended does not land: %v", s.name, err)
	}
	stats := s.node.Stats()
	if stats.Lost > 0 {
		w.bad("%s lost %d facts", s.name, stats.Lost)
	}
	for p, err := range stats.Failed {
		w.bad("%s does not serve %s at the end: %v", s.name, p, err)
	}
}

// restless says what has not come to rest; "" if everything has.
func (w *world) restless() string {
	if n := w.centre.busy.count(); n > 0 {
		return fmt.Sprintf("%d answers and deliveries are on their way", n)
	}
	now := time.Now()
	for _, s := range w.live() {
		reg := s.node.Registry()
		for p := range w.log.Partitions() {
			p := event.Partition(p)
			_, head, err := w.log.Read(context.Background(), p, 0, 0)
			if err != nil {
				return err.Error()
			}
			at := s.views.Snapshot(p)
			if at.Mark.Next != head {
				return fmt.Sprintf("%s has folded %s up to %d of %d", s.name, p, at.Mark.Next, head)
			}
			for _, subject := range at.subjects() {
				st := state(at.States[subject])
				asks := slices.DeleteFunc(slices.Clone(st.Asks), func(a recipient.Ask) bool { return a.Kind == recipient.AskWelcome }) // no program answers a START
				if len(asks)+len(st.Inbound) > 0 {
					return fmt.Sprintf("an inbound message is not answered: %+v %+v", st.Asks, st.Inbound)
				}
				for _, m := range st.Messages {
					if !rests(m, st.Tenant, reg, now) {
						return fmt.Sprintf("on %s, %s is %s (%s), due %s, attempt %d", s.name, m.ID, m.Status, m.Fault, m.Due, len(m.Attempts))
					}
				}
			}
		}
	}
	return ""
}

// rests reports whether nothing will happen to a message by itself: it has ended, or waits for
// receipts that may never come, or for something that must be asked for.
func rests(m *recipient.Message, tenant string, reg *control.Registry, now time.Time) bool {
	switch m.Status {
	case recipient.Sent:
		return true
	case recipient.Deferred, recipient.Scheduled:
		return m.Due.After(now.Add(time.Minute))
	case recipient.Held:
		route, ok := reg.Routes().Choose(m.Country, m.Program)
		return ok && m.Fault == event.FaultPause && reg.Paused(tenant, m.Program, route.Carrier) != nil
	}
	return !m.Status.Open()
}

// journal keeps the beginning of the nodes' log lines, and counts the errors among them, and the
// lines that say that another node was faster.
type journal struct {
	mu             sync.Mutex
	said           []byte
	errors, outrun int
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case bytes.Contains(b, []byte("level=ERROR")):
		j.errors++
	case bytes.Contains(b, []byte("projected this partition further")):
		j.outrun++
		return len(b), nil
	}
	if len(j.said) < 1<<15 {
		j.said = append(j.said, b...)
	}
	return len(b), nil
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.said)
}
