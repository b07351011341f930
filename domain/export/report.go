package export

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// The bounds of the report. The tables have everything.
const (
	reportMessages = 500 // those that were accepted first
	reportLines    = 60  // events of one message
	reportSaid     = 300 // opt-outs, lifts and inbound texts: the earliest
	reportOthers   = 200
	reportHandoffs = 10 // after one opt-out
	reportText     = 2000
)

//go:embed report.html
var reportHTML string

// columnsText is the middle of docs/export.md as plain text; a test writes it.
//
//go:embed COLUMNS.txt
var columnsText string

//go:embed README.txt
var readmeText string

var (
	reportPage = template.Must(template.New("report").Parse(reportHTML))
	readmePage = texttemplate.Must(texttemplate.New("readme").Parse(readmeText))
)

// A line is one event as the report shows it.
type line struct {
	Position string
	UTC      string
	Local    string
	Text     string
	Void     string // why it is void, in words
	Details  []string
	Quotes   []quote

	at    event.Position
	time  time.Time
	names []event.ID // events that the line names
}

// quote is what somebody wrote, under a label.
type quote struct{ Label, Text string }

// A timeline is one message of the report.
type timeline struct {
	ID    event.ID
	Lines []*line
	More  int
	// The rest is known at the end.
	Life   *life
	Became string
}

// spoken is an opt-out, a lift or an inbound text.
type spoken struct {
	*line
	Recipient string
	Number    string
	What      string
	Covers    string
	Source    string
	Said      string // when the person said so, if the event says that
	By        string
	Stops     bool
	// A hand-off is listed once: at the latest opt-out that stands, else at the latest one, as after
	// its end. After are those while it stood, Later those after its end.
	After, Later         []*handed
	MoreAfter, MoreLater int
	EndedAt, EndedBy     string // the position of what ended it, and in words
	NextAt, LaterNextAt  string // where the next opt-out is: before the end, and after it

	id      event.ID
	stream  event.Pseudonym
	reaches []event.Reach // those that no later one has taken over
	ends    []event.ID
	answers event.ID
	laterAt string // the opt-out at which what came after the end is told
	resumed bool   // a hand-off after the next opt-out is listed here
}

// handed is a hand-off that began after an opt-out.
type handed struct {
	UTC, Position string
	Message       event.ID
	Program       string
	Purpose       string
	Sender        string
	Confirms      bool
	Answers       string // the position of the text that it answers

	answers event.ID
}

// report collects what the page shows.
type report struct {
	f        *contents
	messages map[event.ID]*timeline
	order    []event.ID // of messages
	said     []*spoken
	moreSaid int
	others   []*line
	moreMisc int
	stops    map[event.Pseudonym][]*spoken
	wanted   map[event.ID][]*handed
	void     map[string]int
	handoffs int
	parts    int
	receipts int
	optOuts  int
	lifts    int
	became   map[string]int
	total    int // messages
}

func newReport(f *contents) *report {
	return &report{f: f, messages: map[event.ID]*timeline{}, stops: map[event.Pseudonym][]*spoken{}, wanted: map[event.ID][]*handed{},
		void: map[string]int{}, became: map[string]int{}}
}

// add takes the next event.
func (r *report) add(x *told) {
	e := x.Event
	if x.Why != "" {
		r.void[whyWords[x.Why]]++
	} else {
		switch e.Data.(type) {
		case *event.HandoffStarted:
			r.handoffs++
			r.afterStops(x)
		case *event.HandoffAccepted:
			r.parts++
		case *event.ReceiptReceived:
			r.receipts++
		}
	}
	id := e.MessageID()
	if !id.IsZero() {
		if t := r.timeline(id); t != nil {
			if len(t.Lines) < reportLines {
				t.Lines = append(t.Lines, r.line(x))
			} else {
				t.More++
			}
		}
		return
	}
	s, stops := statementOf(x)
	if x.Why == "" && stops {
		switch s.what {
		case "opt-out":
			r.optOuts++
		case "lift":
			r.lifts++
		}
	}
	switch e.Data.(type) {
	case *event.InboundReceived, *event.InboundReceivedV2, *event.InboundJoined, *event.InboundHeld, *event.OptedOut,
		*event.SuppressionLifted, *event.ReviewResolved:
		r.statement(x, s, stops)
	case *event.ControlApplied:
	default:
		if len(r.others) < reportOthers {
			r.others = append(r.others, r.line(x))
		} else {
			r.moreMisc++
		}
	}
}

