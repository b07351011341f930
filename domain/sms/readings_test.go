package sms

import (
	"slices"
	"strings"
	"testing"
)

func TestReadAddress(t *testing.T) {
	for _, c := range []struct {
		text      string
		ton, npi  byte
		countries string
		want      string // numbers; ? in front: not certain
	}{
		{"07400123456", 2, 1, "GB", "+447400123456"},
		{"00447400123456", 0, 0, "GB", "+447400123456"},
		{"4155559999", 2, 1, "US", "+14155559999"},
		{"2125550160", 0, 0, "US", "+12125550160"},
		{"0012125550162", 0, 1, "US", "+12125550162"},
		{"4795550163", 1, 1, "US", "? +14795550163 +4795550163"},
		{"4795550163", 0, 1, "US", "? +14795550163 +4795550163"},
		{"14362010123", 1, 1, "US", "+14362010123"},
		{"18612010123", 0, 0, "US CA", "+18612010123"},
	} {
		r := ReadAddress(c.text, c.ton, c.npi, strings.Fields(c.countries))
		want := strings.Fields(strings.TrimPrefix(c.want, "?"))
		var got []string
		for _, n := range r.Numbers {
			got = append(got, string(n))
		}
		if !slices.Equal(got, want) || r.Certain != (len(want) > 0 && c.want[0] != '?') {
			t.Errorf("%s, type %d, plan %d, %s: %v (certain: %v), want %s", c.text, c.ton, c.npi, c.countries, got, r.Certain, c.want)
		}
	}
}

func FuzzReadAddress(f *testing.F) {
	f.Add("07400123456", byte(2), byte(1), "GB US")
	f.Add("+54 11 15 2345-6789", byte(0), byte(0), "AR MX BR")
	f.Add("0012125550162", byte(1), byte(8), "DE ID JP KR FI AT UY")
	f.Fuzz(func(t *testing.T, text string, ton, npi byte, countries string) {
		r := ReadAddress(text, ton, npi, strings.Fields(countries))
		if len(r.Numbers) > 8 || r.Certain && len(r.Numbers) != 1 || len(r.Numbers) > 0 && r.Kind != AddressNumber {
			t.Fatalf("%+v", r)
		}
		if len(r.Trailing) > 0 && (len(r.Trailing) < 7 || len(r.Trailing) > 10 || r.Certain) {
			t.Fatalf("%+v", r)
		}
		for _, n := range r.Numbers {
			if again, err := ParseAny(string(n), ""); err != nil || again != n {
				t.Fatalf("%q: %q, then %q, %v", text, n, again, err)
			}
		}
	})
}
