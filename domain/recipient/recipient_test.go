package recipient

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
)

var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// stream drives one stream by hand: each method appends one event and answers why
// it is void.
type stream struct {
	t     testing.TB
	p     Partition
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

func (x *stream) status(m event.ID, want Status) {
	x.t.Helper()
	if got := x.s.Message(m); got == nil || got.Status != want {
		x.t.Fatalf("after %s the message is %+v, not %s", x.log[len(x.log)-1].Data.Type(), got, want)
	}
}

func accepted(attempt, part int) event.Data {
	return &event.HandoffAccepted{Attempt: attempt, Part: part, Carrier: "c1", CarrierID: fmt.Sprint(attempt, part)}
}

func refused(attempt, part int, retry bool) event.Data {
	return &event.HandoffRefused{Attempt: attempt, Part: part, Carrier: "c1", Retry: retry}
}

func receipt(attempt, part int, state string) event.Data {
	return &event.ReceiptReceived{Account: "c1", CarrierID: "x", Attempt: attempt, Part: part, State: state, Final: state != "enroute" && state != "accepted"}
}

func (x *stream) doubt(m event.ID, attempt int, parts ...int) Why {
	x.now = x.now.Add(17 * time.Second)
	return x.add(m, &event.HandoffInDoubt{Attempt: attempt, Parts: parts, Why: "x"})
}

func prefers(d *event.MessageSubmitted) { d.PrefersDuplicate = true }

// Every transition of the state diagram: what leads from where to where.
func TestTransitions(t *testing.T) {
	for name, f := range map[string]struct {
		want Status
		run  func(x *stream) event.ID
	}{
		"submitted": {Accepted, func(x *stream) event.ID { return x.submit(nil) }},
		"for later": {Scheduled, func(x *stream) event.ID {
			return x.submit(func(d *event.MessageSubmitted) { d.SendAt = x.now.Add(time.Hour) })
		}},
		"send_at has come": {Accepted, func(x *stream) event.ID {
			return x.submit(func(d *event.MessageSubmitted) { d.SendAt = x.now })
		}},
		"denied": {Denied, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "deny"})
			return m
		}},
		"deferred": {Deferred, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "defer", Until: x.now.Add(time.Hour)})
			return m
		}},
		"held": {Held, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "hold", Fault: "policy", Until: x.now.Add(time.Second)})
			return m
		}},
		"an outcome from a later version holds": {Held, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "perhaps"})
			return m
		}},
		"allowed": {Allowed, func(x *stream) event.ID { m := x.submit(nil); x.must(m, x.allow(m)); return m }},
		"held, then allowed": {Allowed, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "hold", Fault: "policy"})
			x.must(m, x.allow(m))
			return m
		}},
		"routed":  {Allowed, func(x *stream) event.ID { m := x.submit(nil); x.must(m, x.allow(m)); x.must(m, route(1)); return m }},
		"sending": {Sending, func(x *stream) event.ID { m := x.submit(nil); x.send(m, 1); return m }},
		"one part of two": {Sending, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 2)
			x.must(m, accepted(1, 2))
			return m
		}},
		"sent": {Sent, func(x *stream) event.ID { m := x.submit(nil); x.send(m, 1); x.must(m, accepted(1, 1)); return m }},
		"refused for good": {Failed, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, refused(1, 1, false))
			return m
		}},
		"refused with retry": {Accepted, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, refused(1, 1, true))
			return m
		}},
		"in doubt": {InDoubt, func(x *stream) event.ID { m := x.submit(nil); x.send(m, 1); x.doubt(m, 1, 1); return m }},
		"in doubt, a duplicate preferred": {Accepted, func(x *stream) event.ID {
			m := x.submit(prefers)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			return m
		}},
		"in doubt, answered late": {Sent, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			x.must(m, accepted(1, 1))
			return m
		}},
		"in doubt, refused late": {Accepted, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			x.must(m, refused(1, 1, true))
			return m
		}},
		"in doubt, settled by a receipt": {Delivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			x.must(m, receipt(1, 1, "delivered"))
			return m
		}},
		"one part taken, one in doubt": {InDoubt, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 2)
			x.must(m, accepted(1, 1))
			x.doubt(m, 1, 2)
			return m
		}},
		"one part in doubt, one refused for good": {Failed, func(x *stream) event.ID {
			m := x.submit(prefers)
			x.send(m, 2)
			x.must(m, refused(1, 1, false))
			x.doubt(m, 1, 2)
			return m
		}},
		"delivered": {Delivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			x.must(m, receipt(1, 1, "delivered"))
			return m
		}},
		"delivered before the answer": {Delivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, receipt(1, 1, "delivered"))
			x.must(m, accepted(1, 1))
			return m
		}},
		"delivered, and refused afterwards": {Delivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, receipt(1, 1, "delivered"))
			x.must(m, refused(1, 1, true))
			return m
		}},
		"undelivered": {Undelivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, receipt(1, 1, "undeliverable"))
			return m
		}},
		"rejected": {Rejected, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, receipt(1, 1, "rejected"))
			return m
		}},
		"expired at the carrier": {Expired, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, receipt(1, 1, "expired"))
			return m
		}},
		"partially": {PartiallyDelivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 2)
			x.must(m, receipt(1, 2, "delivered"))
			x.must(m, receipt(1, 1, "undeliverable"))
			return m
		}},
		"one of two receipts": {Sent, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 2)
			x.must(m, accepted(1, 1))
			x.must(m, accepted(1, 2))
			x.must(m, receipt(1, 2, "delivered"))
			return m
		}},
		"an intermediate receipt": {Sent, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, receipt(1, 1, "enroute"))
			return m
		}},
		"out of order": {Delivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, receipt(1, 1, "delivered"))
			x.must(m, receipt(1, 1, "enroute"))
			return m
		}},
		"contradicted": {Delivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, receipt(1, 1, "delivered"))
			x.must(m, receipt(1, 1, "undeliverable"))
			x.must(m, receipt(1, 1, "delivered"))
			return m
		}},
		"a receipt for no part of it": {Sending, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			for _, r := range []event.Data{receipt(2, 1, "delivered"), receipt(1, 2, "delivered"), receipt(0, 0, "delivered")} {
				x.must(m, r)
			}
			return m
		}},
		"overdue": {Unconfirmed, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			x.pass(receiptWait)
			x.must(m, &event.ReceiptOverdue{})
			return m
		}},
		"overdue, then delivered": {Delivered, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			x.pass(receiptWait)
			x.must(m, &event.ReceiptOverdue{})
			x.must(m, receipt(1, 1, "delivered"))
			return m
		}},
		"overdue, then an intermediate receipt": {Unconfirmed, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			x.pass(receiptWait)
			x.must(m, &event.ReceiptOverdue{})
			x.must(m, receipt(1, 1, "enroute"))
			return m
		}},
		"expired": {ExpiredUnsent, func(x *stream) event.ID {
			m := x.submit(nil)
			x.pass(24 * time.Hour)
			x.must(m, &event.MessageExpired{})
			return m
		}},
		"expired with one part taken": {Failed, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 2)
			x.must(m, accepted(1, 1))
			x.must(m, refused(1, 2, true))
			x.status(m, Accepted)
			x.pass(24 * time.Hour)
			x.must(m, &event.MessageExpired{})
			return m
		}},
		"expired with one part in doubt": {InDoubt, func(x *stream) event.ID {
			m := x.submit(prefers)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			x.pass(24 * time.Hour)
			x.must(m, &event.MessageExpired{})
			return m
		}},
		"cancelled": {Cancelled, func(x *stream) event.ID { m := x.submit(nil); x.must(m, &event.CancelRequested{}); return m }},
		"cancelled while allowed": {Cancelled, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, x.allow(m))
			x.must(m, &event.CancelRequested{})
			return m
		}},
		"cancelled too late, then refused with retry": {Cancelled, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, &event.CancelRequested{})
			x.status(m, Sending)
			x.must(m, refused(1, 1, true))
			return m
		}},
		"cancelled too late, then in doubt": {InDoubt, func(x *stream) event.ID {
			m := x.submit(prefers)
			x.send(m, 1)
			x.must(m, &event.CancelRequested{})
			x.doubt(m, 1, 1)
			return m
		}},
		"cancelled too late, then taken": {Sent, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, &event.CancelRequested{})
			x.must(m, accepted(1, 1))
			return m
		}},
		"cancelled in doubt, refused late": {Cancelled, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			x.must(m, &event.CancelRequested{})
			x.must(m, refused(1, 1, true))
			return m
		}},
		"cancelled between attempts": {Cancelled, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, refused(1, 1, true))
			x.must(m, &event.CancelRequested{})
			return m
		}},
		"cancelled between attempts, taken after all": {Sent, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, refused(1, 1, true))
			x.must(m, &event.CancelRequested{})
			x.must(m, accepted(1, 1))
			return m
		}},
		"cancelled when sent": {Sent, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			last := x.s.Last
			x.must(m, &event.CancelRequested{})
			if x.s.Last != last {
				x.t.Error("a cancel that changes nothing counts")
			}
			return m
		}},
		"cancelled before its submit": {Cancelled, func(x *stream) event.ID {
			m := &event.Event{ID: event.ID{9}, Subject: x.s.Subject, Time: x.now, Data: &event.MessageSubmitted{ValidUntil: x.now.Add(time.Hour)}}
			x.must(m.ID, &event.CancelRequested{})
			x.put(m)
			if len(x.s.Cancels) != 0 {
				x.t.Error("a cancel that was answered is kept")
			}
			return m.ID
		}},
		"given up": {Failed, func(x *stream) event.ID {
			m := x.submit(nil)
			x.send(m, 1)
			x.must(m, refused(1, 1, true))
			for n := 2; n <= maxAttempts; n++ {
				if why := x.again(m, n, 1, false, 1); why != "" {
					x.t.Fatal(why)
				}
				x.must(m, refused(n, 1, true))
			}
			return m
		}},
		"given up in doubt": {InDoubt, func(x *stream) event.ID {
			m := x.submit(prefers)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			for n := 2; n <= maxAttempts; n++ {
				if why := x.again(m, n, 1, true, 1); why != "" {
					x.t.Fatal(why)
				}
				x.must(m, refused(n, 1, true))
			}
			return m
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream(t)
			m := f.run(x)
			x.status(m, f.want)
		})
	}
}

