package cli

import (
	"context"
	_ "embed" // the page of a history
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// HistoryCmd shows everything between the key's tenant and one number.
type HistoryCmd struct {
	Number string `arg:"" help:"The phone number, in E.164 (+14155550123) or, with --country, in national form."`

	Country string `help:"Country of a national number (ISO 3166-1, such as US)." placeholder:"CC"`
	Zone    string `help:"A time zone such as America/New_York, for times that you give and that are shown. Default: the person's, if the number tells it for certain, else UTC." placeholder:"ZONE"`
	Since   string `help:"Only from this time on: a day, or a day and a time (in UTC, or in --zone)." placeholder:"TIME"`
	Until   string `help:"Only before this time." placeholder:"TIME"`
	At      string `help:"Say which opt-outs stood at a moment, and what was handed off after it: a time of day such as 14:03, a day and a time, or an instant. Without seconds it is the whole minute." placeholder:"TIME"`
	Newest  bool   `help:"The newest first."`
	Format  string `help:"text, json, csv or html (a page for a browser, which prints well)." enum:"text,json,csv,html" default:"text"`
	Reason  string `help:"Why you read it. It is recorded with what you are shown; write no personal data." placeholder:"TEXT"`
	Limit   int    `help:"How many events at most, 1 to 500." default:"100"`
	All     bool   `help:"All pages, of --limit events each."`
	Cursor  string `help:"Go on after the page before: what it printed as its cursor." placeholder:"CURSOR"`
}

// Run prints a page, or all of them.
func (c *HistoryCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	in, err := (&zoneFlag{Zone: c.Zone}).location()
	if err != nil {
		return err
	}
	ask := v1.HistoryRequest{Number: c.Number, Country: c.Country, Zone: c.Zone, At: c.At, Limit: &c.Limit, Cursor: c.Cursor}
	if c.Newest {
		ask.Order = "newest"
	}
	if ask.Since, err = timeIn("--since", c.Since, in); err != nil {
		return err
	}
	if ask.Until, err = timeIn("--until", c.Until, in); err != nil {
		return err
	}
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	if g.JSON {
		c.Format = "json"
	}
	nothing := "Nothing is in the ledger about this number."
	if c.Since != "" || c.Until != "" {
		nothing = "Nothing is in the ledger about this number, in the time that was asked for."
	}
	var w historyWriter
	switch c.Format {
	case "json":
		w = historyJSON{g}
	case "csv":
		w = historyCSV{csv.NewWriter(g.Stdout)}
	case "html":
		w = &historyHTML{w: g.Stdout, nothing: nothing}
	default:
		w = &historyText{w: g.Stdout, width: width(g.Stdout), all: c.All, nothing: nothing}
	}
	return c.pages(ctx, g, cl, ask, w)
}

// historyWriter writes the pages of a history in one form.
type historyWriter interface {
	page(h *v1.History, raw []byte, first bool) error
	end() error
}

// pages writes one page after the other, until the last one or as far as was asked for.
func (c *HistoryCmd) pages(ctx context.Context, g *terminal.Globals, cl *client.Client, ask v1.HistoryRequest, w historyWriter) error {
	call := &client.Call{Method: http.MethodPost, Path: "/v1/recipients/history", Body: ask, Reason: c.Reason, Reads: true}
	return pages(ctx, g, cl, call, func(h *v1.History) bool { return h.Entries != nil }, func(h *v1.History, raw []byte, first bool) (string, error) {
		if err := w.page(h, raw, first); err != nil {
			return "", err
		}
		if h.NextCursor == "" || !c.All {
			return "", w.end()
		}
		return h.NextCursor, nil
	}, func(cursor string) {
		ask.Cursor, ask.At = cursor, ""
		call.Body = ask
	})
}

type historyJSON struct{ g *terminal.Globals }

func (j historyJSON) page(_ *v1.History, raw []byte, _ bool) error { return j.g.PrintJSON(raw) }
func (j historyJSON) end() error                                   { return nil }

type historyCSV struct{ w *csv.Writer }

func (c historyCSV) page(h *v1.History, _ []byte, first bool) error {
	if first {
		if err := c.w.Write([]string{"position", "event", "type", "time_utc", "time_local", "zone", "effective", "void", "sentence", "message", "said", "known", "after", "details"}); err != nil {
			return err
		}
	}
	for i := range h.Entries {
		e := &h.Entries[i]
		var details []string
		for _, d := range e.Details {
			details = append(details, d.Name+": "+d.Value)
		}
		after := ""
		if e.After != nil {
			after = e.After.Sentence
		}
		row := []string{e.Position.String(), e.Id.String(), e.Type, e.Time.Format(time.RFC3339Nano), e.Local.Format("2006-01-02 15:04:05.000"), h.Zone, strconv.FormatBool(e.Effective),
			e.Void, e.Sentence, e.Message.String(), stampCell(e.Said), stampCell(e.Known), after, strings.Join(details, "\n")}
		for k := range row {
			row[k] = terminal.Cell(row[k])
		}
		if err := c.w.Write(row); err != nil {
			return err
		}
	}
	return nil
}

func (c historyCSV) end() error {
	c.w.Flush()
	return c.w.Error()
}

// historyText writes for a person at a terminal, by day.
type historyText struct {
	w     io.Writer
	width int
	all   bool
	day   string
	known map[string]bool // the messages whose ids were written
	last  *v1.History
	// nothing is what is said of an empty history.
	nothing string
}

// times is how wide the column of times is.
const times = 10

func (t *historyText) page(h *v1.History, _ []byte, first bool) error {
	var b strings.Builder
	if first {
		t.known = map[string]bool{}
		t.head(&b, h)
	}
	for i := range h.Entries {
		t.entry(&b, h, &h.Entries[i])
	}
	if first && len(h.Entries) == 0 {
		b.WriteString("\n" + t.nothing + "\n")
	}
	t.last = h
	_, err := io.WriteString(t.w, b.String())
	return err
}

// head writes what is true of the whole history.
func (t *historyText) head(b *strings.Builder, h *v1.History) {
	t.line(b, 0, "History of "+terminal.Plain(h.Number)+", as of position "+h.AsOf.String()+".")
	t.line(b, 0, "Times are in "+terminal.Plain(h.Zone)+": "+terminal.Plain(h.ZoneWhy)+".")
	for _, n := range h.Notes {
		t.line(b, 0, "Note: "+terminal.Plain(n))
	}
	if len(h.Masked) > 0 {
		t.line(b, 0, "Your key may not see: "+terminal.Plain(strings.Join(h.Masked, ", "))+".")
	}
	if m := h.Moment; m != nil {
		b.WriteString("\n")
		if m.Note != "" {
			t.line(b, 0, terminal.Plain(m.Note))
		}
		t.line(b, 0, terminal.Plain(m.Sentence))
		for i := range m.Standing {
			t.standing(b, &m.Standing[i])
		}
		if m.Within != "" {
			t.line(b, 0, terminal.Plain(m.Within))
		}
		for i := range m.Came {
			t.standing(b, &m.Came[i])
		}
		t.line(b, 0, terminal.Plain(m.Later))
		for i := range m.Handoffs {
			t.handoff(b, h, &m.Handoffs[i], 2)
		}
	}
	b.WriteString("\n")
	if len(h.Standing) == 0 {
		t.line(b, 0, "No opt-out stands now.")
		return
	}
	t.line(b, 0, "These opt-outs stand now:")
	for i := range h.Standing {
		t.standing(b, &h.Standing[i])
	}
}

func (t *historyText) standing(b *strings.Builder, o *v1.HistoryOptOut) {
	t.line(b, 2, o.Position.String()+"  "+terminal.Plain(o.Sentence))
	if o.After != nil {
		t.line(b, 4, terminal.Plain(o.After.Sentence))
	}
}

func (t *historyText) entry(b *strings.Builder, h *v1.History, e *v1.HistoryEntry) {
	if day := e.Local.Format("Monday 2006-01-02"); day != t.day {
		t.day = day
		b.WriteString("\n" + day + "\n")
	}
	text := terminal.Plain(e.Sentence)
	if !e.Effective {
		text = "Void: " + text
	}
	t.hanging(b, e.Local.Format("15:04:05"), text)
	if e.VoidSentence != "" {
		t.line(b, times, terminal.Plain(e.VoidSentence))
	}
	for _, d := range e.Details {
		value := terminal.Plain(d.Value)
		if d.Name == "Text" || d.Name == "Words" || d.Name == "Or" || d.Name == "Evidence" {
			value = "\"" + value + "\""
		}
		t.line(b, times, terminal.Plain(d.Name)+": "+value)
	}
	if e.After != nil {
		t.line(b, times, terminal.Plain(e.After.Sentence))
		for i := range e.After.Handoffs {
			t.handoff(b, h, &e.After.Handoffs[i], times+2)
		}
		if more := e.After.Count - len(e.After.Handoffs); more > 0 {
			t.line(b, times+2, "and "+strconv.Itoa(more)+" more")
		}
	}
	trace := e.Position.String()
	if h.Zone != "UTC" {
		trace += ", " + e.Time.UTC().Format("15:04:05.000") + " UTC"
	}
	if id := e.Message.String(); id != "" {
		if t.known[id] {
			id = "…" + id[len(id)-6:]
		}
		t.known[e.Message.String()] = true
		trace += ", message " + id
	} else {
		trace += ", event " + e.Id.String()
	}
	t.line(b, times, trace)
}

func (t *historyText) handoff(b *strings.Builder, h *v1.History, x *v1.HistoryHandoff, indent int) {
	at := x.Time.UTC()
	if zone, err := (&zoneFlag{Zone: h.Zone}).location(); err == nil {
		at = x.Time.In(zone)
	}
	t.line(b, indent, at.Format("2006-01-02 15:04:05")+" to "+terminal.Plain(x.Carrier)+", message "+x.Message.String()+". "+terminal.Plain(x.Why))
}

func (t *historyText) end() error {
	if t.last.NextCursor == "" {
		return nil
	}
	_, err := fmt.Fprintf(t.w, "\nThere are more: --cursor %s, or --all\n", terminal.Plain(t.last.NextCursor))
	return err
}

// hanging writes a text beside a time.
func (t *historyText) hanging(b *strings.Builder, at, text string) {
	for i, l := range wrap(text, t.width-times) {
		if i > 0 {
			at = ""
		}
		fmt.Fprintf(b, "%-*s%s\n", times, at, l)
	}
}

func (t *historyText) line(b *strings.Builder, indent int, text string) {
	for _, l := range wrap(text, t.width-indent) {
		b.WriteString(strings.Repeat(" ", indent) + l + "\n")
	}
}

// wrap breaks a text into lines of at most some width, between words. A longer word has a line of its own.
func wrap(text string, width int) (lines []string) {
	line, n := "", 0
	for _, word := range strings.Fields(text) {
		w := utf8.RuneCountInString(word)
		switch {
		case line == "":
			line, n = word, w
		case n+1+w <= width:
			line, n = line+" "+word, n+1+w
		default:
			lines = append(lines, line)
			line, n = word, w
		}
	}
	return append(lines, line)
}

// Lines are at most this wide: longer ones are hard to read.
const leastWidth, mostWidth = 60, 120

// width is how wide lines may be: COLUMNS, which shells set, or 80.
func width(w io.Writer) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return min(max(n, leastWidth), mostWidth)
	}
	return 80
}

