package words

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

//go:embed lists/*.txt
var files embed.FS

// dated is the day on which the lists were last changed. Who changes a file of lists changes it.
const dated = "2026-11-28"

// Lists are the words and phrases of all languages, and what an operator added. They do not change, so
// any number of goroutines may read texts with them.
type Lists struct {
	lists   []list
	added   []Addition
	version string
	spoken  map[string][]string // languages by country

	vocabulary  map[string]int32
	stems       map[string][]stem // by their first three characters
	index       [kindCount]map[int32][]*entry
	spaced      map[string]match // keywords that stop, without spaces
	negations   map[negation]bool
	confusables map[rune]rune
	skeletons   map[string]string // words whose misspellings count, by what they look like
	spelled     []spelled
	collapsed   map[string]string // words, by themselves without repeated letters
	real        map[string]bool
	glue        map[string]bool // words that are glued; true for those that stop
}

type stem struct {
	text string
	id   int32
}

type negation struct {
	language string
	id       int32
}

// Standard returns the lists that are built in.
func Standard() *Lists { return standard() }

var standard = sync.OnceValue(func() *Lists {
	l, err := load()
	if err != nil {
		panic("words: the lists that are built in: " + err.Error()) // a test reads them all
	}
	return l
})

// load reads the embedded files.
func load() (*Lists, error) {
	l := &Lists{}
	names, err := files.ReadDir("lists")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		text, err := files.ReadFile("lists/" + n.Name())
		if err != nil {
			return nil, err
		}
		switch n.Name() {
		case "confusables.txt":
			l.confusables, err = parseConfusables(string(text))
		case "countries.txt":
			l.spoken, err = parseCountries(string(text))
		default:
			var one list
			if one, err = parseList(n.Name(), string(text)); err == nil && one.code+".txt" != n.Name() {
				err = fmt.Errorf("%s has the language %s", n.Name(), one.code)
			}
			l.lists = append(l.lists, one)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := l.compile(nil); err != nil {
		return nil, err
	}
	return l, nil
}

// parseConfusables reads lines of a letter or digit, a colon, and the code points that look like it.
func parseConfusables(text string) (map[rune]rune, error) {
	out := map[rune]rune{}
	for line := range strings.SplitSeq(text, "\n") {
		to, from, ok := strings.Cut(line, ": ")
		if !ok || line[0] == '#' || to == "version" {
			continue
		}
		for hex := range strings.FieldsSeq(from) {
			r, err := strconv.ParseInt(hex, 16, 32)
			if err != nil || len(to) != 1 {
				return nil, fmt.Errorf("confusables.txt: %q is no line of it", line)
			}
			out[rune(r)] = unicode.ToLower(rune(to[0]))
		}
	}
	return out, nil
}

// parseCountries reads lines of a country, a colon, and the languages that are widely spoken there.
func parseCountries(text string) (map[string][]string, error) {
	out := map[string][]string{}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		country, languages, ok := strings.Cut(line, ": ")
		if !ok || !isCountry(country) || out[country] != nil || strings.TrimSpace(languages) == "" {
			return nil, fmt.Errorf("countries.txt: %q names no country and its languages, or for the second time", line)
		}
		out[country] = strings.Fields(languages)
	}
	return out, nil
}

// compile puts the lists and the entries that were added together.
func (l *Lists) compile(added []entry) error {
	l.vocabulary, l.stems, l.spaced, l.negations = map[string]int32{}, map[string][]stem{}, map[string]match{}, map[negation]bool{}
	l.skeletons, l.spelled, l.collapsed, l.real, l.glue = map[string]string{}, nil, map[string]string{}, map[string]bool{}, map[string]bool{}
	for k := range l.index {
		l.index[k] = map[int32][]*entry{}
	}
	hash := sha256.New()
	for _, one := range l.lists {
		seen := map[string]bool{}
		for i := range one.entries {
			e := &one.entries[i]
			key := kinds[e.kind] + ":" + e.text + strings.Join(e.countries, " ")
			if seen[key] {
				return fmt.Errorf("the list of %s has %q twice among %s", one.name, e.text, kinds[e.kind])
			}
			seen[key] = true
			if err := l.add(e); err != nil {
				return fmt.Errorf("%q in the list of %s: %w", e.text, one.name, err)
			}
			fmt.Fprintf(hash, "%s %s %s %v %q\n", e.language, kinds[e.kind], e.source, e.countries, e.text)
		}
	}
	for i := range added {
		e := &added[i]
		if err := l.add(e); err != nil {
			return err
		}
		fmt.Fprintf(hash, "%q %s %v %q\n", e.tenant, kinds[e.kind], e.countries, e.text)
	}
	for _, from := range slices.Sorted(maps.Keys(l.confusables)) {
		fmt.Fprintf(hash, "%c%c\n", from, l.confusables[from])
	}
	for w := range l.glue {
		m, ok := l.spaced[w]
		l.glue[w] = ok && m.entry.countries == nil && m.entry.tenant == ""
	}
	l.version = dated + "." + hex.EncodeToString(hash.Sum(nil)[:4])
	slices.SortFunc(l.spelled, func(a, b spelled) int { return strings.Compare(a.text, b.text) })
	return nil
}

