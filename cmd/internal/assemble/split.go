package assemble

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// splitPatience is how long a start waits for nodes with another database to go: those that ended a moment ago
	// are members for a session more.
	splitPatience = 20 * time.Second
	// splitEvery is how often a start that waits, and a node that runs, look which databases the others use.
	splitEvery, splitWatch = time.Second, 10 * time.Second
)

// errSplit means that nodes of one ledger use two databases. Each of them would know a part of the
// idempotency keys, the views and the vault's keys.
var errSplit = errors.New("this is not the database of this ledger: other nodes that run now use another one. Two nodes with two databases would each know only a part of the idempotency keys, and send messages twice. Check postgres.url_file of every node; to change the database, stop every node first")

// split reports whether other members use another database than this node.
func split(ctx context.Context, m Member, own string) (others []string, err error) {
	all, err := m.Databases(ctx)
	return slices.DeleteFunc(all, func(id string) bool { return id == own }), err
}

// refuseSplit returns errSplit if nodes that run use another database, and go on to.
func refuseSplit(ctx context.Context, m Member, own string) error {
	if own == "" {
		return nil
	}
	for end := time.Now().Add(splitPatience); ; {
		others, err := split(ctx, m, own)
		if err != nil {
			return fmt.Errorf("which databases the other nodes use cannot be found out: %w", err)
		}
		if len(others) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return errSplit
		}
		select {
		case <-time.After(splitEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watchSplit returns errSplit when it finds that members use another database: two nodes that started in the
// same moment. Of the two, those with the greater identity end. It returns nil when ctx is done. Errors of
// the servers are passed over: others tell them.
func watchSplit(ctx context.Context, m Member, own string) error {
	t := time.NewTicker(splitWatch)
	defer t.Stop()
	for own != "" {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		if others, err := split(ctx, m, own); err == nil && len(others) > 0 && own > others[0] {
			return errSplit
		}
	}
	return nil
}
