package chirograph_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
)

// docs/words.md says which words have one meaning in this module, and where a name may
// have them. This file holds the code to that table.

// notYet are the folders whose names are not held to the table yet. A folder counts with
// what is under it.
var notYet = []string{}

// documentsNotYet are the documents whose words are not held to the table yet.
var documentsNotYet = []string{"docs/architecture.md"}

// shortScope is the number of lines up to which a local variable may have any name: its
// meaning is on the screen.
const shortScope = 10

// How a rule of docs/words.md looks at a name.
const (
	inName   = "in a name"    // the word is one of the words of the name: waitingParts
	asName   = "as a name"    // the word is the whole name: left
	asType   = "as a type"    // the word is the whole name of a type
	notLocal = "of a package" // as a name, and of something that outlives a function: a package's variable, a field
)

// A wordRule is a row of the table in docs/words.md.
type wordRule struct {
	words   []string // in small letters; a plural is a word of its own
	how     string
	folders []string // where any name may have the word
	phrases []string // with which next word it may stand anywhere: "quiet hours"
	instead string
}

// wordRules reads the table of names in docs/words.md.
func wordRules(doc string) ([]wordRule, error) {
	_, rest, ok := strings.Cut(doc, "<!-- names -->\n")
	table, _, ended := strings.Cut(rest, "<!-- end -->")
	if !ok || !ended {
		return nil, fmt.Errorf("there is no table between <!-- names --> and <!-- end -->")
	}
	var rules []wordRule
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 5 {
			return nil, fmt.Errorf("the row has %d cells and not 5: %s", len(cells), line)
		}
		r := wordRule{words: listed(cells[0]), how: strings.TrimSpace(cells[2]), instead: strings.TrimSpace(cells[4])}
		if len(r.words) == 0 || r.instead == "" {
			return nil, fmt.Errorf("the row says no word, or not what to write instead: %s", line)
		}
		if !slices.Contains([]string{inName, asName, asType, notLocal}, r.how) {
			return nil, fmt.Errorf("%q is no way to look at a name: %s", r.how, line)
		}
		for _, a := range listed(cells[3]) {
			switch {
			case a == "nowhere":
			case strings.Contains(a, " "):
				r.phrases = append(r.phrases, a)
			default:
				r.folders = append(r.folders, strings.TrimSuffix(a, "/**"))
			}
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// listed is what a cell of the table lists between backticks.
func listed(cell string) (items []string) {
	for i, s := range strings.Split(cell, "`") {
		if i%2 == 1 {
			items = append(items, s)
		}
	}
	if len(items) == 0 && strings.TrimSpace(cell) == "nowhere" {
		return []string{"nowhere"}
	}
	return items
}

// A declared is a name that a file declares.
type declared struct {
	name string
	kind string // func, method, type, var, const, field, param, local
	line int
	// lines is how long a local variable can be seen.
	lines int
}

// namesOf lists what a file declares, but its imports and labels.
func namesOf(fset *token.FileSet, file *ast.File) (out []declared) {
	line := func(p token.Pos) int { return fset.Position(p).Line }
	add := func(kind string, lines int, ids ...*ast.Ident) {
		for _, id := range ids {
			if id.Name != "_" {
				out = append(out, declared{id.Name, kind, line(id.Pos()), lines})
			}
		}
	}
	var scopes []ast.Node // the statements and functions around the node
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil {
			scopes = scopes[:len(scopes)-1]
			return true
		}
		scopes = append(scopes, n)
		// local adds variables of a function: to the end of the block around them.
		local := func(ids ...*ast.Ident) {
			for _, around := range slices.Backward(scopes[:len(scopes)-1]) {
				switch around.(type) {
				case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause, *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt:
					add("local", line(around.End())-line(ids[0].Pos()), ids...)
					return
				}
			}
		}
		inFunc := slices.ContainsFunc(scopes, func(n ast.Node) bool { _, ok := n.(*ast.BlockStmt); return ok })
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil {
				add("func", 0, n.Name)
			} else {
				add("method", 0, n.Name)
				fieldNames(n.Recv, func(ids ...*ast.Ident) { add("param", 0, ids...) })
			}
		case *ast.FuncType:
			for _, l := range []*ast.FieldList{n.Params, n.Results} {
				fieldNames(l, func(ids ...*ast.Ident) { add("param", 0, ids...) })
			}
		case *ast.StructType:
			fieldNames(n.Fields, func(ids ...*ast.Ident) { add("field", 0, ids...) })
		case *ast.InterfaceType:
			fieldNames(n.Methods, func(ids ...*ast.Ident) { add("method", 0, ids...) })
		case *ast.TypeSpec:
			add("type", 0, n.Name)
		case *ast.ValueSpec:
			if inFunc {
				local(n.Names...)
			} else {
				add("var", 0, n.Names...)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				local(identifiers(n.Lhs)...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add("local", line(n.End())-line(n.Pos()), identifiers([]ast.Expr{n.Key, n.Value})...)
			}
		}
		return true
	})
	return out
}

