package sqldb

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// Mark is part of ledger.Views.
func (d *DB) Mark(_ context.Context, p event.Partition) (ledger.Mark, error) { return d.mark(p), nil }

func (d *DB) mark(p event.Partition) ledger.Mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.marks[p]
}

// Progress is how far the views are.
type Progress struct {
	// Marks has, for each partition that holds something, the index of the next event.
	Marks map[event.Partition]int64
	// Committed is the wall clock's time of this process's last commit; zero before the first.
	Committed time.Time
}

// Progress tells how far the views are: compared with the log's heads, that is
// how much they lag.
func (d *DB) Progress() Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := Progress{Marks: make(map[event.Partition]int64, len(d.marks)), Committed: d.committed}
	for n, m := range d.marks {
		p.Marks[n] = m.Next
	}
	return p
}

// view runs f on one snapshot of the last commit.
func (d *DB) view(ctx context.Context, what string, f func(tx *sql.Tx) error) error {
	tx, err := d.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err == nil {
		err = f(tx)
		tx.Rollback()
	}
	if err != nil && !errors.Is(err, projections.ErrNotFound) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// each runs a statement and scans its rows one by one.
func each(ctx context.Context, stmt *sql.Stmt, args []any, f func(scan func(...any) error) error) error {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Streams is part of ledger.Views.
func (d *DB) Streams(ctx context.Context, p event.Partition, subjects []event.Pseudonym) (map[event.Pseudonym]*recipient.State, error) {
	found := make(map[event.Pseudonym]*recipient.State, len(subjects))
	err := d.view(ctx, "load streams", func(tx *sql.Tx) error {
		stmt := tx.StmtContext(ctx, d.stmt.streamState)
		for _, subject := range subjects {
			var b []byte
			err := stmt.QueryRowContext(ctx, subject[:], int64(p)).Scan(&b)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			s := new(recipient.State)
			if err := json.Unmarshal(b, s); err != nil {
				return err
			}
			found[subject] = s
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Due is part of ledger.Views; the earliest come first.
func (d *DB) Due(ctx context.Context, p event.Partition, before time.Time) ([]ledger.Due, error) {
	var due []ledger.Due
	err := each(ctx, d.stmt.due, []any{int64(p), before.UnixMilli()}, func(scan func(...any) error) error {
		var subject []byte
		var at int64
		if err := scan(&subject, &at); err != nil {
			return err
		}
		due = append(due, ledger.Due{Subject: event.Pseudonym(toID(subject)), At: time.UnixMilli(at).UTC()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list what is due: %w", err)
	}
	return due, nil
}

// Handoff is part of ledger.Views. Keys come best first, and the first that finds
// something decides; keys[0] is the id as the receipt wrote it, and picks among
// several hand-offs under one key (carriers use ids again; then the newest counts).
func (d *DB) Handoff(ctx context.Context, account string, keys []string) (ledger.HandoffRef, bool, error) {
	for i, key := range keys {
		if slices.Contains(keys[:i], key) {
			continue
		}
		var found *ledger.HandoffRef
		err := each(ctx, d.stmt.handoff, []any{key, account, keys[0]}, func(scan func(...any) error) error {
			var h ledger.HandoffRef
			var subject, message []byte
			var now sql.NullInt64
			if err := scan(&h.Partition, &h.Tenant, &subject, &message, &h.Attempt, &h.Part, &h.CarrierID, &now); err != nil {
				return err
			}
			h.Subject, h.Message = event.Pseudonym(toID(subject)), toID(message)
			bound := oldest(fromMillis(now).Add(-projections.KeepHandoff))
			if found == nil && bytes.Compare(h.Message[:], bound[:]) >= 0 {
				found = &h
			}
			return nil
		})
		if err != nil {
			return ledger.HandoffRef{}, false, fmt.Errorf("look a carrier's id up: %w", err)
		}
		if found != nil {
			return *found, true, nil
		}
	}
	return ledger.HandoffRef{}, false, nil
}

// Reserved is part of ledger.Views. Should two submits have used one key (a lost
// answer, two processes), the older one counts.
func (d *DB) Reserved(ctx context.Context, tenant, key string) (ledger.Reserved, bool, error) {
	var r ledger.Reserved
	var id []byte
	err := d.stmt.reserved.QueryRowContext(ctx, reservedHash(tenant, key), tenant, key).Scan(&id, &r.Input)
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.Reserved{}, false, nil
	}
	if err != nil {
		return ledger.Reserved{}, false, fmt.Errorf("look an idempotency key up: %w", err)
	}
	r.Message = toID(id)
	return r, true, nil
}

// Message returns a message of the tenant; projections.ErrNotFound when there is
// none, or none yet.
func (d *DB) Message(ctx context.Context, tenant string, id event.ID) (*projections.Message, error) {
	var doc []byte
	err := d.stmt.message.QueryRowContext(ctx, id[:], tenant).Scan(&doc)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, projections.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read a message: %w", err)
	}
	return decode(doc)
}

// How far a message's own time may lie from the one in its id: an answer to an
// inbound message has the inbound's time in its id.
const (
	idBehind = 10 * time.Minute
	idAhead  = time.Minute
)

// Search returns a page of the tenant's messages, newest first: by id, and within
// one recipient in the order of the log. The next page is the one after the last
// id; messages that come meanwhile shift nothing. Limit is brought within 1 to 200.
func (d *DB) Search(ctx context.Context, tenant string, f projections.Filter) (page []*projections.Message, err error) {
	f.Limit = min(max(f.Limit, 1), 200)
	err = d.view(ctx, "search messages", func(tx *sql.Tx) error {
		s := search{ctx: ctx, d: d, tx: tx, tenant: tenant, f: f}
		switch {
		case !f.Subject.IsZero():
			err = s.chain()
		case f.Reference != "":
			err = s.merge([]source{{stmt: tx.StmtContext(ctx, d.stmt.byReference), args: []any{tenant, f.Reference}}})
		default:
			var sources []source
			if sources, err = s.groups(); err == nil {
				err = s.merge(sources)
			}
		}
		page = s.page
		return err
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

type search struct {
	ctx    context.Context
	d      *DB
	tx     *sql.Tx
	tenant string
	f      projections.Filter
	page   []*projections.Message
}

func (s *search) full() bool { return len(s.page) == s.f.Limit }

// add takes m into the page if it matches. The reference is no part of the
// message: it stands in an index alone.
func (s *search) add(m *projections.Message) {
	f := &s.f
	switch {
	case m.Status == "",
		!f.Subject.IsZero() && m.Subject != f.Subject,
		f.Status != "" && m.Status != f.Status,
		f.Program != "" && m.Program != f.Program,
		!f.Since.IsZero() && m.Accepted.Before(f.Since),
		!f.Until.IsZero() && !m.Accepted.Before(f.Until):
		return
	}
	s.page = append(s.page, m)
}

// chain walks one recipient's messages, from the latest back.
func (s *search) chain() error {
	var next []byte
	var err error
	if s.f.After.IsZero() {
		err = s.tx.StmtContext(s.ctx, s.d.stmt.headOf).QueryRowContext(s.ctx, s.f.Subject[:]).Scan(&next)
	} else {
		err = s.tx.StmtContext(s.ctx, s.d.stmt.previousOf).QueryRowContext(s.ctx, s.f.After[:], s.tenant).Scan(&next)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	link := s.tx.StmtContext(s.ctx, s.d.stmt.link)
	for err == nil && next != nil && !s.full() {
		var tenant string
		var doc, previous []byte
		var reference sql.NullString
		if err = link.QueryRowContext(s.ctx, next).Scan(&tenant, &doc, &previous, &reference); err != nil {
			return err
		}
		if tenant == s.tenant && (s.f.Reference == "" || s.f.Reference == reference.String) {
			m, err := decode(doc)
			if err != nil {
				return err
			}
			s.add(m)
		}
		next = previous
	}
	return err
}

// source gives ids, newest first, between two bounds.
type source struct {
	stmt *sql.Stmt
	args []any
}

// groups are the sources that together hold what matches program and status: one
// for each of the tenant's programs and statuses, since these lead the index.
func (s *search) groups() ([]source, error) {
	programs := []string{s.f.Program}
	if s.f.Program == "" {
		programs = nil
		stmt := s.tx.StmtContext(s.ctx, s.d.stmt.program)
		for last := ""; ; {
			var next sql.NullString
			if err := stmt.QueryRowContext(s.ctx, s.tenant, last).Scan(&next); err != nil {
				return nil, err
			}
			if !next.Valid {
				break
			}
			programs, last = append(programs, next.String), next.String
		}
	}
	statuses := recipient.Statuses
	if s.f.Status != "" {
		statuses = []recipient.Status{s.f.Status}
	}
	stmt := s.tx.StmtContext(s.ctx, s.d.stmt.byStatus)
	var sources []source
	for _, program := range programs {
		for _, status := range statuses {
			sources = append(sources, source{stmt, []any{s.tenant, program, string(status)}})
		}
	}
	return sources, nil
}

// merge fills the page from the sources, in order of id. Each gives at most a
// page's worth at a time, so what lies below the end of a source that gave that
// much is left for the next round.
func (s *search) merge(sources []source) error {
	upper, lower := event.ID(bytes.Repeat([]byte{0xff}, 16)), event.ID{}
	if !s.f.Until.IsZero() {
		upper = oldest(s.f.Until.Add(idAhead))
	}
	if !s.f.After.IsZero() && bytes.Compare(s.f.After[:], upper[:]) < 0 {
		upper = s.f.After
	}
	if !s.f.Since.IsZero() {
		lower = oldest(s.f.Since.Add(-idBehind))
	}
	message := s.tx.StmtContext(s.ctx, s.d.stmt.message)
	for more := true; more && !s.full(); {
		more = false
		var ids []event.ID
		var end event.ID // ids below it may be missing
		for _, src := range sources {
			n := 0
			var last event.ID
			args := append(slices.Clone(src.args), upper[:], lower[:], s.f.Limit)
			err := each(s.ctx, src.stmt, args, func(scan func(...any) error) error {
				var b []byte
				if err := scan(&b); err != nil {
					return err
				}
				last = toID(b)
				ids = append(ids, last)
				n++
				return nil
			})
			if err != nil {
				return err
			}
			if n == s.f.Limit {
				more = true
				if bytes.Compare(last[:], end[:]) > 0 {
					end = last
				}
			}
		}
		slices.SortFunc(ids, func(a, b event.ID) int { return bytes.Compare(b[:], a[:]) })
		for _, id := range ids {
			if s.full() || bytes.Compare(id[:], end[:]) < 0 {
				break
			}
			var doc []byte
			if err := message.QueryRowContext(s.ctx, id[:], s.tenant).Scan(&doc); err != nil {
				return err
			}
			m, err := decode(doc)
			if err != nil {
				return err
			}
			s.add(m)
		}
		upper = end
	}
	return nil
}

// chunk is how many recipients one statement asks for.
const chunk = 100

// OptOuts returns the opt-outs that stand for each of the subjects, in order, and
// the last position of every partition that one of them lies in: the answer is
// true as of exactly these. A partition that holds nothing has none.
func (d *DB) OptOuts(ctx context.Context, tenant string, subjects []event.Pseudonym) (stand [][]projections.OptOut, asOf []event.Position, err error) {
	stand = make([][]projections.OptOut, len(subjects))
	at := map[event.Pseudonym][]int{}
	involved := map[event.Partition]bool{}
	for i, s := range subjects {
		at[s] = append(at[s], i)
		involved[event.Partition(s.Partition(d.o.Partitions))] = true
	}
	err = d.view(ctx, "read opt-outs", func(tx *sql.Tx) error {
		err := each(ctx, tx.StmtContext(ctx, d.stmt.heads), nil, func(scan func(...any) error) error {
			var p event.Position
			if err := scan(&p.Partition, &p.Index); err != nil {
				return err
			}
			p.Index-- // the last one applied
			if involved[p.Partition] {
				asOf = append(asOf, p)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for part := range slices.Chunk(subjects, chunk) {
			if err := d.optOuts(ctx, tx, tenant, part, func(s event.Pseudonym, o projections.OptOut) {
				for _, i := range at[s] {
					stand[i] = append(stand[i], o)
				}
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, s := range stand {
		slices.SortFunc(s, func(a, b projections.OptOut) int { return cmp.Compare(a.Position.Index, b.Position.Index) })
	}
	return stand, asOf, nil
}

func (d *DB) optOuts(ctx context.Context, tx *sql.Tx, tenant string, subjects []event.Pseudonym, f func(event.Pseudonym, projections.OptOut)) error {
	var q strings.Builder
	q.WriteString(`SELECT subject, event, partition, position, scope, name, source, since, occurred, unclear FROM opt_outs WHERE tenant = $1 AND subject IN (`)
	args := []any{tenant}
	seen := map[event.Pseudonym]bool{}
	for _, s := range subjects {
		if seen[s] {
			continue
		}
		seen[s] = true
		args = append(args, s[:])
		if len(args) > 2 {
			q.WriteByte(',')
		}
		q.WriteString("$" + strconv.Itoa(len(args)))
	}
	q.WriteByte(')')
	rows, err := tx.QueryContext(ctx, q.String(), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		s, o, err := scanOptOut(rows.Scan)
		if err != nil {
			return err
		}
		f(s, o)
	}
	return rows.Err()
}

func scanOptOut(scan func(...any) error) (event.Pseudonym, projections.OptOut, error) {
	var o projections.OptOut
	var subject, id []byte
	var since, occurred sql.NullInt64
	var unclear int64
	err := scan(&subject, &id, &o.Position.Partition, &o.Position.Index, &o.Reach.Scope, &o.Reach.Name, &o.Source, &since, &occurred, &unclear)
	o.Event, o.Since, o.Occurred, o.Unclear = toID(id), fromMillis(since), fromMillis(occurred), unclear == 1
	return event.Pseudonym(toID(subject)), o, err
}

// Reviews lists the tenant's standing opt-outs that an officer has yet to read,
// the oldest first.
func (d *DB) Reviews(ctx context.Context, tenant string) ([]projections.Review, error) {
	var all []projections.Review
	err := each(ctx, d.stmt.review, []any{tenant}, func(scan func(...any) error) error {
		s, o, err := scanOptOut(scan)
		all = append(all, projections.Review{Subject: s, OptOut: o})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list reviews: %w", err)
	}
	return all, nil
}
