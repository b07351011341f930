package peers_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// heard is a line that a centre writes.
type heard struct {
	// Event is port (it listens), got (a PDU was read), sent (a command was carried out), closed (a connection ended)
	// or error.
	Event string `json:"event"`
	Port  int    `json:"port"`

	Command  string `json:"command"`
	Sequence int    `json:"sequence"`
	Status   int    `json:"status"`
	// Problem is what the centre did not expect of a PDU.
	Problem string `json:"problem"`

	SystemID   string `json:"system_id"`
	Password   string `json:"password"`
	SystemType string `json:"system_type"`
	Version    int    `json:"interface_version"`
	TON        int    `json:"addr_ton"`
	NPI        int    `json:"addr_npi"`
	Range      string `json:"address_range"`

	fields
	// Text is the text as the peer reads it, and Until the end of the period.
	Text  string `json:"text"`
	Until string `json:"until"`
}

// peerCentre is a message centre that others wrote, in a process of its own.
type peerCentre struct {
	t    *testing.T
	addr string
	in   io.WriteCloser

	mu    sync.Mutex
	lines []heard
	next  int // the first line that was not looked at
	errs  bytes.Buffer
	ended bool
	more  chan struct{}
}

// startCentre runs a command until the test ends.
func startCentre(t *testing.T, name string, args ...string) *peerCentre {
	t.Helper()
	c := &peerCentre{t: t, more: make(chan struct{}, 1)}
	cmd := exec.Command(name, args...)
	var err error
	if c.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = &c.errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		s := bufio.NewScanner(out)
		for s.Scan() {
			var h heard
			if err := json.Unmarshal(s.Bytes(), &h); err != nil {
				h = heard{Event: "error", Text: fmt.Sprintf("%q: %v", s.Text(), err)}
			}
			c.add(h, false)
		}
		c.add(heard{Event: "error", Text: "the centre ended"}, true)
	}()
	t.Cleanup(func() {
		c.in.Close() // at the end of its input it ends
		kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer kill.Stop()
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("the centre: %v", err)
		}
		if t.Failed() {
			t.Logf("the centre said: %.4000s", c.errs.String())
		}
	})
	c.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.until("its port", func(h *heard) bool { return h.Event == "port" }).Port))
	return c
}

