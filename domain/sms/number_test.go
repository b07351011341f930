package sms

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nyaruka/phonenumbers"
)

func TestParseNumber(t *testing.T) {
	for _, c := range []struct {
		in, country string
		want        Number
		country2    string
	}{
		{"+14155550123", "", "+14155550123", "US"},
		{" +1 (415) 555-0123 ", "", "+14155550123", "US"},
		{"+1.415.555.0123", "", "+14155550123", "US"},
		{"+1\u00a0415\u2011555\u20110123", "", "+14155550123", "US"},
		{"(415) 555-0123", "US", "+14155550123", "US"},
		{"1 415 555 0123", "us", "+14155550123", "US"},
		{"011 44 7400 123456", "US", "+447400123456", "GB"},
		{"+447400123456", "US", "+447400123456", "GB"},
		{"07400 123456", "GB", "+447400123456", "GB"},
		{"+44 (0)7400 123456", "", "+447400123456", "GB"},
		{"+14165550123", "", "+14165550123", "CA"},
		{"+17875550123", "", "+17875550123", "PR"},
		{"+18095550123", "", "+18095550123", "DO"},
		{"+18765550123", "", "+18765550123", "JM"},
		{"+16715550123", "", "+16715550123", "GU"},
		{"+18005550123", "", "+18005550123", "US"},
		{"+18335550123", "", "+18335550123", "US"},
		{"+15005550006", "", "+15005550006", "US"},
		{"+919876543210", "", "+919876543210", "IN"},
		{"09876543210", "IN", "+919876543210", "IN"},
		{"+971501234567", "", "+971501234567", "AE"},
		{"+77012345678", "", "+77012345678", "KZ"},
		{"+79161234567", "", "+79161234567", "RU"},
		{"+393471234567", "", "+393471234567", "IT"},
		{"+5511961234567", "", "+5511961234567", "BR"},
		// Argentina: the 9 in, however it was written.
		{"+5491123456789", "", "+5491123456789", "AR"},
		{"+541123456789", "", "+5491123456789", "AR"},
		{"+54111523456789", "", "+5491123456789", "AR"},
		{"011 15 2345-6789", "AR", "+5491123456789", "AR"},
		{"11 2345-6789", "AR", "+5491123456789", "AR"},
		{"+543816123456", "", "+5493816123456", "AR"},
		// Mexico: the 1 out.
		{"+5215512345678", "", "+525512345678", "MX"},
		{"+525512345678", "", "+525512345678", "MX"},
		{"+52 1 55 1234 5678", "", "+525512345678", "MX"},
		{"55 1234 5678", "MX", "+525512345678", "MX"},
	} {
		n, err := ParseNumber(c.in, c.country)
		if err != nil || n != c.want {
			t.Errorf("ParseNumber(%q, %q) = %q, %v; want %q", c.in, c.country, n, err, c.want)
			continue
		}
		if n.Country() != c.country2 {
			t.Errorf("%s.Country() = %q, want %q", n, n.Country(), c.country2)
		}
		if again, err := ParseNumber(string(n), ""); err != nil || again != n {
			t.Errorf("ParseNumber(%q) again = %q, %v", n, again, err)
		}
	}
}

