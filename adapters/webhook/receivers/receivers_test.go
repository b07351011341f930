// Package receivers_test has webhooks received by programs that verify them with the libraries of Standard Webhooks in Python,
// TypeScript, Go and Java. The programs are those that docs/webhooks.md shows, word for word.
//
// `make peers` fetches the libraries. A test without its library is skipped in one line; where CI requires the
// servers, it fails.
package receivers_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/webhook"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
)

// patience bounds every wait in these tests; none passes or fails by a shorter time.
const patience = 90 * time.Second

// shown returns the program of a language from docs/webhooks.md.
func shown(t *testing.T, language string) string {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)\n```"+regexp.QuoteMeta(language)+"\n(.*?)\n```\n").FindAllSubmatch(doc, -1)
	if len(found) != 1 {
		t.Fatalf("docs/webhooks.md has %d programs in %s, not one", len(found), language)
	}
	return string(found[0][1]) + "\n"
}

// write writes a file into a new folder.
func write(t *testing.T, name, content string) (folder, file string) {
	t.Helper()
	folder = t.TempDir()
	file = filepath.Join(folder, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder, file
}

// must runs a command to its end.
func must(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Path, err, out)
	}
}

// languages are the receivers; each gives the command that runs one.
var languages = map[string]func(t *testing.T) *exec.Cmd{
	"python": func(t *testing.T) *exec.Cmd {
		lib := servertest.Library(t, "standardwebhooks-python", "testdata/python/requirements.txt")
		_, file := write(t, "receiver.py", shown(t, "python"))
		cmd := exec.Command("python3", file)
		cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(lib, "lib"))
		return cmd
	},
	"typescript": func(t *testing.T) *exec.Cmd { return typescript(t, "typescript") },
	"go": func(t *testing.T) *exec.Cmd {
		folder, file := write(t, "receiver.go", shown(t, "go"))
		binary := filepath.Join(folder, "receiver")
		must(t, exec.Command("go", "build", "-o", binary, file)) // in this module, which pins the library
		return exec.Command(binary)
	},
	"java": func(t *testing.T) *exec.Cmd {
		lib := servertest.Library(t, "standardwebhooks-java", "testdata/java/pom.xml")
		_, file := write(t, "Receiver.java", shown(t, "java"))
		return exec.Command("java", "-cp", filepath.Join(lib, "lib", "*"), file)
	},
}

// typescript compiles a program strictly, and returns what runs it.
func typescript(t *testing.T, block string) *exec.Cmd {
	lib := servertest.Library(t, "standardwebhooks-node", "testdata/node/package-lock.json")
	folder, file := write(t, "receiver.ts", shown(t, block))
	modules := filepath.Join(lib, "node_modules")
	if err := os.Symlink(modules, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	must(t, exec.Command("node", filepath.Join(modules, "typescript", "bin", "tsc"), "--strict", "--target", "es2022", "--module", "commonjs",
		"--moduleResolution", "node10", "--types", "node", "--typeRoots", filepath.Join(modules, "@types"), file))
	return exec.Command("node", filepath.Join(folder, "receiver.js"))
}

// receiver is a program that runs.
type receiver struct {
	url   string
	lines chan string // what it prints: the records
}

// run starts a receiver with a secret, until the test ends.
func run(t *testing.T, cmd *exec.Cmd, secret string) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "WEBHOOK_SECRET="+secret, "PORT="+strconv.Itoa(addr.Port))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &receiver{url: "http://" + addr.String() + "/hooks", lines: make(chan string, 100)}
	var all sync.WaitGroup
	ended := make(chan struct{})
	all.Go(func() {
		defer close(ended)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		all.Wait()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("it said: %s", said.String())
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			_ = c.Close()
			return r
		}
		select {
		case <-ended:
			all.Wait()
			_ = cmd.Wait()
			t.Fatalf("it ended: %s", said.String())
		default:
		}
		if time.Now().After(end) {
			t.Fatal("it takes no connections")
		}
	}
}

// plain is a vault for which what is sealed is open.
type plain struct{}

func (plain) Open(_ string, _ event.ID, s *event.Sealed) ([]byte, error) {
	if len(s.Box) == 0 {
		return nil, errors.New("there is nothing in it")
	}
	return s.Box, nil
}

