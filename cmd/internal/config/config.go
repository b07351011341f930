// Package config is the configuration file: what it may say, how it is loaded, what is
// wrong with one, and how one is explained in words. It opens nothing that a file names
// but certificates, secrets and world data.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/places"
)

// Config is what a configuration file says. `doc` is what docs/configuration.md
// says of a field, `default` what a field is when it is left out; `otherwise` says so
// where that is no value. A field with `file` is a path, relative to the folder of the configuration file; one with
// `secret` takes nothing but a reference to the environment.
type Config struct {
	Engine        string       `yaml:"engine" default:"embedded" doc:"Where the ledger is stored: embedded (on one machine, in the folder data), kafka or eventstoredb. The last two need the section of their name, and postgres."`
	Data          string       `yaml:"data" file:"" doc:"Folder of the ledger, the vault and the views. Required with engine embedded. Only one process can use it at a time."`
	MasterKeyFile string       `yaml:"master_key_file" file:"" otherwise:"master.key in the data folder" doc:"File with the vault's master key: 32 bytes in hexadecimal or base64, which only this process can read. It is made if neither it nor the vault exists. Back it up apart from the ledger. While chirograph vault rotate changes the master key, files of this name with .new and .previous at the end are read too."`
	Listen        string       `yaml:"listen" default:"127.0.0.1:8080" doc:"The API's address, host:port. It is plain HTTP: put a TLS proxy in front of it if it listens on more than loopback."`
	Node          string       `yaml:"node" default:"node-1" doc:"This node's name in the events it writes."`
	Drain         Duration     `yaml:"drain" default:"20s" doc:"How long a node that stops waits for carriers' answers. A hand-off without an answer by then is in doubt."`
	WorldFile     string       `yaml:"world_file" file:"" otherwise:"the built-in world data" doc:"File with world data (area codes, the zones of countries, a zone database) that is used instead of what is built in. chirograph world export writes the built-in one. Give every node of a cluster the same file."`
	Log           Log          `yaml:"log" doc:"The process's own log, on standard error. It never contains a recipient's phone number or a message's text."`
	Limits        Limits       `yaml:"limits" doc:"Limits for each partition."`
	Exports       Exports      `yaml:"exports" doc:"The files of exports (docs/export.md): one zip for each question of a compliance officer."`
	Webhooks      Webhooks     `yaml:"webhooks" doc:"How the endpoints of tenants are called (docs/webhooks.md)."`
	Tenants       []string     `yaml:"tenants" doc:"Names of the tenants: small letters, digits, - and _. A name is in every event and cannot be changed later. Required."`
	Zones         []Zone       `yaml:"zones" doc:"In which zone the reports of a tenant are cut into days, where that is not UTC."`
	APIKeys       []Key        `yaml:"api_keys" doc:"Who may call the API. chirograph config key makes a key."`
	Carriers      []Carrier    `yaml:"carriers" doc:"Carrier accounts. Nodes bind to them as SMPP 3.4 transceivers."`
	Kafka         Kafka        `yaml:"kafka" doc:"The ledger's topics. chirograph log init makes them."`
	EventStoreDB  EventStoreDB `yaml:"eventstoredb" doc:"The ledger's streams. chirograph log init makes them."`
	Postgres      Postgres     `yaml:"postgres" doc:"The database that the nodes of a cluster share: views, the vault, idempotency keys and carrier leases."`
	Routes        []Route      `yaml:"routes" doc:"Which carrier gets a message: that of the first route that matches. chirograph config apply brings them into force."`
	Words         []Word       `yaml:"words" doc:"Words of your own by which inbound texts are read, beside the built-in lists (docs/words-lists.md). All nodes of a cluster need the same."`
	Owners        []Owner      `yaml:"owners" doc:"Which tenant a sender ID or a legal entity belongs to. chirograph config apply brings them into force; the ledger must be at format level 2."`
	Programs      []Program    `yaml:"programs" doc:"The registered programs. chirograph config apply brings them into force."`

	path     string
	lines    map[string]int // of a path in the file
	world    *places.World  // of WorldFile; nil: the built-in one
	problems []Problem      // what was wrong with files and references
}

// Log is how the process logs.
type Log struct {
	Level  string `yaml:"level" default:"info" doc:"debug, info, warn or error."`
	Format string `yaml:"format" default:"text" doc:"text or json."`
}