func TestParseNumberRefuses(t *testing.T) {
	for _, c := range []struct{ in, country, code string }{
		{"", "", NotE164},
		{"", "US", NotE164},
		{"+", "", NotE164},
		{"4155550123", "", NotE164},
		{"0044 7400 123456", "", NotE164},
		{"+1 415 555 0123 ext 5", "", NotE164},
		{"+1415555012a", "", NotE164},
		{"1-800-FLOWERS", "US", NotE164},
		{"++14155550123", "", NotE164},
		{"1+4155550123", "", NotE164},
		{"+１４１５５５５０１２３", "", NotE164},
		{"+1415\x00555\xff0123", "", NotE164},
		{"+0155550123", "", NotE164},
		{"+9991234567", "", NotE164},
		{"4155550123", "XX", UnknownCountry},
		{"4155550123", "USA", UnknownCountry},
		{"+14155550123", "UK", UnknownCountry},
		{"4155550123", "001", UnknownCountry},
		{"+1415555012", "", InvalidNumber},
		{"+141555501234", "", InvalidNumber},
		{"+11155550123", "", InvalidNumber},
		{"+12", "", InvalidNumber},
		{"+1" + strings.Repeat("4", 40), "", InvalidNumber},
		{"555-0123", "US", InvalidNumber},
		{"+19005550123", "", CannotReceiveSMS}, // premium rate
		{"+442071234567", "", CannotReceiveSMS},
		{"+4930123456", "", CannotReceiveSMS},
		{"+390612345678", "", CannotReceiveSMS},
		{"+448001111111", "", CannotReceiveSMS}, // toll-free outside North America
		{"+448432123456", "", CannotReceiveSMS}, // shared cost
		{"+80012345678", "", CannotReceiveSMS},  // international freephone
	} {
		n, err := ParseNumber(c.in, c.country)
		var ne *NumberError
		if !errors.As(err, &ne) || ne.Code != c.code || n != "" {
			t.Errorf("ParseNumber(%q, %q) = %q, %#v; want code %s", c.in, c.country, n, err, c.code)
			continue
		}
		if ne.Detail == "" || len(c.in) > 2 && strings.Contains(ne.Detail, c.in) {
			t.Errorf("detail %q", ne.Detail)
		}
	}
}

// Every type of every region: what the metadata calls a mobile number passes, what it
// calls a fixed line or premium rate does not, and canonical forms stay as they are.
func TestParseNumberEveryRegion(t *testing.T) {
	takes := map[phonenumbers.PhoneNumberType]bool{
		phonenumbers.MOBILE: true, phonenumbers.FIXED_LINE_OR_MOBILE: true,
		phonenumbers.VOIP: true, phonenumbers.PERSONAL_NUMBER: true,
	}
	tried := 0
	for region := range phonenumbers.GetSupportedRegions() {
		for kind := phonenumbers.FIXED_LINE; kind < phonenumbers.UNKNOWN; kind++ {
			p := phonenumbers.GetExampleNumberForType(region, kind)
			if p == nil || phonenumbers.GetNumberType(p) != kind || region == "AR" {
				continue
			}
			tried++
			in := phonenumbers.Format(p, phonenumbers.E164)
			want := takes[kind] || kind == phonenumbers.TOLL_FREE && p.GetCountryCode() == 1
			n, err := ParseNumber(in, "")
			if (err == nil) != want {
				t.Errorf("%s, type %d of %s: %v", in, kind, region, err)
			}
			if err != nil {
				continue
			}
			if string(n) != in {
				t.Errorf("%s became %s", in, n)
			}
			if n.Country() != phonenumbers.GetRegionCodeForNumber(p) {
				t.Errorf("%s.Country() = %s", n, n.Country())
			}
			for _, pl := range n.Places() {
				if _, err := LoadZone(pl.Zone); err != nil {
					t.Errorf("%s: %v", in, err)
				}
			}
		}
	}
	if tried < 1000 {
		t.Errorf("only %d examples", tried)
	}
}

