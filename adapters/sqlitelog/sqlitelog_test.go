package sqlitelog

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SQLITELOG_TEST_APPENDER"); dir != "" {
		appender(dir)
	}
	os.Exit(m.Run())
}

func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func fixture(o Options) func(t *testing.T) logtest.Fixture {
	o.Partitions = 4
	return func(t *testing.T) logtest.Fixture {
		dir := t.TempDir()
		l := open(t, dir, o)
		var fault atomic.Pointer[func(string) error]
		setFault := func(l *Log) {
			l.fault = func(point string) error {
				if f := fault.Load(); f != nil {
					return (*f)(point)
				}
				return nil
			}
		}
		setFault(l)
		reopen := func(decode bool) func(t *testing.T) ledger.Log {
			return func(t *testing.T) ledger.Log {
				fault.Store(nil)
				l.Close()
				o := o
				o.Decode = o.Decode || decode
				l = open(t, dir, o)
				setFault(l)
				return l
			}
		}
		return logtest.Fixture{
			Log:    l,
			Close:  func() error { return l.Close() },
			Reopen: reopen(false),
			Decode: reopen(true),
			Stall: func() func() {
				gate := make(chan struct{})
				f := func(point string) error {
					if point == "commit" {
						<-gate
					}
					return nil
				}
				fault.Store(&f)
				return func() { close(gate) }
			},
			Fail: func(what logtest.Fault) {
				f := func(point string) error {
					at := map[logtest.Fault]string{logtest.Failed: "commit", logtest.FailedButPersisted: "committed", refusedFault: "insert"}[what]
					if point != at {
						return nil
					}
					fault.Store(nil)
					return errors.New("disk I/O error")
				}
				fault.Store(&f)
			},
		}
	}
}

// refusedFault is an insert that fails: the transaction surely did not commit.
const refusedFault logtest.Fault = "failed before its commit"

func TestConformance(t *testing.T) {
	for name, o := range map[string]Options{
		"default":                  {},
		"tail of a few events":     {TailBytes: 3000, Interval: -1},
		"everything from the file": {Decode: true, Interval: -1},
	} {
		t.Run(name, func(t *testing.T) { logtest.Exercise(t, fixture(o)) })
	}
}

func TestFaults(t *testing.T) {
	for _, f := range []logtest.Fault{logtest.Failed, logtest.FailedButPersisted, refusedFault} {
		t.Run(string(f), func(t *testing.T) { logtest.ExerciseFault(t, f, fixture(Options{})) })
	}
}

func TestFailedCommitStops(t *testing.T) {
	f := fixture(Options{})(t)
	l := f.Log.(*Log)
	if ok, _, detail := l.Health(); !ok || detail != "" {
		t.Fatal(detail)
	}
	f.Fail(logtest.Failed)
	if a := logtest.Wait(l, 0, logtest.Events(1, 1)); !errors.Is(a.Err, ledger.ErrUnknown) {
		t.Fatalf("a failed COMMIT gave %v, want ErrUnknown", a.Err)
	}
	if a := logtest.Wait(l, 0, logtest.Events(2, 1)); !errors.Is(a.Err, ledger.ErrRefused) {
		t.Fatalf("the next append gave %v, want ErrRefused", a.Err)
	}
	if ok, _, detail := l.Health(); ok || !strings.Contains(detail, "restart the node") {
		t.Fatalf("it does not say that the log stopped, but %q", detail)
	}
	l = f.Reopen(t).(*Log)
	f.Fail(refusedFault)
	if a := logtest.Wait(l, 0, logtest.Events(1, 1)); !errors.Is(a.Err, ledger.ErrRefused) {
		t.Fatalf("a failed INSERT gave %v, want ErrRefused", a.Err)
	}
	if a := logtest.Wait(l, 0, logtest.Events(2, 1)); a.Err != nil {
		t.Fatalf("after a failed INSERT: %v", a.Err)
	}
}

