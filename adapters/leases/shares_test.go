package leases

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
)

// hurried is a fifth of what nodes take.
var hurried = timing{lease: lease / 5, every: renewEvery / 5, retry: retryAfter / 5, margin: margin / 5, attempt: attempt / 5}

// watched is what the nodes of a test were told, checked at each change.
type watched struct {
	t        *testing.T
	accounts map[string]Account

	mu    sync.Mutex
	told  map[string]map[string]Share // by account and node
	calls int
}

func watch(t *testing.T, accounts ...Account) *watched {
	w := &watched{t: t, accounts: map[string]Account{}, told: map[string]map[string]Share{}}
	for _, a := range accounts {
		w.accounts[a.Name] = a
		w.told[a.Name] = map[string]Share{}
	}
	return w
}

func (w *watched) changed(node, account string, s Share) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
	w.told[account][node] = s
	now := time.Now()
	if s.Bind == s.Until.IsZero() || !s.Bind && s != (Share{}) || s.Bind && s.Until.After(now.Add(hurried.lease)) {
		w.t.Errorf("%s of %s: %+v", account, node, s)
	}
	a := w.accounts[account]
	sum, binds := 0.0, 0
	for _, s := range w.told[account] {
		if s.Bind && now.Before(s.Until) {
			binds++
			sum += s.TPS
			if (s.TPS == 0) != (a.TPS == 0) {
				w.t.Errorf("%s: %+v", account, s)
			}
		}
	}
	if a.TPS > 0 && sum > a.TPS+1e-9 {
		w.t.Errorf("%s: %v of %v in use: %+v", account, sum, a.TPS, w.told[account])
	}
	if a.Binds > 0 && binds > a.Binds {
		w.t.Errorf("%s: %d of %d binds: %+v", account, binds, a.Binds, w.told[account])
	}
}

// share waits until an account is divided as it should be: the rate of each bind, by node.
func (w *watched) share(account string, want map[string]float64) {
	w.t.Helper()
	servertest.Until(w.t, fmt.Sprintf("%s: want %v", account, want), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		n := 0
		for node, s := range w.told[account] {
			if !s.Bind {
				continue
			}
			n++
			if rate, ok := want[node]; !ok || math.Abs(rate-s.TPS) > 0.0011 {
				return false
			}
		}
		return n == len(want)
	})
}

// join lets a node take part until the returned function is called.
func (w *watched) join(url, node string) (leave func()) {
	return w.joinWith(url, node, w.accounts)
}

