package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func quick(c *Config) { c.DeliverWithin = time.Second }

func TestFaults(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		for _, f := range []logtest.Fault{logtest.Failed, logtest.FailedButPersisted} {
			t.Run(string(f), func(t *testing.T) { logtest.ExerciseFault(t, f, fixture(server, quick)) })
		}
	})
}

// faulty is a log whose broker answers appends to 00 as told.
func faulty(t *testing.T) (*Log, *kfake.Cluster) {
	t.Helper()
	c := cluster1(t)
	cfg := Config{Brokers: c.ListenAddrs(), Replication: 1, Partitions: 2, DeliverWithin: time.Second}
	initLedger(t, cfg)
	return open(t, cfg), c
}

// What a broker answers, and what the caller is told.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		answer *kerr.Error
		count  int // how often; -1: until the time is up
		want   error
		there  int // events of the failed append
		down   bool
	}{
		{kerr.NotLeaderForPartition, 2, nil, 2, false},
		{kerr.NotEnoughReplicas, 2, nil, 2, false},
		{kerr.NotEnoughReplicas, -1, ledger.ErrRefused, 0, true},
		{kerr.LeaderNotAvailable, -1, ledger.ErrRefused, 0, true},
		{kerr.RequestTimedOut, 2, nil, 2, false},               // and the broker knows the batch again
		{kerr.RequestTimedOut, -1, ledger.ErrUnknown, 2, true}, // it is there
		{kerr.NotEnoughReplicasAfterAppend, -1, ledger.ErrUnknown, 2, true},
		{kerr.MessageTooLarge, 1, ledger.ErrRefused, 0, false},
		{kerr.InvalidRecord, 1, ledger.ErrRefused, 0, false},
		{kerr.TopicAuthorizationFailed, 1, ledger.ErrRefused, 0, false},
		{kerr.OutOfOrderSequenceNumber, 1, nil, 2, false},
		{kerr.UnknownProducerID, 1, nil, 2, false},
		{kerr.UnknownServerError, -1, ledger.ErrUnknown, 0, true},
	} {
		t.Run(fmt.Sprintf("%s %d", c.answer.Message, c.count), func(t *testing.T) {
			t.Parallel()
			l, k := faulty(t)
			if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
				t.Fatal(a.Err)
			}
			fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: c.answer, Count: c.count})
			answered := make(chan ledger.Appended)
			down := false
			l.Append(0, logtest.Own(l, 0, 2), func(a ledger.Appended) {
				down = len(l.sender.backlog.suspects()) > 0
				answered <- a
			})
			a := <-answered
			fault.Remove()
			if !errors.Is(a.Err, c.want) || c.want == nil && a.First != 1 {
				t.Fatalf("%+v, want %v", a, c.want)
			}
			if down != c.down {
				t.Errorf("down: %v", down)
			}
			if got := int(headOf(t, l, 0)) - 1; got != c.there {
				t.Errorf("%d of its events are there, want %d", got, c.there)
			}
			// It heals, and the next batch, of the same size, is not taken for the failed one.
			next := logtest.Own(l, 0, 2)
			if a := retry(t, l, 0, next); a.First != int64(1+c.there) {
				t.Errorf("the next stands at %d", a.First)
			}
			all := logtest.ReadAll(t, l, 0)
			if last := all[len(all)-1]; last.Event.ID != next[1].ID {
				t.Errorf("the last event is %s, want %s", last.Event.ID, next[1].ID)
			}
		})
	}
}

// A refusal after an answer that was lost is no refusal.
func TestRefusedAfterDoubt(t *testing.T) {
	l, k := faulty(t)
	k.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: 1},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 1},
	)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); !errors.Is(a.Err, ledger.ErrUnknown) {
		t.Errorf("%v, want ErrUnknown", a.Err)
	}
	if head := headOf(t, l, 0); head != 1 {
		t.Errorf("the head is %d", head)
	}
}

