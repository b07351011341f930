package notify

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
)

// queue is the step of one endpoint. It has no clock, does no I/O and starts no goroutine: each method takes the time. What
// it wants done is asked with wantsRead, next, wantsCommit, wantsPage and
// doneReplays, and health.state.
//
// Nothing that was written counts as durable before committed. After failed the queue believes nothing: it wants to be
// loaded anew, and keeps only what it observed itself, which are the answers of calls.
type queue struct {
	endpoint *Endpoint
	shelf
	health

	cursor  feed.Cursor
	more    bool // there may be more to read
	reading bool

	broken     bool      // a commit failed
	committing bool      // a commit is under way
	written    int64     // the highest number in that commit
	movedSince time.Time // the cursor waits for its commit since; zero: it does not
	unsaved    []outcome // answers whose commit is not known to be durable; the first saving of them are in the commit
	saving     int

	replays []*replay
}

// shelf is what is open of an endpoint, in its lanes and in the batches as they are kept.
type shelf struct {
	lanes         lanes
	pages         map[int64]*page // by pageOf: those with open deliveries, and the last one
	flights       map[int64]*entry
	last, durable int64 // the highest number given, and the highest that is durable
	fresh         []*entry
	open          int
	dirtySince    time.Time // an outcome waits for its commit since; zero: none does
}

// health is what the answers say of the whole endpoint.
type health struct {
	failures int       // in a row, in this process
	failing  time.Time // as Progress.Failing
	probe    time.Time // the next probe is not before
	hold     time.Time // the endpoint asked for no call before
	state    State     // what it should become; "": nothing. change follows
	why      string
	stats    counts
}

// outcome is an answer.
type outcome struct {
	seq      int64
	attempt  int32 // its number among the attempts of the delivery
	answer   string
	at, next int64
	state    DeliveryState
}

// counts count since the process began.
type counts struct{ delivered, failed, dead, attempts int64 }

// attempt is a call that is to be made.
type attempt struct {
	seq     int64
	place   feed.Place
	event   event.ID
	subject event.Pseudonym
}

// newQueue makes the queue of an endpoint from what the store has: its progress, the batches with open deliveries in order,
// and its last batch, which may be among them.
func newQueue(e *Endpoint, p Progress, batches []Batch, now time.Time) (*queue, error) {
	q := &queue{endpoint: e}
	return q, q.load(p, batches, now)
}

// load replaces everything but what was observed: calls that are under way, and answers that are not durable.
func (q *queue) load(p Progress, batches []Batch, now time.Time) error {
	cursor, err := feed.DecodeCursor(p.Cursor)
	if err != nil && len(p.Cursor) > 0 {
		return fmt.Errorf("the progress of an endpoint: %w", err)
	}
	if len(p.Cursor) == 0 {
		if cursor, err = feed.DecodeCursor(q.endpoint.Start); err != nil && len(q.endpoint.Start) > 0 {
			return fmt.Errorf("the start of an endpoint: %w", err)
		}
	}
	flights := q.flights
	q.shelf = shelf{lanes: lanes{by: map[event.Pseudonym]*lane{}}, pages: map[int64]*page{}, flights: map[int64]*entry{}, last: p.Last, durable: p.Last}
	q.cursor, q.more, q.broken, q.committing, q.reading, q.movedSince, q.saving = cursor, true, false, false, false, time.Time{}, 0
	if q.failing = p.Failing; !p.Failing.IsZero() {
		q.failures = max(q.failures, probeAfter) // one probe says more
	}
	for _, r := range q.replays {
		r.next, r.written, r.loading = max(r.From, 1), false, false
	}
	for i := range batches {
		if _, err := q.loadPage(&batches[i]); err != nil {
			return err
		}
	}
	q.unsaved = slices.DeleteFunc(q.unsaved, func(o outcome) bool {
		e := q.entry(o.seq)
		if e == nil || e.state != Open || e.attempts >= o.attempt {
			return true // the store has it, or what came after
		}
		q.record(e, &o, now)
		return false
	})
	all := q.sorted()
	for _, pg := range all {
		for _, e := range pg.entries {
			if e.state != Open {
				continue
			}
			if e.lane = q.lanes.of(e.lane.subject); flights[e.seq] != nil && e.lane.flight == nil {
				e.lane.flight, q.flights[e.seq] = e, e
			} else {
				e.lane.put(e)
			}
		}
	}
	for seq, e := range flights {
		if q.flights[seq] == nil { // called, and not open in the store: its lane waits for the answer, which says nothing of it
			called := &entry{seq: seq, lane: q.lanes.of(e.lane.subject)}
			called.lane.flight, q.flights[seq] = called, called
		}
	}
	for _, pg := range all { // in the order of numbers, so that the oldest goes first
		for _, e := range pg.entries {
			if e.state == Open {
				q.lanes.schedule(e.lane, q.durable, now.UnixMilli())
			}
		}
	}
	q.change(q.endpoint, now)
	return nil
}

