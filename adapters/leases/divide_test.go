package leases

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is an account's leases in the database and what the nodes make of them, one
// transaction at a time, with every order of messages late, lost and executed after
// they were given up. Times are microseconds.
type world struct {
	t     *rapid.T
	now   int64
	ahead int64 // the database's clock
	rows  map[string]row
	nodes map[string]*model
	made  int
}

type row struct {
	holding
	until int64
}

// model is one run of a node.
type model struct {
	account
	id    string
	slow  float64 // how its clock runs
	until int64
	call  *call
}

// call is a renewal on its way.
type call struct {
	from    account // as it was sent
	sent    int64
	done    bool // by the database
	given   bool // up, by the node
	answers share
}

const (
	leaseMicros  = int64(lease / time.Microsecond)
	marginMicros = int64(margin / time.Microsecond)
)

func (w *world) join(tps, binds int64) {
	w.made++
	id := fmt.Sprintf("%03d", w.made)
	w.nodes[id] = &model{id: id, slow: 1 + float64(rapid.IntRange(-50, 50).Draw(w.t, "clock"))/1000,
		account: account{config: holding{id: id, tps: tps, binds: binds}}}
}

// over is what the node's own clock says.
func (w *world) over(n *model) bool { return n.told.bind && w.now >= n.until }

// wake is what a node does before anything else.
func (w *world) wake(n *model) {
	if w.over(n) {
		n.told = share{}
		if n.call != nil {
			n.call.given = true
		}
	}
}

func (w *world) send(n *model) {
	w.wake(n)
	n.call = &call{from: n.account, sent: w.now}
}

func (w *world) execute(n *model) {
	now := w.now + w.ahead
	have, ok := w.rows[n.id]
	var others []holding
	for _, id := range slices.Sorted(maps.Keys(w.rows)) {
		if r := w.rows[id]; id != n.id && r.until > now {
			others = append(others, r.holding)
		} else if id != n.id {
			delete(w.rows, id)
		}
	}
	written, told := n.call.from.divide(have.holding, ok, others, now)
	w.rows[n.id] = row{written, now + leaseMicros}
	n.call.done, n.call.answers = true, told
}

func (w *world) answer(n *model) (again bool) {
	c := n.call
	n.call = nil
	if w.wake(n); c.given {
		return false
	}
	n.until = c.sent + int64(n.slow*float64(leaseMicros-marginMicros))
	again = n.told.bind && (!c.answers.bind || c.answers.rate < n.told.rate)
	n.told = c.answers
	return again
}

// inUse is what nodes use at this moment.
func (w *world) inUse() (rate, binds int64) {
	for _, n := range w.nodes {
		if !n.told.bind || w.over(n) {
			continue
		}
		binds++
		if n.told.rate == noLimit {
			return noLimit, binds
		}
		rate += n.told.rate
	}
	return rate, binds
}

func (w *world) any(label string, which func(*model) bool) *model {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
		if which(w.nodes[id]) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		w.t.Skip()
	}
	return w.nodes[rapid.SampledFrom(ids).Draw(w.t, label)]
}

