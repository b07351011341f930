package vault

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func heads(next ...int64) map[event.Partition]ledger.Head {
	m := map[event.Partition]ledger.Head{}
	for i, n := range next {
		if n > 0 {
			m[event.Partition(i)-3] = ledger.Head{Next: n, Hash: [32]byte{byte(n), 31: byte(i)}}
		}
	}
	return m
}

func known(t *testing.T, v *Vault, want ledger.Known) {
	t.Helper()
	if k, err := v.Known(t.Context()); err != nil || !reflect.DeepEqual(k, want) {
		t.Errorf("the vault knows %v, %v; want %v", k, err, want)
	}
}

// Of each head the vault keeps the furthest, of the one ledger that it belongs to.
func TestLearn(t *testing.T) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			open := engines(t)[engine]
			v, err := open(Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			learn := func(ledgerID string, h map[event.Partition]ledger.Head) {
				t.Helper()
				if err := v.Learn(t.Context(), ledger.Known{Ledger: ledgerID, Heads: h}); err != nil {
					t.Fatal(err)
				}
			}
			known(t, v, ledger.Known{Heads: heads()})
			learn("l1", heads(0, 5, 7))
			known(t, v, ledger.Known{Ledger: "l1", Heads: heads(0, 5, 7)})
			learn("l1", heads(3, 4, 9)) // it raises two and lowers none
			known(t, v, ledger.Known{Ledger: "l1", Heads: heads(3, 5, 9)})
			err = v.Learn(t.Context(), ledger.Known{Ledger: "l2", Heads: heads(9, 9, 9)})
			if !errors.Is(err, ErrOtherLedger) || !strings.Contains(err.Error(), "l1") || !strings.Contains(err.Error(), "l2") {
				t.Errorf("another ledger gave %v", err)
			}
			if err := v.Learn(t.Context(), ledger.Known{}); err == nil {
				t.Error("a ledger without an id was learned")
			}
			known(t, v, ledger.Known{Ledger: "l1", Heads: heads(3, 5, 9)})
			if err := v.Relearn(t.Context(), ledger.Known{Ledger: "l2", Heads: heads(0, 1, 2)}); err != nil {
				t.Fatal(err)
			}
			known(t, v, ledger.Known{Ledger: "l2", Heads: heads(0, 1, 2)})
			if err := v.Relearn(t.Context(), ledger.Known{}); err != nil {
				t.Fatal(err)
			}
			known(t, v, ledger.Known{Heads: heads()})

			if used, err := v.Used(t.Context()); used || err != nil {
				t.Errorf("used %v, %v before a class key is made", used, err)
			}
			sealed(t, v, "acme", subjectKey(t, v), "message", event.NewID(november), "a body")
			if used, err := v.Used(t.Context()); !used || err != nil {
				t.Errorf("used %v, %v after something was sealed", used, err)
			}
		})
	}
}

// A new vault knows its ledger from the moment that it is one.
func TestNewVaultHasItsLedger(t *testing.T) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			v, err := engines(t)[engine](Options{Ledger: "l1"})
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			known(t, v, ledger.Known{Ledger: "l1", Heads: heads()})
		})
	}
}

