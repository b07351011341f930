// Package recipient is the state of one stream, everything between one tenant and one recipient,
// and the rule that says which events of it count. It is pure: no clock, no I/O, no variables; time
// comes in written, inside events.
//
// The rule. A fact is effective unless it is a repeat. An outcome names the event that it was
// decided after: the last effective event of its stream that can change a decision. Where the
// outcome lands it is effective if that event is still the last, if the control that it was decided
// under is still its partition's, if its message's state allows it, and if its own time lies within
// what was allowed. Else it is void, and changes nothing.
//
// For example: a clerk decides to allow a message after the message's submit, and meanwhile a STOP
// lands. The decision lands behind the STOP and is void (overtaken): it names an event that is no
// longer the last. The clerk reads both and decides once more, now with the STOP in what it knows.
//
// Start with rule.go, then: partition.go and state.go, what is folded; status.go, where a message
// stands; facts.go and outcomes.go, what each event does; attempts.go, parts and hand-offs;
// inbound.go, opt-outs and what inbound messages ask for; due.go, what there is to do.
package recipient

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Why is the reason for which an event is void; "" when it is effective.
type Why string

const (
	// Overtaken: something that can change a decision landed between the event that an outcome was
	// decided after and the outcome, or control changed.
	Overtaken Why = "overtaken"
	// Settled: the state of the outcome's message does not allow it, or no longer does.
	Settled Why = "settled"
	// Late: the outcome's own time lies past what was allowed.
	Late Why = "late"
	// Repeat: a copy of an event that was folded before.
	Repeat Why = "repeat"
)

// Rule is the rule as a value. Each field is one clause, a pure function; Standard has the clauses
// that every ledger is folded by. The clauses are fields so that a test can replace one in a copy of
// its own and show which promise breaks without it. Nothing else has a rule of its own.
type Rule struct {
	// Repeat reports whether e is a copy of an event that the stream has folded. It forbids that one
	// observation counts twice. The design: "A repeat is void before anything else and never becomes
	// the last."
	Repeat func(s *State, e *event.Event) bool
	// Order reports whether a control position may become the partition's. It forbids that an old
	// position, appended late, undoes a newer pause. The design: "only a higher one is effective".
	Order func(p *PartitionState, position int64) bool
	// Control reports whether what was decided under a control position still counts. It forbids to
	// act on control that has changed. The design: "An outcome names the control it was decided under,
	// which must still be the partition's"; a new position "takes back every standing allow".
	Control func(p *PartitionState, decidedUnder int64) bool
	// After reports whether the event that outcome e was decided after is still the last that can
	// change a decision. It forbids an outcome that was decided without knowing of an opt-out, a
	// cancel or another outcome. The design: "Where it lands, it is effective if that is still the last".
	After func(s *State, e *event.Event) bool
	// State reports whether the state of m allows outcome e; allowStands: m's allow stands. It forbids
	// an outcome whose message has moved on, such as an in doubt behind the carrier's answer. The
	// design: "What its message's state does not allow is void".
	State func(m *Message, allowStands bool, e *event.Event) bool
	// Time reports whether the time of outcome e, and the times in it, lie within what was allowed. It
	// forbids to send what was allowed for an earlier hour. The design: "an outcome whose own time lies
	// past them is void".
	Time func(m *Message, e *event.Event) bool
	// Names reports whether a lift that names the given opt-outs lifts this one. It forbids that a late
	// lift undoes a newer STOP. The design: "Undoing names what it undoes … what it does not name
	// stands".
	Names func(named []event.ID, optOut event.ID) bool
}

// Standard is the rule that every ledger is folded by: a new value each time, which may be changed
// without any effect elsewhere.
func Standard() Rule {
	return Rule{
		Repeat:  isRepeat,
		Order:   isNewer,
		Control: isInForce,
		After:   isAfterLast,
		State:   stateAllows,
		Time:    timeAllows,
		Names:   names,
	}
}

// Evolve folds the event at index of the partition by the standard rule, and says whether it is
// effective ("") or why it is void. A void event changes nothing but the partition's time and what
// that makes forgotten. The event's subject must be the stream's, and it must not be a
// ControlApplied, which is the partition's.
func (s *State) Evolve(p *PartitionState, index int64, e *event.Event) Why {
	r := Standard()
	return r.Evolve(s, p, index, e)
}

// Evolve folds an event into s by this rule. See State.Evolve.
func (r *Rule) Evolve(s *State, p *PartitionState, index int64, e *event.Event) Why {
	p.advance(e.Time)
	s.prune(p)
	RowsOf(s).bring(p, e)
	if r.Repeat(s, e) {
		return Repeat
	}
	if e.Data.Type().Kind() == event.Outcome {
		return r.outcome(s, p, e)
	}
	RowsOf(s).remember(p, e.ID)
	r.fact(s, p, index, e)
	return ""
}

// outcome folds an outcome if it is effective, and says why it is void if it is not. Only an
// effective one becomes the last: the next outcome of a chain is decided after it.
func (r *Rule) outcome(s *State, p *PartitionState, e *event.Event) Why {
	if !r.Control(p, e.Control) || !r.After(s, e) {
		return Overtaken
	}
	m := s.Message(e.Message)
	if m == nil || !r.State(m, r.allowStands(s, p, m), e) {
		return Settled
	}
	if !r.Time(m, e) {
		return Late
	}
	s.outcome(p, m, e)
	s.Last = e.ID
	return ""
}

