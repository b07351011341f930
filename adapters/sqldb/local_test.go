package sqldb_test

import (
	"database/sql"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/adapters/internal/foldstore"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// older makes, of views that are closed first, a file as the version before the folds' store left it: with the folds and the
// tails in its tables. It runs some statements on it, and returns its path.
func older(t *testing.T, path string, statements ...string) string {
	t.Helper()
	db, err := sqldb.OpenSQLite(path, options)
	if err != nil {
		t.Fatal(err)
	}
	dump := viewtest.Dump(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "older.db")
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", to)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	exec := func(text string, args ...any) {
		t.Helper()
		if _, err := raw.Exec(text, args...); err != nil {
			t.Fatal(text, err)
		}
	}
	bytes := func(s string) []byte {
		if s == "-" {
			return nil
		}
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	exec(`DELETE FROM folds`)
	exec(`UPDATE partitions SET summed = NULL`) // nothing is known of rows that were written by hand
	for line := range strings.SplitSeq(dump, "\n") {
		f := strings.Split(line, "\t")
		switch f[0] {
		case "streams":
			var state, due any
			if f[3] != "-" {
				state = []byte(f[3])
			}
			if f[4] != "-" {
				due, _ = strconv.ParseInt(f[4], 10, 64)
			}
			exec(`INSERT INTO streams (subject, partition, state, due, latest) VALUES (?, ?, ?, ?, ?)`, bytes(f[1]), f[2], state, due, bytes(f[5]))
		case "tails":
			account, _ := strconv.Unquote(f[3])
			tenant, _ := strconv.Unquote(f[5])
			exec(`INSERT INTO tails (partition, day, account, tail, tenant, subject) VALUES (?, ?, ?, ?, ?, ?)`, f[1], f[2], account, f[4], tenant, bytes(f[6]))
		}
	}
	for _, s := range statements {
		exec(s)
	}
	return to
}

// views are closed views with the events of a world before some index in each partition.
func views(t *testing.T, w *viewtest.World, upTo func(p int) int) (path, dump string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "views.db")
	db := open(t, path)
	for p := range viewtest.Partitions {
		for from := 0; from < upTo(p); from += 40 {
			write(t, db, w, p, from, min(from+40, upTo(p)))
		}
	}
	dump = viewtest.Dump(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path, dump
}

// fold gives views the events that their folds lack, up to an index of each partition.
func fold(t *testing.T, db *sqldb.DB, w *viewtest.World, upTo func(p int) int) {
	t.Helper()
	for p := range viewtest.Partitions {
		m, err := db.Mark(t.Context(), event.Partition(p))
		if err != nil {
			t.Fatal(err)
		}
		for from := int(m.Next); from < upTo(p); from += 37 {
			write(t, db, w, p, from, min(from+37, upTo(p)))
		}
	}
}

// TestMoveOut: what an earlier version kept in the file is moved to the store, once, and says the same there.
func TestMoveOut(t *testing.T) {
	w := world(3000)
	path, dump := views(t, w, func(p int) int { return len(w.Steps[p]) })
	to := older(t, path)
	for range 2 {
		db := open(t, to)
		if got := viewtest.Dump(t, db); got != dump {
			t.Fatalf("%d bytes of rows became %d", len(dump), len(got))
		}
		if c := db.Checked(); c.Unfit != 0 || c.Unknown != 0 {
			t.Fatalf("%+v", c)
		}
		db.Close()
	}
	raw, err := sql.Open("sqlite", to)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var left, oldest int
	if err := raw.QueryRow(`SELECT (SELECT count(*) FROM streams) + (SELECT count(*) FROM tails), (SELECT max(oldest) FROM compatible)`).Scan(&left, &oldest); err != nil || left != 0 || oldest != 7 {
		t.Fatal(left, oldest, err)
	}
}

// TestMoveOutDamaged: a fold that is not what was written is not moved: its partition is made anew.
func TestMoveOutDamaged(t *testing.T) {
	w := world(600)
	path, dump := views(t, w, func(p int) int { return len(w.Steps[p]) })
	// With sums that are of other rows, the rows do not fit.
	to := older(t, path, `UPDATE partitions SET summed = next WHERE partition = 1`)
	db := open(t, to)
	if got := unfit(t, db); len(got) != 1 || got[0] != 1 {
		t.Fatal(got)
	}
	if err := db.Reset(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	fold(t, db, w, func(p int) int { return len(w.Steps[p]) })
	if got := viewtest.Dump(t, db); got != dump {
		t.Fatal("made anew, the rows are others")
	}
}

// TestFoldsBehind: folds that lack what the rows have, all of it or the end, are folded once more from their mark. The
// rows stay as they are, and what only the store has comes again.
func TestFoldsBehind(t *testing.T) {
	w := world(3000)
	all := func(p int) int { return len(w.Steps[p]) }
	for name, keep := range map[string]func(p int) int{
		"lost":    func(int) int { return 0 },
		"half":    func(p int) int { return len(w.Steps[p]) / 2 },
		"the end": func(p int) int { return len(w.Steps[p]) - 1 - p },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "views.db")
			db := open(t, path)
			fold(t, db, w, keep)
			db.Close()
			was := t.TempDir()
			if err := os.CopyFS(was, os.DirFS(path+sqldb.FoldsSuffix)); err != nil {
				t.Fatal(err)
			}
			db = open(t, path)
			fold(t, db, w, all)
			dump := viewtest.Dump(t, db)
			db.Close()
			if err := os.RemoveAll(path + sqldb.FoldsSuffix); err != nil {
				t.Fatal(err)
			}
			if name != "lost" {
				if err := os.CopyFS(path+sqldb.FoldsSuffix, os.DirFS(was)); err != nil {
					t.Fatal(err)
				}
			}
			db = open(t, path)
			for p := range event.Partition(viewtest.Partitions) {
				if m, err := db.Mark(t.Context(), p); err != nil || int(m.Next) != keep(int(p)) {
					t.Fatal(m.Next, err)
				}
				if got, want := db.Progress().Marks[p], int64(keep(int(p))); got != want {
					t.Fatalf("it is said that everything before %d can be read, not %d", got, want)
				}
			}
			fold(t, db, w, all)
			if got := viewtest.Dump(t, db); got != dump {
				a, b := strings.Split(got, "\n"), strings.Split(dump, "\n")
				for i := range min(len(a), len(b)) {
					if a[i] != b[i] {
						t.Fatalf("folded once more: %.300s\nnot %.300s", a[i], b[i])
					}
				}
				t.Fatalf("folded once more, there are %d rows, not %d", len(a), len(b))
			}
			if got := unfit(t, db); len(got) != 0 {
				t.Fatal(got)
			}
		})
	}
}

