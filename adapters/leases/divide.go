package leases

import (
	"cmp"
	"math"
)

// noLimit is a rate that is none.
const noLimit = math.MaxInt64

// holding is what one node has of an account, as its lease says. Rates are thousandths
// of a submit a second.
type holding struct {
	id     string // one run of a node
	joined int64  // when it began to want a share
	bound  int64  // since when it has a bind; 0: it has none
	rate   int64  // what it may be using now
	tps    int64  // what its configuration gives the account; noLimit
	binds  int64  // likewise; 0: any number
}

// share is what a node is told that it may use.
type share struct {
	bind bool
	rate int64 // of no use without a bind
}

// divide renews one node's lease. own is what the node has now and says that it uses,
// others are the leases of the rest. It returns what is to be written, and what the
// node is told.
//
// What a node is to give up is told first and stays in its lease until the node has
// come again and said that it does without, and only what is in no lease is given to
// another: so the sum of what nodes use is at no instant more than the account has,
// whatever answers are late or lost.
func divide(own holding, others []holding, now int64) (holding, share) {
	tps, binds := own.tps, own.binds
	used, before, bound := int64(0), int64(0), int64(0)
	for _, o := range others {
		tps = min(tps, o.tps)
		if binds == 0 || o.binds > 0 && o.binds < binds {
			binds = o.binds
		}
		if used = used + o.rate; used < 0 || o.rate == noLimit {
			used = noLimit
		}
		if o.bound != 0 {
			bound++
		}
		if ahead(o, own) {
			before++
		}
	}
	entitled := binds == 0 || before < binds
	if own.bound == 0 {
		own.rate = 0
		if !entitled {
			return own, share{}
		}
		own.bound = now
	}
	if !entitled {
		return own, share{}
	}
	equal, free := int64(noLimit), int64(noLimit)
	if tps != noLimit {
		equal, free = tps/(bound+1), max(tps-used, 0)
	}
	if own.rate > equal {
		return own, share{true, equal}
	}
	own.rate = max(own.rate, min(equal, free))
	return own, share{true, own.rate}
}

// ahead reports whether a comes before b in the order of binds: those that have one,
// by age, and then those that wait for one, by age.
func ahead(a, b holding) bool {
	if (a.bound != 0) != (b.bound != 0) {
		return a.bound != 0
	}
	return cmp.Or(cmp.Compare(a.bound, b.bound), cmp.Compare(a.joined, b.joined), cmp.Compare(a.id, b.id)) < 0
}
