package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/policies"
)

// ConfigCmd explains, makes and applies what a node runs by.
type ConfigCmd struct {
	Check ConfigCheckCmd `cmd:"" help:"Say in words what a configuration would run, and what is wrong with it."`
	Key   ConfigKeyCmd   `cmd:"" help:"Make an API key: shown once, with the line for the configuration that holds its hash."`
	Apply ConfigApplyCmd `cmd:"" help:"Put a configuration's programs, routes and policies into the ledger. The node of an embedded ledger must not be running; those of a cluster bring it into force."`
}

// ConfigCheckCmd explains a file.
type ConfigCheckCmd struct {
	File string `arg:"" type:"path" help:"The configuration file (YAML)."`
}

// Run prints the problems, or what would run.
func (c *ConfigCheckCmd) Run(g *Globals) error {
	cfg, err := LoadConfig(c.File)
	if err != nil {
		return err
	}
	problems := cfg.Check()
	notes := cfg.notes()
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
		if err := g.printValue(doc); err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s has %s:\n%w", c.File, count(len(problems), "problem"), Problems(problems))
	}
	if g.JSON {
		return nil
	}
	var b strings.Builder
	cfg.explain(&b)
	if len(notes) > 0 {
		fmt.Fprintln(&b, "\nTo look at:")
		for _, n := range notes {
			fmt.Fprintf(&b, "  - %s\n", n)
		}
	}
	fmt.Fprintln(&b, "\nNothing is wrong with it.")
	_, err = io.WriteString(g.Stdout, b.String())
	return err
}

// explain says in words what would run.
func (c *Config) explain(w io.Writer) {
	r := newRows(w)
	r.Row("Node", "%s, API on http://%s, stops within %s", c.Node, c.Listen, c.Drain)
	if e := c.cluster(); e != nil {
		r.Row("Ledger", "%s", e.explain())
		r.Row("PostgreSQL", "views, vault, idempotency keys and carrier leases")
	} else {
		r.Row("Data", "%s (%s)", c.Data, state(filepath.Join(c.Data, "ledger.db"), "holds a ledger", "a new ledger will be made"))
	}
	r.Row("Master key", "%s (%s)", c.masterKey(), state(c.masterKey(), "exists", "will be made with a new vault"))
	r.Row("Log", "%s and above, as %s, on standard error", c.Log.Level, c.Log.Format)
	if p, err := policies.Builtin(); err == nil {
		revision, digest := p.Bundle()
		r.Row("Policies", "built in, %s, digest %s", revision, digest)
	}
	r.Row("Limits", "a hand-off is called within %s and in doubt %s later; a partition takes up %d due messages a second, and %d wait at a carrier for each priority",
		c.Limits.CallWindow, c.Limits.AnswerWithin, c.Limits.ReleaseRate, c.Limits.MaxWaiting)

	fmt.Fprintln(w, "\nCarriers")
	for _, x := range c.Carriers {
		how := "SMPP 3.4"
		if x.TLS {
			how += " in TLS"
		}
		rate := "no limit of ours a second"
		if x.TPS > 0 {
			rate = fmt.Sprintf("%g parts a second", x.TPS)
		}
		password := "no password"
		switch {
		case x.PasswordFile != "":
			password = "password from " + x.PasswordFile
		case x.password != "":
			password = "password from the environment"
		}
		fmt.Fprintf(w, "  %s: %s to %s as %s, %s\n", x.Account, how, x.Addr, plain(x.SystemID), password)
		fmt.Fprintf(w, "    %d submits unanswered, %s; answers within %s; enquire_link after %s of silence\n", x.Window, rate, x.ResponseTimeout, x.EnquireLink)
		extra := []string{"data_coding 0 is " + x.Alphabet}
		if x.HexIDs {
			extra = append(extra, "ids in hexadecimal in responses, in decimal in receipts")
		}
		if x.SniffReceipts {
			extra = append(extra, "texts that read like receipts are taken for receipts")
		}
		fmt.Fprintf(w, "    %s\n", strings.Join(extra, "; "))
	}

	fmt.Fprintln(w, "\nRoutes, the first that matches")
	for i, x := range c.Routes {
		fmt.Fprintf(w, "  %d. %s: %s to %s go to %s\n", i+1, x.Rule, or(x.Programs, "all programs"), or(x.Countries, "all countries"), x.Carrier)
	}

	for _, t := range c.Tenants {
		fmt.Fprintf(w, "\nTenant %s\n", t)
		for _, k := range c.APIKeys {
			if k.Tenant == t {
				fmt.Fprintf(w, "  key %s may %s\n", plain(k.ID), listed(k.Scopes))
			}
		}
		for i := range c.Programs {
			p := &c.Programs[i]
			if p.Tenant != t {
				continue
			}
			standing := ""
			if p.Default {
				standing = " (default)"
			}
			countries := listed(p.Countries)
			if slices.Contains(p.Countries, "*") {
				countries = "all countries"
			}
			fmt.Fprintf(w, "  program %s%s of %s: %s to %s, from %s\n", p.Name, standing, plain(p.LegalEntity), listed(p.Purposes), countries, listed(p.Senders))
			if p.PrefersDuplicate {
				fmt.Fprintf(w, "    in doubt it prefers a second message to none\n")
			}
		}
	}
}

