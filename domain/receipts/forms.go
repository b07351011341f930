package receipts

import (
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// HexIDs says where a carrier account writes its ids in hexadecimal. In the other of the two places it writes the
// same numbers in decimal.
type HexIDs string

const (
	// NoHexIDs: responses and receipts have ids in the same base.
	NoHexIDs HexIDs = ""
	// HexInResponses: hexadecimal in submit_sm_resp, decimal in receipts.
	HexInResponses HexIDs = "responses"
	// HexInReceipts: decimal in submit_sm_resp, hexadecimal in receipts.
	HexInReceipts HexIDs = "receipts"
)

// id is the key of a receipt's id in the base of the account's responses; false if it is not known to have another.
func (h HexIDs) id(receipt string) (string, bool) {
	switch h {
	case HexInResponses:
		return sms.HexID(receipt)
	case HexInReceipts:
		return sms.DecimalID(receipt)
	}
	return "", false
}

// kind is how far a form of a receipt's id is from the id as it is written.
type kind uint8

const (
	believed    kind = iota // in the base that the account is known to write its responses in
	exact                   // as it is written
	loose                   // without regard to zeros, case, spaces, quotes and hyphens
	hexadecimal             // in the other base
)

// form is one form of a receipt's id: what the carrier's answer may have.
type form struct {
	kind kind
	key  string // of the answer's id (sms.IDKey)
	id   string // the receipt's id that it is a form of
	// digits: the id has decimal digits alone, so that it is a number in both bases.
	digits bool
}

// is reports whether an answer's id has the form.
func (f *form) is(answered string) bool { return f.kind != exact || f.id == answered }

// sure reports whether the form needs no number that agrees, for an account that writes its ids so.
func (f *form) sure(h HexIDs) bool {
	return f.kind == believed || f.kind == exact && (h == NoHexIDs || !f.digits)
}

// hasty reports whether a message with that form of the id may be another's, although its number agrees: one person
// gets several messages, and the id in its own form may not have come yet.
func (f *form) hasty(h HexIDs) bool {
	return f.kind == hexadecimal || f.kind != believed && h != NoHexIDs && f.digits
}

// match is the word for a match by the form.
func (f *form) match(answered string) event.Match {
	switch {
	case f.id == answered:
		return event.MatchID
	case f.kind == loose || sms.IDKey(f.id) == sms.IDKey(answered):
		return event.MatchZeros
	}
	return event.MatchHex
}

// trim takes off what is no part of an id.
func trim(id string) string { return strings.Trim(id, " \t\r\n\"'\x00") }

// idForms are the forms of a receipt's ids, the best first, for an account that writes its ids so:
//
//  0. in the base of the account's responses, if that is known
//  1. the id exactly
//  2. the id in the text exactly, if it differs
//  3. without regard to leading zeros, case, spaces and quotes
//  4. without hyphens, or with those of a UUID (RFC 9562 §4)
//  5. a decimal number in hexadecimal
//  6. a hexadecimal number in decimal
//
// The keys of all are the same set for every h, but not their order.
func idForms(r *sms.Receipt, h HexIDs) []form {
	ids := make([]string, 0, 2)
	for _, id := range [...]string{r.ID, r.TextID} {
		if id != "" {
			ids = append(ids, id)
		}
	}
	out := make([]form, 0, 6*len(ids))
	add := func(k kind, id, key string, ok bool) {
		if ok && key != "" {
			_, digits := sms.HexID(trim(id))
			out = append(out, form{kind: k, key: key, id: id, digits: digits})
		}
	}
	if id, key, ok := paired(r, h); ok {
		add(believed, id, key, true)
	} else {
		for _, id := range ids {
			key, ok := h.id(trim(id))
			add(believed, id, key, ok)
		}
	}
	for _, id := range ids {
		add(exact, id, sms.IDKey(id), true)
	}
	for _, id := range ids {
		add(loose, id, sms.IDKey(id), true)
		add(loose, id, sms.IDKey(trim(id)), trim(id) != id)
	}
	for _, id := range ids {
		bare := strings.ReplaceAll(trim(id), "-", "")
		add(loose, id, sms.IDKey(bare), bare != trim(id))
		uuid, ok := hyphened(bare)
		add(loose, id, sms.IDKey(uuid), ok)
	}
	for _, id := range ids {
		key, ok := sms.HexID(trim(id))
		add(hexadecimal, id, key, ok)
	}
	for _, id := range ids {
		key, ok := sms.DecimalID(trim(id))
		add(hexadecimal, id, key, ok)
	}
	return out
}

// paired is the one of a receipt's two ids that is in the base of the account's responses, with its key, where one of
// them is the other in hexadecimal. Then it is known which of them is in which base, whatever digits they have.
func paired(r *sms.Receipt, h HexIDs) (id, key string, ok bool) {
	if h == NoHexIDs || r.TextID == "" {
		return "", "", false
	}
	for _, x := range [...][2]string{{r.ID, r.TextID}, {r.TextID, r.ID}} {
		decimal, hex := x[0], x[1]
		key, ok := sms.HexID(trim(decimal))
		switch {
		case !ok || key != sms.IDKey(trim(hex)):
		case h == HexInResponses:
			return hex, key, true
		default:
			return decimal, sms.IDKey(trim(decimal)), true
		}
	}
	return "", "", false
}

// hyphened is a UUID of 32 hexadecimal digits, with or without its first zeros, with its hyphens. The bool is false if
// the id is too long or too short for one.
func hyphened(bare string) (string, bool) {
	bare = strings.TrimLeft(bare, "0")
	if len(bare) < 25 || len(bare) > 32 {
		return "", false
	}
	bare = strings.Repeat("0", 32-len(bare)) + bare
	return bare[:8] + "-" + bare[8:12] + "-" + bare[12:16] + "-" + bare[16:20] + "-" + bare[20:], true
}

// believeAfter is how many matches in a row must show one base of an account's ids before it is believed.
const believeAfter = 20

// base is what is known of the base of an account's ids.
type base struct {
	now     HexIDs // what is believed
	leaning HexIDs // what the last matches show, if it differs
	run     int    // how many of them
	last    string // the id of the last one: receipts come more than once
}

// learn takes a match by the id, for a number that agrees. It reports whether another base is believed now.
func (b *base) learn(id, answered string) bool {
	if b.last == answered {
		return false
	}
	shown, ok := shows(trim(id), sms.IDKey(answered))
	switch {
	case !ok:
		return false
	case shown == b.now:
		b.run = 0
		return false
	case shown != b.leaning:
		b.leaning, b.run = shown, 0
	}
	b.last = answered
	if b.run++; b.run < believeAfter {
		return false
	}
	b.now, b.run, b.last = shown, 0, ""
	return true
}

// shows is the base that the id of a receipt, and the key of the answer that it matched, show. The bool is false if
// they show none: they are no numbers, or have letters in both places, or one digit, which is the same in both bases.
func shows(id, answered string) (HexIDs, bool) {
	plain := sms.IDKey(id) == answered
	hex, digits := sms.HexID(id)
	decimal, number := sms.DecimalID(id)
	switch {
	case !number || plain && (!digits || hex == answered):
		return NoHexIDs, false
	case plain:
		return NoHexIDs, true
	case digits && hex == answered:
		return HexInResponses, true
	}
	return HexInReceipts, decimal == answered
}
