package eventstorelog

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"pgregory.net/rapid"
)

const (
	leaseTick    = 50 * time.Millisecond
	leaseSession = 6 * time.Second
	leaseLook    = leaseSession / leaseLooks
)

// leaseWorld is nodes over one stream, in simulated time. Each has a clock of its own that
// goes a little wrong. A call takes effect some time after it began, and is answered some
// time after that, whatever has become of who made it.
type leaseWorld struct {
	*rapid.T
	partitions int
	now        time.Duration
	raw        []byte
	state      leaseState
	revision   int64
	away       bool // EventStoreDB is
	calls      []leaseCall
	nodes      []*leaseNode
	puts       int // that were written
	turned     int // calls of gained and lost
}

type leaseCall struct {
	at time.Duration
	do func()
}

type leaseNode struct {
	h              *leaseHolder
	started        time.Duration
	rate           int // of its clock, in percent
	latency, drain time.Duration

	killed, frozen, left bool
	// What becomes of its next put: it is written and the answer is lost; it is not
	// written and nobody knows; it is written so much later than it was answered.
	loseAnswer, loseCall bool
	cut                  time.Duration // until then none of its calls arrives
	late                 time.Duration
	slow                 time.Duration // its next call takes so much longer, each way
	troubled             time.Duration // it had one of these, or was frozen, until then

	wake     time.Duration // when it looks next, unless a call is under way
	calling  bool
	answer   func() // what has come and was not taken
	draining []event.Partition
	drained  time.Duration
	// covered are partitions that it has had in its hands ever since it was last certain that
	// the others let it: they are its own, then, until they are out of its hands.
	covered map[event.Partition]bool
}

func newLeaseWorld(t *rapid.T) *leaseWorld {
	return &leaseWorld{T: t, partitions: rapid.IntRange(1, 20).Draw(t, "partitions"), revision: -1}
}

// clock is a node's own.
func (w *leaseWorld) clock(n *leaseNode) time.Duration {
	return (w.now - n.started) * time.Duration(n.rate) / 100
}

func (w *leaseWorld) join(rate int, latency, drain time.Duration) *leaseNode {
	n := &leaseNode{h: newLeaseHolder(fmt.Sprint("run ", len(w.nodes)), "node", leaseSession), started: w.now, rate: rate,
		latency: latency, drain: drain, wake: w.now, covered: map[event.Partition]bool{}, troubled: -1}
	n.h.partitions = w.partitions
	w.nodes = append(w.nodes, n)
	return n
}

// live are those that take part.
func (w *leaseWorld) live() (live []*leaseNode) {
	for _, n := range w.nodes {
		if !n.killed && !n.h.leaving {
			live = append(live, n)
		}
	}
	return live
}

// put is what the stream does.
func (w *leaseWorld) put(raw []byte, after int64) error {
	if after != w.revision {
		return errWrongRevision
	}
	s, err := readLease(raw, w.partitions)
	if err != nil {
		w.Fatalf("%v was written: %v", string(raw), err)
	}
	for _, n := range w.nodes {
		if w.state.index(n.h.run) >= 0 && s.index(n.h.run) < 0 && !n.killed && !n.h.leaving && w.now > n.troubled+2*leaseSession {
			w.Fatalf("%s lives, and was taken for dead:\n%+v\n%+v", n.h.run, w.state, s)
		}
	}
	w.raw, w.state, w.revision = raw, s, w.revision+1
	w.puts++
	return nil
}

func (w *leaseWorld) after(d time.Duration, do func()) {
	w.calls = append(w.calls, leaseCall{w.now + d, do})
}

// call makes a call, of which the answer's function is run when the node takes it.
func (w *leaseWorld) call(n *leaseNode, effect func() (answer func())) {
	n.calling = true
	way := n.latency + n.slow
	n.slow = 0
	w.after(way, func() {
		answer := effect()
		w.after(way, func() { n.answer = answer })
	})
}

