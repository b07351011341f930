package eventstorelog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

var _ ledger.Placement = (*Placement)(nil)

const placedPartitions = 7

// leaseMemory is a lease stream in memory.
type leaseMemory struct {
	mu       sync.Mutex
	raw      []byte
	revision int64
	puts     int
}

// leaseWire is one node's way to it.
type leaseWire struct {
	*leaseMemory
	way time.Duration // a call takes this twice

	mu     sync.Mutex
	frozen chan struct{} // when set, calls get no answer until it is closed
	fault  error         // of every call
	lose   bool          // the answer of every put, which is made
	open   int           // streams
}

func (w *leaseWire) set(change func(w *leaseWire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(w)
}

func (w *leaseWire) freeze() { w.set(func(w *leaseWire) { w.frozen = make(chan struct{}) }) }

func (w *leaseWire) thaw() { w.set(func(w *leaseWire) { close(w.frozen); w.frozen = nil }) }

// travel is one way of a call.
func (w *leaseWire) travel(ctx context.Context) error {
	engine.Pause(ctx, w.way)
	w.mu.Lock()
	frozen, fault := w.frozen, w.fault
	w.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return errors.New("no answer in time")
	}
	return fault
}

func (w *leaseWire) last(ctx context.Context) (raw []byte, revision int64, err error) {
	if err := w.travel(ctx); err != nil {
		return nil, 0, err
	}
	w.leaseMemory.mu.Lock()
	raw, revision = w.raw, w.revision
	w.leaseMemory.mu.Unlock()
	return raw, revision, w.travel(ctx)
}

func (w *leaseWire) put(ctx context.Context, raw []byte, after int64) (int64, error) {
	if err := w.travel(ctx); err != nil {
		return 0, err
	}
	w.leaseMemory.mu.Lock()
	revision := w.revision
	if after != revision {
		w.leaseMemory.mu.Unlock()
		return 0, errWrongRevision
	}
	revision++
	w.raw, w.revision = raw, revision
	w.puts++
	w.leaseMemory.mu.Unlock()
	w.mu.Lock()
	lose := w.lose
	w.mu.Unlock()
	if lose {
		return 0, errors.New("the answer was lost")
	}
	return revision, w.travel(ctx)
}

func (w *leaseWire) close() error {
	w.set(func(w *leaseWire) { w.open-- })
	return nil
}

// state is what stands.
func (m *leaseMemory) state(t testing.TB) leaseState {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.raw == nil {
		return leaseState{}
	}
	s, err := readLease(m.raw, placedPartitions)
	if err != nil {
		t.Error(err)
	}
	return s
}

func placement(t testing.TB, session time.Duration) *Placement {
	t.Helper()
	p, err := NewPlacement(Config{Connection: "esdb://localhost:2113?tls=false"}, "node", session)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (m *leaseMemory) placement(t testing.TB, way time.Duration) (*Placement, *leaseWire) {
	t.Helper()
	w := &leaseWire{leaseMemory: m, way: way}
	p := placement(t, 0)
	p.open = func(ctx context.Context) (leaseStream, int, error) {
		if err := w.travel(ctx); err != nil {
			return nil, 0, err
		}
		w.set(func(w *leaseWire) { w.open++ })
		return w, placedPartitions, nil
	}
	return p, w
}

// placedNode is a node that serves what it is given.
type placedNode struct {
	*leaseWire
	t     testing.TB
	p     *Placement
	stop  context.CancelFunc
	ended chan error

	mu    sync.Mutex
	calls int // running at this moment
	holds map[event.Partition]bool
	gains int
	drain time.Duration
}

func (m *leaseMemory) join(t testing.TB) *placedNode {
	t.Helper()
	p, w := m.placement(t, time.Millisecond)
	n := start(t, p)
	n.leaseWire = w
	return n
}

func start(t testing.TB, p *Placement) *placedNode {
	n := &placedNode{t: t, p: p, ended: make(chan error, 1), holds: map[event.Partition]bool{}}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() { n.ended <- p.Run(ctx, n.gained, n.lost) }()
	return n
}

// leave stops it and gives Run's error.
func (n *placedNode) leave() error {
	n.t.Helper()
	n.stop()
	err := <-n.ended
	if held := n.count(); held != 0 {
		n.t.Errorf("%d partitions are held after Run returned", held)
	}
	if n.leaseWire != nil {
		n.set(func(w *leaseWire) {
			if w.open != 0 {
				n.t.Errorf("%d streams are open after Run returned", w.open)
			}
		})
	}
	return err
}

func (n *placedNode) alone(calls int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calls += calls; n.calls > 1 {
		n.t.Error("two calls at a time")
	}
}

func (n *placedNode) gained(ps []event.Partition) {
	n.alone(1)
	defer n.alone(-1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gains++
	for _, p := range ps {
		if n.holds[p] {
			n.t.Errorf("%s was gained twice", p)
		}
		n.holds[p] = true
	}
}

func (n *placedNode) lost(ps []event.Partition) {
	n.alone(1)
	defer n.alone(-1)
	n.mu.Lock()
	drain := n.drain
	n.mu.Unlock()
	engine.Pause(context.Background(), drain)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range ps {
		if !n.holds[p] {
			n.t.Errorf("%s was lost and not held", p)
		}
		delete(n.holds, p)
	}
}

func (n *placedNode) slowly(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drain = d
}

func (n *placedNode) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.holds)
}

