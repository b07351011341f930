package nodetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// call is one part that a carrier was called with, as the message centre knows it.
type call struct {
	node, account string
	at            time.Time // the true time, without a node's skew
	h             ledger.Handoff
	status        ledger.HandoffStatus // what the centre answers
	id            string               // the id under which it took the part
}

// centre is the message centre behind every node's carriers. The ledger is compared with what it
// recorded.
type centre struct {
	rng   *chance
	nodes func() []*server // the nodes that take deliveries

	mu    sync.Mutex
	calm  bool // it takes every part, and answers soon
	calls []*call
	busy  tally   // counts answers and deliveries on their way
	told  []*text // the texts that were delivered and acknowledged
	texts int
}

// holdSlot is how long a part without an answer uses a slot of the window.
const holdSlot = 300 * time.Millisecond

// carrier is one node's account at the centre.
type carrier struct {
	centre  *centre
	account string
	node    *server
	window  int
	changed chan struct{}

	mu    sync.Mutex
	open  int
	queue []waitingPart
	busy  tally // counts the answers that this node waits for
}

// waitingPart is a part that waits for a slot of the window.
type waitingPart struct {
	h    ledger.Handoff
	done func(ledger.HandoffResult)
}

func (c *carrier) Account() string          { return c.account }
func (c *carrier) Changed() <-chan struct{} { return c.changed }

func (c *carrier) Takes(promised int, _ time.Time) (bool, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open+len(c.queue)+promised < c.window, time.Time{}
}

// Pace counts a hold for each window that is full before the last part.
func (c *carrier) Pace(parts int, _ time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration((c.open+len(c.queue)+parts)/c.window) * holdSlot
}

// Submit queues the part behind the others, and writes it when a slot is free.
func (c *carrier) Submit(h ledger.Handoff, done func(ledger.HandoffResult)) {
	c.mu.Lock()
	c.queue = append(c.queue, waitingPart{h, done})
	c.busy.add()
	c.mu.Unlock()
	c.writeQueued()
}

// writeQueued writes parts while slots are free.
func (c *carrier) writeQueued() {
	for {
		c.mu.Lock()
		if len(c.queue) == 0 || c.open >= c.window {
			c.mu.Unlock()
			return
		}
		x := c.queue[0]
		c.queue = c.queue[1:]
		late := !c.node.clock.Now().Before(x.h.CallBy)
		if !late {
			c.open++
		}
		c.mu.Unlock()
		if late {
			x.done(ledger.HandoffResult{Status: ledger.HandoffNotCalled, Reason: "its time to be called had passed"})
		} else {
			c.write(x.h, x.done)
		}
		c.busy.done()
	}
}

// write records the part, and answers at once, soon, after its time to be answered, or with
// HandoffUnknown; then perhaps a second time.
func (c *carrier) write(h ledger.Handoff, done func(ledger.HandoffResult)) {
	m := c.centre
	x := &call{node: c.node.name, account: c.account, at: time.Now(), h: h}
	m.mu.Lock()
	m.calls = append(m.calls, x)
	n, calm := len(m.calls), m.calm
	m.mu.Unlock()

	r := ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: fmt.Sprintf("m%d", n)}
	wait := m.rng.upTo(20 * time.Millisecond)
	took := true
	switch k := m.rng.n(100); {
	case calm || k < 84:
	case k < 91:
		r, took = ledger.HandoffResult{Status: ledger.HandoffRetry, Code: "0x00000058"}, false // ESME_RTHROTTLED
	case k < 93:
		r, took = ledger.HandoffResult{Status: ledger.HandoffFinal, Code: "0x0000000b"}, false // ESME_RINVDSTADR
	case k < 97:
		r = ledger.HandoffResult{Status: ledger.HandoffUnknown}
		took = k < 95
	default: // the answer comes when the part is already in doubt, or soon after
		wait = time.Until(h.AnswerBy) + m.rng.upTo(2500*time.Millisecond)
	}
	x.status, x.id = r.Status, r.CarrierID
	free := func() {
		c.mu.Lock()
		c.open--
		c.mu.Unlock()
		c.writeQueued()
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	if r.Status == ledger.HandoffUnknown && m.rng.n(2) == 0 {
		done = m.answersLate(c, x, took, done)
	}
	receipt := took && m.rng.n(2) == 0
	early := m.rng.n(8) == 0
	if receipt && early { // the receipt comes before the answer
		m.receipt(c, x)
	}
	if m.rng.n(4) == 0 && wait < holdSlot {
		free()
		done(r)
	} else {
		m.busy.add()
		c.busy.add()
		if wait > holdSlot {
			time.AfterFunc(holdSlot, free)
		}
		time.AfterFunc(wait, func() {
			if wait <= holdSlot {
				free()
			}
			done(r)
			c.busy.done()
			m.busy.done()
		})
	}
	if receipt && !early {
		m.receipt(c, x)
	}
}

