package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/chirograph/chirograph/api/v1"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

const testKey = "test_0123456789abcdefghijklmnop"

// contract is the API's document, against which every request of ours and every answer of
// the fake is checked.
var contract = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromFile(filepath.Join("..", "..", "..", "api", "v1", "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	doc.Servers = nil
	return gorillamux.NewRouter(doc)
})

// scripted is what the fake API says to one call.
type scripted struct {
	method, path string // of the call that is expected
	status       int
	body         string
	header       map[string]string
	cut          bool // close the connection without an answer
}

// fake answers calls in order.
type fake struct {
	t       *testing.T
	mu      sync.Mutex
	answers []scripted
	calls   []*http.Request
	bodies  []string
	url     string
}

func newFake(t *testing.T, answers ...scripted) *fake {
	t.Helper()
	router, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, answers: answers}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		n := len(f.calls)
		f.calls = append(f.calls, r)
		f.bodies = append(f.bodies, string(body))
		f.mu.Unlock()
		if n >= len(f.answers) {
			t.Errorf("call %d was not expected: %s %s", n, r.Method, r.URL.Path)
			w.WriteHeader(http.StatusTeapot)
			return
		}
		a := f.answers[n]
		if r.Method != a.method || r.URL.Path != a.path {
			t.Errorf("call %d is %s %s, want %s %s", n, r.Method, r.URL.Path, a.method, a.path)
		}
		if r.Header.Get("Authorization") != "Bearer "+testKey {
			t.Errorf("call %d is without the key", n)
		}
		route, params, err := router.FindRoute(r)
		if err != nil {
			t.Errorf("call %d: %v", n, err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			t.Errorf("call %d is not as documented: %v", n, err)
		}
		if a.cut {
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				c.Close()
			}
			return
		}
		media := "application/json"
		if a.status >= 400 {
			media = "application/problem+json"
		}
		h := http.Header{"Content-Type": {media}}
		for k, v := range a.header {
			h.Set(k, v)
		}
		if h.Get("Content-Type") == media {
			if err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{RequestValidationInput: in,
				Status: a.status, Header: h, Body: io.NopCloser(strings.NewReader(a.body)), Options: &openapi3filter.Options{IncludeResponseStatus: true}}); err != nil {
				t.Errorf("answer %d is not as documented: %v", n, err)
			}
		}
		for k := range h {
			w.Header().Set(k, h.Get(k))
		}
		w.WriteHeader(a.status)
		io.WriteString(w, a.body)
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.calls) < len(f.answers) {
			t.Errorf("%d calls came, want %d", len(f.calls), len(f.answers))
		}
	})
	f.url = srv.URL
	return f
}

// commands are those of this package, as main has them.
type commands struct {
	terminal.Globals

	Send   SendCmd   `cmd:""`
	Status StatusCmd `cmd:""`
	Optout OptoutCmd `cmd:""`
	Review ReviewCmd `cmd:""`
	Pause  PauseCmd  `cmd:""`
	Resume ResumeCmd `cmd:""`

	Control ControlCmd `cmd:""`
	Report  ReportCmd  `cmd:""`
	Search  SearchCmd  `cmd:""`
	History HistoryCmd `cmd:""`
	Event   EventCmd   `cmd:""`
	Export  ExportCmd  `cmd:""`
	Exports ExportsCmd `cmd:""`

	AuditLog AuditLogCmd `cmd:""`
	Inbound  InboundCmd  `cmd:""`
}

// shell runs a command line as main does.
func shell(t *testing.T, stdin string, args ...string) terminaltest.Result {
	t.Helper()
	var c commands
	return terminaltest.Run(t, &c, &c.Globals, stdin, args...)
}

// run runs a command against the fake.
func (f *fake) run(stdin string, args ...string) terminaltest.Result {
	f.t.Helper()
	r := shell(f.t, stdin, append([]string{"--url", f.url, "--key", testKey}, args...)...)
	r.Stdout = strings.ReplaceAll(r.Stdout, f.url, "http://api")
	r.Stderr = strings.ReplaceAll(r.Stderr, f.url, "http://api")
	return r
}

