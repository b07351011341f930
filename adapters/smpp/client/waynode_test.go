package client

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
	"github.com/chirograph/chirograph/domain/node/nodetest"
	"github.com/chirograph/chirograph/domain/sms"
)

// wayNode is a whole node behind a client that a peer of raw octets is bound to.
type wayNode struct {
	t     *testing.T
	log   *awayLog
	views *nodetest.Views
	heads map[event.Partition]int64
	// frames go to the peer one by one; answers come back.
	frames  chan []byte
	answers chan wire.PDU
}

// awayLog is a log that takes no appends while it is away.
type awayLog struct {
	*memlog.Log
	away atomic.Bool
}

func (l *awayLog) Append(at event.Partition, events []*event.Event, done func(ledger.Appended)) {
	if l.away.Load() {
		done(ledger.Appended{Err: ledger.ErrRefused})
		return
	}
	l.Log.Append(at, events, done)
}

var wayPartitions = []event.Partition{0, 1, 2, 3, event.InboxPartition}

func newWayNode(t *testing.T, events []*event.Event, own []string) *wayNode {
	w := &wayNode{t: t, log: &awayLog{Log: memlog.New(memlog.Options{Partitions: 4})}, views: nodetest.NewViews(), heads: map[event.Partition]int64{},
		frames: make(chan []byte), answers: make(chan wire.PDU)}
	reg := &control.Registry{}
	revision, digest := nodetest.Policy{}.Bundle()
	put := func(at event.Partition, e *event.Event) int64 {
		done := make(chan ledger.Appended, 1)
		w.log.Append(at, []*event.Event{e}, func(a ledger.Appended) { done <- a })
		a := <-done
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		return a.First
	}
	author := ledger.Author{Source: "/l", Node: "test"}
	for _, e := range append([]*event.Event{{Data: &event.LedgerCreated{Ledger: "l", Partitions: 4, NumberForms: 1}},
		{Data: &event.PolicyActivated{Revision: revision, Digest: digest, By: "test"}}}, events...) {
		now := time.Now()
		e.ID, e.Source, e.Time, e.Node = event.NewID(now), author.Source, event.Millis(now), author.Node
		reg, _ = reg.Apply(put(event.ControlPartition, e), e)
	}
	for _, at := range wayPartitions[:4] {
		put(at, reg.Applied(author, at, time.Now()))
	}
	n := node.New(node.Config{Log: w.log, Views: w.views, Finder: w.views, Vault: nodetest.Vault{}, Policy: nodetest.Policy{}, Clock: node.NewClock(time.Now),
		Logger: slog.New(slog.DiscardHandler), Author: author, Accounts: map[string]ledger.Account{"test": {Countries: own, Tells: ledger.Tells{Inbound: true, Receipts: true}}}})
	running, err := n.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = running.Stop(ctx)
	})
	peerWith(t, Config{Alphabet: sms.GSM7}, n, func(nc net.Conn, r *wire.Reader) {
		if !accept(nc, r) {
			return
		}
		for frame := range w.frames {
			nc.Write(frame)
			answer, err := r.Next()
			p := wire.PDU{}
			if err == nil {
				p, _ = wire.Parse(answer)
			}
			w.answers <- p
		}
	})
	t.Cleanup(func() { close(w.frames) })
	w.records()
	return w
}

// recorded is an event and where it stands.
type recorded struct {
	at event.Position
	e  *event.Event
}

