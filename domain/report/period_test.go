package report

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/places"
)

var now = time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)

func zoneNamed(t testing.TB, name string) *time.Location {
	t.Helper()
	zone, err := places.BuiltIn().Zone(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func TestPeriods(t *testing.T) {
	for _, c := range []struct {
		kind               Kind
		of, zone           string
		first, from, until string
		hours              float64
		slots              int
	}{
		{Day, "2026-11-27", "UTC", "2026-11-27", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z", 24, 24},
		{Day, "2026-11-27", "Asia/Kathmandu", "2026-11-27", "2026-11-26T18:15:00Z", "2026-11-27T18:15:00Z", 24, 24},
		{Day, "2026-03-08", "America/New_York", "2026-03-08", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z", 23, 23},
		{Day, "2026-11-01", "America/New_York", "2026-11-01", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", 25, 25},
		{Day, "2026-10-04", "Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30:00Z", "2026-10-04T13:00:00Z", 23.5, 24},
		// Midnight is skipped, and comes twice.
		{Day, "2026-04-24", "Africa/Cairo", "2026-04-24", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z", 23, 23},
		{Day, "2024-11-03", "America/Havana", "2024-11-03", "2024-11-03T04:00:00Z", "2024-11-04T05:00:00Z", 25, 25},
		{Week, "2026-11-26", "Europe/Paris", "2026-11-23", "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z", 168, 7},
		{Week, "2026-11-23", "UTC", "2026-11-23", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z", 168, 7},
		{Week, "2026-11-22", "UTC", "2026-11-16", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z", 168, 7},
		{Week, "2026-W01", "UTC", "2025-12-29", "2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z", 168, 7},
		{Week, "2026-W44", "America/New_York", "2026-10-26", "2026-10-26T04:00:00Z", "2026-11-02T05:00:00Z", 169, 7},
		{Month, "2026-11", "UTC", "2026-11-01", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z", 720, 30},
		{Month, "2026-03-31", "Europe/London", "2026-03-01", "2026-03-01T00:00:00Z", "2026-03-31T23:00:00Z", 743, 31},
		{Day, "", "Asia/Tokyo", "2026-11-28", "2026-11-27T15:00:00Z", "2026-11-28T15:00:00Z", 24, 24},
	} {
		p, err := periodOf(c.kind, c.of, zoneNamed(t, c.zone), now)
		if err != nil {
			t.Errorf("%s %s in %s: %v", c.kind, c.of, c.zone, err)
			continue
		}
		slots := p.slots()
		if p.First != c.first || p.From.Format(time.RFC3339) != c.from || p.Until.Format(time.RFC3339) != c.until || p.Until.Sub(p.From).Hours() != c.hours || len(slots) != c.slots {
			t.Errorf("%s %s in %s is %+v with %d slots, want %+v", c.kind, c.of, c.zone, p, len(slots), c)
		}
		if p.Ended != (c.until <= now.Format(time.RFC3339)) {
			t.Errorf("%s: ended is %v", p.Name, p.Ended)
		}
		names := map[string]bool{}
		for i, s := range slots {
			if names[s.Name] || i > 0 && !slots[i-1].Until.Equal(s.From) {
				t.Errorf("%s: slot %d is %+v", p.Name, i, s)
			}
			names[s.Name] = true
		}
	}
}

func TestNoPeriods(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		of   string
		zone string
	}{
		{Day, "2026-11-29", "UTC"}, {Day, "2026-11-31", "UTC"}, {Day, "27.11.2026", "UTC"}, {Day, "2026-11", "UTC"}, {Week, "2026-W54", "UTC"}, {Week, "2026-W00", "UTC"},
		{Week, "2027-W48", "UTC"}, {Month, "2026-13", "UTC"}, {Month, "1999-12", "UTC"}, {"year", "2026-11-27", "UTC"}, {Day, "2011-12-30", "Pacific/Apia"},
	} {
		var r *ledger.Refusal
		if p, err := periodOf(c.kind, c.of, zoneNamed(t, c.zone), now); !errors.As(err, &r) || r.Code != "bad_parameter" {
			t.Errorf("%s %s: %+v, %v", c.kind, c.of, p, err)
		}
	}
}

// The days of every zone follow one another without a gap, and begin at a quarter of an hour.
func TestDaysFollow(t *testing.T) {
	draw := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"Africa/Cairo", "America/Havana", "America/St_Johns", "Asia/Beirut", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham", "America/Asuncion", "Atlantic/Azores", "Africa/Casablanca"} {
		zone := zoneNamed(t, name)
		day := time.Date(2015+draw.IntN(10), 1, 1, 0, 0, 0, 0, time.UTC)
		for range 800 {
			next := day.AddDate(0, 0, 1)
			a, b := begins(day, zone), begins(next, zone)
			if hours := b.Sub(a).Hours(); hours < 23 || hours > 25 || a.Unix()%quarter != 0 {
				t.Fatalf("%s: %s has %v hours from %s", name, day, hours, a)
			}
			if !a.In(zone).Add(-time.Millisecond).Before(a) || a.Add(-time.Second).In(zone).Format(time.DateOnly) >= day.Format(time.DateOnly) {
				t.Fatalf("%s: %s does not begin at %s", name, day, a)
			}
			day = next
		}
	}
}