func or(words []string, all string) string {
	if len(words) == 0 {
		return all
	}
	return listed(words)
}

func state(path, there, missing string) string {
	if _, err := os.Stat(path); err == nil {
		return there
	}
	return missing
}

// notes are what is allowed and likely to go wrong.
func (c *Config) notes() []string {
	var out []string
	note := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && !loopback(c.Listen) {
		note("the API listens on %s in plain HTTP: keys and texts can be read on the way unless TLS ends in front of it", host)
	}
	if e := c.cluster(); e != nil {
		out = append(out, e.notes()...)
	}
	if len(c.APIKeys) == 0 {
		note("there is no API key, so nobody can call the API; `chirograph config key` makes one")
	}
	if len(c.Carriers) == 0 {
		note("there is no carrier, so nothing leaves: messages are decided and wait")
	}
	if len(c.Carriers) > 0 && len(c.Routes) == 0 {
		note("there is no route, so nothing leaves")
	}
	for _, x := range c.Carriers {
		if !slices.ContainsFunc(c.Routes, func(r RouteConfig) bool { return r.Carrier == x.Account }) {
			note("no route leads to carrier %s: it is bound and gets nothing", x.Account)
		}
		if !x.TLS && !loopback(x.Addr) {
			note("carrier %s is reached without TLS: use it through a VPN or a leased line only", x.Account)
		}
		if st, err := os.Stat(x.PasswordFile); x.PasswordFile != "" && err == nil && st.Mode().Perm()&0o007 != 0 {
			note("every user of this machine can read %s; chmod 600 it", x.PasswordFile)
		}
	}
	for i, r := range c.Routes {
		for _, before := range c.Routes[:i] {
			if covers(before.Countries, r.Countries) && covers(before.Programs, r.Programs) {
				note("route %s never takes a message: %s before it matches all that it would", r.Rule, before.Rule)
				break
			}
		}
	}
	for _, t := range c.Tenants {
		programs, standing := 0, false
		for _, p := range c.Programs {
			if p.Tenant == t {
				programs++
				standing = standing || p.Default
			}
		}
		switch {
		case programs == 0:
			note("tenant %s has no program, so all that it sends is refused", t)
		case !standing:
			note("tenant %s has no default program: every message must name one", t)
		}
	}
	for _, p := range c.Programs {
		if len(c.Routes) > 0 && !c.routed(&p) {
			note("program %s of tenant %s: no route takes all that it may send", p.Name, p.Tenant)
		}
	}
	return out
}

// covers: every name that b lets through, a lets through. Empty is all.
func covers(a, b []string) bool {
	if len(a) == 0 {
		return true
	}
	return len(b) > 0 && !slices.ContainsFunc(b, func(x string) bool { return !slices.Contains(a, x) })
}