// spread reports whether each partition is served by one, about equally many each.
func spread(nodes ...*placedNode) func() bool {
	return func() bool {
		count := map[event.Partition]int{}
		least, most := placedPartitions, 0
		for _, n := range nodes {
			n.mu.Lock()
			for p := range n.holds {
				count[p]++
			}
			least, most = min(least, len(n.holds)), max(most, len(n.holds))
			n.mu.Unlock()
		}
		for _, c := range count {
			if c != 1 {
				return false
			}
		}
		return len(count) == placedPartitions && most-least <= 1
	}
}

// took is how long it takes until something is so.
func took(t testing.TB, what string, is func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	within(t, what, is)
	return time.Since(began)
}

// inBubble runs a test in time that goes by when everybody waits.
func inBubble(t *testing.T, test func(t *testing.T, m *leaseMemory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, &leaseMemory{revision: -1}) })
}

// Members join and leave: each partition is served by one, about equally many each.
func TestPlacement(t *testing.T) {
	inBubble(t, func(t *testing.T, m *leaseMemory) {
		look := defaultSession / leaseLooks
		a := m.join(t)
		if d := took(t, "one has all", spread(a)); d > look {
			t.Errorf("the first one has all after %s", d)
		}
		b := m.join(t)
		if d := took(t, "two share", spread(a, b)); d > 3*look {
			t.Errorf("two share after %s", d)
		}
		c := m.join(t)
		within(t, "three share", spread(a, b, c))
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if d := took(t, "two share again", spread(a, c)); d > 2*look {
			t.Errorf("two share after %s", d)
		}
		if err := a.leave(); err != nil {
			t.Error(err)
		}
		within(t, "one has all again", spread(c))
		if err := c.leave(); err != nil {
			t.Error(err)
		}
		if s := m.state(t); len(s.Members) != 0 {
			t.Errorf("they have left: %+v", s)
		}
	})
}

// The same in real time, over EventStoreDB's protocol.
func TestPlacementServer(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		cfg.Partitions = placedPartitions
		initLedger(t, cfg)
		join := func() *placedNode {
			p, err := NewPlacement(cfg, "node", 2*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			return start(t, p)
		}
		a, b := join(), join()
		within(t, "two share", spread(a, b))
		if n, err := a.p.Members(t.Context()); n != 2 || err != nil {
			t.Errorf("%d members, %v", n, err)
		}
		if err := a.leave(); err != nil {
			t.Error(err)
		}
		within(t, "one has all", spread(b))
		if err := b.leave(); err != nil {
			t.Error(err)
		}
		if n, err := a.p.Members(t.Context()); n != 0 || err != nil {
			t.Errorf("%d members, %v", n, err)
		}
	})
}

// A partition is given to nobody else before it is drained, though that takes longer than
// the session; nor where its node leaves.
func TestPlacementDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, m *leaseMemory) {
		const drain = 3 * defaultSession
		a := m.join(t)
		within(t, "one has all", spread(a))
		a.slowly(drain)
		b := m.join(t)
		if d := took(t, "it is given on", func() bool { return b.count() > 0 }); d < drain {
			t.Errorf("it went on after %s", d)
		}
		if a.count() != placedPartitions-b.count() {
			t.Error("it went on while it was drained")
		}
		stopped := make(chan error)
		go func() { stopped <- a.leave() }()
		if d := took(t, "it is given on", func() bool { return b.count() == placedPartitions }); d < drain {
			t.Errorf("it went on after %s", d)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if err := b.leave(); err != nil {
			t.Error(err)
		}
	})
}

