package event

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// form is the one form of an event in bytes. The methods called fields say which fields a type has, in
// which order, and the same method is used to write and to read. So what is written and what is read
// cannot differ.
//
// Reading takes only what writing writes, byte for byte. Whatever else there is, another order, a space,
// an escape that is not needed, an empty field: reading fails, also where the bytes are JSON of an event.
type form struct {
	input
	// reading says that b is read; else it is what was written so far.
	reading bool
	// err says why the event cannot be written.
	err error
}

// input is what is read, and how far. A failed reading is at the end.
type input struct {
	b      []byte
	at     int
	first  bool // whether the next field is the first one of its object
	failed bool
}

// formed is a type that says its fields.
type formed interface{ fields(*form) }

// formedBy is formed, for a pointer to T.
type formedBy[T any] interface {
	*T
	formed
}

// whole is an event with its envelope.
func (f *form) whole(e *Event) {
	f.open()
	var version string
	var kind Type
	if !f.reading {
		version, kind = "1.0", e.Data.Type()
	}
	word(f, "specversion", &version)
	f.id("id", &e.ID)
	word(f, "source", &e.Source)
	word(f, "type", &kind)
	if f.reading {
		t, ok := registry[kind]
		if !ok || version != "1.0" {
			f.fail()
			return
		}
		e.Data = t.make()
	}
	f.pseudonym("subject", &e.Subject)
	f.time("time", &e.Time)
	word(f, "tenant", &e.Tenant)
	f.id("message", &e.Message)
	f.id("after", &e.After)
	num(f, "control", &e.Control)
	word(f, "node", &e.Node)
	f.object("data", e.Data)
	f.close()
}

// fail ends reading: nothing that follows is found any more.
func (f *input) fail() { f.failed, f.at = true, len(f.b) }

// take reads one byte, which must be c.
func (f *input) take(c byte) {
	if f.at < len(f.b) && f.b[f.at] == c {
		f.at++
		return
	}
	f.fail()
}

// has reads one byte if it is c, and reports whether it was.
func (f *input) has(c byte) bool {
	if f.at < len(f.b) && f.b[f.at] == c {
		f.at++
		return true
	}
	return false
}

// name writes a field's name.
func (f *form) name(k string) {
	if !f.first {
		f.b = append(f.b, ',')
	}
	f.first = false
	f.b = append(f.b, '"')
	f.b = append(f.b, k...)
	f.b = append(f.b, '"', ':')
}

// comes reads a field's name, and reports whether it comes next: a field that does not was left out.
func (f *input) comes(k string) bool {
	at := f.at
	if !f.first {
		if at >= len(f.b) || f.b[at] != ',' {
			return false
		}
		at++
	}
	end := at + len(k) + 3
	if end > len(f.b) || f.b[at] != '"' || string(f.b[at+1:end-2]) != k || f.b[end-2] != '"' || f.b[end-1] != ':' {
		return false
	}
	f.at, f.first = end, false
	return true
}

func (f *form) open() {
	if f.first = true; f.reading {
		f.take('{')
		return
	}
	f.b = append(f.b, '{')
}

func (f *form) close() {
	if f.first = false; f.reading {
		f.take('}')
		return
	}
	f.b = append(f.b, '}')
}

// object is an object that is always there, also empty.
func (f *form) object(k string, d formed) {
	if !f.reading {
		f.name(k)
	} else if !f.comes(k) {
		f.fail()
		return
	}
	f.open()
	d.fields(f)
	f.close()
}

// optional is an object that is left out where it is nil.
func optional[T any, P formedBy[T]](f *form, k string, d *P) {
	if !f.reading {
		if *d != nil {
			f.object(k, *d)
		}
		return
	}
	if f.comes(k) {
		*d = new(T)
		f.open()
		(*d).fields(f)
		f.close()
	}
}

// list is a list of objects. An empty list is left out.
func list[T any, P formedBy[T]](f *form, k string, all *[]T) {
	f.elements(k, len(*all), func(i int) {
		if f.reading {
			*all = append(*all, *new(T))
		}
		f.open()
		P(&(*all)[i]).fields(f)
		f.close()
	})
}

// elements writes a list of n elements, one by one; reading, it calls one for each element that is there.
func (f *form) elements(k string, n int, one func(i int)) {
	if !f.reading {
		if n == 0 {
			return
		}
		f.name(k)
		for i := range n {
			if i == 0 {
				f.b = append(f.b, '[')
			} else {
				f.b = append(f.b, ',')
			}
			one(i)
		}
		f.b = append(f.b, ']')
		return
	}
	if !f.comes(k) {
		return
	}
	f.take('[')
	for i := 0; ; i++ {
		one(i)
		if !f.has(',') {
			break
		}
	}
	f.take(']')
}