// loadPage takes a batch into memory.
func (q *shelf) loadPage(b *Batch) (*page, error) {
	all, err := decodeDeliveries(b.Body)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 || len(all) != b.Count || all[0].Seq != b.First || all[len(all)-1].Seq >= pageOf(b.First)+MaxBatch {
		return nil, errBatch
	}
	pg := &page{first: b.First, entries: make([]*entry, len(all), MaxBatch)}
	slab := make([]entry, len(all))
	closed := map[event.Pseudonym]*lane{} // names of closed entries
	for i := range all {
		d, e := &all[i], &slab[i]
		*e = entry{seq: d.Seq, index: d.Place.Index, queued: millis(d.Queued), changed: millis(d.Changed), since: millis(d.Since), next: millis(d.Next),
			event: d.Event, kind: d.Kind, answer: d.Answer, partition: int32(d.Place.Partition), nth: int32(d.Place.Nth),
			attempts: int32(d.Attempts), tries: int32(d.Tries), state: d.State}
		if e.lane = closed[d.Subject]; e.lane == nil {
			e.lane = &lane{subject: d.Subject}
			closed[d.Subject] = e.lane
		}
		pg.entries[i] = e
		pg.count(e.state, 1)
	}
	q.pages[pageOf(pg.first)] = pg
	q.open += pg.open
	return pg, nil
}

// count counts an entry of a state in or out.
func (p *page) count(s DeliveryState, n int) {
	switch s {
	case Open:
		p.open += n
	case Dead:
		p.dead += n
	}
}

func (q *shelf) sorted() []*page {
	out := make([]*page, 0, len(q.pages))
	for _, pg := range q.pages {
		out = append(out, pg)
	}
	slices.SortFunc(out, func(a, b *page) int { return int(a.first - b.first) })
	return out
}

// entry finds a delivery in memory.
func (q *shelf) entry(seq int64) *entry {
	pg := q.pages[pageOf(seq)]
	if pg == nil || seq < pg.first || seq-pg.first >= int64(len(pg.entries)) {
		return nil
	}
	return pg.entries[seq-pg.first]
}

// enabled reports whether deliveries are sent.
func (q *queue) enabled() bool { return q.endpoint.State == Enabled && !q.broken && q.state == "" }

// wantsRead says after which cursor the feed is to be read, and how many items at most. Then one of read and unread follows.
func (q *queue) wantsRead() (after feed.Cursor, limit int, ok bool) {
	limit = min(pageItems, mostOpen-q.open)
	if !q.enabled() || q.reading || !q.more || limit <= 0 || len(q.pages) >= mostPages {
		return feed.Cursor{}, 0, false
	}
	q.reading = true
	return q.cursor, limit, true
}

// unread says that a read failed. It is tried once more when there may be more.
func (q *queue) unread() { q.reading, q.more = false, false }

// resume sets the cursor with which the feed goes on in another epoch.
func (q *queue) resume(after, c feed.Cursor, now time.Time) {
	if !q.reading || !q.cursor.Equal(after) {
		return // the queue was loaded anew meanwhile, and may be further
	}
	q.reading = false
	q.moved(c, now)
}

func (q *queue) moved(c feed.Cursor, now time.Time) {
	if !q.cursor.Equal(c) {
		q.cursor = c
		if q.movedSince.IsZero() {
			q.movedSince = now
		}
	}
}

