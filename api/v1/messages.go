package v1

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// SubmitMessage is POST /v1/messages.
func (s *server) SubmitMessage(ctx context.Context, r SubmitMessageRequestObject) (SubmitMessageResponseObject, error) {
	b := r.Body
	priority, err := ranged("invalid_priority", "/priority", b.Priority, 1, 9)
	if err != nil {
		return nil, err
	}
	var validFor time.Duration
	if b.ValidFor != "" {
		if validFor, err = time.ParseDuration(b.ValidFor); err != nil {
			return nil, door.Refuse("invalid_duration", "/valid_for", "Write the duration as 30s, 15m or 1h30m.")
		}
		if validFor <= 0 { // to the ledger it would be a default
			return nil, door.Refuse("invalid_valid_for", "/valid_for", "valid_for is one minute to 7 days, counted from send_at.")
		}
	}
	var key string
	if given := r.Params.IdempotencyKey; given != nil {
		if key = *given; strings.TrimSpace(key) == "" { // who gives an empty key believes that repeats are told from new calls
			return nil, door.Refuse("invalid_idempotency_key", "", "The Idempotency-Key is empty. Give one, or leave the header out.")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	m, err := s.Intake.Submit(ctx, callerOf(ctx), &intake.SubmitRequest{
		To: b.To, Country: b.Country, Body: b.Body, From: b.From, Program: b.Program, Purpose: b.Purpose,
		Priority: priority, Reference: b.Reference, SendAt: b.SendAt, ValidFor: validFor, Metadata: b.Metadata,
		IdempotencyKey: key,
	})
	if err != nil {
		return nil, written(err)
	}
	return SubmitMessage202JSONResponse{
		Id: m.ID, Status: cmp.Or(m.Status, recipient.Accepted), To: string(m.To), NumberKnown: numberKnown(m.To), From: m.From, Program: m.Program, Purpose: m.Purpose,
		Encoding: m.Encoding, Segments: m.Segments, Position: m.Position,
	}, nil
}

// GetMessage is GET /v1/messages/{id}.
func (s *server) GetMessage(ctx context.Context, r GetMessageRequestObject) (GetMessageResponseObject, error) {
	l, err := look(ctx, r.Params.AuditReason)
	if err != nil {
		return nil, err
	}
	wait, err := time.ParseDuration(cmp.Or(r.Params.Wait, "0"))
	if err != nil || wait < 0 || wait > door.MaxWait {
		return nil, door.Refuse("bad_parameter", "", "The parameter wait is a duration such as 30s, at most 60s.")
	}
	if r.Params.AtLeast != "" {
		p, err := s.Reading.ParsePosition(r.Params.AtLeast)
		if err != nil {
			return nil, door.Refuse("invalid_position", "", "The parameter at_least is a position of a message, such as 07-1234.")
		}
		if err := s.Reading.WaitFor(ctx, p); err != nil {
			return nil, err
		}
	}
	m, err := s.find(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	if wait > 0 && m.MayChange() {
		if err := s.messageWaits.Enter(m.Tenant); err != nil {
			return nil, err
		}
		err := s.Door.Wait(ctx, func() error { return s.Reading.WaitChange(ctx, m, wait) })
		s.messageWaits.Leave(m.Tenant)
		if err != nil {
			return nil, err
		}
		if m, err = s.find(ctx, r.Id); err != nil {
			return nil, err
		}
	}
	w, err := s.Reading.Open(ctx, l, m)
	if err != nil {
		return nil, err
	}
	return GetMessage200JSONResponse(message(&w)), nil
}

// find is the caller's message with an id.
func (s *server) find(ctx context.Context, text string) (*reading.Message, error) {
	id, err := s.Reading.ParseID(text)
	if err != nil {
		return nil, err
	}
	return s.Reading.Find(ctx, callerOf(ctx).Tenant, id)
}

// GetMessageEvents is GET /v1/messages/{id}/events.
func (s *server) GetMessageEvents(ctx context.Context, r GetMessageEventsRequestObject) (GetMessageEventsResponseObject, error) {
	l, err := look(ctx, r.Params.AuditReason)
	if err != nil {
		return nil, err
	}
	m, err := s.find(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	events, masked, err := s.Reading.Events(ctx, l, m)
	if err != nil {
		return nil, err
	}
	return GetMessageEvents200JSONResponse{Events: all(events, messageEvent), Masked: masked}, nil
}

// outcomes are those of decisions.
var outcomes = []event.DecisionOutcome{event.Allow, event.Deny, event.Defer, event.Hold}

// SearchMessages is POST /v1/messages/search.
func (s *server) SearchMessages(ctx context.Context, r SearchMessagesRequestObject) (SearchMessagesResponseObject, error) {
	b := r.Body
	l, err := look(ctx, r.Params.AuditReason)
	if err != nil {
		return nil, err
	}
	limit, err := ranged("out_of_range", "/limit", b.Limit, 1, reading.MaxPage)
	if err != nil {
		return nil, err
	}
	status := recipient.Status(b.Status)
	if status != "" && !slices.Contains(recipient.Statuses(), status) {
		return nil, door.Refuse("invalid_value", "/status", "There is no such status; see Status in /docs.")
	}
	outcome := event.DecisionOutcome(b.Outcome)
	if outcome != "" && !slices.Contains(outcomes, outcome) {
		return nil, door.Refuse("invalid_value", "/outcome", "An outcome is allow, deny, defer or hold.")
	}
	if _, ok := control.Purposes[b.Purpose]; b.Purpose != "" && b.Purpose != "compliance_reply" && !ok {
		return nil, door.Refuse("invalid_value", "/purpose", "There is no such purpose; see Purpose in /docs. The answers to STOP and HELP have the purpose compliance_reply.")
	}
	page, err := s.Reading.Search(ctx, l, reading.Query{
		To: b.To, Reference: b.Reference, Status: status, Program: b.Program, Since: b.Since, Until: b.Until, Limit: limit, Cursor: b.Cursor, Count: b.Count,
		Narrower: reading.Narrower{Purpose: b.Purpose, Sender: b.Sender, Country: b.Country, Carrier: b.Carrier, Rule: b.Rule, Outcome: outcome,
			SentSince: b.SentSince, SentUntil: b.SentUntil},
	})
	if err != nil {
		return nil, err
	}
	answer := searchPage(&page)
	if b.Count {
		answer.Count, answer.CountIsAtLeast = &page.Count, page.AtLeast
	}
	return SearchMessages200JSONResponse(answer), nil
}

// CancelMessage is POST /v1/messages/{id}/cancel.
func (s *server) CancelMessage(ctx context.Context, r CancelMessageRequestObject) (CancelMessageResponseObject, error) {
	id, err := s.Reading.ParseID(r.Id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	c, err := s.Intake.Cancel(ctx, callerOf(ctx), id)
	switch {
	case err != nil:
		return nil, written(err)
	case c.Late:
		return nil, left(c)
	}
	return CancelMessage200JSONResponse{Id: id, Status: c.Status, Position: c.Position}, nil
}
