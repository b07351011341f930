package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/cmd/internal/bench"
)

// kills is how often nodes are killed under load.
const kills = 20

// TestKill kills the node under load, again and again. Whatever was acknowledged is
// there afterwards, each message once; nothing went to the carrier twice by the
// centre's own record; and the whole ledger and its views verify.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("20 kills under load take half a minute")
	}
	c := newCentre(t, "--receipt-delay", "20ms")
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet", "--dev-response-timeout", "300ms", "--dev-call-window", "500ms")
	s := newSenders(t, func(body, key string) httpAnswer { return n.call("POST", "/v1/messages", body, "Idempotency-Key", key) })
	ended := make(chan struct{})
	load := s.load(ended, 8)
	for range kills {
		s.more("some submits", 20+rand.IntN(120))
		n.p.kill()
		n.start()
	}
	close(ended)
	load.Wait()
	final := s.final("20 kills", n.get)
	for _, v := range final {
		if len(v.Attempts) != 1 {
			t.Errorf("message %s to a test number had %d attempts", v.ID, len(v.Attempts))
		}
	}
	if code := n.p.stop(); code != 0 {
		t.Errorf("the node's exit code is %d", code)
	}
	n.verify()
	c.p.stop()
	s.once("20 kills", final, c.lines(t))
}

// senders submit under load, and remember what was acknowledged.
type senders struct {
	t *testing.T
	// post makes one submit, of whatever node is up.
	post func(body, key string) httpAnswer

	mu           sync.Mutex
	acknowledged map[string]string // by number: the message's id
	asked        map[string]bool
	next         int
	answers      [600]atomic.Int64
}

func newSenders(t *testing.T, post func(body, key string) httpAnswer) *senders {
	return &senders{t: t, post: post, acknowledged: map[string]string{}, asked: map[string]bool{}}
}

// load submits until ended, each message until it is acknowledged: under the same key,
// so that a lost answer is asked for again.
func (s *senders) load(ended <-chan struct{}, workers int) *sync.WaitGroup {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				s.mu.Lock()
				s.next++
				to := bench.Number(s.next)
				s.asked[to] = true
				s.mu.Unlock()
				if !s.submit(to, ended) {
					return
				}
			}
		})
	}
	return &wg
}

func (s *senders) submit(to string, ended <-chan struct{}) bool {
	body := fmt.Sprintf(`{"to":%q,"body":"Your statement is ready."}`, to)
	for {
		a := s.post(body, "load-"+to)
		if a.err == nil {
			s.answers[min(a.status, 599)].Add(1)
		}
		switch {
		case a.err == nil && a.status == http.StatusAccepted:
			var v view
			a.into(s.t, &v)
			s.mu.Lock()
			if old, ok := s.acknowledged[to]; ok && old != v.ID {
				s.t.Errorf("one key, two messages: %s and %s", old, v.ID)
			}
			s.acknowledged[to] = v.ID
			s.mu.Unlock()
			return true
		case a.err == nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout:
			s.t.Errorf("a submit was answered %d %s", a.status, a.body)
			return false
		}
		select {
		case <-ended:
			return false
		case <-time.After(20 * time.Millisecond): // as its sender would
		}
	}
}

func (s *senders) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acknowledged)
}

// more waits until that many more submits were acknowledged.
func (s *senders) more(what string, n int) {
	s.t.Helper()
	before := s.count()
	within(s.t, what, func() bool { return s.count() >= before+n })
}

// final waits, with the load ended, until every acknowledged message has become something
// final, and returns them by number. get asks for one once.
func (s *senders) final(after string, get func(id string) view) map[string]view {
	s.t.Helper()
	out := map[string]view{}
	for to, id := range s.acknowledged {
		var v view
		within(s.t, "after "+after+": message "+id+" settles", func() bool {
			v = get(id)
			return v.Status == "delivered" || v.Status == "in_doubt"
		})
		out[to] = v
	}
	return out
}

// once checks by the centre's record that no message reached it twice, and that each which
// is delivered did.
func (s *senders) once(after string, final map[string]view, record []smsc.Line) {
	s.t.Helper()
	got := submits(record)
	for to, times := range got {
		if times > 1 {
			s.t.Errorf("after %s: a message reached the centre %d times", after, times)
		}
		if !s.asked[to] {
			s.t.Errorf("after %s: the centre received a message that nobody sent", after)
		}
	}
	status, reached := map[string]int{}, 0
	for to, v := range final {
		status[v.Status]++
		switch {
		case v.Status == "in_doubt" && got[to] > 0:
			reached++
		case v.Status != "in_doubt" && got[to] == 0:
			s.t.Errorf("after %s: message %s is delivered, and never reached the centre", after, v.ID)
		}
	}
	s.t.Logf("after %s: %d acknowledged, %v (%d of those in doubt had reached the centre); %d answers 202, %d 503, %d 504", after, len(final), status, reached,
		s.answers[202].Load(), s.answers[503].Load(), s.answers[504].Load())
}

// TestStop stops the node in the middle of a backlog, several times. A clean stop
// leaves nothing in doubt: starts that are out come back and are called, or say that
// they were not.
func TestStop(t *testing.T) {
	t.Parallel()
	c := newCentre(t)
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet", "--dev-tps", "400")
	var ids []string
	for round := range 4 {
		var mu sync.Mutex
		var load sync.WaitGroup
		for i := range 8 {
			load.Go(func() {
				for k := range 40 {
					id := n.send(fmt.Sprintf(`{"to":%q,"body":"Your statement is ready."}`, bench.Number(1_000_000+round*1000+i*100+k)))
					mu.Lock()
					ids = append(ids, id)
					mu.Unlock()
				}
			})
		}
		load.Wait()
		if code := n.p.stop(); code != 0 {
			t.Errorf("the node's exit code is %d", code)
		}
		n.start()
	}
	for _, id := range ids {
		v := n.becomes(id, "delivered", "in_doubt", "failed")
		if v.Status != "delivered" {
			t.Errorf("after a clean stop message %s is %s", id, v.Status)
			continue
		}
		// A stop takes back what the carrier has not written; a message may stand at the head of the
		// queue at every stop.
		for _, attempt := range v.Attempts[:len(v.Attempts)-1] {
			for _, part := range attempt.Parts {
				if !part.NotCalled {
					t.Errorf("after a clean stop message %s was sent again after attempt %d, in which part %d is %s", id, attempt.Number, part.Part, part.Status)
				}
			}
		}
	}
	n.p.stop()
	n.verify()
	c.p.stop()
	for _, times := range submits(c.lines(t)) {
		if times > 1 {
			t.Errorf("a message reached the centre %d times", times)
		}
	}
}
