package v1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const submitBody = `{"to":"` + testNumber + `","body":"` + testBody + `","reference":"` + testRef + `","program":"otp","priority":9,"valid_for":"30m","send_at":"2026-11-26T15:00:00Z","metadata":{"a":"b"}}`

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestSubmit(t *testing.T) {
	e := newEnv(t)
	var got *intake.SubmitRequest
	var by ledger.Caller
	e.ledger.submit = func(c ledger.Caller, r *intake.SubmitRequest) (*intake.Submitted, error) {
		by, got = c, r
		return accept(c, r)
	}
	a := e.do("POST", "/v1/messages", submitBody, header("Idempotency-Key", "order,1%20")).is(202)
	var s Submitted
	a.into(&s)
	if s.Id != testID(1) || s.Status != "accepted" || s.To != testNumber || s.Position.String() != "07-1234" || s.Segments != 1 || s.Encoding != sms.GSM7 {
		t.Errorf("answer %+v", s)
	}
	if by != (ledger.Caller{Tenant: "acme", Key: "key1"}) {
		t.Errorf("caller %+v", by)
	}
	if got.To != testNumber || got.Body != testBody || got.Reference != testRef || got.Priority != 9 || got.ValidFor != 30*time.Minute ||
		!got.SendAt.Equal(time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)) || got.Metadata["a"] != "b" || got.IdempotencyKey != "order,1%20" {
		t.Errorf("request %+v", got)
	}
}

// TestSubmitProblems goes through every way in which a submit can go wrong.
func TestSubmitProblems(t *testing.T) {
	fails := func(err error) func(*env) {
		return func(e *env) {
			e.ledger.submit = func(ledger.Caller, *intake.SubmitRequest) (*intake.Submitted, error) { return nil, err }
		}
	}
	for name, c := range map[string]struct {
		body    string
		request func(*http.Request)
		set     func(*env)
		status  int
		code    string
		pointer string
		header  [2]string
	}{
		"no key":            {request: func(r *http.Request) { r.Header.Del("Authorization") }, status: 401, code: "unauthorized", header: [2]string{"WWW-Authenticate", `Bearer realm="chirograph"`}},
		"wrong key":         {request: header("Authorization", "Bearer nope"), status: 401, code: "unauthorized"},
		"wrong scheme":      {request: header("Authorization", "Basic "+testToken), status: 401, code: "unauthorized"},
		"no scope":          {request: header("Authorization", "Bearer k_none"), status: 403, code: "forbidden", header: [2]string{"WWW-Authenticate", `Bearer realm="chirograph", error="insufficient_scope", scope="messages:write"`}},
		"key before body":   {body: "junk", request: header("Authorization", "Bearer nope"), status: 401, code: "unauthorized"},
		"accepts html":      {request: header("Accept", "text/html, application/json;q=0"), status: 406, code: "not_acceptable"},
		"too large":         {body: `{"to":"` + strings.Repeat("a", 1<<20) + `"}`, status: 413, code: "body_too_large"},
		"too large, unsaid": {body: `{"to":"` + strings.Repeat("a", 1<<20) + `"}`, request: func(r *http.Request) { r.ContentLength = -1 }, status: 413, code: "body_too_large"},
		"form":              {request: header("Content-Type", "application/x-www-form-urlencoded"), status: 415, code: "unsupported_media_type"},
		"no content type":   {request: func(r *http.Request) { r.Header.Del("Content-Type") }, status: 415, code: "unsupported_media_type"},
		"latin-1":           {request: header("Content-Type", "application/json; charset=iso-8859-1"), status: 415, code: "unsupported_media_type"},
		"gzip":              {request: header("Content-Encoding", "gzip"), status: 415, code: "unsupported_media_type"},
		"an empty key":      {request: func(r *http.Request) { r.Header["Idempotency-Key"] = []string{" "} }, status: 422, code: "invalid_idempotency_key"},
		"two keys":          {request: func(r *http.Request) { r.Header["Idempotency-Key"] = []string{"a", "b"} }, status: 400, code: "bad_parameter"},
		"not json":          {body: "to=1", status: 400, code: "malformed_json"},
		"trailing":          {body: `{"to":"a","body":"b"} {}`, status: 400, code: "trailing_data"},
		"utf-8":             {body: "{\"to\":\"a\",\"body\":\"\xff\"}", status: 400, code: "invalid_utf8", pointer: "/body"},
		"duplicate":         {body: `{"to":"a","to":"b"}`, status: 400, code: "duplicate_field", pointer: "/to"},
		"bomb":              {body: strings.Repeat("[", 100000), status: 400, code: "nested_too_deep"},
		"unknown field":     {body: `{"to":"a","body":"b","number":"` + testNumber + `"}`, status: 422, code: "unknown_field", pointer: "/number"},
		"missing":           {body: `{"to":"a"}`, status: 422, code: "missing_field", pointer: "/body"},
		"wrong type":        {body: `{"to":14155550123}`, status: 422, code: "wrong_type", pointer: "/to"},
		"null":              {body: `{"to":null}`, status: 422, code: "null_not_allowed", pointer: "/to"},
		"huge number":       {body: `{"priority":1` + strings.Repeat("0", 30) + `}`, status: 422, code: "out_of_range", pointer: "/priority"},
		"priority 0":        {body: `{"to":"a","body":"b","priority":0}`, status: 422, code: "invalid_priority", pointer: "/priority"},
		"priority 10":       {body: `{"to":"a","body":"b","priority":10}`, status: 422, code: "invalid_priority", pointer: "/priority"},
		"time":              {body: `{"to":"a","body":"b","send_at":"soon"}`, status: 422, code: "invalid_time", pointer: "/send_at"},
		"duration":          {body: `{"to":"a","body":"b","valid_for":"soon"}`, status: 422, code: "invalid_duration", pointer: "/valid_for"},
		"no duration":       {body: `{"to":"a","body":"b","valid_for":"0s"}`, status: 422, code: "invalid_valid_for", pointer: "/valid_for"},
		"number":            {body: `{"to":"+14155","body":"b"}`, status: 422, code: "invalid_number", pointer: "/to"},
		"refusal":           {set: fails(&ledger.Refusal{Code: "idempotency_key_reused", Text: "Use a new key."}), status: 422, code: "idempotency_key_reused"},
		"refused":           {set: fails(fmt.Errorf("disk full: %w", ledger.ErrRefused)), status: 503, code: "unavailable", header: [2]string{"Retry-After", "1"}},
		"unknown":           {set: fails(ledger.ErrUnknown), status: 504, code: "outcome_unknown"},
		"time is over":      {set: fails(context.DeadlineExceeded), status: 504, code: "outcome_unknown"},
		"fault":             {set: fails(errors.New("secret cause")), status: 500, code: "internal"},
		"panic": {set: func(e *env) {
			e.ledger.submit = func(_ ledger.Caller, r *intake.SubmitRequest) (*intake.Submitted, error) { panic(r.To) }
		}, status: 500, code: "internal"},
		"runtime panic": {set: func(e *env) {
			e.ledger.submit = func(ledger.Caller, *intake.SubmitRequest) (*intake.Submitted, error) {
				var r *intake.SubmitRequest
				_ = r.Body // a fault of ours
				return nil, nil
			}
		}, status: 500, code: "internal"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			if c.set != nil {
				c.set(e)
			}
			if c.body == "" {
				c.body = submitBody
			}
			if c.request == nil {
				c.request = func(*http.Request) {}
			}
			a := e.do("POST", "/v1/messages", c.body, c.request)
			p := a.problem(c.status, c.code, c.pointer)
			if c.header[0] != "" && a.Header().Get(c.header[0]) != c.header[1] {
				t.Errorf("header %s is %q", c.header[0], a.Header().Get(c.header[0]))
			}
			if strings.Contains(a.Body.String(), "secret") {
				t.Errorf("the cause is public: %s", a.Body)
			}
			if c.status >= 500 && !strings.Contains(writtenByAll.String(), p.Reference) {
				t.Error("the log has no line with the reference")
			}
		})
	}
}

