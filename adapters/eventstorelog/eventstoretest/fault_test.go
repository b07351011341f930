package eventstoretest

import (
	"context"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/google/uuid"
	"google.golang.org/grpc/status"
)

// once befalls the first call of a method.
func once(s *Server, m Method, f Fault) {
	s.SetFault(func(c Call) Fault {
		if c.Method != m || f == None {
			return None
		}
		defer func() { f = None }()
		return f
	})
}

// Each fault of an append: how it reads, what is written, and that the next one is as ever.
func TestFaultsOfAppends(t *testing.T) {
	for _, tt := range []struct {
		method Method
		fault  Fault
		want   string
		text   string
		wrote  string
	}{
		{Append, RefuseNotReady, "Unavailable", "Server Is Not Ready", ""},
		{Append, RefuseTooBusy, "Unavailable", "Server Is Too Busy", ""},
		{Append, NotLeader, "NotFound not-leader", "Leader info available", ""},
		{Append, NoLeaderInfo, "Unknown", "No leader info available in response", ""},
		{Append, Denied, "PermissionDenied access-denied", "Access Denied", ""},
		{Open, Denied, "PermissionDenied access-denied", "Access Denied", ""},
		{Append, Unauthenticated, "Unauthenticated", "Unauthenticated", ""},
		{Append, Break, "Unavailable", "", ""},
		{Open, Break, "Unavailable", "", ""},
		{Append, TimeOut, "Aborted", "Operation timed out: Commit phase timeout.", ""},
		{Append, Cut, "", "", "a"},
		{Append, Hang, "DeadlineExceeded", "", ""},
		{Open, Hang, "DeadlineExceeded", "", ""},
		{Open, LoseReply, "", "", "a"},
		{Append, LoseReply, "Unavailable", "", "a"},
		{Append, WrittenTimeOut, "Aborted", "Operation timed out: Commit phase timeout.", "a"},
		{Append, WrittenHang, "DeadlineExceeded", "", "a"},
		{Append, WrittenLater, "Aborted", "Operation timed out: Commit phase timeout.", ""},
	} {
		s := start(t, Options{})
		r := dial(t, s)
		once(s, tt.method, tt.fault)
		q := *r
		if tt.want == "DeadlineExceeded" {
			ctx, cancel := context.WithTimeout(r.ctx, 100*time.Millisecond)
			t.Cleanup(cancel)
			q.ctx = ctx
		}
		_, trailer, err := q.send(options("s", "any"), message(lettered('a'), "1"))
		got := ""
		if err != nil {
			got = failure(err, trailer)
		}
		if got != tt.want || tt.text != "" && status.Convert(err).Message() != tt.text {
			t.Errorf("%s, fault %d: %v %v", tt.method, tt.fault, err, trailer)
		}
		if wrote := letters(s, "s"); wrote != tt.wrote {
			t.Errorf("%s, fault %d: %q was written, not %q", tt.method, tt.fault, wrote, tt.wrote)
		}
		want := "0"
		if tt.wrote != "" {
			want = "1"
		}
		if got := r.append("s", "any", "b"); got != want {
			t.Errorf("%s, fault %d: the next is %s, not %s", tt.method, tt.fault, got, want)
		}
		s.Release()
		wrote := tt.wrote + "b"
		if tt.fault == WrittenLater {
			wrote = "ba"
		}
		if got := letters(s, "s"); got != wrote {
			t.Errorf("%s, fault %d: in the end %q was written, not %q", tt.method, tt.fault, got, wrote)
		}
	}
}

// A write that is made later is made as an append that waited is: not at a revision that has
// passed, nor at another leader.
func TestReleasedTooLate(t *testing.T) {
	c := startCluster(t, 3, Options{})
	s := c.Node(0)
	r := dial(t, s)
	once(s, Append, WrittenLater)
	if got := r.append("s", "none", "a"); got != "Aborted" {
		t.Fatal(got)
	}
	if got := r.append("s", "any", "b"); got != "0" {
		t.Fatal(got)
	}
	s.Release()
	once(s, Append, WrittenLater)
	if got := r.append("s", "any", "c"); got != "Aborted" {
		t.Fatal(got)
	}
	c.SetLeader(1)
	c.SetLeader(0)
	s.Release()
	if got := letters(s, "s"); got != "b" {
		t.Error(got)
	}
}

