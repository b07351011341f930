package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// maxRequest bounds the stored bytes of one request, whose batches go to one broker.
	maxRequest = 4 << 20
	// trialEvery is how often a partition that took no append is tried again.
	trialEvery = time.Second
	// doubtful is how long a partition is held for down whose leader answers, and answered
	// that it cannot take appends.
	doubtful = 5 * time.Second
)

// pending is one append that waits for its answer.
type pending struct {
	slot   int
	events []*event.Event
	raws   [][]byte
	size   int // stored bytes
	at     time.Time
	done   func(ledger.Appended)
	// sent is how many of its events are in the log, of which the first stands at first.
	sent  int
	first int64
}

// flight is one record batch on its way: the beginning of a lane's queue. It is sent
// again, the same, until a broker says that it has it or the time is up; the broker
// recognises it by its producer and sequence. It belongs to the sender, and while it is
// away to the goroutine that sends it.
type flight struct {
	slot     int
	parts    []part
	events   int
	size     int
	batch    []byte
	producer producer
	sequence int32
	deadline time.Time
	again    time.Time // not before
	tries    int
	away     bool
	// doubt: a broker may have it, or may yet get it.
	doubt bool
	// What came of the last try. refused: no more tries.
	err     error
	refused bool
	written bool
	base    int64
}

// part is what a flight takes of one append.
type part struct {
	a     *pending
	count int
}

// lane is one partition's way into the log. It has one flight at a time, so that
// nothing of this process overtakes.
type lane struct {
	queue    []*pending
	flight   *flight
	producer producer // id -1: it needs a new one
	sequence int32
	active   bool
}

// gate is what Append looks at before it queues.
type gate struct {
	waiting int // appends without an answer
	// down is why the last append failed for want of brokers, and since is when; nil when
	// it did not.
	down  error
	since time.Time
	trial time.Time // when the next may be tried
}

// sender takes appends and brings them into the log: one goroutine that owns the lanes,
// and one for each request. A broker has one request at a time, with a batch of every
// lane that it leads and that has something: while it is away the next gathers. So a
// lone append leaves at once, and load makes requests larger by itself; a short wait
// that grows with the load (engine.Pace) makes them cheaper still.
type sender struct {
	cfg     *Config
	cluster *cluster
	client  *kgo.Client
	stats   *counters
	reader  *engine.Reader

	mu     sync.Mutex
	in     []*pending
	bytes  int
	events int
	gates  []gate
	closed bool

	more    chan struct{} // holds a token when there is something in, or it is closed
	results chan result
	stopped chan struct{}

	// wrote counts the produce requests of which bytes went to a broker, by node.
	wrote *wrote

	// The loop's own.
	lanes  []lane
	active []int
	nodes  map[int32]*node
	pace   engine.Pace

	// fault, where a test sets it, is asked before a flight is sent ("send") and after
	// its answer came ("sent"); its error is taken for the network's.
	fault func(point string, p event.Partition) error
}

type node struct {
	busy bool
	last time.Time // when its last request began
}

type result struct {
	node    int32
	flights []*flight
}

// wrote is a hook of franz-go, called before a request's answer or error is handed on.
type wrote struct {
	mu sync.Mutex
	n  map[int32]int
}

// OnBrokerWrite is part of kgo.HookBrokerWrite.
func (w *wrote) OnBrokerWrite(meta kgo.BrokerMetadata, key int16, bytes int, _, _ time.Duration, _ error) {
	if key != int16(kmsg.Produce) || bytes == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == nil {
		w.n = map[int32]int{}
	}
	w.n[meta.NodeID]++
}

func (w *wrote) to(node int32) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n[node]
}

