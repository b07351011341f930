package nodetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// audit compares the ledger with what the message centre, the senders and the nodes know. Whether
// an event is effective, the fold says. The order of events is worked out here, from the log
// alone.
func (w *world) audit() {
	v := audit.New(checks...)
	v.AtRest = true
	w.events = map[event.Type]int{}
	keys := map[string]int{} // how many effective submits each tenant and key have
	texts := heard{at: map[string][]*event.Event{}, holds: map[event.ID][]*event.Event{}}
	byPartition := map[event.Partition][]fact{}
	for _, f := range w.facts {
		byPartition[f.at.Partition] = append(byPartition[f.at.Partition], f)
	}
	for _, s := range w.submits {
		if s.out != nil {
			p := s.out.Position.Partition
			byPartition[p] = append(byPartition[p], fact{"submit", s.out.ID, s.out.Position})
		}
	}
	seals := map[event.SealVersion]int{}
	all := []event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition}
	for p := range w.log.Partitions() {
		all = append(all, event.Partition(p))
	}
	for _, p := range all {
		records, err := w.all(p)
		if err != nil {
			w.bad("the ledger cannot be read: %v", err)
			return
		}
		for _, r := range records {
			v.Take(p, r.Index, r.Raw)
			w.events[r.Event.Data.Type()]++
		}
		if p == event.ControlPartition {
			w.reg = control.NewControl(nil)
			w.reg.Take(records)
		}
		f := &folded{w: w, p: p, records: records, why: make([]recipient.Why, len(records))}
		if p >= 0 {
			f.fold()
			f.calls()
			f.settled()
		}
		for _, x := range byPartition[p] {
			switch i := x.at.Index; {
			case i < 0 || i >= int64(len(records)):
				w.bad("the %s acknowledged at %s is not there: the ledger ends at %d", x.what, x.at, len(records))
			case !x.id.IsZero() && records[i].Event.ID != x.id:
				w.bad("the %s %s was acknowledged at %s, and %s stands there", x.what, x.id, x.at, records[i].Event.ID)
			case f.why[i] != "":
				w.bad("the %s acknowledged at %s is void: %s", x.what, x.at, f.why[i])
			}
		}
		for i, r := range records {
			if s := event.SealedIn(r.Event.Data); s != nil {
				seals[s.Version]++
			}
			if f.why[i] != "" {
				continue
			}
			if d, ok := r.Event.Data.(*event.MessageSubmitted); ok {
				keys[r.Event.Tenant+"\x00"+d.Key]++
			}
			texts.take(r.Event)
		}
	}
	if raised := w.o.Level == 0; raised != (seals[event.SealV2] > 0) || seals[event.SealV1] == 0 {
		w.bad("the level was raised half-way: %t; the events were sealed, by version: %v", raised, seals)
	}
	for _, s := range w.submits {
		switch n := keys[s.tenant+"\x00"+s.key]; {
		case s.out != nil && n != 1:
			w.bad("the submit %s was acknowledged, and stands %d times", s.out.ID, n)
		case s.refused && n > 0:
			w.bad("a submit was refused, and is in the ledger")
		case n > 1:
			w.bad("one submit became %d messages", n)
		}
	}
	for _, x := range w.centre.told {
		texts.check(w, x)
	}
	w.report = v.Finish()
	for _, f := range w.report.Findings {
		if f.Code == audit.StartEarly {
			continue // it was early by less than the clocks' bound, as calls has checked
		}
		w.bad("audit verify: %s, promise %d, %s: %s", f.Position, f.Promise, f.Code, f.Text)
	}
	for _, s := range w.servers {
		if s.views.differ != nil {
			w.bad("the views: %v", s.views.differ)
			break
		}
	}
	if void := w.report.Void; void[recipient.Overtaken] == 0 || w.o.Faults && void[recipient.Repeat] == 0 || len(w.centre.calls) == 0 {
		w.bad("the nodes did not meet: %d calls, void %v", len(w.centre.calls), void)
	}
	if w.journal.errors > 0 {
		w.bad("the nodes said %d times that something went wrong", w.journal.errors)
	}
}

// heard are the texts of handsets in the ledger.
type heard struct {
	at    map[string][]*event.Event   // those that have the words, by the octets
	holds map[event.ID][]*event.Event // what else was written of a text, by the event that has its words
}

