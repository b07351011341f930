package history

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// optOut is one reach of an opt-out, from where it came to where it ended.
type optOut struct {
	event   event.ID
	index   int64
	reach   event.Reach
	source  event.Source
	unclear bool
	part    bool // a part of a text, until the other parts came
	// known is when it became known here, and said when the person said so.
	known, said time.Time
	// ended is where it ended; -1: it stands. endedAt is when, and endedBy by which event.
	ended   int64
	endedAt time.Time
	endedBy event.ID
	endType event.Type
	// next is the newer opt-out of the same reach that took its place, if that is why it ended.
	next *optOut
	// prev is the older one that it repeats; nil: it repeats none.
	prev *optOut
}

// first is the one that it repeats, or that that one repeats, and so on.
func (o *optOut) first() *optOut {
	for o.prev != nil {
		o = o.prev
	}
	return o
}

// repeats is how many older ones it repeats.
func (o *optOut) repeats() (n int) {
	for ; o.prev != nil; o = o.prev {
		n++
	}
	return n
}

// last is what took its place in the end: what stands, or what ended.
func (o *optOut) last() *optOut {
	for o.next != nil {
		o = o.next
	}
	return o
}

// optOuts are all opt-outs of a stream, in order, and the reviews that its events opened and closed.
type optOuts struct {
	all     []*optOut
	byEvent map[event.ID][]*optOut
	changes map[int64]*recipient.Changes
	// complete: nothing was left out because there is too much. differs: what stands in the end is not
	// what the views have.
	complete, differs bool
}

// foldOptOuts works out which opt-outs stood when, by the same rule that messages are decided by. Which
// format level was in force is not among the events of a stream; the level is the one by which
// the fold comes out as the views have it.
func (b *book) foldOptOuts() error {
	b.opt = &optOuts{complete: len(b.others) <= mostFolded, byEvent: map[event.ID][]*optOut{}}
	if !b.opt.complete {
		return nil
	}
	var indexes []int64
	for _, e := range b.others {
		if e.Why == "" {
			indexes = append(indexes, e.Position.Index)
		}
	}
	two, one := newFolding(b.tenant, b.subject, 2), newFolding(b.tenant, b.subject, 1)
	if err := b.load(indexes, func(rec *ledger.Record) error {
		two.take(rec)
		one.take(rec)
		return nil
	}); err != nil {
		return err
	}
	best := two
	if !two.agrees(b.fold) && one.agrees(b.fold) {
		best = one
	}
	b.opt = &best.optOuts
	b.opt.complete, b.opt.differs = true, !best.agrees(b.fold)
	return nil
}

// folding folds the opt-outs of a stream by one format level.
type folding struct {
	optOuts
	rule  recipient.Rule
	state *recipient.State
	part  recipient.PartitionState
	now   map[event.ID]map[event.Reach]*optOut
}

func newFolding(tenant string, subject event.Pseudonym, level int) *folding {
	f := &folding{rule: recipient.Standard(), state: recipient.New(tenant, subject), part: recipient.PartitionState{Level: level},
		now: map[event.ID]map[event.Reach]*optOut{}}
	f.byEvent, f.changes = map[event.ID][]*optOut{}, map[int64]*recipient.Changes{}
	f.rule.Repeat = func(*recipient.State, *event.Event) bool { return false } // repeats were left out
	return f
}

func (f *folding) take(rec *ledger.Record) {
	e := rec.Event
	_, c := f.rule.EvolveAndCompare(f.state, &f.part, rec.Index, e)
	if c == nil {
		return
	}
	f.changes[rec.Index] = c
	var ended []*optOut
	for _, old := range c.Ended {
		if o := f.now[old.Event][old.Reach]; o != nil {
			o.ended, o.endedAt, o.endedBy, o.endType = rec.Index, e.Time, e.ID, e.Data.Type()
			delete(f.now[old.Event], old.Reach)
			ended = append(ended, o)
		}
	}
	for _, s := range c.Stands {
		o := &optOut{event: s.Event, index: rec.Index, reach: s.Reach, source: s.Source, unclear: s.Unclear, part: s.Part, known: e.Time, said: said(e), ended: -1}
		if f.now[s.Event] == nil {
			f.now[s.Event] = map[event.Reach]*optOut{}
		}
		f.now[s.Event][s.Reach] = o
		f.all = append(f.all, o)
		f.byEvent[s.Event] = append(f.byEvent[s.Event], o)
		for _, old := range ended {
			if old.reach == o.reach && old.next == nil {
				old.next = o
				if s.Repeats > 0 && !old.part && old.unclear == o.unclear {
					o.prev = old
				}
			}
		}
	}
}

