package clerk_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/chirograph/chirograph/domain/dispatch"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
	lists "github.com/chirograph/chirograph/domain/words"
)

// What carriers deliver: receipts, through a matcher in each node, and texts.

// atCarriers is how the accounts write their ids: c1 with zeros before them in its responses
// alone, c2 in hex there and in decimal in its receipts.
var atCarriers = map[string]ledger.Account{"c1": {Tells: ledger.Tells{Receipts: true}}, "c2": {Tells: ledger.Tells{Receipts: true}, HexIDs: true}}

// carrierID is the id in an account's response to the write with this number.
func carrierID(account string, write int) string {
	if account == "c2" {
		return strconv.FormatInt(int64(0xabc000+write), 16)
	}
	return fmt.Sprintf("%08d", 1000+write)
}

// receiptIDs are the forms of the same id in receipts.
func receiptIDs(account string, write int) []string {
	if account == "c2" {
		return []string{carrierID(account, write), strconv.Itoa(0xabc000 + write)}
	}
	return []string{carrierID(account, write), strconv.Itoa(1000 + write)}
}

// pdu is a receipt that a carrier delivers until it is acknowledged.
type pdu struct {
	d     ledger.Delivery
	write int // that it is about
	acked int
}

// text is an inbound text: the events that were written of it.
type text struct {
	events []written
	// stops is what it must stop or hold, by stream; nil: its words do not revoke.
	stops map[event.Pseudonym][]event.Reach
	acked bool
	// plain says that they must stop, not only hold.
	plain bool
}

type written struct {
	e  *event.Event
	at event.Partition
}

// desk is the receipts' side of a node's process: its matcher, and the thin layer around it.
type desk struct {
	n       *node
	m       *receipts.Matcher
	lookups []receipts.Lookup // that the views have not answered
	parts   []unanswered
	open    map[*pdu]int // delivered here, and not answered

	owner      bool // it looks after the inbox
	next, head int64

	// accepted are the hand-offs that were answered, as the views would find them.
	accepted map[string]map[int64]ledger.HandoffRef // by account and key, by index
}

// unanswered is a part that no answer will come to here.
type unanswered struct {
	account   string
	reference uint16
	ref       ledger.HandoffRef
	submit    int64
}

// newDesk is that of a new process. What the one before was asked for is asked once more:
// its carriers' connections broke.
func newDesk(n *node) *desk {
	w := n.w
	d := &desk{n: n, open: map[*pdu]int{}, accepted: map[string]map[int64]ledger.HandoffRef{}}
	d.m = receipts.New(atCarriers, w.shared, n.config().NewID)
	if old := n.desk; old != nil {
		d.accepted = old.accepted // the views', not the process's
		for _, p := range w.pdus {
			if old.open[p] > 0 {
				w.again = append(w.again, p)
			}
		}
		d.own(old.owner)
	}
	return d
}

// own begins, or ends, to look after the inbox. What begins reads it from its start.
func (d *desk) own(owner bool) {
	if d.owner == owner {
		return
	}
	d.owner = owner
	d.next, d.head = 0, int64(len(d.n.w.read(event.InboxPartition, 0)))
}

// do does what a step asks for.
func (d *desk) do(out receipts.Actions) {
	d.lookups = append(d.lookups, out.Lookups...)
	for i := range out.Matched {
		d.record(&out.Matched[i])
	}
	for i := range out.Kept {
		x := &out.Kept[i]
		e := d.n.w.event(vault.Pseudonym("", "account:"+x.Delivery.Account), receivedOf(&x.Delivery))
		e.ID, e.Tenant, e.Node = x.ID, "", d.n.name
		e.Data.(*event.ReceiptReceived).Sealed = box(event.Inbound{From: x.Delivery.From, Raw: x.Delivery.Raw})
		d.n.log.Append(event.InboxPartition, []*event.Event{e}, func(a ledger.Appended) { x.Ack(a.Err) })
	}
	for _, a := range out.Acks {
		a.Ack(a.Err)
	}
}

func receivedOf(d *ledger.Delivery) *event.ReceiptReceived {
	r := d.Receipt
	return &event.ReceiptReceived{Account: d.Account, CarrierID: r.ID, Reference: int(d.Reference), State: event.MessageState(r.State.String()), Final: r.Final}
}

