package smsc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; none passes or fails by a shorter time.
const patience = 30 * time.Second

// esme is a client made of the codec alone, so that it shares nothing with the centre.
type esme struct {
	t  *testing.T
	nc net.Conn
}

func serve(t *testing.T, cfg Config) (*Server, string, func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.FirstID == 0 {
		cfg.FirstID = 1000
	}
	if cfg.RedeliverAfter == 0 {
		cfg.RedeliverAfter = 2 * patience
	}
	s := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, l.Addr().String(), stop
}

func dial(t *testing.T, addr string) *esme {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { nc.Close() })
	return &esme{t, nc}
}

func (e *esme) send(p pdu.PDU, sequence int32) {
	e.t.Helper()
	p.SetSequenceNumber(sequence)
	b := pdu.NewBuffer(nil)
	p.Marshal(b)
	if _, err := e.nc.Write(b.Bytes()); err != nil {
		e.t.Fatal(err)
	}
}

func (e *esme) next() pdu.PDU {
	e.t.Helper()
	p, err := pdu.Parse(e.nc)
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

func (e *esme) bind(password string) data.CommandStatusType {
	e.t.Helper()
	b := pdu.NewBindRequest(pdu.Transceiver)
	b.SystemID, b.Password = "esme", password
	e.send(b, 1)
	var head [16]byte
	if _, err := io.ReadFull(e.nc, head[:]); err != nil {
		e.t.Fatal(err)
	}
	h := pdu.ParseHeader(head)
	if rest := int(h.CommandLength) - 16; rest > 0 {
		if _, err := io.ReadFull(e.nc, make([]byte, rest)); err != nil {
			e.t.Fatal(err)
		}
	}
	if h.CommandID != data.BIND_TRANSCEIVER_RESP || h.SequenceNumber != 1 {
		e.t.Fatalf("the bind was answered with %+v", h)
	}
	return h.CommandStatus
}

func (e *esme) submit(sequence int32, text string) {
	e.t.Helper()
	m := pdu.NewSubmitSM().(*pdu.SubmitSM)
	m.SourceAddr, _ = pdu.NewAddressWithTonNpiAddr(1, 1, "14155550100")
	m.DestAddr, _ = pdu.NewAddressWithTonNpiAddr(1, 1, "14155550123")
	m.RegisteredDelivery = 1
	m.RegisterOptionalParam(pdu.Field{Tag: pdu.TagUserMessageReference, Data: []byte{0, byte(sequence)}})
	if err := m.Message.SetMessageWithEncoding(text, data.GSM7BIT); err != nil {
		e.t.Fatal(err)
	}
	e.send(m, sequence)
}

func (e *esme) answer(d *pdu.DeliverSM, status data.CommandStatusType) {
	r := d.GetResponse().(*pdu.DeliverSMResp)
	r.CommandStatus = status
	e.send(r, d.SequenceNumber)
}

func TestReceipt(t *testing.T) {
	var messages []Message
	var record bytes.Buffer
	_, addr, stop := serve(t, Config{Password: "secret", OnMessage: func(m Message) { messages = append(messages, m) }, Record: &record})
	if status := dial(t, addr).bind("other"); status != data.ESME_RINVPASWD {
		t.Fatalf("a wrong password: %v", status)
	}
	e := dial(t, addr)
	e.submit(1, "too early")
	if r := e.next().(*pdu.SubmitSMResp); r.CommandStatus != data.ESME_RINVBNDSTS {
		t.Fatalf("a submit before the bind: %v", r.CommandStatus)
	}
	if status := e.bind("secret"); status != data.ESME_ROK {
		t.Fatal(status)
	}
	if status := e.bind("secret"); status != data.ESME_RALYBND {
		t.Fatalf("a second bind: %v", status)
	}
	e.submit(7, "Hello, world: £1")
	r := e.next().(*pdu.SubmitSMResp)
	if r.SequenceNumber != 7 || r.CommandStatus != data.ESME_ROK || r.MessageID != "1000" {
		t.Fatalf("%+v", r)
	}
	d := e.next().(*pdu.DeliverSM)
	text, _ := d.Message.GetMessageData()
	if !strings.HasPrefix(string(text), "id:1000 sub:001 dlvrd:001 submit date:") || !strings.Contains(string(text), " stat:DELIVRD err:000 text:Hello, world: ?1") {
		t.Errorf("%s", text)
	}
	tlv := func(tag pdu.Tag) string { return string(d.OptionalParameters[tag].Data) }
	if d.EsmClass != 0x04 || d.SourceAddr.Address() != "14155550123" || d.DestAddr.Address() != "14155550100" ||
		tlv(pdu.TagReceiptedMessageID) != "1000\x00" || tlv(pdu.TagMessageStateOption) != "\x02" || tlv(pdu.TagUserMessageReference) != "\x00\x07" {
		t.Errorf("%+v", d)
	}
	e.answer(d, data.ESME_ROK)
	e.send(pdu.NewEnquireLink(), 8)
	if r := e.next(); r.GetHeader().CommandID != data.ENQUIRE_LINK_RESP || r.GetSequenceNumber() != 8 {
		t.Errorf("%+v", r)
	}
	e.send(pdu.NewQuerySM(), 9)
	if r := e.next(); !r.IsGNack() || r.GetHeader().CommandStatus != data.ESME_RINVCMDID || r.GetSequenceNumber() != 9 {
		t.Errorf("%+v", r)
	}
	e.send(pdu.NewUnbind(), 10)
	if r := e.next(); r.GetHeader().CommandID != data.UNBIND_RESP {
		t.Errorf("%+v", r)
	}
	if _, err := pdu.Parse(e.nc); err == nil {
		t.Error("the connection outlives unbind")
	}
	stop()
	if len(messages) != 1 {
		t.Fatalf("%+v", messages)
	}
	if m := messages[0]; m.ID != "1000" || m.Account != "esme" || m.From != "14155550100" || m.To != "14155550123" ||
		m.Text != "Hello, world: £1" || m.Part != 1 || m.Parts != 1 || m.Fate != "taken" {
		t.Errorf("%+v", m)
	}
	var seen []string
	for dec := json.NewDecoder(&record); dec.More(); {
		var l Line
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, l.Direction+" "+l.Command+" "+l.Status)
		if l.Command == "submit_sm" && l.Sequence == 7 {
			if l.Source != "14155550100" || l.Destination != "14155550123" || *l.EsmClass != 0 || *l.DataCoding != 0 || *l.Reference != 7 ||
				l.ShortMessage != fmt.Sprintf("%x", "Hello, world: \x011") || l.TLVs["0x0204"] != "0007" {
				t.Errorf("%+v", l)
			}
		}
		if l.Command == "submit_sm_resp" && l.Sequence == 7 && l.MessageID != "1000" {
			t.Errorf("%+v", l)
		}
	}
	want := []string{"in bind_transceiver ESME_ROK", "out bind_transceiver_resp ESME_RINVPASWD",
		"in submit_sm ESME_ROK", "out submit_sm_resp ESME_RINVBNDSTS",
		"in bind_transceiver ESME_ROK", "out bind_transceiver_resp ESME_ROK", "in bind_transceiver ESME_ROK", "out bind_transceiver_resp ESME_RALYBND",
		"in submit_sm ESME_ROK", "out submit_sm_resp ESME_ROK", "out deliver_sm ESME_ROK", "in deliver_sm_resp ESME_ROK",
		"in enquire_link ESME_ROK", "out enquire_link_resp ESME_ROK", "in query_sm ESME_ROK", "out generic_nack ESME_RINVCMDID",
		"in unbind ESME_ROK", "out unbind_resp ESME_ROK"}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") {
		t.Errorf("recorded:\n%s", strings.Join(seen, "\n"))
	}
}

