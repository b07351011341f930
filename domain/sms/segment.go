package sms

import (
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxSegments is the largest number of parts of a message. 3GPP TS 23.040 allows 255, but phones
// and carriers drop long messages.
const MaxSegments = 10

// Errors of Segments and Count. They have no text of a message in them.
var (
	ErrTooLong     = errors.New("the body needs more than 10 parts; shorten it")
	ErrEmpty       = errors.New("the body is empty; write a text")
	errInvalidUTF8 = errors.New("the body is not valid UTF-8; encode it as UTF-8")
)

// SegmentOptions say how a carrier account wants a body written.
type SegmentOptions struct {
	// Alphabet is what data_coding 0 means at this account (its "SMSC default alphabet", SMPP 3.4
	// §5.2.19): GSM7, the default, or Latin1. With Latin1 a body is written in ISO 8859-1 if that
	// has all of its characters, else in UCS-2: such a carrier has no coding for the other
	// characters of GSM 03.38.
	Alphabet Encoding
	// Reference is the same in all parts of one message, and tells them from parts of other
	// messages between the same sender and recipient. A single part has none. Without
	// WideReference only its low 8 bits are used.
	Reference uint16
	// WideReference writes a 16-bit reference (UDH 06 08 04) instead of an 8-bit one (UDH 05 00
	// 03). It costs one character a part.
	WideReference bool
}

// Sizes in octets: the user data of one message (3GPP TS 23.040 §9.2.3.16), and the two headers
// for parts (§9.2.3.24.1 and .8) with their length octet. userSeptet is the user data in septets.
const (
	userData   = 140
	narrowUDH  = 6
	wideUDH    = 7
	userSeptet = userData * 8 / 7
)

// limits is what one part can have, or what a character needs of it.
type limits struct{ octets, septets int }

func (o SegmentOptions) limits(alone bool) limits {
	udh := 0
	if !alone {
		udh = narrowUDH
		if o.WideReference {
			udh = wideUDH
		}
	}
	// The header takes whole septets: 7 for 6 octets and 8 for 7.
	return limits{userData - udh, userSeptet - (udh*8+6)/7}
}

// encoding chooses how the body is written: in the carrier's default alphabet if that has every
// character, else in UCS-2.
func (o SegmentOptions) encoding(body string) (Encoding, error) {
	if body == "" {
		return "", ErrEmpty
	}
	if !utf8.ValidString(body) {
		return "", errInvalidUTF8
	}
	if o.Alphabet == Latin1 {
		for _, r := range body {
			if !inLatin1(r) {
				return UCS2, nil
			}
		}
		return Latin1, nil
	}
	for _, r := range body {
		if gsmEncode(r).septets == 0 {
			return UCS2, nil
		}
	}
	return GSM7, nil
}

// cost is what one character needs of a part: octets in short_message, and septets if the carrier
// packs the text for the air.
func (e Encoding) cost(r rune) limits {
	switch e {
	case UCS2:
		return limits{octets: 2 * utf16.RuneLen(r)}
	case Latin1:
		return limits{1, max(1, int(gsmEncode(r).septets))}
	}
	return limits{septets: int(gsmEncode(r).septets)}
}

// split finds where the parts of body end. It fills each part before the next, and never divides
// a character, so an escape pair and a surrogate pair stay whole. ends[i] is the end of part i in
// body.
func (o SegmentOptions) split(body string, e Encoding) (ends [MaxSegments]int, parts int, err error) {
	single, most := o.limits(true), o.limits(false)
	var used, total limits
	alone := true
	for i, r := range body {
		c := e.cost(r)
		total.octets += c.octets
		total.septets += c.septets
		alone = alone && total.octets <= single.octets && total.septets <= single.septets
		if used.octets+c.octets > most.octets || used.septets+c.septets > most.septets {
			if parts == MaxSegments-1 {
				return ends, 0, ErrTooLong
			}
			ends[parts] = i
			parts++
			used = limits{}
		}
		used.octets += c.octets
		used.septets += c.septets
	}
	if alone {
		parts = 0
	}
	ends[parts] = len(body)
	return ends, parts + 1, nil
}

// Count returns the encoding and the number of parts that Segments would use for body. It is much
// cheaper: it writes no octets.
func Count(body string, o SegmentOptions) (Encoding, int, error) {
	e, err := o.encoding(body)
	if err != nil {
		return "", 0, err
	}
	_, parts, err := o.split(body, e)
	if err != nil {
		return "", 0, err
	}
	return e, parts, nil
}

// Segments encodes body and divides it into as few parts as it takes.
//
//	             alone  8-bit reference  16-bit reference
//	GSM7           160              153               152  septets; an extension character takes two
//	Latin1         140              134               133  octets
//	UCS2            70               67                66  code units; a character past U+FFFF takes two
//
// A Latin1 body goes out under data_coding 0, and only the carrier knows whether it
// then sends it as 8-bit data or packs it in GSM 03.38. A part therefore keeps to
// both limits: at most 140, 134 or 133 octets, and at most 160, 153 or 152 septets
// once it is packed, in which "[" takes two.
//
// Where there are several parts, each begins with a user data header (3GPP TS 23.040
// §9.2.3.24) and its esm_class must have the UDHI bit. Errors: ErrEmpty,
// errInvalidUTF8, ErrTooLong.
func Segments(body string, o SegmentOptions) ([]Segment, error) {
	e, err := o.encoding(body)
	if err != nil {
		return nil, err
	}
	ends, parts, err := o.split(body, e)
	if err != nil {
		return nil, err
	}
	segments := make([]Segment, parts)
	start := 0
	for i := range segments {
		text := body[start:ends[i]]
		start = ends[i]
		octets := make([]byte, 0, wideUDH+userSeptet)
		if parts > 1 {
			octets = o.appendUDH(octets, i+1, parts)
		}
		s := Segment{Encoding: e, UDH: parts > 1, Octets: e.append(octets, text), Text: text}
		if e == UCS2 {
			s.DataCoding = 0x08
		}
		segments[i] = s
	}
	return segments, nil
}

func (o SegmentOptions) appendUDH(b []byte, part, parts int) []byte {
	if o.WideReference {
		return append(b, 6, ieConcat16, 4, byte(o.Reference>>8), byte(o.Reference), byte(parts), byte(part))
	}
	return append(b, 5, ieConcat8, 3, byte(o.Reference), byte(parts), byte(part))
}

// append writes text in the encoding e, which must have every character of it.
func (e Encoding) append(b []byte, text string) []byte {
	for _, r := range text {
		switch e {
		case UCS2:
			if r > 0xffff {
				high, low := utf16.EncodeRune(r)
				b = append(b, byte(high>>8), byte(high), byte(low>>8), byte(low))
			} else {
				b = append(b, byte(r>>8), byte(r))
			}
		case Latin1:
			b = append(b, byte(r))
		default:
			c := gsmEncode(r)
			if c.septets == 2 {
				b = append(b, gsmEscape)
			}
			b = append(b, c.code)
		}
	}
	return b
}

// Information element identifiers (3GPP TS 23.040 §9.2.3.24).
const (
	ieConcat8      = 0x00
	ieLastStandard = 0x25 // of those before the (U)SIM toolkit's
	ieFirstToolkit = 0x70
	ieLastOwn      = 0xDF // of those that a message centre may have of its own
	maxHeader      = 40   // octets; no phone's is longer than a third of a message
	ieConcat16     = 0x08
	ieSingleShift  = 0x24
	ieLockingShift = 0x25
)

// errMalformedUDH means that the lengths in the user data header contradict each other.
var errMalformedUDH = errors.New("the user data header is malformed")

// userHeader is what a user data header says.
type userHeader struct {
	// concat says which part of a message this is; nil if no element of the header says so.
	concat *Concat
	// locking and shift are national language identifiers (3GPP TS 23.038 §6.2.1.2.4); 0 is the
	// default alphabet.
	locking, shift byte
	// end is where the header ends.
	end int
}

// splitUDH reads the user data header in front of the octets of a short_message whose esm_class
// has the UDHI bit.
//
// What follows the header has one octet a septet, or whole octets, as SMPP has them; a packed
// payload with fill bits stays packed.
//
// If several elements say which part it is, the last counts. An element whose numbers make no
// sense (part 0, part 3 of 2) is ignored, as 3GPP TS 23.040 §9.2.3.24.1 asks. Other elements are
// skipped.
//
// The error is errMalformedUDH if lengths contradict each other. Then end is where the header's own
// length says, or 0 if that is past the end of the octets, and nothing else of the header counts.
func splitUDH(octets []byte) (h userHeader, err error) {
	if len(octets) == 0 || len(octets) < 1+int(octets[0]) {
		return h, errMalformedUDH
	}
	h.end = 1 + int(octets[0])
	for ie := octets[1:h.end]; len(ie) > 0; {
		if len(ie) < 2 || len(ie) < 2+int(ie[1]) {
			return userHeader{end: h.end}, errMalformedUDH
		}
		id, v := ie[0], ie[2:2+int(ie[1])]
		ie = ie[2+len(v):]
		if n := elementSize(id); n != 0 && len(v) != n {
			return userHeader{end: h.end}, errMalformedUDH
		}
		var c Concat
		switch id {
		case ieConcat8:
			c = Concat{uint16(v[0]), int(v[2]), int(v[1])}
		case ieConcat16:
			c = Concat{uint16(v[0])<<8 | uint16(v[1]), int(v[3]), int(v[2])}
		case ieSingleShift:
			h.shift = v[0]
		case ieLockingShift:
			h.locking = v[0]
		}
		if c.Part >= 1 && c.Part <= c.Parts {
			h.concat = &c
		}
	}
	return h, nil
}

// HasHeader reports whether octets begin with what may be a user data header, with text after it: elements that 3GPP
// TS 23.040 §9.2.3.24 has, whose lengths fill it exactly. Some carriers leave out the bit of esm_class that says so.
func HasHeader(octets []byte) bool {
	if len(octets) < 4 || len(octets) <= 1+int(octets[0]) || octets[0] < 2 || octets[0] > maxHeader {
		return false
	}
	for ie := octets[1 : 1+int(octets[0])]; len(ie) > 0; {
		if len(ie) < 2 {
			return false
		}
		id, n := ie[0], int(ie[1])
		if want := elementSize(id); want != 0 && n != want || len(ie) < 2+n || id > ieLastStandard && id < ieFirstToolkit || id > ieLastOwn {
			return false
		}
		ie = ie[2+n:]
	}
	return true
}

// elementSize is the length of an information element that is read here; 0 for any other.
func elementSize(id byte) int {
	switch id {
	case ieConcat8:
		return 3
	case ieConcat16:
		return 4
	case ieSingleShift, ieLockingShift:
		return 1
	}
	return 0
}
