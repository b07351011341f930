package eventstoretest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
)

// Subscriptions to a stream: Enumerator.StreamSubscription.cs, Services/SubscriptionsService.cs.
func TestSubscribe(t *testing.T) {
	type then struct {
		do   func(s *Server, r *raw)
		want string
	}
	put := func(n int) func(*Server, *raw) { return func(s *Server, _ *raw) { fill(s, "s", n) } }
	tombstone := func(_ *Server, r *raw) { r.delete("tombstone", "s", "any") }
	for name, tt := range map[string]struct {
		before func(s *Server, r *raw)
		from   any
		stop   string
		want   string
		then   []then
	}{
		"from the start":        {put(40), "start", "caught-up", "confirmed 0-39 caught-up", []then{{put(2), "40-41"}, {put(1), "42"}}},
		"after a revision":      {put(40), 30, "caught-up", "confirmed 31-39 caught-up", []then{{put(1), "40"}}},
		"after the last one":    {put(40), 39, "caught-up", "confirmed caught-up", []then{{put(1), "40"}}},
		"from the end":          {put(40), "end", "caught-up", "confirmed caught-up", []then{{put(1), "40"}}},
		"of no stream yet":      {nil, "start", "caught-up", "confirmed caught-up", []then{{put(2), "0-1"}}},
		"of no stream, its end": {nil, "end", "caught-up", "confirmed caught-up", []then{{put(2), "0-1"}}},
		"after one to come":     {put(2), 3, "caught-up", "confirmed caught-up", []then{{put(4), "4-5"}}},
		"of hidden events":      {func(s *Server, r *raw) { fill(s, "s", 100); s.Truncate("s", 60) }, "start", "caught-up", "confirmed 60-99 caught-up", nil},
		"of a deleted stream":   {func(s *Server, r *raw) { fill(s, "s", 3); r.delete("delete", "s", "any") }, "start", "caught-up", "confirmed caught-up", []then{{put(1), "3"}}},
		"new ones are not hidden": {func(s *Server, r *raw) { fill(s, "s", 3); describe(s, "s", `{"$maxCount":1}`) }, "start", "caught-up", "confirmed 2 caught-up",
			[]then{{put(3), "3-5"}}},
		"too many new ones":   {put(1), "start", "caught-up", "confirmed 0 caught-up", []then{{put(liveEvents + 1), "1-33 caught-up"}, {put(1), "34"}}},
		"of a tombstone":      {func(s *Server, r *raw) { fill(s, "s", 1); tombstone(s, r) }, "start", "", "FailedPrecondition stream-deleted", nil},
		"until the tombstone": {put(1), "start", "caught-up", "confirmed 0 caught-up", []then{{tombstone, "9223372036854775807 FailedPrecondition stream-deleted"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{})
			r := dial(t, s)
			if tt.before != nil {
				tt.before(s, r)
			}
			call := r.read(query{stream: "s", from: tt.from, count: -1})
			if got := call.until(tt.stop); got != tt.want {
				t.Fatalf("%s, not %s", got, tt.want)
			}
			for _, th := range tt.then {
				th.do(s, r)
				words := strings.Fields(th.want)
				last := words[len(words)-1]
				if _, to, ok := strings.Cut(last, "-"); ok && to[0] <= '9' {
					last = to
				}
				if got := call.until(last); got != th.want {
					t.Fatalf("%s, not %s", got, th.want)
				}
			}
		})
	}
}

// Catching up and following has no gap and nothing twice, while others write.
func TestSubscribeWithoutAGap(t *testing.T) {
	s := start(t, Options{})
	const events = 5000
	go func() {
		for i := 0; i < events; i += 1 + i%50 {
			fill(s, "s", 1+i%50)
			fill(s, "other", 1)
		}
	}()
	r := dial(t, s)
	calls := []*readingCall{r.read(query{stream: "s", from: "start", count: -1}), r.read(query{count: -1, from: "start"}),
		r.read(query{count: -1, from: "start", filter: byStream("^s$", 10, 1)})}
	for i, c := range calls {
		for next := 0; next < events; {
			w := c.next()
			if i > 0 {
				w = strings.TrimPrefix(w, "s/")
			}
			if w == fmt.Sprint(next) {
				next++
			} else if w != "confirmed" && w != "caught-up" && !strings.HasPrefix(w, "other/") && !strings.HasPrefix(w, "$$$stats") && w[0] != '@' {
				t.Fatalf("subscription %d: %s instead of %d", i, w, next)
			}
		}
	}
}

