package sqliteimage_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
)

// writer opens a database as the log's writer does, with an autocheckpoint of its own.
func writer(t testing.TB, path string, pageSize int) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=synchronous(off)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	run(t, db, fmt.Sprintf("PRAGMA page_size = %d", pageSize))
	run(t, db, "PRAGMA journal_mode = wal")
	run(t, db, "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v BLOB)")
	return db
}

func run(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// fill adds rows of very different sizes.
func fill(t testing.TB, db *sql.DB, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		run(t, db, "INSERT INTO t VALUES (?, ?)", i, strings.Repeat(fmt.Sprintf("%d-", i), 1+i*37%3000))
	}
}

// rows is all that a database shows, in one string; or the error.
func rows(db *sql.DB) string {
	var b strings.Builder
	for _, q := range []string{"SELECT rowid, name, coalesce(sql, '') FROM sqlite_schema ORDER BY rowid", "SELECT id, hex(v), length(v) FROM t ORDER BY id"} {
		rs, err := db.Query(q)
		if err != nil {
			return "error"
		}
		for rs.Next() {
			var id int64
			var v string
			var last any
			if err := rs.Scan(&id, &v, &last); err != nil {
				rs.Close()
				return "error"
			}
			fmt.Fprintln(&b, id, v, last)
		}
		if rs.Close(); rs.Err() != nil {
			return "error"
		}
	}
	return b.String()
}

// image is what the image shows; or the error.
func image(t testing.TB, path string) string {
	t.Helper()
	i, err := sqliteimage.Open(path)
	if err != nil {
		return "error"
	}
	defer func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}()
	return rows(i.DB())
}

// truth is what SQLite shows of a copy of the files.
func truth(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	snapshot(t, path, to)
	db, err := sql.Open("sqlite", "file:"+to)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return rows(db)
}

// snapshot copies the files as a kill at this moment would leave them.
func snapshot(t testing.TB, from, to string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-journal"} {
		b, err := os.ReadFile(from + suffix)
		if errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(to + suffix)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// hashes are the names in a folder with the hash, size, time and mode of each.
func hashes(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = fmt.Sprintf("%x %d %v %v", sha256.Sum256(b), info.Size(), info.ModTime(), info.Mode())
	}
	return out
}

// same opens the image and SQLite on a copy, wants the same of both, and that no file changed.
func same(t testing.TB, path string) string {
	t.Helper()
	before := hashes(t, filepath.Dir(path))
	got := image(t, path)
	if after := hashes(t, filepath.Dir(path)); !maps.Equal(before, after) {
		t.Fatalf("the files changed:\n%v\n%v", before, after)
	}
	if want := truth(t, path); got != want {
		t.Fatalf("the image shows %d bytes, SQLite %d:\n%.300s\n%.300s", len(got), len(want), got, want)
	}
	return got
}

func TestImageShowsWhatSQLiteShows(t *testing.T) {
	for _, size := range []int{512, 4096, 8192, 65536} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.db")
			db := writer(t, path, size)
			fill(t, db, 1, 40)
			if same(t, path) == "error" {
				t.Fatal("nothing can be read beside a running writer")
			}
			run(t, db, "PRAGMA wal_checkpoint(PASSIVE)")
			same(t, path)
			fill(t, db, 41, 10) // the write-ahead file is begun anew, and has old frames after the new ones
			same(t, path)
			run(t, db, "DELETE FROM t WHERE id > 20")
			run(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
			same(t, path)
			fill(t, db, 21, 10)
			killed := filepath.Join(t.TempDir(), "killed.db")
			snapshot(t, path, killed)
			if same(t, killed) != same(t, path) {
				t.Error("a copy shows something else")
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal("the test wants a clean close")
			}
			if same(t, path) != same(t, killed) {
				t.Error("a close changed what is shown")
			}
		})
	}
}

