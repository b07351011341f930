package vault

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// reopened opens a vault of either engine as often as a test wants.
func reopened(t *testing.T, engine string) func(log *slog.Logger) *Vault {
	t.Helper()
	master := masterFile(t)
	path := filepath.Join(t.TempDir(), "vault.db")
	url := ""
	if engine == "PostgreSQL" {
		url = database(t)
	}
	return func(log *slog.Logger) *Vault {
		t.Helper()
		if url != "" {
			return node(t, url, master, Options{Log: log})
		}
		v, err := Open(path, master, Options{Create: true, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { v.Close() })
		return v
	}
}

func in(engine, text string) string {
	if engine == "PostgreSQL" {
		return strings.ReplaceAll(strings.ReplaceAll(text, "FROM ", "FROM chirograph_vault."), "?", "$1::bytea")
	}
	return text
}

// A key that the vault lacks is missing, and never erased; the vault says so from then on, and what
// is sealed later does not stand in the way of the key that comes back.
func TestMissing(t *testing.T) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		for _, c := range []struct{ name, text, detail string }{
			{"subject", "DELETE FROM subjects WHERE id = ?", "of persons 1)"},
			{"class", "DELETE FROM classes WHERE length(?) > 0", "of classes and months 1)"},
		} {
			t.Run(engine+" "+c.name, func(t *testing.T) {
				open := reopened(t, engine)
				v := open(nil)
				key, id := subjectKey(t, v), event.NewID(november)
				s := sealed(t, v, "acme", key, "message", id, "a body")
				secret, err := v.store.secret(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				class, err := v.store.class(t.Context(), classKey{"acme", s.ClassKey})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := v.db.Exec(in(engine, c.text), key[:]); err != nil {
					t.Fatal(err)
				}
				v.Close()

				var lines bytes.Buffer
				v = open(slog.New(slog.NewTextHandler(&lines, nil)))
				if ok, _, detail := v.Health(); !ok {
					t.Errorf("not well before it is noticed: %s", detail)
				}
				if _, err := v.Open("acme", id, &s); !errors.Is(err, ledger.ErrKeyMissing) || errors.Is(err, ledger.ErrErased) {
					t.Errorf("open gave %v, want ErrKeyMissing", err)
				}
				if ok, since, detail := v.Health(); ok || since.IsZero() || !strings.Contains(detail, c.detail) || !strings.Contains(detail, "vault add") {
					t.Errorf("health %v, %v, %q", ok, since, detail)
				}
				_, _ = v.Open("acme", id, &s)
				if n := strings.Count(lines.String(), "keys are missing"); n != 1 {
					t.Errorf("%d lines in the log, want 1:\n%s", n, &lines)
				}

				// What is new is sealed all the same, as ledger.Seal does it.
				later := event.NewID(november)
				now, err := ledger.Seal(v, event.MaxLevel, ledger.Stream{Tenant: "acme", Key: key}, "message", later, "a STOP")
				if err != nil {
					t.Fatal(err)
				}
				if plain, err := v.Open("acme", later, &now); err != nil || string(plain) != `"a STOP"` {
					t.Errorf("opened %q, %v", plain, err)
				}
				if (now.SubjectKey == key) != (c.name == "class") || (now.ClassKey == s.ClassKey) != (c.name == "subject") {
					t.Errorf("sealed under %s and %s", now.SubjectKey, now.ClassKey)
				}
				if c.name == "class" && now.ClassKey != "messagesecond/2026-11" {
					t.Errorf("sealed under %s", now.ClassKey)
				}
				v.Close()
				v = open(nil) // a missing class key is remembered
				if _, err := v.Open("acme", id, &s); !errors.Is(err, ledger.ErrKeyMissing) {
					t.Errorf("open gave %v, want ErrKeyMissing", err)
				}
				if again := sealed(t, v, "acme", now.SubjectKey, "message", later, ""); again.ClassKey != now.ClassKey {
					t.Errorf("sealed under %s, before under %s", again.ClassKey, now.ClassKey)
				}
				if ok, _, _ := v.Health(); ok {
					t.Error("well, and the key is still missing")
				}

				// The key comes back.
				if c.name == "subject" {
					err = v.store.addSecrets(t.Context(), []subjectSecret{{key, wrappedKey{secret, 0}}})
				} else {
					err = v.store.addClass(t.Context(), classKey{"acme", s.ClassKey}, wrappedKey{class, 0})
				}
				if err != nil {
					t.Fatal(err)
				}
				v.Close()
				v = open(nil)
				for _, x := range []struct {
					id event.ID
					s  event.Sealed
				}{{id, s}, {later, now}} {
					if _, err := v.Open("acme", x.id, &x.s); err != nil {
						t.Error(err)
					}
				}
				if ok, _, detail := v.Health(); !ok {
					t.Errorf("not well: %s", detail)
				}
			})
		}
	}
}

