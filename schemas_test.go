package chirograph_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/domain/words"
)

// TestSchemaLists: the closed lists in docs/schemas are those of the code. The package
// that writes the schemas knows none of the others.
func TestSchemaLists(t *testing.T) {
	asks := []string{"part"}
	for k := range 256 {
		if s := words.Kind(k).String(); !slices.Contains(asks, s) {
			asks = append(asks, s)
		}
	}
	purposes := append(slices.Collect(maps.Keys(control.Purposes)), "compliance_reply")
	encodings := constants(t, "domain/sms", func(_, typ string) bool { return typ == "Encoding" })
	for _, list := range []struct {
		typ  event.Type
		path string
		want []string
	}{
		{"OptedOut.v1", "$defs/Reach/properties/scope", constants(t, "domain/event", func(_, typ string) bool { return typ == "Scope" })},
		{"MessageSubmitted.v1", "properties/data/properties/purpose", purposes},
		{"ProgramChanged.v1", "properties/data/properties/purposes/items", purposes},
		{"MessageSubmitted.v1", "properties/data/properties/encoding", encodings},
		{"MessageRouted.v1", "properties/data/properties/encoding", encodings},
		{"MessageDecided.v1", "properties/data/properties/outcome", constants(t, "domain/event", func(_, typ string) bool { return typ == "DecisionOutcome" })},
		{"MessageDecided.v1", "$defs/Check/properties/outcome", []string{string(event.Allow), string(event.Deny), string(event.Defer)}},
		{"MessageDecided.v1", "properties/data/properties/fault", constants(t, "domain/event", func(_, typ string) bool { return typ == "Fault" })},
		{"InboundReceived.v1", "properties/data/properties/ask", asks},
	} {
		got := at(t, list.typ, list.path).Enum
		slices.Sort(got)
		slices.Sort(list.want)
		if len(got) < 2 || !slices.Equal(got, list.want) {
			t.Errorf("%s: %s lists\n%q, the code\n%q", list.typ, list.path, got, list.want)
		}
	}
	state := regexp.MustCompile(at(t, "ReceiptReceived.v1", "properties/data/properties/state").Pattern)
	for s := range 256 {
		if name := sms.MessageState(s).String(); !state.MatchString(name) {
			t.Errorf("the schema knows no receipt's state %q", name)
		}
	}
	// What ids, pseudonyms and positions look like is said twice too.
	position := regexp.MustCompile(at(t, "RecordAccepted.v1", "properties/data/properties/position").Pattern)
	for _, p := range []event.Partition{event.ControlPartition, event.InboxPartition, event.AuditPartition, 0, 7, 42, 100, event.MaxPartitions - 1} {
		if s := (event.Position{Partition: p, Index: 1234}).String(); !position.MatchString(s) {
			t.Errorf("the schema takes %s for no position", s)
		}
	}
}

type narrowed struct {
	Enum    []string `json:"enum"`
	Pattern string   `json:"pattern"`
}

// at reads one place of a schema.
func at(t *testing.T, typ event.Type, where string) (n narrowed) {
	t.Helper()
	raw := json.RawMessage(read(t, path.Join("docs/schemas", string(typ)+".json")))
	for name := range strings.SplitSeq(where, "/") {
		var here map[string]json.RawMessage
		if err := json.Unmarshal(raw, &here); err != nil {
			t.Fatalf("%s: %s: %v", typ, where, err)
		}
		raw = here[name]
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		t.Fatalf("%s: %s: %v", typ, where, err)
	}
	return n
}

// constants are the values of a folder's texts that are declared as constants and
// that want takes, by name and type.
func constants(t *testing.T, folder string, want func(name, typ string) bool) (out []string) {
	t.Helper()
	files, err := fs.Glob(os.DirFS("."), folder+"/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				spec := s.(*ast.ValueSpec)
				typ, _ := spec.Type.(*ast.Ident)
				if typ == nil {
					typ = &ast.Ident{}
				}
				for i, v := range spec.Values {
					if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING && want(spec.Names[i].Name, typ.Name) {
						text, err := strconv.Unquote(lit.Value)
						if err != nil {
							t.Fatal(err)
						}
						out = append(out, text)
					}
				}
			}
		}
	}
	return out
}
