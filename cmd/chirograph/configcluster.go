package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// The engines that a configuration may name.
const (
	engineEmbedded = "embedded"
	engineKafka    = "kafka"
)

// KafkaConfig is where the ledger is, past one machine.
type KafkaConfig struct {
	Brokers      []string `yaml:"brokers" doc:"host:port of some brokers; the others are found through them. Required with engine kafka."`
	Prefix       string   `yaml:"prefix" default:"chirograph" doc:"The topics are <prefix>.ledger, <prefix>.control and <prefix>.inbox."`
	Partitions   int      `yaml:"partitions" default:"16" doc:"Partitions of a new ledger, for chirograph log init. For ever: at most that many nodes can share the work."`
	Replication  int      `yaml:"replication" default:"3" doc:"Copies of every partition, at least. Checked at every start."`
	MinInsync    int      `yaml:"min_insync" default:"2" doc:"Copies that have an event before it counts as durable, at least (min.insync.replicas). Checked at every start."`
	Session      Duration `yaml:"session" default:"10s" doc:"Silence after which a node's partitions go to others (group session timeout)."`
	TLS          bool     `yaml:"tls" default:"false" doc:"Speak TLS; the brokers' certificates must be ones for their hosts."`
	CAFile       string   `yaml:"ca_file" file:"" default:"the system's" doc:"Certificates (PEM) that the brokers' certificates are checked against."`
	CertFile     string   `yaml:"cert_file" file:"" doc:"This node's own certificate (PEM), where the brokers ask for one (mTLS)."`
	KeyFile      string   `yaml:"key_file" file:"" doc:"Its private key (PEM)."`
	SASL         string   `yaml:"sasl" doc:"plain, scram-sha-256 or scram-sha-512; left out: none."`
	User         string   `yaml:"user" doc:"For SASL."`
	PasswordFile string   `yaml:"password_file" file:"" doc:"File with the SASL password and nothing else."`
	Password     string   `yaml:"password" secret:"" doc:"Instead of password_file, and only as a reference to the environment: ${ENV:NAME}."`

	password string
	tls      *tls.Config
}

// PostgresConfig is where the nodes of a cluster share views, keys and leases.
type PostgresConfig struct {
	URLFile string `yaml:"url_file" file:"" doc:"File with a PostgreSQL URL (postgres://user:password@host/database?sslmode=verify-full) and nothing else. Required with engine kafka."`
	URL     string `yaml:"url" secret:"" doc:"Instead of url_file, and only as a reference to the environment: ${ENV:NAME}."`

	url string
}

func (k *KafkaConfig) defaults() {
	if k.Prefix == "" {
		k.Prefix = "chirograph"
	}
	for _, d := range []struct {
		n *int
		v int
	}{{&k.Partitions, 16}, {&k.Replication, 3}, {&k.MinInsync, 2}} {
		if *d.n == 0 {
			*d.n = d.v
		}
	}
	if k.Session == 0 {
		k.Session = Duration(10 * time.Second)
	}
}

// readCluster reads the files that the cluster's part of the configuration names.
func (c *Config) readCluster() {
	k := &c.Kafka
	if k.password = k.Password; k.PasswordFile != "" {
		k.password = c.readSecret("kafka.password_file", k.PasswordFile, "the file is empty")
	}
	if c.Postgres.url = c.Postgres.URL; c.Postgres.URLFile != "" {
		c.Postgres.url = c.readSecret("postgres.url_file", c.Postgres.URLFile, "the file is empty")
	}
	if !k.TLS {
		return
	}
	k.tls = &tls.Config{MinVersion: tls.VersionTLS12}
	if k.CAFile != "" {
		raw, err := os.ReadFile(k.CAFile)
		k.tls.RootCAs = x509.NewCertPool()
		switch {
		case err != nil:
			c.note(&c.problems, "kafka.ca_file", "it cannot be read: "+cause(err))
		case !k.tls.RootCAs.AppendCertsFromPEM(raw):
			c.note(&c.problems, "kafka.ca_file", "it holds no certificate (PEM)")
		}
	}
	if k.CertFile != "" && k.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(k.CertFile, k.KeyFile)
		if err != nil {
			c.note(&c.problems, "kafka.cert_file", "certificate and key cannot be used: "+cause(err))
		}
		k.tls.Certificates = []tls.Certificate{pair}
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
	switch c.Engine {
	case engineEmbedded:
		if c.Data == "" {
			bad("data", "it is missing: name the folder of the ledger")
		}
		return
	case engineKafka:
	default:
		bad("engine", "it is embedded or kafka")
		return
	}
	k := &c.Kafka
	if c.Data != "" {
		bad("data", "with engine kafka nothing is kept in a folder: leave it out")
	}
	if c.MasterKeyFile == "" {
		bad("master_key_file", "it is missing: every node of a cluster needs the file, with the same key")
	}
	if c.lines["node"] == 0 {
		bad("node", "it is missing: each node of a cluster needs a name of its own")
	}
	if len(k.Brokers) == 0 {
		bad("kafka.brokers", "name at least one broker, host:port")
	}
	for i, b := range k.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			bad(fmt.Sprintf("kafka.brokers[%d]", i), "write host:port")
		}
	}
	if !topic(k.Prefix) {
		bad("kafka.prefix", "it has 1 to 200 letters, digits, dots, - and _")
	}
	if k.Partitions < 1 || k.Partitions > event.MaxPartitions {
		bad("kafka.partitions", "it is 1 to %d", event.MaxPartitions)
	}
	if k.Replication < 1 || k.Replication > 100 {
		bad("kafka.replication", "it is 1 to 100")
	}
	if k.MinInsync < 1 || k.MinInsync > k.Replication {
		bad("kafka.min_insync", "it is 1 to replication (%d)", k.Replication)
	}
	if s := time.Duration(k.Session); s < 2*time.Second || s > 5*time.Minute {
		bad("kafka.session", "it is 2s to 5m")
	}
	if !k.TLS && (k.CAFile != "" || k.CertFile != "" || k.KeyFile != "") {
		bad("kafka.tls", "certificates are named: set tls to true")
	}
	if (k.CertFile == "") != (k.KeyFile == "") {
		bad("kafka.cert_file", "a certificate and its key (key_file) go together")
	}
	mechanisms := []string{"plain", "scram-sha-256", "scram-sha-512"}
	switch {
	case k.SASL != "" && !slices.Contains(mechanisms, k.SASL):
		bad("kafka.sasl", "it is %s", strings.Join(mechanisms, ", "))
	case k.SASL == "" && (k.User != "" || k.password != ""):
		bad("kafka.sasl", "a user or a password is named: say which mechanism, %s", strings.Join(mechanisms, ", "))
	case k.SASL != "" && (k.User == "" || k.password == ""):
		bad("kafka.user", "SASL needs user and password_file (or password)")
	}
	if k.PasswordFile != "" && k.Password != "" {
		bad("kafka.password", "give password_file or password, not both")
	}
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

// postgresURL never quotes the URL: it holds a password.
func postgresURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" {
		return errors.New("it must be a URL, postgres://user:password@host/database?sslmode=verify-full")
	}
	return nil
}

func topic(s string) bool {
	return len(s) >= 1 && len(s) <= 200 && s != "." && s != ".." &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}
