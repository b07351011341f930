package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// ReviewCmd lists, shows and resolves what an officer has yet to read.
type ReviewCmd struct {
	List    ReviewListCmd    `cmd:"" help:"List the replies that wait for an officer, the oldest first, without their words."`
	Show    ReviewShowCmd    `cmd:"" help:"Show the words of one, and what was said before and after. That you read them is recorded."`
	Resolve ReviewResolveCmd `cmd:"" help:"Say what it was."`
}

// reviewOwner is for whom the command speaks.
type reviewOwner struct {
	Operator bool `help:"Of the operator: messages of which it is not certain who wrote them or for which tenant. The key needs the scope operate too."`
}

func (o *reviewOwner) owner() string {
	if o.Operator {
		return "operator"
	}
	return ""
}

// ReviewListCmd lists open reviews.
type ReviewListCmd struct {
	reviewOwner `embed:""`
	reasonFlag  `embed:""`

	State   string `help:"open, resolved or all: what is open first, then what is resolved, the latest first." enum:"open,resolved,all" default:"open"`
	Program string `help:"With --state resolved or all: only of numbers from which this program may send." placeholder:"NAME"`
	Kind    string `help:"Only these: unclear, unreadable, start, held or unplaced." placeholder:"KIND"`
	Limit   int    `help:"How many at most, 1 to 200." default:"50"`
	Cursor  string `help:"Go on after the page before: what it printed as its cursor." placeholder:"CURSOR"`
}

// Run prints one page.
func (c *ReviewListCmd) Run(g *terminal.Globals) error {
	if c.State != "open" {
		return c.resolved(g)
	}
	if c.Program != "" {
		return terminal.UsageError("--program needs --state resolved or --state all")
	}
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodPost, Path: "/v1/reviews/search", Reads: true,
		Body: v1.ReviewSearch{Owner: c.owner(), Kind: c.Kind, Limit: &c.Limit, Cursor: c.Cursor}})
	if err != nil {
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var page v1.ReviewPage
	if json.Unmarshal(raw, &page) != nil || page.Reviews == nil {
		return errNotOurs
	}
	if len(page.Reviews) == 0 {
		_, err := fmt.Fprintln(g.Stdout, "Nothing is under review.")
		return err
	}
	t := terminal.Table(g.Stdout)
	for _, r := range page.Reviews {
		more := terminal.Plain(r.Unplaced)
		if r.Repeats > 0 {
			more = strings.TrimSpace(more + " and " + terminal.Count(r.Repeats, "older one"))
		}
		fmt.Fprintf(t, "%s\t%s\tsince %s\tto %s\t%s\n", r.Id, terminal.Plain(r.Kind), terminal.Instant(r.Since), terminal.Plain(r.To), more)
	}
	if err := t.Flush(); err != nil || page.NextCursor == "" {
		return err
	}
	_, err = fmt.Fprintf(g.Stdout, "There are more: --cursor %s\n", terminal.Plain(page.NextCursor))
	return err
}

// resolved prints a page of reviews that are resolved, or of all.
func (c *ReviewListCmd) resolved(g *terminal.Globals) error {
	f := listFlags{Limit: c.Limit}
	q, err := f.query("owner", c.owner(), "state", c.State, "kind", c.Kind, "program", c.Program, "cursor", c.Cursor)
	if err != nil {
		return err
	}
	var page v1.ReviewList
	raw, err := get(g, "/v1/reviews", q, c.Reason, &page)
	if err != nil {
		return err
	}
	return f.finish(g, raw, make([][]string, 1+len(page.Reviews)), func(w io.Writer) {
		for i := range page.Reviews {
			r := &page.Reviews[i]
			fmt.Fprintf(w, "%s  %s, %s, since %s, to %s\n", r.Id, terminal.Plain(r.Kind), terminal.Plain(r.State), terminal.Instant(r.Since), terminal.Plain(r.To))
			if r.End != nil {
				writeTurn(w, r.End)
			}
		}
	}, page.Masked, page.NextCursor)
}

