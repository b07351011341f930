package export

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// says puts an event into one sentence. It uses nothing that is sealed.
func says(x *told) string {
	switch d := x.Event.Data.(type) {
	case *event.MessageSubmitted:
		return "The message was accepted from the sender: program " + d.Program + ", purpose " + d.Purpose + ", from " + d.From + "."
	case *event.CancelRequested:
		return "The sender asked to cancel the message."
	case *event.MessageDecided:
		return decided(d)
	case *event.MessageRouted:
		return "The carrier " + d.Carrier + " was chosen, to send " + count(d.Parts, "part") + " from " + d.From + "."
	case *event.HandoffStarted:
		text := "Attempt " + strconv.Itoa(d.Attempt) + " to hand " + count(len(d.Parts), "part") + " to the carrier began."
		if d.Epoch != 0 {
			text += " The message is from before epoch " + strconv.Itoa(d.Epoch) + " of the ledger: the recipient may have got it before."
		}
		return text
	case *event.MessageRecovered:
		return "The ledger had lost events of the message, which was known as " + strings.ReplaceAll(d.Status, "_", " ") + ": it is in doubt, and is not sent again."
	case *event.HandoffAccepted:
		if d.CarrierID == "" {
			return "The carrier " + d.Carrier + " accepted part " + strconv.Itoa(d.Part) + " and gave it no id."
		}
		return "The carrier " + d.Carrier + " accepted part " + strconv.Itoa(d.Part) + " and gave it the id " + d.CarrierID + "."
	case *event.HandoffRefused:
		return refused(d)
	case *event.HandoffInDoubt:
		return "The carrier gave no answer in time for part " + strings.ReplaceAll(numbers(d.Parts), " ", ", ") + ". It may have sent it or not."
	case *event.ReceiptReceived:
		return receipt(d)
	case *event.MessageExpired:
		return "The time in which the message could be sent was over."
	case *event.ReceiptOverdue:
		return "No final delivery receipt came in time."
	}
	if s, ok := statementOf(x); ok {
		return s.text
	}
	return others(x.Event.Data)
}

func shortTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

func decided(d *event.MessageDecided) string {
	switch d.Outcome {
	case event.Allow:
		return "The rules allowed the message, until " + shortTime(d.Until) + "."
	case event.Deny:
		return "The rules refused the message: " + strings.Join(decisive(d), ", ") + "."
	case event.Defer:
		return "The rules put the message off until " + shortTime(d.Until) + ": " + strings.Join(decisive(d), ", ") + "."
	}
	text := "No decision could be made (" + string(d.Fault) + "), so the message was held."
	if d.Detail != "" {
		text += " Reason: " + d.Detail
	}
	return text
}

func refused(d *event.HandoffRefused) string {
	text := "The carrier " + d.Carrier + " refused part " + strconv.Itoa(d.Part)
	if d.NotCalled {
		text = "Part " + strconv.Itoa(d.Part) + " was not given to the carrier " + d.Carrier
	}
	if d.Code != "" {
		text += " with the code " + d.Code
	}
	if d.Reason != "" {
		text += ": " + strings.TrimSuffix(d.Reason, ".")
	}
	if d.Retry {
		return text + ". It may be tried once more."
	}
	return text + ". It is not tried once more."
}

var gradeWords = map[event.Grade]string{
	event.GradeNetwork:  "the network says so",
	event.GradeHandset:  "the phone says so",
	event.GradeInferred: "matched without the carrier's id, so less certain",
}

func receipt(d *event.ReceiptReceived) string {
	text := "A delivery receipt of the carrier " + d.Account
	if d.Part > 0 {
		text += " for part " + strconv.Itoa(d.Part)
	}
	text += " says: " + string(d.State)
	if g := gradeWords[d.Grade]; g != "" {
		text += " (" + g + ")"
	}
	if d.Error != "" && strings.Trim(d.Error, "0") != "" {
		text += ", error " + d.Error
	}
	if !d.Final {
		text += ". This state can still change"
	}
	return text + "."
}

// A statement stops messages to a person, or ends that, or says what a person wrote.
type statement struct {
	what    string // opt-out, hold, lift, review
	text    string
	reaches []event.Reach
	source  event.Source
	said    time.Time // when the person said so; zero if the event does not say
	by      string
	to      string // our number
	number  string
	words   string
	ends    []event.ID
	answers event.ID
}

