package node

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

var noon = time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC) // in New York

func TestClock(t *testing.T) {
	c := &Clock{base: noon}
	at := time.Duration(0)
	wall := noon
	look := func(pass, step time.Duration, want bool, what string) {
		t.Helper()
		at, wall = at+pass, wall.Add(pass+step)
		if got := c.look(wall, at); got != want {
			t.Errorf("%s: trusted %v", what, got)
		}
	}
	look(time.Hour, 0, true, "a clock that runs")
	look(time.Second, maxStep, true, "a small step")
	look(time.Second, -maxStep, true, "and back")
	look(time.Second, maxStep+time.Millisecond, false, "a step")
	look(distrust-time.Millisecond, 0, false, "soon after")
	look(time.Millisecond, 0, true, "later")
	look(time.Second, -time.Hour, false, "an hour back")
	look(distrust/2, time.Hour, false, "and forward again")
	look(distrust/2, 0, false, "counted from the last step")
	look(distrust/2, 0, true, "later")
	for range 100 {
		look(time.Minute, 20*time.Millisecond, true, "a clock that is slewed")
	}
}

func TestInboundCounts(t *testing.T) {
	m := newMetrics()
	m.countUnplaced(event.UnplacedShared)
	m.countUnplaced(event.UnplacedShared)
	m.countUnplaced(event.UnplacedUnreadable)
	if m.orphans.Load() != 3 || m.unplaced[event.UnplacedShared] != 2 || m.unplaced[event.UnplacedUnreadable] != 1 {
		t.Errorf("%d, %v", m.orphans.Load(), m.unplaced)
	}
	var judged []ledger.Judged
	for _, d := range []event.Data{&event.InboundReceivedV2{Holds: event.HoldUnreadable}, &event.InboundReceivedV2{Unplaced: event.UnplacedUnreadable},
		&event.InboundReceivedV2{Holds: event.HoldUnclear}, &event.InboundJoined{Holds: event.HoldUnreadable}, &event.InboundJoined{}} {
		judged = append(judged, ledger.Judged{Record: ledger.Record{Event: &event.Event{Data: d}}})
	}
	judged = append(judged, ledger.Judged{Record: judged[0].Record, Why: recipient.Repeat})
	if m.count(judged); m.unreadable != 3 {
		t.Errorf("%d unreadable", m.unreadable)
	}
}
