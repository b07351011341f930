package clerk_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node/nodetest"
)

// open is a window with a slot for every message.
type open struct{ n uint64 }

func (o *open) Want(w dispatch.Want, now time.Time) (dispatch.Grant, bool) {
	o.n++
	return dispatch.Grant{ID: o.n, Account: "c1", Slots: w.Slots, Expires: now.Add(time.Minute)}, true
}
func (*open) Release(dispatch.Grant) {}
func (*open) Forget(event.ID)        {}

// BenchmarkLife is one message through a clerk, from its submit that was read back to its
// receipt, with 64 messages a batch: what the clerk costs without a log, views or sockets.
func BenchmarkLife(b *testing.B) {
	const batch = 64
	now := time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)
	ctl := control.NewControl(nil)
	var records []ledger.Record
	for i, d := range []event.Data{
		&event.ProgramChanged{Name: "codes", LegalEntity: "Acme", Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: []string{"+15005550006"}, Default: true},
		&event.RoutesChanged{Routes: []event.Route{{Rule: "default", Carrier: "c1"}}},
		&event.PolicyActivated{Revision: "r1", Digest: "digest-of-the-policies"},
	} {
		e := &event.Event{ID: event.ID{1, byte(i)}, Source: "/b", Time: now, Data: d}
		if i == 0 {
			e.Tenant = "acme"
		}
		records = append(records, ledger.Record{Index: int64(i), Event: e})
	}
	ctl.Take(records)
	window := &open{}
	var n uint64
	newID := func(t time.Time) event.ID { n++; id := event.ID{2}; binary.BigEndian.PutUint64(id[8:], n); return id }
	c := clerk.New(clerk.Config{Author: ledger.Author{Source: "/b", Node: "n"}, Vault: nodetest.Vault{}, Control: ctl, NewID: newID,
		Decider: &decision.Decider{Policy: nodetest.Policy{}, Zone: zone, ZoneData: "z"}, Slots: func(string) clerk.Slots { return window }})
	index := int64(0)
	apply := func(events []*event.Event) (calls []dispatch.Call) {
		rs := make([]ledger.Record, len(events))
		for i, e := range events {
			rs[i] = ledger.Record{Index: index, Event: e, Raw: []byte("raw")}
			index++
		}
		c.Load(c.Fold().Missing(rs), nil)
		calls, err := c.Apply(context.Background(), rs, now)
		if err != nil {
			b.Fatal(err)
		}
		return calls
	}
	reg, _ := ctl.Latest()
	apply([]*event.Event{reg.Applied(ledger.Author{Source: "/b", Node: "n"}, 0, now)})
	content, err := json.Marshal(event.Content{To: "+14155550123", Body: "Your code is 482913."})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; i < b.N; i += batch {
		var submits, answers []*event.Event
		for range batch {
			id := event.NewMessageID(now, 0)
			submits = append(submits, &event.Event{ID: id, Source: "/b", Subject: event.Pseudonym(id), Time: now, Tenant: "acme", Node: "n",
				Data: &event.MessageSubmitted{Program: "codes", Purpose: "otp", Priority: 9, From: "+15005550006", Country: "US", Places: []event.Place{"US Etc/UTC"},
					Encoding: "gsm7", Segments: 1, ValidUntil: now.Add(time.Hour), By: "k", Sealed: event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: content}}})
		}
		apply(submits)
		var calls []dispatch.Call
		for _, p := range c.Act(context.Background(), now, "", "").Proposals {
			calls = append(calls, c.Acked(p.ID, nil)...)
			calls = append(calls, apply(p.Events)...)
		}
		if len(calls) != batch {
			b.Fatalf("%d calls", len(calls))
		}
		for _, x := range calls {
			h := x.Handoffs[0]
			answers = append(answers,
				&event.Event{ID: newID(now), Source: "/b", Subject: x.Stream.Subject, Time: now, Tenant: "acme", Message: h.Message, Node: "n",
					Data: &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "c1", CarrierID: "x"}},
				&event.Event{ID: newID(now), Source: "/b", Subject: x.Stream.Subject, Time: now, Tenant: "acme", Message: h.Message, Node: "n",
					Data: &event.ReceiptReceived{Account: "c1", CarrierID: "x", Attempt: 1, Part: 1, State: "delivered", Final: true}})
		}
		apply(answers)
		c.Act(context.Background(), now, "", "")
		if _, err := c.Fold().Cut(); err != nil {
			b.Fatal(err)
		}
		c.Fold().Committed(c.Fold().Cuts())
	}
}
