package assemble

import (
	"errors"
	"testing"
	"time"
)

func TestDisk(t *testing.T) {
	var free, size int64
	var broken error
	d := &disk{free: func() (int64, int64, error) { return free, size, broken }}
	var last time.Time
	was := false
	for _, x := range []struct {
		free, size int64
		ok         bool
		detail     string
	}{
		{300 << 20, 1 << 40, true, "300 MiB free"},
		{20 << 30, 1 << 40, true, "20 GiB free"},
		{255 << 20, 1 << 40, false, "only 255 MiB are free on the data folder's disk, less than 256 MiB: make room before it is full, because a full disk records nothing"},
		{0, 1 << 40, false, "only 0 MiB are free on the data folder's disk, less than 256 MiB: make room before it is full, because a full disk records nothing"},
		{50 << 20, 1000 << 20, true, "50 MiB free"},
		{49 << 20, 1000 << 20, false, "only 49 MiB are free on the data folder's disk, less than 50 MiB: make room before it is full, because a full disk records nothing"},
	} {
		free, size = x.free, x.size
		ok, since, detail := d.state()
		if ok != x.ok || detail != x.detail {
			t.Errorf("%d of %d: ok %t, %q", x.free, x.size, ok, detail)
		}
		if !last.IsZero() && (since != last) != (ok != was) {
			t.Errorf("%d of %d: since %v, before %v", x.free, x.size, since, last)
		}
		last, was = since, ok
	}
	broken = errors.New("/secret/path")
	if ok, _, detail := d.state(); ok || detail != "the free space of the data folder's disk cannot be read" {
		t.Errorf("an error: ok %t, %q", ok, detail)
	}
}
