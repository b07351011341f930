package history

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

// Moment is what stood at a moment, and what was handed off after it.
type Moment struct {
	// At is the moment: the opt-outs that were known before it count.
	At       time.Time
	Sentence string
	Standing []Standing
	// Later says what was handed off to carriers after the moment; Handoffs are the first of them, at most
	// 5, and Count is how many there are.
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
	out, err := b.stands(stands, all)
	h.Standing = out
	return err
}

// stands says of each opt-out what it is and what was handed off after it.
func (b *book) stands(all []*optOut, after map[int64]*following) ([]Standing, error) {
	for _, o := range all {
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
		s := upper(scope(o.reach)) + ", " + b.saidAndKnown(o.said, o.known) + " (" + string(o.source) + ")."
		switch {
		case o.part:
			s += " It is a part of a longer text, and stops messages until the other parts are there."
		case o.unclear:
			s += " The words are not plain: an officer has yet to read them."
		}
		out[i] = Standing{Event: o.event, Position: event.Position{Partition: b.partition, Index: o.index}, Sentence: s, Said: o.said, Known: o.known, After: after[o.index].words(b)}
	}
	return out, nil
}

// dayAndTime are the forms of a local day with a time, and clocks those of a time of day. The first of each
// is without seconds.
var (
	dayAndTime = []string{"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02T15:04:05"}
	clocks     = []string{"15:04", "15:04:05"}
)

// instant reads the moment that is asked for. What is written without seconds means the end of the minute.
func (b *book) instant(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	end := func(form string, t time.Time) time.Time {
		if form[len(form)-2:] == "04" {
			return t.Add(time.Minute - time.Millisecond)
		}
		return t.Add(time.Second - time.Millisecond)
	}
	for _, form := range dayAndTime {
		if t, err := time.ParseInLocation(form, text, b.zone); err == nil {
			return end(form, t), nil
		}
	}
	for _, form := range clocks {
		if _, err := time.Parse(form, text); err != nil {
			continue
		}
		day := b.p.Now()
		for _, o := range slices.Backward(b.opt.all) {
			if o.known.In(b.zone).Format(form) == text {
				day = o.known
				break
			}
		}
		date := day.In(b.zone).Format("2006-01-02 ")
		t, err := time.ParseInLocation("2006-01-02 "+form, date+text, b.zone)
		if err != nil {
			continue
		}
		if t.After(b.p.Now()) {
			t = t.AddDate(0, 0, -1)
		}
		return end(form, t), nil
	}
	return time.Time{}, &ledger.Refusal{Code: "invalid_value", Field: "/at", Text: "Write a moment as a time of day (14:03), as a day and a time (2026-11-03 14:03), or as an instant (2026-11-03T14:03:00Z)."}
}

// moment says what stood at a moment and what was handed off after it.
func (b *book) moment(text string) (*Moment, error) {
	at, err := b.instant(text)
	if err != nil {
		return nil, err
	}
	m := &Moment{At: at.UTC()}
	var stood []*optOut
	for _, o := range b.opt.all {
		if !o.known.After(at) && (o.ended < 0 || o.endedAt.After(at)) {
			stood = append(stood, o)
		}
	}
	when := at.In(b.zone).Format("2006-01-02 15:04") + " (" + b.zone.String() + ")"
	switch {
	case !b.opt.complete:
		m.Sentence = "Which opt-outs stood at " + when + " is not worked out."
	case len(stood) == 0:
		m.Sentence = "At " + when + " no opt-out stood."
	case len(stood) == 1:
		m.Sentence = "At " + when + " this opt-out stood."
	default:
		m.Sentence = "At " + when + " these opt-outs stood."
	}
	if m.Standing, err = b.stands(stood, map[int64]*following{}); err != nil {
		return nil, err
	}
	err = b.each(event.ID{}, func(x *reading.Message) bool {
		for i := range slices.Backward(x.Attempts) {
			a := &x.Attempts[i]
			if !a.StartedAt.After(at) || !slices.ContainsFunc(a.Parts, func(p reading.Part) bool { return !p.NotCalled }) {
				continue
			}
			m.Count++
			m.Handoffs = append(m.Handoffs, Handoff{Message: x.ID, Time: a.StartedAt, Carrier: a.Carrier, Why: "A message of the program " + x.Program + " as " + a.From + "."})
		}
		slices.SortStableFunc(m.Handoffs, func(x, y Handoff) int { return x.Time.Compare(y.Time) })
		m.Handoffs = m.Handoffs[:min(len(m.Handoffs), mostListed)]
		return true
	})
	m.Later = "After that moment nothing was handed off to a carrier."
	if m.Count > 0 {
		m.Later = "After that moment " + count(m.Count, "hand-off") + " to a carrier began, the first at " + b.when(m.Handoffs[0].Time) + "."
	}
	return m, err
}
