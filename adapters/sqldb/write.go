package sqldb

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/desk"
	"github.com/chirograph/chirograph/adapters/internal/folds"
	"github.com/chirograph/chirograph/adapters/internal/localfolds"
	"github.com/chirograph/chirograph/adapters/internal/progress"
	"github.com/chirograph/chirograph/adapters/internal/recent"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// maxMerged bounds the events of one transaction. It is large enough to write the events of a
// busy message as one row, and small enough that a reader's wait for a position stays short.
const maxMerged = 8192

// pruneEvery is how much of a partition's time passes between two prunings.
const pruneEvery = time.Minute

// writer writes what is queued, one transaction after the other.
type writer struct {
	engine    engine
	progress  *progress.Tracker
	reference func(*event.Event) (string, error) // Options.Reference

	queue  chan op
	closed sync.RWMutex // read-locked while something is put into queue
	done   bool
	wg     sync.WaitGroup

	// Only its goroutine uses these. pruned is the partition's time at the last pruning.
	cache  *recent.Messages
	desk   *desk.Writer
	pruned map[event.Partition]time.Time
}

// op is one task of the writer: to write a batch, or, when batch is nil, to reset a partition or to mark it
// as one whose rows do not fit (doubt is then how far it was folded).
type op struct {
	batch *ledger.Batch
	reset event.Partition
	doubt int64
	done  func(error)
}

// Write is part of ledger.Views. done is called on the writer's goroutine: it must not block, and
// must not call Write.
func (w *writer) Write(b *ledger.Batch, done func(error)) { w.put(op{batch: b, done: done}) }

// Reset is part of ledger.Views. Batches that were queued before it are applied first, and
// dropped with the rest. After an error nothing was dropped; but after ctx's error the reset may
// still come. It reads every table through. To drop all partitions, remove the file.
func (w *writer) Reset(ctx context.Context, p event.Partition) error {
	answer := make(chan error, 1)
	w.put(op{reset: p, done: func(err error) { answer <- err }})
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) put(o op) {
	w.closed.RLock()
	if !w.done {
		w.queue <- o
		w.closed.RUnlock()
		return
	}
	w.closed.RUnlock()
	o.done(ErrClosed)
}

// finish commits what is queued, and ends the writer. It reports whether this call did so.
func (w *writer) finish() bool {
	w.closed.Lock()
	already := w.done
	if !already {
		w.done = true
		close(w.queue)
	}
	w.closed.Unlock()
	w.wg.Wait()
	return !already
}

