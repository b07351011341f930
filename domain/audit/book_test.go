package audit

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// book is a ledger written by hand: events by partition, the good ones made by
// methods that chain them as a clerk would.
type book struct {
	t       testing.TB
	parts   map[event.Partition][]*event.Event
	names   map[string]*event.Event
	raws    map[*event.Event][]byte // bytes that stand for an event instead of its own
	skip    map[*event.Event]int64  // positions left out before an event
	last    map[event.Pseudonym]event.ID
	applied map[event.Partition]int64
	now     time.Time
	n       uint64
}

const partitions = 2

var required = []string{"opt_out", "quiet_hours", "countries", "senders"}

const digest = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"

func newBook(t testing.TB) *book {
	return &book{t: t, parts: map[event.Partition][]*event.Event{}, names: map[string]*event.Event{}, raws: map[*event.Event][]byte{},
		skip: map[*event.Event]int64{}, last: map[event.Pseudonym]event.ID{}, applied: map[event.Partition]int64{},
		now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)}
}

func (b *book) id(p event.Partition) event.ID {
	b.n++
	var seed event.ID
	binary.BigEndian.PutUint64(seed[8:], b.n)
	return event.DeriveMessageID(seed, max(int(p), 0), "book")
}

// subject is a pseudonym of the partition.
func subject(p event.Partition, n uint64) (s event.Pseudonym) {
	binary.BigEndian.PutUint64(s[:], (n+1)*partitions+uint64(p))
	return s
}

// add appends an event under a name ("" for none), a second after the one before.
func (b *book) add(p event.Partition, name string, e *event.Event) *event.Event {
	b.now = b.now.Add(time.Second)
	if e.ID.IsZero() {
		e.ID = b.id(p)
	}
	e.Source, e.Node = "/book", "a"
	if e.Time.IsZero() {
		e.Time = b.now
	}
	b.parts[p] = append(b.parts[p], e)
	if name != "" {
		if b.names[name] != nil {
			b.t.Fatalf("two events are called %s", name)
		}
		b.names[name] = e
	}
	return e
}

func (b *book) control(name, tenant string, d event.Data) *event.Event {
	return b.add(event.ControlPartition, name, &event.Event{Tenant: tenant, Data: d})
}

// apply brings the head of control into a partition.
func (b *book) apply(p event.Partition, name string) *event.Event {
	all := b.parts[event.ControlPartition]
	b.applied[p] = int64(len(all))
	return b.add(p, name, &event.Event{Data: &event.ControlApplied{Position: int64(len(all)), Event: all[len(all)-1].ID}})
}

// line is one stream being written.
type line struct {
	b *book
	p event.Partition
	s event.Pseudonym
}

func (b *book) line(p event.Partition, n uint64) line { return line{b, p, subject(p, n)} }

func (l line) fact(name string, message event.ID, d event.Data) *event.Event {
	return l.told(name, &event.Event{Subject: l.s, Tenant: "acme", Message: message, Data: d})
}

// hold is a hold with the id that its message names.
func (l line) hold(name string, id event.ID, d *event.InboundHeld) *event.Event {
	return l.told(name, &event.Event{ID: id, Subject: l.s, Tenant: "acme", Data: d})
}

func (l line) told(name string, e *event.Event) *event.Event {
	e = l.b.add(l.p, name, e)
	switch d := e.Data.(type) {
	case *event.OptedOut, *event.SuppressionLifted, *event.CancelRequested, *event.InboundHeld, *event.InboundJoined, *event.ReviewResolved:
		l.b.last[l.s] = e.ID
	case *event.InboundReceivedV2:
		if d.Unplaced == "" && (d.Holds != "" || d.Ask == event.InboundStop) {
			l.b.last[l.s] = e.ID
		}
	case *event.InboundReceived:
		if d.Revokes != nil || d.Holds != nil {
			l.b.last[l.s] = e.ID
		}
	}
	return e
}

func (l line) outcome(name string, message event.ID, d event.Data) *event.Event {
	e := l.b.add(l.p, name, &event.Event{Subject: l.s, Tenant: "acme", Message: message, After: l.b.last[l.s], Control: l.b.applied[l.p], Data: d})
	l.b.last[l.s] = e.ID
	return e
}

func (l line) submit(name string, change func(*event.MessageSubmitted)) event.ID {
	d := &event.MessageSubmitted{Program: "account", Purpose: "account", Priority: 5, From: "ACME", Country: "GB",
		Places: []event.Place{"GB Europe/London"}, Encoding: "gsm7", Segments: 1, ValidUntil: l.b.now.Add(24 * time.Hour), By: "key",
		Sealed: event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: []byte("sealed")}}
	if change != nil {
		change(d)
	}
	return l.fact(name, event.ID{}, d).ID
}

func checks(outcome event.DecisionOutcome) (out []event.Check) {
	for _, c := range required {
		out = append(out, event.Check{Check: c, Outcome: "allow", Rules: []string{c + ".none"}})
	}
	out[0].Outcome = outcome
	return out
}