func TestCauseIsLogged(t *testing.T) {
	e := newEnv(t)
	e.ledger.submit = func(ledger.Caller, *intake.SubmitRequest) (*intake.Submitted, error) {
		return nil, errors.New("the disk is on fire")
	}
	p := e.do("POST", "/v1/messages", submitBody).problem(500, "internal", "")
	for line := range strings.SplitSeq(writtenByAll.String(), "\n") {
		if strings.Contains(line, p.Reference) {
			var l map[string]any
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			if l["cause"] != "the disk is on fire" || l["route"] != "/v1/messages" || l["method"] != "POST" || l["status"] != 500.0 || l["tenant"] != "acme" || l["level"] != "ERROR" {
				t.Errorf("line %s", line)
			}
			return
		}
	}
	t.Error("no line has the reference")
}

func TestAddresses(t *testing.T) {
	e := newEnv(t)
	e.do("GET", "/nothing", "").problem(404, "not_found", "")
	e.do("GET", "/v1/messages/", "").problem(404, "not_found", "")
	e.do("GET", "/problems/nothing", "").problem(404, "not_found", "")
	a := e.do("DELETE", "/v1/messages", "")
	a.problem(405, "method_not_allowed", "")
	if a.Header().Get("Allow") == "" {
		t.Error("405 without Allow")
	}
	if a := e.do("GET", "/", ""); a.Code != 302 || a.Header().Get("Location") != "/docs" {
		t.Errorf("/ answers %d to %q", a.Code, a.Header().Get("Location"))
	}
	if a := e.do("GET", "/openapi.yaml", "").is(200); a.Body.String() != string(openapi) {
		t.Error("/openapi.yaml is not the document")
	}
	docs := e.do("GET", "/docs", "").is(200)
	for _, op := range document().Operations {
		if !strings.Contains(docs.Body.String(), `id="`+op.ID+`"`) {
			t.Errorf("/docs has no %s", op.ID)
		}
	}
	if external := regexp.MustCompile(`(?i)(<script|src=|@import|<link|url\()`).FindString(docs.Body.String()); external != "" {
		t.Errorf("/docs has %q", external)
	}
	if !strings.Contains(docs.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Error("/docs may load what it likes")
	}
	for _, k := range door.Kinds() {
		e.do("GET", "/problems/"+k.Code, "").is(200)
	}
	e.do("GET", "/healthz", "", func(r *http.Request) { r.Header.Del("Authorization") }).is(200)
	e.do("GET", "/metrics", "").is(200)
}

func TestReady(t *testing.T) {
	e := newEnv(t)
	e.do("GET", "/readyz", "").is(200)
	e.health.ok = false
	var r Ready
	e.do("GET", "/readyz", "").is(503).into(&r)
	if r.Ok || len(r.Components) != 1 || r.Components[0].Detail != "no space left" || !r.Components[0].Since.Equal(testTime) {
		t.Errorf("%+v", r)
	}
}

func TestOverload(t *testing.T) {
	inside, release := make(chan bool), make(chan bool)
	e := newEnv(t, func(_ *Deps, c *door.Config) { c.MaxRequests = 1 })
	e.ledger.submit = func(c ledger.Caller, r *intake.SubmitRequest) (*intake.Submitted, error) {
		inside <- true
		<-release
		return accept(c, r)
	}
	done := make(chan answered)
	go func() { done <- e.do("POST", "/v1/messages", submitBody) }()
	<-inside
	a := e.do("POST", "/v1/messages", submitBody)
	a.problem(503, "overloaded", "")
	if a.Header().Get("Retry-After") != "1" {
		t.Error("no Retry-After")
	}
	e.do("GET", "/healthz", "").is(200)
	close(release)
	(<-done).is(202)
	go func() { <-inside }()
	e.do("POST", "/v1/messages", submitBody).is(202)
}

