package desk

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections"
)

// block is a row of the feed, and body what a transaction appends to it.
type block struct {
	partition event.Partition
	block     int64
	body      []byte
}

// tell adds what a judged event adds to the feed.
func (x *Tx) tell(p event.Partition, j *ledger.Judged, m *reading.Message, before projections.Before) {
	x.items = projections.Feed(x.items[:0], p, j, m, before)
	if len(x.items) == 0 || x.err != nil {
		return
	}
	n := feed.BlockOf(j.Index)
	at, ok := x.last[p]
	if !ok || x.blocks[at].block != n {
		at = len(x.blocks)
		x.blocks = append(x.blocks, block{p, n, nil})
		x.last[p] = at
	}
	for i := range x.items {
		if x.blocks[at].body, x.err = feed.AppendItem(x.blocks[at].body, &x.items[i]); x.err != nil {
			return
		}
	}
}

// The statements that append to a block. SQLite's || makes a text of two blobs, of the same bytes.
const (
	appendSQLite = `INSERT INTO feed (partition, block, body) VALUES ($1, $2, $3)
		ON CONFLICT (partition, block) DO UPDATE SET body = CAST(body || excluded.body AS BLOB)`
	appendPostgres = `INSERT INTO feed (partition, block, body) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
		ON CONFLICT (partition, block) DO UPDATE SET body = feed.body || excluded.body`
)

func (x *Tx) queueFeed(b *pgx.Batch) {
	if len(x.blocks) == 0 {
		return
	}
	var partition array[int16]
	var number array[int64]
	var body array[[]byte]
	for i := range x.blocks {
		partition, number, body = append(partition, int16(x.blocks[i].partition)), append(number, x.blocks[i].block), append(body, x.blocks[i].body)
	}
	b.Queue(appendPostgres, partition, number, body)
}

func (s *SQLite) writeFeed(x *Tx) error {
	for i := range x.blocks {
		if _, err := s.feed.Exec(int64(x.blocks[i].partition), x.blocks[i].block, x.blocks[i].body); err != nil {
			return err
		}
	}
	return nil
}

// FeedBlocks is part of feed.Views.
func (r *Reader) FeedBlocks(ctx context.Context, p event.Partition, from int64, most int) (blocks []feed.Block, next int64, err error) {
	err = r.do(ctx, "read the feed", func(ctx context.Context) error {
		blocks, next = nil, 0
		return r.each(ctx, `SELECT p.feed_next, f.block, f.body FROM partitions p
			LEFT JOIN (SELECT block, body FROM feed WHERE partition = $1 AND block >= $2 ORDER BY block LIMIT $3) f ON true
			WHERE p.partition = $1 ORDER BY f.block`, []any{int64(p), from, most}, func(scan func(...any) error) error {
			var upTo, number sql.NullInt64
			var body []byte
			err := scan(&upTo, &number, &body)
			next = upTo.Int64
			if number.Valid {
				blocks = append(blocks, feed.Block{Number: number.Int64, Body: body})
			}
			return err
		})
	})
	return blocks, next, err
}

// keptSubmitted is how many messages are kept at least for the feed, some 600 bytes each; at most twice as many.
const keptSubmitted = 1 << 13

// Submitted is part of feed.Views.
func (r *Reader) Submitted(ctx context.Context, tenant string, ids []event.ID) (map[event.ID]feed.Submitted, error) {
	out := make(map[event.ID]feed.Submitted, len(ids))
	var missing []event.ID
	r.mu.Lock()
	for _, id := range ids {
		if m, ok := r.submitted.Get(id); ok && m.Tenant == tenant {
			out[id] = m
		} else {
			missing = append(missing, id)
		}
	}
	r.mu.Unlock()
	if len(missing) == 0 {
		return out, nil
	}
	found, err := r.Messages(ctx, tenant, missing)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, m := range found {
		out[id] = feed.Submitted{Tenant: tenant, From: m.From, Purpose: m.Purpose, By: m.By, Content: m.Content, Lost: m.Lost()}
		if !m.Lost() { // what was lost may come back
			r.submitted.Put(id, out[id])
		}
	}
	return out, nil
}

// FeedFirst is part of feed.Views.
func (r *Reader) FeedFirst(ctx context.Context) (first map[event.Partition]int64, err error) {
	err = r.do(ctx, "ask where the feed begins", func(ctx context.Context) error {
		first = map[event.Partition]int64{}
		// What a program from before this table wrote last is not in the feed.
		return r.each(ctx, `SELECT partition, CASE WHEN feed_next = next THEN feed_first ELSE next END FROM partitions WHERE next > 0`, nil, func(scan func(...any) error) error {
			var p, n sql.NullInt64
			err := scan(&p, &n)
			first[event.Partition(p.Int64)] = n.Int64
			return err
		})
	})
	return first, err
}

func (r *Reader) each(ctx context.Context, text string, args []any, row func(scan func(...any) error) error) error {
	return sqlrows.Query(ctx, r.read(), text, args, row)
}
