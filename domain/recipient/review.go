package recipient

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Inbound messages since format level 2: what they stop, what they hold, and what an officer reads.

// arrival is an event of what a person said, or of what we do about it, where it comes in its stream.
type arrival struct {
	*State
	p     *PartitionState
	index int64
	e     *event.Event
}

// words are what an inbound message of one part, or the joined parts of one, say.
type words struct {
	to       string
	ask      event.InboundAsk
	holds    event.HoldReason
	reaches  []event.Reach
	programs []string
	read     int64
	digest   string
	source   event.Source
	// said is when the words came, where that is not the event's time: an officer placed them later.
	said time.Time
}

func (w *words) program() string {
	if len(w.programs) == 0 {
		return ""
	}
	return w.programs[0]
}

// inboundReceivedV2 does what an inbound message does to the stream. In a stream without a tenant it
// waits for an officer to place it, and stops nothing.
func (s arrival) inboundReceivedV2(d *event.InboundReceivedV2) {
	e, index := s.e, s.index
	if s.Key.IsZero() {
		s.Key = d.Sealed.SubjectKey
	}
	w := words{to: d.To, ask: d.Ask, holds: d.Holds, reaches: d.Reaches, programs: d.Programs, read: d.Read, digest: d.Digest, source: event.SourceHandset}
	if !d.Places.IsZero() && s.p.Level >= 3 {
		w.said = d.Places.Time() // an id is made when the message comes
	}
	switch {
	case d.Unplaced != "":
		s.review(Review{Event: e.ID, Index: index, Kind: ReviewUnplaced, To: d.To, Since: e.Time, Unplaced: d.Unplaced, Streams: d.Streams})
	case d.Holds == event.HoldPart && d.Concat != nil:
		for _, r := range d.Reaches {
			s.OptOuts = append(s.OptOuts, OptOut{Event: e.ID, Index: index, Reach: r, Source: event.SourceHandset, Known: e.Time, Unclear: true, Part: true, To: d.To})
		}
		x := inboundPart{Event: e.ID, Index: index, Account: d.Account, To: d.To, Program: w.program(), Concat: *d.Concat, At: e.Time,
			More: d.Reaches, Programs: d.Programs, Read: d.Read, V2: true}
		s.Inbound = append(s.Inbound, x)
		s.changesDecisions(e)
	default:
		s.hear(index, &w)
	}
}

// inboundJoined does what the joined parts of an inbound message do, in place of what each part held.
func (s arrival) inboundJoined(r *Rule, d *event.InboundJoined) {
	number := s.index // the position of an event that has the writer's number sealed in it
	for _, x := range s.Inbound {
		if r.Names(d.Parts, x.Event) {
			number = x.Index
			s.rememberJoined(x, d.Parts)
			break
		}
	}
	r.lift(s.State, d.Parts)
	reconsider(s.Messages)
	s.changesDecisions(s.e)
	s.hear(number, &words{to: d.To, ask: d.Ask, holds: d.Holds, reaches: d.Reaches, programs: d.Programs, read: d.Read, source: event.SourceJoined})
}

// rememberJoined remembers the positions of the parts of a message that is joined now, so that a copy of
// one of them is told. first is one of the parts.
func (s arrival) rememberJoined(first inboundPart, parts []event.ID) {
	j := joinedMessage{Account: first.Account, To: first.To, Concat: first.Concat, At: s.p.Time}
	for _, x := range s.Inbound {
		if slices.Contains(parts, x.Event) {
			j.Parts, j.Numbers = append(j.Parts, x.Index), append(j.Numbers, x.Concat.Part)
		}
	}
	if len(s.Joined) == mostCopies {
		s.Joined = slices.Delete(s.Joined, 0, 1)
	}
	s.Joined = append(s.Joined, j)
}