// routed: every country of the program has a route.
func (c *Config) routed(p *ProgramConfig) bool {
	for _, country := range p.Countries {
		if !slices.ContainsFunc(c.Routes, func(r RouteConfig) bool {
			return covers(r.Programs, []string{p.Name}) && (len(r.Countries) == 0 || country != "*" && slices.Contains(r.Countries, country))
		}) {
			return false
		}
	}
	return true
}

// ConfigKeyCmd makes an API key.
type ConfigKeyCmd struct {
	ID     string   `name:"id" help:"Its name in events and logs." default:"key-1" placeholder:"NAME"`
	Tenant string   `help:"The tenant whose key it is." required:"" placeholder:"NAME"`
	Scopes []string `help:"What it may do. Default: ${default}." default:"messages:write,messages:read,opt-outs:write,opt-outs:read" placeholder:"SCOPE"`
}

// Run prints the key, once, and its hash.
func (c *ConfigKeyCmd) Run(g *Globals) error {
	if !name(c.Tenant) {
		return usageError("--tenant: %s", nameRule)
	}
	if c.ID == "" || plain(c.ID) != c.ID || len(c.ID) > 60 {
		return usageError("--id has 1 to 60 printable characters")
	}
	for _, s := range c.Scopes {
		if !slices.Contains(allScopes, s) {
			return usageError("--scopes: %q is no scope%s", s, perhaps(s, allScopes))
		}
	}
	key := newKey()
	if g.JSON {
		return g.printValue(struct {
			Key    string   `json:"key"`
			ID     string   `json:"id"`
			SHA256 string   `json:"sha256"`
			Tenant string   `json:"tenant"`
			Scopes []string `json:"scopes"`
		}{key, c.ID, hexKey(key), c.Tenant, c.Scopes})
	}
	_, err := fmt.Fprintf(g.Stdout, `The key, shown this once. Whoever calls the API sends it as "Authorization: Bearer …":

  %s

Under api_keys in the configuration; then restart the node. The hash gives the key away to nobody:

  - id: %q
    sha256: "%s"
    tenant: %s
    scopes: ["%s"]
`, key, c.ID, hexKey(key), c.Tenant, strings.Join(c.Scopes, `", "`))
	return err
}

// newKey is a key of 256 random bits, with a prefix by which scanners for leaked
// secrets can tell it.
func newKey() string {
	var b [32]byte
	rand.Read(b[:])
	return "chirograph_" + base64.RawURLEncoding.EncodeToString(b[:])
}

// ConfigApplyCmd makes a file's programs and routes control events.
type ConfigApplyCmd struct {
	File string `arg:"" type:"path" help:"The configuration file (YAML)."`
}

// Run applies it; what the ledger says already makes no new event.
func (c *ConfigApplyCmd) Run(g *Globals) error {
	ctx, stop := interruptible()
	defer stop()
	cfg, err := LoadConfig(c.File)
	if err != nil {
		return err
	}
	if problems := cfg.Check(); len(problems) > 0 {
		return fmt.Errorf("%s has %s; nothing was applied:\n%w", c.File, count(len(problems), "problem"), Problems(problems))
	}
	if err := applyConfig(ctx, cfg); err != nil {
		return fmt.Errorf("not all of it was applied; repeating the command goes on where it stopped: %w", err)
	}
	if g.JSON {
		return g.printValue(struct {
			Tenants  int `json:"tenants"`
			Programs int `json:"programs"`
			Routes   int `json:"routes"`
		}{len(cfg.Tenants), len(cfg.Programs), len(cfg.Routes)})
	}
	where := cfg.Data
	if e := cfg.cluster(); e != nil {
		where = e.place()
	}
	_, err = fmt.Fprintf(g.Stdout, "In the ledger of %s: %s of %s, %s, and the built-in policies. A program that the file does not name stays as it is.\n",
		where, count(len(cfg.Programs), "program"), count(len(cfg.Tenants), "tenant"), count(len(cfg.Routes), "route"))
	return err
}