func (h heard) take(e *event.Event) {
	words := func(s *event.Sealed) {
		var in event.Inbound
		if json.Unmarshal(s.Box, &in) == nil {
			h.at[string(in.Raw)] = append(h.at[string(in.Raw)], e)
		}
	}
	switch d := e.Data.(type) {
	case *event.InboundReceived:
		words(&d.Sealed)
	case *event.InboundReceivedV2:
		words(&d.Sealed)
	case *event.InboundHeld:
		h.holds[d.Inbound] = append(h.holds[d.Inbound], e)
	case *event.OptedOut:
		if d.Source == event.SourceHandset {
			h.holds[d.Answers] = append(h.holds[d.Answers], e)
		}
	}
}

// check looks for an acknowledged text where it must be, and where it must not be.
func (h heard) check(w *world, x *text) {
	if len(h.at[string(x.d.Raw)]) == 0 {
		w.bad("%q was acknowledged to the carrier, and is not in the ledger", x.d.Raw)
		return
	}
	mine := map[event.Pseudonym]bool{} // the streams of its writer, with the tenants that it may be for
	for _, t := range tenants {
		if x.number != "" && (x.to == t.sender || x.to == shared || x.to == unowned) {
			mine[Vault{}.Pseudonym(t.name, x.number)] = true
		}
	}
	stopped := map[event.Pseudonym]bool{}
	for _, e := range h.at[string(x.d.Raw)] {
		certain := x.number != "" && x.to != shared && x.to != unowned
		if certain != mine[e.Subject] || certain != (e.Tenant != "") {
			w.bad("%q from %s to %s is in a stream where it does not belong, of the tenant %q", x.d.Raw, x.d.From, x.to, e.Tenant)
		}
		stopped[e.Subject] = true
		for _, hold := range h.holds[e.ID] {
			if !mine[hold.Subject] {
				w.bad("%q from %s to %s holds a stream of the tenant %q where it does not belong", x.d.Raw, x.d.From, x.to, hold.Tenant)
			}
			stopped[hold.Subject] = true
		}
	}
	for s := range mine {
		if x.stops && !stopped[s] {
			w.bad("%q from %s to %s was acknowledged, and a stream that it may be meant for is neither stopped nor held", x.d.Raw, x.d.From, x.to)
		}
	}
}

// standing is an opt-out that stands in a stream, or a hold.
type standing struct {
	id    event.ID
	reach event.Reach
	// unclear says that it is held; a part, which waits for the other parts, has no place to give up.
	unclear, part bool
	to            string
	holds         event.HoldReason
	stream        event.Pseudonym
	first         event.ID // the first of those whose place it took
}

// stand are the opt-outs that stand in one stream.
type stand struct {
	level int
	all   []standing
}

func (s *stand) lift(ids []event.ID, reaches ...event.Reach) {
	s.all = slices.DeleteFunc(s.all, func(o standing) bool {
		return slices.Contains(ids, o.id) && (len(reaches) == 0 || slices.Contains(reaches, o.reach))
	})
}

// add adds an opt-out with those reaches. From level 2 on it takes the place of those of the same kind.
func (s *stand) add(o standing, level int, reaches ...event.Reach) {
	for _, o.reach = range reaches {
		next := o
		s.all = slices.DeleteFunc(s.all, func(old standing) bool {
			same := old
			if same.id, same.first = o.id, o.first; level < 2 || same != o || o.part {
				return false
			}
			if next.first = old.first; next.first.IsZero() {
				next.first = old.id
			}
			return true
		})
		s.all = append(s.all, next)
	}
}

// take follows one event.
func (s *stand) take(e *event.Event) {
	o := standing{id: e.ID}
	switch d := e.Data.(type) {
	case *event.OptedOut:
		s.lift(d.Lifts)
		o.unclear = d.Unclear
		s.add(o, s.level, d.Reach)
	case *event.InboundReceived:
		if o.unclear = d.Unclear; d.Revokes != nil {
			s.add(o, 1, *d.Revokes)
		}
		if o.unclear, o.part = true, true; d.Holds != nil {
			s.add(o, 1, *d.Holds)
		}
	case *event.InboundReceivedV2:
		o.unclear, o.part, o.to, o.holds = d.Holds != "", d.Holds == event.HoldPart, d.To, d.Holds
		if d.Unplaced == "" && (d.Holds != "" || d.Ask == event.InboundStop) {
			s.add(o, 2, d.Reaches...)
		}
	case *event.InboundHeld:
		o.unclear, o.to, o.stream = !d.Plain, d.To, d.Stream
		s.add(o, 2, d.Reaches...)
	case *event.InboundJoined:
		s.lift(d.Parts)
		o.unclear, o.to, o.holds = d.Holds != "", d.To, d.Holds
		if d.Holds != "" || d.Ask == event.InboundStop {
			s.add(o, 2, d.Reaches...)
		}
	case *event.SuppressionLifted:
		s.lift(d.Lifts, d.Reaches...)
	}
}

