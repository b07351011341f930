package v1

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/lists"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// owner is whose reviews a request is about: the caller's tenant's, or "" for what the operator places, which
// needs a key of the operator.
func owner(ctx context.Context, text, field string) (string, error) {
	switch text {
	case "":
		return callerOf(ctx).Tenant, nil
	case "operator":
		return "", door.Require(ctx, "operate")
	}
	return "", door.Refuse("invalid_value", field, "An owner is operator; leave it out for the reviews of your tenant.")
}

// reviewID reads the id of a review.
func reviewID(text string) (event.ID, error) {
	id, err := event.ParseID(text)
	if err != nil || id.IsZero() {
		return event.ID{}, reading.ErrNoReview
	}
	return id, nil
}

// SearchReviews is POST /v1/reviews/search.
func (s *server) SearchReviews(ctx context.Context, r SearchReviewsRequestObject) (SearchReviewsResponseObject, error) {
	b := r.Body
	of, err := owner(ctx, b.Owner, "/owner")
	if err != nil {
		return nil, err
	}
	limit, err := ranged("out_of_range", "/limit", b.Limit, 1, reading.MaxPage)
	if err != nil {
		return nil, err
	}
	kind := recipient.ReviewKind(b.Kind)
	if kind != "" && !slices.Contains(recipient.ReviewKinds(), kind) {
		return nil, door.Refuse("invalid_value", "/kind", "There is no such kind; see ReviewKind in /docs.")
	}
	page, err := s.Reading.Reviews(ctx, of, reading.ReviewQuery{Kind: kind, Since: b.Since, Limit: limit, Cursor: b.Cursor})
	if err != nil {
		return nil, err
	}
	return SearchReviews200JSONResponse{Reviews: all(page.Reviews, reviewSummary), NextCursor: page.Next}, nil
}

func reviewSummary(v *reading.Review) ReviewSummary {
	return ReviewSummary{Id: v.Event, Kind: string(v.Kind), To: v.To, Since: v.Since, Repeats: v.Repeats, Unplaced: string(v.Unplaced), Position: v.Position}
}

// GetReview is GET /v1/reviews/{id}.
func (s *server) GetReview(ctx context.Context, r GetReviewRequestObject) (GetReviewResponseObject, error) {
	l, err := look(ctx, r.Params.AuditReason)
	if err != nil {
		return nil, err
	}
	of, err := owner(ctx, r.Params.Owner, "")
	if err != nil {
		return nil, err
	}
	id, err := reviewID(r.Id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	v, err := s.Reading.Review(ctx, l, of, id)
	if errors.Is(err, reading.ErrNoReview) {
		return s.pastReview(ctx, l, of, id)
	}
	if err != nil {
		return nil, err
	}
	reads, err := s.Lists.ReviewReads(ctx, of, id)
	if err != nil {
		return nil, err
	}
	return GetReview200JSONResponse{Id: v.Event, Kind: string(v.Kind), To: v.To, Since: v.Since, Repeats: v.Repeats, Unplaced: string(v.Unplaced),
		Position: v.Position, Ask: string(v.Ask), Match: v.Match, Language: v.Language, Lists: v.Lists, Programs: list(v.Programs), Holds: all(v.Reaches, reach),
		Tenants: v.Tenants, Words: all(v.Words, inboundWords), Texts: all(v.Texts, inboundWords), Messages: all(v.Messages, messageWords),
		State: string(lists.ReviewOpen), Reads: all(reads, turn)}, nil
}

func reach(r *event.Reach) Reach { return Reach{Scope: Scope(r.Scope), Name: r.Name} }

func inboundWords(w *reading.Words) InboundWords {
	return InboundWords{Event: w.Event, At: w.Time, From: w.From, To: w.To, Text: w.Text, Others: w.Others, Unreadable: w.Unreadable, Octets: w.Octets,
		Ask: string(w.Ask), Part: w.Part, Parts: w.Parts, Erased: w.Erased, KeyMissing: w.KeyMissing}
}

func messageWords(o *reading.Opened) MessageWords {
	v := MessageWords{Id: o.ID, At: o.Accepted, Status: o.Status, From: o.From, Program: o.Program}
	if o.Content != nil {
		v.Body = o.Content.Body
	}
	return v
}

// ResolveReview is POST /v1/reviews/{id}/resolve.
func (s *server) ResolveReview(ctx context.Context, r ResolveReviewRequestObject) (ResolveReviewResponseObject, error) {
	b := r.Body
	of, err := owner(ctx, b.Owner, "/owner")
	if err != nil {
		return nil, err
	}
	id, err := reviewID(r.Id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	o, err := s.Intake.ResolveReview(ctx, callerOf(ctx), of, id, &intake.Resolution{As: event.ReviewOutcome(b.As), Scope: event.Scope(b.Scope), Name: b.Name,
		Number: b.Number, Country: b.Country, Tenant: b.Tenant, Evidence: b.Evidence})
	if err != nil {
		return nil, written(err)
	}
	return ResolveReview200JSONResponse{Event: o.Event, Position: o.Position, Reaches: all(o.Reaches, reach), Placed: o.Placed, Lifted: o.Lifted}, nil
}

// ResolveReviews is POST /v1/reviews/resolve.
func (s *server) ResolveReviews(ctx context.Context, r ResolveReviewsRequestObject) (ResolveReviewsResponseObject, error) {
	b := r.Body
	of, err := owner(ctx, b.Owner, "/owner")
	if err != nil {
		return nil, err
	}
	ids := make([]event.ID, len(b.Ids))
	for i, text := range b.Ids {
		if ids[i], err = reviewID(text); err != nil {
			return nil, door.Refuse("invalid_value", "/ids/"+strconv.Itoa(i), "This is not the id of an event.")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.AnswerWithin)
	defer cancel()
	out, err := s.Intake.ResolveReviews(ctx, callerOf(ctx), of, ids, &intake.Resolution{As: event.ReviewOutcome(b.As), Evidence: b.Evidence})
	if err != nil {
		return nil, written(err)
	}
	results := make([]ReviewResult, len(out))
	for i, o := range out {
		results[i] = ReviewResult{Id: b.Ids[i]}
		if o.Err != nil {
			results[i].Problem, results[i].Detail = inWords(o.Err)
			continue
		}
		results[i].Event, results[i].Position = o.Resolved.Event, o.Resolved.Position
	}
	return ResolveReviews200JSONResponse{Results: results}, nil
}

// inWords is an error of one of several writes: the code of a problem, and what to do.
func inWords(err error) (code, detail string) {
	var refusal *ledger.Refusal
	switch err = written(err); {
	case errors.As(err, &refusal):
		return refusal.Code, refusal.Text
	case errors.Is(err, ledger.ErrRefused):
		return "unavailable", "Nothing was written for this one. Try it again."
	}
	return "outcome_unknown", "It is not known whether this one was resolved. List the reviews that are open, and try again."
}