// life is a message that was denied once and then delivered in two parts, on two
// attempts, with its events in the log.
func life(e *env) *reading.Message {
	const body = testBody
	id := testID(1)
	long := body + strings.Repeat(" and so on", 15) // two parts
	content := event.Content{To: testNumber, Body: long, Reference: testRef, Metadata: map[string]string{"a": "b"}}
	m := &reading.Message{
		ID: id, Tenant: "acme", Subject: e.vault.Pseudonym("acme", testNumber), Position: event.Position{Partition: 7, Index: 1},
		Status: recipient.Delivered, Program: "otp", Purpose: "otp", Priority: 9, From: "+14155550199", Country: "US",
		Places: []event.Place{"US-CA America/Los_Angeles"}, Encoding: "gsm7", Segments: 2, ValidUntil: testTime.Add(time.Hour), By: "key1",
		Content: box(content),
		Decision: &reading.Decision{Event: testID(3), At: testTime, Control: 1, Data: &event.MessageDecided{
			Outcome: decision.Allow, Until: testTime.Add(time.Hour), Revision: "2026.11", Digest: "5f1d",
			Checks: []event.Check{{Check: "opt_out", Outcome: decision.Allow, Rules: []string{"opt_out.none"}}, {Check: "senders", Outcome: decision.Allow, Rules: []string{"senders.gone"}}},
			Clocks: []event.Clock{"America/Los_Angeles 2026-11-24T05:40"}}},
		Decisions: 2,
		Route:     &reading.Route{Data: &event.MessageRouted{Rule: "default", Carrier: "simulator", From: "+14155550199", Encoding: "gsm7", Parts: 2}},
		Attempts: []reading.Attempt{{Number: 1, Carrier: "simulator", From: "+14155550199", StartedAt: testTime, CallBy: testTime, AnswerBy: testTime,
			Parts: []reading.Part{
				{Part: 1, Status: recipient.PartTaken, CarrierID: "9f31", AnsweredAt: testTime, Receipt: "delivered", Final: true, Grade: "network", Match: "id", ReceiptAt: testTime, Receipts: 1},
				{Part: 2, Status: recipient.PartTaken, CarrierID: "9f32", AnsweredAt: testTime, Receipt: "delivered", Final: true, Grade: "inferred", Match: "reference", ReceiptAt: testTime, Receipts: 2}}}},
		Accepted: testTime, Decided: testTime, Started: testTime, Sent: testTime, Settled: testTime, Changed: testTime,
		Events: []reading.Entry{{Index: 1}, {Index: 2, Why: recipient.Overtaken}, {Index: 4}, {Index: 300}},
	}
	add := func(n byte, message event.ID, d event.Data) {
		ev := &event.Event{ID: testID(n), Source: "/test", Subject: m.Subject, Time: testTime, Tenant: "acme", Message: message, Node: "n", Data: d}
		raw, err := event.Encode(ev)
		if err != nil {
			e.t.Fatal(err)
		}
		rs := e.log.records[7]
		e.log.records[7] = append(rs, ledger.Record{Index: int64(len(rs)), Event: ev, Raw: raw})
	}
	add(100, event.ID{}, &event.ControlApplied{Position: 1, Event: testID(101)})
	add(1, event.ID{}, &event.MessageSubmitted{Program: "otp", Purpose: "otp", Priority: 9, From: "+14155550199", Country: "US", Encoding: "gsm7", Segments: 2,
		ValidUntil: testTime.Add(time.Hour), By: "key1", Sealed: box(content)})
	add(2, id, &event.MessageDecided{Outcome: decision.Allow, Revision: "2026.11"})
	add(102, testID(103), &event.CancelRequested{By: "key1"})
	add(3, id, m.Decision.Data)
	for len(e.log.records[7]) < 300 {
		add(104, testID(105), &event.CancelRequested{By: "key1"})
	}
	add(4, id, &event.ReceiptReceived{Account: "simulator", CarrierID: "9f31", Attempt: 1, Part: 1, State: "delivered", Final: true, Grade: "network",
		Sealed: box(event.Inbound{From: testNumber, Raw: []byte{1, 2}})})
	e.views.put(m)
	return m
}

func TestGetMessage(t *testing.T) {
	e := newEnv(t)
	m := life(e)
	path := "/v1/messages/" + m.ID.String()
	var v Message
	e.do("GET", path+"?at_least=07-1&wait=1s", "").is(200).into(&v)
	if v.To != testNumber || v.Body == nil || !strings.HasPrefix(*v.Body, testBody) || v.Reference != testRef || v.Metadata["a"] != "b" || v.Erased {
		t.Errorf("content %+v", v)
	}
	if len(v.Parts) != 2 || v.Parts[0].Text+v.Parts[1].Text != *v.Body || len(v.Parts[0].Text) != 153 {
		t.Errorf("parts %+v", v.Parts)
	}
	if v.SentFrom != "+14155550199" || v.Carrier != "simulator" || v.ReceiptGrade != "inferred" || v.Status != recipient.Delivered {
		t.Errorf("%+v", v)
	}
	if len(v.Recipient.LocalTimes) != 1 || v.Recipient.LocalTimes[0] != (LocalTime{"2026-11-24T05:40", "America/Los_Angeles"}) {
		t.Errorf("local times %+v", v.Recipient.LocalTimes)
	}
	if d := v.Decision; d.Outcome != "allow" || len(d.Reasons) != 2 || d.Reasons[0].Text != "No opt-out of the recipient stands." ||
		!strings.Contains(d.Reasons[1].Text, "2026.11") || d.Policy.Revision != "2026.11" {
		t.Errorf("decision %+v", d)
	}
	if p := v.Attempts[0].Parts[1]; p.CarrierId != "9f32" || p.Receipt == nil || p.Receipt.Count != 2 || p.Receipt.Grade != "inferred" {
		t.Errorf("part %+v", p)
	}
	e.vault.erased[m.ID] = true
	a := e.do("GET", path, "").is(200)
	if strings.Contains(a.Body.String(), testNumber) || strings.Contains(a.Body.String(), "elican") || !strings.Contains(a.Body.String(), `"body":null`) {
		t.Errorf("erased, and yet: %s", a.Body)
	}
	v = Message{}
	a.into(&v)
	if !v.Erased || v.Parts != nil || v.To != "" {
		t.Errorf("erased: %+v", v)
	}
	if strings.Contains(a.Body.String(), "key_missing") {
		t.Errorf("erased, and said to be missing: %s", a.Body)
	}
	delete(e.vault.erased, m.ID)
	e.vault.missing[m.ID] = true
	v = Message{}
	e.do("GET", path, "").is(200).into(&v)
	if v.Erased || !v.KeyMissing || v.To != "" || v.Body != nil {
		t.Errorf("its key is missing: %+v", v)
	}
}

func TestGetMessageNotFound(t *testing.T) {
	e := newEnv(t)
	m := life(e)
	path := "/v1/messages/" + m.ID.String()
	other := header("Authorization", "Bearer k_other_tenant")
	e.do("GET", path, "", other).problem(404, "message_not_found", "")
	e.do("GET", path+"/events", "", other).problem(404, "message_not_found", "")
	e.do("GET", "/v1/messages/"+testID(77).String(), "").problem(404, "message_not_found", "")
	e.do("GET", "/v1/messages/search", "").problem(404, "message_not_found", "")
	e.do("GET", "/v1/messages/"+event.NewMessageID(testTime, 16).String(), "").problem(404, "message_not_found", "") // no such partition
	e.do("GET", "/v1/messages/"+event.NewMessageID(testTime, 3).String(), "").problem(404, "message_not_found", "")  // an empty one
	for _, q := range []string{"at_least=7-1", "at_least=control-1", "at_least=16-1", "at_least=x"} {
		e.do("GET", path+"?"+q, "").problem(422, "invalid_position", "")
	}
	for _, q := range []string{"wait=61s", "wait=-1s", "wait=30", "wait=soon", "wait=1s&wait=2s", "at_least=07-1&at_least=07-2"} {
		a := e.do("GET", path+"?"+q, "")
		if a.Code == 200 && strings.Contains(q, "&") {
			continue // the first of two counts; the document promises nothing of that
		}
		a.problem(400, "bad_parameter", "")
	}
	e.views.err = errors.New("the views are gone")
	e.do("GET", path, "").problem(500, "internal", "")
}

