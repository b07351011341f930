// Package octets is a form in bytes for structs. One function for each struct says which fields it has and in which order, and
// writes and reads by them: so what is written and what is read cannot differ. Where it reads, the struct is zero at first.
//
// Before each eight fields of a struct there is an octet that says which of them are there: those that are not zero. Numbers are
// varints. A time is its distance in milliseconds from the time before. A text that came before is its place among the last ones.
package octets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
)

// Form is what is written or read.
type Form struct {
	b       []byte // what was written so far, or what is read
	reading bool
	at      int   // how far b was read
	err     error // why reading ended
	Group
	last  int64 // the time before, in milliseconds since 1970
	words recent
}

// Group is where a struct is: eight of its fields at most, for Open and Close.
type Group struct {
	there byte // which are there, as it was read
	where int  // in b, as it is written
	field int  // how many fields of the struct came
}

// recent are the texts that came last.
type recent struct {
	texts [16]string
	n     int // how many texts came, without those that were among the last ones
}

// Append begins to write after b. The version says which fields there are.
func Append(b []byte, version byte) Form { return Form{b: append(b, version)} }

// Written is b with what was written.
func (f *Form) Written() []byte { return f.b }

// Read begins to read b, which must have that version.
func Read(b []byte, version byte) Form {
	f := Form{b: b, reading: true}
	if v := f.octet(); v != version {
		f.fail(fmt.Sprintf("it has the form %d, and this version of the program knows form %d", v, version))
	}
	return f
}

// Reading reports whether the form is read.
func (f *Form) Reading() bool { return f.reading }

// Failed reports whether reading has ended. Nothing that follows is there.
func (f *Form) Failed() bool { return f.err != nil }

// End says why not all of b could be read, or nothing more than it; nil if it could. It quotes nothing.
func (f *Form) End() error {
	if f.at < len(f.b) {
		f.fail("octets follow its end")
	}
	return f.err
}

func (f *Form) fail(why string) {
	if f.at = len(f.b); f.err == nil {
		f.err = errors.New(why)
	}
}

// Open begins a struct. Give Close what it returns.
func (f *Form) Open() (outer Group) {
	outer, f.Group = f.Group, Group{}
	return outer
}

// Close ends a struct.
func (f *Form) Close(outer Group) {
	if n := (f.field-1)%8 + 1; f.there>>n != 0 {
		f.fail("it has a field that is not known")
	}
	f.Group = outer
}

// Has writes whether the next field of a struct is there, or reads it; and reports it.
func (f *Form) Has(is bool) bool {
	n := f.field % 8
	f.field++
	if f.reading {
		if n == 0 {
			f.there = f.octet()
		}
		return f.there>>n&1 != 0
	}
	if n == 0 {
		f.where = len(f.b)
		f.b = append(f.b, 0)
	}
	if is {
		f.b[f.where] |= 1 << n
	}
	return is
}

// next reads n octets.
func (f *Form) next(n uint64) []byte {
	if n > uint64(len(f.b)-f.at) {
		f.fail("it ends too early")
		return nil
	}
	at := f.at
	f.at += int(n)
	return f.b[at:f.at]
}

func (f *Form) octet() byte {
	if f.at == len(f.b) {
		f.fail("it ends too early")
		return 0
	}
	f.at++
	return f.b[f.at-1]
}

func (f *Form) uvarint() uint64 {
	if f.at < len(f.b) && f.b[f.at] < 0x80 {
		f.at++
		return uint64(f.b[f.at-1])
	}
	x, n := binary.Uvarint(f.b[f.at:])
	if n <= 0 {
		f.fail("a number is cut off or too large")
		return 0
	}
	f.at += n
	return x
}

// Flag is a field that is true if it is there.
func (f *Form) Flag(v *bool) { *v = f.Has(*v) }

// Num is a field that is a number.
func Num[N ~int | ~int64 | ~uint16](f *Form, n *N) {
	if f.Has(*n != 0) {
		Number(f, n)
	}
}

// Number is a number that may be 0, as an element of a list.
func Number[N ~int | ~int64 | ~uint16](f *Form, n *N) {
	if !f.reading {
		f.b = binary.AppendVarint(f.b, int64(*n))
		return
	}
	x := unsigned(f.uvarint())
	if *n = N(x); int64(*n) != x {
		f.fail("a number is too large")
	}
}

// unsigned is the number that binary.AppendVarint wrote as x.
func unsigned(x uint64) int64 { return int64(x>>1) ^ -int64(x&1) }

