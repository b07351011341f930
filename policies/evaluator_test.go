package policies

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
)

func builtinPacks(t testing.TB) *Evaluator {
	t.Helper()
	e, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// facts are a marketing message to a number in New York on a Tuesday at noon,
// which every pack allows.
func facts() *decision.Facts {
	return &decision.Facts{
		Purpose:   "marketing",
		Program:   decision.FactProgram{Name: "spring", LegalEntity: "Example Bank", Purposes: []string{"marketing"}, Countries: []string{"US", "GB"}},
		Recipient: decision.FactRecipient{Country: "US", Places: []decision.FactPlace{{Country: "US", State: "NY", Zone: "America/New_York"}}},
		Sender:    decision.FactSender{ID: "+12125550100", Type: "long_code", Owned: true},
		Clocks:    map[string]decision.FactClock{"America/New_York": {Date: "2026-11-24", Time: "12:00", Weekday: 2}},
		ZoneData:  "2026b",
	}
}

func decide(t testing.TB, e *Evaluator, f *decision.Facts) *decision.Answer {
	t.Helper()
	a, err := e.Decide(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// tollFree is facts for a number that may be anywhere in the United States, by
// the clock of an instant that is 12:00 on Wall Street.
func tollFree() *decision.Facts {
	f := facts()
	f.Recipient.Places = nil
	f.Clocks = map[string]decision.FactClock{}
	for zone, z := range map[string]struct{ time, states string }{
		"America/New_York":    {"12:00", "CT DC DE FL GA IN KY MA MD ME MI NC NH NJ NY OH PA RI SC TN VA VT WV"},
		"America/Chicago":     {"11:00", "AL AR FL IA IL IN KS KY LA MI MN MO MS ND NE OK SD TN TX WI"},
		"America/Denver":      {"10:00", "CO ID KS MT ND NE NM NV OR SD TX UT WY"},
		"America/Phoenix":     {"10:00", "AZ"},
		"America/Los_Angeles": {"09:00", "CA ID NV OR WA"},
		"America/Anchorage":   {"08:00", "AK"},
		"Pacific/Honolulu":    {"07:00", "HI"},
	} {
		f.Clocks[zone] = decision.FactClock{Date: "2026-11-24", Time: z.time, Weekday: 2}
		for _, state := range strings.Fields(z.states) {
			f.Recipient.Places = append(f.Recipient.Places, decision.FactPlace{Country: "US", State: state, Zone: zone})
		}
	}
	slices.SortFunc(f.Recipient.Places, func(a, b decision.FactPlace) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.State, b.State))
	})
	return f
}

func BenchmarkDecide(b *testing.B) {
	e := builtinPacks(b)
	ctx := context.Background()
	otp := facts()
	otp.Purpose = "otp"
	for _, c := range []struct {
		name string
		f    *decision.Facts
	}{{"marketing", facts()}, {"otp", otp}, {"toll-free", tollFree()}} {
		b.Run(c.name+"/cold", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.evaluate(ctx, c.f); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/memo", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Decide(ctx, c.f); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/input", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				objectFacts(*c.f)
			}
		})
	}
}

// quiet returns the quiet hours' own report.
func quiet(t testing.TB, a *decision.Answer) decision.Check {
	t.Helper()
	if len(a.Checks) != 4 || a.Checks[1].Check != "quiet_hours" {
		t.Fatalf("the second of four checks is to be quiet_hours: %+v", a.Checks)
	}
	return a.Checks[1]
}

