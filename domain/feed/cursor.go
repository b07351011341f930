package feed

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/chirograph/chirograph/domain/event"
)

var (
	// ErrGone is the error for a cursor of an epoch of the ledger that was ended by a recovery, or from before what the views tell.
	ErrGone = errors.New("the cursor is from before what the feed tells now")
	// ErrCursor is the error for what is no cursor of this ledger and tenant.
	ErrCursor = errors.New("no cursor of this feed")
)

// Cursor is how far a feed was read: of each partition everything before an index. The zero Cursor is the beginning of
// epoch 0.
type Cursor struct {
	// Epoch is the epoch of the ledger in which the positions are.
	Epoch int
	// Next has for each partition of recipients the index of the next event.
	Next []int64
	// Audit is the index of the next event of the audit log.
	Audit int64
}

const cursorVersion = 1

// Encode is the cursor as bytes.
func (c Cursor) Encode() []byte {
	b := binary.AppendUvarint([]byte{cursorVersion}, uint64(c.Epoch))
	b = binary.AppendUvarint(b, uint64(c.Audit))
	b = binary.AppendUvarint(b, uint64(len(c.Next)))
	for _, n := range c.Next {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

// mostPartitions bounds the partitions of a cursor that is read.
const mostPartitions = 1 << 12

// DecodeCursor reads what Encode wrote; ErrCursor for anything else.
func DecodeCursor(b []byte) (c Cursor, err error) {
	if len(b) == 0 || b[0] != cursorVersion {
		return c, ErrCursor
	}
	b = b[1:]
	number := func(most uint64) int64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > most {
			err = ErrCursor
			return 0
		}
		b = b[n:]
		return int64(v)
	}
	c.Epoch, c.Audit = int(number(1<<31)), number(1<<62)
	n := number(mostPartitions)
	for range n {
		if err == nil {
			c.Next = append(c.Next, number(1<<62))
		}
	}
	if err != nil || len(b) > 0 {
		return Cursor{}, ErrCursor
	}
	return c, nil
}

// Equal reports whether two cursors are the same.
func (c Cursor) Equal(o Cursor) bool {
	return c.Epoch == o.Epoch && c.Audit == o.Audit && slices.Equal(c.Next, o.Next)
}

// Pass moves the cursor after an event, and changes it in place.
func (c *Cursor) Pass(at event.Position) {
	switch {
	case at.Partition == event.AuditPartition:
		c.Audit = max(c.Audit, at.Index+1)
	case at.Partition >= 0 && int(at.Partition) < len(c.Next):
		c.Next[at.Partition] = max(c.Next[at.Partition], at.Index+1)
	}
}
