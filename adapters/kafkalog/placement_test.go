package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var _ ledger.Placement = (*Placement)(nil)

// member is a node that serves what it is given.
type member struct {
	t    *testing.T
	stop func() error // leaves, and gives Run's error

	mu    sync.Mutex
	calls int // running at this moment
	holds map[event.Partition]bool
	// draining, when set, is waited for by lost.
	draining chan struct{}
	lostCall chan []event.Partition // what lost was called with, when draining is set
}

func join(t *testing.T, cfg Config, group string, session time.Duration) *member {
	t.Helper()
	p, err := NewPlacement(cfg, group, session)
	if err != nil {
		t.Fatal(err)
	}
	if session < 6*time.Second {
		p.drain = 3 * time.Second // kfake waits that long for members whose session is over
	}
	m := &member{t: t, holds: map[event.Partition]bool{}, lostCall: make(chan []event.Partition, 10)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, m.gained, m.lost) }()
	m.stop = sync.OnceValue(func() error {
		cancel()
		err := <-ended
		if n := m.count(); n != 0 {
			t.Errorf("%d partitions are held after Run returned", n)
		}
		return err
	})
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *member) alone(call func()) {
	m.mu.Lock()
	if m.calls++; m.calls > 1 {
		m.t.Error("two calls at a time")
	}
	m.mu.Unlock()
	call()
	m.mu.Lock()
	m.calls--
	m.mu.Unlock()
}

func (m *member) gained(ps []event.Partition) {
	m.alone(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, p := range ps {
			if m.holds[p] {
				m.t.Errorf("%s was gained twice", p)
			}
			m.holds[p] = true
		}
	})
}

func (m *member) lost(ps []event.Partition) {
	m.alone(func() {
		m.mu.Lock()
		draining := m.draining
		m.mu.Unlock()
		if draining != nil {
			m.lostCall <- ps
			<-draining
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, p := range ps {
			if !m.holds[p] {
				m.t.Errorf("%s was lost and not held", p)
			}
			delete(m.holds, p)
		}
	})
}

func (m *member) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.holds)
}

// shared says how many partitions are held by how many of the members, once each.
func shared(members ...*member) (held int, once bool) {
	count := map[event.Partition]int{}
	for _, m := range members {
		m.mu.Lock()
		for p := range m.holds {
			count[p]++
		}
		m.mu.Unlock()
	}
	once = true
	for _, n := range count {
		once = once && n == 1
	}
	return len(count), once
}

const testPartitions = 6

// session is how long a member may be silent in a test.
func session(server string) time.Duration {
	if server == real {
		return 6 * time.Second // the least that Kafka allows
	}
	return 2 * time.Second
}

func placed(t *testing.T, server string) Config {
	t.Helper()
	cfg := config(t, server)
	cfg.Partitions = testPartitions
	initLedger(t, cfg)
	if server == real {
		t.Cleanup(func() {
			// Members that were cut off may still be in it.
			if _, err := admin(t, cfg).DeleteGroups(context.Background(), cfg.Prefix); err != nil && !errors.Is(err, kerr.NonEmptyGroup) {
				t.Log(err)
			}
		})
	}
	return cfg
}

// Members join and leave: each partition is served by one, about equally many each, and
// what one keeps it does not lose for a moment.
func TestPlacement(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		cfg := placed(t, server)
		spread := func(members ...*member) func() bool {
			return func() bool {
				held, once := shared(members...)
				least, most := testPartitions, 0
				for _, m := range members {
					least, most = min(least, m.count()), max(most, m.count())
				}
				return held == testPartitions && once && most-least <= 1
			}
		}
		a := join(t, cfg, "", session(server))
		until(t, "one has all", spread(a))
		b := join(t, cfg, "", session(server))
		until(t, "two share", spread(a, b))
		c := join(t, cfg, "", session(server))
		until(t, "three share", spread(a, b, c))
		if err := b.stop(); err != nil {
			t.Error(err)
		}
		until(t, "two share again", spread(a, c))
		if err := a.stop(); err != nil {
			t.Error(err)
		}
		until(t, "one has all again", spread(c))
	})
}

