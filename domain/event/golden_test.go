package event

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write missing golden files, docs/events.md and docs/schemas")

// The golden files are a promise: what they hold was written into ledgers. -update
// adds what is missing and never changes one.
func TestGolden(t *testing.T) {
	seen := map[Type]bool{}
	files := map[string]*Event{}
	for _, e := range examples() {
		files[string(e.Data.Type())] = e
	}
	for level, all := range laterExamples() {
		for _, e := range all {
			files[fmt.Sprintf("%s.level%d", e.Data.Type(), level)] = e
		}
	}
	for file, e := range files {
		typ := e.Data.Type()
		seen[typ] = true
		raw, err := Encode(e)
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		name := filepath.Join("testdata", "golden", file+".json")
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
	had, _ := filepath.Glob("testdata/golden/*.json")
	for _, f := range had {
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

// Every field is set in an example of its type, so that each is in a golden file.
func TestExamplesAreFull(t *testing.T) {
	later := map[Type][]reflect.Value{}
	for _, all := range laterExamples() {
		for _, e := range all {
			later[e.Data.Type()] = append(later[e.Data.Type()], reflect.ValueOf(e.Data).Elem())
		}
	}
	for _, e := range examples() {
		v := reflect.ValueOf(e.Data).Elem()
		for i := range v.NumField() {
			if v.Field(i).IsZero() && !slices.ContainsFunc(later[e.Data.Type()], func(l reflect.Value) bool { return !l.Field(i).IsZero() }) {
				t.Errorf("%s: the example leaves %s empty", e.Data.Type(), v.Type().Field(i).Name)
			}
		}
	}
}