// said is when the person said what an event is about.
func said(e *event.Event) time.Time {
	if d, ok := e.Data.(*event.OptedOut); ok && !d.Occurred.IsZero() {
		return d.Occurred
	}
	return e.Time
}

// agrees reports whether what stands in the end is what the views have.
func (f *folding) agrees(fold *recipient.State) bool {
	var theirs []recipient.OptOut
	if fold != nil {
		theirs = fold.OptOuts
	}
	return slices.EqualFunc(f.state.OptOuts, theirs, func(x, y recipient.OptOut) bool { return x.Event == y.Event && x.Reach == y.Reach })
}

// reason says why something could be handed off after an opt-out.
type reason int

const (
	disputed     reason = iota // nothing that is recorded allows it
	confirms                   // it is the confirmation of the opt-out
	helps                      // it answers a HELP
	onlyPlain                  // the words are not plain, and its purpose is stopped only by plain words
	uncovered                  // the opt-out does not cover it
	afterLift                  // the opt-out had ended
	countReasons               // how many reasons there are
)

// mostListed bounds the hand-offs that are listed after one opt-out.
const mostListed = 5

// After says what was handed off to carriers after an opt-out.
type After struct {
	Sentence string
	// Handoffs are the first of them, at most 5, and Count is how many there are.
	Handoffs []Handoff
	Count    int
	// Disputed says that nothing that is recorded explains one of them.
	Disputed bool
}

// Handoff is one that came after an opt-out.
type Handoff struct {
	Message event.ID
	Time    time.Time
	Carrier string
	// Why says why it was allowed.
	Why string
}

// following gathers what was handed off after an event, or after a moment.
type following struct {
	index   int64
	reaches []*optOut
	counts  [countReasons]int
	// unknown are the hand-offs that began after the person said so and before it was known here.
	unknown int
	first   []Handoff // newest first
}

// following are those of the events that opted out, by index.
func (o *optOuts) following(refs []ref) map[int64]*following {
	out := map[int64]*following{}
	for _, r := range refs {
		if r.message != nil || r.why != "" {
			continue
		}
		c := o.changes[r.index]
		if c == nil {
			continue
		}
		for _, s := range c.Stands {
			for _, x := range o.byEvent[s.Event] {
				if x.index != r.index || x.part {
					continue
				}
				if out[r.index] == nil {
					out[r.index] = &following{index: r.index}
				}
				if f := out[r.index]; !slices.Contains(f.reaches, x) {
					f.reaches = append(f.reaches, x)
				}
			}
		}
	}
	return out
}

// handed is a hand-off, and the decision that allowed it.
type handed struct {
	index    int64 // -1: not known, and no opt-out begins or ends near it
	at       time.Time
	message  *reading.Message
	carrier  string
	from     string
	decision *event.MessageDecided
	control  int64
}