// Limits bounds a partition's work.
type Limits struct {
	CallWindow   Duration `yaml:"call_window" default:"5s" doc:"How long after a hand-off was proposed the carrier may be called for it. It is extended to eight times the measured lag of the log, if that is longer, and by the time that a slow account takes to write the parts, up to two minutes."`
	AnswerWithin Duration `yaml:"answer_within" default:"10s" doc:"After call_window, how long the carrier may take to answer before the hand-off is in doubt. Must be longer than every carrier's response_timeout."`
	ReleaseRate  int      `yaml:"release_rate" default:"100" doc:"How many scheduled and deferred messages a partition decides per second when many are due at once."`
	Memory       Size     `yaml:"memory" default:"700MB" doc:"About how much memory the process may take; at least 400MB. From it follow the bound of Go's heap (unless GOMEMLIMIT is set), how many bytes of streams are kept in memory, and how many streams may wait. Past that submits are answered 503 with Retry-After."`
	MaxWaiting   int      `yaml:"max_waiting" default:"2000" doc:"For each partition, carrier account and priority: how many allowed messages may wait. Further messages for that account are decided later."`
}

// Exports says where files of exports are kept, and how long.
type Exports struct {
	Keep Duration `yaml:"keep" default:"168h0m0s" doc:"How long a file is kept after it was made; 1h to 8760h."`
	Dir  string   `yaml:"dir" file:"" otherwise:"the folder exports in data; on a cluster: none, and the node makes no exports" doc:"Folder of the files, which are sealed and can be read only by this process's user. Each node needs one of its own, on a disk that outlives the process."`
}

// Webhooks says which addresses of endpoints may be called, and how.
type Webhooks struct {
	Allow []string `yaml:"allow" doc:"Prefixes of addresses that endpoints may have though they are not public, such as 10.1.2.0/24 or 127.0.0.1/32, at any port and also by http. Everything in them can then be reached by whoever may add an endpoint. The metadata services of clouds need their single addresses."`
	Proxy string   `yaml:"proxy" doc:"URL of an HTTP proxy through which endpoints are called, http:// or https://. It must take CONNECT to addresses: names are resolved and checked here. The environment's proxies are never used."`
}

