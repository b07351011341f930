package sqldb_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/projections/viewtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		drop()
		os.Exit(code)
	}))
}

var options = sqldb.Options{Partitions: viewtest.Partitions, Reference: viewtest.Reference, Cache: 8, Queue: 4}

func open(t testing.TB, path string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.OpenSQLite(path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestSQLite(t *testing.T) {
	viewtest.Exercise(t, func(t *testing.T) viewtest.Store { return open(t, filepath.Join(t.TempDir(), "views.db")) })
}

// After Close the file is whole by itself, without its -wal: a rebuild moves it, and its folds, to where they belong.
func TestClosedFileIsWhole(t *testing.T) {
	dir := t.TempDir()
	w := world(600)
	db := open(t, filepath.Join(dir, "new.db"))
	for p := range viewtest.Partitions {
		write(t, db, w, p, 0, len(w.Steps[p]))
	}
	before := viewtest.Dump(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", sqldb.FoldsSuffix} {
		if err := os.Rename(filepath.Join(dir, "new.db"+suffix), filepath.Join(dir, "views.db"+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	if after := viewtest.Dump(t, open(t, filepath.Join(dir, "views.db"))); len(before) == 0 || after != before {
		t.Errorf("%d bytes of rows became %d", len(before), len(after))
	}
}

// Views whose write-ahead file is lost or cut after a kill are noticed by their head file; views that are as
// they were left are not.
func TestLost(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "views.db")
	w := world(600)
	db := open(t, path)
	for p := range viewtest.Partitions {
		write(t, db, w, p, 0, len(w.Steps[p]))
	}
	for name, x := range map[string]struct {
		cut  int64 // of the write-ahead file; -1: it is lost
		lost bool
	}{"as it was": {0, false}, "lost": {-1, true}, "cut": {100, true}} {
		killed := filepath.Join(t.TempDir(), "views.db")
		for _, suffix := range []string{"", "-wal", "-head"} {
			raw, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if suffix == "-wal" {
				if x.cut < 0 {
					continue
				}
				raw = raw[:int64(len(raw))-x.cut]
			}
			if err := os.WriteFile(killed+suffix, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, lost, err := sqldb.LookAt(killed); lost != x.lost || err != nil {
			t.Errorf("write-ahead file %s: lost %t, %v", name, lost, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, lost, err := sqldb.LookAt(path); lost || err != nil {
		t.Errorf("closed: lost %t, %v", lost, err)
	}
}

// What was committed is there after a reopening, and goes on.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a name with %20 and ?.db")
	w := world(600)
	db := open(t, path)
	for p := range viewtest.Partitions {
		write(t, db, w, p, 0, len(w.Steps[p])/2)
	}
	before := viewtest.Dump(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db.Write(w.Batch(0, 0, 1, false), func(err error) {
		if !errors.Is(err, sqldb.ErrClosed) {
			t.Error(err)
		}
	})
	db = open(t, path)
	if viewtest.Dump(t, db) != before {
		t.Fatal("a reopened database is another")
	}
	if p := db.Progress(); len(p.Marks) != viewtest.Partitions || p.Marks[2] != int64(len(w.Steps[2])/2) || !p.Committed.IsZero() {
		t.Fatalf("%+v", p)
	}
	for p := range viewtest.Partitions {
		write(t, db, w, p, len(w.Steps[p])/2, len(w.Steps[p]))
	}
	compare(t, db, w, [viewtest.Partitions]int{len(w.Steps[0]), len(w.Steps[1]), len(w.Steps[2]), len(w.Steps[3])})
}

func world(events int) *viewtest.World {
	w := viewtest.NewWorld(rand.New(rand.NewPCG(11, 0)).IntN)
	for range events {
		w.Grow()
	}
	return w
}

func write(t testing.TB, db *sqldb.DB, w *viewtest.World, p, from, to int) {
	t.Helper()
	done := make(chan error, 1)
	db.Write(w.Batch(p, from, to, false), func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// compare: db holds what a fresh database holds after the same events.
func compare(t *testing.T, db *sqldb.DB, w *viewtest.World, next [viewtest.Partitions]int) {
	t.Helper()
	fresh := open(t, filepath.Join(t.TempDir(), "fresh.db"))
	for p, n := range next {
		if n > 0 {
			write(t, fresh, w, p, 0, n)
		}
	}
	if got, want := viewtest.Dump(t, db), viewtest.Dump(t, fresh); got != want {
		t.Fatalf("the rows are not what the mark says: %d and %d bytes", len(got), len(want))
	}
}

func TestRefusesForeignFiles(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("not a database\n"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	raw, err := sql.Open("sqlite", foreign)
	if err == nil {
		_, err = raw.Exec(`CREATE TABLE books (title text)`)
	}
	if err != nil {
		t.Fatal(err)
	}
	raw.Close()
	later := filepath.Join(dir, "later.db")
	open(t, later).Close()
	if raw, err = sql.Open("sqlite", later); err == nil {
		_, err = raw.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1); UPDATE compatible SET oldest = 9999`)
	}
	if err != nil {
		t.Fatal(err)
	}
	raw.Close()
	for path, want := range map[string]string{text: "is not a database", foreign: "of something else", later: "later version"} {
		before, _ := os.ReadFile(path)
		if _, err := sqldb.OpenSQLite(path, options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s was changed", filepath.Base(path))
		}
	}
	empty := filepath.Join(dir, "empty.db") // as a crash right after creation leaves it
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, empty)
}

// The helper process of TestKill opens one of these.
const (
	helperFile = "CHIROGRAPH_TEST_VIEWS"
	helperURL  = "CHIROGRAPH_TEST_VIEWS_URL"
)

// A process that is killed leaves rows and mark of the same commit, and nothing that
// holds up the next.
func TestKill(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "views.db")
		kill(t, helperFile+"="+path, 6, func() *sqldb.DB { return open(t, path) })
	})
	t.Run("postgres", func(t *testing.T) {
		url := database(t)
		openPostgres(t, url).Close()
		kill(t, helperURL+"="+url, 3, func() *sqldb.DB { return openPostgres(t, url) })
	})
}

func kill(t *testing.T, env string, rounds int, open func() *sqldb.DB) {
	w := world(3000)
	r := rand.New(rand.NewPCG(5, 5))
	progressed := 0
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKillHelper$")
		cmd.Env = append(os.Environ(), env)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It prints a byte a commit; after some, it is killed in the middle of whatever
		// it does then.
		commits := 1 + r.IntN(25)
		for b := make([]byte, 1); commits > 0; commits-- {
			if _, err := out.Read(b); err != nil {
				break
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		db := open()
		var next [viewtest.Partitions]int
		total := 0
		for p := range next {
			m, err := db.Mark(context.Background(), event.Partition(p))
			if err != nil {
				t.Fatal(err)
			}
			next[p] = int(m.Next)
			total += next[p]
		}
		if total > progressed {
			progressed = total
		} else if round == 0 {
			t.Fatal("nothing was committed before the kill")
		}
		// The folds may be behind the rows: what is between them is folded once more.
		rows, err := db.Known(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for p := range next {
			if to := int(rows.Heads[event.Partition(p)].Next); to > next[p] {
				write(t, db, w, p, next[p], to)
				next[p] = to
			}
		}
		compare(t, db, w, next)
		db.Close()
	}
}

func TestKillHelper(t *testing.T) {
	path, url := os.Getenv(helperFile), os.Getenv(helperURL)
	if path == "" && url == "" {
		t.Skip("runs in a process of its own, for TestKill")
	}
	w := world(3000)
	var db *sqldb.DB
	if url != "" {
		db = openPostgres(t, url)
	} else {
		db = open(t, path)
	}
	for more := true; more; {
		more = false
		for p := range viewtest.Partitions {
			m, err := db.Mark(context.Background(), event.Partition(p))
			if err != nil {
				t.Fatal(err)
			}
			if from := int(m.Next); from < len(w.Steps[p]) {
				more = true
				write(t, db, w, p, from, min(from+7, len(w.Steps[p])))
				fmt.Print(".")
			}
		}
	}
}
