// Package recipient is the state of one stream, everything between one tenant
// and one recipient, and the rule that says which events of it count. It is
// pure: no clock, no I/O; time comes in written, inside events.
//
// The rule. A fact is effective unless it is a repeat. An outcome names the event
// it was decided after: the last effective event of its stream that can change a
// decision. Where it lands it is effective if that is still the last, if the
// control it was decided under is still its partition's, if its message's state
// allows it, and if its own time lies within what was allowed. Else it is void,
// and changes nothing.
package recipient

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

const (
	// RepeatWindow is how long, in the log's own time, a copy of a fact is told
	// from a new one. No writer retries an append for that long (see
	// ledger.RetryFor).
	RepeatWindow = 24 * time.Hour
	// KeepSettled is how long, in the log's own time, a message stays in the fold
	// after its validity and after it was settled: late receipts still find it.
	KeepSettled = 7 * 24 * time.Hour
	// ReceiptWait is how long a final receipt may take after a message's last part
	// was accepted; then it is unconfirmed.
	ReceiptWait = 72 * time.Hour
	// ReplyWithin bounds a confirmation or a HELP answer (47 CFR 64.1200(a)(12):
	// a confirmation within five minutes).
	ReplyWithin = 5 * time.Minute
	// JoinWithin is how long a part of an inbound message waits for its siblings.
	JoinWithin = 5 * time.Minute
	// MaxAttempts is how often one message is offered to carriers; with Backoff that
	// outlasts a day.
	MaxAttempts = 120
	// MaxDoubts is how many attempts of one message may end in doubt, for a program
	// that prefers a duplicate.
	MaxDoubts = 3
)

// Status is where a message stands. Each says who leaves it.
type Status string

const (
	// Accepted: to be decided, for the first time or again (a retry, an allow that
	// was taken back or ran out). Left by MessageDecided.
	Accepted Status = "accepted"
	// Scheduled: the sender's own time has not come. Left by time, then MessageDecided.
	Scheduled Status = "scheduled"
	// Deferred: a rule says later. Left by MessageDecided when it is due.
	Deferred Status = "deferred"
	// Held: a fault kept a decision from being made, or a pause. Left by MessageDecided.
	Held Status = "held"
	// Allowed: decided, waiting for a slot at a carrier. Left by HandoffStarted, or
	// back to Accepted by anything that can change the decision.
	Allowed Status = "allowed"
	// Sending: an attempt has started and is not answered in full. Left by the
	// carrier's answers, or by HandoffInDoubt.
	Sending Status = "sending"
	// Sent: the carrier took every part. Left by receipts, or by ReceiptOverdue.
	Sent Status = "sent"
	// InDoubt: a part was not answered. Never resent blindly. Left only by a late
	// answer or a receipt.
	InDoubt Status = "in_doubt"
	// Unconfirmed: no final receipt in time. A late one still moves it on.
	Unconfirmed Status = "unconfirmed"

	Denied             Status = "denied"
	Cancelled          Status = "cancelled"
	ExpiredUnsent      Status = "expired_unsent"
	Failed             Status = "failed"
	Delivered          Status = "delivered"
	Undelivered        Status = "undelivered"
	Rejected           Status = "rejected"
	Expired            Status = "expired"
	PartiallyDelivered Status = "partially_delivered"
)

// Statuses lists every status, in the order of a message's life.
var Statuses = []Status{Accepted, Scheduled, Denied, Deferred, Held, Allowed, Sending, Sent, Delivered, Undelivered,
	Rejected, Expired, PartiallyDelivered, Unconfirmed, Failed, InDoubt, Cancelled, ExpiredUnsent}

// Unsent reports whether the message waits to be decided or to be handed off.
func (s Status) Unsent() bool {
	switch s {
	case Accepted, Scheduled, Deferred, Held, Allowed:
		return true
	}
	return false
}

// Open reports whether the clerk may still have something to do for it: it is
// unsent, sending, or awaits receipts.
func (s Status) Open() bool { return s.Unsent() || s == Sending || s == Sent }

// Why is the reason for which an event is void; "" when it is effective.
type Why string

const (
	// Overtaken: something that can change a decision came between.
	Overtaken Why = "overtaken"
	// Settled: its message's state does not allow it (any more).
	Settled Why = "settled"
	// Late: its own time lies past what was allowed.
	Late Why = "late"
	// Repeat: a copy of an event that was taken before.
	Repeat Why = "repeat"
)

// without takes away one part of the rule, so that the ledger's property test can
// show that each of them matters. Nothing else sets it.
var without struct{ after, state, repeat, control, names, time bool }

