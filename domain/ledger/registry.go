package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
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
	routes   []event.Route
	table    int64 // the position that the routes come from
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
		n.routes, n.table = d.Routes, n.Position
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

// Route is the first route that matches, and the control position of its table.
func (r *Registry) Route(country, program string) (event.Route, int64, bool) {
	for _, t := range r.routes {
		if (len(t.Countries) == 0 || slices.Contains(t.Countries, country)) &&
			(len(t.Programs) == 0 || slices.Contains(t.Programs, program)) {
			return t, r.table, true
		}
	}
	return event.Route{}, 0, false
}

// Routes is the whole table.
func (r *Registry) Routes() []event.Route { return r.routes }

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

// Control reads the control stream and keeps the registry of every position at
// which a decision could change, so that a partition finds the one that its own
// ControlApplied names. Control events are few: hundreds in a year.
type Control struct {
	log  Log
	mu   sync.Mutex
	all  map[int64]*Registry
	last *Registry
	read int64 // events read
	// waiting are those that were read and not applied: the first is no event of this
	// ledger, and none of the others accepts it.
	waiting  []Record
	accepted map[event.Position][]string
	seen     map[event.ID]bool // applied: a copy changes nothing
	good     func()            // told of every read that succeeded; may be nil
	changed  chan struct{}
}

// NewControl returns a control reader that has read nothing.
func NewControl(log Log) *Control {
	empty := &Registry{}
	return &Control{log: log, all: map[int64]*Registry{0: empty}, last: empty, accepted: map[event.Position][]string{}, seen: map[event.ID]bool{}, changed: make(chan struct{})}
}

// Take applies records read from the control stream, in order.
func (c *Control) Take(records []Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range records {
		if r.Index != c.read {
			continue
		}
		c.read++
		c.waiting = append(c.waiting, r)
		if r.Bad != nil {
			continue
		}
		// Acceptances count as soon as they are read: they may be about what they wait behind.
		if d, ok := r.Event.Data.(*event.RecordAccepted); ok {
			if at, err := event.ParsePosition(d.Position); err == nil {
				c.accepted[at] = append(c.accepted[at], d.Hash)
			}
		}
	}
	for len(c.waiting) > 0 {
		r := c.waiting[0]
		if r.Bad != nil {
			if !slices.Contains(c.accepted[event.Position{Partition: event.ControlPartition, Index: r.Index}], hashOf(r.Raw)) {
				break
			}
		} else if !c.seen[r.Event.ID] {
			c.seen[r.Event.ID] = true
			if next, matters := c.last.Apply(r.Index, r.Event); matters {
				c.last = next
				c.all[next.Position] = next
			}
		}
		c.waiting = c.waiting[1:]
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func hashOf(raw []byte) string {
	h := sha256.Sum256(raw)
	return hex.EncodeToString(h[:])
}

// Accepted reports whether an operator has accepted the record with these bytes, at
// that position, as an opaque leaf.
func (c *Control) Accepted(at event.Position, raw []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	hashes := c.accepted[at]
	return len(hashes) > 0 && slices.Contains(hashes, hashOf(raw))
}

// Bad says why control cannot be read on: a record in it is no event of this ledger
// and was not accepted. Nothing may be decided then, since a pause may stand behind it.
func (c *Control) Bad() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrDamaged, event.Position{Partition: event.ControlPartition, Index: c.waiting[0].Index}, c.waiting[0].Bad)
}

// Run reads the control stream until ctx is done.
func (c *Control) Run(ctx context.Context) error {
	// At the head a read waits, perhaps for days: that it can be read is known before.
	_, head, err := c.log.Read(ctx, event.ControlPartition, 0, 0)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		c.mu.Lock()
		from := c.read
		c.mu.Unlock()
		if c.good != nil && from >= head {
			c.good()
		}
		records, _, err := c.log.Read(ctx, event.ControlPartition, from, 1000)
		if err != nil {
			return err
		}
		if len(records) > 0 {
			c.Take(records)
		}
	}
	return nil
}

// Latest is the registry of the newest position read, and a channel that is
// closed when there is a newer one.
func (c *Control) Latest() (*Registry, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last, c.changed
}

// At is the registry at exactly that position; nil when it was not read yet.
func (c *Control) At(position int64) *Registry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[position]
}

// Wait returns the registry at that position as soon as it was read.
func (c *Control) Wait(ctx context.Context, position int64) (*Registry, error) {
	for {
		c.mu.Lock()
		r, changed := c.all[position], c.changed
		c.mu.Unlock()
		if r != nil {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
