package kafkalog

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// write produces records as anybody may who has access to the topics.
func write(t *testing.T, cfg Config, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func encoded(t *testing.T, e *event.Event) []byte {
	t.Helper()
	raw, err := event.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Records that are no events of this ledger are handed on with the reason, by the tail and
// from the broker, and everything around them is read.
func TestBadRecords(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		l := open(t, cfg)
		good := func() []byte { return encoded(t, logtest.Own(l, 1, 1)[0]) }
		foreign := logtest.Own(l, 1, 1)[0]
		foreign.Source = "/another"
		values := []struct {
			name  string
			value []byte
			why   string // "" is good
		}{
			{"good", good(), ""},
			{"no JSON", []byte("hello"), "decode event"},
			{"no value", nil, "no value"},
			{"an empty value", []byte{}, "no value"},
			{"cut short", good()[:100], "decode event"},
			{"good again", good(), ""},
			{"an unknown type", bytes.Replace(good(), []byte("MessageRouted.v1"), []byte("MessageRouted.v9"), 1), "unknown event type"},
			{"another spelling", append(good(), ' '), "follows it"},
			{"spaces", bytes.Replace(good(), []byte(`{"specversion"`), []byte(`{ "specversion"`), 1), "not those that the encoder writes"},
			{"another ledger's", encoded(t, foreign), `"/another"`},
			{"another partition's", encoded(t, logtest.Own(l, 2, 1)[0]), "belongs in partition 02"},
			{"the last", good(), ""},
		}
		follow := make(chan []ledger.Record)
		go func() {
			defer close(follow)
			for next := int64(0); next < int64(len(values)); {
				records, _, err := l.Read(context.Background(), 1, next, 3)
				if err != nil {
					t.Error(err)
					return
				}
				follow <- records
				next += int64(len(records))
			}
		}()
		until(t, "the tail follows", func() bool { return l.tails.has(engine.Slot(1)) })
		for _, v := range values {
			write(t, cfg, &kgo.Record{Topic: cfg.Prefix + ".ledger", Partition: 1, Value: v.value})
		}
		var tailed, stored []ledger.Record
		for records := range follow {
			tailed = append(tailed, records...)
		}
		for next := int64(0); next < int64(len(values)); {
			records, _, err := l.readStored(t.Context(), engine.Slot(1), next, 5)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, records...)
			next += int64(len(records))
		}
		for _, got := range [][]ledger.Record{tailed, stored} {
			if len(got) != len(values) {
				t.Fatalf("%d records", len(got))
			}
			for i, r := range got {
				v := values[i]
				if r.Index != int64(i) || !bytes.Equal(r.Raw, v.value) {
					t.Errorf("%s: index %d, bytes %q", v.name, r.Index, r.Raw)
				}
				if v.why == "" {
					if r.Bad != nil || r.Event == nil {
						t.Errorf("%s: bad, %v", v.name, r.Bad)
					}
					continue
				}
				position := event.Position{Partition: 1, Index: int64(i)}.String()
				if r.Bad == nil || r.Event != nil || !strings.Contains(r.Bad.Error(), v.why) || !strings.Contains(r.Bad.Error(), position) {
					t.Errorf("%s: %v", v.name, r.Bad)
				}
				if v.name == "an unknown type" && !errors.Is(r.Bad, event.ErrUnknownType) {
					t.Errorf("%s: %v is not ErrUnknownType", v.name, r.Bad)
				}
			}
		}
		// The partition takes appends, and the others know nothing of it.
		if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); a.Err != nil || a.First != int64(len(values)) {
			t.Errorf("%+v", a)
		}
		if n := len(logtest.ReadAll(t, l, 2)); n != 0 {
			t.Errorf("02 has %d events", n)
		}
	})
}

