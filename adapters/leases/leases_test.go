package leases

import (
	"context"
	"errors"
	"flag"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/ledger"
)

func TestMain(m *testing.M) {
	// A run of the arithmetic costs 150 µs, and a rare order is what it is there to find.
	for name, value := range map[string]string{"rapid.checks": "10000", "rapid.steps": "60", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// database is one test's own.
func database(t testing.TB) string { return servertest.Postgres(t) }

func open(t testing.TB, url string) *Database {
	t.Helper()
	c, err := Open(servertest.Within(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// exec runs a statement beside the cluster.
func (c *Database) exec(t testing.TB, text string, args ...any) {
	t.Helper()
	if _, err := c.db.ExecContext(servertest.Within(t), text, args...); err != nil {
		t.Fatal(err)
	}
}

func (c *Database) number(t testing.TB, text string, args ...any) (n int64) {
	t.Helper()
	if err := c.db.QueryRowContext(servertest.Within(t), text, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Nodes that open a new database at the same moment make one schema, and one that is
// there is left alone.
func TestOpen(t *testing.T) {
	url := database(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c, err := Open(servertest.Within(t), url)
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	wg.Wait()
	c := open(t, url)
	if n := c.number(t, "SELECT version FROM chirograph_cluster.version"); n != knownVersion {
		t.Errorf("version %d", n)
	}
	var setting string
	if err := c.db.QueryRowContext(servertest.Within(t), "SHOW synchronous_commit").Scan(&setting); err != nil || setting != "on" {
		t.Errorf("synchronous_commit is %s, %v", setting, err)
	}
	c.exec(t, "UPDATE chirograph_cluster.version SET version = 99")
	if _, err := Open(servertest.Within(t), url); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("a later version: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, url := range map[string]string{
		"no URL":      "postgres://somebody:hunter2@ho st:x/",
		"nobody home": "postgres://somebody:hunter2@127.0.0.1:1/nowhere",
	} {
		_, err := Open(servertest.Within(t), url)
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "somebody") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// before is how programs made the schema before there were migrations of it.
const before = `
CREATE SCHEMA chirograph_cluster;
CREATE TABLE chirograph_cluster.version (version integer NOT NULL);
INSERT INTO chirograph_cluster.version VALUES (0);
CREATE TABLE chirograph_cluster.reservations (
    tenant     text   NOT NULL,
    key        bytea  NOT NULL,
    message    bytea  NOT NULL,
    input      text   NOT NULL,
    keep_until bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX reservations_until ON chirograph_cluster.reservations (keep_until);
CREATE TABLE chirograph_cluster.accounts (name text PRIMARY KEY);
CREATE TABLE chirograph_cluster.leases (
    account text   NOT NULL REFERENCES chirograph_cluster.accounts,
    holder  bytea  NOT NULL,
    node    text   NOT NULL,
    joined  bigint NOT NULL,
    bound   bigint NOT NULL,
    rate    bigint NOT NULL,
    tps     bigint NOT NULL,
    binds   bigint NOT NULL,
    until   bigint NOT NULL,
    PRIMARY KEY (account, holder)
);
UPDATE chirograph_cluster.version SET version = 1 WHERE version < 1;
`

// columns are the schema's columns and indexes as text.
const columns = `SELECT string_agg(x, E'\n' ORDER BY x) FROM (
	SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default) AS x
		FROM information_schema.columns WHERE table_schema = 'chirograph_cluster' AND table_name <> 'goose_db_version'
	UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'chirograph_cluster' AND tablename <> 'goose_db_version'
	UNION ALL SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_class r ON r.oid = conrelid
		WHERE connamespace = 'chirograph_cluster'::regnamespace AND r.relname <> 'goose_db_version') AS all_of_it`

// TestOpenSchemaOfBefore: a schema that an earlier program made is used as it is, with
// what is in it; it is the same that migrations make, and that program still knows it.
func TestOpenSchemaOfBefore(t *testing.T) {
	url := database(t)
	conn, err := pgx.Connect(servertest.Within(t), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	stands := reserved()
	if _, err := conn.Exec(servertest.Within(t), before); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(servertest.Within(t), "INSERT INTO chirograph_cluster.reservations VALUES ('acme', decode($1, 'hex'), $2, $3, $4)",
		keyOf(1), stands.Message[:], stands.Input, later.UnixMilli()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(servertest.Within(t), "INSERT INTO chirograph_cluster.accounts VALUES ('a'); INSERT INTO chirograph_cluster.leases VALUES ('a', 'h', 'n', 1, 1, 1, 1, 1, 1)"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		d := open(t, url)
		if got, err := d.Reserve(servertest.Within(t), "acme", keyOf(1), reserved(), later); err != nil || got != stands {
			t.Fatalf("%v, %v; want %v", got, err, stands)
		}
		if n := d.number(t, "SELECT count(*) FROM chirograph_cluster.leases"); n != 1 {
			t.Errorf("%d leases", n)
		}
		if n := d.number(t, "SELECT sum(version) FROM chirograph_cluster.version"); n != 1 {
			t.Errorf("an earlier program reads version %d", n)
		}
		if n := d.number(t, "SELECT max(version_id) FROM chirograph_cluster.goose_db_version"); n != 1 {
			t.Errorf("it is at migration %d", n)
		}
	}
	var was, is string
	if err := conn.QueryRow(servertest.Within(t), columns).Scan(&was); err != nil {
		t.Fatal(err)
	}
	if err := open(t, database(t)).db.QueryRowContext(servertest.Within(t), columns).Scan(&is); err != nil || is != was {
		t.Errorf("migrations make\n%s\nand it was\n%s\n%v", is, was, err)
	}
}

// TestStandby: connections to a server that takes no writes any more are dropped, and
// the next call has another.
func TestStandby(t *testing.T) {
	url := database(t)
	d := open(t, url)
	promote := servertest.Standby(t, url)
	servertest.Until(t, "a standby says so", func() bool {
		_, err := d.Reserve(servertest.Within(t), "acme", keyOf(1), reserved(), later)
		return err != nil && errors.Is(err, ledger.ErrRefused) && strings.Contains(err.Error(), "25006")
	})
	promote()
	mine := reserved()
	if got, err := d.Reserve(servertest.Within(t), "acme", keyOf(1), mine, later); err != nil || got != mine {
		t.Errorf("the next call: %v, %v", got, err)
	}
}

// TestHealth: PostgreSQL away and back is noticed without a request.
func TestHealth(t *testing.T) {
	p, url := servertest.Through(t, database(t))
	c := open(t, url)
	if ok, since, detail := c.Health(); !ok || since.IsZero() || detail != "" {
		t.Errorf("health %v, %v, %q", ok, since, detail)
	}
	p.Set(t, servertest.Refuse)
	servertest.Until(t, "PostgreSQL away", func() bool { ok, _, _ := c.Health(); return !ok })
	_, away, detail := c.Health()
	if !strings.Contains(detail, "cannot be reached") {
		t.Errorf("away: %q", detail)
	}
	servertest.Nameless(t, detail, url)
	p.Set(t, servertest.Forward)
	servertest.Until(t, "PostgreSQL back", func() bool { ok, _, _ := c.Health(); return ok })
	if _, since, detail := c.Health(); !since.After(away) || detail != "" {
		t.Errorf("back since %v, away since %v, %q", since, away, detail)
	}
}
