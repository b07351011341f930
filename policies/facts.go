package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/chirograph/chirograph/domain/decision"
)

// keys are buffers for the JSON of facts, which is the key of the memo. A call has one until it
// returns.
var keys = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// checkClocks refuses facts without a correct clock for each zone where the recipient may be.
// The packs compare times as text, and "8:00" would sort after "20:00".
func checkClocks(f *decision.Facts) error {
	for _, p := range f.Recipient.Places {
		if _, ok := f.Clocks[p.Zone]; !ok && p.Zone != "" {
			return fmt.Errorf("the facts have no clock for zone %q", p.Zone)
		}
	}
	for zone, c := range f.Clocks {
		m, ok := minute(c.Time)
		if _, err := time.Parse(time.DateOnly, c.Date); err != nil || !ok || m == 24*60 || c.Weekday < 1 || c.Weekday > 7 {
			return fmt.Errorf("the facts' clock for zone %q is not a local date, time and weekday", zone)
		}
	}
	return nil
}

// The generated file has appendFacts, which writes the JSON of facts, octet for octet as
// encoding/json does, and objectFacts, which makes OPA's value of them without a parser in
// between. They call the functions below.
//
//go:generate go run ./internal/encoders facts.gen.go

func appendStrings(b []byte, list []string) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, _ := json.Marshal(s) // a string always has a JSON form
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendObjects appends a list of structs, each by one.
func appendObjects[T any](b []byte, list []T, one func([]byte, T) []byte) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, v)
	}
	return append(b, ']')
}

// appendMap appends structs by name, in the order of the names, each by one.
func appendMap[T any](b []byte, m map[string]T, one func([]byte, T) []byte) []byte {
	if m == nil {
		return append(b, "null"...)
	}
	var few [8]string // most recipients may be in no more zones
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(append(appendString(b, name), ':'), m[name])
	}
	return append(b, '}')
}

func stringsTerm(list []string) *ast.Term {
	if list == nil {
		return ast.InternedNullTerm
	}
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = ast.InternedTerm(s)
	}
	return ast.ArrayTerm(terms...)
}

func objectsTerm[T any](list []T, object func(T) ast.Object) *ast.Term {
	if list == nil {
		return ast.InternedNullTerm
	}
	terms := make([]*ast.Term, len(list))
	for i, v := range list {
		terms[i] = ast.NewTerm(object(v))
	}
	return ast.ArrayTerm(terms...)
}

func mapTerm[T any](m map[string]T, object func(T) ast.Object) *ast.Term {
	if m == nil {
		return ast.InternedNullTerm
	}
	items := make([][2]*ast.Term, 0, len(m))
	for name, v := range m {
		items = append(items, ast.Item(ast.InternedTerm(name), ast.NewTerm(object(v))))
	}
	return ast.ObjectTerm(items...)
}
