package cli

import (
	"strings"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/places"
)

// zoneFlag is the zone in which a person reads and writes times.
type zoneFlag struct {
	Zone string `help:"A time zone such as America/New_York. Times that you give are in it, and times are shown in it too, beside UTC." placeholder:"ZONE"`
}

// location is the zone that is asked for; UTC without one.
func (z *zoneFlag) location() (*time.Location, error) {
	if z.Zone == "" {
		return time.UTC, nil
	}
	l, err := places.BuiltIn().Zone(z.Zone)
	if err != nil || z.Zone == "Local" {
		return nil, terminal.UsageError("--zone must be a time zone such as America/New_York or Europe/Berlin")
	}
	return l, nil
}

// local is a time in the zone that was asked for; "" if none was.
func (z *zoneFlag) local(t time.Time, in *time.Location) string {
	if z.Zone == "" || t.IsZero() {
		return ""
	}
	return t.In(in).Format("2006-01-02 15:04:05 MST")
}

// timeForms are how a person may write a time; all but the first are in the zone of --zone.
var timeForms = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"}

// timeIn reads a time; "" is none. flag is named when it is wrong.
func timeIn(flag, text string, in *time.Location) (time.Time, error) {
	if text = strings.TrimSpace(text); text == "" {
		return time.Time{}, nil
	}
	for _, form := range timeForms {
		if t, err := time.ParseInLocation(form, text, in); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, terminal.UsageError("%s must be a day such as 2026-11-24, a time such as \"2026-11-24 14:03\" (in UTC, or in --zone), or one with its zone such as 2026-11-24T14:03:00Z", flag)
}
