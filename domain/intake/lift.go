package intake

import (
	"context"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Lift ends the opt-outs of exactly the given reach that are in force now. The event names them,
// so an opt-out that comes between stays in force. If there is none, Lift refuses. It returns
// when the event is durable.
func (in *Intake) Lift(ctx context.Context, c ledger.Caller, r *OptOutRequest) (*OptedOut, error) {
	reach, err := in.reach(c, r)
	if err != nil {
		return nil, err
	}
	to, stream, err := in.person(ctx, c, r)
	if err != nil {
		return nil, err
	}
	stand, err := in.standing(ctx, stream, reach)
	if err != nil {
		return nil, err
	}
	if len(stand) == 0 {
		return nil, &ledger.Refusal{Code: "nothing_to_lift", Status: ledger.Conflict, Text: "No opt-out of this scope is in force for this number."}
	}
	out, err := in.record(ctx, stream, to, r, func(sealed *event.Sealed) event.Data {
		return &event.SuppressionLifted{Lifts: stand, Source: r.Source, By: c.Key, Sealed: sealed}
	})
	if err != nil {
		return nil, err
	}
	out.Lifted = stand
	return out, nil
}

// standing returns the opt-outs of a reach that are in force at the head that the log has now.
func (in *Intake) standing(ctx context.Context, s ledger.Stream, reach event.Reach) ([]event.ID, error) {
	_, head, err := in.cfg.Log.Read(ctx, s.Partition, 0, 0)
	if err != nil {
		return nil, ledger.Refused(err)
	}
	if head == 0 {
		return nil, nil
	}
	if err := in.cfg.Finder.WaitFor(ctx, event.Position{Partition: s.Partition, Index: head - 1}); err != nil {
		return nil, ledger.Refused(err)
	}
	folds, _, err := in.cfg.Views.Streams(ctx, s.Partition, []event.Pseudonym{s.Subject})
	if err != nil {
		return nil, ledger.Refused(err)
	}
	var out []event.ID
	if f := folds[s.Subject]; f != nil {
		for _, o := range f.OptOuts {
			if o.Reach == reach && !o.Part {
				out = append(out, o.Event)
			}
		}
	}
	return out, nil
}
