// Package clerk serves one partition: it folds the records that are read from the log, works out
// what there is to do, and proposes events. It is a deterministic step: the same inputs at the
// same times give the same outputs. It has no goroutine and no clock; it appends nothing and
// calls no carrier: node does. What is allowed it asks package decision, and what is effective,
// package recipient.
//
// Six types share the work:
//
//   - The Fold judges records and keeps the streams.
//   - The agenda says which stream is looked at next.
//   - Work is one look at one stream. It builds the stream's next proposal.
//   - The flights are the proposals that have not come back, and the memory of starts. A carrier
//     is called only for a start in that memory.
//   - The asks are questions to carriers about parts that they accepted.
//   - The windows are what the clerk holds of the carriers' windows: grants, and messages that
//     wait for one.
package clerk

import (
	"context"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/words"
)

// Config is what a clerk is made with.
type Config struct {
	Partition event.Partition
	Author    ledger.Author
	Decider   *decision.Decider
	Control   *control.Control
	// Vault opens bodies and seals replies. The clerk waits for it on the goroutine of its
	// caller, so it must answer from memory or a local file, or bound its waits.
	Vault ledger.Vault
	// Event reads the event at an index of the partition: a submit that is no longer in memory,
	// or an inbound message to be answered. The clerk waits for it, so it must bound its wait.
	// After an error the message is held and looked at later.
	Event func(ctx context.Context, index int64) (*event.Event, error)
	// Hear says what the readings of an inbound text ask of a tenant. The default is the standard word
	// lists.
	Hear receipts.Ear
	// World says where the holders of numbers may be. The default is the built-in one.
	World *places.World
	// Slots returns what grants slots of a carrier account; nil if this node does not serve the
	// account.
	Slots func(account string) Slots
	// Account describes a carrier account.
	Account func(account string) ledger.Account
	// Unanswered is called, when a stream is loaded, with each of its messages that has an
	// attempt without an answer. This process may have made the attempt: the function must know.
	// nil: it is not called.
	Unanswered func(s *recipient.State, m *recipient.Message)
	// NewID makes an id. The default is event.NewID; a simulation gives another.
	NewID func(now time.Time) event.ID

	// Rule is the rule that events are folded by. The default is the standard rule. A test gives
	// a changed copy, to show what breaks without one of its clauses.
	Rule *recipient.Rule

	// CallWindow is how long after its proposal the carrier may be called for a start. Default 5
	// s. It grows to eight times the measured time between a proposal and its return, up to a
	// minute. The time that the account takes to write the parts comes on top, up to two minutes.
	CallWindow time.Duration
	// AnswerWithin is how long after call_by an answer may come. Keep it longer than the carrier
	// client waits for an answer. Default 10 s.
	AnswerWithin time.Duration
	// GiveUp is how long the clerk waits for a proposal to come back. Default 10 s. If it comes
	// back later, its outcomes are void, or effective but not followed by a call.
	GiveUp time.Duration
	// ReleaseRate bounds how many scheduled and deferred messages a second one partition decides
	// when many become due together. Default 100.
	ReleaseRate int
	// MaxWaiting bounds the messages that are allowed and wait for a slot of one carrier account with one priority.
	// Further messages stay undecided. Default 2,000.
	MaxWaiting int
	// StreamMemory is how many bytes of streams are kept in memory beside those in use, about. Default StreamMemory.
	StreamMemory int64
	// MaxBacklog is how many streams may wait to be looked at, or to be decided, before submits to the partition are refused
	// (HTTP 503). It is the caller's to obey. Default 50,000.
	MaxBacklog int
	// KeepRows: the views keep rows of streams; see Fold.KeepRows.
	KeepRows bool
	// Horizon is how far ahead timers are kept in memory. What becomes due later, Look must tell.
	// Default 10 min.
	Horizon time.Duration
	// Budget is how many streams one Act looks at. Default 256.
	Budget int
}

func (c *Config) defaults() {
	if c.World == nil {
		c.World = places.BuiltIn()
	}
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
	if c.StreamMemory == 0 {
		c.StreamMemory = StreamMemory
	}
	num(&c.Budget, 256)
	num(&c.MaxBacklog, 50_000)
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
	if c.Hear == nil {
		c.Hear = receipts.Listen(words.Standard())
	}
	if c.Slots == nil {
		c.Slots = func(string) Slots { return nil }
	}
}

// Proposal is a list of events that the clerk wants appended, in order, in one Append. Tell Acked
// its ID and the result.
type Proposal struct {
	ID     uint64
	Events []*event.Event
}

