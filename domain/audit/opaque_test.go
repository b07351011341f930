package audit

import (
	"bytes"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// A record that is no event is found, unless an operator accepted exactly its bytes
// at exactly its position; then it takes a position and changes nothing.
func TestAcceptedRecord(t *testing.T) {
	junk := []byte("not an event")
	accept := func(position, hash string) *event.Event {
		return &event.Event{ID: event.Derive(event.ID{6: 0x70}, position), Source: "/l", Time: event.Millis(time.UnixMilli(1_795_507_200_000)), Node: "n",
			Data: &event.RecordAccepted{Position: position, Hash: hash, Reason: "a tool wrote there", By: "op"}}
	}
	for _, c := range []struct {
		name   string
		accept []*event.Event
		opaque int64
		found  int64
	}{
		{"nobody accepted them", nil, 0, 2},
		{"both accepted", []*event.Event{accept("control-1", hashOf(junk)), accept("01-0", hashOf(junk))}, 2, 0},
		{"another position", []*event.Event{accept("control-1", hashOf(junk)), accept("01-1", hashOf(junk))}, 1, 1},
		{"other bytes", []*event.Event{accept("control-1", hashOf(junk)), accept("01-0", hashOf([]byte("other")))}, 1, 1},
		{"other bytes too", []*event.Event{accept("control-1", hashOf(junk)), accept("01-0", hashOf(junk)), accept("01-0", hashOf([]byte("other")))}, 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := New()
			first := &event.Event{ID: event.Derive(event.ID{6: 0x70}, "first"), Source: "/l", Time: event.Millis(time.UnixMilli(1_795_507_200_000)), Node: "n",
				Data: &event.LedgerCreated{Ledger: "l", Partitions: 2, NumberForms: 1}}
			take := func(i int64, e *event.Event) {
				raw, err := event.Encode(e)
				if err != nil {
					t.Fatal(err)
				}
				v.Take(event.ControlPartition, i, raw)
			}
			take(0, first)
			v.Take(event.ControlPartition, 1, junk)
			for i, e := range c.accept {
				take(int64(i)+2, e)
			}
			v.Take(1, 0, junk)
			r := v.Finish()
			if r.Opaque != c.opaque || r.Total != c.found {
				t.Fatalf("%d opaque and %d findings, want %d and %d: %+v", r.Opaque, r.Total, c.opaque, c.found, r.Findings)
			}
		})
	}
}

// What can be accepted is what no node folds: bytes that the encoder would not write,
// another ledger's event, one that stands in the wrong place. It changes nothing. An
// event cannot be hidden by accepting it: it counts, and outside of control, which is
// read before what it says of itself, the acceptance is found.
func TestAcceptedEvent(t *testing.T) {
	subject := event.NewPseudonym([]byte("k"), "acme", "+12125550100")
	home := event.Partition(subject.Partition(2))
	write := func(source string, d event.Data) []byte {
		t.Helper()
		e := &event.Event{ID: event.Derive(event.ID{6: 0x70}, string(d.Type())), Source: source, Time: event.Millis(time.UnixMilli(1_795_507_200_000)), Node: "n", Data: d}
		if _, ok := d.(*event.OptedOut); ok {
			e.Tenant, e.Subject = "acme", subject
		}
		raw, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	created := &event.LedgerCreated{Ledger: "l", Partitions: 2, NumberForms: 1}
	applied := write("/l", &event.ControlApplied{Position: 1, Event: event.Derive(event.ID{6: 0x70}, string(created.Type()))})
	optedOut := write("/l", &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "phone", By: "x"})
	paused := write("/l", &event.Paused{Reason: "an incident", By: "op"})
	altered := func(raw []byte) []byte { return append(bytes.TrimSuffix(bytes.Clone(raw), []byte("}")), " }"...) }
	for _, c := range []struct {
		name   string
		p      event.Partition
		raw    []byte
		opaque bool
		found  int64
	}{
		{"control that was applied", 0, applied, false, 1},
		{"an opt-out", home, optedOut, false, 1},
		{"a pause", event.ControlPartition, paused, false, 0},
		{"an altered opt-out", home, altered(optedOut), true, 0},
		{"an altered pause", event.ControlPartition, altered(paused), true, 0},
		{"another ledger's opt-out", home, write("/m", &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "phone", By: "x"}), true, 0},
		{"another ledger's pause", event.ControlPartition, write("/m", &event.Paused{Reason: "an incident", By: "op"}), true, 0},
		{"an opt-out in another partition", 1 - home, optedOut, true, 0},
		{"a pause in a recipients' partition", 0, paused, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := New()
			v.Take(event.ControlPartition, 0, write("/l", created))
			at := event.Position{Partition: c.p}
			if c.p == event.ControlPartition {
				at.Index = 1
				v.Take(c.p, 1, c.raw)
			}
			v.Take(event.ControlPartition, at.Index+1, write("/l", &event.RecordAccepted{Position: at.String(), Hash: hashOf(c.raw), Reason: "a tool wrote there", By: "op"}))
			if c.p != event.ControlPartition {
				v.Take(c.p, 0, c.raw)
			}
			pauses := len(v.control.pauses)
			r := v.Finish()
			opaque, effective := int64(0), int64(3)
			if c.opaque {
				opaque, effective = 1, 2
			}
			if r.Opaque != opaque || r.Effective != effective || r.Total != c.found || r.Codes[AcceptedEvent] != c.found {
				t.Errorf("%d opaque, %d effective, %d findings, want %d, %d and %d: %+v", r.Opaque, r.Effective, r.Total, opaque, effective, c.found, r.Findings)
			}
			if counts := c.name == "a pause"; counts != (pauses == 1) {
				t.Errorf("%d pauses", pauses)
			}
		})
	}
}