// A member whose calls hang: it loses everything before the others get it, and they have it
// within 10 s.
func TestPlacementFrozen(t *testing.T) {
	inBubble(t, func(t *testing.T, m *leaseMemory) {
		a, b := m.join(t), m.join(t)
		within(t, "two share", spread(a, b))
		a.freeze()
		began := time.Now()
		within(t, "it has lost everything", func() bool { return a.count() == 0 })
		if b.count() == placedPartitions {
			t.Error("the other was quicker")
		}
		if d := time.Since(began); d > defaultSession-defaultSession/leaseLooks+10*time.Millisecond {
			t.Errorf("it has lost everything after %s", d)
		}
		within(t, "the other has all", spread(b))
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("the other has all after %s", d)
		} else {
			t.Logf("the other has all after %s", d)
		}
		a.thaw()
		within(t, "two share again", spread(a, b))
		// While it drains what it has lost so, two do serve the same.
		const drain = 4 * defaultSession
		a.slowly(drain)
		a.freeze()
		within(t, "two serve the same", func() bool { return b.count() == placedPartitions && a.count() > 0 })
		a.thaw()
		if d := took(t, "two share again", spread(a, b)); d > drain {
			t.Errorf("two share again after %s", d)
		}
		a.slowly(0)
		for _, n := range []*placedNode{a, b} {
			if err := n.leave(); err != nil {
				t.Error(err)
			}
		}
	})
}

// EventStoreDB is away from the start, for less than the session, and for longer.
func TestPlacementAway(t *testing.T) {
	for name, away := range map[string]func(*leaseWire){
		"hangs":   func(w *leaseWire) { w.freeze() },
		"refuses": func(w *leaseWire) { w.set(func(w *leaseWire) { w.fault = errors.New("not available") }) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, m *leaseMemory) {
				back := func(w *leaseWire) {
					w.set(func(w *leaseWire) {
						if w.fault = nil; w.frozen != nil {
							close(w.frozen)
							w.frozen = nil
						}
					})
				}
				var nodes []*placedNode
				for range 3 {
					p, w := m.placement(t, time.Millisecond)
					away(w)
					n := start(t, p)
					n.leaseWire = w
					nodes = append(nodes, n)
				}
				all := func(do func(*leaseWire)) {
					for _, n := range nodes {
						do(n.leaseWire)
					}
				}
				engine.Pause(t.Context(), time.Minute)
				all(back)
				within(t, "three share", spread(nodes...))
				engine.Pause(t.Context(), 10*defaultSession) // it is calm
				gains := func() (sum int) {
					for _, n := range nodes {
						n.mu.Lock()
						sum += n.gains
						n.mu.Unlock()
					}
					return sum
				}
				before := gains()
				all(away)
				engine.Pause(t.Context(), defaultSession/4)
				all(back)
				engine.Pause(t.Context(), 10*defaultSession)
				if !spread(nodes...)() || gains() != before {
					t.Error("a short absence has moved partitions")
				}
				all(away)
				within(t, "all is lost", func() bool { return nodes[0].count()+nodes[1].count()+nodes[2].count() == 0 })
				engine.Pause(t.Context(), time.Hour)
				members := fmt.Sprint(m.state(t).Members[0].Run, m.state(t).Members[1].Run, m.state(t).Members[2].Run)
				all(back)
				within(t, "three share again", spread(nodes...))
				if s := m.state(t); fmt.Sprint(s.Members[0].Run, s.Members[1].Run, s.Members[2].Run) != members {
					t.Errorf("one was taken for dead: %+v", s)
				}
				// One that stops while it is away does stop.
				all(away)
				began := time.Now()
				if err := nodes[0].leave(); err != nil || time.Since(began) > leaveWithin {
					t.Errorf("%v, after %s", err, time.Since(began))
				}
				all(back)
				within(t, "two share", spread(nodes[1], nodes[2]))
				for _, n := range nodes[1:] {
					if err := n.leave(); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// A member none of whose answers arrives is a member.
func TestPlacementLostAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, m *leaseMemory) {
		a, b := m.join(t), m.join(t)
		a.set(func(w *leaseWire) { w.lose = true })
		within(t, "two share", spread(a, b))
		engine.Pause(t.Context(), 5*defaultSession)
		if !spread(a, b)() {
			t.Errorf("%d and %d", a.count(), b.count())
		}
		for _, n := range []*placedNode{a, b} {
			if err := n.leave(); err != nil {
				t.Error(err)
			}
		}
		if s := m.state(t); len(s.Members) != 0 {
			t.Errorf("they have left: %+v", s)
		}
	})
}

// Many members over a slow line: nobody loses so many races that it is taken for dead.
func TestPlacementMany(t *testing.T) {
	inBubble(t, func(t *testing.T, m *leaseMemory) {
		var nodes []*placedNode
		for range 30 {
			p, w := m.placement(t, 2*time.Millisecond)
			n := start(t, p)
			n.leaseWire = w
			nodes = append(nodes, n)
			engine.Pause(t.Context(), 37*time.Millisecond)
		}
		within(t, "they share", func() bool { return spread(nodes...)() && len(m.state(t).Members) == len(nodes) })
		before := m.state(t)
		engine.Pause(t.Context(), time.Minute)
		for i, member := range m.state(t).Members {
			if before.Members[i].Run != member.Run || fmt.Sprint(before.Members[i].Holds) != fmt.Sprint(member.Holds) {
				t.Errorf("%+v has become %+v", before.Members[i], member)
			}
		}
		for _, n := range nodes {
			n.stop()
		}
		for _, n := range nodes {
			if err := n.leave(); err != nil {
				t.Error(err)
			}
		}
	})
}

// What cannot be mended by waiting ends Run, whenever it comes, and is not overwritten.
func TestPlacementRefused(t *testing.T) {
	tests := map[string]struct {
		do   func(n *placedNode)
		want string
	}{
		"denied": {func(n *placedNode) {
			n.set(func(w *leaseWire) { w.fault = fmt.Errorf("it is so: %w", errLeaseDenied) })
		}, "denies access"},
		"newer": {func(n *placedNode) { n.overwrite(`{"version":2,"nodes":7}`) }, "chirograph.lease says who serves which partition, and its revision 99, of 23 bytes, cannot be read: it is of a newer version, 2"},
		"other": {func(n *placedNode) { n.overwrite(`{"hello":"secret"}`) }, "delete the stream"},
	}
	for name, test := range tests {
		for _, when := range []string{"at once", "later"} {
			t.Run(name+" "+when, func(t *testing.T) {
				inBubble(t, func(t *testing.T, m *leaseMemory) {
					p, w := m.placement(t, time.Millisecond)
					n := &placedNode{leaseWire: w}
					if when == "at once" {
						test.do(n)
					}
					n = start(t, p)
					n.leaseWire = w
					if when == "later" {
						within(t, "it has all", spread(n))
						test.do(n)
					}
					puts := m.puts
					err := <-n.ended
					n.ended <- err
					if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
						t.Errorf("%v, want %s", err, test.want)
					}
					if errors.Is(err, errLeaseDenied) != (name == "denied") {
						t.Errorf("%v", err)
					}
					if m.puts != puts || when == "at once" && n.gains > 0 {
						t.Errorf("%d states were put, and %d times something gained", m.puts-puts, n.gains)
					}
					if _, merr := p.Members(t.Context()); merr == nil || !strings.Contains(merr.Error(), test.want) {
						t.Errorf("Members: %v, want %s", merr, test.want)
					}
					_ = n.leave() // as above
				})
			})
		}
	}
	for _, bad := range []struct {
		node    string
		session time.Duration
	}{{"node", time.Second}, {"node", time.Hour}, {"", 0}, {strings.Repeat("n", leaseNodeName+1), 0}, {"\xff", 0}} {
		if _, err := NewPlacement(Config{Connection: "esdb://localhost:2113?tls=false"}, bad.node, bad.session); err == nil {
			t.Errorf("%+v", bad)
		}
	}
	if _, err := NewPlacement(Config{}, "node", 0); err == nil {
		t.Error("no connection")
	}
}

