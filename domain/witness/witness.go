// Package witness writes and reads the audit log: it records which personal data was shown to whom and why,
// and how API keys were used. No fold reads the audit log, so it may be long.
//
// A read of what persons wrote, or of evidence, is durable before anything is shown. Other reads are gathered
// in memory, merged, and appended every 5 s, or as soon as 500 of them wait; a process that is killed loses
// those of the last 5 s, and an audit log that cannot be written makes more of them wait. There is a bound
// to that: past 10,000 reads (or 200,000 ids of messages) nothing more is shown. The uses of keys are
// appended about every hour and at a stop; a process that is killed loses those of the last hour.
package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

const (
	// flushEvery is how often reads are appended, and the most that is lost by a kill.
	flushEvery = 5 * time.Second
	// soon is how long after a failed append it is tried once more.
	soon = time.Second
	// usesEvery is how often the uses of keys are appended: a little less than an hour, so that the look
	// that finds it due is within the hour.
	usesEvery = time.Hour - 2*flushEvery
	// mostUses bounds the events of uses that are not durable yet. Past it, while the audit log cannot be
	// written, the uses of further hours are lost: they hold up no call.
	mostUses = 10_000
	// stopWithin bounds the appends at a stop.
	stopWithin = 5 * time.Second
)

// Witness records reads and uses. All methods but Run may be called from any goroutine.
type Witness struct {
	writer *ledger.Writer
	now    func() time.Time
	log    *slog.Logger
	uses   *uses
	full   chan struct{} // enough is gathered for an event

	mu      sync.Mutex
	reads   *reads
	stopped bool
	// waiting and waitingIDs are what was cut and is not durable yet.
	waiting, waitingIDs int

	// What follows belongs to Run. pending are the events that are to be appended, the oldest first;
	// pendingUses is how many of them are of uses.
	pending     []*pending
	pendingUses int
	failing     bool
}

// pending is an event until it is durable.
type pending struct {
	id     event.ID
	tenant string
	data   event.Data
	e      *event.Event
	// unsure: it may be in the log, so that it is appended once more as it is.
	unsure     bool
	reads, ids int
}

// New returns a witness that appends by writer. Start Run before the first request.
func New(writer *ledger.Writer, now func() time.Time, log *slog.Logger) *Witness {
	return &Witness{writer: writer, now: now, log: log, uses: newUses(now()), reads: newReads(now()), full: make(chan struct{}, 1)}
}

// DataShown is part of reading.Witness. A read without ids is counted: the audit log then says how often,
// and not which. A call that showed data of more than 200 messages or events is several reads.
func (w *Witness) DataShown(ctx context.Context, c ledger.Caller, tenant, reason string, r event.DataRead) error {
	if len(r.Shown) == 0 {
		return nil
	}
	shown, err := kindsOf(r.Shown)
	if err != nil {
		return err
	}
	if shown&sensitive != 0 {
		return w.recordNow(ctx, c, tenant, reason, &r, shown)
	}
	w.mu.Lock()
	err = errors.New("the node is stopping")
	if !w.stopped {
		err = w.reads.add(c, tenant, reason, &r, shown, w.waiting, w.waitingIDs)
	}
	enough := w.reads.waiting >= mostReads || w.reads.ids >= mostEventIDs
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%w: %w", reading.ErrNotRecorded, err)
	}
	if enough {
		select {
		case w.full <- struct{}{}:
		default:
		}
	}
	return nil
}

// recordNow returns when a read is durable.
func (w *Witness) recordNow(ctx context.Context, c ledger.Caller, tenant, reason string, r *event.DataRead, shown kinds) error {
	now := w.now()
	one := newReads(now)
	if err := one.add(c, tenant, reason, r, shown, 0, 0); err != nil {
		return fmt.Errorf("%w: %w", reading.ErrNotRecorded, err)
	}
	for _, b := range one.cut(now) {
		e := w.writer.Write(ledger.Audit(b.tenant), w.writer.NewID(), b.data)
		if _, err := w.writer.Append(ctx, event.AuditPartition, e); err != nil {
			return fmt.Errorf("%w: %w", reading.ErrNotRecorded, err) // recorded or not, nothing is shown
		}
	}
	return nil
}