func TestPlaces(t *testing.T) {
	us := func(state string, zones ...string) (p []Place) {
		for _, z := range zones {
			p = append(p, Place{"US", state, z})
		}
		return p
	}
	in := func(country string, zones ...string) (p []Place) {
		for _, z := range zones {
			p = append(p, Place{country, "", z})
		}
		return p
	}
	for _, c := range []struct {
		number Number
		want   []Place
	}{
		{"+14155550123", us("CA", pacific)},
		{"+13055550123", us("FL", eastern)},
		{"+16895550123", us("FL", eastern)},
		{"+18505550123", us("FL", central, eastern)},
		{"+12145550123", us("TX", central)},
		{"+19155550123", us("TX", mountain)},
		{"+14325550123", us("TX", central, mountain)},
		{"+12085550123", us("ID", mountain, pacific)},
		{"+16025550123", us("AZ", arizona)},
		{"+19285550123", us("AZ", mountain, arizona)},
		{"+19075550123", us("AK", aleutian, alaska)},
		{"+18085550123", us("HI", hawaii)},
		{"+12025550123", us("DC", eastern)},
		{"+17875550123", in("PR", "America/Puerto_Rico")},
		{"+16715550123", in("GU", "Pacific/Guam")},
		{"+14165550123", in("CA", "America/Toronto")},
		{"+18675550123", in("CA", "America/Edmonton", "America/Toronto", "America/Whitehorse", "America/Winnipeg")},
		{"+16005550123", in("CA", canadaZones...)},
		{"+18095550123", in("DO", "America/Santo_Domingo")},
		{"+447400123456", in("GB", "Europe/Guernsey", "Europe/Isle_of_Man", "Europe/London")},
		{"+4915112345678", in("DE", "Europe/Berlin")},
		{"+919876543210", in("IN", "Asia/Calcutta")},
		{"+5491123456789", in("AR", "America/Buenos_Aires")},
		{"+61412345678", in("AU", zonesByCountry["AU"]...)},
		{"+5511961234567", in("BR", "America/Sao_Paulo")},
		{"+5581961234567", in("BR", "America/Noronha", "America/Recife")},
		{"+525512345678", in("MX", "America/Mexico_City")},
		{"+14362010123", us("OH", eastern)},
		{"+18612010123", us("IL", central)},
		{"+17292010123", us("TN", central, eastern)},
		{"+870773111632", nil}, // a satellite phone: no zone
		{"", nil},
		{"garbage", nil},
	} {
		got := c.number.Places()
		slices.SortFunc(c.want, comparePlaces)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s.Places() = %v, want %v", c.number, got, c.want)
		}
	}
}

func TestPlacesWithoutAPlace(t *testing.T) {
	for _, area := range []int{800, 833, 844, 855, 866, 877, 888, 500, 521, 990} {
		n, err := ParseNumber(fmt.Sprintf("+1%d5550123", area), "")
		if err != nil {
			t.Fatal(area, err)
		}
		p := n.Places()
		states, zones, countries := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, pl := range p {
			if (pl.Country == "US") != (pl.State != "") {
				t.Errorf("%d: %v", area, pl)
			}
			states[pl.State], zones[pl.Zone], countries[pl.Country] = true, true, true
		}
		if n.Country() != "US" || len(states) != 52 || len(zones) != 8+5+len(canadaZones) || len(countries) != 7 || !zones["Pacific/Guam"] {
			t.Errorf("%d: %d states, %d zones, %v", area, len(states), len(zones), countries)
		}
		if !slices.IsSortedFunc(p, comparePlaces) || len(slices.Compact(slices.Clone(p))) != len(p) {
			t.Errorf("%d: not sorted or not unique", area)
		}
		p[0] = Place{} // the caller's own
		if n.Places()[0] == (Place{}) {
			t.Fatal("Places shares its table")
		}
	}
}

// newAreas are the area codes in service that the number metadata lacks in November 2026, with an
// older one of the same area that each was laid over.
var newAreas = map[int]int{357: 559, 436: 440, 457: 318, 471: 662, 483: 334, 621: 713, 624: 716, 679: 313, 729: 423, 837: 530, 861: 309, 924: 507}

