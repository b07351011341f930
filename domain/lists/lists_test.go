package lists

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// fake is a ledger with its views, in memory: every answer is a scan of the whole world.
type fake struct {
	*viewtest.World
	all   []reading.StreamEvent
	shown []event.DataRead
	err   error
	lost  map[event.ID]bool // the keys of these events are missing
}

func (f *fake) Read(_ context.Context, p event.Partition, from int64, n int) (out []ledger.Record, head int64, _ error) {
	for _, s := range f.Steps[p][from:min(int(from)+n, len(f.Steps[p]))] {
		out = append(out, s.Judged.Record)
	}
	return out, int64(len(f.Steps[p])), nil
}

// Open stands in for the vault: the plain text says of which event it is.
func (f *fake) Open(_ string, id event.ID, s *event.Sealed) ([]byte, error) {
	if s.Box[0] == 0xee {
		return nil, ledger.ErrErased
	}
	if f.lost[id] {
		return nil, ledger.ErrKeyMissing
	}
	return json.Marshal(map[string]string{"from": "+14155550123", "number": "+14155550123", "text": "text of " + id.String()})
}

func (f *fake) Streams(_ context.Context, p event.Partition, subjects []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	return f.States[p], 0, nil
}

func (f *fake) Search(context.Context, string, reading.Filter) ([]*reading.Message, error) {
	return nil, nil
}

func (f *fake) DataShown(_ context.Context, _ ledger.Caller, _, _ string, r event.DataRead) error {
	f.shown = append(f.shown, r)
	return f.err
}

// events are the stream events that are wanted, in the order of the partitions.
func (f *fake) events(want func(reading.StreamEvent) bool) (out []reading.StreamEvent) {
	for _, x := range f.all {
		if want(x) {
			out = append(out, x)
		}
	}
	return out
}

func (f *fake) index() {
	f.all = nil
	for p := range f.Steps {
		for _, s := range f.Steps[p] {
			e := s.Judged.Event
			if e == nil || e.Subject.IsZero() || !e.MessageID().IsZero() {
				continue
			}
			x := reading.StreamEvent{ID: e.ID, Type: e.Data.Type(), Time: e.Time, Tenant: e.Tenant, Subject: e.Subject, Why: s.Judged.Why,
				Position: event.Position{Partition: event.Partition(p), Index: s.Judged.Index}}
			f.all = append(f.all, x)
		}
	}
}

func (f *fake) StreamEvent(_ context.Context, tenant string, id event.ID) (reading.StreamEvent, bool, error) {
	all := f.events(func(x reading.StreamEvent) bool { return x.ID == id && x.Tenant == tenant && x.Why == "" })
	if len(all) == 0 {
		return reading.StreamEvent{}, false, nil
	}
	return all[0], true, nil
}

func (f *fake) StreamEvents(_ context.Context, subject event.Pseudonym, after int64, limit int) ([]reading.StreamEvent, error) {
	all := f.events(func(x reading.StreamEvent) bool { return x.Subject == subject && x.Position.Index > after })
	return all[:min(len(all), limit)], nil
}

func newest(a, b reading.StreamEvent) int {
	if n := b.Time.Compare(a.Time); n != 0 {
		return n
	}
	return slices.Compare(b.ID[:], a.ID[:])
}

func (f *fake) TenantEvents(_ context.Context, tenant string, q reading.StreamEventFilter) ([]reading.StreamEvent, error) {
	all := f.events(func(x reading.StreamEvent) bool {
		return x.Tenant == tenant && slices.Contains(q.Types, x.Type) && (q.Since.IsZero() || !x.Time.Before(q.Since)) && (q.Until.IsZero() || x.Time.Before(q.Until)) &&
			(q.BeforeTime.IsZero() || x.Time.Before(q.BeforeTime) || x.Time.Equal(q.BeforeTime) && slices.Compare(x.ID[:], q.Before[:]) < 0)
	})
	slices.SortFunc(all, newest)
	return all[:min(len(all), q.Limit)], nil
}

func (f *fake) Reviews(_ context.Context, tenant string, q reading.ReviewQuery) (page reading.ReviewPage, _ error) {
	for p := range f.States {
		for _, s := range f.States[p] {
			for _, v := range s.OpenReviews() {
				if s.Tenant == tenant && (q.Kind == "" || q.Kind == v.Kind) {
					page.Reviews = append(page.Reviews, reading.Review{Event: v.Event, Tenant: tenant, Subject: s.Subject, Kind: v.Kind, Since: v.Since})
				}
			}
		}
	}
	slices.SortFunc(page.Reviews, func(a, b reading.Review) int { return slices.Compare(a.Event[:], b.Event[:]) })
	return page, nil
}

