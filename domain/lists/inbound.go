package lists

import (
	"context"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// answeredWithin is how long after an inbound text an answer to it is looked for, and mostAnswers how many of the
// messages of that time are looked at.
const (
	answeredWithin = 15 * time.Minute
	mostAnswers    = 50
)

// What followed an inbound text, as Following.What has it.
const (
	followedOptOut = "opt_out" // State: an OptOutState
	followedLift   = "lift"
	followedReview = "review" // State: open or closed, or what an officer resolved it as
	followedAnswer = "answer" // State: the message's status
)

// Following is an event that followed an inbound text. An opt-out, and a review that is open, are the text itself.
type Following struct {
	What  string
	Event event.ID
	At    time.Time
	State string
	By    string
}

// Inbound is a text that a handset sent: one event, or all parts of a longer one.
type Inbound struct {
	Event    event.ID
	Position event.Position
	Subject  event.Pseudonym // of the operator's stream, for what is not placed
	At       time.Time
	// To is our number, Account the carrier account; "" where the text was joined and its parts are not in the views.
	To, Account string
	// Ask is what it asks for: a part that waits for the others has part.
	Ask                    event.InboundAsk
	Match, Language, Lists string
	Programs               []string
	// Parts are the events of a text of several parts.
	Parts []event.ID
	// Unplaced says why it is certain for no recipient and tenant.
	Unplaced event.UnplacedReason
	Told
	Followed []Following
}

// InboundQuery asks for inbound texts; empty fields match all.
type InboundQuery struct {
	Since, Until time.Time // half-open
	Ask          event.InboundAsk
	To           string // our number, as the events have it
	Account      string
	Limit        int // 1 to reading.MaxPage; 0: 50
	Cursor       string
}

// InboundPage is a part of a list of inbound texts.
type InboundPage struct {
	Texts  []Inbound
	Next   string // the cursor of the next page; "": this one is the last
	Masked []string
}

// Inbounds returns a page of the inbound texts of a tenant, the newest first. Tenant "" has the operator's: those
// that are certain for no recipient and tenant. A text of several parts stands at the event that joined them.
func (r *Lister) Inbounds(ctx context.Context, look reading.Look, tenant string, q InboundQuery) (InboundPage, error) {
	l := r.listing(tenant, look)
	sum := listSum(tenant, q.Since, q.Until, "inbound", string(q.Ask), q.To, q.Account)
	f := reading.StreamEventFilter{Since: q.Since, Until: q.Until,
		Types: types(&event.InboundReceived{}, &event.InboundReceivedV2{}, &event.InboundJoined{}, &event.OptedOut{}, &event.SuppressionLifted{})}
	if err := readListCursor(q.Cursor, sum, &f); err != nil {
		return InboundPage{}, err
	}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	page := InboundPage{Texts: []Inbound{}}
	last, err := l.scan(ctx, f, q.Limit, func(x reading.StreamEvent, e *event.Event) (bool, error) {
		t, ok, err := l.inboundOf(ctx, x, e, false)
		if err != nil || !ok || q.Ask != "" && t.Ask != q.Ask || q.To != "" && t.To != q.To || q.Account != "" && t.Account != q.Account {
			return false, err
		}
		if err := l.complete(ctx, &t, x, e); err != nil {
			return false, err
		}
		page.Texts = append(page.Texts, t)
		return true, nil
	})
	if err != nil {
		return InboundPage{}, err
	}
	page.Next = listCursor(last, sum)
	if page.Masked, err = l.done(ctx, "listInbound"); err != nil {
		return InboundPage{}, err
	}
	return page, nil
}

// Inbound returns one inbound text, or one part of one, or ErrNoEvent.
func (r *Lister) Inbound(ctx context.Context, look reading.Look, tenant string, id event.ID) (*Inbound, []string, error) {
	l := r.listing(tenant, look)
	x, e, err := l.byID(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	t, ok, err := l.inboundOf(ctx, x, e, true)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return nil, nil, ErrNoEvent
	}
	if err := l.complete(ctx, &t, x, e); err != nil {
		return nil, nil, err
	}
	masked, err := l.done(ctx, "getInbound")
	if err != nil {
		return nil, nil, err
	}
	return &t, masked, nil
}

// inboundOf is the text that an event is, or that it joined; ok is false if it is none, or, but for one, a part that
// stands elsewhere.
func (l *listing) inboundOf(ctx context.Context, x reading.StreamEvent, e *event.Event, one bool) (t Inbound, ok bool, err error) {
	t = Inbound{Event: x.ID, Position: x.Position, Subject: x.Subject, At: e.Time}
	part := false
	switch d := e.Data.(type) {
	case *event.InboundReceived:
		t.To, t.Account, t.Ask, t.Match, part = d.To, d.Account, d.Ask, d.Match, d.Holds != nil && d.Concat != nil
		if d.Program != "" {
			t.Programs = []string{d.Program}
		}
	case *event.InboundReceivedV2:
		t.To, t.Account, t.Ask, t.Match, t.Language, t.Lists, t.Programs, t.Unplaced = d.To, d.Account, d.Ask, d.Match, d.Language, d.Lists, d.Programs, d.Unplaced
		part = d.Holds == event.HoldPart && d.Concat != nil && d.Unplaced == ""
	case *event.InboundJoined:
		t.To, t.Ask, t.Match, t.Language, t.Lists, t.Programs, t.Parts = d.To, d.Ask, d.Match, d.Language, d.Lists, d.Programs, d.Parts
	case *event.OptedOut: // before format level 2, the opt-out or the lift of the parts joined them
		if t.Ask, t.Parts = event.InboundStop, d.Lifts; d.Unclear {
			t.Ask = event.InboundUnclear
		}
		if d.Source != event.SourceJoined || len(d.Lifts) == 0 {
			return t, false, nil
		}
	case *event.SuppressionLifted:
		t.Ask, t.Parts = event.InboundNone, d.Lifts
		if d.Source != event.SourceJoined || len(d.Lifts) == 0 || x.ID == event.Derive(d.Lifts[0], "copy") {
			return t, false, nil // a second delivery of a part is no text
		}
	default:
		return t, false, nil
	}
	if part && !one {
		s, err := l.fold(ctx, x)
		if err != nil {
			return t, false, err
		}
		waits := false
		for _, p := range s.Inbound {
			waits = waits || p.Event == x.ID
		}
		t.Ask = event.InboundPart
		return t, waits, nil
	}
	if len(t.Parts) > 0 {
		switch _, first, err := l.byID(ctx, t.Parts[0]); {
		case err == ErrNoEvent: //nolint:errorlint // byID returns it as it is
		case err != nil:
			return t, false, err
		default:
			switch d := first.Data.(type) {
			case *event.InboundReceived:
				t.Account, t.To = d.Account, d.To
			case *event.InboundReceivedV2:
				t.Account, t.To = d.Account, d.To
			}
		}
	}
	return t, true, nil
}

// complete adds the words of a text and what followed.
func (l *listing) complete(ctx context.Context, t *Inbound, x reading.StreamEvent, e *event.Event) (err error) {
	l.about(x.ID, x.Subject)
	if t.Told, err = l.told(ctx, e, 1); err != nil {
		return err
	}
	t.Evidence = ""
	s, err := l.fold(ctx, x)
	if err != nil {
		return err
	}
	open := slices.ContainsFunc(s.OpenReviews(), func(v recipient.Review) bool { return v.Event == x.ID })
	o, stops := optOutOf(x, e)
	if stops {
		if err := l.became(ctx, &o, x, e); err != nil {
			return err
		}
		t.Followed = append(t.Followed, Following{What: followedOptOut, Event: x.ID, At: e.Time, State: string(o.State)})
	}
	switch {
	case open:
		t.Followed = append(t.Followed, Following{What: followedReview, Event: x.ID, At: e.Time, State: "open"})
	case o.Unclear && o.End != nil && o.End.As != "":
		t.Followed = append(t.Followed, Following{What: followedReview, Event: o.End.Event, At: o.End.At, State: string(o.End.As), By: o.End.By})
	case o.Unclear && o.End != nil:
		t.Followed = append(t.Followed, Following{What: followedReview, Event: o.End.Event, At: o.End.At, State: "closed", By: o.End.By})
	}
	if !stops && !open && (t.Ask == event.InboundStart || t.Unplaced != "") {
		if err := lifts(ctx, l, t, x); err != nil {
			return err
		}
	}
	return answers(ctx, l, t, x, e)
}

// lifts adds the lift that a START asked for, and the end of a review that holds nothing.
func lifts(ctx context.Context, l *listing, t *Inbound, x reading.StreamEvent) error {
	for read, after := 0, x.Position.Index; read < mostFollowed; {
		next, err := l.r.p.Desk.StreamEvents(ctx, x.Subject, after, scanned)
		if err != nil || len(next) == 0 {
			return err
		}
		for _, y := range next {
			read, after = read+1, y.Position.Index
			if y.Why != "" || !slices.Contains(types(&event.SuppressionLifted{}, &event.ReviewResolved{}), y.Type) {
				continue
			}
			e, err := l.event(ctx, y)
			if err != nil {
				return err
			}
			switch d := e.Data.(type) {
			case *event.SuppressionLifted:
				if d.Answers == x.ID && d.Source != event.SourceReview && len(d.Lifts) > 0 {
					t.Followed = append(t.Followed, Following{What: followedLift, Event: y.ID, At: y.Time, By: d.By})
					return nil
				}
			case *event.ReviewResolved:
				if d.Review == x.ID {
					t.Followed = append(t.Followed, Following{What: followedReview, Event: y.ID, At: y.Time, State: string(d.As), By: d.By})
					return nil
				}
			}
		}
	}
	return nil
}

// answers adds the message that answered a text.
func answers(ctx context.Context, l *listing, t *Inbound, x reading.StreamEvent, e *event.Event) error {
	if l.tenant == "" || t.Ask == event.InboundNone || t.Ask == event.InboundPart {
		return nil
	}
	sent, err := l.r.p.Views.Search(ctx, l.tenant, reading.Filter{Subject: x.Subject, Since: e.Time.Add(-time.Second), Until: e.Time.Add(answeredWithin), Limit: mostAnswers})
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(sent) {
		if m.Answers == x.ID || slices.Contains(t.Parts, m.Answers) && !m.Answers.IsZero() {
			t.Followed = append(t.Followed, Following{What: followedAnswer, Event: m.ID, At: m.Accepted, State: string(m.Status), By: m.By})
		}
	}
	return nil
}
