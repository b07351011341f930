package words

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// folded is a text as the lists see it.
type folded struct {
	tokens   []token
	ends     []int // where clauses end in tokens
	stopSign bool
	octagon  bool // the stop sign is 🛑, which has the word on it
}

// token is a word: in lower case, without accents, apostrophes and invisible characters. A
// character of a script that sets no spaces between words (Chinese, Japanese, Korean, Thai and its
// neighbours) is a word by itself, so that spaces between them never matter.
type token struct {
	text string
	// ids are the words and stems of the lists that it is.
	ids    []int32
	polite bool
	// politeEnd is where the courtesy ends that begins here; 0 for others.
	politeEnd int
	quoted    bool
	number    bool // 4 to 8 digits
	last      bool // its sentence or line ends behind it
}

// ordinal reports a number of one or two digits.
func (t *token) ordinal() bool {
	return t.text != "" && len(t.text) <= 2 && strings.Trim(t.text, "0123456789") == ""
}

func (t *token) known() bool { return len(t.ids) > 0 }

// span is a range of tokens.
type span struct{ from, end int }

func (t *folded) clauses() []span {
	var c []span
	from := 0
	for _, end := range t.ends {
		if end > from {
			c = append(c, span{from, end})
			from = end
		}
	}
	if n := len(t.tokens); n > from {
		c = append(c, span{from, n})
	}
	return c
}

// skipPolite returns the first token from i on that is no courtesy.
func (t *folded) skipPolite(i int) int {
	for i < len(t.tokens) && t.tokens[i].polite {
		i++
	}
	return i
}

// squeezed is the text without courtesies and spaces, if it has at least two and at most 24 words.
func (t *folded) squeezed() string {
	if len(t.tokens) < 2 || len(t.tokens) > maxSpelled {
		return ""
	}
	var b strings.Builder
	for i := range t.tokens {
		if !t.tokens[i].polite {
			b.WriteString(t.tokens[i].text)
		}
	}
	return b.String()
}

// folder makes tokens of a text.
type folder struct {
	lists *Lists
	out   folded
	word  []byte // of the current token
	// raw are the runes of the current token, if it has one that is no ASCII letter.
	odd    bool
	raw    []rune
	quotes quotes
	// quoted: the current token began within a quote.
	quoted bool
}

// fold makes tokens of the pieces of a text: what was left of it when quotes were cut out. A piece
// begins a clause.
func (l *Lists) fold(pieces []string) folded {
	f := folder{lists: l}
	for i, p := range pieces {
		if i > 0 {
			f.end()
			f.dropReaction()
		}
		f.piece(p)
	}
	f.end()
	f.joinSpelled()
	f.courtesies()
	return f.out
}

func (f *folder) piece(text string) {
	if strings.IndexFunc(text, composed) >= 0 {
		text = norm.NFKC.String(text)
	}
	f.quotes = newQuotes(f.lists, text)
	previous := rune(' ')
	for i, r := range text {
		f.quotes.next(i)
		f.rune(r, previous, text[i:])
		previous = r
	}
	f.end()
}

// composed reports characters that stand for one with others: the letters of Hangul's syllables, half-width
// Katakana, and the marks that voice Kana.
func composed(r rune) bool {
	return r >= 0x1100 && r < 0x1200 || r >= 0xff66 && r < 0xffa0 || r == 0x3099 || r == 0x309a
}

