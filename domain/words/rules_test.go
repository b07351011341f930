package words

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// TestPrescribed: the words that law, carriers and the industry name, with what is said of them elsewhere.
func TestPrescribed(t *testing.T) {
	for _, c := range []struct {
		country string
		kind    Kind
		texts   []string
	}{
		// 47 CFR 64.1200(a)(10), Twilio, Telnyx, Vonage, AWS.
		{"US", Stop, []string{"stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe", "STOPALL", "OPTOUT", "STOP ALL", "ARRET", "OPT-OUT", "REMOVE", "TD", "ENDALL", "STOP2STOP", "STOP2END"}},
		{"US", Start, []string{"START", "UNSTOP", "JOIN"}},
		{"US", Yes, []string{"YES"}},
		{"US", Help, []string{"HELP", "INFO"}},
		{"FR", Stop, []string{"STOP", "STOP 36123", "STOP au 36123", "stop36123"}},
		{"BR", Stop, []string{"PARE", "SAIR"}},
		{"IL", Stop, []string{"הסר", "הסירו"}},
		{"AE", Stop, []string{"قف", "توقف", "إلغاء", "الغاء"}},
		{"CN", Stop, []string{"T", "TD", "退订", "退訂", "Ｔ"}},
		{"JP", Stop, []string{"停止", "解除", "配信停止"}},
		{"KR", Stop, []string{"수신거부", "수신 거부"}},
		{"TR", Stop, []string{"RET", "IPTAL", "İPTAL", "DUR", "ıptal"}},
		{"RU", Stop, []string{"СТОП", "ОТПИСКА", "стоп"}},
		{"NL", Stop, []string{"AFMELDEN", "STOP"}},
		{"IT", Stop, []string{"CANCELLA", "BASTA", "STOP"}},
		{"VN", Stop, []string{"TC", "TU CHOI", "HUY", "Hủy"}},
		{"TH", Stop, []string{"ยกเลิก", "หยุด"}},
		{"IN", Stop, []string{"STOP", "बंद करो", "band karo"}},
		{"PL", Stop, []string{"STOP", "rezygnuje"}},
		// In another country the words that count in one do not; where the country is not known, they may.
		{"DE", None, []string{"T", "RET", "DUR", "TC"}},
		{"", Unclear, []string{"RET", "TC", "DUR"}},
		{"", None, []string{"T", "N"}},
		// Known from messages that were lost before: misspelt, joined, and disguised.
		{"US", Stop, []string{"ST" + "PO", "sotp", "STOPing", "Block", "off", "he died last month", "who is this stop", "ЅТОР", "𝐒𝐓𝐎𝐏", "$TOP", "5TOP", "ST0P", "STOP\u3164", "S TOP", "s t o p please", "STOPSTOP", "STOP\u115f", "ST\U000e0041OP", "Ⓢⓣⓞⓟ", "🆂🆃🅾🅿", "🇸 🇹 🇴 🇵", "ꜱᴛᴏᴘ", "pleasestop", "stoptexting", "stttop", "stoppppp"}},
		{"US", Unclear, []string{"stoop", "🚫", "⛔", "🛑🤔 wait", "This is not Maria"}},
		{"US", None, []string{"When does the sale end?", "We stopped by your store", "I can't stop laughing", "shop", "step", "spot", "post", "soup", "top", "don't stop", "bus stop"}},
	} {
		for _, text := range c.texts {
			if r := Standard().Read(text, Context{Country: c.country}); r.Kind != c.kind {
				t.Errorf("%q from %q is %s (%s %q), want %s", text, c.country, r.Kind, r.Language, r.Match, c.kind)
			}
		}
	}
}

