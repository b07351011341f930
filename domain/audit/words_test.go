package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// both are the reaches of the two legal entities that send from the number 600.
var both = []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme Shops"}, {Scope: event.ScopeLegalEntity, Name: "Acme plc"}}

func received(ask event.InboundAsk, holds event.HoldReason) *event.InboundReceivedV2 {
	return &event.InboundReceivedV2{Account: "north", To: "600", Ask: ask, Holds: holds, Programs: []string{"account", "offers"}, Reaches: slices.Clone(both), Control: 6, Read: 1000,
		Sealed: event.Sealed{SubjectKey: event.ID{2}, Box: []byte("x")}}
}

// reply is a message that answers an inbound one, allowed and sent although the opt-outs stand.
func (l line) reply(name string, to event.ID, optOuts ...event.ID) event.ID {
	m := l.submit(name+".submit", func(d *event.MessageSubmitted) { d.Purpose, d.Answers = "compliance_reply", to })
	l.send(name, m, optOuts...)
	return m
}

func (l line) send(name string, m event.ID, optOuts ...event.ID) {
	l.decide(name+".allow", m, "allow", optOuts...)
	l.route(name+".route", m, 1)
	l.start(name+".start", m, 1, 1)
	l.accept(name+".accept", m, 1, 1)
}