// Prefixes are those of Allow. What is none is left out; the check of the file says so.
func (w *Webhooks) Prefixes() (out []netip.Prefix) {
	for _, text := range w.Allow {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}

// Zone is the zone of one tenant's reports.
type Zone struct {
	Tenant string `yaml:"tenant" doc:"The tenant. Required."`
	Zone   string `yaml:"zone" doc:"The zone's name in the IANA zone database, such as America/New_York. Required."`
}

// Key is one API key. A key has 256 random bits, so its plain SHA-256 gives
// nothing away and needs neither salt nor a slow hash: there is nothing to guess.
type Key struct {
	ID     string   `yaml:"id" doc:"Its name in events and logs. Required, unique."`
	SHA256 string   `yaml:"sha256" doc:"SHA-256 of the key, in hexadecimal. Required."`
	Tenant string   `yaml:"tenant" doc:"The tenant whose key it is. Required."`
	Scopes []string `yaml:"scopes" doc:"What it may do: messages:write, messages:read, changes:read, opt-outs:write, opt-outs:read, opt-outs:lift, reviews:read, reviews:write, evidence:read, inbound:read, audit:read, audit:export, webhooks:read, webhooks:write, control:write, operate. Required."`
}

// Route is event.Route.
type Route struct {
	Rule      string   `yaml:"rule" doc:"Its name, recorded with every message that it routes. Required, unique."`
	Countries []string `yaml:"countries" otherwise:"all" doc:"Countries of the recipient (ISO 3166-1 alpha-2)."`
	Programs  []string `yaml:"programs" otherwise:"all" doc:"Names of programs, of every tenant."`
	Carrier   string   `yaml:"carrier" doc:"The carrier account that gets these messages. Required."`
}

// Owner is what an operator grants to one tenant: see event.OwnerGranted.
type Owner struct {
	Tenant        string   `yaml:"tenant" doc:"The tenant that alone may have them. Required."`
	Senders       []string `yaml:"senders" doc:"Sender IDs, as programs register them."`
	LegalEntities []string `yaml:"legal_entities" doc:"Names of legal entities. They are compared without regard to upper case, lower case and spaces."`
}

// Program is event.ProgramChanged and the tenant whose program it is.
type Program struct {
	Tenant           string   `yaml:"tenant" doc:"The tenant whose program it is. Required."`
	Name             string   `yaml:"name" doc:"1 to 60 small letters, digits, - and _. Required, unique within the tenant."`
	LegalEntity      string   `yaml:"legal_entity" doc:"The company or person that sends. A STOP covers all programs of the same legal entity, so write its name in exactly the same way in all of them. Required."`
	Brand            string   `yaml:"brand" doc:"The name that recipients know. The confirmation of a STOP uses it."`
	Purposes         []string `yaml:"purposes" doc:"marketing, otp, fraud_alert, account, delivery, healthcare, collection, reply or emergency. A message without a purpose gets the strictest of them: marketing, else collection, healthcare, account, delivery, reply, fraud_alert, otp, emergency. Required."`
	Countries        []string `yaml:"countries" doc:"Countries it may reach (ISO 3166-1 alpha-2), or * for all. Required."`
	Senders          []string `yaml:"senders" doc:"Its sender IDs, the default first. In a country where the default is not legal, the first one that is legal there is used. Required."`
	Priority         int      `yaml:"priority" otherwise:"the purpose's" doc:"9 is sent first, 1 last."`
	PrefersDuplicate bool     `yaml:"prefers_duplicate" default:"false" doc:"If a hand-off is in doubt, the message is sent again, at most three times in all. Not for marketing."`
	HelpText         string   `yaml:"help_text" doc:"The answer to HELP; at most 3 segments."`
	StopText         string   `yaml:"stop_text" doc:"The one confirmation of a STOP; at most 3 segments. It must not advertise anything."`
	StartText        string   `yaml:"start_text" otherwise:"a START is not answered" doc:"The answer to a START; at most 3 segments. The ledger must be at format level 2."`
	Default          bool     `yaml:"default" default:"false" doc:"The program of the tenant's messages that name none. One per tenant."`
}

// Duration is written 500ms, 20s or 1h30m.
type Duration time.Duration

// Size is a number of bytes, in a file with its unit: MB or GB.
type Size int64

// String is the size as a file has it.
func (s Size) String() string {
	if s%1_000_000_000 == 0 {
		return fmt.Sprintf("%dGB", int64(s)/1_000_000_000)
	}
	return fmt.Sprintf("%dMB", int64(s)/1_000_000)
}

func parseSize(text string) (Size, error) {
	for unit, n := range map[string]int64{"MB": 1_000_000, "GB": 1_000_000_000} {
		if count, ok := strings.CutSuffix(text, unit); ok {
			k, err := strconv.ParseUint(strings.TrimSpace(count), 10, 20)
			return Size(int64(k) * n), err
		}
	}
	return 0, errors.New("a size has the unit MB or GB")
}

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

// Error is one line a problem.
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

// Load reads a file and fills in the defaults. The error lists everything
// that is no configuration: unknown fields, wrong types, what stands twice. What
// does not fit together, or a secret that cannot be read, is for Check.
func Load(path string) (*Config, error) {
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
		return nil, fmt.Errorf("%s is larger than 4 MiB, so it is not a configuration", path)
	}
	cfg, problems := Parse(raw, os.LookupEnv)
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
		cfg.Carriers[i].read(cfg, fmt.Sprintf("carriers[%d]", i))
	}
	cfg.readLedger()
	if cfg.WorldFile != "" {
		if cfg.world, err = loadWorld(cfg.WorldFile); err != nil {
			cfg.note(&cfg.problems, "world_file", err.Error())
		}
	}
	return cfg, nil
}

// Parse decodes a file's bytes; env looks the environment up.
func Parse(raw []byte, env func(string) (string, bool)) (*Config, []Problem) {
	d := yaml.NewDecoder(bytes.NewReader(raw))
	var doc yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, []Problem{{Text: "the file is empty"}}
	} else if err != nil {
		return nil, []Problem{{Text: "this is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, []Problem{{Text: "the file must be one YAML document: remove the second one, which begins after ---"}}
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

// defaults fills in what the file leaves out: a field's `default`, and for a carrier what
// its adapter takes.
func (c *Config) defaults() {
	fill(reflect.ValueOf(c).Elem())
	for i := range c.Carriers {
		c.Carriers[i].defaults()
	}
}

// fill sets every field that is zero to its `default`. A tag that does not fit its field
// is a mistake in this package.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f, value := v.Field(i), v.Type().Field(i).Tag.Get("default")
			if value == "" {
				fill(f)
			} else if f.IsZero() {
				set(f, value)
			}
		}
	}
}

func set(f reflect.Value, value string) {
	var err error
	switch {
	case f.Type() == durationType:
		var d time.Duration
		d, err = time.ParseDuration(value)
		f.SetInt(int64(d))
	case f.Type() == sizeType:
		var n Size
		n, err = parseSize(value)
		f.SetInt(int64(n))
	case f.Kind() == reflect.String:
		f.SetString(value)
	case f.Kind() == reflect.Int:
		var n int
		n, err = strconv.Atoi(value)
		f.SetInt(int64(n))
	case f.Kind() == reflect.Float64 && value == "0", f.Kind() == reflect.Bool && value == "false":
	default:
		err = errors.New("no such default can be filled in")
	}
	if err != nil {
		panic("config: the default " + value + " of a " + f.Type().String() + ": " + err.Error())
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

// loadWorld reads a file of world data.
func loadWorld(path string) (*places.World, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.New("it cannot be read: " + cause(err))
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, places.MaxFile+1))
	if err != nil {
		return nil, errors.New("it cannot be read: " + cause(err))
	}
	w, err := places.Load(raw)
	if err != nil {
		return nil, fmt.Errorf("it is no world data: %w", err)
	}
	return w, nil
}

