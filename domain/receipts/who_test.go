package receipts

import (
	"fmt"
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
)

// A number that stands among other octets, or within something else, is read and never certain.
func TestWhoIs(t *testing.T) {
	for _, c := range []struct {
		from, want string
		certain    bool
	}{
		{"+13052241007", "[+13052241007]", true},
		{`13052241007\xE9`, "[+13052241007]", false},
		{`13052\xA0241007`, "[+13052241007]", false},
		{`13052241007\x12`, "[+13052241007]", false},
		{`\xEF\xBC\x8B\xEF\xBC\x91\xEF\xBC\x93\xEF\xBC\x90\xEF\xBC\x95\xEF\xBC\x92\xEF\xBC\x92\xEF\xBC\x94\xEF\xBC\x91\xEF\xBC\x90\xEF\xBC\x90\xEF\xBC\x97`, "[+13052241007]", false},
		{`\xD9\xA1\xD9\xA3\xD9\xA0\xD9\xA5\xD9\xA2\xD9\xA2\xD9\xA4\xD9\xA1\xD9\xA0\xD9\xA0\xD9\xA7`, "[+13052241007]", false},
		{"13052241007;x=1", "[+13052241007]", false},
		{"sip:+13052241007@10.0.0.1", "[+13052241007]", false},
		{"sha256:13052241007130522410071305224100", "[]", false},
		{"sha256:13052241007130522410071305224100:13052241007", "[+13052241007]", false},
		{"sha256:13052241007130522410071305224100:000000000000013052241007", "[+13052241007]", false},
		{"sha256:13052241007130522410071305224100:", "[]", false},
		{"1/305/224/1007", "[+13052241007]", false},
		{"1 305 224-10/07", "[+13052241007]", false},
		{"1/3052241007", "[+13052241007]", false},
		{"+1*305/2241007", "[+13052241007]", false},
		{"a1b2c3", "[]", false},
		{"Acme", "[]", false},
		{"72345", "[]", false},
		{"", "[]", false},
	} {
		who := WhoIs(&ledger.Delivery{From: c.from, FromTON: 1, FromNPI: 1}, []string{"US"})
		if got := fmt.Sprint(who.Numbers); got != c.want || who.Certain != c.certain {
			t.Errorf("%s: %s (certain: %v), want %s", c.from, got, who.Certain, c.want)
		}
	}
}

// The last digits of an address are those of the number in it, not of what stands behind it.
func TestEnding(t *testing.T) {
	for from, want := range map[string]string{"12025550123;x=1": "12025550123", "sip:12025550123@10.0.0.1": "12025550123", `2025550123\xE9`: "2025550123",
		"202555/0123": "202555/0123", "202/555/0123;x": "202/555/0123;x", "Acme": "Acme", "sha256:13052241007130522410071305224100": ""} {
		if got := Ending(from); got != want {
			t.Errorf("%s: %q, want %q", from, got, want)
		}
	}
}
