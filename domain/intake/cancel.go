package intake

import (
	"context"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Cancelled is what came of a cancel.
type Cancelled struct {
	Status   recipient.Status
	Position event.Position
	// Late: the message had left, or had ended, before the request landed.
	Late bool
}

// Cancel asks that a message not be sent (any more), and answers what that came to: a message
// that has left stays sent, and no later attempt of it is made.
func (in *Intake) Cancel(ctx context.Context, c ledger.Caller, id event.ID) (*Cancelled, error) {
	f, err := in.find(ctx, c.Tenant, id)
	if err != nil {
		return nil, err
	}
	w := in.cfg.Writer
	e := w.Write(ledger.Stream{Tenant: c.Tenant, Subject: f.Subject}, w.NewID(), &event.CancelRequested{By: c.Key})
	e.Message = id
	pos, err := w.Append(ctx, f.Position.Partition, e)
	if err != nil {
		return nil, err
	}
	if err := in.cfg.Finder.WaitFor(ctx, pos); err != nil {
		return nil, ledger.ErrUnknown
	}
	if f, err = in.find(ctx, c.Tenant, id); err != nil {
		return nil, ledger.Unknown(err)
	}
	return &Cancelled{Status: f.Status, Position: pos, Late: f.Status != recipient.Cancelled}, nil
}
