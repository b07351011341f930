package recipient

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// recovered is a MessageRecovered of a message in two parts: part 1 was accepted, part 2 was not answered.
func recoveredOf(m event.ID, n int) *event.MessageRecovered {
	d := &event.MessageRecovered{Epoch: 2, Program: "news", Purpose: "account", From: "+1500", ValidUntil: t0.Add(time.Hour), Status: "sending", Source: event.RecoveredFromViews, By: "x"}
	for i := range n {
		h := event.KnownHandoff{Attempt: 1, Part: i + 1, Carrier: "c1", Reference: uint16(100 + i)}
		if i == 0 {
			h.CarrierID = "id-1"
		}
		d.Handoffs = append(d.Handoffs, h)
	}
	d.Parts = n
	return d
}

// A message that the stream does not have is made in doubt under its own id; a copy of its submit is void,
// nothing sends it, and its late receipts settle it.
func TestRecoveredUnknownMessage(t *testing.T) {
	x := newStream(t)
	m := x.id()
	x.must(m, recoveredOf(m, 2))
	got := x.s.Message(m)
	if got == nil || got.Status != InDoubt || got.Parts != 2 || !x.s.Texted || len(got.Attempts) != 1 || got.Attempts[0].Reference != 100 {
		t.Fatalf("recovered as %+v", got)
	}
	submit := x.make(event.ID{}, &event.MessageSubmitted{Program: "news", ValidUntil: x.now.Add(time.Hour)})
	submit.ID = m
	if why := x.put(submit); why != Repeat {
		t.Errorf("the lost submit that comes after all is %q", why)
	}
	if todo, look := x.s.Next(&x.p, got, x.now); todo != Nothing || !look.IsZero() {
		t.Errorf("there is %v to do at %s", todo, look)
	}
	if why := x.add(m, x.allow(m)); why != Settled {
		t.Errorf("an allow is %q", why)
	}
	x.must(m, &event.ReceiptReceived{Attempt: 1, Part: 1, State: event.StateDelivered, Final: true, CarrierID: "id-1"})
	if got.Status != InDoubt {
		t.Errorf("after the receipt of one part it is %s", got.Status)
	}
	x.must(m, &event.ReceiptReceived{Attempt: 1, Part: 2, State: event.StateDelivered, Final: true, CarrierID: "id-2"})
	if got.Status != Delivered {
		t.Errorf("after the receipts of both parts it is %s", got.Status)
	}
}

// A message that is open becomes in doubt, whatever the program prefers, and no later answer sends it again.
func TestRecoveredOpenMessage(t *testing.T) {
	for name, before := range map[string]func(*stream, event.ID){
		"accepted": func(*stream, event.ID) {},
		"allowed":  func(x *stream, m event.ID) { x.must(m, x.allow(m)) },
		"sending": func(x *stream, m event.ID) {
			x.must(m, x.allow(m))
			x.must(m, route(2))
			x.must(m, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: "d"}, {Part: 2, Digest: "d"}},
				CallBy: x.now.Add(time.Second), AnswerBy: x.now.Add(10 * time.Second)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream(t)
			m := x.submit(func(d *event.MessageSubmitted) { d.PrefersDuplicate = true })
			before(x, m)
			facts := x.s.Facts
			x.must(m, recoveredOf(m, 2))
			got := x.s.Message(m)
			if got.Status != InDoubt || x.s.Facts != facts+1 {
				t.Fatalf("it is %s, and %d facts", got.Status, x.s.Facts-facts)
			}
			x.must(m, &event.HandoffRefused{Attempt: 1, Part: 2, Carrier: "c1", Retry: true})
			if got.Status != InDoubt {
				t.Errorf("after a late refusal it is %s", got.Status)
			}
			if why := x.add(m, x.allow(m)); why != Settled {
				t.Errorf("an allow is %q", why)
			}
			// Once more, after the fold has forgotten the first: the same.
			was, _ := json.Marshal(got)
			x.pass(RepeatWindow + time.Hour)
			x.must(m, recoveredOf(m, 1))
			got.Changed = t0
			if is, _ := json.Marshal(got); string(is) != string(was) {
				t.Errorf("recovered twice it is\n%s\nand once\n%s", is, was)
			}
		})
	}
}

// A message that has reached its end, or that a carrier has in full, stays as it is.
func TestRecoveredSettledMessage(t *testing.T) {
	x := newStream(t)
	m := x.submit(nil)
	x.must(m, x.allow(m))
	x.must(m, route(1))
	x.must(m, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: "d"}}, CallBy: x.now.Add(time.Second), AnswerBy: x.now.Add(10 * time.Second)})
	x.must(m, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "c1", CarrierID: "own"})
	x.must(m, recoveredOf(m, 1))
	if got := x.s.Message(m); got.Status != Sent || got.Recovered || got.Attempts[0].Parts[0].CarrierID != "own" {
		t.Errorf("a message that was sent is %+v", got)
	}
	x.must(m, &event.ReceiptReceived{Attempt: 1, Part: 1, State: event.StateDelivered, Final: true, CarrierID: "own"})
	x.pass(RepeatWindow + time.Hour)
	x.must(m, recoveredOf(m, 1))
	if got := x.s.Message(m); got.Status != Delivered {
		t.Errorf("a message that was delivered is %s", got.Status)
	}
}

// A recovered answer to an inbound message answers it: no second one is asked for.
func TestRecoveredAnswer(t *testing.T) {
	x := newStream(t)
	x.s.Texted = true
	x.p.Level = 2
	inbound := x.must(event.ID{}, &event.InboundReceivedV2{To: "+1500", Ask: event.InboundHelp, Programs: []string{"news"}, Read: 1})
	if len(x.s.Asks) != 1 {
		t.Fatalf("asks %+v", x.s.Asks)
	}
	m := x.id()
	d := recoveredOf(m, 0)
	d.Answers = inbound
	x.must(m, d)
	if len(x.s.Asks) != 0 {
		t.Errorf("the answer was recovered, and %+v is asked for", x.s.Asks)
	}
}
