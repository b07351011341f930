package notify

import (
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
)

var begin = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)

// bed is a queue whose commits and reads do what they should.
type bed struct {
	t    testing.TB
	q    *queue
	now  time.Time
	e    Endpoint
	next int64 // the index of the next item
}

func newBed(t testing.TB) *bed {
	b := &bed{t: t, now: begin, e: Endpoint{ID: event.ID{1}, Tenant: "acme", State: Enabled, Since: begin}}
	q, err := newQueue(&b.e, Progress{}, nil, b.now)
	if err != nil {
		t.Fatal(err)
	}
	b.q = q
	return b
}

// add reads items of recipients and commits them.
func (b *bed) add(subjects ...byte) {
	b.t.Helper()
	items := make([]feed.Item, len(subjects))
	for i, s := range subjects {
		items[i] = feed.Item{Kind: feed.MessageStatus, Subject: event.Pseudonym{s}, Event: event.ID{2, byte(b.next >> 8), byte(b.next)}}
		items[i].Index = b.next
		b.next++
	}
	b.q.more = true
	after, _, ok := b.q.wantsRead()
	if !ok {
		b.t.Fatal("the queue does not read")
	}
	b.q.read(after, items, nil, feed.Cursor{Next: []int64{b.next}}, false, b.now)
	b.commit()
}

func (b *bed) commit() Write {
	w := b.q.write()
	b.q.committed(b.now)
	return w
}

// due is when there is a call or a commit to make.
func (b *bed) due() time.Time {
	at := b.q.due(b.now)
	if from, waits := b.q.wantsCommit(b.now); waits && (at.IsZero() || from.Before(at)) {
		at = from
	}
	return at
}

// call makes the next call; 0: there is none now.
func (b *bed) call() int64 {
	a, _ := b.q.next(b.now)
	return a.seq
}

func (b *bed) calls() (out []int64) {
	for n := b.call(); n != 0; n = b.call() {
		out = append(out, n)
	}
	return out
}

func (b *bed) answer(seq int64, a Answer) { b.q.answered(seq, a, 0.5, b.now) }

var failure, success = Answer{Status: 500, Text: "500"}, Answer{Status: 200, Text: "200"}

// One that fails holds back its recipient alone, and the rest goes on in order.
func TestOneRecipientIsHeldBack(t *testing.T) {
	b := newBed(t)
	b.add(1, 1, 2, 2, 3)
	if got := b.calls(); !slices.Equal(got, []int64{1, 3, 5}) {
		t.Fatalf("called %v", got)
	}
	b.answer(1, failure)
	b.answer(3, success)
	b.answer(5, success)
	if got := b.calls(); !slices.Equal(got, []int64{4}) {
		t.Fatalf("called %v", got)
	}
	b.answer(4, success)
	if b.now = b.now.Add(5*time.Second - 1e6); b.call() != 0 {
		t.Fatal("repeated too early")
	}
	if b.now = b.now.Add(1e6); b.call() != 1 {
		t.Fatal("not repeated")
	}
	b.answer(1, success)
	if b.call() != 2 {
		t.Fatal("the next one did not go on")
	}
	b.answer(2, success)
	if b.q.open != 0 || len(b.q.lanes.by) != 0 || b.q.stats != (counts{delivered: 5, failed: 1, attempts: 6}) {
		t.Errorf("%d open, %d lanes, %+v", b.q.open, len(b.q.lanes.by), b.q.stats)
	}
}

