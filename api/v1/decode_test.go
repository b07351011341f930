package v1

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/api/door"
)

func TestDecodeRefuses(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for name, c := range map[string]struct{ body, code, pointer string }{
		"empty":                   {"", "malformed_json", ""},
		"only space":              {" \n", "malformed_json", ""},
		"no json":                 {"to=1", "malformed_json", ""},
		"byte order mark":         {"\ufeff{}", "malformed_json", ""},
		"cut":                     {`{"to":"+1"`, "malformed_json", ""},
		"cut before a number":     {`{"priority":`, "malformed_json", "/priority"},
		"cut before a time":       {`{"send_at":`, "malformed_json", "/send_at"},
		"cut before a value":      {`{"x":`, "malformed_json", "/x"},
		"cut in a text":           {`{"to":"+1`, "malformed_json", "/to"},
		"cut in an escape":        {`{"to":"\`, "malformed_json", "/to"},
		"single quotes":           {`{'to':1}`, "malformed_json", ""},
		"trailing comma":          {`{"to":"a","body":"b",}`, "malformed_json", ""},
		"no colon":                {`{"to" "a"}`, "malformed_json", ""},
		"bad literal":             {`{"to":nul}`, "malformed_json", "/to"},
		"bad escape":              {`{"to":"\x"}`, "malformed_json", "/to"},
		"bad hex":                 {`{"to":"\u00g0"}`, "malformed_json", "/to"},
		"raw control character":   {"{\"to\":\"a\nb\"}", "malformed_json", "/to"},
		"leading zero":            {`{"priority":01,"to":"a","body":"b"}`, "malformed_json", ""},
		"plus sign":               {`{"priority":+1}`, "malformed_json", "/priority"},
		"bare minus":              {`{"priority":-}`, "malformed_json", "/priority"},
		"junk inside an unknown":  {`{"x":[1,}`, "malformed_json", "/x"},
		"second object":           {`{"to":"a","body":"b"}{}`, "trailing_data", ""},
		"trailing letter":         {`{"to":"a","body":"b"} x`, "trailing_data", ""},
		"list":                    {`[]`, "wrong_type", ""},
		"text":                    {`"a"`, "wrong_type", ""},
		"null":                    {`null`, "null_not_allowed", ""},
		"duplicate":               {`{"to":"a","to":"a","body":"b"}`, "duplicate_field", "/to"},
		"duplicate by escape":     {`{"to":"a","\u0074o":"a","body":"b"}`, "duplicate_field", "/to"},
		"duplicate in metadata":   {`{"metadata":{"a/~b":"1","a/~b":"1"}}`, "duplicate_field", "/metadata/a~1~0b"},
		"unknown":                 {`{"to":"a","body":"b","Bodi":1}`, "unknown_field", "/Bodi"},
		"other case":              {`{"To":"a","body":"b"}`, "unknown_field", "/To"},
		"empty name":              {`{"":1}`, "unknown_field", "/"},
		"missing":                 {`{"to":"a"}`, "missing_field", "/body"},
		"missing all":             {`{}`, "missing_field", "/body"},
		"number for text":         {`{"to":14155550123}`, "wrong_type", "/to"},
		"object for text":         {`{"to":{"a":1}}`, "wrong_type", "/to"},
		"text for number":         {`{"priority":"5"}`, "wrong_type", "/priority"},
		"fraction":                {`{"priority":5.0}`, "wrong_type", "/priority"},
		"exponent":                {`{"priority":5e0}`, "wrong_type", "/priority"},
		"bool for number":         {`{"priority":true}`, "wrong_type", "/priority"},
		"text for metadata":       {`{"metadata":"a"}`, "wrong_type", "/metadata"},
		"number in metadata":      {`{"metadata":{"a":1}}`, "wrong_type", "/metadata/a"},
		"too large":               {`{"priority":99999999999999999999}`, "out_of_range", "/priority"},
		"null field":              {`{"from":null,"to":"a","body":"b"}`, "null_not_allowed", "/from"},
		"null number":             {`{"priority":null}`, "null_not_allowed", "/priority"},
		"null metadata":           {`{"metadata":null}`, "null_not_allowed", "/metadata"},
		"null in metadata":        {`{"metadata":{"a":null}}`, "null_not_allowed", "/metadata/a"},
		"time in words":           {`{"send_at":"tomorrow"}`, "invalid_time", "/send_at"},
		"time without zone":       {`{"send_at":"2026-11-24T10:00:00"}`, "invalid_time", "/send_at"},
		"time as number":          {`{"send_at":1790000000}`, "wrong_type", "/send_at"},
		"invalid UTF-8":           {"{\"to\":\"\xff\"}", "invalid_utf8", "/to"},
		"overlong UTF-8":          {"{\"to\":\"\xc0\x80\"}", "invalid_utf8", "/to"},
		"invalid UTF-8 in a name": {"{\"\xff\":1}", "invalid_utf8", ""},
		"invalid after escape":    {"{\"to\":\"\\n\xff\"}", "invalid_utf8", "/to"},
		"surrogate as bytes":      {"{\"to\":\"\xed\xa0\x80\"}", "invalid_utf8", "/to"},
		"high surrogate alone":    {`{"to":"\ud83d"}`, "invalid_utf8", "/to"},
		"low surrogate alone":     {`{"to":"\ude00"}`, "invalid_utf8", "/to"},
		"surrogates swapped":      {`{"to":"\ude00\ud83d"}`, "invalid_utf8", "/to"},
		"surrogate, then text":    {`{"to":"\ud83dabcdef"}`, "invalid_utf8", "/to"},
		"bomb in an unknown":      {`{"x":` + deep(8) + `}`, "nested_too_deep", "/x"},
		"seven levels are fine":   {`{"x":` + deep(7) + `}`, "unknown_field", "/x"},
		"bomb in a text":          {`{"to":` + deep(200_000) + `}`, "nested_too_deep", "/to"},
		"bomb alone":              {strings.Repeat("[", 500_000), "nested_too_deep", ""},
		"bomb of objects":         {strings.Repeat(`{"metadata":`, 50_000), "malformed_json", "/metadata/metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "bomb of objects" {
				c.code = "nested_too_deep" // the third object is no text, so it is passed over and is found too deep
			}
			var into SubmitRequest
			err := decode([]byte(c.body), &into)
			var p *door.Problem
			if !errors.As(err, &p) {
				t.Fatalf("got %v, want %s", err, c.code)
			}
			if p.Code != c.code || name != "bomb of objects" && p.Pointer != c.pointer {
				t.Errorf("got %s at %q, want %s at %q", p.Code, p.Pointer, c.code, c.pointer)
			}
		})
	}
}

const wholeSubmit = `{"to":"4155550123","country":"US","body":"Your code is \u00e9\ud83d\ude00 \"482913\".\n","from":"+14155550199","program":"account",
 "purpose":"account","priority":6,"reference":"visit-3107","send_at":"2026-11-26T15:00:00.5Z","valid_for":"12h","metadata":{"clinic":"north","é":""}}`

func TestDecodeReads(t *testing.T) {
	var got SubmitRequest
	if err := decode([]byte(wholeSubmit), &got); err != nil {
		t.Fatal(err)
	}
	var want SubmitRequest
	if err := json.Unmarshal([]byte(wholeSubmit), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || got.Body != "Your code is é😀 \"482913\".\n" || *got.Priority != 6 {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	var check CheckRequest
	if err := decode([]byte(`{"numbers":["a","b"],"purpose":"otp"}`), &check); err != nil || len(check.Numbers) != 2 || check.Purpose != PurposeOtp {
		t.Errorf("%+v, %v", check, err)
	}
	if err := decode([]byte(`{"numbers":["a",3]}`), &check); asProblem(err).Pointer != "/numbers/1" {
		t.Errorf("a wrong element is at %v", err)
	}
	if err := decode([]byte(`{"numbers":[],"purpose":"fun"}`), &check); asProblem(err).Code != "invalid_value" {
		t.Errorf("a purpose that there is not gives %v", err)
	}
}

// FuzzDecodeSubmit: what decode takes, encoding/json takes with the same meaning,
// and what comes back can be written and read again.
func FuzzDecodeSubmit(f *testing.F) {
	for _, s := range []string{wholeSubmit, `{"to":"+1","body":"a"}`, `{}`, `{"to":"\ud83d\ude00","body":"\u0000"}`, `{"metadata":{"a":"b","a":"c"}}`,
		`{"to":"a","body":"b","priority":-0}`, "{\"to\":\"\xff\",\"body\":\"\"}", `{"x":[[[[[[[[[]]]]]]]]]}`, ` { "to" : "" , "body" : "" } `,
		`{"to":"a","body":"b","send_at":"2026-11-26T24:00:00Z"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var got SubmitRequest
		if err := decode(raw, &got); err != nil {
			if code := asProblem(err).Code; !slices.ContainsFunc(door.Kinds(), func(k door.Kind) bool { return k.Code == code }) {
				t.Fatalf("%v is not in the table", err)
			}
			return
		}
		var want SubmitRequest
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatalf("taken, but encoding/json says %v", err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
		again, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back SubmitRequest
		if err := decode(again, &back); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
	})
}

func BenchmarkDecodeSubmit(b *testing.B) {
	raw := []byte(`{"to":"+14155550123","body":"Your code is 482913.","program":"otp","reference":"visit-3107","valid_for":"12h","metadata":{"clinic":"north"}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		var r SubmitRequest
		if err := decode(raw, &r); err != nil {
			b.Fatal(err)
		}
	}
}

// asProblem is the problem that an error is; one without a code when it is none.
func asProblem(err error) *door.Problem {
	p := &door.Problem{}
	errors.As(err, &p)
	return p
}