// timeline is the one of a message; nil if the report does not show the message.
func (r *report) timeline(id event.ID) *timeline {
	if t := r.messages[id]; t != nil {
		return t
	}
	at, _ := slices.BinarySearchFunc(r.order, id, func(a, b event.ID) int { return bytes.Compare(a[:], b[:]) })
	if at == reportMessages {
		return nil
	}
	if len(r.order) == reportMessages { // those that were accepted first are shown
		delete(r.messages, r.order[reportMessages-1])
		r.order = r.order[:reportMessages-1]
	}
	t := &timeline{ID: id}
	r.order = slices.Insert(r.order, at, id)
	r.messages[id] = t
	return t
}

// line puts an event into words.
func (r *report) line(x *told) *line {
	e := x.Event
	l := &line{Position: x.Position.String(), UTC: e.Time.UTC().Format("2006-01-02 15:04:05.000"), Local: e.Time.In(r.f.zone).Format("2006-01-02 15:04:05 -07:00"),
		Text: says(x), Void: whyWords[x.Why], at: x.Position, time: e.Time}
	if r.f.manifest.Zone == "UTC" {
		l.Local = ""
	}
	if x.Why != "" && l.Void == "" {
		l.Void = string(x.Why)
	}
	detail := func(format string, a ...any) { l.Details = append(l.Details, fmt.Sprintf(format, a...)) }
	say := func(label, text string) {
		if text != "" {
			l.Quotes = append(l.Quotes, quote{label, shortened(text)})
		}
	}
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		if d.By == "clerk" {
			detail("The product itself wrote this message, as an answer to the inbound text %s.", d.Answers)
		} else {
			detail("Submitted by the API key %s.", d.By)
		}
		if !d.SendAt.IsZero() {
			detail("To be sent from %s UTC on.", d.SendAt.UTC().Format("2006-01-02 15:04:05"))
		}
		detail("To be sent before %s UTC, as %s (%s).", d.ValidUntil.UTC().Format("2006-01-02 15:04:05"), count(d.Segments, "part"), d.Encoding)
		say("Text", x.open.Body)
		say("The sender's reference", x.open.Reference)
	case *event.MessageDecided:
		r.decision(l, d)
	case *event.HandoffStarted:
		detail("The carrier could be called until %s UTC.", d.CallBy.UTC().Format("15:04:05.000"))
		if d.Duplicate {
			detail("An earlier attempt is in doubt. The message prefers to come twice to not coming.")
		}
	case *event.ReceiptReceived:
		if d.CarrierID != "" {
			detail("The carrier's id: %s.", d.CarrierID)
		}
	case *event.CancelRequested:
		detail("By the API key %s.", d.By)
	case *event.InboundReceived, *event.InboundReceivedV2, *event.OptedOut, *event.SuppressionLifted, *event.ReviewResolved:
		if x.open.Unreadable {
			detail("The octets that the carrier delivered could not be read as text.")
		}
		say("Words", x.open.Text)
		for _, o := range x.open.Others {
			say("May also be read as", o)
		}
	}
	if x.Erased {
		detail("The personal data of this event is erased: its key was destroyed.")
	}
	return l
}

func shortened(text string) string {
	if r := []rune(text); len(r) > reportText {
		return string(r[:reportText]) + "… (shortened here; whole in opened.ndjson)"
	}
	return text
}

