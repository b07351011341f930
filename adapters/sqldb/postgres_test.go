package sqldb_test

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// server is a PostgreSQL that tests may make databases in.
func server(t testing.TB) string { return servertest.PostgresServer(t) }

// databases are those that this process made. Making one takes longer than most
// tests, so those that nobody has any more are emptied and used again.
var databases struct {
	sync.Mutex
	made int
	free []string
}

// database has an empty one, until the test ends.
func database(t testing.TB) string {
	t.Helper()
	s := server(t)
	databases.Lock()
	defer databases.Unlock()
	if n := len(databases.free); n > 0 {
		address := databases.free[n-1]
		databases.free = databases.free[:n-1]
		give(t, address)
		return address
	}
	databases.made++
	name := fmt.Sprintf("sqldb_%d_%d", os.Getpid(), databases.made)
	admin(t, s, "CREATE DATABASE "+name)
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal("CHIROGRAPH_TEST_POSTGRES is no URL")
	}
	u.Path = "/" + name
	q := u.Query()
	q.Set("synchronous_commit", "off") // no test cuts the power
	u.RawQuery = q.Encode()
	give(t, u.String())
	return u.String()
}

// give takes a database back when the test ends.
func give(t testing.TB, address string) {
	t.Cleanup(func() {
		admin(t, address, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
			`DO $$ DECLARE s text; BEGIN
				FOR s IN SELECT nspname FROM pg_namespace WHERE nspname LIKE 'chirograph%' LOOP EXECUTE 'DROP SCHEMA ' || s || ' CASCADE'; END LOOP;
			END $$`)
		databases.Lock()
		defer databases.Unlock()
		databases.free = append(databases.free, address)
	})
}

// drop removes what this process made.
func drop() {
	if databases.made == 0 {
		return
	}
	conn, err := pgx.Connect(context.Background(), os.Getenv("CHIROGRAPH_TEST_POSTGRES"))
	if err != nil {
		return
	}
	defer conn.Close(context.Background())
	for n := range databases.made {
		_, _ = conn.Exec(context.Background(), fmt.Sprintf("DROP DATABASE IF EXISTS sqldb_%d_%d WITH (FORCE)", os.Getpid(), n+1))
	}
}

// admin runs statements on a connection of its own.
func admin(t testing.TB, url string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
}

func openPostgres(t testing.TB, url string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.OpenPostgres(context.Background(), url, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// fewer makes property tests draw less often: a commit here is two round trips.
func fewer(t *testing.T) {
	t.Helper()
	checks := flag.Lookup("rapid.checks").Value
	was := checks.String()
	t.Cleanup(func() { _ = checks.Set(was) })
	if err := checks.Set("40"); err != nil {
		t.Fatal(err)
	}
}

func TestPostgres(t *testing.T) {
	fewer(t)
	viewtest.Exercise(t, func(t *testing.T) viewtest.Store { return openPostgres(t, database(t)) })
}

func TestPostgresShared(t *testing.T) {
	viewtest.Share(t, func(t *testing.T, n int) (stores []viewtest.Store) {
		url := database(t)
		for range n {
			stores = append(stores, openPostgres(t, url))
		}
		return stores
	})
}
