package eventstorelog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// maxRead bounds the stored bytes that one Read asks for.
	maxRead = 4 << 20
	// cursorBytes and cursorEvents bound the events that a cursor has received and no reader has
	// read. At the bound it receives no more, and EventStoreDB waits.
	cursorBytes, cursorEvents = 1 << 20, 2048
	// cursorIdle is how long a cursor without a reader is kept. maxCursors bounds the cursors of
	// one partition.
	cursorIdle, maxCursors = 30 * time.Second, 8
)

// errGap is the error of a revision at which there is no event, and never will be.
var errGap = errors.New("a ledger's stream must keep every event: $maxCount, $maxAge, $tb or a deletion has taken some away; restore it from a backup or a copy, under another name")

// cursors are the catch-up subscriptions of readers. A cursor waits at an index: a Read from that
// index takes it, and puts it back at the index after the last event that it returns. So a reader
// that goes on where it stopped has one subscription, and no gap between stored and new events.
type cursors struct {
	log *Log

	mu     sync.Mutex
	idle   map[event.Partition][]*cursor // oldest first
	counts map[event.Partition]int       // of all cursors, also those that a Read has taken
	closed bool

	running sync.WaitGroup
}

// cursor is one catch-up subscription.
type cursor struct {
	p   event.Partition
	end context.CancelFunc

	mu      sync.Mutex
	records []ledger.Record // received, and not read
	bytes   int             // of records
	next    int64           // the index that is received next
	err     error           // why it ended, nil while it runs
	more    chan struct{}   // a token: there are new records, or it ended
	room    chan struct{}   // a token: records were read
	used    time.Time
}

// take removes a cursor at an index from the idle ones. Where there is none, it begins one if
// begin is true. It returns nil where begin is false, or all maxCursors are taken.
func (c *cursors) take(p event.Partition, from int64, begin bool) *cursor {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, x := range c.idle[p] {
		if x.at() == from {
			c.idle[p] = append(c.idle[p][:i:i], c.idle[p][i+1:]...)
			return x
		}
	}
	if c.closed || !begin {
		return nil
	}
	if c.counts[p] >= maxCursors {
		if len(c.idle[p]) == 0 {
			return nil
		}
		c.idle[p][0].end()
		c.idle[p] = c.idle[p][1:]
	}
	ctx, end := context.WithCancel(c.log.ctx)
	x := &cursor{p: p, end: end, next: from, more: make(chan struct{}, 1), room: make(chan struct{}, 1), used: now}
	c.counts[p]++
	c.running.Go(func() {
		x.run(ctx, c.log)
		c.mu.Lock()
		c.counts[p]--
		c.mu.Unlock()
	})
	return x
}

// has reports whether a partition has a cursor.
func (c *cursors) has(p event.Partition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[p] > 0
}

// put makes a cursor idle that a Read has taken. One that has ended is dropped.
func (c *cursors) put(x *cursor) {
	x.used = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.failed() != nil || c.closed {
		x.end()
		return
	}
	c.idle[x.p] = append(c.idle[x.p], x)
}

// sweep ends the cursors that were idle for cursorIdle.
func (c *cursors) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, all := range c.idle {
		for len(all) > 0 && now.Sub(all[0].used) > cursorIdle {
			all[0].end()
			all = all[1:]
		}
		c.idle[p] = all
	}
}

// close ends every cursor. It is called after the log's context has ended.
func (c *cursors) close() {
	c.mu.Lock()
	c.closed = true
	for _, all := range c.idle {
		for _, x := range all {
			x.end()
		}
	}
	c.idle = map[event.Partition][]*cursor{}
	c.mu.Unlock()
	c.running.Wait()
}

// at is the index of the next record that a reader gets.
func (x *cursor) at() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.next - int64(len(x.records))
}

