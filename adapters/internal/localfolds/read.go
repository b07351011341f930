// Package localfolds is what the views of one machine know of streams: their folds, what is due, idempotency keys and tails, in
// a store in a folder beside the SQLite file of the rows. A commit writes the rows first, durably, and then the folds: so rows
// may be ahead of the folds, and never behind. After a crash a partition is read on from the folds' mark, and of what the rows
// have already only the folds take something.
package localfolds

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/folds"
	"github.com/chirograph/chirograph/adapters/internal/foldstore"
	"github.com/chirograph/chirograph/adapters/internal/viewrows"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

// Folds are the open folds of some views. Its answers are as of its own marks. The methods that answer may be called from any
// goroutine; one goroutine at a time writes.
type Folds struct {
	rows       *Rows
	id         string // of the rows
	partitions int

	// using is held by who uses the store: for reading, and alone by renew, which puts another in its place.
	using    sync.RWMutex
	store    *foldstore.Store // nil while no store can be opened
	renewing atomic.Bool
	closing  chan struct{}
	renewals sync.WaitGroup

	// Only the writer uses these. marks is how far the folds are committed, and prunedTo the first day of which a partition's
	// tails were kept when they were pruned last.
	marks    map[event.Partition]ledger.Mark
	prunedTo map[event.Partition]int64
	// rowsPruned is the partition's time up to which its rows were pruned.
	rowsPruned map[event.Partition]time.Time

	// committing is held by the writer while it commits rows and folds, and by a reader while it begins to read
	// both.
	committing sync.RWMutex

	damaged partitionSet // those whose rows do not fit
}

// SetDamaged says whether the rows of a partition are known not to be what was written: nothing is then answered from its folds.
func (f *Folds) SetDamaged(p event.Partition, damaged bool) { f.damaged.set(p, damaged) }

// partitionSet are some partitions. Its methods may be called from any goroutine.
type partitionSet struct {
	mu sync.RWMutex
	in map[event.Partition]bool
}

func (s *partitionSet) set(p event.Partition, in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in[p] = in
}

func (s *partitionSet) has(p event.Partition) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.in[p]
}

// Mark is part of ledger.Views: how far a partition is folded.
func (f *Folds) Mark(p event.Partition) (ledger.Mark, error) {
	v, done, err := f.view(p)
	if err != nil {
		return ledger.Mark{}, err
	}
	defer done()
	return v.Mark(p), nil
}

// Streams is part of ledger.Views.
func (f *Folds) Streams(_ context.Context, p event.Partition, subjects []event.Pseudonym) (map[event.Pseudonym]*recipient.State, int64, error) {
	v, done, err := f.view(p)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	m := v.Mark(p)
	out := make(map[event.Pseudonym]*recipient.State, len(subjects))
	if m.Next == 0 {
		return out, 0, nil
	}
	for _, subject := range subjects {
		x, ok, err := v.Stream(subject)
		if err != nil {
			return nil, 0, f.noted(err)
		}
		if !ok || len(x.State) == 0 {
			continue
		}
		if out[subject], err = recipient.Decode(x.State); err != nil {
			return nil, 0, err
		}
	}
	return out, m.Next, nil
}

// KeepsRows is part of ledger.Views.
func (f *Folds) KeepsRows() bool { return true }

// Rows is part of ledger.Views.
func (f *Folds) Rows(_ context.Context, p event.Partition, keys []recipient.RowKey) (map[recipient.RowKey][]byte, int64, error) {
	v, done, err := f.view(p)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	m := v.Mark(p)
	rows := map[recipient.RowKey][]byte{}
	if m.Next == 0 {
		return rows, 0, nil
	}
	for _, k := range keys {
		body, err := v.Row(k)
		if err != nil {
			return nil, 0, f.noted(err)
		}
		if body != nil {
			rows[k] = body
		}
	}
	return rows, m.Next, nil
}

