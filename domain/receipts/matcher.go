// Package receipts finds the message that a delivery receipt is about, and says whom the words of
// an inbound message reach. Both are deterministic: the Matcher is a step, and Reach is a pure
// function. The package looks nothing up, appends nothing and answers no carrier: node does.
package receipts

import (
	"bytes"
	"container/list"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Bounds of a Matcher's memory.
const (
	// maxRemembered bounds the hand-offs in memory. Older ones are found in the views.
	maxRemembered = 65_536
	// maxParked bounds the receipts in memory that wait for their hand-off. They are durable in
	// the inbox. With more of them the oldest is dropped from memory and stays in the inbox.
	maxParked = 100_000
)

// MaxLookups bounds the look-ups that have not been answered. All but looksAtOnce of them are
// for receipts that are not acknowledged; one more is refused, and its carrier delivers it again.
const MaxLookups = 4096

// ParkFor is how long a receipt waits for its hand-off. After that it is an orphan, and stays in
// the inbox. It is less than recipient.RepeatWindow, within which it is recognized if one receipt
// is moved twice.
const ParkFor = 20 * time.Hour

const (
	// firstLook is when a parked receipt is looked up in the views for the first time: another
	// node may have made its hand-off. Each next look-up comes after twice the time, up to
	// lastLook.
	firstLook = 200 * time.Millisecond
	lastLook  = 10 * time.Minute
	// looksAtOnce bounds the look-ups of parked receipts that have not been answered: however
	// many wait, the others do not wait behind them.
	looksAtOnce = 200
	// crossNode is how long a receipt that this node does not know waits, unacknowledged, for
	// another node's hand-off to reach the views. It waits crossWaits times before it is put into
	// the inbox, which costs several events' work: a busy node writes its rows every 300 ms.
	crossNode  = 200 * time.Millisecond
	crossWaits = 2
)

// Matcher finds the message that a receipt is about, within the receipt's carrier account: by the
// carrier's id, or, for a hand-off that was never answered, by user_message_reference and the
// recipient. A receipt may come before the answer to its hand-off. Then it is put into the inbox
// and waits, parked, until the answer or the views tell its message.
//
// A receipt's id has several forms (idForms). The first form counts that a hand-off has whose number agrees with the
// receipt's. If no number agrees, because the receipt has none, a hand-off with exactly the receipt's id counts, and
// one in the base in which the account is known to write its ids. No other does: a receipt that is not certain waits.
//
// It is a step: it has no goroutine, no lock and no clock, looks nothing up and appends nothing.
// What is to be done, its Actions say.
type Matcher struct {
	accounts accounts
	// shared says that other nodes make hand-offs too. The views have them.
	shared bool
	newID  func(now time.Time) event.ID

	order []*handoff // those in memory, the oldest first
	calls calls

	parking
	// waiting are unacknowledged receipts that wait for another node's hand-off, in order of
	// when they are looked up.
	waiting []*receipt

	lookups map[uint64]*receipt // look-ups that have not been answered
	lastID  uint64
	looking int // of lookups, those of parked receipts
	open    int // receipts that were delivered and are neither matched, nor kept, nor refused

}

// calledPart is a part that the carrier was called with. unanswerable says that no answer with an id
// came here, and perhaps none will, so that only its reference can match a receipt to it.
type calledPart struct {
	ref          ledger.HandoffRef
	to           sms.Number
	from         sms.Sender // "" where it is not known
	unanswerable bool
	at           time.Time
	older        *calledPart
}

// calls are the parts that carriers were called with, by account and reference: the newest of each, with older ones
// behind it. There are only 65,536 references, and a part whose answer will not come is kept for long.
type calls map[string]*calledPart

// maxSameReference bounds the parts that are kept of one reference.
const maxSameReference = 8

// add keeps a part. Of the same reference the parts are dropped whose time is over, and the oldest beyond
// maxSameReference.
func (c calls) add(k string, p *calledPart) {
	p.older = c[k]
	c[k] = p
	for n := 1; p.older != nil; n++ {
		if n == maxSameReference || p.older.unanswerable && c[k].at.Sub(p.older.at) >= ParkFor {
			p.older = nil // those behind it are older still
			return
		}
		p = p.older
	}
}

// find is the newest part of a reference that fits; nil if there is none.
func (c calls) find(k string, fits func(*calledPart) bool) *calledPart {
	for p := c[k]; p != nil; p = p.older {
		if fits(p) {
			return p
		}
	}
	return nil
}

// forget forgets a part's reference. Other parts and attempts may use the same one.
func (c calls) forget(k string, h *ledger.Handoff) {
	p := c[k]
	if p != nil && p.of(h) {
		if c[k] = p.older; p.older == nil {
			delete(c, k)
		}
		return
	}
	for ; p != nil && p.older != nil; p = p.older {
		if p.older.of(h) {
			p.older = p.older.older
			return
		}
	}
}

// awaits reports whether the id of a part is not known that went to a receipt's number: its answer is still to come, or
// will not come. The receipt may be about that part.
func (c calls) awaits(d *ledger.Delivery) bool {
	prefix := idKey(d.Account, "")
	for k := range c {
		if strings.HasPrefix(k, prefix) && c.find(k, func(p *calledPart) bool { return judge(d, p.to, p.from) == agrees }) != nil {
			return true
		}
	}
	return false
}

// receipt is a receipt that is not matched yet.
type receipt struct {
	id      event.ID // of its event: the matched one, or the inbox's
	d       ledger.Delivery
	ack     func(error)
	inbox   bool      // it is in the inbox, or on its way there: parked, and acknowledged from there
	keys    []string  // under which it is looked up, and parked: of the forms of its ids, and of its reference
	asked   bool      // the views were asked for hand-offs, of other nodes too
	at      time.Time // when it came
	waits   int       // how often it has waited for another node's hand-off
	element *list.Element
	next    time.Time // when it is looked up next
	// wait is the time between its last look-up and the next.
	wait  time.Duration
	index int // its index in looks; -1 if it is not there
}

// Actions is what a step asks its caller to do, in any order.
type Actions struct {
	// Lookups are questions for the views. Each is answered by Found.
	Lookups []Lookup
	// Matched are receipts to be appended to their messages' streams.
	Matched []Matched
	// Kept are receipts to be appended to their accounts' inboxes.
	Kept []Kept
	// Acks are deliveries to be answered now.
	Acks []Ack
	// Learned are accounts of which another base of their ids is believed from now on.
	Learned []Learned
}

// Learned says where an account writes its ids in hexadecimal, as its last 20 receipts with a legible number showed it.
type Learned struct {
	Account string
	HexIDs  HexIDs
}

// Lookup asks the views for the hand-offs that a receipt may be about. Tell Found the answer.
type Lookup struct {
	ID uint64
	// Keys are those for Views.Handoffs: of each form of the receipt's ids, and of its reference.
	Keys     []string
	Delivery *ledger.Delivery
	hexIDs   HexIDs
}

// Recipients reports whether Found needs the numbers and senders of the hand-offs that were found. It needs none where
// the receipt has no number with four legible digits, and none where its source address has none and there is only one
// hand-off, with exactly its id.
func (l *Lookup) Recipients(found []ledger.HandoffRef) bool {
	d := l.Delivery
	if legibleDigits(d.From) < 4 && legibleDigits(d.To) < 4 {
		return false
	}
	if len(found) == 1 && l.hexIDs == NoHexIDs && found[0].CarrierID != "" && (found[0].CarrierID == d.Receipt.ID || found[0].CarrierID == d.Receipt.TextID) {
		return legibleDigits(d.From) >= 4
	}
	return true
}

// Matched is a receipt whose message is known. Append it to the message's stream, and call Ack
// when it is durable there.
type Matched struct {
	ID       event.ID
	Ref      ledger.HandoffRef
	Delivery ledger.Delivery
	Match    event.Match
	// Received is when the receipt came, if it waited in the inbox. Then it is durable there and
	// Ack is nil; tell Failed if the append failed.
	Received time.Time
	Ack      func(error)
	Parked   *Parked
}

// Parked is a receipt that waited in the inbox and was matched. It is for Failed.
type Parked struct{ r *receipt }

// Kept is a receipt without a known message. Append it to its account's inbox, and call Ack when
// it is durable there.
type Kept struct {
	ID       event.ID
	Delivery ledger.Delivery
	Ack      func(error)
}

// Ack is an answer to a delivery: nil says that it is durable; after an error the carrier
// delivers once more.
type Ack struct {
	Ack func(error)
	Err error
}

// New returns a Matcher that knows no hand-off. shared says that other nodes make hand-offs too.
func New(accounts map[string]ledger.Account, shared bool, newID func(now time.Time) event.ID) *Matcher {
	return &Matcher{accounts: newAccounts(accounts), shared: shared, newID: newID, calls: calls{},
		lookups: map[uint64]*receipt{}, parking: parking{bounds: bounds{maxRemembered, maxParked, MaxLookups - looksAtOnce, looksAtOnce},
			parked: map[string][]*receipt{}, arrival: list.New()}}
}

// HexIDs says where the accounts write their ids in hexadecimal, as far as it is believed: because the configuration
// says so, or because receipts showed it. Other accounts are not in it.
func (m *Matcher) HexIDs() map[string]HexIDs { return m.accounts.hexIDs() }

// Called remembers a part before the carrier is called with it, if the account delivers receipts.
func (m *Matcher) Called(account string, s ledger.Stream, h *ledger.Handoff, now time.Time) {
	if !m.accounts.of(account).Tells.Receipts {
		return
	}
	m.calls.add(referenceKey(account, h.Reference), &calledPart{ref: refOf(s, h, ""), to: h.To, from: h.From, at: now})
}

func refOf(s ledger.Stream, h *ledger.Handoff, id string) ledger.HandoffRef {
	return ledger.HandoffRef{Partition: event.Partition(h.Message.Partition()), Tenant: s.Tenant, Subject: s.Subject, Message: h.Message,
		Attempt: h.Attempt, Part: h.Part, Key: s.Key, CarrierID: id}
}

// Answered takes a carrier's answer to a part. Receipts that came before the answer are matched
// now. After HandoffUnknown another answer may come: then the id counts, and no longer the reference. A
// part that the carrier took without an id is found by its reference, like one without an answer.
func (m *Matcher) Answered(account string, s ledger.Stream, h *ledger.Handoff, r ledger.HandoffResult) (out Actions) {
	a := m.accounts.of(account)
	if !a.Tells.Receipts {
		return out
	}
	k := referenceKey(account, h.Reference)
	switch {
	case r.Status == ledger.HandoffTaken && r.CarrierID != "":
		m.calls.forget(k, h)
		m.remember(a.add(refOf(s, h, r.CarrierID), h.To, h.From, h.Reference))
		m.unpark(&out, idKey(account, sms.IDKey(r.CarrierID)))
	case r.Status == ledger.HandoffTaken || r.Status == ledger.HandoffUnknown:
		if c := m.calls.find(k, func(p *calledPart) bool { return p.of(h) }); c != nil {
			c.unanswerable = true
			m.unpark(&out, k)
		}
	default:
		m.calls.forget(k, h)
	}
	return out
}

// of reports whether it is that part of that attempt.
func (c *calledPart) of(h *ledger.Handoff) bool {
	return c.ref.Message == h.Message && c.ref.Attempt == h.Attempt && c.ref.Part == h.Part
}

// remember keeps a hand-off that is new in memory, and forgets the oldest quarter when there are too many.
func (m *Matcher) remember(h *handoff) {
	if h == nil {
		return
	}
	m.order = append(m.order, h)
	if most := m.bounds.remembered; len(m.order) > most {
		for _, old := range m.order[:most/4] {
			old.forget()
		}
		m.order = append([]*handoff(nil), m.order[most/4:]...)
	}
}

// unpark matches the receipts parked under a key that it now has the message of.
func (m *Matcher) unpark(out *Actions, k string) {
	if len(m.parked) == 0 {
		return
	}
	for _, r := range slices.Clone(m.parked[k]) {
		if m.match(out, r, nil) {
			m.unlink(r)
		}
	}
}

// Knows reports whether this process called a carrier for the message with that reference.
func (m *Matcher) Knows(account string, reference uint16, message event.ID) bool {
	return m.calls.find(referenceKey(account, reference), func(p *calledPart) bool { return p.ref.Message == message }) != nil
}

// Unanswered takes a part of an attempt that another process made, or this process before it
// restarted. Its answer will not come here, but a receipt with its reference, from the number
// that it went to, can still be matched.
func (m *Matcher) Unanswered(account string, reference uint16, ref ledger.HandoffRef, to sms.Number, now time.Time) (out Actions) {
	if m.Knows(account, reference, ref.Message) {
		return out
	}
	k := referenceKey(account, reference)
	m.calls.add(k, &calledPart{ref: ref, to: to, unanswerable: true, at: now})
	m.unpark(&out, k)
	return out
}

// Receipt takes a receipt that a carrier delivered. ack is called when it is durable, or with an
// error.
func (m *Matcher) Receipt(d ledger.Delivery, ack func(error), now time.Time) (out Actions) {
	id, a := m.newID(now), m.accounts.of(d.Account)
	if h := a.plain(&d); h != nil {
		if a.base.run > 0 {
			a.learn(&out, d.Receipt.ID, h.ref.CarrierID)
		}
		h.final = h.final || d.Receipt.Final
		out.Matched = []Matched{{ID: id, Ref: h.ref, Delivery: d, Match: event.MatchID, Ack: ack}}
		return out
	}
	r := m.receipt(id, d, now)
	r.ack = ack
	switch {
	case m.match(&out, r, nil):
	case m.open >= m.bounds.open:
		out.Acks = append(out.Acks, Ack{ack, ledger.ErrRefused})
	default:
		m.open++
		m.lookup(&out, r)
	}
	return out
}

// receipt is one with the keys that it is looked up, and parked, under.
func (m *Matcher) receipt(id event.ID, d ledger.Delivery, at time.Time) *receipt {
	r := &receipt{id: id, d: d, at: at, index: -1}
	forms := idForms(d.Receipt, m.accounts.of(d.Account).base.now)
	for i := range forms { // several forms often have one key
		if k := forms[i].key; !slices.Contains(r.keys, k) {
			r.keys = append(r.keys, k)
		}
	}
	if d.Reference != 0 {
		r.keys = append(r.keys, ledger.ReferenceKey(d.Reference))
	}
	return r
}

// match matches a receipt to one of this node's own hand-offs, or of those that the views found.
func (m *Matcher) match(out *Actions, r *receipt, found []Candidate) bool {
	return m.byID(out, r, found) || m.byReference(out, r, found)
}

// byID matches a receipt by a form of its id.
func (m *Matcher) byID(out *Actions, r *receipt, found []Candidate) bool {
	a := m.accounts.of(r.d.Account)
	h := a.base.now
	forms := idForms(r.d.Receipt, h)
	best := func(f *form, want verdict) (ref ledger.HandoffRef, ok bool) {
		top, several := -1, false
		a.candidates(f, &r.d, found, func(x *ledger.HandoffRef, to sms.Number, from sms.Sender, rank int) {
			if judge(&r.d, to, from) != want || rank < top {
				return
			}
			several = rank == top && (several || x.Message != ref.Message)
			// Of several with one id and one rank, the newest counts.
			if rank > top || bytes.Compare(x.Message[:], ref.Message[:]) > 0 {
				ref, ok, top = *x, true, rank
			}
		})
		if several && want != agrees {
			return ref, false // without a number, only one of them may be told apart
		}
		return ref, ok
	}
	for i := range forms {
		f := &forms[i]
		if f.hasty(h) && !r.asked {
			continue
		}
		if ref, ok := best(f, agrees); ok && !(f.hasty(h) && m.calls.awaits(&r.d)) {
			if r.d.Receipt.TextID == "" {
				a.learn(out, f.id, ref.CarrierID)
			}
			m.matched(out, r, ref, f.match(ref.CarrierID))
			return true
		}
	}
	for _, says := range [...]verdict{silent, doubts} {
		for i := range forms {
			f := &forms[i]
			if !f.sure(h) || says == doubts && !r.asked {
				continue
			}
			if ref, ok := best(f, says); ok && !(says == doubts && m.calls.awaits(&r.d)) {
				m.matched(out, r, ref, f.match(ref.CarrierID))
				return true
			}
		}
	}
	return false
}

// byReference matches a receipt to a part whose answer will not come, by its reference and its recipient.
func (m *Matcher) byReference(out *Actions, r *receipt, found []Candidate) bool {
	if r.d.Reference == 0 {
		return false
	}
	if c := m.calls.find(referenceKey(r.d.Account, r.d.Reference), func(p *calledPart) bool {
		return p.unanswerable && judge(&r.d, p.to, p.from) == agrees
	}); c != nil {
		m.matched(out, r, c.ref, event.MatchReference)
		return true
	}
	for i := range found {
		if c := &found[i]; c.Ref.CarrierID == "" && judge(&r.d, c.To, c.From) == agrees {
			m.matched(out, r, c.Ref, event.MatchReference)
			return true
		}
	}
	return false
}

// matched asks for a receipt to be appended to its message's stream. If it waited in the inbox, its
// new id is derived from its inbox event: if it is moved twice, the second copy is void.
func (m *Matcher) matched(out *Actions, r *receipt, ref ledger.HandoffRef, how event.Match) {
	if r.d.Receipt.Final {
		m.accounts.of(r.d.Account).settled(&ref)
	}
	x := Matched{ID: r.id, Ref: ref, Delivery: r.d, Match: how, Ack: r.ack}
	if r.inbox {
		x.ID, x.Received, x.Ack, x.Parked = event.Derive(r.id, "matched"), r.at, nil, &Parked{r}
	}
	out.Matched = append(out.Matched, x)
}

func (m *Matcher) lookup(out *Actions, r *receipt) {
	m.lastID++
	m.lookups[m.lastID] = r
	if r.inbox {
		m.looking++
	}
	out.Lookups = append(out.Lookups, Lookup{ID: m.lastID, Keys: r.keys, Delivery: &r.d, hexIDs: m.accounts.of(r.d.Account).base.now})
}

// Found takes the answer to a look-up: the hand-offs that the views have, in any order. err is set if they did not
// answer.
func (m *Matcher) Found(id uint64, found []Candidate, err error, now time.Time) (out Actions) {
	r := m.lookups[id]
	if r == nil {
		return out
	}
	delete(m.lookups, id)
	if err != nil {
		found = nil
	}
	r.asked = r.asked || err == nil && (!m.shared || r.inbox || r.waits >= crossWaits)
	if r.inbox {
		m.looking--
		m.foundParked(&out, r, found, now)
		return out
	}
	m.open--
	switch {
	case m.match(&out, r, found): // without found too: the carrier's answer may have come after the look-up
	case err != nil:
		out.Acks = append(out.Acks, Ack{r.ack, err})
	case m.shared && r.waits < crossWaits:
		m.open++
		r.waits++
		r.next = now.Add(crossNode)
		m.waiting = append(m.waiting, r)
	default:
		out.Kept = append(out.Kept, Kept{r.id, r.d, r.ack})
		r.inbox = true
		m.park(r, now, firstLook)
	}
	return out
}

// foundParked is Found for a receipt that waits in the inbox.
func (m *Matcher) foundParked(out *Actions, r *receipt, found []Candidate, now time.Time) {
	switch {
	case r.element == nil: // matched or dropped meanwhile
	case m.match(out, r, found):
		m.unlink(r)
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

// Failed takes back a receipt whose append failed. It is durable in the inbox, and is looked up
// once more.
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