func fieldNames(l *ast.FieldList, add func(...*ast.Ident)) {
	if l != nil {
		for _, f := range l.List {
			add(f.Names...)
		}
	}
}

func identifiers(list []ast.Expr) (ids []*ast.Ident) {
	for _, x := range list {
		if id, ok := x.(*ast.Ident); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// wordsIn are the words of a name, in small letters: parseHTTPParts is parse, http, parts.
func wordsIn(name string) (words []string) {
	var word []rune
	runes := []rune(name)
	for i, c := range runes {
		begins := unicode.IsUpper(c) && i > 0 &&
			(unicode.IsLower(runes[i-1]) || unicode.IsDigit(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if (begins || c == '_') && len(word) > 0 {
			words, word = append(words, strings.ToLower(string(word))), nil
		}
		if c != '_' && !unicode.IsDigit(c) {
			word = append(word, c)
		}
	}
	if len(word) > 0 {
		words = append(words, strings.ToLower(string(word)))
	}
	return words
}

// breaks reports the word by which a name of a folder breaks the rule; "" is none.
func (r wordRule) breaks(folder string, d declared) string {
	if anyUnder(folder, r.folders) || d.kind == "local" && d.lines <= shortScope {
		return ""
	}
	words := wordsIn(d.name)
	for i, w := range words {
		if !slices.Contains(r.words, w) {
			continue
		}
		if i+1 < len(words) && slices.Contains(r.phrases, w+" "+words[i+1]) {
			continue
		}
		alone := len(words) == 1
		switch {
		case r.how == inName,
			r.how == asName && alone,
			r.how == asType && alone && d.kind == "type",
			r.how == notLocal && alone && d.kind != "local" && d.kind != "param" && d.kind != "method" && d.kind != "func":
			return w
		}
	}
	return ""
}

// wordsAt reads every Go file of the module in fsys that people write and that is no test,
// and says which declared names break a rule. files is how many it read.
func wordsAt(fsys fs.FS, rules []wordRule, leaveOut []string) (violations []string, files int, err error) {
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && notOfModule(fsys, p, d) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, p, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil || ast.IsGenerated(file) {
			return err
		}
		files++
		if anyUnder(path.Dir(p), leaveOut) {
			return nil
		}
		for _, d := range namesOf(fset, file) {
			for _, r := range rules {
				if w := r.breaks(path.Dir(p), d); w != "" {
					violations = append(violations, fmt.Sprintf("%s:%d: the %s %s has the word %q; instead: %s", p, d.line, d.kind, d.name, w, r.instead))
				}
			}
		}
		return nil
	})
	return violations, files, err
}

// notOfModule reports whether a folder has no code of this module.
func notOfModule(fsys fs.FS, p string, d fs.DirEntry) bool {
	if strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "data" {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(p, "go.mod"))
	return err == nil
}

// TestWords: a word that docs/words.md lists has its one meaning in the names of the code.
func TestWords(t *testing.T) {
	rules, err := wordRules(read(t, "docs/words.md"))
	if err != nil {
		t.Fatal(err)
	}
	violations, files, err := wordsAt(os.DirFS("."), rules, notYet)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
	if files < 50 {
		t.Errorf("%d files were read; there are more", files)
	}
}

// TestWordsCatch plants one name at a time in a tree that exists in memory only.
func TestWordsCatch(t *testing.T) {
	rules, err := wordRules(read(t, "docs/words.md"))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("\n", shortScope+1)
	tests := []struct {
		name, file, source string
		want               string // part of the violation; empty: none
	}{
		{"where a recipient may be", "domain/sms/a.go", `type Place struct{}`, ""},
		{"a slot of a window", "domain/dispatch/a.go", `type w struct{ freePlaces int }`, "slot"},
		{"where a ledger is stored", "cmd/internal/operate/a.go", `func openPlace() {}`, "location"},
		{"a word that begins alike", "domain/node/a.go", `func Placement() {}`, ""},
		{"hours", "domain/decision/a.go", `func QuietHours() {}`, ""},
		{"hours at the end of a name", "domain/decision/a.go", `var inQuietHours bool`, ""},
		{"a node that drains", "domain/node/a.go", `type n struct{}; func (n) Quiet() {}`, "drained"},
		{"quiet alone", "domain/decision/a.go", `var quiet bool`, "drained"},
		{"a word of a longer name", "domain/node/a.go", `type p struct{ startQuieting int }`, "drained"},
		{"a part of a message", "domain/event/a.go", `type StartedPart struct{ Part int }`, ""},
		{"an outside system", "cmd/internal/assemble/a.go", `type part struct{}`, "dependency"},
		{"a share of an append", "adapters/kafkalog/a.go", `type w struct{ parts []int }`, "share"},
		{"a parameter", "adapters/memlog/a.go", `func f(part int) {}`, "partition"},
		{"a result", "adapters/memlog/a.go", `func f() (parts []int) { return nil }`, "partition"},
		{"a parameter of a function's type", "adapters/memlog/a.go", `type f func(part int)`, "partition"},
		{"a method of an interface", "domain/node/a.go", `type i interface{ Again() }`, "retry"},
		{"again at the end of a name", "domain/clerk/a.go", `const askAgain = 1`, "retry"},
		{"against is another word", "domain/clerk/a.go", `func against() {}`, ""},
		{"a variable that is seen on a few lines", "domain/clerk/a.go", "func f() {\n\tagain := 1\n\t_ = again\n}", ""},
		{"a variable that is seen on many", "domain/clerk/a.go", "func f() {\n\tagain := 1" + long + "\t_ = again\n}", "retry"},
		{"declared by var", "domain/clerk/a.go", "func f() {\n\tvar again int" + long + "\t_ = again\n}", "retry"},
		{"declared by range", "domain/clerk/a.go", "func f(l []int) {\n\tfor _, again := range l {" + long + "\t_ = again\n}\n}", "retry"},
		{"in a block that ends soon", "domain/clerk/a.go", "func f() {\n\tif again := true; again {\n\t}" + long + "}", ""},
		{"a number of a partition", "domain/event/a.go", `type Partition int`, ""},
		{"a partition's state", "domain/recipient/a.go", `type Partition struct{}`, "PartitionState"},
		{"a variable for the number", "adapters/memlog/a.go", `type l struct{ partition int }`, ""},
		{"the state under its own name", "domain/recipient/a.go", `type PartitionState struct{}`, ""},
		{"why an outcome is void", "domain/recipient/a.go", `const Settled = "settled"`, ""},
		{"a settled submit", "adapters/smpp/a.go", `type s struct{ settled int }`, "answered"},
		{"a participle of a package", "domain/clerk/a.go", `var elsewhere int`, "noun"},
		{"a participle as a field", "domain/clerk/a.go", `type c struct{ over, back bool }`, "noun"},
		{"a participle in a sentence", "domain/clerk/a.go", `type c struct{ bytesLeft int }`, ""},
		{"a participle that is local", "domain/clerk/a.go", "func f() {\n\tleft := 1" + long + "\t_ = left\n}", ""},
		{"a test", "domain/clerk/a_test.go", `var again int`, ""},
		{"what a program wrote", "api/v1/a.go", "// Code generated by a generator. DO NOT EDIT.\n\nvar again int", ""},
		{"a folder that is left out", "domain/later/a.go", `var again int`, ""},
		{"another module", "tools/a.go", `var again int`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			source := "package p\n" + tt.source
			if strings.HasPrefix(tt.source, "// Code") {
				source = strings.Replace(tt.source, "\n\n", "\n\npackage p\n", 1)
			}
			violations, _, err := wordsAt(fstest.MapFS{tt.file: {Data: []byte(source)}, "tools/go.mod": {}}, rules, []string{"domain/later"})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if len(violations) > 0 {
					t.Errorf("caught %q, where nothing is wrong", violations)
				}
				return
			}
			if len(violations) == 0 || !strings.Contains(violations[0], tt.want) {
				t.Errorf("caught %q; want a violation with %q", violations, tt.want)
			}
		})
	}
}