// decision adds what a decision rests on.
func (r *report) decision(l *line, d *event.MessageDecided) {
	if d.Outcome == event.Allow && len(d.Checks) > 0 {
		l.Details = append(l.Details, "Every check allowed it. The rules that it rests on:")
	}
	if d.Outcome != event.Hold {
		for _, id := range grounds(d) {
			text, citation := r.f.rules.one(id, d)
			if citation != "" {
				citation = " Source: " + citation + "."
			}
			l.Details = append(l.Details, "Rule "+id+": "+text+citation)
		}
	}
	for _, c := range d.Clocks {
		zone, at, _ := strings.Cut(string(c), " ")
		l.Details = append(l.Details, "Where the recipient may be it was "+strings.Replace(at, "T", " ", 1)+" ("+zone+").")
	}
	if d.Revision != "" {
		l.Details = append(l.Details, "Policies "+d.Revision+", digest "+d.Digest+".")
	}
	if len(d.OptOuts) > 0 {
		l.Details = append(l.Details, "Opt-outs in force:")
		l.names = d.OptOuts
	}
}

// repeated notes that an opt-out says once more what older ones of the person said: it takes their place, and
// what ends it ends what they said (recipient.Rule does the same).
func (r *report) repeated(p *spoken) {
	for _, older := range r.stops[p.stream] {
		if older.EndedAt != "" || older.What != p.What || len(older.reaches) == 0 {
			continue
		}
		older.reaches = slices.DeleteFunc(older.reaches, func(x event.Reach) bool { return slices.Contains(p.reaches, x) })
		if len(older.reaches) == 0 {
			older.EndedAt, older.EndedBy = p.Position, "the "+p.What+" at "+p.Position+" said the same once more and took its place"
		}
	}
}

// statement takes an opt-out, a lift or an inbound text.
func (r *report) statement(x *told, s statement, stops bool) {
	e := x.Event
	p := &spoken{line: r.line(x), Recipient: e.Subject.String(), Number: s.number, What: "inbound text", By: s.by, id: e.ID, stream: e.Subject, ends: s.ends, answers: s.answers}
	if stops {
		p.What, p.Source = s.what, string(s.source)
		if len(s.reaches) > 0 {
			p.Covers = reachWords(s.reaches)
		}
		if !s.said.IsZero() {
			p.Said = s.said.UTC().Format("2006-01-02 15:04:05")
		}
		p.Stops = x.Why == "" && (s.what == "opt-out" || s.what == "hold")
		p.reaches = slices.Clone(s.reaches)
	}
	if p.Stops {
		r.repeated(p)
	}
	if stops && x.Why == "" {
		for _, stop := range r.stops[e.Subject] {
			if slices.Contains(s.ends, stop.id) && stop.EndedAt == "" {
				stop.EndedAt, stop.EndedBy = p.Position, map[string]string{"lift": "it was lifted at ", "review": "an officer answered it at "}[s.what]+p.Position
				if s.what == "opt-out" || s.what == "hold" {
					stop.EndedBy = "the " + s.what + " at " + p.Position + " took its place"
				}
			}
		}
	}
	at, _ := slices.BinarySearchFunc(r.said, p, earlier)
	if len(r.said) == reportSaid {
		r.moreSaid++
		if at == reportSaid {
			return
		}
		last := r.said[reportSaid-1]
		r.said = r.said[:reportSaid-1]
		r.stops[last.stream] = slices.DeleteFunc(r.stops[last.stream], func(o *spoken) bool { return o == last })
		for _, o := range r.stops[last.stream] {
			for _, next := range []*string{&o.NextAt, &o.LaterNextAt} {
				if *next == last.Position {
					*next = ""
				}
			}
		}
		if len(r.stops[last.stream]) == 0 {
			delete(r.stops, last.stream)
		}
		for _, h := range append(last.After, last.Later...) { // no one wants to know of them any more
			r.wanted[h.Message] = slices.DeleteFunc(r.wanted[h.Message], func(o *handed) bool { return o == h })
			if len(r.wanted[h.Message]) == 0 {
				delete(r.wanted, h.Message)
			}
		}
	}
	r.said = slices.Insert(r.said, at, p)
	if p.Stops {
		for _, o := range r.stops[e.Subject] {
			if o.EndedAt == "" {
				o.NextAt = cmp.Or(o.NextAt, p.Position)
			} else {
				o.LaterNextAt = cmp.Or(o.LaterNextAt, p.Position)
			}
		}
		r.stops[e.Subject] = append(r.stops[e.Subject], p)
	}
}

