// Package stored is what the engines that are shared by several processes have in common:
// the bytes of an append, and the records that are made of the bytes which come back. An
// engine decides where they stand, and how they become durable.
package stored

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Encode returns the exact bytes of an append's events, and how many there are in all. It
// refuses what ledger.Log.Append must refuse: no events, more than ledger.MaxAppend, and
// one that cannot be encoded.
func Encode(events []*event.Event) (raws [][]byte, size int, err error) {
	if len(events) == 0 || len(events) > ledger.MaxAppend {
		return nil, 0, fmt.Errorf("an append has 1 to %d events, not %d", ledger.MaxAppend, len(events))
	}
	raws = make([][]byte, len(events))
	buf := make([]byte, 0, 640*len(events))
	ends := make([]int, len(events))
	for i, e := range events {
		if buf, err = event.AppendEncoded(buf, e); err != nil {
			return nil, 0, err
		}
		ends[i] = len(buf)
	}
	from := 0
	for i, end := range ends {
		raws[i] = buf[from:end:end]
		from = end
	}
	return raws, len(buf), nil
}

// MaxKeptBytes and MaxKept bound the events that a Reader keeps until they come back: their
// stored bytes, and their number.
const MaxKeptBytes, MaxKept = 16 << 20, 1 << 15

// Reader makes records of what is read back, and keeps this process's own events until
// then: one whose bytes come back the same need not be decoded. Its fields do not change
// once it is used. All methods may be called from any goroutine.
type Reader struct {
	// Source and Partitions are the ledger's: what names another source, or stands in a
	// partition where its stream does not lie, is no event of it. An empty Source: the
	// target of a copy, whose events are judged when it is opened as a ledger.
	Source     string
	Partitions int
	// Decode makes every record be decoded from its bytes: a test mode.
	Decode bool

	decoded atomic.Int64

	mu     sync.Mutex
	events map[key]kept
	order  []key // oldest first; some are gone
	bytes  int
}

type key struct {
	partition event.Partition
	id        event.ID
}

type kept struct {
	e   *event.Event
	raw []byte
}

// Keep holds events that this process appends, with their exact bytes, until Record meets
// them. Beyond MaxKept and MaxKeptBytes the oldest are forgotten, which costs their decoding.
func (r *Reader) Keep(p event.Partition, events []*event.Event, raws [][]byte) {
	if r.Decode {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events == nil {
		r.events = map[key]kept{}
	}
	for i, e := range events {
		if _, ok := e.Data.(*event.Opaque); ok {
			continue // it comes back as what it is
		}
		k := key{p, e.ID}
		r.drop(k) // appended again: it is the same event
		r.events[k] = kept{e, raws[i]}
		r.bytes += len(raws[i])
		r.order = append(r.order, k)
	}
	for len(r.order) > 0 {
		if _, there := r.events[r.order[0]]; there && r.bytes <= MaxKeptBytes && len(r.order) <= MaxKept {
			break
		}
		r.drop(r.order[0])
		r.order = r.order[1:]
	}
}

// drop is called with the lock held.
func (r *Reader) drop(k key) {
	if was, ok := r.events[k]; ok {
		r.bytes -= len(was.raw)
		delete(r.events, k)
	}
}

// Forget drops events whose append failed.
func (r *Reader) Forget(p event.Partition, events []*event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		r.drop(key{p, e.ID})
	}
}

// Kept is how many events, of how many bytes, have not come back yet.
func (r *Reader) Kept() (events, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events), r.bytes
}

// take finds the event whose exact bytes these are.
func (r *Reader) take(p event.Partition, raw []byte) (kept, bool) {
	id, ok := idIn(raw)
	if !ok {
		return kept{}, false
	}
	k := key{p, id}
	r.mu.Lock()
	defer r.mu.Unlock()
	was, ok := r.events[k]
	if !ok || !bytes.Equal(was.raw, raw) {
		return kept{}, false
	}
	r.drop(k)
	return was, true
}

// head is how the encoder begins every event that has an id.
const head = `{"specversion":"1.0","id":"`

func idIn(raw []byte) (event.ID, bool) {
	if len(raw) < len(head)+36 || string(raw[:len(head)]) != head {
		return event.ID{}, false
	}
	id, err := event.ParseID(string(raw[len(head) : len(head)+36]))
	return id, err == nil
}

// Record makes a record of the bytes that stand at a position: an event, or why they are
// none of this ledger (ledger.Record.Bad).
func (r *Reader) Record(p event.Partition, index int64, raw []byte) ledger.Record {
	record := ledger.Record{Index: index, Raw: raw}
	if was, ok := r.take(p, raw); ok {
		record.Event, record.Raw = was.e, was.raw
		return record
	}
	r.decoded.Add(1)
	e, err := r.decode(p, raw)
	if err != nil {
		record.Bad = fmt.Errorf("%s is no event of this ledger: %w", event.Position{Partition: p, Index: index}, err)
		return record
	}
	record.Event = e
	return record
}

// Decoded counts the records that were decoded; the others were this process's own.
func (r *Reader) Decoded() int64 { return r.decoded.Load() }

func (r *Reader) decode(p event.Partition, raw []byte) (*event.Event, error) {
	if len(raw) == 0 {
		return nil, errors.New("the record has no value")
	}
	e, err := event.Decode(raw)
	if err != nil {
		return nil, err
	}
	if !event.Canonical(raw, e) {
		return nil, errors.New("its bytes are not those that the encoder writes")
	}
	if r.Source == "" {
		return e, nil
	}
	if e.Source != r.Source {
		return nil, fmt.Errorf("its source is %.40q, and this ledger's is %q", e.Source, r.Source)
	}
	if p >= 0 && !e.Subject.IsZero() {
		if right := event.Partition(e.Subject.Partition(r.Partitions)); right != p {
			return nil, fmt.Errorf("its stream belongs in partition %s", right)
		}
	}
	return e, nil
}
