package projections_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// The view of every message stands where the fold says, its entries are all of its
// events, and storing it at any moment changes nothing.
func TestApplyRandomLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		w := viewtest.NewWorld(rand.New(rand.NewPCG(seed, 0)).IntN)
		for range rapid.IntRange(1, 300).Draw(t, "events") {
			w.Grow()
		}
		for p := range viewtest.Partitions {
			views := map[event.ID]*reading.Message{}
			entries := map[event.ID][]reading.Entry{}
			for _, step := range w.Steps[p] {
				j := &step.Judged
				if j.Event == nil {
					if m := projections.Apply(nil, event.Partition(p), j); m != nil {
						t.Fatal("a record that is no event made a message")
					}
					continue
				}
				id := j.Event.MessageID()
				if id.IsZero() {
					continue
				}
				was := views[id]
				var settled time.Time
				if was != nil {
					settled = was.Settled
				}
				m := projections.Apply(was, event.Partition(p), j)
				if m == nil {
					continue
				}
				entries[id] = append(entries[id], reading.Entry{Index: j.Index, Why: j.Why})
				if !slices.Equal(m.Events, entries[id]) {
					t.Fatalf("entries %v, not %v", m.Events, entries[id])
				}
				if j.Status != "" && m.Status != j.Status {
					t.Fatalf("%s, not %s", m.Status, j.Status)
				}
				if m.Status != "" && m.Status.Open() != m.Settled.IsZero() || j.Why != "" && j.Status == m.Status && m.Settled != settled {
					t.Fatalf("%s, settled %s", m.Status, m.Settled)
				}
				views[id] = store(t, m)
			}
			for id, m := range viewtest.Model(w, p) {
				if a, b := text(t, m), text(t, views[id]); a != b {
					t.Fatalf("stored after each event:\n%s\nnever stored:\n%s", b, a)
				}
			}
		}
	})
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func store(t fataler, m *reading.Message) *reading.Message {
	t.Helper()
	back, err := projections.ReadMessage(projections.AppendMessage(nil, m))
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func text(t fataler, m *reading.Message) string {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every field that a message has, or ever gets, is stored: all are filled, by
// reflection, each with a value of its own.
func TestEveryFieldIsStored(t *testing.T) {
	n := 0
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		n++
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(time.UnixMilli(1764000000000 + int64(n)).UTC()))
			return
		case v.Type() == reflect.TypeFor[event.Partition]():
			v.SetInt(int64(event.AuditPartition))
			return
		}
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			fill(v.Index(0))
			fill(v.Index(1))
		case reflect.Array:
			for i := range v.Len() {
				fill(v.Index(i))
			}
		case reflect.String:
			v.SetString("text " + time.UnixMilli(int64(n)).String())
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(int64(1)<<40 - int64(n)*1000)
		case reflect.Uint8:
			v.SetUint(uint64(n%255) + 1)
		default:
			t.Fatalf("a field of kind %s: say how it is stored", v.Kind())
		}
	}
	m := new(reading.Message)
	fill(reflect.ValueOf(m).Elem())
	if got := store(t, m); !reflect.DeepEqual(got, m) {
		t.Fatalf("stored\n%s\nread\n%s", text(t, m), text(t, got))
	}
}

// What is damaged, cut short or of another version is refused, or reads as some
// message that is stored again in the same way; it never panics.
func FuzzReadMessage(f *testing.F) {
	w := viewtest.NewWorld(rand.New(rand.NewPCG(1, 0)).IntN)
	for range 300 {
		w.Grow()
	}
	for _, m := range viewtest.Model(w, 0) {
		doc := projections.AppendMessage(nil, m)
		f.Add(doc)
		f.Add(doc[:len(doc)-3])
	}
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, doc []byte) {
		m, err := projections.ReadMessage(doc)
		if err != nil {
			return
		}
		once := projections.AppendMessage(nil, m)
		twice := projections.AppendMessage(nil, store(t, m))
		if !bytes.Equal(once, twice) {
			t.Fatal("a message reads differently the second time")
		}
	})
}

