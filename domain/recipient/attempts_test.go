package recipient

import (
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// TestAttempts: what becomes of hand-offs.
func TestAttempts(t *testing.T) {
	transitions(t, map[string]transition{
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
	})
}

// TestReceipts: what receipts make of a message that was sent.
func TestReceipts(t *testing.T) {
	transitions(t, map[string]transition{
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
	})
}

// TestOverdue: what becomes of a message without a final receipt in time.
func TestOverdue(t *testing.T) {
	transitions(t, map[string]transition{
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
	})
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