// folded is one partition, judged from its first event on.
type folded struct {
	w       *world
	p       event.Partition
	records []ledger.Record
	why     []recipient.Why
	streams map[event.Pseudonym]*recipient.State
}

// fold judges every event, and compares the nodes' folds with the log, up to the mark of each.
func (f *folded) fold() {
	part := recipient.PartitionState{Level: 1}
	f.streams = map[event.Pseudonym]*recipient.State{}
	marks := map[int64][]*server{}
	for _, s := range f.w.servers {
		next := s.views.Snapshot(f.p).Mark.Next
		marks[next] = append(marks[next], s)
	}
	for i, r := range f.records {
		e := r.Event
		if _, ok := e.Data.(*event.ControlApplied); ok {
			f.why[i] = part.Apply(e)
			part.Level = f.w.reg.At(part.Control).Level()
		} else {
			st := f.streams[e.Subject]
			if st == nil {
				st = recipient.New(e.Tenant, e.Subject)
				f.streams[e.Subject] = st
			}
			f.why[i] = st.Evolve(&part, r.Index, e)
		}
		for _, s := range marks[r.Index+1] {
			f.same(s, ledger.Mark{Next: r.Index + 1, Hash: sha256.Sum256(r.Raw), Partition: part})
		}
	}
}

// same checks that a node's views are the fold of the log up to their mark.
func (f *folded) same(s *server, want ledger.Mark) {
	got := s.views.Snapshot(f.p)
	if got.Mark != want {
		f.w.bad("%s has folded %s into %+v, the log says %+v", s.name, f.p, got.Mark, want)
		return
	}
	verdicts := s.views.verdicts[f.p]
	for i := range want.Next {
		if verdicts[i].why != f.why[i] {
			f.w.bad("%s judged the event at %s as %q, the log says %q", s.name, event.Position{Partition: f.p, Index: i}, verdicts[i].why, f.why[i])
			return
		}
	}
	if len(got.States) != len(f.streams) {
		f.w.bad("%s has %d streams of %s, the log has %d", s.name, len(got.States), f.p, len(f.streams))
	}
	gathered := got.Gathered(got.subjects())
	for subject, st := range f.streams {
		at := state(marshal(st)) // the fold of the log goes on
		if err := recipient.RowsOf(at).Gather(&want.Partition, nil); err != nil {
			panic(err)
		}
		if has, says := marshal(gathered[subject]), marshal(at); !bytes.Equal(has, says) {
			f.w.bad("%s has folded a stream of %s up to %d into\n%s\nthe log says\n%s", s.name, f.p, want.Next, has, says)
			return
		}
	}
}

func marshal(s *recipient.State) []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return raw
}

// start identifies a start, in the log and at a carrier.
type start struct {
	message event.ID
	attempt int
	node    string
	callBy  int64
}

func of(x *call) start { return start{x.h.Message, x.h.Attempt, x.node, x.h.CallBy.UnixMilli()} }

// part is a part of a message.
type part struct {
	message event.ID
	part    int
}