var errNotOurs = client.ErrNotOurs

// ReviewShowCmd shows one review.
type ReviewShowCmd struct {
	reviewOwner `embed:""`
	reasonFlag  `embed:""`

	ID string `arg:"" name:"id" help:"The review's id, as review list prints it."`
}

// Run prints the words and what is around them, in order of time.
func (c *ReviewShowCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	q := url.Values{}
	if c.Operator {
		q.Set("owner", "operator")
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodGet, Path: "/v1/reviews/" + url.PathEscape(c.ID), Query: q, Reason: c.Reason, Reads: true})
	if err != nil {
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var v v1.Review
	if json.Unmarshal(raw, &v) != nil || v.Id.IsZero() {
		return errNotOurs
	}
	var b strings.Builder
	writeReview(&b, &v)
	_, err = io.WriteString(g.Stdout, b.String())
	return err
}

func writeReview(b *strings.Builder, v *v1.Review) {
	row := func(name, format string, a ...any) {
		fmt.Fprintf(b, "%-10s "+format+"\n", append([]any{name}, a...)...)
	}
	row("Review", "%s, %s, since %s", v.Id, terminal.Plain(v.Kind), terminal.Instant(v.Since))
	for i := range v.Words {
		if from := v.Words[i].From; from != "" {
			row("From", "%s", terminal.Plain(from))
			break
		}
	}
	row("To", "%s", terminal.Plain(v.To))
	if v.Unplaced != "" {
		row("Unplaced", "%s; it may be for: %s", terminal.Plain(v.Unplaced), terminal.Plain(strings.Join(v.Tenants, ", ")))
	}
	if len(v.Holds) > 0 {
		row("Stops", "%s, until it is resolved", reaches(v.Holds))
	}
	if v.Repeats > 0 {
		row("Older", "%s of the same kind, resolved with it", terminal.Count(v.Repeats, "reply"))
	}
	if v.Kind == "held" {
		row("Words", "the operator has the words: it is not certain that they are of this person or for this tenant")
		return
	}
	if v.Match != "" {
		row("Read as", "%s, by \"%s\"%s", terminal.Plain(v.Ask), terminal.Plain(v.Match), lists(v))
	} else {
		row("Read as", "%s", terminal.Plain(v.Ask))
	}
	for i := range v.Words {
		writeWords(b, "Words", &v.Words[i])
	}
	for _, m := range v.Messages {
		row("Sent", "%s  %s from %s: \"%s\"", terminal.Instant(m.At), terminal.Plain(string(m.Status)), terminal.Plain(m.From), terminal.Plain(m.Body))
	}
	for i := range v.Texts {
		writeWords(b, "Wrote", &v.Texts[i])
	}
}

// lists says in which language and which version of the word lists the entry is, where that is known.
func lists(v *v1.Review) string {
	if v.Language == "" && v.Lists == "" {
		return ""
	}
	return " (" + strings.TrimSpace(terminal.Plain(v.Language)+" lists "+terminal.Plain(v.Lists)) + ")"
}

// writeWords prints a text of a handset, with what else its octets may say.
func writeWords(b *strings.Builder, name string, w *v1.InboundWords) {
	if why := terminal.Lost(w.Erased, w.KeyMissing); why != "" {
		fmt.Fprintf(b, "%-10s %s  (%s)\n", name, terminal.Instant(w.At), why)
		return
	}
	fmt.Fprintf(b, "%-10s %s  \"%s\"", name, terminal.Instant(w.At), terminal.Plain(w.Text))
	for _, o := range w.Others {
		fmt.Fprintf(b, ", or \"%s\"", terminal.Plain(o))
	}
	if w.Unreadable {
		fmt.Fprintf(b, ", not readable as text: %s", terminal.Plain(w.Octets))
	}
	fmt.Fprintln(b)
}

