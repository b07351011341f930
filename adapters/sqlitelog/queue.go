package sqlitelog

import (
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
)

// queue is the appends that wait for the committer. All methods may be called from any goroutine.
type queue struct {
	more chan struct{} // holds a token when the queue is not empty or is closed

	mu        sync.Mutex
	appends   []*engine.Append
	admission engine.Admission
	closed    bool // the committer ends when the queue is empty
}

func newQueue(slots, bytes, events int) *queue {
	return &queue{more: make(chan struct{}, 1), admission: engine.NewAdmission(slots, bytes, events)}
}

// check says what would keep an append of so many events from being queued now.
func (q *queue) check(slot, events int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.admission.Check(slot, 0, events, time.Time{})
}

// enqueue takes an append, or says why not.
func (q *queue) enqueue(a *engine.Append) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.admission.Enter(a, time.Time{}); err != nil {
		return err
	}
	q.appends = append(q.appends, a)
	engine.Signal(q.more)
	return nil
}

// err says why the queue takes no more appends; nil while it does.
func (q *queue) err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.admission.Closed()
}

// stop makes every later append refused with err.
func (q *queue) stop(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.admission.Close(err)
}

// close makes every later append refused, and ends the committer when the queue is empty.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.admission.Close(engine.ErrClosed)
	q.closed = true
	engine.Signal(q.more)
}

// wait returns when the queue is not empty or is closed.
func (q *queue) wait() {
	<-q.more
	engine.Signal(q.more)
}

// take waits for appends and adds as many to batch as one commit may have, in order. It
// adds none when the queue was closed and is empty.
func (q *queue) take(batch []*engine.Append) []*engine.Append {
	for {
		<-q.more
		q.mu.Lock()
		n, size := 0, 0
		for n < len(q.appends) && (n == 0 || size+q.appends[n].Size <= maxCommit) {
			size += q.appends[n].Size
			q.admission.Leave(q.appends[n])
			n++
		}
		batch = append(batch, q.appends[:n]...)
		clear(q.appends[:n])
		if q.appends = q.appends[n:]; len(q.appends) == 0 {
			q.appends = nil
		}
		more, closed := len(q.appends) > 0 || q.closed, q.closed
		q.mu.Unlock()
		if more {
			engine.Signal(q.more)
		}
		if n > 0 || closed {
			return batch
		}
	}
}
