package recipient

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// messageRecovered makes a message in doubt of which the ledger had lost events: a hand-off may be among
// them, so it is never sent again. One that had reached its end stays as it is, and so does one that a
// carrier is known to have in full.
func (s arrival) messageRecovered(d *event.MessageRecovered) {
	e := s.e
	m := s.Message(e.Message)
	if m == nil {
		m = &Message{ID: e.Message, Index: s.index, Program: d.Program, Purpose: d.Purpose, From: d.From, Country: d.Country, Answers: d.Answers,
			ValidUntil: d.ValidUntil, Status: InDoubt}
		RowsOf(s.State).add(m)
		s.Asks = unanswered(s.Asks, d.Answers)
		for i, c := range s.Cancels {
			if c.ID == e.Message {
				s.Cancels = append(s.Cancels[:i:i], s.Cancels[i+1:]...)
				break
			}
		}
	}
	if m.Status.Unsent() || m.Status == Sending || m.Status == InDoubt {
		m.recovered(s.p, d)
	}
	s.Texted = s.Texted || len(m.Attempts) > 0
	s.changesDecisions(e)
}

// recovered makes m in doubt, with what was known of its hand-offs beside what the ledger has of them.
func (m *Message) recovered(p *PartitionState, d *event.MessageRecovered) {
	m.Status, m.Recovered, m.NoLater, m.Changed = InDoubt, true, true, p.Time
	m.AllowUntil, m.AllowSenders, m.Due, m.Fault = time.Time{}, nil, time.Time{}, ""
	m.Parts = max(m.Parts, d.Parts)
	for _, a := range m.Attempts {
		for i := range a.Parts {
			if a.Parts[i].Status == PartOpen {
				a.Parts[i].Status = PartInDoubt
			}
		}
	}
	for i := range d.Handoffs {
		m.known(&d.Handoffs[i])
	}
}

// known adds a hand-off that was known. What the ledger has of the same part counts more, unless the
// carrier's answer is what it lacks.
func (m *Message) known(h *event.KnownHandoff) {
	if h.Attempt < 1 || h.Attempt > maxAttempts || h.Part < 1 {
		return
	}
	for len(m.Attempts) < h.Attempt {
		m.Attempts = append(m.Attempts, Attempt{})
	}
	m.Parts = max(m.Parts, h.Part)
	a := &m.Attempts[h.Attempt-1]
	if len(a.Parts) == 0 {
		a.Carrier, a.Reference = h.Carrier, FirstReference(h)
	}
	if a.Carrier != h.Carrier {
		return
	}
	for i := range a.Parts {
		if part := &a.Parts[i]; part.Part == h.Part {
			if h.CarrierID != "" && part.Status != PartTaken {
				part.Status, part.CarrierID = PartTaken, h.CarrierID
			}
			return
		}
	}
	part := Part{Part: h.Part, Status: PartInDoubt, CarrierID: h.CarrierID}
	if h.CarrierID != "" {
		part.Status = PartTaken
	}
	a.Parts = append(a.Parts, part)
}

// FirstReference is the user_message_reference of the first part of a hand-off's attempt, which the
// references of the others follow; 0 if it had none.
func FirstReference(h *event.KnownHandoff) uint16 {
	if h.Reference == 0 {
		return 0
	}
	return h.Reference - uint16(h.Part-1)
}