func reaches(all []v1.Reach) string {
	out := make([]string, len(all))
	for i, r := range all {
		out[i] = strings.TrimSpace(terminal.Plain(string(r.Scope)) + " " + terminal.Plain(r.Name))
	}
	return strings.Join(out, ", ")
}

// ReviewResolveCmd resolves reviews.
type ReviewResolveCmd struct {
	reviewOwner `embed:""`

	IDs      []string `arg:"" name:"id" help:"The reviews' ids. Several at once only with --as stop or clear." sep:"none"`
	As       string   `help:"What it was: stop (a revocation), narrow (a revocation of exactly --scope and --name), clear (none), or place (the operator: it is of the person with --number)." required:"" enum:"stop,narrow,clear,place" placeholder:"OUTCOME"`
	Evidence string   `help:"Why. It is encrypted like a message's text." required:"" placeholder:"TEXT"`
	Scope    string   `help:"For narrow: sender, program, legal_entity or tenant." placeholder:"SCOPE"`
	Name     string   `help:"For narrow: the sender ID, program or legal entity." placeholder:"NAME"`
	Number   string   `help:"For place: the person's phone number." placeholder:"NUMBER"`
	Country  string   `help:"For place: the country of a national number (ISO 3166-1, such as US)." placeholder:"CC"`
	Tenant   string   `help:"For place: for whom the message was, if several tenants can be meant." placeholder:"NAME"`
}

// Run answers when it is in force.
func (c *ReviewResolveCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	if len(c.IDs) > 1 {
		return c.many(ctx, g, cl)
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodPost, Path: "/v1/reviews/" + url.PathEscape(c.IDs[0]) + "/resolve", Body: v1.ReviewResolution{As: c.As, Owner: c.owner(),
		Scope: c.Scope, Name: c.Name, Number: c.Number, Country: c.Country, Tenant: c.Tenant, Evidence: c.Evidence}})
	if err != nil {
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var r v1.ReviewResolved
	if json.Unmarshal(raw, &r) != nil || r.Event.IsZero() {
		return &terminal.ExitError{Code: terminal.ExitUnknown, Err: errNotOurs}
	}
	said := "it stops nothing"
	switch {
	case !r.Placed.IsZero():
		said = "its words are in the person's stream (event " + r.Placed.String() + ")"
	case len(r.Reaches) > 0:
		said = "stopped: " + reaches(r.Reaches)
	}
	_, err = fmt.Fprintf(g.Stdout, "Resolved as %s, in force from position %s on (event %s); %s.\n", c.As, r.Position, r.Event, said)
	return err
}

func (c *ReviewResolveCmd) many(ctx context.Context, g *terminal.Globals, cl *client.Client) error {
	if c.As != "stop" && c.As != "clear" {
		return terminal.UsageError("several reviews are resolved at once only with --as stop or --as clear")
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodPost, Path: "/v1/reviews/resolve", Body: v1.ReviewsResolution{Ids: c.IDs, As: c.As, Owner: c.owner(), Evidence: c.Evidence}})
	if err != nil {
		return client.Failed(g, err)
	}
	var v v1.ReviewResults
	if json.Unmarshal(raw, &v) != nil || len(v.Results) != len(c.IDs) {
		return &terminal.ExitError{Code: terminal.ExitUnknown, Err: errNotOurs}
	}
	failed := 0
	for _, r := range v.Results {
		if r.Event.IsZero() {
			failed++
		}
	}
	if g.JSON {
		err = g.PrintJSON(raw)
	} else {
		t := terminal.Table(g.Stdout)
		for _, r := range v.Results {
			if r.Event.IsZero() {
				fmt.Fprintf(t, "%s\tnot resolved: %s\n", terminal.Plain(r.Id), terminal.Plain(r.Detail))
			} else {
				fmt.Fprintf(t, "%s\tresolved as %s at %s (event %s)\n", terminal.Plain(r.Id), c.As, r.Position, r.Event)
			}
		}
		err = t.Flush()
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("of %s %d were not resolved", terminal.Count(len(c.IDs), "review"), failed)
	}
	return err
}
