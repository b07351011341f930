package desk

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Reviews returns open reviews of a tenant, the oldest first, after those that f.After names. Tenant ""
// has the operator's. The cost depends on how many are open, not on the length of the ledger.
func (r *Reader) Reviews(ctx context.Context, tenant string, f reading.ReviewFilter) (page []reading.Review, err error) {
	f.Limit = min(max(f.Limit, 1), reading.MaxPage)
	err = r.do(ctx, "list reviews", func(ctx context.Context) error {
		page = nil
		since, after := int64(-1), f.After
		if !f.AfterSince.IsZero() {
			since = f.AfterSince.UnixMilli()
		}
		if s := f.Since.UnixMilli() - 1; !f.Since.IsZero() && s > since {
			since, after = s, event.ID{0: 0xff, 1: 0xff, 2: 0xff, 3: 0xff, 4: 0xff, 5: 0xff, 6: 0xff}
		}
		for {
			n := 0
			err := sqlrows.Query(ctx, r.read(), reviewsText, []any{tenant, since, after[:], reading.MaxPage}, func(scan func(...any) error) error {
				v, err := scanReview(scan)
				if err != nil {
					return err
				}
				n++
				since, after = v.Since.UnixMilli(), v.Event
				if len(page) < f.Limit && (f.Kind == "" || f.Kind == v.Kind) {
					page = append(page, v)
				}
				return nil
			})
			if err != nil || len(page) == f.Limit || n < reading.MaxPage {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

func scanReview(scan func(...any) error) (v reading.Review, err error) {
	var id, subject []byte
	var since sql.NullInt64
	err = scan(&id, &subject, &v.Position.Partition, &v.Position.Index, &v.Tenant, &v.Kind, &v.To, &since, &v.Repeats, &v.Unplaced)
	v.Event, v.Subject, v.Since = toID(id), event.Pseudonym(toID(subject)), time.UnixMilli(since.Int64).UTC()
	return v, err
}

// Inbound finds an inbound message of format level 2, or an open review of whatever level, of a tenant by
// the event's id. The bool is false for others.
func (r *Reader) Inbound(ctx context.Context, tenant string, id event.ID) (x ledger.InboundRef, found bool, err error) {
	err = r.do(ctx, "find an inbound message", func(ctx context.Context) error {
		for _, text := range []string{inboundText, reviewText, oldReviewText} {
			x, err = scanInbound(r.read().QueryRowContext(ctx, text, tenant, id[:]).Scan)
			if found = err == nil; found || !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		return nil
	})
	if err != nil || !found {
		return ledger.InboundRef{}, false, err
	}
	return x, true, nil
}

// InboundNear returns inbound messages of format level 2 in a stream: at most n before a position, the
// nearest first; or at most -n after it, the nearest first.
func (r *Reader) InboundNear(ctx context.Context, subject event.Pseudonym, at int64, n int) (all []ledger.InboundRef, err error) {
	text := inboundBeforeText
	if n < 0 {
		text, n = inboundAfterText, -n
	}
	err = r.do(ctx, "list inbound messages", func(ctx context.Context) error {
		all = nil
		return sqlrows.Query(ctx, r.read(), text, []any{subject[:], at, n}, func(scan func(...any) error) error {
			x, err := scanInbound(scan)
			all = append(all, x)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func scanInbound(scan func(...any) error) (x ledger.InboundRef, err error) {
	var id, subject []byte
	err = scan(&id, &subject, &x.Position.Partition, &x.Position.Index, &x.Tenant)
	x.Event, x.Subject = toID(id), event.Pseudonym(toID(subject))
	return x, err
}

// OpenReviews counts the open reviews by kind, each up to mostCounted, and says since when the oldest is
// open.
func (r *Reader) OpenReviews(ctx context.Context) (all []ledger.OpenReviews, err error) {
	err = r.do(ctx, "count reviews", func(ctx context.Context) error {
		all = nil
		for _, kind := range recipient.ReviewKinds() {
			o, err := count(r.read().QueryRowContext(ctx, openReviewsText, string(kind), mostCounted))
			if err != nil {
				return err
			}
			if o.Kind = kind; kind == recipient.ReviewUnclear {
				old, err := count(r.read().QueryRowContext(ctx, openOldText, mostCounted))
				if err != nil {
					return err
				}
				o.Count += old.Count
				if o.Oldest.IsZero() || !old.Oldest.IsZero() && old.Oldest.Before(o.Oldest) {
					o.Oldest = old.Oldest
				}
			}
			all = append(all, o)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// mostCounted bounds how many reviews of a kind are counted.
const mostCounted = 100_000

func count(row *sql.Row) (o ledger.OpenReviews, err error) {
	var oldest sql.NullInt64
	err = row.Scan(&o.Count, &oldest)
	if oldest.Valid {
		o.Oldest = time.UnixMilli(oldest.Int64).UTC()
	}
	return o, err
}

const (
	reviewColumnsList = `event, subject, partition, position, tenant, kind, to_number, since, repeats, unplaced`
	oldReviewColumns  = `event, subject, partition, position, tenant, 'unclear' AS kind, '' AS to_number, since, repeats, '' AS unplaced`

	// The open reviews of a tenant after one of them, the oldest first.
	reviewsText = `SELECT ` + reviewColumnsList + ` FROM reviews WHERE tenant = $1 AND (since, event) > ($2, $3)
		UNION ALL SELECT ` + oldReviewColumns + ` FROM opt_outs WHERE tenant = $1 AND review = 1 AND (since, event) > ($2, $3)
		ORDER BY 8, 1 LIMIT $4`
	reviewText        = `SELECT event, subject, partition, position, tenant FROM reviews WHERE tenant = $1 AND event = $2`
	oldReviewText     = `SELECT event, subject, partition, position, tenant FROM opt_outs WHERE tenant = $1 AND event = $2 AND review = 1`
	inboundText       = `SELECT event, subject, partition, position, tenant FROM inbound WHERE tenant = $1 AND event = $2`
	inboundBeforeText = `SELECT event, subject, partition, position, tenant FROM inbound WHERE subject = $1 AND position < $2 ORDER BY position DESC LIMIT $3`
	inboundAfterText  = `SELECT event, subject, partition, position, tenant FROM inbound WHERE subject = $1 AND position > $2 ORDER BY position LIMIT $3`
	openReviewsText   = `SELECT count(*), min(since) FROM (SELECT since FROM reviews WHERE kind = $1 ORDER BY since LIMIT $2) AS oldest`
	openOldText       = `SELECT count(*), min(since) FROM (SELECT since FROM opt_outs WHERE review = 1 LIMIT $1) AS counted`
)

func toID(b []byte) (id event.ID) {
	copy(id[:], b)
	return id
}
