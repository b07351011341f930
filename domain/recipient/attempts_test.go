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

// Answers that come late, and contradict what came of a later attempt, are kept and send nothing once more.
func TestLateAnswers(t *testing.T) {
	sentTwice := func(x *stream) event.ID { // attempt 1 is in doubt, attempt 2 is out
		m := x.submit(prefers)
		x.send(m, 1)
		x.doubt(m, 1, 1)
		x.pass(time.Minute)
		if why := x.again(m, 2, 1, true, 1); why != "" {
			x.t.Fatalf("the second start is void: %s", why)
		}
		return m
	}
	late := map[string]event.Data{
		"taken": accepted(1, 1), "taken without an id": &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "c1"},
		"refused": refused(1, 1, false), "refused with retry": refused(1, 1, true),
	}
	for name, answer := range late {
		takes := name == "taken" || name == "taken without an id"
		second := map[string]struct {
			answer event.Data
			status Status
		}{"taken": {accepted(2, 1), Sent}}
		if takes {
			second["refused"] = struct {
				answer event.Data
				status Status
			}{refused(2, 1, false), Sent}
			second["refused with retry"] = struct {
				answer event.Data
				status Status
			}{refused(2, 1, true), Sent}
		}
		for and, c := range second {
			for _, before := range []bool{true, false} {
				t.Run(name+", and attempt 2 "+and, func(t *testing.T) {
					x := newStream(t)
					m := sentTwice(x)
					if before {
						x.must(m, answer)
						x.must(m, c.answer)
					} else {
						x.must(m, c.answer)
						x.must(m, answer)
					}
					x.status(m, c.status)
					if before && takes && x.s.Message(m).Attempts[0].Parts[0].Status != PartTaken {
						t.Error("the late answer is not kept")
					}
					if parts, _ := x.s.Message(m).Sendable(); len(parts) != 0 {
						t.Errorf("the parts %v would be sent once more", parts)
					}
				})
			}
		}
	}
}