func (f *folder) rune(r, previous rune, rest string) {
	if len(f.word) == 0 && !f.odd {
		f.quoted = f.quotes.in
	}
	if r >= 0xff01 && r <= 0xff5e { // the full-width forms of ASCII
		r -= 0xfee0
	}
	switch {
	case r >= 'a' && r <= 'z':
		f.word = append(f.word, byte(r))
		if f.odd {
			f.raw = append(f.raw, r)
		}
	case r >= 'A' && r <= 'Z':
		f.word = append(f.word, byte(r)+'a'-'A')
		if f.odd {
			f.raw = append(f.raw, r)
		}
	case r >= '0' && r <= '9':
		f.oddRune(r)
		f.word = append(f.word, byte(r))
	case r == ' ':
		f.endWord()
	case r == '🛑' || r == '🚫' || r == '⛔':
		f.out.stopSign = true
		f.out.octagon = f.out.octagon || r == '🛑'
		f.endWord()
	case invisible(r) || apostrophe(r):
		// "don't" is one word.
	case r == '$' || r == '@' || r == '€' || r == '|':
		// "$TOP"; else a sign that ends a word.
		_, n := utf8.DecodeRuneInString(rest)
		next, _ := utf8.DecodeRuneInString(rest[n:])
		if lookalikeSign(r) != 0 && (unicode.IsLetter(next) || r != '@' && unicode.IsLetter(previous)) {
			f.oddRune(r)
		} else {
			f.endWord()
		}
	default:
		f.other(r, previous, rest)
	}
}

// other takes a rune that is not ASCII, or is punctuation.
func (f *folder) other(r, previous rune, rest string) {
	if c := symbolLetter(r); c != 0 {
		f.word = append(f.word, c)
		return
	}
	if single(r) {
		mark := unicode.IsMark(r)
		if n := len(f.out.tokens); mark && len(f.word) == 0 && n > 0 && single(previous) {
			// A vowel sign of Thai belongs to its consonant.
			t := &f.out.tokens[n-1]
			t.text += string(r)
			t.ids = f.lists.ids(t.text)
			return
		}
		if !unicode.IsDigit(r) {
			f.endWord()
			f.quoted = f.quotes.in
			f.word = appendFolded(f.word, r)
			f.endWord()
			return
		}
	}
	switch {
	case unicode.IsMark(r) && !keepsMarks(r):
		// Combining accents and vowel points.
	case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || unicode.Is(unicode.Nl, r) || unicode.Is(unicode.No, r):
		f.oddRune(r)
		f.word = appendFolded(f.word, r)
	case r == '-' || r == '–' || r == '—':
		f.endWord()
		if (unicode.IsSpace(previous) || previous == '-') && startsWithSpace(rest[utf8.RuneLen(r):]) || r == '—' {
			f.endClause()
		}
	default:
		if c, ok := f.lists.confusable(r); ok && unicode.IsSymbol(r) && r > 0x7f && c >= 'a' {
			f.oddRune(r)
			return
		}
		f.endWord()
		if clauseEnd(r) {
			f.endClause()
			if n := len(f.out.tokens); n > 0 && sentenceEnd(r) {
				f.out.tokens[n-1].last = true
			}
		}
	}
}

// sentenceEnd reports what ends a sentence or a line, and not only a part of one.
func sentenceEnd(r rune) bool { return strings.ContainsRune(".!?\n\r。！？۔؟।", r) }

func startsWithSpace(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n == 0 || unicode.IsSpace(r)
}

// oddRune notes a rune that a lookalike may hide behind.
func (f *folder) oddRune(r rune) {
	if !f.odd {
		f.odd = true
		f.raw = f.raw[:0]
		for _, b := range string(f.word) {
			f.raw = append(f.raw, b)
		}
	}
	f.raw = append(f.raw, r)
}

func (f *folder) end() {
	f.endWord()
	f.endClause()
}

func (f *folder) endClause() {
	if n := len(f.out.tokens); n > 0 && (len(f.out.ends) == 0 || f.out.ends[len(f.out.ends)-1] != n) {
		f.out.ends = append(f.out.ends, n)
	}
}

