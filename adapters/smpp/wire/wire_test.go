package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
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
				m.Source.Address() != "14155550123" || m.Source.Ton() != 1 || m.Dest.Address() != "Bank" || m.Dest.Ton() != 5 ||
				m.RegisteredDelivery != 1 || !bytes.Equal(m.Body, frame[HeaderLen:]) {
				t.Fatalf("%+v", m)
			}
			if c.id != data.DATA_SM && (m.ValidityPeriod != "261124120000000+" || m.PriorityFlag != 2) {
				t.Errorf("%+v", m)
			}
			if bytes.Contains(c.tlvs, reference) && !bytes.Equal(m.TLVs[pdu.TagUserMessageReference].Data, []byte{0x12, 0x34}) {
				t.Errorf("optional parameters: %v", m.TLVs)
			}
			// Every cut is refused, none reads past its end.
			for n := range frame {
				if _, err := Parse(frame[:n]); err == nil {
					t.Fatalf("%d of %d octets were accepted", n, len(frame))
				}
				if n >= HeaderLen {
					cut := bytes.Clone(frame[:n])
					binary.BigEndian.PutUint32(cut, uint32(n))
					if p, err := Parse(cut); err == nil && n < len(frame)-len(c.tlvs) {
						t.Fatalf("cut at %d of %d: %+v", n, len(frame), p.Message)
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
		{"enquire_link with a tail", with(data.ENQUIRE_LINK, 0, "xyz"), "", data.ESME_RINVCMDLEN},
		{"optional parameter cut short", message(data.DELIVER_SM, 0, 0, nil, 0x04, 0x24, 0, 9, 'x'), "", data.ESME_RINVOPTPARSTREAM},
		{"optional parameter of 32 KiB", message(data.DELIVER_SM, 0, 0, nil, append([]byte{0x04, 0x24, 0x80, 0}, make([]byte, 1<<15)...)...), "", data.ESME_RINVOPTPARSTREAM},
		{"text longer than its PDU", message(data.DELIVER_SM, 0, 0, []byte("x"))[:HeaderLen+20], "", data.ESME_RINVCMDLEN},
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
				if len(m.Octets) > 0 && !bytes.Contains(frame, m.Octets) {
					t.Fatal("the octets are not what came")
				}
			}
		}
	})
}
