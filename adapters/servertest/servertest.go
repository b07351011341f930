// Package servertest gives a test the real servers that the environment names, and a database, a
// topic prefix or a ledger name of the test's own on them. It starts no server: `make servers`
// does.
//
// If a server is not named, the test is skipped, in one line that says what was not tested. With
// CHIROGRAPH_REQUIRE_SERVERS=1 the test fails instead, so that a run which promises to have used
// the real servers cannot pass without them.
package servertest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// The environment of the tests.
const (
	// KafkaEnv holds the brokers' addresses, host:port, separated by commas.
	KafkaEnv = "CHIROGRAPH_TEST_KAFKA"
	// PostgresEnv holds the URL of a database whose user may make others.
	PostgresEnv = "CHIROGRAPH_TEST_POSTGRES"
	// EventStoreDBEnv holds the connection string of an EventStoreDB, esdb://…, whose user
	// may read and write streams that begin with "test-".
	EventStoreDBEnv = "CHIROGRAPH_TEST_EVENTSTOREDB"
	// RequireEnv, set to 1, makes a test fail where it would be skipped. EventStoreDB is
	// never required.
	RequireEnv = "CHIROGRAPH_REQUIRE_SERVERS"
	// UsedEnv names a file to which every test that was given a server appends a line: the server
	// (kafka, postgres or eventstoredb), the test's folder and its name. The file shows that the
	// real servers were used.
	UsedEnv = "CHIROGRAPH_TEST_SERVERS_USED"
)

// within bounds each request that this package makes to a server.
const within = 20 * time.Second

// Kafka returns the addresses of the brokers. At least one of them answers. A test that needs
// three brokers, or brokers with certain settings, must check that itself.
func Kafka(t testing.TB) []string {
	t.Helper()
	brokers := brokers()
	if len(brokers) == 0 {
		missing(t, "Kafka", KafkaEnv)
	}
	if err := reachable(brokers); err != nil {
		t.Fatalf("no broker that %s names answers: %v", KafkaEnv, err)
	}
	used(t, "kafka")
	return brokers
}

// PostgresServer returns the URL of the server itself, for tests that make databases
// of their own.
func PostgresServer(t testing.TB) string {
	t.Helper()
	server := os.Getenv(PostgresEnv)
	if server == "" {
		missing(t, "PostgreSQL", PostgresEnv)
	}
	used(t, "postgres")
	return server
}

// Postgres makes an empty database for this test and returns its URL. It is dropped
// when the test ends, with whatever connections it has left open.
func Postgres(t testing.TB) string {
	t.Helper()
	server := PostgresServer(t)
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		t.Fatalf("%s is no URL such as postgres://USER@HOST:PORT/postgres", PostgresEnv)
	}
	name := "test_" + random()
	ask(t, server, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { ask(t, server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
}

// EventStoreDB returns the connection string of a real EventStoreDB. Where none is named
// the test is skipped, also under CHIROGRAPH_REQUIRE_SERVERS=1: no such server can be
// had from Maven or Debian's packages, as the others can, so a run that must be possible
// anywhere cannot ask for one. `make test-eventstoredb` refuses to run without it.
func EventStoreDB(t testing.TB) string {
	t.Helper()
	connection := os.Getenv(EventStoreDBEnv)
	if connection == "" {
		t.Skipf("left out for want of a real EventStoreDB: %s names none", EventStoreDBEnv)
	}
	// What is wrong with it is not shown: the string holds a password.
	cfg, err := esdb.ParseConnectionString(connection)
	if err != nil {
		t.Fatalf("%s is no connection string such as esdb://USER:PASSWORD@HOST:2113", EventStoreDBEnv)
	}
	var hosts []string
	for _, s := range cfg.GossipSeeds {
		hosts = append(hosts, net.JoinHostPort(s.Host, fmt.Sprint(s.Port)))
	}
	if len(hosts) == 0 {
		hosts = []string{cfg.Address}
	}
	if !cfg.DnsDiscover { // with discovery the name is not a host's
		if err := reachable(hosts); err != nil {
			t.Fatalf("the EventStoreDB that %s names does not answer: %v", EventStoreDBEnv, err)
		}
	}
	used(t, "eventstoredb")
	return connection
}

// Topic returns a prefix for the names of this test's topics and groups, which no
// other test and no earlier run has: at most 60 letters, digits and hyphens. Topics
// of that prefix are deleted when the test ends.
func Topic(t testing.TB) string {
	t.Helper()
	prefix := Ledger(t)
	t.Cleanup(func() {
		if brokers := brokers(); len(brokers) > 0 {
			if err := deleteTopics(brokers, prefix); err != nil {
				t.Logf("topics of the test were left on the brokers: %v", err)
			}
		}
	})
	return prefix
}

// Ledger returns a name for this test's ledger on an EventStoreDB, which no other test
// and no earlier run has: at most 60 letters, digits and hyphens, "test-" first. Its
// streams stay on the server when the test ends.
func Ledger(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	return "test-" + name[:min(len(name), 42)] + "-" + random()
}

func brokers() []string {
	return strings.FieldsFunc(os.Getenv(KafkaEnv), func(r rune) bool { return r == ',' || r == ' ' })
}

// missing skips or fails the test, because a server is not named.
func missing(t testing.TB, server, variable string) {
	t.Helper()
	if os.Getenv(RequireEnv) == "1" {
		t.Fatalf("%s is required and %s names none; `make servers` starts one", server, variable)
	}
	t.Skipf("left out for want of %s: %s names none; `make servers` starts one", server, variable)
}

// used records that the test was given the server.
func used(t testing.TB, server string) {
	t.Helper()
	file := os.Getenv(UsedEnv)
	if file == "" {
		return
	}
	folder, err := os.Getwd() // a test runs in its package's folder
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %s %s\n", server, filepath.Base(folder), t.Name()); err != nil {
		t.Fatal(err)
	}
}

// reachable returns nil if one of the addresses accepts a connection.
func reachable(addresses []string) error {
	var last error
	for _, a := range addresses {
		c, err := net.DialTimeout("tcp", a, within/10)
		if err == nil {
			return c.Close()
		}
		last = err
	}
	return last
}

// ask runs one statement on a connection of its own. The statement may be shown, the
// server's URL may not.
func ask(t testing.TB, server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("the PostgreSQL that %s names does not answer: %v", PostgresEnv, err)
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func deleteTopics(brokers []string, prefix string) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	client, err := kadm.NewOptClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	all, err := client.ListTopics(ctx)
	if err != nil {
		return err
	}
	var ours []string
	for _, name := range all.Names() {
		if strings.HasPrefix(name, prefix) {
			ours = append(ours, name)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	answers, err := client.DeleteTopics(ctx, ours...)
	if err != nil {
		return err
	}
	return answers.Error()
}

// random is 12 letters and digits that no other call has returned.
func random() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
