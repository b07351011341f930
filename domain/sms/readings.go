package sms

import (
	"slices"
	"strings"
)

// Readings says whose number the address of an inbound message may be.
type Readings struct {
	// Kind says what the address is.
	Kind AddressKind
	// Certain says that there is one number, and that the address is its person's.
	Certain bool
	// Numbers are the numbers that the address may be, sorted, without duplicates: at most 8. It
	// is empty for an address that is no number, and for one that can be read in no way or in more
	// than 8.
	Numbers []Number
	// Trailing are the last digits of a number that is not certain, at most 10, for a rule that
	// compares them with the numbers of people whom an account texted. It is "" if the address has
	// fewer than 7 digits.
	Trailing string
}

// AddressKind says what the address of an inbound message is.
type AddressKind string

const (
	AddressNumber AddressKind = "number"     // a phone number, or what may be one
	AddressShort  AddressKind = "short_code" // a short code: a service, never a person
	AddressName   AddressKind = "name"       // letters: a service, never a person
	AddressNone   AddressKind = "none"       // nothing
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
	maxNumbers      = 8
	minTrailing     = 7 // fewer digits match too many people
	maxTrailing     = 10
	maxShort        = 6 // digits of a short code under any type of number
	maxNetworkShort = 8 // under type 3 or 6
	minSure         = 8 // a plus and fewer digits than that are no number with certainty: the end of one, perhaps
)

// ReadAddress says whose number an inbound message's source address is. text, ton and npi are
// those of the PDU (SMPP 3.4 §5.2.8, §5.2.5, §5.2.6); countries are those whose national numbers
// the carrier account may write (ISO 3166-1 alpha-2; what is no country is passed over). Carriers
// set the type of number wrongly, so it is weighed and not obeyed:
//
//	what the address is                        how it is read
//	a + in front                               international: certain, if handsets' numbers of its country
//	                                           are so long; else as if the + were missing, under type 1
//	letters in it                              a name
//	up to 6 digits; up to 8 of type 3 or 6     a short code
//	type 1 (international)                     international; also national, where a handset may have it
//	type 2 (national), or plan 8 (national)    national of each country; international if none is a handset's
//	others (unknown, alphanumeric in digits)   international, and national of each country
//	type 4 (subscriber)                        like others, and never certain: the area code may be missing
//
// "*" among the countries says that the account may write national numbers of others too. Then a national reading
// is never certain. Nor is one under type 2 that is read as international without a prefix, unless its country is
// one of the account's: 623456781 in the United States. A + under type 2 does not make national digits
// international: if they are a handset's in a country of the account, both are possible.
//
// International is with the calling code first, or with 00, 011 or what a country of the account
// dials in front of it. National is with the country's trunk prefix (0 in Britain, 1 in North
// America, 8 in Russia) and without. If nothing of that is certain, zeros in front are left out too, and
// what then is possible is held and not certain: 0447400123456 in Britain.
//
// A reading is dropped only because numbers of that many digits do not exist in its country, and
// because a reading is left that is possible. Handsets' numbers come first: where some readings
// have the length that they have, those that only a fixed line or a service can be go, except what
// type 1 claims. If no reading has a possible length, an international one remains that was
// claimed (by type 1 or by a prefix), as possible and not certain. Digits that begin with the
// calling code of a country of the account and go on with as many as a handset there has are not
// read as national digits of that country that lack their trunk prefix, but under type 2. One reading that remains is
// certain, if it is a handset's or written as an international number. Examples, at an account of the US:
//
//	4155559999, type 2     +14155559999
//	14362010123            +14362010123, an area code that the number metadata does not know
//	0012125550162          +12125550162
//	2125550160             +12125550160: not +212 5550160, because Morocco's numbers have nine digits
//	4795550163, type 1     +14795550163 or +4795550163 (Norway)
//
// It is a function of its input and of the plans; the number metadata is not asked. Every number
// that it returns is canonical.
func ReadAddress(text string, ton, npi byte, countries []string) Readings {
	digits, kind := address(text, ton)
	if kind != AddressNumber {
		return Readings{Kind: kind}
	}
	r := Readings{Kind: kind}
	claimed, national := ton == tonInternational, ton == tonNational || ton == 0 && npi == npiNational
	if plain, plus := strings.CutPrefix(digits, "+"); plus {
		if n, err := international(plain); err == nil && !national {
			// A short number of a service may only look like one once a trunk prefix is out: +63 0 422535.
			if p, rest := split(string(n[1:])); has(p.handset, len(rest)) && p.possible(rest) {
				return Readings{Kind: kind, Certain: true, Numbers: []Number{n}}
			}
		}
		digits, claimed, national = plain, true, false
	}
	found := readings(digits, claimed, countries)
	numbers, sure := likeliest(found, claimed, national)
	r.Numbers, r.Certain = numbers, sure && len(numbers) == 1 && ton != tonSubscriber
	if r.Certain {
		others := slices.Contains(countries, "*")
		r.Certain = !slices.ContainsFunc(found, func(x reading) bool {
			return x.number == numbers[0] && (x.national && others && !abroad(found, x.number) || !x.national && !x.claimed && national && (others || !x.home))
		})
	}
	if bare := strings.TrimLeft(digits, "0"); !sure && bare != digits && len(bare) >= minTrailing {
		if numbers, sure := likeliest(readings(bare, claimed, countries), claimed, national); sure {
			r.Numbers = append(slices.Clone(r.Numbers), numbers...)
			slices.Sort(r.Numbers)
			r.Numbers = slices.Compact(r.Numbers)
		}
	}
	if len(r.Numbers) > maxNumbers {
		r.Numbers = nil
	}
	if !r.Certain && len(digits) >= minTrailing {
		r.Trailing = digits[max(0, len(digits)-maxTrailing):]
	}
	return r
}

