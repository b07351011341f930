package recipient

import (
	"slices"

	"github.com/chirograph/chirograph/domain/event"
)

// fact does what a fact does to the stream. A fact is an observation: whether it may be is
// not asked here, only what follows from it.
func (r *Rule) fact(s *State, p *PartitionState, index int64, e *event.Event) {
	said := arrival{s, p, index, e}
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		s.submitted(p, index, e, d)
	case *event.CancelRequested:
		s.cancelRequested(p, e)
	case *event.MessageRecovered:
		said.messageRecovered(d)
	case *event.OptedOut:
		said.optedOut(r, d)
	case *event.SuppressionLifted:
		said.lifted(r, d)
	case *event.InboundReceived:
		said.inboundReceived(d)
	case *event.InboundReceivedV2:
		said.inboundReceivedV2(d)
	case *event.InboundHeld:
		said.inboundHeld(d)
	case *event.InboundJoined:
		said.inboundJoined(r, d)
	case *event.ReviewResolved:
		said.reviewResolved(d)
	case *event.HandoffAccepted:
		s.handoffAccepted(p, e, d)
	case *event.HandoffRefused:
		s.handoffRefused(p, e, d)
	case *event.ReceiptReceived:
		s.receiptReceived(p, e, d)
	}
}

// changesDecisions makes a fact the last event that can change a decision. From here on every allow
// of the stream is from before it and no longer stands. To work out which of them it concerns would
// cost more, in time and in mistakes, than to decide again.
func (s *State) changesDecisions(e *event.Event) {
	s.Last = e.ID
	s.Facts++
}

func (s *State) submitted(p *PartitionState, index int64, e *event.Event, d *event.MessageSubmitted) {
	s.Key = d.Sealed.SubjectKey
	m := &Message{ID: e.ID, Index: index, Program: d.Program, Purpose: d.Purpose, Priority: d.Priority, From: d.From,
		Country: d.Country, Places: d.Places, Segments: d.Segments, Answers: d.Answers,
		SendAt: d.SendAt, ValidUntil: d.ValidUntil, PrefersDuplicate: d.PrefersDuplicate, Changed: p.Time}
	m.Status = Accepted
	if d.SendAt.After(e.Time) {
		m.Status, m.Due = Scheduled, d.SendAt
	}
	if slices.ContainsFunc(s.Cancels, func(c Remembered) bool { return c.ID == e.ID }) {
		s.Cancels = slices.DeleteFunc(s.Cancels, func(c Remembered) bool { return c.ID == e.ID })
		m.end(p, Cancelled) // born cancelled
	}
	for _, a := range s.Asks {
		if !d.Answers.IsZero() && a.Inbound == d.Answers && a.Kind != AskLift {
			m.Reply = a.Kind
		}
	}
	RowsOf(s).add(m)
	s.Asks = unanswered(s.Asks, d.Answers)
}

// cancelRequested needs no outcome: what a cancel does follows from where it lands. Before the submit
// it waits for it; before a hand-off it ends the message; during one, or while it is unknown what came
// of one, it forbids another; after that it changes nothing.
func (s *State) cancelRequested(p *PartitionState, e *event.Event) {
	m := s.Message(e.Message)
	switch {
	case m == nil:
		s.Cancels = append(s.Cancels, Remembered{e.Message, p.Time})
	case m.Status.Unsent():
		m.end(p, Cancelled)
		s.changesDecisions(e)
	case m.Status == Sending || m.Status == InDoubt:
		m.NoLater = true
		s.changesDecisions(e)
	}
}

// handoffAccepted counts even behind an in doubt or a refusal: the carrier gave an id, so it has it.
func (s *State) handoffAccepted(p *PartitionState, e *event.Event, d *event.HandoffAccepted) {
	m, part := s.part(e.Message, d.Attempt, d.Part)
	if part == nil || part.Status == PartTaken {
		return
	}
	part.Status, part.CarrierID = PartTaken, d.CarrierID
	m.deriveStatus(p, e.Time)
}

// handoffRefused counts for a part without an answer. Behind an acceptance it is a contradiction, and
// to believe it would send the part twice.
func (s *State) handoffRefused(p *PartitionState, e *event.Event, d *event.HandoffRefused) {
	m, part := s.part(e.Message, d.Attempt, d.Part)
	if part == nil || part.Status != PartOpen && part.Status != PartInDoubt {
		return
	}
	part.Status, part.NotCalled = PartFinal, d.NotCalled
	if d.Retry {
		part.Status = PartRetry
	}
	m.deriveStatus(p, e.Time)
}

// receiptReceived takes a part on to the state that its receipt reports, never back: behind a final
// receipt another is kept in the ledger and changes nothing.
func (s *State) receiptReceived(p *PartitionState, e *event.Event, d *event.ReceiptReceived) {
	m, part := s.part(e.Message, d.Attempt, d.Part)
	if part == nil || part.Final {
		return
	}
	if part.Status == PartOpen || part.Status == PartInDoubt {
		// A receipt is an answer too: the carrier had it.
		part.Status, part.CarrierID = PartTaken, d.CarrierID
	}
	part.Receipt, part.Final = d.State, d.Final
	m.deriveStatus(p, e.Time)
}
