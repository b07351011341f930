package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/recipient"
)

// ending is a recipient whose number ends in 555 and four digits, in one of many area codes.
func ending(i int, digits string) string {
	areas := []string{"206", "212", "213", "214", "215", "216", "217", "301", "302", "303", "304", "305"}
	return "+1" + areas[i] + "555" + digits
}

// tailed is a pair whose first node serves everything over account c1, which delivers inbound texts.
type tailed struct {
	*pair
	later atomic.Int64 // how far the node's clock is ahead
	away  atomic.Bool
}

type tailViews struct {
	ledger.Views
	away *atomic.Bool
	asks atomic.Int64
}

func (v *tailViews) Tails(ctx context.Context, account, tail string, since time.Time, limit int) ([]ledger.Tailed, error) {
	v.asks.Add(1)
	if v.away.Load() {
		return nil, errors.New("the views are away")
	}
	return v.Views.Tails(ctx, account, tail, since, limit)
}

func newTailed(t *testing.T, level int) (*tailed, *tailViews) {
	t.Helper()
	p := &tailed{pair: newLedger(t)}
	if level > 1 {
		p.control(&event.LevelRaised{Level: level, By: "test"})
	}
	views := &tailViews{Views: p.views, away: &p.away}
	inbound := ledger.Account{Tells: ledger.Tells{Inbound: true}}
	p.start(0, func(c *node.Config) {
		c.Views = views
		c.Clock = node.NewClock(func() time.Time { return time.Now().Add(time.Duration(p.later.Load())) })
		c.Accounts = map[string]ledger.Account{"c1": inbound, "c2": inbound}
	})
	p.apply()
	p.places[0].give(all()...)
	return p, views
}

// text texts recipients whose numbers end alike.
func (p *tailed) text(digits string, from, to int) (subjects []event.Pseudonym) {
	p.t.Helper()
	var ids []event.ID
	for i := from; i < to; i++ {
		ids = append(ids, p.submit(0, ending(i, digits), "").ID)
		subjects = append(subjects, nodetest.Vault{}.Pseudonym("acme", ending(i, digits)))
	}
	for _, id := range ids {
		p.becomes(id, recipient.Sent)
	}
	return subjects
}

func (p *tailed) stop(account, from string) error {
	acked := make(chan error, 1)
	p.nodes[0].Deliver(ledger.Delivery{Account: account, Raw: []byte("stop " + from), From: from, To: "15005550006", Received: time.Now(), Texts: []string{"STOP"}},
		func(err error) { acked <- err })
	return <-acked
}