// record appends a receipt to its message's stream.
func (d *desk) record(x *receipts.Matched) {
	n := d.n
	data := receivedOf(&x.Delivery)
	data.Attempt, data.Part, data.Match, data.Received, data.Grade = x.Ref.Attempt, x.Ref.Part, x.Match, event.Millis(x.Received), event.GradeNetwork
	if x.Match == event.MatchReference {
		data.Grade = event.GradeInferred
	}
	data.Sealed = box(event.Inbound{Raw: x.Delivery.Raw})
	e := n.w.event(x.Ref.Subject, data)
	e.ID, e.Message, e.Node = x.ID, x.Ref.Message, n.name
	n.w.facts = append(n.w.facts, e)
	n.log.Append(x.Ref.Partition, []*event.Event{e}, func(a ledger.Appended) {
		switch {
		case x.Ack != nil:
			x.Ack(a.Err)
		case a.Err != nil && n.desk == d:
			d.m.Failed(x.Parked, n.now())
		}
	})
}

// deliver hands a receipt to the node.
func (d *desk) deliver(p *pdu) {
	d.open[p]++
	d.do(d.m.Receipt(p.d, func(err error) {
		if d.n.desk != d {
			return // that process is gone, and with it the connection
		}
		d.open[p]--
		if err != nil {
			d.n.w.again = append(d.n.w.again, p)
			return
		}
		p.acked++
	}, d.n.now()))
}

func (d *desk) called(c *dispatch.Call) {
	for i := range c.Handoffs {
		d.m.Called(c.Grant.Account, c.Stream, &c.Handoffs[i], d.n.now())
	}
}

func (d *desk) answered(c *dispatch.Call, h *ledger.Handoff, r ledger.HandoffResult) {
	d.do(d.m.Answered(c.Grant.Account, c.Stream, h, r))
}

// unanswered is clerk.Config's: the open parts of a message that the views have.
func (d *desk) unanswered(s *recipient.State, m *recipient.Message) {
	for i, a := range m.Attempts {
		for _, part := range a.Parts {
			if a.Reference == 0 || part.Status != recipient.PartOpen && part.Status != recipient.PartInDoubt {
				continue
			}
			d.parts = append(d.parts, unanswered{a.Carrier, a.Reference + uint16(part.Part-1),
				ledger.HandoffRef{Tenant: s.Tenant, Subject: s.Subject, Message: m.ID, Attempt: i + 1, Part: part.Part, Key: s.Key}, m.Index})
		}
	}
}

// step does what the node does from time to time.
func (d *desk) step() {
	w := d.n.w
	if len(d.parts) > 0 {
		x := d.parts[0]
		d.parts = d.parts[1:]
		d.do(d.m.Unanswered(x.account, x.reference, x.ref, w.recipientOf(x.submit), d.n.now()))
	}
	out, _ := d.m.Due(d.n.now(), d.owner)
	d.do(out)
	if d.owner {
		d.follow(1 + w.rng.IntN(4))
	}
}

// follow reads on in the inbox.
func (d *desk) follow(most int) {
	for i, r := range d.n.w.read(event.InboxPartition, d.next) {
		if i == most {
			return
		}
		d.next++
		e := r.Event
		x, ok := e.Data.(*event.ReceiptReceived)
		if !ok || d.n.now().Sub(e.Time) > receipts.ParkFor || r.Index >= d.head && e.Node == d.n.name {
			continue
		}
		in, err := ledger.Open[event.Inbound](vault, "", e.ID, &x.Sealed)
		if err != nil {
			panic(err)
		}
		receipt := &sms.Receipt{ID: x.CarrierID, Final: x.Final}
		for s := sms.StateScheduled; s <= sms.StateSkipped; s++ {
			if s.String() == string(x.State) {
				receipt.State = s
			}
		}
		d.m.Restored(e.ID, ledger.Delivery{Account: x.Account, Raw: in.Raw, From: in.From, Reference: uint16(x.Reference), Receipt: receipt}, e.Time, d.n.now())
	}
}

