package receipts

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// tells is what the accounts of these tests deliver.
var tells = ledger.Tells{Receipts: true, Inbound: true}

var (
	begun   = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	errAway = errors.New("the views are away")
	stream  = ledger.Stream{Tenant: "acme", Subject: event.Pseudonym{1}, Key: event.ID{9}, Partition: 3}
)

const ann, bob = sms.Number("+14155550123"), sms.Number("+14155550199")

// desk is a matcher with a clock and numbered ids, in a test's hands.
type desk struct {
	t *testing.T
	*Matcher
	now   time.Time
	ids   byte
	acked []error
}

func newDesk(t *testing.T, shared bool) *desk {
	d := &desk{t: t, now: begun}
	d.Matcher = New(map[string]ledger.Account{"c1": {Tells: tells}, "hex": {Tells: tells, HexIDs: true}}, shared, func(time.Time) event.ID {
		d.ids++
		return event.ID{0xee, 15: d.ids}
	})
	return d
}

// part is a hand-off of a message by its number, with this reference, to this number.
func part(message byte, reference uint16, to sms.Number) *ledger.Handoff {
	return &ledger.Handoff{Message: event.ID{1, 15: message}, Attempt: 1, Part: 1, Parts: 1, Reference: reference, To: to}
}

// refTo is what a matched receipt of that hand-off says.
func refTo(h *ledger.Handoff, id string) ledger.HandoffRef {
	return ledger.HandoffRef{Partition: event.Partition(h.Message.Partition()), Tenant: "acme", Subject: event.Pseudonym{1}, Key: event.ID{9},
		Message: h.Message, Attempt: h.Attempt, Part: h.Part, CarrierID: id}
}

func (d *desk) taken(account string, h *ledger.Handoff, id string) Actions {
	return d.Answered(account, stream, h, ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: id})
}

func (d *desk) unknown(h *ledger.Handoff) Actions {
	return d.Answered("c1", stream, h, ledger.HandoffResult{Status: ledger.HandoffUnknown})
}

func (d *desk) called(hs ...*ledger.Handoff) {
	for _, h := range hs {
		d.Called("c1", stream, h, d.now)
	}
}

// delivery is a receipt as a carrier writes it.
func delivery(account, id, from string, reference uint16) ledger.Delivery {
	return ledger.Delivery{Account: account, Raw: []byte("pdu " + id), From: from, To: "15005550006", Reference: reference,
		Receipt: &sms.Receipt{ID: id, State: sms.StateDelivered, Final: true}}
}

func (d *desk) receipt(account, id, from string, reference uint16) Actions {
	return d.Receipt(delivery(account, id, from, reference), func(err error) { d.acked = append(d.acked, err) }, d.now)
}

// unfound is a receipt whose look-up found nothing: it is kept and parked.
func (d *desk) unfound(id, from string, reference uint16) *Kept {
	d.t.Helper()
	out := d.receipt("c1", id, from, reference)
	d.counts(out, 1, 0, 0, 0)
	out = d.none(out.Lookups[0])
	d.counts(out, 0, 0, 1, 0)
	return &out.Kept[0]
}

// found answers a look-up: the views know a hand-off to ann.
func (d *desk) found(l Lookup, ref ledger.HandoffRef) Actions {
	return d.Found(l.ID, []Candidate{{Ref: ref, To: ann}}, nil, d.now)
}

// none answers a look-up: the views know nothing.
func (d *desk) none(l Lookup) Actions {
	return d.Found(l.ID, nil, nil, d.now)
}

func (d *desk) counts(out Actions, lookups, matched, kept, acks int) {
	d.t.Helper()
	got := [...]int{len(out.Lookups), len(out.Matched), len(out.Kept), len(out.Acks)}
	if want := [...]int{lookups, matched, kept, acks}; got != want {
		d.t.Fatalf("a step asks for %v look-ups, matched, kept and acks, want %v", got, want)
	}
}

// matched is the one receipt that a step matched.
func (d *desk) matched(out Actions, ref ledger.HandoffRef, how event.Match) *Matched {
	d.t.Helper()
	d.counts(out, 0, 1, 0, 0)
	if x := &out.Matched[0]; x.Ref == ref && x.Match == how {
		return x
	}
	d.t.Fatalf("it is matched as %s to %+v, want as %s to %+v", out.Matched[0].Match, out.Matched[0].Ref, how, ref)
	return nil
}

func (d *desk) waiting(want int) {
	d.t.Helper()
	if d.Waiting() != want {
		d.t.Errorf("%d receipts are parked, want %d", d.Waiting(), want)
	}
	d.sound()
}

// sound checks what the matcher's parts of memory say of one another.
func (d *desk) sound() {
	d.t.Helper()
	if err := sound(d.Matcher); err != nil {
		d.t.Fatal(err)
	}
}

