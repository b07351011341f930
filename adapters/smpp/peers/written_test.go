package peers_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
)

// asking is a centre that makes the client write a PDU of every kind.
type asking struct {
	t    *testing.T
	addr string
	// asked are the responses that the client owes, in order.
	asked []answer
}

// answer is what a response, or a request without a body, says.
type answer struct {
	command          string
	status, sequence int
}

// startAsking listens until the test ends. The client ends before it.
func startAsking(t *testing.T) *asking {
	l := listen(t)
	a := &asking{t: t, addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			a.serve(c, n)
			c.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return a
}

// frameOf puts a header before a body.
func frameOf(id data.CommandIDType, sequence int, body string) []byte {
	b := append(wire.AppendHeader(nil, id, data.ESME_ROK, int32(sequence)), body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// stop is the body of a deliver_sm with the text STOP.
const stop = "\x00\x01\x01447400123456\x00\x01\x0112025550123\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04STOP"

// stopAsData is the body of a data_sm with it.
const stopAsData = "\x00\x01\x01447400123456\x00\x01\x0112025550123\x00\x00\x00\x00\x04\x24\x00\x04STOP"

// serve serves the connections one after the other: the first asks for all responses, and the second breaks the
// framing. The third goes on until the client unbinds.
func (a *asking) serve(c net.Conn, n int) {
	r := wire.NewReader(c)
	ask := func(id data.CommandIDType, sequence int, body, response string, status int) {
		a.asked = append(a.asked, answer{response, status, sequence})
		c.Write(frameOf(id, sequence, body))
	}
	read := func() (p wire.PDU, ok bool) {
		frame, err := r.Next()
		if err != nil {
			return p, false
		}
		p, _ = wire.Parse(frame)
		return p, true
	}
	p, ok := read()
	if !ok {
		return
	}
	if n == 0 { // before the bind is answered
		ask(data.DELIVER_SM, 100, stop, "deliver_sm_resp", int(data.ESME_RINVBNDSTS))
		ask(data.DATA_SM, 101, stopAsData, "data_sm_resp", int(data.ESME_RINVBNDSTS))
	}
	c.Write(frameOf(data.BIND_TRANSCEIVER_RESP, int(p.SequenceNumber), "asking\x00"))
	switch n {
	case 0:
		ask(data.ENQUIRE_LINK, 102, "", "enquire_link_resp", 0)
		ask(data.DELIVER_SM, 103, stop, "deliver_sm_resp", 0)
		ask(data.DATA_SM, 104, stopAsData, "data_sm_resp", 0)
		ask(0x0666, 105, "?", "generic_nack", int(data.ESME_RINVCMDID))
		ask(data.DELIVER_SM, 0x7FFFFFFF, stop, "deliver_sm_resp", 0)
	case 1:
		a.asked = append(a.asked, answer{"generic_nack", int(data.ESME_RINVCMDLEN), 106})
		b := wire.AppendHeader(nil, data.ENQUIRE_LINK, 0, 106)
		binary.BigEndian.PutUint32(b, 8)
		c.Write(b)
	}
	submits := 0
	for {
		p, ok := read()
		if !ok {
			return
		}
		switch p.CommandID {
		case data.SUBMIT_SM:
			submits++
			c.Write(wire.AppendResponse(nil, data.SUBMIT_SM, data.ESME_ROK, p.SequenceNumber, strconv.Itoa(submits)))
			if n == 0 && submits == len(everyPart(a.t)) {
				ask(data.UNBIND, 107, "", "unbind_resp", 0)
			}
		case data.ENQUIRE_LINK, data.UNBIND:
			c.Write(wire.AppendHeader(nil, wire.Response(p.CommandID), data.ESME_ROK, p.SequenceNumber))
		}
	}
}

// everything takes the client through a session in which it writes a PDU of every kind, and returns what both sides
// wrote, and which responses the client owed.
func everything(t *testing.T) (*tap, []answer) {
	t.Helper()
	a := startAsking(t)
	p := newTap(t, a.addr)
	e := bind(t, p.addr, 20*time.Millisecond)
	e.bound(t)
	for _, w := range everyPart(t) {
		if r := e.submit(t, w.h); r.Status != ledger.HandoffTaken {
			t.Fatalf("%s: %+v", w.name, r)
		}
	}
	for range 3 {
		e.delivered(t)
	}
	until(t, "a third bind", func() bool { return e.Stats().Binds >= 3 && e.State().Bound })
	links := e.Stats().EnquireLinks
	until(t, "enquire_link", func() bool { return e.Stats().EnquireLinks > links+1 })
	e.stop()
	return p, a.asked
}

// checkWritten compares what a judge read of the PDUs that the client wrote with what they were meant to say.
func checkWritten(t *testing.T, read []heard, owed []answer) {
	t.Helper()
	parts := everyPart(t)
	counts := map[string]int{}
	var answers []answer
	for _, h := range read {
		counts[h.Command]++
		if h.Problem != "" {
			t.Errorf("of a %s, the judge says %q", h.Command, h.Problem)
			continue
		}
		if h.Sequence < 1 || h.Sequence > 0x7FFFFFFF {
			t.Errorf("a %s has the sequence number %d", h.Command, h.Sequence)
		}
		switch {
		case h.Command == "bind_transceiver":
			if h.SystemID != systemID || h.Password != password || h.SystemType != systemType || h.Version != 0x34 || h.TON != 0 || h.NPI != 0 || h.Range != "" {
				t.Errorf("a bind is read as %+v", h)
			}
		case h.Command == "submit_sm":
			if n := counts[h.Command]; n > len(parts) {
				t.Errorf("one submit too many: %+v", h)
			} else if w := parts[n-1]; h.fields != w.want {
				t.Errorf("%s: read as\n%+v, not\n%+v", w.name, h.fields, w.want)
			}
		case strings.HasSuffix(h.Command, "_resp") || h.Command == "generic_nack":
			answers = append(answers, answer{h.Command, h.Status, h.Sequence})
		}
	}
	for command, least := range map[string]int{"bind_transceiver": 3, "submit_sm": len(parts), "enquire_link": 2, "unbind": 1} {
		if counts[command] < least {
			t.Errorf("%d of %s were read, not %d", counts[command], command, least)
		}
	}
	sorted := func(all []answer) []answer {
		return slices.SortedFunc(slices.Values(all), func(a, b answer) int { return a.sequence - b.sequence })
	}
	if got, want := sorted(answers), sorted(owed); !slices.Equal(got, want) {
		t.Errorf("the responses are read as\n%v, not\n%v", got, want)
	}
}

// TestSMPPLib: smpplib reads every PDU that the client writes.
func TestSMPPLib(t *testing.T) {
	python := servertest.Program(t, "python3")
	library := servertest.Library(t, "smpplib", filepath.Join("testdata", "python", "requirements.txt"))
	p, owed := everything(t)
	var in bytes.Buffer
	frames := p.frames(t, true)
	for _, f := range frames {
		fmt.Fprintf(&in, "%x\n", f)
	}
	// The client does not bind like this yet.
	further := []pdu.BindingType{pdu.Transmitter, pdu.Receiver}
	for _, typ := range further {
		b := pdu.NewBindRequest(typ)
		b.SystemID, b.Password, b.SystemType = systemID, password, systemType
		b.SetSequenceNumber(1)
		fmt.Fprintf(&in, "%x\n", wire.Append(nil, b))
	}
	cmd := exec.Command(python, "-B", filepath.Join("testdata", "python", "judge.py"), filepath.Join(library, "lib"))
	cmd.Stdin = &in
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("smpplib: %v\n%s", err, errs.String())
	}
	var read []heard
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var h heard
		if err := d.Decode(&h); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		read = append(read, h)
	}
	if len(read) != len(frames)+len(further) {
		t.Fatalf("%d PDUs were read of %d", len(read), len(frames)+len(further))
	}
	for i, command := range []string{"bind_transmitter", "bind_receiver"} {
		if h := read[len(frames)+i]; h.Problem != "" || h.Command != command || h.SystemID != systemID || h.Password != password || h.SystemType != systemType || h.Version != 0x34 {
			t.Errorf("a %s is read as %+v", command, h)
		}
	}
	checkWritten(t, read[:len(frames)], owed)
}

// dissected is a field, or a protocol, as tshark prints it in PDML.
type dissected struct {
	Name     string      `xml:"name,attr"`
	Shown    string      `xml:"show,attr"`
	Label    string      `xml:"showname,attr"`
	Value    string      `xml:"value,attr"`
	Unmasked string      `xml:"unmaskedvalue,attr"`
	Fields   []dissected `xml:"field"`
	Protos   []dissected `xml:"proto"`
}

// walk calls f with everything under d.
func (d *dissected) walk(f func(*dissected)) {
	f(d)
	for i := range d.Fields {
		d.Fields[i].walk(f)
	}
	for i := range d.Protos {
		d.Protos[i].walk(f)
	}
}

// dissect has tshark read a capture. It returns the PDUs, and what tshark finds malformed, or has a warning or an error
// about.
func dissect(t *testing.T, tshark string, capture []byte) (out []dissected, faults []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "session.pcap")
	if err := os.WriteFile(file, capture, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tshark, "-n", "-r", file, "-d", fmt.Sprintf("tcp.port==%d,smpp", centrePort),
		"-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-T", "pdml")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // no settings of a person
	var errs bytes.Buffer
	cmd.Stderr = &errs
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, errs.String())
	}
	var all struct {
		Packets []dissected `xml:"packet"`
	}
	// A text in GSM 03.38 is shown as its octets.
	if err := xml.Unmarshal(bytes.ToValidUTF8(raw, []byte("?")), &all); err != nil {
		t.Fatalf("tshark: %v", err)
	}
	for i := range all.Packets {
		all.Packets[i].walk(func(d *dissected) {
			severity := 0
			if d.Name == "_ws.expert.severity" {
				severity, _ = strconv.Atoi(d.Shown)
			}
			const warning = 0x600000
			if d.Name == "_ws.malformed" || severity >= warning {
				faults = append(faults, fmt.Sprintf("frame %d: %s %s, in %s", i+1, d.Name, d.Label, all.Packets[i].layers()))
			}
			if d.Name == "smpp" {
				out = append(out, *d)
			}
		})
	}
	return out, faults
}

