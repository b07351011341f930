package clerk

import (
	"container/heap"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// agenda says which stream the clerk looks at next. It has a queue of streams that are ready, the
// most urgent first, and timers that make others ready later.
type agenda struct {
	horizon time.Duration // a timer later than this is not kept: the views bring the stream in time
	rate    int           // how many scheduled and deferred messages may be decided in a second

	ready  queue
	timers timers
	seq    uint64
	// resting are the streams with held or allowed messages: a change of control makes them
	// ready.
	resting map[event.Pseudonym]bool
	// turns says when each scheduled or deferred message may be decided, so that messages that
	// become due together are decided one after the other. nextTurn is when the next one may be.
	turns    map[event.ID]time.Time
	nextTurn time.Time
	// moot are streams that left memory with a timer, and with nothing that is ever due: the timer is dropped when it comes.
	moot map[event.Pseudonym]bool
}

func newAgenda(horizon time.Duration, rate int) agenda {
	return agenda{horizon: horizon, rate: rate, resting: map[event.Pseudonym]bool{}, turns: map[event.ID]time.Time{}, moot: map[event.Pseudonym]bool{}}
}

// queue makes a stream ready, unless it is ready already or has a proposal in flight. st is nil
// for a stream that is not in memory: it is loaded when its turn comes.
func (a *agenda) queue(s event.Pseudonym, st *stream) {
	priority := 0
	if st != nil {
		if st.queued || st.flight != nil {
			return
		}
		st.queued = true
		priority = urgency(st.state)
	}
	a.seq++
	heap.Push(&a.ready, item{priority, a.seq, s})
}

// urgency is the highest priority of the messages that wait in a stream. Answers to inbound
// messages come before every message: a lift or an opt-out may be among them.
func urgency(s *recipient.State) (priority int) {
	if len(s.Asks) > 0 || len(s.Inbound) > 0 {
		return 10
	}
	for _, m := range s.Messages {
		if m.Status.Unsent() {
			priority = max(priority, m.Priority)
		}
	}
	return priority
}

// wake makes a stream that has changed ready, and notes whether it rests.
func (a *agenda) wake(st *stream) {
	rests := false
	for _, m := range st.state.Messages {
		rests = rests || m.Status == recipient.Held || m.Status == recipient.Allowed
	}
	if rests {
		a.resting[st.subject] = true
	} else {
		delete(a.resting, st.subject)
	}
	a.queue(st.subject, st)
}

// next takes the most urgent stream out of the queue.
func (a *agenda) next() event.Pseudonym { return heap.Pop(&a.ready).(item).subject }

// remind sets a timer for a stream, unless an earlier one is set, or it is later than the
// horizon: then the views bring the stream in time.
func (a *agenda) remind(st *stream, t, now time.Time) {
	if t.IsZero() || t.Sub(now) > a.horizon || !st.timer.IsZero() && !t.Before(st.timer) {
		return
	}
	st.timer = t
	heap.Push(&a.timers, timer{t, st.subject})
}

// evicted takes note of a stream that leaves memory. What is ready, parked or has a timer is loaded when its turn comes.
func (a *agenda) evicted(st *stream) {
	if !st.timer.IsZero() && st.state.Due().IsZero() {
		a.moot[st.subject] = true
	} else { // it may have left memory before, with nothing due then
		delete(a.moot, st.subject)
	}
}

// set sets a timer for a stream that need not be in memory.
func (a *agenda) set(d ledger.Due) { heap.Push(&a.timers, timer{d.At, d.Subject}) }

// due takes out a timer that has come due, and returns its stream; false if there is none.
func (a *agenda) due(now time.Time) (event.Pseudonym, bool) {
	if len(a.timers) == 0 || a.timers[0].at.After(now) {
		return event.Pseudonym{}, false
	}
	return heap.Pop(&a.timers).(timer).subject, true
}

// turn is when a message whose time has come may be decided: at once if there were fewer than a
// second's worth of such messages lately, else one after the other at the rate. A message keeps
// its turn.
func (a *agenda) turn(message event.ID, now time.Time) time.Time {
	if at, ok := a.turns[message]; ok {
		return at
	}
	if a.nextTurn.Before(now) {
		a.nextTurn = now
	}
	at := a.nextTurn.Add(-time.Second)
	a.nextTurn = a.nextTurn.Add(time.Second / time.Duration(a.rate))
	a.turns[message] = at
	return at
}

// item is a stream in the ready queue.
type item struct {
	priority int
	seq      uint64
	subject  event.Pseudonym
}

// queue is a heap: the highest priority first, then in order of arrival.
type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].priority > q[j].priority || q[i].priority == q[j].priority && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(item)) }
func (q *queue) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}

// timer makes a stream ready at an instant.
type timer struct {
	at      time.Time
	subject event.Pseudonym
}

// timers is a heap: the earliest first.
type timers []timer

func (q timers) Len() int           { return len(q) }
func (q timers) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q timers) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *timers) Push(x any)        { *q = append(*q, x.(timer)) }
func (q *timers) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}
