package decision

import "time"

// Local hours become instants here, in Go, so that the policies need not know about daylight
// saving.

// zoned is a window with its zone loaded.
type zoned struct {
	Window
	loc *time.Location
}

// daysAhead bounds how far ahead an opening is searched: a week and a day.
const daysAhead = 8

// inside reports whether the window is open at t.
func (w *zoned) inside(t time.Time) bool {
	l := t.In(w.loc)
	day := w.Days[(int(l.Weekday())+6)%7]
	minute := l.Hour()*60 + l.Minute()
	return day[0] <= minute && minute < day[1]
}

// at is the instant of a local minute on the day n days after the day of t. When a clock is
// set back, a local time comes twice: at is then the first instant if early is set, else the
// second. When a clock is set forward, some local times never come: at is then the instant at
// which the clock jumps past them.
func (w *zoned) at(t time.Time, n, minute int, early bool) time.Time {
	y, m, d := t.In(w.loc).Date()
	i := time.Date(y, m, d+n, 0, minute, 0, 0, w.loc)
	_, before := i.Add(-4 * time.Hour).Zone()
	_, after := i.Add(4 * time.Hour).Zone()
	if before == after {
		return i
	}
	wall := time.Date(y, m, d+n, 0, minute, 0, 0, time.UTC)
	// The instant at which a clock with the offset shows the local time; false if the zone
	// has another offset then.
	by := func(offset int) (time.Time, bool) {
		c := wall.Add(-time.Duration(offset) * time.Second).In(w.loc)
		_, actual := c.Zone()
		return c, actual == offset
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

// closes is the first instant at or after t at which the window is closed. It reports false
// if the window stays open for more than a week.
func (w *zoned) closes(t time.Time) (time.Time, bool) {
	if !w.inside(t) {
		return t, true
	}
	c, ok := w.closing(t)
	// A clock that is set back may show a time before the opening once more.
	if _, change := t.In(w.loc).ZoneBounds(); !change.IsZero() && change.Sub(t) < daysAhead*24*time.Hour && (!ok || change.Before(c)) && !w.inside(change) {
		return change, true
	}
	return c, ok
}

// closing is closes for a window that is open at t, if its clock is not set back before.
func (w *zoned) closing(t time.Time) (time.Time, bool) {
	first := (int(t.In(w.loc).Weekday()) + 6) % 7
	for n := range daysAhead {
		day := w.Days[(first+n)%7]
		if n > 0 && day[0] > 0 || day[0] >= day[1] {
			// A clock that jumps over midnight may jump past the opening too: then the window
			// stays open.
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

// opens is the first instant at or after t at which the window is open. It reports false if
// the window does not open within a week. If the local time of the opening comes twice, the
// second instant counts: rather late than too early.
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

// allOpen is the first instant at or after t at which every window is open. It reports false
// if there is none within a week.
func allOpen(ws []zoned, t time.Time) (time.Time, bool) {
	end := t.Add(daysAhead * 24 * time.Hour)
	for t.Before(end) {
		unchanged := true
		for i := range ws {
			o, ok := ws[i].opens(t)
			if !ok {
				return time.Time{}, false
			}
			if o.After(t) {
				t, unchanged = o, false
			}
		}
		if unchanged {
			return t, true
		}
	}
	return time.Time{}, false
}

// firstClose is the first instant at or after t at which any window is closed; the zero time
// if there is none.
func firstClose(ws []zoned, t time.Time) time.Time {
	var first time.Time
	for i := range ws {
		if c, ok := ws[i].closes(t); ok && (first.IsZero() || c.Before(first)) {
			first = c
		}
	}
	return first
}
