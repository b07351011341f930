package cli

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// ReportCmd reports a day, a week or a month of the key's tenant.
type ReportCmd struct {
	Period string `arg:"" enum:"day,week,month" help:"day, week (from Monday on) or month."`
	Date   string `arg:"" optional:"" help:"A date in the period, as 2026-11-27; of a week also 2026-W48, of a month also 2026-11. Default: today."`

	Zone   string `help:"The zone by whose days it is cut, such as America/New_York. Default: the tenant's in the configuration, else UTC." placeholder:"ZONE"`
	Format string `help:"text, json, csv (one table, with every figure) or html (a page for a browser, which prints well)." enum:"text,json,csv,html" default:"text"`
	Out    string `help:"Write it into this file, which only you can read, instead of printing it." type:"path" placeholder:"FILE"`
}

// reportMedia are what the formats are that are no JSON.
var reportMedia = map[string]string{"text": "text/plain", "csv": "text/csv", "html": "text/html"}

// Run prints the report, or writes its file as a whole.
func (c *ReportCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	if g.JSON {
		c.Format = "json"
	}
	q := url.Values{"format": {c.Format}}
	if c.Date != "" {
		q.Set("of", c.Date)
	}
	if c.Zone != "" {
		q.Set("zone", c.Zone)
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodGet, Path: "/v1/audit/reports/" + c.Period, Query: q, Media: reportMedia[c.Format], Reads: true})
	if err != nil {
		return client.Failed(g, err)
	}
	if c.Out == "" {
		_, err = g.Stdout.Write(raw)
		return err
	}
	if err := terminal.WriteWhole(c.Out, raw); err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.Stderr, "The report is in %s.\n", terminal.Plain(c.Out))
	return err
}
