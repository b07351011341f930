package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/chirograph/chirograph/adapters/internal/datafile"
	"github.com/chirograph/chirograph/adapters/internal/desk"
	"github.com/chirograph/chirograph/adapters/internal/localfolds"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/adapters/internal/viewmarks"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// applicationID marks the file as one of ours ("ChVw"), in the header of the SQLite file.
const applicationID = 0x43685677

// OpenSQLite opens the views in the file at path, or makes them, and the folds in a folder beside it. The file uses WAL with
// synchronous=FULL: rows are durable before the folds that belong to them are committed. A file that is not ours, or
// that a later version has closed to this one, is refused and stays as it was. Other processes
// must not write to the file.
func OpenSQLite(path string, o Options) (*DB, error) {
	d, err := newDB(o)
	if err != nil {
		return nil, err
	}
	fresh, err := datafile.MakeViews(path, applicationID)
	if err != nil {
		return nil, err
	}
	pragmas := []string{"busy_timeout(10000)"}
	if fresh {
		// Write it into the header before anything else, and before WAL is switched on, so that
		// no crash leaves a file of ours without its mark.
		pragmas = append(pragmas, fmt.Sprintf("application_id(%d)", applicationID))
	}
	pragmas = append(pragmas, "journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)", "cache_size(-16384)", "wal_autocheckpoint(8000)")
	e := &sqlite{ledger: o.Ledger, marks: map[event.Partition]ledger.Mark{}, partitions: map[event.Partition]viewsums.Contents{}}
	d.engine = e
	if e.db, err = sql.Open("sqlite", dsn(path, pragmas)+"&_txlock=immediate"); err != nil {
		return nil, fmt.Errorf("open the views: %w", err)
	}
	e.db.SetMaxOpenConns(1)
	e.db.SetMaxIdleConns(1)
	if err := d.startSQLite(e, path); err != nil {
		if e.folds != nil {
			err = errors.Join(err, e.folds.Close())
		}
		e.db.Close()
		if d.read != nil {
			d.read.Close()
		}
		return nil, err
	}
	d.wg.Go(d.writer.run)
	if err := d.Checker.Begin(context.Background()); err != nil {
		return nil, errors.Join(fmt.Errorf("open the views: %w", err), d.Close())
	}
	return d, nil
}

func (d *DB) startSQLite(e *sqlite, path string) (err error) {
	ctx := context.Background()
	k, err := ReadKnown(e.db)
	if err == nil {
		err = viewmarks.Fit(k.Ledger, d.o.Ledger)
	}
	if err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	if err := migrateSQLite(ctx, e.db); err != nil {
		return err
	}
	if err := viewmarks.Bind(ctx, e.db, d.o.Ledger); err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	// Each reader has its own snapshot, and never waits for the writer.
	if d.read, err = sql.Open("sqlite", dsn(path, []string{"busy_timeout(10000)", "query_only(1)", "temp_store(MEMORY)", "cache_size(-4096)"})); err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	e.read = d.read
	d.read.SetMaxOpenConns(4)
	d.read.SetMaxIdleConns(4)
	err = func() error {
		if e.conn, err = e.db.Conn(ctx); err != nil {
			return err
		}
		if err := e.prepare(ctx); err != nil {
			return err
		}
		if err := d.stmt.prepare(ctx, d.read, false); err != nil {
			return err
		}
		if err := e.load(ctx); err != nil {
			return err
		}
		if e.folds, err = localfolds.Open(ctx, &localfolds.Rows{Path: path, Conn: e.conn, Read: d.read, Ledger: e.ledger, Partitions: d.o.Partitions,
			Marks: e.marks, Contents: e.partitions, Memory: d.o.Folds}); err != nil {
			return err
		}
		d.folds, d.loader = e.folds, e.folds
		return nil
	}()
	if err != nil {
		return fmt.Errorf("open the views: %w", err)
	}
	d.Tracker.Begin(e.folds.Marks())
	e.head = datafile.OpenMarks(path, d.o.Ledger, d.o.Partitions, e.marks)
	return nil
}