// Faults of what is no append.
func TestOtherFaults(t *testing.T) {
	c := startCluster(t, 2, Options{})
	s := c.Node(0)
	fill(s, "s", 3)
	r := dial(t, s)
	var calls []Call
	c.SetFault(func(call Call) Fault {
		calls = append(calls, call)
		switch call.Method {
		case Read, Subscribe:
			return Cut
		case Delete:
			return LoseReply
		case Gossip:
			return RefuseNotReady
		}
		return None
	})
	if got := r.all(query{stream: "s", from: "start", count: 9}); got != "0 Unavailable" {
		t.Error(got)
	}
	sub := r.read(query{from: "end", count: -1})
	if got := sub.until("caught-up"); got != "confirmed caught-up" {
		t.Error(got)
	}
	if got := r.append("s", "any", "a"); got != "3" {
		t.Error(got)
	}
	if got := sub.until("."); got != "s/3 Unavailable" {
		t.Error(got)
	}
	if _, err := r.gossip.Read(r.ctx, &shared.Empty{}); status.Convert(err).Message() != "Server Is Not Ready" {
		t.Error(err)
	}
	if got := r.delete("tombstone", "s", "any"); got != "Unavailable" {
		t.Error(got)
	}
	c.SetFault(nil)
	if got := r.append("s", "any", "b"); got != "FailedPrecondition stream-deleted" {
		t.Error(got)
	}
	want := []Call{{0, Read, "s", 0}, {0, Subscribe, "$all", 0}, {0, Open, "s", 0}, {0, Append, "s", 1}, {0, Gossip, "", 0}, {0, Delete, "s", 0}}
	if len(calls) != len(want) {
		t.Fatalf("%+v", calls)
	}
	for i := range want {
		if calls[i] != want[i] {
			t.Errorf("call %d: %+v, not %+v", i, calls[i], want[i])
		}
	}
}

// Appends that stall are written when they may, but for one that was given up
// (StorageWriterService.cs: a cancelled write is dropped).
func TestStall(t *testing.T) {
	s := start(t, Options{})
	asked := make(chan struct{}, 2)
	s.SetFault(func(c Call) Fault {
		if c.Method == Append {
			asked <- struct{}{}
		}
		return None
	})
	release := s.Stall()
	given, cancel := context.WithCancel(context.Background())
	r := dial(t, s)
	answers := make(chan string, 2)
	go func() { answers <- r.append("s", "any", "a") }()
	<-asked
	q := *r
	q.ctx = given
	go func() { answers <- q.append("s", "any", "b") }()
	<-asked
	cancel()
	if got := <-answers; got != "Canceled" {
		t.Error(got)
	}
	// What comes over the same connection after that has the server know of it.
	if _, err := r.gossip.Read(r.ctx, &shared.Empty{}); err != nil {
		t.Error(err)
	}
	if got := letters(s, "s"); got != "" {
		t.Error(got)
	}
	release()
	release()
	if got := <-answers; got != "0" {
		t.Error(got)
	}
	if got := letters(s, "s"); got != "a" {
		t.Error(got)
	}
}

// Close ends what hangs, stalls and follows; that nothing of it is left is seen at the end.
func TestClose(t *testing.T) {
	s := start(t, Options{})
	once(s, Append, Hang)
	asked := make(chan struct{}, 1)
	r := dial(t, s)
	sub := r.read(query{stream: "s", from: "end", count: -1})
	sub.until("caught-up")
	answers := make(chan string, 2)
	go func() { answers <- r.append("s", "any", "a") }()
	s.SetFault(func(c Call) Fault {
		if c.Method == Append {
			asked <- struct{}{}
		}
		return None
	})
	s.Stall()
	go func() {
		_, _, err := r.send(options("s", "any"), message(uuid.New(), ""))
		answers <- failure(err, nil)
	}()
	<-asked
	s.Close()
	s.Close()
	if a, b := <-answers, <-answers; a != "Unavailable" || b != "Unavailable" {
		t.Error(a, b)
	}
	if got := sub.next(); got != "Unavailable" {
		t.Error(got)
	}
}
