package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// keysWithin is how long a request with an idempotency key waits until the views know which keys were
// used before.
const keysWithin = 3 * time.Second

// errKeysUnknown is the refusal of a request with an idempotency key that comes too early.
var errKeysUnknown = ledger.Refused(errors.New("it is not known yet whether the idempotency key was used before, because the views are still being made from the ledger; send the same request again later"))

// wholeKeys says whether the views know every idempotency key of a partition that was used before this node
// began to ask them. The submit's event has the digest of its key, so the views know it once they have
// read so far, whatever the database of the reservations has lost. What is submitted later, the
// reservations know.
type wholeKeys struct {
	mu    sync.Mutex
	next  int64 // the views must have committed every event before it
	whole bool
	upTo  int64 // the views have committed every event before it, as they said last
}

// need says that the views must have committed every event before next.
func (k *wholeKeys) need(next int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next, k.whole = next, false
}

// known reports whether the views are known to have read so far.
func (k *wholeKeys) known() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.whole
}

// committed takes note of how far the views have committed, and reports whether that is enough. A mark that was
// read before a later need may be below it.
func (k *wholeKeys) committed(next int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.whole, k.upTo = k.whole || next >= k.next, next
	return k.whole
}

// reached is up to where the views have committed, as they said last.
func (k *wholeKeys) reached() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.upTo
}

// KeysKnown reports whether the views know every idempotency key that was used before this node began to
// ask them.
func (ps *partitions) KeysKnown() bool {
	if ps.alone {
		return true
	}
	for _, l := range ps.all {
		if !l.keys.known() {
			return false
		}
	}
	return true
}

// WaitForKeys waits until KeysKnown is true of one partition, for 3 s at most. Then the error is an
// ErrRefused.
func (ps *partitions) WaitForKeys(ctx context.Context, p event.Partition) error {
	if ps.alone {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keysWithin)
	defer cancel()
	l := ps.all[p]
	for !l.keys.known() {
		// An error of the views is ignored: PostgreSQL may be unreachable for a moment.
		if mark, err := ps.views.Mark(ctx, p); err == nil && l.keys.committed(mark.Next) {
			return nil
		}
		if err := sleep(ctx, foreignMarkPoll); err != nil {
			return errKeysUnknown
		}
	}
	return nil
}

// Committed is up to where the views have committed a partition, as far as this node knows.
func (ps *partitions) Committed(p event.Partition) int64 { return ps.all[p].keys.reached() }

// requests says whether requests are taken, and what is known of idempotency keys.
type requests struct {
	*partitions
	node *Node
}

// Takes is part of intake.Serving.
func (r requests) Takes() error { return r.node.Takes() }

// own are those of some partitions that the ledger has. A topic may have more: partitions can be added
// to it, and not taken away.
func (ps *partitions) own(all []event.Partition) (own []event.Partition) {
	for _, p := range all {
		if p >= 0 && int(p) < len(ps.all) {
			own = append(own, p)
		}
	}
	return own
}
