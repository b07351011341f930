package engine

import (
	"fmt"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// DefaultPartitions is how many recipients' partitions a new ledger gets where none is configured.
const DefaultPartitions = 16

// CheckPartitions returns an error where a configured number of partitions is impossible. 0 is
// possible: it stands for the default, or for what the ledger has.
func CheckPartitions(n int) error {
	if n < 0 || n > event.MaxPartitions {
		return fmt.Errorf("a ledger has 1 to %d partitions, not %d", event.MaxPartitions, n)
	}
	return nil
}

// CheckAppend returns an error where a ledger of so many partitions has no partition p.
func CheckAppend(p event.Partition, partitions int) error {
	if !has(p, partitions) {
		return fmt.Errorf("there is no partition %d", int(p))
	}
	return nil
}

// CheckRead returns an error for arguments of ledger.Log.Read that are none.
func CheckRead(p event.Partition, partitions int, from int64, most int) error {
	if !has(p, partitions) || from < 0 || most < 0 {
		return fmt.Errorf("read of partition %d from %d, at most %d: there is no such thing", int(p), from, most)
	}
	return nil
}

func has(p event.Partition, partitions int) bool {
	return p >= event.AuditPartition && int(p) < partitions
}

// Ahead is the error of a read from a position beyond a partition's head (ledger.ErrAhead).
func Ahead(at event.Position, head int64) error {
	return fmt.Errorf("%w: %s, where its head is %d", ledger.ErrAhead, at, head)
}
