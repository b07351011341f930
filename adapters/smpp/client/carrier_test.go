package client

import (
	"slices"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// TestSubmitSM is every field of a submit_sm, read back.
func TestSubmitSM(t *testing.T) {
	h := ledger.Handoff{
		Reference: 0xBEEF, To: "+14155550123", Priority: 9,
		Segment:    sms.Segment{Encoding: sms.UCS2, DataCoding: 8, UDH: true, Octets: []byte("\x05\x00\x03\x01\x02\x01\x00a")},
		ValidUntil: time.Date(2026, 11, 24, 23, 30, 5, 0, time.FixedZone("", -3600)),
	}
	for from, want := range map[sms.Sender]struct {
		address  string
		ton, npi byte
	}{
		"+14155550100": {"14155550100", 1, 1}, "24273": {"24273", 3, 0}, "MyBank": {"MyBank", 5, 0},
	} {
		h.From = from
		octets, err := submitSM(h, Config{})
		if err != nil {
			t.Fatal(err)
		}
		putSequence(octets, 77)
		p, err := wire.Parse(octets)
		if err != nil {
			t.Fatal(err)
		}
		m := p.Message
		if p.CommandID != data.SUBMIT_SM || p.SequenceNumber != 77 ||
			m.Source != (wire.Address{TON: want.ton, NPI: want.npi, Octets: want.address}) ||
			m.Dest != (wire.Address{TON: 1, NPI: 1, Octets: "14155550123"}) ||
			m.EsmClass != 0x40 || m.PriorityFlag != 3 || m.RegisteredDelivery != 1 || m.DataCoding != 8 ||
			m.ValidityPeriod != "261125003005000+" || string(m.Octets) != string(h.Segment.Octets) ||
			string(m.TLVs[pdu.TagUserMessageReference].Data) != "\xbe\xef" {
			t.Errorf("%s: %+v", from, m)
		}
	}
	h.ValidUntil, h.Segment.UDH, h.Priority = time.Time{}, false, -1
	octets, _ := submitSM(h, Config{})
	if p, err := wire.Parse(octets); err != nil || p.Message.ValidityPeriod != "" || p.Message.EsmClass != 0 || p.Message.PriorityFlag != 0 {
		t.Errorf("%+v, %v", p.Message, err)
	}
	h.Segment.Octets = make([]byte, 255)
	if _, err := submitSM(h, Config{}); err == nil {
		t.Error("255 octets were taken")
	}
}

func TestReadDelivery(t *testing.T) {
	const text = "id:0000000042 sub:001 dlvrd:001 submit date:2611241200 done date:2611241201 stat:DELIVRD err:000 text:Your code"
	tlvs := func(pairs ...any) map[pdu.Tag]pdu.Field {
		m := map[pdu.Tag]pdu.Field{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(pdu.Tag)] = pdu.Field{Tag: pairs[i].(pdu.Tag), Data: []byte(pairs[i+1].(string))}
		}
		return m
	}
	type want struct {
		receipt *sms.Receipt // Submitted and Done are not compared
		ref     uint16
		text    string
		others  []string // readings that must be among them
		concat  *sms.Concat
		damaged bool
	}
	delivered := &sms.Receipt{ID: "0000000042", State: sms.StateDelivered, Final: true}
	cases := []struct {
		name string
		cfg  Config
		m    wire.Message
		want want
	}{
		{"receipt as text", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte(text)}, want{receipt: delivered}},
		{"receipt in UCS-2", Config{}, wire.Message{EsmClass: 0x04, DataCoding: 8, Octets: []byte("\x00i\x00d\x00:\x004\x00 \x00s\x00t\x00a\x00t\x00:\x00D\x00E\x00L\x00I\x00V\x00R\x00D")},
			want{receipt: &sms.Receipt{ID: "4", State: sms.StateDelivered, Final: true}}},
		{"optional parameters win over text", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte(text), TLVs: tlvs(
			pdu.TagReceiptedMessageID, "2a\x00", pdu.TagMessageStateOption, "\x05", pdu.TagNetworkErrorCode, "\x03\x00\x1b", pdu.TagUserMessageReference, "\x12\x34")},
			want{receipt: &sms.Receipt{ID: "2a", TextID: "0000000042", State: sms.StateUndeliverable, Final: true, Error: "27"}, ref: 0x1234}},
		{"one id in both places", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte(text), TLVs: tlvs(pdu.TagReceiptedMessageID, "0000000042\x00")}, want{receipt: delivered}},
		{"an id in the text alone", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte(text), TLVs: tlvs(pdu.TagReceiptedMessageID, "\x00")}, want{receipt: delivered}},
		{"two ids that are not ASCII", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:a\xe9 stat:DELIVRD"), TLVs: tlvs(pdu.TagReceiptedMessageID, "b\xff")},
			want{receipt: &sms.Receipt{ID: `b\xFF`, TextID: `a\xE9`, State: sms.StateDelivered, Final: true}}},
		{"an error code in letters", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0000000042 stat:UNDELIV err:ABSENT")},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateUndeliverable, Final: true, Error: "ABSENT"}}},
		{"an error code in hexadecimal", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0000000042 stat:UNDELIV err:0x22")},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateUndeliverable, Final: true, Error: "0x22"}}},
		{"an error code that is too long", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0000000042 stat:UNDELIV err:034"), TLVs: tlvs(pdu.TagNetworkErrorCode, "\x03\x00\x00\x1b")},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateUndeliverable, Final: true, Error: "034"}}},
		{"an error code of three octets beside one in the text", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0000000042 stat:UNDELIV err:034"), TLVs: tlvs(pdu.TagNetworkErrorCode, "\x03\x01\x00")},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateUndeliverable, Final: true, Error: "256"}}},
		{"an error code with an octet that is no digit", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0000000042 stat:UNDELIV"), TLVs: tlvs(pdu.TagNetworkErrorCode, "\x0327")},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateUndeliverable, Final: true, Error: "12855"}}},
		{"no error in either place", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte(text), TLVs: tlvs(pdu.TagNetworkErrorCode, "000")}, want{receipt: delivered}},
		{"broken dates", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0000000042 submit date:2611241200123+00 done date:2611241201\xe90000000000 stat:DELIVRD err:000")}, want{receipt: delivered}},
		{"optional parameters alone", Config{}, wire.Message{EsmClass: 0x04, TLVs: tlvs(pdu.TagReceiptedMessageID, "2a", pdu.TagMessageStateOption, "\x02", pdu.TagNetworkErrorCode, "034")},
			want{receipt: &sms.Receipt{ID: "2a", State: sms.StateDelivered, Final: true, Error: "034"}}},
		{"a state that does not exist", Config{}, wire.Message{EsmClass: 0x04, TLVs: tlvs(pdu.TagReceiptedMessageID, "2a", pdu.TagMessageStateOption, "\x63")},
			want{receipt: &sms.Receipt{ID: "2a", State: sms.StateUnknown, Final: sms.StateUnknown.Final()}}},
		{"a receipt that says nothing", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("STOP")}, want{receipt: &sms.Receipt{State: sms.StateUnknown, Final: sms.StateUnknown.Final()}, text: "STOP"}},
		{"receipt with messaging mode and reply path", Config{}, wire.Message{EsmClass: 0x87, Octets: []byte(text)}, want{receipt: delivered}},
		{"intermediate notification", Config{}, wire.Message{EsmClass: 0x20, Octets: []byte(text)},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateDelivered, Intermediate: true}}},
		{"delivery acknowledgement", Config{}, wire.Message{EsmClass: 0x08, Octets: []byte(text)},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateDelivered, Intermediate: true}}},
		{"manual acknowledgement typed by a person", Config{}, wire.Message{EsmClass: 0x10, Octets: []byte("STOP")},
			want{receipt: &sms.Receipt{State: sms.StateUnknown, Intermediate: true}, text: "STOP"}},
		{"delivery acknowledgement typed by a person", Config{}, wire.Message{EsmClass: 0x08, DataCoding: 8, Octets: []byte("\xff\xfeS\x00T\x00O\x00P\x00"), TLVs: tlvs(pdu.TagReceiptedMessageID, "2a\x00")},
			want{receipt: &sms.Receipt{ID: "2a", State: sms.StateUnknown, Intermediate: true}, text: "STOP"}},
		{"manual acknowledgement with an id", Config{}, wire.Message{EsmClass: 0x10, Octets: []byte("STOP id:5")},
			want{receipt: &sms.Receipt{ID: "5", State: sms.StateUnknown, Intermediate: true}, text: "STOP id:5"}},
		{"delivery acknowledgement with a person's words", Config{}, wire.Message{EsmClass: 0x08, Octets: []byte("please stop, my id: 123")},
			want{receipt: &sms.Receipt{ID: "123", State: sms.StateUnknown, Intermediate: true}, text: "please stop, my id: 123"}},
		{"a receipt under a person's label, and the person's words", Config{}, wire.Message{EsmClass: 0x10, Octets: []byte(text + "\nSTOP")},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateDelivered, Intermediate: true}, text: "STOP"}},
		{"the words in the other field", Config{}, wire.Message{EsmClass: 0x10, Octets: []byte(text), Others: [][]byte{[]byte("STOP")}},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateDelivered, Intermediate: true}, text: "STOP"}},
		{"the words before the receipt", Config{}, wire.Message{EsmClass: 0x08, Octets: []byte("STOP " + text)},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateDelivered, Intermediate: true}, text: "STOP"}},
		{"UCS-2 with a length in characters", Config{}, wire.Message{DataCoding: 8, Octets: []byte("\x00S\x00T"), Longer: [][]byte{[]byte("\x00S\x00T\x00O\x00P")}},
			want{others: []string{"STOP"}}},
		{"a header without its bit, in UCS-2", Config{}, wire.Message{DataCoding: 8, Octets: []byte("\x05\x00\x03\x21\x01\x01\x00S\x00T\x00O\x00P")}, want{others: []string{"STOP"}}},
		{"a header of a part without its bit", Config{}, wire.Message{Octets: []byte("\x05\x00\x03\x21\x02\x01STO")}, want{others: []string{"STO"}, concat: &sms.Concat{Reference: 0x21, Part: 1, Parts: 2}}},
		{"a header of ports without its bit", Config{}, wire.Message{Octets: []byte("\x06\x05\x04\x12\x34\x00\x00STOP")}, want{others: []string{"STOP"}}},
		{"a text with an id, where receipts are sniffed", Config{SniffReceipts: true}, wire.Message{Octets: []byte("STOP id:5")}, want{text: "STOP id:5"}},
		{"a sniffed receipt of a state that is not known", Config{SniffReceipts: true}, wire.Message{Octets: []byte("id:5 stat:UNKNOWN")},
			want{receipt: &sms.Receipt{ID: "5", State: sms.StateUnknown}}},
		{"manual acknowledgement that cannot be read", Config{}, wire.Message{EsmClass: 0x10, DataCoding: 4, Octets: []byte("\x01\x82\x03")},
			want{receipt: &sms.Receipt{State: sms.StateUnknown, Intermediate: true}, damaged: true}},
		{"manual acknowledgement without a text", Config{}, wire.Message{EsmClass: 0x10}, want{receipt: &sms.Receipt{State: sms.StateUnknown, Intermediate: true}}},
		{"an id with _ in GSM 03.38", Config{Alphabet: sms.GSM7}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0a\x119\x02 stat:DELIVRD err:000 text:")},
			want{receipt: &sms.Receipt{ID: "0a_9$", State: sms.StateDelivered, Final: true}}},
		{"an id with _ in ASCII", Config{Alphabet: sms.GSM7}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0a_9$ stat:DELIVRD err:000 text:")},
			want{receipt: &sms.Receipt{ID: "0a_9$", State: sms.StateDelivered, Final: true}}},
		{"an id with a control character that GSM 03.38 has no receipt for", Config{Alphabet: sms.Latin1}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0a\x019 stat:DELIVRD err:000 text:")},
			want{receipt: &sms.Receipt{ID: `0a\x019`, State: sms.StateDelivered, Final: true}}},
		{"receipt in ASCII that says UCS-2", Config{}, wire.Message{EsmClass: 0x04, DataCoding: 8, Octets: []byte("id:0000000042 stat:DELIVRD err:000 text:")}, want{receipt: delivered}},
		{"error code that is not ASCII", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:0000000042 stat:DELIVRD err:\xe9")},
			want{receipt: &sms.Receipt{ID: "0000000042", State: sms.StateDelivered, Final: true, Error: `\xE9`}}},
		{"id that is not ASCII", Config{}, wire.Message{EsmClass: 0x04, Octets: []byte("id:id-\xe9\xff stat:DELIVRD")}, want{receipt: &sms.Receipt{ID: `id-\xE9\xFF`, State: sms.StateDelivered, Final: true}}},
		{"id that is not ASCII, in its parameter", Config{}, wire.Message{EsmClass: 0x04, TLVs: tlvs(pdu.TagReceiptedMessageID, "id-\xe9\xff\x00", pdu.TagMessageStateOption, "\x02")},
			want{receipt: &sms.Receipt{ID: `id-\xE9\xFF`, State: sms.StateDelivered, Final: true}}},
		{"a handset's receipt text is a message", Config{}, wire.Message{Octets: []byte("id:7 stat:DELIVRD")}, want{text: "id:7 stat:DELIVRD"}},
		{"unless the connector sniffs", Config{SniffReceipts: true}, wire.Message{Octets: []byte(text)}, want{receipt: delivered}},
		{"sniffing leaves messages alone", Config{SniffReceipts: true}, wire.Message{Octets: []byte("STOP")}, want{text: "STOP"}},
		{"GSM 03.38", Config{}, wire.Message{Octets: []byte("\x00 \x1be")}, want{text: "@ €"}},
		{"Latin-1 as the default alphabet", Config{Alphabet: sms.Latin1}, wire.Message{Octets: []byte("caf\xe9@")}, want{text: "café@"}},
		{"UCS-2", Config{}, wire.Message{DataCoding: 8, Octets: []byte("\x50\x5c\x6b\x62")}, want{text: "停止"}},
		{"8-bit reference", Config{}, wire.Message{EsmClass: 0x40, Octets: []byte("\x05\x00\x03\x07\x02\x01STO")}, want{text: "STO", concat: &sms.Concat{Reference: 7, Part: 1, Parts: 2}}},
		{"16-bit reference", Config{}, wire.Message{EsmClass: 0x40, Octets: []byte("\x06\x08\x04\x01\x07\x02\x02P")}, want{text: "P", concat: &sms.Concat{Reference: 0x107, Part: 2, Parts: 2}}},
		{"SAR", Config{}, wire.Message{Octets: []byte("STO"), TLVs: tlvs(pdu.TagSarMsgRefNum, "\x01\x07", pdu.TagSarTotalSegments, "\x02", pdu.TagSarSegmentSeqnum, "\x01")},
			want{text: "STO", concat: &sms.Concat{Reference: 0x107, Part: 1, Parts: 2}}},
		{"SAR that contradicts itself", Config{}, wire.Message{Octets: []byte("STO"), TLVs: tlvs(pdu.TagSarMsgRefNum, "\x01\x07", pdu.TagSarTotalSegments, "\x02", pdu.TagSarSegmentSeqnum, "\x03")}, want{text: "STO"}},
		{"broken user data header", Config{}, wire.Message{EsmClass: 0x40, Octets: []byte("STOP")}, want{text: "STOP", damaged: true}},
		{"binary", Config{}, wire.Message{DataCoding: 4, Octets: []byte{1, 2}}, want{text: "Ă", damaged: true}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.m.Source, c.m.Dest, c.m.Body = wire.Address{TON: 2, NPI: 8, Octets: "14155550123"}, wire.Address{TON: 3, NPI: 9, Octets: "caf\xe9"}, []byte("raw")
			d := readDelivery(&c.m, c.cfg)
			if d.From != "14155550123" || d.FromTON != 2 || d.FromNPI != 8 || d.To != `caf\xE9` || d.ToTON != 3 || d.ToNPI != 9 ||
				string(d.Raw) != "raw" || d.Reference != c.want.ref || c.want.others == nil && d.Text() != c.want.text || d.Unreadable != c.want.damaged {
				t.Fatalf("%+v", d)
			}
			for _, x := range c.want.others {
				if !slices.Contains(d.Texts, x) {
					t.Errorf("the readings %q lack %q", d.Texts, x)
				}
			}
			if d.Receipt != nil {
				d.Receipt.Submitted, d.Receipt.Done = time.Time{}, time.Time{}
			}
			if (d.Receipt == nil) != (c.want.receipt == nil) || d.Receipt != nil && *d.Receipt != *c.want.receipt {
				t.Fatalf("receipt %+v", d.Receipt)
			}
			if (d.Concat == nil) != (c.want.concat == nil) || d.Concat != nil && *d.Concat != *c.want.concat {
				t.Fatalf("concat %+v", d.Concat)
			}
		})
	}
}
