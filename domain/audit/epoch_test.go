package audit

import (
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

// recovered is a ledger that was recovered once. In it the program "account" is released, "offers" is not; one message of
// "account" is sent before the epoch and one after its release.
func recovered(t *testing.T) *book {
	b := newBook(t)
	b.control("created", "", &event.LedgerCreated{Ledger: "book", Partitions: partitions, NumberForms: 1})
	b.control("level2", "", &event.LevelRaised{Level: 2, By: "op"})
	b.control("level3", "", &event.LevelRaised{Level: 3, By: "op"})
	b.control("bound", "", &event.VaultBound{Vault: digest[:32], By: "serve"})
	b.control("", "", &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "north"}}, By: "op"})
	for _, program := range []string{"account", "offers"} {
		b.control(program, "acme", &event.ProgramChanged{Name: program, LegalEntity: "Acme plc", Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{"ACME"}, By: "op"})
	}
	b.control("", "", &event.PolicyActivated{Revision: "r1", Digest: digest, By: "op"})
	b.apply(0, "")
	b.send("before", 1, "offers", 0)
	b.control("began", "", &event.EpochBegan{Epoch: 2, Cause: event.EpochRecovered, Reason: "the disk failed", By: "op"})
	b.control("released", "acme", &event.EpochReleased{Epoch: 2, Program: "account", Reason: "checked with the carrier", By: "op"})
	b.apply(0, "applied")
	b.send("after", 2, "account", 2)
	return b
}

// send adds a message of a program that is decided, routed, started and accepted. It was submitted before every epoch,
// and its start says in which it goes.
func (b *book) send(name string, n uint64, program string, epoch int) {
	l := b.line(0, n)
	m := l.submit(name, func(d *event.MessageSubmitted) { d.Program = program })
	l.decide(name+".allow", m, "allow")
	l.outcome(name+".route", m, &event.MessageRouted{Table: 5, Rule: "all", Carrier: "north", From: "ACME", Parts: 1})
	l.start(name+".start", m, 1, 1)
	edit(b, name+".start", func(_ *event.Event, d *event.HandoffStarted) { d.Epoch = epoch })
	l.accept(name+".accept", m, 1, 1)
}

func TestEpochs(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(b *book)
	}{
		{"as it is", "", func(*book) {}},
		{"a program that is not released", "start_while_held@after.start", func(b *book) {
			edit(b, "after", func(_ *event.Event, d *event.MessageSubmitted) { d.Program = "offers" })
		}},
		{"released for another tenant", "start_while_held@after.start", func(b *book) { b.names["released"].Tenant = "bank" }},
		{"a release that is gone", "start_while_held@after.start", func(b *book) {
			edit(b, "released", func(_ *event.Event, d *event.EpochReleased) { d.Program = "offers" })
		}},
		{"all programs of the tenant", "", func(b *book) {
			edit(b, "after", func(_ *event.Event, d *event.MessageSubmitted) { d.Program = "offers" })
			edit(b, "released", func(_ *event.Event, d *event.EpochReleased) { d.Program = "" })
		}},
		{"all programs of all tenants", "", func(b *book) {
			edit(b, "after", func(_ *event.Event, d *event.MessageSubmitted) { d.Program = "offers" })
			edit(b, "released", func(e *event.Event, d *event.EpochReleased) { e.Tenant, d.Program = "", "" })
		}},
		{"released in an epoch that comes later", "epoch_unknown@released start_while_held@after.start", func(b *book) {
			edit(b, "released", func(_ *event.Event, d *event.EpochReleased) { d.Epoch = 3 })
		}},
		{"released in no epoch", "epoch_unknown@released start_while_held@after.start", func(b *book) {
			edit(b, "released", func(_ *event.Event, d *event.EpochReleased) { d.Epoch = 1 })
		}},
		{"an epoch is skipped", "epoch_unknown@began epoch_unknown@released start_unmarked@after.start", func(b *book) {
			edit(b, "began", func(_ *event.Event, d *event.EpochBegan) { d.Epoch = 3 })
		}},
		{"an epoch that is none", "epoch_unknown@began epoch_unknown@released start_unmarked@after.start", func(b *book) {
			edit(b, "began", func(_ *event.Event, d *event.EpochBegan) { d.Epoch = 1 })
		}},
		{"another epoch holds again", "start_while_held@again.start", func(b *book) {
			b.control("", "", &event.EpochBegan{Epoch: 3, Cause: event.EpochRestored, Reason: "restored", By: "op"})
			b.apply(0, "")
			b.send("again", 3, "account", 3)
		}},
		{"a release of the epoch before comes late", "", func(b *book) {
			b.control("", "", &event.EpochBegan{Epoch: 3, Cause: event.EpochRestored, Reason: "restored", By: "op"})
			b.control("", "acme", &event.EpochReleased{Epoch: 2, Program: "offers", Reason: "late", By: "op"})
		}},
		{"two operators begin the same epoch", "", func(b *book) {
			b.control("", "", &event.EpochBegan{Epoch: 2, Cause: event.EpochRecovered, Reason: "the disk failed", By: "other"})
			b.apply(0, "")
			b.send("again", 3, "account", 2) // it stays released
		}},
		{"bound twice to the same vault", "", func(b *book) {
			b.control("", "", &event.VaultBound{Vault: digest[:32], By: "serve"})
		}},
		{"bound to another vault", "vault_other@second", func(b *book) {
			b.control("second", "", &event.VaultBound{Vault: digest[32:64], By: "serve"})
		}},
		{"bound before the level", "level_too_low@bound level_too_low@began level_too_low@released level_too_low@after.start", func(b *book) {
			edit(b, "level3", func(_ *event.Event, d *event.LevelRaised) { d.Level = 2 })
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := recovered(t)
			c.change(b)
			r := b.verify()
			if got := b.list(r); got != c.want {
				t.Errorf("found %q, want %q\n%v", got, c.want, r.Findings)
			}
			for _, f := range r.Findings {
				if want := map[Code]int{StartHeld: 4, StartUnmarked: 3}[f.Code]; f.Promise != want {
					t.Errorf("%s is a finding of promise %d, want %d", f.Code, f.Promise, want)
				}
			}
		})
	}
}