// Every reason for which an event is void.
func TestVoid(t *testing.T) {
	optOut := &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}}
	for name, f := range map[string]struct {
		want Why
		run  func(x *stream, m event.ID) Why
	}{
		"a copy of a fact":   {Repeat, func(x *stream, m event.ID) Why { return x.put(x.log[0]) }},
		"a copy of a cancel": {Repeat, func(x *stream, m event.ID) Why { x.must(m, &event.CancelRequested{}); return x.put(x.log[1]) }},
		"a copy of the last outcome": {Repeat, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			return x.put(x.log[1])
		}},
		"a copy of an outcome from before": {Overtaken, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			return x.put(x.log[1])
		}},
		"a copy of a submit, long after": {Repeat, func(x *stream, m event.ID) Why {
			x.pass(2 * RepeatWindow)
			x.must(event.ID{}, optOut)
			return x.put(x.log[0])
		}},
		"decided before an opt-out": {Overtaken, func(x *stream, m event.ID) Why {
			d := x.make(m, x.allow(m))
			x.must(event.ID{}, optOut)
			return x.put(d)
		}},
		"started before a lift": {Overtaken, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.make(m, x.start(1, 1))
			x.must(event.ID{}, &event.SuppressionLifted{})
			return x.put(d)
		}},
		"decided under other control": {Overtaken, func(x *stream, m event.ID) Why {
			d := x.make(m, x.allow(m))
			x.must(event.ID{}, &event.ControlApplied{Position: 3})
			return x.put(d)
		}},
		"older control": {Overtaken, func(x *stream, m event.ID) Why {
			x.must(event.ID{}, &event.ControlApplied{Position: 3})
			return x.add(event.ID{}, &event.ControlApplied{Position: 2})
		}},
		"the same control": {Overtaken, func(x *stream, m event.ID) Why {
			x.must(event.ID{}, &event.ControlApplied{Position: 3})
			return x.add(event.ID{}, &event.ControlApplied{Position: 3})
		}},
		"about no message":        {Settled, func(x *stream, m event.ID) Why { return x.add(event.ID{5}, x.allow(m)) }},
		"decided twice":           {Settled, func(x *stream, m event.ID) Why { x.must(m, x.allow(m)); return x.add(m, x.allow(m)) }},
		"decided when cancelled":  {Settled, func(x *stream, m event.ID) Why { x.must(m, &event.CancelRequested{}); return x.add(m, x.allow(m)) }},
		"decided while sending":   {Settled, func(x *stream, m event.ID) Why { x.send(m, 1); return x.add(m, x.allow(m)) }},
		"routed without an allow": {Settled, func(x *stream, m event.ID) Why { return x.add(m, route(1)) }},
		"routed after an allow that an opt-out took back": {Settled, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(event.ID{}, optOut)
			return x.add(m, route(1))
		}},
		"routed after an allow that control took back": {Settled, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(event.ID{}, &event.ControlApplied{Position: 3})
			return x.add(m, route(1))
		}},
		"routed for another sender": {Settled, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			d := route(1)
			d.From = "+1999"
			return x.add(m, d)
		}},
		"started without a route": {Settled, func(x *stream, m event.ID) Why { x.must(m, x.allow(m)); return x.add(m, x.start(1, 1)) }},
		"started twice":           {Settled, func(x *stream, m event.ID) Why { x.send(m, 1); return x.add(m, x.start(2, 1)) }},
		"the wrong attempt": {Settled, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			return x.add(m, x.start(2, 1))
		}},
		"too few parts": {Settled, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(2))
			return x.add(m, x.start(1, 1))
		}},
		"a part without a digest": {Settled, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			d.Parts[0].Digest = ""
			return x.add(m, d)
		}},
		"a duplicate of nothing": {Settled, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			d.Duplicate = true
			return x.add(m, d)
		}},
		"in doubt after the answer": {Settled, func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			return x.doubt(m, 1, 1)
		}},
		"in doubt too early": {Settled, func(x *stream, m event.ID) Why {
			x.send(m, 1)
			return x.add(m, &event.HandoffInDoubt{Attempt: 1, Parts: []int{1}})
		}},
		"in doubt, but for one part": {Settled, func(x *stream, m event.ID) Why {
			x.send(m, 2)
			x.must(m, accepted(1, 1))
			return x.doubt(m, 1, 1, 2)
		}},
		"expired too early": {Settled, func(x *stream, m event.ID) Why { return x.add(m, &event.MessageExpired{}) }},
		"expired when sent": {Settled, func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.pass(25 * time.Hour)
			return x.add(m, &event.MessageExpired{})
		}},
		"overdue too early": {Settled, func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			return x.add(m, &event.ReceiptOverdue{})
		}},
		"overdue when never sent": {Settled, func(x *stream, m event.ID) Why { x.pass(receiptWait); return x.add(m, &event.ReceiptOverdue{}) }},
		"decided before send_at": {Settled, func(x *stream, _ event.ID) Why {
			m := x.submit(func(d *event.MessageSubmitted) { d.SendAt = x.now.Add(time.Minute) })
			return x.add(m, x.allow(m))
		}},
		"decided past its validity": {Late, func(x *stream, m event.ID) Why {
			x.pass(24 * time.Hour)
			return x.add(m, &event.MessageDecided{Outcome: "deny"})
		}},
		"an allow that had run out": {Late, func(x *stream, m event.ID) Why {
			d := x.allow(m)
			d.Until = x.now
			return x.add(m, d)
		}},
		"an allow past the validity": {Late, func(x *stream, m event.ID) Why {
			d := x.allow(m)
			d.Until = x.now.Add(25 * time.Hour)
			return x.add(m, d)
		}},
		"routed when the allow had run out": {Late, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.pass(time.Hour)
			return x.add(m, route(1))
		}},
		"started past call_by": {Late, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			x.pass(5 * time.Second)
			return x.add(m, d)
		}},
		"call_by past the allow": {Late, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			d.CallBy = x.now.Add(time.Hour + time.Millisecond)
			d.AnswerBy = d.CallBy.Add(time.Second)
			return x.add(m, d)
		}},
		"answer_by not past call_by": {Late, func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			d.AnswerBy = d.CallBy
			return x.add(m, d)
		}},
		"after a cancel that came too late": {Overtaken, func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.must(m, refused(1, 1, true))
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.make(m, x.start(2, 1))
			x.must(m, &event.CancelRequested{})
			return x.put(d)
		}},
		"an attempt after one in doubt": {Settled, func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.doubt(m, 1, 1)
			return x.add(m, x.allow(m))
		}},
		"a part sent again that was taken meanwhile": {Settled, func(x *stream, _ event.ID) Why {
			m := x.submit(prefers)
			x.send(m, 2)
			x.doubt(m, 1, 1, 2)
			x.must(m, x.allow(m))
			x.must(m, route(2))
			d := x.start(2, 1, 2)
			d.Duplicate = true
			e := x.make(m, d)
			x.must(m, accepted(1, 1)) // late
			return x.put(e)
		}},
		"another number of parts than was taken": {Settled, func(x *stream, m event.ID) Why {
			x.send(m, 2)
			x.must(m, accepted(1, 1))
			x.must(m, refused(1, 2, true))
			x.must(m, x.allow(m))
			return x.add(m, route(3))
		}},
		"a duplicate that does not say so": {Settled, func(x *stream, _ event.ID) Why {
			m := x.submit(prefers)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			return x.again(m, 2, 1, false, 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream(t)
			m := x.submit(nil)
			if why := f.run(x, m); why != f.want {
				t.Errorf("it is void as %q, not %q", why, f.want)
			}
		})
	}
}