// TestImageNeedsNoRightToWrite opens the image in a folder that nobody may write to.
func TestImageNeedsNoRightToWrite(t *testing.T) {
	from := filepath.Join(t.TempDir(), "x.db")
	fill(t, writer(t, from, 4096), 1, 10)
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	snapshot(t, from, path)
	for _, p := range []string{path, path + "-wal"} {
		if err := os.Chmod(p, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	if got, want := image(t, path), image(t, from); got != want || got == "error" {
		t.Errorf("the image shows %.100s, want %.100s", got, want)
	}
	i, err := sqliteimage.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if _, err := i.DB().Exec("DELETE FROM t"); err == nil {
		t.Error("the image was written to")
	}
}

// TestImageSorts wants that a sort which is too large for the cache needs no scratch file.
func TestImageSorts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := writer(t, path, 4096)
	run(t, db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 30000) INSERT INTO t SELECT i, hex(randomblob(100)) FROM n")
	i, err := sqliteimage.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	var n int
	if err := i.DB().QueryRow("SELECT count(*) FROM (SELECT v FROM t ORDER BY v LIMIT 30000)").Scan(&n); err != nil || n != 30000 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func TestImageOfDamagedFiles(t *testing.T) {
	from := filepath.Join(t.TempDir(), "x.db")
	db := writer(t, from, 4096)
	fill(t, db, 1, 30)
	run(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
	fill(t, db, 31, 30)
	foreign := filepath.Join(t.TempDir(), "y.db")
	other := writer(t, foreign, 4096)
	run(t, other, "PRAGMA wal_checkpoint(TRUNCATE)")
	fill(t, other, 1000, 5)
	larger := filepath.Join(t.TempDir(), "z.db")
	fill(t, writer(t, larger, 8192), 2000, 5)

	wal, err := os.ReadFile(from + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	main, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	flipped := func(b []byte, at int) []byte {
		b = slices.Clone(b)
		b[at] ^= 1
		return b
	}
	for name, files := range map[string][2][]byte{
		"as is":                           {main, wal},
		"write-ahead file lost":           {main, nil},
		"write-ahead file empty":          {main, {}},
		"write-ahead file of another":     {main, read(foreign + "-wal")},
		"both of another, in part":        {read(foreign), wal},
		"a bit of the header flipped":     {main, flipped(wal, 13)},
		"a bit of the first frame":        {main, flipped(wal, 32+24+100)},
		"a bit of a frame in the middle":  {main, flipped(wal, len(wal)/2)},
		"a bit of the last frame":         {main, flipped(wal, len(wal)-1)},
		"a bit of a salt":                 {main, flipped(wal, 32+24+4096+9)},
		"zeros after the frames":          {main, append(slices.Clone(wal), make([]byte, 9000)...)},
		"the database cut in the middle":  {main[:len(main)/2], nil},
		"cut, with its write-ahead file":  {main[:len(main)/2], wal},
		"cut within a page":               {main[:len(main)-1000], nil},
		"cut to a few bytes":              {main[:50], nil},
		"the header's magic flipped":      {flipped(main, 3), nil},
		"a bit of the schema flipped":     {flipped(main, 4000), nil},
		"a bit of a page flipped":         {flipped(main, 2*4096+10), nil},
		"not a database":                  {[]byte(strings.Repeat("no database ", 2000)), nil},
		"not a database, but a good log":  {[]byte(strings.Repeat("no database ", 2000)), wal},
		"a write-ahead file of something": {main, []byte(strings.Repeat("what is this ", 2000))},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			if err := os.WriteFile(path, files[0], 0o600); err != nil {
				t.Fatal(err)
			}
			if files[1] != nil {
				if err := os.WriteFile(path+"-wal", files[1], 0o600); err != nil {
					t.Fatal(err)
				}
			}
			same(t, path)
		})
	}
	t.Run("pages of another size", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		snapshot(t, from, path)
		b := read(larger + "-wal")
		if err := os.WriteFile(path+"-wal", b, 0o600); err != nil {
			t.Fatal(err)
		}
		// Its first page is in the write-ahead file: SQLite shows the other database.
		same(t, path)
	})
	t.Run("missing", func(t *testing.T) {
		_, err := sqliteimage.Open(filepath.Join(t.TempDir(), "x.db"))
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})
	t.Run("empty", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+"-wal", wal, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqliteimage.Open(path); !errors.Is(err, sqliteimage.ErrEmpty) {
			t.Errorf("%v", err)
		}
	})
	t.Run("a folder", func(t *testing.T) {
		if i, err := sqliteimage.Open(t.TempDir()); err == nil {
			i.Close()
			t.Error("a folder was opened")
		}
	})
}