func earlier(a, b *spoken) int {
	return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.at.Partition, b.at.Partition), cmp.Compare(a.at.Index, b.at.Index))
}

// afterStops notes a hand-off at the latest opt-out of its stream that stands, else at the latest one.
func (r *report) afterStops(x *told) {
	all := r.stops[x.Event.Subject]
	if len(all) == 0 {
		return
	}
	s := all[len(all)-1]
	for i := len(all) - 1; i >= 0 && s.EndedAt != ""; i-- {
		if all[i].EndedAt == "" {
			s = all[i]
			s.resumed = true // the next one ended before it did
		}
	}
	for _, o := range all {
		if o != s && o.EndedAt != "" && o.LaterNextAt == "" {
			o.laterAt = cmp.Or(o.laterAt, s.Position)
		}
	}
	list, more := &s.After, &s.MoreAfter
	if s.EndedAt != "" {
		list, more = &s.Later, &s.MoreLater
	}
	if len(*list) == reportHandoffs {
		*more++
		return
	}
	h := &handed{UTC: x.Event.Time.UTC().Format("2006-01-02 15:04:05.000"), Position: x.Position.String(), Message: x.Event.Message}
	*list = append(*list, h)
	r.wanted[h.Message] = append(r.wanted[h.Message], h)
}

// life takes the whole life of a message, at the end.
func (r *report) life(l *life) {
	r.total++
	r.became[l.became()]++
	if t := r.messages[l.Message]; t != nil {
		t.Life, t.Became = l, l.became()
	}
	for _, h := range r.wanted[l.Message] {
		if u := l.Submit; u != nil {
			h.Program, h.Purpose, h.Sender = u.Program, u.Purpose, cmp.Or(l.Sender, u.From)
			h.Confirms, h.answers = u.Purpose == "compliance_reply", u.Answers
		}
	}
}

// end writes what is known at the end only: the messages, the report and the README.
func (f *contents) end(ctx context.Context) error {
	err := f.lives.each(ctx, func(l *life) error {
		f.report.life(l)
		f.lifeRow(l)
		return nil
	})
	if err != nil {
		return err
	}
	v := f.report.view()
	if err := reportPage.Execute(f.page, v); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := readmePage.Execute(f.readme, v); err != nil {
		return fmt.Errorf("write the README: %w", err)
	}
	return nil
}

// figure is a number with what it counts.
type figure struct {
	Count int
	What  string
}

// page is what the templates show.
type page struct {
	*Manifest
	Asked, First, Last, Complete string
	Question                     string
	Zone                         string
	Masked                       []string
	Totals                       []figure
	Became, Void, Types          []figure
	Messages                     []*timeline
	AllMessages                  int
	Said                         []*spoken
	MoreSaid                     int
	Others                       []*line
	MoreOthers                   int
	Terms                        []term
}

