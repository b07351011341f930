package ledger

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// ClerkConfig is what a clerk is told once.
type ClerkConfig struct {
	Partition event.Partition
	Source    string
	Node      string
	Decider   *Decider
	Vault     Vault
	Control   *Control
	// Slots grants places at a carrier account; nil when no such account is
	// served here.
	Slots func(account string) Slots
	// Event reads the event at an index of the partition: a submit that is no longer
	// in memory, an inbound message to be answered.
	Event func(ctx context.Context, index int64) (*event.Event, error)
	// Alphabet is what data_coding 0 means at an account.
	Alphabet func(account string) sms.Encoding
	// Unanswered is told of attempts that this process did not make and that nobody
	// has answered yet, when their streams are loaded; nil: nobody is.
	Unanswered func(s *recipient.State, m *recipient.Message)
	// NewID makes an id; event.NewID, or a drawn one in a simulation.
	NewID func(now time.Time) event.ID

	// CallWindow is how long after it was proposed a start may be called. Default
	// 5 s; it is stretched to eight times the measured lag between a proposal and
	// its return.
	CallWindow time.Duration
	// AnswerWithin is how long after call_by an answer may come; keep it above the
	// session's response time-out. Default 10 s.
	AnswerWithin time.Duration
	// GiveUp is when a proposal that did not come back is no longer waited for.
	// Default 10 s. What lands later is void, or effective and then not called.
	GiveUp time.Duration
	// ReleaseRate bounds how many scheduled and deferred messages a second one
	// partition takes up when they fall due together. Default 100.
	ReleaseRate int
	// MaxWaiting bounds the messages of one priority that are allowed and wait for a
	// slot; the others stay undecided. Default 2,000.
	MaxWaiting int
	// MaxStreams is how many folds are kept in memory. Default 8,000.
	MaxStreams int
	// Horizon is how far ahead timers are kept in memory; what is due later is read
	// from the views in time. Default 10 min.
	Horizon time.Duration
	// Budget is how many streams one Act works on. Default 256.
	Budget int
	// FoldOnly: fold what is applied and look for nothing to do. Rebuilding views is
	// this, and nothing else of the pipeline differs.
	FoldOnly bool
	// Rule is the rule that events are folded by; nil: the standard one. A test gives its own copy,
	// to show what breaks without a clause.
	Rule *recipient.Rule
}

func (c *ClerkConfig) defaults() {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	num := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	def(&c.CallWindow, 5*time.Second)
	def(&c.AnswerWithin, 10*time.Second)
	def(&c.GiveUp, 10*time.Second)
	def(&c.Horizon, 10*time.Minute)
	num(&c.ReleaseRate, 100)
	num(&c.MaxWaiting, 2000)
	num(&c.MaxStreams, 8000)
	num(&c.Budget, 256)
	if c.NewID == nil {
		c.NewID = event.NewID
	}
	if c.Rule == nil {
		standard := recipient.Standard()
		c.Rule = &standard
	}
	if c.Alphabet == nil {
		c.Alphabet = func(string) sms.Encoding { return sms.GSM7 }
	}
	if c.Slots == nil {
		c.Slots = func(string) Slots { return nil }
	}
}

// Slots grants places in a carrier's window. See Dispatcher.
type Slots interface {
	// Want asks for n places for a message. Granted at once, or later through the
	// waiter's own channel; asking again for the same message replaces the former.
	Want(w Want, now time.Time) (Grant, bool)
	// Release gives an unused grant back; it may have expired.
	Release(g Grant, now time.Time)
	// Forget takes a waiting message out of the queue.
	Forget(message event.ID)
}

// Want is a message that waits for places.
type Want struct {
	Partition event.Partition
	Subject   event.Pseudonym
	Message   event.ID
	Priority  int
	Places    int
}

// Grant is places in a carrier's window, until Expires.
type Grant struct {
	ID      uint64
	Account string
	Places  int
	Expires time.Time
}

// Granted is a grant on its way to the clerk that asked.
type Granted struct {
	Want  Want
	Grant Grant
}

// Proposal is what a clerk wants appended, in order, in one Append.
type Proposal struct {
	ID     uint64
	Events []*event.Event
}

