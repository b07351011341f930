package reading

import (
	"context"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

func TestMatches(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	one := func() *Message {
		return &Message{Tenant: "acme", Status: recipient.Sent, Program: "otp", Purpose: "account", From: "ASKED", Country: "US",
			Subject: event.NewPseudonym([]byte("k"), "acme", "1"), Accepted: at, Sent: at.Add(time.Hour),
			Decision: &Decision{Data: &event.MessageDecided{Outcome: event.Defer, Checks: []event.Check{
				{Outcome: event.Allow, Rules: []string{"opt_out.none"}}, {Outcome: event.Defer, Rules: []string{"quiet.a", "quiet.b"}}, {Outcome: event.Deny, Rules: []string{"limit"}}}}},
			Route:    &Route{Data: &event.MessageRouted{Carrier: "last", From: "ROUTED"}},
			Attempts: []Attempt{{Carrier: "first", From: "USED"}}}
	}
	held := one()
	held.Decision = &Decision{Data: &event.MessageDecided{Outcome: event.Hold, Fault: event.FaultPause}}
	allowed := one()
	allowed.Decision = &Decision{Data: &event.MessageDecided{Outcome: event.Allow, Checks: []event.Check{{Outcome: event.Allow, Rules: []string{"limit"}}}}}
	bare := &Message{Tenant: "acme", Status: recipient.Accepted, Program: "otp", Accepted: at}
	cancelled := &Message{Tenant: "acme"} // its submit has not come
	n := func(n Narrower) Filter { return Filter{Narrower: n} }
	for name, c := range map[string]struct {
		f       Filter
		m       *Message
		earlier bool
		want    bool
	}{
		"everything":              {Filter{}, one(), false, true},
		"no submit":               {Filter{}, cancelled, false, false},
		"recipient":               {Filter{Subject: one().Subject}, one(), false, true},
		"another recipient":       {Filter{Subject: event.NewPseudonym([]byte("k"), "acme", "2")}, one(), false, false},
		"status":                  {Filter{Status: recipient.Denied}, one(), false, false},
		"program":                 {Filter{Program: "news"}, one(), false, false},
		"since is with":           {Filter{Since: at}, one(), false, true},
		"since":                   {Filter{Since: at.Add(1)}, one(), false, false},
		"until is without":        {Filter{Until: at}, one(), false, false},
		"until":                   {Filter{Until: at.Add(1)}, one(), false, true},
		"purpose":                 {n(Narrower{Purpose: "account"}), one(), false, true},
		"another purpose":         {n(Narrower{Purpose: "otp"}), one(), false, false},
		"country":                 {n(Narrower{Country: "US"}), one(), false, true},
		"another country":         {n(Narrower{Country: "GB"}), one(), false, false},
		"sender as asked":         {n(Narrower{Sender: "ASKED"}), one(), false, true},
		"sender of the route":     {n(Narrower{Sender: "ROUTED"}), one(), false, true},
		"sender of an attempt":    {n(Narrower{Sender: "USED"}), one(), false, true},
		"sender is exact":         {n(Narrower{Sender: "asked"}), one(), false, false},
		"carrier of the route":    {n(Narrower{Carrier: "last"}), one(), false, true},
		"carrier of an attempt":   {n(Narrower{Carrier: "first"}), one(), false, true},
		"another carrier":         {n(Narrower{Carrier: "none"}), one(), false, false},
		"carrier without a route": {n(Narrower{Carrier: "last"}), bare, false, false},
		"outcome":                 {n(Narrower{Outcome: event.Defer}), one(), false, true},
		"another outcome":         {n(Narrower{Outcome: event.Allow}), one(), false, false},
		"outcome undecided":       {n(Narrower{Outcome: event.Allow}), bare, false, false},
		"rule that deferred":      {n(Narrower{Rule: "quiet.b"}), one(), false, true},
		"rule that denied":        {n(Narrower{Rule: "limit"}), one(), false, true},
		"rule that allowed":       {n(Narrower{Rule: "opt_out.none"}), one(), false, false},
		"rule of an allow":        {n(Narrower{Rule: "limit"}), allowed, false, false},
		"rule of an earlier one":  {n(Narrower{Rule: "limit"}), allowed, true, true},
		"rule undecided":          {n(Narrower{Rule: "limit"}), bare, false, false},
		"fault":                   {n(Narrower{Rule: "hold.pause"}), held, false, true},
		"another fault":           {n(Narrower{Rule: "hold.clock"}), held, false, false},
		"sent since is with":      {n(Narrower{SentSince: at.Add(time.Hour)}), one(), false, true},
		"sent since":              {n(Narrower{SentSince: at.Add(time.Hour + 1)}), one(), false, false},
		"sent until is without":   {n(Narrower{SentUntil: at.Add(time.Hour)}), one(), false, false},
		"sent until":              {n(Narrower{SentUntil: at.Add(time.Hour + 1)}), one(), false, true},
		"not sent, since":         {n(Narrower{SentSince: at}), bare, false, false},
		"not sent, until":         {n(Narrower{SentUntil: at.Add(24 * time.Hour)}), bare, false, false},
		"one of two":              {n(Narrower{Purpose: "account", Country: "GB"}), one(), false, false},
	} {
		if got := c.f.Matches(c.m, c.earlier); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// fakeDesk finds what it is told to, in pages.
type fakeDesk struct {
	Desk
	total    int // how many messages there are
	short    int // how many a page has at most; 0: its limit
	filter   Filter
	complete time.Time
}

func (d *fakeDesk) Find(_ context.Context, _ string, f Filter) (found []*Message, next event.ID, err error) {
	d.filter = f
	at := 0
	if !f.After.IsZero() {
		at = int(f.After[14])<<8 | int(f.After[15])
	}
	n := f.Limit
	if d.short > 0 {
		n = min(n, d.short)
	}
	for ; n > 0 && at < d.total; n-- {
		at++
		found = append(found, &Message{ID: event.ID{14: byte(at >> 8), 15: byte(at)}, Content: event.Sealed{Box: []byte("{}")}})
	}
	if at < d.total {
		next = event.ID{14: byte(at >> 8), 15: byte(at)}
	}
	return found, next, nil
}

func (d *fakeDesk) Complete(context.Context) (time.Time, error) { return d.complete, nil }

// What the officer's views are asked for, what a page says of itself, and up to where a count is exact.
func TestSearchNarrower(t *testing.T) {
	v, d := &fakeViews{}, &fakeDesk{total: 120}
	r, _ := newReader(v, fakeVault{})
	r.p.Desk = d
	ask := func(q Query) Page {
		t.Helper()
		p, err := r.Search(t.Context(), Look{Caller: ledger.Caller{Tenant: "acme"}}, q)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	q := Query{Narrower: Narrower{Country: "us", Rule: "limit", Outcome: event.Deny, SentSince: now}, Program: "otp", Count: true}
	p := ask(q)
	if want := (Filter{Program: "otp", Narrower: Narrower{Country: "US", Rule: "limit", Outcome: event.Deny, SentSince: now}, Limit: MaxPage}); d.filter != want {
		t.Errorf("the views were asked for %+v", d.filter)
	}
	if len(p.Messages) != 50 || p.Next == "" || p.Short || p.Count != 120 || p.AtLeast || !p.CompleteSince.IsZero() {
		t.Errorf("%d messages, %+v", len(p.Messages), p.Count)
	}
	q.Cursor, q.Limit, d.short, d.complete = p.Next, 60, 30, now
	if p = ask(q); len(p.Messages) != 30 || !p.Short || p.Next == "" || p.Count != 120 || !p.CompleteSince.Equal(now) {
		t.Errorf("%d messages, %+v", len(p.Messages), p)
	}
	q.Cursor, q.Since = "", now
	if p = ask(q); !p.CompleteSince.IsZero() {
		t.Error("nothing that was asked for can be missing")
	}
	d.short = 0
	for _, c := range []struct {
		total, count int
		atLeast      bool
	}{{10_000, 10_000, false}, {10_001, 10_000, true}, {30_000, 10_000, true}, {0, 0, false}} {
		if d.total = c.total; true {
			if p = ask(q); p.Count != c.count || p.AtLeast != c.atLeast {
				t.Errorf("of %d: %d, %t", c.total, p.Count, p.AtLeast)
			}
		}
	}
	d.total, d.short = 9_000, 5 // pages that are short: a count ends, and says so
	if p = ask(q); p.Count != 5*mostPagesCounted || !p.AtLeast {
		t.Errorf("%d, %t", p.Count, p.AtLeast)
	}
	// Of one recipient each message is looked at; only earlier decisions' rules can be missing.
	d.total = 0
	if p = ask(Query{To: "+14155550123", Narrower: Narrower{Rule: "limit"}}); d.filter.Subject.IsZero() || p.CompleteSince.IsZero() {
		t.Errorf("%+v, %+v", d.filter, p)
	}
	if p = ask(Query{To: "+14155550123", Narrower: Narrower{Country: "US"}}); !p.CompleteSince.IsZero() {
		t.Errorf("%+v", p)
	}
	d.filter = Filter{}
	if ask(Query{}); v.filter.Limit != 50 || d.filter != (Filter{}) {
		t.Error("a plain search asks the officer's views")
	}
}