// world is a random ledger without an event that counts twice. (A world makes copies that come days later, which no
// writer does.)
func world(seed uint64, n int) (*fake, *Lister) {
	f := &fake{}
	for ok := false; !ok; seed += 1000 {
		f.World = viewtest.NewWorld(rand.New(rand.NewPCG(seed, 1)).IntN)
		for range n {
			f.Grow()
		}
		f.index()
		known := map[event.ID]bool{}
		ok = true
		for _, x := range f.events(func(x reading.StreamEvent) bool { return x.Why == "" }) {
			ok = ok && !known[x.ID]
			known[x.ID] = true
		}
	}
	return f, New(Ports{Views: f, Desk: f, Log: f, Vault: f, Open: f, Witness: f})
}

var (
	clear = reading.Sight{Numbers: true, Bodies: true, Words: true, Evidence: true}
	as    = func(tenant string, s reading.Sight) reading.Look {
		return reading.Look{Caller: ledger.Caller{Tenant: tenant, Key: "officer"}, Sight: s}
	}
)

func allOptOuts(t *testing.T, l *Lister, look reading.Look, q OptOutQuery) (all []OptOut) {
	t.Helper()
	for pages := 0; ; pages++ {
		page, err := l.OptOuts(t.Context(), look, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.OptOuts) > q.Limit && q.LiftedSince.IsZero() {
			t.Fatalf("a page of %d has %d", q.Limit, len(page.OptOuts))
		}
		all = append(all, page.OptOuts...)
		if q.Cursor = page.Next; q.Cursor == "" {
			return all
		}
		if pages > 5000 {
			t.Fatal("the pages have no end")
		}
	}
}

// naive is what the ledger's own fold says of opt-outs, event by event: which stand, and what ended the others.
func naive(f *fake, tenant string) (standing map[event.ID]bool, end map[event.ID]event.ID) {
	standing, end = map[event.ID]bool{}, map[event.ID]event.ID{}
	for p := range f.Steps {
		live := map[event.Pseudonym]map[event.ID]bool{}
		for _, s := range f.Steps[p] {
			if s.Folded == nil || s.Judged.Event.Tenant != tenant {
				continue
			}
			var state recipient.State
			if err := json.Unmarshal(s.Folded.State, &state); err != nil {
				panic(err)
			}
			now := map[event.ID]bool{}
			for _, o := range state.OptOuts {
				if !o.Part {
					now[o.Event] = true
				}
			}
			for id := range live[state.Subject] {
				if !now[id] {
					delete(standing, id)
					end[id] = s.Judged.Event.ID
				}
			}
			for id := range now {
				standing[id] = true
			}
			live[state.Subject] = now
		}
	}
	return standing, end
}

func TestOptOutsAgainstTheFold(t *testing.T) {
	for seed := range uint64(3) {
		f, l := world(seed, 900)
		for _, tenant := range viewtest.Tenants {
			standing, end := naive(f, tenant)
			all := allOptOuts(t, l, as(tenant, clear), OptOutQuery{Limit: 7})
			if len(all) != len(standing)+len(end) || len(all) == 0 {
				t.Fatalf("seed %d: %d are listed, %d stand and %d ended", seed, len(all), len(standing), len(end))
			}
			for i, o := range all {
				if standing[o.Event] != (o.State == OptOutStanding) || !standing[o.Event] && (o.End == nil || o.End.Event != end[o.Event]) {
					t.Errorf("seed %d: %s at %s is %s, ended by %+v, want standing %t or ended by %s", seed, o.Event, o.Position, o.State, o.End, standing[o.Event], end[o.Event])
				}
				if i > 0 && newest(reading.StreamEvent{Time: all[i-1].Known, ID: all[i-1].Event}, reading.StreamEvent{Time: o.Known, ID: o.Event}) >= 0 {
					t.Errorf("seed %d: %s stands before %s", seed, all[i-1].Event, o.Event)
				}
				one, _, err := l.OptOut(t.Context(), as(tenant, clear), o.Event)
				if err != nil || one.State != o.State || (o.End == nil) != (len(one.History) == 0) {
					t.Errorf("seed %d: alone: %+v, %v", seed, one, err)
				}
			}
			if _, _, err := l.OptOut(t.Context(), as(viewtest.Tenants[0]+"x", clear), all[0].Event); !errors.Is(err, ErrNoEvent) {
				t.Errorf("another tenant gets %v", err)
			}
			filters(t, l, tenant, all)
		}
	}
}

