package control

import (
	"context"
	"fmt"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// SetRoutes replaces the whole route table, for every tenant, and returns when every partition
// decides under it.
func (k *Commands) SetRoutes(ctx context.Context, c ledger.Caller, routes []event.Route) (event.Position, error) {
	for i, r := range routes {
		if r.Rule == "" || r.Carrier == "" {
			return event.Position{}, refuse("invalid_route", fmt.Sprintf("/%d", i), "A route needs a name (rule) and a carrier.")
		}
	}
	return k.change(ctx, "", &event.RoutesChanged{Routes: routes, By: c.Key})
}

// ActivatePolicy puts the policies that this node has loaded into force, and returns when every
// partition decides under them. A node that has loaded other policies then holds every message.
func (k *Commands) ActivatePolicy(ctx context.Context, c ledger.Caller) (event.Position, error) {
	revision, digest := k.bundle.Bundle()
	return k.change(ctx, "", &event.PolicyActivated{Revision: revision, Digest: digest, By: c.Key})
}
