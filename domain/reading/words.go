package reading

import (
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
)

// rules describes policy rules by their id.
type rules interface {
	Rule(id string) (decision.Rule, bool)
}

// Reason is one rule that led to a decision, in words.
type Reason struct {
	Check   string // "" for a hold
	Outcome event.DecisionOutcome
	Rule    string // its id
	Text    string
	// Citation is where the law says so; "" where the text stands for itself.
	Citation string
	// OptOuts are the events that the rule rests on.
	OptOuts []event.ID
	// Until is the instant at which the check lets go or gives its final answer; zero if it named none.
	Until time.Time
}

// decisive are the outcomes of checks that led to a decision's outcome, in the order
// in which they are told: what refuses comes before what postpones, and an allow
// rests on all checks.
var decisive = map[event.DecisionOutcome][]event.DecisionOutcome{
	event.Deny:  {event.Deny, event.Defer},
	event.Defer: {event.Defer},
	event.Allow: {event.Allow},
}

// Reasons puts a decision into words; nil for none. of describes the rules.
func Reasons(of rules, d *event.MessageDecided) []Reason {
	if d == nil {
		return nil
	}
	if d.Outcome == event.Hold {
		return []Reason{{Rule: "hold." + string(d.Fault), Outcome: event.Hold, Text: hold(d)}}
	}
	var out []Reason
	for _, outcome := range decisive[d.Outcome] {
		for _, c := range d.Checks {
			if c.Outcome != outcome {
				continue
			}
			for _, id := range c.Rules {
				reason := Reason{Check: c.Check, Outcome: c.Outcome, Rule: id, OptOuts: c.OptOuts, Until: c.Until}
				if rule, ok := of.Rule(id); ok {
					reason.Text, reason.Citation = rule.Text, rule.Citation
				} else {
					reason.Text = "This rule's text is in the policies of revision " + d.Revision + ", which are not loaded here."
				}
				out = append(out, reason)
			}
		}
	}
	return out
}

// faults say in words what kept a decision from being made. The message is tried
// again until its validity ends.
var faults = map[event.Fault]string{
	event.FaultPolicy:   "The policies could not be evaluated.",
	event.FaultBundle:   "The policies in force are not those that this server has loaded.",
	event.FaultZoneData: "The local time of the recipient could not be computed.",
	event.FaultClock:    "The server's clock cannot be trusted at the moment.",
	event.FaultControl:  "The server cannot read all settings that are in force.",
	event.FaultProgram:  "Its program is not registered.",
	event.FaultRoute:    "No route takes messages to the recipient's country.",
	event.FaultPause:    "Sending is paused.",
	event.FaultKey:      "The message's text and number could not be decrypted.",
	event.FaultEncoding: "The text cannot be encoded for its carrier.",
}

// hold says in words why a message is held.
func hold(d *event.MessageDecided) string {
	text, ok := faults[d.Fault]
	if !ok {
		text = "A decision could not be made (" + string(d.Fault) + ")."
	}
	if d.Detail != "" {
		text += " Reason: " + strings.TrimPrefix(d.Detail, "paused: ")
		if !strings.HasSuffix(text, ".") {
			text += "."
		}
	}
	if d.Fault != event.FaultPause {
		text += " See docs/glossary.md#fault."
	}
	return text
}
