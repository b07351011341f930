package sms

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
)

// pack writes septets as they are on the air, behind some fill bits.
func pack(septets string, fill int) string {
	out := make([]byte, (fill+7*len(septets)+7)/8)
	for i := range len(septets) {
		bit := fill + 7*i
		v := uint16(septets[i]) << (bit % 8)
		out[bit/8] |= byte(v)
		if v > 0xff {
			out[bit/8+1] |= byte(v >> 8)
		}
	}
	return string(out)
}

// utf16Octets writes UTF-16.
func utf16Octets(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

var be, le binary.AppendByteOrder = binary.BigEndian, binary.LittleEndian

// waysOfStop are the ways in which carriers are known to write a text, with any data_coding on it.
func waysOfStop(word string) map[string]string {
	return map[string]string{
		"ASCII":                        word,
		"ASCII with a NUL":             word + "\x00",
		"UTF-8 with a mark":            "\xef\xbb\xbf" + word,
		"UCS-2":                        utf16Octets(word, be),
		"UCS-2 with a mark":            "\xfe\xff" + utf16Octets(word, be),
		"UCS-2, little-endian":         utf16Octets(word, le),
		"UCS-2, little-endian, marked": "\xff\xfe" + utf16Octets(word, le),
		"UCS-2 and one octet 0":        utf16Octets(word, be) + "\x00",
		"packed septets":               pack(word, 0),
	}
}

// STOP is read under every data_coding, in whichever way it is written.
func TestStopUnderEveryLabel(t *testing.T) {
	for _, word := range []string{"STOP", "Stop", "STOPP", "UNSUBSCRIBE", "stop all"} {
		for way, octets := range waysOfStop(word) {
			for dc := range 256 {
				for _, alphabet := range []Encoding{GSM7, Latin1} {
					r := ReadOctets(byte(dc), []byte(octets), false, alphabet)
					if !slices.Contains(r.Texts, word) {
						t.Errorf("%s, %s, data_coding %#02x, %s: %q", word, way, dc, alphabet, r.Texts)
					}
					if compressed := dc >= 0x20 && dc < 0x40 || dc >= 0x60 && dc < 0x80; r.Damaged != compressed {
						t.Errorf("%s, %s, data_coding %#02x, %s: damaged %v, %q", word, way, dc, alphabet, r.Damaged, r.Texts)
					}
				}
			}
		}
	}
}

func TestReadOctets(t *testing.T) {
	sjis, _ := japanese.ShiftJIS.NewEncoder().String("配信停止")
	iso, _ := japanese.ISO2022JP.NewEncoder().String("配信停止")
	euckr, _ := korean.EUCKR.NewEncoder().String("수신거부")
	const concat = "\x05\x00\x03\x07\x02\x01"
	part := &Concat{7, 1, 2}
	for _, c := range []struct {
		name     string
		coding   byte
		octets   string
		header   bool
		alphabet Encoding
		first    string   // the first reading
		others   []string // readings that must be among the rest
		concat   *Concat
		damaged  bool
	}{
		{name: "GSM", octets: "Stop\x00\x1b\x65", first: "Stop@€"},
		{name: "no alphabet", octets: "Stop", first: "Stop"},
		{name: "empty"},
		{name: "empty binary", coding: 4},
		{name: "characters that the shift table lacks", octets: "hello \x1bA\x1b\x1b\x1b\x14", first: "hello A ^"},
		{name: "escape at the end", octets: "hello a\x1b", first: "hello a\ufffd", damaged: true},
		{name: "escape at the end of a part", octets: concat + "hello a\x1b", header: true, first: "hello a", concat: part},
		{name: "Latin-1 under GSM", octets: "arr\xeat", first: "arrêt"},
		{name: "quote of Windows under GSM", octets: "don\x92t text me", first: "don’t text me"},
		{name: "UTF-8 under GSM", octets: "arrêt", first: "arrêt"},
		{name: "UTF-8 under Latin-1", coding: 3, octets: "arrêt", first: "arrêt", others: []string{"arrÃªt"}},
		{name: "UTF-8 under UCS-2", coding: 8, octets: "停止", first: "停止"},
		{name: "UTF-8 under binary", coding: 4, octets: "СТОП", first: "СТОП"},
		{name: "Latin-1", octets: "@ arr\xeat", alphabet: Latin1, first: "@ arrêt"},
		{name: "ASCII under GSM", octets: "user_name@x", first: "user§name¡x", others: []string{"user_name@x"}},
		{name: "UCS-2 as the alphabet", octets: "\x04\x4f", alphabet: UCS2, first: "я"},
		{name: "ASCII", coding: 1, octets: "Stop", first: "Stop"},
		{name: "not ASCII", coding: 1, octets: "\xe9\xe8", first: "iQ", damaged: true},
		{name: "Latin-1 by label", coding: 3, octets: "@ arr\xeat", first: "@ arrêt"},
		{name: "Cyrillic", coding: 6, octets: "\xc1\xe2\xde\xdf \xf0\xf1\xfd\xa1\xa0\xad", first: "Стоп №ё§Ё\u00a0\u00ad"},
		{name: "Hebrew", coding: 7, octets: "\xe4\xf1\xf8", first: "הסר"},
		{name: "Shift JIS", coding: 5, octets: sjis, first: "配信停止"},
		{name: "pictogram", coding: 9, octets: sjis, first: "配信停止"},
		{name: "ISO-2022-JP", coding: 10, octets: iso, first: "配信停止"},
		{name: "ISO-2022-JP under JIS", coding: 5, octets: iso, first: "配信停止"},
		{name: "JIS X 0208 without shifts", coding: 5, octets: strings.NewReplacer("\x1b$B", "", "\x1b(B", "").Replace(iso), others: []string{"配信停止"}},
		{name: "JIS X 0212 without shifts", coding: 13, octets: "\x30\x21", others: []string{"丂"}},
		{name: "KS C 5601", coding: 14, octets: euckr, first: "수신거부"},
		{name: "UCS-2", coding: 8, octets: "\x00S\xd8\x3d\xde\x00", first: "S😀"},
		{name: "half of a pair", coding: 8, octets: "\x00S\xd8\x3d\x00S", first: "S\ufffdS", damaged: true},
		{name: "halves in the wrong order", coding: 8, octets: "\x00S\xde\x00\xd8\x3d", first: "S\ufffd\ufffd", damaged: true},
		{name: "half of a pair at the end", coding: 8, octets: "\x00S\xd8\x3d", first: "S\ufffd", damaged: true},
		{name: "half of a pair at the end of a part", coding: 8, octets: concat + "\x00S\xd8\x3d", header: true, first: "S", concat: part},
		{name: "half of a pair at the start of a part", coding: 8, octets: concat + "\xde\x00\x00S", header: true, first: "S", concat: part},
		{name: "an octet too many", coding: 8, octets: "\x04\x21\x04\x22\x04", first: "СТ\ufffd", damaged: true},
		{name: "STOP in ASCII under UCS-2", coding: 8, octets: "STOP", first: "STOP", others: []string{"協佐"}},
		{name: "Latin-1 under UCS-2", coding: 8, octets: "arr\xeats", others: []string{"arrêts"}},
		{name: "Chinese", coding: 8, octets: utf16Octets("退订", be), first: "退订"},
		{name: "Chinese under GSM", octets: utf16Octets("退订", be), first: "退订"},
		{name: "Chinese under GSM, all octets below 0x80", octets: utf16Octets("停止", be), others: []string{"停止"}},
		{name: "Chinese under binary", coding: 4, octets: utf16Octets("停止", be), others: []string{"停止"}},
		{name: "Russian under GSM", octets: utf16Octets("СТОП", be), others: []string{"СТОП"}},
		{name: "Russian, little-endian", coding: 8, octets: utf16Octets("Стоп", le), first: "Стоп"},
		{name: "Arabic under Latin-1", coding: 3, octets: utf16Octets("إيقاف", be), first: "إيقاف"},
		{name: "Hindi, message waiting", coding: 0xe0, octets: utf16Octets("बंद करो", be), first: "बंद करो"},
		{name: "with a class", coding: 0x10, octets: "Stop\x00", alphabet: Latin1, first: "Stop@"},
		{name: "of a class", coding: 0xf1, octets: "Stop\x00", first: "Stop@"},
		{name: "UCS-2 with a class", coding: 0x18, octets: "\x04\x4f", first: "я"},
		{name: "marked for deletion", coding: 0x48, octets: "\x04\x4f", first: "я"},
		{name: "reserved", coding: 0x8f, octets: "Stop\x00", first: "Stop@"},
		{name: "0x0F", coding: 0x0f, octets: "Stop\x00", first: "Stop@"},
		{name: "binary", coding: 4, octets: "\x01\x02", first: "Ă", damaged: true},
		{name: "an SVG or a ring tone", coding: 0xf5, octets: "\x02\x4a\x3a\x51\xd1\x95\xcd\xd0\x08\x00\x1b\x20\x55\x05\x90\x61", damaged: true},
		{name: "control characters", coding: 3, octets: "\x01\x02\x03\x04", first: "Ă\u0304", damaged: true},
		{name: "compressed", coding: 0x20, octets: "\x91\x02\xc3\x04\x85", damaged: true, first: "\ufffd$\ufffdè\ufffd"},
		{name: "8-bit reference", octets: concat + "STO", header: true, first: "STO", concat: part},
		{name: "16-bit reference", octets: "\x06\x08\x04\x01\x07\x02\x01STO", header: true, first: "STO", concat: &Concat{0x107, 1, 2}},
		{name: "a header that esm_class does not show", octets: concat + "STO", first: "STO", concat: part},
		{name: "empty header", octets: "\x00STOP", header: true, first: "STOP"},
		{name: "no header", octets: "STOP", header: true, first: "STOP", damaged: true},
		{name: "broken header", octets: "\x05\x00\x04\x07\x02\x01STOP", header: true, first: "STOP", damaged: true},
		{name: "broken header over the whole text", octets: "\x04STOP", header: true, first: "èSTOP", damaged: true},
		{name: "mark behind a header", coding: 8, octets: concat + "\xff\xfeS\x00T\x00", header: true, first: "ST", concat: part},
		{name: "packed behind a header", octets: concat + pack("STOP", 1), header: true, first: "STOP", concat: part},
		{name: "packed behind a header, 8-bit", coding: 4, octets: concat + pack("STOP", 1), header: true, first: "STOP", concat: part},
		{name: "packed behind a header without fill bits", octets: concat + pack("STOP", 0), header: true, first: "STOP", concat: part},
		{name: "packed, eight characters", octets: pack("STOP ALL", 0), first: "STOP ALL"},
		{name: "packed, seven characters", octets: pack("STOPALL", 0), first: "STOPALL"},
		{name: "packed, seven characters and a carriage return", octets: pack("STOPALL\r", 0), first: "STOPALL"},
		{name: "Turkish", octets: "\x06\x24\x01\x01\x25\x01\x01\x40 \x1bS\x1c\x07", header: true, first: "İ ŞŞı"},
		{name: "Turkish shift table alone", octets: "\x03\x24\x01\x01\x1bS\x1bi\x60", header: true, first: "Şı¿"},
		{name: "Spanish", octets: "\x03\x24\x01\x02\x1bA \x1bo", header: true, first: "Á ó"},
		{name: "Portuguese", octets: "\x06\x24\x01\x03\x25\x01\x03N\x7bo \x1b\x61", header: true, first: "Não Â"},
		{name: "Hindi", octets: "\x03\x25\x01\x06\x40\x01\x2b \x15\x44\x5d", header: true, first: "बंद करो"},
		{name: "Urdu", octets: "\x03\x25\x01\x0d\x02\x1a", header: true, first: "بد"},
		{name: "locking table that does not exist", octets: "\x03\x25\x01\x02STOP", header: true, first: "STOP", damaged: true},
		{name: "shift table that does not exist", octets: "\x03\x24\x01\x0eSTOP", header: true, first: "STOP", damaged: true},
		{name: "code without a character", octets: "\x03\x25\x01\x04abc\x0c", header: true, first: "abc\ufffd", damaged: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ReadOctets(c.coding, []byte(c.octets), c.header, c.alphabet)
			first := ""
			if len(r.Texts) > 0 {
				first = r.Texts[0]
			}
			if r.Damaged != c.damaged || c.others == nil && first != c.first || c.first != "" && first != c.first {
				t.Errorf("%q, damaged %v", r.Texts, r.Damaged)
			}
			for _, o := range c.others {
				if !slices.Contains(r.Texts, o) {
					t.Errorf("%q is not among %q", o, r.Texts)
				}
			}
			if (r.Concat == nil) != (c.concat == nil) || c.concat != nil && *r.Concat != *c.concat {
				t.Errorf("concat %v", r.Concat)
			}
		})
	}
}

