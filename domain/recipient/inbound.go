package recipient

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

const (
	// ReplyWithin bounds a confirmation or a HELP answer (47 CFR 64.1200(a)(12): a confirmation within
	// five minutes).
	ReplyWithin = 5 * time.Minute
	// joinWithin is how long a part of an inbound message waits for the other parts.
	joinWithin = 5 * time.Minute
	// copiesWithin is how long, in the log's own time, a second delivery of a part or a START is told
	// from a new one.
	copiesWithin = 24 * time.Hour
	// mostCopies bounds the joined messages, and the STARTs, that are remembered for that.
	mostCopies = 16
	// answerWindow and mostAnswers bound the automatic answers (confirmations, HELP texts, answers to a
	// START) of one program to one recipient: at most mostAnswers within answerWindow. What comes beyond
	// is recorded, and not answered.
	answerWindow = 24 * time.Hour
	mostAnswers  = 5
)

// inboundReceived does what an inbound message does to the stream. Words that revoke are the opt-out
// themselves: this one event is both, so nothing can come between. A part that cannot be understood
// alone suppresses what it might revoke, until it is joined.
func (s arrival) inboundReceived(d *event.InboundReceived) {
	e, p, index := s.e, s.p, s.index
	if s.Key.IsZero() {
		s.Key = d.Sealed.SubjectKey
	}
	ask := Ask{Inbound: e.ID, Index: index, At: p.Time, To: d.To, Program: d.Program}
	switch {
	case d.Revokes != nil:
		stood := reached(s.OptOuts, *d.Revokes)
		s.OptOuts = append(s.OptOuts, OptOut{Event: e.ID, Index: index, Reach: *d.Revokes, Source: event.SourceHandset, Known: e.Time, Unclear: d.Unclear})
		s.changesDecisions(e)
		if !stood && !d.Unclear {
			s.askConfirm(ask)
		}
	case d.Holds != nil && d.Concat != nil:
		s.OptOuts = append(s.OptOuts, OptOut{Event: e.ID, Index: index, Reach: *d.Holds, Source: event.SourceHandset, Known: e.Time, Unclear: true, Part: true})
		s.changesDecisions(e)
		s.Inbound = append(s.Inbound, inboundPart{Event: e.ID, Index: index, Account: d.Account, To: d.To, Program: d.Program, Concat: *d.Concat, Reach: *d.Holds, At: e.Time})
	case d.Ask == event.InboundStart:
		// Without one to lift, nothing stood, or a STOP came in between: that is for an officer.
		if ask.Kind, ask.Lifts = AskLift, s.liftable(d); len(ask.Lifts) > 0 {
			s.Asks = append(s.Asks, ask)
		}
	case d.Ask == event.InboundHelp && d.Program != "":
		ask.Kind = AskHelp
		s.Asks = append(s.Asks, ask)
	}
}

// optedOut records an opt-out, which may take the place of others: joined parts of an inbound message
// name the parts that suppressed until now.
func (s arrival) optedOut(r *Rule, d *event.OptedOut) {
	e, p, index := s.e, s.p, s.index
	stood := reached(s.OptOuts, d.Reach)
	if i := slices.IndexFunc(s.Inbound, func(x inboundPart) bool { return slices.Contains(d.Lifts, x.Event) }); i >= 0 && !stood && !d.Unclear {
		s.askConfirm(Ask{Inbound: e.ID, Index: s.Inbound[i].Index, At: p.Time, To: s.Inbound[i].To, Program: s.Inbound[i].Program})
	}
	r.lift(s.State, d.Lifts)
	o := OptOut{Event: e.ID, Index: index, Reach: d.Reach, Source: d.Source, Known: e.Time, Occurred: d.Occurred, Unclear: d.Unclear}
	if p.Level >= 2 {
		s.optOut(o)
		reconsider(s.Messages)
	} else {
		s.OptOuts = append(s.OptOuts, o)
	}
	s.Asks = unanswered(s.Asks, d.Answers)
	s.changesDecisions(e)
}

