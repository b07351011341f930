package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/cluster"
	smpp "github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/policies"
)

// shared is what the nodes of a cluster have in common besides the ledger and the
// views.
type shared struct {
	*cluster.Cluster
	cfg *Config
}

// openWithin bounds how long opening a cluster's data waits for its engine and PostgreSQL.
const openWithin = time.Minute

// openCluster opens what a cluster shares. With create a missing vault is made, by
// whoever comes first, but only beside a new ledger: another vault would open nothing
// and give every number another stream, so that no opt-out would be found.
func openCluster(ctx context.Context, cfg *Config, create bool) (_ *data, err error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	d := &data{}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	log, err := cfg.cluster().open(ctx, 0)
	if err != nil {
		return nil, err
	}
	d.log = log
	if create {
		if create, err = untouched(ctx, log); err != nil {
			return nil, err
		}
	}
	_, had := os.Stat(cfg.MasterKeyFile)
	if d.vault, err = vault.OpenPostgres(ctx, cfg.Postgres.url, cfg.MasterKeyFile, vault.Options{Create: create}); err != nil {
		return nil, err
	}
	if had != nil {
		fmt.Fprintf(os.Stderr, "A new vault was made in PostgreSQL, and its master key in %s. Back up both now, apart from the ledger, and give every node the file: without it nobody can read what the ledger says, and no number finds its stream.\n", cfg.MasterKeyFile)
	}
	if d.views, err = sqldb.OpenPostgres(ctx, cfg.Postgres.url, d.viewOptions()); err != nil {
		return nil, err
	}
	c, err := cluster.Open(ctx, cfg.Postgres.url)
	if err != nil {
		return nil, err
	}
	d.cluster = &shared{c, cfg}
	d.parts = append(d.parts, part{cfg.Engine, log.Health}, part{"postgres views", d.views.Health},
		part{"postgres vault", d.vault.Health}, part{"postgres leases", c.Health})
	d.policy, err = policies.Builtin()
	return d, err
}

// untouched reports whether a ledger holds nothing but its beginning.
func untouched(ctx context.Context, log ledger.Log) (bool, error) {
	for _, p := range partitionsOf(log) {
		_, head, err := log.Read(ctx, p, 0, 0)
		if err != nil {
			return false, err
		}
		if head > 1 || head == 1 && p != event.ControlPartition {
			return false, nil
		}
	}
	return true, nil
}

// joined opens what a cluster shares for one of its nodes.
func (r *running) joined(ctx context.Context, cfg *Config) error {
	d, err := openCluster(ctx, cfg, true)
	if err != nil {
		return err
	}
	var accounts []cluster.Account
	for _, c := range cfg.Carriers {
		accounts = append(accounts, cluster.Account{Name: c.Account, TPS: c.TPS, Binds: c.Binds})
	}
	place, err := cfg.cluster().member(cfg.Node)
	if err != nil {
		return errors.Join(err, d.close())
	}
	g := newGate(place, accounts)
	r.d = d
	if r.node, r.clients, err = newNode(d, cfg.Node, g, cfg.carriers(), cfg.clerk(), r.log); err != nil {
		return errors.Join(err, d.close())
	}
	clients := map[string]*smpp.Client{}
	for _, c := range r.clients {
		c.SetShare(false, 0) // until there is a lease
		clients[c.Account()] = c
	}
	r.shares = func(ctx context.Context) error {
		return d.cluster.Shares(ctx, cfg.Node, accounts, func(account string, s cluster.Share) {
			clients[account].SetShare(s.Bind, s.TPS)
			g.set(account, s.Bind)
		})
	}
	return nil
}

// visitor is the placement of a command that changes control: nothing, where nodes
// run, which bring it into force; else everything, for a moment.
func (s *shared) visitor(ctx context.Context) (ledger.Placement, error) {
	p, err := s.cfg.cluster().member(s.cfg.Node)
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

// gate lets a node serve partitions only while it holds a bind of every account that
// it is configured with: what its partitions have for another account would wait for
// ever, while another node holds that account's bind.
type gate struct {
	inner ledger.Placement

	mu      sync.Mutex
	missing map[string]bool
	changed chan struct{}
}

func newGate(inner ledger.Placement, accounts []cluster.Account) *gate {
	g := &gate{inner: inner, missing: map[string]bool{}, changed: make(chan struct{})}
	for _, a := range accounts {
		g.missing[a.Name] = true
	}
	return g
}

func (g *gate) set(account string, bind bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if bind {
		delete(g.missing, account)
	} else {
		g.missing[account] = true
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// wait returns once the gate is open, or is not.
func (g *gate) wait(ctx context.Context, open bool) {
	for {
		g.mu.Lock()
		is, changed := len(g.missing) == 0, g.changed
		g.mu.Unlock()
		if is == open {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Run is part of ledger.Placement.
func (g *gate) Run(ctx context.Context, gained, lost func([]event.Partition)) error {
	for {
		g.wait(ctx, true)
		if ctx.Err() != nil {
			return nil
		}
		within, stop := context.WithCancel(ctx)
		watch := make(chan struct{})
		go func() {
			defer close(watch)
			g.wait(within, false)
			stop()
		}()
		err := g.inner.Run(within, gained, lost)
		stop()
		<-watch
		if err != nil {
			return fmt.Errorf("share the partitions: %w", err)
		}
	}
}
