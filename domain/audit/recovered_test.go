package audit

import (
	"slices"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

// recovered is a ledger that was recovered; nothing is wrong with it.
func recoveredBook(t testing.TB) *book {
	b := newBook(t)
	b.control("created", "", &event.LedgerCreated{Ledger: "book", Partitions: partitions, NumberForms: 1})
	b.control("routes", "", &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "north"}}, By: "op"})
	b.control("raised2", "", &event.LevelRaised{Level: 2, By: "op"})
	b.control("raised3", "", &event.LevelRaised{Level: 3, By: "op"})
	b.control("account", "acme", &event.ProgramChanged{Name: "account", LegalEntity: "Acme plc", Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{"ACME"}, By: "op"})
	b.control("policy", "", &event.PolicyActivated{Revision: "r1", Digest: digest, By: "op"})
	b.apply(0, "applied0")
	b.apply(1, "applied1")
	a, c, d := b.line(0, 1), b.line(0, 2), b.line(1, 1)
	open := a.submit("a.submit", nil)
	sent := c.submit("c.submit", nil)
	c.decide("c.allow", sent, "allow")
	c.route("c.route", sent, 1)
	c.start("c.start", sent, 1, 1)

	b.control("epoch", "", &event.EpochBegan{Epoch: 2, Cause: event.EpochRecovered, Reason: "x", By: "op"})
	b.apply(0, "applied0.epoch")
	b.apply(1, "applied1.epoch")
	know := func(l line, name string, m event.ID, handoffs ...event.KnownHandoff) {
		e := l.fact(name, m, &event.MessageRecovered{Epoch: 2, Program: "account", Status: "sent", Parts: 1, Handoffs: handoffs, Source: event.RecoveredFromViews, By: "op"})
		b.last[l.s] = e.ID
	}
	know(c, "c.recovered", sent, event.KnownHandoff{Attempt: 1, Part: 1, Carrier: "north", CarrierID: "c.accept"})
	c.accept("c.accept", sent, 1, 1) // an answer that came late
	know(d, "d.recovered", b.id(1), event.KnownHandoff{Attempt: 1, Part: 1, Carrier: "north"})
	c.decide("c.hold", c.submit("c.submit2", nil), "hold")

	b.control("released", "acme", &event.EpochReleased{Epoch: 2, Program: "account", Reason: "x", By: "op"})
	b.apply(0, "applied0.released")
	a.send("a", open)
	edit(b, "a.start", func(_ *event.Event, d *event.HandoffStarted) { d.Epoch = 2 })
	return b
}

func TestRecovered(t *testing.T) {
	if r := recoveredBook(t).verify(); !r.OK() || r.Messages["in_doubt"] != 2 {
		t.Fatalf("found %+v in a ledger with nothing wrong, and %v", r.Findings, r.Messages)
	}
	for _, c := range []struct {
		name  string
		want  string
		let   []string
		wreck func(b *book)
	}{
		{"a start that was never released", "start_while_held@a.start", nil, func(b *book) {
			edit(b, "released", func(_ *event.Event, d *event.EpochReleased) { d.Program = "offers" })
		}},
		{"released in an earlier epoch", "epoch_unknown@released start_while_held@a.start", nil, func(b *book) {
			edit(b, "released", func(_ *event.Event, d *event.EpochReleased) { d.Epoch = 1 })
		}},
		{"released by another tenant", "start_while_held@a.start", nil, func(b *book) {
			edit(b, "released", func(e *event.Event, _ *event.EpochReleased) { e.Tenant = "bank" })
		}},
		{"all are released", "", nil, func(b *book) {
			edit(b, "released", func(e *event.Event, d *event.EpochReleased) { e.Tenant, d.Program = "", "" })
		}},
		{"a start that does not say that it may be a second one", "start_unmarked@a.start", nil, func(b *book) {
			edit(b, "a.start", func(_ *event.Event, d *event.HandoffStarted) { d.Epoch = 0 })
		}},
		{"a start from before the epoch that names one", "start_unmarked@c.start", nil, func(b *book) {
			edit(b, "c.start", func(_ *event.Event, d *event.HandoffStarted) { d.Epoch = 2 })
		}},
		{"what a level brings before it is raised", "level_too_low@epoch level_too_low@released level_too_low@c.recovered level_too_low@d.recovered level_too_low@a.start", nil, func(b *book) {
			b.parts[event.ControlPartition][3].Data = &event.Resumed{Reason: "x", By: "op"}
		}},
		{"an epoch that control does not have", "epoch_unknown@c.recovered", nil, func(b *book) {
			edit(b, "c.recovered", func(_ *event.Event, d *event.MessageRecovered) { d.Epoch = 3 })
		}},
		{"a message that is sent after it was recovered", "resent_accepted@x.start resent_recovered@x.start", []string{"x.allow", "x.route", "x.start"}, func(b *book) {
			l := b.line(0, 1)
			m := b.names["a.submit"].ID
			e := l.fact("x.recovered", m, &event.MessageRecovered{Epoch: 2, Status: "sent", Source: event.RecoveredFromViews, By: "op"})
			b.last[l.s] = e.ID
			l.decide("x.allow", m, "allow")
			l.route("x.route", m, 1)
			l.start("x.start", m, 2, 1).Data.(*event.HandoffStarted).Epoch = 2
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := recoveredBook(t)
			c.wreck(b)
			got, want := strings.Fields(b.list(b.verify(c.let...))), strings.Fields(c.want)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("found %v, want %v", got, want)
			}
		})
	}
}
