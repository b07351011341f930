package eventstorelog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// appends makes a fault of the next n appends to a stream; n < 0: of all.
func appends(stream string, n int, fault eventstoretest.Fault) func(eventstoretest.Call) eventstoretest.Fault {
	var met atomic.Int64
	return func(c eventstoretest.Call) eventstoretest.Fault {
		if c.Method != eventstoretest.Append || c.Stream != stream || n >= 0 && met.Add(1) > int64(n) {
			return eventstoretest.None
		}
		return fault
	}
}

// What can go wrong with an append, what is said of it, and what is there then.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		fault eventstoretest.Fault
		times int // -1: until it is taken away
		want  error
		there int // of 2 events
	}{
		// The node says that it did nothing: the same is sent again.
		{eventstoretest.RefuseNotReady, 2, nil, 2},
		{eventstoretest.RefuseNotReady, -1, ledger.ErrRefused, 0},
		{eventstoretest.RefuseTooBusy, 2, nil, 2},
		{eventstoretest.RefuseTooBusy, -1, ledger.ErrRefused, 0},
		{eventstoretest.NoLeaderInfo, 2, nil, 2},
		{eventstoretest.NoLeaderInfo, -1, ledger.ErrRefused, 0},
		// It does nothing, and will not.
		{eventstoretest.Denied, -1, ledger.ErrRefused, 0},
		{eventstoretest.Unauthenticated, -1, ledger.ErrRefused, 0},
		// Nobody can know.
		{eventstoretest.Break, 1, ledger.ErrUnknown, 0},
		{eventstoretest.LoseReply, 1, ledger.ErrUnknown, 2},
		{eventstoretest.TimeOut, 1, ledger.ErrUnknown, 0},
		{eventstoretest.WrittenTimeOut, 1, ledger.ErrUnknown, 2},
		{eventstoretest.WrittenLater, 1, ledger.ErrUnknown, 0},
		{eventstoretest.Hang, 1, ledger.ErrUnknown, 0},
		{eventstoretest.WrittenHang, 1, ledger.ErrUnknown, 2},
	} {
		t.Run(fmt.Sprintf("%v, %d times", c.fault, c.times), func(t *testing.T) {
			t.Parallel()
			cfg, fake := onProtocol(t)
			cfg.DeliverWithin = time.Second
			initLedger(t, cfg)
			l := open(t, cfg)
			fake.SetFault(appends(cfg.stream(0), c.times, c.fault))
			events := logtest.Own(l, 0, 2)
			a := logtest.Wait(l, 0, events)
			switch {
			case c.want == nil && a.Err != nil, c.want != nil && !errors.Is(a.Err, c.want):
				t.Fatalf("%v, want %v", a.Err, c.want)
			case c.want != nil && errors.Is(a.Err, ledger.ErrRefused) == errors.Is(a.Err, ledger.ErrUnknown):
				t.Fatalf("%v is both", a.Err)
			}
			t.Logf("the answer: %v", a.Err)
			if n := len(fake.Events(cfg.stream(0))); n != c.there {
				t.Fatalf("%d events are there, want %d", n, c.there)
			}
			fake.SetFault(nil)
			fake.Release()
			if c.fault == eventstoretest.WrittenLater {
				c.there = 2
			}
			if c.want != nil {
				// Others go on, and this one when it is tried again, in a second at most.
				if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); a.Err != nil {
					t.Errorf("another partition: %v", a.Err)
				}
				within(t, "the append is taken", func() bool {
					a := logtest.Wait(l, 0, events)
					if a.Err != nil && !errors.Is(a.Err, ledger.ErrRefused) {
						t.Errorf("again: %v", a.Err)
					}
					return a.Err == nil
				})
				c.there += 2
			}
			records := logtest.ReadAll(t, l, 0)
			if len(records) != c.there {
				t.Fatalf("%d events are there at the end, want %d", len(records), c.there)
			}
			for i, r := range records {
				if r.Event.ID != events[i%2].ID {
					t.Errorf("event %d is not ours", i)
				}
			}
			within(t, "the log is well", func() bool { ok, _, _ := l.Health(); return ok })
		})
	}
}

// An append that is repeated is there twice, whatever EventStoreDB remembers of ids, and
// one that has known and new events is taken whole.
func TestRepeats(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		initLedger(t, cfg)
		l := open(t, cfg)
		events := logtest.Own(l, 0, 3)
		want := int64(0)
		for _, part := range [][]*event.Event{events[:2], events[:2], events, events[1:], events[2:]} {
			a := logtest.Wait(l, 0, part)
			if a.Err != nil || a.First != want {
				t.Fatalf("%+v, want position %d", a, want)
			}
			want += int64(len(part))
		}
		if n := len(logtest.ReadAll(t, l, 0)); int64(n) != want {
			t.Errorf("%d events are there, want %d", n, want)
		}
	})
}

