package operate

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
)

// The commands of the vault, beside a ledger that nobody has open, and beside one that a node has open.
func TestVault(t *testing.T) {
	dir := t.TempDir()
	ledger := func() *assemble.Data {
		t.Helper()
		d, err := assemble.OpenFolder(assemble.Folder{Dir: dir, Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := ledger()
	if err := d.Begin("node-1", false); err != nil {
		t.Fatal(err)
	}
	_, err := d.Vault.SubjectKey("acme", event.Pseudonym{})
	if err != nil {
		t.Fatal(err)
	}
	fingerprint, short := d.Vault.Fingerprint(), d.Log.Source()[1:]
	says := func(r string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(r, w) {
				t.Errorf("it does not say %q:\n%s", w, r)
			}
		}
	}
	file := func(name, fill string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(hex.EncodeToString([]byte(strings.Repeat(fill, 32)))), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	says(shell(t, "", "vault", "status", "--data", dir).Is(t, 0).Stdout, fingerprint, short, "none under way")
	says(shell(t, "", "vault", "rotate", "--data", dir, "--yes").Is(t, terminal.ExitFailed).Stderr, "openssl rand -hex 32", "master.key.new")
	next := file("master.key.new", "a")
	says(shell(t, "", "vault", "rotate", "--data", dir).Is(t, 0).Stdout, "--yes", next)
	says(shell(t, "", "vault", "rotate", "--data", dir, "--yes").Is(t, 0).Stdout, "now opens with the master key in "+next, "at its next start")
	says(shell(t, "", "vault", "rotate", "--data", dir, "--yes").Is(t, 0).Stdout, "Nothing was changed")

	// The node that had the ledger open writes the event, once.
	trail := func(d *assemble.Data) (out []*event.MasterKeyRotated) {
		t.Helper()
		_, head, err := d.Log.Read(t.Context(), event.AuditPartition, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if head == 0 {
			return nil
		}
		records, _, err := d.Log.Read(t.Context(), event.AuditPartition, 0, int(head))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			out = append(out, r.Event.Data.(*event.MasterKeyRotated))
		}
		return out
	}
	if n, err := d.RecordRotations(t.Context(), "node-1", 2); n != 0 || err != nil || len(trail(d)) != 0 {
		t.Errorf("below format level 3 %d events were written, %v", n, err)
	}
	for _, want := range []int{1, 0} {
		if n, err := d.RecordRotations(t.Context(), "node-1", 3); n != want || err != nil || len(trail(d)) != 1 {
			t.Errorf("%d events were written, %v; want %d", n, err, want)
		}
	}
	if e := trail(d)[0]; e.By != "operator" || e.Keys < 3 {
		t.Errorf("%+v", e)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	// The files take each other's places, and the next change is recorded at once.
	for from, to := range map[string]string{"master.key": "master.key.previous"} {
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(next, filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	third := file("third", "b")
	says(shell(t, "", "vault", "rotate", "--data", dir, "--yes", "--to", third, "--by", "ann").Is(t, 0).Stdout, "now opens", "The audit log")
	if err := os.Rename(third, filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	d = ledger()
	if _, err := d.RecordRotations(t.Context(), "node-1", 3); err != nil {
		t.Fatal(err)
	}
	if all := trail(d); len(all) != 2 || all[1].By != "ann" || d.Vault.Fingerprint() != fingerprint {
		t.Errorf("%d events", len(all))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	says(shell(t, "", "vault", "status", "--data", dir).Is(t, 0).Stdout, fingerprint, "none under way")
}
