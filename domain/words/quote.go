package words

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxSent   = 32      // texts that were sent are compared with
	longSent  = 20      // characters, without spaces and quotes, from which on a text may be known by its beginning, or without quotes
	shortSent = 4       // a shorter text is never cut out
	maxSentAt = 4 << 10 // bytes of a text that was sent are compared
	maxCut    = 64      // times that a text that was sent is looked for, and pieces that are left
)

// bare is a text without spaces, quotes, quoting marks and invisible characters, in lower case, and
// where each of its bytes stood.
type bare struct {
	text string
	at   []int32
}

func newBare(text string, positions bool) bare {
	b := make([]byte, 0, len(text))
	var at []int32
	for i, r := range text {
		if unicode.IsSpace(r) || quoteMark(r) || invisible(r) || apostrophe(r) || r == '>' || r == '\ufffc' {
			continue
		}
		n := len(b)
		b = utf8.AppendRune(b, unicode.ToLower(unicode.ToUpper(r)))
		if positions {
			for range len(b) - n {
				at = append(at, int32(i))
			}
		}
	}
	return bare{string(b), at}
}

// withoutSent cuts everything out of a text that equals a text that was sent, and returns the pieces
// between.
func (r *reader) withoutSent(text string) []string {
	sent := r.context.Sent[:min(len(r.context.Sent), maxSent)]
	if len(sent) == 0 {
		return []string{text}
	}
	pieces := []string{text}
	for _, s := range sent {
		if len(pieces) > maxCut {
			break
		}
		if len(s) > maxSentAt {
			s = s[:maxSentAt]
		}
		b := newBare(s, false).text
		if utf8.RuneCountInString(b) < shortSent || r.lists.keyword(s, r.context) {
			continue
		}
		var out []string
		for _, p := range pieces {
			out = append(out, cut(p, b)...)
		}
		pieces = out
	}
	return pieces
}

// keyword reports whether a text that was sent is nothing but a keyword: then a person who writes the same
// means it.
func (l *Lists) keyword(text string, c Context) bool {
	r := reader{lists: l, context: Context{Country: c.Country, Tenants: c.Tenants}}
	r.text = l.fold([]string{text})
	_, ok := r.whole()
	return ok
}

// cut cuts the bare text sent out of a text, wherever it stands.
func cut(text, sent string) []string {
	b := newBare(text, true)
	var out []string
	from := 0 // in text
	for pos, tries := 0, 0; pos < len(b.text) && tries < maxCut; tries++ {
		i := strings.Index(b.text[pos:], sent)
		n := len(sent)
		if i < 0 {
			if i, n = shortened(b, pos, sent); i < 0 {
				break
			}
		}
		i += pos
		pos = i + n
		start, end := int(b.at[i]), len(text)
		if pos < len(b.text) {
			end = int(b.at[pos])
		}
		before, after := strings.TrimRightFunc(text[from:start], dividing), text[:end]
		after = text[len(strings.TrimRightFunc(after, dividing)):]
		if !apart(text[from:start], after, utf8.RuneCountInString(sent)) {
			continue
		}
		out = append(out, before)
		from = len(text) - len(strings.TrimLeftFunc(after, dividing))
	}
	return append(out, text[from:])
}

// shortened finds the beginning of sent that ends in an ellipsis.
func shortened(b bare, pos int, sent string) (at, n int) {
	begin := sent
	for i, count := 0, 0; i < len(sent); count++ {
		if count == longSent {
			begin = sent[:i]
			break
		}
		_, size := utf8.DecodeRuneInString(sent[i:])
		i += size
	}
	if len(begin) == len(sent) {
		return -1, 0
	}
	for tries, from := 0, pos; tries < maxCut; tries++ {
		i := strings.Index(b.text[from:], begin)
		if i < 0 {
			break
		}
		i += from
		n := len(begin)
		for i+n < len(b.text) && n < len(sent) && b.text[i+n] == sent[n] {
			n++
		}
		for _, e := range []string{"…", "..."} {
			if strings.HasPrefix(b.text[i+n:], e) {
				return i - pos, n + len(e)
			}
		}
		from = i + 1
	}
	return -1, 0
}

