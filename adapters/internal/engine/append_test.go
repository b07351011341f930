package engine

import (
	"bytes"
	"errors"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Writes of at most four events carry a queue of appends of 3, 3 and 5 events, in order, and
// each append is answered with the index of its first event once its last one is stored.
func TestCut(t *testing.T) {
	var queue []*Append
	var firsts []int64
	var want [][]byte
	for i, n := range []int{3, 3, 5} {
		events := make([]*event.Event, n)
		for k := range events {
			events[k] = mine(10*i + k)
		}
		a, err := NewAppend(1, events, func(a ledger.Appended) { firsts = append(firsts, a.First) })
		if err != nil {
			t.Fatal(err)
		}
		if a.Slot != Slot(1) {
			t.Errorf("slot %d", a.Slot)
		}
		queue, want = append(queue, a), append(want, a.Raws...)
	}
	var got [][]byte
	head := int64(100)
	for writes := 0; len(queue) > 0; writes++ {
		if writes == 3 {
			t.Fatal("11 events are three writes")
		}
		room := 4
		pieces := Cut(queue, func(*event.Event, []byte) bool { room--; return room >= 0 })
		for _, p := range pieces {
			events, raws := p.Events()
			if len(events) != p.Count || len(raws) != p.Count {
				t.Errorf("%d events, %d bytes of %d", len(events), len(raws), p.Count)
			}
			got = append(got, raws...)
			if p.Store(head) {
				queue = queue[1:]
				p.Append.Succeed()
			} else if !p.Append.Started() {
				t.Error("it has started")
			}
			head += int64(p.Count)
		}
	}
	if len(got) != len(want) || !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
		t.Errorf("%d events were written, of %d", len(got), len(want))
	}
	if len(firsts) != 3 || firsts[0] != 100 || firsts[1] != 103 || firsts[2] != 106 {
		t.Errorf("first indexes %v", firsts)
	}
}

// An append of which a piece is stored cannot be refused.
func TestFail(t *testing.T) {
	var answer ledger.Appended
	a, err := NewAppend(1, []*event.Event{mine(1), mine(2)}, func(a ledger.Appended) { answer = a })
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("no broker")
	if a.Fail(ledger.ErrRefused, cause); !errors.Is(answer.Err, ledger.ErrRefused) || !errors.Is(answer.Err, cause) {
		t.Errorf("not started: %v", answer.Err)
	}
	if (Piece{a, 1}).Store(7) {
		t.Error("one of two events is not the whole")
	}
	if a.Fail(ledger.ErrRefused, cause); !errors.Is(answer.Err, ledger.ErrUnknown) || errors.Is(answer.Err, ledger.ErrRefused) {
		t.Errorf("started: %v", answer.Err)
	}
}

// The record of an own event is that event, and of an own record that is no event it says so.
func TestOwn(t *testing.T) {
	e := mine(1)
	if r := Own(7, e, []byte("raw")); r.Event != e || r.Index != 7 || r.Bad != nil || string(r.Raw) != "raw" {
		t.Errorf("%+v", r)
	}
	if r := Own(8, &event.Event{Data: &event.Opaque{Raw: []byte("x")}}, []byte("x")); r.Event != nil || r.Bad == nil || r.Index != 8 {
		t.Errorf("%+v", r)
	}
}

// The bytes of an append are those of its events, each with no room to grow into the next, and are not changed by what
// is encoded later.
func TestEncode(t *testing.T) {
	var all, want [][]byte
	for n := 1; n < 200; n = n*2 + 1 {
		events := make([]*event.Event, n)
		for i := range events {
			events[i] = mine(1000*n + i)
			raw, err := event.Encode(events[i])
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, raw)
		}
		raws, size, err := Encode(events)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range raws {
			if size -= len(raw); cap(raw) != len(raw) {
				t.Errorf("%d bytes have room for %d", len(raw), cap(raw))
			}
		}
		if size != 0 {
			t.Errorf("%d bytes are missing", size)
		}
		all = append(all, raws...)
	}
	for i := range all {
		if !bytes.Equal(all[i], want[i]) {
			t.Errorf("%s, want %s", all[i], want[i])
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	b.ReportAllocs()
	events := []*event.Event{mine(1)}
	for b.Loop() {
		if _, _, err := Encode(events); err != nil {
			b.Fatal(err)
		}
	}
}
