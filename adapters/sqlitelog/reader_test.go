package sqlitelog

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// appendSome appends n events, spread over partitions, the audit log too.
func appendSome(t testing.TB, l *Log, n int) {
	t.Helper()
	var wait sync.WaitGroup
	for i := range n {
		wait.Add(1)
		p := event.Partition(i % 4)
		var d event.Data = &event.Paused{Reason: fmt.Sprint("load ", i), By: "test"}
		switch i % 7 {
		case 5:
			p = event.ControlPartition
		case 6:
			p = event.AuditPartition
		}
		now := time.Now()
		e := &event.Event{ID: event.NewID(now), Source: l.Source(), Time: event.Millis(now), Node: "n", Data: d}
		l.Append(p, []*event.Event{e}, func(a ledger.Appended) {
			if a.Err != nil {
				t.Error(a.Err)
			}
			wait.Done()
		})
		if i%5 == 0 {
			wait.Wait()
		}
	}
	wait.Wait()
}

func reader(t testing.TB, dir string, still bool, upTo *Contents) *Reader {
	t.Helper()
	r, err := OpenReader(dir, still, upTo)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// wholeOf is every record's bytes, by partition.
func wholeOf(t testing.TB, r ledger.Log) map[event.Partition][][]byte {
	t.Helper()
	out := map[event.Partition][][]byte{}
	for p := event.AuditPartition; p < event.Partition(r.Partitions()); p++ {
		if err := ledger.EachBatch(t.Context(), r, p, 0, -1, func(rs []ledger.Record) error {
			for _, x := range rs {
				out[p] = append(out[p], x.Raw)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func none(int) {}

// TestCopyBesideTheWriter: while a ledger is written to, and while copies are cut short, a copy is always
// a beginning of the ledger, and ends as the same.
func TestCopyBesideTheWriter(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	l := open(t, dir, Options{Partitions: 4})
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				appendSome(t, l, 50)
			}
		}
	})
	var was Contents
	for round := range 12 {
		appendSome(t, l, 40)
		r := reader(t, dir, false, nil)
		if round%3 == 1 { // cut short at the first transaction
			ctx, cancel := context.WithCancel(t.Context())
			_, _ = r.CopyTo(ctx, to, func(int) { cancel() })
			cancel()
			continue
		}
		if _, err := r.CopyTo(t.Context(), to, none); err != nil {
			t.Fatal(err)
		}
		c := reader(t, to, true, nil)
		if c.End() != r.End() {
			t.Fatalf("the copy ends at %+v, the ledger ended at %+v", c.End(), r.End())
		}
		now, err := c.Verify(t.Context(), was, r, none)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := c.Verify(t.Context(), Contents{}, r, none)
		if err != nil || whole != now {
			t.Fatalf("the digest of what was added is %+v, and of the whole %+v, %v", now, whole, err)
		}
		was = now
	}
	close(stop)
	load.Wait()
	r := reader(t, dir, false, nil)
	if _, err := r.CopyTo(t.Context(), to, none); err != nil {
		t.Fatal(err)
	}
	// The live log, the reader beside it and the copy say the same; so does the copy, opened as a ledger.
	c := reader(t, to, true, nil)
	want, heads := wholeOf(t, l), 0
	copied := open(t, to, Options{Partitions: 4})
	for _, other := range []ledger.Log{r, c, copied} {
		got := wholeOf(t, other)
		for p, raws := range want {
			if len(got[p]) != len(raws) {
				t.Fatalf("partition %s has %d events in %T, want %d", p, len(got[p]), other, len(raws))
			}
			for i := range raws {
				if !bytes.Equal(got[p][i], raws[i]) {
					t.Fatalf("%s-%d differs in %T", p, i, other)
				}
			}
			heads += len(raws)
		}
	}
	if heads < 600 {
		t.Fatalf("only %d events", heads)
	}
	known, err := c.Heads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for p, raws := range want {
		if known[p].Next != int64(len(raws)) {
			t.Errorf("the head of %s is %d, want %d", p, known[p].Next, len(raws))
		}
	}
}

// TestCopyUpTo: a copy can be asked for earlier contents of a file.
func TestCopyUpTo(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	l := open(t, dir, Options{Partitions: 4})
	appendSome(t, l, 30)
	early := reader(t, dir, false, nil)
	then := early.End()
	appendSome(t, l, 30)
	if _, err := reader(t, dir, false, &then).CopyTo(t.Context(), to, none); err != nil {
		t.Fatal(err)
	}
	c := reader(t, to, true, nil)
	if c.End() != then {
		t.Fatalf("the copy ends at %+v, want %+v", c.End(), then)
	}
	more := Contents{Commits: Rows{Last: 1 << 20}}
	if _, err := OpenReader(dir, false, &more); err == nil {
		t.Error("contents that the file does not have were opened")
	}
}

// TestCopyOtherHistory: a file with rows that the ledger does not have is refused, and stays as it was.
func TestCopyOtherHistory(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	l := open(t, dir, Options{Partitions: 4, Ledger: "one"})
	appendSome(t, l, 20)
	if _, err := reader(t, dir, false, nil).CopyTo(t.Context(), to, none); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, r *Reader) {
		t.Helper()
		was, err := os.ReadFile(filepath.Join(to, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.CopyTo(t.Context(), to, none); !IsOtherHistory(err) {
			t.Errorf("%s: %v", what, err)
		}
		now, err := os.ReadFile(filepath.Join(to, file))
		if err != nil || !bytes.Equal(was, now) {
			t.Errorf("%s: the copy was changed (%v)", what, err)
		}
	}
	foreign := open(t, t.TempDir(), Options{Partitions: 4, Ledger: "two"})
	appendSome(t, foreign, 40)
	refused("another ledger", reader(t, foreign.dir, false, nil))
	same := open(t, t.TempDir(), Options{Partitions: 4, Ledger: "one"})
	appendSome(t, same, 60)
	refused("another history", reader(t, same.dir, false, nil))
	early := reader(t, dir, false, nil).End()
	early.Commits.Last--
	refused("a shorter ledger", reader(t, dir, false, &early))
}

// TestVerifyFinds: a bit that flipped in the copy is found, whether SQLite's pages or the rows have it, and a
// damaged original is not copied.
func TestVerifyFinds(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	l := open(t, dir, Options{Partitions: 4})
	appendSome(t, l, 60)
	r := reader(t, dir, false, nil)
	if _, err := r.CopyTo(t.Context(), to, none); err != nil {
		t.Fatal(err)
	}
	change := func(dir, statement string) {
		t.Helper()
		db, err := sql.Open("sqlite", dsn(filepath.Join(dir, file), ""))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	// The first byte of an event's text, so that only the checksum can tell.
	change(to, "UPDATE commits SET body = substr(body, 1, 40) || x'00' || substr(body, 42) WHERE id = 3")
	if _, err := reader(t, to, true, nil).Verify(t.Context(), Contents{}, nil, none); err == nil {
		t.Error("a changed body was not found")
	}
	change(to, "DELETE FROM commits WHERE id = 3")
	if _, err := reader(t, to, true, nil).Verify(t.Context(), Contents{}, nil, none); err == nil {
		t.Error("a missing commit was not found")
	}
	change(to, "UPDATE commits SET body = (SELECT body FROM commits WHERE id = 4), dir = (SELECT dir FROM commits WHERE id = 4) WHERE id = 5")
	if _, err := reader(t, to, true, nil).Verify(t.Context(), Contents{Commits: Rows{Last: 3}}, nil, none); err == nil {
		t.Error("a commit in another's place was not found")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	change(dir, "UPDATE commits SET body = substr(body, 1, 40) || x'00' || substr(body, 42) WHERE id = 3")
	fresh := filepath.Join(t.TempDir(), "fresh")
	if _, err := reader(t, dir, false, nil).CopyTo(t.Context(), fresh, none); err == nil {
		t.Error("a damaged ledger was copied")
	}
}

// TestReaderOfAStillCopy: a copy is read without a file being made beside it.
func TestReaderOfAStillCopy(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	l := open(t, dir, Options{Partitions: 4})
	appendSome(t, l, 20)
	if _, err := reader(t, dir, false, nil).CopyTo(t.Context(), to, none); err != nil {
		t.Fatal(err)
	}
	c := reader(t, to, true, nil)
	if _, err := c.Verify(t.Context(), Contents{}, nil, none); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) != 1 || entries[0].Name() != file {
		t.Errorf("the folder has %v, %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(to, file)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
