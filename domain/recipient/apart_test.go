package recipient

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// keeper is a stream that keeps rows, beside views that are some batches behind.
type keeper struct {
	t         testing.TB
	rng       *rand.Rand
	s         *State
	p         PartitionState
	bounds    Bounds
	cut, done uint64
	views     map[RowKey][]byte
	batches   [][]Row
	looks     int
}

// begin looks up what the next events need, as a fold does before a batch.
func (k *keeper) begin(events []*event.Event) {
	for _, e := range events {
		for _, key := range RowsOf(k.s).Lacks(k.p.Time, e) {
			k.looks++
			if err := RowsOf(k.s).Take(key, k.views[key]); err != nil {
				k.t.Fatal(err)
			}
		}
	}
}

func (k *keeper) end() {
	k.cut++
	k.batches = append(k.batches, RowsOf(k.s).Changed(k.cut, k.done))
	raw := k.s.AppendEncoded(nil)
	for range k.rng.IntN(len(k.batches) + 1) {
		for _, r := range k.batches[0] {
			if k.views[r.RowKey] = r.Body; r.Body == nil || k.rng.IntN(2) == 0 && k.p.Time.After(r.Until) { // pruned
				delete(k.views, r.RowKey)
			}
		}
		k.batches = k.batches[1:]
		k.done++
	}
	if len(k.batches) == 0 && k.rng.IntN(2) == 0 { // the stream leaves memory
		var err error
		if k.s, err = Decode(raw); err != nil {
			k.t.Fatal(err)
		}
	}
}

// A stream that keeps rows, and leaves memory in whole or in part, judges each event as one that keeps all in its document.
func TestRowsChangeNothing(t *testing.T) {
	var voids, looks int
	for seed := range uint64(24) {
		rng := rand.New(rand.NewPCG(seed, 7))
		whole := newStream(t)
		whole.p.Level = 2 + rng.IntN(2)
		k := &keeper{t: t, rng: rng, s: New("acme", event.Pseudonym{1}), views: map[RowKey][]byte{},
			bounds: []Bounds{{}, {MostSettled: 3, KeptSettled: 1, MostIDs: 7, KeptIDs: 3}, StandardBounds()}[seed%3]}
		k.p.Level = whole.p.Level
		var all []*event.Event
		for len(all) < 1600 {
			var batch []*event.Event
			for range 1 + rng.IntN(30) {
				batch = append(batch, drawn(rng, seed%2 == 0, whole, all))
				all = append(all, batch[len(batch)-1])
			}
			if len(all) > 300 {
				whole.p.Level, k.p.Level = 3, 3
			}
			k.begin(batch)
			for i, e := range batch {
				index := int64(len(all) - len(batch) + i)
				want := whole.s.Evolve(&whole.p, index, e)
				if got := k.s.Evolve(&k.p, index, e); got != want {
					t.Fatalf("seed %d: event %d (%s) is %q with rows, and %q without", seed, index, e.Data.Type(), got, want)
				}
				if want != "" {
					voids++
				}
				if x, y := k.s.Message(e.MessageID()), whole.s.Message(e.MessageID()); jsonOf(t, x) != jsonOf(t, y) {
					t.Fatalf("seed %d: after event %d the message is\n%s\nand without rows\n%s", seed, index, jsonOf(t, x), jsonOf(t, y))
				}
				if seed%4 != 0 || len(all) > 400 { // else the document is from before there were rows
					RowsOf(k.s).SetApart(k.bounds, func(event.ID) {})
				}
				if k.s.Due() != whole.s.Due() || fmt.Sprint(k.s.OpenReviews()) != fmt.Sprint(whole.s.OpenReviews()) {
					t.Fatalf("seed %d: after event %d something else is due", seed, index)
				}
			}
			sameSent(t, RowsOf(k.s).Sent(), RowsOf(whole.s).Sent())
			k.end()
		}
		for len(k.batches) > 0 {
			k.end()
		}
		var rows []Row
		for key, body := range k.views {
			rows = append(rows, Row{RowKey: key, Body: body})
		}
		if err := RowsOf(k.s).Gather(&k.p, rows); err != nil {
			t.Fatal(err)
		}
		if err := RowsOf(whole.s).Gather(&whole.p, nil); err != nil {
			t.Fatal(err)
		}
		if got, want := jsonOf(t, k.s), whole.json(); got != want {
			t.Fatalf("seed %d: with its rows the stream is\n%s\nand without\n%s", seed, got, want)
		}
		looks += k.looks
	}
	if voids < 1000 || looks < 1000 {
		t.Errorf("%d events were void, and %d rows were looked up", voids, looks)
	}
}

