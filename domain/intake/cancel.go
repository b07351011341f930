package intake

import (
	"context"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Cancelled is the answer to a cancel.
type Cancelled struct {
	// Status is the message's status after the request, and Position the request's position.
	Status   recipient.Status
	Position event.Position
	// Late says that the message was sent, or had ended, before the request came into the log.
	// Then nothing was cancelled, but no later attempt is made.
	Late bool
}

// Cancel asks that a message not be sent, and answers what became of it. A message that was sent
// stays sent; no later attempt of it is made. It returns when the views have applied the request.
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
