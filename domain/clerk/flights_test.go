package clerk

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// While a proposal is out, a clerk is woken when it is no longer waited for, and not before: a
// slow log does not make the partition's goroutine spin.
func TestSlowAppendDoesNotSpin(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	c := New(Config{Control: control.NewControl(nil), GiveUp: 10 * time.Second})
	st := &stream{state: recipient.New("acme", event.Pseudonym{1}), subject: event.Pseudonym{1}}
	c.flights.appends[1] = []*flight{c.flights.launch(st, []*event.Event{{ID: event.ID{1}}}, nil, now)}
	for _, after := range []time.Duration{0, time.Second, 5 * time.Second, 9999 * time.Millisecond} {
		if out := c.Act(context.Background(), now.Add(after), "", ""); !out.Next.Equal(now.Add(10 * time.Second)) {
			t.Errorf("after %s it is to act next at %s", after, out.Next.Sub(now))
		}
	}
	c.Acked(1, errors.New("refused"))
	if out := c.Act(context.Background(), now.Add(100*time.Millisecond), "", ""); !out.Next.Equal(now.Add(time.Second)) {
		t.Errorf("after a refusal it is to act next at %s", out.Next.Sub(now))
	}
	if out := c.Act(context.Background(), now.Add(time.Second), "", ""); !out.Next.IsZero() || st.flight != nil {
		t.Errorf("what failed is waited for: %v, next at %s", st.flight, out.Next)
	}
}

// A drain does not wait for starts of an append that failed.
func TestDrainGivesUpWhatFailed(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	c := New(Config{Control: control.NewControl(nil)})
	st := &stream{state: recipient.New("acme", event.Pseudonym{1}), subject: event.Pseudonym{1}}
	id := event.ID{1}
	c.flights.starts[id] = &start{stream: st, proposed: now}
	c.flights.appends[1] = []*flight{c.flights.launch(st, []*event.Event{{ID: id}}, []event.ID{id}, now)}
	if n := c.Drain(now); n != 1 {
		t.Fatalf("%d starts are out", n)
	}
	c.Acked(1, errors.New("refused"))
	if out := c.Act(context.Background(), now.Add(time.Millisecond), "", ""); !out.Next.Equal(now.Add(time.Second)) {
		t.Errorf("it is to act next at %s", out.Next.Sub(now))
	}
	c.Act(context.Background(), now.Add(time.Second), "", "")
	if n := c.Drain(now); n != 0 || c.flights.abandonedStarts[id] == nil {
		t.Errorf("%d starts are out after their append failed", n)
	}
}

// A drain waits for the starts that an earlier clerk of this process had in flight, asks for the
// streams that may show them, and records that their carriers were not called.
func TestDrainWaitsForWhatWasInherited(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	fresh := func() *Clerk { return New(Config{Control: control.NewControl(nil), GiveUp: 10 * time.Second}) }
	old, c := fresh(), fresh()
	id, subject := event.ID{1}, event.Pseudonym{1}
	st := &stream{state: recipient.New("acme", subject), subject: subject}
	old.flights.starts[id] = &start{stream: st, proposed: now}
	old.flights.appends[1] = []*flight{old.flights.launch(st, []*event.Event{{ID: id}}, []event.ID{id}, now)}
	c.Inherit(old)
	if n := c.Drain(now); n != 1 {
		t.Fatalf("%d starts are out", n)
	}
	if out := c.Act(t.Context(), now, "", ""); !slices.Equal(out.Need, []event.Pseudonym{subject}) {
		t.Errorf("it asks for the streams %v", out.Need)
	}
	if n := c.Drain(now.Add(10 * time.Second)); n != 0 {
		t.Errorf("%d starts are out after the time that a proposal is waited for", n)
	}
	shown := recipient.New("acme", subject)
	shown.Messages = []*recipient.Message{{ID: event.ID{2}, Attempts: []recipient.Attempt{{Start: id}}}}
	c.Load([]event.Pseudonym{subject}, map[event.Pseudonym]*recipient.State{subject: shown})
	if out := c.Act(t.Context(), now, "", ""); len(out.Calls) != 1 || len(out.Need) != 0 || c.Drain(now) != 0 {
		t.Errorf("%d calls, %d streams asked for, and %d starts are out after the stream showed the start", len(out.Calls), len(out.Need), c.Drain(now))
	}
}
