package sqldb

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
	"github.com/chirograph/chirograph/projections"
)

// maxMerged bounds the events of one transaction: enough to write a busy message's
// events as one row, little enough that a reader's wait for a position stays short.
const maxMerged = 8192

// pruneEvery is how much of a partition's time passes between two prunings.
const pruneEvery = time.Minute

// op is one thing for the writer: a batch, or the reset of a partition.
type op struct {
	batch *ledger.Batch
	reset event.Partition // when batch is nil
	done  func(error)
}

// Write is part of ledger.Views. done runs on the writer's goroutine: it must not
// block and must not call Write.
func (d *DB) Write(b *ledger.Batch, done func(error)) { d.put(op{batch: b, done: done}) }

// Reset is part of ledger.Views: batches that were queued before are applied
// first and dropped with the rest. After an error nothing was dropped, unless it is
// ctx's: then the reset may still come. It reads every table through; to drop all
// partitions, remove the file.
func (d *DB) Reset(ctx context.Context, p event.Partition) error {
	answer := make(chan error, 1)
	d.put(op{reset: p, done: func(err error) { answer <- err }})
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *DB) put(o op) {
	d.closed.RLock()
	if !d.done {
		d.queue <- o
		d.closed.RUnlock()
		return
	}
	d.closed.RUnlock()
	o.done(ErrClosed)
}

// writer takes what is queued, as one transaction if it can. It ends when the
// queue is closed and empty.
func (d *DB) writer() {
	for first := range d.queue {
		if first.batch == nil {
			first.done(d.reset(first.reset))
			continue
		}
		merged, events := []op{first}, len(first.batch.Judged)
		var reset *op
	merge:
		for events < maxMerged {
			select {
			case next, ok := <-d.queue:
				switch {
				case !ok:
					break merge
				case next.batch == nil:
					reset = &next
					break merge
				}
				merged = append(merged, next)
				events += len(next.batch.Judged)
			default:
				break merge
			}
		}
		d.commit(merged)
		if reset != nil {
			reset.done(d.reset(reset.reset))
		}
	}
}

// commit writes batches in one transaction; when that fails, each in one of its
// own, so that only those fail that cannot be written.
func (d *DB) commit(ops []op) {
	t := d.begin()
	var taken []op
	for _, o := range ops {
		if err := t.take(o.batch); err != nil {
			o.done(err)
			continue
		}
		taken = append(taken, o)
	}
	if len(taken) == 0 {
		return
	}
	err := t.err
	if err == nil {
		err = t.flush()
	}
	if err == nil {
		d.publish(t)
	} else {
		d.cache.clear() // its messages may have been changed
		if len(taken) > 1 {
			for _, o := range taken {
				d.commit([]op{o})
			}
			return
		}
	}
	for _, o := range taken {
		o.done(err)
	}
}