// What was queued behind a commit that failed was surely not appended.
func TestQueuedBehindAFailure(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	reached, gate := make(chan bool), make(chan bool)
	first := true
	l.fault = func(point string) error {
		if point != "commit" || !first {
			return nil
		}
		first = false
		reached <- true
		<-gate
		l.rollback.Exec() // as SQLite may do by itself
		return errors.New("disk I/O error")
	}
	answers := make([]error, 3)
	var wg sync.WaitGroup
	wg.Add(3)
	for i := range answers {
		l.Append(0, logtest.Events(i, 1), func(a ledger.Appended) {
			answers[i] = a.Err
			wg.Done()
		})
		if i == 0 {
			<-reached
		}
	}
	close(gate)
	wg.Wait()
	for i, err := range answers {
		want := ledger.ErrRefused
		if i == 0 {
			want = ledger.ErrUnknown
		}
		if !errors.Is(err, want) {
			t.Errorf("append %d: %v, want %v", i, err, want)
		}
	}
}

func TestFullDisk(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	if _, err := l.write.Exec("PRAGMA max_page_count = 20"); err != nil {
		t.Fatal(err)
	}
	var acked int
	var a ledger.Appended
	for a.Err == nil {
		if a = logtest.Wait(l, 0, logtest.Events(acked, 8)); a.Err == nil {
			acked++
		}
	}
	if !errors.Is(a.Err, ledger.ErrRefused) || l.failed != nil {
		t.Fatalf("a full disk gave %v and %v, want ErrRefused and a log that goes on", a.Err, l.failed)
	}
	if _, err := l.write.Exec("PRAGMA max_page_count = 2000"); err != nil {
		t.Fatal(err)
	}
	if a := logtest.Wait(l, 0, logtest.Events(acked, 8)); a.Err != nil || a.First != int64(acked)*8 {
		t.Fatalf("after room was made: %+v, want position %d", a, acked*8)
	}
}

// A disk that is full at COMMIT leaves one append in doubt, and stops nothing.
func TestFullDiskAtCommit(t *testing.T) {
	other := open(t, t.TempDir(), Options{})
	if _, err := other.write.Exec("PRAGMA max_page_count = 3"); err != nil {
		t.Fatal(err)
	}
	_, full := other.write.Exec("CREATE TABLE x AS SELECT zeroblob(1000000)") // SQLite's own error
	for _, point := range []string{"commit", "committed"} {
		t.Run(point, func(t *testing.T) {
			l := open(t, t.TempDir(), Options{})
			fail := true
			l.fault = func(at string) error {
				if fail && at == point {
					fail = false
					return full
				}
				return nil
			}
			a := logtest.Wait(l, 0, logtest.Events(1, 3))
			if !errors.Is(a.Err, ledger.ErrUnknown) {
				t.Fatalf("%v, want ErrUnknown", a.Err)
			}
			a = logtest.Wait(l, 0, logtest.Events(2, 1))
			if point == "commit" {
				if a.Err != nil || a.First != 0 || len(logtest.ReadAll(t, l, 0)) != 1 {
					t.Fatalf("the next append: %+v", a)
				}
			} else if !errors.Is(a.Err, ledger.ErrRefused) || l.queue.err() == nil {
				// SQLite had committed it after all: the next must not take its place.
				t.Fatalf("the next append: %+v, and the log says %v", a, l.queue.err())
			}
		})
	}
}