// add puts an entry into the indexes. A clause that stops is a keyword too.
func (l *Lists) add(e *entry) error {
	for g := range e.groups {
		for _, c := range e.groups[g].choices {
			for i := range c {
				if id := l.intern(c[i]); c[i].id != id { // the lists that are built in are never written again
					c[i].id = id
				}
			}
		}
	}
	first := e.groups[0].choices
	// What it may begin with: the first groups may be left out.
	for _, g := range e.groups[1:] {
		if !e.groups[0].optional {
			break
		}
		first = slices.Concat(first, g.choices)
		if !g.optional {
			break
		}
	}
	for _, c := range first {
		if c[0].number || c[0].any {
			return fmt.Errorf("it begins with any word or number")
		}
	}
	word := e.text
	if len(e.groups) == 1 && len(first) == 1 {
		word = first[0][0].text
	}
	switch e.kind {
	case kindSpell:
		l.spelled = append(l.spelled, spelled{word, letters(word)})
		if s := l.skeleton([]rune(word)); s != "" {
			l.skeletons[s] = word
		}
		_, c := collapse(word)
		l.collapsed[c] = word
		return nil
	case kindReal:
		l.real[word] = true
		return nil
	case kindGlue:
		l.glue[word] = false
		return nil
	case kindNot:
		for _, c := range first {
			l.negations[negation{e.language, c[0].id}] = true
		}
		return nil
	}
	indexed := []kind{e.kind}
	if e.kind == kindClause {
		indexed = append(indexed, kindStop)
	}
	for _, k := range indexed {
		for _, c := range first {
			l.index[k][c[0].id] = append(l.index[k][c[0].id], e)
		}
		if k == kindStop {
			l.keywordForms(e)
		}
	}
	return nil
}

// keywordForms notes what a keyword that stops looks like without spaces.
func (l *Lists) keywordForms(e *entry) {
	if len(e.groups) != 1 {
		return
	}
	for i, c := range e.groups[0].choices {
		text := ""
		for _, w := range c {
			if w.number || w.any || strings.HasSuffix(w.text, "*") {
				return
			}
			text += w.text
		}
		if utf8.RuneCountInString(text) < 2 {
			continue
		}
		if old, ok := l.spaced[text]; !ok || old.entry.countries != nil && e.countries == nil {
			m := match{entry: e}
			m.choice[0] = uint8(i + 1)
			l.spaced[text] = m
		}
	}
}

// intern gives a word or a stem its number.
func (l *Lists) intern(e element) int32 {
	if e.number || e.any {
		return 0
	}
	if id := l.vocabulary[e.text]; id != 0 {
		return id
	}
	id := int32(len(l.vocabulary) + 1)
	l.vocabulary[e.text] = id
	if s, ok := strings.CutSuffix(e.text, "*"); ok {
		l.stems[head(s)] = append(l.stems[head(s)], stem{s, id})
		return id
	}
	if _, c := collapse(e.text); l.collapsed[c] == "" {
		l.collapsed[c] = e.text
	}
	return id
}

// reading is a reading by an entry. why has %s for what matched.
func (l *Lists) reading(k Kind, m match, why string) Reading {
	text := m.text()
	out := Reading{Kind: k, Match: text, Language: m.entry.language, Why: fmt.Sprintf(why, quote(text))}
	switch {
	case m.entry.tenant != "":
		out.Why += " It is a word of the operator, for the tenant " + m.entry.tenant + "."
	case m.entry.language == "":
		out.Why += " It is a word of the operator."
	}
	return out
}

func quote(s string) string { return "“" + s + "”" }

// Addition is a word or a phrase of an operator's own.
type Addition struct {
	// Tenant is whose inbound texts it counts for; "" is those of all.
	Tenant string
	// Country is where alone it counts (ISO 3166-1 alpha-2); "" is everywhere.
	Country string
	// Kind is what it asks for, if it is the whole text; one that stops also counts as a sentence of its own.
	Kind Kind
	// Text is one to 8 words, 160 bytes at most. It matches in any case, with or without accents.
	Text string
}

const (
	maxAdditions     = 2000
	maxAdditionText  = 160
	maxAdditionWords = 8
)

