package leases

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func keyOf(n int) string { return fmt.Sprintf("%032x", n) }

func reserved() ledger.Reserved {
	id := event.NewID(time.Now())
	return ledger.Reserved{Message: id, Input: "input of " + id.String()}
}

var later = time.Now().Add(24 * time.Hour)

// TestReserve: of many who want a key, on three nodes and within one batch, one wins,
// and everybody is told who.
func TestReserve(t *testing.T) {
	url := database(t)
	nodes := []*Database{open(t, url), open(t, url), open(t, url)}
	const callers, keys, rounds = 60, 7, 40
	type told struct{ mine, stands ledger.Reserved }
	answers := make([]map[string][]told, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			answers[i] = map[string][]told{}
			for round := range rounds {
				tenant, key := fmt.Sprint("tenant", rand.N(2)), keyOf(round*keys+rand.N(keys))
				mine := reserved()
				stands, err := nodes[i%len(nodes)].Reserve(servertest.Within(t), tenant, key, mine, later)
				if err != nil {
					t.Error(err)
					return
				}
				answers[i][tenant+key] = append(answers[i][tenant+key], told{mine, stands})
			}
		})
	}
	wg.Wait()
	winners, mine := map[string]ledger.Reserved{}, map[ledger.Reserved]bool{}
	lost := 0
	for _, a := range answers {
		for name, list := range a {
			for _, b := range list {
				mine[b.mine] = true
				if b.mine != b.stands {
					lost++
				}
				if w, ok := winners[name]; ok && w != b.stands {
					t.Fatalf("%s: %v and %v both stand", name, w, b.stands)
				}
				winners[name] = b.stands
			}
		}
	}
	seen := map[ledger.Reserved]bool{}
	for name, w := range winners {
		if !mine[w] || seen[w] {
			t.Errorf("%s: %v was asked for by nobody, or stands for two keys", name, w)
		}
		seen[w] = true
	}
	if n := nodes[0].number(t, "SELECT count(*) FROM chirograph_cluster.reservations"); n != int64(len(winners)) {
		t.Errorf("%d rows for %d keys", n, len(winners))
	}
	t.Logf("%d keys, %d callers lost", len(winners), lost)

	// It stands for whoever comes later, and for a repeat of the winner.
	for name, w := range winners {
		tenant, key := name[:len("tenant0")], name[len("tenant0"):]
		for _, r := range []ledger.Reserved{reserved(), w} {
			if got, err := nodes[1].Reserve(servertest.Within(t), tenant, strings.ToUpper(key), r, later); err != nil || got != w {
				t.Fatalf("later: %v, %v; want %v", got, err, w)
			}
		}
	}
}

// TestReserveInOneBatch: the same key twice in one statement.
func TestReserveInOneBatch(t *testing.T) {
	c := open(t, database(t))
	there := reserved()
	if _, err := c.Reserve(servertest.Within(t), "acme", keyOf(1), there, later); err != nil {
		t.Fatal(err)
	}
	mk := func(tenant string, key int) *request {
		q := &request{name: name{tenant: tenant}, reserved: reserved(), keep: later, by: time.Now().Add(servertest.Patience), answer: make(chan answer, 1)}
		hex.Decode(q.key[:], []byte(keyOf(key)))
		return q
	}
	batch := []*request{mk("acme", 1), mk("acme", 2), mk("acme", 2), mk("bank", 1), mk("bank", 2), mk("acme", 1)}
	batch[4].by = time.Now() // this one has gone
	c.reserve(batch)
	for i, want := range []ledger.Reserved{there, batch[1].reserved, batch[1].reserved, batch[3].reserved, {}, there} {
		a := <-batch[i].answer
		if (a.err != nil) != (i == 4) || a.reserved != want {
			t.Errorf("%d: %v, %v; want %v", i, a.reserved, a.err, want)
		}
	}
	if n := c.number(t, "SELECT count(*) FROM chirograph_cluster.reservations"); n != 3 {
		t.Errorf("%d rows", n)
	}
}

func TestReserveRefuses(t *testing.T) {
	c := open(t, database(t))
	for _, key := range []string{"", "abc", keyOf(1)[1:], keyOf(1) + "00", strings.Repeat("x", 32)} {
		if _, err := c.Reserve(servertest.Within(t), "acme", key, reserved(), later); err == nil || errors.Is(err, ledger.ErrRefused) {
			t.Errorf("key %q: %v", key, err)
		}
	}
	for _, text := range []string{"a\x00b", "\xff"} {
		if _, err := c.Reserve(servertest.Within(t), text, keyOf(1), reserved(), later); err == nil {
			t.Errorf("tenant %q was taken", text)
		}
	}
	// ctx ends the wait and not the write.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	mine := reserved()
	for {
		_, err := c.Reserve(ctx, "acme", keyOf(2), mine, later)
		if err == nil {
			continue // it was faster
		}
		if !errors.Is(err, ledger.ErrRefused) || !errors.Is(err, context.Canceled) {
			t.Errorf("ctx done: %v", err)
		}
		break
	}
	if got, err := c.Reserve(servertest.Within(t), "acme", keyOf(2), reserved(), later); err != nil || got != mine {
		t.Errorf("what was written without anybody waiting: %v, %v", got, err)
	}
	c.Close()
	if _, err := c.Reserve(servertest.Within(t), "acme", keyOf(3), reserved(), later); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("closed: %v", err)
	}
}

