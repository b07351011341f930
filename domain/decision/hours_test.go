package decision

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chirograph/chirograph/domain/places"
)

func window(t testing.TB, name string, days [7][2]int) zoned {
	t.Helper()
	loc, err := places.BuiltIn().Zone(name)
	if err != nil {
		t.Fatal(err)
	}
	return zoned{Window{Zone: name, Days: days}, loc}
}

func daily(from, to int) (d [7][2]int) {
	for i := range d {
		d[i] = [2]int{from, to}
	}
	return d
}

// texas: Monday to Saturday 9 to 21, Sunday 12 to 21.
var texas = [7][2]int{{540, 1260}, {540, 1260}, {540, 1260}, {540, 1260}, {540, 1260}, {540, 1260}, {720, 1260}}

func TestHours(t *testing.T) {
	for name, f := range map[string]struct {
		zone          string
		days          [7][2]int
		at            string // local
		opens, closes string // UTC; "" never
	}{
		"open":                     {"America/New_York", daily(480, 1260), "2026-11-24T12:00", "2026-11-24T17:00", "2026-11-25T02:00"},
		"the first minute":         {"America/New_York", daily(480, 1260), "2026-11-24T08:00", "2026-11-24T13:00", "2026-11-25T02:00"},
		"before the first minute":  {"America/New_York", daily(480, 1260), "2026-11-24T07:59", "2026-11-24T13:00", "2026-11-24T12:59"},
		"the last minute":          {"America/New_York", daily(480, 1260), "2026-11-24T20:59", "2026-11-25T01:59", "2026-11-25T02:00"},
		"after the last minute":    {"America/New_York", daily(480, 1260), "2026-11-24T21:00", "2026-11-25T13:00", "2026-11-25T02:00"},
		"Texas, Saturday night":    {"America/Chicago", texas, "2026-11-28T21:00", "2026-11-29T18:00", "2026-11-29T03:00"},
		"Texas, Sunday morning":    {"America/Chicago", texas, "2026-11-29T11:59", "2026-11-29T18:00", "2026-11-29T17:59"},
		"Texas, Sunday noon":       {"America/Chicago", texas, "2026-11-29T12:00", "2026-11-29T18:00", "2026-11-30T03:00"},
		"Texas, Monday":            {"America/Chicago", texas, "2026-11-30T09:00", "2026-11-30T15:00", "2026-12-01T03:00"},
		"always":                   {"America/New_York", daily(0, 1440), "2026-11-24T12:00", "2026-11-24T17:00", ""},
		"never":                    {"America/New_York", daily(0, 0), "2026-11-24T12:00", "", "2026-11-24T17:00"},
		"weekdays, Friday":         {"America/New_York", [7][2]int{{0, 1440}, {0, 1440}, {0, 1440}, {0, 1440}, {0, 1440}}, "2026-11-27T12:00", "2026-11-27T17:00", "2026-11-28T05:00"},
		"weekdays, Saturday":       {"America/New_York", [7][2]int{{0, 1440}, {0, 1440}, {0, 1440}, {0, 1440}, {0, 1440}}, "2026-11-28T12:00", "2026-11-30T05:00", "2026-11-28T17:00"},
		"one day a week, the next": {"America/New_York", [7][2]int{{600, 660}}, "2026-11-23T11:00", "2026-11-30T15:00", "2026-11-23T16:00"},
		// The clock jumps from 2:00 to 3:00 on 8 March, and from 2:00 back to 1:00 on 1 November.
		"the night before the gap":                {"America/New_York", daily(480, 1260), "2026-03-07T21:00", "2026-03-08T12:00", "2026-03-08T02:00"},
		"opens in the gap":                        {"America/New_York", daily(150, 1260), "2026-03-08T01:00", "2026-03-08T07:00", "2026-03-08T06:00"},
		"closes in the gap":                       {"America/New_York", daily(0, 150), "2026-03-08T01:00", "2026-03-08T06:00", "2026-03-08T07:00"},
		"closes in the overlap":                   {"America/New_York", daily(0, 90), "2026-11-01T00:30", "2026-11-01T04:30", "2026-11-01T05:30"},
		"the night before the overlap":            {"America/New_York", daily(480, 1260), "2026-10-31T21:00", "2026-11-01T13:00", "2026-11-01T01:00"},
		"a day that starts late (Santiago)":       {"America/Santiago", daily(0, 600), "2026-09-05T12:00", "2026-09-06T04:00", "2026-09-05T16:00"},
		"half an hour's gap (Lord Howe)":          {"Australia/Lord_Howe", daily(135, 600), "2026-10-04T01:00", "2026-10-03T15:30", "2026-10-03T14:30"},
		"a day that was left out (Apia)":          {"Pacific/Apia", daily(480, 1260), "2011-12-29T22:00", "2011-12-30T18:00", "2011-12-30T08:00"},
		"a zone that is ahead of UTC (Auckland)":  {"Pacific/Auckland", daily(480, 1260), "2026-11-25T07:00", "2026-11-24T19:00", "2026-11-24T18:00"},
		"open through the gap until the evening":  {"America/New_York", daily(60, 1260), "2026-03-08T01:30", "2026-03-08T06:30", "2026-03-09T01:00"},
		"open through the overlap to the evening": {"America/New_York", daily(60, 1260), "2026-11-01T01:30", "2026-11-01T05:30", "2026-11-02T02:00"},
	} {
		w := window(t, f.zone, f.days)
		at, err := time.ParseInLocation("2006-01-02T15:04", f.at, w.loc)
		if err != nil {
			t.Fatal(err)
		}
		show := func(i time.Time, ok bool) string {
			if !ok {
				return ""
			}
			return i.UTC().Format("2006-01-02T15:04")
		}
		if got := show(w.opens(at)); got != f.opens {
			t.Errorf("%s: opens at %q, not %q", name, got, f.opens)
		}
		if got := show(w.closes(at)); got != f.closes {
			t.Errorf("%s: closes at %q, not %q", name, got, f.closes)
		}
	}
}

