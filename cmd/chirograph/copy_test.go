package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/chirograph/chirograph/adapters/eventstorelog"
	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/adapters/vault"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/bench"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// wholePartition reads a partition from its first record to its head.
func wholePartition(t *testing.T, log ledger.Log, p event.Partition) (all []ledger.Record) {
	t.Helper()
	for {
		_, head, err := log.Read(t.Context(), p, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(all)) >= head {
			return all
		}
		rs, _, err := log.Read(t.Context(), p, int64(len(all)), 1024)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rs...)
	}
}

// pattern is the events of one message that a real node sent, as a pattern of others.
type pattern struct {
	id  event.ID
	key event.ID // the subject key that it is sealed under
	own []*event.Event
}

// newLedger makes a data folder with a ledger of at least so many events that verifies: a
// node sends one message, and its events, under other ids and to other recipients, are
// appended as often as it takes. Every message has a key in the vault.
func newLedger(t *testing.T, events int) (dir string) {
	t.Helper()
	c := newCentre(t, "--receipt-delay", "10ms")
	n := newTestNode(t, "--dev-smsc", c.addr, "--dev-quiet")
	id := n.send(fmt.Sprintf(`{"to":%q,"body":"Your statement is ready, and can be read in the app until the end of the month.","reference":"r-1"}`, bench.Number(7_000_000)))
	n.becomes(id, "delivered")
	if code := n.p.stop(); code != 0 {
		t.Fatalf("the node's exit code is %d", code)
	}
	dir = filepath.Join(n.dir, "data")
	log, err := sqlitelog.Open(dir, sqlitelog.Options{NumberForms: sms.CanonicalForms})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	keys, err := vault.Open(filepath.Join(dir, "vault.db"), filepath.Join(dir, "master.key"), vault.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	var m pattern
	if m.id, err = event.ParseID(id); err != nil {
		t.Fatal(err)
	}
	for _, r := range wholePartition(t, log, event.Partition(m.id.Partition())) {
		if r.Event.MessageID() == m.id {
			m.own = append(m.own, r.Event)
		}
		if s, ok := r.Event.Data.(*event.MessageSubmitted); ok && r.Event.ID == m.id {
			m.key = s.Sealed.SubjectKey
		}
	}
	if len(m.own) < 6 {
		t.Fatalf("the message has %d events", len(m.own))
	}
	var trail []*event.Event
	for i := range 40 {
		from := event.Millis(time.Now())
		trail = append(trail, &event.Event{ID: event.NewID(from), Source: log.Source(), Time: from, Tenant: "dev", Node: "node-1", Data: &event.KeyUsed{
			Key: "key-1", From: from, Until: from, Calls: []event.KeyCalls{{Scope: "messages:read", Times: int64(i + 1)}}}})
	}
	done := make(chan ledger.Appended, 1)
	log.Append(event.AuditPartition, trail, func(a ledger.Appended) { done <- a })
	if a := <-done; a.Err != nil {
		t.Fatal(a.Err)
	}
	var left sync.WaitGroup
	for made, p := 0, 0; made < events; p = (p + 1) % log.Partitions() {
		var some []*event.Event
		for len(some)+len(m.own) <= 600 && made < events {
			key, err := keys.SubjectKey("dev", event.Pseudonym{})
			if err != nil {
				t.Fatal(err)
			}
			copied, err := m.again(p, log.Partitions(), key)
			if err != nil {
				t.Fatal(err)
			}
			some = append(some, copied...)
			made += len(copied)
		}
		left.Add(1)
		log.Append(event.Partition(p), some, func(a ledger.Appended) {
			if a.Err != nil {
				t.Error(a.Err)
			}
			left.Done()
		})
		if p == 0 {
			left.Wait()
		}
	}
	left.Wait()
	return dir
}

// again is the same message, under another id and key, to somebody else, whose stream lies
// in a partition.
func (m *pattern) again(p, partitions int, key event.ID) (out []*event.Event, err error) {
	var to event.Pseudonym
	for rand.Read(to[:]); to.Partition(partitions) != p; {
		rand.Read(to[:])
	}
	ids := []string{m.own[0].Subject.String(), to.String(), m.key.String(), key.String()}
	for _, e := range m.own {
		id := event.NewID(e.ID.Time())
		if e.ID == m.id {
			id = event.NewMessageID(m.id.Time(), p)
		}
		ids = append(ids, e.ID.String(), id.String())
	}
	change := strings.NewReplacer(ids...)
	for _, e := range m.own {
		raw, err := event.Encode(e)
		if err != nil {
			return nil, err
		}
		e, err := event.Decode([]byte(change.Replace(string(raw))))
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// place is somewhere to copy to or from.
type place struct {
	t   *testing.T
	dir string // of the configuration, or the folder itself
	arg string // what --from and --to are given
	// seen counts the keys and the records that are there, as far as can be seen (of a
	// folder its commits, with several records each).
	seen func() (keys, records int64)
}

// folderPlace is a data folder for a copy of a ledger.
func folderPlace(t *testing.T, key string) *place {
	pl := &place{t: t, dir: t.TempDir()}
	pl.arg = pl.dir
	pl.write("master.key", key)
	rows := func(file, query string) (n int64) {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(pl.dir, file)+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		_ = db.QueryRow(query).Scan(&n) // not there yet
		return n
	}
	pl.seen = func() (int64, int64) {
		return rows("vault.db", "SELECT count(*) FROM subjects"), rows("ledger.db", "SELECT count(*) FROM commits")
	}
	return pl
}

// configured is a place that a file names; of is the section of its engine.
func configured(t *testing.T, key, engine, section string, records func() int64) *place {
	pl := &place{t: t, dir: t.TempDir()}
	pl.arg = filepath.Join(pl.dir, "cluster.yaml")
	pl.write("master.key", key)
	url := servertest.Postgres(t)
	pl.write("postgres.url", url+"\n")
	pl.write("cluster.yaml", fmt.Sprintf("engine: %s\nnode: node-1\nmaster_key_file: master.key\n%s\npostgres: {url_file: postgres.url}\ntenants: [dev]\n", engine, section))
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	pl.seen = func() (keys, _ int64) {
		_ = db.QueryRow(t.Context(), "SELECT count(*) FROM chirograph_vault.subjects").Scan(&keys) // not there yet
		return keys, records()
	}
	return pl
}

// onKafka is a place on the brokers that the tests share.
type onKafka struct {
	*place
	prefix string
	client *kgo.Client
}

func kafkaPlace(t *testing.T, key string) *onKafka {
	brokers, prefix := servertest.Kafka(t), servertest.Topic(t)
	copies := min(3, len(brokers))
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	k := &onKafka{prefix: prefix, client: client}
	k.place = configured(t, key, "kafka", fmt.Sprintf("kafka: {brokers: [%s], prefix: %s, replication: %d, min_insync: %d}",
		strings.Join(brokers, ", "), prefix, copies, max(1, copies-1)), func() (n int64) {
		for _, end := range k.ends() {
			n += end
		}
		return n
	})
	return k
}

// eventStorePlace is a place on the EventStoreDB that the environment names, or else on the
// tests' own protocol server.
func eventStorePlace(t *testing.T, key string) *place {
	var connection string
	if os.Getenv(servertest.EventStoreDBEnv) != "" {
		connection = servertest.EventStoreDB(t)
	} else {
		s, err := eventstoretest.Start(eventstoretest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		connection = s.Connection()
	}
	cfg := eventstorelog.Config{Connection: connection, Name: servertest.Ledger(t), NumberForms: sms.CanonicalForms, Partitions: 16, Copy: true}
	var log *eventstorelog.Log
	pl := configured(t, key, "eventstoredb", fmt.Sprintf("eventstoredb: {connection_file: connection, name: %s}", cfg.Name), func() (n int64) {
		var err error
		if log == nil {
			if log, err = eventstorelog.Open(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { log.Close() })
		}
		for p := range log.Partitions() {
			_, head, err := log.Read(t.Context(), event.Partition(p), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			n += head
		}
		return n
	})
	pl.write("connection", connection+"\n")
	return pl
}

// ends are the topics' partitions with their ends, under the topics' ids.
func (k *onKafka) ends() map[string]int64 {
	admin := kadm.NewClient(k.client)
	topics, err := admin.ListTopics(k.t.Context(), k.prefix+".ledger", k.prefix+".control", k.prefix+".inbox", k.prefix+".audit")
	if err != nil {
		k.t.Fatal(err)
	}
	out := map[string]int64{}
	ends, err := admin.ListEndOffsets(k.t.Context(), topics.Names()...)
	if err != nil {
		return out
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			out[fmt.Sprintf("%s %s %d", topics[o.Topic].ID, o.Topic, o.Partition)] = o.Offset
		}
	})
	return out
}

// produce writes records as a producer does that knows of no ledger.
func (k *onKafka) produce(p event.Partition, raws ...[]byte) {
	k.t.Helper()
	topic, partition := k.prefix+".ledger", int32(p)
	switch p {
	case event.ControlPartition:
		topic, partition = k.prefix+".control", 0
	case event.InboxPartition:
		topic, partition = k.prefix+".inbox", 0
	case event.AuditPartition:
		topic, partition = k.prefix+".audit", 0
	}
	var records []*kgo.Record
	for _, raw := range raws {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: raw})
	}
	// A client of its own: it remembers no topic that was deleted.
	client, err := kgo.NewClient(kgo.SeedBrokers(servertest.Kafka(k.t)...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		k.t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(k.t.Context(), records...).FirstErr(); err != nil {
		k.t.Fatal(err)
	}
}

// join makes a member of the group until the test ends, and waits until it is one.
func (k *onKafka) join() {
	k.t.Helper()
	cfg, err := config.LoadShared(k.arg)
	if err != nil {
		k.t.Fatal(err)
	}
	engine, err := assemble.SharedEngine(cfg)
	if err != nil {
		k.t.Fatal(err)
	}
	m, err := engine.Member("a node", "")
	if err != nil {
		k.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	joined, left := make(chan struct{}), make(chan struct{})
	var once sync.Once
	go func() {
		defer close(left)
		if err := m.Run(ctx, func([]event.Partition) { once.Do(func() { close(joined) }) }, func([]event.Partition) {}); err != nil {
			k.t.Error(err)
		}
	}()
	k.t.Cleanup(func() { cancel(); <-left })
	<-joined
}

func (pl *place) write(name, text string) {
	pl.t.Helper()
	if err := os.WriteFile(filepath.Join(pl.dir, name), []byte(text), 0o600); err != nil {
		pl.t.Fatal(err)
	}
}

// from copies another place to this one, and returns what the command says.
func (pl *place) from(other *place, want int) string {
	pl.t.Helper()
	out, code := command(pl.t, pl.dir, "log", "copy", "--from", other.arg, "--to", pl.arg)
	if code != want {
		pl.t.Fatalf("log copy: exit %d, want %d\n%s", code, want, out)
	}
	return out
}

// killed is from, but the command is killed: first when a batch of keys has come, then
// whenever there are more records than when it began, so many times at most.
func (pl *place) killed(other *place, most int) (between bool) {
	pl.t.Helper()
	for kills := 0; ; kills++ {
		_, had := pl.seen()
		p := spawn(pl.t, pl.dir, "log", "copy", "--from", other.arg, "--to", pl.arg)
		within(pl.t, "the copy goes on", func() bool {
			if p.eofed() {
				return true
			}
			keys, have := pl.seen()
			return kills == 0 && keys >= 4096 || kills > 0 && kills < most && have > had
		})
		if !p.eofed() {
			p.kill()
			continue
		}
		_ = p.cmd.Wait()
		out := p.text()
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			pl.t.Fatalf("log copy: exit %d\n%s", code, out)
		}
		pl.t.Logf("killed %d times, then: %s", kills, strings.TrimSpace(out))
		return kills >= 2 && !strings.Contains(out, "; 0 were there already")
	}
}

// original is a ledger in a folder, with its master key.
func original(t *testing.T, events int) (*place, string) {
	dir := newLedger(t, events)
	key, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	return &place{t: t, dir: dir, arg: dir}, string(key)
}

// records reads a folder's ledger.
func (pl *place) records() map[event.Partition][][]byte {
	pl.t.Helper()
	log, err := sqlitelog.Open(pl.dir, sqlitelog.Options{NumberForms: sms.CanonicalForms})
	if err != nil {
		pl.t.Fatal(err)
	}
	defer log.Close()
	out := map[event.Partition][][]byte{}
	for _, p := range assemble.PartitionsOf(log) {
		for _, r := range wholePartition(pl.t, log, p) {
			out[p] = append(out[p], r.Raw)
		}
	}
	return out
}

// same compares two folders' ledgers byte for byte.
func (pl *place) same(other *place) {
	pl.t.Helper()
	var logs [2]*sqlitelog.Log
	for i, dir := range []string{pl.dir, other.dir} {
		log, err := sqlitelog.Open(dir, sqlitelog.Options{NumberForms: sms.CanonicalForms})
		if err != nil {
			pl.t.Fatal(err)
		}
		defer log.Close()
		logs[i] = log
	}
	if logs[0].Source() != logs[1].Source() || logs[0].Partitions() != logs[1].Partitions() {
		pl.t.Fatal("they are not one ledger")
	}
	read := func(log *sqlitelog.Log, p event.Partition, from int64) []ledger.Record {
		_, head, err := log.Read(pl.t.Context(), p, 0, 0)
		if err != nil || from == head {
			return nil
		}
		rs, _, err := log.Read(pl.t.Context(), p, from, 1000)
		if err != nil {
			pl.t.Fatal(err)
		}
		return rs
	}
	for _, p := range assemble.PartitionsOf(logs[0]) {
		for at := int64(0); ; {
			a, b := read(logs[0], p, at), read(logs[1], p, at)
			n := min(len(a), len(b))
			if !slices.EqualFunc(a[:n], b[:n], func(x, y ledger.Record) bool { return x.Index == y.Index && bytes.Equal(x.Raw, y.Raw) }) || n == 0 && len(a) != len(b) {
				pl.t.Errorf("partition %s differs from %d on", p, at)
				break
			}
			if n == 0 {
				break
			}
			at += int64(n)
		}
	}
}

// TestCopyKilled copies a ledger from each engine to each other one, killing the command
// again and again.
func TestCopyKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short (the race detector's lane): copies in six directions, killed and resumed take a minute there")
	}
	t.Parallel()
	for _, names := range [][]string{{config.EngineKafka, config.EngineEventStoreDB, config.EngineEmbedded}, {config.EngineEventStoreDB, config.EngineKafka, config.EngineEmbedded}} {
		t.Run(strings.Join(names, ", "), func(t *testing.T) {
			t.Parallel()
			first, key := original(t, 12_000)
			last := first
			for _, name := range names {
				var next *place
				// On a busy machine a copy may end before this process looks at it once.
				within(t, "a copy is killed between two events", func() bool {
					switch name {
					case config.EngineKafka:
						next = kafkaPlace(t, key).place
					case config.EngineEventStoreDB:
						next = eventStorePlace(t, key)
					default:
						next = folderPlace(t, key)
					}
					return next.killed(last, 5)
				})
				if out := next.from(last, 0); !strings.Contains(out, "Copied 0 events") {
					t.Errorf("a copy of what is there says: %s", out)
				}
				last = next
			}
			first.same(last)
		})
	}
}

// empty makes the topics, or empties those that are there.
func (k *onKafka) empty() {
	k.t.Helper()
	cfg, err := config.LoadShared(k.arg)
	if err != nil {
		k.t.Fatal(err)
	}
	topics := cfg.Kafka.Adapter(0)
	if err := kafkalog.Drop(k.t.Context(), topics); err != nil {
		k.t.Fatal(err)
	}
	// On a busy machine brokers hear of new topics late, and Init says that they are missing.
	within(k.t, "the topics are made", func() bool {
		_, err := kafkalog.Init(k.t.Context(), cfg.Kafka.Adapter(16))
		return err == nil
	})
}

// TestCopyDoubled has targets on Kafka in which records of the original stand twice, or not
// where they belong, as when a batch that was given up lands after all. The command begins
// anew, by itself.
func TestCopyDoubled(t *testing.T) {
	t.Parallel()
	from, key := original(t, 1200)
	all := from.records()
	k, back := kafkaPlace(t, key), folderPlace(t, key)
	for _, tc := range []struct {
		name  string
		spoil func()
	}{
		{"the only record", func() { k.empty(); k.produce(3, all[3][1]) }},
		{"at the end", func() { k.produce(5, all[5][len(all[5])-1]) }},
		{"of control", func() { k.produce(event.ControlPartition, all[event.ControlPartition][0]) }},
		{"in the middle, and the copy went on", func() {
			k.empty()
			k.produce(1, slices.Concat(all[1][:200], all[1][100:200], all[1][200:300])...)
		}},
		{"first a later one", func() { k.empty(); k.produce(1, slices.Concat(all[1][:200], all[1][300:400], all[1][200:])...) }},
	} {
		tc.spoil()
		out := k.from(from, 0)
		if !strings.Contains(out, "are deleted and made again") || !strings.Contains(out, "; 0 were there already)") || !strings.Contains(out, "byte for byte") {
			t.Errorf("%s: copy says: %s", tc.name, out)
		}
		back.from(k.place, 0) // an error, if it were no longer the same
	}
	from.same(back)
}

// TestCopyKept has targets that are no copy, and something else than one. Nothing in them is
// touched.
func TestCopyKept(t *testing.T) {
	t.Parallel()
	from, key := original(t, 1200)
	all := from.records()
	other, err := event.Encode(&event.Event{ID: event.NewID(time.Now()), Source: "/elsewhere", Time: event.Millis(time.Now()), Node: "another",
		Data: &event.ControlApplied{Position: 1, Event: event.NewID(time.Now())}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		spoil func(k *onKafka)
		want  string
	}{
		{"an event of others", func(k *onKafka) { k.from(from, 0); k.produce(7, other) }, fmt.Sprintf("its record at 07-%d is not in the original", len(all[7]))},
		{"no event", func(k *onKafka) { k.empty(); k.produce(7, all[7][0], []byte("hello")) }, "its record at 07-1 is not in the original"},
		{"an event of another partition", func(k *onKafka) { k.empty(); k.produce(2, all[7][0]) }, "its record at 02-0 is not in the original"},
		{"log init", func(k *onKafka) { command(t, k.dir, "log", "init", "--config", k.arg) }, "do not use log init on the target of a copy"},
		{"a node that serves", func(k *onKafka) {
			k.from(from, 0)
			k.produce(7, all[7][0])
			k.join()
		}, "it is in use by 1 node"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := kafkaPlace(t, key)
			tc.spoil(k)
			was := k.ends()
			if out := k.from(from, 1); !strings.Contains(out, tc.want) || !strings.Contains(out, "The target is left as it is") {
				t.Errorf("copy says: %s", out)
			}
			is := k.ends()
			for p, end := range was {
				if is[p] != end {
					t.Errorf("%s had %d records, and has %d", p, end, is[p])
				}
			}
		})
	}
}

// copyEventsEnv says how many events the ledger of TestCopyMillion has; without it there are
// few.
const copyEventsEnv = "CHIROGRAPH_COPY_EVENTS"

// TestCopyMillion copies a ledger from SQLite by EventStoreDB and Kafka to SQLite, where it
// must be the same, byte for byte.
func TestCopyMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short (the race detector's lane): a ledger through three engines takes a minute there")
	}
	events := 20_000
	if s := os.Getenv(copyEventsEnv); s == "" {
		t.Parallel()
	} else if n, err := strconv.Atoi(s); err != nil || n < 1 {
		t.Fatalf("%s is no number of events", copyEventsEnv)
	} else {
		events = n
	}
	began := time.Now()
	first, key := original(t, events)
	t.Logf("%d events were made in %.1f s", events, time.Since(began).Seconds())
	e, k, last := eventStorePlace(t, key), kafkaPlace(t, key), folderPlace(t, key)
	leg := func(name string, from, to *place) {
		began := time.Now()
		out := to.from(from, 0)
		t.Logf("%s, %.1f s: %s", name, time.Since(began).Seconds(), strings.TrimSpace(out))
	}
	leg("SQLite to EventStoreDB", first, e)
	leg("EventStoreDB to Kafka", e, k.place)
	leg("Kafka to SQLite", k.place, last)
	if out, code := command(t, last.dir, "audit", "verify", "--data", "."); code != 0 {
		t.Errorf("the copy does not verify: %s", out)
	} else {
		t.Log(strings.TrimSpace(out))
	}
	first.same(last)
}

// openAt opens the ledger of a folder, or of a configuration.
func openAt(ctx context.Context, arg string) (*assemble.Data, error) {
	if info, err := os.Stat(arg); err != nil || info.IsDir() {
		return assemble.OpenFolder(assemble.Folder{Dir: arg})
	}
	cfg, err := config.LoadShared(arg)
	if err != nil {
		return nil, err
	}
	return assemble.OpenShared(ctx, cfg, false)
}

// What is no copy in a folder or on EventStoreDB is left to a person.
func TestCopyLeft(t *testing.T) {
	t.Parallel()
	from, key := original(t, 1200)
	for _, tc := range []struct {
		to   *place
		want string
	}{
		{folderPlace(t, key), "copy to another folder"},
		{eventStorePlace(t, key), "write another eventstoredb.name in "},
	} {
		tc.to.from(from, 0)
		d, err := openAt(t.Context(), tc.to.arg)
		if err != nil {
			t.Fatal(err)
		}
		e := logtest.Events(1, 1)[0]
		e.Source = d.Log.Source()
		a := logtest.Wait(d.Log, 4, []*event.Event{e})
		if err := errors.Join(a.Err, d.Close()); err != nil {
			t.Fatal(err)
		}
		out := tc.to.from(from, 1)
		if !strings.Contains(out, fmt.Sprintf("its partition 04 has %d records, and the original's has %d", a.First+1, a.First)) || !strings.Contains(out, tc.want) {
			t.Errorf("copy says: %s", out)
		}
	}
}

// TestLogCopy moves a ledger from one machine to a cluster, serves it there, and moves it
// back.
func TestLogCopy(t *testing.T) {
	t.Parallel()
	c := newSmallCluster(t)
	n := newTestNode(t, "--dev-smsc", c.centre.addr, "--dev-quiet")
	var ids []string
	for i := range 60 {
		ids = append(ids, n.send(fmt.Sprintf(`{"to":%q,"body":"Your statement is ready.","reference":"r-%d"}`, bench.Number(8_000_000+i%20), i)))
	}
	for _, id := range ids {
		n.becomes(id, "delivered")
	}
	if code := n.p.stop(); code != 0 {
		t.Fatalf("the node's exit code is %d", code)
	}
	data := filepath.Join(n.dir, "data")
	// 16 partitions: what the copy's configuration says of new ledgers does not count.
	key, err := os.ReadFile(filepath.Join(data, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.write("master.key", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n")
	if out := c.command(1, "log", "copy", "--from", data, "--to", "node-1.yaml"); !strings.Contains(out, "master key") {
		t.Errorf("under another master key copy says: %s", out)
	}
	c.write("master.key", string(key))
	out := c.command(0, "log", "copy", "--from", data, "--to", "node-1.yaml")
	if !strings.Contains(out, "byte for byte") || strings.Contains(out, "Copied 0 events") {
		t.Errorf("copy says: %s", out)
	}
	t.Log(strings.TrimSpace(out))
	if out := c.command(0, "log", "copy", "--from", data, "--to", "node-1.yaml"); !strings.Contains(out, "Copied 0 events") {
		t.Errorf("a copy of what is there says: %s", out)
	}
	// The copy is served: the same messages, in their tenant's name.
	c.write("node-1.yaml", strings.ReplaceAll(strings.ReplaceAll(strings.Replace(nodeConfig("node-1", c.nodes[0].addr, c.prefix, c.servers.brokers, c.centre.addr, "6s"),
		"partitions: 6", "partitions: 16", 1), "tenants: [bank]", "tenants: [dev]"), "tenant: bank", "tenant: dev"))
	c.nodes[0].start()
	c.nodes[0].ready()
	for _, id := range ids {
		within(t, "message "+id+" is in the copy's views", func() bool {
			a := c.call(c.nodes[0], http.MethodGet, "/v1/messages/"+id, "")
			return a.status == http.StatusOK && strings.Contains(string(a.body), `"delivered"`)
		})
	}
	if a := c.call(c.nodes[0], http.MethodPost, "/v1/messages/search", fmt.Sprintf(`{"to":%q}`, bench.Number(8_000_000))); strings.Count(string(a.body), `"id"`) != 3 {
		t.Errorf("a search by number finds %s", a.body)
	}
	c.stop()
	c.command(0, "audit", "verify", "--views", "--config", "node-1.yaml")
	back := filepath.Join(c.dir, "back")
	if err := os.MkdirAll(back, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(back, "master.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	c.command(0, "log", "copy", "--from", "node-1.yaml", "--to", back)
	// Serving the copy showed personal data and used a key: that is in its audit log, and nowhere else.
	if out := c.command(1, "log", "copy", "--from", data, "--to", back); !strings.Contains(out, "its partition audit has") {
		t.Errorf("the original and the copy's copy differ otherwise than by what the copy showed: %s", out)
	}
	c.command(0, "audit", "verify", "--data", back)

	// A copy that took a message is another ledger from then on.
	c.nodes[0].start()
	c.nodes[0].ready()
	if a := c.call(c.nodes[0], http.MethodPost, "/v1/messages", fmt.Sprintf(`{"to":%q,"body":"Your statement is ready."}`, bench.Number(8_000_000))); a.status != http.StatusAccepted {
		t.Fatalf("a submit to the copy is answered %d %s", a.status, a.body)
	}
	if out := c.command(1, "log", "copy", "--from", data, "--to", "node-1.yaml"); !strings.Contains(out, "it is in use by 1 node") {
		t.Errorf("a copy over what is served says: %s", out)
	}
	c.stop()
	if out := c.command(1, "log", "copy", "--from", data, "--to", "node-1.yaml"); !strings.Contains(out, "is not in the original") {
		t.Errorf("a copy over what was served says: %s", out)
	}
}
