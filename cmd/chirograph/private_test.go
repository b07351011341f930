//go:build unix

package main

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFolderIsPrivate: whatever the umask and the folder's mode, others can use nothing that a node makes.
func TestFolderIsPrivate(t *testing.T) {
	n := &node{t: t, dir: t.TempDir(), addr: free(t), http: &http.Client{}}
	data := filepath.Join(n.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	start := func() {
		n.p = spawnProgram(t, "/bin/sh", n.dir, "-c", `umask 0; exec "$0" "$@"`, os.Args[0], "serve", "--dev", "--dev-quiet", "--data", data, "--listen", n.addr)
		within(t, "the node is up", func() bool {
			if n.p.eofed() {
				t.Fatalf("the node ended: %s", n.p.text())
			}
			return strings.Contains(n.p.text(), "Ctrl-C stops.")
		})
		if a := n.call("POST", "/v1/messages", `{"to":"+14155550123","body":"Your statement is ready."}`); a.status != http.StatusAccepted {
			t.Fatalf("a submit is answered %d %s %v", a.status, a.body, a.err)
		}
		files := 0
		err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			files++
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return nil
		})
		if err != nil || files < 15 {
			t.Errorf("%d files were looked at, %v", files, err)
		}
	}
	for range 2 {
		if err := os.Chmod(data, 0o777); err != nil {
			t.Fatal(err)
		}
		start()
		n.p.kill()
		// A backup was put back with wider modes.
		for _, name := range []string{"ledger.db", "ledger.db-wal", "vault.db", "views.db", "views.db-shm", "webhooks.db", "ledger.db-head"} {
			if err := os.Chmod(filepath.Join(data, name), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	start()
}
