package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

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
			r := NewRecorder(log, func() time.Time { return noon }, slog.New(slog.DiscardHandler), nil)
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
	r := NewRecorder(log, func() time.Time { mu.Lock(); defer mu.Unlock(); return now }, slog.New(slog.NewTextHandler(&said, nil)), nil)
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
