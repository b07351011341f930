package kafkalog

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// busy is at how many events a second that a node writes, or reads, its requests to one broker are 5 ms apart
// (engine.Pace): a request or a fetch of one event costs the node and the broker more than another event in it.
const busy = 2000

// maxRequest bounds the stored bytes of one request, whose batches go to one broker.
const maxRequest = 4 << 20

// lane is one partition's queue of appends. It has one flight at a time, so that no append of
// this process overtakes another.
type lane struct {
	queue    []*engine.Append
	flight   *flight
	producer producer // id -1: it needs a new one
	sequence int32
	active   bool // it is in sender.active
}

// backlog is the appends that have no answer yet. All methods may be called from any goroutine.
type backlog struct {
	mu        sync.Mutex
	incoming  []*engine.Append // not yet in a lane
	admission engine.Admission

	wakeup chan struct{} // holds a token when there are incoming appends, or the backlog is closed
}

// check says what would keep an append of so many events from being queued now.
func (b *backlog) check(slot, events int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admission.Check(slot, 0, events, time.Now())
}

// enqueue takes an append, or says why not.
func (b *backlog) enqueue(a *engine.Append) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.admission.Enter(a, time.Now()); err != nil {
		return err
	}
	b.incoming = append(b.incoming, a)
	engine.Signal(b.wakeup)
	return nil
}

// queued is how many bytes and events have no answer yet.
func (b *backlog) queued() (bytes, events int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admission.Queued()
}

// suspects lists the slots whose last append failed for want of brokers.
func (b *backlog) suspects() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admission.Failing()
}

// answers takes note that a slot's leader answers questions, and returns why the slot takes
// no append all the same.
func (b *backlog) answers(slot int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.admission.Answers(slot, time.Now())
}

// worked takes note that an append to a slot was written.
func (b *backlog) worked(slot int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admission.Worked(slot)
}

// failed makes appends to a slot refused, except for one trial a second.
func (b *backlog) failed(slot int, cause error, trial time.Time) {
	// After a leader refuses an append, its partition counts as down for a while, even if the
	// leader answers metadata requests.
	var refusal *kerr.Error
	lasts := errors.As(cause, &refusal)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admission.Failed(slot, cause, lasts, trial, time.Now())
}

// leave says that an append is about to be answered.
func (b *backlog) leave(a *engine.Append) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admission.Leave(a)
}

// take returns the appends that have come since the last call, and whether none comes any more.
func (b *backlog) take() (incoming []*engine.Append, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	incoming, b.incoming = b.incoming, nil
	return incoming, b.admission.Closed() != nil
}

// close makes every later append refused.
func (b *backlog) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.admission.Close(engine.ErrClosed)
	engine.Signal(b.wakeup)
}

// sender takes appends and writes them to the log. One goroutine owns the lanes (run), and each
// request has a goroutine of its own. A broker gets one request at a time, with a batch of
// every lane that the broker leads and that has appends; during the request the appends of
// the next one gather. So a lone append is sent at once, and under load requests become larger
// by themselves. A short wait that grows with the load (engine.Pace) makes them cheaper still.
type sender struct {
	cfg     *Config
	cluster *cluster
	client  *kgo.Client
	stats   *counters
	reader  *engine.Reader

	backlog backlog
	results chan result
	stopped chan struct{}

	writes *writeCounter

	// These belong to run's goroutine.
	lanes   []lane // by slot
	active  []int  // the slots whose lanes have appends
	brokers map[int32]*broker
	pace    engine.Pace

	// fault, where a test sets it, is called before a flight is sent ("send") and after its
	// answer came ("sent"); its error is handled like an error of the network.
	fault func(point string, p event.Partition) error
}

// broker is what run knows of one broker.
type broker struct {
	busy bool      // a request is under way
	last time.Time // when its last request began
}

// result says that a request has ended; the flights say what came of it.
type result struct {
	broker  int32
	flights []*flight
}

func newSender(cfg *Config, slots int, stats *counters, reader *engine.Reader) *sender {
	s := &sender{cfg: cfg, stats: stats, reader: reader, lanes: make([]lane, slots),
		backlog: backlog{admission: engine.NewAdmission(slots, cfg.QueueBytes, cfg.QueueEvents), wakeup: make(chan struct{}, 1)},
		results: make(chan result, 16), stopped: make(chan struct{}), brokers: map[int32]*broker{}, pace: engine.Pace{Full: busy}}
	for i := range s.lanes {
		s.lanes[i].producer.id = -1
	}
	return s
}

