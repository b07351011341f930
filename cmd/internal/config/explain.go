package config

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/words"
)

// Explain says in words what would run. policies says which policies those are; "" leaves
// them out.
func (c *Config) Explain(w io.Writer, policies string) {
	r := terminal.NewRows(w)
	r.Row("Node", "%s, API on http://%s, stops within %s", c.Node, c.Listen, c.Drain)
	if e := c.section(); e != nil {
		r.Row("Ledger", "%s", e.explain())
		r.Row("PostgreSQL", "views, vault, idempotency keys and carrier leases")
	} else {
		r.Row("Data", "%s (%s)", c.Data, state(filepath.Join(c.Data, "ledger.db"), "holds a ledger", "a new ledger will be made"))
	}
	r.Row("Master key", "%s (%s)", c.MasterKey(), state(c.MasterKey(), "exists", "will be made with a new vault"))
	r.Row("Log", "%s and above, as %s, on standard error", c.Log.Level, c.Log.Format)
	built := "built in"
	if c.WorldFile != "" {
		built = c.WorldFile
	}
	r.Row("World data", "%s (%s)", c.World().Version(), built)
	if policies != "" {
		r.Row("Policies", "%s", policies)
	}
	r.Row("Limits", "a carrier is called within %s of the proposal and must answer within another %s; a partition decides at most %d due messages a second, and at most %d messages of each priority wait for a carrier; the process takes about %s of memory",
		c.Limits.CallWindow, c.Limits.AnswerWithin, c.Limits.ReleaseRate, c.Limits.MaxWaiting, c.Limits.Memory)

	fmt.Fprintln(w, "\nCarriers")
	for i := range c.Carriers {
		c.Carriers[i].explain(w)
	}

	fmt.Fprintln(w, "\nRoutes, the first that matches")
	for i, x := range c.Routes {
		fmt.Fprintf(w, "  %d. %s: %s to %s go to %s\n", i+1, x.Rule, or(x.Programs, "all programs"), or(x.Countries, "all countries"), x.Carrier)
	}
	for _, t := range c.Tenants {
		c.explainTenant(w, t)
	}
}