// The keys that the end of the ledger names are looked for at the open.
func TestMissingOf(t *testing.T) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			v := reopened(t, engine)(slog.New(slog.DiscardHandler))
			keys := ledger.Keys{}
			for range lookBatch {
				id := event.NewID(november)
				s := sealed(t, v, "acme", subjectKey(t, v), "message", id, "")
				keys.Add(&event.Event{ID: id, Tenant: "acme", Data: &event.MessageSubmitted{Sealed: s}})
			}
			if lost, err := v.Missing(t.Context(), keys); err != nil || lost.Subjects != nil || lost.Classes != nil {
				t.Errorf("missing %v, %v", lost, err)
			}
			if ok, _, _ := v.Health(); !ok {
				t.Error("not well, and nothing is missing")
			}
			gone := event.NewID(november)
			for _, class := range []string{"message/2026-11", "evidence/2026-10"} {
				keys.Add(&event.Event{Tenant: "acme", Data: &event.OptedOut{Sealed: &event.Sealed{SubjectKey: gone, ClassKey: class, Box: []byte{1}}}})
			}
			keys.Add(&event.Event{Tenant: "acme", Data: &event.OptedOut{}})
			lost, err := v.Missing(t.Context(), keys)
			if err != nil || len(lost.Subjects) != 1 || len(lost.Classes) != 1 {
				t.Fatalf("missing %v, %v", lost, err)
			}
			if _, is := lost.Subjects[gone]; !is {
				t.Errorf("missing %v", lost)
			}
			if _, is := lost.Classes[ledger.ClassKey{Tenant: "acme", Class: "evidence/2026-10"}]; !is {
				t.Errorf("missing %v", lost)
			}
			if s := sealed(t, v, "acme", subjectKey(t, v), "evidence", event.NewID(november.AddDate(0, -1, 0)), ""); s.ClassKey != "evidencesecond/2026-10" {
				t.Errorf("sealed under %s, in the place of a key that is missing", s.ClassKey)
			}
			if ok, _, detail := v.Health(); ok || detail != "keys are missing (of persons 1, of classes and months 1): bring them back from a copy of the vault (chirograph vault add); do not put an older vault in its place" {
				t.Errorf("health %v, %q", ok, detail)
			}
		})
	}
}

// A key that one process noticed to be missing is made by no other.
func TestMissingElsewhere(t *testing.T) {
	for _, engine := range []string{"SQLite", "PostgreSQL"} {
		t.Run(engine, func(t *testing.T) {
			open := reopened(t, engine)
			a, b := open(slog.New(slog.DiscardHandler)), open(slog.New(slog.DiscardHandler))
			if _, err := a.Missing(t.Context(), ledger.Keys{Classes: map[ledger.ClassKey]struct{}{{Tenant: "acme", Class: "message/2026-11"}: {}}}); err != nil {
				t.Fatal(err)
			}
			if s := sealed(t, b, "acme", subjectKey(t, b), "message", event.NewID(november), ""); s.ClassKey != "messagesecond/2026-11" {
				t.Errorf("sealed under %s", s.ClassKey)
			}
			if ok, _, _ := b.Health(); ok {
				t.Error("the other process thinks that all is well")
			}
		})
	}
}

// A key that was damaged is told to the operator, and nothing is sealed under another in its place.
func TestDamagedKey(t *testing.T) {
	dir := t.TempDir()
	v := open(t, dir, true)
	key := subjectKey(t, v)
	sealed(t, v, "acme", key, ledger.ClassMessage, event.NewID(november), "hello")
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	path, _ := paths(dir)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := db.ExecContext(t.Context(), "UPDATE classes SET key = zeroblob(length(key))"); err != nil {
		t.Fatal(err)
	} else if n, _ := r.RowsAffected(); n == 0 {
		t.Fatal("there is no class key")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	v = open(t, dir, false)
	if ok, _, detail := v.Health(); !ok {
		t.Errorf("before a key was needed: %s", detail)
	}
	if _, err := v.Seal("acme", key, ledger.ClassMessage, event.SealV2, event.NewID(november), []byte("x")); !errors.Is(err, ErrDamaged) {
		t.Errorf("sealed: %v", err)
	}
	if ok, since, detail := v.Health(); ok || since.IsZero() || !strings.Contains(detail, "a key in the vault is damaged") {
		t.Errorf("%v since %s: %s", ok, since, detail)
	}
}
