package kafkalog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/ledger"
)

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
	logtest.Rate(b, l, rate, func() func(int) {
		before, cpu := l.Stats(), cpuTime()
		return func(n int) {
			after := l.Stats()
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/float64(n), "cpu-µs/event")
			b.ReportMetric(float64(n)/float64(after.Requests-before.Requests), "events/request")
			b.ReportMetric(float64(after.Decoded-before.Decoded)/float64(n), "decoded/event")
		}
	})
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
		events := logtest.Own(writer, 0, 1000)
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
