package report

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/recipient"
)

const (
	// lineWidth is how wide the lines of a report as text are at most.
	lineWidth = 80
	// textOptOuts, textChanges and textRules bound the rows of a report as text; the other forms have all.
	textOptOuts = 20
	textChanges = 40
	textRules   = 30
)

// Text writes the report for a terminal of 80 columns.
func (r *Report) Text(w io.Writer) error {
	p := &plain{pageData: pageData{r}}
	p.head()
	p.overview()
	p.decisions()
	p.delivery()
	p.optOuts()
	p.reviews("Replies that need a person", &r.Reviews)
	if r.Unplaced != nil {
		p.reviews("Inbound messages that the operator has to place", r.Unplaced)
	}
	p.named("Void events, which changed nothing", r.Void)
	p.changes()
	_, err := io.WriteString(w, p.b.String())
	return err
}

// plain writes a report as text.
type plain struct {
	pageData
	b strings.Builder
}

// line writes one line; what could move a cursor is replaced.
func (p *plain) line(format string, a ...any) {
	text := strings.Map(func(r rune) rune {
		if r != ' ' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, fmt.Sprintf(format, a...))
	p.b.WriteString(strings.TrimRight(text, " ") + "\n")
}

// title writes the name of a section.
func (p *plain) title(text string) { p.line(""); p.line("%s", text) }

// wrap writes words in lines that begin with an indent; the first begins with begins, which is as long.
func (p *plain) wrap(begins, text string) {
	indent := strings.Repeat(" ", utf8.RuneCountInString(begins))
	line := begins
	bare := true
	for _, word := range strings.Fields(text) {
		if !bare && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > lineWidth {
			p.line("%s", line)
			line, bare = indent, true
		}
		if !bare {
			line += " "
		}
		line, bare = line+word, false
	}
	p.line("%s", line)
}

// cut is a name that fits a column.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

func (p *plain) head() {
	name := p.Period.Name
	if !p.Period.Ended {
		name += ", so far"
	}
	p.line("Report for %s", p.Tenant)
	p.line("%s", name)
	p.line("%s to %s", p.At(p.Period.From), p.At(p.Period.Until))
	p.line("in %s, %s hours. Made as of %s.", p.Period.Zone, p.Hours(), p.UTC(p.AsOf))
	for _, n := range p.Notes {
		p.wrap("! ", n)
	}
}

func (p *plain) overview() {
	p.title("Messages, by program")
	p.line("  %-14s%9s%9s%10s%9s%9s%8s%8s", "", "submitted", "sent", "delivered", "not del.", "unknown", "denied", "failed")
	add := func(name string, f *Figures) {
		p.line("  %-14s%9s%9s%10s%9s%9s%8s%8s", cut(name, 14), short(f.Submitted.Messages), short(f.Sent.Messages), short(f.came(recipient.Delivered)), short(f.notDelivered()), short(f.unknown()),
			short(f.came(recipient.Denied)), short(f.came(recipient.Failed)))
	}
	for i := range p.Programs {
		add(named(p.Programs[i].Name, "(no program)"), &p.Programs[i].Figures)
	}
	add("all", &p.Total)
	p.line("  %s submitted, %s sent.", plural(p.Total.Submitted.Parts, "part"), plural(p.Total.Sent.Parts, "part"))
}

func (p *plain) decisions() {
	if len(p.Total.Decided) == 0 {
		return
	}
	p.title("Decisions")
	for _, d := range p.Total.Decided {
		p.line("  %9s  %s", number(d.Count), d.Outcome)
	}
	if len(p.Total.Rules) == 0 {
		return
	}
	p.title("Refused, postponed and held: by which rule")
	for i, x := range p.Total.Rules {
		if i == textRules {
			p.line("             … and %s; see --format csv", plural(int64(len(p.Total.Rules)-i), "row"))
			break
		}
		p.line("  %9s  %s, %s: %s", number(x.Count), x.Outcome, named(x.Country, "country not known"), x.Rule)
		if i > 0 && p.Total.Rules[i-1].Rule == x.Rule && p.Total.Rules[i-1].Outcome == x.Outcome {
			continue
		}
		text := x.Text
		if x.Citation != "" {
			text += " (" + x.Citation + ")"
		}
		p.wrap("             ", text)
	}
}

func (p *plain) delivery() {
	if len(p.Total.Carriers) > 0 {
		p.title("Sent, by carrier and country")
		for _, c := range p.Total.Carriers {
			p.line("  %9s  %s to %s, %s", number(c.Messages), c.Carrier, named(c.Country, "a country that is not known"), plural(c.Parts, "part"))
		}
	}
	if len(p.Total.Causes) > 0 {
		p.title("Not delivered, not known or refused by the carrier: by cause")
		for _, c := range p.Total.Causes {
			p.line("  %9s  %s, %s%s", number(c.Count), words(c.Status), named(c.Cause, "no cause given"), with(", ", c.Carrier))
		}
	}
}

func with(begin, s string) string {
	if s == "" {
		return ""
	}
	return begin + s
}

func (p *plain) optOuts() {
	o := &p.OptOuts
	p.title("Opt-outs")
	p.line("  %9s  in all; %s lifted", number(o.Total), number(o.Lifted))
	for _, k := range o.Kinds {
		p.line("  %9s  %s%s", number(k.Count), words(k.Type), with(", ", k.Name))
	}
	if len(o.List) == 0 {
		return
	}
	p.line("")
	p.line("  %-38s%s", "From the last message to the opt-out", "From the opt-out to the next decision")
	for i := range o.SinceLast {
		p.line("  %9s  %-27s%9s  %s", number(o.SinceLast[i].Count), o.SinceLast[i].Name, number(o.ToDecision[i].Count), o.ToDecision[i].Name)
	}
	p.line("")
	p.line("  %-20s %-10s%12s%12s  %-7s %s", "Opted out", "how", "last before", "next after", "", "position")
	for i := range o.List {
		x := &o.List[i]
		if i == textOptOuts {
			p.line("  … and %s; see --format csv", plural(o.Total-int64(i), "more opt-out"))
			break
		}
		before, after := "none", "none"
		if !x.Last.IsZero() {
			before = length(x.SinceLast)
		}
		if !x.Decided.IsZero() {
			after = length(x.ToDecision)
		}
		p.line("  %-20s %-10s%12s%12s  %-7s %s", p.At(x.Time), cut(x.How, 10), before, after, cut(x.Outcome, 7), x.Position)
	}
}

func (p *plain) reviews(title string, v *Reviews) {
	p.title(title)
	for _, x := range v.Opened {
		p.line("  %9s  opened: %s", number(x.Count), words(x.Type))
	}
	p.line("  %9s  closed", number(v.Closed))
	if v.Count == 0 {
		p.line("  %9s  open now", "none")
		return
	}
	more := ""
	if v.More {
		more = " and more"
	}
	p.line("  %9s%s  open now, the oldest since %s", number(v.Count), more, p.At(v.Oldest))
	for _, a := range v.Ages {
		if a.Count > 0 {
			p.line("  %9s  open for %s", number(a.Count), a.Name)
		}
	}
}

func (p *plain) named(title string, all []Named) {
	if len(all) == 0 {
		return
	}
	p.title(title)
	for _, n := range all {
		p.line("  %9s  %s%s", number(n.Count), words(n.Type), with(", ", words(n.Name)))
	}
}

func (p *plain) changes() {
	if len(p.Changes.List) == 0 {
		return
	}
	p.title("Changes, exports and reads of personal data")
	for i, c := range p.Changes.List {
		if i == textChanges {
			p.line("  … and %s; see --format csv", plural(int64(len(p.Changes.List)-i), "more line"))
			break
		}
		by := ""
		if c.By != "" {
			by = " By the key " + c.By + "."
		}
		p.wrap("  "+p.At(c.Time)+"  ", strings.TrimSuffix(c.Text, ".")+"."+by)
	}
}
