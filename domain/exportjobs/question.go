package exportjobs

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Scope is what an export has, without personal data. Conditions that are not given match all; those
// that are given must all hold.
type Scope struct {
	// Recipient is the person's pseudonym.
	Recipient event.Pseudonym `json:"recipient,omitzero"`
	Message   event.ID        `json:"message,omitzero"`
	// Reference is a keyed digest of the sender's own name for a message.
	Reference string `json:"reference,omitempty"`
	Program   string `json:"program,omitempty"`
	// Rule is a rule that an effective decision of the message named; hold. and a fault for a hold.
	Rule string `json:"rule,omitempty"`
	// Outcome is that of any effective decision of the message.
	Outcome event.DecisionOutcome `json:"outcome,omitempty"`
	// Carrier is the account of any attempt, or of the last route.
	Carrier string `json:"carrier,omitempty"`
	// Since and Until bound when a message was accepted, or when an event happened that belongs to no
	// message. Half-open.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// AfterStop is an opt-out: the events of its stream from it on, and the whole life of each message
	// that has one of them. StopAt is where it is.
	AfterStop event.ID        `json:"after_stop,omitzero"`
	StopAt    *event.Position `json:"stop_at,omitempty"`
}

// ofMessages reports whether the scope has a condition that only a message can meet.
func (s *Scope) ofMessages() bool {
	return !s.Message.IsZero() || s.Reference != "" || s.Program != "" || s.Rule != "" || s.Outcome != "" || s.Carrier != ""
}

// within reports whether a time lies within Since and Until.
func (s *Scope) within(t time.Time) bool {
	return (s.Since.IsZero() || !t.Before(s.Since)) && (s.Until.IsZero() || t.Before(s.Until))
}

// Words says the scope in English, a condition each; never empty.
func (s *Scope) Words() []string {
	var out []string
	add := func(set bool, text ...string) {
		if set {
			out = append(out, strings.Join(text, ""))
		}
	}
	add(!s.Recipient.IsZero(), "the recipient with the pseudonym ", s.Recipient.String())
	add(!s.Message.IsZero(), "the message ", s.Message.String())
	add(s.Reference != "", "messages with the reference whose keyed digest is ", s.Reference)
	add(s.Program != "", "messages of the program ", s.Program)
	add(s.Rule != "", "messages with a decision that named the rule ", s.Rule)
	add(s.Outcome != "", "messages with a decision ", string(s.Outcome))
	add(s.Carrier != "", "messages by the carrier ", s.Carrier)
	add(!s.Since.IsZero(), "accepted at or after ", s.Since.UTC().Format(time.RFC3339))
	add(!s.Until.IsZero(), "accepted before ", s.Until.UTC().Format(time.RFC3339))
	if !s.AfterStop.IsZero() {
		out = append(out, "the person of the opt-out "+s.AfterStop.String()+", from it on ("+s.StopAt.String()+")")
	}
	if out == nil {
		return []string{"everything"}
	}
	return out
}

// Shown says which personal data is in clear in a file.
type Shown struct {
	// Message: numbers, texts, references and metadata of messages.
	Message bool `json:"message,omitempty"`
	// Inbound: what persons wrote, with their numbers.
	Inbound bool `json:"inbound,omitempty"`
	// Evidence: the evidence for opt-outs, lifts and reviews.
	Evidence bool `json:"evidence,omitempty"`
}

// Words names what is shown: message, words, evidence; nil for nothing.
func (s Shown) Words() []string { return s.list(true) }

// missing names what is not shown.
func (s Shown) missing() []string { return s.list(false) }

func (s Shown) list(shown bool) []string {
	var out []string
	for _, x := range []struct {
		may  bool
		name string
	}{{s.Message, "message"}, {s.Inbound, "words"}, {s.Evidence, "evidence"}} {
		if x.may == shown {
			out = append(out, x.name)
		}
	}
	return out
}

// outcomes are those that a decision can have.
var outcomes = []event.DecisionOutcome{event.Allow, event.Deny, event.Defer, event.Hold}

// maxName bounds the names in a question, in bytes.
const maxName = 200

// check says in a *ledger.Refusal what is wrong with the scope that a question has.
func (s *Scope) check() error {
	switch {
	case s.Outcome != "" && !slices.Contains(outcomes, s.Outcome):
		return &ledger.Refusal{Code: "invalid_value", Field: "/outcome", Text: "An outcome of a decision is allow, deny, defer or hold."}
	case !s.Since.IsZero() && !s.Until.IsZero() && !s.Since.Before(s.Until):
		return &ledger.Refusal{Code: "invalid_value", Field: "/until", Text: "until must be later than since."}
	}
	for field, name := range map[string]string{"/program": s.Program, "/rule": s.Rule, "/carrier": s.Carrier} {
		if len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
			return &ledger.Refusal{Code: "invalid_value", Field: field, Text: "A name has at most 200 printable characters."}
		}
	}
	return nil
}
