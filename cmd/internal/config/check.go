package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/sms"
)

// note is how a check says what is wrong with a path of the file.
type note func(path, format string, a ...any)

// Check says everything that keeps the configuration from running, in the order
// of the file. It reads nothing but what Load read.
func (c *Config) Check() []Problem {
	k := &checker{c: c, out: slices.Clone(c.problems), tenants: once{}, accounts: once{}, owners: owners{map[string]string{}, map[string]string{}}}
	k.ledger()
	k.process()
	k.tenantNames()
	k.keys()
	k.carriers()
	k.routes()
	k.zones()
	k.owned()
	k.programs()
	k.words()
	slices.SortStableFunc(k.out, func(a, b Problem) int { return a.Line - b.Line })
	return k.out
}

// checker goes through a configuration, section by section.
type checker struct {
	c   *Config
	out []Problem
	// tenants and accounts are those of the file; later sections name them.
	tenants, accounts once
	owners            owners
}

func (k *checker) bad(path, format string, a ...any) {
	k.c.note(&k.out, path, fmt.Sprintf(format, a...))
}

// ledger checks what says where the ledger is.
func (k *checker) ledger() {
	c, bad := k.c, k.bad
	if c.Engine == EngineEmbedded {
		if c.Data == "" {
			bad("data", "it is missing: name the folder of the ledger")
		}
		return
	}
	e := c.section()
	if e == nil {
		bad("engine", "it must be embedded, %s", strings.Join(slices.Sorted(maps.Keys(c.sections())), " or "))
		return
	}
	if c.Data != "" {
		bad("data", "engine %s does not use a data folder: leave this field out", c.Engine)
	}
	if c.MasterKeyFile == "" {
		bad("master_key_file", "it is missing: every node of a cluster needs the file, with the same key")
	}
	if c.lines["node"] == 0 {
		bad("node", "it is missing: each node of a cluster needs a name of its own")
	}
	e.check(bad)
	p := &c.Postgres
	switch {
	case p.URL != "" && p.URLFile != "":
		bad("postgres.url", "give url_file or url, not both")
	case p.url == "" && p.URLFile == "":
		bad("postgres.url_file", "it is missing: name a file with the URL of the PostgreSQL database in which the nodes share views, keys and leases")
	case p.url != "":
		if err := postgresURL(p.url); err != nil {
			bad("postgres.url_file", "%s", err)
		}
	}
}

// process checks what is the node's own: its address, its name, its log and its bounds.
func (k *checker) process() {
	c := k.c
	if host, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		k.bad("listen", "write host:port, such as 127.0.0.1:8080")
	} else if host == "" {
		k.bad("listen", "name the host: 127.0.0.1 for this machine alone, 0.0.0.0 for every network")
	}
	if !IsName(c.Node) {
		k.bad("node", NameRule)
	}
	if c.Drain < 0 {
		k.bad("drain", "it must not be negative")
	}
	var level slog.Level
	if level.UnmarshalText([]byte(c.Log.Level)) != nil {
		k.bad("log.level", "it must be debug, info, warn or error")
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		k.bad("log.format", "it must be text or json")
	}
	for i, text := range c.Webhooks.Allow {
		if _, err := netip.ParsePrefix(text); err != nil {
			k.bad(fmt.Sprintf("webhooks.allow[%d]", i), "it must be a prefix of addresses, such as 10.1.2.0/24, or 10.1.2.3/32 for one address")
		}
	}
	if u, err := url.Parse(c.Webhooks.Proxy); c.Webhooks.Proxy != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		k.bad("webhooks.proxy", "it must be a URL such as http://proxy.example.com:3128")
	}
	if keep := time.Duration(c.Exports.Keep); keep < time.Hour || keep > 365*24*time.Hour {
		k.bad("exports.keep", "it must be 1h to 8760h")
	}
	if c.Limits.CallWindow < 0 {
		k.bad("limits.call_window", "it must not be negative")
	}
	if c.Limits.AnswerWithin < 0 {
		k.bad("limits.answer_within", "it must not be negative")
	}
	if c.Limits.ReleaseRate < 0 {
		k.bad("limits.release_rate", "it must not be negative")
	}
	if c.Limits.Memory < leastMemory {
		k.bad("limits.memory", "it must be at least 400MB")
	}
	if c.Limits.MaxWaiting < 0 {
		k.bad("limits.max_waiting", "it must not be negative")
	}
}