// read takes what was read after the cursor: those of the items that are for the endpoint get their numbers. references
// are those of the items' messages, in their order; nil unless the endpoint asks for some.
func (q *queue) read(after feed.Cursor, items []feed.Item, references []string, next feed.Cursor, more bool, now time.Time) {
	if !q.reading || !q.cursor.Equal(after) {
		return // the queue was loaded anew meanwhile
	}
	q.reading, q.more = false, more
	slab := make([]entry, len(items))
	for i := range items {
		reference := ""
		if references != nil {
			reference = references[i]
		}
		if q.endpoint.matches(&items[i], reference, references != nil) {
			q.assign(&slab[i], &items[i], now)
		}
	}
	q.moved(next, now)
}

// matches reports whether an endpoint is to be told an item. Without known its reference is not looked at.
func (e *Endpoint) matches(it *feed.Item, reference string, known bool) bool {
	if len(e.Types) > 0 && !slices.Contains(e.Types, it.Kind) {
		return false
	}
	if it.Message.IsZero() {
		return true
	}
	return (len(e.Programs) == 0 || slices.Contains(e.Programs, it.Program)) && (!known || len(e.References) == 0 || slices.Contains(e.References, reference))
}

// assign gives an item the next number.
func (q *shelf) assign(e *entry, it *feed.Item, now time.Time) {
	q.last++
	ms := now.UnixMilli()
	*e = entry{seq: q.last, index: it.Index, queued: ms, changed: ms, since: ms, next: ms, event: it.Event, kind: it.Kind,
		partition: int32(it.Partition), nth: int32(it.Nth), lane: q.lanes.of(it.Subject)}
	pg := q.pages[pageOf(q.last)]
	if pg == nil {
		pg = &page{first: q.last, entries: make([]*entry, 0, MaxBatch)}
		q.pages[pageOf(q.last)] = pg
	}
	pg.entries = append(pg.entries, e)
	pg.open++
	pg.dirty = true
	q.open++
	e.lane.put(e)
	q.fresh = append(q.fresh, e)
}

// next is the next call to make now, if there is one. Then answered or lost follows with its number.
func (q *queue) next(now time.Time) (attempt, bool) {
	if !q.enabled() || len(q.flights) >= mostFlights || q.hold.After(now) ||
		q.failures >= probeAfter && (len(q.flights) > 0 || q.probe.After(now)) {
		return attempt{}, false
	}
	ms := now.UnixMilli()
	q.lanes.mature(q.durable, ms)
	for {
		l := q.lanes.next()
		if l == nil {
			return attempt{}, false
		}
		if l.flight != nil || l.head == nil || l.head.seq > q.durable || l.head.next > ms {
			q.lanes.schedule(l, q.durable, ms)
			continue
		}
		e := l.take()
		l.flight, q.flights[e.seq] = e, e
		return attempt{e.seq, e.where(), e.event, l.subject}, true
	}
}

// answered takes what came of a call. chance, from 0 to 1, moves the time of the next one.
func (q *queue) answered(seq int64, a Answer, chance float64, now time.Time) {
	e := q.flights[seq]
	if e == nil {
		return // loaded anew, and the store does not have it open
	}
	a.RetryAfter = min(max(a.RetryAfter, 0), mostRetryAfter)
	ms := now.UnixMilli()
	o := outcome{seq: seq, attempt: e.attempts + 1, answer: a.Text, at: ms}
	until := max(e.since, millis(q.endpoint.Since)) + giveUpAfter.Milliseconds()
	switch {
	case a.Status >= 200 && a.Status < 300:
		o.state = Delivered
	case ms >= until:
		o.state = Dead
	default:
		o.next = max(min(ms+backoff(int(e.tries)+1, chance).Milliseconds(), until), ms+a.RetryAfter.Milliseconds())
	}
	q.judge(&a, o.state, chance, q.endpoint.State == Enabled, now)
	if q.settle(e, &o, now) {
		q.unsaved = append(q.unsaved, o)
	}
}

