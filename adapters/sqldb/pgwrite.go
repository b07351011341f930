package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chirograph/chirograph/adapters/internal/desk"
	"github.com/chirograph/chirograph/adapters/internal/localfolds"
	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/adapters/internal/recent"
	"github.com/chirograph/chirograph/adapters/internal/viewmarks"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// pgWriter is the writer's connection, which is made anew when it is needed after it broke. A
// transaction takes two round trips: one locks the partitions and loads what the rows depend on,
// and one writes the rows as sets and commits.
type pgWriter struct {
	p     *pgEngine
	cache *recent.Messages
	sums  recent.Map[event.Pseudonym, int64] // of the streams' rows
	desk  *desk.Writer

	conn   *pgx.Conn
	schema int64 // the schema that the connection is to
	// written are the marks that this writer wrote or read last. If a row has another mark,
	// another process has written it, and what this writer remembers of the partition is out of
	// date.
	written map[event.Partition]written
}

type written struct {
	next int64
	hash [32]byte
}

// connect makes the connection, if there is none to the schema in force.
func (w *pgWriter) connect(ctx context.Context) error {
	n := w.p.schema.Load()
	if w.conn != nil && !w.conn.IsClosed() && w.schema == n {
		return nil
	}
	if w.conn != nil {
		postgres.CloseConn(w.conn)
		w.conn = nil
	}
	if w.schema != n {
		w.forget()
	}
	conn, err := w.p.client.Connect(ctx, map[string]string{
		"search_path": schemaName(n),
		// Every statement looks up sets of keys. By itself the planner reads a small new table
		// through, and keeps that plan when the table has grown.
		"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
		"plan_cache_mode": "force_generic_plan",
	})
	if err != nil {
		return err
	}
	w.conn, w.schema = conn, n
	return nil
}

func (w *pgWriter) forget() {
	w.cache.Clear()
	w.sums.Clear()
	w.desk.Forget()
	clear(w.written)
}

// errOtherSchema means that the views are in another schema than the connection.
var errOtherSchema = errors.New("the views have moved to another schema")

func (p *pgEngine) begin(batches []*ledger.Batch) (tx, error) {
	t := &pgTx{w: &p.writer}
	t.ctx, t.cancel = context.WithTimeout(context.Background(), p.times.write)
	err := t.begin(batches)
	for n := 0; errors.Is(err, errOtherSchema) && n < 3; n++ {
		t.undo()
		err = t.begin(batches)
	}
	if err != nil {
		t.rollback()
		return nil, p.explain(err)
	}
	return t, nil
}

// pgTx collects rows, and sends them at commit.
type pgTx struct {
	w      *pgWriter
	ctx    context.Context
	cancel context.CancelFunc
	open   bool
	// committed says that the rows, and with them their sums, are as this transaction has written them.
	committed bool
	// readOnly says that the server takes no writes.
	readOnly bool

	marks   map[event.Partition]ledger.Mark
	docs    map[event.ID]*reading.Message
	latests map[event.Pseudonym]event.ID
	// partitions is what the rows must be, and rowSums are the sums of rows, where they exist.
	partitions map[event.Partition]*viewsums.Contents
	rowSums    map[event.Pseudonym]rowSum
	remembered bool // some of rowSums were remembered, and not loaded
	put        map[event.Partition]ledger.Mark
	putSums    map[event.Partition]*viewsums.Contents
	prunings   []pruning

	staged
	desk *desk.Tx
}

type rowSum struct {
	sum   int64
	there bool
}

type pruning struct {
	p      event.Partition
	until  int64
	before event.ID
	tails  int64
}

