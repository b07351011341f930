package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/recipient"
)

// meanings says every status in a few words.
var meanings = map[v1.Status]string{
	"accepted":            "it is recorded, and will be decided",
	"scheduled":           "its time to be sent has not come",
	"denied":              "a rule refused it",
	"deferred":            "a rule sends it later",
	"held":                "it waits because of a fault or a pause",
	"allowed":             "it may be sent, and waits for the carrier",
	"sending":             "the carrier has not answered for every part",
	"sent":                "the carrier took it; no final receipt yet",
	"delivered":           "a receipt says that it arrived",
	"undelivered":         "a receipt says that it did not arrive",
	"rejected":            "a receipt says that the network refused it",
	"expired":             "a receipt says that the network did not deliver it in time",
	"partially_delivered": "receipts say that some of its parts arrived",
	"unconfirmed":         "the carrier took it; no final receipt came in time",
	"failed":              "the carrier refused it",
	"in_doubt":            "the carrier did not answer in time; it may have been sent, so it is not sent a second time",
	"cancelled":           "you cancelled it",
	"expired_unsent":      "its validity ended before it was sent",
}

// glossary is where each status that is a term of the product is explained.
var glossary = map[v1.Status]string{
	"denied":      "docs/glossary.md#denied",
	"deferred":    "docs/glossary.md#deferred",
	"held":        "docs/glossary.md#held",
	"in_doubt":    "docs/glossary.md#in-doubt",
	"unconfirmed": "docs/glossary.md#unconfirmed",
}

// voids says every reason why an event is void in a few words.
var voids = map[recipient.Why]string{
	recipient.Overtaken: "something that can change a decision came between; the message is decided again",
	recipient.Settled:   "the message's state does not allow it",
	recipient.Late:      "it was written after the time that it allows",
	recipient.Repeat:    "a copy of an event that is in the ledger already",
}

// sentence says a decision in words.
func sentence(d *v1.Decision) string {
	until := ""
	if !d.Until.IsZero() {
		until = terminal.Instant(d.Until)
	}
	switch d.Outcome {
	case "allow":
		if until == "" {
			return "Allowed."
		}
		return "Allowed: it may be sent until " + until + "."
	case "deny":
		return "Denied: it will not be sent."
	case "defer":
		return "Deferred: decided again at " + until + "."
	case "hold":
		if until == "" {
			return "Held: decided again when the cause is gone."
		}
		return "Held: decided again at " + until + "."
	}
	return terminal.Plain(d.Outcome)
}

// showMessage prints a message: as it came for a script, in words for a person.
func showMessage(g *terminal.Globals, m *v1.Message, raw []byte) error {
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var b strings.Builder
	writeMessage(&b, m, terminal.IsTerminal(g.Stdout))
	_, err := io.WriteString(g.Stdout, b.String())
	return err
}

// writeMessage writes a message's whole life.
func writeMessage(w io.Writer, m *v1.Message, colours bool) {
	r := terminal.NewRows(w)
	writeContent(r, m, colours)
	if m.Decision.Outcome != "" {
		fmt.Fprintln(w)
		writeDecision(r, m)
	}
	if len(m.Recipient.Places) > 0 {
		r.Row("Places", "%s", terminal.Plain(strings.Join(m.Recipient.Places, "; ")))
	}
	for i := range m.Attempts {
		fmt.Fprintln(w)
		writeAttempt(r, &m.Attempts[i])
	}
	fmt.Fprintln(w)
	writeTimes(r, &m.Times)
	r.Row("Position", "%s", m.Position)
}

// writeContent writes how a message stands and what was asked for.
func writeContent(r *terminal.Rows, m *v1.Message, colours bool) {
	r.Row("Message", "%s", m.Id)
	status := terminal.Plain(string(m.Status))
	if colours {
		colour := "33"
		if code, over := endStates[m.Status]; over {
			colour = map[int]string{0: "32", terminal.ExitFailed: "31", terminal.ExitUnknown: "33"}[code]
		}
		status = "\x1b[1;" + colour + "m" + status + "\x1b[0m"
	}
	if means := meanings[m.Status]; means != "" {
		status += ": " + means
	}
	r.Row("Status", "%s", status)
	if entry := glossary[m.Status]; entry != "" {
		r.Row("Status", "see %s", entry)
	}
	if why := terminal.Lost(m.Erased, m.KeyMissing); why != "" {
		r.Row("To", "%s: the personal data cannot be read", why)
	} else {
		to := terminal.Plain(m.To)
		if m.Recipient.Country != "" {
			to += " (" + terminal.Plain(m.Recipient.Country) + ")"
		}
		r.Row("To", "%s", to)
	}
	from := terminal.Plain(m.From)
	if m.SentFrom != "" && m.SentFrom != m.From {
		from += ", sent from " + terminal.Plain(m.SentFrom)
	}
	r.Row("From", "%s", from)
	program := terminal.Plain(m.Program) + ", purpose " + terminal.Plain(m.Purpose)
	if m.Priority > 0 {
		program += ", priority " + strconv.Itoa(m.Priority)
	}
	r.Row("Program", "%s", program)
	if m.Body != nil {
		r.Row("Text", "%q", *m.Body)
	}
	r.Row("Text", "%s, %s", terminal.Plain(m.Encoding), terminal.Count(m.Segments, "segment"))
	if len(m.Parts) > 1 {
		for _, p := range m.Parts {
			r.Row("Text", "part %d  %q", p.Part, p.Text)
		}
	}
	if m.Reference != "" {
		r.Row("Reference", "%s", terminal.Plain(m.Reference))
	}
	for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
		r.Row("Metadata", "%s = %s", terminal.Plain(k), terminal.Plain(m.Metadata[k]))
	}
	if !m.Answers.IsZero() {
		r.Row("Answers", "%s", m.Answers)
	}
	r.Row("By", "%s", terminal.Plain(m.By))
}

