package servertest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/chirograph/chirograph/adapters/servertest"
)

func TestMain(m *testing.M) {
	// What these tests use is no proof that anything else was tried.
	os.Unsetenv(servertest.UsedEnv)
	os.Exit(m.Run())
}

// ended is a test that says how it ended instead of ending.
type ended struct{ testing.TB }

func (e *ended) Skipf(format string, a ...any)  { panic("skipped: " + fmt.Sprintf(format, a...)) }
func (e *ended) Fatalf(format string, a ...any) { panic("failed: " + fmt.Sprintf(format, a...)) }

// how says how a test ends that asks for a server.
func how(t *testing.T, ask func(testing.TB)) (end string) {
	defer func() { end = fmt.Sprint(recover()) }()
	ask(&ended{TB: t})
	return "it went on"
}

// A missing server skips the test, and fails it where servers are required.
func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		variable string
		ask      func(testing.TB)
	}{
		{servertest.KafkaEnv, func(t testing.TB) { servertest.Kafka(t) }},
		{servertest.PostgresEnv, func(t testing.TB) { servertest.Postgres(t) }},
	} {
		t.Run(tt.variable, func(t *testing.T) {
			t.Setenv(tt.variable, "")
			for require, want := range map[string]string{"": "skipped: ", "0": "skipped: ", "1": "failed: "} {
				t.Setenv(servertest.RequireEnv, require)
				got := how(t, tt.ask)
				if !strings.HasPrefix(got, want) || !strings.Contains(got, tt.variable) || strings.Contains(got, "\n") {
					t.Errorf("required %q: %s", require, got)
				}
			}
		})
	}
}

