package sqldb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/folds"
	"github.com/chirograph/chirograph/adapters/internal/localfolds"
	"github.com/chirograph/chirograph/adapters/internal/lookups"
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

// reader answers queries from what is committed. All methods may be called from any goroutine.
type reader struct {
	pg    *pgEngine         // nil on SQLite
	folds *localfolds.Folds // nil on PostgreSQL
	read  *sql.DB           // a few connections
	stmt  statements
	asked *lookups.Reader // nil on SQLite
}

// Mark is part of ledger.Views.
func (r *reader) Mark(ctx context.Context, p event.Partition) (m ledger.Mark, err error) {
	if r.folds != nil {
		return r.folds.Mark(p)
	}
	err = r.do(ctx, fmt.Sprintf("read where the views of partition %s stand", p), func(ctx context.Context) (err error) {
		var summed sql.NullInt64
		_, m, err = viewmarks.Scan(r.stmt.mark.QueryRowContext(ctx, int64(p)).Scan, &summed)
		if errors.Is(err, sql.ErrNoRows) {
			m, err = ledger.Mark{}, nil
		}
		if err == nil && summed.Valid && summed.Int64 == viewsums.Damaged {
			return folds.Unfit(p, folds.ErrMarked)
		}
		return err
	})
	if err != nil {
		return ledger.Mark{}, err
	}
	return m, nil
}

