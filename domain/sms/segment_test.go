package sms

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"pgregory.net/rapid"
)

var (
	narrow  = SegmentOptions{Reference: 0x1234}
	wide    = SegmentOptions{Reference: 0x1234, WideReference: true}
	latin   = SegmentOptions{Alphabet: Latin1, Reference: 0x1234}
	latinW  = SegmentOptions{Alphabet: Latin1, Reference: 0x1234, WideReference: true}
	rep     = strings.Repeat
	optsAll = map[string]SegmentOptions{"narrow": narrow, "wide": wide, "latin": latin, "latinW": latinW}
)

func TestCount(t *testing.T) {
	for _, c := range []struct {
		name  string
		body  string
		o     SegmentOptions
		enc   Encoding
		parts int
		err   error
	}{
		{"one", "a", narrow, GSM7, 1, nil},
		{"159", rep("a", 159), narrow, GSM7, 1, nil},
		{"160", rep("a", 160), narrow, GSM7, 1, nil},
		{"161", rep("a", 161), narrow, GSM7, 2, nil},
		{"306", rep("a", 306), narrow, GSM7, 2, nil},
		{"307", rep("a", 307), narrow, GSM7, 3, nil},
		{"160 wide", rep("a", 160), wide, GSM7, 1, nil},
		{"304 wide", rep("a", 304), wide, GSM7, 2, nil},
		{"305 wide", rep("a", 305), wide, GSM7, 3, nil},
		{"1530", rep("a", 1530), narrow, GSM7, 10, nil},
		{"1531", rep("a", 1531), narrow, "", 0, ErrTooLong},
		{"1520 wide", rep("a", 1520), wide, GSM7, 10, nil},
		{"1521 wide", rep("a", 1521), wide, "", 0, ErrTooLong},
		{"80 euros", rep("€", 80), narrow, GSM7, 1, nil},
		{"81 euros", rep("€", 81), narrow, GSM7, 2, nil},
		{"152 euros", rep("€", 152), narrow, GSM7, 2, nil}, // 153 septets hold 76, not 76.5
		{"153 euros", rep("€", 153), narrow, GSM7, 3, nil},
		{"152 euros wide", rep("€", 152), wide, GSM7, 2, nil},
		{"153 euros wide", rep("€", 153), wide, GSM7, 3, nil},
		{"159 and €", rep("a", 159) + "€", narrow, GSM7, 2, nil},
		{"158 and €", rep("a", 158) + "€", narrow, GSM7, 1, nil},
		{"152, €, 152", rep("a", 152) + "€" + rep("a", 151), narrow, GSM7, 2, nil},
		{"152, €, 153", rep("a", 152) + "€" + rep("a", 152), narrow, GSM7, 3, nil},
		{"ç is not Ç", "ç", narrow, UCS2, 1, nil},
		{"Ç", "Ç", narrow, GSM7, 1, nil},
		{"escape", "\x1b", narrow, UCS2, 1, nil},
		{"tab", "a\tb", narrow, UCS2, 1, nil},
		{"backtick", "`", narrow, UCS2, 1, nil},
		{"70", rep("я", 70), narrow, UCS2, 1, nil},
		{"71", rep("я", 71), narrow, UCS2, 2, nil},
		{"134", rep("я", 134), narrow, UCS2, 2, nil},
		{"135", rep("я", 135), narrow, UCS2, 3, nil},
		{"132 wide", rep("я", 132), wide, UCS2, 2, nil},
		{"133 wide", rep("я", 133), wide, UCS2, 3, nil},
		{"670", rep("я", 670), narrow, UCS2, 10, nil},
		{"671", rep("я", 671), narrow, "", 0, ErrTooLong},
		{"35 emoji", rep("😀", 35), narrow, UCS2, 1, nil},
		{"36 emoji", rep("😀", 36), narrow, UCS2, 2, nil},
		{"66 emoji", rep("😀", 66), narrow, UCS2, 2, nil}, // 67 units hold 33
		{"67 emoji", rep("😀", 67), narrow, UCS2, 3, nil},
		{"66 emoji wide", rep("😀", 66), wide, UCS2, 2, nil},
		{"69 and an emoji", rep("я", 69) + "😀", narrow, UCS2, 2, nil},
		{"68 and an emoji", rep("я", 68) + "😀", narrow, UCS2, 1, nil},
		{"latin", "ça va", latin, Latin1, 1, nil},
		{"latin 140", rep("ç", 140), latin, Latin1, 1, nil},
		{"latin 141", rep("ç", 141), latin, Latin1, 2, nil},
		{"latin 268", rep("ç", 268), latin, Latin1, 2, nil},
		{"latin 269", rep("ç", 269), latin, Latin1, 3, nil},
		{"latin 266 wide", rep("a", 266), latinW, Latin1, 2, nil},
		{"latin 267 wide", rep("a", 267), latinW, Latin1, 3, nil},
		{"latin 80 brackets", rep("[", 80), latin, Latin1, 1, nil}, // 160 septets once packed
		{"latin 81 brackets", rep("[", 81), latin, Latin1, 2, nil},
		{"latin 152 brackets", rep("[", 152), latin, Latin1, 2, nil},
		{"latin 153 brackets", rep("[", 153), latin, Latin1, 3, nil},
		{"latin has no €", "€", latin, UCS2, 1, nil},
		{"latin has no Δ", "Δ", latin, UCS2, 1, nil},
		{"latin controls", "a\u0085b", latin, UCS2, 1, nil},
		{"latin lines", "a\r\nb", latin, Latin1, 1, nil},
		{"empty", "", narrow, "", 0, ErrEmpty},
		{"invalid", "a\xff", narrow, "", 0, errInvalidUTF8},
		{"surrogate in UTF-8", "\xed\xa0\x80", narrow, "", 0, errInvalidUTF8},
	} {
		enc, parts, err := Count(c.body, c.o)
		if enc != c.enc || parts != c.parts || !errors.Is(err, c.err) {
			t.Errorf("%s: Count = %s, %d, %v; want %s, %d, %v", c.name, enc, parts, err, c.enc, c.parts, c.err)
		}
		segs, err := Segments(c.body, c.o)
		if len(segs) != c.parts || !errors.Is(err, c.err) {
			t.Errorf("%s: %d segments, %v; want %d, %v", c.name, len(segs), err, c.parts, c.err)
		}
	}
}

