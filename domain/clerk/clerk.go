// Package clerk serves one partition: it folds what is read from the log, works out what
// there is to do, and proposes it. It is a deterministic step: the same inputs at the same
// times give the same outputs; it has no goroutine and no clock.
//
// Four types share the work. The Fold judges records and keeps the streams. The agenda says
// which stream is looked at next. Work is one look at one stream, which builds its next
// proposal. The flights are the proposals that have not come back, with the memory of starts
// without which no carrier is called. The windows are what the clerk holds of the carriers'.
package clerk

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Config is what a clerk is told once.
type Config struct {
	Partition event.Partition
	Author    ledger.Author
	Decider   *decision.Decider
	Control   *control.Control
	// Vault opens bodies and seals replies under the caller's loop: it must answer from
	// memory or a local file, or bound its waits.
	Vault ledger.Vault
	// Event reads the event at an index of the partition: a submit that is no longer in
	// memory, an inbound message to be answered. The clerk waits for it, so it must bound
	// its wait; after an error the message is held, and looked at again.
	Event func(ctx context.Context, index int64) (*event.Event, error)
	// Slots grants slots at a carrier account; nil when no such account is served here.
	Slots func(account string) Slots
	// Account is what an account takes.
	Account func(account string) ledger.Account
	// Unanswered is told of attempts that no answer has come to, when their streams are
	// loaded: this process did not make them; nil: it is not told.
	Unanswered func(s *recipient.State, m *recipient.Message)
	// NewID makes an id; event.NewID, or a drawn one in a simulation.
	NewID func(now time.Time) event.ID

	// Rule is the rule that events are folded by; nil: the standard one. A test gives its own
	// copy, to show what breaks without a clause.
	Rule *recipient.Rule

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
	// MaxStreams is how many folds are kept in memory. Default MaxStreams.
	MaxStreams int
	// Horizon is how far ahead timers are kept in memory; what is due later is read
	// from the views in time. Default 10 min.
	Horizon time.Duration
	// Budget is how many streams one Act works on. Default 256.
	Budget int
}

func (c *Config) defaults() {
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
	num(&c.MaxStreams, MaxStreams)
	num(&c.Budget, 256)
	if c.NewID == nil {
		c.NewID = event.NewID
	}
	if c.Rule == nil {
		standard := recipient.Standard()
		c.Rule = &standard
	}
	if c.Account == nil {
		c.Account = func(string) ledger.Account { return ledger.Account{} }
	}
	if c.Slots == nil {
		c.Slots = func(string) Slots { return nil }
	}
}

// Proposal is what a clerk wants appended, in order, in one Append.
type Proposal struct {
	ID     uint64
	Events []*event.Event
}

// Actions is what a step asks its thin layer to do.
type Actions struct {
	Proposals []Proposal
	Calls     []dispatch.Call
	// Need are streams to load before there is more to do for them.
	Need []event.Pseudonym
	// Next is when to act next if nothing happens; zero: never.
	Next time.Time
	// More: the budget ended before the work.
	More bool
}

// Clerk serves one partition.
//
// Nothing rests on there being one clerk only. Two that serve the same partition void each
// other's proposals.
type Clerk struct {
	cfg     Config
	fold    *Fold
	agenda  agenda
	windows windows
	flights flights

	appends uint64 // proposals so far
	// lacking is the control position that the partition lacks, and lackingSince when that
	// was first seen, or when it was last proposed.
	lacking      int64
	lackingSince time.Time
	draining     bool
}

// New returns a clerk that has read nothing.
func New(cfg Config) *Clerk {
	cfg.defaults()
	c := &Clerk{cfg: cfg, fold: NewFold(cfg.Partition, cfg.Control), agenda: newAgenda(cfg.Horizon, cfg.ReleaseRate),
		windows: newWindows(cfg.Slots, cfg.MaxWaiting)}
	c.fold.most, c.fold.rule = cfg.MaxStreams, cfg.Rule
	c.flights = newFlights(&c.windows, cfg.GiveUp)
	return c
}

