// Package routing is the route table and its choice: which carrier account takes a message
// to a country for a program. It is pure.
package routing

import (
	"slices"

	"github.com/chirograph/chirograph/domain/event"
)

// Table is the routes in force, in order. It never changes; control makes a new one.
type Table struct {
	Routes []event.Route
	// Position is the control position (from 1) that the routes come from; 0: none yet.
	Position int64
}

// Choose is the first route that matches a message to a country (ISO 3166-1 alpha-2) for a
// program; false when none does. A route without countries matches all of them, and one
// without programs all programs.
func (t Table) Choose(country, program string) (event.Route, bool) {
	for _, r := range t.Routes {
		if (len(r.Countries) == 0 || slices.Contains(r.Countries, country)) &&
			(len(r.Programs) == 0 || slices.Contains(r.Programs, program)) {
			return r, true
		}
	}
	return event.Route{}, false
}

// Carriers are the carrier accounts that routes lead to, each once.
func (t Table) Carriers() (out []string) {
	for _, r := range t.Routes {
		if !slices.Contains(out, r.Carrier) {
			out = append(out, r.Carrier)
		}
	}
	return out
}

// Leads reports whether some route leads to a carrier account.
func (t Table) Leads(carrier string) bool {
	return slices.ContainsFunc(t.Routes, func(r event.Route) bool { return r.Carrier == carrier })
}
