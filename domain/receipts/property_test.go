package receipts

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// where a receipt is, as the model of a Matcher sees it.
type where string

const (
	open    where = "open"    // being looked up, or waiting for another node; not acknowledged
	parked  where = "parked"  // kept in the inbox, and in memory
	moving  where = "moving"  // matched, and its append is not answered
	ended   where = "ended"   // matched and appended, or refused
	dropped where = "dropped" // in the inbox alone
)

// modelled is one receipt in a Matcher.
type modelled struct {
	at    where
	r     *receipt
	acks  int
	again [2]*Parked // of both matchers, while it is moving
}

// model drives two matchers with the same inputs, and knows what each receipt may become.
type model struct {
	*rapid.T
	m   [2]*Matcher
	now time.Time

	all     []*modelled
	order   []*modelled // that are parked, as they were parked
	durable []Kept      // in the inbox
	lookups []Lookup    // that have not been answered
	called  []*ledger.Handoff
	parts   map[*ledger.Handoff]string   // account
	known   map[string][]Candidate       // by account: what it took
	doubt   map[string][]*ledger.Handoff // by account and reference, those whose answer has no id, or will not come
	found   []Candidate                  // what the views said in this step
	n       byte
}

func newModel(t *rapid.T) *model {
	x := &model{T: t, now: begun, parts: map[*ledger.Handoff]string{}, known: map[string][]Candidate{}, doubt: map[string][]*ledger.Handoff{}}
	shared := rapid.Bool().Draw(t, "shared")
	bounds := bounds{remembered: 8, parked: rapid.IntRange(1, 6).Draw(t, "room"), open: rapid.IntRange(1, 6).Draw(t, "openings"), looking: rapid.IntRange(1, 3).Draw(t, "at once")}
	for i := range x.m {
		var ids uint32
		x.m[i] = New(map[string]ledger.Account{"c1": {Tells: tells}, "hex": {Tells: tells, HexIDs: true}}, shared, func(time.Time) event.ID {
			ids++
			return event.ID{0xee, 13: byte(ids >> 16), 14: byte(ids >> 8), 15: byte(ids)}
		})
		x.m[i].bounds = bounds
	}
	return x
}

// step makes the same step with both matchers, and takes what they ask for.
func (x *model) step(f func(m *Matcher, i int) Actions) Actions {
	before := slices.Clone(x.order)
	out := f(x.m[0], 0)
	if twin := f(x.m[1], 1); !reflect.DeepEqual(plain(out), plain(twin)) {
		x.Fatalf("the same inputs twice make\n%s\nand\n%s", plain(out), plain(twin))
	} else {
		x.take(out, twin)
	}
	x.dropped(before)
	if err := sound(x.m[0]); err != nil {
		x.Fatal(err)
	}
	return out
}

// plain is what a step asks for, without its functions.
func plain(a Actions) string {
	s := ""
	for _, l := range a.Lookups {
		s += fmt.Sprintf("look-up %d of %q %+v\n", l.ID, l.Keys, written(l.Delivery))
	}
	for _, y := range a.Matched {
		s += fmt.Sprintf("matched %s %+v %s %s %s, ack %v, again %v\n", y.ID, y.Ref, written(y.Delivery), y.Match, y.Received, y.Ack != nil, y.Parked != nil)
	}
	for _, y := range a.Kept {
		s += fmt.Sprintf("kept %s %s\n", y.ID, written(y.Delivery))
	}
	for _, y := range a.Acks {
		s += fmt.Sprintf("ack %v\n", y.Err)
	}
	for _, y := range a.Learned {
		s += fmt.Sprintf("learned %v\n", y)
	}
	return s
}

