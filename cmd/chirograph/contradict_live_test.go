package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/cmd/internal/bench"
)

// TestClusterLive performs every row of the table in docs/operations.md of what happens while nodes run.
func TestClusterLive(t *testing.T) {
	if testing.Short() {
		t.Skip("every row starts a node")
	}
	brokers := servertest.Kafka(t)
	rows := tableOf(t, "cluster-live")
	if len(rows) < 5 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	for _, r := range rows {
		t.Run(r.files+" "+r.what, func(t *testing.T) {
			database, prefix := servertest.Postgres(t), servertest.Topic(t)
			c := clusterOver(t, database, kafkaSection(prefix, brokers, "6s"), 1)
			c.begin(1)
			n, to := c.nodes[0], bench.Number(1)
			c.texted(to)
			c.optOut(to)
			deleted := func() {
				if _, err := admin.DeleteTopics(t.Context(), prefix+".ledger", prefix+".control", prefix+".inbox", prefix+".audit"); err != nil {
					t.Fatal(err)
				}
				within(t, "the topics are deleted", func() bool {
					topics, err := admin.ListTopics(t.Context(), prefix+".ledger", prefix+".control", prefix+".inbox", prefix+".audit")
					return err == nil && len(topics.Error().Error()) > 0 && topics[prefix+".audit"].Err != nil && topics[prefix+".ledger"].Err != nil
				})
			}
			says := ""
			switch r.files + ": " + r.what {
			case "topics: deleted":
				deleted()
				says = "UNKNOWN_TOPIC"
			case "topics: deleted and made again":
				deleted()
				within(t, "they are made again", func() bool { // the brokers forget the old ones a moment later
					restoreTopics(t, brokers, prefix, topicCopy{})
					return true
				})
				says = "deleted and made again"
			case "topics: shortened: the first records deleted":
				offsets := kadm.Offsets{}
				offsets.AddOffset(prefix+".control", 0, 1, -1)
				if _, err := admin.DeleteRecords(t.Context(), offsets); err != nil {
					t.Fatal(err)
				}
				says = "history is missing from control-0 to control-0"
			case "topics: partitions added":
				if _, err := admin.UpdatePartitions(t.Context(), 8, prefix+".ledger"); err != nil {
					t.Fatal(err)
				}
				says = "has 8 partitions, of which the ledger uses 6"
			case "the database: that of another ledger put in its place":
				other, otherPrefix := servertest.Postgres(t), servertest.Topic(t)
				o := clusterOver(t, other, kafkaSection(otherPrefix, brokers, "6s"), 1)
				o.begin(1)
				for i := range 30 {
					o.texted(bench.Number(i))
				}
				o.stop()
				exchange(t, database, other)
				within(t, "the node ends", n.p.eofed)
				if says := n.p.text(); !strings.Contains(says, "the database is not the one that this node was started with: the vault belongs to the ledger") {
					t.Errorf("it says %s", tail(says, 1500))
				}
				return
			default:
				t.Fatalf("the table says %q of %q, and this test does not know how to do that", r.what, r.files)
			}
			serves := strings.Contains(r.then, "serve")
			last := ""
			within(t, "/readyz says it", func() bool {
				a := c.call(n, http.MethodGet, "/readyz", "")
				last = string(a.body)
				return strings.Contains(last, says) && (a.status == http.StatusOK) == serves
			})
			if serves {
				c.texted(bench.Number(2))
			} else if a := c.call(n, http.MethodPost, "/v1/messages", statement(bench.Number(2))); a.status == http.StatusAccepted {
				t.Errorf("a message is taken: %s; /readyz says %s", a.body, last)
			}
			if a := c.call(n, http.MethodPost, "/v1/messages", statement(to)); a.status == http.StatusAccepted {
				var v view
				a.into(t, &v)
				within(t, "it is denied", func() bool {
					c.call(n, http.MethodGet, "/v1/messages/"+v.ID, "").into(t, &v)
					return v.Status == "denied"
				})
			}
			n.down((*proc).kill)
			c.centre.p.stop()
			if sent := submits(c.centre.lines(t)); sent[to] != 1 {
				t.Errorf("one who opted out was sent %d messages, of which one before", sent[to])
			}
		})
	}
}