// TestWordRows: a table that cannot be understood is refused, so that no row is passed over.
func TestWordRows(t *testing.T) {
	for _, row := range []string{
		"| `a` | x | in a name | nowhere |",
		"| a | x | in a name | nowhere | b |",
		"| `a` | x | sometimes | nowhere | b |",
	} {
		doc := "<!-- names -->\n| word |\n| --- |\n" + row + "\n<!-- end -->"
		if rules, err := wordRules(doc); err == nil {
			t.Errorf("%s was taken as %+v", row, rules)
		}
	}
	if _, err := wordRules("no table"); err == nil {
		t.Error("a document without a table was taken")
	}
}

func TestWordsIn(t *testing.T) {
	for name, want := range map[string]string{
		"waitingParts": "waiting parts", "HTTPPart": "http part", "parseURLAgain": "parse url again", "a": "a", "max_size": "max size", "sha256Sum": "sha sum",
	} {
		if got := strings.Join(wordsIn(name), " "); got != want {
			t.Errorf("%s has the words %q, want %q", name, got, want)
		}
	}
}

// generatedPart is what a test writes into a document, between two markers.
var (
	generatedPart = regexp.MustCompile(`(?s)<!-- [a-z][^>]* -->\n.*?<!-- end[^>]* -->`)
	fenced        = regexp.MustCompile("(?s)\n```.*?\n```")
	codeSpan      = regexp.MustCompile("`[^`\n]*`")
)