// abroad reports whether a number is also read as an international one.
func abroad(found []reading, n Number) bool {
	return slices.ContainsFunc(found, func(x reading) bool { return x.number == n && !x.national })
}

// address takes out what is written between digits, and says what an address is.
func address(text string, ton byte) (digits string, kind AddressKind) {
	if strings.TrimSpace(text) == "" {
		return "", AddressNone
	}
	digits, err := squeeze(text)
	if err != nil {
		return "", AddressName
	}
	n := len(digits)
	switch {
	case n <= maxShort, digits[0] == '+' && n == 1+maxShort, n <= maxNetworkShort && (ton == tonNetworkSpecific || ton == tonAbbreviated):
		return "", AddressShort
	}
	return digits, AddressNumber
}

// A reading is one way to read an address.
type reading struct {
	number   Number
	plan     *plan
	national bool // it was read as a national number
	bare     bool // as a national number without the trunk prefix, in a country that has one
	claimed  bool // type 1 or a prefix says that it is international
	prefixed bool // two zeros are in front of it, which no national number has
	exact    bool // its digits are written so: no trunk prefix among them is out
	home     bool // its country is one of the account's
	handset  bool // handsets' numbers of its country have this length
	possible bool // numbers of its country have this length
}

// readings are all ways to read digits that have no plus sign.
func readings(digits string, claimed bool, countries []string) []reading {
	var out []reading
	add := func(number string, r reading) {
		n, err := international(number)
		if err != nil {
			return
		}
		p, rest := split(string(n[1:]))
		r.number, r.plan, r.possible, r.exact = n, p, p.possible(rest), string(n[1:]) == number
		r.handset = r.possible && has(p.handset, len(rest))
		out = append(out, r)
	}
	add(digits, reading{claimed: claimed})
	prefixes := []string{"00", "011"}
	var homes []*plan
	for _, c := range countries {
		p := plansByCountry[strings.ToUpper(c)]
		if p == nil || slices.Contains(homes, p) {
			continue
		}
		homes = append(homes, p)
		prefixes = append(prefixes, p.abroad...)
	}
	slices.Sort(prefixes)
	for _, prefix := range slices.Compact(prefixes) {
		if rest, ok := strings.CutPrefix(digits, prefix); ok {
			add(rest, reading{claimed: true, prefixed: strings.HasPrefix(prefix, "00")})
		}
	}
	for i := range out {
		out[i].home = slices.Contains(homes, out[i].plan)
	}
	for _, p := range homes {
		written := p.national(digits)
		for i, national := range written { // the last is without the trunk prefix
			add(p.code+national, reading{national: true, bare: i == len(written)-1 && len(p.trunks) > 0})
		}
	}
	return out
}

// likeliest are the numbers of the readings that remain, sorted. sure says that one of them is a handset's, or a
// possible one that is written as an international number. international and national are what the type of number claims.
func likeliest(found []reading, international, national bool) (numbers []Number, sure bool) {
	if !national {
		all := found
		found = slices.DeleteFunc(slices.Clone(all), func(r reading) bool {
			return r.bare && slices.ContainsFunc(all, func(o reading) bool { return !o.national && o.handset && o.plan == r.plan })
		})
	}
	for _, keep := range []func(r reading) bool{
		func(r reading) bool {
			switch {
			case international:
				return r.handset || !r.national && r.possible
			case national:
				return r.handset && (r.national || r.prefixed)
			}
			return r.handset
		},
		func(r reading) bool { return r.handset || r.possible && (r.national || !national) },
		func(r reading) bool { return r.possible },
		func(r reading) bool { return r.claimed },
	} {
		for _, r := range found {
			if keep(r) {
				numbers = append(numbers, r.number)
				sure = sure || r.handset || r.possible && r.claimed && r.exact && len(r.number) > minSure
			}
		}
		if len(numbers) > 0 {
			slices.Sort(numbers)
			return slices.Compact(numbers), sure
		}
	}
	return nil, false
}
