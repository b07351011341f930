package places

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/sms"
)

// A world data file is a zip with world.json (see tables) and the compiled files of an IANA zone
// database in zoneinfo/, by their names: zoneinfo/America/New_York (TZif, RFC 9636).
const (
	tablesName = "world.json"
	zoneFolder = "zoneinfo/"
)

// The bounds of a world data file.
const (
	// MaxFile is the most bytes that a world data file may have, packed; unpacked, all its files
	// together may have no more either. 64 MiB.
	MaxFile = 64 << 20
	// maxEntries is how many files and folders may be in it. IANA has about 600 names.
	maxEntries = 2000
	// maxTables bounds world.json.
	maxTables = 1 << 20
	// maxZones bounds the zones of one area code, country or prefix.
	maxZones = 50
)

// Load reads a world data file, which Export writes too. The file has everything: nothing is taken
// from the built-in world data. Version ends in the first eight hexadecimal digits of the file's
// SHA-256 ("2026g/2027-02-01/5f1d0a9b"), so that two files never have one version.
//
// It refuses a file with anything that it does not know, a table that names a zone which is not in
// the file, and one that lacks a zone, a US state or a territory that the built-in world data has: a
// number without a place may be in each of them, and events name zones by their old names for ever.
// The error says what is wrong and where.
func Load(data []byte) (*World, error) {
	text, files, err := unpack(data)
	if err != nil {
		return nil, err
	}
	t, err := parseTables(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tablesName, err)
	}
	w, err := t.world(files)
	if err != nil {
		return nil, err
	}
	if err := t.covers(w); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	w.version += "/" + hex.EncodeToString(sum[:4])
	return w, nil
}

// unpack returns world.json and the files of the zone database by the zones' names.
func unpack(data []byte) (text []byte, zones map[string][]byte, err error) {
	if len(data) > MaxFile {
		return nil, nil, errors.New("the file is larger than 64 MiB")
	}
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, nil, fmt.Errorf("the file is no zip: %w", err)
	}
	if len(r.File) > maxEntries {
		return nil, nil, fmt.Errorf("the zip has more than %d entries", maxEntries)
	}
	zones = map[string][]byte{}
	left := int64(MaxFile)
	for _, f := range r.File {
		zone, inFolder := strings.CutPrefix(f.Name, zoneFolder)
		switch {
		case inFolder && (zone == "" || strings.HasSuffix(zone, "/")):
			continue // a folder
		case inFolder && !isZoneName(zone), !inFolder && f.Name != tablesName:
			return nil, nil, fmt.Errorf("the zip has the entry %q: it may have %s and %sAREA/PLACE alone", f.Name, tablesName, zoneFolder)
		}
		content, err := read(f, left)
		if err != nil {
			return nil, nil, fmt.Errorf("the entry %q: %w", f.Name, err)
		}
		left -= int64(len(content))
		twice := zones[zone] != nil
		if inFolder {
			zones[zone] = content
		} else {
			twice, text = text != nil, content
		}
		if twice {
			return nil, nil, fmt.Errorf("the zip has the entry %q twice", f.Name)
		}
	}
	if text == nil {
		return nil, nil, fmt.Errorf("the zip has no %s", tablesName)
	}
	return text, zones, nil
}

// read unpacks a file of at most most bytes, whatever size it says that it has. It never returns nil
// without an error.
func read(f *zip.File, most int64) ([]byte, error) {
	if f.UncompressedSize64 > uint64(most) {
		return nil, errors.New("unpacked, the files have more than 64 MiB")
	}
	rc, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	content, err := io.ReadAll(io.LimitReader(rc, most+1))
	if err == nil && int64(len(content)) > most {
		err = errors.New("unpacked, the files have more than 64 MiB")
	}
	return content, err
}

// isZoneName reports whether s may be the name of a zone: up to three words of ASCII letters, digits,
// _, + and -, with slashes between them, and not "Local", which Go reads as the machine's zone.
func isZoneName(s string) bool {
	words := strings.Split(s, "/")
	for _, w := range words {
		if w == "" || strings.Trim(w, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-") != "" {
			return false
		}
	}
	return len(words) <= 3 && len(s) <= 60 && s != "Local"
}