func TestHours(t *testing.T) {
	e := builtinPacks(t)
	const mon, tue, sat, sun = 1, 2, 6, 7
	place := func(country, state, zone string) decision.FactPlace {
		return decision.FactPlace{Country: country, State: state, Zone: zone}
	}
	var (
		newYork   = place("US", "NY", "America/New_York")
		miami     = place("US", "FL", "America/New_York")
		pensacola = place("US", "FL", "America/Chicago")
		dallas    = place("US", "TX", "America/Chicago")
		elPaso    = place("US", "TX", "America/Denver")
		guam      = place("GU", "", "Pacific/Guam")
		delhi     = place("IN", "", "Asia/Kolkata")
		london    = place("GB", "", "Europe/London")
	)
	for _, c := range []struct {
		purpose string
		places  []decision.FactPlace
		weekday int
		times   []string // one a place
		outcome decision.Outcome
		rules   string
	}{
		{"marketing", []decision.FactPlace{newYork}, tue, []string{"07:59"}, decision.Defer, "us.federal"},
		{"marketing", []decision.FactPlace{newYork}, tue, []string{"08:00"}, decision.Allow, "us.federal"},
		{"marketing", []decision.FactPlace{newYork}, sun, []string{"20:59"}, decision.Allow, "us.federal"},
		{"marketing", []decision.FactPlace{newYork}, sun, []string{"21:00"}, decision.Defer, "us.federal"},
		{"marketing", []decision.FactPlace{newYork}, tue, []string{"00:00"}, decision.Defer, "us.federal"},
		{"marketing", []decision.FactPlace{newYork}, tue, []string{"23:59"}, decision.Defer, "us.federal"},
		{"marketing", []decision.FactPlace{guam}, tue, []string{"20:59"}, decision.Allow, "us.federal"},
		{"marketing", []decision.FactPlace{guam}, tue, []string{"21:00"}, decision.Defer, "us.federal"},

		{"collection", []decision.FactPlace{newYork}, tue, []string{"07:59"}, decision.Defer, "us.collection"},
		{"collection", []decision.FactPlace{newYork}, tue, []string{"08:00"}, decision.Allow, "us.collection"},
		{"collection", []decision.FactPlace{miami}, tue, []string{"20:59"}, decision.Allow, "us.collection"},
		{"collection", []decision.FactPlace{miami}, tue, []string{"21:00"}, decision.Defer, "us.collection"},
		{"collection", []decision.FactPlace{newYork, elPaso}, tue, []string{"09:59", "07:59"}, decision.Defer, "us.collection"},
		{"collection", []decision.FactPlace{newYork, elPaso}, tue, []string{"10:00", "08:00"}, decision.Allow, "us.collection"},

		{"marketing", []decision.FactPlace{miami}, tue, []string{"07:59"}, decision.Defer, "us.federal us.fl"},
		{"marketing", []decision.FactPlace{miami}, tue, []string{"19:59"}, decision.Allow, "us.federal us.fl"},
		{"marketing", []decision.FactPlace{miami}, tue, []string{"20:00"}, decision.Defer, "us.fl"},
		// Florida's two zones: the morning waits for the west, the evening for the east.
		{"marketing", []decision.FactPlace{miami, pensacola}, tue, []string{"08:59", "07:59"}, decision.Defer, "us.federal us.fl"},
		{"marketing", []decision.FactPlace{miami, pensacola}, tue, []string{"09:00", "08:00"}, decision.Allow, "us.federal us.fl"},
		{"marketing", []decision.FactPlace{miami, pensacola}, tue, []string{"19:59", "18:59"}, decision.Allow, "us.federal us.fl"},
		{"marketing", []decision.FactPlace{miami, pensacola}, tue, []string{"20:00", "19:00"}, decision.Defer, "us.fl"},

		{"marketing", []decision.FactPlace{dallas}, mon, []string{"08:59"}, decision.Defer, "us.tx"},
		{"marketing", []decision.FactPlace{dallas}, mon, []string{"09:00"}, decision.Allow, "us.federal us.tx"},
		{"marketing", []decision.FactPlace{dallas}, sat, []string{"09:00"}, decision.Allow, "us.federal us.tx"},
		{"marketing", []decision.FactPlace{dallas}, sat, []string{"20:59"}, decision.Allow, "us.federal us.tx"},
		{"marketing", []decision.FactPlace{dallas}, sat, []string{"21:00"}, decision.Defer, "us.federal us.tx"},
		{"marketing", []decision.FactPlace{dallas}, sun, []string{"11:59"}, decision.Defer, "us.tx"},
		{"marketing", []decision.FactPlace{dallas}, sun, []string{"12:00"}, decision.Allow, "us.federal us.tx"},
		{"marketing", []decision.FactPlace{dallas}, sun, []string{"20:59"}, decision.Allow, "us.federal us.tx"},
		{"marketing", []decision.FactPlace{dallas, elPaso}, sun, []string{"12:59", "11:59"}, decision.Defer, "us.tx"},

		{"marketing", []decision.FactPlace{delhi}, sun, []string{"09:59"}, decision.Defer, "in"},
		{"marketing", []decision.FactPlace{delhi}, sun, []string{"10:00"}, decision.Allow, "in"},
		{"marketing", []decision.FactPlace{delhi}, sun, []string{"20:59"}, decision.Allow, "in"},
		{"marketing", []decision.FactPlace{delhi}, sun, []string{"21:00"}, decision.Defer, "in"},
		{"collection", []decision.FactPlace{delhi}, sun, []string{"03:00"}, decision.Allow, "none_recorded"},
		{"marketing", []decision.FactPlace{london}, sun, []string{"03:00"}, decision.Allow, "none_recorded"},
		// One closed place of several is enough.
		{"marketing", []decision.FactPlace{london, delhi, newYork}, tue, []string{"14:00", "19:30", "09:00"}, decision.Allow, "in none_recorded us.federal"},
		{"marketing", []decision.FactPlace{london, delhi, newYork}, tue, []string{"12:00", "17:30", "07:00"}, decision.Defer, "us.federal"},
		{"marketing", []decision.FactPlace{london, delhi, newYork}, tue, []string{"16:00", "21:30", "11:00"}, decision.Defer, "in"},

		// A state that is not known may be Florida or Texas.
		{"marketing", []decision.FactPlace{place("US", "", "America/Chicago")}, sun, []string{"11:59"}, decision.Defer, "us.tx"},
		{"marketing", []decision.FactPlace{place("US", "", "America/Chicago")}, sun, []string{"20:00"}, decision.Defer, "us.fl"},
		{"marketing", []decision.FactPlace{place("US", "", "America/Chicago")}, sun, []string{"12:00"}, decision.Allow, "us.federal us.fl us.tx"},

		{"marketing", nil, tue, nil, decision.Deny, "unknown_zone"},
		{"collection", []decision.FactPlace{}, tue, nil, decision.Deny, "unknown_zone"},
		{"marketing", []decision.FactPlace{newYork, place("US", "", "")}, tue, []string{"12:00", ""}, decision.Deny, "unknown_zone"},
		{"marketing", []decision.FactPlace{newYork, place("US", "", "")}, tue, []string{"03:00", ""}, decision.Deny, "unknown_zone"},
		{"marketing", []decision.FactPlace{place("", "", "Europe/London")}, tue, []string{"12:00"}, decision.Deny, "unknown_zone"},
	} {
		f := facts()
		f.Purpose, f.Recipient.Places, f.Clocks = c.purpose, c.places, map[string]decision.FactClock{}
		for i, p := range c.places {
			if p.Zone != "" {
				f.Clocks[p.Zone] = decision.FactClock{Date: "2026-11-24", Time: c.times[i], Weekday: c.weekday}
			}
		}
		got := quiet(t, decide(t, e, f))
		var want []string
		for id := range strings.FieldsSeq(c.rules) {
			want = append(want, "quiet_hours."+id)
		}
		if got.Outcome != c.outcome || !slices.Equal(got.Rules, want) {
			t.Errorf("%s on day %d at %v in %v: %s by %v, want %s by %v", c.purpose, c.weekday, c.times, c.places, got.Outcome, got.Rules, c.outcome, want)
		}
	}
}

