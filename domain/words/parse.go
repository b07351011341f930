package words

import (
	"fmt"
	"slices"
	"strings"
)

// The format of a list: UTF-8, a statement a line, "#" begins a comment line.
//
//	language: en English
//	cite law: 47 CFR 64.1200(a)(10)
//	stop law: stop; quit; opt out
//	stop carrier IN: band karo
//	phrase: {stop|quit} {texting|messaging} {me|}
//	set message: sms; text message
//	phrase: {no|stop} … {@message|calls}
//
// The first statement names the language. "cite" says what a source is. All others have a kind (see
// kinds), then perhaps where the entries come from (law, carrier, industry or ours; ours if it is left
// out) and the countries where alone they count (ISO 3166-1 alpha-2), a colon, and entries between
// semicolons. "set" gives choices a name of small letters; from there on, @name in a choice stands for
// all of them, in this file. An entry is a word or a phrase. In it
//
//	{a|b c|}  is a choice; an empty one may be left out
//	…         is a gap of up to four words, or ten characters of a script that sets no spaces
//	_         is any one word
//	#         is a number of 4 to 8 digits
//	отпис*    is every word that begins so, by at least three characters
//
// Entries are written as people write. They match in any case, with or without accents.

// kind is what an entry is for.
type kind uint8

const (
	kindStop     kind = iota // keywords that stop, if they are the whole text
	kindStart                // START and its like
	kindYes                  // YES
	kindHelp                 // HELP and its like
	kindClause               // stop if they are the whole text, or a sentence or a line of their own
	kindPhrase               // stop anywhere in a text, unless they are negated
	kindReason               // a phrase that says why the person wants no more; unclear in a text that goes on about something else
	kindMaybe                // unclear, if they are the whole text
	kindDoubt                // unclear anywhere in a text
	kindHarmless             // something else, whatever doubtful words they have
	kindAside                // harmless, also if it begins with a sentence that stops: "stop, wait"
	kindNot                  // words that negate a phrase of the same language
	kindPolite               // courtesies, which change nothing
	kindGlue                 // words that people glue to those that stop: STOP2END
	kindSpell                // keywords whose misspellings count
	kindReal                 // real words that are no misspellings
	kindReaction             // what a telephone writes before the text that a person reacted to
	kindWrote                // words of a line such as "On … wrote:"
	kindCount
)

// kinds are the words for them in the files.
var kinds = [kindCount]string{"stop", "start", "yes", "help", "clause", "phrase", "reason", "maybe", "doubt", "harmless", "aside", "not", "polite", "glue", "spell", "real", "reaction", "wrote"}

// sources are where an entry may come from.
var sources = []string{"law", "carrier", "industry", "ours"}

// list is a file.
type list struct {
	code, name string
	// cites says what each source is, in the order of the file.
	cites   []string
	entries []entry
	// sets are the choices that have a name, between bars.
	sets map[string]string
}

const (
	maxEntry   = 4 << 10 // bytes of an entry
	maxChoices = 250     // choices at one point of an entry
	maxWords   = 12      // words of a choice
	maxSets    = 32      // sets of a file
)

// parseList reads a file. name is for errors.
func parseList(name, text string) (list, error) {
	var l list
	for n, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := l.statement(line); err != nil {
			return list{}, fmt.Errorf("%s:%d: %w", name, n+1, err)
		}
	}
	if l.code == "" {
		return list{}, fmt.Errorf("%s: it names no language", name)
	}
	return l, nil
}

func (l *list) statement(line string) error {
	before, after, ok := strings.Cut(line, ":")
	if after = strings.TrimSpace(after); !ok || after == "" {
		return fmt.Errorf("it is no statement with a colon and something after it")
	}
	words := strings.Fields(before)
	if len(words) == 0 {
		return fmt.Errorf("it has no kind")
	}
	switch {
	case words[0] == "language":
		if l.code != "" || len(words) != 1 {
			return fmt.Errorf("it names a language a second time, or more than that")
		}
		l.code, l.name, ok = strings.Cut(after, " ")
		if l.name = strings.TrimSpace(l.name); !ok || len(l.code) < 2 || len(l.code) > 3 || l.name == "" {
			return fmt.Errorf("it does not give the code of the language and its name")
		}
		return nil
	case l.code == "":
		return fmt.Errorf("the first statement does not name the language")
	case words[0] == "cite":
		if len(words) != 2 || !slices.Contains(sources, words[1]) {
			return fmt.Errorf("it does not name one source of %v", sources)
		}
		l.cites = append(l.cites, words[1]+": "+after)
		return nil
	case words[0] == "set":
		if len(words) != 2 {
			return fmt.Errorf("it does not give the set one name")
		}
		return l.set(words[1], after)
	}
	e := entry{language: l.code, source: "ours"}
	k := slices.Index(kinds[:], words[0])
	if k < 0 {
		return fmt.Errorf("%q is no kind", words[0])
	}
	e.kind = kind(k)
	for i, w := range words[1:] {
		switch {
		case i == 0 && slices.Contains(sources, w):
			e.source = w
		case isCountry(w):
			e.countries = append(e.countries, w)
		default:
			return fmt.Errorf("%q is neither a source nor a country", w)
		}
	}
	for text := range strings.SplitSeq(after, ";") {
		text, err := l.expand(strings.Join(strings.Fields(text), " "))
		if err != nil {
			return err
		}
		groups, err := parseEntry(text)
		if err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		one := e
		one.text, one.groups = text, groups
		l.entries = append(l.entries, one)
	}
	return nil
}

