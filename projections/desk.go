package projections

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// QuarterOf is the quarter of an hour of a time: Unix time in seconds / 900.
func QuarterOf(t time.Time) int64 { return t.Unix() / 900 }

// BucketOf is the bucket of a message: the milliseconds of its id, of which 1,024 make one bucket.
func BucketOf(id event.ID) int64 {
	var b [8]byte
	copy(b[2:], id[:6])
	return int64(binary.BigEndian.Uint64(b[:]) >> 10)
}

// FacetKind says what a value is that occurs among messages. The numbers are stored.
type FacetKind uint8

// The kinds of values that a search looks for.
const (
	FacetPurpose  FacetKind = 1
	FacetSender   FacetKind = 2 // as asked for, and as sent
	FacetCountry  FacetKind = 3
	FacetCarrier  FacetKind = 4
	FacetRule     FacetKind = 5 // see reading.Refusing
	FacetOutcome  FacetKind = 6 // of a decision
	FacetSentLate FacetKind = 7 // the hour in which all parts were taken, as HourText, if the message was accepted in another
)

// HourText is the hour of a time as a facet's value. The values have the order of time.
func HourText(t time.Time) string { return fmt.Sprintf("%08x", t.Unix()/3600) }

// DeskSink takes what one event adds to the officer's views.
type DeskSink interface {
	// Facet adds a value that occurs in the bucket of the message.
	Facet(tenant string, kind FacetKind, value string, bucket int64)
	// Reason adds a rule to those by which the message was not allowed.
	Reason(m *reading.Message, rule string)
	// Tally counts one, and adds sum to the tally's sum.
	Tally(tenant string, quarter int64, t reading.Tally, sum int64)
	// StreamEvent adds an event that belongs to no message.
	StreamEvent(e *reading.StreamEvent)
}

// Before is what Desk must know of a message as it was before an event.
type Before struct {
	Status recipient.Status
	Sent   bool
}

// BeforeOf is what Desk must know of m, which may be nil.
func BeforeOf(m *reading.Message) Before {
	if m == nil {
		return Before{}
	}
	return Before{m.Status, !m.Sent.IsZero()}
}

// Desk adds to a sink what a judged event of partition p adds to the officer's views. m is the event's
// message as it is after the event, nil if the event has none or it is not known, and before what it was.
func Desk(s DeskSink, p event.Partition, j *ledger.Judged, m *reading.Message, before Before) {
	e := j.Event
	if e == nil {
		return
	}
	quarter := QuarterOf(e.Time)
	if _, applied := e.Data.(*event.ControlApplied); applied {
		return // it says nothing of a tenant
	}
	if e.MessageID().IsZero() {
		s.StreamEvent(&reading.StreamEvent{ID: e.ID, Type: e.Data.Type(), Time: e.Time, Position: event.Position{Partition: p, Index: j.Index},
			Tenant: e.Tenant, Subject: e.Subject, Why: j.Why})
	}
	if j.Why != "" {
		s.Tally(e.Tenant, quarter, reading.Tally{Kind: reading.TallyVoid, A: e.Data.Type().Name(), B: string(j.Why)}, 0)
		return
	}
	if e.MessageID().IsZero() {
		streamTallies(s, quarter, j)
	} else if m != nil && m.Submitted() && m.Subject == e.Subject {
		messageDesk(s, quarter, j, m, before)
	}
	if j.Changes != nil {
		for _, r := range j.Changes.Opened {
			if r.Event == e.ID {
				s.Tally(e.Tenant, quarter, reading.Tally{Kind: reading.TallyReview, A: "opened", B: string(r.Kind)}, 0)
			}
		}
		for range j.Changes.Closed {
			s.Tally(e.Tenant, quarter, reading.Tally{Kind: reading.TallyReview, A: "closed"}, 0)
		}
	}
}

// streamTallies counts an effective event that belongs to no message.
func streamTallies(s DeskSink, quarter int64, j *ledger.Judged) {
	e := j.Event
	t := reading.Tally{Kind: reading.TallyStream, A: e.Data.Type().Name()}
	switch d := e.Data.(type) {
	case *event.OptedOut:
		t.B, t.C = string(d.Source), string(d.Reach.Scope)
	case *event.InboundReceived:
		t.B = string(d.Ask)
	case *event.InboundReceivedV2:
		t.B = string(d.Ask)
	case *event.InboundJoined:
		t.B = string(d.Ask)
	case *event.ReviewResolved:
		t.B = string(d.As)
	}
	s.Tally(e.Tenant, quarter, t, 0)
}