// run writes what is queued, in one transaction if possible. It ends when the queue is closed and
// empty.
func (w *writer) run() {
	for first := range w.queue {
		if first.batch == nil {
			first.done(w.other(first))
			continue
		}
		merged, events := []op{first}, len(first.batch.Judged)
		var reset *op
	merge:
		for events < maxMerged {
			select {
			case next, ok := <-w.queue:
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
		w.commit(merged)
		if reset != nil {
			reset.done(w.other(*reset))
		}
	}
}

// tx is one write transaction, with the statements of one engine. An engine may answer from what
// it loaded when the transaction began, and send everything at commit. So each message and each
// stream is written by one call at most, except after an insertStream or insertMessage that found
// a row.
type tx interface {
	// mark is how far a partition was folded. No other transaction changes it while this one
	// lasts.
	mark(p event.Partition) ledger.Mark
	// beside are the folds, where they are not among the rows and have marks of their own; nil on PostgreSQL.
	beside() *localfolds.Tx
	// sums is what the partition's rows must be, as of the mark. It is the caller's own.
	sums(p event.Partition) *viewsums.Contents
	// message reads a message; nil if there is none.
	message(id event.ID) (*reading.Message, error)

	// insertStream inserts a stream's row. If there is one, it changes nothing and returns false.
	insertStream(s *streamRow, latest event.ID) (fresh bool, err error)
	// latest is the latest message of a stream that has a row; zero if it has none.
	latest(subject event.Pseudonym) (event.ID, error)
	linkStream(s *streamRow, latest event.ID) error
	// putStream writes the fold, and the latest message unless that is zero.
	putStream(s *streamRow, latest event.ID) error

	// insertMessage inserts a message's row. If there is one, it changes nothing and returns
	// false.
	insertMessage(m *reading.Message, reference sql.NullString, previous event.ID, doc []byte) (fresh bool, err error)
	fillMessage(m *reading.Message, reference sql.NullString, previous event.ID, doc []byte) error
	// updateMessage writes the document, and the status if it is another.
	updateMessage(m *reading.Message, was recipient.Status, doc []byte) error

	putHandoff(h *projections.Handoff) error
	deleteHandoff(h *projections.Handoff) error
	// putOptOut and deleteOptOut return how many rows there are more, unless the engine counts them itself.
	putOptOut(o *projections.OptOut) (more int64, err error)
	deleteOptOut(k *projections.OptOutKey) (more int64, err error)
	putReview(r *reading.Review) error
	deleteReview(id event.ID) error
	insertInbound(x *inboundRow) error
	insertReserved(m *reading.Message, r *projections.Reservation) error
	insertTails(all []tailRow) error

	putMark(p event.Partition, m ledger.Mark, x *viewsums.Contents) error
	// prune deletes the rows that the partition's time has made obsolete. It returns how many reservations
	// there are more, unless the engine counts them itself.
	prune(p event.Partition, reservedUntil time.Time, handoffsBefore event.ID, tailsBefore int64) (more int64, err error)

	// tallies reads a stored body of tallies; nil if there is none.
	tallies(tenant string, quarter int64, p event.Partition) ([]byte, error)
	// putDesk writes the officer's views, after the marks.
	putDesk(x *desk.Tx) error

	commit() error
	rollback()
}

// commit writes batches in one transaction. If that fails, it writes each in a transaction of its
// own, so that only those fail that cannot be written.
func (w *writer) commit(ops []op) {
	batches := make([]*ledger.Batch, len(ops))
	for i, o := range ops {
		batches[i] = o.batch
	}
	errs := make([]error, len(ops))
	t, err := w.apply(batches, errs)
	if err != nil {
		w.cache.Clear() // its messages may have been changed
		w.desk.Forget()
		if len(ops) > 1 && !w.engine.away(err) {
			for _, o := range ops {
				w.commit([]op{o})
			}
			return
		}
	} else if len(t.folded) > 0 {
		w.publish(t)
	}
	w.engine.note(err)
	for i, o := range ops {
		o.done(errors.Join(errs[i], err))
	}
}

// apply writes those of the batches that can be written, and sets in errs which cannot. If it
// returns an error, nothing was written.
func (w *writer) apply(batches []*ledger.Batch, errs []error) (_ *txn, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the views: %w", err)
		}
	}()
	tx, err := w.engine.begin(batches)
	if err != nil {
		return nil, err
	}
	defer tx.rollback()
	t := &txn{w: w, tx: tx, desk: w.desk.Begin(tx.tallies), marks: map[event.Partition]ledger.Mark{}, folded: map[event.Partition]ledger.Mark{}, sums: map[event.Partition]*viewsums.Contents{}, messages: map[event.ID]*messageRow{},
		streams: map[event.Pseudonym]*streamRow{}, optOuts: map[projections.OptOutKey]*optOutRow{}, reviews: map[event.ID]*reviewRow{}}
	for i, b := range batches {
		if errs[i], err = t.take(b); err != nil {
			return nil, err
		}
	}
	if len(t.folded) == 0 {
		return t, nil
	}
	return t, t.write()
}

// publish tells the waiting callers of a commit.
func (w *writer) publish(t *txn) {
	for _, row := range t.messages {
		w.cache.Put(row.m)
	}
	t.desk.Committed(t.marks)
	w.progress.Published(t.folded, func(each func(event.ID, recipient.Status)) {
		for id, row := range t.messages {
			each(id, row.m.Status)
		}
	})
}

// txn is one transaction in the making: the rows as they will be.
type txn struct {
	w    *writer
	tx   tx
	desk *desk.Tx

	marks    map[event.Partition]ledger.Mark
	sums     map[event.Partition]*viewsums.Contents // of the same partitions
	folded   map[event.Partition]ledger.Mark        // how far the folds are then
	refolded []judgedAt                             // events whose rows there are already, and whose folds there are not
	messages map[event.ID]*messageRow
	touched  []*messageRow // in the order of their first events
	streams  map[event.Pseudonym]*streamRow
	order    []*streamRow
	optOuts  map[projections.OptOutKey]*optOutRow
	optOrder []*optOutRow
	reviews  map[event.ID]*reviewRow
	revOrder []*reviewRow
	inbound  []inboundRow
	tails    []tailRow
}

