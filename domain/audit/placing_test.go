package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// unplacedBook adds to spoken: a message in partition 0 that holds streams in both partitions, was delivered
// twice, and is placed in partition 1; one in partition 1 that holds one in partition 0, and is
// cleared; and STARTs. Two hours later the ledger ends.
func unplacedBook(t testing.TB) *book {
	b := spoken(t)
	none := event.ID{}
	held := func(m *event.Event) *event.InboundHeld {
		return &event.InboundHeld{Inbound: m.ID, Stream: m.Subject, Account: "north", To: "600", Reaches: slices.Clone(both), Unplaced: "number_ambiguous", Control: 6}
	}
	message := func(name string, p event.Partition, digest string, where ...line) (*event.Event, []event.ID) {
		word := received("stop", "")
		word.Unplaced, word.Programs, word.Reaches, word.Digest = "number_ambiguous", nil, nil, digest
		var ids []event.ID
		for _, l := range where {
			ids = append(ids, b.id(l.p))
			word.Streams = append(word.Streams, event.HeldStream{Tenant: "acme", Subject: l.s, Event: ids[len(ids)-1]})
		}
		return b.add(p, name, &event.Event{Subject: subject(p, 19), Data: word}), ids
	}
	closing := func(name string, m *event.Event, as event.ReviewOutcome, placed event.ID) {
		b.add(event.Partition(m.Subject.Partition(partitions)), name, &event.Event{Subject: m.Subject, Data: &event.ReviewResolved{Review: m.ID, As: as, Placed: placed, By: "key"}})
	}
	lift := func(l line, name string, m *event.Event, ids ...event.ID) {
		l.fact(name, none, &event.SuppressionLifted{Lifts: ids, Source: "review", Answers: m.ID, By: "key"})
	}

	zero, one, two := b.line(0, 11), b.line(1, 11), b.line(1, 12)
	_, first := message("p.first", 0, "d1", zero, one, two) // the node ended before it had appended the other holds
	zero.hold("p.first.zero", first[0], held(b.names["p.first"]))
	m, ids := message("p.message", 0, "d1", zero, one, two)
	zero.hold("p.zero", ids[0], held(m))
	one.hold("p.one", ids[1], held(m))
	two.hold("p.two", ids[2], held(m))
	older := received("stop", "")
	older.Places = b.names["p.first"].ID
	two.fact("p.placed.first", none, older)
	placed := received("stop", "")
	placed.Places = m.ID
	there := two.fact("p.placed", none, placed)
	lift(zero, "p.lift.zero", m, first[0], ids[0])
	lift(one, "p.lift.one", m, ids[1])
	lift(two, "p.lift.two", m, ids[2])
	closing("p.close", m, "place", there.ID)

	c, ids := message("c.message", 1, "", zero)
	zero.hold("c.zero", ids[0], held(c))
	lift(zero, "c.lift", c, ids...)
	closing("c.close", c, "clear", none)

	s := b.line(0, 13)
	other := received("stop", "")
	other.To = "700"
	stop, elsewhere := s.fact("s.stop", none, received("stop", "")), s.fact("s.other", none, other)
	sender := s.fact("s.sender", none, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeSender, Name: "600"}, Source: "letter", By: "key"})
	s.fact("s.letter", none, &event.OptedOut{Reach: both[0], Source: "letter", By: "key"})
	old := s.fact("s.old", none, &event.InboundReceived{Account: "north", To: "600", Ask: "stop", Revokes: &both[1], Sealed: event.Sealed{SubjectKey: event.ID{2}, Box: []byte("x")}})
	old2 := s.fact("s.old2", none, &event.InboundReceived{Account: "north", To: "700", Ask: "stop", Revokes: &both[1], Sealed: event.Sealed{SubjectKey: event.ID{2}, Box: []byte("x")}})
	word := received("start", "")
	word.Digest = "d2"
	start := s.fact("s.start", none, word)
	s.fact("s.lift", none, &event.SuppressionLifted{Lifts: []event.ID{stop.ID, sender.ID, old.ID}, Source: "handset", Answers: start.ID, By: "clerk"})
	again := s.fact("s.stop2", none, received("stop", ""))
	s.fact("s.start2", none, word) // the carrier delivers it twice
	before := received("start", "")
	before.Read = 1
	s.fact("s.start3", none, before)
	m1 := &event.InboundReceived{Account: "north", To: "700", Ask: "start", MayLift: both[1:], Read: 1000, Sealed: event.Sealed{SubjectKey: event.ID{2}, Box: []byte("x")}}
	v1 := s.fact("s.v1", none, m1)
	s.fact("s.lift.v1", none, &event.SuppressionLifted{Lifts: []event.ID{old2.ID}, Source: "handset", Answers: v1.ID, By: "clerk"})
	s.fact("s.phone", none, &event.SuppressionLifted{Lifts: []event.ID{elsewhere.ID}, Source: "handset", By: "key"}) // an officer's word for a source
	j := b.line(1, 14)
	part := received("part", "part")
	part.Concat = &event.Concat{Reference: 1, Part: 1, Parts: 2}
	copied := j.fact("j.part", none, part)
	j.fact("j.stop", none, received("stop", ""))
	j.fact("j.lift", none, &event.SuppressionLifted{Lifts: []event.ID{copied.ID}, Source: "joined", Answers: copied.ID, By: "clerk"})
	_ = again

	b.now = b.now.Add(2 * time.Hour)
	b.line(0, 91).submit("", nil)
	b.line(1, 91).submit("", nil)
	return b
}

