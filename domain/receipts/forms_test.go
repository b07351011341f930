package receipts

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Responses in hexadecimal, 00000001 to 00000028, and their receipts in decimal, 1 to 40.
func TestForty(t *testing.T) {
	one := func(int) sms.Number { return ann }
	each := func(n int) sms.Number { return sms.Number(fmt.Sprintf("+1415777%04d", n)) }
	for _, c := range []struct {
		name, account string
		to            func(n int) sms.Number
		from          func(to sms.Number) string
		right         int // receipts that are matched, each to its own message
	}{
		{"configured, a number each", "hex", each, func(to sms.Number) string { return string(to) }, 40},
		{"configured, one number", "hex", one, func(to sms.Number) string { return string(to) }, 40},
		{"configured, no number in receipts", "hex", each, func(sms.Number) string { return "" }, 40},
		{"configured, masked numbers", "hex", each, func(to sms.Number) string { return string(to[:8]) + "****" }, 40},
		{"learned, a number each", "c1", each, func(to sms.Number) string { return string(to) }, 40},
		{"not known, no number in receipts", "c1", each, func(sms.Number) string { return "" }, 0},
	} {
		d := newDesk(t, false)
		messages := map[event.ID]int{}
		for n := 1; n <= 40; n++ {
			h := part(byte(n), uint16(n), c.to(n))
			messages[h.Message] = n
			d.Called(c.account, stream, h, d.now)
			d.counts(d.taken(c.account, h, fmt.Sprintf("%08X", n)), 0, 0, 0, 0)
		}
		right := 0
		for n := 1; n <= 40; n++ {
			out := d.receipt(c.account, strconv.Itoa(n), c.from(c.to(n)), 0)
			for _, l := range out.Lookups {
				out = d.none(l)
			}
			for i := range out.Matched {
				if got := messages[out.Matched[i].Ref.Message]; got != n {
					t.Errorf("%s: the receipt %d is matched to message %d", c.name, n, got)
				}
				right++
			}
		}
		if right != c.right {
			t.Errorf("%s: %d receipts are matched, want %d", c.name, right, c.right)
		}
		if want := map[bool]HexIDs{true: HexInResponses, false: NoHexIDs}[c.right > 0]; d.HexIDs()[c.account] != want {
			t.Errorf("%s: it is believed that hexadecimal is in %q", c.name, d.HexIDs()[c.account])
		}
		d.sound()
	}
}

// Which base an account's ids have is believed after twenty receipts in a row that show it, each of another message.
func TestLearn(t *testing.T) {
	type pair struct{ receipt, answered string }
	hex := func(from, n int) (out []pair) {
		for i := range n {
			out = append(out, pair{strconv.Itoa(from + i), fmt.Sprintf("%08x", from+i)})
		}
		return out
	}
	turned := func(pairs []pair) (out []pair) {
		for _, p := range pairs {
			out = append(out, pair{p.answered, strconv.Itoa(number(p.answered, 16))})
		}
		return out
	}
	plain := func(from, n int) (out []pair) {
		for i := range n {
			out = append(out, pair{strconv.Itoa(from + i), fmt.Sprintf("%08d", from+i)})
		}
		return out
	}
	for _, c := range []struct {
		name     string
		was, now HexIDs
		pairs    []pair
	}{
		{"nineteen", NoHexIDs, NoHexIDs, hex(1000, 19)},
		{"twenty", NoHexIDs, HexInResponses, hex(1000, 20)},
		{"twenty the other way round", NoHexIDs, HexInReceipts, turned(hex(1000, 20))},
		{"one message twenty times", NoHexIDs, NoHexIDs, slices.Repeat(hex(1000, 1), 20)},
		{"a plain one among them", NoHexIDs, NoHexIDs, slices.Concat(hex(1000, 19), plain(2000, 1), hex(3000, 19))},
		{"the other way round among them", NoHexIDs, NoHexIDs, slices.Concat(hex(1000, 19), turned(hex(2000, 1)), hex(3000, 19))},
		{"one digit is the same in both", NoHexIDs, HexInResponses, slices.Concat(hex(1000, 10), plain(1, 9), hex(3000, 10))},
		{"one digit shows nothing", NoHexIDs, NoHexIDs, slices.Concat(hex(1, 9), hex(1, 9), hex(1, 9))},
		{"letters in both show nothing", NoHexIDs, HexInResponses, slices.Concat(hex(1000, 10), []pair{{"0a1", "A1"}, {"x-7", "X-7"}}, hex(3000, 10))},
		{"words", NoHexIDs, NoHexIDs, slices.Repeat([]pair{{"msg1", "MSG1"}, {"msg2", "MSG2"}}, 20)},
		{"configured otherwise", HexInResponses, HexInReceipts, turned(hex(1000, 20))},
		{"configured, and plain", HexInResponses, NoHexIDs, plain(1000, 20)},
		{"configured, and mixed", HexInResponses, HexInResponses, slices.Concat(plain(1000, 19), hex(2000, 1), plain(3000, 19))},
	} {
		b := base{now: c.was}
		changed := 0
		for _, p := range c.pairs {
			if b.learn(p.receipt, p.answered) {
				changed++
			}
		}
		if want := map[bool]int{true: 1}[c.was != c.now]; b.now != c.now || changed != want {
			t.Errorf("%s: hexadecimal is believed to be in %q, not in %q; it changed %d times", c.name, b.now, c.now, changed)
		}
	}
}