// explainTenant says in words what a tenant may do.
func (c *Config) explainTenant(w io.Writer, t string) {
	fmt.Fprintf(w, "\nTenant %s\n", t)
	for _, k := range c.APIKeys {
		if k.Tenant == t {
			fmt.Fprintf(w, "  key %s has the scopes %s\n", terminal.Plain(k.ID), terminal.Listed(k.Scopes))
		}
	}
	for _, o := range c.Owners {
		if o.Tenant != t {
			continue
		}
		for _, x := range o.Senders {
			fmt.Fprintf(w, "  alone has the sender ID %s\n", x)
		}
		for _, x := range o.LegalEntities {
			fmt.Fprintf(w, "  alone has the legal entity %s\n", terminal.Plain(x))
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
		countries := terminal.Listed(p.Countries)
		if slices.Contains(p.Countries, "*") {
			countries = "all countries"
		}
		fmt.Fprintf(w, "  program %s%s of %s: %s to %s, from %s\n", p.Name, standing, terminal.Plain(p.LegalEntity), terminal.Listed(p.Purposes), countries, terminal.Listed(p.Senders))
		if p.PrefersDuplicate {
			fmt.Fprintf(w, "    if a hand-off is in doubt, the message is sent again, at most three times in all\n")
		}
	}
}

func or(words []string, all string) string {
	if len(words) == 0 {
		return all
	}
	return terminal.Listed(words)
}

func state(path, there, missing string) string {
	if _, err := os.Stat(path); err == nil {
		return there
	}
	return missing
}

// Unreviewed are notes about programs whose marketing the policies deny in a country that they name.
// reviewed is decision.Policy's.
func (c *Config) Unreviewed(reviewed func(country string) bool) (out []string) {
	for _, p := range c.Programs {
		for _, text := range control.Unreviewed(p.Purposes, p.Countries, reviewed) {
			out = append(out, fmt.Sprintf("program %s of tenant %s: %s", p.Name, p.Tenant, text))
		}
	}
	return out
}

// Notes are what is allowed and likely to go wrong.
func (c *Config) Notes() []string {
	var out []string
	note := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	if host, _, err := net.SplitHostPort(c.Listen); err == nil && !IsLoopback(c.Listen) {
		note("the API listens on %s in plain HTTP: others on the network can read keys and texts, unless a TLS proxy is in front of it", host)
	}
	if e := c.section(); e != nil {
		out = append(out, e.notes()...)
	}
	if len(c.APIKeys) == 0 {
		note("there is no API key, so the API refuses every call; `chirograph config key` makes one")
	}
	if len(c.Carriers) == 0 {
		note("there is no carrier, so no message is sent: messages are accepted and held")
	}
	if len(c.Carriers) > 0 && len(c.Routes) == 0 {
		note("there is no route, so no message is sent: messages are accepted and held")
	}
	for _, x := range c.Carriers {
		out = append(out, x.notes()...)
		if !slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Carrier == x.Account }) {
			note("no route uses carrier %s: it gets no messages", x.Account)
		}
		if len(x.Countries) == 0 && onlyEverywhere(c, x.Account) {
			note("nothing says whose national numbers carrier %s may write, because its programs may reach all countries: name them under countries, or a STOP from a number without its country code is held for an operator", x.Account)
		}
		if !x.TLS && !IsLoopback(x.Addr) {
			note("the connection to carrier %s has no TLS: use it only through a VPN or a leased line", x.Account)
		}
		if st, err := os.Stat(x.PasswordFile); x.PasswordFile != "" && err == nil && st.Mode().Perm()&0o007 != 0 {
			note("every user of this machine can read %s: run chmod 600 on it", x.PasswordFile)
		}
	}
	for i, r := range c.Routes {
		for _, before := range c.Routes[:i] {
			if covers(before.Countries, r.Countries) && covers(before.Programs, r.Programs) {
				note("route %s is never used: the earlier route %s takes all its messages", r.Rule, before.Rule)
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
			note("tenant %s has no program in this file: unless the ledger has one already, its messages are refused", t)
		case !standing:
			note("tenant %s has no default program: every message must name one", t)
		}
	}
	out = append(out, sharing(c)...)
	out = append(out, WordNotes(c.Programs, words.Standard().Covers)...)
	for _, p := range c.Programs {
		if len(c.Routes) > 0 && !p.routed(c.Routes) {
			note("program %s of tenant %s: some of its countries have no route", p.Name, p.Tenant)
		}
	}
	return out
}

// onlyEverywhere reports whether there are programs that may send over a carrier, and each may reach all countries.
func onlyEverywhere(c *Config, carrier string) bool {
	found := false
	for _, p := range c.Programs {
		if !slices.ContainsFunc(c.Routes, func(r Route) bool {
			return r.Carrier == carrier && (len(r.Programs) == 0 || slices.Contains(r.Programs, p.Name))
		}) {
			continue
		}
		if slices.ContainsFunc(p.Countries, func(x string) bool { return x != "*" }) {
			return false
		}
		found = true
	}
	return found
}

// covers reports whether a lets every name through that b does. An empty list is all names.
func covers(a, b []string) bool {
	if len(a) == 0 {
		return true
	}
	return len(b) > 0 && !slices.ContainsFunc(b, func(x string) bool { return !slices.Contains(a, x) })
}

// routed reports whether every country of the program has a route.
func (p *Program) routed(routes []Route) bool {
	for _, country := range p.Countries {
		if !slices.ContainsFunc(routes, func(r Route) bool {
			return covers(r.Programs, []string{p.Name}) && (len(r.Countries) == 0 || country != "*" && slices.Contains(r.Countries, country))
		}) {
			return false
		}
	}
	return true
}
