package terminal

import (
	"regexp"
	"strings"
	"unicode"
)

// mistaken are texts that a spreadsheet takes for a date or a number, and so changes: the position 10-17
// becomes the 17th of October, and the reference 12E5 a number. Whole dates and plain numbers stay what they
// are.
var mistaken = regexp.MustCompile(`^\s*(\d+\s*[-/]\s*\d+|\d+[eE][+-]?\d+)\s*$`)

// starters begin a formula in a spreadsheet, also in their wide forms.
const starters = "=+-@\uff1d\uff0b\uff0d\uff20"

// Cell keeps a program that opens a CSV file from running a cell as a formula, and from taking a position
// for a date. Where the cell begins, and after each semicolon and line end in it (in countries in which the
// semicolon parts the cells, a spreadsheet cuts the text there), an apostrophe is put before what begins a
// formula, with white space between not looked at. Control characters become their pictures, or a
// replacement character where they have none.
func Cell(s string) string {
	if mistaken.MatchString(s) {
		return "'" + s
	}
	var b strings.Builder
	start := true
	for _, r := range s {
		switch {
		case r == ';' || r == '\n' || r == '\r':
			start = true
		case start && unicode.IsSpace(r):
		case start:
			if strings.ContainsRune(starters, r) {
				b.WriteByte('\'')
			}
			start = false
		}
		switch {
		case r < ' ' && r != '\n':
			r += 0x2400
		case r == 0x7f:
			r = 0x2421
		case r > 0x7f && r < 0xa0:
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}