// do runs a query within its time. Its error says what the query was for. The query may be run
// twice, so it must begin with empty answers.
func (r *reader) do(ctx context.Context, what string, query func(context.Context) error) (err error) {
	if r.pg != nil {
		err = r.pg.do(ctx, query)
	} else {
		err = query(ctx)
	}
	if err != nil && !errors.Is(err, reading.ErrNotFound) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// view is do for a query over one snapshot of the last commit.
func (r *reader) view(ctx context.Context, what string, query func(ctx context.Context, tx *sql.Tx) error) error {
	return r.do(ctx, what, func(ctx context.Context) error { return r.snapshot(ctx, query) })
}

// snapshot runs a query over one snapshot of the last commit.
func (r *reader) snapshot(ctx context.Context, query func(ctx context.Context, tx *sql.Tx) error) error {
	o := &sql.TxOptions{ReadOnly: true}
	if r.pg != nil {
		o.Isolation = sql.LevelRepeatableRead // otherwise each statement would have a snapshot of its own
	}
	tx, err := r.read.BeginTx(ctx, o)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return query(ctx, tx)
}

// ids returns the bytes of each id.
func ids[T ~[16]byte](all []T) [][]byte {
	out := make([][]byte, len(all))
	for i := range all {
		out[i] = all[i][:]
	}
	return out
}

// Due is part of ledger.Views; the earliest come first.
func (r *reader) Due(ctx context.Context, p event.Partition, before time.Time) (due []ledger.Due, err error) {
	if r.folds != nil {
		return r.folds.Due(p, before)
	}
	err = r.do(ctx, "list what is due", func(ctx context.Context) error {
		due = nil
		return sqlrows.Each(ctx, r.stmt.due, []any{int64(p), before.UnixMilli()}, func(scan func(...any) error) error {
			var subject []byte
			var at int64
			if err := scan(&subject, &at); err != nil {
				return err
			}
			due = append(due, ledger.Due{Subject: event.Pseudonym(toID(subject)), At: time.UnixMilli(at).UTC()})
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return due, nil
}

// Handoffs is part of ledger.Views. Under one key the newest comes first.
func (r *reader) Handoffs(ctx context.Context, account string, keys []string) (found []ledger.HandoffRef, err error) {
	if r.pg != nil {
		return r.asked.Handoffs(ctx, account, keys)
	}
	err = r.do(ctx, "look a carrier's id up", func(ctx context.Context) error {
		found = nil
		for i, key := range keys {
			if slices.Contains(keys[:i], key) {
				continue
			}
			args := []any{viewrows.Plain(key), viewrows.Plain(account), ledger.MaxSameKey}
			if err := sqlrows.Each(ctx, r.stmt.handoff, args, func(scan func(...any) error) error {
				h, counts, err := lookups.ScanHandoff(scan)
				if err == nil && counts {
					found = append(found, h)
				}
				return err
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Reserved is part of ledger.Views. If two submits have used one key (a result was lost, two
// processes took requests), the older one counts.
func (r *reader) Reserved(ctx context.Context, tenant, key string) (ledger.Reserved, bool, error) {
	if r.folds != nil {
		return r.folds.Reserved(tenant, key)
	}
	return r.asked.Reserved(ctx, tenant, key)
}

// Tails is part of ledger.Views. They come in order of tenant and subject.
func (r *reader) Tails(ctx context.Context, account, tail string, since time.Time, limit int) (found []ledger.Tailed, err error) {
	n, err := projections.TailNumber(tail)
	if err != nil {
		return nil, errors.New("find recipients by a tail: it is not 16 hexadecimal digits")
	}
	if r.folds != nil {
		return r.folds.Tails(account, n, projections.Day(since), limit)
	}
	err = r.do(ctx, "find recipients by a tail", func(ctx context.Context) error {
		found = nil
		return sqlrows.Each(ctx, r.stmt.tails, []any{viewrows.Plain(account), n, projections.Day(since), limit}, func(scan func(...any) error) error {
			var t ledger.Tailed
			var subject []byte
			if err := scan(&t.Tenant, &subject); err != nil {
				return err
			}
			t.Subject = event.Pseudonym(toID(subject))
			found = append(found, t)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Message returns a message of the tenant. The error is reading.ErrNotFound if there is none, or
// none yet.
func (r *reader) Message(ctx context.Context, tenant string, id event.ID) (*reading.Message, error) {
	var doc []byte
	if err := r.do(ctx, "read a message", func(ctx context.Context) error {
		err := r.stmt.message.QueryRowContext(ctx, id[:], tenant).Scan(&doc)
		if errors.Is(err, sql.ErrNoRows) {
			return reading.ErrNotFound
		}
		return err
	}); err != nil {
		return nil, err
	}
	return decode(doc)
}

// Search returns a page of the tenant's messages, the newest first: by id, and within one
// recipient in the order of the log. The next page begins after the last id of this page;
// messages that come meanwhile change nothing in it. A limit outside 1 to reading.MaxPage is
// brought within it. A search with a reading.Narrower is desk.Reader.Find's.
func (r *reader) Search(ctx context.Context, tenant string, f reading.Filter) (page []*reading.Message, err error) {
	f.Limit = min(max(f.Limit, 1), reading.MaxPage)
	f.Program, f.Reference = viewrows.Plain(f.Program), viewrows.Plain(f.Reference)
	err = r.view(ctx, "search messages", func(ctx context.Context, tx *sql.Tx) error {
		s := search{ctx: ctx, r: r, tx: tx, tenant: tenant, f: f}
		switch {
		case !f.Subject.IsZero():
			err = s.chain()
		case f.Reference != "":
			err = s.merge([]source{{stmt: tx.StmtContext(ctx, r.stmt.byReference), args: []any{tenant, f.Reference}}})
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

// latest is the latest message of a stream; zero if it has none.
func (r *reader) latest(ctx context.Context, subject event.Pseudonym) (latest event.ID, err error) {
	if r.folds != nil {
		return r.folds.Latest(subject)
	}
	err = r.do(ctx, "read a stream's latest message", func(ctx context.Context) error {
		var id []byte
		err := r.stmt.headOf.QueryRowContext(ctx, subject[:]).Scan(&id)
		if latest = toID(id); errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return latest, err
}

type search struct {
	ctx    context.Context
	r      *reader
	tx     *sql.Tx
	tenant string
	f      reading.Filter
	page   []*reading.Message
}

func (s *search) full() bool { return len(s.page) == s.f.Limit }

// add adds m to the page if it matches the filter. The reference is not checked here: it is not
// part of the message, but only in an index.
func (s *search) add(m *reading.Message) {
	if s.f.Matches(m, false) {
		s.page = append(s.page, m)
	}
}

// chain goes through one recipient's messages, from the latest back.
func (s *search) chain() error {
	var next []byte
	var err error
	if s.f.After.IsZero() {
		var latest event.ID
		latest, err = s.r.latest(s.ctx, s.f.Subject)
		next = orNull(latest)
	} else {
		err = s.tx.StmtContext(s.ctx, s.r.stmt.previousOf).QueryRowContext(s.ctx, s.f.After[:], s.tenant).Scan(&next)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	chain := s.tx.StmtContext(s.ctx, s.r.stmt.chain)
	// The filter leaves messages out, so look further, each time at more messages.
	for n := s.f.Limit; err == nil && next != nil && !s.full(); n = min(2*n, 1000) {
		from := next
		next = nil
		err = sqlrows.Each(s.ctx, chain, []any{from, n}, func(scan func(...any) error) error {
			var tenant string
			var doc []byte
			var reference sql.NullString
			if err := scan(&tenant, &doc, &next, &reference); err != nil || s.full() {
				return err
			}
			if tenant != s.tenant || s.f.Reference != "" && s.f.Reference != reference.String {
				return nil
			}
			m, err := decode(doc)
			if err == nil {
				s.add(m)
			}
			return err
		})
	}
	return err
}

// source returns ids between two bounds, the newest first.
type source struct {
	stmt *sql.Stmt
	args []any
}

// groups returns sources that together have every message with the wanted program and status: one
// for each of the tenant's programs and statuses, since the index begins with these.
func (s *search) groups() ([]source, error) {
	programs := []string{s.f.Program}
	if s.f.Program == "" {
		programs = nil
		stmt := s.tx.StmtContext(s.ctx, s.r.stmt.program)
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
	statuses := recipient.Statuses()
	if s.f.Status != "" {
		statuses = []recipient.Status{s.f.Status}
	}
	stmt := s.tx.StmtContext(s.ctx, s.r.stmt.byStatus)
	var sources []source
	for _, program := range programs {
		for _, status := range statuses {
			sources = append(sources, source{stmt, []any{s.tenant, program, string(status)}})
		}
	}
	return sources, nil
}

// merge fills the page from the sources, in order of id. Each source returns at most a page of
// ids at a time. If it returned that many, it may have more below its last id, so ids below that
// wait for the next round.
func (s *search) merge(sources []source) error {
	upper, lower := event.ID(bytes.Repeat([]byte{0xff}, 16)), event.ID{}
	if !s.f.Until.IsZero() {
		upper = viewrows.Oldest(s.f.Until.Add(viewrows.IDAhead))
	}
	if !s.f.After.IsZero() && bytes.Compare(s.f.After[:], upper[:]) < 0 {
		upper = s.f.After
	}
	if !s.f.Since.IsZero() {
		lower = viewrows.Oldest(s.f.Since.Add(-viewrows.IDBehind))
	}
	for more := true; more && !s.full(); {
		more = false
		var found []event.ID
		var end event.ID // ids below this one may be missing still
		for _, src := range sources {
			n := 0
			var last event.ID
			args := append(slices.Clone(src.args), upper[:], lower[:], s.f.Limit)
			err := sqlrows.Each(s.ctx, src.stmt, args, func(scan func(...any) error) error {
				var b []byte
				if err := scan(&b); err != nil {
					return err
				}
				last = toID(b)
				found = append(found, last)
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
		slices.SortFunc(found, func(a, b event.ID) int { return bytes.Compare(b[:], a[:]) })
		if n := slices.IndexFunc(found, func(id event.ID) bool { return bytes.Compare(id[:], end[:]) < 0 }); n >= 0 {
			found = found[:n]
		}
		if err := s.read(found); err != nil {
			return err
		}
		upper = end
	}
	return nil
}

// read adds messages in the order of their ids, until the page is full.
func (s *search) read(all []event.ID) error {
	if s.r.pg == nil {
		message := s.tx.StmtContext(s.ctx, s.r.stmt.message)
		for _, id := range all {
			if s.full() {
				return nil
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
		return nil
	}
	docs := s.tx.StmtContext(s.ctx, s.r.stmt.docs)
	for part := range slices.Chunk(all, s.f.Limit) {
		if s.full() {
			return nil
		}
		messages := make(map[event.ID]*reading.Message, len(part))
		err := sqlrows.Each(s.ctx, docs, []any{ids(part), s.tenant}, func(scan func(...any) error) error {
			var doc sql.RawBytes
			if err := scan(&doc); err != nil {
				return err
			}
			m, err := decode(doc)
			if err == nil {
				messages[m.ID] = m
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range part {
			if m := messages[id]; m != nil && !s.full() {
				s.add(m)
			}
		}
	}
	return nil
}