func dividing(r rune) bool { return unicode.IsSpace(r) || quoteMark(r) || r == '>' || invisible(r) }

// apart reports whether what was sent stands by itself: between quotes, or at the beginning and the end of
// lines; a long one may also stand between any spaces.
func apart(before, after string, length int) bool {
	b, _ := utf8.DecodeLastRuneInString(before)
	a, _ := utf8.DecodeRuneInString(after)
	if length >= longSent {
		return (before == "" || dividing(b) || !unicode.IsLetter(b)) && (after == "" || dividing(a) || !unicode.IsLetter(a))
	}
	return quoteMark(b) && quoteMark(a) || b == '>' && (after == "" || a == '\n')
}

func quoteMark(r rune) bool {
	return strings.ContainsRune("\"“”„‟«»‹›「」『』〝〞〟＂", r)
}

// quotes says which places of a text stand within quotes.
type quotes struct {
	spans []span // bytes, in order; each from after its opening mark to before its closing one
	now   int    // the first span that has not ended yet
	in    bool
}

// newQuotes finds the quotes of a text: what stands between quote marks, lines that begin with ">", and
// everything after a line such as "On … wrote:".
func newQuotes(l *Lists, text string) quotes {
	var q quotes
	if strings.IndexFunc(text, quoteMark) >= 0 {
		q.spans = marked(text)
	}
	if strings.ContainsAny(text, ">:") || strings.ContainsRune(text, '：') {
		q.spans = merged(append(q.spans, cited(l, text)...))
	}
	return q
}

// marked finds what stands between quote marks. Marks may be nested. A plain mark that is not closed is none.
func marked(text string) []span {
	var out []span
	var open []rune
	from := 0
	end := func(i int) {
		if open = open[:len(open)-1]; len(open) == 0 {
			out = append(out, span{from, i})
		}
	}
	for i, r := range text {
		if !quoteMark(r) {
			continue
		}
		if n := len(open); n > 0 && closes(open[n-1], r) {
			end(i)
		} else if n < 8 {
			if n == 0 {
				from = i + utf8.RuneLen(r)
			}
			open = append(open, r)
		}
	}
	if len(open) > 0 && open[0] != '"' {
		out = append(out, span{from, len(text)})
	}
	return out
}

func closes(open, r rune) bool {
	switch open {
	case '“':
		return r == '”'
	case '„':
		return r == '“' || r == '”'
	case '«':
		return r == '»'
	case '»':
		return r == '«'
	case '‹':
		return r == '›'
	case '「':
		return r == '」'
	case '『':
		return r == '』'
	}
	return r == open
}

// cited finds the lines that begin with ">", and what follows a line such as "On … wrote:".
func cited(l *Lists, text string) []span {
	var out []span
	for at := 0; at < len(text); {
		line, _, more := strings.Cut(text[at:], "\n")
		end := at + len(line)
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, ">") {
			out = append(out, span{at, end})
		} else if n := len(trimmed); more && n > 1 && n < 200 && (trimmed[n-1] == ':' || strings.HasSuffix(trimmed, "：")) && l.wrote(trimmed) {
			return append(out, span{end, len(text)})
		}
		at = end + 1
	}
	return out
}

// wrote reports whether a line says that somebody wrote what follows.
func (l *Lists) wrote(line string) bool {
	f := folder{lists: l}
	for i, r := range line {
		f.rune(r, ' ', line[i:])
	}
	f.endWord()
	r := reader{lists: l, text: f.out}
	for i := range f.out.tokens {
		if _, ok := r.longest(kindWrote, i, len(f.out.tokens), false); ok {
			return true
		}
	}
	return false
}

// merged sorts spans and joins those that overlap.
func merged(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && s.from <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, s.end)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// next follows the text to the rune at byte i.
func (q *quotes) next(i int) {
	for q.now < len(q.spans) && q.spans[q.now].end <= i {
		q.now++
	}
	q.in = q.now < len(q.spans) && q.spans[q.now].from <= i
}