// close makes every later append refused, and waits until all queued appends are answered.
func (s *sender) close() {
	s.backlog.close()
	<-s.stopped
}

// run is the loop. It ends when the sender is closed and every append is answered.
func (s *sender) run(ctx context.Context) {
	defer close(s.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-s.backlog.wakeup:
		case r := <-s.results:
			s.handle(r)
		case <-timer.C:
		}
		closed := s.distribute()
		next := s.send(ctx, time.Now())
		if closed && len(s.active) == 0 {
			return
		}
		timer.Reset(next)
	}
}

// distribute moves incoming appends to their lanes.
func (s *sender) distribute() (closed bool) {
	incoming, closed := s.backlog.take()
	for _, a := range incoming {
		l := &s.lanes[a.Slot]
		l.queue = append(l.queue, a)
		if !l.active {
			l.active = true
			s.active = append(s.active, a.Slot)
		}
	}
	return closed
}

// round is one look at all lanes: the requests that are to be sent, and when to look next.
type round struct {
	now      time.Time
	interval time.Duration // between two requests to one broker
	requests map[int32][]*flight
	sizes    map[int32]int
	crowded  bool // a request has no room for a lane that was ready
	next     time.Duration
}

// soon makes the next look happen in d at the latest.
func (r *round) soon(d time.Duration) { r.next = min(r.next, max(d, 0)) }

// send gives every broker that has no request its next one, and says when to look next.
func (s *sender) send(ctx context.Context, now time.Time) time.Duration {
	r := &round{now: now, interval: s.pace.Interval(now), requests: map[int32][]*flight{}, sizes: map[int32]int{}, next: time.Hour}
	s.active = slices.DeleteFunc(s.active, func(slot int) bool { return s.ready(r, slot) })
	if k := len(s.active); r.crowded {
		s.active = append(s.active[1:k:k], s.active[0]) // so that each lane is the first at some time
	}
	for leader, flights := range r.requests {
		b := s.brokers[leader]
		b.busy, b.last = true, now
		count := 0
		for _, f := range flights {
			f.underWay = true
			f.tries++
			if f.tries == 1 {
				count += f.events
			}
		}
		s.pace.Add(count, now)
		go func() {
			s.request(ctx, leader, flights)
			s.results <- result{leader, flights}
		}()
	}
	return r.next
}

// ready puts a lane's flight into a request of this round if it can be sent now, and else says
// when to look at the lane next. idle: the lane has nothing to send.
func (s *sender) ready(r *round, slot int) (idle bool) {
	l := &s.lanes[slot]
	f := l.flight
	if f == nil {
		s.dropLate(slot, r.now)
		if len(l.queue) == 0 {
			l.active = false
			return true
		}
	} else if f.underWay {
		return false
	} else if !r.now.Before(f.deadline) {
		s.fail(f)
		if len(l.queue) == 0 {
			l.active = false
			return true
		}
		r.soon(0) // the queue has only what came since
		return false
	}
	if f != nil {
		r.soon(f.deadline.Sub(r.now))
		if r.now.Before(f.retryAt) {
			r.soon(f.retryAt.Sub(r.now))
			return false
		}
	} else if a := l.queue[0]; !a.Started() {
		r.soon(a.Queued.Add(s.cfg.DeliverWithin - s.sendTime()).Sub(r.now))
	}
	leader := s.cluster.leader(slot)
	if leader < 0 {
		s.cluster.ask()
		r.soon(50 * time.Millisecond)
		return false
	}
	b := s.brokers[leader]
	if b == nil {
		b = &broker{}
		s.brokers[leader] = b
	}
	switch rest := r.interval - r.now.Sub(b.last); {
	case b.busy:
		return false
	case rest > 0:
		r.soon(rest)
		return false
	case r.sizes[leader] >= maxRequest:
		r.crowded = true
		return false // it is in the broker's next request
	}
	if f == nil {
		f = s.form(slot)
	}
	r.requests[leader] = append(r.requests[leader], f)
	r.sizes[leader] += f.size
	return false
}

// sendTime is how much of DeliverWithin an append must still have when it is first sent.
func (s *sender) sendTime() time.Duration { return s.cfg.DeliverWithin / 4 }

