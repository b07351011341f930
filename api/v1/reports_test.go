package v1

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/report"
)

// fakeReports make real reports over a few counts, and remember what they were asked.
type fakeReports struct {
	tenant string
	ask    report.Ask
}

func (f *fakeReports) Make(ctx context.Context, tenant string, ask report.Ask) (*report.Report, error) {
	f.tenant, f.ask = tenant, ask
	return report.New(report.Ports{Views: &fakeViews{}, Desk: fakeDesk{}, Log: emptyLog{}, Rules: fakeRules{}, Zones: places.BuiltIn(), Now: func() time.Time { return testTime }}).Make(ctx, tenant, ask)
}

// emptyLog has no events.
type emptyLog struct{}

func (emptyLog) Read(context.Context, event.Partition, int64, int) ([]ledger.Record, int64, error) {
	return nil, 0, nil
}

// fakeDesk has one row of every kind.
type fakeDesk struct{}

func (fakeDesk) TenantEvents(context.Context, string, reading.StreamEventFilter) ([]reading.StreamEvent, error) {
	return nil, nil
}
func (fakeDesk) Tallies(_ context.Context, _ string, from, _ int64, f func(int64, []reading.Tally) error) error {
	for kind := reading.TallySubmitted; kind <= reading.TallyVoid; kind++ {
		a := map[reading.TallyKind]string{reading.TallyStatus: "undelivered", reading.TallyStream: "OptedOut", reading.TallyReview: "opened"}[kind]
		if err := f(from, []reading.Tally{{Kind: kind, Program: "otp", A: a, B: "b", C: "c", Count: 3, Sum: 4}}); err != nil {
			return err
		}
	}
	return nil
}
func (fakeDesk) Complete(context.Context) (time.Time, error) { return testTime, nil }

func TestReport(t *testing.T) {
	f := &fakeReports{}
	e := newEnv(t, func(d *Deps, _ *door.Config) { d.Reports = f })
	var r Report
	e.do("GET", "/v1/audit/reports/week?of=2026-11-17&zone=America/New_York", "").is(200).into(&r)
	if f.tenant != "acme" || f.ask != (report.Ask{Kind: "week", Of: "2026-11-17", Zone: "America/New_York", Operator: true}) {
		t.Errorf("%s %+v", f.tenant, f.ask)
	}
	if r.Period.First != "2026-11-16" || r.Total.Submitted != (report.Amount{Messages: 3, Parts: 4}) || r.Unplaced == nil || r.CompleteSince.IsZero() {
		t.Errorf("%+v", r)
	}
	officer := header("Authorization", "Bearer k_auditor")
	var theirs Report
	e.do("GET", "/v1/audit/reports/day", "", officer).is(200).into(&theirs)
	if theirs.Unplaced != nil || f.ask.Operator {
		t.Error("a key without the scope operate sees what the operator has to place")
	}
	for _, c := range []struct{ format, media, begins, ends string }{
		{"csv", "text/csv; charset=utf-8", "section,program,key1", ".csv\""},
		{"html", "text/html; charset=utf-8", "<!doctype html>", ".html\""},
		{"text", "text/plain; charset=utf-8", "Report for acme", ".txt\""},
	} {
		a := e.do("GET", "/v1/audit/reports/month?format="+c.format, "").is(200)
		if a.Header().Get("Content-Type") != c.media || !strings.HasPrefix(a.Body.String(), c.begins) || !strings.HasSuffix(a.Header().Get("Content-Disposition"), c.ends) ||
			!strings.Contains(a.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %v %.80s", c.format, a.Header(), a.Body)
		}
	}
	for _, q := range []string{"day?format=pdf", "year", "day?of=yesterday", "day?zone=Nowhere", "day?of=2026-11-25", "week?of=2026-W54"} {
		e.do("GET", "/v1/audit/reports/"+q, "").problem(400, "bad_parameter", "")
	}
}

// TestReportSchema holds the document against the types that are written: both have the same fields, and the same
// are required.
func TestReportSchema(t *testing.T) {
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"StatusRow": "ReportStatus", "Report": "Report"}
	seen := map[reflect.Type]bool{}
	var walk func(x reflect.Type)
	walk = func(x reflect.Type) {
		for x.Kind() == reflect.Pointer || x.Kind() == reflect.Slice {
			x = x.Elem()
		}
		if x.Kind() != reflect.Struct || seen[x] || x == reflect.TypeFor[time.Time]() || x == reflect.TypeFor[event.Position]() {
			return
		}
		seen[x] = true
		name := names[x.Name()]
		if name == "" {
			name = "Report" + x.Name()
		}
		schema := doc.Components.Schemas[name]
		if schema == nil {
			t.Errorf("the document has no %s", name)
			return
		}
		var fields, required []string
		for _, f := range reflect.VisibleFields(x) {
			tag := f.Tag.Get("json")
			if tag == "" {
				continue // embedded, or not written
			}
			field, option, _ := strings.Cut(tag, ",")
			fields = append(fields, field)
			if option == "" {
				required = append(required, field)
			}
			walk(f.Type)
		}
		var documented []string
		for field := range schema.Value.Properties {
			documented = append(documented, field)
		}
		slices.Sort(fields)
		slices.Sort(required)
		slices.Sort(documented)
		want := slices.Sorted(slices.Values(schema.Value.Required))
		if !slices.Equal(fields, documented) || !slices.Equal(required, want) {
			t.Errorf("%s has %q (required %q), the document %q (required %q)", name, fields, required, documented, want)
		}
	}
	walk(reflect.TypeFor[report.Report]())
	if len(seen) < 18 {
		t.Errorf("%d types were compared", len(seen))
	}
}
