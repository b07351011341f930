package engine

import (
	"testing"
	"time"
)

// Nothing waits where little is sent, and nothing more than 5 ms however much is.
func TestPace(t *testing.T) {
	run := func(rate int) time.Duration {
		var p Pace
		now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
		for range 2000 {
			now = now.Add(time.Millisecond)
			p.Add(rate/1000, now)
		}
		return p.Interval(now)
	}
	quiet, busy, flat := run(1000), run(4000), run(1_000_000)
	if quiet > 100*time.Microsecond {
		t.Errorf("at 1,000 a second %s are waited", quiet)
	}
	if busy < time.Millisecond || busy > 2*time.Millisecond {
		t.Errorf("at 4,000 a second %s are waited", busy)
	}
	if flat != maxInterval {
		t.Errorf("at a million a second %s are waited", flat)
	}
	sooner := Pace{Full: 2000}
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	for range 2000 {
		at = at.Add(time.Millisecond)
		sooner.Add(1, at)
	}
	if d := sooner.Interval(at); d < time.Millisecond || d > 2*time.Millisecond {
		t.Errorf("at 1,000 a second, half of what is full, %s are waited", d)
	}
	var p Pace
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	if p.Interval(now) != 0 {
		t.Error("something is waited for before anything was sent")
	}
	p.Add(100_000, now)
	if d := p.Interval(now.Add(10 * time.Second)); d > time.Microsecond {
		t.Errorf("ten seconds later %s are waited", d)
	}
}
