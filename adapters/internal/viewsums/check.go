package viewsums

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
)

// Findings says which partitions' rows do not fit, and why.
type Findings map[event.Partition]error

func (f Findings) add(p event.Partition, format string, args ...any) {
	if f[p] == nil {
		f[p] = fmt.Errorf(format, args...)
	}
}

// Marks reads, over the snapshot of tx, what the rows of each partition must be, and up to where it is folded.
func Marks(ctx context.Context, tx *sql.Tx) (all map[event.Partition]*Contents, next map[event.Partition]int64, err error) {
	all, next = map[event.Partition]*Contents{}, map[event.Partition]int64{}
	err = sqlrows.Query(ctx, tx, `SELECT partition, next, `+Columns+` FROM partitions`, nil, func(scan func(...any) error) error {
		var p event.Partition
		var n int64
		var s Stored
		if err := scan(append([]any{&p, &n}, s.Into()...)...); err != nil {
			return err
		}
		all[p], next[p] = s.Contents(n), n
		return nil
	})
	return all, next, err
}

// page is how many rows one statement reads.
const page = 2000

// errEnough ends a check that has read as many rows as it may.
var errEnough = errors.New("enough rows were read")

// Streams compares the rows of a bucket, in all partitions, with what the marks say, over the snapshot of tx. It
// reads at most limit rows and returns how many it read. Of a bucket with more, only the sums of the rows
// that it read are compared, and whether a partition has no row where it must have many. pace is called
// after each page of rows.
func Streams(ctx context.Context, tx *sql.Tx, marks map[event.Partition]*Contents, bucket, limit int, pace func(), found Findings) (read int, err error) {
	after, before := Range(bucket)
	rows, sums := map[event.Partition]int64{}, map[event.Partition]uint64{}
	for n := page; n == page && err == nil; {
		n = 0
		err = sqlrows.Query(ctx, tx, `SELECT subject, partition, state, sum FROM streams WHERE subject > $1 AND subject < $2 ORDER BY subject LIMIT `+fmt.Sprint(page), []any{bytes.Clone(after), before},
			func(scan func(...any) error) error {
				if read >= limit {
					return errEnough
				}
				var id, state sql.RawBytes
				var p event.Partition
				var sum sql.NullInt64
				if err := scan(&id, &p, &state, &sum); err != nil {
					return err
				}
				var subject event.Pseudonym
				copy(subject[:], id)
				after = append(after[:0], id...)
				n++
				read++
				rows[p]++
				sums[p] += uint64(sum.Int64)
				if x := marks[p]; x != nil && x.IsWhole(bucket) && (!sum.Valid || sum.Int64 != Of(subject, state)) {
					found.add(p, "the row of a stream is not as it was written")
				}
				return nil
			})
		if n == page {
			pace() // a snapshot that lasts keeps the database from clearing up
		}
	}
	if err != nil && !errors.Is(err, errEnough) {
		return read, err
	}
	for p, x := range marks {
		switch {
		case !x.IsWhole(bucket):
		case err != nil:
			if x.Rows[bucket] > int64(limit)/8 && rows[p] == 0 {
				found.add(p, "streams are missing")
			}
		case rows[p] != x.Rows[bucket] || sums[p] != x.Sums[bucket]:
			found.add(p, "there are %d rows of streams where there must be %d, or they are older ones", rows[p], x.Rows[bucket])
		}
	}
	if err == nil {
		for p := range rows {
			if marks[p] == nil {
				found.add(p, "there are streams and no mark")
			}
		}
	}
	return read, nil
}

// counted are the tables of which rows are counted, how many a partition must have, and how they are counted.
var counted = []struct {
	name   string
	tables []string
	want   func(*Contents) int64
}{
	{"idempotency keys", []string{"reserved"}, func(x *Contents) int64 { return x.Reserved }},
	{"opt-outs", []string{"opt_outs", "standing"}, func(x *Contents) int64 { return x.OptOuts }},
	{"messages", []string{"messages"}, func(x *Contents) int64 { return x.Messages }},
}

// Tables compares how many rows the counted tables have with what the marks say, over the snapshot of tx. A
// table that must have more than limit rows is only asked whether it has any. pace is called after each page of
// many rows.
func Tables(ctx context.Context, tx *sql.Tx, marks map[event.Partition]*Contents, limit int64, pace func(), found Findings) error {
	some := false
	if err := sqlrows.Query(ctx, tx, `SELECT 1 FROM streams LIMIT 1`, nil, func(func(...any) error) error { some = true; return nil }); err != nil {
		return err
	}
	for p, x := range marks {
		if !some && x.Streams() > 0 {
			found.add(p, "there are no streams where there must be %d", x.Streams())
		}
	}
	for _, c := range counted {
		var expected int64
		known := true
		for _, x := range marks {
			known = known && !x.Damaged && c.want(x) != Unknown
			if !x.Damaged {
				expected += max(c.want(x), 0)
			}
		}
		if c.tables[0] == "messages" && expected > many && expected <= limit {
			// The rows are large and no index has their partition: their ids are counted first, together.
			if !known {
				continue
			}
			if n, err := messages(ctx, tx, pace); err != nil || n == expected {
				if err != nil {
					return err
				}
				continue
			}
		}
		rows := map[event.Partition]int64{}
		for _, table := range c.tables {
			text := `SELECT partition, count(*) FROM ` + table + ` GROUP BY partition`
			if expected > limit {
				text = `SELECT partition, 1 FROM ` + table + ` LIMIT 1`
			}
			if err := sqlrows.Query(ctx, tx, text, nil, func(scan func(...any) error) error {
				var p event.Partition
				var n int64
				err := scan(&p, &n)
				rows[p] += n
				return err
			}); err != nil {
				return err
			}
		}
		for p := range rows {
			if marks[p] == nil {
				found.add(p, "there are %s and no mark", c.name)
			}
		}
		for p, x := range marks {
			want := c.want(x)
			switch {
			case x.Damaged || want == Unknown:
			case expected > limit:
				if len(rows) == 0 && want > 0 {
					found.add(p, "there are no %s where there must be %d", c.name, want)
				}
			case rows[p] != want:
				found.add(p, "there are %d %s where there must be %d", rows[p], c.name, want)
			}
		}
	}
	return nil
}

// many is how many messages are counted by partition at once.
const many = 100_000

// messages counts the ids of messages.
func messages(ctx context.Context, tx *sql.Tx, pace func()) (n int64, err error) {
	after := []byte{}
	for more := true; more && err == nil; {
		before := n
		err = sqlrows.Query(ctx, tx, `SELECT id FROM messages WHERE id > $1 ORDER BY id LIMIT 20000`, []any{bytes.Clone(after)}, func(scan func(...any) error) error {
			var id sql.RawBytes
			err := scan(&id)
			after = append(after[:0], id...)
			n++
			return err
		})
		if more = n > before; more {
			pace()
		}
	}
	return n, err
}

// Pace returns a function that sleeps, each time it is called, so long that no more than a fifth of the time
// is worked. It returns early when ctx is done.
func Pace(ctx context.Context) func() {
	began := time.Now()
	return func() {
		timer := time.NewTimer(4 * time.Since(began))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		began = time.Now()
	}
}
