package node_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// placement gives and takes partitions as a test says.
type placement struct {
	orders chan func(gained, lost func([]event.Partition))
}

func newPlacement() *placement {
	return &placement{make(chan func(gained, lost func([]event.Partition)))}
}

func (p *placement) Run(ctx context.Context, gained, lost func([]event.Partition)) error {
	for {
		select {
		case f := <-p.orders:
			f(gained, lost)
		case <-ctx.Done():
			return nil
		}
	}
}

func (p *placement) give(ps ...event.Partition) {
	p.orders <- func(gained, _ func([]event.Partition)) { gained(ps) }
}

// take returns when the partitions are drained.
func (p *placement) take(ps ...event.Partition) {
	done := make(chan struct{})
	p.orders <- func(_, lost func([]event.Partition)) { lost(ps); close(done) }
	<-done
}

// reserved is what nodes share of idempotency keys.
type reserved struct {
	mu  sync.Mutex
	all map[string]ledger.Reserved
	err error
}

func (r *reserved) Reserve(_ context.Context, tenant, key string, x ledger.Reserved, _ time.Time) (ledger.Reserved, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return ledger.Reserved{}, r.err
	}
	if old, ok := r.all[tenant+"\x00"+key]; ok {
		return old, nil
	}
	r.all[tenant+"\x00"+key] = x
	return x, nil
}

// taker is a carrier that answers when its test says so; at once, without one.
type taker struct {
	node    string
	changed chan struct{}
	id      func(call int) string // the ids that it answers with; nil: the node and the message

	mu    sync.Mutex
	free  int
	calls []ledger.Handoff
	hold  bool
	held  []func()
	// answer answers a part in a way of its own; nil: the carrier takes it.
	answer func(h ledger.Handoff, done func(ledger.HandoffResult))
}

// newTaker has 100 places, however many are taken.
func newTaker(node string) *taker {
	return &taker{node: node, changed: make(chan struct{}, 1), free: 100}
}

func (c *taker) Account() string          { return "c1" }
func (c *taker) Changed() <-chan struct{} { return c.changed }

func (c *taker) Takes(promised int, _ time.Time) (bool, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return promised < c.free, time.Time{}
}

func (c *taker) Pace(int, time.Time) time.Duration { return 0 }

func (c *taker) Submit(h ledger.Handoff, done func(ledger.HandoffResult)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.node + "-" + h.Message.String()
	if c.id != nil {
		id = c.id(len(c.calls))
	}
	c.calls = append(c.calls, h)
	if c.answer != nil {
		c.answer(h, done)
		return
	}
	answer := func() { done(ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: id}) }
	if c.hold {
		c.held = append(c.held, answer)
		return
	}
	answer()
}

func (c *taker) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// pair is two nodes over one log and one set of views.
type pair struct {
	t        *testing.T
	log      *memlog.Log
	views    *nodetest.Views
	reserved *reserved
	nodes    [2]*node.Node
	places   [2]*placement
	carriers [2]*taker
	registry *control.Registry // control as the test has written it
}

var sender = ledger.Caller{Tenant: "acme", Key: "test"}

// newLedger is a pair without its nodes: a route, policies and a program in control.
func newLedger(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, log: memlog.New(memlog.Options{Partitions: 4}), views: nodetest.NewViews(), reserved: &reserved{all: map[string]ledger.Reserved{}},
		registry: &control.Registry{}}
	p.control(&event.LedgerCreated{Ledger: "l", Partitions: 4, NumberForms: 1})
	p.control(&event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "c1"}}, By: "test"})
	revision, digest := nodetest.Policy{}.Bundle()
	p.control(&event.PolicyActivated{Revision: revision, Digest: digest, By: "test"})
	p.control(&event.ProgramChanged{Name: "alerts", LegalEntity: "Acme", Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{"+15005550006"}, Default: true, By: "test"})
	return p
}

// newPair starts two nodes; wrap (may be nil) comes between both and the log.
func newPair(t *testing.T, wrap func(ledger.Log) ledger.Log) *pair {
	t.Helper()
	p := newLedger(t)
	var log ledger.Log = p.log
	if wrap != nil {
		log = wrap(log)
	}
	for i := range p.nodes {
		p.start(i, func(c *node.Config) { c.Log = log })
	}
	return p
}