// So does what others wrote and is not here.
func TestMissingPeer(t *testing.T) {
	versions := filepath.Join(t.TempDir(), "versions")
	if err := os.WriteFile(versions, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for name, ask := range map[string]func(testing.TB){
		"no-such-program": func(t testing.TB) { servertest.Program(t, "no-such-program") },
		"no-such-library": func(t testing.TB) { servertest.Library(t, "no-such-library", versions) },
	} {
		for require, want := range map[string]string{"": "skipped: ", "0": "skipped: ", "1": "failed: "} {
			t.Setenv(servertest.RequireEnv, require)
			got := how(t, ask)
			if !strings.HasPrefix(got, want) || !strings.Contains(got, name) || strings.Contains(got, "\n") {
				t.Errorf("required %q: %s", require, got)
			}
		}
	}
}

// EventStoreDB is required nowhere: it cannot be had everywhere.
func TestEventStoreDB(t *testing.T) {
	t.Setenv(servertest.EventStoreDBEnv, "")
	for _, require := range []string{"", "1"} {
		t.Setenv(servertest.RequireEnv, require)
		got := how(t, func(t testing.TB) { servertest.EventStoreDB(t) })
		if !strings.HasPrefix(got, "skipped: ") || !strings.Contains(got, servertest.EventStoreDBEnv) || strings.Contains(got, "\n") {
			t.Errorf("required %q: %s", require, got)
		}
	}
	used := filepath.Join(t.TempDir(), "used")
	t.Setenv(servertest.UsedEnv, used)
	for _, connection := range []string{"https://someone:secret@127.0.0.1:1", "esdb://someone:secret@:port", "esdb://someone:secret@127.0.0.1:1?tls=false",
		"esdb://someone:secret@127.0.0.1:1,127.0.0.1:1?tls=false"} {
		t.Setenv(servertest.EventStoreDBEnv, connection)
		got := how(t, func(t testing.TB) { servertest.EventStoreDB(t) })
		if !strings.HasPrefix(got, "failed: ") || !strings.Contains(got, servertest.EventStoreDBEnv) || strings.Contains(got, "secret") {
			t.Errorf("%s: %s", connection, got)
		}
	}
	if _, err := os.Stat(used); !os.IsNotExist(err) {
		t.Errorf("a server that was not there was had (%v)", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, connection := range []string{"esdb://someone:secret@" + l.Addr().String() + "?tls=false", "esdb://127.0.0.1:1," + l.Addr().String() + "?tls=false", "esdb+discover://name.invalid"} {
		t.Setenv(servertest.EventStoreDBEnv, connection)
		if got := servertest.EventStoreDB(t); got != connection {
			t.Errorf("%s became %s", connection, got)
		}
	}
	if b, err := os.ReadFile(used); err != nil || string(b) != strings.Repeat("eventstoredb servertest TestEventStoreDB\n", 3) {
		t.Errorf("the trace is %q, %v", b, err)
	}
	if a, b := servertest.Ledger(t), servertest.Ledger(t); a == b || !strings.HasPrefix(a, "test-TestEventStoreDB-") {
		t.Errorf("two tests have %s and %s", a, b)
	}
}

// A server that is named and away fails the test, whatever is required.
func TestAway(t *testing.T) {
	// Port 1 of this host: nothing listens there.
	t.Setenv(servertest.KafkaEnv, "127.0.0.1:1,127.0.0.1:1")
	if got := how(t, func(t testing.TB) { servertest.Kafka(t) }); !strings.HasPrefix(got, "failed: ") {
		t.Error(got)
	}
	t.Setenv(servertest.PostgresEnv, "postgres://someone:secret@127.0.0.1:1/postgres?sslmode=disable")
	got := how(t, func(t testing.TB) { servertest.Postgres(t) })
	if !strings.HasPrefix(got, "failed: ") || strings.Contains(got, "secret") {
		t.Error(got)
	}
}

func TestPostgres(t *testing.T) {
	used := filepath.Join(t.TempDir(), "used")
	t.Setenv(servertest.UsedEnv, used)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var left string
	t.Run("a database", func(t *testing.T) {
		left = servertest.Postgres(t)
		other := servertest.Postgres(t)
		if left == other {
			t.Fatalf("two have one database")
		}
		c, err := pgx.Connect(ctx, left)
		if err != nil {
			t.Fatal(err)
		}
		// It stays open: the database is dropped all the same.
		var tables int
		if err := c.QueryRow(ctx, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables); err != nil || tables != 0 {
			t.Errorf("%d tables in a fresh database, %v", tables, err)
		}
	})
	if left == "" {
		t.Skip("left out for want of PostgreSQL")
	}
	if c, err := pgx.Connect(ctx, left); err == nil {
		c.Close(ctx)
		t.Error("the database is there after its test")
	}
	b, err := os.ReadFile(used)
	if want := "postgres servertest TestPostgres/a_database\n"; err != nil || string(b) != want+want {
		t.Errorf("the trace is %q, %v", b, err)
	}
}

func TestTopic(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	legal := regexp.MustCompile(`^test-[A-Za-z0-9-]{1,42}-[0-9a-f]{12}$`)
	var prefix string
	var admin *kadm.Client
	t.Run("a name that is no name of a topic, long, with ü and spaces and slashes /", func(t *testing.T) {
		prefix = servertest.Topic(t)
		if !legal.MatchString(prefix) || servertest.Topic(t) == prefix {
			t.Errorf("the prefix is %q", prefix)
		}
		if os.Getenv(servertest.KafkaEnv) == "" && os.Getenv(servertest.RequireEnv) != "1" {
			return
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(servertest.Kafka(t)...), kgo.RecordDeliveryTimeout(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		admin = kadm.NewClient(client)
		for _, topic := range []string{prefix, prefix + ".inbox"} {
			if _, err := admin.CreateTopic(ctx, 1, -1, nil, topic); err != nil {
				t.Fatal(err)
			}
		}
		// The server is one that keeps what it is given.
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: prefix, Value: []byte("a record")}).FirstErr(); err != nil {
			t.Error(err)
		}
	})
	if admin == nil {
		t.Skip("left out for want of Kafka: that topics are deleted")
	}
	defer admin.Close()
	// A broker may list for a moment what it has just been told to delete.
	for {
		topics, err := admin.ListTopics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		left := slices.IndexFunc(topics.Names(), func(name string) bool { return strings.HasPrefix(name, prefix) })
		if left < 0 {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond): // between two looks
		case <-ctx.Done():
			t.Fatalf("%s is there after its test", topics.Names()[left])
		}
	}
}
