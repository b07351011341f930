package sms

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"sync"
	"time"
)

// zoneinfo is the IANA zone database: the compiled files of PyPI's tzdata, with all link names,
// stored in a zip without compression. To use a newer one, replace the file and zoneVersion; a
// test checks that the two belong together.
//
//go:embed zoneinfo.zip
var zoneinfo []byte

// zoneVersion is the release of the IANA zone database that zoneinfo.zip was made of.
const zoneVersion = "2026f"

var (
	zoneFiles = sync.OnceValues(openZones)
	zoneCache sync.Map // has at most the zones of the database
)

func openZones() (map[string]*zip.File, error) {
	r, err := zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		return nil, fmt.Errorf("open the embedded zone database: %w", err)
	}
	files := make(map[string]*zip.File, len(r.File))
	for _, f := range r.File {
		if !f.FileInfo().IsDir() {
			files[f.Name] = f
		}
	}
	return files, nil
}

// LoadZone returns the zone with exactly that IANA name ("America/New_York") from the embedded
// database. Unlike time.LoadLocation it never reads ZONEINFO or the system's files, so that a
// decision can be repeated on every machine. It does not accept "" or "Local": an unknown zone is
// an error, and never UTC. It is safe for concurrent use.
func LoadZone(name string) (*time.Location, error) {
	if l, ok := zoneCache.Load(name); ok {
		return l.(*time.Location), nil
	}
	files, err := zoneFiles()
	if err != nil {
		return nil, err
	}
	f, ok := files[name]
	if !ok {
		return nil, fmt.Errorf("zone %q is not in the zone database %s: use an IANA name such as America/New_York", name, zoneVersion)
	}
	rc, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("read zone %s: %w", name, err)
	}
	defer rc.Close()
	data, err := io.ReadAll(rc)
	if err != nil {
		return nil, fmt.Errorf("read zone %s: %w", name, err)
	}
	l, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, fmt.Errorf("read zone %s: %w", name, err)
	}
	kept, _ := zoneCache.LoadOrStore(name, l)
	return kept.(*time.Location), nil
}

// worldDate is the day up to which the area codes and the zones of countries are known. Whoever
// changes one of these tables or zoneinfo.zip sets it.
const worldDate = "2026-11-27"

// WorldVersion is the version of what is known about places: the IANA version of the embedded zone
// database and the date of the tables of area codes and zones ("2026f/2026-11-27"). Decisions
// record it, because places and local times can be computed anew only with the same data.
func WorldVersion() string { return zoneVersion + "/" + worldDate }

// WorldDate is the day, in UTC, up to which area codes and zones are known. Data that is half a
// year old lacks area codes and changes of clocks.
func WorldDate() time.Time {
	t, err := time.Parse(time.DateOnly, worldDate)
	if err != nil {
		panic(err) // a constant, which a test reads
	}
	return t
}
