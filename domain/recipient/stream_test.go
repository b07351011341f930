package recipient

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// stream drives one stream by hand: each method appends one event and answers why
// it is void.
type stream struct {
	t     testing.TB
	p     PartitionState
	s     *State
	now   time.Time
	index int64
	ids   uint64
	log   []*event.Event
}

func newStream(t testing.TB) *stream {
	return &stream{t: t, s: New("acme", event.Pseudonym{1}), now: t0}
}

func (x *stream) id() event.ID {
	x.ids++
	return event.ID{0: 1, 6: 0x70, 8: 0x80, 14: byte(x.ids >> 8), 15: byte(x.ids)}
}

func (x *stream) make(m event.ID, d event.Data) *event.Event {
	e := &event.Event{ID: x.id(), Subject: x.s.Subject, Time: x.now, Tenant: "acme", Message: m, Data: d}
	if d.Type().Kind() == event.Outcome {
		e.After, e.Control = x.s.Last, x.p.Control
	}
	return e
}

func (x *stream) put(e *event.Event) Why {
	x.log = append(x.log, e)
	x.index++
	if _, ok := e.Data.(*event.ControlApplied); ok {
		return x.p.Apply(e)
	}
	return x.s.Evolve(&x.p, x.index-1, e)
}

func (x *stream) add(m event.ID, d event.Data) Why { return x.put(x.make(m, d)) }

// must appends an event that has to be effective.
func (x *stream) must(m event.ID, d event.Data) event.ID {
	x.t.Helper()
	e := x.make(m, d)
	if why := x.put(e); why != "" {
		x.t.Fatalf("%s is void: %s", d.Type(), why)
	}
	return e.ID
}

func (x *stream) pass(d time.Duration) { x.now = x.now.Add(d) }

func (x *stream) submit(f func(*event.MessageSubmitted)) event.ID {
	d := &event.MessageSubmitted{Program: "news", Purpose: "account", Priority: 5, From: "+1500", Country: "US", Segments: 1, ValidUntil: x.now.Add(24 * time.Hour)}
	if f != nil {
		f(d)
	}
	return x.must(event.ID{}, d)
}

func (x *stream) allow(m event.ID) *event.MessageDecided {
	return &event.MessageDecided{Outcome: "allow", Until: x.now.Add(time.Hour), Senders: []string{"+1500"}}
}

func route(parts int) *event.MessageRouted {
	return &event.MessageRouted{Rule: "r", Carrier: "c1", From: "+1500", Parts: parts}
}

func (x *stream) start(attempt int, parts ...int) *event.HandoffStarted {
	d := &event.HandoffStarted{Attempt: attempt, CallBy: x.now.Add(5 * time.Second), AnswerBy: x.now.Add(15 * time.Second), Reference: 16}
	for _, n := range parts {
		d.Parts = append(d.Parts, event.StartedPart{Part: n, Digest: "d"})
	}
	return d
}

// send takes a message to its first attempt.
func (x *stream) send(m event.ID, parts int) {
	x.t.Helper()
	all := make([]int, parts)
	for i := range all {
		all[i] = i + 1
	}
	x.must(m, x.allow(m))
	x.must(m, route(parts))
	x.must(m, x.start(1, all...))
}

func (x *stream) again(m event.ID, attempt, of int, duplicate bool, parts ...int) Why {
	x.t.Helper()
	x.must(m, x.allow(m))
	x.must(m, route(of))
	d := x.start(attempt, parts...)
	d.Duplicate = duplicate
	return x.add(m, d)
}

func (x *stream) doubt(m event.ID, attempt int, parts ...int) Why {
	x.now = x.now.Add(17 * time.Second)
	return x.add(m, &event.HandoffInDoubt{Attempt: attempt, Parts: parts, Why: "x"})
}

func (x *stream) status(m event.ID, want Status) {
	x.t.Helper()
	if got := x.s.Message(m); got == nil || got.Status != want {
		x.t.Fatalf("after %s the message is %+v, not %s", x.log[len(x.log)-1].Data.Type(), got, want)
	}
}

func (x *stream) allowStands(m event.ID) bool {
	r := Standard()
	return r.allowStands(x.s, &x.p, x.s.Message(m))
}

func (x *stream) json() string {
	raw, err := json.Marshal(x.s)
	if err != nil {
		x.t.Fatal(err)
	}
	return string(raw)
}

func accepted(attempt, part int) event.Data {
	return &event.HandoffAccepted{Attempt: attempt, Part: part, Carrier: "c1", CarrierID: fmt.Sprint(attempt, part)}
}

func refused(attempt, part int, retry bool) event.Data {
	return &event.HandoffRefused{Attempt: attempt, Part: part, Carrier: "c1", Retry: retry}
}

func receipt(attempt, part int, state event.MessageState) event.Data {
	return &event.ReceiptReceived{Account: "c1", CarrierID: "x", Attempt: attempt, Part: part, State: state, Final: state != "enroute" && state != "accepted"}
}

func prefers(d *event.MessageSubmitted) { d.PrefersDuplicate = true }

func inbound(ask event.InboundAsk, read int64) *event.InboundReceived {
	d := &event.InboundReceived{Account: "c1", To: "+1500", Ask: ask, Program: "news", Read: read, Sealed: event.Sealed{SubjectKey: event.ID{7}}}
	if ask == "stop" {
		d.Revokes = &event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}
	}
	if ask == "start" {
		d.MayLift = []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme"}, {Scope: event.ScopeSender, Name: "+1500"}, {Scope: event.ScopeProgram, Name: "news"}}
	}
	return d
}

func piece(ref, part, parts int) *event.InboundReceived {
	d := inbound("part", 0)
	d.Concat = &event.Concat{Reference: ref, Part: part, Parts: parts}
	d.Holds = &event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}
	return d
}
