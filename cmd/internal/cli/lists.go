package cli

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// listFlags are those of every list.
type listFlags struct {
	zoneFlag `embed:""`

	Since  string `help:"From this time on." placeholder:"TIME"`
	Format string `help:"text, json or csv. In csv, a cell that a spreadsheet could take for a formula begins with an apostrophe; every phone number does." enum:"text,json,csv" default:"text"`
	Limit  int    `help:"How many at most, 1 to 200." default:"50"`
	Cursor string `help:"Go on after the page before: what it printed as its cursor." placeholder:"CURSOR"`
}

// query is what a list is asked with; pairs are the name and the value of further parameters.
func (f *listFlags) query(pairs ...string) (url.Values, error) {
	in, err := f.location()
	if err != nil {
		return nil, err
	}
	q := url.Values{"limit": {strconv.Itoa(f.Limit)}}
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		if value == "" {
			continue
		}
		if name == "since" || name == "until" || name == "lifted_since" {
			t, err := timeIn("--"+strings.ReplaceAll(name, "_", "-"), value, in)
			if err != nil {
				return nil, err
			}
			value = t.Format(time.RFC3339Nano)
		}
		q.Set(name, value)
	}
	return q, nil
}

// get reads a document of the API. reason is why; "" for none.
func get(g *terminal.Globals, path string, q url.Values, reason string, into any) ([]byte, error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return nil, err
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodGet, Path: path, Query: q, Reason: reason, Reads: true})
	if err != nil {
		return nil, client.Failed(g, err)
	}
	if json.Unmarshal(raw, into) != nil {
		return nil, errNotOurs
	}
	return raw, nil
}

// pages reads the pages of a list, one after the other, and prints them. print prints one, and returns the
// cursor of the next; "" ends it. goOn puts a cursor into the call. whole says whether a page has what the API
// always gives.
func pages[T any](ctx context.Context, g *terminal.Globals, cl *client.Client, call *client.Call, whole func(*T) bool, print func(page *T, raw []byte, first bool) (next string, err error), goOn func(cursor string)) error {
	for first := true; ; first = false {
		raw, err := cl.Do(ctx, *call)
		if err != nil {
			return client.Failed(g, err)
		}
		page := new(T)
		if json.Unmarshal(raw, page) != nil || !whole(page) {
			return errNotOurs
		}
		next, err := print(page, raw, first)
		if err != nil || next == "" {
			return err
		}
		goOn(next)
	}
}

// inFormat prints a page as it came, as a table for programs, or as text.
func inFormat(format string, g *terminal.Globals, raw []byte, csv, text func() error) error {
	switch format {
	case "json":
		return g.PrintJSON(raw)
	case "csv":
		return csv()
	}
	return text()
}

// finish prints a list: as it came, as a table for programs, or as text; and to standard error what is left out and
// how to go on.
func (f *listFlags) finish(g *terminal.Globals, raw []byte, rows [][]string, text func(io.Writer), masked []string, next string) error {
	if g.JSON || f.Format == "json" {
		return g.PrintJSON(raw)
	}
	if f.Format == "csv" {
		out := csv.NewWriter(g.Stdout)
		for _, row := range rows {
			for i := range row {
				row[i] = terminal.Cell(row[i])
			}
			_ = out.Write(row)
		}
		if out.Flush(); out.Error() != nil {
			return out.Error()
		}
	} else {
		var b strings.Builder
		if text(&b); len(rows) == 1 {
			b.WriteString("Nothing was found on this page.\n")
		}
		if _, err := io.WriteString(g.Stdout, b.String()); err != nil {
			return err
		}
	}
	if len(masked) > 0 {
		fmt.Fprintf(g.Stderr, "Your key may not see: %s.\n", terminal.Plain(strings.Join(masked, ", ")))
	}
	if next != "" {
		fmt.Fprintf(g.Stderr, "There are more: --cursor %s\n", terminal.Plain(next))
	}
	return nil
}

