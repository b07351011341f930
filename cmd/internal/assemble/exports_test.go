//go:build unix

package assemble

import (
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/exportjobs"
	"github.com/chirograph/chirograph/domain/ledger"
)

// TestExportSpeed makes exports of everything in a data folder that `chirograph bench --keep` left, masked and in
// clear, and logs what each costs, with its rests. CHIROGRAPH_EXPORT_DATA names the folder, and
// CHIROGRAPH_EXPORT_HEAP how many MB the heap may have.
func TestExportSpeed(t *testing.T) {
	dir := os.Getenv("CHIROGRAPH_EXPORT_DATA")
	if dir == "" {
		t.Skip("CHIROGRAPH_EXPORT_DATA names no data folder; docs/export.md has how to make one")
	}
	most := uint64(256)
	if s := os.Getenv("CHIROGRAPH_EXPORT_HEAP"); s != "" {
		most, _ = strconv.ParseUint(s, 10, 32)
	}
	d, err := OpenFolder(Folder{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	jobs, stop, err := Exports{Node: "speed", Dir: t.TempDir(), Keep: time.Hour}.begin(d, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	caller := ledger.Caller{Tenant: "dev", Key: "dev-key"}
	for _, clear := range []bool{false, true} {
		runtime.GC()
		began, used := time.Now(), processorTime(t)
		job, err := jobs.Ask(t.Context(), caller, &exportjobs.Question{Reason: "speed", Clear: clear, May: exportjobs.Shown{Message: true, Inbound: true, Evidence: true}})
		if err != nil {
			t.Fatal(err)
		}
		heap := uint64(0)
		for tick := time.NewTicker(50 * time.Millisecond); job.State == exportjobs.Queued || job.State == exportjobs.Running; <-tick.C {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			heap = max(heap, m.HeapAlloc)
			if job, err = jobs.Job(caller.Tenant, job.ID); err != nil {
				t.Fatal(err)
			}
		}
		took, cpu := time.Since(began), processorTime(t)-used
		if job.State != exportjobs.Finished || job.Events == 0 {
			t.Fatalf("the export is %s with %d events: %s", job.State, job.Events, job.Why)
		}
		t.Logf("clear %t: %d events in %.1f s: %.0f a second; %.1f s of CPU, %.1f µs an event; %d MB in the heap at most; a file of %d MB",
			clear, job.Events, took.Seconds(), float64(job.Events)/took.Seconds(), cpu.Seconds(), cpu.Seconds()*1e6/float64(job.Events), heap>>20, job.Size>>20)
		if heap > most<<20 {
			t.Errorf("the heap had %d MB", heap>>20)
		}
	}
}

// processorTime is what this process has used of all processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
