package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// SearchCmd finds messages.
type SearchCmd struct {
	zoneFlag   `embed:""`
	reasonFlag `embed:""`

	To        string `help:"To this phone number, with its plus sign and country code; or in its national form, with --country." placeholder:"NUMBER"`
	Reference string `help:"With this reference: your own name for a message or a campaign." placeholder:"TEXT"`
	Status    string `help:"In this status, such as delivered or denied." placeholder:"STATUS"`
	Program   string `help:"Of this program." placeholder:"NAME"`
	Purpose   string `help:"With this purpose, such as marketing." placeholder:"PURPOSE"`
	Sender    string `help:"From this sender ID, as it was asked for or as the message went out." placeholder:"SENDER"`
	Country   string `help:"To recipients in this country (ISO 3166-1, such as US)." placeholder:"CC"`
	Carrier   string `help:"By this carrier account." placeholder:"ACCOUNT"`
	Rule      string `help:"Denied or deferred by this rule, in any of its decisions; or held by a fault, such as hold.pause." placeholder:"RULE"`
	Outcome   string `help:"Whose last decision was allow, deny, defer or hold." placeholder:"OUTCOME"`
	Since     string `help:"Submitted from this time on: a day, or a day and a time." placeholder:"TIME"`
	Until     string `help:"Submitted before this time." placeholder:"TIME"`
	SentSince string `help:"Sent from this time on: the carrier had taken every part." placeholder:"TIME"`
	SentUntil string `help:"Sent before this time." placeholder:"TIME"`
	Count     bool   `help:"Also count what is found: exactly up to 10,000."`
	Format    string `help:"text, json or csv." enum:"text,json,csv" default:"text"`
	Limit     int    `help:"How many at most, 1 to 200." default:"50"`
	All       bool   `help:"All pages, of --limit messages each."`
	Cursor    string `help:"Go on after the page before: what it printed as its cursor." placeholder:"CURSOR"`
}

// Run prints a page, or all of them.
func (c *SearchCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	in, err := c.location()
	if err != nil {
		return err
	}
	q := v1.SearchRequest{To: c.To, Reference: c.Reference, Status: c.Status, Program: c.Program, Purpose: c.Purpose, Sender: c.Sender, Country: c.Country,
		Carrier: c.Carrier, Rule: c.Rule, Outcome: c.Outcome, Count: c.Count, Limit: &c.Limit, Cursor: c.Cursor}
	for _, bound := range []struct {
		flag, text string
		into       *time.Time
	}{{"--since", c.Since, &q.Since}, {"--until", c.Until, &q.Until}, {"--sent-since", c.SentSince, &q.SentSince}, {"--sent-until", c.SentUntil, &q.SentUntil}} {
		if *bound.into, err = timeIn(bound.flag, bound.text, in); err != nil {
			return err
		}
	}
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	if g.JSON {
		c.Format = "json"
	}
	return c.pages(ctx, g, cl, q, in)
}

// pages prints one page after the other, until the last one or as far as was asked for.
func (c *SearchCmd) pages(ctx context.Context, g *terminal.Globals, cl *client.Client, q v1.SearchRequest, in *time.Location) error {
	call := &client.Call{Method: http.MethodPost, Path: "/v1/messages/search", Reason: c.Reason, Reads: true, Body: q}
	return pages(ctx, g, cl, call, func(p *v1.SearchPage) bool { return p.Messages != nil }, func(page *v1.SearchPage, raw []byte, first bool) (string, error) {
		err := inFormat(c.Format, g, raw, func() error { return c.csv(g.Stdout, page, in, first) }, func() error { return c.text(g.Stdout, page, in, first) })
		if err == nil && c.Format != "json" {
			err = c.about(g.Stderr, page, in, first)
		}
		if err != nil || !c.All {
			return "", err
		}
		return page.NextCursor, nil
	}, func(cursor string) {
		q.Cursor, q.Count = cursor, false
		call.Body = q
	})
}

// about says what is true of the page, beside its messages.
func (c *SearchCmd) about(w io.Writer, page *v1.SearchPage, in *time.Location, first bool) error {
	var err error
	say := func(format string, a ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format+"\n", a...)
		}
	}
	if page.Count != nil {
		if n := *page.Count; !page.CountIsAtLeast {
			say("%s in all.", terminal.Count(n, "message"))
		} else {
			say("More than %d messages in all, or as many.", n)
		}
	}
	if first && !page.CompleteSince.IsZero() {
		local := c.local(page.CompleteSince, in)
		if local != "" {
			local = " (" + local + ")"
		}
		say("Messages submitted before %s%s may be missing: the operator can complete the views with chirograph projections rebuild.", terminal.Instant(page.CompleteSince), local)
	}
	if page.NextCursor != "" && !c.All {
		if page.Short {
			say("The search has looked at as many messages as one page may, and is not at its end.")
		}
		say("There are more: --all, or --cursor %s", terminal.Plain(page.NextCursor))
	}
	return err
}

func (c *SearchCmd) text(w io.Writer, page *v1.SearchPage, in *time.Location, first bool) error {
	if first && len(page.Messages) == 0 && page.NextCursor == "" {
		_, err := fmt.Fprintln(w, "No message is found.")
		return err
	}
	t := terminal.Table(w)
	if first && len(page.Messages) > 0 {
		fmt.Fprintln(t, "SUBMITTED\tSTATUS\tTO\tFROM\tPROGRAM\tCARRIER\tSENT\tID")
	}
	for i := range page.Messages {
		m := &page.Messages[i]
		to, from, sent := m.To, m.SentFrom, "not sent"
		if why := terminal.Lost(m.Erased, m.KeyMissing); why != "" {
			to = "(" + why + ")"
		}
		if from == "" {
			from = m.From
		}
		if !m.Sent.IsZero() {
			sent = c.shown(m.Sent, in)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.shown(m.Accepted, in), terminal.Plain(string(m.Status)), terminal.Plain(to), terminal.Plain(from),
			terminal.Plain(m.Program), terminal.Plain(m.Carrier), sent, m.Id)
	}
	return t.Flush()
}

// shown is a time in UTC, and in the zone that was asked for.
func (c *SearchCmd) shown(t time.Time, in *time.Location) string {
	if local := c.local(t, in); local != "" {
		return terminal.Instant(t) + " (" + local + ")"
	}
	return terminal.Instant(t)
}

func (c *SearchCmd) csv(w io.Writer, page *v1.SearchPage, in *time.Location, first bool) error {
	out := csv.NewWriter(w)
	if first {
		_ = out.Write([]string{"id", "submitted", "submitted_local", "sent", "sent_local", "status", "outcome", "to", "erased", "from", "sent_from", "program", "purpose", "country", "carrier", "reference", "segments", "position", "key_missing"})
	}
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	for i := range page.Messages {
		m := &page.Messages[i]
		row := []string{m.Id.String(), stamp(m.Accepted), c.local(m.Accepted, in), stamp(m.Sent), c.local(m.Sent, in), string(m.Status), m.Outcome, m.To, strconv.FormatBool(m.Erased),
			m.From, m.SentFrom, m.Program, m.Purpose, m.Country, m.Carrier, m.Reference, strconv.Itoa(m.Segments), m.Position.String(), strconv.FormatBool(m.KeyMissing)}
		for j := range row {
			row[j] = terminal.Cell(terminal.Plain(row[j]))
		}
		_ = out.Write(row)
	}
	out.Flush()
	return out.Error()
}
