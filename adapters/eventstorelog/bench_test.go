package eventstorelog

import (
	"fmt"
	"testing"

	"github.com/chirograph/chirograph/adapters/logtest"
)

// BenchmarkRates appends single events to 16 partitions at several rates, which are read
// back by one reader each, for three seconds a rate: run it with -benchtime=1x. It reports
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
	logtest.Rate(b, l, rate, func() func(int) {
		before := l.Stats()
		return func(n int) { b.ReportMetric(float64(n)/float64(l.Stats().Writes-before.Writes), "events/write") }
	})
}
