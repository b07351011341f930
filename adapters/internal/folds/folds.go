// Package folds reads the folds of streams from the views in PostgreSQL, and what they say of opt-outs. A row that does not
// fit its sum, and the rows of a partition that are known not to fit their mark, are never given to anyone.
package folds

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/chirograph/chirograph/adapters/internal/postgres"
	"github.com/chirograph/chirograph/adapters/internal/sqlrows"
	"github.com/chirograph/chirograph/adapters/internal/viewsums"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// Loader reads folds from what is committed. Its methods may be called from any goroutine, after Prepare.
type Loader struct {
	partitions             int // how many the ledger has
	view                   func(ctx context.Context, what string, query func(ctx context.Context, tx *sql.Tx) error) error
	do                     func(ctx context.Context, what string, query func(ctx context.Context) error) error
	doubt                  func(p event.Partition, next int64, why error)
	read                   *sql.DB
	marks, streams, states *sql.Stmt
	asked                  *postgres.Gather[asked, *loaded]
}

// New returns a Loader of a ledger's views. do runs a query within its time, perhaps twice, and its error
// says what it was for; view does so over one snapshot. doubt is told of a partition with a row that does not
// fit its sum, and up to where the partition was folded.
func New(partitions int, do func(ctx context.Context, what string, query func(context.Context) error) error,
	view func(ctx context.Context, what string, query func(context.Context, *sql.Tx) error) error, doubt func(p event.Partition, next int64, why error)) *Loader {
	r := &Loader{partitions: partitions, do: do, view: view, doubt: doubt}
	r.asked = postgres.NewGather(most, r.load)
	return r
}

// Prepare prepares the statements on the readers' connections. Streams are loaded as sets, because each statement
// costs a round trip.
func (r *Loader) Prepare(ctx context.Context, read *sql.DB) (err error) {
	r.read = read
	prepare := func(to **sql.Stmt, text string) {
		if err == nil {
			*to, err = read.PrepareContext(ctx, text)
		}
	}
	prepare(&r.marks, `SELECT partition, next, summed, whole FROM partitions WHERE next > 0`)
	// One statement is one snapshot. The rows without a subject say how far the partitions were folded in it.
	prepare(&r.streams, `SELECT partition, NULL::bytea, NULL::bytea, next, summed, whole FROM partitions WHERE partition = ANY($1)
		UNION ALL SELECT partition, subject, state, 0, sum, 0 FROM streams WHERE subject = ANY($2) AND state IS NOT NULL
		UNION ALL SELECT DISTINCT 0, subject, NULL::bytea, 0, NULL::bigint, 0 FROM standing WHERE subject = ANY($2)
		UNION ALL SELECT DISTINCT 0, subject, NULL::bytea, 0, NULL::bigint, 0 FROM opt_outs WHERE subject = ANY($2)`)
	prepare(&r.states, `SELECT subject, state, sum FROM streams WHERE subject = ANY($1) AND state IS NOT NULL
		UNION ALL SELECT DISTINCT subject, NULL::bytea, NULL::bigint FROM standing WHERE subject = ANY($1)
		UNION ALL SELECT DISTINCT subject, NULL::bytea, NULL::bigint FROM opt_outs WHERE subject = ANY($1)`)
	return err
}

// mark is how far a partition is folded, and which of its rows must have their sums.
type mark struct {
	next  int64
	whole viewsums.Contents
}

func markOf(next int64, summed, whole sql.NullInt64) mark {
	m := mark{next: next}
	switch {
	case summed.Valid && summed.Int64 == viewsums.Damaged:
		m.whole.Damaged = true
	case summed.Valid && summed.Int64 == next:
		m.whole.Whole = uint64(whole.Int64)
	}
	return m
}

// fits reports whether a row is as it was written, as far as that can be known.
func (m *mark) fits(subject event.Pseudonym, state []byte, sum sql.NullInt64) bool {
	return !m.whole.IsWhole(viewsums.Bucket(subject)) || sum.Valid && sum.Int64 == viewsums.Of(subject, state)
}

var errRow = errors.New("the row of a stream is not as it was written")

// errGone is why rows do not fit where the list of opt-outs has one of a stream that has no row.
var errGone = errors.New("the row of a stream with an opt-out is missing")

// Unfit is the error for a partition whose rows do not fit: ledger.ErrUnfit.
func Unfit(p event.Partition, why error) error {
	return fmt.Errorf("%w: partition %s: %w", ledger.ErrUnfit, p, why)
}