// take does what a step asks for. Appends are answered at once where a carrier waits for
// them, else later.
func (x *model) take(out, twin Actions) {
	x.lookups = append(x.lookups, out.Lookups...)
	err := func() error {
		if rapid.IntRange(0, 4).Draw(x.T, "append") == 0 {
			return ledger.ErrUnknown
		}
		return nil
	}
	for i, y := range out.Matched {
		x.right(&y)
		if (y.Ack == nil) != (y.Parked != nil) {
			x.Fatalf("%s has an ack: %v; it may come again: %v", y.ID, y.Ack != nil, y.Parked != nil)
		}
		if y.Ack != nil {
			y.Ack(err())
			continue
		}
		s := x.of(y.Parked.r)
		if s.at != parked || y.ID != event.Derive(y.Parked.r.id, "matched") || !y.Received.Equal(y.Parked.r.at) {
			x.Fatalf("a receipt that was %s is matched as %+v", s.at, y)
		}
		s.at, s.again = moving, [2]*Parked{y.Parked, twin.Matched[i].Parked}
		x.order = slices.DeleteFunc(x.order, func(o *modelled) bool { return o == s })
	}
	for _, y := range out.Kept {
		e := err()
		y.Ack(e)
		if e == nil || rapid.Bool().Draw(x.T, "it landed") {
			x.durable = append(x.durable, y)
		}
		s := x.of(x.m[0].arrival.Back().Value.(*receipt))
		if s.r.id != y.ID {
			x.Fatalf("kept is %s, parked last was %s", y.ID, s.r.id)
		}
		s.at = parked
		x.order = append(x.order, s)
	}
	for _, a := range out.Acks {
		a.Ack(a.Err)
	}
}

// of is the model's receipt.
func (x *model) of(r *receipt) *modelled {
	for _, s := range x.all {
		if s.r == r {
			return s
		}
	}
	x.Fatalf("%s was never delivered", r.id)
	return nil
}

// right: a receipt is matched to no other message than its id, or its reference, and its number allow.
func (x *model) right(y *Matched) {
	d := &y.Delivery
	if y.Match == event.MatchReference {
		for _, h := range x.doubt[referenceKey(d.Account, d.Reference)] {
			if d.Reference != 0 && refTo(h, "") == y.Ref && SamePerson(d.From, h.To) {
				return
			}
		}
		for _, c := range x.found {
			if d.Reference != 0 && c.Ref == y.Ref && c.Ref.CarrierID == "" && SamePerson(d.From, c.To) {
				return
			}
		}
	} else {
		for _, c := range slices.Concat(x.known[d.Account], x.found) {
			for _, f := range idForms(d.Receipt, NoHexIDs) {
				says := judge(d, c.To, c.From)
				sure := c.Ref.CarrierID == d.Receipt.ID || x.m[0].accounts.of(d.Account).base.now != NoHexIDs
				if c.Ref == y.Ref && f.key == sms.IDKey(c.Ref.CarrierID) && (says == agrees || says != contradicts && sure) {
					return
				}
			}
		}
	}
	x.Fatalf("the receipt %s is matched as %s to %+v", written(d), y.Match, y.Ref)
}

// dropped takes what is in memory no longer: only what has waited longest, and only when
// its time is over or there is no room.
func (x *model) dropped(before []*modelled) {
	m := x.m[0]
	for i, s := range before {
		if s.at != parked || s.r.element != nil {
			continue
		}
		if x.now.Sub(s.r.at) <= ParkFor && len(before) < m.bounds.parked {
			x.Fatalf("%s was dropped after %s, with %d parked", s.r.id, x.now.Sub(s.r.at), len(before))
		}
		for _, longer := range before[:i] {
			if longer.at == parked && longer.r.element != nil {
				x.Fatalf("%s was dropped before %s", s.r.id, longer.r.id)
			}
		}
		s.at = dropped
		x.order = slices.DeleteFunc(x.order, func(o *modelled) bool { return o == s })
	}
}

// deliver delivers a receipt.
func (x *model) deliver() {
	d := x.delivery()
	s := &modelled{at: open}
	x.all = append(x.all, s)
	out := x.step(func(m *Matcher, i int) Actions {
		if i == 1 {
			return m.Receipt(d, func(error) {}, x.now)
		}
		out := m.Receipt(d, func(error) { s.acks++; s.at = ended }, x.now)
		for _, l := range out.Lookups {
			s.r = m.lookups[l.ID]
		}
		return out
	})
	if len(out.Lookups)+len(out.Matched)+len(out.Acks) != 1 || len(out.Kept) > 0 {
		x.Fatalf("a receipt makes\n%s", plain(out))
	}
}

func (x *model) delivery() ledger.Delivery {
	return ledger.Delivery{Account: x.account(), Reference: uint16(rapid.IntRange(0, 3).Draw(x.T, "reference")),
		From:    rapid.SampledFrom([]string{"", string(ann), "4155550199", "1415555****", "*******0199", "********123"}).Draw(x.T, "from"),
		Receipt: &sms.Receipt{ID: x.id("receipt"), State: sms.StateDelivered}}
}

