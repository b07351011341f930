package reading

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

func TestCheckReason(t *testing.T) {
	for text, code := range map[string]string{
		"":                                  "",
		"abc":                               "",
		"complaint 4711":                    "",
		"Beschwerde vom 2026-11-28, Fall ü": "",
		"case 123456":                       "",
		strings.Repeat("ü", 500):            "",
		"ab":                                "invalid_reason",
		"ü":                                 "invalid_reason",
		strings.Repeat("ü", 501):            "invalid_reason",
		"     ":                             "invalid_reason",
		"line\nbreak":                       "invalid_reason",
		"not \xff text":                     "invalid_reason",
		"case 1234567":                      "reason_has_number",
		"about +14155550123":                "reason_has_number",
		"about +1 415 555 0123":             "reason_has_number",
		"about +49 (0) 30-12.34.5":          "reason_has_number",
		"about (415) 555-0123":              "reason_has_number",
		"about 415.555.0123":                "reason_has_number",
		"about ٤١٥٥٥٥٠١٢٣":                  "reason_has_number",
	} {
		err := ledger.CheckReason("/reason", text)
		var r *ledger.Refusal
		if errors.As(err, &r) {
			if r.Code != code || r.Field != "/reason" || code == "reason_has_number" && strings.Contains(r.Text, text) {
				t.Errorf("%q: %+v, want %s", text, r, code)
			}
		} else if code != "" || err != nil {
			t.Errorf("%q: %v, want %s", text, err, code)
		}
	}
}

func TestMaskNumber(t *testing.T) {
	for number, want := range map[string]string{
		"":               "",
		"+14155550106":   "+1••••••••06",
		"+442079460006":  "+44••••••••06",
		"+4915112345678": "+49•••••••••78",
		"22333":          "•••••", // a short code
		"123456":         "••••56",
		"ExampleBank":    "•••••••••nk",
		"Bänk":           "••••",
		"+999":           "••••",
	} {
		if got := maskNumber(number); got != want {
			t.Errorf("%q: %q, want %q", number, got, want)
		}
		if got := (Sight{Numbers: true}).Number(number); got != number {
			t.Errorf("%q in clear: %q", number, got)
		}
		if got := (Sight{Bodies: true, Words: true, Evidence: true}).Number(number); got != want {
			t.Errorf("%q masked: %q", number, got)
		}
	}
}

func TestSight(t *testing.T) {
	all := []string{event.ShownEvidence, event.ShownNumber, event.ShownBody, event.ShownReference, event.ShownMetadata, event.ShownWords}
	for _, c := range []struct {
		scopes, shown, masked string
	}{
		{"", "", "evidence number body reference metadata words"},
		{"audit:read audit:export reviews:read opt-outs:read operate", "", "evidence number body reference metadata words"},
		{"messages:read", "number body reference metadata", "evidence words"},
		{"inbound:read", "words", "evidence number body reference metadata"},
		{"evidence:read", "evidence", "number body reference metadata words"},
		{"messages:read inbound:read evidence:read", "evidence number body reference metadata words", ""},
	} {
		scopes := strings.Fields(c.scopes)
		s := SightOf(func(scope string) bool { return slices.Contains(scopes, scope) })
		shown, masked := s.Divide(all...)
		if strings.Join(shown, " ") != c.shown || strings.Join(masked, " ") != c.masked {
			t.Errorf("%s: %v are shown and %v masked", c.scopes, shown, masked)
		}
	}
	if shown, masked := (Sight{Numbers: true}).Divide(); shown != nil || masked != nil {
		t.Errorf("nothing is divided into %v and %v", shown, masked)
	}
	everything := Sight{Numbers: true, Bodies: true, Words: true, Evidence: true}
	if shown, masked := everything.Divide("shoe size"); shown != nil || len(masked) != 1 {
		t.Errorf("an unknown kind is shown: %v, %v", shown, masked)
	}
}
