package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Recorder appends facts that were observed and cannot be observed once more, such as a carrier's
// answer. If an append is refused or its result is lost, it repeats the append under the same id,
// so that the fact counts once. A crash loses the facts that are still pending: an attempt whose
// answer is lost so becomes in doubt.
type Recorder struct {
	log   ledger.Log
	clock func() time.Time
	// lost is called with a fact that could not be appended within RetryFor.
	lost func(p event.Partition, e *event.Event, err error)

	mu      sync.Mutex
	pending int
	idle    chan struct{}
	retry   []retried
	wake    chan struct{}
}

// retried is a fact whose append is made or repeated.
type retried struct {
	p     event.Partition
	e     *event.Event
	since time.Time
	done  func(error)
	err   error
}

// NewRecorder returns a Recorder that appends to log. lost, if not nil, is called with each fact
// that is given up.
func NewRecorder(log ledger.Log, clock func() time.Time, lost func(event.Partition, *event.Event, error)) *Recorder {
	return &Recorder{log: log, clock: clock, lost: lost, idle: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// Append appends a fact and returns at once. done, if not nil, is called when the fact is
// durable, or with an error when it is given up.
func (f *Recorder) Append(p event.Partition, e *event.Event, done func(error)) {
	f.mu.Lock()
	f.pending++
	f.mu.Unlock()
	f.append(retried{p: p, e: e, since: f.clock(), done: done})
}

func (f *Recorder) append(r retried) {
	f.log.Append(r.p, []*event.Event{r.e}, func(a ledger.Appended) {
		if a.Err == nil {
			f.end(r, nil)
			return
		}
		f.mu.Lock()
		r.err = a.Err
		f.retry = append(f.retry, r)
		f.mu.Unlock()
		select {
		case f.wake <- struct{}{}:
		default:
		}
	})
}

func (f *Recorder) end(r retried, err error) {
	if err != nil && f.lost != nil {
		f.lost(r.p, r.e, err)
	}
	if r.done != nil {
		r.done(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending--; f.pending == 0 {
		close(f.idle)
		f.idle = make(chan struct{})
	}
}

// Run repeats failed appends every 200 ms, until ctx is done. Facts that could not be appended by
// then are given up.
func (f *Recorder) Run(ctx context.Context) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, r := range f.take() {
				f.end(r, errors.Join(ctx.Err(), r.err))
			}
			return
		case <-f.wake:
		case <-t.C:
			for _, r := range f.take() {
				if f.clock().Sub(r.since) > ledger.RetryFor {
					f.end(r, r.err)
					continue
				}
				f.append(r)
			}
		}
	}
}

func (f *Recorder) take() []retried {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.retry
	f.retry = nil
	return out
}

// Drain returns when no fact is pending, or with ctx's error.
func (f *Recorder) Drain(ctx context.Context) error {
	for {
		f.mu.Lock()
		n, idle := f.pending, f.idle
		f.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