// KeyUsed counts a use of an API key for a call that needs a scope. refused: the key does not have it.
func (w *Witness) KeyUsed(c ledger.Caller, scope string, refused bool) {
	w.uses.count(c, scope, refused)
}

// Run appends what is recorded, until ctx is done; then it appends what is left, for 5 s at most, and
// DataShown records nothing more. Its error says how much was lost. Call it once.
func (w *Witness) Run(ctx context.Context) error {
	t := time.NewTimer(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.stop()
		case <-w.full:
			if w.failing {
				continue // the timer tries it
			}
		case <-t.C:
		}
		next := flushEvery
		if w.flush(ctx, w.now(), false) != nil {
			next = soon
		}
		t.Reset(next)
	}
}

// stop appends what is left.
func (w *Witness) stop() error {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	t := time.NewTicker(soon / 5)
	defer t.Stop()
	for {
		// The first of two flushes may append older events only.
		err := w.flush(ctx, w.now(), true)
		if err == nil {
			if err = w.flush(ctx, w.now(), true); err == nil {
				return nil
			}
		}
		select {
		case <-t.C:
			continue
		case <-ctx.Done():
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		return fmt.Errorf("that personal data was shown could not be recorded in the audit log (%d reads): %w", w.waiting+w.reads.waiting, err)
	}
}

// flush appends what is pending; when no read is, it makes events of what was gathered first. So while the
// audit log cannot be written, reads go on being merged in place of becoming more events. The uses of keys
// are cut every hour nevertheless.
func (w *Witness) flush(ctx context.Context, now time.Time, all bool) error {
	w.cutReads(now)
	w.cutUses(now, all)
	for len(w.pending) > 0 {
		w.cutUses(w.now(), false) // many slow appends may take long
		if err := w.append(ctx, w.pending[0]); err != nil {
			if !w.failing {
				w.log.Error("the audit log cannot be written; past 10,000 reads that wait for it, no personal data is shown", "error", err)
			}
			w.failing = true
			return err
		}
		if w.pending[0].reads == 0 {
			w.pendingUses--
		}
		w.pending = w.pending[1:]
	}
	w.pending = nil
	if w.failing {
		w.failing = false
		w.log.Info("the audit log is written again")
	}
	return nil
}

// append appends one event. An append that is refused is made anew, with a new time, so that the events of
// the audit log are nearly in order of time; one of which it is not known is repeated as it was.
func (w *Witness) append(ctx context.Context, p *pending) error {
	if !p.unsure {
		p.e = w.writer.Write(ledger.Audit(p.tenant), p.id, p.data)
	}
	_, err := w.writer.Append(ctx, event.AuditPartition, p.e)
	if err != nil {
		p.unsure = p.unsure || !errors.Is(err, ledger.ErrRefused)
		return err
	}
	w.mu.Lock()
	w.waiting -= p.reads
	w.waitingIDs -= p.ids
	w.mu.Unlock()
	return nil
}

// cutReads makes events of the reads that were gathered, unless older ones are pending.
func (w *Witness) cutReads(now time.Time) {
	w.mu.Lock()
	if w.waiting > 0 {
		w.mu.Unlock()
		return
	}
	waiting, ids := w.reads.waiting, w.reads.ids
	batches := w.reads.cut(now)
	w.waiting, w.waitingIDs = waiting, ids
	w.mu.Unlock()
	for _, b := range batches {
		p := &pending{id: w.writer.NewID(), tenant: b.tenant, data: b.data, reads: len(b.data.Reads)}
		for i := range b.data.Reads {
			p.ids += len(b.data.Reads[i].Events)
		}
		w.pending = append(w.pending, p)
	}
}

// cutUses makes events of the uses of keys, when it is due, or of all that were counted.
func (w *Witness) cutUses(now time.Time, all bool) {
	if !all && !w.uses.due(now) {
		return
	}
	lost := 0
	for _, u := range w.uses.cut(now) {
		if w.pendingUses == mostUses {
			lost++
			continue
		}
		w.pendingUses++
		w.pending = append(w.pending, &pending{id: w.writer.NewID(), tenant: u.tenant, data: u.data})
	}
	if lost > 0 {
		w.log.Error("the audit log cannot be written; the uses of keys in the last hour are not recorded", "keys", lost)
	}
}
