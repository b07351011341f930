package recipient

import (
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

func TestStart(t *testing.T) {
	for name, f := range map[string]struct {
		lifts int
		run   func(x *stream)
	}{
		"after a STOP": {1, func(x *stream) {
			x.must(event.ID{}, inbound("stop", 0))
			x.must(event.ID{}, inbound("start", x.index))
		}},
		"its bytes came before a STOP": {0, func(x *stream) {
			x.must(event.ID{}, inbound("stop", 0))
			read := x.index
			x.must(event.ID{}, inbound("stop", 0))
			x.must(event.ID{}, inbound("start", read))
		}},
		"before any": {0, func(x *stream) { x.must(event.ID{}, inbound("start", 0)) }},
		"an officer's, for the whole tenant": {0, func(x *stream) {
			x.must(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}})
			x.must(event.ID{}, inbound("start", x.index))
		}},
		"another legal entity's, another sender's, another program's": {0, func(x *stream) {
			for _, r := range []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Collections"}, {Scope: event.ScopeSender, Name: "+1600"}, {Scope: event.ScopeProgram, Name: "loans"}} {
				x.must(event.ID{}, &event.OptedOut{Reach: r})
			}
			x.must(event.ID{}, inbound("start", x.index))
		}},
		"to a number that nobody is known to own": {0, func(x *stream) {
			x.must(event.ID{}, inbound("stop", 0))
			d := inbound("start", x.index)
			d.MayLift = nil
			x.must(event.ID{}, d)
		}},
		"its sender's and its program's": {2, func(x *stream) {
			x.must(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeSender, Name: "+1500"}})
			x.must(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeProgram, Name: "news"}})
			x.must(event.ID{}, inbound("start", x.index))
		}},
		"one of two": {1, func(x *stream) {
			x.must(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}})
			x.must(event.ID{}, inbound("stop", 0))
			x.must(event.ID{}, inbound("start", x.index))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream(t)
			f.run(x)
			stood := len(x.s.OptOuts)
			var lift *Ask
			for i := range x.s.Asks {
				if x.s.Asks[i].Kind == AskLift {
					lift = &x.s.Asks[i]
				}
			}
			if (lift != nil) != (f.lifts > 0) || lift != nil && len(lift.Lifts) != f.lifts {
				t.Fatalf("it asks for %+v", lift)
			}
			if lift == nil {
				return
			}
			late := x.must(event.ID{}, inbound("stop", 0)) // after the START: it is not named
			x.must(event.ID{}, &event.SuppressionLifted{Lifts: lift.Lifts, Answers: lift.Inbound})
			if len(x.s.OptOuts) != stood-f.lifts+1 || !slices.ContainsFunc(x.s.OptOuts, func(o OptOut) bool { return o.Event == late }) {
				t.Errorf("after the lift there stand %+v", x.s.OptOuts)
			}
			if slices.ContainsFunc(x.s.Asks, func(a Ask) bool { return a.Kind == AskLift }) {
				t.Error("an ask that was answered is kept")
			}
		})
	}
}

func TestConfirmation(t *testing.T) {
	x := newStream(t)
	x.must(event.ID{}, inbound("stop", 0))
	if len(x.s.Asks) != 0 {
		t.Error("somebody who was never texted is texted")
	}
	x.must(event.ID{}, &event.SuppressionLifted{Lifts: []event.ID{x.log[0].ID}})
	m := x.submit(nil)
	x.send(m, 1)
	stop := x.must(event.ID{}, inbound("stop", 0))
	x.must(event.ID{}, inbound("stop", 0)) // repeated: no second confirmation
	unclear := inbound("stop", 0)
	unclear.Unclear = true
	x.must(event.ID{}, unclear)
	unknown := inbound("stop", 0)
	unknown.Program, unknown.Revokes = "", &event.Reach{Scope: event.ScopeProgram, Name: "other"}
	x.must(event.ID{}, unknown)
	if len(x.s.Asks) != 1 || x.s.Asks[0].Inbound != stop || x.s.Asks[0].Kind != AskConfirm {
		t.Fatalf("asks: %+v", x.s.Asks)
	}
	reply := x.submit(func(d *event.MessageSubmitted) { d.Answers = stop })
	if len(x.s.Asks) != 0 {
		t.Error("an ask that was answered is kept")
	}
	x.must(reply, x.allow(reply))
	x.must(event.ID{}, inbound("help", 0))
	if len(x.s.Asks) != 1 || x.s.Asks[0].Kind != AskHelp {
		t.Fatalf("asks: %+v", x.s.Asks)
	}
	x.pass(ReplyWithin + time.Millisecond) // a confirmation within five minutes, or none
	x.must(event.ID{}, inbound("none", 0))
	if len(x.s.Asks) != 0 {
		t.Error("an ask is kept past its time")
	}
}