// TestFoldsOfOthers: folds that are ahead of the rows, or those of other views, are dropped and folded anew.
func TestFoldsOfOthers(t *testing.T) {
	w := world(600)
	all := func(p int) int { return len(w.Steps[p]) }
	half := func(p int) int { return len(w.Steps[p]) / 2 }
	whole, dump := views(t, w, all)
	other, _ := views(t, w, half)
	t.Run("other views", func(t *testing.T) {
		if err := os.CopyFS(whole+"-kept", os.DirFS(whole+sqldb.FoldsSuffix)); err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(whole + sqldb.FoldsSuffix)
		if err := os.CopyFS(whole+sqldb.FoldsSuffix, os.DirFS(other+sqldb.FoldsSuffix)); err != nil {
			t.Fatal(err)
		}
		db := open(t, whole)
		if m, err := db.Mark(t.Context(), 0); err != nil || m.Next != 0 {
			t.Fatal(m, err)
		}
		fold(t, db, w, all)
		if viewtest.Dump(t, db) != dump {
			t.Fatal("folded anew, the rows are others")
		}
	})
	t.Run("older rows", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "views.db")
		db := open(t, path)
		fold(t, db, w, half)
		db.Close()
		rows, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		db = open(t, path)
		fold(t, db, w, all)
		db.Close()
		if err := os.WriteFile(path, rows, 0o600); err != nil {
			t.Fatal(err)
		}
		db = open(t, path)
		if m, err := db.Mark(t.Context(), 0); err != nil || m.Next != 0 {
			t.Fatal(m, err)
		}
		fold(t, db, w, all)
		if viewtest.Dump(t, db) != dump {
			t.Fatal("folded anew, the rows are others")
		}
	})
}