func TestSegmentsOctets(t *testing.T) {
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	for _, c := range []struct {
		name string
		body string
		o    SegmentOptions
		want []Segment
	}{
		{"gsm", "@£€[Ä\n", narrow, []Segment{{GSM7, 0, false, []byte{0x00, 0x01, 0x1b, 0x65, 0x1b, 0x3c, 0x5b, 0x0a}, "@£€[Ä\n"}}},
		{"latin", "@£[Ä\n", latin, []Segment{{Latin1, 0, false, []byte{0x40, 0xa3, 0x5b, 0xc4, 0x0a}, "@£[Ä\n"}}},
		{"ucs2", "я😀", narrow, []Segment{{UCS2, 8, false, []byte{0x04, 0x4f, 0xd8, 0x3d, 0xde, 0x00}, "я😀"}}},
		{"escape at the boundary", rep("a", 152) + "€" + rep("b", 100), narrow, []Segment{
			{GSM7, 0, true, join([]byte{5, 0, 3, 0x34, 2, 1}, bytes.Repeat([]byte("a"), 152)), rep("a", 152)},
			{GSM7, 0, true, join([]byte{5, 0, 3, 0x34, 2, 2, 0x1b, 0x65}, bytes.Repeat([]byte("b"), 100)), "€" + rep("b", 100)},
		}},
		{"escape at the boundary, wide", rep("a", 151) + "€" + rep("b", 100), wide, []Segment{
			{GSM7, 0, true, join([]byte{6, 8, 4, 0x12, 0x34, 2, 1}, bytes.Repeat([]byte("a"), 151)), rep("a", 151)},
			{GSM7, 0, true, join([]byte{6, 8, 4, 0x12, 0x34, 2, 2, 0x1b, 0x65}, bytes.Repeat([]byte("b"), 100)), "€" + rep("b", 100)},
		}},
		{"surrogate at the boundary", rep("я", 66) + "😀" + rep("я", 10), narrow, []Segment{
			{UCS2, 8, true, join([]byte{5, 0, 3, 0x34, 2, 1}, bytes.Repeat([]byte{0x04, 0x4f}, 66)), rep("я", 66)},
			{UCS2, 8, true, join([]byte{5, 0, 3, 0x34, 2, 2, 0xd8, 0x3d, 0xde, 0x00}, bytes.Repeat([]byte{0x04, 0x4f}, 10)), "😀" + rep("я", 10)},
		}},
	} {
		got, err := Segments(c.body, c.o)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", c.name, err, got, c.want)
		}
	}
}

