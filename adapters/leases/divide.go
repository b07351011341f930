package leases

import (
	"cmp"
	"math"
)

// noLimit is the rate of an account without a limit.
const noLimit = math.MaxInt64

// holding is what one node has of an account, as its lease says. Rates are in thousandths of a
// submit a second.
type holding struct {
	id     string // identifies one run of a node
	joined int64  // when it began to want a share
	bound  int64  // since when it has a bind; 0 if it has none
	rate   int64  // what it may be using at this moment
	tps    int64  // the account's limit in its configuration, or noLimit
	binds  int64  // the account's number of binds in its configuration; 0 means any number
}

// share is what a node is told that it may use of an account.
type share struct {
	bind bool
	rate int64 // counts only with a bind
}

// divide renews one node's lease. own is what the node has now and says that it uses; others are
// the leases of the other nodes. It returns the new lease, which is to be written, and what the
// node is told.
//
// A node gives up a part of its share in two steps. First it is told; the part stays in its
// lease. When the node comes the next time it says that it no longer uses the part, and only then
// the part leaves the lease. Another node gets only what is in no lease. So the nodes together
// never use more than the account has, even if answers are late or lost.
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

// ahead reports whether a comes before b in the order in which binds are given: first the nodes
// that have one, the longest first, then those that wait, the longest first.
func ahead(a, b holding) bool {
	if (a.bound != 0) != (b.bound != 0) {
		return a.bound != 0
	}
	return cmp.Or(cmp.Compare(a.bound, b.bound), cmp.Compare(a.joined, b.joined), cmp.Compare(a.id, b.id)) < 0
}