// A message that the log holds and the views do not yet is found all the same.
func TestReadYourWrites(t *testing.T) {
	e := newEnv(t)
	m := life(e)
	delete(e.views.messages, m.ID)
	var reached []event.Position
	e.views.waitFor = func(_ context.Context, p event.Position) error {
		reached = append(reached, p)
		e.views.put(m)
		return nil
	}
	e.do("GET", "/v1/messages/"+m.ID.String(), "").is(200)
	e.do("GET", "/v1/messages/"+m.ID.String()+"?at_least=07-9", "").is(200)
	if want := []event.Position{{Partition: 7, Index: 300}, {Partition: 7, Index: 9}}; !slices.Equal(reached, want) {
		t.Errorf("waited for %v, want %v", reached, want)
	}
	e.views.waitFor = func(ctx context.Context, _ event.Position) error { return errors.New("the partition has stopped") }
	e.do("GET", "/v1/messages/"+m.ID.String()+"?at_least=07-9", "").problem(500, "internal", "")
	// Whoever goes away while it waits is told that the views are behind.
	ctx, cancel := context.WithCancel(context.Background())
	e.views.waitFor = func(ctx context.Context, _ event.Position) error { cancel(); <-ctx.Done(); return ctx.Err() }
	e.do("GET", "/v1/messages/"+m.ID.String()+"?at_least=07-9", "", func(r *http.Request) { *r = *r.WithContext(ctx) }).problem(503, "behind", "")
}

func TestWait(t *testing.T) {
	e := newEnv(t, func(_ *Deps, c *door.Config) { c.MaxRequests, c.MaxWaiting = 1, 1 })
	m := *life(e)
	m.Status = recipient.Sent
	e.views.put(&m)
	path := "/v1/messages/" + m.ID.String() + "?wait=30s"
	waiting, change := make(chan recipient.Status), make(chan bool)
	e.views.waitChange = func(_ context.Context, _ event.ID, from recipient.Status) error {
		waiting <- from
		<-change
		return nil
	}
	done := make(chan answered)
	go func() { done <- e.do("GET", path, "") }()
	if from := <-waiting; from != recipient.Sent {
		t.Errorf("waits for a change from %s", from)
	}
	e.do("POST", "/v1/messages", submitBody).is(202) // a wait takes no place among the requests
	e.do("GET", path, "").problem(503, "overloaded", "")
	delivered := m
	delivered.Status = recipient.Delivered
	e.views.put(&delivered)
	close(change)
	var v Message
	(<-done).is(200).into(&v)
	if v.Status != recipient.Delivered {
		t.Errorf("status %s after the wait", v.Status)
	}
	e.do("GET", path, "").is(200) // nothing more to wait for
	// The time is over: the message as it stands.
	e.views.put(&m)
	e.views.waitChange = func(ctx context.Context, _ event.ID, _ recipient.Status) error { <-ctx.Done(); return ctx.Err() }
	e.do("GET", strings.Replace(path, "30s", "1ms", 1), "").is(200).into(&v)
	if v.Status != recipient.Sent {
		t.Errorf("status %s", v.Status)
	}
	e.views.waitChange = func(context.Context, event.ID, recipient.Status) error { return errors.New("broken") }
	e.do("GET", path, "").problem(500, "internal", "")
}

func TestGetMessageEvents(t *testing.T) {
	e := newEnv(t)
	m := life(e)
	path := "/v1/messages/" + m.ID.String() + "/events"
	var got MessageEvents
	a := e.do("GET", path, "").is(200)
	a.into(&got)
	var at []string
	for _, ev := range got.Events {
		at = append(at, ev.Position.String())
		if _, sealed := ev.Data["sealed"]; sealed {
			t.Error("sealed data is shown")
		}
	}
	if !slices.Equal(at, []string{"07-1", "07-2", "07-4", "07-300"}) {
		t.Fatalf("positions %v", at)
	}
	if got.Events[1].Effective || got.Events[1].Void != recipient.Overtaken || !got.Events[0].Effective {
		t.Errorf("effective: %+v", got.Events)
	}
	if !strings.Contains(string(got.Events[0].Data["content"]), testBody) || !strings.Contains(string(got.Events[3].Data["content"]), testNumber) {
		t.Errorf("content is not opened: %s", a.Body)
	}
	for _, key := range []string{"box", "subject_key", "class_key"} {
		if strings.Contains(a.Body.String(), key) {
			t.Errorf("the answer holds %s", key)
		}
	}
	e.vault.erased[m.ID] = true
	a = e.do("GET", path, "").is(200)
	got = MessageEvents{}
	a.into(&got)
	if string(got.Events[0].Data["erased"]) != "true" || got.Events[0].Data["content"] != nil {
		t.Errorf("erased: %s", got.Events[0].Data)
	}
	// The views speak of an event that is another message's: ours to repair, not to show.
	m.Events[2].Index = 3
	e.do("GET", path, "").problem(500, "internal", "")
}