func (r *report) view() *page {
	m := &r.f.manifest
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		if m.Zone == "UTC" {
			return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
		}
		return t.UTC().Format("2006-01-02 15:04:05") + " UTC (" + t.In(r.f.zone).Format("2006-01-02 15:04:05 -07:00") + ")"
	}
	v := &page{Manifest: m, Asked: stamp(m.Asked), First: stamp(m.First), Last: stamp(m.Last), Complete: stamp(m.CompleteSince), Question: m.Question,
		Zone: m.Zone, AllMessages: r.total, Said: r.said, MoreSaid: r.moreSaid, Others: r.others, MoreOthers: r.moreMisc, Terms: terms}
	for _, x := range []struct{ name, what string }{
		{"message", "numbers, texts, references and metadata of messages, and the carriers' delivery receipts as they came, in which the number and the first characters of the text may stand"}, {"words", "what persons wrote, and the numbers they wrote from"},
		{"evidence", "the evidence that officers recorded for opt-outs and lifts"}} {
		if !slices.Contains(m.Clear, x.name) {
			v.Masked = append(v.Masked, x.what)
		}
	}
	v.Totals = []figure{{int(m.Events), "events"}, {int(m.Events - m.Void), "of them effective"}, {int(m.Void), "of them void"}, {r.total, "messages"},
		{r.handoffs, "hand-offs began"}, {r.parts, "parts accepted by a carrier"}, {r.receipts, "delivery receipts"}, {r.optOuts, "opt-outs (texts that opt out count)"},
		{r.lifts, "lifts"}}
	v.Became, v.Void, v.Types = figures(r.became), figures(r.void), nil
	for _, t := range slices.Sorted(maps.Keys(m.Types)) {
		v.Types = append(v.Types, figure{int(m.Types[t]), t})
	}
	for _, id := range r.order {
		v.Messages = append(v.Messages, r.messages[id])
	}
	// Events that are named by id are easier to find by position.
	at := map[event.ID]string{}
	for _, s := range r.said {
		at[s.id] = s.Position
	}
	resolve := func(l *line) {
		for _, id := range l.names {
			if where := at[id]; where != "" {
				l.Details = append(l.Details, "— the one at "+where+" (event "+id.String()+")")
			} else {
				l.Details = append(l.Details, "— event "+id.String()+", which is not in this report")
			}
		}
	}
	for _, t := range v.Messages {
		for _, l := range t.Lines {
			resolve(l)
		}
	}
	for _, s := range r.said {
		if where := at[s.answers]; where != "" {
			s.Details = append(s.Details, map[bool]string{true: "The evidence is the person's text at ", false: "It follows from the event at "}[s.Source == string(event.SourceHandset)]+where+" (event "+s.answers.String()+").")
		} else if !s.answers.IsZero() {
			s.Details = append(s.Details, "It follows from the event "+s.answers.String()+", which is not in this report.")
		}
		if s.What == "lift" || s.What == "opt-out" && len(s.ends) > 0 {
			s.names = s.ends
			s.Details = append(s.Details, "It ends:")
			resolve(s.line)
		}
		for _, h := range append(s.After, s.Later...) {
			h.Answers = at[h.answers]
		}
	}
	return v
}

// figures are the counts, the largest first.
func figures(m map[string]int) (out []figure) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, figure{m[k], k})
	}
	slices.SortStableFunc(out, func(a, b figure) int { return b.Count - a.Count })
	return out
}