// leastMemory is what a node needs to work at all, with its libraries and tables.
const leastMemory = 400_000_000

func (k *checker) tenantNames() {
	if len(k.c.Tenants) == 0 {
		k.bad("tenants", "name at least one tenant")
	}
	for i, t := range k.c.Tenants {
		path := fmt.Sprintf("tenants[%d]", i)
		if !IsName(t) {
			k.bad(path, NameRule)
		} else if first := k.tenants.add(t, path); first != "" {
			k.bad(path, "this tenant is already %s", first)
		}
	}
}

// tenant checks a field that names a tenant.
func (k *checker) tenant(path, t string) {
	switch {
	case t == "":
		k.bad(path, "it is missing: name one of the tenants")
	case k.tenants[t] == "":
		k.bad(path, "%q is not one of the tenants%s", t, perhaps(t, k.c.Tenants))
	}
}

// zones checks which zones the tenants have.
func (k *checker) zones() {
	tenants := once{}
	for i, z := range k.c.Zones {
		path := fmt.Sprintf("zones[%d]", i)
		k.tenant(path+".tenant", z.Tenant)
		if first := tenants.add(z.Tenant, path); first != "" {
			k.bad(path+".tenant", "%s has the zone of this tenant already", first)
		}
		if _, err := k.c.World().Zone(z.Zone); err != nil {
			k.bad(path+".zone", "%v", err)
		}
	}
}

func (k *checker) keys() {
	ids, hashes := once{}, once{}
	for i, x := range k.c.APIKeys {
		path := fmt.Sprintf("api_keys[%d]", i)
		if x.ID == "" || len(x.ID) > 60 || terminal.Plain(x.ID) != x.ID {
			k.bad(path+".id", "give it a name of 1 to 60 characters, for the events that it makes")
		} else if first := ids.add(x.ID, path); first != "" {
			k.bad(path+".id", "%s has this id already", first)
		}
		if h, err := hex.DecodeString(x.SHA256); err != nil || len(h) != sha256.Size {
			k.bad(path+".sha256", "write the SHA-256 of the key in 64 hexadecimal digits; `chirograph config key` makes a key and this line")
		} else if first := hashes.add(strings.ToLower(x.SHA256), path); first != "" {
			k.bad(path+".sha256", "%s has the same key", first)
		}
		k.tenant(path+".tenant", x.Tenant)
		if len(x.Scopes) == 0 {
			k.bad(path+".scopes", "name what it may do: %s", terminal.Listed(door.Scopes()))
		}
		for j, s := range x.Scopes {
			if !slices.Contains(door.Scopes(), s) {
				k.bad(fmt.Sprintf("%s.scopes[%d]", path, j), "%q is not a scope%s", s, OneOf(s, door.Scopes()))
			}
		}
	}
}

func (k *checker) carriers() {
	for i := range k.c.Carriers {
		x := &k.c.Carriers[i]
		path := fmt.Sprintf("carriers[%d]", i)
		if !IsName(x.Account) {
			k.bad(path+".account", NameRule)
		} else if first := k.accounts.add(x.Account, path); first != "" {
			k.bad(path+".account", "%s has this name already", first)
		}
		x.check(path, k.c.Limits.AnswerWithin, k.bad)
		for j, t := range x.TLVs {
			for n, p := range t.Programs {
				k.program(fmt.Sprintf("%s.tlvs[%d].programs[%d]", path, j, n), p, true)
			}
		}
	}
}

// program checks a field that names a program; where owned is true, it may name tenant/program too.
func (k *checker) program(path, name string, owned bool) {
	var names []string
	for _, p := range k.c.Programs {
		if names = append(names, p.Name); name == p.Name || owned && name == p.Tenant+"/"+p.Name {
			return
		}
	}
	k.bad(path, "%q is not a program under programs%s", name, perhaps(name, names))
}

func (k *checker) routes() {
	rules := once{}
	for i, r := range k.c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		if !IsName(r.Rule) {
			k.bad(path+".rule", NameRule)
		} else if first := rules.add(r.Rule, path); first != "" {
			k.bad(path+".rule", "%s has this name already", first)
		}
		switch {
		case r.Carrier == "":
			k.bad(path+".carrier", "it is missing: name a carrier's account")
		case k.accounts[r.Carrier] == "":
			k.bad(path+".carrier", "%q is not an account under carriers%s", r.Carrier, perhaps(r.Carrier, k.accounts.names()))
		}
		for j, x := range r.Countries {
			if wrong := control.WrongCountry(x); wrong != "" {
				k.bad(fmt.Sprintf("%s.countries[%d]", path, j), "%s; leave countries out for all", wrong)
			}
		}
		for j, x := range r.Programs {
			k.program(fmt.Sprintf("%s.programs[%d]", path, j), x, false)
		}
	}
}

