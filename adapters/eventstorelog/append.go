package eventstorelog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// maxWrite bounds the bytes of one write, as EventStoreDB counts them: data, metadata
	// and the type's name. A server takes 1 MiB unless it is configured otherwise
	// (MaxAppendSize); one event may have more than maxWrite, and then goes alone.
	maxWrite = 512 << 10
	// trialEvery is how often a partition that took no append is tried again, and doubtful
	// how long a partition is held for down whose write was in doubt although EventStoreDB
	// answers questions.
	trialEvery, doubtful = time.Second, 5 * time.Second
	// refuseAfter is how long what was certainly not written is tried again. An election is
	// over by then; whoever submits is told "refused" before it stops waiting, and need not
	// take it for unknown.
	refuseAfter = 4 * time.Second
)

// sender writes appends: one write at a time for each partition, so that they keep their
// order, with all that has come for it meanwhile. A write that nobody can know about is not
// made again: its appends are answered with ledger.ErrUnknown, and whoever appends again does
// so under new ids of the engine.
type sender struct {
	cfg    *Config
	conn   *conn
	reader *engine.Reader
	heads  *heads
	stats  *counters
	ctx    context.Context // until everything is answered
	pace   engine.Pace
	exact  bool // appends are made at exact revisions: the target of a copy

	mu      sync.Mutex
	lanes   []lane
	bytes   int
	events  int
	closed  bool
	running sync.WaitGroup
}

// lane is one partition's part of a sender.
type lane struct {
	queue   []*pending
	running bool
	// down is why the last write failed for want of servers, since when that is so, and
	// doubt whether nobody knows of it; then only one append at a time is tried, and none
	// before trial.
	down  error
	since time.Time
	doubt bool
	trial time.Time
	// next is, in the target of a copy, the revision that the next event must have; -1:
	// it must be asked for.
	next int64
}

// pending is an append without an answer.
type pending struct {
	events []*event.Event
	raws   [][]byte
	size   int
	at     time.Time
	done   func(ledger.Appended)
	sent   int // events that are in the log
	first  int64
}

func newSender(ctx context.Context, cfg *Config, conn *conn, reader *engine.Reader, heads *heads, stats *counters) *sender {
	s := &sender{ctx: ctx, cfg: cfg, conn: conn, reader: reader, heads: heads, stats: stats, exact: cfg.Copy, lanes: make([]lane, len(heads.at))}
	for i := range s.lanes {
		s.lanes[i].next = -1
	}
	return s
}

var (
	errFull    = errors.New("too much is waiting to be written")
	errDelayed = fmt.Errorf("%w: it waited too long behind others", ledger.ErrRefused)
)

// enqueue takes an append, or says why not.
func (s *sender) enqueue(p event.Partition, a *pending) error {
	a.at = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.room(p, a.size, len(a.events), a.at); err != nil {
		return err
	}
	l := &s.lanes[slot(p)]
	if l.down != nil {
		l.trial = a.at.Add(trialEvery)
	}
	s.bytes += a.size
	s.events += len(a.events)
	l.queue = append(l.queue, a)
	if !l.running {
		l.running = true
		s.running.Add(1)
		go s.run(p)
	}
	return nil
}

// room says what keeps an append from being queued; with the lock held.
func (s *sender) room(p event.Partition, bytes, events int, now time.Time) error {
	switch l := &s.lanes[slot(p)]; {
	case s.closed:
		return errClosed
	case s.bytes+bytes > s.cfg.QueueBytes || s.events+events > s.cfg.QueueEvents:
		return errFull
	case l.down != nil && (len(l.queue) > 0 || now.Before(l.trial)):
		return fmt.Errorf("partition %s takes no append: %w", p, l.down)
	}
	return nil
}

// recovered lets partitions take appends again: EventStoreDB answers questions.
func (s *sender) recovered(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.lanes {
		if l := &s.lanes[i]; !l.doubt || now.Sub(l.since) > doubtful {
			l.down = nil
		}
	}
}

