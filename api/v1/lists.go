package v1

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/lists"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// timeParameter reads a time of a query string; "" is none.
func timeParameter(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, door.Refuse("bad_parameter", "", "The parameter "+name+" is a time as RFC 3339 writes it, such as 2026-11-26T15:00:00Z.")
	}
	return t, nil
}

// wordParameter checks that a parameter is left out or one of these words.
func wordParameter(name, text string, words ...string) error {
	if text == "" || slices.Contains(words, text) {
		return nil
	}
	detail := "The parameter " + name + " is one of:"
	for i, w := range words {
		if detail += " " + w; i < len(words)-1 {
			detail += ","
		}
	}
	return door.Refuse("bad_parameter", "", detail+".")
}

// limitParameter is how long a page may be; 0: not given.
func limitParameter(n int) error {
	if n < 0 || n > reading.MaxPage {
		return door.Refuse("bad_parameter", "", "The parameter limit is 1 to 200.")
	}
	return nil
}

// listCalls answer the lists of opt-outs, inbound texts and reviews.
type listCalls struct{ lists *lists.Lister }

// ListOptOuts is GET /v1/opt-outs.
func (s listCalls) ListOptOuts(ctx context.Context, r ListOptOutsRequestObject) (ListOptOutsResponseObject, error) {
	p := r.Params
	l, err := look(ctx, p.AuditReason)
	if err != nil {
		return nil, err
	}
	q := lists.OptOutQuery{State: lists.OptOutState(p.State), Scope: event.Scope(p.Scope), Name: p.Name, Source: event.Source(p.Source), Limit: p.Limit, Cursor: p.Cursor}
	if q.State == "all" {
		q.State = ""
	}
	for name, at := range map[string]*time.Time{"since": &q.Since, "until": &q.Until, "lifted_since": &q.LiftedSince} {
		text := map[string]string{"since": p.Since, "until": p.Until, "lifted_since": p.LiftedSince}[name]
		if *at, err = timeParameter(name, text); err != nil {
			return nil, err
		}
	}
	if !q.LiftedSince.IsZero() && (p.Since != "" || p.Until != "") {
		return nil, door.Refuse("bad_parameter", "", "Give lifted_since, or since and until, not both.")
	}
	err = errors.Join(wordParameter("state", p.State, "standing", "ended", "all"), wordParameter("scope", p.Scope, "sender", "program", "legal_entity", "tenant"), limitParameter(p.Limit))
	if err != nil {
		return nil, err
	}
	page, err := s.lists.OptOuts(ctx, l, q)
	if err != nil {
		return nil, err
	}
	return ListOptOuts200JSONResponse{OptOuts: all(page.OptOuts, optOutEntry), NextCursor: page.Next, Masked: list(page.Masked)}, nil
}

// listedID reads the id of an event of a list.
func listedID(text, code, detail string) (event.ID, error) {
	id, err := event.ParseID(text)
	if err != nil || id.IsZero() {
		return id, door.Refuse(code, "", detail)
	}
	return id, nil
}

const (
	noOptOut  = "There is no opt-out with this event in your tenant."
	noInbound = "There is no inbound text with this event in your tenant."
)

// GetOptOut is GET /v1/opt-outs/{event}.
func (s listCalls) GetOptOut(ctx context.Context, r GetOptOutRequestObject) (GetOptOutResponseObject, error) {
	l, err := look(ctx, r.Params.AuditReason)
	if err != nil {
		return nil, err
	}
	id, err := listedID(r.Event, "opt_out_not_found", noOptOut)
	if err != nil {
		return nil, err
	}
	o, masked, err := s.lists.OptOut(ctx, l, id)
	if errors.Is(err, lists.ErrNoEvent) {
		return nil, door.Refuse("opt_out_not_found", "", noOptOut)
	}
	if err != nil {
		return nil, err
	}
	return GetOptOut200JSONResponse{OptOut: optOutEntry(o), History: all(o.History, turn), Masked: list(masked)}, nil
}

func optOutEntry(o *lists.OptOut) OptOutEntry {
	v := OptOutEntry{Event: o.Event, Position: o.Position, Recipient: o.Subject.String(), Number: o.Number, Reaches: all(o.Reaches, reach), Source: string(o.Source),
		Said: o.Said, Known: o.Known, To: o.To, Unclear: o.Unclear, By: o.By, Review: o.Review, Words: o.Words, Evidence: o.Evidence, Erased: o.Erased, KeyMissing: o.KeyMissing, State: string(o.State)}
	v.End = ending(o.End)
	return v
}

func ending(t *lists.Turn) *Turn {
	if t == nil {
		return nil
	}
	v := turn(t)
	return &v
}

func turn(t *lists.Turn) Turn {
	return Turn{What: t.What, Event: t.Event, Position: t.Position, At: t.At, By: t.By, Source: string(t.Source), As: string(t.As), Reaches: all(t.Reaches, reach),
		Number: t.Number, Words: t.Words, Evidence: t.Evidence, Erased: t.Erased, KeyMissing: t.KeyMissing}
}

// inboundOwner is whose inbound texts a request is about. Those of the operator need the scopes operate and
// inbound:read.
func inboundOwner(ctx context.Context, text string) (string, error) {
	of, err := owner(ctx, text, "")
	if err == nil && text != "" {
		err = door.Require(ctx, "inbound:read")
	}
	return of, err
}

