package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
)

// start runs a sender; stop ends it and waits.
func start(s *Sender) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var w sync.WaitGroup
	w.Go(func() { s.Run(ctx) })
	return func() { cancel(); w.Wait() }
}

func item(tenant string, subject byte) feed.Item {
	return feed.Item{Kind: feed.MessageStatus, Tenant: tenant, Subject: event.Pseudonym{subject}, Message: event.ID{7}, Program: "otp"}
}

// Of 20 endpoints one never answers and one takes ten seconds for each call; the others are told on time, also those of the same tenant.
func TestADeadOrSlowEndpointDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		url := func(i int) string { return fmt.Sprintf("https://%d.example/", i) }
		for i := range 20 {
			h.put(Endpoint{ID: event.ID{1, byte(i)}, Tenant: "acme", URL: url(i), Since: time.Now()})
		}
		h.callee.answer[url(0)] = func(ctx context.Context, _ *Call) Answer {
			rest(ctx, 15*time.Second)
			return Answer{Text: "timeout"}
		}
		h.callee.answer[url(1)] = func(ctx context.Context, _ *Call) Answer {
			rest(ctx, 10*time.Second)
			return Answer{Status: 200, Text: "200"}
		}
		s := h.sender()
		stop := start(s)
		<-time.After(10 * time.Second)
		var added []time.Time
		for i := range 600 {
			added = append(added, time.Now())
			h.feed.add(item("acme", byte(i)))
			<-time.After(100 * time.Millisecond)
		}
		<-time.After(time.Second)
		var worst time.Duration
		for i := 2; i < 20; i++ {
			if n := len(h.callee.got(url(i))); n != 600 {
				t.Fatalf("the endpoint %d got %d calls", i, n)
			}
			for k, at := range h.callee.when(url(i)) {
				worst = max(worst, at.Sub(added[k]))
			}
		}
		if worst > 500*time.Millisecond {
			t.Errorf("a call came %v late", worst)
		}
		dead, slow := len(h.callee.got(url(0))), len(h.callee.got(url(1)))
		if dead > 25 || slow < 90 {
			t.Errorf("%d calls of the dead endpoint, %d of the slow one", dead, slow)
		}
		if all, one := h.callee.atOnce("acme"), h.callee.atOnce(url(1)); all > tenantCalls || one > mostFlights {
			t.Errorf("%d and %d calls at a time", all, one)
		}
		f := s.Figures()
		if f.Endpoints != 20 || f.Failing != 1 || f.Delivered < 18*600 || f.Open == 0 || f.Oldest.IsZero() {
			t.Errorf("%+v", f)
		}
		t.Logf("the latest call of a healthy endpoint came %v after the item; the dead one got %d calls, the slow one %d; %+v", worst, dead, slow, f)
		h.callee.set(url(0), nil)
		h.callee.set(url(1), nil)
		<-time.After(20 * time.Minute)
		stop()
		for i := range 20 {
			h.whole(event.ID{1, byte(i)}, 600)
		}
	})
}

// A stop waits for answers, records them, and gives the leases back, so that another node goes on at once.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.put(Endpoint{ID: event.ID{1}, Tenant: "acme", URL: "u", Since: time.Now()})
		h.callee.answer["u"] = func(ctx context.Context, _ *Call) Answer {
			rest(ctx, 3*time.Second)
			return Answer{Status: 200, Text: "200"}
		}
		first, second := start(h.sender()), start(h.sender())
		<-time.After(2 * time.Second)
		for i := range 40 {
			h.feed.add(item("acme", byte(i)))
		}
		<-time.After(time.Second)
		first()
		before := len(h.callee.got("u"))
		<-time.After(20 * time.Second)
		second()
		got := h.callee.got("u")
		slices.Sort(got)
		if before == 0 || before > mostFlights || len(got) != 40 || len(slices.Compact(got)) != 40 {
			t.Errorf("%d calls before the stop, %d in all", before, len(got))
		}
		if len(h.store.leases) != 0 {
			t.Error("a lease was kept")
		}
		h.whole(event.ID{1}, 40)
	})
}

