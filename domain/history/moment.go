package history

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

// Moment is what stood at a moment, what came at it, and what was handed off after it.
type Moment struct {
	// From and Until are the moment, half-open: a whole minute where no second was given, a whole second
	// where no fraction was, or else a millisecond.
	From, Until time.Time
	// Note says which day was taken, where a time of day alone left that open; else "".
	Note string
	// Sentence says what stood at From, and Standing are those opt-outs.
	Sentence string
	Standing []Standing
	// Within says which opt-outs came within the moment, and Came are those; "" and none if none came.
	Within string
	Came   []Standing
	// CountedFrom is from when hand-offs are counted: from the first opt-out that came within the moment
	// on, or else from its beginning.
	CountedFrom time.Time
	// Later says what was handed off to carriers from then on; Handoffs are the first of them, at most 5,
	// and Count is how many there are.
	Later    string
	Handoffs []Handoff
	Count    int
}

// chooseZone says in which zone local times are, and why.
func (b *book) chooseZone(asked string) (why string, err error) {
	if asked != "" {
		if b.zone, err = b.p.Zone(asked); err != nil {
			b.zone = time.UTC
			return "", &ledger.Refusal{Code: "invalid_value", Field: "/zone", Text: "A zone is a name such as America/New_York, from the IANA time zone database."}
		}
		return "it was asked for", nil
	}
	var places []event.Place
	if err := b.each(event.ID{}, func(m *reading.Message) bool { places = m.Places; return false }); err != nil {
		return "", err
	}
	zones := map[string]bool{}
	name := ""
	for _, p := range places {
		name = zoneOf(p)
		zones[name] = true
	}
	if len(zones) == 1 {
		if z, err := b.p.Zone(name); err == nil {
			b.zone = z
			return "the number tells no other zone for the person", nil
		}
	}
	if len(zones) > 1 {
		return "the person's zone is not certain", nil
	}
	return "the person's zone is not known", nil
}

// zoneOf is the zone of a place such as "US-FL America/New_York".
func zoneOf(p event.Place) string {
	for i := range len(p) {
		if p[i] == ' ' {
			return string(p[i+1:])
		}
	}
	return ""
}

// standing says which opt-outs stand now.
func (b *book) standing(h *History) error {
	all := map[int64]*following{}
	var stands []*optOut
	for _, o := range b.opt.all {
		if o.ended < 0 {
			stands = append(stands, o)
		}
	}
	out, err := b.stands(stands, true, all)
	h.Standing = out
	return err
}

// stands says of each opt-out what it is and what was handed off after it. Where first is true, what
// followed is counted from the first time that the person said so, and not from when it was repeated.
func (b *book) stands(all []*optOut, first bool, after map[int64]*following) ([]Standing, error) {
	of := func(o *optOut) *optOut {
		if first {
			return o.first()
		}
		return o
	}
	for _, o := range all {
		o = of(o)
		if after[o.index] == nil {
			after[o.index] = &following{index: o.index}
		}
		after[o.index].reaches = append(after[o.index].reaches, o)
	}
	if err := b.tally(after); err != nil {
		return nil, err
	}
	out := make([]Standing, len(all))
	for i, o := range all {
		f := o.first()
		s := upper(scope(o.reach)) + ", " + b.saidAndKnown(f.said, f.known) + " (" + string(f.source) + ")"
		if n := o.repeats(); n > 0 {
			s += ", repeated " + times(n) + b.when(o.known) + " (" + string(o.source) + ")"
		}
		s += "."
		switch {
		case o.part:
			s += " It is a part of a longer text, and stops messages until the other parts are there."
		case o.unclear:
			s += " The words are not plain: an officer has yet to read them."
		}
		out[i] = Standing{Event: o.event, Position: event.Position{Partition: b.partition, Index: o.index}, Sentence: s, Said: o.said, Known: o.known, Since: f.known, After: after[of(o).index].words(b)}
	}
	return out, nil
}