func (w *watched) joinWith(url, node string, accounts map[string]Account) (leave func()) {
	w.t.Helper()
	c := open(w.t, url)
	c.timing = hurried
	var list []Account
	for _, a := range accounts {
		list = append(list, a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- c.Shares(ctx, node, list, func(account string, s Share) { w.changed(node, account, s) })
	}()
	leave = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(leave)
	return leave
}

func TestShares(t *testing.T) {
	server := database(t)
	p, cut := servertest.Through(t, server)
	w := watch(t, Account{Name: "rated", TPS: 100}, Account{Name: "one", TPS: 10, Binds: 1}, Account{Name: "two", Binds: 2})
	leave1 := w.join(server, "1")
	w.share("rated", map[string]float64{"1": 100})
	w.share("one", map[string]float64{"1": 10})
	w.share("two", map[string]float64{"1": 0})
	w.join(cut, "2")
	w.share("rated", map[string]float64{"1": 50, "2": 50})
	w.share("two", map[string]float64{"1": 0, "2": 0})
	w.join(server, "3")
	w.share("rated", map[string]float64{"1": 33.333, "2": 33.333, "3": 33.333})
	// The binds stay where they are.
	w.share("one", map[string]float64{"1": 10})
	w.share("two", map[string]float64{"1": 0, "2": 0})

	// Who leaves gives back; who waited longest is next.
	leave1()
	if n := open(t, server).number(t, "SELECT count(*) FROM chirograph_cluster.leases WHERE node = '1'"); n != 0 {
		t.Errorf("a node that left still has %d leases", n)
	}
	w.share("rated", map[string]float64{"2": 50, "3": 50})
	w.share("one", map[string]float64{"2": 10})
	w.share("two", map[string]float64{"2": 0, "3": 0})

	// Who cannot renew does without, before others have it.
	p.Set(t, servertest.Hang)
	w.share("rated", map[string]float64{"3": 100})
	w.share("one", map[string]float64{"3": 10})
	w.share("two", map[string]float64{"3": 0})
	p.Set(t, servertest.Forward)
	w.share("rated", map[string]float64{"2": 50, "3": 50})
	w.share("one", map[string]float64{"3": 10})
	w.share("two", map[string]float64{"2": 0, "3": 0})
}

// TestComingAndGoing: nodes that come and go as fast as they can never have more than
// there is, together.
func TestComingAndGoing(t *testing.T) {
	url := database(t)
	w := watch(t, Account{Name: "rated", TPS: 100}, Account{Name: "few", TPS: 10, Binds: 2})
	var list []Account
	for _, a := range w.accounts {
		list = append(list, a)
	}
	fast := hurried
	fast.every, fast.retry = time.Millisecond, time.Millisecond
	ctx := servertest.Within(t)
	var wg sync.WaitGroup
	for node := range 6 {
		c := open(t, url)
		c.timing = fast
		wg.Go(func() {
			for run := range 20 {
				name := fmt.Sprint(node, ".", run)
				ctx, cancel := context.WithCancel(ctx)
				told := 0
				if err := c.Shares(ctx, name, list, func(account string, s Share) {
					w.changed(name, account, s)
					if told++; told == 12+node {
						cancel()
					}
				}); err != nil {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Error("it took too long")
	}
}

// TestForgotten: a database that was restored from before there was anything.
func TestForgotten(t *testing.T) {
	url := database(t)
	w := watch(t, Account{Name: "a", TPS: 10}, Account{Name: "b", Binds: 1})
	w.join(url, "1")
	w.share("a", map[string]float64{"1": 10})
	c := open(t, url)
	c.exec(t, "TRUNCATE chirograph_cluster.leases, chirograph_cluster.accounts")
	servertest.Until(t, "both leases again", func() bool { return c.number(t, "SELECT count(*) FROM chirograph_cluster.leases") == 2 })
	w.share("a", map[string]float64{"1": 10})
	w.share("b", map[string]float64{"1": 0})
}

// TestConfigurationsDiffer: while they do, the lowest counts.
func TestConfigurationsDiffer(t *testing.T) {
	url := database(t)
	w := watch(t, Account{Name: "a", TPS: 90})
	w.join(url, "1")
	w.join(url, "2")
	w.share("a", map[string]float64{"1": 45, "2": 45})
	leave := w.joinWith(url, "3", map[string]Account{"a": {Name: "a", TPS: 30, Binds: 2}})
	w.share("a", map[string]float64{"1": 15, "2": 15})
	leave()
	w.share("a", map[string]float64{"1": 45, "2": 45})
}

// TestFrozenInTransaction: a node that stops in the middle keeps nobody else waiting
// for longer than PostgreSQL lets it.
func TestFrozenInTransaction(t *testing.T) {
	url := database(t)
	w := watch(t, Account{Name: "a", TPS: 10})
	leave := w.join(url, "1")
	w.share("a", map[string]float64{"1": 10})
	leave()
	tx, err := open(t, url).db.BeginTx(servertest.Within(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(servertest.Within(t), "SELECT FROM chirograph_cluster.accounts FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	w.join(url, "2")
	w.share("a", map[string]float64{"2": 10})
}

func TestSharesRefuses(t *testing.T) {
	c := open(t, database(t))
	for want, accounts := range map[string][]Account{
		"no name":      {{TPS: 1}},
		"is there":     {{Name: "a"}, {Name: "b"}, {Name: "a"}},
		"not be negat": {{Name: "a", TPS: -1}},
		"share accoun": {{Name: "a", TPS: math.NaN()}},
		"must not":     {{Name: "a", Binds: -1}},
	} {
		err := c.Shares(servertest.Within(t), "1", accounts, func(string, Share) { t.Error("something was shared") })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", accounts, err)
		}
	}
	// Without accounts there is nothing to do until the end.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Shares(ctx, "1", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestExpired: a lease has expired by whichever clock says so first; the monotonic one stands
// while a machine sleeps.
func TestExpired(t *testing.T) {
	now := time.Now()
	l := &leases{accounts: []*account{{told: share{true, 1}}}, until: now.Add(time.Minute)}
	if l.expired(now) || !l.expired(now.Add(time.Minute)) {
		t.Error("by the monotonic clock")
	}
	l.until = now.Round(0).Add(time.Minute) // a wall clock alone
	if l.expired(now) || !l.expired(now.Round(0).Add(time.Hour)) {
		t.Error("by the wall clock")
	}
}