// A producer that brokers do not take any more is replaced, and the append is there once.
func TestNewProducer(t *testing.T) {
	l, k := faulty(t)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
		t.Fatal(a.Err)
	}
	old := make(chan int64, 1)
	refused := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.OutOfOrderSequenceNumber, Count: -1, When: func(r kmsg.Request) bool {
		var b kmsg.RecordBatch
		if err := b.ReadFrom(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records); err != nil {
			t.Error(err)
		}
		select {
		case old <- b.ProducerID:
			return true
		default:
		}
		first := <-old
		old <- first
		return b.ProducerID == first
	}})
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 2)); a.Err != nil || a.First != 1 {
		t.Errorf("%+v", a)
	}
	if refused.Hits() == 0 {
		t.Error("the old producer was never refused")
	}
	if head := headOf(t, l, 0); head != 3 {
		t.Errorf("the head is %d", head)
	}
}

func headOf(t *testing.T, l *Log, p event.Partition) int64 {
	t.Helper()
	_, head, err := l.Read(context.Background(), p, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// retry appends until it is not refused any more.
func retry(t *testing.T, l ledger.Log, p event.Partition, events []*event.Event) ledger.Appended {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; engine.Pause(context.Background(), 10*time.Millisecond) {
		a := logtest.Wait(l, p, events)
		if a.Err == nil {
			return a
		}
		if !errors.Is(a.Err, ledger.ErrRefused) || time.Now().After(deadline) {
			t.Fatal(a.Err)
		}
	}
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !is(); engine.Pause(context.Background(), 5*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never was so: %s", what)
		}
	}
}

// Brokers that are away: what waits is answered within the time-out, what comes then is
// refused at once, reads wait or fail, /readyz knows, and all of it heals by itself.
func TestAway(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		for name, away := range map[string]struct{ off, on func(*wire) }{
			"cut":    {func(w *wire) { w.sever(true) }, (*wire).mend},
			"frozen": {(*wire).freeze, (*wire).thaw},
		} {
			t.Run(name, func(t *testing.T) {
				w := newWire(t)
				cfg := config(t, server)
				cfg.DeliverWithin, cfg.dial = time.Second, w.dial
				initLedger(t, cfg)
				l := open(t, cfg)
				log := &acks{log: l, t: t}
				log.append(0, 3)
				log.append(1, 1)
				log.wait()
				if ok, _, detail := l.Health(); !ok || detail != "" {
					t.Errorf("not well at the beginning: %s", detail)
				}
				tail := log.follow(0)
				until(t, "the tail follows", func() bool { return tail.read() == 3 })

				away.off(w)
				began := time.Now()
				tried := l.Stats().Requests
				log.append(0, 4)
				until(t, "it is tried", func() bool { return l.Stats().Requests > tried })
				log.append(0, 1) // behind it
				log.append(1, 2)
				log.wait()
				if took := time.Since(began); took > 3*cfg.DeliverWithin {
					t.Errorf("the answers took %s", took)
				}
				// One trial a second each; the others are refused in no time.
				began = time.Now()
				for range 100 {
					log.append(0, 1)
				}
				if took := time.Since(began); took > 500*time.Millisecond {
					t.Errorf("100 refusals took %s", took)
				}
				if n := l.Stats().QueuedEvents; n > 2 {
					t.Errorf("%d events wait while brokers are away", n)
				}
				until(t, "the trouble is known", func() bool { ok, _, detail := l.Health(); return !ok && detail != "" })
				if _, since, _ := l.Health(); since.Before(began.Add(-2*cfg.DeliverWithin)) || since.After(time.Now()) {
					t.Errorf("since %s", since)
				}
				if _, _, err := l.Read(context.Background(), 0, 0, 10); name == "cut" && err == nil {
					t.Error("a read without brokers gave no error")
				}

				away.on(w)
				until(t, "it is well again", func() bool { ok, _, _ := l.Health(); return ok })
				log.wait()
				retry(t, l, 0, logtest.Own(l, 0, 1))
				retry(t, l, 1, logtest.Own(l, 1, 1))
				log.check()
				head := headOf(t, l, 0)
				until(t, "the tail caught up", func() bool { return int64(tail.read()) == head })
			})
		}
	})
}

