package projections_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// judgedLife is an ordinary message of one part, from its submit to its receipt.
func judgedLife() (out []ledger.Judged) {
	check := func(name string) event.Check {
		return event.Check{Check: name, Outcome: event.Allow, Rules: []string{name + ".some_rule"}}
	}
	digest := strings.Repeat("5f1d0a9b", 4)
	for i, x := range []struct {
		status recipient.Status
		data   event.Data
	}{
		{recipient.Accepted, &event.MessageSubmitted{Program: "account", Purpose: "account", Priority: 6, From: "+15005550006", Country: "US",
			Places: []event.Place{"US-FL America/New_York"}, Encoding: "gsm7", Segments: 1, ValidUntil: viewtest.Epoch.Add(24 * time.Hour), Key: digest, By: "key-1",
			Sealed: event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: make([]byte, 200)}}},
		{recipient.Allowed, &event.MessageDecided{Outcome: event.Allow, Until: viewtest.Epoch.Add(time.Hour), Senders: []string{"+15005550006"},
			Checks: []event.Check{check("countries"), check("opt_out"), check("quiet_hours"), check("senders")}, Clocks: []event.Clock{"America/New_York 2026-11-24T08:40"},
			ZoneData: "2026b", Revision: "2026-11-24", Digest: digest}},
		{recipient.Allowed, &event.MessageRouted{Rule: "default", Table: 3, Carrier: "smsc", From: "+15005550006", Encoding: "gsm7", Parts: 1}},
		{recipient.Sending, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: digest}}, Reference: 4097}},
		{recipient.Sent, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "smsc", CarrierID: "0123456789"}},
		{recipient.Delivered, &event.ReceiptReceived{Account: "smsc", CarrierID: "0123456789", Reference: 4097, Attempt: 1, Part: 1, State: "delivered", Final: true}},
	} {
		e := &event.Event{ID: event.ID{8, byte(i)}, Tenant: "bank", Subject: subject, Message: message, Time: viewtest.Epoch.Add(time.Duration(i) * time.Second), Data: x.data}
		if i == 0 {
			e.ID, e.Message = message, event.ID{}
		}
		out = append(out, ledger.Judged{Record: ledger.Record{Index: int64(i), Event: e}, Status: x.status})
	}
	return out
}

// BenchmarkApply folds the six events of an ordinary message into its row.
func BenchmarkApply(b *testing.B) {
	judged := judgedLife()
	b.ReportAllocs()
	for b.Loop() {
		var m *reading.Message
		for i := range judged {
			m = projections.Apply(m, 3, &judged[i])
		}
		if m.Status != recipient.Delivered {
			b.Fatal(m.Status)
		}
	}
}

// BenchmarkRow writes that row as it is stored, and reads it.
func BenchmarkRow(b *testing.B) {
	var m *reading.Message
	judged := judgedLife()
	for i := range judged {
		m = projections.Apply(m, 3, &judged[i])
	}
	doc := projections.AppendMessage(nil, m)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			doc = projections.AppendMessage(doc[:0], m)
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := projections.ReadMessage(doc); err != nil {
				b.Fatal(err)
			}
		}
	})
}
