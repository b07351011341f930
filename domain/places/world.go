// Package places knows where the holder of a phone number may be: the countries, states and zones of
// area codes, and the rules of the zones. All of it is world data, which has a date and is replaced
// as a whole. It has no clock and does no I/O. Everything in it is safe for concurrent use.
package places

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// Place is one place where a number's holder may be.
type Place struct {
	Country string // ISO 3166-1 alpha-2
	State   string // "FL"; "" where it is unknown or does not matter
	Zone    string // IANA name
}

// Event is the place in the form in which events have it: "US-FL America/New_York", "GB
// Europe/London".
func (p Place) Event() event.Place {
	where := p.Country
	if p.State != "" {
		where += "-" + p.State
	}
	return event.Place(where + " " + p.Zone)
}

func comparePlaces(a, b Place) int {
	return cmp.Or(strings.Compare(a.Country, b.Country), strings.Compare(a.State, b.State), strings.Compare(a.Zone, b.Zone))
}

// World is one edition of world data: area codes, zones by country and by prefix, and a zone
// database. It never changes.
type World struct {
	version string
	date    time.Time
	zoneIn  string // the version of the zone database
	zones   map[string]*time.Location

	// byArea has the places of each area code under +1. anywhere has every place where the holder of
	// a number under +1 may be whose area code is no place (toll-free, 500) or is not in byArea.
	byArea    [1000][]Place
	anywhere  []Place
	byCountry map[string][]string
	byPrefix  map[string][]string
	longest   int      // characters of the longest prefix
	canada    []string // the zones of Canada, for a number whose area code is no place
}

// BuiltIn is the world data in this binary.
func BuiltIn() *World { return builtIn() }

var builtIn = sync.OnceValue(func() *World {
	files, err := embeddedZones()
	if err != nil {
		panic(err) // it is embedded, and a test reads it
	}
	w, err := builtInTables().world(files)
	if err != nil {
		panic(err) // constant tables, which a test reads
	}
	return w
})

// Version names the world data: the IANA version of its zone database and its date
// ("2026f/2026-11-27"). Decisions record it, because places and local times can be computed anew
// only with the same data.
func (w *World) Version() string { return w.version }

// Date is the day, in UTC, up to which area codes and zones are known. Data that is half a year old
// lacks area codes and changes of clocks.
func (w *World) Date() time.Time { return w.date }

// Zone returns the zone with exactly that IANA name ("America/New_York"). Unlike time.LoadLocation
// it never reads ZONEINFO or the system's files, so that a decision can be repeated on every
// machine. It does not accept "" or "Local": an unknown zone is an error, and never UTC.
func (w *World) Zone(name string) (*time.Location, error) {
	if l := w.zones[name]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("zone %q is not in the zone database %s: use an IANA name such as America/New_York", name, w.zoneIn)
}

// areaCode returns the three digits after +1, or 0 for another number.
func areaCode(n sms.Number) int {
	if len(n) != 12 || n[:2] != "+1" {
		return 0
	}
	code, err := strconv.ParseUint(string(n[2:5]), 10, 10)
	if err != nil {
		return 0
	}
	return int(code)
}

// Country returns the ISO 3166-1 alpha-2 code of the country or territory whose numbering plan
// the number belongs to; under +1 the area code tells it (US, CA, PR, DO, ...). A number that
// neither the area codes nor the number metadata know has the main country of its calling code: the
// US under +1. It is "" for a number of no country, such as a satellite phone's. It does not say
// where the holder is.
func (w *World) Country(n sms.Number) string {
	if p := w.byArea[areaCode(n)]; p != nil {
		return p[0].Country
	}
	return n.Region()
}

// Of returns every place where the holder of the number may be, as far as the number tells, sorted
// by country, state and zone, without duplicates. Rules that depend on the place apply the strictest
// one. People take their numbers with them when they move, so better evidence (a ZIP code, a zone
// that the sender knows) should be used before this.
//
//   - A US number is in the state of its area code and in every zone of that area
//     code. One without a place (toll-free, 500) or with an area code that the world data
//     does not have may be in every state and zone of the 50 states and the District
//     of Columbia, in the territories, and in Canada: toll-free numbers are shared by
//     all of them. Territories are countries of their own here, so the places of such
//     a number are in other countries than Country, too.
//   - Another number that the metadata does not know is in every zone of its calling
//     code.
//   - A Canadian or Brazilian number is in every zone of its area code. Where mobile
//     numbers do not tell the place (Australia, Russia, Indonesia, ...), it is in every
//     zone of the country; else in every zone that the number metadata gives. State is "".
//
// It is empty where no zone is known; the caller must then defer or hold, and never assume UTC.
// Zone knows every zone that it returns.
func (w *World) Of(n sms.Number) []Place {
	if p := w.byArea[areaCode(n)]; p != nil {
		return slices.Clone(p)
	}
	country := n.Region()
	switch country {
	case "":
		return nil
	case "US":
		return slices.Clone(w.anywhere)
	}
	zones := w.zonesOf(n, country)
	if len(zones) == 0 {
		return nil
	}
	places := make([]Place, 0, len(zones))
	for _, z := range zones {
		places = append(places, Place{Country: country, Zone: z})
	}
	slices.SortFunc(places, comparePlaces)
	return slices.Compact(places)
}

// zonesOf returns the zones where the holder of the number may be; nil if none is known. country is
// the number's country, and is not the US.
func (w *World) zonesOf(n sms.Number, country string) []string {
	for i := min(len(n)-1, w.longest); i > 1; i-- {
		if z := w.byPrefix[string(n[:i])]; z != nil {
			return z
		}
	}
	if !n.Known() {
		return w.zonesOfCode(n)
	}
	if z := w.byCountry[country]; z != nil {
		return z
	}
	z, err := phonenumbers.GetTimezonesForPrefix(string(n))
	if err != nil || slices.Contains(z, phonenumbers.UNKNOWN_TIMEZONE) {
		return nil
	}
	if country == "CA" && len(z) > len(w.canada) {
		// The metadata answers with all zones of +1 if an area code is no place.
		return w.canada
	}
	return z
}

// zonesOfCode are all zones of the number's calling code: for a number that the metadata does not
// know, whose digits tell nothing else.
func (w *World) zonesOfCode(n sms.Number) []string {
	code, countries := n.Plan()
	var out []string
	for _, c := range countries {
		out = append(out, w.byCountry[c]...)
	}
	for prefix, zones := range w.byPrefix {
		if strings.HasPrefix(prefix, "+"+code) {
			out = append(out, zones...)
		}
	}
	for i := range 100 { // the metadata has zones by the first digits
		z, err := phonenumbers.GetTimezonesForPrefix(fmt.Sprintf("+%s%02d", code, i))
		if err == nil && !slices.Contains(z, phonenumbers.UNKNOWN_TIMEZONE) {
			out = append(out, z...)
		}
	}
	return out
}
