package sqlitelog

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/ledger"
)

// lines are what the log tells, a line each.
func lines(l *Log) func() []string {
	var out bytes.Buffer
	l.LogTo(slog.New(slog.NewTextHandler(&out, nil)))
	return func() []string {
		defer out.Reset()
		return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	}
}

func TestHealthWhileFull(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	told := lines(l)
	room := int64(0)
	l.health.free = func() (int64, error) { return room, nil }
	if _, err := l.write.Exec("PRAGMA max_page_count = 20"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		failed := 0
		for i := 0; failed < 3; i++ {
			if a := logtest.Wait(l, 0, logtest.Events(i, 8)); a.Err != nil {
				failed++
			} else if failed > 0 {
				t.Fatal("it recorded in between")
			}
		}
		if ok, since, detail := l.Health(); ok || !strings.Contains(detail, "the disk is full") || strings.Contains(detail, l.dir) || since.IsZero() {
			t.Errorf("on a full disk: ok %t, since %v: %s", ok, since, detail)
		}
		if got := told(); len(got) != 1 || !strings.Contains(got[0], "level=ERROR") || !strings.Contains(got[0], `cause="disk full"`) || !strings.Contains(got[0], "make room") {
			t.Errorf("the log was told %q", got)
		}
		// There is room, and nobody appends, because the node was not ready.
		room = enoughRoom
		if ok, _, detail := l.Health(); !ok || detail != "" {
			t.Errorf("with room: ok %t: %s", ok, detail)
		}
		room = 0
		if _, err := l.write.Exec("PRAGMA max_page_count = 2000"); err != nil {
			t.Fatal(err)
		}
		if a := logtest.Wait(l, 0, logtest.Events(1, 8)); a.Err != nil {
			t.Fatal(a.Err)
		}
		if ok, _, detail := l.Health(); !ok || detail != "" {
			t.Errorf("after a commit: ok %t: %s", ok, detail)
		}
		if got := told(); len(got) != 1 || !strings.Contains(got[0], "records again") {
			t.Errorf("the log was told %q", got)
		}
		if _, err := l.write.Exec("PRAGMA max_page_count = 21"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHealthAfterFailedCommit(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	told := lines(l)
	l.fault = func(point string) error {
		if point == "commit" {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	for range 3 {
		if a := logtest.Wait(l, 0, logtest.Events(1, 1)); a.Err == nil {
			t.Fatal("it was recorded")
		}
	}
	if ok, _, detail := l.Health(); ok || !strings.Contains(detail, "restart the node") || strings.Contains(detail, l.dir) {
		t.Errorf("ok %t: %s", ok, detail)
	}
	if got := told(); len(got) != 1 || !strings.Contains(got[0], "level=ERROR") || !strings.Contains(got[0], "takes no more appends") || !strings.Contains(got[0], "restart the node") {
		t.Errorf("the log was told %q", got)
	}
}

// TestSmallDisk fills a disk of 4 MiB. Each append is whole or refused; the head file stays true; and when there
// is room, the ledger goes on.
func TestSmallDisk(t *testing.T) {
	dir := smallDisk(t)
	l := open(t, dir, Options{Partitions: 2})
	told := lines(l)
	filler := dir + "/filler"
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	var a ledger.Appended
	for {
		if a = logtest.Wait(l, 0, benchEvents(8)); a.Err != nil {
			break
		}
		n += 8
	}
	if !errors.Is(a.Err, ledger.ErrRefused) && !errors.Is(a.Err, ledger.ErrUnknown) {
		t.Fatal(a.Err)
	}
	if ok, _, detail := l.Health(); ok || !strings.Contains(detail, "the disk is full") {
		t.Errorf("ok %t: %s", ok, detail)
	}
	if got := told(); !strings.Contains(got[0], `cause="disk full"`) {
		t.Errorf("the log was told %q", got)
	}
	sameHead(t, dir, holds(t, l))
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if a := logtest.Wait(l, 0, benchEvents(1)); a.Err != nil || a.First != n {
		t.Fatalf("with room again: %+v, want index %d", a, n)
	}
	if ok, _, detail := l.Health(); !ok {
		t.Error(detail)
	}
	sameHead(t, dir, holds(t, l))
}

func TestReason(t *testing.T) {
	if got := reason(syscall.EIO); got != isOther {
		t.Error(got)
	}
	for _, why := range []string{isFull, isReadOnly, isBroken, isMoved, isOther} {
		if advice(why, false) == "" || !strings.Contains(advice(why, true), "restart") {
			t.Errorf("no advice for %s", why)
		}
	}
}
