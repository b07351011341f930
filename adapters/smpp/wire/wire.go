// Package wire frames and decodes SMPP 3.4 PDUs for the client and for the
// simulated message centre. gosmpp's pdu package decodes and encodes the octets;
// this package adds what that codec does not have: a bound on the size, a
// decoder that cannot panic, responses without a body, and the exact data_coding
// and short_message.
package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"
)

const (
	// HeaderLen is the length of a PDU's header in octets (SMPP 3.4 §3.2).
	HeaderLen = 16
	// MaxPDU is the longest PDU that is read, header included, in octets.
	MaxPDU = 64 << 10
)

// ErrLength is the error of a command_length below HeaderLen or above MaxPDU. The octets
// after it cannot be framed, so the connection must be closed (SMPP 3.4 §4.3.1 asks for a
// generic_nack with ESME_RINVCMDLEN first).
var ErrLength = errors.New("command_length is out of bounds")

// Reader cuts a stream into PDUs.
type Reader struct {
	b    *bufio.Reader
	last int
}

// NewReader reads PDUs from r.
func NewReader(r io.Reader) *Reader { return &Reader{b: bufio.NewReaderSize(r, MaxPDU)} }

// Next returns the octets of one whole PDU, valid until the next call. With
// ErrLength it returns the header alone; every other error is the connection's.
func (r *Reader) Next() ([]byte, error) {
	_, _ = r.b.Discard(r.last) // never an error: these octets were peeked
	r.last = 0
	head, err := r.b.Peek(HeaderLen)
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head)
	if n < HeaderLen || n > MaxPDU {
		return head, ErrLength
	}
	frame, err := r.b.Peek(int(n))
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	r.last = int(n)
	return frame, nil
}

// Buffered reports whether another whole PDU has been read already, so that the
// next call of Next will not block.
func (r *Reader) Buffered() bool {
	if r.b.Buffered() < r.last+HeaderLen {
		return false
	}
	b, err := r.b.Peek(r.last + HeaderLen)
	if err != nil {
		return false
	}
	n := binary.BigEndian.Uint32(b[r.last:])
	return n < HeaderLen || n > MaxPDU || r.b.Buffered() >= r.last+int(n)
}

// PDU is one PDU as received.
type PDU struct {
	pdu.Header
	// MessageID is message_id of submit_sm_resp, deliver_sm_resp and data_sm_resp.
	MessageID string
	// Bind is set for bind_transmitter, bind_receiver and bind_transceiver.
	Bind *pdu.BindRequest
	// Message is set for submit_sm, deliver_sm and data_sm.
	Message *Message
}

// Message is what submit_sm, deliver_sm (SMPP 3.4 §4.4.1, §4.6.1) and data_sm
// (§4.7.1) have in common.
type Message struct {
	// Body is the exact octets after the header.
	Body         []byte
	Source, Dest pdu.Address
	EsmClass     byte
	PriorityFlag byte
	// RegisteredDelivery asks for receipts (SMPP 3.4 §5.2.17).
	RegisteredDelivery byte
	ValidityPeriod     string
	DataCoding         byte
	// Octets are short_message or, where that is empty, message_payload; a user
	// data header is still in front of them (esm_class 0x40).
	Octets []byte
	TLVs   map[pdu.Tag]pdu.Field
}

// Malformed is the error of a PDU that could not be decoded, with the command_status for the
// response to its sender.
type Malformed struct {
	Status data.CommandStatusType
	Cause  error
}

// Error is the status and the cause.
func (m *Malformed) Error() string {
	return fmt.Sprintf("malformed PDU (%s): %v", StatusName(m.Status), m.Cause)
}

// Unwrap is the cause.
func (m *Malformed) Unwrap() error { return m.Cause }

var (
	errTruncated = errors.New("a field runs past the end of the PDU")
	errTLV       = errors.New("an optional parameter runs past the end of the PDU")
)

