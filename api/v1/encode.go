package v1

import (
	"strconv"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/sms"
)

// message writes a message as this API shows it.
func message(w *reading.Whole) Message {
	m := w.Message
	v := Message{
		Id: m.ID, Status: m.Status, Position: m.Position, Erased: w.Content == nil && !w.KeyMissing && !m.Lost(), KeyMissing: w.KeyMissing, Epoch: m.Epoch, Recovered: m.Recovered,
		Program: m.Program, Purpose: m.Purpose, Priority: m.Priority, From: m.From, SentFrom: m.SentFrom(), Carrier: m.Carrier(),
		Encoding: m.Encoding, Segments: m.Segments, Answers: m.Answers, By: m.By,
		Recipient: Recipient{Country: m.Country, Places: make([]string, len(m.Places)), LocalTimes: all(m.LocalTimes(), localTime)},
		Decisions: m.Decisions, Attempts: all(m.Attempts, attempt), ReceiptGrade: string(m.Grade()),
		Times: Times{Accepted: m.Accepted, SendAt: m.SendAt, ValidUntil: m.ValidUntil, CancelRequested: m.CancelRequested,
			Decided: m.Decided, Started: m.Started, Sent: m.Sent, Settled: m.Settled, Changed: m.Changed},
	}
	for i, p := range m.Places {
		v.Recipient.Places[i] = string(p)
	}
	if c := w.Content; c != nil {
		v.To, v.Body, v.Reference, v.Metadata = c.To, &c.Body, c.Reference, c.Metadata
		v.NumberKnown = numberKnown(sms.Number(c.To))
		v.Parts = sentParts(w.Parts)
	}
	if d := m.Decision; d != nil {
		v.Decision = Decision{Outcome: string(d.Data.Outcome), Until: d.Data.Until, At: d.At, Event: d.Event, Reasons: all(w.Reasons, reason),
			Policy: PolicyBundle{Revision: d.Data.Revision, Digest: d.Data.Digest}}
	}
	return v
}

// numberKnown is false for a number that the metadata does not know, and left out for others.
func numberKnown(n sms.Number) *bool {
	if n.Known() {
		return nil
	}
	return new(false)
}

func searchPage(p *reading.Page) SearchPage {
	return SearchPage{Messages: all(p.Messages, summary), NextCursor: p.Next, Short: p.Short, CompleteSince: p.CompleteSince}
}

func summary(o *reading.Opened) MessageSummary {
	m := o.Message
	v := MessageSummary{Id: m.ID, Status: m.Status, Erased: o.Content == nil && !o.KeyMissing && !m.Lost(), KeyMissing: o.KeyMissing, Program: m.Program, Purpose: m.Purpose, From: m.From,
		SentFrom: m.SentFrom(), Country: m.Country, Carrier: m.Carrier(), Segments: m.Segments, Position: m.Position, Accepted: m.Accepted, Sent: m.Sent, Changed: m.Changed}
	if m.Decision != nil {
		v.Outcome = string(m.Decision.Data.Outcome)
	}
	if c := o.Content; c != nil {
		v.To, v.Reference = c.To, c.Reference
	}
	return v
}

func localTime(l *reading.LocalTime) LocalTime { return LocalTime{Zone: l.Zone, Time: l.Time} }

func sentParts(parts []sms.Segment) []SentPart {
	if parts == nil {
		return nil
	}
	out := make([]SentPart, len(parts))
	for i := range parts {
		out[i] = SentPart{Part: i + 1, Text: parts[i].Text}
	}
	return out
}

func attempt(a *reading.Attempt) Attempt {
	return Attempt{Number: a.Number, Carrier: a.Carrier, From: a.From, StartedAt: a.StartedAt, CallBy: a.CallBy,
		AnswerBy: a.AnswerBy, Duplicate: a.Duplicate, Epoch: a.Epoch, Parts: all(a.Parts, attemptPart)}
}

func attemptPart(p *reading.Part) AttemptPart {
	v := AttemptPart{Part: p.Part, Status: p.Status, CarrierId: p.CarrierID, AnsweredAt: p.AnsweredAt,
		NotCalled: p.NotCalled, Code: p.Code, Reason: p.Reason}
	if p.Receipts > 0 {
		v.Receipt = &Receipt{State: string(p.Receipt), Final: p.Final, Grade: string(p.Grade), Match: string(p.Match),
			Error: p.Error, At: p.ReceiptAt, Count: p.Receipts}
	}
	return v
}

func reason(r *reading.Reason) Reason {
	return Reason{Check: r.Check, Outcome: string(r.Outcome), Rule: r.Rule, Text: r.Text, Citation: r.Citation, OptOuts: r.OptOuts, Until: r.Until}
}

func messageEvent(e *reading.Event) Event {
	return Event{Id: e.ID, Type: string(e.Type), Time: e.Time, Position: e.Position,
		Effective: e.Why == "", Void: e.Why, Data: e.Data}
}

// checkResult writes who opted out of the numbers, which are shown as they were sent.
func checkResult(numbers []string, c *reading.Checked) CheckResult {
	v := CheckResult{AsOf: list(c.AsOf), Results: make([]Checked, len(numbers))}
	for i, number := range numbers {
		r := Checked{Number: number, State: CheckStateUnknown, UnknownBecause: string(c.Unknown[i]), OptedOut: true, Scopes: all(c.Standing[i], standing)}
		switch {
		case len(r.Scopes) > 0:
			r.State = CheckStateOptedOut
		case r.UnknownBecause == "":
			r.State, r.OptedOut = CheckStateNotOptedOut, false
		}
		v.Results[i] = r
	}
	return v
}

func standing(o *reading.OptOut) StandingOptOut {
	return StandingOptOut{Scope: Scope(o.Reach.Scope), Name: o.Reach.Name, Since: o.Since, Said: o.Said(), Known: o.Since,
		OccurredAt: o.Occurred, To: o.To, Repeats: o.Repeats, Source: string(o.Source), Unclear: o.Unclear, Event: o.Event, Position: o.Position}
}

// all writes each element of a list, which is never null in JSON.
func all[T, V any](l []T, write func(*T) V) []V {
	out := make([]V, len(l))
	for i := range l {
		out[i] = write(&l[i])
	}
	return out
}

// list is l as JSON shows it: empty, never null.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// ranged is an optional number's value, 0 when it is not given.
func ranged(code, pointer string, n *int, low, high int) (int, error) {
	switch {
	case n == nil:
		return 0, nil
	case *n < low || *n > high:
		return 0, door.Refuse(code, pointer, "The number is "+strconv.Itoa(low)+" to "+strconv.Itoa(high)+".")
	}
	return *n, nil
}