// TestQuotes: what was sent to the person is not the person's word; any other quote may be.
func TestQuotes(t *testing.T) {
	const sent = "Your code is 482913. Reply STOP to unsubscribe"
	const long = "Acme: our spring sale starts on Monday, with 20 % off everything. Reply STOP to end"
	known := []string{"hello", sent, long}
	for _, c := range []struct {
		text   string
		sent   []string
		kind   Kind
		quoted bool
	}{
		{"Liked “" + sent + "”", nil, Unclear, true},
		{"Liked “" + sent + "”", known, None, false},
		{"Loved “" + sent + "”", known, None, false},
		{"Laughed at \"" + sent + "\"", known, None, false},
		{"Removed a heart from “" + sent + "”", known, None, false},
		{"Reacted 👍 to “" + sent + "”", known, None, false},
		{"👍 to “" + sent + "”", known, None, false},
		{"A aimé « " + sent + " »", known, None, false},
		{"Le gustó “" + sent + "”", known, None, false},
		{"Emphasized “" + long[:60] + "…”", known, None, false},
		{"Emphasized “" + long[:60] + "...”", known, None, false},
		{"Emphasized “Acme: Reply STOP…”", known, Unclear, true},
		{"Liked “another text. Reply STOP to unsubscribe”", known, Unclear, true},
		{"Liked “" + sent + "” STOP", known, Stop, false},
		{"“" + sent + "”\nplease stop texting me", known, Stop, false},
		{sent, known, None, false},
		{sent + "\nStop", known, Stop, false},
		{"> " + sent, known, None, false},
		{"> " + sent + "\nok thanks", known, None, false},
		{"> Reply STOP to unsubscribe\nok thanks", known, Unclear, true},
		{"ok thanks\nOn Mon, Nov 2 Acme wrote:\n" + sent, known, None, false},
		{"ok thanks\nOn Mon, Nov 2 Acme wrote:\nplease stop texting me", known, Unclear, true},
		{"STOP\nOn Mon, Nov 2 Acme wrote:\n" + sent, nil, Stop, false},
		{"\"STOP\"", nil, Stop, false},
		{"“Stop please”", nil, Stop, false},
		{"Liked “STOP”", nil, Unclear, true},
		{"Liked “Reply \"STOP\" to end”", nil, Unclear, true},
		{"5\" stop", nil, Stop, false},
		// A keyword that was sent to the person is still the person's word.
		{"STOP", []string{"STOP"}, Stop, false},
		{"Unsubscribe", []string{"unsubscribe"}, Stop, false},
	} {
		r := Standard().Read(c.text, Context{Country: "US", Sent: c.sent})
		if r.Kind != c.kind || r.Quoted != c.quoted {
			t.Errorf("%q with %d sent is %s (%q, quoted: %v), want %s, quoted: %v", c.text, len(c.sent), r.Kind, r.Match, r.Quoted, c.kind, c.quoted)
		}
	}
}

// TestEveryKeyword: a keyword of a list reads as its kind where it counts, in any case and among courtesies.
func TestEveryKeyword(t *testing.T) {
	l := Standard()
	n := 0
	for _, one := range l.lists {
		for i := range one.entries {
			e := &one.entries[i]
			want, ok := map[kind]Kind{kindStop: Stop, kindClause: Stop, kindStart: Start, kindYes: Yes, kindHelp: Help}[e.kind]
			if !ok || strings.ContainsAny(e.text, "{…#_*") {
				continue
			}
			c := Context{}
			if e.countries != nil {
				c.Country = e.countries[0]
			}
			for _, text := range []string{e.text, strings.ToUpper(e.text), " " + e.text + "!"} {
				if r := l.Read(text, c); r.Kind != want && !(want == Help && r.Kind == Stop) {
					t.Errorf("%s: %q of the kind %s reads as %s (%s %q)", one.code, text, kinds[e.kind], r.Kind, r.Language, r.Match)
				}
			}
			n++
		}
	}
	if n < 1500 || len(l.lists) < 25 {
		t.Errorf("%d keywords of %d languages were read; there are more", n, len(l.lists))
	}
}

