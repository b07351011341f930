package intake

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// Lift ends the opt-outs of exactly the given reach that are in force now. The event names them,
// so an opt-out that comes between stays in force; what the same words stopped beside them stays too. It needs evidence. If there is no opt-out, Lift
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
	f, err := in.foldAtHead(ctx, stream.Partition, stream.Subject)
	if err != nil {
		return nil, err
	}
	stand, ended, beside := standing(f, reach, in.registry().Level())
	if len(stand) == 0 {
		return nil, &ledger.Refusal{Code: "nothing_to_lift", Status: ledger.Conflict, Text: "No plain opt-out of this scope is in force for this number. An unclear reply is resolved as a review."}
	}
	var reaches []event.Reach
	switch level := in.registry().Level(); {
	case len(beside) == 0:
	case level >= 3:
		reaches = ended
	default: // the lift cannot say which reaches it is about
		if err := in.keep(ctx, c, stream, to, beside); err != nil {
			return nil, err
		}
	}
	out, err := in.record(ctx, stream, to, r, func(sealed *event.Sealed) event.Data {
		return &event.SuppressionLifted{Lifts: stand, Reaches: reaches, Source: r.Source, By: c.Key, Sealed: sealed}
	})
	if err != nil {
		return nil, err
	}
	out.Lifted = stand
	return out, nil
}

// standing are the opt-outs of a reach that are in force in a fold, with their reaches as they are written, and beside
// them those of other reaches that came with the same words: one STOP stops every legal entity that sends from the number.
func standing(f *recipient.State, reach event.Reach, level int) (stand []event.ID, ended []event.Reach, beside []recipient.OptOut) {
	if f == nil {
		return nil, nil, nil
	}
	same := func(r event.Reach) bool {
		switch {
		case r.Scope != reach.Scope:
			return false
		case r.Scope == event.ScopeSender:
			return control.SenderForm(r.Name) == control.SenderForm(reach.Name)
		case r.Scope == event.ScopeLegalEntity:
			return control.EntityForm(r.Name) == control.EntityForm(reach.Name)
		}
		return r == reach
	}
	for _, o := range f.OptOuts {
		// What is unclear or only held is ended by its review, where its words are read first. At format
		// level 1 nobody can read them yet.
		if same(o.Reach) && !o.Part && (!o.Unclear || level < 2) {
			stand = append(stand, o.Event)
			if !slices.Contains(ended, o.Reach) {
				ended = append(ended, o.Reach)
			}
		}
	}
	for _, o := range f.OptOuts {
		if slices.Contains(stand, o.Event) && !same(o.Reach) {
			beside = append(beside, o)
		}
	}
	return stand, ended, beside
}

// keep, below format level 3, records again, each with an event of its own, the opt-outs that would end with those that a lift names although
// they are of another reach: a lift names events. Until the lift is recorded both stand. If the process ends
// before, nothing is lifted.
func (in *Intake) keep(ctx context.Context, c ledger.Caller, stream ledger.Stream, to sms.Number, beside []recipient.OptOut) error {
	for _, o := range beside {
		said := o.Occurred
		if said.IsZero() {
			said = o.Known
		}
		why := &OptOutRequest{Evidence: "It stays in force: the opt-out " + o.Event.String() + " had this scope too, and was lifted for another."}
		if _, err := in.record(ctx, stream, to, why, func(sealed *event.Sealed) event.Data {
			return &event.OptedOut{Reach: o.Reach, Source: o.Source, Occurred: said, Unclear: o.Unclear, By: c.Key, Sealed: sealed}
		}); err != nil {
			return err
		}
	}
	return nil
}
