package endpoints

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
)

// BenchmarkWrite writes for 50 endpoints at a time, each with a batch that is new and one that is rewritten. It reports the
// processor's time for each batch, besides what a sync waits for.
func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{500, 2000, 8000} {
		b.Run(fmt.Sprintf("SQLite/%d bytes", size), func(b *testing.B) {
			s, err := OpenFile(filepath.Join(b.TempDir(), "webhooks.db"), "abc")
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			benchmarkWrite(b, s, size)
		})
	}
}

// BenchmarkWritePostgres is the same on PostgreSQL; the server's time is not in it.
func BenchmarkWritePostgres(b *testing.B) {
	s, err := OpenPostgres(b.Context(), servertest.Postgres(b), "abc")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	benchmarkWrite(b, s, 2000)
}

func benchmarkWrite(b *testing.B, s *Store, size int) {
	const endpoints, each = 50, 32
	ctx := b.Context()
	var ids []event.ID
	for range endpoints {
		id := event.NewID(time.Now())
		if _, err := s.Put(ctx, notify.Stored{ID: id, Tenant: "acme", Body: []byte("{}")}, 0); err != nil {
			b.Fatal(err)
		}
		ids = append(ids, id)
	}
	leases, err := s.Lease(ctx, ids, endpoints, time.Minute)
	if err != nil || len(leases) != endpoints {
		b.Fatal(leases, err)
	}
	body := make([]byte, size)
	for i := range body {
		body[i] = byte(i * 7)
	}
	cursor := make([]byte, 100)
	last := int64(0)
	now := time.Now()
	w := make([]notify.Write, endpoints)
	begun := cpu()
	batches := 0
	b.ResetTimer()
	for b.Loop() {
		for i, l := range leases {
			w[i] = notify.Write{Endpoint: l.Endpoint, Lease: l.Number, Progress: &notify.Progress{Cursor: cursor, Last: last + each},
				Batches: []notify.Batch{{First: last + 1, Count: each, Open: each, Newest: now, Body: body}}}
			if last > 0 {
				w[i].Batches = append(w[i].Batches, notify.Batch{First: last - each + 1, Count: each, Newest: now, Body: body})
			}
			batches += len(w[i].Batches)
		}
		if lost, err := s.Write(ctx, w); err != nil || len(lost) > 0 {
			b.Fatal(lost, err)
		}
		last += each
	}
	b.ReportMetric(float64((cpu()-begun).Nanoseconds())/1000/float64(batches), "cpu-µs/batch")
}
