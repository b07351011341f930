package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
)

// The tables of the documents are made from the code: `go test -run TestDocuments
// -update` writes them, and appends a section for a command that has none.

// block replaces what stands between the markers of a table.
func block(doc, name, content string) (string, bool) {
	open, end := "<!-- "+name+" -->\n", "<!-- end -->"
	i := strings.Index(doc, open)
	if i < 0 {
		return doc, false
	}
	i += len(open)
	j := strings.Index(doc[i:], end)
	if j < 0 {
		return doc, false
	}
	return doc[:i] + "\n" + content + "\n" + doc[i+j:], true
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// leaves are the commands at the ends of the command line.
func leaves(n *kong.Node) []*kong.Node {
	if len(n.Children) == 0 {
		return []*kong.Node{n}
	}
	var out []*kong.Node
	for _, c := range n.Children {
		if !c.Hidden {
			out = append(out, leaves(c)...)
		}
	}
	return out
}

// flagTable is what the document says of some flags and arguments.
func flagTable(args []*kong.Positional, flags []*kong.Flag) string {
	var b strings.Builder
	row := func(name, help, fallback string) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", cell(name), cell(help), cell(fallback))
	}
	for _, a := range args {
		row(a.Summary(), a.Help, code(a.Default))
	}
	for _, f := range flags {
		if f.Hidden || f.Name == "help" {
			continue
		}
		name := "--" + f.Name
		if !f.IsBool() {
			name += "=" + strings.Trim(f.FormatPlaceHolder(), `"`)
		}
		fallback := code(f.Default)
		if f.Required {
			fallback = "required"
		}
		for _, e := range f.Envs {
			fallback = strings.TrimPrefix(fallback+", `$"+e+"`", ", ")
		}
		row(name, f.Help, fallback)
	}
	if b.Len() == 0 {
		return "It has no flags of its own.\n"
	}
	return "| | | default |\n| --- | --- | --- |\n" + b.String()
}

func code(s string) string {
	if s == "" || s == "0" || s == "0s" {
		return ""
	}
	return "`" + s + "`"
}

func path(n *kong.Node) string {
	var words []string
	for ; n != nil; n = n.Parent {
		words = append([]string{n.Name}, words...)
	}
	return strings.Join(words, " ")
}

func TestDocumentsOfTheCommandLine(t *testing.T) {
	var c commandLine
	parser, err := kong.New(&c, kong.Name("chirograph"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"every command": flagTable(nil, parser.Model.Flags)}
	order := []string{}
	helps := map[string]string{}
	for _, n := range leaves(parser.Model.Node) {
		flags := n.Flags
		for p := n.Parent; p != nil && p.Parent != nil; p = p.Parent {
			flags = append(flags, p.Flags...)
		}
		want[path(n)] = flagTable(n.Positional, flags)
		order = append(order, path(n))
		helps[path(n)] = n.Help
	}
	document(t, "cli.md", want, func(doc string) string {
		for _, p := range order {
			if !strings.Contains(doc, "<!-- "+p+" -->\n") {
				doc = strings.TrimRight(doc, "\n") + fmt.Sprintf("\n\n## `%s`\n\n%s\n\n<!-- %s -->\n<!-- end -->\n", p, helps[p], p)
			}
		}
		return doc
	})
}

// fieldTable is what the document says of a struct's fields. of has the defaults.
func fieldTable(t *testing.T, of reflect.Value) string {
	v := of.Type()
	var b strings.Builder
	b.WriteString("| field | | default |\n| --- | --- | --- |\n")
	for i := range v.NumField() {
		f := v.Field(i)
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		doc := f.Tag.Get("doc")
		if doc == "" {
			t.Errorf("%s.%s has no doc", v.Name(), f.Name)
		}
		fallback := code(f.Tag.Get("default"))
		switch {
		case f.Tag.Get("otherwise") != "":
			fallback = f.Tag.Get("otherwise")
		case f.Tag.Get("default") == "0":
			fallback = "`0`"
		case fallback == "" && f.Type.Kind() != reflect.Slice && f.Type.Kind() != reflect.Struct && !of.Field(i).IsZero(): // what the adapter takes
			fallback = code(fmt.Sprint(of.Field(i).Interface()))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, cell(doc), fallback)
	}
	return b.String()
}

// leftOut is a configuration that leaves every field out, with one item in each list.
const leftOut = "{api_keys: [{}], carriers: [{tlvs: [{}], senders: [{}]}], routes: [{}], words: [{}], zones: [{}], owners: [{}], programs: [{}]}"

func TestDocumentsOfTheConfiguration(t *testing.T) {
	nothing, problems := config.Parse([]byte(leftOut), nil)
	if len(problems) > 0 {
		t.Fatal(config.Problems(problems))
	}
	all := reflect.ValueOf(*nothing)
	want := map[string]string{"top": fieldTable(t, all)}
	for i := range all.NumField() {
		f, of := all.Type().Field(i), all.Field(i)
		if of.Kind() == reflect.Slice && of.Type().Elem().Kind() == reflect.Struct && f.Tag.Get("yaml") != "" {
			of = of.Index(0)
		}
		if of.Kind() == reflect.Struct && f.Tag.Get("yaml") != "" {
			name := f.Tag.Get("yaml")
			want[name] = fieldTable(t, of)
			for j := range of.NumField() { // lists within it
				if g := of.Field(j); g.Kind() == reflect.Slice && g.Type().Elem().Kind() == reflect.Struct {
					want[name+"."+of.Type().Field(j).Tag.Get("yaml")] = fieldTable(t, g.Index(0))
				}
			}
		}
	}
	doc := document(t, "configuration.md", want, func(doc string) string { return doc })

	// The example must be a configuration, whose one missing thing is its secret.
	example := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(doc)
	if example == nil {
		t.Fatal("there is no example")
	}
	c, problems := config.Parse([]byte(example[1]), func(string) (string, bool) { return "secret", true })
	if len(problems) > 0 {
		t.Fatal(config.Problems(problems))
	}
	if p := c.Check(); len(p) > 0 {
		t.Error(config.Problems(p))
	}
}

// document compares the tables of one with what they should be.
func document(t *testing.T, name string, want map[string]string, missing func(string) string) string {
	t.Helper()
	file := filepath.Join("..", "..", "docs", name)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(raw)
	if *terminaltest.Update {
		doc = missing(doc)
		for of, content := range want {
			doc, _ = block(doc, of, content)
		}
		if doc != string(raw) {
			if err := os.WriteFile(file, []byte(doc), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for of, content := range want {
		if now, ok := block(doc, of, content); !ok {
			t.Errorf("%s has no table of %q; go test -run TestDocuments -update adds it", name, of)
		} else if now != doc {
			t.Errorf("the table of %q in %s is not what the code says; go test -run TestDocuments -update corrects it", of, name)
		}
	}
	for _, m := range regexp.MustCompile(`<!-- ([^>]*) -->\n`).FindAllStringSubmatch(doc, -1) {
		if _, ok := want[m[1]]; !ok && m[1] != "end" {
			t.Errorf("%s has a table of %q, which there is not", name, m[1])
		}
	}
	return doc
}
