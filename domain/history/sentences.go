package history

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// voids say why an event changed nothing.
var voids = map[recipient.Why]string{
	recipient.Overtaken: "It changed nothing: something else about this person was recorded before it, so it was out of date.",
	recipient.Settled:   "It changed nothing: the message was no longer in a state that allows it.",
	recipient.Late:      "It changed nothing: it was written after the time that had been allowed.",
	unknownWhy:          "Whether it counts is not known here.",
	recipient.Repeat:    "It changed nothing: it is a copy of an event that is in the ledger already.",
}

// teller says what one event is.
type teller struct {
	*book
	e     *event.Event
	m     *reading.Message // nil: it is about none
	out   *Entry
	index int64
}

func (t *teller) say(s string) { t.out.Sentence = s }

func (t *teller) detail(name, value string) {
	if value != "" {
		t.out.Details = append(t.out.Details, Detail{name, value})
	}
}

// tell fills the sentence and the details. A type that it does not know gets a plain sentence.
func (t *teller) tell() error {
	switch d := t.e.Data.(type) {
	case *event.OptedOut:
		return t.optedOut(d)
	case *event.SuppressionLifted:
		return t.lifted(d)
	case *event.InboundReceived:
		reaches := []event.Reach{}
		for _, r := range []*event.Reach{d.Revokes, d.Holds} {
			if r != nil {
				reaches = append(reaches, *r)
			}
		}
		return t.received(inbound{to: d.To, ask: d.Ask, match: d.Match, account: d.Account, concat: d.Concat, reaches: reaches, holds: d.Unclear || d.Holds != nil, sealed: &d.Sealed})
	case *event.InboundReceivedV2:
		return t.received(inbound{to: d.To, ask: d.Ask, match: d.Match, account: d.Account, concat: d.Concat, reaches: d.Reaches, holds: d.Holds != "", sealed: &d.Sealed, placed: !d.Places.IsZero(), unreadable: d.Holds == event.HoldUnreadable})
	case *event.InboundHeld:
		t.say("A text to " + d.To + " may be from this person, or for you, and that is not certain (" + uncertain(d.Unplaced) + "). Until an operator has placed it, messages of " + named(d.Reaches) + " are stopped.")
	case *event.InboundJoined:
		t.say("What came of a long text to " + d.To + ", " + count(len(d.Parts), "part") + ", was read as one text. " + t.asks(d.Ask, d.Match, d.Reaches, d.Holds != "", d.Holds == event.HoldUnreadable))
		t.opened()
	case *event.ReviewResolved:
		return t.resolved(d)
	case *event.ReviewRead:
		t.say("The words under review were shown to the holder of the key " + d.By + ".")
		t.detail("Review", d.Review.String())
	default:
		return t.aboutMessage()
	}
	return nil
}

// aboutMessage says what an event of a message is.
func (t *teller) aboutMessage() error {
	switch d := t.e.Data.(type) {
	case *event.MessageSubmitted:
		return t.submitted(d)
	case *event.CancelRequested:
		t.say("The sender asked to cancel the message.")
		t.detail("By", by(d.By))
	case *event.MessageDecided:
		t.decided(d)
	case *event.MessageRouted:
		t.say("The carrier account " + d.Carrier + " was chosen, to send as " + d.From + ", in " + count(d.Parts, "part") + " (route " + d.Rule + ").")
	case *event.HandoffStarted:
		s := "Hand-off " + strconv.Itoa(d.Attempt) + carrierOf(t.m, d.Attempt, " to the carrier account ") + " began, with " + count(len(d.Parts), "part") + "."
		if d.Duplicate {
			s += " An earlier hand-off is in doubt, so the person may get the message twice."
		}
		if d.Epoch != 0 {
			s += " The message is from before epoch " + strconv.Itoa(d.Epoch) + ", in which the ledger went on after a loss or a restore, so the person may have got it before."
		}
		t.say(s)
	case *event.MessageRecovered:
		t.recovered(d)
	case *event.HandoffAccepted:
		t.say("The carrier account " + d.Carrier + " took part " + strconv.Itoa(d.Part) + ".")
		t.detail("Carrier's id", d.CarrierID)
	case *event.HandoffRefused:
		t.refused(d)
	case *event.HandoffInDoubt:
		t.say("The carrier" + carrierOf(t.m, d.Attempt, " account ") + " did not answer in time for " + numbered(d.Parts) + ": it may have sent it, or not.")
		t.detail("Why", d.Why)
	case *event.ReceiptReceived:
		t.receipt(d)
	case *event.MessageExpired:
		t.say("The time in which the message was valid ended before it was sent.")
	case *event.ReceiptOverdue:
		t.say("No final receipt came in time: it is not known whether the message arrived.")
	default:
		t.say("An event of the type " + string(t.out.Type) + ".")
	}
	return nil
}

