package logtest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Ledger is a log that already belongs to a ledger, and takes only events of that ledger.
type Ledger interface {
	ledger.Log
	Source() string
}

// Own makes n events of a ledger in a partition, of about 400 bytes each: routes, as a clerk
// proposes them.
func Own(l Ledger, p event.Partition, n int) []*event.Event {
	out := make([]*event.Event, n)
	for i := range out {
		at := time.Now()
		e := &event.Event{ID: event.NewID(at), Source: l.Source(), Time: event.Millis(at), Node: "node-1", Tenant: "acme",
			Message: event.NewMessageID(at, max(int(p), 0)), After: event.NewID(at), Control: 12,
			Data: &event.MessageRouted{Rule: "default", Table: 3, Carrier: "smsc", From: "+15005550006", Encoding: "gsm7", Parts: 1}}
		e.Subject = event.Pseudonym(e.ID)
		for p >= 0 && e.Subject.Partition(l.Partitions()) != int(p) {
			e.Subject[7]++
		}
		out[i] = e
	}
	return out
}

// TwoProcesses makes two processes append to the same partition of a ledger and read it at the
// same time. Both must read the same events, and the events of each append must keep their order,
// with only events of the other process between them.
func TwoProcesses(t *testing.T, logs [2]Ledger) {
	t.Helper()
	const appends, each = 60, 4
	var wg sync.WaitGroup
	var read [2][]ledger.Record
	var sent [2][]*event.Event
	for i, l := range logs {
		wg.Go(func() {
			for int64(len(read[i])) < 2*appends*each {
				records, _, err := l.Read(context.Background(), 0, int64(len(read[i])), 50)
				if err != nil {
					t.Error(err)
					return
				}
				read[i] = append(read[i], records...)
			}
		})
		wg.Go(func() {
			var answers sync.WaitGroup
			for k := range appends {
				events := Own(l, 0, each)
				sent[i] = append(sent[i], events...)
				answers.Add(1)
				l.Append(0, events, func(a ledger.Appended) {
					defer answers.Done()
					if a.Err != nil {
						t.Error(a.Err)
					}
				})
				if k%5 == 0 {
					answers.Wait()
				}
			}
			answers.Wait()
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	indexOf := map[event.ID]int{}
	for k := range read[0] {
		if !bytes.Equal(read[0][k].Raw, read[1][k].Raw) || read[0][k].Index != int64(k) {
			t.Fatalf("at %d the two read different events", k)
		}
		indexOf[read[0][k].Event.ID] = k
	}
	for i := range sent {
		for _, e := range sent[i] {
			if _, there := indexOf[e.ID]; !there {
				t.Errorf("an event of process %d is not there", i)
			}
		}
		if !slices.IsSortedFunc(sent[i], func(a, b *event.Event) int { return indexOf[a.ID] - indexOf[b.ID] }) {
			t.Errorf("the appends of process %d changed order", i)
		}
	}
	if len(indexOf) != 2*appends*each {
		t.Errorf("%d different events", len(indexOf))
	}
}

// Rate appends rate single events a second to the partitions of a ledger, for three seconds. One
// reader for each partition reads them back. It reports the time until an append is acknowledged,
// and until it is read back. begin is called after warming up. The function that it returns is
// called with the number of appends, when all are read back, so that the caller can report more
// figures.
func Rate(b *testing.B, l Ledger, rate int, begin func() (end func(n int))) {
	b.Helper()
	partitions := l.Partitions()
	ctx, stop := context.WithCancel(context.Background())
	var mu sync.Mutex
	sent := map[event.ID]time.Time{}
	var acked, read []time.Duration
	failed := 0
	var readers sync.WaitGroup
	for p := range partitions {
		readers.Go(func() {
			for next := int64(0); ctx.Err() == nil; {
				records, _, err := l.Read(ctx, event.Partition(p), next, 1000)
				now := time.Now()
				if err != nil {
					b.Error(err)
					return
				}
				next += int64(len(records))
				mu.Lock()
				for _, r := range records {
					read = append(read, now.Sub(sent[r.Event.ID]))
				}
				mu.Unlock()
			}
		})
	}
	send := func(i int) {
		at := time.Now()
		p := event.Partition(i % partitions)
		events := Own(l, p, 1)
		mu.Lock()
		sent[events[0].ID] = at
		mu.Unlock()
		l.Append(p, events, func(a ledger.Appended) {
			took := time.Since(at)
			mu.Lock()
			defer mu.Unlock()
			if acked = append(acked, took); a.Err != nil {
				failed++
			}
		})
	}
	back := func(n int) {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); <-tick.C {
			mu.Lock()
			all := len(acked) >= n && len(read) >= n
			mu.Unlock()
			if all {
				break
			}
		}
	}
	for i := range 2 * partitions { // connections and tails
		send(i)
		back(i + 1)
	}
	mu.Lock()
	acked, read = nil, nil
	mu.Unlock()
	end := begin()
	const seconds = 3
	start, n := time.Now(), 0
	tick := time.NewTicker(max(time.Millisecond, time.Second/time.Duration(rate)))
	for time.Since(start) < seconds*time.Second {
		for due := int(time.Since(start).Seconds() * float64(rate)); n < due; n++ {
			send(n)
		}
		<-tick.C
	}
	tick.Stop()
	back(n)
	end(n)
	stop()
	readers.Wait()
	mu.Lock()
	defer mu.Unlock()
	if failed > 0 || len(read) != n {
		b.Errorf("%d of %d failed, %d read", failed, n, len(read))
	}
	for _, m := range []struct {
		name  string
		times []time.Duration
	}{{"ack", acked}, {"read", read}} {
		slices.Sort(m.times)
		b.ReportMetric(float64(m.times[len(m.times)/2].Microseconds())/1000, m.name+"-p50-ms")
		b.ReportMetric(float64(m.times[len(m.times)*99/100].Microseconds())/1000, m.name+"-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
}
