package audit

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// What persons say, and what officers make of it (promise 10). As in promises, nothing here is asked of
// the fold.

// answerWithin is how long an inbound STOP, HELP or START is remembered for its answer: several times as long
// as the answer may take.
const answerWithin = 12 * recipient.ReplyWithin

// spoken follows an effective event of what a person said, or of what we did about it. It reports false
// for any other event.
func (v promises) spoken(index int64, s *stream, e *event.Event) bool {
	o := optOut{id: e.ID, index: index, since: e.Time}
	switch d := e.Data.(type) {
	case *event.OptedOut:
		s.lift(d.Lifts)
		o.reach, o.unclear = d.Reach, d.Unclear
		if v.control.level(v.applied) >= 2 {
			s.replace(o, []event.Reach{d.Reach})
		} else {
			s.optOuts = append(s.optOuts, o)
		}
		s.changed(index, "the recipient opted out")
	case *event.SuppressionLifted:
		holds(v).lifts(index, s, e, d)
		s.lift(d.Lifts, d.Reaches...)
		s.changed(index, "an opt-out was lifted")
	case *event.InboundReceived:
		switch {
		case d.Revokes != nil:
			o.reach, o.unclear, o.old = *d.Revokes, d.Unclear, d.To
			s.optOuts = append(s.optOuts, o)
			s.changed(index, "the recipient wrote words that opt out")
		case d.Holds != nil && d.Concat != nil:
			o.reach, o.unclear, o.part = *d.Holds, true, true
			s.optOuts = append(s.optOuts, o)
			s.changed(index, "a part of the recipient's message came, and may opt out")
		case d.Ask == event.InboundStart:
			s.startedV1(e, d)
		}
		s.asked(e, d.Ask, v.time)
	case *event.InboundReceivedV2:
		v.received(index, s, e, d, o)
	case *event.InboundHeld:
		v.reaches(index, s.tenant, d.Control, d.To, d.Reaches)
		holds(v).held(index, e, d)
		o.to, o.stream, o.inbound, o.unclear = d.To, d.Stream, d.Inbound, !d.Plain
		if o.unclear {
			o.holds = "held"
		}
		s.replace(o, d.Reaches)
		s.changed(index, "a message came that may be the recipient's, and may opt out")
	case *event.InboundJoined:
		v.joined(index, s, e, d, o)
	case *event.ReviewResolved:
		to := ""
		s.optOuts = slices.DeleteFunc(s.optOuts, func(old optOut) bool {
			if old.id != d.Review || !old.unclear {
				return false
			}
			to = old.to
			return true
		})
		s.reviews = slices.DeleteFunc(s.reviews, func(r review) bool { return r.id == d.Review })
		review := d.Review
		v.act(func(v *Verifier) { delete(v.inbox, review) })
		if e.Tenant == "" {
			holds(v).closes(index, e, d)
		}
		o.to = to
		s.replace(o, d.Reaches)
		s.changed(index, "an officer said what an inbound message was")
	case *event.ReviewRead:
	default:
		return false
	}
	return true
}

// received follows an inbound message since format level 2.
func (v promises) received(index int64, s *stream, e *event.Event, d *event.InboundReceivedV2, o optOut) {
	if d.Unplaced != "" { // under review: an officer places it
		holds(v).unplaced(index, e, d)
		s.review(review{id: e.ID, kind: "unplaced", since: e.Time, to: d.To, unplaced: d.Unplaced, streams: d.Streams})
		return
	}
	if !d.Places.IsZero() {
		holds(v).destined(index, e, d)
	}
	v.heeded(index, d.Ask, d.Holds, d.Reaches)
	if d.Places.IsZero() || d.Control > 0 {
		v.reaches(index, s.tenant, d.Control, d.To, d.Reaches)
	}
	o.to = d.To
	switch {
	case d.Holds == event.HoldPart:
		o.unclear, o.part = true, true
		for _, o.reach = range d.Reaches {
			s.optOuts = append(s.optOuts, o)
		}
		s.changed(index, "a part of the recipient's message came, and may opt out")
	case d.Holds != "" || d.Ask == event.InboundStop:
		o.unclear, o.holds = d.Holds != "", ReviewKind(d.Holds)
		s.replace(o, d.Reaches)
		s.changed(index, "the recipient wrote words that opt out")
	case d.Ask == event.InboundStart:
		s.start(e, d.To, d.Reaches, d.Read, d.Digest, v.time)
	}
	s.asked(e, d.Ask, v.time)
}

