package chirograph_test

import (
	"os"
	"path"
	"regexp"
	"slices"
	"testing"
)

// functionName is a function or method as docs/life.md names it: package.Func or package.Type.Method.
var functionName = regexp.MustCompile("`([a-z0-9]+)\\.([A-Za-z]+(?:\\.[A-Za-z]+)?)`")

// TestLife: every function that docs/life.md and docs/architecture.md name exists.
func TestLife(t *testing.T) {
	packages, err := readHouse(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string][]*housePackage{}
	for folder, h := range packages {
		if len(h.files) > 0 {
			byName[path.Base(folder)] = append(byName[path.Base(folder)], h)
		}
	}
	for _, doc := range []string{"docs/life.md", "docs/architecture.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		named := 0
		for _, m := range functionName.FindAllStringSubmatch(string(text), -1) {
			if len(byName[m[1]]) == 0 || slices.Contains([]string{"go", "db"}, m[2]) {
				continue // a file, or no package of ours
			}
			if !slices.ContainsFunc(byName[m[1]], func(h *housePackage) bool { return h.funcs[m[2]] > 0 || h.exports[m[2]] != "" }) {
				t.Errorf("%s names %s.%s, and there is none", doc, m[1], m[2])
			}
			named++
		}
		if named < 10 {
			t.Errorf("%s: %d functions are named; the test does not find them", doc, named)
		}
	}
}