// layers names the protocols of a frame, and what tshark says about the PDUs.
func (d *dissected) layers() string {
	var names []string
	d.walk(func(d *dissected) {
		if d.Name == "smpp.command_id" || d.Name == "_ws.expert.message" {
			names = append(names, d.Label)
		}
	})
	return strings.Join(names, "; ")
}

// heard is what tshark says of a PDU, in the words of the other judges.
func (d *dissected) heard(t testing.TB) (h heard) {
	t.Helper()
	number := func(f *dissected) int {
		v := f.Unmasked
		if v == "" {
			v = f.Value
		}
		n, err := strconv.ParseUint(v, 16, 64)
		if err != nil {
			t.Errorf("%s is %q", f.Name, v)
		}
		return int(n)
	}
	numbers := map[string]*int{"smpp.command_status": &h.Status, "smpp.sequence_number": &h.Sequence, "smpp.interface_version": &h.Version,
		"smpp.addr_ton": &h.TON, "smpp.addr_npi": &h.NPI, "smpp.source_addr_ton": &h.SourceTON, "smpp.source_addr_npi": &h.SourceNPI,
		"smpp.dest_addr_ton": &h.DestTON, "smpp.dest_addr_npi": &h.DestNPI, "smpp.esm.submit.features": &h.ESMClass, "smpp.protocol_id": &h.Protocol,
		"smpp.priority_flag": &h.Priority, "smpp.regdel.receipt": &h.Registered, "smpp.replace_if_present_flag": &h.Replace,
		"smpp.data_coding": &h.DataCoding, "smpp.sm_default_msg_id": &h.DefaultID, "smpp.user_message_reference": &h.Reference}
	texts := map[string]*string{"smpp.system_id": &h.SystemID, "smpp.password": &h.Password, "smpp.system_type": &h.SystemType,
		"smpp.address_range": &h.Range, "smpp.service_type": &h.ServiceType, "smpp.source_addr": &h.Source, "smpp.destination_addr": &h.Dest}
	d.walk(func(f *dissected) {
		switch {
		case numbers[f.Name] != nil:
			*numbers[f.Name] = number(f)
		case texts[f.Name] != nil:
			if f.Shown != "(Default)" { // its word for ""
				*texts[f.Name] = f.Shown
			}
		case f.Name == "smpp.command_id":
			// "Operation: Submit_sm (0x00000004)"
			_, name, _ := strings.Cut(f.Label, ": ")
			name, _, _ = strings.Cut(name, " (")
			h.Command = strings.ReplaceAll(strings.ToLower(name), " - ", "_")
		case f.Name == "smpp.message":
			h.Octets = f.Value
		case f.Name == "smpp.validity_period":
			for v := f.Value; len(v) >= 2 && v[:2] != "00"; v = v[2:] {
				n, _ := strconv.ParseUint(v[:2], 16, 8)
				h.Period += string(rune(n))
			}
		}
	})
	return h
}

