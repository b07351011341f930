package node_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// appends is a log of which a test has its say in every append.
type appends struct {
	ledger.Log
	append func(p event.Partition, es []*event.Event, done func(ledger.Appended))
}

func (a *appends) Append(p event.Partition, es []*event.Event, done func(ledger.Appended)) {
	a.append(p, es, done)
}

// starts reports whether there is a start among events.
func starts(es []*event.Event) bool {
	return slices.ContainsFunc(es, func(e *event.Event) bool {
		_, ok := e.Data.(*event.HandoffStarted)
		return ok
	})
}

// silent is a log that does not answer the appends of starts, though they can be read.
type silent struct {
	appends
	mu   sync.Mutex
	held []func()
	over bool
}

func newSilent(log ledger.Log) *silent {
	s := &silent{}
	s.appends = appends{log, func(p event.Partition, es []*event.Event, done func(ledger.Appended)) {
		withhold := starts(es)
		log.Append(p, es, func(a ledger.Appended) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if withhold && !s.over {
				s.held = append(s.held, func() { done(a) })
				return
			}
			done(a)
		})
	}}
	return s
}

// answer answers what was withheld, and everything from now on.
func (s *silent) answer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for _, done := range s.held {
		done()
	}
	s.held = nil
}

// startAll has node 0 start 20 messages of partition 1, and waits until all of their
// starts can be read.
func startAll(p *pair) (ids []event.ID) {
	p.t.Helper()
	p.apply()
	p.places[0].give(all()...)
	for _, to := range numbers(1, 20) {
		ids = append(ids, p.submit(1, to, "").ID)
	}
	eventually(p.t, func() bool { return count[*event.HandoffStarted](p, 1) == len(ids) }, func() string { return "not every message was started" })
	return ids
}

// A start that came back before its append was acknowledged is out yet: a partition
// that goes to another node waits for it, and it is called.
func TestDrainWaitsForAcknowledgements(t *testing.T) {
	p := newLedger(t)
	log := newSilent(p.log)
	p.start(0, func(c *node.Config) {
		c.Log, c.DrainWithin, c.Clerk.CallWindow = log, 20*time.Second, 10*time.Second
	})
	p.start(1, nil)
	ids := startAll(p)
	taken := make(chan struct{})
	go func() {
		p.places[0].take(all()...)
		close(taken)
	}()
	// The others are drained at once, and served elsewhere.
	eventually(t, func() bool { return p.nodes[0].Stats().Served <= 1 }, func() string { return "the other partitions are not drained" })
	p.places[1].give(0, 2, 3)
	p.becomes(p.submit(1, numbers(0, 1)[0], "").ID, recipient.Sent)
	select {
	case <-taken:
		t.Fatal("the partition was given away before its starts were acknowledged")
	default:
	}
	log.answer()
	<-taken
	if n := p.carriers[0].count(); n != len(ids) {
		t.Errorf("%d of %d starts were called before their partition went", n, len(ids))
	}
	p.places[1].give(1)
	for _, id := range ids {
		if s := p.settles(id); s != recipient.Sent {
			t.Errorf("message %s is %s", id, s)
		}
	}
	if n := count[*event.HandoffStarted](p, 1); n != len(ids) {
		t.Errorf("%d starts were made of %d messages", n, len(ids))
	}
}

// What a drain could not wait for is not called any more, and says so: nothing is in
// doubt, and the next node sends it.
func TestDrainGivesUp(t *testing.T) {
	p := newLedger(t)
	log := newSilent(p.log)
	p.start(0, func(c *node.Config) { c.Log, c.DrainWithin = log, 50*time.Millisecond })
	p.start(1, nil)
	ids := startAll(p)
	p.places[0].take(all()...)
	log.answer() // nobody hears it
	p.places[1].give(all()...)
	for _, id := range ids {
		if s := p.settles(id); s != recipient.Sent {
			t.Errorf("message %s is %s", id, s)
		}
	}
	if a, b := p.carriers[0].count(), p.carriers[1].count(); a != 0 || b != len(ids) {
		t.Errorf("%d calls by the node that gave the partition away, %d by the next one, want none and %d", a, b, len(ids))
	}
	if n := count[*event.HandoffRefused](p, 1); n != len(ids) {
		t.Errorf("%d of %d starts were answered with not called", n, len(ids))
	}
}