// publish makes a commit known.
func (d *DB) publish(t *txn) {
	for _, row := range t.messages {
		d.cache.put(row.m)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for p, m := range t.marks {
		d.marks[p] = m
		d.wakePositions(p, m.Next)
	}
	d.committed = time.Now()
	if len(d.changes) > 0 {
		for id, row := range t.messages {
			d.wakeChanges(id, row.m.Status)
		}
	}
}

// txn is what becomes one transaction: the rows as they shall be.
type txn struct {
	d   *DB
	err error

	marks    map[event.Partition]ledger.Mark
	messages map[event.ID]*messageRow
	touched  []*messageRow // in the order of their first event
	streams  map[event.Pseudonym]*streamRow
	order    []*streamRow
	optOuts  map[optOutKey]*optOutRow
	optOrder []*optOutRow
}

type messageRow struct {
	id event.ID
	m  *projections.Message
	// exists: there is a row, with this status and these hand-offs; linked: it is in
	// its stream's chain; written: as it shall be.
	exists, linked, written bool
	status                  recipient.Status
	before                  []projections.Handoff
	// submit is the submit, where this transaction brings it.
	submit *ledger.Judged
	// judged are the events of a row that was taken for a new one without looking.
	judged []judgedAt
}

type judgedAt struct {
	p event.Partition
	j *ledger.Judged
}

type streamRow struct {
	subject   event.Pseudonym
	partition event.Partition
	folded    *ledger.Folded
	// submitted are its messages whose submits came, in order.
	submitted []*messageRow
}

type optOutKey struct {
	subject event.Pseudonym
	event   event.ID
}

type optOutRow struct {
	optOutKey
	tenant string
	stands *projections.OptOut // nil: lifted
	part   bool
}

func (d *DB) begin() *txn {
	return &txn{d: d, marks: map[event.Partition]ledger.Mark{}, messages: map[event.ID]*messageRow{},
		streams: map[event.Pseudonym]*streamRow{}, optOuts: map[optOutKey]*optOutRow{}}
}

// take adds a batch to the transaction. A batch that does not follow densely is
// refused and leaves no trace.
func (t *txn) take(b *ledger.Batch) error {
	mark, ok := t.marks[b.Partition]
	if !ok {
		mark = t.d.mark(b.Partition)
	}
	for i := range b.Judged {
		if at := b.Judged[i].Index; at != mark.Next+int64(i) {
			return fmt.Errorf("the views of partition %s stand at %d: event %d does not follow", b.Partition, mark.Next, at)
		}
	}
	if end := mark.Next + int64(len(b.Judged)); b.Mark.Next != end {
		return fmt.Errorf("the views of partition %s: a batch that ends before %d says %d", b.Partition, end, b.Mark.Next)
	}
	t.marks[b.Partition] = b.Mark
	for i := range b.Judged {
		if t.err == nil {
			t.apply(b.Partition, &b.Judged[i])
		}
	}
	for i := range b.Streams {
		t.stream(b.Partition, b.Streams[i].Subject).folded = &b.Streams[i]
	}
	return nil
}

func (t *txn) stream(p event.Partition, subject event.Pseudonym) *streamRow {
	s := t.streams[subject]
	if s == nil {
		s = &streamRow{subject: subject, partition: p}
		t.streams[subject] = s
		t.order = append(t.order, s)
	}
	return s
}

func (t *txn) apply(p event.Partition, j *ledger.Judged) {
	e := j.Event
	lifts, stands, part := projections.OptOuts(p, j)
	for _, id := range lifts {
		t.optOut(optOutKey{e.Subject, id}, e.Tenant, nil, false)
	}
	if stands != nil {
		t.optOut(optOutKey{e.Subject, stands.Event}, e.Tenant, stands, part)
	}
	id := e.MessageID()
	if id.IsZero() {
		return
	}
	row := t.messages[id]
	if row == nil {
		if row = t.load(id, j); row == nil {
			return
		}
	}
	if _, submit := e.Data.(*event.MessageSubmitted); submit && j.Why == "" && row.m != nil && row.m.Subject != e.Subject {
		t.err = twoStreams(id)
		return
	}
	had := row.m != nil && row.m.Submitted()
	row.m = projections.Apply(row.m, p, j)
	if row.m == nil {
		return
	}
	if t.messages[id] == nil {
		t.messages[id] = row
		t.touched = append(t.touched, row)
	}
	if !row.exists {
		row.judged = append(row.judged, judgedAt{p, j})
	}
	if !had && row.m.Submitted() {
		row.submit = j
		s := t.stream(p, e.Subject)
		s.submitted = append(s.submitted, row)
	}
}

// load finds the message of an event that is the first for it in this
// transaction. An effective submit is taken for a new message's without looking:
// should there be a row all the same, inserting finds out.
func (t *txn) load(id event.ID, j *ledger.Judged) *messageRow {
	m := t.d.cache.get(id)
	if m == nil {
		if _, submit := j.Event.Data.(*event.MessageSubmitted); submit && j.Why == "" {
			return &messageRow{id: id}
		}
		if m, t.err = t.d.readMessage(id); t.err != nil {
			return nil
		}
		if m == nil {
			return &messageRow{id: id}
		}
	}
	return known(m)
}

func known(m *projections.Message) *messageRow {
	return &messageRow{id: m.ID, m: m, exists: true, linked: m.Submitted(), status: m.Status, before: m.Handoffs(nil)}
}

func (t *txn) optOut(key optOutKey, tenant string, stands *projections.OptOut, part bool) {
	row := t.optOuts[key]
	if row == nil {
		row = &optOutRow{optOutKey: key}
		t.optOuts[key] = row
		t.optOrder = append(t.optOrder, row)
	}
	row.tenant, row.stands, row.part = tenant, stands, part
}

// readMessage reads a row on the writer's connection; nil when there is none.
func (d *DB) readMessage(id event.ID) (*projections.Message, error) {
	var doc []byte
	err := d.stmt.loadMessage.QueryRow(id[:]).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a message's view: %w", err)
	}
	return decode(doc)
}

func decode(doc []byte) (*projections.Message, error) {
	m := new(projections.Message)
	if err := m.UnmarshalBinary(doc); err != nil {
		return nil, fmt.Errorf("read a message's view: %w", err)
	}
	return m, nil
}

