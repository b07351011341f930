package notify

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
)

// The bounds of a node, and its times.
const (
	// nodeCalls, tenantCalls bound the calls that are under way on a node, and for a tenant there. An endpoint has at most mostFlights.
	nodeCalls, tenantCalls = 256, 64
	// From busyNode calls on, an endpoint may have at most busyFlights; from busyTenant calls of its tenant on, one. So
	// endpoints that take long leave room for each other one.
	busyNode, busyFlights, busyTenant = 128, 2, 32
	// turnCalls is how many calls an endpoint makes in its turn.
	turnCalls = 4
	// nodeReads bounds the reads of the feed that are under way.
	nodeReads = 4

	leaseTime    = 15 * time.Second
	leaseEvery   = leaseTime / 3
	lookEvery    = time.Second
	retryEvery   = time.Second     // after the store or the feed failed
	unsentPause  = 5 * time.Second // of a delivery whose record could not be made
	storeWithin  = 10 * time.Second
	readWithin   = 30 * time.Second
	wakeEvery    = 50 * time.Millisecond // at most this often are feeds looked at for what is new, so that one commit has much
	longestPause = time.Second           // of the loop
)

// SenderPorts are what a Sender stands on. All but Share are required.
type SenderPorts struct {
	Store  Store
	Source Source
	Caller Caller
	Writer writer
	Logger *slog.Logger
	Now    func() time.Time
	// Share is how many of so many endpoints this node sends for; nil: of all, as far as no other node does.
	Share func(endpoints int) int
	// Drain is how long a stop waits for the answers of calls.
	Drain time.Duration
}

// Sender sends for the endpoints whose leases this node has. One goroutine, Run, has all queues; others
// read, commit and call for it.
type Sender struct {
	p    SenderPorts
	done chan func() // what the other goroutines bring; Run calls it
	look chan struct{}

	stored  map[event.ID]known
	queues  map[event.ID]*sending
	ring    []*sending // those that may have a call to make, in turns
	readers []*sending // those that wait for their turn to read
	touched map[*sending]struct{}

	used     int
	byTenant map[string]int
	reads    int
	changes  int64
	unsure   map[event.ID]bool // whose last commit is unknown, and that are no queues any more

	looking, leasing, committing, stopping bool
	lookAt, leaseAt, scanAt                time.Time
	work                                   context.Context
	finished                               counts // of queues that are gone

	mu      sync.Mutex
	figures Figures
}

// known is an endpoint as the store has it.
type known struct {
	revision int64
	endpoint *Endpoint
}

// sending is an endpoint that this node sends for.
type sending struct {
	*queue // nil until it is loaded
	id     event.ID
	tenant string
	lease  Lease

	loading, changing, ringed, waiting bool
	retryAt                            time.Time // of a load, a change or a read that failed
	changeID                           event.ID  // of the event about the state that is wanted
}

// Figures are what a Sender did since it began, and what it has now.
type Figures struct {
	Attempts, Delivered, Failed, Dead int64
	// Endpoints are those that this node sends for. Open are their open deliveries.
	Endpoints, Open int
	// Failing are those of Endpoints of which the last attempts failed.
	Failing int
	// Paused and Disabled are of all endpoints of the installation.
	Paused, Disabled int
	// Oldest is when the oldest open delivery of Endpoints was queued; zero: none is open.
	Oldest time.Time
}

// NewSender returns a sender, which does nothing before Run.
func NewSender(p SenderPorts) *Sender {
	return &Sender{p: p, done: make(chan func()), look: make(chan struct{}, 1), stored: map[event.ID]known{}, queues: map[event.ID]*sending{},
		touched: map[*sending]struct{}{}, byTenant: map[string]int{}, unsure: map[event.ID]bool{}}
}

// Look makes the sender look at the endpoints at once, because one was changed on this node.
func (s *Sender) Look() {
	select {
	case s.look <- struct{}{}:
	default:
	}
}

// Figures are as of at most a second ago.
func (s *Sender) Figures() Figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.figures
}

// Run sends until ctx is done. Then it begins no more calls, waits for the answers of those that are under way for as long
// as Drain says, records them, and gives the leases back.
func (s *Sender) Run(ctx context.Context) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.work = work
	var others sync.WaitGroup
	others.Go(func() { wakeAll(ctx, s) })
	others.Go(func() { prune(ctx, s) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(max(0, s.round().Sub(s.p.Now())))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.look:
			s.lookAt = time.Time{}
		case f := <-s.done:
			f()
			bringMore(s)
		}
	}
	s.drain()
	cancel()
	others.Wait()
}

// bringMore takes what else was brought.
func bringMore(s *Sender) {
	for {
		select {
		case f := <-s.done:
			f()
		default:
			return
		}
	}
}

// bring gives f to Run, unless Run has ended.
func (s *Sender) bring(f func()) {
	select {
	case s.done <- f:
	case <-s.work.Done():
	}
}

// keepDeliveries is how long deliveries are kept that are neither open nor dead: so long they can be listed and replayed.
const keepDeliveries = 30 * 24 * time.Hour

