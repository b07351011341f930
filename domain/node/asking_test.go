package node_test

import (
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// asker is a carrier that can be asked.
type asker struct {
	*taker
	cancels, queries chan ledger.Asked
}

func (a *asker) Query(x ledger.Asked) bool  { a.queries <- x; return true }
func (a *asker) Cancel(x ledger.Asked) bool { a.cancels <- x; return true }

// A cancel that comes too late is in the ledger, is answered as such, and is passed on to the carrier, with the
// recipient's number.
func TestCancelReachesTheCarrier(t *testing.T) {
	for name, supported := range map[string]bool{"supported": true, "not supported": false} {
		t.Run(name, func(t *testing.T) {
			p := newLedger(t)
			a := &asker{taker: newTaker("n"), cancels: make(chan ledger.Asked, 9), queries: make(chan ledger.Asked, 9)}
			p.startWith(0, a, func(c *node.Config) {
				c.Accounts = map[string]ledger.Account{"c1": {Tells: ledger.Tells{Receipts: true}, Asks: ledger.Asks{Cancel: supported}}}
			})
			p.apply()
			p.places[0].give(all()...)
			to := numbers(0, 1)[0]
			m := p.submit(0, to, "").ID
			p.becomes(m, recipient.Sent)
			c, err := p.nodes[0].Intake().Cancel(t.Context(), sender, m)
			if err != nil || !c.Late || c.Status != recipient.Sent || c.Asked != supported {
				t.Fatalf("%+v, %v", c, err)
			}
			if n := count[*event.CancelRequested](p, 0); n != 1 {
				t.Errorf("%d requests are in the ledger", n)
			}
			if supported {
				if got, want := <-a.cancels, (ledger.Asked{CarrierID: "n-" + m.String(), From: "+15005550006", To: sms.Number(to)}); got != want {
					t.Errorf("the carrier is asked about %+v, want %+v", got, want)
				}
			}
			if n := len(a.cancels) + len(a.queries); n != 0 {
				t.Errorf("the carrier was asked %d times more", n)
			}
		})
	}
}
