// Package projections turns judged events into what people ask for: a message's
// whole life, the opt-outs that stand, the hand-offs that await a receipt. It is
// pure. It never appends and never folds a stream: whether an event counts, and
// where its message stands after it, comes with the event.
package projections

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// KeepReserved is how long, in the log's own time, an idempotency key is
	// remembered after the last moment at which its message could be sent.
	KeepReserved = ledger.KeepReserved
	// KeepHandoff is how long, in the log's own time, after a message was made an
	// open hand-off of it is still found: the longest schedule and validity, the
	// wait for receipts and the time for which the fold keeps a settled message,
	// with room to spare.
	KeepHandoff = 60 * 24 * time.Hour
)

// Apply takes one judged event of partition p into its message and returns the
// message. m is nil before the message's first event; it stays nil for an event of
// a message that was never seen, unless that is its submit, or a cancel that
// overtook it. m is changed in place; the event is shared and only read.
//
// A void event adds its entry and nothing else. An event of another stream than
// the message's own changes nothing at all, nor does a record that is no event.
func Apply(m *reading.Message, p event.Partition, j *ledger.Judged) *reading.Message {
	e := j.Event
	if e == nil {
		return m
	}
	if m == nil {
		switch e.Data.(type) {
		case *event.MessageSubmitted, *event.CancelRequested:
			if j.Why != "" {
				return nil
			}
			m = &reading.Message{ID: e.MessageID(), Tenant: e.Tenant, Subject: e.Subject, Position: event.Position{Partition: p, Index: j.Index}}
		default:
			return nil
		}
	}
	if m.Subject != e.Subject || m.Position.Partition != p {
		return m
	}
	m.Events = append(m.Events, reading.Entry{Index: j.Index, Why: j.Why})
	m.Changed = e.Time
	if j.Why == "" {
		take(m, j)
	}
	if j.Status != "" && j.Status != m.Status {
		m.Status = j.Status
		m.Settled = time.Time{}
		if !j.Status.Open() {
			m.Settled = e.Time
		}
	}
	return m
}

// take is what an effective event says.
func take(m *reading.Message, j *ledger.Judged) {
	e := j.Event
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		if m.Submitted() {
			return // a copy that came after the fold had forgotten the first
		}
		m.Position.Index = j.Index
		m.Program, m.Purpose, m.Priority, m.From = d.Program, d.Purpose, d.Priority, d.From
		m.Country, m.Places, m.Encoding, m.Segments = d.Country, d.Places, d.Encoding, d.Segments
		m.SendAt, m.ValidUntil, m.By, m.Answers, m.Content = d.SendAt, d.ValidUntil, d.By, d.Answers, d.Sealed
		m.Accepted = e.Time
	case *event.CancelRequested:
		if m.CancelRequested.IsZero() {
			m.CancelRequested = e.Time
		}
	case *event.MessageDecided:
		m.Decision = &reading.Decision{Event: e.ID, At: e.Time, Control: e.Control, Data: d}
		m.Decisions++
		m.Decided = e.Time
	case *event.MessageRouted:
		m.Route = &reading.Route{Data: d}
	case *event.HandoffStarted:
		a := reading.Attempt{Number: d.Attempt, StartedAt: e.Time, CallBy: d.CallBy, AnswerBy: d.AnswerBy, Duplicate: d.Duplicate,
			Reference: int(d.Reference), Parts: make([]reading.Part, len(d.Parts))}
		if m.Route != nil {
			a.Carrier, a.From = m.Route.Data.Carrier, m.Route.Data.From
		}
		for i, part := range d.Parts {
			a.Parts[i] = reading.Part{Part: part.Part, Status: recipient.PartOpen}
		}
		m.Attempts = append(m.Attempts, a)
		m.Started = e.Time
	case *event.HandoffAccepted:
		// A receipt may have said before that the carrier has it; the id is still the
		// carrier's own answer. The first answer counts.
		if part := partOf(m, d.Attempt, d.Part); part != nil && (part.Status != recipient.PartTaken || part.AnsweredAt.IsZero()) {
			part.Status, part.CarrierID, part.AnsweredAt = recipient.PartTaken, d.CarrierID, e.Time
			part.NotCalled, part.Code, part.Reason = false, "", ""
			sent(m, e.Time)
		}
	case *event.HandoffRefused:
		if part := partOf(m, d.Attempt, d.Part); part != nil && (part.Status == recipient.PartOpen || part.Status == recipient.PartInDoubt) {
			part.Status = recipient.PartFinal
			if d.Retry {
				part.Status = recipient.PartRetry
			}
			part.AnsweredAt, part.NotCalled, part.Code, part.Reason = e.Time, d.NotCalled, d.Code, d.Reason
		}
	case *event.HandoffInDoubt:
		for _, n := range d.Parts {
			if part := partOf(m, d.Attempt, n); part != nil && part.Status == recipient.PartOpen {
				part.Status = recipient.PartInDoubt
			}
		}
	case *event.ReceiptReceived:
		if part := partOf(m, d.Attempt, d.Part); part != nil {
			receipt(part, e, d)
			sent(m, e.Time)
		}
	}
}

