package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

var noon = time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC) // in New York

func message(n int) event.ID { return event.ID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

// shaky is a log that does what it is told to with each append.
type shaky struct {
	ledger.Log
	mu   sync.Mutex
	todo []error
	got  []event.ID
	each chan struct{}
}

func (l *shaky) Append(_ event.Partition, events []*event.Event, done func(ledger.Appended)) {
	l.mu.Lock()
	l.got = append(l.got, events[0].ID)
	var err error
	if len(l.todo) > 0 {
		err, l.todo = l.todo[0], l.todo[1:]
	}
	l.mu.Unlock()
	done(ledger.Appended{Err: err})
	l.each <- struct{}{}
}

func TestRecorder(t *testing.T) {
	log := &shaky{todo: []error{ledger.ErrRefused, ledger.ErrUnknown}, each: make(chan struct{}, 100)}
	r := NewRecorder(log, func() time.Time { return noon }, slog.New(slog.DiscardHandler), nil)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	r.Append(0, &event.Event{ID: message(1), Data: &event.HandoffAccepted{}}, func(err error) { done <- err })
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || !slices.Equal(log.got, []event.ID{message(1), message(1), message(1)}) {
		t.Errorf("appended as %v: %v", log.got, err)
	}
	stop()
	<-ended
}

func TestRecorderGivesUp(t *testing.T) {
	var mu sync.Mutex
	now := noon
	log := &shaky{todo: slices.Repeat([]error{ledger.ErrRefused}, 1000), each: make(chan struct{}, 1000)}
	lost := make(chan *event.Event, 1)
	r := NewRecorder(log, func() time.Time { mu.Lock(); defer mu.Unlock(); return now }, slog.New(slog.DiscardHandler), func(_ event.Partition, e *event.Event, _ error) { lost <- e })
	done := make(chan error, 1)
	r.Append(0, &event.Event{ID: message(1), Data: &event.HandoffAccepted{}}, func(err error) { done <- err })
	mu.Lock()
	now = noon.Add(ledger.RetryFor + time.Second)
	mu.Unlock()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r.Run(ctx); close(ended) }()
	if err := <-done; !errors.Is(err, ledger.ErrRefused) || (<-lost).ID != message(1) {
		t.Errorf("given up with %v", err)
	}
	stop()
	<-ended
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Drain(short); err != nil {
		t.Errorf("nothing is on its way, and Drain says %v", err)
	}
}

// What cannot be appended when the recorder ends is told, not forgotten.
func TestRecorderEnds(t *testing.T) {
	log := &shaky{todo: []error{ledger.ErrRefused}, each: make(chan struct{}, 100)}
	lost := 0
	r := NewRecorder(log, func() time.Time { return noon }, slog.New(slog.DiscardHandler), func(event.Partition, *event.Event, error) { lost++ })
	var got error
	r.Append(0, &event.Event{ID: message(1), Data: &event.HandoffAccepted{}}, func(err error) { got = err })
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := r.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("one is on its way, and Drain says %v", err)
	}
	r.Run(ctx)
	if lost != 1 || !errors.Is(got, context.Canceled) || !errors.Is(got, ledger.ErrRefused) {
		t.Errorf("%d lost, %v", lost, got)
	}
}

func TestClock(t *testing.T) {
	c := &Clock{base: noon}
	at := time.Duration(0)
	wall := noon
	look := func(pass, step time.Duration, want bool, what string) {
		t.Helper()
		at, wall = at+pass, wall.Add(pass+step)
		if got := c.look(wall, at); got != want {
			t.Errorf("%s: trusted %v", what, got)
		}
	}
	look(time.Hour, 0, true, "a clock that runs")
	look(time.Second, maxStep, true, "a small step")
	look(time.Second, -maxStep, true, "and back")
	look(time.Second, maxStep+time.Millisecond, false, "a step")
	look(distrust-time.Millisecond, 0, false, "soon after")
	look(time.Millisecond, 0, true, "later")
	look(time.Second, -time.Hour, false, "an hour back")
	look(distrust/2, time.Hour, false, "and forward again")
	look(distrust/2, 0, false, "counted from the last step")
	look(distrust/2, 0, true, "later")
	for range 100 {
		look(time.Minute, 20*time.Millisecond, true, "a clock that is slewed")
	}
}

func TestInboundCounts(t *testing.T) {
	m := newMetrics()
	m.countUnplaced(event.UnplacedShared)
	m.countUnplaced(event.UnplacedShared)
	m.countUnplaced(event.UnplacedUnreadable)
	if m.orphans.Load() != 3 || m.unplaced[event.UnplacedShared] != 2 || m.unplaced[event.UnplacedUnreadable] != 1 {
		t.Errorf("%d, %v", m.orphans.Load(), m.unplaced)
	}
	var judged []ledger.Judged
	for _, d := range []event.Data{&event.InboundReceivedV2{Holds: event.HoldUnreadable}, &event.InboundReceivedV2{Unplaced: event.UnplacedUnreadable},
		&event.InboundReceivedV2{Holds: event.HoldUnclear}, &event.InboundJoined{Holds: event.HoldUnreadable}, &event.InboundJoined{}} {
		judged = append(judged, ledger.Judged{Record: ledger.Record{Event: &event.Event{Data: d}}})
	}
	judged = append(judged, ledger.Judged{Record: judged[0].Record, Why: recipient.Repeat})
	if m.count(judged); m.unreadable != 3 {
		t.Errorf("%d unreadable", m.unreadable)
	}
}
