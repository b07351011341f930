package v1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/lists"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// What every test sends, and what no log line and no metric may hold.
const (
	testNumber = "+14155550123"
	testBody   = "Pelican 482913 is your code."
	testRef    = "visit-3107-pelican"
	testToken  = "k_test_all_scopes"
)

// written is everything that any test's API wrote: logs and metrics. TestMain
// searches it when all tests are done.
var writtenByAll lockedBuffer

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestMain(m *testing.M) {
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.PlainBodyDecoder)
	code := m.Run()
	all := writtenByAll.String()
	for _, secret := range []string{testNumber, testNumber[1:], testNumber[2:], "Pelican", "pelican", "482913", testToken, "at_least="} {
		if i := strings.Index(all, secret); i >= 0 {
			os.Stderr.WriteString("a log line or a metric holds " + secret + ": …" + all[max(0, i-200):min(len(all), i+100)] + "…\n")
			code = 1
		}
	}
	if code == 0 && !strings.Contains(all, "/v1/messages/{id}") && !testing.Short() && strings.Contains(all, "request") {
		os.Stderr.WriteString("the logs of the tests name no route: the search above found nothing to search\n")
		code = 1
	}
	os.Exit(code)
}

type fakeLedger struct {
	submit   func(ledger.Caller, *intake.SubmitRequest) (*intake.Submitted, error)
	cancel   func(event.ID) (*intake.Cancelled, error)
	optOut   func(*intake.OptOutRequest) (*intake.OptedOut, error)
	lift     func(*intake.OptOutRequest) (*intake.OptedOut, error)
	programs map[string]*event.ProgramChanged
	pause    func(*control.PauseRequest) (*control.Pausing, error)
	resolve  func(owner string, id event.ID, r *intake.Resolution) (*intake.Resolved, error)
	reads    []event.ID
	shown    []event.DataRead
	reasons  []string
	unseen   error // what DataShown answers
}

func (f *fakeLedger) DataShown(_ context.Context, _ ledger.Caller, tenant, reason string, r event.DataRead) error {
	f.shown, f.reasons = append(f.shown, r), append(f.reasons, reason)
	// What is recorded has no personal data either: TestMain looks.
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	writtenByAll.Write(append(raw, "\n"+tenant+"\n"+reason+"\n"...))
	return f.unseen
}

func (f *fakeLedger) ResolveReview(_ context.Context, _ ledger.Caller, owner string, id event.ID, r *intake.Resolution) (*intake.Resolved, error) {
	return f.resolve(owner, id, r)
}

func (f *fakeLedger) ResolveReviews(_ context.Context, _ ledger.Caller, owner string, ids []event.ID, r *intake.Resolution) ([]intake.Outcome, error) {
	out := make([]intake.Outcome, len(ids))
	for i, id := range ids {
		out[i].Resolved, out[i].Err = f.resolve(owner, id, r)
	}
	return out, nil
}

func (f *fakeLedger) ReviewRead(_ context.Context, _ ledger.Caller, _ string, _ event.Pseudonym, id event.ID) error {
	f.reads = append(f.reads, id)
	return nil
}

