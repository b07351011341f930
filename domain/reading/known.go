package reading

import (
	"context"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// knowWithin bounds how long a check waits until the views have read what was in the log when it was asked.
const knowWithin = 2 * time.Second

// Unknown says why it is not known whether a recipient opted out.
type Unknown string

const (
	// UnknownBehind: the views have not read everything that was in the log when the question came.
	UnknownBehind Unknown = "behind"
	// UnknownLog: the log does not say how far it goes.
	UnknownLog Unknown = "ledger_unreachable"
)

// heads asks the log, for all partitions at once, how far they go: an opt-out that was acknowledged before
// this call lies before its partition's head. A partition that is not in the answer could not be asked.
func (p *Ports) heads(ctx context.Context, partitions map[event.Partition]bool) map[event.Partition]int64 {
	heads := make(map[event.Partition]int64, len(partitions))
	each(partitions, func(n event.Partition, mu *sync.Mutex) {
		_, head, err := p.Log.Read(ctx, n, 0, 0)
		if err == nil && ctx.Err() == nil {
			mu.Lock()
			heads[n] = head
			mu.Unlock()
		}
	})
	return heads
}

// reach waits until the views have read up to the heads, or ctx is done.
func (p *Ports) reach(ctx context.Context, heads map[event.Partition]int64) {
	each(heads, func(n event.Partition, _ *sync.Mutex) {
		if head := heads[n]; head > 0 {
			_ = p.hurry(ctx, event.Position{Partition: n, Index: head - 1}) // what is read then says how far they are
		}
	})
}

// hurry waits for a position, and lets the node that applies it write it to the views at once.
func (p *Ports) hurry(ctx context.Context, at event.Position) error {
	if p.Hurry != nil {
		p.Hurry(at)
	}
	return p.Views.WaitFor(ctx, at)
}

// each runs f for all keys at the same time, and waits for all.
func each[V any](partitions map[event.Partition]V, f func(p event.Partition, mu *sync.Mutex)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for p := range partitions {
		wg.Go(func() { f(p, &mu) })
	}
	wg.Wait()
}