// A partition that was given away leaves nothing in a dispatcher: no message in its
// queue, and no place that is kept for one.
func TestDispatcherForgetsWhatWasGivenAway(t *testing.T) {
	p := newLedger(t)
	log := &appends{Log: p.log}
	log.append = func(at event.Partition, es []*event.Event, done func(ledger.Appended)) {
		if at != 0 || !starts(es) { // these are lost, and never answered
			p.log.Append(at, es, done)
		}
	}
	p.start(0, func(c *node.Config) { c.Log, c.DrainWithin = log, 50*time.Millisecond })
	p.carriers[0].mu.Lock()
	p.carriers[0].free = 1
	p.carriers[0].mu.Unlock()
	p.apply()
	p.places[0].give(0, 1)
	for _, to := range numbers(0, 40) {
		p.submit(0, to, "")
	}
	waiting := func() int { return p.nodes[0].Stats().Waiting["c1"] }
	eventually(t, func() bool { return waiting() == 39 }, func() string { return "one message has the only place, and not all others wait for it" })
	p.places[0].take(0)
	if n := waiting(); n != 0 {
		t.Fatalf("%d messages of a partition that is served elsewhere wait in this node's queue", n)
	}
	p.becomes(p.submit(0, numbers(1, 1)[0], "").ID, recipient.Sent)
}

// A place that is granted to a partition just when it is given away is nobody's: it is given
// back, and others need not wait until it expires.
func TestPlaceForWhatWasGivenAway(t *testing.T) {
	p := newLedger(t)
	p.start(0, nil)
	p.carriers[0].mu.Lock()
	p.carriers[0].free = 1
	p.carriers[0].mu.Unlock()
	p.apply()
	p.places[0].give(0, 1)
	come, ok := p.nodes[0].Occupy("c1", 0, 1, time.Now())
	if !ok {
		t.Fatal("the only place is not free")
	}
	p.places[0].take(0)
	come()
	p.becomes(p.submit(0, numbers(1, 1)[0], "").ID, recipient.Sent)
}

// failover is views on two servers: the second has what the first has until it is cut
// off, and answers once the first is lost.
type failover struct {
	*nodetest.Views
	second *nodetest.Views

	mu        sync.Mutex
	cut, lost bool
}

func (f *failover) now() *nodetest.Views {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost {
		return f.second
	}
	return f.Views
}

func (f *failover) Mark(ctx context.Context, p event.Partition) (ledger.Mark, error) {
	return f.now().Mark(ctx, p)
}

func (f *failover) Streams(ctx context.Context, p event.Partition, s []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	return f.now().Streams(ctx, p, s)
}

func (f *failover) Due(ctx context.Context, p event.Partition, before time.Time) ([]ledger.Due, error) {
	return f.now().Due(ctx, p, before)
}

func (f *failover) Write(b *ledger.Batch, done func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.lost:
		f.second.Write(b, done)
		return
	case !f.cut:
		f.second.Write(b, func(error) {})
	}
	f.Views.Write(b, done)
}

