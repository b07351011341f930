package words

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// A labelled is a text of the corpus: one a line, a label, a tab, the text. Lines that begin with "#" are comments.
type labelled struct{ label, text string }

const corpus = "testdata/corpus"

// countryOf is where the writers of a language's texts are, for the words that count in some countries only.
var countryOf = map[string]string{"en": "US", "es": "MX", "fr": "FR", "de": "DE", "pt": "BR", "zh": "CN", "it": "IT", "nl": "NL", "pl": "PL", "tr": "TR", "ru": "RU", "hi": "IN", "ar": "AE",
	"he": "IL", "ja": "JP", "ko": "KR", "vi": "VN", "th": "TH", "id": "ID", "sv": "SE", "no": "NO", "da": "DK", "fi": "FI", "el": "GR", "cs": "CZ", "ro": "RO", "uk": "UA", "sk": "SK", "hu": "HU",
	"bg": "BG", "hr": "HR", "sr": "RS", "bn": "BD", "ur": "PK", "fa": "IR", "sw": "KE", "ms": "MY", "tl": "PH", "fil": "PH"}

func readCorpus(t *testing.T, file string) (out []labelled) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		label, text, ok := strings.Cut(line, "\t")
		if !ok || !slices.Contains([]string{"prescribed", "revocation", "harmless"}, label) {
			t.Fatalf("%s:%d: %q is no label and text", file, n+1, line)
		}
		out = append(out, labelled{label, text})
	}
	return out
}

// A score counts what the lists made of the texts of one label.
type score struct{ all, stop, unclear int }

func (s score) suspended() int { return s.stop + s.unclear }

func share(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// measure reads every text of a half of the corpus, prints recall and precision by language and over all,
// and returns the scores over all: of prescribed words, of revocations, of harmless texts.
func measure(t *testing.T, half string) (p, r, h score) {
	files, err := fs.Glob(os.DirFS(path.Join(corpus, half)), "*.tsv")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no texts: %v", half, err)
	}
	l := Standard()
	all := map[string]*score{"prescribed": {}, "revocation": {}, "harmless": {}}
	row := func(name string, s map[string]*score) string {
		p, r, h := *s["prescribed"], *s["revocation"], *s["harmless"]
		stops := p.stop + r.stop
		return fmt.Sprintf("%-4s prescribed %5.1f %% of %4d stop | revocations %5.1f %% of %4d stop, %5.1f %% stop or unclear | harmless %4.1f %% of %4d stop, %4.1f %% unclear | precision of stop %5.1f %%",
			name, share(p.stop, p.all), p.all, share(r.stop, r.all), r.all, share(r.suspended(), r.all), share(h.stop, h.all), h.all, share(h.unclear, h.all), share(stops, stops+h.stop))
	}
	for _, f := range files {
		code := strings.TrimSuffix(f, ".tsv")
		one := map[string]*score{"prescribed": {}, "revocation": {}, "harmless": {}}
		for _, c := range readCorpus(t, path.Join(corpus, half, f)) {
			r := l.Read(c.text, Context{Country: countryOf[code]})
			for _, s := range []*score{one[c.label], all[c.label]} {
				s.all++
				switch r.Kind {
				case Stop:
					s.stop++
				case Unclear:
					s.unclear++
				}
			}
			if wrong := c.label == "harmless" && (r.Kind == Stop || r.Kind == Unclear) || c.label != "harmless" && r.Kind != Stop; wrong {
				t.Logf("%s, %s: %q is %s (%s %q)", code, c.label, c.text, r.Kind, r.Language, r.Match)
			}
		}
		t.Log(row(code, one))
	}
	t.Log(row("all", all))
	return *all["prescribed"], *all["revocation"], *all["harmless"]
}

// reach holds the goals over all texts of a half.
func reach(t *testing.T, half string) {
	p, r, h := measure(t, half)
	if p.stop != p.all {
		t.Errorf("%d of %d prescribed words do not stop", p.all-p.stop, p.all)
	}
	if share(r.stop, r.all) < 97 || share(r.suspended(), r.all) < 99 {
		t.Errorf("%.1f %% of the revocations stop, %.1f %% stop or are unclear; at least 97 and 99 must", share(r.stop, r.all), share(r.suspended(), r.all))
	}
	if share(h.stop, h.all) > 1 || share(h.unclear, h.all) > 5 {
		t.Errorf("%.1f %% of the harmless texts stop, %.1f %% are unclear; at most 1 and 5 may", share(h.stop, h.all), share(h.unclear, h.all))
	}
}

// TestCorpus measures the lists by the texts that were written beside them.
func TestCorpus(t *testing.T) { reach(t, "own") }

// TestFreshCorpus measures the lists by texts of a writer who did not see them. What the first run missed was then
// mended by families of wordings, so since that day it holds what was won, and no longer foretells how unseen texts fare.
func TestFreshCorpus(t *testing.T) {
	if _, err := os.Stat(path.Join(corpus, "fresh")); err != nil {
		t.Skip("there is no fresh half of the corpus here")
	}
	reach(t, "fresh")
}

// TestUnseenCorpus prints how texts of a writer fare who saw neither the lists nor the other texts. It holds the
// figures of its first run as a floor, and no more: to mend a miss by its sentence would spoil the measure. Lists
// were since changed for families that a reader of its misses named, so it measures them less well than on its
// first day.
func TestUnseenCorpus(t *testing.T) {
	_, r, h := measure(t, "unseen")
	if share(r.stop, r.all) < 92 || share(r.suspended(), r.all) < 95 || share(h.stop, h.all) > 1.5 || share(h.unclear, h.all) > 5 {
		t.Errorf("%.1f %% of the revocations stop or are unclear, %.1f %% of the harmless texts stop", share(r.suspended(), r.all), share(h.stop, h.all))
	}
}

// TestBlindCorpus prints how texts fare that were written, and committed, before the lists were changed in the same work. Their writer
// had read some of the lists. It holds the figures of its first run as a floor. Since then a death beside
// something else is unclear and no longer stops, so the two are held together.
func TestBlindCorpus(t *testing.T) {
	_, r, h := measure(t, "blind")
	if share(r.stop, r.all) < 83 || share(r.suspended(), r.all) < 86 || share(h.stop, h.all) > 8 || share(h.suspended(), h.all) > 14 {
		t.Errorf("%.1f %% of the revocations stop, %.1f %% stop or are unclear; %.1f %% of the harmless texts stop, %.1f %% stop or are unclear", share(r.stop, r.all), share(r.suspended(), r.all), share(h.stop, h.all), share(h.suspended(), h.all))
	}
}

// TestFamilies: texts that stand for a family of wordings, each with the kinds that it may be.
func TestFamilies(t *testing.T) {
	b, err := os.ReadFile("testdata/families.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 || countryOf[f[0]] == "" {
			t.Fatalf("line %d is no language, kinds and text", n+1)
		}
		if r := Standard().Read(f[2], Context{Country: countryOf[f[0]]}); !slices.Contains(strings.Fields(f[1]), r.Kind.String()) {
			t.Errorf("%q from %s is %s (%s %q), want %s", f[2], countryOf[f[0]], r.Kind, r.Language, r.Match, f[1])
		}
	}
}