// ErrMarked is why rows do not fit that this process, or another one, has found before.
var ErrMarked = errors.New("they were found to differ from what was written")

// most is how many calls of Streams share one statement.
const most = 256

// asked is one call of Streams.
type asked struct {
	p        event.Partition
	subjects []event.Pseudonym
}

// loaded is the rows of all calls that shared a statement.
type loaded struct {
	marks   map[event.Partition]mark
	streams map[event.Pseudonym]row
	listed  map[event.Pseudonym]bool // that the lists of opt-outs have
}

// row is a stream's row.
type row struct {
	p     event.Partition
	state []byte
	sum   sql.NullInt64
}

// load reads the rows that calls of Streams ask for.
func (r *Loader) load(ctx context.Context, all []asked) ([]*loaded, error) {
	var partitions []int64
	var subjects [][]byte
	for _, a := range all {
		partitions = append(partitions, int64(a.p))
		subjects = append(subjects, ids(a.subjects)...)
	}
	l := &loaded{map[event.Partition]mark{}, make(map[event.Pseudonym]row, len(subjects)), map[event.Pseudonym]bool{}}
	err := sqlrows.Each(ctx, r.streams, []any{partitions, subjects}, func(scan func(...any) error) error {
		var x row
		var subject sql.RawBytes
		var next int64
		var whole sql.NullInt64
		if err := scan(&x.p, &subject, &x.state, &next, &x.sum, &whole); err != nil {
			return err
		}
		switch {
		case subject == nil:
			l.marks[x.p] = markOf(next, x.sum, whole)
		case x.state == nil:
			l.listed[toID(subject)] = true
		default:
			l.streams[toID(subject)] = x
		}
		return nil
	})
	return slices.Repeat([]*loaded{l}, len(all)), err
}

// Streams is part of ledger.Views. Calls at about the same time share a statement.
func (r *Loader) Streams(ctx context.Context, p event.Partition, subjects []event.Pseudonym) (folds map[event.Pseudonym]*recipient.State, asOf int64, err error) {
	var l *loaded
	if err := r.do(ctx, "load streams", func(ctx context.Context) (err error) {
		l, err = r.asked.Ask(ctx, asked{p, subjects})
		return err
	}); err != nil {
		return nil, 0, err
	}
	m := l.marks[p]
	if m.whole.Damaged {
		return nil, 0, Unfit(p, ErrMarked)
	}
	folds = make(map[event.Pseudonym]*recipient.State, len(subjects))
	if m.next == 0 {
		return folds, 0, nil // rows without a mark say nothing
	}
	for _, s := range subjects {
		x, ok := l.streams[s]
		switch ok = ok && x.p == p; {
		case !ok && !l.listed[s]:
		case !ok:
			return nil, 0, r.differs(p, m.next, errGone)
		case !m.fits(s, x.state, x.sum):
			return nil, 0, r.differs(p, m.next, errRow)
		default:
			state, err := recipient.Decode(x.state)
			if err != nil {
				return nil, 0, fmt.Errorf("load streams: %w", err)
			}
			folds[s] = state
		}
	}
	return folds, m.next, nil
}

// KeepsRows is part of ledger.Views: in PostgreSQL all of a stream is in its fold, since a node of an older version that runs beside
// this one would read a fold as if there were no rows.
func (r *Loader) KeepsRows() bool { return false }

// Rows is part of ledger.Views. There are none.
func (r *Loader) Rows(context.Context, event.Partition, []recipient.RowKey) (map[recipient.RowKey][]byte, int64, error) {
	return nil, 0, errors.New("these views keep no rows of streams")
}

// differs tells of a partition with a row that is not as it was written.
func (r *Loader) differs(p event.Partition, next int64, why error) error {
	r.doubt(p, next, why)
	return Unfit(p, why)
}

func marksOf(ctx context.Context, stmt *sql.Stmt, args ...any) (map[event.Partition]mark, error) {
	all := map[event.Partition]mark{}
	err := sqlrows.Each(ctx, stmt, args, func(scan func(...any) error) error {
		var p event.Partition
		var next int64
		var summed, whole sql.NullInt64
		err := scan(&p, &next, &summed, &whole)
		all[p] = markOf(next, summed, whole)
		return err
	})
	return all, err
}

// chunk is how many streams one statement asks for.
const chunk = 1000