// Bodies of random octets are held, and not taken for text.
func TestRandomOctetsAreDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := 0
	const bodies = 2000
	for range bodies {
		b := make([]byte, 12+rng.IntN(120))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		for _, dc := range []byte{0, 4, 0xf5} {
			if r := ReadOctets(dc, b, false, GSM7); !r.Damaged {
				texts++
			}
		}
	}
	if texts > 3*bodies/500 {
		t.Errorf("%d of %d binary bodies are taken for text", texts, 3*bodies)
	}
}

// The longest bodies keep to the bounds, and fit into one event with their octets.
func TestInboundTextBounds(t *testing.T) {
	for _, fill := range []string{"<", "\x01", "\"", "a", "\xe9", "\x00", "\x00\x01", "停", "\x20\x28", "\x50\x5c"} {
		for _, dc := range []byte{0, 1, 3, 4, 5, 6, 8, 10, 13, 14, 0x20} {
			r := ReadOctets(dc, []byte(strings.Repeat(fill, (64<<10)/len(fill))), false, GSM7)
			b, err := json.Marshal(r.Texts)
			if err != nil || len(r.Texts) > maxTexts || fill != "<" && len(b) > maxText+5*maxOther+100 {
				t.Errorf("%q, %#x: %d texts, %d octets of JSON, %v", fill, dc, len(r.Texts), len(b), err)
			}
			if len(r.Texts) > 0 && len(r.Texts[0]) > maxText-12 && !r.Damaged {
				t.Errorf("%q, %#x: a text was cut, and nothing says so", fill, dc)
			}
		}
	}
	long := strings.Repeat("STOP it. ", 4000)
	if r := ReadOctets(0, []byte(long), false, GSM7); r.Damaged || r.Texts[0] != long {
		t.Error("a text of 36,000 characters is cut")
	}
}