// filters compares narrow lists with what they leave of the whole one.
func filters(t *testing.T, l *Lister, tenant string, all []OptOut) {
	t.Helper()
	mid := all[len(all)/2].Known
	// One that was repeated counts as long as the last that was said once more.
	var inForce func(o *OptOut) bool
	inForce = func(o *OptOut) bool {
		if o.State == OptOutRepeated {
			i := slices.IndexFunc(all, func(later OptOut) bool { return later.Event == o.End.Event })
			return i >= 0 && inForce(&all[i])
		}
		return o.State == OptOutStanding
	}
	for name, c := range map[string]struct {
		q    OptOutQuery
		want func(*OptOut) bool
	}{
		"standing": {OptOutQuery{State: OptOutStanding}, inForce},
		"ended":    {OptOutQuery{State: OptOutEnded}, func(o *OptOut) bool { return !inForce(o) }},
		"since":    {OptOutQuery{Since: mid}, func(o *OptOut) bool { return !o.Known.Before(mid) }},
		"until":    {OptOutQuery{Until: mid}, func(o *OptOut) bool { return o.Known.Before(mid) }},
		"source":   {OptOutQuery{Source: "phone"}, func(o *OptOut) bool { return o.Source == "phone" }},
		"name": {OptOutQuery{Scope: event.ScopeProgram, Name: "otp"}, func(o *OptOut) bool {
			return slices.Contains(o.Reaches, event.Reach{Scope: event.ScopeProgram, Name: "otp"})
		}},
	} {
		c.q.Limit = 5
		got := allOptOuts(t, l, as(tenant, clear), c.q)
		var want []event.ID
		for i := range all {
			if c.want(&all[i]) {
				want = append(want, all[i].Event)
			}
		}
		if !slices.EqualFunc(got, want, func(o OptOut, id event.ID) bool { return o.Event == id }) {
			t.Errorf("%s: %d are listed, want %d", name, len(got), len(want))
		}
	}
	lifted := allOptOuts(t, l, as(tenant, clear), OptOutQuery{LiftedSince: mid, Limit: 5})
	n := 0
	for i := range all {
		if o := &all[i]; o.End != nil && o.End.What == turnLifted && !o.End.At.Before(mid) {
			n++
			if !slices.ContainsFunc(lifted, func(x OptOut) bool { return x.Event == o.Event }) {
				t.Errorf("%s is lifted by %s, and not listed", o.Event, o.End.Event)
			}
		}
	}
	if n != len(lifted) {
		t.Errorf("%d are listed as lifted, want %d", len(lifted), n)
	}
}

// What a key may not see is masked in every field, and what it sees is recorded before.
func TestSight(t *testing.T) {
	f, l := world(3, 1500)
	for _, s := range []reading.Sight{{}, {Numbers: true}, {Words: true}, {Evidence: true}, clear} {
		f.shown = nil
		all := allOptOuts(t, l, as("bank", s), OptOutQuery{Limit: 200})
		texts, err := l.Inbounds(t.Context(), as("bank", s), "bank", InboundQuery{Limit: 200})
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(map[string]any{"a": all, "b": texts.Texts})
		for what, shown := range map[string]bool{"+14155550123": s.Numbers, "text of ": s.Words} { // the world has no sealed evidence
			if got := containsText(raw, what); got != shown {
				t.Errorf("%+v: %q is there: %t", s, what, got)
			}
		}
		if (len(f.shown) > 0) != (s.Numbers || s.Words) {
			t.Errorf("%+v: %d reads are recorded", s, len(f.shown))
		}
		if s == (reading.Sight{}) && fmt.Sprint(texts.Masked) != "[number words]" {
			t.Errorf("masked is %v", texts.Masked)
		}
	}
	again := func() []Inbound {
		page, err := l.Inbounds(t.Context(), as("bank", clear), "bank", InboundQuery{Limit: 200})
		if err != nil {
			t.Fatal(err)
		}
		return page.Texts
	}
	clearly := func(x Inbound) bool { return x.Words != "" && len(x.Parts) == 0 }
	i := slices.IndexFunc(again(), clearly)
	f.lost = map[event.ID]bool{again()[i].Event: true}
	if x := again()[i]; !x.KeyMissing || x.Erased || x.Words != "" {
		t.Errorf("a text whose key is missing: %+v", x)
	}
	f.err = reading.ErrNotRecorded
	if page, err := l.OptOuts(t.Context(), as("bank", clear), OptOutQuery{}); !errors.Is(err, reading.ErrNotRecorded) || page.OptOuts != nil {
		t.Errorf("%d are shown, %v", len(page.OptOuts), err)
	}
}

