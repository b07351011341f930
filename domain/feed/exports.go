package feed

import (
	"context"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// auditTail is what is known of the newest part of the audit log: all exports that ended in [from, next).
type auditTail struct {
	from, next int64
	items      []Item
}

// mostEnded bounds the ended exports that are kept in memory.
const mostEnded = 1000

// exports returns the exports of a tenant that ended from an index of the audit log on, and up to where it has looked. all says
// that this is the log's end.
func (r *Reader) exports(ctx context.Context, tenant string, from int64, limit int) (items []Item, upTo int64, all bool, err error) {
	r.mu.Lock()
	tail := r.audit
	r.mu.Unlock()
	head, err := r.endOfAudit(ctx)
	if err != nil || from >= head {
		return nil, from, true, err
	}
	if from < tail.from || tail.next == 0 { // it is behind what is kept
		ended, upTo, err := r.ended(ctx, from, head)
		if err != nil {
			return nil, from, false, err
		}
		if tail.next == 0 && upTo == head {
			keep(r, auditTail{from, upTo, ended}, tail)
		}
		return ofTenant(ended, tenant, from, upTo, head, limit)
	}
	if tail.next < head {
		ended, upTo, err := r.ended(ctx, tail.next, head)
		if err != nil {
			return nil, from, false, err
		}
		grown := auditTail{tail.from, upTo, append(tail.items[:len(tail.items):len(tail.items)], ended...)}
		if over := len(grown.items) - mostEnded; over > 0 {
			grown.from, grown.items = grown.items[over-1].Index+1, grown.items[over:]
		}
		keep(r, grown, tail)
		tail = grown
	}
	if from < tail.from {
		return nil, from, false, nil // the next call reads it
	}
	return ofTenant(tail.items, tenant, from, max(tail.next, from), head, limit)
}

// endOfAudit is where the audit log ended at most headEvery ago.
func (r *Reader) endOfAudit(ctx context.Context) (int64, error) {
	now := r.p.Now()
	r.mu.Lock()
	head, at := r.auditHead, r.auditAt
	r.mu.Unlock()
	if !at.IsZero() && now.Sub(at) < headEvery {
		return head, nil
	}
	_, head, err := r.p.Log.Read(ctx, event.AuditPartition, 0, 0)
	if err == nil {
		r.mu.Lock()
		r.auditHead, r.auditAt = head, now
		r.mu.Unlock()
	}
	return head, err
}

func keep(r *Reader, grown, was auditTail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.audit.next == was.next {
		r.audit = grown
	}
}

// ofTenant are those of items that are a tenant's, from an index on and before upTo.
func ofTenant(items []Item, tenant string, from, upTo, head int64, limit int) (out []Item, next int64, all bool, err error) {
	for i := range items {
		x := &items[i]
		if x.Tenant != tenant || x.Index < from || x.Index >= upTo {
			continue
		}
		if len(out) >= limit {
			return out, x.Index, false, nil
		}
		out = append(out, *x)
	}
	return out, upTo, upTo >= head, nil
}

// ended reads the audit log from an index on, a bounded number of events, and returns the exports that ended there.
func (r *Reader) ended(ctx context.Context, from, head int64) (items []Item, upTo int64, err error) {
	for upTo = from; upTo < head && upTo-from < mostAudit; {
		records, _, err := r.p.Log.Read(ctx, event.AuditPartition, upTo, int(min(head-upTo, 256)))
		if err != nil {
			return nil, from, err
		}
		if len(records) == 0 {
			return items, upTo, nil
		}
		for i := range records {
			if x, ok := exportItem(&records[i]); ok {
				items = append(items, x)
			}
		}
		upTo = records[len(records)-1].Index + 1
	}
	return items, upTo, nil
}

func exportItem(rec *ledger.Record) (Item, bool) {
	if rec.Bad != nil || rec.Event == nil {
		return Item{}, false
	}
	e := rec.Event
	d, ok := e.Data.(*event.ExportEnded)
	if !ok || e.Tenant == "" {
		return Item{}, false
	}
	return Item{Place: Place{Position: event.Position{Partition: event.AuditPartition, Index: rec.Index}}, Kind: ExportFinished, Tenant: e.Tenant, Event: e.ID, At: e.Time,
		Detail: Detail{Export: d.Export, As: d.As, Why: d.Why}}, true
}

func (r *Reader) exportAt(ctx context.Context, tenant string, at int64) ([]Item, error) {
	_, head, err := r.p.Log.Read(ctx, event.AuditPartition, 0, 0)
	if err != nil || at >= head {
		return nil, err
	}
	items, _, err := r.ended(ctx, at, at+1)
	if len(items) > 0 && items[0].Tenant != tenant {
		items = nil
	}
	return items, err
}
