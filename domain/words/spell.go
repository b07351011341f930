package words

import (
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ids returns the words and the stems of the lists that a word is.
func (l *Lists) ids(word string) []int32 {
	id, stems := l.vocabulary[word], l.stems[head(word)]
	if id == 0 && len(stems) == 0 {
		return nil
	}
	var ids []int32
	if id != 0 {
		ids = append(make([]int32, 0, 1+len(stems)), id)
	}
	for _, s := range stems {
		if strings.HasPrefix(word, s.text) {
			ids = append(ids, s.id)
		}
	}
	return ids
}

// head is the first three characters of a word; a stem has at least so many.
func head(word string) string {
	n := 0
	for i := range word {
		if n == 3 {
			return word[:i]
		}
		n++
	}
	return word
}

// lookalikeSign is the letter that a sign or digit stands for in "$T0P"; 0 for others.
func lookalikeSign(r rune) rune {
	switch r {
	case '0':
		return 'o'
	case '1', '|':
		return 'l'
	case '3', '€':
		return 'e'
	case '4', '@':
		return 'a'
	case '5', '$':
		return 's'
	case '7':
		return 't'
	}
	return 0
}

// confusable is the lower-case letter or the digit that a rune looks like (Unicode TR39), whatever its case.
func (l *Lists) confusable(r rune) (rune, bool) {
	upper := unicode.ToUpper(r)
	if c, ok := l.confusables[upper]; ok {
		return c, true
	}
	c, ok := l.confusables[unicode.ToLower(upper)]
	return c, ok
}

// skeleton is what a word looks like: two words that look alike have the same. It is "" for a word
// with a character that looks like no ASCII letter or digit.
func (l *Lists) skeleton(word []rune) string {
	var b strings.Builder
	for _, r := range word {
		if c := lookalikeSign(r); c != 0 {
			r = c
		} else if r > 0x7f {
			if c, ok := l.confusable(r); ok {
				r = c
				if s := lookalikeSign(r); s != 0 {
					r = s
				}
			} else if f := appendFolded(nil, r); len(f) > 0 && f[0] < 0x80 {
				for _, c := range f[:len(f)-1] {
					b.WriteByte(c)
				}
				r = rune(f[len(f)-1])
			} else {
				return ""
			}
		}
		r = unicode.ToLower(r)
		if r == 'i' {
			r = 'l'
		}
		if r > 0x7f {
			return ""
		}
		b.WriteRune(r)
	}
	return b.String()
}

// lookalike finds the word whose misspellings count that a word with other characters in it looks like.
func (l *Lists) lookalike(word []rune) (string, bool) {
	if len(word) < 3 || len(word) > longestSpelled {
		return "", false
	}
	letter := false
	for _, r := range word {
		letter = letter || unicode.IsLetter(r)
	}
	if !letter {
		return "", false
	}
	w, ok := l.skeletons[l.skeleton(word)]
	return w, ok
}

// longestSpelled is how many characters a word may have that is looked at for mistakes.
const longestSpelled = 32

// glued divides a word into those it is glued of, of which one at least stops: "stop2stop", "endall",
// "stop36123". It returns nil for any other.
func (l *Lists) glued(word string) []string {
	if len(word) < 4 || len(word) > longestSpelled {
		return nil
	}
	// before[i] is where the last piece of the first i bytes begins, -1 if there is no way.
	var before [longestSpelled + 1]int
	for i := 1; i <= len(word); i++ {
		before[i] = -1
		for j := max(0, i-longestSpelled); j < i; j++ {
			if j > 0 && before[j] < 0 {
				continue
			}
			if _, ok := l.glue[word[j:i]]; ok {
				before[i] = j
				break
			}
		}
	}
	end, digits := len(word), ""
	if before[end] < 0 {
		w := strings.TrimRight(word, "0123456789")
		if end, digits = len(w), word[len(w):]; end == 0 || end == len(word) || before[end] < 0 {
			return nil
		}
	}
	var out []string
	stops := false
	for end > 0 {
		piece := word[before[end]:end]
		stops = stops || l.glue[piece]
		out = append([]string{piece}, out...)
		end = before[end]
	}
	if digits != "" {
		out = append(out, digits)
	}
	if !stops || len(out) < 2 {
		return nil
	}
	return out
}

// corrected finds the word that a misspelt one is meant to be. Only words that the lists name may be
// meant, and no word that the lists name as a real one is changed.
func (l *Lists) corrected(word string) (string, bool) {
	if len(word) > longestSpelled {
		return "", false
	}
	if drawn, c := collapse(word); drawn {
		if w, ok := l.collapsed[c]; ok {
			return w, true
		}
	}
	if len(word) < 3 || l.real[word] {
		return "", false
	}
	// A digit that was struck before the word: "8stop".
	if first := word[0]; first >= '0' && first <= '9' && slices.ContainsFunc(l.spelled, func(s spelled) bool { return s.text == word[1:] }) {
		return word[1:], true
	}
	mask := letters(word)
	for _, s := range l.spelled {
		most := 1
		if len(s.text) >= 8 {
			most = 2
		}
		if d := len(word) - len(s.text); d > most || d < -most || bits.OnesCount32(mask^s.letters) > 2*most {
			continue
		}
		if len(s.text) < 6 {
			if slip(word, s.text) {
				return s.text, true
			}
		} else if distance(word, s.text) <= most && word[0] == s.text[0] {
			return s.text, true
		}
	}
	return "", false
}

// spelled is a word whose misspellings count.
type spelled struct {
	text    string
	letters uint32
}

// letters has a bit for each letter of a word.
func letters(word string) (mask uint32) {
	for i := range len(word) {
		if c := word[i]; c >= 'a' && c <= 'z' {
			mask |= 1 << (c - 'a')
		} else {
			mask |= 1 << 31
		}
	}
	return mask
}

// collapse writes every letter that is repeated once. drawn says that one stood three times or
// more in a row ("stoooop").
func collapse(word string) (drawn bool, out string) {
	b := make([]byte, 0, len(word))
	run, last := 0, rune(-1)
	for _, r := range word {
		if r == last {
			run++
			drawn = drawn || run == 3
			continue
		}
		run, last = 1, r
		b = utf8.AppendRune(b, r)
	}
	return drawn, string(b)
}

// slip reports whether a word is a short one with two neighbouring letters exchanged, one key of a
// keyboard mistaken for its neighbour, or a key beside one struck with it.
func slip(word, meant string) bool {
	i := 0
	for i < len(word) && i < len(meant) && word[i] == meant[i] {
		i++
	}
	switch len(word) - len(meant) {
	case 0:
		if i+1 < len(word) && word[i] == meant[i+1] && word[i+1] == meant[i] && word[i+2:] == meant[i+2:] {
			return true
		}
		return i < len(word) && word[i+1:] == meant[i+1:] && strings.IndexByte(neighbours[meant[i]], word[i]) >= 0
	case 1:
		if i == 0 || word[i+1:] != meant[i:] {
			return false
		}
		beside := func(c byte) bool { return word[i] == c || strings.IndexByte(neighbours[c], word[i]) >= 0 }
		return beside(word[i-1]) || i < len(meant) && beside(meant[i])
	}
	return false
}

// neighbours are the keys around a letter on the keyboards QWERTY, QWERTZ and AZERTY.
var neighbours = map[byte]string{
	'a': "qwsz", 'b': "vghn", 'c': "xdfv", 'd': "serfcx", 'e': "wsdr", 'f': "drtgvc", 'g': "ftyhbvz", 'h': "gyujnbz", 'i': "ujko", 'j': "huikmn",
	'k': "jiolm", 'l': "kop", 'm': "njkl", 'n': "bhjm", 'o': "iklp0", 'p': "ol0", 'q': "wa", 'r': "edft", 's': "awedxz", 't': "rfgyz5", 'u': "yhji",
	'v': "cfgb", 'w': "qase", 'x': "zsdc", 'y': "tghu", 'z': "asxt",
}

// distance is how many letters must be put in, left out, exchanged for another or for their neighbour to
// make one word of the other (optimal string alignment), 3 or more for words far apart.
func distance(a, b string) int {
	if len(a) > longestSpelled || len(b) > longestSpelled {
		return 3
	}
	var rows [3][longestSpelled + 1]int
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, above := &rows[i%3], &rows[(i-1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j-1]+1, above[j]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], rows[(i-2)%3][j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