func newSender(cfg *Config, slots int, stats *counters, reader *engine.Reader) *sender {
	s := &sender{cfg: cfg, stats: stats, reader: reader, gates: make([]gate, slots), lanes: make([]lane, slots),
		more: make(chan struct{}, 1), results: make(chan result, 16), stopped: make(chan struct{}), nodes: map[int32]*node{}}
	for i := range s.lanes {
		s.lanes[i].producer.id = -1
	}
	return s
}

var (
	errClosed  = errors.New("the ledger is closed")
	errFull    = errors.New("too much is waiting to be written")
	errDelayed = errors.New("it waited too long behind others")
)

// enqueue takes an append, or says why not.
func (s *sender) enqueue(a *pending) error {
	a.at = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.room(a.slot, a.size, len(a.events), a.at); err != nil {
		return err
	}
	g := &s.gates[a.slot]
	if g.down != nil {
		g.trial = a.at.Add(trialEvery)
	}
	g.waiting++
	s.bytes += a.size
	s.events += len(a.events)
	s.in = append(s.in, a)
	s.wake()
	return nil
}

// room says what keeps an append from being queued; it is called with the lock held.
func (s *sender) room(slot, bytes, events int, now time.Time) error {
	switch g := &s.gates[slot]; {
	case s.closed:
		return errClosed
	case s.bytes+bytes > s.cfg.QueueBytes || s.events+events > s.cfg.QueueEvents:
		return errFull
	case g.down != nil && (g.waiting > 0 || now.Before(g.trial)):
		return fmt.Errorf("%s takes no append: %w", partitionOf(slot), g.down)
	}
	return nil
}

// wake lets the loop look. A token that is there already says enough.
func (s *sender) wake() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// suspects lists the slots whose last append failed for want of brokers.
func (s *sender) suspects() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int
	for i := range s.gates {
		if s.gates[i].down != nil {
			out = append(out, i)
		}
	}
	return out
}

// up lets a slot take appends again.
func (s *sender) up(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[slot].down = nil
}

// answers says that a slot's leader answers questions. That is enough where it did not
// before; an append that it answered with an error is remembered for a while. It returns
// why the slot stays down.
func (s *sender) answers(slot int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := &s.gates[slot]
	var answer *kerr.Error
	if errors.As(g.down, &answer) && time.Since(g.since) < doubtful {
		return g.down
	}
	g.down = nil
	return nil
}

// close makes every later append refused, and waits until those before are answered.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.wake()
	<-s.stopped
}

// run is the loop. It ends when the sender is closed and everything is answered.
func (s *sender) run(ctx context.Context) {
	defer close(s.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-s.more:
		case r := <-s.results:
			s.settle(r)
		case <-timer.C:
		}
		closed := s.take()
		next := s.send(ctx, time.Now())
		if closed && len(s.active) == 0 {
			return
		}
		timer.Reset(next)
	}
}

// take moves what came in to its lanes.
func (s *sender) take() (closed bool) {
	s.mu.Lock()
	in := s.in
	s.in = nil
	closed = s.closed
	s.mu.Unlock()
	for _, a := range in {
		l := &s.lanes[a.slot]
		l.queue = append(l.queue, a)
		if !l.active {
			l.active = true
			s.active = append(s.active, a.slot)
		}
	}
	return closed
}

