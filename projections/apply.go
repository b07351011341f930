// Package projections turns judged events into what people ask for: the whole life of a message,
// the opt-outs in force, the hand-offs that wait for a receipt. It is pure, and it stores
// nothing: package sqldb keeps what it makes. It never appends an event and folds no stream:
// whether an event is effective, and the status of its message after it, come with the event.
package projections

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// KeepReserved is how long, in the log's own time, an idempotency key is remembered after its
	// message's validity has ended.
	KeepReserved = ledger.KeepReserved
	// KeepHandoff is how long, in the log's own time, an open hand-off can be found after its
	// message was made. It is more than the longest schedule, the longest validity, the wait for
	// receipts and the time for which the fold keeps a settled message together.
	KeepHandoff = 60 * 24 * time.Hour
	// KeepTail is how long, in the log's own time, a recipient can be found by the tail that a hand-off
	// told. Who was texted within ledger.TailsWithin was told within recipient.TailEvery before, and a day
	// more is kept because a row has a day and no time.
	KeepTail = ledger.TailsWithin + recipient.TailEvery + 24*time.Hour
)

// Apply applies one judged event of partition p to its message and returns the message. m is nil
// before the message's first event. For a nil m it returns nil, unless the event is the message's
// submit, a cancel that came before the submit, or a MessageRecovered of a message whose submit is lost. m is changed in place. The event is shared and
// only read.
//
// A void event adds its entry and changes nothing else. An event of another stream than the
// message's, or a record that is no event, changes nothing at all.
func Apply(m *reading.Message, p event.Partition, j *ledger.Judged) *reading.Message {
	e := j.Event
	if e == nil {
		return m
	}
	if m == nil {
		switch e.Data.(type) {
		case *event.MessageSubmitted, *event.CancelRequested, *event.MessageRecovered:
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

// take applies an effective event.
func take(m *reading.Message, j *ledger.Judged) {
	e := j.Event
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		if m.Submitted() {
			return // a copy that came after the fold had forgotten the first submit
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
	case *event.MessageRecovered:
		recovered(m, j, d)
	case *event.MessageDecided:
		m.Decision = &reading.Decision{Event: e.ID, At: e.Time, Control: e.Control, Data: d}
		m.Decisions++
		m.Decided = e.Time
	case *event.MessageRouted:
		m.Route = &reading.Route{Data: d}
	case *event.HandoffStarted:
		a := reading.Attempt{Number: d.Attempt, StartedAt: e.Time, CallBy: d.CallBy, AnswerBy: d.AnswerBy, Duplicate: d.Duplicate,
			Reference: int(d.Reference), Epoch: d.Epoch, Parts: make([]reading.Part, len(d.Parts))}
		if m.Route != nil {
			a.Carrier, a.From = m.Route.Data.Carrier, m.Route.Data.From
		}
		for i, part := range d.Parts {
			a.Parts[i] = reading.Part{Part: part.Part, Status: recipient.PartOpen}
		}
		m.Attempts = append(m.Attempts, a)
		m.Started = e.Time
		if d.Epoch != 0 {
			m.Epoch = d.Epoch
		}
	case *event.HandoffAccepted:
		// A receipt may have told before this that the carrier has the part. The id is still the
		// one in the carrier's own answer. Of several answers the first counts.
		if part := partOf(m, d.Attempt, d.Part); part != nil && (part.Status != recipient.PartTaken || part.AnsweredAt.IsZero()) {
			part.Status, part.AnsweredAt = recipient.PartTaken, e.Time
			if d.CarrierID != "" {
				part.CarrierID = d.CarrierID
			}
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

// recovered applies what was known of a message whose events the ledger had lost. As in the fold, a
// message that has reached its end is only marked.
func recovered(m *reading.Message, j *ledger.Judged, d *event.MessageRecovered) {
	if !m.Submitted() {
		m.Position.Index = j.Index
		m.Program, m.Purpose, m.From, m.Country, m.ValidUntil, m.Answers, m.By = d.Program, d.Purpose, d.From, d.Country, d.ValidUntil, d.Answers, d.By
		if m.Accepted = d.Accepted; m.Accepted.IsZero() {
			m.Accepted = m.ID.Time()
		}
	}
	m.Epoch, m.Recovered = d.Epoch, d.Status
	if j.Status != recipient.InDoubt {
		return
	}
	for i := range m.Attempts {
		for k := range m.Attempts[i].Parts {
			if part := &m.Attempts[i].Parts[k]; part.Status == recipient.PartOpen {
				part.Status = recipient.PartInDoubt
			}
		}
	}
	for i := range d.Handoffs {
		h := &d.Handoffs[i]
		if m.Route == nil {
			m.Route = &reading.Route{Data: &event.MessageRouted{Carrier: h.Carrier, From: d.From, Parts: d.Parts}}
		}
		knownHandoff(m, h)
	}
}

// knownHandoff adds a hand-off that was known to what the ledger has of the message.
func knownHandoff(m *reading.Message, h *event.KnownHandoff) {
	at := slices.IndexFunc(m.Attempts, func(a reading.Attempt) bool { return a.Number >= h.Attempt })
	if at < 0 {
		at = len(m.Attempts)
	}
	if at == len(m.Attempts) || m.Attempts[at].Number != h.Attempt {
		m.Attempts = slices.Insert(m.Attempts, at, reading.Attempt{Number: h.Attempt, Carrier: h.Carrier, From: m.From,
			Reference: int(recipient.FirstReference(h))})
	}
	a := &m.Attempts[at]
	if a.Carrier != h.Carrier {
		return
	}
	part := partOf(m, h.Attempt, h.Part)
	if part == nil {
		a.Parts = append(a.Parts, reading.Part{Part: h.Part, Status: recipient.PartInDoubt})
		part = &a.Parts[len(a.Parts)-1]
	}
	if h.CarrierID != "" && part.Status != recipient.PartTaken {
		part.Status, part.CarrierID = recipient.PartTaken, h.CarrierID
	}
}

// partOf finds a part of an attempt; nil if there is none.
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

// forward is the order of the states that are not final (SMPP 3.4 §5.2.28; SCHEDULED is from
// 5.0): a higher number is nearer to the handset.
var forward = map[event.MessageState]int{"scheduled": 1, "unknown": 2, "enroute": 3, "accepted": 4}

// receipt applies a receipt to its part. Every receipt is counted. The state that the part shows
// only moves forward, and stays once it is final.
func receipt(part *reading.Part, e *event.Event, d *event.ReceiptReceived) {
	part.Receipts++
	if part.Final {
		return
	}
	if part.Status == recipient.PartOpen || part.Status == recipient.PartInDoubt {
		part.Status, part.CarrierID = recipient.PartTaken, d.CarrierID // a receipt shows that the carrier has the part
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

// sent sets when, for the first time, a carrier had accepted every part, in any attempt.
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

// Handoffs appends the open hand-offs of m to refs: each part that a carrier accepted under an id
// and that has no final receipt yet, under that id; and each part that is in doubt, or was accepted without
// an id and has no final receipt yet, under its reference, if it has one.
func Handoffs(m *reading.Message, refs []Handoff) []Handoff {
	for i := range m.Attempts {
		a := &m.Attempts[i]
		for _, part := range a.Parts {
			h := Handoff{Account: a.Carrier, Ref: ledger.HandoffRef{Partition: m.Position.Partition, Tenant: m.Tenant,
				Subject: m.Subject, Message: m.ID, Attempt: a.Number, Part: part.Part, CarrierID: part.CarrierID}}
			switch {
			case part.Status == recipient.PartTaken && !part.Final && part.CarrierID != "":
				h.Key = sms.IDKey(part.CarrierID)
			case (part.Status == recipient.PartInDoubt || part.Status == recipient.PartTaken && !part.Final) && a.Reference != 0:
				h.Key = ledger.ReferenceKey(uint16(a.Reference + part.Part - 1)) // it wraps around at 16 bits, as in the hand-off
			default:
				continue
			}
			refs = append(refs, h)
		}
	}
	return refs
}

// Reservation is an idempotency key that belongs to a message, with the digest of the request that it came
// with, and until when it is kept, in the log's own time.
type Reservation struct {
	Key, Input string
	Until      time.Time
}

// Reserved is the idempotency key that a message has from an event on; nil if the event brings none.
func Reserved(j *ledger.Judged) *Reservation {
	key, input, valid := ledger.KeyOf(j.Event)
	if key == "" {
		return nil
	}
	return &Reservation{Key: key, Input: input, Until: valid.Add(KeepReserved)}
}

// Handoff is an open hand-off of a carrier account, and its key: the canonical key of the
// carrier's id (sms.IDKey), or ledger.ReferenceKey.
type Handoff struct {
	Account string
	Key     string
	Ref     ledger.HandoffRef
}

// OptOuts says what an event of partition p changes in its stream's opt-outs, as the fold found it: those
// that stand from the event on, and the names of those that end.
func OptOuts(p event.Partition, j *ledger.Judged) (stands []OptOut, ended []OptOutKey) {
	if j.Changes == nil {
		return nil, nil
	}
	for _, o := range j.Changes.Ended {
		ended = append(ended, OptOutKey{Subject: j.Event.Subject, Event: o.Event, Reach: o.Reach})
	}
	for i := range j.Changes.Stands {
		o := &j.Changes.Stands[i]
		stands = append(stands, OptOut{OptOutKey: OptOutKey{Subject: j.Event.Subject, Event: o.Event, Reach: o.Reach}, Tenant: j.Event.Tenant, Part: o.Part,
			Old: j.Event.Data.Type().Level() < 2, Row: shown(p, o)})
	}
	return stands, ended
}

func shown(p event.Partition, o *recipient.OptOut) reading.OptOut {
	return reading.OptOut{Event: o.Event, Position: event.Position{Partition: p, Index: o.Index}, Reach: o.Reach, Source: o.Source,
		Since: o.Known, Occurred: o.Occurred, Unclear: o.Unclear, To: o.To, Repeats: o.Repeats}
}

// Standing are the opt-outs of a stream's fold as a reader is shown them, in the order of their events. An event
// that is in the log twice is shown once, at its last place, as the list of opt-outs has it.
func Standing(p event.Partition, fold []recipient.OptOut) (rows []reading.OptOut) {
	at := make(map[OptOutKey]int, len(fold))
	for i := range fold {
		row := shown(p, &fold[i])
		key := OptOutKey{Event: row.Event, Reach: row.Reach}
		if k, twice := at[key]; twice {
			rows[k] = row
			continue
		}
		at[key] = len(rows)
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b reading.OptOut) int {
		return cmp.Or(cmp.Compare(a.Position.Index, b.Position.Index), cmp.Compare(a.Reach.Scope, b.Reach.Scope), cmp.Compare(a.Reach.Name, b.Reach.Name))
	})
	return rows
}

// OptOutKey names one reach of an opt-out.
type OptOutKey struct {
	Subject event.Pseudonym
	Event   event.ID
	Reach   event.Reach
}

// OptOut is an opt-out that stands.
type OptOut struct {
	OptOutKey
	Tenant string
	Row    reading.OptOut
	// Part: a part of an inbound message is the reason, and only until the other parts have come. No
	// officer reviews it.
	Part bool
	// Old: its event is from before format level 2. Then it has one reach, and the version before
	// writes the same row.
	Old bool
}

// Reviews says which reviews are open from an event of partition p on, and which are closed.
func Reviews(p event.Partition, j *ledger.Judged) (opened []reading.Review, closed []event.ID) {
	if j.Changes == nil {
		return nil, nil
	}
	for _, r := range j.Changes.Opened {
		opened = append(opened, reading.Review{Event: r.Event, Subject: j.Event.Subject, Tenant: j.Event.Tenant,
			Position: event.Position{Partition: p, Index: r.Index}, Kind: r.Kind, To: r.To, Since: r.Since, Repeats: r.Repeats, Unplaced: r.Unplaced})
	}
	return opened, j.Changes.Closed
}

// Inbound reports whether an event is an inbound message of format level 2 that counts.
func Inbound(j *ledger.Judged) bool {
	if j.Event == nil || j.Why != "" {
		return false
	}
	switch j.Event.Data.(type) {
	case *event.InboundReceivedV2, *event.InboundHeld, *event.InboundJoined:
		return true
	}
	return false
}

// Tail is the tail of a recipient's number that a hand-off to a carrier account told.
type Tail struct {
	Account string
	// Day is the day (UTC) of the hand-off, counted from 1970.
	Day int64
	// Tail is HandoffStarted.Tail as a number.
	Tail    int64
	Tenant  string
	Subject event.Pseudonym
}

// Told is the tail that an event told. m is the event's message as it is after the event, or later. The bool is false
// if the event told none.
func Told(m *reading.Message, j *ledger.Judged) (t Tail, ok bool) {
	e := j.Event
	d, ok := e.Data.(*event.HandoffStarted)
	if !ok || j.Why != "" || d.Tail == "" {
		return t, false
	}
	i := slices.IndexFunc(m.Attempts, func(a reading.Attempt) bool { return a.Number == d.Attempt })
	if i < 0 {
		return t, false
	}
	n, err := TailNumber(d.Tail)
	return Tail{Account: m.Attempts[i].Carrier, Day: Day(e.Time), Tail: n, Tenant: e.Tenant, Subject: e.Subject}, err == nil
}

// TailNumber is a tail of 16 hexadecimal digits as a number.
func TailNumber(tail string) (int64, error) {
	n, err := strconv.ParseUint(tail, 16, 64)
	return int64(n), err
}

// Day is the day (UTC) of a time, counted from 1970.
func Day(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }
