// Package eventstorelog is the ledger's log on EventStoreDB: a stream for each partition,
// <name>-00 and on for the recipients', <name>-control and <name>-inbox, and <name>.lease,
// which says who serves which partition. An event's position is its revision in its stream.
// Nothing is ever deleted, so revisions are dense.
//
// What makes an append durable: EventStoreDB has acknowledged it, which a cluster does when
// most of its nodes have it on disk.
//
// An event is stored as JSON: its exact bytes are the data; the metadata has copies of its
// attributes, with the recipient's pseudonym as $correlationId. Its id in EventStoreDB is a
// new one in every write, ours is in the envelope: EventStoreDB remembers ids for a while
// and answers a write that begins with a known one as a repeat, so that what is appended
// twice would be there once or twice as its cache happened to be, and a batch of known and
// new ones would be refused or swallowed. Here a repeat is in the log, and void.
//
// Order: a partition has one write of this process under way at a time, and every append of
// any process is made at the expected revision "any". A write that EventStoreDB may have made
// after all is answered with ledger.ErrUnknown and not made again here; it may land later,
// after younger ones. Only the target of a copy is written at exact revisions, where
// EventStoreDB knows a repeat by place and id, so a copy is made once whatever is lost.
//
// Everything is asked of the node that leads.
package eventstorelog

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// watchEvery is how often EventStoreDB is asked whether it is there.
const watchEvery = 2 * time.Second

// Log is a ledger.Log.
type Log struct {
	cfg     Config
	conn    *conn
	reader  *engine.Reader
	heads   *heads
	sender  *sender
	cursors *cursors
	stats   counters

	ctx      context.Context // until everything is answered
	stop     context.CancelFunc
	watching sync.WaitGroup
	closing  sync.Once

	mu      sync.Mutex
	trouble string
	since   time.Time
}

// Open opens a ledger that is there (Init makes it), and refuses where its streams are not
// as they must be, with what is wrong and how to mend it. It changes nothing. ctx bounds the
// opening alone.
func Open(ctx context.Context, cfg Config) (_ *Log, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, since: time.Now()}
	if l.conn, err = newConn(&l.cfg, &l.stats); err != nil {
		return nil, err
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			l.stop()
			l.conn.close()
		}
	}()
	created, err := check(ctx, &l.cfg, l.conn)
	if err != nil {
		return nil, err
	}
	partitions, source := cfg.Partitions, ""
	if created != nil && !cfg.Copy {
		partitions, source = created.Partitions, "/"+created.Ledger
	}
	l.reader = &engine.Reader{Source: source, Partitions: partitions, Decode: cfg.Decode}
	l.heads = &heads{at: make([]int64, slot(event.Partition(partitions)))}
	l.cursors = &cursors{log: l, idle: map[event.Partition][]*cursor{}, counts: map[event.Partition]int{}}
	if created != nil {
		l.heads.saw(event.ControlPartition, 1)
	}
	l.sender = newSender(l.ctx, &l.cfg, l.conn, l.reader, l.heads, &l.stats)
	l.watching.Go(l.watch)
	return l, nil
}

// Partitions is part of ledger.Log.
func (l *Log) Partitions() int { return l.reader.Partitions }

// Source is the ledger as events name it (CloudEvents "source"): "/" and its short id. It
// is empty while the ledger is the target of a copy.
func (l *Log) Source() string { return l.reader.Source }

func (l *Log) has(p event.Partition) bool {
	return p >= event.InboxPartition && int(p) < l.reader.Partitions
}

// Append is part of ledger.Log. What is refused at once, because too much is waiting, the
// partition took no append just now, the log is closed or an event cannot be encoded, is
// answered before Append returns. Everything else is answered within DeliverWithin: with
// ledger.ErrRefused, after 4 s of trying, where it is certain that EventStoreDB has none of it
// and will not have, else with ledger.ErrUnknown. After a failure for want of a server the partition's appends
// are refused at once, but for one a second, until EventStoreDB answers again.
func (l *Log) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	if err := l.append(p, events, done); err != nil {
		l.stats.failed.Add(int64(len(events)))
		done(ledger.Appended{Err: fmt.Errorf("%w: %w", ledger.ErrRefused, err)})
	}
}

