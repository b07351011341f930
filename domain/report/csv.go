package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// everyProgram is what the table has as the program of the sums over all programs.
const everyProgram = "(all)"

// columns are the table's, in order.
var columns = []string{"section", "program", "key1", "key2", "key3", "count", "parts", "text"}

// CSV writes the report as one flat table in UTF-8 (RFC 4180): every figure is a row. A cell that a
// spreadsheet could take for a formula begins with an apostrophe.
func (r *Report) CSV(w io.Writer) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(columns); err != nil {
		return err
	}
	r.each(func(x row) {
		cells := []string{x.section, x.program, x.keys[0], x.keys[1], x.keys[2], x.count, x.parts, x.text}
		for i := range cells {
			if i != 5 && i != 6 { // these are our own numbers
				cells[i] = harmless(cells[i])
			}
		}
		_ = out.Write(cells) // the writer keeps its error
	})
	out.Flush()
	return out.Error()
}

// within keeps what a spreadsheet that parts cells at semicolons would take for the beginning of a cell.
var within = strings.NewReplacer(";=", ";'=", ";+", ";'+", ";-", ";'-", ";@", ";'@", "\n=", "\n'=", "\n+", "\n'+", "\n-", "\n'-", "\n@", "\n'@")

// harmless is a cell that no spreadsheet takes for a formula.
func harmless(s string) string {
	s = within.Replace(s)
	if s != "" && strings.ContainsRune("=+-@\t\r\n|%", rune(s[0])) {
		return "'" + s
	}
	return s
}

// row is one row of the table.
type row struct {
	section, program string
	keys             [3]string
	count, parts     string
	text             string
}

// each calls f with every row, in the table's order.
func (r *Report) each(f func(row)) {
	plain := func(section, program string, n int64, keys ...string) {
		x := row{section: section, program: program, count: strconv.FormatInt(n, 10)}
		copy(x.keys[:], keys)
		f(x)
	}
	told := func(section, text string, keys ...string) {
		x := row{section: section, text: text}
		copy(x.keys[:], keys)
		f(x)
	}
	told("tenant", r.Tenant)
	told("period", r.Period.Name, string(r.Period.Kind), r.Period.First, r.Period.Zone)
	told("from", stamp(r.Period.From))
	told("until", stamp(r.Period.Until))
	told("as_of", stamp(r.AsOf))
	if !r.CompleteSince.IsZero() {
		told("complete_since", stamp(r.CompleteSince))
	}
	for _, n := range r.Notes {
		told("note", n)
	}
	r.Total.each(everyProgram, f)
	for i := range r.Programs {
		r.Programs[i].each(r.Programs[i].Name, f)
	}
	for _, s := range r.Slots {
		at := stamp(s.From)
		for _, c := range []struct {
			name string
			n    int64
		}{{"submitted", s.Submitted}, {"delivered", s.Delivered}, {"not_delivered", s.NotDelivered}, {"unknown", s.Unknown}, {"denied", s.Denied}, {"not_sent", s.NotSent}, {"opt_outs", s.OptOuts}} {
			if c.n > 0 {
				plain("time", everyProgram, c.n, at, s.Name, c.name)
			}
		}
	}
	named := func(section string, all []Named) {
		for _, n := range all {
			plain(section, "", n.Count, n.Type, n.Name)
		}
	}
	steps := func(section string, all []Bucket) {
		for _, b := range all {
			plain(section, "", b.Count, b.Name)
		}
	}
	plain("opt_outs", "", r.OptOuts.Total)
	plain("opt_outs_lifted", "", r.OptOuts.Lifted)
	named("opt_outs_by_kind", r.OptOuts.Kinds)
	steps("opt_outs_since_last_message", r.OptOuts.SinceLast)
	steps("opt_outs_to_first_decision", r.OptOuts.ToDecision)
	for _, o := range r.OptOuts.List {
		plain("opt_out", "", 1, o.Event.String(), stamp(o.Time), o.How)
		if !o.Last.IsZero() {
			plain("opt_out_ms_since_last_message", "", o.SinceLast, o.Event.String(), stamp(o.Last), o.LastMessage.String())
		}
		if !o.Decided.IsZero() {
			plain("opt_out_ms_to_first_decision", "", o.ToDecision, o.Event.String(), stamp(o.Decided), o.Outcome)
		}
	}
	named("stream", r.Stream)
	reviews := func(section string, v *Reviews) {
		named(section+"_opened", v.Opened)
		plain(section+"_closed", "", v.Closed)
		named(section+"_open_now", v.Open)
		steps(section+"_open_now_by_age", v.Ages)
	}
	reviews("reviews", &r.Reviews)
	if r.Unplaced != nil {
		reviews("unplaced", r.Unplaced)
	}
	named("void", r.Void)
	named("changes", r.Changes.Kinds)
	for _, c := range r.Changes.List {
		f(row{section: "change", keys: [3]string{c.Type, stamp(c.Time), c.By}, count: "1", text: c.Text})
	}
}

// each calls f with the rows of one program's figures.
func (x *Figures) each(program string, f func(row)) {
	plain := func(section string, n int64, text string, keys ...string) {
		x := row{section: section, program: program, count: strconv.FormatInt(n, 10), text: text}
		copy(x.keys[:], keys)
		f(x)
	}
	amount := func(section string, n Amount, keys ...string) {
		x := row{section: section, program: program, count: strconv.FormatInt(n.Messages, 10), parts: strconv.FormatInt(n.Parts, 10)}
		copy(x.keys[:], keys)
		f(x)
	}
	amount("submitted", x.Submitted)
	for _, p := range x.Purposes {
		amount("submitted_by_purpose", p.Amount, p.Purpose, p.Country)
	}
	for _, d := range x.Decided {
		plain("decided", d.Count, "", d.Outcome)
	}
	for _, d := range x.Rules {
		text := d.Text
		if d.Citation != "" {
			text += " (" + d.Citation + ")"
		}
		plain("decided_by_rule", d.Count, text, d.Outcome, d.Rule, d.Country)
	}
	amount("sent", x.Sent)
	for _, c := range x.Carriers {
		amount("sent_by_carrier", c.Amount, c.Carrier, c.Country)
	}
	for _, a := range x.Answers {
		plain("answer", a.Count, "", a.Carrier, a.Result, a.Code)
	}
	for _, s := range x.Statuses {
		plain("status", s.Count, "", s.Status)
	}
	for _, c := range x.Causes {
		plain("cause", c.Count, "", c.Status, c.Cause, c.Carrier)
	}
	for _, c := range x.Receipts {
		plain("receipts", c.Count, "", c.State, c.Grade, c.Carrier)
	}
}

// stamp writes an instant as the API does.
func stamp(t time.Time) string { return event.Millis(t).Format("2006-01-02T15:04:05.000Z") }