func sound(m *Matcher) error {
	under := map[*receipt]int{}
	for k, rs := range m.parked {
		if len(rs) == 0 {
			return fmt.Errorf("the key %q is kept for nothing", k)
		}
		for _, r := range rs {
			under[r]++
			if _, key, _ := strings.Cut(k, "\x00"); !slices.Contains(r.keys, key) {
				return fmt.Errorf("a receipt is parked under %q, its keys are %q", k, r.keys)
			}
		}
	}
	looking := map[*receipt]bool{}
	parked := 0
	for _, r := range m.lookups {
		looking[r] = true
		if r.inbox {
			parked++
		}
	}
	if parked != m.looking || m.open != len(m.lookups)-parked+len(m.waiting) {
		return fmt.Errorf("%d look-ups of parked receipts and %d receipts open are counted; there are %d, and %d", m.looking, m.open, parked, len(m.lookups)-parked+len(m.waiting))
	}
	for e := m.arrival.Front(); e != nil; e = e.Next() {
		r := e.Value.(*receipt)
		if r.element != e || !r.inbox || under[r] != len(r.keys) {
			return fmt.Errorf("a receipt is parked under %d of its keys %q", under[r], r.keys)
		}
		if r.index < 0 && !looking[r] {
			return errors.New("a parked receipt is never looked up again")
		}
		delete(under, r)
	}
	if len(under) > 0 {
		return fmt.Errorf("%d receipts are under keys, and not in the order of arrival", len(under))
	}
	for i, r := range m.looks {
		if r.index != i || r.element == nil {
			return fmt.Errorf("what is looked up at %d thinks that it is at %d; parked: %v", i, r.index, r.element != nil)
		}
		if i > 0 && r.next.Before(m.looks[(i-1)/2].next) {
			return errors.New("the receipts to be looked up are out of order")
		}
	}
	b := m.bounds
	inOrder, chained := 0, 0
	for _, h := range m.order {
		if h.of != nil {
			inOrder++
		}
	}
	for _, a := range m.accounts {
		for key, h := range a.known {
			n := 0
			for ; h != nil; h = h.older {
				if n++; h.of != a || sms.IDKey(h.ref.CarrierID) != key || n > sameKey {
					return fmt.Errorf("%+v of %v is under %q of %s, as the %d.", h.ref, h.of, key, a.name, n)
				}
			}
			if chained += n; n == 0 {
				return fmt.Errorf("the key %q is kept for nothing", key)
			}
		}
	}
	if chained != inOrder || len(m.order) > b.remembered || m.arrival.Len() > b.parked || m.open > b.open || m.looking > b.looking {
		return fmt.Errorf("memory is not bounded: %d known (%d in order of %d), %d parked, %d open, %d looked up, of %+v", chained, inOrder, len(m.order), m.arrival.Len(), m.open, m.looking, b)
	}
	return nil
}

// A hand-off that was answered is found under each form of its id, of its own account.
func TestMatchedByID(t *testing.T) {
	for _, c := range []struct {
		account, answered, receipt string
		want                       event.Match // "": it is looked up
	}{
		{"c1", "abc-1", "abc-1", event.MatchID},
		{"c1", "00123", "123", event.MatchZeros}, {"c1", "123", "00123", event.MatchZeros},
		{"c1", "0AbC1", "abc1", event.MatchZeros}, {"c1", "000", "0", event.MatchZeros},
		{"hex", "1a2b", "6699", event.MatchHex}, {"hex", "00001A2B", "06699", event.MatchHex}, {"hex", "00000007", "7", event.MatchZeros},
		{"hex", "abc-1", "abc-1", event.MatchID}, {"hex", "1A2B", "1A2B", event.MatchID},
		{"hex", "6699", "1A2B", ""}, {"hex", "6699", "6699", ""}, {"hex", "06699", "6699", ""},
		{"c1", "1a2b", "6699", ""}, {"c1", "6699", "1a2b", ""}, {"c1", "16", "22", ""}, {"c1", "22", "16", ""},
		{"c1", "abc-1", "abc-2", ""}, {"c1", "abc-1", "", ""}, {"c1", "", "", ""},
	} {
		d := newDesk(t, false)
		h := part(1, 7, ann)
		d.Called(c.account, stream, h, d.now)
		d.counts(d.taken(c.account, h, c.answered), 0, 0, 0, 0)
		from := ""
		if c.want == event.MatchZeros { // that needs a number
			d.counts(d.receipt(c.account, c.receipt, "", 0), map[string]int{"c1": 1, "hex": 0}[c.account], map[string]int{"c1": 0, "hex": 1}[c.account], 0, 0)
			from = string(ann)
		}
		ids := d.ids
		out := d.receipt(c.account, c.receipt, from, 0)
		if c.want == "" {
			d.counts(out, 1, 0, 0, 0)
		} else {
			x := d.matched(out, refTo(h, c.answered), c.want)
			if x.ID != (event.ID{0xee, 15: ids + 1}) || x.Parked != nil || !x.Received.IsZero() || !reflect.DeepEqual(x.Delivery, delivery(c.account, c.receipt, from, 0)) {
				t.Errorf("%q for %q is matched as %+v", c.receipt, c.answered, x)
			}
			if x.Ack(nil); !slices.Equal(d.acked, []error{nil}) {
				t.Errorf("%q for %q: the carrier heard %v", c.receipt, c.answered, d.acked)
			}
		}
		other := map[string]string{"c1": "hex", "hex": "c1"}[c.account]
		d.counts(d.receipt(other, c.receipt, "", 0), 1, 0, 0, 0)
		d.sound()
	}
}

