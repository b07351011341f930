// Package words reads what an inbound text of a person asks for: to stop, to start, to get help, or
// nothing. What it knows of languages is data: a file a language in lists, in the format that
// parse.go defines. It is pure.
package words

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Kind is what an inbound text asks for.
type Kind uint8

const (
	// None: the text asks for nothing that the lists know.
	None Kind = iota
	// Stop: a revocation, by a keyword or in words (47 CFR 64.1200(a)(10)).
	Stop
	// Unclear: the text may be a revocation. Stop messages, and let an officer read it.
	Unclear
	// Start: end the block that a STOP made. It is no consent.
	Start
	// Yes: it confirms a double opt-in that waits for it, and does nothing else.
	Yes
	// Help: send the program's HELP text.
	Help
)

// String returns the kind's name in lower case ("stop").
func (k Kind) String() string {
	switch k {
	case Stop:
		return "stop"
	case Unclear:
		return "unclear"
	case Start:
		return "start"
	case Yes:
		return "yes"
	case Help:
		return "help"
	}
	return "none"
}

// Context is what is known about a text beside its words.
type Context struct {
	// Country is the writer's (ISO 3166-1 alpha-2, such as "US"); "" if it is not known. An entry
	// that counts only in some countries counts there; where the country is not known, one
	// that stops is unclear, and one of another kind does not count.
	Country string
	// Tenants are those that the text concerns. Their own words (Lists.With) count.
	Tenants []string
	// Sent are the texts that were sent to this person lately, the newest first. A quote that
	// equals one of them is not read. At most 32 are looked at.
	Sent []string
}

// Reading is what a text asks for, and why.
type Reading struct {
	Kind Kind
	// Match is the entry that decided, as the lists have it, in the form in which it matched ("stop
	// texting"). It is never a piece of the person's text, so it may be logged. It
	// is "" for None.
	Match string
	// Language is the code of the list that has the entry ("en"); "" for an operator's own word,
	// and where no list decided.
	Language string
	// Why is one sentence for a person. It has no piece of the text in it.
	Why string
	// Quoted says that the words that stop stand within something that may be a quote. Read the
	// text again with Context.Sent.
	Quoted bool
}

// maxText is how many bytes of a text are looked at: the longest that one short_message or
// message_payload can bring (65,535 octets, SMPP 3.4 §5.3.2.32, each at most two bytes of UTF-8). A
// longer text is at least unclear.
const maxText = 128 << 10

// Read says what a text asks for. It looks, in this order, for
//
//  1. a keyword that is the whole text, but for case, accents, punctuation, quotes, spaces,
//     invisible characters, characters that look alike, misspellings, and words of courtesy;
//  2. a sentence or a line of its own that is STOP or its like;
//  3. a phrase that revokes and is not negated; one that says why the person wants no more, such as a
//     wrong number or a death, is Unclear in a text that goes on about something else;
//  4. a word or phrase that may revoke: Unclear, unless it stands in a phrase that
//     plainly means something else ("the end of").
//
// An aside ("Stop, is that my order?") is none of these.
//
// START and HELP count only as the whole text, but for words of courtesy; YES only as the whole text. The sign 🛑 is
// STOP as the whole text. In doubt it leans towards a
// revocation: suppressing one message too many can be undone, sending one cannot.
// The answer does not depend on case or on the amount of space.
//
// What equals one of c.Sent is cut out before, with the reaction around it ("Liked “…”"). Words
// that stop within any other quote or reaction are Unclear, and Quoted.
//
// Any string may be read, whatever its octets. The time is linear in its length.
func (l *Lists) Read(text string, c Context) Reading {
	tooLong := len(text) > maxText
	if tooLong {
		text = text[:maxText]
	}
	r := reader{lists: l, context: c}
	r.fold(text)
	out := r.read()
	if tooLong && out.Kind != Stop && out.Kind != Unclear {
		return Reading{Kind: Unclear, Match: "too long", Why: "It is longer than any text message, and was not read to its end."}
	}
	return out
}

// reader reads one text.
type reader struct {
	lists   *Lists
	context Context
	text    folded
	// stopsOnly: keywords that start, confirm or ask for help do not count.
	stopsOnly bool
	// besides is how many letters stand beside reasons to stop; -1: not yet counted.
	besides int
	// steps counts compared groups, for a test of the work.
	steps *int
}