// TestRedelivery: refused, unanswered, or lost with its connection: it comes again.
func TestRedelivery(t *testing.T) {
	s, addr, _ := serve(t, Config{RedeliverAfter: 10 * time.Millisecond})
	e := dial(t, addr)
	e.bind("")
	if err := s.Inject("+14155550123", "+14155550100", "STOP"); err != nil {
		t.Fatal(err)
	}
	text := func(p pdu.PDU) string {
		b, _ := p.(*pdu.DeliverSM).Message.GetMessageData()
		return string(b)
	}
	d := e.next()
	if text(d) != "STOP" {
		t.Fatal(text(d))
	}
	e.answer(d.(*pdu.DeliverSM), data.ESME_RX_T_APPN)
	if d = e.next(); text(d) != "STOP" { // refused
		t.Fatal(text(d))
	}
	if d = e.next(); text(d) != "STOP" { // unanswered
		t.Fatal(text(d))
	}
	e.nc.Close()
	e = dial(t, addr)
	e.bind("")
	if d = e.next(); text(d) != "STOP" { // lost
		t.Fatal(text(d))
	}
	e.answer(d.(*pdu.DeliverSM), data.ESME_ROK)
}

// TestRedeliveryEnds: it does not go on for ever.
func TestRedeliveryEnds(t *testing.T) {
	s, addr, _ := serve(t, Config{RedeliverAfter: time.Millisecond, Redeliveries: 3})
	e := dial(t, addr)
	e.bind("")
	if err := s.Inject("14155550123", "14155550100", "STOP"); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		e.answer(e.next().(*pdu.DeliverSM), data.ESME_RX_T_APPN)
	}
	if err := s.Inject("14155550123", "14155550100", "HELP"); err != nil {
		t.Fatal(err)
	}
	d := e.next().(*pdu.DeliverSM)
	if b, _ := d.Message.GetMessageData(); string(b) != "HELP" {
		t.Errorf("a fifth time: %s", b)
	}
	e.answer(d, data.ESME_ROK)
}

