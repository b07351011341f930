package endpoints

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
)

// TestCopy: a copy that is made beside a node that writes is of one moment, and can be copied back to either engine.
func TestCopy(t *testing.T) {
	engines(t, func(t *testing.T, place string) {
		ctx := servertest.Within(t)
		source := func() (*Source, error) {
			if strings.HasPrefix(place, "postgres") {
				return ReadPostgres(ctx, place)
			}
			return ReadFile(place, false)
		}
		if _, err := source(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("there is none: %v", err)
		}
		s := open(t, place)
		ids := []event.ID{endpoint(t, s), endpoint(t, s), endpoint(t, s)}
		gone, quiet := endpoint(t, s), endpoint(t, s)
		leases, err := s.Lease(ctx, append(ids, gone), 4, time.Minute)
		if err != nil || len(leases) != 4 {
			t.Fatal(leases, err)
		}
		if err := s.Delete(ctx, gone); err != nil {
			t.Fatal(err)
		}
		done, many := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := int64(1); ; n++ {
				var w []notify.Write
				for _, l := range leases {
					w = append(w, notify.Write{Endpoint: l.Endpoint, Lease: l.Number, Progress: progress(n), Batches: []notify.Batch{batch(n, 1, 1, 0)}})
				}
				if lost, err := s.Write(ctx, w); err != nil || len(lost) != 1 {
					t.Errorf("lost %v, %v", lost, err)
					return
				}
				if n == 200 {
					close(many)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
		<-many
		from, err := source()
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		if from.Ledger() != "abc" {
			t.Errorf("it is of the ledger %q", from.Ledger())
		}
		path := filepath.Join(t.TempDir(), "copy.db")
		c, err := CopyToFile(ctx, from, path)
		close(done)
		wg.Wait()
		if err != nil || c.Endpoints != 4 || c.Batches < 600 || c.Batches%3 != 0 {
			t.Fatalf("%+v, %v", c, err)
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
			t.Errorf("beside the copy there is more: %v, %v", entries, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("it is %v, %v", info, err)
		}
		engines(t, func(t *testing.T, back string) {
			was := open(t, back)
			other := endpoint(t, was)
			for range 2 {
				from, err := ReadFile(path, true)
				if err != nil {
					t.Fatal(err)
				}
				defer from.Close()
				if again, err := Copy(ctx, from, was); err != nil || again != c {
					t.Fatalf("%+v, and not %+v, %v", again, c, err)
				}
			}
			if _, err := was.Endpoint(ctx, other); !errors.Is(err, notify.ErrNoEndpoint) {
				t.Errorf("what it had is still there: %v", err)
			}
			if p, err := was.Progress(ctx, quiet); err != nil || p.Last != 0 || p.Cursor != nil {
				t.Errorf("of an endpoint that was told nothing: %+v, %v", p, err)
			}
			for _, id := range ids {
				b, p := all(t, was, id)
				consecutive(t, b, p)
				if p.Last*3 != c.Batches {
					t.Errorf("of another moment: %d, and %d batches", p.Last, c.Batches)
				}
				if n := leased(t, was, id); n != 2 {
					t.Errorf("the lease has the number %d", n)
				}
			}
			endpoint(t, was)
		})
	})
}