// A copy is written once, whatever is lost, and nothing comes between.
func TestExactAppends(t *testing.T) {
	for _, fault := range []eventstoretest.Fault{eventstoretest.RefuseNotReady, eventstoretest.Break, eventstoretest.LoseReply,
		eventstoretest.TimeOut, eventstoretest.WrittenTimeOut, eventstoretest.WrittenLater} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			t.Parallel()
			cfg, fake := onProtocol(t)
			cfg.Copy = true
			l := open(t, cfg)
			want := logtest.Events(1, 40)
			fake.SetFault(func(c eventstoretest.Call) eventstoretest.Fault {
				if c.Method == eventstoretest.Append && time.Now().UnixNano()%3 == 0 {
					return fault
				}
				return eventstoretest.None
			})
			for i := 0; i < len(want); i += 4 {
				a := logtest.Wait(l, 1, want[i:i+4])
				if a.Err != nil || a.First != int64(i) {
					t.Fatalf("%+v, want position %d", a, i)
				}
			}
			fake.SetFault(nil)
			fake.Release()
			if n := len(logtest.ReadAll(t, l, 1)); n != len(want) {
				t.Errorf("%d events, want %d", n, len(want))
			}
		})
	}
	t.Run("somebody else writes", func(t *testing.T) {
		onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
			cfg.Copy = true
			l := open(t, cfg)
			if a := logtest.Wait(l, 1, logtest.Events(1, 3)); a.Err != nil {
				t.Fatal(a.Err)
			}
			if a := logtest.Wait(foreign(t, cfg), 1, logtest.Events(2, 1)); a.Err != nil || a.First != 3 {
				t.Fatalf("%+v", a)
			}
			if a := logtest.Wait(l, 1, logtest.Events(3, 1)); !errors.Is(a.Err, ledger.ErrRefused) || !errors.Is(a.Err, errWrongRevision) {
				t.Errorf("%v, want that somebody else has written", a.Err)
			}
		})
	})
}

// Two nodes on one partition: both read the same, dense and whole, and each append of
// either is one run but for the other's events between.
func TestTwoNodes(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		initLedger(t, cfg)
		logtest.TwoProcesses(t, [2]logtest.Ledger{open(t, cfg), open(t, cfg)})
	})
}

// One append is as many writes as it needs, none larger than a server takes; where a later
// one fails, nobody can know of the whole.
func TestLargeAppend(t *testing.T) {
	cfg, fake := onProtocol(t)
	cfg.DeliverWithin = time.Second
	initLedger(t, cfg)
	l := open(t, cfg)
	large := func(n, size int) []*event.Event {
		events := logtest.Own(l, 0, n)
		for _, e := range events {
			e.Data = &event.MessageSubmitted{Purpose: strings.Repeat("x", size)}
		}
		return events
	}
	if a := logtest.Wait(l, 0, large(30, 100_000)); a.Err != nil || a.First != 0 {
		t.Fatalf("%+v", a)
	}
	if a := logtest.Wait(l, 0, large(3, event.MaxSize-1000)); a.Err != nil || a.First != 30 {
		t.Fatalf("%+v", a)
	}
	if n := len(logtest.ReadAll(t, l, 0)); n != 33 {
		t.Fatalf("%d events", n)
	}
	met := 0
	fake.SetFault(func(c eventstoretest.Call) eventstoretest.Fault {
		if c.Method == eventstoretest.Append {
			if met++; met == 2 {
				return eventstoretest.Denied
			}
		}
		return eventstoretest.None
	})
	a := logtest.Wait(l, 0, large(12, 100_000))
	if !errors.Is(a.Err, ledger.ErrUnknown) {
		t.Errorf("cut short: %v, want ErrUnknown", a.Err)
	}
	if n := len(logtest.ReadAll(t, l, 0)) - 33; n == 0 || n == 12 {
		t.Errorf("%d of 12 are there", n)
	}
}

// A server with a smaller limit refuses, and says so.
func TestServerLimit(t *testing.T) {
	cfg, _ := onOptions(t, eventstoretest.Options{MaxAppendSize: 10_000})
	initLedger(t, cfg)
	l := open(t, cfg)
	e := logtest.Own(l, 0, 1)
	e[0].Data = &event.MessageSubmitted{Purpose: strings.Repeat("x", 20_000)}
	if a := logtest.Wait(l, 0, e); !errors.Is(a.Err, ledger.ErrRefused) || !strings.Contains(a.Err.Error(), "Maximum Append Size") {
		t.Errorf("%v", a.Err)
	}
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
		t.Errorf("the next one: %v", a.Err)
	}
}

// What waits is bounded, and what is too much is refused at once.
func TestQueueBounds(t *testing.T) {
	cfg, fake := onProtocol(t)
	cfg.QueueEvents, cfg.QueueBytes = 50, 30_000
	initLedger(t, cfg)
	l := open(t, cfg)
	release := fake.Stall()
	answers := make(chan ledger.Appended, 100)
	taken := 0
	for range 100 {
		refused := false
		l.Append(0, logtest.Own(l, 0, 1), func(a ledger.Appended) {
			if errors.Is(a.Err, engine.ErrFull) {
				refused = true
				return
			}
			answers <- a
		})
		if !refused {
			taken++
		}
	}
	if s := l.Stats(); s.QueuedEvents != taken || s.QueuedBytes > cfg.QueueBytes || taken > 50 || taken < 20 {
		t.Errorf("%d were taken: %+v", taken, s)
	}
	release()
	for range taken {
		if a := <-answers; a.Err != nil {
			t.Error(a.Err)
		}
	}
	if s := l.Stats(); s.QueuedEvents != 0 || s.QueuedBytes != 0 {
		t.Errorf("afterwards %+v", s)
	}
}

