package notify

import (
	"errors"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// replay is a Replay in progress.
type replay struct {
	Replay
	next    int64 // the number from which on nothing was looked at yet
	loading bool  // the batch with next is read
	written bool  // the last of it is in a commit that is under way
	done    bool  // all of it is durable
}

// pass ends a replay's look at the batch that has next.
func (r *replay) pass() { r.next, r.loading = pageOf(r.next)+MaxBatch, false }

// wantsPage is the number of a delivery whose batch is to be loaded for a replay. Then page follows, with an error
// if it could not be read.
func (q *queue) wantsPage(now time.Time) (seq int64, ok bool) {
	for _, r := range q.replays {
		for r.next <= min(r.To, q.durable) && !q.broken && !r.loading {
			pg := q.pages[pageOf(r.next)]
			if (pg == nil || pg.open == 0) && (q.open+MaxBatch > mostOpen || len(q.pages) >= mostPages) {
				break
			}
			if pg == nil {
				r.loading = true
				return r.next, true
			}
			q.reopen(r, pg, now)
		}
	}
	return 0, false
}

// page takes a batch for a replay; nil where there is none with that number any more.
func (q *queue) page(seq int64, b *Batch, err error, now time.Time) error {
	for _, r := range q.replays {
		if !r.loading || r.next != seq {
			continue
		}
		if r.loading = false; err != nil {
			return err
		}
		pg := q.pages[pageOf(seq)]
		if pg == nil && b != nil && pageOf(b.First) == pageOf(seq) {
			if pg, err = q.loadPage(b); err != nil {
				r.pass()
				return errors.Join(errors.New("a replay passes over a batch"), err)
			}
		}
		if pg == nil {
			r.pass()
			continue
		}
		q.reopen(r, pg, now)
	}
	return nil
}

// reopen opens what a replay asks for in one page.
func (q *shelf) reopen(r *replay, pg *page, now time.Time) {
	ms := now.UnixMilli()
	for _, e := range pg.entries {
		if e.seq < r.next || e.seq > r.To || e.seq > q.durable || e.state == Open || r.Dead && e.state != Dead {
			continue
		}
		pg.count(e.state, -1)
		pg.open++
		q.open++
		e.state, e.since, e.changed, e.next, e.tries = Open, ms, ms, ms, 0
		e.lane = q.lanes.of(e.lane.subject)
		e.lane.put(e)
		q.lanes.schedule(e.lane, q.durable, ms)
	}
	r.pass()
	q.dirty(pg, now)
}

// passed reports whether nothing is to be opened for it any more.
func (r *replay) passed(durable int64) bool { return r.next > min(r.To, durable) && !r.loading }

// doneReplays are the replays that are durable; the endpoint's body is to lose them. change follows.
func doneReplays(q *queue) (out []event.ID) {
	for _, r := range q.replays {
		if r.done {
			out = append(out, r.ID)
		}
	}
	return out
}
