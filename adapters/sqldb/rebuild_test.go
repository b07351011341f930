package sqldb_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// schemas are those of the views, and the one in force.
func schemas(t testing.TB, url string) (all []string, current string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'chirograph\_views%' ORDER BY 1`)
	if err == nil {
		all, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err == nil {
		err = conn.QueryRow(t.Context(), `SELECT name FROM chirograph.current_views`).Scan(&current)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all, current
}

func in(t testing.TB, url, current string, all ...string) {
	t.Helper()
	if got, now := schemas(t, url); !slices.Equal(got, all) || now != current {
		t.Fatalf("the schemas are %v with %s in force, not %v with %s", got, now, all, current)
	}
}

func rebuild(t testing.TB, db *sqldb.DB) *sqldb.Rebuilding {
	t.Helper()
	r, err := db.Rebuild(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Views are made again and switched to while two nodes write, and a third only
// reads: all move over without a restart, and what stands is what one writer leaves.
func TestRebuild(t *testing.T) {
	url := database(t)
	const bound = 5 * time.Second
	dbs := []*sqldb.DB{openIn(t, url, bound), openIn(t, url, bound), openIn(t, url, bound)}
	reader := dbs[2]
	w := world(5000)
	all := [viewtest.Partitions]int{len(w.Steps[0]), len(w.Steps[1]), len(w.Steps[2]), len(w.Steps[3])}
	// What the rows were is wrong, and a rebuild mends it.
	for p := range all {
		write(t, dbs[0], w, p, 0, 50)
	}
	admin(t, url, `UPDATE chirograph_views_1.messages SET program = 'wrong'`,
		`DELETE FROM chirograph_views_1.opt_outs`, `UPDATE chirograph_views_1.streams SET latest = NULL`)

	switched := make(chan struct{})
	var writers sync.WaitGroup
	for i, db := range dbs[:2] {
		for p := range all {
			writers.Go(func() {
				r := rand.New(rand.NewPCG(41, uint64(10*p+i)))
				// Not all of it before the switch.
				err := w.Project(db, p, all[p]*2/3, r)
				<-switched
				if err == nil && p%2 == i { // each partition has one from here on
					err = w.Project(db, p, all[p], r)
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	reading, stop := context.WithCancel(context.Background())
	var readers sync.WaitGroup
	readers.Go(func() {
		for reading.Err() == nil {
			if err := reader.WaitFor(reading, event.Position{Partition: 1, Index: 60}); err != nil && reading.Err() == nil {
				t.Error(err)
			}
			if _, _, err := reader.OptOuts(reading, viewtest.Tenants[0], []event.Pseudonym{w.Steps[1][0].Folded.Subject}); err != nil && reading.Err() == nil {
				t.Error(err)
			}
		}
	})

	r := rebuild(t, dbs[0])
	in(t, url, "chirograph_views_1", "chirograph_views_1", "chirograph_views_2")
	if _, err := dbs[1].Rebuild(t.Context()); err == nil || !strings.Contains(err.Error(), "another rebuild is under way") {
		t.Fatal(err)
	}
	behind := errors.New("not yet")
	err := r.Switch(t.Context(), func(context.Context, map[event.Partition]int64) error { return behind })
	if !errors.Is(err, behind) {
		t.Fatal(err)
	}
	if err := r.Switch(t.Context(), func(context.Context, map[event.Partition]int64) error { return nil }); err == nil || !strings.Contains(err.Error(), "before the live ones") {
		t.Fatal(err)
	}
	in(t, url, "chirograph_views_1", "chirograph_views_1", "chirograph_views_2")
	random := rand.New(rand.NewPCG(42, 0))
	fold := func(to map[event.Partition]int64) error {
		for p := range all {
			if err := w.Project(r, p, int(to[event.Partition(p)]), random); err != nil {
				return err
			}
		}
		return nil
	}
	if err := fold(dbs[1].Progress().Marks); err != nil {
		t.Fatal(err)
	}
	// What comes while it switches waits, and goes to the new rows.
	written := make(chan error, 1)
	var end int64
	err = r.Switch(t.Context(), func(_ context.Context, live map[event.Partition]int64) error {
		if err := fold(live); err != nil {
			return err
		}
		end = live[3] + 1
		dbs[1].Write(w.Batch(3, int(live[3]), int(end), false), func(err error) { written <- err })
		servertest.Until(t, "a writer waits", func() bool { return len(written) == 1 || waits(t, url, "relation") })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if m, err := dbs[1].Mark(t.Context(), 3); err != nil || m.Next < end {
		t.Fatalf("what was written up to %d stands at %d, %v", end, m.Next, err)
	}
	in(t, url, "chirograph_views_2", "chirograph_views_1", "chirograph_views_2")
	close(switched)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	in(t, url, "chirograph_views_2", "chirograph_views_2")
	writers.Wait()
	stop()
	readers.Wait()
	want := viewtest.Dump(t, fresh(t, w, all))
	for _, db := range append(dbs, openPostgres(t, url)) {
		servertest.Until(t, "the views moved", func() bool { return db.Progress().Marks[0] == int64(all[0]) })
		if viewtest.Dump(t, db) != want {
			t.Fatal("the rows are not what the log says")
		}
	}
}

// waits reports whether anybody waits for a lock of a kind.
func waits(t testing.TB, url, kind string) (somebody bool) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), `SELECT count(*) > 0 FROM pg_locks WHERE locktype = $1 AND NOT granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, kind).Scan(&somebody); err != nil {
		t.Fatal(err)
	}
	return somebody
}

