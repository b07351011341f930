package ledger

import (
	"container/heap"
	"container/list"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// MaxRemembered bounds the hand-offs kept in memory for matching; older ones are
	// found in the views.
	MaxRemembered = 200_000
	// MaxParked bounds the receipts that wait in memory for their hand-off. They are
	// durable in the inbox; beyond the bound the oldest waits there alone.
	MaxParked = 100_000
	// ParkFor is how long a receipt waits for its hand-off before it is an orphan. It
	// lies below recipient.RepeatWindow, within which a receipt that is moved twice is
	// told from two.
	ParkFor = 20 * time.Hour
)

// Matcher finds the message that a receipt is about, within its carrier account:
// by the carrier's id, or, for a hand-off that was never answered, by
// user_message_reference. What it cannot place goes to the inbox and waits there.
type Matcher struct {
	node *Node

	mu     sync.Mutex
	known  map[string]HandoffRef // by account and id
	order  []string
	refs   map[string]unanswered // by account and reference
	parked map[string][]*parked  // by account and id, and by account and reference
	line   *list.List            // the same, in order of arrival
	looks  looks                 // the same, by when they are looked up again

	// owner: this node has the inbox, and looks again for what waits in it.
	owner atomic.Bool
	bad   atomic.Pointer[error] // why the inbox cannot be read on
}

// unanswered is a hand-off that was called.
type unanswered struct {
	ref     HandoffRef
	to      sms.Number
	unknown bool // its answer will not come
	at      time.Time
}

// parked is a receipt that came before it could be placed.
type parked struct {
	id    event.ID // its inbox event
	d     Delivery
	keys  []string
	at    time.Time
	place *list.Element // in the line; nil once it is out
	next  time.Time     // when it is looked up again
	wait  time.Duration
}

const (
	// firstLook is when a parked receipt is first looked up again in the views, where
	// another node's hand-offs show; then it is looked up ever more seldom.
	firstLook = 200 * time.Millisecond
	lastLook  = 10 * time.Minute
	// lookAt bounds how many are looked up in one go.
	lookAt = 200
	// crossNode is how long a receipt that nobody knows here waits, unacknowledged,
	// for another node's hand-off to reach the views, before it goes to the inbox.
	crossNode = 150 * time.Millisecond
)

// looks is a heap: the receipt that is due first.
type looks []*parked

func (q looks) Len() int           { return len(q) }
func (q looks) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q looks) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *looks) Push(x any)        { *q = append(*q, x.(*parked)) }
func (q *looks) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}

func newMatcher(n *Node) *Matcher {
	return &Matcher{node: n, known: map[string]HandoffRef{}, refs: map[string]unanswered{}, parked: map[string][]*parked{}, line: list.New()}
}

func idKey(account, id string) string        { return account + "\x00" + id }
func refKey(account string, r uint16) string { return fmt.Sprintf("%s\x01%d", account, r) }

// called remembers that a part was handed to a carrier, before it is.
func (m *Matcher) called(account string, c *Call, h *Handoff) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rk := refKey(account, h.Reference)
	if u := m.refs[rk]; u.unknown && m.node.cfg.Clock.Now().Sub(u.at) < ParkFor {
		return // that one has nothing but its reference to be settled by
	}
	m.refs[rk] = unanswered{ref: m.ref(c, h, ""), to: h.To, at: m.node.cfg.Clock.Now()}
}

func (m *Matcher) ref(c *Call, h *Handoff, id string) HandoffRef {
	return HandoffRef{Partition: event.Partition(h.Message.Partition()), Tenant: c.Tenant, Subject: c.Subject, Message: h.Message,
		Attempt: h.Attempt, Part: h.Part, Key: c.Key, CarrierID: id}
}

// answered takes what the carrier said of a part, and moves on the receipts that
// outran it.
func (m *Matcher) answered(account string, c *Call, h *Handoff, r HandoffResult) {
	m.mu.Lock()
	var move []*parked
	var ref HandoffRef
	how := "id"
	switch rk := refKey(account, h.Reference); r.Status {
	case HandoffTaken:
		m.settled(rk, h.Message)
		ref = m.ref(c, h, r.CarrierID)
		for _, id := range m.node.idKeys(account, r.CarrierID) {
			k := idKey(account, id)
			m.remember(k, ref)
			move = append(move, m.unpark(k, "")...)
		}
	case HandoffUnknown:
		u := m.refs[rk]
		if u.ref.Message == h.Message {
			u.unknown = true
			m.refs[rk] = u
			ref, how = u.ref, "reference"
			move = m.unpark(rk, u.to)
		}
	default:
		m.settled(rk, h.Message)
	}
	m.mu.Unlock()
	for _, p := range move {
		m.move(p, ref, how)
	}
}

