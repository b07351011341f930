package receipts

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// mostNumbers bounds the numbers that one address may be.
const mostNumbers = 8

// escaped is an octet of an address that is no printable ASCII, as Delivery.From has it.
var escaped = regexp.MustCompile(`\\x[0-9A-F]{2}`)

// runs are the numbers within something else: "sip:+12025550123@host", "12025550123;x=1".
var runs = regexp.MustCompile(`\+?[0-9]{7,24}`)

// apart is what stands between the digits of an address that other signs divide: "44/7400/123456".
var apart = regexp.MustCompile(`[^0-9]+`)

// WhoIs reads whose number an inbound message came from. countries are those whose national numbers the
// account may write. An address that has other octets in it, a number within something else, or digits that
// other signs divide, is never certain: its numbers are held.
func WhoIs(d *ledger.Delivery, countries []string) Who {
	address, odd := legible(d.From)
	r := sms.ReadAddress(address, d.FromTON, d.FromNPI, countries)
	who := Who{Numbers: r.Numbers, Certain: r.Certain && !odd, Countries: countries}
	if len(r.Numbers) > 0 {
		return who
	}
	read := func(number string) {
		for _, n := range sms.ReadAddress(number, d.FromTON, d.FromNPI, countries).Numbers {
			if !slices.Contains(who.Numbers, n) {
				who.Numbers = append(who.Numbers, n)
			}
		}
	}
	if !strings.ContainsFunc(address, unicode.IsLetter) {
		joined := apart.ReplaceAllString(address, "")
		if first := strings.IndexAny(address, "0123456789"); first > 0 && strings.Contains(address[:first], "+") {
			joined = "+" + joined
		}
		read(joined)
	}
	if len(who.Numbers) == 0 {
		for _, run := range runs.FindAllString(address, -1) {
			read(run)
		}
	}
	if len(who.Numbers) > mostNumbers {
		who.Numbers = nil
	}
	return who
}

// legible is the part of a written address that can be read: without the octets that are no printable
// ASCII, and with the digits of every script as ASCII. odd says that there were such octets. Of the digest of an
// address that is too long, the digits after it are legible.
func legible(address string) (text string, odd bool) {
	if strings.HasPrefix(address, "sha256:") {
		_, digits, _ := strings.Cut(strings.TrimPrefix(address, "sha256:"), ":")
		return digits, true
	}
	if !strings.Contains(address, `\x`) {
		return address, false
	}
	octets := escaped.ReplaceAllStringFunc(address, func(x string) string {
		n, _ := strconv.ParseUint(x[2:], 16, 8)
		return string([]byte{byte(n)})
	})
	if !utf8.ValidString(octets) {
		return escaped.ReplaceAllString(address, ""), true
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < utf8.RuneSelf && unicode.IsPrint(r):
			return r
		case unicode.IsDigit(r):
			return digit(r)
		}
		return -1
	}, octets), true
}

// Ending is the part of a written address whose last digits are a number's: of an address with letters in it, the
// longest number within it ("12025550123" of "12025550123;x=1"), else all that is legible.
func Ending(address string) string {
	text, _ := legible(address)
	if !strings.ContainsFunc(text, unicode.IsLetter) {
		return text
	}
	longest := ""
	for _, run := range runs.FindAllString(text, -1) {
		if len(run) > len(longest) {
			longest = run
		}
	}
	if longest == "" {
		return text
	}
	return longest
}

// digit is a decimal digit of any script in ASCII: each script has its ten digits in a row (Unicode,
// category Nd).
func digit(r rune) rune {
	n := rune(0)
	for unicode.IsDigit(r-n-1) && n < 9 {
		n++
	}
	return '0' + n
}
