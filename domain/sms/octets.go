package sms

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
)

// Bounds of an InboundText. A text of 255 parts has 39,015 characters at most (3GPP TS 23.040).
const (
	// maxTexts is how many texts it has.
	maxTexts = 6
	// maxText is how long the first text is at most, and maxOther each of the others, in octets
	// of JSON: a control character takes six.
	maxText  = 40 << 10
	maxOther = 4 << 10
)

// InboundText is what the octets of an inbound message may say.
type InboundText struct {
	// Texts are the readings that the octets allow, the most likely first, at most six. Each is
	// valid UTF-8, and has U+FFFD for octets that it cannot be read from. The first has at most
	// 40 KiB, the others 4 KiB. A text of control characters alone is no reading.
	Texts []string
	// Concat says which part of a message this is; nil: it is whole.
	Concat *Concat
	// Damaged says that something could not be read, or that the first text was cut: it may ask
	// for anything.
	Damaged bool
}

// ReadOctets reads the octets of a short_message or message_payload. header says that a user data
// header is in front (esm_class 0x40). alphabet is what the carrier means by data_coding 0: GSM7
// (one octet a septet), unless it is Latin1 or UCS2.
//
// data_coding is read as SMPP 3.4 §5.2.19 has it, and from 0x0F as 3GPP TS 23.038 §4 has it:
// reserved values are the default alphabet of GSM. But carriers label one coding as another. So
// what else the octets may be is read too, where it is plausible as the text of a person: UTF-8,
// UTF-16 of either byte order with or without a mark, ISO 8859-1 (with the additions of Windows
// code page 1252), ASCII, and GSM septets, packed or not. For example "STOP" in ASCII under
// data_coding 8 reads as two Chinese characters too; both are returned.
//
// A body that no text is found in, as a binary one, is Damaged. It has no Texts, or the characters
// that can be read, or what a few octets of any kind may be.
func ReadOctets(dataCoding byte, octets []byte, header bool, alphabet Encoding) InboundText {
	var out InboundText
	r := textReader{alphabet: defaultAlphabet()}
	whole := octets
	var broken error
	r.label, r.compressed = labelOf(dataCoding, alphabet)
	if !header {
		header = lostFlag(octets)
	}
	if header {
		var udh userHeader
		udh, broken = splitUDH(octets)
		out.Concat = udh.concat
		r.part = udh.concat != nil && udh.concat.Parts > 1
		octets = octets[udh.end:]
		r.fill = (7 - 8*udh.end%7) % 7
		own, known := nationalAlphabet(udh.locking, udh.shift)
		r.alphabet, r.national, out.Damaged = own, udh.locking != 0 || udh.shift != 0, broken != nil || !known
	}
	if len(octets) == 0 && broken == nil {
		return out
	}
	r.read(octets)
	if header && (broken != nil || len(whole)-len(octets) == 1) {
		r.read(whole) // where there is no header after all, or an empty one, its octets are text
	}
	var damaged bool
	out.Texts, damaged = r.texts()
	out.Damaged = out.Damaged || damaged || r.compressed
	return out
}

// lostFlag reports whether the octets begin with a header that divides a message, although
// esm_class does not say so. As text the header would be "é@¥" or "ò" and control characters.
func lostFlag(b []byte) bool {
	at := 3
	switch {
	case bytes.HasPrefix(b, []byte{5, ieConcat8, 3}):
	case bytes.HasPrefix(b, []byte{6, ieConcat16, 4}):
		at = 4
	default:
		return false
	}
	return len(b) > at+2 && b[at+1] > 1 && b[at+2] >= 1 && b[at+2] <= b[at+1]
}

// label is the coding that data_coding names.
type label uint8

const (
	labelGSM label = iota
	labelASCII
	labelBinary
	labelLatin1
	labelJIS
	labelCyrillic
	labelHebrew
	labelUCS2
	labelISO2022JP
	labelJISX0212
	labelKorean
)

