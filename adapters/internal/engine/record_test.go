package engine

import (
	"bytes"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func mine(n int) *event.Event {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	return &event.Event{ID: event.ID{0, 0, 0, 0, 0, 0, 0x70, 0, 0x80, byte(n)}, Source: "/here", Time: at,
		Data: &event.ControlApplied{Position: int64(n), Event: event.ID{1, 0, 0, 0, 0, 0, 0x70, 0, 0x80}}}
}

// What comes back with the same bytes is the very event that was appended; anything else is
// decoded, and judged.
func TestRecord(t *testing.T) {
	r := &Reader{Source: "/here", Partitions: 4}
	events := []*event.Event{mine(1), mine(2)}
	raws, size, err := Encode(events)
	if err != nil || size != len(raws[0])+len(raws[1]) {
		t.Fatalf("%d bytes, %v", size, err)
	}
	r.Keep(1, events, raws)
	if got := r.Record(1, 7, bytes.Clone(raws[0])); got.Event != events[0] || got.Index != 7 || got.Bad != nil {
		t.Errorf("ours came back as %+v", got)
	}
	if got := r.Record(2, 7, raws[1]); got.Event == events[1] || got.Event == nil {
		t.Errorf("from another partition it came back as %+v", got)
	}
	other := *events[1]
	other.Node = "another"
	theirs, _, err := Encode([]*event.Event{&other})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Record(1, 8, theirs[0]); got.Event == nil || got.Event.Node != "another" {
		t.Errorf("the same id with other bytes came back as %+v", got)
	}
	r.Forget(1, events[1:])
	if got := r.Record(1, 8, raws[1]); got.Event == events[1] {
		t.Error("it was forgotten, and came back undecoded")
	}
	if n, size := r.Kept(); n != 0 || size != 0 {
		t.Errorf("%d events, %d bytes are still kept", n, size)
	}
	if r.Decoded() != 3 {
		t.Errorf("%d were decoded, want 3", r.Decoded())
	}
	decoding := &Reader{Source: "/here", Partitions: 4, Decode: true}
	decoding.Keep(1, events, raws)
	if got := decoding.Record(1, 0, raws[0]); got.Event == events[0] || got.Event == nil {
		t.Errorf("in the mode that decodes it came back as %+v", got)
	}
}

func TestBad(t *testing.T) {
	r := &Reader{Source: "/here", Partitions: 4}
	good, _, err := Encode([]*event.Event{mine(1)})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := mine(2)
	elsewhere.Source = "/there"
	stray := mine(3)
	stray.Subject = event.Pseudonym{1}
	wrong := event.Partition((stray.Subject.Partition(4) + 1) % 4)
	raws, _, err := Encode([]*event.Event{elsewhere, stray})
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"nothing":           nil,
		"no JSON":           []byte("hello"),
		"another spelling":  append(bytes.Clone(good[0]), ' '),
		"another ledger's":  raws[0],
		"another partition": raws[1],
	} {
		got := r.Record(wrong, 3, raw)
		if got.Bad == nil || got.Event != nil || got.Index != 3 || !bytes.Equal(got.Raw, raw) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	copied := &Reader{Partitions: 4}
	if got := copied.Record(wrong, 0, raws[0]); got.Bad != nil {
		t.Errorf("the target of a copy judges the ledger: %v", got.Bad)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, events := range map[string][]*event.Event{"nothing": nil, "too many": make([]*event.Event, ledger.MaxAppend+1),
		"not UTF-8": {{Node: "\xff", Data: &event.ControlApplied{}}}} {
		if _, _, err := Encode(events); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
}

// What is kept is bounded, whatever is never read back.
func TestKeptBound(t *testing.T) {
	r := &Reader{}
	for i := range 2*maxOwn/1000 + 1 {
		events := make([]*event.Event, 1000)
		raws := make([][]byte, 1000)
		for k := range events {
			events[k] = &event.Event{ID: event.ID{byte(i), byte(k), byte(k >> 8), 1}}
			raws[k] = make([]byte, 10)
		}
		r.Keep(3, events, raws)
		if n, _ := r.Kept(); n > maxOwn || len(r.order) > maxOwn {
			t.Fatalf("%d events, %d in order", n, len(r.order))
		}
	}
	r.Keep(3, []*event.Event{{ID: event.ID{255}}}, [][]byte{make([]byte, maxOwnBytes)})
	if n, size := r.Kept(); size > maxOwnBytes || n != 1 {
		t.Errorf("%d bytes of %d events", size, n)
	}
}
