package sqldb

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// ProgressAge bounds how old the marks in Progress are, where other processes make them.
const ProgressAge = time.Second

// Progress says how far the views are.
type Progress struct {
	// Marks has, for each partition with events, the index of the next event to apply, whichever
	// process projects the partition.
	Marks map[event.Partition]int64
	// Committed is the wall clock's time of this process's last commit; zero before the first.
	Committed time.Time
}

// progress is what this process knows of how far the views are, and which callers wait for more.
// All methods may be called from any goroutine.
type progress struct {
	// waiting tells the watcher that a caller waits; nil if only this process writes.
	waiting chan struct{}

	mu sync.Mutex
	// marks is how far each partition was folded (Mark.Next), as far as this process knows.
	// commits counts the commits of this process.
	marks     map[event.Partition]int64
	commits   int
	committed time.Time
	positions map[event.Partition][]positionWaiter
	changes   map[event.ID][]*changeWaiter
}

func newProgress() *progress {
	return &progress{marks: map[event.Partition]int64{}, positions: map[event.Partition][]positionWaiter{}, changes: map[event.ID][]*changeWaiter{}}
}

// Progress says how far the views are. Compare it with the log's heads to know how far they are
// behind. It makes no query. What other processes have committed is in it within ProgressAge,
// while the database can be reached.
func (g *progress) Progress() Progress {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := Progress{Marks: make(map[event.Partition]int64, len(g.marks)), Committed: g.committed}
	for n, next := range g.marks {
		p.Marks[n] = next
	}
	return p
}

type positionWaiter struct {
	index int64
	wake  chan struct{}
}

type changeWaiter struct {
	from recipient.Status
	wake chan struct{}
}

// WaitFor returns when the event at the position is applied and its rows can be read, or with
// ctx's error. A commit of this process wakes it at once, and on PostgreSQL a commit of another
// process within about 20 ms. Close does not end the wait: ctx does.
func (g *progress) WaitFor(ctx context.Context, at event.Position) error {
	g.mu.Lock()
	if g.marks[at.Partition] > at.Index {
		g.mu.Unlock()
		return nil
	}
	w := positionWaiter{at.Index, make(chan struct{})}
	g.positions[at.Partition] = append(g.positions[at.Partition], w)
	g.mu.Unlock()
	g.waits()
	select {
	case <-w.wake:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.positions[at.Partition] = slices.DeleteFunc(g.positions[at.Partition], func(x positionWaiter) bool { return x == w })
	if len(g.positions[at.Partition]) == 0 {
		delete(g.positions, at.Partition)
	}
	return ctx.Err()
}

func (g *progress) wakePositions(p event.Partition, next int64) {
	g.positions[p] = slices.DeleteFunc(g.positions[p], func(w positionWaiter) bool {
		if w.index < next {
			close(w.wake)
		}
		return w.index < next
	})
	if len(g.positions[p]) == 0 {
		delete(g.positions, p)
	}
}

// WaitChange returns when the message's status is not from (at once, if it is another already),
// or with ctx's error. The error is reading.ErrNotFound if the tenant has no such message yet. It
// is woken like WaitFor.
func (d *DB) WaitChange(ctx context.Context, tenant string, id event.ID, from recipient.Status) error {
	w, forget := d.waitChange(id, from)
	defer forget()
	// Read the message only now that the waiter is registered: a commit in between is then seen
	// by one of the two.
	m, err := d.Message(ctx, tenant, id)
	if err != nil || m.Status != from {
		return err
	}
	d.waits()
	select {
	case <-w.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitChange begins to wait for a change of a message. forget ends the wait.
func (g *progress) waitChange(id event.ID, from recipient.Status) (w *changeWaiter, forget func()) {
	w = &changeWaiter{from, make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changes[id] = append(g.changes[id], w)
	return w, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.changes[id] = slices.DeleteFunc(g.changes[id], func(x *changeWaiter) bool { return x == w })
		if len(g.changes[id]) == 0 {
			delete(g.changes, id)
		}
	}
}

func (g *progress) wakeChanges(id event.ID, status recipient.Status) {
	g.changes[id] = slices.DeleteFunc(g.changes[id], func(w *changeWaiter) bool {
		if w.from != status {
			close(w.wake)
		}
		return w.from != status
	})
	if len(g.changes[id]) == 0 {
		delete(g.changes, id)
	}
}

// published tells the waiting callers of a commit of this process.
func (g *progress) published(marks map[event.Partition]ledger.Mark, messages map[event.ID]*messageRow) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, m := range marks {
		g.marks[p] = m.Next
		g.wakePositions(p, m.Next)
	}
	g.commits++
	g.committed = time.Now()
	if len(g.changes) > 0 {
		for id, row := range messages {
			g.wakeChanges(id, row.m.Status)
		}
	}
}

// dropped notes that this process has dropped a partition.
func (g *progress) dropped(p event.Partition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.marks, p)
	g.commits++
}

// lookEvery is how often the watcher looks at a database that other processes write to, while a
// caller waits. Otherwise it looks every ProgressAge.
const lookEvery = 20 * time.Millisecond

// waits tells the watcher, if there is one, that a caller waits.
func (g *progress) waits() {
	select {
	case g.waiting <- struct{}{}:
	default:
	}
}

// awaited reports whether a caller waits.
func (g *progress) awaited() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.positions)+len(g.changes) > 0
}

// own is how many commits this process has made.
func (g *progress) own() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.commits
}

// see takes marks that were read from the database. commits is how many commits this process had
// made when they were read. It returns the messages whose change is awaited in partitions that
// were folded further since the marks before.
func (g *progress) see(marks, before map[event.Partition]int64, commits int) (messages []event.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p := range g.marks {
		if _, there := marks[p]; !there && commits == g.commits {
			delete(g.marks, p) // the partition was reset
		}
	}
	for p, next := range marks {
		if next < g.marks[p] && commits != g.commits {
			continue // older than what this process has written meanwhile
		}
		g.marks[p] = next
		g.wakePositions(p, next)
	}
	for id := range g.changes {
		if p := event.Partition(id.Partition()); marks[p] != before[p] {
			messages = append(messages, id)
		}
	}
	return messages
}

// changed tells the callers that wait for a change of the message what its status is.
func (g *progress) changed(id event.ID, status recipient.Status) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wakeChanges(id, status)
}
