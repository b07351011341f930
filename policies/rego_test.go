package policies

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"path"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/tester"
)

// TestPacks runs the packs' own tests, and wants every line of them reached.
func TestPacks(t *testing.T) {
	packs := builtinFS(t)
	b, err := readBundle(packs, nil)
	if err != nil {
		t.Fatal(err)
	}
	modules := maps.Clone(b.modules)
	for _, name := range regoFiles(t, packs) {
		content, err := fs.ReadFile(packs, name)
		if err != nil {
			t.Fatal(err)
		}
		formatted, err := format.Source(name, content)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(formatted, content) {
			t.Errorf("%s is not formatted as opa fmt would", name)
		}
		if strings.HasSuffix(name, "_test.rego") {
			if modules[name], err = ast.ParseModule(name, string(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	reached := cover.New()
	results, err := tester.NewRunner().
		SetCompiler(compiler().WithRewriteTestRules(true)).
		SetStore(b.store()).
		SetModules(modules).
		RaiseBuiltinErrors(true).
		SetCoverageQueryTracer(reached).
		RunTests(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for r := range results {
		n++
		if !r.Pass() {
			t.Errorf("%s.%s: %v", r.Package, r.Name, r)
		}
	}
	if n < 30 {
		t.Errorf("only %d of the packs' tests ran", n)
	}
	for name, file := range reached.Report(b.modules).Files {
		for _, lines := range file.NotCovered {
			if _, ours := b.modules[name]; ours {
				t.Errorf("%s:%d-%d is reached by no test", name, lines.Start.Row, lines.End.Row)
			}
		}
	}
}

// TestPacksWithTheStockProgram runs the packs' tests as `opa test policies/packs` does: with its own
// loader of files, which puts the parameters under the name of their folder.
func TestPacksWithTheStockProgram(t *testing.T) {
	loaded, err := loader.NewFileLoader().All([]string{"packs"})
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]*ast.Module{}
	for name, m := range loaded.Modules {
		modules[name] = m.Parsed
	}
	store, err := loaded.Store()
	if err != nil {
		t.Fatal(err)
	}
	results, err := tester.NewRunner().SetStore(store).SetModules(modules).RunTests(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for r := range results {
		n++
		if !r.Pass() {
			t.Errorf("%s.%s fails: %v", r.Package, r.Name, r)
		}
	}
	if n < 30 {
		t.Errorf("only %d of the packs' tests ran", n)
	}
}

func builtinFS(t testing.TB) fs.FS {
	t.Helper()
	packs, err := fs.Sub(builtin, "packs")
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

func regoFiles(t testing.TB, fsys fs.FS) (names []string) {
	t.Helper()
	err := fs.WalkDir(fsys, ".", func(name string, _ fs.DirEntry, err error) error {
		if path.Ext(name) == ".rego" {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
