package recipient

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// TestEnds: cancels and the end of the validity, before, between and after hand-offs.
func TestEnds(t *testing.T) {
	transitions(t, map[string]transition{
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
	})
}
