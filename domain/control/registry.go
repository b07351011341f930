// Package control is the fold of the control stream: programs, routes, pauses and the
// policies in force, as of every position at which a decision could change, and the
// commands that change it.
package control

import (
	"maps"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/routing"
)

// Program is one program's registration as of a control position.
type Program struct {
	*event.ProgramChanged
	Tenant   string
	Event    event.ID
	Position event.Position
	At       time.Time
}

// Pause is one that is in force.
type Pause struct {
	*event.Paused
	// Tenant is whose pause it is; "" is an operator's, for everybody.
	Tenant string
	Event  event.ID
	At     time.Time
}

// Registry is the control stream folded up to one position: programs, routes,
// pauses, the policies in force. It never changes; Apply makes the next one.
type Registry struct {
	// Position counts from 1; 0 is a ledger without any.
	Position int64
	Event    event.ID
	programs map[string]map[string]*Program // by tenant and name
	owners   map[string][]*Program          // by sender ID
	routes   routing.Table
	pauses   []*Pause
	policy   *event.PolicyActivated
}

// Apply is the registry after the control event at index, and whether the event
// can change a decision (if not, the registry is the same).
func (r *Registry) Apply(index int64, e *event.Event) (*Registry, bool) {
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
	default:
		return r, false
	}
	return &n, true
}

func (r *Registry) without(tenant, program, carrier string) []*Pause {
	return slices.DeleteFunc(slices.Clone(r.pauses), func(p *Pause) bool {
		return p.Tenant == tenant && p.Program == program && p.Carrier == carrier
	})
}

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

// Program finds a tenant's program; with no name, its default one.
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

// Owners are the programs that register a sender ID.
func (r *Registry) Owners(sender string) []*Program { return r.owners[sender] }

// Routes is the route table in force.
func (r *Registry) Routes() routing.Table { return r.routes }

// Policy is the bundle in force; nil before the first activation.
func (r *Registry) Policy() *event.PolicyActivated { return r.policy }

// Pauses are all that are in force.
func (r *Registry) Pauses() []*Pause { return r.pauses }

// Paused is the pause that keeps a message of the program from going to the
// carrier; nil when none does.
func (r *Registry) Paused(tenant, program, carrier string) *Pause {
	for _, p := range r.pauses {
		if (p.Tenant == "" || p.Tenant == tenant) && (p.Program == "" || p.Program == program) &&
			(p.Carrier == "" || p.Carrier == carrier) {
			return p
		}
	}
	return nil
}
