package history_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/history"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// story is a stream that a test writes event by event.
type story struct {
	*stored
	t     *testing.T
	state *recipient.State
	part  recipient.PartitionState
	p     int
	now   time.Time
	names map[string]event.ID
}

var began = time.Date(2026, 11, 24, 19, 0, 0, 0, time.UTC) // 14:00 in New York

// newStory is the empty stream of the tenant bank and the number +14155550000.
func newStory(t *testing.T) *story {
	s := newStored(viewtest.NewWorld(func(n int) int { return n / 2 }))
	s.registry = &control.Registry{}
	s.registry, _ = s.registry.Apply(0, &event.Event{Tenant: "bank", Data: &event.ProgramChanged{Name: "ads", LegalEntity: "Acme Bank", Senders: []string{"BANK"}}})
	s.registry, _ = s.registry.Apply(1, &event.Event{Tenant: "bank", Data: &event.ProgramChanged{Name: "cards", LegalEntity: "Acme Cards", Senders: []string{"CARDS"}}})
	subject := pseudonymIn(2)
	s.subjects, s.tenants = []event.Pseudonym{subject}, []string{"bank"}
	x := &story{stored: s, t: t, state: recipient.New("bank", subject), part: recipient.PartitionState{Level: 2}, p: 2, now: began, names: map[string]event.ID{}}
	s.w.States[2] = map[event.Pseudonym]*recipient.State{subject: x.state}
	return x
}

// put adds an event about a message ("": none) a second after the one before, and gives it a name.
func (x *story) put(name, message string, d event.Data) *story {
	x.t.Helper()
	x.now = x.now.Add(time.Second)
	id := event.NewID(x.now)
	if _, ok := d.(*event.MessageSubmitted); ok {
		id = event.NewMessageID(x.now, x.p)
	}
	x.names[name] = id
	e := &event.Event{ID: id, Source: "/test", Tenant: "bank", Subject: x.state.Subject, Time: x.now, Message: x.names[message], Data: d, Node: "n"}
	if d.Type().Kind() == event.Outcome {
		e.After = x.state.Last
	}
	raw, err := event.Encode(e)
	if err != nil {
		x.t.Fatal(err)
	}
	j := ledger.Judged{Record: ledger.Record{Index: int64(len(x.w.Steps[x.p])), Event: e, Raw: raw}}
	rule := recipient.Standard()
	j.Why, j.Changes = rule.EvolveAndCompare(x.state, &x.part, j.Index, e)
	if m := x.state.Message(e.MessageID()); m != nil {
		j.Status = m.Status
	}
	x.w.Steps[x.p] = append(x.w.Steps[x.p], viewtest.Step{Judged: j})
	x.take(event.Partition(x.p), &j)
	return x
}

func sealed(v any) event.Sealed {
	raw, _ := json.Marshal(v)
	return event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: raw}
}

func (x *story) submit(name, program, from, purpose string) *story {
	return x.put(name, "", &event.MessageSubmitted{Program: program, Purpose: purpose, Priority: 5, From: from, Country: "US", Places: []event.Place{"US-NY America/New_York"},
		Encoding: "gsm7", Segments: 1, ValidUntil: x.now.Add(24 * time.Hour), By: "k1", Sealed: sealed(event.Content{To: "+14155550000", Body: "Hello, you", Reference: "case-17"})})
}

// sent decides, routes and hands off a message.
func (x *story) sent(name string, check event.Check) *story {
	from := x.messages[x.names[name]].From
	x.put(name+" decided", name, &event.MessageDecided{Outcome: event.Allow, Until: x.now.Add(time.Hour), Senders: []string{from}, Checks: []event.Check{check}})
	x.put(name+" routed", name, &event.MessageRouted{Rule: "all", Table: 1, Carrier: "north", From: from, Encoding: "gsm7", Parts: 1})
	x.put(name+" started", name, &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: "00112233445566778899aabbccddeeff"}}, CallBy: x.now.Add(10 * time.Second), AnswerBy: x.now.Add(20 * time.Second)})
	return x.put(name+" taken", name, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "north", CarrierID: "abc"})
}