// The keys that a receipt is looked up under are those of all forms of its ids, and of its reference.
func TestLookupKeys(t *testing.T) {
	for _, c := range []struct {
		account, id, text string
		reference         uint16
		want              []string
	}{
		{"c1", "0066", "", 5, []string{"66", "42", "102", "#5"}}, {"hex", "0066", "", 0, []string{"42", "66", "102"}}, {"c1", "", "", 0, nil},
		{"unknown", "AB", "", 0, []string{"ab", "171"}}, {"c1", "Msg 7", "", 0, []string{"msg 7"}}, {"c1", `"07"`, "", 0, []string{`"07"`, "7"}},
		{"c1", "m-7", "", 0, []string{"m-7", "m7"}}, {"c1", "10", "16", 0, []string{"10", "16", "a", "22"}}, {"hex", "10", "16", 0, []string{"10", "16", "a", "22"}},
		{"hex", "16", "10", 0, []string{"10", "16", "a", "22"}}, {"c1", "", "7", 0, []string{"7"}},
		{"c1", "0F8FAD5B-D9CB-469F-A165-70867728950E", "", 0, []string{"f8fad5b-d9cb-469f-a165-70867728950e", "f8fad5bd9cb469fa16570867728950e"}},
		{"c1", "0f8fad5bd9cb469fa16570867728950e", "", 0, []string{"f8fad5bd9cb469fa16570867728950e", "f8fad5b-d9cb-469f-a165-70867728950e", "20684434521572431564404614332563363086"}},
	} {
		d := newDesk(t, false)
		r := delivery(c.account, c.id, "x", c.reference)
		r.Receipt.TextID = c.text
		out := d.Receipt(r, nil, d.now)
		d.counts(out, 1, 0, 0, 0)
		l := out.Lookups[0]
		if !slices.Equal(l.Keys, c.want) || !reflect.DeepEqual(*l.Delivery, r) {
			t.Errorf("%q (%q) of %s is looked up as %q: %+v", c.id, c.text, c.account, l.Keys, l.Delivery)
		}
	}
}

// By its reference a receipt is matched only to a part whose answer will not come, and only
// with enough of the recipient's number in it.
func TestMatchedByReference(t *testing.T) {
	for _, c := range []struct {
		name      string
		from      string
		reference uint16
		status    ledger.HandoffStatus
		want      bool
	}{
		{"its number", "14155550123", 7, ledger.HandoffUnknown, true},
		{"a national form", "4155550123", 7, ledger.HandoffUnknown, true},
		{"masked at its end", "1415555****", 7, ledger.HandoffUnknown, true},
		{"four digits", "*******0123", 7, ledger.HandoffUnknown, true},
		{"three digits", "********123", 7, ledger.HandoffUnknown, false},
		{"no number", "", 7, ledger.HandoffUnknown, false},
		{"masked altogether", "***********", 7, ledger.HandoffUnknown, false},
		{"another number", "14155550199", 7, ledger.HandoffUnknown, false},
		{"another reference", "14155550123", 8, ledger.HandoffUnknown, false},
		{"no reference", "14155550123", 0, ledger.HandoffUnknown, false},
		{"it was answered", "14155550123", 7, ledger.HandoffTaken, false},
		{"it was refused for good", "14155550123", 7, ledger.HandoffFinal, false},
		{"it was refused for now", "14155550123", 7, ledger.HandoffRetry, false},
		{"it was not called", "14155550123", 7, ledger.HandoffNotCalled, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := part(1, 7, ann)
			answer := ledger.HandoffResult{Status: c.status, CarrierID: "answered"}
			// After the answer, before it with the look-up under way, and before it, parked.
			d := newDesk(t, false)
			d.called(h)
			d.Answered("c1", stream, h, answer)
			out := d.receipt("c1", "other", c.from, c.reference)
			if c.want {
				d.matched(out, refTo(h, ""), event.MatchReference)
			} else {
				d.counts(out, 1, 0, 0, 0)
			}

			d = newDesk(t, false)
			d.called(h)
			early := d.receipt("c1", "other", c.from, c.reference)
			d.counts(early, 1, 0, 0, 0)
			d.counts(d.Answered("c1", stream, h, answer), 0, 0, 0, 0)
			out = d.none(early.Lookups[0])
			if c.want {
				d.matched(out, refTo(h, ""), event.MatchReference)
			} else {
				d.counts(out, 0, 0, 1, 0)
			}

			d = newDesk(t, false)
			d.called(h)
			kept := d.unfound("other", c.from, c.reference)
			d.waiting(1)
			out = d.Answered("c1", stream, h, answer)
			if c.want {
				if x := d.matched(out, refTo(h, ""), event.MatchReference); x.ID != event.Derive(kept.ID, "matched") {
					t.Errorf("it is written as %s", x.ID)
				}
				d.waiting(0)
			} else {
				d.counts(out, 0, 0, 0, 0)
				d.waiting(1)
			}
		})
	}
}

// A part that another process called a carrier with, or this one before it restarted, is
// matched by its reference; one that this process called is not: its answer comes.
func TestUnanswered(t *testing.T) {
	d := newDesk(t, false)
	a, b := part(1, 7, ann), part(2, 8, bob)
	d.unfound("x", string(ann), 7)
	d.unfound("y", string(bob), 7)
	d.unfound("z", "", 7)
	out := d.Unanswered("c1", 7, refTo(a, ""), ann, d.now)
	if x := d.matched(out, refTo(a, ""), event.MatchReference); string(x.Delivery.Raw) != "pdu x" {
		t.Errorf("%s is matched", x.Delivery.Raw)
	}
	d.waiting(2)
	d.matched(d.receipt("c1", "w", string(ann), 7), refTo(a, ""), event.MatchReference)
	d.called(b)
	if !d.Knows("c1", 8, b.Message) || d.Knows("c1", 8, a.Message) || d.Knows("hex", 8, b.Message) || d.Knows("c1", 9, b.Message) {
		t.Error("it does not know what it called the carrier for")
	}
	d.counts(d.Unanswered("c1", 8, refTo(b, ""), bob, d.now), 0, 0, 0, 0)
	d.counts(d.receipt("c1", "v", string(bob), 8), 1, 0, 0, 0)
}

