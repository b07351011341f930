package recipient

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/event"
)

// newStream2 is a stream of a ledger of format level 2.
func newStream2(t testing.TB) *stream {
	x := newStream(t)
	x.p.Level = 2
	return x
}

func entities(names ...string) (out []event.Reach) {
	for _, n := range names {
		out = append(out, event.Reach{Scope: event.ScopeLegalEntity, Name: n})
	}
	return out
}

// said is a text to one of our numbers, of which the adapter had read all that there is.
func (x *stream) said(ask event.InboundAsk, to string, names ...string) *event.InboundReceivedV2 {
	d := &event.InboundReceivedV2{Account: "c1", To: to, Ask: ask, Programs: []string{"news"}, Reaches: entities(names...), Read: x.index,
		Sealed: event.Sealed{SubjectKey: event.ID{7}}}
	if ask == event.InboundUnclear {
		d.Holds = event.HoldUnclear
	}
	return d
}

// piece2 is a part of a text at format level 2.
func (x *stream) piece2(ref, part, parts int, names ...string) *event.InboundReceivedV2 {
	d := x.said(event.InboundPart, "+1500", names...)
	d.Holds, d.Concat = event.HoldPart, &event.Concat{Reference: ref, Part: part, Parts: parts}
	return d
}

func (x *stream) held(plain bool, stream byte, names ...string) *event.InboundHeld {
	return &event.InboundHeld{Inbound: event.ID{byte(x.index + 100)}, Stream: event.Pseudonym{stream}, Account: "c1", To: "+1500", Reaches: entities(names...),
		Unplaced: event.UnplacedShared, Plain: plain}
}

