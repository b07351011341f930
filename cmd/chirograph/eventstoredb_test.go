package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/eventstorelog/eventstoretest"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/cmd/internal/bench"
	"github.com/chirograph/chirograph/cmd/internal/config"
)

// overEventStoreDB is nodes over a ledger on the EventStoreDB that the environment names,
// or else on the protocol server of the tests, in this process. Nothing is made or started.
func overEventStoreDB(t *testing.T, nodes int, session time.Duration) *testCluster {
	t.Helper()
	database := servertest.Postgres(t)
	var connection string
	var protocol *eventstoretest.Server
	if os.Getenv(servertest.EventStoreDBEnv) != "" {
		connection = servertest.EventStoreDB(t)
	} else {
		s, err := eventstoretest.Start(eventstoretest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		connection, protocol = s.Connection(), s
	}
	name := servertest.Ledger(t)
	c := clusterOver(t, database, fmt.Sprintf("engine: eventstoredb\neventstoredb: {connection_file: eventstore.connection, name: %s, partitions: 6, session: %s}\n",
		name, session), nodes)
	c.prefix, c.protocol = name, protocol
	c.write("eventstore.connection", connection+"\n")
	return c
}

// TestEventStoreDBNode is TestCluster on EventStoreDB.
func TestEventStoreDBNode(t *testing.T) {
	t.Parallel()
	c := overEventStoreDB(t, 1, 6*time.Second)
	oneNode(t, c, config.EngineEventStoreDB)
	if c.protocol == nil {
		return
	}
	// The command that changed control beside the node never took part in sharing.
	states := c.protocol.Events(c.prefix + ".lease")
	for _, e := range states {
		if strings.Contains(string(e.Data), `"operator"`) {
			t.Errorf("the command is a member of the lease at revision %d", e.Revision)
		}
	}
	if len(states) == 0 || !strings.Contains(string(states[0].Data), `"node-1/`) {
		t.Errorf("the first of the lease's %d states does not name the node with its database", len(states))
	}
}

// TestEventStoreDBForeignRecord is TestForeignRecord on EventStoreDB.
func TestEventStoreDBForeignRecord(t *testing.T) {
	t.Parallel()
	if os.Getenv(servertest.EventStoreDBEnv) != "" {
		t.Skip("left out on a real EventStoreDB: here is nothing that writes to it past chirograph")
	}
	c := overEventStoreDB(t, 1, 6*time.Second)
	foreignRecord(t, c, func() {
		c.protocol.Put(c.prefix+"-03", eventstoretest.Event{Type: "test", Data: []byte("not an event")})
	})
}

// TestEventStoreDBKill is TestKill on EventStoreDB: a node that starts again is another
// member of the ledger's lease, and has its own former partitions when their session is over.
func TestEventStoreDBKill(t *testing.T) {
	if testing.Short() {
		t.Skip("20 kills under load take a minute")
	}
	t.Parallel()
	c := overEventStoreDB(t, 1, 2*time.Second)
	c.begin(1)
	n := c.nodes[0]
	ended := make(chan struct{})
	load := c.load(ended, 4)
	for i := range kills {
		// Now and then it also does what it has taken, before it is killed.
		if i%3 == 0 {
			c.works(n)
		}
		c.more("some submits", 20+rand.IntN(120))
		n.down((*proc).kill)
		n.start()
	}
	close(ended)
	load.Wait()
	n.ready()
	c.settled("20 kills")
	c.stop()
}

// TestEventStoreDBTwo has two nodes on one ledger. Each is killed in turn, while the other
// goes on; and one is stopped past its session, and goes on with what it believes it serves.
func TestEventStoreDBTwo(t *testing.T) {
	if testing.Short() {
		t.Skip("20 kills under load take a minute")
	}
	t.Parallel()
	c := overEventStoreDB(t, 2, 2*time.Second)
	c.begin(2)
	ended := make(chan struct{})
	load := c.load(ended, 4)
	for i := range kills {
		n, other := c.nodes[i%2], c.nodes[1-i%2]
		c.more("some submits", 20+rand.IntN(120))
		n.down((*proc).kill)
		if i%5 == 0 { // the other takes all of them
			c.serves(6, other)
		}
		n.start()
		if i%3 == 0 {
			c.works(other)
		}
	}
	c.serves(6, c.nodes...)

	frozen, other := c.nodes[0], c.nodes[1]
	c.works(frozen)
	if err := frozen.p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.serves(6, other)
	c.works(other)
	if err := frozen.p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.more("load with both", 100)
	c.serves(6, c.nodes...)
	c.works(frozen)
	close(ended)
	load.Wait()
	c.settled("20 kills of two nodes in turn, and a node that was stopped past its session")
	c.stop()
}

// works waits until a message that a node takes now has been delivered, as that node's
// views say.
func (c *testCluster) works(n *clusterNode) {
	c.t.Helper()
	c.mu.Lock()
	c.next++
	to := bench.Number(c.next)
	c.asked[to] = true
	c.mu.Unlock()
	body, id := fmt.Sprintf(`{"to":%q,"body":"Your statement is ready."}`, to), ""
	within(c.t, n.name+" takes a message, and it is delivered", func() bool {
		var v view
		if id == "" {
			a := c.call(n, http.MethodPost, "/v1/messages", body, "Idempotency-Key", "load-"+to)
			if a.err == nil && a.status == http.StatusAccepted {
				a.into(c.t, &v)
				id = v.ID
				c.mu.Lock()
				c.acknowledged[to] = id
				c.mu.Unlock()
			}
			return false
		}
		if a := c.call(n, http.MethodGet, "/v1/messages/"+id, ""); a.err == nil && a.status == http.StatusOK {
			a.into(c.t, &v)
		}
		return v.Status == "delivered"
	})
}

// serves waits until that many partitions are served by these nodes together.
func (c *testCluster) serves(partitions int, nodes ...*clusterNode) {
	c.t.Helper()
	within(c.t, fmt.Sprintf("%d partitions are served by %d of the nodes", partitions, len(nodes)), func() bool {
		sum := 0
		for _, n := range nodes {
			for _, line := range strings.Split(string(c.call(n, http.MethodGet, "/metrics", "").body), "\n") {
				var k int
				if _, err := fmt.Sscanf(line, "chirograph_partitions_served %d", &k); err == nil {
					sum += k
				}
			}
		}
		return sum == partitions
	})
}