// A part without an answer keeps its reference for as long as receipts wait; then another
// call has it. What settles one message leaves another's reference as it is.
func TestReferenceIsTaken(t *testing.T) {
	d := newDesk(t, false)
	a, b := part(1, 7, ann), part(2, 7, bob)
	d.called(a)
	d.unknown(a)
	d.now = begun.Add(ParkFor - time.Second)
	d.called(b)
	d.unknown(b)
	d.taken("c1", b, "b")
	d.matched(d.receipt("c1", "x", string(ann), 7), refTo(a, ""), event.MatchReference)
	d.counts(d.receipt("c1", "y", string(bob), 7), 1, 0, 0, 0)
	d.now = begun.Add(ParkFor)
	d.called(b)
	d.unknown(b)
	d.matched(d.receipt("c1", "z", string(bob), 7), refTo(b, ""), event.MatchReference)
	d.taken("c1", a, "a") // a late answer, to a reference that is another's now
	d.matched(d.receipt("c1", "z", string(bob), 7), refTo(b, ""), event.MatchReference)
	d.taken("c1", b, "b2")
	d.counts(d.receipt("c1", "z", string(bob), 7), 1, 0, 0, 0)
	d.Answered("c1", stream, part(3, 9, ann), ledger.HandoffResult{Status: ledger.HandoffUnknown}) // it never heard of the call
	d.counts(d.receipt("c1", "z", string(ann), 9), 1, 0, 0, 0)
}

// Several parts without an answer share a reference: each gets its own receipts, by its number; one more than are kept
// pushes the oldest out.
func TestSharedReference(t *testing.T) {
	d := newDesk(t, false)
	var numbers []sms.Number
	for i := range maxSameReference + 1 {
		numbers = append(numbers, sms.Number(fmt.Sprintf("+1415777%04d", i)))
		h := part(byte(i+1), 7, numbers[i])
		d.called(h)
		d.unknown(h)
	}
	for i, n := range numbers[1:] {
		d.matched(d.receipt("c1", "x", string(n), 7), refTo(part(byte(i+2), 7, n), ""), event.MatchReference)
	}
	d.counts(d.receipt("c1", "y", string(numbers[0]), 7), 1, 0, 0, 0)
	d.taken("c1", part(5, 7, numbers[4]), "e")
	d.counts(d.receipt("c1", "z", string(numbers[4]), 7), 1, 0, 0, 0)
	d.matched(d.receipt("c1", "w", string(numbers[5]), 7), refTo(part(6, 7, numbers[5]), ""), event.MatchReference)
}

// A receipt that outran its response is kept, and moved when the response comes, whichever
// form of the id that has.
func TestOutranItsResponse(t *testing.T) {
	for answered, how := range map[string]event.Match{"00abc": event.MatchID, "abc": event.MatchZeros, "ABC": event.MatchZeros} {
		d := newDesk(t, false)
		h := part(1, 7, ann)
		d.called(h)
		kept := d.unfound("00abc", string(ann), 7)
		if kept.ID != (event.ID{0xee, 15: 1}) || !reflect.DeepEqual(kept.Delivery, delivery("c1", "00abc", string(ann), 7)) {
			t.Errorf("kept as %+v", kept)
		}
		d.waiting(1)
		d.now = d.now.Add(time.Minute)
		x := d.matched(d.taken("c1", h, answered), refTo(h, answered), how)
		if x.ID != event.Derive(kept.ID, "matched") || !x.Received.Equal(begun) || x.Ack != nil || x.Parked == nil || string(x.Delivery.Raw) != "pdu 00abc" {
			t.Errorf("moved as %+v", x)
		}
		d.waiting(0)
		if kept.Ack(nil); len(d.acked) != 1 {
			t.Errorf("the carrier heard %v", d.acked)
		}
	}
}

// The response may come between a look-up and its answer, which then does not matter.
func TestResponseComesDuringTheLookup(t *testing.T) {
	for name, err := range map[string]error{"nothing found": nil, "an error": errAway} {
		d := newDesk(t, true)
		h := part(1, 7, ann)
		out := d.receipt("c1", "abc", "", 0)
		d.called(h)
		d.counts(d.taken("c1", h, "abc"), 0, 0, 0, 0)
		x := d.matched(d.Found(out.Lookups[0].ID, nil, err, d.now), refTo(h, "abc"), event.MatchID)
		if x.Ack == nil || x.Parked != nil || x.ID != (event.ID{0xee, 15: 1}) {
			t.Errorf("%s: matched as %+v", name, x)
		}
		d.counts(d.none(out.Lookups[0]), 0, 0, 0, 0) // answered twice
		d.counts(d.Found(99, []Candidate{{}}, nil, d.now), 0, 0, 0, 0)
		d.sound()
	}
}

// What the views find is matched as they say, and their error is the carrier's: nothing is
// parked for it, since the carrier delivers it again.
func TestFoundInTheViews(t *testing.T) {
	for _, shared := range []bool{false, true} {
		d := newDesk(t, shared)
		ref := ledger.HandoffRef{Tenant: "acme", Message: event.ID{4}, CarrierID: "abc"}
		out := d.receipt("c1", "00abc", string(ann), 0)
		if x := d.matched(d.found(out.Lookups[0], ref), ref, event.MatchZeros); x.Ack == nil || x.Parked != nil {
			t.Errorf("matched as %+v", x)
		}
		out = d.receipt("c1", "00abc", "", 0)
		out = d.Found(out.Lookups[0].ID, []Candidate{{Ref: ref}}, errAway, d.now) // an error counts, whatever stands beside it
		d.counts(out, 0, 0, 0, 1)
		if out.Acks[0].Ack(out.Acks[0].Err); !slices.Equal(d.acked, []error{errAway}) {
			t.Errorf("the carrier heard %v", d.acked)
		}
		d.waiting(0)
		if next := d.due(t, true, 0); !next.IsZero() {
			t.Errorf("something is looked up at %s", next)
		}
	}
}

