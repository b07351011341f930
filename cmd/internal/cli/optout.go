package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// OptoutCmd records, lifts and looks up opt-outs.
type OptoutCmd struct {
	Add   OptoutAddCmd   `cmd:"" help:"Record that these numbers opted out. Takes effect at once."`
	Lift  OptoutLiftCmd  `cmd:"" help:"End the opt-outs of exactly this scope that are in force now, on evidence. It records no consent."`
	Check OptoutCheckCmd `cmd:"" help:"Ask which numbers opted out."`
	List  OptoutListCmd  `cmd:"" help:"List opt-outs, the newest first, with the evidence and what ended them."`
	Show  OptoutShowCmd  `cmd:"" help:"Show one opt-out with its history."`
}

// optoutFlags are those of add and lift.
type optoutFlags struct {
	Numbers []string `arg:"" name:"number" help:"Phone numbers, in E.164 (+14155550123) or, with --country, in national form." sep:"none"`

	Source   string `help:"Where the request came from: phone, email, web, letter, …" required:"" placeholder:"WORD"`
	Scope    string `help:"How far it reaches: ${enum}." enum:"sender,program,legal_entity,tenant" default:"legal_entity"`
	Program  string `help:"The program that the scope is about; with scope legal_entity: its legal entity. Default: the tenant's default program." placeholder:"NAME"`
	Sender   string `help:"The sender ID, for scope sender." placeholder:"SENDER"`
	Evidence string `help:"The evidence for it. It is encrypted like a message's text. A lift needs it." placeholder:"TEXT"`
	Country  string `help:"Country of national numbers (ISO 3166-1, such as US)." placeholder:"CC"`
}

// OptoutAddCmd records opt-outs.
type OptoutAddCmd struct {
	optoutFlags `embed:""`

	OccurredAt string `help:"When the person said so (RFC 3339). Default: now." placeholder:"TIME"`
}

// OptoutLiftCmd lifts opt-outs.
type OptoutLiftCmd struct {
	optoutFlags `embed:""`
}

// optout is what is sent, to record opt-outs and to lift them. The API, not this program,
// judges the time that a person wrote.
type optout struct {
	v1.OptOutRequest
	OccurredAt string `json:"occurred_at,omitempty"`
}

// Run records one opt-out a number.
func (c *OptoutAddCmd) Run(g *terminal.Globals) error {
	return c.each(g, "/v1/opt-outs", c.OccurredAt, func(number string, a v1.Lifted) string {
		return fmt.Sprintf("%s  opted out, in force from position %s on (event %s)", terminal.Plain(number), a.Position, a.Event)
	})
}

// Run lifts what stands for each number.
func (c *OptoutLiftCmd) Run(g *terminal.Globals) error {
	return c.each(g, "/v1/opt-outs/lift", "", func(number string, a v1.Lifted) string {
		return fmt.Sprintf("%s  %s lifted at %s (event %s): %s", terminal.Plain(number), terminal.Count(len(a.Lifted), "opt-out"), a.Position, a.Event, joined(a.Lifted, ", "))
	})
}

// each makes a call for every number, goes on after a refusal, and ends with the
// worst of what happened.
func (f *optoutFlags) each(g *terminal.Globals, path, occurredAt string, say func(string, v1.Lifted) string) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	refused, unknown := 0, 0
	for i, number := range f.Numbers {
		raw, err := cl.Do(ctx, client.Call{Method: http.MethodPost, Path: path, Body: optout{OccurredAt: occurredAt, OptOutRequest: v1.OptOutRequest{
			Number: number, Country: f.Country, Scope: v1.Scope(f.Scope), Program: f.Program, Sender: f.Sender, Source: f.Source, Evidence: f.Evidence}}})
		var a v1.Lifted // what records an opt-out is answered without Lifted
		if err == nil && (json.Unmarshal(raw, &a) != nil || a.Event.IsZero()) {
			err = &terminal.ExitError{Code: terminal.ExitUnknown, Err: errors.New("the answer does not come from Chirograph's API; check --url")}
		}
		if err != nil {
			if len(f.Numbers) == 1 {
				return client.Failed(g, err)
			}
			var e *terminal.ExitError
			if errors.As(err, &e) && e.Code == terminal.ExitUnknown {
				unknown++
			} else {
				refused++
			}
			fmt.Fprintf(g.Stderr, "number %d of %d: %s\n", i+1, len(f.Numbers), client.Failed(g, err))
			if ctx.Err() != nil {
				return &terminal.ExitError{Code: terminal.ExitUnknown, Err: fmt.Errorf("interrupted at number %d of %d; it does no harm to repeat the whole command", i+1, len(f.Numbers))}
			}
			continue
		}
		if g.JSON {
			err = g.PrintJSON(raw)
		} else {
			_, err = fmt.Fprintln(g.Stdout, say(number, a))
		}
		if err != nil {
			return err
		}
	}
	switch {
	case unknown > 0:
		return &terminal.ExitError{Code: terminal.ExitUnknown, Err: fmt.Errorf("of %d numbers %d were refused, and of %d it is not known whether they were done; it does no harm to repeat the command", len(f.Numbers), refused, unknown)}
	case refused > 0:
		return fmt.Errorf("of %d numbers %d were refused", len(f.Numbers), refused)
	}
	return nil
}