// smppLabels are the codings of SMPP 3.4 §5.2.19 below 0x0F. 0x09, pictograms, is Shift JIS with
// additions of Japanese carriers. 0x0B and 0x0C are reserved.
var smppLabels = [...]label{0x01: labelASCII, 0x02: labelBinary, 0x03: labelLatin1, 0x04: labelBinary, 0x05: labelJIS, 0x06: labelCyrillic,
	0x07: labelHebrew, 0x08: labelUCS2, 0x09: labelJIS, 0x0a: labelISO2022JP, 0x0b: labelGSM, 0x0c: labelGSM, 0x0d: labelJISX0212, 0x0e: labelKorean}

// labelOf reads data_coding. A compressed text (3GPP TS 23.042) cannot be read.
func labelOf(dc byte, alphabet Encoding) (l label, compressed bool) {
	switch {
	case dc == 0 && alphabet == Latin1:
		return labelLatin1, false
	case dc == 0 && alphabet == UCS2:
		return labelUCS2, false
	case int(dc) < len(smppLabels):
		return smppLabels[dc], false
	case dc < 0x80: // general, and marked for automatic deletion; bits 3 and 2 are the alphabet
		return [...]label{labelGSM, labelBinary, labelUCS2, labelGSM}[dc>>2&3], dc&0x20 != 0
	case dc >= 0xe0 && dc <= 0xef: // message waiting, store, UCS-2
		return labelUCS2, false
	case dc >= 0xf0 && dc&0x04 != 0:
		return labelBinary, false
	}
	return labelGSM, false
}

// How much a text looks like one that a person wrote.
const (
	gradeDamaged = iota // it has U+FFFD, control characters, or codes that are no characters
	gradeMixed          // its letters are of several scripts
	gradeSparse         // few of its characters are letters, digits or spaces
	gradeNatural
)

// What speaks for a reading besides its grade, or against it. A grade is worth ten.
const (
	hardly       = -40 // octets of many kinds read so: it is kept, and does not count as having been read
	ratherPacked = 1   // packed septets, which few other octets look like
	ratherLabel  = 12  // data_coding says so
	ratherASCII  = 14  // every octet is a plain ASCII character, and data_coding says two octets a character
	ratherZeros  = 16  // every other octet is 0, as in Latin text in UTF-16; or it is UTF-8 beyond ASCII
	ratherMarked = 40  // a byte order mark says so
)

// textReading is one text that octets may be.
type textReading struct {
	text  string
	grade int
	score int
}

// read reports whether the octets count as read by it.
func (c *textReading) read() bool { return c.grade > gradeDamaged && c.score >= 0 }

// textReader reads the octets of one message.
type textReader struct {
	label      label
	compressed bool
	alphabet   *alphabet7
	fill       int  // fill bits between a header and packed septets
	part       bool // the text goes on in another part
	national   bool // a header names national tables

	readings []textReading
}

// add adds a reading. One that data_coding does not name must look like text.
func (r *textReader) add(text string, score int, atLeast int) {
	text = strings.TrimRight(strings.TrimPrefix(text, "\ufeff"), "\x00")
	grade, _, empty := gradeOf(text)
	if empty || grade < atLeast {
		return
	}
	if r.national && r.label == labelGSM && score != ratherLabel && score != ratherPacked {
		score = hardly
	}
	score += 10 * grade
	for i := range r.readings {
		if f := &r.readings[i]; f.text == text {
			f.score = max(f.score, score)
			return
		}
	}
	r.readings = append(r.readings, textReading{text, grade, score})
}

// read adds the readings of octets.
func (r *textReader) read(octets []byte) {
	if r.marked(octets) {
		return
	}
	plain := plainShare(octets)
	if plain == 100 && r.label != labelUCS2 && r.label != labelJIS && r.label != labelJISX0212 && r.label != labelISO2022JP &&
		!(r.national && r.label == labelGSM) {
		r.add(string(octets), ratherLabel, gradeDamaged) // every other coding has the same characters
		return
	}
	r.labelled(octets)
	// What else the octets may be. Where data_coding gives a text, something else must be a better one.
	best := gradeDamaged
	for i := range r.readings {
		best = max(best, r.readings[i].grade)
	}
	needs := gradeNatural
	if best == gradeDamaged {
		needs = gradeSparse
	}
	ascii := isASCII(octets)
	switch {
	case ascii && r.label == labelUCS2 && plain == 100:
		r.add(string(octets), ratherASCII, gradeSparse)
	case ascii:
		r.add(string(octets), 0, needs)
	case utf8.Valid(octets):
		r.add(string(octets), ratherZeros, gradeSparse)
	}
	if plain >= 60 && !ascii {
		if text := decodeBytes(octets, charmap.Windows1252); western(text) {
			r.add(text, 0, needs)
		}
	}
	if plain >= 60 && best == gradeDamaged {
		r.add(decodeGSM(octets, r.alphabet, r.part), 0, needs)
	}
	if plain < 100 {
		r.utf16(octets, plain, needs)
		r.packed(octets, plain)
	}
}