// TestImageOfEveryCut cuts the write-ahead file at the edges of every frame and of its parts.
func TestImageOfEveryCut(t *testing.T) {
	for _, size := range []int{4096, 8192} {
		from := filepath.Join(t.TempDir(), "x.db")
		db := writer(t, from, size)
		fill(t, db, 1, 3)
		run(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
		fill(t, db, 4, 6)
		wal, err := os.ReadFile(from + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "x.db")
		snapshot(t, from, path)
		seen := map[string]bool{}
		for frame := 32; frame <= len(wal); frame += size + 24 {
			for _, at := range []int{-32, -1, 0, 1, 8, 23, 24, 25, size / 2} {
				if frame+at < 0 || frame+at > len(wal) {
					continue
				}
				if err := os.WriteFile(path+"-wal", wal[:frame+at], 0o600); err != nil {
					t.Fatal(err)
				}
				seen[same(t, path)] = true
			}
		}
		if len(seen) != 7 {
			t.Errorf("%d states were seen (%d bytes); each of 6 commits makes one", len(seen), len(wal))
		}
	}
}

// TestImageOfRandomHistories writes at random, checkpoints at random, cuts and flips at random.
func TestImageOfRandomHistories(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.db")
		db := writer(t, path, rapid.SampledFrom([]int{512, 1024, 4096, 8192}).Draw(rt, "page size"))
		defer db.Close()
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		cut := filepath.Join(dir, "cut.db")
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rnd.IntN(9) {
			case 0:
				run(t, db, "PRAGMA wal_checkpoint(PASSIVE)")
			case 1:
				run(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
			case 2:
				run(t, db, "DELETE FROM t WHERE id % ? = 0", 1+rnd.IntN(4))
			case 3:
				run(t, db, "UPDATE t SET v = zeroblob(?) WHERE id % 3 = ?", rnd.IntN(5000), rnd.IntN(3))
			case 4:
				run(t, db, "VACUUM")
			case 5: // a transaction that is rolled back after it has spilled
				run(t, db, "PRAGMA cache_size = 5")
				run(t, db, "BEGIN")
				run(t, db, "INSERT INTO t SELECT NULL, randomblob(3000) FROM t LIMIT 20")
				if rnd.IntN(2) == 0 {
					snapshot(t, path, cut) // with frames of a transaction that is open
					equal(rt, t, cut)
				}
				run(t, db, "ROLLBACK")
			default:
				run(t, db, "INSERT INTO t VALUES (NULL, randomblob(?))", rnd.IntN(20000))
			}
			equal(rt, t, path)
		}
		snapshot(t, path, cut)
		wal, err := os.ReadFile(cut + "-wal")
		if err != nil || len(wal) == 0 {
			return
		}
		for range 6 {
			b := wal[:rnd.IntN(len(wal)+1)]
			if len(b) > 0 && rnd.IntN(3) == 0 {
				b = slices.Clone(b)
				b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			}
			if err := os.WriteFile(cut+"-wal", b, 0o600); err != nil {
				t.Fatal(err)
			}
			// A file that ends before a page that it must have is refused by the image, while SQLite may read the rest and say
			// nothing of what is gone.
			if got := image(t, cut); got != "error" {
				equal(rt, t, cut)
			}
		}
	})
}