// endWord makes a token of the word, or several if it is glued of several.
func (f *folder) endWord() {
	if len(f.word) == 0 && !f.odd {
		return
	}
	text := string(f.word)
	if f.odd {
		// "$TOP" is no word "top" with a sign before it.
		if w, ok := f.lists.lookalike(f.raw); ok && (f.lists.vocabulary[text] == 0 || len(f.raw) != utf8.RuneCountInString(text)) {
			text = w
		}
	}
	f.word, f.odd, f.raw = f.word[:0], false, f.raw[:0]
	if text == "" {
		return
	}
	t := token{text: text, ids: f.lists.ids(text), quoted: f.quoted}
	t.number = len(text) >= 4 && len(text) <= 8 && strings.Trim(text, "0123456789") == ""
	switch {
	case t.number:
	case t.known():
		// A stem is no reason to leave a mistake in: "abmeldn".
		if f.lists.vocabulary[text] == 0 {
			if w, ok := f.lists.corrected(text); ok {
				t.text, t.ids = w, append(f.lists.ids(w), t.ids...)
			}
		}
	default:
		if pieces := f.lists.glued(text); pieces != nil {
			for _, p := range pieces {
				f.out.tokens = append(f.out.tokens, token{text: p, ids: f.lists.ids(p), quoted: t.quoted, number: len(p) >= 4 && strings.Trim(p, "0123456789") == ""})
			}
			return
		}
		if w, ok := f.lists.corrected(text); ok {
			t.text, t.ids = w, f.lists.ids(w)
		}
	}
	f.out.tokens = append(f.out.tokens, t)
}

// joinSpelled makes one word of at least three letters that stand alone: "S T O P", "s.t.o.p.".
func (f *folder) joinSpelled() {
	t := &f.out
	var out []token
	var ends []int
	e := 0 // the first of t.ends that was not carried over
	for i := 0; i < len(t.tokens); {
		j := i
		var b strings.Builder
		for j < len(t.tokens) && j-i < maxSpelled && alone(t.tokens[j].text) {
			b.WriteString(t.tokens[j].text)
			j++
		}
		word, ok := b.String(), j-i >= 3
		if ok && f.lists.vocabulary[word] == 0 {
			word, ok = f.lists.lookalike([]rune(word))
		}
		if ok {
			out = append(out, token{text: word, ids: f.lists.ids(word), quoted: t.tokens[i].quoted, last: t.tokens[j-1].last})
		} else {
			j = max(j, i+1)
			out = append(out, t.tokens[i:j]...)
		}
		for ; e < len(t.ends) && t.ends[e] <= j; e++ {
			switch {
			case !ok:
				ends = append(ends, len(out)-(j-t.ends[e]))
			case t.ends[e] == j:
				ends = append(ends, len(out))
			}
		}
		i = j
	}
	t.tokens, t.ends = out, ends
}

// alone reports a word of one letter, of a script that sets spaces between words.
func alone(word string) bool {
	r, n := utf8.DecodeRuneInString(word)
	return n == len(word) && !single(r)
}

// courtesies marks the words that change nothing about what is asked.
func (f *folder) courtesies() {
	r := reader{lists: f.lists, text: f.out}
	for i := 0; i < len(f.out.tokens); i++ {
		if m, ok := r.longest(kindPolite, i, len(f.out.tokens), false); ok {
			for j := i; j < m.end; j++ {
				f.out.tokens[j].polite = true
			}
			f.out.tokens[i].politeEnd = m.end
			i = m.end - 1
		}
	}
}

// dropReaction takes the words of a reaction away that stand before a quote that was cut out.
func (f *folder) dropReaction() {
	t := &f.out
	c := t.clauses()
	if len(c) == 0 {
		return
	}
	last := c[len(c)-1]
	r := reader{lists: f.lists, text: *t}
	if m, ok := r.longest(kindReaction, last.from, last.end, true); ok && m.end == last.end {
		t.tokens = t.tokens[:last.from]
		t.ends = t.ends[:max(0, len(t.ends)-1)]
	}
}

// invisible reports characters that are not seen: format characters (tags among them), the
// fillers of Hangul, variation selectors and the combining grapheme joiner.
func invisible(r rune) bool {
	switch r {
	case 0x3164, 0x115f, 0x1160, 0xffa0, 0x034f, 0x2800, utf8.RuneError, 0x0640: // the last two: broken octets, and the stroke that lengthens Arabic words
		return true
	}
	return r == 0xad || r > 0x2ff && unicode.In(r, unicode.Cf, unicode.Variation_Selector) || r < ' ' && !unicode.IsSpace(r)
}

