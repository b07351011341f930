package kafkalog

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
		Message: event.NewMessageID(at, int(p)), After: event.NewID(at), Control: 12,
		Data: &event.MessageRouted{Rule: "default", Table: 3, Carrier: "smsc", From: "+15005550006", Encoding: "gsm7", Parts: 1}}
	e.Subject = event.Pseudonym(e.ID)
	for e.Subject.Partition(partitions) != int(p) {
		e.Subject[7]++
	}
	return e
}

// BenchmarkRates appends single events to 16 partitions at several rates, which are read
// back by one reader each, for three seconds a rate: run it with -benchtime=1x. It reports
// the time until an append is acknowledged and until it is read back, and what an event
// costs this process, its making and both ends of the broker's connection included.
func BenchmarkRates(b *testing.B) {
	for _, server := range []string{real} {
		for _, rate := range []int{20, 300, 2000, 5000, 10_000, 30_000} {
			b.Run(fmt.Sprintf("%s/%d a second", server, rate), func(b *testing.B) { atRate(b, server, rate) })
		}
	}
}

func atRate(b *testing.B, server string, rate int) {
	const partitions = 16
	cfg := config(b, server)
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
	send := func(i int) {
		at := time.Now()
		e := sample(l.Source(), event.Partition(i%partitions), partitions, at)
		mu.Lock()
		sent[e.ID] = at
		mu.Unlock()
		l.Append(event.Partition(i%partitions), []*event.Event{e}, func(a ledger.Appended) {
			took := time.Since(at)
			mu.Lock()
			defer mu.Unlock()
			if acked = append(acked, took); a.Err != nil {
				failed++
			}
		})
	}
	for i := range 2 * partitions { // connections and tails
		send(i)
		pause(ctx, 20*time.Millisecond)
	}
	mu.Lock()
	acked, read = nil, nil
	mu.Unlock()
	before := l.Stats()
	cpu := cpuTime()
	const seconds = 3
	start, n := time.Now(), 0
	tick := time.NewTicker(max(time.Millisecond, time.Second/time.Duration(rate)))
	for time.Since(start) < seconds*time.Second {
		for due := int(time.Since(start).Seconds() * float64(rate)); n < due; n++ {
			send(n)
		}
		<-tick.C
	}
	tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); pause(ctx, time.Millisecond) {
		mu.Lock()
		all := len(acked) >= n && len(read) >= n
		mu.Unlock()
		if all {
			break
		}
	}
	cpu = cpuTime() - cpu
	after := l.Stats()
	stop()
	readers.Wait()
	mu.Lock()
	defer mu.Unlock()
	if failed > 0 || len(read) != n {
		b.Errorf("%d of %d failed, %d read", failed, n, len(read))
	}
	for _, m := range []struct {
		name  string
		times []time.Duration
	}{{"ack", acked}, {"read", read}} {
		slices.Sort(m.times)
		b.ReportMetric(float64(m.times[len(m.times)/2].Microseconds())/1000, m.name+"-p50-ms")
		b.ReportMetric(float64(m.times[len(m.times)*99/100].Microseconds())/1000, m.name+"-p99-ms")
	}
	b.ReportMetric(float64(cpu.Nanoseconds())/1000/float64(n), "cpu-µs/event")
	b.ReportMetric(float64(n)/float64(after.Requests-before.Requests), "events/request")
	b.ReportMetric(float64(after.Decoded-before.Decoded)/float64(n), "decoded/event")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkReads reads a partition that another process wrote, from its beginning and at
// random. Run it with -benchtime=1x.
func BenchmarkReads(b *testing.B) {
	cfg := config(b, real)
	cfg.Partitions = 1
	initLedger(b, cfg)
	writer := open(b, cfg)
	const n = 100_000
	var answered sync.WaitGroup
	start := time.Now()
	for i := 0; i < n; i += 1000 {
		events := make([]*event.Event, 1000)
		for k := range events {
			events[k] = sample(writer.Source(), 0, 1, time.Now())
		}
		answered.Add(1)
		writer.Append(0, events, func(a ledger.Appended) {
			defer answered.Done()
			if a.Err != nil {
				b.Error(a.Err)
			}
		})
		if i%20_000 == 0 {
			answered.Wait()
		}
	}
	answered.Wait()
	b.Logf("%d events appended in %s", n, time.Since(start))
	l := open(b, cfg)
	b.Run("scan", func(b *testing.B) {
		cpu, start := cpuTime(), time.Now()
		for next := int64(0); next < n; {
			records, _, err := l.Read(context.Background(), 0, next, 500)
			if err != nil {
				b.Fatal(err)
			}
			next += int64(len(records))
		}
		b.ReportMetric(n/time.Since(start).Seconds(), "events/s")
		b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/n, "cpu-µs/event")
		b.ReportMetric(0, "ns/op")
	})
	b.Run("point", func(b *testing.B) {
		var took []time.Duration
		cpu := cpuTime()
		for i := range int64(500) {
			start := time.Now()
			records, _, err := l.Read(context.Background(), 0, i*7919%n, 1)
			if err != nil || len(records) != 1 {
				b.Fatal(len(records), err)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/500, "cpu-µs/read")
		b.ReportMetric(0, "ns/op")
	})
}