// A void event changes nothing but the time.
func TestVoidChangesNothing(t *testing.T) {
	x := newStream(t)
	m := x.submit(nil)
	x.must(m, x.allow(m))
	before := x.json()
	for _, d := range []event.Data{x.allow(m), x.start(1, 1), &event.MessageExpired{}, &event.ReceiptOverdue{}, &event.HandoffInDoubt{Attempt: 1, Parts: []int{1}}} {
		if x.add(m, d) == "" {
			t.Fatalf("%s is effective", d.Type())
		}
		if x.json() != before {
			t.Fatalf("a void %s changed the stream:\n%s\n%s", d.Type(), before, x.json())
		}
	}
}

func (x *stream) json() string {
	raw, err := json.Marshal(x.s)
	if err != nil {
		x.t.Fatal(err)
	}
	return string(raw)
}

func TestRetries(t *testing.T) {
	x := newStream(t)
	m := x.submit(prefers)
	x.send(m, 3)
	x.must(m, accepted(1, 1))
	x.must(m, refused(1, 2, true))
	x.doubt(m, 1, 3)
	x.status(m, Accepted)
	parts, doubt := x.s.Message(m).Sendable()
	if !slices.Equal(parts, []int{2, 3}) || !doubt {
		t.Fatalf("to be sent again: %v, in doubt: %v", parts, doubt)
	}
	if due := x.s.Message(m).Due; !due.Equal(x.now.Add(time.Second)) {
		t.Errorf("due at %s, a second after %s", due, x.now)
	}
	if why := x.again(m, 2, 3, true, 2, 3); why != "" {
		t.Fatal(why)
	}
	x.must(m, accepted(1, 3)) // the first attempt's, late
	x.must(m, accepted(2, 2))
	x.status(m, Sent) // the second attempt's answer for part 3 does not matter any more
	x.must(m, refused(2, 3, true))
	x.status(m, Sent)
	for n, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: 64 * time.Second, 10: 512 * time.Second, 11: 15 * time.Minute, 100: 15 * time.Minute} {
		if got := backoff(n); got != want {
			t.Errorf("after %d attempts it waits %s, not %s", n, got, want)
		}
	}
}