// acks keeps what was appended and what was said of it.
type acks struct {
	log *Log
	t   *testing.T
	wg  sync.WaitGroup

	mu   sync.Mutex
	told []told
}

type told struct {
	p      event.Partition
	events []*event.Event
	answer ledger.Appended
	done   bool
}

func (a *acks) append(p event.Partition, n int) {
	events := logtest.Own(a.log, p, n)
	a.mu.Lock()
	i := len(a.told)
	a.told = append(a.told, told{p: p, events: events})
	a.mu.Unlock()
	a.wg.Add(1)
	a.log.Append(p, events, func(answer ledger.Appended) {
		defer a.wg.Done()
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.told[i].done {
			a.t.Error("an append was answered twice")
		}
		a.told[i].answer, a.told[i].done = answer, true
	})
}

func (a *acks) wait() { a.wg.Wait() }

// check compares the log with what was said: what was acknowledged is there once, where it
// was said to be and in the order of the appends; what was refused is not there; of what is
// not known each append is there once at most.
func (a *acks) check() (acked, refused, unknown int) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	count := map[event.ID]int{}
	at := map[event.Position]event.ID{}
	for p := range a.log.Partitions() {
		for _, r := range logtest.ReadAll(a.t, a.log, event.Partition(p)) {
			count[r.Event.ID]++
			at[event.Position{Partition: event.Partition(p), Index: r.Index}] = r.Event.ID
		}
	}
	last := map[event.Partition]int64{}
	for i, x := range a.told {
		switch {
		case x.answer.Err == nil:
			acked++
			if before, ok := last[x.p]; ok && x.answer.First <= before {
				a.t.Errorf("append %d stands at %d, behind a younger one at %d", i, x.answer.First, before)
			}
			last[x.p] = x.answer.First
			for k, e := range x.events {
				if at[event.Position{Partition: x.p, Index: x.answer.First + int64(k)}] != e.ID || count[e.ID] != 1 {
					a.t.Errorf("an event of append %d, which was acknowledged at %d, is there %d times", i, x.answer.First, count[e.ID])
				}
			}
		case errors.Is(x.answer.Err, ledger.ErrRefused):
			refused++
			for _, e := range x.events {
				if count[e.ID] != 0 {
					a.t.Errorf("append %d was refused, and is there: %v", i, x.answer.Err)
				}
			}
		case errors.Is(x.answer.Err, ledger.ErrUnknown):
			unknown++
			for _, e := range x.events {
				if count[e.ID] > 1 {
					a.t.Errorf("append %d is there %d times", i, count[e.ID])
				}
			}
		default:
			a.t.Errorf("append %d was answered with %v", i, x.answer.Err)
		}
	}
	return acked, refused, unknown
}

// follower reads a partition as it grows.
type follower struct {
	mu sync.Mutex
	n  int
}

func (f *follower) read() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// follow goes on after errors, from where it was.
func (a *acks) follow(p event.Partition) *follower {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	a.t.Cleanup(func() { stop(); <-done })
	f := &follower{}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			records, _, err := a.log.Read(ctx, p, int64(f.read()), 100)
			if errors.Is(err, ledger.ErrAhead) {
				a.t.Error(err)
			}
			if err != nil {
				engine.Pause(ctx, 20*time.Millisecond)
			}
			f.mu.Lock()
			for _, r := range records {
				if r.Index != int64(f.n) {
					a.t.Errorf("%d where %d should be", r.Index, f.n)
				}
				f.n++
			}
			f.mu.Unlock()
		}
	}()
	return f
}