func jsonOf(t testing.TB, x any) string {
	raw, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// sameSent: the last 20 are the same, and so is the program that a person answers.
func sameSent(t testing.TB, got, want []SentMessage) {
	t.Helper()
	last := func(all []SentMessage) (out []string) {
		for _, m := range all[max(0, len(all)-quotes):] {
			out = append(out, fmt.Sprint(m.Index))
		}
		spoken := map[string]bool{}
		for _, m := range slices.Backward(all) {
			if key := m.Program + m.From; !m.Reply && !spoken[key] {
				spoken[key] = true
				out = append(out, fmt.Sprint(key, m.Index))
			}
		}
		return out
	}
	if g, w := last(got), last(want); !slices.Equal(g, w) {
		t.Fatalf("a person may answer %v, and without rows %v", g, w)
	}
}

// drawn is a random event after those that are in whole: often a copy, a late fact of an old message, or an outcome of one.
func drawn(rng *rand.Rand, jumps bool, x *stream, before []*event.Event) *event.Event {
	switch n := rng.IntN(1000); {
	case n < 3 && jumps:
		x.pass(time.Duration(rng.IntN(9*24)) * time.Hour)
	case n < 20 && jumps:
		x.pass(time.Duration(rng.IntN(30)) * time.Hour)
	default:
		x.pass(time.Duration(rng.IntN(20)) * time.Second)
	}
	if len(before) > 0 && rng.IntN(8) == 0 { // a copy, most often of a late one
		back := rng.IntN(len(before))
		if rng.IntN(2) == 0 {
			back = rng.IntN(min(len(before), 600))
		}
		e := *before[len(before)-1-back]
		e.Time = x.now
		return &e
	}
	var m event.ID
	for range 20 {
		if len(before) == 0 {
			break
		}
		if m = before[len(before)-1-rng.IntN(min(len(before), 1+rng.IntN(900)))].MessageID(); !m.IsZero() {
			break
		}
	}
	if m.IsZero() || rng.IntN(5) == 0 {
		d := &event.MessageSubmitted{Program: []string{"news", "codes", "bank"}[rng.IntN(3)], Purpose: []string{"account", "compliance_reply"}[rng.IntN(2)],
			Priority: 5, From: []string{"+1500", "+1501"}[rng.IntN(2)], Country: "US", Segments: 1, ValidUntil: x.now.Add(time.Duration(rng.IntN(72)) * time.Hour)}
		e := x.make(event.ID{}, d)
		if rng.IntN(9) == 0 { // one that a cancel may have named before
			e.ID = event.ID{9, 15: byte(rng.IntN(40))}
		}
		return e
	}
	if rng.IntN(6) == 0 { // one that was sent
		return x.make(x.id(), &event.MessageRecovered{Program: []string{"news", "codes", "bank"}[rng.IntN(3)], Purpose: "account", From: "+1500",
			ValidUntil: x.now.Add(time.Duration(rng.IntN(2)*rng.IntN(300)) * time.Hour), Handoffs: []event.KnownHandoff{{Attempt: 1, Part: 1, Carrier: "c1", CarrierID: "x"}}})
	}
	attempt := 1 + rng.IntN(2)
	d := []event.Data{x.allow(m), route(1), x.start(attempt, 1), accepted(attempt, 1), refused(attempt, 1, rng.IntN(2) == 0), receipt(attempt, 1, "delivered"),
		receipt(attempt, 1, "undeliverable"), &event.CancelRequested{}, &event.MessageExpired{}, &event.ReceiptOverdue{},
		&event.HandoffInDoubt{Attempt: attempt, Parts: []int{1}, Why: "x"}, &event.MessageRecovered{Program: "news", Purpose: "account", From: "+1500", ValidUntil: x.now.Add(time.Hour)},
		inbound("stop", 0), &event.MessageDecided{Outcome: "deny", Until: x.now.Add(time.Hour)}}[rng.IntN(14)]
	if _, in := d.(*event.InboundReceived); in {
		m = event.ID{}
	}
	if _, cancel := d.(*event.CancelRequested); cancel && rng.IntN(3) == 0 {
		m = event.ID{9, 15: byte(rng.IntN(40))}
	}
	return x.make(m, d)
}

// What a person answers is known as long as without rows: also by one message that is valid for long, or of a program that
// texted once.
func TestSentMessagesApart(t *testing.T) {
	for _, c := range []struct {
		program string
		valid   time.Duration
		later   int // how many are known a week later
	}{{"bank", 30 * 24 * time.Hour, 1}, {"news", 30 * 24 * time.Hour, 1}, {"bank", 0, 0}} {
		s := RowsOf(New("acme", event.Pseudonym{1}))
		for i := range int64(40) {
			m := &Message{ID: event.ID{15: byte(i + 1)}, Index: i, Program: "news", From: "+1500", Status: Delivered, Changed: t0, ValidUntil: t0, Attempts: make([]Attempt, 1)}
			if i == 0 {
				m.Program, m.ValidUntil = c.program, t0.Add(c.valid)
			}
			s.add(m)
			s.SetApart(Bounds{}, func(event.ID) {})
		}
		if n := len(s.Apart.Sent); n > 24 {
			t.Errorf("%d are kept", n)
		}
		if all := s.Sent(); all[0].Index != 0 || all[0].Program != c.program {
			t.Errorf("the first message is not known: %+v", all[0])
		}
		s.prune(&PartitionState{Time: t0.Add(8 * 24 * time.Hour)})
		if all := s.Sent(); len(all) != c.later || c.later > 0 && all[0].Index != 0 {
			t.Errorf("a week later, %+v", all)
		}
	}
}