func inbound(ask string, read int64) *event.InboundReceived {
	d := &event.InboundReceived{Account: "c1", To: "+1500", Ask: ask, Program: "news", Read: read, Sealed: event.Sealed{SubjectKey: event.ID{7}}}
	if ask == "stop" {
		d.Revokes = &event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}
	}
	if ask == "start" {
		d.MayLift = []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme"}, {Scope: event.ScopeSender, Name: "+1500"}, {Scope: event.ScopeProgram, Name: "news"}}
	}
	return d
}

func TestStart(t *testing.T) {
	for name, f := range map[string]struct {
		lifts int
		run   func(x *stream)
	}{
		"after a STOP": {1, func(x *stream) {
			x.must(event.ID{}, inbound("stop", 0))
			x.must(event.ID{}, inbound("start", x.index))
		}},
		"its bytes came before a STOP": {0, func(x *stream) {
			x.must(event.ID{}, inbound("stop", 0))
			read := x.index
			x.must(event.ID{}, inbound("stop", 0))
			x.must(event.ID{}, inbound("start", read))
		}},
		"before any": {0, func(x *stream) { x.must(event.ID{}, inbound("start", 0)) }},
		"an officer's, for the whole tenant": {0, func(x *stream) {
			x.must(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}})
			x.must(event.ID{}, inbound("start", x.index))
		}},
		"another legal entity's, another sender's, another program's": {0, func(x *stream) {
			for _, r := range []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Collections"}, {Scope: event.ScopeSender, Name: "+1600"}, {Scope: event.ScopeProgram, Name: "loans"}} {
				x.must(event.ID{}, &event.OptedOut{Reach: r})
			}
			x.must(event.ID{}, inbound("start", x.index))
		}},
		"to a number that nobody is known to own": {0, func(x *stream) {
			x.must(event.ID{}, inbound("stop", 0))
			d := inbound("start", x.index)
			d.MayLift = nil
			x.must(event.ID{}, d)
		}},
		"its sender's and its program's": {2, func(x *stream) {
			x.must(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeSender, Name: "+1500"}})
			x.must(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeProgram, Name: "news"}})
			x.must(event.ID{}, inbound("start", x.index))
		}},
		"one of two": {1, func(x *stream) {
			x.must(event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}})
			x.must(event.ID{}, inbound("stop", 0))
			x.must(event.ID{}, inbound("start", x.index))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream(t)
			f.run(x)
			stood := len(x.s.OptOuts)
			var lift *Ask
			for i := range x.s.Asks {
				if x.s.Asks[i].Kind == AskLift {
					lift = &x.s.Asks[i]
				}
			}
			if (lift != nil) != (f.lifts > 0) || lift != nil && len(lift.Lifts) != f.lifts {
				t.Fatalf("it asks for %+v", lift)
			}
			if lift == nil {
				return
			}
			late := x.must(event.ID{}, inbound("stop", 0)) // after the START: it is not named
			x.must(event.ID{}, &event.SuppressionLifted{Lifts: lift.Lifts, Answers: lift.Inbound})
			if len(x.s.OptOuts) != stood-f.lifts+1 || !slices.ContainsFunc(x.s.OptOuts, func(o OptOut) bool { return o.Event == late }) {
				t.Errorf("after the lift there stand %+v", x.s.OptOuts)
			}
			if slices.ContainsFunc(x.s.Asks, func(a Ask) bool { return a.Kind == AskLift }) {
				t.Error("an ask that was answered is kept")
			}
		})
	}
}

