package dispatch

import (
	"container/heap"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// simulation runs a dispatcher and a carrier in simulated time.
type simulation struct {
	now    time.Time
	events simEvents
	n      int
}

type simEvent struct {
	at time.Time
	n  int
	do func()
}

type simEvents []simEvent

func (q simEvents) Len() int { return len(q) }
func (q simEvents) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].n < q[j].n
}
func (q simEvents) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simEvents) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simEvents) Pop() any {
	x := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return x
}

func (s *simulation) in(d time.Duration, do func()) {
	s.n++
	heap.Push(&s.events, simEvent{s.now.Add(d), s.n, do})
}

// run ends when nothing is left to do, or after an hour: then something waits in vain.
func (s *simulation) run() {
	for len(s.events) > 0 && s.now.Sub(noon) < time.Hour {
		x := heap.Pop(&s.events).(simEvent)
		s.now = x.at
		x.do()
	}
}

// paced is a carrier with a rate and a window, which answers after a while. It writes the parts in order.
type paced struct {
	*simulation
	tps     float64
	window  int
	answers time.Duration
	changed chan struct{}
	pump    func() // what Changed would wake

	tokens float64
	last   time.Time
	open   int
	queue  []func() // each writes a part
	timer  bool
	wrote  []ledger.Handoff
}

// depth is what the bucket holds: what comes in a tenth of a second, and one part at least.
func (c *paced) depth() float64 { return max(1, c.tps/10) }

func (c *paced) advance() {
	c.tokens = min(c.depth(), c.tokens+c.now.Sub(c.last).Seconds()*c.tps)
	c.last = c.now
}

// until is how long it takes until there are so many tokens.
func (c *paced) until(tokens float64) time.Duration {
	return time.Duration((tokens-c.tokens)/c.tps*float64(time.Second)) + time.Microsecond
}

func (c *paced) Account() string          { return "c1" }
func (c *paced) Changed() <-chan struct{} { return c.changed }

func (c *paced) Takes(promised int, now time.Time) (bool, time.Time) {
	c.advance()
	before := len(c.queue) + promised
	if c.open+before >= c.window {
		return false, time.Time{}
	}
	if need := float64(before + 1); c.tokens < need {
		return false, now.Add(c.until(need))
	}
	return true, time.Time{}
}

func (c *paced) Pace(parts int, _ time.Time) time.Duration {
	return time.Duration(float64(len(c.queue)+parts) / c.rate() * float64(time.Second))
}

// rate is how many parts a second the account can write at most.
func (c *paced) rate() float64 { return min(c.tps, float64(c.window)/c.answers.Seconds()) }

func (c *paced) Submit(h ledger.Handoff, done func(ledger.HandoffResult)) {
	c.queue = append(c.queue, func() {
		if !c.now.Before(h.CallBy) {
			done(ledger.HandoffResult{Status: ledger.HandoffNotCalled})
			return
		}
		c.tokens--
		c.open++
		c.wrote = append(c.wrote, h)
		c.in(c.answers, func() {
			c.open--
			done(ledger.HandoffResult{Status: ledger.HandoffTaken, CarrierID: "x"})
			c.write()
		})
	})
	c.write()
}

func (c *paced) write() {
	c.advance()
	for len(c.queue) > 0 && c.open < c.window && c.tokens >= 1 {
		w := c.queue[0]
		c.queue = c.queue[1:]
		w()
	}
	if len(c.queue) > 0 && c.open < c.window && !c.timer {
		c.timer = true
		c.in(c.until(1), func() { c.timer = false; c.write() })
	}
	c.pump()
}

// sending is a dispatcher over a paced carrier, with a log between a grant and its call.
type sending struct {
	*simulation
	*paced
	t     *testing.T
	d     *Dispatcher
	woken bool
	done  map[event.ID]int // parts taken
}

// logTakes is how long a proposal takes to come back.
const logTakes = 2 * time.Millisecond

func newSending(t *testing.T, tps float64, window int) *sending {
	sim := &simulation{now: noon}
	c := &paced{simulation: sim, tps: tps, window: window, answers: 2 * time.Millisecond, tokens: 1, last: noon}
	s := &sending{simulation: sim, paced: c, t: t, d: New(c), done: map[event.ID]int{}}
	c.pump = s.wake
	return s
}

