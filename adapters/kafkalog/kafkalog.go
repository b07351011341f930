// Package kafkalog is the ledger's log on Apache Kafka: four topics, <prefix>.ledger
// with the recipients' partitions, <prefix>.control, <prefix>.inbox and <prefix>.audit with one
// each, and a consumer group that says who serves which partition. An event's position is its
// record's partition and offset. Nothing is compacted or ever deleted, so offsets are dense.
//
// No node writes in a transaction. If another program does, its records are read whether it commits
// or aborts (isolation read_uncommitted), and each marker at the end of a transaction is read as a
// record too (see marker). So every offset up to the high watermark is a record, an open transaction
// holds up no reader, and every node reads the same. What is no event stops its partition like any
// foreign record, until an operator accepts it. An aborted copy of an event of this ledger is a
// repeat, and void.
//
// What makes an append durable: the leader of its partition has acknowledged it with
// acks=all, so every replica in sync has it, and at least MinISR replicas are in sync. That is
// replication, not fsync: a power cut that destroys the unsynced tails of all replicas destroys
// the append. Only events below the high watermark are read.
//
// Order: this process has one record batch of a partition under way at a time. The same batch is
// sent until a broker has it or DeliverWithin is over; brokers recognise a batch that they have
// by its producer and sequence numbers (idempotent producing). So the appends of one process are
// in the log once and in order, also when some tries fail. Kafka cannot promise that of a batch
// that was given up: a request that hangs in a stalled broker may be written later, after younger
// ones. Its append was answered with ledger.ErrUnknown, and its events, wherever they land, are
// judged like all others: repeats and overtaken outcomes are void.
//
// This package makes the requests and uses franz-go's client to send them, not franz-go's
// producer and consumer: these do not tell whether a failed record may be in the log, and go on
// after a loss of data.
package kafkalog

import (
	"context"
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
	surplus    surplus
	tails      *tails
	stats      counters

	ctx      context.Context // ends when every append is answered
	stop     context.CancelFunc
	closed   chan struct{}
	watching sync.WaitGroup
	closing  sync.Once
}

// Open opens a ledger whose topics exist (Init makes them). Where they are not as they must be,
// its error says all that is wrong, and how to mend it. It changes nothing. ctx bounds the
// opening alone.
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
	writes := &writeCounter{}
	if l.client, err = l.cfg.client(kgo.WithHooks(writes)); err != nil {
		return nil, err
	}
	if l.tails.client, err = l.cfg.client(); err != nil {
		return nil, err
	}
	topics, err := check(ctx, &l.cfg, l.client)
	if err != nil {
		return nil, err
	}
	if topics.created != nil {
		l.source = "/" + topics.created.Ledger
	}
	l.partitions = topics.partitions
	l.reader = &engine.Reader{Source: l.source, Partitions: l.partitions, Decode: l.cfg.Decode}
	slots := l.partitions + ledgerTopic
	l.cluster = newCluster(&l.cfg, l.client, slots)
	l.cluster.ids = topics.ids
	l.heads.c, l.heads.ctx = l.cluster, l.ctx
	l.tails.bySlot = make([]*tail, slots)
	l.sender = newSender(&l.cfg, slots, &l.stats, l.reader)
	l.sender.cluster, l.sender.client, l.sender.writes = l.cluster, l.client, writes
	p, err := newProducer(ctx, l.client)
	if err != nil {
		return nil, err
	}
	for i := range l.sender.lanes {
		l.sender.lanes[i].producer = p
	}
	l.cluster.changed = func() {
		engine.Signal(l.sender.backlog.wakeup)
		if l.cluster.fatal() != nil {
			l.tails.endAll() // whoever waits for an event that cannot come is told why
			return
		}
		l.tails.followLeaders()
	}
	l.cluster.suspects, l.cluster.answers = l.sender.backlog.suspects, l.sender.backlog.answers
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
// answered before Append returns. Every other append is answered within DeliverWithin: with
// ledger.ErrRefused where it is certain that no broker has any of it or will have, else
// with ledger.ErrUnknown. After a failure for want of brokers the partition's appends are
// refused at once, except for one a second, until its leader answers.
func (l *Log) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	if err := l.append(p, events, done); err != nil {
		l.stats.failed.Add(int64(len(events)))
		done(ledger.Appended{Err: ledger.Refused(err)})
	}
}

func (l *Log) append(p event.Partition, events []*event.Event, done func(ledger.Appended)) error {
	if err := engine.CheckAppend(p, l.partitions); err != nil {
		return err
	}
	if err := l.sender.backlog.check(engine.Slot(p), len(events)); err != nil {
		return err // without the work of encoding
	}
	a, err := engine.NewAppend(p, events, done)
	if err != nil {
		return err
	}
	follows := l.tails.has(a.Slot)
	if follows {
		l.reader.Keep(p, a.Events, a.Raws)
	}
	if err = l.sender.backlog.enqueue(a); err != nil && follows {
		l.reader.Forget(p, a.Events)
	}
	return err
}

// Read is part of ledger.Log. Near the head it reads from a tail of the partition that this
// process keeps, elsewhere from the partition's leader; with max 0 it asks the leader. The end
// of ctx ends the wait for new events: events that are there are read even when ctx is done.
// Where a broker does not answer, it is tried until DeliverWithin is over or ctx is done, and
// the error is the broker's. A record that is no event of this ledger is returned with the
// reason (Record.Bad) and without an event.
func (l *Log) Read(ctx context.Context, at event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if err := engine.CheckRead(at, l.partitions, from, max); err != nil {
		return nil, 0, err
	}
	s := engine.Slot(at)
	for {
		select {
		case <-l.closed:
			return nil, 0, engine.ErrClosed
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
			// The leader may have events that the tail does not have yet.
			if records, head, err = l.readStored(ctx, s, from, max); err != nil || len(records) > 0 || ctx.Err() != nil {
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

// Health says whether the ledger takes appends and can be read, since when that is so or is not,
// and what is wrong with which broker or partition. The cluster is asked every few seconds, also
// when nothing is appended, so Health becomes true without an append.
func (l *Log) Health() (ok bool, since time.Time, detail string) {
	return l.cluster.health.State()
}

// Stats is how much went through a Log since it was opened.
type Stats struct {
	// Appended counts events that were acknowledged; Failed counts events whose append was
	// answered with an error.
	Appended, Failed int64
	// Requests counts produce requests; Fetches counts fetches for one reader, without those of
	// the tails.
	Requests, Fetches int64
	// Read counts events that came from brokers. Decoded counts how many of them were decoded;
	// the others were this process's own.
	Read, Decoded int64
	// QueuedBytes and QueuedEvents are of the appends that have no answer yet.
	QueuedBytes, QueuedEvents int
}

// Stats returns the counters as they are now.
func (l *Log) Stats() Stats {
	bytes, events := l.sender.backlog.queued()
	return Stats{
		Appended: l.stats.appended.Load(), Failed: l.stats.failed.Load(),
		Requests: l.stats.requests.Load(), Fetches: l.stats.fetched.Load(),
		Read: l.stats.read.Load(), Decoded: l.reader.Decoded(),
		QueuedBytes: bytes, QueuedEvents: events,
	}
}

// Close takes no more appends, waits until the queued ones are answered, which takes
// DeliverWithin at most, then ends waiting reads and closes the connections.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.sender.close()
		close(l.closed)
		l.release()
	})
	return nil
}

// release ends the goroutines and closes the connections.
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