// life applies effective events to one message, one second apart.
type life struct {
	t *testing.T
	m *reading.Message
	n int64
}

var (
	subject = event.Pseudonym{1}
	message = event.ID{7}
)

func (l *life) at(n int64) time.Time { return viewtest.Epoch.Add(time.Duration(n) * time.Second) }

func (l *life) add(status recipient.Status, d event.Data) { l.void("", status, d) }

func (l *life) void(why recipient.Why, status recipient.Status, d event.Data) {
	e := &event.Event{ID: event.ID{8, byte(l.n)}, Tenant: "bank", Subject: subject, Message: message, Time: l.at(l.n), Data: d}
	if _, ok := d.(*event.MessageSubmitted); ok {
		e.ID, e.Message = message, event.ID{}
	}
	l.m = projections.Apply(l.m, 3, &ledger.Judged{Record: ledger.Record{Index: l.n, Event: e}, Why: why, Status: status})
	l.n++
}

// sending is a message of two parts whose first attempt has started.
func sending(t *testing.T) *life {
	l := &life{t: t}
	l.add(recipient.Accepted, &event.MessageSubmitted{Program: "otp", Purpose: "otp", From: "BANK", Segments: 2})
	l.add(recipient.Allowed, &event.MessageDecided{Outcome: "allow"})
	l.add(recipient.Allowed, &event.MessageRouted{Carrier: "alpha", From: "12345", Parts: 2})
	l.add(recipient.Sending, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1}, {Part: 2}}})
	return l
}

func TestWholeLife(t *testing.T) {
	l := sending(t)
	l.add(recipient.Sending, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "alpha", CarrierID: "a1"})
	if !l.m.Sent.IsZero() {
		t.Error("sent with one part of two")
	}
	if open := projections.Handoffs(l.m, nil); len(open) != 1 || open[0].Account != "alpha" || open[0].Ref.CarrierID != "a1" || open[0].Ref.Partition != 3 {
		t.Errorf("open hand-offs %+v", open)
	}
	l.add(recipient.Sending, &event.HandoffRefused{Attempt: 1, Part: 2, Carrier: "alpha", Retry: true, Code: "0x58", Reason: "throttled"})
	if p := l.m.Attempts[0].Parts[1]; p.Status != recipient.PartRetry || p.Code != "0x58" || !p.AnsweredAt.Equal(l.at(5)) {
		t.Errorf("%+v", p)
	}
	l.add(recipient.Allowed, &event.MessageDecided{Outcome: "allow"})
	l.add(recipient.Allowed, &event.MessageRouted{Carrier: "beta", From: "12345", Parts: 2})
	l.add(recipient.Sending, &event.HandoffStarted{Attempt: 2, Parts: []event.StartedPart{{Part: 2}}})
	l.add(recipient.Sent, &event.HandoffAccepted{Attempt: 2, Part: 2, Carrier: "beta", CarrierID: "b1"})
	if !l.m.Sent.Equal(l.at(9)) || l.m.Decisions != 2 || len(l.m.Attempts) != 2 || l.m.Attempts[1].Carrier != "beta" || !l.m.Settled.IsZero() {
		t.Errorf("%+v", l.m)
	}
	l.add(recipient.Sent, &event.ReceiptReceived{Attempt: 1, Part: 1, State: "delivered", Final: true})
	l.add(recipient.Delivered, &event.ReceiptReceived{Attempt: 2, Part: 2, State: "delivered", Final: true, Received: l.at(2)})
	if l.m.Status != recipient.Delivered || !l.m.Settled.Equal(l.at(11)) || !l.m.Accepted.Equal(l.at(0)) || !l.m.Changed.Equal(l.at(11)) {
		t.Errorf("%+v", l.m)
	}
	if p := l.m.Attempts[1].Parts[0]; !p.ReceiptAt.Equal(l.at(2)) {
		t.Errorf("a receipt that waited in the inbox came at %s", p.ReceiptAt)
	}
	if open := projections.Handoffs(l.m, nil); len(open) != 0 {
		t.Errorf("open hand-offs %+v", open)
	}
}