// spoken is a ledger of format level 2 in which persons and officers say a little of everything;
// nothing is wrong with it.
func spoken(t testing.TB) *book {
	b := newBook(t)
	b.control("created", "", &event.LedgerCreated{Ledger: "book", Partitions: partitions, NumberForms: 1})
	b.control("routes", "", &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "north"}}, By: "op"})
	b.control("raised", "", &event.LevelRaised{Level: 2, By: "op"})
	b.control("account", "acme", &event.ProgramChanged{Name: "account", LegalEntity: "Acme plc", Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{"ACME", "600"}, StartText: "in", By: "op"})
	b.control("offers", "acme", &event.ProgramChanged{Name: "offers", LegalEntity: "Acme Shops", Purposes: []string{"marketing"}, Countries: []string{"*"}, Senders: []string{"600"}, By: "op"})
	b.control("policy", "", &event.PolicyActivated{Revision: "r1", Digest: digest, By: "op"})
	b.apply(0, "applied0")
	b.apply(1, "applied1")
	b.add(event.InboxPartition, "orphan", &event.Event{Subject: event.Pseudonym{7}, Data: &event.InboundReceived{Account: "north", To: "600", Ask: "stop", Sealed: event.Sealed{Box: []byte("x")}}})

	// STOP, its confirmation, STOP again, HELP and its answer, START and its answer.
	a := b.line(0, 1)
	none := event.ID{}
	stop := a.fact("a.stop", none, received("stop", ""))
	first := stop
	stop = a.fact("a.stop2", none, received("stop", "")) // the carrier delivers it twice: the confirmation is of the first
	a.reply("a.confirm", first.ID, stop.ID)
	m := a.submit("a.submit", nil)
	a.decide("a.deny", m, "deny", stop.ID)
	a.reply("a.help.reply", a.fact("a.help", none, received("help", "")).ID, stop.ID)
	other := a.fact("a.other", none, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "letter", By: "key"})
	start := a.fact("a.start", none, received("start", ""))
	a.fact("a.lift", none, &event.SuppressionLifted{Lifts: []event.ID{stop.ID}, Source: "handset", Answers: start.ID, By: "clerk"})
	a.reply("a.welcome", start.ID, other.ID)
	other2 := a.fact("a.other2", none, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "letter", By: "key"})
	a.decide("a.deny2", a.submit("a.submit2", nil), "deny", other2.ID)

	// What is unclear stops all but what a person needs, until an officer says what it was.
	c := b.line(0, 2)
	unclear := c.fact("c.unclear", none, received("unclear", "unclear"))
	c.send("c.otp", c.submit("c.submit", func(d *event.MessageSubmitted) { d.Purpose = "otp" }), unclear.ID)
	c.fact("c.read", none, &event.ReviewRead{Review: unclear.ID, By: "key"})
	c.fact("c.clear", none, &event.ReviewResolved{Review: unclear.ID, As: "clear", By: "key"})
	c.send("c.after", c.submit("c.submit2", nil))
	unclear = c.fact("c.unclear2", none, received("unclear", "unclear"))
	resolved := c.fact("c.stop", none, &event.ReviewResolved{Review: unclear.ID, As: "narrow", Reaches: both[1:], By: "key"})
	c.decide("c.deny", c.submit("c.submit3", nil), "deny", resolved.ID)
	c.fact("c.unreadable", none, received("unclear", "unreadable"))

	// Parts, joined.
	d := b.line(1, 1)
	piece := func(n int) *event.InboundReceivedV2 {
		p := received("part", "part")
		p.Concat = &event.Concat{Reference: 1, Part: n, Parts: 2}
		return p
	}
	one := d.fact("d.one", none, piece(1))
	d.decide("d.deny", d.submit("d.submit", nil), "deny", one.ID)
	two := d.fact("d.two", none, piece(2))
	joined := d.fact("d.joined", none, &event.InboundJoined{Parts: []event.ID{one.ID, two.ID}, To: "600", Ask: "stop", Programs: []string{"account"}, Reaches: slices.Clone(both)})
	d.decide("d.deny2", d.submit("d.submit2", nil), "deny", joined.ID)

	// Unplaced: the operator has the words, two streams are held, and an officer places it.
	word := received("stop", "")
	word.Unplaced, word.Programs, word.Reaches = "number_ambiguous", nil, nil
	holds := []event.ID{b.id(1), b.id(1), b.id(1)}
	word.Streams = []event.HeldStream{{Tenant: "acme", Subject: subject(1, 2), Event: holds[0]}}
	unplaced := b.add(1, "u.stop", &event.Event{Subject: subject(1, 9), Data: word})
	later := *word
	later.Unplaced, later.Streams = "number_unreadable", []event.HeldStream{{Tenant: "acme", Subject: subject(1, 3), Event: holds[1]}, {Tenant: "acme", Subject: subject(1, 3), Event: holds[2]}}
	unread := b.add(1, "u.later", &event.Event{Subject: subject(1, 9), Data: &later})
	e := b.line(1, 2)
	hold := e.hold("e.held", holds[0], &event.InboundHeld{Inbound: unplaced.ID, Stream: subject(1, 9), Account: "north", To: "600", Reaches: slices.Clone(both), Unplaced: "number_ambiguous", Control: 6})
	e.decide("e.deny", e.submit("e.submit", nil), "deny", hold.ID)
	placed := received("stop", "")
	placed.Places = unplaced.ID
	mine := e.fact("e.placed", none, placed)
	e.fact("e.lift", none, &event.SuppressionLifted{Lifts: []event.ID{hold.ID}, Source: "review", Answers: unplaced.ID, By: "key"})
	e.fact("e.plain", none, &event.ReviewResolved{Review: mine.ID, As: "clear", By: "key"}) // what is plain is not under review
	e.decide("e.deny2", e.submit("e.submit2", nil), "deny", mine.ID)
	b.add(1, "u.place", &event.Event{Subject: subject(1, 9), Data: &event.ReviewResolved{Review: unplaced.ID, As: "place", Placed: mine.ID, By: "key"}})
	f := b.line(1, 3)
	f.hold("f.held", holds[1], &event.InboundHeld{Inbound: unread.ID, Stream: subject(1, 9), Account: "north", To: "600", Reaches: slices.Clone(both), Unplaced: "number_ambiguous", Control: 6})
	f.hold("f.plain", holds[2], &event.InboundHeld{Inbound: unread.ID, Stream: subject(1, 9), Account: "north", To: "600", Reaches: slices.Clone(both), Unplaced: "tenant_shared", Plain: true, Control: 6})
	f.fact("f.start", none, received("start", "")) // it lifts nothing

	// A STOP from before the level, and a START that in the end lifts none.
	g := b.line(1, 4)
	g.fact("g.stop", none, &event.InboundReceived{Account: "north", To: "700", Ask: "stop", Revokes: &both[1], Sealed: event.Sealed{SubjectKey: event.ID{2}, Box: []byte("x")}})
	start = g.fact("g.start", none, received("start", ""))
	g.fact("g.lift", none, &event.SuppressionLifted{Source: "handset", Answers: start.ID, By: "clerk"})
	return b
}

func TestNothingIsWrongWithWords(t *testing.T) {
	b := spoken(t)
	r := b.verify()
	if !r.OK() || len(r.Void) > 0 {
		t.Errorf("%s; void %v", b.list(r), r.Void)
		for _, f := range r.Findings {
			t.Log(f.Text)
		}
	}
	at := func(name string) time.Time { return b.names[name].Time }
	want := map[ReviewKind]Reviews{"unreadable": {1, at("c.unreadable")}, "held": {1, at("f.held")}, "unplaced": {1, at("u.later")}, "start": {2, at("f.start")}, "inbox": {1, at("orphan")}}
	if !maps.Equal(r.Reviews, want) {
		t.Errorf("under review: %v, want %v", r.Reviews, want)
	}
	b.add(1, "", &event.Event{Subject: subject(1, 9), Data: &event.ReviewResolved{Review: b.names["orphan"].ID, As: "clear", By: "key"}})
	if r := b.verify(); !r.OK() || len(r.Reviews) != 4 || r.Reviews["inbox"].Open != 0 {
		t.Errorf("with the inbox read: %v", r.Reviews)
	}
}

