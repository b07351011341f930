package recipient

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// PartitionState is what the streams of one partition share. Its JSON is what snapshots hold.
type PartitionState struct {
	// Control is the control position in force, counted from 1; 0: none yet.
	Control int64 `json:"control"`
	// ControlEvent is the id of the control event at that position.
	ControlEvent event.ID `json:"control_event"`
	// Time is the partition's time: the running maximum of its events' times.
	Time time.Time `json:"time"`
	// CallBy is until when a carrier may be called for any start so far: the running maximum of
	// call_by over the effective starts.
	CallBy time.Time `json:"call_by"`
	// Level is the format level of the ledger at that control position; below 2 it is 1. It follows from
	// Control, so it is not stored: whoever restores a partition sets it from the registry.
	Level int `json:"-"`
}

// Apply folds a ControlApplied by the standard rule, and says whether it is effective ("") or why it
// is void. An effective one ends every allow of the partition's streams, without a look at them: an
// allow names the position that it was given under.
func (p *PartitionState) Apply(e *event.Event) Why {
	r := Standard()
	return r.Apply(p, e)
}

// Apply folds a ControlApplied by this rule. See Partition.Apply.
func (r *Rule) Apply(p *PartitionState, e *event.Event) Why {
	d := e.Data.(*event.ControlApplied)
	p.advance(e.Time)
	if !r.Order(p, d.Position) {
		return Overtaken
	}
	p.Control, p.ControlEvent = d.Position, d.Event
	return ""
}

// advance takes the partition's time on to t. It never goes back: nodes' clocks differ.
func (p *PartitionState) advance(t time.Time) {
	if t.After(p.Time) {
		p.Time = t
	}
}
