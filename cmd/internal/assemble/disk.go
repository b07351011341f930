package assemble

import (
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
)

// lowDisk is the free space of the data folder's disk under which the component disk of /readyz is not ok:
// 256 MiB, or a twentieth of a disk that is smaller than 5 GiB.
func lowDisk(size int64) int64 { return min(256<<20, size/20) }

// disk watches the free space of the disk that the data folder is on.
type disk struct {
	free func() (free, size int64, err error)

	mu    sync.Mutex
	ok    bool
	since time.Time
}

func diskOf(dir string) *disk {
	return &disk{free: func() (int64, int64, error) { return sqlitelog.Free(dir) }}
}

// state is the component of /readyz.
func (d *disk) state() (ok bool, since time.Time, detail string) {
	free, size, err := d.free()
	low := lowDisk(size)
	switch {
	case err != nil:
		detail = "the free space of the data folder's disk cannot be read"
	case free < low:
		detail = fmt.Sprintf("only %s are free on the data folder's disk, less than %s: make room before it is full, because a full disk records nothing", mebibytes(free), mebibytes(low))
	default:
		ok, detail = true, mebibytes(free)+" free"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since.IsZero() || ok != d.ok {
		d.ok, d.since = ok, time.Now()
	}
	return ok, d.since, detail
}

func mebibytes(n int64) string {
	if n >= 10<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
