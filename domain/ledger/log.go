package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"sort"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Log is the engine of a ledger: ordered, append-only partitions. It compares nothing, locks
// nothing and keeps no writer out. The order of the events in it, when they are folded, decides
// which of them take effect.
type Log interface {
	// Partitions is how many recipients' partitions the ledger has; control, the inbox and the audit
	// log are not counted. It is fixed when the ledger is created.
	Partitions() int

	// Append queues events for one partition and returns at once. done is called exactly once,
	// from any goroutine, and must not block. Its result is
	//
	//   - the index of the first event, when all events are durable;
	//   - an error that is ErrRefused, when none was appended, nor will be;
	//   - another error, when it is not known: some, all or none of them may be in the log, now
	//     or later.
	//
	// Appends by one caller to one partition keep their order. The events of one append keep
	// their order too; where several processes append, other processes' events may be between
	// them. After the call the events belong to Append: they must not be changed.
	Append(p event.Partition, events []*event.Event, done func(Appended))

	// Read returns up to max events of a partition, from an index on, in order and without a gap,
	// and the partition's head: the index that the next event will have. If there is none from
	// that index on, it waits until there is one or ctx is done, without polling. When ctx is
	// done it returns no events, and no error for that. With max 0 it returns the head at once,
	// whatever from is. It reads only durable events. For an index after the head it returns
	// ErrAhead: the log has lost events that were read before.
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []Record, head int64, err error)
}

// Appended is the result of an Append.
type Appended struct {
	// First is the index of the first event; the others follow in order.
	First int64
	Err   error
}

// Record is one event with its index.
type Record struct {
	Index int64
	// Event equals what decoding Raw gives. It is shared: only read it.
	Event *event.Event
	// Raw is the exact bytes in the log.
	Raw []byte
	// Bad says why the bytes are no event of this ledger: they are not what the encoder writes,
	// have an unknown type, or belong to another ledger. Event is then nil. A fold must stop
	// here, unless control has accepted exactly this record.
	Bad error
}

// MaxAppend is the largest number of events in one Append.
const MaxAppend = 4096

// reader is the half of a Log that reads.
type reader interface {
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []Record, head int64, err error)
}

// EachBatch reads a partition from one index up to, but not including, another (-1: the head of
// this moment), and calls f with the records in order, up to 1024 at a time. It ends with the
// first error of a read, of f or of ctx.
func EachBatch(ctx context.Context, log reader, p event.Partition, from, to int64, f func([]Record) error) error {
	_, head, err := log.Read(ctx, p, 0, 0)
	if err != nil {
		return err
	}
	if to < 0 || to > head {
		to = head
	}
	for from < to {
		records, _, err := log.Read(ctx, p, from, int(min(to-from, 1024)))
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f(records); err != nil {
			return err
		}
		from += int64(len(records))
	}
	return nil
}

// readWithin bounds a read of records that are there: only a log that lost them makes it wait.
const readWithin = 10 * time.Second

// FirstAt finds by halving the first of the records before head whose time is t or later; head if there is
// none. A record that is no event has the time of the next one. Times are only nearly in the order of the
// log, so the caller asks for a time that allows for that. It reads some 2·log2(head) records.
func FirstAt(ctx context.Context, log reader, p event.Partition, head int64, t time.Time) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	var failed error
	first := sort.Search(int(head), func(i int) bool {
		for at := int64(i); failed == nil && at < head; at++ {
			var r Record
			if r, failed = recordAt(ctx, log, event.Position{Partition: p, Index: at}); failed == nil && r.Event != nil {
				return !r.Event.Time.Before(t)
			}
		}
		return true
	})
	return int64(first), failed
}

// HashAt is the SHA-256 of the exact bytes of the record at a position below the head.
func HashAt(ctx context.Context, log reader, at event.Position) ([sha256.Size]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	r, err := recordAt(ctx, log, at)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return sha256.Sum256(r.Raw), nil
}

func recordAt(ctx context.Context, log reader, at event.Position) (Record, error) {
	records, _, err := log.Read(ctx, at.Partition, at.Index, 1)
	if err == nil && len(records) == 0 {
		err = errors.Join(ctx.Err(), errors.New("the log does not give the event at "+at.String()))
	}
	if err != nil {
		return Record{}, err
	}
	return records[0], nil
}
