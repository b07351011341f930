package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// Kafka is where the ledger is with engine kafka.
type Kafka struct {
	Brokers      []string `yaml:"brokers" doc:"host:port of some brokers; the others are found through them. Required with engine kafka."`
	Prefix       string   `yaml:"prefix" default:"chirograph" doc:"The topics are <prefix>.ledger, <prefix>.control, <prefix>.inbox and <prefix>.audit."`
	Partitions   int      `yaml:"partitions" default:"16" doc:"How many partitions chirograph log init gives a new ledger. It can never be changed, and at most that many nodes can share the work."`
	Replication  int      `yaml:"replication" default:"3" doc:"Every partition must have at least this many copies. Checked at every start."`
	MinInsync    int      `yaml:"min_insync" default:"2" doc:"At least this many copies must have an event before it counts as durable (min.insync.replicas). Checked at every start."`
	Session      Duration `yaml:"session" default:"10s" doc:"After this long without a sign of life, a node's partitions go to other nodes (group session timeout)."`
	TLS          bool     `yaml:"tls" default:"false" doc:"Use TLS; the brokers' certificates must be valid for their host names."`
	CAFile       string   `yaml:"ca_file" file:"" otherwise:"the system's" doc:"Certificates (PEM) that the brokers' certificates are checked against."`
	CertFile     string   `yaml:"cert_file" file:"" doc:"This node's own certificate (PEM), if the brokers ask for one (mTLS)."`
	KeyFile      string   `yaml:"key_file" file:"" doc:"Its private key (PEM)."`
	SASL         string   `yaml:"sasl" doc:"plain, scram-sha-256 or scram-sha-512. Leave it out to use no SASL."`
	User         string   `yaml:"user" doc:"For SASL."`
	PasswordFile string   `yaml:"password_file" file:"" doc:"File with the SASL password and nothing else."`
	Password     string   `yaml:"password" secret:"" doc:"Instead of password_file, and only as a reference to the environment: ${ENV:NAME}."`

	password string
	tls      *tls.Config
}

func (k *Kafka) read(c *Config) {
	if k.password = k.Password; k.PasswordFile != "" {
		k.password = c.readSecret("kafka.password_file", k.PasswordFile, "the file is empty")
	}
	if !k.TLS {
		return
	}
	k.tls = readTLS(c, "kafka", k.CAFile, k.CertFile, k.KeyFile)
}

func (k *Kafka) check(bad note) {
	if len(k.Brokers) == 0 {
		bad("kafka.brokers", "name at least one broker, host:port")
	}
	for i, b := range k.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			bad(fmt.Sprintf("kafka.brokers[%d]", i), "write host:port")
		}
	}
	if !topic(k.Prefix) {
		bad("kafka.prefix", "it must have 1 to 200 letters, digits, dots, - and _")
	}
	if k.Partitions < 1 || k.Partitions > event.MaxPartitions {
		bad("kafka.partitions", "it must be 1 to %d", event.MaxPartitions)
	}
	if k.Replication < 1 || k.Replication > 100 {
		bad("kafka.replication", "it must be 1 to 100")
	}
	if k.MinInsync < 1 || k.MinInsync > k.Replication {
		bad("kafka.min_insync", "it must be 1 to replication (%d)", k.Replication)
	}
	checkSession("kafka.session", k.Session, bad)
	checkTLS("kafka", k.TLS, k.CAFile, k.CertFile, k.KeyFile, bad)
	mechanisms := []string{"plain", "scram-sha-256", "scram-sha-512"}
	switch {
	case k.SASL != "" && !slices.Contains(mechanisms, k.SASL):
		bad("kafka.sasl", "it must be one of %s", strings.Join(mechanisms, ", "))
	case k.SASL == "" && (k.User != "" || k.password != ""):
		bad("kafka.sasl", "a user or a password is given: name the SASL mechanism too, one of %s", strings.Join(mechanisms, ", "))
	case k.SASL != "" && (k.User == "" || k.password == ""):
		bad("kafka.user", "SASL needs user and password_file (or password)")
	}
	if k.PasswordFile != "" && k.Password != "" {
		bad("kafka.password", "give password_file or password, not both")
	}
}

func topic(s string) bool {
	return len(s) >= 1 && len(s) <= 200 && s != "." && s != ".." &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

func (k *Kafka) explain() string {
	how := "without TLS"
	if k.TLS {
		how = "in TLS"
	}
	if k.CertFile != "" {
		how += " with a certificate of its own"
	}
	if k.SASL != "" {
		how += ", as " + terminal.Plain(k.User) + " (" + k.SASL + ")"
	}
	return fmt.Sprintf("Kafka, topics %s.ledger, .control, .inbox and .audit at %s, %s; %d copies, %d in sync", k.Prefix, terminal.Listed(k.Brokers), how, k.Replication, k.MinInsync)
}

func (k *Kafka) notes() (out []string) {
	if !k.TLS && slices.ContainsFunc(k.Brokers, func(b string) bool { return !IsLoopback(b) }) {
		out = append(out, "the connection to the brokers has no TLS: others on the network can read pseudonyms and programs")
	}
	if k.MinInsync < 2 {
		out = append(out, "min_insync is 1: an event counts as durable when a single broker has it, and is lost if that broker loses its disk")
	}
	return out
}

func (k *Kafka) location() string {
	return fmt.Sprintf("the topics %s.ledger, %s.control, %s.inbox and %s.audit", k.Prefix, k.Prefix, k.Prefix, k.Prefix)
}

// Adapter is the section as its adapter takes it, with its password. copyOf is how many
// partitions the original has, for the target of a copy; else 0.
func (k *Kafka) Adapter(copyOf int) kafkalog.Config {
	out := kafkalog.Config{Brokers: k.Brokers, Prefix: k.Prefix, Partitions: k.Partitions, Replication: k.Replication, MinISR: k.MinInsync,
		TLS: k.tls, NumberForms: sms.CanonicalForms}
	if k.SASL != "" {
		out.SASL = kafkalog.SASL{Mechanism: strings.ToUpper(k.SASL), User: k.User, Password: k.password}
	}
	if copyOf > 0 {
		out.Copy, out.Partitions = true, copyOf
	}
	return out
}
