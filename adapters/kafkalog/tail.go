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
	// tailWait is how long a broker holds a fetch for which it has no events. A tail that begins
	// while its broker holds a fetch waits that long for its first events.
	tailWait = 100 * time.Millisecond
	// tailIdle is how long a tail without readers is kept.
	tailIdle = 30 * time.Second
	// tailPartitionBytes and tailFetchBytes bound one fetch.
	tailPartitionBytes, tailFetchBytes = 1 << 20, 8 << 20
	// maxEmptyFetches: a tail ends after so many fetches in a row that brought none of its events.
	maxEmptyFetches = 3
)

// tails fetch new events of the partitions that have readers at their heads, with one fetch at
// a time for each broker, and keep the newest events of each partition for its readers.
type tails struct {
	log    *Log
	client *kgo.Client // not the Log's: a fetch that a broker holds delays every request behind it

	mu      sync.Mutex
	bySlot  []*tail
	brokers map[int32]bool // a goroutine fetches from each of them
	running sync.WaitGroup
	closed  bool
}

// tail is the newest events of one partition. It is guarded by tails.mu.
type tail struct {
	slot    int
	records []ledger.Record // the last of them is before next
	bytes   int
	next    int64 // the index that is fetched next
	head    int64
	used    time.Time
	wake    chan struct{} // closed at the next change
	// After a temporary error it is not fetched before retryAt.
	tries   int
	retryAt time.Time
	// emptyFetches counts the fetches in a row that brought none of the partition's events,
	// although there are some: events of other partitions filled the answer.
	emptyFetches int
}

// read returns a tail's records from an index on. Where the tail has come to that index and no
// further, there are none, and wake is closed at its next change. Neither records nor wake: the
// tail cannot serve the reader, and the leader must be asked.
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

// follow begins a tail at an index, unless the partition has one. The channel that it returns is
// closed at the tail's next change, or already where the tail has come past that index.
func (t *tails) follow(slot int, from int64) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.bySlot[slot]
	if f == nil {
		f = &tail{slot: slot, next: from, head: from, wake: make(chan struct{})}
		t.bySlot[slot] = f
		t.startFetching(slot)
	}
	f.used = time.Now()
	if f.next > from {
		past := make(chan struct{})
		close(past)
		return past
	}
	return f.wake
}

// has reports whether a partition has a tail.
func (t *tails) has(slot int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bySlot[slot] != nil
}

// end is called with the lock held. It wakes the readers, who ask the leader then.
func (t *tails) end(f *tail) {
	if t.bySlot[f.slot] == f {
		t.bySlot[f.slot] = nil
	}
	close(f.wake)
	f.wake = nil
}

// endAll ends every tail.
func (t *tails) endAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.bySlot {
		if f != nil {
			t.end(f)
		}
	}
}

// startFetching starts the goroutine that fetches from a slot's leader, unless it runs. It is
// called with the lock held.
func (t *tails) startFetching(slot int) {
	broker := t.log.cluster.leader(slot)
	if broker < 0 || t.brokers[broker] || t.closed {
		return
	}
	t.brokers[broker] = true
	t.running.Add(1)
	go t.run(broker)
}

// followLeaders starts to fetch from brokers that have come to lead a partition with a tail.
func (t *tails) followLeaders() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for slot, f := range t.bySlot {
		if f != nil {
			t.startFetching(slot)
		}
	}
}

// close waits until the last fetch has ended. It is called after the log's context has ended.
func (t *tails) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.running.Wait()
}

// wants lists what is to be fetched from a broker, and for which tails. Where that is nothing,
// wait says when to look next; with 0 the goroutine that fetches from the broker must end.
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
		case now.Before(f.retryAt):
			if rest := f.retryAt.Sub(now); wait == 0 || rest < wait {
				wait = rest
			}
		default:
			tails = append(tails, f)
		}
	}
	// Brokers fill an answer in the order of the request: tails that got nothing come first.
	slices.SortStableFunc(tails, func(a, b *tail) int { return b.emptyFetches - a.emptyFetches })
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
	pace := engine.Pace{Full: busy}
	for tries := 0; ; {
		wants, tails, wait := t.wants(broker)
		if len(wants) == 0 {
			if wait == 0 {
				return
			}
			engine.Pause(t.log.ctx, wait)
			continue
		}
		began := time.Now()
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
			if answer, ok := got[f.slot]; ok {
				t.extend(f, wants[i].from, answer)
				pace.Add(len(answer.values), began)
			}
		}
		// Events that come meanwhile share the next fetch.
		if rest := pace.Interval(began) - time.Since(began); rest > 0 {
			engine.Pause(t.log.ctx, rest)
		}
	}
}

// extend adds the events that were fetched from an index on. A tail that cannot go on ends, and
// its readers ask the leader, whose answer says why: a tail never skips an event, and begins
// only at an index from which a reader reads.
func (t *tails) extend(f *tail, from int64, got fetched) {
	var answer *kerr.Error
	if errors.As(got.err, &answer) && temporary(answer) {
		t.mu.Lock()
		f.tries++
		f.retryAt = time.Now().Add(engine.Backoff(f.tries))
		t.mu.Unlock()
		t.log.cluster.ask()
		return
	}
	records := make([]ledger.Record, 0, len(got.values))
	size := 0
	for i, v := range got.values {
		r := t.log.record(f.slot, from+int64(i), v)
		records = append(records, r)
		size += len(r.Raw)
	}
	t.log.stats.read.Add(int64(len(records)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bySlot[f.slot] != f || f.next != from {
		return // it has ended, or the new leader's goroutine has extended it meanwhile
	}
	f.tries = 0
	if len(records) == 0 {
		if got.head > f.next {
			f.emptyFetches++
		}
		// Where the head is before next, the leader is new, or events were lost.
		if got.err != nil || got.head < f.next || f.emptyFetches >= maxEmptyFetches {
			t.end(f)
		}
		return
	}
	f.emptyFetches = 0
	f.records = append(f.records, records...)
	f.bytes += size
	f.next += int64(len(records))
	f.head = got.head
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
