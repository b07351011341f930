package node

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/recipient"
)

// metrics are the counts of a node since its start.
type metrics struct {
	receipts, inbound, orphans atomic.Int64
	handoffs                   [5]atomic.Int64 // by ledger.HandoffStatus
	effective, void            atomic.Int64
	lost                       atomic.Int64

	mu      sync.Mutex
	decided map[Deciding]int64
	voids   map[recipient.Why]int64
	states  map[event.MessageState]int64
	doubts  int64
	// unplaced are the inbound texts that are certain for no recipient and tenant, by reason; unreadable
	// are those that could not be read as text.
	unplaced   map[event.UnplacedReason]int64
	unreadable int64
}

func newMetrics() metrics {
	return metrics{unplaced: map[event.UnplacedReason]int64{}, decided: map[Deciding]int64{}, voids: map[recipient.Why]int64{}, states: map[event.MessageState]int64{}}
}

// Deciding is a decision's outcome, and the check or the fault that caused it; "" for an allow.
type Deciding struct {
	Outcome event.DecisionOutcome
	Check   string
}

// deciding says what caused a decision.
func deciding(d *event.MessageDecided) Deciding {
	out := Deciding{Outcome: d.Outcome}
	if d.Outcome == event.Allow {
		return out
	}
	if out.Check = string(d.Fault); out.Check == "" {
		for _, c := range d.Checks {
			if c.Outcome == d.Outcome {
				out.Check = c.Check
				break
			}
		}
	}
	return out
}

// count counts judged events.
func (m *metrics) count(judged []ledger.Judged) {
	var effective int64
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range judged {
		if judged[i].Why != "" {
			m.voids[judged[i].Why]++
			continue
		}
		effective++
		switch d := judged[i].Event.Data.(type) {
		case *event.MessageDecided:
			m.decided[deciding(d)]++
		case *event.ReceiptReceived:
			m.states[d.State]++
		case *event.HandoffInDoubt:
			m.doubts++
		case *event.InboundReceivedV2:
			if d.Holds == event.HoldUnreadable || d.Unplaced == event.UnplacedUnreadable {
				m.unreadable++
			}
		case *event.InboundJoined:
			if d.Holds == event.HoldUnreadable {
				m.unreadable++
			}
		}
	}
	m.effective.Add(effective)
	m.void.Add(int64(len(judged)) - effective)
}

// countUnplaced counts an inbound text that is certain for no recipient and tenant.
func (m *metrics) countUnplaced(why event.UnplacedReason) {
	m.orphans.Add(1)
	m.mu.Lock()
	m.unplaced[why]++
	m.mu.Unlock()
}

// Stats are the node's figures for metrics and readiness. The counts are since the start.
type Stats struct {
	// World is the world data that the node decides with.
	World *places.World
	// Submitted and Refused count the submits, Receipts and Inbound the deliveries, and Orphans
	// the inbound texts that are certain for no recipient and tenant. Effective and Void count the judged events.
	// Lost counts the facts that could not be appended.
	Submitted, Refused, Receipts, Inbound, Orphans, Effective, Void, Lost int64
	// Handoffs counts the results of hand-offs by ledger.HandoffStatus: unknown, taken, retry, final, not
	// called. A part whose answer came late has two: unknown, and its answer.
	Handoffs [5]int64
	// Waiting is how many messages wait for slots, by carrier account. Parked is how many
	// receipts in the inbox wait for their message. Backlog is how many streams wait to be looked
	// at.
	Waiting map[string]int
	Parked  int
	Backlog int64
	// HexIDs says, by carrier account, where it writes its ids in hexadecimal ("responses" or "receipts"), while it writes
	// them in decimal in the other place: because hex_ids says so, or because receipts showed it since the start.
	HexIDs map[string]string
	// Decided counts the effective decisions, Voids the void events by reason, States the
	// receipts by state, and Doubts the hand-offs that became in doubt.
	Decided map[Deciding]int64
	Voids   map[recipient.Why]int64
	States  map[event.MessageState]int64
	Doubts  int64
	// Unplaced counts what Orphans counts, by reason. Unreadable counts the inbound texts whose octets
	// or writer could not be read.
	Unplaced   map[event.UnplacedReason]int64
	Unreadable int64
	// Unserved says why this node can serve no partition; nil if it can, or while it stands by.
	Unserved error
	// Served is how many partitions this node serves.
	Served int
	// Failed says which partitions have stopped, and why.
	Failed map[string]error
	Pauses []*control.Pause
	// Held are the programs that the ledger's epoch holds until an operator releases them. The epoch
	// began at HeldSince.
	Held      []*control.Program
	HeldSince time.Time
	Ready     bool
}

// Stats returns the figures as of now.
func (n *Node) Stats() Stats {
	m := &n.metrics
	s := Stats{World: n.cfg.World, Receipts: m.receipts.Load(), Inbound: m.inbound.Load(),
		Orphans: m.orphans.Load(), Effective: m.effective.Load(), Void: m.void.Load(), Lost: m.lost.Load(),
		Waiting: map[string]int{}, Parked: n.matching.waiting(), HexIDs: n.matching.hexIDs(), Failed: map[string]error{}, Ready: n.Takes() == nil}
	s.Submitted, s.Refused = n.intake.Counts()
	for i := range s.Handoffs {
		s.Handoffs[i] = m.handoffs[i].Load()
	}
	m.mu.Lock()
	s.Decided, s.Voids, s.States, s.Doubts = maps.Clone(m.decided), maps.Clone(m.voids), maps.Clone(m.states), m.doubts
	s.Unplaced, s.Unreadable = maps.Clone(m.unplaced), m.unreadable
	m.mu.Unlock()
	for name, d := range n.dispatchers {
		s.Waiting[name] = d.Load().Waiting
	}
	for _, l := range n.partitions.all {
		if !l.serving.Load() {
			continue
		}
		s.Served++
		s.Backlog += l.backlog.Load()
		if err := l.failed.Load(); err != nil {
			s.Failed[l.p.String()] = *err
		}
	}
	if err := n.unserved.Load(); err != nil {
		s.Unserved = *err
	}
	if err := n.control.Bad(); err != nil {
		s.Failed[event.ControlPartition.String()] = err
	}
	if err := n.inbox.failed(); err != nil {
		s.Failed[event.InboxPartition.String()] = err
	}
	reg := n.Registry()
	epoch := reg.Epoch()
	s.Pauses, s.Held, s.HeldSince = reg.Pauses(), epoch.Held(reg), epoch.At
	return s
}

// Oldest says, by purpose, how long ago the oldest message was submitted among those that could
// be sent now. It knows the partitions that this node serves and that answer within the given
// time.
func (n *Node) Oldest(within time.Duration) map[string]time.Duration {
	return n.partitions.oldest(within)
}