func TestPlacingIsWhole(t *testing.T) {
	b := unplacedBook(t)
	if r := b.verify(); !r.OK() || len(r.Void) > 0 {
		t.Errorf("%s; void %v", b.list(r), r.Void)
		for _, f := range r.Findings {
			t.Log(f.Text)
		}
	}
	v := New(required...)
	b.read(v)
	if x := &v.placing; len(x.owed) != 2 || len(x.deliveries)+len(x.early) > 0 { // those of the first delivery
		t.Errorf("%d holds are owed (%d) and %d wait for their message, though all came", len(x.owed), len(x.deliveries), len(x.early))
	}
	v.Finish()
	if len(v.placing.ended) > 0 {
		t.Errorf("%d ends of holds are kept, though all are in order", len(v.placing.ended))
	}
}

// One thing is broken at a time.
func TestWhatIsBrokenInPlacingIsFound(t *testing.T) {
	none := event.ID{}
	lifts := func(b *book, name string, of ...string) {
		edit(b, name, func(_ *event.Event, d *event.SuppressionLifted) {
			d.Lifts = nil
			for _, n := range of {
				d.Lifts = append(d.Lifts, b.names[n].ID)
			}
		})
	}
	end := func(b *book) { // the ledger ends at once
		for p := range event.Partition(partitions) {
			b.parts[p] = b.parts[p][:len(b.parts[p])-1]
		}
	}
	epoch := func(b *book, lost ...string) {
		d := &event.EpochBegan{Epoch: 2, Cause: event.EpochRecovered, Reason: "the disk failed", By: "op"}
		for _, p := range lost {
			d.Lost = append(d.Lost, event.LostEvents{Partition: p, From: 1, To: 2})
		}
		b.control("three", "", &event.LevelRaised{Level: 3, By: "op"})
		b.control("began", "", d)
	}
	for _, c := range []struct {
		name, want, text string
		wreck            func(b *book)
	}{
		// Every hold that a message names.
		{"a hold in a later partition never came", "hold_missing@p.message", "which never came", func(b *book) { b.drop("p.one", "p.lift.one") }},
		{"a hold in an earlier partition never came", "hold_missing@c.message", "which never came", func(b *book) { b.drop("c.zero", "c.lift") }},
		{"a hold in the same partition never came", "hold_missing@p.message", "", func(b *book) { b.drop("p.zero") }},
		{"a hold came under another id", "hold_missing@p.message hold_unfounded@p.one", "", func(b *book) { b.names["p.one"].ID = event.ID{9} }},
		{"a hold came to another tenant", "hold_missing@p.message hold_unfounded@p.one", "", func(b *book) {
			for _, e := range b.parts[1] {
				if e.Subject == b.names["p.one"].Subject {
					e.Tenant = "bank"
				}
			}
		}},
		{"a hold came to another stream", "hold_missing@p.message hold_unfounded@p.one", "", func(b *book) { b.names["p.one"].Subject = subject(1, 33) }},
		{"a hold names another message", "hold_missing@p.message hold_unfounded@p.one", "", func(b *book) {
			edit(b, "p.one", func(_ *event.Event, d *event.InboundHeld) { d.Inbound = event.ID{9} })
		}},
		{"the words of a hold were lost", "hold_unfounded@c.zero", "the words were lost", func(b *book) { b.drop("c.message") }},
		{"the words of a hold were lost, in an earlier partition", "hold_unfounded@p.one hold_unfounded@p.two", "", func(b *book) { b.drop("p.message", "p.close") }},
		{"what was not delivered again is not held", "hold_missing@p.first hold_missing@p.first", "", func(b *book) {
			edit(b, "p.first", func(_ *event.Event, d *event.InboundReceivedV2) { d.Digest = "other" })
		}},
		{"the hold of a second delivery comes first", "", "", func(b *book) {
			for i, n := range []string{"p.first.one", "p.first.two"} {
				h := b.names["p.first"].Data.(*event.InboundReceivedV2).Streams[1+i]
				d := *b.names["p.one"].Data.(*event.InboundHeld)
				d.Inbound = b.names["p.first"].ID
				b.before("p.lift.one", n, &event.Event{ID: h.Event, Subject: h.Subject, Tenant: "acme", Data: &d})
			}
			b.move("p.first.two", "p.lift.two")
			lifts(b, "p.lift.one", "p.first.one", "p.one")
			lifts(b, "p.lift.two", "p.first.two", "p.two")
		}},
		{"an earlier delivery is no second one", "hold_missing@p.message", "", func(b *book) {
			b.names["p.first"].Time = b.names["p.first"].Time.Add(-time.Minute)
			b.drop("p.two", "p.lift.two")
			h := b.names["p.first"].Data.(*event.InboundReceivedV2).Streams[2]
			d := *b.names["p.one"].Data.(*event.InboundHeld)
			d.Inbound = b.names["p.first"].ID
			b.before("p.lift.one", "p.first.two", &event.Event{ID: h.Event, Subject: h.Subject, Tenant: "acme", Data: &d})
		}},
		{"the first delivery lands behind the second", "", "", func(b *book) {
			b.move("p.first", "p.close")
			b.drop("p.first.zero")
			lifts(b, "p.lift.zero", "p.zero")
		}},
		{"a hold is under way at the ledger's end", "", "", func(b *book) { end(b); b.drop("p.one", "p.lift.one") }},
		{"a message is under way at the ledger's end", "", "", func(b *book) { end(b); b.drop("c.message") }},
		{"the ledger lost the hold, and says so", "", "", func(b *book) { b.drop("p.one", "p.lift.one"); epoch(b, event.Partition(1).String()) }},
		{"the ledger lost the hold, and does not say of what partitions", "", "", func(b *book) { b.drop("p.one", "p.lift.one"); epoch(b) }},
		{"the ledger lost events of another partition", "hold_missing@p.message", "", func(b *book) { b.drop("p.one", "p.lift.one"); epoch(b, event.Partition(0).String()) }},

		// What a placement does, in order.
		{"the words were never placed", "words_missing@p.close words_missing@p.lift.zero", "never placed", func(b *book) { b.drop("p.placed") }},
		{"other words were placed", "words_missing@p.close", "", func(b *book) {
			edit(b, "p.placed", func(_ *event.Event, d *event.InboundReceivedV2) { d.Places = event.ID{9} })
		}},
		{"the review names another event", "words_missing@p.close", "not in the event that the review names", func(b *book) {
			edit(b, "p.close", func(_ *event.Event, d *event.ReviewResolved) { d.Placed = event.ID{9} })
		}},
		{"a hold ended before the words were placed", "words_missing@p.lift.two", "before the words", func(b *book) { b.move("p.lift.two", "p.placed") }},
		{"a hold ended when the review was cleared, and then the message was placed", "", "", func(b *book) {
			e := *b.names["p.lift.two"]
			b.before("p.placed", "x", &e)
		}},
		{"the review was cleared too", "", "", func(b *book) {
			b.drop("p.placed")
			b.before("p.close", "x", &event.Event{Subject: b.names["p.close"].Subject, Data: &event.ReviewResolved{Review: b.names["p.message"].ID, As: "clear", By: "key"}})
			b.drop("p.close")
		}},
		{"the placement was cut short, and the message is under review", "", "", func(b *book) { b.drop("p.placed", "p.close") }},
		{"the review is gone without an end", "words_missing@p.lift.zero words_missing@p.lift.one words_missing@p.lift.two", "neither placed nor cleared", func(b *book) {
			b.drop("p.placed")
			edit(b, "p.lift.zero", func(_ *event.Event, d *event.SuppressionLifted) { d.Answers = event.ID{9} })
			edit(b, "p.lift.one", func(_ *event.Event, d *event.SuppressionLifted) { d.Answers = event.ID{9} })
			edit(b, "p.lift.two", func(_ *event.Event, d *event.SuppressionLifted) { d.Answers = event.ID{9} })
		}},
		{"a placement ends another opt-out", "lift_too_far@p.lift.two", "not a hold", func(b *book) { lifts(b, "p.lift.two", "p.two", "p.placed") }},
		{"words are placed at the ledger's end", "", "", func(b *book) { end(b); b.drop("p.placed") }},

		// What a START ends.
		{"a START ends what came to another number", "lift_too_far@s.lift", "did not come to the number", func(b *book) { lifts(b, "s.lift", "s.stop", "s.other") }},
		{"a START ends what came to another number before the level", "lift_too_far@s.lift", "did not come to the number", func(b *book) { lifts(b, "s.lift", "s.old2") }},
		{"a START ends what an officer recorded", "lift_too_far@s.lift", "", func(b *book) { lifts(b, "s.lift", "s.letter") }},
		{"a START ends another sender ID", "lift_too_far@s.lift", "", func(b *book) {
			edit(b, "s.sender", func(_ *event.Event, d *event.OptedOut) { d.Reach.Name = "700" })
		}},
		{"a START ends what came after it", "lift_too_far@s.lift", "it came after", func(b *book) { b.move("s.stop", "s.lift") }},
		{"a START ends what its node had not read", "lift_too_far@s.lift", "it came after", func(b *book) {
			edit(b, "s.start", func(_ *event.Event, d *event.InboundReceivedV2) { d.Read = 1 })
		}},
		{"a START that was delivered twice", "lift_too_far@x", "delivered before", func(b *book) {
			b.before("s.start3", "x", &event.Event{Subject: subject(0, 13), Tenant: "acme", Data: &event.SuppressionLifted{Lifts: []event.ID{b.names["s.stop2"].ID}, Source: "handset", Answers: b.names["s.start2"].ID, By: "clerk"}})
		}},
		{"a START that does not exist", "lift_too_far@s.lift", "no such START", func(b *book) { b.drop("s.start") }},
		{"a lift of the gateway that answers nothing", "lift_too_far@s.lift", "no such START", func(b *book) {
			edit(b, "s.lift", func(_ *event.Event, d *event.SuppressionLifted) { d.Answers = none })
		}},
		{"a START ends a part", "lift_too_far@x", "a part that waits", func(b *book) {
			start := b.before("j.lift", "x.start", &event.Event{Subject: subject(1, 14), Tenant: "acme", Data: received("start", "")})
			b.before("j.lift", "x", &event.Event{Subject: subject(1, 14), Tenant: "acme", Data: &event.SuppressionLifted{Lifts: []event.ID{b.names["j.part"].ID}, Source: "handset", Answers: start.ID, By: "clerk"}})
		}},
		{"a START ends a hold", "lift_too_far@x", "may be of another person", func(b *book) {
			start := b.before("p.lift.one", "x.start", &event.Event{Subject: subject(1, 11), Tenant: "acme", Data: received("start", "")})
			b.before("p.lift.one", "x", &event.Event{Subject: subject(1, 11), Tenant: "acme", Data: &event.SuppressionLifted{Lifts: []event.ID{b.names["p.one"].ID}, Source: "handset", Answers: start.ID, By: "clerk"}})
		}},
		{"an old START ends what it does not name", "lift_too_far@s.lift.v1", "", func(b *book) { lifts(b, "s.lift.v1", "s.letter") }},
		{"joined parts end what is no part", "lift_too_far@j.lift", "is none", func(b *book) { lifts(b, "j.lift", "j.part", "j.stop") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := unplacedBook(t)
			c.wreck(b)
			r := b.verify()
			got := b.list(r)
			all := ""
			for _, f := range r.Findings {
				all += f.Text + "\n"
			}
			if c.want == "" && got != "" || !strings.Contains(all, c.text) || slices.ContainsFunc(strings.Fields(c.want), func(w string) bool { return !slices.Contains(strings.Fields(got), w) }) {
				t.Errorf("found %q, want %q\n%s", got, c.want, all)
			}
			if len(r.First) != len(slices.CompactFunc(slices.Clone(r.First), func(a, b Finding) bool { return a.Position.Partition == b.Position.Partition })) {
				t.Error(fmt.Sprint("a partition has two first findings: ", r.First))
			}
		})
	}
}

