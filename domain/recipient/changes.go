package recipient

import (
	"slices"

	"github.com/chirograph/chirograph/domain/event"
)

// Changes are what one event changed in the opt-outs and reviews of its stream. They come from the state
// before the event and after it, so they hold whatever the rule did.
type Changes struct {
	// Stands are the opt-outs that stand from the event on, and Ended those that stood before it.
	Stands, Ended []OptOut
	// Opened are the reviews that are open from the event on, also those of which something changed.
	// Closed are the events that are no longer under review. An unclear opt-out from before format
	// level 2 is among Stands or Ended alone.
	Opened []Review
	Closed []event.ID
}

// EvolveAndCompare is Evolve that also says what the event changed in the stream's opt-outs and reviews;
// nil if it changed nothing there. For events that cannot change them it costs nothing.
func (r *Rule) EvolveAndCompare(s *State, p *PartitionState, index int64, e *event.Event) (Why, *Changes) {
	if !mayChangeOptOuts(e.Data) {
		return r.Evolve(s, p, index, e), nil
	}
	optOuts, reviews := slices.Clone(s.OptOuts), slices.Clone(s.Reviews)
	why := r.Evolve(s, p, index, e)
	if why != "" {
		return why, nil
	}
	return why, s.changes(optOuts, reviews)
}

// mayChangeOptOuts reports whether events of that type can change the opt-outs or reviews of a stream. A
// test compares it with what events do.
func mayChangeOptOuts(d event.Data) bool {
	switch d.(type) {
	case *event.OptedOut, *event.SuppressionLifted, *event.InboundReceived, *event.InboundReceivedV2, *event.InboundHeld,
		*event.InboundJoined, *event.ReviewResolved:
		return true
	}
	return false
}

// changes compares the state with the opt-outs and reviews before the event. Both lists keep their order
// and grow at the end, so one walk finds all that is gone and all that is new.
func (s *State) changes(optOuts []OptOut, reviews []Review) *Changes {
	c := &Changes{}
	i := 0
	for _, old := range optOuts {
		if i < len(s.OptOuts) && s.OptOuts[i] == old {
			i++
			continue
		}
		c.Ended = append(c.Ended, old)
	}
	c.Stands = slices.Clone(s.OptOuts[i:]) // the state goes on
	i = 0
	touched := map[event.ID]bool{} // events whose review may have changed
	for _, old := range reviews {
		if i < len(s.Reviews) && s.Reviews[i].Event == old.Event && s.Reviews[i].Index == old.Index && s.Reviews[i].Repeats == old.Repeats {
			i++
			continue
		}
		touched[old.Event] = true
	}
	for _, r := range s.Reviews[i:] {
		touched[r.Event] = true
	}
	for _, all := range [][]OptOut{c.Ended, c.Stands} {
		for _, o := range all {
			if o.Holds != "" {
				touched[o.Event] = true
			}
		}
	}
	if len(touched) > 0 {
		for _, r := range openReviews(s, func(id event.ID) bool { return touched[id] }) {
			c.Opened = append(c.Opened, r)
			delete(touched, r.Event)
		}
		for id := range touched {
			c.Closed = append(c.Closed, id)
		}
		slices.SortFunc(c.Closed, func(a, b event.ID) int { return slices.Compare(a[:], b[:]) })
	}
	if len(c.Stands)+len(c.Ended)+len(c.Opened)+len(c.Closed) == 0 {
		return nil
	}
	return c
}
