package sms

import (
	"math/big"
	"regexp"
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

// Final reports whether a message in this state stays in it. ACCEPTED and UNKNOWN are not final
// here, although SMPP 5.0 counts them so. In the field, carriers send ACCEPTD when another
// network has taken the message over, and UNKNOWN when they have heard nothing yet; a later
// receipt has the final state.
func (s MessageState) Final() bool {
	switch s {
	case StateDelivered, StateExpired, StateDeleted, StateUndeliverable, StateRejected, StateSkipped:
		return true
	}
	return false
}

// receiptLabels are the labels of the fields of SMPP 3.4 Appendix B, in the spellings that
// carriers use.
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

// ParseReceipt reads the text of a delivery receipt. SMPP 3.4 Appendix B shows its form only as
// an example, and carriers differ. So fields may come in any order and case, divided by spaces,
// commas or semicolons, and any may be missing. After "text:" comes the message's own text, which
// is not read, whatever is in it. If a field comes twice, the first counts.
//
// It returns true if there is an id or a state. Without a state, or with an unknown word for it,
// State is StateUnknown and Final is false. The caller must know from esm_class that the text is
// a receipt: a handset can write such a text too.
func ParseReceipt(text string) (Receipt, bool) {
	r, seen := parseReceipt(text)
	return r, seen[fieldID] || seen[fieldState]
}

// LooksLikeReceipt reports whether a text has both an id and a state as a receipt writes them. Where nothing else
// says that a text is a receipt, less is no sign of one: a person may write "STOP id:5".
func LooksLikeReceipt(text string) bool {
	_, seen := parseReceipt(text)
	return seen[fieldID] && seen[fieldState]
}

// receiptFields are the fields of a receipt with their values; the message's own text goes on to the end of its line.
var receiptFields = regexp.MustCompile(`(?i)\b(text\s*:[^\r\n]*|(submit|done)[ _]?date\s*:\s*\S*|(id|sub|dlvrd|stat|status|state|err|error)\s*:\s*\S*)`)

// BesideReceipt is what stands in the text of a receipt beside its fields: words that a person wrote, perhaps. It is ""
// for a receipt alone.
func BesideReceipt(text string) string {
	return strings.Trim(strings.Join(strings.Fields(receiptFields.ReplaceAllString(text, " ")), " "), " ,;\x00")
}

func parseReceipt(text string) (r Receipt, seen [fieldOther + 1]bool) {
	r.State = StateUnknown
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
	return r, seen
}

// labelAt returns the field whose label begins at text[i], and the label's length with its colon;
// 0 if there is none.
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

// set sets a field from its text; false if the text has no value.
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

// stateWords are the first letters of the words that carriers write for a state.
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

// receiptDate reads a date in one of the forms YYMMDDhhmm, YYMMDDhhmmss, YYYYMMDDhhmmss,
// YYYYMMDDhhmm, or SMPP's absolute time (SMPP 3.4 §7.1.1, of which it takes the local part), with
// or without separators. Twelve digits have a two-digit year, if that gives a date. The zone is
// the carrier's and is not known: the time is returned in UTC as it is written.
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

// IDKey is the canonical key of a carrier's id: without leading zeros, in lower case. A hand-off is
// stored under the key of the id in its answer, and under no other. Zeros alone are "0". The key of
// "" is "", which names no message.
func IDKey(id string) string { return strings.ToLower(trimZeros(id)) }

// HexID is the canonical key of an id that is a decimal number, written in hexadecimal. The bool is
// false if the id has other characters than decimal digits, or more than 40 of them.
func HexID(id string) (string, bool) {
	if len(id) > longestID || !isDecimal(id) {
		return "", false
	}
	return rebase(id, 10, 16)
}

// DecimalID is the canonical key of an id that is a hexadecimal number, written in decimal. The bool
// is false if the id has other characters than hexadecimal digits, or more than 40 of them.
func DecimalID(id string) (string, bool) {
	if len(id) > longestID || !isHex(id) {
		return "", false
	}
	return rebase(id, 16, 10)
}

func trimZeros(id string) string {
	t := strings.TrimLeft(id, "0")
	if t == "" && id != "" {
		return "0"
	}
	return t
}

// longestID is the longest id that is read as a number: 128 bits have 39 decimal digits.
const longestID = 40

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

func isDecimal(id string) bool {
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			return false
		}
	}
	return id != ""
}

func isHex(id string) bool {
	for i := range len(id) {
		if c := id[i] | 0x20; (id[i] < '0' || id[i] > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return id != ""
}
