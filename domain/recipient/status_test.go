package recipient

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// transition is how a message gets to a status.
type transition struct {
	want Status
	run  func(x *stream) event.ID
}

func transitions(t *testing.T, all map[string]transition) {
	for name, f := range all {
		t.Run(name, func(t *testing.T) {
			x := newStream(t)
			m := f.run(x)
			x.status(m, f.want)
		})
	}
}

// TestDecisions: from the submit to a hand-off.
func TestDecisions(t *testing.T) {
	transitions(t, map[string]transition{
		"submitted": {Accepted, func(x *stream) event.ID { return x.submit(nil) }},
		"for later": {Scheduled, func(x *stream) event.ID {
			return x.submit(func(d *event.MessageSubmitted) { d.SendAt = x.now.Add(time.Hour) })
		}},
		"send_at has come": {Accepted, func(x *stream) event.ID {
			return x.submit(func(d *event.MessageSubmitted) { d.SendAt = x.now })
		}},
		"denied": {Denied, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "deny"})
			return m
		}},
		"deferred": {Deferred, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "defer", Until: x.now.Add(time.Hour)})
			return m
		}},
		"held": {Held, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "hold", Fault: "policy", Until: x.now.Add(time.Second)})
			return m
		}},
		"an outcome from a later version holds": {Held, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "perhaps"})
			return m
		}},
		"allowed": {Allowed, func(x *stream) event.ID { m := x.submit(nil); x.must(m, x.allow(m)); return m }},
		"held, then allowed": {Allowed, func(x *stream) event.ID {
			m := x.submit(nil)
			x.must(m, &event.MessageDecided{Outcome: "hold", Fault: "policy"})
			x.must(m, x.allow(m))
			return m
		}},
		"routed": {Allowed, func(x *stream) event.ID { m := x.submit(nil); x.must(m, x.allow(m)); x.must(m, route(1)); return m }},
	})
}

// Everything that Statuses lists is reached, and is what its predicates say.
func TestStatuses(t *testing.T) {
	if len(Statuses()) != 18 {
		t.Errorf("%d statuses", len(Statuses()))
	}
	for _, s := range Statuses() {
		if s.Unsent() && !s.Open() {
			t.Errorf("%s is unsent and not open", s)
		}
	}
}