func (l *Log) append(p event.Partition, events []*event.Event, done func(ledger.Appended)) error {
	if !l.has(p) {
		return fmt.Errorf("there is no partition %d", int(p))
	}
	if err := l.sender.space(p, len(events)); err != nil {
		return err // encoding would be for nothing
	}
	raws, size, err := engine.Encode(events)
	if err != nil {
		return err
	}
	follows := l.cursors.has(p)
	if follows {
		l.reader.Keep(p, events, raws)
	}
	err = l.sender.enqueue(p, &pending{events: events, raws: raws, size: size, done: done})
	if err != nil && follows {
		l.reader.Forget(p, events)
	}
	return err
}

// watch looks whether EventStoreDB answers, and follows its leader, whether or not anything
// is appended.
func (l *Log) watch() {
	lost := 0
	for {
		engine.Pause(l.ctx, watchEvery)
		if l.ctx.Err() != nil {
			return
		}
		l.cursors.sweep(time.Now())
		known := l.heads.known(event.ControlPartition)
		ctx, cancel := context.WithTimeout(l.ctx, l.cfg.attempt())
		head, err := l.conn.head(ctx, l.cfg.stream(event.ControlPartition))
		cancel()
		trouble := ""
		switch {
		case l.ctx.Err() != nil:
			return
		case err != nil:
			trouble = err.Error()
		case head < known:
			// One that does not know yet that another leads may say so once.
			if lost++; lost > 1 || !l.conn.doubted() {
				trouble = fmt.Sprintf("control ends at %d, and was read up to %d: EventStoreDB has lost events; stop every node", head, known)
			}
		default:
			lost = 0
			l.sender.recovered(time.Now())
			if err := l.sender.suspect(); err != nil {
				trouble = err.Error()
			}
		}
		l.mu.Lock()
		if (trouble == "") != (l.trouble == "") {
			l.since = time.Now()
		}
		l.trouble = trouble
		l.mu.Unlock()
	}
}

// Health says whether the ledger takes appends and can be read, since when it is so, and,
// when it is not, what is wrong. EventStoreDB is asked every two seconds whether or not
// anything is appended, so it heals by itself.
func (l *Log) Health() (ok bool, since time.Time, detail string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trouble == "", l.since, l.trouble
}

// Stats is how much went through a Log since it was opened.
type Stats struct {
	// Appended are events that were acknowledged; Failed, those whose append was answered
	// with an error.
	Appended, Failed int64
	// Writes are append requests; Reads, those for a page, a head or a first event;
	// Subscriptions, those that were begun.
	Writes, Reads, Subscriptions int64
	// Read are events that came back; Decoded, those of them that were decoded, the
	// others being this process's own.
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
		Writes: l.stats.requests.Load(), Reads: l.stats.reads.Load(), Subscriptions: l.stats.subscriptions.Load(),
		Read: l.stats.read.Load(), Decoded: l.reader.Decoded(),
		QueuedBytes: bytes, QueuedEvents: events,
	}
}

// Close answers what is queued, which takes DeliverWithin at most, then takes no more
// appends, ends waiting reads, and closes the connections.
func (l *Log) Close() error {
	l.closing.Do(func() {
		l.sender.close()
		l.stop()
		l.watching.Wait()
		l.cursors.close()
		l.conn.close()
	})
	return nil
}

// A slot is a partition's place in a slice: inbox, control, and the recipients'.
func slot(p event.Partition) int           { return int(p) + 2 }
func partitionOf(slot int) event.Partition { return event.Partition(slot - 2) }
