package clerk_test

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// asking is an account that can be asked.
func asking(query, cancel bool) ledger.Account {
	return ledger.Account{Asks: ledger.Asks{Query: query, Cancel: cancel}}
}

// taken is a message of as many parts as there are ids, which the carrier accepted.
func (x *one) taken(ids ...string) event.ID {
	m := x.submit(len(ids))
	for i, id := range ids {
		x.fact(m, &event.HandoffAccepted{Attempt: 1, Part: i + 1, Carrier: "c1", CarrierID: id})
	}
	return m
}

// fallDue lets the stream be looked at, as the views make a clerk do.
func (x *one) fallDue() {
	x.c.Look([]ledger.Due{{Subject: event.Pseudonym{1}, At: x.now}}, x.now.Add(time.Minute))
	x.wait(0)
}

// Of a message whose receipts are overdue the carrier is asked, once for each part without a final receipt. Only a minute
// later the message becomes unconfirmed, unless a receipt has come.
func TestAskedBeforeOverdue(t *testing.T) {
	for name, answered := range map[string]bool{"answered": true, "not answered": false} {
		t.Run(name, func(t *testing.T) {
			x := newOne(t, &at{}, asking(true, false))
			m := x.taken("a1", "a2", `a\\x00`, "sha256:00", "")
			x.fact(m, &event.ReceiptReceived{Account: "c1", CarrierID: "a1", Attempt: 1, Part: 1, State: "delivered", Final: true})
			x.now = x.now.Add(73 * time.Hour)
			x.fallDue()
			want := clerk.Ask{Account: "c1", CarrierID: "a2", From: "+15005550006", Submit: event.Position{Index: 1}}
			if len(x.asks) != 1 || x.asks[0] != want || last[*event.ReceiptOverdue](x) != nil {
				t.Fatalf("asked %+v, overdue %+v", x.asks, last[*event.ReceiptOverdue](x))
			}
			x.wait(59 * time.Second)
			x.fact(m, &event.ReceiptReceived{Account: "c1", CarrierID: "a1", Attempt: 1, Part: 1, State: "delivered", Final: true}) // looked at for another reason
			if len(x.asks) != 1 || last[*event.ReceiptOverdue](x) != nil {
				t.Fatalf("asked %+v, overdue %+v before a minute has passed", x.asks, last[*event.ReceiptOverdue](x))
			}
			if answered {
				for part := 2; part <= 5; part++ {
					x.fact(m, &event.ReceiptReceived{Account: "c1", Attempt: 1, Part: part, State: "delivered", Final: true})
				}
			}
			x.wait(time.Second)
			if overdue := last[*event.ReceiptOverdue](x) != nil; overdue == answered {
				t.Errorf("unconfirmed: %t", overdue)
			}
			if len(x.asks) != 1 {
				t.Errorf("asked %+v", x.asks)
			}
		})
	}
	x := newOne(t, &at{}, asking(false, true))
	x.taken("a1")
	x.now = x.now.Add(73 * time.Hour)
	x.fallDue()
	if len(x.asks) != 0 || last[*event.ReceiptOverdue](x) == nil {
		t.Errorf("an account that cannot be asked was asked %+v; overdue: %+v", x.asks, last[*event.ReceiptOverdue](x))
	}
}

// A cancel that comes too late is passed on for each part that a carrier has, once, and only if it was read live.
func TestCancelIsPassedOn(t *testing.T) {
	cancel := func(x *one, m event.ID) { x.fact(m, &event.CancelRequested{By: "k"}) }
	x := newOne(t, &at{}, asking(true, true))
	m := x.submit(3)
	x.fact(m, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "c1", CarrierID: "a1"})
	cancel(x, m) // two parts have no answer yet
	if len(x.asks) != 1 || !x.asks[0].Cancel || x.asks[0].CarrierID != "a1" || x.asks[0].Submit.Index != 1 {
		t.Fatalf("asked %+v", x.asks)
	}
	x.fact(m, &event.HandoffAccepted{Attempt: 1, Part: 2, Carrier: "c1", CarrierID: "a2"})
	x.fact(m, &event.HandoffAccepted{Attempt: 1, Part: 3, Carrier: "c1", CarrierID: "a3"})
	x.fact(m, &event.ReceiptReceived{Account: "c1", CarrierID: "a3", Attempt: 1, Part: 3, State: "delivered", Final: true})
	cancel(x, m)
	if len(x.asks) != 2 || x.asks[1].CarrierID != "a2" {
		t.Fatalf("asked %+v", x.asks)
	}
	cancel(x, m)
	if len(x.asks) != 2 {
		t.Fatalf("asked twice: %+v", x.asks)
	}

	x = newOne(t, &at{}, asking(true, true))
	m = x.taken("a1")
	clerk.LiveFrom(x.c, 100)
	cancel(x, m)
	if len(x.asks) != 0 {
		t.Errorf("a cancel from before the clerk began is passed on: %+v", x.asks)
	}
	x = newOne(t, &at{}, asking(true, false))
	cancel(x, x.taken("a1"))
	if len(x.asks) != 0 {
		t.Errorf("an account that takes no cancels is asked: %+v", x.asks)
	}
}