// ID is a field that is an id or a pseudonym.
func ID[T ~[16]byte](f *Form, v *T) {
	if f.Has(*v != T{}) {
		WholeID(f, v)
	}
}

// WholeID is an id that may be zero, as an element of a list.
func WholeID[T ~[16]byte](f *Form, v *T) {
	if !f.reading {
		f.b = append(f.b, (*v)[:]...)
		return
	}
	copy((*v)[:], f.next(uint64(len(*v))))
}

// Str is a field that is a text of its own, such as a digest.
func Str(f *Form, s *string) {
	if !f.Has(*s != "") {
		return
	}
	if !f.reading {
		plain := utf8Of(*s)
		f.b = append(binary.AppendUvarint(f.b, uint64(len(plain))), plain...)
		return
	}
	*s = string(f.plain(f.uvarint()))
}

// Word is a field that is a text which recurs, such as a program.
func Word[S ~string](f *Form, s *S) {
	if f.Has(*s != "") {
		Text(f, s)
	}
}

// Text is a text that recurs and may be empty, as an element of a list.
func Text[S ~string](f *Form, s *S) {
	if f.reading {
		n := f.uvarint()
		if n&1 != 0 {
			if n >>= 1; n >= uint64(f.words.len()) {
				f.fail("a text is missing")
				return
			}
			*s = S(f.words.texts[n])
			return
		}
		*s = S(event.Shared(f.plain(n >> 1)))
		f.words.add(string(*s))
		return
	}
	plain := utf8Of(string(*s))
	for i := range f.words.texts[:f.words.len()] {
		if f.words.texts[i] == plain {
			f.b = append(f.b, byte(i)<<1|1)
			return
		}
	}
	f.b = append(binary.AppendUvarint(f.b, uint64(len(plain))<<1), plain...)
	f.words.add(plain)
}

func (r *recent) len() int { return min(r.n, len(r.texts)) }

func (r *recent) add(s string) {
	r.texts[r.n%len(r.texts)] = s
	r.n++
}

// plain reads n octets that are a text.
func (f *Form) plain(n uint64) []byte {
	b := f.next(n)
	if !utf8.Valid(b) {
		f.fail("a text is not UTF-8")
	}
	return b
}

// utf8Of is s with U+FFFD for each octet that is not UTF-8.
func utf8Of(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// farthest bounds times that can be read, in milliseconds before and after 1970: nine million years.
const farthest = 1 << 58

// Time is a field that is an instant. Read, it is in UTC.
func (f *Form) Time(t *time.Time) {
	const ms = int64(time.Millisecond)
	if !f.Has(!t.IsZero()) {
		return
	}
	if !f.reading {
		at, rest := t.UnixMilli(), int64(t.Nanosecond())%ms
		d := at - f.last
		x := uint64(d<<1^d>>63) << 1
		if f.last = at; rest == 0 {
			f.b = binary.AppendUvarint(f.b, x)
			return
		}
		f.b = binary.AppendUvarint(binary.AppendUvarint(f.b, x|1), uint64(rest))
		return
	}
	x := f.uvarint()
	f.last += unsigned(x >> 1)
	rest := int64(0)
	if x&1 != 0 {
		if n := f.uvarint(); n < uint64(ms) {
			rest = int64(n)
		} else {
			f.fail("a time has too many nanoseconds")
		}
	}
	if f.last <= -farthest || f.last >= farthest {
		f.fail("a time is too far away")
		f.last = 0
	}
	*t = time.UnixMilli(f.last).Add(time.Duration(rest)).UTC()
}

// List is a field that is a list. It returns the elements, each to be written or read. An empty list is as none.
func List[T any](f *Form, all *[]T) []T { return elements(f, all, len(*all) > 0) }

// ListOrNull is a list of which JSON tells whether it is empty or nil.
func ListOrNull[T any](f *Form, all *[]T) []T { return elements(f, all, *all != nil) }

func elements[T any](f *Form, all *[]T, is bool) []T {
	if !f.Has(is) {
		return nil
	}
	if !f.reading {
		f.b = binary.AppendUvarint(f.b, uint64(len(*all)))
		return *all
	}
	n := f.uvarint()
	if n > uint64(len(f.b)-f.at) { // each takes an octet at least
		f.fail("a list is longer than what follows")
		n = 0
	}
	*all = make([]T, n)
	return *all
}
