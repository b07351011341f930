package chirograph_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// The sizes that keep every room small enough to be read. Production code only: tests and
// generated files are not counted.
const (
	maxLines        = 3000 // of a package in domain, cmd, api and the other rooms
	maxAdapterLines = 4000 // of a package in adapters
	maxMethods      = 20   // of a type
	maxFunc         = 100  // lines of a function, from func to its closing brace
)

// TestHouse holds the sizes, and that every exported name of a domain room is used outside it.
func TestHouse(t *testing.T) {
	packages, err := readHouse(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 30 {
		t.Errorf("%d packages were read; the house has more than that", len(packages))
	}
	for _, v := range append(tooLarge(packages), unused(packages)...) {
		t.Error(v)
	}
}

// A housePackage is one package's production code.
type housePackage struct {
	folder  string
	lines   int
	files   []*ast.File
	tests   []*ast.File
	fset    *token.FileSet
	methods map[string]int    // by type
	funcs   map[string]int    // lines, by name
	exports map[string]string // exported package-level names, and methods as Type.Name: where
	// reached are, by exported name, the names of the package that whoever uses it has in
	// hand too: the types of its parameters, results and fields, and of a type
	// its constants, and of a constant the others of its block, which are one list of values.
	reached map[string][]string
}

// readHouse reads every package of the module.
func readHouse(fsys fs.FS) (map[string]*housePackage, error) {
	out := map[string]*housePackage{}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "bin", "data"}, d.Name())) {
				return fs.SkipDir
			}
			if _, err := fs.Stat(fsys, path.Join(p, "go.mod")); err == nil && p != "." {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		folder := path.Dir(p)
		h := out[folder]
		if h == nil {
			h = &housePackage{folder: folder, fset: token.NewFileSet(), methods: map[string]int{}, funcs: map[string]int{}, exports: map[string]string{}, reached: map[string][]string{}}
			out[folder] = h
		}
		file, err := parser.ParseFile(h.fset, p, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if strings.HasSuffix(p, "_test.go") {
			h.tests = append(h.tests, file)
			return nil
		}
		h.files = append(h.files, file)
		if !ast.IsGenerated(file) {
			h.lines += strings.Count(string(src), "\n")
			h.take(file)
		}
		return nil
	})
	return out, err
}

// take counts the declarations of one file.
func (h *housePackage) take(file *ast.File) {
	export := func(name string, at token.Pos) {
		if last := name[strings.LastIndex(name, ".")+1:]; ast.IsExported(last) {
			h.exports[name] = h.fset.Position(at).String()
		}
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if of := receiver(d); of != "" {
				h.methods[of]++
				name = of + "." + name
			}
			h.funcs[name] = h.fset.Position(d.End()).Line - h.fset.Position(d.Pos()).Line + 1
			export(name, d.Pos())
			h.reach(name, d.Type)
		case *ast.GenDecl:
			var values []string
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					export(s.Name.Name, s.Pos())
					h.reach(s.Name.Name, s.Type)
				case *ast.ValueSpec:
					for _, n := range s.Names {
						export(n.Name, n.Pos())
						values = append(values, n.Name)
						h.reach(n.Name, s.Type)
						if of, ok := s.Type.(*ast.Ident); ok && d.Tok == token.CONST {
							h.reached[of.Name] = append(h.reached[of.Name], n.Name)
						}
					}
				}
			}
			if d.Tok == token.CONST && len(d.Specs) > 0 && typed(d) {
				for _, n := range values {
					h.reached[n] = append(h.reached[n], values...)
				}
			}
		}
	}
}

// reach notes the names that an expression of types has.
func (h *housePackage) reach(name string, types ast.Node) {
	if types == nil || types == ast.Expr(nil) {
		return
	}
	ast.Inspect(types, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.IsExported() {
			h.reached[name] = append(h.reached[name], id.Name)
		}
		return true
	})
}

// typed reports whether a block of constants is a list of values of one type.
func typed(d *ast.GenDecl) bool {
	first, ok := d.Specs[0].(*ast.ValueSpec)
	return ok && first.Type != nil
}

