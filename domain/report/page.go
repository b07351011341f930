package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/recipient"
)

//go:embed page.html.tmpl
var pageText string

// pageOptOuts and pageChanges bound the rows of a page; the other forms of the report have all.
const (
	pageOptOuts = 200
	pageChanges = 200
)

// page is the template of a report as a page. It has no script and asks for nothing from outside.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"num": number, "dur": length, "words": words,
}).Parse(pageText))

// HTML writes the report as one page that needs nothing else: no script, charts as inline SVG, and a style
// for print.
func (r *Report) HTML(w io.Writer) error {
	var b bytes.Buffer
	if err := page.Execute(&b, &pageData{Report: r}); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// pageData is a report with what its page needs.
type pageData struct{ *Report }

// Tile is one of the numbers at the top.
type tile struct {
	Name  string
	Count int64
	Text  string
}

// Tiles are the numbers at the top.
func (p *pageData) Tiles() []tile {
	f := &p.Total
	delivered, not, unknown := f.came(recipient.Delivered), f.notDelivered(), f.unknown()
	return []tile{
		{"Submitted", f.Submitted.Messages, plural(f.Submitted.Parts, "part")},
		{"Sent", f.Sent.Messages, plural(f.Sent.Parts, "part")},
		{"Delivered", delivered, "a receipt says so"},
		{"Not delivered", not, "a receipt says so"},
		{"Not known", unknown, "unconfirmed or in doubt"},
		{"Denied", f.came(recipient.Denied), "a rule refused it"},
		{"Opt-outs", p.OptOuts.Total, plural(p.OptOuts.Lifted, "lift")},
		{"Reviews open", p.Reviews.Count, "now"},
	}
}

func (f *Figures) notDelivered() int64 {
	return f.came(recipient.Undelivered, recipient.Rejected, recipient.Expired, recipient.PartiallyDelivered)
}

func (f *Figures) unknown() int64 { return f.came(recipient.Unconfirmed, recipient.InDoubt) }

// Overview has a row a program.
func (p *pageData) Overview() [][]string {
	var out [][]string
	add := func(name string, f *Figures) {
		out = append(out, []string{name, number(f.Submitted.Messages), number(f.Submitted.Parts), number(f.Sent.Messages), number(f.Sent.Parts), number(f.came(recipient.Delivered)),
			number(f.notDelivered()), number(f.came(recipient.Unconfirmed)), number(f.came(recipient.InDoubt)), number(f.came(recipient.Denied)), number(f.decided("defer")), number(f.decided("hold"))})
	}
	for i := range p.Programs {
		add(named(p.Programs[i].Name, "(no program)"), &p.Programs[i].Figures)
	}
	add("All programs", &p.Total)
	return out
}

func (f *Figures) decided(outcome string) int64 {
	for _, d := range f.Decided {
		if d.Outcome == outcome {
			return d.Count
		}
	}
	return 0
}

// At writes a time in the report's zone.
func (p *pageData) At(t time.Time) string { return t.In(p.Period.zone).Format("2 Jan 2006 15:04:05") }

// UTC writes a time in UTC.
func (p *pageData) UTC(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// Hours is how long the period is.
func (p *pageData) Hours() string {
	return strings.TrimSuffix(strconv.FormatFloat(p.Period.Until.Sub(p.Period.From).Hours(), 'f', 1, 64), ".0")
}

// SlotName is what a row of the charts' tables is.
func (p *pageData) SlotName() string {
	if p.Period.Kind == Day {
		return "Hour"
	}
	return "Day"
}

// ShownOptOuts and ShownChanges are those that the page has.
func (p *pageData) ShownOptOuts() []OptOut {
	return p.OptOuts.List[:min(len(p.OptOuts.List), pageOptOuts)]
}

// ShownChanges are the changes that the page has.
func (p *pageData) ShownChanges() []Change {
	return p.Changes.List[:min(len(p.Changes.List), pageChanges)]
}

// Busy are the slots in which something happened.
func (p *pageData) Busy() []Slot {
	var out []Slot
	for _, s := range p.Slots {
		if s.Submitted+s.OptOuts+s.ends() > 0 {
			out = append(out, s)
		}
	}
	return out
}

func (s *Slot) ends() int64 {
	return s.Delivered + s.NotDelivered + s.Unknown + s.Denied + s.NotSent
}

// OptOutSlots are the slots that have opt-outs.
func (p *pageData) OptOutSlots() []Slot {
	var out []Slot
	for _, s := range p.Slots {
		if s.OptOuts > 0 {
			out = append(out, s)
		}
	}
	return out
}

// Legend is a colour of the first chart with its word.
type legend struct{ Class, Name string }

// Legend are the colours of the first chart.
func (p *pageData) Legend() []legend {
	return []legend{{"c1", "delivered"}, {"c2", "not delivered"}, {"c3", "not known"}, {"c4", "denied"}, {"c5", "not sent"}}
}

// EndsChart shows the messages that came to their end; it is drawn for a wide and for a narrow screen.
func (p *pageData) EndsChart() template.HTML {
	columns := make([]column, len(p.Slots))
	for i, s := range p.Slots {
		columns[i] = column{s.Name, []int64{s.Delivered, s.NotDelivered, s.Unknown, s.Denied, s.NotSent}}
	}
	return both("ends", 1000, "Messages that came to their end, by outcome", p.told(func(s *Slot) int64 { return s.ends() }, "message"), columns, []string{"c1", "c2", "c3", "c4", "c5"})
}

// OptOutsChart shows the opt-outs.
func (p *pageData) OptOutsChart() template.HTML {
	columns := make([]column, len(p.Slots))
	for i, s := range p.Slots {
		columns[i] = column{s.Name, []int64{s.OptOuts}}
	}
	return both("optouts", 500, "Opt-outs", p.told(func(s *Slot) int64 { return s.OptOuts }, "opt-out"), columns, []string{"c6"})
}

// told says in one sentence what a chart shows.
func (p *pageData) told(of func(*Slot) int64, one string) string {
	var sum int64
	most := &p.Slots[0]
	for i := range p.Slots {
		sum += of(&p.Slots[i])
		if of(&p.Slots[i]) > of(most) {
			most = &p.Slots[i]
		}
	}
	if sum == 0 {
		return "There are none."
	}
	return fmt.Sprintf("%s in all; the most, %s, at %s. The table has every number.", plural(sum, one), number(of(most)), most.Name)
}

// CarrierChart shows what each carrier took, by bars.
func (p *pageData) CarrierChart() template.HTML {
	var bars []bar
	for _, c := range p.Total.Carriers {
		if n := len(bars); n > 0 && bars[n-1].name == c.Carrier {
			bars[n-1].count += c.Messages
			continue
		}
		bars = append(bars, bar{c.Carrier, c.Messages})
	}
	return horizontal("carriers", "Messages sent, by carrier", bars)
}

// column is one of a chart, with what is stacked in it from the bottom.
type column struct {
	name string
	n    []int64
}

type bar struct {
	name  string
	count int64
}

// both draws a chart twice: for wide screens and paper, and for narrow screens.
func both(id string, width int, title, text string, columns []column, classes []string) template.HTML {
	return template.HTML(stacked(id, "wide", title, text, columns, classes, width, 240) + stacked(id+"-n", "narrow", title, text, columns, classes, 340, 220))
}

// stacked draws columns.
func stacked(id, class, title, text string, columns []column, classes []string, width, height int) string {
	const left, right, top, bottom = 44, 6, 10, 26
	var most int64
	for _, c := range columns {
		var sum int64
		for _, n := range c.n {
			sum += n
		}
		most = max(most, sum)
	}
	step := nice(most)
	roof := max(1, (most+step-1)/step*step)
	y := func(n int64) float64 {
		return float64(top) + float64(height-top-bottom)*(1-float64(n)/float64(roof))
	}
	var b strings.Builder
	begin(&b, id, class, title, text, width, height)
	for n := int64(0); n <= roof; n += step {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="axis" x="%d" y="%.1f" text-anchor="end">%s</text>`, left, width-right, y(n), y(n), left-6, y(n)+4, short(n))
	}
	pitch := float64(width-left-right) / float64(len(columns))
	gap := math.Min(6, pitch*0.25)
	every := 1 // a name needs room
	longest := 0
	for _, c := range columns {
		longest = max(longest, len(c.name))
	}
	for float64(every)*pitch < float64(longest)*6.4+8 {
		every++
	}
	for i, c := range columns {
		x := float64(left) + pitch*float64(i)
		var base int64
		for k, n := range c.n {
			if n > 0 {
				fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, classes[k], x+gap/2, y(base+n), pitch-gap, y(base)-y(base+n))
				base += n
			}
		}
		// A name that would leave the picture is left out; the table has it.
		if x+pitch/2+float64(longest)*3.2 <= float64(width) && i%every == 0 {
			fmt.Fprintf(&b, `<text class="axis" x="%.1f" y="%d" text-anchor="middle">%s</text>`, x+pitch/2, height-8, template.HTMLEscapeString(c.name))
		}
	}
	b.WriteString("</svg>")
	return b.String()
}

// horizontal draws bars, one below the other.
func horizontal(id, title string, bars []bar) template.HTML {
	if len(bars) == 0 {
		return ""
	}
	if len(bars) > 20 {
		bars = bars[:20]
	}
	var most, sum int64 = 1, 0
	for _, x := range bars {
		most, sum = max(most, x.count), sum+x.count
	}
	const pitch = 44
	draw := func(id, class string, width int) string {
		var b strings.Builder
		begin(&b, id, class, title, fmt.Sprintf("%s went to %s. The table has every number.", plural(sum, "message"), plural(int64(len(bars)), "carrier")), width, pitch*len(bars)+4)
		for i, x := range bars {
			top := pitch * i
			name := x.name
			if len(name) > 40 {
				name = name[:40] + "…"
			}
			fmt.Fprintf(&b, `<text class="name" x="0" y="%d">%s</text><text class="axis" x="%d" y="%d" text-anchor="end">%s</text>`, top+14, template.HTMLEscapeString(name), width, top+14, number(x.count))
			fmt.Fprintf(&b, `<rect class="track" x="0" y="%d" width="%d" height="12"/><rect class="c1" x="0" y="%d" width="%.1f" height="12"/>`, top+21, width, top+21, float64(width)*float64(x.count)/float64(most))
		}
		b.WriteString("</svg>")
		return b.String()
	}
	return template.HTML(draw(id, "wide", 500) + draw(id+"-n", "narrow", 340))
}

// begin opens a picture with its title and what it shows in words, for those who do not see it.
func begin(b *strings.Builder, id, class, title, text string, width, height int) {
	fmt.Fprintf(b, `<svg class="%s" role="img" viewBox="0 0 %d %d" aria-labelledby="%s-t %s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>`,
		class, width, height, id, id, id, template.HTMLEscapeString(title), id, template.HTMLEscapeString(text))
}

// nice is a round step by which an axis up to most has at most 5 lines.
func nice(most int64) int64 {
	step := int64(1)
	for {
		for _, k := range []int64{1, 2, 5} {
			if most <= 4*k*step {
				return k * step
			}
		}
		step *= 10
	}
}

// short writes a number for an axis.
func short(n int64) string {
	switch {
	case n >= 1_000_000:
		return strings.TrimSuffix(strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64), ".0") + "M"
	case n >= 10_000:
		return strings.TrimSuffix(strconv.FormatFloat(float64(n)/1e3, 'f', 1, 64), ".0") + "k"
	}
	return number(n)
}

// number writes a count with commas.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural writes a count with its noun.
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + one + "s"
}

// length writes a time between two events.
func length(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Second:
		return strconv.FormatInt(ms, 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// words writes a name of a program's kind for people: in_doubt, InboundReceived.
func words(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '_':
			b.WriteByte(' ')
		case i > 0 && r >= 'A' && r <= 'Z' && s[i-1] >= 'a' && s[i-1] <= 'z':
			b.WriteString(" " + strings.ToLower(string(r)))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// named is a text, or another one if there is none.
func named(s, none string) string {
	if s == "" {
		return none
	}
	return s
}