// The action says once what was learned, also where a receipt is matched at once.
func TestLearned(t *testing.T) {
	d := newDesk(t, false)
	var learned []Learned
	take := func(out Actions) {
		if len(out.Lookups) > 0 {
			out = d.none(out.Lookups[0])
		}
		d.counts(out, 0, 1, 0, 0)
		learned = append(learned, out.Learned...)
	}
	life := func(account string, n int, answered, receipt string) {
		h := part(byte(n), uint16(n), ann)
		d.Called(account, stream, h, d.now)
		d.taken(account, h, answered)
		take(d.receipt(account, receipt, string(ann), 0))
	}
	for n := range 30 {
		life("c1", n, fmt.Sprintf("%x", 5000+n), strconv.Itoa(5000+n))
		life("hex", 100+n, strconv.Itoa(7000+n), fmt.Sprintf("%x", 7000+n))
	}
	if want := []Learned{{"c1", HexInResponses}, {"hex", HexInReceipts}}; !slices.Equal(learned, want) {
		t.Errorf("learned is %v, want %v", learned, want)
	}
	for n := range 20 {
		life("hex", 200+n, strconv.Itoa(9000+n), strconv.Itoa(9000+n))
	}
	if want := (Learned{"hex", NoHexIDs}); len(learned) != 3 || learned[2] != want || len(d.HexIDs()) != 1 {
		t.Errorf("learned is %v, and %v", learned, d.HexIDs())
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		from, dest string
		to         sms.Number
		sender     sms.Sender
		want       verdict
	}{
		{"+13055550123", "72345", "+13055550123", "72345", agrees}, {"13055550123", "72345", "+13055550123", "72345", agrees},
		{"3055550123", "", "+13055550123", "", agrees}, {"5550123", "", "+13055550123", "", agrees},
		{"1305555****", "", "+13055550123", "", agrees}, {"*******0123", "", "+13055550123", "", agrees},
		{"5215512345678", "", "+525512345678", "", agrees}, {"00541112345678", "", "+5491112345678", "", agrees}, // 1 and 9 of mobiles
		{"sip:13055550123@10.0.0.1", "", "+13055550123", "", agrees}, {"+1 (305) 555-0123", "", "+13055550123", "", agrees},
		{"15005550006", "13055550123", "+13055550123", "+15005550006", agrees}, {"Acme", "13055550123", "+13055550123", "Acme", agrees},
		{"13055550199", "72345", "+13055550123", "72345", contradicts}, {"5550199", "", "+13055550123", "", contradicts},
		{"15005550006", "13055550199", "+13055550123", "+15005550006", contradicts}, {"acme", "13055550199", "+13055550123", "Acme", contradicts},
		{"sip:13055550199@10.0.0.1", "", "+13055550123", "", contradicts}, {"13055550199", "15005550006", "+13055550123", "", contradicts},
		{"*******0199", "", "+13055550123", "", doubts}, {"1305556****", "", "+13055550123", "", doubts}, {"50199", "", "+13055550123", "", doubts},
		{"130555501xx", "", "+13055550223", "", doubts}, {"sip:1305556xxxx@a", "", "+13055550123", "", doubts},
		{"", "15005550006", "+13055550123", "+15005550006", silent}, {"", "15005550006", "+13055550123", "", silent}, // the destination is the sender
		{"********199", "", "+13055550123", "", silent}, {"***********", "", "+13055550123", "", silent}, {"Acme", "", "+13055550123", "", silent},
		{"", "15005550123", "+13055550123", "+15005550123", silent}, {"15005550006", "", "+13055550123", "+15005550006", silent}, {"15005550006", "15005550006", "+13055550123", "+15005550006", silent},
		{"72345", "", "+13055550123", "72345", silent}, {"13055550199", "", "", "", silent},
	} {
		if got := judge(&ledger.Delivery{From: c.from, To: c.dest}, c.to, c.sender); got != c.want {
			t.Errorf("%q to %q says %d of a part to %s from %s, want %d", c.from, c.dest, got, c.to, c.sender, c.want)
		}
	}
}