// TestFoldsDamaged: a store in which any file was cut, or has another octet, is made anew, while the views are open if a read
// finds it then: the answer is never another one.
func TestFoldsDamaged(t *testing.T) {
	w := world(600)
	all := func(p int) int { return len(w.Steps[p]) }
	path, dump := views(t, w, all)
	open(t, path).Close() // it moves what is in the store's write-ahead log into a table
	var files []string
	if err := fs.WalkDir(os.DirFS(path+sqldb.FoldsSuffix), ".", func(name string, e fs.DirEntry, err error) error {
		if info, e := e.Info(); err == nil && e == nil && !info.IsDir() && info.Size() > 0 {
			files = append(files, name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(files) < 4 || !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".sst") }) {
		t.Fatal(files)
	}
	for _, name := range files {
		for _, damage := range []string{"gone", "cut", "an octet"} {
			t.Run(name+"/"+damage, func(t *testing.T) {
				to := filepath.Join(t.TempDir(), "views.db")
				copyViews(t, path, to)
				file := filepath.Join(to+sqldb.FoldsSuffix, name)
				content, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				switch damage {
				case "gone":
					err = os.Remove(file)
				case "cut":
					err = os.Truncate(file, int64(len(content)/2))
				default:
					content[len(content)/2] ^= 0x10
					err = os.WriteFile(file, content, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				db := open(t, to)
				if err := tryDump(t, db); err != nil { // an empty store takes the place of one that a read finds damaged
					t.Log(err)
					servertest.Until(t, "the folds are made anew", func() bool { return tryDump(t, db) == nil })
				}
				fold(t, db, w, all)
				if got := viewtest.Dump(t, db); got != dump {
					t.Fatal("the rows are others")
				}
			})
		}
	}
}

func tryDump(t *testing.T, db *sqldb.DB) error {
	var b strings.Builder
	return db.Dump(t.Context(), &b)
}

func copyViews(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err == nil {
		err = os.CopyFS(to+sqldb.FoldsSuffix, os.DirFS(from+sqldb.FoldsSuffix))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOlderForms: folds of the forms before are read on, and a version that knows only those does not take the store for its
// own.
func TestOlderForms(t *testing.T) {
	for _, earlier := range []string{"", "+rows"} {
		t.Run(earlier, func(t *testing.T) { olderForm(t, earlier) })
	}
}

func olderForm(t *testing.T, earlier string) {
	const form = "+bytes"
	w := world(1500)
	whole, half := func(p int) int { return len(w.Steps[p]) }, func(p int) int { return len(w.Steps[p]) / 2 }
	_, dump := views(t, w, whole)
	path, _ := views(t, w, half)
	bound := func(change func(id string) string) (id string) {
		s, err := foldstore.Open(path+sqldb.FoldsSuffix, foldstore.Options{})
		if err == nil {
			id, err = s.Bound()
		}
		if err == nil && change != nil {
			err = s.Bind(change(id))
		}
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		return id
	}
	bound(func(id string) string { return strings.TrimSuffix(id, form) + earlier })
	db := open(t, path)
	for p := range viewtest.Partitions { // the folds are not made anew
		if m, err := db.Mark(t.Context(), event.Partition(p)); err != nil || m.Next != int64(half(p)) {
			t.Fatal(m.Next, err)
		}
	}
	fold(t, db, w, whole)
	if got := viewtest.Dump(t, db); got != dump {
		t.Fatal("the rows are others")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if id := bound(nil); !strings.HasSuffix(id, form) {
		t.Fatalf("an older version takes %q for its own", id)
	}
}
