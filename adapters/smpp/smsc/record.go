package smsc

import (
	"encoding/hex"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// Line is one line of the record: one PDU that was received or sent.
type Line struct {
	Time time.Time `json:"time"`
	// Direction is in (from the ESME) or out (to it).
	Direction string `json:"direction"`
	Command   string `json:"command"`
	Status    string `json:"status"`
	Sequence  uint32 `json:"sequence"`

	SystemID string `json:"system_id,omitempty"`
	// MessageID is as in the response.
	MessageID   string `json:"message_id,omitempty"`
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"`
	EsmClass    *byte  `json:"esm_class,omitempty"`
	DataCoding  *byte  `json:"data_coding,omitempty"`
	// ShortMessage is short_message or message_payload, in hexadecimal.
	ShortMessage string `json:"short_message,omitempty"`
	// Reference is user_message_reference.
	Reference *uint16 `json:"user_message_reference,omitempty"`
	// TLVs are all optional parameters, tag and value in hexadecimal.
	TLVs map[string]string `json:"tlvs,omitempty"`
	// Malformed is why the PDU could not be decoded.
	Malformed string `json:"malformed,omitempty"`
}

// recorder writes lines; a nil recorder writes none. Lines are buffered for up to
// 50 ms, because a write for each line would cost more than its PDU.
type recorder struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	err error // the first error of a write; nothing is written after it
}

// out records a PDU that is sent.
func (r *recorder) out(octets []byte) {
	if r == nil {
		return
	}
	p, _ := wire.Parse(octets)
	r.pdu("out", p, octets)
}

// pdu records a PDU.
func (r *recorder) pdu(direction string, p wire.PDU, frame []byte) {
	if r == nil {
		return
	}
	l := Line{Time: time.Now().UTC(), Direction: direction, Command: wire.CommandName(p.CommandID),
		Status: wire.StatusName(p.CommandStatus), Sequence: uint32(p.SequenceNumber), MessageID: p.MessageID}
	if p.Bind != nil {
		l.SystemID = p.Bind.SystemID
	}
	if m := p.Message; m != nil {
		l.Source, l.Destination = m.Source.Octets, m.Dest.Octets
		l.EsmClass, l.DataCoding = &m.EsmClass, &m.DataCoding
		l.ShortMessage = hex.EncodeToString(m.Octets)
		for tag, f := range m.TLVs {
			if l.TLVs == nil {
				l.TLVs = make(map[string]string, len(m.TLVs))
			}
			l.TLVs["0x"+tag.Hex()] = hex.EncodeToString(f.Data)
		}
		if b := m.TLVs[pdu.TagUserMessageReference].Data; len(b) == 2 {
			v := uint16(b[0])<<8 | uint16(b[1])
			l.Reference = &v
		}
	}
	line, err := json.Marshal(l)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf = append(append(r.buf, line...), '\n')
	if len(r.buf) > 32<<10 {
		r.drain()
	}
}

// flush writes the buffered lines and returns the first error of any write.
func (r *recorder) flush() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drain()
	return r.err
}

// drain is called with mu held.
func (r *recorder) drain() {
	if len(r.buf) > 0 && r.err == nil {
		_, r.err = r.w.Write(r.buf)
	}
	r.buf = r.buf[:0]
}
