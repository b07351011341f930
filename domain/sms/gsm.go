package sms

import "unicode/utf8"

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

// decodeGSM decodes septets, one an octet. Octets above 0x7F and codes that the tables do not
// have become U+FFFD. A code that the shift table does not have is shown as the character of the
// locking table, and an escape to another table, which is reserved, as a space (3GPP TS 23.038
// §6.2.1.1). part says that the text goes on in another part, so that an escape at its end is
// no damage.
func decodeGSM(octets []byte, a *alphabet7, part bool) string {
	b := make([]byte, 0, len(octets)+8)
	char := func(c byte) rune {
		if c >= 0x80 || a.locking[c] == 0 {
			return utf8.RuneError
		}
		return a.locking[c]
	}
	for i := 0; i < len(octets); i++ {
		c := octets[i]
		r := rune(utf8.RuneError)
		switch {
		case c != gsmEscape:
			r = char(c)
		case i+1 < len(octets):
			i++
			switch next := octets[i]; {
			case next == gsmEscape:
				r = ' '
			case next < 0x80 && a.shift[next] != 0:
				r = a.shift[next]
			default:
				r = char(next)
			}
		case part:
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return string(b)
}

// unpack divides octets into septets, the lowest bits first, after some fill bits (3GPP TS 23.038
// §6.1.2). Seven bits at the end that are 0, or a carriage return that fills them, are no
// character.
func unpack(octets []byte, fill int) []byte {
	n := (8*len(octets) - fill) / 7
	if n <= 0 {
		return nil
	}
	out := make([]byte, n)
	for i := range out {
		bit := fill + 7*i
		v := uint16(octets[bit/8])
		if bit/8+1 < len(octets) {
			v |= uint16(octets[bit/8+1]) << 8
		}
		out[i] = byte(v>>(bit%8)) & 0x7f
	}
	if last := out[n-1]; (8*len(octets)-fill)%7 == 0 && (last == 0 || last == '\r') {
		out = out[:n-1]
	}
	return out
}
