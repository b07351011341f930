package decision

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/recipient"
)

var noon = time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC) // in New York

// says is a policy that answers what it is told to.
type says struct {
	answer func(*Facts) (*Answer, error)
	asked  int
}

func (p *says) Decide(_ context.Context, f *Facts) (*Answer, error) { p.asked++; return p.answer(f) }
func (*says) Reviewed(string) bool                                  { return true }
func (*says) Rule(string) (Rule, bool)                              { return Rule{}, false }
func (*says) Bundle() (string, string)                              { return "r1", strings.Repeat("d", 64) }

func answers(outcome Outcome, ws ...Window) func(*Facts) (*Answer, error) {
	return func(*Facts) (*Answer, error) {
		return &Answer{Outcome: outcome, Windows: ws, Checks: []Check{{Check: "x", Outcome: outcome, Rules: []string{"x.y"}}}}, nil
	}
}

// hours is a policy that defers outside its window, by the clock of its one zone.
func hours(zone string, from, to string, outside Outcome) func(*Facts) (*Answer, error) {
	minute := func(s string) int { t, _ := time.Parse("15:04", s); return t.Hour()*60 + t.Minute() }
	return func(f *Facts) (*Answer, error) {
		out := Allow
		if c := f.Clocks[zone].Time; c < from || c >= to {
			out = Defer
		} else if outside != "" && f.Clocks[zone].Weekday == 3 {
			out = outside
		}
		return answers(out, Window{Zone: zone, Days: daily(minute(from), minute(to))})(f)
	}
}

// until is a policy with a check for each name, which defers until that time after noon. The check
// hours defers by its window, which is open three hours a day from then on.
func until(checks map[string]string) func(*Facts) (*Answer, error) {
	return func(f *Facts) (*Answer, error) {
		a := &Answer{Outcome: Allow}
		at, err := time.Parse("2006-01-02T15:04 MST", f.Clocks["America/New_York"].Date+"T"+f.Clocks["America/New_York"].Time+" EST")
		if err != nil {
			return nil, err
		}
		at = at.Add(5 * time.Hour)
		for name, after := range checks {
			d, err := time.ParseDuration(after)
			if err != nil {
				return nil, err
			}
			c := Check{Check: name, Outcome: Allow, Rules: []string{"x"}}
			opens := noon.Add(d)
			if name == "hours" {
				first := opens.Add(-5*time.Hour).Hour() * 60
				a.Windows = []Window{{Zone: "America/New_York", Rule: "x", Days: daily(first, first+3*60)}}
				if m := at.Add(-5*time.Hour).Hour() * 60; m < first || m >= first+3*60 {
					c.Outcome, a.Outcome = Defer, Defer
				}
			} else if d <= 0 || at.Before(opens) {
				c.Outcome, c.Until, a.Outcome = Defer, opens, Defer
			}
			a.Checks = append(a.Checks, c)
		}
		return a, nil
	}
}

// moves is a policy that always defers for an hour more; stays one that defers to 13:00 for ever.
func moves(f *Facts) (*Answer, error) {
	at, err := time.Parse("15:04", f.Clocks["America/New_York"].Time)
	return &Answer{Outcome: Defer, Checks: []Check{{Check: "x", Outcome: Defer, Rules: []string{"x"}, Until: noon.Add(time.Duration(at.Hour()-12+1) * time.Hour)}}}, err
}

func stays(*Facts) (*Answer, error) {
	return &Answer{Outcome: Defer, Checks: []Check{{Check: "x", Outcome: Defer, Rules: []string{"x"}, Until: noon.Add(time.Hour)}}}, nil
}

func registry(_ any, more ...*event.Event) *control.Registry {
	r := &control.Registry{}
	for i, e := range append([]*event.Event{
		{Tenant: "acme", Data: &event.ProgramChanged{Name: "news", LegalEntity: "Acme", Purposes: []string{"marketing"}, Countries: []string{"US"}, Senders: []string{"+1500"}, Default: true}},
		{Data: &event.RoutesChanged{Routes: []event.Route{{Rule: "us", Countries: []string{"US"}, Carrier: "c1"}}}},
		{Data: &event.PolicyActivated{Revision: "r1", Digest: strings.Repeat("d", 64)}},
	}, more...) {
		r, _ = r.Apply(int64(i), e)
	}
	return r
}