func stampCell(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// said writes words and evidence below an entry.
func said(w io.Writer, words, evidence string, erased, keyMissing bool) {
	if words != "" {
		fmt.Fprintf(w, "    wrote     \"%s\"\n", terminal.Plain(words))
	}
	if evidence != "" {
		fmt.Fprintf(w, "    evidence  \"%s\"\n", terminal.Plain(evidence))
	}
	if why := terminal.Lost(erased, keyMissing); why != "" {
		fmt.Fprintln(w, "    "+why)
	}
}

func by(key string) string {
	switch key {
	case "":
		return "the person"
	case "clerk":
		return "the server"
	}
	return "key " + terminal.Plain(key)
}

func writeTurn(w io.Writer, t *v1.Turn) {
	what := terminal.Plain(t.What)
	if t.As != "" {
		what += " as " + terminal.Plain(t.As)
	}
	if t.Source != "" {
		what += ", " + terminal.Plain(t.Source)
	}
	fmt.Fprintf(w, "  %s  %s, by %s\n    event     %s at %s\n", terminal.Instant(t.At), what, by(t.By), t.Event, t.Position)
	said(w, t.Words, t.Evidence, t.Erased, t.KeyMissing)
}

func writeOptOut(w io.Writer, o *v1.OptOutEntry) {
	who := terminal.Plain(o.Number)
	if who == "" {
		who = "recipient " + terminal.Plain(o.Recipient)
	}
	state := terminal.Plain(o.State)
	if o.Unclear {
		state += ", unclear"
	}
	fmt.Fprintf(w, "%s  %s\n    stops     %s\n    said      %s\n    known     %s, by %s, source %s\n    event     %s at %s\n",
		who, state, reaches(o.Reaches), terminal.Instant(o.Said), terminal.Instant(o.Known), by(o.By), terminal.Plain(o.Source), o.Event, o.Position)
	said(w, o.Words, o.Evidence, o.Erased, o.KeyMissing)
}

// OptoutListCmd lists opt-outs.
type OptoutListCmd struct {
	listFlags  `embed:""`
	reasonFlag `embed:""`

	Until       string `help:"Known before this time." placeholder:"TIME"`
	LiftedSince string `help:"Only those that a lift of this time or later ended, the latest lift first; without --since and --until." placeholder:"TIME"`
	State       string `help:"standing (also what the person repeated, while the later one stands), ended or all." enum:"standing,ended,all" default:"all"`
	Scope       string `help:"Only of this scope: sender, program, legal_entity or tenant." placeholder:"SCOPE"`
	Source      string `help:"Only from here: handset, phone, email, review, …" placeholder:"WORD"`
	Name        string `help:"Only of this program, sender ID or legal entity." placeholder:"NAME"`
}

// Run prints one page.
func (c *OptoutListCmd) Run(g *terminal.Globals) error {
	q, err := c.query("since", c.Since, "until", c.Until, "lifted_since", c.LiftedSince, "state", c.State, "scope", c.Scope, "source", c.Source, "name", c.Name, "cursor", c.Cursor)
	if err != nil {
		return err
	}
	var page v1.OptOutPage
	raw, err := get(g, "/v1/opt-outs", q, c.Reason, &page)
	if err != nil {
		return err
	}
	rows := [][]string{{"event", "position", "recipient", "number", "stops", "source", "said", "known", "by", "words", "evidence", "state", "ended_by", "ended_at", "ended_key", "ended_evidence"}}
	for _, o := range page.OptOuts {
		row := []string{o.Event.String(), o.Position.String(), o.Recipient, o.Number, reaches(o.Reaches), o.Source, stampCell(o.Said), stampCell(o.Known), o.By, o.Words, o.Evidence, o.State, "", "", "", ""}
		if t := o.End; t != nil {
			copy(row[12:], []string{t.Event.String(), stampCell(t.At), t.By, t.Evidence})
		}
		rows = append(rows, row)
	}
	return c.finish(g, raw, rows, func(w io.Writer) {
		for i := range page.OptOuts {
			writeOptOut(w, &page.OptOuts[i])
			if page.OptOuts[i].End != nil {
				writeTurn(w, page.OptOuts[i].End)
			}
		}
	}, page.Masked, page.NextCursor)
}

// OptoutShowCmd shows one opt-out.
type OptoutShowCmd struct {
	reasonFlag `embed:""`

	Event string `arg:"" help:"The opt-out's event, as optout list prints it."`
}

// Run prints it with its history.
func (c *OptoutShowCmd) Run(g *terminal.Globals) error {
	var v v1.OptOutShown
	raw, err := get(g, "/v1/opt-outs/"+url.PathEscape(c.Event), nil, c.Reason, &v)
	if err != nil {
		return err
	}
	return (&listFlags{}).finish(g, raw, nil, func(w io.Writer) {
		writeOptOut(w, &v.OptOut)
		for i := range v.History {
			writeTurn(w, &v.History[i])
		}
	}, v.Masked, "")
}

// InboundCmd lists and shows what persons wrote.
type InboundCmd struct {
	List InboundListCmd `cmd:"" help:"List the texts that persons sent to your numbers, the newest first, with what followed."`
	Show InboundShowCmd `cmd:"" help:"Show one of them."`
}

// InboundListCmd lists inbound texts.
type InboundListCmd struct {
	reviewOwner `embed:""`
	listFlags   `embed:""`
	reasonFlag  `embed:""`

	Until   string `help:"Before this time." placeholder:"TIME"`
	Ask     string `help:"Only what was read as this: stop, unclear, start, yes, help, none or part." placeholder:"WORD"`
	To      string `help:"Only to this number of ours." placeholder:"NUMBER"`
	Account string `help:"Only over this carrier account." placeholder:"NAME"`
}

// Run prints one page.
func (c *InboundListCmd) Run(g *terminal.Globals) error {
	q, err := c.query("owner", c.owner(), "since", c.Since, "until", c.Until, "ask", c.Ask, "to", c.To, "account", c.Account, "cursor", c.Cursor)
	if err != nil {
		return err
	}
	var page v1.InboundPage
	raw, err := get(g, "/v1/inbound", q, c.Reason, &page)
	if err != nil {
		return err
	}
	rows := [][]string{{"event", "position", "recipient", "at", "from", "to", "account", "ask", "match", "words", "followed"}}
	for i := range page.Texts {
		t := &page.Texts[i]
		rows = append(rows, []string{t.Event.String(), t.Position.String(), t.Recipient, stampCell(t.At), t.From, t.To, t.Account, t.Ask, t.Match, t.Words, followed(t)})
	}
	return c.finish(g, raw, rows, func(w io.Writer) {
		for i := range page.Texts {
			writeInbound(w, &page.Texts[i])
		}
	}, page.Masked, page.NextCursor)
}

func followed(t *v1.InboundText) string {
	all := make([]string, len(t.Followed))
	for i, f := range t.Followed {
		all[i] = strings.TrimSpace(strings.ReplaceAll(terminal.Plain(f.What), "_", "-") + " " + terminal.Plain(f.State))
	}
	return strings.Join(all, ", ")
}

func writeInbound(w io.Writer, t *v1.InboundText) {
	from := terminal.Plain(t.From)
	if from == "" {
		from = "recipient " + terminal.Plain(t.Recipient)
	}
	ask := terminal.Plain(t.Ask)
	if t.Match != "" {
		ask += " (\"" + terminal.Plain(t.Match) + "\")"
	}
	fmt.Fprintf(w, "%s  from %s to %s\n    read as   %s\n", terminal.Instant(t.At), from, terminal.Plain(t.To), ask)
	said(w, t.Words, "", t.Erased, t.KeyMissing)
	if len(t.Followed) > 0 {
		fmt.Fprintf(w, "    followed  %s\n", followed(t))
	}
	fmt.Fprintf(w, "    event     %s at %s\n", t.Event, t.Position)
}

// InboundShowCmd shows one inbound text.
type InboundShowCmd struct {
	reviewOwner `embed:""`
	reasonFlag  `embed:""`

	Event string `arg:"" help:"The text's event, as inbound list prints it."`
}

// Run prints it.
func (c *InboundShowCmd) Run(g *terminal.Globals) error {
	q := url.Values{}
	if c.owner() != "" {
		q.Set("owner", c.owner())
	}
	var v v1.InboundShown
	raw, err := get(g, "/v1/inbound/"+url.PathEscape(c.Event), q, c.Reason, &v)
	if err != nil {
		return err
	}
	return (&listFlags{}).finish(g, raw, nil, func(w io.Writer) { writeInbound(w, &v.Text) }, v.Masked, "")
}