// naiveParts counts parts with no regard to speed, from the standards' own figures:
// it cuts off the longest beginning that fits, again and again.
func naiveParts(body string, o SegmentOptions) (Encoding, int) {
	const extension = "\f^{}\\[~]|€"
	in := func(alphabet string) bool {
		for _, r := range body {
			if !strings.ContainsRune(alphabet, r) || r == 0x1b {
				return false
			}
		}
		return true
	}
	septets := func(rs []rune) (n int) {
		for _, r := range rs {
			n++
			if strings.ContainsRune(extension, r) {
				n++
			}
		}
		return n
	}
	enc := UCS2
	if o.Alphabet == Latin1 {
		var all []rune
		for r := rune(0x20); r < 0x100; r++ {
			if r < 0x7f || r > 0x9f {
				all = append(all, r)
			}
		}
		if in(string(all) + "\r\n") {
			enc = Latin1
		}
	} else if in(gsmDefault + extension) {
		enc = GSM7
	}
	fits := func(rs []rune, alone bool) bool {
		w := 0
		if o.WideReference {
			w = 1
		}
		gsm, eight, ucs := []int{153, 152}[w], []int{134, 133}[w], []int{67, 66}[w]
		if alone {
			gsm, eight, ucs = 160, 140, 70
		}
		switch enc {
		case GSM7:
			return septets(rs) <= gsm
		case Latin1:
			return len(rs) <= eight && septets(rs) <= gsm
		}
		return len(utf16.Encode(rs)) <= ucs
	}
	rest := []rune(body)
	if fits(rest, true) {
		return enc, 1
	}
	parts := 0
	for len(rest) > 0 {
		n := len(rest)
		for !fits(rest[:n], false) {
			n--
		}
		rest = rest[n:]
		parts++
	}
	return enc, parts
}

func TestSegmentsProperties(t *testing.T) {
	gens := []*rapid.Generator[string]{
		rapid.StringOfN(rapid.RuneFrom([]rune(strings.ReplaceAll(gsmDefault, "\x1b", "")+"€€€[]{}^~|\\")), 1, 1600, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune("ab €[")), 1, 1600, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune("яab😀😀你")), 1, 700, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune("abç[é ")), 1, 1500, -1),
		rapid.StringN(1, 700, -1),
	}
	rapid.Check(t, func(t *rapid.T) {
		body := gens[rapid.IntRange(0, len(gens)-1).Draw(t, "gen")].Draw(t, "body")
		o := SegmentOptions{
			Alphabet:      rapid.SampledFrom([]Encoding{"", GSM7, Latin1}).Draw(t, "alphabet"),
			Reference:     rapid.Uint16().Draw(t, "reference"),
			WideReference: rapid.Bool().Draw(t, "wide"),
		}
		checkSegments(t, body, o)
	})
}

