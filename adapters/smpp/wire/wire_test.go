package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"
)

// message is a submit_sm, deliver_sm or data_sm put together by hand from the
// field tables of SMPP 3.4 §4.4.1, §4.6.1 and §4.7.1.
func message(id data.CommandIDType, esm, coding byte, octets []byte, tlvs ...byte) []byte {
	b := []byte("\x00\x01\x0114155550123\x00\x05\x00Bank\x00")
	if id == data.DATA_SM {
		b = append(b, esm, 1, coding)
	} else {
		b = append(b, esm, 0, 2)
		b = append(b, "\x00261124120000000+\x00"...)
		b = append(b, 1, 0, coding, 0, byte(len(octets)))
		b = append(b, octets...)
	}
	b = append(b, tlvs...)
	h := AppendHeader(nil, id, 0, 5)
	binary.BigEndian.PutUint32(h, uint32(HeaderLen+len(b)))
	return append(h, b...)
}

func TestParseMessage(t *testing.T) {
	udh := []byte("\x05\x00\x03\x07\x02\x01part one")
	reference := []byte{0x02, 0x04, 0, 2, 0x12, 0x34}
	payload := append([]byte{0x04, 0x24, 0, 5}, "hello"...)
	cases := []struct {
		name        string
		id          data.CommandIDType
		esm, coding byte
		octets      []byte
		tlvs        []byte
		want        string
	}{
		{"plain", data.SUBMIT_SM, 0, 0, []byte("hello"), reference, "hello"},
		{"user data header kept", data.DELIVER_SM, 0x40, 8, udh, nil, string(udh)},
		{"broken user data header kept", data.DELIVER_SM, 0x40, 0, []byte("STOP"), nil, "STOP"},
		{"user data header of length 0", data.DELIVER_SM, 0x40, 0, []byte("\x00STOP"), nil, "\x00STOP"},
		{"data_coding that the codec does not know", data.DELIVER_SM, 0, 0xF1, []byte("hi"), nil, "hi"},
		{"message_payload", data.DELIVER_SM, 0, 0, nil, payload, "hello"},
		{"message_payload in data_sm", data.DATA_SM, 0x04, 3, nil, append(payload, reference...), "hello"},
		{"255 octets", data.SUBMIT_SM, 0, 4, bytes.Repeat([]byte{7}, 255), nil, strings.Repeat("\a", 255)},
		{"empty", data.DELIVER_SM, 0, 0, nil, nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			frame := message(c.id, c.esm, c.coding, c.octets, c.tlvs...)
			p, err := Parse(frame)
			if err != nil {
				t.Fatal(err)
			}
			m := p.Message
			if p.CommandID != c.id || p.SequenceNumber != 5 || m.EsmClass != c.esm || m.DataCoding != c.coding || string(m.Octets) != c.want ||
				m.Source != (Address{1, 1, "14155550123"}) || m.Dest != (Address{5, 0, "Bank"}) || m.Cut || len(m.Others) > 0 ||
				m.RegisteredDelivery != 1 || !bytes.Equal(m.Body, frame[HeaderLen:]) {
				t.Fatalf("%+v", m)
			}
			if c.id != data.DATA_SM && (m.ValidityPeriod != "261124120000000+" || m.PriorityFlag != 2) {
				t.Errorf("%+v", m)
			}
			if bytes.Contains(c.tlvs, reference) && !bytes.Equal(m.TLVs[pdu.TagUserMessageReference].Data, []byte{0x12, 0x34}) {
				t.Errorf("optional parameters: %v", m.TLVs)
			}
			// Every cut of the text is seen, none reads past its end, and what is there is kept.
			for n := range frame {
				if _, err := Parse(frame[:n]); err == nil {
					t.Fatalf("%d of %d octets were accepted", n, len(frame))
				}
				if n >= HeaderLen {
					cut := bytes.Clone(frame[:n])
					binary.BigEndian.PutUint32(cut, uint32(n))
					p, err := Parse(cut)
					if err != nil || !p.Message.Cut && n < len(frame)-len(c.tlvs) || !strings.HasPrefix(c.want, string(p.Message.Octets)) {
						t.Fatalf("cut at %d of %d: %+v, %v", n, len(frame), p.Message, err)
					}
				}
			}
		})
	}
}

