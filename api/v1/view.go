package v1

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/projections"
)

// content opens the personal part of a message; nil when it was erased.
func (s *server) content(m *projections.Message) (*event.Content, error) {
	plain, err := s.Vault.Open(m.Tenant, m.ID, &m.Content)
	if errors.Is(err, ledger.ErrErased) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c event.Content
	if json.Unmarshal(plain, &c) != nil { // its error may quote what it read
		return nil, errors.New("the content of message " + m.ID.String() + " cannot be read")
	}
	return &c, nil
}

// view is a message as its readers see it.
func (s *server) view(m *projections.Message) (*Message, error) {
	c, err := s.content(m)
	if err != nil {
		return nil, err
	}
	v := &Message{
		Id: m.ID, Status: m.Status, Position: m.Position, Erased: c == nil,
		Program: m.Program, Purpose: m.Purpose, Priority: m.Priority, From: m.From, SentFrom: sentFrom(m),
		Encoding: m.Encoding, Segments: m.Segments, Answers: m.Answers, By: m.By,
		Recipient: Recipient{Country: m.Country, Places: make([]string, len(m.Places)), LocalTimes: []LocalTime{}},
		Decisions: m.Decisions, Attempts: make([]Attempt, len(m.Attempts)), ReceiptGrade: grade(m),
		Times: Times{Accepted: m.Accepted, SendAt: m.SendAt, ValidUntil: m.ValidUntil, CancelRequested: m.CancelRequested,
			Decided: m.Decided, Started: m.Started, Sent: m.Sent, Settled: m.Settled, Changed: m.Changed},
	}
	for i, p := range m.Places {
		v.Recipient.Places[i] = string(p)
	}
	if c != nil {
		v.To, v.Body, v.Reference, v.Metadata = c.To, &c.Body, c.Reference, c.Metadata
		v.Parts = parts(m, c.Body)
	}
	if d := m.Decision; d != nil {
		v.Decision = s.decision(d)
		for _, clock := range d.Data.Clocks {
			zone, time, _ := strings.Cut(string(clock), " ")
			v.Recipient.LocalTimes = append(v.Recipient.LocalTimes, LocalTime{Zone: zone, Time: time})
		}
	}
	if m.Route != nil {
		v.Carrier = m.Route.Data.Carrier
	}
	for i, a := range m.Attempts {
		v.Attempts[i] = attempt(a)
	}
	return v, nil
}

func (s *server) summary(m *projections.Message) (MessageSummary, error) {
	c, err := s.content(m)
	if err != nil {
		return MessageSummary{}, err
	}
	v := MessageSummary{Id: m.ID, Status: m.Status, Erased: c == nil, Program: m.Program, Purpose: m.Purpose, From: m.From,
		SentFrom: sentFrom(m), Segments: m.Segments, Position: m.Position, Accepted: m.Accepted, Changed: m.Changed}
	if c != nil {
		v.To, v.Reference = c.To, c.Reference
	}
	return v, nil
}

func sentFrom(m *projections.Message) string {
	if n := len(m.Attempts); n > 0 {
		return m.Attempts[n-1].From
	}
	return ""
}

// parts are the texts of the parts as sent; nil before the first attempt. Where a
// part ends depends on the connector's alphabet and concatenation reference, of
// which the route recorded the encoding and the number of parts.
func parts(m *projections.Message, body string) []SentPart {
	if len(m.Attempts) == 0 || m.Route == nil {
		return nil
	}
	for _, o := range []sms.SegmentOptions{{}, {WideReference: true}, {Alphabet: sms.Latin1}, {Alphabet: sms.Latin1, WideReference: true}} {
		segments, err := sms.Segments(body, o)
		if err != nil || len(segments) != m.Route.Data.Parts || string(segments[0].Encoding) != m.Route.Data.Encoding {
			continue
		}
		out := make([]SentPart, len(segments))
		for i, g := range segments {
			out[i] = SentPart{Part: i + 1, Text: g.Text}
		}
		return out
	}
	return nil
}

