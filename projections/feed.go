package projections

import (
	"slices"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Feed appends to items what a judged event of partition p adds to the feed of its tenant. m is the event's message as it is after
// the event, nil if the event has none or it is not known, and before what it was.
func Feed(items []feed.Item, p event.Partition, j *ledger.Judged, m *reading.Message, before Before) []feed.Item {
	e := j.Event
	if e == nil || j.Why != "" || e.Tenant == "" {
		return items
	}
	began := len(items)
	add := func(i feed.Item) {
		i.Place = feed.Place{Position: event.Position{Partition: p, Index: j.Index}, Nth: len(items) - began}
		i.Tenant, i.Subject, i.Event, i.At = e.Tenant, e.Subject, e.ID, e.Time
		items = append(items, i)
	}
	was := before.Status
	_, submitted := e.Data.(*event.MessageSubmitted)
	if submitted {
		was = "" // also for a copy that came after the fold had forgotten the first one: whether its row is known then depends on the cache
	}
	if m != nil && m.Submitted() && m.Subject == e.Subject && (submitted || m.Status != was) {
		i := feed.Item{Kind: feed.MessageStatus, Message: m.ID, Program: m.Program, Status: m.Status, Was: was, Detail: statusDetail(e, m)}
		add(i)
		if m.Status == recipient.InDoubt {
			i.Kind = feed.MessageInDoubt
			add(i)
		}
	}
	switch d := e.Data.(type) {
	case *event.InboundReceived:
		add(feed.Item{Kind: feed.MessageInbound, Detail: feed.Detail{Ask: d.Ask, To: d.To}})
	case *event.InboundReceivedV2:
		if d.Ask != event.InboundPart { // the words count once the parts are joined
			add(feed.Item{Kind: feed.MessageInbound, Detail: feed.Detail{Ask: d.Ask, To: d.To}})
		}
	case *event.InboundJoined:
		add(feed.Item{Kind: feed.MessageInbound, Detail: feed.Detail{Ask: d.Ask, To: d.To}})
	}
	if j.Changes != nil {
		changesFeed(add, e, j.Changes)
	}
	return items
}

// changesFeed adds what an event changed in the opt-outs and reviews of its stream.
func changesFeed(add func(feed.Item), e *event.Event, c *recipient.Changes) {
	for i := range c.Stands {
		o := &c.Stands[i]
		add(feed.Item{Kind: feed.OptOutRecorded, Detail: optOutDetail(o)})
	}
	for i := range c.Ended {
		o := &c.Ended[i]
		same := func(s recipient.OptOut) bool { return s.Event == o.Event && s.Reach == o.Reach }
		if slices.ContainsFunc(c.Stands, same) {
			continue // it stands, and something of it changed
		}
		d := optOutDetail(o)
		if k := slices.IndexFunc(c.Stands, func(s recipient.OptOut) bool { return s.Reach == o.Reach }); k >= 0 {
			d.By = c.Stands[k].Event
		}
		add(feed.Item{Kind: feed.OptOutLifted, Detail: d})
	}
	for i := range c.Opened {
		if r := &c.Opened[i]; r.Event == e.ID {
			add(feed.Item{Kind: feed.ReviewOpened, Detail: feed.Detail{Review: r.Event, Kind: r.Kind, To: r.To}})
		}
	}
	for _, id := range c.Closed {
		add(feed.Item{Kind: feed.ReviewResolved, Detail: feed.Detail{Review: id}})
	}
}

func optOutDetail(o *recipient.OptOut) feed.Detail {
	return feed.Detail{OptOut: o.Event, Scope: o.Reach.Scope, Name: o.Reach.Name, Source: o.Source, Occurred: o.Occurred, Unclear: o.Unclear, To: o.To}
}

// statusDetail says what of an event explains the status that it brought.
func statusDetail(e *event.Event, m *reading.Message) (d feed.Detail) {
	switch x := e.Data.(type) {
	case *event.MessageDecided:
		if x.Outcome == event.Allow {
			return d
		}
		d.Outcome, d.Fault, d.Why, d.Until = x.Outcome, x.Fault, x.Detail, x.Until
		if x.Outcome != event.Hold {
			d.Rules = reading.Refusing(x)
		}
	case *event.HandoffStarted, *event.HandoffAccepted, *event.HandoffInDoubt:
		d.Carrier = m.Carrier()
	case *event.HandoffRefused:
		d.Carrier, d.Code = m.Carrier(), x.Code
	case *event.ReceiptReceived:
		d.Carrier, d.Code, d.Receipt, d.Grade = m.Carrier(), x.Error, x.State, x.Grade
	}
	return d
}