func TestConfirmation(t *testing.T) {
	x := newStream(t)
	x.must(event.ID{}, inbound("stop", 0))
	if len(x.s.Asks) != 0 {
		t.Error("somebody who was never texted is texted")
	}
	x.must(event.ID{}, &event.SuppressionLifted{Lifts: []event.ID{x.log[0].ID}})
	m := x.submit(nil)
	x.send(m, 1)
	stop := x.must(event.ID{}, inbound("stop", 0))
	x.must(event.ID{}, inbound("stop", 0)) // repeated: no second confirmation
	unclear := inbound("stop", 0)
	unclear.Unclear = true
	x.must(event.ID{}, unclear)
	unknown := inbound("stop", 0)
	unknown.Program, unknown.Revokes = "", &event.Reach{Scope: event.ScopeProgram, Name: "other"}
	x.must(event.ID{}, unknown)
	if len(x.s.Asks) != 1 || x.s.Asks[0].Inbound != stop || x.s.Asks[0].Kind != AskConfirm {
		t.Fatalf("asks: %+v", x.s.Asks)
	}
	reply := x.submit(func(d *event.MessageSubmitted) { d.Answers = stop })
	if len(x.s.Asks) != 0 {
		t.Error("an ask that was answered is kept")
	}
	x.must(reply, x.allow(reply))
	x.must(event.ID{}, inbound("help", 0))
	if len(x.s.Asks) != 1 || x.s.Asks[0].Kind != AskHelp {
		t.Fatalf("asks: %+v", x.s.Asks)
	}
	x.pass(ReplyWithin + time.Millisecond) // a confirmation within five minutes, or none
	x.must(event.ID{}, inbound("none", 0))
	if len(x.s.Asks) != 0 {
		t.Error("an ask is kept past its time")
	}
}

