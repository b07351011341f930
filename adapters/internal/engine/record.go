package engine

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Own is the record of an event that this process appended, with its exact bytes. An
// event.Opaque is no event: it is bytes that a copy brought.
func Own(index int64, e *event.Event, raw []byte) ledger.Record {
	if _, ok := e.Data.(*event.Opaque); ok {
		return ledger.Record{Index: index, Raw: raw, Bad: errOpaque}
	}
	return ledger.Record{Index: index, Event: e, Raw: raw}
}

var errOpaque = errors.New("it is a record that is no event, of the ledger that was copied")

// maxOwnBytes and maxOwn bound the events that a Reader keeps until they are read: their
// stored bytes, and their number.
const maxOwnBytes, maxOwn = 16 << 20, 1 << 15

// Reader makes records of bytes that are read. It keeps the events that this process appends
// until they are read: an event whose bytes come back unchanged need not be decoded. Its fields
// do not change once it is used. All methods may be called from any goroutine.
type Reader struct {
	// Source and Partitions are the ledger's. A record with another source, or in another
	// partition than the one of its stream, is no event of this ledger. Source is empty for the
	// target of a copy, whose events are judged when it is opened as a ledger.
	Source     string
	Partitions int
	// Decode makes every record be decoded from its bytes: a test mode.
	Decode bool

	decoded atomic.Int64

	mu     sync.Mutex
	events map[key]ownEvent
	order  []key // oldest first; some have no event any more
	bytes  int
}

type key struct {
	partition event.Partition
	id        event.ID
}

// ownEvent is an event that this process appended, with its exact bytes.
type ownEvent struct {
	e   *event.Event
	raw []byte
}

// Keep holds events that this process appends, with their exact bytes, until Record gets
// the same bytes. Of more than 32,768 events or 16 MiB the oldest are dropped; they will be
// decoded.
func (r *Reader) Keep(p event.Partition, events []*event.Event, raws [][]byte) {
	if r.Decode {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events == nil {
		r.events = map[key]ownEvent{}
	}
	for i, e := range events {
		if _, ok := e.Data.(*event.Opaque); ok {
			continue // no event: Record judges its bytes like those of any other record
		}
		k := key{p, e.ID}
		r.drop(k) // the same event, appended once more
		r.events[k] = ownEvent{e, raws[i]}
		r.bytes += len(raws[i])
		r.order = append(r.order, k)
	}
	for len(r.order) > 0 {
		if _, there := r.events[r.order[0]]; there && r.bytes <= maxOwnBytes && len(r.order) <= maxOwn {
			break
		}
		r.drop(r.order[0])
		r.order = r.order[1:]
	}
}

// drop is called with the lock held.
func (r *Reader) drop(k key) {
	if own, ok := r.events[k]; ok {
		r.bytes -= len(own.raw)
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

// Kept is how many events, of how many bytes, were appended and not yet read.
func (r *Reader) Kept() (events, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events), r.bytes
}

// own finds the event of this process that has exactly these bytes, and drops it.
func (r *Reader) own(p event.Partition, raw []byte) (ownEvent, bool) {
	id, ok := idIn(raw)
	if !ok {
		return ownEvent{}, false
	}
	k := key{p, id}
	r.mu.Lock()
	defer r.mu.Unlock()
	own, ok := r.events[k]
	if !ok || !bytes.Equal(own.raw, raw) {
		return ownEvent{}, false
	}
	r.drop(k)
	return own, true
}

// head is how the encoder begins every event that has an id.
const head = `{"specversion":"1.0","id":"`

// idIn reads the id out of an event's bytes without decoding the event.
func idIn(raw []byte) (event.ID, bool) {
	if len(raw) < len(head)+36 || string(raw[:len(head)]) != head {
		return event.ID{}, false
	}
	id, err := event.ParseID(string(raw[len(head) : len(head)+36]))
	return id, err == nil
}

// Record makes a record of the bytes at a position: an event, or the reason why they are no
// event of this ledger (ledger.Record.Bad).
func (r *Reader) Record(p event.Partition, index int64, raw []byte) ledger.Record {
	record := ledger.Record{Index: index, Raw: raw}
	if own, ok := r.own(p, raw); ok {
		record.Event, record.Raw = own.e, own.raw
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

// Decoded counts the records that were decoded. The other records were this process's own events.
func (r *Reader) Decoded() int64 { return r.decoded.Load() }

func (r *Reader) decode(p event.Partition, raw []byte) (*event.Event, error) {
	if len(raw) == 0 {
		return nil, errors.New("the record has no value")
	}
	e, canonical, err := event.DecodeCanonical(raw)
	if err != nil {
		return nil, err
	}
	if !canonical {
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