// set gives choices a name. A set may be made of sets before it.
func (l *list) set(name, choices string) error {
	switch {
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz") != "":
		return fmt.Errorf("the name %q has other than small letters", name)
	case l.sets[name] != "" || len(l.sets) == maxSets:
		return fmt.Errorf("the set %q is there already, or the file has more than %d", name, maxSets)
	case strings.ContainsAny(choices, "{}|…"):
		return fmt.Errorf("a set has choices between semicolons, and no pattern")
	}
	var words []string
	for c := range strings.SplitSeq(choices, ";") {
		if c = strings.Join(strings.Fields(c), " "); c == "" {
			return fmt.Errorf("a choice of the set is empty")
		}
		words = append(words, c)
	}
	text, err := l.expand(strings.Join(words, "|"))
	if err != nil {
		return err
	}
	if l.sets == nil {
		l.sets = map[string]string{}
	}
	l.sets[name] = text
	return nil
}

// expand puts choices where @name stands for them. The result is bounded like an entry.
func (l *list) expand(text string) (string, error) {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "@")
		b.WriteString(before)
		if !ok {
			return b.String(), nil
		}
		text = strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz")
		name := rest[:len(rest)-len(text)]
		if l.sets[name] == "" {
			return "", fmt.Errorf("there is no set %q before it", name)
		}
		if b.WriteString(l.sets[name]); b.Len() > maxEntry {
			return "", fmt.Errorf("with its sets it has more than %d bytes", maxEntry)
		}
	}
}

func isCountry(s string) bool {
	return len(s) == 2 && s[0] >= 'A' && s[0] <= 'Z' && s[1] >= 'A' && s[1] <= 'Z'
}

// parseEntry reads one entry. The ids of its words are set when the lists are put together.
func parseEntry(text string) ([]group, error) {
	if text == "" || len(text) > maxEntry {
		return nil, fmt.Errorf("an entry has 1 to %d bytes", maxEntry)
	}
	var groups []group
	for rest := text; rest != ""; rest = strings.TrimSpace(rest) {
		var g group
		switch {
		case strings.HasPrefix(rest, "…"):
			g.gap = true
			rest = rest[len("…"):]
		case rest[0] == '{':
			inner, after, ok := strings.Cut(rest[1:], "}")
			if !ok {
				return nil, fmt.Errorf("a brace is not closed")
			}
			rest = after
			for c := range strings.SplitSeq(inner, "|") {
				if c = strings.TrimSpace(c); c == "" {
					g.optional = true
					continue
				}
				words, err := parseWords(c)
				if err != nil {
					return nil, err
				}
				g.choices = append(g.choices, words)
			}
			// The longest first.
			slices.SortStableFunc(g.choices, func(a, b []element) int { return len(b) - len(a) })
			if len(g.choices) == 0 || len(g.choices) > maxChoices {
				return nil, fmt.Errorf("a choice has 1 to %d words or phrases", maxChoices)
			}
		default:
			end := strings.IndexAny(rest, "{…")
			if end < 0 {
				end = len(rest)
			}
			words, err := parseWords(rest[:end])
			if err != nil {
				return nil, err
			}
			g.choices, rest = [][]element{words}, rest[end:]
		}
		groups = append(groups, g)
	}
	optional := func(g group) bool { return g.optional || g.gap }
	if len(groups) > maxGroups || groups[0].gap || groups[len(groups)-1].gap || !slices.ContainsFunc(groups, func(g group) bool { return !optional(g) }) {
		return nil, fmt.Errorf("an entry has at most %d groups, not all may be left out, and no gap begins or ends it", maxGroups)
	}
	must := false
	for i, g := range groups {
		if g.gap && (!must || groups[i-1].gap) {
			return nil, fmt.Errorf("a gap follows a gap, or nothing that must be there")
		}
		must = must || !optional(g)
	}
	return groups, nil
}

// parseWords reads words as fold leaves a text.
func parseWords(text string) ([]element, error) {
	if strings.ContainsAny(text, "{}|;:") {
		return nil, fmt.Errorf("%q has a sign that a choice cannot have", text)
	}
	var out []element
	for _, w := range strings.Fields(text) {
		if w == "#" || w == "_" {
			out = append(out, element{text: w, number: w == "#", any: w == "_"})
			continue
		}
		w, stem := strings.CutSuffix(w, "*")
		f := folder{lists: &Lists{}}
		f.piece(w)
		for i, t := range f.out.tokens {
			e := element{text: t.text}
			if stem && i == len(f.out.tokens)-1 {
				if head(e.text) == e.text && len([]rune(e.text)) < 3 {
					return nil, fmt.Errorf("the stem %q has fewer than three characters", e.text)
				}
				e.text += "*"
			}
			out = append(out, e)
		}
		if len(f.out.tokens) == 0 {
			return nil, fmt.Errorf("%q has no letter", w)
		}
	}
	if len(out) == 0 || len(out) > 2*maxWords {
		return nil, fmt.Errorf("%q has no word, or more than %d", text, 2*maxWords)
	}
	return out, nil
}