// What is kept does not grow with the messages of one person, nor with STARTs that lift nothing.
func TestPlacingIsSmall(t *testing.T) {
	b := unplacedBook(t)
	l := b.line(1, 15)
	for range 500 {
		word := received("stop", "")
		word.Unplaced, word.Programs, word.Reaches, word.Digest = "number_ambiguous", nil, nil, "d3"
		id := b.id(1)
		word.Streams = []event.HeldStream{{Tenant: "acme", Subject: l.s, Event: id}}
		m := b.add(0, "", &event.Event{Subject: subject(0, 20), Data: word})
		l.hold("", id, &event.InboundHeld{Inbound: m.ID, Stream: m.Subject, Account: "north", To: "600", Reaches: slices.Clone(both), Unplaced: "number_ambiguous", Control: 6})
		start := received("start", "")
		start.To = "700"
		l.fact("", event.ID{}, start)
	}
	v := New(required...)
	b.read(v)
	if x := &v.placing; len(x.owed) != 2 || len(x.deliveries)+len(x.early) > 0 {
		t.Errorf("%d, %d and %d holds are kept", len(x.owed), len(x.deliveries), len(x.early))
	}
	if n := len(v.now.live[l.s].starts); n > mostIdle {
		t.Errorf("%d STARTs are kept", n)
	}
	if r := v.Finish(); !r.OK() {
		t.Error(b.list(r))
	}
}
