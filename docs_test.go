package chirograph_test

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	requirement = regexp.MustCompile(`(?m)^(?:require )?\t?(\S+\.\S+/\S+) (v\S+)( // indirect)?$`)
	// dependency is a row of a table in docs/dependencies.md: module, version and why.
	dependency = regexp.MustCompile(`(?m)^\| (\S+\.\S+/\S+) \| (v\S+) \| (\S.*?) \|$`)
	metricName = regexp.MustCompile(`"(chirograph_[a-z_]+)"`)
	metricRow  = regexp.MustCompile("(?m)^\\| `(chirograph_[a-z_]+)` \\| ")
	link       = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
)

// TestDependencies: each module that go.mod asks for itself is in docs/dependencies.md, in
// the same version and with a reason, and no other; the tools too.
func TestDependencies(t *testing.T) {
	want := map[string]string{}
	for _, r := range requirement.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		if r[3] == "" {
			want[r[1]] = r[2]
		}
	}
	if len(want) < 10 {
		t.Fatalf("go.mod was not understood: %v", want)
	}
	// A tool's version is "indirect" in the go.mod of its own.
	for file, tool := range map[string]string{".ci/tools/go.mod": "github.com/golangci/golangci-lint/v2",
		"api/v1/codegen/go.mod": "github.com/oapi-codegen/oapi-codegen/v2"} {
		for _, r := range requirement.FindAllStringSubmatch(read(t, file), -1) {
			if r[1] == tool {
				want[tool] = r[2]
			}
		}
	}
	got := map[string]string{}
	for _, r := range dependency.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		got[r[1]] = r[2]
	}
	for _, m := range slices.Sorted(maps.Keys(want)) {
		if got[m] != want[m] {
			t.Errorf("docs/dependencies.md has %s in version %q; it is %s", m, got[m], want[m])
		}
	}
	for _, m := range slices.Sorted(maps.Keys(got)) {
		if want[m] == "" {
			t.Errorf("docs/dependencies.md has %s, which no go.mod asks for", m)
		}
	}
}

// TestMetrics: whoever is woken by a metric finds it in docs/operations.md.
func TestMetrics(t *testing.T) {
	code, docs := map[string]bool{}, map[string]bool{}
	for _, folder := range []string{"cmd", "api"} {
		err := fs.WalkDir(os.DirFS("."), folder, func(p string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(p, ".go") && !strings.HasSuffix(p, "_test.go") {
				for _, m := range metricName.FindAllStringSubmatch(read(t, p), -1) {
					code[m[1]] = true
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range metricRow.FindAllStringSubmatch(read(t, "docs/operations.md"), -1) {
		docs[m[1]] = true
	}
	if !maps.Equal(code, docs) {
		t.Errorf("the code has the metrics\n%v,\ndocs/operations.md\n%v", slices.Sorted(maps.Keys(code)), slices.Sorted(maps.Keys(docs)))
	}
}

// TestLinks: what a document points to is there.
func TestLinks(t *testing.T) {
	files, err := fs.Glob(os.DirFS("."), "docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "README.md", "CONTRIBUTING.md", "CHANGELOG.md") {
		links := 0
		for _, m := range link.FindAllStringSubmatch(read(t, file), -1) {
			links++
			if _, err := os.Stat(path.Join(path.Dir(file), m[1])); err != nil {
				t.Errorf("%s points to %s, which is not there", file, m[1])
			}
		}
		if file == "README.md" && links < 5 {
			t.Errorf("%d links of README.md were found", links)
		}
	}
}

var (
	anchored = regexp.MustCompile(`\]\(([^)#:\s]*)#([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	unsaid   = regexp.MustCompile("[^a-z0-9 _-]")
	named    = regexp.MustCompile(`(docs/[a-z]+\.md)#([a-z0-9_-]+)`)
)

// anchorsOf are the addresses of a document's headings.
func anchorsOf(t *testing.T, file string) (out []string) {
	t.Helper()
	for _, h := range heading.FindAllStringSubmatch(read(t, file), -1) {
		out = append(out, strings.ReplaceAll(unsaid.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return out
}

// TestAnchors: a link to a heading finds it.
func TestAnchors(t *testing.T) {
	files, err := fs.Glob(os.DirFS("."), "docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, file := range append(files, "README.md", "CONTRIBUTING.md") {
		for _, m := range anchored.FindAllStringSubmatch(read(t, file), -1) {
			links++
			to := file
			if m[1] != "" {
				to = path.Join(path.Dir(file), m[1])
			}
			if _, err := os.Stat(to); err != nil {
				continue // TestLinks says so
			}
			if !slices.Contains(anchorsOf(t, to), m[2]) {
				t.Errorf("%s points to %s#%s, and no heading there has that address", file, to, m[2])
			}
		}
	}
	if links < 20 {
		t.Errorf("%d links to headings were found", links)
	}
}

// TestAnchorsInTexts: a heading that a text of the program names is there.
func TestAnchorsInTexts(t *testing.T) {
	names := 0
	for _, folder := range []string{"cmd", "api", "domain", "adapters"} {
		err := fs.WalkDir(os.DirFS("."), folder, func(p string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(p, ".go") {
				return err
			}
			for _, m := range named.FindAllStringSubmatch(read(t, p), -1) {
				if names++; !slices.Contains(anchorsOf(t, m[1]), m[2]) {
					t.Errorf("%s names %s, and no heading there has that address", p, m[0])
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if names < 10 {
		t.Errorf("%d names of headings were found", names)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
