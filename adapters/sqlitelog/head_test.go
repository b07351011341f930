package sqlitelog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// holds is what a log holds, as it is read.
func holds(t *testing.T, l *Log) ledger.Known {
	t.Helper()
	k := ledger.Known{Ledger: l.Source()[1:], Heads: map[event.Partition]ledger.Head{}}
	for slot := range l.slots {
		p := engine.PartitionOf(slot)
		_, head, err := l.Read(t.Context(), p, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		h := ledger.Head{Next: head}
		if head > 0 {
			records, _, err := l.Read(t.Context(), p, head-1, 1)
			if err != nil {
				t.Fatal(err)
			}
			h.Hash = sha256.Sum256(records[0].Raw)
		}
		k.Heads[p] = h
	}
	return k
}

func sameHead(t *testing.T, dir string, want ledger.Known) {
	t.Helper()
	got, err := ReadHead(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.Ledger != want.Ledger || !maps.Equal(got.Heads, want.Heads) {
		t.Fatalf("the head file says %v, and the ledger has %v", got, want)
	}
}

func appendTo(t *testing.T, l *Log, p event.Partition, n int) {
	t.Helper()
	if a := logtest.Wait(l, p, benchEvents(n)); a.Err != nil {
		t.Fatal(a.Err)
	}
}

// copyDir copies the files of a ledger as a kill would leave them.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"ledger.db", "ledger.db-wal", "ledger.db-head"} {
		raw, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestHeadFile(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 4})
	sameHead(t, dir, holds(t, l))
	for i := range 20 {
		p := event.Partition(i % 4)
		if i%5 == 0 {
			p = event.ControlPartition
		}
		appendTo(t, l, p, 1+i%3)
		sameHead(t, dir, holds(t, l)) // at the answer, not some time after it
	}
	was := holds(t, l)
	// A kill leaves what was acknowledged, and it opens.
	killed := copyDir(t, dir)
	sameHead(t, killed, was)
	again := open(t, killed, Options{Partitions: 4})
	sameHead(t, killed, holds(t, again))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// A ledger of an older version gets the file at open; a damaged one is written anew.
	path := filepath.Join(dir, "ledger.db-head")
	for _, damage := range []func() error{
		func() error { return os.Remove(path) },
		func() error { return os.WriteFile(path, []byte("CHHEAD?"), 0o600) },
		func() error { return os.Truncate(path, 0) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Options{})
		sameHead(t, dir, was)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// After a power cut it may be older: then the ledger counts.
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Options{})
	appendTo(t, l, 1, 2)
	now := holds(t, l)
	l.Close()
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	_ = open(t, dir, Options{})
	sameHead(t, dir, now)
}

// A ledger that lost commits, is older, is missing, or is another one, is not opened, and its head file stays.
func TestHeadFileKnowsMore(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{Partitions: 2})
	other := open(t, t.TempDir(), Options{Partitions: 2})
	appendTo(t, l, 0, 3)
	appendTo(t, l, 1, 3)
	appendTo(t, other, 0, 3)
	was := holds(t, l)
	for name, damage := range map[string]func(dir string) error{
		"write-ahead file cut": func(dir string) error {
			path := filepath.Join(dir, "ledger.db-wal")
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, info.Size()-100)
		},
		"ledger missing": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "ledger.db")), os.Remove(filepath.Join(dir, "ledger.db-wal")))
		},
		"ledger empty": func(dir string) error {
			return errors.Join(os.Truncate(filepath.Join(dir, "ledger.db"), 0), os.Remove(filepath.Join(dir, "ledger.db-wal")))
		},
		"another ledger": func(dir string) error {
			for _, name := range []string{"ledger.db", "ledger.db-wal"} {
				raw, err := os.ReadFile(filepath.Join(other.dir, name))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, dir)
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if l, err := Open(dir, Options{}); !errors.Is(err, ErrBehind) {
					if err == nil {
						l.Close()
					}
					t.Fatalf("it opens: %v", err)
				}
				sameHead(t, dir, was)
			}
			l := open(t, dir, Options{Restored: true})
			sameHead(t, dir, holds(t, l))
		})
	}
	// The same ledger with another history of the same length.
	fork := copyDir(t, dir)
	appendTo(t, l, 0, 1)
	forked := open(t, fork, Options{})
	appendTo(t, forked, 0, 1)
	forked.Close()
	mixed := copyDir(t, dir)
	raw, err := os.ReadFile(filepath.Join(fork, "ledger.db-head"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mixed, "ledger.db-head"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(mixed, Options{}); !errors.Is(err, ErrBehind) {
		t.Errorf("another history opens: %v", err)
	}
}

// A commit that is in doubt, or was refused, is not in the head file.
func TestHeadFileAfterFault(t *testing.T) {
	for _, point := range []string{"insert", "commit", "committed"} {
		dir := t.TempDir()
		l := open(t, dir, Options{Partitions: 2})
		appendTo(t, l, 0, 3)
		was := holds(t, l)
		l.fault = func(at string) error {
			if at == point {
				return fmt.Errorf("injected: %w", io.ErrUnexpectedEOF)
			}
			return nil
		}
		if a := logtest.Wait(l, 0, benchEvents(1)); a.Err == nil {
			t.Fatal("the append succeeded")
		}
		sameHead(t, dir, was)
		l.Close()
		sameHead(t, dir, was)
		l = open(t, dir, Options{})
		sameHead(t, dir, holds(t, l))
	}
}