// look has the views answer one look-up, in any order, or fail.
func (d *desk) look() {
	w := d.n.w
	if len(d.lookups) == 0 {
		return
	}
	i := w.rng.IntN(len(d.lookups))
	var err error
	if w.rng.IntN(6) == 0 && w.rng.IntN(100) < w.faults {
		err = fmt.Errorf("the views are away")
	}
	d.found(i, err)
}

func (d *desk) found(i int, err error) {
	l := d.lookups[i]
	d.lookups = slices.Delete(d.lookups, i, i+1)
	d.do(d.m.Found(l.ID, d.find(&l), err, d.n.now()))
}

// find looks into what this node's views have committed.
func (d *desk) find(l *receipts.Lookup) (found []receipts.Candidate) {
	x := l.Delivery
	for _, key := range l.Keys {
		for index, ref := range d.accepted[x.Account+"\x00"+key] {
			if index < d.n.views.Mark.Next {
				found = append(found, receipts.Candidate{Ref: ref, To: d.wentTo(ref)})
			}
		}
	}
	if x.Reference == 0 {
		return found
	}
	states := d.n.views.Gathered(d.n.w.subjects)
	for _, subject := range d.n.w.subjects {
		s := states[subject]
		if s == nil {
			continue
		}
		for _, m := range s.Messages {
			for i, a := range m.Attempts {
				for _, p := range a.Parts {
					if p.Status == recipient.PartInDoubt && a.Carrier == x.Account && a.Reference+uint16(p.Part-1) == x.Reference {
						found = append(found, receipts.Candidate{Ref: ledger.HandoffRef{Tenant: s.Tenant, Subject: s.Subject, Message: m.ID, Attempt: i + 1, Part: p.Part},
							To: d.n.w.recipientOf(m.Index)})
					}
				}
			}
		}
	}
	return found
}

// judged takes an event as the views index it.
func (d *desk) judged(j *ledger.Judged) {
	x, ok := j.Event.Data.(*event.HandoffAccepted)
	if !ok || j.Why != "" {
		return
	}
	k := x.Carrier + "\x00" + sms.IDKey(x.CarrierID)
	if d.accepted[k] == nil {
		d.accepted[k] = map[int64]ledger.HandoffRef{}
	}
	d.accepted[k][j.Index] = ledger.HandoffRef{Tenant: j.Event.Tenant, Subject: j.Event.Subject, Message: j.Event.Message,
		Attempt: x.Attempt, Part: x.Part, CarrierID: x.CarrierID}
}

// wentTo is the number that a hand-off went to.
func (d *desk) wentTo(ref ledger.HandoffRef) sms.Number {
	for i := range d.n.w.writes {
		if h := d.n.w.writes[i].h; h.Message == ref.Message {
			return h.To
		}
	}
	return ""
}

// all does everything there is to do.
func (d *desk) all() {
	for len(d.parts) > 0 || len(d.lookups) > 0 {
		for len(d.lookups) > 0 {
			d.found(d.n.w.rng.IntN(len(d.lookups)), nil)
		}
		d.step()
	}
	if d.owner {
		d.follow(1 << 20)
	}
	d.step()
}

// recipientOf is the number that the submit at an index is for.
func (w *world) recipientOf(index int64) sms.Number {
	records, _, err := w.log.Read(context.Background(), 0, index, 1)
	if err != nil {
		panic(err)
	}
	_, content, err := ledger.OpenContent(vault, records[0].Event)
	if err != nil {
		panic(err)
	}
	return sms.Number(content.To)
}

