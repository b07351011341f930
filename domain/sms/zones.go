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

// zoneinfo is Go's lib/time/zoneinfo.zip, unchanged: the IANA zone database as
// compiled for Go. To take a newer one, replace the file and zoneVersion; the
// test pins one to the other.
//
//go:embed zoneinfo.zip
var zoneinfo []byte

// zoneVersion is DATA in the lib/time/update.bash that made zoneinfo.zip.
const zoneVersion = "2025c"

var (
	zoneFiles = sync.OnceValues(openZones)
	zoneCache sync.Map // name → *time.Location; holds at most what the database names
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

// LoadZone returns the zone of that exact IANA name ("America/New_York") from the
// embedded database alone. Unlike time.LoadLocation it never looks at ZONEINFO or
// at the system's files, so a decision replays alike on every machine, and it takes
// neither "" nor "Local": a zone that is not known is an error, never UTC.
// It is safe for concurrent use.
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

// ZoneVersion returns the IANA version of the embedded zone database ("2025c").
// Decisions record it: local time can only be recomputed with the same rules.
func ZoneVersion() string { return zoneVersion }