// TestSeed: the same seed and the same submits meet the same fates; another seed other ones.
func TestSeed(t *testing.T) {
	fates := func(seed uint64) string {
		var out []string
		_, addr, stop := serve(t, Config{Seed: seed, Reject: 0.2, Throttle: 0.2, Silent: 0.2, NoReceipts: 1, OnMessage: func(m Message) { out = append(out, m.Fate) }})
		e := dial(t, addr)
		e.bind("")
		for i := range int32(100) {
			e.submit(i+1, "x")
		}
		e.send(pdu.NewUnbind(), 999)
		for e.next().GetHeader().CommandID != data.UNBIND_RESP {
		}
		stop()
		return strings.Join(out, " ")
	}
	a, b, c := fates(1), fates(1), fates(2)
	if a != b || a == c {
		t.Errorf("seed 1: %s\nagain:  %s\nseed 2: %s", a, b, c)
	}
	for _, fate := range []string{"taken", "rejected", "throttled", "silent"} {
		if n := strings.Count(a, fate); n < 5 {
			t.Errorf("%s: %d of 100", fate, n)
		}
	}
}

// TestSchedule: items come out in the order in which they are due.
func TestSchedule(t *testing.T) {
	var h schedule
	base := time.Unix(0, 0)
	for i := range 1000 {
		h.push(&item{at: base.Add(time.Duration(i * 7919 % 1000))})
	}
	for i := range 1000 {
		if it := h.pop(); it.at != base.Add(time.Duration(i)) {
			t.Fatalf("item %d is due at %v", i, it.at)
		}
	}
}

// TestAddresses: masking, and the type of number an address gets.
func TestAddresses(t *testing.T) {
	if got := mask("14155550123"); got != "1415555****" {
		t.Error(got)
	}
	if got := mask("123"); got != "***" {
		t.Error(got)
	}
	for s, want := range map[string][2]byte{"14155550123": {1, 1}, "24273": {3, 0}, "MyBank": {5, 0}, "1415555****": {1, 1}} {
		if a := address(s); a.Ton() != want[0] || a.Npi() != want[1] {
			t.Errorf("%s: %d %d", s, a.Ton(), a.Npi())
		}
	}
}