// TestReserveAway: PostgreSQL away is an error for everybody within the time-out, also
// for those beyond the bound, and heals. Cut connections are nobody's affair.
func TestReserveAway(t *testing.T) {
	server := database(t)
	p, url := servertest.Through(t, server)
	c := open(t, url)
	for i := range 5 {
		if _, err := c.Reserve(servertest.Within(t), "acme", keyOf(i), reserved(), later); err != nil {
			t.Fatalf("after %d cuts: %v", i, err)
		}
		p.Set(t, servertest.Forward)
	}
	many := func() (full, late, other int) {
		errs := make(chan error)
		for i := range 2 * maxWaiting {
			go func() {
				_, err := c.Reserve(context.Background(), "acme", keyOf(1000+i), reserved(), later)
				errs <- err
			}()
		}
		ctx := servertest.Within(t)
		for i := range 2 * maxWaiting {
			select {
			case err := <-errs:
				switch {
				case err == nil:
				case !errors.Is(err, ledger.ErrRefused):
					t.Fatal(err)
				case strings.Contains(err.Error(), "wait already"):
					full++
				case strings.Contains(err.Error(), "did not answer within"):
					late++
				default:
					other++
				}
			case <-ctx.Done():
				t.Fatalf("%d of %d callers were told", i, 2*maxWaiting)
			}
		}
		return full, late, other
	}
	p.Set(t, servertest.Hang)
	if full, late, other := many(); full < maxWaiting-2*maxBatch || full > maxWaiting || late == 0 || other != 0 {
		t.Errorf("hanging: %d found it full, %d were told that it is late, %d something else", full, late, other)
	}
	p.Set(t, servertest.Refuse)
	if _, err := c.Reserve(servertest.Within(t), "acme", keyOf(0), reserved(), later); !errors.Is(err, ledger.ErrRefused) || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("refused: %v", err)
	}
	p.Set(t, servertest.Forward)
	servertest.Until(t, "reservations again", func() bool {
		_, err := c.Reserve(servertest.Within(t), "acme", keyOf(0), reserved(), later)
		return err == nil
	})
}

// TestReserveWhileCut: whatever was told stands, with connections cut at any moment.
func TestReserveWhileCut(t *testing.T) {
	server := database(t)
	p, url := servertest.Through(t, server)
	c, other := open(t, url), open(t, server)
	ctx, cancel := context.WithCancel(servertest.Within(t))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(15 * time.Millisecond)
		defer tick.Stop()
		for range 60 {
			<-tick.C
			p.Set(t, servertest.Forward)
		}
		cancel()
	}()
	var mu sync.Mutex
	told := map[string]ledger.Reserved{}
	failed := 0
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := keyOf(i*1_000_000 + n/2)
				got, err := c.Reserve(context.Background(), "acme", key, reserved(), later)
				mu.Lock()
				if err != nil {
					failed++
				} else if was, ok := told[key]; ok && was != got {
					t.Errorf("%s stood for %v and then for %v", key, was, got)
				} else {
					told[key] = got
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	<-done
	for key, want := range told {
		if got, err := other.Reserve(servertest.Within(t), "acme", key, reserved(), later); err != nil || got != want {
			t.Fatalf("%s: %v, %v; want %v", key, got, err, want)
		}
	}
	if len(told) == 0 {
		t.Error("nothing was reserved")
	}
	t.Logf("%d keys stand, %d calls failed", len(told), failed)
}

func TestPrune(t *testing.T) {
	url := database(t)
	c, other := open(t, url), open(t, url)
	now := time.Now()
	var wg sync.WaitGroup
	for i := range 250 {
		wg.Go(func() {
			if _, err := c.Reserve(servertest.Within(t), "acme", keyOf(i), reserved(), now.Add(-2*pruneSlack)); err != nil {
				t.Error(err)
			}
			if _, err := c.Reserve(servertest.Within(t), "acme", keyOf(1000+i), reserved(), now.Add(-pruneSlack/2)); err != nil {
				t.Error(err)
			}
			if _, err := c.Reserve(servertest.Within(t), "acme", keyOf(2000+i), reserved(), later); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var pruned atomic.Int64
	for _, node := range []*Database{c, other} {
		wg.Go(func() {
			n, err := node.prune(servertest.Within(t), 20)
			if err != nil {
				t.Error(err)
			}
			pruned.Add(n)
		})
	}
	wg.Wait()
	if left := c.number(t, "SELECT count(*) FROM chirograph_cluster.reservations"); pruned.Load() != 250 || left != 500 {
		t.Errorf("%d pruned, %d left", pruned.Load(), left)
	}
	// What was pruned is free again.
	mine := reserved()
	if got, err := c.Reserve(servertest.Within(t), "acme", keyOf(7), mine, later); err != nil || got != mine {
		t.Errorf("after pruning: %v, %v", got, err)
	}
}

// BenchmarkReserve is new keys from 64 callers; cpu-µs is this process's CPU time each,
// both sides of the call.
func BenchmarkReserve(b *testing.B) {
	c := open(b, database(b))
	const callers = 64
	var n atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				i := n.Add(1)
				if i > int64(b.N) {
					return
				}
				// Digests are random.
				key := fmt.Sprintf("%016x%016x", rand.Uint64(), i)
				if _, err := c.Reserve(context.Background(), "acme", key, ledger.Reserved{Message: event.ID{1}, Input: key}, later); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reservations/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/reservation")
}