// tally goes through all messages once and counts what was handed off after each of the opt-outs.
func (b *book) tally(all map[int64]*following) error {
	if len(all) == 0 {
		return nil
	}
	var err error
	walk := b.each(event.ID{}, func(m *reading.Message) bool {
		if len(m.Attempts) == 0 {
			return true
		}
		first, last := m.Events[0].Index, m.Events[len(m.Events)-1].Index
		known := m.Decisions == 1
		relevant := false
		for _, f := range all {
			relevant = relevant || f.index < last
			known = known && f.index < first
			for _, o := range f.reaches {
				if end := o.last().ended; end > first && end < last {
					known = false
				}
			}
		}
		if !relevant {
			for i := range m.Attempts {
				if a := &m.Attempts[i]; called(a) {
					for _, f := range all {
						f.before(a.StartedAt)
					}
				}
			}
			return true
		}
		var hs []handed
		if hs, err = b.handoffs(m, known); err != nil {
			return false
		}
		for _, f := range all {
			for i := range slices.Backward(hs) {
				h := &hs[i]
				if (h.index >= 0 && h.index > f.index) || (h.index < 0 && first > f.index) {
					f.add(b, h, first)
				} else {
					f.before(h.at)
				}
			}
		}
		return true
	})
	if err == nil {
		err = walk
	}
	return err
}

// handoffs are those of a message in which a carrier was called, or may have been. Where it matters
// which event came first they are read from the log.
func (b *book) handoffs(m *reading.Message, known bool) ([]handed, error) {
	calls := map[int]*reading.Attempt{}
	for i := range m.Attempts {
		if a := &m.Attempts[i]; called(a) {
			calls[a.Number] = a
		}
	}
	var out []handed
	if known {
		for i := range m.Attempts {
			if a := &m.Attempts[i]; calls[a.Number] != nil {
				out = append(out, handed{-1, a.StartedAt, m, a.Carrier, a.From, m.Decision.Data, m.Decision.Control})
			}
		}
		return out, nil
	}
	var indexes []int64
	for _, e := range m.Events {
		if e.Why == "" {
			indexes = append(indexes, e.Index)
		}
	}
	var decision *event.MessageDecided
	var under int64
	err := b.load(indexes, func(rec *ledger.Record) error {
		switch d := rec.Event.Data.(type) {
		case *event.MessageDecided:
			decision, under = d, rec.Event.Control
		case *event.HandoffStarted:
			if a := calls[d.Attempt]; a != nil && decision != nil {
				out = append(out, handed{rec.Index, rec.Event.Time, m, a.Carrier, a.From, decision, under})
			}
		}
		return nil
	})
	return out, err
}

// covers reports whether an opt-out of this reach covers a hand-off, as the policies see it; sure is false
// where the legal entity of the program is not known.
func (b *book) covers(r event.Reach, h *handed) (covers, sure bool) {
	switch r.Scope {
	case event.ScopeSender:
		return r.Name == h.from || r.Name == h.message.From, true
	case event.ScopeProgram:
		return r.Name == h.message.Program, true
	case event.ScopeLegalEntity:
		reg := b.p.Registry(h.control)
		if reg == nil || reg.Program(b.tenant, h.message.Program) == nil {
			return true, false
		}
		entity := reg.Program(b.tenant, h.message.Program).LegalEntity
		return r.Name == entity || control.EntityForm(r.Name) == control.EntityForm(entity), true
	}
	return true, true
}

// add counts a hand-off that came after the opt-out. first is where the message's events begin.
func (f *following) add(b *book, h *handed, first int64) {
	at := h.index
	if at < 0 {
		at = first // no opt-out begins or ends between the message's first event and its last
	}
	why, text := f.why(b, h, at)
	f.counts[why]++
	if len(f.first) == mostListed {
		f.first = f.first[1:] // the walk goes back in time: the last ones are the first
	}
	f.first = append(f.first, Handoff{h.message.ID, h.at, h.carrier, text})
}

// before counts a hand-off that came before the opt-out was known here, if the person had said so by then.
func (f *following) before(at time.Time) {
	if o := f.reaches[0]; o.said.Before(o.known) && !at.Before(o.said) {
		f.unknown++
	}
}