func TestTollFreeMayBeAnywhere(t *testing.T) {
	e := builtinPacks(t)
	f := tollFree()
	a := decide(t, e, f)
	if got := quiet(t, a); a.Outcome != decision.Defer || !slices.Equal(got.Rules, []string{"quiet_hours.us.federal"}) {
		t.Errorf("at 07:00 in Honolulu: %+v", a)
	}
	// Seven zones under the federal rule, Florida and Texas in two each.
	if len(a.Windows) != 11 {
		t.Errorf("%d windows, want 11: %v", len(a.Windows), a.Windows)
	}
	later := func(hours int) *decision.Answer {
		g := tollFree()
		for zone, c := range g.Clocks {
			m, _ := minute(c.Time)
			m += hours * 60
			c.Time = time.Date(2026, 11, 24, 0, m, 0, 0, time.UTC).Format("15:04")
			g.Clocks[zone] = c
		}
		return decide(t, e, g)
	}
	if a := later(1); a.Outcome != decision.Allow || !slices.Equal(quiet(t, a).Rules, []string{"quiet_hours.us.federal", "quiet_hours.us.fl", "quiet_hours.us.tx"}) {
		t.Errorf("at 08:00 in Honolulu, 13:00 in Miami: %+v", a)
	}
	if a := later(8); a.Outcome != decision.Defer || !slices.Equal(quiet(t, a).Rules, []string{"quiet_hours.us.fl"}) {
		t.Errorf("at 20:00 in Miami: %+v", a)
	}
	if a := later(9); a.Outcome != decision.Defer || !slices.Equal(quiet(t, a).Rules, []string{"quiet_hours.us.federal", "quiet_hours.us.fl"}) {
		t.Errorf("at 21:00 in Miami: %+v", a)
	}
}