// Partition is what the streams of one partition share.
type Partition struct {
	// Control is the control position in force, counted from 1; 0: none yet.
	Control int64 `json:"control"`
	// ControlEvent is that control event's id.
	ControlEvent event.ID `json:"control_event"`
	// Time is the partition's time: the running maximum of its events' times.
	Time time.Time `json:"time"`
	// CallBy is until when a carrier may be called for any start so far: the running
	// maximum of the effective starts' call_by.
	CallBy time.Time `json:"call_by"`
}

// Apply takes a ControlApplied.
func (p *Partition) Apply(e *event.Event) Why {
	d := e.Data.(*event.ControlApplied)
	p.pass(e.Time)
	if d.Position <= p.Control && !without.control {
		return Overtaken
	}
	p.Control, p.ControlEvent = d.Position, d.Event
	return ""
}

func (p *Partition) pass(t time.Time) {
	if t.After(p.Time) {
		p.Time = t
	}
}

// State is one stream, folded. Its JSON is what snapshots hold.
type State struct {
	Tenant  string          `json:"tenant"`
	Subject event.Pseudonym `json:"subject"`
	// Last is the last effective event that can change a decision.
	Last event.ID `json:"last"`
	// Facts counts the facts among those: an allow from before the last one stands no more.
	Facts int64 `json:"facts,omitempty"`
	// Key is the person's current key.
	Key event.ID `json:"key"`
	// Texted: something was once handed to a carrier for this recipient.
	Texted   bool       `json:"texted,omitempty"`
	OptOuts  []OptOut   `json:"opt_outs,omitempty"`
	Messages []*Message `json:"messages,omitempty"`
	// Cancels are requests whose submit has not landed yet.
	Cancels []Seen `json:"cancels,omitempty"`
	// Asks are inbound messages that want an event of ours.
	Asks []Ask `json:"asks,omitempty"`
	// Inbound are parts that wait for their siblings.
	Inbound []InboundPart `json:"inbound,omitempty"`
	// Seen tells repeats of facts.
	Seen []Seen `json:"seen,omitempty"`
}

// Seen is an event (or a message) and when it was taken, in the partition's time.
type Seen struct {
	ID event.ID  `json:"id"`
	At time.Time `json:"at"`
}

// OptOut is one that stands.
type OptOut struct {
	Event    event.ID     `json:"event"`
	Index    int64        `json:"index"`
	Reach    event.Reach  `json:"reach"`
	Source   event.Source `json:"source"`
	Known    time.Time    `json:"known"`
	Occurred time.Time    `json:"occurred,omitzero"`
	Unclear  bool         `json:"unclear,omitempty"`
	// Part: a part of an inbound message suppresses until its siblings are there.
	Part bool `json:"part,omitempty"`
}

// AskKind is what an inbound message wants of us.
type AskKind string

const (
	AskConfirm AskKind = "stop"  // the one confirmation of an opt-out
	AskHelp    AskKind = "help"  // the HELP text
	AskLift    AskKind = "start" // a lift of what stood
)

// Ask is an inbound message that wants an event of ours.
type Ask struct {
	// Inbound is the event that is answered: the inbound message, or the opt-out
	// that its joined parts showed.
	Inbound event.ID `json:"inbound"`
	// Index is where an event stands that has the sender's number sealed in it.
	Index int64     `json:"index"`
	Kind  AskKind   `json:"kind"`
	At    time.Time `json:"at"`
	// To is our number that it was sent to, and Program who owns it.
	To      string `json:"to"`
	Program string `json:"program,omitempty"`
	// Lifts are the opt-outs that a START lifts.
	Lifts []event.ID `json:"lifts,omitempty"`
}

// InboundPart is a part that waits for its siblings.
type InboundPart struct {
	Event   event.ID     `json:"event"`
	Index   int64        `json:"index"`
	Account string       `json:"account"`
	To      string       `json:"to"`
	Program string       `json:"program,omitempty"`
	Concat  event.Concat `json:"concat"`
	Reach   event.Reach  `json:"reach"`
	At      time.Time    `json:"at"`
}

