// Package kafkalog is the ledger's log on Apache Kafka: three topics, <prefix>.ledger
// with the recipients' partitions, <prefix>.control and <prefix>.inbox with one each,
// and a consumer group that says who serves which partition. An event's position is its
// record's partition and offset. Nothing is transactional, compacted or ever deleted, so
// offsets are dense.
//
// What makes an append durable: the leader of its partition has acknowledged it with
// acks=all, so every replica in sync has it, of which there are MinISR at least. That is
// replication, not fsync: a power cut that takes all replicas' unsynced tails takes the
// append with them. Only what lies below the high watermark is read.
//
// Order: a partition has one record batch of this process under way at a time, and it is
// sent again, unchanged, until a broker has it or DeliverWithin is over; brokers recognise
// a batch that they have by its producer and sequence numbers (idempotent producing). So
// the appends of one process are in the log once and in order, also across errors that
// were got over. Kafka cannot promise that of a batch that was given up: a request that
// hangs in a stalled broker may be written later, after younger ones. Its append was
// answered with ledger.ErrUnknown, and its events, wherever they land, are judged like all
// others: repeats and overtaken outcomes are void.
//
// The requests are made here and carried by franz-go's client, not by its producer and
// consumer: those do not tell whether a record that failed may be in the log, and go on
// after a loss of data.
package kafkalog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Log is a ledger.Log.
type Log struct {
	cfg        Config
	client     *kgo.Client
	cluster    *cluster
	source     string
	partitions int
	sender     *sender
	reader     *engine.Reader
	heads      heads
	ahead      ahead
	tails      *tails
	stats      counters

	ctx      context.Context // until everything is answered
	stop     context.CancelFunc
	closed   chan struct{}
	watching sync.WaitGroup
	closing  sync.Once
}

// Open opens a ledger whose topics are there (Init makes them), and refuses where they are
// not as they must be, with all that is wrong and how to mend it. It changes nothing. ctx
// bounds the opening alone.
func Open(ctx context.Context, cfg Config) (_ *Log, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, closed: make(chan struct{})}
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.tails = &tails{log: l, brokers: map[int32]bool{}}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	sent := &wrote{}
	if l.client, err = l.cfg.client(kgo.WithHooks(sent)); err != nil {
		return nil, err
	}
	if l.tails.client, err = l.cfg.client(); err != nil {
		return nil, err
	}
	found, err := check(ctx, &l.cfg, l.client)
	if err != nil {
		return nil, err
	}
	if found.created != nil {
		l.source = "/" + found.created.Ledger
	}
	l.partitions = found.partitions
	l.reader = &engine.Reader{Source: l.source, Partitions: l.partitions, Decode: l.cfg.Decode}
	slots := l.partitions + ledgerTopic
	l.cluster = newCluster(&l.cfg, l.client, slots)
	l.cluster.ids = found.ids
	l.heads.c, l.heads.ctx = l.cluster, l.ctx
	l.tails.bySlot = make([]*tail, slots)
	l.sender = newSender(&l.cfg, slots, &l.stats, l.reader)
	l.sender.cluster, l.sender.client, l.sender.wrote = l.cluster, l.client, sent
	p, err := newProducer(ctx, l.client)
	if err != nil {
		return nil, err
	}
	for i := range l.sender.lanes {
		l.sender.lanes[i].producer = p
	}
	l.cluster.changed = func() {
		l.sender.wake()
		l.tails.relead()
	}
	l.cluster.suspect, l.cluster.cleared = l.sender.suspects, l.sender.answers
	l.watching.Go(func() { l.cluster.watch(l.ctx) })
	l.cluster.refresh(ctx)
	go l.sender.run(l.ctx)
	return l, nil
}

// Partitions is part of ledger.Log.
func (l *Log) Partitions() int { return l.partitions }

// Source is the ledger as events name it (CloudEvents "source"): "/" and its short id. It
// is empty while the ledger is the target of a copy.
func (l *Log) Source() string { return l.source }

// Append is part of ledger.Log. What is refused at once, because too much is waiting, the
// partition took no append just now, the log is closed or an event cannot be encoded, is
// answered before Append returns. Everything else is answered within DeliverWithin: with
// ledger.ErrRefused where it is certain that no broker has any of it or will have, else
// with ledger.ErrUnknown. After a failure for want of brokers the partition's appends are
// refused at once, but for one a second, until its leader answers again.
func (l *Log) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	a, err := l.encode(p, events)
	if err == nil {
		a.done = done
		follows := l.tails.live(a.slot)
		if follows {
			l.reader.Keep(p, a.events, a.raws)
		}
		if err = l.sender.enqueue(a); err != nil && follows {
			l.reader.Forget(p, a.events)
		}
	}
	if err != nil {
		l.stats.failed.Add(int64(len(events)))
		done(ledger.Appended{Err: fmt.Errorf("%w: %w", ledger.ErrRefused, err)})
	}
}