// Call is a carrier call that has become due: its start came back effective, was
// acknowledged, and was proposed by this clerk. The clerk has already forgotten
// the start, so nothing makes the same call again.
type Call struct {
	Grant Grant
	// Proposed is when the start was proposed, by a clock that also has a monotonic
	// reading; Window is how long after that it may be called.
	Proposed time.Time
	Window   time.Duration
	// Key is the person's current key.
	Key      event.ID
	Tenant   string
	Subject  event.Pseudonym
	Handoffs []Handoff
}

// Actions is what a step asks its thin layer to do.
type Actions struct {
	Proposals []Proposal
	Calls     []Call
	// Need are streams to load before there is more to do for them.
	Need []event.Pseudonym
	// Again is when to act next if nothing happens; zero: never.
	Again time.Time
	// More: the budget ended before the work.
	More bool
}

// Clerk serves one partition: it folds what is read, works out what there is to
// do, and proposes it. It is a deterministic step: the same inputs at the same
// times give the same outputs. It has no goroutine and no clock of its own.
//
// Nothing rests on there being one clerk only. Two that serve the same partition
// void each other's proposals.
type Clerk struct {
	cfg     ClerkConfig
	part    recipient.Partition
	next    int64
	hash    [32]byte
	reg     *Registry
	streams map[event.Pseudonym]*stream
	// resting are the streams with held or allowed messages: what a control change wakes.
	resting map[event.Pseudonym]bool
	ready   queue
	timers  timers
	seq     uint64
	flying  []*flight            // in the order in which they were proposed
	appends map[uint64][]*flight // whose events went out in which append
	starts  map[event.ID]*start
	// given are starts of proposals that were given up. One that comes back effective
	// after all is not called, and this process says so: nobody need be in doubt.
	given map[event.ID]*start
	// found are those of them that a stream's fold shows to be effective.
	found   []Call
	grants  map[event.ID]Grant // by message
	waiting map[event.ID]waits // messages in a dispatcher's queue
	counts  [10]int            // how many of those, by priority
	// parked are streams that stay undecided while too much of a priority waits.
	parked   [10][]event.Pseudonym
	isParked map[park]bool
	// releases are when scheduled and deferred messages that fell due together are
	// taken up, one after the other; releaseAt is when the next one may be.
	releases  map[event.ID]time.Time
	releaseAt time.Time
	// control that the partition lacks, and since when, or when it was last proposed
	lacking    int64
	lackingAt  time.Time
	lag        time.Duration
	judged     []Judged
	dirty      map[event.Pseudonym]*stream
	cuts, done uint64
	quiet      bool
}

type park struct {
	subject  event.Pseudonym
	priority int
}

// waits says in whose queue a message is, and with which priority.
type waits struct {
	account  string
	priority int
}

type stream struct {
	subject event.Pseudonym
	state   *recipient.State
	flight  *flight
	queued  bool
	timer   time.Time // the earliest in the timers
	cut     uint64    // the last batch that it was in
	// submits are recent ones, so that a body need not be read again.
	submits map[event.ID]*event.Event
	// again is when a held message is looked at again, where that leaves no event.
	again map[event.ID]time.Time
}

// flight is a stream's one proposal in flight.
type flight struct {
	stream *stream
	events []event.ID
	starts []event.ID
	sent   time.Time
	landed int
	acked  bool
	failed bool
	over   bool
	back   []*start // came back effective, waiting for the acknowledgement
}

// start is a HandoffStarted of this clerk's that has not come back.
type start struct {
	message  event.ID
	grant    Grant
	stream   *stream
	proposed time.Time
	window   time.Duration
	handoffs []Handoff
}

// NewClerk returns a clerk that has read nothing.
func NewClerk(cfg ClerkConfig) *Clerk {
	cfg.defaults()
	return &Clerk{cfg: cfg, reg: &Registry{}, streams: map[event.Pseudonym]*stream{}, resting: map[event.Pseudonym]bool{},
		appends: map[uint64][]*flight{}, starts: map[event.ID]*start{}, given: map[event.ID]*start{}, grants: map[event.ID]Grant{},
		isParked: map[park]bool{}, releases: map[event.ID]time.Time{}, waiting: map[event.ID]waits{}, dirty: map[event.Pseudonym]*stream{}}
}

