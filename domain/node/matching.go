package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/facts"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// receiptsWaiting bounds the receipts that wait to be matched. Further receipts are refused,
	// and their carriers deliver them once more.
	receiptsWaiting = 4096
	// lookers is how many look-ups of receipts run side by side: those that are asked together cost
	// little more than one.
	lookers = 64
	// dueEvery is how often the matcher is asked which look-ups are due.
	dueEvery = 50 * time.Millisecond
	// unansweredWaiting bounds the parts without an answer whose recipients are looked up after a
	// start. A part beyond the bound is matched through the views, once it is in doubt.
	unansweredWaiting = 10_000
)

// matching runs the receipts' matcher. It asks the views, seals and appends what the matcher
// says, and answers the carriers.
type matching struct {
	log     *slog.Logger
	writer  *ledger.Writer
	ledger  ledger.Log
	vault   ledger.Vault
	views   ledger.Views
	finder  ledger.Finder
	facts   *facts.Recorder
	level   func() int // the ledger's format level
	now     func() time.Time
	arrived chan arrived
	lookups chan receipts.Lookup
	calls   chan unanswered

	mu   sync.Mutex
	step *receipts.Matcher
}

// arrived is a receipt that a carrier delivered.
type arrived struct {
	d   ledger.Delivery
	ack func(error)
}

// unanswered is a part of an attempt whose answer this process will not get.
type unanswered struct {
	account   string
	reference uint16
	ref       ledger.HandoffRef
	submit    event.Position
}

func newMatching(cfg *Config, w *ledger.Writer, facts *facts.Recorder, level func() int) *matching {
	return &matching{log: cfg.Logger, writer: w, ledger: cfg.Log, vault: cfg.Vault, views: cfg.Views, finder: cfg.Finder, facts: facts, level: level, now: cfg.Clock.Now,
		arrived: make(chan arrived, receiptsWaiting), lookups: make(chan receipts.Lookup, receipts.MaxLookups), calls: make(chan unanswered, unansweredWaiting),
		step: receipts.New(cfg.Accounts, cfg.Placement != nil, event.NewID)}
}

// deliver queues a receipt, or refuses it if too many wait.
func (m *matching) deliver(d ledger.Delivery, ack func(error)) {
	select {
	case m.arrived <- arrived{d, ack}:
	default:
		ack(ledger.ErrRefused)
	}
}

// run matches receipts until ctx is done. owner says whether this node looks after the inbox.
func (m *matching) run(ctx context.Context, owner func() bool) {
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case x := <-m.arrived:
				m.do(func(now time.Time) receipts.Actions { return m.step.Receipt(x.d, x.ack, now) })
			}
		}
	})
	for range lookers {
		all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case l := <-m.lookups:
					m.look(ctx, l)
				}
			}
		})
	}
	all.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case x := <-m.calls:
				m.unanswered(ctx, x)
			}
		}
	})
	all.Go(func() {
		t := time.NewTicker(dueEvery)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				m.do(func(now time.Time) receipts.Actions {
					out, _ := m.step.Due(now, owner())
					return out
				})
			}
		}
	})
	all.Wait()
}

// do makes one step of the matcher, and does what the step asks for.
func (m *matching) do(step func(now time.Time) receipts.Actions) {
	m.mu.Lock()
	out := step(m.now())
	for _, l := range out.Lookups { // the channel has room for all look-ups that the matcher allows
		m.lookups <- l
	}
	m.mu.Unlock()
	for _, l := range out.Learned {
		m.log.Info("receipts show where the carrier account writes its ids in hexadecimal; in the other place they are decimal",
			"account", l.Account, "hexadecimal_in", cmp.Or(string(l.HexIDs), "neither"))
	}
	for i := range out.Matched {
		m.record(&out.Matched[i])
	}
	for i := range out.Kept {
		m.keep(&out.Kept[i])
	}
	for _, a := range out.Acks {
		a.Ack(a.Err)
	}
}

// look asks the views which hand-offs a receipt may be about.
func (m *matching) look(ctx context.Context, l receipts.Lookup) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	found, err := m.find(ctx, l)
	m.do(func(now time.Time) receipts.Actions { return m.step.Found(l.ID, found, err, now) })
}

// recipientsRead bounds the hand-offs of one look-up whose recipients are read. Nearly every look-up finds one or none.
const recipientsRead = 8