// Fold is the partition as this clerk has folded it.
func (c *Clerk) Fold() *Fold { return c.fold }

// Inherit takes over from an earlier clerk of this process what it proposed and
// will not call any more: a start that comes back effective after all is answered
// with "not called", so that it need not become in doubt. The calls that it returns say
// so of those that had come back already. What the earlier clerk waited for at
// carriers, and its grants there, it gives back.
func (c *Clerk) Inherit(old *Clerk) []dispatch.Call {
	calls, look := c.flights.inherit(&old.flights)
	for _, s := range look {
		c.queue(s) // its fold says whether it came back before this clerk begins
	}
	old.windows.close()
	return calls
}

// Backlog is how many streams wait to be worked on.
func (c *Clerk) Backlog() int { return len(c.agenda.ready) }

// Horizon is how far ahead the clerk keeps timers: what falls due later it hears from Look.
func (c *Clerk) Horizon() time.Duration { return c.cfg.Horizon }

// Load takes streams from the views, as Fold.Load does, and makes them ready.
func (c *Clerk) Load(subjects []event.Pseudonym, folds map[event.Pseudonym]*recipient.State) {
	c.fold.load(subjects, folds, func(st *stream) {
		c.flights.recover(st)
		if c.cfg.Unanswered != nil {
			for _, m := range st.state.Messages {
				if m.Status == recipient.Sending || m.Status == recipient.InDoubt {
					c.cfg.Unanswered(st.state, m)
				}
			}
		}
		c.agenda.wake(st)
	})
}

// Look sets timers for streams that have something due; they are loaded when their time comes.
func (c *Clerk) Look(due []ledger.Due) {
	for _, d := range due {
		c.agenda.set(d)
	}
}

// Apply folds records, as Fold.Apply does, and returns the calls that became due. It returns
// them with an error too: the clerk has forgotten them already.
func (c *Clerk) Apply(ctx context.Context, records []ledger.Record, now time.Time) (calls []dispatch.Call, err error) {
	err = c.fold.apply(ctx, records, func(st *stream, j *ledger.Judged) {
		switch {
		case st != nil:
			if _, submit := j.Event.Data.(*event.MessageSubmitted); submit && j.Why == "" {
				st.remember(j.Event)
			}
			calls = append(calls, c.flights.landed(st, j, now)...)
			st.forget()
			c.agenda.wake(st)
		case j.Why == "": // another control position is in force
			for _, s := range sorted(c.agenda.resting) {
				c.queue(s)
			}
		}
	})
	return calls, err
}

// Acked takes the answer to a proposal's append, and returns the calls of starts
// that had come back before it. After an error they are still returned, with a
// call_by that has passed: they are not called, and say so.
func (c *Clerk) Acked(id uint64, err error) []dispatch.Call { return c.flights.acked(id, err) }

// Granted takes a grant that was waited for.
func (c *Clerk) Granted(g dispatch.Granted) {
	c.unpark(c.windows.granted(g))
	c.queue(g.Want.Subject)
}