// why says why a hand-off was allowed after the opt-out.
func (f *following) why(b *book, h *handed, at int64) (reason, string) {
	var covering []*optOut
	sure := true
	for _, o := range f.reaches {
		c, s := b.covers(o.reach, h)
		sure = sure && s
		if c {
			covering = append(covering, o)
		}
	}
	if len(covering) == 0 {
		return uncovered, "The opt-out does not cover it: it is a message of the program " + h.message.Program + " as " + h.from + ", and the person opted out of " + reachesOf(f.reaches) + "."
	}
	stands := covering[:0:0]
	for _, o := range covering {
		if end := o.last().ended; end < 0 || end > at {
			stands = append(stands, o)
		}
	}
	if len(stands) == 0 {
		o := covering[0].last()
		return afterLift, "The opt-out had ended: " + b.ending(o) + "."
	}
	for _, c := range h.decision.Checks {
		if c.Check != "opt_out" || c.Outcome != event.Allow {
			continue
		}
		switch {
		case slices.Contains(c.Rules, "opt_out.confirmation"):
			return confirms, "It is the one confirmation of an opt-out, which may be sent (47 CFR 64.1200(a)(12))."
		case slices.Contains(c.Rules, "opt_out.help"):
			return helps, "It answers the person's HELP, which is answered after an opt-out too."
		case slices.Contains(c.Rules, "opt_out.not_plain") && !slices.ContainsFunc(stands, func(o *optOut) bool { return !o.unclear }):
			return onlyPlain, "The words were not plain, and messages of its purpose (" + h.message.Purpose + ") are stopped only by plain words."
		}
	}
	if !sure {
		return disputed, "In dispute: the legal entity of the program " + h.message.Program + " at that time is not known here."
	}
	return disputed, "In dispute: by what is recorded, the opt-out covers this message. Ask an operator to check the ledger (chirograph audit verify)."
}

// ending says how an opt-out ended.
func (c calendar) ending(o *optOut) string {
	how := "it was lifted on "
	switch o.endType {
	case "ReviewResolved.v1":
		how = "an officer resolved its review on "
	case "InboundJoined.v1", "OptedOut.v1":
		how = "what it was part of was read whole on "
	}
	return how + c.when(o.endedAt)
}

// words say what was handed off; nil for what is no opt-out.
func (f *following) words(b *book) *After {
	if f == nil {
		return nil
	}
	a := &After{Handoffs: slices.Clone(f.first), Disputed: f.counts[disputed] > 0}
	slices.Reverse(a.Handoffs)
	before := 0
	for why, n := range f.counts {
		a.Count += n
		if reason(why) != afterLift {
			before += n
		}
	}
	name := "this STOP"
	if !slices.ContainsFunc(f.reaches, func(o *optOut) bool { return !o.unclear }) {
		name = "these words"
	}
	if o := f.reaches[0]; o.said.Before(o.known) {
		name += " was known here"
	}
	var ended *optOut
	for _, o := range f.reaches {
		if l := o.last(); l.ended >= 0 && (ended == nil || l.ended > ended.ended) {
			ended = l
		}
	}
	lifted := ""
	if n := f.counts[afterLift]; n > 0 {
		lifted = " After it had ended (" + b.ending(ended) + "), " + count(n, "hand-off") + " began."
	}
	switch {
	case before == 0 && lifted == "":
		a.Sentence = "After " + name + " nothing was handed off to a carrier."
	case before == 0:
		a.Sentence = "After " + name + ", while it stood, nothing was handed off to a carrier." + lifted
	default:
		var parts []string
		for why, text := range []string{disputed: "in dispute: nothing that is recorded explains it", confirms: "the confirmation of an opt-out", helps: "an answer to HELP",
			onlyPlain: "of a purpose that only plain words stop", uncovered: "not covered by it"} {
			if n := f.counts[why]; n > 0 {
				parts = append(parts, are(n)+" "+text)
			}
		}
		a.Sentence = "After " + name + " " + count(before, "hand-off") + " to a carrier began: " + strings.Join(parts, "; ") + "." + lifted
	}
	if o := f.reaches[0]; o.said.Before(o.known) {
		n := "no hand-off"
		if f.unknown > 0 {
			n = count(f.unknown, "hand-off")
		}
		a.Sentence += " Between what was said (" + b.when(o.said) + ") and that, " + n + " began."
	}
	return a
}

// are is a number with its verb.
func are(n int) string {
	if n == 1 {
		return "1 is"
	}
	return strconv.Itoa(n) + " are"
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}
