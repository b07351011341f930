package report

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

var update = flag.Bool("update", false, "write the golden files")

// fakeDesk has tallies by tenant and quarter, and stream events.
type fakeDesk struct {
	tallies  map[string]map[int64][]reading.Tally
	events   []reading.StreamEvent
	complete time.Time
	asked    int
}

func (f *fakeDesk) Tallies(_ context.Context, tenant string, from, until int64, do func(int64, []reading.Tally) error) error {
	var quarters []int64
	for q := range f.tallies[tenant] {
		if q >= from && q < until {
			quarters = append(quarters, q)
		}
	}
	slices.Sort(quarters)
	for _, q := range quarters {
		for _, t := range f.tallies[tenant][q] { // as if each were of another partition
			if err := do(q, []reading.Tally{t}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fakeDesk) TenantEvents(_ context.Context, tenant string, q reading.StreamEventFilter) (out []reading.StreamEvent, _ error) {
	f.asked++
	for _, e := range slices.Backward(f.events) { // they are in order of time
		if e.Tenant == tenant && slices.Contains(q.Types, e.Type) && !e.Time.Before(q.Since) && e.Time.Before(q.Until) &&
			(q.Before.IsZero() || e.Time.Before(q.BeforeTime) || e.Time.Equal(q.BeforeTime) && bytes.Compare(e.ID[:], q.Before[:]) < 0) && len(out) < q.Limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (f *fakeDesk) Complete(context.Context) (time.Time, error) { return f.complete, nil }

func (f *fakeDesk) add(tenant string, at time.Time, t reading.Tally) {
	if f.tallies == nil {
		f.tallies = map[string]map[int64][]reading.Tally{}
	}
	if f.tallies[tenant] == nil {
		f.tallies[tenant] = map[int64][]reading.Tally{}
	}
	q := at.Unix() / quarter
	f.tallies[tenant][q] = append(f.tallies[tenant][q], t)
}

// fakeViews have messages and reviews, each in order of time.
type fakeViews struct {
	messages []*reading.Message
	reviews  []reading.Review
}

func (f *fakeViews) Search(_ context.Context, tenant string, q reading.Filter) (out []*reading.Message, _ error) {
	for _, m := range slices.Backward(f.messages) {
		if m.Tenant == tenant && m.Subject == q.Subject && !m.Accepted.Before(q.Since) && (q.Until.IsZero() || m.Accepted.Before(q.Until)) &&
			(q.After.IsZero() || bytes.Compare(m.ID[:], q.After[:]) < 0) && len(out) < q.Limit {
			out = append(out, m)
		}
	}
	return out, nil
}

func (f *fakeViews) Reviews(_ context.Context, tenant string, q reading.ReviewFilter) (out []reading.Review, _ error) {
	for _, r := range f.reviews {
		if r.Tenant == tenant && (r.Since.After(q.AfterSince) || r.Since.Equal(q.AfterSince) && bytes.Compare(r.Event[:], q.After[:]) > 0) && len(out) < q.Limit {
			out = append(out, r)
		}
	}
	return out, nil
}

// fakeLog has records by partition, and counts the reads.
type fakeLog struct {
	records map[event.Partition][]*event.Event
	reads   int
}

func (f *fakeLog) Read(ctx context.Context, p event.Partition, from int64, most int) ([]ledger.Record, int64, error) {
	all := f.records[p]
	head := int64(len(all))
	if most == 0 {
		return nil, head, nil
	}
	f.reads++
	if from >= head {
		return nil, head, errors.New("a report waits for nothing")
	}
	var out []ledger.Record
	for i := from; i < min(head, from+int64(most)); i++ {
		out = append(out, ledger.Record{Index: i, Event: all[i]})
	}
	return out, head, nil
}

func (f *fakeLog) append(p event.Partition, e *event.Event) event.Position {
	if f.records == nil {
		f.records = map[event.Partition][]*event.Event{}
	}
	f.records[p] = append(f.records[p], e)
	return event.Position{Partition: p, Index: int64(len(f.records[p]) - 1)}
}

type fakeRules struct{}

func (fakeRules) Rule(id string) (decision.Rule, bool) {
	r, ok := map[string]decision.Rule{
		"opt_out.sender": {ID: "opt_out.sender", Text: "The recipient opted out of messages from this sender.", Citation: "47 CFR 64.1200(a)(10)"},
		"quiet_hours.us": {ID: "quiet_hours.us", Text: "Marketing may be received between 8 a.m. and 9 p.m. at the recipient's place only.", Citation: "47 CFR 64.1200(c)(1)"},
	}[id]
	return r, ok
}

type env struct {
	desk  fakeDesk
	views fakeViews
	log   fakeLog
	maker *Maker
}

func newEnv() *env {
	e := &env{}
	e.maker = New(Ports{Views: &e.views, Desk: &e.desk, Log: &e.log, Rules: fakeRules{}, Zones: places.BuiltIn(),
		Tenants: map[string]string{"acme": "America/New_York"}, Now: func() time.Time { return now }})
	return e
}

func (e *env) make(t testing.TB, ask Ask) *Report {
	t.Helper()
	r, err := e.maker.Make(t.Context(), "acme", ask)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// id is an id of a time that n tells from others.
func id(at time.Time, n byte) event.ID {
	x := event.NewMessageID(at, 3)
	copy(x[8:], []byte{0x80, 0, 0, 0, 0, 0, 0, n})
	return x
}

// random draws tallies over a span of time.
func (e *env) random(seed uint64, from time.Time, span time.Duration, n int) {
	draw := rand.New(rand.NewPCG(seed, 0))
	pick := func(of ...string) string { return of[draw.IntN(len(of))] }
	for range n {
		at := from.Add(time.Duration(draw.Int64N(int64(span))))
		tally := func(kind reading.TallyKind, program, a, b, c string, sum bool) {
			t := reading.Tally{Kind: kind, Program: program, A: a, B: b, C: c, Count: 1 + draw.Int64N(40)}
			if sum {
				t.Sum = t.Count * 2
			}
			e.desk.add("acme", at, t)
		}
		p, country, carrier := pick("otp", "marketing", "recall"), pick("US", "GB", "DE", ""), pick("alpha", "beta")
		tally(reading.TallySubmitted, p, pick("otp", "marketing"), country, "", true)
		tally(reading.TallyDecided, p, pick("allow", "allow", "allow", "deny", "defer", "hold"), country, "", false)
		switch draw.IntN(3) {
		case 0:
			tally(reading.TallyReason, p, "deny", "opt_out.sender", country, false)
		case 1:
			tally(reading.TallyReason, p, "defer", "quiet_hours.us", country, false)
		case 2:
			tally(reading.TallyReason, p, "hold", "hold.pause", country, false)
		}
		tally(reading.TallySent, p, carrier, country, "", true)
		tally(reading.TallyPart, p, carrier, pick("taken", "retry", "final"), pick("", "ESME_RTHROTTLED", "=1+1"), false)
		for range 3 {
			tally(reading.TallyStatus, p, pick("delivered", "delivered", "delivered", "undelivered", "unconfirmed", "in_doubt", "denied", "expired_unsent", "failed", "sent"), pick("", "001", "069"), carrier, false)
		}
		tally(reading.TallyReceipt, p, pick("delivered", "undeliverable"), "network", carrier, false)
		if draw.IntN(4) == 0 {
			tally(reading.TallyStream, "", pick("OptedOut", "SuppressionLifted"), pick("phone", "email"), "sender", false)
			tally(reading.TallyStream, "", "InboundReceived", pick("stop", "none", "help"), "", false)
			tally(reading.TallyReview, "", "opened", pick("unclear", "start"), "", false)
			tally(reading.TallyReview, "", "closed", "", "", false)
			tally(reading.TallyVoid, p, pick("MessageDecided", "HandoffStarted"), pick("overtaken", "repeat", "late"), "", false)
		}
	}
}

// The figures of the programs add up to the total, those of the days to the week's, and those of the slots
// to the total, in every zone.
func TestFiguresAgree(t *testing.T) {
	e := newEnv()
	e.random(7, time.Date(2026, 10, 20, 0, 0, 0, 0, time.UTC), 20*24*time.Hour, 3000)
	for _, zone := range []string{"UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham", "Australia/Lord_Howe"} {
		month := e.make(t, Ask{Kind: Month, Of: "2026-10", Zone: zone})
		weeks := map[string]int64{}
		for _, of := range []string{"2026-W44"} { // the week in which New York's clocks change
			week := e.make(t, Ask{Kind: Week, Of: of, Zone: zone})
			addUp(t, week)
			for f, n := range flat(week) {
				weeks[f] += n
			}
			days := map[string]int64{}
			first, _ := time.Parse(time.DateOnly, week.Period.First)
			for i := range 7 {
				day := e.make(t, Ask{Kind: Day, Of: first.AddDate(0, 0, i).Format(time.DateOnly), Zone: zone})
				addUp(t, day)
				for f, n := range flat(day) {
					days[f] += n
				}
			}
			if !reflect.DeepEqual(days, flat(week)) {
				t.Errorf("%s: the days of %s have other figures than the week", zone, of)
			}
		}
		addUp(t, month)
		if len(weeks) < 50 || month.Total.Submitted.Messages <= weeks["submitted (all)   "] {
			t.Errorf("%s: %d figures, %d messages in the month", zone, len(weeks), month.Total.Submitted.Messages)
		}
	}
}

// flat are all figures of a report but those of single events and of now.
func flat(r *Report) map[string]int64 {
	out := map[string]int64{}
	r.each(func(x row) {
		switch {
		case x.count == "" || x.section == "time" || strings.HasPrefix(x.section, "opt_out_") || strings.Contains(x.section, "_open_now") || strings.HasPrefix(x.section, "opt_outs_since") || strings.HasPrefix(x.section, "opt_outs_to"):
			return
		}
		var n, parts int64
		fmt.Sscan(x.count, &n)
		fmt.Sscan(x.parts, &parts)
		key := strings.Join([]string{x.section, x.program, x.keys[0], x.keys[1], x.keys[2]}, " ")
		if n != 0 {
			out[key] += n
		}
		if parts != 0 {
			out[key+" parts"] += parts
		}
	})
	return out
}

// addUp holds that the programs' figures are the total's, and the slots' too.
func addUp(t *testing.T, r *Report) {
	t.Helper()
	sums, total := map[string]int64{}, map[string]int64{}
	add := func(to map[string]int64) func(row) {
		return func(x row) {
			var n, parts int64
			fmt.Sscan(x.count, &n)
			fmt.Sscan(x.parts, &parts)
			to[strings.Join([]string{x.section, x.keys[0], x.keys[1], x.keys[2]}, " ")] += n*1_000_000 + parts
		}
	}
	for i := range r.Programs {
		r.Programs[i].each("", add(sums))
	}
	r.Total.each("", add(total))
	if !reflect.DeepEqual(sums, total) {
		t.Errorf("%s: the programs have %v, the total %v", r.Period.Name, sums, total)
	}
	var s Slot
	for _, x := range r.Slots {
		s.Submitted, s.Delivered, s.NotDelivered, s.Unknown, s.Denied, s.NotSent, s.OptOuts = s.Submitted+x.Submitted, s.Delivered+x.Delivered, s.NotDelivered+x.NotDelivered,
			s.Unknown+x.Unknown, s.Denied+x.Denied, s.NotSent+x.NotSent, s.OptOuts+x.OptOuts
	}
	f := &r.Total
	if s.Submitted != f.Submitted.Messages || s.Delivered != f.came(recipient.Delivered) || s.NotDelivered != f.notDelivered() || s.Unknown != f.unknown() ||
		s.Denied != f.came(recipient.Denied) || s.NotSent != f.came(recipient.Failed, recipient.Cancelled, recipient.ExpiredUnsent) || s.OptOuts != r.OptOuts.Total {
		t.Errorf("%s: the slots have %+v", r.Period.Name, s)
	}
}

func TestMoreFiguresThanABoundLoseNothing(t *testing.T) {
	all := counts{}
	for i := range mostFigures + 5000 {
		all.add(&reading.Tally{Kind: reading.TallyPart, Program: "otp", A: "alpha", B: "final", C: fmt.Sprint(i), Count: 2})
	}
	order, of := all.rows(reading.TallyPart, "", true)
	var sum int64
	for _, n := range of {
		sum += n.Messages
	}
	if len(order) > mostFigures+10 || sum != 2*(mostFigures+5000) {
		t.Errorf("%d figures with %d", len(order), sum)
	}
}

// An officer reads from an opt-out how soon it was heeded: by the order of the stream, and not by what was
// decided last.
func TestOptOut(t *testing.T) {
	e := newEnv()
	at := time.Date(2026, 11, 27, 14, 3, 0, 0, time.UTC)
	who := event.Pseudonym{7}
	add := func(after time.Duration, data event.Data) event.Position {
		return e.log.append(3, &event.Event{ID: id(at.Add(after), byte(len(e.log.records[3]))), Tenant: "acme", Subject: who, Time: at.Add(after), Data: data})
	}
	message := func(n byte, accepted time.Duration, events ...event.Position) *reading.Message {
		m := &reading.Message{ID: id(at.Add(accepted), n), Tenant: "acme", Subject: who, Accepted: at.Add(accepted), Position: events[0], Decision: &reading.Decision{}}
		for _, p := range events {
			m.Events = append(m.Events, reading.Entry{Index: p.Index})
		}
		e.views.messages = append(e.views.messages, m)
		return m
	}
	decided := func(o event.DecisionOutcome) event.Data { return &event.MessageDecided{Outcome: o} }
	// A message that went out, one whose carrier was not called, and one that waits when the STOP comes.
	gone := message(1, -3*time.Hour, add(-3*time.Hour, &event.MessageSubmitted{}), add(-3*time.Hour, decided(event.Allow)))
	gone.Attempts = []reading.Attempt{{StartedAt: at.Add(-2 * time.Hour), Parts: []reading.Part{{Status: recipient.PartTaken}}}}
	refused := message(2, -2*time.Hour, add(-2*time.Hour, &event.MessageSubmitted{}))
	refused.Attempts = []reading.Attempt{{StartedAt: at.Add(-time.Minute), Parts: []reading.Part{{Status: recipient.PartRetry, NotCalled: true}}}}
	submitted := add(-time.Hour, &event.MessageSubmitted{})
	stop := add(0, &event.InboundReceivedV2{Ask: event.InboundStop})
	waits := message(3, -time.Hour, submitted, add(40*time.Millisecond, decided(event.Deny)), add(9*time.Second, decided(event.Defer)))
	waits.Events[1].Why = ""
	message(4, time.Hour, add(time.Hour, &event.MessageSubmitted{}), add(time.Hour, decided(event.Deny)))
	add(2*time.Hour, &event.InboundReceivedV2{Ask: event.InboundNone})
	for i, p := range []event.Position{stop, {Partition: 3, Index: stop.Index + 5}} {
		x := e.log.records[3][p.Index]
		e.desk.events = append(e.desk.events, reading.StreamEvent{ID: x.ID, Type: x.Data.Type(), Time: x.Time, Position: p, Tenant: "acme", Subject: who})
		_ = i
	}
	e.desk.events = append(e.desk.events, reading.StreamEvent{ID: id(at, 200), Type: "OptedOut.v1", Time: at.Add(3 * time.Hour), Position: stop, Tenant: "acme", Subject: who, Why: recipient.Repeat})
	e.desk.add("acme", at, reading.Tally{Kind: reading.TallyStream, A: "InboundReceived", B: "stop", Count: 1})
	e.desk.add("acme", at, reading.Tally{Kind: reading.TallyStream, A: "InboundReceived", B: "none", Count: 1})

	r := e.make(t, Ask{Kind: Day, Of: "2026-11-27", Zone: "UTC"})
	if r.OptOuts.Total != 1 || len(r.OptOuts.List) != 1 {
		t.Fatalf("%+v", r.OptOuts)
	}
	o := r.OptOuts.List[0]
	want := OptOut{Event: e.log.records[3][stop.Index].ID, Position: stop, Time: at, How: "inbound", Last: at.Add(-2 * time.Hour), LastMessage: gone.ID, SinceLast: (2 * time.Hour).Milliseconds(),
		Decided: at.Add(40 * time.Millisecond), DecidedMessage: waits.ID, Outcome: "deny", ToDecision: 40}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got  %+v\nwant %+v", o, want)
	}
	if r.OptOuts.SinceLast[1].Count != 1 || r.OptOuts.ToDecision[0].Count != 1 {
		t.Errorf("distributions %+v %+v", r.OptOuts.SinceLast, r.OptOuts.ToDecision)
	}

	// A message that was decided again before it was void does not count.
	waits.Events[1].Why = recipient.Overtaken
	if o := e.make(t, Ask{Kind: Day, Of: "2026-11-27", Zone: "UTC"}).OptOuts.List[0]; o.ToDecision != 9000 || o.Outcome != "defer" {
		t.Errorf("%+v", o)
	}
}

func TestOptOutsAreBounded(t *testing.T) {
	e := newEnv()
	at := time.Date(2026, 11, 27, 1, 0, 0, 0, time.UTC)
	for i := range 1300 {
		x := &event.Event{ID: event.NewID(at.Add(time.Duration(i) * time.Second)), Tenant: "acme", Time: at.Add(time.Duration(i) * time.Second), Data: &event.OptedOut{Source: "phone"}}
		e.desk.events = append(e.desk.events, reading.StreamEvent{ID: x.ID, Type: "OptedOut.v1", Time: x.Time, Position: e.log.append(3, x), Tenant: "acme"})
	}
	e.desk.add("acme", at, reading.Tally{Kind: reading.TallyStream, A: "OptedOut", B: "phone", C: "tenant", Count: 1300})
	r := e.make(t, Ask{Kind: Day, Of: "2026-11-27", Zone: "UTC"})
	if r.OptOuts.Total != 1300 || len(r.OptOuts.List) != mostOptOuts || !r.OptOuts.Bounded || len(r.Notes) != 1 || e.log.reads > 1100 {
		t.Errorf("%d of %d, %q, %d reads", len(r.OptOuts.List), r.OptOuts.Total, r.Notes, e.log.reads)
	}
	seen := map[event.ID]bool{}
	for _, o := range r.OptOuts.List {
		seen[o.Event] = true
	}
	if len(seen) != mostOptOuts || !r.OptOuts.List[0].Time.Equal(at.Add(1299*time.Second)) {
		t.Errorf("%d different ones from %s", len(seen), r.OptOuts.List[0].Time)
	}
}

func TestNotes(t *testing.T) {
	e := newEnv()
	e.desk.complete = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	r := e.make(t, Ask{Kind: Month})
	if r.Period.First != "2026-11-01" || r.Period.Zone != "America/New_York" || !r.CompleteSince.Equal(e.desk.complete) || len(r.Notes) != 2 ||
		!strings.Contains(r.Notes[0], "chirograph projections rebuild") || !strings.Contains(r.Notes[1], "so far, as of 2026-11-28 04:30:00 -05:00") {
		t.Errorf("%+v %q", r.Period, r.Notes)
	}
	if r := e.make(t, Ask{Kind: Day, Of: "2026-11-27"}); len(r.Notes) != 0 || !r.CompleteSince.IsZero() {
		t.Errorf("%q", r.Notes)
	}
	var refusal *ledger.Refusal
	if _, err := e.maker.Make(t.Context(), "acme", Ask{Kind: Day, Zone: "Nowhere/Land"}); !errors.As(err, &refusal) || refusal.Code != "bad_parameter" {
		t.Errorf("%v", err)
	}
}

// Reviews of the operator are there only for who may see them.
func TestReviews(t *testing.T) {
	e := newEnv()
	for i := range 1200 {
		e.views.reviews = append(e.views.reviews, reading.Review{Event: event.NewID(now), Kind: recipient.ReviewUnplaced, Since: now.Add(time.Duration(i-3000) * time.Minute)})
	}
	e.views.reviews = append(e.views.reviews, reading.Review{Event: event.NewID(now), Tenant: "acme", Kind: recipient.ReviewUnclear, Since: now.Add(-2 * time.Hour)},
		reading.Review{Event: event.NewID(now), Tenant: "other", Kind: recipient.ReviewUnclear, Since: now.Add(-2 * time.Hour)})
	e.desk.add("", now.Add(-time.Hour), reading.Tally{Kind: reading.TallyReview, A: "opened", B: "unplaced", Count: 9})
	r := e.make(t, Ask{Kind: Day, Zone: "UTC"})
	if r.Unplaced != nil || r.Reviews.Count != 1 || r.Reviews.Ages[1].Count != 1 || !r.Reviews.Oldest.Equal(now.Add(-2*time.Hour)) || len(r.Reviews.Opened) != 0 || r.Reviews.Closed != 0 {
		t.Errorf("%+v", r.Reviews)
	}
	u := e.make(t, Ask{Kind: Day, Zone: "UTC", Operator: true}).Unplaced
	if u == nil || u.Count != mostOpen || !u.More || len(u.Opened) != 1 || u.Opened[0].Count != 9 {
		t.Errorf("%+v", u)
	}
}

func TestChanges(t *testing.T) {
	e := newEnv()
	day := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	add := func(p event.Partition, tenant string, at time.Time, d event.Data) {
		e.log.append(p, &event.Event{ID: event.NewID(at), Tenant: tenant, Time: at, Data: d})
	}
	for i := range 5000 { // a long history before
		add(event.ControlPartition, "acme", day.Add(time.Duration(i-6000)*time.Hour), &event.Paused{Reason: "old"})
	}
	add(event.ControlPartition, "acme", day.Add(-20*time.Second), &event.ProgramChanged{Name: "before"})
	add(event.ControlPartition, "acme", day.Add(20*time.Second), &event.ProgramChanged{Name: "otp", Purposes: []string{"otp"}, Countries: []string{"US"}, By: "ops"})
	add(event.ControlPartition, "acme", day.Add(-10*time.Second), &event.ProgramChanged{Name: "of a node whose clock is behind"})
	add(event.ControlPartition, "other", day.Add(time.Minute), &event.ProgramChanged{Name: "theirs"})
	add(event.ControlPartition, "", day.Add(time.Hour), &event.PolicyActivated{Revision: "2026-11"})
	add(event.ControlPartition, "", day.Add(2*time.Hour), &event.Paused{Carrier: "alpha", Reason: "Wrong price.", By: "ops"})
	add(event.ControlPartition, "acme", day.Add(24*time.Hour), &event.Resumed{Reason: "after"})
	add(event.AuditPartition, "acme", day.Add(90*time.Minute), &event.PersonalDataRead{Key: "officer", Reads: []event.DataRead{{Shown: []string{"number", "body"}, Times: 3}, {Shown: []string{"number"}, Times: 2}}})
	add(event.AuditPartition, "", day.Add(90*time.Minute), &event.PersonalDataRead{Key: "operator", Reads: []event.DataRead{{Shown: []string{"words"}, Times: 1}}})
	add(event.AuditPartition, "acme", day.Add(91*time.Minute), &event.KeyUsed{Key: "officer"})
	add(event.AuditPartition, "acme", day.Add(92*time.Minute), &event.ExportAsked{By: "officer", Reason: "Subpoena of 26 November.", Clear: true})
	r := e.make(t, Ask{Kind: Day, Of: "2026-11-27", Zone: "UTC"})
	var got []string
	for _, c := range r.Changes.List {
		got = append(got, c.Type+" "+c.By)
	}
	want := []string{"ProgramChanged ops", "PolicyActivated ", "PersonalDataRead officer", "ExportAsked officer", "Paused ops"}
	if !slices.Equal(got, want) || r.Changes.More {
		t.Errorf("got %q, want %q", got, want)
	}
	i := slices.IndexFunc(r.Changes.Kinds, func(n Named) bool { return n.Type == "PersonalDataRead" })
	if i < 0 || r.Changes.Kinds[i].Count != 5 {
		t.Errorf("%+v", r.Changes.Kinds)
	}
	if e.log.reads > 60 {
		t.Errorf("%d reads: the past is not skipped", e.log.reads)
	}

	for i := range 3000 {
		add(event.AuditPartition, "acme", day.Add(3*time.Hour+time.Duration(i)*time.Second), &event.ExportDownloaded{By: "officer"})
	}
	r = e.make(t, Ask{Kind: Day, Of: "2026-11-27", Zone: "UTC"})
	i = slices.IndexFunc(r.Changes.Kinds, func(n Named) bool { return n.Type == "ExportDownloaded" })
	if len(r.Changes.List) != mostChanges || !r.Changes.More || i < 0 || r.Changes.Kinds[i].Count != 3000 || r.Changes.List[0].Type != "ProgramChanged" {
		t.Errorf("%d listed, kinds %+v", len(r.Changes.List), r.Changes.Kinds)
	}
}

// sample is a report with something of everything.
func sample(t testing.TB) *Report {
	e := newEnv()
	e.random(3, time.Date(2026, 11, 23, 5, 0, 0, 0, time.UTC), 5*24*time.Hour, 260)
	at := time.Date(2026, 11, 25, 15, 0, 0, 0, time.UTC)
	e.desk.add("acme", at, reading.Tally{Kind: reading.TallyStatus, Program: "<script>alert(1)</script>", A: "delivered", C: "</svg>", Count: 1})
	for i := range 14 {
		when := at.Add(time.Duration(i) * 97 * time.Minute)
		who := event.Pseudonym{byte(i)}
		one := func(d event.Data, after time.Duration) event.Position {
			return e.log.append(3, &event.Event{ID: id(when.Add(after), byte(10*i+len(e.log.records[3])%10)), Tenant: "acme", Subject: who, Time: when.Add(after), Data: d})
		}
		submitted := one(&event.MessageSubmitted{}, -time.Duration(i*i+1)*time.Minute)
		stop := one(&event.OptedOut{Source: event.Source([]string{"phone", "email", "=cmd"}[i%3])}, 0)
		m := &reading.Message{ID: id(when.Add(-time.Hour), byte(i)), Tenant: "acme", Subject: who, Accepted: when.Add(-time.Hour), Position: submitted, Decision: &reading.Decision{},
			Attempts: []reading.Attempt{{StartedAt: when.Add(-time.Duration(i*i+1) * time.Minute), Parts: []reading.Part{{Status: recipient.PartTaken}}}}}
		if i%2 == 0 {
			m.Events = []reading.Entry{{Index: one(&event.MessageDecided{Outcome: event.Deny}, time.Duration(i*i*90)*time.Millisecond).Index}}
		}
		e.views.messages = append(e.views.messages, m)
		x := e.log.records[3][stop.Index]
		e.desk.events = append(e.desk.events, reading.StreamEvent{ID: x.ID, Type: "OptedOut.v1", Time: x.Time, Position: stop, Tenant: "acme", Subject: who})
		e.desk.add("acme", when, reading.Tally{Kind: reading.TallyStream, A: "OptedOut", B: string(x.Data.(*event.OptedOut).Source), Count: 1})
	}
	e.views.reviews = []reading.Review{{Event: id(now, 1), Tenant: "acme", Kind: recipient.ReviewUnclear, Since: now.Add(-30 * time.Hour)}, {Event: id(now, 2), Tenant: "acme", Kind: recipient.ReviewStart, Since: now.Add(-2 * time.Hour)}}
	for i, d := range []event.Data{
		&event.ProgramChanged{Name: "recall", Purposes: []string{"delivery"}, Countries: []string{"US", "GB"}, By: "ops"},
		&event.Paused{Program: "marketing", Reason: "The offer has the wrong price.", By: "ops"},
		&event.Resumed{Program: "marketing", Reason: "The price is corrected.", By: "ops"},
	} {
		when := at.Add(time.Duration(i) * time.Hour)
		e.log.append(event.ControlPartition, &event.Event{ID: id(when, byte(i)), Tenant: "acme", Time: when, Data: d})
	}
	e.log.append(event.AuditPartition, &event.Event{ID: id(at, 9), Tenant: "acme", Time: at.Add(time.Minute), Data: &event.ExportAsked{By: "officer", Reason: "Subpoena of 20 November."}})
	e.desk.complete = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	return e.make(t, Ask{Kind: Week, Operator: true})
}

// golden compares what is written with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := "testdata/" + name
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what is written now (%v); look at it, then: go test ./domain/report -update", file, err)
	}
}

// The page needs nothing from outside and runs nothing, and every chart says what it shows.
func TestPage(t *testing.T) {
	r := sample(t)
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "week.html", b.Bytes())
	for _, bad := range []string{"<script", "javascript:", "http://", "https://", "<link", "<img", "@import", "url(", "ZgotmplZ", "onload", "<no value>"} {
		if strings.Contains(strings.ToLower(b.String()), strings.ToLower(bad)) {
			t.Errorf("the page has %s", bad)
		}
	}
	if n := strings.Count(b.String(), "<svg"); n < 6 || n != strings.Count(b.String(), "<title id=") || n != strings.Count(b.String(), "<desc id=") {
		t.Errorf("%d pictures", n)
	}
	e := newEnv()
	if err := e.make(t, Ask{Kind: Day}).HTML(io.Discard); err != nil { // an empty one
		t.Error(err)
	}
}

// The table reads back, and no cell of it is a formula.
func TestTable(t *testing.T) {
	r := sample(t)
	var b bytes.Buffer
	if err := r.CSV(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "week.csv", b.Bytes())
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil || len(rows) < 100 || !slices.Equal(rows[0], columns) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	formulas := 0
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("the cell %q is a formula", cell)
			}
			if strings.HasPrefix(cell, "'=") {
				formulas++
			}
		}
	}
	if formulas == 0 {
		t.Error("no cell was made harmless")
	}
}

// The text fits a terminal of 80 columns.
func TestText(t *testing.T) {
	r := sample(t)
	r.Changes.List[0].Text += " \x1b[2J And a long sentence that goes on for more than one line, and that moves no cursor."
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "week.txt", b.Bytes())
	for _, line := range strings.Split(b.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > lineWidth || strings.ContainsRune(line, '\x1b') {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	e := newEnv()
	if err := e.make(t, Ask{Kind: Day}).Text(io.Discard); err != nil { // an empty one
		t.Error(err)
	}
}

// The JSON reads back as it was.
func TestJSON(t *testing.T) {
	r := sample(t)
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	second, _ := json.Marshal(&got)
	if cmp.Compare(string(raw), string(second)) != 0 || strings.Contains(string(raw), "null") {
		t.Error("the JSON does not read back, or has a null")
	}
}
