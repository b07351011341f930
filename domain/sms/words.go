package sms

import (
	"strings"
	"unicode"
)

// AskKind is what an inbound text asks for.
type AskKind uint8

const (
	// AskNone: the text asks for nothing that this package knows.
	AskNone AskKind = iota
	// AskStop: a revocation, by a keyword or in words (47 CFR 64.1200(a)(10)).
	AskStop
	// AskUnclear: the text may be a revocation. Stop messages, and let an officer read it.
	AskUnclear
	// AskStart: end the block that a STOP made. It is no consent.
	AskStart
	// AskYes: it confirms a double opt-in that waits for it, and does nothing else.
	AskYes
	// AskHelp: send the program's HELP text.
	AskHelp
)

// String returns the kind's name in lower case ("stop").
func (k AskKind) String() string {
	switch k {
	case AskStop:
		return "stop"
	case AskUnclear:
		return "unclear"
	case AskStart:
		return "start"
	case AskYes:
		return "yes"
	case AskHelp:
		return "help"
	}
	return "none"
}

// Ask is what an inbound text asks for.
type Ask struct {
	Kind AskKind
	// Match is the keyword or phrase that matched, as the lists of this package have it: in lower
	// case, without accents and punctuation. It is never a piece of the text itself, so it may be
	// logged. It is "" for AskNone.
	Match string
}

// ParseAsk reads what an inbound text asks. It looks, in this order, for
//
//  1. a keyword that is the whole text, but for case, accents, punctuation, quotes,
//     spaces, invisible and full-width characters, and words of courtesy;
//  2. a phrase that revokes, in English, Spanish, French, German or Portuguese, that
//     is not negated; or a sentence of its own that is STOP or its like;
//  3. a word that revokes, anywhere else: AskUnclear, unless it stands in a phrase
//     that plainly means something else ("the end of").
//
// START, YES and HELP count only as the whole text. In doubt it leans towards a
// revocation: suppressing one message too many can be undone, sending one cannot.
// The answer does not depend on case or on the amount of space.
func ParseAsk(text string) Ask {
	t := fold(text)
	if len(t.words) == 0 {
		if t.stopSign {
			return Ask{AskUnclear, "stop sign"}
		}
		return Ask{}
	}
	if a := keyword(t.words); a.Kind == AskStop || a.Kind != AskNone && !t.stopSign {
		return a
	}
	clauses := t.clauses()
	for _, c := range clauses {
		if m := strings.Join(courteous(c), " "); stopClauses[m] {
			return Ask{AskStop, m}
		}
	}
	unclear := ""
	for _, c := range clauses {
		m, kind := phrase(c)
		if kind == AskStop {
			return Ask{AskStop, m}
		}
		if unclear == "" && kind == AskUnclear {
			unclear = m
		}
	}
	// A phrase may run over a line break or a comma.
	if len(clauses) > 1 {
		m, kind := phrase(t.words)
		if kind == AskStop {
			return Ask{AskStop, m}
		}
		if unclear == "" && kind == AskUnclear {
			unclear = m
		}
	}
	if unclear == "" && t.stopSign {
		unclear = "stop sign"
	}
	if unclear != "" {
		return Ask{AskUnclear, unclear}
	}
	return Ask{}
}

// folded is a text in the form of the lists: words in lower case without accents.
type folded struct {
	words    []string
	ends     []int // where clauses end in words
	stopSign bool
}

func (t folded) clauses() [][]string {
	var c [][]string
	from := 0
	for _, end := range append(t.ends, len(t.words)) {
		if end > from {
			c = append(c, t.words[from:end])
			from = end
		}
	}
	return c
}

// mostWords are looked at: ten parts have at most 1,530 characters.
const mostWords = 1600

func fold(text string) folded {
	var t folded
	var b strings.Builder
	word := func() {
		if b.Len() > 0 && len(t.words) < mostWords {
			t.words = append(t.words, b.String())
		}
		b.Reset()
	}
	for _, r := range text {
		if r >= 0xff01 && r <= 0xff5e { // the full-width forms of ASCII
			r -= 0xfee0
		}
		switch {
		case r == '🛑' || r == '🚫' || r == '⛔':
			t.stopSign = true
			word()
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) || r == '\'' || r == '’' || r == '‘' || r == '`' || r == '´':
			// Combining accents, invisible characters and apostrophes are left out: "don't" is
			// one word.
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			r = unicode.ToLower(unicode.ToUpper(r))
			if base, ok := unaccented[r]; ok {
				b.WriteString(base)
			} else {
				b.WriteRune(r)
			}
		default:
			word()
			if strings.ContainsRune(".!?;:,\n\r\u2026\u2014\u2013\u3002\u3001¡¿()\"“”«»", r) {
				if n := len(t.words); n > 0 && (len(t.ends) == 0 || t.ends[len(t.ends)-1] != n) {
					t.ends = append(t.ends, n)
				}
			}
		}
	}
	word()
	t.joinSpelled()
	return t
}

