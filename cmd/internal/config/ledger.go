package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// The engines that a configuration may name.
const (
	EngineEmbedded     = "embedded"
	EngineKafka        = "kafka"
	EngineEventStoreDB = "eventstoredb"
)

// sections are the sections of the engines that nodes can share, by what `engine` says.
func (c *Config) sections() map[string]section {
	return map[string]section{EngineKafka: &c.Kafka, EngineEventStoreDB: &c.EventStoreDB}
}

// section is the section of the engine that the file names; nil with the embedded one.
func (c *Config) section() section { return c.sections()[c.Engine] }

// IsShared reports whether the ledger is one that nodes share.
func (c *Config) IsShared() bool { return c.section() != nil }

// Location names what holds the ledger: a folder, topics or streams.
func (c *Config) Location() string {
	if s := c.section(); s != nil {
		return s.location()
	}
	return c.Data
}

// section is a part of a configuration that says where a ledger is that nodes share, and
// knows what depends on which engine it is. Its name there is its name in /readyz and in
// metrics too.
type section interface {
	// read reads the files that the section names, and notes what is wrong with them.
	read(c *Config)
	// check says what keeps the section from being used. Like explain and notes it quotes
	// nothing that is secret.
	check(bad note)
	// explain says in words where the ledger is.
	explain() string
	// notes are what is allowed and likely to go wrong.
	notes() []string
	// location names what holds the ledger.
	location() string
}

// Postgres is where the nodes of a cluster share views, keys and leases.
type Postgres struct {
	URLFile string `yaml:"url_file" file:"" doc:"File with a PostgreSQL URL (postgres://user:password@host/database?sslmode=verify-full) and nothing else. Required with engine kafka or eventstoredb."`
	URL     string `yaml:"url" secret:"" doc:"Instead of url_file, and only as a reference to the environment: ${ENV:NAME}."`

	url string
}

// Address is the URL, with its password; "" where the file names none.
func (p *Postgres) Address() string { return p.url }

// readLedger reads the files that say how a shared ledger is reached.
func (c *Config) readLedger() {
	for _, e := range c.sections() {
		e.read(c)
	}
	if c.Postgres.url = c.Postgres.URL; c.Postgres.URLFile != "" {
		c.Postgres.url = c.readSecret("postgres.url_file", c.Postgres.URLFile, "the file is empty")
	}
}

// readSecret reads a file that holds one secret. empty is what to say of one that has
// none.
func (c *Config) readSecret(path, file, empty string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		c.note(&c.problems, path, "it cannot be read: "+cause(err))
		return ""
	}
	s := strings.TrimRight(string(raw), "\r\n")
	if s == "" {
		c.note(&c.problems, path, empty)
	}
	return s
}

// checkSession bounds how long a node may be silent.
func checkSession(path string, session Duration, bad note) {
	if s := time.Duration(session); s < 2*time.Second || s > 5*time.Minute {
		bad(path, "it must be 2s to 5m")
	}
}

// postgresURL never quotes the URL: it holds a password.
func postgresURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" {
		return errors.New("it must be a URL, postgres://user:password@host/database?sslmode=verify-full")
	}
	return nil
}

// LoadSound loads a configuration that must have no problem.
func LoadSound(path string) (*Config, error) {
	cfg, err := Load(path)
	if err != nil {
		return nil, err
	}
	problems := slices.DeleteFunc(cfg.Check(), func(p Problem) bool { return carrierPassword.MatchString(p.Path) })
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s has %s:\n%w", path, terminal.Count(len(problems), "problem"), Problems(problems))
	}
	return cfg, nil
}

// carrierPassword is the path of what a command does not need that binds to no carrier: it may be run where the
// environment has no password, by cron for instance.
var carrierPassword = regexp.MustCompile(`^carriers\[\d+\]\.password(_file)?$`)

// LoadShared loads a configuration whose ledger nodes can share.
func LoadShared(path string) (*Config, error) {
	cfg, err := LoadSound(path)
	if err != nil {
		return nil, err
	}
	if !cfg.IsShared() {
		return nil, fmt.Errorf("%s names the engine %s; here it must be kafka or eventstoredb. An embedded ledger is a folder: `chirograph serve` makes it, and `log copy` takes the folder's name", path, cfg.Engine)
	}
	return cfg, nil
}

// IsLoopback reports whether an address, host:port, is one that only this machine reaches.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
