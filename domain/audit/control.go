package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/chirograph/chirograph/domain/event"
)

// control is what the promises need of the control stream, by position. Positions count from 1,
// as in an event's envelope. Everything is kept: control events are few.
type control struct {
	ids      map[int64]event.ID // by position
	head     int64              // the highest position
	programs map[programKey][]registration
	levels   []raise
	grants   []grant
	policies []activation
	tables   []routeTable
	pauses   []pause
	epochs   epochs
	applied  map[event.ID]bool
	// accepted are the hashes of the records that an operator accepted as opaque leaves.
	accepted map[event.Position][]string
	// bad are records of control that are no events of this ledger. They are reported at
	// the end of control, because a later event may accept them.
	bad []badRecord
}

// badRecord is a record of control that is no event of this ledger, and the finding for it.
type badRecord struct {
	index int64
	hash  string
	code  Code
	text  string
}

func hashOf(raw []byte) string {
	h := sha256.Sum256(raw)
	return hex.EncodeToString(h[:])
}

// accepts reports whether an operator accepted the record with these bytes, at that position, as
// an opaque leaf.
func (c *control) accepts(at event.Position, raw []byte) bool {
	hashes := c.accepted[at]
	return len(hashes) > 0 && slices.Contains(hashes, hashOf(raw))
}

// addBad keeps a record of control that is no event of this ledger. Its position counts all the
// same.
func (c *control) addBad(index int64, raw []byte, code Code, text string) {
	c.record(index+1, event.ID{})
	c.bad = append(c.bad, badRecord{index, hashOf(raw), code, text})
}

// reportBad calls find for each bad record that no event of control accepts, and
// returns how many are accepted.
func (c *control) reportBad(find func(index int64, code Code, text string)) (accepted int64) {
	for _, d := range c.bad {
		if slices.Contains(c.accepted[event.Position{Partition: event.ControlPartition, Index: d.index}], d.hash) {
			accepted++
			continue
		}
		find(d.index, d.code, d.text)
	}
	c.bad = nil
	return accepted
}

type programKey struct{ tenant, name string }

// registration says which legal entity and sender IDs a program has from a position on.
type registration struct {
	from    int64
	entity  string
	senders []string
}

// raise says which format level the ledger has from a position on.
type raise struct {
	from  int64
	level int
}

// grant says which tenant alone has a sender ID from a position on.
type grant struct {
	from           int64
	sender, tenant string
}

// activation says which policies are in force from a position on.
type activation struct {
	from             int64
	revision, digest string
}

// routeTable says which routes are in force from a position on.
type routeTable struct {
	from   int64
	routes []event.Route
}

// pause is in force from the position from up to, but not including, the position to; to is 0
// while it is in force.
type pause struct {
	from, to                 int64
	tenant, program, carrier string
}

// record keeps the id of the event at a position; the zero id if the event cannot be read.
func (c *control) record(at int64, id event.ID) {
	if c.ids == nil {
		c.ids = map[int64]event.ID{}
	}
	c.ids[at] = id
	c.head = max(c.head, at)
}

// take applies a control event.
func (c *control) take(at int64, e *event.Event) {
	c.record(at, e.ID)
	if c.applied[e.ID] { // a copy changes nothing
		return
	}
	if c.applied == nil {
		c.applied = map[event.ID]bool{}
	}
	c.applied[e.ID] = true
	c.epochs.take(at, e)
	switch d := e.Data.(type) {
	case *event.RecordAccepted:
		if p, err := event.ParsePosition(d.Position); err == nil {
			if c.accepted == nil {
				c.accepted = map[event.Position][]string{}
			}
			c.accepted[p] = append(c.accepted[p], d.Hash)
		}
	case *event.ProgramChanged:
		k := programKey{e.Tenant, d.Name}
		if c.programs == nil {
			c.programs = map[programKey][]registration{}
		}
		c.programs[k] = append(c.programs[k], registration{at, d.LegalEntity, d.Senders})
	case *event.LevelRaised:
		if d.Level == c.level(at)+1 { // another: two operators raised it at the same time
			c.levels = append(c.levels, raise{at, d.Level})
		}
	case *event.OwnerGranted:
		c.grants = append(c.grants, grant{at, d.Sender, e.Tenant})
	case *event.PolicyActivated:
		c.policies = append(c.policies, activation{at, d.Revision, d.Digest})
	case *event.RoutesChanged:
		c.tables = append(c.tables, routeTable{at, d.Routes})
	case *event.Paused:
		c.pauses = append(c.pauses, pause{from: at, tenant: e.Tenant, program: d.Program, carrier: d.Carrier})
	case *event.Resumed:
		for i := range c.pauses {
			p := &c.pauses[i]
			if p.to == 0 && p.tenant == e.Tenant && p.program == d.Program && p.carrier == d.Carrier {
				p.to = at
			}
		}
	}
}

// entity is the legal entity for which a program was registered, as of a position.
func (c *control) entity(at int64, tenant, program string) (entity string, ok bool) {
	for _, r := range c.programs[programKey{tenant, program}] {
		if r.from <= at {
			entity, ok = r.entity, true
		}
	}
	return entity, ok
}

// level is the ledger's format level at a position.
func (c *control) level(at int64) int {
	level := 1
	for _, r := range c.levels {
		if r.from <= at {
			level = r.level
		}
	}
	return level
}

// reached are the legal entities of a tenant's programs that register a number as their sender ID, as of a
// position, in order. There are none if the number was granted to another tenant.
func (c *control) reached(at int64, tenant, number string) (entities []string) {
	for _, g := range c.grants {
		if g.from <= at && g.sender == number && number != "" {
			entities = []string{g.tenant}
		}
	}
	if entities != nil && entities[0] != tenant {
		return nil
	}
	entities = nil
	for k, all := range c.programs {
		var in registration
		for _, r := range all {
			if r.from <= at {
				in = r
			}
		}
		if k.tenant == tenant && slices.Contains(in.senders, number) && !slices.Contains(entities, in.entity) {
			entities = append(entities, in.entity)
		}
	}
	slices.Sort(entities)
	return entities
}

// policy says which policies were in force at a position; nil if none were.
func (c *control) policy(at int64) (in *activation) {
	for i := range c.policies {
		if c.policies[i].from <= at {
			in = &c.policies[i]
		}
	}
	return in
}

// routed reports whether the route table in force at a position is the one that the route names,
// and has its rule with its carrier.
func (c *control) routed(at int64, d *event.MessageRouted) bool {
	var in *routeTable
	for i := range c.tables {
		if c.tables[i].from <= at {
			in = &c.tables[i]
		}
	}
	return in != nil && in.from == d.Table &&
		slices.ContainsFunc(in.routes, func(r event.Route) bool { return r.Rule == d.Rule && r.Carrier == d.Carrier })
}

// paused is a pause that, at a position, keeps a program's messages from a carrier; nil if there
// is none. A pause without a tenant is an operator's pause and covers all tenants.
func (c *control) paused(at int64, tenant, program, carrier string) *pause {
	for i := range c.pauses {
		p := &c.pauses[i]
		if p.from <= at && (p.to == 0 || at < p.to) &&
			(p.tenant == "" || p.tenant == tenant) &&
			(p.program == "" || p.program == program) &&
			(p.carrier == "" || p.carrier == carrier) {
			return p
		}
	}
	return nil
}
