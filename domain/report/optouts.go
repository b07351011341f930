package report

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

const (
	// mostOptOuts bounds the opt-outs that a report lists, the latest first.
	mostOptOuts = 1000
	// mostLooked bounds the events that are read to find them.
	mostLooked = 5000
	// mostMessages bounds the messages of one person that are looked at, before an opt-out and after it.
	mostMessages = 50
)

// OptOuts are the opt-outs of a period.
type OptOuts struct {
	// Total counts all; Kinds say how they came.
	Total  int64   `json:"total"`
	Kinds  []Named `json:"kinds"`
	Lifted int64   `json:"lifted"`
	// List has the latest 1,000, without numbers. Bounded says that there are more.
	List    []OptOut `json:"list"`
	Bounded bool     `json:"bounded,omitempty"`
	// SinceLast and ToDecision are the distributions of the listed ones' times.
	SinceLast  []Bucket `json:"since_last"`
	ToDecision []Bucket `json:"to_decision"`
}

// OptOut is one opt-out: who it was, only the ledger can say.
type OptOut struct {
	Event    event.ID       `json:"event"`
	Position event.Position `json:"position"`
	Time     time.Time      `json:"time"`
	// How is how it came: the source of a recorded one, inbound, joined, or review.
	How string `json:"how"`
	// Last is when the last message before it was handed to a carrier; zero if there was none among the
	// person's 50 messages before it. SinceLast is the time between, in milliseconds.
	Last        time.Time `json:"last,omitzero"`
	LastMessage event.ID  `json:"last_message,omitzero"`
	SinceLast   int64     `json:"since_last_ms"`
	// Decided is when a message to the person that is no automatic answer was decided first after it, in the
	// order of the stream; zero if none was among the 50 before and the 50 after it. Outcome is the decision's, ToDecision the time between,
	// in milliseconds.
	Decided        time.Time `json:"decided,omitzero"`
	DecidedMessage event.ID  `json:"decided_message,omitzero"`
	Outcome        string    `json:"outcome,omitempty"`
	ToDecision     int64     `json:"to_decision_ms"`
}

// optOutTypes are the types of the events that may be an opt-out.
var optOutTypes = []event.Type{(*event.OptedOut)(nil).Type(), (*event.InboundReceived)(nil).Type(), (*event.InboundReceivedV2)(nil).Type(),
	(*event.InboundJoined)(nil).Type(), (*event.ReviewResolved)(nil).Type()}

// howOf says how an event opts out; "" if it does not.
func howOf(d event.Data) string {
	switch d := d.(type) {
	case *event.OptedOut:
		return string(d.Source)
	case *event.InboundReceived:
		if d.Ask == event.InboundStop {
			return "inbound"
		}
	case *event.InboundReceivedV2:
		if d.Ask == event.InboundStop {
			return "inbound"
		}
	case *event.InboundJoined:
		if d.Ask == event.InboundStop {
			return "joined"
		}
	case *event.ReviewResolved:
		if d.As == event.ReviewStop || d.As == event.ReviewNarrow {
			return "review"
		}
	}
	return ""
}

// optOuts counts the opt-outs of a period, and looks at the latest of them one by one.
func (m *Maker) optOuts(ctx context.Context, tenant string, p *Period, all counts) (OptOuts, error) {
	out := OptOuts{Kinds: []Named{}, List: []OptOut{}, SinceLast: ageSteps.buckets(), ToDecision: decisionSteps.buckets()}
	for _, n := range all.named(reading.TallyStream) {
		switch {
		case n.Type == "SuppressionLifted":
			out.Lifted += n.Count
		case isOptOut(&reading.Tally{A: n.Type, B: n.Name}):
			out.Total += n.Count
			out.Kinds = append(out.Kinds, n)
		}
	}
	if out.Total == 0 {
		return out, nil
	}
	f := reading.StreamEventFilter{Types: optOutTypes, Since: p.From, Until: p.Until, Limit: 500}
	for looked := 0; ; {
		page, err := m.p.Desk.TenantEvents(ctx, tenant, f)
		if err != nil {
			return out, err
		}
		for _, x := range page {
			if len(out.List) == mostOptOuts || looked == mostLooked {
				out.Bounded = true
				return out, nil
			}
			f.BeforeTime, f.Before, f.BeforeIndex = x.Time, x.ID, x.Position.Index
			if x.Why != "" {
				continue
			}
			looked++
			o, ok, err := m.optOut(ctx, tenant, &x)
			if err != nil {
				return out, err
			}
			if !ok {
				continue
			}
			out.List = append(out.List, o)
			if !o.Last.IsZero() {
				out.SinceLast[ageSteps.of(time.Duration(o.SinceLast)*time.Millisecond)].Count++
			}
			if !o.Decided.IsZero() {
				out.ToDecision[decisionSteps.of(time.Duration(o.ToDecision)*time.Millisecond)].Count++
			}
		}
		if len(page) < f.Limit {
			return out, nil
		}
	}
}

