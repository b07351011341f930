package notify

import "time"

// The rules of repeats. docs/webhooks.md has them as a table.
const (
	// giveUpAfter is for how long a delivery is tried. Time in which its endpoint is paused or disabled does not count.
	giveUpAfter = 3 * 24 * time.Hour
	// pauseAfter is for how long every attempt may fail until the endpoint is paused.
	pauseAfter = 24 * time.Hour
	// mostRetryAfter bounds what an endpoint asks for with Retry-After.
	mostRetryAfter = 24 * time.Hour
	// probeAfter is how many attempts must fail in a row, of any recipients, until there is one probe at a time.
	probeAfter = 10
	// mostProbePause bounds the time between two probes, so that an endpoint that is well is told things soon.
	mostProbePause = time.Minute
	// mostFlights bounds the calls of one endpoint that are under way.
	mostFlights = 16
	// mostOpen bounds the open deliveries of an endpoint in memory. At this many its feed is not read: the cursor waits.
	mostOpen = 10_000
	// mostPages bounds the batches of an endpoint in memory, as mostOpen does.
	mostPages = 1000
	// pageItems bounds the items of one read.
	pageItems = 256
	// commitWithin is how long what came of attempts may wait for its commit, and moveWithin how long a
	// cursor that moved past items that are not for the endpoint.
	commitWithin = 250 * time.Millisecond
	moveWithin   = 10 * time.Second
)

// retries are the times between attempts; the last one is repeated.
var retries = [...]time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour}

// backoff is the time after the attempt with the number tries, from 1. chance, from 0 to 1, moves it by up to a fifth.
func backoff(tries int, chance float64) time.Duration {
	d := retries[min(max(tries, 1), len(retries))-1]
	return d*8/10 + time.Duration(float64(d)*0.4*chance)
}