// stands are the opt-outs that stand, in words and in order of what they reach.
func (x *stream) stands() string {
	var out []string
	for _, o := range x.s.OptOuts {
		how := ""
		switch {
		case o.Part:
			how = " part"
		case o.Unclear:
			how = " " + string(o.Holds) + "?"
		}
		out = append(out, o.Reach.Name+how)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// reviews are the reviews that are open, in words.
func (x *stream) reviews() string {
	var out []string
	for _, r := range x.s.OpenReviews() {
		out = append(out, fmt.Sprintf("%s %d", r.Kind, r.Repeats))
	}
	return strings.Join(out, ", ")
}

func (x *stream) is(stands, reviews string) {
	x.t.Helper()
	if got := x.stands(); got != stands {
		x.t.Errorf("there stands %q, not %q", got, stands)
	}
	if got := x.reviews(); got != reviews {
		x.t.Errorf("under review is %q, not %q", got, reviews)
	}
}

// ask is the one ask of a kind; nil if there is none.
func (x *stream) ask(kind AskKind) *Ask {
	for i := range x.s.Asks {
		if x.s.Asks[i].Kind == kind {
			return &x.s.Asks[i]
		}
	}
	return nil
}

// lift lands the lift that a START asks for.
func (x *stream) lift() {
	x.t.Helper()
	a := x.ask(AskLift)
	if a == nil {
		x.t.Fatal("no START asks for a lift")
	}
	x.must(event.ID{}, &event.SuppressionLifted{Lifts: slices.Clone(a.Lifts), Source: event.SourceHandset, Answers: a.Inbound})
	if x.ask(AskLift) != nil {
		x.t.Error("the lift is asked for once more")
	}
}

func (x *stream) allowed(m event.ID) {
	x.t.Helper()
	x.must(m, x.allow(m))
	if !x.allowStands(m) {
		x.t.Fatal("the allow does not stand")
	}
}

// deferred is a message that is deferred for an hour.
func (x *stream) deferred() event.ID {
	m := x.submit(nil)
	x.must(m, &event.MessageDecided{Outcome: "defer", Until: x.now.Add(time.Hour)})
	x.status(m, Deferred)
	return m
}

func (x *stream) due(m event.ID, want bool) {
	x.t.Helper()
	if got := x.s.Message(m).Due.IsZero(); got != want {
		x.t.Errorf("the deferred message is due: %v", got)
	}
}

func none() event.ID { return event.ID{} }

func TestStopOfSeveralEntities(t *testing.T) {
	x := newStream2(t)
	m := x.submit(nil)
	x.allowed(m)
	id := x.must(none(), x.said("stop", "+1500", "Acme", "Loans"))
	if x.allowStands(m) {
		t.Error("an allow stands behind a STOP")
	}
	x.is("Acme, Loans", "")
	for _, o := range x.s.OptOuts {
		if o.Event != id || o.To != "+1500" || o.Source != event.SourceHandset || o.Unclear || o.Index != x.index-1 {
			t.Errorf("%+v", o)
		}
	}
	if x.s.Key != (event.ID{7}) {
		t.Errorf("the key is %s", x.s.Key)
	}
}

// I4: a START ends what was stopped through the number that it was sent to, and nothing else.
func TestStartToAnotherNumber(t *testing.T) {
	x := newStream2(t)
	x.must(none(), x.said("stop", "+1500", "Acme"))
	x.must(none(), x.said("start", "+1600", "Acme"))
	if x.ask(AskLift) != nil {
		t.Error("a START to another number lifts")
	}
	x.is("Acme", "start 0")
	x.must(none(), x.said("stop", "+1600", "Acme")) // beside that of the other number
	x.is("Acme, Acme", "start 0")
	x.must(none(), x.said("start", "+1600", "Acme"))
	x.lift()
	x.is("Acme", "start 0")
	if x.s.OptOuts[0].To != "+1500" {
		t.Error("the STOP to the other number is lifted")
	}
}

func TestStartLifts(t *testing.T) {
	stop := func(x *stream) event.ID { return x.must(none(), x.said("stop", "+1500", "Acme", "Loans")) }
	for name, c := range map[string]struct {
		stands, reviews string
		run             func(x *stream)
	}{
		"all that one STOP stopped":  {"", "", func(x *stream) { stop(x); x.must(none(), x.said("start", "+1500", "Acme", "Loans")); x.lift() }},
		"a START, and nothing stood": {"", "", func(x *stream) { x.must(none(), x.said("start", "+1500", "Acme")) }},
		"a STOP came where its adapter had not read": {"Acme, Loans", "start 0", func(x *stream) {
			stop(x)
			d := x.said("start", "+1500", "Acme", "Loans")
			stop(x)
			x.must(none(), d)
		}},
		"a STOP to another number came where its adapter had not read": {"Acme", "", func(x *stream) {
			stop(x)
			d := x.said("start", "+1500", "Acme", "Loans")
			x.must(none(), x.said("stop", "+1600", "Acme"))
			x.must(none(), d)
			x.lift()
		}},
		"what is held since, unclear, is lifted with it": {"", "", func(x *stream) {
			stop(x)
			x.must(none(), x.said("unclear", "+1500", "Acme"))
			x.must(none(), x.said("start", "+1500", "Acme", "Loans"))
			x.lift()
		}},
		"an officer's for that sender": {"", "", func(x *stream) {
			x.must(none(), &event.OptedOut{Reach: event.Reach{Scope: event.ScopeSender, Name: "+1500"}, Source: "phone"})
			x.must(none(), x.said("start", "+1500", "Acme"))
			x.lift()
		}},
		"an officer's for the entity stays": {"Acme", "start 0", func(x *stream) {
			x.must(none(), &event.OptedOut{Reach: entities("Acme")[0], Source: "phone"})
			x.must(none(), x.said("start", "+1500", "Acme"))
		}},
		"an officer's for the tenant stays": {"", "start 0", func(x *stream) {
			x.must(none(), &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "letter"})
			x.must(none(), x.said("start", "+1500", "Acme"))
		}},
		"what an operator's stream holds stays": {"Acme held?", "held 0, start 0", func(x *stream) {
			x.must(none(), x.held(false, 1, "Acme"))
			x.must(none(), x.said("start", "+1500", "Acme"))
		}},
		"a part that waits stays": {"Acme part", "", func(x *stream) {
			x.must(none(), x.piece2(1, 1, 2, "Acme"))
			x.must(none(), x.said("start", "+1500", "Acme"))
		}},
		"a repeat, after another STOP": {"Acme, Loans", "start 0", func(x *stream) {
			stop(x)
			d := x.said("start", "+1500", "Acme", "Loans")
			d.Digest = "d1"
			x.must(none(), d)
			x.lift()
			stop(x)
			again := *d
			again.Read = x.index
			x.must(none(), &again)
			if x.ask(AskLift) != nil {
				x.t.Error("a START that the carrier delivers twice lifts a later STOP")
			}
		}},
		"a repeat, and nothing stands": {"", "", func(x *stream) {
			stop(x)
			d := x.said("start", "+1500", "Acme", "Loans")
			d.Digest = "d1"
			x.must(none(), d)
			x.lift()
			x.must(none(), d)
		}},
		"a new START after another STOP": {"", "", func(x *stream) {
			for i := range 3 {
				stop(x)
				d := x.said("start", "+1500", "Acme", "Loans")
				d.Digest = fmt.Sprint(i)
				x.must(none(), d)
				x.lift()
			}
		}},
		"the same octets a day later are a new START": {"", "", func(x *stream) {
			for range 2 {
				stop(x)
				d := x.said("start", "+1500", "Acme", "Loans")
				d.Digest = "d1"
				x.must(none(), d)
				x.lift()
				x.pass(copiesWithin + time.Second)
			}
		}},
		"joined parts say START": {"", "", func(x *stream) {
			stop(x)
			a := x.must(none(), x.piece2(1, 1, 2, "Acme", "Loans"))
			b := x.must(none(), x.piece2(1, 2, 2, "Acme", "Loans"))
			x.must(none(), &event.InboundJoined{Parts: []event.ID{a, b}, To: "+1500", Ask: "start", Programs: []string{"news"}, Reaches: entities("Acme", "Loans"), Read: x.index - 2})
			x.lift()
		}},
		"in the end it lifts none": {"Acme", "start 0", func(x *stream) {
			x.must(none(), inbound("stop", 0))
			start := x.must(none(), x.said("start", "+1500", "Acme"))
			x.must(none(), &event.SuppressionLifted{Answers: start}) // the STOP came to another number
		}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream2(t)
			c.run(x)
			x.is(c.stands, c.reviews)
		})
	}
}

