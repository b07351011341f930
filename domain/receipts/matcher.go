// Package receipts finds the message that a delivery receipt is about, and says whom the
// words of an inbound message reach. Both are deterministic: the Matcher is a step, whose
// look-ups and appends are done by node, and Reach is a pure function.
package receipts

import (
	"container/list"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Bounds of a Matcher's memory.
const (
	// maxRemembered bounds the hand-offs kept for matching; older ones are found in the
	// views.
	maxRemembered = 200_000
	// maxParked bounds the receipts that wait for their hand-off. They are durable in the
	// inbox; beyond the bound the oldest waits there alone.
	maxParked = 100_000
)

// MaxLookups bounds the look-ups that have not been answered. All but looksAtOnce of them are
// for receipts that are not acknowledged; one more is refused, and its carrier delivers it again.
const MaxLookups = 4096

// ParkFor is how long a receipt waits for its hand-off before it is an orphan. It lies below
// recipient.RepeatWindow, within which a receipt that is moved twice is told from two.
const ParkFor = 20 * time.Hour

const (
	// firstLook is when a parked receipt is first looked up again in the views, where
	// another node's hand-offs show; then it is looked up ever more seldom, down to once in
	// lastLook.
	firstLook = 200 * time.Millisecond
	lastLook  = 10 * time.Minute
	// looksAtOnce bounds the look-ups of parked receipts that have not been answered: however
	// many wait, the others do not wait behind them.
	looksAtOnce = 200
	// crossNode is how long a receipt that is unknown here waits, unacknowledged, for
	// another node's hand-off to reach the views, before it goes to the inbox.
	crossNode = 150 * time.Millisecond
)

// Matcher finds the message that a receipt is about, within its carrier account: by the
// carrier's id, or, for a hand-off that was never answered, by user_message_reference and
// the recipient. A receipt that outran the response to its hand-off is put into the inbox
// and waits, parked, until the response or the views name its message.
//
// It is a step: it has no goroutine, no lock and no clock, looks nothing up and appends
// nothing. What it wants done, its Actions say.
type Matcher struct {
	accounts map[string]ledger.Account
	// shared: other nodes hand off too, and their hand-offs show in the views.
	shared bool
	newID  func(now time.Time) event.ID

	known map[string]ledger.HandoffRef // by account and id
	order []string                     // of known, the oldest first
	calls map[string]calledPart        // by account and reference

	parking
	// waiting are unacknowledged receipts that wait for another node's hand-off, in order of
	// when they are looked up.
	waiting []*receipt

	lookups map[uint64]*receipt // look-ups that have not been answered
	lastID  uint64
	looking int // of lookups, those of parked receipts
	open    int // receipts that were delivered and are neither matched, nor kept, nor refused

}

// calledPart is a part that a carrier was called with. unanswerable: its answer will not
// come, so that nothing but its reference settles it.
type calledPart struct {
	ref          ledger.HandoffRef
	to           sms.Number
	unanswerable bool
	at           time.Time
}

// receipt is one that is not matched yet. Parked is its element in the order of arrival; nil
// while its first look-ups run, and after it was matched or dropped.
type receipt struct {
	id      event.ID // of its event: the matched one, or the inbox's
	d       ledger.Delivery
	ack     func(error)
	inbox   bool      // it is in the inbox, or on its way there: parked, and acknowledged from there
	ids     []string  // the forms of its id
	keys    []string  // under which it is parked, once it is
	at      time.Time // when it came
	waited  bool      // it has waited for another node's hand-off
	element *list.Element
	next    time.Time // when it is looked up
	wait    time.Duration
	index   int // in looks; -1 when it is not there
}

// Actions is what a step asks its thin layer to do, in any order.
type Actions struct {
	// Lookups are questions for the views. Each is answered by Found.
	Lookups []Lookup
	// Matched are receipts for the streams of their messages.
	Matched []Matched
	// Kept are receipts for the inboxes of their accounts.
	Kept []Kept
	// Acks are deliveries to be answered at once.
	Acks []Ack
}

// Lookup asks for the hand-off that a receipt is about: under the forms of its id, else, if it
// has a reference, of a part in doubt under that and with the receipt's recipient.
type Lookup struct {
	ID       uint64
	IDs      []string
	Delivery *ledger.Delivery
}

// Matched is a receipt whose message is known. It is appended to the message's stream, and
// Ack is called when it is durable there.
type Matched struct {
	ID       event.ID
	Ref      ledger.HandoffRef
	Delivery ledger.Delivery
	Match    event.Match
	// Received is when it came, where it waited in the inbox: then it is durable there, Ack
	// is nil, and an append that failed is told to Failed with Again.
	Received time.Time
	Ack      func(error)
	Parked   *Parked
}

// Parked is a receipt that waited in the inbox and was matched.
type Parked struct{ r *receipt }

// Kept is a receipt that is appended to its account's inbox, and then acknowledged.
type Kept struct {
	ID       event.ID
	Delivery ledger.Delivery
	Ack      func(error)
}

// Ack answers a delivery: nil is durable, an error makes the carrier deliver it again.
type Ack struct {
	Ack func(error)
	Err error
}

// New returns a matcher that knows no hand-off. shared: other nodes hand off too.
func New(accounts map[string]ledger.Account, shared bool, newID func(now time.Time) event.ID) *Matcher {
	return &Matcher{accounts: accounts, shared: shared, newID: newID, known: map[string]ledger.HandoffRef{}, calls: map[string]calledPart{},
		lookups: map[uint64]*receipt{}, parking: parking{bounds: bounds{maxRemembered, maxParked, MaxLookups - looksAtOnce, looksAtOnce},
			parked: map[string][]*receipt{}, arrival: list.New()}}
}

// Called remembers a part before the carrier is called with it, if receipts may come for it.
func (m *Matcher) Called(account string, s ledger.Stream, h *ledger.Handoff, now time.Time) {
	if a, known := m.accounts[account]; known && !a.Tells.Receipts {
		return
	}
	k := referenceKey(account, h.Reference)
	if c := m.calls[k]; c.unanswerable && now.Sub(c.at) < ParkFor {
		return // that one has only its reference to be settled by
	}
	m.calls[k] = calledPart{ref: refOf(s, h, ""), to: h.To, at: now}
}

func refOf(s ledger.Stream, h *ledger.Handoff, id string) ledger.HandoffRef {
	return ledger.HandoffRef{Partition: event.Partition(h.Message.Partition()), Tenant: s.Tenant, Subject: s.Subject, Message: h.Message,
		Attempt: h.Attempt, Part: h.Part, Key: s.Key, CarrierID: id}
}

// Answered takes what a carrier said of a part, and moves the receipts that outran it.
func (m *Matcher) Answered(account string, s ledger.Stream, h *ledger.Handoff, r ledger.HandoffResult) (out Actions) {
	if a, known := m.accounts[account]; known && !a.Tells.Receipts {
		return out
	}
	k := referenceKey(account, h.Reference)
	switch r.Status {
	case ledger.HandoffTaken:
		m.settle(k, h.Message)
		ref := refOf(s, h, r.CarrierID)
		for _, id := range idForms(m.accounts[account], r.CarrierID) {
			k := idKey(account, id)
			m.remember(k, ref)
			m.move(&out, m.unpark(k, ""), ref, true)
		}
	case ledger.HandoffUnknown:
		if c := m.calls[k]; c.ref.Message == h.Message {
			c.unanswerable = true
			m.calls[k] = c
			m.move(&out, m.unpark(k, c.to), c.ref, false)
		}
	default:
		m.settle(k, h.Message)
	}
	return out
}

// settle forgets a part's reference; another message's under the same one stays.
func (m *Matcher) settle(k string, message event.ID) {
	if m.calls[k].ref.Message == message {
		delete(m.calls, k)
	}
}

func (m *Matcher) remember(k string, ref ledger.HandoffRef) {
	if _, ok := m.known[k]; !ok {
		m.order = append(m.order, k)
	}
	m.known[k] = ref
	if most := m.bounds.remembered; len(m.order) > most {
		for _, old := range m.order[:most/4] {
			delete(m.known, old)
		}
		m.order = append([]string(nil), m.order[most/4:]...)
	}
}

// Knows reports whether this process called a carrier for the message under that reference.
func (m *Matcher) Knows(account string, reference uint16, message event.ID) bool {
	c, ok := m.calls[referenceKey(account, reference)]
	return ok && c.ref.Message == message
}

// Unanswered takes a part of an attempt of another process, or of this one before it
// restarted: its answer will not come here, but a receipt that names its reference, from the
// number that it went to, settles it.
func (m *Matcher) Unanswered(account string, reference uint16, ref ledger.HandoffRef, to sms.Number, now time.Time) (out Actions) {
	if m.Knows(account, reference, ref.Message) {
		return out
	}
	k := referenceKey(account, reference)
	m.calls[k] = calledPart{ref: ref, to: to, unanswerable: true, at: now}
	m.move(&out, m.unpark(k, to), ref, false)
	return out
}

// Receipt takes a receipt that a carrier delivered. ack is called once it is durable, or with
// an error.
func (m *Matcher) Receipt(d ledger.Delivery, ack func(error), now time.Time) (out Actions) {
	r := m.receipt(m.newID(now), d, now)
	r.ack = ack
	switch {
	case m.recall(&out, r):
	case m.open >= m.bounds.open:
		out.Acks = append(out.Acks, Ack{ack, ledger.ErrRefused})
	default:
		m.open++
		m.lookup(&out, r)
	}
	return out
}

// receipt is one with the keys that it is parked under.
func (m *Matcher) receipt(id event.ID, d ledger.Delivery, at time.Time) *receipt {
	r := &receipt{id: id, d: d, at: at, ids: idForms(m.accounts[d.Account], d.Receipt.ID), index: -1}
	for _, form := range r.ids { // the first two forms are often one
		if k := idKey(d.Account, form); !slices.Contains(r.keys, k) {
			r.keys = append(r.keys, k)
		}
	}
	if d.Reference != 0 {
		r.keys = append(r.keys, referenceKey(d.Account, d.Reference))
	}
	return r
}

// recall matches a receipt by this node's own hand-offs: by its id, or a part whose answer
// will not come by its reference and its recipient.
func (m *Matcher) recall(out *Actions, r *receipt) bool {
	for _, id := range r.ids {
		if ref, ok := m.known[idKey(r.d.Account, id)]; ok {
			m.match(out, r, ref, MatchOf(r.d.Receipt.ID, ref.CarrierID))
			return true
		}
	}
	c := m.calls[referenceKey(r.d.Account, r.d.Reference)]
	if r.d.Reference == 0 || !c.unanswerable || !SamePerson(r.d.From, c.to) {
		return false
	}
	m.match(out, r, c.ref, event.MatchReference)
	return true
}

// match ends a receipt: into its message's stream, under an id that follows from its inbox
// event if it waited there, so that moved twice it lands once.
func (m *Matcher) match(out *Actions, r *receipt, ref ledger.HandoffRef, how event.Match) {
	x := Matched{ID: r.id, Ref: ref, Delivery: r.d, Match: how, Ack: r.ack}
	if r.inbox {
		x.ID, x.Received, x.Ack, x.Parked = event.Derive(r.id, "matched"), r.at, nil, &Parked{r}
	}
	out.Matched = append(out.Matched, x)
}

// move matches receipts that were parked. byID: by the carrier's id, not by a reference.
func (m *Matcher) move(out *Actions, rs []*receipt, ref ledger.HandoffRef, byID bool) {
	for _, r := range rs {
		how := event.MatchReference
		if byID {
			how = MatchOf(r.d.Receipt.ID, ref.CarrierID)
		}
		m.match(out, r, ref, how)
	}
}

func (m *Matcher) lookup(out *Actions, r *receipt) {
	m.lastID++
	m.lookups[m.lastID] = r
	if r.inbox {
		m.looking++
	}
	out.Lookups = append(out.Lookups, Lookup{ID: m.lastID, IDs: r.ids, Delivery: &r.d})
}

// Found takes the answer to a look-up: the hand-off, and how it matched; ok false when the
// views know none, and an error when they did not answer.
func (m *Matcher) Found(id uint64, ref ledger.HandoffRef, how event.Match, ok bool, err error, now time.Time) (out Actions) {
	r := m.lookups[id]
	if r == nil {
		return out
	}
	delete(m.lookups, id)
	if r.inbox {
		m.looking--
		m.foundParked(&out, r, ref, how, ok && err == nil, now)
		return out
	}
	m.open--
	switch {
	case err == nil && ok:
		m.match(&out, r, ref, how)
	case m.recall(&out, r): // its answer came between the look-up and now
	case err != nil:
		out.Acks = append(out.Acks, Ack{r.ack, err})
	case m.shared && !r.waited:
		m.open++
		r.waited, r.next = true, now.Add(crossNode)
		m.waiting = append(m.waiting, r)
	default:
		out.Kept = append(out.Kept, Kept{r.id, r.d, r.ack})
		r.inbox = true
		m.park(r, now, firstLook)
	}
	return out
}

// foundParked is Found for a receipt that waits in the inbox.
func (m *Matcher) foundParked(out *Actions, r *receipt, ref ledger.HandoffRef, how event.Match, ok bool, now time.Time) {
	switch {
	case r.element == nil: // matched or dropped meanwhile
	case ok:
		m.unlink(r)
		m.match(out, r, ref, how)
	default:
		m.lookLater(r, now)
	}
}

// Restored takes a receipt that waits in the inbox: this node has that to look after. at is
// when it was recorded. One that is parked already is only looked up at once.
func (m *Matcher) Restored(id event.ID, d ledger.Delivery, at, now time.Time) {
	r := m.receipt(id, d, at)
	r.inbox = true
	if x := m.parkedAs(r); x != nil {
		if x.index >= 0 { // else it is being looked up
			x.next = now
			m.looks.push(x)
		}
		return
	}
	m.park(r, now, 0) // it may have been matched long ago: that shows at once
}

// Failed takes back a receipt whose append failed: it is durable in the inbox, and looked up
// again.
func (m *Matcher) Failed(p *Parked, now time.Time) { m.park(p.r, now, firstLook) }

// Due asks for the look-ups that are due, and says when the next ones are; a time that has
// passed: as soon as others have been answered; zero: when a receipt has come. owner: this
// node looks after the inbox; else parked receipts only wait for answers to its own calls.
func (m *Matcher) Due(now time.Time, owner bool) (out Actions, next time.Time) {
	for len(m.waiting) > 0 && !m.waiting[0].next.After(now) {
		m.lookup(&out, m.waiting[0])
		m.waiting[0], m.waiting = nil, m.waiting[1:]
	}
	for len(m.looks) > 0 && m.looking < m.bounds.looking && !m.looks[0].next.After(now) {
		r := m.looks[0]
		m.looks.pop()
		if owner {
			m.lookup(&out, r)
		} else {
			m.lookLater(r, now)
		}
	}
	if len(m.waiting) > 0 {
		next = m.waiting[0].next
	}
	if len(m.looks) > 0 && (next.IsZero() || m.looks[0].next.Before(next)) {
		next = m.looks[0].next
	}
	return out, next
}

// Waiting is how many receipts are parked.
func (m *Matcher) Waiting() int { return m.arrival.Len() }

// idForms are the forms under which an account's id is remembered and looked for.
func idForms(a ledger.Account, id string) []string {
	if id == "" {
		return nil
	}
	forms := sms.IDKeys(id)
	if !a.HexIDs && len(forms) > 2 {
		forms = forms[:2] // exact, without leading zeros
	}
	return forms
}
