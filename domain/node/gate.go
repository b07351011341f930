package node

import (
	"context"
	"fmt"
	"sync"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Gate is a Placement that lets a node serve partitions only while the node has a bind of every
// carrier account in its configuration. Without that, messages of its partitions would wait for
// ever for an account whose bind another node has.
type Gate struct {
	inner ledger.Placement

	mu      sync.Mutex
	missing map[string]bool
	changed chan struct{}
}

// NewGate returns a Gate before the placement inner. The gate is closed until every account is
// bound here.
func NewGate(inner ledger.Placement, accounts []string) *Gate {
	g := &Gate{inner: inner, missing: map[string]bool{}, changed: make(chan struct{})}
	for _, a := range accounts {
		g.missing[a] = true
	}
	return g
}

// Set tells the gate whether this node has a bind of an account.
func (g *Gate) Set(account string, bind bool) {
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

// wait returns when the gate is open, or closed, as asked, or when ctx is done.
func (g *Gate) wait(ctx context.Context, open bool) {
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

// Run runs the inner placement while the gate is open. See ledger.Placement.
func (g *Gate) Run(ctx context.Context, gained, lost func([]event.Partition)) error {
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
