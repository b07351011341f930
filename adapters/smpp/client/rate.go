package client

import (
	"math"
	"time"

	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// burst is how much of its rate a bucket may save up, if that is more than the
	// parts of the longest message.
	burst = 100 * time.Millisecond
	// cutEvery is how long a cut stands before the next one: a window's worth of
	// ESME_RTHROTTLED is one signal, not sixty-four.
	cutEvery = time.Second
	// recovery is which part of the ceiling comes back in a second.
	recovery = 0.05
	minRate  = 1.0
)

// rate is a token bucket whose rate is halved when the carrier throttles and
// grows back by a constant amount a second. Rates are submits a second; a limit
// of 0 means none.
type rate struct {
	configured float64 // what the account allows
	limit      float64 // what is allowed now
	ceiling    float64 // where a cut began; recovery is measured in it
	tokens     float64
	last       time.Time
	cut        time.Time

	// Submits in this second and the last whole one: without a configured rate,
	// what was sent is all there is to halve.
	second    int64
	now, past float64
}

func newRate(tps float64) rate { return rate{configured: tps, limit: tps, ceiling: tps, tokens: 1} }

// advance brings tokens and recovery up to now. A clock that went back adds nothing.
func (r *rate) advance(now time.Time) {
	if s := now.Unix(); s > r.second {
		r.past = 0
		if s == r.second+1 {
			r.past = r.now
		}
		r.second, r.now = s, 0
	}
	if r.last.IsZero() || now.Before(r.last) {
		r.last = now
		return
	}
	d := now.Sub(r.last).Seconds()
	r.last = now
	if r.limit == 0 {
		return
	}
	if r.limit != r.configured {
		r.limit += d * max(minRate, recovery*r.ceiling)
		switch {
		case r.configured > 0 && r.limit > r.configured:
			r.limit = r.configured
		case r.configured == 0 && r.limit > 2*r.ceiling:
			r.limit = 0
			return
		}
	}
	r.tokens = min(r.tokens+d*r.limit, r.depth())
}

// depth is never below the parts of the longest message: they are granted
// together, so a smaller bucket would never let them go.
func (r *rate) depth() float64 { return max(sms.MaxSegments, r.limit*burst.Seconds()) }

// set changes what the account allows and reports whether that is a change. A rate
// that the carrier has cut grows on from where it is. What was saved up at a higher
// rate is not spent at a lower one, but for a moment's worth.
func (r *rate) set(tps float64, now time.Time) bool {
	if tps == r.configured {
		return false
	}
	r.advance(now)
	cut := r.limit != r.configured
	lower := tps > 0 && (r.limit == 0 || tps < r.limit)
	r.configured = tps
	if lower || !cut {
		r.limit, r.ceiling = tps, tps
	}
	if lower {
		r.tokens = min(r.tokens, tps*burst.Seconds())
	}
	return true
}

// free is how many submits the rate allows now; without one, when to ask again.
func (r *rate) free(now time.Time) (int, time.Time) {
	r.advance(now)
	if r.limit == 0 {
		return math.MaxInt, time.Time{}
	}
	if r.tokens >= 1 {
		return int(r.tokens), time.Time{}
	}
	wait := time.Duration((1 - r.tokens) / r.limit * float64(time.Second))
	return 0, now.Add(wait + time.Microsecond)
}

// take counts one submit; false if the rate has none to give.
func (r *rate) take(now time.Time) bool {
	if n, _ := r.free(now); n < 1 {
		return false
	}
	if r.limit > 0 {
		r.tokens--
	}
	r.now++
	return true
}

// throttled halves the rate and reports whether it did.
func (r *rate) throttled(now time.Time) bool {
	r.advance(now)
	if !r.cut.IsZero() && now.Sub(r.cut) < cutEvery {
		return false
	}
	r.cut = now
	if r.limit == 0 {
		r.limit = max(r.past, r.now, minRate)
		r.ceiling = r.limit
	}
	lowest := minRate
	if r.configured > 0 {
		lowest = min(lowest, r.configured)
	}
	r.limit = max(lowest, r.limit/2)
	r.tokens = min(r.tokens, 0)
	return true
}
