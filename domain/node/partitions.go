package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// foreignMarkPoll is how often the views are asked how far another node's partition was folded,
// while a request waits for that.
const foreignMarkPoll = 25 * time.Millisecond

// partitions are all recipients' partitions: those that this node serves, and of the others what
// the views tell. It answers the questions of intake and control.
type partitions struct {
	views ledger.Views
	now   func() time.Time
	// alone: no other process takes requests. Then the memory of this one knows every key.
	alone bool
	all   []*pipeline

	mu         sync.Mutex
	progressed chan struct{} // closed, and made anew, when a partition has made progress
}

// announce wakes every goroutine that waits for a partition's progress.
func (ps *partitions) announce() {
	ps.mu.Lock()
	close(ps.progressed)
	ps.progressed = make(chan struct{})
	ps.mu.Unlock()
}

// progress returns a channel that is closed when a partition makes progress.
func (ps *partitions) progress() <-chan struct{} {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.progressed
}

// until waits until cond is true. It asks whenever a partition has made progress.
func (ps *partitions) until(ctx context.Context, cond func() bool) error {
	for {
		progress := ps.progress()
		if cond() {
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// How much a submit is slowed down: by paceOf for each stream that is ready beyond calm, and by mostPaced at most.
const (
	calm      = 256
	paceOf    = 20 * time.Microsecond
	mostPaced = 100 * time.Millisecond
)

// TakesFor says why no submits are taken for a partition; nil if they are. Of a partition of
// another node it knows nothing, and returns nil.
//
// Where more streams wait for the clerk than it looks at in a moment, a submit is slowed down a little, so that requests do not
// take the time that the clerk needs to keep up with them.
func (ps *partitions) TakesFor(ctx context.Context, p event.Partition) error {
	l := ps.all[p]
	switch {
	case !l.serving.Load():
		return nil
	case l.failed.Load() != nil: // also because keys that were used may not be known
		return ledger.Refused(errors.New("the recipient's partition is stopped; see /readyz"))
	case l.full.Load():
		return ledger.Refused(errors.New("too many messages wait for a decision"))
	}
	if n := l.ready.Load() - calm; n > 0 {
		if err := sleep(ctx, min(time.Duration(n)*paceOf, mostPaced)); err != nil {
			return ledger.Refused(err)
		}
	}
	return nil
}

// Running is how many partitions have not stopped, as far as this node knows.
func (ps *partitions) Running() (n int) {
	for _, l := range ps.all {
		if !l.serving.Load() || l.stopped() == nil {
			n++
		}
	}
	return n
}

// WaitInForce returns when every partition has applied a control position, or has stopped: the
// views say so of those that other nodes serve.
func (ps *partitions) WaitInForce(ctx context.Context, position int64) error {
	for _, l := range ps.all {
		if err := ps.inForce(ctx, l, position); err != nil {
			return err
		}
	}
	return nil
}

// inForce is InForce for one partition.
func (ps *partitions) inForce(ctx context.Context, l *pipeline, position int64) error {
	for {
		progress := ps.progress()
		if l.serving.Load() {
			if l.control.Load() >= position || l.stopped() != nil {
				return nil
			}
			select {
			case <-progress:
			case <-l.ending():
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		// An error of the views is ignored: PostgreSQL may be unreachable for a moment.
		if mark, err := ps.views.Mark(ctx, l.p); err == nil && mark.Partition.Control >= position {
			return nil
		}
		if err := sleep(ctx, foreignMarkPoll); err != nil {
			return err
		}
	}
}

// WaitUncalled returns when no attempt that a pause covers may still be called. Where another
// node serves the partition, that is when every start from before the pause is past its
// call_by, answered or not.
func (ps *partitions) WaitUncalled(ctx context.Context, position int64, p *event.Paused, tenant string) error {
	for _, l := range ps.all {
		for done := false; !done; {
			var err error
			if l.serving.Load() {
				done, err = ps.uncalledHere(ctx, l, position, p, tenant)
			} else {
				done, err = ps.uncalledForeign(ctx, l, position)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// uncalledForeign waits, in a partition of another node, until the time to call has passed.
// False: ask once more.
func (ps *partitions) uncalledForeign(ctx context.Context, l *pipeline, position int64) (done bool, err error) {
	mark, err := ps.views.Mark(ctx, l.p)
	if err != nil {
		return false, err
	}
	if mark.Partition.Control < position { // the views are behind where they were: they are made anew
		return false, sleep(ctx, foreignMarkPoll)
	}
	return true, sleep(ctx, mark.Partition.CallBy.Add(recipient.ClockBound).Sub(ps.now()))
}

// openCalls says until when a carrier may still be called for what a pause covers, and whether
// the partition has not applied the pause yet.
type openCalls struct {
	until  time.Time // zero if no call is open
	behind bool
}

// uncalledHere waits, in a partition that this node serves, for an answer or until the time to
// call has passed. False: ask once more.
func (ps *partitions) uncalledHere(ctx context.Context, l *pipeline, position int64, p *event.Paused, tenant string) (done bool, err error) {
	progress := ps.progress()
	if l.stopped() != nil { // a stopped partition calls no carrier
		return true, nil
	}
	ended, answer := l.ending(), make(chan openCalls, 1)
	l.do(func(c *clerk.Clerk, now time.Time) []dispatch.Call {
		until := c.OpenCalls(now, p, tenant)
		if t := l.callableUntil.Add(recipient.ClockBound); t.After(now) && t.After(until) {
			until = t
		}
		if !until.IsZero() {
			until = ps.now().Add(until.Sub(now)) // with its monotonic reading
		}
		answer <- openCalls{until, c.Fold().Partition().Control < position}
		return nil
	})
	var open openCalls
	for waiting := true; waiting; {
		select {
		case open = <-answer:
			waiting = false
		case <-ended: // the partition goes to another node
			return false, nil
		case <-progress: // the partition may have stopped
			if progress = ps.progress(); l.stopped() != nil {
				return true, nil
			}
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	if open.until.IsZero() && !open.behind {
		return true, nil
	}
	passed := time.NewTimer(time.Minute)
	defer passed.Stop()
	if !open.behind {
		passed.Reset(time.Until(open.until))
	}
	select { // wait for an answer, or until the time to call has passed
	case <-progress:
	case <-passed.C:
	case <-ended:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// heardUpTo is how many events of each partition this node has heard the effect of.
func (ps *partitions) heardUpTo() []int64 {
	out := make([]int64, len(ps.all))
	for i, l := range ps.all {
		out[i] = l.heard.Load()
	}
	return out
}

// hearEvery is how often a node asks how far the partitions of other nodes were folded.
const hearEvery = time.Second

// hear keeps asking the views how far the partitions of other nodes were folded. A START from a
// handset lifts only the opt-outs that were folded when it came.
func (ps *partitions) hear(ctx context.Context) {
	t := time.NewTicker(hearEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, l := range ps.all {
			if l.serving.Load() {
				continue
			}
			mark, err := ps.views.Mark(ctx, l.p)
			if err != nil {
				break // the views cannot be reached: what is known is still true
			}
			if !l.serving.Load() {
				if before := l.heard.Swap(mark.Next); mark.Next < before {
					l.keys.need(before) // the database is an older one than it was: its reservations are, too
				}
				l.keys.committed(mark.Next)
			}
		}
	}
}

// oldest says, by purpose, how long ago the oldest message was submitted among those that could
// be sent now. It knows the partitions that this node serves and that answer within the given
// time.
func (ps *partitions) oldest(within time.Duration) map[string]time.Duration {
	var asked int
	answers := make(chan map[string]time.Time, len(ps.all))
	for _, l := range ps.all {
		if l.serving.Load() {
			asked++
			l.do(func(c *clerk.Clerk, _ time.Time) []dispatch.Call {
				answers <- c.Oldest()
				return nil
			})
		}
	}
	late := time.NewTimer(within)
	defer late.Stop()
	now := ps.now()
	out := map[string]time.Duration{}
	for ; asked > 0; asked-- {
		select {
		case <-late.C:
			return out
		case a := <-answers:
			for purpose, since := range a {
				out[purpose] = max(out[purpose], now.Sub(since))
			}
		}
	}
	return out
}