// left takes an attempt of another process, or of this one before it restarted:
// its answers will not come, but a receipt that names its reference settles it.
func (m *Matcher) left(p event.Partition, s *recipient.State, msg *recipient.Message) {
	var to sms.Number
	for i, a := range msg.Attempts {
		for _, part := range a.Parts {
			if a.Reference == 0 || part.Status != recipient.PartOpen && part.Status != recipient.PartInDoubt {
				continue
			}
			rk := refKey(a.Carrier, a.Reference+uint16(part.Part-1))
			m.mu.Lock()
			u, ok := m.refs[rk]
			m.mu.Unlock()
			if ok && u.ref.Message == msg.ID {
				continue // this process called it
			}
			if to == "" {
				if to = m.node.recipientOf(event.Position{Partition: p, Index: msg.Index}); to == "" {
					return
				}
			}
			u = unanswered{to: to, unknown: true, at: m.node.cfg.Clock.Now(), ref: HandoffRef{Partition: p, Tenant: s.Tenant, Subject: s.Subject,
				Message: msg.ID, Attempt: i + 1, Part: part.Part, Key: s.Key}}
			m.mu.Lock()
			m.refs[rk] = u
			move := m.unpark(rk, to)
			m.mu.Unlock()
			for _, waiting := range move {
				m.move(waiting, u.ref, "reference")
			}
		}
	}
}

// recipientOf is the number that a submit is for; "" when it cannot be read.
func (n *Node) recipientOf(p event.Position) sms.Number {
	e, err := n.Event(context.Background(), p)
	if err != nil {
		return ""
	}
	out, err := n.answerOf(e)
	if err != nil {
		return ""
	}
	return out.To
}

// settled forgets a hand-off's reference; another's under the same one stays.
func (m *Matcher) settled(rk string, message event.ID) {
	if m.refs[rk].ref.Message == message {
		delete(m.refs, rk)
	}
}

func (m *Matcher) remember(k string, ref HandoffRef) {
	if _, there := m.known[k]; !there {
		m.order = append(m.order, k)
	}
	m.known[k] = ref
	if len(m.order) > MaxRemembered {
		for _, old := range m.order[:MaxRemembered/4] {
			delete(m.known, old)
		}
		m.order = append([]string(nil), m.order[MaxRemembered/4:]...)
	}
}

// unpark takes the receipts parked under a key whose address is to, as far as it
// is legible ("": any). The caller holds the lock.
func (m *Matcher) unpark(k string, to sms.Number) (out []*parked) {
	for _, p := range m.parked[k] {
		if to == "" || addressed(p.d.From, to) {
			out = append(out, p)
		}
	}
	for _, p := range out {
		m.unlink(p)
	}
	return out
}

// unlink takes a receipt out of the line and from under all of its keys; false when
// somebody has already. The caller holds the lock.
func (m *Matcher) unlink(p *parked) bool {
	if p.place == nil {
		return false
	}
	m.line.Remove(p.place)
	p.place = nil
	for _, k := range p.keys {
		m.parked[k] = slices.DeleteFunc(m.parked[k], func(x *parked) bool { return x == p })
		if len(m.parked[k]) == 0 {
			delete(m.parked, k)
		}
	}
	return true
}

// receipt places a receipt, or parks it in the inbox. ack follows durability.
func (m *Matcher) receipt(d Delivery, ack func(error)) { m.place(d, ack, m.node.cfg.Placement != nil) }

// place is receipt; patient: it waits for a moment before it parks.
func (m *Matcher) place(d Delivery, ack func(error), patient bool) {
	ids := m.node.idKeys(d.Account, d.Receipt.ID)
	m.mu.Lock()
	ref, by, ok := m.recall(&d, ids)
	m.mu.Unlock()
	var err error
	if !ok {
		ref, by, ok, err = m.look(context.Background(), &d, ids)
	}
	switch {
	case err != nil:
		ack(err)
		return
	case ok:
		m.record(d, m.node.newID(), ref, by, time.Time{}, ack)
		return
	case patient:
		time.AfterFunc(crossNode, func() { m.place(d, ack, false) })
		return
	}
	p := newParked(m.node.newID(), d, m.node.cfg.Clock.Now(), ids)
	m.park(p)
	m.node.inboxReceipt(p, ack)
	// Its answer may have come between the look and the parking.
	m.mu.Lock()
	ref, by, ok = m.recall(&d, ids)
	ok = ok && m.unlink(p)
	m.mu.Unlock()
	if ok {
		m.move(p, ref, by)
	}
}