// receiver is the type that a method is of; "" for a function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// tooLarge says what is over a limit.
func tooLarge(packages map[string]*housePackage) (found []string) {
	for _, folder := range slices.Sorted(maps.Keys(packages)) {
		h := packages[folder]
		most := maxLines
		if under(folder, "adapters") {
			most = maxAdapterLines
		}
		if h.lines > most {
			found = append(found, fmt.Sprintf("%s has %d lines of production code, more than %d", folder, h.lines, most))
		}
		for _, t := range slices.Sorted(maps.Keys(h.methods)) {
			if n := h.methods[t]; n > maxMethods {
				found = append(found, fmt.Sprintf("%s: the type %s has %d methods, more than %d", folder, t, n, maxMethods))
			}
		}
		for _, f := range slices.Sorted(maps.Keys(h.funcs)) {
			if n := h.funcs[f]; n > maxFunc {
				found = append(found, fmt.Sprintf("%s: the function %s has %d lines, more than %d", folder, f, n, maxFunc))
			}
		}
	}
	return found
}

// unused says which exported names of the domain's rooms no other package uses: it names none
// of them in a selector, nor anything through which it has them in hand. Types are not
// resolved: a selector with the name of a method counts, whatever it is selected from. The
// methods of interfaces of the standard library are not looked at.
func unused(packages map[string]*housePackage) (found []string) {
	std := []string{"String", "Error", "Unwrap", "Is", "Len", "Less", "Swap", "Push", "Pop", "MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON", "AppendText"}
	named := map[string]map[string]bool{} // by name: the folders whose files select it
	for folder, h := range packages {
		for _, file := range slices.Concat(h.files, h.tests) {
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if named[s.Sel.Name] == nil {
						named[s.Sel.Name] = map[string]bool{}
					}
					named[s.Sel.Name][folder] = true
				}
				return true
			})
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(packages)) {
		if !under(folder, "domain") || anyUnder(folder, harness) {
			continue
		}
		h := packages[folder]
		used := map[string]bool{}
		var use func(name string)
		use = func(name string) {
			if used[name] {
				return
			}
			used[name] = true
			for _, n := range h.reached[name] {
				use(n)
			}
		}
		for name := range h.exports {
			for f := range named[name[strings.LastIndex(name, ".")+1:]] {
				if f != folder {
					use(name)
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(h.exports)) {
			of, last, method := strings.Cut(name, ".")
			if !used[name] && !(method && (slices.Contains(std, last) || !ast.IsExported(of))) {
				found = append(found, fmt.Sprintf("%s: %s is exported and used by no other package (%s)", folder, name, h.exports[name]))
			}
		}
	}
	return found
}

// TestHouseCatches plants what is too large, and a name that nothing uses, in a tree that
// exists in memory only.
func TestHouseCatches(t *testing.T) {
	long := "package clerk\n\nfunc long() {\n" + strings.Repeat("\t_ = 1\n", maxFunc) + "}\n"
	var methods strings.Builder
	methods.WriteString("package clerk\n\ntype Wide struct{}\n")
	for i := range maxMethods + 1 {
		fmt.Fprintf(&methods, "func (*Wide) m%d() {}\n", i)
	}
	packages, err := readHouse(fstest.MapFS{
		"domain/clerk/a.go":      {Data: []byte(long)},
		"domain/clerk/b.go":      {Data: []byte(methods.String())},
		"domain/clerk/c_test.go": {Data: []byte("package clerk\n\nfunc TestLong() {\n" + strings.Repeat("\t_ = 1\n", maxFunc) + "}\n")},
		"domain/clerk/d.go":      {Data: []byte("package clerk\n\nvar Used, Unused int\n\nfunc (*Wide) Called() {}\n\nfunc (*Wide) Uncalled() {}\n")},
		"domain/node/a.go":       {Data: []byte("package node\n\nvar _ = clerk.Used + clerk.New().Called() + new(clerk.Wide)\n")},
		"adapters/x/a.go":        {Data: []byte("package x\n" + strings.Repeat("\n", maxLines+10))},
		"api/v1/a.go":            {Data: []byte("// Code generated by a test. DO NOT EDIT.\npackage v1\n" + strings.Repeat("\n", maxLines+10))},
		"cmd/internal/x/a.go":    {Data: []byte("package x\n" + strings.Repeat("\n", maxLines+10))},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(append(tooLarge(packages), unused(packages)...), "\n")
	for _, want := range []string{"domain/clerk: the function long has 102 lines", "domain/clerk: the type Wide has 23 methods", "cmd/internal/x has 3011 lines",
		"domain/clerk: Unused is exported", "domain/clerk: Wide.Uncalled is exported"} {
		if !strings.Contains(got, want) {
			t.Errorf("not found: %s, in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != 5 {
		t.Errorf("%d found, not 5:\n%s", n, got)
	}
}