type tailRow struct {
	p    event.Partition
	tail projections.Tail
}

type messageRow struct {
	id event.ID
	m  *reading.Message
	// exists says that there is a row, with this status and these hand-offs; linked, that it is
	// in its stream's chain; written, that it is as it will be.
	exists, linked, written bool
	status                  recipient.Status
	before                  []projections.Handoff
	// submit is the submit, if it is in this transaction.
	submit *ledger.Judged
	// judged are the events of a message that was taken for new without looking.
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
	// submitted are those of its messages whose submits are in this transaction, in order.
	submitted []*messageRow
	// known is the latest of its messages that the rows have and the folds lacked; zero if there is none.
	known  event.ID
	sumOf  int64
	summed bool
}

type optOutRow struct {
	projections.OptOutKey
	partition event.Partition
	stands    *projections.OptOut // nil if it has ended
}

type reviewRow struct {
	id   event.ID
	open *reading.Review // nil if it is closed
}

// inboundRow says where an inbound message is.
type inboundRow struct {
	id      event.ID
	subject event.Pseudonym
	at      event.Position
	tenant  string
}

// take adds a batch to the transaction. Its events before the mark were applied by another
// process, which folded the same events to the same rows, or before a crash: they are left out of the rows. The folds
// may need them still. A batch that leaves a gap is refused, and changes nothing. err ends the transaction.
func (t *txn) take(b *ledger.Batch) (refused, err error) {
	mark, ok := t.marks[b.Partition]
	sums := t.sums[b.Partition]
	if !ok {
		mark = t.tx.mark(b.Partition)
	}
	if sums == nil {
		sums = t.tx.sums(b.Partition)
	}
	folded, ok := t.folded[b.Partition]
	if !ok {
		if folded = mark; t.tx.beside() != nil {
			folded = t.tx.beside().Mark(b.Partition)
		}
	}
	if sums.Damaged {
		return folds.Unfit(b.Partition, folds.ErrMarked), nil
	}
	begin := b.Mark.Next - int64(len(b.Judged))
	for i := range b.Judged {
		if at := b.Judged[i].Index; at != begin+int64(i) {
			return fmt.Errorf("a batch of partition %s that ends before %d has event %d in place %d of %d", b.Partition, b.Mark.Next, at, i, len(b.Judged)), nil
		}
	}
	if from := min(mark.Next, folded.Next); begin > from {
		return fmt.Errorf("the views of partition %s stand at %d: event %d does not follow", b.Partition, from, begin), nil
	}
	skip := mark.Next - begin
	// If the last of those that the rows have is in this batch, its hash tells whether it is the same event.
	if skip > 0 && skip <= int64(len(b.Judged)) && sha256.Sum256(b.Judged[skip-1].Raw) != mark.Hash {
		return fmt.Errorf("the views of partition %s were folded from another event at %d than this one: read it again", b.Partition, mark.Next-1), nil
	}
	skip = min(skip, int64(len(b.Judged)))
	judged := b.Judged[skip:]
	if b.Mark.Next <= folded.Next || len(b.Judged) == 0 {
		return nil, nil
	}
	t.folded[b.Partition] = b.Mark
	for i := max(folded.Next-begin, 0); i < skip; i++ {
		t.refolded = append(t.refolded, judgedAt{b.Partition, &b.Judged[i]})
	}
	if len(judged) > 0 {
		t.marks[b.Partition], t.sums[b.Partition] = b.Mark, sums
		t.desk.Partition(b.Partition, mark, judged)
	}
	for i := range judged {
		if err := t.apply(b.Partition, &judged[i]); err != nil {
			return nil, err
		}
	}
	for i := range b.Streams {
		s, f := t.stream(b.Partition, b.Streams[i].Subject), &b.Streams[i]
		if s.folded != nil && len(s.folded.Rows) > 0 {
			both := *f
			both.Rows = slices.Concat(s.folded.Rows, f.Rows) // of one key the later one counts
			f = &both
		}
		s.folded = f
	}
	return nil, nil
}

