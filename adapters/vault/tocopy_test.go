package vault

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// TestOpenToCopy: a vault is copied beside its user, without a change to its rows, and the copy, which
// nothing is made beside, opens what was sealed.
func TestOpenToCopy(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	v := open(t, dir, true)
	id := event.NewID(november)
	s := sealed(t, v, "acme", subjectKey(t, v), ledger.ClassMessage, id, "hello")
	path, key := paths(dir)
	var had int
	if err := v.db.QueryRow("SELECT count(*) FROM subjects").Scan(&had); err != nil {
		t.Fatal(err)
	}
	from, err := OpenToCopy(path, key, false)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	if from.Fingerprint() != v.Fingerprint() {
		t.Error("the fingerprints differ")
	}
	if _, err := from.SubjectKey("acme", event.Pseudonym{2}); err == nil {
		t.Error("it made a key")
	}
	copied := filepath.Join(to, "vault.db")
	target, err := Open(copied, key, Options{Create: true, CopyOf: from, ToCopy: true})
	if err != nil {
		t.Fatal(err)
	}
	n, err := Copy(t.Context(), from, target)
	if err != nil || n < had {
		t.Fatalf("%d keys were copied of at least %d: %v", n, had, err)
	}
	if again, err := Copy(t.Context(), from, target); err != nil || again != 0 {
		t.Errorf("%d keys were copied once more: %v", again, err)
	}
	var rows int
	if err := target.db.QueryRow("SELECT count(*) FROM subjects").Scan(&rows); err != nil || rows+1 != n { // and one class key
		t.Errorf("the copy has %d subject keys, and %d keys were copied: %v", rows, n, err)
	}
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
	still, err := OpenToCopy(copied, key, true)
	if err != nil {
		t.Fatal(err)
	}
	defer still.Close()
	if plain, err := still.Open("acme", id, &s); err != nil || string(plain) != "hello" {
		t.Errorf("%q, %v", plain, err)
	}
	if entries, err := os.ReadDir(to); err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}