// flush writes the rows and commits.
func (t *txn) flush() (err error) {
	tx, err := t.d.conn.BeginTx(context.Background(), nil)
	if err != nil {
		return fmt.Errorf("write the views: %w", err)
	}
	defer func() {
		if err != nil {
			tx.Rollback()
			err = fmt.Errorf("write the views: %w", err)
		}
	}()
	for _, s := range t.order {
		if err := t.d.writeStream(s); err != nil {
			return err
		}
	}
	for _, row := range t.touched {
		if err := t.d.writeMessage(row); err != nil {
			return err
		}
	}
	for _, o := range t.optOrder {
		if err := t.d.writeOptOut(o); err != nil {
			return err
		}
	}
	for p, m := range t.marks {
		if _, err := t.d.stmt.putMark.Exec(int64(p), m.Next, m.Hash[:], m.Partition.Control, m.Partition.ControlEvent[:], millis(m.Partition.Time)); err != nil {
			return err
		}
		if err := t.d.prune(p, m.Partition.Time); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// writeStream writes a stream's row and the messages that begin in it.
func (d *DB) writeStream(s *streamRow) error {
	var state []byte
	var due sql.NullInt64
	if s.folded != nil {
		state, due = s.folded.State, millis(s.folded.Due)
	}
	var latest event.ID
	if n := len(s.submitted); n > 0 {
		// A message that begins mostly begins its stream, too.
		first := s.submitted[n-1].id
		fresh, err := affected(d.stmt.insertStream.Exec(s.subject[:], int64(s.partition), state, due, first[:]))
		if err != nil {
			return err
		}
		if !fresh {
			var b []byte
			if err := d.stmt.latest.QueryRow(s.subject[:]).Scan(&b); err != nil {
				return err
			}
			latest = toID(b)
		}
		for _, row := range s.submitted {
			linked, err := d.begins(row, latest)
			switch {
			case err != nil:
				return err
			case linked:
				latest = row.id
			case fresh:
				return twoStreams(row.id)
			}
		}
		if fresh {
			return nil
		}
		if s.folded == nil {
			_, err := d.stmt.linkStream.Exec(s.subject[:], latest[:])
			return err
		}
	}
	old, err := affected(d.stmt.updateStream.Exec(s.subject[:], state, due, orNull(latest)))
	if err == nil && !old {
		_, err = d.stmt.insertStream.Exec(s.subject[:], int64(s.partition), state, due, nil)
	}
	return err
}

func twoStreams(id event.ID) error {
	return fmt.Errorf("message %s was submitted in two streams: no writer of ours does that, so look who else writes to this ledger", id)
}

// begins writes a message whose submit came, after the previous one of its chain.
// It reports whether it is new to the chain; it is not when the fold had forgotten
// the message and took a copy of its submit for the first.
func (d *DB) begins(row *messageRow, previous event.ID) (linked bool, err error) {
	e := row.submit.Event
	submit := e.Data.(*event.MessageSubmitted)
	var reference sql.NullString
	if submit.Referenced && d.o.Reference != nil {
		if digest, err := d.o.Reference(e); err == nil {
			reference = sql.NullString{String: digest, Valid: true}
		}
	}
	doc, err := row.m.AppendBinary(make([]byte, 0, 1024))
	if err != nil {
		return false, err
	}
	fresh := false
	if !row.exists {
		fresh, err = affected(d.stmt.insertMessage.Exec(row.id[:], int64(row.m.Position.Partition), row.m.Tenant, row.m.Program,
			string(row.m.Status), reference, orNull(previous), doc))
		if err != nil {
			return false, err
		}
		if !fresh {
			if err := d.again(row); err != nil || row.linked {
				return false, err // writeMessage writes it
			}
			if doc, err = row.m.AppendBinary(make([]byte, 0, 1024)); err != nil {
				return false, err
			}
		}
	}
	if !fresh {
		if _, err := d.stmt.fillMessage.Exec(row.id[:], row.m.Program, string(row.m.Status), reference, orNull(previous), doc); err != nil {
			return false, err
		}
	}
	row.written = true
	if submit.Key != "" {
		if _, err := d.stmt.insertReserved.Exec(reservedHash(row.m.Tenant, submit.Key), int64(row.m.Position.Partition), row.m.Tenant,
			submit.Key, row.id[:], submit.Input, submit.ValidUntil.Add(projections.KeepReserved).UnixMilli()); err != nil {
			return false, err
		}
	}
	return true, d.writeHandoffs(row)
}

// again applies the events of a row that was taken for a new one to the row that
// is there.
func (d *DB) again(row *messageRow) error {
	m, err := d.readMessage(row.id)
	if err != nil {
		return err
	}
	if m.Subject != row.m.Subject {
		return twoStreams(row.id)
	}
	submit, judged := row.submit, row.judged
	*row = *known(m)
	row.submit = submit
	for _, x := range judged {
		row.m = projections.Apply(row.m, x.p, x.j)
	}
	return nil
}

// writeMessage writes a message that did not begin in this transaction.
func (d *DB) writeMessage(row *messageRow) error {
	if row.written {
		return nil
	}
	doc, err := row.m.AppendBinary(make([]byte, 0, 1024))
	if err != nil {
		return err
	}
	switch {
	case !row.exists: // a cancel that overtook its submit
		_, err = d.stmt.insertMessage.Exec(row.id[:], int64(row.m.Position.Partition), row.m.Tenant, "", "", nil, nil, doc)
	case row.status == row.m.Status:
		_, err = d.stmt.updateDoc.Exec(row.id[:], doc) // leaves the indexes alone
	default:
		_, err = d.stmt.updateMessage.Exec(row.id[:], string(row.m.Status), doc)
	}
	if err != nil {
		return err
	}
	return d.writeHandoffs(row)
}

// writeHandoffs brings the open hand-offs from what they were to what they are.
func (d *DB) writeHandoffs(row *messageRow) error {
	after := row.m.Handoffs(nil)
	for _, h := range row.before {
		if !slices.ContainsFunc(after, func(x projections.Handoff) bool { return x.Ref.Attempt == h.Ref.Attempt && x.Ref.Part == h.Ref.Part }) {
			if _, err := d.stmt.deleteHandoff.Exec(row.id[:], h.Ref.Attempt, h.Ref.Part); err != nil {
				return err
			}
		}
	}
	for _, h := range after {
		if !slices.Contains(row.before, h) {
			if _, err := d.stmt.putHandoff.Exec(row.id[:], h.Ref.Attempt, h.Ref.Part, int64(h.Ref.Partition), h.Ref.Tenant, h.Ref.Subject[:],
				h.Account, canonical(h.Ref.CarrierID), h.Ref.CarrierID); err != nil {
				return err
			}
		}
	}
	return nil
}

// canonical is the key under which a carrier's id is stored (see sms.IDKeys).
func canonical(carrierID string) string { return sms.IDKeys(carrierID)[1] }

func (d *DB) writeOptOut(o *optOutRow) (err error) {
	if o.stands == nil {
		_, err = d.stmt.deleteOptOut.Exec(o.subject[:], o.event[:])
		return err
	}
	x := o.stands
	_, err = d.stmt.putOptOut.Exec(o.subject[:], o.event[:], int64(x.Position.Partition), x.Position.Index, o.tenant, string(x.Reach.Scope),
		x.Reach.Name, x.Source, x.Since.UnixMilli(), millis(x.Occurred), flag(x.Unclear), flag(x.Unclear && !o.part))
	return err
}

// prune forgets what the partition's own time has passed by. Queries leave it out
// already; this only frees the room.
func (d *DB) prune(p event.Partition, now time.Time) error {
	if now.Sub(d.pruned[p]) < pruneEvery {
		return nil
	}
	d.pruned[p] = now
	if _, err := d.stmt.pruneReserved.Exec(int64(p), now.UnixMilli()); err != nil {
		return err
	}
	before := oldest(now.Add(-projections.KeepHandoff))
	_, err := d.stmt.pruneHandoffs.Exec(int64(p), before[:])
	return err
}

// oldest is the least id of a time.
func oldest(t time.Time) (id event.ID) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(t.UnixMilli(), 0))<<16)
	copy(id[:6], b[:6])
	return id
}

// reservedHash is FNV-1a over tenant and key. What it finds is compared in full.
func reservedHash(tenant, key string) int64 {
	h := fnv.New64a()
	h.Write([]byte(tenant))
	h.Write([]byte{0})
	h.Write([]byte(key))
	return int64(h.Sum64())
}

// reset drops everything of a partition in one transaction.
func (d *DB) reset(p event.Partition) error {
	err := func() error {
		tx, err := d.conn.BeginTx(context.Background(), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		for _, table := range []string{"partitions", "streams", "messages", "opt_outs", "handoffs", "reserved"} {
			if _, err := tx.Exec("DELETE FROM "+table+" WHERE partition = $1", int64(p)); err != nil { //nolint:gosec // the names stand above
				return err
			}
		}
		return tx.Commit()
	}()
	if err != nil {
		return fmt.Errorf("reset the views of partition %s: %w", p, err)
	}
	d.cache.clear()
	delete(d.pruned, p)
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.marks, p)
	return nil
}

func affected(r sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n > 0, err
}
