package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
)

// asProgram makes this test binary the program itself, in processes of their own.
const asProgram = "CHIROGRAPH_TEST_AS_PROGRAM"

func init() {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args[1:]))
	}
}

// proc is the program in a process of its own.
type proc struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bytes.Buffer
	mu  sync.Mutex
	eof chan struct{}
}

func spawn(t *testing.T, dir string, args ...string) *proc {
	t.Helper()
	return spawnProgram(t, os.Args[0], dir, args...)
}

// spawnProgram is spawn for a program at a path.
func spawnProgram(t *testing.T, program, dir string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, cmd: exec.Command(program, args...), out: &bytes.Buffer{}, eof: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(p.eof)
		buf := make([]byte, 64<<10)
		for {
			n, err := r.Read(buf)
			p.mu.Lock()
			p.out.Write(buf[:n])
			p.mu.Unlock()
			if err != nil {
				r.Close()
				return
			}
		}
	}()
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		<-p.eof
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(args, " "), tail(p.text(), 4000))
		}
	})
	return p
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (p *proc) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// stop asks the process to end and returns its exit code.
func (p *proc) stop() int {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *proc) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// within looks until cond holds; a test that waits for what does not come fails
// after a minute.
func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within three minutes", what)
		}
		<-time.After(5 * time.Millisecond) // between two looks at another process
	}
}

// node is a development node under test.
type node struct {
	t    *testing.T
	dir  string
	addr string
	args []string
	p    *proc
	http *http.Client
}

