package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/api/door"
)

// soakEnv says how long TestClusterSurvives goes on breaking things, such as 30m; without
// it each thing is broken once.
const soakEnv = "CHIROGRAPH_SOAK"

// servers are three brokers and PostgreSQL that are this test's to kill.
type servers struct {
	t        *testing.T
	script   string
	env      []string
	brokers  []string
	postgres string
}

func newServers(t *testing.T) *servers {
	t.Helper()
	script, err := filepath.Abs(filepath.Join("..", "..", "deploy", "servers", "servers"))
	if err != nil {
		t.Fatal(err)
	}
	s := &servers{t: t, script: script, env: append(os.Environ(), "BROKERS=3", "CHIROGRAPH_SERVERS_STATE="+t.TempDir())}
	out, code := s.run("up")
	if code == 3 {
		if os.Getenv(servertest.RequireEnv) == "1" {
			t.Fatalf("the servers are required: %s", out)
		}
		t.Skipf("left out for want of servers: %s", strings.TrimSpace(out))
	}
	t.Cleanup(func() { s.run("down") })
	if code != 0 {
		t.Fatalf("servers up: exit %d\n%s", code, out)
	}
	for _, line := range strings.Split(out, "\n") {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if v, ok := strings.CutPrefix(line, servertest.KafkaEnv+"="); ok {
			s.brokers = strings.Split(strings.Trim(v, `'"`), ",")
		}
		if v, ok := strings.CutPrefix(line, servertest.PostgresEnv+"="); ok {
			s.postgres = strings.Trim(v, `'"`)
		}
	}
	if len(s.brokers) != 3 || s.postgres == "" {
		t.Fatalf("servers up printed no addresses:\n%s", out)
	}
	return s
}

