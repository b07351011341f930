package sqldb

import (
	"context"
	"database/sql"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
)

const (
	// checkAtOpen bounds the rows of streams, and of each other table, that are compared while the views are
	// opened, and checkWithin the time for it.
	checkAtOpen = 20_000
	checkWithin = 300 * time.Millisecond
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

// checker compares the rows with what the marks say of them, in the background.
type checker struct {
	mu      sync.Mutex
	checked Checked
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// Checked says what is known of whether the rows are what was written. It makes no query.
func (d *DB) Checked() Checked {
	d.checker.mu.Lock()
	defer d.checker.mu.Unlock()
	return d.checker.checked
}

// doubt marks a partition as one whose rows do not fit. next is how far it was folded when they were found. It
// does not wait.
func (d *DB) doubt(p event.Partition, next int64, why error) {
	if next > 0 {
		d.found(p, why)
		d.put(op{reset: p, doubt: next, done: func(error) {}})
	}
}

func (d *DB) found(p event.Partition, why error) {
	d.checker.mu.Lock()
	defer d.checker.mu.Unlock()
	d.checker.checked.Unfit++
	d.checker.checked.Last = why
}

// check compares some rows, before anyone reads any, and begins to compare all of them in the background.
func (d *DB) check(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	first := rand.IntN(viewsums.Buckets)
	left := checkAtOpen
	for i := 0; i < viewsums.Buckets && left > 0 && within.Err() == nil; i++ {
		read, err := d.compare(ctx, (first+i)%viewsums.Buckets, left, func() {}, i == 0)
		if err != nil {
			return err
		}
		left -= read
	}
	ctx, d.checker.stop = context.WithCancel(context.WithoutCancel(ctx))
	d.checker.wg.Go(func() { d.checkAll(ctx) })
	return nil
}

func (c *checker) close() {
	if c.stop != nil {
		c.stop()
	}
	c.wg.Wait()
}

// checkAll compares all rows at once, and then once a day. An error (PostgreSQL cannot be reached) makes it begin
// anew after a minute.
func (d *DB) checkAll(ctx context.Context) {
	for ctx.Err() == nil {
		wait := checkEvery
		pace := viewsums.Pace(ctx)
		for b := 0; b < viewsums.Buckets; b++ {
			if _, err := d.compare(ctx, b, math.MaxInt, pace, b == 0); err != nil {
				wait = time.Minute
				break
			}
		}
		if wait == checkEvery && ctx.Err() == nil {
			d.checker.mu.Lock()
			d.checker.checked.Ended = time.Now()
			d.checker.mu.Unlock()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// compare compares the streams of a bucket, at most limit rows, and where tables says so the counts of the other tables,
// over one snapshot.
func (d *DB) compare(ctx context.Context, bucket, limit int, pace func(), tables bool) (read int, err error) {
	found := viewsums.Found{}
	var next map[event.Partition]int64
	err = d.snapshot(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if d.pg != nil {
			if _, err := tx.ExecContext(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`); err != nil {
				return err
			}
		}
		marks, at, err := viewsums.Marks(ctx, tx)
		if err != nil {
			return err
		}
		next = at
		if tables {
			if err := viewsums.Tables(ctx, tx, marks, int64(limit), pace, found); err != nil {
				return err
			}
			d.checker.mu.Lock()
			d.checker.checked.Unknown = 0
			for _, x := range marks {
				if x.Whole != math.MaxUint64 && !x.Damaged {
					d.checker.checked.Unknown++
				}
			}
			d.checker.mu.Unlock()
		}
		read, err = viewsums.Streams(ctx, tx, marks, bucket, limit, pace, found)
		return err
	})
	if err != nil {
		return read, err
	}
	for p, why := range found {
		d.found(p, why)
		// Where there is no mark to put it into, the rows are dropped at once.
		answer := make(chan error, 1)
		d.put(op{reset: p, doubt: next[p], done: func(err error) { answer <- err }})
		if err := <-answer; err != nil {
			return read, err
		}
	}
	return read, nil
}
