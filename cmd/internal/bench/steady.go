package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
)

// SteadyReport is a run in which messages were submitted at a rate.
type SteadyReport struct {
	Rate    float64 `json:"rate"`
	Seconds float64 `json:"seconds"` // how long messages were due
	// Rows are the run in order, and Total is all of it; its gauges are the highest of the rows.
	Rows  []Row `json:"rows"`
	Total Row   `json:"total"`
	// Peak is the most memory that the node ever had, in MB; 0 where the system does not say.
	Peak float64 `json:"peak_mb"`
	// Unsent messages were due and not submitted, because too many requests were unanswered until the end.
	Unsent int `json:"unsent"`
	// Unseen messages were accepted, and did not arrive at the centre: the policies denied them, or the node did
	// not keep up.
	Unseen int `json:"unseen"`
	// DiskBefore and DiskAfter are the bytes of the data folder.
	DiskBefore int64 `json:"disk_before"`
	DiskAfter  int64 `json:"disk_after"`
}

// bytesOfMessage is how much the data folder grew a message.
func (s *SteadyReport) bytesOfMessage() float64 {
	return float64(s.DiskAfter-s.DiskBefore) / float64(max(s.Total.Accepted, 1))
}

// unanswered are the messages in a thousand that were not accepted.
func (s *SteadyReport) unanswered() float64 {
	bad := s.Total.Refused + s.Total.Failed + s.Unsent
	return 1000 * float64(bad) / float64(max(s.Total.Accepted+bad, 1))
}

// Row is what one stretch of a steady run measured.
type Row struct {
	Seconds   float64 `json:"seconds"` // since the run began, at the end of the row
	Accepted  int     `json:"accepted"`
	PerSecond float64 `json:"accepted_per_second"`
	Refused   int     `json:"refused"` // answered 429 or 503
	Failed    int     `json:"failed"`  // not answered, or answered otherwise
	// Answer is from when a message was due to its 202, Sent from there to its first submit_sm at the centre (0
	// where that came first), DueToSent both together, and Delivered, of two messages a second, from when it was due
	// until the API said that it was delivered.
	Answer    timings `json:"answer"`
	Sent      timings `json:"sent"`
	DueToSent timings `json:"due_to_sent"`
	Delivered timings `json:"delivered"`
	CPU       float64 `json:"node_cpu_us"` // a message
	RSS       float64 `json:"resident_mb"` // the highest of some looks
	Heap      float64 `json:"heap_mb"`     // so too
	Lag       float64 `json:"views_lag"`   // events, so too
	Waiting   int     `json:"unanswered"`  // requests, so too
	Disk      float64 `json:"disk_mb"`     // of the data folder
}

const mb = 1 << 20

// tally is what a row, or the run, counts.
type tally struct {
	accepted, refused, failed          int
	answer, sent, dueToSent, delivered latencies
	rss, heap, lag                     float64
	unanswered                         int
}

func (t *tally) merge(o *tally) {
	t.accepted, t.refused, t.failed = t.accepted+o.accepted, t.refused+o.refused, t.failed+o.failed
	t.answer.merge(&o.answer)
	t.sent.merge(&o.sent)
	t.dueToSent.merge(&o.dueToSent)
	t.delivered.merge(&o.delivered)
	t.rss, t.heap, t.lag, t.unanswered = max(t.rss, o.rss), max(t.heap, o.heap), max(t.lag, o.lag), max(t.unanswered, o.unanswered)
}

// row is the tally of a stretch that took so long, in which the nodes used so much CPU time, in seconds.
func (t *tally) row(took time.Duration, cpu float64) Row {
	return Row{Accepted: t.accepted, PerSecond: float64(t.accepted) / max(took.Seconds(), 1e-9), Refused: t.refused, Failed: t.failed,
		Answer: t.answer.timings(), Sent: t.sent.timings(), DueToSent: t.dueToSent.timings(), Delivered: t.delivered.timings(),
		CPU: cpu * 1e6 / float64(max(t.accepted, 1)), RSS: t.rss / mb, Heap: t.heap / mb, Lag: t.lag, Waiting: t.unanswered}
}

// flight is a message that was submitted and is not at the centre yet.
type flight struct{ due, accepted, arrived time.Time }

// steady is a steady run under way.
type steady struct {
	b       *bench
	began   time.Time
	slots   chan struct{} // one a request that is unanswered
	follows atomic.Int64  // how many messages are followed until they are delivered
	sample  atomic.Bool   // whether the next message that is accepted is followed

	mu      sync.Mutex
	row     *tally
	flights map[string]*flight // by the recipient's digits
	arrival time.Time          // the last at the centre
}

// followers bounds the messages that are followed at a time.
const followers = 50

