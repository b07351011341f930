package decision

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

var noon = time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC) // in New York

// says is a policy that answers what it is told to.
type says struct {
	answer func(*Facts) (*Answer, error)
	asked  int
}

func (p *says) Decide(_ context.Context, f *Facts) (*Answer, error) { p.asked++; return p.answer(f) }
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

func registry(t testing.TB, more ...*event.Event) *control.Registry {
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
		return sms.LoadZone(name)
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
		"windows that never overlap":    {policy: answers(Defer, Window{Zone: ny, Days: daily(480, 600)}, Window{Zone: ny, Days: daily(600, 700)}), outcome: Deny},
		"deferred, with all hours open": {policy: answers(Defer), outcome: Deny},
		"allowed outside its own hours": {policy: answers(Allow, Window{Zone: ny, Days: daily(480, 720)}), outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"the policies fail":             {policy: func(*Facts) (*Answer, error) { return nil, errors.New("undefined") }, outcome: Hold, why: event.FaultPolicy, until: "1s"},
		"an outcome that there is not":  {policy: answers("maybe"), outcome: Hold, why: event.FaultPolicy, until: "1s"},
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
	d := &Decider{Policy: p, Zone: sms.LoadZone}
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
		f, _, err := (&Decider{Zone: sms.LoadZone}).Facts(reg, reg.Program("acme", "news"), s, m, noon)
		if err != nil || f.Sender.Owned != c.owned {
			t.Errorf("after %s was granted to %q: %v, %v", c.sender, c.tenant, f, err)
		}
	}
}

// Every field of the facts is filled from a message of which everything is known: a fact that
// the policies read and that is always empty would be a rule that never applies.
func TestEveryFactIsFilled(t *testing.T) {
	answers := event.ID{1}
	prog := &control.Program{ProgramChanged: &event.ProgramChanged{Name: "news", LegalEntity: "Acme", Purposes: []string{"marketing"}, Countries: []string{"US"}, Senders: []string{"+1500"}}}
	s := &recipient.State{OptOuts: []recipient.OptOut{{Event: answers, Unclear: true, Reach: event.Reach{Scope: event.ScopeProgram, Name: "news"}}}}
	m := &recipient.Message{Program: "news", Purpose: "marketing", From: "+1500", Country: "US", Places: []event.Place{"US-NY America/New_York"}, Answers: answers}
	f, _, err := (&Decider{Zone: sms.LoadZone, ZoneData: "z"}).Facts(&control.Registry{}, prog, s, m, noon)
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