// start starts one node; change (may be nil) has the last word on how.
func (p *pair) start(i int, change func(*node.Config)) {
	p.t.Helper()
	p.carriers[i] = newTaker(fmt.Sprintf("node-%d", i))
	p.startWith(i, p.carriers[i], change)
}

// startWith is start with a carrier of the test's own.
func (p *pair) startWith(i int, carrier ledger.Carrier, change func(*node.Config)) {
	p.t.Helper()
	name := fmt.Sprintf("node-%d", i)
	p.places[i] = newPlacement()
	cfg := node.Config{Log: p.log, Views: p.views, Finder: p.views, Vault: nodetest.Vault{}, Policy: nodetest.Policy{}, Clock: node.NewClock(time.Now),
		Logger: slog.New(slog.DiscardHandler), Author: ledger.Author{Source: "/l", Node: name}, Placement: p.places[i], Reservations: p.reserved,
		Clerk: clerk.Config{CallWindow: 500 * time.Millisecond, AnswerWithin: 300 * time.Millisecond}}
	if change != nil {
		change(&cfg)
	}
	p.nodes[i] = node.New(cfg)
	p.nodes[i].Attach(carrier)
	r, err := p.nodes[i].Start(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = r.Stop(ctx)
	})
}

// put appends one event, and returns where it stands.
func (p *pair) put(at event.Partition, e *event.Event) event.Position {
	p.t.Helper()
	done := make(chan ledger.Appended, 1)
	p.log.Append(at, []*event.Event{e}, func(a ledger.Appended) { done <- a })
	a := <-done
	if a.Err != nil {
		p.t.Fatal(a.Err)
	}
	return event.Position{Partition: at, Index: a.First}
}

// written is an event that nobody's stream has.
func written(d event.Data) *event.Event {
	now := time.Now()
	return &event.Event{ID: event.NewID(now), Source: "/l", Time: event.Millis(now), Node: "test", Data: d}
}

func (p *pair) control(d event.Data) event.Position {
	p.t.Helper()
	e := written(d)
	if _, ok := d.(*event.ProgramChanged); ok {
		e.Tenant = "acme"
	}
	at := p.put(event.ControlPartition, e)
	p.registry, _ = p.registry.Apply(at.Index, e)
	return at
}

// apply brings control into every partition, as whoever changes it does; otherwise
// clerks miss it after a second, and do so.
func (p *pair) apply() {
	p.t.Helper()
	for _, at := range all() {
		p.put(at, p.registry.Applied(ledger.Author{Source: "/l", Node: "test"}, at, time.Now()))
	}
}

func (p *pair) submit(node int, to, key string) *intake.Submitted {
	p.t.Helper()
	out, err := p.nodes[node].Intake().Submit(p.t.Context(), sender, &intake.SubmitRequest{To: to, Body: "hello", IdempotencyKey: key})
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// becomes waits until the views show a message's status.
func (p *pair) becomes(id event.ID, want recipient.Status) {
	p.t.Helper()
	var last recipient.Status
	eventually(p.t, func() bool {
		f, _, err := p.views.Find(p.t.Context(), "acme", id)
		last = f.Status
		return err == nil && f.Status == want
	}, func() string { return fmt.Sprintf("the message is %s, not %s", last, want) })
}

// settles waits until a message has left, or never will, and returns its status.
func (p *pair) settles(id event.ID) recipient.Status {
	p.t.Helper()
	var last recipient.Status
	eventually(p.t, func() bool {
		f, ok, err := p.views.Find(p.t.Context(), "acme", id)
		last = f.Status
		return err == nil && ok && !last.Unsent() && last != recipient.Sending
	}, func() string { return fmt.Sprintf("the message is %s", last) })
	return last
}

// count is how many events of a type stand in a partition.
func count[T event.Data](p *pair, at event.Partition) int {
	p.t.Helper()
	records, _, err := p.log.Read(p.t.Context(), at, 0, 10_000)
	if err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for _, r := range records {
		if _, ok := r.Event.Data.(T); ok {
			n++
		}
	}
	return n
}

// numbers are recipients of the tenant acme whose streams lie in a partition.
func numbers(at event.Partition, n int) (out []string) {
	for i := 0; len(out) < n; i++ {
		to := fmt.Sprintf("+1206555%04d", 100+i)
		if (nodetest.Vault{}).Pseudonym("acme", to).Partition(4) == int(at) {
			out = append(out, to)
		}
	}
	return out
}

func eventually(t *testing.T, cond func() bool, or func() string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal(or())
		}
		<-time.After(2 * time.Millisecond) // between two looks
	}
}

