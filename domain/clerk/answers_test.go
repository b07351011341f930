package clerk_test

import (
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

// After the raise a START lifts what was stopped before it through its own number, and nothing that was
// stopped through another: only the events themselves say which it was, and the clerk reads them.
func TestStartAfterTheRaise(t *testing.T) {
	w := newWorld(1, rules{})
	w.faults = 0
	s := w.subjects[0]
	put := func(d event.Data) *event.Event {
		e := w.event(s, d)
		w.put(e)
		for _, a := range w.log.Pending() {
			a.Land()
		}
		return e
	}
	loans := event.Reach{Scope: event.ScopeLegalEntity, Name: entity2}
	sealed := box(event.Inbound{From: w.numbers[0], Text: "STOP"})
	other := put(&event.InboundReceived{Account: "c1", To: number2, Ask: event.InboundStop, Program: "loans", Revokes: &loans, Sealed: sealed})
	put(&event.InboundReceived{Account: "c1", To: number, Ask: event.InboundStop, Program: "codes", Revokes: &loans, Sealed: sealed})
	w.raise = false
	w.controlled("", &event.LevelRaised{Level: 2, By: "x"})
	w.apply(0)
	start := put(&event.InboundReceivedV2{Account: "c1", To: number, Ask: event.InboundStart, Programs: []string{"codes"},
		Reaches: []event.Reach{{Scope: event.ScopeLegalEntity, Name: entity}, loans}, Read: 100, Sealed: sealed})
	w.settle()
	if w.err != nil {
		t.Fatal(w.err)
	}
	st := w.nodes[0].views.Streams(w.subjects)[s]
	if len(st.OptOuts) != 1 || st.OptOuts[0].Event != other.ID {
		t.Errorf("after the START %s there stand %+v", start.ID, st.OptOuts)
	}
}