func apostrophe(r rune) bool {
	switch r {
	case '\'', '’', '‘', '`', '´', '\u02bc', '\u02b9', '\u05f3', '\u2032', '\u0374':
		return true
	}
	return false
}

// symbolLetter is the letter that an enclosed letter or a regional indicator shows; 0 for others.
func symbolLetter(r rune) byte {
	switch {
	case r < 0x2000 || !unicode.IsSymbol(r):
		return 0
	case r >= 0x1f150 && r <= 0x1f169:
		return 'a' + byte(r-0x1f150)
	case r >= 0x1f170 && r <= 0x1f189:
		return 'a' + byte(r-0x1f170)
	case r >= 0x1f1e6 && r <= 0x1f1ff:
		return 'a' + byte(r-0x1f1e6)
	}
	for _, b := range norm.NFKD.PropertiesString(string(r)).Decomposition() {
		if b|0x20 >= 'a' && b|0x20 <= 'z' {
			return b | 0x20
		}
	}
	return 0
}

// single reports characters of the scripts that set no spaces between words.
func single(r rune) bool {
	switch {
	case r < 0x0e00:
		return false
	case r < 0x0f00, r >= 0x1000 && r < 0x10a0, r >= 0x1780 && r < 0x1800: // Thai, Lao, Myanmar, Khmer
		return unicode.IsLetter(r) || unicode.IsMark(r)
	case r >= 0x3040 && r < 0x3100, r >= 0xff66 && r < 0xffa0, r >= 0xac00 && r < 0xd7a4:
		return unicode.IsLetter(r)
	}
	return unicode.Is(unicode.Han, r)
}

// keepsMarks reports vowel signs that are as good as letters: those of India and its neighbours, but for the
// dot below (nukta) and the signs that nasalise.
func keepsMarks(r rune) bool {
	if r < 0x0900 || r >= 0x1800 {
		return false
	}
	switch r {
	case 0x093c, 0x09bc, 0x0a3c, 0x0abc, 0x0900, 0x0901, 0x0902, 0x0981:
		return false
	}
	return true
}

// appendFolded appends a rune in lower case, without accents, ligatures and forms.
func appendFolded(b []byte, r rune) []byte {
	r = unicode.ToLower(unicode.ToUpper(r))
	if s, ok := plain[r]; ok {
		return append(b, s...)
	}
	d := norm.NFKD.PropertiesString(string(r)).Decomposition()
	if r >= 0xac00 && r < 0xd7a4 || r >= 0x3040 && r < 0x3100 || d == nil { // syllables of Hangul and Kana stay whole
		return utf8.AppendRune(b, r)
	}
	for _, r := range string(d) {
		if unicode.IsMark(r) && !keepsMarks(r) {
			continue
		}
		r = unicode.ToLower(unicode.ToUpper(r))
		if s, ok := plain[r]; ok {
			b = append(b, s...)
		} else if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}

// plain says how the lists write letters that have no decomposition, variants of Arabic letters,
// and digits of other scripts.
var plain = func() map[rune]string {
	m := map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'ł': "l", 'đ': "d", 'ð': "d", 'þ': "th", 'ħ': "h", 'ı': "i", 'ŧ': "t",
		'ى': "ي", 'ی': "ي", 'ې': "ي", 'ک': "ك", 'ة': "ه", 'ہ': "ه", 'ھ': "ه", 'ۃ': "ه", 'ە': "ه", 'ς': "σ", 'ґ': "г", 'ー': "ー"}
	for _, zero := range []rune{0x660, 0x6f0, 0x966, 0x9e6, 0xe50} {
		for d := range rune(10) {
			m[zero+d] = string('0' + d)
		}
	}
	return m
}()

func clauseEnd(r rune) bool {
	return strings.ContainsRune(".!?;:,\n\r\u2026\u3002\u3001\u061f\u060c\u061b\u06d4\u0964\u0965\u00a1\u00bf\u037e\uff61()[]\"“”„«»「」『』", r)
}
