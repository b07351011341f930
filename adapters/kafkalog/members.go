package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Members is how many members the group has now: nodes that serve partitions, or will soon.
func (p *Placement) Members(ctx context.Context) (int, error) {
	members, err := p.members(ctx)
	return len(members), err
}

// Databases are the identities of the databases that the members of the group use now (Config.Database), each
// once, in order. Members that do not tell theirs, such as those of an older version, are left out.
func (p *Placement) Databases(ctx context.Context) ([]string, error) {
	members, err := p.members(ctx)
	var out []string
	for _, m := range members {
		if id, ok := strings.CutPrefix(m.ClientID, databaseMark); ok {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

func (p *Placement) members(ctx context.Context) ([]kadm.DescribedGroupMember, error) {
	client, err := p.cfg.client()
	if err != nil {
		return nil, err
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
			return nil, nil
		}
		if err == nil {
			return groups[p.group].Members, nil
		}
		// A cluster that never had a group needs some seconds to find a coordinator for one.
		if engine.Pause(ctx, engine.Backoff(tries)); ctx.Err() != nil {
			return nil, fmt.Errorf("ask for the members of the group %s: %w", p.group, err)
		}
	}
}
