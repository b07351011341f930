package kafkalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Members is how many members the group has now: nodes that serve partitions, or will soon.
func (p *Placement) Members(ctx context.Context) (int, error) {
	client, err := p.cfg.client()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DeliverWithin)
	defer cancel()
	for tries := 1; ; tries++ {
		groups, err := kadm.NewClient(client).DescribeGroups(ctx, p.group)
		if err == nil {
			err = groups[p.group].Err
		}
		if errors.Is(err, kerr.GroupIDNotFound) {
			return 0, nil
		}
		if err == nil {
			return len(groups[p.group].Members), nil
		}
		// A cluster that never had a group needs some seconds to find a coordinator for one.
		if engine.Pause(ctx, engine.Backoff(tries)); ctx.Err() != nil {
			return 0, fmt.Errorf("ask for the members of the group %s: %w", p.group, err)
		}
	}
}
