package report

import (
	"fmt"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/ledger"
)

// Kind is how long a period is.
type Kind string

// The kinds. A week begins on Monday (ISO 8601).
const (
	Day   Kind = "day"
	Week  Kind = "week"
	Month Kind = "month"
)

// quarter is the unit of the counts in seconds: a quarter of an hour. Every zone's offset from UTC
// has been a whole number of them since 1972.
const quarter = 900

// Period is what a report is about: a day, a week or a month in one zone.
type Period struct {
	Kind Kind `json:"kind"`
	// First is the first day, as 2026-11-23; Name is the period in words.
	First string `json:"first"`
	Name  string `json:"name"`
	// Zone is the zone by which it is cut, as the IANA zone database names it.
	Zone string `json:"zone"`
	// From and Until bound the time of the events, half-open. A day on which clocks change has 23
	// or 25 hours.
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Ended is false for a period that is not over yet: its figures are those so far.
	Ended bool `json:"ended"`

	zone *time.Location
}

// malformed is the answer to a parameter that is wrong.
func malformed(format string, a ...any) error {
	return &ledger.Refusal{Code: "bad_parameter", Text: fmt.Sprintf(format, a...)}
}

// periodOf is the period of a kind that has a date in a zone. of is a date (2026-11-27), for a month also
// 2026-11, for a week also 2026-W48; "" is the period that has now. A period that has not begun is a
// *ledger.Refusal, like everything that is no date.
func periodOf(kind Kind, of string, zone *time.Location, now time.Time) (Period, error) {
	y, m, d, err := dateOf(kind, of, zone, now)
	if err != nil {
		return Period{}, err
	}
	// Dates are reckoned in UTC, where every day has 24 hours.
	first := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	next := first.AddDate(0, 0, 1)
	name := first.Format("Monday 2 January 2006")
	switch kind {
	case Day:
	case Week:
		first = first.AddDate(0, 0, -(int(first.Weekday())+6)%7)
		next = first.AddDate(0, 0, 7)
		year, week := first.ISOWeek()
		name = fmt.Sprintf("Week %d of %d, from Monday %s", week, year, first.Format("2 January 2006"))
	case Month:
		first = time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
		next = first.AddDate(0, 1, 0)
		name = first.Format("January 2006")
	default:
		return Period{}, malformed("A report is about a day, a week or a month.")
	}
	p := Period{Kind: kind, First: first.Format(time.DateOnly), Name: name, Zone: zone.String(), From: begins(first, zone), Until: begins(next, zone), zone: zone}
	switch {
	case !p.From.Before(p.Until):
		return Period{}, malformed("The zone %s has no such day.", zone)
	case p.From.After(now):
		return Period{}, malformed("%s has not begun in %s. Give an earlier date.", name, zone)
	}
	p.Ended = !p.Until.After(now)
	return p, nil
}

// dateOf reads a date, or takes today's.
func dateOf(kind Kind, of string, zone *time.Location, now time.Time) (int, time.Month, int, error) {
	if of == "" {
		y, m, d := now.In(zone).Date()
		return y, m, d, nil
	}
	day, err := time.Parse(time.DateOnly, of)
	if err != nil && kind == Month {
		day, err = time.Parse("2006-01", of)
	}
	if err != nil && kind == Week && len(of) == 8 && of[4:6] == "-W" {
		year, e1 := strconv.ParseUint(of[:4], 10, 16)
		week, e2 := strconv.ParseUint(of[6:], 10, 8)
		if e1 == nil && e2 == nil {
			day = time.Date(int(year), 1, 4, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 7*(int(week)-1)) // 4 January is in week 1
			if y, w := day.ISOWeek(); y == int(year) && w == int(week) {
				err = nil
			}
		}
	}
	switch {
	case err != nil && kind == Week:
		return 0, 0, 0, malformed("A date is written as 2026-11-27, and a week also as 2026-W48.")
	case err != nil && kind == Month:
		return 0, 0, 0, malformed("A date is written as 2026-11-27, and a month also as 2026-11.")
	case err != nil:
		return 0, 0, 0, malformed("A date is written as 2026-11-27.")
	case day.Year() < 2000 || day.Year() > 9990:
		return 0, 0, 0, malformed("Give a date from the year 2000 on.")
	}
	y, m, d := day.Date()
	return y, m, d, nil
}

// begins is the first instant, by quarters of an hour, at which a zone's calendar shows a day or a later
// one. Midnight may be skipped or come twice where clocks change.
func begins(day time.Time, zone *time.Location) time.Time {
	want := day.Format(time.DateOnly)
	t := day.Add(-15 * time.Hour)
	for t.In(zone).Format(time.DateOnly) < want {
		t = t.Add(quarter * time.Second)
	}
	return t
}

// Slot is a part of a period that a chart has one column for: an hour of a day, or a day of a week or month.
type Slot struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Name is the hour or the day in words; where an hour comes twice, with its offset.
	Name string `json:"name"`
	// Submitted are messages; the others are messages that came to their end, by how.
	Submitted    int64 `json:"submitted"`
	Delivered    int64 `json:"delivered"`
	NotDelivered int64 `json:"not_delivered"`
	Unknown      int64 `json:"unknown"`
	Denied       int64 `json:"denied"`
	NotSent      int64 `json:"not_sent"`
	OptOuts      int64 `json:"opt_outs"`
}

// slots cuts a period into its hours or days.
func (p *Period) slots() []Slot {
	label := func(t time.Time) string { return t.In(p.zone).Format("Mon 2 Jan") }
	if p.Kind == Day {
		label = func(t time.Time) string { return t.In(p.zone).Format("15:00 -07:00") }
	}
	var out []Slot
	for t := p.From; t.Before(p.Until); t = t.Add(quarter * time.Second) {
		name := label(t)
		if n := len(out); n == 0 || out[n-1].Name != name {
			if n > 0 {
				out[n-1].Until = t
			}
			out = append(out, Slot{From: t, Name: name})
		}
	}
	out[len(out)-1].Until = p.Until
	if p.Kind != Day {
		return out
	}
	times := map[string]int{}
	for i := range out {
		times[out[i].Name[:5]]++
	}
	for i := range out { // the offset matters only where an hour comes twice
		if times[out[i].Name[:5]] == 1 {
			out[i].Name = out[i].Name[:5]
		}
	}
	return out
}

// slotOf is the index of the slot that has an instant.
func slotOf(slots []Slot, t time.Time) int {
	low, high := 0, len(slots)-1
	for low < high {
		if mid := (low + high + 1) / 2; slots[mid].From.After(t) {
			high = mid - 1
		} else {
			low = mid
		}
	}
	return low
}
