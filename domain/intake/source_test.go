package intake

import "testing"

// Where an opt-out came from is kept in clear for ever: it has no room for a number or an address, and nothing
// that a spreadsheet runs.
func TestSource(t *testing.T) {
	for s, ok := range map[string]bool{"phone": true, "letter": true, "web form": true, "Branch 12": true, "e-mail": true, "Telefon (Filiale)": false, "téléphone": true,
		"": false, "call from 4155550777 Jane": false, "415 555 0777": false, "jane@example.com": false, "+14155550777": false, "=1+1": false, "-x": false, "a\nb": false,
		"a text that is longer than forty characters": false} {
		if isSource(s) != ok {
			t.Errorf("%q: %v", s, !ok)
		}
	}
}