func (x *story) stop(name string) *story {
	return x.put(name, "", &event.InboundReceivedV2{Account: "north", To: "22333", Ask: "stop", Match: "stop", Programs: []string{"ads"}, Reaches: []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme Bank"}},
		Read: int64(len(x.w.Steps[x.p])), Sealed: sealed(event.Inbound{From: "+14155550000", Text: "STOP now"})})
}

func plainCheck(rule string, ids ...event.ID) event.Check {
	return event.Check{Check: "opt_out", Outcome: event.Allow, Rules: []string{rule}, OptOuts: ids}
}

// read is the history as a caller with some scopes sees it.
func (x *story) read(q history.Query, sight reading.Sight) *history.History {
	x.t.Helper()
	q.Number = "+14155550000"
	h, err := x.reader().History(context.Background(), reading.Look{Caller: ledger.Caller{Tenant: "bank", Key: "k9"}, Reason: "case 17", Sight: sight}, q)
	if err != nil {
		x.t.Fatal(err)
	}
	return h
}

// entry is the entry of a named event.
func (x *story) entry(h *history.History, name string) history.Entry {
	x.t.Helper()
	i := slices.IndexFunc(h.Entries, func(e history.Entry) bool { return e.Event == x.names[name] })
	if i < 0 {
		x.t.Fatalf("the history has no %s", name)
	}
	return h.Entries[i]
}

func value(e history.Entry, name string) string {
	for _, d := range e.Details {
		if d.Name == name {
			return d.Value
		}
	}
	return ""
}

// whole is a stream with a STOP, its confirmation, a denial, a message of another legal entity, a lift, and what
// was sent afterwards.
func whole(t *testing.T) *story {
	x := newStory(t)
	x.submit("first", "ads", "BANK", "marketing").sent("first", plainCheck("opt_out.none"))
	x.put("receipt", "first", &event.ReceiptReceived{Account: "north", CarrierID: "abc", Attempt: 1, Part: 1, State: event.StateDelivered, Final: true, Grade: event.GradeHandset, Match: event.MatchID, Sealed: sealed(event.Inbound{})})
	x.stop("stop")
	x.submit("reply", "ads", "BANK", "compliance_reply").sent("reply", plainCheck("opt_out.confirmation", x.names["stop"]))
	x.submit("denied", "ads", "BANK", "marketing").put("denial", "denied", &event.MessageDecided{Outcome: event.Deny,
		Checks: []event.Check{{Check: "opt_out", Outcome: event.Deny, Rules: []string{"opt_out.legal_entity"}, OptOuts: []event.ID{x.names["stop"]}}}})
	x.submit("other", "cards", "CARDS", "account").sent("other", plainCheck("opt_out.elsewhere"))
	x.put("lift", "", &event.SuppressionLifted{Lifts: []event.ID{x.names["stop"]}, Source: "phone", By: "k2", Sealed: ptr(sealed(event.Evidence{Text: "called back"}))})
	x.submit("later", "ads", "BANK", "marketing").sent("later", plainCheck("opt_out.none"))
	x.put("letter", "", &event.OptedOut{Reach: event.Reach{Scope: event.ScopeSender, Name: "BANK"}, Source: "letter", Occurred: began.AddDate(0, 0, -3), By: "k2", Sealed: ptr(sealed(event.Evidence{Text: "letter of the 21st"}))})
	return x
}

func ptr[T any](v T) *T { return &v }

func rule(id string) (decision.Rule, bool) {
	if id != "opt_out.legal_entity" {
		return decision.Rule{}, false
	}
	return decision.Rule{ID: id, Text: "The recipient opted out of every message of this legal entity.", Citation: "47 CFR 64.1200(a)(10)"}, true
}