func (r *reader) fold(text string) {
	pieces := r.withoutSent(text)
	r.text = r.lists.fold(pieces)
	// A sign in a reaction ("Reacted 🛑 to “…”") is not the whole text.
	r.text.octagon = r.text.octagon && len(pieces) == 1
	r.besides = -1
}

func (r *reader) read() Reading {
	t := &r.text
	if t.octagon && t.skipPolite(0) == len(t.tokens) {
		return octagon
	}
	if len(t.tokens) == 0 {
		if t.stopSign {
			return stopSign
		}
		return none
	}
	if w, ok := r.whole(); ok && (w.Kind == Stop || !t.stopSign) {
		return w
	}
	best := none
	clauses, doubted := r.withoutAsides(t.clauses())
	for _, c := range clauses {
		x := r.clause(c)
		if x.Kind == Stop && slices.Contains(doubted, c) {
			x.Kind, x.Why = Unclear, "What follows the sentence may mean something else than messages."
		}
		r.better(&best, x)
	}
	for _, c := range clauses {
		if best.Kind == Stop {
			return best
		}
		r.better(&best, r.phrases(c))
	}
	// A phrase may run over a line break or a comma.
	if len(t.clauses()) > 1 && best.Kind != Stop {
		r.better(&best, r.phrases(span{0, len(t.tokens)}))
	}
	if best.Kind == None && t.stopSign {
		return stopSign
	}
	if best.Kind == None {
		return r.withArgument()
	}
	return best
}

// mostArguments is how many words may stand behind a keyword that takes a code or a name.
const mostArguments = 3

// withArgument reads a keyword that stops with a code or a name behind it, as some countries prescribe it:
// "RET B001", "TC ABC". It may be meant for another sender, so it is unclear.
func (r *reader) withArgument() Reading {
	t := &r.text
	m, ok := r.longest(kindStop, 0, len(t.tokens), false)
	if _, other := r.longest(kindHarmless, 0, len(t.tokens), false); other {
		return none
	}
	if !ok || m.end >= len(t.tokens) || len(t.tokens)-m.end > mostArguments {
		return none
	}
	digits := slices.ContainsFunc(t.tokens[m.end:], func(k token) bool { return strings.ContainsAny(k.text, "0123456789") })
	if !digits && (m.entry.countries == nil || len(t.tokens)-m.end > 1) {
		return none
	}
	out := r.lists.reading(Unclear, m, "%s stands before a code or a name.")
	return out
}

var (
	none     = Reading{Why: "No list has words of it that ask for something."}
	octagon  = Reading{Kind: Stop, Match: "stop sign", Why: "The sign 🛑 is the whole text."}
	stopSign = Reading{Kind: Unclear, Match: "stop sign", Why: "A sign such as 🛑 may ask to stop."}
)

// better keeps the reading that asks more plainly to stop; the first of two that are alike.
func (r *reader) better(best *Reading, other Reading) {
	switch {
	case other.Kind == Stop && best.Kind != Stop, other.Kind == Unclear && best.Kind == None:
		*best = other
	case other.Kind == Unclear && best.Kind == Unclear:
		best.Quoted = best.Quoted && other.Quoted
	}
}

// withoutAsides drops the clauses that an aside begins with and goes on after: "Stop, is that my order?" A sentence or
// a line of its own is not dropped but doubted: "STOP. Is that clear?"
func (r *reader) withoutAsides(clauses []span) (out, doubted []span) {
	until := 0
	for _, c := range clauses {
		if m, ok := r.longest(kindAside, r.text.skipPolite(c.from), len(r.text.tokens), false); ok && m.end > c.end {
			if slices.ContainsFunc(r.text.tokens[c.from:m.end-1], func(k token) bool { return k.last }) {
				doubted = append(doubted, c)
			} else {
				until = m.end
			}
		}
		if c.from = max(c.from, until); c.from < c.end {
			out = append(out, c)
		}
	}
	return out, doubted
}

