package bench

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// madeLedger is a ledger that the test made, read back.
type madeLedger struct {
	dir    string
	facts  Made
	types  map[event.Type]int
	days   map[string]int // submits
	report *audit.Report
}

func makeOne(t *testing.T, seed uint64) *madeLedger {
	t.Helper()
	x := &madeLedger{dir: filepath.Join(t.TempDir(), "made"), types: map[event.Type]int{}, days: map[string]int{}}
	r, w := io.Pipe()
	go func() {
		c := &Cmd{Make: 1000, Days: 10, Keep: x.dir, Seed: seed}
		w.CloseWithError(c.makeLedger(t.Context(), &terminal.Globals{JSON: true, Stdout: w, Stderr: io.Discard}))
	}()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &x.facts); err != nil {
		t.Fatal(err)
	}
	log, err := sqlitelog.OpenImage(filepath.Join(x.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	v := audit.New()
	now := time.Now()
	for _, p := range append([]event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition}, recipients(log)...) {
		_, head, err := log.Read(context.Background(), p, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = ledger.EachBatch(t.Context(), log, p, 0, head, func(records []ledger.Record) error {
			for _, r := range records {
				v.Take(p, r.Index, r.Raw)
				x.types[r.Event.Data.Type()]++
				if r.Event.Time.After(now) {
					t.Errorf("%s of %s is in the future", r.Event.Data.Type(), r.Event.Time)
				}
				if _, ok := r.Event.Data.(*event.MessageSubmitted); ok {
					x.days[r.Event.Time.UTC().Format("2006-01-02")]++
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	x.report = v.Finish()
	return x
}

func recipients(log ledger.Log) (out []event.Partition) {
	for p := range log.Partitions() {
		out = append(out, event.Partition(p))
	}
	return out
}

// A ledger that was made verifies, nothing in it is void or in doubt, and its messages are spread over the days.
func TestMake(t *testing.T) {
	x := makeOne(t, 3)
	if !x.report.OK() || len(x.report.Void) > 0 {
		t.Errorf("the ledger does not verify, or events in it are void: %+v", x.report)
	}
	if x.facts.Steps != 10 || len(x.days) < 10 || len(x.days) > 11 {
		t.Errorf("%d steps, on the days %v", x.facts.Steps, x.days)
	}
	types := x.types
	stops := types["InboundReceived.v2"] // each has a confirmation, which is a message
	if types["MessageSubmitted.v1"] != 1000+stops || types["HandoffStarted.v1"] != 1000+stops-int(x.facts.Denied) || x.facts.Denied == 0 {
		t.Errorf("%d denied: %v", x.facts.Denied, types)
	}
	if stops < 2 || types["OptedOut.v1"] < 2 || stops+types["OptedOut.v1"] != x.facts.OptOuts {
		t.Errorf("%d opt-outs: %v", x.facts.OptOuts, types)
	}
	if n := x.facts.Recipients; n < 650 || n > 750 {
		t.Errorf("%d recipients of 1000 messages", n)
	}
	// What was made by the same seed has the same events; serve takes it, and knows that it is for development.
	y := makeOne(t, 3)
	for name, n := range types {
		if name != "ControlApplied.v1" && y.types[name] != n { // control may be applied in one piece
			t.Errorf("%d and %d of %s with one seed", n, y.types[name], name)
		}
	}
	data := filepath.Join(x.dir, "data")
	if err := assemble.CheckDevelopment(data, madeTenant); err != nil {
		t.Error(err)
	}
	d, err := assemble.OpenFolder(assemble.Folder{Dir: data, Decode: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if c := (&Cmd{Make: 10, Days: 1, Keep: x.dir}); c.makeLedger(t.Context(), &terminal.Globals{Stdout: io.Discard}) == nil {
		t.Error("a second ledger was made in the folder")
	}
}

func TestSteps(t *testing.T) {
	for _, c := range []struct{ messages, days, steps int }{
		{100, 90, 90}, {100_000, 90, 100}, {1_000_000, 90, 1000}, {100_000_000, 90, 2160}, {5, 1, 1},
	} {
		if got := steps(c.messages, c.days); got != c.steps {
			t.Errorf("%d messages in %d days are made in %d steps, not %d", c.messages, c.days, got, c.steps)
		}
	}
}

// The clock goes on, and is never set back.
func TestSimulatedClock(t *testing.T) {
	day := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	c := newClock(day)
	c.move(day.Add(time.Hour))
	first := c.now()
	c.move(day)
	if later := c.now(); first.Before(day.Add(time.Hour)) || later.Before(first) {
		t.Errorf("%s, then %s", first, later)
	}
}
