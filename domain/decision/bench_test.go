package decision

import (
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/recipient"
)

// BenchmarkDecide is a decision without what the policies themselves cost (see the package policies): the facts
// of a person in Florida, who may be in two zones, and of one whose number is of no place; the hours; the event.
func BenchmarkDecide(b *testing.B) {
	w := places.BuiltIn()
	reg := registry(b)
	anywhere := w.Of("+18005550123")
	var all []event.Place
	for _, p := range anywhere {
		all = append(all, p.Event())
	}
	for _, c := range []struct {
		name   string
		places []event.Place
	}{{"two zones", []event.Place{"US-FL America/Chicago", "US-FL America/New_York"}}, {"toll-free", all}} {
		b.Run(c.name, func(b *testing.B) {
			d := &Decider{Policy: &says{answer: answers(Allow, Window{Zone: "America/New_York", Days: daily(480, 1260)}, Window{Zone: "America/Chicago", Days: daily(480, 1260)})},
				Zone: w.Zone, ZoneData: w.Version()}
			m := &recipient.Message{Program: "news", Country: "US", From: "+1500", Places: c.places, ValidUntil: noon.Add(24 * time.Hour)}
			s := &recipient.State{Tenant: "acme"}
			b.ReportAllocs()
			for b.Loop() {
				if got := d.Decide(b.Context(), reg, s, m, noon, "", ""); got.Outcome != Allow {
					b.Fatal(got)
				}
			}
		})
	}
}
