package control

import (
	"slices"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

func TestStrictest(t *testing.T) {
	for _, c := range []struct{ purposes, want string }{
		{"account marketing", "marketing"},
		{"otp account", "account"},
		{"emergency otp fraud_alert", "fraud_alert"},
		{"delivery collection healthcare", "collection"},
		{"reply", "reply"},
		{"compliance_reply", ""},
		{"", ""},
	} {
		purposes := strings.Fields(c.purposes)
		slices.Reverse(purposes)
		for range 2 { // in any order
			slices.Reverse(purposes)
			if got := Strictest(purposes); got != c.want {
				t.Errorf("the strictest of %v is %q, want %q", purposes, got, c.want)
			}
		}
	}
	for p := range Purposes {
		if Strictest([]string{p}) != p {
			t.Errorf("%s is not in the order of strictness", p)
		}
	}
}

// bundle is policies that have reviewed one country.
type bundle struct{}

func (bundle) Bundle() (revision, digest string) { return "r", "d" }
func (bundle) Reviewed(country string) bool      { return country == "US" }

func TestAProgramIsWarnedOfCountriesThatWereNotReviewed(t *testing.T) {
	k := &Commands{bundle: bundle{}}
	for _, c := range []struct {
		purposes, countries string
		want                []string // in the warnings, in order
	}{
		{"account marketing", "US", nil},
		{"account marketing", "US IT FR", []string{"Marketing to IT", "Marketing to FR"}},
		{"marketing", "*", []string{"the program names all", "no word list"}},
		{"account otp", "IT *", []string{"no word list"}},
	} {
		got := k.view(&Registry{}, &Program{ProgramChanged: &event.ProgramChanged{Purposes: strings.Fields(c.purposes), Countries: strings.Fields(c.countries)}}).Warnings
		if !slices.EqualFunc(got, c.want, strings.Contains) {
			t.Errorf("%s to %s: %q", c.purposes, c.countries, got)
		}
	}
}

// A program hears that nobody reads an opt-out in the language of a country that it may reach.
func TestUnlistedCountries(t *testing.T) {
	if got := unlisted([]string{"US", "GE", "*"}); len(got) != 2 || !strings.Contains(got[0], "GE") || !strings.Contains(got[1], "all countries") {
		t.Errorf("warnings: %q", got)
	}
}
