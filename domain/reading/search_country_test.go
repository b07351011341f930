package reading

import (
	"errors"
	"testing"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// A country that there is not would have an empty answer, which reads as: nothing was sent there.
func TestSearchRefusesCountry(t *testing.T) {
	for _, country := range []string{"UK", "uk", "United States", "ZZ", "U"} {
		var r *ledger.Refusal
		if _, err := New(Ports{}).Search(t.Context(), Look{}, Query{Narrower: Narrower{Country: country}}); !errors.As(err, &r) || r.Code != sms.UnknownCountry || r.Field != "/country" {
			t.Errorf("%s: %v", country, err)
		}
	}
}
