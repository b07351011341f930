package sqldb_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// stored runs statements on a database of views, behind the program's back.
type stored func(t *testing.T, statements ...string)

// damaged opens a database again and again, and changes it.
func damaged(t *testing.T, test func(t *testing.T, open func(t *testing.T) *sqldb.DB, change stored)) {
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "views.db")
		test(t, func(t *testing.T) *sqldb.DB { return open(t, path) }, func(t *testing.T, statements ...string) {
			t.Helper()
			raw, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			for _, s := range statements {
				if _, err := raw.Exec(s); err != nil {
					t.Fatal(s, err)
				}
			}
		})
	})
	damagedPostgres(t, test)
}

// damagedPostgres is damaged for what only PostgreSQL has in its tables: the folds of the streams.
func damagedPostgres(t *testing.T, test func(t *testing.T, open func(t *testing.T) *sqldb.DB, change stored)) {
	t.Run("postgres", func(t *testing.T) {
		url := database(t)
		test(t, func(t *testing.T) *sqldb.DB { return openPostgres(t, url) }, func(t *testing.T, statements ...string) {
			t.Helper()
			for _, s := range statements {
				s = strings.ReplaceAll(strings.ReplaceAll(s, "x'", `'\x`), "substr(state, 1, length(state) - 1) || ", "substring(state from 1 for length(state) - 1) || ")
				admin(t, url, "SET search_path = chirograph_views_1; "+s)
			}
		})
	})
}

// all writes the whole world, in batches of n.
func all(t *testing.T, db *sqldb.DB, w *viewtest.World, n int) {
	t.Helper()
	for p := range viewtest.Partitions {
		for from := 0; from < len(w.Steps[p]); from += n {
			write(t, db, w, p, from, min(from+n, len(w.Steps[p])))
		}
	}
}

func unfit(t *testing.T, db *sqldb.DB) (partitions []event.Partition) {
	t.Helper()
	for p := range event.Partition(viewtest.Partitions) {
		switch _, err := db.Mark(t.Context(), p); {
		case errors.Is(err, ledger.ErrUnfit):
			partitions = append(partitions, p)
		case err != nil:
			t.Fatal(err)
		}
	}
	return partitions
}

// TestRowsFit: rows are taken for right however they were written, and what a hand, a restore or a flipped bit
// has changed is noticed when the views are opened; made anew, they are as they were.
func TestRowsFit(t *testing.T) {
	w := world(3000)
	damaged(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB, change stored) {
		db := open(t)
		all(t, db, w, 7)
		want := viewtest.Dump(t, db)
		checked := func() {
			t.Helper()
			if err := db.Checker.All(context.Background()); err != nil {
				t.Fatal(err)
			}
			if c := db.Checked(); c.Unfit != 0 || c.Unknown != 0 || c.Ended.IsZero() || len(unfit(t, db)) != 0 {
				t.Fatalf("%+v", c)
			}
		}
		checked()
		db.Close()
		db = open(t)
		checked()
		db.Close()
		change(t, `CREATE TABLE older AS SELECT * FROM streams WHERE false`) // what a restore puts back
		for _, c := range []struct {
			name    string
			changes []string
		}{
			{"streams emptied", []string{`DELETE FROM streams`}},
			{"a stream lost", []string{`DELETE FROM streams WHERE subject = (SELECT subject FROM streams ORDER BY subject LIMIT 1)`}},
			{"a state changed", []string{`UPDATE streams SET state = substr(state, 1, length(state) - 1) || x'20' WHERE subject = (SELECT subject FROM streams WHERE state IS NOT NULL ORDER BY subject DESC LIMIT 1)`}},
			{"a sum changed", []string{`UPDATE streams SET sum = sum + 1 WHERE subject = (SELECT subject FROM streams ORDER BY subject DESC LIMIT 1)`}},
			{"a stream of another", []string{`UPDATE streams SET state = (SELECT state FROM streams WHERE subject = (SELECT subject FROM streams ORDER BY subject LIMIT 1)), sum = (SELECT sum FROM streams WHERE subject = (SELECT subject FROM streams ORDER BY subject LIMIT 1))
				WHERE subject = (SELECT subject FROM streams ORDER BY subject DESC LIMIT 1)`}},
			{"reservations emptied", []string{`DELETE FROM reserved`}},
			{"a reservation lost", []string{`DELETE FROM reserved WHERE message = (SELECT message FROM reserved ORDER BY message LIMIT 1)`}},
			{"opt-outs emptied", []string{`DELETE FROM opt_outs`, `DELETE FROM standing`}},
			{"an opt-out lost", []string{`DELETE FROM standing WHERE event = (SELECT event FROM standing ORDER BY event LIMIT 1)`}},
			{"messages emptied", []string{`DELETE FROM messages`}},
			{"a message lost", []string{`DELETE FROM messages WHERE id = (SELECT id FROM messages ORDER BY id LIMIT 1)`}},
			{"marks lost", []string{`DELETE FROM partitions`}},
		} {
			t.Run(c.name, func(t *testing.T) {
				if strings.Contains(t.Name(), "/sqlite/") && strings.Contains(c.changes[0], " streams") {
					t.Skip("the folds are not in this database: local_test.go changes them")
				}
				change(t, c.changes...)
				db := open(t)
				defer db.Close()
				found := unfit(t, db)
				if c.name == "marks lost" { // rows without a mark are dropped
					if m, err := db.Mark(t.Context(), 1); err != nil || m.Next != 0 || db.Checked().Unfit == 0 {
						t.Fatal(m, err, db.Checked())
					}
					all(t, db, w, 50)
				} else if len(found) == 0 || db.Checked().Unfit == 0 || db.Checked().Last == nil {
					t.Fatalf("%v, %+v", found, db.Checked())
				}
				for _, p := range found {
					if _, _, err := db.Streams(t.Context(), p, []event.Pseudonym{w.Steps[p][0].Folded.Subject}); !errors.Is(err, ledger.ErrUnfit) {
						t.Fatalf("streams of views that do not fit: %v", err)
					}
					if _, asOf, err := db.OptOuts(t.Context(), viewtest.Tenants[0], []event.Pseudonym{w.Steps[p][0].Folded.Subject}); err != nil || len(asOf) != 0 {
						t.Fatalf("opt-outs as of %v, %v", asOf, err)
					}
					done := make(chan error, 1)
					db.Write(w.Batch(int(p), 0, len(w.Steps[p]), false), func(err error) { done <- err })
					if err := <-done; !errors.Is(err, ledger.ErrUnfit) {
						t.Fatalf("a batch onto views that do not fit: %v", err)
					}
					if err := db.Reset(t.Context(), p); err != nil {
						t.Fatal(err)
					}
					for from := 0; from < len(w.Steps[p]); from += 50 {
						write(t, db, w, int(p), from, min(from+50, len(w.Steps[p])))
					}
				}
				if got := viewtest.Dump(t, db); got != want {
					a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
					for i := range min(len(a), len(b)) {
						if a[i] != b[i] {
							t.Fatalf("made anew, the rows are others: %.300s\nnot %.300s", a[i], b[i])
						}
					}
					t.Fatalf("made anew, there are %d rows, not %d", len(a), len(b))
				}
				if len(unfit(t, db)) != 0 {
					t.Fatal("made anew, they do not fit")
				}
			})
		}
	})
}