//go:embed history.html.tmpl
var historyPage string

// historyHTML collects the pages and writes one page for a browser.
type historyHTML struct {
	w io.Writer
	h *v1.History
	// nothing is what is said of an empty history.
	nothing string
}

func (p *historyHTML) page(h *v1.History, _ []byte, first bool) error {
	if first {
		p.h = h
	} else {
		p.h.Entries, p.h.NextCursor = append(p.h.Entries, h.Entries...), h.NextCursor
	}
	return nil
}

// historyDay is a day of a history, in its zone.
type historyDay struct {
	Day     string
	Entries []v1.HistoryEntry
}

func (p *historyHTML) end() error {
	zone, err := (&zoneFlag{Zone: p.h.Zone}).location()
	if err != nil {
		zone = time.UTC
	}
	page, err := template.New("history").Funcs(template.FuncMap{
		"clock":   func(t time.Time) string { return t.Format("15:04:05") },
		"utc":     func(t time.Time) string { return t.UTC().Format("15:04:05.000") + " UTC" },
		"instant": func(t time.Time) string { return t.In(zone).Format("2006-01-02 15:04:05") },
		"quoted":  func(name string) bool { return name == "Text" || name == "Words" || name == "Or" || name == "Evidence" },
		"kind":    kindOf,
		"join":    func(all []string) string { return strings.Join(all, ", ") },
	}).Parse(historyPage)
	if err != nil {
		return err
	}
	var days []historyDay
	for _, e := range p.h.Entries {
		day := e.Local.Format("Monday 2006-01-02")
		if len(days) == 0 || days[len(days)-1].Day != day {
			days = append(days, historyDay{Day: day})
		}
		d := &days[len(days)-1]
		d.Entries = append(d.Entries, e)
	}
	return page.Execute(p.w, map[string]any{"H": p.h, "Days": days, "Nothing": p.nothing})
}

