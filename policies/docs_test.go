package policies

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

var update = flag.Bool("update", false, "write the table of rules in docs/policies.md anew")

// TestDocs holds the table of rules in the documentation to the rules' own annotations.
func TestDocs(t *testing.T) {
	const (
		name  = "../docs/policies.md"
		begin = "<!-- rules: written by go test ./policies -run TestDocs -update -->\n"
		end   = "<!-- end of rules -->\n"
	)
	e := load(t)
	var table strings.Builder
	table.WriteString("\n| rule | what it says | citation | effective | confidence |\n| --- | --- | --- | --- | --- |\n")
	for _, id := range slices.Sorted(maps.Keys(e.rules)) {
		r := e.rules[id]
		if r.Citation == "" {
			r.Citation = "our own"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", r.ID, r.Text, r.Citation, r.Effective, r.Confidence)
	}
	table.WriteString("\n")

	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := bytes.Cut(page, []byte(begin))
	old, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok1 || !ok2 {
		t.Fatalf("%s has lost the marks of its table of rules", name)
	}
	if string(old) == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s does not say what the rules say of themselves: run go test ./policies -run TestDocs -update", name)
	}
	page = slices.Concat(before, []byte(begin), []byte(table.String()), []byte(end), after)
	if err := os.WriteFile(name, page, 0o644); err != nil {
		t.Fatal(err)
	}
}