func newSecret(t *testing.T, kind string) string {
	t.Helper()
	s, err := webhook.NewSecret(kind)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func endpoint(url string, secrets ...string) *notify.Endpoint {
	e := &notify.Endpoint{ID: event.NewID(time.Now()), Tenant: "acme", URL: url}
	for _, s := range secrets {
		e.Secrets = append(e.Secrets, notify.Secret{ID: event.NewID(time.Now()), Sealed: event.Sealed{Box: []byte(s)}})
	}
	return e
}

// body is a record; the text has characters of one to four octets in UTF-8, and what JSON may escape.
const body = `{"id":"%s","type":"message.inbound","version":1,"timestamp":"2026-11-29T08:00:00Z","sequence":17,"data":{"text":"é €  🙂 \u00e9 <&> \" ","n":1e2}}`

// TestReceivers: what Chirograph sends verifies everywhere; what was changed, is old, or is signed with another secret is refused.
func TestReceivers(t *testing.T) {
	c, err := webhook.New(webhook.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: patience, Connect: patience}, plain{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for language, command := range languages {
		t.Run(language, func(t *testing.T) {
			secret := newSecret(t, webhook.HMAC)
			receives(t, c, run(t, command(t), secret), secret, newSecret(t, webhook.HMAC), true)
		})
	}
	t.Run("ed25519", func(t *testing.T) {
		secret := newSecret(t, webhook.Ed25519)
		public, err := webhook.PublicKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		receives(t, c, run(t, typescript(t, "typescript ed25519"), public), secret, newSecret(t, webhook.Ed25519), false)
	})
}

// receives holds one receiver to it. dedupes: it prints a record once.
func receives(t *testing.T, c *webhook.Caller, r *receiver, secret, other string, dedupes bool) {
	n := 0
	call := func(at time.Time, secrets ...string) (notify.Answer, string) {
		t.Helper()
		n++
		id := fmt.Sprintf("0-07-%d-0", n)
		sent := fmt.Sprintf(body, id)
		return c.Call(t.Context(), &notify.Call{Endpoint: endpoint(r.url, secrets...), ID: id, Body: []byte(sent), At: at}), sent
	}
	taken := func(what string, a notify.Answer, sent string) {
		t.Helper()
		if a.Status != 204 {
			t.Fatalf("%s: %+v", what, a)
		}
		if got := r.next(t); got != sent {
			t.Errorf("%s: it has %s, sent was %s", what, got, sent)
		}
	}
	refused := func(what string, a notify.Answer) {
		t.Helper()
		if a.Status != 401 {
			t.Errorf("%s: %+v", what, a)
		}
	}
	now := time.Now()
	a, sent := call(now, secret)
	taken("a record", a, sent)
	a, sent = call(now, other, secret)
	taken("during a rotation, the old secret", a, sent)
	a, sent = call(now, secret, other)
	taken("during a rotation, the new secret", a, sent)
	a, _ = call(now, other)
	refused("another secret", a)
	a, _ = call(now.Add(-6*time.Minute), secret)
	refused("an old timestamp", a)
	a, _ = call(now.Add(6*time.Minute), secret)
	refused("a timestamp to come", a)

	// What a person between might do: the request is taken down by a server of the test's own, and sent with a change.
	q, raw := intercepted(t, c, secret)
	if s := r.post(t, q, raw); s != 204 {
		t.Fatalf("the request as it was: %d", s)
	}
	first := r.next(t)
	if s := r.post(t, q, raw); s != 204 {
		t.Errorf("a repeat: %d", s)
	}
	if !dedupes && r.next(t) != first {
		t.Error("the repeat is another record")
	}
	for what, change := range map[string]func(h http.Header, b []byte) []byte{
		"another body":  func(_ http.Header, b []byte) []byte { return bytes.Replace(b, []byte(`"n":1e2`), []byte(`"n":1e3`), 1) },
		"a longer body": func(_ http.Header, b []byte) []byte { return append(b, ' ') },
		"another id":    func(h http.Header, b []byte) []byte { h.Set("webhook-id", "0-07-999-0"); return b },
		"another timestamp": func(h http.Header, b []byte) []byte {
			h.Set("webhook-timestamp", strconv.FormatInt(now.Unix()-60, 10))
			return b
		},
		"no timestamp": func(h http.Header, b []byte) []byte { h.Del("webhook-timestamp"); return b },
		"no signature": func(h http.Header, b []byte) []byte { h.Del("webhook-signature"); return b },
		"no id":        func(h http.Header, b []byte) []byte { h.Del("webhook-id"); return b },
		"another scheme": func(h http.Header, b []byte) []byte {
			_, s, _ := strings.Cut(h.Get("webhook-signature"), ",")
			h.Set("webhook-signature", "v2,"+s)
			return b
		},
	} {
		h := q.Clone()
		if s := r.post(t, h, change(h, bytes.Clone(raw))); s != 401 {
			t.Errorf("%s: %d", what, s)
		}
	}
	// Nothing of what was refused was printed, and a record that came twice was printed once.
	a, sent = call(now, secret)
	taken("a record after them", a, sent)
}

// intercepted has the caller send a record to a server of the test's own, and returns what arrived.
func intercepted(t *testing.T, c *webhook.Caller, secret string) (http.Header, []byte) {
	t.Helper()
	var h http.Header
	var b []byte
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h = r.Header.Clone()
		b, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusNoContent)
	})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	id := "0-09-1-0"
	a := c.Call(t.Context(), &notify.Call{Endpoint: endpoint("http://"+l.Addr().String(), secret), ID: id, Body: fmt.Appendf(nil, body, id), At: time.Now()})
	_ = s.Close()
	<-served
	if a.Status != 204 || h.Get("Content-Type") != "application/json" || h.Get("User-Agent") != "Chirograph" || h.Get("Webhook-Id") != id {
		t.Fatalf("%+v, %v", a, h)
	}
	return h, b
}

// post sends a request as it is given.
func (r *receiver) post(t *testing.T, h http.Header, b []byte) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	q.Header, q.Close = h, true
	a, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Body.Close()
	return a.StatusCode
}

// next is the next record that the receiver prints.
func (r *receiver) next(t *testing.T) string {
	t.Helper()
	select {
	case l := <-r.lines:
		return l
	case <-time.After(patience):
		t.Fatal("it prints nothing")
		return ""
	}
}
