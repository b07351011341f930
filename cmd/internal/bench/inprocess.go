package bench

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// inProcess is a carrier without sockets. It takes every part, answers, and then sends the receipt; one part in fifty is
// undeliverable.
type inProcess struct {
	clock   *simulatedClock
	inbox   ledger.Inbox
	changed chan struct{}
	work    chan called // with room for a whole window, and for a long message that begins in its last slot

	mu       sync.Mutex
	used     int              // parts that are queued or unanswered
	busy     int              // parts and texts of which a delivery is not acknowledged
	submits  uint64           // parts
	receipts map[event.ID]int // of this step: receipts of each message that lacks some
	whole    map[event.ID]bool
}

// called is a part that the carrier was called with.
type called struct {
	h    ledger.Handoff
	done func(ledger.HandoffResult)
}

const (
	window        = 1024
	deliverers    = 4
	undeliverable = 50
)

func newInProcess(clock *simulatedClock) *inProcess {
	c := &inProcess{clock: clock, changed: make(chan struct{}, 1), work: make(chan called, window+sms.MaxSegments)}
	c.begin()
	return c
}

func (c *inProcess) connect(inbox ledger.Inbox, _ *slog.Logger) (ledger.Client, error) {
	c.inbox = inbox
	return c, nil
}

// Account is part of ledger.Carrier, as the next ones are.
func (c *inProcess) Account() string { return madeCarrier }

// Changed receives a value after a slot became free.
func (c *inProcess) Changed() <-chan struct{} { return c.changed }

// Takes reports whether a slot is free.
func (c *inProcess) Takes(promised int, _ time.Time) (bool, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used+promised < window, time.Time{}
}

// Pace is 0: the carrier writes what it gets at once.
func (c *inProcess) Pace(int, time.Time) time.Duration { return 0 }

// Submit takes a part, unless it comes too late.
func (c *inProcess) Submit(h ledger.Handoff, done func(ledger.HandoffResult)) {
	if !c.clock.now().Before(h.CallBy) {
		done(ledger.HandoffResult{Status: ledger.HandoffNotCalled, Reason: "its time to be called had passed"})
		return
	}
	c.mu.Lock()
	c.used++
	c.busy++
	c.mu.Unlock()
	c.work <- called{h, done}
}

// Run answers until ctx is done, and then what is still open.
func (c *inProcess) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for range deliverers {
		all.Go(func() {
			for {
				select {
				case x := <-c.work:
					c.answer(x)
				case <-ctx.Done():
					select {
					case x := <-c.work:
						c.answer(x)
					default:
						return
					}
				}
			}
		})
	}
	all.Wait()
	return nil
}

// SetShare does nothing: the account is this process's alone.
func (c *inProcess) SetShare(bool, float64) {}

// State says that the account takes parts.
func (c *inProcess) State() ledger.ClientState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return ledger.ClientState{Bound: true, Open: c.used, Submits: c.submits}
}

// answer answers a part, and delivers its receipt.
func (c *inProcess) answer(x called) {
	c.mu.Lock()
	c.used--
	c.submits++
	n := c.submits
	c.mu.Unlock()
	// Ids must differ from those of another run over the same ledger.
	id := fmt.Sprintf("%x-%d", x.h.Message[:4], n)
	x.done(ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: id})
	select {
	case c.changed <- struct{}{}:
	default:
	}
	state := sms.StateDelivered
	lot := fnv.New32a() // by what was sent to whom, so that each run has the same fates
	lot.Write(append([]byte(x.h.To), x.h.Segment.Octets...))
	if lot.Sum32()%undeliverable == 0 {
		state = sms.StateUndeliverable
	}
	c.deliver(ledger.Delivery{Account: madeCarrier, From: strings.TrimPrefix(string(x.h.To), "+"), To: strings.TrimPrefix(string(x.h.From), "+"),
		FromTON: 1, FromNPI: 1, ToTON: 1, ToNPI: 1, Reference: x.h.Reference, Receipt: &sms.Receipt{ID: id, State: state, Final: true}, Raw: []byte("receipt " + id)},
		func() { c.received(&x.h) })
}

// received counts a part's receipt. The caller has the lock.
func (c *inProcess) received(h *ledger.Handoff) {
	if c.receipts[h.Message]++; c.receipts[h.Message] >= h.Parts {
		delete(c.receipts, h.Message)
		c.whole[h.Message] = true
	}
}

// redeliverAfter is how long after a refusal a delivery is repeated.
const redeliverAfter = 20 * time.Millisecond

// deliver delivers until that is acknowledged, and then calls acked with the lock.
func (c *inProcess) deliver(d ledger.Delivery, acked func()) {
	d.Received = c.clock.now()
	c.inbox.Deliver(d, func(err error) {
		if err != nil {
			time.AfterFunc(redeliverAfter, func() { c.deliver(d, acked) })
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy--
		acked()
	})
}

// text delivers a text from a handset, and returns when it is acknowledged.
func (c *inProcess) text(ctx context.Context, from, to, body string) error {
	c.mu.Lock()
	c.busy++
	c.mu.Unlock()
	done := make(chan struct{})
	c.deliver(ledger.Delivery{Account: madeCarrier, From: strings.TrimPrefix(from, "+"), To: strings.TrimPrefix(to, "+"), FromTON: 1, FromNPI: 1, ToTON: 1, ToNPI: 1,
		Texts: []string{body}, Raw: []byte(body)}, func() { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin forgets the messages of the step before.
func (c *inProcess) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.receipts, c.whole = map[event.ID]int{}, map[event.ID]bool{}
}

// open is how many of the messages lack a receipt.
func (c *inProcess) open(ids []event.ID) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if !c.whole[id] {
			n++
		}
	}
	return n
}

// isIdle reports whether every part has its answer and every delivery was acknowledged.
func (c *inProcess) isIdle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used == 0 && c.busy == 0
}