func TestDecide(t *testing.T) {
	const ny = "America/New_York"
	zones := func(name string) (*time.Location, error) {
		if name == "Mars/Olympus" {
			return nil, errors.New("no such zone")
		}
		return places.BuiltIn().Zone(name)
	}
	for name, f := range map[string]struct {
		policy  func(*Facts) (*Answer, error)
		change  func(*recipient.Message)
		more    []*event.Event
		fault   event.Fault
		now     time.Time
		outcome Outcome
		why     event.Fault
		until   string // from now
	}{
		"allowed for an hour":           {policy: answers(Allow), outcome: Allow, until: "1h"},
		"until the hours close":         {policy: answers(Allow, Window{Zone: ny, Days: daily(480, 12*60+10)}), outcome: Allow, until: "10m"},
		"until the first of them close": {policy: answers(Allow, Window{Zone: ny, Days: daily(480, 12*60+10)}, Window{Zone: "America/Chicago", Days: daily(480, 11*60+5)}), outcome: Allow, until: "5m"},
		"until its validity ends": {policy: answers(Allow), change: func(m *recipient.Message) { m.ValidUntil = noon.Add(time.Minute) },
			outcome: Allow, until: "1m"},
		"denied":                     {policy: answers(Deny), outcome: Deny},
		"deferred to the morning":    {policy: hours(ny, "08:00", "12:00", ""), outcome: Defer, until: "20h"},
		"denied there, deferred now": {policy: hours(ny, "08:00", "12:00", Deny), outcome: Defer, until: "20h"},
		"deferred past a closed day": {policy: func(f *Facts) (*Answer, error) {
			ws := Window{Zone: ny, Days: daily(480, 720)}
			ws.Days[2] = [2]int{} // Wednesday
			out := Defer
			if f.Clocks[ny].Weekday != 3 && f.Clocks[ny].Time >= "08:00" && f.Clocks[ny].Time < "12:00" {
				out = Allow
			}
			return answers(out, ws)(f)
		}, outcome: Defer, until: "44h"},
		"windows that never overlap":                 {policy: answers(Defer, Window{Zone: ny, Days: daily(480, 600)}, Window{Zone: ny, Days: daily(600, 700)}), outcome: Deny},
		"deferred, with all hours open":              {policy: answers(Defer), outcome: Deny},
		"allowed outside its own hours":              {policy: answers(Allow, Window{Zone: ny, Days: daily(480, 720)}), outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"the policies fail":                          {policy: func(*Facts) (*Answer, error) { return nil, errors.New("undefined") }, outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"deferred to an instant":                     {policy: until(map[string]string{"x": "20h"}), outcome: Defer, until: "20h"},
		"deferred to two instants":                   {policy: until(map[string]string{"x": "20h", "y": "3h"}), outcome: Defer, until: "20h"},
		"deferred to an instant, and to hours":       {policy: until(map[string]string{"x": "3h", "hours": "21h"}), outcome: Defer, until: "21h"},
		"deferred to hours, and to a later instant":  {policy: until(map[string]string{"x": "23h", "hours": "21h"}), outcome: Defer, until: "23h"},
		"hours that close before the instant":        {policy: until(map[string]string{"x": "30h", "hours": "21h"}), outcome: Defer, until: "45h"},
		"deferred past its validity":                 {policy: until(map[string]string{"x": "2000h"}), outcome: Defer, until: "168h"},
		"deferred to now":                            {policy: until(map[string]string{"x": "0s"}), outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"deferred to the past":                       {policy: until(map[string]string{"x": "-1h"}), outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"one of two instants has passed":             {policy: until(map[string]string{"x": "-1h", "y": "1h"}), outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"an instant that moves on":                   {policy: moves, outcome: Defer, until: "8h"},
		"an instant that does not let go when it is": {policy: stays, outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"an instant that has passed, beside closed hours": {policy: func(f *Facts) (*Answer, error) {
			a, err := until(map[string]string{"hours": "21h"})(f)
			if a.Outcome == Defer {
				a.Checks = append(a.Checks, Check{Check: "x", Outcome: Defer, Rules: []string{"x"}, Until: noon})
			}
			return a, err
		}, outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"deferred by no check": {policy: func(*Facts) (*Answer, error) { return &Answer{Outcome: Defer}, nil },
			outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"an outcome that there is not": {policy: answers("maybe"), outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"an opt-out that there is not": {policy: func(*Facts) (*Answer, error) {
			return &Answer{Outcome: Deny, Checks: []Check{{Check: "opt_out", Outcome: Deny, OptOuts: []int{3}}}}, nil
		}, outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"a zone of the recipient's does not load": {policy: answers(Allow), change: func(m *recipient.Message) { m.Places = []event.Place{"US Mars/Olympus"} },
			outcome: Hold, why: event.FaultZoneData, until: "1s"},
		"a zone of a window does not load": {policy: answers(Allow, Window{Zone: "Mars/Olympus"}), outcome: Hold, why: event.FaultZoneData, until: "1s"},
		"the caller knows of a fault":      {policy: answers(Allow), fault: event.FaultClock, outcome: Hold, why: event.FaultClock, until: "1s"},
		"held again waits longer":          {policy: answers(Allow), fault: event.FaultClock, change: func(m *recipient.Message) { m.Holds = 3 }, outcome: Hold, why: event.FaultClock, until: "8s"},
		"held for long":                    {policy: answers(Allow), fault: event.FaultClock, change: func(m *recipient.Message) { m.Holds = 60 }, outcome: Hold, why: event.FaultClock, until: "5m"},
		"no such program":                  {policy: answers(Allow), change: func(m *recipient.Message) { m.Program = "x" }, outcome: Hold, why: event.FaultProgram, until: "1s"},
		"no route":                         {policy: answers(Allow), change: func(m *recipient.Message) { m.Country = "FR" }, outcome: Hold, why: event.FaultRoute, until: "1s"},
		"everything is paused":             {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Reason: "x"}}}, outcome: Hold, why: event.FaultPause, until: "1s"},
		"its carrier is paused":            {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Carrier: "c1"}}}, outcome: Hold, why: event.FaultPause, until: "1s"},
		"another carrier is paused":        {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Carrier: "c2"}}}, outcome: Allow, until: "1h"},
		"another tenant is paused":         {policy: answers(Allow), more: []*event.Event{{Tenant: "other", Data: &event.Paused{}}}, outcome: Allow, until: "1h"},
		"paused, and resumed": {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Carrier: "c1"}}, {Data: &event.Resumed{Carrier: "c1"}}},
			outcome: Allow, until: "1h"},
		"resumed for another program": {policy: answers(Allow), more: []*event.Event{{Data: &event.Paused{Carrier: "c1"}}, {Data: &event.Resumed{Program: "news", Carrier: "c1"}}},
			outcome: Hold, why: event.FaultPause, until: "1s"},
		"other policies are in force": {policy: answers(Allow), more: []*event.Event{{Data: &event.PolicyActivated{Digest: "e"}}}, outcome: Hold, why: event.FaultBundle, until: "1s"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &says{answer: f.policy}
			d := &Decider{Policy: p, Zone: zones, ZoneData: "z"}
			m := &recipient.Message{Program: "news", Purpose: "marketing", From: "+1500", Country: "US", Places: []event.Place{"US-NY " + ny}, ValidUntil: noon.Add(7 * 24 * time.Hour)}
			if f.change != nil {
				f.change(m)
			}
			s := &recipient.State{Tenant: "acme"}
			got := d.Decide(t.Context(), registry(t, f.more...), s, m, noon, f.fault, "")
			until := ""
			if !got.Until.IsZero() {
				until = got.Until.Sub(noon).String()
			}
			want := f.until
			if want != "" {
				v, err := time.ParseDuration(want)
				if err != nil {
					t.Fatal(err)
				}
				want = v.String()
			}
			if got.Outcome != f.outcome || got.Fault != f.why || until != want {
				t.Errorf("%s (%s: %s) until %s, want %s (%s) until %s", got.Outcome, got.Fault, got.Detail, until, f.outcome, f.why, want)
			}
			if got.Outcome == Allow && (len(got.Senders) != 1 || got.Senders[0] != "+1500") {
				t.Errorf("allowed for %v", got.Senders)
			}
			if got.Outcome != Hold && (got.Revision != "r1" || len(got.Digest) != 32 || len(got.Clocks) == 0 || got.ZoneData != "z") {
				t.Errorf("it does not say what it was made from: %+v", got)
			}
			if p.asked > daysAhead {
				t.Errorf("the policies were asked %d times", p.asked)
			}
		})
	}
}