// find looks for the hand-offs that have one of a receipt's keys, with their recipients where they count.
func (m *matching) find(ctx context.Context, l receipts.Lookup) ([]receipts.Candidate, error) {
	if len(l.Keys) == 0 {
		return nil, nil
	}
	refs, err := m.views.Handoffs(ctx, l.Delivery.Account, l.Keys)
	if err != nil {
		return nil, err
	}
	found := make([]receipts.Candidate, len(refs))
	recipients := l.Recipients(refs)
	for i, ref := range refs {
		found[i].Ref = ref
		if !recipients || i >= recipientsRead {
			continue
		}
		f, ok, err := m.finder.Find(ctx, ref.Tenant, ref.Message)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if found[i].To, found[i].From, err = m.addressesOf(ctx, f.Position); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// addressesOf are the number that a submit is for, and its sender. They are "" if that can never be read; an error
// says that it may be read later.
func (m *matching) addressesOf(ctx context.Context, at event.Position) (sms.Number, sms.Sender, error) {
	e, err := ledger.ReadEvent(ctx, m.ledger, at)
	if err != nil {
		if errors.Is(err, ledger.ErrDamaged) {
			return "", "", nil
		}
		return "", "", err
	}
	d, content, err := ledger.OpenContent(m.vault, e)
	if err != nil {
		if errors.Is(err, ledger.ErrRefused) {
			return "", "", err
		}
		return "", "", nil
	}
	return sms.Number(content.To), sms.Sender(d.From), nil
}

// record appends a receipt to its message's stream.
func (m *matching) record(x *receipts.Matched) {
	done := x.Ack
	if done == nil { // the receipt is durable in the inbox: a failed append is tried once more later
		done = func(err error) {
			if err != nil {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.step.Failed(x.Parked, m.now())
			}
		}
	}
	stream, err := m.stream(&x.Ref)
	if err != nil {
		done(err)
		return
	}
	data := received(&x.Delivery)
	if data.Sealed, err = m.writer.Seal(m.level(), stream, ledger.ClassCarrier, x.ID, event.Inbound{Raw: x.Delivery.Raw}); err != nil {
		done(err)
		return
	}
	data.Attempt, data.Part, data.Match, data.Received = x.Ref.Attempt, x.Ref.Part, x.Match, event.Millis(x.Received)
	data.Grade = event.GradeNetwork
	if x.Match == event.MatchReference {
		data.Grade = event.GradeInferred
	}
	e := m.writer.Write(stream, x.ID, data)
	e.Message = x.Ref.Message
	if x.Ack == nil {
		m.facts.Append(stream.Partition, e, done)
		return
	}
	m.writer.Queue(stream.Partition, e, done)
}

// stream is the stream that a matched receipt is appended to. If its key is not known, it is
// looked up.
func (m *matching) stream(ref *ledger.HandoffRef) (ledger.Stream, error) {
	s := ledger.Stream{Tenant: ref.Tenant, Subject: ref.Subject, Partition: ref.Partition, Key: ref.Key}
	if !s.Key.IsZero() {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookWithin)
	defer cancel()
	return m.writer.Keyed(ctx, s)
}

// keep makes a receipt durable in its account's inbox.
func (m *matching) keep(x *receipts.Kept) {
	stream, err := m.writer.Inbox(x.Delivery.Account)
	if err != nil {
		x.Ack(err)
		return
	}
	data := received(&x.Delivery)
	if data.Sealed, err = m.writer.Seal(m.level(), stream, ledger.ClassCarrier, x.ID, kept(&x.Delivery)); err != nil {
		x.Ack(err)
		return
	}
	m.writer.Queue(stream.Partition, m.writer.Write(stream, x.ID, data), x.Ack)
}

// kept is what of a receipt in the inbox is sealed: all that it is matched by and that its event does not have.
func kept(d *ledger.Delivery) event.Inbound {
	return event.Inbound{From: d.From, To: d.To, TextID: d.Receipt.TextID, Raw: d.Raw}
}

// received is a receipt as events have it, without the message that it is about.
func received(d *ledger.Delivery) *event.ReceiptReceived {
	r := d.Receipt
	return &event.ReceiptReceived{Account: d.Account, CarrierID: r.ID, Reference: int(d.Reference),
		State: event.MessageState(r.State.String()), Final: r.Final && !r.Intermediate, Error: r.Error}
}

// called tells the matcher of the parts of a call, before the carrier is called.
func (m *matching) called(c *dispatch.Call) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range c.Handoffs {
		m.step.Called(c.Grant.Account, c.Stream, &c.Handoffs[i], m.now())
	}
}

// answered tells the matcher what the carrier answered to a part, and does what it asks for.
func (m *matching) answered(c *dispatch.Call, h *ledger.Handoff, r ledger.HandoffResult) {
	m.do(func(time.Time) receipts.Actions { return m.step.Answered(c.Grant.Account, c.Stream, h, r) })
}

// unansweredOf queues the open parts of a message for which another process called a carrier, or
// this process before it restarted.
func (m *matching) unansweredOf(p event.Partition, s *recipient.State, msg *recipient.Message) {
	for i, a := range msg.Attempts {
		for _, part := range a.Parts {
			if a.Reference == 0 || part.Status != recipient.PartOpen && part.Status != recipient.PartInDoubt {
				continue
			}
			x := unanswered{a.Carrier, a.Reference + uint16(part.Part-1), ledger.HandoffRef{Partition: p, Tenant: s.Tenant, Subject: s.Subject,
				Message: msg.ID, Attempt: i + 1, Part: part.Part, Key: s.Key}, event.Position{Partition: p, Index: msg.Index}}
			m.mu.Lock()
			own := m.step.Knows(x.account, x.reference, msg.ID)
			m.mu.Unlock()
			if own {
				continue
			}
			select {
			case m.calls <- x:
			default:
			}
		}
	}
}

// unanswered looks up the recipient of such a part, and tells the matcher.
func (m *matching) unanswered(ctx context.Context, x unanswered) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if to, _, err := m.addressesOf(ctx, x.submit); err == nil && to != "" {
		m.do(func(now time.Time) receipts.Actions { return m.step.Unanswered(x.account, x.reference, x.ref, to, now) })
	}
}

// hexIDs says where the accounts write their ids in hexadecimal; see Stats.HexIDs.
func (m *matching) hexIDs() map[string]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]string{}
	for account, h := range m.step.HexIDs() {
		out[account] = string(h)
	}
	return out
}

// waiting is how many receipts are parked.
func (m *matching) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.step.Waiting()
}
