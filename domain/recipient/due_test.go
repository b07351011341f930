package recipient

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

func TestNext(t *testing.T) {
	x := newStream(t)
	is := func(m event.ID, want Todo, again time.Time) {
		t.Helper()
		todo, at := x.s.Next(&x.p, x.s.Message(m), x.now)
		if todo != want || !at.Equal(again) {
			t.Fatalf("to do: %d, again at %s; want %d, %s (%s)", todo, at, want, again, x.s.Message(m).Status)
		}
		if due := x.s.Due(); (want == Decide || want == Expire || want == Doubt || want == Overdue) && (due.IsZero() || due.After(x.now)) {
			t.Fatalf("there is something to do, and Due says %s", due)
		} else if want == Nothing && !again.IsZero() && (due.IsZero() || due.After(again)) {
			t.Fatalf("it is to be looked at at %s, and Due says %s", again, due)
		}
	}
	at := x.now.Add(time.Hour)
	m := x.submit(func(d *event.MessageSubmitted) { d.SendAt = at })
	is(m, Nothing, at)
	x.now = at
	is(m, Decide, time.Time{})
	x.must(m, &event.MessageDecided{Outcome: "defer", Until: at.Add(time.Hour)})
	is(m, Nothing, at.Add(time.Hour))
	x.pass(time.Hour)
	x.must(m, &event.MessageDecided{Outcome: "hold", Fault: "pause", Until: x.now.Add(time.Minute)})
	is(m, Nothing, x.now.Add(time.Minute))
	x.must(event.ID{}, &event.ControlApplied{Position: 3})
	if todo, _ := x.s.Next(&x.p, x.s.Message(m), x.now); todo != Decide { // Due does not know: clerks wake who rests
		t.Fatalf("held, and control changed: to do %d", todo)
	}
	x.must(m, x.allow(m))
	is(m, Handoff, x.now.Add(time.Hour))
	x.must(event.ID{}, &event.OptedOut{})
	is(m, Decide, time.Time{})
	x.must(m, x.allow(m))
	x.pass(time.Hour)
	is(m, Decide, time.Time{})
	x.must(m, x.allow(m))
	x.must(m, route(1))
	x.must(m, x.start(1, 1))
	answer := x.now.Add(15*time.Second + ClockBound)
	is(m, Nothing, answer)
	x.now = answer
	is(m, Doubt, time.Time{})
	x.must(m, refused(1, 1, true))
	is(m, Nothing, x.now.Add(time.Second))
	x.pass(time.Second)
	if why := x.again(m, 2, 1, false, 1); why != "" {
		t.Fatal(why)
	}
	x.must(m, accepted(2, 1))
	is(m, Nothing, x.now.Add(receiptWait))
	x.pass(receiptWait)
	is(m, Overdue, time.Time{})
	x.must(m, &event.ReceiptOverdue{})
	is(m, Nothing, time.Time{})
	if !x.s.Due().IsZero() {
		t.Errorf("nothing is to be done, and Due says %s", x.s.Due())
	}
	m = x.submit(nil)
	end := x.now.Add(24 * time.Hour)
	x.must(m, &event.MessageDecided{Outcome: "defer", Until: end.Add(time.Hour)})
	is(m, Nothing, end)
	x.now = end
	is(m, Expire, time.Time{})
}
