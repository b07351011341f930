package viewsums

import (
	"context"
	"database/sql"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

const (
	// checkAtOpen bounds the rows of streams, and of each other table, that are compared while the views are
	// opened, and checkWithin the time for it.
	checkAtOpen = 20_000
	checkWithin = 300 * time.Millisecond
	// checkOnFinding and checkOnFindingWithin are these bounds once a row was found that does not fit: where one
	// was changed, others may be.
	checkOnFinding       = 1_000_000
	checkOnFindingWithin = 10 * time.Second
	// checkEvery is how long after a whole check in the background the next one begins.
	checkEvery = 24 * time.Hour
)

// Checked says what is known of whether the rows are what was written.
type Checked struct {
	// Ended is when all rows were last compared; zero: not yet since the views were opened.
	Ended time.Time
	// Unfit is of how many partitions rows were found that are not what was written, since the views were
	// opened, and Last the last of these findings; nil if there were none.
	Unfit int64
	Last  error
	// Unknown is how many partitions have rows that cannot be compared, since a version of Chirograph wrote
	// them that recorded no sums. A rebuild of the views ends that.
	Unknown int
}

// Checker compares the rows with what the marks say of them. Its methods may be called from any goroutine.
type Checker struct {
	snapshot func(ctx context.Context, query func(ctx context.Context, tx *sql.Tx) error) error
	unfit    func(p event.Partition, next int64) error

	mu       sync.Mutex
	checked  Checked
	stop     context.CancelFunc
	wg       sync.WaitGroup
	sampling sync.Mutex // held by who samples
	sampled  time.Time  // when that ended last
}

// NewChecker returns a Checker. snapshot runs a query over one snapshot, however long it takes. unfit marks a
// partition as one whose rows do not fit, if it is still folded up to next or further; one without a mark (next is
// 0) it drops.
func NewChecker(snapshot func(ctx context.Context, query func(ctx context.Context, tx *sql.Tx) error) error, unfit func(p event.Partition, next int64) error) *Checker {
	return &Checker{snapshot: snapshot, unfit: unfit}
}

// Checked says what is known of whether the rows are what was written. It makes no query.
func (c *Checker) Checked() Checked {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.checked
}

// Found takes down that a partition's rows do not fit.
func (c *Checker) Found(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked.Unfit++
	c.checked.Last = why
}

// Begin compares some rows, before anyone reads any, and begins to compare all of them in the background, until
// End.
func (c *Checker) Begin(ctx context.Context) error {
	if err := c.Sample(ctx); err != nil {
		return err
	}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	c.wg.Go(func() { c.run(ctx) })
	return nil
}

// sampleEvery is the least time between two samples: the partitions that a node takes over together need one.
const sampleEvery = time.Second

// Sample compares some rows of every partition: at the opening, and when a node takes partitions over whose rows it has
// not followed.
func (c *Checker) Sample(ctx context.Context) error {
	c.sampling.Lock()
	defer c.sampling.Unlock()
	if !c.sampled.IsZero() && time.Since(c.sampled) < sampleEvery {
		return nil
	}
	defer func() { c.sampled = time.Now() }()
	began, within := time.Now(), checkWithin
	first := rand.IntN(Buckets)
	left := checkAtOpen
	for i := 0; i < Buckets && left > 0 && time.Since(began) < within; i++ {
		read, err := c.compare(ctx, (first+i)%Buckets, left, func() {}, i == 0)
		if err != nil {
			return err
		}
		if left -= read; within == checkWithin && c.Checked().Unfit > 0 {
			left, within = checkOnFinding, checkOnFindingWithin
		}
	}
	return nil
}

// End ends what Begin began.
func (c *Checker) End() {
	if c.stop != nil {
		c.stop()
	}
	c.wg.Wait()
}

// run compares all rows at once, and then once a day. After an error (PostgreSQL cannot be reached) it begins anew
// after a minute.
func (c *Checker) run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := time.Minute
		if c.All(ctx) == nil {
			wait = checkEvery
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// All compares all rows, with a fifth of the time of one processor at most.
func (c *Checker) All(ctx context.Context) error {
	pace := Pace(ctx)
	for b := range Buckets {
		if _, err := c.compare(ctx, b, math.MaxInt, pace, b == 0); err != nil {
			return err
		}
		pace()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked.Ended = time.Now()
	return nil
}

// compare compares the streams of a bucket, at most limit rows, and where tables says so the counts of the other
// tables, over one snapshot.
func (c *Checker) compare(ctx context.Context, bucket, limit int, pace func(), tables bool) (read int, err error) {
	found := Findings{}
	var next map[event.Partition]int64
	err = c.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		marks, at, err := Marks(ctx, tx)
		if err != nil {
			return err
		}
		next = at
		if tables {
			if err := Tables(ctx, tx, marks, int64(limit), pace, found); err != nil {
				return err
			}
			c.count(marks)
		}
		read, err = Streams(ctx, tx, marks, bucket, limit, pace, found)
		return err
	})
	if err != nil {
		return read, err
	}
	for p, why := range found {
		c.Found(why)
		if err := c.unfit(p, next[p]); err != nil {
			return read, err
		}
	}
	return read, nil
}

func (c *Checker) count(marks map[event.Partition]*Contents) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checked.Unknown = 0
	for _, x := range marks {
		if x.Whole != all && !x.Damaged {
			c.checked.Unknown++
		}
	}
}
