// Package sms knows the formats and words of text messaging: phone numbers and sender IDs, GSM 03.38 and how a text is divided into
// parts, the text of delivery receipts, and what an inbound text asks for. It does not say what
// an opt-out reaches (package receipts) or what is allowed (the policies). It has no clock and
// does no I/O. Everything in it is safe for concurrent use.
package sms

import (
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// NumberError says why a text is no number that can receive SMS. Code is for programs and never
// changes; Detail tells a person what to do. Neither has the number in it.
type NumberError struct {
	Code   string
	Detail string
}

// The codes of a NumberError.
const (
	NotE164          = "not_e164"           // not E.164 with its plus sign, and not a national number with a country
	UnknownCountry   = "unknown_country"    // the country is not an ISO 3166-1 code with a numbering plan
	InvalidNumber    = "invalid_number"     // no subscriber can have it
	CannotReceiveSMS = "cannot_receive_sms" // fixed line, premium rate, shared cost, ...
)

func (e *NumberError) Error() string { return e.Detail }

var (
	errNotE164 = &NumberError{NotE164,
		"Write the number in E.164, with a plus sign and the country calling code first, or give it in national form with its country."}
	errForm = &NumberError{NotE164,
		"Write the number in digits; only a leading plus sign, spaces, dashes, dots and parentheses may be among them."}
	errUnknownCountry = &NumberError{UnknownCountry, "Give the country as two letters of ISO 3166-1, such as US or GB."}
	errInvalidNumber  = &NumberError{InvalidNumber,
		"The number does not exist in its country's numbering plan. Check its digits, its length and its country."}
	errCannotReceive = &NumberError{CannotReceiveSMS,
		"The number belongs to a service that does not receive SMS, such as a fixed line or a premium-rate number. Ask for a mobile number."}
)

// CanonicalForms is the version of the canonical forms that ParseNumber and ParseAny make. A
// ledger's stream keys are made from canonical forms, so a ledger keeps the version that it was
// created with. Any change of a form must be a new version.
//
// Version 1 asked the number metadata until 2026.11 about numbers of Argentina and Mexico. It is a
// function of the digits alone since then, and gives the same form for every number that it gave
// one for.
const CanonicalForms = 1

const callingNANP = "1"

// ParseNumber reads the number of a person to whom a message is sent: in E.164 with its plus sign
// or, with an ISO 3166-1 alpha-2 country, in national form. Spaces, dashes, dots and parentheses
// are ignored. A country is checked even if the plus sign makes it unnecessary.
//
// It refuses what the number metadata knows as a fixed line, a premium-rate number or another
// service that does not receive SMS, and what has an impossible length. A number that the metadata
// does not know may exist, in a range that is new, and is accepted: Known tells it.
//
// The result is the one canonical form of a subscriber's number, so that a STOP finds its stream
// whatever form the carrier uses:
//
//   - A trunk prefix after the calling code is out: "+44 (0)7400 123456", "+7 8 916 123 45 67".
//   - Argentina: the 9 for mobiles is always in. A number without it is read as the mobile number
//     with the same digits: the numbering plan gives both to one subscriber, and carriers leave
//     the 9 out.
//   - Mexico: the 1 after +52, abolished in 2019, is always out.
//
// The form is a function of the digits alone. The error is a *NumberError. For every n that it
// returned, ParseNumber(string(n), "") returns n.
func ParseNumber(s, country string) (Number, error) {
	n, err := ParseAny(s, country)
	if err != nil {
		return "", err
	}
	p, national := split(string(n[1:]))
	switch n.kind() {
	case phonenumbers.MOBILE, phonenumbers.FIXED_LINE_OR_MOBILE, phonenumbers.VOIP, phonenumbers.PERSONAL_NUMBER:
	case phonenumbers.TOLL_FREE:
		// North American toll-free numbers can be text-enabled; elsewhere they cannot.
		if p.code != callingNANP {
			return "", errCannotReceive
		}
	case phonenumbers.UNKNOWN:
		if !p.possible(national) {
			return "", errInvalidNumber
		}
	default:
		return "", errCannotReceive
	}
	return n, nil
}

// ParseAny reads a number of any kind, in the forms that ParseNumber reads, into the same
// canonical form: a mobile number, a fixed line, a premium-rate number, one in a range that the
// metadata does not know. It is for what a person says and for what is asked about a number,
// which must never fail because a number is of an odd kind: opt-outs, lifts, imports, checks and
// searches.
//
// With a plus sign it takes every number of 7 to 15 digits (ITU-T E.164 §6) that begins with a
// calling code which the ITU assigned. In national form the number
// must have a length that is possible in its country; only where the digits can then be read in
// two ways, with their calling code in front or without ("31612345678" in the Netherlands), the
// number metadata says which. The error is a *NumberError. For every n
// that it returned, ParseAny(string(n), "") returns n.
func ParseAny(s, country string) (Number, error) {
	digits, err := squeeze(s)
	if err != nil {
		return "", err
	}
	var home *plan
	if country != "" {
		country = strings.ToUpper(country)
		if home = plansByCountry[country]; home == nil {
			return "", errUnknownCountry
		}
	}
	switch {
	case digits[0] == '+':
		return international(digits[1:])
	case home == nil:
		return "", errNotE164
	}
	for _, prefix := range home.abroad {
		if rest, ok := strings.CutPrefix(digits, prefix); ok {
			if n, err := international(rest); err == nil {
				if p, national := split(string(n[1:])); has(p.all, len(national)) {
					return n, nil
				}
			}
		}
	}
	// With its calling code but without the plus comes last: "1 415 555 0123" and "39 347 1234567".
	written := home.national(digits)
	if rest, ok := strings.CutPrefix(digits, home.code); ok {
		written = append(written, canonical(home.code, rest))
	}
	var found Number
	for _, lengths := range []uint16{home.handset, home.all} {
		for _, national := range written {
			if !has(lengths, len(national)) {
				continue
			}
			if n, err := international(home.code + national); err == nil && (found == "" || !found.Known() && n.Known()) {
				found = n
			}
		}
	}
	if found == "" {
		return "", errInvalidNumber
	}
	return found, nil
}

// international makes a number of digits that begin with a calling code.
func international(digits string) (Number, error) {
	p, national := split(digits)
	if p == nil {
		return "", errNotE164
	}
	national = canonical(p.code, national)
	if n := len(p.code) + len(national); n < minDigits || n > maxDigits {
		return "", errInvalidNumber
	}
	return Number("+" + p.code + national), nil
}

// national returns the canonical forms, without the calling code, that digits in national form may
// have: without the trunk prefix, and as they stand. The likeliest is first.
func (p *plan) national(digits string) []string {
	var out []string
	for _, trunk := range p.trunks {
		if rest, ok := strings.CutPrefix(digits, trunk); ok {
			out = append(out, canonical(p.code, rest))
		}
	}
	return append(out, canonical(p.code, digits))
}

// possible reports whether a national number may exist by its length. In North America its area
// code and its exchange code do not begin with 0 or 1 either (NANP: NXX-NXX-XXXX).
func (p *plan) possible(national string) bool {
	if p.code == callingNANP && has(p.all, len(national)) {
		return national[0] >= '2' && national[3] >= '2'
	}
	return has(p.all, len(national))
}

// Known reports whether the number metadata knows the range that the number lies in. A number that
// it does not know may be in a range that was opened since the metadata was made, or not exist.
func (n Number) Known() bool { return n.kind() != phonenumbers.UNKNOWN }

// kind is what the number metadata says about the number; UNKNOWN if it does not know it.
func (n Number) kind() phonenumbers.PhoneNumberType {
	if c, ok := n.classify(); ok {
		return c.kind
	}
	return phonenumbers.UNKNOWN
}

// squeeze takes out the characters that people write between digits. It returns 1 to 24 digits,
// with or without a leading plus sign.
func squeeze(s string) (string, error) {
	const most = 24 // E.164 has 15; international prefixes and trunk digits come on top
	var buf [most + 1]byte
	n, digits := 0, 0
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9':
			if digits == most {
				return "", errInvalidNumber
			}
			digits++
			buf[n] = byte(r)
			n++
		case r == '+' && n == 0:
			buf[n] = '+'
			n++
		case strings.ContainsRune(" \t-.()\u00a0\u2007\u2009\u202f\u2010\u2011\u2012\u2013\u2014\u2212", r):
		default:
			return "", errForm
		}
	}
	if digits == 0 {
		return "", errForm
	}
	return string(buf[:n]), nil
}

