package audit

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// What a START ended (promise 10): only what came to the number that the START was sent to. It is worked out
// where the START stands, from the opt-outs that stood there.

const (
	// mostIdle bounds the STARTs that are kept of one stream although they may lift nothing.
	mostIdle = 16
	// toldWithin and mostTold are how long, and how many, STARTs are remembered by their octets: a second
	// delivery of one of them lifts nothing.
	toldWithin = 24 * time.Hour
	mostTold   = 16
)

// start is a START, and the opt-outs that it may lift. It is kept until its lift comes. The lift of a START
// that may lift nothing never comes.
type start struct {
	id  event.ID
	to  string
	may []event.ID
}

type toldStart struct {
	digest string
	at     time.Time
}

// start keeps a START since format level 2, with what it may lift: what came to its number, an officer's
// opt-out of exactly that sender ID, and what came to its number before that level, if the START reaches
// the same. Nothing, if one of these came where the node of the START had not read to, or if the
// START was delivered before.
func (s *stream) start(e *event.Event, to string, reaches []event.Reach, read int64, digest string, now time.Time) {
	s.told = slices.DeleteFunc(s.told, func(t toldStart) bool { return now.Sub(t.at) > toldWithin })
	repeat := digest != "" && slices.ContainsFunc(s.told, func(t toldStart) bool { return t.digest == digest })
	if digest != "" && !repeat {
		if len(s.told) == mostTold {
			s.told = slices.Delete(s.told, 0, 1)
		}
		s.told = append(s.told, toldStart{digest, now})
	}
	x := start{id: e.ID, to: to}
	for _, o := range s.optOuts {
		mine := o.to == to && to != "" || o.to == "" && (o.old == to && to != "" && slices.Contains(reaches, o.reach) || o.reach == event.Reach{Scope: event.ScopeSender, Name: to})
		if o.part || o.stream != (event.Pseudonym{}) || !mine {
			continue
		}
		if o.index >= read || repeat {
			x.may = nil
			break
		}
		x.may = append(x.may, o.id)
	}
	s.keep(x)
}

// startedV1 keeps a START of format level 1, which names the reaches that it may lift.
func (s *stream) startedV1(e *event.Event, d *event.InboundReceived) {
	x := start{id: e.ID, to: d.To}
	for _, o := range s.optOuts {
		if o.index >= d.Read {
			x.may = nil
			break
		}
		if !o.part && o.reach.Scope != event.ScopeTenant && slices.Contains(d.MayLift, o.reach) {
			x.may = append(x.may, o.id)
		}
	}
	s.keep(x)
}

func (s *stream) keep(x start) {
	s.starts = append(s.starts, x)
	idle := 0
	for _, of := range s.starts {
		if len(of.may) == 0 {
			idle++
		}
	}
	if i := slices.IndexFunc(s.starts, func(of start) bool { return len(of.may) == 0 }); idle > mostIdle {
		s.starts = slices.Delete(s.starts, i, i+1)
	}
}

// lifts checks what a lift ends that no officer of the tenant recorded: that of a START, of joined parts, or
// of the review of an unplaced message. Ids that do not stand are not looked at: to name them ends nothing.
func (v holds) lifts(index int64, s *stream, e *event.Event, d *event.SuppressionLifted) {
	ours := d.By == "clerk" || !d.Answers.IsZero() // an officer's lift answers nothing, whatever its source says
	switch {
	case d.Source == event.SourceReview && !d.Answers.IsZero():
		v.endsHolds(index, s, e, d)
	case d.Source == event.SourceJoined && ours: // also of a part that is a copy
		for _, o := range s.optOuts {
			if slices.Contains(d.Lifts, o.id) && !o.part {
				v.find(index, 10, LiftTooFar, "the lift is of parts of a message, and ends the opt-out at %s, which is none", v.at(o.index))
			}
		}
	case d.Source == event.SourceHandset && ours:
		var x start
		s.starts = slices.DeleteFunc(s.starts, func(of start) bool {
			if of.id != d.Answers {
				return false
			}
			x = of
			return true
		})
		for _, o := range s.optOuts {
			if !slices.Contains(d.Lifts, o.id) || slices.Contains(x.may, o.id) {
				continue
			}
			why := "which was not the START's to end: it came after what was read for the START, or the START was delivered before"
			switch {
			case x.id.IsZero():
				why = "and the stream has no such START, or it was answered"
			case o.part:
				why = "which is a part that waits for the rest of its message"
			case o.stream != (event.Pseudonym{}):
				why = "which holds a message that may be of another person"
			case o.to != x.to && o.old != x.to && o.reach != event.Reach{Scope: event.ScopeSender, Name: x.to}:
				why = "which did not come to the number that the START was sent to"
			}
			v.find(index, 10, LiftTooFar, "the lift of a START ends the opt-out at %s, %s", v.at(o.index), why)
			break
		}
	}
}