// TestPatterns: sets, gaps, stems and asides of a list.
func TestPatterns(t *testing.T) {
	one, err := parseList("xx.txt", "language: xx X\nset what: gala; gala bim\nset more: @what; zorro\nphrase: nemo … {@more}; 停 … 送\nstop: hulla\ndoubt: hulla; hullab*\nspell: hullabaloo\naside: hulla {oder|nein}")
	if err != nil {
		t.Fatal(err)
	}
	l := &Lists{lists: []list{one}}
	if err := l.compile(nil); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"nemo a b c d gala": "stop nemo … gala", "nemo a b c d e gala": "none ", "nemo gala bim": "stop nemo … gala bim", "nemo zorro": "stop nemo … zorro",
		"停一二三四五六七八九十送": "stop 停 … 送", "停一二三四五六七八九十百送": "none ",
		"a hullabalo": "unclear hullab*", "hulla": "stop hulla", "hulla, nein": "none ", "hulla, ja": "unclear hulla",
	} {
		if r := l.Read(text, Context{}); r.Kind.String()+" "+r.Match != want {
			t.Errorf("%q is %s %q, want %s", text, r.Kind, r.Match, want)
		}
	}
	// A choice beyond the 127th has its words in the match.
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("w%dx", i))
	}
	one, err = parseList("xx.txt", "language: xx X\nphrase: nemo {"+strings.Join(many, "|")+"}")
	if err != nil {
		t.Fatal(err)
	}
	l = &Lists{lists: []list{one}}
	if err := l.compile(nil); err != nil {
		t.Fatal(err)
	}
	if r := l.Read("nemo w190x", Context{}); r.Match != "nemo w190x" {
		t.Errorf("the match is %q", r.Match)
	}
}