// equal is same for a test of rapid.
func equal(rt *rapid.T, t *testing.T, path string) {
	before := hashes(t, filepath.Dir(path))
	got := image(t, path)
	if !maps.Equal(before, hashes(t, filepath.Dir(path))) {
		rt.Fatal("the files changed")
	}
	if want := truth(t, path); got != want {
		rt.Fatalf("the image shows %d bytes, SQLite %d", len(got), len(want))
	}
}

// TestImageBesideAWriter reads while another process writes and checkpoints, and kills it.
func TestImageBesideAWriter(t *testing.T) {
	if path := os.Getenv("IMAGE_TEST_WRITER"); path != "" {
		db := writer(t, path, 4096)
		for i := 1; i <= 3000; i++ { // a bound, so that a test that hangs fills no disk
			run(t, db, "INSERT INTO t VALUES (?, zeroblob(6000))", i)
			if i%50 == 0 {
				run(t, db, "PRAGMA wal_checkpoint(PASSIVE)")
			}
			if i == 1 {
				fmt.Println("ready")
			}
		}
		select {} // until it is killed
	}
	path := filepath.Join(t.TempDir(), "x.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestImageBesideAWriter$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), "IMAGE_TEST_WRITER="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	defer func() {
		if !killed {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	whole, last := 0, 0
	for whole < 30 {
		i, err := sqliteimage.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var n, most, first int
		err = i.DB().QueryRow("SELECT count(*), max(id), min(id) FROM t").Scan(&n, &most, &first)
		changed, e := i.Changed()
		if e != nil {
			t.Fatal(e)
		}
		if e := i.Close(); e != nil {
			t.Fatal(e)
		}
		if err == nil && n == most && first == 1 {
			if n < last {
				t.Fatalf("%d rows after %d", n, last)
			}
			whole, last = whole+1, n
		} else if !changed {
			t.Fatalf("%d rows up to %d (%v), and nothing is said to have changed", n, most, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	killed = true
	same(t, path)
}

func TestImageChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := writer(t, path, 4096)
	fill(t, db, 1, 5)
	changed := func(i *sqliteimage.Image) bool {
		t.Helper()
		c, err := i.Changed()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, change := range map[string]func(){
		"a commit":     func() { fill(t, db, 100, 1) },
		"a checkpoint": func() { run(t, db, "PRAGMA wal_checkpoint(TRUNCATE)"); fill(t, db, 200, 1) },
		"another file": func() {
			db.Close()
			b, _ := os.ReadFile(path)
			if err := errors.Join(os.WriteFile(path+"2", b, 0o600), os.Rename(path+"2", path)); err != nil {
				t.Fatal(err)
			}
		},
		"no file": func() { os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			path = filepath.Join(t.TempDir(), "y.db")
			db = writer(t, path, 4096)
			fill(t, db, 1, 1)
			i, err := sqliteimage.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer i.Close()
			if changed(i) {
				t.Error("changed before anything did")
			}
			change()
			if !changed(i) {
				t.Error("the change is not seen")
			}
		})
	}
}

// TestImageOfAFirstTransaction has the files that a kill in the first transaction of a database leaves.
func TestImageOfAFirstTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db := writer(t, path, 4096)
	db.Close()
	journal := make([]byte, 512)
	copy(journal, []byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7})
	binary.BigEndian.PutUint32(journal[20:], 512)
	binary.BigEndian.PutUint32(journal[24:], 4096)
	if err := os.WriteFile(path+"-journal", journal, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqliteimage.Open(path); !errors.Is(err, sqliteimage.ErrEmpty) {
		t.Errorf("%v", err)
	}
	if got := truth(t, path); got != "error" { // no table t
		t.Errorf("SQLite shows %q", got)
	}
	binary.BigEndian.PutUint32(journal[16:], 1)
	if err := os.WriteFile(path+"-journal", journal, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqliteimage.Open(path); !errors.Is(err, sqliteimage.ErrDamaged) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(path+"-journal", make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	same(t, path)
}
