package proof

import (
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
			if r.Opaque != c.opaque || r.Found != c.found {
				t.Fatalf("%d opaque and %d findings, want %d and %d: %+v", r.Opaque, r.Found, c.opaque, c.found, r.Findings)
			}
		})
	}
}

// An event cannot be hidden by accepting it: it counts, and the acceptance is found.
func TestAcceptedEventCounts(t *testing.T) {
	v := New()
	at := event.Millis(time.UnixMilli(1_795_507_200_000))
	write := func(id string, d event.Data) *event.Event {
		return &event.Event{ID: event.Derive(event.ID{6: 0x70}, id), Source: "/l", Time: at, Node: "n", Data: d}
	}
	raw := func(e *event.Event) []byte {
		b, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := raw(write("good", &event.ControlApplied{Position: 1, Event: event.Derive(event.ID{6: 0x70}, "first")}))
	v.Take(event.ControlPartition, 0, raw(write("first", &event.LedgerCreated{Ledger: "l", Partitions: 2, NumberForms: 1})))
	v.Take(event.ControlPartition, 1, raw(write("accept", &event.RecordAccepted{Position: "00-0", Hash: hashOf(good), Reason: "to hide it", By: "op"})))
	v.Take(0, 0, good)
	if r := v.Finish(); r.Opaque != 0 || r.Codes[AcceptedEvent] != 1 {
		t.Fatalf("%d opaque, %v", r.Opaque, r.Codes)
	}
}