// prune removes old deliveries, a bounded number at a time.
func prune(ctx context.Context, s *Sender) {
	for ctx.Err() == nil {
		n, err := s.p.Store.Prune(ctx, s.p.Now().Add(-keepDeliveries), 1000)
		if err != nil && ctx.Err() == nil {
			s.p.Logger.Warn("old deliveries to endpoints could not be removed; it is tried later", "error", err)
		}
		if n < 1000 {
			rest(ctx, time.Hour)
		}
	}
}

// wakeAll wakes all queues when there may be more in the feed.
func wakeAll(ctx context.Context, s *Sender) {
	for ctx.Err() == nil {
		head, err := s.p.Source.Head(ctx)
		if err != nil {
			rest(ctx, retryEvery)
			continue
		}
		s.bring(func() {
			for _, x := range s.queues {
				if x.queue != nil {
					x.more = true
					s.touched[x] = struct{}{}
				}
			}
		})
		rest(ctx, max(wakeEvery, time.Duration(s.Figures().Endpoints)*time.Millisecond))
		s.p.Source.Wait(ctx, head)
	}
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// drain waits for the answers that are under way, commits, and releases the leases.
func (s *Sender) drain() {
	s.stopping = true
	end := time.NewTimer(s.p.Drain)
	defer end.Stop()
	for over := false; !over; {
		now := s.p.Now()
		s.commit(now, true)
		if s.used == 0 && !s.committing {
			break
		}
		select {
		case f := <-s.done:
			f()
		case <-end.C:
			over = true
		}
	}
	ids := make([]event.ID, 0, len(s.queues))
	for id := range s.queues {
		ids = append(ids, id)
	}
	ctx, cancel := context.WithTimeout(s.work, storeWithin)
	defer cancel()
	if err := s.p.Store.Release(ctx, ids); err != nil && len(ids) > 0 {
		s.p.Logger.Warn("the leases of endpoints could not be given back; they end by themselves", "error", err)
	}
	survey(s, s.p.Now())
}

// round does what is due, and returns when something is due next.
func (s *Sender) round() (next time.Time) {
	now := s.p.Now()
	if !now.Before(s.lookAt) && !s.looking {
		inspect(s, now)
	}
	if !now.Before(s.leaseAt) && !s.leasing && s.changes > 0 {
		s.takeLeases(now)
	}
	if !now.Before(s.scanAt) {
		s.scanAt = now.Add(longestPause)
		for _, x := range s.queues {
			s.touched[x] = struct{}{}
		}
		survey(s, now)
	}
	for x := range s.touched {
		delete(s.touched, x)
		s.tend(x, now)
	}
	s.call(now)
	s.commit(now, false)
	next = s.scanAt
	for _, t := range []struct {
		at   time.Time
		busy bool
	}{{s.lookAt, s.looking}, {s.leaseAt, s.leasing || s.changes == 0}} {
		if !t.busy && t.at.Before(next) {
			next = t.at
		}
	}
	return next
}

// tend does what one endpoint wants.
func (s *Sender) tend(x *sending, now time.Time) {
	if s.queues[x.id] != x {
		return
	}
	if !now.Before(x.lease.Until) {
		dropQueue(s, x, "its lease has ended")
		return
	}
	if now.Before(x.retryAt) {
		s.sooner(x.retryAt)
	} else {
		switch {
		case x.queue == nil:
			s.load(x)
		case !x.retryAt.IsZero():
			x.retryAt, x.more = time.Time{}, true
		}
	}
	if x.queue == nil || x.broken {
		return
	}
	if !now.Before(x.retryAt) {
		s.change(x, now)
	}
	if seq, ok := x.wantsPage(now); ok {
		readReplay(s, x, seq)
	}
	s.read(x)
	if !x.ringed && x.enabled() {
		x.ringed = true
		s.ring = append(s.ring, x)
	}
}

// sooner makes the loop look at all endpoints at a time.
func (s *Sender) sooner(at time.Time) {
	if !at.IsZero() && at.Before(s.scanAt) {
		s.scanAt = at
	}
}

// survey makes the figures.
func survey(s *Sender, now time.Time) {
	f := Figures{Attempts: s.finished.attempts, Delivered: s.finished.delivered, Failed: s.finished.failed, Dead: s.finished.dead}
	for _, k := range s.stored {
		switch k.endpoint.State {
		case Paused:
			f.Paused++
		case Disabled:
			f.Disabled++
		}
	}
	for _, x := range s.queues {
		if x.queue == nil {
			continue
		}
		f.Attempts, f.Delivered, f.Failed, f.Dead = f.Attempts+x.stats.attempts, f.Delivered+x.stats.delivered, f.Failed+x.stats.failed, f.Dead+x.stats.dead
		f.Endpoints++
		f.Open += x.open
		if !x.failing.IsZero() {
			f.Failing++
		}
		if at := x.oldest(); !at.IsZero() && (f.Oldest.IsZero() || at.Before(f.Oldest)) {
			f.Oldest = at
		}
	}
	s.mu.Lock()
	s.figures = f
	s.mu.Unlock()
}

// dropQueue ends a queue: this node does not send for the endpoint any more.
func dropQueue(s *Sender, x *sending, why string) {
	if s.queues[x.id] != x {
		return
	}
	delete(s.queues, x.id)
	if x.queue != nil {
		if x.broken || x.committing { // a commit may still be made: the next lease must have another number
			s.unsure[x.id] = true
		}
		s.finished.attempts += x.stats.attempts
		s.finished.delivered += x.stats.delivered
		s.finished.failed += x.stats.failed
		s.finished.dead += x.stats.dead
	}
	s.p.Logger.Info("this node does not send for an endpoint any more", "endpoint", x.id, "because", why)
}

// call makes calls, in turns, as far as the bounds allow.
func (s *Sender) call(now time.Time) {
	for blocked := 0; blocked < len(s.ring) && s.used < nodeCalls && !s.stopping; {
		x := s.ring[0]
		s.ring = s.ring[1:]
		if s.queues[x.id] != x || x.queue == nil || !now.Before(x.lease.Until) {
			x.ringed = false
			continue
		}
		most := mostFlights
		if s.used >= busyNode {
			most = busyFlights
		}
		if s.byTenant[x.tenant] >= busyTenant {
			most = 1
		}
		most = min(most-len(x.flights), turnCalls, tenantCalls-s.byTenant[x.tenant], nodeCalls-s.used)
		var group []attempt
		idle := false
		for len(group) < most && !idle {
			a, ok := x.next(now)
			if idle = !ok; ok {
				group = append(group, a)
			}
		}
		if len(group) > 0 {
			s.used += len(group)
			s.byTenant[x.tenant] += len(group)
			e := x.endpoint
			go s.send(x, e, group)
			blocked = 0
		} else {
			blocked++
		}
		if idle && most > 0 {
			x.ringed = false
			s.sooner(x.due(now))
			continue
		}
		s.ring = append(s.ring, x)
	}
}

// answer ends one call of an endpoint.
func (s *Sender) answer(x *sending, f func(q *queue, now time.Time)) {
	s.bring(func() {
		s.used--
		if s.byTenant[x.tenant]--; s.byTenant[x.tenant] == 0 {
			delete(s.byTenant, x.tenant)
		}
		if s.queues[x.id] == x && x.queue != nil {
			f(x.queue, s.p.Now())
			s.touched[x] = struct{}{}
		}
	})
}

// send makes the records of attempts and calls, all of them at the same time.
func (s *Sender) send(x *sending, e *Endpoint, group []attempt) {
	records, lost, err := recordsOf(s, x.tenant, e, group)
	if err != nil && len(group) > 1 { // one that cannot be made holds back no other
		for i := range group {
			s.send(x, e, group[i:i+1])
		}
		return
	}
	if err != nil {
		s.p.Logger.Warn("the records for an endpoint could not be made; they are made later", "endpoint", e.ID, "error", err)
	}
	for i, a := range group {
		switch {
		case err != nil:
			s.answer(x, func(q *queue, now time.Time) { q.unsent(a.seq, unsentPause, now) })
		case lost[i]:
			s.answer(x, func(q *queue, now time.Time) { q.lost(a.seq, now) })
		default:
			go func() {
				got := s.p.Caller.Call(s.work, &Call{Endpoint: e, ID: records[i].ID, Body: numbered(records[i].JSON, a.seq), At: s.p.Now()})
				chance := rand.Float64()
				s.answer(x, func(q *queue, now time.Time) { q.answered(a.seq, got, chance, now) })
			}()
		}
	}
}

// numbered is a record with its number at the endpoint as its first member.
func numbered(record []byte, seq int64) []byte {
	if len(record) < 2 || record[0] != '{' {
		return record
	}
	b := strconv.AppendInt(append(make([]byte, 0, len(record)+32), `{"sequence":`...), seq, 10)
	return append(append(b, ','), record[1:]...)
}

// recordsOf are the records of attempts; lost are those whose item is not in the ledger any more.
func recordsOf(s *Sender, tenant string, e *Endpoint, group []attempt) (records []Record, lost []bool, err error) {
	ctx, cancel := context.WithTimeout(s.work, readWithin)
	defer cancel()
	places := make([]feed.Place, len(group))
	for i := range group {
		places[i] = group[i].place
	}
	items, err := s.p.Source.At(ctx, tenant, places)
	if err == nil && len(items) != len(group) {
		err = errors.New("the feed answered with another number of items")
	}
	if err != nil {
		return nil, nil, err
	}
	records, lost = make([]Record, len(group)), make([]bool, len(group))
	var there []feed.Item
	for i := range items {
		if lost[i] = items[i].Event.IsZero() || items[i].Event != group[i].event; !lost[i] {
			there = append(there, items[i])
		}
	}
	if len(there) == 0 {
		return records, lost, nil
	}
	made, err := s.p.Source.Records(ctx, e, there)
	if err == nil && len(made) != len(there) {
		err = errors.New("the feed made another number of records")
	}
	if err != nil {
		return nil, nil, err
	}
	for i := range group {
		if !lost[i] {
			records[i], made = made[0], made[1:]
		}
	}
	return records, lost, nil
}
