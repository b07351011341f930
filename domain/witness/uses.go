package witness

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// uses counts the uses of API keys. The keys are those of the configuration and the scopes a few, so the
// table is small. It may be used from any goroutine; a count takes no lock once its key and scope are known.
type uses struct {
	table atomic.Pointer[map[use]*counts]
	grow  sync.Mutex
	// since is when the counts were cut, by the clock on the wall. Only who cuts touches it.
	since time.Time
}

type use struct{ tenant, key, scope string }

type counts struct{ allowed, refused atomic.Int64 }

func newUses(now time.Time) *uses {
	u := &uses{since: event.Millis(now)}
	u.table.Store(&map[use]*counts{})
	return u
}

func (u *uses) count(c ledger.Caller, scope string, refused bool) {
	at := use{c.Tenant, c.Key, scope}
	n := (*u.table.Load())[at]
	if n == nil {
		n = u.of(at)
	}
	if refused {
		n.refused.Add(1)
	} else {
		n.allowed.Add(1)
	}
}

// of adds counts to a copy of the table.
func (u *uses) of(at use) *counts {
	u.grow.Lock()
	defer u.grow.Unlock()
	old := *u.table.Load()
	if n := old[at]; n != nil {
		return n
	}
	table := maps.Clone(old)
	table[at] = &counts{}
	u.table.Store(&table)
	return table[at]
}

// used is the data of one event, and whose it is.
type used struct {
	tenant string
	data   *event.KeyUsed
}

// due reports whether the counts are to be cut: nearly an hour is over, or the clock was set back.
func (u *uses) due(now time.Time) bool {
	now = event.Millis(now) // without the monotonic clock, which is not set back
	return now.Before(u.since) || now.Sub(u.since) >= usesEvery
}

// cut takes what was counted, in a fixed order. An event spans an hour at most, and ends no earlier than it
// begins, whatever the clock does: after a leap of the clock, or where the process stood still, the event ends
// an hour after it began, when nearly all of its uses were over.
func (u *uses) cut(now time.Time) (out []used) {
	now = event.Millis(now)
	until := now
	if most := u.since.Add(time.Hour); until.After(most) {
		until = most
	} else if until.Before(u.since) {
		until = u.since
	}
	table := *u.table.Load()
	all := slices.SortedFunc(maps.Keys(table), func(a, b use) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.key, b.key), cmp.Compare(a.scope, b.scope))
	})
	for _, at := range all {
		refused := table[at].refused.Swap(0)
		times := table[at].allowed.Swap(0) + refused
		if times == 0 {
			continue
		}
		if n := len(out); n == 0 || out[n-1].tenant != at.tenant || out[n-1].data.Key != at.key {
			out = append(out, used{at.tenant, &event.KeyUsed{Key: at.key, From: u.since, Until: until}})
		}
		d := out[len(out)-1].data
		d.Calls = append(d.Calls, event.KeyCalls{Scope: at.scope, Times: times, Refused: refused})
	}
	u.since = now
	return out
}