func (f *fakeLedger) Submit(_ context.Context, c ledger.Caller, r *intake.SubmitRequest) (*intake.Submitted, error) {
	return f.submit(c, r)
}
func (f *fakeLedger) Cancel(_ context.Context, _ ledger.Caller, id event.ID) (*intake.Cancelled, error) {
	return f.cancel(id)
}
func (f *fakeLedger) OptOut(_ context.Context, _ ledger.Caller, r *intake.OptOutRequest) (*intake.OptedOut, error) {
	return f.optOut(r)
}
func (f *fakeLedger) Lift(_ context.Context, _ ledger.Caller, r *intake.OptOutRequest) (*intake.OptedOut, error) {
	return f.lift(r)
}
func (f *fakeLedger) Program(_ context.Context, _ ledger.Caller, name string) (*control.ProgramView, error) {
	p, ok := f.programs[name]
	if !ok {
		return nil, &ledger.Refusal{Code: "program_not_found", Text: "There is no such program.", Status: ledger.NotFound}
	}
	return f.programView(p), nil
}
func (f *fakeLedger) PutProgram(_ context.Context, _ ledger.Caller, p *event.ProgramChanged) (*control.ProgramView, error) {
	f.programs[p.Name] = p
	v := f.programView(p)
	v.Warnings = []string{"A reminder that asks for the answer CANCEL is read as an opt-out."}
	return v, nil
}
func (f *fakeLedger) programView(p *event.ProgramChanged) *control.ProgramView {
	return &control.ProgramView{Program: p, Event: testID(90), Position: event.Position{Partition: event.ControlPartition, Index: 4}, By: "key1", At: testTime}
}
func (f *fakeLedger) Pause(_ context.Context, _ ledger.Caller, r *control.PauseRequest) (*control.Pausing, error) {
	return f.pause(r)
}
func (f *fakeLedger) Resume(_ context.Context, _ ledger.Caller, r *control.PauseRequest) (*control.Pausing, error) {
	return f.pause(r)
}

type fakeViews struct {
	log        *fakeLog
	mu         sync.Mutex
	messages   map[event.ID]*reading.Message
	optOuts    map[event.Pseudonym][]reading.OptOut
	filter     reading.Filter
	states     map[event.Pseudonym]*recipient.State
	inbound    []ledger.InboundRef
	reviews    []reading.Review
	waitFor    func(context.Context, event.Position) error
	waitChange func(context.Context, event.ID, recipient.Status) error
	err        error
}

func (f *fakeViews) Message(_ context.Context, tenant string, id event.ID) (*reading.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	m := f.messages[id]
	if m == nil || m.Tenant != tenant {
		return nil, reading.ErrNotFound
	}
	return m, nil
}

func (f *fakeViews) Reviews(_ context.Context, tenant string, q reading.ReviewFilter) (out []reading.Review, _ error) {
	for _, r := range f.reviews {
		if r.Tenant == tenant && (q.Kind == "" || q.Kind == r.Kind) && r.Since.After(q.AfterSince) && len(out) < q.Limit {
			out = append(out, r)
		}
	}
	return out, nil
}

func (f *fakeViews) Inbound(_ context.Context, tenant string, id event.ID) (ledger.InboundRef, bool, error) {
	for _, x := range f.inbound {
		if x.Tenant == tenant && x.Event == id {
			return x, true, nil
		}
	}
	return ledger.InboundRef{}, false, nil
}

func (f *fakeViews) InboundNear(context.Context, event.Pseudonym, int64, int) ([]ledger.InboundRef, error) {
	return nil, nil
}

func (f *fakeViews) Streams(context.Context, event.Partition, []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	return f.states, 0, nil
}

func (f *fakeViews) put(m *reading.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages[m.ID] = m
}

