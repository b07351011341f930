package recipient

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// outcome does what an effective outcome does to its message. Whether it is effective, the rule has
// said: nothing is checked here.
func (s *State) outcome(p *PartitionState, m *Message, e *event.Event) {
	switch d := e.Data.(type) {
	case *event.MessageDecided:
		s.messageDecided(p, m, e, d)
	case *event.MessageRouted:
		m.Carrier, m.Sender, m.Parts, m.Changed = d.Carrier, d.From, d.Parts, p.Time
	case *event.HandoffStarted:
		s.handoffStarted(p, m, e, d)
	case *event.HandoffInDoubt:
		m.handoffInDoubt(p, e, d)
	case *event.MessageExpired:
		m.end(p, ExpiredUnsent)
	case *event.ReceiptOverdue:
		m.Status, m.Changed = Unconfirmed, p.Time
	}
}

// messageDecided replaces whatever was decided before. A result that this version does not know
// holds the message: nothing leaves on a word that is not understood.
func (s *State) messageDecided(p *PartitionState, m *Message, e *event.Event, d *event.MessageDecided) {
	m.AllowUntil, m.AllowSenders, m.Carrier, m.Sender, m.Fault, m.Due = time.Time{}, nil, "", "", "", d.Until
	m.DecidedUnder, m.Changed = e.Control, p.Time
	if d.Outcome != event.Hold {
		m.Holds = 0
	}
	switch d.Outcome {
	case event.Allow:
		m.Status, m.AllowUntil, m.AllowFacts, m.AllowSenders, m.Due = Allowed, d.Until, s.Facts, d.Senders, time.Time{}
	case event.Deny:
		m.end(p, Denied)
	case event.Defer:
		m.Status = Deferred
	default:
		m.Status, m.Fault = Held, d.Fault
		m.Holds++
	}
}

// handoffStarted uses the allow up: it is good for one attempt.
func (s *State) handoffStarted(p *PartitionState, m *Message, e *event.Event, d *event.HandoffStarted) {
	a := Attempt{Start: e.ID, Carrier: m.Carrier, CallBy: d.CallBy, AnswerBy: d.AnswerBy, Reference: d.Reference}
	for _, part := range d.Parts {
		a.Parts = append(a.Parts, Part{Part: part.Part, Status: PartOpen})
	}
	m.Attempts = append(m.Attempts, a)
	m.Status, m.AllowUntil, m.AllowSenders, m.Changed = Sending, time.Time{}, nil, p.Time
	s.Texted = true
	if d.Tail != "" {
		s.Tails = s.Tails.with(m.Carrier, e.Time)
	}
	if d.CallBy.After(p.CallBy) {
		p.CallBy = d.CallBy
	}
}

func (m *Message) handoffInDoubt(p *PartitionState, e *event.Event, d *event.HandoffInDoubt) {
	parts := m.Attempts[d.Attempt-1].Parts
	for i := range parts {
		if slices.Contains(d.Parts, parts[i].Part) {
			parts[i].Status = PartInDoubt
		}
	}
	m.deriveStatus(p, e.Time)
}