// calls checks each carrier call against its start, and against what comes before the start in
// the log.
func (f *folded) calls() {
	w := f.w
	called := map[start][]*call{}
	for _, x := range w.centre.calls {
		if x.h.Message.Partition() == int(f.p) {
			called[of(x)] = append(called[of(x)], x)
		}
	}
	stands := map[event.Pseudonym]*stand{}
	level := 1
	submits := map[event.ID]*event.MessageSubmitted{}
	cancelled := map[event.ID]int64{}
	taken := map[part]int64{}
	earlier := map[part][]*call{}
	seen := map[event.ID]bool{}
	for i, r := range f.records {
		e := r.Event
		if seen[e.ID] {
			continue // a copy
		}
		seen[e.ID] = true
		on := stands[e.Subject]
		if on == nil {
			on = &stand{}
			stands[e.Subject] = on
		}
		on.level = level
		on.take(e)
		switch d := e.Data.(type) {
		case *event.MessageSubmitted:
			submits[e.ID] = d
		case *event.CancelRequested:
			cancelled[e.Message] = r.Index
		case *event.ControlApplied:
			level = max(level, w.reg.At(d.Position).Level())
		case *event.HandoffAccepted:
			taken[part{e.Message, d.Part}] = r.Index
		case *event.HandoffStarted:
			k := start{e.Message, d.Attempt, e.Node, d.CallBy.UnixMilli()}
			if f.why[i] != "" || len(called[k]) == 0 {
				continue
			}
			at := event.Position{Partition: f.p, Index: r.Index}
			sub := submits[e.Message]
			if sub == nil {
				w.bad("a carrier was called for %s at %s, and its submit does not stand before it", e.Message, at)
				continue
			}
			for _, o := range on.all {
				if covers(o.reach, e.Tenant, sub) && (sub.Purpose != "compliance_reply" || sub.Answers != o.id && sub.Answers != o.first) {
					w.bad("a carrier was called for the start at %s (of %s) although the opt-out %s of %+v stands before it", at, e.Message, o.id, o.reach)
				}
			}
			// Another node may have made the allow, and its clock may be ahead.
			if early := sub.SendAt.Sub(e.Time); early > recipient.ClockBound {
				w.bad("a carrier was called for the start at %s (of %s), %s before the time that its sender asked for", at, e.Message, early)
			}
			if c, ok := cancelled[e.Message]; ok {
				w.bad("a carrier was called for the start at %s (of %s) after the cancel at %d", at, e.Message, c)
			}
			for _, x := range called[k] {
				f.call(x, called[k], at, d, sub, taken, earlier[part{e.Message, x.h.Part}])
				f.paused(x, at, e.Tenant, sub.Program)
			}
			for _, x := range called[k] {
				at := part{e.Message, x.h.Part}
				earlier[at] = append(earlier[at], x)
			}
			delete(called, k)
		}
	}
	for k, xs := range called {
		void := ""
		for i, r := range f.records {
			if d, ok := r.Event.Data.(*event.HandoffStarted); ok && r.Event.Message == k.message && d.Attempt == k.attempt && r.Event.Node == k.node {
				void = fmt.Sprintf(": the start at %d is void (%s)", r.Index, f.why[i])
			}
		}
		w.bad("%s called %s at %s for attempt %d of %s, for which no start of its own is effective%s",
			k.node, xs[0].account, xs[0].at.Format(time.StampMilli), k.attempt, k.message, void)
	}
}

// call checks the call for one part: no part is sent twice, unless its start says so or the
// carrier had refused it for the time being.
func (f *folded) call(x *call, all []*call, at event.Position, d *event.HandoffStarted, sub *event.MessageSubmitted, taken map[part]int64, earlier []*call) {
	w, n := f.w, x.h.Part
	if !slices.ContainsFunc(d.Parts, func(s event.StartedPart) bool { return s.Part == n }) {
		w.bad("a carrier was called with part %d of %s, which the start at %s does not have", n, x.h.Message, at)
	}
	if i, ok := taken[part{x.h.Message, n}]; ok {
		w.bad("part %d of %s was called for the start at %s, and the carrier's answer that it took it stands at %d", n, x.h.Message, at, i)
	}
	if slices.ContainsFunc(all, func(y *call) bool { return y != x && y.h.Part == n }) {
		w.bad("part %d of %s was called twice for the start at %s", n, x.h.Message, at)
	}
	for _, y := range earlier {
		if y.status != ledger.HandoffRetry && !(d.Duplicate && sub.PrefersDuplicate) {
			w.bad("part %d of %s was called again for the start at %s, which does not say that it may be a duplicate", n, x.h.Message, at)
		}
	}
}

// paused checks that no pause that was acknowledged covered the call.
func (f *folded) paused(x *call, at event.Position, tenant, program string) {
	for _, p := range f.w.pauses {
		if (p.tenant == "" || p.tenant == tenant) && (p.program == "" || p.program == program) && (p.carrier == "" || p.carrier == x.account) &&
			x.at.After(p.from) && (p.to.IsZero() || x.at.Before(p.to)) {
			f.w.bad("a carrier was called for the start at %s, %s after a pause of %+v was acknowledged", at, x.at.Sub(p.from), p.paused)
		}
	}
}

// covers reports whether an opt-out covers a message.
func covers(r event.Reach, tenant string, sub *event.MessageSubmitted) bool {
	switch r.Scope {
	case event.ScopeSender:
		return r.Name == sub.From
	case event.ScopeProgram:
		return r.Name == sub.Program
	case event.ScopeLegalEntity:
		return slices.ContainsFunc(tenants, func(t struct{ name, entity, sender string }) bool { return t.name == tenant && t.entity == r.Name })
	}
	return true
}