// An event of this process comes back as itself, equal to what decoding gives; another's
// bytes under the same id do not.
func TestOwnEvents(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		l := open(t, cfg)
		appended := logtest.Own(l, 0, 50)
		appended[7].Data = logtest.Events(1, 1)[0].Data
		got := make(chan ledger.Record)
		go func() {
			defer close(got)
			for next := int64(0); next < 52; {
				records, _, err := l.Read(context.Background(), 0, next, 10)
				if err != nil {
					t.Error(err)
					return
				}
				for _, r := range records {
					got <- r
				}
				next += int64(len(records))
			}
		}()
		until(t, "the tail follows", func() bool { return l.tails.has(engine.Slot(0)) })
		before := l.Stats()
		for i := range appended {
			l.Append(0, appended[i:i+1], func(a ledger.Appended) {
				if a.Err != nil {
					t.Error(a.Err)
				}
			})
		}
		for i := range appended {
			r := <-got
			if r.Event != appended[i] {
				t.Errorf("event %d is not the one that was appended", i)
			}
			decoded, err := event.Decode(r.Raw)
			if err != nil || !reflect.DeepEqual(decoded, r.Event) {
				t.Errorf("event %d is not what its bytes say: %v", i, err)
			}
		}
		after := l.Stats()
		if after.Decoded != before.Decoded || after.Read-before.Read != 50 {
			t.Errorf("%d of %d events were decoded", after.Decoded-before.Decoded, after.Read-before.Read)
		}
		// The same id, other bytes, before ours comes back.
		mine := logtest.Own(l, 0, 1)
		other := *mine[0]
		other.Node = "another"
		l.reader.Keep(0, mine, [][]byte{encoded(t, mine[0])})
		write(t, cfg, &kgo.Record{Topic: cfg.Prefix + ".ledger", Partition: 0, Value: encoded(t, &other)})
		if r := <-got; r.Event == nil || r.Event.Node != "another" {
			t.Errorf("another's event came back as %+v", r)
		}
		if a := logtest.Wait(l, 0, mine); a.Err != nil {
			t.Fatal(a.Err)
		}
		if r := <-got; r.Event != mine[0] {
			t.Errorf("ours came back as %+v", r)
		}
		if n, size := l.reader.Kept(); n != 0 || size != 0 {
			t.Errorf("%d events, %d bytes are still kept", n, size)
		}
	})
}

// Two processes append and read at the same time: both read the same, and each append is
// one run but for another's events between.
func TestTwoProcesses(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		logtest.TwoProcesses(t, [2]logtest.Ledger{open(t, cfg), open(t, cfg)})
	})
}

// readFrom reads partition 0 from an index up to another.
func readFrom(t *testing.T, l *Log, from, to int64) (all []ledger.Record) {
	t.Helper()
	for from < to {
		records, _, err := l.Read(t.Context(), 0, from, int(to-from))
		if err != nil || len(records) == 0 {
			t.Fatal(len(records), err)
		}
		all, from = append(all, records...), from+int64(len(records))
	}
	return all
}

// Another program's transactions: each of their records and each marker is a record at its offset, also
// where the transaction was aborted or is still open.
func TestTransactions(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		l := open(t, cfg)
		own := logtest.Own(l, 0, 8)
		if a := logtest.Wait(l, 0, own[:5]); a.Err != nil {
			t.Fatal(a.Err)
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(cfg.Prefix))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		got := make(chan []ledger.Record)
		go func() { // one who waits at the head
			var all []ledger.Record
			for next := int64(5); next < 13; {
				records, _, err := l.Read(context.Background(), 0, next, 10)
				if err != nil {
					t.Error(err)
					break
				}
				all, next = append(all, records...), next+int64(len(records))
			}
			got <- all
		}()
		until(t, "the tail follows", func() bool { return l.tails.has(engine.Slot(0)) })
		transaction := func(head int64, end kgo.TransactionEndTry, values ...[]byte) {
			t.Helper()
			if err := client.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: cfg.Prefix + ".ledger", Partition: 0, Value: v}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			if err := client.EndTransaction(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			until(t, "the marker is there", func() bool { return headOf(t, l, 0) == head }) // the broker writes it after its answer
		}
		transaction(7, kgo.TryCommit, encoded(t, own[5]))              // 5, and its marker at 6
		transaction(10, kgo.TryAbort, encoded(t, own[6]), []byte("x")) // 7, 8, and its marker at 9
		if a := logtest.Wait(l, 0, own[7:]); a.Err != nil || a.First != 10 {
			t.Fatalf("after the transactions: %+v", a)
		}
		if err := client.BeginTransaction(); err != nil { // it stays open, and holds up no reader
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: cfg.Prefix + ".ledger", Partition: 0, Value: []byte("open")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil || a.First != 12 {
			t.Fatalf("beside an open transaction: %+v", a)
		}
		check := func(name string, records []ledger.Record) {
			t.Helper()
			if len(records) != 8 {
				t.Fatalf("%s: %d records", name, len(records))
			}
			for i, r := range records {
				index := int64(5 + i)
				if r.Index != index {
					t.Errorf("%s: record %d has index %d", name, index, r.Index)
				}
				_, marked := map[int64]bool{6: true, 9: true}[index]
				if bad := marked || index == 8 || index == 11; (r.Bad != nil) != bad {
					t.Errorf("%s: %d: %v", name, index, r.Bad)
				}
				if !marked {
					continue
				}
				kind := map[int64]string{6: "commit", 9: "abort"}[index]
				if !strings.HasPrefix(string(r.Raw), fmt.Sprintf("Kafka transaction marker: %s, offset %d, producer ", kind, index)) || !errors.Is(r.Bad, errMarker) {
					t.Errorf("%s: %d is %q, %v", name, index, r.Raw, r.Bad)
				}
			}
		}
		live := <-got
		check("live", live)
		stored := readFrom(t, open(t, cfg), 5, 13)
		check("stored", stored)
		for i := range live {
			if !bytes.Equal(live[i].Raw, stored[i].Raw) {
				t.Errorf("%d differs: %q, %q", live[i].Index, live[i].Raw, stored[i].Raw)
			}
		}
		// A copy keeps the bytes in an ordinary record, which is as bad there.
		target := cfg
		target.Prefix += "-copy"
		target.Copy = true
		if server == real {
			t.Cleanup(func() { deleteTopics(t, target) })
		}
		initLedger(t, target)
		to := open(t, target)
		for i := range stored {
			if a := logtest.Wait(to, 0, []*event.Event{{Data: &event.Opaque{Raw: stored[i].Raw}}}); a.Err != nil || a.First != int64(i) {
				t.Fatalf("%+v", a)
			}
		}
		for i, r := range readFrom(t, to, 0, 8) {
			if !bytes.Equal(r.Raw, stored[i].Raw) || (r.Bad == nil) != (stored[i].Bad == nil) || errors.Is(stored[i].Bad, errMarker) != errors.Is(r.Bad, errMarker) {
				t.Errorf("copied: %q, %v", r.Raw, r.Bad)
			}
		}
	})
}

