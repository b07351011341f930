package receipts

import (
	"container/heap"
	"strings"
	"unicode"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// idKey is the key of a carrier's id within its account.
func idKey(account, id string) string { return account + "\x00" + id }

// referenceKey is the key of a user_message_reference within its account.
func referenceKey(account string, reference uint16) string {
	return idKey(account, ledger.ReferenceKey(reference))
}

// verdict is what the addresses of a receipt say of the number that a part went to.
type verdict uint8

const (
	silent      verdict = iota // nothing: they are absent, or masked but for three digits
	agrees                     // one of them is that number
	doubts                     // the few digits that are legible are not that number's
	contradicts                // they have another number
)

// judge says what the addresses of a receipt say of a part that went to a number, from a sender. to is "" where the
// number is not known.
//
// The source address of a receipt is the number that the message went to. Some carriers leave the addresses as they
// were in the submit. Then the source address is the sender, and the destination address counts.
func judge(d *ledger.Delivery, to sms.Number, from sms.Sender) verdict {
	if to == "" {
		return silent
	}
	if fits(d.From, to) || fits(d.To, to) && !isSender(d.To, from) {
		return agrees
	}
	address := d.From
	if isSender(address, from) {
		address = d.To
	}
	if _, ok := lastDigits(address); legibleDigits(address) < 4 || isSender(address, from) {
		return silent
	} else if ok {
		return contradicts
	}
	return doubts
}

// fits reports whether an address is a number: as far as its digits are legible (SamePerson), or by its last seven
// digits. Before those, carriers write a country code or the prefix of a mobile in other ways (+52 1, +54 9).
func fits(address string, to sms.Number) bool {
	if address == string(to) || address != "" && len(to) == len(address)+1 && string(to)[1:] == address {
		return true
	}
	if SamePerson(address, to) {
		return true
	}
	a, ok := lastDigits(address)
	b, known := lastDigits(string(to))
	return ok && known && a == b
}

// isSender reports whether an address is the sender that a part came from.
func isSender(address string, from sms.Sender) bool {
	if from == "" || address == "" {
		return false
	}
	if strings.EqualFold(strings.TrimPrefix(address, "+"), strings.TrimPrefix(string(from), "+")) {
		return true
	}
	a, ok := lastDigits(address)
	b, known := lastDigits(string(from))
	return ok && known && a == b
}

// lastDigits are the last seven digits of an address, where they are legible: no digit before its end is masked.
func lastDigits(address string) (last [7]byte, ok bool) {
	text := address
	if strings.ContainsFunc(address, unicode.IsLetter) {
		if text, _ = legible(address); strings.ContainsAny(text, "*xX") {
			return last, false
		}
		text = Ending(address)
	}
	n := len(last)
	for i := len(text) - 1; i >= 0 && n > 0; i-- {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			n--
			last[n] = c
		case strings.IndexByte(" -.()/", c) < 0:
			return last, false
		}
	}
	return last, n == 0
}

// legibleDigits is how many digits of an address are legible.
func legibleDigits(address string) (n int) {
	for i := range len(address) {
		if address[i] >= '0' && address[i] <= '9' {
			n++
		}
	}
	return n
}

// SamePerson reports whether a receipt's address is the number that a part went to, and has at
// least four legible digits. A receipt without an id has only that and the 16 bits of a reference
// to tell one recipient from another.
func SamePerson(from string, to sms.Number) bool {
	return legibleDigits(from) >= 4 && addressed(from, to)
}

// addressed reports whether a receipt's address fits the number that a message went to, as far as
// the address is legible: a masked digit fits any digit, and a national form fits the number's
// end.
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

// looks is a heap of receipts that wait to be looked up: the one that is due first is on top.
type looks []*receipt

func (q looks) Len() int           { return len(q) }
func (q looks) Less(i, j int) bool { return q[i].next.Before(q[j].next) }
func (q looks) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *looks) Push(x any) {
	r := x.(*receipt)
	r.index = len(*q)
	*q = append(*q, r)
}
func (q *looks) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	x.index = -1
	return x
}

// push adds a receipt, or moves it after its time has changed.
func (q *looks) push(r *receipt) {
	if r.index >= 0 {
		heap.Fix(q, r.index)
		return
	}
	heap.Push(q, r)
}

func (q *looks) pop() { heap.Pop(q) }

// drop takes a receipt out, if it is in.
func (q *looks) drop(r *receipt) {
	if r.index >= 0 {
		heap.Remove(q, r.index)
	}
}