// lost says that the item of a delivery is in the ledger no more.
func (q *queue) lost(seq int64, now time.Time) {
	if e := q.flights[seq]; e != nil {
		o := outcome{seq: seq, attempt: e.attempts + 1, answer: "lost with the ledger's tail", at: now.UnixMilli(), state: Dead}
		q.stats.dead++
		if q.settle(e, &o, now) {
			q.unsaved = append(q.unsaved, o)
		}
	}
}

// unsent says that a call was not made; it is tried once more after a pause.
func (q *queue) unsent(seq int64, pause time.Duration, now time.Time) {
	e := q.flights[seq]
	if e == nil {
		return
	}
	delete(q.flights, seq)
	e.lane.flight = nil
	if q.entry(seq) == e {
		e.next = now.Add(pause).UnixMilli()
		e.lane.put(e)
	}
	q.lanes.schedule(e.lane, q.durable, now.UnixMilli())
}

// judge draws what an answer says of the whole endpoint.
func (h *health) judge(a *Answer, became DeliveryState, chance float64, enabled bool, now time.Time) {
	h.stats.attempts++
	if became == Delivered {
		h.stats.delivered++
		h.failures, h.failing, h.probe = 0, time.Time{}, time.Time{}
		return
	}
	h.stats.failed++
	if became == Dead {
		h.stats.dead++
	}
	h.failures++
	if h.failing.IsZero() {
		h.failing = event.Millis(now)
	}
	if h.failures >= probeAfter {
		h.probe = now.Add(min(backoff(h.failures-probeAfter+1, chance), mostProbePause))
	}
	if at := now.Add(a.RetryAfter); (a.Status == 429 || a.Status == 503) && a.RetryAfter > 0 && at.After(h.hold) {
		h.hold = at
	}
	switch {
	case h.state != "" || !enabled:
	case a.Status == 410:
		h.state, h.why = Disabled, "it answered 410 Gone"
	case now.Sub(h.failing) >= pauseAfter:
		h.state, h.why = Paused, "no attempt has succeeded for "+strconv.Itoa(int(pauseAfter/time.Hour))+" hours; the last answer was: "+a.Text
	}
}

// settle takes the outcome of a call that was under way. It returns false if the delivery is not the one that was called.
func (q *shelf) settle(e *entry, o *outcome, now time.Time) bool {
	delete(q.flights, e.seq)
	e.lane.flight = nil
	ours := q.entry(e.seq) == e
	if ours {
		if q.record(e, o, now); e.state == Open {
			e.lane.put(e)
		}
	}
	q.lanes.schedule(e.lane, q.durable, now.UnixMilli())
	return ours
}

// record writes an outcome into an open delivery, which is in no lane.
func (q *shelf) record(e *entry, o *outcome, now time.Time) {
	pg := q.pages[pageOf(e.seq)]
	e.attempts, e.changed, e.answer, e.next = o.attempt, o.at, o.answer, o.next
	e.tries++
	if o.state != Open {
		e.state = o.state
		q.open--
		pg.count(Open, -1)
		pg.count(e.state, 1)
	}
	q.dirty(pg, now)
}

func (q *shelf) dirty(pg *page, now time.Time) {
	pg.dirty = true
	if q.dirtySince.IsZero() {
		q.dirtySince = now
	}
}

// wantsCommit says from when on a commit is wanted; a commit of others may take along what waits before.
func (q *queue) wantsCommit(now time.Time) (from time.Time, waits bool) {
	if q.broken || q.committing {
		return time.Time{}, false
	}
	switch {
	case len(q.fresh) > 0:
		return now, true
	case !q.dirtySince.IsZero():
		return q.dirtySince.Add(commitWithin), true
	case slices.ContainsFunc(q.replays, func(r *replay) bool { return !r.done && r.passed(q.durable) }):
		return now, true
	case !q.movedSince.IsZero():
		return q.movedSince.Add(moveWithin), true
	}
	return time.Time{}, false
}

