package recipient

import (
	"fmt"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// tell takes a message to an attempt at a carrier account, which tells the tail of the number unless tail is
// "".
func (x *stream) tell(account, tail string) {
	x.t.Helper()
	m := x.submit(nil)
	x.must(m, x.allow(m))
	r := route(1)
	r.Carrier = account
	x.must(m, r)
	d := x.start(1, 1)
	d.Tail = tail
	x.must(m, d)
}

// A tail counts for its account alone, for TailEvery after the hand-off that told it.
func TestTails(t *testing.T) {
	x := newStream(t)
	x.tell("c1", "")
	if x.s.Tails.Told("c1", x.now) {
		t.Error("a hand-off without a tail told one")
	}
	x.tell("c1", "5f1d0a9be2c34788")
	told := x.now
	if !x.s.Tails.Told("c1", told) || x.s.Tails.Told("c2", told) {
		t.Errorf("it was told for c1 alone: %+v", x.s.Tails)
	}
	if !x.s.Tails.Told("c1", told.Add(TailEvery-time.Millisecond)) || x.s.Tails.Told("c1", told.Add(TailEvery)) {
		t.Error("it is told again at another time than after TailEvery")
	}
	// A void hand-off tells nothing.
	m := x.submit(nil)
	d := x.start(1, 1)
	d.Tail = "5f1d0a9be2c34788"
	if why := x.add(m, d); why == "" {
		t.Fatal("a start without an allow is effective")
	}
	if len(x.s.Tails) != 1 {
		t.Errorf("%+v", x.s.Tails)
	}
	x.pass(TailEvery)
	x.tell("c1", "5f1d0a9be2c34788")
	if len(x.s.Tails) != 1 || !x.s.Tails.Told("c1", x.now.Add(time.Hour)) {
		t.Errorf("told again: %+v", x.s.Tails)
	}
	x.pass(TailEvery + time.Millisecond)
	x.must(event.ID{}, inbound("none", 0))
	if len(x.s.Tails) != 0 {
		t.Errorf("kept too long: %+v", x.s.Tails)
	}
}

// Of too many accounts the stream forgets the one that was told first.
func TestTailsAreBounded(t *testing.T) {
	x := newStream(t)
	for i := range maxTails + 1 {
		x.pass(time.Second)
		x.tell(fmt.Sprint("c", i), "5f1d0a9be2c34788")
		if i == maxTails-1 {
			x.pass(time.Second)
			x.tell("c0", "5f1d0a9be2c34788") // it is the newest now
		}
	}
	if len(x.s.Tails) != maxTails || !x.s.Tails.Told("c0", x.now) || x.s.Tails.Told("c1", x.now) || !x.s.Tails.Told("c2", x.now) {
		t.Errorf("%+v", x.s.Tails)
	}
}