// send gives every broker that has no request its next one, and says when to look again.
func (s *sender) send(ctx context.Context, now time.Time) time.Duration {
	next := time.Hour
	soon := func(d time.Duration) { next = min(next, max(d, 0)) }
	interval := s.pace.Interval(now)
	requests := map[int32][]*flight{}
	sizes := map[int32]int{}
	crowded := false
	s.active = slices.DeleteFunc(s.active, func(i int) bool {
		l := &s.lanes[i]
		f := l.flight
		if f == nil {
			s.dropLate(i, now)
			if len(l.queue) == 0 {
				l.active = false
				return true
			}
		} else if f.away {
			return false
		} else if !now.Before(f.deadline) {
			s.fail(f)
			if len(l.queue) == 0 {
				l.active = false
				return true
			}
			soon(0) // what was refused with it is gone; whatever came since is next
			return false
		}
		if f != nil {
			soon(f.deadline.Sub(now))
			if now.Before(f.again) {
				soon(f.again.Sub(now))
				return false
			}
		} else if a := l.queue[0]; a.sent == 0 {
			soon(a.at.Add(s.cfg.DeliverWithin - s.late()).Sub(now))
		}
		leader := s.cluster.leader(i)
		if leader < 0 {
			s.cluster.ask()
			soon(50 * time.Millisecond)
			return false
		}
		n := s.nodes[leader]
		if n == nil {
			n = &node{}
			s.nodes[leader] = n
		}
		switch rest := interval - now.Sub(n.last); {
		case n.busy:
			return false
		case rest > 0:
			soon(rest)
			return false
		case sizes[leader] >= maxRequest:
			crowded = true
			return false // in its next one
		}
		if f == nil {
			f = s.form(i)
		}
		requests[leader] = append(requests[leader], f)
		sizes[leader] += f.size
		return false
	})
	if k := len(s.active); crowded {
		s.active = append(s.active[1:k:k], s.active[0]) // so that each is first at some time
	}
	for leader, flights := range requests {
		n := s.nodes[leader]
		n.busy, n.last = true, now
		count := 0
		for _, f := range flights {
			f.away = true
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
	return next
}

// late is how little of its time an append may have left when it is first sent.
func (s *sender) late() time.Duration { return s.cfg.DeliverWithin / 4 }

// dropLate refuses what waited so long that it could hardly be delivered in time.
func (s *sender) dropLate(i int, now time.Time) {
	l := &s.lanes[i]
	for len(l.queue) > 0 && l.queue[0].at.Add(s.cfg.DeliverWithin-s.late()).Before(now) {
		a := l.queue[0]
		if a.sent > 0 {
			break // it is on its way, and its flights have the time
		}
		l.queue = l.queue[1:]
		err := errDelayed
		if s.cluster.leader(i) < 0 {
			err = errNoLeader
			s.down(i, err, now.Add(trialEvery))
		}
		s.answer(a, fmt.Errorf("%w: %w", ledger.ErrRefused, err))
	}
}

// form makes the next flight of a lane that has something.
func (s *sender) form(i int) *flight {
	l := &s.lanes[i]
	f := &flight{slot: i, producer: l.producer, sequence: l.sequence,
		deadline: l.queue[0].at.Add(s.cfg.DeliverWithin)}
	for _, a := range l.queue {
		n := 0
		for _, raw := range a.raws[a.sent:] {
			if f.events > 0 && f.size+len(raw) > maxBatch {
				break
			}
			f.events++
			f.size += len(raw)
			n++
		}
		if n > 0 {
			f.parts = append(f.parts, part{a, n})
		}
		if a.sent+n < len(a.events) {
			break
		}
	}
	if a := l.queue[0]; a.sent > 0 {
		// A part of it is in the log, so it has its time anew.
		f.deadline = time.Now().Add(s.cfg.DeliverWithin)
	}
	l.flight = f
	return f
}

// request sends flights to a broker and writes into each what came of it.
func (s *sender) request(ctx context.Context, leader int32, flights []*flight) {
	until := time.Now().Add(s.cfg.attempt())
	for _, f := range flights {
		if f.deadline.Before(until) {
			until = f.deadline
		}
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if err := s.prepare(ctx, flights); err != nil {
		for _, f := range flights {
			f.err = err
		}
		return
	}
	var topics [3]kmsg.ProduceRequestTopic
	sent := flights[:0:0]
	for _, f := range flights {
		if s.fault != nil {
			if f.err = s.fault("send", partitionOf(f.slot)); f.err != nil {
				continue
			}
		}
		topic, partition := place(f.slot)
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = partition, f.batch
		topics[topic].Topic, topics[topic].TopicID = s.cluster.names[topic], s.cluster.ids[topic]
		topics[topic].Partitions = append(topics[topic].Partitions, p)
		sent = append(sent, f)
	}
	if len(sent) == 0 {
		return
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks = -1
	req.TimeoutMillis = int32((s.cfg.attempt() * 3 / 4).Milliseconds())
	for _, t := range topics {
		if len(t.Partitions) > 0 {
			req.Topics = append(req.Topics, t)
		}
	}
	s.stats.requests.Add(1)
	before := s.wrote.to(leader)
	resp, err := s.client.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		// That it was not sent is sure only when the request is over, not given up.
		doubt := ctx.Err() != nil || s.wrote.to(leader) != before
		for _, f := range sent {
			f.err, f.doubt = err, f.doubt || doubt
		}
		return
	}
	answered := map[int]*kmsg.ProduceResponseTopicPartition{}
	r := resp.(*kmsg.ProduceResponse)
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			if slot, ok := s.cluster.slotOf(t.Topic, t.TopicID, t.Partitions[j].Partition); ok {
				answered[slot] = &t.Partitions[j]
			}
		}
	}
	for _, f := range sent {
		if s.fault != nil {
			if f.err = s.fault("sent", partitionOf(f.slot)); f.err != nil {
				f.doubt = true
				continue
			}
		}
		if p := answered[f.slot]; p != nil {
			f.judge(p)
		} else {
			f.err, f.doubt = errLeftOut, true
		}
	}
}

// prepare makes the batches, and gives a new producer to those lanes that need one.
func (s *sender) prepare(ctx context.Context, flights []*flight) error {
	var fresh producer
	for _, f := range flights {
		if f.producer.id >= 0 {
			continue
		}
		if fresh == (producer{}) {
			var err error
			if fresh, err = newProducer(ctx, s.client); err != nil {
				return err
			}
		}
		f.producer, f.sequence = fresh, 0
		if f.batch != nil {
			stamp(f.batch, f.producer, f.sequence)
		}
	}
	now := time.Now()
	for _, f := range flights {
		if f.batch != nil {
			continue
		}
		var events []*event.Event
		var raws [][]byte
		for _, p := range f.parts {
			events = append(events, p.a.events[p.a.sent:p.a.sent+p.count]...)
			raws = append(raws, p.a.raws[p.a.sent:p.a.sent+p.count]...)
		}
		f.batch = makeBatch(events, raws, now)
		stamp(f.batch, f.producer, f.sequence)
	}
	return nil
}

// newProducer asks for a producer that nobody has used.
func newProducer(ctx context.Context, client *kgo.Client) (producer, error) {
	req := kmsg.NewPtrInitProducerIDRequest()
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return producer{}, fmt.Errorf("no producer id: %w", err)
	}
	return producer{resp.ProducerID, resp.ProducerEpoch}, nil
}

