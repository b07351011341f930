package sqldb_test

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/migrations"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// with returns our migrations and some more.
func with(t *testing.T, more map[string]string) fs.FS {
	t.Helper()
	all := fstest.MapFS{}
	names, err := fs.Glob(migrations.Views, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(migrations.Views, name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = &fstest.MapFile{Data: b}
	}
	for name, text := range more {
		all[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return all
}

const (
	expands = `-- +goose Up
ALTER TABLE messages ADD COLUMN colour text;
ALTER TABLE streams ADD COLUMN weight bigint NOT NULL DEFAULT 7;
CREATE TABLE extra (id bytea NOT NULL PRIMARY KEY);
`
	contracts = `-- +goose Up
UPDATE compatible SET oldest = 9002;
`
)

// engines opens the same database of each kind again and again.
func engines(t *testing.T, test func(t *testing.T, open func(t *testing.T) (*sqldb.DB, error))) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "views.db")
		test(t, func(*testing.T) (*sqldb.DB, error) { return sqldb.OpenSQLite(path, options) })
	})
	t.Run("postgres", func(t *testing.T) {
		url := database(t)
		test(t, func(t *testing.T) (*sqldb.DB, error) { return sqldb.OpenPostgres(t.Context(), url, options) })
	})
}

// A release that expands is used by the one before it, whose rows stay right; one
// that contracts is not.
func TestRollingUpgrade(t *testing.T) {
	engines(t, func(t *testing.T, open func(t *testing.T) (*sqldb.DB, error)) {
		w := world(400)
		must := func(db *sqldb.DB, err error) *sqldb.DB {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return db
		}
		old := must(open(t))
		write(t, old, w, 0, 0, 30)
		// A later version starts while this one runs (on SQLite: after it).
		if strings.HasSuffix(t.Name(), "sqlite") {
			old.Close()
		}
		t.Run("later", func(t *testing.T) {
			sqldb.SetMigrations(t, with(t, map[string]string{"9001_expands.sql": expands}))
			db := must(open(t))
			defer db.Close()
			write(t, db, w, 0, 30, 50)
			write(t, db, w, 1, 0, 20)
		})
		if strings.HasSuffix(t.Name(), "sqlite") {
			old = must(open(t))
		} else {
			second := must(open(t)) // and one more of the old version starts
			defer second.Close()
			write(t, second, w, 1, 20, 30)
		}
		write(t, old, w, 0, 50, len(w.Steps[0]))
		compare(t, old, w, [viewtest.Partitions]int{len(w.Steps[0]), map[bool]int{true: 20, false: 30}[strings.HasSuffix(t.Name(), "sqlite")]})
		old.Close()
		t.Run("much later", func(t *testing.T) {
			sqldb.SetMigrations(t, with(t, map[string]string{"9001_expands.sql": expands, "9002_contracts.sql": contracts}))
			must(open(t)).Close()
		})
		db, err := open(t)
		if err == nil {
			db.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "they are at 9002 and want at least 9002; this one knows 8") {
			t.Fatal(err)
		}
	})
}

// A migration that fails leaves the database as it was.
func TestMigrationFails(t *testing.T) {
	engines(t, func(t *testing.T, open func(t *testing.T) (*sqldb.DB, error)) {
		t.Run("later", func(t *testing.T) {
			sqldb.SetMigrations(t, with(t, map[string]string{"9001_breaks.sql": "-- +goose Up\nCREATE TABLE half (a bigint);\nSELECT nothing FROM nowhere;\n"}))
			if db, err := open(t); err == nil {
				db.Close()
				t.Fatal("it was opened")
			}
		})
		db, err := open(t)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		w := world(40)
		write(t, db, w, 0, 0, len(w.Steps[0]))
	})
}

// A mark of before call_by was stored bounds the calls of starts from then.
func TestMarkBeforeCallBy(t *testing.T) {
	w := world(1500)
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "views.db")
		first := open(t, path)
		write(t, first, w, 0, 0, len(w.Steps[0]))
		first.Close()
		before := open(t, older(t, path))
		m, err := before.Mark(t.Context(), 0)
		if err != nil || m.Partition.CallBy.IsZero() {
			t.Fatal(m, err)
		}
		after, err := open(t, older(t, path, `UPDATE partitions SET call_by = NULL`)).Mark(t.Context(), 0)
		if err != nil || after.Partition.CallBy.Sub(m.Partition.Time).Minutes() != 1 {
			t.Fatal(after, err)
		}
		if after.Partition.CallBy = m.Partition.CallBy; after != m {
			t.Fatalf("%+v, not %+v", after, m)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		url := database(t)
		db := openPostgres(t, url)
		write(t, db, w, 0, 0, len(w.Steps[0]))
		m, err := db.Mark(t.Context(), 0)
		if err != nil || m.Partition.CallBy.IsZero() {
			t.Fatal(m, err)
		}
		admin(t, url, `UPDATE chirograph_views_1.partitions SET call_by = NULL`)
		after, err := db.Mark(t.Context(), 0)
		if err != nil || after.Partition.CallBy.Sub(m.Partition.Time).Minutes() != 1 {
			t.Fatal(after, err)
		}
		if after.Partition.CallBy = m.Partition.CallBy; after != m {
			t.Fatalf("%+v, not %+v", after, m)
		}
	})
}

// Nodes that start together on an empty database migrate once.
func TestStartTogether(t *testing.T) {
	url := database(t)
	w := world(200)
	var wg sync.WaitGroup
	for p := range viewtest.Partitions {
		wg.Go(func() {
			db, err := sqldb.OpenPostgres(context.Background(), url, options)
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			done := make(chan error, 1)
			db.Write(w.Batch(p, 0, len(w.Steps[p]), false), func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	db := openPostgres(t, url)
	compare(t, db, w, [viewtest.Partitions]int{len(w.Steps[0]), len(w.Steps[1]), len(w.Steps[2]), len(w.Steps[3])})
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `SELECT version_id, count(*) FROM chirograph_views_1.goose_db_version GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	applied := map[int]int{}
	var version, n int
	if _, err := pgx.ForEachRow(rows, []any{&version, &n}, func() error { applied[version] = n; return nil }); err != nil {
		t.Fatal(err)
	}
	for v := range len(applied) {
		if applied[v] != 1 || len(applied) < 8 {
			t.Fatalf("migrations were applied so often: %v", applied)
		}
	}
	// The rows have room, and big ones stay in their row.
	var options int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relnamespace = 'chirograph_views_1'::regnamespace AND reloptions IS NOT NULL`).Scan(&options); err != nil || options != 3 {
		t.Fatal(options, err)
	}
}