// The first form counts whose number agrees; without a number, the exact id.
func TestOrderOfForms(t *testing.T) {
	type open struct {
		id string
		to sms.Number
	}
	const other, uuid = sms.Number("+13055550142"), "0f8fad5b-d9cb-469f-a165-70867728950e"
	for _, c := range []struct {
		name, account, id, text, from string
		open                          []open
		want                          string // the answer's id
		how                           event.Match
	}{
		{"the TLV's before the text's", "c1", "a1", "b2", "", []open{{"b2", ann}, {"a1", ann}}, "a1", event.MatchID},
		{"the text's, whose number agrees", "c1", "a1", "b2", string(ann), []open{{"b2", ann}, {"a1", bob}}, "b2", event.MatchID},
		{"the text's, where the TLV's is not known", "c1", "a1", "b2", "", []open{{"b2", ann}}, "b2", event.MatchID},
		{"exactly before loosely", "c1", "007", "", string(ann), []open{{"7", ann}, {"007", ann}, {"07", ann}}, "007", event.MatchID},
		{"exactly, without a number", "c1", "7", "", "", []open{{"7", ann}, {"007", ann}}, "7", event.MatchID},
		{"loosely, whose number agrees", "c1", "007", "", string(ann), []open{{"7", ann}, {"007", bob}}, "7", event.MatchZeros},
		{"two messages with one id, without a number", "c1", "7", "", "", []open{{"7", ann}, {"7", bob}}, "", ""},
		{"loosely, without a number", "c1", "07", "", "", []open{{"7", ann}}, "", ""},
		{"spaces and quotes", "c1", ` "7" `, "", string(ann), []open{{"007", ann}}, "007", event.MatchZeros},
		{"another's number", "c1", "7", "", string(bob), []open{{"7", ann}}, "", ""},
		{"another's national number", "c1", "7", "", "4155550199", []open{{"7", ann}}, "", ""},
		{"a UUID without hyphens", "c1", "0F8FAD5BD9CB469FA16570867728950E", "", string(ann), []open{{uuid, ann}}, uuid, event.MatchZeros},
		{"a UUID with hyphens", "c1", uuid, "", string(ann), []open{{"0F8FAD5BD9CB469FA16570867728950E", ann}}, "0F8FAD5BD9CB469FA16570867728950E", event.MatchZeros},
		{"a UUID without hyphens or a number", "c1", "0f8fad5bd9cb469fa16570867728950e", "", "", []open{{uuid, ann}}, "", ""},
		{"hyphens left out", "c1", "a-7", "", string(ann), []open{{"A7", ann}}, "A7", event.MatchZeros},
		{"plain before hexadecimal", "c1", "16", "", string(ann), []open{{"10", ann}, {"016", ann}}, "016", event.MatchZeros},
		{"hexadecimal, whose number agrees", "c1", "16", "", string(ann), []open{{"10", ann}, {"16", bob}}, "10", event.MatchHex},
		{"the other way round", "c1", "10", "", string(ann), []open{{"16", ann}, {"10", bob}}, "16", event.MatchHex},
		{"hexadecimal, without a number", "c1", "16", "", "", []open{{"10", ann}}, "", ""},
		{"believed before plain", "hex", "16", "", "", []open{{"16", ann}, {"10", bob}}, "10", event.MatchHex},
		{"believed, another's number", "hex", "16", "", string(other), []open{{"16", ann}, {"10", bob}}, "", ""},
		{"plain, whose number agrees", "hex", "16", "", string(ann), []open{{"16", ann}, {"10", bob}}, "16", event.MatchID},
		{"plain digits, without a number", "hex", "16", "", "", []open{{"16", ann}}, "", ""},
		{"letters are hexadecimal themselves", "hex", "1A", "", "", []open{{"1A", ann}}, "1A", event.MatchID},
		{"both bases, hexadecimal in the TLV", "hex", "10", "16", "", []open{{"10", ann}, {"a", bob}, {"16", bob}}, "10", event.MatchID},
		{"both bases, hexadecimal in the text", "hex", "16", "10", "", []open{{"a", bob}, {"16", bob}, {"00000010", ann}}, "00000010", event.MatchZeros},
	} {
		d := newDesk(t, false)
		want := ledger.HandoffRef{}
		for i, o := range c.open {
			h := part(byte(i+1), uint16(i+1), o.to)
			d.Called(c.account, stream, h, d.now)
			d.taken(c.account, h, o.id)
			if o.id == c.want {
				want = refTo(h, o.id)
			}
		}
		r := delivery(c.account, c.id, c.from, 0)
		r.Receipt.TextID = c.text
		out := d.Receipt(r, nil, d.now)
		if len(out.Lookups) > 0 {
			out = d.none(out.Lookups[0])
		}
		if c.want == "" {
			if len(out.Matched) > 0 {
				t.Errorf("%s: it is matched as %s to %s", c.name, out.Matched[0].Match, out.Matched[0].Ref.CarrierID)
			}
		} else if len(out.Matched) != 1 || out.Matched[0].Ref != want || out.Matched[0].Match != c.how {
			t.Errorf("%s: it is matched as %+v, not as %s to %s", c.name, out.Matched, c.how, c.want)
		}
		d.sound()
	}
}

