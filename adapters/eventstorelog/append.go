package eventstorelog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
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
	// (MaxAppendSize). An event with more than maxWrite is written alone.
	maxWrite = 512 << 10
	// refuseAfter is how long a write is tried that certainly was not made. An election is
	// over by then; a caller who submits a message hears "refused" before it stops waiting,
	// and need not treat the message as unknown.
	refuseAfter = 4 * time.Second
)

// sender writes appends, with one write at a time for each partition, so that they keep their
// order. A write has all appends that have come for its partition. A write of which it is
// unknown whether it was made is not made once more: its appends are answered with
// ledger.ErrUnknown, and the caller who appends the same events then writes them under new
// EventStoreDB ids.
type sender struct {
	cfg    *Config
	conn   *conn
	reader *engine.Reader
	heads  *heads
	stats  *counters
	ctx    context.Context // ends when every append is answered
	pace   engine.Pace
	exact  bool // appends are made at exact revisions: the target of a copy

	mu        sync.Mutex
	lanes     []lane // by slot
	admission engine.Admission
	running   sync.WaitGroup
}

// lane is one partition's queue of appends.
type lane struct {
	queue   []*engine.Append
	running bool // a goroutine writes the queue
	// next is, in the target of a copy, the revision that the next event must have; -1: it is
	// not known.
	next int64
}

func newSender(ctx context.Context, cfg *Config, conn *conn, reader *engine.Reader, heads *heads, stats *counters) *sender {
	slots := len(heads.at)
	s := &sender{ctx: ctx, cfg: cfg, conn: conn, reader: reader, heads: heads, stats: stats, exact: cfg.Copy, lanes: make([]lane, slots),
		admission: engine.NewAdmission(slots, cfg.QueueBytes, cfg.QueueEvents)}
	for i := range s.lanes {
		s.lanes[i].next = -1
	}
	return s
}

// enqueue takes an append, or says why not.
func (s *sender) enqueue(p event.Partition, a *engine.Append) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admission.Enter(a, time.Now()); err != nil {
		return err
	}
	l := &s.lanes[a.Slot]
	l.queue = append(l.queue, a)
	if !l.running {
		l.running = true
		s.running.Add(1)
		go s.run(p)
	}
	return nil
}

// answers takes note that EventStoreDB answers questions, and returns why a partition takes no
// append all the same; nil: every partition does. aside is that of the audit log, which no message
// needs.
func (s *sender) answers(now time.Time) (err, aside error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for slot := range s.lanes {
		switch cause := s.admission.Answers(slot, now); {
		case cause == nil:
		case slot == engine.Slot(event.AuditPartition):
			aside = engine.Down(slot, cause)
		case err == nil:
			err = engine.Down(slot, cause)
		}
	}
	return err, aside
}

// check says what would keep an append of so many events from being queued now.
func (s *sender) check(p event.Partition, events int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admission.Check(engine.Slot(p), 0, events, time.Now())
}

// queued is how many bytes and events have no answer yet.
func (s *sender) queued() (bytes, events int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.admission.Queued()
}

// close makes every later append refused, and waits until all queued appends are answered.
func (s *sender) close() {
	s.mu.Lock()
	s.admission.Close(engine.ErrClosed)
	s.mu.Unlock()
	s.running.Wait()
}

// run writes a partition's queue until it is empty.
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

// write is the events that one call to EventStoreDB carries.
type write struct {
	pieces   []engine.Piece
	messages []*streams.AppendReq_ProposedMessage
	queued   time.Time // when its first append was queued
	deadline time.Time
	next     int64 // of the lane
	trial    bool  // the partition is down: the write is tried once
}

// next makes a partition's next write; nil when its queue is empty, and then run ends.
func (s *sender) next(p event.Partition) *write {
	s.mu.Lock()
	slot := engine.Slot(p)
	l := &s.lanes[slot]
	now := time.Now()
	// Appends that waited so long that they could hardly be written in time are not tried.
	var late []*engine.Append
	for len(l.queue) > 0 && !l.queue[0].Started() && now.Sub(l.queue[0].Queued) > s.cfg.DeliverWithin*3/4 {
		late = append(late, l.queue[0])
		s.admission.Leave(l.queue[0])
		l.queue = l.queue[1:]
	}
	if len(l.queue) == 0 {
		l.queue, l.running = nil, false
		s.mu.Unlock()
		s.fail(p, late, ledger.ErrRefused, engine.ErrDelayed)
		return nil
	}
	queue := l.queue
	w := &write{queued: queue[0].Queued, deadline: queue[0].Queued.Add(s.cfg.DeliverWithin), next: l.next, trial: s.admission.IsDown(slot)}
	s.mu.Unlock()
	s.fail(p, late, ledger.ErrRefused, engine.ErrDelayed)
	// Only run's goroutine takes appends out of the queue, and a queued append does not change.
	size := 0
	w.pieces = engine.Cut(queue, func(e *event.Event, raw []byte) bool {
		m := propose(e, raw)
		k := len(m.GetData()) + len(m.GetCustomMetadata()) + 2*len(m.GetMetadata()[typeKey])
		if len(w.messages) > 0 && size+k > maxWrite {
			return false
		}
		w.messages = append(w.messages, m)
		size += k
		return true
	})
	identify(w.messages)
	return w
}