// look is a node's turn, as in leaseRun.
func (w *leaseWorld) look(n *leaseNode) {
	began, start := w.clock(n), w.now
	w.call(n, func() func() {
		raw, s, revision, away := w.raw, w.state, w.revision, w.away || w.now < n.cut
		return func() {
			if away {
				n.wake = w.now + leaseLook/2
				return
			}
			if raw == nil {
				s = leaseState{Version: leaseVersion}
			}
			n.h.look(s, began, w.clock(n))
			do := n.h.plan(s, w.clock(n), time.Time{}.Add(w.now))
			n.left = n.h.gone(s)
			n.wake = start + leaseLook
			if do.next != nil && !n.left {
				w.write(n, do, revision, start)
			}
		}
	})
}

var errLeaseLost = errors.New("nobody knows")

func (w *leaseWorld) write(n *leaseNode, do leaseMove, revision int64, start time.Duration) {
	raw := do.next.write()
	loseAnswer, loseCall, late := n.loseAnswer, n.loseCall, n.late
	n.loseAnswer, n.loseCall, n.late = false, false, 0
	w.call(n, func() func() {
		var err error
		switch {
		case late > 0:
			err = errLeaseLost
			w.after(late, func() { _ = w.put(raw, revision) })
		case loseCall || w.away || w.now < n.cut:
			err = errLeaseLost
		default:
			if err = w.put(raw, revision); loseAnswer && err == nil {
				err = errLeaseLost
			}
		}
		return func() {
			switch {
			case errors.Is(err, errWrongRevision):
				n.wake = w.now
			case err != nil:
				n.wake = w.now + leaseLook/2
			default:
				n.h.wrote(do)
				n.left = n.h.gone(*do.next)
				n.wake = start + leaseLook
			}
		}
	})
}

// serve is the goroutine that calls gained and lost.
func (w *leaseWorld) serve(n *leaseNode) {
	if n.draining != nil {
		if w.now < n.drained {
			return
		}
		n.h.lost(n.draining)
		n.draining = nil
		n.wake = min(n.wake, w.now)
	}
	lose, gain := n.h.todo(w.clock(n))
	if len(lose)+len(gain) > 0 {
		w.turned++
	}
	if len(lose) > 0 {
		n.draining, n.drained = lose, w.now+n.drain
	}
	for _, p := range gain {
		n.covered[p] = true
	}
}

// run lets time pass.
func (w *leaseWorld) run(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.now += leaseTick
		for due := true; due; {
			due = false
			for i, c := range w.calls {
				if c.at <= w.now {
					w.calls = slices.Delete(w.calls, i, i+1)
					c.do()
					due = true
					break
				}
			}
		}
		for i := range w.nodes {
			n := w.nodes[(i+int(w.now/leaseTick))%len(w.nodes)]
			if w.now < n.cut {
				n.troubled = w.now
			}
			if n.frozen {
				n.troubled = w.now
				clear(n.covered)
			}
			if n.killed || n.frozen || n.left {
				continue
			}
			w.serve(n)
			if answer := n.answer; answer != nil {
				n.answer, n.calling = nil, false
				answer()
			}
			if !n.calling && !n.left && w.now >= n.wake {
				w.look(n)
			}
			w.serve(n)
		}
		w.check()
	}
}

// check is what is true at any time.
func (w *leaseWorld) check() {
	serving := map[event.Partition]*leaseNode{}
	for _, n := range w.nodes {
		if n.killed || n.frozen {
			continue // it does nothing, whatever it believes
		}
		expired := w.clock(n) >= n.h.expires()
		if expired {
			clear(n.covered)
		}
		own := w.state.holds(n.h.run)
		for p := range n.covered {
			if n.h.hands[p] == 0 {
				delete(n.covered, p)
			} else if !slices.Contains(own, p) {
				w.Fatalf("%s has %s in its hands and its word is good, and the state does not say so: %+v", n.h.run, p, w.state)
			}
		}
		for p, hand := range n.h.hands {
			// It cannot lose more while it drains.
			if hand != leaseServing || expired && n.draining != nil {
				continue
			}
			if !slices.Contains(own, p) {
				w.Fatalf("%s serves %s, and the state does not say so: %+v", n.h.run, p, w.state)
			}
			if other := serving[p]; other != nil {
				w.Fatalf("%s and %s serve %s", n.h.run, other.h.run, p)
			}
			serving[p] = n
		}
	}
}