// joined follows the joined parts of an inbound message. They reach what each of the parts held.
func (v promises) joined(index int64, s *stream, e *event.Event, d *event.InboundJoined, o optOut) {
	v.heeded(index, d.Ask, d.Holds, d.Reaches)
	for _, p := range s.optOuts {
		if p.part && slices.Contains(d.Parts, p.id) && !slices.Contains(d.Reaches, p.reach) {
			v.find(index, 10, ReachMissing, "the joined message does not reach %s, which its part at %s held", name(p.reach), v.at(p.index))
			break
		}
	}
	s.lift(d.Parts)
	if d.Holds != "" || d.Ask == event.InboundStop {
		o.to, o.unclear, o.holds = d.To, d.Holds != "", ReviewKind(d.Holds)
		s.replace(o, d.Reaches)
	}
	if d.Ask == event.InboundStart && d.Holds == "" {
		s.start(e, d.To, d.Reaches, d.Read, "", v.time)
	}
	s.changed(index, "the parts of the recipient's message were joined")
	s.asked(e, d.Ask, v.time)
}

// heeded checks that words which revoke, or may revoke, are in force or held.
func (v promises) heeded(index int64, ask event.InboundAsk, holds event.HoldReason, reaches []event.Reach) {
	revokes := ask == event.InboundStop || ask == event.InboundUnclear || ask == event.InboundPart || holds != ""
	switch {
	case revokes && len(reaches) == 0:
		v.find(index, 10, NotHeeded, "the words may revoke (%s), and stop nothing", ask)
	case revokes && ask != event.InboundStop && holds == "":
		v.find(index, 10, NotHeeded, "the words may revoke (%s), and are not held", ask)
	}
}

// reaches checks that an inbound message reaches every legal entity of the tenant that sends from the
// number it came to, as of a control position.
func (v promises) reaches(index int64, tenant string, at int64, to string, got []event.Reach) {
	if at < 1 || at > v.control.head {
		v.find(index, 0, ControlUnknown, "the message was placed by the control position %d, and control has %d", at, v.control.head)
		return
	}
	for _, entity := range v.control.reached(at, tenant, to) {
		if r := (event.Reach{Scope: event.ScopeLegalEntity, Name: entity}); !slices.Contains(got, r) {
			v.find(index, 10, ReachMissing, "the message does not reach %s, which sends from the number that it came to", name(r))
			return
		}
	}
}

// asked keeps a STOP, a HELP or a START for its one answer. (A STOP that came once more may have taken the
// place of the one that is confirmed.)
func (s *stream) asked(e *event.Event, ask event.InboundAsk, now time.Time) {
	if ask != event.InboundStop && ask != event.InboundHelp && ask != event.InboundStart {
		return
	}
	s.questions = slices.DeleteFunc(s.questions, func(q question) bool { return now.Sub(q.at) > answerWithin })
	s.questions = append(s.questions, question{id: e.ID, at: e.Time})
}

// answers reports whether the message is the one answer to a STOP, a HELP or a START, and remembers it as that.
func (s *stream) answers(m *message) bool {
	for i := range s.questions {
		if q := &s.questions[i]; q.id == m.answers && (q.answered.IsZero() || q.answered == m.id) {
			q.answered = m.id
			return true
		}
	}
	return false
}

// replace adds an opt-out of each reach. One of the same kind, which came in the same way, stands no
// more: the new one has its place.
func (s *stream) replace(o optOut, reaches []event.Reach) {
	first := o.since
	for _, o.reach = range reaches {
		o.since = first
		s.optOuts = slices.DeleteFunc(s.optOuts, func(old optOut) bool {
			same := old
			same.id, same.index, same.since, same.inbound, same.old = o.id, o.index, o.since, o.inbound, o.old
			if same != o {
				return false
			}
			if old.since.Before(o.since) {
				o.since = old.since
			}
			return true
		})
		s.optOuts = append(s.optOuts, o)
	}
}

// review adds an inbound message that an officer has yet to read. One of the same kind that holds the
// same streams counts with it as one.
func (s *stream) review(r review) {
	s.reviews = slices.DeleteFunc(s.reviews, func(old review) bool {
		if old.kind != r.kind || old.to != r.to || old.unplaced != r.unplaced || !slices.EqualFunc(old.streams, r.streams, func(a, b event.HeldStream) bool {
			return a.Tenant == b.Tenant && a.Subject == b.Subject
		}) {
			return false
		}
		r.since = old.since
		return true
	})
	s.reviews = append(s.reviews, r)
}

// reviewed counts what is under review in a stream. A START that lifted nothing is the fold's to know:
// what it would have lifted needs all that came before.
func (v *Pass) reviewed(subject event.Pseudonym, optOuts []optOut, reviews []review, folded []recipient.Review) {
	var seen []event.ID
	for _, o := range optOuts {
		if !o.unclear || o.part || slices.Contains(seen, o.id) {
			continue
		}
		seen = append(seen, o.id)
		kind := o.holds
		if kind == "" { // from before format level 2
			kind = "unclear"
		}
		v.report.review(kind, o.since)
	}
	for _, r := range reviews {
		if r.unplaced != "" {
			v.act(func(v *Verifier) { v.placing.open[subject] = true })
		}
		v.report.review(r.kind, r.since)
	}
	for _, r := range folded {
		if r.Kind == recipient.ReviewStart {
			v.report.review(ReviewKind(r.Kind), r.Since)
		}
	}
}