// With returns the lists with an operator's own words, which count beside those that are there. It
// refuses an addition that is out of bounds, and one that starts, confirms or asks for help but
// would be read as a word that stops, or may stop.
func (l *Lists) With(add []Addition) (*Lists, error) {
	out := &Lists{lists: l.lists, spoken: l.spoken, confusables: l.confusables, added: slices.Concat(l.added, add)}
	if len(out.added) > maxAdditions {
		return nil, fmt.Errorf("%d words are added; at most %d may be", len(out.added), maxAdditions)
	}
	var entries []entry
	tenants := map[string]bool{}
	for _, a := range out.added {
		e, err := a.entry()
		if err != nil {
			return nil, fmt.Errorf("the added word %q: %w", a.Text, err)
		}
		tenants[a.Tenant] = true
		entries = append(entries, e)
	}
	if err := out.compile(entries); err != nil {
		return nil, err
	}
	for _, a := range out.added {
		if a.Kind == Stop || a.Kind == Unclear {
			continue
		}
		c := Context{Country: a.Country, Tenants: []string{a.Tenant}}
		if a.Tenant == "" {
			c.Tenants = slices.Sorted(maps.Keys(tenants))
		}
		if got := out.Read(a.Text, c); got.Kind != a.Kind {
			return nil, fmt.Errorf("the added word %q is to mean %s, but is read as %s (%s)", a.Text, a.Kind, got.Kind, got.Match)
		}
		for _, text := range []string{a.Text, strings.ToUpper(a.Text), strings.ToLower(a.Text)} {
			// By the lists that are there without additions too: a word of the lists is known by what looks like it.
			for _, lists := range []*Lists{out, Standard()} {
				r := reader{lists: lists, context: c, stopsOnly: true}
				r.fold(text)
				if got := r.read(); got.Kind == Stop || got.Kind == Unclear {
					return nil, fmt.Errorf("the added word %q is to mean %s, but without it the text is read as %s (%s)", a.Text, a.Kind, got.Kind, got.Match)
				}
			}
		}
		for _, b := range out.added {
			if (b.Kind == Stop || b.Kind == Unclear) && strings.EqualFold(strings.Join(strings.Fields(a.Text), " "), strings.Join(strings.Fields(b.Text), " ")) {
				return nil, fmt.Errorf("the added word %q is to mean %s, and %s for a tenant or a country", a.Text, a.Kind, b.Kind)
			}
		}
	}
	return out, nil
}

func (a Addition) entry() (entry, error) {
	k, ok := map[Kind]kind{Stop: kindClause, Unclear: kindMaybe, Start: kindStart, Yes: kindYes, Help: kindHelp}[a.Kind]
	switch {
	case !ok:
		return entry{}, fmt.Errorf("it has no kind that it may have")
	case a.Country != "" && !isCountry(a.Country):
		return entry{}, fmt.Errorf("%q is no country code such as US", a.Country)
	case len(a.Text) > maxAdditionText || !utf8.ValidString(a.Text) || strings.ContainsAny(a.Text, "{}|;:#*…\n"):
		return entry{}, fmt.Errorf("it has more than %d bytes, or one of the signs {}|;:#*…", maxAdditionText)
	}
	groups, err := parseEntry(strings.Join(strings.Fields(a.Text), " "))
	if err != nil {
		return entry{}, err
	}
	words := 0
	for _, e := range groups[0].choices[0] {
		if !allSingle(e.text) {
			words++
		}
	}
	if words > maxAdditionWords {
		return entry{}, fmt.Errorf("it has more than %d words", maxAdditionWords)
	}
	e := entry{kind: k, tenant: a.Tenant, source: "ours", text: a.Text, groups: groups}
	if a.Country != "" {
		e.countries = []string{a.Country}
	}
	return e, nil
}

// Version names these lists, with what was added: the day of the built-in ones and eight hexadecimal digits
// of a digest over every entry, such as "2026-11-28.ab12cd34".
func (l *Lists) Version() string { return l.version }

// Language is a language that has a list.
type Language struct {
	Code string // ISO 639, such as "en"
	Name string // in English
	// Keywords are those that stop as the whole text, as the list has them. One that counts in some countries
	// alone has them behind it: "ret (TR)".
	Keywords []string
	// Phrases is how many entries revoke or may revoke within a text.
	Phrases int
	// Sources say where its words come from: a source (law, carrier, industry), a colon, and a citation.
	Sources []string
}

// Languages returns the languages that have a list, in the order of their codes.
func (l *Lists) Languages() []Language {
	var out []Language
	for _, one := range l.lists {
		g := Language{Code: one.code, Name: one.name, Sources: slices.Clone(one.cites)}
		for _, e := range one.entries {
			switch e.kind {
			case kindStop, kindClause:
				w := e.text
				if e.countries != nil {
					w += " (" + strings.Join(e.countries, ", ") + ")"
				}
				g.Keywords = append(g.Keywords, w)
			case kindPhrase, kindReason, kindDoubt:
				g.Phrases++
			}
		}
		out = append(out, g)
	}
	return out
}

// Covers reports whether there is a list for a language that is widely spoken in a country (ISO 3166-1
// alpha-2). It is false for a country that is not known.
func (l *Lists) Covers(country string) bool {
	for _, code := range l.spoken[country] {
		if slices.ContainsFunc(l.lists, func(one list) bool { return one.code == code }) {
			return true
		}
	}
	return false
}
