package client

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// held is a delivery whose acknowledgement a test holds back.
type held struct {
	d   ledger.Delivery
	ack func(error)
}

type holding chan held

func (h holding) Deliver(d ledger.Delivery, ack func(error)) { h <- held{d, ack} }

// frameOf puts a header before a body.
func frameOf(id data.CommandIDType, status data.CommandStatusType, sequence int32, body string) []byte {
	b := append(wire.AppendHeader(nil, id, status, sequence), body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// from is the beginning of the body of a deliver_sm up to its destination, and what follows up to
// data_coding.
func from(to string, esm, coding byte) string {
	return "\x00\x02\x0107400123456\x00\x01\x01" + to + "\x00" + string([]byte{esm, 0, 0, 0, 0, 0, 0, coding, 0})
}

func text(octets string) string { return string(append([]byte{byte(len(octets))}, octets...)) }

func tlv(tag uint16, value string) string {
	b := binary.BigEndian.AppendUint16(nil, tag)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(value)))) + value
}

// TestRawPeer: a peer writes octets that SMPP 3.4 does not allow. Each deliver_sm and data_sm is
// answered with its own response of ESME_ROK, after the inbox has it and not before, and the bind lives.
func TestRawPeer(t *testing.T) {
	plain := from("14155550100", 0, 0)
	const data7 = "\x00\x01\x0114155550123\x00\x01\x0114155550100\x00\x00\x00\x00"
	receipt := &sms.Receipt{ID: "7", State: sms.StateDelivered, Final: true}
	cases := []struct {
		name       string
		command    data.CommandIDType
		body       string
		text       string // must be among the readings
		receipt    *sms.Receipt
		unreadable bool
		to         string
	}{
		{name: "plain", body: plain + text("STOP"), text: "STOP"},
		{name: "a NUL after the text", body: plain + text("STOP") + "\x00", text: "STOP"},
		{name: "a NUL after a receipt", body: from("14155550100", 4, 0) + text("id:7 stat:DELIVRD err:000") + "\x00", receipt: receipt},
		{name: "a NUL after a receipt, and its parameters", body: from("14155550100", 4, 0) + text("") + "\x00" + tlv(0x1e, "7\x00") + tlv(0x427, "\x02"), receipt: receipt},
		{name: "destination in Latin-1", body: from("caf\xe9", 0, 0) + text("STOP"), text: "STOP", to: `caf\xE9`},
		{name: "destination of 80 characters", body: from(strings.Repeat("5", 80), 0, 0) + text("STOP"), text: "STOP", to: wire.Text(strings.Repeat("5", 80))},
		{name: "32 kB of <", body: plain + text("") + tlv(0x424, strings.Repeat("<", 32000)), text: strings.Repeat("<", 32000)},
		{name: "parameter cut short", body: plain + text("STOP") + "\x14\x01\x00\x09abc", text: "STOP"},
		{name: "parameter of 40,000 octets that are not there", body: plain + text("STOP") + "\x14\x01\x9c\x40abc", text: "STOP"},
		{name: "parameter of 40,000 octets", body: plain + text("STOP") + tlv(0x1401, strings.Repeat("x", 40000)), text: "STOP"},
		{name: "text shorter than its length says", body: plain + "\xc8STOP", text: "STOP", unreadable: true},
		{name: "UCS-2 with a length in characters", body: from("14155550100", 0, 8) + "\x04\x00S\x00T\x00O\x00P", text: "STOP"},
		{name: "UCS-2 in a payload with a length in characters", body: from("14155550100", 0, 8) + text("") + "\x04\x24\x00\x04\x00S\x00T\x00O\x00P", text: "STOP"},
		{name: "ASCII in a payload with a length that is too short", body: plain + text("") + "\x04\x24\x00\x02STOP", text: "STOP"},
		{name: "a length that is too short, and a parameter", body: plain + "\x03STOP" + tlv(0x1401, "310260\x00"), text: "STOP"},
		{name: "UCS-2 with a length in characters, and a parameter", body: from("14155550100", 0, 8) + "\x04\x00S\x00T\x00O\x00P" + tlv(0x1401, "310260\x00"), text: "STOP"},
		{name: "UCS-2 in a payload, too short, and a parameter", body: from("14155550100", 0, 8) + text("") + "\x04\x24\x00\x04\x00S\x00T\x00O\x00P" + tlv(0x20a, "\x00\x01"), text: "STOP"},
		{name: "UTF-8 with a length that ends within a character", body: plain + "\x07СТОП", text: "СТОП"},
		{name: "UTF-8 with a length in characters, and a parameter", body: plain + "\x04СТОП" + tlv(0x1401, "310260\x00"), text: "СТОП"},
		{name: "a header of text formatting without its bit", body: plain + text("\x05\x0a\x03\x00\x04\x00STOP"), text: "STOP"},
		{name: "a header of a toolkit without its bit", body: plain + text("\x02\x70\x00STOP"), text: "STOP"},
		{name: "a header of control without its bit, in UCS-2", body: from("14155550100", 0, 8) + text("\x03\x06\x01\x00\x00S\x00T\x00O\x00P"), text: "STOP"},
		{name: "UTF-8 with a length in characters", body: plain + "\x04СТОП", text: "СТОП"},
		{name: "text and payload", body: plain + text("STOP") + tlv(0x424, "and no more of this"), text: "STOP"},
		{name: "text that cannot be read beside a payload", body: plain + text("\x01\xfe\x80\x03") + tlv(0x424, "hello you"), text: "hello you", unreadable: true},
		{name: "delivery acknowledgement with a text", body: from("14155550100", 0x08, 0) + text("STOP"), text: "STOP",
			receipt: &sms.Receipt{State: sms.StateUnknown, Intermediate: true}},
		{name: "manual acknowledgement with a text", body: from("14155550100", 0x10, 0) + text("STOP"), text: "STOP",
			receipt: &sms.Receipt{State: sms.StateUnknown, Intermediate: true}},
		{name: "ASCII under UCS-2", body: from("14155550100", 0, 8) + text("STOP"), text: "STOP"},
		{name: "odd ASCII under UCS-2", body: from("14155550100", 0, 8) + text("STOPP"), text: "STOPP"},
		{name: "receipt in ASCII under UCS-2", body: from("14155550100", 4, 8) + text("id:7 stat:DELIVRD err:000 "), receipt: receipt},
		{name: "little-endian, marked", body: from("14155550100", 0, 8) + text("\xff\xfeS\x00T\x00O\x00P\x00"), text: "STOP"},
		{name: "big-endian, marked, behind a header", body: from("14155550100", 0x40, 8) + text("\x05\x00\x03\x07\x02\x01\xfe\xff\x00S\x00T\x00O\x00P"), text: "STOP"},
		{name: "data_coding 0x0F", body: from("14155550100", 0, 0x0f) + text("STOP"), text: "STOP"},
		{name: "data_coding 0x04", body: from("14155550100", 0, 4) + text("STOP"), text: "STOP"},
		{name: "binary", body: from("14155550100", 0, 4) + text("\x01\xfe\x80\x03\x00\x7f"), unreadable: true},
		{name: "packed septets", body: plain + text("\x53\xea\x13\x0a"), text: "STOP"},
		{name: "broken header", body: from("14155550100", 0x40, 0) + text("STOP"), text: "STOP", unreadable: true},
		{name: "error code that is no text", body: from("14155550100", 4, 0) + text("id:7 stat:DELIVRD err:\xe9"),
			receipt: &sms.Receipt{ID: "7", State: sms.StateDelivered, Final: true, Error: `\xE9`}},
		{name: "no body", body: "", unreadable: true, to: "-"},
		{name: "one octet of a body", body: "\x00", unreadable: true, to: "-"},
		{name: "data_sm", command: data.DATA_SM, body: data7 + tlv(0x424, "STOP"), text: "STOP"},
		{name: "data_sm and an octet", command: data.DATA_SM, body: data7 + tlv(0x424, "STOP") + "\x01", text: "STOP"},
		{name: "the longest", body: plain + text("") + tlv(0x424, strings.Repeat("a", 1<<16-1)[:wire.MaxPDU-wire.HeaderLen-len(plain)-5]), unreadable: true},
	}
	inbox := make(holding)
	type answer struct {
		p   wire.PDU
		err error
	}
	answers := make(chan answer, 1)
	c := peerWith(t, Config{}, inbox, func(nc net.Conn, r *wire.Reader) {
		if !accept(nc, r) {
			return
		}
		next := func() {
			frame, err := r.Next()
			var p wire.PDU
			if err == nil {
				p, _ = wire.Parse(frame)
			}
			answers <- answer{p, err}
		}
		for i, x := range cases {
			if x.command == 0 {
				x.command = data.DELIVER_SM
			}
			nc.Write(frameOf(x.command, 0, int32(100+i), x.body))
			next()
		}
		nc.Write(frameOf(0x0666, 0, 90, "what is this"))
		next()
		nc.Write(frameOf(data.ENQUIRE_LINK, 0, 91, "xyz"))
		next()
		for { // what ends the client is its own unbind
			frame, err := r.Next()
			if err != nil {
				return
			}
			if p, _ := wire.Parse(frame); p.CommandID == data.UNBIND {
				nc.Write(frameOf(data.UNBIND_RESP, 0, p.SequenceNumber, "bye\x00"))
			}
		}
	})
	ctx := within(t)
	answered := func() wire.PDU {
		t.Helper()
		select {
		case a := <-answers:
			if a.err != nil {
				t.Fatal(a.err)
			}
			return a.p
		case <-ctx.Done():
			t.Fatalf("no answer; %+v", c.State())
		}
		panic("not reached")
	}
	for i, x := range cases {
		var h held
		select {
		case h = <-inbox:
		case a := <-answers:
			t.Fatalf("%s: answered with %v %v before the inbox had it, %v", x.name, wire.CommandName(a.p.CommandID), a.p.CommandStatus, a.err)
		case <-ctx.Done():
			t.Fatalf("%s: not delivered; %+v", x.name, c.State())
		}
		d := h.d
		if string(d.Raw) != x.body || x.text != "" && !slices.Contains(d.Texts, x.text) || d.Unreadable != x.unreadable || (d.Receipt == nil) != (x.receipt == nil) ||
			d.Receipt != nil && *d.Receipt != *x.receipt || d.Account != "test" {
			t.Errorf("%s: %.300q, unreadable %v, receipt %+v", x.name, d.Texts, d.Unreadable, d.Receipt)
		}
		if x.to == "" {
			x.to = "14155550100"
		}
		if d.To != strings.TrimPrefix(x.to, "-") || x.to != "-" && x.command != data.DATA_SM && (d.From != "07400123456" || d.FromTON != 2 || d.FromNPI != 1) {
			t.Errorf("%s: from %s (%d %d) to %s", x.name, d.From, d.FromTON, d.FromNPI, d.To)
		}
		select {
		case a := <-answers:
			t.Fatalf("%s: answered with %v before it is durable", x.name, a.p)
		default:
		}
		h.ack(nil)
		want := data.DELIVER_SM_RESP
		if x.command == data.DATA_SM {
			want = data.DATA_SM_RESP
		}
		if p := answered(); p.CommandID != want || p.CommandStatus != data.ESME_ROK || p.SequenceNumber != int32(100+i) {
			t.Errorf("%s: answered with %s, %s", x.name, wire.CommandName(p.CommandID), wire.StatusName(p.CommandStatus))
		}
	}
	if p := answered(); p.CommandID != data.GENERIC_NACK || p.CommandStatus != data.ESME_RINVCMDID || p.SequenceNumber != 90 {
		t.Errorf("an unknown command is answered with %+v", p)
	}
	if p := answered(); p.CommandID != data.ENQUIRE_LINK_RESP || p.SequenceNumber != 91 {
		t.Errorf("enquire_link with a tail is answered with %+v", p)
	}
	if s := c.Stats(); s.Binds != 1 || s.ConnectionsLost != 0 || s.Deliveries != uint64(len(cases)) || s.DeliveriesAcked != s.Deliveries {
		t.Errorf("%+v", s)
	}
}

