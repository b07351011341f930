package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/ledger"
)

// The engines that a configuration may name.
const (
	engineEmbedded     = "embedded"
	engineKafka        = "kafka"
	engineEventStoreDB = "eventstoredb"
)

// engines are the sections of the engines that nodes can share, by what `engine` says.
func (c *Config) engines() map[string]clusterEngine {
	return map[string]clusterEngine{engineKafka: &c.Kafka, engineEventStoreDB: &c.EventStoreDB}
}

// cluster is where the nodes' ledger is; nil with the embedded engine.
func (c *Config) cluster() clusterEngine { return c.engines()[c.Engine] }

// clusterEngine is the section of a configuration that says where a cluster's ledger is,
// with all else that depends on which engine it is. Its name there is its name in /readyz
// and in metrics too.
type clusterEngine interface {
	// defaults fills in what the file leaves out.
	defaults()
	// read reads the files that the section names, and notes what is wrong with them.
	read(c *Config)
	// check says what keeps the section from being used. Like explain and notes it quotes
	// nothing that is secret.
	check(bad func(path, format string, a ...any))
	// explain says in words where the ledger is.
	explain() string
	// notes are what is allowed and likely to go wrong.
	notes() []string
	// place names what holds the ledger.
	place() string
	// init makes a new ledger, or checks the one that is there. copyOf is how many
	// partitions the original has, for the target of a copy; else 0.
	init(ctx context.Context, copyOf int) (made bool, err error)
	// open opens the ledger. copyOf as above.
	open(ctx context.Context, copyOf int) (clusterLog, error)
	// member takes part in sharing the partitions, under a node's name.
	member(node string) (member, error)
}

// clusterLog is a ledger that nodes share.
type clusterLog interface {
	engine
	Health() (ok bool, since time.Time, detail string)
}

// member is a placement that knows how many nodes take part.
type member interface {
	ledger.Placement
	Members(ctx context.Context) (int, error)
}

// PostgresConfig is where the nodes of a cluster share views, keys and leases.
type PostgresConfig struct {
	URLFile string `yaml:"url_file" file:"" doc:"File with a PostgreSQL URL (postgres://user:password@host/database?sslmode=verify-full) and nothing else. Required with engine kafka or eventstoredb."`
	URL     string `yaml:"url" secret:"" doc:"Instead of url_file, and only as a reference to the environment: ${ENV:NAME}."`

	url string
}

// readCluster reads the files that the cluster's part of the configuration names.
func (c *Config) readCluster() {
	for _, e := range c.engines() {
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

// checkCluster says what keeps the ledger's place from being used.
func (c *Config) checkCluster(bad func(path, format string, a ...any)) {
	if c.Engine == engineEmbedded {
		if c.Data == "" {
			bad("data", "it is missing: name the folder of the ledger")
		}
		return
	}
	e := c.cluster()
	if e == nil {
		bad("engine", "it is embedded, %s", strings.Join(slices.Sorted(maps.Keys(c.engines())), " or "))
		return
	}
	if c.Data != "" {
		bad("data", "with engine %s nothing is kept in a folder: leave it out", c.Engine)
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
		bad("postgres.url_file", "it is missing: the nodes share views, keys and leases in PostgreSQL")
	case p.url != "":
		if err := postgresURL(p.url); err != nil {
			bad("postgres.url_file", "%s", err)
		}
	}
}

// checkSession bounds how long a node may be silent.
func checkSession(path string, session Duration, bad func(path, format string, a ...any)) {
	if s := time.Duration(session); s < 2*time.Second || s > 5*time.Minute {
		bad(path, "it is 2s to 5m")
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

// clusterConfig loads a configuration whose ledger nodes can share.
func clusterConfig(path string) (*Config, error) {
	cfg, err := LoadConfig(path)
	if err != nil {
		return nil, err
	}
	if problems := cfg.Check(); len(problems) > 0 {
		return nil, fmt.Errorf("%s has %s:\n%w", path, count(len(problems), "problem"), Problems(problems))
	}
	if cfg.cluster() == nil {
		return nil, fmt.Errorf("%s names the engine %s, which makes its folder by itself", path, cfg.Engine)
	}
	return cfg, nil
}