func checkSegments(t interface {
	Fatalf(string, ...any)
}, body string, o SegmentOptions) {
	enc, parts := naiveParts(body, o)
	gotEnc, gotParts, countErr := Count(body, o)
	segs, err := Segments(body, o)
	if parts > MaxSegments {
		if !errors.Is(err, ErrTooLong) || !errors.Is(countErr, ErrTooLong) {
			t.Fatalf("%d parts: %v, %v", parts, err, countErr)
		}
		return
	}
	if err != nil || countErr != nil || gotEnc != enc || gotParts != parts || len(segs) != parts {
		t.Fatalf("Count %s %d %v, %d segments %v; the oracle says %s %d", gotEnc, gotParts, countErr, len(segs), err, enc, parts)
	}
	joined := ""
	for i, s := range segs {
		octets := s.Octets
		if s.UDH != (parts > 1) || s.Encoding != enc {
			t.Fatalf("part %d: UDH %v, %s", i+1, s.UDH, s.Encoding)
		}
		if s.UDH {
			h, err := splitUDH(octets)
			c := h.concat
			want := Concat{o.Reference, i + 1, parts}
			if !o.WideReference {
				want.Reference &= 0xff
			}
			if err != nil || c == nil || *c != want {
				t.Fatalf("part %d: %v, %v", i+1, c, err)
			}
			octets = octets[h.end:]
		}
		// On the air: packed septets or octets, header included, in 140 octets.
		header := len(s.Octets) - len(octets)
		var air int
		if enc == GSM7 {
			air = (header*8+6)/7 + len(octets)
			if air > 160 {
				t.Fatalf("part %d: %d septets", i+1, air)
			}
		} else if air = len(s.Octets); air > 140 {
			t.Fatalf("part %d: %d octets", i+1, air)
		}
		var text string
		switch enc {
		case GSM7:
			text = decodeGSM(octets, defaultAlphabet(), false)
		case Latin1:
			text = decodeBytes(octets, charmap.Windows1252)
		default:
			text = decodeUTF16(octets, binary.BigEndian, false)
		}
		if text != s.Text {
			t.Fatalf("part %d: %q decodes to %q", i+1, s.Text, text)
		}
		joined += text
	}
	if joined != body {
		t.Fatalf("joined %q, body %q", joined, body)
	}
}

func FuzzSegments(f *testing.F) {
	f.Add(rep("a", 161), uint16(1), false, false)
	f.Add(rep("€", 153), uint16(300), true, false)
	f.Add(rep("😀", 67), uint16(0), true, true)
	f.Add(rep("[", 153), uint16(0), false, true)
	f.Fuzz(func(t *testing.T, body string, ref uint16, wide, latin bool) {
		o := SegmentOptions{Reference: ref, WideReference: wide}
		if latin {
			o.Alphabet = Latin1
		}
		if body == "" || !utf8.ValidString(body) {
			if _, err := Segments(body, o); err == nil {
				t.Fatal("no error")
			}
			return
		}
		checkSegments(t, body, o)
	})
}

func TestCountMakesNoOctets(t *testing.T) {
	for name, body := range map[string]string{"gsm": rep("a€", 500), "ucs2": rep("я😀", 200)} {
		for on, o := range optsAll {
			if n := testing.AllocsPerRun(10, func() { _, _, _ = Count(body, o) }); n != 0 {
				t.Errorf("%s, %s: %v allocations", name, on, n)
			}
		}
	}
}