// The table of area codes and the number metadata agree: on which area codes are the
// United States', on their states where the metadata names one, and on their zones,
// of which the table has at least what the metadata has but for what is known wrong.
func TestAreaCodes(t *testing.T) {
	for area, older := range newAreas {
		if !slices.Equal(usByArea[area], usByArea[older]) || usByArea[area] == nil {
			t.Errorf("%d lies over %d: %v, %v", area, older, usByArea[area], usByArea[older])
		}
	}
	same := map[string]string{ // zones whose rules are those of the table's since 2007
		"America/Boise": mountain, "America/North_Dakota/Center": central, "America/Juneau": alaska, "America/Detroit": eastern,
		"America/Indianapolis": eastern, "America/Louisville": eastern,
	}
	wrong := map[int]string{
		689: central, // Orlando
		907: hawaii,  // some prefixes of Alaska
	}
	count := 0
	for area := 200; area < 1000; area++ {
		places := usByArea[area]
		valid, isUS, kinds := false, false, map[phonenumbers.PhoneNumberType]bool{}
		for exchange := 200; exchange < 1000; exchange++ {
			p := &phonenumbers.PhoneNumber{CountryCode: new(int32(1)), NationalNumber: new(uint64(area)*1e7 + uint64(exchange)*1e4 + 1234)}
			if exchange%100 == 0 || exchange == 234 {
				if kind := phonenumbers.GetNumberType(p); kind != phonenumbers.UNKNOWN {
					valid, kinds[kind] = true, true
					isUS = isUS || phonenumbers.GetRegionCodeForNumber(p) == "US"
				}
			}
			if places == nil {
				continue
			}
			zones, err := phonenumbers.GetTimezonesForPrefix(fmt.Sprintf("+1%d%d1234", area, exchange))
			if err != nil || len(zones) > 5 { // all of +1: the metadata has no place for it
				continue
			}
			for _, z := range zones {
				if s, ok := same[z]; ok {
					z = s
				}
				if wrong[area] != z && !slices.ContainsFunc(places, func(p Place) bool { return p.Zone == z }) {
					t.Errorf("%d-%d: the metadata has %s, the table %v", area, exchange, z, places)
				}
			}
		}
		geographic := valid && isUS && kinds[phonenumbers.FIXED_LINE_OR_MOBILE]
		if _, isNew := newAreas[area]; isNew && !valid {
			geographic = true // an area code that the metadata gets to know later may stay in the list
		}
		if geographic != (places != nil) {
			t.Errorf("%d: the metadata has it as a US place: %v; the table: %v", area, geographic, places)
		}
		if places != nil {
			count++
		}
	}
	total := 0
	for _, s := range usStates {
		for _, a := range s.areas {
			total += len(a.codes)
		}
	}
	if total != count || len(usStates) != 51 {
		t.Errorf("%d area codes in the table, %d distinct; %d states", total, count, len(usStates))
	}
}

// The metadata's own names of places put each area code in the state of the table.
func TestAreaCodeStates(t *testing.T) {
	names := map[string]string{
		"Alabama": "AL", "Alaska": "AK", "Arizona": "AZ", "Arkansas": "AR", "California": "CA", "Colorado": "CO", "Connecticut": "CT",
		"Delaware": "DE", "Florida": "FL", "Georgia": "GA", "Hawaii": "HI", "Idaho": "ID", "Illinois": "IL", "Indiana": "IN", "Iowa": "IA",
		"Kansas": "KS", "Kentucky": "KY", "Louisiana": "LA", "Maine": "ME", "Maryland": "MD", "Massachusetts": "MA", "Michigan": "MI",
		"Minnesota": "MN", "Mississippi": "MS", "Missouri": "MO", "Montana": "MT", "Nebraska": "NE", "Nevada": "NV", "New Hampshire": "NH",
		"New Jersey": "NJ", "New Mexico": "NM", "New York": "NY", "North Carolina": "NC", "North Dakota": "ND", "Ohio": "OH", "Oklahoma": "OK",
		"Oregon": "OR", "Pennsylvania": "PA", "Rhode Island": "RI", "South Carolina": "SC", "South Dakota": "SD", "Tennessee": "TN",
		"Texas": "TX", "Utah": "UT", "Vermont": "VT", "Virginia": "VA", "Washington State": "WA", "Washington D.C.": "DC",
		"West Virginia": "WV", "Wisconsin": "WI", "Wyoming": "WY",
	}
	checked := 0
	for area, places := range usByArea {
		if places == nil {
			continue
		}
		votes := map[string]int{}
		for exchange := 201; exchange < 1000; exchange += 7 {
			p := &phonenumbers.PhoneNumber{CountryCode: new(int32(1)), NationalNumber: new(uint64(area)*1e7 + uint64(exchange)*1e4 + 1234)}
			name, err := phonenumbers.GetGeocodingForNumber(p, "en")
			if err != nil {
				continue
			}
			if i := strings.LastIndex(name, ", "); i >= 0 {
				votes[name[i+2:]]++
			} else if s, ok := names[name]; ok {
				votes[s]++
			}
		}
		best := ""
		for s, n := range votes {
			if n > votes[best] {
				best = s
			}
		}
		if best != "" {
			checked++
			if best != places[0].State {
				t.Errorf("%d: the table has %s, the metadata %s", area, places[0].State, best)
			}
		}
	}
	if checked < 300 {
		t.Errorf("only %d area codes had a name", checked)
	}
}

