package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func reported(body, media string) scripted {
	return scripted{method: "GET", path: "/v1/audit/reports/week", status: 200, body: body, header: map[string]string{"Content-Type": media}}
}

func TestReport(t *testing.T) {
	f := newFake(t, reported("Report for acme\n", "text/plain; charset=utf-8"), reported("a,b\r\n", "text/csv; charset=utf-8"))
	r := f.run("", "report", "week", "2026-W48", "--zone", "Europe/Paris")
	if r.Code != 0 || r.Stdout != "Report for acme\n" {
		t.Errorf("%+v", r)
	}
	if q := f.calls[0].URL.Query(); q.Get("of") != "2026-W48" || q.Get("zone") != "Europe/Paris" || q.Get("format") != "text" {
		t.Errorf("%v", q)
	}
	if a := strings.Join(f.calls[0].Header["Accept"], ", "); a != "application/json, text/plain" {
		t.Errorf("accepts %s", a)
	}
	file := filepath.Join(t.TempDir(), "week.csv")
	if r := f.run("", "report", "week", "--format", "csv", "--out", file); r.Code != 0 || r.Stdout != "" || !strings.Contains(r.Stderr, "week.csv") {
		t.Errorf("%+v", r)
	}
	raw, err := os.ReadFile(file)
	if st, _ := os.Stat(file); err != nil || string(raw) != "a,b\r\n" || st.Mode().Perm() != 0o600 {
		t.Errorf("%q, %v", raw, err)
	}
}

// A refusal leaves no file, and nothing is asked for what cannot be a report.
func TestReportRefused(t *testing.T) {
	f := newFake(t, refused("GET", "/v1/audit/reports/day", 400, "bad_parameter", ""), reported("<html>a proxy</html>", "text/html"))
	dir := t.TempDir()
	if r := f.run("", "report", "day", "yesterday", "--out", filepath.Join(dir, "r")); r.Code != 1 || !strings.Contains(r.Stderr, "What to do.") {
		t.Errorf("%+v", r)
	}
	if r := f.run("", "report", "week", "--format", "csv", "--out", filepath.Join(dir, "r")); r.Code != 1 {
		t.Errorf("%+v", r)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	if r := f.run("", "report", "year"); r.Code != 2 {
		t.Errorf("%+v", r)
	}
}
