package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// kills is how often the node is killed under load.
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
	draw := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))

	var mu sync.Mutex
	acknowledged := map[string]string{} // by number: the message's id
	asked := map[string]bool{}
	next := 0
	ended := make(chan struct{})
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				mu.Lock()
				next++
				to := benchNumber(next)
				asked[to] = true
				mu.Unlock()
				body := fmt.Sprintf(`{"to":%q,"body":"Your statement is ready."}`, to)
				for {
					// The same key until there is an answer: a lost one is asked for again.
					a := n.call("POST", "/v1/messages", body, "Idempotency-Key", "kill-"+to)
					if a.err == nil && a.status == http.StatusAccepted {
						var v view
						a.into(t, &v)
						mu.Lock()
						if old, ok := acknowledged[to]; ok && old != v.ID {
							t.Errorf("one key, two messages: %s and %s", old, v.ID)
						}
						acknowledged[to] = v.ID
						mu.Unlock()
						break
					}
					if a.err == nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout {
						t.Errorf("a submit was answered %d %s", a.status, a.body)
						return
					}
					select {
					case <-ended:
						return
					case <-time.After(10 * time.Millisecond): // the node is down
					}
				}
			}
		})
	}
	for range kills {
		mu.Lock()
		before, some := len(acknowledged), 20+draw.IntN(120)
		mu.Unlock()
		within(t, "some submits", func() bool { mu.Lock(); defer mu.Unlock(); return len(acknowledged) >= before+some })
		n.p.kill()
		n.start()
	}
	close(ended)
	load.Wait()

	status := map[string]int{}
	doubtful := map[string]bool{}
	for to, id := range acknowledged {
		v := n.becomes(id, "delivered", "in_doubt")
		status[v.Status]++
		doubtful[to] = v.Status == "in_doubt"
		if len(v.Attempts) != 1 {
			t.Errorf("message %s to a test number had %d attempts", id, len(v.Attempts))
		}
	}
	if code := n.p.stop(); code != 0 {
		t.Errorf("the node's exit code is %d", code)
	}
	n.verify()
	c.p.stop()
	got := submits(c.lines(t))
	twice := 0
	for to, times := range got {
		if times > 1 {
			twice++
		}
		if !asked[to] {
			t.Errorf("the centre received a message that nobody sent")
		}
	}
	for to, id := range acknowledged {
		if got[to] == 0 && !doubtful[to] {
			t.Errorf("message %s never reached the centre", id)
		}
	}
	if twice > 0 {
		t.Errorf("%d messages reached the centre twice", twice)
	}
	var all []string
	for s, k := range status {
		all = append(all, fmt.Sprintf("%d %s", k, s))
	}
	reached := 0
	for to := range doubtful {
		if doubtful[to] && got[to] > 0 {
			reached++
		}
	}
	t.Logf("%d kills, %d acknowledged: %s (%d of those in doubt had reached the centre)", kills, len(acknowledged), strings.Join(all, ", "), reached)
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
					id := n.send(fmt.Sprintf(`{"to":%q,"body":"Your statement is ready."}`, benchNumber(1_000_000+round*1000+i*100+k)))
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
		if v := n.becomes(id, "delivered", "in_doubt", "failed"); v.Status != "delivered" || len(v.Attempts) > 2 {
			t.Errorf("after a clean stop message %s is %s, with %d attempts", id, v.Status, len(v.Attempts))
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