// A decision names every opt-out that stood, and each check those it rested on.
func TestDecideNamesOptOuts(t *testing.T) {
	a, b := event.ID{1}, event.ID{2}
	p := &says{answer: func(f *Facts) (*Answer, error) {
		if len(f.OptOuts) != 2 || f.OptOuts[0].Same || !f.OptOuts[1].Same {
			t.Errorf("facts: %+v", f.OptOuts)
		}
		return &Answer{Outcome: Deny, Checks: []Check{{Check: "opt_out", Outcome: Deny, Rules: []string{"r"}, OptOuts: []int{1}}}}, nil
	}}
	d := &Decider{Policy: p, Zone: places.BuiltIn().Zone}
	s := &recipient.State{Tenant: "acme", OptOuts: []recipient.OptOut{{Event: a, Reach: event.Reach{Scope: event.ScopeProgram, Name: "other"}},
		{Event: b, Reach: event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}}}}
	got := d.Decide(t.Context(), registry(t), s, &recipient.Message{Program: "news", Country: "US", From: "+1500", ValidUntil: noon.Add(time.Hour)}, noon, "", "")
	if !slices.Equal(got.OptOuts, []event.ID{a, b}) || !slices.Equal(got.Checks[0].OptOuts, []event.ID{b}) {
		t.Errorf("%+v", got)
	}
}

