package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/cmd/internal/bench"
	"github.com/chirograph/chirograph/domain/sms"
)

// topicCopy is what the topics of a ledger held: by the end of the topic's name, and partition.
type topicCopy map[string][][][]byte

// histories are copies of the topics and the databases of a cluster with one history, and of another ledger's.
type histories struct {
	t                         *testing.T
	brokers                   []string
	key                       string // the master key of both
	older, newer, other       topicCopy
	olderDB, newerDB, otherDB string // URLs, which nobody uses
	optedOut                  map[string][]string
	keyed                     [2]struct{ to, id string } // of which the older copies have the first
}

const clusterPartitions = 6

// copyTopics reads the topics of a prefix to their ends.
func copyTopics(t *testing.T, brokers []string, prefix string) topicCopy {
	t.Helper()
	out := topicCopy{}
	for _, suffix := range []string{".ledger", ".control", ".inbox", ".audit"} {
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(prefix+suffix), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), prefix+suffix)
		if err != nil {
			t.Fatal(err)
		}
		var want, have int64
		partitions := make([][][]byte, len(ends[prefix+suffix]))
		ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
		for have < want {
			client.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
				partitions[r.Partition] = append(partitions[r.Partition], r.Value)
				have++
			})
		}
		client.Close()
		out[suffix] = partitions
	}
	return out
}

// restoreTopics makes the topics of a prefix, with these records.
func restoreTopics(t *testing.T, brokers []string, prefix string, from topicCopy) {
	t.Helper()
	copies := min(3, len(brokers))
	if _, err := kafkalog.Init(t.Context(), kafkalog.Config{Brokers: brokers, Prefix: prefix, Partitions: clusterPartitions, Replication: copies, MinISR: max(1, copies-1), NumberForms: sms.CanonicalForms, Copy: true}); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for suffix, partitions := range from {
		for p, values := range partitions {
			var records []*kgo.Record
			for _, v := range values {
				records = append(records, &kgo.Record{Topic: prefix + suffix, Partition: int32(p), Value: v})
			}
			if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil && len(records) > 0 {
				t.Fatal(err)
			}
		}
	}
}

