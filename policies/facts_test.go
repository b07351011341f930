package policies

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/decision"
)

// anyFacts draws facts of any strings and any shape. It goes by the type, so that it draws a
// new fact too.
func anyFacts(t *rapid.T) *decision.Facts {
	f := &decision.Facts{}
	drawInto(t, reflect.ValueOf(f).Elem(), "facts")
	return f
}

var anyString = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "US", `a"b\c`, "<&>", "\u2028\u2029", "\x00\x1f\x7f", "é", "日本"}))

func drawInto(t *rapid.T, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(anyString.Draw(t, name))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.Int:
		v.SetInt(int64(rapid.Int().Draw(t, name)))
	case reflect.Struct:
		for i := range v.NumField() {
			drawInto(t, v.Field(i), name+" "+v.Type().Field(i).Name)
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 4).Draw(t, name+" length"); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				drawInto(t, v.Index(i), name)
			}
		}
	case reflect.Map:
		if n := rapid.IntRange(-1, 12).Draw(t, name+" length"); n >= 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				drawInto(t, key, name+" key")
				drawInto(t, value, name)
				v.SetMapIndex(key, value)
			}
		}
	default:
		t.Fatalf("%s has a type that is not drawn: %s", name, v.Type())
	}
}

// TestFactsEncodeAsJSONDoes: every field of every fact is encoded, under the name in its tag.
func TestFactsEncodeAsJSONDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := anyFacts(t)
		want, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendFacts(nil, *f); !bytes.Equal(got, want) {
			t.Fatalf("\n%s, want\n%s", got, want)
		}
		parsed, err := ast.ValueFromReader(bytes.NewReader(want))
		if err != nil {
			t.Fatal(err)
		}
		if got := objectFacts(*f); got.Compare(parsed) != 0 {
			t.Fatalf("\n%v, want\n%v", got, parsed)
		}
	})
}

// The property knows the law of its own places, apart from the packs.
type hours struct{ opens, closes, sundayOpens int }

func (h hours) on(weekday int) [2]int {
	if weekday == 7 {
		return [2]int{h.sundayOpens * 60, h.closes * 60}
	}
	return [2]int{h.opens * 60, h.closes * 60}
}

func law(purpose string, p decision.FactPlace) map[string]hours {
	us := map[string]bool{"US": true, "PR": true}[p.Country]
	switch {
	case purpose == "collection" && us:
		return map[string]hours{"quiet_hours.us.collection": {8, 21, 8}}
	case purpose == "marketing" && us:
		rules := map[string]hours{"quiet_hours.us.federal": {8, 21, 8}}
		if unknown := p.Country == "US" && p.State == ""; unknown || p.State == "FL" {
			rules["quiet_hours.us.fl"] = hours{8, 20, 8}
		}
		if unknown := p.Country == "US" && p.State == ""; unknown || p.State == "TX" {
			rules["quiet_hours.us.tx"] = hours{9, 21, 12}
		}
		return rules
	case purpose == "marketing" && p.Country == "IN":
		return map[string]hours{"quiet_hours.in": {10, 21, 10}}
	}
	return nil
}

var allPurposes = []string{"marketing", "otp", "fraud_alert", "account", "delivery", "healthcare", "collection", "reply", "emergency", "compliance_reply"}