// marked reads octets that begin with a byte order mark.
func (r *textReader) marked(b []byte) bool {
	switch {
	case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
		r.add(decodeUTF16(b[2:], binary.BigEndian, r.part), ratherMarked, gradeDamaged)
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		r.add(decodeUTF16(b[2:], binary.LittleEndian, r.part), ratherMarked, gradeDamaged)
	case bytes.HasPrefix(b, []byte{0xef, 0xbb, 0xbf}):
		r.add(strings.ToValidUTF8(string(b[3:]), "\ufffd"), ratherMarked, gradeDamaged)
	default:
		return false
	}
	return len(r.readings) > 0 && r.readings[len(r.readings)-1].grade > gradeDamaged
}

// labelled adds the readings that data_coding names.
func (r *textReader) labelled(b []byte) {
	text := func(s string) { r.add(s, ratherLabel, gradeDamaged) }
	other := func(e encoding.Encoding, octets []byte) { r.add(decodeWith(e, octets), 0, gradeSparse) }
	switch r.label {
	case labelGSM:
		text(decodeGSM(b, r.alphabet, r.part))
	case labelASCII:
		text(strings.ToValidUTF8(asciiOnly(b), "\ufffd"))
	case labelLatin1:
		text(decodeBytes(b, charmap.Windows1252))
	case labelCyrillic:
		text(decodeBytes(b, charmap.ISO8859_5))
	case labelHebrew:
		text(decodeBytes(b, charmap.ISO8859_8))
	case labelUCS2:
		text(decodeUTF16(b, binary.BigEndian, r.part))
	case labelKorean:
		text(decodeWith(korean.EUCKR, b))
	case labelJIS, labelISO2022JP, labelJISX0212:
		if bytes.IndexByte(b, 0x1b) >= 0 {
			text(decodeWith(japanese.ISO2022JP, b))
		} else {
			text(decodeWith(japanese.ShiftJIS, b))
		}
		other(japanese.EUCJP, b)
		if !rows94(b) {
			break
		}
		// Two octets a character without shifts: JIS X 0208 or, under 0x0D, JIS X 0212.
		set := "\x1b$B"
		if r.label == labelJISX0212 {
			set = "\x1b$(D"
		}
		other(japanese.ISO2022JP, append([]byte(set), b...))
	}
}

// utf16 adds UTF-16 in the byte orders that are plausible.
func (r *textReader) utf16(b []byte, plain, needs int) {
	high, low := 0, 0 // octets that are 0, at even and odd places
	pairs := len(b) / 2
	for i := 0; i+1 < len(b); i += 2 {
		if b[i] == 0 {
			high++
		}
		if b[i+1] == 0 {
			low++
		}
	}
	if pairs == 0 || len(b)%2 != 0 && r.label != labelUCS2 && high != pairs && low != pairs {
		return
	}
	for _, o := range []struct {
		order binary.ByteOrder
		zeros int
	}{{binary.BigEndian, high}, {binary.LittleEndian, low}} {
		text, score := decodeUTF16(b, o.order, r.part), 0
		switch {
		case o.zeros == pairs:
			score = ratherZeros
		case r.label == labelUCS2:
		case plain >= 60 || pairs < 2:
			score = hardly
		case 2*o.zeros < pairs:
			if _, group, _ := gradeOf(text); group <= groupLatin {
				score = hardly // Latin text has zeros
			}
		}
		r.add(text, score, needs)
	}
}

