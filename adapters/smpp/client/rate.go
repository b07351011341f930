package client

import (
	"math"
	"time"
)

const (
	// burst bounds the tokens of a bucket: it saves up what it gets in that time, and at least one.
	burst = 100 * time.Millisecond
	// cutEvery is the least time between two cuts: 64 ESME_RTHROTTLED for the 64 submits of a
	// window are one signal.
	cutEvery = time.Second
	// recovery is by which fraction of the ceiling the limit grows in a second, up to the ceiling. From
	// there on it grows by that fraction of itself: slowly at a low rate, and yet twice in 14 s.
	recovery = 0.05
	// minRate is the lowest limit after cuts, unless less is configured.
	minRate = 0.1
	// calm is how long after the last cut an account without a configured rate has no limit again, if
	// its limit has come to twice the ceiling.
	calm = time.Minute
)

// rate is a token bucket. Its limit is halved when the carrier throttles, and then grows again. Limits are submits a second; 0 is no limit.
type rate struct {
	configured float64 // what the account allows
	limit      float64 // what is allowed now
	ceiling    float64 // the limit before the cut; recovery is a fraction of it
	tokens     float64
	last       time.Time
	cut        time.Time

	// Submits in this second and in the one before: without a configured rate, a cut halves
	// the larger of them.
	second    int64
	now, past float64
}

func newRate(tps float64) rate { return rate{configured: tps, limit: tps, ceiling: tps, tokens: 1} }

// advance adds the tokens and the recovery of the time up to now. When the clock has gone
// back, it adds nothing.
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
		r.limit += d * recovery * max(r.limit, r.ceiling)
		switch {
		case r.configured > 0 && r.limit > r.configured:
			r.limit = r.configured
		case r.configured == 0 && r.limit > 2*r.ceiling && now.Sub(r.cut) >= calm:
			r.limit = 0
			return
		}
	}
	r.tokens = min(r.tokens+d*r.limit, r.depth())
}

// depth is what the bucket can hold: what it gets in burst, and at least one token.
func (r *rate) depth() float64 { return max(1, r.limit*burst.Seconds()) }

// set changes what the account allows, and reports whether that is a change. A limit that the
// carrier has cut grows on from its value. Tokens that were saved up at a higher rate are
// dropped, except for those of a moment at the lower rate.
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

// enough is how far short of n a bucket of n tokens may be, by the rounding of sums.
const enough = 1e-6

// at is when n submits are allowed by the rate, if it stays as it is: now, or later.
func (r *rate) at(n int, now time.Time) time.Time {
	r.advance(now)
	short := float64(n) - r.tokens
	if r.limit == 0 || short <= enough {
		return now
	}
	return now.Add(time.Duration(math.Ceil(short / r.limit * float64(time.Second))))
}

// take counts one submit, which at has allowed.
func (r *rate) take(now time.Time) {
	r.advance(now)
	if r.limit > 0 {
		r.tokens--
	}
	r.now++
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
	}
	r.ceiling = r.limit
	lowest := minRate
	if r.configured > 0 {
		lowest = min(lowest, r.configured)
	}
	r.limit = max(lowest, r.limit/2)
	r.tokens = min(r.tokens, 0)
	return true
}
