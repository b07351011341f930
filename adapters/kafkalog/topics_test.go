package kafkalog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/engine"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestInit(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		if _, err := Open(t.Context(), cfg); err == nil || strings.Count(err.Error(), `run "chirograph log init"`) != topicCount {
			t.Errorf("without topics: %v", err)
		}
		// All at once, and they make one ledger.
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := 0
		for range 6 {
			wg.Go(func() {
				created, err := Init(context.Background(), cfg)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if created {
					made++
				}
			})
		}
		wg.Wait()
		if made == 0 {
			t.Error("nobody made it")
		}
		if created, err := Init(t.Context(), cfg); created || err != nil {
			t.Errorf("once more: created %v, %v", created, err)
		}
		l := open(t, cfg)
		records := logtest.ReadAll(t, l, event.ControlPartition)
		if len(records) != 1 {
			t.Fatalf("control has %d events", len(records))
		}
		created, ok := records[0].Event.Data.(*event.LedgerCreated)
		if !ok || created.Partitions != 4 || created.NumberForms != 1 || len(created.Ledger) != 8 {
			t.Errorf("it begins with %+v", records[0].Event.Data)
		}
		if l.Source() != "/"+created.Ledger || l.Source() != records[0].Event.Source || l.Partitions() != 4 {
			t.Errorf("source %s, %d partitions", l.Source(), l.Partitions())
		}
		if err := checkAlone(t.Context(), cfg); err != nil {
			t.Error(err)
		}
		cfg.Partitions = 0
		if err := open(t, cfg).Close(); err != nil {
			t.Error(err)
		}
	})
}

// Two that both found control empty write one first event: the broker takes the second for
// a repeat.
func TestOneFirstEvent(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		cfg.Copy = true
		initLedger(t, cfg)
		cfg, err := cfg.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		client, err := cfg.client()
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		found, _, err := examine(t.Context(), &cfg, client, false)
		if err != nil {
			t.Fatal(err)
		}
		c := newCluster(&cfg, client, 4+ledgerTopic)
		c.ids = found.ids
		c.look(t.Context())
		for i := range 3 {
			e := logtest.Events(i, 1)[0]
			raw, err := event.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			f := &flight{slot: engine.Slot(event.ControlPartition), batch: makeBatch([]*event.Event{e}, [][]byte{raw}, time.Now())}
			stamp(f.batch, firstProducer, 0)
			if err := c.produce(t.Context(), f); err != nil || f.base != 0 {
				t.Errorf("the %dth stands at %d, %v", i+1, f.base, err)
			}
		}
		if head := c.list(t.Context(), []int{engine.Slot(event.ControlPartition)}, latest)[engine.Slot(event.ControlPartition)]; head.offset != 1 || head.err != nil {
			t.Errorf("control's head is %+v", head)
		}
	})
}

func TestCopy(t *testing.T) {
	cfg := config(t, fake)
	initLedger(t, cfg)
	from := open(t, cfg)
	want := logtest.Own(from, 1, 20)
	if a := logtest.Wait(from, 1, want); a.Err != nil {
		t.Fatal(a.Err)
	}
	target := cfg
	target.Prefix += "-copy"
	target.Copy = true
	initLedger(t, target)
	to := open(t, target)
	if to.Source() != "" {
		t.Errorf("its source is %q before it has one", to.Source())
	}
	for p := event.AuditPartition; int(p) < from.Partitions(); p++ {
		for _, r := range logtest.ReadAll(t, from, p) {
			if a := logtest.Wait(to, p, []*event.Event{r.Event}); a.Err != nil || a.First != r.Index {
				t.Fatalf("%+v, want %d", a, r.Index)
			}
		}
	}
	to.Close()
	target.Copy = false
	if created, err := Init(t.Context(), target); created || err != nil {
		t.Errorf("Init of what was copied: %v, %v", created, err)
	}
	to = open(t, target)
	got := logtest.ReadAll(t, to, 1)
	if to.Source() != from.Source() || len(got) != len(want) {
		t.Errorf("the copy is %s with %d events, want %s and %d", to.Source(), len(got), from.Source(), len(want))
	}
}

