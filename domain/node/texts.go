package node

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
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
	writer   *ledger.Writer
	control  *control.Control
	accounts map[string]ledger.Account
	listen   listener
	unplaced func(event.UnplacedReason)
	// lanes are the queues; a text's sender says which one it uses.
	lanes [textLanes]chan text
	// recorded is, for each partition, one more than the highest index at which this node knows one of
	// its texts to be durable.
	recorded []atomic.Int64
}

// text is an inbound message that a carrier delivered.
type text struct {
	d   ledger.Delivery
	ack func(error)
	// read is how many events of each partition were in the log, as far as this node knew, when the
	// text came. It may wait here, but a START lifts only what was in force then.
	read []int64
}

func newTexts(w *ledger.Writer, c *control.Control, accounts map[string]ledger.Account, listen listener, partitions int, unplaced func(event.UnplacedReason)) *texts {
	t := &texts{writer: w, control: c, accounts: accounts, listen: listen, unplaced: unplaced, recorded: make([]atomic.Int64, partitions)}
	for i := range t.lanes {
		t.lanes[i] = make(chan text, textsWaiting)
	}
	return t
}

// deliver queues a text, or refuses it if too many wait in its lane. folded is how many events of each
// partition were folded. An event before one that is durable by now was in the log before the text
// came, folded or not.
func (t *texts) deliver(d ledger.Delivery, folded []int64, ack func(error)) {
	for p := range folded {
		folded[p] = max(folded[p], t.recorded[p].Load())
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(d.From))
	select {
	case t.lanes[h.Sum32()%textLanes] <- text{d, ack, folded}:
	default:
		ack(ledger.ErrRefused)
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

// record appends a text to the stream of its sender and the tenant that it is for; or, where that is not
// certain, to the operator's stream of its account and written address, and a hold to every stream that
// may be meant. Words that revoke are in force with that event. The text is acknowledged when all of
// its events are durable. If the process ends before, the carrier delivers it once more.
func (t *texts) record(ctx context.Context, x *text) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	reg, _ := t.control.Latest()
	who := receipts.WhoIs(&x.d, receipts.Countries(reg, x.d.Account, t.accounts[x.d.Account].Countries))
	p, err := t.listen.understand(ctx, reg, &x.d, who)
	if err != nil {
		x.ack(err)
		return
	}
	if p.Tenant != "" {
		t.certain(ctx, x, reg, who, &p)
		return
	}
	t.unplaced(p.Event.Unplaced)
	t.held(ctx, x, reg, &p)
}

// certain appends a text to its sender's stream with its tenant.
func (t *texts) certain(ctx context.Context, x *text, reg *control.Registry, who receipts.Who, p *receipts.Placement) {
	w := t.writer
	from := who.Numbers[0]
	stream, err := w.Keyed(ctx, w.Stream(p.Tenant, from))
	if err != nil {
		x.ack(err)
		return
	}
	id := w.NewID()
	sealed, err := w.Seal(reg.Level(), stream, ledger.ClassEvidence, id, sealedWords(x, string(from)))
	if err != nil {
		x.ack(err)
		return
	}
	p.Event.Read, p.Event.Digest, p.Event.Sealed = x.read[stream.Partition], w.SaidDigest(p.Tenant, &x.d), sealed
	var events []*event.Event
	for _, d := range p.Events(reg.Level(), id) {
		events = append(events, w.Write(stream, id, d))
		id = w.NewID()
	}
	t.append(stream.Partition, events, x.ack)
}

// held appends a text to the operator's stream of its account and written address, and then what it
// holds to the streams that may be meant.
func (t *texts) held(ctx context.Context, x *text, reg *control.Registry, p *receipts.Placement) {
	w := t.writer
	stream, err := w.Unplaced(ctx, reg.Level(), x.d.Account, x.d.From)
	if err != nil {
		x.ack(err)
		return
	}
	id := w.NewID()
	e := &p.Event
	holds := map[event.Partition][]*event.Event{}
	for i := range p.Held {
		h := &p.Held[i]
		s := w.StreamOf(h.Tenant, h.Subject)
		if h.Number != "" {
			s = w.Stream(h.Tenant, h.Number)
		}
		hold := event.Derive(id, "hold", h.Tenant, s.Subject.String())
		if slices.ContainsFunc(e.Streams, func(x event.HeldStream) bool { return x.Event == hold }) {
			continue // the recipient who was texted lately is one of the possible numbers
		}
		e.Streams = append(e.Streams, event.HeldStream{Tenant: h.Tenant, Subject: s.Subject, Event: hold})
		for _, d := range h.Events(reg.Level(), id, stream.Subject) {
			holds[s.Partition] = append(holds[s.Partition], w.Write(s, hold, d))
			hold = event.Derive(hold, "more")
		}
	}
	if e.Sealed, err = w.Seal(reg.Level(), stream, ledger.ClassCarrier, id, sealedWords(x, x.d.From)); err != nil {
		x.ack(err)
		return
	}
	if stream.Partition >= 0 {
		e.Read = x.read[stream.Partition]
	}
	e.Digest = w.SaidDigest("", &x.d)
	t.append(stream.Partition, []*event.Event{w.Write(stream, id, p.Events(reg.Level(), id)[0])}, func(err error) {
		if err != nil || len(holds) == 0 {
			x.ack(err)
			return
		}
		t.appendAll(holds, x.ack)
	})
}

// appendAll appends events to several partitions, and calls ack when all of them are durable.
func (t *texts) appendAll(all map[event.Partition][]*event.Event, ack func(error)) {
	answers := make(chan error, len(all))
	for p, events := range all {
		t.append(p, events, func(err error) { answers <- err })
	}
	go func() {
		var err error
		for range all {
			err = errors.Join(err, <-answers)
		}
		ack(err)
	}()
}

func (t *texts) append(p event.Partition, events []*event.Event, ack func(error)) {
	t.writer.QueueAll(p, events, func(a ledger.Appended) {
		if a.Err == nil && p >= 0 {
			highest(&t.recorded[p], a.First+int64(len(events)))
		}
		ack(a.Err)
	})
}

// highest sets v to n if n is higher.
func highest(v *atomic.Int64, n int64) {
	for old := v.Load(); n > old && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

// sealedWords are the personal data of a text.
func sealedWords(x *text, from string) event.Inbound {
	in := event.Inbound{From: from, Text: x.d.Text(), Raw: x.d.Raw, Unreadable: x.d.Unreadable}
	if len(x.d.Texts) > 1 {
		in.Others = x.d.Texts[1:]
	}
	return in
}
