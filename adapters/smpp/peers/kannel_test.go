package peers_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/smpp/smsc"
)

// kannelConfig is that of bearerbox and smsbox; its blanks are the ports of the boxes, that of the centre, and the
// address that smsbox calls.
const kannelConfig = `group = core
admin-port = %[1]s
admin-password = test
smsbox-port = %[2]s
admin-deny-ip = "*.*.*.*"
admin-allow-ip = "127.0.0.1"
box-deny-ip = "*.*.*.*"
box-allow-ip = "127.0.0.1"
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = centre
host = 127.0.0.1
port = %[4]s
transceiver-mode = true
smsc-username = kannel
smsc-password = secret08
system-type = VMA
enquire-link-interval = 1

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %[3]s
sendsms-interface = 127.0.0.1

group = sendsms-user
username = test
password = test
max-messages = 10
concatenation = true
omit-empty = true

group = sms-service
keyword = default
get-url = "%[5]s/mo?from=%%p&to=%%P&octets=%%b&coding=%%c"
max-messages = 0
catch-all = true
`

// box is a process of Kannel.
type box struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	log  bytes.Buffer
	done chan struct{}
}

func (b *box) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.Write(p)
}

func (b *box) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

// startBox runs a program of Kannel, until stop or the end of the test.
func startBox(t *testing.T, program, dir string) *box {
	t.Helper()
	b := &box{cmd: exec.Command(program, "-v", "0", filepath.Join(dir, "kannel.conf")), done: make(chan struct{})}
	b.cmd.Dir, b.cmd.Stdout, b.cmd.Stderr = dir, b, b
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(b.done)
		_ = b.cmd.Wait() // the log says how it ended
	}()
	t.Cleanup(func() {
		b.stop(t)
		if t.Failed() {
			text := b.text()
			t.Logf("%s: %s", filepath.Base(program), text[max(0, len(text)-6000):])
		}
	})
	return b
}

// says waits for a line of its log.
func (b *box) says(t testing.TB, what string) {
	t.Helper()
	until(t, filepath.Base(b.cmd.Path)+" says "+what, func() bool { return strings.Contains(b.text(), what) })
}

func (b *box) stop(t testing.TB) {
	b.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(patience, func() {
		t.Errorf("%s did not end", b.cmd.Path)
		b.cmd.Process.Kill()
	})
	<-b.done
	kill.Stop()
}

// kannelCalls are the calls that smsbox makes: an inbound message, or a receipt.
type kannelCalls struct {
	mu       sync.Mutex
	texts    []url.Values
	receipts map[string]string // by the message's number: the kind of its receipts
}

func (k *kannelCalls) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	q := r.URL.Query()
	if r.URL.Path == "/mo" {
		k.texts = append(k.texts, q)
		return
	}
	k.receipts[q.Get("n")] += q.Get("kind") + " "
}

func (k *kannelCalls) received() (texts []url.Values, receipts map[string]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.texts), maps.Clone(k.receipts)
}

