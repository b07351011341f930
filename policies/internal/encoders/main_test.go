package main

import (
	"bytes"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
)

// TestFileIsWhatIsGenerated: no fact was added, changed or removed without its encoders.
func TestFileIsWhatIsGenerated(t *testing.T) {
	want, err := generate(reflect.TypeFor[decision.Facts]())
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../facts.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("policies/facts.gen.go was not made from decision.Facts as it is now: run go generate ./policies")
	}
}

// What could not be encoded is refused, not left out.
func TestGenerateRefuses(t *testing.T) {
	type inner struct {
		A string `json:"a"`
	}
	type text string
	for name, facts := range map[string]any{
		"no JSON name": struct{ A string }{},
		"left out always": struct {
			A string `json:"-"`
		}{},
		"a name that JSON escapes": struct {
			A string `json:"a<b"`
		}{},
		"an option": struct {
			A int `json:"a,string"`
		}{},
		"a first field that may be left out": struct {
			A string `json:"a,omitempty"`
		}{},
		"a struct that JSON would not leave out": struct {
			A string `json:"a"`
			B inner  `json:"b,omitempty"`
		}{},
		"a text that is left out by omitzero": struct {
			A string `json:"a"`
			B string `json:"b,omitzero"`
		}{},
		"a struct in place": struct{ inner }{},
		"a number with a fraction": struct {
			A float64 `json:"a"`
		}{},
		"a type of its own": struct {
			A text `json:"a"`
		}{},
		"a pointer": struct {
			A *string `json:"a"`
		}{},
		"a list of numbers": struct {
			A []int `json:"a"`
		}{},
		"a map by number": struct {
			A map[int]inner `json:"a"`
		}{},
		"a struct of another package": struct {
			A time.Time `json:"a"`
		}{},
	} {
		// A struct without a name has no package: give the generator this one's.
		g := generator{folder: reflect.TypeFor[inner]().PkgPath(), keys: map[string]string{}, written: map[reflect.Type]bool{}}
		if err := g.structType(reflect.TypeOf(facts)); err == nil {
			t.Errorf("%s: the encoders are\n%s\nwant an error", name, &g.functions)
		}
	}
	if err := run(nil); err == nil {
		t.Error("a run without a file's name: want an error")
	}
}