// spread says what is not yet as it should be at last; "" for nothing.
func (w *leaseWorld) spread() string {
	live := w.live()
	if len(w.state.Members) != len(live) {
		return fmt.Sprintf("%d members, %d live", len(w.state.Members), len(live))
	}
	served, least, most := 0, w.partitions, 0
	for _, n := range live {
		holds := w.state.holds(n.h.run)
		served += len(holds)
		least, most = min(least, len(holds)), max(most, len(holds))
		if len(n.h.hands) != len(holds) {
			return n.h.run + " has not what it holds"
		}
		for _, p := range holds {
			if n.h.hands[p] != leaseServing {
				return fmt.Sprintf("%s does not serve %s", n.h.run, p)
			}
		}
	}
	if len(live) > 0 && (served != w.partitions || most > least+1) {
		return fmt.Sprintf("%d of %d served, %d to %d by each", served, w.partitions, least, most)
	}
	return ""
}

// calm ends all trouble, and wants everything to be as it should soon, and to stay so.
func (w *leaseWorld) calm() {
	w.away = false
	for _, n := range w.nodes {
		n.frozen, n.loseAnswer, n.loseCall, n.late, n.slow, n.cut = false, false, false, 0, 0, 0
	}
	if len(w.live()) == 0 {
		w.join(100, 0, 0) // to see who is dead
	}
	var drain time.Duration
	for _, n := range w.nodes {
		drain = max(drain, n.drain)
	}
	// Puts on their way land within a session; then a death, a join, and drains one after the
	// other: what was being drained, and what has to be for the last who joined.
	for end := w.now + 3*leaseSession + 3*drain; w.spread() != ""; w.run(leaseTick) {
		if w.now > end {
			w.Fatalf("%s: %+v", w.spread(), w.state)
		}
	}
	// What comes late may still disturb.
	w.run(leaseSession)
	for end := w.now + 3*leaseSession + 3*drain; w.spread() != ""; w.run(leaseTick) {
		if w.now > end {
			w.Fatalf("%s: %+v", w.spread(), w.state)
		}
	}
	before, turned, puts := w.holders(), w.turned, w.puts
	const long = 4 * leaseSession
	w.run(long)
	if w.turned != turned || !slices.Equal(before, w.holders()) {
		w.Fatalf("it does not rest: %d changes, %v, %v", w.turned-turned, before, w.holders())
	}
	if most := len(w.live()) * (leaseBeats*int(long/leaseSession) + 2); w.puts-puts > most {
		w.Fatalf("%d beats by %d members at rest", w.puts-puts, len(w.live()))
	}
}

// holders are the runs that hold each partition.
func (w *leaseWorld) holders() []string {
	holders := make([]string, w.partitions)
	for _, m := range w.state.Members {
		for _, p := range m.Holds {
			holders[p] = m.Run
		}
	}
	return holders
}

// joinAny joins a node that is like others, and not the same. Where each way of a call takes
// long and many beat, some lose all their races.
func (w *leaseWorld) joinAny() {
	w.join(rapid.IntRange(96, 104).Draw(w.T, "rate"),
		time.Duration(rapid.IntRange(0, 1).Draw(w.T, "latency"))*leaseTick,
		time.Duration(rapid.SampledFrom([]int{0, 1, 20, 200}).Draw(w.T, "drain"))*leaseTick)
}