// steady submits messages at the rate, each when it is due, whether the ones before it are answered or not.
func (b *bench) steady(ctx context.Context, out io.Writer) (*SteadyReport, error) {
	c := b.c
	s := &steady{b: b, began: time.Now(), slots: make(chan struct{}, c.Outstanding), row: new(tally), flights: map[string]*flight{}}
	saw := s.saw
	b.centre.saw.Store(&saw)
	defer b.centre.saw.Store(nil)
	report := &SteadyReport{Rate: c.Rate, Seconds: c.For.Seconds(), DiskBefore: diskOf(b.data)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fed := make(chan struct{})
	var requests sync.WaitGroup
	go func() {
		defer close(fed)
		report.Unsent = s.feed(ctx, &requests)
		requests.Wait()
	}()
	total, cpu, err := s.watch(ctx, out, report, fed)
	if err != nil {
		cancel()
		<-fed
		return nil, err
	}
	<-fed
	s.mu.Lock()
	report.Unseen = len(s.flights)
	s.mu.Unlock()
	report.Peak = peakOf(b.procs) / mb
	report.DiskAfter = diskOf(b.data)
	report.Total = total.row(time.Since(s.began), cpu)
	report.Total.PerSecond = float64(total.accepted) / c.For.Seconds()
	report.Total.Seconds, report.Total.Disk = c.For.Seconds(), float64(report.DiskAfter)/mb
	report.print(out)
	return report, ctx.Err()
}

// feed submits until the time is over, and returns how many messages were due and not submitted.
func (s *steady) feed(ctx context.Context, requests *sync.WaitGroup) (unsent int) {
	c := s.b.c
	n := int(c.Rate * c.For.Seconds())
	late := time.NewTimer(c.For + time.Second)
	defer late.Stop()
	for i := range n {
		due := s.began.Add(time.Duration(float64(i) / c.Rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return n - i
			}
		}
		select {
		case s.slots <- struct{}{}:
		case <-late.C:
			return n - i
		case <-ctx.Done():
			return n - i
		}
		m := s.b.traffic.next(s.busy)
		s.mu.Lock()
		s.flights[m.to[1:]] = &flight{due: due}
		s.row.unanswered = max(s.row.unanswered, len(s.slots))
		s.mu.Unlock()
		requests.Go(func() {
			defer func() { <-s.slots }()
			s.submit(ctx, &m, due)
		})
	}
	return 0
}

// busy reports whether a message to a number is on its way: the centre's messages are told apart by their recipients.
func (s *steady) busy(to string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[to[1:]] != nil
}

func (s *steady) submit(ctx context.Context, m *message, due time.Time) {
	status, id, _, err := s.b.submit(ctx, m)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[m.to[1:]]
	if err != nil || status != http.StatusAccepted {
		delete(s.flights, m.to[1:])
		if err == nil && (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests) {
			s.row.refused++
		} else {
			s.row.failed++
		}
		return
	}
	s.row.accepted++
	s.row.answer.add(now.Sub(due))
	f.accepted = now
	s.sent(m.to[1:], f)
	if s.sample.Swap(false) && s.follows.Load() < followers {
		s.follows.Add(1)
		go s.follow(ctx, id, due)
	}
}

// saw notes when a message arrived at the centre.
func (s *steady) saw(m smsc.Message) {
	if m.Part > 1 {
		return
	}
	to := strings.TrimPrefix(m.To, "+")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrival = m.Time
	if f := s.flights[to]; f != nil && f.arrived.IsZero() {
		f.arrived = m.Time
		s.sent(to, f)
	}
}

// sent counts a flight that was answered and has arrived. The caller has the lock.
func (s *steady) sent(to string, f *flight) {
	if f.accepted.IsZero() || f.arrived.IsZero() {
		return
	}
	s.row.sent.add(max(f.arrived.Sub(f.accepted), 0))
	s.row.dueToSent.add(f.arrived.Sub(f.due))
	delete(s.flights, to)
}

// follow waits until the API says that a message was delivered.
func (s *steady) follow(ctx context.Context, id string, due time.Time) {
	defer s.follows.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var m struct{ Status string }
		if code, err := s.b.call(ctx, http.MethodGet, "/v1/messages/"+id+"?wait=30s", nil, &m); err != nil || code != http.StatusOK {
			return
		}
		switch m.Status {
		case "accepted", "allowed", "sending", "sent":
			continue
		case "delivered":
			s.mu.Lock()
			s.row.delivered.add(time.Since(due))
			s.mu.Unlock()
		}
		return
	}
}

// How often a message is followed, and how often the nodes' gauges are read.
const (
	followEvery = 500 * time.Millisecond
	gaugesEvery = 5 * time.Second
)