// A log that lost its end: whoever waits behind it is told, and nothing is reset.
func TestLostEnd(t *testing.T) {
	for name, e := range map[string]*kerr.Error{"out of range": kerr.OffsetOutOfRange, "a lower head": nil} {
		t.Run(name, func(t *testing.T) { lostEnd(t, e) })
	}
}

func lostEnd(t *testing.T, e *kerr.Error) {
	k := cluster1(t)
	cfg := Config{Brokers: k.ListenAddrs(), Replication: 1, Partitions: 2, DeliverWithin: 2 * time.Second}
	initLedger(t, cfg)
	l := open(t, cfg)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 5)); a.Err != nil {
		t.Fatal(a.Err)
	}
	waiting := make(chan error)
	go func() {
		_, _, err := l.Read(context.Background(), 0, 5, 10)
		waiting <- err
	}()
	until(t, "the tail follows", func() bool { return l.tails.has(engine.Slot(0)) })
	// From here on the broker says what one says that came to lead without the last two.
	k.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req := r.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.HighWatermark, rp.LogStartOffset = p.Partition, 3, 0
				if p.FetchOffset > 3 && e != nil {
					rp.ErrorCode, rp.HighWatermark, rp.LogStartOffset = e.Code, -1, -1
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	k.ControlKey(int16(kmsg.ListOffsets), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		req := r.(*kmsg.ListOffsetsRequest)
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.Offset = p.Partition, 3
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	if err := <-waiting; !errors.Is(err, ledger.ErrAhead) {
		t.Errorf("who waited at the old head: %v, want ErrAhead", err)
	}
	if _, head, err := l.Read(t.Context(), 0, 4, 10); !errors.Is(err, ledger.ErrAhead) || head != 3 {
		t.Errorf("a read past the new head: %v, head %d", err, head)
	}
	if _, head, err := l.Read(t.Context(), 0, 0, 0); err != nil || head != 3 {
		t.Errorf("the head is %d, %v", head, err)
	}
}

// Only what is below the high watermark is read.
func TestNotYetDurable(t *testing.T) {
	cfg := config(t, fake)
	initLedger(t, cfg)
	l := open(t, cfg)
	events := logtest.Own(l, 0, 5)
	var raws [][]byte
	for _, e := range events {
		raws = append(raws, encoded(t, e))
	}
	batch := makeBatch(events, raws, time.Now())
	stamp(batch, producer{1, 0}, 0)
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark, p.RecordBatches = 2, batch
	if f := l.cluster.open(engine.Slot(0), 0, &p); f.err != nil || len(f.values) != 2 || f.head != 2 {
		t.Errorf("%d values, head %d, %v", len(f.values), f.head, f.err)
	}
	if f := l.cluster.open(engine.Slot(0), 1, &p); f.err != nil || len(f.values) != 1 || !bytes.Equal(f.values[0], raws[1]) {
		t.Errorf("from 1: %d values, %v", len(f.values), f.err)
	}
	batch[len(batch)-1] ^= 1
	p.HighWatermark = 5
	if f := l.cluster.open(engine.Slot(0), 0, &p); f.err == nil {
		t.Error("a damaged batch gave no error")
	}
}

// More than one answer holds is followed all the same: what got nothing comes first.
func TestFullAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		cfg.Partitions = 12
		initLedger(t, cfg)
		l, writer := open(t, cfg), open(t, cfg)
		const n = 12
		var reading sync.WaitGroup
		for p := range event.Partition(cfg.Partitions) {
			reading.Go(func() {
				for next := int64(0); next < n; {
					records, _, err := l.Read(context.Background(), p, next, 100)
					if err != nil {
						t.Error(err)
						return
					}
					next += int64(len(records))
				}
			})
		}
		for p := range cfg.Partitions {
			until(t, "the tails follow", func() bool { return l.tails.has(engine.Slot(event.Partition(p))) })
		}
		before := l.Stats().Fetches
		var writing sync.WaitGroup
		for p := range event.Partition(cfg.Partitions) {
			for _, e := range logtest.Own(l, p, n) {
				data := make([]byte, 90_000)
				rand.Read(data)
				e.Data = &event.InboundReceived{Sealed: event.Sealed{Box: data}}
				writing.Add(1)
				writer.Append(p, []*event.Event{e}, func(a ledger.Appended) {
					defer writing.Done()
					if a.Err != nil {
						t.Error(a.Err)
					}
				})
			}
		}
		writing.Wait()
		reading.Wait()
		if more := l.Stats().Fetches - before; more > 5 {
			t.Errorf("readers left their tails %d times", more)
		}
	})
}