func dsn(path string, pragmas []string) string {
	q := url.Values{"_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// sqlite is the engine of an SQLite file. This process alone writes to it, on one connection, row
// by row.
type sqlite struct {
	db   *sql.DB
	conn *sql.Conn
	read *sql.DB // the readers' connections; closed with the writer's
	head *datafile.Head
	// ledger is the ledger's short id.
	ledger string
	// marks are the committed marks. Only the writer uses them.
	marks map[event.Partition]ledger.Mark
	// partitions is what their rows must be.
	partitions map[event.Partition]viewsums.Contents
	folds      *localfolds.Folds

	hasOptOut, hasStanding                               *sql.Stmt
	insertMessage, fillMessage, updateMessage, updateDoc *sql.Stmt
	message                                              *sql.Stmt
	putHandoff, deleteHandoff, putOptOut, deleteOptOut   *sql.Stmt
	putStanding, deleteStanding, putReview, deleteReview *sql.Stmt
	insertInbound                                        *sql.Stmt
	insertReserved, putMark                              *sql.Stmt
	pruneReserved, pruneHandoffs                         *sql.Stmt
	desk                                                 *desk.SQLite
}

func (s *sqlite) prepare(ctx context.Context) (err error) {
	for _, x := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&s.hasOptOut, `SELECT count(*) FROM opt_outs WHERE subject = $1 AND event = $2`},
		{&s.hasStanding, `SELECT count(*) FROM standing WHERE subject = $1 AND event = $2 AND scope = $3 AND name = $4`},
		{&s.insertMessage, `INSERT INTO messages (id, partition, tenant, program, status, reference, previous, doc)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING`},
		{&s.fillMessage, `UPDATE messages SET program = $2, status = $3, reference = $4, previous = $5, doc = $6 WHERE id = $1`},
		{&s.updateMessage, `UPDATE messages SET status = $2, doc = $3 WHERE id = $1`},
		{&s.updateDoc, `UPDATE messages SET doc = $2 WHERE id = $1`},
		{&s.message, `SELECT doc FROM messages WHERE id = $1`},
		{&s.putHandoff, `INSERT INTO handoffs (message, attempt, part, partition, tenant, subject, account, key, carrier_id)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (message, attempt, part) DO UPDATE SET account = excluded.account, key = excluded.key, carrier_id = excluded.carrier_id`},
		{&s.deleteHandoff, `DELETE FROM handoffs WHERE message = $1 AND attempt = $2 AND part = $3`},
		{&s.putOptOut, `INSERT INTO opt_outs (subject, event, partition, position, tenant, scope, name, source, since, occurred, unclear, review, repeats)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
			ON CONFLICT (subject, event) DO UPDATE SET position = excluded.position, since = excluded.since, occurred = excluded.occurred,
				unclear = excluded.unclear, review = excluded.review, repeats = excluded.repeats`},
		{&s.deleteOptOut, `DELETE FROM opt_outs WHERE subject = $1 AND event = $2`},
		{&s.putStanding, `INSERT INTO standing (subject, event, scope, name, partition, position, tenant, source, since, occurred, unclear, to_number, repeats)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
			ON CONFLICT (subject, event, scope, name) DO UPDATE SET position = excluded.position, since = excluded.since, occurred = excluded.occurred,
				unclear = excluded.unclear, to_number = excluded.to_number, repeats = excluded.repeats`},
		{&s.deleteStanding, `DELETE FROM standing WHERE subject = $1 AND event = $2 AND scope = $3 AND name = $4`},
		{&s.putReview, `INSERT INTO reviews (event, subject, partition, position, tenant, kind, to_number, since, repeats, unplaced)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (event) DO UPDATE SET position = excluded.position, kind = excluded.kind, to_number = excluded.to_number,
			since = excluded.since, repeats = excluded.repeats, unplaced = excluded.unplaced`},
		{&s.deleteReview, `DELETE FROM reviews WHERE event = $1`},
		{&s.insertInbound, `INSERT INTO inbound (event, subject, partition, position, tenant) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (event) DO NOTHING`},
		{&s.insertReserved, `INSERT INTO reserved (hash, partition, tenant, key, message, input, keep_until) VALUES ($1, $2, $3, $4, $5, $6, $7)`},
		{&s.putMark, `INSERT INTO partitions (partition, next, hash, control, control_event, time, call_by, ` + viewsums.Columns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
			ON CONFLICT (partition) DO UPDATE SET next = excluded.next, hash = excluded.hash, control = excluded.control,
			control_event = excluded.control_event, time = excluded.time, call_by = excluded.call_by, summed = excluded.summed, whole = excluded.whole,
			sums = excluded.sums, messages_rows = excluded.messages_rows, reserved_rows = excluded.reserved_rows, opt_outs_rows = excluded.opt_outs_rows`},
		{&s.pruneReserved, pruneReserved + ` RETURNING tenant, key`},
		{&s.pruneHandoffs, pruneHandoffs},
	} {
		if *x.stmt, err = s.conn.PrepareContext(ctx, x.text); err != nil {
			return err
		}
	}
	s.desk, err = desk.PrepareSQLite(ctx, s.conn)
	return err
}

const (
	pruneReserved = `DELETE FROM reserved WHERE partition = $1 AND keep_until <= $2`
	pruneHandoffs = `DELETE FROM handoffs WHERE partition = $1 AND message < $2`
)

func (s *sqlite) load(ctx context.Context) error {
	rows, err := s.conn.QueryContext(ctx, `SELECT `+viewmarks.Columns+`, `+viewsums.Columns+` FROM partitions`) //nolint:gosec // the columns are ours
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var x viewsums.Stored
		p, m, err := viewmarks.Scan(rows.Scan, x.Into()...)
		if err != nil {
			return err
		}
		s.marks[p], s.partitions[p] = m, *x.Contents(m.Next)
	}
	return rows.Err()
}

func (s *sqlite) begin([]*ledger.Batch) (tx, error) {
	folds, err := s.folds.Begin()
	if err != nil {
		return nil, err
	}
	t, err := s.conn.BeginTx(context.Background(), nil)
	if err != nil {
		folds.Rollback()
		return nil, err
	}
	return &sqliteTx{sqliteReviews: sqliteReviews{s}, tx: t, put: map[event.Partition]ledger.Mark{}, putSums: map[event.Partition]viewsums.Contents{},
		folds: folds}, nil
}

func (s *sqlite) doubt(p event.Partition, next int64) error {
	if s.marks[p].Next < next {
		return nil // it was reset meanwhile
	}
	x := s.partitions[p]
	x.Damaged = true
	s.partitions[p] = x
	s.folds.SetDamaged(p, true)
	_, err := s.conn.ExecContext(context.Background(), `UPDATE partitions SET summed = $2 WHERE partition = $1`, int64(p), viewsums.Damaged)
	return err
}

func (s *sqlite) reset(p event.Partition) error {
	if err := s.folds.Reset(p); err != nil {
		return err
	}
	t, err := s.conn.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	defer t.Rollback()
	for _, table := range tables {
		if _, err := t.Exec("DELETE FROM "+table+" WHERE partition = $1", int64(p)); err != nil { //nolint:gosec // the names stand in tables
			return err
		}
	}
	if err := t.Commit(); err != nil {
		return err
	}
	delete(s.marks, p)
	delete(s.partitions, p)
	s.folds.SetDamaged(p, false)
	s.head.SetMarks(map[event.Partition]ledger.Mark{p: {}})
	return nil
}

func (s *sqlite) away(error) bool { return false }

func (s *sqlite) note(error) {}

// close leaves the file whole by itself, without its -wal. If the process ends before, the next
// opening takes what is in the -wal.
func (s *sqlite) close() error {
	err := s.read.Close()
	_, e := s.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(err, e, s.conn.Close(), s.db.Close(), s.head.Close(), s.folds.Close())
}

// sqliteTx writes each row at once. Its connection is used for nothing else meanwhile.
type sqliteTx struct {
	sqliteReviews
	tx  *sql.Tx
	put map[event.Partition]ledger.Mark
	// putSums are what the partitions' rows must then be.
	putSums map[event.Partition]viewsums.Contents
	folds   *localfolds.Tx
}

// sqliteReviews writes what people said, the reviews of it, and the officer's views. It reads what the rows must be.
type sqliteReviews struct{ *sqlite }

func (t *sqliteTx) mark(p event.Partition) ledger.Mark { return t.marks[p] }

func (t *sqliteTx) beside() *localfolds.Tx { return t.folds }

func (t sqliteReviews) sums(p event.Partition) *viewsums.Contents {
	x, there := t.partitions[p]
	if !there {
		return new(viewsums.Stored).Contents(t.marks[p].Next)
	}
	return &x
}

func (t *sqliteTx) message(id event.ID) (*reading.Message, error) {
	var doc []byte
	err := t.sqlite.message.QueryRow(id[:]).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decode(doc)
}

func (t *sqliteTx) insertStream(s *streamRow, latest event.ID) (fresh bool, err error) {
	return t.folds.Insert(s.partition, s.subject, s.folded, latest)
}

func (t *sqliteTx) latest(subject event.Pseudonym) (event.ID, error) {
	return t.folds.Latest(subject), nil
}

func (t *sqliteTx) linkStream(s *streamRow, latest event.ID) error { return t.putStream(s, latest) }

func (t *sqliteTx) putStream(s *streamRow, latest event.ID) error {
	return t.folds.Put(s.partition, s.subject, s.folded, latest)
}

func (t *sqliteTx) insertMessage(m *reading.Message, reference sql.NullString, previous event.ID, doc []byte) (fresh bool, err error) {
	return affected(t.sqlite.insertMessage.Exec(m.ID[:], int64(m.Position.Partition), m.Tenant, m.Program, string(m.Status), reference, orNull(previous), doc))
}

func (t *sqliteTx) fillMessage(m *reading.Message, reference sql.NullString, previous event.ID, doc []byte) error {
	_, err := t.sqlite.fillMessage.Exec(m.ID[:], m.Program, string(m.Status), reference, orNull(previous), doc)
	return err
}

func (t *sqliteTx) updateMessage(m *reading.Message, was recipient.Status, doc []byte) (err error) {
	if m.Status == was {
		_, err = t.updateDoc.Exec(m.ID[:], doc) // changes no index
	} else {
		_, err = t.sqlite.updateMessage.Exec(m.ID[:], string(m.Status), doc)
	}
	return err
}

func (t *sqliteTx) putHandoff(h *projections.Handoff) error {
	_, err := t.sqlite.putHandoff.Exec(h.Ref.Message[:], h.Ref.Attempt, h.Ref.Part, int64(h.Ref.Partition), h.Ref.Tenant, h.Ref.Subject[:],
		h.Account, h.Key, h.Ref.CarrierID)
	return err
}

func (t *sqliteTx) deleteHandoff(h *projections.Handoff) error {
	_, err := t.sqlite.deleteHandoff.Exec(h.Ref.Message[:], h.Ref.Attempt, h.Ref.Part)
	return err
}

func (t *sqliteTx) putOptOut(o *projections.OptOut) (more int64, err error) {
	x := &o.Row
	var there int64
	if o.Old {
		err = t.hasOptOut.QueryRow(o.Subject[:], o.Event[:]).Scan(&there)
	} else {
		err = t.hasStanding.QueryRow(o.Subject[:], o.Event[:], string(x.Reach.Scope), viewrows.Plain(x.Reach.Name)).Scan(&there)
	}
	if err != nil {
		return 0, err
	}
	if o.Old {
		_, err = t.sqlite.putOptOut.Exec(o.Subject[:], o.Event[:], int64(x.Position.Partition), x.Position.Index, o.Tenant, string(x.Reach.Scope),
			x.Reach.Name, x.Source, x.Since.UnixMilli(), millis(x.Occurred), flag(x.Unclear), flag(underReview(o)), x.Repeats)
	} else {
		_, err = t.putStanding.Exec(o.Subject[:], o.Event[:], string(x.Reach.Scope), viewrows.Plain(x.Reach.Name), int64(x.Position.Partition), x.Position.Index, o.Tenant,
			string(x.Source), x.Since.UnixMilli(), millis(x.Occurred), flag(x.Unclear), viewrows.Plain(x.To), x.Repeats)
	}
	return 1 - there, err
}

func (t *sqliteTx) deleteOptOut(k *projections.OptOutKey) (more int64, err error) {
	old, err := affectedRows(t.sqlite.deleteOptOut.Exec(k.Subject[:], k.Event[:]))
	if err != nil {
		return 0, err
	}
	standing, err := affectedRows(t.deleteStanding.Exec(k.Subject[:], k.Event[:], string(k.Reach.Scope), viewrows.Plain(k.Reach.Name)))
	return -old - standing, err
}

func (t sqliteReviews) putReview(r *reading.Review) error {
	_, err := t.sqlite.putReview.Exec(r.Event[:], r.Subject[:], int64(r.Position.Partition), r.Position.Index, r.Tenant, string(r.Kind), viewrows.Plain(r.To),
		r.Since.UnixMilli(), r.Repeats, string(r.Unplaced))
	return err
}

func (t sqliteReviews) deleteReview(id event.ID) error {
	_, err := t.sqlite.deleteReview.Exec(id[:])
	return err
}

func (t sqliteReviews) insertInbound(x *inboundRow) error {
	_, err := t.sqlite.insertInbound.Exec(x.id[:], x.subject[:], int64(x.at.Partition), x.at.Index, x.tenant)
	return err
}

func (t sqliteReviews) tallies(tenant string, quarter int64, p event.Partition) ([]byte, error) {
	return t.desk.Load(tenant, quarter, p)
}

func (t sqliteReviews) putDesk(x *desk.Tx) error { return t.desk.Write(x) }

func (t *sqliteTx) insertReserved(m *reading.Message, r *projections.Reservation) error {
	if _, err := t.sqlite.insertReserved.Exec(viewrows.ReservedHash(m.Tenant, r.Key), int64(m.Position.Partition), m.Tenant,
		r.Key, m.ID[:], r.Input, r.Until.UnixMilli()); err != nil {
		return err
	}
	return t.folds.Reserve(m, r)
}

func (t *sqliteTx) insertTails(all []tailRow) error {
	for i := range all {
		if err := t.folds.Tail(all[i].p, &all[i].tail); err != nil {
			return err
		}
	}
	return nil
}

func (t *sqliteTx) putMark(p event.Partition, m ledger.Mark, x *viewsums.Contents) error {
	t.put[p], t.putSums[p] = m, *x
	s := x.Store(m.Next)
	s.Seal(t.ledger, p, ledger.Head{Next: m.Next, Hash: m.Hash})
	_, err := t.sqlite.putMark.Exec(int64(p), m.Next, m.Hash[:], m.Partition.Control, m.Partition.ControlEvent[:], millis(m.Partition.Time), viewmarks.CallBy(m.Partition),
		s.Summed, s.Whole, s.Sums, s.Messages, s.Reserved, s.OptOuts)
	return err
}

func (t *sqliteTx) prune(p event.Partition, reservedUntil time.Time, handoffsBefore event.ID, tailsBefore int64) (more int64, err error) {
	err = sqlrows.Each(context.Background(), t.pruneReserved, []any{int64(p), reservedUntil.UnixMilli()}, func(scan func(...any) error) error {
		var tenant, key string
		if err := scan(&tenant, &key); err != nil {
			return err
		}
		more--
		t.folds.Unreserve(tenant, key, reservedUntil)
		return nil
	})
	if err != nil {
		return 0, err
	}
	if _, err := t.pruneHandoffs.Exec(int64(p), handoffsBefore[:]); err != nil {
		return 0, err
	}
	return more, t.folds.PruneTails(p, tailsBefore)
}

func (t *sqliteTx) commit() error {
	return t.folds.Commit(func() error {
		if err := t.tx.Commit(); err != nil {
			return err
		}
		for p, m := range t.put {
			t.marks[p], t.partitions[p] = m, t.putSums[p]
		}
		t.head.SetMarks(t.put)
		return nil
	})
}

// rollback ends the transaction, committed or not.
func (t *sqliteTx) rollback() {
	_ = t.tx.Rollback() // it is an error after a commit
	t.folds.Rollback()
}

func affected(r sql.Result, err error) (bool, error) {
	n, err := affectedRows(r, err)
	return n > 0, err
}

func affectedRows(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}
