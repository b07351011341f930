package v1

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/chirograph/chirograph/api/door"
)

const (
	// maxBytes bounds a request's body.
	maxBytes = 1 << 20
	// maxDepth bounds how deep its objects and lists may stand in one another.
	maxDepth = 8
)

// binder reads every body of the generated handlers through decode.
type binder struct{}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (binder) Bind(into any, c echo.Context) error {
	r := c.Request()
	if err := checkMediaType(r.Header); err != nil {
		return err
	}
	if r.ContentLength > maxBytes {
		return errTooLarge
	}
	b := buffers.Get().(*bytes.Buffer)
	b.Reset()
	defer buffers.Put(b) // decode keeps nothing of it
	n, err := b.ReadFrom(io.LimitReader(r.Body, maxBytes+1))
	if err != nil {
		return &door.Problem{Code: "malformed_json", Detail: "The body ended before it was complete.", Cause: err}
	}
	if n > maxBytes {
		return errTooLarge
	}
	return decode(b.Bytes(), into)
}

var errTooLarge = &door.Problem{Code: "body_too_large", Detail: "The body is larger than 1 MiB. Divide it over several calls."}

func checkMediaType(h http.Header) error {
	t := h.Get("Content-Type")
	if t != "application/json" {
		base, params, err := mime.ParseMediaType(t)
		if err != nil || base != "application/json" || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
			return door.Refuse("unsupported_media_type", "", "Send the body as application/json in UTF-8.")
		}
	}
	if e := h.Get("Content-Encoding"); e != "" && e != "identity" {
		return door.Refuse("unsupported_media_type", "", "Send the body without a Content-Encoding.")
	}
	return nil
}

// decode reads exactly one JSON object (RFC 8259) into a generated struct, and is
// stricter than encoding/json: names are exact, each stands once and is known,
// required ones are there, nothing is null, all text is valid Unicode, and nothing
// follows. Whatever it takes, encoding/json takes with the same meaning (a fuzz
// target holds it to that). Each way to be wrong is a problem of its own with a
// pointer to the field; none quotes a value.
func decode(raw []byte, into any) error {
	v := reflect.ValueOf(into).Elem()
	d := decoder{b: raw}
	d.space()
	if d.i == len(raw) {
		return door.Refuse("malformed_json", "", "The body is empty; send a JSON object.")
	}
	if p := d.value(shapeOf(v.Type()), v); p != nil {
		return p
	}
	d.space()
	if d.i != len(raw) {
		return door.Refuse("trailing_data", "", "Something follows the JSON object; send exactly one.")
	}
	return nil
}

// shape is what a Go type takes of JSON, worked out once a type.
type shape struct {
	kind     shapeKind
	elem     *shape // of a list, a dict or a pointer
	elemType reflect.Type
	names    map[string]int // of an object: index into fields
	fields   []fieldShape
	required uint64
	enum     bool // the type has a Valid method
}

type fieldShape struct {
	name  string
	index int
	shape *shape
}

type shapeKind uint8

const (
	shapeText shapeKind = iota
	shapeInt
	shapeBool
	shapeTime
	shapeList
	shapeDict
	shapeObject
	shapePointer
)

var (
	shapes   sync.Map // reflect.Type → *shape; one for each generated type
	timeType = reflect.TypeFor[time.Time]()
	enumType = reflect.TypeFor[interface{ Valid() bool }]()
)