// A sender ID that an operator has granted to another tenant is not the program's own any more.
func TestGrantedSender(t *testing.T) {
	s, m := &recipient.State{Tenant: "acme"}, &recipient.Message{Program: "news", Country: "US", From: "+1500"}
	reg := registry(t)
	for i, c := range []struct {
		tenant, sender string
		owned          bool
	}{{"", "", true}, {"other", "+1501", true}, {"other", "+1500", false}, {"acme", "+1500", true}} {
		if c.tenant != "" {
			next, matters := reg.Apply(100+int64(i), &event.Event{ID: event.ID{byte(i)}, Tenant: c.tenant, Data: &event.OwnerGranted{Sender: c.sender}})
			if !matters {
				t.Fatal("a grant changes decisions")
			}
			reg = next
		}
		f, _, err := (&Decider{Zone: places.BuiltIn().Zone}).Facts(reg, reg.Program("acme", "news"), s, m, noon)
		if err != nil || f.Sender.Owned != c.owned {
			t.Errorf("after %s was granted to %q: %v, %v", c.sender, c.tenant, f, err)
		}
	}
}

// Every field of the facts is filled from a message of which everything is known: a fact that
// the policies read and that is always empty would be a rule that never applies.
func TestEveryFactIsFilled(t *testing.T) {
	answers := event.ID{1}
	known := noon.Add(-2 * time.Hour) // the wait for its review has ended
	prog := &control.Program{ProgramChanged: &event.ProgramChanged{Name: "news", LegalEntity: "Acme", Purposes: []string{"marketing"}, Countries: []string{"US"}, Senders: []string{"+1500"}}}
	s := &recipient.State{OptOuts: []recipient.OptOut{{Event: answers, Unclear: true, Known: known, Reach: event.Reach{Scope: event.ScopeProgram, Name: "news"}}}}
	m := &recipient.Message{Program: "news", Purpose: "marketing", From: "+1500", Country: "US", Places: []event.Place{"US-NY America/New_York"}, Answers: answers, Reply: recipient.AskConfirm, ValidUntil: noon}
	f, _, err := (&Decider{Zone: places.BuiltIn().Zone, ZoneData: "z"}).Facts(&control.Registry{}, prog, s, m, noon)
	if err != nil {
		t.Fatal(err)
	}
	var filled func(v reflect.Value, name string)
	filled = func(v reflect.Value, name string) {
		if v.IsZero() {
			t.Errorf("%s is empty", name)
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				filled(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
		case reflect.Slice:
			for i := range v.Len() {
				filled(v.Index(i), name+"[i]")
			}
		case reflect.Map:
			for _, k := range v.MapKeys() {
				filled(v.MapIndex(k), name+"["+k.String()+"]")
			}
		}
	}
	filled(reflect.ValueOf(*f), "facts")
	if len(f.Recipient.Places) != 1 || len(f.OptOuts) != 1 || len(f.Clocks) != 1 {
		t.Errorf("the facts are %+v", f)
	}
}

// A check's instant is in its event from format level 2 on, cut to the message's validity. The
// decision has its own at every level.
func TestDecideRecordsInstants(t *testing.T) {
	d := &Decider{Policy: &says{answer: until(map[string]string{"x": "3h", "y": "30h"})}, Zone: places.BuiltIn().Zone}
	m := &recipient.Message{Program: "news", Country: "US", From: "+1500", Places: []event.Place{"US-NY America/New_York"}, ValidUntil: noon.Add(24 * time.Hour)}
	raised := &event.Event{Data: &event.LevelRaised{Level: 2}}
	for level, reg := range map[int]*control.Registry{1: registry(t), 2: registry(t, raised)} {
		got := d.Decide(t.Context(), reg, &recipient.State{Tenant: "acme"}, m, noon, "", "")
		if got.Outcome != Defer || !got.Until.Equal(m.ValidUntil) || reg.Level() != level {
			t.Errorf("level %d: %+v", reg.Level(), got)
		}
		for _, c := range got.Checks {
			want := map[string]time.Time{"x": noon.Add(3 * time.Hour), "y": m.ValidUntil}[c.Check]
			if level == 1 {
				want = time.Time{}
			}
			if !c.Until.Equal(want) {
				t.Errorf("level %d: check %s lets go at %s, want %s", level, c.Check, c.Until, want)
			}
		}
	}
}

// The wait for a review begins when the message and the unclear words met.
func TestReview(t *testing.T) {
	at := func(s string) time.Time {
		i, err := time.Parse("15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return time.Date(2026, 11, 28, i.Hour(), i.Minute(), i.Second(), 0, time.UTC)
	}
	id := event.NewMessageID(at("04:00:00"), 0)
	words := func(known string, reach event.Reach) recipient.OptOut {
		return recipient.OptOut{Known: at(known), Unclear: true, Reach: reach}
	}
	entity, other := event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}, event.Reach{Scope: event.ScopeProgram, Name: "other"}
	plain := words("01:00:00", entity)
	plain.Unclear = false
	for name, f := range map[string]struct {
		optOuts []recipient.OptOut
		sendAt  string
		valid   string
		until   string // "": there is none
		ended   bool   // at 05:00
	}{
		"none stands":                 {valid: "23:00:00"},
		"only a plain one":            {optOuts: []recipient.OptOut{plain}, valid: "23:00:00"},
		"one that does not cover it":  {optOuts: []recipient.OptOut{words("04:30:00", other)}, valid: "23:00:00"},
		"known after the submit":      {optOuts: []recipient.OptOut{words("04:30:10", entity)}, valid: "23:00:00", until: "05:31:00"},
		"on the minute":               {optOuts: []recipient.OptOut{words("04:30:00", entity)}, valid: "23:00:00", until: "05:30:00"},
		"known before the submit":     {optOuts: []recipient.OptOut{words("02:00:00", entity)}, valid: "23:00:00", until: "05:00:00", ended: true},
		"scheduled":                   {optOuts: []recipient.OptOut{words("02:00:00", entity)}, sendAt: "04:45:00", valid: "23:00:00", until: "05:45:00"},
		"a short validity":            {optOuts: []recipient.OptOut{words("04:30:10", entity)}, valid: "05:10:10", until: "05:11:00"},
		"the first of two counts":     {optOuts: []recipient.OptOut{words("04:50:00", entity), words("04:40:00", entity)}, valid: "23:00:00", until: "05:40:00"},
		"one that covers it counts":   {optOuts: []recipient.OptOut{words("04:50:00", entity), words("04:10:00", other)}, valid: "23:00:00", until: "05:50:00"},
		"a plain one does not count":  {optOuts: []recipient.OptOut{plain, words("04:50:00", entity)}, valid: "23:00:00", until: "05:50:00"},
		"the whole tenant covers all": {optOuts: []recipient.OptOut{words("04:20:00", event.Reach{Scope: event.ScopeTenant})}, valid: "23:00:00", until: "05:20:00"},
	} {
		m := &recipient.Message{ID: id, Program: "news", From: "+1500", ValidUntil: at(f.valid)}
		if f.sendAt != "" {
			m.SendAt = at(f.sendAt)
		}
		reg := registry(t)
		got, _, err := (&Decider{Zone: places.BuiltIn().Zone}).Facts(reg, reg.Program("acme", "news"), &recipient.State{OptOuts: f.optOuts}, m, at("05:00:00"))
		if err != nil {
			t.Fatal(err)
		}
		want := FactReview{Ended: f.ended}
		if f.until != "" {
			want.Until = at(f.until).Format(time.RFC3339)
		}
		if got.Review != want {
			t.Errorf("%s: %+v, want %+v", name, got.Review, want)
		}
	}
}

// No allow comes earlier than every check that defers lets go, whatever checks there are: a decision
// that allows is one that no check defers, and a deferral ends no earlier than the latest of them.
func TestNeverEarly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type rule struct {
			until time.Time // it defers before
			then  Outcome
			days  [7][2]int // it defers outside, in UTC, if it has hours
			hours bool
		}
		zone := "Etc/UTC"
		rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rule {
			r := rule{then: rapid.SampledFrom([]Outcome{Allow, Allow, Allow, Deny}).Draw(t, "then"), hours: rapid.Bool().Draw(t, "hours")}
			if r.hours {
				from := rapid.IntRange(0, 20).Draw(t, "from")
				r.days = daily(from*60, rapid.IntRange(from+1, 24).Draw(t, "to")*60)
			} else {
				r.until = noon.Add(time.Duration(rapid.IntRange(-2000, 10000).Draw(t, "minutes")) * time.Minute)
			}
			return r
		}), 1, 4).Draw(t, "rules")
		m := &recipient.Message{Program: "news", Country: "US", From: "+1500", Places: []event.Place{event.Place("US " + zone)},
			ValidUntil: noon.Add(time.Duration(rapid.IntRange(1, 7*24*60).Draw(t, "validity")) * time.Minute)}
		open := func(r rule, at time.Time) bool {
			if r.hours {
				m := at.Hour()*60 + at.Minute()
				return r.days[0][0] <= m && m < r.days[0][1]
			}
			return !at.Before(r.until)
		}
		policy := &says{answer: func(f *Facts) (*Answer, error) {
			at, err := time.Parse("2006-01-02 15:04", f.Clocks[zone].Date+" "+f.Clocks[zone].Time)
			if err != nil {
				return nil, err
			}
			a := &Answer{Outcome: Allow}
			for _, r := range rules {
				c := Check{Outcome: r.then, Rules: []string{"x"}}
				if r.hours {
					a.Windows = append(a.Windows, Window{Zone: zone, Rule: "x", Days: r.days})
				}
				if !open(r, at) {
					c.Outcome, c.Until = Defer, r.until
				}
				if c.Outcome == Deny || c.Outcome == Defer && a.Outcome == Allow {
					a.Outcome = c.Outcome
				}
				a.Checks = append(a.Checks, c)
			}
			return a, nil
		}}
		d := &Decider{Policy: policy, Zone: places.BuiltIn().Zone}
		reg, s := registry(t), &recipient.State{Tenant: "acme"}
		for now, n := noon, 0; now.Before(m.ValidUntil); n++ {
			if n > 100 {
				t.Fatal("it is deferred for ever")
			}
			got := d.Decide(context.Background(), reg, s, m, now, "", "")
			if got.Outcome == Hold {
				t.Fatalf("at %s: held, %s", now, got.Detail)
			}
			for _, r := range rules {
				switch {
				case got.Outcome == Allow && (r.then != Allow || !open(r, now)):
					t.Fatalf("at %s: allowed, against %+v", now, r)
				case got.Outcome == Allow && !open(r, got.Until.Add(-time.Millisecond)):
					t.Fatalf("at %s: allowed until %s, against %+v", now, got.Until, r)
				case got.Outcome == Defer && !r.hours && !open(r, now) && got.Until.Before(r.until) && got.Until.Before(m.ValidUntil):
					t.Fatalf("at %s: deferred until %s, before %+v lets go", now, got.Until, r)
				}
			}
			if got.Outcome != Defer {
				return
			}
			if !got.Until.After(now) {
				t.Fatalf("at %s: deferred until %s", now, got.Until)
			}
			now = got.Until
		}
	})
}

func BenchmarkFacts(b *testing.B) {
	reg := registry(b)
	d := &Decider{Zone: places.BuiltIn().Zone, ZoneData: "z"}
	s, m := &recipient.State{Tenant: "acme"}, &recipient.Message{Program: "news", Country: "US", From: "+1500", Places: []event.Place{"US-NY America/New_York"}}
	prog := reg.Program("acme", "news")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := d.Facts(reg, prog, s, m, noon); err != nil {
			b.Fatal(err)
		}
	}
}