func TestReceiptsMoveForward(t *testing.T) {
	for _, c := range []struct {
		name     string
		receipts []string // "!" marks a final one
		shows    string
		final    bool
	}{
		{"towards the handset", []string{"scheduled", "enroute", "accepted"}, "accepted", false},
		{"never back", []string{"accepted", "enroute", "scheduled"}, "accepted", false},
		{"final over all", []string{"accepted", "undeliverable!"}, "undeliverable", true},
		{"a final one stays", []string{"delivered!", "expired!", "enroute"}, "delivered", true},
		{"whatever it said first", []string{"expired!", "delivered!"}, "expired", true},
		{"not known is something", []string{"unknown"}, "unknown", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := sending(t)
			for _, state := range c.receipts {
				d := &event.ReceiptReceived{CarrierID: "r", Attempt: 1, Part: 1, State: event.MessageState(state)}
				if d.Final = state[len(state)-1] == '!'; d.Final {
					d.State = event.MessageState(state[:len(state)-1])
				}
				l.add(recipient.Sending, d)
			}
			p := l.m.Attempts[0].Parts[0]
			if p.Receipt != event.MessageState(c.shows) || p.Final != c.final || p.Receipts != len(c.receipts) || p.Status != recipient.PartTaken || p.CarrierID != "r" {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestVoidOnlyAddsAnEntry(t *testing.T) {
	l := sending(t)
	before := text(t, l.m)
	for why, d := range map[recipient.Why]event.Data{
		recipient.Overtaken: &event.MessageDecided{Outcome: "deny"},
		recipient.Settled:   &event.HandoffStarted{Attempt: 2, Parts: []event.StartedPart{{Part: 1}}},
		recipient.Late:      &event.MessageRouted{Carrier: "beta"},
		recipient.Repeat:    &event.ReceiptReceived{Attempt: 1, Part: 1, State: "delivered", Final: true},
	} {
		l.void(why, recipient.Sending, d)
	}
	if len(l.m.Events) != 8 {
		t.Fatalf("%d entries", len(l.m.Events))
	}
	l.m.Events, l.m.Changed = l.m.Events[:4], l.at(3)
	if after := text(t, l.m); after != before {
		t.Errorf("a void event changed more:\n%s\n%s", before, after)
	}
}

func TestReceiptBeforeAnswer(t *testing.T) {
	l := sending(t)
	l.add(recipient.Sending, &event.ReceiptReceived{CarrierID: "00a1", Attempt: 1, Part: 1, State: "enroute"})
	l.add(recipient.Sending, &event.HandoffAccepted{Attempt: 1, Part: 1, CarrierID: "a1"})
	l.add(recipient.Sending, &event.HandoffAccepted{Attempt: 1, Part: 1, CarrierID: "another"})
	l.add(recipient.Sending, &event.HandoffRefused{Attempt: 1, Part: 1})
	p := l.m.Attempts[0].Parts[0]
	if p.CarrierID != "a1" || p.Status != recipient.PartTaken || p.Receipt != "enroute" || !p.AnsweredAt.Equal(l.at(5)) {
		t.Errorf("%+v", p)
	}
}

func TestCancelBeforeSubmit(t *testing.T) {
	l := &life{t: t}
	l.add("", &event.CancelRequested{})
	if l.m == nil || l.m.Submitted() {
		t.Fatal("a cancel that came first is not kept, or shows")
	}
	l.add(recipient.Cancelled, &event.MessageSubmitted{Program: "otp"})
	if l.m.Status != recipient.Cancelled || !l.m.CancelRequested.Equal(l.at(0)) || !l.m.Accepted.Equal(l.at(1)) || l.m.Position.Index != 1 || len(l.m.Events) != 2 {
		t.Errorf("%+v", l.m)
	}
	if m := projections.Apply(nil, 3, &ledger.Judged{Record: ledger.Record{Event: &event.Event{Message: message, Data: &event.MessageExpired{}}}, Why: recipient.Settled}); m != nil {
		t.Error("a message that was never submitted has a view")
	}
	other := &event.Event{Message: message, Subject: event.Pseudonym{2}, Time: l.at(9), Data: &event.CancelRequested{}}
	before := text(t, l.m)
	if projections.Apply(l.m, 3, &ledger.Judged{Record: ledger.Record{Event: other}}); text(t, l.m) != before {
		t.Error("another stream's event changed it")
	}
}

// A message without an instant of a check, or a seal of version 2, is written as before, so that a program of
// the version before reads it.
func TestOnlyWhatALevelBroughtNeedsANewLayout(t *testing.T) {
	check := event.Check{Check: "quiet_hours", Outcome: event.Defer}
	for _, x := range []struct {
		until   time.Time
		seal    event.SealVersion
		version byte
	}{{time.Time{}, event.SealV1, 2}, {time.UnixMilli(1_800_000_000_000).UTC(), event.SealV1, 3}, {time.Time{}, event.SealV2, 4},
		{time.UnixMilli(1_800_000_000_000).UTC(), event.SealV2, 4}} {
		check.Until = x.until
		m := &reading.Message{Content: event.Sealed{Version: x.seal, ClassKey: "message/2026-11", Box: []byte("x")}, Decision: &reading.Decision{Data: &event.MessageDecided{Checks: []event.Check{check}}}}
		doc := projections.AppendMessage(nil, m)
		back, err := projections.ReadMessage(doc)
		if err != nil || doc[0] != x.version || !back.Decision.Data.Checks[0].Until.Equal(x.until) || !reflect.DeepEqual(back.Content, m.Content) {
			t.Errorf("version %d for %v and a seal of version %d: %+v, %v", doc[0], x.until, x.seal, back, err)
		}
	}
}

// A part that its carrier took without an id is found by its reference, until its final receipt.
func TestHandoffWithoutID(t *testing.T) {
	l := &life{t: t}
	l.add(recipient.Accepted, &event.MessageSubmitted{Program: "otp", Purpose: "otp", From: "BANK", Segments: 2})
	l.add(recipient.Allowed, &event.MessageDecided{Outcome: "allow"})
	l.add(recipient.Allowed, &event.MessageRouted{Carrier: "alpha", From: "12345", Parts: 2})
	l.add(recipient.Sending, &event.HandoffStarted{Attempt: 1, Reference: 17, Parts: []event.StartedPart{{Part: 1}, {Part: 2}}})
	l.add(recipient.Sending, &event.HandoffInDoubt{Attempt: 1, Parts: []int{1, 2}})
	l.add(recipient.InDoubt, &event.HandoffAccepted{Attempt: 1, Part: 2, Carrier: "alpha"})
	open := func() (keys []string) {
		for _, h := range projections.Handoffs(l.m, nil) {
			keys = append(keys, h.Key)
		}
		return keys
	}
	both := []string{ledger.ReferenceKey(17), ledger.ReferenceKey(18)}
	if got := open(); !slices.Equal(got, both) {
		t.Errorf("found by %q, want %q", got, both)
	}
	l.add(recipient.InDoubt, &event.ReceiptReceived{Attempt: 1, Part: 2, State: "enroute"})
	if got := open(); !slices.Equal(got, both) {
		t.Errorf("after a receipt that is not final found by %q, want %q", got, both)
	}
	l.add(recipient.InDoubt, &event.ReceiptReceived{Attempt: 1, Part: 2, State: "delivered", Final: true})
	if got := open(); !slices.Equal(got, both[:1]) {
		t.Errorf("after the final receipt of the second part found by %q", got)
	}
	l.add(recipient.InDoubt, &event.ReceiptReceived{CarrierID: "00a1", Attempt: 1, Part: 1, State: "enroute"})
	l.add(recipient.Sent, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "alpha"})
	if p := l.m.Attempts[0].Parts[0]; p.CarrierID != "00a1" || p.AnsweredAt.IsZero() {
		t.Errorf("an answer without an id takes the receipt's away: %+v", p)
	}
}
