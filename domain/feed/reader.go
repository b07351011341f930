package feed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

const (
	// mostBlocks bounds the blocks of one partition that one read looks at.
	mostBlocks = 32
	// keptBlocks is how many blocks of a partition are kept in memory, decoded: those that were used last.
	keptBlocks = 16
	// mostAudit bounds the events of the audit log that one read looks at.
	mostAudit = 1000
	// firstEvery is how long it is believed where the feed begins: only an upgrade changes that.
	firstEvery = 10 * time.Second
	// headEvery is how long it is believed where the audit log ends.
	headEvery = 250 * time.Millisecond
)

// Block is a block of the feed, as the views keep it.
type Block struct {
	Number int64
	Body   []byte
}

// Submitted is what a record tells of its message beside the item. It never changes; what is personal is sealed.
type Submitted struct {
	Tenant, From, Purpose, By string
	Content                   event.Sealed
	// Lost: the submit is lost, so there is no Content.
	Lost bool
}

// Views is what the feed needs of the views.
type Views interface {
	// FeedBlocks returns the blocks of a partition from a number on, in order, at most so many. A block without items is
	// left out. The feed then had all of the partition's events before next: that is read together with the blocks.
	FeedBlocks(ctx context.Context, p event.Partition, from int64, most int) (blocks []Block, next int64, err error)
	// FeedFirst says for each partition from which event on the feed is whole.
	FeedFirst(ctx context.Context) (map[event.Partition]int64, error)
	// Folded says, without a query, how far each partition is folded.
	Folded() map[event.Partition]int64
	// WaitBeyond returns when a partition is folded beyond next, or when ctx is done.
	WaitBeyond(ctx context.Context, next []int64)
	// Submitted returns of those of the messages that the tenant has what they were submitted with. Each is asked for some five times, and
	// perhaps by many readers.
	Submitted(ctx context.Context, tenant string, ids []event.ID) (map[event.ID]Submitted, error)
	// Search finds the latest messages of a recipient.
	Search(ctx context.Context, tenant string, f reading.Filter) ([]*reading.Message, error)
	StreamEvent(ctx context.Context, tenant string, id event.ID) (reading.StreamEvent, bool, error)
}

type log interface {
	Partitions() int
	Read(ctx context.Context, p event.Partition, from int64, max int) (records []ledger.Record, head int64, err error)
}

// rules describes policy rules by their id.
type rules interface {
	Rule(id string) (decision.Rule, bool)
}

type vault interface {
	Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error)
	Digest(tenant, purpose string, data []byte) string
}

// Ports are what a Reader stands on; all are required.
type Ports struct {
	Views Views
	Log   log
	Vault vault
	Rules rules
	// Epoch is the epoch of the ledger as this node has read control.
	Epoch   func() control.Epoch
	Witness reading.Witness
	Now     func() time.Time
}

// Reader reads the feed, for all tenants. It keeps the newest blocks in memory, so that many readers of the feed's end cost
// one query. Its methods may be called from any goroutine.
type Reader struct {
	p Ports

	mu      sync.Mutex
	tails   []tail
	first   map[event.Partition]int64
	firstAt time.Time
	audit   auditTail
	// auditHead is the head of the audit log, as of auditAt.
	auditHead int64
	auditAt   time.Time
}

// tail are the blocks of a partition that are kept.
type tail struct {
	mu     sync.Mutex
	blocks map[int64]*decoded
	clock  int64
}

type decoded struct {
	items []Item
	bytes int   // of the body that are decoded
	upTo  int64 // it has all items before this index
	used  int64
}

// NewReader returns a reader that keeps nothing yet.
func NewReader(p Ports) *Reader {
	r := &Reader{p: p, tails: make([]tail, p.Log.Partitions())}
	for i := range r.tails {
		r.tails[i].blocks = map[int64]*decoded{}
	}
	return r
}

// Begin is the cursor of the first that the feed can tell.
func (r *Reader) Begin(ctx context.Context) (Cursor, error) {
	first, err := r.begins(ctx, true)
	if err != nil {
		return Cursor{}, err
	}
	c := Cursor{Epoch: r.epoch(), Next: make([]int64, r.p.Log.Partitions())}
	for p := range c.Next {
		c.Next[p] = first[event.Partition(p)]
	}
	return c, nil
}

