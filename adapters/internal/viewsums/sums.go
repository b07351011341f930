// Package viewsums says what the rows of the SQL views must be, as the mark of their partition has it: a digest
// of each stream's row, for each of 64 buckets of streams how many rows there are and the sum of their digests,
// and how many rows some other tables have. A row that was changed by a hand or by a flipped bit, and a table
// that was emptied or put back to an older state, do not fit it.
package viewsums

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"math"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Of is the sum of a stream's row: the first 64 bits of the SHA-256 of the subject and the exact bytes of
// the state. A row without a state has that of no bytes.
func Of(subject event.Pseudonym, state []byte) int64 {
	h := sha256.New()
	h.Write(subject[:])
	h.Write(state)
	var b [sha256.Size]byte
	return int64(binary.BigEndian.Uint64(h.Sum(b[:0])))
}

// Buckets is into how many buckets the streams of a partition are divided.
const Buckets = 64

// Bucket is the bucket of a stream. The streams of a bucket follow one another in the order of subjects.
func Bucket(subject event.Pseudonym) int { return int(subject[0] >> 2) }

// Range returns bounds of the subjects of a bucket, both excluded.
func Range(bucket int) (after, before []byte) {
	after = []byte{byte(bucket << 2)} // less than every subject that begins with it
	if bucket == Buckets-1 {
		for range 17 {
			before = append(before, 0xff)
		}
		return after, before
	}
	return after, []byte{byte((bucket + 1) << 2)}
}

// Damaged is what the column summed has where the rows do not fit.
const Damaged = -1

// Unknown is a count that is not known.
const Unknown = -1

// all has the bit of every bucket.
const all = math.MaxUint64

// Contents is what the rows of a partition must be, as of one mark.
type Contents struct {
	// Damaged: they were found not to fit. Nothing else is then of use.
	Damaged bool
	// Whole has a bit for each bucket whose rows all have their sums.
	Whole uint64
	Rows  [Buckets]int64
	Sums  [Buckets]uint64
	// Messages, Reserved and OptOuts (in both their tables) count rows; Unknown if they were not counted.
	Messages, Reserved, OptOuts int64
}

// IsWhole reports whether a bucket's rows all have their sums.
func (x *Contents) IsWhole(bucket int) bool { return !x.Damaged && x.Whole>>bucket&1 == 1 }

// Streams is how many rows the whole buckets have together.
func (x *Contents) Streams() (n int64) {
	for b := range Buckets {
		if x.IsWhole(b) {
			n += x.Rows[b]
		}
	}
	return n
}

// Insert takes down a new row of a stream.
func (x *Contents) Insert(subject event.Pseudonym, sum int64) {
	b := Bucket(subject)
	x.Rows[b]++
	x.Sums[b] += uint64(sum)
}

// Replace takes down that a row of a stream has another sum.
func (x *Contents) Replace(subject event.Pseudonym, old, sum int64) {
	x.Sums[Bucket(subject)] += uint64(sum) - uint64(old)
}

// Add adds to a count, unless it is not known.
func Add(count *int64, n int64) {
	if *count != Unknown {
		*count += n
	}
}

// Columns are the columns of the table partitions that a Stored scans.
const Columns = `summed, whole, sums, messages_rows, reserved_rows, opt_outs_rows`

// Stored is a Contents as its columns have it.
type Stored struct {
	Summed, Whole               sql.NullInt64
	Sums                        []byte
	Messages, Reserved, OptOuts sql.NullInt64
}

// Into are the destinations for Columns.
func (s *Stored) Into() []any {
	return []any{&s.Summed, &s.Whole, &s.Sums, &s.Messages, &s.Reserved, &s.OptOuts}
}

// Contents is what they say of a partition that is folded up to next. Where a program that does not know
// the columns wrote last, nothing is known.
func (s *Stored) Contents(next int64) *Contents {
	x := &Contents{Messages: Unknown, Reserved: Unknown, OptOuts: Unknown}
	switch {
	case next == 0:
		return &Contents{Whole: all}
	case s.Summed.Int64 == Damaged && s.Summed.Valid:
		x.Damaged = true
	case s.Summed.Valid && s.Summed.Int64 == next && len(s.Sums) >= 16*Buckets:
		x.Whole = uint64(s.Whole.Int64)
		for b := range Buckets {
			x.Rows[b] = int64(binary.BigEndian.Uint64(s.Sums[16*b:]))
			x.Sums[b] = binary.BigEndian.Uint64(s.Sums[16*b+8:])
		}
		x.Messages, x.Reserved, x.OptOuts = count(s.Messages), count(s.Reserved), count(s.OptOuts)
	}
	return x
}

func count(n sql.NullInt64) int64 {
	if !n.Valid {
		return Unknown
	}
	return n.Int64
}

// Store returns what the columns are to have, for a mark at next.
func (x *Contents) Store(next int64) Stored {
	s := Stored{Summed: sql.NullInt64{Int64: next, Valid: true}, Whole: sql.NullInt64{Int64: int64(x.Whole), Valid: true}, Sums: make([]byte, 16*Buckets)}
	if x.Damaged {
		s.Summed.Int64 = Damaged
	}
	for b := range Buckets {
		binary.BigEndian.PutUint64(s.Sums[16*b:], uint64(x.Rows[b]))
		binary.BigEndian.PutUint64(s.Sums[16*b+8:], x.Sums[b])
	}
	for _, c := range []struct {
		to   *sql.NullInt64
		from int64
	}{{&s.Messages, x.Messages}, {&s.Reserved, x.Reserved}, {&s.OptOuts, x.OptOuts}} {
		*c.to = sql.NullInt64{Int64: c.from, Valid: c.from != Unknown}
	}
	return s
}

// Seal adds to what is stored a digest of the mark and of the ledger that it is of, so that a mark that was
// changed, or that came out of another ledger's write-ahead file, is told from one that was written here.
func (s *Stored) Seal(id string, p event.Partition, h ledger.Head) {
	if id == "" { // the ledger is not known
		return
	}
	sum := sealOf(id, p, h)
	s.Sums = append(s.Sums, sum[:]...)
}

// Sealed reports whether the digest that Seal added is right. A mark without one, or one that a program which
// does not know it wrote last, is believed.
func (s *Stored) Sealed(id string, p event.Partition, h ledger.Head) bool {
	if !s.Summed.Valid || s.Summed.Int64 != h.Next || len(s.Sums) != 16*Buckets+sealSize {
		return true
	}
	sum := sealOf(id, p, h)
	return bytes.Equal(s.Sums[16*Buckets:], sum[:])
}

const sealSize = 8

func sealOf(id string, p event.Partition, h ledger.Head) (out [sealSize]byte) {
	b := append([]byte("chirograph views: mark "), id...)
	b = binary.BigEndian.AppendUint64(b, uint64(p))
	b = binary.BigEndian.AppendUint64(b, uint64(h.Next))
	sum := sha256.Sum256(append(b, h.Hash[:]...))
	copy(out[:], sum[:])
	return out
}
