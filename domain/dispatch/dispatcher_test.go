package dispatch

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

var noon = time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC) // in New York

// window is a carrier with slots and nothing else.
type window struct {
	free    int
	called  []ledger.Handoff
	changed chan struct{}
}

func (p *window) Account() string { return "c1" }
func (p *window) Takes(promised int, _ time.Time) (bool, time.Time) {
	return promised < p.free, time.Time{}
}
func (p *window) Pace(parts int, _ time.Time) time.Duration {
	return time.Duration(parts) * time.Second
}
func (p *window) Changed() <-chan struct{} { return p.changed }
func (p *window) Submit(h ledger.Handoff, done func(ledger.HandoffResult)) {
	p.called = append(p.called, h)
	done(ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: "x"})
}

func message(n int) event.ID { return event.ID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

func TestDispatcherPriority(t *testing.T) {
	c := &window{}
	d := New(c)
	for n, prio := range []int{3, 9, 3, 6, 9} {
		if _, ok := d.Want(Want{Message: message(n), Priority: prio, Slots: 1}, noon); ok {
			t.Fatal("granted where nothing is free")
		}
	}
	d.Forget(message(3))
	c.free = 10
	got, _ := d.Pump(noon)
	var order []byte
	for _, g := range got {
		order = append(order, g.Want.Message[15])
	}
	if !slices.Equal(order, []byte{1, 4, 0, 2}) {
		t.Errorf("granted in the order %v", order)
	}
}

func TestDispatcherDoesNotOvertake(t *testing.T) {
	c := &window{}
	d := New(c)
	d.Want(Want{Message: message(1), Priority: 5, Slots: 2}, noon)
	c.free = 1
	if _, ok := d.Want(Want{Message: message(2), Priority: 5, Slots: 1}, noon); ok {
		t.Error("what came later, and is no more urgent, is granted first")
	}
	if _, ok := d.Want(Want{Message: message(3), Priority: 6, Slots: 1}, noon); !ok {
		t.Error("what is more urgent waits")
	}
}

func TestDispatcherCallsInTime(t *testing.T) {
	for name, f := range map[string]struct {
		now    time.Time
		called bool
	}{
		"in time":                   {noon, true},
		"at call_by":                {noon.Add(5 * time.Second), false},
		"past the monotonic window": {noon.Add(4 * time.Second), false},
		"a clock that was set back": {noon.Add(-time.Hour), true}, // the monotonic reading alone tells, and here there is none
	} {
		c := &window{free: 1}
		d := New(c)
		g, ok := d.Want(Want{Message: message(1), Slots: 1}, noon)
		if !ok {
			t.Fatal("not granted")
		}
		var got []ledger.HandoffResult
		d.Call(Call{Grant: g, Proposed: noon, Window: 4 * time.Second, Handoffs: []ledger.Handoff{{CallBy: noon.Add(5 * time.Second)}}},
			func() time.Time { return f.now }, func(_ ledger.Handoff, r ledger.HandoffResult) { got = append(got, r) })
		if (len(c.called) == 1) != f.called || len(got) != 1 || (got[0].Status == ledger.HandoffNotCalled) == f.called {
			t.Errorf("%s: called %d, answered %+v", name, len(c.called), got)
		}
		if held := d.Load(); held.Grants != 0 || held.Slots != 0 {
			t.Errorf("%s: %d grants and %d slots are kept", name, held.Grants, held.Slots)
		}
	}
}

// A grant says how long its parts take, behind those that are granted already.
func TestGrantPace(t *testing.T) {
	d := New(&window{free: 3}) // a second a part
	for i, parts := range []int{2, 4} {
		g, ok := d.Want(Want{Message: message(i), Slots: parts}, noon)
		if want := time.Duration(2+4*i) * time.Second; !ok || g.Slots != parts || g.Pace != want {
			t.Errorf("granted %t: %+v; want a pace of %s", ok, g, want)
		}
	}
	if _, ok := d.Want(Want{Message: message(3), Slots: 1}, noon); ok {
		t.Error("granted behind six parts, of three slots")
	}
}

// Whatever is asked, granted, released, forgotten and left to run out, in the end
// nothing is kept, and nothing is granted where no slot is free.
func TestDispatcherLeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &window{}
		d := New(c)
		now := noon
		var grants []Grant
		live := func() int { return d.Load().Slots }
		for range rapid.IntRange(1, 80).Draw(t, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond)
			m := message(rapid.IntRange(1, 9).Draw(t, "message"))
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				before := live()
				if g, ok := d.Want(Want{Message: m, Priority: rapid.IntRange(0, 9).Draw(t, "priority"), Slots: rapid.IntRange(1, 3).Draw(t, "slots")}, now); ok {
					if before >= c.free {
						t.Fatalf("granted behind %d slots of %d", before, c.free)
					}
					grants = append(grants, g)
				}
			case 2:
				d.Forget(m)
			case 3:
				c.free = rapid.IntRange(0, 6).Draw(t, "free")
			case 4:
				out, _ := d.Pump(now)
				if n := len(out); n > 0 && live()-out[n-1].Grant.Slots >= c.free {
					t.Fatalf("granted behind %d slots of %d", live()-out[n-1].Grant.Slots, c.free)
				}
				for _, g := range out {
					grants = append(grants, g.Grant)
				}
			case 5:
				if len(grants) > 0 {
					d.Release(grants[0]) // some of them have run out, and one is given back twice
					d.Release(grants[0])
					grants = grants[1:]
				}
			}
		}
		for n := 1; n <= 9; n++ {
			d.Forget(message(n))
		}
		now = now.Add(grantTTL + time.Second)
		d.Pump(now)
		if held := d.Load(); held != (Load{}) {
			t.Fatalf("kept: %+v", held)
		}
	})
}

// A carrier without a bind, for days: what is forgotten does not pile up.
func TestDispatcherForgets(t *testing.T) {
	d := New(&window{})
	d.Want(Want{Message: message(0), Priority: 9, Slots: 1}, noon)
	for range 100_000 {
		d.Want(Want{Message: message(1), Priority: 5, Slots: 1}, noon)
		d.Forget(message(1))
	}
	if q := d.Load().Queued; q > 1000 {
		t.Errorf("%d entries for one message that waits", q)
	}
}