// writeDecision writes the last decision, with what it rests on.
func writeDecision(r *terminal.Rows, m *v1.Message) {
	d := &m.Decision
	r.Row("Decision", "%s", sentence(d))
	for _, x := range d.Reasons {
		r.Row("Decision", "- %s", terminal.Plain(x.Text))
		r.Row("Decision", "  rule %s", terminal.Plain(x.Rule))
		if x.Citation != "" {
			r.Row("Decision", "  citing %s", terminal.Plain(x.Citation))
		}
		for _, o := range x.OptOuts {
			r.Row("Decision", "  opt-out %s", o)
		}
	}
	r.Row("Decided", "at %s, event %s", terminal.Instant(d.At), d.Event)
	for _, l := range m.Recipient.LocalTimes {
		r.Row("Decided", "at %s in %s", terminal.Plain(strings.Replace(l.Time, "T", " ", 1)), terminal.Plain(l.Zone))
	}
	if d.Policy.Revision != "" {
		r.Row("Decided", "under policies %s, digest %s", terminal.Plain(d.Policy.Revision), terminal.Plain(d.Policy.Digest))
	}
	if m.Decisions > 1 {
		r.Row("Decided", "%d times in all", m.Decisions)
	}
}

// writeAttempt writes one attempt and what came of each part.
func writeAttempt(r *terminal.Rows, a *v1.Attempt) {
	name := "Attempt " + strconv.Itoa(a.Number)
	r.Row(name, "to carrier %s as %s, started %s", terminal.Plain(a.Carrier), terminal.Plain(a.From), terminal.Instant(a.StartedAt))
	if a.Duplicate {
		r.Row(name, "sent a second time: the attempt before is in doubt, and the program prefers a duplicate to a loss")
	}
	for _, p := range a.Parts {
		text := "part " + strconv.Itoa(p.Part) + "  " + terminal.Plain(string(p.Status))
		if p.CarrierId != "" {
			text += ", carrier's id " + terminal.Plain(p.CarrierId)
		}
		if p.NotCalled {
			text += ", carrier not called"
		}
		if p.Code != "" {
			text += ", " + terminal.Plain(p.Code)
		}
		if p.Reason != "" {
			text += ": " + strings.TrimSuffix(terminal.Plain(p.Reason), ".")
		}
		if !p.AnsweredAt.IsZero() {
			text += ", " + terminal.Instant(p.AnsweredAt)
		} else if p.Status == recipient.PartOpen {
			text += ", in doubt after " + terminal.Instant(a.AnswerBy)
		}
		r.Row(name, "%s", text)
		if p.Receipt != nil {
			r.Row(name, "%s", receipt(p.Receipt))
		}
	}
}

// receipt says in words what the receipts of a part say.
func receipt(x *v1.Receipt) string {
	text := "        receipt: " + terminal.Plain(x.State)
	if !x.Final {
		text += " for now"
	}
	if x.Error != "" {
		text += ", network's error " + terminal.Plain(x.Error)
	}
	if x.Grade != "" {
		text += ", grade " + terminal.Plain(x.Grade)
	}
	if x.Match != "" {
		text += ", matched by " + terminal.Plain(x.Match)
	}
	if !x.At.IsZero() {
		text += ", " + terminal.Instant(x.At)
	}
	if x.Count > 1 {
		text += ", " + terminal.Count(x.Count, "receipt") + " in all"
	}
	return text
}

// writeTimes writes when a message came to each of its states. What has not come to pass
// has the zero time and is left out, but for the two that every message has.
func writeTimes(r *terminal.Rows, t *v1.Times) {
	for _, x := range []struct {
		name   string
		at     time.Time
		always bool
	}{
		{"accepted", t.Accepted, true}, {"send at", t.SendAt, false}, {"decided", t.Decided, false}, {"started", t.Started, false},
		{"sent", t.Sent, false}, {"cancel requested", t.CancelRequested, false}, {"reached its end", t.Settled, false}, {"valid until", t.ValidUntil, true},
	} {
		if x.always || !x.at.IsZero() {
			r.Row("Times", "%-16s %s", x.name, terminal.Instant(x.at))
		}
	}
}

// showEvents prints a table of what the ledger holds about a message.
func showEvents(g *terminal.Globals, raw []byte) error {
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var v v1.MessageEvents
	if err := json.Unmarshal(raw, &v); err != nil {
		return errors.New("the answer does not come from Chirograph's API; check --url")
	}
	fmt.Fprintln(g.Stdout)
	t := terminal.Table(g.Stdout)
	fmt.Fprintln(t, "POSITION\tTIME\tEVENT\tEFFECT\tID")
	reasons := map[recipient.Why]bool{}
	for _, e := range v.Events {
		effect := "effective"
		if !e.Effective {
			effect = "void: " + terminal.Plain(string(e.Void))
			reasons[e.Void] = true
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.Position, terminal.Instant(e.Time), terminal.Plain(e.Type), effect, e.Id)
	}
	if err := t.Flush(); err != nil || len(reasons) == 0 {
		return err
	}
	fmt.Fprintln(g.Stdout, "\nA void event changes nothing; see docs/glossary.md#void.")
	for _, why := range slices.Sorted(maps.Keys(reasons)) {
		if means := voids[why]; means != "" {
			fmt.Fprintf(g.Stdout, "  %s: %s\n", why, means)
		}
	}
	return nil
}