// recall finds in this node's memory what a receipt is about: by its id, or a hand-off
// whose answer will not come by its reference and its recipient. The caller holds the lock.
func (m *Matcher) recall(d *Delivery, ids []string) (ref HandoffRef, by string, ok bool) {
	for _, id := range ids {
		if ref, ok = m.known[idKey(d.Account, id)]; ok {
			return ref, how(d.Receipt.ID, ref.CarrierID), true
		}
	}
	u, ok := m.refs[refKey(d.Account, d.Reference)]
	ok = ok && u.unknown && d.Reference != 0 && legible(d.From) && addressed(d.From, u.to)
	return u.ref, "reference", ok
}

// newParked is a receipt under the keys by which it may be found.
func newParked(id event.ID, d Delivery, at time.Time, ids []string) *parked {
	p := &parked{id: id, d: d, at: at}
	for _, id := range ids {
		p.keys = append(p.keys, idKey(d.Account, id))
	}
	if d.Reference != 0 {
		p.keys = append(p.keys, refKey(d.Account, d.Reference))
	}
	return p
}

// park lets a receipt wait. What has waited longest goes, when there is no room or
// its time is over: it stays in the inbox.
func (m *Matcher) park(p *parked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.node.cfg.Clock.Now()
	for e := m.line.Front(); e != nil && (m.line.Len() >= MaxParked || now.Sub(e.Value.(*parked).at) > ParkFor); e = m.line.Front() {
		m.unlink(e.Value.(*parked))
	}
	p.place = m.line.PushBack(p)
	for _, k := range p.keys {
		m.parked[k] = append(m.parked[k], p)
	}
	p.wait = firstLook
	p.next = now.Add(p.wait)
	if len(m.looks) > 2*m.line.Len()+64 { // most of them have been placed
		m.looks = slices.DeleteFunc(m.looks, func(p *parked) bool { return p.place == nil })
		heap.Init(&m.looks)
	}
	heap.Push(&m.looks, p)
}

// look finds in the views what a receipt is about: by its id, or a hand-off in doubt
// by its reference and its recipient.
func (m *Matcher) look(ctx context.Context, d *Delivery, ids []string) (ref HandoffRef, by string, ok bool, err error) {
	n := m.node
	if len(ids) > 0 {
		if ref, ok, err = n.cfg.Views.Handoff(ctx, d.Account, ids); err != nil || ok {
			return ref, how(d.Receipt.ID, ref.CarrierID), ok, err
		}
	}
	if d.Reference == 0 {
		return ref, "", false, nil
	}
	if ref, ok, err = n.cfg.Views.Handoff(ctx, d.Account, []string{ReferenceKey(d.Reference)}); err != nil || !ok {
		return ref, "", false, err
	}
	f, ok, err := n.cfg.Finder.Find(ctx, ref.Tenant, ref.Message)
	if err != nil || !ok {
		return ref, "", false, err
	}
	to := n.recipientOf(f.Position)
	return ref, "reference", to != "" && legible(d.From) && addressed(d.From, to), nil
}

// ReferenceKey is the key under which Views.Handoff finds a part that is in doubt by
// its user_message_reference.
func ReferenceKey(reference uint16) string { return "#" + strconv.Itoa(int(reference)) }

// run looks again, while this node has the inbox, for receipts that wait in it: what
// another node handed off shows in the views, and what is in doubt shows there later.
func (m *Matcher) run(ctx context.Context) {
	t := time.NewTicker(firstLook / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if m.owner.Load() {
				m.again(ctx)
			}
		}
	}
}

// again looks up what is due.
func (m *Matcher) again(ctx context.Context) {
	n := m.node
	now := n.cfg.Clock.Now()
	var due []*parked
	m.mu.Lock()
	for len(due) < lookAt && len(m.looks) > 0 && !m.looks[0].next.After(now) {
		p := heap.Pop(&m.looks).(*parked)
		if p.place != nil {
			due = append(due, p)
		}
	}
	m.mu.Unlock()
	for _, p := range due {
		ref, by, ok, err := m.look(ctx, &p.d, n.idKeys(p.d.Account, p.d.Receipt.ID))
		m.mu.Lock()
		if ok && err == nil {
			ok = m.unlink(p)
		} else {
			ok = false
			p.wait = min(2*p.wait, lastLook)
			p.next = now.Add(p.wait)
			heap.Push(&m.looks, p)
		}
		m.mu.Unlock()
		if ok {
			m.move(p, ref, by)
		}
	}
}