// hear does what words do that are certain for this recipient and tenant. number is the position of an
// event that has the writer's number sealed in it.
func (s arrival) hear(number int64, w *words) {
	e, index := s.e, s.index
	ask := Ask{Inbound: e.ID, Index: number, At: s.p.Time, To: w.to, Program: w.program()}
	switch {
	case w.holds != "":
		for _, r := range w.reaches {
			s.optOut(OptOut{Event: e.ID, Index: index, Reach: r, Source: w.source, Known: e.Time, Occurred: w.said, Unclear: true, To: w.to, Holds: ReviewKind(w.holds)})
		}
		s.changesDecisions(e)
	case w.ask == event.InboundStop:
		stood := true
		for _, r := range w.reaches {
			stood = stood && reached(s.OptOuts, r)
			s.optOut(OptOut{Event: e.ID, Index: index, Reach: r, Source: w.source, Known: e.Time, Occurred: w.said, To: w.to})
		}
		s.changesDecisions(e)
		if !stood && s.Texted {
			s.askAnswer(ask, AskConfirm)
		}
	case w.ask == event.InboundStart:
		s.start(w, ask)
	case w.ask == event.InboundHelp:
		s.askAnswer(ask, AskHelp)
	}
}

// start asks for a lift of what a START lifts, and for the answer to it. If it lifts nothing although an
// opt-out stands, an officer reads it.
func (s arrival) start(w *words, ask Ask) {
	repeat := w.digest != "" && slices.ContainsFunc(s.Starts, func(d digestAt) bool { return d.Digest == w.digest })
	if w.digest != "" && !repeat {
		if len(s.Starts) == mostCopies {
			s.Starts = slices.Delete(s.Starts, 0, 1)
		}
		s.Starts = append(s.Starts, digestAt{w.digest, ask.At})
	}
	stands := slices.ContainsFunc(s.OptOuts, func(o OptOut) bool { return !o.Part })
	lifts, unsure := s.liftedBy(w)
	if len(lifts) == 0 || repeat {
		if stands {
			s.review(Review{Event: s.e.ID, Index: s.index, Kind: ReviewStart, To: w.to, Since: s.e.Time})
		}
		return
	}
	ask.Kind, ask.Lifts, ask.Unsure = AskLift, lifts, unsure
	s.Asks = append(s.Asks, ask)
}

// liftedBy are the opt-outs that a START lifts: what was stopped through the number that it was sent to,
// and an officer's opt-out of exactly that sender ID. It lifts none if one of them came where the adapter
// of the START had not read to: which of the two the person sent last is not known then.
//
// unsure are the positions of those from before format level 2 that may have come to another number.
func (s arrival) liftedBy(w *words) (lifts []event.ID, unsure []int64) {
	for _, o := range s.OptOuts {
		old := o.To == "" && (o.Source == event.SourceHandset || o.Source == event.SourceJoined) && slices.Contains(w.reaches, o.Reach)
		sender := o.To == "" && o.Reach == event.Reach{Scope: event.ScopeSender, Name: w.to}
		switch {
		case o.Part || o.Stream != (event.Pseudonym{}) || !(o.To == w.to || old || sender):
			continue
		case o.Index >= w.read:
			return nil, nil
		case old:
			unsure = append(unsure, o.Index)
		}
		if !slices.Contains(lifts, o.Event) {
			lifts = append(lifts, o.Event)
		}
	}
	return lifts, unsure
}

