package node

import (
	"context"
	"crypto/sha256"
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
	readBatch  = 512                   // events of one read
	flushEvery = 50 * time.Millisecond // how long applied events wait for their batch
	flushAt    = 2048                  // or how many
)

// pipeline is the thin layer around one partition's clerk: it reads, loads what
// the clerk needs, appends what it proposes and hands calls to dispatchers. All of
// the clerk's state is touched by its goroutine alone.
type pipeline struct {
	node  *Node
	p     event.Partition
	clerk *clerk.Clerk

	mu   sync.Mutex
	mail []func(*clerk.Clerk, time.Time) []dispatch.Call // what others want done on the clerk
	// granted are places on their way to the clerk, as long as it takes some: open.
	granted []dispatch.Granted
	open    bool
	wake    chan struct{}

	records chan []ledger.Record
	readErr chan error
	applied atomic.Int64 // events applied
	control atomic.Int64 // control position in force
	backlog atomic.Int64
	written uint64 // batches handed to the views
	// committed is up to where the views have said that they are committed.
	committed   atomic.Int64
	writing     sync.WaitGroup
	failed      atomic.Pointer[error]
	lastCut     time.Time
	lastLook    time.Time
	short       int   // how often the log ended before the mark
	headAtStart int64 // of this run: past it, the partition is well
	// drained, while the partition drains, is closed when every start that was proposed
	// before the drain has come back or was dropped.
	drained chan struct{}
	// callableUntil is until when a carrier may be called for starts from before this run's
	// mark, whose open attempts this run cannot see.
	callableUntil time.Time

	serving atomic.Bool // this node serves the partition
	halted  atomic.Bool // it waits for an operator
	// heard is how far the partition has folded as far as this node knows, served or not.
	heard atomic.Int64
	end   context.CancelFunc // of this service; with ended under mu
	ended chan struct{}
}

func newPipeline(n *Node, p event.Partition) *pipeline {
	return &pipeline{node: n, p: p, wake: make(chan struct{}, 1)}
}

// begin serves the partition until it is drained or ctx is done.
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

