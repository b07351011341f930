package v1

import (
	"context"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// GetProgram is GET /v1/programs/{name}.
func (s *server) GetProgram(ctx context.Context, r GetProgramRequestObject) (GetProgramResponseObject, error) {
	p, err := s.Commands.Program(ctx, callerOf(ctx), r.Name)
	if err != nil {
		return nil, err
	}
	return GetProgram200JSONResponse(program(p)), nil
}

// PutProgram is PUT /v1/programs/{name}.
func (s *server) PutProgram(ctx context.Context, r PutProgramRequestObject) (PutProgramResponseObject, error) {
	b, caller := r.Body, callerOf(ctx)
	priority, err := ranged("invalid_priority", "/priority", b.Priority, 1, 9)
	if err != nil {
		return nil, err
	}
	purposes := make([]string, len(b.Purposes))
	for i, p := range b.Purposes {
		purposes[i] = string(p)
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	p, err := s.Commands.PutProgram(ctx, caller, &event.ProgramChanged{
		Name: r.Name, LegalEntity: b.LegalEntity, Brand: b.Brand, Purposes: purposes, Countries: b.Countries,
		Senders: b.Senders, Priority: priority, PrefersDuplicate: b.PrefersDuplicate,
		HelpText: b.HelpText, StopText: b.StopText, StartText: b.StartText, Default: b.Default, By: caller.Key,
	})
	if err != nil {
		return nil, written(err)
	}
	return PutProgram200JSONResponse(program(p)), nil
}

func program(v *control.ProgramView) Program {
	p := v.Program
	return Program{
		Name: p.Name, LegalEntity: p.LegalEntity, Brand: p.Brand, Purposes: list(p.Purposes), Countries: list(p.Countries),
		Senders: list(p.Senders), Priority: p.Priority, PrefersDuplicate: p.PrefersDuplicate,
		HelpText: p.HelpText, StopText: p.StopText, StartText: p.StartText, Default: p.Default,
		Event: v.Event, Position: v.Position, By: v.By, At: v.At, Warnings: list(v.Warnings),
	}
}

// Pause is POST /v1/pause.
func (s *server) Pause(ctx context.Context, r PauseRequestObject) (PauseResponseObject, error) {
	p, err := s.pausing(ctx, r.Body, s.Commands.Pause)
	if err != nil {
		return nil, err
	}
	return Pause200JSONResponse(p), nil
}

// Resume is POST /v1/resume.
func (s *server) Resume(ctx context.Context, r ResumeRequestObject) (ResumeResponseObject, error) {
	p, err := s.pausing(ctx, r.Body, s.Commands.Resume)
	if err != nil {
		return nil, err
	}
	return Resume200JSONResponse(p), nil
}

func (s *server) pausing(ctx context.Context, b *PauseRequest, do func(context.Context, ledger.Caller, *control.PauseRequest) (*control.Pausing, error)) (Pausing, error) {
	ctx, cancel := context.WithTimeout(ctx, max(door.MaxWait, s.AnswerWithin))
	defer cancel()
	p, err := do(ctx, callerOf(ctx), &control.PauseRequest{Program: b.Program, Carrier: b.Carrier, Reason: b.Reason})
	if err != nil {
		return Pausing{}, written(err)
	}
	return Pausing{Event: p.Event, Position: p.Position, InForce: p.InForce}, nil
}