// A ledger from before the audit log has three topics. A node says what to run, log init makes the
// fourth with the settings of the others, and nodes that have the ledger open go on.
func TestOlderLedger(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		want := logtest.Own(open(t, cfg), 1, 20)
		old := open(t, cfg)
		if a := logtest.Wait(old, 1, want[:10]); a.Err != nil {
			t.Fatal(a.Err)
		}
		a := admin(t, cfg)
		if _, err := a.DeleteTopics(t.Context(), cfg.Prefix+".audit"); err != nil {
			t.Fatal(err)
		}
		until(t, "the topic is deleted", func() bool {
			topics, err := a.ListTopics(t.Context(), cfg.Prefix+".audit")
			return err == nil && topics[cfg.Prefix+".audit"].Err != nil
		})
		// The audit topic alone is away: that is told, and the node is in good health.
		until(t, "it is told", func() bool {
			old.cluster.ask()
			ok, _, detail := old.Health()
			return ok && strings.Contains(detail, ".audit")
		})
		if a := logtest.Wait(old, 1, want[10:]); a.Err != nil {
			t.Errorf("without the audit topic: %v", a.Err)
		}
		if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), cfg.Prefix+".audit is missing: run \"chirograph log init\"") {
			t.Fatalf("without the audit topic: %v", err)
		}
		if created, err := Init(t.Context(), cfg); err != nil || !created {
			t.Fatalf("log init: %v, %v", created, err)
		}
		l := open(t, cfg)
		if n := len(logtest.ReadAll(t, l, 1)); n != len(want) {
			t.Errorf("%d events, want %d", n, len(want))
		}
		if a := logtest.Wait(l, event.AuditPartition, logtest.Events(1, 5)); a.First != 0 || a.Err != nil {
			t.Errorf("%+v", a)
		}
	})
}

