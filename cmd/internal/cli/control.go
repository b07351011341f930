package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// ControlCmd is about programs, routes, policies and pauses.
type ControlCmd struct {
	History ControlHistoryCmd `cmd:"" help:"Show who changed which program, route or policy, and who paused what: when, and how it was before and after."`
}

// ControlHistoryCmd shows control's history.
type ControlHistoryCmd struct {
	listFlags `embed:""`

	Until   string `help:"Only before this time." placeholder:"TIME"`
	Kind    string `help:"Only program, routes, policy, pause, owner, level or record." placeholder:"KIND"`
	Program string `help:"Only what names this program, and the pauses that cover it." placeholder:"NAME"`
	By      string `help:"Only what this key did." placeholder:"KEY"`
	Tenant  string `help:"Of another tenant; * is everything. The key needs the scope operate too." placeholder:"NAME"`
	All     bool   `help:"All pages, of --limit entries each."`
}

// Run prints a page, or all of them.
func (c *ControlHistoryCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	in, err := c.location()
	if err != nil {
		return err
	}
	q, err := c.query("since", c.Since, "until", c.Until, "kind", c.Kind, "program", c.Program, "by", c.By, "tenant", c.Tenant, "cursor", c.Cursor)
	if err != nil {
		return err
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
func (c *ControlHistoryCmd) pages(ctx context.Context, g *terminal.Globals, cl *client.Client, q url.Values, in *time.Location) error {
	call := &client.Call{Method: http.MethodGet, Path: "/v1/control/history", Query: q, Reads: true}
	return pages(ctx, g, cl, call, func(p *v1.ControlHistoryPage) bool { return p.Entries != nil }, func(page *v1.ControlHistoryPage, raw []byte, first bool) (string, error) {
		err := inFormat(c.Format, g, raw, func() error { return c.csv(g.Stdout, page, in, first) }, func() error { return c.text(g.Stdout, page, in, first) })
		if err != nil || page.NextCursor != "" && c.All {
			return page.NextCursor, err
		}
		if page.NextCursor != "" && c.Format != "json" {
			_, err = fmt.Fprintf(g.Stderr, "There are more: --all, or --cursor %s\n", terminal.Plain(page.NextCursor))
		}
		return "", err
	}, func(cursor string) { q.Set("cursor", cursor) })
}

func (c *ControlHistoryCmd) text(w io.Writer, page *v1.ControlHistoryPage, in *time.Location, first bool) error {
	var b strings.Builder
	if first {
		if len(page.Entries) == 0 {
			b.WriteString("Nothing was changed.\n")
		}
		if page.ForeignRecords > 0 {
			fmt.Fprintf(&b, "Control has %s that are no events of this ledger, and are not shown. See docs/operations.md.\n\n", terminal.Count(page.ForeignRecords, "record"))
		}
	}
	for i := range page.Entries {
		e := &page.Entries[i]
		b.WriteString(terminal.Instant(e.At))
		if local := c.local(e.At, in); local != "" {
			b.WriteString("   " + local)
		}
		b.WriteString("\n")
		for _, line := range wrapped(terminal.Plain(e.Sentence), 90) {
			b.WriteString("    " + line + "\n")
		}
		if !e.Ended.IsZero() {
			b.WriteString("    It ended at " + terminal.Instant(e.Ended))
			if local := c.local(e.Ended, in); local != "" {
				b.WriteString(" (" + local + ")")
			}
			b.WriteString(", by event " + e.EndedBy.String() + ".\n")
		}
		by := "no name is recorded"
		if e.By != "" {
			by = terminal.Plain(e.By)
		}
		fmt.Fprintf(&b, "    By: %s", by)
		if e.Tenant != "" {
			b.WriteString("   Tenant: " + terminal.Plain(e.Tenant))
		} else if e.Kind != "owner" {
			b.WriteString("   For: everybody")
		}
		fmt.Fprintf(&b, "   Event: %s at %s\n\n", e.Event, e.Position)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrapped divides a text into lines of at most width characters, at spaces; a longer word has a line of
// its own.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

func (c *ControlHistoryCmd) csv(w io.Writer, page *v1.ControlHistoryPage, in *time.Location, first bool) error {
	out := csv.NewWriter(w)
	if first {
		_ = out.Write([]string{"time", "local_time", "kind", "type", "tenant", "by", "program", "carrier", "sender", "legal_entity", "sentence", "reason", "field", "before", "after", "ended", "event", "position"})
	}
	for i := range page.Entries {
		e := &page.Entries[i]
		changes := e.Changes
		if len(changes) == 0 {
			changes = []v1.ControlChange{{}}
		}
		ended := ""
		if !e.Ended.IsZero() {
			ended = e.Ended.UTC().Format(time.RFC3339Nano)
		}
		for _, x := range changes { // one row a changed field
			row := []string{e.At.UTC().Format(time.RFC3339Nano), c.local(e.At, in), e.Kind, e.Type, e.Tenant, e.By, e.Program, e.Carrier, e.Sender, e.LegalEntity,
				e.Sentence, e.Reason, x.Field, x.Before, x.After, ended, e.Event.String(), e.Position.String()}
			for j := range row {
				row[j] = terminal.Cell(terminal.Plain(row[j]))
			}
			_ = out.Write(row)
		}
	}
	out.Flush()
	return out.Error()
}