// ListInbound is GET /v1/inbound.
func (s listCalls) ListInbound(ctx context.Context, r ListInboundRequestObject) (ListInboundResponseObject, error) {
	p := r.Params
	l, err := look(ctx, p.AuditReason)
	if err != nil {
		return nil, err
	}
	of, err := inboundOwner(ctx, p.Owner)
	if err != nil {
		return nil, err
	}
	q := lists.InboundQuery{Ask: event.InboundAsk(p.Ask), To: p.To, Account: p.Account, Limit: p.Limit, Cursor: p.Cursor}
	if q.Since, err = timeParameter("since", p.Since); err != nil {
		return nil, err
	}
	if q.Until, err = timeParameter("until", p.Until); err != nil {
		return nil, err
	}
	if err := errors.Join(wordParameter("ask", p.Ask, "stop", "unclear", "start", "yes", "help", "none", "part"), limitParameter(p.Limit)); err != nil {
		return nil, err
	}
	page, err := s.lists.Inbounds(ctx, l, of, q)
	if err != nil {
		return nil, err
	}
	return ListInbound200JSONResponse{Texts: all(page.Texts, inboundText), NextCursor: page.Next, Masked: list(page.Masked)}, nil
}

// GetInbound is GET /v1/inbound/{event}.
func (s listCalls) GetInbound(ctx context.Context, r GetInboundRequestObject) (GetInboundResponseObject, error) {
	l, err := look(ctx, r.Params.AuditReason)
	if err != nil {
		return nil, err
	}
	of, err := inboundOwner(ctx, r.Params.Owner)
	if err != nil {
		return nil, err
	}
	id, err := listedID(r.Event, "inbound_not_found", noInbound)
	if err != nil {
		return nil, err
	}
	t, masked, err := s.lists.Inbound(ctx, l, of, id)
	if errors.Is(err, lists.ErrNoEvent) {
		return nil, door.Refuse("inbound_not_found", "", noInbound)
	}
	if err != nil {
		return nil, err
	}
	return GetInbound200JSONResponse{Text: inboundText(t), Masked: list(masked)}, nil
}

func inboundText(t *lists.Inbound) InboundText {
	return InboundText{Event: t.Event, Position: t.Position, Recipient: t.Subject.String(), At: t.At, From: t.Number, To: t.To, Account: t.Account, Ask: string(t.Ask),
		Match: t.Match, Language: t.Language, Lists: t.Lists, Programs: list(t.Programs), Parts: t.Parts, Unplaced: string(t.Unplaced), Words: t.Words, Others: t.Others,
		Unreadable: t.Unreadable, Erased: t.Erased, KeyMissing: t.KeyMissing, Followed: all(t.Followed, following)}
}

func following(f *lists.Following) Following {
	return Following{What: f.What, Event: f.Event, At: f.At, State: f.State, By: f.By}
}

// ListReviews is GET /v1/reviews.
func (s listCalls) ListReviews(ctx context.Context, r ListReviewsRequestObject) (ListReviewsResponseObject, error) {
	p := r.Params
	l, err := look(ctx, p.AuditReason)
	if err != nil {
		return nil, err
	}
	of, err := owner(ctx, p.Owner, "")
	if err != nil {
		return nil, err
	}
	q := lists.ReviewQuery{State: lists.ReviewState(p.State), Kind: recipient.ReviewKind(p.Kind), Program: p.Program, Limit: p.Limit, Cursor: p.Cursor}
	switch q.State {
	case "":
		q.State = lists.ReviewOpen
	case "all":
		q.State = ""
	}
	kinds := make([]string, 0, 5)
	for _, k := range recipient.ReviewKinds() {
		kinds = append(kinds, string(k))
	}
	if q.Since, err = timeParameter("since", p.Since); err != nil {
		return nil, err
	}
	if err := errors.Join(wordParameter("state", p.State, "open", "resolved", "all"), wordParameter("kind", p.Kind, kinds...), limitParameter(p.Limit)); err != nil {
		return nil, err
	}
	page, err := s.lists.Reviews(ctx, l, of, q)
	if err != nil {
		return nil, err
	}
	return ListReviews200JSONResponse{Reviews: all(page.Reviews, reviewEntry), NextCursor: page.Next, Masked: list(page.Masked)}, nil
}

func reviewEntry(v *lists.Review) ReviewEntry {
	return ReviewEntry{Id: v.Event, Kind: string(v.Kind), State: string(v.State), To: v.To, Since: v.Since, Repeats: v.Repeats, Unplaced: string(v.Unplaced), Position: v.Position,
		Ask: string(v.Ask), Match: v.Match, Programs: list(v.Programs), Holds: all(v.Reaches, reach), End: ending(v.End)}
}

// pastReview answers with a review that is no longer open.
func (s listCalls) pastReview(ctx context.Context, l reading.Look, of string, id event.ID) (GetReviewResponseObject, error) {
	v, masked, err := s.lists.Review(ctx, l, of, id)
	if err != nil {
		return nil, err
	}
	out := GetReview200JSONResponse{Id: v.Event, Kind: string(v.Kind), State: string(v.State), To: v.To, Since: v.Since, Unplaced: string(v.Unplaced), Position: v.Position,
		Ask: string(v.Ask), Match: v.Match, Programs: list(v.Programs), Holds: all(v.Reaches, reach), End: ending(v.End), Reads: all(v.Reads, turn),
		Words: []InboundWords{}, Texts: []InboundWords{}, Messages: []MessageWords{}, Masked: masked}
	if v.Words != "" || v.Number != "" || v.Erased || v.KeyMissing || v.Unreadable {
		out.Words = append(out.Words, InboundWords{Event: v.Event, At: v.Since, From: v.Number, To: v.To, Text: v.Words, Others: v.Others, Unreadable: v.Unreadable, Erased: v.Erased, KeyMissing: v.KeyMissing})
	}
	return out, nil
}