func (m *leaseMemory) overwrite(raw string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.raw, m.revision = []byte(raw), 99
}

// Members counts by wall time, and asks until it has an answer or no more time.
func TestPlacementMembers(t *testing.T) {
	inBubble(t, func(t *testing.T, m *leaseMemory) {
		p, w := m.placement(t, time.Millisecond)
		count := func(want int) {
			t.Helper()
			if n, err := p.Members(t.Context()); n != want || err != nil {
				t.Errorf("%d members, want %d: %v", n, want, err)
			}
		}
		count(0)
		a, b := m.join(t), m.join(t)
		within(t, "two share", spread(a, b))
		count(2)
		a.freeze()
		b.freeze()
		count(2)
		engine.Pause(t.Context(), defaultSession+leaseFresh)
		count(0)
		a.thaw()
		b.thaw()
		for _, n := range []*placedNode{a, b} {
			if err := n.leave(); err != nil {
				t.Error(err)
			}
		}
		w.set(func(w *leaseWire) { w.fault = errors.New("not available") })
		began := time.Now()
		if _, err := p.Members(t.Context()); err == nil || !strings.Contains(err.Error(), "not available") || time.Since(began) > p.cfg.DeliverWithin {
			t.Errorf("%v, after %s", err, time.Since(began))
		}
		if w.open != 0 {
			t.Errorf("%d streams are open", w.open)
		}
	})
}