func (f *fake) body(n int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bodies[n]
}

const testID = "01932c07-9f3a-7007-8c4e-5d2a7f6b1e90"

func accepted() scripted {
	return scripted{method: "POST", path: "/v1/messages", status: 202, body: `{"id":"` + testID + `","status":"accepted","to":"+14155550123","from":"+14155550199","program":"otp","purpose":"otp","encoding":"gsm7","segments":1,"position":"07-1234"}`}
}

func got(body string) scripted {
	return scripted{method: "GET", path: "/v1/messages/" + testID, status: 200, body: body}
}

func refused(method, path string, status int, code, pointer string) scripted {
	a := scripted{method: method, path: path, status: status, body: fmt.Sprintf(
		`{"type":"/problems/%s","title":"The title","status":%d,"detail":"What to do.","pointer":%q,"reference":"k3v9q2m7x1"}`, code, status, pointer)}
	if status == 503 {
		a.header = map[string]string{"Retry-After": "1"}
	}
	return a
}

// viewOf is a message in a status.
func viewOf(status, more string) string {
	return `{"id":"` + testID + `","status":"` + status + `","position":"07-1234","to":"+14155550123","body":"Your code is 482913.","erased":false,
	"program":"otp","purpose":"otp","priority":9,"from":"+14155550199","encoding":"gsm7","segments":1,
	"recipient":{"country":"US","places":["US-CA America/Los_Angeles"],"local_times":[{"zone":"America/Los_Angeles","time":"2026-11-24T05:40"}]},
	"decisions":1,"by":"dev",` + more + `
	"times":{"accepted":"2026-11-24T13:40:00.123Z","valid_until":"2026-11-25T13:40:00.123Z","decided":"2026-11-24T13:40:00.125Z","changed":"2026-11-24T13:40:02.004Z"}}`
}

const allowedMore = `"decision":{"outcome":"allow","until":"2026-11-25T13:40:00.123Z","at":"2026-11-24T13:40:00.125Z","event":"01932c07-9f3c-7a10-9d01-0f2e3d4c5b6a",
	"reasons":[{"check":"opt_out","outcome":"allow","rule":"opt_out.none","text":"No opt-out of the recipient stands."}],"policy":{"revision":"2026.11","digest":"5f1d"}},
	"carrier":"simulator","sent_from":"12345","receipt_grade":"network","reference":"visit-3107","metadata":{"clinic":"north","b":"2"},
	"parts":[{"part":1,"text":"Your code"},{"part":2,"text":" is 482913."}],
	"attempts":[{"number":1,"carrier":"simulator","from":"+14155550199","started_at":"2026-11-24T13:40:00.130Z","call_by":"2026-11-24T13:40:01.130Z","answer_by":"2026-11-24T13:40:11.130Z",
	"parts":[{"part":1,"status":"refused","code":"ESME_RSUBMITFAIL","reason":"The centre refused it.","answered_at":"2026-11-24T13:40:00.140Z"},{"part":2,"status":"open"}]},
	{"number":2,"carrier":"simulator","from":"12345","duplicate":true,"started_at":"2026-11-24T13:40:00.230Z","call_by":"2026-11-24T13:40:01.230Z","answer_by":"2026-11-24T13:40:11.230Z",
	"parts":[{"part":1,"status":"accepted","carrier_id":"9f31","answered_at":"2026-11-24T13:40:00.240Z","receipt":{"state":"delivered","final":true,"grade":"network","match":"id","at":"2026-11-24T13:40:02.004Z","count":2}},
	{"part":2,"status":"retry","not_called":true}]}],`

