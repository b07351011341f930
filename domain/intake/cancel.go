package intake

import (
	"context"
	"slices"

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
	// Asked says, with Late, that a carrier has a part of the message, and is asked to cancel it: by the node that serves
	// the message's partition, if it can. A receipt tells what becomes of the part; there may be none.
	Asked bool
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
	out := &Cancelled{Status: f.Status, Position: pos, Late: f.Status != recipient.Cancelled}
	out.Asked = out.Late && carrierAsked(ctx, &in.cfg, f.Position.Partition, f.Subject, id)
	return out, nil
}

// carrierAsked reports whether a carrier is asked to cancel a part of a message. If the views do not answer, it says no.
func carrierAsked(ctx context.Context, cfg *Config, p event.Partition, subject event.Pseudonym, id event.ID) bool {
	folds, _, err := cfg.Views.Streams(ctx, p, []event.Pseudonym{subject})
	if err != nil || folds[subject] == nil {
		return false
	}
	m := folds[subject].Message(id)
	return m != nil && slices.ContainsFunc(m.Carried(), func(x recipient.Carried) bool {
		return cfg.Account(x.Carrier).Asks.Cancel && ledger.Askable(x.CarrierID)
	})
}