// begin locks the partitions, in order, and loads the messages that are not remembered, and the
// latest message of each stream in which a message begins.
func (t *pgTx) begin(batches []*ledger.Batch) error {
	if err := t.w.connect(t.ctx); err != nil {
		return err
	}
	t.marks, t.docs, t.latests = map[event.Partition]ledger.Mark{}, map[event.ID]*reading.Message{}, map[event.Pseudonym]event.ID{}
	t.partitions, t.rowSums = map[event.Partition]*viewsums.Contents{}, map[event.Pseudonym]rowSum{}
	t.put, t.putSums = map[event.Partition]ledger.Mark{}, map[event.Partition]*viewsums.Contents{}
	var name string
	partitions := map[event.Partition]bool{}
	for _, b := range batches {
		partitions[b.Partition] = true
	}
	keys := make([]int16, 0, len(partitions))
	for p := range partitions {
		keys = append(keys, int16(p))
	}
	slices.Sort(keys) // all processes make rows in the same order
	b := new(pgx.Batch)
	t.open = true
	b.Queue(`BEGIN`)
	if !t.w.p.pinned {
		// A switch to another schema waits until no transaction has this lock, and then takes it.
		b.Queue(`SELECT name FROM chirograph.current_views FOR SHARE`).QueryRow(func(row pgx.Row) error { return row.Scan(&name) })
	}
	b.Queue(`SELECT `+viewmarks.Columns+`, `+viewsums.Columns+` FROM partitions WHERE partition = ANY($1) ORDER BY partition FOR NO KEY UPDATE`, keys).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var x viewsums.Stored
			p, m, err := viewmarks.Scan(rows.Scan, x.Into()...)
			if err != nil {
				return err
			}
			t.marks[p], t.partitions[p] = m, x.Contents(m.Next)
		}
		return rows.Err()
	})
	t.loads(b, batches)
	if err := t.send(b); err != nil {
		return err
	}
	if name != "" && name != schemaName(t.w.schema) {
		if !t.w.p.follow(name) {
			return fmt.Errorf("the views are in %s, and were in %s before", name, schemaName(t.w.schema))
		}
		return errOtherSchema
	}
	if len(t.marks) < len(keys) {
		// Only rows that exist can be locked. Several processes may make them: each results once.
		if _, err := t.w.conn.Exec(t.ctx, `INSERT INTO partitions (partition, next, hash, control, control_event, call_by)
			SELECT p, 0, '\x', 0, '\x', 0 FROM unnest($1::smallint[]) AS p ON CONFLICT (partition) DO NOTHING`, keys); err != nil {
			return err
		}
		if _, err := t.w.conn.Exec(t.ctx, `COMMIT`); err != nil {
			return err
		}
		t.open = false
		return t.begin(batches)
	}
	stale := false
	for p, m := range t.marks {
		if t.w.written[p] != (written{m.Next, m.Hash}) {
			stale = t.w.cache.Drop(p) || stale || t.remembered
			t.w.sums.Clear()
			t.w.written[p] = written{m.Next, m.Hash}
		}
	}
	if stale {
		clear(t.rowSums)
		b := new(pgx.Batch)
		t.loads(b, batches)
		return t.send(b)
	}
	return nil
}

// loads queues the loading of messages that are neither remembered nor loaded.
func (t *pgTx) loads(b *pgx.Batch, batches []*ledger.Batch) {
	var messages, streams [][]byte
	for _, batch := range batches {
		for i := range batch.Judged {
			j := &batch.Judged[i]
			if j.Event == nil {
				continue
			}
			if id := j.Event.MessageID(); !id.IsZero() && t.w.cache.Get(id) == nil {
				if _, asked := t.docs[id]; !asked {
					t.docs[id] = nil
					messages = append(messages, id[:])
				}
			}
			if mayBegin(j) {
				if _, asked := t.rowSums[j.Event.Subject]; !asked {
					t.latests[j.Event.Subject], t.rowSums[j.Event.Subject] = noRow, rowSum{}
					streams = append(streams, j.Event.Subject[:])
				}
			}
		}
	}
	for _, batch := range batches {
		for i := range batch.Streams {
			s := &batch.Streams[i].Subject
			if _, asked := t.rowSums[*s]; asked {
				continue
			}
			sum, kept := t.w.sums.Get(*s)
			t.rowSums[*s] = rowSum{sum, kept}
			if t.remembered = t.remembered || kept; !kept {
				streams = append(streams, s[:])
			}
		}
	}
	if len(messages) > 0 {
		b.Queue(`SELECT doc FROM messages WHERE id = ANY($1)`, messages).Query(func(rows pgx.Rows) error {
			var doc pgtype.DriverBytes
			for rows.Next() {
				if err := rows.Scan(&doc); err != nil {
					return err
				}
				m, err := decode(doc)
				if err != nil {
					return err
				}
				t.docs[m.ID] = m
			}
			return rows.Err()
		})
	}
	if len(streams) > 0 {
		b.Queue(`SELECT subject, latest, sum FROM streams WHERE subject = ANY($1)`, streams).Query(func(rows pgx.Rows) error {
			var subject, latest []byte
			var sum sql.NullInt64
			for rows.Next() {
				if err := rows.Scan(&subject, &latest, &sum); err != nil {
					return err
				}
				t.latests[event.Pseudonym(toID(subject))], t.rowSums[event.Pseudonym(toID(subject))] = toID(latest), rowSum{sum.Int64, true}
			}
			return rows.Err()
		})
	}
}