// Head is the cursor of now: before it is what the views have, and all that was recorded of exports.
func (r *Reader) Head(ctx context.Context) (Cursor, error) {
	c := Cursor{Epoch: r.epoch(), Next: make([]int64, r.p.Log.Partitions())}
	for p, n := range r.p.Views.Folded() {
		if int(p) < len(c.Next) && p >= 0 {
			c.Next[p] = n
		}
	}
	var err error
	_, c.Audit, err = r.p.Log.Read(ctx, event.AuditPartition, 0, 0)
	return c, err
}

// Resume is the cursor in the present epoch that goes on where a cursor stood that is of an ended epoch, or from before what the feed
// tells: of what the ledger lost it tells what took its place.
func (r *Reader) Resume(ctx context.Context, old Cursor) (Cursor, error) {
	c, err := r.Begin(ctx)
	if err != nil {
		return c, err
	}
	e := r.p.Epoch()
	lost := map[string]int64{}
	if e.Began != nil && e.Number > old.Epoch {
		for _, l := range e.Began.Lost {
			lost[l.Partition] = l.From
		}
	}
	from := func(p event.Partition, next int64) int64 {
		_, head, err2 := r.p.Log.Read(ctx, p, 0, 0)
		if err2 != nil {
			err = err2
		}
		if n, ok := lost[p.String()]; ok {
			head = min(head, n)
		}
		return min(next, head)
	}
	for p := range c.Next {
		if p < len(old.Next) {
			c.Next[p] = max(c.Next[p], from(event.Partition(p), old.Next[p]))
		}
	}
	c.Audit = from(event.AuditPartition, old.Audit)
	return c, err
}

func (r *Reader) epoch() int { return r.p.Epoch().Number }

// begins is where the feed begins, as of at most firstEvery ago.
func (r *Reader) begins(ctx context.Context, anew bool) (map[event.Partition]int64, error) {
	r.mu.Lock()
	first, at := r.first, r.firstAt
	r.mu.Unlock()
	if now := r.p.Now(); first != nil && !anew && now.Sub(at) < firstEvery {
		return first, nil
	}
	first, err := r.p.Views.FeedFirst(ctx)
	if err == nil {
		r.mu.Lock()
		r.first, r.firstAt = first, r.p.Now()
		r.mu.Unlock()
	}
	return first, err
}

// fits says whether a cursor can be read from: nil, ErrCursor or ErrGone.
func (r *Reader) fits(ctx context.Context, c Cursor) error {
	if len(c.Next) != r.p.Log.Partitions() || c.Epoch > r.epoch() {
		return ErrCursor
	}
	if c.Epoch < r.epoch() {
		return fmt.Errorf("%w: it is of epoch %d, and a recovery has begun epoch %d", ErrGone, c.Epoch, r.epoch())
	}
	first, err := r.begins(ctx, false)
	if err != nil {
		return err
	}
	for p, next := range c.Next {
		if next < first[event.Partition(p)] {
			return fmt.Errorf("%w: partition %s is told from %d on", ErrGone, event.Partition(p), first[event.Partition(p)])
		}
	}
	return nil
}

// Read returns the items of a tenant after a cursor, at most limit, and the cursor after what was looked at. Of each partition they are
// in order. It looks at a bounded number of items of all tenants: more says that it stopped before the end. The error is ErrGone for
// a cursor of an ended epoch, or from before what the feed tells, and ErrCursor for one of another ledger.
func (r *Reader) Read(ctx context.Context, tenant string, after Cursor, limit int) (items []Item, next Cursor, more bool, err error) {
	if err := r.fits(ctx, after); err != nil {
		return nil, after, false, err
	}
	next = Cursor{after.Epoch, slices.Clone(after.Next), after.Audit}
	folded := r.p.Views.Folded()
	var behind []int
	for p, n := range next.Next {
		if folded[event.Partition(p)] > n {
			behind = append(behind, p)
		}
	}
	// Each partition has its share of the page, and in the second turn what the others left of theirs.
	for range 2 {
		var further []int
		for i, p := range behind {
			quota := (limit - len(items)) / (len(behind) - i)
			if quota <= 0 { // what one event tells is not divided, so a page may be more than full
				further = append(further, p)
				continue
			}
			found, upTo, err := r.partition(ctx, event.Partition(p), tenant, next.Next[p], folded[event.Partition(p)], quota)
			if err != nil {
				return nil, after, false, err
			}
			items, next.Next[p] = append(items, found...), upTo
			if upTo < folded[event.Partition(p)] {
				further = append(further, p)
			}
		}
		behind = further
	}
	more = len(behind) > 0
	found, upTo, all, err := r.exports(ctx, tenant, after.Audit, max(limit-len(items), 0))
	if err != nil {
		return nil, after, false, err
	}
	next.Audit = upTo
	return append(items, found...), next, more || !all, nil
}

