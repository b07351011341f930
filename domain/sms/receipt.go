package sms

import (
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// String returns the state's name in lower case ("delivered"); for a value that
// SMPP does not define, the number.
func (s MessageState) String() string {
	switch s {
	case StateScheduled:
		return "scheduled"
	case StateEnroute:
		return "enroute"
	case StateDelivered:
		return "delivered"
	case StateExpired:
		return "expired"
	case StateDeleted:
		return "deleted"
	case StateUndeliverable:
		return "undeliverable"
	case StateAccepted:
		return "accepted"
	case StateUnknown:
		return "unknown"
	case StateRejected:
		return "rejected"
	case StateSkipped:
		return "skipped"
	}
	return strconv.Itoa(int(s))
}

// Final tells whether a message in this state stays in it. ACCEPTED and UNKNOWN are
// not final here, though SMPP 5.0 counts them so: carriers in the field send ACCEPTD
// when another network took the message over and UNKNOWN when they have not heard
// yet, and a later receipt settles it.
func (s MessageState) Final() bool {
	switch s {
	case StateDelivered, StateExpired, StateDeleted, StateUndeliverable, StateRejected, StateSkipped:
		return true
	}
	return false
}

// receiptLabels are the fields of SMPP 3.4 Appendix B and the spellings seen for them.
var receiptLabels = []struct {
	name  string
	field receiptField
}{
	{"id", fieldID}, {"sub", fieldOther}, {"dlvrd", fieldOther},
	{"submit date", fieldSubmitted}, {"submit_date", fieldSubmitted}, {"submitdate", fieldSubmitted},
	{"done date", fieldDone}, {"done_date", fieldDone}, {"donedate", fieldDone},
	{"stat", fieldState}, {"status", fieldState}, {"state", fieldState},
	{"err", fieldError}, {"error", fieldError},
	{"text", fieldText},
}

type receiptField uint8

const (
	fieldID receiptField = iota
	fieldSubmitted
	fieldDone
	fieldState
	fieldError
	fieldText
	fieldOther
)

// ParseReceipt reads the text of a delivery receipt. SMPP 3.4 Appendix B gives its
// form as an example, and carriers differ: fields are taken in any order and case,
// divided by spaces, commas or semicolons, and any may be missing. What follows
// "text:" is the message's own text and is not looked at, whatever it looks like.
// Where a field comes twice, the first counts.
//
// It is true where there is an id or a state. Without a state, or with a word that
// nobody knows, State is StateUnknown and Final false. The caller must know from
// esm_class that this is a receipt: a handset can write such a text too.
func ParseReceipt(text string) (Receipt, bool) {
	r := Receipt{State: StateUnknown}
	var seen [fieldOther + 1]bool
	from, field, open := 0, fieldOther, false
	take := func(to int) {
		if open && !seen[field] {
			seen[field] = r.set(field, text[from:to]) || field == fieldOther
		}
	}
	for i := 0; i < len(text); {
		f, n := labelAt(text, i)
		if n == 0 {
			i++
			continue
		}
		take(i)
		from, field, open = i+n, f, f != fieldText
		i = from
		if f == fieldText {
			break
		}
	}
	take(len(text))
	r.Final = r.State.Final()
	return r, seen[fieldID] || seen[fieldState]
}

// labelAt returns the label that begins at text[i], and its length with the colon.
func labelAt(text string, i int) (receiptField, int) {
	if i > 0 && !strings.ContainsRune(" \t\r\n,;\"'", rune(text[i-1])) {
		return 0, 0
	}
	for _, l := range receiptLabels {
		end := i + len(l.name)
		if end < len(text) && strings.EqualFold(text[i:end], l.name) {
			for end < len(text) && text[end] == ' ' {
				end++
			}
			if end < len(text) && text[end] == ':' {
				return l.field, end + 1 - i
			}
		}
	}
	return 0, 0
}

// set takes a field's value; false where there is none in it.
func (r *Receipt) set(f receiptField, value string) bool {
	value = strings.Trim(value, " \t\r\n,;\"'\x00")
	if value == "" {
		return false
	}
	word := value
	if i := strings.IndexAny(word, " \t\r\n,;\"'"); i >= 0 {
		word = word[:i]
	}
	switch f {
	case fieldID:
		r.ID = word
	case fieldState:
		r.State = stateOf(word)
	case fieldError:
		r.Error = word
	case fieldSubmitted, fieldDone:
		t, ok := receiptDate(value)
		if !ok {
			return false
		}
		if f == fieldSubmitted {
			r.Submitted = t
		} else {
			r.Done = t
		}
	}
	return true
}

// stateWords are the beginnings of what carriers write for a state, longest first
// where one begins another.
var stateWords = []struct {
	prefix string
	state  MessageState
}{
	{"DELIV", StateDelivered}, {"DLVRD", StateDelivered},
	{"EXPIR", StateExpired},
	{"DELET", StateDeleted},
	{"UNDEL", StateUndeliverable}, {"FAIL", StateUndeliverable}, {"NOTDEL", StateUndeliverable},
	{"ACCEPT", StateAccepted}, {"ACKED", StateAccepted},
	{"REJEC", StateRejected},
	{"ENROUT", StateEnroute}, {"BUFF", StateEnroute}, {"QUEUED", StateEnroute}, {"SENT", StateEnroute},
	{"SCHED", StateScheduled},
	{"SKIP", StateSkipped},
	{"UNKN", StateUnknown},
}

func stateOf(word string) MessageState {
	if n, err := strconv.ParseUint(word, 10, 8); err == nil {
		if MessageState(n) <= StateSkipped {
			return MessageState(n)
		}
		return StateUnknown
	}
	word = strings.ToUpper(word)
	for _, w := range stateWords {
		if strings.HasPrefix(word, w.prefix) {
			return w.state
		}
	}
	return StateUnknown
}

// receiptDate reads YYMMDDhhmm, YYMMDDhhmmss, YYYYMMDDhhmmss, YYYYMMDDhhmm, SMPP's
// absolute time (SMPP 3.4 §7.1.1, of which it takes the local part), and these with
// separators between. Twelve digits are read with a two-digit year where that gives a
// date. The zone is the carrier's affair: the time is given in UTC as written.
func receiptDate(value string) (time.Time, bool) {
	if n := len(value); n == 16 && strings.IndexByte("+-R", value[15]) >= 0 {
		value = value[:12]
	}
	var buf [14]byte
	n := 0
	for i := range len(value) {
		switch c := value[i]; {
		case c >= '0' && c <= '9':
			if n == len(buf) {
				return time.Time{}, false
			}
			buf[n] = c
			n++
		case strings.IndexByte(" -/.:TZtz", c) < 0:
			return time.Time{}, false
		}
	}
	digits := string(buf[:n])
	switch n {
	case 10, 12:
		if t, ok := dateDigits("20" + digits); ok {
			return t, true
		}
		if n == 12 {
			return dateDigits(digits)
		}
	case 14:
		return dateDigits(digits)
	}
	return time.Time{}, false
}

// dateDigits reads YYYYMMDDhhmm with or without seconds.
func dateDigits(d string) (time.Time, bool) {
	layout := "20060102150405"
	t, err := time.Parse(layout[:len(d)], d)
	return t, err == nil
}

// sameID tells whether a carrier's ids a and b, from submit_sm_resp and from a
// receipt of the same carrier account, name one message: they are equal, or equal
// without leading zeros, or, where hexDecimal says that the account writes its ids in
// hexadecimal in one place and in decimal in the other, the same number. An id
// without content matches none.
//
// hexDecimal is a setting of the account and never guessed for one receipt: among
// many open messages the hexadecimal reading of one id is often another's decimal.
func sameID(a, b string, hexDecimal bool) bool {
	if a == "" || b == "" {
		return false
	}
	if a == b || trimZeros(a) == trimZeros(b) {
		return true
	}
	if !hexDecimal {
		return false
	}
	return crossed(a, b) || crossed(b, a)
}

// crossed tells whether hexadecimal and decimal are the same number.
func crossed(hexadecimal, decimal string) bool {
	d, ok := hexOf(decimal)
	return ok && isHex(hexadecimal) && d == strings.ToLower(trimZeros(hexadecimal))
}

// IDKeys returns the keys under which a carrier's id is looked up, best first:
//
//	0   the id as written
//	1   without leading zeros, in lower case: the canonical key
//	2…  read as decimal and written in hexadecimal; read as hexadecimal and written
//	    in decimal: each where the id can be read so
//
// A message is stored under its canonical key alone. A receipt's id is looked up under
// its keys 1 and, for an account that writes hexadecimal in one place and decimal in
// the other, 2 and on; key 0 picks among several that are found. What was found is a
// candidate: sameID, with that account's setting, decides. It is empty for "".
func IDKeys(id string) []string {
	if id == "" {
		return nil
	}
	keys := make([]string, 0, 4)
	canonical := strings.ToLower(trimZeros(id))
	keys = append(keys, id, canonical)
	add := func(k string, ok bool) {
		if ok && !slices.Contains(keys[1:], k) {
			keys = append(keys, k)
		}
	}
	add(hexOf(id))
	add(decimalOf(id))
	return keys
}

func trimZeros(id string) string {
	t := strings.TrimLeft(id, "0")
	if t == "" && id != "" {
		return "0"
	}
	return t
}

// longestID bounds the ids that are read as numbers: 128 bits in decimal have 39 digits.
const longestID = 40

func hexOf(id string) (string, bool) {
	if len(id) > longestID {
		return "", false
	}
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			return "", false
		}
	}
	return rebase(id, 10, 16)
}

func decimalOf(id string) (string, bool) {
	if len(id) > longestID || !isHex(id) {
		return "", false
	}
	return rebase(id, 16, 10)
}

func rebase(id string, from, to int) (string, bool) {
	if n, err := strconv.ParseUint(id, from, 64); err == nil {
		return strconv.FormatUint(n, to), true
	}
	n, ok := new(big.Int).SetString(id, from)
	if !ok {
		return "", false
	}
	return n.Text(to), true
}

func isHex(id string) bool {
	for i := range len(id) {
		if c := id[i] | 0x20; (id[i] < '0' || id[i] > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return id != ""
}