// Whatever happens, no partition is held by two, a member that the others may not yet take
// for dead has its own until they are out of its hands, no two serve the same unless one was
// frozen or drains, and nobody is taken for dead who only found EventStoreDB away, or watched
// badly. When the trouble ends all is served by one each, and rests.
func TestLeaseProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newLeaseWorld(t)
		for range rapid.IntRange(5, 30).Draw(t, "steps") {
			what := rapid.SampledFrom([]string{"join", "join", "leave", "kill", "freeze", "thaw", "lose answer", "lose call", "late", "slow", "cut", "away"}).Draw(t, "what")
			live := w.live()
			if what == "join" && len(live) < 5 {
				w.joinAny()
			}
			if what == "away" {
				// It stays there for a while afterwards: where it comes and goes all the time, a
				// member may have its tries in the wrong moments.
				before := w.now
				w.away = true
				w.run(time.Duration(rapid.IntRange(1, 300).Draw(t, "away")) * leaseTick)
				w.away = false
				for _, n := range w.nodes {
					if before <= n.troubled+2*leaseSession {
						n.troubled = w.now // it had no time to come out of it
					}
				}
				w.run(4 * leaseLook)
			}
			if len(live) > 0 {
				n := rapid.SampledFrom(live).Draw(t, "who")
				switch what {
				case "leave":
					n.h.leave()
					n.wake = min(n.wake, w.now)
				case "kill":
					n.killed = true
				case "freeze":
					n.frozen = true
				case "thaw":
					for _, n := range live {
						n.frozen = false
					}
				case "lose answer":
					n.loseAnswer, n.troubled = true, w.now
				case "lose call":
					n.loseCall, n.troubled = true, w.now
				case "cut":
					n.cut = w.now + time.Duration(rapid.IntRange(1, 300).Draw(t, "cut"))*leaseTick
				case "slow":
					n.slow, n.troubled = time.Duration(rapid.IntRange(1, 30).Draw(t, "slow"))*leaseTick, w.now
				case "late":
					n.late, n.troubled = time.Duration(rapid.IntRange(1, 100).Draw(t, "late"))*leaseTick, w.now
				}
			}
			w.run(time.Duration(rapid.IntRange(0, 80).Draw(t, "ticks")) * leaseTick)
		}
		w.calm()
	})
}

// What a dead node has held is others' within the session and two looks; and nothing moves
// but what it has held.
func TestLeaseTakeover(t *testing.T) {
	var worst time.Duration
	rapid.Check(t, func(t *rapid.T) {
		w := newLeaseWorld(t)
		const latency = leaseTick
		for range rapid.IntRange(2, 5).Draw(t, "nodes") {
			w.join(100, latency, 0)
			w.run(time.Duration(rapid.IntRange(0, 20).Draw(t, "apart")) * leaseTick)
		}
		w.calm()
		w.run(time.Duration(rapid.IntRange(0, 40).Draw(t, "moment")) * leaseTick)
		before := w.holders()
		n := rapid.SampledFrom(w.live()).Draw(t, "who")
		n.killed = true
		died := w.now
		// Looks and puts take what they take, and one may lose some races.
		bound := leaseSession + 2*leaseLook + 20*latency
		for taken := false; !taken; {
			w.run(leaseTick)
			taken = !slices.Contains(w.holders(), n.h.run) && !slices.Contains(w.holders(), "")
			if w.now-died > bound {
				w.Fatalf("not taken after %s: %v", w.now-died, w.holders())
			}
		}
		worst = max(worst, w.now-died)
		w.calm()
		for p, run := range w.holders() {
			if run != before[p] && before[p] != n.h.run {
				w.Fatalf("%d has moved too: %v, %v", p, before, w.holders())
			}
		}
	})
	t.Logf("at the latest after %s", worst)
}

// As few move as can when one joins, and when one leaves; and who leaves is followed at once.
func TestLeaseMoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newLeaseWorld(t)
		for range rapid.IntRange(1, 4).Draw(t, "nodes") {
			w.join(100, leaseTick, leaseTick)
			w.run(time.Duration(rapid.IntRange(0, 20).Draw(t, "apart")) * leaseTick)
		}
		w.calm()
		before := w.holders()
		n := w.join(100, leaseTick, leaseTick)
		w.calm()
		if len(w.state.holds(n.h.run)) != w.partitions/len(w.live()) {
			w.Fatalf("who joined holds %v", w.holders())
		}
		for p, run := range w.holders() {
			if run != before[p] && run != n.h.run {
				w.Fatalf("when one joined, %d moved to another: %v, %v", p, before, w.holders())
			}
		}
		before = w.holders()
		n = rapid.SampledFrom(w.live()).Draw(t, "who leaves")
		n.h.leave()
		n.wake = w.now
		began := w.now
		for w.state.index(n.h.run) >= 0 || slices.Contains(w.holders(), "") {
			if w.run(leaseTick); w.now-began > leaseLook+40*leaseTick {
				w.Fatalf("one has left, and after %s: %v", w.now-began, w.holders())
			}
		}
		w.calm()
		for p, run := range w.holders() {
			if run != before[p] && before[p] != n.h.run {
				w.Fatalf("when one left, %d moved from another: %v, %v", p, before, w.holders())
			}
		}
	})
}

