package viewtest

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
)

// bustle adds about n events of messages: more of them are decided and sent than where time leaps.
func bustle(w *World, n int) {
	for range n {
		w.now = w.now.Add(time.Duration(w.draw(1500)) * time.Millisecond)
		if w.chance(3) {
			w.now = w.now.Add(time.Duration(w.draw(50)) * time.Minute)
		}
		if w.chance(3) {
			w.Grow()
		}
		p := w.draw(Partitions)
		s := pick(w, w.subjects[p][:4]...)
		if w.chance(25) {
			w.Submit(p, s)
		} else {
			w.advance(p, s)
		}
	}
}

// everything is every message of the world, with the rules by which an effective decision did not allow it.
func everything(w *World) (all []*reading.Message, rules map[event.ID][]string) {
	rules = map[event.ID][]string{}
	for p := range Partitions {
		for _, m := range Model(w, p) {
			all = append(all, m)
		}
		for i := range w.Steps[p] {
			j := &w.Steps[p][i].Judged
			if j.Event == nil || j.Why != "" {
				continue
			}
			if d, ok := j.Event.Data.(*event.MessageDecided); ok {
				rules[j.Event.MessageID()] = append(rules[j.Event.MessageID()], reading.Refusing(d)...)
			}
		}
	}
	slices.SortFunc(all, func(a, b *reading.Message) int { return compareIDs(b.ID, a.ID) })
	return all, rules
}

// anyNarrower is a filter that often finds the message like.
func anyNarrower(r *rand.Rand, like *reading.Message, all []*reading.Message, rules map[event.ID][]string) (f reading.Filter) {
	f.Limit = 1 + r.IntN(6)
	one := func(n int) bool { return r.IntN(n) == 0 }
	for f.Narrower == (reading.Narrower{}) {
		if one(3) {
			f.Purpose = like.Purpose
		}
		if one(4) {
			f.Sender = like.From
		}
		if one(3) {
			f.Country = like.Country
		}
		if one(3) {
			f.Carrier = like.Carrier()
		}
		if one(3) && len(rules[like.ID]) > 0 {
			f.Rule = rules[like.ID][r.IntN(len(rules[like.ID]))]
		}
		if one(3) && like.Decision != nil {
			f.Outcome = like.Decision.Data.Outcome
		}
		if one(2) && !like.Sent.IsZero() {
			f.SentSince = like.Sent.Add(-time.Duration(r.IntN(90)) * time.Minute)
			if one(2) {
				f.SentUntil = like.Sent.Add(time.Duration(1+r.IntN(90*60)) * time.Second)
			}
		}
		if one(6) && !like.Sent.IsZero() {
			f.SentUntil = like.Sent.Add(time.Millisecond)
		}
		if one(12) { // what there is none of
			f.Sender = "NOBODY"
		}
	}
	if one(4) {
		f.Since = like.Accepted
	}
	if one(4) {
		f.Until = all[r.IntN(len(all))].Accepted
	}
	if one(5) {
		f.Status = like.Status
	}
	if one(5) {
		f.Program = like.Program
	}
	return f
}

