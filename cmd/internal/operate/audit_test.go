package operate

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/event"
)

// What is under review is printed by kind, with the time since which the oldest of them waits.
func TestReviewsArePrinted(t *testing.T) {
	since := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	o := verified{Ledger: "l", OK: true, Report: &audit.Report{Reviews: map[audit.ReviewKind]audit.Reviews{
		"unplaced": {Open: 1, Oldest: since.Add(time.Hour)}, "unclear": {Open: 2, Oldest: since}}}}
	var out bytes.Buffer
	if err := o.print(&out, 20); err != nil {
		t.Fatal(err)
	}
	const want = "Inbound messages that an officer has yet to read: 2 unclear since 2026-11-24T08:00:00Z; 1 unplaced since 2026-11-24T09:00:00Z."
	if !strings.Contains(out.String(), want) {
		t.Errorf("printed is\n%s", out.String())
	}
	raw, err := json.Marshal(o)
	if err != nil || !strings.Contains(string(raw), `"unclear":{"open":2,"oldest":"2026-11-24T08:00:00Z"}`) {
		t.Errorf("%s %v", raw, err)
	}
	o.Report.Reviews = nil
	out.Reset()
	if err := o.print(&out, 20); err != nil || strings.Contains(out.String(), "officer") {
		t.Errorf("with none printed is\n%s %v", out.String(), err)
	}
}

// The events of the audit log are counted by type; where there are none, nothing is printed.
func TestAuditLogIsPrinted(t *testing.T) {
	o := verified{Ledger: "l", OK: true, Report: &audit.Report{Audit: map[event.Type]int64{"KeyUsed.v1": 12, "ExportAsked.v1": 3}}}
	var out bytes.Buffer
	if err := o.print(&out, 20); err != nil || !strings.Contains(out.String(), "\nAudit log: 3 ExportAsked, 12 KeyUsed.\n") {
		t.Errorf("printed is\n%s %v", out.String(), err)
	}
	raw, err := json.Marshal(o)
	if err != nil || !strings.Contains(string(raw), `"audit":{"ExportAsked.v1":3,"KeyUsed.v1":12}`) {
		t.Errorf("%s %v", raw, err)
	}
	o.Report.Audit = nil
	out.Reset()
	if err := o.print(&out, 20); err != nil || strings.Contains(out.String(), "Audit") {
		t.Errorf("with none printed is\n%s %v", out.String(), err)
	}
}
