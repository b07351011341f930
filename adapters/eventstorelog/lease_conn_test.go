package eventstorelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
)

// The lease stream as it is stored: a state is put after the one that it was made from, or
// not at all, and older ones go.
func TestStoredLease(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, fake *eventstoretest.Server) {
		cfg = mustDefaults(t, cfg)
		if _, _, err := openLease(context.Background(), cfg); err == nil {
			t.Error("the lease of no ledger was opened")
		}
		initLedger(t, cfg)
		ctx := context.Background()
		a, partitions, err := openLease(ctx, cfg)
		if err != nil || partitions != 4 {
			t.Fatalf("%d partitions, %v", partitions, err)
		}
		defer a.close()
		b, _, err := openLease(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		if raw, revision, err := a.last(ctx); raw != nil || revision != -1 || err != nil {
			t.Fatalf("%s, revision %d, %v", raw, revision, err)
		}
		if revision, err := a.put(ctx, []byte(`{"n":0}`), -1); revision != 0 || err != nil {
			t.Fatalf("revision %d, %v", revision, err)
		}
		for _, after := range []int64{-1, 1, 7} {
			if _, err := b.put(ctx, []byte(`{"n":1}`), after); !errors.Is(err, errMoved) {
				t.Errorf("after %d: %v", after, err)
			}
		}
		if revision, err := b.put(ctx, []byte(`{"n":1}`), 0); revision != 1 || err != nil {
			t.Fatalf("revision %d, %v", revision, err)
		}
		if raw, revision, err := a.last(ctx); string(raw) != `{"n":1}` || revision != 1 || err != nil {
			t.Fatalf("%s, revision %d, %v", raw, revision, err)
		}
		if fake == nil {
			return
		}
		if m := fake.Events("$$" + cfg.lease()); len(m) != 1 || string(m[0].Data) != fmt.Sprintf(`{"$maxCount":%d}`, leaseKept) {
			t.Errorf("the stream's metadata are %v", m)
		}
	})
}

// served is what a member serves, and when it last changed.
type served struct {
	mu   sync.Mutex
	has  map[event.Partition]bool
	stop context.CancelFunc
	done chan error
}

func serve(t *testing.T, cfg Config, node string, session time.Duration) *served {
	t.Helper()
	p, err := NewPlacement(cfg, node, session)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &served{has: map[event.Partition]bool{}, stop: stop, done: make(chan error, 1)}
	set := func(to bool) func([]event.Partition) {
		return func(ps []event.Partition) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, p := range ps {
				if s.has[p] == to {
					t.Errorf("%s: partition %s twice", node, p)
				}
				s.has[p] = to
			}
		}
	}
	go func() { s.done <- p.Run(ctx, set(true), set(false)) }()
	t.Cleanup(func() {
		stop()
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		if n := len(s.now()); n > 0 {
			t.Errorf("%s ended with %d partitions", node, n)
		}
	})
	return s
}

func (s *served) now() (out []event.Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, is := range s.has {
		if is {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

// allServed reports whether each of n partitions is served once, and by all alike.
func allServed(n int, members ...*served) bool {
	var all []event.Partition
	for _, m := range members {
		has := m.now()
		if len(has) < n/len(members) {
			return false
		}
		all = append(all, has...)
	}
	slices.Sort(all)
	return len(all) == n && len(slices.Compact(all)) == n
}

// Nodes share the partitions over the protocol server; one is cut off, lets go by itself,
// and the others have what was its own; it comes back, and the leader changes meanwhile.
func TestPlacementOverTheWire(t *testing.T) {
	t.Parallel()
	cfg, c := onCluster(t)
	cfg.Partitions = 8
	initLedger(t, cfg)
	single := cfg
	single.Connection = c.Node(0).Connection()
	proxy, through := servertest.Through(t, single.Connection)
	single.Connection = through
	const session = 2 * time.Second
	a, b := serve(t, cfg, "a", session), serve(t, cfg, "b", session)
	within(t, "two share the partitions", func() bool { return allServed(8, a, b) })
	cut := serve(t, single, "cut", session)
	within(t, "three share them", func() bool { return allServed(8, a, b, cut) })
	members, err := NewPlacement(cfg, "counts", session)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := members.Members(context.Background()); n != 3 || err != nil {
		t.Errorf("%d members, %v", n, err)
	}
	for _, mode := range []servertest.Way{servertest.Refuse, servertest.Hang} {
		proxy.Set(t, mode)
		within(t, "it lets go, and the others share the partitions", func() bool { return len(cut.now()) == 0 && allServed(8, a, b) })
		proxy.Set(t, servertest.Forward)
		within(t, "three share them again", func() bool { return allServed(8, a, b, cut) })
	}
	c.SetLeader(1)
	c.SetLeader(0)
	within(t, "after a change of leader three share them", func() bool { return allServed(8, a, b, cut) })
}
