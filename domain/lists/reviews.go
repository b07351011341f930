package lists

import (
	"context"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// ReviewState says whether an officer still has to read a reply.
type ReviewState string

// The states.
const (
	ReviewOpen     ReviewState = "open"
	ReviewResolved ReviewState = "resolved"
	// ReviewClosed: it ended without an officer's word about it: a newer reply of the same kind took its place, or
	// the opt-out that it was ended.
	ReviewClosed ReviewState = "closed"
)

// Review is a review, open or not.
type Review struct {
	reading.Review
	State ReviewState
	// Ask, Match and Programs say what was read in the words, and which programs may send from the number.
	Ask      event.InboundAsk
	Match    string
	Programs []string
	// Reaches are what the reply held.
	Reaches []event.Reach
	// Told are its words; only Review fills it.
	Told
	// End is how it ended; nil while it is open, and where that is not known.
	End *Turn
	// Reads say who was shown the words while it was open. Only Review fills it.
	Reads []Turn
}

// ReviewQuery asks for reviews; empty fields match all.
type ReviewQuery struct {
	State   ReviewState // open or resolved; "": both
	Kind    recipient.ReviewKind
	Program string    // that may send from the number that the reply came to
	Since   time.Time // open since, or resolved at, this time or later
	Limit   int       // 1 to reading.MaxPage; 0: 50
	Cursor  string
}

// ReviewPage is a part of a list of reviews.
type ReviewPage struct {
	Reviews []Review
	Next    string // the cursor of the next page; "": this one is the last
	Masked  []string
}

// Reviews returns a page of the reviews of a tenant, without their words: first those that are open, the one that
// waits longest first; then those that are resolved, the latest first. Tenant "" has the operator's. A page may
// have fewer reviews than its limit and still have a next one.
func (r *Lister) Reviews(ctx context.Context, look reading.Look, tenant string, q ReviewQuery) (ReviewPage, error) {
	l := r.listing(tenant, look)
	cursor, resolved := q.Cursor, q.State == ReviewResolved
	if q.State == "" && cursor != "" { // its first letter says which of the two lists it is of
		if resolved, cursor = cursor[0] == 'r', cursor[1:]; !resolved && (q.Cursor[0] != 'o' || cursor == "") {
			return ReviewPage{}, &ledger.Refusal{Code: "invalid_cursor", Field: "/cursor", Text: "The cursor belongs to another search. Begin with the first page, without a cursor."}
		}
	}
	page := ReviewPage{Reviews: []Review{}}
	var err error
	if resolved {
		page.Next, err = l.resolved(ctx, &page, &q, cursor)
	} else {
		page.Next, err = l.open(ctx, &page, &q, cursor)
		if q.Limit == 0 {
			q.Limit = defaultPage
		}
		if n := len(page.Reviews); err == nil && q.State == "" && page.Next == "" && n < q.Limit { // the open ones end within this page
			q.Limit -= n
			resolved = true
			page.Next, err = l.resolved(ctx, &page, &q, "")
		}
	}
	if err != nil {
		return ReviewPage{}, err
	}
	switch {
	case q.State != "" || resolved && page.Next == "":
	case resolved || page.Next == "":
		page.Next = "r" + page.Next
	default:
		page.Next = "o" + page.Next
	}
	if page.Masked, err = l.done(ctx, "listReviews"); err != nil {
		return ReviewPage{}, err
	}
	return page, nil
}

func (l *listing) open(ctx context.Context, page *ReviewPage, q *ReviewQuery, cursor string) (next string, err error) {
	found, err := l.r.p.Open.Reviews(ctx, l.tenant, reading.ReviewQuery{Kind: q.Kind, Since: q.Since, Limit: q.Limit, Cursor: cursor})
	if err != nil {
		return "", err
	}
	for _, v := range found.Reviews {
		x, e, err := l.byID(ctx, v.Event)
		if err == ErrNoEvent { //nolint:errorlint // byID returns it as it is
			continue // the officer's views do not reach back so far; POST /v1/reviews/search has it
		}
		if err != nil {
			return "", err
		}
		out := reviewOf(x, e)
		out.Review, out.State = v, ReviewOpen
		if q.Program == "" || slices.Contains(out.Programs, q.Program) {
			page.Reviews = append(page.Reviews, out)
		}
	}
	return found.Next, nil
}

// resolved adds what officers resolved, and what the operator placed elsewhere or cleared.
func (l *listing) resolved(ctx context.Context, page *ReviewPage, q *ReviewQuery, cursor string) (next string, err error) {
	sum := listSum(l.tenant, q.Since, time.Time{}, "reviews", string(q.Kind), q.Program)
	f := reading.StreamEventFilter{Types: types(&event.ReviewResolved{}, &event.SuppressionLifted{}), Since: q.Since}
	if err := readListCursor(cursor, sum, &f); err != nil {
		return "", err
	}
	limit := q.Limit
	if limit == 0 {
		limit = defaultPage
	}
	last, err := l.scan(ctx, f, limit, func(y reading.StreamEvent, e *event.Event) (any bool, err error) {
		var of []event.ID
		switch d := e.Data.(type) {
		case *event.ReviewResolved:
			of = []event.ID{d.Review}
		case *event.SuppressionLifted:
			if d.Source == event.SourceReview {
				of = d.Lifts[:min(len(d.Lifts), reading.MaxPage)]
			}
		}
		for _, id := range of {
			x, under, err := l.byID(ctx, id)
			if err == ErrNoEvent { //nolint:errorlint // byID returns it as it is
				continue
			}
			if err != nil {
				return false, err
			}
			v := reviewOf(x, under)
			if v.State = ReviewResolved; v.Kind == "" || q.Kind != "" && v.Kind != q.Kind || q.Program != "" && !slices.Contains(v.Programs, q.Program) {
				continue
			}
			t := turnOf(turnResolved, y, e)
			v.End, any = &t, true
			l.about(x.ID, x.Subject)
			if err := tellTurn(ctx, l, v.End); err != nil {
				return false, err
			}
			page.Reviews = append(page.Reviews, v)
		}
		return any, nil
	})
	return listCursor(last, sum), err
}

// Review returns a review of a tenant that is no longer open, with its words, who was shown them and how it
// ended; reading.ErrNoReview where the event was never under review, or still is. Tenant "" has the operator's.
func (r *Lister) Review(ctx context.Context, look reading.Look, tenant string, id event.ID) (*Review, []string, error) {
	l := r.listing(tenant, look)
	x, e, err := l.byID(ctx, id)
	if err == ErrNoEvent { //nolint:errorlint // byID returns it as it is
		err = reading.ErrNoReview
	}
	if err != nil {
		return nil, nil, err
	}
	s, err := l.fold(ctx, x)
	if err != nil {
		return nil, nil, err
	}
	v := reviewOf(x, e)
	if v.Kind == "" || slices.ContainsFunc(s.OpenReviews(), func(o recipient.Review) bool { return o.Event == id }) {
		return nil, nil, reading.ErrNoReview
	}
	if v.Reads, v.End, err = reviewed(ctx, l, x); err != nil {
		return nil, nil, err
	}
	v.State = ReviewResolved
	if v.End == nil || v.End.What != turnResolved {
		if v.State = ReviewClosed; v.Kind == recipient.ReviewStart {
			return nil, nil, reading.ErrNoReview // a START that nobody had to read
		}
	}
	l.about(x.ID, x.Subject)
	if v.End != nil {
		if err := tellTurn(ctx, l, v.End); err != nil {
			return nil, nil, err
		}
	}
	if v.Told, err = l.told(ctx, e, 1); err != nil {
		return nil, nil, err
	}
	masked, err := l.done(ctx, "getReview")
	if err != nil {
		return nil, nil, err
	}
	return &v, masked, nil
}

// ReviewReads say who was shown the words of a review, in order; it is of a tenant, "" has the operator's.
func (r *Lister) ReviewReads(ctx context.Context, tenant string, id event.ID) ([]Turn, error) {
	l := r.listing(tenant, reading.Look{Caller: ledger.Caller{Tenant: tenant}})
	x, _, err := l.byID(ctx, id)
	if err == ErrNoEvent { //nolint:errorlint // byID returns it as it is
		return nil, nil // the officer's views do not reach back so far
	}
	if err != nil {
		return nil, err
	}
	reads, _, err := reviewed(ctx, l, x)
	return reads, err
}

// reviewed goes through the stream after an event under review: who was shown the words, and what ended it.
func reviewed(ctx context.Context, l *listing, x reading.StreamEvent) (reads []Turn, end *Turn, err error) {
	of := types(&event.ReviewRead{}, &event.ReviewResolved{}, &event.SuppressionLifted{})
	for n, after := 0, x.Position.Index; n < mostFollowed; {
		next, err := l.r.p.Desk.StreamEvents(ctx, x.Subject, after, scanned)
		if err != nil || len(next) == 0 {
			return reads, end, err
		}
		for _, y := range next {
			n, after = n+1, y.Position.Index
			if y.Why != "" || !slices.Contains(of, y.Type) {
				continue
			}
			e, err := l.event(ctx, y)
			if err != nil {
				return nil, nil, err
			}
			what := ""
			switch d := e.Data.(type) {
			case *event.ReviewRead:
				if d.Review == x.ID {
					reads = append(reads, turnOf(turnRead, y, e))
				}
			case *event.ReviewResolved:
				if d.Review == x.ID {
					what = turnResolved
				}
			case *event.SuppressionLifted:
				switch {
				case !slices.Contains(d.Lifts, x.ID):
				case d.Source == event.SourceReview:
					what = turnResolved // the operator placed it
				default:
					what = turnLifted
				}
			}
			if what != "" && end == nil {
				t := turnOf(what, y, e)
				end = &t
			}
		}
	}
	return reads, end, nil
}

// reviewOf is an event as a review, with all that the event says of it. Its Kind is "" if it cannot be one; a START is
// one only where it lifted nothing although an opt-out stood.
func reviewOf(x reading.StreamEvent, e *event.Event) Review {
	v := Review{Review: reading.Review{Event: x.ID, Tenant: x.Tenant, Subject: x.Subject, Position: x.Position, Since: e.Time}}
	switch d := e.Data.(type) {
	case *event.OptedOut:
		if d.Unclear {
			v.Kind = recipient.ReviewUnclear
		}
	case *event.InboundReceived:
		if v.Ask, v.Match, v.To = d.Ask, d.Match, d.To; d.Revokes != nil && d.Unclear {
			v.Kind = recipient.ReviewUnclear
		}
		if d.Program != "" {
			v.Programs = []string{d.Program}
		}
	case *event.InboundReceivedV2:
		v.Ask, v.Match, v.To, v.Programs, v.Unplaced = d.Ask, d.Match, d.To, d.Programs, d.Unplaced
		switch {
		case d.Unplaced != "":
			v.Kind = recipient.ReviewUnplaced
		case d.Holds != "" && d.Holds != event.HoldPart:
			v.Kind = recipient.ReviewKind(d.Holds)
		case d.Holds == "" && d.Ask == event.InboundStart:
			v.Kind = recipient.ReviewStart
		}
	case *event.InboundJoined:
		v.Ask, v.Match, v.To, v.Programs = d.Ask, d.Match, d.To, d.Programs
		if v.Kind = recipient.ReviewKind(d.Holds); d.Holds == "" && d.Ask == event.InboundStart {
			v.Kind = recipient.ReviewStart
		}
	case *event.InboundHeld:
		if v.To, v.Unplaced = d.To, d.Unplaced; !d.Plain {
			v.Kind = recipient.ReviewHeld
		}
	}
	if o, ok := optOutOf(x, e); ok && o.Unclear {
		v.Reaches = o.Reaches
	}
	return v
}
