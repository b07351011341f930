package node_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/recipient"
)

// A database lost its reservations and its views. Until the views have been read up to the head that the log had
// when the node started, a request with a key is refused; then the key stands for its first message. A
// request without a key is taken all along.
func TestLostReservations(t *testing.T) {
	p := newLedger(t)
	p.start(0, nil)
	p.places[0].give(all()...)
	const to = "+12125550100"
	first := p.submit(0, to, "k")
	p.becomes(first.ID, recipient.Sent)
	p.places[0].take(all()...)

	p.views, p.reserved = nodetest.NewViews(), &reserved{all: map[string]ledger.Reserved{}}
	p.start(1, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req := &intake.SubmitRequest{To: to, Body: "hello", IdempotencyKey: "k"}
	if out, err := p.nodes[1].Intake().Submit(ctx, sender, req); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("before the views are read: %+v, %v", out, err)
	}
	if len(p.reserved.all) != 0 {
		t.Error("a refused request has reserved its key")
	}
	p.submit(1, to, "")
	p.places[1].give(all()...)
	if out := p.submit(1, to, "k"); out.ID != first.ID {
		t.Errorf("the key stands for %s, and first for %s", out.ID, first.ID)
	}
	_, err := p.nodes[1].Intake().Submit(t.Context(), sender, &intake.SubmitRequest{To: to, Body: "another", IdempotencyKey: "k"})
	var refusal *ledger.Refusal
	if !errors.As(err, &refusal) || refusal.Code != "idempotency_key_reused" {
		t.Errorf("the key with another input: %v", err)
	}
	if out := p.submit(1, to, "new"); out.ID == first.ID {
		t.Error("a new key has an old message")
	}
}

// contradicting are views whose mark a test changes.
type contradicting struct {
	*nodetest.Views
	change atomic.Pointer[func(ledger.Mark) ledger.Mark]
	resets atomic.Int64
}

func (c *contradicting) Mark(ctx context.Context, p event.Partition) (ledger.Mark, error) {
	m, err := c.Views.Mark(ctx, p)
	if f := c.change.Load(); f != nil && p == 1 {
		m = (*f)(m)
	}
	return m, err
}

func (c *contradicting) Reset(ctx context.Context, p event.Partition) error {
	c.resets.Add(1)
	return c.Views.Reset(ctx, p)
}

// Views that have read more than the log has, or something else, stop their partition: nothing of them is
// reset, no submit is taken for it, and /readyz says why. When they fit again, it goes on.
func TestViewsContradict(t *testing.T) {
	for name, c := range map[string]struct {
		change func(ledger.Mark) ledger.Mark
		why    string
	}{
		"ahead":   {func(m ledger.Mark) ledger.Mark { m.Next += 1000; return m }, "the views have read up to 01-"},
		"another": {func(m ledger.Mark) ledger.Mark { m.Hash[0]++; return m }, "the views have read another event"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newLedger(t)
			views := &contradicting{Views: p.views}
			with := func(cfg *node.Config) { cfg.Views = views }
			p.start(0, with)
			p.places[0].give(all()...)
			to := numbers(1, 2)
			p.becomes(p.submit(0, to[0], "").ID, recipient.Sent)
			p.places[0].take(all()...)

			views.change.Store(&c.change)
			p.start(1, with)
			p.places[1].give(append(all(), 4, 17)...) // a topic may have more partitions than the ledger
			eventually(t, func() bool {
				ready, components := p.nodes[1].Ready(nil, nil, nil, time.Now())
				said := ""
				for _, c := range components {
					said += c.Detail
				}
				return !ready && strings.Contains(said, "partition 01 is stopped: ") && strings.Contains(said, c.why)
			}, func() string { return "the node does not say that the partition is stopped" })
			if _, err := p.nodes[1].Intake().Submit(t.Context(), sender, &intake.SubmitRequest{To: to[1], Body: "hello"}); !errors.Is(err, ledger.ErrRefused) {
				t.Errorf("a submit: %v", err)
			}
			p.becomes(p.submit(1, numbers(2, 1)[0], "").ID, recipient.Sent) // the others go on
			if n := views.resets.Load(); n != 0 {
				t.Errorf("the views were reset %d times", n)
			}
			views.change.Store(nil)
			eventually(t, func() bool {
				ready, _ := p.nodes[1].Ready(nil, nil, nil, time.Now())
				return ready
			}, func() string { return "the partition does not go on" })
			p.becomes(p.submit(1, to[1], "").ID, recipient.Sent)
			p.places[1].take(append(all(), 4, 17)...)
		})
	}
}