// TestDivide: never more than the account has, whatever comes late or is lost, and
// equal shares when all is calm.
func TestDivide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: 1, ahead: rapid.Int64Range(0, 1e12).Draw(t, "clock of the database"), rows: map[string]row{}, nodes: map[string]*model{}}
		tps := rapid.SampledFrom([]int64{1, 2, 1000, 100_000, 99_999, noLimit}).Draw(t, "tps")
		binds := rapid.SampledFrom([]int64{0, 1, 2, 3}).Draw(t, "binds")
		// The most that any configuration allows; while they differ, no more is promised.
		most, mostBinds := tps, binds
		mixed := rapid.IntRange(0, 4).Draw(t, "mixed") == 0
		join := func() {
			a, b := tps, binds
			if mixed {
				a = rapid.SampledFrom([]int64{tps, 50_000, noLimit}).Draw(t, "this node's tps")
				b = rapid.SampledFrom([]int64{binds, 1, 0}).Draw(t, "this node's binds")
				most = max(most, a)
				if b == 0 || mostBinds != 0 && b > mostBinds {
					mostBinds = b
				}
			}
			w.join(a, b)
		}
		join()
		idle := func(n *model) bool { return n.call == nil || n.call.given }
		check := func(*rapid.T) {
			rate, held := w.inUse()
			if rate > most {
				t.Fatalf("%d of %d in use", rate, most)
			}
			if mostBinds > 0 && held > mostBinds {
				t.Fatalf("%d of %d binds", held, mostBinds)
			}
		}
		whole := func(t *rapid.T) {
			n := w.any("node", idle)
			w.send(n)
			w.execute(n)
			w.answer(n)
		}
		t.Repeat(map[string]func(*rapid.T){
			"": check,
			"time": func(t *rapid.T) {
				w.now += rapid.SampledFrom([]int64{1000, 300_000, 2_000_000, 4_000_000, leaseMicros - marginMicros}).Draw(t, "µs")
			},
			"join": func(t *rapid.T) {
				if len(w.nodes) >= 5 {
					t.Skip()
				}
				join()
			},
			"renew":       whole,
			"renew again": whole,
			"send":        func(*rapid.T) { w.send(w.any("node", idle)) },
			"execute": func(*rapid.T) {
				w.execute(w.any("node", func(n *model) bool { return n.call != nil && !n.call.done }))
			},
			"answer": func(*rapid.T) {
				w.answer(w.any("node", func(n *model) bool { return n.call != nil && n.call.done && !n.call.given }))
			},
			"lose":  func(*rapid.T) { w.any("node", func(n *model) bool { return !idle(n) }).call.given = true },
			"crash": func(*rapid.T) { delete(w.nodes, w.any("node", func(*model) bool { return len(w.nodes) > 1 }).id) },
			"leave": func(*rapid.T) {
				n := w.any("node", func(n *model) bool { return len(w.nodes) > 1 && idle(n) })
				delete(w.nodes, n.id)
				delete(w.rows, n.id)
			},
		})
		// All is calm.
		for range 12 {
			for _, id := range slices.Sorted(maps.Keys(w.nodes)) {
				w.now += int64(renewEvery/time.Microsecond) / int64(len(w.nodes))
				n := w.nodes[id]
				for again := true; again; {
					w.send(n)
					w.execute(n)
					again = w.answer(n)
					check(t)
				}
			}
		}
		low, few := int64(noLimit), int64(math.MaxInt64)
		for _, n := range w.nodes {
			low = min(low, n.config.tps)
			if n.config.binds > 0 {
				few = min(few, n.config.binds)
			}
		}
		few = min(few, int64(len(w.nodes)))
		equal := low
		if low != noLimit {
			equal = low / few
		}
		held := int64(0)
		for _, n := range w.nodes {
			if n.told.bind {
				held++
			}
			if n.told.bind && n.told.rate != equal || !n.told.bind && n.told.rate != 0 {
				t.Fatalf("%s has %+v, an equal share is %d", n.id, n.told, equal)
			}
		}
		if held != few {
			t.Fatalf("%d nodes have a bind, not %d", held, few)
		}
	})
}

// TestBindsStay: who has a bind keeps it while others come, and the one that waited
// longest is next.
func TestBindsStay(t *testing.T) {
	mk := func(id string, joined, bound int64) holding {
		return holding{id: id, joined: joined, bound: bound, tps: 1000, binds: 2}
	}
	old, young := mk("z", 1, 10), mk("y", 2, 20)
	first, second := mk("x", 3, 0), mk("w", 4, 0)
	for _, c := range []struct {
		name   string
		own    holding
		others []holding
		bind   bool
	}{
		{"the oldest", old, []holding{young, first, second}, true},
		{"the youngest", young, []holding{old, first, second}, true},
		{"who waits", first, []holding{old, young, second}, false},
		{"first in line", first, []holding{old, second}, true},
		{"second in line", second, []holding{old, first}, false},
		{"second, with two free", second, []holding{first}, true},
	} {
		written, told := divide(c.own, c.others, 100)
		if told.bind != c.bind || (written.bound != 0) != c.bind {
			t.Errorf("%s: %+v, %+v", c.name, written, told)
		}
	}
	// The account's binds become fewer: the youngest gives up, and has it until it says so.
	fewer := mk("new", 5, 0)
	fewer.binds = 1
	young.rate = 500
	if written, told := divide(young, []holding{old, fewer}, 100); told.bind || written.bound != 20 || written.rate != 500 {
		t.Errorf("told %+v, written %+v", told, written)
	}
}
