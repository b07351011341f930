package node_test

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// An answer that comes after the carrier's client has given up is recorded, also behind "in doubt"; it counts once more;
// and a receipt finds the part by the id in it.
func TestLateAnswer(t *testing.T) {
	p := newLedger(t)
	p.start(0, nil)
	p.apply()
	late := make(chan func(ledger.HandoffResult), 1)
	p.carriers[0].answer = func(_ ledger.Handoff, done func(ledger.HandoffResult)) {
		done(ledger.HandoffResult{Status: ledger.HandoffUnknown})
		late <- done
	}
	p.places[0].give(all()...)
	for _, c := range []struct {
		answer ledger.HandoffResult
		status recipient.Status
	}{
		{ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: "late"}, recipient.Sent},
		{ledger.HandoffResult{Status: ledger.HandoffFinal, Code: "0x0000000b"}, recipient.Failed},
	} {
		to := numbers(0, 1)[0]
		m := p.submit(0, to, "").ID
		answer := <-late
		p.becomes(m, recipient.InDoubt)
		before := p.nodes[0].Stats().Handoffs
		answer(c.answer)
		p.becomes(m, c.status)
		after := p.nodes[0].Stats().Handoffs
		if after[ledger.HandoffUnknown] != before[ledger.HandoffUnknown] || after[c.answer.Status] != before[c.answer.Status]+1 {
			t.Errorf("the late answer %+v was counted so: before %v, after %v", c.answer, before, after)
		}
		if c.status != recipient.Sent {
			continue
		}
		d := receiptOf("late")
		d.From = to
		if err := p.deliver(d); err != nil {
			t.Fatal(err)
		}
		p.becomes(m, recipient.Delivered)
	}
}

// A carrier takes a part and gives it no id: it is sent, and its receipt is found by its reference and its recipient.
func TestTakenWithoutID(t *testing.T) {
	p := newLedger(t)
	p.start(0, nil)
	p.apply()
	taken := make(chan ledger.Handoff, 1)
	p.carriers[0].answer = func(h ledger.Handoff, done func(ledger.HandoffResult)) {
		done(ledger.HandoffResult{Status: ledger.HandoffTaken})
		taken <- h
	}
	p.places[0].give(all()...)
	m := p.submit(0, numbers(0, 1)[0], "").ID
	h := <-taken
	p.becomes(m, recipient.Sent)
	d := ledger.Delivery{Account: "c1", Raw: []byte("dlr"), From: string(h.To), To: string(h.From), Received: time.Now(), Reference: h.Reference,
		Receipt: &sms.Receipt{ID: "unheard-of", State: sms.StateDelivered, Final: true}}
	if err := p.deliver(d); err != nil {
		t.Fatal(err)
	}
	p.becomes(m, recipient.Delivered)
	if n := count[*event.HandoffAccepted](p, 0); n != 1 {
		t.Errorf("%d acceptances are in the ledger", n)
	}
}

// deliver delivers to the first node, and waits for the acknowledgement.
func (p *pair) deliver(d ledger.Delivery) error {
	acked := make(chan error, 1)
	p.nodes[0].Deliver(d, func(err error) { acked <- err })
	return <-acked
}