// Restore begins at a mark: the fold's streams are loaded as they are needed.
func (c *Clerk) Restore(m Mark, reg *Registry) {
	c.next, c.hash, c.part, c.reg = m.Next, m.Hash, m.Partition, reg
}

// Inherit takes over from an earlier clerk of this process what it proposed and
// will not call any more: a start that comes back effective after all is answered
// with "not called", so that nobody need be in doubt. The calls that it returns say
// so of those that had come back already. What the earlier clerk waited for at
// carriers, and its places there, it gives back.
func (c *Clerk) Inherit(old *Clerk, now time.Time) (calls []Call) {
	maps.Copy(c.given, old.given)
	maps.Copy(c.given, old.starts)
	calls = append(calls, old.found...) // found, and not handed out before its run ended
	for _, id := range slices.SortedFunc(maps.Keys(c.given), func(a, b event.ID) int { return bytes.Compare(a[:], b[:]) }) {
		c.queueSubject(c.given[id].stream.subject) // its fold says whether it came back before this clerk begins
	}
	for _, id := range slices.Sorted(maps.Keys(old.appends)) {
		for _, f := range old.appends[id] {
			for _, s := range f.back {
				calls = append(calls, c.uncalled(s))
			}
		}
	}
	for _, s := range old.starts {
		c.release(s.grant, now)
		delete(old.grants, s.message)
	}
	for _, g := range old.grants {
		c.release(g, now)
	}
	for message, w := range old.waiting {
		if slots := c.cfg.Slots(w.account); slots != nil {
			slots.Forget(message)
		}
	}
	return calls
}

// Next is the index of the next event to apply.
func (c *Clerk) Next() int64 { return c.next }

// Partition is the partition's own state.
func (c *Clerk) Partition() recipient.Partition { return c.part }

// Backlog is how many streams wait to be worked on.
func (c *Clerk) Backlog() int { return len(c.ready) }