// OptOuts is folds.Loader.OptOuts, from the store.
func (f *Folds) OptOuts(_ context.Context, tenant string, subjects []event.Pseudonym) (stand [][]reading.OptOut, asOf []event.Position, err error) {
	v, done, err := f.view()
	if err != nil {
		return nil, nil, err
	}
	defer done()
	stand = make([][]reading.OptOut, len(subjects))
	at := map[event.Pseudonym][]int{}
	next := map[event.Partition]int64{}
	for i, s := range subjects {
		at[s] = append(at[s], i)
		p := event.Partition(s.Partition(f.partitions))
		if _, known := next[p]; known {
			continue
		}
		next[p] = 0
		if !f.damaged.has(p) {
			next[p] = v.Mark(p).Next
		}
	}
	for s, where := range at {
		p := event.Partition(s.Partition(f.partitions))
		if next[p] == 0 {
			continue
		}
		x, ok, err := v.Stream(s)
		if err != nil {
			return nil, nil, f.noted(err)
		}
		if !ok || len(x.State) == 0 {
			continue
		}
		rows, err := folds.Standing(p, tenant, x.State)
		if err != nil {
			return nil, nil, err
		}
		for _, i := range where {
			stand[i] = rows
		}
	}
	for p := range event.Partition(f.partitions) {
		if next[p] > 0 {
			asOf = append(asOf, event.Position{Partition: p, Index: next[p] - 1})
		}
	}
	return stand, asOf, nil
}

// Due is part of ledger.Views; the earliest come first.
func (f *Folds) Due(p event.Partition, before time.Time) ([]ledger.Due, error) {
	v, done, err := f.view()
	if err != nil {
		return nil, err
	}
	defer done()
	due, err := v.Due(p, before)
	return due, f.noted(err)
}

// Reserved is part of ledger.Views. If two submits have used one key, the older one counts.
func (f *Folds) Reserved(tenant, key string) (ledger.Reserved, bool, error) {
	v, done, err := f.view()
	if err != nil {
		return ledger.Reserved{}, false, err
	}
	defer done()
	all, err := v.Reservations(tenant, viewrows.Plain(key))
	if err != nil {
		return ledger.Reserved{}, false, f.noted(err)
	}
	for _, r := range all {
		if r.Until.After(v.Mark(r.Partition).Partition.Time) {
			return ledger.Reserved{Message: r.Message, Input: r.Input}, true, nil
		}
	}
	return ledger.Reserved{}, false, nil
}

// Tails is part of ledger.Views, for a tail as a number and from a day on. They come in order of tenant and subject.
func (f *Folds) Tails(account string, tail, day int64, limit int) (found []ledger.Tailed, err error) {
	v, done, err := f.view()
	if err != nil {
		return nil, err
	}
	defer done()
	last := int64(0)
	for p := range event.Partition(f.partitions) {
		if at := v.Mark(p).Partition.Time; !at.IsZero() {
			last = max(last, projections.Day(at))
		}
	}
	account = viewrows.Plain(account)
	seen := map[ledger.Tailed]bool{}
	for p := range event.Partition(f.partitions) {
		if err := v.Tails(p, day, last, &tail, func(t foldstore.Tail) error {
			x := ledger.Tailed{Tenant: t.Tenant, Subject: t.Subject}
			if t.Account == account && !seen[x] {
				seen[x] = true
				found = append(found, x)
			}
			return nil
		}); err != nil {
			return nil, f.noted(err)
		}
	}
	slices.SortFunc(found, func(a, b ledger.Tailed) int {
		return cmp.Or(strings.Compare(a.Tenant, b.Tenant), bytes.Compare(a.Subject[:], b.Subject[:]))
	})
	return found[:min(len(found), limit)], nil
}

// Latest is the latest message of a stream; zero if it has none.
func (f *Folds) Latest(subject event.Pseudonym) (event.ID, error) {
	v, done, err := f.view()
	if err != nil {
		return event.ID{}, err
	}
	defer done()
	x, _, err := v.Stream(subject)
	return x.Latest, f.noted(err)
}

// Snapshot is one snapshot of the folds.
type Snapshot struct {
	view       *foldstore.View
	partitions int
}