// due is Due, with as many look-ups; it returns when the next are due.
func (d *desk) due(t *testing.T, owner bool, want int) time.Time {
	t.Helper()
	out, next := d.Due(d.now, owner)
	d.counts(out, want, 0, 0, 0)
	for _, l := range out.Lookups {
		d.none(l)
	}
	if want > 0 { // what is next may have changed with the answers
		out, next = d.Due(d.now, owner)
		d.counts(out, 0, 0, 0, 0)
	}
	d.sound()
	return next
}

// waits is how often the receipt of a look-up has waited for another node's hand-off.
func (d *desk) waits(l Lookup) int { return d.lookups[l.ID].waits }

// waitedOut finds nothing for look-ups, until those are made after which their receipts are kept.
func (d *desk) waitedOut(out Actions, owner bool) Actions {
	for d.waits(out.Lookups[0]) < crossWaits {
		for _, l := range out.Lookups {
			d.none(l)
		}
		d.now = d.now.Add(crossNode)
		out, _ = d.Due(d.now, owner)
	}
	return out
}

// With other nodes a receipt that is unknown waits for their hand-offs, unacknowledged, and
// is looked up again, by every node, before it is kept.
func TestWaitsForAnotherNode(t *testing.T) {
	for _, owner := range []bool{true, false} {
		d := newDesk(t, true)
		out := d.receipt("c1", "abc", "", 0)
		d.counts(d.none(out.Lookups[0]), 0, 0, 0, 0)
		d.waiting(0)
		if next := d.due(t, owner, 0); !next.Equal(begun.Add(crossNode)) {
			t.Errorf("it is looked up again at %s", next)
		}
		d.now = begun.Add(crossNode)
		out, next := d.Due(d.now, owner)
		d.counts(out, 1, 0, 0, 0)
		if !next.IsZero() {
			t.Errorf("the next one is at %s", next)
		}
		out = d.waitedOut(out, owner)
		d.counts(out, 1, 0, 0, 0)
		if want := begun.Add(crossWaits * crossNode); !d.now.Equal(want) || len(d.acked) != 0 {
			t.Errorf("the last look-up is at %s, not %s; acknowledged %v", d.now, want, d.acked)
		}
		out = d.none(out.Lookups[0])
		d.counts(out, 0, 0, 1, 0)
		if out.Kept[0].ID != (event.ID{0xee, 15: 1}) || len(d.acked) != 0 {
			t.Errorf("kept as %+v, acknowledged %v", out.Kept[0], d.acked)
		}
		d.waiting(1)

		// Its hand-off shows, or its own answer comes, or the views fail, meanwhile.
		h := part(1, 7, ann)
		ref := refTo(h, "def")
		for i, want := range []func(Lookup){
			func(l Lookup) { d.matched(d.found(l, ref), ref, event.MatchID) },
			func(l Lookup) { d.counts(d.Found(l.ID, nil, errAway, d.now), 0, 0, 0, 1) },
			func(l Lookup) { d.taken("c1", h, "def"); d.matched(d.none(l), ref, event.MatchID) },
		} {
			out = d.receipt("c1", "def", "", 0)
			d.none(out.Lookups[0])
			d.now = d.now.Add(crossNode)
			out, _ = d.Due(d.now, false)
			if len(out.Lookups) != 1 {
				t.Fatalf("%d: %d look-ups", i, len(out.Lookups))
			}
			want(out.Lookups[0])
			d.waiting(1)
		}
	}
}

// A parked receipt is looked up after 200 ms, then ever more seldom, down to once in ten
// minutes, while this node looks after the inbox; an answer or an error is the same to it.
func TestGrowingWaits(t *testing.T) {
	d := newDesk(t, false)
	kept := d.unfound("abc", "", 0)
	var waits []time.Duration
	for last := d.now; len(waits) < 15; last = d.now {
		_, next := d.Due(d.now, true)
		d.now = next
		out, _ := d.Due(d.now.Add(-time.Nanosecond), true)
		d.counts(out, 0, 0, 0, 0)
		out, _ = d.Due(d.now, true)
		d.counts(out, 1, 0, 0, 0)
		waits = append(waits, d.now.Sub(last))
		err := errAway
		if len(waits)%2 == 0 {
			err = nil
		}
		d.counts(d.Found(out.Lookups[0].ID, nil, err, d.now), 0, 0, 0, 0)
		d.waiting(1)
	}
	want := firstLook
	for i, w := range waits {
		if w != want {
			t.Errorf("wait %d is %s, want %s", i, w, want)
		}
		want = min(2*want, lastLook)
	}
	if waits[0] != 200*time.Millisecond || waits[14] != 10*time.Minute {
		t.Errorf("the waits grow from %s to %s", waits[0], waits[14])
	}
	d.now = d.now.Add(lastLook)
	out, _ := d.Due(d.now, true)
	ref := ledger.HandoffRef{Message: event.ID{5}, CarrierID: "abc"}
	x := d.matched(d.found(out.Lookups[0], ref), ref, event.MatchID)
	if x.ID != event.Derive(kept.ID, "matched") || !x.Received.Equal(begun) || x.Ack != nil {
		t.Errorf("moved as %+v", x)
	}
	d.waiting(0)
}