// wake pumps soon, and then when the dispatcher says.
func (s *sending) wake() {
	if s.woken {
		return
	}
	s.woken = true
	s.simulation.in(0, func() {
		s.woken = false
		out, next := s.d.Pump(s.simulation.now)
		for _, g := range out {
			s.start(g.Want, g.Grant)
		}
		if !next.IsZero() {
			s.simulation.in(next.Sub(s.simulation.now), s.wake)
		}
	})
}

// want asks for a message of so many parts.
func (s *sending) want(n, priority, parts int) {
	w := Want{Message: message(n), Priority: priority, Slots: parts}
	if g, ok := s.d.Want(w, s.simulation.now); ok {
		s.start(w, g)
	}
	s.wake()
}

// start proposes a start, which comes back after a while, and calls the carrier.
func (s *sending) start(w Want, g Grant) {
	call := Call{Grant: g, Proposed: s.simulation.now, Window: 5*time.Second + g.Pace}
	for i := range w.Slots {
		call.Handoffs = append(call.Handoffs, ledger.Handoff{Message: w.Message, Part: i + 1, Parts: w.Slots, CallBy: s.simulation.now.Add(call.Window)})
	}
	s.simulation.in(logTakes, func() {
		s.d.Call(call, func() time.Time { return s.simulation.now }, func(h ledger.Handoff, r ledger.HandoffResult) {
			if r.Status != ledger.HandoffTaken {
				s.t.Fatalf("part %d of %d of message %d: %+v", h.Part, h.Parts, h.Message[15], r)
			}
			s.done[h.Message]++
		})
	})
}

// finished runs to the end, and checks that the messages went in that order, whole, and as fast as the
// account allows.
func (s *sending) finished(parts []int, order ...int) {
	s.simulation.run()
	var want, got []string
	for _, n := range order {
		for p := range parts[n] {
			want = append(want, fmt.Sprintf("%d.%d", n, p+1))
		}
		if s.done[message(n)] != parts[n] {
			s.t.Errorf("of message %d %d of %d parts are taken", n, s.done[message(n)], parts[n])
		}
	}
	for _, h := range s.wrote {
		got = append(got, fmt.Sprintf("%d.%d", h.Message[15], h.Part))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("written in the order %v, want %v", got, want)
	}
	slot := time.Duration(float64(time.Second) / s.rate())
	ideal := time.Duration(len(want)) * slot
	if took := s.simulation.now.Sub(noon) - s.answers; took > ideal*105/100+slot {
		s.t.Errorf("%d parts took %s; the account allows %s", len(want), took, ideal)
	}
	if held := s.d.Load(); held != (Load{}) {
		s.t.Errorf("kept: %+v", held)
	}
}

// Nine messages at once take as long as their parts need at the account's rate, however many parts a message has and
// however small the window is: a long message begins with the first free slot, and what stands behind it follows at once.
func TestDispatcherKeepsPace(t *testing.T) {
	for _, tps := range []float64{1, 2, 5, 10, 40, 200} {
		for _, window := range []int{1, 2, 10} {
			for parts := 1; parts <= 7; parts++ {
				name := fmt.Sprintf("tps %v, window %d, %d parts", tps, window, parts)
				all := slices.Repeat([]int{parts}, 9)
				if parts == 7 {
					name, all = fmt.Sprintf("tps %v, window %d, long and short", tps, window), []int{1, 6, 2, 1, 1, 5, 1, 3, 1}
				}
				t.Run(name, func(t *testing.T) {
					s := newSending(t, tps, window)
					for n, parts := range all {
						s.want(n, 5, parts)
					}
					s.finished(all, 0, 1, 2, 3, 4, 5, 6, 7, 8)
				})
			}
		}
	}
}

// What is urgent goes behind what was granted already, and before all that waits.
func TestDispatcherUrgentNext(t *testing.T) {
	s := newSending(t, 2, 2)
	parts := []int{4, 4, 4, 1}
	for n := range 3 {
		s.want(n, 3, parts[n])
	}
	s.simulation.in(time.Second, func() { s.want(3, 9, parts[3]) })
	s.finished(parts, 0, 3, 1, 2)
}
