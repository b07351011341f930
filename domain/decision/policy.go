// Package decision turns what is known of a message into facts, asks the policies, and
// makes their answer an outcome with instants: until when an allow stands, when a deferral
// ends. It is pure but for the policies, which are pure themselves.
package decision

import (
	"github.com/chirograph/chirograph/domain/event"
)

import "context"

// Policy decides. It is a pure function of its facts: no clock, no network, no
// ledger. The same facts and the same bundle give the same answer for ever.
type Policy interface {
	// Decide answers for one message. An error is a fault (an undefined result, a
	// check that did not report, a builtin that failed): the message is held,
	// never allowed and never denied on account of it.
	Decide(ctx context.Context, f *Facts) (*Answer, error)

	// Rule describes a rule by its id, from its annotations.
	Rule(id string) (Rule, bool)

	// Bundle is the revision and the digest (SHA-256, hex) of the policies and
	// their data.
	Bundle() (revision, digest string)
}

// Rule is what a rule says of itself.
type Rule struct {
	ID string `json:"id"`
	// Text tells a person what the rule did, in one sentence.
	Text string `json:"text"`
	// Citation names the law, the regulator's rule or the industry's guideline.
	Citation string `json:"citation,omitempty"`
	// Effective is the date (YYYY-MM-DD) from which the rule holds.
	Effective string `json:"effective,omitempty"`
	// Confidence is statute, regulator, industry or secondary.
	Confidence string `json:"confidence,omitempty"`
}

// Facts is the policy input: derived facts only, never a number and never a
// body, so that a decision can be evaluated again after its subject was erased.
// Its JSON is what is recorded in MessageDecided and what OPA gets as input.
// Clocks are cut to the minute, so equal messages in the same minute have equal
// facts and one evaluation answers for all of them.
type Facts struct {
	// Purpose and Priority as submitted, already narrowed to what the program allows.
	Purpose string      `json:"purpose"`
	Program FactProgram `json:"program"`
	// Recipient is where the number may be.
	Recipient FactRecipient `json:"recipient"`
	Sender    FactSender    `json:"sender"`
	// OptOuts are all that stand in the stream, whatever their scope.
	OptOuts []FactOptOut `json:"opt_outs,omitempty"`
	// Clocks is the local date and time in every zone of Recipient.Places, by zone.
	Clocks map[string]FactClock `json:"clocks"`
	// ZoneData is the version of the zone database that made Clocks.
	ZoneData string `json:"zone_data"`
}

// FactProgram is the program's registration as of the control position.
type FactProgram struct {
	Name        string   `json:"name"`
	LegalEntity string   `json:"legal_entity"`
	Purposes    []string `json:"purposes"`
	// Countries the program may reach, ISO 3166-1 alpha-2; "*" is all.
	Countries []string `json:"countries"`
}

// FactRecipient says where the recipient may be. Country is the number's own,
// "" when it is not known (and then every rule that needs it must not allow).
type FactRecipient struct {
	Country string      `json:"country"`
	Places  []FactPlace `json:"places"`
}

// FactPlace is one place the recipient may be in.
type FactPlace struct {
	Country string `json:"country"`
	// State is the ISO 3166-2 code without its country ("FL"), "" where it does not matter or is unknown.
	State string `json:"state,omitempty"`
	// Zone is an IANA zone name.
	Zone string `json:"zone"`
}

// FactSender is the sender ID that would be used.
type FactSender struct {
	ID string `json:"id"`
	// Type is alphanumeric, short_code or long_code.
	Type string `json:"type"`
	// Owned: the program registers this sender ID.
	Owned bool `json:"owned"`
}

// FactOptOut is one opt-out that stands, seen from this message.
type FactOptOut struct {
	// Scope is sender, program, legal_entity or tenant.
	Scope string `json:"scope"`
	// Same: the scope's own name (the sender ID, the program, the legal entity)
	// is this message's. Always true for tenant.
	Same bool `json:"same"`
	// Unclear: the words were not plain; an officer has yet to look.
	Unclear bool `json:"unclear,omitempty"`
	// Answers: this message is the one confirmation of this very opt-out.
	Answers bool `json:"answers,omitempty"`
}

// FactClock is a local date and time, cut to the minute.
type FactClock struct {
	Date    string `json:"date"`    // 2026-11-24
	Time    string `json:"time"`    // 20:59
	Weekday int    `json:"weekday"` // ISO 8601: 1 is Monday, 7 Sunday
}

// Outcome is what an answer, or a check, comes to. Hold is never a policy's own answer.
type Outcome = event.DecisionOutcome

// The outcomes, for the policies, which see no events.
const (
	Allow = event.Allow
	Deny  = event.Deny
	Defer = event.Defer
	Hold  = event.Hold
)

// Answer is what the policy said.
type Answer struct {
	// Outcome is allow, deny or defer: deny if any check denies, else defer if
	// any defers, else allow (and only if every required check reported).
	Outcome Outcome
	Checks  []Check
	// Windows are the local hours within which the answer may be allow. An allow
	// lasts until the first of them closes; a defer until the first instant at
	// which all are open, and there the policy is asked again.
	Windows []Window
}

// Check is one required check's report. Every check reports on every message.
type Check struct {
	// Check is the pack: opt_out, quiet_hours, countries, senders.
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	// Rules are the ids of the rules that decided, sorted; at least one, also for
	// an allow (the rule that says why nothing stands against it).
	Rules []string `json:"rules"`
	// OptOuts are indexes into Facts.OptOuts that this check rested on.
	OptOuts []int `json:"opt_outs,omitempty"`
}

// Window is when a rule lets a message out, in one zone's local time: for each
// ISO weekday (index 0 is Monday) the minute of the day it opens and the minute
// it closes, half-open; [0,1440) is the whole day, equal values are closed.
type Window struct {
	Zone string    `json:"zone"`
	Rule string    `json:"rule"`
	Days [7][2]int `json:"days"`
}
