package engine

import (
	"cmp"
	"context"
	"math"
	"sync"
	"time"
)

const (
	// maxInterval is the longest time that appends wait for others. They wait that long at
	// fullLoad events a second and more, if Pace.Full does not say otherwise. The load is an
	// average over loadWindow.
	maxInterval, loadWindow = 5 * time.Millisecond, 200 * time.Millisecond
	fullLoad                = 8000
)

// Pace says how long appends wait for others, so that one request carries them all. It may be
// used from any goroutine.
type Pace struct {
	// Full is at how many events a second they wait longest; 0: at 8,000.
	Full int

	mu  sync.Mutex
	sum float64
	at  time.Time
}

// Add counts events that are sent.
func (p *Pace) Add(n int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum = p.sum*math.Exp(-now.Sub(p.at).Seconds()/loadWindow.Seconds()) + float64(n)
	p.at = now
}

// Interval is the least time between the beginnings of two requests to one server or stream.
// It grows with the square of the load: it is nearly 0 where latency counts, and 5 ms at Full
// events a second and more.
func (p *Pace) Interval(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	rate := p.sum * math.Exp(-now.Sub(p.at).Seconds()/loadWindow.Seconds()) / loadWindow.Seconds()
	share := min(1, rate/float64(cmp.Or(p.Full, fullLoad)))
	return time.Duration(share * share * float64(maxInterval))
}

// Backoff is the wait after so many tries: 20 ms after the first, doubled each time up to 500 ms.
func Backoff(tries int) time.Duration {
	return min(500*time.Millisecond, 10*time.Millisecond<<min(tries, 8))
}

// Pause waits for d, or until ctx is done.
func Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Signal puts a token into a channel that holds one. Where a token is there already, it is enough.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