// ending is closed when this service of the partition has ended.
func (l *pipeline) ending() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// drain proposes nothing more, lets the starts that are out come back to be called
// (within ctx), writes what was applied, and ends the partition. What does not come
// back in time will be in doubt.
func (l *pipeline) drain(ctx context.Context) {
	if !l.serving.Load() {
		return
	}
	ended, drained := l.ending(), make(chan struct{})
	l.do(func(c *clerk.Clerk, _ time.Time) []dispatch.Call {
		l.drained = drained
		l.drainClerk(c)
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
	if l.clerk != nil { // of its memory only what it proposed is of use yet
		after := clerk.New(l.node.clerkConfig(l.p))
		l.call(after.Inherit(l.clerk))
		l.clerk = after
	}
}

// stopped is why the partition waits for an operator and calls nobody; nil while it
// runs or tries to.
func (l *pipeline) stopped() error {
	if err := l.failed.Load(); err != nil && l.halted.Load() {
		return *err
	}
	return nil
}

// drainClerk ends the clerk's proposing, and says so once none of its starts is out.
func (l *pipeline) drainClerk(c *clerk.Clerk) {
	if c.Drain() == 0 {
		close(l.drained)
		l.drained = nil
	}
}

// grant brings a place to the clerk that waits for it. One that comes when the partition
// is served no more is given back, or it would be kept from others until it expires.
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

// do runs f on the pipeline's goroutine, soon.
func (l *pipeline) do(f func(*clerk.Clerk, time.Time) []dispatch.Call) {
	l.mu.Lock()
	l.mail = append(l.mail, f)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run serves the partition until ctx is done. When its position does not follow
// the log any more (a restored ledger, a topic that lost its tail), or a batch
// could not be written, it drops what it had in memory and starts from its mark,
// or from nothing. An event that it cannot understand stops it until control
// accepts that very record.
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
		if errors.Is(err, ledger.ErrDamaged) { // never skipped: the others go on
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
		l.node.partitions.announce()
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// errOutrun: the views are ahead of what this run has read.
var errOutrun = errors.New("another node has updated this partition's views further")

func (l *pipeline) serve(parent context.Context) error {
	n := l.node
	ctx, cancel := context.WithCancel(parent)
	// What this run began ends with it: a batch that is written after the next run
	// read its mark would give it streams from ahead of its position.
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
		l.drainClerk(l.clerk)
	}
	l.written, l.lastLook, l.callableUntil = 0, time.Time{}, mark.Partition.CallBy
	if _, l.headAtStart, err = n.cfg.Log.Read(ctx, l.p, 0, 0); err != nil {
		return err
	}
	l.committed.Store(mark.Next)
	l.applied.Store(mark.Next)
	l.heard.Store(mark.Next)
	l.control.Store(mark.Partition.Control)
	n.partitions.announce() // there may be nothing to read that would say so
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
			l.failed.Store(nil) // it reads and folds again
		}
		timer.Reset(wait)
	}
}

// startingMark is where the views stand, if the log still says the same there.
func (l *pipeline) startingMark(ctx context.Context) (ledger.Mark, error) {
	n := l.node
	mark, err := n.cfg.Views.Mark(ctx, l.p)
	if err != nil || mark.Next == 0 {
		return mark, err
	}
	_, head, err := n.cfg.Log.Read(ctx, l.p, 0, 0)
	if err != nil {
		return mark, err
	}
	if n.cfg.Placement != nil && mark.Next > head && l.short < 3 {
		// A new leader may not know its own end at once: it is asked again.
		l.short++
		return mark, fmt.Errorf("%w: the views have read up to %d, and the log says that it ends at %d", ledger.ErrAhead, mark.Next, head)
	}
	l.short = 0
	if mark.Next <= head {
		records, _, err := n.cfg.Log.Read(ctx, l.p, mark.Next-1, 1)
		if err != nil {
			return mark, err
		}
		if len(records) == 0 { // nothing is said against the views
			return mark, errors.Join(ctx.Err(), fmt.Errorf("no record could be read at %s", event.Position{Partition: l.p, Index: mark.Next - 1}))
		}
		if sha256.Sum256(records[0].Raw) == mark.Hash {
			return mark, nil
		}
	}
	n.log.Warn("the views do not fit this ledger; they are rebuilt", "partition", l.p.String(), "position", mark.Next)
	if err := n.cfg.Views.Reset(ctx, l.p); err != nil {
		return mark, err
	}
	return ledger.Mark{}, nil
}

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

// step takes what came in, acts, and says when to come back at the latest.
func (l *pipeline) step(ctx context.Context, batch []ledger.Record, writeFailed chan error) (time.Duration, error) {
	n, c := l.node, l.clerk
	fold := c.Fold()
	now, fault, detail := n.trusted()
	for batch != nil {
		if err := l.load(ctx, fold.Missing(batch)); err != nil {
			return 0, err
		}
		calls, err := c.Apply(ctx, batch, now)
		l.call(calls) // also of those before an error: the clerk has forgotten them
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
		c.Look(due)
		l.lastLook = now
	}
	if l.drained != nil {
		l.drainClerk(c)
	}
	out := c.Act(ctx, now, fault, detail)
	l.backlog.Store(int64(c.Backlog()))
	for _, p := range out.Proposals {
		n.cfg.Log.Append(l.p, p.Events, func(a ledger.Appended) {
			l.do(func(now *clerk.Clerk, _ time.Time) []dispatch.Call {
				if now != c {
					return nil // started again meanwhile: what was proposed is nobody's to call
				}
				return now.Acked(p.ID, a.Err)
			})
		})
	}
	l.call(out.Calls)
	if err := l.load(ctx, out.Need); err != nil {
		return 0, err
	}
	if fold.Pending() > 0 && (fold.Pending() >= flushAt || now.Sub(l.lastCut) >= flushEvery) {
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
		wait = min(wait, max(flushEvery-now.Sub(l.lastCut), 0))
	}
	if out.More {
		wait = 0
	}
	return wait, nil
}

func (l *pipeline) load(ctx context.Context, subjects []event.Pseudonym) error {
	if len(subjects) == 0 {
		return nil
	}
	committed := l.committed.Load() // before they are read: commits go on
	folds, asOf, err := l.node.cfg.Views.Streams(ctx, l.p, subjects)
	if err != nil {
		return err
	}
	switch {
	case asOf > l.clerk.Fold().Next():
		return errOutrun // these folds hold events that this run would apply again
	case asOf < committed:
		return fmt.Errorf("the views have read up to %d, but had committed up to %d before: their database lost its last rows", asOf, committed)
	}
	l.clerk.Load(subjects, folds)
	return nil
}

func (l *pipeline) cut(writeFailed chan error) error {
	b, err := l.clerk.Fold().Cut()
	if err != nil || b == nil {
		return err
	}
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
		l.do(func(c *clerk.Clerk, _ time.Time) []dispatch.Call {
			if c == writer {
				c.Fold().Committed(nth)
			}
			return nil
		})
	})
	return nil
}

// last writes what was applied before the partition stops. What is lost here is
// read again.
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

// call hands starts to their carriers. The clerk has forgotten them already.
func (l *pipeline) call(calls []dispatch.Call) {
	for i := range calls {
		l.node.call(&calls[i])
	}
}