// space says what keeps an append of so many events from being queued now.
func (s *sender) space(p event.Partition, events int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.room(p, 0, events, time.Now())
}

// suspect is a partition whose last append failed for want of servers, and why; nil: none.
func (s *sender) suspect() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.lanes {
		if err := s.lanes[i].down; err != nil {
			return fmt.Errorf("partition %s takes no append: %w", partitionOf(i), err)
		}
	}
	return nil
}

// close makes every later append refused, and waits until those before are answered.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
}

// run writes what a partition has, until there is nothing.
func (s *sender) run(p event.Partition) {
	defer s.running.Done()
	var last time.Time
	for {
		if d := s.pace.Interval(time.Now()) - time.Since(last); d > 0 {
			engine.Pause(s.ctx, d)
		}
		w := s.next(p)
		if w == nil {
			return
		}
		last = time.Now()
		s.pace.Add(len(w.messages), last)
		s.write(p, w)
	}
}

// write is what one call to EventStoreDB carries.
type write struct {
	parts    []part
	messages []*streams.AppendReq_ProposedMessage
	deadline time.Time
	next     int64 // of the lane
	trial    bool  // servers were wanting before: it is tried once
}

// part is how many events of an append a write has.
type part struct {
	a     *pending
	count int
}

// next makes a partition's next write; nil when there is nothing, and then run ends.
func (s *sender) next(p event.Partition) *write {
	s.mu.Lock()
	l := &s.lanes[slot(p)]
	now := time.Now()
	// What waited so long that it could hardly be written in time is not tried.
	var late []*pending
	for len(l.queue) > 0 && l.queue[0].sent == 0 && now.Sub(l.queue[0].at) > s.cfg.DeliverWithin*3/4 {
		late = append(late, l.queue[0])
		l.queue = l.queue[1:]
	}
	if len(l.queue) == 0 {
		l.queue, l.running = nil, false
		s.mu.Unlock()
		s.answer(p, late, errDelayed)
		return nil
	}
	w := &write{deadline: l.queue[0].at.Add(s.cfg.DeliverWithin), next: l.next, trial: l.down != nil}
	queue := l.queue
	s.mu.Unlock()
	s.answer(p, late, errDelayed)
	// Only run takes from the queue, and what is in it does not change.
	size := 0
	for _, a := range queue {
		n := 0
		for i := a.sent; i < len(a.events); i++ {
			m := propose(a.events[i], a.raws[i])
			k := len(m.GetData()) + len(m.GetCustomMetadata()) + 2*len(m.GetMetadata()[typeKey])
			if len(w.messages) > 0 && size+k > maxWrite {
				break
			}
			w.messages = append(w.messages, m)
			size += k
			n++
		}
		if n > 0 {
			w.parts = append(w.parts, part{a, n})
		}
		if a.sent+n < len(a.events) {
			break
		}
	}
	identify(w.messages)
	return w
}

// identify gives each message an id that no other has had, whatever was tried before:
// EventStoreDB remembers ids, and takes a batch that begins with one it knows for a repeat.
func identify(messages []*streams.AppendReq_ProposedMessage) {
	b := make([]byte, 16*len(messages))
	rand.Read(b)
	for i, m := range messages {
		id := b[16*i:]
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80 // RFC 9562 §5.4
		m.Id = &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
			MostSignificantBits: int64(binary.BigEndian.Uint64(id)), LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:]))}}}
	}
}