func (t *teller) recovered(d *event.MessageRecovered) {
	t.say("The ledger had lost events of this message. A newer copy of the views knew it as " + strings.ReplaceAll(d.Status, "_", " ") +
		", so it is in doubt and is not sent again.")
	t.detail("By", by(d.By))
	for _, h := range d.Handoffs {
		if h.CarrierID != "" {
			t.detail("Carrier's id", h.CarrierID)
		}
	}
}

func (t *teller) submitted(d *event.MessageSubmitted) error {
	s := "A message of the program " + d.Program + " was asked for, as " + d.From + ", purpose " + d.Purpose + ", in " + count(d.Segments, "part") + "."
	if d.By == "clerk" {
		s = "The system wrote an automatic answer to the person's text, of the program " + d.Program + " as " + d.From + "."
	}
	if d.SendAt.After(t.e.Time) {
		s += " It is to be sent at " + t.when(d.SendAt) + "."
	}
	t.say(s)
	t.detail("By", by(d.By))
	if t.m != nil && t.m.Status != "" {
		t.detail("Status now", strings.ReplaceAll(string(t.m.Status), "_", " ")+t.awaits())
	}
	if !t.look.Sight.Bodies {
		t.masked["body"] = true
		return nil
	}
	c, err := ledger.Open[event.Content](t.p.Vault, t.tenant, t.e.ID, &d.Sealed)
	if lost := lost(err); lost != "" {
		t.detail("Text", lost)
		return nil
	}
	if err != nil {
		return err
	}
	t.detail("Text", c.Body)
	t.detail("Reference", c.Reference)
	t.show(event.ShownBody)
	if c.Reference != "" {
		t.show(event.ShownReference)
	}
	return nil
}

// awaits says which opt-outs stand that are looked at before a message is sent; "" if none does, or if it does
// not wait to be sent.
func (t *teller) awaits() string {
	if !t.m.Status.Unsent() {
		return ""
	}
	h := handed{message: t.m, from: t.m.From, control: t.e.Control}
	var covering, others []event.Reach
	plain := false
	for _, o := range t.opt.all {
		if o.ended >= 0 {
			continue
		}
		if covers, _ := t.covers(o.reach, &h); !covers {
			others = append(others, o.reach)
			continue
		}
		covering, plain = append(covering, o.reach), plain || !o.unclear && !o.part
	}
	switch {
	case len(covering) > 0 && t.m.Purpose == "compliance_reply":
		return ". The person opted out of " + named(covering) + ": that is looked at before it is sent. It answers the person's own text, which may be allowed"
	case plain:
		return ". The person opted out of " + named(covering) + ": that is looked at before it is sent, and if it stands then, the message will be refused"
	case len(covering) > 0:
		return ". The person may have opted out of " + named(covering) + ", in words that are not plain: that is looked at before it is sent, and if it stands then, the message may be refused"
	case len(others) > 0:
		return ". The person opted out of " + named(others) + ", which does not cover it; opt-outs are looked at again before it is sent"
	}
	return ""
}

// decided says what was decided and by which rule.
func (t *teller) decided(d *event.MessageDecided) {
	reasons := reading.Reasons(t.p.Rules, d)
	var s string
	switch d.Outcome {
	case event.Allow:
		s = "Allowed: the message may be sent until " + t.when(d.Until) + "."
		for i := range reasons {
			if reasons[i].Check == "opt_out" && reasons[i].Rule != "opt_out.none" {
				s += " " + reasons[i].Text + " " + rule(&reasons[i])
				break
			}
		}
		t.say(s)
		return
	case event.Deny:
		s = "Denied: "
	case event.Defer:
		s = "Deferred until " + t.when(d.Until) + ": "
	case event.Hold:
		// The time is when it is looked at again, and a pause may well last longer.
		if s = "Held: "; d.Fault != event.FaultPause {
			s = "Held, to be tried again at " + t.when(d.Until) + ": "
		}
	default:
		s = "Decided (" + string(d.Outcome) + "): "
	}
	if len(reasons) == 0 {
		t.say(strings.TrimSuffix(s, ": ") + ".")
		return
	}
	first := &reasons[0]
	text := lower(first.Text)
	if o := t.standing(first.OptOuts); o != nil && d.Outcome == event.Deny && first.Check == "opt_out" {
		text = "the person opted out of " + scope(o.reach) + " on " + t.day(o.said) + "."
		if o.unclear {
			text = "the person may have opted out of " + scope(o.reach) + " on " + t.day(o.said) + ", in words that are not plain."
		}
	}
	s += text
	if d.Outcome != event.Hold {
		s += " " + rule(first)
	}
	t.say(s)
	for i := range reasons[1:] {
		t.detail("Also", reasons[1+i].Text+" "+rule(&reasons[1+i]))
	}
}