func all() []event.Partition { return []event.Partition{0, 1, 2, 3} }

// A partition that goes from node to node leaves nothing in doubt and sends nothing
// twice, and requests are taken by whoever is asked.
func TestPartitionsMove(t *testing.T) {
	p := newPair(t, nil)
	p.places[0].give(all()...)
	var ids []event.ID
	for round := range 6 {
		for i := range 30 {
			ids = append(ids, p.submit(i%2, fmt.Sprintf("+1212555%04d", 100+i), "").ID)
		}
		p.becomes(ids[len(ids)-30], recipient.Sent)
		from, to := round%2, (round+1)%2
		p.places[from].take(all()...)
		p.places[to].give(all()...)
	}
	for _, id := range ids {
		p.becomes(id, recipient.Sent)
	}
	seen := map[event.ID]int{}
	for _, c := range p.carriers {
		for _, h := range c.calls {
			seen[h.Message]++
		}
		if len(c.calls) == 0 {
			t.Errorf("%s never called its carrier", c.node)
		}
	}
	for _, id := range ids {
		if seen[id] != 1 {
			t.Errorf("message %s was handed to a carrier %d times", id, seen[id])
		}
	}
}

// An idempotency key stands for one message, whichever node is asked and whatever
// became of the first request.
func TestOneKeyAtTwoNodes(t *testing.T) {
	p := newPair(t, nil)
	p.places[0].give(all()...)
	first := p.submit(0, "+12125550100", "k1")
	if second := p.submit(1, "+12125550100", "k1"); second.ID != first.ID || second.Position != first.Position {
		t.Errorf("the same key gave %s at %s, then %s at %s", first.ID, first.Position, second.ID, second.Position)
	}
	_, err := p.nodes[1].Intake().Submit(t.Context(), sender, &intake.SubmitRequest{To: "+12125550100", Body: "another", IdempotencyKey: "k1"})
	var refusal *ledger.Refusal
	if !errors.As(err, &refusal) || refusal.Code != "idempotency_key_reused" {
		t.Errorf("another input under the same key: %v", err)
	}

	// A node died between reserving and appending: the message has its reserved id.
	req := &intake.SubmitRequest{To: "+12125550101", Body: "hello", IdempotencyKey: "k2"}
	p.reserved.err = errors.New("away")
	if _, err := p.nodes[0].Intake().Submit(t.Context(), sender, req); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("without reservations a submit with a key is %v, want refused", err)
	}
	p.reserved.err = nil
	partition := p.submit(0, "+12125550101", "k2").ID.Partition()
	lost := event.NewMessageID(time.Now(), partition)
	p.reserved.all["acme\x00"+nodetest.Vault{}.Digest("acme", "idempotency", []byte("k3"))] = ledger.Reserved{Message: lost, Input: inputOf(t, "+12125550101", "k3")}
	for node := range p.nodes {
		if got := p.submit(node, "+12125550101", "k3"); got.ID != lost {
			t.Errorf("at node %d the message is %s, its reserved id %s", node, got.ID, lost)
		}
	}
}

// inputOf is the digest of a request, as another ledger reserves it.
func inputOf(t *testing.T, to, key string) string {
	t.Helper()
	p := newPair(t, nil)
	p.places[1].give(all()...)
	p.submit(1, to, key)
	for _, x := range p.reserved.all {
		return x.Input
	}
	t.Fatal("nothing was reserved")
	return ""
}

