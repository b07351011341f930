package assemble

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
)

// applyWithin bounds how long it takes until what a configuration changes is in force.
const applyWithin = 2 * time.Minute

// ApplyConfig puts a file's programs, routes and policies into the ledger, as
// control events. With the embedded engine no other process may have the data
// folder; on a cluster the nodes that run bring them into force.
func ApplyConfig(ctx context.Context, cfg *config.Config) error {
	var d *Data
	var placement ledger.Placement
	var err error
	if cfg.IsShared() {
		if d, err = OpenShared(ctx, cfg, true); err != nil {
			return err
		}
		placement, err = d.cluster.visitor(ctx)
	} else if d, err = OpenFolder(Folder{Dir: cfg.Data, MasterKey: cfg.MasterKeyFile, Create: true}); err == nil {
		err = d.Begin(cfg.Node, false)
	}
	if err != nil {
		if d != nil {
			err = errors.Join(err, d.Close())
		}
		return err
	}
	d.World = cfg.World()
	node, _, err := NewNode(d, cfg.Node, placement, nil, clerk.Config{}, cfg.Logger(os.Stderr))
	if err != nil {
		return errors.Join(err, d.Close())
	}
	run, err := node.Start(ctx)
	if err == nil {
		within, cancel := context.WithTimeout(ctx, applyWithin)
		if d.cluster == nil { // on one machine no node of an older version can be beside this command
			_, err = node.Commands().RaiseLevel(within, "config apply")
		}
		if err == nil {
			err = Apply(within, node, d, "config", &Wanted{Owners: cfg.Grants(), Programs: cfg.Registrations(), Routes: cfg.RouteTable()})
		}
		cancel()
		if errors.Is(err, ledger.ErrUnknown) {
			err = fmt.Errorf("the change was recorded, but after %s it is not in force in every partition: check that every partition is served, and check /readyz of the nodes: %w", applyWithin, err)
		}
	}
	if run != nil {
		err = errors.Join(err, run.Stop(ctx))
	}
	return errors.Join(err, d.Close())
}

// Wanted is what a ledger's control should say.
type Wanted struct {
	// Owners are what is granted to each tenant. What they do not name keeps its owner.
	Owners map[string][]*event.OwnerGranted
	// Programs are registrations of each tenant. Other programs are not changed.
	Programs map[string][]*event.ProgramChanged
	// Routes are the whole route table; empty: it is not changed.
	Routes []event.Route
}

// ErrNothingApplied means that Apply changed nothing, because the ledger is not ready for it.
var ErrNothingApplied = errors.New("nothing was applied")

// Apply makes the ledger's control say what it should, with an event for each
// difference and none where it says so already.
func Apply(ctx context.Context, node *node.Node, d *Data, by string, w *Wanted) error {
	reg := node.Registry()
	changes := w.changes(reg)
	if err := changes.fit(reg); err != nil {
		return err
	}
	if _, digest := d.Policy.Bundle(); reg.Policy() == nil || reg.Policy().Digest != digest {
		if _, err := node.Commands().ActivatePolicy(ctx, ledger.Caller{Key: by}); err != nil {
			return err
		}
	}
	if len(changes.routes) > 0 {
		if _, err := node.Commands().SetRoutes(ctx, ledger.Caller{Key: by}, changes.routes); err != nil {
			return err
		}
	}
	for _, x := range changes.owners {
		if _, err := node.Commands().GrantOwner(ctx, ledger.Caller{Key: by}, x.tenant, x.data); err != nil {
			return fmt.Errorf("the grant to tenant %s: %w", x.tenant, err)
		}
	}
	return register(ctx, node, by, changes.programs)
}

// register registers programs. A program may take over a sender ID or a legal entity that another
// program in the list gives up, so those that are refused for that are tried once more after the
// others.
func register(ctx context.Context, node *node.Node, by string, programs []of[*event.ProgramChanged]) error {
	for len(programs) > 0 {
		var refused []of[*event.ProgramChanged]
		var first error
		for _, x := range programs {
			_, err := node.Commands().PutProgram(ctx, ledger.Caller{Tenant: x.tenant, Key: by}, x.data)
			if err == nil {
				continue
			}
			err = fmt.Errorf("program %s of tenant %s: %w", x.data.Name, x.tenant, err)
			var refusal *ledger.Refusal
			if !errors.As(err, &refusal) || refusal.Code != "sender_owned" && refusal.Code != "entity_owned" {
				return err
			}
			refused = append(refused, x)
			if first == nil {
				first = err
			}
		}
		if len(refused) == len(programs) {
			return first
		}
		programs = refused
	}
	return nil
}

// of is what is to be recorded of a tenant.
type of[T event.Data] struct {
	tenant string
	data   T
}

// changes are what is wanted and is not so yet.
type changes struct {
	owners   []of[*event.OwnerGranted]
	programs []of[*event.ProgramChanged]
	routes   []event.Route
}

func (w *Wanted) changes(reg *control.Registry) (c changes) {
	if !reflect.DeepEqual(reg.Routes().Routes, w.Routes) {
		c.routes = w.Routes
	}
	for _, tenant := range slices.Sorted(maps.Keys(w.Owners)) {
		for _, g := range w.Owners[tenant] {
			owner, granted := reg.Owner(g.Sender)
			if g.LegalEntity != "" {
				owner, granted = reg.EntityOwner(g.LegalEntity)
			}
			if !granted || owner != tenant {
				c.owners = append(c.owners, of[*event.OwnerGranted]{tenant, g})
			}
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(w.Programs)) {
		for _, p := range w.Programs[tenant] {
			if now := reg.Program(tenant, p.Name); now != nil {
				same := *now.ProgramChanged
				same.By = p.By
				if reflect.DeepEqual(&same, p) {
					continue
				}
			}
			c.programs = append(c.programs, of[*event.ProgramChanged]{tenant, p})
		}
	}
	return c
}

// fit reports with ErrNothingApplied what the ledger's format level does not allow.
func (c *changes) fit(reg *control.Registry) error {
	var all []event.Data
	for _, x := range c.owners {
		all = append(all, x.data)
	}
	for _, x := range c.programs {
		all = append(all, x.data)
	}
	for _, d := range all {
		var refusal *ledger.Refusal
		if errors.As(reg.Writable(d), &refusal) {
			return fmt.Errorf("%w: %s", ErrNothingApplied, refusal.Text)
		}
	}
	return nil
}

// visitor is the placement of a command that changes control: nothing, where nodes
// run, which bring it into force; else everything, for a moment.
func (s *shared) visitor(ctx context.Context) (ledger.Placement, error) {
	p, err := s.engine.Member(s.cfg.Node, s.Identity())
	if err != nil {
		return nil, err
	}
	n, err := p.Members(ctx)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		return nowhere{}, nil
	}
	return p, nil
}

// nowhere serves no partition.
type nowhere struct{}

// Run is part of ledger.Placement.
func (nowhere) Run(ctx context.Context, _, _ func([]event.Partition)) error {
	<-ctx.Done()
	return nil
}
