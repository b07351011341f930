package endpoints

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/notify"
)

// standing is what the store has of an endpoint for which something is to be written.
type standing struct {
	number int64 // the endpoint's short name
	lease  int64 // 0: this process does not hold it
	last   int64
}

// row is a batch that is to be written.
type row struct {
	number int64 // the endpoint's short name
	notify.Batch
	was int // how many deliveries it had before; 0: it is new
}

// told is a progress that is to be written.
type told struct {
	number int64 // the endpoint's short name
	*notify.Progress
}

// plan is what a write writes, for all endpoints whose leases hold.
type plan struct {
	added, rewritten []row
	progress         []told
}

// Write is part of notify.Store. All of it is one transaction. The error is ErrNumbers where a batch or the
// progress of one endpoint does not fit what the store has: a new batch begins with the number after the last one;
// a batch that is there keeps its numbers, and only the last one grows; progress names the last number. The same write may be repeated.
func (s *Store) Write(ctx context.Context, w []notify.Write) (lost []event.ID, err error) {
	if len(w) == 0 {
		return nil, nil
	}
	if err := check(w); err != nil {
		return nil, err
	}
	err = s.engine.write(ctx, func(ctx context.Context, q querier, _ bool) error {
		lost = nil
		have, err := s.engine.standing(ctx, q, w)
		if err != nil {
			return err
		}
		var p plan
		for i := range w {
			is, there := have[w[i].Endpoint]
			if !there || is.lease != w[i].Lease || is.lease == 0 {
				lost = append(lost, w[i].Endpoint)
				continue
			}
			if err := p.add(&w[i], is); err != nil {
				return err
			}
		}
		return s.engine.apply(ctx, q, &p)
	})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// check checks what can be checked of a write without the store.
func check(w []notify.Write) error {
	seen := make(map[event.ID]bool, len(w))
	for i := range w {
		if seen[w[i].Endpoint] {
			return fmt.Errorf("a write has the endpoint %s twice", w[i].Endpoint)
		}
		seen[w[i].Endpoint] = true
		for j := range w[i].Batches {
			b := &w[i].Batches[j]
			if b.First < 1 || b.Count < 1 || b.Count > notify.MaxBatch || b.Open < 0 || b.Dead < 0 || b.Open+b.Dead > b.Count || len(b.Body) > maxBody {
				return fmt.Errorf("a batch of the endpoint %s is malformed: from %d on %d deliveries, %d of them open and %d dead, in %d bytes", w[i].Endpoint, b.First, b.Count, b.Open, b.Dead, len(b.Body))
			}
		}
	}
	return nil
}

// add plans the write of one endpoint.
func (p *plan) add(w *notify.Write, is standing) error {
	last := is.last
	refuse := func(format string, a ...any) error {
		return fmt.Errorf("%w: the endpoint %s has the numbers up to %d, and %s. Nothing was written", ErrNumbers, w.Endpoint, last, fmt.Sprintf(format, a...))
	}
	batches := w.Batches
	byNumber := func(a, b notify.Batch) int { return cmp.Compare(a.First, b.First) }
	if !slices.IsSortedFunc(batches, byNumber) {
		batches = slices.SortedFunc(slices.Values(batches), byNumber)
	}
	now := last     // the last number as of what is planned
	end := int64(0) // of the batch before
	for _, b := range batches {
		to := b.First + int64(b.Count) - 1
		switch {
		case b.First <= end:
			return refuse("two batches have the number %d", b.First)
		case b.First > now+1:
			return refuse("a batch begins with %d", b.First)
		case b.First == now+1:
			p.added = append(p.added, row{is.number, b, 0})
		case to < last: // it ends where it did: the next batch begins there
			p.rewritten = append(p.rewritten, row{is.number, b, b.Count})
		default: // it is the last one
			p.rewritten = append(p.rewritten, row{is.number, b, int(last - b.First + 1)})
		}
		end, now = to, max(now, to)
	}
	switch {
	case w.Progress == nil && now != last:
		return refuse("batches up to %d come without the progress", now)
	case w.Progress == nil:
		return nil
	case w.Progress.Last < last:
		return refuse("the progress would go back to %d", w.Progress.Last)
	case w.Progress.Last != now:
		return refuse("the progress says %d, with batches up to %d", w.Progress.Last, now)
	}
	p.progress = append(p.progress, told{is.number, w.Progress})
	return nil
}

// unfit is the error for batches that are not there with the numbers that a write says.
func unfit(what string) error {
	return fmt.Errorf("%w: %s is not in the store with these numbers. Nothing was written", ErrNumbers, what)
}
