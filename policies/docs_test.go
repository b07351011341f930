package policies

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/decision"
)

var update = flag.Bool("update", false, "write the tables of facts, countries and rules in docs/policies.md anew")

// TestDocs holds the tables in the documentation to what the code says: the facts to the
// comments of decision.Facts, the rules to their own annotations, the checks to the manifest.
func TestDocs(t *testing.T) {
	const name = "../docs/policies.md"
	e := builtinPacks(t)
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := page
	for what, table := range map[string]string{"facts": factTable(t), "rules": ruleTable(e), "countries": countryTable(t)} {
		begin := "<!-- " + what + ": written by go test ./policies -run TestDocs -update -->\n"
		end := "<!-- end of " + what + " -->\n"
		before, rest, ok1 := bytes.Cut(want, []byte(begin))
		_, after, ok2 := bytes.Cut(rest, []byte(end))
		if !ok1 || !ok2 {
			t.Fatalf("%s has lost the marks of its table of %s", name, what)
		}
		want = slices.Concat(before, []byte(begin), []byte(table), []byte(end), after)
	}
	if !bytes.Equal(page, want) {
		if !*update {
			t.Fatalf("%s does not say what the facts and the rules say of themselves: run go test ./policies -run TestDocs -update", name)
		}
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if checks := "in this order: `" + strings.Join(e.Required(), "`, `") + "`."; !bytes.Contains(want, []byte(checks)) {
		t.Errorf("%s does not have the checks of the manifest; it should say %q", name, checks)
	}
}

// ruleTable is a row for each rule.
func ruleTable(e *Evaluator) string {
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
	return table.String()
}

// countryTable is a row for each reviewed country.
func countryTable(t *testing.T) string {
	t.Helper()
	b, err := readBundle(builtinFS(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("\n| country | reviewed | what was found |\n| --- | --- | --- |\n")
	rows := b.params["countries"].(map[string]any)["reviewed"].(map[string]any)
	for _, country := range slices.Sorted(maps.Keys(rows)) {
		row := rows[country].(map[string]any)
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", country, row["date"], row["note"])
	}
	table.WriteString("\n")
	return table.String()
}

// factTable is a row for each fact, from the comments of its field.
func factTable(t *testing.T) string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../domain/decision/policy.go", nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{} // by Type.Field
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range s.Fields.List {
					comments[spec.Name.Name+"."+f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return true
	})
	var table strings.Builder
	table.WriteString("\n| fact | what it is |\n| --- | --- |\n")
	var rows func(typ reflect.Type, prefix string)
	rows = func(typ reflect.Type, prefix string) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			fact, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			comment := comments[typ.Name()+"."+f.Name]
			if comment == "" {
				t.Errorf("the field %s of decision.%s has no comment", f.Name, typ.Name())
			}
			for _, verb := range []string{" is ", " are ", " says "} {
				comment = strings.TrimPrefix(comment, f.Name+verb)
			}
			fact = prefix + fact
			fmt.Fprintf(&table, "| `%s` | %s |\n", fact, comment)
			switch f.Type.Kind() {
			case reflect.Struct:
				rows(f.Type, fact+".")
			case reflect.Slice:
				if f.Type.Elem().Kind() == reflect.Struct {
					rows(f.Type.Elem(), fact+"[i].")
				}
			case reflect.Map:
				rows(f.Type.Elem(), fact+"[zone].")
			}
		}
	}
	rows(reflect.TypeFor[decision.Facts](), "")
	table.WriteString("\n")
	return table.String()
}
