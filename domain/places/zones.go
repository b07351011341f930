package places

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"fmt"
	"io"
)

// zoneinfo is the IANA zone database: the compiled files of PyPI's tzdata, with all link names,
// stored in a zip without compression. To use a newer one, replace the file and zoneVersion; a
// test checks that the two belong together.
//
//go:embed zoneinfo.zip
var zoneinfo []byte

// zoneVersion is the release of the IANA zone database that zoneinfo.zip was made of.
const zoneVersion = "2026f"

// worldDate is the day up to which the area codes and the zones of countries are known. Whoever
// changes one of these tables or zoneinfo.zip sets it.
const worldDate = "2026-11-27"

// embeddedZones returns the files of the embedded zone database, by the zones' names.
func embeddedZones() (map[string][]byte, error) {
	r, err := zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		return nil, fmt.Errorf("open the embedded zone database: %w", err)
	}
	files := make(map[string][]byte, len(r.File))
	for _, f := range r.File {
		if f.FileInfo().IsDir() {
			continue
		}
		rc, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("read zone %s: %w", f.Name, err)
		}
		files[f.Name], err = io.ReadAll(rc)
		if err != nil {
			return nil, fmt.Errorf("read zone %s: %w", f.Name, err)
		}
	}
	return files, nil
}