// Tables writes the lines of a dump's tables that the SQLite file does not have.
func (d *Snapshot) Tables() map[string]func(out *bufio.Writer) error {
	return map[string]func(out *bufio.Writer) error{"streams": d.streams, "tails": d.tails}
}

func (d *Snapshot) streams(out *bufio.Writer) error {
	var line []byte
	return d.view.Each(func(subject event.Pseudonym, x foldstore.Stream) error {
		line = append(line[:0], "streams\t"...)
		line = hex.AppendEncode(line, subject[:])
		line = append(strconv.AppendInt(append(line, '\t'), int64(subject.Partition(d.partitions)), 10), '\t')
		if len(x.State) == 0 {
			line = append(line, '-')
		}
		state, err := d.gathered(subject, x.State)
		if err != nil {
			return err
		}
		line = append(append(line, state...), '\t')
		if x.Due.IsZero() {
			line = append(line, '-')
		} else {
			line = strconv.AppendInt(line, x.Due.UnixMilli(), 10)
		}
		line = append(line, '\t')
		if x.Latest.IsZero() {
			line = append(line, '-')
		} else {
			line = hex.AppendEncode(line, x.Latest[:])
		}
		_, err = out.Write(append(line, '\n'))
		return err
	})
}

// gathered is a stream's fold with what is in its rows.
func (d *Snapshot) gathered(subject event.Pseudonym, state []byte) ([]byte, error) {
	if len(state) == 0 {
		return nil, nil
	}
	now := d.view.Mark(event.Partition(subject.Partition(d.partitions))).Partition
	return viewrows.Gathered(state, now, func() ([]recipient.Row, error) { return d.view.Rows(subject) })
}

func (d *Snapshot) tails(out *bufio.Writer) error {
	var line []byte
	for p := range event.Partition(d.partitions) {
		now := d.view.Mark(p).Partition.Time
		if now.IsZero() {
			continue
		}
		if err := d.view.Tails(p, viewrows.FirstTold(now), projections.Day(now.AddDate(1, 0, 0)), nil, func(t foldstore.Tail) error {
			line = append(strconv.AppendInt(append(line[:0], "tails\t"...), int64(p), 10), '\t')
			line = append(strconv.AppendInt(line, t.Day, 10), '\t')
			line = append(strconv.AppendQuote(line, t.Account), '\t')
			line = append(strconv.AppendInt(line, t.Tail, 10), '\t')
			line = append(strconv.AppendQuote(line, t.Tenant), '\t')
			line = append(hex.AppendEncode(line, t.Subject[:]), '\n')
			_, err := out.Write(line)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// Snapshots runs a query over one snapshot of the rows and one of the folds, of the same commit.
func (f *Folds) Snapshots(ctx context.Context, db *sql.DB, query func(tx *sql.Tx, folds *Snapshot) error) error {
	f.using.RLock()
	defer f.using.RUnlock()
	tx, view, err := f.begin(ctx, db)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	defer view.Close()
	return f.noted(query(tx, &Snapshot{view, f.partitions}))
}

func (f *Folds) begin(ctx context.Context, db *sql.DB) (*sql.Tx, *foldstore.View, error) {
	f.committing.RLock()
	defer f.committing.RUnlock()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	var n int64 // the snapshot begins with the first read
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM partitions`).Scan(&n); err != nil {
		return nil, nil, errors.Join(err, tx.Rollback())
	}
	if f.store == nil {
		return nil, nil, errors.Join(errNoStore, tx.Rollback())
	}
	return tx, f.store.View(), nil
}

// view takes a snapshot, until done. It is an error if one of the partitions that are asked about is damaged.
func (f *Folds) view(about ...event.Partition) (v *foldstore.View, done func(), err error) {
	for _, p := range about {
		if f.damaged.has(p) {
			return nil, nil, folds.Unfit(p, folds.ErrMarked)
		}
	}
	f.using.RLock()
	if f.store == nil {
		f.using.RUnlock()
		return nil, nil, errNoStore
	}
	v = f.store.View()
	return v, func() { v.Close(); f.using.RUnlock() }, nil
}
