package terminal

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Table aligns columns that are separated by tabs.
func Table(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

// IsTerminal reports whether a reader or a writer is a terminal, so that a person sits at
// it, who may be shown colours.
func IsTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || runtime.GOOS == "windows" {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// Plain makes a text of another party safe for a terminal: what could move the
// cursor or change colours is shown escaped.
func Plain(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRune(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}

// Instant writes a time as the record has it: in UTC, to the millisecond.
func Instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000Z") }

// Count writes a number with its noun.
func Count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// Listed joins words as a sentence does.
func Listed(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// Rows writes lines of a name and a text, the names in one column.
type Rows struct {
	w    io.Writer
	last string
}

// NewRows begins a column of names on w.
func NewRows(w io.Writer) *Rows { return &Rows{w: w} }

const nameWidth = 11

// Row writes a line; a name that is the same as the one before is left out.
func (r *Rows) Row(name, format string, a ...any) {
	if name == r.last {
		name = ""
	} else {
		r.last = name
	}
	fmt.Fprintf(r.w, "%s\n", strings.TrimRight(fmt.Sprintf("%-*s %s", nameWidth, name, fmt.Sprintf(format, a...)), " "))
}