// receipt: early, late, twice, contradicting, at any node.
func (w *world) receipt(i int) {
	r, x := w.rng, w.writes[i]
	if !x.took && r.IntN(8) > 0 { // a carrier that contradicts itself
		return
	}
	state := pick(w, []sms.MessageState{sms.StateDelivered, sms.StateDelivered, sms.StateUndeliverable, sms.StateEnroute, sms.StateExpired, sms.StateRejected})
	if !x.took && r.IntN(2) == 0 { // and another gateway that understood it
		d := &event.ReceiptReceived{Account: x.call.Grant.Account, CarrierID: "id", Attempt: x.h.Attempt, Part: x.h.Part, Grade: event.GradeNetwork, Match: event.MatchID,
			State: event.MessageState(state.String()), Final: state.Final(), Sealed: box(event.Inbound{Raw: []byte("x")})}
		e := w.event(x.call.Stream.Subject, d)
		e.Message = x.h.Message
		w.put(e)
		return
	}
	p := &pdu{write: i, d: ledger.Delivery{Account: x.call.Grant.Account, Raw: fmt.Appendf(nil, "receipt %d", len(w.pdus)), Received: w.now,
		Receipt: &sms.Receipt{ID: pick(w, receiptIDs(x.call.Grant.Account, i)), State: state, Final: state.Final()}}}
	if r.IntN(4) == 0 { // by its reference alone
		p.d.Receipt.ID = ""
	}
	switch r.IntN(12) {
	case 0, 1, 2, 3:
	case 4: // 16 bits are not an identity
		p.d.Reference = pick(w, w.writes).h.Reference
	default:
		p.d.Reference = x.h.Reference
	}
	to := string(x.h.To)
	p.d.From = pick(w, []string{to, to[1:], to[2:], to[1:8] + "****", "***********", ""})
	w.pdus, w.again = append(w.pdus, p), append(w.again, p)
	if r.IntN(6) == 0 { // a copy
		w.again = append(w.again, p)
	}
	w.deliver(r.IntN(len(w.again)))
}

// deliver delivers one of the receipts that wait for it.
func (w *world) deliver(i int) {
	n := pick(w, w.nodes)
	if n.frozen || n.dead {
		return
	}
	p := w.again[i]
	w.again = slices.Delete(w.again, i, i+1)
	n.desk.deliver(p)
}

// texts are what handsets send, and revoking those of them that an opt-out must come of.
var (
	texts    = []string{"STOP", "START", "START", "HELP", "hello", "please do not write to me", "I need to cancel"}
	revoking = []string{"STOP", "please do not write to me", "I need to cancel"}
)

// everyone are all streams that there may be: those of the recipients, of the other tenant, of the
// stranger, and the operator's.
func (w *world) everyone() []event.Pseudonym {
	out := slices.Clone(w.subjects)
	for _, n := range append(slices.Clone(w.numbers), stranger, "72345") {
		out = append(out, vault.Pseudonym(tenant2, n), vault.Pseudonym("", "inbound:c1\x00"+n), vault.Pseudonym("", "inbound:c1\x00"+masked(n)))
	}
	return append(out, vault.Pseudonym(tenant, stranger))
}

// masked is a number of which the carrier tells the end alone.
func masked(n string) string { return "***" + n[max(0, len(n)-7):] }

// inbound is a text of a handset, by way of one of the nodes, and now and then by way of two.
func (w *world) inbound(words string, part *sms.Concat) {
	from := pick(w, w.numbers)
	d := &ledger.Delivery{Account: "c1", From: from, To: number, Texts: []string{words}, Concat: part}
	who := receipts.Who{Numbers: []sms.Number{sms.Number(from)}, Certain: true}
	switch w.rng.IntN(20) {
	case 0, 1:
		d.To = unowned
	case 2:
		d.From, who = "72345", receipts.Who{} // which is no recipient
	case 3:
		d.To = number[1:]
	case 4, 5:
		d.To = shared
	case 6, 7: // it may be of two persons
		who.Numbers, who.Certain = append(who.Numbers, stranger), false
	case 8:
		d.Texts, d.Unreadable = nil, true
	case 10, 11, 12:
		d.To = number2
	case 13, 14: // its end is that of recipients who were texted lately
		d.From, who = masked(from), receipts.Who{}
		d.To = pick(w, []string{number, number2, shared, unowned})
		fallthrough
	case 15: // and so may it be beside readings that are not certain
		if who.Certain = false; len(who.Numbers) > 0 {
			who.Numbers = append(who.Numbers, stranger)
		}
		for _, s := range w.subjects {
			who.Streams = append(who.Streams, receipts.Stream{Tenant: tenant, Subject: s})
		}
	case 9: // the second reading counts too
		d.Texts = []string{"x", words}
	}
	d.Raw = fmt.Appendf(nil, "%s%v", d.From, d.Texts)
	stops := part != nil || slices.Contains(revoking, words) || d.Unreadable
	for range 1 + max(0, w.rng.IntN(6)-4) { // once, or twice
		w.hear(pick(w, w.nodes), d, who, stops)
	}
}