// failed is why the cursor ended; nil while it runs.
func (x *cursor) failed() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// run receives events until ctx ends, the node ends the subscription, or an event comes that is
// not the next one.
func (x *cursor) run(ctx context.Context, l *Log) {
	defer x.end()
	var gap error
	err := l.conn.subscribe(ctx, engine.Slot(x.p), l.cfg.stream(x.p), x.next, func(e *streams.ReadResp_ReadEvent_RecordedEvent) bool {
		if at := int64(e.GetStreamRevision()); at != x.next {
			gap = fmt.Errorf("%s is missing, and %d follows: %w", event.Position{Partition: x.p, Index: x.next}, at, errGap)
			return false
		}
		r := l.reader.Record(x.p, x.next, e.GetData())
		l.stats.read.Add(1)
		l.heads.saw(x.p, x.next+1)
		x.mu.Lock()
		x.records = append(x.records, r)
		x.bytes += len(r.Raw)
		x.next++
		full := x.bytes >= cursorBytes || len(x.records) >= cursorEvents
		x.mu.Unlock()
		engine.Signal(x.more)
		for full {
			select {
			case <-x.room:
			case <-ctx.Done():
				return false
			}
			x.mu.Lock()
			full = x.bytes >= cursorBytes || len(x.records) >= cursorEvents
			x.mu.Unlock()
		}
		return true
	})
	if gap != nil {
		err = gap
	}
	if err == nil {
		err = engine.ErrClosed
	}
	x.mu.Lock()
	x.err = err
	x.mu.Unlock()
	engine.Signal(x.more)
}

// read takes up to most records. No records and no error mean that there is nothing yet.
func (x *cursor) read(most int) ([]ledger.Record, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.records) == 0 {
		return nil, x.err
	}
	n := min(most, len(x.records))
	out := x.records[:n:n]
	x.records = x.records[n:]
	for _, r := range out {
		x.bytes -= len(r.Raw)
	}
	if len(x.records) == 0 {
		x.records = nil
	}
	engine.Signal(x.room)
	return out, nil
}

// heads are the largest heads of the partitions that this process has seen.
type heads struct {
	mu sync.Mutex
	at []int64
}

// saw takes note of a partition's head.
func (h *heads) saw(p event.Partition, head int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at[engine.Slot(p)] = max(h.at[engine.Slot(p)], head)
}

// known is the largest head of a partition that was seen.
func (h *heads) known(p event.Partition) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[engine.Slot(p)]
}

// Read is part of ledger.Log. Stored events are read in pages. A reader that has come to the
// head, or that goes on where it stopped, reads from a catch-up subscription. With max 0 the
// leader is asked. The end of ctx ends the wait for new events: events that are there are read
// even when ctx is done. Where EventStoreDB does not answer, it is tried until DeliverWithin is
// over or ctx is done, and the error is the last one. A record that is no event of this ledger is
// returned with the reason (Record.Bad) and without an event.
func (l *Log) Read(ctx context.Context, p event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if err := engine.CheckRead(p, l.reader.Partitions, from, max); err != nil {
		return nil, 0, err
	}
	if l.ctx.Err() != nil {
		return nil, 0, engine.ErrClosed
	}
	if max == 0 {
		head, err := l.head(ctx, p)
		return nil, head, err
	}
	for tries := 1; ; tries++ {
		if records, head, err := l.follow(ctx, p, from, max, false); len(records) > 0 || err != nil {
			return records, head, err
		}
		records, head, err := l.page(ctx, p, from, max)
		if err != nil || len(records) > 0 || ctx.Err() != nil {
			return records, head, err
		}
		// from is the head: a subscription from there gets every new event.
		records, head, err = l.follow(ctx, p, from, max, true)
		if len(records) > 0 || err != nil {
			return records, head, err
		}
		if ctx.Err() != nil {
			return nil, l.heads.known(p), nil
		}
		engine.Pause(ctx, engine.Backoff(tries)) // its subscription ended
	}
}