// noRow stands for the latest message of a stream that has no row.
var noRow = event.ID{15: 1}

func (t *pgTx) send(b *pgx.Batch) error {
	err := t.w.conn.SendBatch(t.ctx, b).Close()
	t.readOnly = postgres.ReadOnly(err)
	return err
}

func (t *pgTx) mark(p event.Partition) ledger.Mark { return t.marks[p] }

// beside: rows and folds are in one database, and have one mark.
func (t *pgTx) beside() *localfolds.Tx { return nil }

func (t *pgTx) sums(p event.Partition) *viewsums.Contents { return t.partitions[p] }

func (t *pgTx) message(id event.ID) (*reading.Message, error) { return t.docs[id], nil }

func (t *pgTx) latest(subject event.Pseudonym) (event.ID, error) { return t.latests[subject], nil }

func (t *pgTx) commit() error {
	b := t.batch(t.put, t.putSums, t.prunings)
	t.desk.Queue(b)
	b.Queue(`COMMIT`)
	err := t.send(b)
	t.open = err != nil
	if err != nil {
		return t.w.p.explain(err)
	}
	t.committed = true
	for p, m := range t.put {
		t.w.written[p] = written{m.Next, m.Hash}
	}
	return nil
}

// undo rolls the transaction back, if it was begun and not committed.
func (t *pgTx) undo() {
	if t.readOnly { // let the next connections, of readers too, find another server
		postgres.CloseConn(t.w.conn)
		t.w.p.client.Drop()
	}
	if t.open && t.w.conn != nil && !t.w.conn.IsClosed() {
		if _, err := t.w.conn.Exec(t.ctx, `ROLLBACK`); err != nil {
			postgres.CloseConn(t.w.conn)
		}
	}
	t.open = false
}

func (t *pgTx) rollback() {
	t.undo()
	if !t.committed {
		t.w.sums.Clear()
	}
	t.cancel()
}

// staged are the rows to be written, column by column.
type staged struct {
	// Streams that have no row, streams that may have one, and streams of which only the latest
	// message changes.
	newStreams, streams, linked streamColumns
	// Messages that have no row, messages whose submit came after a cancel, and other messages.
	newMessages, filled, messages messageColumns
	handoffs, closed              handoffColumns
	optOuts                       optOutColumnsOf
	lifted                        endedColumns
	standing                      standingColumns
	reviews                       reviewColumns
	closedReviews                 array[[]byte]
	inbound                       inboundColumns
	reserved                      reservedColumns
	tails                         tailColumns
}

// array is a column. pgx encodes this type without reflection.
type array[T any] = pgtype.FlatArray[T]

type streamColumns struct {
	subject   array[[]byte]
	partition array[int16]
	state     array[[]byte]
	due       array[pgtype.Int8]
	latest    array[[]byte]
	sum       array[int64]
}

type messageColumns struct {
	id                      array[[]byte]
	partition               array[int16]
	tenant, program, status array[string]
	reference               array[pgtype.Text]
	previous, doc           array[[]byte]
}

type handoffColumns struct {
	message                array[[]byte]
	attempt, part          array[int16]
	partition              array[int16]
	tenant                 array[string]
	subject                array[[]byte]
	account, key, carriers array[string]
}

type optOutColumnsOf struct {
	subject, event              array[[]byte]
	partition                   array[int16]
	position                    array[int64]
	tenant, scope, name, source array[string]
	since                       array[int64]
	occurred                    array[pgtype.Int8]
	unclear, review             array[int16]
	repeats                     array[int64]
}

type endedColumns struct {
	subject, event array[[]byte]
	scope, name    array[string]
}

type standingColumns struct {
	endedColumns
	partition      array[int16]
	position       array[int64]
	tenant, source array[string]
	since          array[int64]
	occurred       array[pgtype.Int8]
	unclear        array[int16]
	to             array[string]
	repeats        array[int64]
}

