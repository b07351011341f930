package eventstoretest

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Who leads, and what the others answer: Services/VNode/ClusterVNodeController.cs
// (HandleAsNonLeader), RpcExceptions.cs (LeaderInfo), Grpc/ServiceBase.cs.
func TestFollower(t *testing.T) {
	c := startCluster(t, 3, Options{})
	leader, follower := dial(t, c.Node(0)), dial(t, c.Node(1))
	if got := leader.with("requires-leader", "true").append("s", "any", "a"); got != "0" {
		t.Fatal(got)
	}
	// Without the header it passes an append on, and reads what it has.
	if got := follower.append("s", "0", "b"); got != "1" {
		t.Error(got)
	}
	if got := follower.all(query{stream: "s", from: "start", count: 9}); got != "0-1 ." {
		t.Error(got)
	}
	for header, want := range map[string]string{"true": "NotFound not-leader", "True": "NotFound not-leader", "false": "1", "1": "1"} {
		if got := follower.with("requires-leader", header).append("s", "any", "b"); got != want {
			t.Errorf("requires-leader %s: %s, not %s", header, got, want)
		}
	}
	_, trailer, err := follower.with("requires-leader", "true").send(options("s", "any"), message(uuid.New(), ""))
	host, port := c.Node(0).hostPort()
	if status.Code(err) != codes.NotFound || status.Convert(err).Message() != "Leader info available" ||
		fmt.Sprint(trailer.Get("leader-endpoint-host"), trailer.Get("leader-endpoint-port")) != fmt.Sprintf("[%s] [%d]", host, port) {
		t.Errorf("%v, %v", err, trailer)
	}
	if got := follower.with("requires-leader", "true").delete("delete", "s", "any"); got != "NotFound not-leader" {
		t.Error(got)
	}
	for _, tt := range []struct {
		q    query
		want string
	}{
		{query{stream: "s", from: "start", count: 9}, "NotFound not-leader"},
		{query{stream: "s", from: "end", count: 9, backwards: true}, "NotFound not-leader"},
		{query{from: "start", count: 9}, "NotFound not-leader"},
		// A subscription is confirmed before pages are read.
		{query{stream: "s", from: "start", count: -1}, "confirmed NotFound not-leader"},
		{query{from: "start", count: -1}, "confirmed NotFound not-leader"},
		// One that has nothing to catch up with reads none.
		{query{stream: "s", from: "end", count: -1}, "confirmed caught-up"},
	} {
		tt.q.wantsLeader = true
		if got := follower.read(tt.q).until("caught-up"); got != tt.want {
			t.Errorf("%+v: %s, not %s", tt.q, got, tt.want)
		}
		tt.q.stream = "other"
		if got := leader.read(tt.q).until("caught-up"); len(got) == 0 || got[:1] == "N" {
			t.Errorf("at the leader: %s", got)
		}
	}
}

// Nobody leads.
func TestLeaderless(t *testing.T) {
	c := startCluster(t, 3, Options{})
	fill(c.Node(0), "s", 2)
	r := dial(t, c.Node(1))
	c.Leaderless()
	if got := r.append("s", "any", "a"); got != "Unavailable" {
		t.Error(got)
	}
	if _, _, err := r.send(options("s", "any")); status.Convert(err).Message() != "Server Is Not Ready" {
		t.Error(err)
	}
	if got := r.all(query{stream: "s", from: "start", count: 9}); got != "0-1 ." {
		t.Error(got)
	}
	if got := r.all(query{stream: "s", from: "start", count: 9, wantsLeader: true}); got != "Unavailable" {
		t.Error(got)
	}
	if got := states(t, r); got != "Unknown Unknown Unknown" {
		t.Error(got)
	}
	c.SetLeader(1)
	if got := r.append("s", "1", "a"); got != "2" {
		t.Error(got)
	}
	if got := states(t, r); got != "Follower Leader Follower" {
		t.Error(got)
	}
}