// Nodes with different partitions, and with the same, learn at once.
func TestNodesLearnAtOnce(t *testing.T) {
	url, master := database(t), masterFile(t)
	const nodes, times, partitions = 4, 25, 16
	var all sync.WaitGroup
	for n := range nodes {
		v := node(t, url, master, Options{})
		all.Go(func() {
			for i := range times {
				next := make([]int64, partitions+3)
				for p := range next {
					if p%2 == 0 || p%nodes == n {
						next[p] = int64(i*nodes + n + 1)
					}
				}
				if err := v.Learn(servertest.Within(t), ledger.Known{Ledger: "l1", Heads: heads(next...)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	k, err := node(t, url, master, Options{}).Known(servertest.Within(t))
	if err != nil || len(k.Heads) != partitions+3 {
		t.Fatalf("%v, %v", k, err)
	}
	for p, h := range k.Heads {
		want := int64((times-1)*nodes + int(p+3)%nodes + 1)
		if (p+3)%2 == 0 {
			want = times * nodes
		}
		if h.Next != want || h.Hash[0] != byte(want) {
			t.Errorf("partition %d stands at %v, want %d", p, h, want)
		}
	}
}

// A file of a version that knew nothing of its ledger gets the tables at open; a program of that
// version reads it as ever.
func TestFileOfBeforeKnown(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir, true)
	for _, text := range []string{"DROP TABLE ledger", "DROP TABLE heads", "DROP TABLE missing_classes", "DROP TABLE masters", "ALTER TABLE subjects DROP COLUMN master",
		"ALTER TABLE classes DROP COLUMN master"} {
		if _, err := v.db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	v.Close()
	db := readOnly(t, dir)
	_, key := paths(dir)
	if f, err := ReadFingerprint(db, key); err != nil || f != v.Fingerprint() {
		t.Errorf("read %s, %v", f, err)
	}
	if k, used, err := ReadKnown(db); err != nil || used || k.Ledger != "" || len(k.Heads) != 0 {
		t.Errorf("read %v, %v, %v", k, used, err)
	}
	db.Close()
	v = open(t, dir, false)
	if err := v.Learn(t.Context(), ledger.Known{Ledger: "l1", Heads: heads(1)}); err != nil {
		t.Fatal(err)
	}
	v.Close()
	known(t, open(t, dir, false), ledger.Known{Ledger: "l1", Heads: heads(1)})
}

// readOnly opens the vault's file as an image of it is opened: nothing is written.
func readOnly(t *testing.T, dir string) *sql.DB {
	t.Helper()
	path, _ := paths(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.ToSlash(path)+"?mode=ro&immutable=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestReadWithoutWriting(t *testing.T) {
	dir := t.TempDir()
	path, key := paths(dir)
	v := open(t, dir, true)
	if err := v.Learn(t.Context(), ledger.Known{Ledger: "l1", Heads: heads(4, 5)}); err != nil {
		t.Fatal(err)
	}
	sealed(t, v, "acme", subjectKey(t, v), "message", event.NewID(november), "a body")
	fingerprint := v.Fingerprint()
	v.Close()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	db := readOnly(t, dir)
	k, used, err := ReadKnown(db)
	if err != nil || !used || !reflect.DeepEqual(k, ledger.Known{Ledger: "l1", Heads: heads(4, 5)}) {
		t.Errorf("read %v, %v, %v", k, used, err)
	}
	fits := func(file string) {
		t.Helper()
		if f, err := ReadFingerprint(db, file); err != nil || f != fingerprint {
			t.Errorf("%s, %v; want %s", f, err, fingerprint)
		}
	}
	fits(key)
	other, nowhere := masterFile(t), filepath.Join(dir, "nowhere")
	for _, c := range []struct {
		file string
		want error
	}{{nowhere, ErrNoMasterKey}, {other, ErrOtherMasterKey}} {
		if f, err := ReadFingerprint(db, c.file); !errors.Is(err, c.want) {
			t.Errorf("with %v: %s, %v; want %v", c.file, f, err, c.want)
		}
	}
	for _, end := range []string{".new", ".previous"} { // while the master key is changed
		if err := os.Link(key, other+end); err != nil {
			t.Fatal(err)
		}
		fits(other)
		os.Remove(other + end)
	}
	db.Close()
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the file was written to: %v", err)
	}

	for _, c := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"empty", func([]byte) []byte { return nil }, ErrUnmade},
		{"another program's", func(b []byte) []byte { copy(b[68:], "ABCD"); return b }, ErrNotVault},
		{"no database", func(b []byte) []byte { return []byte(strings.Repeat("a letter ", 1000)) }, ErrNotVault},
		{"cut", func(b []byte) []byte { return b[:len(b)/2] }, ErrDamaged},
	} {
		if err := os.WriteFile(path, c.change([]byte(string(before))), 0o600); err != nil {
			t.Fatal(err)
		}
		db := readOnly(t, dir)
		if _, _, err := ReadKnown(db); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if _, err := ReadFingerprint(db, key); !errors.Is(err, c.want) && c.name != "cut" {
			t.Errorf("%s: the fingerprint gave %v, want %v", c.name, err, c.want)
		}
		db.Close()
	}
}

// A file that was cut to nothing is not made a vault of, unless a new one is asked for.
func TestEmptyFileIsNoVault(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, true).Close()
	path, key := paths(dir)
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Truncate(name, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if v, err := Open(path, key, Options{}); !errors.Is(err, ErrUnmade) {
		t.Errorf("an empty file gave %v, %v; want ErrUnmade", v, err)
	}
	open(t, dir, true)
}