// kindOf is what a page shows an event as.
func kindOf(e v1.HistoryEntry) string {
	name, _, _ := strings.Cut(e.Type, ".")
	switch {
	case !e.Effective:
		return "void"
	case e.After != nil:
		return "stop"
	case name == "SuppressionLifted":
		return "lift"
	case name == "MessageDecided" && strings.HasPrefix(e.Sentence, "Denied"):
		return "denied"
	case strings.HasPrefix(name, "Inbound"), strings.HasPrefix(name, "Review"), name == "OptedOut":
		return "person"
	}
	return "message"
}

// EventCmd shows one event.
type EventCmd struct {
	ID     string `arg:"" name:"event" help:"The event's id, or its position such as 07-1234 or control-3."`
	Reason string `help:"Why you read it. It is recorded with what you are shown; write no personal data." placeholder:"TEXT"`
}

// Run prints what the event is, and its bytes.
func (c *EventCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodGet, Path: "/v1/events/" + url.PathEscape(c.ID), Reason: c.Reason, Reads: true})
	if err != nil {
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var e v1.StoredEvent
	if json.Unmarshal(raw, &e) != nil || e.Id.IsZero() {
		return errNotOurs
	}
	var b strings.Builder
	r := terminal.NewRows(&b)
	r.Row("Event", "%s", e.Id)
	r.Row("Type", "%s", terminal.Plain(e.Type))
	r.Row("Position", "%s", e.Position)
	r.Row("Time", "%s", terminal.Instant(e.Time))
	effect := "effective"
	if !e.Effective {
		effect = "void (" + terminal.Plain(e.Void) + "): " + terminal.Plain(e.VoidSentence)
	}
	r.Row("Effect", "%s", effect)
	for _, l := range wrap(terminal.Plain(e.Sentence), width(g.Stdout)-12) {
		r.Row("What", "%s", l)
	}
	if !e.Message.IsZero() {
		r.Row("Message", "%s", e.Message)
	}
	for _, d := range e.Details {
		r.Row(terminal.Plain(d.Name), "%s", terminal.Plain(d.Value))
	}
	if e.After != nil {
		r.Row("After it", "%s", terminal.Plain(e.After.Sentence))
	}
	if len(e.Masked) > 0 {
		r.Row("Masked", "your key may not see: %s", terminal.Plain(strings.Join(e.Masked, ", ")))
	}
	r.Row("Stored", "%s", terminal.Plain(e.Stored))
	_, err = io.WriteString(g.Stdout, b.String())
	return err
}
