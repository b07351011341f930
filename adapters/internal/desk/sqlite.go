package desk

import (
	"context"
	"database/sql"
	"errors"

	"github.com/chirograph/chirograph/domain/event"
)

// SQLite are the statements that write, on one connection. A transaction must be open on it.
type SQLite struct {
	facet, reason, tallies, load, stream, feed, begin *sql.Stmt
}

// PrepareSQLite prepares the statements.
func PrepareSQLite(ctx context.Context, conn *sql.Conn) (*SQLite, error) {
	s := new(SQLite)
	for _, x := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.facet, `INSERT INTO facets (tenant, kind, value, bucket, partition) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`},
		{&s.reason, `INSERT INTO reasons (message, rule, partition) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`},
		{&s.tallies, `INSERT INTO tallies (tenant, quarter, partition, body) VALUES ($1, $2, $3, $4)
			ON CONFLICT (tenant, quarter, partition) DO UPDATE SET body = excluded.body`},
		{&s.load, `SELECT body FROM tallies WHERE tenant = $1 AND quarter = $2 AND partition = $3`},
		{&s.stream, `INSERT INTO stream_events (partition, position, event, type, tenant, subject, at, why)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`},
		{&s.feed, appendSQLite},
		{&s.begin, `UPDATE partitions SET feed_first = CASE WHEN feed_next = $2 THEN feed_first ELSE $2 END, feed_next = next, desk_first = CASE WHEN desk_next = $2 THEN desk_first ELSE $2 END,
			desk_since = CASE WHEN desk_next = $2 THEN desk_since ELSE $3 END, desk_next = next WHERE partition = $1`},
	} {
		var err error
		if *x.stmt, err = conn.PrepareContext(ctx, x.text); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Load reads the body of a row of tallies; nil if there is none.
func (s *SQLite) Load(tenant string, quarter int64, p event.Partition) (body []byte, err error) {
	err = s.load.QueryRow(tenant, quarter, int64(p)).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return body, err
}

// Write writes the rows of a transaction, after the partitions' marks.
func (s *SQLite) Write(x *Tx) error {
	for _, f := range x.sortedFacets() {
		if _, err := s.facet.Exec(f.tenant, int64(f.kind), f.value, f.bucket, int64(f.partition)); err != nil {
			return err
		}
	}
	for _, r := range x.sortedReasons() {
		if _, err := s.reason.Exec(r.message[:], r.rule, int64(r.partition)); err != nil {
			return err
		}
	}
	for _, k := range x.order {
		if _, err := s.tallies.Exec(k.tenant, k.quarter, int64(k.partition), x.tallies[k].Append(nil)); err != nil {
			return err
		}
	}
	for i := range x.streams {
		e := &x.streams[i]
		if _, err := s.stream.Exec(int64(e.Position.Partition), e.Position.Index, e.ID[:], string(e.Type), e.Tenant, e.Subject[:], e.Time.UnixMilli(), string(e.Why)); err != nil {
			return err
		}
	}
	if err := s.writeFeed(x); err != nil {
		return err
	}
	for p, b := range x.begins {
		if _, err := s.begin.Exec(int64(p), b.Next, b.since()); err != nil {
			return err
		}
	}
	return nil
}