// write makes one write, again where it is certain that it was not made, and answers.
func (s *sender) write(p event.Partition, w *write) {
	ctx, cancel := context.WithDeadline(s.ctx, w.deadline)
	defer cancel()
	stream := s.cfg.stream(p)
	again := w.parts[0].a.at.Add(refuseAfter)
	cause := errNoLeader
	kind, wanting := ledger.ErrRefused, true
	for tries := 1; ; tries++ {
		last, err := s.once(ctx, stream, w)
		if err == nil {
			s.land(p, w, last)
			return
		}
		var f *fault
		switch {
		case errors.Is(err, errMoved):
			cause, wanting = err, false
		case errors.As(err, &f) && f.outcome == never:
			cause, wanting = f.cause, errors.Is(f.cause, errDenied)
		case errors.As(err, &f) && f.outcome == doubt:
			cause, kind = f.cause, ledger.ErrUnknown
			// Of an append at an exact revision, EventStoreDB knows a repeat.
			if s.exact && ctx.Err() == nil {
				engine.Pause(ctx, engine.Backoff(tries))
				continue
			}
		default:
			if f == nil || ctx.Err() == nil || tries == 1 {
				cause = err
			}
			if ctx.Err() == nil && !w.trial && time.Now().Before(again) {
				engine.Pause(ctx, engine.Backoff(tries))
				continue
			}
		}
		break
	}
	s.fail(p, w, kind, cause, wanting)
}

// once tries a write. In the target of a copy it is made at the exact revision.
func (s *sender) once(ctx context.Context, stream string, w *write) (int64, error) {
	expected := int64(anyRevision)
	if s.exact {
		if w.next < 0 {
			head, err := s.conn.head(ctx, stream)
			if err != nil {
				return 0, err
			}
			w.next = head
		}
		expected = w.next - 1 // of no event: noStream
	}
	// It has all the time that is left: given up once it is written, it would be in doubt.
	return s.conn.append(ctx, stream, expected, w.messages)
}

// land answers the appends that a write completes.
func (s *sender) land(p event.Partition, w *write, last int64) {
	base := last - int64(len(w.messages)) + 1
	s.heads.saw(p, last+1)
	s.mu.Lock()
	l := &s.lanes[slot(p)]
	l.down = nil
	l.next = last + 1
	var whole []*pending
	for _, part := range w.parts {
		a := part.a
		if a.sent == 0 {
			a.first = base
		}
		a.sent += part.count
		base += int64(part.count)
		if a.sent == len(a.events) {
			l.queue = l.queue[1:]
			whole = append(whole, a)
		}
	}
	s.mu.Unlock()
	s.answer(p, whole, nil)
}

// fail gives a write up. What waits behind it is tried in its turn. Where servers are
// wanting, new appends are refused from now on, but for one at a time, that is tried.
func (s *sender) fail(p event.Partition, w *write, kind, cause error, wanting bool) {
	s.mu.Lock()
	l := &s.lanes[slot(p)]
	l.next = -1
	l.queue = l.queue[len(w.parts):]
	if wanting {
		// Before anybody is told, so that who tries again at once knows it.
		if l.down == nil {
			l.trial = time.Time{}
		}
		l.down, l.doubt, l.since = cause, errors.Is(kind, ledger.ErrUnknown), time.Now()
	}
	s.mu.Unlock()
	for _, part := range w.parts {
		k := kind
		if part.a.sent > 0 {
			k = ledger.ErrUnknown
		}
		s.answer(p, []*pending{part.a}, fmt.Errorf("%w: %w", k, cause))
	}
}

// answer tells appends' callers.
func (s *sender) answer(p event.Partition, appends []*pending, err error) {
	for _, a := range appends {
		s.mu.Lock()
		s.bytes -= a.size
		s.events -= len(a.events)
		s.mu.Unlock()
		if err != nil {
			s.reader.Forget(p, a.events)
			s.stats.failed.Add(int64(len(a.events)))
			a.done(ledger.Appended{Err: err})
			continue
		}
		s.stats.appended.Add(int64(len(a.events)))
		a.done(ledger.Appended{First: a.first})
	}
}

// counters are what Stats reads.
type counters struct {
	appended, failed, requests, read, reads, subscriptions atomic.Int64
}