// TestTshark: the dissector of Wireshark reads every PDU that the client writes, and finds nothing wrong with it.
func TestTshark(t *testing.T) {
	tshark := servertest.Program(t, "tshark")
	p, owed := everything(t)
	// What the centre of that session wrote is wrong on purpose, so only the client's side is judged.
	p.mu.Lock()
	for _, c := range p.conns {
		c.chunks = slices.DeleteFunc(c.chunks, func(c chunk) bool { return !c.client })
	}
	p.mu.Unlock()
	pdus, faults := dissect(t, tshark, p.capture())
	for _, f := range faults {
		t.Errorf("tshark says of %s", f)
	}
	var read []heard
	for _, d := range pdus {
		read = append(read, d.heard(t))
	}
	if frames := p.frames(t, true); len(read) != len(frames) {
		t.Errorf("%d PDUs were read of %d", len(read), len(frames))
	}
	checkWritten(t, read, owed)
}

// TestTsharkFindsFaults: a fault in a PDU would be found.
func TestTsharkFindsFaults(t *testing.T) {
	tshark := servertest.Program(t, "tshark")
	good := frameOf(data.DELIVER_SM, 1, stop)
	cut := frameOf(data.DELIVER_SM, 1, strings.Replace(stop, "\x04STOP", "\x09STOP", 1)) // sm_length is too long
	for _, x := range []struct {
		octets []byte
		faults bool
	}{{good, false}, {cut, true}} {
		p := &tap{conns: []*tapped{{chunks: []chunk{{client: true, at: time.Unix(1, 0), octets: x.octets}}}}}
		if _, faults := dissect(t, tshark, p.capture()); len(faults) > 0 != x.faults {
			t.Errorf("of %x tshark says %q", x.octets, faults)
		}
	}
}

