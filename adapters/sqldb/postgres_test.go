package sqldb_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// server is a PostgreSQL that tests may make databases in.
func server(t testing.TB) string {
	t.Helper()
	s := os.Getenv("CHIROGRAPH_TEST_POSTGRES")
	if s == "" {
		t.Skip("CHIROGRAPH_TEST_POSTGRES is not set: the views on PostgreSQL were not tried")
	}
	return s
}

var databases atomic.Int64

// database makes an empty one, and drops it when the test ends.
func database(t testing.TB) string {
	t.Helper()
	s := server(t)
	name := fmt.Sprintf("sqldb_%d_%d", os.Getpid(), databases.Add(1))
	admin(t, s, "CREATE DATABASE "+name)
	t.Cleanup(func() { admin(t, s, "DROP DATABASE "+name+" WITH (FORCE)") })
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal("CHIROGRAPH_TEST_POSTGRES is no URL")
	}
	u.Path = "/" + name
	q := u.Query()
	q.Set("synchronous_commit", "off") // no test cuts the power
	u.RawQuery = q.Encode()
	return u.String()
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

func TestPostgres(t *testing.T) {
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
