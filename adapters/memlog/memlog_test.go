package memlog

import (
	"errors"
	"testing"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func TestImmediate(t *testing.T) {
	logtest.Exercise(t, func(*testing.T) logtest.Fixture {
		l := New(Options{Partitions: 4})
		reopen := func(decode bool) func(*testing.T) ledger.Log {
			return func(*testing.T) ledger.Log {
				l.Close()
				l.Reopen(decode)
				return l
			}
		}
		return logtest.Fixture{Log: l, Close: l.Close, Reopen: reopen(false), Decode: reopen(true)}
	})
}

// driven lands every append at once, but for the next, which meets a fault.
type driven struct {
	*Log
	fault logtest.Fault
}

func (d *driven) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	d.Log.Append(p, events, done)
	for _, a := range d.Pending() {
		switch d.fault {
		case logtest.Failed:
			a.Lose()
		case logtest.FailedButPersisted:
			a.Doubt()
			a.Land()
		case logtest.CutShort:
			a.Cut(len(events) / 2)
		default:
			a.Land()
		}
		d.fault = ""
	}
}

func TestFaults(t *testing.T) {
	for _, f := range []logtest.Fault{logtest.Failed, logtest.FailedButPersisted, logtest.CutShort} {
		t.Run(string(f), func(t *testing.T) {
			logtest.ExerciseFault(t, f, func(*testing.T) logtest.Fixture {
				d := &driven{Log: New(Options{Partitions: 4, Manual: true})}
				return logtest.Fixture{Log: d, Fail: func(f logtest.Fault) { d.fault = f }}
			})
		})
	}
}

type heard []ledger.Appended

func (h *heard) done(a ledger.Appended) { *h = append(*h, a) }

func TestOrderIsACallers(t *testing.T) {
	l := New(Options{Partitions: 2, Manual: true})
	var a, b heard
	one, two := l.Caller("one"), l.Caller("two")
	one.Append(0, logtest.Events(1, 1), a.done)
	one.Append(0, logtest.Events(2, 1), a.done)
	one.Append(1, logtest.Events(3, 1), a.done)
	two.Append(0, logtest.Events(4, 1), b.done)
	// The second of "one" to partition 0 cannot land before the first; "two" can.
	next := l.Pending()
	if len(next) != 3 || next[1].Partition != 1 || next[2].Caller != "two" {
		t.Fatalf("%d appends may land", len(next))
	}
	next[2].Land()
	if len(a) != 0 || len(b) != 1 || b[0].First != 0 {
		t.Fatalf("one heard %v, two heard %v", a, b)
	}
	next[0].Land()
	l.Pending()[0].Land()
	if len(a) != 2 || a[0].First != 1 || a[1].First != 2 {
		t.Fatalf("one heard %v", a)
	}
}

func TestDoubtLandsLater(t *testing.T) {
	l := New(Options{Partitions: 1, Manual: true})
	var h heard
	l.Append(0, logtest.Events(1, 2), h.done)
	l.Append(0, logtest.Events(2, 1), h.done)
	doubted := l.Pending()[0]
	doubted.Doubt()
	if len(h) != 1 || !errors.Is(h[0].Err, ledger.ErrUnknown) {
		t.Fatalf("heard %v", h)
	}
	l.Pending()[1].Double() // overtakes it
	doubted.Land()
	l.Pending()[0].Land() // the copy
	if len(h) != 2 || h[1].First != 0 || h[1].Err != nil {
		t.Fatalf("heard %v", h)
	}
	want := append(logtest.Events(2, 1), append(logtest.Events(1, 2), logtest.Events(2, 1)...)...)
	got := logtest.ReadAll(t, l, 0)
	for i := range want {
		if got[i].Event.ID != want[i].ID {
			t.Fatalf("event %d is %s, want %s", i, got[i].Event.ID, want[i].ID)
		}
	}
	if len(l.Pending()) != 0 || len(got) != len(want) {
		t.Fatalf("%d pending, %d events", len(l.Pending()), len(got))
	}
	l.Truncate(0, 1)
	if _, head, err := l.Read(t.Context(), 0, 2, 1); !errors.Is(err, ledger.ErrAhead) || head != 1 {
		t.Fatalf("head %d, %v", head, err)
	}
}
