package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/words"
	"github.com/chirograph/chirograph/policies"
)

// ConfigCmd explains, makes and applies what a node runs by.
type ConfigCmd struct {
	Check ConfigCheckCmd `cmd:"" help:"Explain in words what a configuration would run, and say what is wrong with it."`
	Key   ConfigKeyCmd   `cmd:"" help:"Make an API key. It is shown once, with the lines for the configuration, which have only its hash."`
	Apply ConfigApplyCmd `cmd:"" help:"Record a configuration's programs, routes and policies in the ledger, which brings them into force. With engine embedded, stop the node first; the nodes of a cluster may keep running."`
}

// ConfigCheckCmd explains a file.
type ConfigCheckCmd struct {
	File string `arg:"" type:"path" help:"The configuration file (YAML)."`
}

// Run prints the problems, or what would run.
func (c *ConfigCheckCmd) Run(g *terminal.Globals) error {
	cfg, err := config.Load(c.File)
	if err != nil {
		return err
	}
	policy, err := policies.Builtin()
	if err != nil {
		return err
	}
	problems := cfg.Check()
	notes := slices.Concat(cfg.Notes(), cfg.Unreviewed(policy.Reviewed), assemble.Sharing(context.Background(), cfg))
	if g.JSON {
		type line struct {
			Path string `json:"path"`
			Line int    `json:"line,omitempty"`
			Text string `json:"text"`
		}
		doc := struct {
			OK       bool     `json:"ok"`
			Problems []line   `json:"problems"`
			Notes    []string `json:"notes"`
		}{len(problems) == 0, []line{}, append([]string{}, notes...)}
		for _, p := range problems {
			doc.Problems = append(doc.Problems, line(p))
		}
		if err := g.PrintValue(doc); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s has %s:\n%w", c.File, terminal.Count(len(problems), "problem"), config.Problems(problems))
	}
	if g.JSON {
		return nil
	}
	var b strings.Builder
	cfg.Explain(&b, builtIn(policy))
	listNotes(&b, notes)
	fmt.Fprintln(&b, "\nNo problem was found.")
	_, err = io.WriteString(g.Stdout, b.String())
	return err
}

func listNotes(w io.Writer, notes []string) {
	if len(notes) == 0 {
		return
	}
	fmt.Fprintln(w, "\nCheck these points:")
	for _, n := range notes {
		fmt.Fprintf(w, "  - %s\n", n)
	}
}

// ConfigKeyCmd makes an API key.
type ConfigKeyCmd struct {
	ID     string   `name:"id" help:"Its name in events and logs." default:"key-1" placeholder:"NAME"`
	Tenant string   `help:"The tenant whose key it is." required:"" placeholder:"NAME"`
	Scopes []string `help:"What it may do. Default: ${default}." default:"messages:write,messages:read,opt-outs:write,opt-outs:read" placeholder:"SCOPE"`
}

// Run prints the key, once, and its hash.
func (c *ConfigKeyCmd) Run(g *terminal.Globals) error {
	if !config.IsName(c.Tenant) {
		return terminal.UsageError("--tenant: %s", config.NameRule)
	}
	if c.ID == "" || terminal.Plain(c.ID) != c.ID || len(c.ID) > 60 {
		return terminal.UsageError("--id must have 1 to 60 printable characters")
	}
	for _, s := range c.Scopes {
		if !slices.Contains(door.Scopes(), s) {
			return terminal.UsageError("--scopes: %q is not a scope%s", s, config.OneOf(s, door.Scopes()))
		}
	}
	key := assemble.NewKey()
	if g.JSON {
		return g.PrintValue(struct {
			Key    string   `json:"key"`
			ID     string   `json:"id"`
			SHA256 string   `json:"sha256"`
			Tenant string   `json:"tenant"`
			Scopes []string `json:"scopes"`
		}{key, c.ID, door.HashKey(key), c.Tenant, c.Scopes})
	}
	_, err := fmt.Fprintf(g.Stdout, `This is the key. It is shown only once. A caller of the API sends it as "Authorization: Bearer …":

  %s

Add these lines under api_keys in the configuration, and restart the node. The key cannot be computed from its hash:

  - id: %q
    sha256: "%s"
    tenant: %s
    scopes: ["%s"]
`, key, c.ID, door.HashKey(key), c.Tenant, strings.Join(c.Scopes, `", "`))
	return err
}

// ConfigApplyCmd makes a file's programs and routes control events.
type ConfigApplyCmd struct {
	File string `arg:"" type:"path" help:"The configuration file (YAML)."`
}

// Run applies it; what the ledger says already makes no new event.
func (c *ConfigApplyCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cfg, err := config.Load(c.File)
	if err != nil {
		return err
	}
	if problems := cfg.Check(); len(problems) > 0 {
		return fmt.Errorf("%s has %s; nothing was applied:\n%w", c.File, terminal.Count(len(problems), "problem"), config.Problems(problems))
	}
	policy, err := policies.Builtin()
	if err != nil {
		return err
	}
	notes := append(cfg.Unreviewed(policy.Reviewed), config.WordNotes(cfg.Programs, words.Standard().Covers)...)
	err = assemble.ApplyConfig(ctx, cfg)
	var refusal *ledger.Refusal
	switch {
	case errors.Is(err, assemble.ErrNothingApplied):
		return err
	case errors.As(err, &refusal):
		return fmt.Errorf("not everything was applied; correct this, and run the command again: %w", err)
	case err != nil:
		return fmt.Errorf("not everything was applied; run the command again, it continues where it stopped: %w", err)
	}
	if g.JSON {
		return g.PrintValue(struct {
			Tenants  int      `json:"tenants"`
			Programs int      `json:"programs"`
			Routes   int      `json:"routes"`
			Notes    []string `json:"notes"`
		}{len(cfg.Tenants), len(cfg.Programs), len(cfg.Routes), append([]string{}, notes...)})
	}
	owners := ""
	if len(cfg.Owners) > 0 {
		owners = "the owners, "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Applied to the ledger in %s: %s%s of %s, %s, and the built-in policies. Programs that the file does not name were not changed.\n",
		cfg.Location(), owners, terminal.Count(len(cfg.Programs), "program"), terminal.Count(len(cfg.Tenants), "tenant"), terminal.Count(len(cfg.Routes), "route"))
	listNotes(&b, notes)
	_, err = io.WriteString(g.Stdout, b.String())
	return err
}

// builtIn says which policies this binary has.
func builtIn(p *policies.Evaluator) string {
	revision, digest := p.Bundle()
	return fmt.Sprintf("built in, %s, digest %s", revision, digest)
}
