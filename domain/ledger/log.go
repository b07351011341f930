package ledger

import (
	"context"

	"github.com/chirograph/chirograph/domain/event"
)

// Log is the ledger's engine: ordered, append-only partitions. It compares,
// locks and fences nothing; the order in which it took things, folded, says what
// takes effect.
type Log interface {
	// Partitions is how many recipients' partitions there are, fixed when the
	// ledger was created. Control and inbox come on top.
	Partitions() int

	// Append queues events, in order, for one partition and returns at once. done
	// is called exactly once, from any goroutine, and must not block: with the
	// position of the first event when all of them are durable; with an error that
	// is ErrRefused when none was appended; and with any other error when nobody
	// can know, in which case some, all or none may be in the log, now or later.
	// Appends by one caller to one partition keep their order. The events of one
	// append follow each other; where several processes append, another's may stand
	// between them. Append takes ownership of the events: nobody may change them
	// afterwards.
	Append(p event.Partition, events []*event.Event, done func(Appended))

	// Read returns up to max events of a partition from an index on, in order and
	// without a gap, and the partition's head (the index that the next event will
	// have). When there is nothing from that index on, it waits until there is or
	// ctx is done, without polling; then it returns no events and ctx's error is
	// not reported. With max 0 it returns the head at once, whatever from is. Only
	// what is durable is read. An index past the head is ErrAhead: the log has lost
	// what somebody has read.
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []Record, head int64, err error)
}

// Appended is what came of an Append.
type Appended struct {
	// First is the index of the first event; the others follow in order.
	First int64
	Err   error
}

// Record is one event where it stands.
type Record struct {
	Index int64
	// Event equals what decoding Raw gives. It is shared: read only.
	Event *event.Event
	// Raw is the exact bytes that are stored.
	Raw []byte
	// Bad says why these bytes are no event of this ledger: not of the encoder, of a
	// type that is not known, another ledger's. Event is then nil. Whoever folds stops
	// here, unless control has accepted this very record.
	Bad error
}

// MaxAppend bounds the events of one Append.
const MaxAppend = 4096

// EachBatch reads a partition from an index up to another (-1: its head now), and calls f
// with the records, in order, some at a time.
func EachBatch(ctx context.Context, log Log, p event.Partition, from, to int64, f func([]Record) error) error {
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