// A pause that one node is asked for is in force at the other when it answers.
func TestPauseReachesOtherNodes(t *testing.T) {
	p := newPair(t, nil)
	p.places[0].give(0, 1)
	p.places[1].give(2, 3)
	var ids []event.ID
	for i := range 40 {
		ids = append(ids, p.submit(i%2, fmt.Sprintf("+1305555%04d", 100+i), "").ID)
	}
	out, err := p.nodes[1].Commands().Pause(t.Context(), sender, &control.PauseRequest{Reason: "an incident"})
	if err != nil {
		t.Fatal(err)
	}
	if out.InForce != 4 {
		t.Errorf("in force in %d partitions, want 4", out.InForce)
	}
	calls := p.carriers[0].count() + p.carriers[1].count()
	var held []event.ID
	for i := range 20 {
		held = append(held, p.submit(i%2, fmt.Sprintf("+1415555%04d", 100+i), "").ID)
	}
	for _, id := range held {
		p.becomes(id, recipient.Held)
	}
	if n := p.carriers[0].count() + p.carriers[1].count(); n != calls {
		t.Errorf("%d carrier calls were made after the pause was answered", n-calls)
	}
	if _, err := p.nodes[0].Commands().Resume(t.Context(), sender, &control.PauseRequest{Reason: "over"}); err != nil {
		t.Fatal(err)
	}
	for _, id := range append(ids, held...) {
		p.becomes(id, recipient.Sent)
	}
}

// A receipt that comes to a node which did not make the call finds its message: in
// the views, or by way of the inbox when it outran its answer.
func TestReceiptAtAnotherNode(t *testing.T) {
	p := newPair(t, nil)
	p.places[0].give(all()...)
	late := p.submit(0, "+12125550100", "")
	p.becomes(late.ID, recipient.Sent)
	receipt := func(id, from string) chan error {
		acked := make(chan error, 1)
		p.nodes[1].Deliver(ledger.Delivery{Account: "c1", Raw: []byte("dlr"), From: from, To: "15005550006", Received: time.Now(),
			Receipt: &sms.Receipt{ID: id, State: sms.StateDelivered, Final: true}}, func(err error) { acked <- err })
		return acked
	}
	if err := <-receipt("node-0-"+late.ID.String(), "12125550100"); err != nil {
		t.Fatal(err)
	}
	p.becomes(late.ID, recipient.Delivered)
	if _, head, _ := p.log.Read(t.Context(), event.InboxPartition, 0, 0); head != 0 {
		t.Errorf("%d events went to the inbox for a message that the views know", head)
	}

	p.carriers[0].mu.Lock()
	p.carriers[0].hold = true
	p.carriers[0].mu.Unlock()
	early := p.submit(0, "+12125550101", "")
	eventually(t, func() bool { return p.carriers[0].count() == 2 }, func() string { return "the carrier was not called" })
	if err := <-receipt("node-0-"+early.ID.String(), "12125550101"); err != nil {
		t.Fatal(err)
	}
	if _, head, _ := p.log.Read(t.Context(), event.InboxPartition, 0, 0); head != 1 {
		t.Errorf("%d events are in the inbox, want the receipt that nobody knows yet", head)
	}
	p.carriers[0].mu.Lock()
	for _, answer := range p.carriers[0].held {
		answer()
	}
	p.carriers[0].mu.Unlock()
	p.becomes(early.ID, recipient.Delivered)
}