// A delivery is tried for three days, in growing pauses, and is then dead; its recipient's next one goes on.
func TestGivenUp(t *testing.T) {
	b := newBed(t)
	b.add(1, 1)
	var pauses []time.Duration
	last := begin
	for b.q.entry(1).state == Open {
		at := b.due()
		if at.IsZero() {
			t.Fatal("nothing is due")
		}
		b.now = at
		if w, waits := b.q.wantsCommit(b.now); waits && !w.After(b.now) {
			b.commit()
		}
		if n := b.call(); n == 1 {
			pauses, last = append(pauses, b.now.Sub(last)), b.now
			b.answer(9, failure) // of no call
			b.q.failing = time.Time{}
			b.answer(1, failure)
			b.q.failures = 1 // others succeed
		} else if n != 0 {
			t.Fatalf("called %d", n)
		}
	}
	want := append([]time.Duration{0}, retries[:]...)
	if len(pauses) < len(want)+4 || !slices.Equal(pauses[:len(want)], want) || pauses[len(want)] != 12*time.Hour {
		t.Errorf("pauses %v", pauses)
	}
	if d := b.now.Sub(begin); d < giveUpAfter || d > giveUpAfter+time.Minute {
		t.Errorf("given up after %v", d)
	}
	if b.call() != 2 || b.q.stats.dead != 1 {
		t.Errorf("the next did not go on: %+v", b.q.stats)
	}
}

func TestBackoffMovesByAFifth(t *testing.T) {
	for i, d := range retries {
		if lo, hi := backoff(i+1, 0), backoff(i+1, 1); lo != d*8/10 || hi < d*12/10-time.Millisecond || hi > d*12/10+time.Millisecond {
			t.Errorf("%v: %v to %v", d, lo, hi)
		}
	}
	if backoff(99, 0.5) != 12*time.Hour || backoff(0, 0.5) != 5*time.Second {
		t.Error("outside the table")
	}
}

// Retry-After is honoured: of a 429 and a 503 by all of the endpoint, of another answer by the delivery, and never for more than a day.
func TestRetryAfter(t *testing.T) {
	b := newBed(t)
	b.add(1, 2)
	b.calls()
	b.answer(1, Answer{Status: 500, RetryAfter: time.Hour, Text: "500"})
	b.answer(2, Answer{Status: 429, RetryAfter: 48 * time.Hour, Text: "429"})
	b.add(3)
	if b.now = begin.Add(24*time.Hour - 1e6); b.call() != 0 {
		t.Fatal("called before Retry-After")
	}
	b.now = begin.Add(24 * time.Hour)
	if got := b.calls(); len(got) != 3 {
		t.Fatalf("called %v", got)
	}
	b.q.failing = time.Time{} // a day of failures would pause it
	b.answer(3, Answer{Status: 500, RetryAfter: time.Hour, Text: "500"})
	b.answer(2, success)
	b.answer(1, success)
	if b.now = b.now.Add(time.Hour - 1e6); b.call() != 0 {
		t.Fatal("called before its Retry-After")
	}
	b.now = b.now.Add(1e6)
	if b.call() != 3 {
		t.Fatal("not called")
	}
}

// After ten failures in a row there is one probe at a time, and after a day without success the endpoint is paused. What
// is open then begins anew when it is enabled.
func TestFailingEndpoint(t *testing.T) {
	b := newBed(t)
	all := make([]byte, 200)
	for i := range all {
		all[i] = byte(i + 1)
	}
	b.add(all...)
	first := b.calls()
	if len(first) != mostFlights {
		t.Fatalf("%d calls at a time", len(first))
	}
	for _, n := range first {
		b.answer(n, failure)
	}
	probes := 0
	for b.q.state == "" {
		at := b.due()
		if at.IsZero() {
			t.Fatal("nothing is due")
		}
		b.now = at
		if w, waits := b.q.wantsCommit(b.now); waits && !w.After(b.now) {
			b.commit()
		}
		if got := b.calls(); len(got) > 1 {
			t.Fatalf("%d probes at a time", len(got))
		} else if len(got) == 1 {
			probes++
			b.answer(got[0], failure)
		}
	}
	if b.q.state != Paused || b.now.Sub(begin) < pauseAfter || b.now.Sub(begin) > pauseAfter+15*time.Minute || probes > 2000 {
		t.Fatalf("%s after %v and %d probes", b.q.state, b.now.Sub(begin), probes)
	}
	t.Logf("%d probes in a day", probes)
	if b.call() != 0 {
		t.Fatal("called before it is paused")
	}
	paused := b.e
	paused.State, paused.Since = Paused, b.now
	b.q.change(&paused, b.now)
	if _, _, ok := b.q.wantsRead(); ok || b.call() != 0 || b.q.state != "" {
		t.Fatal("a paused endpoint does something")
	}
	b.now = b.now.Add(30 * 24 * time.Hour)
	enabled := b.e
	enabled.Since = b.now
	b.q.change(&enabled, b.now)
	got := b.calls()
	if len(got) != mostFlights {
		t.Fatalf("%d calls after it was enabled", len(got))
	}
	b.answer(got[0], failure)
	if e := b.q.entry(got[0]); e.state != Open || e.next-b.now.UnixMilli() != 5000 {
		t.Errorf("after it was enabled: %+v", e)
	}
}