// TestRawResponses: responses with octets that they should not have leave the bind alone, and a
// message that was accepted counts as accepted, whatever its id looks like.
func TestRawResponses(t *testing.T) {
	ids := []struct{ body, id string }{
		{"id-1\x00", "id-1"}, {"id-1", "id-1"}, {"id-\xe9\xff\x00", `id-\xE9\xFF`}, {strings.Repeat("\x01", 60000), wire.Text(strings.Repeat("\x01", 60000))},
		{"id-2\x00\x00\x00rubbish", "id-2"}, {strings.Repeat("9", 65) + "\x00", wire.Text(strings.Repeat("9", 65))},
	}
	links := make(chan struct{})
	c := peer(t, Config{EnquireLink: 5 * time.Millisecond, ResponseTimeout: patience}, func(nc net.Conn, r *wire.Reader) {
		if !accept(nc, r) {
			return
		}
		submits := 0
		for {
			frame, err := r.Next()
			if err != nil {
				return
			}
			switch p, _ := wire.Parse(frame); p.CommandID {
			case data.SUBMIT_SM:
				nc.Write(frameOf(data.SUBMIT_SM_RESP, 0, p.SequenceNumber, ids[submits].body))
				submits++
			case data.ENQUIRE_LINK:
				nc.Write(frameOf(data.ENQUIRE_LINK_RESP, 0, p.SequenceNumber, "\x00"))
				select {
				case links <- struct{}{}:
				default:
				}
			case data.UNBIND:
				nc.Write(frameOf(data.UNBIND_RESP, 0, p.SequenceNumber, "bye\x00"))
			}
		}
	})
	ctx := within(t)
	for !c.State().Bound {
		select {
		case <-c.Changed():
		case <-ctx.Done():
			t.Fatalf("%+v", c.State())
		}
	}
	for i, x := range ids {
		result := make(chan ledger.HandoffResult, 1)
		c.Submit(handoff(i), func(r ledger.HandoffResult) { result <- r })
		select {
		case r := <-result:
			if r.Status != ledger.HandoffTaken || r.CarrierID != x.id {
				t.Errorf("%.20q: %+v", x.body, r)
			}
			writable(t, &event.HandoffAccepted{Attempt: 1, Part: 1, CarrierID: r.CarrierID})
		case <-ctx.Done():
			t.Fatalf("%.20q: no result", x.body)
		}
	}
	for range 3 {
		select {
		case <-links:
		case <-ctx.Done():
			t.Fatal("no enquire_link")
		}
	}
	if s := c.Stats(); s.Binds != 1 || s.ConnectionsLost != 0 || s.Malformed != 0 || s.Unknown != 0 {
		t.Errorf("%+v", s)
	}
}