// What a step does in moments that the other tests seldom come to.
func TestLeaseStep(t *testing.T) {
	partitions := func(ps ...event.Partition) []event.Partition { return ps }
	state := func(mine ...event.Partition) leaseState {
		return leaseState{Version: leaseVersion, Members: []leaseMember{{Run: "me", Holds: mine}, {Run: "you", Holds: partitions(4)}}}
	}
	me := func(hands map[event.Partition]leaseHand, leaving bool) leaseSelf {
		return leaseSelf{run: "me", partitions: 5, hands: hands, leaving: leaving}
	}
	for name, test := range map[string]struct {
		s     leaseState
		me    leaseSelf
		holds []event.Partition // nil: it stands as it is
		letGo []event.Partition
		gain  []event.Partition
	}{
		"what it has had already it keeps": {state(2, 3), me(nil, false), partitions(0, 2, 3), nil, partitions(2, 3, 0)},
		"what is drained it gives up":      {state(0, 1, 2, 3), me(map[event.Partition]leaseHand{0: leaseServing, 1: leaseServing, 2: leaseServing}, false), partitions(0, 1, 2), nil, nil},
		"what is not, it does not": {state(0, 1, 2, 3), me(map[event.Partition]leaseHand{0: leaseServing, 1: leaseServing, 2: leaseServing, 3: leaseLosing}, false),
			nil, nil, nil},
		"it lets go the last": {state(0, 1, 2, 3), me(map[event.Partition]leaseHand{0: leaseServing, 1: leaseServing, 2: leaseServing, 3: leaseServing}, false),
			nil, partitions(3), nil},
		"leaving it takes nothing":          {state(0), me(map[event.Partition]leaseHand{0: leaseLosing}, true), nil, nil, nil},
		"leaving it gives up what it lost":  {state(0, 1), me(map[event.Partition]leaseHand{0: leaseLosing}, true), partitions(0), nil, nil},
		"what it drains it does not take":   {state(), me(map[event.Partition]leaseHand{0: leaseLosing}, false), partitions(1, 2, 3), nil, partitions(1, 2, 3)},
		"leaving it does not join for that": {leaseState{}, me(map[event.Partition]leaseHand{0: leaseLosing}, true), nil, nil, nil},
	} {
		do := test.s.step(test.me)
		var holds []event.Partition
		if do.next != nil {
			holds = do.next.holds("me")
		}
		if (do.next == nil) != (test.holds == nil) || !slices.Equal(holds, test.holds) || !slices.Equal(do.letGo, test.letGo) || !slices.Equal(do.gain, test.gain) {
			t.Errorf("%s: %v, lets go %v, gains %v", name, holds, do.letGo, do.gain)
		}
	}
}

// A member that was taken for dead, by whatever clock, loses everything when it sees it; and
// what was drained while a state was put is not gained because it stands in that.
func TestLeaseHolder(t *testing.T) {
	h := newLeaseHolder("me", "node", leaseSession)
	h.partitions = 2
	var s leaseState
	turn := func(now time.Duration) leaseMove {
		h.look(s, now, now)
		do := h.plan(s, now, time.Time{})
		if do.next != nil {
			s = *do.next
		}
		return do
	}
	h.wrote(turn(0))
	if _, gain := h.todo(0); len(gain) != 2 {
		t.Fatalf("it gains %v", gain)
	}
	h.drop(1)
	do := turn(leaseSession / leaseBeats)
	lose, _ := h.todo(leaseSession / leaseBeats)
	h.lost(lose)
	h.wrote(do)
	if len(lose) != 1 || h.hands[1] != 0 || len(s.holds("me")) != 2 {
		t.Errorf("drained: it has lost %v, holds %v and has in its hands %v", lose, s.holds("me"), h.hands)
	}
	h.look(leaseState{}, leaseSession/leaseBeats, leaseSession/leaseBeats)
	if h.hands[0] != leaseLosing {
		t.Error("it was taken for dead and goes on")
	}
	// A beat may have come as late as the look that saw it was answered.
	h, s = newLeaseHolder("me", "node", leaseSession), leaseState{Members: []leaseMember{{Run: "you"}}}
	const slow = leaseSession / 3
	h.look(s, 0, slow)
	for at := slow; ; at += leaseLook {
		h.look(s, at, at)
		if do := h.plan(s, at, time.Time{}); do.next.index("you") < 0 {
			if at < slow+leaseSession {
				t.Errorf("it is dead %s after it may have beaten", at-slow)
			}
			break
		}
	}
}