// A leader that is new and does not know its end yet is not taken for one that lost it.
func TestNewLeader(t *testing.T) {
	k := cluster1(t)
	cfg := Config{Brokers: k.ListenAddrs(), Replication: 1, Partitions: 2, DeliverWithin: 5 * time.Second}
	initLedger(t, cfg)
	l := open(t, cfg)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 5)); a.Err != nil {
		t.Fatal(a.Err)
	}
	behind := 3
	k.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		req := r.(*kmsg.FetchRequest)
		if behind--; behind < 0 || req.MaxWaitMillis > 0 {
			return nil, nil, false
		}
		k.KeepControl()
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.HighWatermark = p.Partition, 2
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Err: kerr.OffsetNotAvailable, Count: 2})
	if records, head, err := l.Read(t.Context(), 0, 3, 10); err != nil || len(records) != 2 || head != 5 {
		t.Errorf("%d records, head %d, %v", len(records), head, err)
	}
}

// Those who ask for heads while a question is on its way are answered together, and not
// with what was true before they asked.
func TestHeadsTogether(t *testing.T) {
	k := cluster1(t)
	cfg := Config{Brokers: k.ListenAddrs(), Replication: 1, Partitions: 2}
	initLedger(t, cfg)
	l := open(t, cfg)
	asked := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Observe: true, Count: -1})
	const callers, times = 50, 20
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range times {
				a := logtest.Wait(l, 0, logtest.Own(l, 0, 1))
				if a.Err != nil {
					t.Error(a.Err)
				}
				if _, head, err := l.Read(context.Background(), 0, 0, 0); err != nil || head <= a.First {
					t.Errorf("the head after %d was acknowledged is %d, %v", a.First, head, err)
				}
			}
		})
	}
	wg.Wait()
	if n := asked.Hits(); n > callers*times/2 {
		t.Errorf("%d questions for %d answers", n, callers*times)
	}
}

// A tail that nobody reads ends, and the next reader begins another.
func TestIdleTail(t *testing.T) {
	cfg := config(t, fake)
	initLedger(t, cfg)
	l := open(t, cfg)
	read := func(from int64, want int) {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		if records, _, err := l.Read(ctx, 0, from, 10); err != nil || len(records) != want {
			t.Fatalf("%d records, %v", len(records), err)
		}
	}
	reading := make(chan bool)
	go func() { read(0, 1); reading <- true }()
	until(t, "the tail follows", func() bool { return l.tails.has(engine.Slot(0)) })
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
		t.Fatal(a.Err)
	}
	<-reading
	l.tails.mu.Lock()
	l.tails.bySlot[engine.Slot(0)].used = time.Now().Add(-tailIdle - time.Second)
	l.tails.mu.Unlock()
	until(t, "the tail ended", func() bool { return !l.tails.has(engine.Slot(0)) })
	until(t, "nobody fetches", func() bool {
		l.tails.mu.Lock()
		defer l.tails.mu.Unlock()
		return len(l.tails.brokers) == 0
	})
	go func() { read(1, 1); reading <- true }()
	until(t, "the tail follows again", func() bool { return l.tails.has(engine.Slot(0)) })
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err != nil {
		t.Fatal(a.Err)
	}
	<-reading
}

