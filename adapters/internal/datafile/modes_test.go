package datafile

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing on Windows")
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mode := func(name string) os.FileMode {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	chmod := func(name string, m os.FileMode) {
		if err := os.Chmod(filepath.Join(dir, name), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "exports"), 0o700); err != nil {
		t.Fatal(err)
	}
	private := []string{"ledger.db", "ledger.db-wal", "ledger.db-head", "ledger.lock", "vault.db", "views.db", "views.db-shm", "views.db.aside-20261128T100000.000", "webhooks.db", "webhooks.db-wal", "master.key", "dev-key", "exports/x.sealed"}
	for _, name := range append([]string{"mine.txt"}, private...) {
		if err := MakeFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if m := mode(name); m != 0o600 {
			t.Errorf("a new file has mode %04o", m)
		}
		chmod(name, 0o644)
	}
	chmod("exports", 0o755)
	chmod(".", 0o755)
	changed, err := Private(dir)
	if err != nil || len(changed) != len(private)+2 {
		t.Fatalf("%d were changed, %v, %v", len(changed), changed, err)
	}
	for _, name := range private {
		if m := mode(name); m != 0o600 {
			t.Errorf("%s has mode %04o", name, m)
		}
	}
	if mode(".") != 0o700 || mode("exports") != 0o700 || mode("mine.txt") != 0o644 {
		t.Errorf("the folder has mode %04o, that of exports %04o, and a file that is not ours %04o", mode("."), mode("exports"), mode("mine.txt"))
	}
	if changed, err := Private(dir); err != nil || len(changed) > 0 {
		t.Errorf("the second time %v was changed, %v", changed, err)
	}
	// A narrower mode stays.
	chmod("vault.db", 0o400)
	if changed, err := Private(dir); err != nil || len(changed) > 0 || mode("vault.db") != 0o400 {
		t.Errorf("a file of mode 0400: %v, %v", changed, err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root gives a file away")
	}
	chmod("views.db", 0o640)
	if err := os.Chown(filepath.Join(dir, "views.db"), 1234, -1); err != nil {
		t.Fatal(err)
	}
	_, err = Private(dir)
	if err == nil || !slices.Contains(strings.Fields(err.Error()), filepath.Join(dir, "views.db")) || !strings.Contains(err.Error(), "0640") || !strings.Contains(err.Error(), "chmod 0600") || mode("views.db") != 0o640 {
		t.Errorf("a file of another user: %v, and its mode is %04o", err, mode("views.db"))
	}
}