// answersLate makes the carrier answer after all, once it has said that it does not know: before or after the
// part is in doubt.
func (m *centre) answersLate(c *carrier, x *call, took bool, done func(ledger.HandoffResult)) func(ledger.HandoffResult) {
	late := ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: x.id}
	switch {
	case !took:
		late = ledger.HandoffResult{Status: ledger.HandoffRetry, Code: "0x00000058"}
	case m.rng.n(2) == 0:
		late.CarrierID = fmt.Sprintf("late-%s-%d-%d", x.h.Message, x.h.Attempt, x.h.Part)
	}
	wait := m.rng.upTo(time.Until(x.h.AnswerBy) + 2500*time.Millisecond)
	x.status, x.id = late.Status, late.CarrierID
	m.busy.add()
	c.busy.add()
	return func(r ledger.HandoffResult) {
		done(r)
		time.AfterFunc(wait, func() {
			done(late)
			c.busy.done()
			m.busy.done()
		})
	}
}

// receipt delivers a receipt to some node; if the call got no answer, to the node that called.
func (m *centre) receipt(c *carrier, x *call) {
	d := ledger.Delivery{Account: x.account, From: string(x.h.To), To: string(x.h.From), Received: time.Now(), Reference: x.h.Reference,
		Receipt: &sms.Receipt{ID: x.id, State: sms.StateDelivered, Final: true}, Raw: []byte("receipt")}
	if m.rng.n(5) == 0 {
		d.Receipt.State = sms.StateUndeliverable
	}
	var to *server
	if x.id == "" || m.rng.n(2) == 0 {
		to = c.node
	}
	m.deliver(d, to, nil)
}

// text is a text from a handset.
type text struct {
	d ledger.Delivery
	// number is the writer's; "" if the address is no number. to is our number.
	number, to string
	stops      bool // whether its words revoke, or may revoke
}

// text delivers a text to one of our numbers, now and then twice. When it is acknowledged, it must be in
// the ledger.
func (m *centre) text(x *text) {
	m.mu.Lock()
	m.texts++
	x.d.Raw = fmt.Appendf(nil, "text %d", m.texts)
	m.mu.Unlock()
	x.d.Received = time.Now()
	for range 1 + max(0, m.rng.n(8)-6) {
		m.deliver(x.d, nil, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.told = append(m.told, x)
		})
	}
}

// deliver delivers a PDU to a node, and repeats that, to any node, until one acknowledges it.
func (m *centre) deliver(d ledger.Delivery, to *server, acked func()) {
	m.busy.add()
	var try func()
	redeliver := func() { time.AfterFunc(m.rng.upTo(50*time.Millisecond), try) }
	try = func() {
		n := to
		if n == nil || !n.enter() {
			all := m.nodes()
			if len(all) == 0 { // the run did not come to rest in time
				m.busy.done()
				return
			}
			if n = pick(m.rng, all); !n.enter() {
				redeliver()
				return
			}
		}
		n.node.Deliver(d, func(err error) {
			n.delivering.done()
			if err != nil {
				to = nil
				redeliver()
				return
			}
			if acked != nil {
				acked()
			}
			m.busy.done()
		})
	}
	redeliver()
}

// soothe ends the centre's own faults.
func (m *centre) soothe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calm = true
}