// TestKannel: Kannel's bearerbox is bound to the simulated centre, and judges what that writes. Kannel's own fake centre,
// drive_smpp, takes no bind_transceiver, so it is no peer of the client yet.
func TestKannel(t *testing.T) {
	bearerbox, smsbox := servertest.Program(t, "bearerbox"), servertest.Program(t, "smsbox")
	var mu sync.Mutex
	arrived := map[string]int{} // texts at the centre, those that it refused too
	parts := map[string][]string{}
	centre, addr := startSMSC(t, smsc.Config{Password: "secret08", Undeliverable: 0.2, Reject: 0.1, Seed: 2, RedeliverAfter: 2 * patience,
		OnMessage: func(m smsc.Message) {
			mu.Lock()
			defer mu.Unlock()
			key := fmt.Sprint(m.To, " ", m.Reference)
			if m.Parts == 1 {
				arrived[m.Text]++
				return
			}
			if parts[key] == nil {
				parts[key] = make([]string, m.Parts)
			}
			parts[key][m.Part-1] = m.Text // Kannel does not keep their order
			if !slices.Contains(parts[key], "") {
				arrived[strings.Join(parts[key], "")]++
			}
		}})
	calls := &kannelCalls{receipts: map[string]string{}}
	web := httptest.NewServer(calls)
	defer web.Close()
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	ports := freePorts(t, 3)
	if err := os.WriteFile(filepath.Join(dir, "kannel.conf"), fmt.Appendf(nil, kannelConfig, ports[0], ports[1], ports[2], port, web.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway := startBox(t, bearerbox, dir)
	gateway.says(t, "MAIN: Start-up done")
	sender := startBox(t, smsbox, dir)
	sender.says(t, "heartbeat_thread") // its connection to bearerbox is set up; before that, a message makes it panic
	answers(t, ports[2])
	if err := centre.Bound(within(t)); err != nil {
		t.Fatalf("bearerbox does not bind: %v", err)
	}

	// A burst out of Kannel. Each message is followed until its receipt.
	const burst = 60
	texts := []string{"Your code is 123456", gsmText, "Ваш код 123456", longText}
	for n := range burst {
		text := texts[n%len(texts)] + fmt.Sprint(n)
		q := url.Values{"username": {"test"}, "password": {"test"}, "from": {"12025550123"}, "to": {fmt.Sprintf("4474001%05d", n)}, "charset": {"UTF-8"},
			"text": {text}, "dlr-mask": {"19"}, "dlr-url": {fmt.Sprintf("%s/dlr?n=%d&kind=%%d", web.URL, n)}}
		if n%len(texts) == 2 {
			q.Set("coding", "2")
		}
		resp, err := http.Get("http://127.0.0.1:" + ports[2] + "/cgi-bin/sendsms?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatalf("Kannel took no message: %d %s", resp.StatusCode, body)
		}
	}
	until(t, "Kannel has a receipt of every message, and the centre every part", func() bool {
		_, receipts := calls.received()
		mu.Lock()
		defer mu.Unlock()
		return len(receipts) == burst && len(arrived) >= burst
	})
	mu.Lock()
	for n := range burst {
		if text := texts[n%len(texts)] + fmt.Sprint(n); arrived[text] != 1 {
			t.Errorf("the centre read %q %d times", text, arrived[text])
		}
	}
	mu.Unlock()
	_, receipts := calls.received()
	kinds := map[string]int{}
	for _, kind := range receipts {
		for _, k := range strings.Fields(kind) {
			kinds[k]++
		}
	}
	if kinds["1"] == 0 || kinds["2"] == 0 || kinds["16"] == 0 || len(kinds) != 3 {
		t.Errorf("Kannel tells of %v: the centre delivered (1), failed (2) and refused (16)", kinds)
	}

	// Texts from handsets, one of them in parts.
	inbound := []string{"STOP", gsmText, "СТОП", longText}
	for _, text := range inbound {
		if err := centre.Inject("+447400123456", "+12025550123", text); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "Kannel has every inbound message", func() bool {
		texts, _ := calls.received()
		return len(texts) == len(inbound)
	})
	got, _ := calls.received()
	for _, text := range inbound {
		if !slices.ContainsFunc(got, func(q url.Values) bool {
			octets := q.Get("octets")
			if q.Get("coding") == "2" {
				octets = fromUTF16(octets)
			}
			return octets == text
		}) {
			t.Errorf("Kannel did not read %q: %q", text, got)
		}
	}

	gateway.says(t, "enquire_link_resp")
	sender.stop(t)
	gateway.stop(t)
	for line := range strings.Lines(gateway.text()) {
		for _, bad := range []string{"PANIC", "ERROR", "WARNING"} {
			if strings.Contains(line, bad) && !slices.ContainsFunc(harmless, func(s string) bool { return strings.Contains(line, s) }) {
				t.Errorf("bearerbox says: %s", strings.TrimSpace(line))
			}
		}
	}
	if !strings.Contains(gateway.text(), "unbind_resp") {
		t.Error("bearerbox did not have the centre's answer to unbind")
	}
}

// harmless is what bearerbox complains about that is no fault of the centre.
var harmless = []string{"SMSC returned error code", "Killing signal"}

// fromUTF16 is a text in UTF-16, its high octets first.
func fromUTF16(octets string) string {
	var b strings.Builder
	for i := 0; i+1 < len(octets); i += 2 {
		b.WriteRune(rune(octets[i])<<8 | rune(octets[i+1]))
	}
	return b.String()
}

// freePorts are ports on which nothing listens.
func freePorts(t testing.TB, n int) (ports []string) {
	t.Helper()
	for range n {
		l := listen(t)
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// answers waits until a port takes connections.
func answers(t testing.TB, port string) {
	t.Helper()
	until(t, "port "+port+" answers", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}