// What check refuses, and its words.
func TestRefusals(t *testing.T) {
	alter := func(topic, name, value string) func(*testing.T, *Config) {
		return func(t *testing.T, cfg *Config) {
			r, err := admin(t, *cfg).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: name, Value: kadm.StringPtr(value)}}, cfg.Prefix+topic)
			if err != nil || r[0].Err != nil {
				t.Fatal(err, r)
			}
		}
	}
	drop := func(topic string) func(*testing.T, *Config) {
		return func(t *testing.T, cfg *Config) {
			if _, err := admin(t, *cfg).DeleteTopics(t.Context(), cfg.Prefix+topic); err != nil {
				t.Fatal(err)
			}
			until(t, "the topic is deleted", func() bool {
				topics, err := admin(t, *cfg).ListTopics(t.Context(), cfg.Prefix+topic)
				return err == nil && topics[cfg.Prefix+topic].Err != nil
			})
		}
	}
	type refusal struct {
		name  string
		spoil func(*testing.T, *Config)
		want  []string
		kafka bool // kfake does not know it
	}
	for _, c := range []refusal{
		{name: "retention by age", spoil: alter(".ledger", "retention.ms", "604800000"),
			want: []string{".ledger has retention.ms=604800000", "kafka-configs.sh", "--add-config retention.ms=-1"}},
		{name: "retention by size", spoil: alter(".control", "retention.bytes", "1000000"),
			want: []string{".control has retention.bytes=1000000", "--add-config retention.bytes=-1"}},
		{name: "compaction", spoil: alter(".inbox", "cleanup.policy", "compact"),
			want: []string{".inbox has cleanup.policy=compact", "--add-config cleanup.policy=delete"}},
		{name: "compaction too", spoil: alter(".inbox", "cleanup.policy", "compact,delete"),
			want: []string{".inbox has cleanup.policy=compact,delete"}},
		{name: "small messages", spoil: alter(".ledger", "max.message.bytes", "100000"),
			want: []string{".ledger has max.message.bytes=100000", "--add-config max.message.bytes=1048576"}},
		{name: "unclean elections", kafka: true, spoil: alter(".ledger", "unclean.leader.election.enable", "true"),
			want: []string{".ledger has unclean.leader.election.enable=true", "--add-config unclean.leader.election.enable=false"}},
		{name: "a topic is missing", spoil: drop(".inbox"), want: []string{".inbox is missing", `"chirograph log init"`}},
		{name: "the audit log is missing", spoil: drop(".audit"), want: []string{".audit is missing", `"chirograph log init"`}},
		{name: "the audit log is deleted by age", spoil: alter(".audit", "retention.ms", "604800000"),
			want: []string{".audit has retention.ms=604800000", "--add-config retention.ms=-1"}},
		{name: "control is missing", spoil: drop(".control"), want: []string{".control is missing", `"chirograph log init"`}},
		{name: "more replicas are configured", spoil: func(_ *testing.T, c *Config) { c.Replication, c.MinISR = 3, 2 },
			want: []string{".ledger has 4 partitions with fewer than 3 replicas", "kafka-reassign-partitions.sh", "min.insync.replicas=1", "--add-config min.insync.replicas=2"}},
		{name: "other partitions are configured", spoil: func(_ *testing.T, c *Config) { c.Partitions = 8 },
			want: []string{"this ledger has 4 partitions, and 8 are configured"}},
		{name: "other number forms", spoil: func(_ *testing.T, c *Config) { c.NumberForms = 2 },
			want: []string{"version 1 of the canonical number forms", "version 2"}},
		{name: "partitions were added, and written to", spoil: func(t *testing.T, c *Config) {
			addPartitions(t, *c, ".ledger", 6)
			write(t, *c, &kgo.Record{Topic: c.Prefix + ".ledger", Partition: 5, Value: []byte("x")})
		}, want: []string{".ledger has 6 partitions, of which the ledger uses 4", "1 records into", ".ledger-5", "kafka-delete-records.sh"}},
		{name: "control has two partitions, and the second was written to", spoil: func(t *testing.T, c *Config) {
			addPartitions(t, *c, ".control", 2)
			write(t, *c, &kgo.Record{Topic: c.Prefix + ".control", Partition: 1, Value: []byte("x")})
		}, want: []string{".control has 2 partitions, of which the ledger uses 1", ".control-1"}},
		{name: "records were deleted", spoil: func(t *testing.T, c *Config) {
			write(t, *c, &kgo.Record{Topic: c.Prefix + ".ledger", Partition: 2, Value: []byte("x")}, &kgo.Record{Topic: c.Prefix + ".ledger", Partition: 2, Value: []byte("x")})
			deleteRecords(t, *c, ".ledger", 2, 2)
		}, want: []string{"history is missing from 02-0 to 02-1", ".ledger begins at offset 2", "chirograph restore"}},
		{name: "the first event was deleted", spoil: func(t *testing.T, c *Config) { deleteRecords(t, *c, ".control", 0, 1) },
			want: []string{"history is missing from control-0 to control-0"}},
		{name: "control was deleted", spoil: func(t *testing.T, c *Config) {
			write(t, *c, &kgo.Record{Topic: c.Prefix + ".ledger", Partition: 2, Value: []byte("x")})
			drop(".control")(t, c)
		}, want: []string{".control is missing or empty, and topic", ".ledger has records", "Do not make a new ledger here"}},
		{name: "everything at once", spoil: func(t *testing.T, c *Config) {
			alter(".ledger", "retention.ms", "1000")(t, c)
			alter(".ledger", "max.message.bytes", "1000")(t, c)
			alter(".control", "cleanup.policy", "compact")(t, c)
			c.NumberForms = 7
		}, want: []string{"retention.ms=1000,", "max.message.bytes=1000,", "cleanup.policy=compact,", "version 7"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := fake
			if c.kafka {
				server = real
			}
			cfg := config(t, server)
			initLedger(t, cfg)
			c.spoil(t, &cfg)
			l, err := Open(t.Context(), cfg)
			if err == nil {
				l.Close()
				t.Fatal("it opened")
			}
			if other := checkAlone(t.Context(), cfg); other == nil || other.Error() != err.Error() {
				t.Errorf("Open says %v, and Check %v", err, other)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// addPartitions gives a topic so many partitions, and waits until the brokers know them.
func addPartitions(t *testing.T, cfg Config, topic string, n int) {
	t.Helper()
	if _, err := admin(t, cfg).UpdatePartitions(t.Context(), n, cfg.Prefix+topic); err != nil {
		t.Fatal(err)
	}
	until(t, "the topic has them", func() bool {
		topics, err := admin(t, cfg).ListTopics(t.Context(), cfg.Prefix+topic)
		return err == nil && len(topics[cfg.Prefix+topic].Partitions) == n
	})
}

// deleteRecords deletes the records of a partition before an offset, as kafka-delete-records.sh does.
func deleteRecords(t *testing.T, cfg Config, topic string, partition int32, before int64) {
	t.Helper()
	offsets := kadm.Offsets{}
	offsets.AddOffset(cfg.Prefix+topic, partition, before, -1)
	r, err := admin(t, cfg).DeleteRecords(t.Context(), offsets)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Partitions that were added to a topic and are empty are named and change nothing: before a start and
// while a node runs.
func TestPartitionsAdded(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		l := open(t, cfg)
		events := logtest.Own(l, 3, 4)
		if a := logtest.Wait(l, 3, events[:2]); a.Err != nil {
			t.Fatal(a.Err)
		}
		addPartitions(t, cfg, ".ledger", 6)
		addPartitions(t, cfg, ".control", 3)
		cfg.Partitions = 0
		for _, l := range []*Log{l, open(t, cfg)} {
			until(t, "it is told", func() bool {
				l.cluster.ask()
				ok, _, detail := l.Health()
				return ok && strings.Contains(detail, ".ledger has 6 partitions, of which the ledger uses 4") && strings.Contains(detail, ".control has 3 partitions, of which the ledger uses 1")
			})
			if l.Partitions() != 4 {
				t.Errorf("it has %d partitions", l.Partitions())
			}
		}
		if a := logtest.Wait(l, 3, events[2:]); a.Err != nil {
			t.Errorf("the node that was there: %v", a.Err)
		}
		if n := len(logtest.ReadAll(t, open(t, cfg), 3)); n != 4 {
			t.Errorf("%d events", n)
		}
		if created, err := Init(t.Context(), cfg); created || err != nil {
			t.Errorf("log init: %v, %v", created, err)
		}
	})
}

// A ledger whose first events are deleted while a process has it open is served no more.
func TestDeletedLive(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		initLedger(t, cfg)
		l := open(t, cfg)
		if a := logtest.Wait(l, 1, logtest.Own(l, 1, 5)); a.Err != nil {
			t.Fatal(a.Err)
		}
		waiting := make(chan error)
		go func() {
			_, _, err := l.Read(context.Background(), 1, 5, 10)
			waiting <- err
		}()
		until(t, "the tail follows", func() bool { return l.tails.has(engine.Slot(1)) })
		deleteRecords(t, cfg, ".ledger", 1, 3)
		const why = "history is missing from 01-0 to 01-2"
		if err := <-waiting; !errors.Is(err, ledger.ErrLost) || !strings.Contains(err.Error(), why) {
			t.Errorf("a reader that waited: %v", err)
		}
		if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); !errors.Is(a.Err, ledger.ErrRefused) {
			t.Errorf("an append: %v", a.Err)
		}
		if ok, _, detail := l.Health(); ok || !strings.Contains(detail, why) {
			t.Errorf("health: %v, %s", ok, detail)
		}
		if _, err := Open(t.Context(), cfg); !errors.Is(err, ledger.ErrLost) {
			t.Errorf("a start: %v", err)
		}
	})
}