// Act works on what is ready, the most urgent first, and proposes. fault is what
// the caller knows to be wrong with this node ("": nothing); then every decision
// is a hold.
func (c *Clerk) Act(ctx context.Context, now time.Time, fault event.Fault, detail string) Actions {
	var out Actions
	out.Calls, c.flights.recoveredCalls = c.flights.recoveredCalls, nil
	for _, st := range c.flights.expire(now) {
		c.agenda.wake(st)
	}
	if c.draining { // what is no longer waited for is not out any more
		out.Next = c.flights.nextExpiry
		return out
	}
	c.bringControl(&out, now)
	c.fallDue(&out, now)
	var p Proposal
	var flown []*flight
	for n := 0; len(c.agenda.ready) > 0; {
		if ctx.Err() != nil { // what could not be read for it is no fault of a message
			return out
		}
		if n >= c.cfg.Budget || len(p.Events) > ledger.MaxAppend/2 || len(out.Need) >= c.cfg.Budget {
			out.More = true
			break
		}
		subject := c.agenda.next()
		st := c.fold.streams[subject]
		if st == nil {
			out.Need = append(out.Need, subject)
			continue
		}
		st.queued = false
		if st.flight != nil {
			continue
		}
		n++
		w := work{c: c, ctx: ctx, st: st, raw: now, now: event.Millis(now), last: st.state.Last, fault: fault, detail: detail}
		w.run()
		if ctx.Err() != nil {
			return out
		}
		if len(w.events) > 0 {
			flown = append(flown, c.flights.launch(st, w.events, w.starts, now))
			p.Events = append(p.Events, w.events...)
		}
	}
	if len(p.Events) > 0 {
		p.ID = c.propose()
		c.flights.appends[p.ID] = flown
		out.Proposals = append(out.Proposals, p)
	}
	if len(out.Need) > 0 {
		out.More = true
	}
	c.soonest(&out)
	return out
}

func (c *Clerk) propose() (id uint64) {
	c.appends++
	return c.appends
}

// queue makes a stream ready, in memory or not.
func (c *Clerk) queue(s event.Pseudonym) { c.agenda.queue(s, c.fold.streams[s]) }

// unpark makes streams ready that stayed undecided while too much waited.
func (c *Clerk) unpark(streams []event.Pseudonym) {
	for _, s := range streams {
		c.queue(s)
	}
}

// bringControl proposes the newest control position where the partition still lacks it
// a second after this clerk first saw that it does: whoever changes control
// appends it to every partition.
func (c *Clerk) bringControl(out *Actions, now time.Time) {
	latest, _ := c.cfg.Control.Latest()
	if latest.Position <= c.fold.part.Control {
		return
	}
	if latest.Position != c.lacking {
		c.lacking, c.lackingSince = latest.Position, now
	}
	if now.Sub(c.lackingSince) < time.Second {
		out.Next = c.lackingSince.Add(time.Second)
		return
	}
	c.lackingSince = now
	out.Proposals = append(out.Proposals, Proposal{ID: c.propose(), Events: []*event.Event{latest.Applied(c.cfg.Author, c.cfg.Partition, now)}})
}

// fallDue makes ready what has come due.
func (c *Clerk) fallDue(out *Actions, now time.Time) {
	for len(out.Need) < c.cfg.Budget {
		subject, ok := c.agenda.due(now)
		if !ok {
			return
		}
		st := c.fold.streams[subject]
		if st == nil {
			out.Need = append(out.Need, subject)
			continue
		}
		st.timer = time.Time{}
		c.agenda.queue(subject, st)
	}
}

func (c *Clerk) soonest(out *Actions) {
	see := func(t time.Time) {
		if out.Next.IsZero() || t.Before(out.Next) {
			out.Next = t
		}
	}
	if len(c.agenda.timers) > 0 {
		see(c.agenda.timers[0].at)
	}
	if !c.flights.nextExpiry.IsZero() {
		see(c.flights.nextExpiry)
	}
}

// Drain ends all proposing: what is in flight comes back and is called, or says
// that it was not; nothing follows. It reports how many starts are still out.
func (c *Clerk) Drain() (starts int) {
	c.draining = true
	return c.flights.out()
}

// OpenCalls is until when a carrier may still be called for an attempt that a
// pause covers: the latest call_by of the unanswered ones, and the clocks' bound;
// zero when there is none. Streams with an open attempt never leave memory.
func (c *Clerk) OpenCalls(now time.Time, p *event.Paused, tenant string) (until time.Time) {
	for _, st := range c.fold.streams {
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

// Oldest is, by purpose, when the oldest message in memory was submitted that could
// leave now.
func (c *Clerk) Oldest() map[string]time.Time {
	out := map[string]time.Time{}
	for _, st := range c.fold.streams {
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
