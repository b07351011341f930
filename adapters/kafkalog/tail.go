package kafkalog

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// tailWait is how long a broker holds a fetch for which there is nothing. A tail
	// that begins while one is held waits that long for its first.
	tailWait = 100 * time.Millisecond
	// tailIdle is how long a tail that nobody reads is kept.
	tailIdle = 30 * time.Second
	// tailPartitionBytes and tailFetchBytes bound one fetch.
	tailPartitionBytes, tailFetchBytes = 1 << 20, 8 << 20
)

// tails follow the partitions that are being read at their heads, with one fetch at a
// time for each broker, and keep the newest events of each for its readers.
type tails struct {
	log    *Log
	client *kgo.Client // its own: a fetch that waits holds up what is behind it

	mu      sync.Mutex
	bySlot  []*tail
	brokers map[int32]bool // those that a goroutine fetches from
	running sync.WaitGroup
	closed  bool
}

// tail is what is known of one partition from some index on. It is guarded by tails.mu.
type tail struct {
	slot    int
	records []ledger.Record // they end at next
	bytes   int
	next    int64
	head    int64
	used    time.Time
	wake    chan struct{} // closed at the next change
}

// read gives what the tail has from an index on. at: the index is where the tail ends, and
// wake is closed when there is more or the tail has ended.
func (t *tails) read(slot int, from int64, most int) (records []ledger.Record, head int64, wake chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.bySlot[slot]
	if f == nil {
		return nil, 0, nil
	}
	first := f.next - int64(len(f.records))
	switch {
	case from >= first && from < f.next:
		tail := f.records[from-first:]
		records = append(make([]ledger.Record, 0, min(len(tail), most)), tail[:min(len(tail), most)]...)
	case from == f.next:
		wake = f.wake
	default:
		return nil, 0, nil
	}
	f.used = time.Now()
	return records, max(f.head, f.next), wake
}

// follow begins a tail at an index, unless there is one, and returns what its next change
// closes, or has closed where it has come past that index.
func (t *tails) follow(slot int, from int64) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.bySlot[slot]
	if f == nil {
		f = &tail{slot: slot, next: from, head: from, wake: make(chan struct{})}
		t.bySlot[slot] = f
		t.lead(slot)
	}
	f.used = time.Now()
	if f.next > from {
		past := make(chan struct{})
		close(past)
		return past
	}
	return f.wake
}

// live reports whether a partition has a tail.
func (t *tails) live(slot int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bySlot[slot] != nil
}

// end is called with the lock held. Readers look for themselves then.
func (t *tails) end(f *tail) {
	if t.bySlot[f.slot] == f {
		t.bySlot[f.slot] = nil
	}
	close(f.wake)
	f.wake = nil
}

// lead sees to it that somebody fetches from a slot's leader; with the lock held.
func (t *tails) lead(slot int) {
	broker := t.log.cluster.leader(slot)
	if broker < 0 || t.brokers[broker] || t.closed {
		return
	}
	t.brokers[broker] = true
	t.running.Add(1)
	go t.run(broker)
}

// moved looks at all leaders again.
func (t *tails) moved() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for slot, f := range t.bySlot {
		if f != nil {
			t.lead(slot)
		}
	}
}

// close waits until nothing is fetched any more. The log's context has ended before.
func (t *tails) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.running.Wait()
}

// wants lists what is to be fetched from a broker; when it is nothing, the broker has nobody
// who fetches from it any more.
func (t *tails) wants(broker int32) ([]want, []*tail) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var wants []want
	var tails []*tail
	now := time.Now()
	for slot, f := range t.bySlot {
		switch {
		case f == nil:
		case now.Sub(f.used) > tailIdle:
			t.end(f)
		case t.log.cluster.leader(slot) == broker:
			wants = append(wants, want{slot, f.next})
			tails = append(tails, f)
		}
	}
	if len(wants) == 0 || t.closed {
		delete(t.brokers, broker)
		return nil, nil
	}
	return wants, tails
}

// run fetches from one broker as long as it leads a partition with a tail.
func (t *tails) run(broker int32) {
	defer t.running.Done()
	for tries := 0; ; {
		wants, tails := t.wants(broker)
		if len(wants) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(t.log.ctx, tailWait+t.log.cfg.attempt())
		got, err := t.log.cluster.fetch(ctx, t.client, broker, wants, tailWait, tailPartitionBytes, tailFetchBytes)
		cancel()
		again := err != nil
		for i, f := range tails {
			if part, ok := got[f.slot]; ok && !t.extend(f, wants[i].from, part) {
				again = true
			}
		}
		if !again {
			tries = 0
			continue
		}
		tries++
		t.log.cluster.refresh(t.log.ctx)
		pause(t.log.ctx, backoff(tries))
	}
}

// extend adds what was fetched from an index on, and reports whether all is well. A tail that cannot go on
// ends, and its readers ask the leader, who tells them why: a tail never skips anything,
// and never begins anywhere but where somebody reads.
func (t *tails) extend(f *tail, from int64, part fetched) bool {
	var answer *kerr.Error
	if errors.As(part.err, &answer) && temporary(answer) {
		return false
	}
	records := make([]ledger.Record, 0, len(part.values))
	size := 0
	for i, v := range part.values {
		r := t.log.judge(f.slot, from+int64(i), v)
		records = append(records, r)
		size += len(r.Raw)
	}
	t.log.stats.read.Add(int64(len(records)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bySlot[f.slot] != f || f.next != from {
		return true // it has ended, or a new leader was quicker
	}
	switch {
	case part.err != nil, len(records) == 0 && part.head > f.next:
		t.end(f)
		return false
	case len(records) == 0:
		// A head before next is a leader that is new, or a loss: who reads finds out.
		if part.head < f.next {
			t.end(f)
		}
		return true
	}
	f.records = append(f.records, records...)
	f.bytes += size
	f.next += int64(len(records))
	f.head = part.head
	drop := 0
	for drop < len(f.records)-1 && (f.bytes > t.log.cfg.TailBytes || len(f.records)-drop > t.log.cfg.TailEvents) {
		f.bytes -= len(f.records[drop].Raw)
		f.records[drop] = ledger.Record{}
		drop++
	}
	f.records = f.records[drop:]
	close(f.wake)
	f.wake = make(chan struct{})
	return true
}
