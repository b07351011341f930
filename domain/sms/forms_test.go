package sms

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

// formOfLibrary is how version 1 of the canonical forms was made until 2026.11: with the number
// metadata's library. It is "" for what was refused.
func formOfLibrary(s, country string) Number {
	digits, err := squeeze(s)
	if err != nil || digits[0] != '+' && country == "" {
		return ""
	}
	if digits[0] == '+' {
		country = ""
	}
	p := asItStands(digits)
	kind := phonenumbers.UNKNOWN
	if p != nil {
		kind = phonenumbers.GetNumberType(p)
	}
	if kind == phonenumbers.UNKNOWN {
		if p, err = phonenumbers.Parse(digits, country); err != nil {
			return ""
		}
		if p.GetCountryCode() == 52 && p.GetNationalNumber()/1e10 == 1 {
			p.NationalNumber = new(p.GetNationalNumber() % 1e10)
		}
		kind = phonenumbers.GetNumberType(p)
	}
	if p.GetCountryCode() == 54 && kind == phonenumbers.FIXED_LINE && p.GetNationalNumber() < 1e10 {
		mobile := &phonenumbers.PhoneNumber{CountryCode: p.CountryCode, NationalNumber: new(9e10 + p.GetNationalNumber())}
		if k := phonenumbers.GetNumberType(mobile); k == phonenumbers.MOBILE || k == phonenumbers.FIXED_LINE_OR_MOBILE {
			p, kind = mobile, k
		}
	}
	switch kind {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE, phonenumbers.VOIP, phonenumbers.PERSONAL_NUMBER:
	case phonenumbers.TOLL_FREE:
		if p.GetCountryCode() != 1 {
			return ""
		}
	default:
		return ""
	}
	return Number(phonenumbers.Format(p, phonenumbers.E164))
}

func asItStands(digits string) *phonenumbers.PhoneNumber {
	if digits[0] != '+' || len(digits) > 16 {
		return nil
	}
	for n := 2; n <= 4 && n < len(digits); n++ {
		code, err := strconv.Atoi(digits[1:n])
		if err != nil || digits[1] == '0' {
			return nil
		}
		if phonenumbers.GetRegionCodeForCountryCode(code) == phonenumbers.UNKNOWN_REGION {
			continue
		}
		national := digits[n:]
		value, err := strconv.ParseUint(national, 10, 64)
		if err != nil {
			return nil
		}
		p := &phonenumbers.PhoneNumber{CountryCode: new(int32(code)), NationalNumber: &value}
		if zeros := len(national) - len(strings.TrimLeft(national[:len(national)-1], "0")+national[len(national)-1:]); zeros > 0 {
			p.ItalianLeadingZero, p.NumberOfLeadingZeros = new(true), new(int32(zeros))
		}
		return p
	}
	return nil
}

// TestFormsAreThoseOfVersion1 holds that no number that version 1 gave a form for has another form
// now, over every region and kind of number: the metadata's examples and random numbers near them,
// in the ways in which people write them.
func TestFormsAreThoseOfVersion1(t *testing.T) {
	chance := rand.New(rand.NewPCG(11, 1))
	tried, wrong := 0, 0
	check := func(s, country string) {
		want := formOfLibrary(s, country)
		if want == "" {
			return
		}
		tried++
		any, err := ParseAny(s, country)
		if err != nil || any != want {
			wrong++
			t.Errorf("ParseAny(%q, %q) = %s, %v; version 1 gave %s", s, country, any, err, want)
		} else if n, err := ParseNumber(s, country); err != nil || n != want {
			wrong++
			t.Errorf("ParseNumber(%q, %q) = %s, %v; version 1 gave %s", s, country, n, err, want)
		}
		if wrong > 40 {
			t.FailNow()
		}
	}
	for _, region := range slices.Sorted(maps.Keys(phonenumbers.GetSupportedRegions())) {
		for kind := phonenumbers.FIXED_LINE; kind < phonenumbers.UNKNOWN; kind++ {
			example := phonenumbers.GetExampleNumberForType(region, kind)
			if example == nil {
				continue
			}
			code, national := strconv.Itoa(int(example.GetCountryCode())), phonenumbers.GetNationalSignificantNumber(example)
			for i := range 8 {
				digits := []byte(national)
				for j := len(digits) - min(len(digits), i); j < len(digits); j++ {
					digits[j] = byte('0' + chance.IntN(10))
				}
				n := string(digits)
				check("+"+code+n, "")
				if i%4 != 0 {
					continue
				}
				for _, trunk := range append([]string{""}, plansByCountry[region].trunks...) {
					check("+"+code+" ("+trunk+")"+n, "")
					check(trunk+n, region)
				}
				check(code+n, region)
				check(plansByCountry[region].abroad[0]+code+n, region)
			}
		}
	}
	if tried < 8_000 {
		t.Errorf("%d numbers had a form of version 1", tried)
	}
}

