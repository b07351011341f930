package places

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// tables is world data without its zone database, as world.json has it.
type tables struct {
	Format int `json:"format"`
	// Date is the day up to which the tables are known: YYYY-MM-DD.
	Date string `json:"date"`
	// ZoneData is the release of the IANA zone database, such as "2026f".
	ZoneData string `json:"zone_data"`
	// AreaCodes are the geographic area codes under +1, by their three digits.
	AreaCodes map[string]area `json:"area_codes"`
	// WithoutPlace are the zones, by country, where the holder of a number under +1 without a place may
	// be, besides the places of all area codes. It has Canada's.
	WithoutPlace map[string][]string `json:"without_place"`
	// ByCountry has every zone of a country where a number does not tell where in it it was given out.
	ByCountry map[string][]string `json:"by_country"`
	// ByPrefix has the zones of the numbers that begin with a plus sign and these digits. The longest
	// prefix counts.
	ByPrefix map[string][]string `json:"by_prefix"`
}

// area is where the numbers of an area code may be.
type area struct {
	Country string   `json:"country"`
	State   string   `json:"state,omitempty"`
	Zones   []string `json:"zones"`
}

// tablesFormat is the format of world.json that this binary reads and writes.
const tablesFormat = 1

// builtInTables are the tables of this binary.
func builtInTables() *tables {
	t := &tables{Format: tablesFormat, Date: worldDate, ZoneData: zoneVersion, AreaCodes: map[string]area{},
		WithoutPlace: withoutPlace, ByCountry: zonesByCountry, ByPrefix: zonesByPrefix}
	for _, s := range usStates {
		for _, a := range s.areas {
			for _, c := range a.codes {
				t.AreaCodes[strconv.Itoa(c)] = area{Country: "US", State: s.code, Zones: a.zones}
			}
		}
	}
	return t
}

// world makes world data of the tables and the files of a zone database, by the zones' names.
func (t *tables) world(files map[string][]byte) (*World, error) {
	date, err := time.Parse(time.DateOnly, t.Date)
	if err != nil {
		return nil, fmt.Errorf("the date %q is not in the form YYYY-MM-DD", t.Date)
	}
	w := &World{version: t.ZoneData + "/" + t.Date, date: date, zoneIn: t.ZoneData, zones: make(map[string]*time.Location, len(files)),
		byCountry: t.ByCountry, byPrefix: t.ByPrefix, canada: t.WithoutPlace["CA"]}
	for name, data := range files {
		if w.zones[name], err = time.LoadLocationFromTZData(name, data); err != nil {
			return nil, fmt.Errorf("zone %s: %w", name, err)
		}
	}
	for prefix := range t.ByPrefix {
		w.longest = max(w.longest, len(prefix))
	}
	for _, digits := range slices.Sorted(maps.Keys(t.AreaCodes)) {
		code, err := strconv.ParseUint(digits, 10, 10)
		if err != nil || code >= uint64(len(w.byArea)) {
			return nil, fmt.Errorf("the area code %q is not three digits", digits)
		}
		a := t.AreaCodes[digits]
		var places []Place
		for _, z := range a.Zones {
			places = append(places, Place{Country: a.Country, State: a.State, Zone: z})
		}
		slices.SortFunc(places, comparePlaces)
		w.byArea[code] = places
		w.anywhere = append(w.anywhere, places...)
	}
	for country, zones := range t.WithoutPlace {
		for _, z := range zones {
			w.anywhere = append(w.anywhere, Place{Country: country, Zone: z})
		}
	}
	slices.SortFunc(w.anywhere, comparePlaces)
	w.anywhere = slices.Compact(w.anywhere)
	return w, nil
}