// A mobile number may be anywhere in its country: under every set of rules that the
// metadata knows there. Where the number tells its area it need not.
func TestPlacesCoverTheCountry(t *testing.T) {
	rules := func(zone string) (r [12]int) {
		l, err := LoadZone(zone)
		if err != nil {
			t.Fatal(err)
		}
		for m := range r {
			_, r[m] = time.Date(2026, time.Month(m+1), 15, 12, 0, 0, 0, time.UTC).In(l).Zone()
		}
		return r
	}
	tellsArea := []string{"BR", "MX", "KZ", "RE", "YT"} // KZ, RE and YT share a calling code with another country
	for code := range phonenumbers.GetSupportedCallingCodes() {
		if code == 1 {
			continue
		}
		all := map[[12]int]string{}
		for i := range 1000 {
			zones, err := phonenumbers.GetTimezonesForPrefix(fmt.Sprintf("+%d%03d", code, i))
			if err != nil {
				t.Fatal(err)
			}
			for _, z := range zones {
				if z != phonenumbers.UNKNOWN_TIMEZONE && z != "Europe/Bucharest" { // its name for Kaliningrad, with other rules
					all[rules(z)] = z
				}
			}
		}
		for _, region := range phonenumbers.GetRegionCodesForCountryCode(code) {
			p := phonenumbers.GetExampleNumberForType(region, phonenumbers.MOBILE)
			if p == nil || slices.Contains(tellsArea, region) {
				continue
			}
			n, err := ParseNumber(phonenumbers.Format(p, phonenumbers.E164), "")
			if err != nil {
				t.Errorf("%s: %v", region, err)
				continue
			}
			have := map[[12]int]bool{}
			for _, pl := range n.Places() {
				have[rules(pl.Zone)] = true
			}
			for r, z := range all {
				if !have[r] {
					t.Errorf("%s: %s may be in %s too", region, n, z)
				}
			}
		}
	}
}

// Every zone of the tables loads, in order.
func TestZoneTables(t *testing.T) {
	for _, table := range []map[string][]string{zonesByCountry, zonesByPrefix, {"CA": canadaZones}} {
		for key, zones := range table {
			if !slices.IsSorted(zones) {
				t.Errorf("%s: not sorted", key)
			}
			for _, z := range zones {
				if _, err := LoadZone(z); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		}
	}
}

func TestParseSender(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Sender
		kind SenderType
	}{
		{"+14155550123", "+14155550123", LongCode},
		{"+1 (415) 555-0123", "+14155550123", LongCode},
		{"+18005550123", "+18005550123", LongCode},
		{"+442071234567", "+442071234567", LongCode}, // a fixed line may send
		{"+5215512345678", "+525512345678", LongCode},
		{"+541123456789", "+5491123456789", LongCode},
		{"123", "123", ShortCode},
		{"12345678", "12345678", ShortCode},
		{"ACME", "ACME", Alphanumeric},
		{"A", "A", Alphanumeric},
		{"AD-Acme", "AD-Acme", Alphanumeric},
		{"Acme Bank 1", "Acme Bank 1", Alphanumeric},
		{"24x7", "24x7", Alphanumeric},
		{"AT&T", "AT&T", Alphanumeric},
	} {
		s, err := ParseSender(c.in)
		if err != nil || s != c.want || s.Type() != c.kind {
			t.Errorf("ParseSender(%q) = %q (%s), %v", c.in, s, s.Type(), err)
			continue
		}
		if again, err := ParseSender(string(s)); err != nil || again != s {
			t.Errorf("ParseSender(%q) again = %q, %v", s, again, err)
		}
	}
	for _, in := range []string{"", "12", "123456789", "14155550123", "+", "+1", "+999123456", "Acme Bank 12", " Acme", "Acme ", "Ac\nme",
		"--", "12-34", "Café", "A@B", "+Acme", "ACME\x00", "Ａcme"} {
		s, err := ParseSender(in)
		var se *senderError
		if !errors.As(err, &se) || s != "" {
			t.Errorf("ParseSender(%q) = %q, %v", in, s, err)
		}
	}
}