// Message is one message of the stream.
type Message struct {
	ID event.ID `json:"id"`
	// Index is its submit's position.
	Index    int64         `json:"index"`
	Program  string        `json:"program"`
	Purpose  string        `json:"purpose"`
	Priority int           `json:"priority,omitempty"`
	From     string        `json:"from"`
	Country  string        `json:"country,omitempty"`
	Places   []event.Place `json:"places,omitempty"`
	Segments int           `json:"segments"`
	Answers  event.ID      `json:"answers,omitzero"`

	Status     Status    `json:"status"`
	SendAt     time.Time `json:"send_at,omitzero"`
	ValidUntil time.Time `json:"valid_until"`
	// Due is the earliest time to decide again.
	Due time.Time `json:"due,omitzero"`
	// Fault says why it is held.
	Fault event.Fault `json:"fault,omitempty"`
	// DecidedUnder is the control position of the last decision.
	DecidedUnder int64 `json:"decided_under,omitempty"`
	// The standing allow.
	AllowUntil   time.Time `json:"allow_until,omitzero"`
	AllowFacts   int64     `json:"allow_facts,omitempty"`
	AllowSenders []string  `json:"allow_senders,omitempty"`
	// The route, once routed under the standing allow.
	Carrier string `json:"carrier,omitempty"`
	Sender  string `json:"sender,omitempty"`

	PrefersDuplicate bool `json:"prefers_duplicate,omitempty"`
	// NoLater: a cancel came after it had left; no later attempt is made.
	NoLater  bool      `json:"no_later,omitempty"`
	Parts    int       `json:"parts,omitempty"`
	Attempts []Attempt `json:"attempts,omitempty"`
	// Changed is the partition's time when its status last changed.
	Changed time.Time `json:"changed"`
	// ReceiptBy is when its receipts are overdue.
	ReceiptBy time.Time `json:"receipt_by,omitzero"`
	// Holds counts holds in a row, for their back-off.
	Holds int `json:"holds,omitempty"`
}

// Attempt is one hand-off of some or all parts.
type Attempt struct {
	Start    event.ID  `json:"start"`
	Carrier  string    `json:"carrier"`
	CallBy   time.Time `json:"call_by"`
	AnswerBy time.Time `json:"answer_by"`
	// Reference is the first part's user_message_reference.
	Reference uint16 `json:"reference,omitempty"`
	Parts     []Part `json:"parts"`
}

// PartStatus is what came of one part in one attempt.
type PartStatus string

const (
	PartOpen    PartStatus = "open"     // called or about to be; not answered
	PartTaken   PartStatus = "accepted" // the carrier gave an id
	PartRetry   PartStatus = "retry"    // not taken; may be offered again
	PartFinal   PartStatus = "refused"  // not taken, and will not be
	PartInDoubt PartStatus = "in_doubt" // nobody knows
)

// Part is one part in one attempt.
type Part struct {
	Part      int        `json:"part"`
	Status    PartStatus `json:"status"`
	CarrierID string     `json:"carrier_id,omitempty"`
	NotCalled bool       `json:"not_called,omitempty"`
	// Receipt is the furthest state that a receipt reported, "" before the first.
	Receipt event.MessageState `json:"receipt,omitempty"`
	Final   bool               `json:"final,omitempty"`
}

// New is a stream before its first event.
func New(tenant string, subject event.Pseudonym) *State {
	return &State{Tenant: tenant, Subject: subject}
}