// A receipt at another node is matched by the number that its message went to: a loose form of the id by that alone,
// and the exact id not against it. The id in its text is kept with it in the inbox.
func TestReceiptOfANumberAtAnotherNode(t *testing.T) {
	p := newPair(t, nil)
	p.places[0].give(all()...)
	deliver := func(id, text, from string) {
		t.Helper()
		acked := make(chan error, 1)
		p.nodes[1].Deliver(ledger.Delivery{Account: "c1", Raw: []byte("dlr"), From: from, To: "15005550006", Received: time.Now(),
			Receipt: &sms.Receipt{ID: id, TextID: text, State: sms.StateDelivered, Final: true}}, func(err error) { acked <- err })
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
	inbox := func(want int64) {
		t.Helper()
		if _, head, err := p.log.Read(t.Context(), event.InboxPartition, 0, 0); head != want || err != nil {
			t.Errorf("%d events are in the inbox, want %d; %v", head, want, err)
		}
	}
	ann, bob := p.submit(0, "+12125550100", ""), p.submit(0, "+12125550101", "")
	p.becomes(ann.ID, recipient.Sent)
	p.becomes(bob.ID, recipient.Sent)
	exact := "node-0-" + ann.ID.String()
	loose := strings.ToUpper(exact)
	deliver(exact, "", "12125550101") // bob's number, and ann's id
	inbox(1)
	deliver(loose, "", "")
	inbox(2)
	deliver("of the carrier's", loose, "2125550100")
	p.becomes(ann.ID, recipient.Delivered)
	inbox(2)
	deliver("node-0-"+bob.ID.String(), "", "") // the exact id needs no number
	p.becomes(bob.ID, recipient.Delivered)
	inbox(2)

	p.carriers[0].mu.Lock()
	p.carriers[0].hold = true
	p.carriers[0].mu.Unlock()
	early := p.submit(0, "+12125550102", "")
	eventually(t, func() bool { return p.carriers[0].count() == 3 }, func() string { return "the carrier was not called" })
	deliver("of the carrier's", strings.ToUpper("node-0-"+early.ID.String()), "12125550102")
	inbox(3)
	p.carriers[0].mu.Lock()
	for _, answer := range p.carriers[0].held {
		answer()
	}
	p.carriers[0].mu.Unlock()
	p.becomes(early.ID, recipient.Delivered) // node 0 has read the receipt from the inbox
}

// What receipts show of the base of an account's ids is logged once, and shown.
func TestHexIDsAreShown(t *testing.T) {
	p := newLedger(t)
	logged := &lines{}
	p.start(0, func(c *node.Config) {
		tells := ledger.Tells{Receipts: true}
		c.Accounts = map[string]ledger.Account{"c1": {Tells: tells}, "c2": {Tells: tells, HexIDs: true}}
		c.Logger = slog.New(slog.NewTextHandler(logged, nil))
	})
	p.carriers[0].id = func(n int) string { return fmt.Sprintf("%08x", 5000+n) }
	p.apply()
	p.places[0].give(all()...)
	if got := p.nodes[0].Stats().HexIDs; len(got) != 1 || got["c2"] != "responses" {
		t.Errorf("at the start it shows %v", got)
	}
	for n := range 20 {
		to := fmt.Sprintf("+121255501%02d", n)
		m := p.submit(0, to, "")
		p.becomes(m.ID, recipient.Sent)
		p.nodes[0].Deliver(ledger.Delivery{Account: "c1", Raw: []byte("dlr"), From: to, To: "15005550006", Received: time.Now(),
			Receipt: &sms.Receipt{ID: fmt.Sprint(5000 + n), State: sms.StateDelivered, Final: true}}, func(error) {})
		p.becomes(m.ID, recipient.Delivered)
	}
	if got := p.nodes[0].Stats().HexIDs; len(got) != 2 || got["c1"] != "responses" || logged.count("account=c1 hexadecimal_in=responses") != 1 {
		t.Errorf("after twenty receipts it shows %v, and has logged it %d times", got, logged.count("hexadecimal_in"))
	}
}

// lines are what a node logs.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count is how often the log has some words.
func (l *lines) count(words string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), words)
}

// spoiled is a log in which some records are no events.
type spoiled struct {
	ledger.Log
	at map[event.Position][]byte
}

func (s *spoiled) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	records, head, err := s.Log.Read(ctx, p, from, most)
	for i := range records {
		if raw, ok := s.at[event.Position{Partition: p, Index: records[i].Index}]; ok {
			records[i] = ledger.Record{Index: records[i].Index, Raw: raw, Bad: errors.New("not of our encoder")}
		}
	}
	return records, head, err
}