// A server that is away: appends are refused, at once after the first, the log says that it
// is not well, and it heals by itself.
func TestAway(t *testing.T) {
	cfg, fake := onProtocol(t)
	cfg.DeliverWithin = time.Second
	initLedger(t, cfg)
	l := open(t, cfg)
	address := fake.Address()
	fake.Close()
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); !errors.Is(a.Err, ledger.ErrRefused) && !errors.Is(a.Err, ledger.ErrUnknown) {
		t.Errorf("%v", a.Err)
	}
	writes := l.Stats().Writes
	refused := 0
	for range 1000 {
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); errors.Is(a.Err, ledger.ErrRefused) {
			refused++
		}
	}
	if refused != 1000 || l.Stats().Writes > writes+20 {
		t.Errorf("%d of 1000 were refused, with %d more writes", refused, l.Stats().Writes-writes)
	}
	within(t, "the log is not well", func() bool { ok, _, detail := l.Health(); return !ok && detail != "" })
	if _, _, err := l.Read(context.Background(), 0, 0, 1); err == nil {
		t.Error("a read gave no error")
	}
	again, err := eventstoretest.Start(eventstoretest.Options{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Close)
	within(t, "the log is well, or says that events are lost", func() bool {
		ok, _, detail := l.Health()
		return ok || strings.Contains(detail, "lost events")
	})
	if ok, _, _ := l.Health(); ok {
		t.Error("the new server has nothing, and the log does not say so")
	}
}

// A network that swallows everything: each append has its answer in time, and when it is
// over the log goes on.
func TestSilence(t *testing.T) {
	cfg, _ := onProtocol(t)
	cfg.DeliverWithin = time.Second
	initLedger(t, cfg)
	proxy, through := servertest.Through(t, cfg.Connection)
	cfg.Connection = through
	l := open(t, cfg)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
		t.Fatal(a.Err)
	}
	proxy.Set(t, servertest.Hang)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); !errors.Is(a.Err, ledger.ErrUnknown) {
		t.Errorf("%v, want ErrUnknown", a.Err)
	}
	if _, _, err := l.Read(context.Background(), 0, 0, 1); err == nil {
		t.Error("a read gave no error")
	}
	within(t, "the log is not well", func() bool { ok, _, _ := l.Health(); return !ok })
	proxy.Set(t, servertest.Forward)
	within(t, "appends are taken", func() bool { return logtest.Wait(l, 0, logtest.Own(l, 0, 1)).Err == nil })
	within(t, "the log is well", func() bool { ok, _, _ := l.Health(); return ok })
}

// What is certainly not written is refused before what nobody can know of is given up.
func TestRefusedFirst(t *testing.T) {
	t.Parallel()
	cfg, fake := onProtocol(t)
	cfg.DeliverWithin = refuseAfter * 3 / 2
	initLedger(t, cfg)
	l := open(t, cfg)
	faults := map[string]eventstoretest.Fault{cfg.stream(0): eventstoretest.RefuseNotReady, cfg.stream(1): eventstoretest.Hang}
	fake.SetFault(func(c eventstoretest.Call) eventstoretest.Fault {
		if c.Method == eventstoretest.Append {
			return faults[c.Stream]
		}
		return eventstoretest.None
	})
	answers := make(chan error, 2)
	for _, p := range []event.Partition{1, 0} {
		l.Append(p, logtest.Own(l, p, 1), func(a ledger.Appended) { answers <- a.Err })
	}
	if err := <-answers; !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("first comes %v, want ErrRefused", err)
	}
	if err := <-answers; !errors.Is(err, ledger.ErrUnknown) {
		t.Errorf("then comes %v, want ErrUnknown", err)
	}
	if n := len(fake.Events(cfg.stream(0))); n != 0 {
		t.Errorf("%d events are there", n)
	}
}

// What is wrong with the audit log alone is told aside: no message needs it.
func TestAuditAside(t *testing.T) {
	t.Parallel()
	cfg, _ := onProtocol(t)
	initLedger(t, cfg)
	l := open(t, cfg)
	now := time.Now()
	fail := func(p event.Partition) (err, aside error) {
		l.sender.mu.Lock()
		l.sender.admission.Failed(engine.Slot(p), errors.New("no answer"), true, now, now)
		l.sender.mu.Unlock()
		return l.sender.answers(now)
	}
	if err, aside := fail(event.AuditPartition); err != nil || aside == nil {
		t.Errorf("of the audit log: %v, aside %v", err, aside)
	}
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
		t.Errorf("another partition: %v", a.Err)
	}
	if err, aside := fail(0); err == nil || aside == nil {
		t.Errorf("of both: %v, aside %v", err, aside)
	}
}
