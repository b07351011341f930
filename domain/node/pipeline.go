package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	readBatch = 512 // how many events one read may return
	// flushEvery is how long applied events wait for their batch; busyFlush, where there are more than busyAt of them: most
	// messages are then over when their rows are written, once.
	flushEvery, busyFlush, busyAt = 50 * time.Millisecond, 300 * time.Millisecond, 8
	flushAt                       = 2048 // and how many may wait
	// markEvery is how often the views are asked whether they are known not to be what was written. What is
	// loaded from them is refused at once.
	markEvery = 5 * time.Second
	// hurryEvery is how long after a batch the next one is written, if a caller waits for it.
	hurryEvery = 5 * time.Millisecond
)

// pipeline runs one partition's clerk: it reads the log, loads the streams that the clerk needs,
// appends what the clerk proposes, and hands its calls to the dispatchers. Only the pipeline's
// goroutine touches the clerk.
type pipeline struct {
	node  *Node
	p     event.Partition
	clerk *clerk.Clerk

	mu   sync.Mutex
	mail []func(*clerk.Clerk, time.Time) []dispatch.Call // what other goroutines want done with the clerk
	// granted are grants on their way to the clerk. open says that it still takes them.
	granted []dispatch.Granted
	open    bool
	wake    chan struct{}

	records chan []ledger.Record
	readErr chan error
	applied atomic.Int64 // how many events were applied
	control atomic.Int64 // the control position in force
	backlog atomic.Int64
	ready   atomic.Int64 // of the backlog, what could be looked at now
	full    atomic.Bool  // whether so much waits that submits are refused
	written uint64       // how many batches were given to the views
	// keys says whether the views know every idempotency key that was used before this run.
	keys wholeKeys
	// committed is the index up to which the views have committed.
	committed atomic.Int64
	writing   sync.WaitGroup
	failed    atomic.Pointer[error]
	lastCut   time.Time
	// hurried is up to where a caller waits for the views, and cutTo up to where they were given batches.
	hurried     atomic.Int64
	cutTo       int64
	lastLook    time.Time
	lastMark    time.Time // when the views were last asked whether they fit
	short       int       // how often in a row the log ended before the mark
	headAtStart int64     // the head when this run began: when it is reached, the partition is well
	// drained is closed when every start that was proposed before the drain has come back or was
	// dropped; nil while the partition does not drain.
	drained chan struct{}
	// callableUntil is until when a carrier may be called for starts from before the mark of this
	// run. This run does not know their open attempts.
	callableUntil time.Time

	serving atomic.Bool // whether this node serves the partition
	halted  atomic.Bool // whether it waits for an operator
	// heard is how many events of the partition this node knows to be folded, here or by another
	// node.
	heard atomic.Int64
	end   context.CancelFunc // ends this service of the partition; guarded by mu, like ended
	ended chan struct{}
}

func newPipeline(n *Node, p event.Partition) *pipeline {
	return &pipeline{node: n, p: p, wake: make(chan struct{}, 1)}
}

// begin starts to serve the partition, until it is drained or ctx is done.
func (l *pipeline) begin(ctx context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.serving.Load() {
		return
	}
	ctx, l.end = context.WithCancel(ctx)
	ended := make(chan struct{})
	l.ended = ended
	l.mail, l.drained, l.open = nil, nil, true
	l.failed.Store(nil)
	l.serving.Store(true)
	go func() {
		defer close(ended)
		defer l.serving.Store(false)
		l.run(ctx)
	}()
}

// ending returns a channel that is closed when this service of the partition has ended.
func (l *pipeline) ending() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// drain ends the proposing, waits (within ctx) until the starts in flight have come back and
// their carriers were called, writes what was applied to the views, and ends the service of the
// partition. A start that does not come back in time will be in doubt.
func (l *pipeline) drain(ctx context.Context) {
	if !l.serving.Load() {
		return
	}
	ended, drained := l.ending(), make(chan struct{})
	l.do(func(c *clerk.Clerk, now time.Time) []dispatch.Call {
		l.drained = drained
		l.drainClerk(c, now)
		return nil
	})
	for waiting := true; waiting; {
		progress := l.node.partitions.progress()
		if l.stopped() != nil {
			break
		}
		select {
		case <-drained:
			waiting = false
		case <-ended:
			waiting = false
		case <-ctx.Done():
			waiting = false
		case <-progress: // it may have stopped meanwhile
		}
	}
	l.end()
	<-ended
	l.mu.Lock()
	late := l.granted
	l.granted, l.open = nil, false
	l.mu.Unlock()
	for _, g := range late {
		l.giveBack(g)
	}
	if l.clerk != nil { // only what the clerk proposed is still of use
		after := clerk.New(l.node.clerkConfig(l.p))
		l.call(after.Inherit(l.clerk))
		l.clerk = after
	}
}

