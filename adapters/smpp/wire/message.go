package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"
)

// Address is a source or destination address (SMPP 3.4 §5.2.5 to §5.2.9).
type Address struct {
	TON, NPI byte
	// Octets are the address as it came: of any length, and perhaps not ASCII.
	Octets string
}

// Message is what submit_sm, deliver_sm (SMPP 3.4 §4.4.1, §4.6.1) and data_sm
// (§4.7.1) have in common.
type Message struct {
	// Body is the exact octets after the header.
	Body         []byte
	Source, Dest Address
	EsmClass     byte
	PriorityFlag byte
	// RegisteredDelivery asks for receipts (SMPP 3.4 §5.2.17).
	RegisteredDelivery byte
	ValidityPeriod     string
	DataCoding         byte
	// Octets are short_message or message_payload, whichever is longer; a user
	// data header is still in front of them (esm_class 0x40). Others are further octets that may
	// be the text: the shorter one of the two, or short_message with the octets after it that are no
	// optional parameters.
	Octets []byte
	Others [][]byte
	// Longer are what the text may be if the length of its field is too short: its octets with those after it that are
	// no optional parameters.
	Longer [][]byte
	// TLVs are the optional parameters that are whole, the first of each tag.
	TLVs map[pdu.Tag]pdu.Field
	// Cut says that a field runs past the end of the PDU, or that the text may be longer than Octets.
	Cut bool
}

// parseMessage reads the fields of a body as far as they go, and refuses nothing: a message from
// a person may ask for anything, and a carrier whose PDU is refused delivers it again for ever.
// It reads octets after short_message that are no optional parameters, optional parameters that run
// past the end or have 32 KiB and more, a short_message that is shorter than sm_length, addresses of
// any length and octets, and an address without its NUL. Where fields are missing, they are zero.
func parseMessage(id data.CommandIDType, body []byte) *Message {
	m := layOut(id, body, false)
	if m.Source.odd() || m.Dest.odd() {
		// An address may lack its NUL: the type of number after it ends it.
		if other := layOut(id, body, true); !other.Cut && other.Source.usual() && other.Dest.usual() {
			return other
		}
	}
	return m
}

// maxTON is the largest type of number that phones and carriers know (SMPP 3.4 §5.2.5 has 0 to 6).
const maxTON = 7

// odd reports whether an address has an octet that may be the type of number of the next one.
func (a *Address) odd() bool {
	for i := range len(a.Octets) {
		if a.Octets[i] <= maxTON {
			return true
		}
	}
	return false
}

// usual reports whether an address has a type of number and a numbering plan that are known, and no
// control characters.
func (a *Address) usual() bool {
	for i := range len(a.Octets) {
		if a.Octets[i] < 0x20 {
			return false
		}
	}
	return a.TON <= maxTON && a.NPI <= 18
}

// layOut reads a body's fields. With split, a type of number ends an address too, and is the next
// field.
func layOut(id data.CommandIDType, octets []byte, split bool) *Message {
	m := &Message{Body: bytes.Clone(octets)}
	f := fields{rest: m.Body}
	f.cstring(split) // service_type
	m.Source = f.address(split)
	m.Dest = f.address(split)
	m.EsmClass = f.octet()
	if id == data.DATA_SM {
		m.RegisteredDelivery = f.octet()
		m.DataCoding = f.octet()
	} else {
		f.octet() // protocol_id
		m.PriorityFlag = f.octet()
		f.cstring(false) // schedule_delivery_time
		m.ValidityPeriod = string(f.cstring(false))
		m.RegisteredDelivery = f.octet()
		f.octet() // replace_if_present_flag
		m.DataCoding = f.octet()
		f.octet() // sm_default_msg_id
		m.Octets = f.take(int(f.octet()))
	}
	m.Cut = f.cut
	payload, rest := m.parameters(f.rest)
	if rest != nil && f.rest[0] == 0 && m.TLVs == nil {
		// A NUL after short_message, and then the optional parameters.
		again := &Message{}
		if p, none := again.parameters(f.rest[1:]); none == nil {
			m.TLVs, m.Cut, payload, rest = again.TLVs, m.Cut || again.Cut, p, nil
		}
	}
	if more := m.overrun(rest); len(more) > 0 {
		for _, text := range [][]byte{m.Octets, payload} {
			if len(text) > 0 {
				m.Longer = append(m.Longer, bytes.Join([][]byte{text, more}, nil))
			}
		}
	}
	if len(payload) > 0 && len(m.Octets) > 0 && !bytes.Equal(payload, m.Octets) {
		m.Others = append(m.Others, m.Octets)
		if len(payload) <= len(m.Octets) {
			m.Others[0], payload = payload, m.Octets
		}
	}
	if len(payload) > 0 {
		m.Octets = payload
	}
	if rest != nil && len(m.Octets) == 0 {
		m.Cut = true // the text may have been in what cannot be read
	}
	if isText(rest) && len(payload) == 0 {
		m.Others = append(m.Others, bytes.Join([][]byte{m.Octets, rest}, nil))
		m.Cut = true
	}
	return m
}

// mostOverrun bounds the octets of a text that may stand behind a field whose length is too short.
const mostOverrun = 255