// judge sorts a broker's answer.
func (f *flight) judge(p *kmsg.ProduceResponseTopicPartition) {
	err := kerr.ErrorForCode(p.ErrorCode)
	f.err = err
	switch {
	case err == nil:
		f.written, f.base = true, p.BaseOffset
	case moved(err), errors.Is(err, kerr.NotEnoughReplicas), errors.Is(err, kerr.ThrottlingQuotaExceeded):
		// It was not appended.
	case errors.Is(err, kerr.OutOfOrderSequenceNumber), errors.Is(err, kerr.UnknownProducerID),
		errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.InvalidProducerIDMapping):
		// It was not appended, and as this producer's it never will be. As another's it
		// would be there twice if an earlier try was appended after all.
		f.producer.id = -1
		f.refused = f.doubt
	case errors.Is(err, kerr.DuplicateSequenceNumber):
		// It is there, and nobody can say where.
		f.doubt, f.refused = true, true
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.CorruptMessage),
		errors.Is(err, kerr.InvalidRecord), errors.Is(err, kerr.InvalidTimestamp), errors.Is(err, kerr.PolicyViolation),
		errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed),
		errors.Is(err, kerr.InvalidTopicException), errors.Is(err, kerr.InvalidRequiredAcks),
		errors.Is(err, kerr.UnsupportedForMessageFormat), errors.Is(err, kerr.UnsupportedCompressionType):
		f.refused = true
	default:
		// Timed out, too few replicas after it was appended, a disk that failed, and
		// whatever a later broker may say.
		f.doubt = true
	}
}

