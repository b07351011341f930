package ledger

import (
	"context"
	"fmt"

	"github.com/chirograph/chirograph/domain/event"
)

// Head is how far a store knows a partition of the ledger: every event before the index Next.
type Head struct {
	Next int64
	// Hash is the SHA-256 of the exact bytes of the event at Next-1; zero where Next is 0.
	Hash [32]byte
}

// Known is what a store beside the ledger (the vault, the views, the file beside the log) knows of the
// ledger. It is compared with the ledger at every open: a store that knows more than the ledger shows
// that the ledger has lost events.
type Known struct {
	// Ledger is the ledger's short id; "" if the store knows of no ledger, or was written by a version
	// that did not record it.
	Ledger string
	// Heads are by partition; a partition that is not in it is not known.
	Heads map[event.Partition]Head
}

// HeadsOf are the heads of a log's partitions at this moment.
func HeadsOf(ctx context.Context, log reader, partitions []event.Partition) (map[event.Partition]Head, error) {
	out := map[event.Partition]Head{}
	for _, p := range partitions {
		_, next, err := log.Read(ctx, p, 0, 0)
		if err != nil {
			return nil, fmt.Errorf("read the head of %s: %w", p, err)
		}
		h := Head{Next: next}
		if next > 0 {
			if h.Hash, err = HashAt(ctx, log, event.Position{Partition: p, Index: next - 1}); err != nil {
				return nil, err
			}
		}
		out[p] = h
	}
	return out, nil
}
