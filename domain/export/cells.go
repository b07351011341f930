package export

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/event"
)

// byteOrderMark begins a table: programs of Excel's kind take a file without it for an old encoding.
const byteOrderMark = "\ufeff"

// A table is a member in CSV (RFC 4180).
type table struct {
	*pressed
	columns []string
	cells   int // of the row that is being written
}

func (f *contents) newTable(name string, columns ...string) *table {
	t := &table{pressed: f.member("tables/"+name+".csv", "CSV (RFC 4180), UTF-8 with a byte order mark/1"), columns: columns}
	if t.pressed == nil {
		return t
	}
	t.buf = append(t.buf, byteOrderMark...)
	for _, c := range columns {
		t.word(c)
	}
	t.end()
	t.rows = 0
	return t
}

func (t *table) next() {
	if t.cells > 0 {
		t.buf = append(t.buf, ',')
	}
	t.cells++
}

// end ends a row.
func (t *table) end() {
	t.buf = append(t.buf, '\r', '\n')
	t.cells = 0
	t.rows++
	t.flush()
}

// word writes a cell that needs no care: a word of ours, an id, a type.
func (t *table) word(s string) {
	t.next()
	t.buf = append(t.buf, s...)
}

func (t *table) num(n int64) {
	t.next()
	t.buf = strconv.AppendInt(t.buf, n, 10)
}

// count writes a number, and nothing for 0.
func (t *table) count(n int) {
	if n == 0 {
		t.next()
		return
	}
	t.num(int64(n))
}

func (t *table) yes(v bool) {
	if v {
		t.word("yes")
	} else {
		t.word("no")
	}
}

func (t *table) id(id event.ID) { t.word(id.String()) }

func (t *table) ids(ids []event.ID) {
	var b []string
	for _, id := range ids {
		b = append(b, id.String())
	}
	t.word(strings.Join(b, " "))
}

func (t *table) time(at time.Time) {
	t.next()
	if !at.IsZero() {
		t.buf = at.UTC().AppendFormat(t.buf, utcLayout)
	}
}

func (t *table) local(at time.Time, zone *time.Location) {
	t.next()
	if !at.IsZero() {
		t.buf = at.In(zone).AppendFormat(t.buf, localLayout)
	}
}

// text writes a cell that may hold anything.
func (t *table) text(s string) {
	t.next()
	t.buf = appendCell(t.buf, s)
}

// starters begin a formula in a spreadsheet, also in their wide forms. An apostrophe is among them so
// that what was put before them can be told from what was there.
const starters = "=+-@'＝＋－＠"

// appendCell writes a text so that no spreadsheet takes it for a formula, a number or a date, and so that the
// text can be had back. Where a cell begins, and after each semicolon and line feed (in countries in
// which the semicolon parts the cells, a spreadsheet cuts the text there), an apostrophe is put
// before what begins a formula, or before another apostrophe, with white space between not looked at. A
// text that would be taken for a number, a date, a truth value or "not available" has one too. Control
// characters other than the line feed become their pictures (U+2400 and on), or U+FFFD where they have none:
// some programs drop them.
func appendCell(b []byte, s string) []byte {
	if plainCell(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	start, alike := true, mistaken(s)
	for _, r := range s {
		switch {
		case r == ';' || r == '\n':
			start = true
		case start && unicode.IsSpace(r) && r >= ' ':
		case start:
			if strings.ContainsRune(starters, r) || alike {
				b = append(b, '\'')
			}
			start, alike = false, false
		}
		switch {
		case r == '"':
			b = append(b, '"', '"')
		case r < ' ' && r != '\n':
			b = utf8.AppendRune(b, 0x2400+r)
		case r == 0x7f:
			b = utf8.AppendRune(b, 0x2421)
		case r > 0x7f && r < 0xa0:
			b = utf8.AppendRune(b, utf8.RuneError)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// plainCell reports whether a text needs neither care nor quotes: it begins with a letter, and goes on with
// letters, digits, spaces and a few signs.
func plainCell(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case i > 0 && ('0' <= c && c <= '9' || strings.IndexByte(" ._-:/()", c) >= 0):
		default:
			return false
		}
	}
	return s == "" || s[len(s)-1] != ' ' && !slices.Contains(wordsForNothing, strings.ToLower(s))
}

// wordsForNothing are texts that pandas reads as no value, and those that spreadsheets read as truth values.
// Namibia's country code is one.
var wordsForNothing = []string{"na", "n/a", "nan", "null", "none", "<na>", "true", "false", "inf", "infinity"}

// mistaken reports whether a text looks like a number, a date, a time or no value.
func mistaken(s string) bool {
	s = strings.ToLower(strings.TrimSpace(s))
	return s != "" && (strings.Trim(s, "0123456789.,:/ e+-()%$€£#") == "" || s[0] == '#' || slices.Contains(wordsForNothing, s))
}