// TestAdditions: an operator's own words count for their tenant and country, and none makes a word that stops
// mean something else.
func TestAdditions(t *testing.T) {
	l, err := Standard().With([]Addition{{Tenant: "acme", Kind: Stop, Text: "Nix mehr Post"}, {Country: "BE", Kind: Stop, Text: "oepsopps"}, {Kind: Start, Text: "weiter so"}, {Kind: Unclear, Text: "kwijt"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text    string
		context Context
		want    Kind
	}{
		{"nix mehr post!", Context{Tenants: []string{"acme"}}, Stop},
		{"nix mehr post!", Context{Tenants: []string{"other"}}, None},
		{"nix mehr post!", Context{}, None},
		{"OEPSOPPS", Context{Country: "BE"}, Stop},
		{"OEPSOPPS", Context{Country: "NL"}, None},
		{"OEPSOPPS", Context{}, Unclear},
		{"Weiter so", Context{}, Start},
		{"kwijt", Context{}, Unclear},
		{"STOP", Context{}, Stop},
	} {
		if r := l.Read(c.text, c.context); r.Kind != c.want {
			t.Errorf("%q in %+v is %s (%q), want %s", c.text, c.context, r.Kind, r.Match, c.want)
		}
	}
	if l.Version() == Standard().Version() || !strings.HasPrefix(l.Version(), dated+".") || len(l.Version()) != len(dated)+9 {
		t.Errorf("version %s, of the built-in ones %s", l.Version(), Standard().Version())
	}
	if same, err := load(); err != nil || same.Version() != Standard().Version() {
		t.Errorf("loaded again: %v, %v", same.Version(), err)
	}
	for what, a := range map[string]Addition{
		"a word that stops is to start":        {Kind: Start, Text: "Stop please"},
		"a word that may stop is to help":      {Kind: Help, Text: "reply stop"},
		"a text that is unclear is to help":    {Kind: Help, Text: "this is harassment"},
		"a text that is unclear is to start":   {Kind: Start, Text: "never signed up"},
		"a text that is unclear is to say yes": {Kind: Yes, Text: "enough already"},
		"a word of one country is to start":    {Kind: Start, Text: "ret"},
		"an own unclear word is to help":       {Kind: Help, Text: "kwijt"},
		"an own word that stops is to start":   {Kind: Start, Text: "nix mehr post"},
		"no kind":                              {Kind: None, Text: "x"},
		"no text":                              {Kind: Stop, Text: " "},
		"nothing but signs":                    {Kind: Stop, Text: "!?"},
		"a pattern":                            {Kind: Stop, Text: "a{b|c}"},
		"too long":                             {Kind: Stop, Text: strings.Repeat("a", maxAdditionText+1)},
		"too many words":                       {Kind: Stop, Text: "a b c d e f g h i"},
		"no country":                           {Kind: Stop, Country: "usa", Text: "x"},
		"broken UTF-8":                         {Kind: Stop, Text: "a\xff"},
	} {
		if _, err := l.With([]Addition{a}); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if _, err := Standard().With(make([]Addition, maxAdditions+1)); err == nil {
		t.Error("too many additions were taken")
	}
}

func TestCovers(t *testing.T) {
	for country, want := range map[string]bool{"US": true, "IN": true, "CH": true, "IS": false, "AM": true, "GE": false, "": false, "ZZ": false} {
		if got := Standard().Covers(country); got != want {
			t.Errorf("%q: %v", country, got)
		}
	}
	if len(Standard().spoken) < 225 {
		t.Errorf("%d countries", len(Standard().spoken))
	}
}

// TestWork: the time is linear in the text, so a text that is ten times as long may not need much more than ten
// times the steps. It counts looked-up phrases, not seconds.
func TestWork(t *testing.T) {
	for _, unit := range []string{"<", "do not ", "please ", "stop ", "take me ", "\"", "“", "> ", "a ", "no more ", "不", "ไ", "don't stop texting me ", "ж", "\U000e0041", "…", "wrote:\n", "\xff", "I am not ", "s t o p ab ", "a b c d e f ", "s.t.o.p. "} {
		var steps [2]int
		for i, size := range []int{3 << 10, 30 << 10} {
			r := reader{lists: Standard(), steps: new(int)}
			text := strings.Repeat(unit, size/len(unit)+1)
			r.fold(text)
			r.read()
			steps[i] = *r.steps
		}
		if steps[1] > 12*steps[0]+1000 {
			t.Errorf("%q: %d steps for 3 kB, %d for 30 kB", unit, steps[0], steps[1])
		}
	}
	// The bound on what is compared with texts that were sent is a number of searches, not of matches.
	for _, text := range []string{strings.Repeat("“abcdefghijklmnopqrstuvwxyz… ", 4000), strings.Repeat("xabcdefghijklmnopqrstx ", 5000), strings.Repeat("s t o p ab ", 11000)} {
		Standard().Read(text, Context{Sent: []string{"abcdefghijklmnopqrst", "abcdefghijklmnopqrstuvwxyz and so on"}})
	}
	for _, text := range []string{strings.Repeat("<", 32<<10), strings.Repeat("see you at five ", 1<<16)} {
		r := Standard().Read(text, Context{Sent: []string{text, "abc"}})
		if want := len(text) > maxText; want != (r.Kind == Unclear) {
			t.Errorf("a text of %d bytes is %s", len(text), r.Kind)
		}
	}
	if r := Standard().Read(strings.Repeat("see you at five ", 2000)+"please stop texting me", Context{}); r.Kind != Stop {
		t.Errorf("at the end of a long text: %v", r)
	}
}

// checkText holds what must be so for every text.
func checkText(t *testing.T, text string) {
	a := Standard().Read(text, Context{})
	for what, other := range map[string]string{
		"upper case":  strings.Map(unicode.ToUpper, text),
		"lower case":  strings.Map(unicode.ToLower, text),
		"space round": "  " + text + " \n",
		"more space":  strings.ReplaceAll(text, " ", "  \u00a0"),
		"invisible":   "\u200b" + text + "\u2060",
	} {
		if len(other) > maxText {
			continue
		}
		if b := Standard().Read(other, Context{}); b != a {
			t.Errorf("%q is %+v, with %s %+v", text, a, what, b)
		}
	}
	if (a.Match == "") != (a.Kind == None) || a.Why == "" {
		t.Errorf("%q is %+v", text, a)
	}
}

func TestForms(t *testing.T) {
	for _, c := range askTexts {
		for _, text := range c.texts {
			checkText(t, text)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, c := range askTexts {
		for _, text := range c.texts {
			f.Add(text, "Your code is 1. Reply STOP to end")
		}
	}
	f.Add("Liked “Your code is 1. Reply STOP to end”", "Your code is 1. Reply STOP to end")
	f.Add("> a\n“b…” stop", "b")
	f.Fuzz(func(t *testing.T, text, sent string) {
		checkText(t, text)
		Standard().Read(text, Context{Country: "CN", Sent: []string{sent, text}})
	})
}

func FuzzParseList(f *testing.F) {
	f.Add("language: en English\ncite law: x\nstop law US: a; b c\nphrase: {a|b c|} d … e #")
	f.Add("language: xx X\nset a: b c; d\nset e: @a; f\nphrase: {@e|g} … h")
	f.Add("language: xx X\npolite: отпис*; _ a")
	f.Fuzz(func(t *testing.T, text string) {
		one, err := parseList("x", text)
		if err != nil {
			return
		}
		l := &Lists{lists: []list{one}}
		if err := l.compile(nil); err != nil {
			return
		}
		for _, e := range one.entries {
			l.Read(e.text, Context{})
		}
	})
}

// TestFormat: what is no list is refused, with its line.
func TestFormat(t *testing.T) {
	for what, text := range map[string]string{
		"no language":       "stop: a",
		"two languages":     "language: en English\nlanguage: de German",
		"a kind":            "language: en English\nstopp: a",
		"a source":          "language: en English\nstop laws: a",
		"no entry":          "language: en English\nstop: a;;b",
		"an open brace":     "language: en English\nstop: {a|b",
		"a gap at the end":  "language: en English\nphrase: a …",
		"nothing must be":   "language: en English\nphrase: {a|}",
		"a short stem":      "language: en English\nphrase: ab*",
		"no letters":        "language: en English\nstop: !!",
		"a gap after a gap": "language: en English\nphrase: a … … b",
		"an unknown set":    "language: en English\nphrase: {@a|b}\nset a: c",
		"a set twice":       "language: en English\nset a: c\nset a: d",
		"a set's name":      "language: en English\nset A1: c",
		"an empty choice":   "language: en English\nset a: c;;d",
		"a set of patterns": "language: en English\nset a: {c|d}",
		"sets that explode": "language: en English\nset a: " + strings.Repeat("c;", 500) + "c\nset b: @a;@a\nset c: @b;@b;@b;@b",
	} {
		if _, err := parseList("x.txt", text); err == nil {
			t.Errorf("%s: it was taken", what)
		} else if what == "a kind" && !strings.Contains(err.Error(), "x.txt:2:") {
			t.Errorf("%v", err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	l := Standard()
	for name, text := range map[string]string{
		"keyword": "STOP", "phrase": "Hi, can you please take me off your list, thanks", "none": "Thanks, see you tomorrow at five then!", "arabic": "شكرا سأكون هناك في الساعة الخامسة",
		"long": strings.Repeat("see you at five then, thanks. ", 50),
	} {
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = l.Read(text, Context{Country: "US"})
			}
		})
	}
}

// An operator's word cannot start or help if it looks like one that stops, or is one that stops or holds for a tenant.
func TestAdditionsThatStop(t *testing.T) {
	for _, word := range []string{"ЅТОР", "ST0P", "5top", "sтор", "ꓢꓔꓳꓑ", "cаncel", "unsubscrіbe", "stоp"} {
		for _, kind := range []Kind{Start, Help} {
			if _, err := Standard().With([]Addition{{Kind: kind, Text: word}}); err == nil {
				t.Errorf("%q may be %s", word, kind)
			}
		}
	}
	for _, kind := range []Kind{Stop, Unclear} {
		if _, err := Standard().With([]Addition{{Kind: kind, Tenant: "bank", Country: "GB", Text: "sod this"}, {Kind: Start, Text: "Sod  this"}}); err == nil {
			t.Errorf("a word is %s for a tenant, and start for all", kind)
		}
	}
}