const deniedMore = `"decision":{"outcome":"deny","at":"2026-11-24T13:40:00.125Z","event":"01932c07-9f3c-7a10-9d01-0f2e3d4c5b6a",
	"reasons":[{"check":"opt_out","outcome":"deny","rule":"opt_out.legal_entity","text":"The recipient opted out of this legal entity.","citation":"47 CFR 64.1200(a)(10)","opt_outs":["01932c0a-11aa-7c21-a8be-3f1d2c4b5a69"]}],"policy":{"revision":"2026.11","digest":"5f1d"}},
	"attempts":[],`

func TestSend(t *testing.T) {
	f := newFake(t, accepted())
	r := f.run("", "send", "4155550123", "Your code is 482913.", "--country", "US", "--from", "+14155550199", "--program", "otp", "--purpose", "otp",
		"--priority", "9", "--reference", "r-1", "--send-at", "2026-11-26T15:00:00Z", "--valid-for", "12h", "--meta", "a=1;2", "--meta", "b=x=y",
		"--idempotency-key", "order-1").Is(t, 0)
	terminaltest.Golden(t, "send.txt", r.Stdout)
	if k := f.calls[0].Header.Values("Idempotency-Key"); len(k) != 1 || k[0] != "order-1" {
		t.Errorf("the key is %q", k)
	}
	want := `{"body":"Your code is 482913.","country":"US","from":"+14155550199","metadata":{"a":"1;2","b":"x=y"},"priority":9,"program":"otp","purpose":"otp","reference":"r-1","to":"4155550123","valid_for":"12h","send_at":"2026-11-26T15:00:00Z"}`
	if f.body(0) != want {
		t.Errorf("the body is\n%s\nwant\n%s", f.body(0), want)
	}

	a := accepted()
	f = newFake(t, a)
	if r := f.run("from stdin\n", "--json", "send", "+14155550123", "-").Is(t, 0); r.Stdout != a.body+"\n" {
		t.Errorf("--json printed %q", r.Stdout)
	}
	if f.body(0) != `{"body":"from stdin","to":"+14155550123"}` {
		t.Errorf("the body is %s", f.body(0))
	}
	if f.calls[0].Header.Get("Idempotency-Key") == "" {
		t.Error("no Idempotency-Key was made")
	}
}

func TestSendWait(t *testing.T) {
	for _, c := range []struct {
		name string
		code int
		last string
	}{
		{"delivered", 0, viewOf("delivered", allowedMore)},
		{"denied", terminal.ExitFailed, viewOf("denied", deniedMore)},
		{"failed", terminal.ExitFailed, viewOf("failed", allowedMore)},
		{"in_doubt", terminal.ExitUnknown, viewOf("in_doubt", allowedMore)},
		{"unconfirmed", terminal.ExitUnknown, viewOf("unconfirmed", allowedMore)},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t, accepted(), got(viewOf("allowed", allowedMore)), got(viewOf("sent", allowedMore)), got(c.last))
			r := f.run("", "send", "--wait", "+14155550123", "Your code is 482913.").Is(t, c.code)
			switch c.name {
			case "delivered", "denied":
				terminaltest.Golden(t, "wait_"+c.name+".txt", r.Stdout+r.Stderr)
			default:
				if !strings.Contains(r.Stderr, "the message is "+c.name+": "+meanings[v1.Status(c.name)]) {
					t.Errorf("%s", r.Stderr)
				}
			}
			for _, q := range f.calls[1:] {
				if v := q.URL.Query(); v.Get("at_least") != "07-1234" || v.Get("wait") == "" {
					t.Errorf("the query is %s", q.URL.RawQuery)
				}
			}
		})
	}

	// What cannot happen in the time is not waited for.
	deferred := strings.Replace(deniedMore, `"outcome":"deny","at"`, `"outcome":"defer","until":"2099-11-24T13:40:00.123Z","at"`, 1)
	f := newFake(t, accepted(), got(viewOf("deferred", deferred)))
	r := f.run("", "send", "--wait", "+14155550123", "x").Is(t, terminal.ExitUnknown)
	terminaltest.Golden(t, "wait_deferred.txt", r.Stdout+r.Stderr)

	// A read that is refused for now is read again.
	f = newFake(t, accepted(), refused("GET", "/v1/messages/"+testID, 503, "behind", ""), got(viewOf("delivered", allowedMore)))
	f.run("", "send", "--wait", "+14155550123", "x").Is(t, 0)

	// No script may take an accepted message that cannot be read for a refused one.
	f = newFake(t, accepted(), refused("GET", "/v1/messages/"+testID, 403, "forbidden", ""))
	if r := f.run("", "send", "--wait", "+14155550123", "x").Is(t, terminal.ExitUnknown); !strings.Contains(r.Stderr, "accepted as "+testID) {
		t.Errorf("%s", r.Stderr)
	}
}