// stopped is what a text must stop or hold: with whom, and which reaches. A ledger of level 1 knows only
// one for a part.
func stopped(d *ledger.Delivery, who receipts.Who, level int) map[event.Pseudonym][]event.Reach {
	of := map[string][]string{tenant: {entity, entity2}}
	switch d.To {
	case number2:
		of[tenant] = []string{entity2}
	case shared:
		of = map[string][]string{tenant: {entity2}, tenant2: {entity3}}
	case unowned:
		of[tenant2] = []string{entity3}
	}
	if level < 2 && d.To != number2 && d.Concat != nil && who.Certain && len(of) == 1 {
		of[tenant] = of[tenant][:1]
	}
	out := map[event.Pseudonym][]event.Reach{}
	for t, entities := range of {
		for _, n := range who.Numbers {
			for _, e := range entities {
				s := vault.Pseudonym(t, string(n))
				out[s] = append(out[s], event.Reach{Scope: event.ScopeLegalEntity, Name: e})
			}
		}
		for _, s := range who.Streams {
			if s.Tenant != t || len(out[s.Subject]) > 0 {
				continue
			}
			for _, e := range entities {
				out[s.Subject] = append(out[s.Subject], event.Reach{Scope: event.ScopeLegalEntity, Name: e})
			}
		}
	}
	return out
}

// deliverText has a carrier deliver a text once more that was not acknowledged.
func (w *world) deliverText() {
	next := w.refused[0]
	w.refused = slices.Delete(w.refused, 0, 1)
	next()
}

// hear does what a node does with a text.
func (w *world) hear(n *node, d *ledger.Delivery, who receipts.Who, stops bool) {
	reg := w.registry[max(n.took, w.begun)]
	level := reg.Level()
	p := receipts.Place(reg, d, who, receipts.Listen(lists.Standard())(receipts.Writer{Tenant: tenant}, d.Texts, d.Unreadable))
	x := &text{}
	w.texts = append(w.texts, x)
	answer := func(err error) {
		if x.acked = err == nil; err != nil {
			w.refused = append(w.refused, func() { w.hear(pick(w, w.nodes), d, who, stops) })
		}
	}
	if stops {
		x.stops = stopped(d, who, level)
	}
	id := w.id()
	write := func(tenant string, s event.Pseudonym, id event.ID, data event.Data) *event.Event {
		e := w.event(s, data)
		e.ID, e.Tenant = id, tenant
		if stops && tenant != "" {
			w.optOuts = append(w.optOuts, id)
		}
		return e
	}
	p.Event.Read, p.Event.Digest = n.clerk.Fold().Next(), vault.Digest("", "octets", d.Raw)
	p.Event.Sealed = box(inboundOf(d))
	if p.Tenant != "" {
		var events []*event.Event
		for _, data := range p.Events(level, id) {
			events = append(events, write(p.Tenant, vault.Pseudonym(p.Tenant, string(who.Numbers[0])), id, data))
			id = w.id()
		}
		w.told(x, 0, events, answer)
		return
	}
	at, stream := event.Partition(0), vault.Pseudonym("", "inbound:c1\x00"+d.From)
	if level < 2 {
		at, stream = event.InboxPartition, vault.Pseudonym("", "account:c1")
	}
	w.said[id] = unplacedText{stops: stops, plain: d.Concat == nil && slices.Contains(d.Texts, "STOP"), to: d.To}
	var holds []*event.Event
	for i := range p.Held {
		h := &p.Held[i]
		s := h.Subject
		if h.Number != "" {
			s = vault.Pseudonym(h.Tenant, string(h.Number))
		}
		if slices.ContainsFunc(p.Event.Streams, func(x event.HeldStream) bool { return x.Tenant == h.Tenant && x.Subject == s }) {
			continue
		}
		hold := event.Derive(id, "hold", h.Tenant, s.String())
		p.Event.Streams = append(p.Event.Streams, event.HeldStream{Tenant: h.Tenant, Subject: s, Event: hold})
		for _, data := range h.Events(level, id, stream) {
			holds = append(holds, write(h.Tenant, s, hold, data))
			hold = event.Derive(hold, "more")
		}
	}
	w.told(x, at, []*event.Event{write("", stream, id, p.Events(level, id)[0])}, func(err error) {
		if err != nil || len(holds) == 0 {
			answer(err)
			return
		}
		w.told(x, 0, holds, answer)
	})
}

