package reading

import (
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// rules describes policy rules by their id.
type rules interface {
	Rule(id string) (ledger.Rule, bool)
}

// Reason is one rule that led to a decision, in words.
type Reason struct {
	Check   string // "" for a hold
	Outcome string
	Rule    string // its id
	Text    string
	// Citation is where the law says so; "" where the text stands for itself.
	Citation string
	// OptOuts are the events that the rule rests on.
	OptOuts []event.ID
}

// decisive are the outcomes of checks that led to a decision's outcome, in the order
// in which they are told: what refuses comes before what postpones, and an allow
// rests on all checks.
var decisive = map[string][]string{
	ledger.Deny:  {ledger.Deny, ledger.Defer},
	ledger.Defer: {ledger.Defer},
	ledger.Allow: {ledger.Allow},
}

// reasons puts a decision into words; nil for no decision.
func (r *Reader) reasons(d *Decision) []Reason {
	if d == nil {
		return nil
	}
	if d.Data.Outcome == ledger.Hold {
		return []Reason{{Rule: "hold." + d.Data.Fault, Outcome: ledger.Hold, Text: hold(d.Data)}}
	}
	var out []Reason
	for _, outcome := range decisive[d.Data.Outcome] {
		for _, c := range d.Data.Checks {
			if c.Outcome != outcome {
				continue
			}
			for _, id := range c.Rules {
				reason := Reason{Check: c.Check, Outcome: c.Outcome, Rule: id, OptOuts: c.OptOuts}
				if rule, ok := r.p.Rules.Rule(id); ok {
					reason.Text, reason.Citation = rule.Text, rule.Citation
				} else {
					reason.Text = "This rule's text is in the policies of revision " + d.Data.Revision + ", which are not loaded here."
				}
				out = append(out, reason)
			}
		}
	}
	return out
}

// faults say in words what kept a decision from being made. The message is tried
// again until its validity ends.
var faults = map[string]string{
	ledger.FaultPolicy:   "The policies could not be evaluated.",
	ledger.FaultBundle:   "The policies in force are not those that this server has loaded.",
	ledger.FaultZoneData: "The local time at the recipient could not be worked out.",
	ledger.FaultClock:    "The server's clock cannot be trusted at the moment.",
	ledger.FaultProgram:  "Its program is not registered.",
	ledger.FaultRoute:    "No route leads to the recipient.",
	ledger.FaultPause:    "Sending is paused.",
	ledger.FaultKey:      "The message could not be unsealed.",
	ledger.FaultEncoding: "It cannot be written for its carrier.",
}

// hold says in words why a message is held.
func hold(d *event.MessageDecided) string {
	text, ok := faults[d.Fault]
	if !ok {
		text = "A decision could not be made (" + d.Fault + ")."
	}
	if d.Detail != "" {
		text += " Reason: " + strings.TrimPrefix(d.Detail, "paused: ")
		if !strings.HasSuffix(text, ".") {
			text += "."
		}
	}
	return text
}
