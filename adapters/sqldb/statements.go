package sqldb

import (
	"context"
	"database/sql"

	"github.com/chirograph/chirograph/adapters/internal/viewmarks"
)

// statements are the statements that read, on any of the readers' connections.
type statements struct {
	mark, message, due, handoff                      *sql.Stmt
	headOf, previousOf, chain, byStatus, byReference *sql.Stmt
	program, tails                                   *sql.Stmt
	docs                                             *sql.Stmt
	advanced, changed, now                           *sql.Stmt
}

func (s *statements) prepare(ctx context.Context, read *sql.DB, pg bool) (err error) {
	type statement struct {
		stmt **sql.Stmt
		text string
	}
	all := []statement{
		{&s.message, `SELECT doc FROM messages WHERE id = $1 AND tenant = $2 AND status <> ''`},
		// Of several hand-offs under one key: the newest.
		{&s.handoff, `SELECT h.partition, h.tenant, h.subject, h.message, h.attempt, h.part, h.carrier_id, p.time
			FROM handoffs h JOIN partitions p ON p.partition = h.partition WHERE h.key = $1 AND h.account = $2
			ORDER BY h.message DESC, h.attempt DESC, h.part DESC LIMIT $3`},
		{&s.previousOf, `SELECT previous FROM messages WHERE id = $1 AND tenant = $2`},
		// A message, and up to $2 messages before it in its chain.
		{&s.chain, `WITH RECURSIVE chain (n, tenant, doc, previous, reference) AS (
				SELECT 1, tenant, doc, previous, reference FROM messages WHERE id = $1
				UNION ALL
				SELECT c.n + 1, m.tenant, m.doc, m.previous, m.reference FROM chain c JOIN messages m ON m.id = c.previous WHERE c.n < $2)
			SELECT tenant, doc, previous, reference FROM chain ORDER BY n`},
		{&s.program, `SELECT min(program) FROM messages WHERE tenant = $1 AND program > $2`},
		{&s.byStatus, `SELECT id FROM messages WHERE tenant = $1 AND program = $2 AND status = $3 AND id < $4 AND id >= $5 ORDER BY id DESC LIMIT $6`},
		{&s.byReference, `SELECT id FROM messages WHERE tenant = $1 AND reference = $2 AND id < $3 AND id >= $4 ORDER BY id DESC LIMIT $5`},
	}
	if pg {
		all = append(all,
			statement{&s.mark, `SELECT ` + viewmarks.Columns + `, summed FROM partitions WHERE partition = $1`},
			statement{&s.due, `SELECT subject, due FROM streams WHERE partition = $1 AND due IS NOT NULL AND due < $2 ORDER BY due, subject`},
			statement{&s.headOf, `SELECT latest FROM streams WHERE subject = $1`},
			// One search of the index for each partition and each day until the newest of the log.
			statement{&s.tails, `WITH RECURSIVE days (day) AS (SELECT CAST($3 AS bigint) UNION ALL
				SELECT day + 1 FROM days WHERE day < (SELECT max(time) FROM partitions) / 86400000)
			SELECT DISTINCT t.tenant, t.subject FROM partitions p CROSS JOIN days d
				JOIN tails t ON t.partition = p.partition AND t.day = d.day AND t.account = $1 AND t.tail = $2
			ORDER BY t.tenant, t.subject LIMIT $4`},
			statement{&s.docs, `SELECT doc FROM messages WHERE id = ANY($1) AND tenant = $2`},
			statement{&s.now, `SELECT name FROM chirograph.current_views`},
			statement{&s.advanced, `SELECT c.name, p.partition, p.next FROM chirograph.current_views c LEFT JOIN partitions p ON p.next > 0`},
			statement{&s.changed, `SELECT id, status FROM messages WHERE id = ANY($1)`})
	}
	for _, x := range all {
		if *x.stmt, err = read.PrepareContext(ctx, x.text); err != nil {
			return err
		}
	}
	return nil
}