func TestExitCodes(t *testing.T) {
	const path = "/v1/messages"
	post := func(status int, code string) scripted { return refused("POST", path, status, code, "/to") }
	send := []string{"send", "+14155550123", "x", "--idempotency-key", "order-1"}
	html := scripted{method: "POST", path: path, status: 502, body: "<html>", header: map[string]string{"Content-Type": "text/html"}}
	notFound := html
	notFound.status = 404
	cut, page := scripted{method: "POST", path: path, cut: true}, html
	page.status = 202
	for _, c := range []struct {
		name string
		a    scripted
		code int
		says string
	}{
		{"a refused field", post(422, "not_e164"), terminal.ExitFailed, "\n  field      /to\n"},
		{"a wrong key", post(401, "unauthorized"), terminal.ExitFailed, "401 unauthorized"},
		{"refused before any append", post(503, "unavailable"), terminal.ExitFailed, "try again  in 1s"},
		{"unknown", post(504, "outcome_unknown"), terminal.ExitUnknown, "Repeat the same command with --idempotency-key order-1"},
		{"an error of the server's", post(500, "internal"), terminal.ExitUnknown, "reference  k3v9q2m7x1"},
		{"a proxy that lost the server", html, terminal.ExitUnknown, "does not come from Chirograph's API"},
		{"another server", notFound, terminal.ExitFailed, "does not come from Chirograph's API"},
		{"a page in place of the answer", page, terminal.ExitUnknown, "without JSON"},
		{"a connection that was cut", cut, terminal.ExitUnknown, "it is not known whether it was done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t, c.a) // fails the test if a second call comes
			if r := f.run("", send...).Is(t, c.code); !strings.Contains(r.Stderr, c.says) {
				t.Errorf("%q is not in\n%s", c.says, r.Stderr)
			} else if strings.Contains(r.Stdout+r.Stderr, "4155550123") {
				t.Errorf("the number is in\n%s", r.Stderr)
			}
		})
	}

	f := newFake(t, post(422, "not_e164"))
	r := f.run("", send...).Is(t, terminal.ExitFailed)
	terminaltest.Golden(t, "problem.txt", r.Stderr)
	f = newFake(t, post(422, "not_e164"))
	if r := f.run("", append(send, "--json")...).Is(t, terminal.ExitFailed); r.Stdout != post(422, "not_e164").body+"\n" {
		t.Errorf("--json printed %q", r.Stdout)
	}

	// A read leaves nothing unknown.
	f = newFake(t, scripted{method: "GET", path: path + "/" + testID, cut: true})
	f.run("", "status", testID).Is(t, terminal.ExitFailed)

	// Nothing was sent.
	srv := httptest.NewServer(nil)
	srv.Close()
	if r := shell(t, "", "--url", srv.URL, "--key", testKey, "send", "+14155550123", "x").Is(t, terminal.ExitFailed); !strings.Contains(r.Stderr, "is the node running") {
		t.Errorf("%s", r.Stderr)
	}
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"send", "+14155550123"},
		{"send", "+14155550123", "x", "--prio", "1"},
		{"optout", "add", "+14155550123"},
		{"optout", "add", "+14155550123", "--source", "phone", "--scope", "all"},
		{"pause"},
		{"--url", "ftp://x", "--key", "k", "pause", "--reason", "x"},
		{"--key", "k", "optout", "check"},
	} {
		shell(t, "", args...).Is(t, terminal.ExitUsage)
	}
	if r := shell(t, "", "pause", "--reason", "x").Is(t, terminal.ExitFailed); !strings.Contains(r.Stderr, "no API key") {
		t.Errorf("%s", r.Stderr)
	}
}