// What a tail takes: what follows on what it has, and nothing else; and who got nothing is
// asked for first.
func TestTail(t *testing.T) {
	cfg := config(t, fake)
	initLedger(t, cfg)
	l := open(t, cfg)
	ts := &tails{log: l, client: l.client, brokers: map[int32]bool{l.cluster.leader(engine.Slot(0)): true}, bySlot: make([]*tail, l.cluster.slots)}
	for p := range event.Partition(4) {
		ts.follow(engine.Slot(p), int64(p))
	}
	raw := encoded(t, logtest.Own(l, 2, 1)[0])
	f := ts.bySlot[engine.Slot(2)]
	for _, c := range []struct {
		from, head, next int64
		values           int
	}{
		{1, 5, 2, 1}, // an older fetch, of a leader that was
		{3, 5, 2, 1},
		{2, 5, 3, 1},
		{2, 5, 3, 1}, // the same once more
		{3, 3, 3, 0},
		{3, 9, 3, 0}, // there is more, and others filled the answer
		{3, 9, 3, 0},
	} {
		part := fetched{head: c.head}
		for range c.values {
			part.values = append(part.values, raw)
		}
		ts.extend(f, c.from, part)
		if f.next != c.next || ts.bySlot[engine.Slot(2)] != f {
			t.Errorf("%+v: next is %d", c, f.next)
		}
	}
	if records, head, _ := ts.read(engine.Slot(2), 2, 10); len(records) != 1 || records[0].Index != 2 || head != 5 {
		t.Errorf("%d records, head %d", len(records), head)
	}
	if wants, _, _ := ts.wants(l.cluster.leader(engine.Slot(0))); len(wants) != 4 || wants[0] != (want{engine.Slot(2), 3}) {
		t.Errorf("it wants %v", wants)
	}
	// What may pass is waited for, on its own.
	ts.extend(ts.bySlot[engine.Slot(1)], 1, fetched{err: kerr.NotLeaderForPartition})
	if wants, _, wait := ts.wants(l.cluster.leader(engine.Slot(0))); len(wants) != 3 || wait <= 0 {
		t.Errorf("it wants %v, and the rest in %s", wants, wait)
	}
	// What does not pass ends it.
	for i, part := range []fetched{{head: 9}, {err: kerr.OffsetOutOfRange}, {err: errGap}, {head: 1}} {
		p := event.Partition(2)
		if i > 0 {
			ts.follow(engine.Slot(2), 3)
		}
		f := ts.bySlot[engine.Slot(p)]
		wake := f.wake
		ts.extend(f, 3, part)
		select {
		case <-wake:
		default:
			t.Errorf("%+v does not wake who waits", part)
		}
		if ts.bySlot[engine.Slot(p)] != nil {
			t.Errorf("%+v does not end the tail", part)
		}
	}
}

// A tail is bounded, and who is behind it reads from the broker.
func TestTailBound(t *testing.T) {
	cfg := config(t, fake)
	cfg.TailBytes = 10_000
	initLedger(t, cfg)
	l := open(t, cfg)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan bool)
	var read atomic.Int64
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			records, _, err := l.Read(ctx, 0, read.Load(), 10)
			if err != nil {
				t.Error(err)
				return
			}
			read.Add(int64(len(records)))
		}
	}()
	for i := range int64(20) {
		if a := logtest.Wait(l, 0, logtest.Own(l, 0, 50)); a.Err != nil {
			t.Fatal(a.Err)
		}
		// A reader that stays at the head is served by the tail.
		until(t, "it is read", func() bool { return read.Load() == (i+1)*50 })
	}
	until(t, "the tail has all", func() bool {
		l.tails.mu.Lock()
		defer l.tails.mu.Unlock()
		f := l.tails.bySlot[engine.Slot(0)]
		return f != nil && f.next == 1000
	})
	l.tails.mu.Lock()
	f := l.tails.bySlot[engine.Slot(0)]
	if n := len(f.records); f.bytes > cfg.TailBytes || n == 0 || n > 40 || f.records[n-1].Index != 999 {
		t.Errorf("%d bytes of %d events", f.bytes, n)
	}
	l.tails.mu.Unlock()
	if n := len(logtest.ReadAll(t, l, 0)); n != 1000 {
		t.Errorf("%d events", n)
	}
	stop()
	<-done
}
