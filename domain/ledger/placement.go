package ledger

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Placement says which partitions this node serves. It is a matter of speed, never
// of safety: two nodes that serve the same partition void each other's proposals,
// and nothing worse. The inbox goes with partition 0.
type Placement interface {
	// Run takes part until ctx is done, and then leaves. gained and lost are called
	// one at a time, from one goroutine, with partitions of 0 and up. gained returns
	// at once. lost returns when the partition is drained, which is bounded; it is
	// given to nobody else before that, unless the bound of the membership itself has
	// passed. When Run returns, everything that was gained has been lost.
	Run(ctx context.Context, gained, lost func([]event.Partition)) error
}

// Reservations keep idempotency keys where several processes take requests. In one
// process the log and its memory are the reservation, and there are none.
type Reservations interface {
	// Reserve records that a key stands for a message, durably, unless it was
	// reserved before, and returns what stands: the reservation that was made first.
	// key is the 16 bytes of the key's keyed digest in hexadecimal. keep is until
	// when it must be remembered. An error: it is not known whether it was recorded;
	// the caller refuses (ErrRefused), for nothing was appended.
	Reserve(ctx context.Context, tenant, key string, r Reserved, keep time.Time) (Reserved, error)
}