// A node that does not look after the inbox looks nothing up for it; its own answers move
// what it has parked. Once it does, it looks.
func TestOwner(t *testing.T) {
	d := newDesk(t, false)
	h := part(1, 7, ann)
	d.called(h)
	d.unfound("abc", "", 0)
	d.unfound("def", "", 0)
	for range 3 {
		d.now = d.now.Add(5 * time.Second)
		d.due(t, false, 0)
	}
	d.waiting(2)
	d.matched(d.taken("c1", h, "abc"), refTo(h, "abc"), event.MatchID)
	d.now = d.now.Add(lastLook)
	d.due(t, true, 1)
	d.waiting(1)
}

// The response, and a look-up whose answer comes after it, match a receipt once.
func TestMatchedOnce(t *testing.T) {
	d := newDesk(t, false)
	h := part(1, 7, ann)
	d.called(h)
	d.unfound("abc", "", 7)
	d.now = d.now.Add(firstLook)
	out, _ := d.Due(d.now, true)
	d.counts(out, 1, 0, 0, 0)
	d.matched(d.taken("c1", h, "abc"), refTo(h, "abc"), event.MatchID)
	d.counts(d.found(out.Lookups[0], refTo(h, "abc")), 0, 0, 0, 0)
	d.counts(d.taken("c1", h, "abc"), 0, 0, 0, 0)
	d.waiting(0)
}

// A matched receipt whose append failed is parked as before: looked up, and matched again
// under the same id.
func TestFailedComesBack(t *testing.T) {
	d := newDesk(t, false)
	h := part(1, 7, ann)
	d.called(h)
	d.unfound("abc", string(ann), 7)
	x := d.matched(d.taken("c1", h, "abc"), refTo(h, "abc"), event.MatchID)
	d.now = d.now.Add(time.Second)
	d.Failed(x.Parked, d.now)
	d.Failed(x.Parked, d.now) // twice is once
	d.waiting(1)
	d.now = d.now.Add(firstLook)
	out, _ := d.Due(d.now, true)
	d.counts(out, 1, 0, 0, 0)
	again := d.matched(d.found(out.Lookups[0], refTo(h, "abc")), refTo(h, "abc"), event.MatchID)
	if again.ID != x.ID || !again.Received.Equal(x.Received) {
		t.Errorf("it is written as %s, then as %s", x.ID, again.ID)
	}
	// It comes back while a look-up from before is under way.
	d.Failed(again.Parked, d.now)
	d.now = d.now.Add(firstLook)
	out, _ = d.Due(d.now, true)
	again = d.matched(d.taken("c1", h, "abc"), refTo(h, "abc"), event.MatchID)
	d.Failed(again.Parked, d.now)
	d.matched(d.none(out.Lookups[0]), refTo(h, "abc"), event.MatchID)
	d.waiting(0)
	d.counts(d.taken("c1", h, "abc"), 0, 0, 0, 0)
}

// What waits in the inbox is looked up at once, matched under an id that follows from its
// event, and parked once, however often the inbox is read.
func TestRestored(t *testing.T) {
	d := newDesk(t, true)
	at, id := begun.Add(-time.Hour), event.ID{0xaa}
	d.Restored(id, delivery("c1", "abc", string(ann), 7), at, d.now)
	d.waiting(1)
	out, _ := d.Due(d.now, true)
	d.counts(out, 1, 0, 0, 0)
	d.Restored(id, delivery("c1", "abc", string(ann), 7), at, d.now) // while it is looked up
	d.waiting(1)
	d.none(out.Lookups[0])
	d.due(t, true, 0)
	d.Restored(id, delivery("c1", "abc", string(ann), 7), at, d.now) // and while it waits
	d.Restored(event.ID{0xab}, delivery("c1", "abc", string(ann), 7), at, d.now)
	d.Restored(event.ID{0xac}, delivery("c1", "", "", 0), at, d.now)
	d.waiting(3)
	d.due(t, true, 3)
	h := part(1, 7, ann)
	d.called(h)
	out = d.taken("c1", h, "abc")
	d.counts(out, 0, 2, 0, 0)
	for i, from := range []event.ID{id, {0xab}} {
		if x := out.Matched[i]; x.ID != event.Derive(from, "matched") || !x.Received.Equal(at) || x.Ack != nil || x.Ref != refTo(h, "abc") {
			t.Errorf("%d is moved as %+v", i, x)
		}
	}
	d.waiting(1)
}

// Two copies of a receipt are two receipts: both are matched, each with its own id and ack.
func TestCopies(t *testing.T) {
	d := newDesk(t, false)
	h := part(1, 7, ann)
	d.called(h)
	first, second := d.unfound("abc", string(ann), 7), d.unfound("abc", string(ann), 7)
	d.waiting(2)
	out := d.taken("c1", h, "abc")
	d.counts(out, 0, 2, 0, 0)
	if out.Matched[0].ID != event.Derive(first.ID, "matched") || out.Matched[1].ID != event.Derive(second.ID, "matched") || first.ID == second.ID {
		t.Errorf("moved as %s and %s", out.Matched[0].ID, out.Matched[1].ID)
	}
	a, b := d.receipt("c1", "abc", "", 0), d.receipt("c1", "abc", "", 0)
	if d.matched(a, refTo(h, "abc"), event.MatchID).ID == d.matched(b, refTo(h, "abc"), event.MatchID).ID {
		t.Error("two have one id")
	}
}