func containsText(raw []byte, text string) bool {
	for i := range raw {
		if len(raw)-i >= len(text) && string(raw[i:i+len(text)]) == text {
			return true
		}
	}
	return false
}

// Every inbound text of a tenant stands in its list once, and no other's does.
func TestInboundAgainstTheLedger(t *testing.T) {
	for seed := range uint64(3) {
		f, l := world(seed, 1200)
		for _, tenant := range []string{"bank", "clinic", ""} {
			listed := map[event.ID]int{}
			q := InboundQuery{Limit: 9}
			for {
				page, err := l.Inbounds(t.Context(), as("bank", clear), tenant, q)
				if err != nil {
					t.Fatal(err)
				}
				for _, x := range page.Texts {
					listed[x.Event]++
					if one, _, err := l.Inbound(t.Context(), as("bank", clear), tenant, x.Event); err != nil || one.Words != x.Words {
						t.Errorf("%+v, %v", one, err)
					}
				}
				if q.Cursor = page.Next; q.Cursor == "" {
					break
				}
			}
			want := 0
			for _, x := range f.events(func(x reading.StreamEvent) bool { return x.Tenant == tenant && x.Why == "" }) {
				part, is := false, false
				switch d := f.Steps[x.Position.Partition][x.Position.Index].Judged.Event.Data.(type) {
				case *event.InboundReceived:
					part, is = d.Holds != nil && d.Concat != nil, true
				case *event.InboundReceivedV2:
					part, is = d.Holds == event.HoldPart, true
				case *event.InboundJoined:
					is = true
				}
				for _, p := range f.States[x.Position.Partition][x.Subject].Inbound {
					part = part && p.Event != x.ID
				}
				if is && !part {
					want++
					if listed[x.ID] != 1 {
						t.Errorf("seed %d: %s is listed %d times", seed, x.ID, listed[x.ID])
					}
				}
			}
			if len(listed) != want || want == 0 {
				t.Errorf("seed %d: %q has %d texts, want %d", seed, tenant, len(listed), want)
			}
		}
	}
}

func TestReviewsAgainstTheLedger(t *testing.T) {
	for seed := range uint64(3) {
		f, l := world(seed, 1500)
		for _, tenant := range []string{"bank", "clinic", ""} {
			var got []Review
			q := ReviewQuery{Limit: 3}
			for {
				page, err := l.Reviews(t.Context(), as("bank", clear), tenant, q)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page.Reviews...)
				if q.Cursor = page.Next; q.Cursor == "" {
					break
				}
			}
			want := map[event.ID]ReviewState{}
			open, _ := f.Reviews(t.Context(), tenant, reading.ReviewQuery{})
			for _, v := range open.Reviews {
				want[v.Event] = ReviewOpen
			}
			for _, x := range f.events(func(x reading.StreamEvent) bool { return x.Tenant == tenant && x.Why == "" }) {
				if d, ok := f.Steps[x.Position.Partition][x.Position.Index].Judged.Event.Data.(*event.ReviewResolved); ok {
					want[d.Review] = ReviewResolved
				}
			}
			if len(got) != len(want) {
				t.Errorf("seed %d, %q: %d are listed, want %d", seed, tenant, len(got), len(want))
			}
			for _, v := range got {
				if want[v.Event] != v.State || v.Kind == "" || (v.State == ReviewResolved) != (v.End != nil) {
					t.Errorf("seed %d, %q: %+v", seed, tenant, v)
				}
				one, _, err := l.Review(t.Context(), as("bank", clear), tenant, v.Event)
				if v.State == ReviewOpen && !errors.Is(err, reading.ErrNoReview) || v.State == ReviewResolved && (err != nil || one.End == nil || one.End.Event != v.End.Event) {
					t.Errorf("seed %d: alone: %+v, %v", seed, one, err)
				}
			}
		}
	}
	_, l := world(1, 10)
	for _, cursor := range []string{"x", "o", "rx", "o" + listCursor(&reading.StreamEvent{Time: time.Unix(1, 0)}, 1)} {
		_, err := l.Reviews(t.Context(), as("bank", clear), "bank", ReviewQuery{Cursor: cursor})
		var refusal *ledger.Refusal
		if cursor[0] != 'o' || cursor == "o" {
			if !errors.As(err, &refusal) || refusal.Code != "invalid_cursor" {
				t.Errorf("%q: %v", cursor, err)
			}
		}
	}
}
