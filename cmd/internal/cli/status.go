package cli

import (
	"net/http"
	"net/url"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// StatusCmd shows a message's whole life.
type StatusCmd struct {
	reasonFlag `embed:""`

	ID      string        `arg:"" name:"id" help:"The message's id."`
	Wait    bool          `help:"Wait until the message has reached its end."`
	WaitFor time.Duration `help:"How long --wait waits at most." default:"1m"`
	Events  bool          `help:"Also list the message's events in the ledger, in the order of the log, void ones too."`
}

// Run reads and shows.
func (c *StatusCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	within := time.Duration(0)
	if c.Wait {
		within = c.WaitFor
	}
	m, raw, err := await(ctx, cl, c.ID, "", c.Reason, within)
	if err != nil {
		return client.Failed(g, err)
	}
	if !c.Events || !g.JSON {
		if err := showMessage(g, m, raw); err != nil {
			return err
		}
	}
	if c.Events {
		raw, err := cl.Do(ctx, client.Call{Method: http.MethodGet, Path: "/v1/messages/" + url.PathEscape(c.ID) + "/events", Reason: c.Reason, Reads: true})
		if err != nil {
			return client.Failed(g, err)
		}
		if err := showEvents(g, raw); err != nil {
			return err
		}
	}
	if _, over := endStates[m.Status]; c.Wait && !over {
		return ended(m)
	}
	return nil
}