// Missing are the subjects of the records whose streams are not in memory.
func (c *Clerk) Missing(records []Record) []event.Pseudonym {
	var out []event.Pseudonym
	seen := map[event.Pseudonym]bool{}
	for i := range records {
		if records[i].Bad != nil {
			continue
		}
		s := records[i].Event.Subject
		if !s.IsZero() && c.streams[s] == nil && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

// Load takes streams from the views. A subject that has no fold yet starts at nothing.
func (c *Clerk) Load(subjects []event.Pseudonym, folds map[event.Pseudonym]*recipient.State) {
	for _, s := range subjects {
		if c.streams[s] != nil {
			continue
		}
		st := &stream{subject: s, state: folds[s]}
		c.streams[s] = st
		if st.state == nil {
			st.state = recipient.New("", s)
			continue
		}
		c.find(st)
		if c.cfg.Unanswered != nil {
			for _, m := range st.state.Messages {
				if m.Status == recipient.Sending || m.Status == recipient.InDoubt {
					c.cfg.Unanswered(st.state, m)
				}
			}
		}
		c.wake(st)
	}
}

// find looks in a stream's fold for starts that were given up or inherited: another
// node may have folded them while this clerk's predecessor had not read so far.
func (c *Clerk) find(st *stream) {
	if len(c.given) == 0 {
		return
	}
	for _, m := range st.state.Messages {
		for i := range m.Attempts {
			if s := c.given[m.Attempts[i].Start]; s != nil {
				delete(c.given, m.Attempts[i].Start)
				c.found = append(c.found, c.uncalled(s))
			}
		}
	}
}

// Look queues streams that have something due; they are loaded when their time comes.
func (c *Clerk) Look(due []Due) {
	for _, d := range due {
		heap.Push(&c.timers, timer{d.At, d.Subject})
	}
}

// Apply folds records, which must follow densely, and returns the calls that
// became due. The records' streams must be loaded.
func (c *Clerk) Apply(ctx context.Context, records []Record, now time.Time) (calls []Call, err error) {
	for i := range records {
		r := &records[i]
		if r.Index != c.next {
			return calls, fmt.Errorf("read %s where %s should follow", event.Position{Partition: c.cfg.Partition, Index: r.Index},
				event.Position{Partition: c.cfg.Partition, Index: c.next})
		}
		j := Judged{Record: *r}
		if bad := unfit(r); bad != nil {
			at := event.Position{Partition: c.cfg.Partition, Index: r.Index}
			if !c.cfg.Control.Accepted(at, r.Raw) {
				return calls, fmt.Errorf("%w: %s: %w", ErrDamaged, at, bad)
			}
			j.Why, j.Event = Opaque, nil
		} else if _, ok := r.Event.Data.(*event.ControlApplied); ok {
			before := c.part
			if j.Why = c.cfg.Rule.Apply(&c.part, r.Event); j.Why == "" {
				reg, err := c.cfg.Control.Wait(ctx, c.part.Control)
				if err != nil {
					c.part = before
					return calls, err
				}
				c.reg = reg
				for _, s := range sorted(c.resting) {
					c.queueSubject(s)
				}
			}
		} else {
			calls = append(calls, c.apply(&j, now)...)
		}
		c.judged = append(c.judged, j)
		c.next++
	}
	if n := len(records); n > 0 {
		c.hash = sha256.Sum256(records[n-1].Raw)
	}
	return calls, nil
}

// unfit says why a record cannot be folded in a recipients' partition; nil when it can.
func unfit(r *Record) error {
	if r.Bad != nil {
		return r.Bad
	}
	if _, applied := r.Event.Data.(*event.ControlApplied); !applied && r.Event.Subject.IsZero() {
		return fmt.Errorf("%s belongs to no recipient", r.Event.Data.Type().Name())
	}
	return nil
}

func (c *Clerk) apply(j *Judged, now time.Time) (calls []Call) {
	e := j.Event
	st := c.streams[e.Subject]
	if st.state.Tenant == "" {
		st.state.Tenant = e.Tenant
	}
	j.Why = c.cfg.Rule.Evolve(st.state, &c.part, j.Index, e)
	if m := st.state.Message(e.MessageID()); m != nil {
		j.Status = m.Status
	}
	c.dirty[st.subject] = st
	if _, ok := e.Data.(*event.MessageSubmitted); ok && j.Why == "" {
		if st.submits == nil {
			st.submits = map[event.ID]*event.Event{}
		}
		st.submits[e.ID] = e
	}
	if s := c.given[e.ID]; s != nil {
		delete(c.given, e.ID)
		if j.Why == "" {
			calls = append(calls, c.uncalled(s))
		}
	}
	f := st.flight
	switch {
	case f != nil && f.events[f.landed] == e.ID:
		f.landed++
		c.lag = (7*c.lag + max(now.Sub(f.sent), 0)) / 8
		if s := c.starts[e.ID]; s != nil && j.Why == "" {
			delete(c.starts, e.ID) // taken out of memory before it is called
			delete(c.grants, s.message)
			switch {
			case f.acked:
				calls = append(calls, c.call(s))
			case f.failed:
				calls = append(calls, c.uncalled(s))
			default:
				f.back = append(f.back, s)
			}
		}
		if j.Why != "" || f.landed == len(f.events) {
			c.drop(f, now)
		}
	case f != nil && j.Why == "" && st.state.Last == e.ID:
		c.drop(f, now) // overtaken: whatever of it still lands is void
	}
	c.wake(st)
	return calls
}

// drop ends a flight. Starts of it that did not come back are forgotten, so that
// nobody calls them, and their places go back.
func (c *Clerk) drop(f *flight, now time.Time) {
	f.over = true
	f.stream.flight = nil
	for _, id := range f.starts {
		if s := c.starts[id]; s != nil {
			delete(c.starts, id)
			delete(c.grants, s.message)
			c.release(s.grant, now)
		}
	}
}

func (c *Clerk) release(g Grant, now time.Time) {
	if slots := c.cfg.Slots(g.Account); slots != nil {
		slots.Release(g, now)
	}
}

func (c *Clerk) call(s *start) Call {
	return Call{Grant: s.grant, Proposed: s.proposed, Window: s.window, Key: s.stream.state.Key,
		Tenant: s.stream.state.Tenant, Subject: s.stream.subject, Handoffs: s.handoffs}
}

// uncalled is a call whose call_by has passed: it is not made, and its parts are
// recorded as not called.
func (c *Clerk) uncalled(s *start) Call {
	call := c.call(s)
	call.Handoffs = slices.Clone(call.Handoffs)
	for i := range call.Handoffs {
		call.Handoffs[i].CallBy = time.Time{}
	}
	return call
}

// Acked takes the answer to a proposal's append, and returns the calls of starts
// that had come back before it. After an error they are still returned, with a
// call_by that has passed: they are not called, and say so.
func (c *Clerk) Acked(id uint64, err error) (calls []Call) {
	for _, f := range c.appends[id] {
		f.acked, f.failed = err == nil, err != nil
		for _, s := range f.back {
			if err != nil {
				calls = append(calls, c.uncalled(s))
			} else {
				calls = append(calls, c.call(s))
			}
		}
		f.back = nil
	}
	delete(c.appends, id)
	return calls
}

// Granted takes a grant that was waited for.
func (c *Clerk) Granted(g Granted, now time.Time) {
	c.unwait(g.Want.Message)
	if old, ok := c.grants[g.Want.Message]; ok {
		c.release(old, now)
	}
	c.grants[g.Want.Message] = g.Grant
	c.queueSubject(g.Want.Subject)
}

func (c *Clerk) unwait(message event.ID) {
	w, ok := c.waiting[message]
	if !ok {
		return
	}
	prio := w.priority
	delete(c.waiting, message)
	c.counts[prio]--
	if c.counts[prio] < c.cfg.MaxWaiting/2 && len(c.parked[prio]) > 0 {
		n := min(c.cfg.MaxWaiting/2, len(c.parked[prio]))
		for _, s := range c.parked[prio][:n] {
			delete(c.isParked, park{s, prio})
			c.queueSubject(s)
		}
		c.parked[prio] = slices.Clone(c.parked[prio][n:])
	}
}

// wake queues a stream that changed, unless it has a proposal in flight.
func (c *Clerk) wake(st *stream) {
	rests := false
	for _, m := range st.state.Messages {
		rests = rests || m.Status == recipient.Held || m.Status == recipient.Allowed
		if !m.Status.Unsent() && m.Status != recipient.Sending {
			delete(st.submits, m.ID)
		}
	}
	if rests {
		c.resting[st.subject] = true
	} else {
		delete(c.resting, st.subject)
	}
	c.queueSubject(st.subject)
}

func (c *Clerk) queueSubject(s event.Pseudonym) {
	if c.cfg.FoldOnly {
		return
	}
	prio := 0
	if st := c.streams[s]; st != nil {
		if st.queued || st.flight != nil {
			return
		}
		st.queued = true
		for _, m := range st.state.Messages {
			if m.Status.Unsent() {
				prio = max(prio, m.Priority)
			}
		}
		if len(st.state.Asks) > 0 || len(st.state.Inbound) > 0 {
			prio = 10
		}
	}
	c.seq++
	heap.Push(&c.ready, item{prio, c.seq, s})
}

// Act works on what is ready, the most urgent first, and proposes. fault is what
// the caller knows to be wrong with this node ("": nothing); then every decision
// is a hold.
func (c *Clerk) Act(ctx context.Context, now time.Time, fault, detail string) Actions {
	var out Actions
	out.Calls, c.found = c.found, nil
	if c.quiet {
		return out
	}
	c.giveUp(now)
	c.control(&out, now)
	c.fallDue(&out, now)
	var p Proposal
	var flown []*flight
	for n := 0; len(c.ready) > 0; {
		if ctx.Err() != nil { // what could not be read for it is no fault of a message
			return out
		}
		if n >= c.cfg.Budget || len(p.Events) > MaxAppend/2 || len(out.Need) >= c.cfg.Budget {
			out.More = true
			break
		}
		it := heap.Pop(&c.ready).(item)
		st := c.streams[it.subject]
		if st == nil {
			out.Need = append(out.Need, it.subject)
			continue
		}
		st.queued = false
		if st.flight != nil {
			continue
		}
		n++
		w := work{c: c, ctx: ctx, st: st, raw: now, now: event.Millis(now), last: st.state.Last, fault: fault, detail: detail}
		w.run(ctx)
		if ctx.Err() != nil {
			return out
		}
		if len(w.events) == 0 {
			continue
		}
		f := &flight{stream: st, sent: now, starts: w.starts}
		for _, e := range w.events {
			f.events = append(f.events, e.ID)
		}
		st.flight = f
		flown = append(flown, f)
		p.Events = append(p.Events, w.events...)
	}
	if len(p.Events) > 0 {
		c.seq++
		p.ID = c.seq
		c.appends[p.ID] = flown
		c.flying = append(c.flying, flown...)
		out.Proposals = append(out.Proposals, p)
	}
	if len(out.Need) > 0 {
		out.More = true
	}
	c.soonest(&out)
	return out
}

// giveUp stops waiting for proposals that did not come back.
func (c *Clerk) giveUp(now time.Time) {
	maps.DeleteFunc(c.given, func(_ event.ID, s *start) bool { return now.Sub(s.proposed) > RetryFor })
	c.flying = slices.DeleteFunc(c.flying, func(f *flight) bool {
		wait := c.cfg.GiveUp
		if f.failed {
			wait = time.Second
		}
		if !f.over && now.Sub(f.sent) > wait {
			for _, id := range f.starts {
				if s := c.starts[id]; s != nil {
					c.given[id] = s
				}
			}
			c.drop(f, now)
			c.wake(f.stream)
		}
		return f.over
	})
}

// control proposes the newest control position where the partition still lacks it
// a second after this clerk first saw that it does: whoever changed control
// appends it to every partition.
func (c *Clerk) control(out *Actions, now time.Time) {
	latest, _ := c.cfg.Control.Latest()
	if latest.Position <= c.part.Control {
		return
	}
	if latest.Position != c.lacking {
		c.lacking, c.lackingAt = latest.Position, now
	}
	if now.Sub(c.lackingAt) < time.Second {
		out.Again = c.lackingAt.Add(time.Second)
		return
	}
	c.lackingAt = now
	c.seq++
	out.Proposals = append(out.Proposals, Proposal{ID: c.seq, Events: []*event.Event{
		AppliedEvent(latest, c.cfg.Partition, c.cfg.Source, c.cfg.Node, now)}})
}

// AppliedEvent brings a control position into a partition. Whoever writes it
// writes the same id.
func AppliedEvent(r *Registry, p event.Partition, source, node string, now time.Time) *event.Event {
	return &event.Event{ID: event.Derive(r.Event, "applied", p.String()), Source: source, Time: event.Millis(now), Node: node,
		Data: &event.ControlApplied{Position: r.Position, Event: r.Event}}
}

// fallDue queues what has come due.
func (c *Clerk) fallDue(out *Actions, now time.Time) {
	for len(c.timers) > 0 && !c.timers[0].at.After(now) && len(out.Need) < c.cfg.Budget {
		t := heap.Pop(&c.timers).(timer)
		st := c.streams[t.subject]
		if st == nil {
			out.Need = append(out.Need, t.subject)
			continue
		}
		st.timer = time.Time{}
		c.queueSubject(t.subject)
	}
}

// turnOf is when a message whose hour has come is taken up: at once while fewer
// than a second's worth of them were lately, else in its turn at the release rate.
func (c *Clerk) turnOf(message event.ID, now time.Time) time.Time {
	if at, ok := c.releases[message]; ok {
		return at
	}
	if c.releaseAt.Before(now) {
		c.releaseAt = now
	}
	at := c.releaseAt.Add(-time.Second)
	c.releaseAt = c.releaseAt.Add(time.Second / time.Duration(c.cfg.ReleaseRate))
	c.releases[message] = at
	return at
}

func (c *Clerk) soonest(out *Actions) {
	see := func(t time.Time) {
		if out.Again.IsZero() || t.Before(out.Again) {
			out.Again = t
		}
	}
	if len(c.timers) > 0 {
		see(c.timers[0].at)
	}
	if len(c.flying) > 0 {
		see(c.flying[0].sent.Add(time.Second))
	}
}

// remind sets a timer, unless an earlier one is set or it lies past the horizon
// (then the views bring it back in time).
func (c *Clerk) remind(st *stream, t, now time.Time) {
	if t.IsZero() || t.Sub(now) > c.cfg.Horizon || !st.timer.IsZero() && !t.Before(st.timer) {
		return
	}
	st.timer = t
	heap.Push(&c.timers, timer{t, st.subject})
}

// Cut takes what was applied since the last cut, as one batch for the views; nil
// when that is nothing.
func (c *Clerk) Cut() (*Batch, error) {
	if len(c.judged) == 0 {
		return nil, nil
	}
	c.cuts++
	b := &Batch{Partition: c.cfg.Partition, Mark: Mark{Next: c.next, Hash: c.hash, Partition: c.part}, Judged: c.judged}
	for _, s := range sorted(c.dirty) {
		st := c.dirty[s]
		raw, err := json.Marshal(st.state)
		if err != nil {
			return nil, err
		}
		b.Streams = append(b.Streams, Folded{Subject: s, State: raw, Due: st.state.Due()})
		st.cut = c.cuts
	}
	clear(c.dirty)
	c.judged = nil
	return b, nil
}

// Quiet ends all proposing: what is in flight comes back and is called, or says
// that it was not; nothing follows. It reports how many starts are still out.
func (c *Clerk) Quiet() (starts int) {
	c.quiet = true
	starts = len(c.starts)
	for _, flown := range c.appends {
		for _, f := range flown {
			starts += len(f.back)
		}
	}
	return starts
}

// Cuts is how many batches Cut has made.
func (c *Clerk) Cuts() uint64 { return c.cuts }

// Pending is how many applied events no batch has taken yet.
func (c *Clerk) Pending() int { return len(c.judged) }

// Committed says that n batches have been committed in all. Streams that were in
// none later, and have nothing going on, may leave memory.
func (c *Clerk) Committed(n uint64) {
	c.done = n
	if len(c.streams) <= c.cfg.MaxStreams {
		return
	}
	for s, st := range c.streams {
		if len(c.streams) <= c.cfg.MaxStreams*3/4 {
			return
		}
		if st.flight == nil && !st.queued && st.cut <= c.done && c.dirty[s] == nil && !st.sending() {
			delete(c.streams, s)
		}
	}
}

func (st *stream) sending() bool {
	return slices.ContainsFunc(st.state.Messages, func(m *recipient.Message) bool { return m.Status == recipient.Sending })
}

// OpenCalls is until when a carrier may still be called for an attempt that a
// pause covers: the latest call_by of the unanswered ones, and the clocks' bound;
// zero when there is none. Streams with an open attempt never leave memory.
func (c *Clerk) OpenCalls(now time.Time, p *event.Paused, tenant string) (until time.Time) {
	for _, st := range c.streams {
		if tenant != "" && st.state.Tenant != tenant {
			continue
		}
		for _, m := range st.state.Messages {
			if m.Status != recipient.Sending || p.Program != "" && m.Program != p.Program {
				continue
			}
			a := &m.Attempts[len(m.Attempts)-1]
			if p.Carrier != "" && a.Carrier != p.Carrier {
				continue
			}
			if t := a.CallBy.Add(recipient.ClockBound); t.After(now) && t.After(until) {
				until = t
			}
		}
	}
	return until
}

// item is a stream in the ready queue: the highest priority first, then in order
// of arrival.
type item struct {
	prio    int
	seq     uint64
	subject event.Pseudonym
}

type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].prio > q[j].prio || q[i].prio == q[j].prio && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(item)) }
func (q *queue) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}

type timer struct {
	at      time.Time
	subject event.Pseudonym
}

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

func sorted[V any](m map[event.Pseudonym]V) []event.Pseudonym {
	return slices.SortedFunc(maps.Keys(m), func(a, b event.Pseudonym) int { return bytes.Compare(a[:], b[:]) })
}

// oldest is, by purpose, when the oldest message in memory was submitted that could
// leave now.
func (c *Clerk) oldest() map[string]time.Time {
	out := map[string]time.Time{}
	for _, st := range c.streams {
		for _, m := range st.state.Messages {
			if m.Status != recipient.Accepted && m.Status != recipient.Allowed {
				continue
			}
			at := m.ID.Time()
			if m.SendAt.After(at) {
				at = m.SendAt
			}
			if old, ok := out[m.Purpose]; !ok || at.Before(old) {
				out[m.Purpose] = at
			}
		}
	}
	return out
}