func piece(ref, part, parts int) *event.InboundReceived {
	d := inbound("part", 0)
	d.Concat = &event.Concat{Reference: ref, Part: part, Parts: parts}
	d.Holds = &event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}
	return d
}

func TestJoins(t *testing.T) {
	x := newStream(t)
	m := x.submit(nil)
	x.must(m, x.allow(m))
	two := x.must(event.ID{}, piece(1, 2, 2))
	if x.allowStands(m) {
		t.Error("an allow stands though a part holds")
	}
	if x.s.reaches(event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}) {
		t.Error("what only holds is no opt-out yet")
	}
	x.must(event.ID{}, piece(2, 1, 2)) // another message's
	whole, until := x.s.Joins(x.now)
	if len(whole) != 0 || !until.Equal(x.now.Add(joinWithin)) {
		t.Fatalf("%+v, until %s", whole, until)
	}
	x.pass(time.Second)
	one := x.must(event.ID{}, piece(1, 1, 2))
	whole, until = x.s.Joins(x.now)
	if len(whole) != 1 || !slices.Equal(whole[0].Parts, []int64{4, 2}) || !slices.Equal(whole[0].Holds, []event.ID{two, one}) || until.IsZero() {
		t.Fatalf("%+v, until %s", whole, until)
	}
	// Joined, it is an opt-out in place of the holds.
	x.must(event.ID{}, &event.OptedOut{Reach: whole[0].Reach, Source: "joined", Answers: two, Lifts: whole[0].Holds})
	if len(x.s.OptOuts) != 2 || len(x.s.Inbound) != 1 {
		t.Fatalf("there stand %+v, and wait %+v", x.s.OptOuts, x.s.Inbound)
	}
	x.pass(joinWithin)
	whole, until = x.s.Joins(x.now)
	if len(whole) != 1 || !slices.Equal(whole[0].Parts, []int64{3, -1}) || !until.IsZero() {
		t.Fatalf("given up: %+v, until %s", whole, until)
	}
	x.must(event.ID{}, &event.SuppressionLifted{Lifts: whole[0].Holds, Answers: whole[0].Holds[0]})
	if len(x.s.OptOuts) != 1 || len(x.s.Inbound) != 0 {
		t.Errorf("there stand %+v, and wait %+v", x.s.OptOuts, x.s.Inbound)
	}
	x.must(event.ID{}, piece(3, 9, 2)) // a part that its message does not have
	x.pass(joinWithin)
	if whole, _ := x.s.Joins(x.now); len(whole) != 1 || len(whole[0].Holds) != 1 || !slices.Equal(whole[0].Parts, []int64{-1, -1, x.index - 1}) {
		t.Errorf("a part with no place is never given up: %+v", whole)
	}
}

