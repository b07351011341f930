package ledger

import (
	"bytes"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/sms"
)

// An account that takes parts gets them cut, one that takes texts gets the whole.
func TestCut(t *testing.T) {
	long := strings.Repeat("a clinic's appointment, ", 20)
	for name, c := range map[string]struct {
		account  Account
		text     string
		parts    int
		encoding sms.Encoding
	}{
		"parts, by default":       {Account{}, long, 4, sms.GSM7},
		"parts in Latin-1":        {Account{Takes: TakesParts, Alphabet: sms.Latin1}, "à bientôt", 1, sms.Latin1},
		"a whole text":            {Account{Takes: TakesTexts}, long, 1, sms.GSM7},
		"a whole text in Unicode": {Account{Takes: TakesTexts}, "до свидания", 1, sms.UCS2},
	} {
		got, err := c.account.Cut(c.text, 7)
		if err != nil || len(got) != c.parts || got[0].Encoding != c.encoding {
			t.Errorf("%s: %d segments, %v, %v", name, len(got), got, err)
			continue
		}
		if c.account.Takes == TakesTexts && (got[0].Text != c.text || !bytes.Equal(got[0].Octets, []byte(c.text)) || got[0].UDH) {
			t.Errorf("%s: %+v", name, got[0])
		}
	}
	for name, text := range map[string]string{"empty": "", "no UTF-8": "\xff", "too long": strings.Repeat(long, 100)} {
		if _, err := (Account{Takes: TakesTexts}).Cut(text, 7); err == nil {
			t.Errorf("a text that is %s is taken", name)
		}
	}
}
