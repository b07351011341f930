// Package eventstorelog is the ledger's log on EventStoreDB. Each partition has a stream:
// <name>-00, <name>-01, … for the recipients' partitions, <name>-control, <name>-inbox and
// <name>-audit. The stream <name>.lease says which node serves which partition. An event's position is its revision
// in its stream. Nothing is ever deleted, so revisions are dense.
//
// What makes an append durable: EventStoreDB has acknowledged it. A cluster does that when
// most of its nodes have it on disk.
//
// An event is stored as JSON: its exact bytes are the data; the metadata has copies of its
// attributes, with the recipient's pseudonym as $correlationId. Every write gives its events new
// ids in EventStoreDB; the ledger's ids are in the data. The reason: EventStoreDB remembers ids
// for a while, and takes a write that begins with a known id for a repeat. With the ledger's ids,
// an event that is appended twice would be stored once or twice, depending on that memory, and a
// write of known and new events would be refused or dropped. As it is, a repeat is in the log,
// and void.
//
// Order: this process has one write of a partition under way at a time, and every process
// appends at the expected revision "any". A write that EventStoreDB may have made is answered with
// ledger.ErrUnknown and not repeated here; it may land later, after younger writes. Only the
// target of a copy is written at exact revisions. There EventStoreDB recognises a repeat by
// revision and id, so every event of a copy is written once whatever answers are lost.
//
// All appends and reads are sent to the node that leads.
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

// watchEvery is how often EventStoreDB is asked whether it answers.
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

	ctx      context.Context // ends when every append is answered
	stop     context.CancelFunc
	watching sync.WaitGroup
	closing  sync.Once
	health   *engine.Health
}

// Open opens a ledger that exists (Init makes it). Where its streams are not as they must be, its
// error says what is wrong, and how to mend it. It changes nothing. ctx bounds the opening alone.
func Open(ctx context.Context, cfg Config) (_ *Log, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, health: engine.NewHealth(time.Now())}
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
	l.heads = &heads{at: make([]int64, engine.Slot(event.Partition(partitions)))}
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

// Append is part of ledger.Log. What is refused at once, because too much is waiting, the
// partition took no append just now, the log is closed or an event cannot be encoded, is
// answered before Append returns. Every other append is answered within DeliverWithin: with
// ledger.ErrRefused, after 4 s of trying, where it is certain that EventStoreDB has none of it
// and will not have, else with ledger.ErrUnknown. After a failure for want of a server the
// partition's appends are refused at once, except for one a second, until EventStoreDB answers.
func (l *Log) Append(p event.Partition, events []*event.Event, done func(ledger.Appended)) {
	if err := l.append(p, events, done); err != nil {
		l.stats.failed.Add(int64(len(events)))
		done(ledger.Appended{Err: ledger.Refused(err)})
	}
}

func (l *Log) append(p event.Partition, events []*event.Event, done func(ledger.Appended)) error {
	if err := engine.CheckAppend(p, l.reader.Partitions); err != nil {
		return err
	}
	if err := l.sender.check(p, len(events)); err != nil {
		return err // without the work of encoding
	}
	a, err := engine.NewAppend(p, events, done)
	if err != nil {
		return err
	}
	follows := l.cursors.has(p)
	if follows {
		l.reader.Keep(p, events, a.Raws)
	}
	err = l.sender.enqueue(p, a)
	if err != nil && follows {
		l.reader.Forget(p, events)
	}
	return err
}

// watch looks every two seconds whether EventStoreDB answers, and who leads it.
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
		trouble, aside := "", ""
		switch {
		case l.ctx.Err() != nil:
			return
		case err != nil:
			trouble = err.Error()
		case head < known:
			// A node that does not know yet that another leads may answer so, once.
			if lost++; lost > 1 || !l.conn.suspectLeader() {
				trouble = fmt.Sprintf("control ends at %d, and was read up to %d: EventStoreDB has lost events; stop every node", head, known)
			}
		default:
			lost = 0
			err, other := l.sender.answers(time.Now())
			if err != nil {
				trouble = err.Error()
			}
			if other != nil {
				aside = other.Error()
			}
		}
		l.health.Set(trouble, aside, time.Now())
	}
}

// Health says whether the ledger takes appends and can be read, since when that is so or is not,
// and what is wrong. EventStoreDB is asked every two seconds, also when nothing is appended, so
// Health becomes true without an append.
func (l *Log) Health() (ok bool, since time.Time, detail string) { return l.health.State() }

// Stats is how much went through a Log since it was opened.
type Stats struct {
	// Appended counts events that were acknowledged; Failed counts events whose append was
	// answered with an error.
	Appended, Failed int64
	// Writes counts append requests; Reads counts requests for a page, a head or a first event;
	// Subscriptions counts subscriptions that were begun.
	Writes, Reads, Subscriptions int64
	// Read counts events that were read. Decoded counts how many of them were decoded; the
	// others were this process's own.
	Read, Decoded int64
	// QueuedBytes and QueuedEvents are of the appends that have no answer yet.
	QueuedBytes, QueuedEvents int
}

// Stats returns the counters as they are now.
func (l *Log) Stats() Stats {
	bytes, events := l.sender.queued()
	return Stats{
		Appended: l.stats.appended.Load(), Failed: l.stats.failed.Load(),
		Writes: l.stats.requests.Load(), Reads: l.stats.reads.Load(), Subscriptions: l.stats.subscriptions.Load(),
		Read: l.stats.read.Load(), Decoded: l.reader.Decoded(),
		QueuedBytes: bytes, QueuedEvents: events,
	}
}

// Close takes no more appends, waits until the queued ones are answered, which takes
// DeliverWithin at most, then ends waiting reads and closes the connections.
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
