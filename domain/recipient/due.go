package recipient

import "time"

// Todo is what there is to do for a message.
type Todo uint8

const (
	// Nothing: there is nothing to do now.
	Nothing Todo = iota
	// Decide: ask the policies (MessageDecided).
	Decide
	// Handoff: an allow stands; route and start it when a carrier has a slot (MessageRouted,
	// HandoffStarted).
	Handoff
	// Expire: its validity is past (MessageExpired).
	Expire
	// Doubt: an attempt is past answer_by (HandoffInDoubt).
	Doubt
	// Overdue: its receipts are overdue (ReceiptOverdue).
	Overdue
)

// ClockBound is how far nodes' clocks may differ. Nothing is in doubt before answer_by lies that far
// back, so that an answer in time is written first.
const ClockBound = time.Second

// Next says what there is to do for m now by the standard rule, and when to look next if nothing
// happens until then (zero: never). It asks for nothing that the rule would void, if no other event comes between.
//
// For example: a message valid until 14:00 is deferred until 13:00. At 12:00 there is nothing to do,
// and the next look is at 13:00; at 13:00 it is to be decided. Deferred until 15:00, the next look is
// at 14:00, and then it is to expire.
func (s *State) Next(p *PartitionState, m *Message, now time.Time) (todo Todo, look time.Time) {
	r := Standard()
	return r.Next(s, p, m, now)
}

// Next says what there is to do for m of s by this rule. See State.Next.
func (r *Rule) Next(s *State, p *PartitionState, m *Message, now time.Time) (todo Todo, look time.Time) {
	switch {
	case m.Status == Sending:
		return from(m.doubtAt(), Doubt, now)
	case m.Status == Sent:
		return from(m.ReceiptBy, Overdue, now)
	case !m.Status.Unsent():
		return Nothing, time.Time{}
	case !now.Before(m.ValidUntil):
		return Expire, time.Time{}
	case r.allowStands(s, p, m) && now.Before(m.AllowUntil):
		return Handoff, m.AllowUntil
	case m.Status == Allowed: // the allow no longer stands, or ran out
		return Decide, time.Time{}
	case m.Status == Held && m.DecidedUnder != p.Control: // what it was held for may be gone
		return Decide, time.Time{}
	case m.Due.After(m.ValidUntil):
		return Nothing, m.ValidUntil
	}
	return from(m.Due, Decide, now)
}

// from is what there is to do from at on: nothing before it.
func from(at time.Time, todo Todo, now time.Time) (Todo, time.Time) {
	if now.Before(at) {
		return Nothing, at
	}
	return todo, time.Time{}
}

// doubtAt is when the attempt that is out is in doubt.
func (m *Message) doubtAt() time.Time {
	return m.Attempts[len(m.Attempts)-1].AnswerBy.Add(ClockBound)
}

// Due is the earliest instant at which there may be something to do for the stream; zero: never. It
// follows from the state alone, so it does not know that control has changed, which may be a reason
// to look at held and allowed messages earlier.
func (s *State) Due() time.Time {
	var first time.Time
	see := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	for _, m := range s.Messages {
		switch {
		case m.Status == Sending:
			see(m.doubtAt())
		case m.Status == Sent:
			see(m.ReceiptBy)
		case m.Status == Allowed || m.Status.Unsent() && m.Due.IsZero():
			see(m.Changed)
		case m.Status.Unsent() && m.Due.After(m.ValidUntil):
			see(m.ValidUntil)
		case m.Status.Unsent():
			see(m.Due)
		}
	}
	for _, a := range s.Asks {
		see(a.At)
	}
	for _, x := range s.Inbound {
		see(x.At) // the other parts may be there already
	}
	return first
}
