// Package decision turns what is known of a message into facts, asks the policies, and
// makes their answer an outcome with instants: until when an allow stands, when a deferral
// ends. It is pure but for the policies, which are pure themselves.
package decision

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Policy decides. It is a pure function of its facts: no clock, no network, no
// ledger. The same facts and the same bundle always give the same answer.
type Policy interface {
	// Decide answers for one message. An error is a fault (an undefined result, a
	// check that did not report, a builtin that failed): the message is then held,
	// neither allowed nor denied.
	Decide(ctx context.Context, f *Facts) (*Answer, error)

	// Rule describes a rule by its id, from its annotations. It reports false for
	// an id that no rule of the bundle has.
	Rule(id string) (Rule, bool)

	// Reviewed reports whether the law of a country (ISO 3166-1 alpha-2) was reviewed for marketing.
	// Marketing to any other country is denied. "*" asks for every country there is.
	Reviewed(country string) bool

	// Bundle is the revision and the digest (SHA-256, hex) of the policies and
	// their data.
	Bundle() (revision, digest string)
}

// Rule is what a rule says of itself.
type Rule struct {
	ID string `json:"id"`
	// Text tells a person what the rule did, in one sentence.
	Text string `json:"text"`
	// Citation names the law, the regulator's rule or the industry's guideline. It is
	// empty, like Effective and Confidence, for a rule of our own.
	Citation string `json:"citation,omitempty"`
	// Effective is the date (YYYY-MM-DD) from which the rule is law.
	Effective string `json:"effective,omitempty"`
	// Confidence is what the rule was taken from: statute, regulator, industry or secondary.
	Confidence string `json:"confidence,omitempty"`
}

// Facts is the policy input. It has derived facts only, no number and no body, so that a
// decision can be evaluated a second time after its recipient's data was erased. Its JSON
// is what OPA gets as input. Clocks are cut to the minute: equal messages in one minute
// have equal facts, and one evaluation answers for all of them.
//
// This type is the only description of the facts. After a change, go generate ./policies
// writes their encoders, and go test ./policies -run TestDocs -update the table of facts in
// docs/policies.md, from the comments here. The fields are filled in Decider.Facts.
type Facts struct {
	// Purpose is why the message is sent: marketing, otp, fraud_alert, account, delivery,
	// healthcare, collection, reply, emergency, or the system's own compliance_reply.
	Purpose string `json:"purpose"`
	// Program is what the message's program is registered for.
	Program FactProgram `json:"program"`
	// Recipient is where the recipient may be.
	Recipient FactRecipient `json:"recipient"`
	// Sender is the sender ID that would be used.
	Sender FactSender `json:"sender"`
	// Reply is what this message, an automatic answer, answers: help, stop, or welcome for a START.
	// It is left out for other messages.
	Reply string `json:"reply,omitempty"`
	// OptOuts are all opt-outs of the recipient that stand, whatever their scope. They are
	// left out if there are none.
	OptOuts []FactOptOut `json:"opt_outs,omitempty"`
	// Review is how long this message waits for an officer to read the unclear opt-outs that cover
	// it. It is left out if there are none.
	Review FactReview `json:"review,omitzero"`
	// Clocks are the local date and time in the zone of every place, by zone.
	Clocks map[string]FactClock `json:"clocks"`
	// ZoneData is the version of the zone database that the clocks were read from.
	ZoneData string `json:"zone_data"`
}

// FactProgram is a program's registration at the control position of the decision.
type FactProgram struct {
	// Name is the program's name.
	Name string `json:"name"`
	// LegalEntity is the legal entity that sends by the program.
	LegalEntity string `json:"legal_entity"`
	// Purposes are the purposes that the program may send for.
	Purposes []string `json:"purposes"`
	// Countries are the countries that the program may reach (ISO 3166-1 alpha-2). "*" is every country.
	Countries []string `json:"countries"`
}

// FactRecipient is where a recipient may be.
type FactRecipient struct {
	// Country is the country of the number (ISO 3166-1 alpha-2). "" means that it is not
	// known; a rule that needs it must then not allow.
	Country string `json:"country"`
	// Places are all places where the recipient may be. A toll-free number in North America
	// may be anywhere there.
	Places []FactPlace `json:"places"`
}