func fresh(t testing.TB, w *viewtest.World, next [viewtest.Partitions]int) *sqldb.DB {
	t.Helper()
	db := open(t, filepath.Join(t.TempDir(), "fresh.db"))
	for p, n := range next {
		if n > 0 {
			write(t, db, w, p, 0, n)
		}
	}
	return db
}

// A node that was frozen over a switch and over the end of the former rows finds the
// new ones when it wakes.
func TestRebuildWhileFrozen(t *testing.T) {
	address := database(t)
	p, behind := through(t, address)
	const bound = time.Second
	// The one that rebuilds has its time on a busy machine too.
	live, frozen := openIn(t, address, 20*bound), openIn(t, behind, bound)
	w := world(300)
	write(t, frozen, w, 0, 0, 10)
	write(t, live, w, 1, 0, 10)
	if _, err := frozen.Message(t.Context(), viewtest.Tenants[0], event.ID{1}); err == nil {
		t.Fatal("a message that is not there")
	}
	p.set(stalls)
	r := rebuild(t, live)
	write(t, r.DB, w, 0, 0, 12)
	write(t, r.DB, w, 1, 0, 10)
	if err := r.Switch(t.Context(), func(context.Context, map[event.Partition]int64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	in(t, address, "chirograph_views_2", "chirograph_views_2")
	p.set(passes)
	servertest.Until(t, "it finds the new rows", func() bool {
		m, err := frozen.Mark(t.Context(), 0)
		return err == nil && m.Next == 12
	})
	servertest.Until(t, "it writes again", func() bool { return try(frozen, w.Batch(0, 10, len(w.Steps[0]), false)) == nil })
	compare(t, frozen, w, [viewtest.Partitions]int{len(w.Steps[0]), 10})
}

// What was begun and not switched to changes nothing, and does not stay.
func TestRebuildAbandoned(t *testing.T) {
	url := database(t)
	db := openPostgres(t, url)
	w := world(200)
	write(t, db, w, 0, 0, 10)
	r := rebuild(t, db)
	write(t, r.DB, w, 0, 0, 5)
	in(t, url, "chirograph_views_1", "chirograph_views_1", "chirograph_views_2")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	in(t, url, "chirograph_views_1", "chirograph_views_1")
	// One that died: its connections end, its schema stays.
	admin(t, url, `CREATE SCHEMA chirograph_views_7`, `CREATE TABLE chirograph_views_7.streams (a text)`, `CREATE SCHEMA chirograph_views_old`)
	r = rebuild(t, db)
	in(t, url, "chirograph_views_1", "chirograph_views_1", "chirograph_views_8", "chirograph_views_old")
	// Its lock is lost amid it: nothing is switched to that somebody else may drop.
	admin(t, url, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	if err := r.Switch(t.Context(), func(context.Context, map[event.Partition]int64) error { return nil }); err == nil {
		t.Fatal("switched without the lock")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, db, w, 0, 10, len(w.Steps[0]))
	compare(t, db, w, [viewtest.Partitions]int{len(w.Steps[0])})
	// An older program does not rebuild what a later one uses.
	sqldb.SetMigrations(t, with(t, map[string]string{"9001_expands.sql": expands}))
	openPostgres(t, url)
	sqldb.SetMigrations(t, with(t, nil))
	if _, err := db.Rebuild(t.Context()); err == nil || !strings.Contains(err.Error(), "a later version") {
		t.Fatal(err)
	}
	if _, err := open(t, filepath.Join(t.TempDir(), "views.db")).Rebuild(t.Context()); err == nil {
		t.Fatal("SQLite rebuilds")
	}
}