// records are the inbound events that came since it was last asked.
func (w *wayNode) records() (out []recorded) {
	for _, at := range wayPartitions {
		_, head, err := w.log.Read(w.t.Context(), at, 0, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		if head == w.heads[at] {
			continue // a read waits for the next
		}
		records, _, err := w.log.Read(w.t.Context(), at, w.heads[at], int(head-w.heads[at]))
		if err != nil {
			w.t.Fatal(err)
		}
		w.heads[at] = head
		for _, r := range records {
			switch r.Event.Data.(type) {
			case *event.InboundReceivedV2, *event.InboundHeld:
				out = append(out, recorded{event.Position{Partition: at, Index: r.Index}, r.Event})
			}
		}
	}
	return out
}

// reaches says in which stream an event is, and what it stops there, in one line.
func reaches(tenant string, subject event.Pseudonym, ask event.InboundAsk, holds event.HoldReason, plain bool, reaches []event.Reach) string {
	return fmt.Sprint(tenant, " ", subject, " ", ask, " ", holds, " ", plain, " ", reaches)
}

// answered sends a message to the node, and returns the status of its answer.
func (w *wayNode) answered(s *spoken, sequence int32) data.CommandStatusType {
	binary.BigEndian.PutUint32(s.frame[12:], uint32(sequence))
	w.frames <- s.frame
	select {
	case p := <-w.answers:
		if p.CommandID != data.DELIVER_SM_RESP || p.SequenceNumber != sequence {
			w.t.Fatalf("%v\nis answered with %+v", s, p)
		}
		return p.CommandStatus
	case <-within(w.t).Done():
		w.t.Fatalf("%v\nis not answered", s)
	}
	panic("not reached")
}

// deliver sends a message to the node, and returns the lines of what was recorded when it was acknowledged.
// In a stream that it stops, the state that the views have then must show it.
func (w *wayNode) deliver(s *spoken, sequence int32) (lines []string) {
	ctx := within(w.t)
	if status := w.answered(s, sequence); status != data.ESME_ROK {
		w.t.Fatalf("%v\nis answered with %s", s, wire.StatusName(status))
	}
	for _, r := range w.records() {
		e := r.e
		stops := false
		var reach []event.Reach
		switch d := e.Data.(type) {
		case *event.InboundReceivedV2:
			reach, stops = d.Reaches, e.Tenant != "" && (d.Ask == event.InboundStop || d.Holds != "")
			subject := e.Subject
			if e.Tenant == "" {
				subject = event.Pseudonym{}
			}
			lines = append(lines, reaches(e.Tenant, subject, d.Ask, d.Holds, false, reach))
		case *event.InboundHeld:
			reach, stops = d.Reaches, true
			lines = append(lines, reaches(e.Tenant, e.Subject, "", "", d.Plain, reach))
		}
		if !stops {
			continue
		}
		if err := w.views.WaitFor(ctx, r.at); err != nil {
			w.t.Fatal(err)
		}
		states, _, err := w.views.Streams(ctx, r.at.Partition, []event.Pseudonym{e.Subject})
		if err != nil || states[e.Subject] == nil {
			w.t.Fatalf("%v\nno state: %v", s, err)
		}
		for _, x := range reach {
			stopped := false
			for _, o := range states[e.Subject].OptOuts {
				stopped = stopped || o.Event == e.ID && o.Reach == x
			}
			if !stopped {
				w.t.Fatalf("%v\nthe views show no opt-out of %v in the stream %s of %s", s, x, e.Subject, e.Tenant)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// TestWholeWayNode writes drawn messages to the socket of a client with a whole node behind it. What is in the
// log and in the views when one is acknowledged is what FuzzWholeWay has checked.
func TestWholeWayNode(t *testing.T) {
	d := draw{rng: rand.New(rand.NewPCG(1, 5))}
	for _, account := range []struct {
		countries []string
		own       bool
	}{{[]string{"BR", "CN"}, true}, {[]string{"US"}, false}, {[]string{"AR", "BR", "MX"}, false}} {
		t.Run(strings.Join(account.countries, " "), func(t *testing.T) {
			of := func(c []string) bool { return slices.Equal(c, account.countries) }
			reg, programs, own := registries()[slices.IndexFunc(accountSettings, of)], account.countries, []string(nil)
			if account.own {
				reg, programs, own = registries()[len(accountSettings)], []string{"*"}, account.countries
			}
			w := newWayNode(t, controlEvents(programs), own)
			stops, letters := 0, 0
			for i := int32(100); i < 140; {
				s := &spoken{home: &numberings[d.n(len(numberings))], reg: reg, own: own, countries: account.countries}
				s.draw(&d)
				s.alphabet, s.sniff = sms.GSM7, false
				// Letters that stop in China, of a writer who may be there, are rare: they come first.
				if rare := s.asks == asksRule && s.grade == gradePossible; rare {
					letters++
				} else if letters < 5 && slices.Contains(account.countries, "CN") {
					continue
				}
				s.check(t)
				want := s.recorded(t)
				if got := w.deliver(s, i); !slices.Equal(got, want) {
					t.Fatalf("%v\nthe node recorded\n%s\nand not\n%s", s, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
				if strings.Contains(strings.Join(want, " "), string(event.ScopeLegalEntity)) {
					stops++
				}
				i++
			}
			if stops < 10 {
				t.Errorf("only %d messages stopped anything", stops)
			}
			for i := range int32(10) {
				s := &spoken{home: &numberings[0], reg: reg, own: own, countries: account.countries}
				s.draw(&d)
				w.log.away.Store(true)
				if status := w.answered(s, 200+i); status != data.ESME_RX_T_APPN {
					t.Errorf("%v\nis answered with %s while the log takes nothing", s, wire.StatusName(status))
				}
				w.log.away.Store(false)
			}
			if got := w.records(); len(got) > 0 {
				t.Errorf("%d events of messages that were refused", len(got))
			}
		})
	}
}

// recorded are the lines of what a node must record of a message.
func (s *spoken) recorded(t *testing.T) (lines []string) {
	w, said := s.goes(t)
	if !said {
		return nil
	}
	v, e := nodetest.Vault{}, &w.placed.Event
	var subject event.Pseudonym
	if w.placed.Tenant != "" {
		subject = v.Pseudonym(w.placed.Tenant, string(w.who.Numbers[0]))
	}
	lines = append(lines, reaches(w.placed.Tenant, subject, e.Ask, e.Holds, false, e.Reaches))
	for _, h := range w.placed.Held {
		lines = append(lines, reaches(h.Tenant, v.Pseudonym(h.Tenant, string(h.Number)), "", "", h.Event.Plain, h.Event.Reaches))
	}
	slices.Sort(lines)
	return lines
}