func TestSentences(t *testing.T) {
	x := whole(t)
	h := x.read(history.Query{Limit: 500}, reading.Sight{Numbers: true, Bodies: true, Words: true, Evidence: true})
	if h.Zone.String() != "America/New_York" || h.Number != "+14155550000" || len(h.Masked)+len(h.Notes) > 0 || h.Next != "" {
		t.Errorf("%s %s %v %v %q", h.Zone, h.Number, h.Masked, h.Notes, h.Next)
	}
	for name, want := range map[string]string{
		"first":         "A message of the program ads was asked for, as BANK, purpose marketing, in 1 part.",
		"first decided": "Allowed: the message may be sent until 2026-11-24 15:00:01.",
		"first routed":  "The carrier account north was chosen, to send as BANK, in 1 part (route all).",
		"first started": "Hand-off 1 to the carrier account north began, with 1 part.",
		"first taken":   "The carrier account north took part 1.",
		"receipt":       "The carrier account north reports part 1 as delivered (the carrier vouches that the handset has it).",
		"stop":          "The person wrote to 22333. It is a STOP (by \"stop\" in the word lists): the person opted out of Acme Bank.",
		"denial":        "Denied: the person opted out of Acme Bank on 2026-11-24. Rule opt_out.legal_entity; 47 CFR 64.1200(a)(10).",
		"lift":          "The opt-out of Acme Bank (said 2026-11-24) was lifted by the key k2 (phone). A lift is not a consent.",
		"letter":        "The person opted out of messages from BANK (letter). Said 2026-11-21 14:00:00, known here 2026-11-24 14:00:26.",
	} {
		if e := x.entry(h, name); e.Sentence != want || e.Void != "" {
			t.Errorf("%s: %q, want %q", name, e.Sentence, want)
		}
	}
	for name, want := range map[string][2]string{"first": {"Text", "Hello, you"}, "denied": {"Reference", "case-17"}, "stop": {"Words", "STOP now"}, "lift": {"Evidence", "called back"}} {
		if got := value(x.entry(h, name), want[0]); got != want[1] {
			t.Errorf("%s: %s is %q", name, want[0], got)
		}
	}
	if e := x.entry(h, "letter"); !e.Said.Equal(began.AddDate(0, 0, -3)) || !e.Known.Equal(e.Time) || e.After.Sentence != "After this STOP was known here nothing was handed off to a carrier. Between what was said (2026-11-21 14:00:00) and that, 4 hand-offs began." {
		t.Errorf("%+v", e)
	}
	a := x.entry(h, "stop").After
	if want := "After this STOP 2 hand-offs to a carrier began: 1 is the confirmation of an opt-out; 1 is not covered by it. After it had ended (it was lifted on 2026-11-24 14:00:20), 1 hand-off began."; a.Sentence != want || a.Count != 3 || a.Disputed {
		t.Errorf("%+v, want %s", a, want)
	}
	for i, want := range []string{"one confirmation", "does not cover it: it is a message of the program cards as CARDS", "had ended"} {
		if !strings.Contains(a.Handoffs[i].Why, want) {
			t.Errorf("hand-off %d: %s", i, a.Handoffs[i].Why)
		}
	}
	if len(h.Standing) != 1 || h.Standing[0].Event != x.names["letter"] {
		t.Errorf("%+v", h.Standing)
	}
}

// What nothing that is recorded explains is in dispute.
func TestDispute(t *testing.T) {
	x := newStory(t)
	x.stop("stop").submit("wrong", "ads", "BANK", "marketing").sent("wrong", plainCheck("opt_out.none"))
	if a := x.entry(x.read(history.Query{}, reading.Sight{}), "stop").After; !a.Disputed || !strings.Contains(a.Sentence, "1 is in dispute") {
		t.Errorf("%+v", a)
	}
	x.registry = &control.Registry{}
	if a := x.entry(x.read(history.Query{}, reading.Sight{}), "stop").After; !a.Disputed || !strings.Contains(a.Handoffs[0].Why, "is not known here") {
		t.Errorf("%+v", a)
	}
}

