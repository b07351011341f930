// Package control folds the control stream into a registry of programs, routes, pauses and
// policies, as of every position at which a decision could change, and has the commands that
// change control. It decides nothing about a message: see package decision.
package control

import (
	"maps"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/routing"
)

// Program is one program's registration, as of a control position.
type Program struct {
	*event.ProgramChanged
	Tenant   string
	Event    event.ID
	Position event.Position
	At       time.Time
}

// Pause is a pause that is in force.
type Pause struct {
	*event.Paused
	// Tenant is the tenant that it covers; "" for an operator's pause, which covers all tenants.
	Tenant string
	Event  event.ID
	At     time.Time
}

// Registry is the control stream, folded up to one position: programs, routes, pauses, and the
// policies in force. A Registry never changes; Apply makes the next one.
type Registry struct {
	// Position counts from 1. 0 means that there was no control event yet.
	Position int64
	Event    event.ID
	programs map[string]map[string]*Program // by tenant and name
	owners   map[string][]*Program          // by sender ID
	routes   routing.Table
	pauses   []*Pause
	policy   *event.PolicyActivated
	level    int // 0 is level 1: it was never raised
}

// Apply returns the registry after the control event at index. matters says whether the event can
// change a decision; if not, the registry is the same.
func (r *Registry) Apply(index int64, e *event.Event) (next *Registry, matters bool) {
	n := *r
	n.Position, n.Event = index+1, e.ID
	switch d := e.Data.(type) {
	case *event.ProgramChanged:
		p := &Program{ProgramChanged: d, Tenant: e.Tenant, Event: e.ID, At: e.Time,
			Position: event.Position{Partition: event.ControlPartition, Index: index}}
		n.programs = maps.Clone(r.programs)
		if n.programs == nil {
			n.programs = map[string]map[string]*Program{}
		}
		of := maps.Clone(n.programs[e.Tenant])
		if of == nil {
			of = map[string]*Program{}
		}
		if d.Default {
			for name, other := range of {
				if other.Default {
					c := *other
					data := *other.ProgramChanged
					data.Default = false
					c.ProgramChanged = &data
					of[name] = &c
				}
			}
		}
		of[d.Name] = p
		n.programs[e.Tenant] = of
		n.index()
	case *event.RoutesChanged:
		n.routes = routing.Table{Routes: d.Routes, Position: n.Position}
	case *event.PolicyActivated:
		n.policy = d
	case *event.Paused:
		n.pauses = append(slices.Clone(n.without(e.Tenant, d.Program, d.Carrier)), &Pause{d, e.Tenant, e.ID, e.Time})
	case *event.Resumed:
		n.pauses = n.without(e.Tenant, d.Program, d.Carrier)
	case *event.LevelRaised:
		n.level = d.Level
	default:
		return r, false
	}
	return &n, true
}

// without is the pauses in force but the one of exactly that tenant, program and carrier.
func (r *Registry) without(tenant, program, carrier string) []*Pause {
	return slices.DeleteFunc(slices.Clone(r.pauses), func(p *Pause) bool {
		return p.Tenant == tenant && p.Program == program && p.Carrier == carrier
	})
}

// index fills owners.
func (r *Registry) index() {
	r.owners = map[string][]*Program{}
	for _, tenant := range slices.Sorted(maps.Keys(r.programs)) {
		for _, name := range slices.Sorted(maps.Keys(r.programs[tenant])) {
			p := r.programs[tenant][name]
			for _, s := range p.Senders {
				r.owners[s] = append(r.owners[s], p)
			}
		}
	}
}

// Program finds a tenant's program by its name, or the tenant's default program if name is "". It
// returns nil if there is none.
func (r *Registry) Program(tenant, name string) *Program {
	if name != "" {
		return r.programs[tenant][name]
	}
	for _, p := range r.programs[tenant] {
		if p.Default {
			return p
		}
	}
	return nil
}

// Programs lists a tenant's programs by name.
func (r *Registry) Programs(tenant string) []*Program {
	of := r.programs[tenant]
	out := make([]*Program, 0, len(of))
	for _, name := range slices.Sorted(maps.Keys(of)) {
		out = append(out, of[name])
	}
	return out
}

// Tenants lists all tenants that have a program.
func (r *Registry) Tenants() []string { return slices.Sorted(maps.Keys(r.programs)) }

// Owners are the programs that register a sender ID, in order of tenant and name.
func (r *Registry) Owners(sender string) []*Program { return r.owners[sender] }

// Routes is the route table in force.
func (r *Registry) Routes() routing.Table { return r.routes }

// Policy is the bundle in force; nil before the first activation.
func (r *Registry) Policy() *event.PolicyActivated { return r.policy }

// Level is the format level in force. A ledger begins at level 1.
func (r *Registry) Level() int { return max(1, r.level) }

// Pauses are all pauses in force.
func (r *Registry) Pauses() []*Pause { return r.pauses }

// Paused is a pause that keeps a message of the program from going to the carrier; nil if there
// is none.
func (r *Registry) Paused(tenant, program, carrier string) *Pause {
	for _, p := range r.pauses {
		if (p.Tenant == "" || p.Tenant == tenant) && (p.Program == "" || p.Program == program) &&
			(p.Carrier == "" || p.Carrier == carrier) {
			return p
		}
	}
	return nil
}