func states(t *testing.T, r *raw) (s string) {
	t.Helper()
	info, err := r.gossip.Read(r.ctx, &shared.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range info.GetMembers() {
		if i > 0 {
			s += " "
		}
		s += m.GetState().String()
		if !m.GetIsAlive() {
			s += "(gone)"
		}
	}
	return s
}

// A node that lags reads what it had; when it leads, the rest is lost, and who had it is
// started anew.
func TestLag(t *testing.T) {
	c := startCluster(t, 3, Options{})
	fill(c.Node(0), "s", 2)
	old, lagging := dial(t, c.Node(0)), dial(t, c.Node(2))
	sub := lagging.read(query{stream: "s", from: "start", count: -1})
	if got := sub.until("caught-up"); got != "confirmed 0-1 caught-up" {
		t.Fatal(got)
	}
	c.Lag(2, true)
	if got := old.append("s", "any", "ab"); got != "3" {
		t.Error(got)
	}
	if got := lagging.all(query{stream: "s", from: "start", count: 9}); got != "0-1 ." {
		t.Error(got)
	}
	c.Lag(2, false)
	if got := sub.until("3"); got != "2-3" {
		t.Error(got)
	}

	c.Lag(2, true)
	if got := old.append("s", "any", "cd"); got != "5" {
		t.Error(got)
	}
	broken := old.read(query{stream: "s", from: "end", count: -1})
	if got := broken.until("caught-up"); got != "confirmed caught-up" {
		t.Error(got)
	}
	end := c.Node(2).Events("")
	lost := c.Node(0).Events("s")[4]
	c.SetLeader(2)
	if got := broken.next(); got != "Unavailable" {
		t.Error(got)
	}
	for i := range 3 {
		if n := len(c.Node(i).Events("s")); n != 4 {
			t.Errorf("node %d has %d events", i, n)
		}
	}
	// What is written next stands where what was lost stood.
	if got := lagging.append("s", "3", "x"); got != "4" {
		t.Error(got)
	}
	if string(lost.Data) != `{"letter":"c"}` {
		t.Errorf("what was read before has become %s", lost.Data)
	}
	last := c.Node(0).Events("s")[4]
	before := end[len(end)-1]
	if want := before.Position + headerSize + uint64(len(before.Data)); last.ID != lettered('x') || last.Position != want {
		t.Errorf("%+v, not at %d", last, want)
	}
}

// The ids that a node knows are those that it wrote since it was started (IndexWriter.cs:
// PreCommit is the writer's alone): at another leader a repeat at "any" is written again. At
// an exact revision the stream is compared.
func TestIDsOfAnotherLeader(t *testing.T) {
	c := startCluster(t, 3, Options{})
	r := dial(t, c.Node(0))
	for _, step := range []struct {
		do   func()
		want string
	}{
		{nil, "1"},
		{nil, "1"},
		{func() { c.SetLeader(1) }, "3"},
		{func() { c.SetLeader(0) }, "1"},
	} {
		if step.do != nil {
			step.do()
		}
		if got := r.append("s", "any", "ab"); got != step.want {
			t.Errorf("%s, not %s", got, step.want)
		}
	}
	c.SetLeader(2)
	if got := r.append("s", "none", "ab"); got != "1" {
		t.Error(got)
	}
	if got := letters(c.Node(0), "s"); got != "abab" {
		t.Error(got)
	}
	c.SetLeader(0)
	c.Stop(0)
	if err := c.Restart(0); err != nil {
		t.Fatal(err)
	}
	c.SetLeader(0)
	if got := dial(t, c.Node(0)).append("s", "any", "ab"); got != "5" {
		t.Error(got)
	}
}

// What no majority has is not read, and its append times out; it is there when the others
// come back, and is lost when one of them leads (RequestManagerBase.cs, IndexCommitterService.cs).
func TestMajority(t *testing.T) {
	for _, found := range []bool{true, false} {
		c := startCluster(t, 3, Options{CommitTimeout: 50 * time.Millisecond})
		r := dial(t, c.Node(0))
		if got := r.append("s", "any", "a"); got != "0" {
			t.Fatal(got)
		}
		c.Stop(1)
		if got := r.append("s", "any", "b"); got != "1" {
			t.Error(got)
		}
		c.Lag(2, true)
		_, _, err := r.send(options("s", "any"), message(lettered('c'), ""))
		if status.Code(err) != codes.Aborted || status.Convert(err).Message() != "Operation timed out: Commit phase timeout." {
			t.Error(err)
		}
		// Neither a repeat nor one that builds on it is sooner certain.
		if got := r.append("s", "any", "c"); got != "Aborted" {
			t.Error(got)
		}
		if got := r.append("s", "1", "c"); got != "Aborted" {
			t.Error(got)
		}
		if got := r.append("s", "1", "d"); got != "wrong: 2" {
			t.Error(got)
		}
		if got := r.all(query{stream: "s", from: "start", count: 9}); got != "0-1 ." {
			t.Error(got)
		}
		if found {
			sub := r.read(query{stream: "s", from: "end", count: -1})
			sub.until("caught-up")
			c.Lag(2, false)
			if got := sub.next(); got != "2" {
				t.Error(got)
			}
			if got := r.append("s", "any", "c"); got != "2" {
				t.Error(got)
			}
			continue
		}
		c.SetLeader(2)
		if got := letters(c.Node(2), "s"); got != "ab" {
			t.Error(got)
		}
	}
}

// An append that waits for a majority does not outlast its leader.
func TestWaitingForAMajority(t *testing.T) {
	c := startCluster(t, 3, Options{CommitTimeout: deadline})
	r := dial(t, c.Node(0))
	c.Lag(1, true)
	c.Lag(2, true)
	ask := func(letter string) chan string {
		answer := make(chan string)
		before := records(c)
		go func() { answer <- r.append("s", "any", letter) }()
		for end := time.Now().Add(deadline); records(c) == before; {
			if time.Now().After(end) {
				t.Fatal("nothing is written")
			}
			runtime.Gosched()
		}
		return answer
	}
	answer := ask("a")
	c.Lag(1, false)
	if got := <-answer; got != "0" {
		t.Error(got)
	}
	c.Lag(1, true)
	answer = ask("b")
	c.SetLeader(1)
	// It times out as one that was cancelled, or with the connection.
	if got := <-answer; got != "Aborted" && got != "Unavailable" {
		t.Error(got)
	}
	if got := letters(c.Node(0), "s"); got != "a" {
		t.Error(got)
	}
}

func records(c *Cluster) int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.refs)
}