// follow reads from a cursor at an index, if there is one; with wait it begins one and waits. No
// records and no error mean that the stored events must be looked at.
func (l *Log) follow(ctx context.Context, p event.Partition, from int64, max int, wait bool) ([]ledger.Record, int64, error) {
	x := l.cursors.take(p, from, wait)
	if x == nil {
		return nil, 0, nil
	}
	defer l.cursors.put(x)
	for {
		records, err := x.read(max)
		if len(records) > 0 {
			return records, l.heads.known(p), nil
		}
		if l.ctx.Err() != nil {
			return nil, 0, engine.ErrClosed
		}
		if err != nil || !wait && ctx.Err() != nil {
			if errors.Is(err, errGap) {
				return nil, 0, err
			}
			return nil, 0, nil // a page says why, or a new cursor begins
		}
		select {
		case <-x.more:
		case <-l.ctx.Done():
		case <-ctx.Done():
			if wait {
				return nil, 0, nil
			}
		}
	}
}

// page reads stored events from an index on. No records mean that the index is the head.
func (l *Log) page(ctx context.Context, p event.Partition, from int64, most int) (records []ledger.Record, head int64, err error) {
	at := event.Position{Partition: p, Index: from}
	err = l.ask(ctx, func(ctx context.Context) error {
		got, err := l.conn.read(ctx, l.cfg.stream(p), from, most, maxRead)
		if err != nil {
			return err
		}
		head = got.head
		if got.none {
			head = 0
		} else if head < 0 { // the page ended early: at maxRead, or because the call broke off
			if len(got.events) == 0 {
				return &fault{later, errors.New("EventStoreDB did not say where the stream ends: it must be 21.10 or later")}
			}
			if head, err = l.conn.head(ctx, l.cfg.stream(p)); err != nil {
				return err
			}
		}
		if from > head {
			return l.ahead(engine.Ahead(at, head))
		}
		if len(got.events) == 0 && from < head {
			return &fault{never, fmt.Errorf("nothing stands at %s, and the stream goes on to %d: %w", at, head, errGap)}
		}
		records = make([]ledger.Record, 0, len(got.events))
		for i, e := range got.events {
			if int64(e.GetStreamRevision()) != from+int64(i) {
				if i > 0 {
					break // the next read meets the gap
				}
				return &fault{never, fmt.Errorf("%s is missing, and %d follows: %w", at, e.GetStreamRevision(), errGap)}
			}
			records = append(records, l.reader.Record(p, from+int64(i), e.GetData()))
		}
		return nil
	})
	if err != nil {
		return nil, head, fmt.Errorf("read %s: %w", at, err)
	}
	l.stats.read.Add(int64(len(records)))
	l.heads.saw(p, head)
	return records, head, nil
}

// ahead is the fault of a head that is smaller than one seen before. Where another node may lead
// by now, and the asked node has not found out, it is asked once more until the time is over.
func (l *Log) ahead(err error) *fault {
	if l.conn.suspectLeader() {
		return &fault{later, err}
	}
	return &fault{never, err}
}

// head asks the leader for a partition's head.
func (l *Log) head(ctx context.Context, p event.Partition) (head int64, err error) {
	known := l.heads.known(p)
	err = l.ask(ctx, func(ctx context.Context) error {
		if head, err = l.conn.head(ctx, l.cfg.stream(p)); err != nil || head >= known {
			return err
		}
		if err := l.ahead(fmt.Errorf("%w: it was %d before, and is %d", ledger.ErrAhead, known, head)); err.outcome == later {
			return err
		}
		return nil // a reader at the known head gets the error
	})
	if err != nil {
		return 0, fmt.Errorf("the head of partition %s: %w", p, err)
	}
	l.heads.saw(p, head)
	return head, nil
}

// ask asks a question until there is an answer, or DeliverWithin is over. A question can be
// repeated whatever became of the try before.
func (l *Log) ask(asked context.Context, question func(context.Context) error) error {
	err := insist(l.ctx, asked, l.cfg.DeliverWithin, l.cfg.attempt(), question)
	if err != nil && l.ctx.Err() != nil {
		return engine.ErrClosed
	}
	return err
}