// Waiting is how many receipts wait in the inbox for their hand-off.
func (m *Matcher) Waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.line.Len()
}

// move writes a parked receipt into its message's stream, under an id that follows
// from its inbox event: moved twice, it lands once.
func (m *Matcher) move(p *parked, ref HandoffRef, how string) {
	m.record(p.d, event.Derive(p.id, "matched"), ref, how, p.at, func(err error) {
		if err != nil { // it is durable in the inbox: it is tried again
			m.park(p)
		}
	})
}

func (m *Matcher) record(d Delivery, id event.ID, ref HandoffRef, how string, received time.Time, ack func(error)) {
	n := m.node
	if ref.Key.IsZero() {
		key, err := n.streamKey(context.Background(), ref.Tenant, ref.Partition, ref.Subject)
		if err != nil {
			ack(err)
			return
		}
		ref.Key = key
	}
	sealed, err := n.seal(ref.Tenant, ref.Key, "carrier", id, event.Inbound{Raw: d.Raw})
	if err != nil {
		ack(err)
		return
	}
	r := d.Receipt
	data := &event.ReceiptReceived{Account: d.Account, CarrierID: r.ID, Reference: int(d.Reference), Attempt: ref.Attempt, Part: ref.Part,
		State: r.State.String(), Final: r.Final && !r.Intermediate, Error: r.Error, Grade: "network", Match: how,
		Received: event.Millis(received), Sealed: sealed}
	if how == "reference" {
		data.Grade = "inferred"
	}
	e := n.event(id, ref.Tenant, ref.Subject, data)
	e.Message = ref.Message
	if !received.IsZero() { // already durable in the inbox
		n.facts.Append(ref.Partition, e, ack)
		return
	}
	n.cfg.Log.Append(ref.Partition, []*event.Event{e}, func(a Appended) { ack(a.Err) })
}

// how says by which form of the id a receipt was matched.
func how(receipt, answered string) string {
	switch {
	case receipt == answered || answered == "":
		return "id"
	case strings.EqualFold(strings.TrimLeft(receipt, "0"), strings.TrimLeft(answered, "0")):
		return "id_zeros"
	}
	return "id_hex"
}

// legible reports whether an address has digits enough to tell recipients apart, where
// nothing but it and 16 bits of a reference do.
func legible(from string) bool {
	n := 0
	for _, r := range from {
		if r >= '0' && r <= '9' {
			n++
		}
	}
	return n >= 4
}

// addressed reports whether a receipt's address is, as far as it is legible, the
// number that a message went to: masked digits match any, a national form its end.
func addressed(from string, to sms.Number) bool {
	digits := func(s string) string {
		return strings.Map(func(r rune) rune {
			switch {
			case r >= '0' && r <= '9':
				return r
			case r == '*' || r == 'x' || r == 'X':
				return '*'
			}
			return -1
		}, s)
	}
	a, b := strings.TrimLeft(digits(from), "0"), digits(string(to))
	if len(a) > len(b) || len(a) == 0 {
		return a == ""
	}
	b = b[len(b)-len(a):]
	for i := range a {
		if a[i] != '*' && a[i] != b[i] {
			return false
		}
	}
	return true
}

// resume parks again what the inbox holds from the last ParkFor: the receipts that
// were not placed before a restart. What was placed meanwhile is placed again
// under the same id, which changes nothing.
func (m *Matcher) resume(ctx context.Context) error {
	m.owner.Store(true)
	from, head, err := m.since(ctx)
	for from < head && err == nil && ctx.Err() == nil {
		var records []Record
		if records, _, err = m.node.cfg.Log.Read(ctx, event.InboxPartition, from, 1000); err != nil {
			return err
		}
		if _, err := m.take(ctx, records, head); err != nil {
			m.bad.Store(&err)
			m.node.log.Error("the inbox cannot be read on", "error", err)
			return nil
		}
		from += int64(len(records))
	}
	return errors.Join(err, ctx.Err())
}

// follow is resume, and then takes what other nodes put into the inbox, until ctx is
// done.
func (m *Matcher) follow(ctx context.Context) {
	n := m.node
	m.owner.Store(true)
	defer m.owner.Store(false)
	defer m.bad.Store(nil)
	begun := false
	var from, head int64
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 10*time.Second) {
		_, control := n.control.Latest()
		err := func() (err error) {
			if !begun {
				if from, head, err = m.since(ctx); err != nil {
					return err
				}
				begun = true
			}
			for ctx.Err() == nil {
				records, _, err := n.cfg.Log.Read(ctx, event.InboxPartition, from, 1000)
				if err != nil {
					return err
				}
				took, err := m.take(ctx, records, head)
				from += int64(took)
				if err != nil {
					return err
				}
				m.bad.Store(nil)
				wait = 100 * time.Millisecond
			}
			return nil
		}()
		if err == nil || ctx.Err() != nil {
			continue
		}
		m.bad.Store(&err)
		n.log.Error("the inbox cannot be read on", "error", err)
		select {
		case <-ctx.Done():
		case <-control: // it may accept the record
		case <-time.After(wait):
		}
	}
}