// dropLate refuses appends that waited so long that they could hardly be delivered in time.
func (s *sender) dropLate(slot int, now time.Time) {
	l := &s.lanes[slot]
	for len(l.queue) > 0 && l.queue[0].Queued.Add(s.cfg.DeliverWithin-s.sendTime()).Before(now) {
		a := l.queue[0]
		if a.Started() {
			break // its next flight has DeliverWithin anew
		}
		l.queue = l.queue[1:]
		err := engine.ErrDelayed
		if s.cluster.leader(slot) < 0 {
			err = errNoLeader
			s.down(slot, err, now.Add(engine.TrialEvery))
		}
		s.refuse(a, err)
	}
}

// form makes the next flight of a lane that has appends.
func (s *sender) form(slot int) *flight {
	l := &s.lanes[slot]
	f := &flight{slot: slot, producer: l.producer, sequence: l.sequence,
		deadline: l.queue[0].Queued.Add(s.cfg.DeliverWithin)}
	f.pieces = engine.Cut(l.queue, func(_ *event.Event, raw []byte) bool {
		if f.events > 0 && f.size+len(raw) > maxBatch {
			return false
		}
		f.events++
		f.size += len(raw)
		return true
	})
	if l.queue[0].Started() {
		f.deadline = time.Now().Add(s.cfg.DeliverWithin)
	}
	l.flight = f
	return f
}

// handle deals with a request that has ended.
func (s *sender) handle(r result) {
	s.brokers[r.broker].busy = false
	now := time.Now()
	for _, f := range r.flights {
		f.underWay = false
		switch {
		case f.written:
			s.complete(f)
		case f.refused:
			s.fail(f)
		default:
			f.retryAt = now.Add(engine.Backoff(f.tries))
			s.cluster.ask()
		}
	}
}

// complete deals with a flight that is in the log: it answers the appends that are in the log
// as a whole.
func (s *sender) complete(f *flight) {
	l := &s.lanes[f.slot]
	l.flight = nil
	l.producer, l.sequence = f.producer, advance(f.sequence, f.events)
	at := f.base
	for _, p := range f.pieces {
		whole := p.Store(at)
		at += int64(p.Count)
		if whole {
			l.queue = l.queue[1:]
			s.backlog.leave(p.Append)
			s.stats.appended.Add(int64(len(p.Append.Events)))
			p.Append.Succeed()
		}
	}
	if len(l.queue) == 0 {
		l.queue = nil
	}
	s.backlog.worked(f.slot)
}

// fail gives a flight up and answers its appends. The appends behind it were not sent. They
// are refused too where brokers are away or unable; after any other failure they are sent next.
func (s *sender) fail(f *flight) {
	l := &s.lanes[f.slot]
	l.flight = nil
	cause := f.err
	if cause == nil {
		cause = errNoLeader
	}
	if fatal := s.cluster.fatal(); fatal != nil {
		cause = fatal
	}
	l.producer, l.sequence = f.producer, f.sequence
	if f.doubt {
		// With the same producer and sequence a broker would take the next batch for this one.
		l.producer.id = -1
	}
	if !f.refused {
		// Before the answers, so that a caller who appends once more at once is refused at once.
		s.down(f.slot, cause, f.deadline.Add(engine.TrialEvery-s.cfg.DeliverWithin))
	}
	kind := ledger.ErrRefused
	if f.doubt {
		kind = ledger.ErrUnknown
	}
	for _, p := range f.pieces {
		l.queue = l.queue[1:]
		s.failAppend(p.Append, kind, cause)
	}
	if f.refused {
		return
	}
	for _, a := range l.queue {
		s.refuse(a, engine.Down(f.slot, cause))
	}
	l.queue = nil
}

// down makes appends to a slot refused, and asks the cluster how it is.
func (s *sender) down(slot int, cause error, trial time.Time) {
	s.backlog.failed(slot, cause, trial)
	s.cluster.ask()
}

func (s *sender) refuse(a *engine.Append, cause error) { s.failAppend(a, ledger.ErrRefused, cause) }

func (s *sender) failAppend(a *engine.Append, kind, cause error) {
	s.backlog.leave(a)
	s.reader.Forget(engine.PartitionOf(a.Slot), a.Events)
	s.stats.failed.Add(int64(len(a.Events)))
	a.Fail(kind, cause)
}

// counters are what Stats reads.
type counters struct {
	appended, failed, requests, read, fetched atomic.Int64
}
