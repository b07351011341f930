package sqldb

import (
	"context"
	"database/sql"
)

// statements are prepared once: those that write on the writer's connection, those
// that read on any of the readers'.
type statements struct {
	insertStream, updateStream, linkStream, latest          *sql.Stmt
	insertMessage, fillMessage, updateMessage, updateDoc    *sql.Stmt
	loadMessage                                             *sql.Stmt
	putHandoff, deleteHandoff, putOptOut, deleteOptOut      *sql.Stmt
	insertReserved, putMark, pruneReserved, pruneHandoffs   *sql.Stmt
	message, streamState, due, handoff, reserved            *sql.Stmt
	headOf, previousOf, link, byStatus, byReference, review *sql.Stmt
	program, heads                                          *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, write *sql.Conn, read *sql.DB) (err error) {
	type preparer interface {
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	}
	for _, x := range []struct {
		on   preparer
		stmt **sql.Stmt
		text string
	}{
		{write, &s.insertStream, `INSERT INTO streams (subject, partition, state, due, latest) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (subject) DO NOTHING`},
		{write, &s.updateStream, `UPDATE streams SET state = $2, due = $3, latest = coalesce($4, latest) WHERE subject = $1`},
		{write, &s.linkStream, `UPDATE streams SET latest = $2 WHERE subject = $1`},
		{write, &s.latest, `SELECT latest FROM streams WHERE subject = $1`},
		{write, &s.insertMessage, `INSERT INTO messages (id, partition, tenant, program, status, reference, previous, doc)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`},
		{write, &s.fillMessage, `UPDATE messages SET program = $2, status = $3, reference = $4, previous = $5, doc = $6 WHERE id = $1`},
		{write, &s.updateMessage, `UPDATE messages SET status = $2, doc = $3 WHERE id = $1`},
		{write, &s.updateDoc, `UPDATE messages SET doc = $2 WHERE id = $1`},
		{write, &s.loadMessage, `SELECT doc FROM messages WHERE id = $1`},
		{write, &s.putHandoff, `INSERT INTO handoffs (message, attempt, part, partition, tenant, subject, account, key, carrier_id)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (message, attempt, part) DO UPDATE SET account = excluded.account, key = excluded.key, carrier_id = excluded.carrier_id`},
		{write, &s.deleteHandoff, `DELETE FROM handoffs WHERE message = $1 AND attempt = $2 AND part = $3`},
		{write, &s.putOptOut, `INSERT INTO opt_outs (subject, event, partition, position, tenant, scope, name, source, since, occurred, unclear, review)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (subject, event) DO UPDATE SET position = excluded.position`},
		{write, &s.deleteOptOut, `DELETE FROM opt_outs WHERE subject = $1 AND event = $2`},
		{write, &s.insertReserved, `INSERT INTO reserved (hash, partition, tenant, key, message, input, keep_until) VALUES ($1, $2, $3, $4, $5, $6, $7)`},
		{write, &s.putMark, `INSERT INTO partitions (partition, next, hash, control, control_event, time) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (partition) DO UPDATE SET next = excluded.next, hash = excluded.hash, control = excluded.control,
			control_event = excluded.control_event, time = excluded.time`},
		{write, &s.pruneReserved, `DELETE FROM reserved WHERE partition = $1 AND keep_until <= $2`},
		{write, &s.pruneHandoffs, `DELETE FROM handoffs WHERE partition = $1 AND message < $2`},

		{read, &s.message, `SELECT doc FROM messages WHERE id = $1 AND tenant = $2 AND status <> ''`},
		{read, &s.streamState, `SELECT state FROM streams WHERE subject = $1 AND partition = $2 AND state IS NOT NULL`},
		{read, &s.due, `SELECT subject, due FROM streams WHERE partition = $1 AND due IS NOT NULL AND due < $2 ORDER BY due, subject`},
		// Among several under one key: the id exactly as written, then the newest.
		{read, &s.handoff, `SELECT h.partition, h.tenant, h.subject, h.message, h.attempt, h.part, h.carrier_id, p.time
			FROM handoffs h JOIN partitions p ON p.partition = h.partition WHERE h.key = $1 AND h.account = $2
			ORDER BY h.carrier_id = $3 DESC, h.message DESC, h.attempt DESC, h.part DESC`},
		{read, &s.reserved, `SELECT r.message, r.input FROM reserved r JOIN partitions p ON p.partition = r.partition
			WHERE r.hash = $1 AND r.tenant = $2 AND r.key = $3 AND r.keep_until > p.time ORDER BY r.message LIMIT 1`},
		{read, &s.headOf, `SELECT latest FROM streams WHERE subject = $1`},
		{read, &s.previousOf, `SELECT previous FROM messages WHERE id = $1 AND tenant = $2`},
		{read, &s.link, `SELECT tenant, doc, previous, reference FROM messages WHERE id = $1`},
		{read, &s.heads, `SELECT partition, next FROM partitions WHERE next > 0 ORDER BY partition`},
		{read, &s.program, `SELECT min(program) FROM messages WHERE tenant = $1 AND program > $2`},
		{read, &s.byStatus, `SELECT id FROM messages WHERE tenant = $1 AND program = $2 AND status = $3 AND id < $4 AND id >= $5 ORDER BY id DESC LIMIT $6`},
		{read, &s.byReference, `SELECT id FROM messages WHERE tenant = $1 AND reference = $2 AND id < $3 AND id >= $4 ORDER BY id DESC LIMIT $5`},
		{read, &s.review, `SELECT subject, event, partition, position, scope, name, source, since, occurred, unclear
			FROM opt_outs WHERE tenant = $1 AND review = 1 ORDER BY event`},
	} {
		if *x.stmt, err = x.on.PrepareContext(ctx, x.text); err != nil {
			return err
		}
	}
	return nil
}