// inboundOf are the personal data of a text.
func inboundOf(d *ledger.Delivery) event.Inbound {
	in := event.Inbound{From: d.From, Text: d.Text(), Raw: d.Raw, Unreadable: d.Unreadable}
	if len(d.Texts) > 1 {
		in.Others = d.Texts[1:]
	}
	return in
}

// told appends events of a text.
func (w *world) told(x *text, at event.Partition, events []*event.Event, done func(error)) {
	for _, e := range events {
		x.events = append(x.events, written{e, at})
		if at == 0 {
			w.facts = append(w.facts, e)
		}
	}
	w.log.Caller(fmt.Sprintf("api%d", w.rng.IntN(3))).Append(at, events, func(a ledger.Appended) { done(a.Err) })
}

// reviewed is an officer who answers one of the reviews that a node's views have: it is a revocation, or
// less, or none; or, of an unplaced text, whose it is.
func (w *world) reviewed() {
	n := pick(w, w.nodes)
	if w.registry[max(n.took, w.begun)].Level() < 2 {
		return
	}
	if len(w.officers) > 0 && w.rng.IntN(3) == 0 { // a call that did not come to its end, perhaps
		if c := pick(w, w.officers); !c.complete {
			w.resolve(n, c)
			return
		}
	}
	states := n.views.Streams(w.everyone())
	var under []*recipient.State // streams with open reviews, the operator's twice
	for _, subject := range w.everyone() {
		if s := states[subject]; s != nil && len(s.OpenReviews()) > 0 {
			under = append(under, s)
			if s.Tenant == "" {
				under = append(under, s)
			}
		}
	}
	if len(under) == 0 {
		return
	}
	s := pick(w, under)
	r := pick(w, s.OpenReviews())
	resolve := func(tenant string, s event.Pseudonym, d *event.ReviewResolved) {
		d.By = "x"
		e := w.event(s, d)
		e.Tenant = tenant
		w.optOuts = append(w.optOuts, e.ID)
		w.put(e)
	}
	if r.Kind == recipient.ReviewUnplaced {
		w.unplacedReview(n, s.Subject, &r)
		return
	}
	if r.Kind == recipient.ReviewHeld {
		return // the operator has the words, and places them
	}
	d := &event.ReviewResolved{Review: r.Event, As: event.ReviewClear}
	switch w.rng.IntN(3) {
	case 0:
		d.As, d.Reaches = event.ReviewStop, []event.Reach{{Scope: event.ScopeLegalEntity, Name: entity}, {Scope: event.ScopeLegalEntity, Name: entity2}}
	case 1:
		d.As, d.Reaches = event.ReviewNarrow, []event.Reach{{Scope: event.ScopeProgram, Name: "news"}}
	}
	resolve(s.Tenant, s.Subject, d)
}

// delivered: what was acknowledged to a carrier is in the ledger, and where it belongs; and every stream
// that it must stop or hold is stopped or held from there on.
func (w *world) delivered(log []told, fresh *node, t *totals) {
	inbox := w.read(event.InboxPartition, 0)
	w.receipts(log, inbox, fresh, t)
	at := map[event.ID]int64{}
	for _, l := range log {
		if l.first {
			at[l.e.ID] = l.i
		}
		if level := w.registry[len(w.registry)-1].Level(); l.e.Data.Type().Level() > level {
			w.fail("%s stands in a ledger of level %d", l.e.Data.Type(), level)
		}
	}
	w.answered2(log, at)
	w.placements(log, at, fresh, t)
	for _, x := range w.texts {
		if !x.acked {
			continue
		}
		for _, y := range x.events {
			_, ok := at[y.e.ID]
			if y.at == event.InboxPartition {
				ok = slices.ContainsFunc(inbox, func(r ledger.Record) bool { return r.Event.ID == y.e.ID })
			}
			if !ok {
				w.fail("a text was acknowledged, and its %s is not in %s", y.e.Data.Type(), y.at)
				return
			}
		}
		t.level[x.events[0].e.Data.Type().Level()]++
		for subject, reaches := range x.stops {
			t.stops++
			w.inForceAt(log, at, x, subject, reaches)
		}
		for _, y := range x.events {
			if _, ok := x.stops[y.e.Subject]; !ok && y.e.Tenant != "" && x.stops != nil {
				w.fail("a text is written into the stream of %s, whom it does not concern", y.e.Tenant)
			}
		}
	}
}

