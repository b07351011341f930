package assemble

import (
	"context"
	"time"

	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// RecordRotations appends an event to the audit log for each change of the vault's master key that has none
// yet, and returns how many. A ledger below format level 3 has no such event: they are left for later. node
// is who writes them. After a crash an event is appended once more, under the same id.
func (d *Data) RecordRotations(ctx context.Context, node string, level int) (n int, err error) {
	if level < 3 {
		return 0, nil
	}
	rotations, err := vault.Rotations(ctx, d.Vault)
	for _, r := range rotations {
		e := ledger.Author{Source: d.Log.Source(), Node: node}.Event(ledger.Audit(""), r.Event, time.Now(),
			&event.MasterKeyRotated{Began: event.Millis(r.Began), Ended: event.Millis(r.Ended), Keys: r.Keys, By: r.By})
		done := make(chan ledger.Appended, 1)
		d.Log.Append(event.AuditPartition, []*event.Event{e}, func(a ledger.Appended) { done <- a })
		if a := <-done; a.Err != nil {
			return n, a.Err
		}
		if err := vault.Recorded(ctx, d.Vault, r); err != nil {
			return n, err
		}
		n++
	}
	return n, err
}

// recordRotations is RecordRotations for a node that runs: a rotation may have ended beside it.
func (r *Running) recordRotations(ctx context.Context) {
	if n, err := r.Data.RecordRotations(ctx, r.Name, r.Node.Registry().Level()); err != nil {
		r.Log.Warn("a change of the vault's master key could not be recorded in the audit log; it is tried again", "error", err)
	} else if n > 0 {
		r.Log.Info("the vault got a new master key; the audit log has it")
	}
}
