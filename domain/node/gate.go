package node

import (
	"context"
	"fmt"
	"sync"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Gate lets a node serve partitions only while it holds a bind of every account that
// it is configured with: what its partitions have for another account would wait for
// ever, while another node holds that account's bind.
type Gate struct {
	inner ledger.Placement

	mu      sync.Mutex
	missing map[string]bool
	changed chan struct{}
}

// NewGate puts a gate before a placement. It opens once every account is bound here.
func NewGate(inner ledger.Placement, accounts []string) *Gate {
	g := &Gate{inner: inner, missing: map[string]bool{}, changed: make(chan struct{})}
	for _, a := range accounts {
		g.missing[a] = true
	}
	return g
}

// Set says whether this node holds a bind of an account.
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

// wait returns once the gate is open, or is not.
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

// Run takes part in the inner placement while the gate is open. See ledger.Placement.
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