// Opt-outs from before format level 2 do not say to which number they came: a START names their
// positions, and the clerk lifts only those that came to its number.
func TestStartAfterOlderStops(t *testing.T) {
	x := newStream2(t)
	one := x.must(none(), inbound("stop", 0))
	two := x.must(none(), inbound("stop", 0))
	other := inbound("stop", 0)
	other.Revokes = &event.Reach{Scope: event.ScopeLegalEntity, Name: "Collections"}
	three := x.must(none(), other)
	new1 := x.must(none(), x.said("stop", "+1500", "Acme"))
	start := x.must(none(), x.said("start", "+1500", "Acme"))
	a := x.ask(AskLift)
	if a == nil || !slices.Equal(a.Lifts, []event.ID{one, two, new1}) || !slices.Equal(a.Unsure, []int64{0, 1}) || a.Inbound != start || a.To != "+1500" {
		t.Fatalf("it asks for %+v", a)
	}
	x.must(none(), &event.SuppressionLifted{Lifts: []event.ID{two, new1}, Answers: start})
	if x.is("Acme, Collections", ""); x.s.OptOuts[0].Event != one || x.s.OptOuts[1].Event != three {
		t.Errorf("%+v", x.s.OptOuts)
	}
}

// I10: what parts hold ends when they are joined, copies too.
func TestPartsAndCopies(t *testing.T) {
	for name, c := range map[string]struct {
		stands, reviews string
		ask             event.InboundAsk
		holds           event.HoldReason
	}{
		"they say nothing that is known": {"", "", event.InboundNone, ""},
		"they say STOP":                  {"Acme, Loans", "", event.InboundStop, ""},
		"they are unclear":               {"Acme unclear?, Loans unclear?", "unclear 0", event.InboundUnclear, event.HoldUnclear},
		"one never came":                 {"Acme unreadable?, Loans unreadable?", "unreadable 0", event.InboundUnclear, event.HoldUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream2(t)
			m := x.deferred()
			one := x.must(none(), x.piece2(1, 1, 2, "Acme", "Loans"))
			copy1 := x.must(none(), x.piece2(1, 1, 2, "Acme", "Loans"))
			x.is("Acme part, Acme part, Loans part, Loans part", "")
			_, copies, _ := x.s.Joins(x.now)
			if len(copies) != 1 || copies[0].Event != copy1 || !slices.Equal(copies[0].Of, []int64{2}) {
				t.Fatalf("copies: %+v", copies)
			}
			two := x.must(none(), x.piece2(1, 2, 2, "Acme", "Loans"))
			whole, _, _ := x.s.Joins(x.now)
			if len(whole) != 1 || !slices.Equal(whole[0].Parts, []int64{2, 4}) || !slices.Equal(whole[0].Holds, []event.ID{one, two}) ||
				!slices.Equal(whole[0].Reaches, entities("Acme", "Loans")) || !whole[0].V2 || whole[0].To != "+1500" || whole[0].Read != 2 || !slices.Equal(whole[0].Programs, []string{"news"}) {
				t.Fatalf("joined: %+v", whole)
			}
			x.due(m, false)
			x.must(none(), &event.SuppressionLifted{Lifts: []event.ID{copy1}, Source: event.SourceJoined, Answers: copy1})
			x.due(m, true)
			m = x.deferred()
			x.due(m, false)
			x.must(none(), &event.InboundJoined{Parts: whole[0].Holds, To: "+1500", Ask: c.ask, Holds: c.holds, Reaches: whole[0].Reaches, Programs: whole[0].Programs, Read: whole[0].Read})
			x.is(c.stands, c.reviews)
			x.due(m, true)
			// A copy that comes now is told by the positions of the parts that were joined.
			late := x.must(none(), x.piece2(1, 2, 2, "Acme", "Loans"))
			whole, copies, _ = x.s.Joins(x.now)
			if len(whole) != 0 || len(copies) != 1 || copies[0].Event != late || !slices.Equal(copies[0].Of, []int64{4}) {
				t.Fatalf("late: %+v, copies %+v", whole, copies)
			}
			x.must(none(), &event.SuppressionLifted{Lifts: []event.ID{late}, Source: event.SourceJoined, Answers: late})
			other := x.must(none(), x.piece2(1, 3, 2, "Acme")) // no part of it had that number
			if _, copies, _ = x.s.Joins(x.now); len(copies) != 0 {
				t.Fatalf("copies: %+v", copies)
			}
			x.must(none(), &event.SuppressionLifted{Lifts: []event.ID{other}, Source: event.SourceJoined, Answers: other})
			x.is(c.stands, c.reviews)
			if len(x.s.Inbound) != 0 {
				t.Errorf("there wait %+v", x.s.Inbound)
			}
			for _, o := range x.s.OptOuts {
				if o.Source != event.SourceJoined || o.To != "+1500" {
					t.Errorf("%+v", o)
				}
			}
			x.pass(copiesWithin + time.Second)
			x.must(none(), x.piece2(1, 2, 2, "Acme"))
			if _, copies, _ := x.s.Joins(x.now); len(copies) != 0 {
				t.Errorf("a day later a part is a copy: %+v", copies)
			}
		})
	}
}

