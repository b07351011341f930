package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/adapters/eventstorelog"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// EventStoreDB is where the ledger is with engine eventstoredb.
type EventStoreDB struct {
	ConnectionFile string   `yaml:"connection_file" file:"" doc:"File with EventStoreDB's own connection string (esdb://user:password@host:2113, or esdb+discover://… for a cluster) and nothing else. Required with engine eventstoredb."`
	Connection     string   `yaml:"connection" secret:"" doc:"Instead of connection_file, and only as a reference to the environment: ${ENV:NAME}."`
	Name           string   `yaml:"name" default:"chirograph" doc:"The streams are <name>-00 and on, <name>-control, <name>-inbox and <name>-audit; and <name>.lease, which says which partitions each node serves."`
	Partitions     int      `yaml:"partitions" default:"16" doc:"How many partitions chirograph log init gives a new ledger. It can never be changed, and at most that many nodes can share the work."`
	Session        Duration `yaml:"session" default:"6s" doc:"After this long without a sign of life, a node's partitions go to other nodes; 2s to 5m."`

	connection string
}

func (e *EventStoreDB) read(c *Config) {
	field := "eventstoredb.connection"
	if e.connection = e.Connection; e.ConnectionFile != "" {
		field += "_file"
		e.connection = c.readSecret(field, e.ConnectionFile, "the file is empty: write EventStoreDB's connection string there, esdb://user:password@host:2113")
	}
	if e.connection == "" {
		return
	}
	// It reads the certificates that the string names.
	if err := eventstorelog.CheckConnection(e.connection); err != nil {
		c.note(&c.problems, field, err.Error())
	}
}

// streamName leaves out "$", with which EventStoreDB's own streams begin.
var streamName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,199}$`)

func (e *EventStoreDB) check(bad note) {
	switch {
	case e.Connection != "" && e.ConnectionFile != "":
		bad("eventstoredb.connection", "give connection_file or connection, not both")
	case e.connection == "" && e.ConnectionFile == "":
		bad("eventstoredb.connection_file", "it is missing: name a file with EventStoreDB's connection string, esdb://user:password@host:2113")
	}
	if !streamName.MatchString(e.Name) {
		bad("eventstoredb.name", "it must have 1 to 200 letters, digits, dots, - and _, and begin with a letter or digit")
	}
	if e.Partitions < 1 || e.Partitions > event.MaxPartitions {
		bad("eventstoredb.partitions", "it must be 1 to %d", event.MaxPartitions)
	}
	checkSession("eventstoredb.session", e.Session, bad)
}

func (e *EventStoreDB) explain() string {
	from := "the environment"
	if e.ConnectionFile != "" {
		from = e.ConnectionFile
	}
	return fmt.Sprintf("EventStoreDB, streams %s-00 and on, %s-control, %s-inbox and %s-audit, connection from %s", e.Name, e.Name, e.Name, e.Name, from)
}

// hostsOf are what a connection string reaches; unsafely: without TLS, or without a look at
// the server's certificate.
func hostsOf(connection string) (hosts []string, unsafely bool) {
	_, rest, _ := strings.Cut(connection, "://")
	rest, settings, _ := strings.Cut(rest, "?")
	rest = rest[strings.LastIndex(rest, "@")+1:]
	off := regexp.MustCompile(`(?i)(^|&)(tls|tlsVerifyCert)=(f|false|0)(&|$)`)
	return strings.Split(strings.Trim(rest, "/"), ","), off.MatchString(settings)
}

func (e *EventStoreDB) notes() (out []string) {
	hosts, unsafely := hostsOf(e.connection)
	if unsafely && slices.ContainsFunc(hosts, func(h string) bool { return !IsLoopback(h) && !IsLoopback(h+":2113") }) {
		out = append(out, "the connection to EventStoreDB has no TLS, or does not check the server's certificate: others on the network can read pseudonyms, programs and a password")
	}
	return out
}

func (e *EventStoreDB) location() string {
	return fmt.Sprintf("the streams %s-00 to %s-%02d, %s-control, %s-inbox and %s-audit", e.Name, e.Name, e.Partitions-1, e.Name, e.Name, e.Name)
}

// Adapter is the section as its adapter takes it, with what is secret in it. copyOf is how
// many partitions the original has, for the target of a copy; else 0.
func (e *EventStoreDB) Adapter(copyOf int) eventstorelog.Config {
	out := eventstorelog.Config{Connection: e.connection, Name: e.Name, NumberForms: sms.CanonicalForms, Partitions: e.Partitions}
	if copyOf > 0 {
		out.Copy, out.Partitions = true, copyOf
	}
	return out
}
