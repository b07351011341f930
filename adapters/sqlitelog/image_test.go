package sqlitelog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func openImage(t testing.TB, path string) *Image {
	t.Helper()
	i, err := OpenImage(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

// files are the names in a folder, each with its hash, size, time and mode.
func files(t testing.TB, dir string) map[string]string {
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

// sameAs wants that an image has the events of a log, and knows its heads.
func sameAs(t *testing.T, i *Image, l *Log) {
	t.Helper()
	if i.Source() != l.Source() || i.Partitions() != l.Partitions() {
		t.Fatalf("%s with %d partitions, want %s with %d", i.Source(), i.Partitions(), l.Source(), l.Partitions())
	}
	known, err := i.Known()
	if err != nil || "/"+known.Ledger != l.Source() || len(known.Heads) != l.Partitions()+3 {
		t.Fatalf("known: %v, %v", known, err)
	}
	for p := event.AuditPartition; int(p) < l.Partitions(); p++ {
		want, got := logtest.ReadAll(t, l, p), logtest.ReadAll(t, i, p)
		if len(want) != len(got) {
			t.Fatalf("%s has %d events, want %d", p, len(got), len(want))
		}
		raws, err := i.Raw(p, 0, len(want)+1)
		if err != nil || len(raws) != len(want) {
			t.Fatalf("%s has %d raw events, want %d: %v", p, len(raws), len(want), err)
		}
		head := ledger.Head{Next: int64(len(want))}
		for n := range want {
			if !bytes.Equal(want[n].Raw, got[n].Raw) || !bytes.Equal(want[n].Raw, raws[n]) || got[n].Event.ID != want[n].Event.ID || got[n].Index != int64(n) {
				t.Fatalf("%s-%d is another event", p, n)
			}
			head.Hash = sha256.Sum256(want[n].Raw)
		}
		if known.Heads[p] != head {
			t.Errorf("known of %s: %v, want %v", p, known.Heads[p], head)
		}
	}
}

func TestImage(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 4, TailBytes: 1})
	add := func(from int) {
		for n := from; n < from+60; n++ {
			if a := logtest.Wait(l, event.Partition(n%6-3), logtest.Events(n, 1+n%3)); a.Err != nil { // partition 3 stays empty
				t.Fatal(a.Err)
			}
		}
	}
	add(0)
	i := openImage(t, dir)
	sameAs(t, i, l)
	before := len(logtest.ReadAll(t, i, 0))
	add(100)
	if n := len(logtest.ReadAll(t, i, 0)); n != before {
		t.Errorf("an image grew from %d to %d events", before, n)
	}
	sameAs(t, openImage(t, filepath.Join(dir, file)), l)
	if a := logtest.Wait(i, 0, logtest.Events(1, 1)); !errors.Is(a.Err, ledger.ErrRefused) {
		t.Errorf("an append to an image: %v", a.Err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rs, head, err := i.Read(ctx, 0, int64(before), 5); len(rs) != 0 || head != int64(before) || err != nil {
		t.Errorf("at the head: %v, %d, %v", rs, head, err)
	}
	if _, _, err := i.Read(ctx, 0, int64(before)+1, 5); !errors.Is(err, ledger.ErrAhead) {
		t.Errorf("past the head: %v", err)
	}

	// A copy, as a kill leaves it, with nothing else in its folder; then without its write-ahead file.
	copied := t.TempDir()
	for _, name := range []string{file, file + "-wal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, name), b, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	hashes := files(t, copied)
	sameAs(t, openImage(t, copied), l)
	if after := files(t, copied); !maps.Equal(hashes, after) {
		t.Errorf("reading changed files:\n%v\n%v", hashes, after)
	}
	l.Close()
	hashes = files(t, dir)
	closed := openImage(t, dir)
	copyOf := openImage(t, copied)
	for p := event.AuditPartition; p < 4; p++ {
		if len(logtest.ReadAll(t, closed, p)) != len(logtest.ReadAll(t, copyOf, p)) {
			t.Errorf("%s differs after a close", p)
		}
	}
	if after := files(t, dir); !maps.Equal(hashes, after) {
		t.Errorf("reading changed files:\n%v\n%v", hashes, after)
	}
	closed.Close()
	if _, _, err := closed.Read(t.Context(), 0, 0, 1); err == nil {
		t.Error("a closed image was read")
	}
}

func TestImageOfNoLedger(t *testing.T) {
	if _, err := OpenImage(t.TempDir()); !errors.Is(err, ErrNoLedger) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	path := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenImage(path); !errors.Is(err, ErrNoLedger) {
		t.Errorf("an empty file: %v", err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("PRAGMA journal_mode = WAL"); err != nil { // killed before its tables were made
		t.Fatal(err)
	}
	if _, err := OpenImage(path); !errors.Is(err, ErrNoLedger) {
		t.Errorf("no tables: %v", err)
	}
	if _, err := db.Exec("CREATE TABLE t (x)"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenImage(path); err == nil || errors.Is(err, ErrNoLedger) {
		t.Errorf("another database: %v", err)
	}
	if err := os.WriteFile(path, []byte("what is this"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenImage(path); err == nil || errors.Is(err, ErrNoLedger) {
		t.Errorf("no database: %v", err)
	}
}

// TestImageOfAnOlderLedger has no audit log.
func TestImageOfAnOlderLedger(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 4})
	if a := logtest.Wait(l, 1, logtest.Events(1, 3)); a.Err != nil {
		t.Fatal(a.Err)
	}
	l.Close()
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, file), ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("DROP TABLE audit"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	i := openImage(t, dir)
	if n := len(logtest.ReadAll(t, i, event.AuditPartition)); n != 0 {
		t.Errorf("%d events", n)
	}
	if n := len(logtest.ReadAll(t, i, 1)); n != 3 {
		t.Errorf("%d events", n)
	}
	if _, err := i.Known(); err != nil {
		t.Error(err)
	}
}

// TestImageBesideARunningNode reads a ledger again and again while another process appends to it and brings
// its write-ahead file in, and wants every event that had been acknowledged before, and no damage.
func TestImageBesideARunningNode(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SQLITELOG_TEST_APPENDER="+dir, "SQLITELOG_TEST_BODY=10000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	// It must not wait for this test, so that it writes while the images are read.
	acked := make(chan map[event.Partition]int64, 1)
	acked <- map[event.Partition]int64{}
	go func() {
		for in := bufio.NewScanner(out); in.Scan(); {
			var p event.Partition
			var first, seed, count int64
			if _, err := fmt.Sscan(in.Text(), &p, &first, &seed, &count); err != nil {
				t.Errorf("%q: %v", in.Text(), err)
			}
			m := <-acked
			m[p] = max(m[p], first+count)
			acked <- m
		}
	}()
	renewed, most := 0, int64(0)
	for rounds := 0; rounds < 6 || most < 200; rounds++ {
		m := <-acked
		wants := maps.Clone(m)
		acked <- m
		if len(wants) == 0 { // the ledger may not be there yet
			continue
		}
		i := openImage(t, dir)
		first := i.now
		for p, want := range wants {
			most = max(most, want)
			rs := logtest.ReadAll(t, i, p)
			if int64(len(rs)) < want {
				t.Fatalf("%s has %d events, and %d were acknowledged", p, len(rs), want)
			}
			for _, r := range rs {
				if r.Bad != nil {
					t.Fatal(r.Bad)
				}
			}
		}
		if _, err := i.Known(); err != nil {
			t.Fatal(err)
		}
		if i.now != first {
			renewed++
		}
		i.Close()
	}
	t.Logf("%d images were renewed while they were read", renewed)
}

// TestImageRenews changes the files under an image that has read nothing yet.
func TestImageRenews(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 4, Interval: -1})
	for n := range 30 {
		if a := logtest.Wait(l, 0, logtest.Events(n, 2)); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	i := openImage(t, dir)
	// The write-ahead file is brought in, and begun anew.
	if _, err := l.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	for n := range 40 {
		if a := logtest.Wait(l, 1, logtest.Events(100+n, 2)); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	old := i.now
	if n := len(logtest.ReadAll(t, i, 0)); n != 60 {
		t.Errorf("%d events", n)
	}
	if i.now == old {
		t.Error("the test wants that the image had to be renewed")
	}
	if _, head, _ := i.Read(t.Context(), 1, 0, 0); head != 0 {
		t.Errorf("the head moved to %d", head)
	}
	// Another ledger in its place is no newer moment of this one.
	other := t.TempDir()
	if a := logtest.Wait(open(t, other, Options{Partitions: 4}), 0, logtest.Events(1, 1)); a.Err != nil {
		t.Fatal(a.Err)
	}
	j := openImage(t, dir)
	for _, name := range []string{file, file + "-wal"} {
		b, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := j.Read(ctx, 0, 0, 10); err == nil {
		t.Error("another ledger was read")
	}
}

// Many goroutines read one image at once, each another partition, and each gets what one reader gets.
func TestImageReadByMany(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 4, TailBytes: 1})
	for n := range 120 {
		if a := logtest.Wait(l, event.Partition(n%4), logtest.Events(n, 1+n%3)); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	i := openImage(t, dir)
	var all sync.WaitGroup
	for n := range 8 {
		p := event.Partition(n % 4)
		want := logtest.ReadAll(t, l, p)
		all.Go(func() {
			for at := 0; at < len(want); {
				raws, err := i.Raw(p, int64(at), 1+n)
				if err != nil || len(raws) == 0 {
					t.Errorf("%s-%d: %d events, %v", p, at, len(raws), err)
					return
				}
				for _, raw := range raws {
					if !bytes.Equal(raw, want[at].Raw) {
						t.Errorf("%s-%d is another event", p, at)
					}
					clear(raw) // it is the reader's own
					at++
				}
			}
		})
	}
	all.Wait()
}