// identify gives each message an id that was never used, whatever was tried before:
// EventStoreDB remembers ids, and takes a batch that begins with a known id for a repeat.
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

// write makes one write and answers its appends. It repeats a try that certainly failed.
func (s *sender) write(p event.Partition, w *write) {
	ctx, cancel := context.WithDeadline(s.ctx, w.deadline)
	defer cancel()
	stream := s.cfg.stream(p)
	retryUntil := w.queued.Add(refuseAfter)
	cause := errNoLeader
	kind, down := ledger.ErrRefused, true
	for tries := 1; ; tries++ {
		last, err := s.once(ctx, stream, w)
		if err == nil {
			s.complete(p, w, last)
			return
		}
		var f *fault
		switch {
		case errors.Is(err, errWrongRevision):
			cause, down = err, false
		case errors.As(err, &f) && f.outcome == never:
			cause, down = f.cause, errors.Is(f.cause, errDenied)
		case errors.As(err, &f) && f.outcome == doubt:
			cause, kind = f.cause, ledger.ErrUnknown
			// EventStoreDB recognises the repeat of a write at an exact revision.
			if s.exact && ctx.Err() == nil {
				engine.Pause(ctx, engine.Backoff(tries))
				continue
			}
		default:
			if f == nil || ctx.Err() == nil || tries == 1 {
				cause = err
			}
			if ctx.Err() == nil && !w.trial && time.Now().Before(retryUntil) {
				engine.Pause(ctx, engine.Backoff(tries))
				continue
			}
		}
		break
	}
	s.giveUp(p, w, kind, cause, down)
}

// once tries a write once. In the target of a copy it is made at the exact revision.
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
	// It has all the rest of its time: given up after it was sent, it would be in doubt.
	return s.conn.append(ctx, stream, expected, w.messages)
}

// complete answers the appends that are in the log as a whole with a write.
func (s *sender) complete(p event.Partition, w *write, last int64) {
	at := last - int64(len(w.messages)) + 1
	s.heads.saw(p, last+1)
	s.mu.Lock()
	slot := engine.Slot(p)
	l := &s.lanes[slot]
	s.admission.Worked(slot)
	l.next = last + 1
	var whole []*engine.Append
	for _, piece := range w.pieces {
		if piece.Store(at) {
			l.queue = l.queue[1:]
			s.admission.Leave(piece.Append)
			whole = append(whole, piece.Append)
		}
		at += int64(piece.Count)
	}
	s.mu.Unlock()
	for _, a := range whole {
		s.stats.appended.Add(int64(len(a.Events)))
		a.Succeed()
	}
}

// giveUp answers the appends of a write that failed. The appends behind it are tried next. down:
// servers are away or unable; then new appends are refused from now on, except for one trial at a time.
func (s *sender) giveUp(p event.Partition, w *write, kind, cause error, down bool) {
	appends := make([]*engine.Append, len(w.pieces))
	s.mu.Lock()
	slot := engine.Slot(p)
	l := &s.lanes[slot]
	l.next = -1
	l.queue = l.queue[len(w.pieces):]
	for i, piece := range w.pieces {
		appends[i] = piece.Append
		s.admission.Leave(piece.Append)
	}
	if down {
		// Before the answers, so that a caller who appends once more at once is refused. After a
		// write in doubt, the partition counts as down for a while, even if EventStoreDB answers
		// questions.
		s.admission.Failed(slot, cause, errors.Is(kind, ledger.ErrUnknown), time.Time{}, time.Now())
	}
	s.mu.Unlock()
	s.fail(p, appends, kind, cause)
}

// fail answers appends that have left the queue with an error.
func (s *sender) fail(p event.Partition, appends []*engine.Append, kind, cause error) {
	for _, a := range appends {
		s.reader.Forget(p, a.Events)
		s.stats.failed.Add(int64(len(a.Events)))
		a.Fail(kind, cause)
	}
}

// counters are what Stats reads.
type counters struct {
	appended, failed, requests, read, reads, subscriptions atomic.Int64
}
