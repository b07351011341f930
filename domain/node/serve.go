package node

import (
	"context"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
)

// serve serves the partitions that Placement says. When Placement fails, it is run once more: its
// broker may be unreachable for a while. The inbox goes with partition 0.
func (n *Node) serve(ctx, inner, outer context.Context) {
	stopInbox := func() {}
	gained := func(ps []event.Partition) {
		n.unserved.Store(nil)
		for _, p := range n.partitions.own(ps) {
			n.partitions.all[p].begin(inner)
			if p == 0 {
				follow, stop := context.WithCancel(outer)
				ended := make(chan struct{})
				go func() { defer close(ended); n.inbox.follow(follow) }()
				stopInbox = func() { stop(); <-ended }
			}
		}
	}
	lost := func(ps []event.Partition) {
		within, cancel := context.WithTimeout(inner, n.cfg.DrainWithin)
		defer cancel()
		var wg sync.WaitGroup
		for _, p := range n.partitions.own(ps) {
			wg.Go(func() { n.partitions.all[p].drain(within) })
			if p == 0 {
				stopInbox()
			}
		}
		wg.Wait()
	}
	for wait := time.Second; ctx.Err() == nil; wait = min(2*wait, 30*time.Second) {
		began := n.cfg.Clock.Now()
		if err := n.cfg.Placement.Run(ctx, gained, lost); err != nil && ctx.Err() == nil {
			n.log.Error("this node serves no partition for now; it tries again", "error", err)
			n.unserved.Store(&err)
		}
		if n.cfg.Clock.Now().Sub(began) > time.Minute {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// readControl reads control until ctx is done. After an error it begins once more, since a pause
// must come into force whatever happened to a read. While reads fail the node is not ready.
func (n *Node) readControl(ctx context.Context) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		began := n.cfg.Clock.Now()
		err := n.control.Run(ctx, func() { n.controlUnread.Store(false) })
		if ctx.Err() != nil {
			return
		}
		n.log.Error("the control log cannot be read; it is tried again", "error", err)
		n.controlUnread.Store(true)
		if n.cfg.Clock.Now().Sub(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// wakeByControl wakes every partition when control was read further, so that the clerks append
// the positions that their partitions lack.
func (n *Node) wakeByControl(ctx context.Context) {
	for {
		_, changed := n.control.Latest()
		select {
		case <-ctx.Done():
			return
		case <-changed:
			for _, l := range n.partitions.all {
				if l.serving.Load() {
					l.do(func(*clerk.Clerk, time.Time) []dispatch.Call { return nil })
				}
			}
		}
	}
}

// pump grants a carrier's slots as they become free, until ctx is done.
func (n *Node) pump(ctx context.Context, d *dispatch.Dispatcher) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := n.cfg.Clock.Now()
		out, next := d.Pump(now)
		for _, g := range out {
			n.partitions.all[g.Want.Partition].grant(g)
		}
		wait := 5 * time.Second // expired grants end even if nothing else happens
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(n.cfg.Clock.Now()), time.Millisecond))
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-d.Wake():
		case <-d.Changed():
		case <-timer.C:
		}
	}
}

// clerkConfig is the configuration of a partition's clerk.
func (n *Node) clerkConfig(p event.Partition) clerk.Config {
	c := n.cfg.Clerk
	c.KeepRows = n.cfg.Views.KeepsRows()
	c.Partition, c.Author, c.Decider, c.Vault, c.Control = p, n.cfg.Author, n.cfg.decider(), n.cfg.Vault, n.control
	c.Slots = func(account string) clerk.Slots {
		if d := n.dispatchers[account]; d != nil {
			return d
		}
		return nil
	}
	c.Hear, c.World = receipts.Listen(n.cfg.Lists), n.cfg.World
	c.Account = func(account string) ledger.Account { return n.cfg.Accounts[account] }
	c.Unanswered = func(s *recipient.State, m *recipient.Message) { n.matching.unansweredOf(p, s, m) }
	c.Event = func(ctx context.Context, index int64) (*event.Event, error) {
		ctx, cancel := context.WithTimeout(ctx, lookWithin)
		defer cancel()
		return ledger.ReadEvent(ctx, n.cfg.Log, event.Position{Partition: p, Index: index})
	}
	return c
}

// trusted returns the time, and what keeps this node from deciding, if anything.
func (n *Node) trusted() (t time.Time, fault event.Fault, detail string) {
	t, ok := n.cfg.Clock.trusted()
	if !ok {
		return t, event.FaultClock, "the clock was changed; messages wait 30 s until it is trusted"
	}
	if err := n.control.Newer(); err != nil {
		return t, event.FaultControl, err.Error()
	}
	if n.control.Bad() != nil {
		return t, event.FaultControl, "a record in the control log is not an event of this ledger; see /readyz"
	}
	return t, "", ""
}

// call makes the carrier calls of one start, and records what the carrier answers. An answer that comes
// after HandoffUnknown is recorded like one in time: the fold takes an acceptance behind "in doubt" too, and a
// refusal for a part that is open or in doubt. Such a part is counted twice: as unknown, and then
// under its answer, since a count never goes back.
func (n *Node) call(c *dispatch.Call) {
	n.matching.called(c)
	n.dispatchers[c.Grant.Account].Call(*c, n.cfg.Clock.Now, func(h ledger.Handoff, r ledger.HandoffResult) {
		n.metrics.handoffs[r.Status].Add(1)
		n.matching.answered(c, &h, r)
		var data event.Data
		switch r.Status {
		case ledger.HandoffUnknown:
			return // after answer_by the clerk records it as in doubt
		case ledger.HandoffTaken:
			data = &event.HandoffAccepted{Attempt: h.Attempt, Part: h.Part, Carrier: c.Grant.Account, CarrierID: r.CarrierID}
		default:
			data = &event.HandoffRefused{Attempt: h.Attempt, Part: h.Part, Carrier: c.Grant.Account,
				Retry: r.Status != ledger.HandoffFinal, NotCalled: r.Status == ledger.HandoffNotCalled, Code: r.Code, Reason: r.Reason}
		}
		now := n.cfg.Clock.Now()
		e := n.cfg.Author.Event(c.Stream, event.NewID(now), now, data)
		e.Message = h.Message
		n.facts.Append(event.Partition(h.Message.Partition()), e, nil)
	})
}

// observe counts judged events, and tells intake of submits.
func (n *Node) observe(judged []ledger.Judged) {
	n.metrics.count(judged)
	for i := range judged {
		if judged[i].Why == "" { // an opaque record has no event
			e := judged[i].Event
			n.intake.Seen(e, event.Position{Partition: event.Partition(e.MessageID().Partition()), Index: judged[i].Index})
		}
	}
}