// A redirect must not take the key elsewhere, nor turn a submit into a read.
func TestNoRedirect(t *testing.T) {
	f := newFake(t, scripted{method: "POST", path: "/v1/messages", status: 302, header: map[string]string{"Location": "/v1/messages/" + testID, "Content-Type": "text/html"}})
	f.run("", "send", "+14155550123", "x").Is(t, terminal.ExitFailed)
}

const eventsBody = `{"events":[{"id":"01932c07-9f3a-7007-8c4e-5d2a7f6b1e90","type":"MessageSubmitted.v1","time":"2026-11-24T13:40:00.123Z","position":"07-1234","effective":true,"data":{"program":"otp"}},
{"id":"01932c07-9f3a-7007-8c4e-5d2a7f6b1e91","type":"MessageDecided.v1","time":"2026-11-24T13:40:00.125Z","position":"07-1236","effective":false,"void":"overtaken","data":{}}]}`

func TestStatus(t *testing.T) {
	events := scripted{method: "GET", path: "/v1/messages/" + testID + "/events", status: 200, body: eventsBody}
	f := newFake(t, got(viewOf("denied", deniedMore)), events)
	terminaltest.Golden(t, "status_events.txt", f.run("", "status", testID, "--events").Is(t, 0).Stdout)

	f = newFake(t, got(viewOf("denied", deniedMore)), events)
	if r := f.run("", "--json", "status", testID, "--events").Is(t, 0); r.Stdout != eventsBody+"\n" {
		t.Errorf("--json printed %s", r.Stdout)
	}
	f = newFake(t, got(viewOf("denied", deniedMore)))
	if r := f.run("", "--json", "status", testID).Is(t, 0); r.Stdout != viewOf("denied", deniedMore)+"\n" {
		t.Errorf("--json printed %s", r.Stdout)
	}
	f = newFake(t, got(viewOf("sent", allowedMore)), got(viewOf("delivered", allowedMore)))
	f.run("", "status", "--wait", testID).Is(t, 0)

	f = newFake(t, got(viewOf("sent", allowedMore)))
	f.run("", "status", testID).Is(t, 0)

	erased := strings.Replace(viewOf("delivered", allowedMore), `"to":"+14155550123","body":"Your code is 482913.","erased":false`, `"body":null,"erased":true`, 1)
	f = newFake(t, got(erased))
	if r := f.run("", "status", testID).Is(t, 0); !strings.Contains(r.Stdout, "erased: ") {
		t.Errorf("%s", r.Stdout)
	}
	f = newFake(t, got(strings.Replace(erased, `"erased":true`, `"erased":false,"key_missing":true`, 1)))
	if r := f.run("", "status", testID).Is(t, 0); !strings.Contains(r.Stdout, "key missing: ") || strings.Contains(r.Stdout, "erased") {
		t.Errorf("%s", r.Stdout)
	}
	f = newFake(t, refused("GET", "/v1/messages/"+testID, 404, "message_not_found", ""))
	f.run("", "status", testID).Is(t, terminal.ExitFailed)
}

// A text of somebody else's must not move the cursor of whoever reads it.
func TestTerminal(t *testing.T) {
	nasty := strings.NewReplacer(`Your code is 482913.`, `\u001b[2J\u202e`, `visit-3107`, `\u001b]0;x\u0007`, `The centre refused it.`, `a\nb`).Replace(viewOf("delivered", allowedMore))
	f := newFake(t, got(nasty))
	if r := f.run("", "status", testID).Is(t, 0); strings.ContainsAny(r.Stdout, "\x1b\x07\u202e") {
		t.Errorf("%q", r.Stdout)
	}
	var m v1.Message
	if err := json.Unmarshal([]byte(viewOf("delivered", allowedMore)), &m); err != nil {
		t.Fatal(err)
	}
	var coloured bytes.Buffer
	writeMessage(&coloured, &m, true)
	if !strings.Contains(coloured.String(), "\x1b[1;32mdelivered\x1b[0m: ") {
		t.Errorf("%q", coloured.String())
	}
}

