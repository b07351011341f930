package places

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/chirograph/chirograph/domain/sms"
)

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
		number sms.Number
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
		got := BuiltIn().Of(c.number)
		slices.SortFunc(c.want, comparePlaces)
		if !slices.Equal(got, c.want) {
			t.Errorf("Of(%s) = %v, want %v", c.number, got, c.want)
		}
	}
}

func TestPlacesWithoutAPlace(t *testing.T) {
	for _, area := range []int{800, 833, 844, 855, 866, 877, 888, 500, 521, 990} {
		n, err := sms.ParseNumber(fmt.Sprintf("+1%d5550123", area), "")
		if err != nil {
			t.Fatal(area, err)
		}
		p := BuiltIn().Of(n)
		states, zones, countries := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, pl := range p {
			if (pl.Country == "US") != (pl.State != "") {
				t.Errorf("%d: %v", area, pl)
			}
			states[pl.State], zones[pl.Zone], countries[pl.Country] = true, true, true
		}
		if BuiltIn().Country(n) != "US" || len(states) != 52 || len(zones) != 8+5+len(canadaZones) || len(countries) != 7 || !zones["Pacific/Guam"] {
			t.Errorf("%d: %d states, %d zones, %v", area, len(states), len(zones), countries)
		}
		if !slices.IsSortedFunc(p, comparePlaces) || len(slices.Compact(slices.Clone(p))) != len(p) {
			t.Errorf("%d: not sorted or not unique", area)
		}
		p[0] = Place{} // the caller's own
		if BuiltIn().Of(n)[0] == (Place{}) {
			t.Fatal("Of shares its table")
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
		if !slices.Equal(BuiltIn().byArea[area], BuiltIn().byArea[older]) || BuiltIn().byArea[area] == nil {
			t.Errorf("%d lies over %d: %v, %v", area, older, BuiltIn().byArea[area], BuiltIn().byArea[older])
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
		places := BuiltIn().byArea[area]
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
	for area, places := range BuiltIn().byArea {
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
		l, err := BuiltIn().Zone(zone)
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
			n, err := sms.ParseNumber(phonenumbers.Format(p, phonenumbers.E164), "")
			if err != nil {
				t.Errorf("%s: %v", region, err)
				continue
			}
			have := map[[12]int]bool{}
			for _, pl := range BuiltIn().Of(n) {
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
				if _, err := BuiltIn().Zone(z); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		}
	}
}

func BenchmarkPlaces(b *testing.B) {
	for _, n := range []sms.Number{"+14155550123", "+18005550123", "+447400123456", "+919876543210"} {
		b.Run(string(n[:4]), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = BuiltIn().Of(n)
			}
		})
	}
}

// A number that the metadata does not know is in the main country of its calling code, and in
// every zone of the code.
func TestPlacesOfUnknownNumbers(t *testing.T) {
	for n, want := range map[sms.Number][]string{
		"+75550123456":   {"RU", "Asia/Almaty", "Asia/Kamchatka", "Europe/Kaliningrad"},
		"+5500961234567": {"BR", "America/Noronha", "America/Rio_Branco", "America/Sao_Paulo"},
		"+441100000000":  {"GB", "Europe/London"},
		"+61600123456":   {"AU", "Australia/Perth", "Australia/Sydney"},
		"+14602010123":   {"US", "Pacific/Guam", "America/St_Johns", "America/Adak"},
	} {
		if n.Known() || BuiltIn().Country(n) != want[0] {
			t.Errorf("%s: known %v, in %s", n, n.Known(), BuiltIn().Country(n))
		}
		places := BuiltIn().Of(n)
		for _, z := range want[1:] {
			if !slices.ContainsFunc(places, func(p Place) bool { return p.Zone == z }) {
				t.Errorf("%s is not in %s: %v", n, z, places)
			}
		}
		for _, p := range places {
			if _, err := BuiltIn().Zone(p.Zone); err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
	}
}

// Every example of the metadata is in zones that load, in order, and in its own country; values
// that were not parsed do not panic.
func TestPlacesOfEveryRegion(t *testing.T) {
	tried := 0
	for region := range phonenumbers.GetSupportedRegions() {
		for kind := phonenumbers.FIXED_LINE; kind < phonenumbers.UNKNOWN; kind++ {
			p := phonenumbers.GetExampleNumberForType(region, kind)
			if p == nil {
				continue
			}
			n, err := sms.ParseAny(phonenumbers.Format(p, phonenumbers.E164), "")
			if err != nil {
				continue // too short for E.164, such as a company's number that is dialled within the country
			}
			tried++
			ofNumber(t, n)
		}
	}
	if tried < 1000 {
		t.Errorf("only %d examples", tried)
	}
}

func FuzzOf(f *testing.F) {
	for _, s := range []string{"+14155550123", "+18005550123", "+77012345678", "+8835100012345", "+5581", "+1", "+", "", "garbage"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { ofNumber(t, sms.Number(s)) })
}

func ofNumber(t *testing.T, n sms.Number) {
	w := BuiltIn()
	p := w.Of(n)
	if !slices.IsSortedFunc(p, comparePlaces) {
		t.Errorf("%s: %v", n, p)
	}
	for _, pl := range p {
		if _, err := w.Zone(pl.Zone); err != nil || pl.Country != w.Country(n) && w.Country(n) != "US" {
			t.Errorf("%s: %v, %v", n, pl, err)
		}
	}
}