// lifted ends the opt-outs that a lift names, or those of its reaches among them. The lift of a START that in the end names none leaves the
// START to an officer; the lift of one that does is answered with the program's text.
func (s arrival) lifted(r *Rule, d *event.SuppressionLifted) {
	var start *Ask
	if i := slices.IndexFunc(s.Asks, func(a Ask) bool { return a.Kind == AskLift && a.Inbound == d.Answers }); i >= 0 {
		a := s.Asks[i]
		start = &a
	}
	if len(d.Reaches) > 0 {
		s.OptOuts = slices.DeleteFunc(s.OptOuts, func(o OptOut) bool { return r.Names(d.Lifts, o.Event) && slices.Contains(d.Reaches, o.Reach) })
	} else {
		r.lift(s.State, d.Lifts)
	}
	s.Asks = unanswered(s.Asks, d.Answers)
	s.changesDecisions(s.e)
	if s.p.Level < 2 {
		return
	}
	reconsider(s.Messages)
	switch {
	case start == nil:
	case len(d.Lifts) == 0:
		s.review(Review{Event: start.Inbound, Index: start.Index, Kind: ReviewStart, To: start.To, Since: start.At})
	case s.Texted:
		start.Lifts, start.Unsure = nil, nil
		s.askAnswer(*start, AskWelcome)
	}
}

// inboundHeld stops what an inbound message may revoke that may be of this recipient or for this tenant.
func (s arrival) inboundHeld(d *event.InboundHeld) {
	e, index := s.e, s.index
	o := OptOut{Event: e.ID, Index: index, Source: event.SourceHandset, Known: e.Time, To: d.To, Stream: d.Stream}
	if !d.Plain {
		o.Unclear, o.Holds = true, ReviewHeld
	}
	for _, o.Reach = range d.Reaches {
		s.optOut(o)
	}
	s.changesDecisions(e)
}

// reviewResolved ends a review, and stops what the officer says.
func (s arrival) reviewResolved(d *event.ReviewResolved) {
	e, index := s.e, s.index
	to, said := "", time.Time{}
	s.OptOuts = slices.DeleteFunc(s.OptOuts, func(o OptOut) bool {
		if o.Event != d.Review || !o.Unclear {
			return false
		}
		to, said = o.To, o.Known
		return true
	})
	s.Reviews = slices.DeleteFunc(s.Reviews, func(r Review) bool { return r.Event == d.Review })
	for _, r := range d.Reaches {
		s.optOut(OptOut{Event: e.ID, Index: index, Reach: r, Source: event.SourceReview, Known: e.Time, Occurred: said, To: to})
	}
	reconsider(s.Messages)
	s.changesDecisions(e)
}

// review adds what an officer has to read. One of the same kind that came to the same number, and holds
// the same streams, is there already: then the new one takes its place. The officer sees the older
// ones beside it.
func (s arrival) review(r Review) {
	same := func(a, b event.HeldStream) bool { return a.Tenant == b.Tenant && a.Subject == b.Subject }
	s.Reviews = slices.DeleteFunc(s.Reviews, func(old Review) bool {
		if old.Kind != r.Kind || old.To != r.To || old.Unplaced != r.Unplaced || !slices.EqualFunc(old.Streams, r.Streams, same) {
			return false
		}
		r.Repeats, r.Since = old.Repeats+1, old.Since
		return true
	})
	s.Reviews = append(s.Reviews, r)
}

// OpenReviews are the inbound messages that an officer has yet to read, in the order of their events. A
// part that waits for the other parts is not among them.
func (s *State) OpenReviews() []Review { return openReviews(s, func(event.ID) bool { return true }) }

// openReviews are those of the open reviews whose event is wanted.
func openReviews(s *State, wanted func(event.ID) bool) []Review {
	var out []Review
	listed := map[event.ID]bool{}
	for _, r := range s.Reviews {
		if wanted(r.Event) {
			out = append(out, r)
			listed[r.Event] = true
		}
	}
	for _, o := range s.OptOuts {
		if !o.Unclear || o.Part || listed[o.Event] || !wanted(o.Event) {
			continue
		}
		listed[o.Event] = true
		kind := o.Holds
		if kind == "" { // from before format level 2
			kind = ReviewUnclear
		}
		out = append(out, Review{Event: o.Event, Index: o.Index, Kind: kind, To: o.To, Since: o.Known, Repeats: o.Repeats, Stream: o.Stream})
	}
	slices.SortStableFunc(out, func(a, b Review) int { return int(a.Index - b.Index) })
	return out
}
