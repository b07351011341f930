package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	smpp "github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// Config is what a configuration file says. `doc` is what docs/configuration.md
// says of a field, `default` what a field is when it is left out. A field with
// `file` is a path, relative to the folder of the configuration file; one with
// `secret` takes nothing but a reference to the environment.
type Config struct {
	Engine        string             `yaml:"engine" default:"embedded" doc:"Where the ledger is: embedded (one machine, in data), kafka or eventstoredb (each with the section of its name, and postgres)."`
	Data          string             `yaml:"data" file:"" doc:"Folder of the ledger, the vault and the views. Required with engine embedded. One process has it at a time."`
	MasterKeyFile string             `yaml:"master_key_file" file:"" default:"master.key in the data folder" doc:"File with the vault's master key: 32 bytes in hexadecimal or base64, readable by this process alone. Made if it and the vault do not exist. Back it up apart from the ledger."`
	Listen        string             `yaml:"listen" default:"127.0.0.1:8080" doc:"The API's address, host:port. It is plain HTTP: put what ends TLS in front of it before it listens beyond loopback."`
	Node          string             `yaml:"node" default:"node-1" doc:"This node's name in the events it writes."`
	Drain         Duration           `yaml:"drain" default:"20s" doc:"How long stopping waits for what is under way. What is unanswered then is in doubt."`
	Log           LogConfig          `yaml:"log" doc:"The process's own log, on standard error. No number and no text is ever in it."`
	Limits        LimitsConfig       `yaml:"limits" doc:"Bounds of the work of one partition (there are 16)."`
	Tenants       []string           `yaml:"tenants" doc:"Names of the tenants: small letters, digits, - and _. A name is in every event and cannot be changed later. Required."`
	APIKeys       []KeyConfig        `yaml:"api_keys" doc:"Who may call the API. chirograph config key makes one."`
	Carriers      []CarrierConfig    `yaml:"carriers" doc:"Carrier accounts, each one SMPP 3.4 transceiver bind."`
	Kafka         KafkaConfig        `yaml:"kafka" doc:"The ledger's topics. chirograph log init makes them."`
	EventStoreDB  EventStoreDBConfig `yaml:"eventstoredb" doc:"The ledger's streams. chirograph log init begins them."`
	Postgres      PostgresConfig     `yaml:"postgres" doc:"The database that the nodes of a cluster share: views, the vault, idempotency keys and carrier leases."`
	Routes        []RouteConfig      `yaml:"routes" doc:"Which carrier takes a message: the first route that matches. In force by chirograph config apply."`
	Programs      []ProgramConfig    `yaml:"programs" doc:"The registered programs. In force by chirograph config apply."`

	path     string
	lines    map[string]int // of a path in the file
	problems []Problem      // what was wrong with files and references
}

// LogConfig is how the process logs.
type LogConfig struct {
	Level  string `yaml:"level" default:"info" doc:"debug, info, warn or error."`
	Format string `yaml:"format" default:"text" doc:"text or json."`
}

// LimitsConfig bounds a partition's work.
type LimitsConfig struct {
	CallWindow   Duration `yaml:"call_window" default:"5s" doc:"How long after it was proposed a hand-off may be called. Stretched to eight times the measured lag of the log."`
	AnswerWithin Duration `yaml:"answer_within" default:"10s" doc:"How long after that a carrier may answer before the hand-off is in doubt. Above every carrier's response_timeout."`
	ReleaseRate  int      `yaml:"release_rate" default:"100" doc:"Scheduled and deferred messages a second that one partition takes up when many fall due together."`
	MaxWaiting   int      `yaml:"max_waiting" default:"2000" doc:"Messages of one priority that are allowed and wait for a carrier, a partition; the others stay undecided."`
}

// KeyConfig is one API key. A key has 256 random bits, so its plain SHA-256 gives
// nothing away and needs neither salt nor a slow hash: there is nothing to guess.
type KeyConfig struct {
	ID     string   `yaml:"id" doc:"Its name in events and logs. Required, unique."`
	SHA256 string   `yaml:"sha256" doc:"SHA-256 of the key, in hexadecimal. Required."`
	Tenant string   `yaml:"tenant" doc:"The tenant whose key it is. Required."`
	Scopes []string `yaml:"scopes" doc:"What it may do: messages:write, messages:read, opt-outs:write, opt-outs:read, control:write, operate. Required."`
}