// optOut looks at one event, and at the messages before and after it. ok is false if it is no opt-out.
func (m *Maker) optOut(ctx context.Context, tenant string, x *reading.StreamEvent) (o OptOut, ok bool, err error) {
	records, _, err := m.p.Log.Read(ctx, x.Position.Partition, x.Position.Index, 1)
	if err != nil || len(records) == 0 || records[0].Event == nil {
		return o, false, err
	}
	o = OptOut{Event: x.ID, Position: x.Position, Time: x.Time, How: howOf(records[0].Event.Data)}
	if o.How == "" {
		return o, false, nil
	}
	f := reading.Filter{Subject: x.Subject, Until: x.Time.Add(time.Millisecond), Limit: mostMessages}
	before, err := m.p.Views.Search(ctx, tenant, f)
	if err != nil {
		return o, false, err
	}
	f.Since, f.Until = f.Until, time.Time{}
	after, err := m.p.Views.Search(ctx, tenant, f)
	if err != nil {
		return o, false, err
	}
	for i := 0; len(after) == f.Limit && i < 20; i++ { // the earliest ones are on the last page
		next := f
		next.After = after[len(after)-1].ID
		page, err := m.p.Views.Search(ctx, tenant, next)
		if err != nil {
			return o, false, err
		}
		if len(page) == 0 {
			break
		}
		after = page
	}
	for _, v := range before {
		if at := lastHandoff(v, x.Time); at.After(o.Last) {
			o.Last, o.LastMessage, o.SinceLast = at, v.ID, x.Time.Sub(at).Milliseconds()
		}
	}
	first := int64(math.MaxInt64) // the index of the first decision
	slices.Reverse(after)         // the oldest first, so that few are read
	for _, v := range append(before, after...) {
		// The automatic answers, such as the one that confirms the opt-out, say nothing of what follows it.
		if v.Decision == nil || !v.Answers.IsZero() || v.Position.Partition != x.Position.Partition {
			continue
		}
		e, index, err := m.firstDecision(ctx, v, x.Position.Index, first)
		if err != nil {
			return o, false, err
		}
		if e == nil {
			continue
		}
		first = index
		o.Decided, o.DecidedMessage, o.Outcome = e.Time, v.ID, string(e.Data.(*event.MessageDecided).Outcome)
		o.ToDecision = e.Time.Sub(x.Time).Milliseconds()
	}
	return o, true, nil
}

// lastHandoff is when a message was last handed to its carrier up to an instant: what a carrier took, or may
// have taken.
func lastHandoff(m *reading.Message, until time.Time) (last time.Time) {
	for _, a := range m.Attempts {
		for _, p := range a.Parts {
			gone := p.Status == recipient.PartTaken || p.Status == recipient.PartInDoubt || p.Status == recipient.PartOpen
			if gone && a.StartedAt.After(last) && !a.StartedAt.After(until) {
				last = a.StartedAt
			}
		}
	}
	return last
}

// firstDecision reads the first effective decision of a message between two indexes of its partition; nil if
// there is none.
func (m *Maker) firstDecision(ctx context.Context, v *reading.Message, after, before int64) (*event.Event, int64, error) {
	for _, entry := range v.Events {
		if entry.Index >= before {
			break
		}
		if entry.Index <= after || entry.Why != "" {
			continue
		}
		records, _, err := m.p.Log.Read(ctx, v.Position.Partition, entry.Index, 1)
		if err != nil {
			return nil, 0, err
		}
		if len(records) == 1 && records[0].Event != nil {
			if _, ok := records[0].Event.Data.(*event.MessageDecided); ok {
				return records[0].Event, entry.Index, nil
			}
		}
	}
	return nil, 0, nil
}