// askConfirm asks for the one confirmation of a clear and new opt-out: none to a person who was never
// texted, none where it is not known for which program to speak.
func (s arrival) askConfirm(a Ask) {
	if s.Texted && a.Program != "" {
		a.Kind = AskConfirm
		s.Asks = append(s.Asks, a)
	}
}

// askAnswer asks for an automatic answer, unless the program has given the recipient enough of them
// lately.
func (s arrival) askAnswer(a Ask, kind AskKind) {
	n := 0
	for _, x := range s.Answered {
		if x.Program == a.Program {
			n++
		}
	}
	if a.Program == "" || n >= mostAnswers {
		return
	}
	a.Kind = kind
	s.Asks = append(s.Asks, a)
	s.Answered = append(s.Answered, answeredAt{a.Program, a.At})
}

// optOut adds an opt-out. One of the same reach that came in the same way, and is as clear, stands
// already: then the new one takes its place, so that no state grows with every STOP. Known and Occurred
// stay those of the first.
func (s *State) optOut(o OptOut) {
	s.OptOuts = slices.DeleteFunc(s.OptOuts, func(old OptOut) bool {
		if old.Part || old.Reach != o.Reach || old.To != o.To || old.Unclear != o.Unclear || old.Holds != o.Holds || old.Stream != o.Stream {
			return false
		}
		if o.Repeats, o.First = old.Repeats+1, old.First; o.First.IsZero() {
			o.First = old.Event
		}
		if old.Known.Before(o.Known) {
			o.Known = old.Known
		}
		if o.Occurred.IsZero() || !old.Occurred.IsZero() && old.Occurred.Before(o.Occurred) {
			o.Occurred = old.Occurred
		}
		return true
	})
	s.OptOuts = append(s.OptOuts, o)
}

// unanswered are the asks without that of an inbound message which is answered; zero: none is.
func unanswered(asks []Ask, inbound event.ID) []Ask {
	if inbound.IsZero() {
		return asks
	}
	return slices.DeleteFunc(asks, func(a Ask) bool { return a.Inbound == inbound })
}

// lift takes away the opt-outs, and the parts of inbound messages that wait, which a lift names.
func (r *Rule) lift(s *State, named []event.ID) {
	s.OptOuts = slices.DeleteFunc(s.OptOuts, func(o OptOut) bool { return r.Names(named, o.Event) })
	s.Inbound = slices.DeleteFunc(s.Inbound, func(x inboundPart) bool { return r.Names(named, x.Event) })
}

// reconsider makes every deferred message due: what it was deferred for may be gone.
func reconsider(messages []*Message) {
	for _, m := range messages {
		if m.Status == Deferred {
			m.Due = time.Time{}
		}
	}
}

// reached reports whether an opt-out of exactly that reach, or of the whole tenant, stands. Parts
// that only suppress until they are joined do not count.
func reached(optOuts []OptOut, r event.Reach) bool {
	return slices.ContainsFunc(optOuts, func(o OptOut) bool {
		return !o.Part && (o.Reach == r || o.Reach.Scope == event.ScopeTenant)
	})
}

// liftable are the opt-outs that a START lifts: those within what it may lift that stood where its
// adapter had read to. An opt-out of the whole tenant is an officer's to lift, and a part of an inbound
// message lifts itself when it is joined.
//
// For example: a STOP stands at 10, the START's adapter had read to 20, and the START lands at 23. It
// lifts the STOP at 10. If another STOP stands at 21, the adapter did not know of it, and there is no
// telling which of the two the person sent last: then it lifts nothing.
func (s arrival) liftable(d *event.InboundReceived) []event.ID {
	var ids []event.ID
	for _, o := range s.OptOuts {
		if o.Index >= d.Read {
			return nil
		}
		if !o.Part && o.Reach.Scope != event.ScopeTenant && slices.Contains(d.MayLift, o.Reach) {
			ids = append(ids, o.Event)
		}
	}
	return ids
}