// packed adds septets that were left as they are on the air (3GPP TS 23.038 §6.1.2.1), with and
// without the fill bits that follow a header. They must be nearly all plain characters: a third of
// all septets is not.
func (r *textReader) packed(b []byte, plain int) {
	if len(b) < 2 || len(b) > 2*userData {
		return
	}
	fills := []int{r.fill, 0}
	if r.fill == 0 {
		fills = fills[:1]
	}
	for _, fill := range fills {
		septets := unpack(b, fill)
		if plainShare(septets) < 85 {
			continue
		}
		score := ratherPacked
		if plain >= 60 || len(septets) < 4 {
			score = hardly
		}
		r.add(decodeGSM(septets, r.alphabet, r.part), score, gradeNatural)
	}
}

// texts returns the readings in order, and whether the best of them is damaged.
func (r *textReader) texts() (out []string, damaged bool) {
	slices.SortStableFunc(r.readings, func(a, b textReading) int { return cmp.Compare(b.score, a.score) })
	damaged = true
	for i := range r.readings {
		if i == maxTexts {
			break
		}
		most := maxOther
		if i == 0 {
			most = maxText
		}
		text, whole := cutText(r.readings[i].text, most)
		if i == 0 {
			damaged = !r.readings[i].read() || !whole
		}
		out = append(out, text)
	}
	return out, damaged
}

// cutText returns the beginning of a text that takes at most so many octets of JSON.
func cutText(text string, most int) (string, bool) {
	if 6*len(text) <= most {
		return text, true
	}
	n := 0
	for i, r := range text {
		switch {
		case r < 0x20, r == 0x7f, r == '\u2028', r == '\u2029':
			n += 6
		case r == '"', r == '\\':
			n += 2
		default:
			n += utf8.RuneLen(r)
		}
		if n > most {
			return text[:i], false
		}
	}
	return text, true
}

// western reports whether a text of one octet a character is one: at most a fifth of it is other
// than letters, digits and common signs. Random octets have more.
func western(text string) bool {
	runes, odd := 0, 0
	for _, c := range text {
		runes++
		if !(c < 0x80 && plainOctets[c] || c >= 0x80 && unicode.IsLetter(c)) {
			odd++
		}
	}
	return 5*odd <= runes
}

// gradeOf grades a text, and says which scripts it is in; 0 if only in signs that go with every
// script. empty says that it has nothing that can be read.
func gradeOf(text string) (grade, group int, empty bool) {
	var runes, words, readable, strange int
	damaged, mixed := false, false
	for _, c := range text {
		runes++
		switch {
		case c == utf8.RuneError:
			damaged = true
			continue
		case c == '\n' || c == '\r' || c == '\t' || c == '\f':
		case c < 0x20 || c == 0x7f:
			damaged = true
			continue
		case c < 0x80:
			readable++
			if c == ' ' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' {
				words++
			}
		case c < 0xa0:
			damaged = true
			continue
		case c < 0x10000 && !(c >= 0x4e00 && c < 0x9fa6 || c >= 0xac00 && c < 0xd7a4) && !unicode.IsGraphic(c) && !unicode.Is(unicode.Cf, c) && c != '\u2028' && c != '\u2029':
			strange++ // private use, or not assigned
			continue
		default:
			readable++
			if c >= 0x3400 && c < 0x4dc0 { // Han that is hardly written
				mixed = true
			}
			g := groupOf(c)
			if g == 0 {
				continue
			}
			words++
			mixed = mixed || group != 0 && group != g
			group = g
		}
	}
	switch {
	case readable == 0:
		return gradeDamaged, group, true
	case damaged || 4*strange > runes:
		return gradeDamaged, group, false
	case mixed || strange > 0:
		return gradeMixed, group, false
	case 2*words < runes:
		return gradeSparse, group, false
	}
	return gradeNatural, group, false
}

// groupLatin is the group of Latin letters beyond ASCII. Those in ASCII go with every script.
const groupLatin = 1