func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := &shape{enum: t.Implements(enumType)}
	switch {
	case t == timeType:
		s.kind = shapeTime
	case t.Kind() == reflect.String:
		s.kind = shapeText
	case t.Kind() == reflect.Int:
		s.kind = shapeInt
	case t.Kind() == reflect.Bool:
		s.kind = shapeBool
	case t.Kind() == reflect.Slice:
		s.kind, s.elem, s.elemType = shapeList, shapeOf(t.Elem()), t.Elem()
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String && t.Elem().Kind() == reflect.String:
		s.kind = shapeDict
	case t.Kind() == reflect.Pointer:
		s.kind, s.elem, s.elemType = shapePointer, shapeOf(t.Elem()), t.Elem()
	case t.Kind() == reflect.Struct:
		s.kind, s.names = shapeObject, map[string]int{}
		for i := range t.NumField() {
			name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if options == "" {
				s.required |= 1 << len(s.fields)
			}
			s.names[name] = len(s.fields)
			s.fields = append(s.fields, fieldShape{name, i, shapeOf(t.Field(i).Type)})
		}
		if len(s.fields) > 64 {
			panic("v1: " + t.String() + " has more than 64 fields")
		}
	default:
		panic("v1: no JSON shape for " + t.String())
	}
	shapes.Store(t, s)
	return s
}

type decoder struct {
	b     []byte
	i     int
	depth int
}

func (d *decoder) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

// next passes space and returns the byte there; 0 at the end.
func (d *decoder) next() byte {
	d.space()
	if d.i == len(d.b) {
		return 0
	}
	return d.b[d.i]
}

func (d *decoder) malformed() *door.Problem {
	if d.i >= len(d.b) {
		return door.Refuse("malformed_json", "", "The body ends in the middle; it is not JSON.")
	}
	return door.Refuse("malformed_json", "", "The body is not JSON at byte "+strconv.Itoa(d.i)+".")
}

var errDeep = door.Refuse("nested_too_deep", "", "The body is nested deeper than 8 levels.")

// at puts a name before the pointer of a problem on its way out.
func at(p *door.Problem, name string) *door.Problem {
	q := *p
	q.Pointer = "/" + pointerName.Replace(name) + p.Pointer
	return &q
}

var pointerName = strings.NewReplacer("~", "~0", "/", "~1") // RFC 6901 §3

func (d *decoder) value(s *shape, v reflect.Value) *door.Problem {
	c := d.next()
	if c == 'n' && s.kind != shapePointer {
		if p := d.literal("null"); p != nil {
			return p
		}
		return door.Refuse("null_not_allowed", "", "The field is null; leave it out instead.")
	}
	switch s.kind {
	case shapePointer:
		e := reflect.New(s.elemType)
		if p := d.value(s.elem, e.Elem()); p != nil {
			return p
		}
		v.Set(e)
		return nil
	case shapeObject:
		if c == '{' {
			return d.object(s, v)
		}
		return d.wrong("an object")
	case shapeText:
		if c != '"' {
			return d.wrong("a text")
		}
		t, p := d.text()
		if p != nil {
			return p
		}
		v.SetString(t)
		if s.enum && !v.Interface().(interface{ Valid() bool }).Valid() {
			return door.Refuse("invalid_value", "", "The field has only a few possible values; see /docs.")
		}
		return nil
	case shapeTime:
		if c != '"' {
			return d.wrong("a time, as text")
		}
		t, p := d.text()
		if p != nil {
			return p
		}
		if v.Addr().Interface().(*time.Time).UnmarshalText([]byte(t)) != nil {
			return door.Refuse("invalid_time", "", "Write the time as RFC 3339 says, such as 2026-11-26T15:00:00Z.")
		}
		return nil
	case shapeInt:
		return d.integer(c, v)
	case shapeBool:
		switch c {
		case 't':
			v.SetBool(true)
			return d.literal("true")
		case 'f':
			v.SetBool(false)
			return d.literal("false")
		}
		return d.wrong("true or false")
	case shapeList:
		if c != '[' {
			return d.wrong("a list")
		}
		return d.list(s, v)
	default: // shapeDict
		if c != '{' {
			return d.wrong("an object of texts")
		}
		return d.dict(v)
	}
}

