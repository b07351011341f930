package v1

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/exportjobs"
	"github.com/chirograph/chirograph/domain/ledger"
)

// fakeExports has one export, of the tenant acme.
type fakeExports struct {
	job   exportjobs.Job
	asked *exportjobs.Question
	err   error
}

func (f *fakeExports) Ask(_ context.Context, _ ledger.Caller, q *exportjobs.Question) (exportjobs.Job, error) {
	f.asked = q
	return f.job, f.err
}

func (f *fakeExports) Job(tenant string, id event.ID) (exportjobs.Job, error) {
	if tenant != f.job.Tenant || id != f.job.ID {
		return exportjobs.Job{}, &ledger.Refusal{Code: "export_not_found", Status: ledger.NotFound, Text: "There is none."}
	}
	return f.job, f.err
}

func (f *fakeExports) List(tenant string) []exportjobs.Job {
	if tenant != f.job.Tenant {
		return nil
	}
	return []exportjobs.Job{f.job}
}

func (f *fakeExports) Delete(_ context.Context, c ledger.Caller, id event.ID) (exportjobs.Job, error) {
	return f.Job(c.Tenant, id)
}

func (f *fakeExports) Download(_ context.Context, c ledger.Caller, id event.ID) (exportjobs.Job, io.ReadCloser, error) {
	j, err := f.Job(c.Tenant, id)
	if err != nil {
		return j, nil, err
	}
	return j, io.NopCloser(strings.NewReader("PK a zip")), nil
}

// exportKeys are an officer who may see only words, one of another tenant, and one without the scope.
type exportKeys struct{}

func (exportKeys) Authenticate(token string) (ledger.Caller, []string, bool) {
	switch token {
	case testToken:
		return ledger.Caller{Tenant: "acme", Key: "officer"}, []string{"audit:export", "inbound:read"}, true
	case "k_other_tenant":
		return ledger.Caller{Tenant: "other", Key: "k"}, []string{"audit:export"}, true
	case "k_none":
		return ledger.Caller{Tenant: "acme", Key: "k"}, []string{"audit:read", "messages:read"}, true
	case "k_exports":
		return ledger.Caller{Tenant: "acme", Key: "clerk"}, []string{"audit:export"}, true
	}
	return ledger.Caller{}, nil, false
}