// A message whose parts came before and after the raise is joined as one of level 2, and reaches all that
// they held.
func TestPartsAcrossLevels(t *testing.T) {
	for _, old := range []int{1, 2} { // which of them came before
		x := newStream2(t)
		one := x.must(none(), piece(1, old, 2))
		two := x.must(none(), x.piece2(1, 3-old, 2, "Acme", "Loans"))
		whole, _, _ := x.s.Joins(x.now)
		if len(whole) != 1 || !whole[0].V2 || !slices.Equal(whole[0].Holds, []event.ID{one, two}) || !slices.Equal(whole[0].Reaches, entities("Acme", "Loans")) ||
			whole[0].To != "+1500" || !slices.Equal(whole[0].Programs, []string{"news"}) {
			t.Fatalf("%+v", whole)
		}
	}
}

func TestHeld(t *testing.T) {
	x := newStream2(t)
	m := x.submit(nil)
	x.allowed(m)
	plain := x.must(none(), x.held(true, 1, "Acme", "Loans"))
	if x.allowStands(m) {
		t.Error("an allow stands behind a hold")
	}
	x.is("Acme, Loans", "")
	hold := x.must(none(), x.held(false, 1, "Acme"))
	x.is("Acme, Acme held?, Loans", "held 0")
	if r := x.s.OpenReviews()[0]; r.Event != hold || r.Stream != (event.Pseudonym{1}) || r.To != "+1500" || r.Index != x.index-1 {
		t.Errorf("%+v", r)
	}
	x.must(none(), x.held(false, 2, "Acme")) // another stream of the operator's: a review of its own
	x.is("Acme, Acme held?, Acme held?, Loans", "held 0, held 0")
	x.must(none(), x.held(false, 1, "Acme")) // the same stream: it takes the place
	x.is("Acme, Acme held?, Acme held?, Loans", "held 0, held 1")
	d := x.deferred()
	x.must(none(), &event.ReviewResolved{Review: x.s.OpenReviews()[0].Event, As: event.ReviewClear})
	x.due(d, true)
	x.is("Acme, Acme held?, Loans", "held 1")
	if x.s.OptOuts[0].Event != plain && x.s.OptOuts[1].Event != plain {
		t.Error("what was plain is cleared")
	}
}

// I5 and I7: an officer says what a message was. What stands plainly beside it stays.
func TestReviewResolved(t *testing.T) {
	for name, c := range map[string]struct {
		as     event.ReviewOutcome
		reach  []event.Reach
		stands string
	}{
		"it was a revocation": {event.ReviewStop, entities("Acme", "Loans"), "Acme, Acme, Loans, Loans"},
		"it was one of less":  {event.ReviewNarrow, []event.Reach{{Scope: event.ScopeProgram, Name: "news"}}, "Acme, Loans, news"},
		"it was none":         {event.ReviewClear, nil, "Acme, Loans"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream2(t)
			x.must(none(), x.said("stop", "+1600", "Acme", "Loans"))
			unclear := x.must(none(), x.said("unclear", "+1500", "Acme", "Loans"))
			x.is("Acme, Acme unclear?, Loans, Loans unclear?", "unclear 0")
			m := x.deferred()
			x.must(none(), &event.ReviewResolved{Review: unclear, As: c.as, Reaches: c.reach, By: "key"})
			x.is(c.stands, "")
			x.due(m, true)
			for _, o := range x.s.OptOuts {
				if o.Source == event.SourceReview && (o.To != "+1500" || o.Unclear || o.Index != x.index-1) {
					t.Errorf("%+v", o)
				}
			}
			x.allowed(x.submit(nil))
			x.must(none(), &event.ReviewResolved{Review: unclear, As: event.ReviewClear}) // it is resolved already
			x.is(c.stands, "")
		})
	}
	x := newStream2(t)
	stop := x.must(none(), x.said("stop", "+1500", "Acme"))
	x.must(none(), &event.ReviewResolved{Review: stop, As: event.ReviewClear})
	x.is("Acme", "") // what is plain is not under review
}

// Before format level 2 an unclear opt-out is under review too, and is resolved in the same way.
func TestOlderReviews(t *testing.T) {
	x := newStream(t)
	d := inbound("stop", 0)
	d.Ask, d.Unclear = event.InboundUnclear, true
	id := x.must(none(), d)
	x.must(none(), piece(1, 1, 2))
	x.is("Acme ?, Acme part", "unclear 0")
	if r := x.s.OpenReviews()[0]; !r.Since.Equal(x.now) || r.Event != id {
		t.Errorf("%+v", r)
	}
	x.p.Level = 2
	x.must(none(), &event.ReviewResolved{Review: id, As: event.ReviewClear})
	x.is("Acme part", "")
}