// Commits fail, with and without effect, nodes come and go, and the feed begins another epoch.
func TestSendersUnderFire(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t)
			r := rand.New(rand.NewPCG(seed, 3))
			for i := range 3 {
				h.put(Endpoint{ID: event.ID{1, byte(i)}, Tenant: "acme", URL: fmt.Sprint(i), Since: time.Now()})
				h.callee.answer[fmt.Sprint(i)] = func(ctx context.Context, _ *Call) Answer {
					rest(ctx, time.Duration(rand.IntN(300))*time.Millisecond)
					if rand.IntN(4) == 0 {
						return Answer{Status: 500, Text: "500"}
					}
					return Answer{Status: 200, Text: "200"}
				}
			}
			var mu sync.Mutex
			bad := true
			h.store.fail = func() (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				if bad && r.IntN(10) == 0 {
					return r.IntN(2) == 0, errors.New("the answer was lost")
				}
				return true, nil
			}
			stops := []func(){start(h.sender()), start(h.sender())}
			for i := range 300 {
				h.feed.add(item("acme", byte(i%20)))
				<-time.After(time.Duration(rand.IntN(400)) * time.Millisecond)
				if i%60 == 30 {
					k := i / 60 % 2
					stops[k]()
					stops[k] = start(h.sender())
				}
				if i == 150 {
					h.feed.mu.Lock()
					h.feed.epoch++
					h.feed.mu.Unlock()
				}
			}
			mu.Lock()
			bad = false
			mu.Unlock()
			h.callee.mu.Lock()
			clear(h.callee.answer)
			h.callee.mu.Unlock()
			<-time.After(time.Hour)
			for _, stop := range stops {
				stop()
			}
			for i := range 3 {
				h.whole(event.ID{1, byte(i)}, 300)
			}
		})
	}
}

// What the ledger lost is given up, and the rest goes on.
func TestLostItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.put(Endpoint{ID: event.ID{1}, Tenant: "acme", URL: "u", Since: time.Now()})
		h.callee.answer["u"] = func(context.Context, *Call) Answer { return Answer{Status: 500, Text: "500"} }
		stop := start(h.sender())
		<-time.After(2 * time.Second)
		h.feed.add(item("acme", 1), item("acme", 2))
		<-time.After(2 * time.Second)
		h.feed.mu.Lock()
		h.feed.items[1].Event = event.ID{99} // another event is where it was
		h.feed.mu.Unlock()
		h.callee.set("u", nil)
		<-time.After(time.Minute)
		stop()
		all, _, err := h.endpoints().Deliveries(context.Background(), caller, event.ID{1}, 0, 10, false)
		if err != nil || len(all) != 2 || all[0].State != Dead || all[0].Answer != "lost with the ledger's tail" || all[1].State != Delivered {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

// A record that cannot be made holds back its recipient alone.
func TestRecordThatCannotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.put(Endpoint{ID: event.ID{1}, Tenant: "acme", URL: "u", Since: time.Now()})
		stop := start(h.sender())
		<-time.After(2 * time.Second)
		bad := item("acme", 255)
		bad.Subject[1] = 255
		h.feed.add(item("acme", 1), bad, item("acme", 2), bad, item("acme", 3))
		<-time.After(2 * time.Second)
		stop()
		if got := h.callee.got("u"); len(got) != 3 {
			t.Errorf("called %v", got)
		}
	})
}

// References are looked at when numbers are given.
func TestReferences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.put(Endpoint{ID: event.ID{1}, Tenant: "acme", URL: "u", Since: time.Now(), References: []string{"c1"}})
		stop := start(h.sender())
		<-time.After(2 * time.Second)
		for i := range 30 {
			h.feed.add(item([]string{"acme", "other"}[i%2], byte(i)))
		}
		<-time.After(5 * time.Second)
		stop()
		h.whole(event.ID{1}, 5)
	})
}