// CarrierConfig is one account at one message centre; see smpp.Config.
type CarrierConfig struct {
	Account         string   `yaml:"account" doc:"Its name in the ledger, which receipts are matched by: never give it to another account. Required."`
	Addr            string   `yaml:"addr" doc:"The message centre's host:port. Required."`
	TLS             bool     `yaml:"tls" default:"false" doc:"Wrap the connection in TLS; the centre's certificate must be one for its host."`
	SystemID        string   `yaml:"system_id" doc:"For the bind; 1 to 15 characters. Required. (SMPP 3.4 §5.2.1)"`
	PasswordFile    string   `yaml:"password_file" file:"" doc:"File with the bind's password and nothing else; at most 8 characters. (SMPP 3.4 §5.2.2)"`
	Password        string   `yaml:"password" secret:"" doc:"Instead of password_file, and only as a reference to the environment: ${ENV:NAME}."`
	SystemType      string   `yaml:"system_type" doc:"For the bind, if the carrier asks for it; at most 12 characters. (SMPP 3.4 §5.2.3)"`
	Binds           int      `yaml:"binds" default:"0" doc:"Nodes of a cluster that may hold a bind at once; 0: every node. Nodes without one stand by. tps is shared among those that hold one."`
	Window          int      `yaml:"window" default:"64" doc:"Submits that may be unanswered. The carrier says what it allows."`
	TPS             float64  `yaml:"tps" default:"0" doc:"Parts a second that the account allows. 0: no limit of ours; throttling by the carrier slows it down all the same."`
	ResponseTimeout Duration `yaml:"response_timeout" default:"5s" doc:"How long a submit, a bind or enquire_link may be unanswered. Below limits.answer_within. (response_timer)"`
	EnquireLink     Duration `yaml:"enquire_link" default:"30s" doc:"Silence after which enquire_link is sent. Below the idle limits of the carrier and of the firewalls between. (enquire_link_timer)"`
	Alphabet        string   `yaml:"alphabet" default:"gsm7" doc:"What data_coding 0 means there: gsm7 or latin1. (SMPP 3.4 §5.2.19)"`
	HexIDs          bool     `yaml:"hex_ids" default:"false" doc:"This carrier writes ids in hexadecimal in submit_sm_resp and in decimal in receipts."`
	SniffReceipts   bool     `yaml:"sniff_receipts" default:"false" doc:"Take an inbound text that reads like a receipt for one. Only for a carrier that sends receipts with esm_class 0: elsewhere a handset could forge its own delivery."`

	password string
}

// RouteConfig is event.Route.
type RouteConfig struct {
	Rule      string   `yaml:"rule" doc:"Its name, kept with every message that it routes. Required, unique."`
	Countries []string `yaml:"countries" default:"all" doc:"Countries of the recipient (ISO 3166-1 alpha-2)."`
	Programs  []string `yaml:"programs" default:"all" doc:"Names of programs, of every tenant."`
	Carrier   string   `yaml:"carrier" doc:"The carrier account that takes it. Required."`
}

// ProgramConfig is event.ProgramChanged and the tenant whose program it is.
type ProgramConfig struct {
	Tenant           string   `yaml:"tenant" doc:"The tenant whose program it is. Required."`
	Name             string   `yaml:"name" doc:"1 to 60 small letters, digits, - and _. Required, unique within the tenant."`
	LegalEntity      string   `yaml:"legal_entity" doc:"Who sends. A STOP ends all programs of the entity, so write it alike in all of them. Required."`
	Brand            string   `yaml:"brand" doc:"The name that recipients know, for the confirmation of a STOP."`
	Purposes         []string `yaml:"purposes" doc:"marketing, otp, fraud_alert, account, delivery, healthcare, collection, reply or emergency; the first is the default. Required."`
	Countries        []string `yaml:"countries" doc:"Countries it may reach (ISO 3166-1 alpha-2), or * for all. Required."`
	Senders          []string `yaml:"senders" doc:"Its sender IDs, the default first; where one is not legal in a country, the first that is. Required."`
	Priority         int      `yaml:"priority" default:"the purpose's" doc:"9 goes first, 1 last."`
	PrefersDuplicate bool     `yaml:"prefers_duplicate" default:"false" doc:"When a hand-off is in doubt, a second message is better than none. Not for marketing."`
	HelpText         string   `yaml:"help_text" doc:"The answer to HELP; at most 3 segments."`
	StopText         string   `yaml:"stop_text" doc:"The one confirmation of a STOP; at most 3 segments. Without marketing."`
	Default          bool     `yaml:"default" default:"false" doc:"The tenant's program when a message names none. One a tenant."`
}