// statementOf is the statement in an event; ok is false if there is none.
func statementOf(x *told) (s statement, ok bool) {
	s = statement{number: cmp.Or(x.open.Number, x.open.From), words: x.open.Text}
	switch d := x.Event.Data.(type) {
	case *event.OptedOut:
		s.what, s.reaches, s.source, s.by, s.ends, s.answers, s.said = "opt-out", []event.Reach{d.Reach}, d.Source, d.By, d.Lifts, d.Answers, d.Occurred
		s.text = "The person opted out of " + reachWords(s.reaches) + "."
		if d.Unclear {
			s.what, s.text = "hold", "The person may have opted out of "+reachWords(s.reaches)+"; messages are held until an officer has read the words."
		}
	case *event.SuppressionLifted:
		s.what, s.source, s.by, s.ends, s.answers = "lift", d.Source, d.By, d.Lifts, d.Answers
		s.text = "The opt-outs named here were lifted. A lift is not a consent."
		if len(d.Reaches) > 0 {
			s.reaches, s.text = d.Reaches, "The opt-outs named here were lifted for "+reachWords(d.Reaches)+", and stay in force for others. A lift is not a consent."
		}
	case *event.InboundReceived:
		s.source, s.to, s.by = event.SourceHandset, d.To, d.Account
		if d.Revokes != nil {
			s.reaches = append(s.reaches, *d.Revokes)
		} else if d.Holds != nil {
			s.reaches = append(s.reaches, *d.Holds)
		}
		return s, s.inbound(d.Ask, d.Unclear || d.Holds != nil)
	case *event.InboundReceivedV2:
		s.source, s.to, s.by, s.reaches = event.SourceHandset, d.To, d.Account, d.Reaches
		return s, s.inbound(d.Ask, d.Holds != "")
	case *event.InboundJoined:
		s.source, s.to, s.by, s.reaches = event.SourceJoined, d.To, "", d.Reaches
		s.ends = d.Parts
		return s, s.inbound(d.Ask, d.Holds != "")
	case *event.InboundHeld:
		s.what, s.reaches, s.source, s.by, s.to, s.answers = "hold", d.Reaches, event.SourceHandset, d.Account, d.To, d.Inbound
		s.text = "A text to " + d.To + " may be of this person, so messages of " + reachWords(d.Reaches) + " are held until an operator has placed it."
	case *event.ReviewResolved:
		s.what, s.reaches, s.source, s.by, s.answers = "review", d.Reaches, event.SourceReview, d.By, d.Review
		s.text = reviewed(d)
		if d.As == event.ReviewStop || d.As == event.ReviewNarrow {
			s.what = "opt-out"
		}
		s.ends = []event.ID{d.Review}
	default:
		return s, false
	}
	return s, true
}

// inbound says what an inbound text is. It reports whether the text stops messages or may do so.
func (s *statement) inbound(ask event.InboundAsk, holds bool) bool {
	switch {
	case ask == event.InboundStop && !holds:
		s.what = "opt-out"
		s.text = "A text to " + s.to + " asks to stop; it stops " + reachWords(s.reaches) + "."
		return true
	case holds:
		s.what = "hold"
		s.text = "A text to " + s.to + " may ask to stop, so " + reachWords(s.reaches) + " is held until it is clear."
		return true
	}
	return false
}

func reviewed(d *event.ReviewResolved) string {
	switch d.As {
	case event.ReviewStop:
		return "An officer read the words: they ask to stop " + reachWords(d.Reaches) + "."
	case event.ReviewNarrow:
		return "An officer read the words: they ask to stop only " + reachWords(d.Reaches) + "."
	case event.ReviewPlace:
		return "An operator found out whose the words are, and recorded them there."
	}
	return "An officer read the words: they do not ask to stop anything."
}

// reachWords says what an opt-out covers.
func reachWords(all []event.Reach) string {
	var out []string
	for _, r := range all {
		switch r.Scope {
		case event.ScopeSender:
			out = append(out, "messages from "+r.Name)
		case event.ScopeProgram:
			out = append(out, "messages of the program "+r.Name)
		case event.ScopeLegalEntity:
			out = append(out, "messages of "+r.Name)
		case event.ScopeTenant:
			out = append(out, "all messages of this tenant")
		default:
			out = append(out, string(r.Scope)+" "+r.Name)
		}
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, " and ")
}

// others says the events that belong to no message and stop nothing.
func others(data event.Data) string {
	switch d := data.(type) {
	case *event.InboundReceived:
		return inboundWords(d.Ask, d.To)
	case *event.InboundReceivedV2:
		return inboundWords(d.Ask, d.To)
	case *event.InboundJoined:
		return inboundWords(d.Ask, d.To)
	case *event.ReviewRead:
		return "The words under review were shown to an officer."
	case *event.ControlApplied:
		return "The settings at control position " + strconv.FormatInt(d.Position, 10) + " took effect in this partition."
	case *event.LedgerCreated:
		return "The ledger " + d.Ledger + " was created."
	case *event.ProgramChanged:
		return "The program " + d.Name + " of " + d.LegalEntity + " was registered."
	case *event.RoutesChanged:
		return "The route table was replaced: " + count(len(d.Routes), "route") + "."
	case *event.PolicyActivated:
		return "The policies " + d.Revision + " took effect."
	case *event.Paused:
		return "Sending was paused" + pauseOf(d.Program, d.Carrier) + ". Reason: " + d.Reason
	case *event.Resumed:
		return "Sending was resumed" + pauseOf(d.Program, d.Carrier) + ". Reason: " + d.Reason
	case *event.OwnerGranted:
		return "An operator granted " + cmp.Or(d.Sender, d.LegalEntity) + " to this tenant."
	case *event.LevelRaised:
		return "The ledger's format level was raised to " + strconv.Itoa(d.Level) + "."
	case *event.VaultBound:
		return "The ledger was bound to its vault."
	case *event.EpochBegan:
		return "The ledger went on in epoch " + strconv.Itoa(d.Epoch) + ", after it had lost events or was restored from a backup. Reason: " + d.Reason
	case *event.EpochReleased:
		return "Messages may be sent again" + pauseOf(d.Program, "") + ". Reason: " + d.Reason
	case *event.RecordAccepted:
		return "An operator accepted the record at " + d.Position + ", which is no event of this ledger."
	}
	return "An event of the type " + string(data.Type()) + "."
}

