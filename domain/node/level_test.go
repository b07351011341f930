package node_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/rebuild"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// Two nodes serve a ledger of level 1. It is raised while handsets write through both: every text that was
// acknowledged is in force, before and after, and both nodes go on at level 2.
func TestLevelIsRaisedWhileNodesRun(t *testing.T) {
	p := newPair(t, nil)
	p.apply()
	p.places[0].give(0, 1)
	p.places[1].give(2, 3)
	if err := p.nodes[0].Registry().NeedsLevel(2, "It", ""); err == nil || !strings.Contains(err.Error(), "format level 2") {
		t.Errorf("at level 1: %v", err)
	}
	if _, err := p.nodes[0].Commands().PutProgram(t.Context(), sender, &event.ProgramChanged{Name: "alerts", LegalEntity: "Acme", Purposes: []string{"account"},
		Countries: []string{"*"}, Senders: []string{"+15005550006"}, StartText: "You are in."}); err == nil {
		t.Error("at level 1 a program has an answer to START")
	}
	const most = 240
	to := append(append(numbers(0, most/4), numbers(1, most/4)...), append(numbers(2, most/4), numbers(3, most/4)...)...)
	var all sync.WaitGroup
	answers := make(chan error, 2*most)
	deliver := func(i int, d ledger.Delivery) {
		d.Account, d.From, d.To, d.Received, d.Raw = "c1", to[i], "15005550006", time.Now(), fmt.Appendf(nil, "%d %v", i, d.Concat)
		p.nodes[i%2].Deliver(d, func(err error) { answers <- err; all.Done() })
	}
	text := func(i int) { // a STOP, or one in two parts
		if i%3 > 0 {
			all.Add(1)
			deliver(i, ledger.Delivery{Texts: []string{"STOP"}})
			return
		}
		all.Add(2)
		deliver(i, ledger.Delivery{Texts: []string{"ST"}, Concat: &sms.Concat{Reference: 9, Part: 1, Parts: 2}})
		deliver(i, ledger.Delivery{Texts: []string{"OP"}, Concat: &sms.Concat{Reference: 9, Part: 2, Parts: 2}})
	}
	step := func(from, upTo int) {
		for i := from; i < upTo; i++ {
			text(i)
		}
	}
	step(0, most/4)
	all.Wait()
	raised := make(chan error, 1)
	go func() {
		level, err := p.nodes[1].Commands().RaiseLevel(t.Context(), "test")
		if err == nil && level != event.MaxLevel {
			err = fmt.Errorf("the level is %d", level)
		}
		raised <- err
	}()
	step(most/4, most*3/4) // beside it
	if err := <-raised; err != nil {
		t.Fatal(err)
	}
	for _, n := range p.nodes {
		eventually(t, func() bool { return n.Registry().Level() == event.MaxLevel }, func() string { return "a node does not know the level" })
		if err := n.Registry().NeedsLevel(2, "It", ""); err != nil {
			t.Error(err)
		}
	}
	step(most*3/4, most)
	all.Wait()
	close(answers)
	for err := range answers {
		if err != nil {
			t.Fatalf("a text is answered with %v", err)
		}
	}
	var ids []event.ID
	for i, number := range to {
		ids = append(ids, p.submit(i%2, number, "").ID)
	}
	for _, id := range ids {
		p.becomes(id, recipient.Denied)
	}
	one, two, joined := 0, 0, 0
	for at := range event.Partition(4) {
		one, two, joined = one+count[*event.InboundReceived](p, at), two+count[*event.InboundReceivedV2](p, at), joined+count[*event.InboundJoined](p, at)
	}
	if one < most/4 || two < most/4 || joined == 0 || one+two != most+most/3 {
		t.Errorf("%d texts of level 1, %d of level 2, %d joined", one, two, joined)
	}
}

// newer raises the ledger to a level that no build knows.
func (p *pair) newer() {
	for level := 2; level <= event.MaxLevel+1; level++ {
		p.control(&event.LevelRaised{Level: level, By: "test"})
	}
}

// A ledger of a higher level is refused by name: by a node that starts, by one that runs, and by whoever
// folds or raises it.
func TestNewerLevelIsRefused(t *testing.T) {
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("format level %d", event.MaxLevel+1)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := newPair(t, nil)
	p.apply()
	p.places[0].give(all()...)
	to := numbers(0, 2)
	p.becomes(p.submit(0, to[0], "").ID, recipient.Sent)
	p.newer()
	eventually(t, func() bool { return p.nodes[0].Takes() != nil }, func() string { return "a node goes on" })
	refused("a node that runs", p.nodes[0].Takes())
	refused("its state", p.nodes[0].Stats().Failed[event.ControlPartition.String()])
	_, err := p.nodes[0].Commands().RaiseLevel(t.Context(), "test")
	refused("to raise it", err)
	_, err = rebuild.New(p.log, nodetest.NewViews()).Fold(t.Context(), nil, func(int) {})
	refused("a rebuild", err)
	c := control.NewControl(p.log)
	if err := c.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused("control", c.Bad())
	n := node.New(node.Config{Log: p.log, Views: p.views, Finder: p.views, Vault: nodetest.Vault{}, Policy: nodetest.Policy{}, Clock: node.NewClock(time.Now),
		Logger: slog.New(slog.DiscardHandler), Author: ledger.Author{Source: "/l", Node: "late"}, Placement: newPlacement(), Reservations: p.reserved})
	_, err = n.Start(t.Context())
	refused("a node that starts", err)
}

// What was submitted before is held while the ledger has a level that the node does not know.
func TestNewerLevelHolds(t *testing.T) {
	p := newPair(t, nil)
	p.apply()
	id := p.submit(0, numbers(0, 1)[0], "").ID // no node serves its partition yet
	p.newer()
	eventually(t, func() bool { return p.nodes[0].Takes() != nil }, func() string { return "a node goes on" })
	p.places[0].give(all()...)
	p.becomes(id, recipient.Held)
	if n := p.carriers[0].count(); n != 0 {
		t.Errorf("a carrier was called %d times", n)
	}
}
