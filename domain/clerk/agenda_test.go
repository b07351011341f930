package clerk

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// TestTimersAreNotStarved: what waits for its turn at the release rate, however much
// it is, keeps nothing else from coming due.
func TestTimersAreNotStarved(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	c := New(Config{Control: control.NewControl(nil), ReleaseRate: 10})
	const many = 5000
	due := make([]ledger.Due, 0, many+1)
	for i := range many {
		due = append(due, ledger.Due{Subject: event.Pseudonym{1, byte(i >> 8), byte(i)}, At: now.Add(-time.Hour)})
	}
	urgent := event.Pseudonym{2}
	c.Look(append(due, ledger.Due{Subject: urgent, At: now}), now.Add(time.Minute))
	for range many/c.cfg.Budget + 2 {
		out := c.Act(context.Background(), now, "", "")
		for _, s := range out.Need {
			if s == urgent {
				return // looked at within one pass over what is due, without a clock's tick
			}
		}
	}
	t.Error("a stream that is due was not looked at behind those that wait for a release")
}

// TestTurns: messages that fall due together are taken up at the release rate, after
// a second's worth at once, and each keeps its turn.
func TestTurns(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	c := New(Config{Control: control.NewControl(nil), ReleaseRate: 10})
	atOnce, last := 0, time.Time{}
	for i := range 50 {
		id := event.ID{byte(i + 1)}
		at := c.agenda.turn(id, now)
		if !at.After(now) {
			atOnce++
		}
		if again := c.agenda.turn(id, now.Add(time.Minute)); !again.Equal(at) {
			t.Fatalf("message %d loses its turn", i)
		}
		last = at
	}
	if atOnce != 11 {
		t.Errorf("%d are taken up at once, at a rate of 10", atOnce)
	}
	if want := now.Add(3900 * time.Millisecond); !last.Equal(want) {
		t.Errorf("the last of 50 has its turn at %s, not %s", last, want)
	}
}

// A timer of a stream that left memory loads it only if something may be due for it; and a look finds only what an earlier one
// did not.
func TestTimersOfEvictedStreams(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	due := now.Add(16 * time.Second)
	c := New(Config{Control: control.NewControl(nil)})
	settled := &stream{subject: event.Pseudonym{1}, state: recipient.New("bank", event.Pseudonym{1})}
	waits := &stream{subject: event.Pseudonym{2}, state: recipient.New("bank", event.Pseudonym{2})}
	waits.state.Messages = append(waits.state.Messages, &recipient.Message{Status: recipient.Sent, ReceiptBy: due})
	for _, st := range []*stream{settled, waits} {
		c.agenda.remind(st, due, now)
		c.fold.evicted(st)
	}
	var out Actions
	c.fallDue(&out, due)
	if !slices.Equal(out.Need, []event.Pseudonym{waits.subject}) || len(c.agenda.moot) != 0 || len(c.agenda.timers) != 0 {
		t.Fatalf("%v are loaded, and there are %d timers", out.Need, len(c.agenda.timers))
	}
	// A stream that left memory with nothing due, came back, and left with something due is loaded for that.
	settled.timer = time.Time{}
	c.agenda.remind(settled, due, now)
	c.fold.evicted(settled)
	settled.state.Messages, settled.timer = waits.state.Messages, time.Time{}
	c.fold.evicted(settled)
	out = Actions{}
	if c.fallDue(&out, due); len(out.Need) == 0 {
		t.Fatal("a stream with something due is not loaded, because nothing was due when it left memory before")
	}
	c.agenda.timers = nil
	c.Look([]ledger.Due{{Subject: waits.subject, At: now}, {Subject: waits.subject, At: due}}, due)
	c.Look([]ledger.Due{{Subject: waits.subject, At: now}, {Subject: waits.subject, At: due}}, due.Add(time.Minute))
	if len(c.agenda.timers) != 3 { // the second look adds what is due at its first instant
		t.Fatalf("%d timers", len(c.agenda.timers))
	}
}
