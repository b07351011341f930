package eventstorelog

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// A reader comes from the beginning to live and stays there, without a gap and without a
// repeat, however often what it reads by is cut.
func TestCutOff(t *testing.T) {
	cfg, fake := onProtocol(t)
	initLedger(t, cfg)
	l, other := open(t, cfg), open(t, cfg)
	const n = 600
	var want []*event.Event
	for range n / 10 {
		want = append(want, logtest.Own(l, 0, 10)...)
	}
	var mu sync.Mutex
	rng, subscribed := rand.New(rand.NewPCG(1, 2)), 0
	fake.SetFault(func(c eventstoretest.Call) eventstoretest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if c.Stream != cfg.stream(0) || c.Method != eventstoretest.Read && c.Method != eventstoretest.Subscribe {
			return eventstoretest.None
		}
		d := rng.IntN(10)
		if c.Method == eventstoretest.Subscribe {
			if subscribed++; subscribed <= 8 {
				return eventstoretest.Cut // one that is never cut would bring all the rest
			}
		}
		switch {
		case d < 3 || d < 9 && c.Method == eventstoretest.Subscribe:
			return eventstoretest.Cut
		case d == 3:
			return eventstoretest.Break
		case d == 4:
			return eventstoretest.RefuseNotReady
		}
		return eventstoretest.None
	})
	// The first half is there; of the second, each append comes when the reader waits for it.
	if a := logtest.Wait(other, 0, want[:n/2]); a.Err != nil {
		t.Fatal(a.Err)
	}
	turn := make(chan struct{}, 1)
	go func() {
		for i := n / 2; i < n; i += 10 {
			<-turn
			if a := logtest.Wait(other, 0, want[i:i+10]); a.Err != nil {
				t.Error(a.Err)
			}
		}
	}()
	for next := 0; next < n; {
		if next >= n/2 && next%10 == 0 {
			turn <- struct{}{}
		}
		records, head, err := l.Read(context.Background(), 0, int64(next), 37)
		if err != nil || head < int64(next+len(records)) {
			t.Fatalf("head %d, %v", head, err)
		}
		for _, r := range records {
			if r.Index != int64(next) || r.Event.ID != want[next].ID {
				t.Fatalf("at %d there came %d", next, r.Index)
			}
			next++
		}
	}
	if s := l.Stats(); s.Subscriptions < 5 {
		t.Errorf("only %d subscriptions: nothing was cut", s.Subscriptions)
	}
}

// One reader has one subscription, which waits when nobody reads.
func TestOneSubscription(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		initLedger(t, cfg)
		l := open(t, cfg)
		other := open(t, cfg)
		read := func(from int64, most int) []ledger.Record {
			t.Helper()
			records, _, err := l.Read(context.Background(), 0, from, most)
			if err != nil {
				t.Fatal(err)
			}
			return records
		}
		got := make(chan []ledger.Record)
		go func() { got <- read(0, 10) }()
		within(t, "the reader waits", func() bool { return l.cursors.has(0) })
		if a := logtest.Wait(other, 0, logtest.Own(l, 0, 1)); a.Err != nil {
			t.Fatal(a.Err)
		}
		<-got
		const n = 3 * cursorEvents
		for range n / 1000 {
			if a := logtest.Wait(other, 0, logtest.Own(l, 0, 1000)); a.Err != nil {
				t.Fatal(a.Err)
			}
		}
		var x *cursor
		within(t, "the cursor is full", func() bool {
			l.cursors.mu.Lock()
			defer l.cursors.mu.Unlock()
			x = l.cursors.idle[0][0]
			x.mu.Lock()
			defer x.mu.Unlock()
			return len(x.records) >= cursorEvents || x.bytes >= cursorBytes
		})
		next := int64(1)
		for next < n/1000*1000 {
			records := read(next, 100)
			if len(records) == 0 || records[0].Index != next {
				t.Fatalf("%d records at %d", len(records), next)
			}
			next += int64(len(records))
			x.mu.Lock()
			if len(x.records) > cursorEvents || x.bytes > cursorBytes+event.MaxSize {
				t.Fatalf("the cursor has %d records, %d bytes", len(x.records), x.bytes)
			}
			x.mu.Unlock()
		}
		if s := l.Stats(); s.Subscriptions != 1 {
			t.Errorf("%d subscriptions", s.Subscriptions)
		}
	})
}

// More readers at one head than there are cursors all get what comes.
func TestManyReaders(t *testing.T) {
	cfg, _ := onProtocol(t)
	initLedger(t, cfg)
	l := open(t, cfg)
	var readers sync.WaitGroup
	for range 2 * maxCursors {
		readers.Go(func() {
			for next := int64(0); next < 20; {
				records, _, err := l.Read(context.Background(), 0, next, 3)
				if err != nil {
					t.Error(err)
					return
				}
				next += int64(len(records))
			}
		})
	}
	for range 20 {
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
			t.Fatal(a.Err)
		}
	}
	readers.Wait()
}