// times is how often something was repeated, before the last time.
func times(n int) string {
	if n == 1 {
		return ""
	}
	return strconv.Itoa(n) + " times, the last time "
}

// moments are the forms in which a moment is written, how long each one is, and whether it has its day.
var moments = []struct {
	form string
	long time.Duration
	day  bool
}{
	{"2006-01-02 15:04", time.Minute, true}, {"2006-01-02T15:04", time.Minute, true},
	{"2006-01-02 15:04:05", time.Second, true}, {"2006-01-02T15:04:05", time.Second, true},
	{"15:04", time.Minute, false}, {"15:04:05", time.Second, false},
}

// instant reads the moment that is asked for: when it begins and how long it is.
func (b *book) instant(text string) (at time.Time, long time.Duration, note string, err error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		at, long = fraction(text, t.UTC(), time.Second)
		return at, long, "", nil
	}
	for _, m := range moments {
		if _, err := time.Parse(m.form, text); err != nil {
			continue
		}
		if m.day {
			if at, err = time.ParseInLocation(m.form, text, b.zone); err == nil {
				at, long = fraction(text, at, m.long)
				return at, long, "", nil
			}
			continue
		}
		day, note := b.opt.dayOf(text, m.form, b.zone)
		if day.IsZero() {
			day = b.p.Now()
		}
		if at, err = time.ParseInLocation("2006-01-02 "+m.form, day.In(b.zone).Format("2006-01-02 ")+text, b.zone); err != nil {
			continue
		}
		if at.After(b.p.Now()) {
			at = at.AddDate(0, 0, -1)
		}
		at, long = fraction(text, at, m.long)
		return at, long, note, nil
	}
	return at, 0, "", &ledger.Refusal{Code: "invalid_value", Field: "/at", Text: "Write a moment as a time of day (14:03), as a day and a time (2026-11-03 14:03), or as an instant (2026-11-03T14:03:00Z)."}
}

// fraction makes a moment with a fraction of a second a millisecond long.
func fraction(text string, at time.Time, long time.Duration) (time.Time, time.Duration) {
	if strings.ContainsAny(text, ".,") {
		return at.Truncate(time.Millisecond), time.Millisecond
	}
	return at, long
}

// dayOf is a time on the day that a time of day means: the last one on which an opt-out came at that time, or
// none: then note says so.
func (o *optOuts) dayOf(text, form string, zone *time.Location) (day time.Time, note string) {
	elsewhere := ""
	for _, x := range slices.Backward(o.all) {
		if x.known.In(zone).Format(form) == text {
			return x.known, ""
		}
		if elsewhere == "" && x.known.UTC().Format(form) == text {
			elsewhere = "; one came at " + text + " UTC, which is " + x.known.In(zone).Format("15:04 on 2006-01-02") + " there"
		}
	}
	if o.complete {
		note = "No opt-out came at " + text + " (" + zone.String() + ")" + elsewhere + ". "
	}
	return time.Time{}, note + "A time of day alone means the last day on which an opt-out came at that time, or else the last time that the clock showed it."
}