func (s *servers) run(args ...string) (string, int) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.script, args...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (s *servers) must(args ...string) {
	s.t.Helper()
	if out, code := s.run(args...); code != 0 {
		s.t.Fatalf("servers %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
}

// clusterKey is the API key of the tests' nodes.
const clusterKey = "chirograph_cluster_test_key_of_no_secret_at_all"

// testCluster is nodes over one ledger, under load.
type testCluster struct {
	*senders
	dir     string
	section string // of the configuration: where the ledger is
	prefix  string // of its topics or streams, on the servers that the tests share
	servers *servers
	// protocol is the EventStoreDB in this process; nil where it is a real one.
	protocol *eventstoretest.Server
	centre   *centre
	nodes    []*clusterNode
	http     *http.Client
}

type clusterNode struct {
	c    *testCluster
	name string
	addr string
	p    *proc // nil while it is down
	// program is the path of another version; "": this one.
	program string
	mu      sync.Mutex
}

// clusterOver is nodes over a database and a ledger; nothing is started or made.
func clusterOver(t *testing.T, database, section string, nodes int) *testCluster {
	t.Helper()
	c := &testCluster{dir: t.TempDir(), section: section, http: &http.Client{Timeout: 20 * time.Second}}
	c.senders = newSenders(t, func(body, key string) (a httpAnswer) {
		n := c.nodes[rand.IntN(len(c.nodes))]
		if !n.up() {
			return httpAnswer{err: errors.New("the node is down")}
		}
		return c.call(n, http.MethodPost, "/v1/messages", body, "Idempotency-Key", key)
	})
	c.centre = newCentre(t, "--receipt-delay", "20ms")
	c.write("postgres.url", database+"\n")
	for i := range nodes {
		n := &clusterNode{c: c, name: fmt.Sprintf("node-%d", i+1), addr: free(t)}
		c.nodes = append(c.nodes, n)
		c.write(n.name+".yaml", c.config(n.name, n.addr))
	}
	return c
}

// begin makes the ledger and starts some of the nodes.
func (c *testCluster) begin(nodes int) {
	c.t.Helper()
	c.command(0, "log", "init", "--config", "node-1.yaml")
	c.command(0, "config", "apply", "node-1.yaml")
	for _, n := range c.nodes[:nodes] {
		n.start()
	}
	for _, n := range c.nodes[:nodes] {
		n.ready()
	}
}

func newTestCluster(t *testing.T, nodes int) *testCluster {
	t.Helper()
	s := newServers(t)
	c := clusterOver(t, s.postgres, kafkaSection("chirograph", s.brokers, "3s"), nodes+1) // one more than are started
	c.servers = s
	c.begin(nodes)
	return c
}

// kafkaSection says that the ledger is on brokers of which one may be lost.
func kafkaSection(prefix string, brokers []string, session string) string {
	copies := min(3, len(brokers))
	return fmt.Sprintf("engine: kafka\nkafka: {brokers: [%s], prefix: %s, partitions: 6, replication: %d, min_insync: %d, session: %s}\n",
		strings.Join(brokers, ", "), prefix, copies, max(1, copies-1), session)
}

// nodeConfig is the configuration of a node on brokers.
func nodeConfig(name, addr, prefix string, brokers []string, centre, session string) string {
	return nodeConfigOn(name, addr, kafkaSection(prefix, brokers, session), centre)
}

func (c *testCluster) config(name, addr string) string {
	return nodeConfigOn(name, addr, c.section, c.centre.addr)
}

// nodeConfigOn is a node's configuration; section says where the ledger is.
func nodeConfigOn(name, addr, section, centre string) string {
	return fmt.Sprintf(`%snode: %s
listen: %s
drain: 10s
master_key_file: master.key
limits: {call_window: 1s, answer_within: 2s}
postgres: {url_file: postgres.url}
tenants: [bank]
webhooks: {allow: [127.0.0.0/8]}
api_keys:
  - {id: test, sha256: %q, tenant: bank, scopes: [%s]}
carriers:
  - {account: sim, addr: %q, system_id: bank, response_timeout: 1s}
routes:
  - {rule: all, carrier: sim}
programs:
  - {tenant: bank, name: account, legal_entity: Example Bank Ltd, purposes: [account], countries: ["*"], senders: ["+12025550101"], default: true}
`, section, name, addr, door.HashKey(clusterKey), strings.Join(door.Scopes(), ", "), centre)
}

func (c *testCluster) write(name, text string) {
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *testCluster) command(want int, args ...string) string {
	c.t.Helper()
	out, code := command(c.t, c.dir, args...)
	if code != want {
		c.t.Fatalf("%s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (n *clusterNode) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	program := n.program
	if program == "" {
		program = os.Args[0]
	}
	n.p = spawnProgram(n.c.t, program, n.c.dir, "serve", "--config", n.name+".yaml")
}

// ready waits until the node says so.
func (n *clusterNode) ready() {
	n.c.t.Helper()
	var last string
	defer func() {
		if n.c.t.Failed() {
			n.c.t.Logf("%s last said: %s", n.name, last)
		}
	}()
	within(n.c.t, n.name+" is ready", func() bool {
		if n.p.eofed() {
			n.c.t.Fatalf("%s ended: %s", n.name, tail(n.p.text(), 2000))
		}
		a := n.c.call(n, http.MethodGet, "/readyz", "")
		last = string(a.body)
		return a.status == http.StatusOK
	})
}

func (n *clusterNode) down(how func(*proc)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	how(n.p)
	n.p = nil
}

func (n *clusterNode) up() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.p != nil
}

func (c *testCluster) call(n *clusterNode, method, path, body string, header ...string) httpAnswer {
	return ask(c.t, c.http, n.addr, clusterKey, method, path, body, header...)
}

// settled checks, with the load ended: every acknowledged submit is there once and
// has become something final; the ledger and its views verify; and the centre has no
// message twice.
func (c *testCluster) settled(after string) {
	c.t.Helper()
	var up *clusterNode
	for _, n := range c.nodes {
		if n.up() {
			up = n
		}
	}
	final := c.final(after, func(id string) (v view) {
		if a := c.call(up, http.MethodGet, "/v1/messages/"+id, ""); a.err == nil && a.status == http.StatusOK {
			a.into(c.t, &v)
		}
		return v
	})
	out := c.command(0, "audit", "verify", "--views", "--config", "node-1.yaml")
	c.once(after, final, c.centre.lines(c.t))
	c.t.Log(strings.Join(strings.Split(strings.TrimSpace(out), "\n"), " "))
}

// TestClusterSurvives breaks, under load, whatever a cluster is made of. CHIROGRAPH_SOAK=30m
// does so for that long, in any order (make soak-cluster).
func TestClusterSurvives(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: breaking a cluster takes minutes")
	}
	c := newTestCluster(t, 3)
	victim := func() *clusterNode { return c.nodes[rand.IntN(3)] }
	// An endpoint is told everything, whatever is broken, and its receiver fails at random too.
	call := func(method, path, body string) httpAnswer {
		n := c.nodes[rand.IntN(3)]
		if !n.up() {
			return httpAnswer{err: errors.New("the node is down")}
		}
		return c.call(n, method, path, body)
	}
	hook := newHookReceiver(t)
	from := hook.begin(call)
	broken := []struct {
		what string
		do   func()
	}{
		{"nothing", func() { c.more("load", 100) }},
		{"SIGKILL of a node", func() {
			n := victim()
			n.down((*proc).kill)
			c.more("load without it", 50)
			n.start()
			n.ready()
		}},
		{"SIGKILL of a broker", func() {
			c.servers.must("kill-broker", "1")
			c.more("load without it", 50)
			c.servers.must("restart-broker", "1")
			c.more("load with it", 50)
		}},
		{"SIGKILL of two brokers, which leaves too few in sync", func() {
			c.servers.must("kill-broker", "2")
			c.servers.must("kill-broker", "3")
			refused := c.answers[503].Load() + c.answers[504].Load()
			within(t, "submits are refused", func() bool { return c.answers[503].Load()+c.answers[504].Load() >= refused+20 })
			c.servers.must("restart-broker", "2")
			c.servers.must("restart-broker", "3")
			c.more("load with them", 50)
		}},
		{"SIGKILL of PostgreSQL", func() {
			c.servers.must("kill-postgres")
			refused := c.answers[503].Load()
			within(t, "submits are refused", func() bool { return c.answers[503].Load() >= refused+20 })
			c.servers.must("restart-postgres")
			c.more("load with it", 50)
		}},
		{"SIGSTOP of a node past its session", func() {
			n := victim()
			n.p.cmd.Process.Signal(syscall.SIGSTOP)
			from := time.Now()
			within(t, "its partitions go to others", func() bool { return time.Since(from) > 8*time.Second })
			n.p.cmd.Process.Signal(syscall.SIGCONT)
			c.more("load with it", 100)
		}},
		{"a node more", func() {
			c.nodes[3].start()
			c.nodes[3].ready()
			c.more("load with it", 100)
		}},
		{"a node less", func() {
			c.nodes[3].down(func(p *proc) {
				if code := p.stop(); code != 0 {
					t.Errorf("%s stopped with exit code %d", c.nodes[3].name, code)
				}
			})
			c.more("load without it", 100)
		}},
	}
	run := func(i int) {
		began := time.Now()
		ended := make(chan struct{})
		load := c.load(ended, 4)
		c.more("load before", 50)
		broken[i].do()
		c.more("load after", 50)
		close(ended)
		load.Wait()
		took := time.Since(began)
		c.settled(broken[i].what)
		t.Logf("%s: load for %s, all of it %s", broken[i].what, took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}
	for i := range broken {
		run(i)
		if t.Failed() {
			return
		}
	}
	soak, _ := time.ParseDuration(os.Getenv(soakEnv))
	for until := time.Now().Add(soak); time.Now().Before(until) && !t.Failed(); {
		i := rand.IntN(len(broken) - 1)
		if i == len(broken)-2 { // a node more, and then less
			run(i)
			i++
		}
		run(i)
	}
	hook.complete(from, call)
	for _, n := range c.nodes[:3] {
		n.down(func(p *proc) {
			if code := p.stop(); code != 0 {
				t.Errorf("%s stopped with exit code %d", n.name, code)
			}
		})
	}
}