// Region returns the ISO 3166-1 alpha-2 code of the country or territory in whose numbering plan
// the number metadata has the number. A number that the metadata does not know has the main country
// of its calling code: the US under +1. It is "" for a number of no country, such as a satellite
// phone's. places.World.Country knows area codes that are newer than the metadata.
func (n Number) Region() string {
	_, countries := n.Plan()
	if len(countries) == 0 {
		return ""
	}
	if len(countries) > 1 {
		if c, ok := n.classify(); ok && c.region != "" && c.region != phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY {
			return c.region
		}
	}
	return countries[0]
}

// Plan returns the number's calling code, without the plus sign, and the countries that share it
// (ISO 3166-1 alpha-2), the main one first; none for a network of no country. code is "" if the ITU
// assigned no such calling code. The caller must not change countries.
func (n Number) Plan() (code string, countries []string) {
	if n == "" {
		return "", nil
	}
	p, _ := split(string(n[1:]))
	if p == nil {
		return "", nil
	}
	return p.code, p.countries
}

// senderError says why a text is no sender ID. Detail tells a person what to do and
// does not hold the text.
type senderError struct{ Detail string }

func (e *senderError) Error() string { return e.Detail }

var (
	errSenderForm = &senderError{
		"write the sender as a number with its plus sign, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter"}
	errSenderNumber = &senderError{"the sender's number is not possible in its country's numbering plan; check its digits"}
)