// plausibleFacts draws facts as the ledger makes them.
func plausibleFacts(t *rapid.T) *decision.Facts {
	f := facts()
	f.Purpose = rapid.OneOf(rapid.SampledFrom(allPurposes), rapid.Just("marketing")).Draw(t, "purpose")
	f.Program.Countries = rapid.SliceOfN(rapid.SampledFrom([]string{"*", "US", "PR", "GB", "IN", "FR"}), 0, 3).Draw(t, "countries")
	f.Recipient.Country = rapid.SampledFrom([]string{"", "US", "US", "PR", "GB", "IN", "FR", "IT"}).Draw(t, "country")
	f.Recipient.Places = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) decision.FactPlace {
		return rapid.SampledFrom([]decision.FactPlace{
			{Country: "US", State: "NY", Zone: "America/New_York"},
			{Country: "US", State: "FL", Zone: "America/New_York"},
			{Country: "US", State: "FL", Zone: "America/Chicago"},
			{Country: "US", State: "TX", Zone: "America/Chicago"},
			{Country: "US", State: "TX", Zone: "America/Denver"},
			{Country: "US", State: "CA", Zone: "America/Los_Angeles"},
			{Country: "US", Zone: "America/Denver"},
			{Country: "PR", Zone: "America/Puerto_Rico"},
			{Country: "IN", Zone: "Asia/Kolkata"},
			{Country: "GB", Zone: "Europe/London"},
			{Country: "GB", Zone: ""},
			{Country: "", Zone: "Europe/London"},
		}).Draw(t, "place")
	}), 0, 5).Draw(t, "places")
	f.Clocks = map[string]decision.FactClock{}
	minutes := rapid.OneOf(rapid.SampledFrom([]int{0, 479, 480, 539, 540, 599, 600, 719, 720, 1199, 1200, 1259, 1260, 1439}), rapid.IntRange(600, 1199))
	for _, p := range f.Recipient.Places {
		if p.Zone != "" {
			m := minutes.Draw(t, "minute")
			f.Clocks[p.Zone] = decision.FactClock{
				Date: "2026-11-24", Time: fmt.Sprintf("%02d:%02d", m/60, m%60),
				Weekday: rapid.IntRange(1, 7).Draw(t, "weekday"),
			}
		}
	}
	f.Sender.Type = rapid.SampledFrom([]string{"alphanumeric", "long_code", "short_code"}).Draw(t, "type")
	f.Sender.Owned = rapid.Bool().Draw(t, "owned")
	f.OptOuts = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) decision.FactOptOut {
		b := rapid.Bool()
		return decision.FactOptOut{
			Scope: rapid.SampledFrom([]string{"sender", "program", "legal_entity", "tenant"}).Draw(t, "scope"),
			Same:  b.Draw(t, "same"), Unclear: b.Draw(t, "unclear"), Answers: b.Draw(t, "answers"),
		}
	}), 0, 3).Draw(t, "opt-outs")
	f.Reply = rapid.SampledFrom([]string{"", "", "help", "stop", "welcome"}).Draw(t, "reply")
	if slices.ContainsFunc(f.OptOuts, func(o decision.FactOptOut) bool { return o.Unclear && (o.Same || o.Scope == "tenant") }) {
		f.Review = decision.FactReview{Until: "2026-11-24T18:00:00Z", Ended: rapid.Bool().Draw(t, "ended")}
	}
	return f
}

