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

// foreignMarkPoll is how often the views are asked how far another node's partitions have
// folded, while a request waits for it.
const foreignMarkPoll = 25 * time.Millisecond

// partitions are the recipients' partitions as this node serves them, or hears of those that
// other nodes serve. It answers what intake and control ask of them.
type partitions struct {
	views      ledger.Views
	now        func() time.Time
	maxBacklog int64
	all        []*pipeline

	mu         sync.Mutex
	progressed chan struct{} // closed and made anew when a partition moved on
}

// announce wakes those that wait for a partition to move on.
func (ps *partitions) announce() {
	ps.mu.Lock()
	close(ps.progressed)
	ps.progressed = make(chan struct{})
	ps.mu.Unlock()
}

// progress is closed when a partition moves on.
func (ps *partitions) progress() <-chan struct{} {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return ps.progressed
}

// until waits until cond holds, looking whenever a partition moved on.
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

// TakesFor is why no submits are taken for a partition, as far as this node serves it and
// knows; nil when they are.
func (ps *partitions) TakesFor(p event.Partition) error {
	l := ps.all[p]
	switch {
	case !l.serving.Load():
		return nil
	case l.failed.Load() != nil: // also because keys that were used may not be known
		return ledger.Refused(errors.New("the recipient's partition is stopped; see /readyz"))
	case l.backlog.Load() > ps.maxBacklog:
		return ledger.Refused(errors.New("too many messages wait for a decision"))
	}
	return nil
}

// Running is how many partitions have not stopped, as far as this node serves them.
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
		// An error passes: PostgreSQL may be away for a moment.
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
				done, err = ps.uncalledElsewhere(ctx, l, position)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// uncalledElsewhere waits for the time to call to pass in a partition that another node
// serves; false: look again.
func (ps *partitions) uncalledElsewhere(ctx context.Context, l *pipeline, position int64) (done bool, err error) {
	mark, err := ps.views.Mark(ctx, l.p)
	if err != nil {
		return false, err
	}
	if mark.Partition.Control < position { // the views went back
		return false, sleep(ctx, foreignMarkPoll)
	}
	return true, sleep(ctx, mark.Partition.CallBy.Add(recipient.ClockBound).Sub(ps.now()))
}

// openCalls is what a clerk says of the calls that a pause covers: until when there may be
// any, and whether the partition has yet to apply the pause.
type openCalls struct {
	until  time.Time // zero: there is none
	behind bool
}

// uncalledHere waits, in a partition that this node serves, for an answer or for the time to
// call to pass; false: look again.
func (ps *partitions) uncalledHere(ctx context.Context, l *pipeline, position int64, p *event.Paused, tenant string) (done bool, err error) {
	progress := ps.progress()
	if l.stopped() != nil { // it calls no carrier
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
		case <-ended: // it goes to another node
			return false, nil
		case <-progress: // it may have stopped
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
	select { // an answer came, or the time to call is over
	case <-progress:
	case <-passed.C:
	case <-ended:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

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

// hearEvery is how often a node looks how far the partitions of other nodes have folded.
const hearEvery = time.Second

// hear keeps up with how far the partitions have folded that other nodes serve: a START from
// a handset may lift what stood there when it came, and no more.
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
				break // the views are away: what was heard before is still true
			}
			if !l.serving.Load() {
				l.heard.Store(mark.Next)
			}
		}
	}
}

// oldest is, by purpose, how long ago the oldest message was submitted that could leave now
// and has not, as far as the partitions that this node serves answer within a time.
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