// Lose takes away what was committed.
func TestLose(t *testing.T) {
	s := start(t, Options{})
	fill(s, "s", 10)
	s.Truncate("s", 3)
	r := dial(t, s)
	if got := r.all(query{stream: "s", from: "start", count: 99}); got != "3-9 ." {
		t.Error(got)
	}
	sub := r.read(query{stream: "s", from: "end", count: -1})
	sub.until("caught-up")
	s.Cluster().Lose(1)
	if got := sub.next(); got != "Unavailable" {
		t.Error(got)
	}
	s.Truncate("s", 5)
	if got := dial(t, s).all(query{stream: "s", from: "start", count: 99}); got != "5-9 ." {
		t.Error(got)
	}
	s.Cluster().Lose(4)
	r = dial(t, s)
	if got := r.all(query{stream: "s", from: "start", count: 99}); got != "0-6 ." {
		t.Error(got)
	}
	// What it knew of what is left is forgotten too.
	if got := r.append("s", "any", "a"); got != "7" {
		t.Error(got)
	}
	fill(s, "s", 1)
	s.Cluster().Lose(1)
	if got := dial(t, s).append("s", "any", "a"); got != "8" {
		t.Error(got)
	}
}

// A node stops, and starts again at its address with what it had.
func TestRestart(t *testing.T) {
	c := startCluster(t, 3, Options{})
	fill(c.Node(0), "s", 3)
	address := c.Node(0).Address()
	r, other := dial(t, c.Node(0)), dial(t, c.Node(1))
	sub := r.read(query{stream: "s", from: "end", count: -1})
	sub.until("caught-up")
	c.Stop(0)
	if got := sub.next(); got != "Unavailable" {
		t.Error(got)
	}
	if got := states(t, other); got != "Unknown(gone) Unknown Unknown" {
		t.Error(got)
	}
	c.SetLeader(1)
	if got := other.append("s", "any", "a"); got != "3" {
		t.Error(got)
	}
	if err := c.Restart(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(0); err == nil {
		t.Error("a node that runs was started again")
	}
	r = dial(t, c.Node(0))
	if got := r.all(query{stream: "s", from: "start", count: 9}); got != "0-3 ." || c.Node(0).Address() != address {
		t.Error(got, c.Node(0).Address(), address)
	}
	if got := states(t, other); got != "Follower Leader Follower" {
		t.Error(got)
	}

	s := start(t, Options{})
	fill(s, "s", 1)
	s.Cluster().Stop(0)
	if err := s.Cluster().Restart(0); err != nil {
		t.Fatal(err)
	}
	if got := dial(t, s).append("s", "0", "a"); got != "1" {
		t.Error(got)
	}
}

// The vendor's client finds the leader by gossip, and goes to it when it is sent there. It
// does not send "requires-leader" itself (4.2.0 puts it into the incoming metadata).
func TestVendorsLeader(t *testing.T) {
	c := startCluster(t, 3, Options{})
	c.SetLeader(2)
	found := client(t, c.Connection())
	ctx := within(t)
	if _, err := found.AppendToStream(metadata.AppendToOutgoingContext(ctx, "requires-leader", "true"), "s", esdb.AppendToStreamOptions{}, esdb.EventData{EventType: "t"}); err != nil {
		t.Error(err)
	}
	sent := client(t, c.Node(0).Connection())
	wants := metadata.AppendToOutgoingContext(ctx, "requires-leader", "true")
	_, err := sent.AppendToStream(wants, "s", esdb.AppendToStreamOptions{}, esdb.EventData{EventType: "t"})
	if e, _ := esdb.FromError(err); err == nil || e.Code() != esdb.ErrorCodeNotLeader {
		t.Fatal(err)
	}
	if w, err := sent.AppendToStream(wants, "s", esdb.AppendToStreamOptions{}, esdb.EventData{EventType: "t"}); err != nil || w.NextExpectedVersion != 1 {
		t.Errorf("%+v, %v", w, err)
	}
}