// What EventStoreDB took away is never stepped over.
func TestGap(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		initLedger(t, cfg)
		l := open(t, cfg)
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 10)); a.Err != nil {
			t.Fatal(a.Err)
		}
		if _, err := l.conn.append(context.Background(), "$$"+cfg.stream(0), noStream, message("$metadata", []byte(`{"$tb":4}`))); err != nil {
			t.Fatal(err)
		}
		for _, from := range []int64{0, 3} {
			if records, _, err := l.Read(context.Background(), 0, from, 100); len(records) > 0 || !errors.Is(err, errGap) {
				t.Errorf("from %d: %d records, %v", from, len(records), err)
			}
		}
		if records, _, err := l.Read(context.Background(), 0, 4, 100); len(records) != 6 || err != nil {
			t.Errorf("what is there: %d records, %v", len(records), err)
		}
		if _, _, err := l.Read(context.Background(), 0, 11, 100); !errors.Is(err, ledger.ErrAhead) {
			t.Errorf("past the head: %v", err)
		}
		if err := checkAlone(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "$tb") {
			t.Errorf("checked, it says %v", err)
		}
	})
}

// A record that is no event comes back with the reason, and what follows it as well.
func TestForeign(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		initLedger(t, cfg)
		l := open(t, cfg)
		elsewhere := logtest.Own(l, 1, 1)
		good := logtest.Own(l, 0, 2)
		if a := logtest.Wait(l, 0, good[:1]); a.Err != nil {
			t.Fatal(a.Err)
		}
		raw, err := event.Encode(elsewhere[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, data := range [][]byte{[]byte("hello"), {}, []byte(`{"specversion":"1.0"}`), raw} {
			if _, err := l.conn.append(context.Background(), cfg.stream(0), anyRevision, message("hello", data)); err != nil {
				t.Fatal(err)
			}
		}
		if a := logtest.Wait(l, 0, good[1:]); a.Err != nil || a.First != 5 {
			t.Fatalf("%+v", a)
		}
		for _, from := range []int64{0, 1} {
			records, head, err := l.Read(context.Background(), 0, from, 100)
			if err != nil || head != 6 || int64(len(records)) != 6-from {
				t.Fatalf("%d records, head %d, %v", len(records), head, err)
			}
			for _, r := range records {
				if good := r.Index == 0 || r.Index == 5; (r.Bad == nil) != good || (r.Event != nil) != good {
					t.Errorf("%d: %+v", r.Index, r)
				}
			}
		}
	})
}

// What comes back of our own need not be decoded.
func TestOwn(t *testing.T) {
	onBoth(t, func(t *testing.T, cfg Config, _ *eventstoretest.Server) {
		initLedger(t, cfg)
		l := open(t, cfg)
		got := make(chan ledger.Record)
		go func() {
			for next := int64(0); next < 50; next++ {
				records, _, err := l.Read(context.Background(), 0, next, 1)
				if err != nil || len(records) != 1 {
					t.Errorf("%d records, %v", len(records), err)
					close(got)
					return
				}
				got <- records[0]
			}
		}()
		within(t, "the reader waits", func() bool { return l.cursors.has(0) })
		before := l.Stats().Decoded
		for range 50 {
			e := logtest.Own(l, 0, 1)
			if a := logtest.Wait(l, 0, e); a.Err != nil {
				t.Fatal(a.Err)
			}
			if r := <-got; r.Event != e[0] {
				t.Errorf("%d is not the one that was appended", r.Index)
			}
		}
		if d := l.Stats().Decoded - before; d != 0 {
			t.Errorf("%d were decoded", d)
		}
		if n, size := l.reader.Kept(); n != 0 || size != 0 {
			t.Errorf("%d events, %d bytes are still kept", n, size)
		}
	})
}

// A read whose server does not answer ends, within its bound.
func TestReadEnds(t *testing.T) {
	cfg, fake := onProtocol(t)
	cfg.DeliverWithin = time.Second
	initLedger(t, cfg)
	l := open(t, cfg)
	fake.SetFault(func(c eventstoretest.Call) eventstoretest.Fault {
		if c.Method == eventstoretest.Read {
			return eventstoretest.Hang
		}
		return eventstoretest.None
	})
	for _, most := range []int{0, 1} {
		if _, _, err := l.Read(context.Background(), 0, 0, most); err == nil {
			t.Errorf("at most %d: no error", most)
		}
	}
	within(t, "the log is not well", func() bool { ok, _, _ := l.Health(); return !ok })
	fake.SetFault(nil)
	within(t, "the log is well again", func() bool { ok, _, _ := l.Health(); return ok })
}
