package eventstorelog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/servertest"
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
			if _, err := b.put(ctx, []byte(`{"n":1}`), after); !errors.Is(err, errWrongRevision) {
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

// Nodes share the partitions over the protocol server; one is cut off, lets go by itself,
// and the others have what was its own; it comes back, and the leader changes meanwhile.
func TestPlacementOverTheWire(t *testing.T) {
	t.Parallel()
	cfg, c := onCluster(t)
	cfg.Partitions = placedPartitions
	initLedger(t, cfg)
	single := cfg
	single.Connection = c.Node(0).Connection()
	proxy, through := servertest.Through(t, single.Connection)
	single.Connection = through
	join := func(cfg Config) *placedNode {
		p, err := NewPlacement(cfg, "node", 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return start(t, p)
	}
	a, b := join(cfg), join(cfg)
	within(t, "two share the partitions", spread(a, b))
	cut := join(single)
	within(t, "three share them", spread(a, b, cut))
	if n, err := a.p.Members(t.Context()); n != 3 || err != nil {
		t.Errorf("%d members, %v", n, err)
	}
	for _, mode := range []servertest.Way{servertest.Refuse, servertest.Hang} {
		proxy.Set(t, mode)
		within(t, "it lets go, and the others share the partitions", func() bool { return cut.count() == 0 && spread(a, b)() })
		proxy.Set(t, servertest.Forward)
		within(t, "three share them again", spread(a, b, cut))
	}
	c.SetLeader(1)
	c.SetLeader(0)
	within(t, "after a change of leader three share them", spread(a, b, cut))
	for _, n := range []*placedNode{a, b, cut} {
		if err := n.leave(); err != nil {
			t.Error(err)
		}
	}
}