func TestOptout(t *testing.T) {
	add := scripted{method: "POST", path: "/v1/opt-outs", status: 201, body: `{"event":"01932c0a-11aa-7c21-a8be-3f1d2c4b5a69","position":"07-1251"}`}
	f := newFake(t, add)
	r := f.run("", "optout", "add", "4155550123", "--source", "phone", "--scope", "program", "--program", "marketing", "--sender", "12345",
		"--evidence", "Call 2210.", "--country", "US", "--occurred-at", "2026-11-24T09:12:00Z").Is(t, 0)
	want := `{"country":"US","evidence":"Call 2210.","number":"4155550123","program":"marketing","scope":"program","sender":"12345","source":"phone","occurred_at":"2026-11-24T09:12:00Z"}`
	if f.body(0) != want {
		t.Errorf("the body is %s", f.body(0))
	}
	out := r.Stdout
	f = newFake(t, scripted{method: "POST", path: "/v1/opt-outs/lift", status: 201, body: `{"event":"01932c0b-70c1-7f02-b1aa-6c5d4e3f2a1b","position":"07-1260","lifted":["01932c0a-11aa-7c21-a8be-3f1d2c4b5a69"]}`})
	out += f.run("", "optout", "lift", "+14155550123", "--source", "web", "--evidence", "Call 2211.").Is(t, 0).Stdout
	if f.body(0) != `{"evidence":"Call 2211.","number":"+14155550123","scope":"legal_entity","source":"web"}` {
		t.Errorf("the body is %s", f.body(0))
	}

	// Several: what is refused does not stop the rest, and an unknown one is the worst.
	f = newFake(t, add, refused("POST", "/v1/opt-outs", 422, "not_e164", "/number"), add)
	r = f.run("", "optout", "add", "+14155550123", "1", "+14155550125", "--source", "phone").Is(t, terminal.ExitFailed)
	if !strings.Contains(r.Stderr, "number 2 of 3: ") || strings.Count(r.Stdout, "\n") != 2 {
		t.Errorf("%s\n%s", r.Stdout, r.Stderr)
	}
	f = newFake(t, scripted{method: "POST", path: "/v1/opt-outs", cut: true}, refused("POST", "/v1/opt-outs", 422, "not_e164", "/number"))
	f.run("", "optout", "add", "+14155550123", "1", "--source", "phone").Is(t, terminal.ExitUnknown)

	checked := scripted{method: "POST", path: "/v1/opt-outs/check", status: 200, body: `{"as_of":["00-81","07-1251"],"results":[
		{"number":"+14155550123","state":"opted_out","opted_out":true,"scopes":[{"scope":"legal_entity","name":"Example Bank","since":"2026-11-24T13:45:00.000Z","said":"2026-11-24T13:45:00.000Z","known":"2026-11-24T13:45:00.000Z","source":"phone","event":"01932c0a-11aa-7c21-a8be-3f1d2c4b5a69","position":"07-1251"},
		{"scope":"tenant","since":"2026-11-24T13:46:00.000Z","said":"2026-11-24T13:46:00.000Z","known":"2026-11-24T13:46:00.000Z","source":"handset","unclear":true,"event":"01932c0a-11aa-7c21-a8be-3f1d2c4b5a69","position":"07-1252"}]},
		{"number":"+14155550124","state":"not_opted_out","opted_out":false,"scopes":[]}]}`}
	f = newFake(t, checked, checked, checked)
	out += f.run("", "optout", "check", "+14155550123", "+14155550124", "--program", "marketing", "--sender", "12345", "--purpose", "otp").Is(t, 0).Stdout
	if f.body(0) != `{"numbers":["+14155550123","+14155550124"],"program":"marketing","purpose":"otp","sender":"12345"}` {
		t.Errorf("the body is %s", f.body(0))
	}
	terminaltest.Golden(t, "optout.txt", out)
	f.run("+14155550123\r\n\n  +14155550124", "optout", "check").Is(t, 0)
	f.run("+14155550123\n+14155550124\n", "optout", "check", "-").Is(t, 0)
	for i := range 2 {
		if f.body(i+1) != `{"numbers":["+14155550123","+14155550124"]}` {
			t.Errorf("the body is %s", f.body(i+1))
		}
	}
	// What is not known is no leave to text, and has an exit code of its own, in JSON too.
	notKnown := scripted{method: "POST", path: "/v1/opt-outs/check", status: 200, body: `{"as_of":["00-81"],"results":[
		{"number":"+14155550124","state":"not_opted_out","opted_out":false,"scopes":[]},{"number":"+14155550125","state":"unknown","unknown_because":"behind","opted_out":true,"scopes":[]}]}`}
	f = newFake(t, notKnown, notKnown)
	r = f.run("", "optout", "check", "+14155550124", "+14155550125").Is(t, terminal.ExitUnknown)
	if !strings.Contains(r.Stdout, "+14155550125  not known  behind\n") || strings.Count(r.Stdout, "may be texted") != 1 || !strings.Contains(r.Stderr, "of 1 number it is not known whether they opted out") {
		t.Errorf("%s\n%s", r.Stdout, r.Stderr)
	}
	f.run("", "--json", "optout", "check", "+14155550124", "+14155550125").Is(t, terminal.ExitUnknown)
	f = newFake(t, refused("POST", "/v1/opt-outs/check", 422, "not_e164", "/numbers/1"))
	if r := f.run("", "optout", "check", "+14155550123", "1").Is(t, terminal.ExitFailed); !strings.Contains(r.Stderr, "this is about number 2 of your list") {
		t.Errorf("%s", r.Stderr)
	}
}

