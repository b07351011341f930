package feed

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

// oneStream are the events of one person's stream, by position, and what is sealed in them.
type oneStream struct {
	Views
	vault
	reading.Witness
	events []*event.Event
	void   int // the index of an event that does not count; -1: none
	sealed map[event.ID]any
	erased bool
	shown  []event.DataRead
}

func (p *oneStream) Partitions() int { return 1 }

func (p *oneStream) Read(_ context.Context, _ event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	head := int64(len(p.events))
	if from >= head || most < 1 {
		return nil, head, nil
	}
	return []ledger.Record{{Index: from, Event: p.events[from]}}, head, nil
}

func (p *oneStream) StreamEvent(_ context.Context, tenant string, id event.ID) (reading.StreamEvent, bool, error) {
	for i, e := range p.events {
		if e.ID == id && e.Tenant == tenant {
			x := reading.StreamEvent{ID: id, Position: event.Position{Index: int64(i)}, Tenant: tenant}
			if i == p.void {
				x.Why = "repeat"
			}
			return x, true, nil
		}
	}
	return reading.StreamEvent{}, false, nil
}

func (p *oneStream) Search(context.Context, string, reading.Filter) ([]*reading.Message, error) {
	return nil, nil
}

func (p *oneStream) Open(_ string, id event.ID, _ *event.Sealed) ([]byte, error) {
	if p.erased {
		return nil, ledger.ErrErased
	}
	return json.Marshal(p.sealed[id])
}

func (p *oneStream) DataShown(_ context.Context, _ ledger.Caller, _, _ string, r event.DataRead) error {
	p.shown = append(p.shown, r)
	return nil
}

// What a text of several parts says is told whole, in the order of its parts, whatever order they came in; and the opt-out that the joined
// words are has the person's number.
func TestJoinedText(t *testing.T) {
	part := func(n int) *event.InboundReceivedV2 {
		return &event.InboundReceivedV2{Ask: event.InboundPart, Concat: &event.Concat{Reference: 7, Part: n, Parts: 3}}
	}
	id := func(n byte) event.ID { return event.ID{n} }
	p := &oneStream{void: -1, sealed: map[event.ID]any{
		id(1): event.Inbound{From: "+14155550123", Text: "op "}, id(2): event.Inbound{From: "+14155550123", Text: "please st"}, id(3): event.Inbound{From: "+14155550123", Text: "it now"}}}
	for i, d := range []event.Data{part(2), part(1), part(3), &event.InboundJoined{Parts: []event.ID{id(1), id(2), id(3), id(1)}, Ask: event.InboundStop},
		&event.OptedOut{Source: event.SourceJoined, Answers: id(2), Lifts: []event.ID{id(1), id(3)}}, &event.SuppressionLifted{Source: event.SourceJoined, Lifts: []event.ID{id(3)}}} {
		p.events = append(p.events, &event.Event{ID: id(byte(i + 1)), Tenant: "a", Data: d})
	}
	r := NewReader(Ports{Views: p, Log: p, Vault: p, Witness: p, Epoch: func() control.Epoch { return control.Epoch{Number: 1} }})
	item := func(index int64, k Kind) Item {
		return Item{Place: Place{Position: event.Position{Index: index}}, Kind: k, Tenant: "a", Event: p.events[index].ID, Subject: event.Pseudonym{1}}
	}
	items := []Item{item(3, MessageInbound), item(4, OptOutRecorded), item(5, OptOutLifted)}
	render := func(sight reading.Sight) []Record {
		t.Helper()
		out, err := r.Render(t.Context(), "a", Show{Look: reading.Look{Sight: sight}, Call: "listChanges"}, items)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := render(reading.Sight{Numbers: true, Words: true})
	if d := out[0].Data; d.Words != "please stop it now" || d.Number != "+14155550123" || len(d.Masked) > 0 {
		t.Errorf("%+v", d)
	}
	for _, x := range out[1:] {
		if x.Data.Number != "+14155550123" || x.Data.Words != "" {
			t.Errorf("%s: %+v", x.Type, x.Data)
		}
	}
	if len(p.shown) != 1 || len(p.shown[0].Shown) != 2 || len(p.shown[0].Events) != 3 {
		t.Errorf("%+v", p.shown)
	}
	if d := render(reading.Sight{})[0].Data; d.Words != "" || d.Number != "+1••••••••23" || len(d.Masked) != 2 || len(p.shown) != 1 {
		t.Errorf("%+v", d)
	}
	p.void = 0 // a part that does not count says nothing
	if d := render(reading.Sight{Words: true})[0].Data; d.Words != "please stit now" {
		t.Errorf("%+v", d)
	}
	p.erased = true
	for _, x := range render(reading.Sight{Numbers: true, Words: true}) {
		if x.Data.Number != "" || x.Data.Words != "" || !x.Data.Erased {
			t.Errorf("%s: %+v", x.Type, x.Data)
		}
	}
}