func (c *peerCentre) add(h heard, last bool) {
	c.mu.Lock()
	c.lines = append(c.lines, h)
	c.ended = c.ended || last
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// until returns the next line that is wanted. The ones before it are passed over, but a problem fails the test.
func (c *peerCentre) until(what string, wanted func(*heard) bool) heard {
	c.t.Helper()
	ctx := within(c.t)
	for {
		c.mu.Lock()
		for c.next < len(c.lines) {
			h := c.lines[c.next]
			c.next++
			if h.Event == "error" || h.Problem != "" {
				c.mu.Unlock()
				c.t.Fatalf("waiting for %s: the centre says %q %q of %+v", what, h.Text, h.Problem, h)
			}
			if wanted(&h) {
				c.mu.Unlock()
				return h
			}
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-ctx.Done():
			c.t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// got returns the next PDU of a command that the centre reads.
func (c *peerCentre) got(command string) heard {
	c.t.Helper()
	return c.until(command, func(h *heard) bool { return h.Event == "got" && h.Command == command })
}

// order is a command for a centre: what it sends, or how it answers the next submits.
type order struct {
	// command is the PDU to be sent, unknown for octets as they are, or answers.
	command string
	// octets are in hexadecimal.
	octets string
	// answers are for the next submit_sm, separated by commas: a status, or "nack:" and the status of a generic_nack.
	answers string
	// source and destination are digits. text is encoded by the peer, in coding: default, ascii, latin1 or ucs2. udh is a
	// user data header in hexadecimal. payload puts the text into message_payload.
	source, destination, text, coding, udh string
	payload                                bool
	esmClass                               int
	// receipt, state, error (in hexadecimal) and reference are optional parameters of a receipt; sar, parts and part
	// those of a part.
	receipt, error       string
	state, reference     int
	sar, parts, sarIndex int
}

// send has the centre carry an order out, and returns the sequence number of what it sent.
func (c *peerCentre) send(o order) int {
	c.t.Helper()
	var b strings.Builder
	put := func(name, value string) {
		if value != "" && value != "0" {
			fmt.Fprintf(&b, "%s=%s\n", name, value)
		}
	}
	put("command", o.command)
	put("octets", o.octets)
	put("answers", o.answers)
	put("source", o.source)
	put("destination", o.destination)
	put("text", o.text)
	put("coding", o.coding)
	put("udh", o.udh)
	if o.payload {
		put("payload", "yes")
	}
	put("esm_class", strconv.Itoa(o.esmClass))
	put("receipt", o.receipt)
	put("error", o.error)
	put("state", strconv.Itoa(o.state))
	put("reference", strconv.Itoa(o.reference))
	put("sar", strconv.Itoa(o.sar))
	put("parts", strconv.Itoa(o.parts))
	put("part", strconv.Itoa(o.sarIndex))
	if _, err := io.WriteString(c.in, b.String()+".\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.until("what it sent", func(h *heard) bool { return h.Event == "sent" }).Sequence
}

// TestNodeSMPP: the client is bound to a message centre by node-smpp.
func TestNodeSMPP(t *testing.T) {
	node := servertest.Program(t, "node")
	library := servertest.Library(t, "node-smpp", filepath.Join("testdata", "node", "package-lock.json"))
	withCentre(t, startCentre(t, node, filepath.Join("testdata", "node", "centre.js"), library), "node-")
}

// TestCloudhopper: the client is bound to a message centre by ch-smpp, the library of Cloudhopper.
func TestCloudhopper(t *testing.T) {
	java, javac := servertest.Program(t, "java"), servertest.Program(t, "javac")
	library := servertest.Library(t, "ch-smpp", filepath.Join("testdata", "java", "pom.xml"))
	classes, jars := t.TempDir(), filepath.Join(library, "lib", "*")
	if out, err := exec.Command(javac, "-nowarn", "-encoding", "UTF-8", "-cp", jars, "-d", classes, filepath.Join("testdata", "java", "Centre.java")).CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	withCentre(t, startCentre(t, java, "-XX:TieredStopAtLevel=1", "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", classes+":"+jars, "Centre"), "java-")
}

// withCentre takes a client through a whole session with a centre, whose ids have a prefix.
func withCentre(t *testing.T, c *peerCentre, ids string) {
	e := bind(t, c.addr, 100*time.Millisecond)
	b := c.got("bind_transceiver")
	if b.SystemID != systemID || b.Password != password || b.SystemType != systemType || b.Version != 0x34 || b.TON != 0 || b.NPI != 0 || b.Range != "" {
		t.Errorf("the bind was read as %+v", b)
	}
	e.bound(t)
	submits(t, c, e, ids)
	refusals(t, c, e)
	deliveries(t, c, e)
	others(t, c, e)
	// The unknown command alone could not be decoded.
	if s := e.Stats(); s.Binds != 1 || s.ConnectionsLost != 0 || s.Malformed != 1 || s.DeliveriesRefused != 0 {
		t.Errorf("the bind was not kept, or something was refused: %+v", s)
	}

	// The centre unbinds, and the client binds once more.
	seq := c.send(order{command: "unbind"})
	if r := c.got("unbind_resp"); r.Sequence != seq || r.Status != 0 {
		t.Errorf("unbind %d was answered with %+v", seq, r)
	}
	c.got("bind_transceiver")
	e.bound(t)
	if r := e.submit(t, everyPart(t)[0].h); r.Status != ledger.HandoffTaken {
		t.Errorf("after a second bind a submit ended as %+v", r)
	}
	e.stop()
	c.got("unbind")
	if s := e.Stats(); s.Binds != 2 || s.Unknown != 1 || s.Open != 0 || s.Unacked != 0 {
		t.Errorf("at the end: %+v", s)
	}
}

// submits checks that the centre reads every part as it was meant, and takes a burst.
func submits(t *testing.T, c *peerCentre, e *esme, ids string) {
	t.Helper()
	for _, w := range everyPart(t) {
		r := e.submit(t, w.h)
		got := c.got("submit_sm")
		if r.Status != ledger.HandoffTaken || !strings.HasPrefix(r.CarrierID, ids) {
			t.Errorf("%s: answered with %+v", w.name, r)
		}
		if got.fields != w.want {
			t.Errorf("%s: read as\n%+v, not\n%+v", w.name, got.fields, w.want)
		}
		// A peer takes data_coding 0 for GSM 03.38; that it is ISO 8859-1 is agreed with each carrier.
		if got.Text != w.h.Segment.Text && w.h.Segment.Encoding != sms.Latin1 {
			t.Errorf("%s: read as %q, not %q", w.name, got.Text, w.h.Segment.Text)
		}
		if u := w.h.ValidUntil; !u.IsZero() && got.Until != "" && got.Until != u.UTC().Format("2006-01-02T15:04:05.000Z") {
			t.Errorf("%s: valid until %s, not %s", w.name, got.Until, u.UTC())
		}
	}
	const burst = 500
	slots := make(chan struct{}, 40) // fewer than the client's window
	results := make(chan ledger.HandoffResult, burst)
	h := everyPart(t)[0].h
	for range burst {
		slots <- struct{}{}
		e.Submit(h, func(r ledger.HandoffResult) {
			results <- r
			<-slots
		})
	}
	seen := map[string]bool{}
	for range burst {
		select {
		case r := <-results:
			if r.Status != ledger.HandoffTaken || seen[r.CarrierID] {
				t.Fatalf("in a burst a submit ended as %+v", r)
			}
			seen[r.CarrierID] = true
		case <-within(t).Done():
			t.Fatalf("%d of %d submits of a burst were answered", len(seen), burst)
		}
	}
	for range burst {
		c.got("submit_sm")
	}
}

// refusals checks what the client makes of answers that are no acceptance.
func refusals(t *testing.T, c *peerCentre, e *esme) {
	t.Helper()
	h := everyPart(t)[0].h
	const rejected, unreadable, full, throttled = 0x0B, 0x02, 0x14, 0x58
	for _, x := range []struct {
		answer string
		status ledger.HandoffStatus
		code   string
	}{
		{strconv.Itoa(rejected), ledger.HandoffFinal, "0x0000000B"},
		{"nack:" + strconv.Itoa(unreadable), ledger.HandoffUnknown, "0x00000002"},
		{strconv.Itoa(0x400), ledger.HandoffFinal, "0x00000400"}, // a code of the carrier's own
		{strconv.Itoa(full), ledger.HandoffRetry, "0x00000014"},
		{strconv.Itoa(throttled), ledger.HandoffRetry, "0x00000058"},
	} {
		c.send(order{command: "answers", answers: x.answer})
		r := e.submit(t, h)
		c.got("submit_sm")
		if r.Status != x.status || r.Code != x.code || r.CarrierID != "" {
			t.Errorf("an answer of %s ended as %+v", x.answer, r)
		}
	}
	if r := e.submit(t, h); r.Status != ledger.HandoffTaken {
		t.Errorf("after the refusals a submit ended as %+v", r)
	}
	c.got("submit_sm")
}

// deliveries checks what the client reads of the messages that the centre writes, and how it acknowledges them.
func deliveries(t *testing.T, c *peerCentre, e *esme) {
	t.Helper()
	const from, to = "447400123456", "12025550123"
	receipt := func(id, stat string) string {
		return "id:" + id + " sub:001 dlvrd:001 submit date:2611290101 done date:2611290102 stat:" + stat + " err:000 text:Your code"
	}
	long := "Please STOP to send me any of these messages"
	for _, x := range []struct {
		name      string
		o         order
		text      string
		receipt   *sms.Receipt
		concat    *sms.Concat
		reference uint16
	}{
		{name: "a receipt with text and parameters", o: order{command: "deliver_sm", esmClass: 4, text: receipt("node-1", "DELIVRD"), receipt: "node-1", state: 2, reference: 0x0102},
			receipt: &sms.Receipt{ID: "node-1", State: sms.StateDelivered, Final: true}, reference: 0x0102},
		{name: "a receipt with text alone", o: order{command: "deliver_sm", esmClass: 4, text: receipt("0a-9", "EXPIRED")},
			receipt: &sms.Receipt{ID: "0a-9", State: sms.StateExpired, Final: true}},
		{name: "a receipt with parameters alone", o: order{command: "deliver_sm", esmClass: 4, receipt: "77", state: 5, error: "03001b"},
			receipt: &sms.Receipt{ID: "77", State: sms.StateUndeliverable, Final: true, Error: "27"}},
		{name: "a receipt as data_sm", o: order{command: "data_sm", esmClass: 4, text: receipt("78", "DELIVRD"), receipt: "78", state: 2},
			receipt: &sms.Receipt{ID: "78", State: sms.StateDelivered, Final: true}},
		{name: "an intermediate receipt", o: order{command: "deliver_sm", esmClass: 0x20, receipt: "79", state: 1},
			receipt: &sms.Receipt{ID: "79", State: sms.StateEnroute, Intermediate: true}},
		{name: "STOP", o: order{command: "deliver_sm", text: "STOP"}, text: "STOP"},
		{name: "STOP in ASCII", o: order{command: "deliver_sm", text: "STOP", coding: "ascii"}, text: "STOP"},
		{name: "STOP in ISO 8859-1", o: order{command: "deliver_sm", text: "ARRÊT", coding: "latin1"}, text: "ARRÊT"},
		{name: "STOP in UCS-2", o: order{command: "deliver_sm", text: "СТОП", coding: "ucs2"}, text: "СТОП"},
		{name: "STOP in the GSM alphabet's extension", o: order{command: "deliver_sm", text: "[STOP] €"}, text: "[STOP] €"},
		{name: "STOP in message_payload", o: order{command: "deliver_sm", text: "STOP", payload: true}, text: "STOP"},
		{name: "STOP as data_sm", o: order{command: "data_sm", text: "STOP"}, text: "STOP"},
		{name: "part 1 of 2, by a header", o: order{command: "deliver_sm", text: long[:20], udh: "050003070201"}, text: long[:20], concat: &sms.Concat{Reference: 7, Part: 1, Parts: 2}},
		{name: "part 2 of 2, by a header", o: order{command: "deliver_sm", text: long[20:], udh: "050003070202"}, text: long[20:], concat: &sms.Concat{Reference: 7, Part: 2, Parts: 2}},
		{name: "a part in UCS-2, by a header of 16 bits", o: order{command: "deliver_sm", text: "СТОП", coding: "ucs2", udh: "06080412340302"}, text: "СТОП",
			concat: &sms.Concat{Reference: 0x1234, Part: 2, Parts: 3}},
		{name: "part 1 of 2, by parameters", o: order{command: "deliver_sm", text: long[:20], sar: 300, parts: 2, sarIndex: 1}, text: long[:20], concat: &sms.Concat{Reference: 300, Part: 1, Parts: 2}},
		{name: "part 2 of 2, by parameters", o: order{command: "deliver_sm", text: long[20:], sar: 300, parts: 2, sarIndex: 2}, text: long[20:], concat: &sms.Concat{Reference: 300, Part: 2, Parts: 2}},
	} {
		x.o.source, x.o.destination = from, to
		seq := c.send(x.o)
		d := e.delivered(t)
		if d.Account != "peer" || d.From != from || d.To != to || d.FromTON != 1 || d.FromNPI != 1 || d.Unreadable || d.Mislabelled || d.Reference != x.reference {
			t.Errorf("%s: read as %+v", x.name, d)
		}
		if x.text != "" && !slices.Contains(d.Texts, x.text) || x.text == "" && len(d.Texts) > 0 {
			t.Errorf("%s: read as the texts %q", x.name, d.Texts)
		}
		if (d.Receipt == nil) != (x.receipt == nil) || d.Receipt != nil && !sameReceipt(*d.Receipt, *x.receipt) {
			t.Errorf("%s: read as the receipt %+v", x.name, d.Receipt)
		}
		if (d.Concat == nil) != (x.concat == nil) || d.Concat != nil && *d.Concat != *x.concat {
			t.Errorf("%s: read as the part %+v", x.name, d.Concat)
		}
		if r := c.got(x.o.command + "_resp"); r.Sequence != seq || r.Status != 0 {
			t.Errorf("%s: %d was acknowledged with %+v", x.name, seq, r)
		}
	}
}

// sameReceipt compares what was read with what was meant; the dates are not looked at.
func sameReceipt(got, want sms.Receipt) bool {
	return got.ID == want.ID && got.State == want.State && got.Final == want.Final && got.Intermediate == want.Intermediate && got.Error == want.Error
}

// others checks what the client does with the requests that are no message.
func others(t *testing.T, c *peerCentre, e *esme) {
	t.Helper()
	seq := c.send(order{command: "enquire_link"})
	if r := c.got("enquire_link_resp"); r.Sequence != seq || r.Status != 0 {
		t.Errorf("enquire_link %d was answered with %+v", seq, r)
	}
	// These two have no response. The octets are for a peer that cannot write them itself.
	before := e.Stats()
	c.send(order{command: "alert_notification", source: "447400123456", destination: "12025550123",
		octets: "0000002d00000102000000000000005b" + "0101" + hexOf([]byte("447400123456\x00")) + "0101" + hexOf([]byte("12025550123\x00"))})
	c.send(order{command: "outbind", octets: "0000001e0000000b000000000000005c" + hexOf([]byte("centre\x00secret\x00"))})
	until(t, "alert_notification and outbind are read", func() bool { return e.Stats().Alerts == before.Alerts+1 && e.Stats().Outbinds == before.Outbinds+1 })
	// A command that SMPP 3.4 does not have.
	c.send(order{command: "unknown", octets: "00000014000006660000000000000" + "05a" + "01020304"})
	if r := c.got("generic_nack"); r.Sequence != 0x5A || r.Status != 3 {
		t.Errorf("an unknown command was answered with %+v", r)
	}
	// In the silence after that the client asks whether the centre is there.
	c.got("enquire_link")
	links := e.Stats().EnquireLinks
	until(t, "enquire_link is answered", func() bool { return e.Stats().EnquireLinks > links })
}