func TestMoments(t *testing.T) {
	x := whole(t)
	letter := " The person had opted out of messages from BANK by then (letter, said 2026-11-21 14:00:00); it was not known here until 2026-11-24 14:00:26."
	second := "From the beginning of that second on "
	for at, want := range map[string]struct {
		sentence, within, later string
		stood, came, count      int
	}{
		"2026-11-24T19:00:01Z": {"At 2026-11-24 14:00:01 (America/New_York), when that second began, no opt-out stood." + letter, "",
			second + "4 hand-offs to a carrier began, the first at 2026-11-24 14:00:04.", 0, 0, 4},
		"2026-11-24T19:00:07Z": {"At 2026-11-24 14:00:07 (America/New_York), when that second began, no opt-out stood." + letter, "A STOP came within that second, at 14:00:07.",
			"After the opt-out at 14:00:07 3 hand-offs to a carrier began, the first at 2026-11-24 14:00:11.", 0, 1, 3},
		"2026-11-24T19:00:07.000Z": {"At 2026-11-24 14:00:07.000 (America/New_York) no opt-out stood." + letter, "A STOP came at that moment, at 14:00:07.",
			"After the opt-out at 14:00:07 3 hand-offs to a carrier began, the first at 2026-11-24 14:00:11.", 0, 1, 3},
		"2026-11-24 14:00:07.000": {"At 2026-11-24 14:00:07.000 (America/New_York) no opt-out stood." + letter, "A STOP came at that moment, at 14:00:07.",
			"After the opt-out at 14:00:07 3 hand-offs to a carrier began, the first at 2026-11-24 14:00:11.", 0, 1, 3},
		"2026-11-24 14:00:08": {"At 2026-11-24 14:00:08 (America/New_York), when that second began, this opt-out stood." + letter, "",
			second + "3 hand-offs to a carrier began, the first at 2026-11-24 14:00:11.", 1, 0, 3},
		"14:00:07": {"At 2026-11-24 14:00:07 (America/New_York), when that second began, no opt-out stood." + letter, "A STOP came within that second, at 14:00:07.",
			"After the opt-out at 14:00:07 3 hand-offs to a carrier began, the first at 2026-11-24 14:00:11.", 0, 1, 3},
		"14:00:26": {"At 2026-11-24 14:00:26 (America/New_York), when that second began, no opt-out stood.", "A STOP became known here within that second, at 14:00:26.",
			"After the opt-out at 14:00:26 nothing was handed off to a carrier.", 0, 1, 0},
		"14:00": {"At 2026-11-24 14:00 (America/New_York), when that minute began, no opt-out stood.", "2 opt-outs came within that minute, the first at 14:00:07.",
			"After the opt-out at 14:00:07 3 hand-offs to a carrier began, the first at 2026-11-24 14:00:11. Before it, within that minute, 1 hand-off began.", 0, 2, 3},
		"2026-11-24 14:01": {"At 2026-11-24 14:01 (America/New_York), when that minute began, this opt-out stood.", "",
			"From the beginning of that minute on nothing was handed off to a carrier.", 1, 0, 0},
	} {
		m := x.read(history.Query{At: at}, reading.Sight{}).Moment
		if m.Sentence != want.sentence || m.Within != want.within || m.Later != want.later || len(m.Standing) != want.stood || len(m.Came) != want.came || m.Count != want.count || len(m.Handoffs) != want.count || m.Note != "" {
			t.Errorf("%s: %+v", at, m)
		}
		if long := m.Until.Sub(m.From); long != time.Minute && long != time.Second && long != time.Millisecond || m.CountedFrom.Before(m.From) || !m.CountedFrom.Before(m.Until) {
			t.Errorf("%s: from %s until %s, counted from %s", at, m.From, m.Until, m.CountedFrom)
		}
	}
	const meaning = "A time of day alone means the last day on which an opt-out came at that time, or else the last time that the clock showed it."
	for at, want := range map[string]string{
		"19:00": "No opt-out came at 19:00 (America/New_York); one came at 19:00 UTC, which is 14:00 on 2026-11-24 there. " + meaning,
		"03:30": "No opt-out came at 03:30 (America/New_York). " + meaning,
	} {
		if m := x.read(history.Query{At: at}, reading.Sight{}).Moment; m.Note != want {
			t.Errorf("%s: %q", at, m.Note)
		}
	}
	for _, q := range []history.Query{{At: "soon"}, {Since: began.Add(time.Hour), Until: began}, {Zone: "Mars"}, {Cursor: "x"}, {Number: "1"}} {
		if q.Number == "" {
			q.Number = "+14155550000"
		}
		var refusal *ledger.Refusal
		if _, err := x.reader().History(context.Background(), look("bank"), q); !errors.As(err, &refusal) || refusal.Field == "" {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// What a key may not see is left out, said, and not recorded; what it sees is recorded before.
func TestMasks(t *testing.T) {
	x := whole(t)
	h := x.read(history.Query{Limit: 500}, reading.Sight{})
	if !slices.Equal(h.Masked, []string{"number", "body", "words", "evidence"}) || h.Number == "+14155550000" || len(x.reads) > 0 {
		t.Errorf("%v %s %v", h.Masked, h.Number, x.reads)
	}
	all, _ := json.Marshal(h.Entries)
	for _, secret := range []string{"4155550000", "Hello", "case-17", "STOP now", "called back", "letter of"} {
		if strings.Contains(string(all), secret) {
			t.Errorf("%q is shown", secret)
		}
	}
	x.read(history.Query{Limit: 500}, reading.Sight{Words: true, Evidence: true})
	if len(x.reads) != 1 || !slices.Equal(x.reads[0].Shown, []string{"words", "evidence"}) || x.reads[0].Call != "recipientHistory" || x.reads[0].Subject != x.state.Subject ||
		!slices.Equal(x.reads[0].Events, []event.ID{x.names["stop"], x.names["lift"], x.names["letter"]}) {
		t.Errorf("%+v", x.reads)
	}
}

func TestVoidAndMissing(t *testing.T) {
	x := whole(t)
	x.put("late", "first", &event.MessageDecided{Outcome: event.Deny})
	x.complete = began
	h := x.read(history.Query{Newest: true, Limit: 1}, reading.Sight{})
	e := x.entry(h, "late")
	if e.Why != recipient.Settled || !strings.Contains(e.Void, "no longer in a state") || len(h.Notes) != 1 || h.Next == "" {
		t.Errorf("%+v %v", e, h.Notes)
	}
	if second := x.read(history.Query{Newest: true, Limit: 1, Cursor: h.Next}, reading.Sight{}); len(h.Standing) != 1 || len(second.Standing) != 0 {
		t.Errorf("%v, and on the second page %v", h.Standing, second.Standing)
	}
	x.complete = time.Time{}
	delete(x.others, x.state.Subject)
	if h = x.read(history.Query{}, reading.Sight{}); len(h.Notes) != 1 || !strings.Contains(h.Notes[0], "do not rely") {
		t.Errorf("a fold that differs is not told: %v", h.Notes)
	}
}

func TestEventByID(t *testing.T) {
	x := whole(t)
	all := reading.Look{Caller: ledger.Caller{Tenant: "bank"}, Sight: reading.Sight{Numbers: true, Bodies: true, Words: true, Evidence: true}}
	for name, id := range x.names {
		one, err := x.reader().Event(context.Background(), all, false, id.String())
		if err != nil || one.Event != id || one.Sentence == "" || !json.Valid(one.Stored) || !strings.Contains(string(one.Stored), id.String()) {
			t.Errorf("%s: %+v, %v", name, one, err)
			continue
		}
		at, err := x.reader().Event(context.Background(), look("bank"), false, one.Position.String())
		if err != nil || at.Event != id || string(at.Stored) != string(one.Stored) {
			t.Errorf("%s at %s: %+v, %v", name, one.Position, at, err)
		}
		for _, text := range []string{id.String(), one.Position.String()} {
			if _, err := x.reader().Event(context.Background(), look("clinic"), false, text); !errors.Is(err, history.ErrNoEvent) {
				t.Errorf("another tenant asks for %s: %v", name, err)
			}
		}
	}
	for _, text := range []string{event.NewID(began).String(), "02-9999", "09-1", "inbox-0", "control-0"} {
		if _, err := x.reader().Event(context.Background(), all, true, text); !errors.Is(err, history.ErrNoEvent) {
			t.Errorf("%s: %v", text, err)
		}
	}
	var refusal *ledger.Refusal
	if _, err := x.reader().Event(context.Background(), all, true, "x"); !errors.As(err, &refusal) {
		t.Error(err)
	}
}

// An opt-out that is said again stands since the first time.
func TestRepeats(t *testing.T) {
	x := newStory(t)
	x.stop("first").submit("other", "cards", "CARDS", "account").sent("other", plainCheck("opt_out.elsewhere")).stop("second").stop("third")
	h := x.read(history.Query{At: "2026-11-24 14:00:08"}, reading.Sight{})
	if len(h.Standing) != 1 {
		t.Fatalf("%+v", h.Standing)
	}
	s := h.Standing[0]
	if want := "Acme Bank, said and known here 2026-11-24 14:00:01 (handset), repeated 2 times, the last time 2026-11-24 14:00:08 (handset)."; s.Sentence != want || s.Event != x.names["third"] || !s.Since.Equal(began.Add(time.Second)) || s.After.Count != 1 {
		t.Errorf("%+v, %+v", s, s.After)
	}
	if want := "Acme Bank, said and known here 2026-11-24 14:00:01 (handset), repeated 2026-11-24 14:00:07 (handset)."; len(h.Moment.Standing) != 1 || h.Moment.Standing[0].Sentence != want || len(h.Moment.Came) != 1 || h.Moment.Came[0].After.Count != 0 {
		t.Errorf("%+v", h.Moment)
	}
	if got, want := value(x.entry(h, "first"), "Repeated"), "On 2026-11-24 14:00:07 (handset), by the event "+x.names["second"].String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := value(x.entry(h, "third"), "Repeated"); got != "" {
		t.Error(got)
	}
}

// What waits says why, without a time at which nothing happens, and which opt-outs it will be looked at by.
func TestWaiting(t *testing.T) {
	for name, c := range map[string]struct {
		decided event.MessageDecided
		stopped bool
		program string
		want    [2]string
	}{
		"a pause": {event.MessageDecided{Outcome: event.Hold, Fault: event.FaultPause, Detail: "paused: wrong price"}, false, "ads", [2]string{"Held: sending is paused. Reason: wrong price.", "held"}},
		"a fault": {event.MessageDecided{Outcome: event.Hold, Fault: event.FaultClock}, false, "ads",
			[2]string{"Held, to be tried again at 2026-11-24 15:00:00: the server's clock cannot be trusted at the moment. See docs/glossary.md#fault.", "held"}},
		"a STOP": {event.MessageDecided{Outcome: event.Defer}, true, "ads",
			[2]string{"Deferred until 2026-11-24 15:00:00.", "deferred. The person opted out of Acme Bank: that is looked at before it is sent, and if it stands then, the message will be refused"}},
		"another's STOP": {event.MessageDecided{Outcome: event.Defer}, true, "cards",
			[2]string{"Deferred until 2026-11-24 15:00:00.", "deferred. The person opted out of Acme Bank, which does not cover it; opt-outs are looked at again before it is sent"}},
	} {
		x := newStory(t)
		c.decided.Until = began.Add(time.Hour)
		from := map[string]string{"ads": "BANK", "cards": "CARDS"}[c.program]
		x.submit("m", c.program, from, "marketing").put("decision", "m", &c.decided)
		if c.stopped {
			x.stop("stop")
		}
		h := x.read(history.Query{}, reading.Sight{})
		if got := [2]string{x.entry(h, "decision").Sentence, value(x.entry(h, "m"), "Status now")}; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A pause is said with what it covers.
func TestPauses(t *testing.T) {
	x := newStory(t)
	for _, c := range []struct {
		tenant string
		data   event.Data
		want   string
	}{
		{"", &event.Paused{Reason: "wrong price", By: "k1"}, "All sending of all tenants was paused: wrong price. By the key k1."},
		{"bank", &event.Paused{Program: "ads", Reason: "wrong price.", By: "k1"}, "Sending of program ads of tenant bank was paused: wrong price. By the key k1."},
		{"", &event.Paused{Carrier: "north", Reason: "it is down", By: "k1"}, "Sending by carrier north, of all tenants, was paused: it is down. By the key k1."},
		{"bank", &event.Resumed{Program: "ads", Carrier: "north", Reason: "mended", By: "k2"}, "Sending of program ads of tenant bank by carrier north was resumed: mended. By the key k2."},
	} {
		at := event.Position{Partition: event.ControlPartition, Index: int64(len(x.control))}
		x.control = append(x.control, ledger.Record{Index: at.Index, Event: &event.Event{ID: event.NewID(began), Tenant: c.tenant, Time: began, Data: c.data}, Raw: []byte("{}")})
		one, err := x.reader().Event(context.Background(), look("bank"), false, at.String())
		if err != nil || one.Sentence != c.want {
			t.Errorf("%+v, %v, want %s", one, err, c.want)
		}
	}
}
