package facts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
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
	r := New(log, func() time.Time { return noon }, slog.New(slog.DiscardHandler), nil)
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
	r := New(log, func() time.Time { mu.Lock(); defer mu.Unlock(); return now }, slog.New(slog.DiscardHandler), func(_ event.Partition, e *event.Event, _ error) { lost <- e })
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
	r := New(log, func() time.Time { return noon }, slog.New(slog.DiscardHandler), func(event.Partition, *event.Event, error) { lost++ })
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

// failing is a log that answers every append with one error, or takes it.
type failing struct {
	ledger.Log
	mu  sync.Mutex
	err error
}

func (l *failing) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

func (l *failing) Append(_ event.Partition, _ []*event.Event, done func(ledger.Appended)) {
	l.mu.Lock()
	err := l.err
	l.mu.Unlock()
	done(ledger.Appended{Err: err})
}

// When the node stops, what the log will never take is given up at once; what it may take yet is tried, for as long as the
// stop may take.
func TestRecorderStops(t *testing.T) {
	closed := ledger.Never(errors.New("the ledger is closed"))
	for name, c := range map[string]struct {
		err   error
		never bool
	}{
		"closed":          {ledger.Refused(closed), true},
		"events are gone": {ledger.Refused(fmt.Errorf("the topic was deleted: %w", ledger.ErrLost)), true},
		"damaged":         {ledger.ErrDamaged, true},
		"away":            {ledger.Refused(errors.New("no broker leads the partition")), false},
		"unknown":         {ledger.Unknown(closed), false},
	} {
		t.Run(name, func(t *testing.T) {
			log := &failing{err: c.err}
			r := New(log, func() time.Time { return noon }, slog.New(slog.DiscardHandler), nil)
			var before, after error
			r.Append(0, &event.Event{ID: message(1), Data: &event.HandoffAccepted{}}, func(err error) { before = err })
			if before != nil {
				t.Fatalf("given up before the node stops: %v", before)
			}
			if !c.never {
				over, cancel := context.WithCancel(t.Context())
				cancel()
				if err := r.Drain(over); !errors.Is(err, context.Canceled) || before != nil {
					t.Fatalf("given up (%v) although the log may take it yet: %v", before, err)
				}
				log.fail(nil)
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() { r.Run(ctx); close(ended) }()
				if err := r.Drain(t.Context()); err != nil || before != nil {
					t.Errorf("it is not recorded: %v, %v", before, err)
				}
				stop()
				<-ended
				return
			}
			if err := r.Drain(t.Context()); err != nil || !errors.Is(before, c.err) { // Run does not even run
				t.Errorf("it is given up with %v, and Drain says %v", before, err)
			}
			r.Append(0, &event.Event{ID: message(2), Data: &event.HandoffAccepted{}}, func(err error) { after = err })
			if err := r.Drain(t.Context()); err != nil || !errors.Is(after, c.err) {
				t.Errorf("a fact of during the stop is given up with %v, and Drain says %v", after, err)
			}
		})
	}
}

// The first fact that waits is told of at once, then how many wait at most every ten seconds, and the end of it; nothing of
// a fact's contents is said.
func TestRecorderTells(t *testing.T) {
	var mu sync.Mutex
	now := noon
	var said bytes.Buffer
	log := &failing{err: ledger.Refused(errors.New("the disk is full"))}
	r := New(log, func() time.Time { mu.Lock(); defer mu.Unlock(); return now }, slog.New(slog.NewTextHandler(&said, nil)), nil)
	lines := func(want int, with string) {
		t.Helper()
		r.mu.Lock()
		r.note() // as Run does from time to time
		r.mu.Unlock()
		all := strings.Split(strings.TrimSpace(said.String()), "\n")
		if len(all) != want || !strings.Contains(all[len(all)-1], with) {
			t.Errorf("it has said %q; want %d lines, the last with %q", all, want, with)
		}
	}
	put := func(n int) {
		r.Append(0, &event.Event{ID: message(n), Tenant: "acme", Data: &event.HandoffRefused{Reason: "+14155550123"}}, nil)
	}
	again := func() {
		for _, x := range r.take(nil) {
			r.append(x)
		}
	}
	put(1)
	lines(1, "waiting=1")
	put(2)
	put(3)
	again()
	lines(1, "waiting=1")
	now = now.Add(noteEvery - time.Millisecond)
	lines(1, "waiting=1")
	now = now.Add(time.Millisecond)
	lines(2, "waiting=3")
	log.fail(nil)
	again()
	lines(3, "level=INFO")
	log.fail(ledger.ErrUnknown) // soon after: the log is not filled by a fact that fails now and then
	put(4)
	log.fail(nil)
	again()
	lines(3, "level=INFO")
	if strings.Contains(said.String(), "4155550123") || strings.Contains(said.String(), "acme") {
		t.Errorf("it says whose facts they are: %s", said.String())
	}
}