// TestTsharkOnCentre: it finds nothing wrong with either side of a session of the client with the simulated centre.
func TestTsharkOnCentre(t *testing.T) {
	tshark := servertest.Program(t, "tshark")
	centre, addr := startSMSC(t, smsc.Config{Password: password, Reject: 0.1, EarlyReceipts: 0.3, DuplicateReceipts: 0.1, Undeliverable: 0.3, MO: 0.3,
		MOTexts: []string{"STOP", "СТОП", longText}, Seed: 1, RedeliverAfter: 2 * patience})
	p := newTap(t, addr)
	e := bind(t, p.addr, 20*time.Millisecond)
	e.bound(t)
	for range 5 {
		for _, w := range everyPart(t) {
			if r := e.submit(t, w.h); r.Status != ledger.HandoffTaken && r.Status != ledger.HandoffFinal {
				t.Fatalf("%s: %+v", w.name, r)
			}
		}
	}
	if err := centre.Inject("+447400123456", "+12025550123", longText); err != nil {
		t.Fatal(err)
	}
	links := e.Stats().EnquireLinks
	until(t, "an enquire_link", func() bool { return e.Stats().EnquireLinks > links })
	until(t, "all deliveries are acknowledged", func() bool { s := e.Stats(); return s.Deliveries > 50 && s.DeliveriesAcked == s.Deliveries })
	e.stop()
	counts := map[string]int{}
	pdus, faults := dissect(t, tshark, p.capture())
	for _, f := range faults {
		t.Errorf("tshark says of %s", f)
	}
	for _, d := range pdus {
		h := d.heard(t)
		counts[h.Command]++
	}
	if n := len(p.frames(t, true)) + len(p.frames(t, false)); len(pdus) != n {
		t.Errorf("%d PDUs were read of %d", len(pdus), n)
	}
	for _, command := range []string{"bind_transceiver", "bind_transceiver_resp", "submit_sm", "submit_sm_resp", "deliver_sm", "deliver_sm_resp",
		"enquire_link", "enquire_link_resp", "unbind", "unbind_resp"} {
		if counts[command] == 0 {
			t.Errorf("no %s was read: %v", command, counts)
		}
	}
}