// answered2: what clerks propose for inbound messages of level 2 says what those say. Joined parts say what
// their words say together, and reach what each part held; a part ends as a copy only beside another that
// says the same; a START lifts only what came to its number.
func (w *world) answered2(log []told, at map[event.ID]int64) {
	text := func(id event.ID) (*event.InboundReceivedV2, string, bool) {
		i, there := at[id]
		if !there {
			return nil, "", false
		}
		d, ok := log[i].e.Data.(*event.InboundReceivedV2)
		if !ok {
			return nil, "", false
		}
		in, err := ledger.Open[event.Inbound](vault, "", id, &d.Sealed)
		if err != nil {
			panic(err)
		}
		return d, in.Text, true
	}
	for _, l := range log {
		switch d := l.e.Data.(type) {
		case *event.InboundJoined:
			words := map[int]string{}
			for _, id := range d.Parts {
				p, t, ok := text(id)
				if !ok {
					continue // from before the raise
				}
				words[p.Concat.Part] = t
				for _, r := range p.Reaches {
					if !slices.Contains(d.Reaches, r) {
						w.fail("the joined parts at %d do not reach %+v, which a part held", l.i, r)
					}
				}
			}
			if want := receipts.ByLists(lists.Standard(), lists.Context{})(words[1] + words[2]); len(words) == 2 && words[9] == "" && want.Ask == event.InboundStop && d.Ask != want.Ask {
				w.fail("the joined parts at %d ask for %s, not %s", l.i, d.Ask, want.Ask)
			}
		case *event.SuppressionLifted:
			if l.e.Node == "api" || len(d.Lifts) == 0 {
				continue
			}
			start, _, isStart := text(d.Answers)
			for _, id := range d.Lifts {
				if _, ok := at[id]; !ok {
					continue
				}
				p, t, ok := text(id)
				old, wasOld := log[at[id]].e.Data.(*event.InboundReceived)
				switch {
				case d.Source == event.SourceHandset && isStart && (ok && p.To != start.To || wasOld && old.To != start.To):
					w.fail("the START at %d, to %s, lifts what came to another number", at[d.Answers], start.To)
				case d.Source == event.SourceJoined && ok && !slices.ContainsFunc(log, func(x told) bool {
					if x.e.ID == id || x.e.Subject != l.e.Subject {
						return false
					}
					if q, ok := x.e.Data.(*event.InboundReceived); ok { // it came before the raise
						return q.Concat != nil && *q.Concat == *p.Concat
					}
					q, same, ok := text(x.e.ID)
					return ok && q.Concat != nil && *q.Concat == *p.Concat && same == t
				}):
					w.fail("the part at %d ends as a copy of none", at[id])
				}
			}
		}
	}
}

// inForceAt: the events of a text stop or hold those reaches in a stream, each where it stands.
func (w *world) inForceAt(log []told, at map[event.ID]int64, x *text, subject event.Pseudonym, reaches []event.Reach) {
	var got []event.Reach
	rule := recipient.Standard()
	for _, y := range x.events {
		if y.e.Subject != subject {
			continue
		}
		i := at[y.e.ID]
		s, part := recipient.New(y.e.Tenant, subject), recipient.PartitionState{}
		for _, l := range log[:i+1] {
			switch {
			case l.e.Subject.IsZero():
				rule.Apply(&part, l.e)
				part.Level = w.registry[part.Control].Level()
			case l.e.Subject == subject:
				rule.Evolve(s, &part, l.i, l.e)
			}
		}
		for _, o := range s.OptOuts {
			if o.Event == y.e.ID && o.Index == i && !(x.plain && o.Unclear) {
				got = append(got, o.Reach)
			}
		}
		for _, m := range s.Messages {
			if m.Status == recipient.Allowed && m.AllowFacts == s.Facts {
				w.fail("an allow of %s stands after the STOP at %d", m.ID, i)
			}
		}
	}
	for _, r := range reaches {
		if !slices.Contains(got, r) {
			w.fail("a text was acknowledged, and %+v is neither stopped nor held where it stands: %+v is", r, got)
		}
	}
}