// partition returns items of a tenant from an index on and before folded, and up to where it has looked.
func (r *Reader) partition(ctx context.Context, p event.Partition, tenant string, from, folded int64, limit int) (items []Item, upTo int64, err error) {
	t := &r.tails[p]
	t.mu.Lock()
	defer t.mu.Unlock()
	first := BlockOf(from)
	upTo = from
	for n := first; n < first+mostBlocks && n*blockEvents < folded; n++ {
		end := min((n+1)*blockEvents, folded)
		b := t.blocks[n]
		if b == nil || b.upTo < end {
			if err := r.fill(ctx, p, n); err != nil {
				return nil, from, err
			}
			if b = t.blocks[n]; b == nil {
				return items, upTo, nil // the partition is made anew, and is not so far yet
			}
		}
		t.clock++
		b.used = t.clock
		end = min(end, b.upTo)
		for i := range b.items {
			x := &b.items[i]
			if x.Index < from || x.Index >= end || x.Tenant != tenant {
				continue
			}
			if len(items) >= limit && x.Index != items[len(items)-1].Index {
				return items, x.Index, nil // what one event tells is not divided
			}
			items = append(items, *x)
		}
		upTo = max(upTo, end)
		if end < min((n+1)*blockEvents, folded) {
			break
		}
	}
	return items, upTo, nil
}

// fill reads blocks of a partition from n on, and keeps what it has decoded.
func (r *Reader) fill(ctx context.Context, p event.Partition, n int64) error {
	t := &r.tails[p]
	blocks, next, err := r.p.Views.FeedBlocks(ctx, p, n, keptBlocks/2)
	if err != nil {
		return err
	}
	whole := n + keptBlocks/2 // without a row up to here, blocks are empty
	if len(blocks) == keptBlocks/2 {
		whole = min(whole, blocks[len(blocks)-1].Number+1)
	}
	for k := n; k < whole && k*blockEvents < next; k++ {
		var body []byte
		if len(blocks) > 0 && blocks[0].Number == k {
			body, blocks = blocks[0].Body, blocks[1:]
		}
		b := t.blocks[k]
		if b == nil {
			t.evict()
			b = &decoded{used: t.clock}
			t.blocks[k] = b
		}
		if b.bytes > len(body) {
			continue // the partition is made anew, and what is kept is what it will have
		}
		more, err := decodeItems(p, k, body[b.bytes:])
		if err != nil {
			return err
		}
		b.items, b.bytes, b.upTo = append(b.items[:len(b.items):len(b.items)], more...), len(body), max(b.upTo, min((k+1)*blockEvents, next))
	}
	return nil
}

// evict makes room for one more block.
func (t *tail) evict() {
	for len(t.blocks) >= keptBlocks {
		oldest := int64(-1)
		for n, b := range t.blocks {
			if oldest < 0 || b.used < t.blocks[oldest].used {
				oldest = n
			}
		}
		delete(t.blocks, oldest)
	}
}

// At returns the items of a tenant at places, in their order; the zero Item where there is none.
func (r *Reader) At(ctx context.Context, tenant string, places []Place) ([]Item, error) {
	out := make([]Item, len(places))
	folded := r.p.Views.Folded()
	for i, at := range places {
		var found []Item
		var err error
		switch {
		case at.Partition == event.AuditPartition:
			found, err = r.exportAt(ctx, tenant, at.Index)
		case at.Partition >= 0 && int(at.Partition) < len(r.tails):
			var upTo int64
			if folded[at.Partition] > at.Index {
				found, upTo, err = r.partition(ctx, at.Partition, tenant, at.Index, at.Index+1, blockEvents)
			}
			if err == nil && upTo <= at.Index {
				err = ErrBehind
			}
		}
		if err != nil {
			return nil, err
		}
		if k := slices.IndexFunc(found, func(x Item) bool { return x.Place == at }); k >= 0 {
			out[i] = found[k]
		}
	}
	return out, nil
}

// ErrBehind is the error for a place that the views have not reached, as while they are made anew.
var ErrBehind = errors.New("the views have not reached that place of the feed yet")

// Wait returns when there may be more after a cursor, or when ctx is done.
func (r *Reader) Wait(ctx context.Context, after Cursor) { r.p.Views.WaitBeyond(ctx, after.Next) }