func TestFullQueue(t *testing.T) {
	for name, o := range map[string]Options{
		"events": {QueueEvents: 10},
		"bytes":  {QueueBytes: 4000},
	} {
		t.Run(name, func(t *testing.T) {
			f := fixture(o)(t)
			release := f.Stall()
			answers := make(chan error, 100)
			for i := range 100 {
				f.Log.Append(0, logtest.Events(i, 1), func(a ledger.Appended) { answers <- a.Err })
			}
			refused := 0
			// The refused ones are answered although nothing can be written.
			for len(answers) > 0 {
				if err := <-answers; !errors.Is(err, ledger.ErrRefused) {
					t.Fatal(err)
				}
				refused++
			}
			if refused == 0 || refused == 100 {
				t.Fatalf("%d of 100 appends were refused", refused)
			}
			release()
			for range 100 - refused {
				if err := <-answers; err != nil {
					t.Fatal(err)
				}
			}
			if n := len(logtest.ReadAll(t, f.Log, 0)); n != 100-refused {
				t.Fatalf("%d events, want %d", n, 100-refused)
			}
		})
	}
}

func TestWhoMayOpen(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 8, NumberForms: 3})
	if _, err := Open(dir, Options{NumberForms: 3}); err == nil ||
		err.Error() != fmt.Sprintf("another chirograph (pid %d) is using %s", os.Getpid(), dir) {
		t.Errorf("a second Open gave %v", err)
	}
	source := l.Source()
	if len(source) != 9 || source[0] != '/' {
		t.Errorf("source %q", source)
	}
	var size int
	if err := l.write.QueryRow("PRAGMA page_size").Scan(&size); err != nil || size != 8192 {
		t.Errorf("page size %d, %v", size, err)
	}
	for _, pragma := range []struct{ name, want string }{{"journal_mode", "wal"}, {"synchronous", "2"}} {
		var got string
		if err := l.write.QueryRow("PRAGMA " + pragma.name).Scan(&got); err != nil || got != pragma.want {
			t.Errorf("%s is %s, %v; want %s", pragma.name, got, err, pragma.want)
		}
	}
	l.Close()
	fails := func(o Options, want string) {
		t.Helper()
		if l, err := Open(dir, o); err == nil {
			l.Close()
			t.Errorf("%+v opened", o)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	fails(Options{Partitions: 16, NumberForms: 3}, "has 8 partitions, not 16")
	fails(Options{NumberForms: 4}, "version 3 of the canonical number forms")
	fails(Options{Partitions: -1}, "1 to 4096 partitions")
	l = open(t, dir, Options{NumberForms: 3})
	if l.Source() != source || l.Partitions() != 8 {
		t.Errorf("reopened: %s with %d partitions", l.Source(), l.Partitions())
	}
	l.Close()

	change := func(text string) {
		t.Helper()
		db, err := sql.Open("sqlite", filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	change("PRAGMA user_version = 3")
	fails(Options{NumberForms: 3}, "format 3")
	change("PRAGMA user_version = 1; PRAGMA application_id = 7")
	fails(Options{NumberForms: 3}, "another application")
	if err := os.WriteFile(filepath.Join(dir, file), bytes.Repeat([]byte("a letter "), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(Options{NumberForms: 3}, "not a ledger")
}

// damage makes a ledger of many commits, breaks it, and gives the first error of
// reading it, partition 1 first, and how many events were read before that.
func damage(t *testing.T, breakIt func(path string)) (int, error) {
	dir := t.TempDir()
	l := open(t, dir, Options{Interval: -1})
	for i := range 40 {
		for p := range 3 {
			if a := logtest.Wait(l, event.Partition(p), logtest.Events(i, 4)); a.Err != nil {
				t.Fatal(a.Err)
			}
		}
	}
	l.Close()
	breakIt(filepath.Join(dir, file))
	// The image says the same as the log, event for event and word for word.
	var n int
	var damaged error
	if i, err := OpenImage(dir); err != nil {
		damaged = err
	} else {
		n, damaged = readDamaged(i)
		i.Close()
	}
	l, err := Open(dir, Options{})
	if err != nil {
		if damaged == nil || damaged.Error() != err.Error() {
			t.Errorf("the log says %v, and its image %v", err, damaged)
		}
		return 0, err
	}
	defer l.Close()
	read, err := readDamaged(l)
	if read != n || fmt.Sprint(err) != fmt.Sprint(damaged) {
		t.Errorf("the log says %d, %v, and its image %d, %v", read, err, n, damaged)
	}
	return read, err
}

// readDamaged reads until there is an error, partition 1 first, and says how many events came before.
func readDamaged(l ledger.Log) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	read := int64(-1)
	for _, p := range []event.Partition{1, 0, 2} {
		for next := int64(0); ; {
			records, head, err := l.Read(ctx, p, next, 7)
			if err != nil {
				return int(max(next, read)), err
			}
			if next += int64(len(records)); next == head {
				read = max(read, next)
				break
			}
		}
	}
	return int(read), nil
}

func TestDamage(t *testing.T) {
	if n, err := damage(t, func(string) {}); n != 160 || err != nil {
		t.Fatalf("undamaged: %d events, %v", n, err)
	}
	alter := func(text string) func(string) {
		return func(path string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if r, err := db.Exec(text); err != nil {
				t.Fatal(err)
			} else if n, _ := r.RowsAffected(); n != 1 {
				t.Fatalf("%d rows", n)
			}
		}
	}
	for _, c := range []struct{ name, text, want string }{
		// Commit 62 holds partition 1's events 80 to 83.
		{"a changed body", "UPDATE commits SET body = CAST(replace(CAST(body AS TEXT), 'acme', 'acne') AS BLOB) WHERE id = 62", "01-80: commit 62 is damaged: its events"},
		{"a cut body", "UPDATE commits SET body = substr(body, 1, length(body)-1) WHERE id = 62", "01-80: commit 62 is damaged: its events"},
		{"a changed directory", "UPDATE commits SET dir = x'07' || substr(dir, 2) WHERE id = 62", "01-80: commit 62 is damaged: its directory"},
		{"a missing commit", "DELETE FROM commits WHERE id = 62", "01-80: commit "},
		{"a moved commit", "UPDATE commits SET dir = (SELECT dir FROM commits WHERE id = 65), body = (SELECT body FROM commits WHERE id = 65) WHERE id = 62", "01-80: commit 62 is damaged: its directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := damage(t, alter(c.text))
			if n != 80 || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d events, then %v; want 80, then %q", n, err, c.want)
			}
		})
	}
	t.Run("a last commit that is damaged", func(t *testing.T) {
		_, err := damage(t, alter("UPDATE commits SET dir = x'07' || substr(dir, 2) WHERE id = 120"))
		if err == nil || !strings.Contains(err.Error(), "the last commit, 120, is damaged (table commits)") {
			t.Errorf("%v", err)
		}
	})
	t.Run("a flipped bit in the file", func(t *testing.T) {
		_, err := damage(t, func(path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.LastIndex(b[:len(b)*2/3], []byte("MessageSubmitted"))
			b[at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		})
		if err == nil {
			t.Fatal("a flipped bit was read over")
		}
		if !strings.Contains(err.Error(), "is damaged: its events do not match their checksum") {
			t.Error(err)
		}
	})
	t.Run("a file cut in half", func(t *testing.T) {
		_, err := damage(t, func(path string) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()/2/8192*8192); err != nil {
				t.Fatal(err)
			}
		})
		if err == nil || !strings.Contains(err.Error(), "malformed") {
			t.Error(err)
		}
	})
}

// The rows' format is a promise: these bytes may never change their meaning.
func TestFormat(t *testing.T) {
	segments := []segment{{}, {head: 300, count: 2, size: 5}, {head: 7, count: 1, size: 3}}
	body := []byte("\x01a\x02bc\x02de")
	row := appendDir(nil, 9, segments, body)
	if got := fmt.Sprintf("%x", row); got != "000000ac020205070103a643943cf6517f30" {
		t.Errorf("dir is %s", got)
	}
	back, _, err := parseDir(9, row, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range segments {
		if back[i] != segments[i] {
			t.Errorf("slot %d: %+v, want %+v", i, back[i], segments[i])
		}
	}
	for i, want := range [][]string{{}, {"a", "bc"}, {"de"}} {
		raws, err := split(body, back, i)
		if err != nil || len(raws) != len(want) {
			t.Fatalf("slot %d: %q, %v", i, raws, err)
		}
		for k := range want {
			if string(raws[k]) != want[k] {
				t.Errorf("slot %d: %q, want %q", i, raws, want)
			}
		}
	}
	for i := range row {
		for bit := range 8 {
			bad := bytes.Clone(row)
			bad[i] ^= 1 << bit
			if _, _, err := parseDir(9, bad, 3); err == nil {
				t.Fatalf("bit %d of byte %d may change unseen", bit, i)
			}
		}
	}
	if _, _, err := parseDir(10, row, 3); err == nil {
		t.Error("a row may move unseen")
	}
	if _, _, err := parseDir(9, row, 4); err == nil {
		t.Error("a row with too few partitions is taken")
	}
}

// What is packed is promised too: what is stored today is read by every later version.
func TestPacked(t *testing.T) {
	ab, xyz := bytes.Repeat([]byte("ab"), 75), bytes.Repeat([]byte("xyz"), 60)
	segments := []segment{{}, {head: 300, count: 2, size: 334}, {head: 7, count: 1, size: 3}}
	body := slices.Concat([]byte("\x96\x01"), ab, []byte("\xb4\x01"), xyz, []byte("\x02de"))
	stored, err := hex.DecodeString("00d1020c96016162110215008410b40178797a11031500a108026465")
	if err != nil {
		t.Fatal(err)
	}
	back, err := unpack(stored, segments)
	if err != nil || !bytes.Equal(back, body) {
		t.Fatalf("%x, %v", back, err)
	}
	if again := pack(new([]byte), body); len(again) > len(stored) || again[0] != packedMark {
		t.Errorf("%x", again)
	} else if back, err := unpack(again, segments); err != nil || !bytes.Equal(back, body) {
		t.Errorf("%x, %v", back, err)
	}
	if short := []byte("\x01a\x02bc\x02de"); !bytes.Equal(pack(new([]byte), short), short) {
		t.Error("what does not get smaller was packed")
	}
	segments[2].size = 4
	if _, err := unpack(stored, segments); err == nil {
		t.Error("it has not the size that its directory says")
	}
	segments[2].size = 1 << 40
	if _, err := unpack(binary.AppendUvarint([]byte{packedMark}, 334+1<<40), segments); err == nil {
		t.Error("it says that it is too large, and was read")
	}
	segments[2].size = 3
	for i := range stored {
		if _, err := unpack(stored[:i], segments); i > 0 && err == nil {
			t.Errorf("%d octets of it are taken", i)
		}
	}
}

// TestFormat1: the rows of a ledger of format 1 stay as they are, and are read with those that come after them. With the
// first event that is added it has format 2, which an older version refuses.
func TestFormat1(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 2})
	add := func(seed int) {
		if a := logtest.Wait(l, 1, logtest.Events(seed, 40)); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	add(1)
	l.Close()
	db, err := sql.Open("sqlite", filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var stored []byte
	version := func() (n int) {
		if err := errors.Join(db.QueryRow("PRAGMA user_version").Scan(&n), db.QueryRow("SELECT body FROM commits WHERE id = 1").Scan(&stored)); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if version() != 2 || stored[0] != packedMark {
		t.Fatalf("a new ledger has a row that begins with %d", stored[0])
	}
	// The row as format 1 has it.
	var dirs []byte
	if err := db.QueryRow("SELECT dir FROM commits WHERE id = 1").Scan(&dirs); err != nil {
		t.Fatal(err)
	}
	segments, _, err := parseDir(1, dirs, 4)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := unpack(stored, segments)
	if err != nil || len(plain) < 2*len(stored) {
		t.Fatalf("%d octets are stored as %d: %v", len(plain), len(stored), err)
	}
	if _, err := db.Exec("UPDATE commits SET dir = ?, body = ?", appendDir(nil, 1, segments, plain), plain); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(dir, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, head, err := r.Read(t.Context(), 1, 0, 100); err != nil || head != 40 || len(got) != 40 {
		t.Fatal(len(got), head, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if version() != 1 {
		t.Fatal("to read it changed it")
	}
	l = open(t, dir, Options{})
	if version() != 1 {
		t.Fatal("to open it changed it")
	}
	add(2)
	l.Close()
	if version() != 2 || !bytes.Equal(stored, plain) {
		t.Error("the row of format 1 did not stay as it was")
	}
	l = open(t, dir, Options{Decode: true})
	if n := len(logtest.ReadAll(t, l, 1)); n != 80 {
		t.Errorf("%d events", n)
	}
	l.Close()
	if _, err := db.Exec("PRAGMA user_version = 3"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "format 3") {
		t.Error(err)
	}
}

func FuzzRow(f *testing.F) {
	body := []byte("\x01a\x02bc\x02de")
	f.Add(appendDir(nil, 9, []segment{{}, {head: 300, count: 2, size: 5}, {head: 7, count: 1, size: 3}}, body), body)
	f.Fuzz(func(t *testing.T, dir, body []byte) {
		n := max(len(dir)-4, 0)
		// With a right checksum, so that what lies behind it is reached.
		sum := dirSum(9, dir[:n])
		dir = append(dir[:n:n], byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		segments, _, err := parseDir(9, dir, 3)
		if err != nil {
			return
		}
		if body, err = unpack(body, segments); err != nil {
			return
		}
		for i := range segments {
			raws, err := split(body, segments, i)
			if err == nil && int64(len(raws)) != segments[i].count {
				t.Fatalf("%d events, want %d", len(raws), segments[i].count)
			}
		}
	})
}

// appender appends until it is killed, and says what was acknowledged: lines of
// partition, first position and seed.
func appender(dir string) {
	l, err := Open(dir, Options{Partitions: 4, TailBytes: 1})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	base, _ := strconv.Atoi(os.Getenv("SQLITELOG_TEST_SEED"))
	body, _ := strconv.Atoi(os.Getenv("SQLITELOG_TEST_BODY"))
	lines := make(chan string, 1000)
	window := make(chan bool, 50)
	go func() {
		for i := 0; ; i++ {
			window <- true
			p := event.Partition(i%7 - 3)
			seed := base + i
			events := logtest.Events(seed, 1+i%3)
			if body > 0 {
				events[0].Data.(*event.MessageSubmitted).Sealed.Box = make([]byte, body)
			}
			l.Append(p, events, func(a ledger.Appended) {
				if a.Err != nil {
					lines <- "error " + a.Err.Error()
				} else {
					lines <- fmt.Sprintf("%d %d %d %d", p, a.First, seed, 1+i%3)
				}
				<-window
			})
		}
	}()
	for line := range lines {
		fmt.Println(line)
	}
}

// A ledger from before the audit log opens and has an audit log, with no step by hand. Its rows stay
// as they are, and so do the number of its format and the form of the rows that are added: a
// chirograph that does not know the audit log can open the ledger still.
func TestOlderLedger(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 4})
	for i := range 20 {
		if a := logtest.Wait(l, event.Partition(i%6-2), logtest.Events(i, 2)); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	l.Close()
	var rows string
	look := func(text string, into ...any) {
		t.Helper()
		db, err := sql.Open("sqlite", dsn(filepath.Join(dir, file), ""))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if len(into) == 0 {
			_, err = db.Exec(text)
		} else {
			err = db.QueryRow(text).Scan(into...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	look("DROP TABLE audit") // that is all that is new in the file, and the format
	look("PRAGMA user_version = 1")
	const asBefore = "SELECT group_concat(hex(dir) || hex(body)) FROM (SELECT * FROM commits WHERE id <= 20 ORDER BY id)"
	look(asBefore, &rows)

	l = open(t, dir, Options{})
	if _, head, err := l.Read(t.Context(), event.AuditPartition, 0, 0); head != 0 || err != nil {
		t.Fatalf("its audit log begins with %d events, %v", head, err)
	}
	for i := range 3 {
		for _, p := range []event.Partition{event.AuditPartition, 1} {
			if a := logtest.Wait(l, p, logtest.Events(100+i, 3)); a.Err != nil {
				t.Fatal(a.Err)
			}
		}
	}
	l.Close()
	l = open(t, dir, Options{Decode: true})
	for p, want := range map[event.Partition]int{event.AuditPartition: 9, event.InboxPartition: 8, event.ControlPartition: 8, 0: 6, 1: 15, 2: 6, 3: 6} {
		if n := len(logtest.ReadAll(t, l, p)); n != want {
			t.Errorf("%s has %d events, want %d", p, n, want)
		}
	}
	l.Close()
	var after string
	var version, app int
	var dirs []byte
	look(asBefore, &after)
	look("PRAGMA user_version", &version)
	look("PRAGMA application_id", &app)
	look("SELECT dir FROM commits WHERE id = 23", &dirs)
	if after != rows || version != formatVersion || app != applicationID {
		t.Errorf("format %d of %x, the old rows are the same: %v", version, app, after == rows)
	}
	if _, _, err := parseDir(23, dirs, 6); err != nil {
		t.Errorf("a row that was added is not of six partitions: %v", err)
	}
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	type acked struct {
		p           event.Partition
		first       int64
		seed, count int
	}
	var all []acked
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SQLITELOG_TEST_APPENDER="+dir, fmt.Sprintf("SQLITELOG_TEST_SEED=%d", round*1_000_000))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It is killed after so many answers, in the middle of whatever it does then;
		// in the first rounds it may still be making the file.
		kill := round * round * 20
		if kill == 0 {
			cmd.Process.Kill()
		}
		in := bufio.NewScanner(out)
		for n := 1; in.Scan(); n++ {
			var a acked
			if _, err := fmt.Sscan(in.Text(), &a.p, &a.first, &a.seed, &a.count); err != nil {
				t.Fatalf("%q: %v", in.Text(), err)
			}
			all = append(all, a)
			if n == kill {
				cmd.Process.Kill()
			}
		}
		cmd.Wait()
		l := open(t, dir, Options{Partitions: 4})
		content := map[event.Partition][]ledger.Record{}
		seen := map[event.ID]bool{}
		for p := event.AuditPartition; p < 4; p++ {
			content[p] = logtest.ReadAll(t, l, p)
			for _, r := range content[p] {
				if seen[r.Event.ID] {
					t.Fatalf("event %s stands twice", r.Event.ID)
				}
				seen[r.Event.ID] = true
			}
		}
		for _, a := range all {
			for i, e := range logtest.Events(a.seed, a.count) {
				at := a.first + int64(i)
				if at >= int64(len(content[a.p])) || content[a.p][at].Event.ID != e.ID {
					t.Fatalf("round %d: the event acknowledged at %s is not there", round, event.Position{Partition: a.p, Index: at})
				}
			}
		}
		l.Close()
	}
	if len(all) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	t.Logf("%d appends acknowledged", len(all))
}

func TestBounds(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Interval: -1})
	big := func(seed int) []*event.Event {
		events := logtest.Events(seed, 1)
		events[0].Data.(*event.MessageSubmitted).Sealed.Box = make([]byte, 150<<10)
		return events
	}
	var longest int64
	for i := range 400 { // 80 MB
		if a := logtest.Wait(l, 0, big(i)); a.Err != nil {
			t.Fatal(a.Err)
		}
		if info, err := os.Stat(filepath.Join(dir, file+"-wal")); err == nil {
			longest = max(longest, info.Size())
		}
	}
	if longest > 80<<20 {
		t.Errorf("the WAL grew to %d MB", longest>>20)
	}
	if l.tailBytes > l.o.TailBytes || len(l.partitions[2].tail.all()) >= 400 {
		t.Errorf("the tail has %d bytes, %d events", l.tailBytes, len(l.partitions[2].tail.all()))
	}
	if n := len(logtest.ReadAll(t, l, 0)); n != 400 {
		t.Errorf("%d events, want 400", n)
	}
	if l.tables[1].store.bytes > cacheBytes || l.tables[1].store.bytes < cacheBytes/2 {
		t.Errorf("%d bytes of old commits are kept", l.tables[1].store.bytes)
	}
}

func benchEvents(n int) []*event.Event {
	events := make([]*event.Event, n)
	for i := range events {
		e := *logtest.Events(0, 1)[0]
		e.ID = event.NewID(time.Now())
		d := *e.Data.(*event.MessageSubmitted)
		d.Sealed.Box = d.Sealed.Box[:90]
		e.Data = &d
		events[i] = &e
	}
	return events
}

func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("%d events", n), func(b *testing.B) {
			b.ReportAllocs()
			l := open(b, b.TempDir(), Options{Interval: -1})
			events := benchEvents(n)
			raw, _ := event.Encode(events[0])
			answers := make(chan ledger.Appended, n)
			cpu := cpuTime()
			b.ResetTimer()
			for range b.N {
				// One append an event, as they come from the API, all in one commit.
				held := make([]*engine.Append, n)
				for i, e := range events {
					held[i], _ = l.encode(event.Partition(i%16), []*event.Event{e}, func(a ledger.Appended) { answers <- a })
				}
				l.queue.mu.Lock()
				for _, a := range held { // as enqueue does
					if err := l.queue.admission.Enter(a, time.Time{}); err != nil {
						b.Fatal(err)
					}
					l.queue.appends = append(l.queue.appends, a)
				}
				engine.Signal(l.queue.more)
				l.queue.mu.Unlock()
				for range n {
					if a := <-answers; a.Err != nil {
						b.Fatal(a.Err)
					}
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(len(raw)), "bytes/event")
			events64 := float64(b.N * n)
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/events64/1000, "cpu-µs/event")
			b.ReportMetric(events64/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkLone is the latency of one append of one event at a time, on a log that is idle.
func BenchmarkLone(b *testing.B) {
	l := open(b, b.TempDir(), Options{Interval: -1})
	events := benchEvents(1)
	for b.Loop() {
		if a := logtest.Wait(l, 0, events); a.Err != nil {
			b.Fatal(a.Err)
		}
	}
}

// BenchmarkLoad is many callers at once, each waiting for its answer, with the default interval.
func BenchmarkLoad(b *testing.B) {
	for _, interval := range []time.Duration{-1, time.Millisecond, 2 * time.Millisecond} {
		b.Run(interval.String(), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{Interval: interval})
			window := make(chan bool, 200)
			cpu := cpuTime()
			b.ResetTimer()
			for i := range b.N {
				window <- true
				l.Append(event.Partition(i%16), benchEvents(1), func(ledger.Appended) { <-window })
			}
			for range cap(window) {
				window <- true
			}
			b.StopTimer()
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N)/1000, "cpu-µs/event")
			b.ReportMetric(float64(b.N)/float64(l.tables[1].commits), "events/commit")
		})
	}
}

// BenchmarkRead reads a ledger that is on the disk, decoding.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	l := open(b, dir, Options{TailBytes: 1})
	for range 200 {
		for p := range 16 {
			l.Append(event.Partition(p), benchEvents(4), func(ledger.Appended) {})
		}
		logtest.Wait(l, 0, benchEvents(1))
	}
	b.ResetTimer()
	n := 0
	for b.Loop() {
		for next := int64(0); next < 800; {
			records, _, err := l.Read(context.Background(), 3, next, 100)
			if err != nil {
				b.Fatal(err)
			}
			next += int64(len(records))
			n += len(records)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n)/1000, "µs/event")
}
