package node

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// textLanes is how many inbound texts are recorded side by side. The texts of one handset use
	// the same lane, so that its STOP and its START keep their order.
	textLanes = 8
	// textsWaiting bounds the texts that wait in one lane. Further texts are refused, and their
	// carriers deliver them once more.
	textsWaiting = 1024
	// lookWithin bounds every look-up: into the views, or of one event in the log.
	lookWithin = 2 * time.Second
)

// texts records inbound messages. They have lanes of their own: a STOP never waits behind a
// receipt, nor behind the slow look-up of a handset in another lane.
type texts struct {
	writer  *ledger.Writer
	control *control.Control
	orphans func()
	// lanes are the queues; a text's sender says which one it uses.
	lanes [textLanes]chan text
}

// text is an inbound message that a carrier delivered.
type text struct {
	d   ledger.Delivery
	ack func(error)
	// read is how many events of each partition were folded when the text came. It may wait here,
	// but a START lifts only what was in force then.
	read []int64
}

func newTexts(w *ledger.Writer, c *control.Control, orphans func()) *texts {
	t := &texts{writer: w, control: c, orphans: orphans}
	for i := range t.lanes {
		t.lanes[i] = make(chan text, textsWaiting)
	}
	return t
}

// deliver queues a text, or refuses it if too many wait in its lane.
func (t *texts) deliver(x text) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(x.d.From))
	select {
	case t.lanes[h.Sum32()%textLanes] <- x:
	default:
		x.ack(ledger.ErrRefused)
	}
}

// run records the texts of every lane, until ctx is done.
func (t *texts) run(ctx context.Context) {
	var lanes sync.WaitGroup
	for _, lane := range t.lanes {
		lanes.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case x := <-lane:
					t.record(ctx, &x)
				}
			}
		})
	}
	lanes.Wait()
}

// record appends a text to its sender's stream with each tenant that it concerns; if it concerns
// none, to the account's inbox. Words that revoke are in force with that event. The text is
// acknowledged when all of its events are durable.
func (t *texts) record(ctx context.Context, x *text) {
	reg, _ := t.control.Latest()
	from, err := receipts.Sender(&x.d)
	if err != nil { // a short code or a name is no recipient, and can opt out of nothing
		t.unplaced(x)
		return
	}
	concerns := receipts.Reach(reg, &x.d)
	switch len(concerns) {
	case 0:
		t.unplaced(x)
		return
	case 1:
		t.concern(ctx, x, from, &concerns[0], x.ack)
		return
	}
	answers := make(chan error, len(concerns))
	for i := range concerns {
		t.concern(ctx, x, from, &concerns[i], func(err error) { answers <- err })
	}
	go func() {
		var all error
		for range concerns {
			all = errors.Join(all, <-answers)
		}
		x.ack(all)
	}()
}

// concern appends a text to its sender's stream with one tenant.
func (t *texts) concern(ctx context.Context, x *text, from sms.Number, c *receipts.Concern, ack func(error)) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	w := t.writer
	stream, err := w.Keyed(ctx, w.Stream(c.Tenant, from))
	if err != nil {
		ack(err)
		return
	}
	c.Event.Read = x.read[stream.Partition]
	t.append(stream, ledger.ClassEvidence, &c.Event, event.Inbound{From: string(from), Text: x.d.Text(), Raw: x.d.Raw}, ack)
}

// unplaced appends a text that concerns no recipient to its account's inbox.
func (t *texts) unplaced(x *text) {
	stream, err := t.writer.Inbox(x.d.Account)
	if err != nil {
		x.ack(err)
		return
	}
	t.orphans()
	received := receipts.WithoutTenant(&x.d)
	t.append(stream, ledger.ClassCarrier, &received, event.Inbound{From: x.d.From, Text: x.d.Text(), Raw: x.d.Raw}, x.ack)
}

func (t *texts) append(s ledger.Stream, class ledger.Class, received *event.InboundReceived, words event.Inbound, ack func(error)) {
	w := t.writer
	id := w.NewID()
	var err error
	if received.Sealed, err = w.Seal(s, class, id, words); err != nil {
		ack(err)
		return
	}
	w.Queue(s.Partition, w.Write(s, id, received), ack)
}
