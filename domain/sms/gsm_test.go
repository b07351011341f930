package sms

import (
	"errors"
	"testing"
	"unicode/utf8"
)

// The rows of 3GPP TS 23.038 §6.2.1 by name, written down apart from the table that
// is tested.
func TestGSMAlphabet(t *testing.T) {
	want := map[byte]rune{
		0x00: '@', 0x01: 0x00a3, 0x02: '$', 0x03: 0x00a5, 0x04: 0x00e8, 0x05: 0x00e9, 0x06: 0x00f9, 0x07: 0x00ec,
		0x08: 0x00f2, 0x09: 0x00c7, 0x0a: '\n', 0x0b: 0x00d8, 0x0c: 0x00f8, 0x0d: '\r', 0x0e: 0x00c5, 0x0f: 0x00e5,
		0x10: 0x0394, 0x11: '_', 0x12: 0x03a6, 0x13: 0x0393, 0x14: 0x039b, 0x15: 0x03a9, 0x16: 0x03a0, 0x17: 0x03a8,
		0x18: 0x03a3, 0x19: 0x0398, 0x1a: 0x039e, 0x1c: 0x00c6, 0x1d: 0x00e6, 0x1e: 0x00df, 0x1f: 0x00c9,
		0x24: 0x00a4, 0x40: 0x00a1, 0x5b: 0x00c4, 0x5c: 0x00d6, 0x5d: 0x00d1, 0x5e: 0x00dc, 0x5f: 0x00a7,
		0x60: 0x00bf, 0x7b: 0x00e4, 0x7c: 0x00f6, 0x7d: 0x00f1, 0x7e: 0x00fc, 0x7f: 0x00e0,
	}
	for c := byte(0x20); c <= 0x7a; c++ {
		if _, ok := want[c]; !ok {
			want[c] = rune(c) // as in ASCII
		}
	}
	if len(want) != 127 {
		t.Fatalf("%d codes", len(want))
	}
	for c, r := range want {
		if gsmRune[c] != r || gsmEncode(r) != (gsmCode{1, c}) {
			t.Errorf("0x%02x is %q, encodes as %v; want %q", c, gsmRune[c], gsmEncode(r), r)
		}
	}
	extension := map[byte]rune{0x0a: '\f', 0x14: '^', 0x28: '{', 0x29: '}', 0x2f: '\\', 0x3c: '[', 0x3d: '~', 0x3e: ']', 0x40: '|', 0x65: '€'}
	for c := range byte(128) {
		if gsmExtRune[c] != extension[c] {
			t.Errorf("0x1b 0x%02x is %q, want %q", c, gsmExtRune[c], extension[c])
		}
		if r := extension[c]; r != 0 && gsmEncode(r) != (gsmCode{2, c}) {
			t.Errorf("%q encodes as %v", r, gsmEncode(r))
		}
	}
	n := 0
	for r := range rune(0x10000) {
		if gsmEncode(r).septets > 0 {
			n++
		}
	}
	if n != 137 {
		t.Errorf("%d characters encode, want 137", n)
	}
}

func TestDecodeText(t *testing.T) {
	for _, c := range []struct {
		coding   byte
		octets   string
		alphabet Encoding
		want     string
		err      error
	}{
		{0, "Stop\x00\x1b\x65", GSM7, "Stop@€", nil},
		{0, "Stop", "", "Stop", nil},
		{0, "", GSM7, "", nil},
		{0, "\x1bA\x1b\x1b\x1b\x14", GSM7, "A ^", nil},
		{0, "a\x1b", GSM7, "a\ufffd", errMalformedText},
		{0, "a\xe9b", GSM7, "a\ufffdb", errMalformedText},
		{0, "a\x1b\xe9b", GSM7, "a\ufffdb", errMalformedText},
		{0, "@\xe9\x00", Latin1, "@é\x00", nil},
		{0, "\x04\x4f", UCS2, "я", nil},
		{1, "Stop", GSM7, "Stop", nil},
		{1, "\xe9", GSM7, "\ufffd", errMalformedText},
		{3, "@ arr\xeat", GSM7, "@ arrêt", nil},
		{6, "\xc1\xe2\xde\xdf \xf0\xf1\xfd\xa1\xa0\xad", GSM7, "Стоп №ё§Ё\u00a0\u00ad", nil},
		{8, "\x00S\xd8\x3d\xde\x00", GSM7, "S😀", nil},
		{8, "\x00S\xd8\x3d\x00S", GSM7, "S\ufffdS", errMalformedText},
		{8, "\xde\x00\xd8\x3d", GSM7, "\ufffd\ufffd", errMalformedText},
		{8, "\xd8\x3d\xd8\x3d\xde\x00", GSM7, "\ufffd😀", errMalformedText},
		{8, "\x00S\x00", GSM7, "S\ufffd", errMalformedText},
		{0x10, "\x00", Latin1, "@", nil},
		{0xf1, "\x00", GSM7, "@", nil},
		{0x18, "\x04\x4f", GSM7, "я", nil},
		{2, "x", GSM7, "", errUnknownCoding},
		{4, "x", GSM7, "", errUnknownCoding},
		{5, "x", GSM7, "", errUnknownCoding},
		{0x14, "x", GSM7, "", errUnknownCoding},
		{0xf5, "x", GSM7, "", errUnknownCoding},
		{0xc8, "x", GSM7, "", errUnknownCoding},
	} {
		got, err := DecodeText(c.coding, []byte(c.octets), c.alphabet)
		if got != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("DecodeText(%#x, %q, %s) = %q, %v; want %q, %v", c.coding, c.octets, c.alphabet, got, err, c.want, c.err)
		}
	}
}

func FuzzDecodeText(f *testing.F) {
	f.Add(byte(0), []byte("Stop\x1b\x65\x1b"), false)
	f.Add(byte(8), []byte("\x00S\xd8\x3d\xde\x00"), false)
	f.Add(byte(3), []byte("arr\xeat"), true)
	f.Add(byte(0xf0), []byte("a\xff"), false)
	f.Fuzz(func(t *testing.T, coding byte, octets []byte, latin bool) {
		alphabet := GSM7
		if latin {
			alphabet = Latin1
		}
		text, err := DecodeText(coding, octets, alphabet)
		if !utf8.ValidString(text) || errors.Is(err, errUnknownCoding) && text != "" {
			t.Fatalf("%q, %v", text, err)
		}
		if utf8.RuneCountInString(text) > len(octets) {
			t.Fatalf("%d characters of %d octets", utf8.RuneCountInString(text), len(octets))
		}
	})
}
