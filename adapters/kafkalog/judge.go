package kafkalog

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// ownBytes and ownEvents bound the events of this process that are kept, typed, until
// they are read back.
const ownBytes, ownEvents = 16 << 20, 1 << 15

// own keeps events that this process appended until it reads them back: an event whose
// bytes come back the same need not be decoded. Losing one costs its decoding.
type own struct {
	mu     sync.Mutex
	events map[ownKey]owned
	order  []ownKey // oldest first; some are gone
	bytes  int
}

type ownKey struct {
	slot int
	id   event.ID
}

type owned struct {
	e   *event.Event
	raw []byte
}

func (o *own) put(slot int, events []*event.Event, raws [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.events == nil {
		o.events = map[ownKey]owned{}
	}
	for i, e := range events {
		k := ownKey{slot, e.ID}
		o.drop(k) // appended again: it is the same event
		o.events[k] = owned{e, raws[i]}
		o.bytes += len(raws[i])
		o.order = append(o.order, k)
	}
	for len(o.order) > 0 {
		if _, there := o.events[o.order[0]]; there && o.bytes <= ownBytes && len(o.order) <= ownEvents {
			break
		}
		o.drop(o.order[0])
		o.order = o.order[1:]
	}
}

// drop is called with the lock held.
func (o *own) drop(k ownKey) {
	if was, ok := o.events[k]; ok {
		o.bytes -= len(was.raw)
		delete(o.events, k)
	}
}

func (o *own) forget(slot int, events []*event.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range events {
		o.drop(ownKey{slot, e.ID})
	}
}

// take finds the event whose exact bytes these are.
func (o *own) take(slot int, raw []byte) (owned, bool) {
	id, ok := idIn(raw)
	if !ok {
		return owned{}, false
	}
	k := ownKey{slot, id}
	o.mu.Lock()
	defer o.mu.Unlock()
	was, ok := o.events[k]
	if !ok || !bytes.Equal(was.raw, raw) {
		return owned{}, false
	}
	o.drop(k)
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

// judge makes a record of the bytes that stand at an index: an event, or why they are
// none of this ledger.
func (l *Log) judge(slot int, index int64, raw []byte) ledger.Record {
	r := ledger.Record{Index: index, Raw: raw}
	if !l.cfg.Decode {
		if was, ok := l.own.take(slot, raw); ok {
			r.Event, r.Raw = was.e, was.raw
			return r
		}
	}
	l.stats.decoded.Add(1)
	e, err := l.decode(slot, raw)
	if err != nil {
		r.Bad = fmt.Errorf("%s is no event of this ledger: %w", event.Position{Partition: partitionOf(slot), Index: index}, err)
		return r
	}
	r.Event = e
	return r
}

func (l *Log) decode(slot int, raw []byte) (*event.Event, error) {
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
	if l.cfg.Copy {
		return e, nil
	}
	if e.Source != l.source {
		return nil, fmt.Errorf("its source is %.40q, and this ledger's is %q", e.Source, l.source)
	}
	if p := partitionOf(slot); p >= 0 && !e.Subject.IsZero() {
		if right := event.Partition(e.Subject.Partition(l.partitions)); right != p {
			return nil, fmt.Errorf("its stream lies in %s", right)
		}
	}
	return e, nil
}
