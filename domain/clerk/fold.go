package clerk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Fold is one partition, folded. It takes the records of the log in order, judges each as
// effective or void, and hands them to the views in batches. Live reading, a restart, a takeover
// and a rebuild all use the same Fold, and differ only in where they begin. It has no goroutine
// and no clock. One goroutine at a time may use it.
//
// Missing names the streams that are needed, Load brings them, LoadRows loads rows of these streams, Apply folds
// records, Cut makes a batch for the views, and Committed says that the views have committed batches, so that streams and rows
// may leave memory.
type Fold struct {
	partition event.Partition
	control   *control.Control
	most      int64 // how many bytes of streams are kept in memory, about
	rule      *recipient.Rule
	keepRows  bool // the views keep rows of streams, and folds in bytes
	bounds    recipient.Bounds
	// apart is called with each message that becomes a row; nil: it is not.
	apart func(of *stream, message event.ID)

	next    int64
	hash    [32]byte // the hash in the mark of the last cut, or of the mark at which it began
	last    []byte   // the exact bytes of the event that was applied last; nil if none was
	part    recipient.PartitionState
	reg     *control.Registry
	streams map[event.Pseudonym]*stream
	weight  int64         // of the streams together
	evicted func(*stream) // is told of each stream that leaves memory

	judged    []ledger.Judged             // judged since the last cut
	dirty     map[event.Pseudonym]*stream // the streams that changed since the last cut
	cuts      uint64
	committed uint64
	encoded   []byte // is written anew for each stream that is encoded
}

// StreamMemory is how many bytes of streams a Fold keeps in memory beside those in use, about.
const StreamMemory = 4 << 20

// NewFold returns the fold of a partition before its first event. When the partition applies a
// control position that c has not read yet, Apply waits for c.
func NewFold(p event.Partition, c *control.Control) *Fold {
	rule := recipient.Standard()
	return &Fold{partition: p, control: c, most: StreamMemory, rule: &rule, bounds: recipient.StandardBounds(), reg: &control.Registry{},
		streams: map[event.Pseudonym]*stream{}, dirty: map[event.Pseudonym]*stream{}, evicted: func(*stream) {}}
}

// KeepRows says whether the fold keeps settled messages and remembered ids in rows, and gives streams to the views in bytes and not as
// JSON, as views can take them (ledger.Views.KeepsRows). Call it before the fold is used.
func (f *Fold) KeepRows(keep bool) { f.keepRows = keep }

// Restore makes the fold begin at a mark, under the registry of the mark's control position.
// Streams are then loaded from the views as they are needed.
func (f *Fold) Restore(m ledger.Mark, reg *control.Registry) {
	f.next, f.hash, f.part, f.reg = m.Next, m.Hash, m.Partition, reg
	f.part.Level = reg.Level()
}

// Next is the index of the next event to apply.
func (f *Fold) Next() int64 { return f.next }

// Partition is the state that all streams of the partition share.
func (f *Fold) Partition() recipient.PartitionState { return f.part }

// Missing returns the subjects of the records whose streams are not in memory. Load them before
// the records are applied.
func (f *Fold) Missing(records []ledger.Record) []event.Pseudonym {
	var out []event.Pseudonym
	listed := map[event.Pseudonym]bool{}
	for i := range records {
		if records[i].Bad != nil {
			continue
		}
		s := records[i].Event.Subject
		if !s.IsZero() && f.streams[s] == nil && !listed[s] {
			listed[s] = true
			out = append(out, s)
		}
	}
	return out
}

// Load takes streams as the views have folded them. A subject without a fold begins empty. A
// stream that is in memory already stays as it is.
func (f *Fold) Load(subjects []event.Pseudonym, folds map[event.Pseudonym]*recipient.State) {
	f.load(subjects, folds, func(*stream) {})
}

// load is Load that calls loaded for each stream that the views had.
func (f *Fold) load(subjects []event.Pseudonym, folds map[event.Pseudonym]*recipient.State, loaded func(*stream)) {
	for _, s := range subjects {
		if f.streams[s] != nil {
			continue
		}
		st := &stream{subject: s, partition: f.partition, state: folds[s], fresh: folds[s] == nil}
		f.streams[s] = st
		if st.state == nil {
			st.state = recipient.New("", s)
			f.weigh(st, newWeight)
			continue
		}
		f.weigh(st, newWeight+messageWeight*int64(len(st.state.Messages)))
		loaded(st)
	}
}

// RowSource is the part of ledger.Views that loads rows.
type RowSource interface {
	Rows(ctx context.Context, p event.Partition, keys []recipient.RowKey) (rows map[recipient.RowKey][]byte, asOf int64, err error)
}