// unaccented says how the lists write letters with accents, and ligatures.
var unaccented = func() map[rune]string {
	m := map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe"}
	for base, letters := range map[string]string{
		"a": "àáâãäåāăą", "c": "çćĉč", "d": "ďđ", "e": "èéêëēĕėęě", "g": "ğĝ", "i": "ìíîïĩīĭį", "l": "ł",
		"n": "ñńņň", "o": "òóôõöøōŏő", "r": "řŕ", "s": "śŝşš", "t": "ťţ", "u": "ùúûüũūŭůűų", "y": "ýÿ", "z": "źżž",
	} {
		for _, r := range letters {
			m[r] = base
		}
	}
	return m
}()

// joinSpelled makes one word of a text that is spelled letter by letter: "S T O P", "s.t.o.p.".
func (t *folded) joinSpelled() {
	if len(t.words) < 3 || len(t.words) > 20 {
		return
	}
	for _, w := range t.words {
		if len(w) != 1 {
			return
		}
	}
	t.words, t.ends = []string{strings.Join(t.words, "")}, nil
}

// keyword finds a keyword that is the whole text.
func keyword(words []string) Ask {
	whole := strings.Join(words, " ")
	if k, ok := otherKeywords[whole]; ok {
		return Ask{k, whole}
	}
	if m, ok := stopWord(whole); ok {
		return Ask{AskStop, m}
	}
	bare := courteous(words)
	if len(bare) == 0 {
		return Ask{}
	}
	if m, ok := stopWord(strings.Join(bare, " ")); ok {
		return Ask{AskStop, m}
	}
	if toShortCode(bare) {
		return Ask{AskStop, "stop"}
	}
	// "STOP STOP STOP", "stop end quit".
	first := ""
	for _, w := range bare {
		m, ok := stopWord(w)
		if !ok {
			return Ask{}
		}
		if first == "" {
			first = m
		}
	}
	return Ask{AskStop, first}
}

// toShortCode reports whether words are "STOP 36123" or "STOP au 36123". French messages tell
// recipients to write STOP to that short code, and some send exactly that text.
func toShortCode(words []string) bool {
	if len(words) < 2 || len(words) > 3 || words[0] != "stop" || len(words) == 3 && words[1] != "au" && words[1] != "to" {
		return false
	}
	code := words[len(words)-1]
	return len(code) >= 4 && len(code) <= 8 && strings.Trim(code, "0123456789") == ""
}

// stopWord finds a keyword that revokes. "stoppp" and "stooop" count as STOP.
func stopWord(w string) (string, bool) {
	if stopKeywords[w] {
		return w, true
	}
	if drawnOut(w) {
		return "stop", true
	}
	return "", false
}

// drawnOut reports whether a word is STOP with letters repeated.
func drawnOut(w string) bool {
	rest, ok := strings.CutPrefix(w, "st")
	if !ok {
		return false
	}
	o := strings.TrimLeft(rest, "o")
	return len(o) < len(rest) && o != "" && strings.Trim(o, "p") == ""
}

// courteous returns the words without those that change nothing.
func courteous(words []string) []string {
	out := make([]string, 0, len(words))
	for i := 0; i < len(words); i++ {
		n := 0
		for _, c := range courtesies {
			if len(c) > n && hasWords(words[i:], c) {
				n = len(c)
			}
		}
		if n == 0 {
			out = append(out, words[i])
		} else {
			i += n - 1
		}
	}
	return out
}

func hasWords(words, prefix []string) bool {
	if len(words) < len(prefix) {
		return false
	}
	for i, p := range prefix {
		if words[i] != p {
			return false
		}
	}
	return true
}

// phrase finds the strongest phrase in words: one that revokes, else one that may revoke.
func phrase(words []string) (match string, kind AskKind) {
	words = courteous(words)
	for i := 0; i < len(words); i++ {
		if n := longest(harmless(), words[i:]); n > 0 {
			i += n - 1
			continue
		}
		for _, p := range stopPhrases()[words[i]] {
			if !hasWords(words[i:], p) {
				continue
			}
			m := strings.Join(p, " ")
			if !negated(words[:i]) {
				return m, AskStop
			}
			if kind == AskNone {
				match, kind = m, AskUnclear
			}
		}
		if kind != AskNone {
			continue
		}
		if n := longest(doubtful(), words[i:]); n > 0 {
			match, kind = strings.Join(words[i:i+n], " "), AskUnclear
		} else if drawnOut(words[i]) {
			match, kind = "stop", AskUnclear
		}
	}
	return match, kind
}

// longest returns how many words of the front the longest matching entry of list has.
func longest(list index, words []string) int {
	n := 0
	for _, p := range list[words[0]] {
		if len(p) > n && hasWords(words, p) {
			n = len(p)
		}
	}
	return n
}

// negated reports whether one of the three words before a phrase negates it.
func negated(before []string) bool {
	for _, w := range before[max(0, len(before)-3):] {
		if negations[w] {
			return true
		}
	}
	return false
}