// Duration is written 500ms, 20s or 1h30m.
type Duration time.Duration

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Path is where in the file, such as carriers[0].addr; "" is the whole of it.
	Path string
	// Line is where that stands, from 1; 0 where nothing stands.
	Line int
	// Text says what is wrong and what to do. It never quotes a value that may be secret.
	Text string
}

// String is one line for a person.
func (p Problem) String() string {
	s := p.Text
	if p.Path != "" {
		s = p.Path + ": " + s
	}
	if p.Line > 0 {
		s = fmt.Sprintf("line %d: %s", p.Line, s)
	}
	return s
}

// Problems are all that keep a file from being read, as one error.
type Problems []Problem

func (p Problems) Error() string {
	var b strings.Builder
	for i, x := range p {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString("  " + x.String())
	}
	return b.String()
}

// maxConfig bounds a configuration file.
const maxConfig = 4 << 20

// LoadConfig reads a file and fills in the defaults. The error lists everything
// that is no configuration: unknown fields, wrong types, what stands twice. What
// does not fit together, or a secret that cannot be read, is for Check.
func LoadConfig(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("%s is larger than 4 MiB: this is no configuration", path)
	}
	cfg, problems := parseConfig(raw, os.LookupEnv)
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s cannot be read as a configuration:\n%w", path, Problems(problems))
	}
	cfg.path = path
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	resolve(reflect.ValueOf(cfg).Elem(), dir)
	for i := range cfg.Carriers {
		cfg.Carriers[i].readPassword(cfg, fmt.Sprintf("carriers[%d]", i))
	}
	cfg.readCluster()
	return cfg, nil
}

// parseConfig decodes a file's bytes; env looks the environment up.
func parseConfig(raw []byte, env func(string) (string, bool)) (*Config, []Problem) {
	d := yaml.NewDecoder(bytes.NewReader(raw))
	var doc yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, []Problem{{Text: "the file is empty"}}
	} else if err != nil {
		return nil, []Problem{{Text: "this is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, []Problem{{Text: "a configuration is one YAML document; something follows it"}}
	}
	cfg := &Config{lines: map[string]int{}}
	w := &walker{env: env, lines: cfg.lines}
	w.document(doc.Content[0], cfg)
	if len(w.wrong) > 0 {
		return nil, w.wrong
	}
	cfg.problems = w.later
	cfg.defaults()
	return cfg, nil
}

func (c *Config) defaults() {
	text := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	span := func(d *Duration, v time.Duration) {
		if *d == 0 {
			*d = Duration(v)
		}
	}
	whole := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	text(&c.Engine, engineEmbedded)
	for _, e := range c.engines() {
		e.defaults()
	}
	text(&c.Listen, "127.0.0.1:8080")
	text(&c.Node, "node-1")
	span(&c.Drain, 20*time.Second)
	text(&c.Log.Level, "info")
	text(&c.Log.Format, "text")
	span(&c.Limits.CallWindow, 5*time.Second)
	span(&c.Limits.AnswerWithin, 10*time.Second)
	whole(&c.Limits.ReleaseRate, 100)
	whole(&c.Limits.MaxWaiting, 2000)
	for i := range c.Carriers {
		x := &c.Carriers[i]
		whole(&x.Window, 64)
		span(&x.ResponseTimeout, 5*time.Second)
		span(&x.EnquireLink, 30*time.Second)
		text(&x.Alphabet, string(sms.GSM7))
	}
}

// resolve makes the paths in a configuration absolute: its fields with a `file` tag.
func resolve(v reflect.Value, dir string) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			resolve(v.Index(i), dir)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if _, file := f.Tag.Lookup("file"); !file {
				resolve(v.Field(i), dir)
			} else if p := v.Field(i).String(); p != "" && !filepath.IsAbs(p) {
				v.Field(i).SetString(filepath.Join(dir, p))
			}
		}
	}
}

func (x *CarrierConfig) readPassword(c *Config, path string) {
	x.password = x.Password
	if x.PasswordFile == "" {
		return
	}
	x.password = c.readSecret(path+".password_file", x.PasswordFile, "the file is empty; leave the field out if the carrier asks for no password")
}

