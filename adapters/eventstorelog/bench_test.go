package eventstorelog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// sample makes an event of about 400 bytes, a route as a clerk proposes it.
func sample(source string, p event.Partition, partitions int, at time.Time) *event.Event {
	e := &event.Event{ID: event.NewID(at), Source: source, Time: event.Millis(at), Node: "node-1", Tenant: "acme",
		Message: event.NewMessageID(at, max(int(p), 0)), After: event.NewID(at), Control: 12,
		Data: &event.MessageRouted{Rule: "default", Table: 3, Carrier: "smsc", From: "+15005550006", Encoding: "gsm7", Parts: 1}}
	e.Subject = event.Pseudonym(e.ID)
	for p >= 0 && e.Subject.Partition(partitions) != int(p) {
		e.Subject[7]++
	}
	return e
}

// BenchmarkRates appends single events to 16 partitions at several rates, which are read
// back by one reader each, for two seconds a rate: run it with -benchtime=1x. It reports
// the time until an append is acknowledged and until it is read back, over the protocol
// server in the same process: of the adapter, not of EventStoreDB.
func BenchmarkRates(b *testing.B) {
	for _, rate := range []int{300, 2000, 10_000, 30_000} {
		b.Run(fmt.Sprintf("%d a second", rate), func(b *testing.B) { atRate(b, rate) })
	}
}

func atRate(b *testing.B, rate int) {
	const partitions = 16
	cfg, _ := onProtocol(b)
	cfg.Partitions = partitions
	initLedger(b, cfg)
	l := open(b, cfg)
	ctx, stop := context.WithCancel(context.Background())
	var mu sync.Mutex
	sent := map[event.ID]time.Time{}
	var acked, read []time.Duration
	failed := 0
	var readers sync.WaitGroup
	for p := range partitions {
		readers.Go(func() {
			for next := int64(0); ctx.Err() == nil; {
				records, _, err := l.Read(ctx, event.Partition(p), next, 1000)
				now := time.Now()
				if err != nil {
					b.Error(err)
					return
				}
				next += int64(len(records))
				mu.Lock()
				for _, r := range records {
					read = append(read, now.Sub(sent[r.Event.ID]))
				}
				mu.Unlock()
			}
		})
	}
	began := time.Now()
	n := 0
	for b.Loop() {
		for k := range rate * 2 {
			if d := time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))); d > time.Millisecond {
				pause(ctx, d)
			}
			n++
			at := time.Now()
			e := sample(l.Source(), event.Partition(k%partitions), partitions, at)
			mu.Lock()
			sent[e.ID] = at
			mu.Unlock()
			l.Append(event.Partition(k%partitions), []*event.Event{e}, func(a ledger.Appended) {
				took := time.Since(at)
				mu.Lock()
				defer mu.Unlock()
				if acked = append(acked, took); a.Err != nil {
					failed++
				}
			})
		}
	}
	within(b, "everything is back", func() bool { mu.Lock(); defer mu.Unlock(); return len(read) >= n-failed && len(acked) == n })
	took := time.Since(began)
	stop()
	readers.Wait()
	slices.Sort(acked)
	slices.Sort(read)
	s := l.Stats()
	b.ReportMetric(float64(n)/took.Seconds(), "events/s")
	b.ReportMetric(float64(acked[len(acked)/2].Microseconds()), "ack-p50-µs")
	b.ReportMetric(float64(read[len(read)/2].Microseconds()), "back-p50-µs")
	b.ReportMetric(float64(read[len(read)*99/100].Microseconds()), "back-p99-µs")
	b.ReportMetric(float64(s.Appended)/float64(s.Writes), "events/write")
	b.ReportMetric(float64(failed), "failed")
}
