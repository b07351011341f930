package v1

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/reading"
)

// everyTenant is the name of a tenant that asks for all of them.
const everyTenant = "*"

// controlCalls answers what is asked about control's history.
type controlCalls struct {
	reading *reading.Reader
	within  time.Duration
}

// ControlHistory is GET /v1/control/history.
func (s controlCalls) ControlHistory(ctx context.Context, r ControlHistoryRequestObject) (ControlHistoryResponseObject, error) {
	p := r.Params
	limit, err := ranged("out_of_range", "", p.Limit, 1, reading.MaxPage)
	if err != nil {
		return nil, err
	}
	if p.Kind != "" && !slices.Contains(reading.ControlKinds(), p.Kind) {
		return nil, door.Refuse("invalid_value", "", "The parameter kind is one of "+strings.Join(reading.ControlKinds(), ", ")+".")
	}
	q := reading.ControlQuery{Tenant: cmp.Or(p.Tenant, callerOf(ctx).Tenant), Kind: p.Kind, Program: p.Program, By: p.By,
		Since: p.Since, Until: p.Until, Limit: limit, Cursor: p.Cursor}
	if p.Tenant != "" {
		if err := door.Require(ctx, "operate"); err != nil {
			return nil, err
		}
		q.Operator = true
		if p.Tenant == everyTenant {
			q.Tenant = ""
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	page, err := reading.ControlHistory(ctx, s.reading, q)
	if err != nil {
		return nil, err
	}
	return ControlHistory200JSONResponse{Entries: all(page.Entries, controlEntry), ForeignRecords: page.Foreign, NextCursor: page.Next}, nil
}

func controlEntry(e *reading.ControlEntry) ControlEntry {
	return ControlEntry{Event: e.ID, Position: e.Position, At: e.Time, Type: string(e.Type), Kind: e.Kind, Tenant: e.Tenant, By: e.By,
		Program: e.Program, Carrier: e.Carrier, Sender: e.Sender, LegalEntity: e.LegalEntity, Reason: e.Reason, Sentence: e.Sentence,
		Changes: all(e.Changes, controlChange), Ended: e.Ended, EndedBy: e.EndedBy}
}

func controlChange(c *reading.ControlChange) ControlChange {
	return ControlChange{Field: c.Field, Before: c.Before, After: c.After}
}