// Source is the part of ledger.Views that loads streams and rows.
type Source interface {
	ledger.Folds
	RowSource
}

// Fetch loads streams from the views by load, which is Load or Clerk.Load, and the rows that records need. Nothing is taken if fits
// returns an error for how far it was folded.
func (f *Fold) Fetch(ctx context.Context, from Source, subjects []event.Pseudonym, records []ledger.Record,
	load func([]event.Pseudonym, map[event.Pseudonym]*recipient.State), fits func(asOf int64) error) error {
	if len(subjects) > 0 {
		folds, asOf, err := from.Streams(ctx, f.partition, subjects)
		if err == nil {
			err = fits(asOf)
		}
		if err != nil {
			return err
		}
		load(subjects, folds)
	}
	return f.LoadRows(ctx, from, records, fits)
}

// LoadRows loads the rows that the records need and that are not in memory. Call it once the records' streams are loaded, and
// before the records are applied. Rows are not taken if fits returns an error for how far they were folded.
func (f *Fold) LoadRows(ctx context.Context, from RowSource, records []ledger.Record, fits func(asOf int64) error) error {
	var keys []recipient.RowKey
	listed := map[recipient.RowKey]bool{}
	for i := range records {
		if records[i].Bad != nil {
			continue
		}
		st := f.streams[records[i].Event.Subject]
		if st == nil {
			continue
		}
		for _, k := range recipient.RowsOf(st.state).Lacks(f.part.Time, records[i].Event) {
			if !listed[k] {
				listed[k] = true
				keys = append(keys, k)
			}
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, asOf, err := from.Rows(ctx, f.partition, keys)
	if err == nil {
		err = fits(asOf)
	}
	for _, k := range keys {
		if err == nil {
			err = recipient.RowsOf(f.streams[k.Subject].state).Take(k, rows[k])
		}
	}
	return err
}

// Apply folds records. They must follow without a gap, and their streams must be loaded. If a
// record causes an error, the records before it are folded. The error is ErrDamaged for a record
// that is no event of this ledger and that control has not accepted.
func (f *Fold) Apply(ctx context.Context, records []ledger.Record) error {
	return f.apply(ctx, records, func(*stream, *ledger.Judged) {})
}

// apply is Apply that calls folded after each record with its stream. The stream is nil for a
// control position that the partition applied, and for an opaque record.
func (f *Fold) apply(ctx context.Context, records []ledger.Record, folded func(*stream, *ledger.Judged)) error {
	for i := range records {
		r := &records[i]
		at := event.Position{Partition: f.partition, Index: r.Index}
		if r.Index != f.next {
			return fmt.Errorf("read %s where %s should follow", at, event.Position{Partition: f.partition, Index: f.next})
		}
		f.judged = append(f.judged, ledger.Judged{Record: *r})
		st, err := f.judge(ctx, at, &f.judged[len(f.judged)-1])
		if err != nil {
			f.judged = f.judged[:len(f.judged)-1]
			return err
		}
		folded(st, &f.judged[len(f.judged)-1])
		f.next++
		f.last = r.Raw
	}
	return nil
}

// judge folds one record, and says what it is worth. It returns the record's stream; nil for a
// control position, and for an opaque record.
func (f *Fold) judge(ctx context.Context, at event.Position, j *ledger.Judged) (*stream, error) {
	if unfit := unfit(&j.Record); unfit != nil {
		if !f.control.Accepted(at, j.Raw) {
			return nil, ledger.Damaged(at, unfit)
		}
		j.Why, j.Event = ledger.Opaque, nil
		return nil, nil
	}
	if _, applied := j.Event.Data.(*event.ControlApplied); applied {
		return nil, f.applyControl(ctx, j)
	}
	st := f.streams[j.Event.Subject]
	if lacks := recipient.RowsOf(st.state).Lacks(f.part.Time, j.Event); len(lacks) > 0 {
		return nil, fmt.Errorf("%s needs a row of its stream that was not loaded: %c %s", at, lacks[0].Kind, lacks[0].ID)
	}
	f.evolve(st, j)
	return st, nil
}

// unfit says why a record cannot be folded in a recipients' partition; nil when it can.
func unfit(r *ledger.Record) error {
	if r.Bad != nil {
		return r.Bad
	}
	if _, applied := r.Event.Data.(*event.ControlApplied); !applied && r.Event.Subject.IsZero() {
		return fmt.Errorf("%s belongs to no recipient", r.Event.Data.Type().Name())
	}
	return nil
}

func (f *Fold) applyControl(ctx context.Context, j *ledger.Judged) error {
	before := f.part
	if j.Why = f.rule.Apply(&f.part, j.Event); j.Why != "" {
		return nil
	}
	reg, err := f.control.Wait(ctx, f.part.Control)
	if err != nil {
		f.part = before
		return err
	}
	f.reg = reg
	f.part.Level = reg.Level()
	return nil
}

func (f *Fold) evolve(st *stream, j *ledger.Judged) {
	e := j.Event
	if st.state.Tenant == "" {
		st.state.Tenant = e.Tenant
	}
	j.Why, j.Changes = f.rule.EvolveAndCompare(st.state, &f.part, j.Index, e)
	if m := st.state.Message(e.MessageID()); m != nil {
		j.Status = m.Status
	}
	if f.keepRows {
		recipient.RowsOf(st.state).SetApart(f.bounds, func(message event.ID) {
			if f.apart != nil {
				f.apart(st, message)
			}
		})
	}
	f.dirty[st.subject] = st
}

// Tail returns the n records that were applied last, judged. Ask before the next Cut.
func (f *Fold) Tail(n int) []ledger.Judged { return f.judged[len(f.judged)-n:] }

// Pending is how many applied records are in no batch yet.
func (f *Fold) Pending() int { return len(f.judged) }

// Cut makes a batch for the views of what was applied since the last cut; nil if nothing was.
func (f *Fold) Cut() (*ledger.Batch, error) {
	if len(f.judged) == 0 {
		return nil, nil
	}
	f.cuts++
	f.hash = sha256.Sum256(f.last)
	b := &ledger.Batch{Partition: f.partition, Mark: ledger.Mark{Next: f.next, Hash: f.hash, Partition: f.part}, Judged: f.judged}
	for _, s := range sorted(f.dirty) {
		st := f.dirty[s]
		raw, weight, err := encode(f, st.state)
		if err != nil {
			return nil, err
		}
		rows := recipient.RowsOf(st.state).Changed(f.cuts, f.committed)
		b.Streams = append(b.Streams, ledger.Folded{Subject: s, State: raw, Rows: rows, Due: st.state.Due(), New: st.fresh})
		st.cut, st.fresh = f.cuts, false
		weight += newWeight + submitWeight*int64(len(st.submits))
		for i := range rows {
			weight += rowWeight + int64(len(rows[i].Body))*encodedWeight
		}
		f.weigh(st, weight)
	}
	clear(f.dirty)
	f.judged = nil
	return b, nil
}

// encode is a stream as the views keep it, and what the stream takes in memory for that, about.
func encode(f *Fold, s *recipient.State) (raw []byte, weight int64, err error) {
	if !f.keepRows {
		raw, err = json.Marshal(s)
		return raw, int64(len(raw)) * 3 / 2, err
	}
	f.encoded = s.AppendEncoded(f.encoded[:0])
	return bytes.Clone(f.encoded), int64(len(f.encoded)) * encodedWeight, nil
}

// Cuts is how many batches Cut has made.
func (f *Fold) Cuts() uint64 { return f.cuts }

// Committed says that the views have committed the first n batches. A stream that changed in no
// later batch, and has nothing going on, may leave memory.
func (f *Fold) Committed(n uint64) {
	f.committed = n
	if f.weight <= f.most {
		return
	}
	// Those of which nothing more is awaited leave first. Those that are ready leave last, and only where there are very many:
	// they are needed soon, and a clerk that cannot keep up must not load each once more.
	for pass := range 3 {
		if pass == 2 && f.weight <= f.most*mostReady {
			return
		}
		for s, st := range f.streams {
			if f.weight <= f.most*3/4 {
				return
			}
			leaves := st.settled() && !st.queued
			if pass > 0 {
				leaves = pass == 2 || !st.queued
			}
			if leaves && st.cut <= f.committed && f.dirty[s] == nil && !st.busy() {
				f.weigh(st, 0)
				delete(f.streams, s)
				f.evicted(st)
			}
		}
	}
}

// mostReady is how many times the bound of memory streams may take that are ready to be looked at.
const mostReady = 4

// What streams take in memory, about, in bytes: a new one; a message of one that was loaded; a submit that is kept for its
// body; a row. Once its fold was encoded, a stream is taken to need half as much again as its JSON, or encodedWeight times as much
// as its bytes: about the same.
const (
	encodedWeight = 6
	newWeight     = 512
	messageWeight = 1024
	submitWeight  = 1400
	rowWeight     = 128
)

// weigh takes down what a stream takes in memory.
func (f *Fold) weigh(st *stream, weight int64) {
	f.weight += weight - st.weight
	st.weight = weight
}

func sorted[V any](m map[event.Pseudonym]V) []event.Pseudonym {
	return slices.SortedFunc(maps.Keys(m), func(a, b event.Pseudonym) int { return bytes.Compare(a[:], b[:]) })
}