// Connections break and leaders move all the time while appends go on: nothing
// acknowledged is lost, doubled or out of order, and almost everything is acknowledged.
func TestUnsteady(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		w := newWire(t)
		cfg := config(t, server)
		move := func() {}
		if server == fake {
			c, err := kfake.NewCluster(kfake.NumBrokers(3))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			cfg.Brokers, move = c.ListenAddrs(), c.ShufflePartitionLeaders
		}
		cfg.dial, cfg.DeliverWithin = w.dial, 3*time.Second
		initLedger(t, cfg)
		l := open(t, cfg)
		log := &acks{log: l, t: t}
		tail := log.follow(2)
		rng := rand.New(rand.NewPCG(1, 2))
		const rounds = 40
		for range rounds {
			for range 1 + rng.IntN(20) {
				log.append(event.Partition(rng.IntN(4)), 1+rng.IntN(5))
			}
			switch rng.IntN(3) {
			case 0:
				w.sever(false)
			case 1:
				move()
			}
			engine.Pause(context.Background(), time.Duration(rng.IntN(40))*time.Millisecond)
		}
		log.wait()
		acked, refused, unknown := log.check()
		t.Logf("%d acknowledged, %d refused, %d unknown", acked, refused, unknown)
		if refused+unknown > acked/10 {
			t.Errorf("%d refused and %d unknown of %d", refused, unknown, acked+refused+unknown)
		}
		head := headOf(t, l, 2)
		until(t, "the reader has all", func() bool { return int64(tail.read()) == head })
	})
}

// A batch that brokers may have is given up; the next goes out as another producer's, so it
// is not taken for a repeat, and what lands late lands behind it.
func TestLateLanding(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		w := newWire(t)
		cfg := config(t, server)
		cfg.DeliverWithin, cfg.dial = time.Second, w.dial
		initLedger(t, cfg)
		l := open(t, cfg)
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
			t.Fatal(a.Err)
		}
		w.freeze()
		late := logtest.Own(l, 0, 2)
		if a := logtest.Wait(l, 0, late); !errors.Is(a.Err, ledger.ErrUnknown) {
			t.Fatalf("%v, want ErrUnknown", a.Err)
		}
		w.thaw() // the proxy still holds the request
		next := logtest.Own(l, 0, 1)
		retry(t, l, 0, next)
		counts := map[event.ID]int{}
		for _, r := range logtest.ReadAll(t, l, 0) {
			counts[r.Event.ID]++
		}
		if counts[next[0].ID] != 1 || counts[late[0].ID] > 1 || counts[late[0].ID] != counts[late[1].ID] {
			t.Errorf("the given up append is there %d and %d times, the next %d", counts[late[0].ID], counts[late[1].ID], counts[next[0].ID])
		}
	})
}

// A request that was written, and its connection lost: nobody can know, however it goes on.
func TestWrittenThenCut(t *testing.T) {
	waiting(t, func(t *testing.T, server string) {
		w := newWire(t)
		cfg := config(t, server)
		cfg.DeliverWithin, cfg.dial = time.Second, w.dial
		initLedger(t, cfg)
		l := open(t, cfg)
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
			t.Fatal(a.Err)
		}
		w.freeze()
		before := l.sender.writes.to(l.cluster.leader(engine.Slot(0)))
		answer := make(chan ledger.Appended, 1)
		l.Append(0, logtest.Own(l, 0, 1), func(a ledger.Appended) { answer <- a })
		until(t, "the request is written", func() bool { return l.sender.writes.to(l.cluster.leader(engine.Slot(0))) > before })
		w.sever(true)
		if a := <-answer; !errors.Is(a.Err, ledger.ErrUnknown) {
			t.Errorf("%v, want ErrUnknown", a.Err)
		}
		// What was refused while it was away surely is not there.
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); !errors.Is(a.Err, ledger.ErrRefused) {
			t.Errorf("%v, want ErrRefused", a.Err)
		}
		w.thaw()
		w.mend()
	})
}