// A stream of the operator: what is there stops nothing, and waits for an officer.
func TestUnplaced(t *testing.T) {
	x := newStream2(t)
	d := x.said("stop", "+1500")
	d.Unplaced, d.Programs, d.Streams = event.UnplacedAmbiguous, nil, []event.HeldStream{{Tenant: "acme", Subject: event.Pseudonym{5}, Event: event.ID{6}}}
	last := x.s.Last
	first := x.must(none(), d)
	x.is("", "unplaced 0")
	if x.s.Last != last || len(x.s.Asks) != 0 {
		t.Error("it changes decisions, or wants an answer")
	}
	x.pass(time.Hour)
	d2 := *d
	d2.Streams = []event.HeldStream{{Tenant: "acme", Subject: event.Pseudonym{5}, Event: event.ID{7}}}
	second := x.must(none(), &d2) // the same streams: it takes the place
	x.is("", "unplaced 1")
	r := x.s.OpenReviews()[0]
	if r.Event != second || !r.Since.Equal(t0) || len(r.Streams) != 1 || r.Streams[0].Event != (event.ID{7}) || r.Unplaced != event.UnplacedAmbiguous || r.To != "+1500" {
		t.Errorf("%+v", r)
	}
	d3 := *d
	d3.Unplaced, d3.Streams = event.UnplacedUnowned, nil
	x.must(none(), &d3)
	x.is("", "unplaced 1, unplaced 0")
	part := x.piece2(1, 1, 2)
	part.Unplaced = event.UnplacedUnreadable
	x.must(none(), part) // a part of an unplaced message is not joined
	if x.is("", "unplaced 1, unplaced 0, unplaced 0"); len(x.s.Inbound) != 0 {
		t.Error("it waits for other parts")
	}
	x.must(none(), &event.ReviewResolved{Review: first, As: event.ReviewClear}) // the older one is not the review's name
	x.is("", "unplaced 1, unplaced 0, unplaced 0")
	x.must(none(), &event.ReviewResolved{Review: second, As: event.ReviewPlace, Placed: event.ID{8}})
	x.is("", "unplaced 0, unplaced 0")
	last = x.s.Last
	x.must(none(), &event.ReviewRead{Review: second})
	if x.s.Last != last {
		t.Error("to read words changes decisions")
	}
}

// The state does not grow with what a person says.
func TestManyTexts(t *testing.T) {
	const many = 10_000
	for name, f := range map[string]func(x *stream) event.Data{
		"STOP":     func(x *stream) event.Data { return x.said("stop", "+1500", "Acme", "Loans") },
		"unclear":  func(x *stream) event.Data { return x.said("unclear", "+1500", "Acme", "Loans") },
		"held":     func(x *stream) event.Data { return x.held(false, 1, "Acme") },
		"plain":    func(x *stream) event.Data { return x.held(true, 1, "Acme") },
		"unplaced": func(x *stream) event.Data { d := x.said("stop", "+1500"); d.Unplaced = event.UnplacedShared; return d },
		"officer's": func(*stream) event.Data {
			return &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "phone"}
		},
		"START": func(x *stream) event.Data { d := x.said("start", "+1500"); d.Digest = fmt.Sprint(x.index); return d },
		"HELP":  func(x *stream) event.Data { return x.said("help", "+1500", "Acme") },
		"joined": func(x *stream) event.Data {
			return &event.InboundJoined{To: "+1500", Ask: "stop", Reaches: entities("Acme")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newStream2(t)
			size := func() int {
				s := *x.s
				s.Remembered = nil // within a day every event is remembered, to tell repeats
				raw := (&stream{t: t, s: &s}).json()
				return len(raw)
			}
			var few int
			for i := range many {
				e := x.make(none(), f(x))
				e.ID = event.ID{0: 2, 12: byte(i >> 16), 13: byte(i >> 8), 14: byte(i)}
				if why := x.put(e); why != "" {
					t.Fatal(why)
				}
				x.pass(time.Hour)
				if i == 40 {
					few = size()
				}
			}
			if n := size(); n > few+64 {
				t.Errorf("%d bytes, and %d after 40", n, few)
			}
			for _, o := range x.s.OptOuts {
				if o.Repeats != many-1 || !o.Known.Equal(t0) {
					t.Errorf("%d repeats, known since %s", o.Repeats, o.Known)
				}
			}
			for _, r := range x.s.Reviews {
				if r.Repeats != many-1 || !r.Since.Equal(t0) {
					t.Errorf("%d repeats, since %s", r.Repeats, r.Since)
				}
			}
		})
	}
}

// A text that an officer places was said when it came, and a lift of one reach leaves the others.
func TestPlacedLater(t *testing.T) {
	x := newStream2(t)
	x.p.Level = 3
	came := x.now
	unplaced := event.NewID(came)
	x.pass(time.Hour)
	d := x.said("stop", "+1500", "Acme", "Loans")
	d.Places = unplaced
	e := x.make(none(), d)
	if why := x.put(e); why != "" {
		t.Fatal(why)
	}
	for _, o := range x.s.OptOuts {
		if !o.Occurred.Equal(came.Truncate(time.Millisecond)) || !o.Known.After(o.Occurred) {
			t.Errorf("said at %s, known at %s", o.Occurred, o.Known)
		}
	}
	lift := x.make(none(), &event.SuppressionLifted{Lifts: []event.ID{e.ID}, Reaches: entities("Acme"), Source: "phone"})
	if why := x.put(lift); why != "" || len(x.s.OptOuts) != 1 || x.s.OptOuts[0].Reach.Name != "Loans" || x.s.OptOuts[0].To != "+1500" {
		t.Errorf("%s, %+v", why, x.s.OptOuts)
	}
}