// A form in another base waits for the views, which may have the exact id, and for the answers that are still to
// come to its number.
func TestHastyFormsWait(t *testing.T) {
	d := newDesk(t, false)
	ten, sixteen := part(1, 1, ann), part(2, 2, ann)
	d.called(ten, sixteen)
	d.taken("c1", ten, "10")
	out := d.receipt("c1", "16", string(ann), 0)
	d.counts(out, 1, 0, 0, 0)
	d.counts(d.none(out.Lookups[0]), 0, 0, 1, 0)
	d.matched(d.taken("c1", sixteen, "16"), refTo(sixteen, "16"), event.MatchID)

	d = newDesk(t, true)
	d.called(ten)
	d.taken("c1", ten, "10")
	out = d.receipt("c1", "16", string(ann), 0)
	d.counts(out, 1, 0, 0, 0)
	d.matched(d.found(out.Lookups[0], refTo(sixteen, "16")), refTo(sixteen, "16"), event.MatchID)
	out = d.receipt("c1", "16", string(ann), 0) // of another node, perhaps, which the views do not have yet
	d.counts(d.none(out.Lookups[0]), 0, 0, 0, 0)
	d.now = d.now.Add(crossNode)
	out, _ = d.Due(d.now, true)
	out = d.waitedOut(out, true)
	d.matched(d.none(out.Lookups[0]), refTo(ten, "10"), event.MatchHex)

	// A receipt whose few legible digits are not the number of the exact id does so too.
	d = newDesk(t, false)
	h := part(3, 3, bob)
	d.called(h, ten)
	d.taken("c1", h, "16")
	out = d.receipt("c1", "16", "*******0123", 0)
	d.counts(out, 1, 0, 0, 0)
	d.counts(d.none(out.Lookups[0]), 0, 0, 1, 0)
	d.matched(d.taken("c1", ten, "10"), refTo(ten, "10"), event.MatchHex)
	out = d.receipt("c1", "16", "*******0142", 0)
	d.counts(out, 1, 0, 0, 0)
	d.matched(d.none(out.Lookups[0]), refTo(h, "16"), event.MatchID)
}