// A partition without a leader, and one with too few replicas: both are refused, /readyz
// says which it is, and both heal.
func TestPartitionsAway(t *testing.T) {
	t.Parallel()
	c, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := Config{Brokers: c.ListenAddrs(), Prefix: "p", Replication: 3, MinISR: 2, Partitions: 2, DeliverWithin: time.Second}
	initLedger(t, cfg)
	l := open(t, cfg)
	var mu sync.Mutex
	change := func(*kmsg.MetadataResponseTopicPartition) {}
	c.ControlKey(int16(kmsg.Metadata), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.MetadataRequest)
		if len(req.Topics) != topicCount {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		for i, addr := range c.ListenAddrs() {
			b := kmsg.NewMetadataResponseBroker()
			host, port, _ := net.SplitHostPort(addr)
			n, _ := strconv.Atoi(port)
			b.NodeID, b.Host, b.Port = int32(i), host, int32(n)
			resp.Brokers = append(resp.Brokers, b)
		}
		for topic, name := range l.cluster.names {
			rt := kmsg.NewMetadataResponseTopic()
			rt.Topic, rt.TopicID = &name, l.cluster.ids[topic]
			n := 1
			if topic == ledgerTopic {
				n = 2
			}
			for i := range n {
				p := kmsg.NewMetadataResponseTopicPartition()
				p.Partition, p.Leader = int32(i), c.LeaderFor(name, int32(i))
				p.Replicas, p.ISR = []int32{0, 1, 2}, []int32{0, 1, 2}
				if name == "p.ledger" && i == 1 {
					mu.Lock()
					change(&p)
					mu.Unlock()
				}
				rt.Partitions = append(rt.Partitions, p)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	set := func(f func(*kmsg.MetadataResponseTopicPartition)) {
		mu.Lock()
		change = f
		mu.Unlock()
		l.cluster.ask()
	}
	well := func() { set(func(*kmsg.MetadataResponseTopicPartition) {}) }
	says := func(what string) func() bool {
		return func() bool { ok, _, detail := l.Health(); return ok == (what == "") && strings.Contains(detail, what) }
	}

	set(func(p *kmsg.MetadataResponseTopicPartition) { p.Leader, p.ISR = -1, nil })
	until(t, "it has no leader", says("p.ledger-1 has no leader"))
	if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); !errors.Is(a.Err, ledger.ErrRefused) || !errors.Is(a.Err, errNoLeader) {
		t.Errorf("without a leader: %v", a.Err)
	}
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
		t.Errorf("the other partition: %v", a.Err)
	}
	well()
	until(t, "it has one", says(""))
	if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); a.Err != nil {
		t.Errorf("with a leader: %v", a.Err)
	}

	// A leader that answers questions, and appends with an error, is not asked to take any
	// for a while, and is named.
	slow := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "p.ledger", Partitions: []int32{1}, Err: kerr.RequestTimedOut, Count: -1})
	if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); !errors.Is(a.Err, ledger.ErrUnknown) {
		t.Errorf("too slow: %v", a.Err)
	}
	until(t, "it is too slow", says("01 takes no append: REQUEST_TIMED_OUT"))
	l.cluster.refresh(t.Context())
	if ok, _, _ := l.Health(); ok {
		t.Error("that a leader answers questions is taken for that it takes appends")
	}
	slow.Remove()
	head := headOf(t, l, 1)
	if a := retry(t, l, 1, logtest.Own(l, 1, 1)); a.First != head {
		t.Errorf("not slow any more: %+v, want %d", a, head)
	}
	until(t, "it is not slow any more", says(""))

	set(func(p *kmsg.MetadataResponseTopicPartition) { p.ISR = p.ISR[:1] })
	fault := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "p.ledger", Partitions: []int32{1}, Err: kerr.NotEnoughReplicas, Count: -1})
	until(t, "it has too few", says("p.ledger-1 has 1 of 3 replicas in sync"))
	if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); !errors.Is(a.Err, ledger.ErrRefused) || !errors.Is(a.Err, kerr.NotEnoughReplicas) {
		t.Errorf("with too few replicas: %v", a.Err)
	}
	// Its leader answers, and yet nothing is tried before it has enough.
	for range 3 {
		l.cluster.refresh(t.Context())
	}
	if len(l.sender.backlog.suspects()) != 1 {
		t.Error("a partition with too few replicas is thought to take appends")
	}
	fault.Remove()
	well()
	until(t, "it has enough", says(""))
	if a := retry(t, l, 1, logtest.Own(l, 1, 1)); a.First != head+1 {
		t.Errorf("with enough: %+v, want %d", a, head+1)
	}
}

