package v1

import (
	"context"

	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/domain/witness"
)

// auditLogCalls read the audit log.
type auditLogCalls struct{ trail *witness.Trail }

// GetAuditLog is GET /v1/audit/log.
func (a auditLogCalls) GetAuditLog(ctx context.Context, r GetAuditLogRequestObject) (GetAuditLogResponseObject, error) {
	p := r.Params
	q := witness.Query{Tenant: callerOf(ctx).Tenant, Type: p.Type, Key: p.Key, Since: p.Since, Until: p.Until, Cursor: p.Cursor}
	if p.Tenant != "" && p.Tenant != q.Tenant {
		if err := door.Require(ctx, "operate"); err != nil {
			return nil, err
		}
		q.Tenant, q.All = p.Tenant, p.Tenant == "*"
	}
	limit, err := ranged("out_of_range", "", p.Limit, 1, witness.MaxPage)
	if err != nil {
		return nil, err
	}
	q.Limit = limit
	page, err := a.trail.Entries(ctx, q)
	if err != nil {
		return nil, err
	}
	return GetAuditLog200JSONResponse{Entries: all(page.Entries, auditEntry), NextCursor: page.Next}, nil
}

func auditEntry(e *witness.Entry) AuditEntry {
	return AuditEntry{Id: e.ID, Type: string(e.Type), Time: e.Time, Position: e.Position, Tenant: e.Tenant, Sentence: e.Sentence, Data: e.Data}
}