func (d *decoder) object(s *shape, v reflect.Value) *door.Problem {
	var seen uint64
	p := d.members(func(key []byte) *door.Problem {
		n, ok := s.names[string(key)]
		if !ok {
			// A value that is no JSON, or a bomb, says so first.
			if p := d.skip(); p != nil {
				return at(p, string(key))
			}
			return at(door.Refuse("unknown_field", "", "There is no field of this name here; see /docs."), string(key))
		}
		f := &s.fields[n]
		if seen&(1<<n) != 0 {
			return at(door.Refuse("duplicate_field", "", "The field is there twice; send it once."), f.name)
		}
		seen |= 1 << n
		if p := d.value(f.shape, v.Field(f.index)); p != nil {
			return at(p, f.name)
		}
		return nil
	})
	if p != nil {
		return p
	}
	if missing := s.required &^ seen; missing != 0 {
		for i := range s.fields {
			if missing&(1<<i) != 0 {
				return door.Refuse("missing_field", "/"+s.fields[i].name, "The field is required.")
			}
		}
	}
	return nil
}

// members reads an object; member finds the value where the decoder stands.
func (d *decoder) members(member func(key []byte) *door.Problem) *door.Problem {
	if d.depth++; d.depth > maxDepth {
		return errDeep
	}
	d.i++ // {
	if d.next() == '}' {
		d.i++
		d.depth--
		return nil
	}
	for {
		if d.next() != '"' {
			return d.malformed()
		}
		key, p := d.textBytes()
		if p != nil {
			return p
		}
		if d.next() != ':' {
			return d.malformed()
		}
		d.i++
		if p := member(key); p != nil {
			return p
		}
		switch d.next() {
		case ',':
			d.i++
		case '}':
			d.i++
			d.depth--
			return nil
		default:
			return d.malformed()
		}
	}
}

// elements reads a list in the same way.
func (d *decoder) elements(element func(i int) *door.Problem) *door.Problem {
	if d.depth++; d.depth > maxDepth {
		return errDeep
	}
	d.i++ // [
	if d.next() == ']' {
		d.i++
		d.depth--
		return nil
	}
	for i := 0; ; i++ {
		if p := element(i); p != nil {
			return p
		}
		switch d.next() {
		case ',':
			d.i++
		case ']':
			d.i++
			d.depth--
			return nil
		default:
			return d.malformed()
		}
	}
}

func (d *decoder) list(s *shape, v reflect.Value) *door.Problem {
	out := reflect.MakeSlice(v.Type(), 0, 4)
	p := d.elements(func(i int) *door.Problem {
		out = reflect.Append(out, reflect.Zero(s.elemType))
		if p := d.value(s.elem, out.Index(i)); p != nil {
			return at(p, strconv.Itoa(i))
		}
		return nil
	})
	v.Set(out)
	return p
}

func (d *decoder) dict(v reflect.Value) *door.Problem {
	out := map[string]string{}
	p := d.members(func(k []byte) *door.Problem {
		key := string(k)
		if _, twice := out[key]; twice {
			return at(door.Refuse("duplicate_field", "", "The field is there twice; send it once."), key)
		}
		switch d.next() {
		case '"':
		case 'n':
			if p := d.literal("null"); p != nil {
				return at(p, key)
			}
			return at(door.Refuse("null_not_allowed", "", "The field is null; leave it out instead."), key)
		default:
			return at(d.wrong("a text"), key)
		}
		t, p := d.text()
		if p != nil {
			return at(p, key)
		}
		out[key] = t
		return nil
	})
	v.Set(reflect.ValueOf(out).Convert(v.Type()))
	return p
}

// wrong is a value of another type than the field takes; if it is no JSON at all,
// or a bomb, that is said instead.
func (d *decoder) wrong(want string) *door.Problem {
	if p := d.skip(); p != nil {
		return p
	}
	return door.Refuse("wrong_type", "", "It must be "+want+".")
}

// skip passes one value of any type.
func (d *decoder) skip() *door.Problem {
	switch c := d.next(); c {
	case '{':
		return d.members(func([]byte) *door.Problem { return d.skip() })
	case '[':
		return d.elements(func(int) *door.Problem { return d.skip() })
	case '"':
		_, p := d.textBytes()
		return p
	case 't':
		return d.literal("true")
	case 'f':
		return d.literal("false")
	case 'n':
		return d.literal("null")
	default:
		if _, ok := d.number(); !ok {
			return d.malformed()
		}
		return nil
	}
}