// TestRowChanged: a row that changes while the views are open is noticed when it is loaded.
func TestRowChanged(t *testing.T) {
	w := world(600)
	damagedPostgres(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB, change stored) {
		db := open(t)
		all(t, db, w, 50)
		change(t, `UPDATE streams SET state = substr(state, 1, length(state) - 1) || x'20' WHERE partition = 2`)
		subject := []event.Pseudonym{w.Steps[2][0].Folded.Subject}
		if _, asOf, err := db.OptOuts(t.Context(), viewtest.Tenants[0], subject); err != nil || len(asOf) != 0 {
			t.Fatalf("as of %v, %v", asOf, err)
		}
		if _, _, err := db.Streams(t.Context(), 2, subject); !errors.Is(err, ledger.ErrUnfit) {
			t.Fatal(err)
		}
		if _, _, err := db.Streams(t.Context(), 1, []event.Pseudonym{w.Steps[1][0].Folded.Subject}); err != nil {
			t.Fatal(err)
		}
		// It is noted where another process sees it.
		if err := db.Reset(t.Context(), 3); err != nil { // a task after that one
			t.Fatal(err)
		}
		if got := unfit(t, db); len(got) != 1 || got[0] != 2 {
			t.Fatal(got)
		}
	})
}

// TestRowGone: the row of a stream that the list of opt-outs has one of is missed when it is loaded, while the views
// are open: "not opted out" is never said of it.
func TestRowGone(t *testing.T) {
	w := world(600)
	damagedPostgres(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB, change stored) {
		db := open(t)
		all(t, db, w, 50)
		var subject event.Pseudonym
		last := map[event.Pseudonym]string{}
		for _, step := range w.Steps[1] {
			if step.Folded != nil {
				last[step.Folded.Subject] = string(step.Folded.State)
			}
		}
		for s, state := range last {
			if strings.Contains(state, `"opt_outs":[{`) {
				subject = s
			}
		}
		if subject.IsZero() {
			t.Fatal("no stream has an opt-out")
		}
		change(t, `DELETE FROM streams WHERE partition = 1`)
		if _, asOf, err := db.OptOuts(t.Context(), viewtest.Tenants[0], []event.Pseudonym{subject}); err != nil || len(asOf) != 0 {
			t.Fatalf("as of %v, %v", asOf, err)
		}
		if _, _, err := db.Streams(t.Context(), 1, []event.Pseudonym{subject}); !errors.Is(err, ledger.ErrUnfit) {
			t.Fatal(err)
		}
	})
}

// TestOlderWrites: rows that a version without sums has written are no alarm, and are not believed to be whole.
func TestOlderWrites(t *testing.T) {
	w := world(600)
	damagedPostgres(t, func(t *testing.T, open func(t *testing.T) *sqldb.DB, change stored) {
		db := open(t)
		all(t, db, w, 50)
		db.Close()
		// It moves the mark and the state, and knows no sums.
		change(t, `UPDATE partitions SET next = next + 1 WHERE partition = 2`,
			`UPDATE streams SET state = substr(state, 1, length(state) - 1) || x'20' WHERE partition = 2`,
			`DELETE FROM reserved WHERE partition = 2`)
		db = open(t)
		if c := db.Checked(); c.Unfit != 0 || c.Unknown != 1 || len(unfit(t, db)) != 0 {
			t.Fatalf("%+v", c)
		}
		// Nor are they after this version has written again.
		m, err := db.Mark(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		m.Next++
		db.Write(&ledger.Batch{Partition: 2, Mark: m, Judged: []ledger.Judged{{Record: ledger.Record{Index: m.Next - 1}}}}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := db.Checker.All(t.Context()); err != nil || db.Checked().Unfit != 0 || db.Checked().Unknown != 1 {
			t.Fatalf("%+v, %v", db.Checked(), err)
		}
	})
}