func TestJoins(t *testing.T) {
	x := newStream(t)
	m := x.submit(nil)
	x.must(m, x.allow(m))
	two := x.must(event.ID{}, piece(1, 2, 2))
	if x.allowStands(m) {
		t.Error("an allow stands though a part holds")
	}
	if reached(x.s.OptOuts, event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}) {
		t.Error("what only holds is no opt-out yet")
	}
	x.must(event.ID{}, piece(2, 1, 2)) // another message's
	whole, _, until := x.s.Joins(x.now)
	if len(whole) != 0 || !until.Equal(x.now.Add(joinWithin)) {
		t.Fatalf("%+v, until %s", whole, until)
	}
	x.pass(time.Second)
	one := x.must(event.ID{}, piece(1, 1, 2))
	whole, _, until = x.s.Joins(x.now)
	if len(whole) != 1 || !slices.Equal(whole[0].Parts, []int64{4, 2}) || !slices.Equal(whole[0].Holds, []event.ID{two, one}) || until.IsZero() {
		t.Fatalf("%+v, until %s", whole, until)
	}
	// Joined, it is an opt-out in place of the holds.
	x.must(event.ID{}, &event.OptedOut{Reach: whole[0].Reaches[0], Source: "joined", Answers: two, Lifts: whole[0].Holds})
	if len(x.s.OptOuts) != 2 || len(x.s.Inbound) != 1 {
		t.Fatalf("there stand %+v, and wait %+v", x.s.OptOuts, x.s.Inbound)
	}
	x.pass(joinWithin)
	whole, _, until = x.s.Joins(x.now)
	if len(whole) != 1 || !slices.Equal(whole[0].Parts, []int64{3, -1}) || !until.IsZero() {
		t.Fatalf("given up: %+v, until %s", whole, until)
	}
	x.must(event.ID{}, &event.SuppressionLifted{Lifts: whole[0].Holds, Answers: whole[0].Holds[0]})
	if len(x.s.OptOuts) != 1 || len(x.s.Inbound) != 0 {
		t.Errorf("there stand %+v, and wait %+v", x.s.OptOuts, x.s.Inbound)
	}
	x.must(event.ID{}, piece(3, 9, 2)) // a part that its message does not have
	x.pass(joinWithin)
	if whole, _, _ := x.s.Joins(x.now); len(whole) != 1 || len(whole[0].Holds) != 1 || !slices.Equal(whole[0].Parts, []int64{-1, -1, x.index - 1}) {
		t.Errorf("a part with no place is never given up: %+v", whole)
	}
}

// Two messages of one handset may come under one reference, the first of them
// never whole: neither loses its words.
func TestJoinsSameReference(t *testing.T) {
	x := newStream(t)
	first := x.must(event.ID{}, piece(1, 1, 2))
	second := x.must(event.ID{}, piece(1, 1, 2))
	x.must(event.ID{}, piece(1, 2, 2))
	x.pass(joinWithin)
	whole, _, _ := x.s.Joins(x.now)
	read := map[int64]bool{}
	var holds []event.ID
	for _, j := range whole {
		holds = append(holds, j.Holds...)
		for _, i := range j.Parts {
			read[i] = true
		}
	}
	if !read[0] || !read[1] || !read[2] || !slices.Contains(holds, first) || !slices.Contains(holds, second) || len(holds) != 3 {
		t.Errorf("the parts read are %v, what is lifted %v", whole, holds)
	}
}