// TestEveryAnswerIsWhole holds over whatever the ledger may ask: the packs always
// answer; the hours are the law's; the quiet hours defer if and only if a clock is outside a window;
// what passes a covering opt-out is the confirmation, the answer to HELP, and what only plain words
// stop; what waits for a review waits for its end; each rule can be told to a person.
func TestEveryAnswerIsWhole(t *testing.T) {
	e := builtinPacks(t)
	rapid.Check(t, func(t *rapid.T) {
		f := plausibleFacts(t)
		a, err := e.Decide(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		second, err := e.Decide(context.Background(), f)
		if err != nil || fmt.Sprint(second) != fmt.Sprint(a) {
			t.Fatalf("asked a second time: %v, %v, want %v", second, err, a)
		}

		outcomes := map[decision.Outcome]int{}
		for i, c := range a.Checks {
			outcomes[c.Outcome]++
			if c.Check != e.checks[i] {
				t.Fatalf("check %d is %s", i, c.Check)
			}
			for _, id := range c.Rules {
				if r, ok := e.Rule(id); !ok || r.ID != id || r.Text == "" {
					t.Fatalf("rule %s is %+v", id, r)
				}
			}
		}
		want := decision.Allow
		if outcomes[decision.Deny] > 0 {
			want = decision.Deny
		} else if outcomes[decision.Defer] > 0 {
			want = decision.Defer
		}
		if len(a.Checks) != len(e.checks) || a.Outcome != want {
			t.Fatalf("%s of %+v", a.Outcome, a.Checks)
		}

		restricted := f.Purpose == "marketing" || f.Purpose == "collection"
		unknown, closed, windows := len(f.Recipient.Places) == 0, false, map[string][7][2]int{}
		for _, p := range f.Recipient.Places {
			unknown = unknown || p.Zone == "" || p.Country == ""
			if p.Zone == "" {
				continue
			}
			for id, h := range law(f.Purpose, p) {
				var days [7][2]int
				for i := range days {
					days[i] = h.on(i + 1)
				}
				windows[p.Zone+" "+id] = days
			}
		}
		for _, w := range a.Windows {
			if days, ok := windows[w.Zone+" "+w.Rule]; !ok || days != w.Days {
				t.Fatalf("window %+v, want %v", w, windows)
			}
			c := f.Clocks[w.Zone]
			m, _ := minute(c.Time)
			day := w.Days[c.Weekday-1]
			closed = closed || m < day[0] || m >= day[1]
		}
		if len(a.Windows) != len(windows) {
			t.Fatalf("%d windows, want %v", len(a.Windows), windows)
		}
		switch {
		case restricted && unknown:
			want = decision.Deny
		case closed:
			want = decision.Defer
		default:
			want = decision.Allow
		}
		if got := a.Checks[1].Outcome; got != want {
			t.Fatalf("quiet hours: %s, want %s", got, want)
		}

		country := f.Recipient.Country
		reached := country != "" && (slices.Contains(f.Program.Countries, "*") || slices.Contains(f.Program.Countries, country))
		if want = decision.Allow; !reached || f.Purpose == "marketing" && country == "IT" {
			want = decision.Deny
		}
		if got := a.Checks[2].Outcome; got != want {
			t.Fatalf("countries: %s, want %s", got, want)
		}

		var covering, confirmed, plain []int
		for i, o := range f.OptOuts {
			if o.Same || o.Scope == "tenant" {
				covering = append(covering, i)
				if !o.Unclear {
					plain = append(plain, i)
				}
				if o.Answers && f.Purpose == "compliance_reply" {
					confirmed = append(confirmed, i)
				}
			}
		}
		switch got := a.Checks[0]; {
		case len(confirmed) > 0:
			if got.Outcome != decision.Allow || !slices.Equal(got.OptOuts, confirmed) {
				t.Fatalf("the confirmation: %+v", got)
			}
		case len(covering) > 0 && f.Purpose == "compliance_reply" && f.Reply == "help",
			len(covering) > 0 && len(plain) == 0 && slices.Contains([]string{"otp", "fraud_alert", "emergency"}, f.Purpose):
			if got.Outcome != decision.Allow || !slices.Equal(got.OptOuts, covering) {
				t.Fatalf("what passes an opt-out: %+v", got)
			}
		case len(covering) > 0 && len(plain) == 0 && f.Purpose != "compliance_reply" && !f.Review.Ended:
			if got.Outcome != decision.Defer || !slices.Equal(got.OptOuts, covering) || got.Until.Format(time.RFC3339) != f.Review.Until {
				t.Fatalf("in review: %+v", got)
			}
		case len(covering) > 0:
			if got.Outcome != decision.Deny || !slices.Equal(got.OptOuts, covering) {
				t.Fatalf("opted out: %+v", got)
			}
		case got.Outcome != decision.Allow:
			t.Fatalf("not opted out: %+v", got)
		}
	})
}

// Every purpose is known to both packs that tell them apart.
func TestPurposes(t *testing.T) {
	e := builtinPacks(t)
	for _, purpose := range allPurposes {
		f := facts()
		f.Purpose = purpose
		f.OptOuts = []decision.FactOptOut{{Scope: "legal_entity", Same: true}}
		if got := decide(t, e, f).Checks[0]; len(got.Rules) != 2 {
			t.Errorf("%s after an opt-out is denied by %v: it needs a rule of its own beside the scope's", purpose, got.Rules)
		}
	}
}