// write is what is to be committed. Then one of committed and failed follows.
func (q *queue) write() Write {
	q.committing, q.written, q.saving = true, q.last, len(q.unsaved)
	q.dirtySince, q.movedSince = time.Time{}, time.Time{}
	w := Write{Endpoint: q.endpoint.ID, Progress: &Progress{Cursor: q.cursor.Encode(), Last: q.last, Failing: q.failing}}
	for _, pg := range q.pages {
		if pg.dirty {
			pg.dirty = false
			w.Batches = append(w.Batches, pg.batch())
		}
	}
	slices.SortFunc(w.Batches, func(a, b Batch) int { return int(a.First - b.First) })
	for _, r := range q.replays {
		r.written = r.passed(q.durable)
	}
	return w
}

// committed says that the last write is durable.
func (q *queue) committed(now time.Time) {
	q.committing, q.durable = false, q.written
	n := 0
	for n < len(q.fresh) && q.fresh[n].seq <= q.durable {
		n++
	}
	for _, e := range q.fresh[:n] {
		q.lanes.schedule(e.lane, q.durable, now.UnixMilli())
	}
	if q.fresh = slices.Delete(q.fresh, 0, n); len(q.fresh) == 0 {
		q.fresh = nil
	}
	q.unsaved = slices.Delete(q.unsaved, 0, q.saving)
	q.saving = 0
	for first, pg := range q.pages {
		if pg.open == 0 && !pg.dirty && pg.first+int64(len(pg.entries)) == first+MaxBatch {
			delete(q.pages, first)
		}
	}
	for _, r := range q.replays {
		r.done = r.done || r.written
	}
}

// failed says that the last write may or may not be durable, so that nothing is known. The queue stands still until load.
func (q *queue) failed() { q.committing, q.broken = false, true }

// change takes the endpoint as it is now. Where it was enabled after a delivery was queued, the delivery's time begins anew.
func (q *queue) change(e *Endpoint, now time.Time) {
	was := q.endpoint
	q.endpoint = e
	if e.State != Enabled || !e.Since.Equal(was.Since) {
		q.state, q.why = "", ""
	}
	q.replays = slices.DeleteFunc(q.replays, func(r *replay) bool {
		return !slices.ContainsFunc(e.Replays, func(x Replay) bool { return x.ID == r.ID })
	})
	for _, x := range e.Replays {
		if !slices.ContainsFunc(q.replays, func(r *replay) bool { return r.ID == x.ID }) {
			q.replays = append(q.replays, &replay{Replay: x, next: max(x.From, 1)})
		}
	}
	if e.State != Enabled || q.broken {
		return
	}
	since, ms := millis(e.Since), now.UnixMilli()
	if !e.Since.Equal(was.Since) {
		q.failures, q.failing, q.probe, q.hold = 0, time.Time{}, time.Time{}, time.Time{}
	} else if q.failing.Before(e.Since) { // as it was kept
		q.failures, q.failing, q.probe = 0, time.Time{}, time.Time{}
	}
	q.more = true
	for _, pg := range q.sorted() {
		for _, e := range pg.entries {
			if e.state == Open && e.since < since {
				e.since, e.tries, e.next = since, 0, min(e.next, ms)
				q.dirty(pg, now)
				q.lanes.schedule(e.lane, q.durable, ms)
			}
		}
	}
}

// due is when next may have a call although nothing else happens; zero: never.
func (q *queue) due(now time.Time) time.Time {
	if !q.enabled() || len(q.flights) >= mostFlights {
		return time.Time{}
	}
	q.lanes.mature(q.durable, now.UnixMilli())
	call := now
	if q.lanes.first == len(q.lanes.ready) {
		call = instant(q.lanes.earliest())
	}
	if call.IsZero() {
		return call
	}
	if call.Before(q.hold) {
		call = q.hold
	}
	if q.failures >= probeAfter {
		if len(q.flights) > 0 {
			return time.Time{}
		}
		if call.Before(q.probe) {
			call = q.probe
		}
	}
	return call
}

// oldest is when the oldest open delivery was queued; zero: none is open. It looks at every page in memory.
func (q *shelf) oldest() (at time.Time) {
	for _, pg := range q.sorted() {
		for _, e := range pg.entries {
			if e.state == Open {
				return instant(e.queued)
			}
		}
	}
	return at
}