// each reads the rows of those of the subjects that have a fold, over the snapshot of tx. A stream that has none, although
// the list of opt-outs has one of it, is given to take without a state.
func (r *Loader) each(ctx context.Context, tx *sql.Tx, subjects []event.Pseudonym, take func(event.Pseudonym, []byte, sql.NullInt64) error) error {
	have := make(map[event.Pseudonym]bool, len(subjects))
	var listed []event.Pseudonym
	for some := range slices.Chunk(subjects, chunk) {
		if err := sqlrows.Each(ctx, tx.StmtContext(ctx, r.states), []any{ids(some)}, func(scan func(...any) error) error {
			var subject, state sql.RawBytes
			var sum sql.NullInt64
			if err := scan(&subject, &state, &sum); err != nil {
				return err
			}
			s := toID(subject)
			if state == nil {
				listed = append(listed, s)
				return nil
			}
			have[s] = true
			return take(s, state, sum)
		}); err != nil {
			return err
		}
	}
	for _, s := range listed {
		if have[s] {
			continue
		}
		if err := take(s, nil, sql.NullInt64{}); err != nil {
			return err
		}
	}
	return nil
}

// OptOuts returns the opt-outs in force for each of the subjects, in order, and the last position
// of each partition that has one of the subjects: the answer is true as of exactly these
// positions. A partition without events has none, nor has one whose rows do not fit. It reads the folds of
// the streams, by which messages are decided.
func (r *Loader) OptOuts(ctx context.Context, tenant string, subjects []event.Pseudonym) (stand [][]reading.OptOut, asOf []event.Position, err error) {
	at := map[event.Pseudonym][]int{}
	var distinct []event.Pseudonym
	involved := map[event.Partition]bool{}
	partition := func(s event.Pseudonym) event.Partition { return event.Partition(s.Partition(r.partitions)) }
	for i, s := range subjects {
		if at[s] = append(at[s], i); len(at[s]) == 1 {
			distinct = append(distinct, s)
		}
		involved[partition(s)] = true
	}
	unfit := map[event.Partition]int64{}
	err = r.view(ctx, "read opt-outs", func(ctx context.Context, tx *sql.Tx) error {
		stand, asOf = make([][]reading.OptOut, len(subjects)), nil
		clear(unfit)
		marks, err := marksOf(ctx, tx.StmtContext(ctx, r.marks))
		if err != nil {
			return err
		}
		err = r.each(ctx, tx, distinct, func(subject event.Pseudonym, state []byte, sum sql.NullInt64) error {
			p := partition(subject)
			m := marks[p]
			if m.next == 0 || m.whole.Damaged {
				return nil
			}
			if state == nil || !m.fits(subject, state, sum) {
				unfit[p] = m.next
				return nil
			}
			rows, err := Standing(p, tenant, state)
			if err != nil {
				return err
			}
			for _, i := range at[subject] {
				stand[i] = rows
			}
			return nil
		})
		for p := range event.Partition(r.partitions) {
			if m := marks[p]; involved[p] && m.next > 0 && !m.whole.Damaged && unfit[p] == 0 {
				asOf = append(asOf, event.Position{Partition: p, Index: m.next - 1}) // the last event that was applied
			}
		}
		return err
	})
	for p, next := range unfit {
		r.doubt(p, next, errRow)
	}
	if err != nil {
		return nil, nil, err
	}
	return stand, asOf, nil
}

// Standing are the opt-outs that stand in the fold of a stream of partition p, as ledger.Folded has it. A stream of another
// tenant has none for this one.
func Standing(p event.Partition, tenant string, state []byte) ([]reading.OptOut, error) {
	if len(state) > 0 && state[0] != '{' {
		s, err := recipient.Decode(state)
		if err != nil || s.Tenant != tenant {
			return nil, err
		}
		return projections.Standing(p, s.OptOuts), nil
	}
	var s struct { // all that is read of JSON, which may have all messages of a stream
		Tenant  string             `json:"tenant"`
		OptOuts []recipient.OptOut `json:"opt_outs"`
	}
	if err := json.Unmarshal(state, &s); err != nil || s.Tenant != tenant {
		return nil, err
	}
	return projections.Standing(p, s.OptOuts), nil
}

func ids(all []event.Pseudonym) [][]byte {
	out := make([][]byte, len(all))
	for i := range all {
		out[i] = all[i][:]
	}
	return out
}

func toID(b []byte) (id event.Pseudonym) {
	copy(id[:], b)
	return id
}