func partOf(m *reading.Message, attempt, n int) *reading.Part {
	for i := range m.Attempts {
		if m.Attempts[i].Number != attempt {
			continue
		}
		for k := range m.Attempts[i].Parts {
			if part := &m.Attempts[i].Parts[k]; part.Part == n {
				return part
			}
		}
	}
	return nil
}

// forward orders what a receipt that is not final may say (SMPP 3.4 §5.2.28; 5.0
// adds SCHEDULED): towards the handset.
var forward = map[event.MessageState]int{"scheduled": 1, "unknown": 2, "enroute": 3, "accepted": 4}

// receipt counts every receipt; the one that shows only moves forward, and a final
// one stays.
func receipt(part *reading.Part, e *event.Event, d *event.ReceiptReceived) {
	part.Receipts++
	if part.Final {
		return
	}
	if part.Status == recipient.PartOpen || part.Status == recipient.PartInDoubt {
		part.Status, part.CarrierID = recipient.PartTaken, d.CarrierID // the carrier had it
	}
	if part.Receipt != "" && !d.Final && forward[d.State] <= forward[part.Receipt] {
		return
	}
	part.Receipt, part.Final, part.Grade, part.Match, part.Error = d.State, d.Final, d.Grade, d.Match, d.Error
	part.ReceiptAt = e.Time
	if !d.Received.IsZero() {
		part.ReceiptAt = d.Received
	}
}

// sent notes the first time at which every part was taken, in whichever attempt.
func sent(m *reading.Message, at time.Time) {
	if !m.Sent.IsZero() || m.Route == nil {
		return
	}
	for n := 1; n <= m.Route.Data.Parts; n++ {
		taken := false
		for i := range m.Attempts {
			for _, part := range m.Attempts[i].Parts {
				taken = taken || part.Part == n && part.Status == recipient.PartTaken
			}
		}
		if !taken {
			return
		}
	}
	m.Sent = at
}

// Handoffs appends the open hand-offs of m to refs: every part that a carrier
// took under an id and that has no final receipt yet, under the id; and every part
// that is in doubt and went out with a reference, under that.
func Handoffs(m *reading.Message, refs []Handoff) []Handoff {
	for i := range m.Attempts {
		a := &m.Attempts[i]
		for _, part := range a.Parts {
			h := Handoff{Account: a.Carrier, Ref: ledger.HandoffRef{Partition: m.Position.Partition, Tenant: m.Tenant,
				Subject: m.Subject, Message: m.ID, Attempt: a.Number, Part: part.Part, CarrierID: part.CarrierID}}
			switch {
			case part.Status == recipient.PartTaken && !part.Final && part.CarrierID != "":
				h.Key = sms.IDKeys(part.CarrierID)[1]
			case part.Status == recipient.PartInDoubt && a.Reference != 0:
				h.Key = ledger.ReferenceKey(uint16(a.Reference + part.Part - 1)) // it wraps, as the sender's does
			default:
				continue
			}
			refs = append(refs, h)
		}
	}
	return refs
}

// Handoff is an open hand-off within a carrier account, under its key: the canonical
// key of the carrier's id (sms.IDKeys), or ledger.ReferenceKey.
type Handoff struct {
	Account string
	Key     string
	Ref     ledger.HandoffRef
}

// OptOuts is what an event of partition p does to its stream's opt-outs: the ones
// that it lifts, by name, and the one that stands from it on, nil for none. part
// says that it is only held by a part of an inbound message, until its siblings
// are there; nobody reviews that.
func OptOuts(p event.Partition, j *ledger.Judged) (lifts []event.ID, stands *reading.OptOut, part bool) {
	e := j.Event
	if e == nil || j.Why != "" {
		return nil, nil, false
	}
	out := reading.OptOut{Event: e.ID, Position: event.Position{Partition: p, Index: j.Index}, Source: "handset", Since: e.Time}
	switch d := e.Data.(type) {
	case *event.OptedOut:
		out.Reach, out.Source, out.Occurred, out.Unclear = d.Reach, d.Source, d.Occurred, d.Unclear
		return d.Lifts, &out, false
	case *event.SuppressionLifted:
		return d.Lifts, nil, false
	case *event.InboundReceived:
		switch {
		case d.Revokes != nil:
			out.Reach, out.Unclear = *d.Revokes, d.Unclear
			return nil, &out, false
		case d.Holds != nil && d.Concat != nil:
			out.Reach, out.Unclear = *d.Holds, true
			return nil, &out, true
		}
	}
	return nil, nil, false
}