// Against a walk from minute to minute: an allow never outlasts the hours, and a
// deferral never ends outside them, nor long after they open.
func TestHoursWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w zoned
		w.Zone = rapid.SampledFrom([]string{"America/New_York", "Australia/Lord_Howe", "America/Santiago", "Europe/London", "Asia/Kolkata", "Africa/Casablanca"}).Draw(t, "zone")
		loc, err := places.BuiltIn().Zone(w.Zone)
		if err != nil {
			t.Fatal(err)
		}
		w.loc = loc
		for i := range w.Days {
			from := 30 * rapid.IntRange(0, 48).Draw(t, "from")
			w.Days[i] = [2]int{from, from + 30*rapid.IntRange(0, (1440-from)/30).Draw(t, "hours")}
		}
		days := []string{"2026-03-07", "2026-03-28", "2026-04-04", "2026-09-05", "2026-10-03", "2026-10-24", "2026-10-31", "2026-02-14", "2026-03-21", "2026-06-10"}
		day, err := time.ParseInLocation("2006-01-02", rapid.SampledFrom(days).Draw(t, "day"), loc)
		if err != nil {
			t.Fatal(err)
		}
		at := day.Add(time.Duration(rapid.IntRange(0, 3*1440*60).Draw(t, "second")) * time.Second)
		walk := func(open bool) (time.Time, bool) {
			for i := at; i.Before(at.Add(8 * 24 * time.Hour)); i = i.Truncate(time.Minute).Add(time.Minute) {
				if w.inside(i) == open {
					return i, true
				}
			}
			return time.Time{}, false
		}
		want, may := walk(false)
		got, ok := w.closes(at)
		if may && (!ok || got.After(want)) || ok && (got.Before(at) || got.Before(want.Add(-time.Hour))) {
			t.Fatalf("from %s it closes at %s (%v), not %s", at, got.In(loc), ok, want)
		}
		want, may = walk(true)
		got, ok = w.opens(at)
		switch {
		case !ok && may && want.Before(at.Add(6*24*time.Hour)), ok && !may:
			t.Fatalf("from %s it opens at %s (%v), not %s (%v)", at, got.In(loc), ok, want, may)
		case ok && (!w.inside(got) || got.Before(want)):
			t.Fatalf("from %s it opens at %s, and is closed then", at, got.In(loc))
		case ok && got.After(want.Add(time.Hour)) && want.Add(-time.Hour).In(loc).Format("15:04") != want.In(loc).Format("15:04"):
			t.Fatalf("from %s it opens at %s, long after %s", at, got.In(loc), want)
		}
	})
}

func TestAllOpen(t *testing.T) {
	east, west := window(t, "America/New_York", daily(480, 1260)), window(t, "America/Los_Angeles", daily(480, 1260))
	at := time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)
	if got, ok := allOpen([]zoned{east, west}, at); !ok || !got.Equal(time.Date(2026, 11, 24, 16, 0, 0, 0, time.UTC)) {
		t.Errorf("both are open at %s, %v", got, ok)
	}
	if got := firstClose([]zoned{west, east}, time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)); !got.Equal(time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)) {
		t.Errorf("the first closes at %s", got)
	}
	if got, ok := allOpen(nil, at); !ok || !got.Equal(at) {
		t.Errorf("no window is closed until %s", got)
	}
	if got := firstClose(nil, at); !got.IsZero() {
		t.Errorf("no window closes at %s", got)
	}
	morning, evening := window(t, "America/New_York", daily(480, 600)), window(t, "America/New_York", daily(600, 720))
	if got, ok := allOpen([]zoned{morning, evening}, at); ok {
		t.Errorf("windows that never overlap are open at %s", got)
	}
	if got, ok := allOpen([]zoned{east, window(t, "Asia/Kolkata", daily(0, 0))}, at); ok {
		t.Errorf("a window that never opens is open at %s", got)
	}
}