// settle takes in what came of a request.
func (s *sender) settle(r result) {
	s.nodes[r.node].busy = false
	now := time.Now()
	for _, f := range r.flights {
		f.away = false
		l := &s.lanes[f.slot]
		switch {
		case f.written:
			l.flight = nil
			l.producer, l.sequence = f.producer, advance(f.sequence, f.events)
			s.land(f)
		case f.refused:
			s.fail(f)
		default:
			f.again = now.Add(engine.Backoff(f.tries))
			s.cluster.ask()
		}
	}
}

// land answers the appends that a written flight completes.
func (s *sender) land(f *flight) {
	l := &s.lanes[f.slot]
	base := f.base
	for _, p := range f.parts {
		a := p.a
		if a.sent == 0 {
			a.first = base
		}
		a.sent += p.count
		base += int64(p.count)
		if a.sent == len(a.events) {
			l.queue = l.queue[1:]
			s.answer(a, nil)
		}
	}
	if len(l.queue) == 0 {
		l.queue = nil
	}
	s.up(f.slot)
}

// fail gives a flight up. What waited behind it was not sent: it is refused too where
// brokers are wanting, else it goes on.
func (s *sender) fail(f *flight) {
	l := &s.lanes[f.slot]
	l.flight = nil
	cause := f.err
	if cause == nil {
		cause = errNoLeader
	}
	if gone := s.cluster.gone(); gone != nil {
		cause = gone
	}
	l.producer = f.producer
	l.sequence = f.sequence
	if f.doubt {
		// The next batch must not be taken for this one.
		l.producer.id = -1
	}
	if !f.refused {
		// Before anybody is told, so that who tries again at once is refused at once.
		s.down(f.slot, cause, f.deadline.Add(trialEvery-s.cfg.DeliverWithin))
	}
	for _, p := range f.parts {
		l.queue = l.queue[1:]
		kind := ledger.ErrRefused
		if f.doubt || p.a.sent > 0 {
			kind = ledger.ErrUnknown
		}
		s.answer(p.a, fmt.Errorf("%w: %w", kind, cause))
	}
	if f.refused {
		return
	}
	for _, a := range l.queue {
		s.answer(a, fmt.Errorf("%w: %s takes no append: %w", ledger.ErrRefused, partitionOf(f.slot), cause))
	}
	l.queue = nil
}

// down makes appends to a slot refused, but for a trial now and then.
func (s *sender) down(slot int, cause error, trial time.Time) {
	s.mu.Lock()
	g := &s.gates[slot]
	if g.down == nil {
		g.trial = trial
	}
	g.down, g.since = cause, time.Now()
	s.mu.Unlock()
	s.cluster.ask()
}

// answer tells an append's caller.
func (s *sender) answer(a *pending, err error) {
	s.mu.Lock()
	s.gates[a.slot].waiting--
	s.bytes -= a.size
	s.events -= len(a.events)
	s.mu.Unlock()
	if err != nil {
		s.reader.Forget(partitionOf(a.slot), a.events)
		s.stats.failed.Add(int64(len(a.events)))
		a.done(ledger.Appended{Err: err})
		return
	}
	s.stats.appended.Add(int64(len(a.events)))
	a.done(ledger.Appended{First: a.first})
}

// counters are what Stats reads.
type counters struct {
	appended, failed, requests, read, fetched atomic.Int64
}
