package intake

import (
	"context"
	"fmt"
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Lift ends the opt-outs of exactly the given reach that are in force now. The event names them,
// so an opt-out that comes between stays in force. It needs evidence. If there is no opt-out, Lift
// refuses. An unclear reply is not lifted here, but resolved as a review. It returns when the event is
// durable.
func (in *Intake) Lift(ctx context.Context, c ledger.Caller, r *OptOutRequest) (*OptedOut, error) {
	reach, err := in.reach(c, r)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(r.Evidence) == "" {
		return nil, refuse("evidence_required", "/evidence", fmt.Sprintf("Say on what evidence, in 1 to %d bytes of text.", maxEvidence))
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
		return nil, &ledger.Refusal{Code: "nothing_to_lift", Status: ledger.Conflict, Text: "No plain opt-out of this scope is in force for this number. An unclear reply is resolved as a review."}
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
func (in *Intake) standing(ctx context.Context, s ledger.Stream, reach event.Reach) (out []event.ID, err error) {
	f, err := in.foldAtHead(ctx, s.Partition, s.Subject)
	if err != nil || f == nil {
		return nil, err
	}
	for _, o := range f.OptOuts {
		// What is unclear or only held is ended by its review, where its words are read first. At format
		// level 1 nobody can read them yet.
		if o.Reach == reach && !o.Part && (!o.Unclear || in.registry().Level() < 2) {
			out = append(out, o.Event)
		}
	}
	return out, nil
}