// parseTables reads world.json and checks all that can be checked without the zones' files.
func parseTables(text []byte) (*tables, error) {
	if len(text) > maxTables {
		return nil, errors.New("it is larger than 1 MiB")
	}
	if err := namedOnce(text); err != nil {
		return nil, err
	}
	t := &tables{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(t); err != nil {
		return nil, err
	}
	if t.Format != tablesFormat {
		return nil, fmt.Errorf("its format is %d, and this program reads format %d", t.Format, tablesFormat)
	}
	if _, err := time.Parse(time.DateOnly, t.Date); err != nil {
		return nil, fmt.Errorf("the date %q is not in the form YYYY-MM-DD", t.Date)
	}
	if n := len(t.ZoneData); n < 5 || n > 6 || !allDigits(t.ZoneData[:4]) || strings.Trim(t.ZoneData[4:], "abcdefghijklmnopqrstuvwxyz") != "" {
		return nil, fmt.Errorf("zone_data is %q, and not a release of the IANA zone database, such as 2026f", t.ZoneData)
	}
	return t, t.check()
}

// namedOnce refuses an object that has a name twice, of which a decoder would take the last.
func namedOnce(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	var value func(depth int) error
	value = func(depth int) error {
		tok, err := d.Token()
		open, ok := tok.(json.Delim)
		if err != nil || !ok {
			return err
		}
		if depth > 8 {
			return errors.New("it is nested more than 8 deep")
		}
		names := map[string]bool{}
		for d.More() {
			if open == '{' {
				name, err := d.Token()
				if err != nil {
					return err
				}
				folded := strings.ToLower(fmt.Sprint(name)) // the decoder does not tell them apart
				if names[folded] {
					return fmt.Errorf("it has %q twice in one object", name)
				}
				names[folded] = true
			}
			if err := value(depth + 1); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	}
	if err := value(1); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more text after its end")
	}
	return nil
}

// check refuses area codes, countries and prefixes that cannot be.
func (t *tables) check() error {
	_, inNANP := sms.Number("+1").Plan()
	for _, code := range slices.Sorted(maps.Keys(t.AreaCodes)) {
		a := t.AreaCodes[code]
		switch {
		case len(code) != 3 || !allDigits(code) || code[0] < '2':
			return fmt.Errorf("area_codes: %q is no area code: it has three digits, of which the first is 2 to 9", code)
		case !slices.Contains(inNANP, a.Country):
			return fmt.Errorf("area_codes: %s: the country %q has no numbers under +1", code, a.Country)
		case (a.Country == "US") != (a.State != "") || a.State != "" && !twoCapitals(a.State):
			return fmt.Errorf("area_codes: %s: a US area code has a state of two capital letters, and another area code has none", code)
		}
	}
	for country := range t.WithoutPlace {
		if !slices.Contains(inNANP, country) || country == "US" {
			return fmt.Errorf("without_place: %q must be a country other than the US that has numbers under +1", country)
		}
	}
	for country := range t.ByCountry {
		if !sms.IsCountry(country) {
			return fmt.Errorf("by_country: %q is not a country with phone numbers (ISO 3166-1 alpha-2)", country)
		}
	}
	for prefix := range t.ByPrefix {
		digits, plus := strings.CutPrefix(prefix, "+")
		if !plus || !allDigits(digits) || len(digits) > 14 {
			return fmt.Errorf("by_prefix: %q is not a plus sign and up to 14 digits", prefix)
		}
		if code, _ := sms.Number(prefix).Plan(); code == "" || code == digits {
			return fmt.Errorf("by_prefix: %q does not begin with a calling code and a digit after it", prefix)
		}
	}
	return t.eachZones(func(where string, zones []string) error {
		if len(zones) == 0 || len(zones) > maxZones {
			return fmt.Errorf("%s: it has %d zones, and must have 1 to %d", where, len(zones), maxZones)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(zones)))) != len(zones) {
			return fmt.Errorf("%s: it has a zone twice", where)
		}
		return nil
	})
}

// eachZones calls f with every list of zones of the tables, in order, until it fails.
func (t *tables) eachZones(f func(where string, zones []string) error) error {
	for _, code := range slices.Sorted(maps.Keys(t.AreaCodes)) {
		if err := f("area_codes: "+code, t.AreaCodes[code].Zones); err != nil {
			return err
		}
	}
	for _, table := range []struct {
		name  string
		zones map[string][]string
	}{{"without_place", t.WithoutPlace}, {"by_country", t.ByCountry}, {"by_prefix", t.ByPrefix}} {
		for _, key := range slices.Sorted(maps.Keys(table.zones)) {
			if err := f(table.name+": "+key, table.zones[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// covers refuses w, which was made of the tables, if a zone that they name is not in it, or if it
// lacks what the built-in world data has.
func (t *tables) covers(w *World) error {
	err := t.eachZones(func(where string, zones []string) error {
		for _, z := range zones {
			if w.zones[z] == nil {
				return fmt.Errorf("%s: %s: the zone %q is not in the folder %s of the zip", tablesName, where, z, zoneFolder)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, z := range slices.Sorted(maps.Keys(BuiltIn().zones)) {
		if w.zones[z] == nil {
			return fmt.Errorf("the zone %q is missing, which the built-in world data has; compile the zone database with its old names too (the file backward)", z)
		}
	}
	for _, b := range BuiltIn().anywhere {
		if !slices.ContainsFunc(w.anywhere, func(p Place) bool { return p.Country == b.Country && p.State == b.State }) {
			return fmt.Errorf("%s: no area code and no entry of without_place is in %s, which the built-in world data has", tablesName,
				strings.TrimSuffix(b.Country+"-"+b.State, "-"))
		}
	}
	return nil
}

func allDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func twoCapitals(s string) bool {
	return len(s) == 2 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// Export writes the built-in world data as a file that Load reads. The same binary always writes the
// same bytes.
func Export(w io.Writer) error {
	text, err := json.MarshalIndent(builtInTables(), "", " ")
	if err != nil {
		return err
	}
	zones, err := embeddedZones()
	if err != nil {
		return err
	}
	z := zip.NewWriter(w)
	add := func(name string, content []byte) error {
		f, err := z.Create(name)
		if err == nil {
			_, err = f.Write(content)
		}
		return err
	}
	if err := add(tablesName, append(text, '\n')); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		if err := add(zoneFolder+name, zones[name]); err != nil {
			return err
		}
	}
	return z.Close()
}