func FuzzParseNumber(f *testing.F) {
	for _, s := range []string{"+14155550123", "+541123456789", "+5215512345678", "+54 9 11 15 2345-6789", "+44 (0)7400 123456", "+390612345678",
		"+77012345678", "+8835100012345", "+2250701234567", "+1", "+0", ""} {
		f.Add(s, "")
	}
	f.Add("011 15 2345-6789", "AR")
	f.Add("044 55 1234 5678", "MX")
	f.Add("(415) 555-0123", "US")
	f.Fuzz(func(t *testing.T, s, country string) {
		n, err := ParseNumber(s, country)
		if err != nil {
			var ne *NumberError
			if !errors.As(err, &ne) || ne.Code == "" || ne.Detail == "" {
				t.Fatalf("error %#v", err)
			}
		} else {
			if again, err := ParseNumber(string(n), ""); err != nil || again != n {
				t.Fatalf("ParseNumber(%q, %q) = %q, then %q, %v", s, country, n, again, err)
			}
			p := n.Places()
			if !slices.IsSortedFunc(p, comparePlaces) {
				t.Fatalf("%s: %v", n, p)
			}
			for _, pl := range p {
				if _, err := LoadZone(pl.Zone); err != nil || pl.Country != n.Country() && n.Country() != "US" {
					t.Fatalf("%s: %v, %v", n, pl, err)
				}
			}
		}
		if snd, err := ParseSender(s); err == nil {
			if again, err := ParseSender(string(snd)); err != nil || again != snd {
				t.Fatalf("ParseSender(%q) = %q, then %q, %v", s, snd, again, err)
			}
		}
		_ = Number(s).Places() // a value that was not parsed must not panic either
	})
}

func BenchmarkParseNumber(b *testing.B) {
	for _, s := range []string{"+14155550123", "+447400123456", "+919876543210", "+541123456789", "+18685551234"} {
		b.Run(s[:4], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = ParseNumber(s, "")
			}
		})
	}
}

func BenchmarkPlaces(b *testing.B) {
	for _, n := range []Number{"+14155550123", "+18005550123", "+447400123456", "+919876543210"} {
		b.Run(string(n[:4]), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = n.Places()
			}
		})
	}
}

// A number that the metadata does not know is in the main country of its calling code, and in
// every zone of the code.
func TestPlacesOfUnknownNumbers(t *testing.T) {
	for n, want := range map[Number][]string{
		"+75550123456":   {"RU", "Asia/Almaty", "Asia/Kamchatka", "Europe/Kaliningrad"},
		"+5500961234567": {"BR", "America/Noronha", "America/Rio_Branco", "America/Sao_Paulo"},
		"+441100000000":  {"GB", "Europe/London"},
		"+61600123456":   {"AU", "Australia/Perth", "Australia/Sydney"},
		"+14602010123":   {"US", "Pacific/Guam", "America/St_Johns", "America/Adak"},
	} {
		if n.Known() || n.Country() != want[0] {
			t.Errorf("%s: known %v, in %s", n, n.Known(), n.Country())
		}
		places := n.Places()
		for _, z := range want[1:] {
			if !slices.ContainsFunc(places, func(p Place) bool { return p.Zone == z }) {
				t.Errorf("%s is not in %s: %v", n, z, places)
			}
		}
		for _, p := range places {
			if _, err := LoadZone(p.Zone); err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
	}
}