// receipts: each acknowledged one is in its message's stream or in the inbox, none in
// another's, and none waits in the inbox whose message the owner's views know by its id.
func (w *world) receipts(log []told, inbox []ledger.Record, fresh *node, t *totals) {
	in := map[string]bool{}
	for _, r := range inbox {
		if d, ok := r.Event.Data.(*event.ReceiptReceived); ok {
			in[rawOf(r.Event, d)] = true
		}
	}
	matched := map[string]bool{}
	byRaw := map[string]*pdu{}
	for _, p := range w.pdus {
		byRaw[string(p.d.Raw)] = p
	}
	accepted := map[string]bool{} // by account and id
	effective := map[event.ID]bool{}
	for _, l := range log {
		switch d := l.e.Data.(type) {
		case *event.HandoffAccepted:
			accepted[d.Carrier+d.CarrierID] = accepted[d.Carrier+d.CarrierID] || fresh.judged[l.i].Why == ""
		case *event.ReceiptReceived:
			if fresh.judged[l.i].Why == "" {
				if effective[l.e.ID] && w.without == (rules{}) {
					w.fail("the receipt at %d counts twice", l.i)
				}
				effective[l.e.ID] = true
			}
			p := byRaw[rawOf(l.e, d)]
			if p == nil {
				continue
			}
			matched[string(p.d.Raw)] = true
			t.matches[d.Match]++
			if x := &w.writes[p.write]; l.e.Message != x.h.Message || d.Attempt != x.h.Attempt || d.Part != x.h.Part {
				w.another(log, &l, d, p)
			}
		}
	}
	for _, p := range w.pdus {
		raw := string(p.d.Raw)
		x := &w.writes[p.write]
		switch {
		case p.acked == 0:
			w.fail("%s was never acknowledged", raw)
		case !matched[raw] && !in[raw]:
			w.fail("%s was acknowledged, and is neither in its message's stream nor in the inbox", raw)
		case !matched[raw] && p.d.Receipt.ID != "" && accepted[p.d.Account+x.id] &&
			(p.d.Receipt.ID == x.id || p.d.Account == "c2" || receipts.SamePerson(p.d.From, x.h.To)):
			w.fail("%s stays in the inbox, and its message is known under %s", raw, x.id)
		}
		if in[raw] && matched[raw] {
			t.moved++
		}
		if !matched[raw] {
			t.orphans++
		}
	}
}

// another: a receipt is in the stream of a message that it is not about. That may only be
// where it has no more than 16 bits and the recipient to tell them apart.
func (w *world) another(log []told, l *told, d *event.ReceiptReceived, p *pdu) {
	reference, to := 0, sms.Number("")
	for _, y := range log {
		switch s := y.e.Data.(type) {
		case *event.HandoffStarted:
			if y.e.Message == l.e.Message && s.Attempt == d.Attempt {
				reference = int(s.Reference) + d.Part - 1
			}
		case *event.MessageSubmitted:
			if y.e.ID == l.e.Message {
				to = w.recipientOf(y.i)
			}
		}
	}
	if d.Match != event.MatchReference || reference != int(p.d.Reference) || !receipts.SamePerson(p.d.From, to) {
		w.fail("%s is about part %d of %s, and stands, by its %s, in the stream of %s (part %d, reference %d, to %s): %+v", p.d.Raw, w.writes[p.write].h.Part,
			w.writes[p.write].h.Message, d.Match, l.e.Message, d.Part, reference, to, p.d)
	}
}

func rawOf(e *event.Event, d *event.ReceiptReceived) string {
	in, err := ledger.Open[event.Inbound](vault, e.Tenant, e.ID, &d.Sealed)
	if err != nil {
		panic(err)
	}
	return string(in.Raw)
}
