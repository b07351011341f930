package kafkalog

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
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
	// dryAtMost is after how many fetches that gave nothing of what there is a tail ends.
	dryAtMost = 3
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
	// After an error that may pass it is not fetched before again.
	tries int
	again time.Time
	// dry counts the fetches in a row that gave nothing of what there is, since others'
	// events filled them.
	dry int
}

// read gives what the tail has from an index on. Where it ends at that index, wake is closed
// when there is more, or when the tail has ended. Neither: ask the leader.
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

// relead looks at all leaders again.
func (t *tails) relead() {
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

// wants lists what is to be fetched from a broker. When it is nothing, wait says when to
// look again; with 0 the broker has nobody who fetches from it any more.
func (t *tails) wants(broker int32) (wants []want, tails []*tail, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for slot, f := range t.bySlot {
		switch {
		case f == nil:
		case now.Sub(f.used) > tailIdle:
			t.end(f)
		case t.log.cluster.leader(slot) != broker:
		case now.Before(f.again):
			if rest := f.again.Sub(now); wait == 0 || rest < wait {
				wait = rest
			}
		default:
			tails = append(tails, f)
		}
	}
	// Brokers fill an answer in the order of the request.
	slices.SortStableFunc(tails, func(a, b *tail) int { return b.dry - a.dry })
	for _, f := range tails {
		wants = append(wants, want{f.slot, f.next})
	}
	if len(wants) == 0 && wait == 0 || t.closed {
		delete(t.brokers, broker)
		return nil, nil, 0
	}
	return wants, tails, wait
}

// run fetches from one broker as long as it leads a partition with a tail.
func (t *tails) run(broker int32) {
	defer t.running.Done()
	for tries := 0; ; {
		wants, tails, wait := t.wants(broker)
		if len(wants) == 0 {
			if wait == 0 {
				return
			}
			engine.Pause(t.log.ctx, wait)
			continue
		}
		ctx, cancel := context.WithTimeout(t.log.ctx, tailWait+t.log.cfg.attempt())
		got, err := t.log.cluster.fetch(ctx, t.client, broker, wants, tailWait, tailPartitionBytes, tailFetchBytes)
		cancel()
		if err != nil {
			tries++
			t.log.cluster.refresh(t.log.ctx)
			engine.Pause(t.log.ctx, engine.Backoff(tries))
			continue
		}
		tries = 0
		for i, f := range tails {
			if part, ok := got[f.slot]; ok {
				t.extend(f, wants[i].from, part)
			}
		}
	}
}

// extend adds what was fetched from an index on. A tail that cannot go on ends, and its
// readers ask the leader, who tells them why: a tail never skips anything, and never begins
// anywhere but where somebody reads.
func (t *tails) extend(f *tail, from int64, part fetched) {
	var answer *kerr.Error
	if errors.As(part.err, &answer) && temporary(answer) {
		t.mu.Lock()
		f.tries++
		f.again = time.Now().Add(engine.Backoff(f.tries))
		t.mu.Unlock()
		t.log.cluster.ask()
		return
	}
	records := make([]ledger.Record, 0, len(part.values))
	size := 0
	for i, v := range part.values {
		r := t.log.reader.Record(partitionOf(f.slot), from+int64(i), v)
		records = append(records, r)
		size += len(r.Raw)
	}
	t.log.stats.read.Add(int64(len(records)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bySlot[f.slot] != f || f.next != from {
		return // it has ended, or a new leader was quicker
	}
	f.tries = 0
	if len(records) == 0 {
		if part.head > f.next {
			f.dry++
		}
		// A head before next is a leader that is new, or a loss.
		if part.err != nil || part.head < f.next || f.dry >= dryAtMost {
			t.end(f)
		}
		return
	}
	f.dry = 0
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
}