// A partition is given to nobody else before the one that had it has drained it.
func TestDrain(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		cfg := placed(t, server)
		a := join(t, cfg, "", session(server))
		until(t, "one has all", func() bool { return a.count() == testPartitions })
		draining := make(chan struct{})
		a.mu.Lock()
		a.draining = draining
		a.mu.Unlock()
		b := join(t, cfg, "", session(server))
		giving := <-a.lostCall
		engine.Pause(context.Background(), session(server)/4) // two heartbeats: were it given on, it would be now
		if n := b.count(); n != 0 {
			t.Errorf("%d partitions went on while %v was being drained", n, giving)
		}
		a.mu.Lock()
		a.draining = nil
		a.mu.Unlock()
		close(draining)
		until(t, "it is given on", func() bool { held, once := shared(a, b); return held == testPartitions && once && b.count() > 0 })
		// Leaving drains too.
		draining = make(chan struct{})
		a.mu.Lock()
		a.draining = draining
		a.mu.Unlock()
		left := make(chan error)
		go func() { left <- a.stop() }()
		<-a.lostCall
		if n := b.count(); n == testPartitions {
			t.Error("what is being drained is served by another")
		}
		a.mu.Lock()
		a.draining = nil
		a.mu.Unlock()
		close(draining)
		if err := <-left; err != nil {
			t.Error(err)
		}
		until(t, "the other has all", func() bool { return b.count() == testPartitions })
	})
}

// A member that hangs longer than its session: the others get what it had; it loses it as
// well, and comes back by itself when it can.
func TestFrozenMember(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		cfg := placed(t, server)
		w := newWire(t)
		frozen := cfg
		frozen.dial = w.dial
		a := join(t, frozen, "", session(server))
		until(t, "one has all", func() bool { return a.count() == testPartitions })
		b := join(t, cfg, "", session(server))
		until(t, "two share", func() bool { return a.count() == b.count() })
		w.freeze()
		until(t, "the other has all", func() bool { return b.count() == testPartitions })
		until(t, "the frozen one knows", func() bool { return a.count() == 0 })
		w.thaw()
		until(t, "two share again", func() bool {
			held, once := shared(a, b)
			return held == testPartitions && once && a.count() == b.count()
		})
	})
}

// Brokers that break connections, and are away for a while, cost nobody anything for long.
func TestPlacementBrokersAway(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		cfg := placed(t, server)
		w := newWire(t)
		cfg.dial = w.dial
		a, b := join(t, cfg, "", session(server)), join(t, cfg, "", session(server))
		both := func() bool {
			held, once := shared(a, b)
			return held == testPartitions && once && a.count() == b.count()
		}
		until(t, "two share", both)
		w.sever(true)
		engine.Pause(context.Background(), time.Second)
		w.mend()
		until(t, "two share again", both)
		// One that stops while brokers are away does stop.
		w.sever(true)
		began := time.Now()
		a.stop()
		if took := time.Since(began); took > leaveWithin+5*time.Second {
			t.Errorf("it took %s to stop", took)
		}
		w.mend()
		until(t, "the other has all", func() bool { return b.count() == testPartitions })
	})
}

// What cannot be mended by waiting ends Run.
func TestPlacementRefused(t *testing.T) {
	k := cluster1(t)
	cfg := Config{Brokers: k.ListenAddrs(), Replication: 1, Partitions: 2}
	initLedger(t, cfg)
	for name, e := range map[string]*kerr.Error{"may not": kerr.GroupAuthorizationFailed, "session": kerr.InvalidSessionTimeout} {
		t.Run(name, func(t *testing.T) {
			fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, TopLevel: true, Err: e, Count: -1})
			defer fault.Remove()
			p, err := NewPlacement(cfg, fmt.Sprint("group ", name), 0)
			if err != nil {
				t.Fatal(err)
			}
			never := func(ps []event.Partition) { t.Errorf("%v", slices.Clone(ps)) }
			if err := p.Run(t.Context(), never, never); !errors.Is(err, e) {
				t.Errorf("%v, want %v", err, e)
			}
		})
	}
	if _, err := NewPlacement(cfg, "", time.Millisecond); err == nil {
		t.Error("a session of a millisecond")
	}
}