// overrun is what may belong to the text before it, of octets that are no optional parameters: up to where optional
// parameters begin that are whole, which it reads, or all of them.
func (m *Message) overrun(rest []byte) []byte {
	if len(bytes.Trim(rest, "\x00")) == 0 {
		return nil
	}
	whole := make([]bool, len(rest)+1) // from there on, there are optional parameters alone
	whole[len(rest)] = true
	for i := len(rest) - 4; i > 0; i-- {
		end := i + 4 + int(binary.BigEndian.Uint16(rest[i+2:]))
		whole[i] = end <= len(rest) && whole[end]
	}
	for i := 1; i < min(len(rest)-3, mostOverrun); i++ {
		if whole[i] {
			m.parameters(rest[i:])
			return rest[:i]
		}
	}
	return rest
}

// parameters reads optional parameters, and returns message_payload. rest is what is left where one
// runs past the end; nil if none does.
func (m *Message) parameters(b []byte) (payload, rest []byte) {
	for len(b) > 0 {
		if len(b) < 4 {
			return payload, b
		}
		tag, n := pdu.Tag(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
		whole := 4+n <= len(b)
		if !whole && tag != pdu.TagMessagePayload {
			return payload, b // the beginning of an id, say, is another id
		}
		value := b[4:min(4+n, len(b))]
		if _, twice := m.TLVs[tag]; !twice && whole {
			if m.TLVs == nil {
				m.TLVs = make(map[pdu.Tag]pdu.Field, 4)
			}
			m.TLVs[tag] = pdu.Field{Tag: tag, Data: value}
		}
		if tag == pdu.TagMessagePayload {
			if payload == nil {
				payload = value
			} else if !bytes.Equal(payload, value) {
				m.Cut = true
			}
		}
		if !whole {
			m.Cut = true
			return payload, b
		}
		b = b[4+n:]
	}
	return payload, nil
}

// isText reports whether octets are printable ASCII, and not only spaces.
func isText(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return len(bytes.TrimSpace(b)) > 0
}

// fields reads fields in order.
type fields struct {
	rest []byte
	cut  bool // a field runs past the end
}

func (f *fields) take(n int) []byte {
	if n > len(f.rest) {
		n, f.cut = len(f.rest), true
	}
	v := f.rest[:n:n]
	f.rest = f.rest[n:]
	return v
}

func (f *fields) octet() byte {
	if v := f.take(1); len(v) == 1 {
		return v[0]
	}
	return 0
}

// cstring reads a C-octet string without its NUL. With split, a type of number ends it too, and is
// left for the next field.
func (f *fields) cstring(split bool) []byte {
	for i, c := range f.rest {
		if c == 0 {
			v := f.rest[:i:i]
			f.rest = f.rest[i+1:]
			return v
		}
		if split && c <= maxTON {
			return f.take(i)
		}
	}
	f.cut = true
	return f.take(len(f.rest))
}

func (f *fields) address(split bool) Address {
	a := Address{TON: f.octet(), NPI: f.octet()}
	a.Octets = string(f.cstring(split))
	return a
}

// maxText is how long a Text is at most, in octets. SMPP 3.4 §5.2.23 allows 64 for message_id.
const maxText = 64

// Source writes the octets of the address of who wrote a message as Text does. One that is too long becomes
// "sha256:" and its digest, and the last 24 digits in it follow: a number may be among them.
func Source(octets string) string {
	if text, whole := escaped(octets); whole {
		return text
	}
	var digits []byte
	for i := range len(octets) {
		if c := octets[i]; c >= '0' && c <= '9' {
			digits = append(digits, c)
		}
	}
	return digest(octets) + ":" + string(digits[max(0, len(digits)-24):])
}

// Text writes octets of a PDU that name something (an id, an address, an error code) as text that
// every event can have: printable ASCII as it is, each other octet as `\xE9`. If that has more than
// 64 characters, it is its first 24 or so, "~sha256:", and the first 128 bits of the digest of the
// octets in hexadecimal. The same octets always give the same text, so an id in a receipt still is
// the id in submit_sm_resp.
func Text(octets string) string {
	text, whole := escaped(octets)
	if whole {
		return text
	}
	return text + "~" + digest(octets)
}

// mostHead is how many characters of a text that is too long are kept.
const mostHead = 24

// escaped writes octets in printable ASCII. If that is too long, it is the head of it, and whole is
// false.
func escaped(octets string) (text string, whole bool) {
	plain := len(octets) <= maxText
	for i := 0; plain && i < len(octets); i++ {
		plain = octets[i] >= 0x20 && octets[i] <= 0x7e
	}
	if plain {
		return octets, true
	}
	const digits = "0123456789ABCDEF"
	out, head := make([]byte, 0, maxText+4), 0
	for i := 0; i < len(octets) && len(out) <= maxText; i++ {
		if c := octets[i]; c >= 0x20 && c <= 0x7e {
			out = append(out, c)
		} else {
			out = append(out, '\\', 'x', digits[c>>4], digits[c&15])
		}
		if len(out) <= mostHead {
			head = len(out)
		}
	}
	if len(out) <= maxText {
		return string(out), true
	}
	return string(out[:head]), false
}

// digest is "sha256:" and the first 128 bits of the digest of octets.
func digest(octets string) string {
	sum := sha256.Sum256([]byte(octets))
	return "sha256:" + hex.EncodeToString(sum[:16])
}