// World is the world data of the file's world_file, or the built-in one.
func (c *Config) World() *places.World {
	if c.world != nil {
		return c.world
	}
	return places.BuiltIn()
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
	*to = append(*to, Problem{Path: path, Line: nearest(c.lines, path), Text: text})
}

// nearest is where a path stands, or where the nearest thing around it does.
func nearest(lines map[string]int, path string) int {
	for {
		if n, ok := lines[path]; ok {
			return n
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return 0
		}
		path = path[:i]
	}
}

// String writes a duration as it is written in a file.
func (d Duration) String() string { return time.Duration(d).String() }

// MasterKey is the file of the vault's master key.
func (c *Config) MasterKey() string {
	if c.MasterKeyFile != "" {
		return c.MasterKeyFile
	}
	return filepath.Join(c.Data, "master.key")
}

// Folder is where the files are on a node with a data folder, or without one (""); "": it makes none.
func (x *Exports) Folder(data string) string {
	if x.Dir == "" && data != "" {
		return filepath.Join(data, "exports")
	}
	return x.Dir
}

// Logger is the process's own log.
func (c *Config) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Log.Level)) // Check has looked
	o := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// Of the memory, streams beside those in use get a fourteenth, the store of the folds a tenth, and the newest events of the log a
// sixtieth as they are stored, which is three times that in memory. A tenth bounds the streams that wait, each of which takes
// some 40 bytes.
const (
	memoryOfStreams = 14
	memoryOfFolds   = 10
	memoryOfTail    = 60
	memoryOfBacklog = 10
	waitingStream   = 40
)

// offHeap is what the process takes beside Go's heap, about: SQLite's pages, stacks, code.
const offHeap = 180_000_000

// HeapLimit is where Go's collector begins to work harder to keep a process within that size.
func (s Size) HeapLimit() int64 { return int64(s) - offHeap }

// Folds is how many bytes the store of the folds takes in a process of that size.
func (s Size) Folds() int64 { return int64(s) / memoryOfFolds }

// Tail is how many stored bytes of the log's newest events a process of that size keeps in memory.
func (s Size) Tail() int64 { return int64(s) / memoryOfTail }

// Clerk is what the file says of a partition's work, in a ledger with so many partitions.
func (c *Config) Clerk(partitions int) clerk.Config {
	return clerk.Config{CallWindow: time.Duration(c.Limits.CallWindow), AnswerWithin: time.Duration(c.Limits.AnswerWithin),
		ReleaseRate: c.Limits.ReleaseRate, MaxWaiting: c.Limits.MaxWaiting,
		StreamMemory: int64(c.Limits.Memory) / memoryOfStreams / int64(partitions), MaxBacklog: int(c.Limits.Memory) / memoryOfBacklog / waitingStream / partitions}
}

// RouteTable are the route table.
func (c *Config) RouteTable() []event.Route {
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

// Registrations are the registrations of each tenant, in the order of the file.
func (c *Config) Registrations() map[string][]*event.ProgramChanged {
	out := map[string][]*event.ProgramChanged{}
	for _, p := range c.Programs {
		out[p.Tenant] = append(out[p.Tenant], &event.ProgramChanged{Name: p.Name, LegalEntity: p.LegalEntity, Brand: p.Brand,
			Purposes: p.Purposes, Countries: p.Countries, Senders: p.Senders, Priority: p.Priority, PrefersDuplicate: p.PrefersDuplicate,
			HelpText: p.HelpText, StopText: p.StopText, StartText: p.StartText, Default: p.Default})
	}
	return out
}

// Grants are what the file grants to each tenant, in the order of the file.
func (c *Config) Grants() map[string][]*event.OwnerGranted {
	out := map[string][]*event.OwnerGranted{}
	for _, o := range c.Owners {
		for _, s := range o.Senders {
			out[o.Tenant] = append(out[o.Tenant], &event.OwnerGranted{Sender: s})
		}
		for _, e := range o.LegalEntities {
			out[o.Tenant] = append(out[o.Tenant], &event.OwnerGranted{LegalEntity: e})
		}
	}
	return out
}