func TestNationalTables(t *testing.T) {
	for id, tables := range nationalTables {
		for i, table := range tables {
			n := 0
			for at, r := range []rune(table) {
				if r != ' ' {
					n++
				}
				if at >= 128 || at == gsmEscape && r != ' ' || r == utf8.RuneError {
					t.Errorf("language %d, table %d: %q at %#x", id, i, r, at)
				}
			}
			if id > 0 && n < 20 && !(i == 0 && id == 2) && i == 0 {
				t.Errorf("language %d, table %d has %d characters", id, i, n)
			}
		}
	}
	// Every locking table has the letters and digits of ASCII, and every shift table the euro sign
	// and the brackets of the extension table.
	for id := 1; id < len(nationalTables); id++ {
		locking := byte(id)
		if id == 2 {
			locking = 0 // Spanish has a shift table alone
		}
		a, ok := nationalAlphabet(locking, byte(id))
		if !ok {
			t.Errorf("language %d has no tables", id)
		}
		for _, c := range []byte("abcxyz0189 ") {
			if a.locking[c] != rune(c) {
				t.Errorf("language %d: %q is %q", id, c, a.locking[c])
			}
		}
		for _, e := range gsmExtension {
			if a.shift[e.code] != e.char {
				t.Errorf("language %d: escape %#x is %q", id, e.code, a.shift[e.code])
			}
		}
	}
}