// failed is why the inbox cannot be read on; nil when it can.
func (m *Matcher) failed() error {
	if err := m.bad.Load(); err != nil {
		return *err
	}
	return nil
}

// since is where in the inbox to begin: back from the head, as far as ParkFor
// reaches, since the inbox may be long.
func (m *Matcher) since(ctx context.Context) (from, head int64, err error) {
	n := m.node
	if _, head, err = n.cfg.Log.Read(ctx, event.InboxPartition, 0, 0); err != nil {
		return 0, 0, err
	}
	from = head
	for from > 0 {
		from = max(from-1000, 0)
		first, _, err := n.cfg.Log.Read(ctx, event.InboxPartition, from, 1)
		if err != nil {
			return 0, 0, err
		}
		if len(first) == 1 && first[0].Bad == nil && n.cfg.Clock.Now().Sub(first[0].Event.Time) > ParkFor {
			break
		}
	}
	return from, head, nil
}

// take parks the receipts among records of the inbox: all of them up to an index, and
// past it those that other nodes put there. It returns how many records it took.
func (m *Matcher) take(ctx context.Context, records []Record, upTo int64) (int, error) {
	n := m.node
	for i := range records {
		at := event.Position{Partition: event.InboxPartition, Index: records[i].Index}
		if records[i].Bad != nil {
			if n.control.Accepted(at, records[i].Raw) {
				continue
			}
			return i, fmt.Errorf("%w: %s: %w", ErrDamaged, at, records[i].Bad)
		}
		e := records[i].Event
		d, ok := e.Data.(*event.ReceiptReceived)
		if !ok || n.cfg.Clock.Now().Sub(e.Time) > ParkFor || records[i].Index >= upTo && e.Node == n.cfg.Node {
			continue
		}
		if err := m.restore(ctx, e, d); err != nil {
			n.log.Warn("a receipt in the inbox could not be read", "position", at.String(), "error", err)
		}
	}
	return len(records), nil
}

func (m *Matcher) restore(ctx context.Context, e *event.Event, d *event.ReceiptReceived) error {
	n := m.node
	plain, err := n.cfg.Vault.Open(e.Tenant, e.ID, &d.Sealed)
	if err != nil {
		return err
	}
	var in event.Inbound
	if err := json.Unmarshal(plain, &in); err != nil {
		return err
	}
	r := &sms.Receipt{ID: d.CarrierID, Final: d.Final, Error: d.Error}
	for s := sms.StateScheduled; s <= sms.StateSkipped; s++ {
		if s.String() == d.State {
			r.State = s
		}
	}
	del := Delivery{Account: d.Account, Raw: in.Raw, From: in.From, Reference: uint16(d.Reference), Receipt: r, Received: e.Time}
	ids := n.idKeys(d.Account, d.CarrierID)
	p := newParked(e.ID, del, e.Time, ids)
	// An error passes: it is looked up again.
	if ref, by, ok, err := m.look(ctx, &del, ids); err == nil && ok {
		m.move(p, ref, by)
		return nil
	}
	m.park(p)
	return nil
}

// inboxReceipt makes a receipt durable in its account's inbox stream.
func (n *Node) inboxReceipt(p *parked, ack func(error)) {
	subject := n.cfg.Vault.Pseudonym("", "account:"+p.d.Account)
	key, err := n.accountKey(p.d.Account, subject)
	if err != nil {
		ack(err)
		return
	}
	sealed, err := n.seal("", key, "carrier", p.id, event.Inbound{From: p.d.From, Raw: p.d.Raw})
	if err != nil {
		ack(err)
		return
	}
	r := p.d.Receipt
	e := n.event(p.id, "", subject, &event.ReceiptReceived{Account: p.d.Account, CarrierID: r.ID, Reference: int(p.d.Reference),
		State: r.State.String(), Final: r.Final && !r.Intermediate, Error: r.Error, Sealed: sealed})
	n.cfg.Log.Append(event.InboxPartition, []*event.Event{e}, func(a Appended) { ack(a.Err) })
}