// One thing is broken at a time.
func TestWhatIsBrokenInWordsIsFound(t *testing.T) {
	v2 := func(b *book, name string, f func(*event.InboundReceivedV2)) {
		edit(b, name, func(_ *event.Event, d *event.InboundReceivedV2) { f(d) })
	}
	held := func(b *book, f func(*event.InboundHeld)) {
		edit(b, "e.held", func(_ *event.Event, d *event.InboundHeld) { f(d) })
	}
	for _, c := range []struct {
		name  string
		want  string
		let   []string
		wreck func(b *book)
	}{
		// Format levels.
		{"the level was never raised", "level_too_low@account", nil, func(b *book) {
			b.parts[event.ControlPartition][2].Data = &event.Resumed{Reason: "x", By: "op"}
		}},
		{"a level that was skipped does not count", "level_unknown@raised level_too_low@account", nil, func(b *book) {
			edit(b, "raised", func(_ *event.Event, d *event.LevelRaised) { d.Level = 3 })
		}},
		{"the level is raised by two", "level_unknown@x", nil, func(b *book) { b.control("x", "", &event.LevelRaised{Level: 4, By: "op"}) }},
		{"the level is raised to one that this build cannot read", "level_unknown@x", nil, func(b *book) {
			b.control("x", "", &event.LevelRaised{Level: event.MaxLevel + 1, By: "op"})
		}},
		{"the level is raised twice at the same time", "", nil, func(b *book) { b.control("x", "", &event.LevelRaised{Level: 2, By: "op"}) }},
		{"a message from before the level", "level_too_low@a.stop", nil, func(b *book) { v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Control = 2 }) }},
		{"a hold from before the level", "level_too_low@e.held", nil, func(b *book) { held(b, func(d *event.InboundHeld) { d.Control = 2 }) }},
		{"an instant of a check from before the level", "level_too_low@a.deny", []string{"a.deny"}, func(b *book) {
			edit(b, "a.deny", func(e *event.Event, d *event.MessageDecided) {
				e.Control, d.Revision, d.Digest, d.Checks[0].Until = 2, "", "", e.Time.Add(time.Hour)
			})
		}},
		{"a seal from before the level", "level_too_low@a.submit", nil, func(b *book) {
			edit(b, "a.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.Sealed.Version = event.SealV2 })
		}},
		{"a seal of evidence from before the level", "level_too_low@a.other", nil, func(b *book) {
			edit(b, "a.other", func(_ *event.Event, d *event.OptedOut) { d.Sealed = &event.Sealed{Version: event.SealV2} })
		}},
		{"a seal that its level allows", "", nil, func(b *book) {
			b.control("three", "", &event.LevelRaised{Level: 3, By: "op"})
			edit(b, "a.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.Sealed.Version = event.SealV2 })
			v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Control, d.Sealed.Version = 7, event.SealV2 })
		}},
		{"a seal from before the level, by the control position that the event names", "level_too_low@a.stop", nil, func(b *book) {
			b.control("three", "", &event.LevelRaised{Level: 3, By: "op"})
			v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Sealed.Version = event.SealV2 })
		}},
		{"a seal of a version that no level brings", "level_too_low@a.submit", nil, func(b *book) {
			b.control("three", "", &event.LevelRaised{Level: 3, By: "op"})
			edit(b, "a.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.Sealed.Version = 1 })
		}},
		{"a check defers to what is over", "no_reason@a.deny", nil, func(b *book) {
			edit(b, "a.deny", func(e *event.Event, d *event.MessageDecided) {
				d.Checks[1].Outcome, d.Checks[1].Until = "defer", e.Time
			})
		}},

		// Envelopes and positions.
		{"an unplaced message of a tenant", "envelope@u.stop", nil, func(b *book) { b.names["u.stop"].Tenant = "acme" }},
		{"a placed message of no tenant", "envelope@a.stop", nil, func(b *book) { b.names["a.stop"].Tenant = "" }},
		{"a hold of no tenant", "envelope@e.held", nil, func(b *book) { b.names["e.held"].Tenant = "" }},
		{"joined parts of no tenant", "envelope@d.joined", nil, func(b *book) { b.names["d.joined"].Tenant = "" }},
		{"an unplaced message in the inbox", "misplaced@x", nil, func(b *book) {
			b.add(event.InboxPartition, "x", &event.Event{Subject: subject(1, 9), Data: b.names["u.stop"].Data})
		}},
		{"control that there is not", "control_unknown@a.stop", nil, func(b *book) { v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Control = 99 }) }},
		{"no control", "control_unknown@a.stop", nil, func(b *book) { v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Control = 0 }) }},

		// Whom words reach.
		{"a STOP that does not reach an entity", "reach_missing@a.stop", nil, func(b *book) { v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Reaches = both[1:] }) }},
		{"unclear words that do not reach an entity", "reach_missing@c.unclear", nil, func(b *book) { v2(b, "c.unclear", func(d *event.InboundReceivedV2) { d.Reaches = both[1:] }) }},
		{"a START that does not reach an entity", "reach_missing@a.start", nil, func(b *book) { v2(b, "a.start", func(d *event.InboundReceivedV2) { d.Reaches = nil }) }},
		{"a hold that does not reach an entity", "reach_missing@e.held", nil, func(b *book) { held(b, func(d *event.InboundHeld) { d.Reaches = both[:1] }) }},
		{"a placed message that does not reach an entity", "reach_missing@e.placed", nil, func(b *book) { v2(b, "e.placed", func(d *event.InboundReceivedV2) { d.Reaches = both[1:] }) }},
		{"joined parts that do not reach an entity", "reach_missing@d.joined", nil, func(b *book) {
			edit(b, "d.joined", func(_ *event.Event, d *event.InboundJoined) { d.Reaches = both[1:] })
		}},
		{"an entity that came later is not meant", "", nil, func(b *book) {
			b.control("x", "acme", &event.ProgramChanged{Name: "loans", LegalEntity: "Acme Loans", Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{"600"}, By: "op"})
		}},
		{"another tenant's entity is not meant", "", nil, func(b *book) {
			b.names["offers"].Tenant = "bank"
			v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Reaches = both[1:] })
		}},
		{"a program that gave the number up is not meant", "", nil, func(b *book) {
			edit(b, "offers", func(_ *event.Event, d *event.ProgramChanged) { d.Senders = []string{"700"} })
			for _, n := range []string{"a.stop", "a.stop2"} {
				v2(b, n, func(d *event.InboundReceivedV2) { d.Reaches = both[1:] })
			}
		}},
		{"the number was granted to another tenant", "", nil, func(b *book) {
			b.control("x", "bank", &event.OwnerGranted{Sender: "600", By: "op"})
			v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Control, d.Reaches = 7, both[1:] })
		}},
		{"another number was granted to another tenant", "reach_missing@a.stop", nil, func(b *book) {
			b.control("x", "bank", &event.OwnerGranted{Sender: "700", By: "op"})
			v2(b, "a.stop", func(d *event.InboundReceivedV2) { d.Control, d.Reaches = 7, both[1:] })
		}},

		// In force, held or under review.
		{"unclear words that are not held", "not_heeded@c.unreadable", nil, func(b *book) { v2(b, "c.unreadable", func(d *event.InboundReceivedV2) { d.Holds = "" }) }},
		{"a part that is not held", "not_heeded@x", nil, func(b *book) {
			d := received("part", "")
			d.Concat = &event.Concat{Reference: 1, Part: 1, Parts: 2}
			b.before("f.start", "x", &event.Event{Subject: subject(1, 3), Tenant: "acme", Data: d})
		}},
		{"a STOP to what none of the tenant's programs has, which stops nothing", "not_heeded@x", nil, func(b *book) {
			d := received("stop", "")
			d.To, d.Reaches = "700", nil
			b.before("f.start", "x", &event.Event{Subject: subject(1, 3), Tenant: "acme", Data: d})
		}},
		{"joined parts that are unclear and not held", "not_heeded@x", nil, func(b *book) {
			b.before("f.start", "x", &event.Event{Subject: subject(1, 3), Tenant: "acme", Data: &event.InboundJoined{Parts: []event.ID{{9}}, To: "600", Ask: "unclear", Reaches: both}})
		}},

		// The gate.
		{"the message that passes what is unclear is no one-time code", "start_after_opt_out@c.otp.start", nil, func(b *book) {
			edit(b, "c.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.Purpose = "account" })
		}},
		{"a one-time code does not pass what is plain", "start_after_opt_out@c.otp.start", nil, func(b *book) {
			v2(b, "c.unclear", func(d *event.InboundReceivedV2) { d.Ask, d.Holds = "stop", "" })
		}},
		{"the answer to a HELP is no compliance reply", "start_after_opt_out@a.help.reply.start", nil, func(b *book) {
			edit(b, "a.help.reply.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.Purpose = "account" })
		}},
		{"it answers nothing", "start_after_opt_out@a.help.reply.start", nil, func(b *book) {
			edit(b, "a.help.reply.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.Answers = event.ID{9} })
		}},
		{"a second answer to one HELP", "start_after_opt_out@a.welcome.start", nil, func(b *book) {
			edit(b, "a.welcome.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.Answers = b.names["a.help"].ID })
		}},
		{"a second confirmation of one STOP", "start_after_opt_out@a.help.reply.start", nil, func(b *book) {
			edit(b, "a.help.reply.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.Answers = b.names["a.stop"].ID })
		}},
		{"words that ask for nothing have no answer", "start_after_opt_out@a.help.reply.start", nil, func(b *book) {
			v2(b, "a.help", func(d *event.InboundReceivedV2) { d.Ask = "none" })
		}},
		{"a decision that knows an opt-out whose place another took", "opt_outs_differ@a.deny", nil, func(b *book) {
			edit(b, "a.deny", func(_ *event.Event, d *event.MessageDecided) { d.OptOuts = append(d.OptOuts, b.names["a.stop"].ID) })
		}},
		{"a decision that does not know a hold", "opt_outs_differ@e.deny", nil, func(b *book) {
			edit(b, "e.deny", func(_ *event.Event, d *event.MessageDecided) { d.OptOuts = nil })
		}},
		{"a decision that knows what was cleared", "opt_outs_differ@e.deny2", nil, func(b *book) {
			edit(b, "e.deny2", func(_ *event.Event, d *event.MessageDecided) { d.OptOuts = append(d.OptOuts, b.names["e.held"].ID) })
		}},
		{"a decision that knows a part that was joined", "opt_outs_differ@d.deny2", nil, func(b *book) {
			edit(b, "d.deny2", func(_ *event.Event, d *event.MessageDecided) { d.OptOuts = append(d.OptOuts, b.names["d.one"].ID) })
		}},
		{"a hold between allow and start", "allow_taken_back@c.after.start start_after_opt_out@c.after.start", []string{"c.after.start"}, func(b *book) {
			b.before("c.after.start", "x", &event.Event{Subject: subject(0, 2), Tenant: "acme", Data: b.names["e.held"].Data})
		}},
		{"a review between allow and start", "allow_taken_back@c.after.start", []string{"c.after.start"}, func(b *book) {
			b.before("c.after.start", "x", &event.Event{Subject: subject(0, 2), Tenant: "acme", Data: &event.ReviewResolved{Review: event.ID{9}, As: "clear", By: "key"}})
		}},
		{"a STOP between allow and start", "allow_taken_back@c.after.start start_after_opt_out@c.after.start", []string{"c.after.start"}, func(b *book) {
			b.before("c.after.start", "x", &event.Event{Subject: subject(0, 2), Tenant: "acme", Data: received("stop", "")})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := spoken(t)
			c.wreck(b)
			r := b.verify(c.let...)
			got := b.list(r)
			if c.want == "" && got != "" || !strings.Contains(" "+got+" ", " "+c.want) {
				t.Errorf("found %q, want %q", got, c.want)
				for _, f := range r.Findings {
					t.Log(f.Text)
				}
			}
		})
	}
}

// Streams that were put away keep what is under review, and the questions of one person do not add up.
func TestSettledReviews(t *testing.T) {
	b := spoken(t)
	b.now = b.now.Add(30 * 24 * time.Hour)
	b.line(0, 91).submit("", nil) // time passes
	b.line(1, 91).submit("", nil)
	for range 300 {
		b.now = b.now.Add(10 * time.Minute)
		b.line(1, 3).fact("", event.ID{}, received("help", ""))
	}
	var reports []string
	for _, every := range []int{0, 1} {
		v := New(required...)
		for _, p := range []event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition, 0, 1} {
			for i, e := range b.parts[p] {
				raw, err := event.Encode(e)
				if err != nil {
					t.Fatal(err)
				}
				v.sweepNext(every == 1)
				v.Take(p, int64(i), raw)
			}
		}
		if n := len(v.now.live[subject(1, 3)].questions); n > int(answerWithin/(10*time.Minute))+1 {
			t.Errorf("%d questions are kept", n)
		}
		r := v.Finish()
		if fmt.Sprint(len(r.Reviews)) != "5" || !r.OK() {
			t.Errorf("%v %s", r.Reviews, b.list(r))
		}
		j, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, string(j))
	}
	if reports[0] != reports[1] {
		t.Errorf("with streams put away\n%s\nwithout\n%s", reports[1], reports[0])
	}
}
