package eventstorelog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func onCluster(t testing.TB) (Config, *eventstoretest.Cluster) {
	t.Helper()
	c, err := eventstoretest.StartCluster(3, eventstoretest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return Config{Connection: c.Connection(), Name: fmt.Sprintf("test-%d", names.Add(1)), Partitions: 4, NumberForms: 1, DeliverWithin: 2 * time.Second}, c
}

// The leader changes, is lost and comes back while one appends and one reads: what is
// acknowledged is there once, where it was said to be, in order; what is refused is not
// there; and the reader has everything, once.
func TestLeaderChanges(t *testing.T) {
	for _, from := range []string{"every node", "one follower"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			cfg, c := onCluster(t)
			initLedger(t, cfg)
			if from == "one follower" {
				cfg.Connection = c.Node(2).Connection()
			}
			l := open(t, cfg)
			var mu sync.Mutex
			acked := map[event.ID]int64{}
			refused := map[event.ID]bool{}
			unknown, alone := 0, 0 // alone: of those that are not acknowledged, without a leader
			leaderless := false
			stop := make(chan struct{})
			var appending sync.WaitGroup
			appending.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					e := logtest.Own(l, 0, 2)
					a := logtest.Wait(l, 0, e)
					mu.Lock()
					switch {
					case a.Err == nil:
						acked[e[0].ID] = a.First
					case errors.Is(a.Err, ledger.ErrRefused):
						refused[e[0].ID] = true
					default:
						unknown++
					}
					if a.Err != nil && leaderless {
						alone++
					}
					mu.Unlock()
					if a.Err != nil {
						engine.Pause(context.Background(), engine.Backoff(1)) // as a client does
					}
				}
			})
			ctx, cancel := context.WithCancel(context.Background())
			var read []ledger.Record
			var reading sync.WaitGroup
			reading.Go(func() {
				for {
					over := ctx.Err() != nil // then it reads what is there, and waits for nothing
					records, _, err := l.Read(ctx, 0, int64(len(read)), 100)
					if err == nil && len(records) == 0 && over {
						return
					}
					read = append(read, records...) // errors are of moments without a leader
				}
			})
			more := func(what string) {
				t.Helper()
				mu.Lock()
				before := len(acked)
				mu.Unlock()
				within(t, what, func() bool { mu.Lock(); defer mu.Unlock(); return len(acked) > before+20 })
			}
			more("appends")
			for i := range 3 {
				c.SetLeader((i + 1) % 3)
				more("appends at another leader")
			}
			lead := func(without bool) { mu.Lock(); leaderless = without; mu.Unlock() }
			lead(true)
			c.Leaderless()
			within(t, "the log is not well", func() bool { ok, _, _ := l.Health(); return !ok })
			c.SetLeader(1)
			more("appends after there was no leader")
			lead(false)
			if from == "every node" { // else the only way in may be gone
				c.Stop(1)
				c.SetLeader(2)
				more("appends after the leader was lost")
				if err := c.Restart(1); err != nil {
					t.Fatal(err)
				}
			}
			close(stop)
			appending.Wait()
			cancel()
			reading.Wait()
			records := logtest.ReadAll(t, l, 0)
			if len(records) != len(read) {
				t.Errorf("the reader has %d events of %d", len(read), len(records))
			}
			at := map[event.ID][]int64{}
			for i, r := range records {
				at[r.Event.ID] = append(at[r.Event.ID], r.Index)
				if i < len(read) && string(read[i].Raw) != string(r.Raw) {
					t.Fatalf("the reader has another event at %d", i)
				}
			}
			for id, first := range acked {
				if len(at[id]) != 1 || at[id][0] != first {
					t.Errorf("acknowledged at %d, and it is at %v", first, at[id])
				}
			}
			for id := range refused {
				if len(at[id]) != 0 {
					t.Errorf("refused, and it is at %v", at[id])
				}
			}
			t.Logf("%d acknowledged, %d refused, %d unknown; %d of these without a leader", len(acked), len(refused), unknown, alone)
			if len(refused)+unknown-alone > len(acked)/4 {
				t.Errorf("%d refused and %d unknown of %d", len(refused), unknown, len(acked))
			}
		})
	}
}

// Nothing is read from a node that lags, and no head is its own.
func TestLaggingFollower(t *testing.T) {
	cfg, c := onCluster(t)
	initLedger(t, cfg)
	c.Lag(2, true)
	l := open(t, cfg)
	cfg.Connection = c.Node(2).Connection()
	other := open(t, cfg)
	for n := int64(1); n <= 20; n++ {
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
			t.Fatal(a.Err)
		}
		if _, head, err := other.Read(context.Background(), 0, 0, 0); head != n || err != nil {
			t.Fatalf("head %d, %v, want %d", head, err, n)
		}
		if records, _, err := other.Read(context.Background(), 0, n-1, 10); len(records) != 1 || err != nil {
			t.Fatalf("%d records, %v", len(records), err)
		}
	}
}

// A cluster that has lost what was read from it is not written to as if nothing were.
func TestLost(t *testing.T) {
	cfg, c := onCluster(t)
	initLedger(t, cfg)
	l := open(t, cfg)
	for _, p := range []event.Partition{0, event.ControlPartition} {
		if a := logtest.Wait(l, p, logtest.Own(l, p, 5)); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	c.Lose(8)
	if _, _, err := l.Read(context.Background(), 0, 5, 10); !errors.Is(err, ledger.ErrAhead) {
		t.Errorf("what was read is gone, and a read says %v", err)
	}
	within(t, "the log says so", func() bool { ok, _, detail := l.Health(); return !ok && strings.Contains(detail, "lost events") })
}

// A node that led and says nothing any more, though its connection stands, is not waited
// for: another leads.
func TestSilentLeader(t *testing.T) {
	cfg, c := onCluster(t)
	initLedger(t, cfg)
	l := open(t, cfg)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
		t.Fatal(a.Err)
	}
	c.Node(0).SetFault(func(eventstoretest.Call) eventstoretest.Fault { return eventstoretest.Hang })
	c.SetLeader(1)
	within(t, "appends are taken at the new leader", func() bool { return logtest.Wait(l, 0, logtest.Own(l, 0, 1)).Err == nil })
	within(t, "the log is well", func() bool { ok, _, _ := l.Health(); return ok })
}

// Several seeds under the name of discovery are seeds.
func TestDiscoverSeeds(t *testing.T) {
	cfg, _ := onCluster(t)
	cfg.Connection = strings.Replace(cfg.Connection, "esdb://", "esdb+discover://", 1)
	initLedger(t, cfg)
	if a := logtest.Wait(open(t, cfg), 0, logtest.Events(1, 0)); !errors.Is(a.Err, ledger.ErrRefused) {
		t.Errorf("%v", a.Err)
	}
}