// statements runs statements in a database.
func statements(t *testing.T, database string, texts ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, s := range texts {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// copyDatabase makes a database that is a copy of one that no process uses.
func copyDatabase(t *testing.T, from string) string {
	t.Helper()
	to := servertest.Postgres(t)
	name := func(u string) (string, *url.URL) {
		p, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(p.Path, "/"), p
	}
	toName, server := name(to)
	fromName, _ := name(from)
	server.Path = "/postgres"
	conn, err := pgx.Connect(t.Context(), server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), "DROP DATABASE "+toName); err != nil {
		t.Fatal(err)
	}
	within(t, "the database is copied", func() bool { // a server ends the connections of a process that ended a moment later
		_, err = conn.Exec(t.Context(), "CREATE DATABASE "+toName+" TEMPLATE "+fromName)
		return err == nil
	})
	return to
}

// dumpInto puts a part of a database into another one, as pg_dump and psql do; args say which part.
func dumpInto(t *testing.T, from, to string, args ...string) {
	t.Helper()
	program := func(name string) string {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		if len(found) == 0 {
			t.Skipf("left out for want of %s, of PostgreSQL's packages", name)
		}
		return found[len(found)-1]
	}
	dump, err := exec.Command(program("pg_dump"), append(args, "--no-owner", "--dbname", from)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	load := exec.Command(program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "--dbname", to)
	load.Stdin = bytes.NewReader(dump)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

// optOut records an opt-out through a node.
func (c *testCluster) optOut(number string) {
	c.t.Helper()
	a := c.call(c.nodes[0], http.MethodPost, "/v1/opt-outs", fmt.Sprintf(`{"number":%q,"scope":"legal_entity","source":"phone","evidence":"Called and asked us to stop."}`, number))
	if a.status != http.StatusCreated {
		c.t.Fatalf("opt-out: %d %s %v", a.status, a.body, a.err)
	}
}

// texted sends a message through a node and waits until it is delivered.
func (c *testCluster) texted(to string, header ...string) string {
	c.t.Helper()
	var v view
	within(c.t, "a submit is taken", func() bool {
		a := c.call(c.nodes[0], http.MethodPost, "/v1/messages", statement(to), header...)
		if a.status != http.StatusAccepted {
			return false
		}
		a.into(c.t, &v)
		return true
	})
	within(c.t, "the message is delivered", func() bool {
		a := c.call(c.nodes[0], http.MethodGet, "/v1/messages/"+v.ID, "")
		if a.status == http.StatusOK {
			a.into(c.t, &v)
		}
		return v.Status == "delivered"
	})
	return v.ID
}

// newHistories makes the histories.
func newHistories(t *testing.T) *histories {
	t.Helper()
	brokers, database, prefix := servertest.Kafka(t), servertest.Postgres(t), servertest.Topic(t)
	h := &histories{t: t, brokers: brokers, optedOut: map[string][]string{}}
	c := clusterOver(t, database, kafkaSection(prefix, brokers, "6s"), 1)
	out := func(copy string, from, to int) {
		for i := from; i < to; i++ {
			c.optOut(bench.Number(i))
			h.optedOut[copy] = append(h.optedOut[copy], bench.Number(i))
		}
	}
	c.begin(1)
	for i := range 12 {
		c.texted(bench.Number(i))
	}
	h.keyed[0].to, h.keyed[1].to = bench.Number(500), bench.Number(501)
	h.keyed[0].id = c.texted(h.keyed[0].to, "Idempotency-Key", "cluster-0")
	out("older", 0, 3)
	c.stop()
	h.older, h.olderDB = copyTopics(t, brokers, prefix), copyDatabase(t, database)
	c.nodes[0].start()
	c.nodes[0].ready()
	for i := 20; i < 40; i++ {
		c.texted(bench.Number(i))
	}
	h.keyed[1].id = c.texted(h.keyed[1].to, "Idempotency-Key", "cluster-1")
	out("newer", 3, 6)
	out("newer", 200, 203) // of people who were never texted
	c.stop()
	h.newer, h.newerDB = copyTopics(t, brokers, prefix), database
	key, err := os.ReadFile(filepath.Join(c.dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	h.key = string(key)

	otherDB, otherPrefix := servertest.Postgres(t), servertest.Topic(t)
	o := clusterOver(t, otherDB, kafkaSection(otherPrefix, brokers, "6s"), 1)
	o.write("master.key", h.key)
	o.begin(1)
	for i := range 5 {
		o.texted(bench.Number(1000 + i))
	}
	o.stop()
	h.other, h.otherDB = copyTopics(t, brokers, otherPrefix), otherDB
	return h
}

// clusterRow is one row of the table in docs/operations.md, as it is performed.
type clusterRow struct {
	row
	t        *testing.T
	h        *histories
	c        *testCluster
	prefix   string
	database string
	optedOut []string
	keyed    int  // how many of the keyed messages the ledger has
	logInit  bool // log init is tried before the start
	accept   []string
	second   string // the database of a node that runs already
}

// prepare does what the row says.
func (r *clusterRow) prepare() {
	t, h := r.t, r.h
	topics, from := h.newer, h.newerDB
	r.optedOut, r.keyed = append(slices.Clone(h.optedOut["older"]), h.optedOut["newer"]...), 2
	what, initToo := strings.CutSuffix(r.what, ", then `log init`")
	r.logInit = initToo
	r.prefix = servertest.Topic(t)
	after := func() {}
	admin := func(f func(*kadm.Client) error) {
		t.Helper()
		client, err := kgo.NewClient(kgo.SeedBrokers(h.brokers...))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := f(kadm.NewClient(client)); err != nil {
			t.Fatal(err)
		}
	}
	drop := func(suffix string) {
		admin(func(a *kadm.Client) error { _, err := a.DeleteTopic(t.Context(), r.prefix+suffix); return err })
	}
	views := []string{"--schema", "chirograph", "--schema", "chirograph_views_1"}
	dropViews := []string{"DROP SCHEMA chirograph_views_1 CASCADE", "DROP SCHEMA chirograph CASCADE"}
	switch r.files + ": " + what {
	case "topics: as they are":
	case "topics: deleted, all of them", "topics: another prefix, mistyped":
		topics = nil
	case "topics: deleted, and made again empty":
		topics = topicCopy{}
	case "topics: those of another ledger", "the database: two ledgers on it":
		topics = h.other
	case "topics: older: those of a copy from before the last opt-outs":
		topics = h.older
	case "topics: the control topic deleted":
		after = func() { drop(".control") }
	case "topics: the audit topic deleted":
		after = func() { drop(".audit") }
	case "topics: the ledger topic deleted, and made again empty":
		topics = topicCopy{".control": topics[".control"], ".inbox": topics[".inbox"], ".audit": topics[".audit"]}
	case "topics: shortened: the first records deleted":
		after = func() {
			admin(func(a *kadm.Client) error {
				offsets := kadm.Offsets{}
				offsets.AddOffset(r.prefix+".ledger", 2, 3, -1)
				_, err := a.DeleteRecords(t.Context(), offsets)
				return err
			})
		}
	case "topics: partitions added", "topics: partitions added, and written to by another program":
		after = func() {
			admin(func(a *kadm.Client) error {
				_, err := a.UpdatePartitions(t.Context(), 8, r.prefix+".ledger")
				return err
			})
			if strings.Contains(what, "written") {
				within(t, "a record is in the new partition", func() bool {
					return errors.Is(produce(t, h.brokers, &kgo.Record{Topic: r.prefix + ".ledger", Partition: 7, Value: []byte("x")}), nil)
				})
			}
		}
	case "topics: a committed and an aborted transaction of another program":
		after = func() { r.transactions() }
	case "views: the schema dropped":
		after = func() { statements(t, r.database, "DROP SCHEMA chirograph_views_1 CASCADE") }
	case "views: an older dump":
		after = func() { statements(t, r.database, dropViews...); dumpInto(t, h.olderDB, r.database, views...) }
	case "views: of another ledger":
		after = func() { statements(t, r.database, dropViews...); dumpInto(t, h.otherDB, r.database, views...) }
	case "views: the table of streams emptied":
		after = func() { statements(t, r.database, "TRUNCATE chirograph_views_1.streams") }
	case "views: the table of streams from an older dump":
		after = func() {
			statements(t, r.database, "TRUNCATE chirograph_views_1.streams")
			dumpInto(t, h.olderDB, r.database, "--data-only", "--table", "chirograph_views_1.streams")
		}
	case "vault: the schema dropped":
		after = func() { statements(t, r.database, "DROP SCHEMA chirograph_vault CASCADE") }
	case "vault: of another ledger", "vault: an older dump":
		source := h.otherDB
		if strings.Contains(what, "older") {
			source = h.olderDB
		}
		after = func() {
			statements(t, r.database, "DROP SCHEMA chirograph_vault CASCADE")
			dumpInto(t, source, r.database, "--schema", "chirograph_vault")
		}
	case "reservations: the schema dropped":
		after = func() { statements(t, r.database, "DROP SCHEMA chirograph_cluster CASCADE") }
	case "reservations: the table emptied":
		after = func() { statements(t, r.database, "TRUNCATE chirograph_cluster.reservations") }
	case "reservations: an older dump":
		after = func() {
			statements(t, r.database, "DROP SCHEMA chirograph_cluster CASCADE")
			dumpInto(t, h.olderDB, r.database, "--schema", "chirograph_cluster")
		}
	case "the database: another ledger's":
		from = h.otherDB
	case "the database: empty":
		from = ""
	case "the database: an older dump of all of it":
		from = h.olderDB
	case "the database: one ledger on two of them":
		r.second = copyDatabase(t, h.newerDB)
	case "all parts: older":
		topics, from = h.older, h.olderDB
		r.optedOut, r.keyed = h.optedOut["older"], 1
	default:
		t.Fatalf("the table says %q of %q, and this test does not know how to do that", r.what, r.files)
	}
	if topics != nil {
		restoreTopics(t, h.brokers, r.prefix, topics)
	}
	if r.database = servertest.Postgres(t); from != "" {
		r.database = copyDatabase(t, from)
	}
	after()
	r.c = clusterOver(t, r.database, kafkaSection(r.prefix, h.brokers, "6s"), 2)
	r.c.write("master.key", h.key)
}

func produce(t *testing.T, brokers []string, records ...*kgo.Record) error {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	return client.ProduceSync(t.Context(), records...).FirstErr()
}

// transactions writes a committed and an aborted transaction into partition 03, and notes what is to be accepted.
func (r *clusterRow) transactions() {
	t := r.t
	client, err := kgo.NewClient(kgo.SeedBrokers(r.h.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID(r.prefix))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	end := func() int64 {
		ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), r.prefix+".ledger")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := ends.Lookup(r.prefix+".ledger", 3)
		return o.Offset
	}
	for _, how := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		first := end()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: r.prefix + ".ledger", Partition: 3, Value: []byte("not an event")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
		within(t, "the marker is there", func() bool { return end() == first+2 })
		r.accept = append(r.accept, fmt.Sprintf("03-%d", first), fmt.Sprintf("03-%d", first+1))
	}
}

// knows is what the database knows of its ledger, as text.
func (r *clusterRow) knows() (out string) {
	conn, err := pgx.Connect(r.t.Context(), r.database)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, q := range []string{`SELECT coalesce(string_agg(partition || '=' || next || encode(hash, 'hex'), ' ' ORDER BY partition), '') FROM chirograph_vault.heads`,
		`SELECT coalesce(string_agg(partition || '=' || next || encode(hash, 'hex'), ' ' ORDER BY partition), '') FROM chirograph_views_1.partitions`,
		`SELECT count(*)::text FROM chirograph_views_1.streams`, `SELECT id FROM chirograph_vault.ledger`} {
		var one string
		if err := conn.QueryRow(r.t.Context(), q).Scan(&one); err != nil {
			one = "none"
		}
		out += one + "\n"
	}
	return out
}

// clusterOutcome is what a start did.
type clusterOutcome struct {
	outcome
	stopped bool // a partition was stopped
	keyed   [2]string
}

// start waits until a node serves, has stopped a partition, or has ended.
func (r *clusterRow) start(n *clusterNode) (stopped bool) {
	n.start()
	within(r.t, "the node is up, or has ended", func() bool {
		if n.p.eofed() {
			return true
		}
		a := r.c.call(n, http.MethodGet, "/readyz", "")
		stopped = strings.Contains(string(a.body), "is stopped")
		// A node is ready before it has read its partitions.
		return stopped || a.status == http.StatusOK && !strings.HasPrefix(r.then, "stops")
	})
	return stopped
}

// try starts a node, and, if it serves, sends to those who opted out, to one who did not, and once more under
// the keys that were used.
func (r *clusterRow) try() (o clusterOutcome) {
	t, c := r.t, r.c
	n := c.nodes[0]
	if r.second != "" {
		c.write("postgres.url", r.second+"\n")
		c.nodes[1].start()
		c.nodes[1].ready()
		c.write("postgres.url", r.database+"\n")
		defer func() { c.nodes[1].down(func(p *proc) { p.stop() }) }()
	}
	before := r.knows()
	if r.logInit {
		o.says = c.command(1, "log", "init", "--config", "node-1.yaml")
	}
	o.stopped = r.start(n)
	if n.p.eofed() {
		n.p.cmd.Wait()
		o.refused = true
		o.says += n.p.text()
		n.p = nil
		if after := r.knows(); after != before {
			t.Errorf("a start that refused changed the database:\nbefore %s\nafter %s", before, after)
		}
		return o
	}
	if o.stopped && len(r.accept) > 0 {
		for _, at := range r.accept {
			c.command(0, "log", "accept", at, "--reason", "another program wrote it", "--config", "node-1.yaml")
		}
		n.ready()
	}
	o.statuses, o.sent = map[string]string{}, map[string]int{}
	stopped := func() bool {
		return strings.Contains(string(c.call(n, http.MethodGet, "/readyz", "").body), "is stopped")
	}
	send := func(to string, header ...string) (id string) {
		within(t, "a submit is answered", func() bool {
			a := c.call(n, http.MethodPost, "/v1/messages", statement(to), header...)
			if a.status == http.StatusAccepted {
				var v view
				a.into(t, &v)
				id = v.ID
				return true
			}
			return a.status == http.StatusServiceUnavailable && stopped()
		})
		return id
	}
	ids := map[string]string{}
	for _, to := range append(slices.Clone(r.optedOut), bench.Number(10)) {
		ids[to] = send(to)
	}
	for i := range r.keyed {
		o.keyed[i] = send(r.h.keyed[i].to, "Idempotency-Key", fmt.Sprintf("cluster-%d", i))
	}
	for to, id := range ids {
		if id == "" {
			continue
		}
		within(t, "a message is decided", func() bool {
			a := c.call(n, http.MethodGet, "/v1/messages/"+id, "")
			var v view
			if a.status == http.StatusOK {
				a.into(t, &v)
				o.statuses[to] = v.Status
			}
			return slices.Contains([]string{"denied", "delivered", "sent", "held"}, v.Status) || stopped()
		})
	}
	o.says = n.p.text()
	n.down(func(p *proc) { p.stop() })
	if out, code := command(t, c.dir, "audit", "verify", "--views", "--config", "node-1.yaml"); code != 0 && !o.stopped {
		t.Errorf("audit verify --views says: %s", out)
	}
	c.centre.p.stop()
	o.sent = submits(c.centre.lines(t))
	return o
}

func (r *clusterRow) judge(o clusterOutcome) {
	t := r.t
	for _, number := range r.optedOut {
		if o.sent[number] > 0 || o.statuses[number] == "delivered" || o.statuses[number] == "sent" {
			t.Errorf("%s, who opted out, was sent a message", number)
		}
	}
	for i := range r.keyed {
		if o.sent[r.h.keyed[i].to] > 0 || o.keyed[i] != "" && o.keyed[i] != r.h.keyed[i].id {
			t.Errorf("the used key %d gave the message %q, and not %q; it was sent %d times", i, o.keyed[i], r.h.keyed[i].id, o.sent[r.h.keyed[i].to])
		}
	}
	if strings.Contains(o.says, "panic:") || strings.Contains(o.says, "run \"chirograph log init\"") {
		t.Errorf("it says:\n%s", tail(o.says, 2000))
	}
	then, says, _ := strings.Cut(r.then, ": ")
	switch {
	case o.refused && !strings.Contains(then, "refuses"):
		t.Errorf("it refuses, and should not:\n%s", tail(o.says, 1500))
	case o.refused && !strings.Contains(o.says, says):
		t.Errorf("it refuses, and does not say %q:\n%s", says, tail(o.says, 1500))
	case o.stopped && !strings.Contains(then, "stops"):
		t.Errorf("it stopped a partition, and should not")
	case !o.refused && !o.stopped && !strings.Contains(then, "serves"):
		t.Errorf("it serves, and should not (%s)", r.then)
	case !o.refused && (!o.stopped || len(r.accept) > 0) && o.statuses[bench.Number(10)] != "delivered" && o.statuses[bench.Number(10)] != "sent":
		t.Errorf("a message to a person who did not opt out is %q", o.statuses[bench.Number(10)])
	case !o.refused && !o.stopped && slices.Contains(o.keyed[:r.keyed], ""):
		t.Errorf("a used key is not answered: %q", o.keyed)
	}
}

// tableOf reads the rows between two marks of docs/operations.md.
func tableOf(t *testing.T, name string) (rows []row) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(raw), "<!-- "+name+":begin -->")
	table, _, _ = strings.Cut(table, "<!-- "+name+":end -->")
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) == 3 && cells[0] != "what" && cells[0] != "---" {
			rows = append(rows, row{cells[0], cells[1], cells[2]})
		}
	}
	return rows
}

// TestClusterMatrix performs every row of the table in docs/operations.md, "When the parts of a cluster contradict each other".
func TestClusterMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("every row starts a node: some minutes")
	}
	servertest.Kafka(t)
	rows := tableOf(t, "cluster-matrix")
	if len(rows) < 30 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	h := newHistories(t)
	for _, x := range rows {
		t.Run(x.files+" "+x.what, func(t *testing.T) {
			began := time.Now()
			r := &clusterRow{row: x, t: t, h: h}
			r.prepare()
			r.judge(r.try())
			t.Logf("%s", time.Since(began).Round(time.Millisecond))
		})
	}
}
