package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// pauseFlags are those of pause and resume.
type pauseFlags struct {
	Program string `help:"Only messages of this program." placeholder:"NAME"`
	Carrier string `help:"Only messages to this carrier account." placeholder:"ACCOUNT"`
	Reason  string `help:"Why. It is shown on every held message and kept for ever, so do not write personal data." required:"" placeholder:"TEXT"`
}

// PauseCmd stops sending: of a program, to a carrier, or all of the tenant's.
type PauseCmd struct {
	pauseFlags `embed:""`
}

// ResumeCmd ends a pause of exactly the same program and carrier.
type ResumeCmd struct {
	pauseFlags `embed:""`
}

// Run answers when the pause is in force everywhere.
func (c *PauseCmd) Run(g *terminal.Globals) error {
	return c.call(g, "/v1/pause", "Paused %s: these messages are accepted and held, and no more of them are sent.")
}

// Run answers when the pause is over everywhere.
func (c *ResumeCmd) Run(g *terminal.Globals) error {
	return c.call(g, "/v1/resume", "Resumed %s: the held messages are decided again.")
}

func (f *pauseFlags) what() string {
	switch {
	case f.Program != "" && f.Carrier != "":
		return "program " + f.Program + " to carrier " + f.Carrier
	case f.Program != "":
		return "program " + f.Program
	case f.Carrier != "":
		return "carrier " + f.Carrier
	}
	return "everything that this tenant sends"
}

func (f *pauseFlags) call(g *terminal.Globals, path, said string) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodPost, Path: path, Body: v1.PauseRequest{Program: f.Program, Carrier: f.Carrier, Reason: f.Reason}})
	if err != nil {
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var p v1.Pausing
	if err := json.Unmarshal(raw, &p); err != nil || p.Event.IsZero() {
		return &terminal.ExitError{Code: terminal.ExitUnknown, Err: errors.New("the answer does not come from Chirograph's API; check --url")}
	}
	fmt.Fprintf(g.Stdout, said+"\n", terminal.Plain(f.what()))
	_, err = fmt.Fprintf(g.Stdout, "In force in %s from position %s on (event %s).\n", terminal.Count(p.InForce, "partition"), p.Position, p.Event)
	return err
}