func TestParseResponses(t *testing.T) {
	with := func(id data.CommandIDType, status data.CommandStatusType, body string) []byte {
		b := append(AppendHeader(nil, id, status, 9), body...)
		binary.BigEndian.PutUint32(b, uint32(len(b)))
		return b
	}
	cases := []struct {
		name  string
		frame []byte
		id    string
		bad   data.CommandStatusType
	}{
		{"submit_sm_resp", with(data.SUBMIT_SM_RESP, 0, "abc123\x00"), "abc123", 0},
		{"id without its NUL", with(data.SUBMIT_SM_RESP, 0, "abc123"), "abc123", 0},
		{"error without a body", with(data.SUBMIT_SM_RESP, data.ESME_RTHROTTLED, ""), "", 0},
		{"deliver_sm_resp without a body", with(data.DELIVER_SM_RESP, 0, ""), "", 0},
		{"bind error without a body", with(data.BIND_TRANSCEIVER_RESP, data.ESME_RINVPASWD, ""), "", 0},
		{"bind with an interface version", with(data.BIND_TRANSCEIVER_RESP, 0, "smsc\x00\x02\x10\x00\x01\x34"), "", 0},
		{"generic_nack", with(data.GENERIC_NACK, data.ESME_RINVCMDID, ""), "", 0},
		{"unknown command", with(0x0666, 0, ""), "", data.ESME_RINVCMDID},
		{"unknown response", with(-0x7ffff000, 0, ""), "", data.ESME_RINVCMDID},
		{"enquire_link with a tail", with(data.ENQUIRE_LINK, 0, "xyz"), "", 0},
		{"enquire_link_resp with a tail", with(data.ENQUIRE_LINK_RESP, 0, "\x00"), "", 0},
		{"unbind_resp with a tail", with(data.UNBIND_RESP, 0, "bye\x00"), "", 0},
		{"generic_nack with a tail", with(data.GENERIC_NACK, data.ESME_RINVCMDID, "why"), "", 0},
		{"bind response with rubbish", with(data.BIND_TRANSCEIVER_RESP, 0, "\xff\xff\xff"), "", 0},
		{"octets after the id", with(data.SUBMIT_SM_RESP, 0, "abc123\x00\x04\x27\x00"), "abc123", 0},
		{"id that is not ASCII", with(data.SUBMIT_SM_RESP, 0, "id-\xe9\xff\x00"), `id-\xE9\xFF`, 0},
		{"id of 60,000 octets", with(data.SUBMIT_SM_RESP, 0, strings.Repeat("\x01", 60000)), strings.Repeat(`\x01`, 6) + "~sha256:ffb240dcc910eace6c9f7fafe7828803", 0},
		{"header alone", []byte{0, 0, 0, 16}, "", data.ESME_RINVCMDLEN},
	}
	for _, c := range cases {
		p, err := Parse(c.frame)
		var m *Malformed
		switch {
		case c.bad == 0 && (err != nil || p.MessageID != c.id || p.SequenceNumber != 9):
			t.Errorf("%s: %+v, %v", c.name, p, err)
		case c.bad != 0 && (!errors.As(err, &m) || m.Status != c.bad):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestAppend: what is written by hand here is what the codec reads.
func TestAppend(t *testing.T) {
	for _, b := range [][]byte{
		AppendHeader(nil, data.ENQUIRE_LINK, 0, 7), AppendHeader(nil, data.UNBIND_RESP, 0, 7),
		AppendHeader(nil, data.GENERIC_NACK, data.ESME_RINVCMDID, 7),
		AppendResponse(nil, data.SUBMIT_SM, 0, 7, "id"), AppendResponse(nil, data.DELIVER_SM, data.ESME_RX_T_APPN, 7, ""),
		AppendResponse(nil, data.DATA_SM, 0, 7, ""),
	} {
		p, err := pdu.Parse(bytes.NewReader(b))
		if err != nil || p.GetSequenceNumber() != 7 {
			t.Fatalf("%x: %v", b, err)
		}
		if again := Append(nil, p); !bytes.Equal(again, b) {
			t.Errorf("%x is %x in the codec's hand", b, again)
		}
	}
	r, _ := pdu.Parse(bytes.NewReader(AppendResponse([]byte{}, data.SUBMIT_SM, 0, 7, "id")))
	if r.(*pdu.SubmitSMResp).MessageID != "id" {
		t.Error("message_id is lost")
	}
}

func TestReader(t *testing.T) {
	var stream []byte
	var want []int
	for _, n := range []int{0, 1, 200, 5000, MaxPDU - HeaderLen} {
		f := append(AppendHeader(nil, data.DELIVER_SM, 0, int32(n)), make([]byte, n)...)
		binary.BigEndian.PutUint32(f, uint32(len(f)))
		stream = append(stream, f...)
		want = append(want, len(f))
	}
	for name, src := range map[string]io.Reader{"at once": bytes.NewReader(stream), "octet by octet": iotest.OneByteReader(bytes.NewReader(stream))} {
		r := NewReader(src)
		for i, n := range want {
			f, err := r.Next()
			if err != nil || len(f) != n || int(binary.BigEndian.Uint32(f)) != n {
				t.Fatalf("%s: PDU %d has %d octets, %v", name, i, len(f), err)
			}
			if name == "at once" && i < 3 && r.Buffered() != (i < 3) {
				t.Errorf("after PDU %d: buffered %v", i, r.Buffered())
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
	for _, n := range []uint32{0, 15, MaxPDU + 1, 1 << 31, 1<<32 - 1} {
		b := AppendHeader(nil, data.DELIVER_SM, 0, 3)
		binary.BigEndian.PutUint32(b, n)
		f, err := NewReader(bytes.NewReader(b)).Next()
		if !errors.Is(err, ErrLength) || len(f) != HeaderLen {
			t.Errorf("command_length %d: %v", n, err)
		}
	}
	if _, err := NewReader(bytes.NewReader(stream[16:32])).Next(); err == nil {
		t.Error("a PDU that ends with its connection was accepted")
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		CommandName(data.SUBMIT_SM_RESP): "submit_sm_resp", CommandName(data.GENERIC_NACK): "generic_nack", CommandName(0x666): "0x00000666",
		StatusName(data.ESME_RTHROTTLED): "ESME_RTHROTTLED", StatusName(0x401): "0x00000401", StatusCode(data.ESME_RTHROTTLED): "0x00000058",
	} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// FuzzParse: whatever comes, framing and decoding end, do not panic, and say
// either what it was or which status answers it.
func FuzzParse(f *testing.F) {
	f.Add(message(data.DELIVER_SM, 0x44, 0, []byte("id:1 stat:DELIVRD"), 0x00, 0x1e, 0, 2, '1', 0))
	f.Add(message(data.DATA_SM, 0x40, 8, nil, 0x04, 0x24, 0, 2, 5, 0))
	f.Add(append(AppendResponse(nil, data.SUBMIT_SM, 0, 1, "id"), AppendHeader(nil, data.ENQUIRE_LINK, 0, 2)...))
	bind := pdu.NewBindRequest(pdu.Transceiver)
	bind.SystemID = "esme"
	f.Add(Append(nil, bind))
	f.Add(Append(nil, pdu.NewSubmitMulti()))
	multi, _ := hex.DecodeString("00000024000000210000000000000001000000000201010034000200000000000000000000000000")
	f.Add(multi)
	for id := range data.CommandIDType(0x22) {
		f.Add(AppendHeader(nil, id, 0, 1))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream))
		for {
			frame, err := r.Next()
			if err != nil {
				return
			}
			before := bytes.Clone(frame)
			p, err := Parse(frame)
			if !bytes.Equal(before, frame) {
				t.Fatal("the frame was changed")
			}
			if err != nil {
				var m *Malformed
				if !errors.As(err, &m) || m.Status == data.ESME_ROK {
					t.Fatalf("no status for %v", err)
				}
				continue
			}
			if m := p.Message; m != nil {
				if !bytes.Equal(m.Body, frame[HeaderLen:]) {
					t.Fatal("the body is not what came")
				}
				for _, octets := range m.Others {
					if len(octets) > len(frame) {
						t.Fatal("more octets than came")
					}
				}
				if len(m.Octets) > 0 && !bytes.Contains(frame, m.Octets) {
					t.Fatal("the octets are not what came")
				}
			}
		}
	})
}

// TestParseOddMessages: what carriers write that SMPP 3.4 does not allow is read as far as it goes.
func TestParseOddMessages(t *testing.T) {
	stop, id := []byte("STOP"), []byte{0, 0x1e, 0, 2, '7', 0}
	payload := func(text string) []byte {
		return append([]byte{0x04, 0x24, byte(len(text) >> 8), byte(len(text))}, text...)
	}
	whole := message(data.DELIVER_SM, 0, 0, stop)
	with := func(frame []byte, change func([]byte) []byte) []byte {
		b := change(bytes.Clone(frame))
		binary.BigEndian.PutUint32(b, uint32(len(b)))
		return b
	}
	replace := func(old, new string) []byte {
		return with(whole, func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) })
	}
	usual := [2]Address{{1, 1, "14155550123"}, {5, 0, "Bank"}}
	for _, c := range []struct {
		name      string
		frame     []byte
		want      string
		others    []string
		addresses [2]Address
		id        string // receipted_message_id
		cut       bool
	}{
		{"a NUL after the text", message(data.DELIVER_SM, 0, 0, stop, 0), "STOP", nil, usual, "", false},
		{"NULs after the text", message(data.DELIVER_SM, 0, 0, stop, 0, 0, 0, 0, 0, 0, 0), "STOP", nil, usual, "", false},
		{"a NUL after the text, then parameters", message(data.DELIVER_SM, 0, 0, stop, append([]byte{0}, id...)...), "STOP", nil, usual, "7\x00", false},
		{"a parameter cut short", message(data.DELIVER_SM, 0, 0, stop, append(bytes.Clone(id), 0, 0x1d, 0, 9, 'x')...), "STOP", nil, usual, "7\x00", false},
		{"an id cut short", message(data.DELIVER_SM, 0, 0, stop, 0, 0x1e, 0, 9, '7', 0), "STOP", nil, usual, "", false},
		{"a parameter of 40,000 octets", message(data.DELIVER_SM, 0, 0, stop, append([]byte{0x14, 0x01, 0x9c, 0x40}, make([]byte, 40000)...)...), "STOP", nil, usual, "", false},
		{"message_payload of 40,000 octets", message(data.DELIVER_SM, 0, 0, nil, payload(strings.Repeat("<", 40000))...), strings.Repeat("<", 40000), nil, usual, "", false},
		{"message_payload cut short", message(data.DELIVER_SM, 0, 0, nil, 0x04, 0x24, 0, 9, 'S', 'T', 'O', 'P'), "STOP", nil, usual, "", true},
		{"no text, and a parameter cut short", message(data.DELIVER_SM, 0, 0, nil, 0, 0x1e, 0, 9, '7'), "", nil, usual, "", true},
		{"two texts", message(data.DELIVER_SM, 0, 0, stop, payload("STOP all")...), "STOP all", []string{"STOP"}, usual, "", false},
		{"two texts, the first longer", message(data.DELIVER_SM, 0, 0, []byte("STOP all"), payload("STOP")...), "STOP all", []string{"STOP"}, usual, "", false},
		{"the same text twice", message(data.DELIVER_SM, 0, 0, stop, payload("STOP")...), "STOP", nil, usual, "", false},
		{"two payloads", message(data.DELIVER_SM, 0, 0, nil, append(payload("hello"), payload("STOP")...)...), "hello", nil, usual, "", true},
		{"a text longer than its length says", message(data.DELIVER_SM, 0, 0, []byte("STO"), 'P'), "STO", []string{"STOP"}, usual, "", true},
		{"a text of length 0", message(data.DELIVER_SM, 0, 0, nil, stop...), "", []string{"STOP"}, usual, "", true},
		{"a text shorter than its length says", with(whole, func(b []byte) []byte { b[len(b)-5] = 200; return b }), "STOP", nil, usual, "", true},
		{"address longer than SMPP allows", replace("Bank", strings.Repeat("Bank", 20)), "STOP", nil, [2]Address{usual[0], {5, 0, strings.Repeat("Bank", 20)}}, "", false},
		{"address in Latin-1", replace("Bank", "Caf\xe9"), "STOP", nil, [2]Address{usual[0], {5, 0, "Caf\xe9"}}, "", false},
		{"address without its NUL", replace("123\x00\x05", "123\x05"), "STOP", nil, usual, "", false},
		{"no octet of a body", AppendHeader(nil, data.DELIVER_SM, 0, 5), "", nil, [2]Address{}, "", true},
		{"data_sm with two octets of a parameter", message(data.DATA_SM, 0, 0, nil, append(payload("STOP"), 0, 1)...), "STOP", nil, usual, "", false},
	} {
		if c.name == "no octet of a body" {
			binary.BigEndian.PutUint32(c.frame, HeaderLen)
		}
		p, err := Parse(c.frame)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		m := p.Message
		var others []string
		for _, o := range m.Others {
			others = append(others, string(o))
		}
		if string(m.Octets) != c.want || !slices.Equal(others, c.others) || m.Source != c.addresses[0] || m.Dest != c.addresses[1] || m.Cut != c.cut ||
			string(m.TLVs[pdu.TagReceiptedMessageID].Data) != c.id || !bytes.Equal(m.Body, c.frame[HeaderLen:]) {
			t.Errorf("%s: %+v", c.name, m)
		}
	}
}

// Of an address that is too long, the number that may be in it is kept.
func TestSource(t *testing.T) {
	for _, c := range []struct{ octets, want string }{
		{"14155550123", "14155550123"},
		{"caf\xe9", `caf\xE9`},
		{strings.Repeat("5", 64), strings.Repeat("5", 64)},
		{"14155550123@" + strings.Repeat("x", 60), ":14155550123"},
		{strings.Repeat("9", 64) + "\xe9", ":" + strings.Repeat("9", 24)},
		{strings.Repeat("0", 80) + "14155550123", ":000000000000014155550123"},
		{strings.Repeat(" ", 200) + "14155550123", ":14155550123"},
		{strings.Repeat("x", 65), ":"},
	} {
		got := Source(c.octets)
		if c.want[0] == ':' {
			if got != digest(c.octets)+c.want || len(got) > maxText {
				t.Errorf("%d octets: %s", len(c.octets), got)
			}
		} else if got != c.want {
			t.Errorf("%q: %q", c.octets, got)
		}
	}
}

func TestText(t *testing.T) {
	for octets, want := range map[string]string{
		"": "", "abc 12~": "abc 12~", "id-\xe9\xff": `id-\xE9\xFF`, "a\tb": `a\x09b`, "né": `n\xC3\xA9`, `a\b`: `a\b`,
		strings.Repeat("x", 64): strings.Repeat("x", 64), strings.Repeat("\x01", 16): strings.Repeat(`\x01`, 16),
		// printf %065d 0 | tr 0 x | sha256sum
		strings.Repeat("x", 65):    strings.Repeat("x", 24) + "~sha256:9537c5fdf120482f7d58d25e9ed583f5",
		strings.Repeat("\x01", 17): strings.Repeat(`\x01`, 6) + "~sha256:ff5a51a65ed0412e35a105b0c9d745e3",
	} {
		if got := Text(octets); got != want || len(got) > maxText {
			t.Errorf("%q is %s, want %s", octets, got, want)
		}
	}
}
