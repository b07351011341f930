package sms

import "time"

// Number is a phone number in E.164 with its plus sign ("+14155550123"), in the one canonical
// form of its subscriber (with Argentina's 9 for mobiles, without Mexico's old 1). Only
// ParseNumber makes one.
type Number string

// Sender is a sender ID: an E.164 number with its plus sign, a short code (digits only), or an
// alphanumeric sender of 1 to 11 characters. Only ParseSender makes one.
type Sender string

// SenderType is alphanumeric, short_code or long_code.
type SenderType string

const (
	Alphanumeric SenderType = "alphanumeric"
	ShortCode    SenderType = "short_code"
	LongCode     SenderType = "long_code"
)

// Encoding says how a body is written.
type Encoding string

const (
	GSM7   Encoding = "gsm7"
	Latin1 Encoding = "latin1"
	UCS2   Encoding = "ucs2"
)

// Segment is one part as the carrier gets it.
type Segment struct {
	Encoding Encoding
	// DataCoding is the part's data_coding (SMPP 3.4 §5.2.19).
	DataCoding byte
	// UDH says that Octets begins with a user data header (esm_class 0x40).
	UDH    bool
	Octets []byte // exactly the octets of short_message; for GSM7 one octet a septet
	Text   string // the part's text
}

// Concat says which part of a concatenated message this is (3GPP TS 23.040 §9.2.3.24.1).
type Concat struct {
	Reference uint16
	Part      int // from 1
	Parts     int
}

// MessageState is SMPP's message_state (SMPP 3.4 §5.2.28; the values 0 and 9 are of SMPP 5.0).
type MessageState uint8

const (
	StateScheduled     MessageState = 0
	StateEnroute       MessageState = 1
	StateDelivered     MessageState = 2
	StateExpired       MessageState = 3
	StateDeleted       MessageState = 4
	StateUndeliverable MessageState = 5
	StateAccepted      MessageState = 6
	StateUnknown       MessageState = 7
	StateRejected      MessageState = 8
	StateSkipped       MessageState = 9
)

// Receipt is a delivery receipt, parsed from TLVs, from its text, or from both.
type Receipt struct {
	// ID is the carrier's id as the receipt writes it; "" if there is none. If the TLV
	// receipted_message_id (SMPP 3.4 §5.3.2.12) has one, it is that.
	ID string
	// TextID is the id in the text of the receipt, if it differs from ID; else "". Some carriers write
	// the id in one form in the TLV and in another in the text.
	TextID string
	State  MessageState
	// Final says that the state can no longer change at the carrier.
	Final bool
	// Error is the carrier's error code ("err:" or network_error_code); "" if there is none.
	Error string
	// Submitted and Done are the carrier's own dates, in the carrier's own local time; zero if
	// missing.
	Submitted, Done time.Time
	// Intermediate says that esm_class marks it as an intermediate notification, or a delivery or
	// manual acknowledgement. It is then no receipt of a final state.
	Intermediate bool
}