// ParseSender reads a sender ID.
//
//   - With a leading plus it is a long code: a number in E.164 that its numbering
//     plan allows by length, brought to the same canonical form as a Number. Fixed
//     lines and toll-free numbers may send, and a range that the metadata does not
//     know yet may too.
//   - 3 to 8 digits are a short code.
//   - 1 to 11 characters with at least one letter are an alphanumeric sender
//     (3GPP TS 23.040 §9.1.2.5). Of the default alphabet it takes what SMPP's
//     source_addr carries alike everywhere: ASCII letters and digits, space, and
//     & + - . _ '. A space may not stand at either end.
//
// The error is a *senderError.
func ParseSender(s string) (Sender, error) {
	if strings.HasPrefix(s, "+") {
		n, err := ParseAny(s, "")
		if err != nil {
			return "", errSenderNumber
		}
		if p, national := split(string(n[1:])); !has(p.all, len(national)) {
			return "", errSenderNumber
		}
		return Sender(n), nil
	}
	if s == "" || len(s) > 11 || s[0] == ' ' || s[len(s)-1] == ' ' {
		return "", errSenderForm
	}
	letters, digits := 0, 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			letters++
		case c >= '0' && c <= '9':
			digits++
		case strings.IndexByte(" &+-._'", c) < 0:
			return "", errSenderForm
		}
	}
	if letters == 0 && (digits != len(s) || digits < 3 || digits > 8) {
		return "", errSenderForm
	}
	return Sender(s), nil
}

// Type returns what kind of sender s is. It is meant for what ParseSender returned.
func (s Sender) Type() SenderType {
	if strings.HasPrefix(string(s), "+") {
		return LongCode
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return Alphanumeric
		}
	}
	return ShortCode
}