// whole finds a keyword that is the whole text.
func (r *reader) whole() (Reading, bool) {
	l, t := r.lists, &r.text
	all := span{0, len(t.tokens)}
	if w, ok := r.stops(all); ok {
		return w, true
	}
	if w, ok := asks(r); ok && !r.stopsOnly {
		return w, true
	}
	// Spaces within a keyword: "S TOP".
	if m, ok := l.spaced[t.squeezed()]; ok && (r.counts(m.entry) || r.halfCounts(m.entry)) {
		out := l.reading(Stop, m, "%s is the whole text, but for spaces.")
		if !r.counts(m.entry) {
			out.Kind = Unclear
		}
		return out, true
	}
	return none, false
}

// asks reports whether the text is nothing but keywords that start, or those that ask for help, and words of
// courtesy; or a YES alone, since it confirms. Yes counts as a courtesy beside START.
func asks(r *reader) (Reading, bool) {
	end := len(r.text.tokens)
	if m, ok := r.longest(kindYes, 0, end, true); ok && m.end == end {
		return r.lists.reading(Yes, m, "%s is the whole text."), true
	}
	for _, kind := range []kind{kindStart, kindHelp} {
		if w, ok := asksOnly(r, kind); ok {
			return w, true
		}
	}
	return none, false
}

func asksOnly(r *reader, k kind) (Reading, bool) {
	t, first, why := &r.text, match{}, "%s is the whole text."
	for i := 0; i < len(t.tokens); {
		m, ok := r.longest(k, i, len(t.tokens), false)
		if ok && first.entry == nil {
			first = m
		}
		if !ok {
			why = "%s is the whole text, but for words of courtesy."
			switch yes, confirms := r.longest(kindYes, i, len(t.tokens), false); {
			case t.tokens[i].polite:
				m.end = max(i+1, t.tokens[i].politeEnd)
			case confirms && k == kindStart:
				m.end = yes.end
			default:
				return none, false
			}
		}
		i = m.end
	}
	if first.entry == nil {
		return none, false
	}
	return r.lists.reading(wholeKinds[k], first, why), true
}

// maxSpelled is how many words a text may have that is looked at for a keyword with mistakes in it.
const maxSpelled = 24

var wholeKinds = map[kind]Kind{kindStart: Start, kindHelp: Help}

// stops reports whether a span is nothing but keywords that stop and words of courtesy.
func (r *reader) stops(s span) (Reading, bool) {
	first, half, whole, courteous := match{}, false, false, false
	for i := s.from; i < s.end; {
		m, ok := r.longest(kindStop, i, s.end, false)
		if !ok && r.text.tokens[i].polite { // a courtesy may begin a keyword of another language
			i, courteous = max(i+1, r.text.tokens[i].politeEnd), true
			continue
		}
		if !ok && !whole && r.text.tokens[i].ordinal() { // "2 STOP", from a list of answers; "1/2 STOP", a part of a text
			if _, plain := r.longest(kindHarmless, i, s.end, false); plain { // "1 stop shop"
				return none, false
			}
			i++
			continue
		}
		if !ok {
			if m, ok = r.longestHalf(i, s.end); !ok {
				return none, false
			}
			half = true
		}
		if !whole {
			first, whole = m, true
		}
		i = m.end
	}
	if !whole {
		return none, false
	}
	why := "%s is the whole text."
	if courteous {
		why = "%s is the whole text, but for words of courtesy."
	}
	out := r.lists.reading(Stop, first, why)
	if half {
		out.Kind, out.Why = Unclear, "In some countries, but perhaps not in the writer's, "+out.Why
	}
	return out, true
}

// clause reads a sentence or a line of its own.
func (r *reader) clause(c span) Reading {
	var last match
	for i := c.from; i <= c.end; {
		if i == c.end {
			if last.entry == nil {
				break
			}
			return r.quoted(last, r.lists.reading(Stop, last, "%s is a sentence of its own."))
		}
		m, ok := r.longest(kindClause, i, c.end, false)
		switch {
		case ok:
			last, i = m, m.end
		case r.text.tokens[i].polite:
			i = max(i+1, r.text.tokens[i].politeEnd)
		default:
			i = c.end + 1
		}
	}
	from := r.text.skipPolite(c.from)
	if m, ok := r.longest(kindMaybe, from, c.end, true); ok {
		return r.quoted(m, r.lists.reading(Unclear, m, "%s is a sentence of its own, which may ask to stop."))
	}
	return none
}