func TestCheckBatches(t *testing.T) {
	var sizes []int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in v1.CheckRequest
		json.NewDecoder(r.Body).Decode(&in)
		sizes = append(sizes, len(in.Numbers))
		var out v1.CheckResult
		out.Results = make([]v1.Checked, len(in.Numbers))
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(out)
	}))
	defer srv.Close()
	r := shell(t, strings.Repeat("+14155550123\n", 2*checkBatch+1), "--url", srv.URL, "--key", testKey, "optout", "check").Is(t, 0)
	if fmt.Sprint(sizes) != "[10000 10000 1]" || strings.Count(r.Stdout, "may be texted") != 2*checkBatch+1 {
		t.Errorf("the batches are %v", sizes)
	}
}

func TestPause(t *testing.T) {
	done := func(path string) scripted {
		return scripted{method: "POST", path: path, status: 200, body: `{"event":"01932c0d-02bb-7d44-9a10-2b3c4d5e6f70","position":"control-13","in_force":16}`}
	}
	f := newFake(t, done("/v1/pause"), done("/v1/pause"), done("/v1/resume"), refused("POST", "/v1/resume", 409, "not_paused", ""))
	out := f.run("", "pause", "--reason", "The offer has the wrong price.", "--program", "marketing", "--carrier", "acme").Is(t, 0).Stdout
	out += f.run("", "pause", "--reason", "Stop.").Is(t, 0).Stdout
	out += f.run("", "resume", "--reason", "Corrected.", "--carrier", "acme").Is(t, 0).Stdout
	terminaltest.Golden(t, "pause.txt", out)
	if f.body(0) != `{"carrier":"acme","program":"marketing","reason":"The offer has the wrong price."}` || f.body(1) != `{"reason":"Stop."}` {
		t.Errorf("the bodies are %s and %s", f.body(0), f.body(1))
	}
	f.run("", "resume", "--reason", "Again.").Is(t, terminal.ExitFailed)
}