// Subscriptions to all streams: Enumerator.AllSubscription.cs, AllSubscriptionFiltered.cs.
func TestSubscribeToAll(t *testing.T) {
	s := start(t, Options{})
	r := dial(t, s)
	fill(s, "a", 3)
	fill(s, "b", 2)
	events := s.Events("")
	at := func(i int) logPosition { return logPosition{int64(events[i].Position), int64(events[i].Position)} }
	own := events[0].Stream + "/0"
	end := at(5)
	checkpoint := func(p logPosition) string { return fmt.Sprint("@", p.commit) }
	for i, tt := range []struct {
		q    query
		want string
	}{
		{query{from: "start"}, "confirmed " + own + " a/0 a/1 a/2 b/0 b/1 caught-up"},
		{query{from: "end"}, "confirmed caught-up"},
		{query{from: at(3)}, "confirmed b/0 b/1 caught-up"}, // what follows the position
		{query{from: end}, "confirmed caught-up"},
		{query{from: logPosition{at(3).commit, 0}}, "confirmed a/2 b/0 b/1 caught-up"},
		{query{from: logPosition{at(3).commit + 1, 0}}, "confirmed InvalidArgument"},
		{query{from: "start", filter: byStream("^b", 32, 1)}, "confirmed b/0 b/1 " + checkpoint(end) + " caught-up"},
		{query{from: "start", filter: byType("none")}, "confirmed @0 caught-up"},
		// Two are looked at for a page, and after four it is told how far.
		{query{from: "start", filter: byStream("^b", 2, 2)}, "confirmed " + checkpoint(at(2)) + " b/0 b/1 " + checkpoint(logPosition{end.commit + 56, 0}) + " caught-up"},
		{query{from: "start", filter: byStream("^b", 2, 0)}, "Unknown"},
	} {
		tt.q.count = -1
		c := r.read(tt.q)
		if got := c.until("caught-up"); got != tt.want {
			t.Errorf("%d %+v: %s, not %s", i, tt.q, got, tt.want)
		}
		c.cancel()
	}

	// One that has looked to the end sees the event that comes to stand there.
	caught := r.read(query{from: "start", count: -1, filter: byStream("^b", 2, 2)})
	caught.until("caught-up")
	all := r.read(query{from: "end", count: -1})
	some := r.read(query{from: "end", count: -1, filter: byStream("^b", 2, 2)})
	for _, c := range []*readingCall{all, some} {
		if got := c.until("caught-up"); got != "confirmed caught-up" {
			t.Fatal(got)
		}
	}
	fill(s, "b", 1)
	if got := caught.until("b/2"); got != "b/2" {
		t.Error(got)
	}
	if a, b := all.until("b/2"), some.until("b/2"); a != "b/2" || b != "b/2" {
		t.Error(a, b)
	}
	fill(s, "a", 3)
	fill(s, "b", 2)
	events = s.Events("")
	if got := all.until("b/4"); got != "a/3 a/4 a/5 b/3 b/4" {
		t.Error(got)
	}
	if got := some.until("b/4"); got != checkpoint(at(9))+" b/3 b/4" {
		t.Error(got, at(9))
	}
}

// The vendor's client subscribes.
func TestVendorsSubscriptions(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s.Connection())
	ctx := within(t)
	fill(s, "s", 3)
	next := func(sub *esdb.Subscription) string {
		switch e := sub.Recv(); {
		case e.EventAppeared != nil:
			return fmt.Sprintf("%s/%d", e.EventAppeared.Event.StreamID, e.EventAppeared.Event.EventNumber)
		case e.CaughtUp != nil:
			return "caught-up"
		case e.CheckPointReached != nil:
			return "checkpoint"
		default:
			return fmt.Sprint(e.SubscriptionDropped)
		}
	}
	one, err := c.SubscribeToStream(ctx, "s", esdb.SubscribeToStreamOptions{From: esdb.Revision(1)})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	all, err := c.SubscribeToAll(ctx, esdb.SubscribeToAllOptions{From: esdb.Start{}, Filter: &esdb.SubscriptionFilter{Type: esdb.EventFilterType, Prefixes: []string{"t"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	for i, want := range []string{"s/2", "caught-up"} {
		if got := next(one); got != want {
			t.Errorf("%d: %s, not %s", i, got, want)
		}
	}
	for i, want := range []string{"s/0", "s/1", "s/2", "checkpoint", "caught-up"} {
		if got := next(all); got != want {
			t.Errorf("%d: %s, not %s", i, got, want)
		}
	}
	if _, err := c.AppendToStream(ctx, "s", esdb.AppendToStreamOptions{}, esdb.EventData{EventID: uuid.New(), EventType: "t"}); err != nil {
		t.Fatal(err)
	}
	if a, b := next(one), next(all); a != "s/3" || b != "s/3" {
		t.Error(a, b)
	}
	s.Cut()
	timer := time.AfterFunc(deadline, func() { panic("a cut subscription does not end") })
	defer timer.Stop()
	if got := next(one); !strings.Contains(got, "Unavailable") {
		t.Error(got)
	}
}
