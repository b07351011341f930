package lists

import (
	"context"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// OptOutState says whether an opt-out is in force.
type OptOutState string

// The states.
const (
	OptOutStanding OptOutState = "standing"
	OptOutEnded    OptOutState = "ended"
	// OptOutRepeated: the person said it once more. The later one took its place, with all that follows.
	OptOutRepeated OptOutState = "repeated"
)

// What became of an opt-out, as Turn.What has it.
const (
	turnRepeated = "repeated" // the person said it once more
	turnLifted   = "lifted"
	turnResolved = "resolved" // an officer resolved its review
	turnReplaced = "replaced" // words of several parts took its place, once they were joined
	turnRead     = "read"     // its words were shown, while they were under review
)

// Turn is an event that something became of an opt-out or a review by.
type Turn struct {
	What     string
	Event    event.ID
	Position event.Position
	At       time.Time
	// By is the key that did it, clerk for what the server did by itself; "" for the person.
	By     string
	Source event.Source
	// As and Reaches are what an officer resolved it as, and what is stopped from then on.
	As      event.ReviewOutcome
	Reaches []event.Reach
	Told

	event *event.Event
}

// OptOut is an opt-out, standing or not, with the evidence for it.
type OptOut struct {
	Event    event.ID
	Position event.Position
	Subject  event.Pseudonym
	// Reaches are what it stopped; those of a handset's STOP may be several.
	Reaches []event.Reach
	Source  event.Source
	// Said is when the person said so, Known when it became known here.
	Said, Known time.Time
	// To is our number that it came to; "" if it came to none, or where the event does not say.
	To string
	// Unclear: it stands until an officer has read the words.
	Unclear bool
	// By is the key that recorded it, clerk for what the server did by itself; "" for the person.
	By string
	// Review is the event whose review ended in it; zero for others.
	Review event.ID
	Told
	State OptOutState
	// End is what ended it, or took its place; nil if it stands, or the end is more than 1,000 events of the
	// stream after it.
	End *Turn
	// History is what happened to it and to what took its place, in order. Only OptOut fills it.
	History []Turn
}

// OptOutQuery asks for a tenant's opt-outs; empty fields match all.
type OptOutQuery struct {
	// Since and Until bound when it became known, half-open.
	Since, Until time.Time
	// LiftedSince asks for the opt-outs that lifts of this time or later ended, the latest lift first.
	LiftedSince time.Time
	// State is OptOutStanding, with those that are repeated by one that stands, or OptOutEnded for the others; "": all.
	State  OptOutState
	Scope  event.Scope
	Name   string // of a program, sender ID or legal entity
	Source event.Source
	Limit  int // 1 to reading.MaxPage; 0: 50
	Cursor string
}

// OptOutPage is a part of a list of opt-outs.
type OptOutPage struct {
	OptOuts []OptOut
	Next    string // the cursor of the next page; "": this one is the last
	Masked  []string
}

// stopping are the types of events that can be an opt-out.
var stopping = types(&event.OptedOut{}, &event.InboundReceived{}, &event.InboundReceivedV2{}, &event.InboundHeld{}, &event.InboundJoined{}, &event.ReviewResolved{})

// OptOuts returns a page of a tenant's opt-outs, the newest first, as they are now. A part of a message
// that waits for the other parts is none.
func (r *Lister) OptOuts(ctx context.Context, look reading.Look, q OptOutQuery) (OptOutPage, error) {
	l := r.listing(look.Caller.Tenant, look)
	sum := listSum(l.tenant, q.Since, q.Until, "opt-outs", q.LiftedSince.UTC().String(), string(q.State), string(q.Scope), q.Name, string(q.Source))
	f := reading.StreamEventFilter{Types: stopping, Since: q.Since, Until: q.Until}
	if !q.LiftedSince.IsZero() {
		f = reading.StreamEventFilter{Types: types(&event.SuppressionLifted{}), Since: q.LiftedSince}
	}
	if err := readListCursor(q.Cursor, sum, &f); err != nil {
		return OptOutPage{}, err
	}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	page := OptOutPage{OptOuts: []OptOut{}}
	want := func(x reading.StreamEvent, e *event.Event) (bool, error) {
		return wantOptOut(ctx, l, &page, &q, x, e, event.ID{})
	}
	if !q.LiftedSince.IsZero() {
		want = func(_ reading.StreamEvent, e *event.Event) (bool, error) { return wantLifted(ctx, l, &page, &q, e) }
	}
	last, err := l.scan(ctx, f, q.Limit, want)
	if err != nil {
		return OptOutPage{}, err
	}
	page.Next = listCursor(last, sum)
	if page.Masked, err = l.done(ctx, "listOptOuts"); err != nil {
		return OptOutPage{}, err
	}
	return page, nil
}

// wantOptOut adds an event to the page if it is an opt-out that was asked for, and was ended by the lift; zero: any.
func wantOptOut(ctx context.Context, l *listing, page *OptOutPage, q *OptOutQuery, x reading.StreamEvent, e *event.Event, lift event.ID) (bool, error) {
	o, ok := optOutOf(x, e)
	if !ok || q.Source != "" && o.Source != q.Source || !slices.ContainsFunc(o.Reaches, func(r event.Reach) bool {
		return (q.Scope == "" || r.Scope == q.Scope) && (q.Name == "" || r.Name == q.Name)
	}) {
		return false, nil
	}
	if err := l.became(ctx, &o, x, e); err != nil {
		return false, err
	}
	inForce, err := l.inForce(ctx, &o, x)
	if err != nil {
		return false, err
	}
	if q.State != "" && (q.State == OptOutStanding) != inForce || !lift.IsZero() && (o.End == nil || o.End.Event != lift) {
		return false, nil
	}
	if err := l.tell(ctx, &o, x, e); err != nil {
		return false, err
	}
	page.OptOuts = append(page.OptOuts, o)
	return true, nil
}

// wantLifted adds the opt-outs that a lift ended. One lift counts once, however many it ended.
func wantLifted(ctx context.Context, l *listing, page *OptOutPage, q *OptOutQuery, lift *event.Event) (bool, error) {
	d := lift.Data.(*event.SuppressionLifted)
	ok := false
	for i, id := range d.Lifts[:min(len(d.Lifts), reading.MaxPage)] {
		if slices.Contains(d.Lifts[:i], id) {
			continue
		}
		x, e, err := l.byID(ctx, id)
		if err == ErrNoEvent { //nolint:errorlint // byID returns it as it is
			continue
		}
		if err != nil {
			return false, err
		}
		one, err := wantOptOut(ctx, l, page, q, x, e, lift.ID)
		if err != nil {
			return false, err
		}
		ok = ok || one
	}
	return ok, nil
}

// OptOut returns one of a tenant's opt-outs with all that became of it, or ErrNoEvent.
func (r *Lister) OptOut(ctx context.Context, look reading.Look, id event.ID) (*OptOut, []string, error) {
	l := r.listing(look.Caller.Tenant, look)
	x, e, err := l.byID(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	o, ok := optOutOf(x, e)
	if !ok {
		return nil, nil, ErrNoEvent
	}
	if err := l.became(ctx, &o, x, e); err != nil {
		return nil, nil, err
	}
	if o.History, err = l.turns(ctx, x, e, true); err != nil {
		return nil, nil, err
	}
	if err := l.tell(ctx, &o, x, e); err != nil {
		return nil, nil, err
	}
	masked, err := l.done(ctx, "getOptOut")
	if err != nil {
		return nil, nil, err
	}
	return &o, masked, nil
}

// optOutOf is the opt-out that an event is; ok is false if it is none.
func optOutOf(x reading.StreamEvent, e *event.Event) (o OptOut, ok bool) {
	o = OptOut{Event: x.ID, Position: x.Position, Subject: x.Subject, Said: e.Time, Known: e.Time, Source: event.SourceHandset}
	switch d := e.Data.(type) {
	case *event.OptedOut:
		o.Reaches, o.Source, o.Unclear, o.By = []event.Reach{d.Reach}, d.Source, d.Unclear, d.By
		if !d.Occurred.IsZero() {
			o.Said = d.Occurred
		}
	case *event.InboundReceived:
		if d.Revokes != nil {
			o.Reaches, o.Unclear, o.To = []event.Reach{*d.Revokes}, d.Unclear, d.To
		}
	case *event.InboundReceivedV2:
		if d.Unplaced == "" && d.Holds != event.HoldPart && (d.Holds != "" || d.Ask == event.InboundStop) {
			o.Reaches, o.Unclear, o.To = d.Reaches, d.Holds != "", d.To
		}
	case *event.InboundHeld:
		o.Reaches, o.Unclear, o.To = d.Reaches, !d.Plain, d.To
	case *event.InboundJoined:
		o.Source, o.By = event.SourceJoined, "clerk"
		if d.Holds != "" || d.Ask == event.InboundStop {
			o.Reaches, o.Unclear, o.To = d.Reaches, d.Holds != "", d.To
		}
	case *event.ReviewResolved:
		o.Reaches, o.Source, o.By, o.Review = d.Reaches, event.SourceReview, d.By, d.Review
	}
	return o, len(o.Reaches) > 0
}

// tell adds the personal data of an opt-out.
func (l *listing) tell(ctx context.Context, o *OptOut, x reading.StreamEvent, e *event.Event) (err error) {
	l.about(x.ID, x.Subject)
	if o.End != nil {
		if err := tellTurn(ctx, l, o.End); err != nil {
			return err
		}
	}
	for i := range o.History {
		if err := tellTurn(ctx, l, &o.History[i]); err != nil {
			return err
		}
	}
	if o.Told, err = l.told(ctx, e, 2); err != nil || o.Review.IsZero() {
		return err
	}
	if at, ok, err := l.r.p.Desk.StreamEvent(ctx, l.tenant, o.Review); err != nil {
		return err
	} else if ok {
		o.Said = at.Time // what the officer read was said then
	}
	return nil
}

// became says whether an opt-out stands, and what ended it.
func (l *listing) became(ctx context.Context, o *OptOut, x reading.StreamEvent, e *event.Event) error {
	s, err := l.fold(ctx, x)
	if err != nil {
		return err
	}
	if stands(s, x.ID) {
		o.State = OptOutStanding
		return nil
	}
	o.State = OptOutEnded
	turns, err := l.turns(ctx, x, e, false)
	if err != nil {
		return err
	}
	if len(turns) > 0 {
		if o.End = &turns[0]; o.End.What == turnRepeated {
			o.State = OptOutRepeated
		}
	}
	return nil
}

// inForce reports whether an opt-out counts still: it stands, or what the person said once more stands in its place.
// That has the time at which the first of them became known.
func (l *listing) inForce(ctx context.Context, o *OptOut, x reading.StreamEvent) (bool, error) {
	if o.State != OptOutRepeated {
		return o.State == OptOutStanding, nil
	}
	s, err := l.fold(ctx, x)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(s.OptOuts, func(later recipient.OptOut) bool {
		return later.Repeats > 0 && slices.Contains(o.Reaches, later.Reach) && !later.Known.After(o.Known)
	}), nil
}

// stands reports whether something that the event stopped is stopped by it still.
func stands(s *recipient.State, id event.ID) bool {
	return slices.ContainsFunc(s.OptOuts, func(o recipient.OptOut) bool { return o.Event == id })
}

// turns folds what came after an opt-out in its stream, by the rule of the ledger, and says what became of it: the
// event that ended it or took its place; with all also what became of that one, and who read the words.
func (l *listing) turns(ctx context.Context, x reading.StreamEvent, e *event.Event, all bool) (out []Turn, err error) {
	// By format level 2 what is repeated takes the place of the first. Before, both stood; an officer lifts both.
	s, rule := recipient.New(x.Tenant, x.Subject), recipient.Standard()
	p := recipient.PartitionState{Level: 2}
	if err := reviewedIn(ctx, l, s, e); err != nil {
		return nil, err
	}
	rule.Evolve(s, &p, x.Position.Index, e)
	of := x.ID // the opt-out itself, or what took its place
	for read, after := 0, x.Position.Index; read < mostFollowed; {
		next, err := l.r.p.Desk.StreamEvents(ctx, x.Subject, after, scanned)
		if err != nil || len(next) == 0 {
			return out, err
		}
		for _, y := range next {
			read, after = read+1, y.Position.Index
			if y.Why != "" {
				continue
			}
			e, err := l.event(ctx, y)
			if err != nil {
				return nil, err
			}
			if err := reviewedIn(ctx, l, s, e); err != nil {
				return nil, err
			}
			var what string
			if d, ok := e.Data.(*event.ReviewRead); ok {
				if what = turnRead; d.Review != of || !all {
					continue
				}
			} else if rule.Evolve(s, &p, y.Position.Index, e); stands(s, of) {
				continue
			} else {
				what = endedBy(e.Data, of)
			}
			out = append(out, turnOf(what, y, e))
			if !all || what != turnRead && !stands(s, y.ID) {
				return out, nil
			}
			if what != turnRead {
				of = y.ID
			}
		}
	}
	return out, nil
}

// reviewedIn adds what a resolution is about to a state that was not folded from so far back: through which number of ours
// the person said so is known from that.
func reviewedIn(ctx context.Context, l *listing, s *recipient.State, e *event.Event) error {
	d, ok := e.Data.(*event.ReviewResolved)
	if !ok || stands(s, d.Review) {
		return nil
	}
	x, under, err := l.byID(ctx, d.Review)
	if err == ErrNoEvent { //nolint:errorlint // byID returns it as it is
		return nil
	}
	if o, ok := optOutOf(x, under); err == nil && ok {
		s.OptOuts = append(s.OptOuts, recipient.OptOut{Event: d.Review, Unclear: true, To: o.To, Known: o.Known})
	}
	return err
}

// endedBy says how an event ended an opt-out that stood before it.
func endedBy(d event.Data, id event.ID) string {
	switch d := d.(type) {
	case *event.SuppressionLifted:
		return turnLifted
	case *event.ReviewResolved:
		if d.Review == id {
			return turnResolved
		}
	case *event.InboundJoined:
		if slices.Contains(d.Parts, id) {
			return turnReplaced
		}
	case *event.OptedOut:
		if slices.Contains(d.Lifts, id) {
			return turnReplaced
		}
	}
	return turnRepeated
}

// turnOf is an event as what became of something, without the personal data in it.
func turnOf(what string, y reading.StreamEvent, e *event.Event) Turn {
	t := Turn{What: what, Event: y.ID, Position: y.Position, At: y.Time, event: e}
	switch d := e.Data.(type) {
	case *event.SuppressionLifted:
		t.By, t.Source = d.By, d.Source
	case *event.ReviewResolved:
		t.By, t.Source, t.As, t.Reaches = d.By, event.SourceReview, d.As, d.Reaches
	case *event.ReviewRead:
		t.By = d.By
	default:
		o, _ := optOutOf(y, e)
		t.By, t.Source, t.Reaches = o.By, o.Source, o.Reaches
	}
	return t
}

// tellTurn adds the personal data of what became of something. A resolution has no words: those that it is
// about are said beside it.
func tellTurn(ctx context.Context, l *listing, t *Turn) (err error) {
	depth := 2
	if t.As != "" {
		depth = 0
	}
	t.Told, err = l.told(ctx, t.event, depth)
	return err
}