// A receipt that is taken under one of its keys is gone from under all of them, what has
// waited past ParkFor makes room, and another's address stays where it is.
func TestParked(t *testing.T) {
	d := newDesk(t, false)
	a, b := part(1, 7, ann), part(2, 7, bob)
	d.unfound("01", string(ann), 7) // under 1 and the reference
	d.unfound("2", string(bob), 7)
	d.waiting(2)
	d.called(a)
	if x := d.matched(d.taken("c1", a, "1"), refTo(a, "1"), event.MatchZeros); string(x.Delivery.Raw) != "pdu 01" {
		t.Errorf("under its id stands %s", x.Delivery.Raw)
	}
	if d.parked[idKey("c1", "1")] != nil || len(d.parked[referenceKey("c1", 7)]) != 1 {
		t.Error("it is under its other keys yet")
	}
	d.counts(d.taken("c1", a, "1"), 0, 0, 0, 0) // it is not taken twice
	d.called(a)
	d.counts(d.unknown(a), 0, 0, 0, 0) // the other is from another number
	d.counts(d.Unanswered("c1", 7, refTo(a, ""), ann, d.now), 0, 0, 0, 0)
	d.waiting(1)
	x := d.matched(d.Unanswered("c1", 7, refTo(b, ""), bob, d.now), refTo(b, ""), event.MatchReference)
	if string(x.Delivery.Raw) != "pdu 2" {
		t.Errorf("its own number's is %s", x.Delivery.Raw)
	}
	if d.waiting(0); len(d.parked) != 0 || len(d.looks) != 0 {
		t.Errorf("%d keys and %d looks are kept for nothing", len(d.parked), len(d.looks))
	}

	d.Restored(event.ID{3}, delivery("c1", "3", "", 0), d.now.Add(-ParkFor-time.Minute), d.now)
	d.waiting(1)
	out, _ := d.Due(d.now, true)
	d.counts(out, 1, 0, 0, 0)
	d.Restored(event.ID{4}, delivery("c1", "4", "", 0), d.now, d.now)
	d.waiting(1)
	if d.parked[idKey("c1", "3")] != nil {
		t.Error("what waited too long is under its key yet")
	}
	d.counts(d.found(out.Lookups[0], refTo(a, "3")), 0, 0, 0, 0) // it was dropped: the inbox has it
	d.now = d.now.Add(ParkFor)
	d.Restored(event.ID{5}, delivery("c1", "5", "", 0), d.now, d.now) // to the end of its time it waits
	d.waiting(2)
	d.now = d.now.Add(time.Nanosecond)
	d.Restored(event.ID{6}, delivery("c1", "6", "", 0), d.now, d.now)
	d.waiting(2)
}

// Beyond its bounds a matcher refuses, drops what has waited longest, or forgets what it
// called longest ago; the views know that.
func TestBounds(t *testing.T) {
	d := newDesk(t, false)
	h := part(1, 7, ann)
	d.called(h)
	d.taken("c1", h, "mine")
	most := MaxLookups - looksAtOnce
	var lookups []Lookup
	for i := range most {
		out := d.receipt("c1", fmt.Sprint("x", i), "", 0)
		d.counts(out, 1, 0, 0, 0)
		lookups = append(lookups, out.Lookups[0])
	}
	out := d.receipt("c1", "one more", "", 0)
	d.counts(out, 0, 0, 0, 1)
	if out.Acks[0].Ack(out.Acks[0].Err); len(d.acked) != 1 || !errors.Is(d.acked[0], ledger.ErrRefused) {
		t.Errorf("the carrier heard %v", d.acked)
	}
	d.matched(d.receipt("c1", "mine", "", 0), refTo(h, "mine"), event.MatchID) // it needs no look-up
	d.counts(d.none(lookups[0]), 0, 0, 1, 0)
	d.counts(d.receipt("c1", "one more", "", 0), 1, 0, 0, 0)
	d.counts(d.receipt("c1", "and one", "", 0), 0, 0, 0, 1)
	d.sound()
}

// The receipts that wait for another node's hand-off count: they are not acknowledged.
func TestBoundOfThoseThatWait(t *testing.T) {
	d := newDesk(t, true)
	for i := range MaxLookups - looksAtOnce {
		d.none(d.receipt("c1", fmt.Sprint("x", i), "", 0).Lookups[0])
	}
	d.counts(d.receipt("c1", "one more", "", 0), 0, 0, 0, 1)
	d.now = d.now.Add(crossNode)
	out, _ := d.Due(d.now, true)
	d.counts(out, MaxLookups-looksAtOnce, 0, 0, 0)
	d.counts(d.receipt("c1", "one more", "", 0), 0, 0, 0, 1)
	out = d.waitedOut(out, true)
	d.counts(d.receipt("c1", "one more", "", 0), 0, 0, 0, 1)
	d.counts(d.none(out.Lookups[0]), 0, 0, 1, 0)
	d.counts(d.receipt("c1", "one more", "", 0), 1, 0, 0, 0)
	d.sound()
}

// However much waits in the inbox, a receipt that its carrier waits for is looked up: at
// once, and after its wait for another node.
func TestInboxDelaysNoDelivery(t *testing.T) {
	d := newDesk(t, true)
	for i := range MaxLookups {
		d.Restored(event.ID{0xaa, 14: byte(i >> 8), 15: byte(i)}, delivery("c1", fmt.Sprint("x", i), "", 0), d.now, d.now)
	}
	out, _ := d.Due(d.now, true)
	d.counts(out, looksAtOnce, 0, 0, 0)
	more, next := d.Due(d.now, true)
	d.counts(more, 0, 0, 0, 0)
	if next.After(d.now) {
		t.Errorf("the next ones are due at %s", next)
	}
	fresh := d.receipt("c1", "fresh", "", 0)
	d.counts(fresh, 1, 0, 0, 0)
	d.none(fresh.Lookups[0])
	d.now = d.now.Add(crossNode)
	more, _ = d.Due(d.now, true)
	d.counts(more, 1, 0, 0, 0)
	if more.Lookups[0].Keys[0] != "fresh" {
		t.Errorf("looked up is %q", more.Lookups[0].Keys)
	}
	more = d.waitedOut(more, true)
	d.counts(d.none(more.Lookups[0]), 0, 0, 1, 0)
	for _, l := range out.Lookups {
		d.none(l)
	}
	out, _ = d.Due(d.now, true)
	d.counts(out, looksAtOnce, 0, 0, 0)
	d.sound()
}

