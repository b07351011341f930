package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// pauseFlags are those of pause and resume.
type pauseFlags struct {
	Program string `help:"Of this program alone." placeholder:"NAME"`
	Carrier string `help:"To this carrier account alone." placeholder:"ACCOUNT"`
	Reason  string `help:"Why. Shown on every held message, so without personal data." required:"" placeholder:"TEXT"`
}

// PauseCmd stops sending: of a program, to a carrier, or all of the tenant's.
type PauseCmd struct {
	pauseFlags `embed:""`
}

// ResumeCmd ends a pause of exactly the same program and carrier.
type ResumeCmd struct {
	pauseFlags `embed:""`
}

type pauseRequest struct {
	Program string `json:"program,omitempty"`
	Carrier string `json:"carrier,omitempty"`
	Reason  string `json:"reason"`
}

type pausing struct {
	Event    string `json:"event"`
	Position string `json:"position"`
	InForce  int    `json:"in_force"`
}

// Run answers when the pause is in force everywhere.
func (c *PauseCmd) Run(g *Globals) error {
	return c.call(g, "/v1/pause", "Paused %s: nothing of it leaves any more; messages are accepted and held.")
}

// Run answers when the pause is over everywhere.
func (c *ResumeCmd) Run(g *Globals) error {
	return c.call(g, "/v1/resume", "Resumed %s: what was held is decided again.")
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
	return "everything"
}

func (f *pauseFlags) call(g *Globals, path, said string) error {
	ctx, stop := interruptible()
	defer stop()
	cl, err := g.client()
	if err != nil {
		return err
	}
	raw, err := cl.do(ctx, call{method: http.MethodPost, path: path, body: pauseRequest{Program: f.Program, Carrier: f.Carrier, Reason: f.Reason}})
	if err != nil {
		return g.failed(err)
	}
	if g.JSON {
		return g.printJSON(raw)
	}
	var p pausing
	if err := json.Unmarshal(raw, &p); err != nil || p.Event == "" {
		return &exitError{exitUnknown, errors.New("the answer is not that of Chirograph's API")}
	}
	fmt.Fprintf(g.Stdout, said+"\n", plain(f.what()))
	_, err = fmt.Fprintf(g.Stdout, "In force in %s from %s on (event %s).\n", count(p.InForce, "partition"), plain(p.Position), plain(p.Event))
	return err
}
