package recipient

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
)

// What is remembered is forgotten by the log's own time.
func TestPrune(t *testing.T) {
	x := newStream(t)
	x.must(event.ID{4}, &event.CancelRequested{})
	m := x.submit(nil)
	x.must(m, &event.CancelRequested{})
	open := x.submit(nil)
	x.send(open, 1)
	x.must(open, accepted(1, 1))
	last := x.log[2]
	x.pass(RepeatWindow)
	x.must(event.ID{}, inbound("none", 0))
	if len(x.s.Cancels) != 1 || x.put(last) != Repeat {
		t.Error("forgotten too early")
	}
	x.pass(time.Millisecond)
	x.must(event.ID{}, inbound("none", 0))
	if len(x.s.Cancels) != 0 || len(x.s.Remembered) != 2 {
		t.Errorf("kept too long: %+v %+v", x.s.Cancels, x.s.Remembered)
	}
	x.pass(KeepSettled + 24*time.Hour)
	x.must(event.ID{}, inbound("none", 0))
	if x.s.Message(m) != nil {
		t.Error("a settled message is kept too long")
	}
	if x.s.Message(open) == nil {
		t.Error("a message that awaits receipts is forgotten")
	}
}

// A snapshot, at any point, has the same future.
func TestSnapshot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := newStream(t)
		var other *State
		var part PartitionState
		cut := rapid.IntRange(0, 40).Draw(rt, "cut")
		var messages []event.ID
		messages = append(messages, event.ID{9})
		pick := func() event.ID { return rapid.SampledFrom(messages).Draw(rt, "message") }
		n := rapid.IntRange(1, 60).Draw(rt, "n")
		for i := range n {
			if i == cut {
				other = new(State)
				raw, err := json.Marshal(x.s)
				if err != nil {
					rt.Fatal(err)
				}
				if err := json.Unmarshal(raw, other); err != nil {
					rt.Fatal(err)
				}
				raw, err = json.Marshal(x.p)
				if err != nil {
					rt.Fatal(err)
				}
				if err := json.Unmarshal(raw, &part); err != nil {
					rt.Fatal(err)
				}
			}
			x.pass(time.Duration(rapid.SampledFrom([]int{0, 1, 900, 6_000, 17_000, 400_000, 90_000_000}).Draw(rt, "ms")) * time.Millisecond)
			var e *event.Event
			m := pick()
			att := rapid.IntRange(1, 3).Draw(rt, "attempt")
			num := rapid.IntRange(1, 2).Draw(rt, "part")
			var d event.Data
			switch rapid.IntRange(0, 17).Draw(rt, "what") {
			case 0, 1:
				d, m = &event.MessageSubmitted{Program: "news", From: "+1500", Places: []event.Place{"US-FL Z"}, ValidUntil: x.now.Add(time.Hour), PrefersDuplicate: num == 1}, event.ID{}
			case 2:
				d = &event.CancelRequested{}
			case 3:
				d, m = &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Occurred: x.now}, event.ID{}
			case 4:
				d, m = inbound("stop", 0), event.ID{}
			case 5:
				d, m = inbound("start", x.index), event.ID{}
			case 6:
				d, m = piece(1, num, 2), event.ID{}
			case 7, 8:
				d = x.allow(m)
			case 9, 10:
				d = route(2)
			case 11, 12:
				s := x.start(att, 1, 2)
				s.Duplicate = num == 1
				d = s
			case 13:
				d = accepted(att, num)
			case 14:
				d = refused(att, num, true)
			case 15:
				d = &event.HandoffInDoubt{Attempt: att, Parts: []int{1, 2}}
			case 16:
				d = receipt(att, num, rapid.SampledFrom([]event.MessageState{"delivered", "enroute", "rejected"}).Draw(rt, "state"))
			case 17:
				if len(x.log) > 0 {
					e = rapid.SampledFrom(x.log).Draw(rt, "copy")
				}
			}
			if e == nil {
				if d == nil {
					continue
				}
				e = x.make(m, d)
				if _, ok := d.(*event.MessageSubmitted); ok {
					messages = append(messages, e.ID)
				}
			}
			why := x.put(e)
			if other == nil {
				continue
			}
			if got := other.Evolve(&part, x.index-1, e); got != why {
				rt.Fatalf("from the snapshot %s is %q, else %q", e.Data.Type(), got, why)
			}
		}
		if other == nil {
			return
		}
		a, _ := json.Marshal(x.s)
		b, _ := json.Marshal(other)
		if string(a) != string(b) || !reflect.DeepEqual(part, x.p) || !x.s.Due().Equal(other.Due()) {
			rt.Fatalf("from the snapshot it became\n%s\nelse\n%s", b, a)
		}
	})
}