func TestExports(t *testing.T) {
	f := &fakeExports{job: exportjobs.Job{ID: testID(3), Tenant: "acme", By: "officer", Reason: "complaint 4711", Asked: testTime, State: exportjobs.Finished, Clear: true,
		Shown: exportjobs.Shown{Inbound: true}, Heads: []event.Position{{Partition: 1, Index: 9}}, Done: 4, Known: 4, Ended: testTime, Events: 4, Size: 8, SHA256: "5f1d", DeleteAfter: testTime}}
	e := newEnv(t, func(d *Deps, c *door.Config) { d.Exports, c.Keys = f, exportKeys{} })

	var j Job
	e.do("POST", "/v1/audit/exports", `{"recipient":"`+testNumber+`","rule":"o","clear":true}`, header("Audit-Reason", "complaint 4711")).is(202).into(&j)
	if q := f.asked; q.Recipient != testNumber || q.Rule != "o" || !q.Clear || q.Reason != "complaint 4711" || q.May != (exportjobs.Shown{Inbound: true}) {
		t.Errorf("%+v", q)
	}
	if j.Id != testID(3) || j.State != "finished" || len(j.InClear) != 1 || j.InClear[0] != "words" || j.Heads[0] != "01-9" || j.File.Sha256 != "5f1d" || j.File.Events != 4 {
		t.Errorf("%+v", j)
	}
	if e.do("POST", "/v1/audit/exports", `{"reason":"of the body"}`, header("Audit-Reason", "of the header")); f.asked.Reason != "of the body" {
		t.Errorf("%+v", f.asked)
	}
	var all ExportList
	if e.do("GET", "/v1/audit/exports", "").is(200).into(&all); len(all.Exports) != 1 {
		t.Errorf("%+v", all)
	}
	path := "/v1/jobs/" + testID(3).String()
	e.do("GET", path, "").is(200)
	e.do("DELETE", path, "").is(200)
	file := "/v1/audit/exports/" + testID(3).String() + "/file"
	r := e.do("GET", file, "", header("Accept", "application/zip")).is(200)
	if r.Body.String() != "PK a zip" || r.Header().Get("Content-Length") != "8" || !strings.Contains(r.Header().Get("Content-Disposition"), testID(3).String()) {
		t.Errorf("%q, %v", r.Body.String(), r.Header())
	}

	// Neither another tenant nor a key without the scope gets anything.
	for _, call := range [][2]string{{"GET", path}, {"DELETE", path}, {"GET", file}} {
		e.do(call[0], call[1], "", header("Authorization", "Bearer k_other_tenant")).problem(404, "export_not_found", "")
		e.do(call[0], call[1], "", header("Authorization", "Bearer k_none")).problem(403, "forbidden", "")
		e.do(call[0], strings.Replace(call[1], testID(3).String(), "x", 1), "").problem(404, "export_not_found", "")
	}
	if e.do("GET", "/v1/audit/exports", "", header("Authorization", "Bearer k_other_tenant")).is(200).into(&all); len(all.Exports) != 0 {
		t.Errorf("%+v", all)
	}

	f.err = &ledger.Refusal{Code: "too_many_exports", Text: "20 exports wait."}
	e.do("POST", "/v1/audit/exports", `{"reason":"complaint"}`).problem(http.StatusTooManyRequests, "too_many_exports", "")
	f.err = &ledger.Refusal{Code: "exports_unwritable", Text: "The disk is full."}
	e.do("POST", "/v1/audit/exports", `{"reason":"complaint"}`).problem(503, "exports_unwritable", "")
	f.err = &ledger.Refusal{Code: "export_damaged", Status: ledger.Conflict, Text: "It is damaged."}
	e.do("GET", file, "").problem(409, "export_damaged", "")
	f.err = ledger.ErrUnknown
	e.do("POST", "/v1/audit/exports", `{"reason":"complaint"}`).problem(504, "outcome_unknown", "")

	// A node that keeps none.
	e = newEnv(t, func(_ *Deps, c *door.Config) { c.Keys = exportKeys{} })
	e.do("GET", path, "").problem(409, "exports_off", "")
	e.do("POST", "/v1/audit/exports", `{"reason":"complaint"}`).problem(409, "exports_off", "")
}

// A key gets no file that has in clear what the key may not see, whoever asked for it.
func TestExportFileNeedsTheScopesOfWhatIsInIt(t *testing.T) {
	for _, x := range []struct {
		shown   exportjobs.Shown
		token   string
		status  int
		missing string
	}{
		{exportjobs.Shown{}, "k_exports", 200, ""},
		{exportjobs.Shown{Inbound: true}, "k_exports", 403, "inbound:read"},
		{exportjobs.Shown{Inbound: true}, testToken, 200, ""},
		{exportjobs.Shown{Message: true, Inbound: true}, testToken, 403, "messages:read"},
		{exportjobs.Shown{Inbound: true, Evidence: true}, testToken, 403, "evidence:read"},
	} {
		f := &fakeExports{job: exportjobs.Job{ID: testID(3), Tenant: "acme", State: exportjobs.Finished, Clear: true, Shown: x.shown}}
		e := newEnv(t, func(d *Deps, c *door.Config) { d.Exports, c.Keys = f, exportKeys{} })
		a := e.do("GET", "/v1/audit/exports/"+testID(3).String()+"/file", "", header("Authorization", "Bearer "+x.token)).is(x.status)
		if !strings.Contains(a.Body.String(), x.missing) {
			t.Errorf("%+v: the answer does not name %s: %s", x.shown, x.missing, a.Body)
		}
	}
}