// Views that went back, as a database does that failed over and lost commits, are not
// trusted: a stream that was loaded from them would lack an opt-out that was answered.
func TestViewsThatWentBack(t *testing.T) {
	p := newLedger(t)
	f := &failover{Views: p.views, second: nodetest.NewViews()}
	p.start(0, func(c *node.Config) { c.Views, c.Finder, c.Clerk.StreamMemory = f, f, 1 })
	p.apply()
	p.places[0].give(0)
	to := numbers(0, 12)
	for _, x := range to[:6] {
		p.becomes(p.submit(0, x, "").ID, recipient.Sent)
	}
	f.mu.Lock()
	f.cut = true
	f.mu.Unlock()
	out, err := p.nodes[0].Intake().OptOut(t.Context(), sender, &intake.OptOutRequest{Number: to[0], Scope: event.ScopeTenant, Source: "phone"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.views.WaitFor(t.Context(), out.Position); err != nil {
		t.Fatal(err)
	}
	for _, x := range to[6:] { // so that the first stream leaves memory
		p.becomes(p.submit(0, x, "").ID, recipient.Sent)
	}
	calls := p.carriers[0].count()
	f.mu.Lock()
	f.lost = true
	f.mu.Unlock()
	p.views = f.second
	id := p.submit(0, to[0], "").ID
	if s := p.settles(id); s != recipient.Denied {
		t.Errorf("after an opt-out that was answered the message is %s", s)
	}
	if n := p.carriers[0].count() - calls; n != 0 {
		t.Errorf("%d calls were made after an opt-out that was answered", n)
	}
}

// behind is a log of which one partition cannot be read past an index, until it is
// opened; its head is known.
type behind struct {
	ledger.Log
	p event.Partition

	mu     sync.Mutex
	end    int64
	opened chan struct{}
}

func (b *behind) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	if p != b.p || most == 0 {
		return b.Log.Read(ctx, p, from, most)
	}
	for {
		b.mu.Lock()
		end, opened := b.end, b.opened
		b.mu.Unlock()
		if from < end {
			return b.Log.Read(ctx, p, from, int(min(int64(most), end-from)))
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return b.Log.Read(ctx, p, 0, 0)
		}
	}
}

func (b *behind) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end = math.MaxInt64
	close(b.opened)
}

// A partition that catches up, after a record in it was accepted, makes calls again: a
// pause waits for it as for any other.
func TestPauseWaitsForWhoeverCatchesUp(t *testing.T) {
	junk := []byte("junk")
	at := event.Position{Partition: 2, Index: 0}
	p := newLedger(t)
	log := &behind{Log: &spoiled{p.log, map[event.Position][]byte{at: junk}}, p: 2, end: 5, opened: make(chan struct{})}
	p.start(0, func(c *node.Config) { c.Log, c.Clerk.CallWindow = log, 10*time.Second })
	p.put(2, written(&event.ControlApplied{Position: 1, Event: event.NewID(time.Now())}))
	p.apply()
	var ids []event.ID
	for _, to := range numbers(2, 6) {
		ids = append(ids, p.submit(0, to, "").ID)
	}
	p.places[0].give(all()...)
	eventually(t, func() bool { return p.nodes[0].Stats().Failed["02"] != nil }, func() string { return "the partition did not stop" })
	hash := sha256.Sum256(junk)
	accepted := p.control(&event.RecordAccepted{Position: at.String(), Hash: hex.EncodeToString(hash[:]), Reason: "a tool wrote there", By: "op"})
	eventually(t, func() bool { return count[*event.HandoffStarted](p, 2) == 3 }, func() string { return "what can be read was not started" })

	answered := make(chan error, 1)
	go func() {
		_, err := p.nodes[0].Commands().Pause(t.Context(), sender, &control.PauseRequest{Reason: "an incident"})
		answered <- err
	}()
	others := []event.Partition{0, 1, 3}
	for _, q := range others {
		eventually(t, func() bool { return p.views.Snapshot(q).Mark.Partition.Control > accepted.Index+1 }, func() string { return "the pause is not in force in partition " + q.String() })
	}
	for _, q := range others {
		p.becomes(p.submit(0, numbers(q, 1)[0], "").ID, recipient.Held)
	}
	select {
	case err := <-answered:
		t.Fatalf("a pause was answered (%v) while starts from before it were out", err)
	default:
	}
	log.open()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	calls := p.carriers[0].count()
	if calls != 3 {
		t.Errorf("%d calls were made for the 3 starts from before the pause", calls)
	}
	for _, id := range ids[3:] {
		p.becomes(id, recipient.Held)
	}
	if n := p.carriers[0].count() - calls; n != 0 {
		t.Errorf("%d calls were made after the pause was answered", n)
	}
}

