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
	} else if d, err = OpenFolder(cfg.Data, cfg.MasterKeyFile, true, false); err == nil {
		err = d.Begin(cfg.Node)
	}
	if err != nil {
		if d != nil {
			err = errors.Join(err, d.Close())
		}
		return err
	}
	node, _, err := NewNode(d, cfg.Node, placement, nil, clerk.Config{}, cfg.Logger(os.Stderr))
	if err != nil {
		return errors.Join(err, d.Close())
	}
	run, err := node.Start(ctx)
	if err == nil {
		within, cancel := context.WithTimeout(ctx, applyWithin)
		err = Apply(within, node, d, "config", cfg.Registrations(), cfg.RouteTable())
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

// Apply makes the ledger's control say what it should, with an event for each
// difference and none where it says so already.
func Apply(ctx context.Context, node *node.Node, d *Data, by string, programs map[string][]*event.ProgramChanged, routes []event.Route) error {
	reg := node.Registry()
	if _, digest := d.Policy.Bundle(); reg.Policy() == nil || reg.Policy().Digest != digest {
		if _, err := node.Commands().ActivatePolicy(ctx, ledger.Caller{Key: by}); err != nil {
			return err
		}
	}
	if !reflect.DeepEqual(reg.Routes().Routes, routes) && len(routes) > 0 {
		if _, err := node.Commands().SetRoutes(ctx, ledger.Caller{Key: by}, routes); err != nil {
			return err
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(programs)) {
		for _, p := range programs[tenant] {
			if now := reg.Program(tenant, p.Name); now != nil {
				same := *now.ProgramChanged
				same.By = p.By
				if reflect.DeepEqual(&same, p) {
					continue
				}
			}
			if _, err := node.Commands().PutProgram(ctx, ledger.Caller{Tenant: tenant, Key: by}, p); err != nil {
				return fmt.Errorf("program %s of tenant %s: %w", p.Name, tenant, err)
			}
		}
	}
	return nil
}

// visitor is the placement of a command that changes control: nothing, where nodes
// run, which bring it into force; else everything, for a moment.
func (s *shared) visitor(ctx context.Context) (ledger.Placement, error) {
	p, err := s.engine.Member(s.cfg.Node)
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
