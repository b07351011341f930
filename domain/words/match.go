package words

import (
	"slices"
	"strings"
)

// entry is one line's entry of a list: a word or a phrase, with choices.
type entry struct {
	kind      kind
	language  string
	tenant    string   // whose own word it is; "" for all
	countries []string // where alone it counts; nil: everywhere
	source    string
	text      string
	groups    []group
}

// group is a choice at one point of an entry.
type group struct {
	choices [][]element
	// optional: it may be left out.
	optional bool
	// gap: up to four words may stand here, whatever they are, or ten characters of a script that sets no spaces.
	gap bool
}

// element is one word of a choice.
type element struct {
	id     int32
	text   string
	number bool // any number of 4 to 8 digits
	any    bool // any word
}

const (
	maxGap    = 32 // what the words in a gap may weigh
	gapWord   = 8  // a word's weight
	gapSingle = 3  // that of a character that is a word by itself
	maxPolite = 4  // words of courtesy between two words of a phrase
	maxGroups = 16
)

// match is an entry that matched, from one token to before another.
type match struct {
	entry     *entry
	from, end int
	choice    [maxGroups]uint8 // of each group: 0 for left out, else 1 + its number
}

// text is the match in the words of the entry.
func (m match) text() string {
	var w []string
	for i, g := range m.entry.groups {
		switch {
		case g.gap:
			w = append(w, "…")
		case m.choice[i] > 0:
			for _, e := range g.choices[m.choice[i]-1] {
				w = append(w, e.text)
			}
		}
	}
	return joinWords(w)
}

// joinWords sets spaces between words, but for scripts that set none.
func joinWords(w []string) string {
	var b strings.Builder
	for i, s := range w {
		if i > 0 && !(allSingle(s) && allSingle(w[i-1])) {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}

func allSingle(s string) bool {
	for _, r := range s {
		if !single(r) {
			return false
		}
	}
	return true
}

// counts reports whether an entry counts for this text.
func (r *reader) counts(e *entry) bool {
	return (e.tenant == "" || slices.Contains(r.context.Tenants, e.tenant)) && (e.countries == nil || slices.Contains(e.countries, r.context.Country))
}

// halfCounts reports whether an entry may count, for all that is known of the writer's country. A single
// letter ("R" in China) does not: it answers too many other questions.
func (r *reader) halfCounts(e *entry) bool {
	return len(e.text) > 1 && r.context.Country == "" && e.countries != nil && (e.tenant == "" || slices.Contains(r.context.Tenants, e.tenant))
}

// longest finds the longest entry of a kind that matches from a token on; whole: up to end.
func (r *reader) longest(k kind, from, end int, whole bool) (match, bool) {
	return r.find(k, from, end, whole, r.counts)
}

// longestHalf finds a keyword that stops in some countries, for a writer whose country is not known.
func (r *reader) longestHalf(from, end int) (match, bool) {
	return r.find(kindStop, from, end, false, r.halfCounts)
}

func (r *reader) find(k kind, from, end int, whole bool, counts func(*entry) bool) (best match, ok bool) {
	if from >= end {
		return best, false
	}
	for _, id := range r.text.tokens[from].ids {
		for _, e := range r.lists.index[k][id] {
			m := match{entry: e, from: from}
			if !counts(e) || !r.match(&m, 0, from, end, whole) {
				continue
			}
			if m.end > best.end {
				best, ok = m, true
			}
		}
	}
	return best, ok
}

// match matches the groups of m's entry from g on, at token i.
func (r *reader) match(m *match, g, i, end int, whole bool) bool {
	if r.steps != nil {
		*r.steps++
	}
	e := m.entry
	if g == len(e.groups) {
		m.end = i
		return !whole || r.text.skipPolite(i) >= end
	}
	if e.groups[g].gap {
		for weight := 0; weight <= maxGap; i++ {
			if r.match(m, g+1, i, end, whole) {
				return true
			}
			if i >= end {
				return false
			}
			if allSingle(r.text.tokens[i].text) {
				weight += gapSingle
			} else {
				weight += gapWord
			}
		}
		return false
	}
	for c, choice := range e.groups[g].choices {
		if j, ok := r.words(choice, i, end, g > 0); ok {
			m.choice[g] = uint8(c + 1)
			if r.match(m, g+1, j, end, whole) {
				return true
			}
		}
	}
	m.choice[g] = 0
	return e.groups[g].optional && r.match(m, g+1, i, end, whole)
}

// words matches the words of a choice at token i, and returns the token after them. Words of courtesy may
// stand between.
func (r *reader) words(choice []element, i, end int, skip bool) (int, bool) {
	for n, e := range choice {
		if !skip && n == 0 {
			if i >= end || !is(&r.text.tokens[i], e) {
				return 0, false
			}
			i++
			continue
		}
		skipped := 0
		for i < end && !is(&r.text.tokens[i], e) {
			if !r.text.tokens[i].polite || skipped == maxPolite || n > 0 && allSingle(e.text) {
				return 0, false
			}
			skipped++
			i++
		}
		if i >= end {
			return 0, false
		}
		i++
	}
	return i, true
}

func is(t *token, e element) bool {
	if e.number || e.any {
		return e.any || t.number
	}
	return slices.Contains(t.ids, e.id)
}
