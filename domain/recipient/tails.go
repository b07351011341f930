package recipient

import (
	"slices"
	"time"
)

// TailEvery is how long the tail of a number, once told for a carrier account, need not be told again. So
// a recipient whom the account texts often costs no more than one whom it texts twice a month; and
// whoever was texted within some time was told within that time and TailEvery.
const TailEvery = 15 * 24 * time.Hour

// maxTails bounds the carrier accounts that a stream remembers; of more, the one that was told first is
// forgotten, and told again with the next hand-off.
const maxTails = 8

// toldTail says when the tail of the recipient's number was told for a carrier account.
type toldTail struct {
	Account string    `json:"account"`
	At      time.Time `json:"at"`
}

// toldTails are in the order in which they were told.
type toldTails []toldTail

// Told reports whether a hand-off to a carrier account told the tail of the recipient's number less than
// TailEvery before now.
func (all toldTails) Told(account string, now time.Time) bool {
	return slices.ContainsFunc(all, func(t toldTail) bool { return t.Account == account && now.Sub(t.At) < TailEvery })
}

// with adds that a hand-off of the time at told the tail.
func (all toldTails) with(account string, at time.Time) toldTails {
	all = slices.DeleteFunc(all, func(t toldTail) bool { return t.Account == account })
	all = append(all, toldTail{account, at})
	if n := len(all) - maxTails; n > 0 {
		all = slices.Delete(all, 0, n)
	}
	return all
}