// records are what a partition has now.
func (p *tailed) records(at event.Partition) []ledger.Record {
	p.t.Helper()
	_, head, err := p.log.Read(p.t.Context(), at, 0, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	if head == 0 {
		return nil // a read waits for the first
	}
	records, _, err := p.log.Read(p.t.Context(), at, 0, int(head))
	if err != nil {
		p.t.Fatal(err)
	}
	return records
}

// held are the streams that hold something, in order, and unplaced is how many messages are under review.
func (p *tailed) held() (subjects []event.Pseudonym, unplaced int) {
	p.t.Helper()
	for _, at := range append(all(), event.InboxPartition) {
		for _, r := range p.records(at) {
			switch d := r.Event.Data.(type) {
			case *event.InboundHeld:
				subjects = append(subjects, r.Event.Subject)
			case *event.InboundReceivedV2:
				if d.Unplaced != event.UnplacedUnreadable {
					p.t.Errorf("%s is unplaced because of %q", r.Event.ID, d.Unplaced)
				}
				unplaced++
			case *event.InboundReceived:
				unplaced++
			}
		}
	}
	return subjects, unplaced
}

func (p *tailed) expect(when string, unplaced int, want ...event.Pseudonym) {
	p.t.Helper()
	got, n := p.held()
	order := func(a, b event.Pseudonym) int { return slices.Compare(a[:], b[:]) }
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	if n != unplaced || !slices.Equal(got, want) {
		p.t.Fatalf("%s: %d are under review and hold %d streams, not %d that hold %d", when, n, len(got), unplaced, len(want))
	}
}

// unreadable is a written address that no number has, and that ends like those of the recipients.
func unreadable(digits string) string { return "00000" + "555" + digits }

// A STOP from an address that can be read as no number holds the recipients, if there are up to eight,
// that the account texted and whose numbers end alike; and only those.
func TestUnreadableAddressHoldsThoseItMayMean(t *testing.T) {
	p, views := newTailed(t, 2)
	eight := p.text("0101", 0, 8)
	p.text("0102", 0, 9)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(p.stop("c1", unreadable("0102")))
	p.expect("nine end alike", 1)
	must(p.stop("c1", unreadable("0103")))
	p.expect("nobody ends so", 2)
	must(p.stop("c2", unreadable("0101")))
	p.expect("another account texted them", 3)
	asks := views.asks.Load()
	must(p.stop("c1", "50101"))
	must(p.stop("c1", "ACME"))
	if p.expect("a short code and a name", 5); views.asks.Load() != asks {
		t.Error("an address with fewer than seven digits was looked up")
	}
	p.away.Store(true)
	if err := p.stop("c1", unreadable("0101")); !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("acknowledged with %v although nobody could be found", err)
	}
	p.expect("the views are away", 5)
	p.away.Store(false)
	must(p.stop("c1", unreadable("0101")))
	p.expect("eight end alike", 6, eight...)
	for i := range eight {
		if s := p.settles(p.submit(0, ending(i, "0101"), "").ID); s != recipient.Denied && s != recipient.Deferred {
			t.Errorf("the next message to a held recipient is %s", s)
		}
	}
	p.becomes(p.submit(0, ending(0, "0102"), "").ID, recipient.Sent)
}

// A tail is told once in recipient.TailEvery and found for ledger.TailsWithin after each text: also after
// one that did not tell it.
func TestTailsAreFoundForThirtyDays(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		again, stop time.Duration // the second text, and the STOP
		tails       int
		found       bool
	}{
		{time.Hour, 29 * day, 1, true},
		{14 * day, 43 * day, 1, true},
		{16 * day, 45 * day, 2, true},
		{time.Hour, 47 * day, 1, false},
	} {
		t.Run(fmt.Sprint(c.again, " ", c.stop), func(t *testing.T) {
			p, _ := newTailed(t, 2)
			one := p.text("0101", 0, 1)
			p.later.Store(int64(c.again))
			p.text("0101", 0, 1)
			tails := 0
			for _, at := range all() {
				for _, r := range p.records(at) {
					if d, ok := r.Event.Data.(*event.HandoffStarted); ok && d.Tail != "" {
						tails++
					}
				}
			}
			if tails != c.tails {
				t.Errorf("the tail was told %d times, not %d", tails, c.tails)
			}
			p.later.Store(int64(c.stop))
			if err := p.stop("c1", unreadable("0101")); err != nil {
				t.Fatal(err)
			}
			if !c.found {
				one = nil
			}
			p.expect("afterwards", 1, one...)
		})
	}
}

// Hand-offs at format level 1 tell no tail: whom they texted is not found.
func TestLevelOneTellsNoTail(t *testing.T) {
	p, _ := newTailed(t, 1)
	p.text("0101", 0, 1)
	if err := p.stop("c1", unreadable("0101")); err != nil {
		t.Fatal(err)
	}
	p.expect("at level 1", 1)
	p.control(&event.LevelRaised{Level: 2, By: "test"})
	p.apply()
	eventually(t, func() bool { return p.nodes[0].Registry().Level() == 2 }, func() string { return "the level is not raised" })
	if err := p.stop("c1", unreadable("0101")); err != nil {
		t.Fatal(err)
	}
	p.expect("at level 2, before the next text", 2)
	one := p.text("0101", 0, 1)
	if err := p.stop("c1", unreadable("0101")); err != nil {
		t.Fatal(err)
	}
	p.expect("after the next text", 3, one...)
}
