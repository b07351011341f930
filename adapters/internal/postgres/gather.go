package postgres

import (
	"context"
	"slices"
	"sync"
	"time"
)

// gatherFor is how long after the beginning of a statement with several questions the next one
// begins: the questions that come meanwhile share it. It is short beside the time of an append.
const gatherFor = 5 * time.Millisecond

// Gather makes one statement of questions of one kind that are asked at about the same time,
// because a statement costs the node and the server more than a row. There is one statement at a
// time; questions that come meanwhile are asked together next, so an answer is never older than
// its question. A lone caller waits for no other: a question is asked at once if no statement is
// under way and the one before had one question.
//
// All methods may be called from any goroutine.
type Gather[Q, A any] struct {
	ask  func(ctx context.Context, questions []Q) ([]A, error)
	most int

	mu      sync.Mutex
	asking  bool // a goroutine asks
	waiting []*question[Q, A]
	next    time.Time // when the next statement may begin
}

// question is one call of Ask.
type question[Q, A any] struct {
	q      Q
	batch  *batch // nil while it waits
	answer A
	err    error
	done   chan struct{} // closed when it is answered
}

// batch is the questions of one statement.
type batch struct {
	callers int                // how many still wait for the answer
	cancel  context.CancelFunc // of the statement
}

// NewGather returns a Gather that asks up to most questions with one call of ask. ask returns their
// answers in order, or an error, which all of its callers get. So what can be wrong with one question
// alone must be part of its answer. ask makes its statement once: each caller asks within Client.Do or
// Client.Try, which bound the call and try it again after a connection broke. The context of ask ends
// when no caller waits any more.
func NewGather[Q, A any](most int, ask func(ctx context.Context, questions []Q) ([]A, error)) *Gather[Q, A] {
	return &Gather[Q, A]{ask: ask, most: most}
}

// Ask returns the answer to a question, or the error of the call of ask that it was in, or that of
// ctx if this ends before.
func (g *Gather[Q, A]) Ask(ctx context.Context, q Q) (answer A, err error) {
	if err := ctx.Err(); err != nil {
		return answer, err
	}
	x := &question[Q, A]{q: q, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, x)
	if !g.asking {
		g.asking = true
		go g.run()
	}
	g.mu.Unlock()
	select {
	case <-x.done:
		return x.answer, x.err
	case <-ctx.Done():
		g.leave(x)
		return answer, ctx.Err()
	}
}

// leave takes note that a caller does not wait any more.
func (g *Gather[Q, A]) leave(x *question[Q, A]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if x.batch == nil {
		g.waiting = slices.DeleteFunc(g.waiting, func(y *question[Q, A]) bool { return x == y })
		return
	}
	if x.batch.callers--; x.batch.callers == 0 {
		x.batch.cancel()
	}
}

// run asks until no question waits.
func (g *Gather[Q, A]) run() {
	for {
		rest, more := g.more()
		if !more {
			return
		}
		<-time.After(rest) // a few milliseconds at most
		ctx, cancel := context.WithCancel(context.Background())
		if all := g.take(cancel); len(all) > 0 { // else their callers have left
			g.answer(ctx, all)
		}
		cancel()
	}
}

// more says whether questions wait, and for how long they wait for others.
func (g *Gather[Q, A]) more() (rest time.Duration, more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asking = len(g.waiting) > 0
	return time.Until(g.next), g.asking
}

// take takes the questions of the next statement.
func (g *Gather[Q, A]) take(cancel context.CancelFunc) []*question[Q, A] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), g.most)
	all := g.waiting[:n:n]
	g.waiting = slices.Clone(g.waiting[n:])
	b := &batch{callers: n, cancel: cancel}
	for _, x := range all {
		x.batch = b
	}
	if n > 1 {
		g.next = time.Now().Add(gatherFor)
	}
	return all
}

// answer asks questions and hands their answers back.
func (g *Gather[Q, A]) answer(ctx context.Context, all []*question[Q, A]) {
	questions := make([]Q, len(all))
	for i, x := range all {
		questions[i] = x.q
	}
	answers, err := g.ask(ctx, questions)
	for i, x := range all {
		if x.err = err; err == nil {
			x.answer = answers[i]
		}
		close(x.done)
	}
}