// Parse decodes one PDU. It never panics and keeps nothing of frame. Every error
// is a *Malformed, and the header is valid with it.
func Parse(frame []byte) (p PDU, err error) {
	if len(frame) < HeaderLen {
		return p, &Malformed{data.ESME_RINVCMDLEN, errTruncated}
	}
	p.Header = pdu.ParseHeader([HeaderLen]byte(frame))
	if int(p.CommandLength) != len(frame) {
		return p, &Malformed{data.ESME_RINVCMDLEN, errTruncated}
	}
	// The codec may panic: it is another module, and its input comes from the network.
	defer func() {
		if r := recover(); r != nil {
			err = &Malformed{data.ESME_RSYSERR, fmt.Errorf("decoder: %v", r)}
		}
	}()
	switch p.CommandID {
	case data.SUBMIT_SM, data.DELIVER_SM, data.DATA_SM:
		p.Message, err = parseMessage(p.CommandID, frame)
		return p, err
	}
	if IsResponse(p.CommandID) && len(frame) == HeaderLen {
		// Many centres send an error response without its body; the codec wants one.
		if _, err := pdu.CreatePDUFromCmdID(p.CommandID); err != nil {
			return p, &Malformed{data.ESME_RINVCMDID, err}
		}
		return p, nil
	}
	d, err := decode(p.CommandID, frame)
	if err != nil {
		return p, err
	}
	switch d := d.(type) {
	case *pdu.BindRequest:
		p.Bind = d
	case *pdu.SubmitSMResp:
		p.MessageID = d.MessageID
		if p.MessageID == "" {
			// The codec drops an id without its terminating NUL. It is kept here, because
			// receipts are matched by it.
			if body := frame[HeaderLen:]; bytes.IndexByte(body, 0) < 0 {
				p.MessageID = string(body)
			}
		}
	case *pdu.DeliverSMResp:
		p.MessageID = d.MessageID
	case *pdu.DataSMResp:
		p.MessageID = d.MessageID
	}
	return p, nil
}

// decode decodes a PDU with the codec.
func decode(id data.CommandIDType, frame []byte) (pdu.PDU, error) {
	d, err := pdu.CreatePDUFromCmdID(id)
	if err != nil {
		return nil, &Malformed{data.ESME_RINVCMDID, err}
	}
	if err := d.Unmarshal(pdu.NewBuffer(frame)); err != nil {
		return nil, &Malformed{data.ESME_RINVCMDLEN, err}
	}
	return d, nil
}

// parseMessage works around three faults of the codec: it loses a data_coding
// that it does not know, it removes a user data header from the text (and refuses
// the whole PDU when the header is broken, which would lose an opt-out), and it
// reads an optional parameter of 32 KiB or more as an empty one.
func parseMessage(id data.CommandIDType, frame []byte) (*Message, error) {
	body := bytes.Clone(frame[HeaderLen:])
	esm, coding, end, ok := layout(id, body)
	if !ok {
		return nil, &Malformed{data.ESME_RINVCMDLEN, errTruncated}
	}
	for rest := body[end:]; len(rest) > 0; {
		if len(rest) < 4 {
			return nil, &Malformed{data.ESME_RINVOPTPARSTREAM, errTLV}
		}
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if n > 1<<15-1 || len(rest) < 4+n {
			return nil, &Malformed{data.ESME_RINVOPTPARSTREAM, errTLV}
		}
		rest = rest[4+n:]
	}
	m := &Message{Body: body, EsmClass: body[esm], DataCoding: body[coding]}
	plain := bytes.Clone(frame)
	plain[HeaderLen+esm] &^= data.SM_UDH_GSM
	d, err := decode(id, plain)
	if err != nil {
		return nil, err
	}
	switch d := d.(type) {
	case *pdu.SubmitSM:
		m.Source, m.Dest, m.TLVs = d.SourceAddr, d.DestAddr, d.OptionalParameters
		m.PriorityFlag, m.RegisteredDelivery, m.ValidityPeriod = d.PriorityFlag, d.RegisteredDelivery, d.ValidityPeriod
		m.Octets, _ = d.Message.GetMessageData()
	case *pdu.DeliverSM:
		m.Source, m.Dest, m.TLVs = d.SourceAddr, d.DestAddr, d.OptionalParameters
		m.PriorityFlag, m.RegisteredDelivery, m.ValidityPeriod = d.PriorityFlag, d.RegisteredDelivery, d.ValidityPeriod
		m.Octets, _ = d.Message.GetMessageData()
	case *pdu.DataSM:
		m.Source, m.Dest, m.TLVs = d.SourceAddr, d.DestAddr, d.OptionalParameters
		m.RegisteredDelivery = d.RegisteredDelivery
	}
	if len(m.Octets) == 0 {
		m.Octets = m.TLVs[pdu.TagMessagePayload].Data
	}
	return m, nil
}