// Marketing reaches the countries that the bundle lists, and in development every country.
func TestReviewedCountries(t *testing.T) {
	stock := builtinPacks(t)
	dev, err := Development()
	if err != nil {
		t.Fatal(err)
	}
	revision, digest := stock.Bundle()
	if r, d := dev.Bundle(); r != revision+"-dev" || d == digest {
		t.Errorf("development has the policies %s, %s", r, d)
	}
	f := facts()
	f.Program.Countries = []string{"*"}
	f.Recipient = decision.FactRecipient{Country: "IT", Places: []decision.FactPlace{{Country: "IT", Zone: "Europe/Rome"}}}
	f.Clocks = map[string]decision.FactClock{"Europe/Rome": {Date: "2026-11-24", Time: "12:00", Weekday: 2}}
	if a := decide(t, stock, f); a.Outcome != decision.Deny || !slices.Equal(a.Checks[2].Rules, []string{"countries.not_reviewed"}) {
		t.Errorf("marketing to Italy: %+v", a)
	}
	if a := decide(t, dev, f); a.Outcome != decision.Allow {
		t.Errorf("marketing to Italy, in development: %+v", a)
	}
	for country, want := range map[string]bool{"US": true, "GU": true, "CA": true, "GB": true, "FR": true, "IT": false, "": false, "*": false} {
		if stock.Reviewed(country) != want || !dev.Reviewed(country) {
			t.Errorf("%q is reviewed: %v, in development %v", country, stock.Reviewed(country), dev.Reviewed(country))
		}
	}
	// The hours that are recorded are of countries that were reviewed.
	b, err := readBundle(builtinFS(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	hours := b.params["quiet_hours"].(map[string]any)["hours"].(map[string]any)
	for country := range hours["marketing"].(map[string]any) {
		if !stock.Reviewed(country) {
			t.Errorf("hours of %s are recorded, and it is not among the reviewed countries", country)
		}
	}
}

func TestDenyOverDefer(t *testing.T) {
	e := builtinPacks(t)
	f := facts()
	f.Clocks["America/New_York"] = decision.FactClock{Date: "2026-11-24", Time: "03:00", Weekday: 2}
	if a := decide(t, e, f); a.Outcome != decision.Defer {
		t.Errorf("at 03:00: %+v", a)
	}
	f.OptOuts = []decision.FactOptOut{{Scope: "program"}, {Scope: "legal_entity", Same: true}}
	a := decide(t, e, f)
	if a.Outcome != decision.Deny || !slices.Equal(a.Checks[0].OptOuts, []int{1}) {
		t.Errorf("at 03:00 after STOP: %+v", a)
	}
	if got := quiet(t, a); got.Outcome != decision.Defer {
		t.Errorf("every check is to report, the quiet hours too: %+v", got)
	}
	f.Purpose, f.OptOuts[1].Answers = "compliance_reply", true
	if a := decide(t, e, f); a.Outcome != decision.Allow || !slices.Equal(a.Checks[0].OptOuts, []int{1}) {
		t.Errorf("the confirmation at 03:00: %+v", a)
	}
}

func TestFactsWithoutClocksAreAFault(t *testing.T) {
	e := builtinPacks(t)
	for name, clock := range map[string]decision.FactClock{
		"missing":    {},
		"unpadded":   {Date: "2026-11-24", Time: "8:00", Weekday: 2},
		"no time":    {Date: "2026-11-24", Time: "", Weekday: 2},
		"hour 24":    {Date: "2026-11-24", Time: "24:00", Weekday: 2},
		"hour 29":    {Date: "2026-11-24", Time: "29:00", Weekday: 2},
		"minute 60":  {Date: "2026-11-24", Time: "19:60", Weekday: 2},
		"no date":    {Date: "2026-02-30", Time: "12:00", Weekday: 2},
		"weekday 0":  {Date: "2026-11-24", Time: "12:00", Weekday: 0},
		"weekday 8":  {Date: "2026-11-24", Time: "12:00", Weekday: 8},
		"with a sec": {Date: "2026-11-24", Time: "12:00:00", Weekday: 2},
	} {
		f := facts()
		if f.Clocks["America/New_York"] = clock; name == "missing" {
			delete(f.Clocks, "America/New_York")
		}
		if a, err := e.Decide(context.Background(), f); err == nil {
			t.Errorf("%s: %+v, want an error", name, a)
		}
	}
	f := facts()
	f.Clocks = nil
	if a, err := e.Decide(context.Background(), f); err == nil {
		t.Errorf("no clocks: %+v, want an error", a)
	}
}

func TestUnknownFactsAreAFault(t *testing.T) {
	e := builtinPacks(t)
	for name, change := range map[string]func(f *decision.Facts){
		"purpose":     func(f *decision.Facts) { f.Purpose = "gossip" },
		"no purpose":  func(f *decision.Facts) { f.Purpose = "" },
		"sender type": func(f *decision.Facts) { f.Sender.Type = "pigeon" },
		"scope":       func(f *decision.Facts) { f.OptOuts = []decision.FactOptOut{{Scope: "planet"}} },
	} {
		f := facts()
		change(f)
		if a, err := e.Decide(context.Background(), f); err == nil {
			t.Errorf("unknown %s: %+v, want an error", name, a)
		}
	}
}

func TestACancelledEvaluationIsAFault(t *testing.T) {
	e := builtinPacks(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if a, err := e.Decide(ctx, facts()); err == nil {
		t.Errorf("%+v, want an error", a)
	}
	if a := decide(t, e, facts()); a.Outcome != decision.Allow {
		t.Errorf("afterwards: %+v", a)
	}
}

func TestAnswersAreTheCallersOwn(t *testing.T) {
	e := builtinPacks(t)
	f := facts()
	f.OptOuts = []decision.FactOptOut{{Scope: "tenant", Same: true}}
	var want *decision.Answer
	for range 3 {
		a := decide(t, e, f)
		if want == nil {
			want = clone(a)
		}
		if !reflect.DeepEqual(a, want) {
			t.Fatalf("%+v, want %+v", a, want)
		}
		a.Outcome, a.Checks[0].Outcome, a.Checks[0].Rules[0], a.Checks[0].OptOuts[0] = "", "", "", 7
		a.Windows[0].Days[0][0] = 7
	}
}

func TestConcurrentCallers(t *testing.T) {
	e := builtinPacks(t)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for n := range 60 {
				f := facts()
				want := decision.Allow
				if f.Program.Name = strconv.Itoa(n % 20); (i+n)%2 == 0 {
					f.Sender.Owned, want = false, decision.Deny
				}
				if a, err := e.Decide(context.Background(), f); err != nil || a.Outcome != want {
					t.Errorf("%+v, %v, want %s", a, err, want)
				}
			}
		})
	}
	callers.Wait()
}

func TestMemoIsBounded(t *testing.T) {
	var m memo
	kept := &decision.Answer{}
	m.put("kept", kept)
	for i := range 3 * generationAnswers {
		m.put(strconv.Itoa(i), &decision.Answer{})
		if n := len(m.young) + len(m.previous); n > 2*generationAnswers {
			t.Fatalf("%d answers are remembered", n)
		}
		if m.get([]byte("kept")) != kept {
			t.Fatalf("what is asked for again and again is forgotten after %d others", i)
		}
	}
	if m.get([]byte("0")) != nil {
		t.Error("the first of many is still remembered")
	}
	large := &decision.Answer{Windows: make([]decision.Window, 4000)}
	for i := range generationAnswers {
		m.put("large"+strconv.Itoa(i), large)
	}
	if n := (len(m.young) + len(m.previous)) * len(large.Windows) * windowBytes; n > 2*generationBytes+2*4000*windowBytes {
		t.Errorf("%d octets of windows are remembered", n)
	}
}
