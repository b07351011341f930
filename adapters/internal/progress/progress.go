// Package progress knows how far views are, and which callers wait for more.
package progress

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Age bounds how old the marks in Progress are, where other processes make them.
const Age = time.Second

// Progress says how far the views are.
type Progress struct {
	// Marks has, for each partition with events, the index of the next event to apply, whichever
	// process projects the partition.
	Marks map[event.Partition]int64
	// Committed is the wall clock's time of this process's last commit; zero before the first.
	Committed time.Time
}

// Tracker is what this process knows of how far the views are, and which callers wait for more.
// All methods may be called from any goroutine.
type Tracker struct {
	// Waiting tells the watcher of the database that a caller waits; nil if only this process writes.
	Waiting chan struct{}

	mu sync.Mutex
	// marks is how far each partition was folded (Mark.Next), as far as this process knows.
	// commits counts the commits of this process.
	marks     map[event.Partition]int64
	commits   int
	committed time.Time
	positions map[event.Partition][]positionWaiter
	changes   map[event.ID][]*changeWaiter
	beyond    []*beyondWaiter
}

// New returns a Tracker of views of which nothing is known.
func New() *Tracker {
	return &Tracker{marks: map[event.Partition]int64{}, positions: map[event.Partition][]positionWaiter{}, changes: map[event.ID][]*changeWaiter{}}
}

// Progress says how far the views are. Compare it with the log's heads to know how far they are
// behind. It makes no query. What other processes have committed is in it within Age,
// while the database can be reached.
func (g *Tracker) Progress() Progress {
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
func (g *Tracker) WaitFor(ctx context.Context, at event.Position) error {
	g.mu.Lock()
	if g.marks[at.Partition] > at.Index {
		g.mu.Unlock()
		return nil
	}
	w := positionWaiter{at.Index, make(chan struct{})}
	g.positions[at.Partition] = append(g.positions[at.Partition], w)
	g.mu.Unlock()
	g.Waits()
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

func (g *Tracker) wakePositions(p event.Partition, next int64) {
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

// WaitForChange begins to wait for a change of a message. forget ends the wait.
func (g *Tracker) WaitForChange(id event.ID, from recipient.Status) (changed <-chan struct{}, forget func()) {
	w := &changeWaiter{from, make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.changes[id] = append(g.changes[id], w)
	return w.wake, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.changes[id] = slices.DeleteFunc(g.changes[id], func(x *changeWaiter) bool { return x == w })
		if len(g.changes[id]) == 0 {
			delete(g.changes, id)
		}
	}
}

func (g *Tracker) wakeChanges(id event.ID, status recipient.Status) {
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

// Published tells the waiting callers of a commit of this process.
func (g *Tracker) Published(marks map[event.Partition]ledger.Mark, status func(each func(event.ID, recipient.Status))) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, m := range marks {
		g.marks[p] = m.Next
		g.wakePositions(p, m.Next)
		g.wakeBeyond(p, m.Next)
	}
	g.commits++
	g.committed = time.Now()
	if len(g.changes) > 0 {
		status(g.wakeChanges)
	}
}

// Dropped notes that this process has dropped a partition.
func (g *Tracker) Dropped(p event.Partition) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.marks, p)
	g.commits++
}

// Waits tells the watcher, if there is one, that a caller waits.
func (g *Tracker) Waits() {
	select {
	case g.Waiting <- struct{}{}:
	default:
	}
}

// Awaited reports whether a caller waits.
func (g *Tracker) Awaited() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.positions)+len(g.changes)+len(g.beyond) > 0
}

// Own is how many commits this process has made.
func (g *Tracker) Own() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.commits
}

// See takes marks that were read from the database. commits is how many commits this process had
// made when they were read. It returns the messages whose change is awaited in partitions that
// were folded further since the marks before.
func (g *Tracker) See(marks, before map[event.Partition]int64, commits int) (messages []event.ID) {
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
		g.wakeBeyond(p, next)
	}
	for id := range g.changes {
		if p := event.Partition(id.Partition()); marks[p] != before[p] {
			messages = append(messages, id)
		}
	}
	return messages
}

// Changed tells the callers that wait for a change of the message what its status is.
func (g *Tracker) Changed(id event.ID, status recipient.Status) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wakeChanges(id, status)
}

// Begin says how far the views are before this process has written anything.
func (g *Tracker) Begin(marks map[event.Partition]ledger.Mark) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p, m := range marks {
		g.marks[p] = m.Next
	}
}

// Folded says, without a query, how far each partition is folded, whichever process folds it.
func (g *Tracker) Folded() map[event.Partition]int64 { return g.Progress().Marks }

// WaitBeyond returns when a partition is folded beyond its index in next, or when ctx is done. Partitions that next lacks do not count.
func (g *Tracker) WaitBeyond(ctx context.Context, next []int64) {
	g.mu.Lock()
	for p, n := range next {
		if g.marks[event.Partition(p)] > n {
			g.mu.Unlock()
			return
		}
	}
	w := &beyondWaiter{next, make(chan struct{})}
	g.beyond = append(g.beyond, w)
	g.mu.Unlock()
	g.Waits()
	select {
	case <-w.wake:
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		g.beyond = slices.DeleteFunc(g.beyond, func(x *beyondWaiter) bool { return x == w })
	}
}

type beyondWaiter struct {
	next []int64
	wake chan struct{}
}

// wakeBeyond wakes the callers that wait for a partition to be folded beyond an index.
func (g *Tracker) wakeBeyond(p event.Partition, next int64) {
	g.beyond = slices.DeleteFunc(g.beyond, func(w *beyondWaiter) bool {
		there := int(p) >= 0 && int(p) < len(w.next) && next > w.next[p]
		if there {
			close(w.wake)
		}
		return there
	})
}