// Nor does it within a day: of the facts of a day the last 512 are remembered, from format level 3 on.
func TestManyTextsInADay(t *testing.T) {
	for _, c := range []struct{ level, most int }{{2, 10_000}, {3, mostRemembered}} {
		x := newStream2(t)
		x.p.Level = c.level
		for i := range 10_000 {
			e := x.make(none(), x.said("stop", "+1500", "Acme"))
			e.ID = event.ID{0: 2, 12: byte(i >> 16), 13: byte(i >> 8), 14: byte(i)}
			if why := x.put(e); why != "" {
				t.Fatal(why)
			}
			if why := x.put(e); why != Repeat {
				t.Fatalf("a copy is %q", why)
			}
			x.pass(5 * time.Second)
		}
		if n := len(x.s.Remembered); n != c.most {
			t.Errorf("at level %d, %d facts are remembered", c.level, n)
		}
	}
}

// An opt-out takes the place of one of the same kind only.
func TestReplaces(t *testing.T) {
	x := newStream2(t)
	old := x.now.Add(-time.Hour)
	x.must(none(), &event.OptedOut{Reach: entities("Acme")[0], Source: "letter", Occurred: x.now})
	x.must(none(), &event.OptedOut{Reach: entities("Acme")[0], Source: "letter", Occurred: old})
	x.must(none(), &event.OptedOut{Reach: entities("Acme")[0], Source: "letter"})
	if x.is("Acme", ""); !x.s.OptOuts[0].Occurred.Equal(old) || x.s.OptOuts[0].Repeats != 2 || x.s.OptOuts[0].First != x.log[0].ID {
		t.Errorf("%+v", x.s.OptOuts[0])
	}
	x.must(none(), x.said("stop", "+1500", "Acme"))
	x.must(none(), x.said("stop", "+1600", "Acme"))
	x.must(none(), x.said("unclear", "+1500", "Acme"))
	d := x.said("unclear", "+1500", "Acme")
	d.Holds = event.HoldUnreadable
	x.must(none(), d)
	x.must(none(), x.held(true, 1, "Acme"))
	x.is("Acme, Acme, Acme, Acme, Acme unclear?, Acme unreadable?", "unclear 0, unreadable 0")
	x.must(none(), &event.OptedOut{Reach: entities("Acme")[0], Source: "import", Unclear: true})
	x.is("Acme, Acme, Acme, Acme, Acme ?, Acme unclear?, Acme unreadable?", "unclear 0, unreadable 0, unclear 0")
	y := newStream(t) // at level 1 none takes a place
	y.must(none(), &event.OptedOut{Reach: entities("Acme")[0], Source: "letter"})
	y.must(none(), &event.OptedOut{Reach: entities("Acme")[0], Source: "letter"})
	y.is("Acme, Acme", "")
}

// Automatic answers of a program are bounded: what comes beyond is recorded, and not answered.
func TestAnswersAreBounded(t *testing.T) {
	x := newStream2(t)
	x.send(x.submit(nil), 1)
	count := func() int { return len(x.s.Asks) }
	for range 2 * mostAnswers {
		x.must(none(), x.said("help", "+1500", "Acme"))
	}
	if count() != mostAnswers {
		t.Errorf("%d answers", count())
	}
	x.must(none(), x.said("stop", "+1500", "Acme"))
	if x.ask(AskConfirm) != nil {
		t.Error("a confirmation beyond the bound")
	}
	x.is("Acme", "")
	other := x.said("help", "+1600", "Acme")
	other.Programs = []string{"codes"}
	x.must(none(), other)
	if count() != mostAnswers+1 {
		t.Error("another program does not answer")
	}
	unknown := x.said("help", "+1600", "Acme")
	unknown.Programs = nil
	x.must(none(), unknown)
	if count() != mostAnswers+1 {
		t.Error("no program answers")
	}
	x.pass(answerWindow + time.Second)
	x.must(none(), x.said("help", "+1500", "Acme"))
	if count() != 1 || len(x.s.Answered) != 1 {
		t.Errorf("a day later: %+v %+v", x.s.Asks, x.s.Answered)
	}
}

// What an inbound message wants: the one confirmation of a new STOP, the answer to a START.
func TestAnswers2(t *testing.T) {
	x := newStream2(t)
	x.must(none(), x.said("stop", "+1500", "Acme"))
	if len(x.s.Asks) != 0 {
		t.Error("somebody who was never texted is texted")
	}
	x.must(none(), x.said("start", "+1500", "Acme"))
	x.lift()
	if len(x.s.Asks) != 0 {
		t.Error("somebody who was never texted is welcomed")
	}
	x.send(x.submit(nil), 1)
	stop := x.must(none(), x.said("stop", "+1500", "Acme", "Loans"))
	if a := x.ask(AskConfirm); a == nil || a.Inbound != stop || a.Index != x.index-1 || a.Program != "news" || a.To != "+1500" {
		t.Fatalf("%+v", x.s.Asks)
	}
	x.must(none(), x.said("stop", "+1500", "Acme")) // nothing new
	x.must(none(), x.said("unclear", "+1500", "Acme"))
	if len(x.s.Asks) != 1 {
		t.Errorf("%+v", x.s.Asks)
	}
	reply := x.submit(func(d *event.MessageSubmitted) { d.Answers, d.Purpose = stop, "compliance_reply" })
	if x.s.Message(reply).Reply != AskConfirm || len(x.s.Asks) != 0 {
		t.Errorf("%+v, %+v", x.s.Message(reply), x.s.Asks)
	}
	x.must(none(), x.said("stop", "+1500", "Third", "Acme")) // one reach is new
	if x.ask(AskConfirm) == nil {
		t.Error("a STOP that stops more is not confirmed")
	}
	x.pass(ReplyWithin + time.Second)
	start := x.must(none(), x.said("start", "+1500", "Acme"))
	x.lift()
	a := x.ask(AskWelcome)
	if a == nil || a.Inbound != start || len(a.Lifts)+len(a.Unsure) != 0 {
		t.Fatalf("%+v", x.s.Asks)
	}
	welcome := x.submit(func(d *event.MessageSubmitted) { d.Answers = start })
	if x.s.Message(welcome).Reply != AskWelcome || len(x.s.Asks) != 0 {
		t.Errorf("%+v, %+v", x.s.Message(welcome), x.s.Asks)
	}
	a1 := x.must(none(), x.piece2(3, 1, 2, "Acme"))
	x.must(none(), x.piece2(3, 2, 2, "Acme"))
	at := x.index - 2
	joined := x.must(none(), &event.InboundJoined{Parts: []event.ID{a1, x.log[x.index-1].ID}, To: "+1500", Ask: "help", Programs: []string{"news"}, Reaches: entities("Acme")})
	if a := x.ask(AskHelp); a == nil || a.Inbound != joined || a.Index != at {
		t.Errorf("%+v", x.s.Asks)
	}
}

