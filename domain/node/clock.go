package node

import (
	"sync"
	"time"
)

const (
	// maxStep is how far the wall clock may move against the monotonic clock between two looks.
	// If it moves further, it was set, and is not trusted.
	maxStep = 2 * time.Second
	// distrust is how long the wall clock is not trusted after it was set.
	distrust = 30 * time.Second
)

// Clock is a wall clock that notices when it is set. Rules about hours are only as good as the
// clock: while it is not trusted, every decision is a hold.
type Clock struct {
	read func() time.Time // with a monotonic reading: time.Now

	mu     sync.Mutex
	base   time.Time // the wall clock and the monotonic clock at the start
	offset time.Duration
	until  time.Time // the monotonic time until which the wall clock is not trusted
}

// NewClock returns a Clock that reads the time from read: time.Now, except in tests.
func NewClock(read func() time.Time) *Clock {
	return &Clock{read: read, base: read()}
}

// Now is the time, with its monotonic reading.
func (c *Clock) Now() time.Time { return c.read() }

// trusted returns the time, and whether the wall clock has run with the monotonic clock lately.
func (c *Clock) trusted() (time.Time, bool) {
	now := c.read()
	return now, c.look(now.Round(0), now.Sub(c.base))
}

// look compares the wall clock with the monotonic time since the start. It reports whether the
// wall clock is trusted.
func (c *Clock) look(wall time.Time, elapsed time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	offset := wall.Sub(c.base.Round(0)) - elapsed
	if d := offset - c.offset; d > maxStep || d < -maxStep {
		c.until = c.base.Add(elapsed + distrust)
	}
	c.offset = offset
	return !c.base.Add(elapsed).Before(c.until)
}
