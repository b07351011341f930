package decision

import (
	"time"
)

// Local hours become instants here, so that daylight saving is the program's
// affair and not the policies'.

// zoned is a window with its zone loaded.
type zoned struct {
	Window
	loc *time.Location
}

// daysAhead bounds how far an opening is looked for: a week and a day.
const daysAhead = 8

// inside reports whether the window is open at t.
func (w *zoned) inside(t time.Time) bool {
	l := t.In(w.loc)
	day := w.Days[(int(l.Weekday())+6)%7]
	minute := l.Hour()*60 + l.Minute()
	return day[0] <= minute && minute < day[1]
}

// at is the instant of a local minute on the day that lies n days after t's. A
// local time that comes twice gives its first instant if early is set, else its
// second; one that never comes gives the instant at which the clock jumps past it.
func (w *zoned) at(t time.Time, n, minute int, early bool) time.Time {
	y, m, d := t.In(w.loc).Date()
	i := time.Date(y, m, d+n, 0, minute, 0, 0, w.loc)
	_, before := i.Add(-4 * time.Hour).Zone()
	_, after := i.Add(4 * time.Hour).Zone()
	if before == after {
		return i
	}
	wall := time.Date(y, m, d+n, 0, minute, 0, 0, time.UTC)
	by := func(offset int) (time.Time, bool) { // by the clock of before, or of after
		c := wall.Add(-time.Duration(offset) * time.Second).In(w.loc)
		_, is := c.Zone()
		return c, is == offset
	}
	first, ok1 := by(before)
	second, ok2 := by(after)
	switch {
	case ok1 && (early || !ok2):
		return first
	case ok2:
		return second
	}
	jump, _ := first.ZoneBounds()
	return jump
}

// closes is the first instant at or after t at which the window is closed; false
// when it stays open for more than a week.
func (w *zoned) closes(t time.Time) (time.Time, bool) {
	if !w.inside(t) {
		return t, true
	}
	c, ok := w.closing(t)
	// A clock that is set back may stand before the opening again.
	if _, set := t.In(w.loc).ZoneBounds(); !set.IsZero() && set.Sub(t) < daysAhead*24*time.Hour && (!ok || set.Before(c)) && !w.inside(set) {
		return set, true
	}
	return c, ok
}

func (w *zoned) closing(t time.Time) (time.Time, bool) {
	first := (int(t.In(w.loc).Weekday()) + 6) % 7
	for n := range daysAhead {
		day := w.Days[(first+n)%7]
		if n > 0 && day[0] > 0 || day[0] >= day[1] {
			// A clock that jumps over midnight may land past the opening: then it stays open.
			if c := w.at(t, n, 0, true); day[0] >= day[1] || !w.inside(c) {
				return c, true
			}
		}
		if day[1] < 24*60 {
			return w.at(t, n, day[1], true), true
		}
	}
	return time.Time{}, false
}

// opens is the first instant at or after t at which the window is open; false
// when it does not open within a week. Where a local time comes twice it is later
// rather than sooner.
func (w *zoned) opens(t time.Time) (time.Time, bool) {
	if w.inside(t) {
		return t, true
	}
	first := (int(t.In(w.loc).Weekday()) + 6) % 7
	for n := range daysAhead {
		day := w.Days[(first+n)%7]
		if day[0] >= day[1] {
			continue
		}
		if o := w.at(t, n, day[0], false); !o.Before(t) && w.inside(o) {
			return o, true
		}
	}
	return time.Time{}, false
}

// allOpen is the first instant at or after t at which every window is open; false
// when there is none within a week.
func allOpen(ws []zoned, t time.Time) (time.Time, bool) {
	end := t.Add(daysAhead * 24 * time.Hour)
	for t.Before(end) {
		moved := false
		for i := range ws {
			o, ok := ws[i].opens(t)
			if !ok {
				return time.Time{}, false
			}
			if o.After(t) {
				t, moved = o, true
			}
		}
		if !moved {
			return t, true
		}
	}
	return time.Time{}, false
}

// firstClose is the first instant at which any window closes; the zero time when
// none does.
func firstClose(ws []zoned, t time.Time) time.Time {
	var first time.Time
	for i := range ws {
		if c, ok := ws[i].closes(t); ok && (first.IsZero() || c.Before(first)) {
			first = c
		}
	}
	return first
}