// moment says what stood at a moment, what came within it, and what was handed off after it.
func (b *book) moment(text string) (*Moment, error) {
	at, long, note, err := b.instant(text)
	if err != nil {
		return nil, err
	}
	m := &Moment{From: at.UTC(), Until: at.Add(long).UTC(), CountedFrom: at.UTC(), Note: note}
	var stood, came []*optOut
	known := ""
	for _, o := range b.opt.all {
		switch {
		case o.known.Before(m.From):
			if o.ended < 0 || !o.endedAt.Before(m.From) {
				stood = append(stood, o)
			}
		case o.known.Before(m.Until):
			came = append(came, o)
		case o.said.Before(m.Until):
			known += " The person had opted out of " + scope(o.reach) + " by then (" + string(o.source) + ", said " + b.when(o.said) + "); it was not known here until " + b.when(o.known) + "."
		}
	}
	shown, unit := "2006-01-02 15:04:05.000 (", ""
	switch long {
	case time.Minute:
		shown, unit = "2006-01-02 15:04 (", "minute"
	case time.Second:
		shown, unit = "2006-01-02 15:04:05 (", "second"
	}
	when := at.In(b.zone).Format(shown) + b.zone.String() + ")"
	if unit != "" {
		when += ", when that " + unit + " began,"
	}
	switch {
	case !b.opt.complete:
		m.Sentence = "Which opt-outs stood at " + strings.TrimSuffix(when, ",") + " is not worked out."
	case len(stood) == 0:
		m.Sentence = "At " + when + " no opt-out stood."
	case len(stood) == 1:
		m.Sentence = "At " + when + " this opt-out stood."
	default:
		m.Sentence = "At " + when + " these opt-outs stood."
	}
	m.Sentence += known
	if m.Standing, err = b.stands(stood, true, map[int64]*following{}); err != nil {
		return nil, err
	}
	if m.Came, err = b.stands(came, false, map[int64]*following{}); err != nil {
		return nil, err
	}
	if m.Within = b.cameWithin(came, unit); len(came) > 0 {
		m.CountedFrom = came[0].known.UTC()
	}
	return m, m.countLater(b, came, unit)
}

// cameWithin says which opt-outs came within a moment.
func (c calendar) cameWithin(came []*optOut, unit string) string {
	if len(came) == 0 {
		return ""
	}
	at := "at that moment"
	if unit != "" {
		at = "within that " + unit
	}
	stops := map[int64]bool{}
	for _, o := range came {
		stops[o.index] = true
	}
	o := came[0]
	what, how := "A STOP", "came "
	switch {
	case o.part:
		what = "A part of a text"
	case o.unclear:
		what = "A text that may be a STOP"
	case !o.said.Equal(o.known):
		how = "became known here "
	}
	if len(stops) > 1 {
		return strconv.Itoa(len(stops)) + " opt-outs came " + at + ", the first at " + c.clock(o.known) + "."
	}
	return what + " " + how + at + ", at " + c.clock(o.known) + "."
}

// countLater says what was handed off from a moment on.
func (m *Moment) countLater(b *book, came []*optOut, unit string) error {
	total := 0
	err := b.each(event.ID{}, func(x *reading.Message) bool {
		for i := range slices.Backward(x.Attempts) {
			a := &x.Attempts[i]
			if a.StartedAt.Before(m.From) || !called(a) {
				continue
			}
			total++
			m.Handoffs = append(m.Handoffs, Handoff{Message: x.ID, Time: a.StartedAt, Carrier: a.Carrier, Why: "A message of the program " + x.Program + " as " + a.From + "."})
		}
		slices.SortStableFunc(m.Handoffs, func(x, y Handoff) int { return x.Time.Compare(y.Time) })
		m.Handoffs = m.Handoffs[:min(len(m.Handoffs), mostListed)]
		return true
	})
	m.Count = total
	from := "From that moment on "
	if unit != "" {
		from = "From the beginning of that " + unit + " on "
	}
	if len(came) > 0 { // counted by its place in the ledger, as what followed every opt-out
		after := m.Came[0].After
		m.Count, m.Handoffs = after.Count, after.Handoffs
		from = "After the opt-out at " + b.clock(came[0].known) + " "
	}
	m.Later = from + "nothing was handed off to a carrier."
	if m.Count > 0 {
		m.Later = from + count(m.Count, "hand-off") + " to a carrier began, the first at " + b.when(m.Handoffs[0].Time) + "."
	}
	if n := total - m.Count; n > 0 && len(came) > 0 {
		m.Later += " Before it, within that " + cmp.Or(unit, "moment") + ", " + count(n, "hand-off") + " began."
	}
	return err
}

// called reports whether the carrier was called for an attempt, or may have been.
func called(a *reading.Attempt) bool {
	return slices.ContainsFunc(a.Parts, func(p reading.Part) bool { return !p.NotCalled })
}
