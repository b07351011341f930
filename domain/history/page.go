package history

import (
	"math"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

// slack is how far the times of a message's events may lie out of order: clocks differ, and an event may
// be appended for a day (ledger.RetryFor) until it lands.
const slack = 25 * time.Hour

// each calls f with the recipient's messages, the newest first, from the one before after on (zero: the
// newest), until f returns false.
func (b *book) each(after event.ID, f func(*reading.Message) bool) error {
	for {
		some, err := b.p.Views.Search(b.ctx, b.tenant, reading.Filter{Subject: b.subject, After: after, Limit: reading.MaxPage})
		if err != nil {
			return err
		}
		for _, m := range some {
			if len(m.Events) > 0 && !f(m) {
				return nil
			}
		}
		if len(some) < reading.MaxPage {
			return nil
		}
		after = some[len(some)-1].ID
	}
}

// page finds the events of a page, and where the next one begins; nil if there is none.
func (b *book) page(q *Query, from pageStart) ([]ref, *pageStart, error) {
	want := q.Limit
	timed := !q.Since.IsZero() || !q.Until.IsZero()
	if timed {
		want = max(want, MaxPage) // some of them are left out
	}
	var out []ref
	for {
		g, err := b.gather(q, from, want)
		if err != nil {
			return nil, nil, err
		}
		found := g.refs
		if timed {
			if found, err = b.within(q, found); err != nil {
				return nil, nil, err
			}
		}
		room := q.Limit - len(out)
		if len(found) > room {
			found = found[:room]
		}
		out = append(out, found...)
		more := len(g.refs) == want
		switch {
		case len(out) == q.Limit && (more || len(g.refs) > 0 && g.refs[len(g.refs)-1].index != out[len(out)-1].index):
			from = g.next(q, out[len(out)-1].index)
			return out, &from, nil
		case !more:
			return out, nil, nil
		}
		from = g.next(q, g.refs[len(g.refs)-1].index)
	}
}

// within leaves out the events whose own time is not asked for.
func (b *book) within(q *Query, refs []ref) ([]ref, error) {
	sorted := slices.Clone(refs)
	slices.SortFunc(sorted, func(x, y ref) int { return int(x.index - y.index) })
	indexes := make([]int64, len(sorted))
	for i := range sorted {
		indexes[i] = sorted[i].index
	}
	out := map[int64]bool{}
	err := b.load(indexes, func(rec *ledger.Record) error {
		t := rec.Event.Time
		out[rec.Index] = !q.Since.IsZero() && t.Before(q.Since) || !q.Until.IsZero() && !t.Before(q.Until)
		return nil
	})
	return slices.DeleteFunc(slices.Clone(refs), func(r ref) bool { return out[r.index] }), err
}

// mostWaypoints bounds the messages that a gathering remembers of those that it passed.
const mostWaypoints = 64

// waypoint is a message that was passed: it and all newer ones have no event before the index least.
type waypoint struct {
	id    event.ID
	least int64
}

// gathering finds the next events of a recipient in the order that is asked for. It keeps twice as many as
// it wants, and goes through the messages once.
type gathering struct {
	newest    bool
	from      pageStart
	head      int64
	want      int
	refs      []ref
	waypoints []waypoint
	stride    int
	passed    int
	least     int64
	older     event.ID
}

// gather goes through the messages from where the page needs them, or through all of them if that was
// not far enough.
func (b *book) gather(q *Query, from pageStart, want int) (*gathering, error) {
	g, err := b.gatherFrom(q, from, want)
	if err != nil || q.Newest || from.newer.IsZero() {
		return g, err
	}
	if len(g.refs) == want && g.refs[want-1].index < from.least {
		return g, nil
	}
	from.newer, from.least = event.ID{}, 0
	return b.gatherFrom(q, from, want)
}

func (b *book) gatherFrom(q *Query, from pageStart, want int) (*gathering, error) {
	g := &gathering{newest: q.Newest, from: from, head: b.head, want: want, stride: 1, least: math.MaxInt64}
	if !from.newer.IsZero() {
		g.least = from.least
	}
	for _, e := range b.others {
		if (q.Since.IsZero() || !e.Time.Before(q.Since)) && (q.Until.IsZero() || e.Time.Before(q.Until)) {
			g.add(ref{index: e.Position.Index, why: e.Why})
		}
	}
	err := b.each(from.newer, func(m *reading.Message) bool {
		g.pass(m)
		if (q.Until.IsZero() || m.Accepted.Add(-slack).Before(q.Until)) && (q.Since.IsZero() || !m.Changed.Add(slack).Before(q.Since)) {
			for _, e := range m.Events {
				g.add(ref{e.Index, e.Why, m})
			}
		}
		return q.Newest || m.ID != from.older
	})
	g.cut()
	return g, err
}

// pass remembers some of the messages that were passed.
func (g *gathering) pass(m *reading.Message) {
	g.least = min(g.least, m.Events[0].Index)
	if g.passed++; g.passed%g.stride == 0 {
		g.waypoints = append(g.waypoints, waypoint{m.ID, g.least})
	}
	if len(g.waypoints) == 2*mostWaypoints {
		for i := range mostWaypoints {
			g.waypoints[i] = g.waypoints[2*i+1]
		}
		g.waypoints, g.stride = g.waypoints[:mostWaypoints], 2*g.stride
	}
	for i := len(m.Events) - 1; i >= 0; i-- { // is one of them still to come?
		if e := m.Events[i]; e.Index < g.head && (!g.from.set || e.Index > g.from.index) {
			g.older = m.ID
			break
		}
	}
}

func (g *gathering) add(r ref) {
	if r.index >= g.head || g.from.set && (r.index == g.from.index || (r.index < g.from.index) != g.newest) {
		return
	}
	if g.refs = append(g.refs, r); len(g.refs) >= 2*g.want {
		g.cut()
	}
}

// cut keeps those that come first.
func (g *gathering) cut() {
	slices.SortFunc(g.refs, func(x, y ref) int {
		if g.newest {
			x, y = y, x
		}
		return int(x.index - y.index)
	})
	if len(g.refs) > g.want {
		clear(g.refs[g.want:])
		g.refs = g.refs[:g.want]
	}
}

// next is where a page begins that goes on after an index.
func (g *gathering) next(q *Query, index int64) pageStart {
	p := pageStart{index: index, head: g.head, newer: g.from.newer, least: g.from.least, older: g.older, set: true}
	if q.Newest {
		p.older = event.ID{}
	}
	for i, w := range g.waypoints {
		if w.least <= index && !(q.Newest && w.least == index) {
			break
		}
		if i >= 4 && !q.Newest { // some messages ahead, so that several pages can begin there
			w = g.waypoints[i-4]
		} else if !q.Newest {
			continue
		}
		p.newer, p.least = w.id, w.least
	}
	return p
}