// groupOf is a number for the scripts that are written together, as Han and Kana; 0 for signs
// that go with every script.
func groupOf(c rune) int {
	switch {
	case c < 0x0250 || c >= 0x1e00 && c < 0x1f00:
		if unicode.IsLetter(c) {
			return groupLatin
		}
		return 0
	case c < 0x0370: // phonetic letters and combining marks
		return 0
	case c < 0x0400 || c >= 0x1f00 && c < 0x2000:
		return 2
	case c < 0x0530:
		return 3
	case c < 0x0600:
		return 4
	case c < 0x0780 || c >= 0xfb50 && c < 0xfe00 || c >= 0xfe70 && c < 0xff00:
		return 5
	case c >= 0x3000 && c < 0x3040 || c >= 0xff00 && c < 0xfff0: // signs of East Asia, and wide letters
		return 0
	case c >= 0x2e80 && c < 0xa000 || c >= 0xf900 && c < 0xfb00 || c >= 0x20000 && c < 0x30000:
		return 6
	case c >= 0x1100 && c < 0x1200 || c >= 0xac00 && c < 0xd800:
		return 8
	case c >= 0x1200 && c < 0x1400:
		return 7
	case c >= 0x2000 && c < 0x2e80 || c >= 0xfe00 && c < 0xfe70 || c >= 0x1f000: // signs and emoji
		return 0
	}
	return 0x100 + int(c>>8)
}

// plainOctets are the letters, digits and common signs that ASCII and the default alphabet of GSM
// have at the same codes.
var plainOctets = func() (t [256]bool) {
	for _, c := range []byte("\n\r !\"#%&'()*+,-./:;?") {
		t[c] = true
	}
	for c := byte('0'); c <= '9'; c++ {
		t[c] = true
	}
	for c := byte('A'); c <= 'Z'; c++ {
		t[c], t[c|0x20] = true, true
	}
	return t
}()

// plainShare is how many of a hundred octets are plain.
func plainShare(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	n := 0
	for _, c := range b {
		if plainOctets[c] {
			n++
		}
	}
	return n * 100 / len(b)
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// rows94 reports whether the octets can be pairs of a set of 94 by 94 characters (ISO/IEC 2022).
func rows94(b []byte) bool {
	for _, c := range b {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return len(b)%2 == 0
}

// asciiOnly leaves octets above 0x7F as they are, which is not valid UTF-8.
func asciiOnly(b []byte) string {
	if isASCII(b) {
		return string(b)
	}
	out := bytes.Clone(b)
	for i, c := range out {
		if c >= 0x80 {
			out[i] = 0xff
		}
	}
	return string(out)
}

func decodeBytes(octets []byte, m *charmap.Charmap) string {
	b := make([]byte, 0, len(octets)+len(octets)/2)
	for _, c := range octets {
		b = utf8.AppendRune(b, m.DecodeByte(c))
	}
	return string(b)
}

// decodeWith decodes; octets that the coding does not have become U+FFFD.
func decodeWith(e encoding.Encoding, octets []byte) string {
	b, err := e.NewDecoder().Bytes(octets)
	if err != nil {
		return "\ufffd"
	}
	return strings.ToValidUTF8(string(b), "\ufffd")
}

// decodeUTF16 decodes UTF-16. It is called UCS-2, but since phones have emoji it has surrogate
// pairs too. An octet 0 after the last pair is no damage, and neither is half of a surrogate pair
// at an end of a part of a message.
func decodeUTF16(octets []byte, order binary.ByteOrder, part bool) string {
	b := make([]byte, 0, len(octets)+len(octets)/2)
	n := len(octets) &^ 1
	for i := 0; i < n; i += 2 {
		c := rune(order.Uint16(octets[i:]))
		if utf16.IsSurrogate(c) {
			first := i == 0 && c >= 0xdc00
			if i+2 < n {
				c = utf16.DecodeRune(c, rune(order.Uint16(octets[i+2:])))
			} else {
				first, c = first || c < 0xdc00, utf8.RuneError
			}
			if c != utf8.RuneError {
				i += 2
			} else if part && first {
				continue
			}
		}
		b = utf8.AppendRune(b, c)
	}
	if n < len(octets) && octets[n] != 0 {
		b = utf8.AppendRune(b, utf8.RuneError)
	}
	return string(b)
}
