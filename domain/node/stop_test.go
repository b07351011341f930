package node_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// hung are views whose look-ups of hand-offs do not return until wait does.
type hung struct {
	ledger.Views
	wait  func(context.Context) error
	begun atomic.Int64
}

func (h *hung) Handoffs(ctx context.Context, account string, keys []string) ([]ledger.HandoffRef, error) {
	h.begun.Add(1)
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	return h.Views.Handoffs(ctx, account, keys)
}

// receiptOf is one under an id that nothing was handed off under.
func receiptOf(id string) ledger.Delivery {
	return ledger.Delivery{Account: "c1", Raw: []byte("dlr " + id), From: "12125550100", To: "15005550006", Received: time.Now(),
		Receipt: &sms.Receipt{ID: id, State: sms.StateDelivered, Final: true}}
}

// A STOP is recorded, acknowledged and in force while more receipts wait for the views than
// are looked up side by side, and none of them is answered.
func TestStopsDoNotWaitBehindReceipts(t *testing.T) {
	p := newLedger(t)
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	views := &hung{Views: p.views, wait: func(context.Context) error { <-released; return nil }}
	p.start(0, func(c *node.Config) { c.Views = views })
	t.Cleanup(release) // before the node stops
	p.apply()
	p.places[0].give(all()...)

	const receipts = 1000
	var acked atomic.Int64
	answers := make(chan error, receipts)
	for i := range receipts {
		p.nodes[0].Deliver(receiptOf(fmt.Sprint("unknown-", i)), func(err error) { acked.Add(1); answers <- err })
	}
	eventually(t, func() bool { return views.begun.Load() > 1 }, func() string { return "no receipt is looked up" })

	var stops []chan error
	to := append(numbers(0, 8), numbers(2, 8)...)
	for _, from := range to {
		stopped := make(chan error, 1)
		stops = append(stops, stopped)
		p.nodes[0].Deliver(ledger.Delivery{Account: "c1", Raw: []byte("stop"), From: from, To: "15005550006", Received: time.Now(), Texts: []string{"STOP"}},
			func(err error) { stopped <- err })
	}
	for i, stopped := range stops {
		if err := <-stopped; err != nil {
			t.Fatalf("the STOP of %s: %v", to[i], err)
		}
	}
	for _, number := range to {
		p.becomes(p.submit(0, number, "").ID, recipient.Denied)
	}
	if n := acked.Load(); n != 0 {
		t.Errorf("%d receipts were answered, and no look-up has returned", n)
	}
	if n := count[*event.InboundReceived](p, 0) + count[*event.InboundReceived](p, 2); n != len(to) {
		t.Errorf("%d texts are in the recipients' streams, want %d", n, len(to))
	}
	release()
	for range receipts {
		if err := <-answers; err != nil {
			t.Fatalf("a receipt is answered with %v", err)
		}
	}
	if _, head, _ := p.log.Read(t.Context(), event.InboxPartition, 0, 0); head != receipts {
		t.Errorf("%d receipts are in the inbox, want %d", head, receipts)
	}
}

// A person's acknowledgement with a text is a receipt and an inbound text: both are recorded,
// and it is acknowledged when both are durable. If one of them cannot be made durable, the carrier
// delivers it again.
func TestAcknowledgementWithText(t *testing.T) {
	p := newLedger(t)
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	var away atomic.Bool
	gone := errors.New("the views are away")
	views := &hung{Views: p.views, wait: func(context.Context) error {
		<-released
		if away.Load() {
			return gone
		}
		return nil
	}}
	p.start(0, func(c *node.Config) { c.Views = views })
	t.Cleanup(release)
	p.apply()
	p.places[0].give(all()...)

	deliver := func(from, id string) <-chan error {
		d := receiptOf(id)
		d.From, d.Texts, d.Receipt.Intermediate, d.Receipt.Final = from, []string{"STOP"}, true, false
		acked := make(chan error, 2)
		p.nodes[0].Deliver(d, func(err error) { acked <- err })
		return acked
	}
	to := numbers(0, 2)
	acked := deliver(to[0], "unknown-0")
	// The text is in force while the receipt is still looked up, and the delivery is not
	// acknowledged yet.
	eventually(t, func() bool { return count[*event.InboundReceived](p, 0) == 1 }, func() string { return "the text is not recorded" })
	p.becomes(p.submit(0, to[0], "").ID, recipient.Denied)
	select {
	case err := <-acked:
		t.Fatalf("acknowledged with %v before its receipt is durable", err)
	default:
	}
	release()
	if err := <-acked; err != nil {
		t.Fatal(err)
	}
	if n := count[*event.ReceiptReceived](p, event.InboxPartition); n != 1 {
		t.Errorf("%d receipts are in the inbox, want 1", n)
	}
	away.Store(true)
	acked = deliver(to[1], "unknown-1")
	if err := <-acked; err == nil {
		t.Error("acknowledged although its receipt is not durable")
	}
	if len(acked) > 0 {
		t.Error("acknowledged twice")
	}
}

// A look-up that takes too long is ended by its context, and its receipt is answered with an
// error: the carrier delivers it again, and nothing of it is kept before.
func TestLookupsAreBounded(t *testing.T) {
	p := newLedger(t)
	var away atomic.Bool
	away.Store(true)
	unbounded := errors.New("a look-up has no bound")
	views := &hung{Views: p.views, wait: func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			return unbounded
		}
		if !away.Load() {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	p.start(0, func(c *node.Config) { c.Views = views })
	p.apply()
	p.places[0].give(all()...)
	answers := make(chan error, 3)
	deliver := func() {
		for i := range 3 {
			p.nodes[0].Deliver(receiptOf(fmt.Sprint("unknown-", i)), func(err error) { answers <- err })
		}
	}
	deliver()
	for range 3 {
		if err := <-answers; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a receipt whose look-up did not end is answered with %v", err)
		}
	}
	if _, head, _ := p.log.Read(t.Context(), event.InboxPartition, 0, 0); head != 0 {
		t.Errorf("%d receipts are in the inbox, and were answered with an error", head)
	}
	away.Store(false)
	deliver()
	for range 3 {
		if err := <-answers; err != nil {
			t.Errorf("delivered again, a receipt is answered with %v", err)
		}
	}
	if _, head, _ := p.log.Read(t.Context(), event.InboxPartition, 0, 0); head != 3 {
		t.Errorf("%d receipts are in the inbox, want 3", head)
	}
}