func inboundWords(ask event.InboundAsk, to string) string {
	what := map[event.InboundAsk]string{event.InboundStart: "asks to start", event.InboundYes: "says yes", event.InboundHelp: "asks for help",
		event.InboundPart: "is one part of a longer one", event.InboundUnclear: "is not plain", event.InboundStop: "asks to stop"}[ask]
	if what == "" {
		what = "asks for nothing"
	}
	return "A text to " + to + " came; it " + what + "."
}

func pauseOf(program, carrier string) string {
	text := ""
	if program != "" {
		text += " for the program " + program
	}
	if carrier != "" {
		text += " to the carrier " + carrier
	}
	return text
}

// by is who caused an event: the id of an API key, or "clerk".
func by(data event.Data) string {
	switch d := data.(type) {
	case *event.MessageSubmitted:
		return d.By
	case *event.CancelRequested:
		return d.By
	case *event.OptedOut:
		return d.By
	case *event.SuppressionLifted:
		return d.By
	case *event.ReviewResolved:
		return d.By
	case *event.ReviewRead:
		return d.By
	case *event.MessageRecovered:
		return d.By
	case *event.ProgramChanged:
		return d.By
	case *event.RoutesChanged:
		return d.By
	case *event.PolicyActivated:
		return d.By
	case *event.Paused:
		return d.By
	case *event.Resumed:
		return d.By
	case *event.OwnerGranted:
		return d.By
	case *event.LevelRaised:
		return d.By
	case *event.VaultBound:
		return d.By
	case *event.EpochBegan:
		return d.By
	case *event.EpochReleased:
		return d.By
	case *event.RecordAccepted:
		return d.By
	}
	return ""
}

var whyWords = map[recipient.Why]string{
	recipient.Overtaken: "something else about this person was recorded before it, so it was out of date",
	recipient.Settled:   "the message's state no longer allowed it",
	recipient.Late:      "its time was over",
	recipient.Repeat:    "it is a copy of an event that is in the ledger already",
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// decisive are the rules that led to a decision: those that refuse or put off; for a hold its fault. An
// allow rests on all checks, and none is decisive.
func decisive(d *event.MessageDecided) (rules []string) {
	if d.Outcome == event.Hold {
		return []string{"hold." + string(d.Fault)}
	}
	for _, outcome := range []event.DecisionOutcome{event.Deny, event.Defer} {
		for _, c := range d.Checks {
			if c.Outcome == outcome && (outcome == d.Outcome || d.Outcome == event.Deny) {
				rules = append(rules, c.Rules...)
			}
		}
	}
	return rules
}

// grounds are the rules that a decision rests on: for an allow those of all checks.
func grounds(d *event.MessageDecided) (rules []string) {
	if d.Outcome != event.Allow {
		return decisive(d)
	}
	for _, c := range d.Checks {
		rules = append(rules, c.Rules...)
	}
	return rules
}

// describer finds the texts of rules.
type describer struct {
	rules interface {
		Rule(id string) (decision.Rule, bool)
	}
	known map[ruling][2]string // what texts said, at most mostRulings
}

// ruling is a list of rules in the policies of a revision.
type ruling struct{ rules, revision string }

// mostRulings bounds what a describer keeps. A file has few lists of rules, in many decisions.
const mostRulings = 256

// one is a rule's text and citation.
func (r describer) one(id string, d *event.MessageDecided) (text, citation string) {
	if r.rules != nil {
		if rule, ok := r.rules.Rule(id); ok {
			return rule.Text, rule.Citation
		}
	}
	return fmt.Sprintf("The text of this rule is in the policies of revision %s.", d.Revision), ""
}

// texts are those of the rules that a decision rests on, joined; rules are their ids.
func (r *describer) texts(d *event.MessageDecided) (rules, text, citations string) {
	ids := grounds(d)
	rules = strings.Join(ids, " ")
	if d.Outcome == event.Hold {
		return rules, decided(d), ""
	}
	key := ruling{rules, d.Revision}
	if x, ok := r.known[key]; ok {
		return rules, x[0], x[1]
	}
	var texts, cited []string
	for _, id := range ids {
		t, c := r.one(id, d)
		texts = append(texts, t)
		if c != "" {
			cited = append(cited, c)
		}
	}
	if len(r.known) >= mostRulings || r.known == nil {
		r.known = map[ruling][2]string{}
	}
	text, citations = strings.Join(texts, " | "), strings.Join(cited, " | ")
	r.known[key] = [2]string{text, citations}
	return rules, text, citations
}