// allowStands reports whether m's allow stands: m is allowed, no fact that can change a decision has
// come since, and control is still the one that it was allowed under. For example: allowed, then
// routed, it stands (a route is an outcome); allowed, then a STOP, it does not. Whether its time has
// passed is not asked here: that is for the Time clause, and for the clerk, which has a clock.
func (r *Rule) allowStands(s *State, p *PartitionState, m *Message) bool {
	return m.Status == Allowed && m.AllowFacts == s.Facts && r.Control(p, m.DecidedUnder)
}

// RepeatWindow is how long, in the log's own time, a copy of a fact is told from a new one. No
// writer tries an append again for that long (see ledger.RetryFor).
const RepeatWindow = 24 * time.Hour

// mostRemembered bounds the facts whose ids a stream remembers, from format level 3 on, so that nobody's state grows with
// what a person says in a day. A copy comes seconds after its original. One that more facts of the same stream came between
// counts once more: it can record an opt-out again, and lift none, since a lift names what it lifts.
const mostRemembered = 512

// isRepeat is the clause Repeat. The stream remembers the ids of facts for RepeatWindow (from format level 3 on, the
// last 512 of them), a submit as long as its message, and of outcomes the last alone: a copy of an earlier outcome is
// overtaken.
func isRepeat(s *State, e *event.Event) bool {
	if RowsOf(s).remembers(e.ID) || s.Apart.repeats(e) {
		return true
	}
	if _, submit := e.Data.(*event.MessageSubmitted); submit {
		return s.Message(e.ID) != nil
	}
	return e.ID == s.Last && e.Data.Type().Kind() == event.Outcome
}

// isNewer is the clause Order. Every node may append a position to every partition, so the same one
// lands several times, and an old one may land late.
func isNewer(p *PartitionState, position int64) bool { return position > p.Control }

// isInForce is the clause Control.
func isInForce(p *PartitionState, decidedUnder int64) bool { return decidedUnder == p.Control }

// isAfterLast is the clause After. For example: a clerk appends a route and a start decided after it
// in one append, and a STOP lands between the two. The route was effective and was the last, then the
// STOP is: the start names the route and is void.
func isAfterLast(s *State, e *event.Event) bool { return e.After == s.Last }

// names is the clause Names.
func names(named []event.ID, optOut event.ID) bool { return slices.Contains(named, optOut) }

// stateAllows is the clause State.
func stateAllows(m *Message, allowStands bool, e *event.Event) bool {
	switch d := e.Data.(type) {
	case *event.MessageDecided:
		// One allow at a time: the message waits, its own time has come, and no allow stands that could
		// still be used. For example: allowed until 12:30, a second decision of 12:10 is void and one of
		// 12:31 is not; with a STOP at 12:05 the one of 12:10 is not void either.
		usable := allowStands && e.Time.Before(m.AllowUntil)
		return m.Status.Unsent() && !e.Time.Before(m.SendAt) && !usable
	case *event.MessageRouted:
		// Under an allow that stands, for a sender that it was given for. Once a carrier accepted a part
		// of a text cut in three, the rest of it can only follow as parts of three.
		return allowStands && slices.Contains(m.AllowSenders, d.From) && d.Carrier != "" && d.Parts >= 1 &&
			(m.tally().accepted == 0 || d.Parts == m.Parts)
	case *event.HandoffStarted:
		// Routed under an allow that stands, not cancelled, and exactly the next attempt with exactly the
		// parts that may be sent. For example: after attempt 1 had part 1 accepted and part 2 refused with
		// retry, only attempt 2 with part 2 alone may start.
		return allowStands && m.Carrier != "" && !m.NoLater && d.Attempt == len(m.Attempts)+1 && d.Attempt <= maxAttempts && m.fits(d)
	case *event.HandoffInDoubt:
		// The attempt that is out, past its answer_by, and exactly the parts of it that have no answer.
		// For example: the answer for part 2 lands just before an in doubt for parts 1 and 2: it is void,
		// and the clerk proposes one for part 1.
		if m.Status != Sending || d.Attempt != len(m.Attempts) {
			return false
		}
		open := m.Attempts[d.Attempt-1].open()
		return e.Time.After(m.Attempts[d.Attempt-1].AnswerBy) && len(open) > 0 && slices.Equal(open, d.Parts)
	case *event.MessageExpired:
		return m.Status.Unsent() && !e.Time.Before(m.ValidUntil)
	case *event.ReceiptOverdue:
		return m.Status == Sent && !e.Time.Before(m.ReceiptBy)
	}
	return false
}

// timeAllows is the clause Time: what is decided, routed or started is so while it may be.
func timeAllows(m *Message, e *event.Event) bool {
	switch d := e.Data.(type) {
	case *event.MessageDecided:
		// Within the validity, and an allow ends after it was given and within the validity too.
		if d.Outcome == event.Allow && (!e.Time.Before(d.Until) || d.Until.After(m.ValidUntil)) {
			return false
		}
		return e.Time.Before(m.ValidUntil)
	case *event.MessageRouted:
		return e.Time.Before(m.AllowUntil)
	case *event.HandoffStarted:
		// Before its call_by, which lies within the allow, and with time for an answer. For example: under
		// an allow until 12:00:30, a start of 12:00:20 with call_by 12:00:25 and answer_by 12:00:35 is in
		// time; with call_by 12:00:31, or with answer_by 12:00:25, it is late.
		return e.Time.Before(d.CallBy) && !d.CallBy.After(m.AllowUntil) && d.AnswerBy.After(d.CallBy)
	}
	return true
}