func TestBoundOfParked(t *testing.T) {
	d := newDesk(t, false)
	for i := range maxParked {
		d.Restored(event.ID{0xaa, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}, delivery("c1", fmt.Sprint("x", i), "", 0), d.now, d.now)
	}
	d.waiting(maxParked)
	d.Restored(event.ID{0xab}, delivery("c1", "one more", "", 0), d.now, d.now)
	d.waiting(maxParked)
	h := part(1, 7, ann)
	d.called(h)
	d.counts(d.taken("c1", h, "x0"), 0, 0, 0, 0) // it waits in the inbox alone
	d.matched(d.taken("c1", h, "x1"), refTo(h, "x1"), event.MatchID)
	d.matched(d.taken("c1", h, "one more"), refTo(h, "one more"), event.MatchID)
}

func TestBoundOfRemembered(t *testing.T) {
	d := newDesk(t, false)
	h := part(1, 7, ann)
	for i := range maxRemembered + 1 {
		d.taken("c1", h, fmt.Sprint("x", i))
	}
	d.sound()
	if n := len(d.accounts["c1"].known); n != maxRemembered-maxRemembered/4+1 {
		t.Errorf("%d are remembered", n)
	}
	d.counts(d.receipt("c1", "x0", "", 0), 1, 0, 0, 0) // the views know it
	d.matched(d.receipt("c1", fmt.Sprint("x", maxRemembered), "", 0), refTo(h, fmt.Sprint("x", maxRemembered)), event.MatchID)
	d.matched(d.receipt("c1", fmt.Sprint("x", maxRemembered/4), "", 0), refTo(h, fmt.Sprint("x", maxRemembered/4)), event.MatchID)
}

// An account that delivers no receipts needs no memory of hand-offs.
func TestAccountWithoutReceipts(t *testing.T) {
	m := New(map[string]ledger.Account{"c1": {}}, false, event.NewID)
	now := time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)
	h := ledger.Handoff{Message: event.ID{1}, Attempt: 1, Part: 1, Reference: 7, To: "+14155550123"}
	m.Called("c1", ledger.Stream{Tenant: "acme"}, &h, now)
	if out := m.Answered("c1", ledger.Stream{Tenant: "acme"}, &h, ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: "x"}); len(out.Matched) > 0 || len(m.order)+len(m.calls) > 0 {
		t.Errorf("it remembers %v and %v", m.order, m.calls)
	}
}

// The carrier's answer comes after it was given up: receipts that came meanwhile were matched by the reference, and
// from then on the id counts.
func TestAnswerAfterUnknown(t *testing.T) {
	d := newDesk(t, false)
	h := part(1, 17, ann)
	d.called(h)
	d.unfound("a1", string(ann), 0) // its id says nothing yet
	d.unknown(h)
	d.matched(d.receipt("c1", "", string(ann), 17), refTo(h, ""), event.MatchReference)
	d.matched(d.taken("c1", h, "a1"), refTo(h, "a1"), event.MatchID)
	d.waiting(0)
	d.matched(d.receipt("c1", "a1", string(ann), 17), refTo(h, "a1"), event.MatchID)
	if d.Knows("c1", 17, h.Message) {
		t.Error("the reference of an answered part is kept")
	}
	if out := d.receipt("c1", "", string(ann), 17); len(out.Lookups) != 1 {
		t.Errorf("a receipt is matched by the reference of an answered part: %+v", out)
	}
	again := part(2, 18, bob)
	d.called(again)
	d.unknown(again)
	d.Answered("c1", stream, again, ledger.HandoffResult{Status: ledger.HandoffRetry})
	if d.Knows("c1", 18, again.Message) {
		t.Error("the reference of a refused part is kept")
	}
}

// A late answer of one attempt does not forget another attempt's part, if both have one reference.
func TestLateAnswerOfAnEarlierAttempt(t *testing.T) {
	d := newDesk(t, false)
	first := part(1, 17, ann)
	second := *first
	second.Attempt = 2
	d.called(first)
	d.Answered("c1", stream, first, ledger.HandoffResult{Status: ledger.HandoffRetry})
	d.called(&second)
	d.taken("c1", first, "a1")
	d.unknown(&second)
	d.matched(d.receipt("c1", "", string(ann), 17), refTo(&second, ""), event.MatchReference)
}

// A part that the carrier took without an id is found by its reference, whether the receipt comes before or after the
// answer, and by no other recipient's receipt.
func TestTakenWithoutID(t *testing.T) {
	d := newDesk(t, false)
	h := part(1, 17, ann)
	d.called(h)
	d.unfound("", string(ann), 17)
	d.matched(d.taken("c1", h, ""), refTo(h, ""), event.MatchReference)
	d.matched(d.receipt("c1", "a1", string(ann), 17), refTo(h, ""), event.MatchReference)
	if out := d.receipt("c1", "", string(bob), 17); len(out.Matched) != 0 {
		t.Errorf("another recipient's receipt is matched: %+v", out)
	}
}