func (x *model) account() string {
	return rapid.SampledFrom([]string{"c1", "c1", "hex"}).Draw(x.T, "account")
}
func (x *model) id(of string) string {
	return rapid.SampledFrom([]string{"", "10", "010", "16", "a", "0A", "b", "c", "d", "e"}).Draw(x.T, of)
}

func (x *model) call() {
	x.n++
	h := part(x.n, uint16(rapid.IntRange(1, 3).Draw(x.T, "reference")), rapid.SampledFrom([]sms.Number{ann, bob}).Draw(x.T, "to"))
	account := x.account()
	x.called, x.parts[h] = append(x.called, h), account
	x.step(func(m *Matcher, _ int) Actions { m.Called(account, stream, h, x.now); return Actions{} })
}

func (x *model) answer() {
	if len(x.called) == 0 {
		return
	}
	i := rapid.IntRange(0, len(x.called)-1).Draw(x.T, "call")
	h := x.called[i]
	account := x.parts[h]
	r := ledger.HandoffResult{Status: rapid.SampledFrom([]ledger.HandoffStatus{ledger.HandoffTaken, ledger.HandoffTaken, ledger.HandoffUnknown, ledger.HandoffFinal, ledger.HandoffRetry}).Draw(x.T, "status")}
	if r.Status == ledger.HandoffTaken {
		r.CarrierID = x.id("answered")
		x.known[account] = append(x.known[account], Candidate{refTo(h, r.CarrierID), h.To, h.From})
	}
	if r.Status == ledger.HandoffUnknown || r.Status == ledger.HandoffTaken && r.CarrierID == "" {
		x.inDoubt(account, h)
	}
	if rapid.Bool().Draw(x.T, "for good") { // else it is answered once more, later: late, or twice
		x.called = slices.Delete(x.called, i, i+1)
	}
	x.step(func(m *Matcher, _ int) Actions { return m.Answered(account, stream, h, r) })
}

func (x *model) inDoubt(account string, h *ledger.Handoff) {
	k := referenceKey(account, h.Reference)
	x.doubt[k] = append(x.doubt[k], h)
}

func (x *model) unanswered() {
	x.n++
	h, account := part(x.n, uint16(rapid.IntRange(1, 3).Draw(x.T, "reference")), rapid.SampledFrom([]sms.Number{ann, bob}).Draw(x.T, "to")), x.account()
	x.inDoubt(account, h)
	x.step(func(m *Matcher, _ int) Actions {
		return m.Unanswered(account, h.Reference, refTo(h, ""), h.To, x.now)
	})
}

// find answers a look-up.
func (x *model) find() {
	if len(x.lookups) == 0 {
		return
	}
	i := rapid.IntRange(0, len(x.lookups)-1).Draw(x.T, "look-up")
	x.answered(i, rapid.IntRange(0, 3).Draw(x.T, "found"))
}

func (x *model) answered(i, found int) {
	l := x.lookups[i]
	x.lookups = slices.Delete(x.lookups, i, i+1)
	var err error
	switch found {
	case 0:
		err = errors.New("away")
	case 1:
		for range rapid.IntRange(1, 3).Draw(x.T, "hand-offs") {
			x.n++
			to := rapid.SampledFrom([]sms.Number{ann, bob, ""}).Draw(x.T, "went to")
			x.found = append(x.found, Candidate{Ref: ledger.HandoffRef{Message: event.ID{7, 15: x.n}, CarrierID: x.id("found")}, To: to})
		}
	}
	x.step(func(m *Matcher, _ int) Actions { return m.Found(l.ID, x.found, err, x.now) })
	x.found = nil
}

// due lets time pass, and asks what is due.
func (x *model) due() {
	x.now = x.now.Add(rapid.SampledFrom([]time.Duration{0, time.Millisecond, crossNode, firstLook, time.Second, lastLook, 5 * time.Hour, ParkFor}).Draw(x.T, "passes"))
	x.look(rapid.Bool().Draw(x.T, "owner"))
}

func (x *model) look(owner bool) {
	var next [2]time.Time
	x.step(func(m *Matcher, i int) (out Actions) {
		out, next[i] = m.Due(x.now, owner)
		return out
	})
	m := x.m[0]
	if next[0] != next[1] || next[0].IsZero() != (len(m.looks)+len(m.waiting) == 0) {
		x.Fatalf("next is %s, and %s; %d wait to be looked up", next[0], next[1], len(m.looks)+len(m.waiting))
	}
	if !next[0].IsZero() && !next[0].After(x.now) && m.looking < m.bounds.looking {
		x.Fatalf("at %s it was asked what is due, and more is due at %s", x.now, next[0])
	}
}

