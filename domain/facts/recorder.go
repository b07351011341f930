// Package facts appends observed facts to the log until they are durable. It decides nothing, and looks at nothing in them.
package facts

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// retryEvery is how often failed appends are repeated.
	retryEvery = 200 * time.Millisecond
	// noteEvery is the least time between two lines of the log about facts that wait.
	noteEvery = 10 * time.Second
)

// Recorder appends facts that were observed and cannot be observed once more, such as a carrier's
// answer. If an append is refused or its result is lost, it repeats the append under the same id,
// so that the fact counts once. A crash loses the facts that are still pending: an attempt whose
// answer is lost so becomes in doubt.
//
// While facts wait to be appended once more, it says so in the log: when the first of them fails, then every ten
// seconds, and when none waits any more.
type Recorder struct {
	log     ledger.Log
	clock   func() time.Time
	journal *slog.Logger
	// lost is called with a fact that could not be appended within RetryFor.
	lost func(p event.Partition, e *event.Event, err error)

	mu      sync.Mutex
	pending int
	idle    chan struct{}
	retry   []retried
	wake    chan struct{}
	// stopping: what the log will never take is given up.
	stopping bool
	// failed is how many of the pending facts have failed once, and lastErr how the last append failed. noted is when
	// the log was last told of them, and told whether it was told since the first of them failed.
	failed  int
	lastErr error
	noted   time.Time
	told    bool
}

// retried is a fact whose append is made or repeated.
type retried struct {
	p     event.Partition
	e     *event.Event
	since time.Time
	done  func(error)
	err   error
}

// New returns a Recorder that appends to log, and tells journal which facts wait. lost, if not nil, is called
// with each fact that is given up.
func New(log ledger.Log, clock func() time.Time, journal *slog.Logger, lost func(event.Partition, *event.Event, error)) *Recorder {
	return &Recorder{log: log, clock: clock, journal: journal, lost: lost, idle: make(chan struct{}), wake: make(chan struct{}, 1)}
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
		first := r.err == nil
		r.err, f.lastErr = a.Err, a.Err
		if first {
			f.failed++
		}
		f.note()
		over := f.stopping && ledger.IsFinal(r.err)
		if !over {
			f.retry = append(f.retry, r)
		}
		f.mu.Unlock()
		if over {
			f.end(r, r.err)
			return
		}
		select {
		case f.wake <- struct{}{}:
		default:
		}
	})
}

// note says in the log how many facts wait, if that was not said lately. The caller holds the lock.
func (f *Recorder) note() {
	now := f.clock()
	if f.failed == 0 || !f.noted.IsZero() && now.Sub(f.noted) < noteEvery {
		return
	}
	f.noted, f.told = now, true
	f.journal.Warn("carriers' answers and other facts could not be recorded; they are tried again for an hour", "waiting", f.failed, "error", f.lastErr)
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
	if r.err != nil {
		if f.failed--; f.failed == 0 && f.told {
			f.told = false
			f.journal.Info("no fact waits to be recorded any more")
		}
	}
	if f.pending--; f.pending == 0 {
		close(f.idle)
		f.idle = make(chan struct{})
	}
}

// Run repeats failed appends every 200 ms, until ctx is done. Facts that could not be appended by
// then are given up.
func (f *Recorder) Run(ctx context.Context) {
	t := time.NewTicker(retryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			for _, r := range f.take(nil) {
				f.end(r, errors.Join(ctx.Err(), r.err))
			}
			return
		case <-f.wake:
		case <-t.C:
			f.mu.Lock()
			f.note()
			f.mu.Unlock()
			for _, r := range f.take(nil) {
				if f.clock().Sub(r.since) > ledger.RetryFor {
					f.end(r, r.err)
					continue
				}
				f.append(r)
			}
		}
	}
}

// take takes out the facts that wait to be appended once more: those of which a function says so; nil: all.
func (f *Recorder) take(which func(retried) bool) (out []retried) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if which == nil {
		out, f.retry = f.retry, nil
		return out
	}
	var rest []retried
	for _, r := range f.retry {
		if which(r) {
			out = append(out, r)
		} else {
			rest = append(rest, r)
		}
	}
	f.retry = rest
	return out
}

// Drain returns when no fact is pending, or with ctx's error. From then on a fact is given up at once if the log's
// last answer says that it takes nothing any more (ledger.IsFinal); any other is tried until Run ends.
func (f *Recorder) Drain(ctx context.Context) error {
	f.mu.Lock()
	f.stopping = true
	f.mu.Unlock()
	for _, r := range f.take(func(r retried) bool { return ledger.IsFinal(r.err) }) {
		f.end(r, r.err)
	}
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
