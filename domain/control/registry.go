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
	// senders and entity are its sender IDs and its legal entity in the form in which they are
	// compared.
	senders []string
	entity  string
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
	owners   map[string][]*Program          // by sender ID, exactly as it is registered
	senders  claims                         // of sender IDs
	entities claims                         // of legal entities
	named    map[string][]string            // the legal entities that a tenant's programs have or had, as written, by tenant
	epoch    Epoch                          // with its vault
	level    int                            // 0: none was raised
	routes   routing.Table
	pauses   []*Pause
	policy   *event.PolicyActivated
}

// Apply returns the registry after the control event at index. matters says whether the event can
// change a decision; if not, the registry is the same.
func (r *Registry) Apply(index int64, e *event.Event) (next *Registry, matters bool) {
	n := *r
	n.Position, n.Event = index+1, e.ID
	switch d := e.Data.(type) {
	case *event.ProgramChanged:
		p := &Program{ProgramChanged: d, Tenant: e.Tenant, Event: e.ID, At: e.Time,
			Position: event.Position{Partition: event.ControlPartition, Index: index}, entity: EntityForm(d.LegalEntity)}
		for _, s := range d.Senders {
			p.senders = append(p.senders, SenderForm(s))
		}
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
		before := of[d.Name]
		of[d.Name] = p
		n.programs[e.Tenant] = of
		n.claim(e.Tenant, before, p)
		if !slices.Contains(r.named[e.Tenant], d.LegalEntity) {
			if n.named = maps.Clone(r.named); n.named == nil {
				n.named = map[string][]string{}
			}
			n.named[e.Tenant] = append(slices.Clone(n.named[e.Tenant]), d.LegalEntity)
		}
		n.index()
	case *event.OwnerGranted:
		if d.Sender != "" {
			n.senders = r.senders.grantedTo(e.Tenant, SenderForm(d.Sender))
		}
		if d.LegalEntity != "" {
			n.entities = r.entities.grantedTo(e.Tenant, EntityForm(d.LegalEntity))
		}
		n.index()
	case *event.LevelRaised:
		if d.Level != r.Level()+1 {
			return r, false // two operators raised it at the same time
		}
		n.level = d.Level
	case *event.VaultBound, *event.EpochBegan, *event.EpochReleased:
		if n.epoch, matters = r.Epoch().apply(e); !matters {
			return r, false
		}
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

// without is the pauses in force but the one of exactly that tenant, program and carrier.
func (r *Registry) without(tenant, program, carrier string) []*Pause {
	return slices.DeleteFunc(slices.Clone(r.pauses), func(p *Pause) bool {
		return p.Tenant == tenant && p.Program == program && p.Carrier == carrier
	})
}

// index fills owners: the programs that register a sender ID; of one that was granted, those of
// its owner.
func (r *Registry) index() {
	r.owners = map[string][]*Program{}
	for _, tenant := range slices.Sorted(maps.Keys(r.programs)) {
		for _, name := range slices.Sorted(maps.Keys(r.programs[tenant])) {
			p := r.programs[tenant][name]
			for i, s := range p.Senders {
				if owner, granted := r.senders.owner(p.senders[i]); !granted || owner == tenant {
					r.owners[s] = append(r.owners[s], p)
				}
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

// Owners are the programs that register a sender ID, in order of tenant and name. If an operator
// has granted it, they are those of its owner alone. Without a grant they are those of every
// tenant that registers it, so that a STOP to a number that tenants share reaches all of them. The
// sender ID is compared exactly.
func (r *Registry) Owners(sender string) []*Program { return r.owners[sender] }

// Routes is the route table in force.
func (r *Registry) Routes() routing.Table { return r.routes }

// Policy is the bundle in force; nil before the first activation.
func (r *Registry) Policy() *event.PolicyActivated { return r.policy }

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