func (l line) decide(name string, m event.ID, outcome event.DecisionOutcome, optOuts ...event.ID) *event.Event {
	d := &event.MessageDecided{Outcome: outcome, Checks: checks(outcome), OptOuts: optOuts, Revision: "r1", Digest: digest[:32]}
	switch outcome {
	case "allow":
		d.Until, d.Senders = l.b.now.Add(time.Hour), []string{"ACME"}
	case "defer":
		d.Until = l.b.now.Add(time.Second)
	case "hold":
		*d = event.MessageDecided{Outcome: "hold", Fault: "key", Until: l.b.now.Add(time.Second)}
	}
	return l.outcome(name, m, d)
}

func (l line) route(name string, m event.ID, parts int) *event.Event {
	return l.outcome(name, m, &event.MessageRouted{Rule: "all", Table: 2, Carrier: "north", From: "ACME", Encoding: "gsm7", Parts: parts})
}

func (l line) start(name string, m event.ID, attempt int, parts ...int) *event.Event {
	d := &event.HandoffStarted{Attempt: attempt, CallBy: l.b.now.Add(5 * time.Second), AnswerBy: l.b.now.Add(15 * time.Second), Reference: 17}
	for _, n := range parts {
		d.Parts = append(d.Parts, event.StartedPart{Part: n, Digest: "d"})
	}
	return l.outcome(name, m, d)
}

func (l line) accept(name string, m event.ID, attempt, part int) *event.Event {
	return l.fact(name, m, &event.HandoffAccepted{Attempt: attempt, Part: part, Carrier: "north", CarrierID: name})
}

func (l line) refuse(name string, m event.ID, attempt, part int, again bool) *event.Event {
	return l.fact(name, m, &event.HandoffRefused{Attempt: attempt, Part: part, Carrier: "north", Retry: again, Code: "ESME_RTHROTTLED"})
}

func (l line) receipt(name string, m event.ID, attempt, part int) *event.Event {
	return l.fact(name, m, &event.ReceiptReceived{Account: "north", CarrierID: "x", Attempt: attempt, Part: part, State: "delivered", Final: true,
		Sealed: event.Sealed{Box: []byte("x")}})
}

