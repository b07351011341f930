package sms

import (
	"errors"
	"strings"
	"testing"

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
		if n.Region() != c.country2 {
			t.Errorf("%s.Region() = %q, want %q", n, n.Region(), c.country2)
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
			if n.Region() != phonenumbers.GetRegionCodeForNumber(p) {
				t.Errorf("%s.Region() = %s", n, n.Region())
			}
		}
	}
	if tried < 1000 {
		t.Errorf("only %d examples", tried)
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
		}
		if snd, err := ParseSender(s); err == nil {
			if again, err := ParseSender(string(snd)); err != nil || again != snd {
				t.Fatalf("ParseSender(%q) = %q, then %q, %v", s, snd, again, err)
			}
		}
		_ = Number(s).Region() // a value that was not parsed must not panic either
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