// FactPlace is one place where the recipient may be.
type FactPlace struct {
	// Country is the country of the place (ISO 3166-1 alpha-2). "" means that it is not known.
	Country string `json:"country"`
	// State is the ISO 3166-2 code without its country, such as FL. It is left out where it is
	// not known or does not matter.
	State string `json:"state,omitempty"`
	// Zone is the name of an IANA time zone. "" means that it is not known.
	Zone string `json:"zone"`
}

// FactSender is the sender ID that would be used.
type FactSender struct {
	// ID is the sender ID itself.
	ID string `json:"id"`
	// Type is alphanumeric, short_code or long_code.
	Type string `json:"type"`
	// Owned says whether the program registers this sender ID, and no operator has granted it to
	// another tenant.
	Owned bool `json:"owned"`
}

// FactOptOut is one opt-out that stands, seen from this message.
type FactOptOut struct {
	// Scope is sender, program, legal_entity or tenant.
	Scope string `json:"scope"`
	// Same says whether the scope names this message's sender ID, program or legal entity. It
	// is always true for a tenant.
	Same bool `json:"same"`
	// Unclear is true if the recipient's words were not plain and an officer has yet to look
	// at them. Else it is left out.
	Unclear bool `json:"unclear,omitempty"`
	// Answers is true if this message is the one confirmation of this opt-out. Else it is
	// left out.
	Answers bool `json:"answers,omitempty"`
}

// FactReview is the wait for the review of unclear opt-outs.
type FactReview struct {
	// Until is the instant at which the wait ends, in UTC and rounded up to the minute, such as
	// 2026-11-28T05:09:00Z: an hour after the message and the first of those opt-outs met, or the end
	// of the message's validity if that comes earlier.
	Until string `json:"until"`
	// Ended says whether that instant has come.
	Ended bool `json:"ended"`
}

// FactClock is a local date and time, cut to the minute.
type FactClock struct {
	// Date is the local date, such as 2026-11-24.
	Date string `json:"date"`
	// Time is the local time, from 00:00 to 23:59.
	Time string `json:"time"`
	// Weekday is the local day of the week: 1 is Monday, 7 is Sunday (ISO 8601).
	Weekday int `json:"weekday"`
}

// Outcome is the result of an answer or of a check. The policies never answer Hold.
type Outcome = event.DecisionOutcome

// The outcomes. They are named here too because the policies may not import package event.
const (
	Allow = event.Allow
	Deny  = event.Deny
	Defer = event.Defer
	Hold  = event.Hold
)

// Answer is what the policies say of one message.
type Answer struct {
	// Outcome is allow, deny or defer: deny if any check denies, else defer if
	// any defers, else allow (and only if every required check reported).
	Outcome Outcome
	// Checks are the reports of all checks, in the order of the bundle's manifest.
	Checks []Check
	// Windows are the local hours within which the message may leave. An allow
	// lasts until the first window closes. A check that defers without an instant of its own
	// lets go at the first instant at which all windows are open. A deferral lasts until every check
	// that defers has let go; the policies are then asked about that instant.
	Windows []Window
}

// Check is one check's report. Every check of the bundle's manifest reports on every message.
type Check struct {
	// Check is the name of the check, which is the name of its pack of rules: quiet_hours.
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	// Rules are the ids of the rules that decided, sorted. There is at least one: for an
	// allow, the rule that says why nothing prevents the message.
	Rules []string `json:"rules"`
	// OptOuts are the opt-outs that this check relied on, as indexes into Facts.OptOuts,
	// ascending.
	OptOuts []int `json:"opt_outs,omitempty"`
	// Until is the instant at which a check that defers lets go or gives its final answer. Zero: it
	// waits for the windows. Only a check that defers has one, and it is later than the clocks
	// in the facts.
	Until time.Time `json:"until,omitzero"`
}

// Window is the hours in which one rule lets a message out, in the local time of one zone.
type Window struct {
	// Zone is the name of an IANA time zone.
	Zone string `json:"zone"`
	// Rule is the id of the rule that sets the hours.
	Rule string `json:"rule"`
	// Days has, for each weekday (index 0 is Monday), the minute of the day at which the
	// window opens and the minute at which it closes: [480,1260) is 08:00:00 to 20:59:59.
	// [0,1440) is the whole day. Equal values mean that it is closed all day.
	Days [7][2]int `json:"days"`
}
