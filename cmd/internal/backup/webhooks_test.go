package backup

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/endpoints"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
)

// copies are the names of the copies of webhooks in a backup.
func copies(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, webhooksPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestWebhooks: the endpoints and their deliveries are in a backup that is made while the node writes, and are there again
// after a restore; damage to them stops no backup of the ledger.
func TestWebhooks(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	d, err := assemble.OpenFolder(assemble.Folder{Dir: at("data"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { d.Close() }()
	if err := d.Begin("test", false); err != nil {
		t.Fatal(err)
	}
	out := new(bytes.Buffer)
	g := &terminal.Globals{Stdout: out, Stderr: new(bytes.Buffer)}
	made := MakeCmd{Dir: at("backup"), Data: at("data"), Keys: at("keys"), Verify: "added", By: "op"}
	id := event.NewID(time.Now())
	if _, err := d.Endpoints.Put(t.Context(), notify.Stored{ID: id, Tenant: "acme", Body: []byte(`{"url":"x"}`)}, 0); err != nil {
		t.Fatal(err)
	}
	leases, err := d.Endpoints.Lease(t.Context(), []event.ID{id}, 1, time.Minute)
	if err != nil || len(leases) != 1 {
		t.Fatal(leases, err)
	}
	for n := range int64(300) {
		w := notify.Write{Endpoint: id, Lease: leases[0].Number, Progress: &notify.Progress{Cursor: []byte("c"), Last: n + 1},
			Batches: []notify.Batch{{First: n + 1, Count: 1, Open: 1, Newest: time.Now(), Body: []byte("b")}}}
		if lost, err := d.Endpoints.Write(t.Context(), []notify.Write{w}); err != nil || len(lost) > 0 {
			t.Fatal(lost, err)
		}
		if n == 100 || n == 200 {
			if err := made.Run(g); err != nil || !strings.Contains(out.String(), "1 endpoint of webhooks") {
				t.Fatal(err, out.String())
			}
			if names := copies(t, at("backup")); len(names) != 1 {
				t.Errorf("the backup has %v", names)
			}
		}
	}
	if err := made.Run(g); err != nil {
		t.Fatal(err)
	}
	check := CheckCmd{Dir: at("backup"), Verify: true}
	if err := check.Run(g); err != nil {
		t.Fatal(err)
	}
	restored := func(name string) *assemble.Data {
		t.Helper()
		c := RestoreCmd{Dir: at("backup"), Keys: at("keys"), MasterKey: at("data/master.key"), To: at(name), Reason: "a test", By: "op", Yes: true}
		if err := c.Run(g); err != nil {
			t.Fatal(err)
		}
		d, err := assemble.OpenFolder(assemble.Folder{Dir: at(name), MasterKey: at("data/master.key")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	is := restored("restored")
	if is.Endpoints.Made() {
		t.Error("the webhooks were not restored")
	}
	p, err := is.Endpoints.Progress(t.Context(), id)
	if err != nil || p.Last != 300 || string(p.Cursor) != "c" {
		t.Errorf("%+v, %v", p, err)
	}
	if b, err := is.Endpoints.OpenBatches(t.Context(), id, 0, 1000); err != nil || len(b) != 300 {
		t.Errorf("%d batches, %v", len(b), err)
	}
	if got, err := is.Endpoints.Endpoint(t.Context(), id); err != nil || string(got.Body) != `{"url":"x"}` {
		t.Errorf("%+v, %v", got, err)
	}

	// Damage is found, in the copy and in the data folder.
	copied := copies(t, at("backup"))[0]
	raw, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	damaged := bytes.Replace(slices.Clone(raw), []byte(`{"url":"x"}`), []byte(`{"url":"y"}`), 1)
	if err := os.WriteFile(copied, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := check.Run(g); err == nil || !strings.Contains(err.Error(), "is not what was backed up") {
		t.Errorf("a copy that changed: %v", err)
	}
	if err := os.WriteFile(copied, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(at("data/webhooks.db"), 5000); err != nil {
		t.Fatal(err)
	}
	if err := made.Run(g); err == nil || !strings.Contains(err.Error(), "the ledger's backup is whole") || !strings.Contains(err.Error(), "was kept") {
		t.Errorf("the webhooks are damaged: %v", err)
	}
	if err := check.Run(g); err != nil || !slices.Equal(copies(t, at("backup")), []string{copied}) {
		t.Errorf("the copy of before: %v, %v", copies(t, at("backup")), err)
	}
	// A node with damaged webhooks serves.
	if d, err = assemble.OpenFolder(assemble.Folder{Dir: at("data")}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Endpoints.Endpoints(t.Context()); err == nil {
		t.Error("damaged webhooks are read")
	}
	if ok, _, detail := d.Endpoints.Health(); ok || !strings.Contains(detail, "damaged") {
		t.Errorf("%t, %q", ok, detail)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// Without the file, the copy is kept too.
	if err := os.Remove(at("data/webhooks.db")); err != nil {
		t.Fatal(err)
	}
	if err := made.Run(g); err != nil || !strings.Contains(out.String(), "There are no webhooks any more") {
		t.Errorf("%v, %s", err, out)
	}

	// A backup of an older version has none.
	m, err := readManifest(at("backup"))
	if err != nil {
		t.Fatal(err)
	}
	m.Webhooks = nil
	if err := errors.Join(m.write(at("backup")), os.Remove(copied)); err != nil {
		t.Fatal(err)
	}
	if is := restored("without"); !is.Endpoints.Made() {
		t.Error("there were no webhooks")
	}
	if _, err := endpoints.LookAt(at("backup/webhooks.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