type reviewColumns struct {
	event, subject   array[[]byte]
	partition        array[int16]
	position         array[int64]
	tenant, kind, to array[string]
	since, repeats   array[int64]
	unplaced         array[string]
}

type inboundColumns struct {
	event, subject array[[]byte]
	partition      array[int16]
	position       array[int64]
	tenant         array[string]
}

type reservedColumns struct {
	hash        array[int64]
	partition   array[int16]
	tenant, key array[string]
	message     array[[]byte]
	input       array[string]
	until       array[int64]
}

type tailColumns struct {
	partition       array[int16]
	day             array[int32]
	tail            array[int64]
	account, tenant array[string]
	subject         array[[]byte]
}

type markColumnsOf struct {
	partition          array[int16]
	next, control      array[int64]
	hash, controlEvent array[[]byte]
	time               array[pgtype.Int8]
	callBy             array[int64]

	summed, whole               array[pgtype.Int8]
	sums                        array[[]byte]
	messages, reserved, optOuts array[pgtype.Int8]
}

func (c *markColumnsOf) add(p event.Partition, m ledger.Mark, x *viewsums.Contents) {
	s := x.Store(m.Next)
	c.summed, c.whole, c.sums = append(c.summed, pgtype.Int8(s.Summed)), append(c.whole, pgtype.Int8(s.Whole)), append(c.sums, s.Sums)
	c.messages, c.reserved, c.optOuts = append(c.messages, pgtype.Int8(s.Messages)), append(c.reserved, pgtype.Int8(s.Reserved)), append(c.optOuts, pgtype.Int8(s.OptOuts))
	c.partition = append(c.partition, int16(p))
	c.next = append(c.next, m.Next)
	c.hash = append(c.hash, m.Hash[:])
	c.control = append(c.control, m.Partition.Control)
	c.controlEvent = append(c.controlEvent, m.Partition.ControlEvent[:])
	c.time = append(c.time, pgtype.Int8(millis(m.Partition.Time)))
	c.callBy = append(c.callBy, viewmarks.CallBy(m.Partition))
}

func (c *streamColumns) add(s *streamRow, latest event.ID) {
	state, due := s.fold()
	c.subject = append(c.subject, s.subject[:])
	c.partition = append(c.partition, int16(s.partition))
	c.state = append(c.state, state)
	c.due = append(c.due, pgtype.Int8(due))
	c.latest = append(c.latest, orNull(latest))
	c.sum = append(c.sum, s.sum())
}

func (c *messageColumns) add(m *reading.Message, reference sql.NullString, previous event.ID, doc []byte) {
	c.id = append(c.id, m.ID[:])
	c.partition = append(c.partition, int16(m.Position.Partition))
	c.tenant = append(c.tenant, m.Tenant)
	c.program = append(c.program, m.Program)
	c.status = append(c.status, string(m.Status))
	c.reference = append(c.reference, pgtype.Text(reference))
	c.previous = append(c.previous, orNull(previous))
	c.doc = append(c.doc, doc)
}

func (c *handoffColumns) add(h *projections.Handoff) {
	r := &h.Ref
	c.message = append(c.message, r.Message[:])
	c.attempt = append(c.attempt, int16(r.Attempt))
	c.part = append(c.part, int16(r.Part))
	c.partition = append(c.partition, int16(r.Partition))
	c.tenant = append(c.tenant, r.Tenant)
	c.subject = append(c.subject, r.Subject[:])
	c.account = append(c.account, h.Account)
	c.key = append(c.key, h.Key)
	c.carriers = append(c.carriers, r.CarrierID)
}

func (t *pgTx) insertStream(s *streamRow, latest event.ID) (fresh bool, err error) {
	if t.latests[s.subject] != noRow {
		return false, nil
	}
	t.newStreams.add(s, latest)
	t.sum(s)
	return true, nil
}

// sum takes down the sum that a row will have. What it takes down in a bucket that is not whole is not used.
func (t *pgTx) sum(s *streamRow) {
	x := t.partitions[s.partition]
	if old := t.rowSums[s.subject]; old.there {
		x.Replace(s.subject, old.sum, s.sum())
	} else {
		x.Insert(s.subject, s.sum())
	}
	t.w.sums.Put(s.subject, s.sum())
}

func (s *staged) linkStream(row *streamRow, latest event.ID) error {
	subject := row.subject
	s.linked.add(&streamRow{subject: subject}, latest)
	return nil
}