func FuzzReadOctets(f *testing.F) {
	f.Add(byte(0), []byte("Stop\x1b\x65\x1b"), byte(0))
	f.Add(byte(8), []byte("\x00S\xd8\x3d\xde\x00"), byte(1))
	f.Add(byte(3), []byte("arr\xeat"), byte(2))
	f.Add(byte(0xf0), []byte("\x06\x24\x01\x01\x25\x01\x01a\xff"), byte(1))
	f.Add(byte(5), []byte("\x1b$B!!\x1b(B"), byte(0))
	f.Fuzz(func(t *testing.T, coding byte, octets []byte, flags byte) {
		alphabet := []Encoding{GSM7, Latin1, UCS2, ""}[flags>>1&3]
		r := ReadOctets(coding, octets, flags&1 != 0, alphabet)
		if len(r.Texts) > maxTexts {
			t.Fatal(len(r.Texts))
		}
		for i, text := range r.Texts {
			if !utf8.ValidString(text) || len(text) > maxText || i > 0 && len(text) > maxOther || text == "" || slices.Contains(r.Texts[:i], text) {
				t.Fatalf("%q", r.Texts)
			}
		}
		if len(r.Texts) == 0 && !r.Damaged && len(octets) > 0 && !(flags&1 != 0 && int(octets[0])+1 == len(octets)) && !lostFlag(octets) {
			t.Fatalf("%x is not read, and nothing says so", octets)
		}
	})
}

func BenchmarkReadOctets(b *testing.B) {
	for way, octets := range waysOfStop("Please stop texting me") {
		for _, dc := range []byte{0, 4, 8} {
			b.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(way, " ", "_"), dc), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					ReadOctets(dc, []byte(octets), false, GSM7)
				}
			})
		}
	}
}