// standing is the opt-out of these events that covers the message, else the first of them.
func (t *teller) standing(ids []event.ID) *optOut {
	for _, id := range ids {
		all := t.opt.byEvent[id]
		if len(all) == 0 {
			continue
		}
		if t.m != nil { // one text may reach several legal entities: that of this message counts
			h := handed{message: t.m, from: t.m.From, control: t.e.Control}
			for _, o := range all {
				if covers, _ := t.covers(o.reach, &h); covers {
					return o
				}
			}
		}
		return all[0]
	}
	return nil
}

func rule(r *reading.Reason) string {
	s := "Rule " + r.Rule
	if r.Citation != "" {
		s += "; " + r.Citation
	}
	return s + "."
}

func (t *teller) refused(d *event.HandoffRefused) {
	part := "part " + strconv.Itoa(d.Part)
	var s string
	switch {
	case d.NotCalled:
		s = "Nothing was given to the carrier account " + d.Carrier + " for " + part
	case d.Retry:
		s = "The carrier account " + d.Carrier + " did not take " + part + " for now"
	default:
		s = "The carrier account " + d.Carrier + " refused " + part + " for good"
	}
	if d.Reason != "" {
		s += ": " + strings.TrimSuffix(lower(d.Reason), ".")
	}
	t.say(s + ".")
	t.detail("Code", d.Code)
}

// states say what a receipt reports.
var states = map[event.MessageState]string{
	"scheduled": "scheduled", "enroute": "on its way", event.StateDelivered: "delivered", event.StateExpired: "not delivered in time", "deleted": "deleted",
	"undeliverable": "not delivered", "accepted": "read for the person by the carrier", "unknown": "in an unknown state", event.StateRejected: "rejected by the network", "skipped": "skipped",
}

// grades say how sure a receipt is.
var grades = map[event.Grade]string{
	event.GradeNetwork:  "the carrier says so",
	event.GradeHandset:  "the carrier vouches that the handset has it",
	event.GradeInferred: "the receipt was matched without the carrier's id, so this is likely and not certain",
}

func (t *teller) receipt(d *event.ReceiptReceived) {
	state := states[d.State]
	if state == "" {
		state = string(d.State)
	}
	s := "The carrier account " + d.Account + " reports part " + strconv.Itoa(d.Part) + " as " + state
	if g := grades[d.Grade]; g != "" {
		s += " (" + g + ")"
	}
	if !d.Final {
		s += "; this can still change"
	}
	t.say(s + ".")
	t.detail("Network's error", d.Error)
	if !d.Received.IsZero() {
		t.detail("Came at", t.when(d.Received))
	}
}

func (t *teller) optedOut(d *event.OptedOut) error {
	t.out.Said, t.out.Known = said(t.e), t.e.Time
	how := "The person opted out of " + scope(d.Reach)
	if d.Unclear {
		how = "The person may have opted out of " + scope(d.Reach) + ", in words that are not plain"
	}
	t.say(how + " (" + string(d.Source) + "). " + upper(t.saidAndKnown(t.out.Said, t.out.Known)) + ".")
	t.detail("By", by(d.By))
	t.ended()
	t.opened()
	return t.evidence(d.Sealed)
}

// ended says by what an opt-out was repeated, and since when it no longer stands.
func (t *teller) ended() {
	for _, o := range t.opt.byEvent[t.e.ID] {
		if o.next != nil && o.next.prev == o {
			t.detail("Repeated", "On "+t.when(o.next.known)+" ("+string(o.next.source)+"), by the event "+o.next.event.String())
		}
		if l := o.last(); l.ended >= 0 {
			t.detail("Ended", upper(t.ending(l))+", by the event "+l.endedBy.String())
			return
		}
	}
}