func (f *fakeViews) Search(_ context.Context, tenant string, q reading.Filter) ([]*reading.Message, error) {
	f.filter = q
	var out []*reading.Message
	for _, m := range f.messages {
		if m.Tenant == tenant && (q.After.IsZero() || bytes.Compare(m.ID[:], q.After[:]) < 0) {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *reading.Message) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return out[:min(len(out), q.Limit)], nil
}

// viewsDesk finds by the officer's views what a search finds, and says that they begin at testTime.
type viewsDesk struct {
	reading.Desk
	views *fakeViews
}

func (f viewsDesk) Find(ctx context.Context, tenant string, q reading.Filter) (found []*reading.Message, next event.ID, err error) {
	if found, err = f.views.Search(ctx, tenant, q); len(found) == q.Limit {
		next = found[q.Limit-1].ID
	}
	return found, next, err
}

// listed are the stream events of the fake log that are there to be listed, the newest first.
func (f viewsDesk) listed(want func(*reading.StreamEvent) bool) (out []reading.StreamEvent) {
	for p, records := range f.views.log.records {
		for _, r := range slices.Backward(records) {
			if r.Event == nil {
				continue
			}
			e := r.Event
			x := reading.StreamEvent{ID: e.ID, Type: e.Data.Type(), Time: e.Time, Tenant: e.Tenant, Subject: e.Subject, Position: event.Position{Partition: p, Index: r.Index}}
			if want(&x) {
				out = append(out, x)
			}
		}
	}
	return out
}

func (f viewsDesk) StreamEvent(_ context.Context, tenant string, id event.ID) (reading.StreamEvent, bool, error) {
	all := f.listed(func(x *reading.StreamEvent) bool { return x.ID == id && x.Tenant == tenant })
	if len(all) == 0 {
		return reading.StreamEvent{}, false, nil
	}
	return all[0], true, nil
}

func (f viewsDesk) StreamEvents(_ context.Context, subject event.Pseudonym, after int64, _ int) ([]reading.StreamEvent, error) {
	all := f.listed(func(x *reading.StreamEvent) bool { return x.Subject == subject && x.Position.Index > after })
	slices.Reverse(all)
	return all, nil
}

func (f viewsDesk) TenantEvents(_ context.Context, tenant string, q reading.StreamEventFilter) ([]reading.StreamEvent, error) {
	return f.listed(func(x *reading.StreamEvent) bool {
		return x.Tenant == tenant && slices.Contains(q.Types, x.Type) && (q.BeforeTime.IsZero() || x.Time.Before(q.BeforeTime))
	}), nil
}

func (viewsDesk) Complete(context.Context) (time.Time, error) { return testTime, nil }

func (f *fakeViews) OptOuts(_ context.Context, _ string, subjects []event.Pseudonym) ([][]reading.OptOut, []event.Position, error) {
	rows := make([][]reading.OptOut, len(subjects))
	for i, s := range subjects {
		rows[i] = f.optOuts[s]
	}
	return rows, []event.Position{{Partition: 0, Index: 81}, {Partition: 7, Index: 1251}}, nil
}

func (f *fakeViews) WaitFor(ctx context.Context, p event.Position) error {
	if f.waitFor != nil {
		return f.waitFor(ctx, p)
	}
	return nil
}

func (f *fakeViews) WaitChange(ctx context.Context, _ string, id event.ID, from recipient.Status) error {
	return f.waitChange(ctx, id, from)
}

type fakeLog struct {
	records map[event.Partition][]ledger.Record
}

func (f *fakeLog) Partitions() int { return 16 }

func (f *fakeLog) Read(ctx context.Context, p event.Partition, from int64, n int) ([]ledger.Record, int64, error) {
	all := f.records[p]
	if n == 0 {
		return nil, int64(len(all)), nil
	}
	if int(from) >= len(all) {
		<-ctx.Done()
		return nil, int64(len(all)), nil
	}
	// At most two at once, as a log may answer less than was asked for.
	return all[from:min(int(from)+min(n, 2), len(all))], int64(len(all)), nil
}

// fakeVault seals in the clear; what it has erased, or has no key for, it does not open.
type fakeVault struct{ erased, missing map[event.ID]bool }

func (fakeVault) Pseudonym(tenant, name string) event.Pseudonym {
	return event.NewPseudonym([]byte("test"), tenant, name)
}
func (v fakeVault) Open(_ string, id event.ID, s *event.Sealed) ([]byte, error) {
	if v.erased[id] {
		return nil, ledger.ErrErased
	}
	if v.missing[id] {
		return nil, ledger.ErrKeyMissing
	}
	return s.Box, nil
}
func (fakeVault) Digest(_, purpose string, data []byte) string { return purpose + ":" + string(data) }

type fakeRules struct{}

func (fakeRules) Rule(id string) (decision.Rule, bool) {
	r, ok := map[string]decision.Rule{
		"opt_out.legal_entity": {ID: "opt_out.legal_entity", Text: "The recipient opted out of every message of this legal entity.", Citation: "47 CFR 64.1200(a)(10)"},
		"opt_out.none":         {ID: "opt_out.none", Text: "No opt-out of the recipient stands."},
	}[id]
	return r, ok
}

type fakeKeys struct{}

func (fakeKeys) Authenticate(token string) (ledger.Caller, []string, bool) {
	switch token {
	case testToken:
		return ledger.Caller{Tenant: "acme", Key: "key1"}, []string{"messages:write", "messages:read", "opt-outs:write", "opt-outs:read", "opt-outs:lift", "reviews:read", "reviews:write", "control:write", "operate", "audit:read", "webhooks:read", "webhooks:write"}, true
	case "k_officer":
		return ledger.Caller{Tenant: "acme", Key: "key4"}, []string{"opt-outs:write", "reviews:read", "reviews:write"}, true
	case "k_auditor":
		return ledger.Caller{Tenant: "acme", Key: "key5"}, []string{"audit:read"}, true
	case "k_none":
		return ledger.Caller{Tenant: "acme", Key: "key2"}, nil, true
	case "k_other_tenant":
		return ledger.Caller{Tenant: "other", Key: "key3"}, []string{"messages:write", "messages:read"}, true
	}
	if scopes, ok := strings.CutPrefix(token, "k_with:"); ok { // a key with exactly these
		return ledger.Caller{Tenant: "acme", Key: "key6"}, strings.Split(scopes, ","), true
	}
	return ledger.Caller{}, nil, false
}

type fakeHealth struct{ ok bool }

func (f *fakeHealth) Ready(context.Context) (bool, []Component) {
	return f.ok, []Component{{Name: "log", Ok: f.ok, Detail: "no space left", Since: testTime}}
}

var testTime = time.Date(2026, 11, 24, 13, 40, 0, 123e6, time.UTC)

func testID(n byte) event.ID {
	id := event.NewMessageID(testTime, 7)
	copy(id[8:], []byte{0x80, 0, 0, 0, 0, 0, 0, n})
	return id
}

func box(v any) event.Sealed {
	plain, _ := json.Marshal(v)
	return event.Sealed{SubjectKey: testID(99), ClassKey: "message/2026-11", Box: plain}
}

// env is an API over fakes.
type env struct {
	t       testing.TB
	h       http.Handler
	ledger  *fakeLedger
	views   *fakeViews
	log     *fakeLog
	vault   fakeVault
	health  *fakeHealth
	metrics *prometheus.Registry
}

func newEnv(t testing.TB, change ...func(*Deps, *door.Config)) *env {
	e := &env{t: t, ledger: &fakeLedger{programs: map[string]*event.ProgramChanged{}},
		views:  &fakeViews{messages: map[event.ID]*reading.Message{}, optOuts: map[event.Pseudonym][]reading.OptOut{}},
		log:    &fakeLog{records: map[event.Partition][]ledger.Record{}},
		vault:  fakeVault{erased: map[event.ID]bool{}, missing: map[event.ID]bool{}},
		health: &fakeHealth{ok: true}, metrics: prometheus.NewRegistry()}
	e.ledger.submit = accept
	e.views.log = e.log
	reader := reading.New(reading.Ports{Views: e.views, Desk: viewsDesk{views: e.views}, Log: e.log, Vault: e.vault, Rules: fakeRules{}, Programs: e.ledger, Witness: e.ledger, Wait: door.WaitContext})
	d := Deps{Intake: e.ledger, Commands: e.ledger, Health: e.health, Reports: &fakeReports{},
		Reading: reader, Lists: lists.New(lists.Ports{Views: e.views, Desk: viewsDesk{views: e.views}, Log: e.log, Vault: e.vault, Open: reader, Witness: e.ledger}),
		Metrics: promhttp.HandlerFor(e.metrics, promhttp.HandlerOpts{})}
	c := door.Config{Keys: fakeKeys{}, Registerer: e.metrics,
		Logger: slog.New(slog.NewJSONHandler(&writtenByAll, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range change {
		f(&d, &c)
	}
	d.Door = door.New(c)
	e.h = New(d)
	t.Cleanup(func() {
		families, err := e.metrics.Gather()
		if err != nil {
			t.Error(err)
		}
		for _, f := range families {
			io.WriteString(&writtenByAll, f.String()+"\n")
		}
	})
	return e
}

func accept(_ ledger.Caller, r *intake.SubmitRequest) (*intake.Submitted, error) {
	n, err := sms.ParseNumber(r.To, r.Country)
	if err != nil {
		var bad *sms.NumberError
		errors.As(err, &bad)
		return nil, &ledger.Refusal{Code: bad.Code, Field: "/to", Text: bad.Detail}
	}
	return &intake.Submitted{ID: testID(1), To: n, From: "+14155550199", Program: "otp", Purpose: "otp", Encoding: sms.GSM7, Segments: 1,
		Position: event.Position{Partition: 7, Index: 1234}}, nil
}

// contract is the document, as another implementation reads it.
var contract = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapi)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

var contractRouter = sync.OnceValues(func() (routers.Router, error) {
	doc, err := contract()
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

type answered struct {
	*httptest.ResponseRecorder
	t testing.TB
}

// do sends a request with the key of all scopes and holds the answer against the
// document: its status, its headers and its body must be what is written there.
func (e *env) do(method, target, body string, change ...func(*http.Request)) answered {
	e.t.Helper()
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+target, strings.NewReader(body))
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+testToken)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	e.h.ServeHTTP(w, r)
	e.conforms(r, w)
	return answered{w, e.t}
}

func (e *env) conforms(r *http.Request, w *httptest.ResponseRecorder) {
	e.t.Helper()
	router, err := contractRouter()
	if err != nil {
		e.t.Fatal(err)
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json") {
		doc, _ := contract()
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			e.t.Fatalf("problem is no JSON: %v", err)
		}
		if err := doc.Components.Schemas["Problem"].Value.VisitJSON(v); err != nil {
			e.t.Errorf("%s %s: the problem is not as documented: %v\n%s", r.Method, r.URL.Path, err, w.Body)
		}
	}
	route, params, err := router.FindRoute(r)
	if err != nil {
		if w.Code != 404 && w.Code != 405 && w.Code != 302 {
			e.t.Errorf("%s %s is not in the document and answers %d", r.Method, r.URL.Path, w.Code)
		}
		return
	}
	if err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 w.Code, Header: w.Header(), Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}); err != nil {
		e.t.Errorf("%s %s: the answer is not as documented: %v\n%d %s", r.Method, r.URL.Path, err, w.Code, w.Body)
	}
}

func (a answered) is(status int) answered {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d: %s", a.Code, status, a.Body)
	}
	return a
}

func (a answered) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
		a.t.Fatal(err)
	}
}

// problem checks that the answer is this problem, whole and about this field.
func (a answered) problem(status int, code, pointer string) door.Document {
	a.t.Helper()
	var p door.Document
	if a.Header().Get("Content-Type") != "application/problem+json" {
		a.t.Fatalf("%d %s is not a problem", a.Code, a.Body)
	}
	a.into(&p)
	if a.Code != status || p.Status != status || p.Type != "/problems/"+code || p.Pointer != pointer {
		a.t.Errorf("got %d %s at %q, want %d /problems/%s at %q: %s", a.Code, p.Type, p.Pointer, status, code, pointer, p.Detail)
	}
	if p.Title == "" || p.Detail == "" || p.Reference == "" {
		a.t.Errorf("the problem is not whole: %s", a.Body)
	}
	if strings.Contains(a.Body.String(), testBody) || strings.Contains(a.Body.String(), testNumber[1:]) {
		a.t.Errorf("the problem quotes what it was sent: %s", a.Body)
	}
	return p
}
