package clerk_test

import (
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

// silent is a window in which no slot is ever free.
type silent struct{}

func (silent) Want(dispatch.Want, time.Time) (dispatch.Grant, bool) { return dispatch.Grant{}, false }
func (silent) Release(dispatch.Grant)                               {}
func (silent) Forget(event.ID)                                      {}

// TestSilentCarrierHoldsUpNoOther: many more messages than may wait go to a carrier that takes nothing. Messages of the same
// priority to another carrier are handed off all the same.
func TestSilentCarrierHoldsUpNoOther(t *testing.T) {
	now := time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)
	ctl := control.NewControl(nil)
	var records []ledger.Record
	for i, d := range []event.Data{
		&event.ProgramChanged{Name: "codes", LegalEntity: "Acme", Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: []string{"+15005550006"}, Default: true},
		&event.ProgramChanged{Name: "stuck", LegalEntity: "Acme", Purposes: []string{"otp"}, Countries: []string{"US"}, Senders: []string{"+15005550007"}},
		&event.RoutesChanged{Routes: []event.Route{{Rule: "stuck", Programs: []string{"stuck"}, Carrier: "silent"}, {Rule: "default", Carrier: "c1"}}},
		&event.PolicyActivated{Revision: "r1", Digest: "digest-of-the-policies"},
	} {
		e := &event.Event{ID: event.ID{1, byte(i)}, Source: "/b", Time: now, Data: d}
		if i < 2 {
			e.Tenant = "acme"
		}
		records = append(records, ledger.Record{Index: int64(i), Event: e})
	}
	ctl.Take(records)
	window := &open{}
	var n uint64
	newID := func(time.Time) event.ID { n++; id := event.ID{2}; binary.BigEndian.PutUint64(id[8:], n); return id }
	c := clerk.New(clerk.Config{Author: ledger.Author{Source: "/b", Node: "n"}, Vault: nodetest.Vault{}, Control: ctl, NewID: newID, MaxWaiting: 30,
		Decider: &decision.Decider{Policy: nodetest.Policy{}, Zone: zone, ZoneData: "z"}, Slots: func(account string) clerk.Slots {
			if account == "silent" {
				return silent{}
			}
			return window
		}})
	index := int64(0)
	apply := func(events ...*event.Event) (calls []dispatch.Call) {
		rs := make([]ledger.Record, len(events))
		for i, e := range events {
			rs[i] = ledger.Record{Index: index, Event: e, Raw: []byte("raw")}
			index++
		}
		c.Load(c.Fold().Missing(rs), nil)
		calls, err := c.Apply(t.Context(), rs, now)
		if err != nil {
			t.Fatal(err)
		}
		return calls
	}
	reg, _ := ctl.Latest()
	apply(reg.Applied(ledger.Author{Source: "/b", Node: "n"}, 0, now))
	content, err := json.Marshal(event.Content{To: "+14155550123", Body: "Your code is 482913."})
	if err != nil {
		t.Fatal(err)
	}
	submit := func(program, from string) *event.Event {
		id := event.NewMessageID(now, 0)
		return &event.Event{ID: id, Source: "/b", Subject: event.Pseudonym(id), Time: now, Tenant: "acme", Node: "n",
			Data: &event.MessageSubmitted{Program: program, Purpose: "otp", Priority: 9, From: from, Country: "US", Places: []event.Place{"US Etc/UTC"},
				Encoding: "gsm7", Segments: 1, ValidUntil: now.Add(time.Hour), By: "k", Sealed: event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: content}}}
	}
	act := func() (calls int) {
		for {
			out := c.Act(t.Context(), now, "", "")
			if len(out.Proposals) == 0 {
				return calls
			}
			for _, p := range out.Proposals {
				calls += len(c.Acked(p.ID, nil))
				calls += len(apply(p.Events...))
			}
		}
	}
	for range 100 {
		apply(submit("stuck", "+15005550007"))
	}
	if n := act(); n != 0 {
		t.Fatalf("%d calls to a carrier without a free slot", n)
	}
	if _, parked := c.Backlog(); parked != 70 {
		t.Fatalf("%d of 100 stay undecided where 30 may wait", parked)
	}
	for range 20 {
		apply(submit("codes", "+15005550006"))
	}
	if n := act(); n != 20 {
		t.Errorf("%d of 20 messages went to the other carrier", n)
	}
}