func TestSearch(t *testing.T) {
	e := newEnv(t)
	m := life(e)
	for n := byte(10); n < 15; n++ {
		c := *m
		c.ID = testID(n)
		c.Content = box(event.Content{To: testNumber, Body: testBody})
		e.views.put(&c)
	}
	query := `{"to":"` + testNumber + `","reference":"` + testRef + `","status":"delivered","program":"otp","since":"2026-11-01T00:00:00Z","limit":4`
	var page SearchPage
	e.do("POST", "/v1/messages/search", query+"}").is(200).into(&page)
	f := e.views.filter
	if f.Subject != e.vault.Pseudonym("acme", testNumber) || f.Reference != "reference:"+testRef || f.Status != recipient.Delivered || f.Program != "otp" ||
		!f.Since.Equal(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)) || f.Limit != 4 || !f.After.IsZero() {
		t.Errorf("filter %+v", f)
	}
	if len(page.Messages) != 4 || page.Messages[0].Id != testID(14) || page.NextCursor == "" || page.Messages[0].To != testNumber {
		t.Fatalf("page %+v", page)
	}
	next := page.NextCursor
	page = SearchPage{}
	e.do("POST", "/v1/messages/search", query+`,"cursor":"`+next+`"}`).is(200).into(&page)
	if len(page.Messages) != 2 || page.NextCursor != "" || page.Messages[1].Id != testID(1) {
		t.Errorf("second page %+v", page)
	}
	body := e.do("POST", "/v1/messages/search", `{"purpose":"otp","sender":"BANK","country":"us","carrier":"sim","rule":"hold.pause","outcome":"hold","sent_since":"2026-11-01T00:00:00Z","sent_until":"2026-11-02T00:00:00Z","count":true}`).is(200).Body.String()
	if want := (reading.Narrower{Purpose: "otp", Sender: "BANK", Country: "US", Carrier: "sim", Rule: "hold.pause", Outcome: "hold",
		SentSince: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), SentUntil: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)}); e.views.filter.Narrower != want {
		t.Errorf("%+v", e.views.filter.Narrower)
	}
	for _, want := range []string{`"count":6`, `"complete_since":"2026-11-24T13:40:00.123Z"`, `"carrier":`, `"outcome":`, `"sent":`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not have %s: %s", want, body)
		}
	}
	if body := e.do("POST", "/v1/messages/search", `{}`).is(200).Body.String(); strings.Contains(body, `"count"`) || strings.Contains(body, "complete") || strings.Contains(body, "short") {
		t.Error(body)
	}
	for name, c := range map[string]struct{ body, code, pointer string }{
		"outcome":                  {`{"outcome":"delivered"}`, "invalid_value", "/outcome"},
		"purpose":                  {`{"purpose":"fun"}`, "invalid_value", "/purpose"},
		"time of sending":          {`{"sent_since":"yesterday"}`, "invalid_time", "/sent_since"},
		"cursor of another search": {`{"cursor":"` + next + `"}`, "invalid_cursor", "/cursor"},
		"cursor of our own making": {`{"cursor":"AAAA"}`, "invalid_cursor", "/cursor"},
		"limit 0":                  {`{"limit":0}`, "out_of_range", "/limit"},
		"limit 201":                {`{"limit":201}`, "out_of_range", "/limit"},
		"status":                   {`{"status":"gone"}`, "invalid_value", "/status"},
		"number":                   {`{"to":"4155550123"}`, "not_e164", "/to"},
		"a calling code alone":     {`{"to":"+49"}`, "invalid_number", "/to"},
	} {
		t.Run(name, func(t *testing.T) {
			e.t = t
			e.do("POST", "/v1/messages/search", c.body).problem(422, c.code, c.pointer)
		})
	}
	e.t = t
	e.do("POST", "/v1/messages/search", `{}`, header("Authorization", "Bearer k_other_tenant")).is(200).into(&page)
}

func TestCancel(t *testing.T) {
	e := newEnv(t)
	at := event.Position{Partition: 7, Index: 1240}
	for _, c := range []struct {
		answer *intake.Cancelled
		err    error
		status int
		code   string
	}{
		{&intake.Cancelled{Status: recipient.Cancelled, Position: at}, nil, 200, ""},
		{&intake.Cancelled{Status: recipient.Sent, Position: at, Late: true}, nil, 409, "message_left"},
		{&intake.Cancelled{Status: recipient.Sent, Position: at, Late: true, Asked: true}, nil, 409, "message_left"},
		{nil, &ledger.Refusal{Code: "message_not_found", Status: ledger.NotFound, Text: "There is no such message."}, 404, "message_not_found"},
		{nil, ledger.ErrUnknown, 504, "outcome_unknown"},
		{nil, ledger.ErrRefused, 503, "unavailable"},
	} {
		e.ledger.cancel = func(event.ID) (*intake.Cancelled, error) { return c.answer, c.err }
		a := e.do("POST", "/v1/messages/"+testID(1).String()+"/cancel", "").is(c.status)
		if c.code == "" {
			var v Cancelled
			a.into(&v)
			if v.Status != recipient.Cancelled || v.Id != testID(1) || v.Position != at {
				t.Errorf("%+v", v)
			}
			continue
		}
		p := a.problem(c.status, c.code, "")
		if c.code == "message_left" && (p.State != "sent" || p.Position != "07-1240" || strings.Contains(p.Detail, "carrier is asked") != c.answer.Asked) {
			t.Errorf("%+v", p)
		}
	}
	e.do("POST", "/v1/messages/nothing/cancel", "").problem(404, "message_not_found", "")
}

func TestOptOutAndLift(t *testing.T) {
	e := newEnv(t)
	var got *intake.OptOutRequest
	at := event.Position{Partition: 7, Index: 1251}
	e.ledger.optOut = func(r *intake.OptOutRequest) (*intake.OptedOut, error) {
		got = r
		return &intake.OptedOut{Event: testID(5), Position: at}, nil
	}
	e.ledger.lift = func(r *intake.OptOutRequest) (*intake.OptedOut, error) {
		got = r
		return &intake.OptedOut{Event: testID(6), Position: at, Lifted: []event.ID{testID(5)}}, nil
	}
	body := `{"number":"` + testNumber + `","country":"US","scope":"program","program":"marketing","sender":"+14155550199","source":"phone","evidence":"` + testBody + `"`
	var o OptOutRecorded
	e.do("POST", "/v1/opt-outs", body+`,"occurred_at":"2026-11-24T09:12:00Z"}`).is(201).into(&o)
	want := intake.OptOutRequest{Number: testNumber, Country: "US", Scope: event.ScopeProgram, Program: "marketing", Sender: "+14155550199", Source: "phone",
		Evidence: testBody, OccurredAt: time.Date(2026, 11, 24, 9, 12, 0, 0, time.UTC)}
	if o.Event != testID(5) || o.Position != at || *got != want {
		t.Errorf("%+v, %+v", o, got)
	}
	var l Lifted
	e.do("POST", "/v1/opt-outs/lift", body+"}").is(201).into(&l)
	want.OccurredAt = time.Time{}
	if l.Event != testID(6) || !slices.Equal(l.Lifted, []event.ID{testID(5)}) || *got != want {
		t.Errorf("%+v, %+v", l, got)
	}
	e.do("POST", "/v1/opt-outs/lift", body+`,"occurred_at":"2026-11-24T09:12:00Z"}`).problem(422, "unknown_field", "/occurred_at")
	e.do("POST", "/v1/opt-outs", strings.Replace(body, `"program"`, `"world"`, 1)+"}").problem(422, "invalid_value", "/scope")
	e.ledger.lift = func(*intake.OptOutRequest) (*intake.OptedOut, error) {
		return nil, &ledger.Refusal{Code: "nothing_to_lift", Status: ledger.Conflict, Text: "No opt-out of that scope is in force for this number."}
	}
	e.do("POST", "/v1/opt-outs/lift", body+"}").problem(409, "nothing_to_lift", "")
}