// model keeps every event, and knows nothing of how the fold keeps them.
type model struct {
	log []*event.Event
	// over are the reaches that ended, by event, with a later one of the same kind that took its place.
	over map[event.ID][]event.Reach
	// to are our numbers to which what officers read had come.
	to map[event.ID]string
}

// stops says whether a message of a program of an entity, from a sender, is stopped, and if so whether
// anything plain stops it.
func (m *model) stops(program, sender, entity string) (stopped, plain bool) {
	covers := func(all []event.Reach) bool {
		return slices.ContainsFunc(all, func(r event.Reach) bool {
			return r.Scope == event.ScopeTenant || r.Scope == event.ScopeSender && r.Name == sender ||
				r.Scope == event.ScopeProgram && r.Name == program || r.Scope == event.ScopeLegalEntity && r.Name == entity
		})
	}
	for i, e := range m.log {
		over := false // whether something later ends it
		var reaches []event.Reach
		clear, part := true, false
		switch d := e.Data.(type) {
		case *event.OptedOut:
			reaches, clear = []event.Reach{d.Reach}, !d.Unclear
		case *event.InboundReceivedV2:
			if d.Ask == event.InboundStop || d.Holds != "" {
				reaches, clear = d.Reaches, d.Holds == ""
			}
			part = d.Holds == event.HoldPart
		case *event.InboundHeld:
			reaches, clear = d.Reaches, d.Plain
		case *event.InboundJoined:
			if d.Ask == event.InboundStop || d.Holds != "" {
				reaches, clear = d.Reaches, d.Holds == ""
			}
		case *event.ReviewResolved:
			reaches = d.Reaches
		}
		reaches = slices.DeleteFunc(slices.Clone(reaches), func(r event.Reach) bool { return slices.Contains(m.over[e.ID], r) })
		for _, later := range m.log[i+1:] {
			switch l := later.Data.(type) {
			case *event.SuppressionLifted:
				over = over || slices.Contains(l.Lifts, e.ID)
			case *event.OptedOut:
				over = over || slices.Contains(l.Lifts, e.ID)
			case *event.InboundJoined:
				over = over || slices.Contains(l.Parts, e.ID)
			case *event.ReviewResolved:
				over = over || !clear && l.Review == e.ID
			}
		}
		if !over && covers(reaches) {
			stopped, plain = true, plain || clear && !part
		}
	}
	return stopped, plain
}