// good is a ledger with a little of everything; nothing is wrong with it.
func good(t testing.TB) *book {
	b := newBook(t)
	b.control("created", "", &event.LedgerCreated{Ledger: "book", Partitions: partitions, NumberForms: 1})
	b.control("routes", "", &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "north"}}, By: "op"})
	b.control("account", "acme", &event.ProgramChanged{Name: "account", LegalEntity: "Acme plc", Purposes: []string{"account"}, Countries: []string{"*"}, Senders: []string{"ACME"}, By: "op"})
	b.control("offers", "acme", &event.ProgramChanged{Name: "offers", LegalEntity: "Acme Shops", Purposes: []string{"marketing"}, Countries: []string{"*"}, Senders: []string{"ACME"}, By: "op"})
	b.control("policy", "", &event.PolicyActivated{Revision: "r1", Digest: digest, By: "op"})
	b.apply(0, "applied0")
	b.apply(1, "applied1")
	b.add(event.InboxPartition, "orphan", &event.Event{Subject: event.Pseudonym{7}, Data: &event.ReceiptReceived{Account: "north", CarrierID: "?", State: "delivered", Sealed: event.Sealed{Box: []byte("x")}}})

	// One message, from submit to receipt.
	a := b.line(0, 1)
	m := a.submit("a.submit", nil)
	a.decide("a.allow", m, "allow")
	a.route("a.route", m, 1)
	a.start("a.start", m, 1, 1)
	a.accept("a.accept", m, 1, 1)
	a.receipt("a.receipt", m, 1, 1)

	// An allow overtaken by an opt-out of another program; decided again, a retry of one part of two.
	c := b.line(0, 2)
	m = c.submit("c.submit", func(d *event.MessageSubmitted) { d.Segments = 2 })
	c.decide("c.hold", m, "hold")
	c.decide("c.allow1", m, "allow")
	stop := c.fact("c.stop", event.ID{}, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeProgram, Name: "offers"}, Source: "web", By: "key"})
	c.decide("c.allow2", m, "allow", stop.ID)
	c.route("c.route2", m, 2)
	c.start("c.start2", m, 1, 1, 2)
	c.accept("c.accept1", m, 1, 1)
	c.refuse("c.refuse2", m, 1, 2, true)
	c.decide("c.allow3", m, "allow", stop.ID)
	c.route("c.route3", m, 2)
	c.start("c.start3", m, 2, 2)
	c.accept("c.accept2", m, 2, 2)

	// STOP, its one confirmation, a denial, a lift, and then an allow.
	d := b.line(1, 1)
	word := d.fact("d.stop", event.ID{}, &event.InboundReceived{Account: "north", To: "ACME", Ask: "stop", Match: "STOP", Program: "account",
		Revokes: &event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme plc"}, Read: 1, Sealed: event.Sealed{SubjectKey: event.ID{2}, Box: []byte("x")}})
	reply := d.submit("d.reply", func(s *event.MessageSubmitted) { s.Purpose, s.Answers, s.By = "compliance_reply", word.ID, "clerk" })
	d.decide("d.allow", reply, "allow", word.ID)
	d.route("d.route", reply, 1)
	d.start("d.start", reply, 1, 1)
	d.accept("d.accept", reply, 1, 1)
	m = d.submit("d.submit", nil)
	d.decide("d.deny", m, "deny", word.ID)
	d.fact("d.lift", event.ID{}, &event.SuppressionLifted{Lifts: []event.ID{word.ID}, Source: "letter", By: "key"})
	m = d.submit("d.submit2", nil)
	d.decide("d.defer2", m, "defer")
	d.decide("d.allow2", m, "allow")
	d.route("d.route2", m, 1)
	d.start("d.start2", m, 1, 1)
	d.accept("d.accept2", m, 1, 1)

	// In doubt, for a message that prefers a duplicate.
	e := b.line(1, 2)
	m = e.submit("e.submit", func(d *event.MessageSubmitted) { d.PrefersDuplicate = true })
	e.decide("e.allow", m, "allow")
	e.route("e.route", m, 1)
	e.start("e.start", m, 1, 1)
	b.now = b.now.Add(time.Minute)
	e.outcome("e.doubt", m, &event.HandoffInDoubt{Attempt: 1, Parts: []int{1}, Why: "no answer"})
	b.now = b.now.Add(time.Minute)
	e.decide("e.allow2", m, "allow")
	e.route("e.route2", m, 1)
	e.start("e.start2", m, 2, 1).Data.(*event.HandoffStarted).Duplicate = true
	e.accept("e.accept", m, 2, 1)

	// Cancelled; and a pause that is over.
	f := b.line(1, 3)
	m = f.submit("f.submit", nil)
	f.decide("f.allow", m, "allow")
	f.fact("f.cancel", m, &event.CancelRequested{By: "key"})
	b.control("paused", "acme", &event.Paused{Program: "account", Reason: "test", By: "op"})
	b.apply(1, "applied1.paused")
	b.control("resumed", "acme", &event.Resumed{Program: "account", By: "op"})
	b.apply(1, "applied1.resumed")
	m = f.submit("f.submit2", nil)
	f.decide("f.allow2", m, "allow")
	f.route("f.route2", m, 1)
	f.start("f.start2", m, 1, 1)
	f.accept("f.accept2", m, 1, 1)
	return b
}

func (b *book) find(name string) (event.Partition, int) {
	e := b.names[name]
	for p, list := range b.parts {
		if i := slices.Index(list, e); i >= 0 && e != nil {
			return p, i
		}
	}
	b.t.Fatalf("there is no event called %s", name)
	return 0, 0
}

// drop takes events out, and closes the gap.
func (b *book) drop(names ...string) {
	for _, name := range names {
		p, i := b.find(name)
		b.parts[p] = slices.Delete(b.parts[p], i, i+1)
	}
}

// before puts an event in front of a named one.
func (b *book) before(name, as string, e *event.Event) *event.Event {
	p, i := b.find(name)
	if e.ID.IsZero() {
		e.ID = b.id(p)
	}
	e.Source, e.Node, e.Time = "/book", "m", b.names[name].Time
	b.parts[p] = slices.Insert(b.parts[p], i, e)
	b.names[as] = e
	return e
}

// move takes an event to before another.
func (b *book) move(name, to string) {
	e := b.names[name]
	b.drop(name)
	p, i := b.find(to)
	b.parts[p] = slices.Insert(b.parts[p], i, e)
}

// edit changes an event; its bytes are written anew.
func edit[D event.Data](b *book, name string, f func(e *event.Event, d D)) {
	e := b.names[name]
	f(e, e.Data.(D))
}

// verify reads the book: its partitions in turn, and apart from one another, which must say the same. let are events
// that the rule is made to let through; then it is read in turn alone.
func (b *book) verify(let ...string) *Report {
	v := New(required...)
	if len(let) > 0 {
		v.judge = func(s *recipient.State, p *recipient.PartitionState, index int64, e *event.Event) recipient.Why {
			why := s.Evolve(p, index, e)
			for _, name := range let {
				if b.names[name].ID == e.ID {
					return ""
				}
			}
			return why
		}
	}
	b.read(v)
	r := v.Finish()
	if len(let) == 0 {
		b.sameApart(r)
	}
	return r
}

func (b *book) read(v *Verifier) {
	for _, p := range []event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition, 0, 1} {
		var index int64
		for _, e := range b.parts[p] {
			raw := b.raws[e]
			if raw == nil {
				var err error
				if raw, err = event.Encode(e); err != nil {
					b.t.Fatal(err)
				}
			}
			index += b.skip[e]
			v.Take(p, index, raw)
			index++
		}
	}
}

// name of the event at a finding's position.
func (b *book) at(f Finding) string {
	var index int64
	for _, e := range b.parts[f.Position.Partition] {
		index += b.skip[e]
		if index == f.Position.Index {
			for name, named := range b.names {
				if named == e {
					return name
				}
			}
		}
		index++
	}
	return f.Position.String()
}

func (b *book) list(r *Report) string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, string(f.Code)+"@"+b.at(f))
	}
	return strings.Join(out, " ")
}