// sealing is a vault that seals like the real one, in size: a commitment of 32 octets, a nonce of 12 and a tag of 16.
type sealing struct{ ledger.Vault }

func (sealing) Seal(_ string, key event.ID, class ledger.Class, version event.SealVersion, id event.ID, plain []byte) (event.Sealed, error) {
	return event.Sealed{Version: version, SubjectKey: key, ClassKey: string(class) + "/2026-11", Box: append(plain, make([]byte, 60)...)}, nil
}

// writable checks that data can be written as an event, and read again.
func writable(t *testing.T, d event.Data) {
	t.Helper()
	e := &event.Event{ID: event.NewID(time.UnixMilli(1)), Source: "/0123456789ab", Subject: event.Pseudonym{1}, Time: event.Millis(time.UnixMilli(1)), Tenant: "bank", Node: "node-1", Data: d}
	b, err := event.Encode(e)
	if err != nil {
		t.Errorf("%s: %v", d.Type(), err)
		return
	}
	if _, err := event.Decode(b); err != nil {
		t.Errorf("%s: %v", d.Type(), err)
	}
}

// TestLargestEvents: whatever a PDU has, its facts fit into events, with its octets and all readings.
func TestLargestEvents(t *testing.T) {
	for _, octets := range []string{"<", "\"", "\\", "\x01", "\x7f", "a", "\xe9", "\xff", "\x00", "\x50\x5c", "\u2028", "\x20\x28", "停", "\xf0\x9f\x98\x80"} {
		for _, coding := range []byte{0, 5, 8} {
			for _, esm := range []byte{0, 0x10} {
				body := from(strings.Repeat("\xe9", 200), esm, coding) + text(strings.Repeat(octets, 250/len(octets)))
				body += tlv(0x1e, strings.Repeat("\xff", 300)) + tlv(0x424, strings.Repeat(octets, (wire.MaxPDU-wire.HeaderLen-len(body)-308)/len(octets)))
				p, err := wire.Parse(frameOf(data.DELIVER_SM, 0, 1, body))
				if err != nil {
					t.Fatal(err)
				}
				d := readDelivery(p.Message, Config{Alphabet: sms.GSM7})
				id := event.NewID(time.UnixMilli(1))
				sealed, err := ledger.Seal(sealing{}, event.MaxLevel, ledger.Stream{Key: id}, ledger.ClassEvidence, id, event.Inbound{From: d.From, Text: strings.Join(d.Texts, "\n"), Raw: d.Raw})
				if err != nil {
					t.Fatal(err)
				}
				writable(t, &event.InboundReceived{Account: "test", To: d.To, Ask: event.InboundNone, Sealed: sealed})
				if r := d.Receipt; r != nil {
					writable(t, &event.ReceiptReceived{Account: "test", CarrierID: r.ID, State: event.MessageState(r.State.String()), Error: r.Error, Sealed: sealed})
				}
				if n := base64.StdEncoding.EncodedLen(len(sealed.Box)); n < 100<<10 {
					t.Errorf("%q: only %d octets are sealed", octets, n)
				}
			}
		}
	}
}

// A delivery that the inbox refuses is answered with ESME_RX_T_APPN and logged, and the bind lives.
func TestRefusedDeliveryIsLogged(t *testing.T) {
	s := newTestSession(Config{Deliveries: 4, Window: 10, Binds: 1})
	s.phase = bound
	p, _ := wire.Parse(frameOf(data.DELIVER_SM, 0, 5, from("14155550100", 0, 0)+text("STOP")))
	refusals := 0
	for i := range 4 {
		s.receive(p, nil, epoch)
		s.acked(s.nextAck, errors.New("the disk is full"), epoch.Add(time.Duration(i)*refusalEvery/2))
		for _, n := range s.take().notes {
			if n.warn && slices.Contains(n.args, any("cause")) {
				refusals++
			}
		}
	}
	if refusals != 2 || s.phase != bound || bytes.Count(s.pdus, []byte{0x80, 0, 0, 5, 0, 0, 0, 0x64}) != 4 {
		t.Errorf("%d lines, phase %v, %x", refusals, s.phase, s.pdus)
	}
}