// messageDesk adds what an effective event of a message adds.
func messageDesk(s DeskSink, quarter int64, j *ledger.Judged, m *reading.Message, before Before) {
	e, bucket := j.Event, BucketOf(m.ID)
	tally := func(kind reading.TallyKind, a, b, c string, sum int64) {
		s.Tally(m.Tenant, quarter, reading.Tally{Kind: kind, Program: m.Program, A: a, B: b, C: c}, sum)
	}
	cause := ""
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		s.Facet(m.Tenant, FacetPurpose, m.Purpose, bucket)
		s.Facet(m.Tenant, FacetSender, m.From, bucket)
		s.Facet(m.Tenant, FacetCountry, m.Country, bucket)
		tally(reading.TallySubmitted, m.Purpose, m.Country, "", int64(m.Segments))
	case *event.MessageRecovered: // of a submit that is lost; the tallies count only what the ledger has
		s.Facet(m.Tenant, FacetPurpose, m.Purpose, bucket)
		s.Facet(m.Tenant, FacetSender, m.From, bucket)
		s.Facet(m.Tenant, FacetCountry, m.Country, bucket)
	case *event.MessageDecided:
		s.Facet(m.Tenant, FacetOutcome, string(d.Outcome), bucket)
		tally(reading.TallyDecided, string(d.Outcome), m.Country, "", 0)
		for _, rule := range reading.Refusing(d) {
			s.Facet(m.Tenant, FacetRule, rule, bucket)
			s.Reason(m, rule)
			tally(reading.TallyReason, string(d.Outcome), rule, m.Country, 0)
		}
	case *event.MessageRouted:
		s.Facet(m.Tenant, FacetCarrier, d.Carrier, bucket)
		if d.From != m.From {
			s.Facet(m.Tenant, FacetSender, d.From, bucket)
		}
	case *event.HandoffAccepted:
		tally(reading.TallyPart, m.Carrier(), "taken", "", 0)
	case *event.HandoffRefused:
		how := "final"
		if d.NotCalled {
			how = "not_called"
		} else if d.Retry {
			how = "retry"
		}
		cause = d.Code
		tally(reading.TallyPart, m.Carrier(), how, d.Code, 0)
	case *event.ReceiptReceived:
		cause = d.Error
		tally(reading.TallyReceipt, string(d.State), string(d.Grade), m.Carrier(), 0)
	}
	if !before.Sent && !m.Sent.IsZero() {
		if m.Sent.Unix()/3600 != m.Accepted.Unix()/3600 {
			s.Facet(m.Tenant, FacetSentLate, HourText(m.Sent), bucket)
		}
		tally(reading.TallySent, m.Carrier(), m.Country, "", int64(m.Route.Data.Parts))
	}
	if m.Status != before.Status && !passing[m.Status] {
		tally(reading.TallyStatus, string(m.Status), cause, m.Carrier(), 0)
	}
}

// passing are the statuses on the way: what a message is on the way to is counted otherwise.
var passing = map[recipient.Status]bool{recipient.Accepted: true, recipient.Allowed: true, recipient.Sending: true}

// Tallies are what was counted for a tenant in one quarter and partition. Their order is that in which
// they first came, so the same events give the same bytes, however they were cut into batches.
type Tallies struct {
	all []reading.Tally
	at  map[reading.Tally]int // by what is counted, without the figures
}

// Add counts one.
func (s *Tallies) Add(t reading.Tally, sum int64) {
	t.Count, t.Sum = 0, 0
	i, ok := s.at[t]
	if !ok {
		if s.at == nil {
			s.at = map[reading.Tally]int{}
		}
		i = len(s.all)
		s.at[t] = i
		s.all = append(s.all, t)
	}
	s.all[i].Count++
	s.all[i].Sum += sum
}

var errTallies = errors.New("a tally is of another version or damaged: rebuild the projections")

// Append appends the stored form to b.
func (s *Tallies) Append(b []byte) []byte {
	c := codec{out: append(b, 1), version: 1}
	list(&c, &s.all, tally)
	return c.out
}

// ReadTallies reads what Append wrote. The error says that the views must be rebuilt.
func ReadTallies(body []byte) (*Tallies, error) {
	if len(body) == 0 || body[0] != 1 {
		return nil, errTallies
	}
	c := codec{in: string(body[1:]), reading: true, version: 1}
	s := &Tallies{at: map[reading.Tally]int{}}
	list(&c, &s.all, tally)
	if c.bad || c.in != "" {
		return nil, errTallies
	}
	for i, t := range s.all {
		t.Count, t.Sum = 0, 0
		s.at[t] = i
	}
	return s, nil
}

// All are the tallies, in the order in which they first came. They must not be changed.
func (s *Tallies) All() []reading.Tally { return s.all }

func tally(c *codec, t *reading.Tally) {
	kind := int(t.Kind)
	num(c, &kind)
	t.Kind = reading.TallyKind(kind)
	text(c, &t.Program)
	text(c, &t.A)
	text(c, &t.B)
	text(c, &t.C)
	num(c, &t.Count)
	num(c, &t.Sum)
}