func attempt(a projections.Attempt) Attempt {
	v := Attempt{Number: a.Number, Carrier: a.Carrier, From: a.From, StartedAt: a.StartedAt, CallBy: a.CallBy,
		AnswerBy: a.AnswerBy, Duplicate: a.Duplicate, Parts: make([]AttemptPart, len(a.Parts))}
	for i, p := range a.Parts {
		v.Parts[i] = AttemptPart{Part: p.Part, Status: p.Status, CarrierId: p.CarrierID, AnsweredAt: p.AnsweredAt,
			NotCalled: p.NotCalled, Code: p.Code, Reason: p.Reason}
		if p.Receipts > 0 {
			v.Parts[i].Receipt = &Receipt{State: p.Receipt, Final: p.Final, Grade: p.Grade, Match: p.Match,
				Error: p.Error, At: p.ReceiptAt, Count: p.Receipts}
		}
	}
	return v
}

// grade is the weakest among the receipts that count: a message is known no better
// than its least known part.
func grade(m *projections.Message) string {
	rank := map[string]int{"inferred": 1, "network": 2, "handset": 3}
	weakest := ""
	for _, a := range m.Attempts {
		for _, p := range a.Parts {
			if r := rank[p.Grade]; r > 0 && (weakest == "" || r < rank[weakest]) {
				weakest = p.Grade
			}
		}
	}
	return weakest
}

// decision puts a decision into words.
func (s *server) decision(d *projections.Decision) Decision {
	v := Decision{Outcome: d.Data.Outcome, Until: d.Data.Until, At: d.At, Event: d.Event, Reasons: []Reason{},
		Policy: PolicyBundle{Revision: d.Data.Revision, Digest: d.Data.Digest}}
	if d.Data.Outcome == ledger.Hold {
		v.Reasons = append(v.Reasons, Reason{Rule: "hold." + d.Data.Fault, Outcome: ledger.Hold, Text: hold(d.Data)})
		return v
	}
	// What refuses comes before what postpones; an allow rests on all checks.
	order := map[string][]string{ledger.Deny: {ledger.Deny, ledger.Defer}, ledger.Defer: {ledger.Defer}, ledger.Allow: {ledger.Allow}}
	for _, outcome := range order[d.Data.Outcome] {
		for _, c := range d.Data.Checks {
			if c.Outcome != outcome {
				continue
			}
			for _, id := range c.Rules {
				r := Reason{Check: c.Check, Outcome: c.Outcome, Rule: id, OptOuts: c.OptOuts}
				if rule, ok := s.Rules.Rule(id); ok {
					r.Text, r.Citation = rule.Text, rule.Citation
				} else {
					r.Text = "This rule's text is in the policies of revision " + d.Data.Revision + ", which are not loaded here."
				}
				v.Reasons = append(v.Reasons, r)
			}
		}
	}
	return v
}

// faults say in words what kept a decision from being made. The message is tried
// again until its validity ends.
var faults = map[string]string{
	ledger.FaultPolicy:   "The policies could not be evaluated.",
	ledger.FaultBundle:   "The policies in force are not those that this server has loaded.",
	ledger.FaultZoneData: "The local time at the recipient could not be worked out.",
	ledger.FaultClock:    "The server's clock cannot be trusted at the moment.",
	ledger.FaultProgram:  "Its program is not registered.",
	ledger.FaultRoute:    "No route leads to the recipient.",
	ledger.FaultPause:    "Sending is paused.",
	ledger.FaultKey:      "The message could not be unsealed.",
	ledger.FaultEncoding: "It cannot be written for its carrier.",
}

func hold(d *event.MessageDecided) string {
	text, ok := faults[d.Fault]
	if !ok {
		text = "A decision could not be made (" + d.Fault + ")."
	}
	if d.Detail != "" {
		text += " Reason: " + strings.TrimPrefix(d.Detail, "paused: ")
		if !strings.HasSuffix(text, ".") {
			text += "."
		}
	}
	return text
}