// settled checks that every answer of a carrier is in the ledger, and that every part of an
// effective start was answered, is in doubt, or was taken in another attempt.
func (f *folded) settled() {
	type handoff struct {
		part
		attempt int
	}
	var open []handoff
	by := map[handoff]string{} // the node that started it
	accepted, refused := map[handoff]string{}, map[handoff]bool{}
	over, doubt, took := map[handoff]bool{}, map[handoff]bool{}, map[part]bool{}
	for i, r := range f.records {
		if f.why[i] != "" {
			continue
		}
		m := r.Event.Message
		switch d := r.Event.Data.(type) {
		case *event.HandoffStarted:
			for _, s := range d.Parts {
				k := handoff{part{m, s.Part}, d.Attempt}
				open, by[k] = append(open, k), r.Event.Node
			}
		case *event.HandoffAccepted:
			k := handoff{part{m, d.Part}, d.Attempt}
			accepted[k], over[k], took[k.part] = d.Carrier+" "+d.CarrierID, true, true
		case *event.HandoffRefused:
			k := handoff{part{m, d.Part}, d.Attempt}
			refused[k], over[k] = d.Retry, true
		case *event.HandoffInDoubt:
			for _, n := range d.Parts {
				k := handoff{part{m, n}, d.Attempt}
				over[k], doubt[k] = true, true
			}
		case *event.ReceiptReceived:
			over[handoff{part{m, d.Part}, d.Attempt}], took[part{m, d.Part}] = true, true
		}
	}
	for _, k := range open {
		if !over[k] && !took[k.part] {
			f.w.bad("part %d of attempt %d of %s is neither answered nor in doubt", k.part.part, k.attempt, k.message)
		}
	}
	for _, x := range f.w.centre.calls {
		if x.h.Message.Partition() != int(f.p) {
			continue
		}
		k := handoff{part{x.h.Message, x.h.Part}, x.h.Attempt}
		delete(doubt, k)
		retry, no := refused[k]
		lost := false
		switch x.status {
		case ledger.HandoffTaken:
			lost = accepted[k] != x.account+" "+x.id
		case ledger.HandoffRetry, ledger.HandoffFinal:
			lost = !no || retry != (x.status == ledger.HandoffRetry)
		}
		if lost {
			f.w.bad("what %s answered %s of part %d, attempt %d of %s is not in the ledger", x.account, x.node, x.h.Part, x.h.Attempt, x.h.Message)
		}
	}
	// A node that will not call the carrier for a start that it proposed records that, even if
	// late.
	for k := range doubt {
		if _, said := refused[k]; said {
			continue
		}
		f.w.counts["in doubt and not called"]++
		if !f.w.o.Faults {
			f.w.bad("nothing failed, and part %d of attempt %d of %s, which %s started, is in doubt and no carrier was called", k.part.part, k.attempt, k.message, by[k])
		}
	}
}

// sum describes the run in figures.
func (w *world) sum() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of requests, and %s until all had come to rest and stopped", w.drove.Round(100*time.Millisecond), w.atRest.Round(100*time.Millisecond))
	list := func(name string, m map[string]int) {
		fmt.Fprintf(&b, "\n%s:", name)
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, " %s %d;", k, m[k])
		}
	}
	list("asked", w.counts)
	events := map[string]int{}
	for t, n := range w.events {
		events[t.Name()] = n
	}
	list("events", events)
	calls := map[string]int{}
	for _, x := range w.centre.calls {
		calls[[]string{"unknown", "taken", "retry", "final", "not called"}[x.status]]++
		calls["by "+x.node]++
	}
	list("calls", calls)
	if w.report != nil {
		void, messages := map[string]int{}, map[string]int{}
		for k, n := range w.report.Void {
			void[string(k)] = int(n)
		}
		for k, n := range w.report.Messages {
			messages[string(k)] = int(n)
		}
		list("void", void)
		list("messages", messages)
	}
	met := map[string]int{}
	for _, s := range w.servers {
		for k, n := range s.line.met {
			met[k] += n
		}
	}
	list("faults", met)
	if w.o.Shared {
		fmt.Fprintf(&b, "\nshared views: %d batches of which another node had written some, %d times outrun", w.servers[0].views.trimmed, w.journal.outrun)
	}
	return b.String()
}
