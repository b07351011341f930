// Package viewmarks reads how far the SQL views are folded, and which ledger they are of.
package viewmarks

import (
	"database/sql"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Columns are the columns of the table partitions that Scan reads.
const Columns = `partition, next, hash, control, control_event, time, call_by`

// callByUnknown is how long after its time a partition may still call a carrier, if its row was
// written before call_by was stored there. Until then a start gave its carrier a minute at most.
const callByUnknown = time.Minute

// Scan reads one row of Columns; more are columns that follow them.
func Scan(scan func(...any) error, more ...any) (p event.Partition, m ledger.Mark, err error) {
	var hash, control []byte
	var at, callBy sql.NullInt64
	if err := scan(append([]any{&p, &m.Next, &hash, &m.Partition.Control, &control, &at, &callBy}, more...)...); err != nil {
		return p, m, err
	}
	copy(m.Hash[:], hash)
	copy(m.Partition.ControlEvent[:], control)
	if at.Valid {
		m.Partition.Time = time.UnixMilli(at.Int64).UTC()
	}
	switch {
	case !callBy.Valid && at.Valid:
		m.Partition.CallBy = m.Partition.Time.Add(callByUnknown)
	case callBy.Int64 != 0:
		m.Partition.CallBy = time.UnixMilli(callBy.Int64).UTC()
	}
	return p, m, nil
}

// CallBy is the partition's call_by as stored: 0 if nothing was started yet. NULL means that it
// is not known.
func CallBy(p recipient.PartitionState) int64 {
	if p.CallBy.IsZero() {
		return 0
	}
	return p.CallBy.UnixMilli()
}