func (t *pgTx) putStream(s *streamRow, latest event.ID) error {
	t.streams.add(s, latest)
	t.sum(s)
	return nil
}

func (t *pgTx) insertMessage(m *reading.Message, reference sql.NullString, previous event.ID, doc []byte) (fresh bool, err error) {
	if t.docs[m.ID] != nil {
		return false, nil
	}
	t.newMessages.add(m, reference, previous, doc)
	return true, nil
}

func (s *staged) fillMessage(m *reading.Message, reference sql.NullString, previous event.ID, doc []byte) error {
	s.filled.add(m, reference, previous, doc)
	return nil
}

// updateMessage writes the status even if it is the same: that costs nothing.
func (s *staged) updateMessage(m *reading.Message, _ recipient.Status, doc []byte) error {
	c := &s.messages
	c.id, c.status, c.doc = append(c.id, m.ID[:]), append(c.status, string(m.Status)), append(c.doc, doc)
	return nil
}

func (s *staged) putHandoff(h *projections.Handoff) error {
	s.handoffs.add(h)
	return nil
}

func (s *staged) deleteHandoff(h *projections.Handoff) error {
	s.closed.add(h)
	return nil
}

func (s *staged) putOptOut(o *projections.OptOut) (int64, error) {
	x := &o.Row
	if !o.Old {
		c := &s.standing
		c.add(&o.OptOutKey)
		c.partition = append(c.partition, int16(x.Position.Partition))
		c.position = append(c.position, x.Position.Index)
		c.tenant = append(c.tenant, o.Tenant)
		c.source = append(c.source, string(x.Source))
		c.since = append(c.since, x.Since.UnixMilli())
		c.occurred = append(c.occurred, pgtype.Int8(millis(x.Occurred)))
		c.unclear = append(c.unclear, int16(flag(x.Unclear)))
		c.to = append(c.to, viewrows.Plain(x.To))
		c.repeats = append(c.repeats, int64(x.Repeats))
		return 0, nil
	}
	c := &s.optOuts
	c.subject = append(c.subject, o.Subject[:])
	c.event = append(c.event, o.Event[:])
	c.partition = append(c.partition, int16(x.Position.Partition))
	c.position = append(c.position, x.Position.Index)
	c.tenant = append(c.tenant, o.Tenant)
	c.scope = append(c.scope, string(x.Reach.Scope))
	c.name = append(c.name, x.Reach.Name)
	c.source = append(c.source, string(x.Source))
	c.since = append(c.since, x.Since.UnixMilli())
	c.occurred = append(c.occurred, pgtype.Int8(millis(x.Occurred)))
	c.unclear = append(c.unclear, int16(flag(x.Unclear)))
	c.review = append(c.review, int16(flag(underReview(o))))
	c.repeats = append(c.repeats, int64(x.Repeats))
	return 0, nil
}

func (c *endedColumns) add(k *projections.OptOutKey) {
	c.subject, c.event = append(c.subject, k.Subject[:]), append(c.event, k.Event[:])
	c.scope, c.name = append(c.scope, string(k.Reach.Scope)), append(c.name, viewrows.Plain(k.Reach.Name))
}

func (s *staged) deleteOptOut(k *projections.OptOutKey) (int64, error) {
	s.lifted.add(k)
	return 0, nil
}

func (s *staged) putReview(r *reading.Review) error {
	c := &s.reviews
	c.event, c.subject = append(c.event, r.Event[:]), append(c.subject, r.Subject[:])
	c.partition, c.position = append(c.partition, int16(r.Position.Partition)), append(c.position, r.Position.Index)
	c.tenant, c.kind, c.to = append(c.tenant, r.Tenant), append(c.kind, string(r.Kind)), append(c.to, viewrows.Plain(r.To))
	c.since, c.repeats = append(c.since, r.Since.UnixMilli()), append(c.repeats, int64(r.Repeats))
	c.unplaced = append(c.unplaced, string(r.Unplaced))
	return nil
}

func (s *staged) deleteReview(id event.ID) error {
	s.closedReviews = append(s.closedReviews, id[:])
	return nil
}

func (s *staged) insertInbound(x *inboundRow) error {
	c := &s.inbound
	c.event, c.subject = append(c.event, x.id[:]), append(c.subject, x.subject[:])
	c.partition, c.position = append(c.partition, int16(x.at.Partition)), append(c.position, x.at.Index)
	c.tenant = append(c.tenant, x.tenant)
	return nil
}

