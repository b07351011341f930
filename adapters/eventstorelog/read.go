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
	// maxRead bounds the stored bytes of what one Read asks for.
	maxRead = 4 << 20
	// cursorBytes and cursorEvents bound what a cursor has received and nobody has read;
	// then it takes nothing more, and EventStoreDB waits.
	cursorBytes, cursorEvents = 1 << 20, 2048
	// cursorIdle is how long a cursor is kept that nobody reads from, and maxCursors how
	// many there are of one partition.
	cursorIdle, maxCursors = 30 * time.Second, 8
)

// errGap is a revision at which there is no event, and never will be.
var errGap = errors.New("a ledger's stream must keep every event: $maxCount, $maxAge, $tb or a deletion has taken some away; restore it from a backup or a copy, under another name")

// cursors are the catch-up subscriptions of readers. A cursor belongs to the place where
// its reader goes on: whoever reads from there takes it, and puts it back behind what was
// read. So one reader has one subscription, from where it began to live, without a gap
// between what was there and what comes.
type cursors struct {
	log *Log

	mu     sync.Mutex
	idle   map[event.Partition][]*cursor // oldest first
	counts map[event.Partition]int       // of all, those that are being read among them
	closed bool

	running sync.WaitGroup
}

// cursor is one catch-up subscription.
type cursor struct {
	p   event.Partition
	end context.CancelFunc

	mu      sync.Mutex
	records []ledger.Record // received, and not read
	bytes   int
	next    int64         // of what is received next
	err     error         // why it ended, nil while it runs
	more    chan struct{} // there is something new for the reader
	room    chan struct{} // there is room again
	used    time.Time
}

// take finds a cursor that goes on at an index, or else, with begin, begins one; nil when
// there is none, or there are too many.
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

// has reports whether a partition is followed, and so whether its head is known.
func (c *cursors) has(p event.Partition) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[p] > 0
}

// put gives a cursor back.
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

// sweep ends what nobody has read from for a while.
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

// close ends them all. The log's context has ended.
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

// at is where the reader goes on.
func (x *cursor) at() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.next - int64(len(x.records))
}

// failed is why it ended.
func (x *cursor) failed() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// run receives until ctx ends, the node does, or what comes is not what must come next.
func (x *cursor) run(ctx context.Context, l *Log) {
	defer x.end()
	var gap error
	err := l.conn.subscribe(ctx, slot(x.p), l.cfg.stream(x.p), x.next, func(e *streams.ReadResp_ReadEvent_RecordedEvent) bool {
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
		signal(x.more)
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
		err = errClosed
	}
	x.mu.Lock()
	x.err = err
	x.mu.Unlock()
	signal(x.more)
}

// read takes up to most records. None and no error: there is nothing yet.
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
	signal(x.room)
	return out, nil
}

// signal leaves a token; one that is there already says enough.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// heads are the partitions' heads as far as this process has seen: they only grow.
type heads struct {
	mu sync.Mutex
	at []int64
}

// saw takes note of a head.
func (h *heads) saw(p event.Partition, head int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at[slot(p)] = max(h.at[slot(p)], head)
}

func (h *heads) known(p event.Partition) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[slot(p)]
}

// Read is part of ledger.Log. What is there is read in pages; a reader that has come to the
// head, or that goes on where it stopped, is on a catch-up subscription from there. With max
// 0 the leader is asked. What ctx ends is the wait: what is there is read even when ctx is
// done. Where EventStoreDB does not answer, it is tried again until DeliverWithin is over, or
// ctx ends meanwhile, and the error is its last. A record that is no event of this ledger is
// returned with the reason (Record.Bad) and without an event.
func (l *Log) Read(ctx context.Context, p event.Partition, from int64, max int) ([]ledger.Record, int64, error) {
	if !l.has(p) || from < 0 || max < 0 {
		return nil, 0, fmt.Errorf("read of partition %d from %d, at most %d: there is no such thing", int(p), from, max)
	}
	if l.ctx.Err() != nil {
		return nil, 0, errClosed
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
		// from is the head: whatever comes, a subscription from there has it.
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

// follow reads from the cursor that stands at an index, if there is one; with wait it begins
// one and waits. No records and no error: look at what is stored.
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
			return nil, 0, errClosed
		}
		if err != nil || !wait && ctx.Err() != nil {
			if errors.Is(err, errGap) {
				return nil, 0, err
			}
			return nil, 0, nil // what is stored says why, or it begins again
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

// page reads what is stored from an index on. No records: it is the head.
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
		} else if head < 0 { // the page was cut, by us or by the way
			if len(got.events) == 0 {
				return &fault{later, errors.New("EventStoreDB did not say where the stream ends: it must be 21.10 or later")}
			}
			if head, err = l.conn.head(ctx, l.cfg.stream(p)); err != nil {
				return err
			}
		}
		if from > head {
			return l.ahead(fmt.Errorf("%w: %s, where its head is %d", ledger.ErrAhead, at, head))
		}
		if len(got.events) == 0 && from < head {
			return &fault{never, fmt.Errorf("nothing stands at %s, and the stream goes on to %d: %w", at, head, errGap)}
		}
		records = make([]ledger.Record, 0, len(got.events))
		for i, e := range got.events {
			if int64(e.GetStreamRevision()) != from+int64(i) {
				if i > 0 {
					break // who goes on meets the gap
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

// ahead is a log that ends before what was read from it. Where another node may lead by now,
// and the one that was asked has not found out, the question is put again until its time is
// over.
func (l *Log) ahead(err error) *fault {
	if l.conn.doubted() {
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
		return nil // whoever reads from there finds out
	})
	if err != nil {
		return 0, fmt.Errorf("the head of partition %s: %w", p, err)
	}
	l.heads.saw(p, head)
	return head, nil
}

// ask asks a question until there is an answer, or DeliverWithin is over. The same question
// may be asked again whatever came of it.
func (l *Log) ask(asked context.Context, question func(context.Context) error) error {
	err := insist(l.ctx, asked, l.cfg.DeliverWithin, l.cfg.attempt(), question)
	if err != nil && l.ctx.Err() != nil {
		return errClosed
	}
	return err
}