// stopped says why the partition waits for an operator and calls no carrier; nil while it runs or
// tries to run.
func (l *pipeline) stopped() error {
	if err := l.failed.Load(); err != nil && l.halted.Load() {
		return *err
	}
	return nil
}

// drainClerk ends the clerk's proposing, and closes drained when none of its starts is in flight.
func (l *pipeline) drainClerk(c *clerk.Clerk, now time.Time) {
	if c.Drain(now) == 0 {
		close(l.drained)
		l.drained = nil
	}
}

// grant gives slots to the clerk that waits for them. If the partition is no longer served, it
// gives them back; else they would be kept from other messages until they expire.
func (l *pipeline) grant(g dispatch.Granted) {
	l.mu.Lock()
	open := l.open
	if open {
		l.granted = append(l.granted, g)
	}
	l.mu.Unlock()
	if !open {
		l.giveBack(g)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *pipeline) giveBack(g dispatch.Granted) {
	l.node.dispatchers[g.Grant.Account].Release(g.Grant)
}

// do makes the pipeline's goroutine run f soon.
func (l *pipeline) do(f func(*clerk.Clerk, time.Time) []dispatch.Call) {
	l.mu.Lock()
	l.mail = append(l.mail, f)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Hurry returns a function that asks the node to write what it has applied up to a position to the views at
// once, where it serves that partition, and not with its next batch. It does not wait.
func Hurry(n *Node) func(at event.Position) {
	return func(at event.Position) {
		if at.Partition < 0 || int(at.Partition) >= len(n.partitions.all) {
			return
		}
		l := n.partitions.all[at.Partition]
		if !l.serving.Load() || l.committed.Load() > at.Index {
			return
		}
		for was := l.hurried.Load(); was <= at.Index; was = l.hurried.Load() {
			if l.hurried.CompareAndSwap(was, at.Index+1) {
				break
			}
		}
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// run serves the partition until ctx is done. If a batch could not be written, it drops its memory and
// begins anew from its mark. If its position no longer fits the log (a ledger was restored, a topic lost
// its tail, the views are another ledger's), it is stopped, and looks again every minute at the latest. If
// a record is no event of this ledger, it stops until control has been changed, and then tries that
// record once more.
func (l *pipeline) run(ctx context.Context) {
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, time.Minute) {
		began := l.node.cfg.Clock.Now()
		_, control := l.node.control.Latest()
		err := l.serve(ctx)
		if l.node.cfg.Clock.Now().Sub(began) > 5*time.Minute {
			wait = time.Second
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errOutrun) {
			l.node.log.Info("another node has updated this partition's views further; reading continues from there", "partition", l.p.String())
			wait = time.Second
			continue
		}
		l.node.log.Error("a partition stopped; it starts again", "partition", l.p.String(), "error", err)
		l.failed.Store(&err)
		if errors.Is(err, ledger.ErrDamaged) { // the record is never skipped; the other partitions go on
			l.halted.Store(true)
			l.node.partitions.announce()
			select {
			case <-ctx.Done():
			case <-control:
				wait = time.Second
			}
			l.halted.Store(false)
			continue
		}
		if errors.Is(err, ledger.ErrAhead) {
			wait = min(wait, time.Second) // a new leader of the log may not know its own head yet
		}
		contradicted := errors.Is(err, ledger.ErrLost)
		l.halted.Store(contradicted)
		l.node.partitions.announce()
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		if contradicted {
			l.halted.Store(false)
		}
	}
}

// errOutrun: the views are ahead of what this run has read.
var errOutrun = errors.New("another node has updated this partition's views further")

// serve is one run over the partition, from its mark until an error or the end of parent.
func (l *pipeline) serve(parent context.Context) error {
	n := l.node
	ctx, cancel := context.WithCancel(parent)
	// Everything that this run began ends with it. Otherwise a batch could be written after the
	// next run has read its mark, and that run would load streams that are ahead of its position.
	var reading sync.WaitGroup
	defer func() { cancel(); reading.Wait(); l.writing.Wait() }()
	mark, err := l.startingMark(ctx)
	if err != nil {
		return err
	}
	reg, err := n.control.Wait(ctx, mark.Partition.Control)
	if err != nil {
		return err
	}
	before := l.clerk
	l.clerk = clerk.New(n.clerkConfig(l.p))
	l.clerk.Fold().Restore(mark, reg)
	if before != nil {
		l.call(l.clerk.Inherit(before))
	}
	if l.drained != nil {
		l.drainClerk(l.clerk, n.cfg.Clock.Now())
	}
	l.written, l.lastLook, l.callableUntil, l.cutTo = 0, time.Time{}, mark.Partition.CallBy, mark.Next
	if _, l.headAtStart, err = n.cfg.Log.Read(ctx, l.p, 0, 0); err != nil {
		return err
	}
	clerk.LiveFrom(l.clerk, l.headAtStart)
	l.keys.need(max(mark.Next, l.headAtStart))
	l.keys.committed(mark.Next)
	l.committed.Store(mark.Next)
	l.applied.Store(mark.Next)
	l.heard.Store(mark.Next)
	l.control.Store(mark.Partition.Control)
	n.partitions.announce() // there may be no event to read that would announce it
	l.records, l.readErr = make(chan []ledger.Record, 2), make(chan error, 1)
	reading.Go(func() { l.read(ctx, mark.Next) })
	writeFailed := make(chan error, 1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var batch []ledger.Record
		select {
		case <-ctx.Done():
			return l.last(writeFailed)
		case err := <-l.readErr:
			return err
		case err := <-writeFailed:
			return err
		case batch = <-l.records:
		case <-l.wake:
		case <-timer.C:
		}
		wait, err := l.step(ctx, batch, writeFailed)
		if err != nil {
			return err
		}
		if l.clerk.Fold().Next() >= l.headAtStart {
			l.failed.Store(nil) // it reads and folds, so it has recovered
		}
		timer.Reset(wait)
	}
}

// startingMark is where the views stand, if the log still says the same there. Else it is an ErrLost, and
// nothing is changed: the views may be the only ones that still know an opt-out.
func (l *pipeline) startingMark(ctx context.Context) (ledger.Mark, error) {
	n := l.node
	// Of a partition that comes from another node, this one has not followed what became of the rows.
	if n.cfg.Placement != nil {
		if err := n.cfg.Views.Sample(ctx); err != nil {
			return ledger.Mark{}, err
		}
	}
	mark, err := n.cfg.Views.Mark(ctx, l.p)
	if errors.Is(err, ledger.ErrUnfit) {
		n.log.Error("the views are made anew from the ledger", "partition", l.p.String(), "error", err)
		return ledger.Mark{}, n.cfg.Views.Reset(ctx, l.p)
	}
	if err != nil || mark.Next == 0 {
		return mark, err
	}
	_, head, err := n.cfg.Log.Read(ctx, l.p, 0, 0)
	if err != nil {
		return mark, err
	}
	if n.cfg.Placement != nil && mark.Next > head && l.short < 3 {
		// A new leader may not know its own head at once: ask it once more.
		l.short++
		return mark, fmt.Errorf("%w: the views have read up to %d, and the log says that it ends at %d", ledger.ErrAhead, mark.Next, head)
	}
	l.short = 0
	at := event.Position{Partition: l.p, Index: mark.Next - 1}
	if mark.Next > head {
		return mark, fmt.Errorf("%w: the views have read up to %s, and the log ends before %s", ledger.ErrLost, at, event.Position{Partition: l.p, Index: head})
	}
	hash, err := ledger.HashAt(ctx, n.cfg.Log, at)
	if err != nil { // nothing is said against the views
		return mark, err
	}
	if hash != mark.Hash {
		return mark, fmt.Errorf("%w: at %s the views have read another event than the log has now: the views or the log were exchanged, or the log went on from an older state", ledger.ErrLost, at)
	}
	return mark, nil
}

// read reads the log from an index on, until ctx is done or a read fails.
func (l *pipeline) read(ctx context.Context, from int64) {
	for ctx.Err() == nil {
		records, _, err := l.node.cfg.Log.Read(ctx, l.p, from, readBatch)
		if err != nil {
			l.readErr <- fmt.Errorf("read %s: %w", event.Position{Partition: l.p, Index: from}, err)
			return
		}
		if len(records) == 0 {
			continue
		}
		from += int64(len(records))
		select {
		case l.records <- records:
		case <-ctx.Done():
		}
	}
}

// step applies what was read, gives the clerk what came for it, lets it act, and returns when to
// make the next step at the latest.
func (l *pipeline) step(ctx context.Context, batch []ledger.Record, writeFailed chan error) (time.Duration, error) {
	n, c := l.node, l.clerk
	fold := c.Fold()
	now, fault, detail := n.trusted()
	for batch != nil {
		if err := l.load(ctx, fold.Missing(batch), batch); err != nil {
			return 0, err
		}
		calls, err := c.Apply(ctx, batch, now)
		l.call(calls) // also those from before an error: the clerk has forgotten them
		if err != nil {
			return 0, err
		}
		n.observe(fold.Tail(len(batch)))
		select {
		case batch = <-l.records:
		default:
			batch = nil
		}
		if fold.Pending() >= flushAt {
			if err := l.cut(writeFailed); err != nil {
				return 0, err
			}
		}
	}
	if next := fold.Next(); next != l.applied.Load() {
		l.applied.Store(next)
		l.heard.Store(next)
		l.control.Store(fold.Partition().Control)
		n.partitions.announce()
	}
	l.mu.Lock()
	mail, granted := l.mail, l.granted
	l.mail, l.granted = nil, nil
	l.mu.Unlock()
	for _, g := range granted {
		c.Granted(g)
	}
	for _, f := range mail {
		l.call(f(c, now))
	}
	if now.Sub(l.lastLook) > c.Horizon()/2 {
		due, err := n.cfg.Views.Due(ctx, l.p, now.Add(c.Horizon()))
		if err != nil {
			return 0, err
		}
		c.Look(due, now.Add(c.Horizon()))
		l.lastLook = now
	}
	if now.Sub(l.lastMark) > markEvery {
		if _, err := n.cfg.Views.Mark(ctx, l.p); errors.Is(err, ledger.ErrUnfit) {
			return 0, err // another error is no reason to stop
		}
		l.lastMark = now
	}
	if l.drained != nil {
		l.drainClerk(c, now)
	}
	out := c.Act(ctx, now, fault, detail)
	n.asking.put(out.Asks, out.Withdrawn)
	l.waits(c)
	for _, p := range out.Proposals {
		n.cfg.Log.Append(l.p, p.Events, func(a ledger.Appended) {
			l.do(func(now *clerk.Clerk, _ time.Time) []dispatch.Call {
				if now != c {
					return nil // the partition began anew meanwhile: that clerk's starts are not to be called
				}
				return now.Acked(p.ID, a.Err)
			})
		})
	}
	l.call(out.Calls)
	if err := l.load(ctx, out.Need, nil); err != nil {
		return 0, err
	}
	flush := flushEvery
	if fold.Pending() > busyAt {
		flush = busyFlush
	}
	if to := l.hurried.Load(); l.cutTo < to && fold.Next() >= to {
		flush = hurryEvery
	}
	if fold.Pending() > 0 && (fold.Pending() >= flushAt || now.Sub(l.lastCut) >= flush) {
		if err := l.cut(writeFailed); err != nil {
			return 0, err
		}
		l.lastCut = now
	}
	wait := time.Second
	if !out.Next.IsZero() {
		wait = min(wait, max(out.Next.Sub(now), 0))
	}
	if fold.Pending() > 0 {
		wait = min(wait, max(flush-now.Sub(l.lastCut), 0))
	}
	if out.More {
		wait = 0
	}
	return wait, nil
}

// waits takes down how much work waits, for those who submit.
func (l *pipeline) waits(c *clerk.Clerk) {
	ready, parked := c.Backlog()
	l.backlog.Store(int64(ready + parked))
	l.ready.Store(int64(ready))
	l.full.Store(c.Full())
}

// load loads streams from the views into the clerk, and the rows that records of loaded streams need.
func (l *pipeline) load(ctx context.Context, subjects []event.Pseudonym, records []ledger.Record) error {
	committed := l.committed.Load() // read this first: commits go on meanwhile
	fold := l.clerk.Fold()
	return fold.Fetch(ctx, l.node.cfg.Views, subjects, records, l.clerk.Load, func(asOf int64) error {
		switch {
		case asOf > fold.Next():
			return errOutrun // these folds include events that this run would apply a second time
		case asOf < committed:
			return fmt.Errorf("the views have read up to %d, but had committed up to %d before: their database lost its last rows", asOf, committed)
		}
		return nil
	})
}

// cut gives the views what was applied since the last batch.
func (l *pipeline) cut(writeFailed chan error) error {
	b, err := l.clerk.Fold().Cut()
	if err != nil || b == nil {
		return err
	}
	l.cutTo = b.Mark.Next
	l.written++
	nth := l.written
	writer := l.clerk
	l.writing.Add(1)
	l.node.cfg.Views.Write(b, func(err error) {
		defer l.writing.Done()
		if err != nil {
			select {
			case writeFailed <- err:
			default:
			}
			return
		}
		l.committed.Store(b.Mark.Next)
		l.keys.committed(b.Mark.Next)
		l.do(func(c *clerk.Clerk, _ time.Time) []dispatch.Call {
			if c == writer {
				c.Fold().Committed(nth)
			}
			return nil
		})
	})
	return nil
}

// last gives the views what was applied before the partition ends, and waits for them. What is
// lost here is read from the log once more.
func (l *pipeline) last(writeFailed chan error) error {
	b, err := l.clerk.Fold().Cut()
	if err != nil || b == nil {
		return err
	}
	done := make(chan error, 1)
	l.node.cfg.Views.Write(b, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case err := <-writeFailed:
		return err
	}
}

// call hands starts to their carriers. The clerk has already forgotten them.
func (l *pipeline) call(calls []dispatch.Call) {
	for i := range calls {
		l.node.call(&calls[i])
	}
}