// quote writes a text.
func (f *form) quote(s string) {
	if !utf8.ValidString(s) {
		f.err = errors.New("a text is not valid UTF-8")
	}
	f.b = append(f.b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		f.b = append(f.b, s[from:i]...)
		from = i + 1
		if c == '"' || c == '\\' {
			f.b = append(f.b, '\\', c)
		} else {
			f.b = append(f.b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	f.b = append(f.b, s[from:]...)
	f.b = append(f.b, '"')
}

const hexDigits = "0123456789abcdef"

// quoted reads the bytes of a text; what it returns may lie in f.b.
func (f *input) quoted() []byte {
	f.take('"')
	var or byte
	for i, c := range f.b[f.at:] {
		if c == '"' {
			s := f.b[f.at : f.at+i]
			f.at += i + 1
			if or >= utf8.RuneSelf && !utf8.Valid(s) {
				f.fail()
			}
			return s
		}
		if c < 0x20 || c == '\\' {
			return f.escaped()
		}
		or |= c
	}
	f.fail()
	return nil
}

// escaped is quoted of a text with escapes, whose quote at its beginning was read.
func (f *input) escaped() (s []byte) {
	for f.at < len(f.b) {
		c := f.b[f.at]
		f.at++
		switch {
		case c == '"':
			if !utf8.Valid(s) {
				f.fail()
			}
			return s
		case c < 0x20:
			f.fail()
		case c != '\\':
			s = append(s, c)
		case f.has('"'):
			s = append(s, '"')
		case f.has('\\'):
			s = append(s, '\\')
		default:
			if f.at+5 > len(f.b) || string(f.b[f.at:f.at+4]) != "u000" && string(f.b[f.at:f.at+4]) != "u001" {
				f.fail()
				return nil
			}
			low := bytes.IndexByte([]byte(hexDigits), f.b[f.at+4])
			if low < 0 {
				f.fail()
				return nil
			}
			s = append(s, (f.b[f.at+3]-'0')<<4|byte(low))
			f.at += 5
		}
	}
	f.fail()
	return nil
}

// str is a text that does not recur, such as a digest; an empty one is left out.
func str[S ~string](f *form, k string, s *S) {
	if !f.reading {
		if *s != "" {
			f.name(k)
			f.quote(string(*s))
		}
		return
	}
	if f.comes(k) {
		*s = S(f.quoted())
		if *s == "" {
			f.fail()
		}
	}
}

// word is a text that recurs in many events, such as a tenant; an empty one is left out.
func word[S ~string](f *form, k string, s *S) {
	if !f.reading {
		if *s != "" {
			f.name(k)
			f.quote(string(*s))
		}
		return
	}
	if f.comes(k) {
		*s = S(Shared(f.quoted()))
		if *s == "" {
			f.fail()
		}
	}
}

// strs is a list of texts, which may be empty. An empty list is left out.
func strs[S ~string](f *form, k string, all *[]S) {
	f.elements(k, len(*all), func(i int) {
		if f.reading {
			*all = append(*all, S(f.quoted()))
			return
		}
		f.quote(string((*all)[i]))
	})
}

// words is strs of texts that recur.
func words[S ~string](f *form, k string, all *[]S) {
	f.elements(k, len(*all), func(i int) {
		if f.reading {
			*all = append(*all, S(Shared(f.quoted())))
			return
		}
		f.quote(string((*all)[i]))
	})
}

func (f *form) id(k string, id *ID) {
	if !f.reading {
		if !id.IsZero() {
			f.name(k)
			f.uuid(id)
		}
		return
	}
	if f.comes(k) {
		f.uuid(id)
		if id.IsZero() {
			f.fail()
		}
	}
}

// ids is a list of ids, of which any may be zero. An empty list is left out.
func (f *form) ids(k string, all *[]ID) {
	f.elements(k, len(*all), func(i int) {
		if f.reading {
			*all = append(*all, ID{})
		}
		f.uuid(&(*all)[i])
	})
}

// uuid is the text of an id, also of the zero ID.
func (f *form) uuid(id *ID) {
	if !f.reading {
		f.b = append(f.b, '"')
		f.b = append(id.append(f.b), '"')
		return
	}
	s := f.fixed(36)
	if s == nil {
		return
	}
	if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' ||
		!digits(id[0:4], s[0:8]) || !digits(id[4:6], s[9:13]) || !digits(id[6:8], s[14:18]) || !digits(id[8:10], s[19:23]) || !digits(id[10:16], s[24:36]) {
		f.fail()
	}
}

// fixed reads a text of n bytes without looking at them; nil where it has another length.
func (f *input) fixed(n int) []byte {
	at := f.at + 1
	if at+n >= len(f.b) || f.b[at-1] != '"' || f.b[at+n] != '"' {
		f.fail()
		return nil
	}
	f.at = at + n + 1
	return f.b[at : at+n]
}

// nibbles are the values of the hexadecimal digits, in small letters; 0xff is none.
var nibbles = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte(hexDigits) {
		t[c] = byte(i)
	}
	return t
}()

// digits reads twice as many hexadecimal digits, in small letters, as to has bytes.
func digits(to, s []byte) bool {
	var wrong byte
	for i := range to {
		high, low := nibbles[s[2*i]], nibbles[s[2*i+1]]
		wrong |= high | low
		to[i] = high<<4 | low
	}
	return wrong < 16
}

func (f *form) pseudonym(k string, p *Pseudonym) {
	if !f.reading {
		if !p.IsZero() {
			f.name(k)
			f.b = append(f.b, '"')
			f.b = append(hex.AppendEncode(f.b, p[:]), '"')
		}
		return
	}
	if f.comes(k) {
		if s := f.fixed(32); s == nil || !digits(p[:], s) || p.IsZero() {
			f.fail()
		}
	}
}

// num is a number; 0 is left out.
func num[N ~int | ~int64 | ~uint16](f *form, k string, n *N) {
	if !f.reading {
		if *n != 0 {
			f.name(k)
			f.b = strconv.AppendInt(f.b, int64(*n), 10)
		}
		return
	}
	if f.comes(k) {
		x := f.number()
		if *n = N(x); int64(*n) != x || x == 0 {
			f.fail()
		}
	}
}

// nums is a list of numbers. An empty list is left out.
func (f *form) nums(k string, all *[]int) {
	f.elements(k, len(*all), func(i int) {
		if f.reading {
			x := f.number()
			if *all = append(*all, int(x)); int64(int(x)) != x {
				f.fail()
			}
			return
		}
		f.b = strconv.AppendInt(f.b, int64((*all)[i]), 10)
	})
}

// number reads a number in its shortest form.
func (f *input) number() int64 {
	from := f.at
	f.has('-')
	first := f.at
	for f.at < len(f.b) && '0' <= f.b[f.at] && f.b[f.at] <= '9' {
		f.at++
	}
	n, err := strconv.ParseInt(string(f.b[from:f.at]), 10, 64)
	if err != nil || f.b[first] == '0' && f.at-from > 1 { // -0 too
		f.fail()
	}
	return n
}

func (f *form) flag(k string, v *bool) {
	if !f.reading {
		if *v {
			f.name(k)
			f.b = append(f.b, "true"...)
		}
		return
	}
	if f.comes(k) {
		if *v = bytes.HasPrefix(f.b[f.at:], []byte("true")); !*v {
			f.fail()
			return
		}
		f.at += len("true")
	}
}

// time is a time in whole milliseconds, UTC; the zero time is left out.
func (f *form) time(k string, t *time.Time) {
	if !f.reading {
		if t.IsZero() {
			return
		}
		if t.Nanosecond()%int(time.Millisecond) != 0 || t.Location() != time.UTC || t.Year() < 0 || t.Year() > 9999 {
			f.err = fmt.Errorf("%s is not in whole milliseconds, UTC, of a year of four digits", k)
		}
		f.name(k)
		f.b = append(f.b, '"')
		f.b = t.AppendFormat(f.b, "2006-01-02T15:04:05.000Z")
		f.b = append(f.b, '"')
		return
	}
	if !f.comes(k) {
		return
	}
	s := f.fixed(24)
	if s == nil {
		return
	}
	ok := s[4] == '-' && s[7] == '-' && s[10] == 'T' && s[13] == ':' && s[16] == ':' && s[19] == '.' && s[23] == 'Z'
	part := func(from, to int) (n int) {
		for _, c := range s[from:to] {
			ok = ok && '0' <= c && c <= '9'
			n = 10*n + int(c-'0')
		}
		return n
	}
	year, month, day := part(0, 4), part(5, 7), part(8, 10)
	hour, minute, second, ms := part(11, 13), part(14, 16), part(17, 19), part(20, 23)
	*t = time.Date(year, time.Month(month), day, hour, minute, second, ms*int(time.Millisecond), time.UTC)
	if !ok || month < 1 || month > 12 || day < 1 || day > 28 && t.Day() != day || hour > 23 || minute > 59 || second > 59 || t.IsZero() {
		f.fail()
	}
}

// bytes is a text in base64; an empty one is left out.
func (f *form) bytes(k string, v *[]byte) {
	if !f.reading {
		if len(*v) > 0 {
			f.name(k)
			f.b = append(f.b, '"')
			f.b = base64.StdEncoding.AppendEncode(f.b, *v)
			f.b = append(f.b, '"')
		}
		return
	}
	if !f.comes(k) {
		return
	}
	f.take('"')
	n := bytes.IndexByte(f.b[f.at:], '"')
	if n < 1 || n%4 != 0 {
		f.fail()
		return
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(n))
	size, err := strict64.Decode(out, f.b[f.at:f.at+n])
	if err != nil || base64.StdEncoding.EncodedLen(size) != n { // the decoder passes over the ends of lines
		f.fail()
		return
	}
	*v = out[:size:size]
	f.at += n + 1
}

// strict64 refuses what the bits that are not used can say.
var strict64 = base64.StdEncoding.Strict()