func (k *checker) programs() {
	programs, defaults := once{}, once{}
	for i := range k.c.Programs {
		p := &k.c.Programs[i]
		path := fmt.Sprintf("programs[%d]", i)
		k.tenant(path+".tenant", p.Tenant)
		if !IsName(p.Name) {
			k.bad(path+".name", NameRule)
		} else if first := programs.add(p.Tenant+"\x00"+p.Name, path); first != "" {
			k.bad(path+".name", "%s of the same tenant has this name already", first)
		}
		p.check(func(field, text string) { k.bad(path+field, "%s", text) })
		for j, x := range p.Senders {
			if t := k.owners.senders[control.SenderForm(x)]; t != "" && t != p.Tenant {
				k.bad(fmt.Sprintf("%s.senders[%d]", path, j), "owners gives this sender ID to the tenant %s: remove it here, or name this tenant there", t)
			}
		}
		if t := k.owners.entities[control.EntityForm(p.LegalEntity)]; t != "" && t != p.Tenant {
			k.bad(path+".legal_entity", "owners gives this legal entity to the tenant %s: change it here, or name this tenant there", t)
		}
		if p.Default {
			if first := defaults.add(p.Tenant, path); first != "" {
				k.bad(path+".default", "%s is the tenant's default already", first)
			}
		}
	}
}

// check says what the ledger would refuse of a registration.
func (p *Program) check(bad func(field, text string)) {
	if !isEntity(p.LegalEntity) {
		bad(".legal_entity", "name the company or person that sends, in at most 200 printable characters")
	}
	if len(p.Brand) > 60 || terminal.Plain(p.Brand) != p.Brand {
		bad(".brand", "it must have at most 60 printable characters")
	}
	if len(p.Purposes) == 0 {
		bad(".purposes", "name at least one purpose")
	}
	for i, x := range p.Purposes {
		if _, ok := control.Purposes[x]; !ok {
			bad(fmt.Sprintf(".purposes[%d]", i), fmt.Sprintf("%q is not a purpose%s", x, OneOf(x, purposes())))
		}
	}
	if len(p.Countries) == 0 || len(p.Countries) > 300 {
		bad(".countries", `name the countries that it may reach, or "*" for all`)
	}
	for i, x := range p.Countries {
		if wrong := control.WrongCountry(x); x != "*" && wrong != "" {
			bad(fmt.Sprintf(".countries[%d]", i), wrong+`, or "*" for all`)
		}
	}
	if len(p.Senders) == 0 || len(p.Senders) > 200 {
		bad(".senders", "name 1 to 200 sender IDs")
	}
	for i, x := range p.Senders {
		if !isSender(x) {
			bad(fmt.Sprintf(".senders[%d]", i), senderRule)
		}
	}
	if p.Priority < 0 || p.Priority > 9 {
		bad(".priority", "it must be 1 (last) to 9 (first)")
	}
	if p.PrefersDuplicate && slices.Contains(p.Purposes, "marketing") {
		bad(".prefers_duplicate", "a program with the purpose marketing must not send a message twice: set it to false")
	}
	for _, t := range []struct{ field, text string }{{".help_text", p.HelpText}, {".stop_text", p.StopText}, {".start_text", p.StartText}} {
		if t.text == "" {
			continue
		}
		if _, n, err := sms.Count(t.text, sms.SegmentOptions{}); err != nil || n > 3 {
			bad(t.field, "it must have at most 3 segments")
		}
	}
}

// NameRule says how a tenant, an account, a rule or a program is named.
const NameRule = "it must have 1 to 60 small letters, digits, - and _"

// IsName reports whether a name is as NameRule says.
func IsName(s string) bool {
	return len(s) >= 1 && len(s) <= 60 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func purposes() []string {
	var out []string
	for p := range control.Purposes {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// once remembers where a name stood first.
type once map[string]string

// add returns where the name stood before; "" if nowhere.
func (o once) add(name, path string) string {
	if first := o[name]; first != "" {
		return first
	}
	o[name] = path
	return ""
}

func (o once) names() []string {
	var out []string
	for n := range o {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