// proseOf is what people wrote in a document. What was made from the code is blank.
func proseOf(doc string) string {
	// docs/events.md is made from the code after its first chapters.
	doc, _, _ = strings.Cut(doc, "\n## The types\n")
	for _, x := range []*regexp.Regexp{generatedPart, fenced, codeSpan} {
		doc = x.ReplaceAllStringFunc(doc, func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) })
	}
	return doc
}

// proseWords reads the table of words in the documents: each word, and what to write instead.
func proseWords(doc string) (words [][2]string) {
	_, rest, _ := strings.Cut(doc, "<!-- prose -->\n")
	table, _, _ := strings.Cut(rest, "<!-- end -->")
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(table, -1) {
		if m[1] != "not" && m[1] != "---" {
			words = append(words, [2]string{m[1], m[2]})
		}
	}
	return words
}

// inProse says where a document has a word of the list.
func inProse(file, doc string, words [][2]string) (violations []string) {
	for i, line := range strings.Split(proseOf(doc), "\n") {
		for _, w := range words {
			if regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(w[0]) + `\b`).MatchString(line) {
				violations = append(violations, fmt.Sprintf("%s:%d: %q; instead: %s", file, i+1, w[0], w[1]))
			}
		}
	}
	return violations
}

// TestWordsOfDocuments: the documents have no word that docs/words.md keeps out of them.
func TestWordsOfDocuments(t *testing.T) {
	words := proseWords(read(t, "docs/words.md"))
	if len(words) < 3 {
		t.Fatalf("docs/words.md was not understood: %v", words)
	}
	files, err := fs.Glob(os.DirFS("."), "docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "README.md", "CONTRIBUTING.md") {
		if slices.Contains(documentsNotYet, file) {
			continue
		}
		for _, v := range inProse(file, read(t, file), words) {
			t.Error(v)
		}
	}
	for doc, want := range map[string]int{
		"Whoever reads this.":                     1,
		"the `whoever` of code":                   0,
		"a\n```\nwhoever\n```\nb":                 0,
		"<!-- x -->\n| whoever |\n<!-- end -->\n": 0,
		"whoeverness":                             0,
	} {
		if got := inProse("x.md", doc, words); len(got) != want {
			t.Errorf("%q: caught %q, want %d", doc, got, want)
		}
	}
}
