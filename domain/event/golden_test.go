package event

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write missing golden files, and docs/events.md")

// The golden files are a promise: what they hold was written into ledgers. -update
// adds what is missing and never changes one.
func TestGolden(t *testing.T) {
	seen := map[Type]bool{}
	for _, e := range examples() {
		typ := e.Data.Type()
		seen[typ] = true
		raw, err := Encode(e)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		name := filepath.Join("testdata", "golden", string(typ)+".json")
		want, err := os.ReadFile(name)
		if os.IsNotExist(err) && *update {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, raw, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s has no golden file (go test -update adds it): %v", typ, err)
			continue
		}
		if !bytes.Equal(raw, want) {
			t.Errorf("%s is not written as it was:\n got %s\nwant %s", typ, raw, want)
		}
		back, err := Decode(want)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%s is not read as it was: %+v, %v", typ, back, err)
		}
	}
	for _, typ := range Types() {
		if !seen[typ] {
			t.Errorf("%s has no example", typ)
		}
	}
	files, _ := filepath.Glob("testdata/golden/*.json")
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Decode(raw)
		if err != nil {
			t.Errorf("%s, which is in ledgers, can no longer be read: %v", f, err)
		} else if !Canonical(raw, e) {
			t.Errorf("%s, which is in ledgers, is no longer canonical", f)
		}
	}
}

// Every example has every field set, so that each is in a golden file.
func TestExamplesAreFull(t *testing.T) {
	for _, e := range examples() {
		v := reflect.ValueOf(e.Data).Elem()
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: the example leaves %s empty", e.Data.Type(), v.Type().Field(i).Name)
			}
		}
	}
}

const docs = "../../docs/events.md"

func TestDocs(t *testing.T) {
	want := events(t)
	if *update {
		if err := os.WriteFile(docs, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/events.md is not what the code says; write it anew with: go test ./domain/event -update")
	}
}

var kinds = map[Kind]string{
	Fact:    "a fact: effective unless it is a repeat",
	Request: "a request: a fact whose effect follows from where it landed",
	Outcome: "an outcome: effective only under the rule above",
	Control: "a fact on the control stream",
}

// events writes docs/events.md: the words are the comments in types.go, the
// examples are the golden files.
func events(t *testing.T) []byte {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	type decl struct {
		doc    string
		fields *ast.StructType
	}
	decls := map[string]decl{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		spec := g.Specs[0].(*ast.TypeSpec)
		s, _ := spec.Type.(*ast.StructType)
		decls[spec.Name.Name] = decl{one(g.Doc.Text()), s}
	}
	var b bytes.Buffer
	b.WriteString(`# The events

<!-- Made from domain/event by: go test ./domain/event -update -->

What a ledger holds. Each event is one CloudEvents 1.0 JSON object, stored as exactly these bytes: fields in the order
below, empty ones left out. Its position (partition and dense index) is not inside.

## The envelope

| field | holds |
| --- | --- |
| ` + "`specversion`" + ` | 1.0 |
| ` + "`id`" + ` | a UUID (version 7), made once by whoever observed the fact; a copy has the same. A submit's is the message's, and has its partition in the 12 bits after the version |
| ` + "`source`" + ` | the ledger: "/" and its short id |
| ` + "`type`" + ` | the type and its version |
| ` + "`subject`" + ` | the stream: the pseudonym of tenant and recipient; none on the control stream |
| ` + "`time`" + ` | the writer's clock, UTC, in whole milliseconds |
| ` + "`tenant`" + ` | whose it is; none for an operator's |
| ` + "`message`" + ` | the message that it is about; none for a submit |
| ` + "`after`" + ` | outcomes only: the last effective event of the stream that could change a decision when this was decided |
| ` + "`control`" + ` | outcomes only: the control position (from 1) that it was decided under |
| ` + "`node`" + ` | who wrote it |
| ` + "`data`" + ` | what an event of this type carries |

## Effective and void

An event in the log is effective, or it is void and changes nothing. A fact is void only as a *repeat*: its id was taken
within the last 24 hours of the log's own time. A ` + "`ControlApplied`" + ` is void as *overtaken* if its position is not higher than
the partition's. An outcome is void as

- *repeat*: it is a copy of the stream's last event that can change a decision;
- *overtaken*: ` + "`after`" + ` is not that last event, or ` + "`control`" + ` is not the partition's;
- *settled*: its message's state does not allow it;
- *late*: its own time lies past what was allowed.

Whoever reads the raw log must apply this to tell an effective outcome from a void one.

## The types
`)
	for _, e := range examples() {
		typ := e.Data.Type()
		d := decls[typ.Name()]
		fmt.Fprintf(&b, "\n### `%s`\n\n%s\n\nKind: %s.\n\n", typ, d.doc, kinds[typ.Kind()])
		fields := func(s *ast.StructType) {
			b.WriteString("| field | type | holds |\n| --- | --- | --- |\n")
			var doc string
			for _, f := range s.Fields.List {
				if text := one(f.Doc.Text()); text != "" {
					doc = text
				} else {
					doc = ""
				}
				tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
				name, _, _ := strings.Cut(tag, ",")
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, typeName(f.Type), strings.ReplaceAll(doc, "|", "\\|"))
			}
		}
		if len(d.fields.Fields.List) > 0 {
			fields(d.fields)
		} else {
			b.WriteString("It carries nothing.\n")
		}
		golden, err := os.ReadFile(filepath.Join("testdata", "golden", string(typ)+".json"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n```json\n%s\n```\n", golden)
	}
	b.WriteString("\n## What they are made of\n")
	for _, name := range []string{"Sealed", "Reach", "Check", "StartedPart", "Concat", "Route"} {
		d := decls[name]
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| field | type | holds |\n| --- | --- | --- |\n", name, d.doc)
		for _, f := range d.fields.Fields.List {
			tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
			key, _, _ := strings.Cut(tag, ",")
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", key, typeName(f.Type), one(f.Doc.Text()))
		}
	}
	b.WriteString("\n## Inside the sealed boxes\n")
	for _, name := range []string{"Content", "Evidence", "Inbound"} {
		d := decls[name]
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| field | type | holds |\n| --- | --- | --- |\n", name, d.doc)
		for _, f := range d.fields.Fields.List {
			tag := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json")
			key, _, _ := strings.Cut(tag, ",")
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", key, typeName(f.Type), one(f.Doc.Text()))
		}
	}
	return b.Bytes()
}

func one(s string) string { return strings.Join(strings.Fields(s), " ") }

// typeName says how a Go type is written in JSON.
func typeName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		switch x.Name {
		case "int", "int64", "uint16":
			return "number"
		case "bool":
			return "true, or left out"
		case "string":
			return "text"
		case "ID":
			return "id"
		case "Place", "Clock", "Scope":
			return "text (" + x.Name + ")"
		}
		return x.Name
	case *ast.ArrayType:
		if id, ok := x.Elt.(*ast.Ident); ok && id.Name == "byte" {
			return "base64"
		}
		return "list of " + typeName(x.Elt)
	case *ast.MapType:
		return "texts by name"
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.SelectorExpr:
		return "time"
	}
	return "?"
}
