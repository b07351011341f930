package ledger

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckReason(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"complaint 4711 of 2026-11-28": "",
		"abc":                          "",
		strings.Repeat("é", 500):       "",
		"ab":                           "invalid_reason",
		strings.Repeat("é", 501):       "invalid_reason",
		"a\nb c":                       "invalid_reason",
		"   ":                          "invalid_reason",
		"asked by +14155550123":        "reason_has_number",
		"asked by +1 415 555 0123":     "reason_has_number",
		"asked by (415) 555-0123":      "reason_has_number",
		"case 1234567":                 "reason_has_number",
		"asked by \u0661\u0662\u0663\u0664\u0665\u0666\u0667": "reason_has_number",
	} {
		code := ""
		var r *Refusal
		if err := CheckReason("/reason", text); errors.As(err, &r) {
			if code = r.Code; r.Field != "/reason" || strings.Contains(r.Text, "0123") {
				t.Errorf("%q: %+v", text, r)
			}
		}
		if code != want {
			t.Errorf("%q: %q, want %q", text, code, want)
		}
	}
}