func TestGone(t *testing.T) {
	b := newBed(t)
	b.add(1, 2)
	b.call()
	b.answer(1, Answer{Status: 410, Text: "410"})
	if b.q.state != Disabled || b.q.why == "" || b.call() != 0 || b.q.entry(1).state != Open {
		t.Errorf("%q %q", b.q.state, b.q.why)
	}
}

// At the bound of open deliveries the feed is not read, until some are closed.
func TestOpenIsBounded(t *testing.T) {
	b := newBed(t)
	subjects := make([]byte, pageItems)
	for {
		b.q.more = true
		after, limit, ok := b.q.wantsRead()
		if !ok {
			break
		}
		b.q.reading = false
		b.add(subjects[:limit]...)
		_ = after
	}
	if b.q.open != mostOpen || b.q.last != mostOpen {
		t.Fatalf("%d open", b.q.open)
	}
	b.answer(b.call(), success)
	if _, limit, ok := b.q.wantsRead(); !ok || limit != 1 {
		t.Errorf("limit %d %v", limit, ok)
	}
}

// The batches are cut at the same numbers always, and the last one is filled up after a restart, also if the store removed it.
func TestBatchesAreFilled(t *testing.T) {
	b := newBed(t)
	b.add(make([]byte, 100)...)
	w := b.commit()
	for _, batch := range [][]Batch{{b.q.pages[1].batch()}, nil} {
		q, err := newQueue(&b.e, *w.Progress, batch, b.now)
		if err != nil {
			t.Fatal(err)
		}
		c := &bed{t: t, q: q, now: b.now, e: b.e, next: b.next}
		c.add(make([]byte, 200)...)
		if batch != nil && (len(q.pages) != 2 || len(q.pages[1].entries) != 256) || q.pages[1].first+int64(len(q.pages[1].entries)) != 257 || q.pages[257].first != 257 {
			t.Errorf("%d pages", len(q.pages))
		}
		if q.entry(101).seq != 101 || q.entry(300).seq != 300 || (q.entry(100) == nil) == (batch != nil) {
			t.Error("numbers are not where they belong")
		}
	}
}

// BenchmarkDelivery is the step of a delivery: read, numbered, committed, called, answered, and committed once more.
func BenchmarkDelivery(b *testing.B) {
	x := newBed(b)
	items := make([]feed.Item, pageItems)
	index := int64(0)
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(items) {
		for i := range items {
			items[i] = feed.Item{Kind: feed.MessageStatus, Subject: event.Pseudonym{byte(index), byte(index >> 8)}, Event: event.ID{byte(index)}}
			items[i].Index = index
			index++
		}
		x.q.more = true
		after, _, ok := x.q.wantsRead()
		if !ok {
			b.Fatal("it does not read")
		}
		x.q.read(after, items, nil, feed.Cursor{Next: []int64{index}}, true, x.now)
		x.commit()
		for done := 0; done < len(items); {
			var called [mostFlights]int64
			k := 0
			for a, ok := x.q.next(x.now); ok; a, ok = x.q.next(x.now) {
				called[k] = a.seq
				k++
			}
			for _, seq := range called[:k] {
				x.q.answered(seq, success, 0.5, x.now)
			}
			if done += k; k == 0 {
				b.Fatal("nothing is called")
			}
			if done%64 == 0 {
				x.commit()
			}
			x.now = x.now.Add(10 * time.Millisecond)
		}
	}
}
