package reading

import (
	"slices"
	"testing"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
)

type fakeRules struct{}

func (fakeRules) Rule(id string) (decision.Rule, bool) {
	if id != "opt_out.legal_entity" {
		return decision.Rule{}, false
	}
	return decision.Rule{ID: id, Text: "The recipient opted out of every message of this legal entity.", Citation: "47 CFR 64.1200(a)(10)"}, true
}

func TestDecisionsInWords(t *testing.T) {
	ids := []event.ID{{9}}
	checks := []event.Check{
		{Check: "countries", Outcome: decision.Allow, Rules: []string{"countries.ok"}},
		{Check: "quiet_hours", Outcome: decision.Defer, Rules: []string{"quiet_hours.us"}},
		{Check: "opt_out", Outcome: decision.Deny, Rules: []string{"opt_out.legal_entity", "opt_out.marketing"}, OptOuts: ids},
	}
	for name, c := range map[string]struct {
		d    event.MessageDecided
		want []string
	}{
		"deny":  {event.MessageDecided{Outcome: decision.Deny, Checks: checks}, []string{"opt_out.legal_entity", "opt_out.marketing", "quiet_hours.us"}},
		"defer": {event.MessageDecided{Outcome: decision.Defer, Checks: checks[:2]}, []string{"quiet_hours.us"}},
		"allow": {event.MessageDecided{Outcome: decision.Allow, Checks: checks[:1]}, []string{"countries.ok"}},
		"hold":  {event.MessageDecided{Outcome: decision.Hold, Fault: event.FaultPause, Detail: "paused: wrong price"}, []string{"hold.pause"}},
	} {
		reasons := Reasons(fakeRules{}, &c.d)
		var got []string
		for _, r := range reasons {
			got = append(got, r.Rule)
			if r.Text == "" {
				t.Errorf("%s: %s says nothing", name, r.Rule)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: reasons %v, want %v", name, got, c.want)
		}
		switch name {
		case "deny":
			if r := reasons[0]; r.Citation != "47 CFR 64.1200(a)(10)" || !slices.Equal(r.OptOuts, ids) {
				t.Errorf("the denial does not cite: %+v", r)
			}
		case "hold":
			if reasons[0].Text != "Sending is paused. Reason: wrong price." {
				t.Errorf("the hold says %q", reasons[0].Text)
			}
		}
	}
}
