package viewtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// manyStops: repeats take the place of the older ones, so the rows do not grow with them.
func manyStops(t *testing.T, open func(*testing.T) Store) {
	const many = 10_000
	s, w := open(t), seeded(11)
	a := w.subjects[0][0]
	first := w.now
	for range many {
		w.now = w.now.Add(time.Hour)
		w.add(0, a, &event.InboundReceivedV2{Account: "alpha", To: "12345", Ask: "stop", Reaches: []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Bank"}}}, event.ID{})
	}
	for from := 0; from < many; from += 1000 {
		write(t, s, w.Batch(0, from, from+1000, false))
	}
	stand, _, err := s.OptOuts(context.Background(), Tenants[0], []event.Pseudonym{a.Subject})
	if err != nil || len(stand[0]) != 1 {
		t.Fatalf("%d rows, %v", len(stand[0]), err)
	}
	if o := stand[0][0]; o.Repeats != many-1 || o.To != "12345" || !o.Since.Equal(first.Add(time.Hour)) || o.Position.Index != many-1 {
		t.Errorf("%+v", o)
	}
	if n := strings.Count(Dump(t, s), "standing\t"); n != 1 {
		t.Errorf("%d rows in the table", n)
	}
	if n := len(w.Steps[0][many-1].Folded.State); n > 8<<10 {
		t.Errorf("the fold takes %d bytes", n)
	}
}

// agreeReviews: the open reviews are those of the folds.
func agreeReviews(t fataler, w *World, s Store) {
	t.Helper()
	say := func(id event.ID, kind recipient.ReviewKind, to string, since time.Time, repeats int, why event.UnplacedReason) string {
		return fmt.Sprintf("%s %s %s %s %d %s", id, kind, to, since, repeats, why)
	}
	for _, tenant := range append([]string{""}, Tenants...) {
		var got, want []string
		var f reading.ReviewFilter
		for f.Limit = 3; ; {
			page, err := s.Reviews(context.Background(), tenant, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page {
				got = append(got, say(r.Event, r.Kind, r.To, r.Since, r.Repeats, r.Unplaced))
			}
			if len(page) < f.Limit {
				break
			}
			f.AfterSince, f.After = page[len(page)-1].Since, page[len(page)-1].Event
		}
		for p := range Partitions {
			for _, state := range w.States[p] {
				if state.Tenant != tenant {
					continue
				}
				for _, r := range state.OpenReviews() {
					want = append(want, say(r.Event, r.Kind, r.To, r.Since, r.Repeats, r.Unplaced))
				}
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("open reviews of %q:\n%s\nthe folds have\n%s", tenant, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func reviews(t *testing.T, open func(*testing.T) Store) {
	ctx := context.Background()
	s, w := open(t), seeded(12)
	a, b, operator := w.subjects[0][0], w.subjects[0][2], w.subjects[0][4]
	both := []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Bank"}, {Scope: event.ScopeLegalEntity, Name: "Broker"}}
	tick := func(st *recipient.State, d event.Data) event.ID {
		w.now = w.now.Add(time.Second)
		w.add(0, st, d, event.ID{})
		return w.Steps[0][len(w.Steps[0])-1].Judged.Event.ID
	}
	unclear := func(st *recipient.State, to string) event.ID {
		return tick(st, &event.InboundReceivedV2{Account: "alpha", To: to, Ask: "unclear", Holds: "unclear", Reaches: both})
	}
	old := tick(a, &event.InboundReceived{Account: "alpha", To: "12345", Ask: "unclear", Revokes: &both[0], Unclear: true})
	first := unclear(a, "12345")
	unreadable := tick(b, &event.InboundReceivedV2{Account: "alpha", To: "12345", Ask: "unclear", Holds: "unreadable", Reaches: both})
	held := tick(b, &event.InboundHeld{Inbound: event.ID{1}, Stream: operator.Subject, To: "12345", Reaches: both, Unplaced: "tenant_shared"})
	unplaced := tick(operator, &event.InboundReceivedV2{Account: "alpha", To: "12345", Ask: "stop", Unplaced: "tenant_shared",
		Streams: []event.HeldStream{{Tenant: Tenants[0], Subject: b.Subject, Event: held}}})
	tick(b, &event.InboundReceivedV2{Account: "alpha", To: "12345", Ask: "none"})
	second := unclear(a, "12345") // takes the place of the first
	written := 0
	upto := func() {
		if n := len(w.Steps[0]); n > written {
			write(t, s, w.Batch(0, written, n, false))
			written = n
		}
	}
	list := func(tenant string, f reading.ReviewFilter) (ids []event.ID) {
		t.Helper()
		upto()
		all, err := s.Reviews(ctx, tenant, f)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			ids = append(ids, r.Event)
		}
		return ids
	}
	is := func(got []event.ID, want ...event.ID) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Fatalf("%v, not %v", got, want)
		}
	}
	all := reading.ReviewFilter{Limit: 100}
	is(list(Tenants[0], all), old, second, unreadable, held)
	is(list("", all), unplaced)
	is(list(Tenants[1], all))
	is(list(Tenants[0], reading.ReviewFilter{Kind: recipient.ReviewHeld, Limit: 1}), held)
	is(list(Tenants[0], reading.ReviewFilter{Since: Epoch.Add(3 * time.Second), Limit: 100}), unreadable, held)
	page, err := s.Reviews(ctx, Tenants[0], reading.ReviewFilter{Limit: 2})
	if err != nil || len(page) != 2 {
		t.Fatal(page, err)
	}
	if r := page[1]; r.Repeats != 1 || r.Kind != recipient.ReviewUnclear || r.To != "12345" || !r.Since.Equal(Epoch.Add(2*time.Second)) || r.Subject != a.Subject || r.Tenant != Tenants[0] {
		t.Errorf("%+v", r)
	}
	is(list(Tenants[0], reading.ReviewFilter{AfterSince: page[1].Since, After: page[1].Event, Limit: 2}), unreadable, held)

	for _, x := range []struct {
		tenant string
		id     event.ID
		known  bool
	}{{Tenants[0], old, true}, {Tenants[0], first, true}, {Tenants[0], held, true}, {"", unplaced, true}, {Tenants[0], unplaced, false}, {Tenants[1], held, false}, {"", event.ID{9}, false}} {
		ref, ok, err := s.Inbound(ctx, x.tenant, x.id)
		if err != nil || ok != x.known || ok && (ref.Event != x.id || ref.Tenant != x.tenant || w.Steps[0][ref.Position.Index].Judged.Event.ID != x.id) {
			t.Errorf("%s of %q: %+v, %v, %v", x.id, x.tenant, ref, ok, err)
		}
	}
	nearOne(t, s, b.Subject, unreadable, held)
	counts := map[recipient.ReviewKind]int64{}
	open1, err := s.OpenReviews(ctx)
	for _, o := range open1 {
		if counts[o.Kind] = o.Count; o.Kind == recipient.ReviewUnclear && !o.Oldest.Equal(Epoch.Add(time.Second)) {
			t.Errorf("oldest %v", o.Oldest)
		}
	}
	if err != nil || counts["unclear"] != 2 || counts["unreadable"] != 1 || counts["held"] != 1 || counts["unplaced"] != 1 || counts["start"] != 0 {
		t.Errorf("%v, %v", counts, err)
	}

	// Resolved: one is cleared, one stops; the opt-outs of both are as the fold says.
	tick(a, &event.ReviewResolved{Review: old, As: "clear", By: "officer"})
	stop := tick(a, &event.ReviewResolved{Review: second, As: "stop", Reaches: both, By: "officer"})
	is(list(Tenants[0], all), unreadable, held)
	stand, _, err := s.OptOuts(ctx, Tenants[0], []event.Pseudonym{a.Subject})
	if err != nil || len(stand[0]) != 2 || stand[0][0].Event != stop || stand[0][0].Unclear || stand[0][0].Reach != both[0] || stand[0][1].Reach != both[1] || stand[0][0].To != "12345" {
		t.Errorf("%+v, %v", stand, err)
	}
	tick(operator, &event.ReviewResolved{Review: unplaced, As: "clear", By: "operator"})
	is(list("", all))
	asOne(t, w, s, open)
}

// nearOne looks for the inbound messages of a subject before position 3 and after position 2.
func nearOne(t *testing.T, s Store, subject event.Pseudonym, before, after event.ID) {
	t.Helper()
	near, err := s.InboundNear(context.Background(), subject, 3, 10)
	if err != nil || len(near) != 1 || near[0].Event != before {
		t.Errorf("before: %+v, %v", near, err)
	}
	if near, err = s.InboundNear(context.Background(), subject, 2, -1); err != nil || len(near) != 1 || near[0].Event != after {
		t.Errorf("after: %+v, %v", near, err)
	}
}