// Quotas change in one direction with one member more or less.
func TestLeaseQuota(t *testing.T) {
	for partitions := range 40 {
		for members := 1; members < 45; members++ {
			sum := 0
			for i := range members {
				q := leaseQuota(partitions, members, i)
				sum += q
				if more := leaseQuota(partitions, members+1, i); more > q {
					t.Errorf("%d/%d: %d has %d, and %d when one joins", partitions, members, i, q, more)
				}
				// Another before it leaves, or one after it.
				if i > 0 && members > 1 && leaseQuota(partitions, members-1, i-1) < q {
					t.Errorf("%d/%d: %d has less when one before it leaves", partitions, members, i)
				}
			}
			if sum != partitions {
				t.Errorf("%d/%d: %d in all", partitions, members, sum)
			}
		}
	}
}

// Nobody joins who would be one too many.
func TestLeaseFull(t *testing.T) {
	s := leaseState{Version: leaseVersion}
	for i := range leaseMembers {
		s.Members = append(s.Members, leaseMember{Run: fmt.Sprint(i), Node: strings.Repeat("\x01", leaseNodeName)})
	}
	me := leaseSelf{run: "me", partitions: event.MaxPartitions, due: true}
	if do := s.step(me); do.next != nil {
		t.Errorf("%d members", len(do.next.Members))
	}
	me.dead = map[string]bool{"7": true}
	do := s.step(me)
	if do.next == nil || len(do.next.Members) != leaseMembers || do.next.index("me") != leaseMembers-1 {
		t.Fatal("one is dead, and nobody joined")
	}
	for p := range event.MaxPartitions {
		m := &do.next.Members[p%leaseMembers]
		m.Holds = append(m.Holds, event.Partition(p))
	}
	do.next.Members[leaseMembers-1].Holds = nil
	if raw := do.next.write(); len(raw) > leaseBytes {
		t.Errorf("the largest state has %d bytes", len(raw))
	}
}

// What is not understood in full is not taken.
func TestReadLease(t *testing.T) {
	good := leaseState{Version: 1, Members: []leaseMember{
		{Run: "a", Node: "n", Beat: 3, At: time.UnixMilli(1e12).UTC(), Holds: []event.Partition{0, 2}}, {Run: "b", Node: "n", Holds: []event.Partition{1}}}}
	text := string(good.write())
	if s, err := readLease([]byte(text), 3); err != nil || fmt.Sprint(s) != fmt.Sprint(good) {
		t.Errorf("%v, %v, want %v", s, err, good)
	}
	for name, change := range map[string][2]string{
		"no JSON":            {"{", "["},
		"no version":         {`"version":1,`, ""},
		"newer":              {`"version":1`, `"version":2`},
		"another field":      {`"beat"`, `"heart":1,"beat"`},
		"held by two":        {"[1]", "[2]"},
		"twice":              {"[0,2]", "[0,0]"},
		"no such partition":  {"[1]", "[3]"},
		"control":            {"[1]", "[-1]"},
		"the same run twice": {`"run":"b"`, `"run":"a"`},
		"no run":             {`"run":"b"`, `"run":""`},
	} {
		bad := strings.Replace(text, change[0], change[1], 1)
		if bad == text {
			t.Fatal(name)
		}
		if _, err := readLease([]byte(bad), 3); err == nil || errors.Is(err, errLeaseNewer) != (name == "newer") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", text + "{}", text + strings.Repeat(" ", leaseBytes)} {
		if _, err := readLease([]byte(bad), 3); err == nil {
			t.Errorf("%.20q, of %d bytes, was read", bad, len(bad))
		}
	}
}
