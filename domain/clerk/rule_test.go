package clerk_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

var (
	runs = flag.Int("rule.runs", 0, "runs of the rule's property test (0: what fits in its share of a test run)")
	seed = flag.Uint64("rule.seed", 0, "one run of the rule's property test, from this seed")
)

// rule is the rule without the clauses that r names: in their place stand functions that let through
// whatever comes.
func (r rules) rule() *recipient.Rule {
	rule := recipient.Standard()
	if r.after {
		rule.After = func(*recipient.State, *event.Event) bool { return true }
	}
	if r.state {
		rule.State = func(m *recipient.Message, _ bool, e *event.Event) bool {
			d, ok := e.Data.(*event.HandoffInDoubt)
			return !ok || d.Attempt >= 1 && d.Attempt <= len(m.Attempts) // else there is nothing to be in doubt
		}
	}
	if r.repeat {
		rule.Repeat = func(*recipient.State, *event.Event) bool { return false }
	}
	if r.control {
		rule.Control = func(*recipient.PartitionState, int64) bool { return true }
	}
	if r.order {
		rule.Order = func(*recipient.PartitionState, int64) bool { return true }
	}
	if r.names {
		rule.Names = func(named []event.ID, _ event.ID) bool { return len(named) > 0 }
	}
	if r.time {
		rule.Time = func(*recipient.Message, *event.Event) bool { return true }
	}
	return &rule
}

// totals count what runs came to.
type totals struct {
	runs, events, calls, refused, uncalled int
	void                                   map[recipient.Why]int
	statuses                               map[recipient.Status]int
	digest                                 [sha256.Size]byte // of the last run's log
	// of receipts: how they were matched, how many waited in the inbox first, and how many
	// stayed there; and the texts that revoke.
	matches                 map[event.Match]int
	moved, orphans, stops   int
	level                   map[int]int // acknowledged texts, by the level at which they were written
	recovered, held, marked int         // messages, decisions, starts
	// of unplaced texts: how many were placed, how many of these had an address that cannot be read, how many opt-outs
	// stood beside a hold that ended, how many messages waited for a review and were decided again when it ended, and
	// how many holds came after their message had been placed.
	placed, tails, beside, again, lateHolds int
}

func newTotals() *totals {
	return &totals{void: map[recipient.Why]int{}, statuses: map[recipient.Status]int{}, matches: map[event.Match]int{}, level: map[int]int{}}
}

// read reads a partition from an index to its end.
func (w *world) read(p event.Partition, from int64) []ledger.Record {
	_, head, err := w.log.Read(context.Background(), p, 0, 0)
	if err != nil {
		panic(err)
	}
	if from >= head { // a read there would wait
		return nil
	}
	records, _, err := w.log.Read(context.Background(), p, from, int(head-from))
	if err != nil {
		panic(err)
	}
	return records
}

