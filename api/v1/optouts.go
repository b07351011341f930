package v1

import (
	"context"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/reading"
)

// RecordOptOut is POST /v1/opt-outs.
func (s *server) RecordOptOut(ctx context.Context, r RecordOptOutRequestObject) (RecordOptOutResponseObject, error) {
	b := r.Body
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	o, err := s.Intake.OptOut(ctx, callerOf(ctx), &intake.OptOutRequest{
		Number: b.Number, Country: b.Country, Scope: event.Scope(b.Scope), Program: b.Program, Sender: b.Sender,
		Source: event.Source(b.Source), Evidence: b.Evidence, OccurredAt: b.OccurredAt,
	})
	if err != nil {
		return nil, written(err)
	}
	return RecordOptOut201JSONResponse{Event: o.Event, Position: o.Position}, nil
}

// LiftOptOuts is POST /v1/opt-outs/lift.
func (s *server) LiftOptOuts(ctx context.Context, r LiftOptOutsRequestObject) (LiftOptOutsResponseObject, error) {
	b := r.Body
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	o, err := s.Intake.Lift(ctx, callerOf(ctx), &intake.OptOutRequest{
		Number: b.Number, Country: b.Country, Scope: event.Scope(b.Scope), Program: b.Program, Sender: b.Sender,
		Source: event.Source(b.Source), Evidence: b.Evidence,
	})
	if err != nil {
		return nil, written(err)
	}
	return LiftOptOuts201JSONResponse{Event: o.Event, Position: o.Position, Lifted: list(o.Lifted)}, nil
}

// CheckOptOuts is POST /v1/opt-outs/check.
func (s *server) CheckOptOuts(ctx context.Context, r CheckOptOutsRequestObject) (CheckOptOutsResponseObject, error) {
	b := r.Body
	c, err := s.Reading.CheckOptOuts(ctx, callerOf(ctx), reading.Check{Numbers: b.Numbers, Program: b.Program, Sender: b.Sender})
	if err != nil {
		return nil, err
	}
	return CheckOptOuts200JSONResponse(checkResult(b.Numbers, &c)), nil
}