// Two messages of one handset may come under one reference, the first of them
// never whole: neither loses its words.
func TestJoinsSameReference(t *testing.T) {
	x := newStream(t)
	first := x.must(event.ID{}, piece(1, 1, 2))
	second := x.must(event.ID{}, piece(1, 1, 2))
	x.must(event.ID{}, piece(1, 2, 2))
	x.pass(joinWithin)
	whole, _ := x.s.Joins(x.now)
	read := map[int64]bool{}
	var holds []event.ID
	for _, j := range whole {
		holds = append(holds, j.Holds...)
		for _, i := range j.Parts {
			read[i] = true
		}
	}
	if !read[0] || !read[1] || !read[2] || !slices.Contains(holds, first) || !slices.Contains(holds, second) || len(holds) != 3 {
		t.Errorf("the parts read are %v, what is lifted %v", whole, holds)
	}
}

func TestNext(t *testing.T) {
	x := newStream(t)
	is := func(m event.ID, want Todo, again time.Time) {
		t.Helper()
		todo, at := x.s.Next(&x.p, x.s.Message(m), x.now)
		if todo != want || !at.Equal(again) {
			t.Fatalf("to do: %d, again at %s; want %d, %s (%s)", todo, at, want, again, x.s.Message(m).Status)
		}
		if due := x.s.Due(); (want == Decide || want == Expire || want == Doubt || want == Overdue) && (due.IsZero() || due.After(x.now)) {
			t.Fatalf("there is something to do, and Due says %s", due)
		} else if want == Nothing && !again.IsZero() && (due.IsZero() || due.After(again)) {
			t.Fatalf("it is to be looked at at %s, and Due says %s", again, due)
		}
	}
	at := x.now.Add(time.Hour)
	m := x.submit(func(d *event.MessageSubmitted) { d.SendAt = at })
	is(m, Nothing, at)
	x.now = at
	is(m, Decide, time.Time{})
	x.must(m, &event.MessageDecided{Outcome: "defer", Until: at.Add(time.Hour)})
	is(m, Nothing, at.Add(time.Hour))
	x.pass(time.Hour)
	x.must(m, &event.MessageDecided{Outcome: "hold", Fault: "pause", Until: x.now.Add(time.Minute)})
	is(m, Nothing, x.now.Add(time.Minute))
	x.must(event.ID{}, &event.ControlApplied{Position: 3})
	if todo, _ := x.s.Next(&x.p, x.s.Message(m), x.now); todo != Decide { // Due does not know: clerks wake who rests
		t.Fatalf("held, and control changed: to do %d", todo)
	}
	x.must(m, x.allow(m))
	is(m, Handoff, x.now.Add(time.Hour))
	x.must(event.ID{}, &event.OptedOut{})
	is(m, Decide, time.Time{})
	x.must(m, x.allow(m))
	x.pass(time.Hour)
	is(m, Decide, time.Time{})
	x.must(m, x.allow(m))
	x.must(m, route(1))
	x.must(m, x.start(1, 1))
	answer := x.now.Add(15*time.Second + ClockBound)
	is(m, Nothing, answer)
	x.now = answer
	is(m, Doubt, time.Time{})
	x.must(m, refused(1, 1, true))
	is(m, Nothing, x.now.Add(time.Second))
	x.pass(time.Second)
	if why := x.again(m, 2, 1, false, 1); why != "" {
		t.Fatal(why)
	}
	x.must(m, accepted(2, 1))
	is(m, Nothing, x.now.Add(receiptWait))
	x.pass(receiptWait)
	is(m, Overdue, time.Time{})
	x.must(m, &event.ReceiptOverdue{})
	is(m, Nothing, time.Time{})
	if !x.s.Due().IsZero() {
		t.Errorf("nothing is to be done, and Due says %s", x.s.Due())
	}
	m = x.submit(nil)
	end := x.now.Add(24 * time.Hour)
	x.must(m, &event.MessageDecided{Outcome: "defer", Until: end.Add(time.Hour)})
	is(m, Nothing, end)
	x.now = end
	is(m, Expire, time.Time{})
}

// What is remembered is forgotten by the log's own time.
func TestPrune(t *testing.T) {
	x := newStream(t)
	x.must(event.ID{4}, &event.CancelRequested{})
	m := x.submit(nil)
	x.must(m, &event.CancelRequested{})
	open := x.submit(nil)
	x.send(open, 1)
	x.must(open, accepted(1, 1))
	last := x.log[2]
	x.pass(RepeatWindow)
	x.must(event.ID{}, inbound("none", 0))
	if len(x.s.Cancels) != 1 || x.put(last) != Repeat {
		t.Error("forgotten too early")
	}
	x.pass(time.Millisecond)
	x.must(event.ID{}, inbound("none", 0))
	if len(x.s.Cancels) != 0 || len(x.s.Seen) != 2 {
		t.Errorf("kept too long: %+v %+v", x.s.Cancels, x.s.Seen)
	}
	x.pass(KeepSettled + 24*time.Hour)
	x.must(event.ID{}, inbound("none", 0))
	if x.s.Message(m) != nil {
		t.Error("a settled message is kept too long")
	}
	if x.s.Message(open) == nil {
		t.Error("a message that awaits receipts is forgotten")
	}
}