func (l *Log) has(p event.Partition) bool {
	return p >= event.InboxPartition && int(p) < l.partitions
}

func (l *Log) encode(p event.Partition, events []*event.Event) (*pending, error) {
	if !l.has(p) {
		return nil, fmt.Errorf("there is no partition %d", int(p))
	}
	// When there is no room, encoding would be for nothing.
	l.sender.mu.Lock()
	err := l.sender.room(slot(p), 0, len(events), time.Now())
	l.sender.mu.Unlock()
	if err != nil {
		return nil, err
	}
	raws, size, err := engine.Encode(events)
	return &pending{slot: slot(p), events: events, raws: raws, size: size}, err
}

// Read is part of ledger.Log. At the head it is served by a tail that this process keeps
// of the partition, elsewhere by the partition's leader; with max 0 the leader is asked.
// What ctx ends is the wait: what is there is read even when ctx is done. Where a broker does
// not answer, it is tried again until DeliverWithin is over, or ctx ends meanwhile, and the
// error is the broker's. A record that is no event of this ledger is returned with the
// reason (Record.Bad) and without an event.
func (l *Log) Read(ctx context.Context, at event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if !l.has(at) || from < 0 || max < 0 {
		return nil, 0, fmt.Errorf("read of partition %d from %d, at most %d: there is no such thing", int(at), from, max)
	}
	s := slot(at)
	for {
		select {
		case <-l.closed:
			return nil, 0, errClosed
		default:
		}
		if max == 0 {
			head, err := l.heads.get(s)
			return nil, head, err
		}
		records, head, wake := l.tails.read(s, from, max)
		if len(records) > 0 {
			return records, head, nil
		}
		if wake == nil || ctx.Err() != nil {
			var err error
			// What is there although ctx is done is not what the tail knows, but the leader.
			if records, head, err = l.stored(ctx, s, from, max); err != nil || len(records) > 0 || ctx.Err() != nil {
				return records, head, err
			}
			wake = l.tails.follow(s, from)
		}
		select {
		case <-wake:
		case <-l.closed:
		case <-ctx.Done():
		}
	}
}

// Health says whether the ledger takes appends and can be read, since when it is so, and,
// when it is not, what is wrong with which broker or partition. The cluster is asked every
// few seconds whether or not anything is appended, so it heals by itself.
func (l *Log) Health() (ok bool, since time.Time, detail string) {
	trouble, since := l.cluster.state()
	return trouble == "", since, trouble
}

// Stats is how much went through a Log since it was opened.
type Stats struct {
	// Appended are events that were acknowledged; Failed, those whose append was answered
	// with an error.
	Appended, Failed int64
	// Requests are produce requests; Fetches, those that were made for one reader (the
	// tails' not among them).
	Requests, Fetches int64
	// Read are events that came from brokers; Decoded, those of them that were decoded,
	// the others being this process's own.
	Read, Decoded int64
	// QueuedBytes and QueuedEvents were appended and have no answer yet.
	QueuedBytes, QueuedEvents int
}

// Stats counts.
func (l *Log) Stats() Stats {
	l.sender.mu.Lock()
	bytes, events := l.sender.bytes, l.sender.events
	l.sender.mu.Unlock()
	return Stats{
		Appended: l.stats.appended.Load(), Failed: l.stats.failed.Load(),
		Requests: l.stats.requests.Load(), Fetches: l.stats.fetched.Load(),
		Read: l.stats.read.Load(), Decoded: l.reader.Decoded(),
		QueuedBytes: bytes, QueuedEvents: events,
	}
}

// Close answers what is queued, which takes DeliverWithin at most, then takes no more
// appends, ends waiting reads, and closes the connections.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.sender.close()
		close(l.closed)
		l.release()
	})
	return nil
}

// release ends whatever runs.
func (l *Log) release() {
	l.stop()
	l.watching.Wait()
	l.tails.close()
	for _, c := range []*kgo.Client{l.client, l.tails.client} {
		if c != nil {
			c.Close()
		}
	}
}