func TestCheck(t *testing.T) {
	e := newEnv(t)
	e.ledger.programs["marketing"] = &event.ProgramChanged{Name: "marketing", LegalEntity: "Example Bank", Senders: []string{"+14155550199"}}
	const second = "+14155550124"
	out := func(n byte, scope event.Scope, name string) reading.OptOut {
		return reading.OptOut{Event: testID(n), Position: event.Position{Partition: 7, Index: int64(n)}, Reach: event.Reach{Scope: scope, Name: name}, Source: "phone", Since: testTime}
	}
	all := []reading.OptOut{out(1, event.ScopeSender, "+14155550199"), out(2, event.ScopeSender, "22333"), out(3, event.ScopeProgram, "marketing"),
		out(4, event.ScopeProgram, "otp"), out(5, event.ScopeLegalEntity, "Example Bank"), out(6, event.ScopeLegalEntity, "Other"), out(7, event.ScopeTenant, "")}
	e.views.optOuts[e.vault.Pseudonym("acme", second)] = all
	for _, c := range []struct {
		ask  string
		want []byte
	}{
		{``, []byte{1, 2, 3, 4, 5, 6, 7}},
		{`,"program":"marketing"`, []byte{1, 3, 5, 7}},
		{`,"program":"marketing","sender":"22333"`, []byte{2, 3, 5, 7}},
		{`,"sender":"22333","purpose":"otp"`, []byte{2, 3, 4, 5, 6, 7}},
	} {
		var r CheckResult
		e.do("POST", "/v1/opt-outs/check", `{"numbers":["`+testNumber+`","`+second+`"]`+c.ask+`}`).is(200).into(&r)
		if len(r.Results) != 2 || r.Results[0].OptedOut || !r.Results[1].OptedOut || r.Results[1].Number != second {
			t.Fatalf("%s: %+v", c.ask, r)
		}
		var got []byte
		for _, o := range r.Results[1].Scopes {
			got = append(got, o.Event[15])
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: counts %v, want %v", c.ask, got, c.want)
		}
		if len(r.AsOf) != 2 || r.AsOf[1].String() != "07-1251" {
			t.Errorf("as of %v", r.AsOf)
		}
	}
	e.views.optOuts[e.vault.Pseudonym("acme", second)] = all[1:2]
	var r CheckResult
	e.do("POST", "/v1/opt-outs/check", `{"numbers":["`+second+`"],"program":"marketing"}`).is(200).into(&r)
	if r.Results[0].OptedOut {
		t.Error("an opt-out of another sender counts")
	}
	// What the views do not hold yet of what the log had when the question came is not known.
	p := event.Partition(e.vault.Pseudonym("acme", testNumber).Partition(16))
	e.log.records[p] = make([]ledger.Record, 5000)
	e.do("POST", "/v1/opt-outs/check", `{"numbers":["`+testNumber+`","`+second+`"],"sender":"22333"}`).is(200).into(&r)
	if x := r.Results[0]; x.State != CheckStateUnknown || x.UnknownBecause != "behind" || !x.OptedOut || len(x.Scopes) != 0 {
		t.Errorf("%+v", x)
	}
	delete(e.log.records, p)
	many := func(n int) string {
		return `{"numbers":[` + strings.TrimSuffix(strings.Repeat(`"`+second+`",`, n), ",") + `]}`
	}
	e.do("POST", "/v1/opt-outs/check", many(10_000)).is(200)
	e.do("POST", "/v1/opt-outs/check", many(10_001)).problem(422, "too_many", "/numbers")
	e.do("POST", "/v1/opt-outs/check", many(0)).problem(422, "too_many", "/numbers")
	e.do("POST", "/v1/opt-outs/check", `{"numbers":["`+second+`","`+second+`","`+second+`","+1"]}`).problem(422, "invalid_number", "/numbers/3")
	e.do("POST", "/v1/opt-outs/check", `{"numbers":["`+second+`"],"program":"nope"}`).problem(404, "program_not_found", "/program")
	e.do("POST", "/v1/opt-outs/check", `{"numbers":["`+second+`"],"sender":"!"}`).problem(422, "invalid_sender", "/sender")
	e.do("POST", "/v1/opt-outs/check", `{"numbers":["`+second+`"],"purpose":"fun"}`).problem(422, "invalid_value", "/purpose")
}

func TestPrograms(t *testing.T) {
	e := newEnv(t)
	e.do("GET", "/v1/programs/marketing", "").problem(404, "program_not_found", "")
	body := `{"legal_entity":"Example Bank","purposes":["marketing"],"countries":["US"],"senders":["+14155550199"],"priority":3,"default":true,"stop_text":"Bye.","start_text":"Welcome."}`
	var p Program
	e.do("PUT", "/v1/programs/marketing", body).is(200).into(&p)
	if p.Name != "marketing" || p.LegalEntity != "Example Bank" || !p.Default || p.Priority != 3 || p.StopText != "Bye." || p.By != "key1" || p.Position.String() != "control-4" || len(p.Warnings) != 1 {
		t.Errorf("%+v", p)
	}
	if got := e.ledger.programs["marketing"]; got.By != "key1" || got.Purposes[0] != "marketing" {
		t.Errorf("%+v", got)
	}
	e.do("GET", "/v1/programs/marketing", "").is(200)
	e.do("PUT", "/v1/programs/marketing", strings.Replace(body, "3", "0", 1)).problem(422, "invalid_priority", "/priority")
	e.do("PUT", "/v1/programs/marketing", strings.Replace(body, `["marketing"]`, `["marketing","fun"]`, 1)).problem(422, "invalid_value", "/purposes/1")
}

func TestPause(t *testing.T) {
	e := newEnv(t)
	var got *control.PauseRequest
	e.ledger.pause = func(r *control.PauseRequest) (*control.Pausing, error) {
		got = r
		return &control.Pausing{Event: testID(8), Position: event.Position{Partition: event.ControlPartition, Index: 13}, InForce: 16}, nil
	}
	for _, path := range []string{"/v1/pause", "/v1/resume"} {
		var p Pausing
		e.do("POST", path, `{"program":"marketing","carrier":"simulator","reason":"wrong price"}`).is(200).into(&p)
		if p.InForce != 16 || p.Position.String() != "control-13" || *got != (control.PauseRequest{Program: "marketing", Carrier: "simulator", Reason: "wrong price"}) {
			t.Errorf("%s: %+v, %+v", path, p, got)
		}
		e.do("POST", path, `{}`).problem(422, "missing_field", "/reason")
	}
	e.ledger.pause = func(*control.PauseRequest) (*control.Pausing, error) {
		return nil, &ledger.Refusal{Code: "not_paused", Status: ledger.Conflict, Text: "No such pause is in force."}
	}
	e.do("POST", "/v1/resume", `{"reason":"done"}`).problem(409, "not_paused", "")
}