func (t *teller) lifted(d *event.SuppressionLifted) error {
	var of []string
	for _, id := range d.Lifts {
		for _, o := range t.opt.byEvent[id] {
			if len(d.Reaches) == 0 || slices.Contains(d.Reaches, o.reach) {
				of = append(of, scope(o.reach)+" (said "+t.day(o.said)+")")
			}
		}
		t.detail("Lifts", id.String())
	}
	s := "The opt-out of " + strings.Join(of, ", ") + " was lifted"
	switch {
	case len(d.Lifts) == 0:
		s = "The person's START lifted no opt-out"
	case len(of) == 0:
		s = count(len(d.Lifts), "opt-out") + " ended"
	case d.By != "clerk":
		s += " by the key " + d.By + " (" + string(d.Source) + ")"
	default:
		s += " by the person's own text"
	}
	t.say(s + ". A lift is not a consent.")
	t.detail("By", by(d.By))
	t.opened()
	return t.evidence(d.Sealed)
}

// evidence shows why an officer did something.
func (t *teller) evidence(sealed *event.Sealed) error {
	if sealed == nil {
		return nil
	}
	if !t.look.Sight.Evidence {
		t.masked["evidence"] = true
		return nil
	}
	v, err := ledger.Open[event.Evidence](t.p.Vault, t.tenant, t.e.ID, sealed)
	if lost := lost(err); lost != "" {
		t.detail("Evidence", lost)
		return nil
	}
	if err == nil && v.Text != "" {
		t.detail("Evidence", v.Text)
		t.show(event.ShownEvidence)
	}
	return err
}

// inbound is a text from a handset, of either version.
type inbound struct {
	to, match, account string
	ask                event.InboundAsk
	concat             *event.Concat
	reaches            []event.Reach
	holds, unreadable  bool
	sealed             *event.Sealed
	placed             bool
}

func (t *teller) received(in inbound) error {
	s := "The person wrote to " + in.to + ". "
	if in.concat != nil {
		s = "Part " + strconv.Itoa(in.concat.Part) + " of " + strconv.Itoa(in.concat.Parts) + " of a text from the person to " + in.to + " came. "
	}
	if in.placed {
		s = "An operator found that a text to " + in.to + " is from this person. "
	}
	t.say(s + t.asks(in.ask, in.match, in.reaches, in.holds, in.unreadable))
	t.detail("Recorded by", "the system itself, as the carrier account "+in.account+" delivered it")
	if len(t.opt.byEvent[t.e.ID]) > 0 {
		t.out.Said, t.out.Known = t.e.Time, t.e.Time
	}
	t.ended()
	t.opened()
	if !t.look.Sight.Words {
		t.masked["words"] = true
		return nil
	}
	v, err := ledger.Open[event.Inbound](t.p.Vault, t.tenant, t.e.ID, in.sealed)
	if lost := lost(err); lost != "" {
		t.detail("Words", lost)
		return nil
	}
	if err != nil {
		return err
	}
	t.detail("Words", v.Text)
	for _, o := range v.Others {
		t.detail("Or", o)
	}
	if v.Unreadable {
		t.detail("Words", "not all of it can be read as text")
	}
	t.show(event.ShownWords)
	return nil
}

// asks says what a text was read as and what it did.
func (t *teller) asks(ask event.InboundAsk, match string, reaches []event.Reach, holds, unreadable bool) string {
	read := ""
	if match != "" {
		read = " (by \"" + match + "\" in the word lists)"
	}
	until := "Until an officer has read it, messages of " + named(reaches) + " are stopped or wait."
	switch {
	case unreadable:
		return "It could not be read. " + until
	case ask == event.InboundPart:
		return "Until the other parts are there, messages of " + named(reaches) + " are stopped."
	case holds || ask == event.InboundUnclear:
		return "It may be a STOP" + read + ", and is not plain. " + until
	case ask == event.InboundStop:
		return "It is a STOP" + read + ": the person opted out of " + named(reaches) + "."
	case ask == event.InboundStart:
		return "It is a START" + read + ": it asks for messages again."
	case ask == event.InboundHelp:
		return "It asks for HELP" + read + "."
	case ask == event.InboundYes:
		return "It is a YES" + read + "."
	}
	return "It asks for nothing that the system knows."
}

// opened says which reviews the event opened and closed.
func (t *teller) opened() {
	c := t.opt.changes[t.index]
	if c == nil || t.out.Why != "" {
		return
	}
	for _, r := range c.Opened {
		t.detail("Review", "opened: "+string(r.Kind)+", review "+r.Event.String())
	}
	for _, id := range c.Closed {
		t.detail("Review", "closed: review "+id.String())
	}
}

