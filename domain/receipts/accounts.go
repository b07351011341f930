package receipts

import (
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// accounts are the carrier accounts of a Matcher, by name.
type accounts map[string]*account

func newAccounts(all map[string]ledger.Account) accounts {
	out := make(accounts, len(all))
	for name, a := range all {
		x := out.of(name)
		x.Account = a
		if a.HexIDs {
			x.base.now = HexInResponses
		}
	}
	return out
}

// of is the account of a name. Of one that is not configured, nothing is known but that it delivers receipts.
func (all accounts) of(name string) *account {
	a := all[name]
	if a == nil {
		a = &account{Account: ledger.Account{Tells: ledger.Tells{Receipts: true}}, name: name, known: map[string]*handoff{}}
		all[name] = a
	}
	return a
}

// hexIDs are the accounts of which it is believed that they write their ids in two bases.
func (all accounts) hexIDs() map[string]HexIDs {
	out := map[string]HexIDs{}
	for name, a := range all {
		if a.base.now != NoHexIDs {
			out[name] = a.base.now
		}
	}
	return out
}

// account is what a Matcher has of one carrier account.
type account struct {
	ledger.Account
	name string
	base base
	// known are the hand-offs in memory, by the key of the id in their answers (sms.IDKey): the newest, with the older
	// ones behind it.
	known map[string]*handoff
}

// learn takes a match by an id, for a number that agrees, and says if it shows where the account writes its ids in
// hexadecimal.
func (a *account) learn(out *Actions, id, answered string) {
	if a.base.learn(id, answered) {
		out.Learned = append(out.Learned, Learned{a.name, a.base.now})
	}
}

// handoff is a part that the account took.
type handoff struct {
	ref  ledger.HandoffRef
	to   sms.Number
	from sms.Sender
	// reference is its user_message_reference. final says that a final receipt was matched to it.
	reference uint16
	final     bool
	older     *handoff // the next older one with the same key
	of        *account // nil: it is forgotten
}

// sameKey bounds the hand-offs in memory with one key. A carrier that reuses ids has more of them in the views.
const sameKey = 8

// add remembers a hand-off under its key, as the newest. It returns nil if that hand-off was there already: then it
// is written anew.
func (a *account) add(ref ledger.HandoffRef, to sms.Number, from sms.Sender, reference uint16) *handoff {
	key := sms.IDKey(ref.CarrierID)
	first := a.known[key]
	n := 0
	for h := first; h != nil; h = h.older {
		if h.is(&ref) {
			h.ref, h.to, h.from, h.reference = ref, to, from, reference
			return nil
		}
		if n++; n == sameKey-1 && h.older != nil {
			h.older.of, h.older = nil, nil
		}
	}
	h := &handoff{ref: ref, to: to, from: from, reference: reference, older: first, of: a}
	a.known[key] = h
	return h
}

// forget drops a hand-off from memory. It is the oldest with its key.
func (h *handoff) forget() {
	a := h.of
	if a == nil {
		return
	}
	key := sms.IDKey(h.ref.CarrierID)
	h.of = nil
	if first := a.known[key]; first == h {
		delete(a.known, key)
	} else {
		for ; first != nil; first = first.older {
			if first.older == h {
				first.older = nil
			}
		}
	}
}

// plain finds the hand-off whose id is a receipt's exactly, and whose number agrees, where nothing else is to be
// weighed: it is what nearly every receipt needs.
func (a *account) plain(d *ledger.Delivery) (best *handoff) {
	if a.base.now != NoHexIDs || d.Receipt.ID == "" {
		return nil
	}
	for h := a.known[sms.IDKey(d.Receipt.ID)]; h != nil; h = h.older {
		if h.ref.CarrierID == d.Receipt.ID && judge(d, h.to, h.from) == agrees && (best == nil || h.rank(d) > best.rank(d)) {
			best = h
		}
	}
	return best
}

// rank says which of several hand-offs with one id a receipt is about: the one with its reference, else one without a
// final receipt.
func (h *handoff) rank(d *ledger.Delivery) int {
	switch {
	case d.Reference != 0 && h.reference == d.Reference:
		return 2
	case !h.final:
		return 1
	}
	return 0
}

// settled notes a final receipt that was matched to a hand-off.
func (a *account) settled(ref *ledger.HandoffRef) {
	for h := a.known[sms.IDKey(ref.CarrierID)]; h != nil; h = h.older {
		if h.is(ref) {
			h.final = true
		}
	}
}

// is reports whether it is that part of that attempt.
func (h *handoff) is(ref *ledger.HandoffRef) bool {
	return h.ref.Message == ref.Message && h.ref.Attempt == ref.Attempt && h.ref.Part == ref.Part
}

// Candidate is a hand-off in the views that a receipt may be about.
type Candidate struct {
	Ref ledger.HandoffRef
	// To is the number that it went to, and From the sender; "" where they are not known.
	To   sms.Number
	From sms.Sender
}

// candidates calls yield with each hand-off that has a form, and its rank: those in memory, and those of found that are not.
func (a *account) candidates(f *form, d *ledger.Delivery, found []Candidate, yield func(ref *ledger.HandoffRef, to sms.Number, from sms.Sender, rank int)) {
	for h := a.known[f.key]; h != nil; h = h.older {
		if f.is(h.ref.CarrierID) {
			yield(&h.ref, h.to, h.from, h.rank(d))
		}
	}
	for i := range found {
		c := &found[i]
		if c.Ref.CarrierID == "" || sms.IDKey(c.Ref.CarrierID) != f.key || !f.is(c.Ref.CarrierID) || a.remembers(f.key, &c.Ref) {
			continue
		}
		yield(&c.Ref, c.To, c.From, 1) // the views have only those without a final receipt
	}
}

// remembers reports whether a hand-off is in memory.
func (a *account) remembers(key string, ref *ledger.HandoffRef) bool {
	for h := a.known[key]; h != nil; h = h.older {
		if h.is(ref) {
			return true
		}
	}
	return false
}