// Grouped is the count with its thousands apart.
func (f figure) Grouped() string {
	s := strconv.Itoa(f.Count)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// Others are the hand-offs while an opt-out stood but those of the product's own answers.
func (s *spoken) Others() int { return s.MoreAfter + unasked(s.After) }

func unasked(all []*handed) (n int) {
	for _, h := range all {
		if !h.Confirms {
			n++
		}
	}
	return n
}

// Sentence says what was handed off while an opt-out stood.
func (s *spoken) Sentence() string {
	what := "this opt-out"
	if s.What == "hold" {
		what = "this hold"
	} else if s.Source == string(event.SourceHandset) || s.Source == string(event.SourceJoined) {
		what = "this STOP"
	}
	text := "After " + what
	if s.EndedAt != "" {
		text = "While " + what + " stood (until " + s.EndedBy + ")"
	}
	if s.NextAt != "" && s.resumed {
		return text + ", beside what is told at the opt-out or hold at " + s.NextAt + "," + handedOff("", s.After, s.MoreAfter)
	}
	return text + handedOff(s.NextAt, s.After, s.MoreAfter)
}

// LaterSentence says what was handed off after an opt-out had ended.
func (s *spoken) LaterSentence() string {
	if s.laterAt != "" {
		return "What was handed off after it had ended at " + s.EndedAt + " is told at the opt-out or hold at " + s.laterAt + "."
	}
	return "After it had ended at " + s.EndedAt + handedOff(s.LaterNextAt, s.Later, s.MoreLater)
}

// handedOff ends a sentence about hand-offs, up to the next opt-out of the person.
func handedOff(next string, all []*handed, more int) string {
	text := ""
	if next != "" {
		text = ", and before the next opt-out or hold at " + next + ","
	}
	if n := unasked(all) + more; n > 0 {
		text += " " + count(n, "hand-off") + " to the same person began in this file's scope. The decision of each message says which opt-outs it looked at."
	} else if text += " nothing was handed off in this file's scope"; len(all) > 0 {
		text += " but the product's own answer."
	} else {
		text += "."
	}
	if next != "" {
		text += " What came after that is told there."
	}
	return text
}

// CameBy says how a statement reached us.
func (s *spoken) CameBy() string {
	switch {
	case s.By == "clerk": // the writer of what follows from a person's text
		return "The person asked for it by a text from the handset; the product itself recorded what follows from that text."
	case s.Source == string(event.SourceHandset) && s.By != "":
		return "It came from the handset; the carrier " + s.By + " delivered it."
	}
	if s.Source == string(event.SourceJoined) {
		return "It came from the handset in several texts, which the product joined."
	}
	text := "It came by: " + s.Source + "."
	if s.By != "" {
		text += " Recorded by the API key " + s.By + "."
	}
	return text
}

// term is an entry of the glossary.
type term struct{ Word, Meaning string }

var terms = []term{
	{"Allow, deny, defer, hold", "The four outcomes of a decision. Allow: the message may leave, for a stated time. Deny: a rule refuses it, for good. Defer: a rule says later. Hold: no decision was made yet, because the rules could not be asked or an operator paused sending; the message waits."},
	{"Accepted by the carrier", "The carrier took a part and gave it an id. That is not delivery: the network or the handset may still lose it."},
	{"API key", "What a program or an officer signs in with at the product. The file names it by its id."},
	{"Attempt, hand-off", "Giving a message to a carrier. It begins with the event HandoffStarted, before the carrier is called, so that no call is without a record."},
	{"Carrier", "The company that takes messages from us and brings them to phones. Its name here is the one that the operator gave the connection."},
	{"Confirmation", "The one message that may follow a STOP, to say that it was understood. Its purpose is compliance_reply."},
	{"Decision", "The answer of the rules for one message. Each decision names the rules, their sources in law, and the version of the policies."},
	{"Delivery receipt", "What a carrier reports later about a part: delivered, undeliverable, and so on. It is the carrier's word."},
	{"Effective, void", "An event is effective if it counts. It is void if it stays in the ledger and changes nothing, for one of four reasons: overtaken (something that can change a decision came first), settled (the message's state does not allow it), late (its time was over), repeat (a copy). Void events are normal and are kept, so that nothing disappears."},
	{"Event", "One entry of the ledger: something that was observed, asked for or decided. The product only adds events; it does not change them. This file alone does not prove that."},
	{"In doubt", "The carrier was called, or may have been, and gave no answer in time. The message may have been sent or not. It is not sent again blindly."},
	{"Ledger", "Everything that was recorded, as events. All events of one person stand in one order."},
	{"Lift", "An event that ends the opt-outs it names. It is not a consent."},
	{"Opt-out, STOP", "A person does not want messages. What it covers is written beside it. It has two times: when the person said so, and when it became known here."},
	{"Part", "One SMS of a message. A long text leaves as several parts."},
	{"Position", "Where an event stands in the ledger: the partition and the index in it. 07-1234 is event 1234 of partition 7. All events of one person stand in one partition, so each two of them have an order."},
	{"Place", "Where the recipient may be. It is found from the area code of the number, so it is not where the person is known to be."},
	{"Policies, digest", "The rules that were in force, by their version, and a fingerprint of their text: two policies with the same digest are the same."},
	{"Product", "Chirograph, the program that sends the messages, keeps the ledger and made this file."},
	{"Program", "What a sender registers before it may send: its legal entity, purposes, countries and sender IDs."},
	{"Recipient", "The name of a person in this file: 32 hexadecimal digits, made from the number with a secret key. The same person has the same name in all members."},
}
