package policies

import (
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/recipient"
)

func instantOf(t testing.TB, s string) time.Time {
	t.Helper()
	i, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// control2 is a registry of a tenant with a program for every purpose, at format level 2, under the
// policies of e.
func control2(e *Evaluator) *control.Registry {
	_, digest := e.Bundle()
	r := &control.Registry{}
	for i, x := range []*event.Event{
		{Tenant: "acme", Data: &event.ProgramChanged{Name: "all", LegalEntity: "Acme", Purposes: allPurposes, Countries: []string{"*"}, Senders: []string{"+12025550101"}}},
		{Data: &event.RoutesChanged{Routes: []event.Route{{Rule: "all", Carrier: "c1"}}}},
		{Data: &event.PolicyActivated{Digest: digest}},
		{Data: &event.LevelRaised{Level: 2}},
	} {
		r, _ = r.Apply(int64(i), x)
	}
	return r
}

// TestDecisions has whole decisions: what a message meets, and what becomes of it. The recipient is in
// New York (five hours behind UTC) unless the places say otherwise. The message was submitted at 17:00
// UTC, on a Tuesday at noon there.
func TestDecisions(t *testing.T) {
	const submitted = "2026-11-24T17:00:00Z"
	entity, elsewhere := event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme"}, event.Reach{Scope: event.ScopeProgram, Name: "other"}
	words := func(known string, unclear bool, reach event.Reach) recipient.OptOut {
		return recipient.OptOut{Event: event.NewID(instantOf(t, known)), Known: instantOf(t, known), Unclear: unclear, Reach: reach}
	}
	unclear := words("2026-11-24T17:09:20Z", true, entity)
	early := words("2026-11-24T11:00:00Z", true, entity)
	plain := words("2026-11-24T17:05:00Z", false, entity)
	other := words("2026-11-24T17:01:00Z", true, elsewhere)
	tollFree := []event.Place{"AS Pacific/Pago_Pago", "CA America/Toronto", "GU Pacific/Guam", "MP Pacific/Guam", "PR America/Puerto_Rico",
		"US-FL America/New_York", "US-HI Pacific/Honolulu", "US-NY America/New_York", "US-TX America/Chicago", "VI America/Puerto_Rico"}
	e := builtinPacks(t)
	for name, f := range map[string]struct {
		now     string
		purpose string // left out: marketing
		change  func(*recipient.Message)
		optOuts []recipient.OptOut
		outcome decision.Outcome
		until   string // "": not looked at
		rule    string // one of those that decided
		relied  int    // how many opt-outs its check relied on
	}{
		"no opt-out":                  {now: "2026-11-24T17:10:00Z", outcome: decision.Allow, until: "2026-11-24T18:10:00Z", rule: "opt_out.none"},
		"unclear words":               {now: "2026-11-24T17:10:00Z", optOuts: []recipient.OptOut{unclear}, outcome: decision.Defer, until: "2026-11-24T18:10:00Z", rule: "opt_out.in_review", relied: 1},
		"the last minute of its wait": {now: "2026-11-24T18:09:59Z", optOuts: []recipient.OptOut{unclear}, outcome: decision.Defer, until: "2026-11-24T18:10:00Z", rule: "opt_out.in_review", relied: 1},
		"after resolution":            {now: "2026-11-24T17:20:00Z", outcome: decision.Allow, until: "2026-11-24T18:20:00Z", rule: "opt_out.none"},
		"after an hour":               {now: "2026-11-24T18:10:00Z", optOuts: []recipient.OptOut{unclear}, outcome: decision.Deny, rule: "opt_out.unclear", relied: 1},
		"known for long":              {now: "2026-11-24T17:00:01Z", optOuts: []recipient.OptOut{early}, outcome: decision.Defer, until: "2026-11-24T18:00:00Z", rule: "opt_out.in_review", relied: 1},
		"scheduled": {now: "2026-11-24T19:00:00Z", change: func(m *recipient.Message) { m.SendAt = instantOf(t, "2026-11-24T19:00:00Z") }, optOuts: []recipient.OptOut{unclear},
			outcome: decision.Defer, until: "2026-11-24T20:00:00Z", rule: "opt_out.in_review", relied: 1},
		"a validity of less than an hour": {now: "2026-11-24T17:10:00Z", change: func(m *recipient.Message) { m.ValidUntil = instantOf(t, "2026-11-24T17:30:30Z") }, optOuts: []recipient.OptOut{unclear},
			outcome: decision.Defer, until: "2026-11-24T17:30:30Z", rule: "opt_out.in_review", relied: 1},
		"another purpose waits too":   {now: "2026-11-24T17:10:00Z", purpose: "account", optOuts: []recipient.OptOut{unclear}, outcome: decision.Defer, until: "2026-11-24T18:10:00Z", rule: "opt_out.in_review", relied: 1},
		"a code does not wait":        {now: "2026-11-24T17:10:00Z", purpose: "otp", optOuts: []recipient.OptOut{unclear}, outcome: decision.Allow, rule: "opt_out.not_plain", relied: 1},
		"nor later":                   {now: "2026-11-24T20:10:00Z", purpose: "otp", optOuts: []recipient.OptOut{unclear}, outcome: decision.Allow, rule: "opt_out.not_plain", relied: 1},
		"nor a fraud alert":           {now: "2026-11-24T17:10:00Z", purpose: "fraud_alert", optOuts: []recipient.OptOut{unclear}, outcome: decision.Allow, rule: "opt_out.not_plain", relied: 1},
		"nor an emergency":            {now: "2026-11-24T17:10:00Z", purpose: "emergency", optOuts: []recipient.OptOut{unclear}, outcome: decision.Allow, rule: "opt_out.not_plain", relied: 1},
		"a code after plain words":    {now: "2026-11-24T17:10:00Z", purpose: "otp", optOuts: []recipient.OptOut{unclear, plain}, outcome: decision.Deny, rule: "opt_out.otp", relied: 2},
		"plain beside unclear words":  {now: "2026-11-24T17:10:00Z", optOuts: []recipient.OptOut{unclear, plain}, outcome: decision.Deny, rule: "opt_out.legal_entity", relied: 2},
		"unclear words about another": {now: "2026-11-24T17:10:00Z", optOuts: []recipient.OptOut{other}, outcome: decision.Allow, rule: "opt_out.elsewhere"},
		"the hours close while it waits": {now: "2026-11-25T01:30:00Z", change: func(m *recipient.Message) { m.SendAt = instantOf(t, "2026-11-25T01:30:00Z") }, optOuts: []recipient.OptOut{unclear},
			outcome: decision.Defer, until: "2026-11-25T02:30:00Z", rule: "opt_out.in_review", relied: 1}, // and is then denied
		"closed hours and a review": {now: "2026-11-25T12:10:00Z", change: func(m *recipient.Message) { m.SendAt = instantOf(t, "2026-11-25T12:10:00Z") }, optOuts: []recipient.OptOut{unclear},
			outcome: decision.Defer, until: "2026-11-25T13:10:00Z", rule: "opt_out.in_review", relied: 1},
		"a review that ends before the hours": {now: "2026-11-25T10:00:00Z", change: func(m *recipient.Message) { m.SendAt = instantOf(t, "2026-11-25T10:00:00Z") }, optOuts: []recipient.OptOut{unclear},
			outcome: decision.Defer, until: "2026-11-25T13:00:00Z", rule: "quiet_hours.us.federal", relied: 1},

		"HELP after STOP": {now: "2026-11-24T17:06:00Z", purpose: "compliance_reply", change: func(m *recipient.Message) { m.Reply = recipient.AskHelp }, optOuts: []recipient.OptOut{plain},
			outcome: decision.Allow, rule: "opt_out.help", relied: 1},
		"HELP after unclear words": {now: "2026-11-24T17:10:00Z", purpose: "compliance_reply", change: func(m *recipient.Message) { m.Reply = recipient.AskHelp }, optOuts: []recipient.OptOut{unclear},
			outcome: decision.Allow, rule: "opt_out.help", relied: 1},
		"START after STOP": {now: "2026-11-24T17:06:00Z", purpose: "compliance_reply", change: func(m *recipient.Message) { m.Reply = recipient.AskWelcome }, optOuts: []recipient.OptOut{plain},
			outcome: decision.Deny, rule: "opt_out.not_the_confirmation", relied: 1},
		"START after unclear words": {now: "2026-11-24T17:10:00Z", purpose: "compliance_reply", change: func(m *recipient.Message) { m.Reply = recipient.AskWelcome }, optOuts: []recipient.OptOut{unclear},
			outcome: decision.Deny, rule: "opt_out.not_the_confirmation", relied: 1},
		"START when it lifted what stood": {now: "2026-11-24T17:06:00Z", purpose: "compliance_reply", change: func(m *recipient.Message) { m.Reply = recipient.AskWelcome },
			outcome: decision.Allow, rule: "opt_out.none"},
		"the confirmation of a STOP": {now: "2026-11-24T17:10:00Z", purpose: "compliance_reply", change: func(m *recipient.Message) { m.Reply, m.Answers = recipient.AskConfirm, plain.Event },
			optOuts: []recipient.OptOut{unclear, plain}, outcome: decision.Allow, rule: "opt_out.confirmation", relied: 1},

		"toll-free: it is 04:30 in Guam": {now: "2026-11-24T18:30:00Z", change: func(m *recipient.Message) { m.Places = tollFree },
			outcome: decision.Defer, until: "2026-11-24T22:00:00Z", rule: "quiet_hours.us.federal"},
		"toll-free: it is 08:00 in Guam and 17:00 in Florida": {now: "2026-11-24T22:00:00Z", change: func(m *recipient.Message) { m.Places = tollFree },
			outcome: decision.Allow, until: "2026-11-24T23:00:00Z", rule: "quiet_hours.us.federal"},
		"a country that was not reviewed": {now: "2026-11-24T17:10:00Z", change: func(m *recipient.Message) { m.Country, m.Places = "IT", []event.Place{"IT Europe/Rome"} },
			outcome: decision.Deny, rule: "countries.not_reviewed"},
		"a code to that country": {now: "2026-11-24T17:10:00Z", purpose: "otp", change: func(m *recipient.Message) { m.Country, m.Places = "IT", []event.Place{"IT Europe/Rome"} },
			outcome: decision.Allow, rule: "countries.reach"},
		"a reviewed country without hours": {now: "2026-11-24T03:10:00Z", change: func(m *recipient.Message) { m.Country, m.Places = "GB", []event.Place{"GB Europe/London"} },
			outcome: decision.Allow, rule: "quiet_hours.none_recorded"},
	} {
		m := &recipient.Message{ID: event.NewMessageID(instantOf(t, submitted), 0), Program: "all", Purpose: "marketing", From: "+12025550101", Country: "US",
			Places: []event.Place{"US-NY America/New_York"}, ValidUntil: instantOf(t, submitted).Add(3 * 24 * time.Hour)}
		if f.purpose != "" {
			m.Purpose = f.purpose
		}
		if f.change != nil {
			f.change(m)
		}
		d := &decision.Decider{Policy: e, Zone: places.BuiltIn().Zone}
		got := d.Decide(t.Context(), control2(e), &recipient.State{Tenant: "acme", OptOuts: f.optOuts}, m, instantOf(t, f.now), "", "")
		if got.Outcome != f.outcome || f.until != "" && !got.Until.Equal(instantOf(t, f.until)) {
			t.Errorf("%s: %s until %s %s %s, want %s until %s", name, got.Outcome, got.Until, got.Fault, got.Detail, f.outcome, f.until)
		}
		if !slices.ContainsFunc(got.Checks, func(c event.Check) bool { return slices.Contains(c.Rules, f.rule) }) {
			t.Errorf("%s: %s is no rule of %+v", name, f.rule, got.Checks)
		}
		if len(got.Checks) > 0 && len(got.Checks[0].OptOuts) != f.relied || len(got.OptOuts) != len(f.optOuts) {
			t.Errorf("%s: it relied on %v of %v", name, got.Checks, got.OptOuts)
		}
		for _, c := range got.Checks {
			if waits := slices.Contains(c.Rules, "opt_out.in_review"); waits == c.Until.IsZero() || c.Until.After(got.Until) && waits {
				t.Errorf("%s: the check %s lets go at %s, the decision at %s", name, c.Check, c.Until, got.Until)
			}
		}
	}
}

// A rule that defers to a date is a deferral to that date: neither a denial nor an allow before it.
func TestAHolidayEnds(t *testing.T) {
	e, err := Load(holiday(t, `{"check": "holidays", "outcome": "defer", "rules": ["holidays.today"], "until": "2026-11-25T05:00:00Z"}`))
	if err != nil {
		t.Fatal(err)
	}
	m := &recipient.Message{ID: event.NewMessageID(instantOf(t, "2026-11-24T17:00:00Z"), 0), Program: "all", Purpose: "otp", From: "+12025550101", Country: "US",
		Places: []event.Place{"US-NY America/New_York"}, ValidUntil: instantOf(t, "2026-11-27T17:00:00Z")}
	d := &decision.Decider{Policy: e, Zone: places.BuiltIn().Zone}
	for _, c := range []struct {
		purpose, now string
		outcome      decision.Outcome
		until        string
	}{
		{"otp", "2026-11-24T17:00:00Z", decision.Defer, "2026-11-25T05:00:00Z"},
		{"otp", "2026-11-25T05:00:00Z", decision.Allow, "2026-11-25T06:00:00Z"},
		// Midnight is past; the hours are not open before eight.
		{"marketing", "2026-11-24T17:00:00Z", decision.Defer, "2026-11-25T13:00:00Z"},
	} {
		m.Purpose = c.purpose
		got := d.Decide(t.Context(), control2(e), &recipient.State{Tenant: "acme"}, m, instantOf(t, c.now), "", "")
		if got.Outcome != c.outcome || !got.Until.Equal(instantOf(t, c.until)) {
			t.Errorf("%s at %s: %s until %s (%s), want %s until %s", c.purpose, c.now, got.Outcome, got.Until, got.Detail, c.outcome, c.until)
		}
	}
}
