package receipts

import (
	"testing"

	"github.com/chirograph/chirograph/domain/sms"
)

func TestAddressed(t *testing.T) {
	for _, f := range []struct {
		from string
		to   sms.Number
		want bool
	}{
		{"+13055550123", "+13055550123", true}, {"13055550123", "+13055550123", true}, {"3055550123", "+13055550123", true},
		{"0013055550123", "+13055550123", true}, {"+1 305 555-0123", "+13055550123", true},
		{"1305555****", "+13055550123", true}, {"1305555xxxx", "+13055550123", true}, {"1305555XX23", "+13055550123", true},
		{"", "+13055550123", true}, {"***********", "+13055550123", true},
		{"+13055550124", "+13055550123", false}, {"1305555**24", "+13055550123", false}, {"2055550123", "+13055550123", false},
		{"113055550123", "+13055550123", false}, {"07700900123", "+447700900123", true}, {"07700900124", "+447700900123", false},
	} {
		if got := addressed(f.from, f.to); got != f.want {
			t.Errorf("%q to %s: %v", f.from, f.to, got)
		}
	}
}