// After any sequence of what persons and officers say, the fold stops what a model stops that keeps
// every event. An officer and a START end all that is of one kind, as the fold's reviews and asks say.
func TestStopsLikeModel(t *testing.T) {
	all := []string{"Acme", "Loans"}
	rapid.Check(t, func(rt *rapid.T) {
		x := newStream2(t)
		m := model{over: map[event.ID][]event.Reach{}, to: map[event.ID]string{}}
		one := func(of ...string) string { return rapid.SampledFrom(of).Draw(rt, "of") }
		put := func(d event.Data) event.ID {
			e := x.make(none(), d)
			if why := x.put(e); why != "" {
				rt.Fatalf("%s is void: %s", d.Type(), why)
			}
			m.log = append(m.log, e)
			return e.ID
		}
		// end ends, in the model, what took the place of others, with those.
		end := func(ids []event.ID, unclear bool) {
			for _, o := range x.s.OptOuts {
				if !slices.Contains(ids, o.Event) || o.Part || unclear && !o.Unclear {
					continue
				}
				for _, e := range m.log {
					if m.sameKind(e, o) {
						m.over[e.ID] = append(m.over[e.ID], o.Reach)
					}
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "n") {
			x.pass(time.Duration(rapid.SampledFrom([]int{1, 60, 400, 90_000}).Draw(rt, "s")) * time.Second)
			names := rapid.SampledFrom([][]string{{"Acme"}, {"Loans"}, all}).Draw(rt, "names")
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				put(x.said("stop", one("+1500", "+1600"), names...))
			case 1:
				put(x.said("unclear", one("+1500", "+1600"), names...))
			case 2:
				put(x.piece2(rapid.IntRange(1, 2).Draw(rt, "ref"), rapid.IntRange(1, 2).Draw(rt, "part"), 2, names...))
			case 3:
				put(x.held(rapid.Bool().Draw(rt, "plain"), byte(rapid.IntRange(1, 2).Draw(rt, "stream")), names...))
			case 4:
				put(&event.OptedOut{Reach: rapid.SampledFrom([]event.Reach{{Scope: event.ScopeTenant}, {Scope: event.ScopeProgram, Name: "news"}, {Scope: event.ScopeSender, Name: "+1500"},
					entities("Acme")[0]}).Draw(rt, "reach"), Source: "phone", Unclear: rapid.Bool().Draw(rt, "unclear")})
			case 5:
				put(x.said(event.InboundAsk(one("help", "none", "yes")), "+1500", names...))
			case 6:
				if open := x.s.OpenReviews(); len(open) > 0 {
					r := rapid.SampledFrom(open).Draw(rt, "review")
					d := &event.ReviewResolved{Review: r.Event, As: event.ReviewClear}
					if rapid.Bool().Draw(rt, "narrow") {
						d.As, d.Reaches = event.ReviewNarrow, []event.Reach{{Scope: event.ScopeProgram, Name: "news"}}
					}
					end([]event.ID{r.Event}, true)
					if id := put(d); r.Kind != ReviewUnplaced && r.Kind != ReviewStart { // those stop nothing themselves
						m.to[id] = r.To
					}
				}
			case 7:
				d := x.said("start", one("+1500", "+1600"), all...)
				d.Digest = one("a", "b", "")
				put(d)
				if a := x.ask(AskLift); a != nil {
					end(a.Lifts, false)
					put(&event.SuppressionLifted{Lifts: slices.Clone(a.Lifts), Answers: a.Inbound})
				}
			case 8:
				whole, copies, _ := x.s.Joins(x.now)
				for _, c := range copies {
					put(&event.SuppressionLifted{Lifts: []event.ID{c.Event}, Source: event.SourceJoined, Answers: c.Event})
				}
				for _, j := range whole {
					if slices.ContainsFunc(copies, func(c Copy) bool { return slices.Contains(j.Holds, c.Event) }) {
						continue
					}
					d := &event.InboundJoined{Parts: j.Holds, To: j.To, Ask: event.InboundAsk(one("stop", "none", "unclear")), Reaches: j.Reaches, Read: j.Read}
					if d.Ask == event.InboundUnclear {
						d.Holds = event.HoldUnclear
					}
					put(d)
				}
			case 9:
				d := x.said("stop", "+1500")
				d.Reaches, d.Unplaced = nil, event.UnplacedUnreadable
				put(d)
			}
			for _, c := range [][3]string{{"news", "+1500", "Acme"}, {"codes", "+1600", "Acme"}, {"codes", "+1500", "Loans"}, {"codes", "+1600", "Other"}} {
				stopped, plain := m.stops(c[0], c[1], c[2])
				var gotStopped, gotPlain bool
				for _, o := range x.s.OptOuts {
					r := o.Reach
					if r.Scope == event.ScopeTenant || r.Scope == event.ScopeProgram && r.Name == c[0] || r.Scope == event.ScopeSender && r.Name == c[1] || r.Scope == event.ScopeLegalEntity && r.Name == c[2] {
						gotStopped, gotPlain = true, gotPlain || !o.Unclear
					}
				}
				if gotStopped != stopped || gotPlain != plain {
					rt.Fatalf("a message of %v is stopped: %v, plainly: %v; all events say %v, %v\n%s", c, gotStopped, gotPlain, stopped, plain, x.json())
				}
			}
		}
	})
}

// sameKind reports whether an event may be one of those whose place an opt-out took.
func (m *model) sameKind(e *event.Event, o OptOut) bool {
	switch d := e.Data.(type) {
	case *event.OptedOut:
		return o.To == "" && d.Reach == o.Reach && d.Unclear == o.Unclear
	case *event.InboundReceivedV2:
		return d.To == o.To && o.Stream == (event.Pseudonym{}) && d.Holds != event.HoldPart && d.Unplaced == "" && (d.Holds != "") == o.Unclear &&
			string(d.Holds) == string(o.Holds) && (d.Ask == event.InboundStop || d.Holds != "") && slices.Contains(d.Reaches, o.Reach)
	case *event.InboundJoined:
		return d.To == o.To && o.Stream == (event.Pseudonym{}) && (d.Holds != "") == o.Unclear && string(d.Holds) == string(o.Holds) &&
			(d.Ask == event.InboundStop || d.Holds != "") && slices.Contains(d.Reaches, o.Reach)
	case *event.InboundHeld:
		return d.To == o.To && d.Stream == o.Stream && d.Plain == !o.Unclear && slices.Contains(d.Reaches, o.Reach)
	case *event.ReviewResolved:
		return m.to[e.ID] == o.To && !o.Unclear && o.Stream == (event.Pseudonym{}) && slices.Contains(d.Reaches, o.Reach)
	}
	return false
}
