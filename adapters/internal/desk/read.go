package desk

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/recent"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// mostEvents is how many stream events one call returns at most.
const mostEvents = 1000

// Reader answers from what is committed. Its methods may be called from any goroutine.
type Reader struct {
	read func() *sql.DB
	do   func(ctx context.Context, what string, query func(context.Context) error) error
	pg   func() bool
	// latest is the latest message of a stream; zero if it has none.
	latest func(ctx context.Context, subject event.Pseudonym) (event.ID, error)

	mu        sync.Mutex
	submitted recent.Map[event.ID, feed.Submitted]
}

// NewReader returns a reader. read are the readers' connections. do runs a query within its time, perhaps
// twice, and its error says what it was for. pg reports whether the database is PostgreSQL.
func NewReader(read func() *sql.DB, do func(ctx context.Context, what string, query func(context.Context) error) error, pg func() bool,
	latest func(ctx context.Context, subject event.Pseudonym) (event.ID, error)) *Reader {
	return &Reader{read: read, do: do, pg: pg, latest: latest, submitted: recent.NewMap[event.ID, feed.Submitted](keptSubmitted)}
}

const streamColumns = `partition, position, event, type, tenant, subject, at, why`

func (r *Reader) events(ctx context.Context, text string, args ...any) (all []reading.StreamEvent, err error) {
	rows, err := r.read().QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var e reading.StreamEvent
		var id, subject []byte
		var typ, why string
		var at int64
		if err := rows.Scan(&e.Position.Partition, &e.Position.Index, &id, &typ, &e.Tenant, &subject, &at, &why); err != nil {
			return nil, err
		}
		copy(e.ID[:], id)
		copy(e.Subject[:], subject)
		e.Type, e.Why, e.Time = event.Type(typ), recipient.Why(why), time.UnixMilli(at).UTC()
		all = append(all, e)
	}
	return all, rows.Err()
}

// StreamEvents is part of reading.Desk.
func (r *Reader) StreamEvents(ctx context.Context, subject event.Pseudonym, after int64, limit int) (all []reading.StreamEvent, err error) {
	err = r.do(ctx, "list a stream's events", func(ctx context.Context) error {
		all, err = r.events(ctx, `SELECT `+streamColumns+` FROM stream_events WHERE subject = $1 AND position > $2 ORDER BY position LIMIT $3`,
			subject[:], after, min(max(limit, 1), mostEvents))
		return err
	})
	return all, err
}

// TenantEvents is part of reading.Desk.
func (r *Reader) TenantEvents(ctx context.Context, tenant string, f reading.StreamEventFilter) (all []reading.StreamEvent, err error) {
	limit := min(max(f.Limit, 1), mostEvents)
	since, at, before, index := int64(0), int64(1)<<62, event.ID{}, int64(0)
	if !f.Since.IsZero() {
		since = f.Since.UnixMilli()
	}
	if !f.Until.IsZero() {
		at = f.Until.UnixMilli() // no id is below the zero ID
	}
	if !f.BeforeTime.IsZero() && f.BeforeTime.UnixMilli() < at {
		at, before, index = f.BeforeTime.UnixMilli(), f.Before, f.BeforeIndex
	}
	err = r.do(ctx, "list a tenant's events", func(ctx context.Context) error {
		all = nil
		for _, typ := range f.Types {
			some, err := r.events(ctx, `SELECT `+streamColumns+` FROM stream_events WHERE tenant = $1 AND type = $2 AND (at, event, position) < ($3, $4, $5) AND at >= $6
				ORDER BY at DESC, event DESC, position DESC LIMIT $7`, tenant, string(typ), at, before[:], index, since, limit)
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b reading.StreamEvent) int {
		if n := b.Time.Compare(a.Time); n != 0 {
			return n
		}
		return cmp.Or(bytes.Compare(b.ID[:], a.ID[:]), cmp.Compare(b.Position.Index, a.Position.Index))
	})
	return all[:min(len(all), limit)], nil
}

// StreamEvent is part of reading.Desk.
func (r *Reader) StreamEvent(ctx context.Context, tenant string, id event.ID) (e reading.StreamEvent, ok bool, err error) {
	err = r.do(ctx, "find a stream's event", func(ctx context.Context) error {
		// An effective event has why ''; a copy of it stands later.
		all, err := r.events(ctx, `SELECT `+streamColumns+` FROM stream_events WHERE event = $1 AND tenant = $2 ORDER BY why, position LIMIT 1`, id[:], tenant)
		if ok = len(all) > 0; ok {
			e = all[0]
		}
		return err
	})
	return e, ok, err
}

// atOnce is how many messages one statement finds on SQLite.
const atOnce = 128

// The + keeps SQLite from looking through all messages of the tenant, which it takes for cheaper than so many ids.
var (
	listOfMessages = messagesIn(atOnce)
	shortList      = messagesIn(shortOnce)
	setOfMessages  = `SELECT doc FROM messages WHERE id = ANY($1) AND tenant = $2 AND status <> ''`
)

// shortOnce is how many messages a shorter statement finds: to make one ready costs as much as it has parameters.
const shortOnce = 8

func messagesIn(n int) string {
	return `SELECT doc FROM messages WHERE id IN (?` + strings.Repeat(", ?", n-1) + `) AND +tenant = ? AND status <> ''`
}

// documents adds the messages that a statement finds.
func (r *Reader) documents(ctx context.Context, out map[event.ID]*reading.Message, text string, args ...any) error {
	rows, err := r.read().QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var doc sql.RawBytes
		if err := rows.Scan(&doc); err != nil {
			return err
		}
		m, err := projections.ReadMessage(doc)
		if err != nil {
			return err
		}
		out[m.ID] = m
	}
	return rows.Err()
}