// digest is of all that stands in the log.
func (w *world) digest() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range []event.Partition{event.InboxPartition, 0} {
		for _, r := range w.read(p, 0) {
			_, _ = fmt.Fprintf(h, "%s %d %d\n", p, r.Index, len(r.Raw))
			_, _ = h.Write(r.Raw)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// run drives one world and checks what is left of it.
func run(seed uint64, r rules, t *totals) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if r == (rules{}) {
				panic(fmt.Sprintf("seed %d: %v", seed, p))
			}
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	w := newWorld(seed, r)
	for range 100 + w.rng.IntN(400) {
		w.drive()
	}
	w.settle()
	if w.err == nil {
		w.check(t)
	}
	t.digest = w.digest()
	return w.err
}

// The rule, against several clerks that all serve one partition, and a log that
// does what logs do. Every run that fails says its seed: go test -run TestRule
// -rule.seed=N makes it again.
func TestRule(t *testing.T) {
	sum := newTotals()
	if *seed != 0 {
		if err := run(*seed, rules{}, sum); err != nil {
			t.Fatalf("seed %d: %v", *seed, err)
		}
		t.Logf("seed %d: %+v", *seed, *sum)
		return
	}
	n := *runs
	if n == 0 {
		n = 900
		if testing.Short() {
			n = 300
		}
	}
	bad := 0
	for s := range n {
		if err := run(uint64(s)+1, rules{}, sum); err != nil {
			t.Errorf("seed %d: %v", s+1, err)
			if bad++; bad > 5 {
				t.FailNow()
			}
		}
	}
	t.Logf("%d runs, %d events, %d carrier calls, %d not made, %d in doubt without one; void: %v; messages at the end: %v", sum.runs, sum.events, sum.calls, sum.refused, sum.uncalled, sum.void, sum.statuses)
	t.Logf("receipts: %v; %d waited in the inbox and were moved, %d stayed there; %d streams that texts stop or hold; texts by level: %v", sum.matches, sum.moved, sum.orphans, sum.stops, sum.level)
	t.Logf("%d messages were recovered, %d decisions held by an epoch, %d starts from before one", sum.recovered, sum.held, sum.marked)
	t.Logf("%d unplaced texts were placed, %d of them of an address that cannot be read; %d opt-outs stood beside a hold that ended, %d messages were decided again; %d holds came too late",
		sum.placed, sum.tails, sum.beside, sum.again, sum.lateHolds)
	if n < 300 {
		return
	}
	if sum.placed == 0 || sum.tails == 0 || sum.beside == 0 || sum.again == 0 {
		t.Error("no text was placed, or nothing waited for its review: the runs are too tame")
	}
	if sum.recovered == 0 || sum.held == 0 || sum.marked == 0 {
		t.Error("no message was recovered, held or marked: the runs are too tame")
	}
	for _, m := range []event.Match{event.MatchID, event.MatchZeros, event.MatchHex, event.MatchReference} {
		if sum.matches[m] == 0 {
			t.Errorf("no receipt was matched by %s: the runs are too tame", m)
		}
	}
	if sum.level[1] == 0 || sum.level[2] == 0 {
		t.Errorf("texts by level: %v: the runs are too tame", sum.level)
	}
	if sum.moved == 0 || sum.orphans == 0 || sum.stops == 0 {
		t.Errorf("%d receipts waited in the inbox and were moved, %d stayed there, %d texts revoked: the runs are too tame", sum.moved, sum.orphans, sum.stops)
	}
	for _, why := range []recipient.Why{recipient.Overtaken, recipient.Settled, recipient.Repeat} {
		if sum.void[why] == 0 {
			t.Errorf("nothing was void as %s: the runs are too tame", why)
		}
	}
	for _, s := range []recipient.Status{recipient.Delivered, recipient.Denied, recipient.Cancelled, recipient.ExpiredUnsent, recipient.InDoubt, recipient.Failed, recipient.Unconfirmed} {
		if sum.statuses[s] == 0 {
			t.Errorf("no message ended as %s: the runs are too tame", s)
		}
	}
}

// A seed makes the same run each time: what a run that failed showed, it shows once more.
func TestRunsRepeat(t *testing.T) {
	for s := range uint64(30) {
		first, second := newTotals(), newTotals()
		if a, b := run(s+1, rules{}, first), run(s+1, rules{}, second); fmt.Sprint(a) != fmt.Sprint(b) || !reflect.DeepEqual(first, second) {
			t.Errorf("seed %d makes two runs: %+v (%v), and %+v (%v)", s+1, *first, a, *second, b)
		}
	}
}

// Each part of the rule matters: without it, some run breaks a promise.
func TestRuleWithout(t *testing.T) {
	for name, r := range map[string]rules{
		"after": {after: true}, "state": {state: true}, "repeat": {repeat: true}, "control": {control: true},
		"order": {order: true}, "control and order": {control: true, order: true},
		"names": {names: true}, "time": {time: true}, "memory": {memory: true},
	} {
		t.Run(name, func(t *testing.T) {
			const most = 400
			first := 0
			if name == "order" { // without control it is seldom that it matters: begin near a run in which it does
				first = 550
			}
			for s := first; s < first+most; s++ {
				sum := newTotals()
				if err := run(uint64(s)+1, r, sum); err != nil {
					t.Logf("without it, run %d fails: %v", s+1, err)
					return
				}
			}
			t.Errorf("%d runs without it fail in nothing", most)
		})
	}
}

// told is what the log says of one event, without the fold: its first copy counts.
type told struct {
	i     int64
	e     *event.Event
	first bool
}

// check looks for broken promises: in the log, by reading it as an auditor would
// (nothing here uses Evolve but the comparison of folds), and in what the carriers
// were called with.
func (w *world) check(t *totals) {
	records, head, err := w.log.Read(context.Background(), 0, 0, 1<<20)
	if err != nil || int64(len(records)) != head {
		if head > 0 {
			w.fail("the log cannot be read: %v", err)
		}
		return
	}
	log := make([]told, len(records))
	seen := map[event.ID]bool{}
	for i, r := range records {
		log[i] = told{int64(i), r.Event, !seen[r.Event.ID]}
		seen[r.Event.ID] = true
	}
	fresh := w.folds(records)
	if w.err != nil {
		return
	}
	w.calls(log, fresh)
	w.standing(log, fresh)
	w.atRest(fresh)
	w.delivered(log, fresh, t)
	t.runs++
	t.events += len(records)
	t.calls += len(w.writes)
	for _, j := range fresh.judged {
		if j.Why != "" {
			t.void[j.Why]++
			continue
		}
		switch d := j.Event.Data.(type) {
		case *event.MessageRecovered:
			t.recovered++
		case *event.MessageDecided:
			if d.Fault == event.FaultRecovery {
				t.held++
			}
		case *event.HandoffStarted:
			if d.Epoch != 0 {
				t.marked++
			}
		}
		if d, ok := j.Event.Data.(*event.HandoffRefused); ok && d.NotCalled {
			t.refused++
		}
	}
	for _, st := range fresh.views.Gathered(w.subjects) {
		for _, m := range st.Messages {
			t.statuses[m.Status]++
			called := slices.ContainsFunc(w.writes, func(x write) bool { return x.h.Message == m.ID && x.h.Attempt == len(m.Attempts) })
			if m.Status == recipient.InDoubt && !called {
				t.uncalled++
				if w.faults == 0 && w.without == (rules{}) && !m.Recovered {
					w.fail("nothing failed, no carrier was called, and %s is in doubt", m.ID)
				}
			}
		}
	}
}

// folds: promise 6. A fold from 0, one through a chain of snapshots, and those that
// the nodes have after all that happened to them, are equal.
func (w *world) folds(records []ledger.Record) *node {
	fold := func(chunk int, whole bool) *node {
		n := &node{w: w, name: "fresh", whole: whole, judged: map[int64]ledger.Judged{}, control: control.NewControl(nil)}
		n.clerk = n.newClerk()
		n.takeControl(int64(len(w.control)))
		for from := 0; from < len(records); from += chunk {
			part := records[from:min(from+chunk, len(records))]
			missing := n.clerk.Fold().Missing(part)
			n.clerk.Load(missing, n.views.Streams(missing))
			if err := n.views.Load(n.clerk.Fold(), part); err != nil {
				panic(err)
			}
			if _, err := n.clerk.Apply(context.Background(), part, w.now); err != nil {
				w.fail("a fresh fold: %v", err)
				return n
			}
			for _, j := range n.clerk.Fold().Tail(len(part)) {
				n.judged[j.Index] = j
			}
			n.cut()
			n.commit()
			if chunk < len(records) {
				mark := n.views.Mark
				n.clerk = n.newClerk()
				n.clerk.Fold().Restore(mark, n.control.At(mark.Partition.Control))
			}
		}
		return n
	}
	fresh := fold(len(records), false)
	whole := fold(len(records), true)
	gathered := whole.views.Gathered(w.everyone())
	for _, n := range append(slices.Clone(w.nodes), fold(5+w.rng.IntN(60), false), whole) {
		if n.views.Mark != fresh.views.Mark {
			w.fail("promise 6: %s stands at %+v, a fresh fold at %+v", n.name, n.views.Mark, fresh.views.Mark)
		}
		if n != whole && !maps.EqualFunc(n.views.Rows, fresh.views.Rows, bytes.Equal) {
			w.fail("promise 6: %s has other rows than a fresh fold", n.name)
		}
		for s, st := range n.views.Gathered(w.everyone()) {
			got, _ := json.Marshal(st)
			if want, _ := json.Marshal(gathered[s]); !bytes.Equal(got, want) {
				w.fail("promise 6: %s has folded, with its rows,\n%s\na fold without rows is\n%s", n.name, got, want)
			}
		}
		for s, raw := range n.views.States {
			if json := raw[0] == '{'; json == n.keepsRows() {
				w.fail("promise 6: %s has a fold of %s in JSON: %t", n.name, s, json)
			}
		}
		for s, raw := range fresh.views.States {
			if n != whole && !bytes.Equal(raw, n.views.States[s]) {
				w.fail("promise 6: %s has folded\n%x\na fresh fold is\n%x", n.name, n.views.States[s], raw)
			}
		}
		for i, j := range fresh.judged {
			if n.judged[i].Why != j.Why || n.judged[i].Status != j.Status {
				w.fail("promise 6: %s judged %d as %q %q, a fresh fold as %q %q", n.name, i, n.judged[i].Why, n.judged[i].Status, j.Why, j.Status)
			}
		}
	}
	return fresh
}

// standing is an opt-out that stands, or a hold.
type standing struct {
	id      event.ID
	reach   event.Reach
	unclear bool
	part    bool
	to      string
	holds   event.HoldReason
	stream  event.Pseudonym
	first   event.ID // the first of those whose place it took
}

// stood are the opt-outs that stand before index i of a stream: all that were recorded, less those that
// a lift, joined parts or a review after them name; and from level 2 on, less those whose place a later
// one of the same kind took.
func (w *world) stood(log []told, subject event.Pseudonym, i int64) (out []standing) {
	lift := func(ids []event.ID) {
		out = slices.DeleteFunc(out, func(o standing) bool { return slices.Contains(ids, o.id) })
	}
	add := func(o standing, reaches ...event.Reach) {
		for _, o.reach = range reaches {
			next := o
			out = slices.DeleteFunc(out, func(old standing) bool {
				same := old
				if same.id, same.first = o.id, o.first; same != o {
					return false
				}
				if next.first = old.first; next.first.IsZero() {
					next.first = old.id
				}
				return true
			})
			out = append(out, next)
		}
	}
	control := int64(0)
	for _, x := range log[:i] {
		if d, ok := x.e.Data.(*event.ControlApplied); ok {
			control = max(control, d.Position)
		}
		if x.e.Subject != subject || !x.first {
			continue
		}
		switch d := x.e.Data.(type) {
		case *event.OptedOut:
			lift(d.Lifts)
			o := standing{id: x.e.ID, reach: d.Reach, unclear: d.Unclear}
			if w.registry[control].Level() >= 2 {
				add(o, d.Reach)
			} else {
				out = append(out, o)
			}
		case *event.InboundReceived:
			if d.Revokes != nil {
				out = append(out, standing{id: x.e.ID, reach: *d.Revokes, unclear: d.Unclear})
			} else if d.Holds != nil {
				out = append(out, standing{id: x.e.ID, reach: *d.Holds, unclear: true, part: true})
			}
		case *event.InboundReceivedV2:
			switch o := (standing{id: x.e.ID, unclear: d.Holds != "", to: d.To, holds: d.Holds}); {
			case d.Unplaced != "":
			case d.Holds == event.HoldPart:
				for _, r := range d.Reaches {
					out = append(out, standing{id: x.e.ID, reach: r, unclear: true, part: true, to: d.To})
				}
			case d.Holds != "" || d.Ask == event.InboundStop:
				add(o, d.Reaches...)
			}
		case *event.InboundJoined:
			lift(d.Parts)
			if d.Holds != "" || d.Ask == event.InboundStop {
				add(standing{id: x.e.ID, unclear: d.Holds != "", to: d.To, holds: d.Holds}, d.Reaches...)
			}
		case *event.InboundHeld:
			o := standing{id: x.e.ID, unclear: !d.Plain, to: d.To, stream: d.Stream}
			if !d.Plain {
				o.holds = "held"
			}
			add(o, d.Reaches...)
		case *event.ReviewResolved:
			to := ""
			out = slices.DeleteFunc(out, func(o standing) bool {
				if o.id != d.Review || !o.unclear {
					return false
				}
				to = o.to
				return true
			})
			add(standing{id: x.e.ID, to: to}, d.Reaches...)
		case *event.SuppressionLifted:
			lift(d.Lifts)
		}
	}
	return out
}

func (w *world) standing(log []told, fresh *node) {
	for s, st := range fresh.views.Streams(w.everyone()) {
		var want, got []string
		for _, o := range w.stood(log, s, int64(len(log))) {
			want = append(want, fmt.Sprint(o.id, o.reach, o.unclear, o.part, o.to))
		}
		for _, o := range st.OptOuts {
			got = append(got, fmt.Sprint(o.Event, o.Reach, o.Unclear, o.Part, o.To))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			w.fail("opt-outs stand that were lifted, or do not that were not: the fold has %v, the log says %v", got, want)
		}
	}
}

func covers(r event.Reach, sub *event.MessageSubmitted) bool {
	of := entity
	switch sub.Program {
	case "loans":
		of = entity2
	case "ads":
		of = entity3
	}
	switch r.Scope {
	case event.ScopeProgram:
		return r.Name == sub.Program
	case event.ScopeSender:
		return r.Name == sub.From
	case event.ScopeLegalEntity:
		return r.Name == of
	}
	return true
}

// inForce is the partition's control position before index i.
func inForce(log []told, i int64) (p int64) {
	for _, x := range log[:i] {
		if d, ok := x.e.Data.(*event.ControlApplied); ok {
			p = max(p, d.Position)
		}
	}
	return p
}

// calls: promises 2 and 3, call by call.
func (w *world) calls(log []told, fresh *node) {
	type part struct {
		message event.ID
		part    int
	}
	earlier := map[part][]write{}
	starts := map[event.ID]write{}
	at := map[*write]int64{}
	for i := range w.writes {
		x := &w.writes[i]
		found := int64(-1)
		for _, l := range log {
			d, ok := l.e.Data.(*event.HandoffStarted)
			if ok && l.e.Message == x.h.Message && d.Attempt == x.h.Attempt && l.e.Node == x.node && l.e.Time.Equal(event.Millis(x.call.Proposed)) &&
				fresh.judged[l.i].Why == "" {
				found = l.i
			}
		}
		if found < 0 {
			w.fail("promise 2: %s called a carrier for a start of %s (attempt %d) that is not effective", x.node, x.h.Message, x.h.Attempt)
			return
		}
		at[x] = found
	}
	order := make([]*write, len(w.writes))
	for i := range w.writes {
		order[i] = &w.writes[i]
	}
	slices.SortStableFunc(order, func(a, b *write) int { return int(at[a] - at[b]) })
	for _, x := range order {
		i := at[x]
		start := log[i].e
		d := start.Data.(*event.HandoffStarted)
		submit := w.submits[x.h.Message]
		var sub *event.MessageSubmitted
		for _, l := range log[:i] {
			if s, ok := l.e.Data.(*event.MessageSubmitted); ok && l.e.ID == x.h.Message {
				sub, submit = s, l.e
			}
		}
		if sub == nil {
			w.fail("promise 2: a start of %s stands before its submit", x.h.Message)
			return
		}
		w.gated(log, i, submit, sub, d, x)
		// Promise 3.
		k := part{x.h.Message, x.h.Part}
		if _, again := starts[start.ID]; again && slices.ContainsFunc(earlier[k], func(y write) bool { return y.h.Attempt == x.h.Attempt }) {
			w.fail("promise 3: part %d of %s was called twice for one start", x.h.Part, x.h.Message)
		}
		starts[start.ID] = *x
		for _, y := range earlier[k] {
			if y.h.Attempt == x.h.Attempt {
				continue
			}
			retry := false
			for _, l := range log[:i] {
				switch f := l.e.Data.(type) {
				case *event.HandoffRefused:
					retry = retry || l.e.Message == x.h.Message && f.Attempt == y.h.Attempt && f.Part == x.h.Part && f.Retry
				case *event.HandoffAccepted:
					if l.e.Message == x.h.Message && f.Part == x.h.Part {
						w.fail("promise 3: part %d of %s was called again after it was accepted", x.h.Part, x.h.Message)
					}
				}
			}
			if !retry && !(d.Duplicate && sub.PrefersDuplicate) {
				w.fail("promise 3: part %d of %s was called again (attempt %d) though attempt %d was not refused with retry", x.h.Part, x.h.Message, x.h.Attempt, y.h.Attempt)
			}
		}
		earlier[k] = append(earlier[k], *x)
	}
}

// gated: an allow stood at the start's own position.
func (w *world) gated(log []told, i int64, submit *event.Event, sub *event.MessageSubmitted, d *event.HandoffStarted, x *write) {
	allowed := false
	why := "there is no allow before it"
	no := func(s string, args ...any) bool { why = fmt.Sprintf(s, args...); return false }
	ok := func(j int64) bool {
		e := log[j].e
		a, isA := e.Data.(*event.MessageDecided)
		if !isA || e.Message != submit.ID || a.Outcome != "allow" {
			return false
		}
		for _, o := range w.stood(log, submit.Subject, j) {
			if covers(o.reach, sub) && !(sub.Purpose == "compliance_reply" && (sub.Answers == o.id || sub.Answers == o.first)) {
				return no("at its allow an opt-out stood")
			}
		}
		for _, l := range log[j:i] {
			if l.e.Subject != submit.Subject || !l.first {
				continue
			}
			switch f := l.e.Data.(type) {
			case *event.OptedOut, *event.SuppressionLifted, *event.InboundHeld, *event.InboundJoined, *event.ReviewResolved, *event.MessageRecovered:
				return no("%s came between", l.e.Data.Type())
			case *event.InboundReceivedV2:
				if f.Holds != "" || f.Ask == event.InboundStop {
					return no("a STOP came between")
				}
			case *event.InboundReceived:
				if f.Revokes != nil || f.Holds != nil {
					return no("a STOP came between")
				}
			}
		}
		if inForce(log, i) != inForce(log, j) || e.Control != inForce(log, j) {
			return no("control changed between")
		}
		if a.Until.Before(d.CallBy) || a.Until.After(sub.ValidUntil) || !e.Time.Before(a.Until) {
			return no("its time ran out")
		}
		if !slices.Contains(a.Senders, string(x.h.From)) {
			return no("it was for another sender")
		}
		return true
	}
	for j := int64(0); j < i; j++ {
		allowed = allowed || ok(j)
	}
	if !allowed {
		w.fail("promise 2: the start at %d (of %s) is called, but %s", i, submit.ID, why)
	}
	for _, l := range log[:i] {
		if _, c := l.e.Data.(*event.CancelRequested); c && l.e.Message == submit.ID {
			w.fail("promise 2: the start at %d is called after a cancel at %d", i, l.i)
		}
		if _, r := l.e.Data.(*event.MessageRecovered); r && l.e.Message == submit.ID {
			w.fail("promise 3: the start at %d is called after the message was recovered at %d", i, l.i)
		}
	}
	reg := w.registry[inForce(log, i)]
	if reg.Paused(submit.Tenant, sub.Program, x.call.Grant.Account) != nil {
		w.fail("promise 2: the start at %d is called under a pause", i)
	}
	epoch, marked := reg.Epoch(), 0
	if epoch.Holds(submit.Tenant, sub.Program) {
		w.fail("promise 2: the start at %d is called, and its program was not released since epoch %d began", i, epoch.Number)
	}
	if epoch.Began != nil && submit.ID.Time().Before(epoch.At) {
		marked = epoch.Number
	}
	if d.Epoch != marked {
		w.fail("promise 3: the start at %d says epoch %d, and its message is from before epoch %d", i, d.Epoch, marked)
	}
	if r, _ := reg.Routes().Choose("US", sub.Program); r.Carrier != x.call.Grant.Account {
		w.fail("the start at %d is called at %s, its route is %s", i, x.call.Grant.Account, r.Carrier)
	}
	if !log[i].e.Time.Before(d.CallBy) || !x.local.Before(d.CallBy) {
		w.fail("promise 2: the start at %d is called at %s, its call_by was %s", i, x.local, d.CallBy)
	}
	// The hours may have opened by the clock of another node, which gave the allow.
	minute := func(t time.Time) int { return t.Hour()*60 + t.Minute() }
	if sub.Purpose == "marketing" && (minute(x.local.Add(recipient.ClockBound)) < opensAt || minute(x.local) >= closesAt) {
		w.fail("promise 2: the start at %d is called by night: %s", i, x.local)
	}
}

// atRest: nothing stays open without a reason, and nobody keeps what is not used.
func (w *world) atRest(fresh *node) {
	for _, st := range fresh.views.Streams(w.everyone()) {
		for _, m := range st.Messages {
			if m.Status.Open() {
				w.fail("%s is still %s after days", m.ID, m.Status)
			}
		}
		if len(st.Inbound) > 0 || slices.ContainsFunc(st.Asks, func(a recipient.Ask) bool { return a.Kind == recipient.AskLift }) {
			w.fail("an inbound message was not answered: %+v %+v", st.Inbound, st.Asks)
		}
	}
	if w.without != (rules{}) {
		return // it is the promises that must break
	}
	for _, n := range w.nodes {
		for a, d := range n.disp {
			if load := d.Load(); load.Grants+load.Slots > 0 || load.Waiting > 0 {
				w.fail("%s keeps in the queue of %s %+v", n.name, a, load)
			}
			if n.carrier[a].open+len(n.carrier[a].queue) != 0 {
				w.fail("%s has %d parts open at %s", n.name, n.carrier[a].open, a)
			}
		}
		if starts, grants, waiting, flying, appends := n.clerk.Idle(); starts+grants+waiting+flying+appends > 0 {
			w.fail("%s keeps %d starts, %d grants, %d waiting, %d proposals, %d appends", n.name, starts, grants, waiting, flying, appends)
		}
	}
}
