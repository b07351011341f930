package clerk_test

import (
	"slices"
	"testing"
	"time"

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

// A carrier delivers a STOP twice before its confirmation has left: the person gets the one confirmation.
func TestRepeatedStopIsConfirmed(t *testing.T) {
	w := newWorld(3, rules{}) // of level 2
	w.faults = 0
	s := w.subjects[0]
	land := func(d event.Data) event.ID {
		e := w.event(s, d)
		w.put(e)
		for _, a := range w.log.Pending() {
			a.Land()
		}
		return e.ID
	}
	w.apply(0)
	for n := 0; n < 50 && (w.nodes[0].views.Streams(w.subjects)[s] == nil || !w.nodes[0].views.Streams(w.subjects)[s].Texted); n++ {
		land(&event.MessageSubmitted{Program: "codes", Purpose: "otp", Priority: 9, From: number, Country: "US", Places: []event.Place{"US-FL Etc/UTC"},
			Encoding: "gsm7", Segments: 1, ValidUntil: event.Millis(w.now.Add(time.Hour)), By: "x", Sealed: box(event.Content{To: w.numbers[0], Body: "hello"})})
		w.settle()
	}
	stop := func() event.ID {
		return land(&event.InboundReceivedV2{Account: "c1", To: number, Ask: event.InboundStop, Programs: []string{"codes"},
			Reaches: []event.Reach{{Scope: event.ScopeLegalEntity, Name: entity}, {Scope: event.ScopeLegalEntity, Name: entity2}}, Read: 100,
			Sealed: box(event.Inbound{From: w.numbers[0], Text: "STOP"})})
	}
	first := stop()
	stop()
	w.settle()
	if w.err != nil {
		t.Fatal(w.err)
	}
	var got []string
	for _, r := range w.read(0, 0) {
		if d, ok := r.Event.Data.(*event.MessageDecided); ok {
			for _, x := range w.read(0, 0) {
				if m, ok := x.Event.Data.(*event.MessageSubmitted); ok && x.Event.ID == r.Event.Message && m.Answers == first {
					got = append(got, string(d.Outcome))
				}
			}
		}
	}
	if len(got) == 0 || slices.Contains(got, "deny") {
		t.Errorf("the confirmation is decided as %v", got)
	}
}
