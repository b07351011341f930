package words

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/words-lists.md anew")

// TestDocs holds the tables in the documentation to the lists.
func TestDocs(t *testing.T) {
	const name = "../../docs/words-lists.md"
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var languages strings.Builder
	languages.WriteString("\n| code | language | some of the keywords that stop | of these | phrases | sources |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, l := range Standard().Languages() {
		fmt.Fprintf(&languages, "| %s | %s | %s | %d | %d | %s |\n", l.Code, l.Name, strings.ReplaceAll(strings.Join(l.Keywords[:min(8, len(l.Keywords))], ", "), "|", "/"), len(l.Keywords), l.Phrases, strings.Join(l.Sources, "; "))
	}
	languages.WriteString("\n")
	var without []string
	for _, c := range slices.Sorted(maps.Keys(Standard().spoken)) {
		if !Standard().Covers(c) {
			without = append(without, c)
		}
	}
	want := page
	for what, table := range map[string]string{"languages": languages.String(), "uncovered": "\n" + strings.Join(without, ", ") + "\n\n"} {
		begin := "<!-- " + what + ": written by go test ./domain/words -run TestDocs -update -->\n"
		end := "<!-- end of " + what + " -->\n"
		before, rest, ok1 := bytes.Cut(want, []byte(begin))
		_, after, ok2 := bytes.Cut(rest, []byte(end))
		if !ok1 || !ok2 {
			t.Fatalf("%s has lost the marks of its table of %s", name, what)
		}
		want = slices.Concat(before, []byte(begin), []byte(table), []byte(end), after)
	}
	if bytes.Equal(page, want) {
		return
	}
	if !*update {
		t.Fatalf("%s does not say what the lists say: run go test ./domain/words -run TestDocs -update", name)
	}
	if err := os.WriteFile(name, want, 0o644); err != nil {
		t.Fatal(err)
	}
}
