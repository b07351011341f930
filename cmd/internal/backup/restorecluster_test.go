package backup

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/operate"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// A restore to a cluster that was killed after the epoch began, and before every partition had it, is finished by the
// next run.
func TestRestoreIsKilledInTheEpoch(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	d, err := assemble.OpenFolder(assemble.Folder{Dir: at("data"), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Begin("test", false); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	g := &terminal.Globals{Stdout: new(bytes.Buffer), Stderr: new(bytes.Buffer)}
	made := MakeCmd{Dir: at("backup"), Data: at("data"), Keys: at("keys"), Verify: "added", By: "op"}
	if err := made.Run(g); err != nil {
		t.Fatal(err)
	}
	c := RestoreCmd{Dir: at("backup"), Keys: at("keys"), MasterKey: at("data/master.key"), Reason: "a test", By: "op"}
	src, err := c.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	to, err := sqlitelog.Open(at("to"), sqlitelog.Options{NumberForms: sms.CanonicalForms, Partitions: src.Partitions, Ledger: src.Ledger})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	copied := func(want bool) {
		t.Helper()
		if is, err := c.copied(t.Context(), src, to); err != nil || is != want {
			t.Fatalf("it is copied: %t, %v", is, err)
		}
	}
	copied(false)
	if _, err := operate.CopyRecords(t.Context(), g, src.log, to, operate.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	copied(false) // a copy goes on, and finds nothing to do
	if _, err := assemble.Record(to, "restore", &event.EpochBegan{Epoch: 2, Cause: event.EpochRestored, Reason: "a test", By: "op"}); err != nil {
		t.Fatal(err)
	}
	copied(true)
	reg, err := control.Read(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan ledger.Appended, 1)
	to.Append(3, []*event.Event{reg.Applied(ledger.Author{Source: to.Source(), Node: "restore"}, 3, time.Now())}, func(a ledger.Appended) { done <- a })
	if a := <-done; a.Err != nil {
		t.Fatal(a.Err)
	}
	copied(true)
	for range 2 {
		if n, err := c.begunEpoch(t.Context(), src, to); err != nil || n != 2 {
			t.Fatalf("epoch %d, %v", n, err)
		}
		copied(true)
	}
	began := 0
	for _, p := range assemble.PartitionsOf(to) {
		var last int64
		if err := ledger.EachBatch(t.Context(), to, p, 0, -1, func(records []ledger.Record) error {
			for _, r := range records {
				switch d := r.Event.Data.(type) {
				case *event.EpochBegan:
					began++
				case *event.ControlApplied:
					last = d.Position
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if p >= 0 && last != reg.Position {
			t.Errorf("the partition %s is under the control position %d, not %d", p, last, reg.Position)
		}
	}
	if began != 1 {
		t.Errorf("%d epochs began", began)
	}
	// What goes another way than the backup is no copy of it.
	want := src.Heads["control"]
	want.Hash = "00"
	src.Heads["control"] = want
	copied(false)
}