// layout returns the offsets of esm_class and data_coding in a body, and the offset at which
// its optional parameters begin.
func layout(id data.CommandIDType, b []byte) (esm, coding, end int, ok bool) {
	i := 0
	skip := func(n int) { i += n }
	cstring := func() {
		if i > len(b) {
			return
		}
		n := bytes.IndexByte(b[i:], 0)
		if n < 0 {
			i = len(b) + 1
			return
		}
		i += n + 1
	}
	cstring() // service_type
	skip(2)
	cstring() // source_addr
	skip(2)
	cstring() // destination_addr
	esm = i
	if id == data.DATA_SM {
		skip(2) // esm_class, registered_delivery
		coding = i
		skip(1)
		return esm, coding, i, i <= len(b)
	}
	skip(3)   // esm_class, protocol_id, priority_flag
	cstring() // schedule_delivery_time
	cstring() // validity_period
	skip(2)   // registered_delivery, replace_if_present_flag
	coding = i
	skip(2) // data_coding, sm_default_msg_id
	if i >= len(b) {
		return 0, 0, 0, false
	}
	i += 1 + int(b[i]) // sm_length, short_message
	return esm, coding, i, i <= len(b)
}

// Append appends the octets of p to dst.
func Append(dst []byte, p pdu.PDU) []byte {
	if dst == nil {
		dst = make([]byte, 0, 256)
	}
	b := pdu.NewBuffer(dst)
	p.Marshal(b)
	return b.Bytes()
}

// AppendHeader appends a PDU that has only a header: enquire_link, unbind, their
// responses, generic_nack and error responses without a body.
func AppendHeader(dst []byte, id data.CommandIDType, status data.CommandStatusType, sequence int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, HeaderLen)
	dst = binary.BigEndian.AppendUint32(dst, uint32(id))
	dst = binary.BigEndian.AppendUint32(dst, uint32(status))
	return binary.BigEndian.AppendUint32(dst, uint32(sequence))
}

// AppendResponse appends the response to a submit_sm, deliver_sm or data_sm.
// messageID is empty in a deliver_sm_resp (SMPP 3.4 §4.6.2) and in an error response.
func AppendResponse(dst []byte, request data.CommandIDType, status data.CommandStatusType, sequence int32, messageID string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(HeaderLen+len(messageID)+1))
	dst = binary.BigEndian.AppendUint32(dst, uint32(Response(request)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(status))
	dst = binary.BigEndian.AppendUint32(dst, uint32(sequence))
	dst = append(dst, messageID...)
	return append(dst, 0)
}

// Coding is a data_coding for a message whose octets are already encoded.
type Coding byte

// DataCoding is the value in the PDU.
func (c Coding) DataCoding() byte { return byte(c) }

var errOctets = errors.New("the octets are encoded already")

// Encode returns an error: domain/sms encodes texts.
func (Coding) Encode(string) ([]byte, error) { return nil, errOctets }

// Decode returns an error: domain/sms decodes texts.
func (Coding) Decode([]byte) (string, error) { return "", errOctets }

const responseBit = -1 << 31

// IsResponse reports whether the command is a response (SMPP 3.4 §5.1.2.1).
func IsResponse(id data.CommandIDType) bool { return id < 0 }

// Response is the command that answers a request.
func Response(id data.CommandIDType) data.CommandIDType { return id | responseBit }

// CommandName is the command in the specification's spelling, "submit_sm_resp",
// or its number.
func CommandName(id data.CommandIDType) string {
	if s := id.String(); !strings.ContainsRune(s, '(') {
		return strings.ToLower(s)
	}
	return fmt.Sprintf("0x%08X", uint32(id))
}

// StatusName is the command_status in the specification's spelling,
// "ESME_RTHROTTLED", or its number where the specification has no name for it.
func StatusName(s data.CommandStatusType) string {
	if n := s.String(); !strings.ContainsRune(n, '(') {
		return n
	}
	return StatusCode(s)
}

// StatusCode is the command_status as eight hexadecimal digits.
func StatusCode(s data.CommandStatusType) string { return fmt.Sprintf("0x%08X", uint32(s)) }