// Which errors say that a part of a ledger does not exist, and that it was lost.
func TestMissing(t *testing.T) {
	cfg := config(t, fake)
	var m *ledger.Missing
	if _, err := Open(t.Context(), cfg); !errors.As(err, &m) || len(m.Partitions) != topicCount {
		t.Errorf("no topics: %v", err)
	}
	initLedger(t, cfg)
	if _, err := admin(t, cfg).DeleteTopics(t.Context(), cfg.Prefix+".inbox"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg); !errors.As(err, &m) || len(m.Partitions) != 1 || m.Partitions[0] != event.InboxPartition {
		t.Errorf("no inbox: %v", err)
	}
	initLedger(t, cfg)
	l := open(t, cfg)
	if a := logtest.Wait(l, 1, logtest.Own(l, 1, 1)); a.Err != nil {
		t.Fatal(a.Err)
	}
	l.Close()
	if _, err := admin(t, cfg).DeleteTopics(t.Context(), cfg.Prefix+".control"); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"log init": func() error { _, err := Init(t.Context(), cfg); return err },
		"a start":  func() error { _, err := Open(t.Context(), cfg); return err },
	} {
		if err := f(); !errors.Is(err, ledger.ErrLost) {
			t.Errorf("%s without control: %v", name, err)
		}
	}
	if topics, err := admin(t, cfg).ListTopics(t.Context(), cfg.Prefix+".control"); err != nil || topics[cfg.Prefix+".control"].Err == nil {
		t.Error("log init made the topic again")
	}
}

// Init makes what is missing, and neither changes nor passes over what is wrong.
func TestInitAgain(t *testing.T) {
	k := cluster1(t)
	cfg := Config{Brokers: k.ListenAddrs(), Prefix: "p", Replication: 1, Partitions: 4}
	if err := k.CreateTopic("p.ledger", 4, map[string]string{"retention.ms": "1000"}); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "p.ledger has retention.ms=1000") {
		t.Errorf("%v", err)
	}
	if got := k.TopicInfo("p.ledger").Configs["retention.ms"]; got == nil || *got != "1000" {
		t.Error("Init changed retention.ms")
	}
	if k.TopicInfo("p.control") == nil || k.PartitionInfo("p.control", 0).HighWatermark != 0 {
		t.Error("control was not made, or not left empty")
	}
	r, err := admin(t, cfg).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "retention.ms", Value: kadm.StringPtr("-1")}}, "p.ledger")
	if err != nil || r[0].Err != nil {
		t.Fatal(err, r)
	}
	if created, err := Init(t.Context(), cfg); !created || err != nil {
		t.Errorf("created %v, %v", created, err)
	}
	for name, want := range map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete",
		"min.insync.replicas": "1", "unclean.leader.election.enable": "false", "compression.type": "producer", "max.message.bytes": "1048576"} {
		if got := k.TopicInfo("p.inbox").Configs[name]; got == nil || *got != want {
			t.Errorf("%s is not %s", name, want)
		}
	}
}

