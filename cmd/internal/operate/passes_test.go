package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// faulty is a log of which two partitions cannot be read to their end.
type faulty struct{ assemble.Log }

func (l faulty) Read(ctx context.Context, p event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if (p == 2 || p == 5) && max > 0 && from > 0 {
		return nil, 0, fmt.Errorf("the disk cannot read %s", p)
	}
	return l.Log.Read(ctx, p, from, min(max, 7))
}

// A ledger is verified in the same way by one processor and by many: the report, the order of what was found, and what
// could not be read.
func TestVerifyByMany(t *testing.T) {
	dir := t.TempDir()
	log, err := sqlitelog.Open(dir, sqlitelog.Options{Partitions: 9, NumberForms: sms.CanonicalForms})
	if err != nil {
		t.Fatal(err)
	}
	now := event.Millis(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC))
	for n := range 300 {
		p := event.Partition(n*7%9 - n*n%2)
		id := event.NewMessageID(now, max(0, int(p)))
		e := &event.Event{ID: id, Source: log.Source(), Subject: event.NewPseudonym([]byte("k"), "acme", fmt.Sprint(n%50)), Time: now.Add(time.Duration(n) * time.Second), Tenant: "acme", Node: "n",
			Data: &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "web", By: "key"}}
		if n%5 == 0 {
			e = &event.Event{Data: &event.Opaque{Raw: []byte(fmt.Sprint("no event ", n))}}
		}
		done := make(chan ledger.Appended, 1)
		log.Append(p, []*event.Event{e}, func(a ledger.Appended) { done <- a })
		if a := <-done; a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := sqlitelog.OpenImage(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	g := &terminal.Globals{Stdout: io.Discard, Stderr: io.Discard}
	for name, log := range map[string]assemble.Log{"an image": image, "a log that cannot be read to its end": faulty{image}} {
		var first string
		for n := range 20 {
			runtime.GOMAXPROCS(1 + n%5)
			var out verified
			if err := out.read(t.Context(), g, log); err != nil {
				t.Fatal(err)
			}
			j, err := json.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				first = string(j)
				if unread := strings.Join(out.Unread, "; "); out.Report.Total < 50 || name != "an image" && unread != "the disk cannot read 02; the disk cannot read 05" {
					t.Fatalf("%s: %s", name, j)
				}
			}
			if string(j) != first {
				t.Fatalf("%s, by %d processors:\n%s\nby one:\n%s", name, 1+n%5, j, first)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&verified{}).read(ctx, g, image); !errors.Is(err, context.Canceled) {
		t.Errorf("a verification that was interrupted ends with %v", err)
	}
}