func TestSplitUDH(t *testing.T) {
	for _, c := range []struct {
		name   string
		in     []byte
		concat *Concat
		rest   string
		bad    bool
	}{
		{"8-bit", []byte("\x05\x00\x03\xaa\x02\x01hi"), &Concat{0xaa, 1, 2}, "hi", false},
		{"16-bit", []byte("\x06\x08\x04\xab\xcd\x03\x02hi"), &Concat{0xabcd, 2, 3}, "hi", false},
		{"no text", []byte("\x05\x00\x03\xaa\x02\x02"), &Concat{0xaa, 2, 2}, "", false},
		{"ports first", []byte("\x0b\x05\x04\x0b\x84\x23\xf0\x00\x03\x01\x02\x01hi"), &Concat{1, 1, 2}, "hi", false},
		{"shift table after", []byte("\x08\x00\x03\x01\x02\x01\x24\x01\x01hi"), &Concat{1, 1, 2}, "hi", false},
		{"the last counts", []byte("\x0a\x00\x03\x01\x02\x01\x00\x03\x02\x02\x02hi"), &Concat{2, 2, 2}, "hi", false},
		{"empty header", []byte("\x00hi"), nil, "hi", false},
		{"empty element", []byte("\x02\x70\x00hi"), nil, "hi", false},
		{"part 0", []byte("\x05\x00\x03\xaa\x02\x00hi"), nil, "hi", false},
		{"0 parts", []byte("\x05\x00\x03\xaa\x00\x00hi"), nil, "hi", false},
		{"part 3 of 2", []byte("\x05\x00\x03\xaa\x02\x03hi"), nil, "hi", false},
		{"one part of one", []byte("\x05\x00\x03\xaa\x01\x01hi"), &Concat{0xaa, 1, 1}, "hi", false},
		{"nothing", nil, nil, "", true},
		{"header longer than all", []byte("\x05\x00\x03\xaa\x02"), nil, "\x05\x00\x03\xaa\x02", true},
		{"header alone", []byte("\x05"), nil, "\x05", true},
		{"element longer than header", []byte("\x05\x00\x04\xaa\x02\x01hi"), nil, "hi", true},
		{"element without length", []byte("\x06\x00\x03\xaa\x02\x01\x24"), nil, "", true},
		{"8-bit of 2 octets", []byte("\x04\x00\x02\xaa\x02hi"), nil, "hi", true},
		{"shift table of 2 octets", []byte("\x04\x24\x02\x01\x01hi"), nil, "hi", true},
		{"16-bit of 3 octets", []byte("\x05\x08\x03\xaa\x02\x01hi"), nil, "hi", true},
	} {
		h, err := splitUDH(c.in)
		concat, rest := h.concat, c.in[h.end:]
		if c.bad {
			if !errors.Is(err, errMalformedUDH) || concat != nil || string(rest) != c.rest {
				t.Errorf("%s: %v, %q, %v", c.name, concat, rest, err)
			}
			continue
		}
		if err != nil || string(rest) != c.rest || (concat == nil) != (c.concat == nil) || concat != nil && *concat != *c.concat {
			t.Errorf("%s: %v, %q, %v", c.name, concat, rest, err)
		}
	}
}

func FuzzSplitUDH(f *testing.F) {
	f.Add([]byte("\x05\x00\x03\xaa\x02\x01hi"))
	f.Add([]byte("\x06\x08\x04\xab\xcd\x03\x02hi"))
	f.Add([]byte("\x0b\x05\x04\x0b\x84\x23\xf0\x00\x03\x01\x02\x01hi"))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := splitUDH(in)
		concat, rest := h.concat, in[h.end:]
		switch {
		case err != nil:
			if concat != nil || h.locking != 0 || h.shift != 0 {
				t.Fatalf("%v with %+v", err, h)
			}
		case len(rest) != len(in)-1-int(in[0]) || !bytes.HasSuffix(in, rest):
			t.Fatalf("rest %q of %q", rest, in)
		case concat != nil && (concat.Part < 1 || concat.Part > concat.Parts || concat.Parts > 255):
			t.Fatalf("%v", concat)
		}
	})
}

func BenchmarkSegments(b *testing.B) {
	for name, body := range map[string]string{"one": rep("a", 140), "three": rep("a€b", 110), "ucs2": rep("яж", 100)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Segments(body, narrow)
			}
		})
	}
}

func BenchmarkCount(b *testing.B) {
	body := rep("a", 140)
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = Count(body, narrow)
	}
}