// A record that is no event stops its partition, with an error that says where, and
// no other; once control accepts exactly that record the partition goes on.
func TestForeignRecord(t *testing.T) {
	junk := []byte("junk")
	at := event.Position{Partition: 2, Index: 0}
	p := newPair(t, func(l ledger.Log) ledger.Log { return &spoiled{l, map[event.Position][]byte{at: junk}} })
	if got := p.put(2, written(&event.ControlApplied{Position: 1, Event: event.NewID(time.Now())})); got != at {
		t.Fatalf("it stands at %s", got)
	}
	p.places[0].give(all()...)
	eventually(t, func() bool { return p.nodes[0].Stats().Failed["02"] != nil }, func() string { return "the partition did not stop" })
	if err := p.nodes[0].Stats().Failed["02"]; !errors.Is(err, ledger.ErrDamaged) || !strings.Contains(err.Error(), "02-0") {
		t.Errorf("it stopped with %v", err)
	}
	for _, other := range []event.Partition{0, 1, 3} {
		p.becomes(p.submit(0, numbers(other, 1)[0], "").ID, recipient.Sent)
	}
	to := numbers(2, 1)[0]
	if _, err := p.nodes[0].Intake().Submit(t.Context(), sender, &intake.SubmitRequest{To: to, Body: "hello"}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("the node that serves the stopped partition answers %v, want refused", err)
	}
	there := p.submit(1, to, "") // this one does not know
	hash := sha256.Sum256([]byte("other"))
	p.control(&event.RecordAccepted{Position: at.String(), Hash: hex.EncodeToString(hash[:]), Reason: "of other bytes", By: "op"})
	hash = sha256.Sum256(junk)
	p.control(&event.RecordAccepted{Position: at.String(), Hash: hex.EncodeToString(hash[:]), Reason: "a tool wrote there", By: "op"})
	p.becomes(there.ID, recipient.Sent)
	eventually(t, func() bool { return p.nodes[0].Stats().Failed["02"] == nil }, func() string { return "the partition is still shown as stopped" })
}

// A foreign record in control stops all deciding, since a pause may stand behind it.
func TestForeignRecordInControl(t *testing.T) {
	junk := []byte("junk")
	s := &spoiled{at: map[event.Position][]byte{}}
	p := newPair(t, func(l ledger.Log) ledger.Log {
		s.Log = l
		s.at[event.Position{Partition: event.ControlPartition, Index: 4}] = junk
		return s
	})
	p.places[0].give(all()...)
	p.becomes(p.submit(0, "+12125550100", "").ID, recipient.Sent)
	p.control(&event.Resumed{Program: "alerts", Reason: "stands for the junk", By: "x"})
	eventually(t, func() bool { return p.nodes[0].Stats().Failed["control"] != nil }, func() string { return "control goes on" })
	if _, err := p.nodes[0].Intake().Submit(t.Context(), sender, &intake.SubmitRequest{To: "+12125550101", Body: "hello"}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("a submit is %v, want refused", err)
	}
	hash := sha256.Sum256(junk)
	p.control(&event.RecordAccepted{Position: "control-4", Hash: hex.EncodeToString(hash[:]), Reason: "a tool wrote there", By: "op"})
	eventually(t, func() bool { return p.nodes[0].Stats().Ready }, func() string { return "the node is not ready again" })
	p.becomes(p.submit(0, "+12125550102", "").ID, recipient.Sent)
}

// broken is a log whose reads of control fail while it is so.
type broken struct {
	ledger.Log
	mu   sync.Mutex
	err  error
	hurt chan struct{} // closed when err is set: waiting reads end
}

func (b *broken) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err = err; err != nil {
		close(b.hurt)
	} else {
		b.hurt = make(chan struct{})
	}
}

func (b *broken) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	if p != event.ControlPartition {
		return b.Log.Read(ctx, p, from, most)
	}
	b.mu.Lock()
	hurt := b.hurt
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-hurt:
			cancel()
		case <-ctx.Done():
		}
	}()
	records, head, err := b.Log.Read(ctx, p, from, most)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, 0, b.err
	}
	return records, head, err
}

// While control cannot be read requests are refused, and as soon as it can be they are
// taken again, though nothing new stands in it.
func TestControlAway(t *testing.T) {
	b := &broken{hurt: make(chan struct{})}
	p := newPair(t, func(l ledger.Log) ledger.Log { b.Log = l; return b })
	p.places[0].give(all()...)
	p.becomes(p.submit(0, "+12125550100", "").ID, recipient.Sent)
	b.set(errors.New("away"))
	eventually(t, func() bool { return !p.nodes[0].Stats().Ready }, func() string { return "the node is still ready" })
	if _, err := p.nodes[0].Intake().Submit(t.Context(), sender, &intake.SubmitRequest{To: "+12125550101", Body: "hello"}); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("a submit is %v, want refused", err)
	}
	b.set(nil)
	eventually(t, func() bool { return p.nodes[0].Stats().Ready }, func() string { return "the node is not ready again" })
	p.becomes(p.submit(0, "+12125550102", "").ID, recipient.Sent)
}