// TestScopes: every operation that the document gives a scope refuses a key without it.
func TestScopes(t *testing.T) {
	e := newEnv(t)
	n := 0
	for _, op := range document().Operations {
		if op.Scope == "" {
			if strings.HasPrefix(op.Path, "/v1/") {
				t.Errorf("%s %s needs no key", op.Method, op.Path)
			}
			continue
		}
		n++
		path := strings.NewReplacer("{id}", testID(1).String(), "{name}", "otp", "{period}", "day").Replace(op.Path)
		p := e.do(op.Method, path, "", header("Authorization", "Bearer k_none")).problem(403, "forbidden", "")
		if !strings.Contains(p.Detail, op.Scope) {
			t.Errorf("%s %s does not name %s: %s", op.Method, op.Path, op.Scope, p.Detail)
		}
		e.do(op.Method, path, "", header("Authorization", "Bearer nope")).problem(401, "unauthorized", "")
	}
	if n != 43 {
		t.Errorf("%d operations need a scope, want 43", n)
	}
}

// TestNoOpenRoute: whatever is served under /v1/, documented or not, asks for a key.
func TestNoOpenRoute(t *testing.T) {
	e := newEnv(t)
	n := 0
	for _, r := range e.h.(*echo.Echo).Routes() {
		if !strings.HasPrefix(r.Path, "/v1/") {
			continue
		}
		n++
		path := strings.NewReplacer(":id", testID(1).String(), ":name", "otp", ":period", "day").Replace(r.Path)
		e.do(r.Method, path, "", func(r *http.Request) { r.Header.Del("Authorization") }).problem(401, "unauthorized", "")
	}
	if n != 43 {
		t.Errorf("%d routes under /v1/, want 43", n)
	}
}

// TestEveryProblemIsDocumented holds the table, the document and the domain's
// refusals against one another, in all directions.
func TestEveryProblemIsDocumented(t *testing.T) {
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, v := range doc.Components.Schemas["Problem"].Value.Properties["type"].Value.Enum {
		listed[strings.TrimPrefix(v.(string), "/problems/")] = true
	}
	underStatus := map[string]int{}
	byName := map[string]int{}
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			for status, ref := range op.Responses.Map() {
				if name := strings.TrimPrefix(ref.Ref, "#/components/responses/"); name != ref.Ref {
					byName[name], _ = strconv.Atoi(status)
				}
			}
		}
	}
	byName["MethodNotAllowed"] = 405
	for name, r := range doc.Components.Responses {
		_, after, _ := strings.Cut(*r.Value.Description, "Problems: ")
		for _, m := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(after, -1) {
			underStatus[m[1]] = byName[name]
		}
	}
	problems := map[string]bool{}
	for _, k := range door.Kinds() {
		problems[k.Code] = true
		if !listed[k.Code] || underStatus[k.Code] != k.Status {
			t.Errorf("%s (%d): in the schema %v, under the response of %d", k.Code, k.Status, listed[k.Code], underStatus[k.Code])
		}
		if k.Title == "" || k.Help == "" {
			t.Errorf("%s has no title or no help", k.Code)
		}
	}
	for code := range listed {
		if !problems[code] {
			t.Errorf("the document lists %s, which there is not", code)
		}
	}
	for code := range underStatus {
		if !problems[code] {
			t.Errorf("a response lists %s, which there is not", code)
		}
	}
	used := codesIn(t, "..", "Refuse", "RetryLater", "ranged")
	for code := range used {
		if !problems[code] {
			t.Errorf("the code answers %s, which is not in the table", code)
		}
	}
	// Routes and owners are set from the command line only.
	beside := map[string]bool{"invalid_route": true, "invalid_owner": true}
	refusals := codesIn(t, "../../domain", "refuse")
	for code := range codesIn(t, "../../adapters/webhook", "refuse") {
		refusals[code] = true
	}
	if len(refusals) < 10 {
		t.Errorf("found only %v in the domain", refusals)
	}
	for code := range refusals {
		if !problems[code] && !beside[code] {
			t.Errorf("the domain refuses with %s, which is not in the table", code)
		}
	}
	numbers := []string{sms.NotE164, sms.UnknownCountry, sms.InvalidNumber, sms.CannotReceiveSMS}
	for _, code := range numbers {
		if !problems[code] {
			t.Errorf("%s, which is wrong with a number, is not in the table", code)
		}
	}
	for code := range problems {
		if !used[code] && !refusals[code] && !slices.Contains(numbers, code) {
			t.Errorf("nothing answers %s", code)
		}
	}
}