// phrases finds the strongest phrase in a span: one that revokes, else one that may revoke.
func (r *reader) phrases(s span) Reading {
	best := none
	harmlessUntil := r.harmlessEnds(s)
	for i := s.from; i < s.end; i++ {
		if !r.text.tokens[i].known() {
			continue
		}
		harmless := harmlessUntil != nil && harmlessUntil[i-s.from] > i
		m, ok := r.longest(kindPhrase, i, s.end, false)
		if !ok {
			m, ok = r.longest(kindReason, i, s.end, false)
		}
		if ok && harmlessUntil != nil {
			// "cancel my" is a phrase, but not in "cancel my appointment".
			for j := i; ok && j < m.end; j++ {
				ok = harmlessUntil[j-s.from] < m.end || harmlessUntil[j-s.from] == m.end && j > i
			}
		}
		if ok {
			out := r.lists.reading(Stop, m, "It has the phrase %s.")
			if m.entry.kind == kindReason && beside(r) > maxBeside {
				out.Kind, out.Why = Unclear, "It has the phrase "+quote(m.text())+", beside something else."
			}
			if r.negated(m, s.from) {
				out.Kind, out.Why = Unclear, "It has the phrase "+quote(m.text())+", perhaps negated."
			}
			out = r.quoted(m, out)
			r.better(&best, out)
			if out.Kind == Stop {
				return best
			}
			continue
		}
		m, ok = r.longest(kindDoubt, i, s.end, false)
		if harmless && (!ok || m.end < harmlessUntil[i-s.from]) {
			i = harmlessUntil[i-s.from] - 1
			continue
		}
		if ok {
			r.better(&best, r.quoted(m, r.lists.reading(Unclear, m, "It has %s, which may ask to stop.")))
		}
	}
	return best
}

// maxBeside is how many letters may stand beside a reason to stop, such as a wrong number: some three short words.
// A shorter word counts as three letters, and so does a character that is a word by itself.
const maxBeside = 13

// beside counts the letters of the words that are no reasons, keywords that stop or courtesies. A phrase that means
// something else is too many by itself.
func beside(r *reader) int {
	if r.besides >= 0 {
		return r.besides
	}
	t, end := &r.text, len(r.text.tokens)
	count := 0
	for i := 0; i < end && count <= maxBeside; {
		m, ok := r.longest(kindReason, i, end, false)
		if !ok {
			if _, other := r.longest(kindHarmless, i, end, false); other {
				count = maxBeside + 1
				break
			}
			m, ok = r.longest(kindPhrase, i, end, false)
		}
		if !ok {
			m, ok = r.longest(kindStop, i, end, false)
		}
		switch {
		case ok:
			i = m.end
		case t.tokens[i].polite:
			i = max(i+1, t.tokens[i].politeEnd)
		default:
			n := max(3, utf8.RuneCountInString(t.tokens[i].text))
			count += n
			i++
		}
	}
	r.besides = count
	return count
}

// harmlessEnds says for each token of a span where the longest harmless phrase ends that begins there; nil if
// there is none.
func (r *reader) harmlessEnds(s span) []int {
	var ends []int
	for i := s.from; i < s.end; i++ {
		for _, k := range []kind{kindHarmless, kindAside} {
			if m, ok := r.longest(k, i, s.end, false); ok {
				if ends == nil {
					ends = make([]int, s.end-s.from)
				}
				ends[i-s.from] = max(ends[i-s.from], m.end)
			}
		}
	}
	return ends
}

// negated reports whether a word that negates, in the phrase's language, is among the three before it.
func (r *reader) negated(m match, from int) bool {
	for i := max(from, m.from-3); i < m.from; i++ {
		for _, id := range r.text.tokens[i].ids {
			if r.lists.negations[negation{m.entry.language, id}] {
				return true
			}
		}
	}
	return false
}

// quoted makes a reading unclear whose words all stand in a quote.
func (r *reader) quoted(m match, out Reading) Reading {
	for _, t := range r.text.tokens[m.from:m.end] {
		if !t.quoted {
			return out
		}
	}
	out.Kind, out.Quoted = Unclear, true
	out.Why = "What may be a quote has " + quote(m.text()) + ", which may ask to stop."
	return out
}
