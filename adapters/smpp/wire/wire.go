// Package wire frames and decodes SMPP 3.4 PDUs for the client and for the
// simulated message centre. gosmpp's pdu package encodes them, and decodes binds. Messages and
// responses are decoded here: that codec refuses what this one must read, because a STOP may be
// in it.
package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
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
	// MessageID is message_id of submit_sm_resp, deliver_sm_resp and data_sm_resp, as Text
	// writes it.
	MessageID string
	// Bind is set for bind_transmitter, bind_receiver and bind_transceiver.
	Bind *pdu.BindRequest
	// Message is set for submit_sm, deliver_sm and data_sm.
	Message *Message
	// State is set for query_sm_resp, if it goes as far as message_state, and Body is the exact
	// octets after the header of query_sm_resp and cancel_sm_resp.
	State *State
	Body  []byte
}

// State is what query_sm_resp says of a message (SMPP 3.4 §4.8.2).
type State struct {
	// State is message_state (§5.2.28), and Error is error_code, "" for none.
	State byte
	Error string
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

var errTruncated = errors.New("a field runs past the end of the PDU")

// Parse decodes one PDU. It never panics and keeps nothing of frame. Every error
// is a *Malformed, and the header is valid with it. Only a request that is not known, or a bind
// that cannot be read, is an error: a message and a response are read as far as they go.
func Parse(frame []byte) (p PDU, err error) {
	if len(frame) < HeaderLen {
		return p, &Malformed{data.ESME_RINVCMDLEN, errTruncated}
	}
	p.Header = pdu.ParseHeader([HeaderLen]byte(frame))
	if int(p.CommandLength) != len(frame) {
		return p, &Malformed{data.ESME_RINVCMDLEN, errTruncated}
	}
	body := frame[HeaderLen:]
	switch p.CommandID {
	case data.SUBMIT_SM, data.DELIVER_SM, data.DATA_SM:
		p.Message = parseMessage(p.CommandID, body)
		return p, nil
	case data.SUBMIT_SM_RESP, data.DELIVER_SM_RESP, data.DATA_SM_RESP:
		// Some centres leave out the terminating NUL, or the whole body of an error.
		id, _, _ := bytes.Cut(body, []byte{0})
		p.MessageID = Text(string(id))
		return p, nil
	case data.QUERY_SM_RESP, data.CANCEL_SM_RESP:
		p.Body = bytes.Clone(body)
		if p.CommandID == data.QUERY_SM_RESP {
			p.State = parseState(p.Body)
		}
		return p, nil
	case data.BIND_TRANSCEIVER, data.BIND_RECEIVER, data.BIND_TRANSMITTER:
		p.Bind, err = parseBind(frame)
		return p, err
	}
	if _, err := pdu.CreatePDUFromCmdID(p.CommandID); err != nil {
		return p, &Malformed{data.ESME_RINVCMDID, err}
	}
	return p, nil
}

// parseState reads the body of query_sm_resp; nil if it ends before message_state.
func parseState(body []byte) *State {
	f := fields{rest: body}
	f.cstring(false) // message_id
	f.cstring(false) // final_date
	state := f.take(1)
	if f.cut {
		return nil
	}
	s := &State{State: state[0]}
	if code := f.octet(); code != 0 {
		s.Error = strconv.Itoa(int(code))
	}
	return s
}

// parseBind decodes a bind with the codec.
func parseBind(frame []byte) (b *pdu.BindRequest, err error) {
	// The codec may panic: it is another module, and its input comes from the network.
	defer func() {
		if r := recover(); r != nil {
			err = &Malformed{data.ESME_RSYSERR, fmt.Errorf("decoder: %v", r)}
		}
	}()
	d, err := pdu.CreatePDUFromCmdID(pdu.ParseHeader([HeaderLen]byte(frame)).CommandID)
	if err == nil {
		err = d.Unmarshal(pdu.NewBuffer(frame))
	}
	b, ok := d.(*pdu.BindRequest)
	if err != nil || !ok {
		return nil, &Malformed{data.ESME_RINVCMDLEN, err}
	}
	return b, nil
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

// AppendTLV appends an optional parameter to the octets of one PDU, and puts its command_length right.
func AppendTLV(pdu []byte, tag uint16, value []byte) []byte {
	pdu = binary.BigEndian.AppendUint16(pdu, tag)
	pdu = binary.BigEndian.AppendUint16(pdu, uint16(len(value)))
	pdu = append(pdu, value...)
	binary.BigEndian.PutUint32(pdu, uint32(len(pdu)))
	return pdu
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