func (s *staged) insertReserved(m *reading.Message, r *projections.Reservation) error {
	c := &s.reserved
	c.hash = append(c.hash, viewrows.ReservedHash(m.Tenant, r.Key))
	c.partition = append(c.partition, int16(m.Position.Partition))
	c.tenant = append(c.tenant, m.Tenant)
	c.key = append(c.key, r.Key)
	c.message = append(c.message, m.ID[:])
	c.input = append(c.input, r.Input)
	c.until = append(c.until, r.Until.UnixMilli())
	return nil
}

func (s *staged) insertTails(all []tailRow) error {
	c := &s.tails
	for i := range all {
		x := &all[i].tail
		c.partition = append(c.partition, int16(all[i].p))
		c.day = append(c.day, int32(x.Day))
		c.account = append(c.account, x.Account)
		c.tail = append(c.tail, x.Tail)
		c.tenant = append(c.tenant, x.Tenant)
		c.subject = append(c.subject, x.Subject[:])
	}
	return nil
}

func (t *pgTx) putMark(p event.Partition, m ledger.Mark, x *viewsums.Contents) error {
	t.put[p], t.putSums[p] = m, x
	return nil
}

func (t *pgTx) prune(p event.Partition, reservedUntil time.Time, handoffsBefore event.ID, tailsBefore int64) (int64, error) {
	t.prunings = append(t.prunings, pruning{p, reservedUntil.UnixMilli(), handoffsBefore, tailsBefore})
	return 0, nil
}

// batch is all statements that write what is staged.
func (s *staged) batch(marks map[event.Partition]ledger.Mark, sums map[event.Partition]*viewsums.Contents, prunings []pruning) *pgx.Batch {
	b := new(pgx.Batch)
	s.marks(b, marks, sums) // before what changes the counts further
	if c := &s.newStreams; len(c.subject) > 0 {
		b.Queue(`INSERT INTO streams (subject, partition, state, due, latest, sum)
			SELECT * FROM unnest($1::bytea[], $2::smallint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[])`,
			c.subject, c.partition, c.state, c.due, c.latest, c.sum)
	}
	if c := &s.streams; len(c.subject) > 0 {
		b.Queue(`INSERT INTO streams AS s (subject, partition, state, due, latest, sum)
			SELECT * FROM unnest($1::bytea[], $2::smallint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[])
			ON CONFLICT (subject) DO UPDATE SET state = excluded.state, due = excluded.due, latest = coalesce(excluded.latest, s.latest), sum = excluded.sum`,
			c.subject, c.partition, c.state, c.due, c.latest, c.sum)
	}
	if c := &s.linked; len(c.subject) > 0 {
		b.Queue(`UPDATE streams s SET latest = u.latest FROM unnest($1::bytea[], $2::bytea[]) AS u (subject, latest) WHERE s.subject = u.subject`,
			c.subject, c.latest)
	}
	if c := &s.newMessages; len(c.id) > 0 {
		b.Queue(`INSERT INTO messages (id, partition, tenant, program, status, reference, previous, doc)
			SELECT * FROM unnest($1::bytea[], $2::smallint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[])`,
			c.id, c.partition, c.tenant, c.program, c.status, c.reference, c.previous, c.doc)
	}
	if c := &s.filled; len(c.id) > 0 {
		b.Queue(`UPDATE messages m SET program = u.program, status = u.status, reference = u.reference, previous = u.previous, doc = u.doc
			FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[]) AS u (id, program, status, reference, previous, doc)
			WHERE m.id = u.id`, c.id, c.program, c.status, c.reference, c.previous, c.doc)
	}
	if c := &s.messages; len(c.id) > 0 {
		b.Queue(`UPDATE messages m SET status = u.status, doc = u.doc
			FROM unnest($1::bytea[], $2::text[], $3::bytea[]) AS u (id, status, doc) WHERE m.id = u.id`, c.id, c.status, c.doc)
	}
	if c := &s.closed; len(c.message) > 0 {
		b.Queue(`DELETE FROM handoffs h USING unnest($1::bytea[], $2::smallint[], $3::smallint[]) AS u (message, attempt, part)
			WHERE h.message = u.message AND h.attempt = u.attempt AND h.part = u.part`, c.message, c.attempt, c.part)
	}
	if c := &s.handoffs; len(c.message) > 0 {
		b.Queue(`INSERT INTO handoffs (message, attempt, part, partition, tenant, subject, account, key, carrier_id)
			SELECT * FROM unnest($1::bytea[], $2::smallint[], $3::smallint[], $4::smallint[], $5::text[], $6::bytea[], $7::text[], $8::text[], $9::text[])
			ON CONFLICT (message, attempt, part) DO UPDATE SET account = excluded.account, key = excluded.key, carrier_id = excluded.carrier_id`,
			c.message, c.attempt, c.part, c.partition, c.tenant, c.subject, c.account, c.key, c.carriers)
	}
	s.suppression(b)
	if c := &s.reserved; len(c.hash) > 0 {
		b.Queue(`INSERT INTO reserved (hash, partition, tenant, key, message, input, keep_until)
			SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bigint[])`,
			c.hash, c.partition, c.tenant, c.key, c.message, c.input, c.until)
	}
	if c := &s.tails; len(c.day) > 0 {
		b.Queue(`INSERT INTO tails (partition, day, account, tail, tenant, subject)
			SELECT * FROM unnest($1::smallint[], $2::integer[], $3::text[], $4::bigint[], $5::text[], $6::bytea[])`,
			c.partition, c.day, c.account, c.tail, c.tenant, c.subject)
	}
	for _, x := range prunings {
		b.Queue(`WITH pruned AS (`+pruneReserved+` RETURNING 1)
			UPDATE partitions SET reserved_rows = reserved_rows - (SELECT count(*) FROM pruned) WHERE partition = $1`, int16(x.p), x.until)
		b.Queue(pruneHandoffs, int16(x.p), x.before[:])
		b.Queue(`DELETE FROM tails WHERE ctid = ANY(ARRAY(SELECT ctid FROM tails WHERE partition = $1 AND day < $2 LIMIT $3))`, int16(x.p), int32(x.tails), maxPruned)
	}
	return b
}

