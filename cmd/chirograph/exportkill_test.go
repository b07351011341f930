package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// exportKills is how often the node is killed while it makes an export.
const exportKills = 5

// exportJob is what a test reads of GET /v1/jobs/{id}.
type exportJob struct {
	ID, State   string
	Heads       []string
	Done, Known int64
	File        struct {
		Events, Size int64
		SHA256       string
	}
}

// TestExportKilled kills the node again and again, under load, while it makes an export of everything. The file
// is then the same, byte for byte, as one for the same question and positions that another process makes in
// peace, from a ledger that has gone on far beyond these positions.
func TestExportKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("5 kills of an export under load take half a minute")
	}
	c := newCentre(t, "--receipt-delay", "20ms")
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	s := newSenders(t, func(body, key string) httpAnswer { return n.call("POST", "/v1/messages", body, "Idempotency-Key", key) })
	ended := make(chan struct{})
	load := s.load(ended, 8)
	s.more("enough submits for a long export", 4000)

	var asked exportJob
	a := n.call("POST", "/v1/audit/exports", `{"reason":"a file that is killed","clear":true}`)
	if a.status != http.StatusAccepted {
		t.Fatalf("the export is refused: %d %s %v", a.status, a.body, a.err)
	}
	a.into(t, &asked)
	record := filepath.Join("data", "exports", asked.ID+".json")
	wanted, err := os.ReadFile(filepath.Join(n.dir, record)) // as it is before anything is made
	if err != nil {
		t.Fatal(err)
	}
	for life := range exportKills {
		before := s.count()
		within(t, "the export makes progress", func() bool {
			j := n.job(asked.ID)
			if j.State != "queued" && j.State != "running" {
				t.Fatalf("life %d: the export is %s before the node was killed: it is too short for this test", life, j.State)
			}
			return j.State == "running" && j.Done > 0 && s.count() > before
		})
		n.p.kill()
		n.start()
	}
	killed := n.made(asked.ID)
	close(ended)
	load.Wait()
	file := n.file(killed)
	if code := n.p.stop(); code != 0 {
		t.Errorf("the node's exit code is %d", code)
	}
	n.verify()

	// The peace: a copy of the data, in which nothing of the export was made yet.
	quiet := &node{t: t, dir: t.TempDir(), addr: free(t), args: []string{"--dev-quiet"}, http: n.http}
	if err := os.CopyFS(filepath.Join(quiet.dir, "data"), os.DirFS(filepath.Join(n.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	sealed := filepath.Join(quiet.dir, "data", "exports", asked.ID+".sealed")
	if err := os.Remove(sealed); err != nil {
		t.Fatal(err)
	}
	for _, private := range []string{record, filepath.Join("data", "master.key")} {
		raw, err := os.ReadFile(filepath.Join(n.dir, private))
		if err != nil {
			t.Fatal(err)
		}
		if private == record {
			raw = wanted
		}
		os.Remove(filepath.Join(quiet.dir, private)) // a copy has other permissions
		if err := os.WriteFile(filepath.Join(quiet.dir, private), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	quiet.start()
	peace := quiet.made(asked.ID)
	if again := quiet.file(peace); peace.File != killed.File || again != file {
		t.Errorf("killed %d times: %+v; in peace: %+v; the bytes are the same: %t", exportKills, killed.File, peace.File, again == file)
	}
	if killed.File.Events < 4000 {
		t.Errorf("the file has %d events of 4,000 messages", killed.File.Events)
	}
	t.Logf("%d events, %d bytes; %d submits were acknowledged in all", killed.File.Events, killed.File.Size, s.count())
}

func (n *node) job(id string) (j exportJob) {
	n.t.Helper()
	n.call("GET", "/v1/jobs/"+id, "").into(n.t, &j)
	return j
}

// made waits until an export is finished.
func (n *node) made(id string) (j exportJob) {
	n.t.Helper()
	within(n.t, "the export is finished", func() bool {
		j = n.job(id)
		if j.State != "queued" && j.State != "running" && j.State != "finished" {
			n.t.Fatalf("the export is %s", j.State)
		}
		return j.State == "finished"
	})
	return j
}

// file downloads the file of an export, and checks that it is what the job says.
func (n *node) file(j exportJob) string {
	n.t.Helper()
	a := n.call("GET", "/v1/audit/exports/"+j.ID+"/file", "")
	if a.err != nil || a.status != http.StatusOK {
		n.t.Fatalf("the file of an export: %d %v", a.status, a.err)
	}
	if sum := sha256.Sum256(a.body); hex.EncodeToString(sum[:]) != j.File.SHA256 || int64(len(a.body)) != j.File.Size {
		n.t.Errorf("the file has %d bytes and the digest %x; the job says %+v", len(a.body), sum, j.File)
	}
	return string(a.body)
}
