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
	"github.com/chirograph/chirograph/domain/event"
)

// reasonFlag is why a person reads.
type reasonFlag struct {
	Reason string `help:"Why you read it. It is recorded with what you are shown; write no personal data." placeholder:"TEXT"`
}

// AuditLogCmd shows the audit log.
type AuditLogCmd struct {
	listFlags `embed:""`

	Until  string `help:"Only before this time." placeholder:"TIME"`
	By     string `help:"Only what the API key with this id did." placeholder:"KEY"`
	Type   string `help:"Only PersonalDataRead, KeyUsed, ExportAsked, ExportEnded, ExportDownloaded, ExportDeleted, MasterKeyRotated or WebhookChanged." placeholder:"TYPE"`
	Tenant string `help:"Of another tenant; * is everything. The key needs the scope operate too." placeholder:"NAME"`
	All    bool   `help:"All pages, of --limit entries each."`
}

// Run prints a page, or all of them.
func (c *AuditLogCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	in, err := c.location()
	if err != nil {
		return err
	}
	q, err := c.query("since", c.Since, "until", c.Until, "key", c.By, "type", c.Type, "tenant", c.Tenant, "cursor", c.Cursor)
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
func (c *AuditLogCmd) pages(ctx context.Context, g *terminal.Globals, cl *client.Client, q url.Values, in *time.Location) error {
	none := true
	call := &client.Call{Method: http.MethodGet, Path: "/v1/audit/log", Query: q, Reads: true}
	return pages(ctx, g, cl, call, func(p *v1.AuditLogPage) bool { return p.Entries != nil }, func(page *v1.AuditLogPage, raw []byte, first bool) (string, error) {
		none = none && len(page.Entries) == 0
		err := inFormat(c.Format, g, raw, func() error { return c.csv(g.Stdout, page, in, first) }, func() error { return c.text(g.Stdout, page, in) })
		switch {
		case err != nil || page.NextCursor != "" && c.All:
			return page.NextCursor, err
		case c.Format == "json":
		case page.NextCursor != "":
			_, err = fmt.Fprintf(g.Stderr, "There are more: --all, or --cursor %s\n", terminal.Plain(page.NextCursor))
		case none && c.Format == "text":
			_, err = fmt.Fprintln(g.Stdout, "Nothing is recorded.")
		}
		return "", err
	}, func(cursor string) { q.Set("cursor", cursor) })
}

func (c *AuditLogCmd) text(w io.Writer, page *v1.AuditLogPage, in *time.Location) error {
	var b strings.Builder
	for i := range page.Entries {
		e := &page.Entries[i]
		b.WriteString(terminal.Instant(e.Time))
		if local := c.local(e.Time, in); local != "" {
			b.WriteString("   " + local)
		}
		b.WriteString("\n")
		for _, line := range wrapped(terminal.Plain(e.Sentence), 90) {
			b.WriteString("    " + line + "\n")
		}
		for _, line := range namedIn(e) {
			b.WriteString("    " + line + "\n")
		}
		tenant := "the operator"
		if e.Tenant != "" {
			tenant = terminal.Plain(e.Tenant)
		}
		fmt.Fprintf(&b, "    Tenant: %s   Event: %s at %s\n\n", tenant, e.Id, e.Position)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mostNamed is how many ids a text names; the other formats have all of them.
const mostNamed = 3

// namedIn is which recipient and which messages or events an entry is about, where these are a few.
func namedIn(e *v1.AuditEntry) (lines []string) {
	if !strings.HasPrefix(e.Type, "PersonalDataRead.") {
		return nil
	}
	var d event.PersonalDataRead
	if json.Unmarshal(e.Data, &d) != nil {
		return nil
	}
	var subjects, ids []string
	known := map[string]bool{}
	add := func(to *[]string, id string) {
		if !known[id] {
			known[id], *to = true, append(*to, id)
		}
	}
	for i := range d.Reads {
		if s := d.Reads[i].Subject; !s.IsZero() {
			add(&subjects, s.String())
		}
		for _, id := range d.Reads[i].Events {
			add(&ids, id.String())
		}
	}
	for _, x := range []struct {
		name string
		ids  []string
	}{{"Recipient", subjects}, {"What", ids}} {
		if n := len(x.ids); n > mostNamed {
			lines = append(lines, fmt.Sprintf("%s: %s and %d more; --format csv names all.", x.name, x.ids[0], n-1))
		} else if n > 0 {
			lines = append(lines, x.name+": "+strings.Join(x.ids, ", "))
		}
	}
	return lines
}

// auditRow is what the data of an entry adds to its row of a table.
type auditRow struct{ call, shown, recipient, events, scope, times, refused, export string }

// rowsOf are the rows of an entry, at least one.
func rowsOf(e *v1.AuditEntry) (key, reason string, rows []auditRow) {
	name, _, _ := strings.Cut(e.Type, ".")
	switch name {
	case "PersonalDataRead":
		var d event.PersonalDataRead
		if json.Unmarshal(e.Data, &d) == nil {
			for _, r := range d.Reads {
				row := auditRow{call: r.Call, shown: strings.Join(r.Shown, " "), events: joined(r.Events, " "), times: strconv.Itoa(r.Times)}
				if !r.Subject.IsZero() {
					row.recipient = r.Subject.String()
				}
				rows = append(rows, row)
			}
		}
		key, reason = d.Key, d.Reason
	case "KeyUsed":
		var d event.KeyUsed
		if json.Unmarshal(e.Data, &d) == nil {
			for _, u := range d.Calls {
				rows = append(rows, auditRow{scope: u.Scope, times: strconv.FormatInt(u.Times, 10), refused: strconv.FormatInt(u.Refused, 10)})
			}
		}
		key = d.Key
	default: // an export's
		var d struct {
			By, Reason string
			Export     event.ID
		}
		if json.Unmarshal(e.Data, &d) == nil {
			if d.Export.IsZero() {
				d.Export = e.Id
			}
			rows = append(rows, auditRow{export: d.Export.String()})
		}
		key, reason = d.By, d.Reason
	}
	if len(rows) == 0 {
		rows = append(rows, auditRow{})
	}
	return key, reason, rows
}

func (c *AuditLogCmd) csv(w io.Writer, page *v1.AuditLogPage, in *time.Location, first bool) error {
	out := csv.NewWriter(w)
	if first {
		_ = out.Write([]string{"time", "local_time", "type", "tenant", "key", "sentence", "reason", "call", "shown", "recipient", "events", "scope", "times", "refused", "export", "event", "position"})
	}
	for i := range page.Entries {
		e := &page.Entries[i]
		key, reason, rows := rowsOf(e)
		for _, r := range rows {
			row := []string{stampCell(e.Time), c.local(e.Time, in), e.Type, e.Tenant, key, e.Sentence, reason, r.call, r.shown, r.recipient, r.events, r.scope, r.times, r.refused, r.export,
				e.Id.String(), e.Position.String()}
			for j := range row {
				row[j] = terminal.Cell(terminal.Plain(row[j]))
			}
			_ = out.Write(row)
		}
	}
	out.Flush()
	return out.Error()
}