// watch reads the gauges and prints the rows until everything was fed and has arrived. It returns the tally of
// the run and the nodes' CPU time in it.
func (s *steady) watch(ctx context.Context, out io.Writer, report *SteadyReport, fed <-chan struct{}) (*tally, float64, error) {
	every := s.b.c.Every
	table := s.b.c.For > every
	first, err := s.b.read(ctx)
	if err != nil {
		return nil, 0, err
	}
	was, began := first.cpu, s.began
	total := new(tally)
	look := time.NewTicker(min(gaugesEvery, every/2))
	defer look.Stop()
	follow := time.NewTicker(followEvery)
	defer follow.Stop()
	next := s.began.Add(every)
	if table {
		fmt.Fprint(out, rowHead)
	}
	cut := func(now gauges, at time.Time) {
		s.mu.Lock()
		t := s.row
		s.row = new(tally)
		s.mu.Unlock()
		t.rss, t.heap, t.lag = max(t.rss, now.rss), max(t.heap, now.heap), max(t.lag, now.lag)
		total.merge(t)
		if t.accepted == 0 && at.Sub(s.began) > s.b.c.For { // what came late counts in the total
			return
		}
		r := t.row(at.Sub(began), now.cpu-was)
		r.Seconds, r.Disk = at.Sub(s.began).Seconds(), float64(diskOf(s.b.data))/mb
		report.Rows = append(report.Rows, r)
		if table {
			r.print(out)
		}
		was, began = now.cpu, at
	}
	var end time.Time // when everything was fed
	for {
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-follow.C:
			s.sample.Store(true)
		case <-fed:
			fed, end = nil, time.Now()
		case <-look.C:
			now, err := s.b.read(ctx)
			if err != nil {
				return nil, 0, err
			}
			s.mu.Lock()
			s.row.rss, s.row.heap, s.row.lag = max(s.row.rss, now.rss), max(s.row.heap, now.heap), max(s.row.lag, now.lag)
			s.mu.Unlock()
			if at := time.Now(); !at.Before(next) && end.IsZero() {
				cut(now, at)
				next = next.Add(every)
			}
		}
		if !end.IsZero() && s.isOver(end) {
			now, err := s.b.read(ctx)
			if err != nil {
				return nil, 0, err
			}
			cut(now, end) // what is waited for belongs to it, and not the time
			return total, now.cpu - first.cpu, nil
		}
	}
}

// isOver reports whether everything has arrived at the centre and those that are followed are delivered, or
// nothing has arrived for some seconds. All was fed at end.
func (s *steady) isOver(end time.Time) bool {
	const enough = 5 * time.Second
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flights) == 0 && s.follows.Load() == 0 {
		return true
	}
	return time.Since(end) > enough && time.Since(s.arrival) > enough
}

const rowHead = "   time  202/s |  due->202 ms   | 202->submit_sm | due->delivered | node us | res MB heap MB |    lag waiting | refused failed | disk MB\n" +
	"               |    p50     p99 |    p50     p99 |    p50     p99 |         |               |                |                |\n"

func (r *Row) print(w io.Writer) {
	fmt.Fprintf(w, "%6.0fs %6.0f | %6.1f %7.1f | %6.1f %7.1f | %6.1f %7.1f | %7.0f | %6.0f %7.0f | %6.0f %7d | %7d %6d | %7.0f\n", r.Seconds, r.PerSecond,
		r.Answer.P50, r.Answer.P99, r.Sent.P50, r.Sent.P99, r.Delivered.P50, r.Delivered.P99, r.CPU, r.RSS, r.Heap, r.Lag, r.Waiting, r.Refused, r.Failed, r.Disk)
}

func (s *SteadyReport) print(w io.Writer) {
	t := &s.Total
	fmt.Fprintf(w, "at %g a second   due to 202:          %s\n", s.Rate, &t.Answer)
	fmt.Fprintf(w, "                 202 to submit_sm:    %s (%d of %d)\n", &t.Sent, t.Sent.Count, t.Accepted)
	fmt.Fprintf(w, "                 due to submit_sm:    %s\n", &t.DueToSent)
	fmt.Fprintf(w, "                 due to delivered:    %s (a sample of %d)\n", &t.Delivered, t.Delivered.Count)
	fmt.Fprintf(w, "                 node: %.0f us of CPU a message, %.0f MB resident (%.0f at most), %.0f MB of Go heap\n", t.CPU, t.RSS, s.Peak, t.Heap)
	fmt.Fprintf(w, "                 views: at most %.0f events behind", t.Lag)
	if s.DiskAfter > 0 {
		fmt.Fprintf(w, "; disk: %.0f MB more, %.0f bytes a message", float64(s.DiskAfter-s.DiskBefore)/mb, s.bytesOfMessage())
	}
	fmt.Fprintln(w)
	if bad := t.Refused + t.Failed + s.Unsent + s.Unseen; bad > 0 {
		fmt.Fprintf(w, "                 %d refused, %d failed, %d due and not submitted, %d accepted and not seen at the centre\n", t.Refused, t.Failed, s.Unsent, s.Unseen)
	}
}