// codesIn are the codes that the Go files of a folder, and of those in it, give to
// these functions, or to a field called Code of a Problem or a Refusal.
func codesIn(t *testing.T, dir string, functions ...string) map[string]bool {
	out := map[string]bool{}
	add := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			code, _ := strconv.Unquote(l.Value)
			out[code] = true
		}
	}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if slices.Contains(functions, nameOf(n.Fun)) && len(n.Args) > 0 {
					add(n.Args[0])
				}
			case *ast.CompositeLit:
				if typ := nameOf(n.Type); typ == "Refusal" || typ == "Problem" {
					for _, el := range n.Elts {
						if kv, ok := el.(*ast.KeyValueExpr); ok && nameOf(kv.Key) == "Code" {
							add(kv.Value)
						}
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// nameOf is the last part of a name, whichever package it is of.
func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// TestDocument: the document is valid, its examples too, and every operation of it
// is served.
func TestDocument(t *testing.T) {
	if _, err := contract(); err != nil {
		t.Fatal(err)
	}
	e := newEnv(t)
	life(e)
	for _, op := range document().Operations {
		if op.Method != "GET" {
			continue
		}
		path := strings.NewReplacer("{id}", testID(1).String(), "{name}", "otp", "{code}", "internal", "{period}", "day").Replace(op.Path)
		if a := e.do("GET", path, ""); strings.HasPrefix(a.Body.String(), `{"type":"/problems/not_found"`) {
			t.Errorf("%s is not served", op.Path)
		}
	}
	for _, op := range document().Operations {
		for _, b := range op.Bodies {
			if !json.Valid([]byte(b.JSON)) || !strings.Contains(op.Curl, "-d '") {
				t.Errorf("%s: the example is no JSON: %s", op.ID, b.JSON)
			}
		}
	}
	// The body that the first example shows is one that is taken.
	for _, op := range document().Operations {
		if op.ID == "SubmitMessage" {
			for _, b := range op.Bodies {
				e.do("POST", op.Path, b.JSON).is(202)
			}
		}
	}
}

func TestLogSaysWho(t *testing.T) {
	e := newEnv(t)
	life(e)
	before := len(writtenByAll.String())
	e.do("GET", "/v1/messages/"+testID(1).String()+"?at_least=07-1", "").is(200)
	e.do("GET", "/"+testNumber[1:]+"?q="+testNumber, "").problem(404, "not_found", "")
	e.do("BREW", "/v1/messages", "").problem(405, "method_not_allowed", "")
	lines := writtenByAll.String()[before:]
	for _, want := range []string{`"route":"/v1/messages/{id}"`, `"status":200`, `"tenant":"acme"`, `"route":"other"`} {
		if !strings.Contains(lines, want) {
			t.Errorf("the log lacks %s: %s", want, lines)
		}
	}
	if strings.Contains(lines, "BREW") || strings.Contains(lines, testID(1).String()) {
		t.Errorf("the log repeats what a client wrote: %s", lines)
	}
}

// TestServe: a stop lets a read that waits answer at once, and drains.
func TestServe(t *testing.T) {
	e := newEnv(t)
	m := *life(e)
	m.Status = recipient.Sent
	e.views.put(&m)
	waiting := make(chan bool)
	e.views.waitChange = func(ctx context.Context, _ event.ID, _ recipient.Status) error {
		close(waiting)
		<-ctx.Done()
		return ctx.Err()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- door.Serve(ctx, l, e.h, time.Minute, slog.New(slog.DiscardHandler)) }()
	status := make(chan int, 1)
	go func() {
		r, _ := http.NewRequest("GET", "http://"+l.Addr().String()+"/v1/messages/"+m.ID.String()+"?wait=60s", nil)
		r.Header.Set("Authorization", "Bearer "+testToken)
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		resp, err := client.Do(r)
		if err != nil {
			status <- 0
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-waiting
	stop()
	if got := <-status; got != 200 {
		t.Errorf("the read that waited got %d", got)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("it still listens")
	}
}

// TestGenerated fails when openapi.yaml was changed and the code was not made again.
func TestGenerated(t *testing.T) {
	code, err := os.ReadFile("api.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range document().Operations {
		served := op.Tag != "documents" && op.ID != "GetMetrics"
		if has := strings.Contains(string(code), `"`+op.Route+`"`) || strings.Contains(string(code), `"`+op.Route+`",`); served && !has {
			t.Errorf("api.gen.go has no %s: run go generate ./api/v1", op.Route)
		}
	}
}

func FuzzSubmit(f *testing.F) {
	f.Add([]byte(submitBody))
	f.Add([]byte(`{"to":"+1","body":"\ud83d"}`))
	f.Add([]byte(strings.Repeat(`{"a":`, 50)))
	h := New(Deps{Intake: &fakeLedger{submit: accept}, Door: door.New(door.Config{Keys: fakeKeys{}, Logger: slog.New(slog.DiscardHandler)})})
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/v1/messages", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+testToken)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == 202 || w.Code == 400 || w.Code == 413 || w.Code == 422 {
			if !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%d with %q", w.Code, w.Body)
			}
			return
		}
		t.Fatalf("%d for %q", w.Code, body)
	})
}

// reply is a ResponseWriter that costs nothing.
type reply struct {
	h      http.Header
	status int
}

func (r *reply) Header() http.Header         { return r.h }
func (r *reply) Write(b []byte) (int, error) { return len(b), nil }
func (r *reply) WriteHeader(s int)           { r.status = s }

// BenchmarkSubmit is what the API itself costs a submit: routing, key, decoding,
// answer, one log line that nobody reads; no network, no ledger.
func BenchmarkSubmit(b *testing.B) {
	for name, log := range map[string]*slog.Logger{
		"quiet": slog.New(slog.DiscardHandler), "logging": slog.New(slog.NewJSONHandler(io.Discard, nil))} {
		b.Run(name, func(b *testing.B) {
			answer := &intake.Submitted{ID: testID(1), To: testNumber, From: "+14155550199", Program: "otp", Purpose: "otp", Encoding: sms.GSM7, Segments: 1, Position: event.Position{Partition: 7, Index: 1}}
			h := New(Deps{Door: door.New(door.Config{Keys: fakeKeys{}, Logger: log}), Intake: &fakeLedger{submit: func(ledger.Caller, *intake.SubmitRequest) (*intake.Submitted, error) { return answer, nil }}})
			body := strings.NewReader("")
			r := httptest.NewRequest("POST", "/v1/messages", nil)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+testToken)
			r.Header.Set("Idempotency-Key", "order-1001")
			r.Body, r.ContentLength = io.NopCloser(body), int64(len(submitBody))
			w := &reply{h: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(submitBody)
				h.ServeHTTP(w, r)
				if w.status != 202 {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// BenchmarkRead is what the API itself costs a read of a message with its decision,
// attempts and receipts, of its events, a page of a search and a check of opt-outs,
// over views, a log and a vault that cost next to nothing.
func BenchmarkRead(b *testing.B) {
	e := newEnv(b, func(_ *Deps, c *door.Config) { c.Logger = slog.New(slog.DiscardHandler) })
	m := life(e)
	for n := byte(10); n < 20; n++ {
		c := *m
		c.ID = testID(n)
		e.views.put(&c)
	}
	e.views.optOuts[e.vault.Pseudonym("acme", testNumber)] = []reading.OptOut{{Event: testID(1), Reach: event.Reach{Scope: event.ScopeTenant}, Source: "phone", Since: testTime}}
	path := "/v1/messages/" + m.ID.String()
	for _, c := range []struct{ name, method, target, body string }{
		{"message", "GET", path, ""},
		{"events", "GET", path + "/events", ""},
		{"search", "POST", "/v1/messages/search", `{"program":"otp","limit":10}`},
		{"check", "POST", "/v1/opt-outs/check", `{"numbers":["` + testNumber + `","+14155550124"]}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			body := strings.NewReader("")
			r := httptest.NewRequest(c.method, c.target, nil)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+testToken)
			r.Body, r.ContentLength = io.NopCloser(body), int64(len(c.body))
			w := &reply{h: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				body.Reset(c.body)
				e.h.ServeHTTP(w, r)
				if w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
}
