package ledger

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Placement says which partitions this node serves. It makes the work fast, and nothing depends
// on it to be safe: if two nodes serve the same partition, they only void each other's proposals.
// The node that serves partition 0 looks after the inbox too.
type Placement interface {
	// Run is a member of the cluster until ctx is done, and then leaves it. It calls gained and
	// lost one at a time, from one goroutine, with recipients' partitions. gained returns at
	// once. lost returns when the partitions are drained, which takes a bounded time. No other
	// node gets them before that, unless the cluster itself waits no longer. When Run returns,
	// every partition that was gained has been lost.
	Run(ctx context.Context, gained, lost func([]event.Partition)) error
}

// Reservations keep idempotency keys where several processes take requests. Where one process
// does, the log and the process's memory are enough.
type Reservations interface {
	// Reserve records durably that a key belongs to a message, unless the key was reserved
	// before, and returns the reservation that was made first. key is the 16 bytes of the key's
	// keyed digest in hexadecimal. keep is until when the reservation must be remembered. After
	// an error it is not known whether it was recorded; the caller answers with ErrRefused,
	// because nothing was appended.
	Reserve(ctx context.Context, tenant, key string, r Reserved, keep time.Time) (Reserved, error)
}
