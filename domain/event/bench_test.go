package event

import "testing"

// BenchmarkEncodeLife encodes the six events of an ordinary message; BenchmarkDecodeLife decodes them.
func BenchmarkEncodeLife(b *testing.B) {
	events := ordinary()
	b.ReportAllocs()
	for b.Loop() {
		for _, e := range events {
			if _, err := Encode(e); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkDecodeLife(b *testing.B) {
	var raws [][]byte
	for _, e := range ordinary() {
		raw, err := Encode(e)
		if err != nil {
			b.Fatal(err)
		}
		raws = append(raws, raw)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, raw := range raws {
			if _, err := Decode(raw); err != nil {
				b.Fatal(err)
			}
		}
	}
}