// Actions is what the clerk asks its caller to do.
type Actions struct {
	// Proposals are to be appended, and Calls to be made.
	Proposals []Proposal
	Calls     []dispatch.Call
	// Asks are to be put to their carriers. They may be dropped: no answer depends on them.
	Asks []Ask
	// Withdrawn are parts to be taken back from their carriers, if they are not written yet.
	Withdrawn []Withdrawal
	// Need are streams to load: there is something to do for them.
	Need []event.Pseudonym
	// Next is when to call Act next if nothing happens before; zero: never.
	Next time.Time
	// More says that the budget was used up before the work was done: call Act once more at once.
	More bool
}

// Clerk serves one partition.
//
// Nothing depends on there being only one clerk for a partition. Two of them only void each
// other's proposals.
type Clerk struct {
	cfg       Config
	fold      *Fold
	agenda    agenda
	windows   windows
	flights   flights
	asks      asks
	withdrawn withdrawals

	appends uint64 // how many proposals were made
	// lacking is the control position that the partition lacks. lackingSince is when this clerk
	// first saw that, or last proposed it.
	lacking      int64
	lackingSince time.Time
	draining     bool
	lookedTo     time.Time // what is due before it was found by Look
	// ended are messages that became rows, or may be rows, by stream. The next look at the stream ends what the clerk had in hand
	// for them.
	ended map[event.Pseudonym][]event.ID
}

// New returns a clerk that has read nothing.
func New(cfg Config) *Clerk {
	cfg.defaults()
	c := &Clerk{cfg: cfg, fold: NewFold(cfg.Partition, cfg.Control), agenda: newAgenda(cfg.Horizon, cfg.ReleaseRate),
		windows: newWindows(cfg.Slots, cfg.MaxWaiting), ended: map[event.Pseudonym][]event.ID{}}
	c.fold.most, c.fold.rule, c.fold.keepRows = cfg.StreamMemory, cfg.Rule, cfg.KeepRows
	c.fold.evicted = c.agenda.evicted
	c.fold.apart = func(st *stream, message event.ID) { // what is in hand for it ends with the next look at the stream
		delete(st.lookAt, message)
		_, granted := c.windows.grants[message]
		_, waits := c.windows.waiting[message]
		if _, turn := c.agenda.turns[message]; granted || waits || turn {
			c.ended[st.subject] = append(c.ended[st.subject], message)
		}
	}
	c.flights, c.asks = newFlights(&c.windows, cfg.GiveUp), newAsks(&c.cfg)
	return c
}

// Fold is the partition as this clerk has folded it.
func (c *Clerk) Fold() *Fold { return c.fold }

// Inherit takes over the starts of an earlier clerk of this process. Their carriers will not be
// called. If such a start comes back effective after all, this clerk records that the carrier was
// not called, so that the start need not become in doubt. The calls that Inherit returns record
// that for starts that had come back already. The earlier clerk gives back its grants, and leaves
// the carriers' queues.
func (c *Clerk) Inherit(old *Clerk) []dispatch.Call {
	calls, look := c.flights.inherit(&old.flights)
	for _, s := range look {
		c.queue(s) // its fold says whether it came back before this clerk begins
	}
	old.windows.close()
	return calls
}

// Backlog is how many streams are ready to be looked at, and how many stay undecided because too many messages wait for a
// carrier.
func (c *Clerk) Backlog() (ready, parked int) {
	return len(c.agenda.ready), c.windows.parkedCount()
}

// Full reports whether more streams wait than Config.MaxBacklog.
func (c *Clerk) Full() bool {
	ready, parked := c.Backlog()
	return ready+parked > c.cfg.MaxBacklog
}

// Horizon is how far ahead the clerk keeps timers. What becomes due later, Look must tell.
func (c *Clerk) Horizon() time.Duration { return c.cfg.Horizon }

// Load takes streams that the views have folded, as Fold.Load does, and makes them ready.
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

// Look sets timers for streams that have something due before an instant. They are loaded when their time comes. What was due
// before the instant of an earlier call is left out: it has a timer since then, is ready, or waits for a carrier.
func (c *Clerk) Look(due []ledger.Due, before time.Time) {
	for _, d := range due {
		if !d.At.Before(c.lookedTo) {
			c.agenda.set(d)
		}
	}
	c.lookedTo = before.Truncate(time.Millisecond) // as exact as Due.At is
}