// naive is what a look at every message finds. It is written out here, so that it does not use what it checks.
func naive(tenant string, f *reading.Filter, all []*reading.Message, rules map[event.ID][]string) (ids []event.ID) {
	for _, m := range all {
		senders, carriers, outcome := []string{m.From}, []string{m.Carrier()}, event.DecisionOutcome("")
		if m.Route != nil {
			senders = append(senders, m.Route.Data.From)
		}
		for _, a := range m.Attempts {
			senders, carriers = append(senders, a.From), append(carriers, a.Carrier)
		}
		if m.Decision != nil {
			outcome = m.Decision.Data.Outcome
		}
		sent := f.SentSince.IsZero() && f.SentUntil.IsZero() ||
			!m.Sent.IsZero() && !m.Sent.Before(f.SentSince) && (f.SentUntil.IsZero() || m.Sent.Before(f.SentUntil))
		if m.Tenant == tenant && !m.Accepted.IsZero() && sent &&
			(f.Purpose == "" || f.Purpose == m.Purpose) && (f.Country == "" || f.Country == m.Country) &&
			(f.Sender == "" || slices.Contains(senders, f.Sender)) && (f.Carrier == "" || slices.Contains(carriers, f.Carrier)) &&
			(f.Rule == "" || slices.Contains(rules[m.ID], f.Rule)) && (f.Outcome == "" || f.Outcome == outcome) &&
			(f.Status == "" || f.Status == m.Status) && (f.Program == "" || f.Program == m.Program) &&
			!m.Accepted.Before(f.Since) && (f.Until.IsZero() || m.Accepted.Before(f.Until)) {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// finds: every filter finds exactly what a look at every message finds, in order, however small the pages.
// With a recipient too, the search along that recipient's messages does.
func finds(t *testing.T, open func(*testing.T) Store) {
	worlds := uint64(3)
	if testing.Short() { // the race detector's lane: SQLite in Go is slow under it
		worlds = 1
	}
	for seed := range worlds {
		s, w, r := open(t), seeded(100+seed), rand.New(rand.NewPCG(seed, 9))
		bustle(w, 1500)
		cut(t, w, s, r, false)
		all, rules := everything(w)
		references := map[event.ID]string{}
		for p := range Partitions {
			for _, e := range w.messages[p] {
				if d, err := Reference(e); err == nil && e.Data.(*event.MessageSubmitted).Referenced {
					references[e.ID] = d
				}
			}
		}
		nonempty := map[string]int{}
		for range 120 {
			like := all[r.IntN(len(all))]
			if !like.Submitted() {
				continue
			}
			f := anyNarrower(r, like, all, rules)
			want := naive(like.Tenant, &f, all, rules)
			got := findAll(t, s, like.Tenant, f)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %+v finds %d, not %d:\n%v\n%v", seed, f, len(got), len(want), got, want)
			}
			if len(want) > 0 {
				for name, asked := range map[string]bool{"purpose": f.Purpose != "", "sender": f.Sender != "", "country": f.Country != "", "carrier": f.Carrier != "",
					"rule": f.Rule != "", "outcome": f.Outcome != "", "sent since": !f.SentSince.IsZero(), "sent until": !f.SentUntil.IsZero()} {
					if asked {
						nonempty[name]++
					}
				}
			}
			// Of one reference, and of one recipient.
			if f.Reference = references[like.ID]; f.Reference != "" {
				of := slices.DeleteFunc(slices.Clone(want), func(id event.ID) bool { return references[id] != f.Reference })
				if got = findAll(t, s, like.Tenant, f); !slices.Equal(got, of) {
					t.Fatalf("seed %d, of one reference, %+v finds\n%v, not\n%v", seed, f, got, of)
				}
			}
			f.Reference, f.Subject = "", like.Subject
			want = slices.DeleteFunc(want, func(id event.ID) bool {
				return !slices.ContainsFunc(all, func(m *reading.Message) bool { return m.ID == id && m.Subject == like.Subject })
			})
			got = findAll(t, s, like.Tenant, f)
			slices.SortFunc(got, func(a, b event.ID) int { return compareIDs(b, a) })
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, of one recipient, %+v finds\n%v, not\n%v", seed, f, got, want)
			}
		}
		if len(nonempty) < 8 {
			t.Fatal("some conditions never found a message:", nonempty)
		}
	}
}

// findAll are the ids that a search finds on all of its pages.
func findAll(t *testing.T, s Store, tenant string, f reading.Filter) (ids []event.ID) {
	t.Helper()
	for {
		page, next, err := s.Find(context.Background(), tenant, f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > f.Limit || len(page) < f.Limit && !next.IsZero() {
			t.Fatalf("%+v: a page of %d goes on at %s", f, len(page), next)
		}
		for _, m := range page {
			ids = append(ids, m.ID)
		}
		if f.After = next; next.IsZero() {
			return ids
		}
	}
}

// findsMeanwhile: whoever pages while others write sees exactly what was there at the start, once and in
// order, if the conditions are of the submit; of others, at least what matches at the start and at the end.
func findsMeanwhile(t *testing.T, open func(*testing.T) Store) {
	s, w, r := open(t), seeded(77), rand.New(rand.NewPCG(77, 1))
	bustle(w, 1200)
	var written [Partitions]int
	grow := func(n int) {
		bustle(w, n)
		for p := range Partitions {
			if n := len(w.Steps[p]); n > written[p] {
				write(t, s, w.Batch(p, written[p], n, false))
				written[p] = n
			}
		}
	}
	grow(0)
	for _, f := range []reading.Filter{{Narrower: reading.Narrower{Purpose: "account", Country: "US"}}, {Narrower: reading.Narrower{Sender: "SHOP"}},
		{Narrower: reading.Narrower{Carrier: "alpha"}}, {Narrower: reading.Narrower{Rule: "r3"}}, {Narrower: reading.Narrower{SentSince: Epoch.Add(time.Hour)}}, {Narrower: reading.Narrower{Outcome: "deny"}}} {
		f.Limit = 1 + r.IntN(4)
		ofSubmit := f.Purpose != ""
		all, rules := everything(w)
		before := naive(Tenants[0], &f, all, rules)
		var got []event.ID
		for after := f; ; {
			page, next, err := s.Find(context.Background(), Tenants[0], after)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page {
				if n := len(got); n > 0 && compareIDs(m.ID, got[n-1]) >= 0 {
					t.Fatalf("%s after %s", m.ID, got[n-1])
				}
				got = append(got, m.ID)
			}
			if after.After = next; next.IsZero() {
				break
			}
			if len(got) < 200 {
				grow(5) // statuses move, messages come
			}
		}
		all, rules = everything(w)
		end := naive(Tenants[0], &f, all, rules)
		both := 0
		for _, id := range before {
			if slices.Contains(end, id) {
				both++
				if !slices.Contains(got, id) {
					t.Fatalf("%+v: %s is not found", f, id)
				}
			}
		}
		if both < 3 {
			t.Fatalf("%+v finds %d messages: too few to say anything", f, both)
		}
		if ofSubmit && !slices.Equal(got, before) {
			t.Fatalf("%+v finds %d, not the %d that were there", f, len(got), len(before))
		}
	}
}