// refold finds what the folds' store knows of events whose rows there are already: each stream's latest message, idempotency
// keys, and tails.
func (t *txn) refold() error {
	for _, x := range t.refolded {
		e := x.j.Event
		if e == nil || x.j.Why != "" || e.MessageID().IsZero() {
			continue
		}
		_, started := e.Data.(*event.HandoffStarted)
		if !started && !mayBegin(x.j) {
			continue
		}
		m, err := t.tx.message(e.MessageID())
		if err != nil || m == nil {
			return err
		}
		if tail, ok := projections.Told(m, x.j); ok {
			t.tails = append(t.tails, tailRow{x.p, tail})
		}
		if started || m.Position.Index != x.j.Index { // a copy of the submit begins no message
			continue
		}
		t.stream(x.p, e.Subject).known = m.ID
		if r := projections.Reserved(x.j); r != nil {
			if err := t.tx.beside().Reserve(m, r); err != nil {
				return err
			}
		}
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

func (t *txn) apply(p event.Partition, j *ledger.Judged) error {
	e := j.Event
	if e == nil {
		return nil // a record that is no event, and that control accepted
	}
	t.suppression(p, j)
	id := e.MessageID()
	if id.IsZero() {
		return t.desk.Take(p, j, nil, projections.Before{})
	}
	row := t.messages[id]
	if row == nil {
		var err error
		if row, err = t.load(id, j); err != nil {
			return err
		}
	}
	if effectiveSubmit(j) && row.m != nil && row.m.Subject != e.Subject {
		return twoStreams(id)
	}
	had, before := row.m != nil && row.m.Submitted(), projections.BeforeOf(row.m)
	row.m = projections.Apply(row.m, p, j)
	if err := t.desk.Take(p, j, row.m, before); err != nil || row.m == nil {
		return err
	}
	if tail, ok := projections.Told(row.m, j); ok {
		t.tails = append(t.tails, tailRow{p, tail})
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
	return nil
}

func effectiveSubmit(j *ledger.Judged) bool {
	_, submit := j.Event.Data.(*event.MessageSubmitted)
	return submit && j.Why == ""
}

// mayBegin reports whether an event may be the first of a message: a submit, or what a recovery knows of a message whose
// submit is lost.
func mayBegin(j *ledger.Judged) bool {
	_, recovered := j.Event.Data.(*event.MessageRecovered)
	return effectiveSubmit(j) || recovered && j.Why == ""
}

// load finds the message of an event that is its first in this transaction. If the event is an
// effective submit, the message is taken for new without looking. If there is a row after all,
// inserting finds it.
func (t *txn) load(id event.ID, j *ledger.Judged) (*messageRow, error) {
	m := t.w.cache.Get(id)
	if m == nil && !effectiveSubmit(j) {
		var err error
		if m, err = t.tx.message(id); err != nil {
			return nil, err
		}
	}
	if m == nil {
		return &messageRow{id: id}, nil
	}
	return known(m), nil
}

func known(m *reading.Message) *messageRow {
	return &messageRow{id: m.ID, m: m, exists: true, linked: m.Submitted(), status: m.Status, before: projections.Handoffs(m, nil)}
}

// suppression adds what an event changes in opt-outs, reviews and inbound messages.
func (t *txn) suppression(p event.Partition, j *ledger.Judged) {
	if projections.Inbound(j) {
		e := j.Event
		t.inbound = append(t.inbound, inboundRow{e.ID, e.Subject, event.Position{Partition: p, Index: j.Index}, e.Tenant})
	}
	if j.Changes == nil {
		return
	}
	stands, ended := projections.OptOuts(p, j)
	for _, k := range ended {
		t.optOut(p, k, nil)
	}
	for i := range stands {
		t.optOut(p, stands[i].OptOutKey, &stands[i])
	}
	opened, closed := projections.Reviews(p, j)
	for _, id := range closed {
		t.review(id, nil)
	}
	for i := range opened {
		t.review(opened[i].Event, &opened[i])
	}
}

func (t *txn) optOut(p event.Partition, key projections.OptOutKey, stands *projections.OptOut) {
	row := t.optOuts[key]
	if row == nil {
		row = &optOutRow{OptOutKey: key, partition: p}
		t.optOuts[key] = row
		t.optOrder = append(t.optOrder, row)
	}
	row.stands = stands
}

func (t *txn) review(id event.ID, open *reading.Review) {
	row := t.reviews[id]
	if row == nil {
		row = &reviewRow{id: id}
		t.reviews[id] = row
		t.revOrder = append(t.revOrder, row)
	}
	row.open = open
}

func decode(doc []byte) (*reading.Message, error) {
	m, err := projections.ReadMessage(doc)
	if err != nil {
		return nil, fmt.Errorf("read a message's view: %w", err)
	}
	return m, nil
}

func encode(m *reading.Message) []byte { return projections.AppendMessage(make([]byte, 0, 1024), m) }

// write writes the rows and commits.
func (t *txn) write() error {
	if err := t.refold(); err != nil {
		return err
	}
	for _, s := range t.order {
		if err := t.writeStream(s); err != nil {
			return err
		}
	}
	for _, row := range t.touched {
		if err := t.writeMessage(row); err != nil {
			return err
		}
	}
	if err := t.writeSuppression(); err != nil {
		return err
	}
	if err := t.tx.insertTails(t.tails); err != nil {
		return err
	}
	for p, m := range t.marks {
		// Queries leave out what the partition's own time has made obsolete. This only frees the
		// room.
		if now := m.Partition.Time; now.Sub(t.w.pruned[p]) >= pruneEvery {
			t.w.pruned[p] = now
			more, err := t.tx.prune(p, now, viewrows.Oldest(now.Add(-projections.KeepHandoff)), viewrows.FirstTold(now))
			if err != nil {
				return err
			}
			viewsums.Add(&t.sums[p].Reserved, more)
		}
		if err := t.tx.putMark(p, m, t.sums[p]); err != nil {
			return err
		}
	}
	if beside := t.tx.beside(); beside != nil {
		for p, m := range t.folded {
			if err := beside.PutMark(p, m); err != nil {
				return err
			}
		}
	}
	if err := t.tx.putDesk(t.desk); err != nil {
		return err
	}
	return t.tx.commit()
}

// writeSuppression writes opt-outs, reviews, and where the inbound messages are. Each row is written once.
func (t *txn) writeSuppression() (err error) {
	for _, o := range t.optOrder {
		var more int64
		if o.stands == nil {
			more, err = t.tx.deleteOptOut(&o.OptOutKey)
		} else {
			more, err = t.tx.putOptOut(o.stands)
		}
		if err != nil {
			return err
		}
		viewsums.Add(&t.sums[o.partition].OptOuts, more)
	}
	for _, r := range t.revOrder {
		if r.open == nil {
			err = t.tx.deleteReview(r.id)
		} else {
			err = t.tx.putReview(r.open)
		}
		if err != nil {
			return err
		}
	}
	for i := range t.inbound {
		if err := t.tx.insertInbound(&t.inbound[i]); err != nil {
			return err
		}
	}
	return nil
}

// writeStream writes a stream's row and the messages that begin in it.
func (t *txn) writeStream(s *streamRow) error {
	latest := s.known
	if n := len(s.submitted); n > 0 {
		// When a message begins, mostly its stream begins too.
		fresh, err := t.tx.insertStream(s, s.submitted[n-1].id)
		if err != nil {
			return err
		}
		if !fresh && latest.IsZero() {
			if latest, err = t.tx.latest(s.subject); err != nil {
				return err
			}
		}
		for _, row := range s.submitted {
			linked, err := t.begins(row, latest)
			switch {
			case err != nil:
				return err
			case linked:
				latest = row.id
			case fresh && s.known.IsZero():
				return twoStreams(row.id)
			}
		}
		if fresh {
			return nil
		}
		if s.folded == nil {
			return t.tx.linkStream(s, latest)
		}
	}
	return t.tx.putStream(s, latest)
}

// sum is the sum of the row as it will be.
func (s *streamRow) sum() int64 {
	if !s.summed {
		state, _ := s.fold()
		s.sumOf, s.summed = viewsums.Of(s.subject, state), true
	}
	return s.sumOf
}

func twoStreams(id event.ID) error {
	return fmt.Errorf("message %s was submitted in two streams: no writer of ours does that, so look who else writes to this ledger", id)
}

// begins writes a message whose submit is in this transaction, after the previous one of its
// chain. linked says that it is new in the chain. It is not if the fold had forgotten the
// message, and took a copy of its submit for the first.
func (t *txn) begins(row *messageRow, previous event.ID) (linked bool, err error) {
	e := row.submit.Event
	var reference sql.NullString
	if submit, ok := e.Data.(*event.MessageSubmitted); ok && submit.Referenced && t.w.reference != nil {
		if digest, err := t.w.reference(e); err == nil {
			reference = sql.NullString{String: digest, Valid: true}
		}
	}
	doc := encode(row.m)
	fresh := false
	if !row.exists {
		var err error
		if fresh, err = t.insertMessage(row.m, reference, previous, doc); err != nil {
			return false, err
		}
		if !fresh {
			if err := t.reapply(row); err != nil || row.linked {
				return false, err // writeMessage writes this message
			}
			doc = encode(row.m)
		}
	}
	if !fresh {
		if err := t.tx.fillMessage(row.m, reference, previous, doc); err != nil {
			return false, err
		}
	}
	row.written = true
	if r := projections.Reserved(row.submit); r != nil {
		if err := t.tx.insertReserved(row.m, r); err != nil {
			return false, err
		}
		viewsums.Add(&t.sums[row.m.Position.Partition].Reserved, 1)
	}
	return true, t.writeHandoffs(row)
}

func (t *txn) insertMessage(m *reading.Message, reference sql.NullString, previous event.ID, doc []byte) (fresh bool, err error) {
	if fresh, err = t.tx.insertMessage(m, reference, previous, doc); fresh {
		viewsums.Add(&t.sums[m.Position.Partition].Messages, 1)
	}
	return fresh, err
}

// reapply applies the events of a message that was taken for new to the row that exists.
func (t *txn) reapply(row *messageRow) error {
	m, err := t.tx.message(row.id)
	if err != nil {
		return err
	}
	if m == nil || m.Subject != row.m.Subject {
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
func (t *txn) writeMessage(row *messageRow) error {
	if row.written {
		return nil
	}
	doc := encode(row.m)
	var err error
	if !row.exists { // a cancel that came before its submit
		_, err = t.insertMessage(row.m, sql.NullString{}, event.ID{}, doc)
	} else {
		err = t.tx.updateMessage(row.m, row.status, doc)
	}
	if err != nil {
		return err
	}
	return t.writeHandoffs(row)
}

// writeHandoffs deletes and inserts rows, so that the open hand-offs are as they are now.
func (t *txn) writeHandoffs(row *messageRow) error {
	after := projections.Handoffs(row.m, nil)
	for i := range row.before {
		h := &row.before[i]
		if !slices.ContainsFunc(after, func(x projections.Handoff) bool { return x.Ref.Attempt == h.Ref.Attempt && x.Ref.Part == h.Ref.Part }) {
			if err := t.tx.deleteHandoff(h); err != nil {
				return err
			}
		}
	}
	for i := range after {
		if !slices.Contains(row.before, after[i]) {
			after[i].Key, after[i].Ref.CarrierID = viewrows.Plain(after[i].Key), viewrows.Plain(after[i].Ref.CarrierID)
			if err := t.tx.putHandoff(&after[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// other does a task that writes no batch.
func (w *writer) other(o op) error {
	if o.doubt > 0 {
		return w.engine.doubt(o.reset, o.doubt)
	}
	return w.reset(o.reset)
}

// reset drops everything of a partition in one transaction.
func (w *writer) reset(p event.Partition) error {
	if err := w.engine.reset(p); err != nil {
		return fmt.Errorf("reset the views of partition %s: %w", p, err)
	}
	w.cache.Clear()
	w.desk.Forget()
	delete(w.pruned, p)
	w.progress.Dropped(p)
	return nil
}

// tables are all tables with rows of partitions. Each has a column partition.
var tables = []string{"partitions", "streams", "messages", "opt_outs", "standing", "reviews", "inbound", "handoffs", "reserved", "tails", "facets", "reasons", "tallies", "stream_events", "feed"}

// maxPruned bounds the tails of a partition that one pruning deletes. It is many times what a partition
// adds in pruneEvery.
const maxPruned = 20_000

// fold is the part of a stream's row that comes from its fold.
func (s *streamRow) fold() (state []byte, due sql.NullInt64) {
	if s.folded == nil {
		return nil, due
	}
	return s.folded.State, millis(s.folded.Due)
}

// underReview reports whether an officer has yet to read an opt-out from before format level 2. One that
// only a part of an inbound message holds is not reviewed.
func underReview(o *projections.OptOut) bool { return o.Row.Unclear && !o.Part }