func (t *teller) resolved(d *event.ReviewResolved) error {
	s := "An officer (key " + d.By + ") read what was under review: "
	switch d.As {
	case event.ReviewStop, event.ReviewNarrow:
		s += "the person opted out of " + named(d.Reaches) + "."
	case event.ReviewClear:
		s += "it is no opt-out, and stops nothing any more."
	case event.ReviewPlace:
		s += "it is certain now whose it is."
	default:
		s += string(d.As) + "."
	}
	t.say(s)
	if all := t.opt.byEvent[t.e.ID]; len(all) > 0 {
		t.out.Said, t.out.Known = all[0].said, t.e.Time
		for _, o := range t.opt.byEvent[d.Review] {
			t.out.Said = o.said
		}
	}
	t.detail("Review", d.Review.String())
	t.ended()
	t.opened()
	return t.evidence(d.Sealed)
}

// show remembers that a kind of personal data is in the answer.
func (t *teller) show(kind string) {
	t.shown[kind] = true
	if !slices.Contains(t.out.Shown, kind) {
		t.out.Shown = append(t.out.Shown, kind)
	}
}

func uncertain(why event.UnplacedReason) string {
	switch why {
	case event.UnplacedAmbiguous:
		return "the writer's number may be of several persons"
	case event.UnplacedUnreadable:
		return "the writer's number cannot be read"
	case event.UnplacedUnowned:
		return "no program registers the number that it came to"
	case event.UnplacedShared:
		return "several tenants send from the number that it came to"
	}
	return string(why)
}

// scope is what an opt-out covers.
func scope(r event.Reach) string {
	switch r.Scope {
	case event.ScopeSender:
		return "messages from " + r.Name
	case event.ScopeProgram:
		return "the program " + r.Name
	case event.ScopeTenant:
		return "all messages"
	}
	return r.Name
}

func named(all []event.Reach) string {
	if len(all) == 0 {
		return "nothing"
	}
	out := make([]string, len(all))
	for i, r := range all {
		out[i] = scope(r)
	}
	return strings.Join(out, " and ")
}

func reachesOf(all []*optOut) string {
	out := make([]event.Reach, len(all))
	for i, o := range all {
		out[i] = o.reach
	}
	return named(out)
}

// calendar writes times in the zone of a history.
type calendar struct{ zone *time.Location }

// when is a time as sentences have it, in the zone of the history; day is its day and clock its time
// of day.
func (c calendar) when(t time.Time) string  { return t.In(c.zone).Format("2006-01-02 15:04:05") }
func (c calendar) clock(t time.Time) string { return t.In(c.zone).Format("15:04:05") }
func (c calendar) day(t time.Time) string   { return t.In(c.zone).Format("2006-01-02") }

// saidAndKnown are when the person said so and when it became known here.
func (c calendar) saidAndKnown(said, known time.Time) string {
	if said.Equal(known) {
		return "said and known here " + c.when(known)
	}
	return "said " + c.when(said) + ", known here " + c.when(known)
}

func by(key string) string {
	if key == "clerk" {
		return "the system itself"
	}
	return "key " + key
}

func carrierOf(m *reading.Message, attempt int, before string) string {
	if m != nil && attempt >= 1 && attempt <= len(m.Attempts) && m.Attempts[attempt-1].Carrier != "" {
		return before + m.Attempts[attempt-1].Carrier
	}
	return ""
}

func numbered(parts []int) string {
	out := make([]string, len(parts))
	for i, n := range parts {
		out[i] = strconv.Itoa(n)
	}
	if len(out) == 1 {
		return "part " + out[0]
	}
	return "the parts " + strings.Join(out, ", ")
}

// lower begins a sentence small, so that it can stand behind a colon; a word in capitals stays.
func lower(s string) string {
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'a' && s[1] <= 'z' {
		return string(s[0]+'a'-'A') + s[1:]
	}
	return s
}

func upper(s string) string {
	if s != "" && s[0] >= 'a' && s[0] <= 'z' {
		return string(s[0]-'a'+'A') + s[1:]
	}
	return s
}

// lost says why personal data is not there; "" for any other error.
func lost(err error) string {
	switch {
	case errors.Is(err, ledger.ErrErased):
		return "erased"
	case errors.Is(err, ledger.ErrKeyMissing):
		return "cannot be read: its key is missing from the vault"
	}
	return ""
}