func newTestNode(t *testing.T, args ...string) *node {
	t.Helper()
	n := &node{t: t, dir: t.TempDir(), addr: free(t), args: args, http: &http.Client{Timeout: 40 * time.Second}}
	n.start()
	return n
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (n *node) start() {
	n.t.Helper()
	n.p = spawn(n.t, n.dir, append([]string{"serve", "--dev", "--data", filepath.Join(n.dir, "data"), "--listen", n.addr}, n.args...)...)
	within(n.t, "the node is up", func() bool {
		if n.p.eofed() {
			n.t.Fatalf("the node ended: %s", n.p.text())
		}
		return strings.Contains(n.p.text(), "Ctrl-C stops.")
	})
}

func (p *proc) eofed() bool {
	select {
	case <-p.eof:
		return true
	default:
		return false
	}
}

func (n *node) key() string {
	raw, err := os.ReadFile(filepath.Join(n.dir, "data", "dev-key"))
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

type httpAnswer struct {
	status int
	body   []byte
	err    error
}

func (a httpAnswer) into(t *testing.T, v any) {
	t.Helper()
	if a.err != nil {
		t.Fatal(a.err)
	}
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

func (n *node) call(method, path, body string, header ...string) httpAnswer {
	return ask(n.t, n.http, n.addr, n.key(), method, path, body, header...)
}

// ask makes one request of a node's API, once.
func ask(t *testing.T, client *http.Client, addr, key, method, path, body string, header ...string) httpAnswer {
	r, err := http.NewRequestWithContext(context.Background(), method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.GetBody = nil // nothing is sent again behind our back
	r.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		return httpAnswer{err: err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return httpAnswer{resp.StatusCode, raw, err}
}

type view struct {
	ID, Status string
	Decision   struct {
		Outcome, Until string
		Reasons        []struct{ Rule, Text, Citation string }
	}
	Attempts []struct {
		Number    int
		Duplicate bool
		Parts     []struct {
			Part      int
			Status    string
			CarrierID string `json:"carrier_id"`
			NotCalled bool   `json:"not_called"`
			Receipt   struct {
				State, Grade, Match string
				Count               int
			}
		}
	}
	Purpose      string
	ReceiptGrade string `json:"receipt_grade"`
}

func (n *node) send(body string, header ...string) string {
	n.t.Helper()
	a := n.call("POST", "/v1/messages", body, header...)
	if a.status != http.StatusAccepted {
		n.t.Fatalf("submit: %d %s %v", a.status, a.body, a.err)
	}
	var v view
	a.into(n.t, &v)
	return v.ID
}

func (n *node) get(id string) (v view) {
	n.t.Helper()
	n.call("GET", "/v1/messages/"+id, "").into(n.t, &v)
	return v
}

// becomes waits until a message has one of the statuses.
func (n *node) becomes(id string, statuses ...string) (v view) {
	n.t.Helper()
	within(n.t, "message becomes "+strings.Join(statuses, " or "), func() bool {
		v = n.get(id)
		for _, s := range statuses {
			if v.Status == s {
				return true
			}
		}
		return false
	})
	return v
}

// centre is the simulated centre in a process of its own, with its record.
type centre struct {
	p      *proc
	addr   string
	record string
}

func newCentre(t *testing.T, args ...string) *centre {
	t.Helper()
	c := &centre{addr: free(t), record: filepath.Join(t.TempDir(), "record.jsonl")}
	c.p = spawn(t, t.TempDir(), append([]string{"simulate", "smsc", "--listen", c.addr, "--control", "-", "--quiet", "--record", c.record}, args...)...)
	within(t, "the centre is up", func() bool { return strings.Contains(c.p.text(), "listens on") })
	return c
}

// lines is the centre's record, once the centre has ended.
func (c *centre) lines(t *testing.T) (out []smsc.Line) {
	t.Helper()
	f, err := os.Open(c.record)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var l smsc.Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("%q: %v", s.Text(), err)
		}
		out = append(out, l)
	}
	return out
}

// submits counts the submit_sm that the centre read, by destination.
func submits(lines []smsc.Line) map[string]int {
	out := map[string]int{}
	for _, l := range lines {
		if l.Command == "submit_sm" && l.Direction == "in" {
			out["+"+strings.TrimPrefix(l.Destination, "+")]++
		}
	}
	return out
}

func command(t *testing.T, dir string, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (n *node) verify() {
	n.t.Helper()
	out, code := command(n.t, n.dir, "audit", "verify", "--views", "--data", filepath.Join(n.dir, "data"))
	if code != 0 {
		n.t.Fatalf("audit verify --views: exit %d\n%s", code, out)
	}
	n.t.Log(strings.TrimSpace(out))
}

// TestCentre is the whole path against the simulated centre under each of its flags.
func TestCentre(t *testing.T) {
	fast := []string{"--dev-quiet", "--dev-response-timeout", "300ms", "--dev-call-window", "500ms"}
	long := strings.Repeat("A long text goes out in parts, and each has a receipt. ", 6)
	for _, tc := range []struct {
		name    string
		flags   []string
		node    []string
		body    string // of the submit; {"to", "body"} are filled in
		program string
		want    []string
		check   func(t *testing.T, v view)
	}{
		{name: "plain", want: []string{"delivered"}},
		{name: "plain, every event decoded", node: []string{"--dev-decode"}, want: []string{"delivered"}},
		{name: "mo", flags: []string{"--mo", "1", "--mo-text", "Thank you, see you then."}, want: []string{"delivered"}},
		{name: "long", body: long, want: []string{"delivered"}, check: func(t *testing.T, v view) {
			if n := len(v.Attempts[0].Parts); n != 3 {
				t.Errorf("%d parts", n)
			}
		}},
		{name: "receipt-delay", flags: []string{"--receipt-delay", "200ms"}, want: []string{"delivered"}},
		{name: "no-receipts", flags: []string{"--no-receipts", "1"}, want: []string{"sent"}},
		{name: "early-receipts", flags: []string{"--early-receipts", "1"}, want: []string{"delivered"}},
		{name: "early-receipts long", flags: []string{"--early-receipts", "1"}, body: long, want: []string{"delivered"}},
		{name: "duplicate-receipts", flags: []string{"--duplicate-receipts", "1", "--receipt-delay", "50ms"}, want: []string{"delivered"}, check: func(t *testing.T, v view) {
			if r := v.Attempts[0].Parts[0].Receipt; r.Grade != "network" {
				t.Errorf("receipt %+v", r)
			}
		}},
		{name: "text-receipts", flags: []string{"--text-receipts"}, want: []string{"delivered"}},
		{name: "hex-ids", flags: []string{"--hex-ids"}, node: []string{"--dev-hex"}, want: []string{"delivered"}, check: func(t *testing.T, v view) {
			if r := v.Attempts[0].Parts[0].Receipt; r.Match != "id_hex" {
				t.Errorf("receipt %+v", r)
			}
		}},
		{name: "masked-numbers", flags: []string{"--masked-numbers"}, want: []string{"delivered"}},
		{name: "undeliverable", flags: []string{"--undeliverable", "1"}, want: []string{"undelivered"}},
		{name: "reject", flags: []string{"--reject", "1"}, want: []string{"failed"}},
		{name: "throttle", flags: []string{"--throttle", "0.3", "--seed", "5"}, want: []string{"delivered"}},
		// Taken, never answered, and its receipt names our reference: settled, inferred.
		{name: "silent", flags: []string{"--silent", "1"}, want: []string{"delivered"}, check: func(t *testing.T, v view) {
			if r := v.Attempts[0].Parts[0].Receipt; r.Grade != "inferred" || r.Match != "reference" {
				t.Errorf("receipt %+v", r)
			}
		}},
		{name: "silent, no receipt", flags: []string{"--silent", "1", "--no-receipts", "1"}, want: []string{"in_doubt"}, check: func(t *testing.T, v view) {
			if len(v.Attempts) != 1 {
				t.Errorf("%d attempts: never resent blindly", len(v.Attempts))
			}
		}},
		{name: "silent, prefers a duplicate", flags: []string{"--silent", "1", "--no-receipts", "1"}, program: "otp", want: []string{"in_doubt", "accepted", "sending"}, check: func(t *testing.T, v view) {}},
		{name: "drop", flags: []string{"--drop", "1", "--no-receipts", "1"}, want: []string{"in_doubt"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCentre(t, tc.flags...)
			n := newTestNode(t, append(append([]string{"--dev-smsc", c.addr}, fast...), tc.node...)...)
			body, program := tc.body, tc.program
			if body == "" {
				body = "Your statement is ready."
			}
			if program == "" {
				program = "account"
			}
			raw, _ := json.Marshal(map[string]string{"to": "+14155550123", "body": body, "program": program})
			v := n.becomes(n.send(string(raw)), tc.want...)
			if tc.check != nil {
				tc.check(t, v)
			}
			if code := n.p.stop(); code != 0 {
				t.Errorf("the node's exit code is %d", code)
			}
			n.verify()
			c.p.stop()
			for to, got := range submits(c.lines(t)) {
				if want := max(1, len(v.Attempts)) * max(1, parts(v)); program == "account" && tc.name != "throttle" && got > want {
					t.Errorf("%d submit_sm to %s, expected %d", got, to, want)
				}
			}
		})
	}
}

func parts(v view) int {
	n := 0
	for _, a := range v.Attempts {
		n = max(n, len(a.Parts))
	}
	return n
}

// TestPrefersDuplicate: a one-time code that is in doubt is sent again, and says so.
func TestPrefersDuplicate(t *testing.T) {
	t.Parallel()
	c := newCentre(t, "--silent", "1", "--no-receipts", "1")
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet", "--dev-response-timeout", "100ms", "--dev-call-window", "200ms")
	id := n.send(`{"to":"+14155550123","body":"Your code is 482913.","program":"otp"}`)
	within(t, "a second attempt", func() bool { return len(n.get(id).Attempts) >= 2 })
	v := n.get(id)
	if v.Attempts[0].Duplicate || !v.Attempts[1].Duplicate {
		t.Errorf("attempts %+v", v.Attempts)
	}
	n.p.stop()
	n.verify()
}

// TestThrottled: what a carrier did not take is offered again, and lands once.
func TestThrottled(t *testing.T) {
	t.Parallel()
	c := newCentre(t, "--throttle", "0.3", "--seed", "3")
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	var ids []string
	for i := range 20 {
		ids = append(ids, n.send(fmt.Sprintf(`{"to":"+1415555%04d","body":"Your statement is ready."}`, 100+i)))
	}
	for _, id := range ids {
		n.becomes(id, "delivered")
	}
	n.p.stop()
	n.verify()
	c.p.stop()
	taken := map[string]int{}
	for _, l := range c.lines(t) {
		if l.Command == "submit_sm_resp" && l.Status == "ESME_ROK" {
			taken[l.MessageID]++
		}
	}
	if len(taken) != len(ids) {
		t.Errorf("the centre took %d of %d messages", len(taken), len(ids))
	}
}

// TestRequests asks a real node what the API's table says.
func TestRequests(t *testing.T) {
	t.Parallel()
	c := newCentre(t)
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	status := func(what string, a httpAnswer, want int) httpAnswer {
		t.Helper()
		if a.status != want {
			t.Errorf("%s: %d %s, expected %d", what, a.status, a.body, want)
		}
		return a
	}
	one := `{"to":"(415) 555-0123","country":"US","body":"Your statement is ready."}`
	first := status("submit", n.call("POST", "/v1/messages", one, "Idempotency-Key", "k1"), 202)
	var v, w struct{ ID, To, From, Program, Purpose, Status, Encoding, Position string }
	first.into(t, &v)
	if v.To != "+14155550123" || v.Program != "account" || v.Status != "accepted" || v.Encoding != "gsm7" || v.Position == "" {
		t.Errorf("%s", first.body)
	}
	status("same key, same input", n.call("POST", "/v1/messages", one, "Idempotency-Key", "k1"), 202).into(t, &w)
	if v != w {
		t.Errorf("the same key gave %+v and %+v", v, w)
	}
	status("same key, other input", n.call("POST", "/v1/messages", strings.Replace(one, "ready", "late", 1), "Idempotency-Key", "k1"), 422)
	n.becomes(v.ID, "delivered")
	status("cancel of what was delivered", n.call("POST", "/v1/messages/"+v.ID+"/cancel", ""), 409)
	later := n.send(`{"to":"+14155550123","body":"Tomorrow.","send_at":"` + time.Now().Add(20*time.Hour).UTC().Format(time.RFC3339) + `"}`)
	status("cancel of what was scheduled", n.call("POST", "/v1/messages/"+later+"/cancel", ""), 200)
	if got := n.get(later).Status; got != "cancelled" {
		t.Errorf("a cancelled message is %s", got)
	}
	// The key's answer survives a kill, and so does everything else.
	n.p.kill()
	n.start()
	status("same key after a kill", n.call("POST", "/v1/messages", one, "Idempotency-Key", "k1"), 202).into(t, &w)
	if v != w {
		t.Errorf("after a kill the same key gave %+v, before %+v", w, v)
	}
	status("too far ahead", n.call("POST", "/v1/messages", `{"to":"+14155550123","body":"x","send_at":"`+time.Now().Add(40*24*time.Hour).UTC().Format(time.RFC3339)+`"}`), 422)
	status("eleven segments", n.call("POST", "/v1/messages", `{"to":"+14155550123","body":"`+strings.Repeat("x", 153*11)+`"}`), 422)
	status("no key", func() httpAnswer {
		r, _ := http.NewRequest("GET", "http://"+n.addr+"/v1/messages/"+v.ID, nil)
		resp, err := n.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return httpAnswer{status: resp.StatusCode}
	}(), 401)

	// Opt-outs: in force at a position, checked as of one.
	var done struct{ Event, Position string }
	status("opt-out", n.call("POST", "/v1/opt-outs", `{"number":"+14155550188","scope":"program","program":"marketing","source":"web"}`), 201).into(t, &done)
	var check struct {
		AsOf    []string `json:"as_of"`
		Results []struct {
			Number   string
			OptedOut bool `json:"opted_out"`
			Scopes   []struct{ Scope, Event string }
		}
	}
	within(t, "the check shows it", func() bool {
		n.call("POST", "/v1/opt-outs/check", `{"numbers":["+14155550188","+14155550189"],"program":"marketing"}`).into(t, &check)
		return len(check.Results) == 2 && check.Results[0].OptedOut && !check.Results[1].OptedOut && len(check.AsOf) > 0
	})
	if check.Results[0].Scopes[0].Event != done.Event {
		t.Errorf("%+v is not %s", check.Results[0], done.Event)
	}
	n.becomes(n.send(`{"to":"+14155550188","body":"Sale!","program":"marketing"}`), "denied")
	n.becomes(n.send(`{"to":"+14155550188","body":"Your statement is ready."}`), "delivered")

	var page struct {
		Messages   []view
		NextCursor string `json:"next_cursor"`
	}
	seen := map[string]bool{}
	for cursor := ""; ; cursor = page.NextCursor {
		body := `{"limit":2}`
		if cursor != "" {
			body = `{"limit":2,"cursor":"` + cursor + `"}`
		}
		page.Messages, page.NextCursor = nil, ""
		n.call("POST", "/v1/messages/search", body).into(t, &page)
		for _, m := range page.Messages {
			if seen[m.ID] {
				t.Errorf("%s is on two pages", m.ID)
			}
			seen[m.ID] = true
		}
		if page.NextCursor == "" {
			break
		}
	}
	if len(seen) != 4 {
		t.Errorf("a search finds %d of 4 messages", len(seen))
	}
	n.p.stop()
	n.verify()
}

// TestTimes: what waits for its hour is there after a kill, and goes in time.
func TestTimes(t *testing.T) {
	t.Parallel()
	c := newCentre(t)
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	soon := n.send(`{"to":"+14155550123","body":"In a moment.","send_at":"` + time.Now().Add(3*time.Second).UTC().Format(time.RFC3339Nano) + `"}`)
	// Of these places one is always outside its hours.
	numbers := []string{"+919876543210", "+14155550123", "+13055550123"}
	var deferred string
	for _, to := range numbers {
		id := n.send(fmt.Sprintf(`{"to":%q,"body":"Sale!","program":"marketing"}`, to))
		if v := n.becomes(id, "deferred", "delivered", "failed"); v.Status == "deferred" {
			deferred = id
		}
	}
	if deferred == "" {
		t.Fatal("no marketing message was deferred anywhere")
	}
	if v := n.get(deferred); v.Decision.Outcome != "defer" || v.Decision.Until == "" || len(v.Decision.Reasons) == 0 {
		t.Errorf("%+v", v.Decision)
	}
	n.p.kill()
	n.start()
	n.becomes(soon, "delivered")
	if got := n.get(deferred).Status; got != "deferred" {
		t.Errorf("after a kill the deferred message is %s", got)
	}
	n.p.stop()
	n.verify()
}