// Bounds: what is too much is refused at once, whatever the brokers do.
func TestBounds(t *testing.T) {
	w := newWire(t)
	cfg := config(t, fake)
	cfg.dial, cfg.DeliverWithin = w.dial, 2*time.Second
	cfg.QueueEvents, cfg.QueueBytes = 100, 1<<20
	initLedger(t, cfg)
	l := open(t, cfg)
	log := &acks{log: l, t: t}
	log.append(0, 1)
	log.wait()
	w.freeze()
	for range 30 {
		log.append(1, 10)
	}
	big := logtest.Own(l, 2, 1)
	big[0].Data.(*event.MessageRouted).Rule = strings.Repeat("x", event.MaxSize/2)
	n := 0
	for range 20 {
		l.Append(2, big, func(ledger.Appended) {})
		n++
	}
	st := l.Stats()
	if st.QueuedEvents > cfg.QueueEvents || st.QueuedBytes > cfg.QueueBytes {
		t.Errorf("%+v wait", st)
	}
	w.thaw()
	log.wait()
	acked, refused, _ := log.check()
	if refused < 20 || acked < 2 {
		t.Errorf("%d acknowledged, %d refused; 20 of 30 have no room", acked, refused)
	}
	until(t, "nothing waits", func() bool { st := l.Stats(); return st.QueuedBytes == 0 && st.QueuedEvents == 0 })
}

// Sequence numbers go on at 0 after the largest. (kfake does not know that.)
func TestSequenceWraps(t *testing.T) {
	cfg := config(t, real)
	initLedger(t, cfg)
	l := open(t, cfg)
	p, err := newProducer(context.Background(), l.client)
	if err != nil {
		t.Fatal(err)
	}
	lane := &l.sender.lanes[engine.Slot(0)]
	// Answers come on the goroutine that owns the lane.
	appending := func(n int, then func()) {
		done := make(chan error)
		l.Append(0, logtest.Own(l, 0, n), func(a ledger.Appended) {
			then()
			done <- a.Err
		})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	// Of a producer that it does not know, a broker takes any sequence.
	appending(3, func() { lane.producer, lane.sequence = p, 1<<31-4 })
	appending(2, func() {})
	appending(5, func() {})
	appending(3, func() {})
	appending(1, func() {
		if lane.producer != p || lane.sequence != 7 {
			t.Errorf("producer %v, sequence %d", lane.producer, lane.sequence)
		}
	})
	if n := len(logtest.ReadAll(t, l, 0)); n != 14 {
		t.Errorf("%d events", n)
	}
}

// An append that is larger than a batch is several, and still one run of positions.
func TestLargeAppends(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		l := open(t, cfg)
		many := logtest.Own(l, 0, ledger.MaxAppend)
		largest := logtest.Own(l, 0, 3)
		for _, e := range largest {
			// Random, so that compression does not help.
			for data := e.Data.(*event.MessageRouted); ; {
				raw, err := event.Encode(e)
				if err != nil || len(raw) > event.MaxSize-100 {
					break
				}
				var b strings.Builder
				for range min(event.MaxSize-50-len(raw), 10000) {
					b.WriteByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[rand.IntN(64)])
				}
				data.Rule += b.String()
			}
		}
		answers := make(chan ledger.Appended, 3)
		report := func(a ledger.Appended) { answers <- a }
		l.Append(0, many, report)
		l.Append(0, largest, report)
		l.Append(0, logtest.Own(l, 0, 1), report)
		for _, want := range []int64{0, ledger.MaxAppend, ledger.MaxAppend + 3} {
			if a := <-answers; a.Err != nil || a.First != want {
				t.Fatalf("%+v, want %d", a, want)
			}
		}
		all := logtest.ReadAll(t, l, 0)
		for i, e := range append(many, largest...) {
			if all[i].Event.ID != e.ID {
				t.Fatalf("%d is %s, want %s", i, all[i].Event.ID, e.ID)
			}
		}
		if len(all) != ledger.MaxAppend+4 {
			t.Errorf("%d events", len(all))
		}
	})
}
