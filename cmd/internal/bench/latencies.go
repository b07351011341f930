package bench

import (
	"math"
	"time"
)

// latencies counts durations in buckets that are 2 % wide, so that a long run needs no more memory than a short
// one. The zero value is empty.
type latencies struct {
	counts  [1200]int32 // bucket 0: up to 1 µs; the last: from 5 hours on
	n       int
	longest time.Duration
}

const bucketWidth = 1.02

func (l *latencies) add(d time.Duration) {
	i := 0
	if d > time.Microsecond {
		i = min(int(math.Log(float64(d)/float64(time.Microsecond))/math.Log(bucketWidth))+1, len(l.counts)-1)
	}
	l.counts[i]++
	l.n++
	l.longest = max(l.longest, d)
}

// merge adds what o counted.
func (l *latencies) merge(o *latencies) {
	for i, n := range o.counts {
		l.counts[i] += n
	}
	l.n += o.n
	l.longest = max(l.longest, o.longest)
}

// ms is the quantile q in milliseconds, at most 2 % too long; 0 if nothing was counted.
func (l *latencies) ms(q float64) float64 {
	rank := int(q * float64(l.n))
	for i, n := range l.counts {
		if rank -= int(n); rank < 0 {
			upper := time.Duration(math.Pow(bucketWidth, float64(i)) * float64(time.Microsecond))
			return float64(min(upper, l.longest).Microseconds()) / 1000
		}
	}
	return float64(l.longest.Microseconds()) / 1000
}

// timings are the percentiles.
func (l *latencies) timings() timings {
	return timings{l.n, l.ms(.5), l.ms(.9), l.ms(.99), l.ms(1)}
}