// OptoutCheckCmd asks who opted out.
type OptoutCheckCmd struct {
	Numbers []string `arg:"" optional:"" name:"number" help:"Phone numbers in E.164. Without any, or with -, they are read from standard input, one per line." sep:"none"`

	Program string `help:"Leave out opt-outs that clearly name another program, another legal entity or another program's sender IDs." placeholder:"NAME"`
	Sender  string `help:"Leave out opt-outs that name another sender ID." placeholder:"SENDER"`
	Purpose string `help:"The message's purpose. The answer is the same for all: an opt-out covers every purpose." placeholder:"NAME"`

	unknown int // of how many numbers it is not known
}

// checkBatch is how many numbers one call takes.
const checkBatch = 10_000

// Run asks in batches, each answered as it comes.
func (c *OptoutCheckCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl, err := client.New(g)
	if err != nil {
		return err
	}
	if len(c.Numbers) > 0 && !slices.Equal(c.Numbers, []string{"-"}) {
		done := 0
		for batch := range slices.Chunk(c.Numbers, checkBatch) {
			if err := c.ask(ctx, g, cl, batch, done); err != nil {
				return err
			}
			done += len(batch)
		}
		return c.ended()
	}
	if len(c.Numbers) == 0 && terminal.IsTerminal(g.Stdin) {
		return terminal.UsageError("give phone numbers, or write them to standard input, one per line")
	}
	n, err := terminal.EachBatch(g.Stdin, checkBatch, func(batch []string, before int) error { return c.ask(ctx, g, cl, batch, before) })
	switch {
	case err != nil:
		return err
	case n == 0:
		return terminal.UsageError("there is no number on standard input")
	}
	return c.ended()
}

// ended is an error if of some numbers it is not known whether they opted out.
func (c *OptoutCheckCmd) ended() error {
	if c.unknown == 0 {
		return nil
	}
	return &terminal.ExitError{Code: terminal.ExitUnknown, Err: fmt.Errorf("of %s it is not known whether they opted out; ask again for these, and do not text them before", terminal.Count(c.unknown, "number"))}
}

// ask makes one call; done is how many numbers came before it.
func (c *OptoutCheckCmd) ask(ctx context.Context, g *terminal.Globals, cl *client.Client, batch []string, done int) error {
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodPost, Path: "/v1/opt-outs/check", Reads: true,
		Body: v1.CheckRequest{Numbers: batch, Program: c.Program, Sender: c.Sender, Purpose: v1.Purpose(c.Purpose)}})
	if err != nil {
		var p *client.Refusal
		if errors.As(err, &p) {
			if i, e := strconv.Atoi(strings.TrimPrefix(p.Pointer, "/numbers/")); e == nil {
				err = fmt.Errorf("%w\n  this is about number %d of your list", err, done+i+1)
			}
		}
		return client.Failed(g, err)
	}
	var v v1.CheckResult
	if err := json.Unmarshal(raw, &v); err != nil || len(v.Results) != len(batch) {
		return errors.New("the answer does not come from Chirograph's API; check --url")
	}
	for _, r := range v.Results {
		if r.State == v1.CheckStateUnknown {
			c.unknown++
		}
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	t := terminal.Table(g.Stdout)
	for _, r := range v.Results {
		switch {
		case !r.OptedOut:
			fmt.Fprintf(t, "%s\tmay be texted\n", terminal.Plain(r.Number))
		case len(r.Scopes) == 0:
			fmt.Fprintf(t, "%s\tnot known\t%s\n", terminal.Plain(r.Number), terminal.Plain(r.UnknownBecause))
		}
		for _, s := range r.Scopes {
			scope := terminal.Plain(string(s.Scope))
			if s.Name != "" {
				scope += " " + terminal.Plain(s.Name)
			}
			if s.Unclear {
				scope += " (unclear: a compliance officer must look at it)"
			}
			by := terminal.Plain(s.Source)
			if s.To != "" {
				by += " to " + terminal.Plain(s.To)
			}
			said, known := "said "+terminal.Instant(s.Said), "known "+terminal.Instant(s.Known)
			if s.Repeats > 0 { // the event, its source and its position are the last one's; the times are the first's
				by += ", repeated " + terminal.Count(s.Repeats, "time") + ", the last recorded " + terminal.Instant(s.Event.Time())
				said, known = "first "+said, "first "+known
			}
			fmt.Fprintf(t, "%s\topted out\t%s\t%s\t%s\tby %s\t%s\n", terminal.Plain(r.Number), scope, said, known, by, s.Position)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(g.Stdout, "as of %s\n", joined(v.AsOf, " "))
	return err
}

// joined writes ids or positions one after the other.
func joined[T fmt.Stringer](words []T, between string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w.String()
	}
	return strings.Join(out, between)
}
