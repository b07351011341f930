// Package viewrows says which rows of the SQL views stand, and writes them as text.
package viewrows

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// dumps are the tables, with their rows in canonical order. Rows that a partition's time has made
// obsolete are left out, whether they were pruned or not. No column depends on the order in which
// partitions were read, on how events were divided into batches, or on a clock.
var dumps = []struct{ table, text string }{
	{"partitions", `SELECT partition, next, hash, control, control_event, time, call_by FROM partitions WHERE next > 0 ORDER BY partition`},
	{"streams", `SELECT s.subject, s.partition, s.state, s.due, s.latest, p.time FROM streams s LEFT JOIN partitions p ON p.partition = s.partition ORDER BY s.subject`},
	{"messages", `SELECT id, partition, tenant, program, status, reference, previous, doc FROM messages ORDER BY id`},
	{"opt_outs", `SELECT subject, event, partition, position, tenant, scope, name, source, since, occurred, unclear, review, repeats
		FROM opt_outs ORDER BY subject, event`},
	{"standing", `SELECT subject, event, scope, name, partition, position, tenant, source, since, occurred, unclear, to_number, repeats
		FROM standing ORDER BY subject, event, scope, name`},
	{"reviews", `SELECT event, subject, partition, position, tenant, kind, to_number, since, repeats, unplaced FROM reviews ORDER BY event`},
	{"inbound", `SELECT event, subject, partition, position, tenant FROM inbound ORDER BY event`},
	{"handoffs", `SELECT h.message, h.attempt, h.part, h.partition, h.tenant, h.subject, h.account, h.key, h.carrier_id, p.time
		FROM handoffs h JOIN partitions p ON p.partition = h.partition ORDER BY h.message, h.attempt, h.part`},
	{"reserved", `SELECT r.partition, r.tenant, r.key, r.message, r.input, r.keep_until FROM reserved r
		JOIN partitions p ON p.partition = r.partition WHERE r.keep_until > p.time ORDER BY r.message`},
	{"facets", `SELECT tenant, kind, value, bucket, partition FROM facets ORDER BY tenant, kind, value, bucket, partition`},
	{"reasons", `SELECT message, rule, partition FROM reasons ORDER BY message, rule`},
	{"tallies", `SELECT tenant, quarter, partition, body FROM tallies ORDER BY tenant, quarter, partition`},
	{"stream_events", `SELECT partition, position, event, type, tenant, subject, at, why FROM stream_events ORDER BY partition, position`},
	{"feed", `SELECT partition, block, body FROM feed ORDER BY partition, block`},
	{"tails", `SELECT t.partition, t.day, t.account, t.tail, t.tenant, t.subject, p.time FROM tails t
		JOIN partitions p ON p.partition = t.partition ORDER BY t.partition, t.day, t.tail, t.account, t.tenant, t.subject`},
}

// Dump writes every row of every table as one line of text, in canonical order, as of one commit:
// table and columns, divided by tabs; bytes in hexadecimal, folds and messages as JSON, "-" for
// NULL. Two databases with the same folds give the same lines, on SQLite and PostgreSQL (pg). tx is
// one snapshot. beside writes the lines of the tables that lie elsewhere.
// For a digest, a message's document is in its shorter stored form.
func Dump(ctx context.Context, tx *sql.Tx, w io.Writer, pg, digest bool, beside map[string]func(out *bufio.Writer) error) error {
	out := bufio.NewWriterSize(w, 64<<10)
	for _, t := range dumps {
		if write := beside[t.table]; write != nil {
			if err := write(out); err != nil {
				return err
			}
			continue
		}
		text := t.text
		if pg { // SQLite compares texts byte by byte
			text = strings.Replace(text, "ORDER BY subject, event, scope, name", `ORDER BY subject, event, scope COLLATE "C", name COLLATE "C"`, 1)
			text = strings.Replace(text, "ORDER BY tenant, kind, value, bucket", `ORDER BY tenant COLLATE "C", kind, value COLLATE "C", bucket`, 1)
			text = strings.Replace(text, "t.tail, t.account, t.tenant", `t.tail, t.account COLLATE "C", t.tenant COLLATE "C"`, 1)
			text = strings.Replace(text, "ORDER BY message, rule", `ORDER BY message, rule COLLATE "C"`, 1)
			text = strings.Replace(text, "ORDER BY tenant, quarter, partition", `ORDER BY tenant COLLATE "C", quarter, partition`, 1)
		}
		if err := dumpTable(ctx, tx, out, t.table, text, digest); err != nil {
			return err
		}
	}
	return out.Flush()
}

