package operate

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/audit"
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
