package terminal

import (
	"regexp"
	"strings"
)

// mistaken are texts that a spreadsheet takes for a date or a number, and so changes: the position 10-17
// becomes the 17th of October, and the reference 12E5 a number. Whole dates and plain numbers stay what they
// are.
var mistaken = regexp.MustCompile(`^\s*(\d+\s*[-/]\s*\d+|\d+[eE][+-]?\d+)\s*$`)

// Cell keeps a program that opens a CSV file from running a cell as a formula, and from taking a position
// for a date: such a cell gets an apostrophe in front, which it shows as text, as the tables of an export
// have it.
func Cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) || mistaken.MatchString(s) {
		return "'" + s
	}
	return s
}