// A control topic that begins with something else is no ledger's.
func TestNoLedger(t *testing.T) {
	for name, value := range map[string]string{"no event": "{}", "another event": ""} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, fake)
			cfg.Copy = true
			initLedger(t, cfg)
			if value == "" {
				raw, err := event.Encode(logtest.Events(1, 4)[3])
				if err != nil {
					t.Fatal(err)
				}
				value = string(raw)
			}
			write(t, cfg, &kgo.Record{Topic: cfg.Prefix + ".control", Value: []byte(value)})
			cfg.Copy = false
			if _, err := Init(t.Context(), cfg); !errors.Is(err, engine.ErrNotFirst) {
				t.Errorf("Init: %v", err)
			}
			if _, err := Open(t.Context(), cfg); !errors.Is(err, engine.ErrNotFirst) {
				t.Errorf("Open: %v", err)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no brokers":       {},
		"a bad prefix":     {Brokers: []string{"x:1"}, Prefix: "a/b"},
		"too many in sync": {Brokers: []string{"x:1"}, Replication: 2, MinISR: 3},
		"no replicas":      {Brokers: []string{"x:1"}, Replication: -1},
		"partitions":       {Brokers: []string{"x:1"}, Partitions: event.MaxPartitions + 1},
		"no time":          {Brokers: []string{"x:1"}, DeliverWithin: time.Millisecond},
		"a bound below 0":  {Brokers: []string{"x:1"}, QueueEvents: -1},
		"a mechanism":      {Brokers: []string{"x:1"}, SASL: SASL{Mechanism: "GSSAPI"}},
	} {
		if _, err := Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
		}
		if _, err := Init(t.Context(), c); err == nil {
			t.Errorf("%s: made", name)
		}
		if err := checkAlone(t.Context(), c); err == nil {
			t.Errorf("%s: good", name)
		}
		if _, err := NewPlacement(c, "", 0); err == nil {
			t.Errorf("%s: placed", name)
		}
	}
}

// Brokers that are not there are an error within the time-out.
func TestNobody(t *testing.T) {
	k := cluster1(t)
	addrs := k.ListenAddrs()
	k.Close()
	cfg := Config{Brokers: addrs, DeliverWithin: time.Second}
	began := time.Now()
	if _, err := Open(t.Context(), cfg); err == nil {
		t.Error("opened")
	}
	if _, err := Init(t.Context(), cfg); err == nil {
		t.Error("made")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// A topic that is deleted and made again under a running process is no place to go on.
func TestMadeAgain(t *testing.T) {
	k := cluster1(t, kfake.AllowAutoTopicCreation())
	cfg := Config{Brokers: k.ListenAddrs(), Prefix: "p", Replication: 1, Partitions: 2, DeliverWithin: time.Second}
	initLedger(t, cfg)
	l := open(t, cfg)
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 3)); a.Err != nil {
		t.Fatal(a.Err)
	}
	if err := k.DeleteTopic("p.ledger"); err != nil {
		t.Fatal(err)
	}
	if err := k.CreateTopic("p.ledger", 2, nil); err != nil {
		t.Fatal(err)
	}
	const why = "deleted and made again"
	if a := logtest.Wait(l, 0, logtest.Own(l, 0, 1)); a.Err == nil || !strings.Contains(a.Err.Error(), why) {
		t.Errorf("an append: %v", a.Err)
	}
	if _, _, err := l.Read(t.Context(), 0, 0, 10); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("a read: %v", err)
	}
	if _, _, err := l.Read(t.Context(), 0, 0, 0); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("the head: %v", err)
	}
	if ok, _, detail := l.Health(); ok || !strings.Contains(detail, why) {
		t.Errorf("health: %v, %s", ok, detail)
	}
	if info := k.PartitionInfo("p.ledger", 0); info.HighWatermark != 0 {
		t.Error("something was written to the new topic")
	}
}

// checkAlone looks at a ledger's topics without opening the ledger.
func checkAlone(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	client, err := cfg.client()
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = check(ctx, &cfg, client)
	return err
}
