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

// Fold is one partition, folded: it takes the records of the log in order, judges each, and
// hands what it judged to the views in batches. Live reading, a restart, a takeover and a
// rebuild are the same Fold from different positions. It has no goroutine and no clock, and
// is used by one goroutine at a time.
//
// Load brings the streams that Missing names, Apply folds, Cut takes a batch for the views,
// and Committed says that batches are there, so that streams may leave memory.
type Fold struct {
	partition event.Partition
	control   *control.Control
	most      int // streams in memory
	rule      *recipient.Rule

	next    int64
	hash    [32]byte // of the mark that it began at
	last    []byte   // the exact bytes of the event that was applied last; nil: none was
	part    recipient.PartitionState
	reg     *control.Registry
	streams map[event.Pseudonym]*stream

	judged    []ledger.Judged             // since the last cut
	dirty     map[event.Pseudonym]*stream // changed since the last cut
	cuts      uint64
	committed uint64
}

// MaxStreams is how many streams a Fold keeps in memory beside those that are in use.
const MaxStreams = 8000

// NewFold returns the fold of a partition before its first event. Its control reader is
// waited for where the partition applies a position that was not read yet.
func NewFold(p event.Partition, c *control.Control) *Fold {
	rule := recipient.Standard()
	return &Fold{partition: p, control: c, most: MaxStreams, rule: &rule, reg: &control.Registry{},
		streams: map[event.Pseudonym]*stream{}, dirty: map[event.Pseudonym]*stream{}}
}

// Restore begins at a mark, under the registry of its control position: streams are loaded
// from the views as they are needed.
func (f *Fold) Restore(m ledger.Mark, reg *control.Registry) {
	f.next, f.hash, f.part, f.reg = m.Next, m.Hash, m.Partition, reg
}

// Next is the index of the next event to apply.
func (f *Fold) Next() int64 { return f.next }

// Partition is the state that the partition's streams share.
func (f *Fold) Partition() recipient.PartitionState { return f.part }

// Missing are the subjects of the records whose streams are not in memory: Load them before
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

// Load takes streams as the views have folded them. A subject that has no fold yet starts
// at nothing; one that is in memory stays as it is.
func (f *Fold) Load(subjects []event.Pseudonym, folds map[event.Pseudonym]*recipient.State) {
	f.load(subjects, folds, func(*stream) {})
}

// load calls loaded for each stream that the views had.
func (f *Fold) load(subjects []event.Pseudonym, folds map[event.Pseudonym]*recipient.State, loaded func(*stream)) {
	for _, s := range subjects {
		if f.streams[s] != nil {
			continue
		}
		st := &stream{subject: s, partition: f.partition, state: folds[s]}
		f.streams[s] = st
		if st.state == nil {
			st.state = recipient.New("", s)
			continue
		}
		loaded(st)
	}
}

// Apply folds records, which must follow densely and whose streams must be loaded. After an
// error the records before the one that it is about are folded.
func (f *Fold) Apply(ctx context.Context, records []ledger.Record) error {
	return f.apply(ctx, records, func(*stream, *ledger.Judged) {})
}

// apply calls folded after each event, with its stream; nil for a control position that the
// partition took, and for an opaque record.
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
	return nil
}

func (f *Fold) evolve(st *stream, j *ledger.Judged) {
	e := j.Event
	if st.state.Tenant == "" {
		st.state.Tenant = e.Tenant
	}
	j.Why = f.rule.Evolve(st.state, &f.part, j.Index, e)
	if m := st.state.Message(e.MessageID()); m != nil {
		j.Status = m.Status
	}
	f.dirty[st.subject] = st
}

// Tail are the n records that were applied last, and how they were judged. They are there
// until the next cut.
func (f *Fold) Tail(n int) []ledger.Judged { return f.judged[len(f.judged)-n:] }

// Pending is how many applied events no batch has taken yet.
func (f *Fold) Pending() int { return len(f.judged) }

// Cut takes what was applied since the last cut, as one batch for the views; nil when that
// is nothing.
func (f *Fold) Cut() (*ledger.Batch, error) {
	if len(f.judged) == 0 {
		return nil, nil
	}
	f.cuts++
	f.hash = sha256.Sum256(f.last)
	b := &ledger.Batch{Partition: f.partition, Mark: ledger.Mark{Next: f.next, Hash: f.hash, Partition: f.part}, Judged: f.judged}
	for _, s := range sorted(f.dirty) {
		st := f.dirty[s]
		raw, err := json.Marshal(st.state)
		if err != nil {
			return nil, err
		}
		b.Streams = append(b.Streams, ledger.Folded{Subject: s, State: raw, Due: st.state.Due()})
		st.cut = f.cuts
	}
	clear(f.dirty)
	f.judged = nil
	return b, nil
}

// Cuts is how many batches Cut has made.
func (f *Fold) Cuts() uint64 { return f.cuts }

// Committed says that the views have committed the first n batches. Streams that were in no
// later one, and have nothing going on, may leave memory.
func (f *Fold) Committed(n uint64) {
	f.committed = n
	if len(f.streams) <= f.most {
		return
	}
	for s, st := range f.streams {
		if len(f.streams) <= f.most*3/4 {
			return
		}
		if st.cut <= f.committed && f.dirty[s] == nil && !st.busy() {
			delete(f.streams, s)
		}
	}
}

func sorted[V any](m map[event.Pseudonym]V) []event.Pseudonym {
	return slices.SortedFunc(maps.Keys(m), func(a, b event.Pseudonym) int { return bytes.Compare(a[:], b[:]) })
}
