package sms

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The GSM 7 bit default alphabet (3GPP TS 23.038 §6.2.1), by code. Code 0x1B is the
// escape to the extension table and stands for no character.
const gsmDefault = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ" +
	" !\"#¤%&'()*+,-./0123456789:;<=>?" +
	"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§" +
	"¿abcdefghijklmnopqrstuvwxyzäöñüà"

const gsmEscape = 0x1b

// The default alphabet's extension table (3GPP TS 23.038 §6.2.1.1). Of it, CR2
// (0x0D, a control) and SS2 (0x1B, reserved) are no characters.
var gsmExtension = [...]struct {
	code byte
	char rune
}{
	{0x0a, '\f'}, {0x14, '^'}, {0x28, '{'}, {0x29, '}'}, {0x2f, '\\'},
	{0x3c, '['}, {0x3d, '~'}, {0x3e, ']'}, {0x40, '|'}, {0x65, '€'},
}

// gsmCode is how a character is written: one septet, or an escape and one septet.
type gsmCode struct {
	septets byte // 0: not in the alphabet
	code    byte
}

var (
	gsmRune    [128]rune // of the default table
	gsmExtRune [128]rune // of the extension table; 0 where it is empty
	gsmLow     [256]gsmCode
	gsmHigh    = map[rune]gsmCode{} // above U+00FF: ten Greek letters and the euro sign
)

func init() {
	set := func(r rune, c gsmCode) {
		if r < rune(len(gsmLow)) {
			gsmLow[r] = c
		} else {
			gsmHigh[r] = c
		}
	}
	i := 0
	for _, r := range gsmDefault {
		gsmRune[i] = r
		if i != gsmEscape {
			set(r, gsmCode{1, byte(i)})
		}
		i++
	}
	for _, e := range gsmExtension {
		gsmExtRune[e.code] = e.char
		set(e.char, gsmCode{2, e.code})
	}
}

func gsmEncode(r rune) gsmCode {
	if r < rune(len(gsmLow)) {
		return gsmLow[r]
	}
	return gsmHigh[r]
}

// inLatin1 tells whether r is a graphic character of ISO 8859-1, a line feed or a
// carriage return. Other controls are not worth what a message centre makes of them.
func inLatin1(r rune) bool {
	return r >= 0x20 && r <= 0x7e || r >= 0xa0 && r <= 0xff || r == '\n' || r == '\r'
}

// Errors of DecodeText.
var (
	// errUnknownCoding: a data_coding that is no text this package can read (8-bit
	// binary, JIS, pictogram, ...).
	errUnknownCoding = errors.New("the data coding is none of the text codings that are supported")
	// errMalformedText: octets that the coding does not allow. The text has U+FFFD in their place.
	errMalformedText = errors.New("the octets are not valid in their data coding")
)

// DecodeText decodes the octets of a short_message, without any user data header,
// by data_coding (SMPP 3.4 §5.2.19): 0 by alphabet, which is what the connector's
// carrier means by it (GSM7 unless it is Latin1 or UCS2; GSM7 has one octet a
// septet), 1 as ASCII, 3 as ISO 8859-1, 6 as ISO 8859-5, 8 as UTF-16BE; and the
// values that pass a data coding scheme of 3GPP TS 23.038 §4 through: 0x10 to 0x1B
// and 0xF0 to 0xFF.
//
// With errMalformedText the text is what could be read all the same, for a person
// or a revocation may still be found in it; with errUnknownCoding there is none.
func DecodeText(dataCoding byte, octets []byte, alphabet Encoding) (string, error) {
	switch {
	case dataCoding == 0x00:
		switch alphabet {
		case Latin1:
			return decodeLatin1(octets), nil
		case UCS2:
			return decodeUCS2(octets)
		}
		return decodeGSM(octets)
	case dataCoding == 0x01:
		return decodeBytes(octets, func(c byte) rune {
			if c >= 0x80 {
				return utf8.RuneError
			}
			return rune(c)
		})
	case dataCoding == 0x03:
		return decodeLatin1(octets), nil
	case dataCoding == 0x06:
		return decodeBytes(octets, cyrillic)
	case dataCoding == 0x08:
		return decodeUCS2(octets)
	case dataCoding >= 0x10 && dataCoding <= 0x13, dataCoding&0xf4 == 0xf0: // with a message class
		return decodeGSM(octets)
	case dataCoding >= 0x18 && dataCoding <= 0x1b:
		return decodeUCS2(octets)
	}
	return "", errUnknownCoding
}

func decodeGSM(octets []byte) (string, error) {
	var b strings.Builder
	b.Grow(len(octets) + 8)
	var err error
	for i := 0; i < len(octets); i++ {
		c := octets[i]
		switch {
		case c >= 0x80:
			err = errMalformedText
			b.WriteRune(utf8.RuneError)
		case c != gsmEscape:
			b.WriteRune(gsmRune[c])
		case i+1 == len(octets):
			err = errMalformedText
			b.WriteRune(utf8.RuneError)
		default:
			// A code that the extension table leaves empty is shown as that of the
			// default table; escape to another table, which is reserved, as a space.
			i++
			switch next := octets[i]; {
			case next >= 0x80:
				err = errMalformedText
				b.WriteRune(utf8.RuneError)
			case next == gsmEscape:
				b.WriteByte(' ')
			case gsmExtRune[next] != 0:
				b.WriteRune(gsmExtRune[next])
			default:
				b.WriteRune(gsmRune[next])
			}
		}
	}
	return b.String(), err
}

func decodeLatin1(octets []byte) string {
	s, _ := decodeBytes(octets, func(c byte) rune { return rune(c) })
	return s
}

func decodeBytes(octets []byte, char func(byte) rune) (string, error) {
	var b strings.Builder
	b.Grow(len(octets) + len(octets)/2)
	var err error
	for _, c := range octets {
		r := char(c)
		if r == utf8.RuneError {
			err = errMalformedText
		}
		b.WriteRune(r)
	}
	return b.String(), err
}

// cyrillic is ISO 8859-5, which runs alongside Unicode but for three characters.
func cyrillic(c byte) rune {
	switch {
	case c <= 0xa0 || c == 0xad:
		return rune(c)
	case c == 0xf0:
		return '№'
	case c == 0xfd:
		return '§'
	}
	return rune(c) + 0x0360
}

// decodeUCS2 decodes UTF-16BE: what is called UCS-2 has carried surrogate pairs ever
// since phones have had emoji.
func decodeUCS2(octets []byte) (string, error) {
	var b strings.Builder
	b.Grow(len(octets))
	var err error
	i := 0
	for ; i+1 < len(octets); i += 2 {
		r := rune(octets[i])<<8 | rune(octets[i+1])
		if utf16.IsSurrogate(r) {
			pair := rune(utf8.RuneError)
			if i+3 < len(octets) {
				pair = utf16.DecodeRune(r, rune(octets[i+2])<<8|rune(octets[i+3]))
			}
			if r = pair; r == utf8.RuneError {
				err = errMalformedText
			} else {
				i += 2
			}
		}
		b.WriteRune(r)
	}
	if i < len(octets) {
		err = errMalformedText
		b.WriteRune(utf8.RuneError)
	}
	return b.String(), err
}
