// Package desk keeps the officer's views in the SQL views: which values occur among messages and when,
// by which rules messages were not allowed, what was counted in each quarter of an hour, and where the
// events are that belong to no message. Beside them it keeps what the feed tells (feed.go). The writer of the views calls it in its transactions; its
// Reader answers reading.Desk.
package desk

import (
	"bytes"
	"cmp"
	"database/sql"
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections"
)

const (
	// mostSeen bounds the facets that a writer remembers to have written: 8 MB at most.
	mostSeen = 1 << 16
	// mostQuarters bounds the tallies that a writer remembers, each one tenant's quarter of an hour in one
	// partition, some KB.
	mostQuarters = 1 << 12
)

// facet is a row of facets.
type facet struct {
	tenant string
	kind   projections.FacetKind
	value  string
	bucket int64

	partition event.Partition
}

// reason is a row of reasons.
type reason struct {
	message   event.ID
	rule      string
	partition event.Partition
}

// quarter names a row of tallies.
type quarter struct {
	tenant    string
	quarter   int64
	partition event.Partition
}

// Writer remembers what is stored already. Its methods are called from one goroutine.
type Writer struct {
	// Of each partition: the facets that are stored, and rows of tallies as they are stored, while it
	// stands at its mark. If its mark is another, another process has written it or made it anew, and
	// what is remembered of it is out of date.
	storedFacets map[event.Partition]map[facet]struct{}
	quarters     map[quarter]*projections.Tallies
	newest       int64 // the latest quarter that was written
	marks        map[event.Partition]stands
}

// stands is the next event of a mark, and the hash of the one before.
type stands struct {
	next int64
	hash [32]byte
}

// NewWriter returns a writer that remembers nothing.
func NewWriter() *Writer {
	w := new(Writer)
	w.Forget()
	return w
}

// Forget drops what is remembered: after a transaction that failed, or when the database is another.
func (w *Writer) Forget() {
	w.storedFacets, w.quarters, w.marks = map[event.Partition]map[facet]struct{}{}, map[quarter]*projections.Tallies{}, map[event.Partition]stands{}
}

// Tx gathers what one transaction adds. It is a projections.DeskSink.
type Tx struct {
	w *Writer
	// load reads the body of a row of tallies; nil if there is none.
	load func(tenant string, quarter int64, p event.Partition) ([]byte, error)
	err  error
	p    event.Partition

	// Of the feed: what is appended to which block, which of them is a partition's last, and room for the items of one event.
	blocks []block
	last   map[event.Partition]int
	items  []feed.Item

	facets  map[facet]struct{}
	reasons map[reason]struct{}
	streams []reading.StreamEvent
	tallies map[quarter]*projections.Tallies
	order   []quarter
	begins  map[event.Partition]begin
}

// begin is where a transaction begins in a partition.
type begin struct {
	Next  int64     // the index of its first event
	Since time.Time // that event's time
}

func (b begin) since() sql.NullInt64 {
	return sql.NullInt64{Int64: b.Since.UnixMilli(), Valid: !b.Since.IsZero()}
}

// Begin starts a transaction. load reads the stored body of a row of tallies within it; nil for none.
func (w *Writer) Begin(load func(tenant string, quarter int64, p event.Partition) ([]byte, error)) *Tx {
	return &Tx{w: w, load: load, last: map[event.Partition]int{}, facets: map[facet]struct{}{}, reasons: map[reason]struct{}{}, tallies: map[quarter]*projections.Tallies{}, begins: map[event.Partition]begin{}}
}

// Partition says that judged events of a partition follow, from the mark on where it stands in the
// database.
func (x *Tx) Partition(p event.Partition, mark ledger.Mark, judged []ledger.Judged) {
	if _, begun := x.begins[p]; begun || len(judged) == 0 {
		return
	}
	b := begin{Next: mark.Next}
	if e := judged[0].Event; e != nil {
		b.Since = e.Time
	}
	x.begins[p] = b
	if x.w.marks[p] != (stands{mark.Next, mark.Hash}) {
		delete(x.w.storedFacets, p)
		for k := range x.w.quarters {
			if k.partition == p {
				delete(x.w.quarters, k)
			}
		}
	}
}

// Take adds what a judged event adds. m is its message after the event, and before what it was.
func (x *Tx) Take(p event.Partition, j *ledger.Judged, m *reading.Message, before projections.Before) error {
	x.p = p
	projections.Desk(x, p, j, m, before)
	x.tell(p, j, m, before)
	return x.err
}

// Facet is part of projections.DeskSink.
func (x *Tx) Facet(tenant string, kind projections.FacetKind, value string, bucket int64) {
	f := facet{tenant, kind, value, bucket, x.p}
	if _, seen := x.w.storedFacets[x.p][f]; !seen && value != "" {
		x.facets[f] = struct{}{}
	}
}

// Reason is part of projections.DeskSink.
func (x *Tx) Reason(m *reading.Message, rule string) {
	x.reasons[reason{m.ID, rule, m.Position.Partition}] = struct{}{}
}

// StreamEvent is part of projections.DeskSink.
func (x *Tx) StreamEvent(e *reading.StreamEvent) { x.streams = append(x.streams, *e) }

// Tally is part of projections.DeskSink.
func (x *Tx) Tally(tenant string, q int64, t reading.Tally, sum int64) {
	k := quarter{tenant, q, x.p}
	have := x.tallies[k]
	if have == nil {
		if have = x.w.quarters[k]; have == nil {
			body, err := x.load(tenant, q, x.p)
			if err == nil && body != nil {
				have, err = projections.ReadTallies(body)
			}
			if err != nil {
				x.err = err
				return
			}
			if have == nil {
				have = new(projections.Tallies)
			}
		}
		x.tallies[k] = have // changed in place: after a failure everything is forgotten
		x.order = append(x.order, k)
	}
	have.Add(t, sum)
}

// Committed remembers what is stored now. marks are where the partitions stand.
func (x *Tx) Committed(marks map[event.Partition]ledger.Mark) {
	w := x.w
	for f := range x.facets {
		seen := w.storedFacets[f.partition]
		if seen == nil || len(seen) >= mostSeen/max(len(w.marks), 1) {
			seen = map[facet]struct{}{}
			w.storedFacets[f.partition] = seen
		}
		seen[f] = struct{}{}
	}
	if len(w.quarters)+len(x.tallies) > mostQuarters {
		clear(w.quarters)
	}
	for k, t := range x.tallies {
		w.quarters[k] = t
	}
	for p, m := range marks {
		w.marks[p] = stands{m.Next, m.Hash}
	}
	began := w.newest
	for k := range x.tallies {
		w.newest = max(w.newest, k.quarter)
	}
	if w.newest > began { // what comes late is loaded once more
		for k := range w.quarters {
			if k.quarter < w.newest-1 {
				delete(w.quarters, k)
			}
		}
	}
}

// sortedFacets are the facets in the order of the table's key, which writes them fastest.
func (x *Tx) sortedFacets() []facet {
	out := make([]facet, 0, len(x.facets))
	for f := range x.facets {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b facet) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.kind, b.kind), cmp.Compare(a.value, b.value), cmp.Compare(a.bucket, b.bucket), cmp.Compare(a.partition, b.partition))
	})
	return out
}

func (x *Tx) sortedReasons() []reason {
	out := make([]reason, 0, len(x.reasons))
	for r := range x.reasons {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b reason) int {
		return cmp.Or(bytes.Compare(a.message[:], b.message[:]), cmp.Compare(a.rule, b.rule))
	})
	return out
}
