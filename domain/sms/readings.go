package sms

import (
	"slices"
	"strings"
)

// Readings says whose number the address of an inbound message may be.
type Readings struct {
	// Numbers are the numbers that the address may be, without duplicates, the likeliest first: at
	// most 8. One alone is certain. It is empty for an address that is no number, or that can be
	// read in more ways.
	Numbers []Number
	// Kind says what the address is.
	Kind AddressKind
	// Trailing are the last digits of an address that is not certain, at most 10, for a rule that
	// compares them with the numbers of people whom an account texted. It is "" if the address has
	// fewer than 7 digits, is certain, or is no number.
	Trailing string
}

// Certain reports whether the address is that of one person.
func (r Readings) Certain() bool { return len(r.Numbers) == 1 }

// AddressKind says what the address of an inbound message is.
type AddressKind string

const (
	AddressNumber AddressKind = "number"     // a phone number, or what may be one
	AddressShort  AddressKind = "short_code" // a short code: a service, never a person
	AddressName   AddressKind = "name"       // letters: a service, never a person
)

// Types of number (SMPP 3.4 §5.2.5) and numbering plans (§5.2.6).
const (
	tonInternational   = 1
	tonNational        = 2
	tonNetworkSpecific = 3
	tonSubscriber      = 4
	tonAbbreviated     = 6
	npiNational        = 8
)

const (
	maxReadings = 8
	minTrailing = 7 // fewer digits match too many people
	maxTrailing = 10
	maxShort    = 6 // digits of a short code under any type of number
)

// ReadAddress says whose number an inbound message's source address is. text, ton and npi are
// those of the PDU (SMPP 3.4 §5.2.8, §5.2.5, §5.2.6); countries are those whose national numbers
// the carrier account may write (ISO 3166-1 alpha-2; what is none is ignored). Carriers set the
// type of number wrongly, so it is weighed and not obeyed:
//
//	what the address is                        how it is read
//	a + in front                               international: certain, if a calling code follows
//	letters in it                              a name
//	up to 6 digits; up to 8 of type 3 or 6     a short code
//	00, 011 or a country's own prefix          international behind it; national too, where that is possible
//	type 1 (international)                     international; also national, where a handset may have it
//	type 2 (national), or plan 8 (national)    national of each country; international only if none is possible
//	type 4 (subscriber)                        not at all: the area code is missing
//	others (unknown, alphanumeric in digits)   international and national of each country
//
// A national number is read with its trunk prefix (0 in Britain, 1 in North America, 8 in Russia)
// and without. Readings are dropped by the number of their digits alone, and never the last: where
// some have a length that handsets' numbers of their country have, the others go, but an
// international one of type 1 stays that has the length of any number there; else, where some
// have the length of any number, the others go. So "4795550163" of type 1 at an account of the US
// is +47 95550163 or +1 479 555 0163, "447400123456" is certain everywhere, and "2125550160" is
// not in Morocco, whose numbers have nine digits.
//
// It is a function of its input and of the plans; the number metadata is not asked. Every number
// that it returns is canonical.
func ReadAddress(text string, ton, npi byte, countries []string) Readings {
	digits, kind := address(text, ton)
	if kind != AddressNumber {
		return Readings{Kind: kind}
	}
	if digits[0] == '+' {
		if n, err := international(digits[1:]); err == nil {
			return Readings{Kind: kind, Numbers: []Number{n}}
		}
		return Readings{Kind: kind, Trailing: trailing(digits[1:])}
	}
	var found []reading
	if ton != tonSubscriber {
		found = readings(digits, ton, npi, countries)
	}
	numbers := drop(found, ton)
	if len(numbers) > maxReadings {
		numbers = nil
	}
	r := Readings{Kind: kind, Numbers: numbers}
	if len(numbers) != 1 {
		r.Trailing = trailing(digits)
	}
	return r
}
