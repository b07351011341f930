package sms

import (
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The GSM 7 bit default alphabet (3GPP TS 23.038 §6.2.1), by code. Code 0x1B is the escape to the
// extension table, and no character.
const gsmDefault = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ" +
	" !\"#¤%&'()*+,-./0123456789:;<=>?" +
	"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§" +
	"¿abcdefghijklmnopqrstuvwxyzäöñüà"

const gsmEscape = 0x1b

// The extension table of the default alphabet (3GPP TS 23.038 §6.2.1.1). Its codes for CR2 (0x0D,
// a control) and SS2 (0x1B, reserved) are no characters.
var gsmExtension = [...]struct {
	code byte
	char rune
}{
	{0x0a, '\f'}, {0x14, '^'}, {0x28, '{'}, {0x29, '}'}, {0x2f, '\\'},
	{0x3c, '['}, {0x3d, '~'}, {0x3e, ']'}, {0x40, '|'}, {0x65, '€'},
}

// gsmCode says how a character is written: as one septet, or as an escape and one septet.
type gsmCode struct {
	septets byte // 1 or 2; 0 means that the alphabet does not have the character
	code    byte
}

var (
	gsmRune    [128]rune // the default table
	gsmExtRune [128]rune // the extension table; 0 where it has no character
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

// inLatin1 reports whether r is a graphic character of ISO 8859-1, a line feed or a carriage
// return. Other control characters are left out: message centres treat them differently.
func inLatin1(r rune) bool {
	return r >= 0x20 && r <= 0x7e || r >= 0xa0 && r <= 0xff || r == '\n' || r == '\r'
}

// Errors of DecodeText.
var (
	// errUnknownCoding means that this package cannot read text in that data_coding (8-bit
	// binary, JIS, pictogram, ...).
	errUnknownCoding = errors.New("the data coding is none of the text codings that are supported")
	// errMalformedText means that the coding does not allow some of the octets. The text has
	// U+FFFD instead of them.
	errMalformedText = errors.New("the octets are not valid in their data coding")
)

// DecodeText decodes the octets of a short_message, without its user data header, by data_coding
// (SMPP 3.4 §5.2.19):
//
//   - 0: by alphabet, which is what the carrier of the account means by 0: GSM7 (one octet a
//     septet), unless it is Latin1 or UCS2;
//   - 1: ASCII; 3: ISO 8859-1; 6: ISO 8859-5; 8: UTF-16BE;
//   - 0x10 to 0x1B and 0xF0 to 0xFF: the data coding schemes of 3GPP TS 23.038 §4 that carriers
//     pass through.
//
// With errMalformedText it still returns the text that can be read, because a person, or this
// package, may find a revocation in it. With errUnknownCoding it returns no text.
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
			// A code that the extension table does not have is shown as the default table's
			// character. An escape to another table, which is reserved, is shown as a space.
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

// cyrillic decodes a character of ISO 8859-5. Its codes have a fixed distance to Unicode's,
// except for three characters.
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

// decodeUCS2 decodes UTF-16BE. It is called UCS-2, but since phones have emoji it has surrogate
// pairs too.
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