// Message finds a message of the stream; nil when the fold does not hold it.
func (s *State) Message(id event.ID) *Message {
	for _, m := range s.Messages {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// Allowed reports whether m's allow stands: nothing that can change a decision
// has come since, and control is still the one it was made under. Whether its
// time has passed is for whoever has a clock.
func (s *State) Allowed(p *Partition, m *Message) bool {
	return m.Status == Allowed && m.AllowFacts == s.Facts && (m.DecidedUnder == p.Control || without.control)
}

// Evolve takes the event at index of the partition and says whether it is
// effective ("") or why it is void. The event's subject must be the stream's.
func (s *State) Evolve(p *Partition, index int64, e *event.Event) Why {
	p.pass(e.Time)
	s.prune(p)
	if s.taken(e) && !without.repeat {
		return Repeat
	}
	if e.Data.Type().Kind() == event.Outcome {
		return s.outcome(p, e)
	}
	s.Seen = append(s.Seen, Seen{e.ID, p.Time})
	s.fact(p, index, e)
	return ""
}

// taken reports whether e is a copy of a fact that was taken before.
func (s *State) taken(e *event.Event) bool {
	if _, submit := e.Data.(*event.MessageSubmitted); submit && s.Message(e.ID) != nil {
		return true
	}
	return slices.ContainsFunc(s.Seen, func(x Seen) bool { return x.ID == e.ID })
}

// turn marks e as the last event that can change a decision.
func (s *State) turn(e *event.Event) {
	s.Last = e.ID
	if e.Data.Type().Kind() != event.Outcome {
		s.Facts++
	}
}

func (s *State) fact(p *Partition, index int64, e *event.Event) {
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		s.submitted(p, index, e, d)
	case *event.CancelRequested:
		m := s.Message(e.Message)
		switch {
		case m == nil:
			s.Cancels = append(s.Cancels, Seen{e.Message, p.Time})
		case m.Status.Unsent():
			m.end(p, Cancelled)
			s.turn(e)
		case m.Status == Sending || m.Status == InDoubt:
			m.NoLater = true
			s.turn(e)
		}
	case *event.OptedOut:
		stood := s.Reaches(d.Reach)
		if i := slices.IndexFunc(s.Inbound, func(x InboundPart) bool { return slices.Contains(d.Lifts, x.Event) }); i >= 0 {
			s.confirm(p, Ask{Inbound: e.ID, Index: s.Inbound[i].Index, To: s.Inbound[i].To, Program: s.Inbound[i].Program}, stood || d.Unclear)
		}
		s.lift(d.Lifts)
		s.OptOuts = append(s.OptOuts, OptOut{Event: e.ID, Index: index, Reach: d.Reach, Source: d.Source,
			Known: e.Time, Occurred: d.Occurred, Unclear: d.Unclear})
		s.answered(d.Answers)
		s.turn(e)
	case *event.SuppressionLifted:
		s.lift(d.Lifts)
		s.answered(d.Answers)
		s.turn(e)
	case *event.InboundReceived:
		s.inbound(p, index, e, d)
	case *event.HandoffAccepted:
		if m, part := s.part(e.Message, d.Attempt, d.Part); part != nil && part.Status != PartTaken {
			part.Status, part.CarrierID = PartTaken, d.CarrierID
			m.settle(p, e.Time)
		}
	case *event.HandoffRefused:
		if m, part := s.part(e.Message, d.Attempt, d.Part); part != nil && (part.Status == PartOpen || part.Status == PartInDoubt) {
			part.Status, part.NotCalled = PartFinal, d.NotCalled
			if d.Retry {
				part.Status = PartRetry
			}
			m.settle(p, e.Time)
		}
	case *event.ReceiptReceived:
		s.receipt(p, e, d)
	}
}

func (s *State) submitted(p *Partition, index int64, e *event.Event, d *event.MessageSubmitted) {
	s.Key = d.Sealed.SubjectKey
	m := &Message{ID: e.ID, Index: index, Program: d.Program, Purpose: d.Purpose, Priority: d.Priority, From: d.From,
		Country: d.Country, Places: d.Places, Segments: d.Segments, Answers: d.Answers,
		SendAt: d.SendAt, ValidUntil: d.ValidUntil, PrefersDuplicate: d.PrefersDuplicate, Changed: p.Time}
	m.Status = Accepted
	if d.SendAt.After(e.Time) {
		m.Status, m.Due = Scheduled, d.SendAt
	}
	if slices.ContainsFunc(s.Cancels, func(c Seen) bool { return c.ID == e.ID }) {
		s.Cancels = slices.DeleteFunc(s.Cancels, func(c Seen) bool { return c.ID == e.ID })
		m.end(p, Cancelled) // born cancelled
	}
	s.Messages = append(s.Messages, m)
	s.answered(d.Answers)
}

// inbound: revoking words are the opt-out themselves; nothing can come between.
func (s *State) inbound(p *Partition, index int64, e *event.Event, d *event.InboundReceived) {
	if s.Key.IsZero() {
		s.Key = d.Sealed.SubjectKey
	}
	switch {
	case d.Revokes != nil:
		stood := s.Reaches(*d.Revokes)
		s.OptOuts = append(s.OptOuts, OptOut{Event: e.ID, Index: index, Reach: *d.Revokes, Source: event.SourceHandset, Known: e.Time, Unclear: d.Unclear})
		s.turn(e)
		s.confirm(p, Ask{Inbound: e.ID, Index: index, To: d.To, Program: d.Program}, stood || d.Unclear)
	case d.Holds != nil && d.Concat != nil:
		s.OptOuts = append(s.OptOuts, OptOut{Event: e.ID, Index: index, Reach: *d.Holds, Source: event.SourceHandset, Known: e.Time, Unclear: true, Part: true})
		s.turn(e)
		s.Inbound = append(s.Inbound, InboundPart{Event: e.ID, Index: index, Account: d.Account, To: d.To, Program: d.Program, Concat: *d.Concat, Reach: *d.Holds, At: e.Time})
	case d.Ask == event.InboundStart:
		s.Asks = append(s.Asks, Ask{Inbound: e.ID, Index: index, Kind: AskLift, At: p.Time, To: d.To, Program: d.Program, Lifts: s.liftable(d)})
		if len(s.Asks[len(s.Asks)-1].Lifts) == 0 {
			s.Asks = s.Asks[:len(s.Asks)-1] // nothing stood, or a STOP came in between: an officer's affair
		}
	case d.Ask == event.InboundHelp && d.Program != "":
		s.Asks = append(s.Asks, Ask{Inbound: e.ID, Index: index, Kind: AskHelp, At: p.Time, To: d.To, Program: d.Program})
	}
}

// confirm asks for the one confirmation of an opt-out: none for a repeated STOP or
// for words that an officer has yet to read (not), none for somebody who was never
// texted, none where it is not known for whom to speak.
func (s *State) confirm(p *Partition, a Ask, not bool) {
	if !not && s.Texted && a.Program != "" {
		a.Kind, a.At = AskConfirm, p.Time
		s.Asks = append(s.Asks, a)
	}
}

// Reaches reports whether an opt-out of exactly that reach, or of the whole
// tenant, stands (parts that only hold do not count).
func (s *State) Reaches(r event.Reach) bool {
	return slices.ContainsFunc(s.OptOuts, func(o OptOut) bool {
		return !o.Part && (o.Reach == r || o.Reach.Scope == event.ScopeTenant)
	})
}

// liftable are the opt-outs that a START lifts: those within what it may lift that
// stood where its adapter had read to. If a STOP came in between, it lifts nothing. What an
// officer recorded for the whole tenant is the officer's to lift, and so is what
// only holds.
func (s *State) liftable(d *event.InboundReceived) []event.ID {
	var ids []event.ID
	for _, o := range s.OptOuts {
		if o.Index >= d.Read {
			return nil
		}
		if !o.Part && o.Reach.Scope != event.ScopeTenant && slices.Contains(d.MayLift, o.Reach) {
			ids = append(ids, o.Event)
		}
	}
	return ids
}

// Joined is an inbound message whose parts are all there, or were given up.
type Joined struct {
	// Holds are the parts' events, in order of arrival; the first names the message.
	Holds []event.ID
	// Parts are the positions of the parts, in order; -1 where one is missing. Those
	// whose number is none of the message's come last.
	Parts []int64
	Reach event.Reach
}

// Joins are the inbound messages whose words can now be read: whole, or given up
// after JoinWithin. until is when the next one is given up, zero for never.
func (s *State) Joins(now time.Time) (whole []Joined, until time.Time) {
	used := make([]bool, len(s.Inbound))
	for i, first := range s.Inbound {
		if used[i] {
			continue
		}
		j := Joined{Parts: slices.Repeat([]int64{-1}, first.Concat.Parts), Reach: first.Reach}
		for k, x := range s.Inbound[i:] {
			if used[i+k] || x.Account != first.Account || x.To != first.To || x.Concat.Reference != first.Concat.Reference || x.Concat.Parts != first.Concat.Parts {
				continue
			}
			switch n := x.Concat.Part; {
			case n < 1 || n > first.Concat.Parts:
				j.Parts = append(j.Parts, x.Index) // a number that there is not: its words count all the same
			case j.Parts[n-1] >= 0:
				continue // a copy, or another message under the same reference
			default:
				j.Parts[n-1] = x.Index
			}
			used[i+k] = true
			j.Holds = append(j.Holds, x.Event)
		}
		giveUp := first.At.Add(JoinWithin)
		switch {
		case !slices.Contains(j.Parts, -1) || !now.Before(giveUp):
			whole = append(whole, j)
		case until.IsZero() || giveUp.Before(until):
			until = giveUp
		}
	}
	return whole, until
}

func (s *State) lift(ids []event.ID) {
	if without.names && len(ids) > 0 {
		s.OptOuts, s.Inbound = nil, nil
	}
	s.OptOuts = slices.DeleteFunc(s.OptOuts, func(o OptOut) bool { return slices.Contains(ids, o.Event) })
	s.Inbound = slices.DeleteFunc(s.Inbound, func(x InboundPart) bool { return slices.Contains(ids, x.Event) })
}

func (s *State) answered(inbound event.ID) {
	if !inbound.IsZero() {
		s.Asks = slices.DeleteFunc(s.Asks, func(a Ask) bool { return a.Inbound == inbound })
	}
}

func (s *State) part(message event.ID, attempt, part int) (*Message, *Part) {
	m := s.Message(message)
	if m == nil || attempt < 1 || attempt > len(m.Attempts) {
		return nil, nil
	}
	a := &m.Attempts[attempt-1]
	for i := range a.Parts {
		if a.Parts[i].Part == part {
			return m, &a.Parts[i]
		}
	}
	return m, nil
}

func (s *State) receipt(p *Partition, e *event.Event, d *event.ReceiptReceived) {
	m, part := s.part(e.Message, d.Attempt, d.Part)
	if part == nil || part.Final {
		return // state only moves forward; the receipt itself is kept
	}
	if part.Status == PartOpen || part.Status == PartInDoubt {
		// A receipt is an answer: the carrier had it.
		part.Status, part.CarrierID = PartTaken, d.CarrierID
	}
	part.Receipt, part.Final = d.State, d.Final
	m.settle(p, e.Time)
}

// outcome applies the rule to an outcome.
func (s *State) outcome(p *Partition, e *event.Event) Why {
	switch {
	case e.ID == s.Last:
		return Repeat
	case e.Control != p.Control && !without.control, e.After != s.Last && !without.after:
		return Overtaken
	}
	m := s.Message(e.Message)
	if m == nil {
		return Settled
	}
	var why Why
	switch d := e.Data.(type) {
	case *event.MessageDecided:
		why = s.decided(p, m, e, d)
	case *event.MessageRouted:
		why = s.routed(p, m, e, d)
	case *event.HandoffStarted:
		if why = s.started(p, m, e, d); why == "" && d.CallBy.After(p.CallBy) {
			p.CallBy = d.CallBy
		}
	case *event.HandoffInDoubt:
		why = m.doubt(p, e, d)
	case *event.MessageExpired:
		if (!m.Status.Unsent() || e.Time.Before(m.ValidUntil)) && !without.state {
			return Settled
		}
		m.end(p, ExpiredUnsent)
	case *event.ReceiptOverdue:
		if (m.Status != Sent || e.Time.Before(m.ReceiptBy)) && !without.state {
			return Settled
		}
		m.Status, m.Changed = Unconfirmed, p.Time
	default:
		return Settled
	}
	if why == "" {
		s.turn(e)
	}
	return why
}

func (s *State) decided(p *Partition, m *Message, e *event.Event, d *event.MessageDecided) Why {
	if (!m.Status.Unsent() || e.Time.Before(m.SendAt)) && !without.state {
		return Settled
	}
	if s.Allowed(p, m) && e.Time.Before(m.AllowUntil) && !without.state {
		return Settled // one allow stands already
	}
	if !e.Time.Before(m.ValidUntil) && !without.time {
		return Late
	}
	if d.Outcome == event.Allow && (!e.Time.Before(d.Until) || d.Until.After(m.ValidUntil)) && !without.time {
		return Late
	}
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
	return ""
}

func (s *State) routed(p *Partition, m *Message, e *event.Event, d *event.MessageRouted) Why {
	if (!s.Allowed(p, m) || !slices.Contains(m.AllowSenders, d.From) || d.Carrier == "" || d.Parts < 1) && !without.state {
		return Settled
	}
	if m.taken() > 0 && m.Parts != d.Parts && !without.state {
		return Settled // what is left of it must fit what was taken
	}
	if !e.Time.Before(m.AllowUntil) && !without.time {
		return Late
	}
	m.Carrier, m.Sender, m.Parts, m.Changed = d.Carrier, d.From, d.Parts, p.Time
	return ""
}

func (s *State) started(p *Partition, m *Message, e *event.Event, d *event.HandoffStarted) Why {
	if (!s.Allowed(p, m) || m.Carrier == "" || m.NoLater || d.Attempt != len(m.Attempts)+1 || d.Attempt > MaxAttempts || !m.fits(d)) && !without.state {
		return Settled
	}
	if (!e.Time.Before(d.CallBy) || d.CallBy.After(m.AllowUntil) || !d.AnswerBy.After(d.CallBy)) && !without.time {
		return Late
	}
	a := Attempt{Start: e.ID, Carrier: m.Carrier, CallBy: d.CallBy, AnswerBy: d.AnswerBy, Reference: d.Reference}
	for _, part := range d.Parts {
		a.Parts = append(a.Parts, Part{Part: part.Part, Status: PartOpen})
	}
	m.Attempts = append(m.Attempts, a)
	m.Status, m.AllowUntil, m.AllowSenders, m.Changed = Sending, time.Time{}, nil, p.Time
	s.Texted = true
	return ""
}

// fits: a first attempt has all parts; a later one exactly those that may be sent
// again, and says so when one of them is in doubt.
func (m *Message) fits(d *event.HandoffStarted) bool {
	want, doubt := m.Sendable()
	if len(want) == 0 || len(want) != len(d.Parts) || doubt != d.Duplicate {
		return false
	}
	for i, part := range d.Parts {
		if part.Part != want[i] || part.Digest == "" {
			return false
		}
	}
	return true
}

// Sendable are the parts that the next attempt has, in order: those never tried,
// those refused with retry, and, for a program that prefers a duplicate, those in
// doubt (doubt says whether there are any). None when a part is unanswered or
// refused for good.
func (m *Message) Sendable() (parts []int, doubt bool) {
	for n := 1; n <= m.Parts; n++ {
		switch m.partStatus(n) {
		case "", PartRetry:
			parts = append(parts, n)
		case PartInDoubt:
			if !m.PrefersDuplicate {
				return nil, false
			}
			parts, doubt = append(parts, n), true
		case PartOpen, PartFinal:
			return nil, false
		}
	}
	return parts, doubt
}

// partStatus is where part n stands over all attempts: taken once is taken; in
// doubt once stays in doubt, unless it was taken; else its last attempt says.
func (m *Message) partStatus(n int) PartStatus {
	var status PartStatus
	for _, a := range m.Attempts {
		for _, part := range a.Parts {
			switch {
			case part.Part != n:
			case part.Status == PartTaken:
				return PartTaken
			case part.Status == PartOpen || status != PartInDoubt:
				status = part.Status
			}
		}
	}
	return status
}

// refused reports whether the last attempt had a part refused for good: nothing
// speaks for offering it again, whatever became of an attempt before.
func (m *Message) refused() bool {
	return slices.ContainsFunc(m.Attempts[len(m.Attempts)-1].Parts, func(p Part) bool { return p.Status == PartFinal })
}

// doubts counts the attempts that ended in doubt.
func (m *Message) doubts() (n int) {
	for _, a := range m.Attempts {
		if slices.ContainsFunc(a.Parts, func(p Part) bool { return p.Status == PartInDoubt }) {
			n++
		}
	}
	return n
}

func (m *Message) taken() int {
	n := 0
	for i := 1; i <= m.Parts; i++ {
		if m.partStatus(i) == PartTaken {
			n++
		}
	}
	return n
}

// end closes an unsent message. What an earlier attempt may have sent decides
// under which name: a part in doubt stays in doubt, a part that was taken makes it
// a message that failed as a whole.
func (m *Message) end(p *Partition, status Status) {
	m.Status, m.Changed, m.AllowUntil, m.AllowSenders, m.Due = status, p.Time, time.Time{}, nil, time.Time{}
	for n := 1; n <= m.Parts; n++ {
		switch m.partStatus(n) {
		case PartInDoubt:
			m.Status, m.NoLater = InDoubt, true
			return
		case PartTaken:
			m.Status = Failed
		}
	}
}

func (m *Message) doubt(p *Partition, e *event.Event, d *event.HandoffInDoubt) Why {
	if (m.Status != Sending || d.Attempt != len(m.Attempts)) && !without.state || d.Attempt < 1 || d.Attempt > len(m.Attempts) {
		return Settled
	}
	a := &m.Attempts[d.Attempt-1]
	var open []int
	for _, part := range a.Parts {
		if part.Status == PartOpen {
			open = append(open, part.Part)
		}
	}
	if (!e.Time.After(a.AnswerBy) || len(open) == 0 || !slices.Equal(open, d.Parts)) && !without.state {
		return Settled
	}
	for i := range a.Parts {
		if a.Parts[i].Status == PartOpen || without.state {
			a.Parts[i].Status = PartInDoubt
		}
	}
	m.settle(p, e.Time)
	return ""
}

// Backoff is how long a message waits before its next attempt, after n of them.
func Backoff(n int) time.Duration { return min(time.Second<<min(n-1, 10), 15*time.Minute) }

// settle derives the status of a message that was handed off from its parts. at
// is the time of the event that changed one.
func (m *Message) settle(p *Partition, at time.Time) {
	if m.Status == Cancelled || m.Status == Denied || m.Status == ExpiredUnsent || m.Status == Failed {
		// A late answer or receipt to an attempt from before: what a carrier took is a
		// fact, and shows.
		if m.taken() < m.Parts || m.Parts == 0 {
			return
		}
	}
	if m.Status.Unsent() && m.taken() < m.Parts {
		return // a late fact to an earlier attempt; the message waits for its next
	}
	var open, doubt, retry, final, taken int
	for n := 1; n <= m.Parts; n++ {
		switch m.partStatus(n) {
		case PartOpen:
			open++
		case PartInDoubt:
			doubt++
		case PartRetry:
			retry++
		case PartFinal:
			final++
		case PartTaken:
			taken++
		}
	}
	m.Changed = p.Time
	switch {
	case taken == m.Parts:
		m.delivered(at)
	case open > 0:
		m.Status = Sending
	case final > 0:
		m.Status = Failed
	case doubt > 0 && (!m.PrefersDuplicate || m.refused() || m.doubts() >= MaxDoubts):
		m.Status = InDoubt
	case m.NoLater && doubt > 0:
		m.Status = InDoubt
	case m.NoLater:
		m.end(p, Cancelled)
	case len(m.Attempts) >= MaxAttempts && doubt > 0:
		m.Status = InDoubt
	case len(m.Attempts) >= MaxAttempts:
		m.Status = Failed
	default: // back to decide
		m.Status, m.Due, m.Carrier, m.Sender = Accepted, at.Add(Backoff(len(m.Attempts))), "", ""
	}
}

// delivered: every part was taken; the receipts say the rest.
func (m *Message) delivered(at time.Time) {
	if m.ReceiptBy.IsZero() {
		m.ReceiptBy = at.Add(ReceiptWait)
	}
	m.AllowUntil, m.AllowSenders, m.Due = time.Time{}, nil, time.Time{}
	var final, good int
	var bad Status
	for n := 1; n <= m.Parts; n++ {
		state, isFinal := m.receiptOf(n)
		if !isFinal {
			continue
		}
		final++
		switch state {
		case event.StateDelivered:
			good++
		case event.StateRejected:
			bad = Rejected
		case event.StateExpired:
			bad = Expired
		default:
			bad = Undelivered
		}
	}
	switch {
	case final < m.Parts:
		if m.Status != Unconfirmed {
			m.Status = Sent
		}
	case good == m.Parts:
		m.Status = Delivered
	case good > 0:
		m.Status = PartiallyDelivered
	default:
		m.Status = bad
	}
}

// receiptOf is the best final receipt of part n over all attempts, else the last.
func (m *Message) receiptOf(n int) (state event.MessageState, final bool) {
	for _, a := range m.Attempts {
		for _, part := range a.Parts {
			if part.Part == n && part.Receipt != "" && (!final || part.Receipt == event.StateDelivered) {
				state, final = part.Receipt, part.Final
			}
		}
	}
	return state, final
}

// prune forgets what the log's own time has passed by.
func (s *State) prune(p *Partition) {
	old := func(x Seen) bool { return p.Time.Sub(x.At) > RepeatWindow }
	if len(s.Seen) > 0 && old(s.Seen[0]) {
		s.Seen = slices.DeleteFunc(s.Seen, old)
	}
	if len(s.Cancels) > 0 && old(s.Cancels[0]) {
		s.Cancels = slices.DeleteFunc(s.Cancels, old)
	}
	s.Asks = slices.DeleteFunc(s.Asks, func(a Ask) bool { return a.Kind != AskLift && p.Time.Sub(a.At) > ReplyWithin })
	s.Messages = slices.DeleteFunc(s.Messages, func(m *Message) bool {
		return !m.Status.Open() && p.Time.Sub(m.Changed) > KeepSettled && p.Time.Sub(m.ValidUntil) > KeepSettled
	})
}

// Todo is what there is to do for a message.
type Todo uint8

const (
	// Nothing, now.
	Nothing Todo = iota
	// Decide: ask the policies.
	Decide
	// Handoff: an allow stands; route and start it when a carrier has a slot.
	Handoff
	// Expire: its validity is over (MessageExpired).
	Expire
	// Doubt: an attempt is past answer_by (HandoffInDoubt).
	Doubt
	// Overdue: its receipts are (ReceiptOverdue).
	Overdue
)

// ClockBound is how far nodes' clocks may differ. Nothing is in doubt before
// answer_by lies that far back, so that an answer in time is written first.
const ClockBound = time.Second

// Next says what there is to do for m now, and when to look again if nothing
// happens until then (zero: never).
func (s *State) Next(p *Partition, m *Message, now time.Time) (todo Todo, again time.Time) {
	at := func(todo Todo, t time.Time) (Todo, time.Time) {
		if now.Before(t) {
			return Nothing, t
		}
		return todo, time.Time{}
	}
	switch m.Status {
	case Sending:
		return at(Doubt, m.Attempts[len(m.Attempts)-1].AnswerBy.Add(ClockBound))
	case Sent:
		return at(Overdue, m.ReceiptBy)
	}
	if !m.Status.Unsent() {
		return Nothing, time.Time{}
	}
	if !now.Before(m.ValidUntil) {
		return Expire, time.Time{}
	}
	if s.Allowed(p, m) && now.Before(m.AllowUntil) {
		return Handoff, m.AllowUntil
	}
	due := m.Due
	if m.Status == Held && m.DecidedUnder != p.Control || m.Status == Allowed {
		due = time.Time{} // control changed, or the allow was taken back or ran out
	}
	if due.After(m.ValidUntil) {
		return Nothing, m.ValidUntil
	}
	return at(Decide, due)
}

// Due is the earliest instant at which there may be something to do for the
// stream; zero: never. It follows from the state alone.
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
			see(m.Attempts[len(m.Attempts)-1].AnswerBy.Add(ClockBound))
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
		see(x.At) // its siblings may be there already
	}
	return first
}