// A request that has to do with partitions is answered while they go from node to node.
func TestRequestsWhilePartitionsMove(t *testing.T) {
	p := newPair(t, nil)
	p.apply()
	p.places[0].give(all()...)
	stop, moved := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(moved)
		for i := 0; ; i = 1 - i {
			select {
			case <-stop:
				return
			default:
			}
			p.places[i].take(all()...)
			p.places[1-i].give(all()...)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := range 20 {
		n := p.nodes[i%2]
		if _, err := n.Commands().Pause(ctx, sender, &control.PauseRequest{Reason: "an incident"}); err != nil {
			t.Fatalf("pause %d: %v", i, err)
		}
		if _, err := n.Commands().Resume(ctx, sender, &control.PauseRequest{Reason: "over"}); err != nil {
			t.Fatalf("resume %d: %v", i, err)
		}
	}
	close(stop)
	<-moved
}

// An event of control's in a recipients' partition stops that one alone, as any record
// does that does not belong there, and can be accepted like one.
func TestControlEventInPartition(t *testing.T) {
	p := newPair(t, nil)
	e := written(&event.Paused{Reason: "an incident", By: "op"})
	at := p.put(0, e)
	p.apply()
	p.places[0].give(all()...)
	eventually(t, func() bool { return p.nodes[0].Stats().Failed["00"] != nil }, func() string { return "the partition did not stop" })
	for _, other := range all()[1:] {
		p.becomes(p.submit(0, numbers(other, 1)[0], "").ID, recipient.Sent)
	}
	failed := p.nodes[0].Stats().Failed
	if err := failed["00"]; len(failed) != 1 || !errors.Is(err, ledger.ErrDamaged) || !strings.Contains(err.Error(), at.String()) {
		t.Errorf("partitions stopped with %v", failed)
	}
	there := p.submit(1, numbers(0, 1)[0], "")
	raw, err := event.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.Sum256(raw)
	p.control(&event.RecordAccepted{Position: at.String(), Hash: hex.EncodeToString(hash[:]), Reason: "a tool wrote there", By: "op"})
	p.becomes(there.ID, recipient.Sent)
	eventually(t, func() bool { return len(p.nodes[0].Stats().Failed) == 0 }, func() string { return "the partition is still shown as stopped" })
}

// stuck is views in which the look for a hand-off waits until it is let go. It notes
// how often each mark was read, and how far it was.
type stuck struct {
	*nodetest.Views
	letGo chan struct{}

	mu    sync.Mutex
	reads map[event.Partition]int
	next  map[event.Partition]int64
}

func (s *stuck) Handoffs(ctx context.Context, account string, keys []string) ([]ledger.HandoffRef, error) {
	<-s.letGo
	return s.Views.Handoffs(ctx, account, keys)
}

func (s *stuck) Mark(ctx context.Context, p event.Partition) (ledger.Mark, error) {
	m, err := s.Views.Mark(ctx, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads[p]++
	s.next[p] = m.Next
	return m, err
}

func (s *stuck) read(p event.Partition) (times int, next int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads[p], s.next[p]
}

// A START lifts what its node had heard of when it came. However long it waits there,
// a STOP that came meanwhile at another node stands.
func TestStartThatWaitedLiftsNoLaterStop(t *testing.T) {
	p := newLedger(t)
	views := &stuck{Views: p.views, letGo: make(chan struct{}), reads: map[event.Partition]int{}, next: map[event.Partition]int64{}}
	p.start(0, nil)
	p.start(1, func(c *node.Config) { c.Views, c.Finder = views, views })
	p.apply()
	p.places[0].give(all()...)
	to := numbers(0, 1)[0]
	p.becomes(p.submit(0, to, "").ID, recipient.Sent)
	deliver := func(node int, text string, receipt *sms.Receipt) <-chan error {
		acked := make(chan error, 1)
		d := ledger.Delivery{Account: "c1", Raw: []byte("pdu"), From: to[1:], To: "15005550006", Received: time.Now(), Receipt: receipt}
		if text != "" {
			d.Texts = []string{text}
		}
		p.nodes[node].Deliver(d, func(err error) { acked <- err })
		return acked
	}
	durable := func(acked <-chan error) {
		t.Helper()
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
	}
	receipt := deliver(1, "", &sms.Receipt{ID: "nobody's", State: sms.StateDelivered, Final: true})
	start := deliver(1, "START", nil) // behind the receipt
	_, before, err := p.log.Read(t.Context(), 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	durable(deliver(0, "STOP", nil))
	// The node at which the START waits hears of the STOP: it looks at partition after
	// partition, and at this one first.
	eventually(t, func() bool { _, next := views.read(0); return next > before }, func() string { return "the other node did not hear of the STOP" })
	looks, _ := views.read(3)
	eventually(t, func() bool { n, _ := views.read(3); return n > looks }, func() string { return "the other node does not look on" })
	close(views.letGo)
	durable(receipt)
	durable(start)
	if s := p.settles(p.submit(0, to, "").ID); s != recipient.Denied {
		t.Errorf("the person's last word was STOP, and the message is %s", s)
	}
	durable(deliver(0, "START", nil))
	if s := p.settles(p.submit(0, to, "").ID); s != recipient.Sent {
		t.Errorf("the person's last word was START, and the message is %s", s)
	}
}

// A key that was reserved so long ago that a second copy of its message would not be
// told from the first is refused while the views do not know the message, and nothing
// is appended; then the answer is the first one's.
func TestOldKey(t *testing.T) {
	p := newPair(t, nil)
	p.apply()
	p.places[0].give(all()...)
	to := numbers(0, 1)[0]
	key, input := nodetest.Vault{}.Digest("acme", "idempotency", []byte("k")), inputOf(t, to, "k")
	made := time.Now().Add(-12 * 24 * time.Hour)
	old := event.NewMessageID(made, 0)
	p.reserved.all["acme\x00"+key] = ledger.Reserved{Message: old, Input: input}
	head := func() int64 {
		_, head, err := p.log.Read(t.Context(), 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return head
	}
	before := head()
	for range 2 {
		for i, n := range p.nodes {
			if _, err := n.Intake().Submit(t.Context(), sender, &intake.SubmitRequest{To: to, Body: "hello", IdempotencyKey: "k"}); !errors.Is(err, ledger.ErrRefused) {
				t.Errorf("node %d answers %v, want refused", i, err)
			}
		}
	}
	if n := head() - before; n != 0 {
		t.Errorf("%d events were appended", n)
	}

	plain, err := json.Marshal(event.Content{To: to, Body: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := nodetest.Vault{}.Seal("acme", event.ID{1}, "message", event.SealV1, old, plain)
	if err != nil {
		t.Fatal(err)
	}
	p.put(0, &event.Event{ID: old, Source: "/l", Time: event.Millis(made), Node: "test", Tenant: "acme", Subject: nodetest.Vault{}.Pseudonym("acme", to),
		Data: &event.MessageSubmitted{Program: "alerts", Purpose: "account", Priority: 6, From: "+15005550006", Country: "US", Encoding: "gsm7", Segments: 1,
			ValidUntil: event.Millis(made.Add(time.Hour)), Sealed: sealed, By: "test", Key: key, Input: input}})
	p.becomes(old, recipient.ExpiredUnsent)
	for node := range p.nodes {
		if got := p.submit(node, to, "k"); got.ID != old {
			t.Errorf("node %d answers with the message %s, the key is %s's", node, got.ID, old)
		}
	}
	if n := count[*event.MessageSubmitted](p, 0); n != 1 {
		t.Errorf("%d submits were appended for one key", n)
	}
}
