package receipts

import (
	"container/heap"
	"strconv"
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// idKey is the key of a carrier's id within its account.
func idKey(account, id string) string { return account + "\x00" + id }

// referenceKey is the key of a user_message_reference within its account.
func referenceKey(account string, reference uint16) string {
	return account + "\x01" + strconv.Itoa(int(reference))
}

// MatchOf says by which form of its id a receipt was matched to the id in the carrier's answer.
// answered is "" where the answer is not known.
func MatchOf(receipt, answered string) event.Match {
	switch {
	case receipt == answered || answered == "":
		return event.MatchID
	case strings.EqualFold(strings.TrimLeft(receipt, "0"), strings.TrimLeft(answered, "0")):
		return event.MatchZeros
	}
	return event.MatchHex
}

// SamePerson reports whether a receipt's address is the number that a part went to, and has at
// least four legible digits. A receipt without an id has only that and the 16 bits of a reference
// to tell one recipient from another.
func SamePerson(from string, to sms.Number) bool {
	n := 0
	for _, r := range from {
		if r >= '0' && r <= '9' {
			n++
		}
	}
	return n >= 4 && addressed(from, to)
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
