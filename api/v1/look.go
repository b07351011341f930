package v1

import (
	"context"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

// look is who asks, why, and what the key may see in clear. reason is the header Audit-Reason. An error is a
// *ledger.Refusal: the reason cannot be one.
func look(ctx context.Context, reason string) (reading.Look, error) {
	if err := ledger.CheckReason("", reason); err != nil {
		return reading.Look{}, err
	}
	return reading.Look{Caller: callerOf(ctx), Reason: reason, Sight: reading.SightOf(func(scope string) bool { return door.Has(ctx, scope) })}, nil
}