// Messages is part of reading.Desk.
func (r *Reader) Messages(ctx context.Context, tenant string, ids []event.ID) (map[event.ID]*reading.Message, error) {
	out := make(map[event.ID]*reading.Message, len(ids))
	err := r.do(ctx, "read messages", func(ctx context.Context) error {
		clear(out)
		if r.pg() {
			all := make([][]byte, len(ids))
			for i := range ids {
				all[i] = ids[i][:]
			}
			return r.documents(ctx, out, setOfMessages, all, tenant)
		}
		most, text := atOnce, listOfMessages
		if len(ids) <= shortOnce {
			most, text = shortOnce, shortList
		}
		args := make([]any, most+1)
		args[most] = tenant
		for part := range slices.Chunk(ids, most) {
			for i := range most {
				args[i] = part[min(i, len(part)-1)][:] // the last one is named again: a statement has all its parameters
			}
			if err := r.documents(ctx, out, text, args...); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Tallies is part of reading.Desk.
func (r *Reader) Tallies(ctx context.Context, tenant string, from, until int64, f func(quarter int64, all []reading.Tally) error) error {
	// A day at a time: f is called outside of the query, which may be run twice.
	const day = 96
	for ; from < until; from += day {
		type row struct {
			quarter int64
			body    []byte
		}
		var rows []row
		err := r.do(ctx, "read the tallies", func(ctx context.Context) error {
			rows = nil
			found, err := r.read().QueryContext(ctx, `SELECT quarter, body FROM tallies WHERE tenant = $1 AND quarter >= $2 AND quarter < $3 ORDER BY quarter, partition`,
				tenant, from, min(from+day, until))
			if err != nil {
				return err
			}
			defer found.Close()
			for found.Next() {
				var x row
				if err := found.Scan(&x.quarter, &x.body); err != nil {
					return err
				}
				rows = append(rows, x)
			}
			return found.Err()
		})
		if err != nil {
			return err
		}
		for _, x := range rows {
			t, err := projections.ReadTallies(x.body)
			if err != nil {
				return err
			}
			if err := f(x.quarter, t.All()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Complete is part of reading.Desk.
func (r *Reader) Complete(ctx context.Context) (since time.Time, err error) {
	err = r.do(ctx, "ask since when the officer's views are complete", func(ctx context.Context) error {
		var ms sql.NullInt64
		// A partition whose row has no desk_next has not been written since these tables exist.
		err := r.read().QueryRowContext(ctx, `SELECT max(CASE WHEN desk_next = next THEN coalesce(desk_since, time) ELSE time END) FROM partitions
			WHERE next > 0 AND (desk_first IS NULL OR desk_first > 0 OR desk_next IS NULL OR desk_next <> next)`).Scan(&ms)
		if since = (time.Time{}); ms.Valid {
			since = time.UnixMilli(ms.Int64).UTC()
		}
		return err
	})
	return since, err
}
