package desk

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chirograph/chirograph/domain/event"
)

// array is a column. pgx encodes this type without reflection.
type array[T any] = pgtype.FlatArray[T]

// LoadPostgres reads the body of a row of tallies; nil if there is none.
func LoadPostgres(ctx context.Context, conn *pgx.Conn, tenant string, quarter int64, p event.Partition) (body []byte, err error) {
	err = conn.QueryRow(ctx, `SELECT body FROM tallies WHERE tenant = $1 AND quarter = $2 AND partition = $3`, tenant, quarter, int16(p)).Scan(&body)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return body, err
}

// Queue queues the statements that write the rows of a transaction, after the partitions' marks.
func (x *Tx) Queue(b *pgx.Batch) {
	if facets := x.sortedFacets(); len(facets) > 0 {
		var tenant, value array[string]
		var kind, partition array[int16]
		var bucket array[int64]
		for _, f := range facets {
			tenant, kind, value, bucket = append(tenant, f.tenant), append(kind, int16(f.kind)), append(value, f.value), append(bucket, f.bucket)
			partition = append(partition, int16(f.partition))
		}
		b.Queue(`INSERT INTO facets (tenant, kind, value, bucket, partition)
			SELECT * FROM unnest($1::text[], $2::smallint[], $3::text[], $4::bigint[], $5::smallint[]) ON CONFLICT DO NOTHING`, tenant, kind, value, bucket, partition)
	}
	if reasons := x.sortedReasons(); len(reasons) > 0 {
		var message array[[]byte]
		var rule array[string]
		var partition array[int16]
		for i := range reasons {
			r := &reasons[i]
			message, rule, partition = append(message, r.message[:]), append(rule, r.rule), append(partition, int16(r.partition))
		}
		b.Queue(`INSERT INTO reasons (message, rule, partition)
			SELECT * FROM unnest($1::bytea[], $2::text[], $3::smallint[]) ON CONFLICT DO NOTHING`, message, rule, partition)
	}
	if len(x.order) > 0 {
		var tenant array[string]
		var quarter array[int64]
		var partition array[int16]
		var body array[[]byte]
		for _, k := range x.order {
			tenant, quarter, partition = append(tenant, k.tenant), append(quarter, k.quarter), append(partition, int16(k.partition))
			body = append(body, x.tallies[k].Append(nil))
		}
		b.Queue(`INSERT INTO tallies (tenant, quarter, partition, body)
			SELECT * FROM unnest($1::text[], $2::bigint[], $3::smallint[], $4::bytea[])
			ON CONFLICT (tenant, quarter, partition) DO UPDATE SET body = excluded.body`, tenant, quarter, partition, body)
	}
	if len(x.streams) > 0 {
		var partition array[int16]
		var position, at array[int64]
		var id, subject array[[]byte]
		var typ, tenant, why array[string]
		for i := range x.streams {
			e := &x.streams[i]
			partition, position, at = append(partition, int16(e.Position.Partition)), append(position, e.Position.Index), append(at, e.Time.UnixMilli())
			id, subject = append(id, e.ID[:]), append(subject, e.Subject[:])
			typ, tenant, why = append(typ, string(e.Type)), append(tenant, e.Tenant), append(why, string(e.Why))
		}
		b.Queue(`INSERT INTO stream_events (partition, position, event, type, tenant, subject, at, why)
			SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::text[], $5::text[], $6::bytea[], $7::bigint[], $8::text[]) ON CONFLICT DO NOTHING`,
			partition, position, id, typ, tenant, subject, at, why)
	}
	x.queueFeed(b)
	var partition array[int16]
	var next array[int64]
	var since array[pgtype.Int8]
	for p, at := range x.begins {
		partition, next, since = append(partition, int16(p)), append(next, at.Next), append(since, pgtype.Int8(at.since()))
	}
	b.Queue(`UPDATE partitions p SET feed_first = CASE WHEN feed_next = u.first THEN feed_first ELSE u.first END, feed_next = next,
			desk_first = CASE WHEN desk_next = u.first THEN desk_first ELSE u.first END,
			desk_since = CASE WHEN desk_next = u.first THEN desk_since ELSE u.since END, desk_next = next
		FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS u (partition, first, since) WHERE p.partition = u.partition`, partition, next, since)
}