// cause is an error without the path that it repeats.
func cause(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

func (c *Config) note(to *[]Problem, path, text string) {
	*to = append(*to, Problem{Path: path, Line: c.line(path), Text: text})
}

// line is where a path stands, or where the nearest thing around it does.
func (c *Config) line(path string) int {
	for {
		if n, ok := c.lines[path]; ok {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return 0
		}
		path = path[:i]
	}
}

// Check says everything that keeps the configuration from running, in the order
// of the file. It reads nothing but what LoadConfig read.
func (c *Config) Check() []Problem {
	out := slices.Clone(c.problems)
	bad := func(path, format string, a ...any) { c.note(&out, path, fmt.Sprintf(format, a...)) }

	c.checkCluster(bad)
	if host, port, err := net.SplitHostPort(c.Listen); err != nil || port == "" {
		bad("listen", "write host:port, such as 127.0.0.1:8080")
	} else if host == "" {
		bad("listen", "name the host: 127.0.0.1 for this machine alone, 0.0.0.0 for every network")
	}
	if !name(c.Node) {
		bad("node", nameRule)
	}
	if c.Drain < 0 {
		bad("drain", "it must not be negative")
	}
	var level slog.Level
	if level.UnmarshalText([]byte(c.Log.Level)) != nil {
		bad("log.level", "it is debug, info, warn or error")
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		bad("log.format", "it is text or json")
	}
	if c.Limits.CallWindow < 0 {
		bad("limits.call_window", "it must not be negative")
	}
	if c.Limits.AnswerWithin < 0 {
		bad("limits.answer_within", "it must not be negative")
	}
	if c.Limits.ReleaseRate < 0 {
		bad("limits.release_rate", "it must not be negative")
	}
	if c.Limits.MaxWaiting < 0 {
		bad("limits.max_waiting", "it must not be negative")
	}

	if len(c.Tenants) == 0 {
		bad("tenants", "name at least one tenant")
	}
	tenants := once{}
	for i, t := range c.Tenants {
		path := fmt.Sprintf("tenants[%d]", i)
		if !name(t) {
			bad(path, nameRule)
		} else if first := tenants.add(t, path); first != "" {
			bad(path, "this tenant is already %s", first)
		}
	}
	tenant := func(path, t string) {
		switch {
		case t == "":
			bad(path, "it is missing: name one of the tenants")
		case tenants[t] == "":
			bad(path, "%q is not among tenants%s", t, perhaps(t, c.Tenants))
		}
	}

	ids, hashes := once{}, once{}
	for i, k := range c.APIKeys {
		path := fmt.Sprintf("api_keys[%d]", i)
		if k.ID == "" || len(k.ID) > 60 || plain(k.ID) != k.ID {
			bad(path+".id", "give it a name of 1 to 60 characters, for the events that it makes")
		} else if first := ids.add(k.ID, path); first != "" {
			bad(path+".id", "%s has this id already", first)
		}
		if h, err := hex.DecodeString(k.SHA256); err != nil || len(h) != sha256.Size {
			bad(path+".sha256", "write the SHA-256 of the key in 64 hexadecimal digits; `chirograph config key` makes a key and this line")
		} else if first := hashes.add(strings.ToLower(k.SHA256), path); first != "" {
			bad(path+".sha256", "%s has the same key", first)
		}
		tenant(path+".tenant", k.Tenant)
		if len(k.Scopes) == 0 {
			bad(path+".scopes", "name what it may do: %s", listed(allScopes))
		}
		for j, s := range k.Scopes {
			if !slices.Contains(allScopes, s) {
				bad(fmt.Sprintf("%s.scopes[%d]", path, j), "%q is no scope%s", s, perhaps(s, allScopes))
			}
		}
	}

	accounts := once{}
	for i := range c.Carriers {
		x := &c.Carriers[i]
		path := fmt.Sprintf("carriers[%d]", i)
		if !name(x.Account) {
			bad(path+".account", nameRule)
		} else if first := accounts.add(x.Account, path); first != "" {
			bad(path+".account", "%s has this name already", first)
		}
		if host, port, err := net.SplitHostPort(x.Addr); err != nil || host == "" || port == "" {
			bad(path+".addr", "write the message centre's host:port")
		}
		if len(x.SystemID) < 1 || len(x.SystemID) > 15 {
			bad(path+".system_id", "it has 1 to 15 characters")
		}
		if len(x.SystemType) > 12 {
			bad(path+".system_type", "it has at most 12 characters")
		}
		if x.PasswordFile != "" && x.Password != "" {
			bad(path+".password", "give password_file or password, not both")
		} else if len(x.password) > 8 {
			field := path + ".password"
			if x.PasswordFile != "" {
				field += "_file"
			}
			bad(field, "a password has at most 8 characters (SMPP 3.4 §5.2.2)")
		}
		if x.Binds < 0 || x.Binds > 10_000 {
			bad(path+".binds", "it is 0 (every node) to 10000")
		}
		if x.Window < 0 || x.Window > 10_000 {
			bad(path+".window", "it is 1 to 10000")
		}
		if !(x.TPS >= 0 && x.TPS <= 1e6) {
			bad(path+".tps", "it is 0 (no limit) to 1000000")
		}
		if x.ResponseTimeout < 0 {
			bad(path+".response_timeout", "it must not be negative")
		} else if x.ResponseTimeout >= c.Limits.AnswerWithin {
			bad(path+".response_timeout", "it must be below limits.answer_within (%s), or answers come after their hand-off is in doubt", c.Limits.AnswerWithin)
		}
		if x.EnquireLink < 0 {
			bad(path+".enquire_link", "it must not be negative")
		}
		if x.Alphabet != string(sms.GSM7) && x.Alphabet != string(sms.Latin1) {
			bad(path+".alphabet", "it is gsm7 or latin1")
		}
	}

	names := []string{}
	for _, p := range c.Programs {
		names = append(names, p.Name)
	}
	rules := once{}
	for i, r := range c.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		if !name(r.Rule) {
			bad(path+".rule", nameRule)
		} else if first := rules.add(r.Rule, path); first != "" {
			bad(path+".rule", "%s has this name already", first)
		}
		switch {
		case r.Carrier == "":
			bad(path+".carrier", "it is missing: name a carrier's account")
		case accounts[r.Carrier] == "":
			bad(path+".carrier", "%q is no account of carriers%s", r.Carrier, perhaps(r.Carrier, accounts.names()))
		}
		for j, x := range r.Countries {
			if !country(x) {
				bad(fmt.Sprintf("%s.countries[%d]", path, j), "a country is two capital letters (ISO 3166-1); leave countries out for all")
			}
		}
		for j, x := range r.Programs {
			if !slices.Contains(names, x) {
				bad(fmt.Sprintf("%s.programs[%d]", path, j), "%q is none of programs%s", x, perhaps(x, names))
			}
		}
	}

	programs, defaults := once{}, once{}
	for i := range c.Programs {
		p := &c.Programs[i]
		path := fmt.Sprintf("programs[%d]", i)
		tenant(path+".tenant", p.Tenant)
		if !name(p.Name) {
			bad(path+".name", nameRule)
		} else if first := programs.add(p.Tenant+"\x00"+p.Name, path); first != "" {
			bad(path+".name", "%s of the same tenant has this name already", first)
		}
		p.check(func(field, text string) { bad(path+field, "%s", text) })
		if p.Default {
			if first := defaults.add(p.Tenant, path); first != "" {
				bad(path+".default", "%s is the tenant's default already", first)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Problem) int { return a.Line - b.Line })
	return out
}

// check says what the ledger would refuse of a registration.
func (p *ProgramConfig) check(bad func(field, text string)) {
	if p.LegalEntity == "" || len(p.LegalEntity) > 200 || plain(p.LegalEntity) != p.LegalEntity {
		bad(".legal_entity", "name who sends, in at most 200 printable characters")
	}
	if len(p.Brand) > 60 || plain(p.Brand) != p.Brand {
		bad(".brand", "it has at most 60 printable characters")
	}
	if len(p.Purposes) == 0 {
		bad(".purposes", "name at least one purpose")
	}
	for i, x := range p.Purposes {
		if _, ok := ledger.Purposes[x]; !ok {
			bad(fmt.Sprintf(".purposes[%d]", i), fmt.Sprintf("%q is no purpose%s", x, perhaps(x, purposes())))
		}
	}
	if len(p.Countries) == 0 || len(p.Countries) > 300 {
		bad(".countries", `name the countries that it may reach, or "*" for all`)
	}
	for i, x := range p.Countries {
		if x != "*" && !country(x) {
			bad(fmt.Sprintf(".countries[%d]", i), `a country is two capital letters (ISO 3166-1), or "*" for all`)
		}
	}
	if len(p.Senders) == 0 || len(p.Senders) > 200 {
		bad(".senders", "name 1 to 200 sender IDs")
	}
	for i, x := range p.Senders {
		if s, err := sms.ParseSender(x); err != nil || string(s) != x {
			bad(fmt.Sprintf(".senders[%d]", i), "a sender is +E.164 in quotes, a short code of 3 to 8 digits in quotes, or 1 to 11 letters and digits with at least one letter")
		}
	}
	if p.Priority < 0 || p.Priority > 9 {
		bad(".priority", "it is 1 (last) to 9 (first)")
	}
	if p.PrefersDuplicate && slices.Contains(p.Purposes, "marketing") {
		bad(".prefers_duplicate", "a marketing program may not prefer a duplicate")
	}
	for _, t := range []struct{ field, text string }{{".help_text", p.HelpText}, {".stop_text", p.StopText}} {
		if t.text == "" {
			continue
		}
		if _, n, err := sms.Count(t.text, sms.SegmentOptions{}); err != nil || n > 3 {
			bad(t.field, "it has at most 3 segments")
		}
	}
}

const nameRule = "it has 1 to 60 small letters, digits, - and _"

func name(s string) bool {
	return len(s) >= 1 && len(s) <= 60 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func country(s string) bool {
	return len(s) == 2 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

func purposes() []string {
	var out []string
	for p := range ledger.Purposes {
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

// String writes a duration as it is written in a file.
func (d Duration) String() string { return time.Duration(d).String() }

func (c *Config) drain() time.Duration { return time.Duration(c.Drain) }

// masterKey is the file of the vault's master key.
func (c *Config) masterKey() string {
	if c.MasterKeyFile != "" {
		return c.MasterKeyFile
	}
	return filepath.Join(c.Data, "master.key")
}

// logger is the process's own log.
func (c *Config) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // Check has looked
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// clerk is what the file says of a partition's work.
func (c *Config) clerk() ledger.ClerkConfig {
	return ledger.ClerkConfig{CallWindow: time.Duration(c.Limits.CallWindow), AnswerWithin: time.Duration(c.Limits.AnswerWithin),
		ReleaseRate: c.Limits.ReleaseRate, MaxWaiting: c.Limits.MaxWaiting}
}

// keys are the API keys, by hash.
func (c *Config) keys() apiKeys {
	out := apiKeys{}
	for _, k := range c.APIKeys {
		var h [sha256.Size]byte
		if n, err := hex.Decode(h[:], []byte(k.SHA256)); err == nil && n == len(h) {
			out[h] = apiKey{caller: ledger.Caller{Tenant: k.Tenant, Key: k.ID}, scopes: k.Scopes}
		}
	}
	return out
}

// carriers are the accounts, with their passwords.
func (c *Config) carriers() []smpp.Config {
	var out []smpp.Config
	for _, x := range c.Carriers {
		s := smpp.Config{Account: x.Account, Addr: x.Addr, SystemID: x.SystemID, Password: x.password, SystemType: x.SystemType,
			Window: x.Window, TPS: x.TPS, ResponseTimeout: time.Duration(x.ResponseTimeout), EnquireLink: time.Duration(x.EnquireLink),
			Alphabet: sms.Encoding(x.Alphabet), HexIDs: x.HexIDs, SniffReceipts: x.SniffReceipts}
		if x.TLS {
			host, _, _ := net.SplitHostPort(x.Addr) // Check has looked
			s.TLS = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		}
		out = append(out, s)
	}
	return out
}

// routes are the route table.
func (c *Config) routes() []event.Route {
	var out []event.Route
	for _, r := range c.Routes {
		x := event.Route{Rule: r.Rule, Carrier: r.Carrier}
		if len(r.Countries) > 0 { // an empty list is read back as none
			x.Countries = r.Countries
		}
		if len(r.Programs) > 0 {
			x.Programs = r.Programs
		}
		out = append(out, x)
	}
	return out
}

// programs are the registrations of each tenant, in the order of the file.
func (c *Config) programs() map[string][]*event.ProgramChanged {
	out := map[string][]*event.ProgramChanged{}
	for _, p := range c.Programs {
		out[p.Tenant] = append(out[p.Tenant], &event.ProgramChanged{Name: p.Name, LegalEntity: p.LegalEntity, Brand: p.Brand,
			Purposes: p.Purposes, Countries: p.Countries, Senders: p.Senders, Priority: p.Priority, PrefersDuplicate: p.PrefersDuplicate,
			HelpText: p.HelpText, StopText: p.StopText, Default: p.Default})
	}
	return out
}