func (s *staged) marks(b *pgx.Batch, marks map[event.Partition]ledger.Mark, sums map[event.Partition]*viewsums.Contents) {
	c := markColumnsOf{}
	for p, m := range marks {
		c.add(p, m, sums[p])
	}
	b.Queue(`UPDATE partitions p SET next = u.next, hash = u.hash, control = u.control, control_event = u.control_event, time = u.time, call_by = u.call_by,
			summed = u.summed, whole = u.whole, sums = u.sums, messages_rows = u.messages_rows, reserved_rows = u.reserved_rows, opt_outs_rows = u.opt_outs_rows
		FROM unnest($1::smallint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[],
				$8::bigint[], $9::bigint[], $10::bytea[], $11::bigint[], $12::bigint[], $13::bigint[])
			AS u (partition, next, hash, control, control_event, time, call_by, `+viewsums.Columns+`) WHERE p.partition = u.partition`,
		c.partition, c.next, c.hash, c.control, c.controlEvent, c.time, c.callBy, c.summed, c.whole, c.sums, c.messages, c.reserved, c.optOuts)
}

// countOptOuts makes the statement that counts what a statement with RETURNING partition has changed in opt_outs or
// standing: sign is + or -, and fresh what a row that counts fulfils.
func countOptOuts(text, sign, fresh string) string {
	return `WITH changed AS (` + text + `)
		UPDATE partitions p SET opt_outs_rows = opt_outs_rows ` + sign + ` c.n
		FROM (SELECT partition, count(*) AS n FROM changed WHERE ` + fresh + ` GROUP BY partition) AS c WHERE p.partition = c.partition`
}

func (t *pgTx) tallies(tenant string, quarter int64, p event.Partition) ([]byte, error) {
	return desk.LoadPostgres(t.ctx, t.w.conn, tenant, quarter, p)
}

func (t *pgTx) putDesk(x *desk.Tx) error {
	t.desk = x
	return nil
}