// A snapshot, at any point, has the same future.
func TestSnapshot(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := newStream(t)
		var other *State
		var part Partition
		cut := rapid.IntRange(0, 40).Draw(rt, "cut")
		var messages []event.ID
		messages = append(messages, event.ID{9})
		pick := func() event.ID { return rapid.SampledFrom(messages).Draw(rt, "message") }
		n := rapid.IntRange(1, 60).Draw(rt, "n")
		for i := range n {
			if i == cut {
				other = new(State)
				raw, err := json.Marshal(x.s)
				if err != nil {
					rt.Fatal(err)
				}
				if err := json.Unmarshal(raw, other); err != nil {
					rt.Fatal(err)
				}
				raw, err = json.Marshal(x.p)
				if err != nil {
					rt.Fatal(err)
				}
				if err := json.Unmarshal(raw, &part); err != nil {
					rt.Fatal(err)
				}
			}
			x.pass(time.Duration(rapid.SampledFrom([]int{0, 1, 900, 6_000, 17_000, 400_000, 90_000_000}).Draw(rt, "ms")) * time.Millisecond)
			var e *event.Event
			m := pick()
			att := rapid.IntRange(1, 3).Draw(rt, "attempt")
			num := rapid.IntRange(1, 2).Draw(rt, "part")
			var d event.Data
			switch rapid.IntRange(0, 17).Draw(rt, "what") {
			case 0, 1:
				d, m = &event.MessageSubmitted{Program: "news", From: "+1500", Places: []event.Place{"US-FL Z"}, ValidUntil: x.now.Add(time.Hour), PrefersDuplicate: num == 1}, event.ID{}
			case 2:
				d = &event.CancelRequested{}
			case 3:
				d, m = &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Occurred: x.now}, event.ID{}
			case 4:
				d, m = inbound("stop", 0), event.ID{}
			case 5:
				d, m = inbound("start", x.index), event.ID{}
			case 6:
				d, m = piece(1, num, 2), event.ID{}
			case 7, 8:
				d = x.allow(m)
			case 9, 10:
				d = route(2)
			case 11, 12:
				s := x.start(att, 1, 2)
				s.Duplicate = num == 1
				d = s
			case 13:
				d = accepted(att, num)
			case 14:
				d = refused(att, num, true)
			case 15:
				d = &event.HandoffInDoubt{Attempt: att, Parts: []int{1, 2}}
			case 16:
				d = receipt(att, num, rapid.SampledFrom([]string{"delivered", "enroute", "rejected"}).Draw(rt, "state"))
			case 17:
				if len(x.log) > 0 {
					e = rapid.SampledFrom(x.log).Draw(rt, "copy")
				}
			}
			if e == nil {
				if d == nil {
					continue
				}
				e = x.make(m, d)
				if _, ok := d.(*event.MessageSubmitted); ok {
					messages = append(messages, e.ID)
				}
			}
			why := x.put(e)
			if other == nil {
				continue
			}
			if got := other.Evolve(&part, x.index-1, e); got != why {
				rt.Fatalf("from the snapshot %s is %q, else %q", e.Data.Type(), got, why)
			}
		}
		if other == nil {
			return
		}
		a, _ := json.Marshal(x.s)
		b, _ := json.Marshal(other)
		if string(a) != string(b) || !reflect.DeepEqual(part, x.p) || !x.s.Due().Equal(other.Due()) {
			rt.Fatalf("from the snapshot it became\n%s\nelse\n%s", b, a)
		}
	})
}

// Everything that Statuses lists is reached, and is what its predicates say.
func TestStatuses(t *testing.T) {
	if len(Statuses()) != 18 {
		t.Errorf("%d statuses", len(Statuses()))
	}
	for _, s := range Statuses() {
		if s.Unsent() && !s.Open() {
			t.Errorf("%s is unsent and not open", s)
		}
	}
}

// TestRefusedAfterDoubt: a duplicate that the carrier refuses for good is the last
// attempt, even for a program that prefers one.
func TestRefusedAfterDoubt(t *testing.T) {
	x := newStream(t)
	m := x.submit(prefers)
	x.send(m, 1)
	x.pass(time.Hour / 6)
	if why := x.doubt(m, 1, 1); why != "" {
		t.Fatal(why)
	}
	x.status(m, Accepted)
	x.pass(time.Minute)
	if why := x.again(m, 2, 1, true, 1); why != "" {
		t.Fatal(why)
	}
	x.must(m, refused(2, 1, false))
	x.status(m, InDoubt)
}

func (x *stream) allowStands(m event.ID) bool {
	r := Standard()
	return r.allowStands(x.s, &x.p, x.s.Message(m))
}
