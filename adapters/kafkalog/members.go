package kafkalog

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Members is how many members the group has now: nodes that serve partitions, or are
// about to.
func (p *Placement) Members(ctx context.Context) (int, error) {
	client, err := p.cfg.client()
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DeliverWithin)
	defer cancel()
	groups, err := kadm.NewClient(client).DescribeGroups(ctx, p.group)
	if err != nil {
		return 0, fmt.Errorf("ask for the members of the group %s: %w", p.group, err)
	}
	return len(groups[p.group].Members), nil
}