// suppression is the statements for opt-outs, reviews and inbound messages.
func (s *staged) suppression(b *pgx.Batch) {
	if c := &s.lifted; len(c.subject) > 0 {
		b.Queue(countOptOuts(`DELETE FROM opt_outs o USING unnest($1::bytea[], $2::bytea[]) AS u (subject, event) WHERE o.subject = u.subject AND o.event = u.event
			RETURNING partition`, `-`, `true`), c.subject, c.event)
		b.Queue(countOptOuts(`DELETE FROM standing o USING unnest($1::bytea[], $2::bytea[], $3::text[], $4::text[]) AS u (subject, event, scope, name)
			WHERE o.subject = u.subject AND o.event = u.event AND o.scope = u.scope AND o.name = u.name RETURNING partition`, `-`, `true`), c.subject, c.event, c.scope, c.name)
	}
	if c := &s.optOuts; len(c.subject) > 0 {
		b.Queue(countOptOuts(`INSERT INTO opt_outs (subject, event, partition, position, tenant, scope, name, source, since, occurred, unclear, review, repeats)
			SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::smallint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
				$9::bigint[], $10::bigint[], $11::smallint[], $12::smallint[], $13::bigint[])
			ON CONFLICT (subject, event) DO UPDATE SET position = excluded.position, since = excluded.since, occurred = excluded.occurred,
				unclear = excluded.unclear, review = excluded.review, repeats = excluded.repeats RETURNING partition, xmax`, `+`, `xmax = 0`),
			c.subject, c.event, c.partition, c.position, c.tenant, c.scope, c.name, c.source, c.since, c.occurred, c.unclear, c.review, c.repeats)
	}
	if c := &s.standing; len(c.subject) > 0 {
		b.Queue(countOptOuts(`INSERT INTO standing (subject, event, scope, name, partition, position, tenant, source, since, occurred, unclear, to_number, repeats)
			SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::text[], $8::text[],
				$9::bigint[], $10::bigint[], $11::smallint[], $12::text[], $13::bigint[])
			ON CONFLICT (subject, event, scope, name) DO UPDATE SET position = excluded.position, since = excluded.since, occurred = excluded.occurred,
				unclear = excluded.unclear, to_number = excluded.to_number, repeats = excluded.repeats RETURNING partition, xmax`, `+`, `xmax = 0`),
			c.subject, c.event, c.scope, c.name, c.partition, c.position, c.tenant, c.source, c.since, c.occurred, c.unclear, c.to, c.repeats)
	}
	if len(s.closedReviews) > 0 {
		b.Queue(`DELETE FROM reviews WHERE event = ANY($1)`, s.closedReviews)
	}
	if c := &s.reviews; len(c.event) > 0 {
		b.Queue(`INSERT INTO reviews (event, subject, partition, position, tenant, kind, to_number, since, repeats, unplaced)
			SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::smallint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::text[])
			ON CONFLICT (event) DO UPDATE SET position = excluded.position, kind = excluded.kind, to_number = excluded.to_number,
			since = excluded.since, repeats = excluded.repeats, unplaced = excluded.unplaced`,
			c.event, c.subject, c.partition, c.position, c.tenant, c.kind, c.to, c.since, c.repeats, c.unplaced)
	}
	if c := &s.inbound; len(c.event) > 0 {
		b.Queue(`INSERT INTO inbound (event, subject, partition, position, tenant)
			SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::smallint[], $4::bigint[], $5::text[]) ON CONFLICT (event) DO NOTHING`,
			c.event, c.subject, c.partition, c.position, c.tenant)
	}
}

func (p *pgEngine) doubt(part event.Partition, next int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.times.write)
	defer cancel()
	_, err := p.client.DB().ExecContext(ctx, `UPDATE partitions SET summed = $3 WHERE partition = $1 AND next >= $2`, int64(part), next, viewsums.Damaged)
	return p.explain(err)
}

// reset drops everything of a partition. It reads every table through; its time is not bounded.
func (p *pgEngine) reset(part event.Partition) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.times.write)
	defer cancel()
	t := &pgTx{w: &p.writer, ctx: ctx, cancel: func() {}}
	err := t.begin([]*ledger.Batch{{Partition: part}})
	if errors.Is(err, errOtherSchema) {
		t.undo()
		err = t.begin([]*ledger.Batch{{Partition: part}})
	}
	if err == nil {
		t.ctx = context.Background()
		b := new(pgx.Batch)
		b.Queue(`SET LOCAL statement_timeout = 0`)
		for _, table := range tables {
			b.Queue("DELETE FROM "+table+" WHERE partition = $1", int16(part))
		}
		b.Queue(`COMMIT`)
		err = t.send(b)
		t.open = err != nil
	}
	t.undo()
	p.writer.sums.Clear()
	delete(p.writer.written, part)
	return p.explain(err)
}