func (d *decoder) literal(word string) *door.Problem {
	if !bytes.HasPrefix(d.b[d.i:], []byte(word)) {
		return d.malformed()
	}
	d.i += len(word)
	return nil
}

// number passes one number (RFC 8259 §6) and returns it.
func (d *decoder) number() ([]byte, bool) {
	start := d.i
	digits := func() bool {
		from := d.i
		for d.i < len(d.b) && '0' <= d.b[d.i] && d.b[d.i] <= '9' {
			d.i++
		}
		return d.i > from
	}
	is := func(c byte) bool { return d.i < len(d.b) && d.b[d.i] == c }
	if is('-') {
		d.i++
	}
	if is('0') {
		d.i++
	} else if !digits() {
		return nil, false
	}
	if is('.') {
		d.i++
		if !digits() {
			return nil, false
		}
	}
	if is('e') || is('E') {
		d.i++
		if is('+') || is('-') {
			d.i++
		}
		if !digits() {
			return nil, false
		}
	}
	return d.b[start:d.i], true
}

func (d *decoder) integer(c byte, v reflect.Value) *door.Problem {
	if c != '-' && (c < '0' || c > '9') {
		return d.wrong("a whole number")
	}
	text, ok := d.number()
	if !ok {
		return d.malformed()
	}
	if bytes.ContainsAny(text, ".eE") {
		return door.Refuse("wrong_type", "", "It must be a whole number, without a fraction or an exponent.")
	}
	n, err := strconv.ParseInt(string(text), 10, strconv.IntSize)
	if err != nil {
		return door.Refuse("out_of_range", "", "The number is too large.")
	}
	v.SetInt(n)
	return nil
}

func (d *decoder) text() (string, *door.Problem) {
	b, p := d.textBytes()
	return string(b), p
}

// textBytes passes a string and returns it without escapes. Without any it is a
// piece of the input.
func (d *decoder) textBytes() ([]byte, *door.Problem) {
	d.i++ // "
	start := d.i
	ascii := true
	for d.i < len(d.b) {
		switch c := d.b[d.i]; {
		case c == '"':
			t := d.b[start:d.i]
			if !ascii && !utf8.Valid(t) {
				return nil, errText
			}
			d.i++
			return t, nil
		case c == '\\':
			return d.escaped(start)
		case c < 0x20:
			return nil, d.malformed()
		case c >= utf8.RuneSelf:
			ascii = false
		}
		d.i++
	}
	return nil, d.malformed()
}

var errText = door.Refuse("invalid_utf8", "", "The text is not valid Unicode: send UTF-8, and escapes of characters past U+FFFF in pairs.")

func (d *decoder) escaped(start int) ([]byte, *door.Problem) {
	out := append(make([]byte, 0, d.i-start+64), d.b[start:d.i]...)
	for d.i < len(d.b) {
		c := d.b[d.i]
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return nil, errText
			}
			d.i++
			return out, nil
		case c < 0x20:
			return nil, d.malformed()
		case c != '\\':
			out = append(out, c)
			d.i++
			continue
		}
		d.i++
		if d.i == len(d.b) {
			return nil, d.malformed()
		}
		switch c := d.b[d.i]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := d.hex4(d.i + 1)
			if !ok {
				return nil, d.malformed()
			}
			d.i += 4
			if utf16.IsSurrogate(r) {
				var low rune
				if bytes.HasPrefix(d.b[d.i+1:], []byte(`\u`)) {
					low, _ = d.hex4(d.i + 3)
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return nil, errText
				}
				d.i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			return nil, d.malformed()
		}
		d.i++
	}
	return nil, d.malformed()
}

func (d *decoder) hex4(at int) (r rune, ok bool) {
	if at+4 > len(d.b) {
		return 0, false
	}
	for _, c := range d.b[at : at+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