// exchange gives two databases each other's names, while processes use the first.
func exchange(t *testing.T, a, b string) {
	t.Helper()
	name := func(u string) (string, *url.URL) {
		p, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(p.Path, "/"), p
	}
	first, server := name(a)
	second, _ := name(b)
	server.Path = "/postgres"
	conn, err := pgx.Connect(t.Context(), server.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, s := range []string{"ALTER DATABASE " + first + " ALLOW_CONNECTIONS false", "ALTER DATABASE " + second + " ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('" + first + "', '" + second + "')"} {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(from, to string) {
		within(t, "the database is renamed", func() bool {
			_, err = conn.Exec(t.Context(), "ALTER DATABASE "+from+" RENAME TO "+to)
			return err == nil
		})
	}
	rename(first, first+"_x")
	rename(second, first)
	rename(first+"_x", second)
	for _, n := range []string{first, second} {
		if _, err := conn.Exec(t.Context(), "ALTER DATABASE "+n+" ALLOW_CONNECTIONS true"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEventStoreDBMatrix does to the streams of a ledger on EventStoreDB what TestClusterMatrix does to topics.
func TestEventStoreDBMatrix(t *testing.T) {
	if testing.Short() {
		t.Skip("every row starts a node")
	}
	type streams map[string][]eventstoretest.Event
	copyStreams := func(c *testCluster) streams {
		out := streams{}
		for _, s := range []string{"00", "01", "02", "03", "04", "05", "control", "inbox", "audit"} {
			out[s] = c.protocol.Events(c.prefix + "-" + s)
		}
		return out
	}
	history := func() (c *testCluster, older streams, id string) {
		c = overEventStoreDB(t, 1, 2e9)
		if c.protocol == nil {
			t.Skip("left out on a real EventStoreDB, whose streams cannot be exchanged from outside")
		}
		c.begin(1)
		for i := range 6 {
			c.texted(bench.Number(i))
		}
		id = c.texted(bench.Number(500), "Idempotency-Key", "cluster-0")
		older = copyStreams(c)
		for i := range 3 {
			c.optOut(bench.Number(i))
		}
		c.stop()
		return c, older, id
	}
	c, older, id := history()
	o, _, _ := history()
	newer, other := copyStreams(c), copyStreams(o)
	without := func(from streams, name string) streams {
		out := streams{}
		for s, events := range from {
			if s != name {
				out[s] = events
			}
		}
		return out
	}
	for _, r := range []struct {
		what    string
		streams streams
		logInit bool
		says    string // "": it serves
	}{
		{"missing, all of them", streams{}, false, "there is no ledger here"},
		{"missing, all of them, then log init", streams{}, true, "there is no ledger here"},
		{"control missing", without(newer, "control"), false, "there is no ledger here"},
		{"control missing, then log init", without(newer, "control"), true, "there is no ledger here"},
		{"one stream missing", without(newer, "02"), false, "the ledger has lost events"},
		{"older", older, false, "the ledger has lost events"},
		{"of another ledger", other, false, "the vault belongs to another ledger"},
		{"as they are", newer, false, ""}, // the last, since the database goes on
	} {
		t.Run(r.what, func(t *testing.T) {
			n := &testCluster{}
			*n = *c
			n.t = t
			s, err := eventstoretest.Start(eventstoretest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			for name, events := range r.streams {
				for _, e := range events {
					s.Put(c.prefix+"-"+name, eventstoretest.Event{Type: e.Type, ContentType: e.ContentType, Data: e.Data, Metadata: e.Metadata})
				}
			}
			c.write("eventstore.connection", s.Connection()+"\n")
			if r.logInit {
				if out := n.command(1, "log", "init", "--config", "node-1.yaml"); !strings.Contains(out, r.says) || strings.Contains(out, `run "chirograph log init"`) {
					t.Errorf("log init says %s", out)
				}
			}
			node := c.nodes[0]
			node.start()
			within(t, "the node serves, or has ended", func() bool {
				return node.p.eofed() || n.call(node, http.MethodGet, "/readyz", "").status == http.StatusOK
			})
			if r.says != "" {
				if !node.p.eofed() || !strings.Contains(node.p.text(), r.says) || strings.Contains(node.p.text(), `run "chirograph log init"`) {
					t.Errorf("it does not refuse with %q: %s", r.says, tail(node.p.text(), 1500))
				}
				node.down(func(p *proc) { p.stop() })
				return
			}
			defer node.down(func(p *proc) { p.stop() })
			var v view
			n.call(node, http.MethodPost, "/v1/messages", statement(bench.Number(500)), "Idempotency-Key", "cluster-0").into(t, &v)
			if v.ID != id {
				t.Errorf("the used key gave %s, and not %s", v.ID, id)
			}
			n.call(node, http.MethodPost, "/v1/messages", statement(bench.Number(1))).into(t, &v)
			within(t, "it is denied", func() bool {
				n.call(node, http.MethodGet, "/v1/messages/"+v.ID, "").into(t, &v)
				return v.Status == "denied"
			})
		})
	}
}