// Joined is an inbound message whose parts are all there, or were waited for long enough.
type Joined struct {
	// Holds are the parts' events, in order of arrival; the first names the message.
	Holds []event.ID
	// Parts are the positions of the parts, in order; -1 where one is missing. Parts whose number the
	// message does not have come last.
	Parts []int64
	// Reaches are what the parts hold.
	Reaches []event.Reach
	// V2 says that the parts, or some of them, came under format level 2: then one InboundJoined takes
	// their place.
	V2 bool
	// To is our number, Programs are those that may send from it, and Read is how far the adapter of the
	// first part had read (V2).
	To       string
	Programs []string
	Read     int64
}

// Copy is a part that may be a second delivery of another: it has the same number in what may be the same
// message. If the octets of the two say the same, it is one.
type Copy struct {
	Event event.ID
	Index int64
	// Of are the positions of the parts that it may be a copy of.
	Of []int64
}

// Joins are the inbound messages whose words can now be read: all parts are there, or the first of
// them came five minutes ago. until is when the wait for the next one ends, zero for never. copies are
// parts that may be second deliveries, of a part that waits or of one that was joined lately.
//
// Parts belong together by account, number, reference and count of parts. Handsets count references
// from 0 to 255 and around, so two messages may have the same: a second part with the same number
// begins a message of its own, unless it is a copy.
func (s *State) Joins(now time.Time) (whole []Joined, copies []Copy, until time.Time) {
	used := make([]bool, len(s.Inbound))
	for i, first := range s.Inbound {
		if used[i] {
			continue
		}
		j := Joined{Parts: slices.Repeat([]int64{-1}, first.Concat.Parts), Reaches: first.reaches(), V2: first.V2, To: first.To, Programs: first.Programs, Read: first.Read}
		for k, x := range s.Inbound[i:] {
			if used[i+k] || !x.joins(first) {
				continue
			}
			switch n := x.Concat.Part; {
			case n < 1 || n > first.Concat.Parts:
				j.Parts = append(j.Parts, x.Index) // a number that there is not: its words count all the same
			case j.Parts[n-1] >= 0:
				if x.V2 {
					copies = append(copies, Copy{x.Event, x.Index, []int64{j.Parts[n-1]}})
				}
				continue // a copy, or another message under the same reference
			default:
				j.Parts[n-1] = x.Index
			}
			used[i+k] = true
			j.Holds = append(j.Holds, x.Event)
			if x.V2 && !j.V2 { // the format level was raised between the two
				j.V2, j.To, j.Programs, j.Read = true, x.To, x.Programs, x.Read
			}
			for _, r := range x.reaches() {
				if !slices.Contains(j.Reaches, r) {
					j.Reaches = append(slices.Clip(j.Reaches), r)
				}
			}
		}
		end := first.At.Add(joinWithin)
		switch {
		case !slices.Contains(j.Parts, -1) || !now.Before(end):
			whole = append(whole, j)
		case until.IsZero() || end.Before(until):
			until = end
		}
		for _, m := range s.Joined {
			if !first.V2 || !first.joins(inboundPart{Account: m.Account, To: m.To, Concat: m.Concat}) {
				continue
			}
			if i := slices.Index(m.Numbers, first.Concat.Part); i >= 0 {
				copies = append(copies, Copy{first.Event, first.Index, []int64{m.Parts[i]}})
			}
		}
	}
	return whole, copies, until
}

// reaches are what a part holds.
func (x inboundPart) reaches() []event.Reach {
	if x.V2 {
		return x.More
	}
	return []event.Reach{x.Reach}
}

// joins reports whether two parts may be of one message.
func (x inboundPart) joins(other inboundPart) bool {
	return x.Account == other.Account && x.To == other.To && x.Concat.Reference == other.Concat.Reference && x.Concat.Parts == other.Concat.Parts
}
