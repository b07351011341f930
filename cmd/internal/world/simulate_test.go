package world

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	smppdata "github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

// shell runs a command line as main does.
func shell(t *testing.T, stdin string, args ...string) terminaltest.Result {
	t.Helper()
	var c struct {
		terminal.Globals

		Simulate SimulateCmd `cmd:""`
	}
	return terminaltest.Run(t, &c, &c.Globals, stdin, args...)
}

// bound is a gateway bound to a centre that runs until the test is over.
func bound(t *testing.T, s *smsc.Server) net.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context(), l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); <-served })
	b := pdu.NewBindRequest(pdu.Transceiver)
	b.SystemID = "test"
	write(t, c, b)
	if p := read(t, c); p.GetHeader().CommandStatus != smppdata.ESME_ROK {
		t.Fatalf("the bind was answered with %+v", p.GetHeader())
	}
	if err := s.Bound(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, w io.Writer, p pdu.PDU) {
	t.Helper()
	b := pdu.NewBuffer(nil)
	p.Marshal(b)
	if _, err := w.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, r io.Reader) pdu.PDU {
	t.Helper()
	p, err := pdu.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A handset answers whoever texted it last, and the text reaches the gateway.
func TestSimulateInbound(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	s := smsc.New(smsc.Config{})
	h := simulateControl(s, log)
	srv := httptest.NewServer(h)
	defer srv.Close()
	control := strings.TrimPrefix(srv.URL, "http://")
	inbound := func(code int, args ...string) string {
		t.Helper()
		r := shell(t, "", append([]string{"simulate", "inbound", "--control", control}, args...)...).Is(t, code)
		return r.Stdout + r.Stderr
	}
	if got := inbound(terminal.ExitFailed, "--from", "+14155550123", "--to", "+12025550101", "STOP"); !strings.Contains(got, "No client is bound") {
		t.Errorf("%s", got)
	}
	c := bound(t, s)
	if got := inbound(terminal.ExitFailed, "--from", "+14155550123", "STOP"); !strings.Contains(got, "name one with --to") {
		t.Errorf("%s", got)
	}
	h.saw(smsc.Message{From: "12025550101", To: "14155550123"})
	h.saw(smsc.Message{From: "12345", To: "14155550123"})
	h.saw(smsc.Message{From: "ExampleBank", To: "14155550123"}) // a name cannot be answered
	h.saw(smsc.Message{From: "12025550102", To: "14155550124"})
	if got, want := inbound(0, "--from", "+14155550123", "STOP"), "+14155550123 -> 12345  \"STOP\" is on its way.\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	d, ok := read(t, c).(*pdu.DeliverSM)
	if !ok || d.SourceAddr.Address() != "14155550123" || d.DestAddr.Address() != "12345" {
		t.Fatalf("%+v", d)
	}
	if text, _ := d.Message.GetMessage(); text != "STOP" {
		t.Errorf("the text is %q", text)
	}
	write(t, c, d.GetResponse())
	if got := inbound(0, "--from", "14155550124", "--to", "+12025550109", "--json", "HELP"); got != `{"from":"+14155550124","to":"+12025550109","text":"HELP"}`+"\n" {
		t.Errorf("%q", got)
	}
	for _, args := range [][]string{
		{"--from", "nobody", "STOP"},
		{"--from", "+14155550123", "--to", "ExampleBank", "STOP"},
		{"--from", "+14155550123", ""},
	} {
		inbound(terminal.ExitFailed, args...)
	}
	srv.Close()
	if got := inbound(terminal.ExitFailed, "--from", "+14155550123", "STOP"); !strings.Contains(got, "no simulated centre answers") {
		t.Errorf("%s", got)
	}
}

// What a web page could send from a browser is refused.
func TestSimulateControlRefuses(t *testing.T) {
	h := simulateControl(smsc.New(smsc.Config{}), slog.New(slog.DiscardHandler))
	const body = `{"from":"+14155550123","to":"+12025550101","text":"STOP"}`
	for _, c := range []struct {
		name, method, target, host, media, body string
		want                                    int
	}{
		{"as it should be", "POST", "/inbound", "127.0.0.1:2776", "application/json", body, 503},
		{"IPv6", "POST", "/inbound", "[::1]:2776", "application/json; charset=utf-8", body, 503},
		{"a form", "POST", "/inbound", "127.0.0.1:2776", "text/plain", body, 415},
		{"a name that leads here", "POST", "/inbound", "evil.example:2776", "application/json", body, 415},
		{"a read", "GET", "/inbound", "127.0.0.1:2776", "", "", 405},
		{"elsewhere", "POST", "/", "127.0.0.1:2776", "application/json", body, 404},
		{"an unknown field", "POST", "/inbound", "127.0.0.1:2776", "application/json", `{"number":"1"}`, 400},
		{"two documents", "POST", "/inbound", "127.0.0.1:2776", "application/json", body + body, 400},
		{"too much", "POST", "/inbound", "127.0.0.1:2776", "application/json", `{"text":"` + strings.Repeat("x", 70_000) + `"}`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
			r.Host = c.host
			r.Header.Set("Content-Type", c.media)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("%d, want %d: %s", w.Code, c.want, w.Body)
			}
		})
	}
	var _ http.Handler = h
}

func TestHandsetsAreBounded(t *testing.T) {
	h := simulateControl(nil, nil)
	number := func(i int) string { return fmt.Sprintf("1%010d", i) }
	for i := range 3 * maxHandsets {
		h.saw(smsc.Message{From: "12345", To: number(i)})
	}
	if n := len(h.last) + len(h.older); n > 2*maxHandsets {
		t.Errorf("%d numbers are remembered", n)
	}
	for i, want := range map[int]string{0: "", 3*maxHandsets - 1: "12345", 2*maxHandsets + 1: "12345"} {
		if got := h.sender(number(i)); got != want {
			t.Errorf("number %d: %q, want %q", i, got, want)
		}
	}
}

func TestSimulateUsage(t *testing.T) {
	for _, args := range [][]string{
		{"simulate", "smsc", "--drop", "1.5"},
		{"simulate", "smsc", "--mo", "NaN"},
		{"simulate", "smsc", "--control", "0.0.0.0:0"},
		{"simulate", "smsc", "--password", "123456789"},
	} {
		shell(t, "", args...).Is(t, terminal.ExitUsage)
	}
}
