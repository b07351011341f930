package recipient

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// kept makes the folds of BenchmarkEvolve outlive it, as a clerk's do.
var kept struct {
	s *State
	p *PartitionState
}

// BenchmarkEvolve folds one message's life: submitted, allowed, routed, started, both parts
// accepted, both receipts. The events are made before the clock runs.
func BenchmarkEvolve(b *testing.B) {
	x := newStream(b)
	m := x.submit(nil)
	x.send(m, 2)
	for _, d := range []event.Data{accepted(1, 1), accepted(1, 2), receipt(1, 1, "delivered"), receipt(1, 2, "delivered")} {
		x.pass(time.Second)
		x.must(m, d)
	}
	x.status(m, Delivered)
	b.ReportAllocs()
	for b.Loop() {
		s, p := New("acme", event.Pseudonym{1}), new(PartitionState)
		kept.s, kept.p = s, p
		for i, e := range x.log {
			if why := s.Evolve(p, int64(i), e); why != "" {
				b.Fatal(why)
			}
		}
	}
}