// A carrier that uses one id for all messages: in memory are the newest, and each is found by its number.
func TestSameID(t *testing.T) {
	d := newDesk(t, false)
	var hs []*ledger.Handoff
	for i := range sameKey + 3 {
		h := part(byte(i+1), uint16(i+1), sms.Number(fmt.Sprintf("+1415777%04d", i)))
		d.called(h)
		d.taken("c1", h, "0")
		d.taken("c1", h, "0") // answered twice
		hs = append(hs, h)
		d.sound()
	}
	for i, h := range hs {
		out := d.receipt("c1", "0", string(h.To), 0)
		if i < len(hs)-sameKey {
			d.counts(out, 1, 0, 0, 0)
		} else {
			d.matched(out, refTo(h, "0"), event.MatchID)
		}
	}
	d.counts(d.receipt("c1", "0", "", 0), 1, 0, 0, 0) // without a number it may be about each
	d.matched(d.receipt("c1", "0", "", hs[len(hs)-2].Reference), refTo(hs[len(hs)-2], "0"), event.MatchID)
	d.bounds.remembered = 4 // the oldest are forgotten
	h := part(99, 99, ann)
	d.called(h)
	d.taken("c1", h, "1")
	for range 20 {
		d.taken("c1", part(99, 99, ann), "1")
		h.Message[3]++
		d.taken("c1", h, "1")
	}
	if d.accounts["c1"].known["0"] != nil {
		t.Error("the oldest are in memory yet")
	}
}

// Only where they count are the numbers of hand-offs in the views read.
func TestRecipientsThatCount(t *testing.T) {
	exact, loose := ledger.HandoffRef{CarrierID: "7"}, ledger.HandoffRef{CarrierID: "007"}
	for _, c := range []struct {
		account, from, to string
		found             []ledger.HandoffRef
		want              bool
	}{
		{"c1", "", "", []ledger.HandoffRef{loose}, false}, {"c1", "***", "Acme", []ledger.HandoffRef{exact, loose}, false},
		{"c1", "", "15005550006", []ledger.HandoffRef{exact}, false}, {"c1", "***", "15005550006", []ledger.HandoffRef{exact}, false},
		{"c1", string(ann), "15005550006", []ledger.HandoffRef{exact}, true}, {"c1", "*******0123", "", []ledger.HandoffRef{exact}, true},
		{"c1", "", "15005550006", []ledger.HandoffRef{loose}, true}, {"c1", "", "15005550006", []ledger.HandoffRef{exact, exact}, true},
		{"hex", "", "15005550006", []ledger.HandoffRef{exact}, true}, {"c1", "", "15005550006", []ledger.HandoffRef{{}}, true},
	} {
		d := newDesk(t, false)
		r := delivery(c.account, "7", c.from, 0)
		r.To = c.to
		l := d.Receipt(r, nil, d.now).Lookups[0]
		if l.Recipients(c.found) != c.want {
			t.Errorf("%s from %q to %q, %+v: not %v", c.account, c.from, c.to, c.found, c.want)
		}
	}
}