// Apply folds records, as Fold.Apply does, and returns the carrier calls that are due now. It
// returns them after an error too, and they must be made: the clerk has forgotten them already.
func (c *Clerk) Apply(ctx context.Context, records []ledger.Record, now time.Time) (calls []dispatch.Call, err error) {
	err = c.fold.apply(ctx, records, func(st *stream, j *ledger.Judged) {
		switch {
		case st != nil:
			if _, submit := j.Event.Data.(*event.MessageSubmitted); submit && j.Why == "" {
				st.remember(j.Event)
			}
			calls = append(calls, c.flights.landed(st, j, now)...)
			if _, cancel := j.Event.Data.(*event.CancelRequested); cancel && j.Why == "" && j.Index >= c.asks.liveFrom {
				c.asks.cancel(st.state.Message(j.Event.Message), now)
			}
			c.withdrawn.overtake(st, j, &c.flights)
			st.forget()
			c.agenda.wake(st)
		case j.Why == "": // another control position came into force
			c.withdrawn.paused(c.fold.reg, c.cfg.Partition)
			for _, s := range sorted(c.agenda.resting) {
				c.queue(s)
			}
		}
	})
	return calls, err
}

// Acked takes the result of a proposal's append, and returns the calls of its starts that came
// back before it. After an error it returns them with a call_by that has passed: the carriers are
// not called, and that is recorded.
func (c *Clerk) Acked(id uint64, err error) []dispatch.Call { return c.flights.acked(id, err) }

// Granted takes a grant for a message that waited for it.
func (c *Clerk) Granted(g dispatch.Granted) {
	c.unpark(c.windows.granted(g))
	if c.fold.keepRows {
		c.ended[g.Want.Subject] = append(c.ended[g.Want.Subject], g.Want.Message)
	}
	c.queue(g.Want.Subject)
}

// Act looks at the streams that are ready, the most urgent first, and proposes what there is to
// do. fault is what the caller knows to be wrong with this node, with its detail; "" means
// nothing. With a fault every decision is a hold.
func (c *Clerk) Act(ctx context.Context, now time.Time, fault event.Fault, detail string) (out Actions) {
	out.Calls, c.flights.recoveredCalls = c.flights.recoveredCalls, nil
	defer func() { out.Asks, out.Withdrawn, c.withdrawn = c.asks.take(), c.withdrawn, nil }()
	for _, st := range c.flights.expire(now) {
		c.agenda.wake(st)
	}
	if c.draining { // an expired proposal is not out any more: Drain counts it no longer
		out.Next, out.Need = c.flights.nextExpiry, c.flights.unseen(c.fold.streams)
		return out
	}
	latest, _ := c.cfg.Control.Latest()
	c.bringControl(&out, latest, now)
	c.fallDue(&out, now)
	var p Proposal
	var flown []*flight
	for n := 0; len(c.agenda.ready) > 0; {
		if ctx.Err() != nil { // what failed because ctx ended is no fault of a message
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
		w := work{c: c, ctx: ctx, st: st, raw: now, now: event.Millis(now), last: st.state.Last, latest: latest, fault: fault, detail: detail}
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

// unpark makes streams ready that were undecided while too many messages waited.
func (c *Clerk) unpark(back unparked) {
	for _, s := range back.streams {
		if st := c.fold.streams[s]; st != nil {
			st.parked = slices.DeleteFunc(st.parked, func(in lane) bool { return in == back.lane })
		}
		c.queue(s)
	}
}

// bringControl proposes the newest control position if the partition still lacks it a second
// after this clerk saw that. The command that changes control appends it to every partition; this
// is for the case that the command's process died.
func (c *Clerk) bringControl(out *Actions, latest *control.Registry, now time.Time) {
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

// fallDue makes the streams ready whose timers have come due.
func (c *Clerk) fallDue(out *Actions, now time.Time) {
	for len(out.Need) < c.cfg.Budget {
		subject, ok := c.agenda.due(now)
		if !ok {
			return
		}
		st := c.fold.streams[subject]
		if st == nil {
			if c.agenda.moot[subject] {
				delete(c.agenda.moot, subject)
			} else {
				out.Need = append(out.Need, subject)
			}
			continue
		}
		st.timer = time.Time{}
		c.agenda.queue(subject, st)
	}
}

// soonest sets Next to the first timer or the first proposal to give up.
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

// Drain ends all proposing. The proposals in flight still come back, and their carriers are
// called, or it is recorded that they were not. Drain returns how many starts are neither called
// nor given up yet, those of an earlier clerk included.
func (c *Clerk) Drain(now time.Time) (starts int) {
	c.draining = true
	return c.flights.out(now)
}

// OpenCalls is until when a carrier may still be called for an attempt that a pause covers: the
// latest call_by of the unanswered attempts, plus the bound of the clocks; zero if there is none.
// A stream with an open attempt is in memory once this clerk has folded or loaded it; the caller
// knows until when there may be calls from before its mark.
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

// Oldest says, by purpose, when the oldest message was submitted, or was to be sent, among the
// messages in memory that could be sent now.
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
