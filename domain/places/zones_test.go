package places

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"
)

// A changed database is a changed answer to what time it is somewhere: a new file
// comes with its version, and this test with both.
func TestZoneVersion(t *testing.T) {
	sums := map[string]string{
		"2026f": "09de8b346e68912afcd1eeb67ba88ab565f57f09884dea0068e3ca1e22764491",
	}
	sum := sha256.Sum256(zoneinfo)
	if got := hex.EncodeToString(sum[:]); sums[zoneVersion] != got {
		t.Errorf("zoneinfo.zip has SHA-256 %s, which is not version %s", got, zoneVersion)
	}
	if got := BuiltIn().Version(); got != zoneVersion+"/"+BuiltIn().Date().Format(time.DateOnly) {
		t.Errorf("version %s of %s", got, BuiltIn().Date())
	}
}

func TestZone(t *testing.T) {
	// Neither of these may be looked at.
	t.Setenv("ZONEINFO", t.TempDir())
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, want := range map[string]string{
		"America/New_York": "08:00", "America/Phoenix": "05:00", "America/Adak": "03:00", "Asia/Calcutta": "17:30",
		"Asia/Kolkata": "17:30", "America/Buenos_Aires": "09:00", "Pacific/Chatham": "00:45", "UTC": "12:00",
	} {
		l, err := BuiltIn().Zone(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := at.In(l).Format("15:04"); got != want || l.String() != name {
			t.Errorf("%s (%s): %s, want %s", name, l, got, want)
		}
		if again, _ := BuiltIn().Zone(name); again != l {
			t.Errorf("%s is not kept", name)
		}
	}
	for _, name := range []string{"", "Local", "local", "america/new_york", "America", "America/", "Etc/Unknown", "../UTC", "/UTC", "EST7"} {
		if l, err := BuiltIn().Zone(name); err == nil {
			t.Errorf("BuiltIn().Zone(%q) = %v", name, l)
		}
	}
}

// Every file of the database loads.
func TestLoadEveryZone(t *testing.T) {
	files, err := embeddedZones()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 400 {
		t.Errorf("only %d zones", len(files))
	}
	for name := range files {
		if _, err := BuiltIn().Zone(name); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkZone(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = BuiltIn().Zone("America/New_York")
	}
}