// TestForms are forms where the number metadata has no say.
func TestForms(t *testing.T) {
	for _, c := range []struct {
		in, country string
		want        Number // "": refused
	}{
		{"+442071234567", "", "+442071234567"},
		{"+44 (0)20 7123 4567", "", "+442071234567"},
		{"+39 06 1234 5678", "", "+390612345678"},
		{"06 1234 5678", "IT", "+390612345678"},
		{"+49 (0)30 123456", "", "+4930123456"},
		{"+1 900 555 0123", "", "+19005550123"},
		{"+1 (1) 436 201 0123", "", "+14362010123"},
		{"+1 868 555 1234", "", "+18685551234"},
		{"+54 2914 12 3456", "", "+5492914123456"},
		{"+54 9 11 15 2345 6789", "", "+5491123456789"},
		{"+54 291 15 412 3456", "", "+5492914123456"},
		{"+54 2966 15 412345", "", "+5492966412345"},
		{"+54 800 123 4567", "", "+548001234567"},
		{"+52 1 800 123 4567", "", "+528001234567"},
		{"044 55 1234 5678", "MX", "+525512345678"},
		{"+7 8 916 123 45 67", "", "+79161234567"},
		{"8 (916) 123-45-67", "RU", "+79161234567"},
		{"06 20 123 4567", "HU", "+36201234567"},
		{"+36 06 1 234 5678", "", "+3612345678"},
		{"8 029 123 45 67", "BY", "+375291234567"},
		{"+375 801 123 4567", "", "+3758011234567"},
		{"+55 (031) 11 96123-4567", "", "+5511961234567"},
		{"+250 06 123 456", "", "+25006123456"},
		{"+250 0 788 123 456", "", "+250788123456"},
		{"+992 00 123 4567", "", "+992001234567"},
		{"+91 000 800 123 4567", "", "+910008001234567"},
		{"+683 4002", "", "+6834002"},
		{"+247 1234", "", "+2471234"},
		{"+800 0123 4567", "", "+80001234567"},
		{"+979 123 456 789", "", "+979123456789"},
		{"+44 123", "", ""},
		{"+44 12345 67890 12345", "", ""},
		{"+210 1234567", "", ""}, // a spare code
		{"+0 1234567", "", ""},
		{"+1", "", ""},
		{"555 0123", "US", ""},
	} {
		n, err := ParseAny(c.in, c.country)
		var bad *NumberError
		if n != c.want || (err == nil) != (c.want != "") || err != nil && (!errors.As(err, &bad) || bad.Code == CannotReceiveSMS) {
			t.Errorf("ParseAny(%q, %q) = %q, %v; want %q", c.in, c.country, n, err, c.want)
		}
		if err == nil {
			if again, err := ParseAny(string(n), ""); err != nil || again != n {
				t.Errorf("ParseAny(%q) again = %q, %v", n, again, err)
			}
		}
	}
}

// The calling codes are those that the metadata has too, with its countries.
func TestPlans(t *testing.T) {
	codes := phonenumbers.GetSupportedCallingCodes()
	for code := range codes {
		if plansByCode[strconv.Itoa(code)] == nil {
			t.Errorf("+%d has no plan", code)
		}
	}
	if len(plansByCode) != len(codes) {
		t.Errorf("%d plans, %d calling codes", len(plansByCode), len(codes))
	}
	for region := range phonenumbers.GetSupportedRegions() {
		if p := plansByCountry[region]; p == nil || p.code != strconv.Itoa(phonenumbers.GetCountryCodeForRegion(region)) {
			t.Errorf("%s: %+v", region, p)
		}
	}
	for code := range zeroTrunk {
		if plansByCode[code] == nil || trunkForms[code] != nil {
			t.Errorf("+%s: a trunk 0 and other forms", code)
		}
	}
	for _, p := range plansByCode {
		if p.handset&^p.all != 0 || p.all == 0 {
			t.Errorf("+%s: lengths %b of %b", p.code, p.handset, p.all)
		}
	}
}

func TestKnown(t *testing.T) {
	for s, want := range map[string]bool{"+14155550123": true, "+447400123456": true, "+14362010123": false, "+18612010123": false, "+16242010123": false,
		"+441100000000": false, "+12": false, "": false} {
		if Number(s).Known() != want {
			t.Errorf("%s: known %v", s, !want)
		}
	}
	for _, s := range []string{"+14362010123", "+18612010123", "+16242010123", "+16212010123", "+16792010123", "+18685551234", "+2348999999999"} {
		if n, err := ParseNumber(s, ""); err != nil || string(n) != s || n.Known() {
			t.Errorf("ParseNumber(%s) = %s, %v; known %v", s, n, err, n.Known())
		}
	}
	for s, code := range map[string]string{"+14360010123": InvalidNumber, "+11362010123": InvalidNumber, "+4474001234": InvalidNumber, "+442071234567": CannotReceiveSMS} {
		_, err := ParseNumber(s, "")
		var bad *NumberError
		if !errors.As(err, &bad) || bad.Code != code {
			t.Errorf("ParseNumber(%s): %v, want %s", s, err, code)
		}
	}
}