// land answers the append of a matched receipt that waited in the inbox.
func (x *model) land() {
	i := slices.IndexFunc(x.all, func(s *modelled) bool { return s.at == moving })
	if i < 0 {
		return
	}
	s := x.all[i]
	if rapid.Bool().Draw(x.T, "appended") {
		s.at = ended
		return
	}
	x.step(func(m *Matcher, i int) Actions { m.Failed(s.again[i], x.now); return Actions{} })
	s.at = parked
	x.order = append(x.order, s)
}

// restore reads a receipt of the inbox again.
func (x *model) restore() {
	if len(x.durable) == 0 {
		return
	}
	k := rapid.SampledFrom(x.durable).Draw(x.T, "of the inbox")
	at := time.Time{}
	known := false // parked under a key, so that it is not parked twice
	for _, s := range x.all {
		if s.r != nil && s.r.id == k.ID {
			at = s.r.at
			known = known || s.at == parked && len(s.r.keys) > 0
		}
	}
	if x.now.Sub(at) > ParkFor { // node does not
		return
	}
	x.step(func(m *Matcher, i int) Actions {
		before := m.arrival.Back()
		m.Restored(k.ID, k.Delivery, at, x.now)
		if i == 0 && (m.arrival.Back() == before) != known {
			x.Fatalf("%s was parked already: %v; parked now: %v", k.ID, known, m.arrival.Back() != before)
		}
		if i == 0 && !known {
			s := &modelled{at: parked, r: m.arrival.Back().Value.(*receipt), acks: 1}
			x.all, x.order = append(x.all, s), append(x.order, s)
		}
		return Actions{}
	})
}

// consistent: each receipt is in exactly one of the matcher's places, the one where the model
// has it, and was acknowledged once, unless it is open yet.
func (x *model) consistent() {
	m := x.m[0]
	openNow := map[*receipt]int{}
	for _, r := range m.lookups {
		if !r.inbox {
			openNow[r]++
		}
	}
	for _, r := range m.waiting {
		openNow[r]++
	}
	for _, s := range x.all {
		acks, n, element := 1, 0, false
		if s.at == open {
			acks, n = 0, 1
		}
		if s.r != nil {
			element = s.r.element != nil
		}
		if s.acks != acks || s.r != nil && openNow[s.r] != n || element != (s.at == parked) {
			x.Fatalf("a receipt is %s: it has %d acks, is open %d times, and in memory: %v", s.at, s.acks, openNow[s.r], element)
		}
	}
	if m.Waiting() != len(x.order) {
		x.Fatalf("%d are parked, want %d", m.Waiting(), len(x.order))
	}
	for i, e := 0, m.arrival.Front(); e != nil; i, e = i+1, e.Next() {
		if e.Value.(*receipt) != x.order[i].r {
			x.Fatalf("the receipt parked at %d is not the one that was", i)
		}
	}
}

// A matcher loses no receipt, acknowledges each once, and matches none to a message that it
// is not about, in whatever order calls, answers, receipts, look-ups, failures and readings
// of the inbox come. Two with the same inputs do the same.
func TestMatcherKeepsEveryReceipt(t *testing.T) {
	for range 5 {
		rapid.Check(t, keepsEveryReceipt)
	}
}

func keepsEveryReceipt(t *rapid.T) {
	x := newModel(t)
	steps := []func(){x.call, x.answer, x.answer, x.unanswered, x.deliver, x.deliver, x.find, x.find, x.due, x.land, x.restore}
	t.Repeat(map[string]func(*rapid.T){
		"several": func(t *rapid.T) { // one step is one draw: this makes runs long, and they shrink
			x.T = t
			for _, i := range rapid.SliceOfN(rapid.IntRange(0, len(steps)-1), 1, 10).Draw(t, "steps") {
				steps[i]()
				x.consistent()
			}
		},
	})
	x.T = t
	// What is open is answered in the end.
	for range 3 {
		for len(x.lookups) > 0 {
			x.answered(0, 2)
		}
		x.now = x.now.Add(crossNode)
		x.look(false)
	}
	x.consistent()
	for _, s := range x.all {
		if s.at == open {
			t.Fatal("a receipt is never acknowledged")
		}
	}
}