func dumpTable(ctx context.Context, tx *sql.Tx, out *bufio.Writer, table, text string, digest bool) error {
	rows, err := tx.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	values, ptrs := make([]any, len(names)), make([]any, len(names))
	for i := range values {
		ptrs[i] = &values[i]
	}
	var line []byte
	for rows.Next() {
		if err := rows.Scan(ptrs...); err != nil {
			return err
		}
		shown := values
		if table == "handoffs" {
			now, _ := values[len(values)-1].(int64)
			bound := Oldest(time.UnixMilli(now).UTC().Add(-projections.KeepHandoff))
			if id, _ := values[0].([]byte); bytes.Compare(id, bound[:]) < 0 {
				continue
			}
			shown = values[:len(values)-1]
		}
		if table == "tails" {
			now, _ := values[len(values)-1].(int64)
			if day, _ := values[1].(int64); day < FirstTold(time.UnixMilli(now).UTC()) {
				continue
			}
			shown = values[:len(values)-1]
		}
		if table == "streams" {
			shown = values[:len(values)-1]
			if state, _ := values[2].([]byte); state != nil {
				now, _ := values[len(values)-1].(int64)
				if values[2], err = Gathered(state, recipient.PartitionState{Time: time.UnixMilli(now).UTC()}, nil); err != nil {
					return err
				}
			}
		}
		line = append(line[:0], table...)
		for i, v := range shown {
			line = append(line, '\t')
			switch v := v.(type) {
			case nil:
				line = append(line, '-')
			case int64:
				line = strconv.AppendInt(line, v, 10)
			case string:
				line = strconv.AppendQuote(line, v)
			case []byte:
				switch names[i] {
				case "state":
					line = append(line, v...)
				case "doc":
					m, err := projections.ReadMessage(v)
					if err != nil {
						return err
					}
					if digest { // encoded anew: an earlier version may have written it otherwise
						line = projections.AppendMessage(line, m)
						continue
					}
					doc, err := json.Marshal(m)
					if err != nil {
						return err
					}
					line = append(line, doc...)
				default:
					line = hex.AppendEncode(line, v)
				}
			default:
				return fmt.Errorf("column %s of %s is a %T", names[i], table, v)
			}
		}
		line = append(line, '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Gathered is the fold of a stream as JSON, with what is in its rows, and without what its partition's time has made obsolete. It is the
// same however a stream's rows are kept.
func Gathered(state []byte, now recipient.PartitionState, rows func() ([]recipient.Row, error)) ([]byte, error) {
	s, err := recipient.Decode(state)
	if err != nil {
		return nil, err
	}
	var all []recipient.Row
	if s.Apart != nil && rows != nil {
		if all, err = rows(); err != nil {
			return nil, err
		}
	}
	if err := recipient.RowsOf(s).Gather(&now, all); err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

// How far a message's own time may be from the time in its id. The id of an answer to an inbound
// message has the time of that message.
const (
	IDBehind = 10 * time.Minute
	IDAhead  = time.Minute
)

// Oldest is the smallest id of a time.
func Oldest(t time.Time) (id event.ID) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(t.UnixMilli(), 0))<<16)
	copy(id[:6], b[:6])
	return id
}

// FirstTold is the first day of which tails are kept when a partition's time is now.
func FirstTold(now time.Time) int64 { return projections.Day(now.Add(-projections.KeepTail)) }
