package places

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/sms"
)

// exported has the built-in world data as a file.
func exported(t testing.TB) []byte {
	var b bytes.Buffer
	if err := Export(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// changed is the exported file with its world.json changed, and without the entries that drop names.
func changed(t testing.TB, change func(map[string]any), drop ...string) []byte {
	data := exported(t)
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range r.File {
		if slices.Contains(drop, f.Name) {
			continue
		}
		content, err := read(f, MaxFile)
		if err != nil {
			t.Fatal(err)
		}
		if f.Name == tablesName {
			var tables map[string]any
			if err := json.Unmarshal(content, &tables); err != nil {
				t.Fatal(err)
			}
			change(tables)
			if content, err = json.Marshal(tables); err != nil {
				t.Fatal(err)
			}
		}
		out, err := w.Create(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What Export writes, Load reads, with the same answers; only the version tells the two apart.
func TestExportAndLoad(t *testing.T) {
	data := exported(t)
	if !bytes.Equal(data, exported(t)) {
		t.Error("Export does not always write the same bytes")
	}
	w, err := Load(data)
	if err != nil {
		t.Fatal(err)
	}
	b := BuiltIn()
	if !w.Date().Equal(b.Date()) || !strings.HasPrefix(w.Version(), b.Version()+"/") || len(w.Version()) != len(b.Version())+9 {
		t.Errorf("version %s of %s", w.Version(), w.Date())
	}
	numbers := []sms.Number{"+447400123456", "+61412345678", "+5581961234567", "+5511961234567", "+16005550123", "+17875550123", "+75550123456",
		"+870773111632", "+18005550123", ""}
	for area := 200; area < 1000; area++ {
		numbers = append(numbers, sms.Number("+1"+string(rune('0'+area/100))+string(rune('0'+area/10%10))+string(rune('0'+area%10))+"5550123"))
	}
	for _, n := range numbers {
		if !slices.Equal(w.Of(n), b.Of(n)) || w.Country(n) != b.Country(n) {
			t.Errorf("%s: %s %v, built in %s %v", n, w.Country(n), w.Of(n), b.Country(n), b.Of(n))
		}
	}
	for name := range b.zones {
		if l, err := w.Zone(name); err != nil || l.String() != name {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
}

// A newer file answers for what is new in it, and its own version and date are told.
func TestLoadNewer(t *testing.T) {
	w, err := Load(changed(t, func(m map[string]any) {
		m["date"], m["zone_data"] = "2027-02-01", "2027a"
		m["area_codes"].(map[string]any)["460"] = area{Country: "US", State: "NY", Zones: []string{"America/New_York"}}
		m["area_codes"].(map[string]any)["461"] = area{Country: "CA", Zones: []string{"America/Winnipeg"}}
		m["by_prefix"].(map[string]any)["+447400"] = []string{"Europe/Guernsey"}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(w.Version(), "2027a/2027-02-01/") || w.Date().Format("2006-01-02") != "2027-02-01" {
		t.Errorf("version %s of %s", w.Version(), w.Date())
	}
	for n, want := range map[sms.Number]Place{"+14605550123": {"US", "NY", "America/New_York"}, "+14615550123": {"CA", "", "America/Winnipeg"},
		"+447400123456": {"GB", "", "Europe/Guernsey"}} {
		if got := w.Of(n); len(got) != 1 || got[0] != want || w.Country(n) != want.Country {
			t.Errorf("%s: %s, %v", n, w.Country(n), got)
		}
		if len(BuiltIn().Of(n)) < 2 {
			t.Errorf("%s is in the built-in world data", n)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	set := func(table, key string, value any) func(map[string]any) {
		return func(m map[string]any) { m[table].(map[string]any)[key] = value }
	}
	for want, change := range map[string]func(map[string]any){
		`unknown field "more"`:                                          func(m map[string]any) { m["more"] = 1 },
		"its format is 2":                                               func(m map[string]any) { m["format"] = 2 },
		"the date \"27 November\" is not in the form":                   func(m map[string]any) { m["date"] = "27 November" },
		"zone_data is \"new\"":                                          func(m map[string]any) { m["zone_data"] = "new" },
		`"20" is no area code`:                                          set("area_codes", "20", area{Country: "US", State: "NJ", Zones: []string{"America/New_York"}}),
		`201: the country "GB" has no numbers under +1`:                 set("area_codes", "201", area{Country: "GB", Zones: []string{"Europe/London"}}),
		"201: a US area code has a state":                               set("area_codes", "201", area{Country: "US", Zones: []string{"America/New_York"}}),
		"201: it has 0 zones":                                           set("area_codes", "201", area{Country: "US", State: "NJ"}),
		"by_country: AU: it has a zone twice":                           set("by_country", "AU", []string{"Australia/Perth", "Australia/Perth"}),
		`by_country: "ZZ"`:                                              set("by_country", "ZZ", []string{"Australia/Perth"}),
		`without_place: "GB"`:                                           set("without_place", "GB", []string{"Europe/London"}),
		`by_prefix: "5581"`:                                             set("by_prefix", "5581", []string{"America/Recife"}),
		`by_prefix: "+55" does not begin`:                               set("by_prefix", "+55", []string{"America/Recife"}),
		`by_country: AU: the zone "Mars/Olympus" is not in the folder`:  set("by_country", "AU", []string{"Mars/Olympus"}),
		"no area code and no entry of without_place is in GU,":          func(m map[string]any) { delete(m["without_place"].(map[string]any), "GU") },
		"no area code and no entry of without_place is in US-WY, which": func(m map[string]any) { delete(m["area_codes"].(map[string]any), "307") },
	} {
		if w, err := Load(changed(t, change)); err == nil || w != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	none := func(map[string]any) {}
	for want, data := range map[string][]byte{
		"the file is no zip":                         []byte("{}"),
		"the zip has no world.json":                  changed(t, none, tablesName),
		`the zone "Asia/Calcutta" is missing`:        changed(t, none, "zoneinfo/Asia/Calcutta"),
		`the zip has the entry "readme.txt"`:         packed(t, "readme.txt", "x"),
		`the zip has the entry "zoneinfo/../x"`:      packed(t, "zoneinfo/../x", "x"),
		`the zip has the entry "zoneinfo/Local"`:     packed(t, "zoneinfo/Local", "x"),
		`the zip has the entry "world.json" twice`:   packed(t, tablesName, "{}", tablesName, "{}"),
		`the zip has the entry "zoneinfo/UTC" twice`: packed(t, "zoneinfo/UTC", "", "zoneinfo/UTC", ""),
		"it is larger than 1 MiB":                    packed(t, tablesName, strings.Repeat(" ", maxTables+1)),
		"unpacked, the files have more than 64 MiB":  packed(t, "zoneinfo/UTC", strings.Repeat("x", MaxFile-1), "zoneinfo/GMT", "xx"),
		"the zip has more than 2000 entries":         packed(t, slices.Repeat([]string{"zoneinfo/", ""}, maxEntries+1)...),
		`it has "Date" twice in one object`:          packed(t, tablesName, `{"date": "2026-11-27", "Date": "2027-11-27"}`),
		"there is more text after its end":           packed(t, tablesName, `{} {}`),
		"it is nested more than 8 deep":              packed(t, tablesName, strings.Repeat("[", 1000)),
	} {
		if w, err := Load(data); err == nil || w != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// packed is a zip of entries: a name, its content, and so on.
func packed(t testing.TB, entries ...string) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(entries); i += 2 {
		f, err := w.Create(entries[i])
		if err == nil && entries[i+1] != "" {
			_, err = f.Write([]byte(entries[i+1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte("PK"))
	f.Add(packed(f, tablesName, `{"format": 1}`, "zoneinfo/UTC", "TZif"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if w, err := Load(data); (w == nil) == (err == nil) {
			t.Error(w, err)
		}
	})
}

func FuzzTables(f *testing.F) {
	f.Add([]byte(`{"format": 1, "date": "2026-11-27", "zone_data": "2026f", "area_codes": {"201": {"country": "US", "state": "NJ", "zones": ["America/New_York"]}}}`))
	f.Add([]byte(`{"format": 1, "date": "2026-11-27", "zone_data": "2026f", "by_prefix": {"+5581": ["America/Recife"]}, "by_country": {"AU": ["Australia/Perth"]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		tables, err := parseTables(text)
		if err != nil {
			return
		}
		if _, err := tables.world(nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	})
}
